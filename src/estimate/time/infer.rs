//! The time of a generation.
//!
//! A request is a prompt read in pieces (**prefill**), which gives the first token, and then one step per further token (**decode**). Prefill
//! computes: its products have as many rows as the piece has tokens. Decode reads: all weights that any sequence meets, and every sequence's
//! cache, per token. A **mixed** step, part of a prompt beside the next tokens of other sequences, is one product over all tokens per matrix and
//! attention for each part by itself; adding the times of a prefill and a decode step would read the weights twice.

use super::parts::{Beyond, Bound, Kind, Parts, Phase};
use super::products::Products;
use super::software::{LLM_INT8_KERNELS, Launching, Software, Unpacking, beside_launches, reads_packed};
use super::speeds::Speeds;
use crate::calibrate::Prediction;
use crate::calibrate::collective::Collective;
use crate::catalog::Dtype;
use crate::error::Result;
use crate::estimate::memory::check_inference;
use crate::figure::{Basis, Figure};
use crate::units::{Bytes, Seconds};
use crate::workload::operations::{AttentionWork, Product, Tokens, Traffic, Widths, divided, ends, layer};
use crate::workload::{
    Attention, AttentionKernel, Block, Blocks, Cache, Inference, LogitRows, Mlp, Model, Place, Positions, Precision, Role,
};

/// What a batch of requests takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// All of it, by phase and kind.
    pub parts: Parts,
    /// All of it: the prompts read and the answers written.
    pub time: Figure<Seconds>,
    /// Until the first token.
    pub prefill: Figure<Seconds>,
    /// Each further token of every sequence, at the mean length; where no answer is asked for, the token after the prompt.
    pub decode: Figure<Seconds>,
    /// Tokens written per second over the whole time, all sequences together; where no answer is asked for, tokens read.
    pub tokens_per_second: f64,
    /// What takes most of it.
    pub bound_by: Bound,
    /// What the numbers come from: quantity, basis, sources.
    pub basis: Vec<(&'static str, Basis, String)>,
}

/// The time of reading and answering the batch that `inference` says.
///
/// # Errors
/// [`Error::Usage`](crate::error::Error::Usage) for settings that do not fit the model, as
/// [`memory::infer`](crate::estimate::memory::infer).
pub fn infer(model: &Model, inference: &Inference, software: &Software, speeds: &Speeds) -> Result<Answer> {
    let mut answer = infer_unsourced(model, inference, software, speeds, &mut Products::new())?;
    let basis =
        speeds.basis(speeds.dtype(inference.precision.width()), software.launching, inference.tensor * inference.pipeline > 1, false);
    let weakest = basis.iter().map(|(_, basis, _)| *basis).max().unwrap_or(Basis::Assumed);
    let from: Vec<String> = basis.iter().map(|(name, _, from)| format!("{name}: {from}")).collect();
    for figure in [&mut answer.time, &mut answer.prefill, &mut answer.decode] {
        (figure.basis, figure.from) = (weakest, from.clone());
    }
    Ok(Answer { basis, ..answer })
}

/// The same numbers without what they come from, which is text and takes as long, for whoever compares thousands of them. `timed` are products
/// that were timed before at these speeds; it gets those that are new.
///
/// # Errors
/// As [`infer`].
pub(crate) fn infer_unsourced(
    model: &Model,
    inference: &Inference,
    software: &Software,
    speeds: &Speeds,
    timed: &mut Products,
) -> Result<Answer> {
    check_inference(model, inference)?;
    let mut engine = Engine { model, inference, software, speeds, timed };
    // The first token comes with the prompt or, where that is read but for its last token, with a step of its own.
    let apart = u64::from(software.last_apart);
    let mut prefill = engine.prefill(inference.seq - apart.min(inference.seq));
    if software.last_apart {
        prefill.add_times(&engine.decode(inference.seq), 1.0);
    }
    // Contexts grow one by one, so the mean one stands for all.
    let steps = inference.output.saturating_sub(1);
    let mean = inference.seq + 1 + steps / 2;
    let step = engine.decode(mean);
    let mut parts = prefill;
    parts.add_times(&step, steps as f64);
    let beyond = if software.launching == Launching::Python { Beyond::FROM_PYTHON } else { Beyond::USUAL };
    let figure = |parts: &Parts| parts.figure(beyond, Basis::Assumed, Vec::new());
    let total = parts.total();
    let tokens = if inference.output > 0 { inference.output } else { inference.seq } * inference.batch;
    Ok(Answer {
        time: figure(&parts),
        prefill: figure(&prefill),
        decode: figure(&step),
        tokens_per_second: tokens as f64 / total.0,
        bound_by: parts.bound_by(),
        basis: Vec::new(),
        parts,
    })
}

/// The time of one step in which pieces of prompts and next tokens pass through the layers together.
///
/// # Errors
/// As [`infer`].
pub fn mixed_step(model: &Model, inference: &Inference, software: &Software, speeds: &Speeds, groups: &[Tokens]) -> Result<Parts> {
    check_inference(model, inference)?;
    let mut engine = Engine { model, inference, software, speeds, timed: &mut Products::new() };
    let rows = groups.iter().map(|group| group.sequences).sum();
    Ok(engine.pass(Phase::Decode, groups, rows))
}

struct Engine<'a> {
    model: &'a Model,
    inference: &'a Inference,
    software: &'a Software,
    speeds: &'a Speeds,
    timed: &'a mut Products,
}

/// What is added up over a pass.
struct Pass {
    phase: Phase,
    parts: Parts,
    kernels: u64,
}

impl Engine<'_> {
    /// Reading `seq` tokens of every prompt.
    fn prefill(&mut self, seq: u64) -> Parts {
        let batch = self.inference.batch;
        if seq == 0 {
            return Parts::default();
        }
        let chunk = self.inference.chunk.unwrap_or(u64::MAX).min(batch * seq).max(1);
        let mut parts = Parts::default();
        // Logits of all rows where every token gets them, else of one per sequence.
        let rows = |sequences: u64, tokens: u64| if self.inference.logits == LogitRows::All { tokens } else { sequences };
        if chunk >= seq {
            // Whole prompts, as many as fit a piece.
            let together = (chunk / seq).min(batch).max(1);
            let (full, rest) = (batch / together, batch % together);
            for (times, sequences) in [(full, together), (u64::from(rest > 0), rest)] {
                if times > 0 {
                    let pass = self.pass(Phase::Prefill, &[Tokens::whole(sequences, seq)], rows(sequences, sequences * seq));
                    parts.add_times(&pass, times as f64);
                }
            }
        } else {
            // Pieces of a prompt, each seeing those before it; the mean context stands for all.
            let pieces = seq.div_ceil(chunk);
            let queries = seq.div_ceil(pieces);
            let tokens = Tokens { queries, context: (seq + queries) / 2, ..Tokens::whole(1, 1) };
            let pass = self.pass(Phase::Prefill, &[tokens], rows(1, queries));
            parts.add_times(&pass, (pieces * batch) as f64);
        }
        self.tower(&mut parts);
        parts
    }

    /// The next token of every sequence, when each sees `context`.
    fn decode(&mut self, context: u64) -> Parts {
        let batch = self.inference.batch;
        self.pass(Phase::Decode, &[Tokens::next(batch, context)], batch)
    }

    /// All layers over the tokens of `groups`, and logits of `rows` of them.
    fn pass(&mut self, phase: Phase, groups: &[Tokens], rows: u64) -> Parts {
        let (text, inference) = (&self.model.text, self.inference);
        let tokens: u64 = groups.iter().map(Tokens::count).sum();
        let mut pass = Pass { phase, parts: Parts::default(), kernels: 0 };
        let mut first = 0;
        for run in &text.blocks {
            self.run(&mut pass, run, groups, tokens, first);
            first += run.count;
        }
        let ends = ends(text, tokens, rows, self.widths(), self.software.kernels, false);
        self.moved(&mut pass, Kind::Elementwise, ends.forward, 1);
        let head = Product { n: ends.head.n.div_ceil(inference.tensor), ..ends.head };
        let place = Place { layer: 0, layers: 1, group: 1, experts: 0 };
        self.product(&mut pass, &head, place, 1, !(inference.quantised_head || matches!(inference.precision, Precision::Gguf(_))));
        // The next token is chosen: a copy of the logits in FP32, scaled, sorted or exponentiated, drawn from.
        self.moved(&mut pass, Kind::Elementwise, Traffic::new(rows * text.vocab * 20, 8), 1);
        if inference.pipeline > 1 {
            let bytes = Bytes(tokens * text.hidden * inference.precision.width());
            let one = self.speeds.collective(Collective::SendReceive, 2, bytes, 8);
            pass.parts.add(phase, Kind::Communication, one.times((inference.pipeline - 1) as f64));
        }
        self.launched(&mut pass, groups);
        pass.parts
    }

    fn widths(&self) -> Widths {
        let width = self.inference.precision.width();
        Widths { stream: width, product: width }
    }

    fn moved(&self, pass: &mut Pass, kind: Kind, traffic: Traffic, times: u64) {
        pass.parts.add(pass.phase, kind, self.speeds.elementwise(traffic).times(times as f64));
        pass.kernels += traffic.kernels * times;
    }

    /// A run of equal layers, the first of which is layer `first`.
    fn run(&mut self, pass: &mut Pass, run: &Blocks, groups: &[Tokens], tokens: u64, first: u64) {
        let (inference, text) = (self.inference, &self.model.text);
        let block = divided(&run.block, inference.tensor);
        let rotary = text.positions == Positions::Rotary;
        let together = Tokens::whole(1, tokens);
        let all = layer(&block, text.hidden, &together, self.widths(), self.software.kernels, AttentionKernel::Flash, rotary);
        let place = place(&run.block, first + run.count / 2, text.layers());
        for product in &all.products {
            self.product(pass, product, place, run.count, false);
        }
        self.moved(pass, Kind::Elementwise, all.forward, run.count);
        for group in groups {
            self.attention(pass, &block, group, all.attention, run.count);
        }
        if inference.tensor > 1 {
            // Sums over all GPUs after attention and after the MLP.
            let bytes = Bytes(tokens * text.hidden * inference.precision.width());
            let one = self.speeds.collective(Collective::AllReduce, inference.tensor, bytes, 8);
            pass.parts.add(pass.phase, Kind::Communication, one.times(2.0 * run.count as f64));
            pass.kernels += 2 * run.count;
        }
    }

    /// Attention of one group, with what its cache costs.
    fn attention(&self, pass: &mut Pass, block: &Block, group: &Tokens, like: AttentionWork, count: u64) {
        let inference = self.inference;
        let width = inference.precision.width();
        let mut work = AttentionWork { sequences: group.sequences, queries: group.queries, context: group.context, ..like };
        if let (Attention::Latent(latent), 1) = (&block.attention, group.queries) {
            // One token's attention works on the latent itself, which all heads share (DeepSeek-V2, arXiv 2405.04434, section 2.1.2).
            (work.kv_heads, work.head_dim) = (1, latent.kv_rank + latent.rope);
        }
        // Bytes of a cached number.
        let cached = inference.kv_precision.vector(work.head_dim, work.head_dim, width) as f64 / work.head_dim.max(1) as f64;
        let (time, reads) = match inference.attention {
            AttentionKernel::Eager => (self.speeds.eager(&work, 4.0 * width as f64 + 16.0, width), false),
            _ => self.speeds.attention(&work, self.software.flash, width),
        };
        let time = if reads { time.times(cached / width as f64) } else { time };
        pass.parts.add(pass.phase, if reads { Kind::Cache } else { Kind::Attention }, time.times(count as f64));
        // A second kernel joins the pieces that one token's context is divided into.
        pass.kernels += count * if inference.attention == AttentionKernel::Eager { 6 } else { 2 };
        let seen = work.window.map_or(work.context, |window| window.min(work.context));
        let whole = |tokens: u64| (2.0 * cached * (work.sequences * tokens * work.kv_heads * work.head_dim) as f64) as u64;
        let kept = match inference.cache {
            // The old tensors are read and written again with the new tokens, keys and values by themselves.
            Cache::Dynamic | Cache::Tuple => Traffic::new(2 * whole(seen), 2),
            Cache::Static | Cache::Paged { .. } => Traffic::new(2 * whole(work.queries), 1),
        };
        self.moved(pass, Kind::Cache, kept, count);
        if inference.repeat_kv && work.heads > work.kv_heads {
            let copied = whole(seen) + whole(seen) / work.kv_heads * work.heads;
            self.moved(pass, Kind::Cache, Traffic::new(copied, 2), count);
        }
        if inference.kv_precision.quantised() {
            // Values are made 16 bits wide before attention reads them.
            let unpacked = whole(seen) + 2 * width * work.sequences * seen * work.kv_heads * work.head_dim;
            self.moved(pass, Kind::Cache, Traffic::new(unpacked, 2), count);
        }
    }

    /// One product in the form in which its matrix is stored, `times` over; `plain` where it keeps the type that is computed with.
    fn product(&mut self, pass: &mut Pass, product: &Product, place: Place, times: u64, plain: bool) {
        let precision = self.inference.precision;
        let wide = self.speeds.dtype(precision.width());
        let plain = plain || matches!(product.role, Role::Router | Role::SharedGate);
        let mut beside = Traffic::default();
        if precision == Precision::Nf4Double && !plain {
            // Scales of 64 weights each become FP32 and are shifted, by two kernels.
            beside = Traffic::new(product.n * product.k * product.groups / 64 * (1 + 4 + 8), 2);
        }
        let (time, reads) = match precision {
            Precision::Fp32 | Precision::Bf16 | Precision::Fp16 => self.timed.time(self.speeds, wide, product),
            _ if plain => self.timed.time(self.speeds, wide, product),
            Precision::Fp8 | Precision::Mxfp8 if self.speeds.dtype(1) == Dtype::Fp8 => {
                // Inputs are made narrow first, each group with a scale of its own.
                beside = Traffic::new(product.m * product.groups * product.k * 3, 1);
                self.timed.time(self.speeds, Dtype::Fp8, product)
            }
            Precision::LlmInt8 => {
                // Outliers are sought and multiplied apart, rows are scaled, sums are scaled back (bitsandbytes' `MatMul8bitLt`).
                let rows = product.m * product.groups;
                beside = Traffic::new(rows * (product.k * 8 + product.n * 8), LLM_INT8_KERNELS);
                self.speeds.packed(wide, product, Bytes(bytes(precision, product, place)))
            }
            _ if reads_packed(precision, product.m) => self.speeds.packed(wide, product, Bytes(bytes(precision, product, place))),
            _ => {
                let (each, kernels) = Unpacking::Kernel.per_weight();
                let weights = product.n * product.k * product.groups;
                self.moved(pass, Kind::Unpacking, Traffic::new((each * weights as f64) as u64, kernels), times);
                self.timed.time(self.speeds, wide, product)
            }
        };
        if beside.kernels > 0 {
            self.moved(pass, Kind::Elementwise, beside, times);
        }
        pass.parts.add(pass.phase, if reads { Kind::Weights } else { Kind::Products }, time.times(times as f64));
        pass.kernels += times;
        if self.software.launching == Launching::Python && !plain {
            pass.kernels += beside_launches(precision) * times;
        }
    }

    /// The vision tower, once per prompt's images.
    fn tower(&mut self, parts: &mut Parts) {
        let inference = self.inference;
        let (Some(vision), true) = (&self.model.vision, inference.images.count > 0) else { return };
        let images = inference.batch * inference.images.count;
        let view = vision.view(inference.images.width, inference.images.height);
        let tokens = Tokens::whole(images * view.pieces, view.patches);
        let mut pass = Pass { phase: Phase::Prefill, parts: Parts::default(), kernels: 0 };
        let width = inference.precision.width();
        for Blocks { count, block } in &vision.tower.blocks {
            let mut layer = layer(block, vision.tower.hidden, &tokens, self.widths(), self.software.kernels, AttentionKernel::Flash, false);
            layer.attention.causal = false;
            for product in &layer.products {
                let (time, _) = self.timed.time(self.speeds, self.speeds.dtype(width), product);
                pass.parts.add(Phase::Prefill, Kind::Products, time.times(*count as f64));
                pass.kernels += count;
            }
            let (time, _) = self.speeds.attention(&layer.attention, self.software.flash, width);
            pass.parts.add(Phase::Prefill, Kind::Attention, time.times(*count as f64));
            self.moved(&mut pass, Kind::Elementwise, layer.forward, *count);
        }
        for linear in &vision.projector {
            let (time, _) = self.timed.time(self.speeds, self.speeds.dtype(width), &Product::of(linear, images * view.tokens));
            pass.parts.add(Phase::Prefill, Kind::Products, time);
        }
        self.launched(&mut pass, &[tokens]);
        parts.add_times(&pass.parts, 1.0);
    }

    /// Where the host needs longer to launch a pass than the GPU to run it, the GPU waits; where the host waits too, for all of the launches.
    fn launched(&self, pass: &mut Pass, groups: &[Tokens]) {
        /// Small operations around the layers of every step of transformers' `generate`: masks, positions, processors, stopping.
        const AROUND: u64 = 40;
        let alone = groups.iter().all(|group| group.queries == 1);
        // Servers record steps of single tokens as graphs; prompts have too many lengths for that.
        let how = match self.software.launching {
            Launching::Graph if !alone => Launching::Python,
            other => other,
        };
        let kernels = pass.kernels + if how == Launching::Python { AROUND } else { 0 };
        let host = self.speeds.launches(kernels, how);
        let gpu = if self.software.waits { Seconds(0.0) } else { pass.parts.total() };
        let wait = |host: Seconds| Seconds((host.0 - gpu.0).max(0.0));
        pass.parts.add(pass.phase, Kind::Launch, Prediction { time: wait(host.time), low: wait(host.low), high: wait(host.high), ..host });
        if self.software.launching == Launching::Graph {
            pass.parts.add(pass.phase, Kind::Launch, self.speeds.between_steps());
        }
    }
}

/// Bytes of one of a product's matrices as `precision` stores it.
const fn bytes(precision: Precision, product: &Product, place: Place) -> u64 {
    match precision {
        Precision::Gguf(mix) => mix.matrix(product.role, product.k, product.n, place),
        other => other.matrix(product.role, product.k, product.n),
    }
}

/// Where a layer stands among its model's, for formats that store layers differently; the one in the middle of a run stands for all of it.
fn place(block: &Block, layer: u64, layers: u64) -> Place {
    let group = match &block.attention {
        Attention::Grouped(grouped) => grouped.heads.checked_div(grouped.kv_heads).unwrap_or(1),
        Attention::Latent(_) => 1,
    };
    let experts = match &block.mlp {
        Mlp::Experts(experts) => experts.count,
        Mlp::Dense(_) => 0,
    };
    Place { layer: layer.min(layers.saturating_sub(1)), layers, group, experts }
}
