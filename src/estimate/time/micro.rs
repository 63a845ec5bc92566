//! One micro-batch of a training step on one GPU: forward, what is run again, backward.
//!
//! It has two halves. What a GPU computes [alone](Alone) is the same however many data-parallel workers there are and whatever they share, so that
//! comparing many settings takes it once. Messages, and waiting for the host, come on top.

use super::adapters::Adapter;
use super::communication::{self, Gathered};
use super::fetching::Fetching;
use super::parts::{Kind, Parts, Phase};
use super::products::Products;
use super::software::{Launching, Software, Unpacking};
use super::speeds::Speeds;
use crate::calibrate::Prediction;
use crate::calibrate::collective::Collective;
use crate::catalog::Dtype;
use crate::estimate::memory::{Piece, Precision, lora};
use crate::units::{Bytes, Seconds};
use crate::workload::operations::{AttentionWork, Kernels, Layer, Product, Tokens, Traffic, Widths, ends, layer, loss};
use crate::workload::{AttentionKernel, Block, Blocks, Checkpointing, Data, Method, Mlp, Offload, Positions, Training};

/// One micro-batch on one GPU.
pub(super) struct Micro<'a> {
    pub(super) training: &'a Training,
    pub(super) software: &'a Software,
    pub(super) speeds: &'a Speeds,
    pub(super) precision: Precision,
    pub(super) parts: Parts,
    /// The type that products compute in, and those timed before.
    dtype: Dtype,
    timed: Products,
    /// Kernels by phase: forward, recompute, backward.
    kernels: [u64; 3],
    /// Operations that the mathematics needs, and those done again.
    useful: f64,
    again: f64,
}

/// One micro-batch on one GPU without messages between data-parallel workers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Alone {
    parts: Parts,
    kernels: [u64; 3],
    /// What one layer of each run of equal ones computes, in seconds by phase.
    layers: Vec<[f64; 3]>,
    /// Operations that the mathematics needs, and those done again.
    pub(super) useful: f64,
    pub(super) again: f64,
}

impl Alone {
    /// Of `piece`. `timed` are products that were timed before, on the same GPU in the same method; it gets those that are new.
    pub(crate) fn of(piece: &Piece, training: &Training, software: &Software, speeds: &Speeds, timed: &mut Products) -> Self {
        let mut micro = Micro::new(training, software, speeds, Parts::default(), [0; 3]);
        std::mem::swap(&mut micro.timed, timed);
        micro.tower(piece);
        let layers = piece.model.text.blocks.iter().map(|run| micro.run(piece, run)).collect();
        micro.ends(piece);
        let Micro { parts, kernels, useful, again, .. } = micro;
        *timed = micro.timed;
        Self { parts, kernels, layers, useful, again }
    }

    /// Settings that differ only in data-parallel workers and what they share are equal alone where this is equal: whether weights are gathered,
    /// and in what width.
    pub(crate) fn sort(training: &Training) -> (Precision, bool) {
        let precision = Precision::of(&training.method).gathered(&training.parallel);
        (precision, precision.casts() && !gathers(training))
    }
}

const PASSES: [Phase; 3] = [Phase::Forward, Phase::Recompute, Phase::Backward];

impl<'a> Micro<'a> {
    fn new(training: &'a Training, software: &'a Software, speeds: &'a Speeds, parts: Parts, kernels: [u64; 3]) -> Self {
        let precision = Precision::of(&training.method).gathered(&training.parallel);
        let dtype = speeds.dtype(precision.product);
        Self { training, software, speeds, precision, parts, dtype, timed: Products::default(), kernels, useful: 0.0, again: 0.0 }
    }

    /// What `piece` takes `alone`, with messages, and waiting for the host.
    pub(super) fn together(piece: &Piece, alone: &Alone, training: &'a Training, software: &'a Software, speeds: &'a Speeds) -> Self {
        let mut micro = Self::new(training, software, speeds, alone.parts, alone.kernels);
        micro.messages(piece, &alone.layers);
        micro.launches();
        micro
    }

    fn widths(&self) -> Widths {
        Widths { stream: self.precision.stream, product: self.precision.product }
    }

    /// What a phase takes so far.
    pub(super) fn seconds(&self, phase: Phase) -> f64 {
        self.parts.phase(phase).0
    }

    fn elementwise(&mut self, phase: usize, traffic: Traffic, times: u64) {
        self.moved(phase, Kind::Elementwise, traffic, times);
    }

    fn moved(&mut self, phase: usize, kind: Kind, traffic: Traffic, times: u64) {
        if traffic.bytes.0 > 0 || traffic.kernels > 0 {
            let one = if kind == Kind::Unpacking { self.speeds.unpacking(traffic) } else { self.speeds.elementwise(traffic) };
            self.parts.add(PASSES[phase], kind, one.times(times as f64));
            self.kernels[phase] += traffic.kernels * times;
        }
    }

    fn product(&mut self, phase: usize, product: &Product, times: u64) {
        let (time, reads) = self.timed.time(self.speeds, self.dtype, product);
        self.parts.add(PASSES[phase], if reads { Kind::Weights } else { Kind::Products }, time.times(times as f64));
        self.kernels[phase] += times;
    }

    /// A run of equal layers. Says what one of them computes, in seconds by phase.
    fn run(&mut self, piece: &Piece, run: &Blocks) -> [f64; 3] {
        let Blocks { count, block } = run;
        let (training, hidden) = (self.training, piece.model.text.hidden);
        let tokens = Tokens { divided: piece.sequence, ..Tokens::whole(training.batch, training.seq) };
        let rotary = piece.model.text.positions == Positions::Rotary;
        let mut layer = layer(block, hidden, &tokens, self.widths(), self.software.kernels, training.attention, rotary);
        if piece.expert > 1 {
            spread(&mut layer, piece.expert);
        }
        let before = PASSES.map(|phase| self.seconds(phase));
        let full = self.precision.full;
        self.layer(&layer, *count, full, true);
        if let Some(adapters) = training.method.adapters() {
            for linear in block.linears(hidden).filter(|linear| lora::adapts(&adapters.targets, linear.role)) {
                let base = Product::of(&linear, tokens.count());
                self.adapter(&Adapter::of(adapters, &linear, &base, self.precision.product), *count);
            }
        }
        if matches!(training.method, Method::Qlora(..)) {
            self.unpacked(&layer, *count);
        }
        let casts = self.precision.casts() && !gathers(training);
        if casts {
            // Autocast copies each weight once per pass, and its gradient back.
            let matrices: u64 = block.linears(hidden).map(|linear| linear.matrix() * piece.copies(&linear)).sum();
            let cast = Traffic::new(matrices * (self.precision.weight + self.precision.product), layer.products.len() as u64);
            self.elementwise(0, cast, *count);
            self.elementwise(2, cast, *count);
            if training.checkpointing == Checkpointing::Full {
                self.elementwise(1, cast, *count);
            }
        }
        self.inside_a_node(block, *count, hidden);
        let mut computed = PASSES.map(|phase| self.seconds(phase));
        for (after, before) in computed.iter_mut().zip(before) {
            *after = (*after - before) / *count as f64;
        }
        computed
    }

    /// Messages between data-parallel workers and between stages, and from the host, for each micro-batch.
    fn messages(&mut self, piece: &Piece, layers: &[[f64; 3]]) {
        let (training, full) = (self.training, self.precision.full);
        let parallel = &training.parallel;
        if gathers(training) {
            for (Blocks { count, block }, computed) in piece.model.text.blocks.iter().zip(layers) {
                let held = piece.layer(block);
                let trained = if full { held } else { 0 };
                let gathered = Gathered::of(self.speeds, parallel, held, trained, self.precision.product);
                // Gradients are copied to where they are reduced from.
                self.elementwise(2, Traffic::new(2 * trained * self.precision.product, u64::from(full)), *count);
                if parallel.data == Data::Zero3 {
                    let fetching = Fetching::of(self.speeds, training, piece, block, self.precision.product);
                    let host = fetching.add(&mut self.parts, gathered.scatter, *computed, *count);
                    self.kernels.iter_mut().zip(host).for_each(|(kernels, more)| *kernels += more);
                } else {
                    gathered.add(&mut self.parts, computed[0], computed[1] + computed[2], *count);
                }
            }
            // The tables are gathered before anything runs, and their gradients scattered when all has run.
            let outside = piece.outside();
            let gathered = Gathered::of(self.speeds, parallel, outside, if full { outside } else { 0 }, self.precision.product);
            self.parts.add(Phase::Forward, Kind::Communication, gathered.gather);
            self.parts.add(Phase::Backward, Kind::Communication, gathered.scatter);
        }
        if parallel.pipeline > 1 {
            let bytes = Bytes(training.tokens().div_ceil(piece.sequence) * piece.model.text.hidden * self.precision.product);
            let sends = parallel.interleave as f64;
            let one = self.speeds.collective(Collective::SendReceive, 2, bytes, if parallel.gpus > parallel.per_node { 1 } else { 2 });
            self.parts.add(Phase::Forward, Kind::Communication, one.times(sends));
            self.parts.add(Phase::Backward, Kind::Communication, one.times(sends));
        }
        if training.offload == Offload::All {
            // Weights come in for each pass and nothing hides more of it than the pass takes.
            let bytes = Bytes(piece.parameters() * self.precision.product / parallel.workers().max(1));
            let copy = self.speeds.host_copy(bytes);
            for phase in [Phase::Forward, Phase::Backward] {
                let computing = self.seconds(phase);
                self.parts.add(phase, Kind::Host, communication::exposed(copy, computing));
            }
        }
    }

    /// The operations of `count` equal layers. `trained`: their weights have gradients; `back`: gradients pass through them.
    fn layer(&mut self, layer: &Layer, count: u64, trained: bool, back: bool) {
        let training = self.training;
        let times = count as f64;
        let products: f64 = layer.products.iter().map(|product| product.flops().0).sum();
        let attention = layer.attention.flops().0;
        let recomputed = back && training.checkpointing == Checkpointing::Full;
        for product in &layer.products {
            self.product(0, product, count);
            if recomputed {
                self.product(1, product, count);
            }
            if back {
                self.product(2, &product.input_gradient(), count);
            }
            if trained {
                self.product(2, &product.weight_gradient(), count);
            }
        }
        self.attention(0, &layer.attention, count);
        self.elementwise(0, layer.forward, count);
        if recomputed {
            self.attention(1, &layer.attention, count);
            self.elementwise(1, layer.forward, count);
            self.again += times * (products + attention);
        } else if back && training.checkpointing == Checkpointing::Selective {
            self.attention(1, &layer.attention, count);
            self.again += times * attention;
        }
        if back {
            self.attention_backward(&layer.attention, count);
            self.elementwise(2, layer.backward, count);
        }
        let passes = 1.0 + f64::from(u8::from(back)) + f64::from(u8::from(trained));
        self.useful += times * (passes * products + (1.0 + 2.0 * f64::from(u8::from(back))) * attention);
    }

    fn attention(&mut self, phase: usize, work: &AttentionWork, count: u64) {
        let (time, kernels) = match self.training.attention {
            AttentionKernel::Eager => (self.speeds.eager(work, self.scores(), self.precision.product), 6),
            _ => (self.speeds.attention(work, self.software.flash, self.precision.product).0, 1),
        };
        self.parts.add(PASSES[phase], Kind::Attention, time.times(count as f64));
        self.kernels[phase] += kernels * count;
    }

    fn attention_backward(&mut self, work: &AttentionWork, count: u64) {
        let (time, kernels) = match self.training.attention {
            AttentionKernel::Eager => (self.speeds.eager(work, 2.0 * self.scores(), self.precision.product).times(2.0), 10),
            _ => (self.speeds.attention_backward(work, self.software.flash, self.precision.product), 3),
        };
        self.parts.add(Phase::Backward, Kind::Attention, time.times(count as f64));
        self.kernels[2] += kernels * count;
    }

    /// Bytes per pair and head that written-out scores move: written, scaled, masked, through the softmax, dropped, read.
    fn scores(&self) -> f64 {
        let width = self.precision.product as f64;
        let (softmax, masked) = match self.software.kernels {
            Kernels::Fused => (2.0 * width, 0.0),
            Kernels::Elementary => (2.0 * 4.0 + 2.0 * (4.0 + width), 4.0 * width),
        };
        let dropped = if self.training.dropout { 2.0 * width + 1.0 } else { 0.0 };
        2.0 * width + masked + softmax + dropped
    }

    fn adapter(&mut self, adapter: &Adapter, count: u64) {
        let recomputed = self.training.checkpointing == Checkpointing::Full;
        for product in [adapter.down, adapter.up] {
            let mut timed = |phase: usize, product: &Product| {
                self.parts.add(PASSES[phase], Kind::Weights, self.speeds.narrow(self.dtype, product).times(count as f64));
                self.kernels[phase] += count;
            };
            timed(0, &product);
            if recomputed {
                timed(1, &product);
            }
            timed(2, &product.input_gradient());
            timed(2, &product.weight_gradient());
            self.useful += 3.0 * count as f64 * product.flops().0;
            self.again += if recomputed { count as f64 * product.flops().0 } else { 0.0 };
        }
        self.elementwise(0, adapter.forward, count);
        if recomputed {
            self.elementwise(1, adapter.forward, count);
        }
        self.elementwise(2, adapter.backward, count);
    }

    /// 4-bit weights made whole before each product.
    fn unpacked(&mut self, layer: &Layer, count: u64) {
        let (bytes, kernels) = self.software.unpacking.per_weight();
        let weights: u64 = layer.products.iter().map(|product| product.n * product.k * product.groups).sum();
        let matrices: u64 = layer.products.iter().map(|product| product.groups).sum();
        let traffic = Traffic::new((bytes * weights as f64) as u64, kernels * matrices);
        self.moved(0, Kind::Unpacking, traffic, count);
        if self.training.checkpointing == Checkpointing::Full {
            self.moved(1, Kind::Unpacking, traffic, count);
        }
        // Elementary code leaves the whole matrix to autograd; a kernel of its own runs again.
        if self.software.unpacking == Unpacking::Kernel {
            self.moved(2, Kind::Unpacking, traffic, count);
        }
    }

    /// Sums over tensor-parallel GPUs, and tokens to and from experts elsewhere: nothing hides them.
    fn inside_a_node(&mut self, block: &Block, count: u64, hidden: u64) {
        let parallel = &self.training.parallel;
        let recomputed = self.training.checkpointing == Checkpointing::Full;
        let passes =
            if recomputed { &[Phase::Forward, Phase::Recompute, Phase::Backward][..] } else { &[Phase::Forward, Phase::Backward][..] };
        let tokens = self.training.tokens();
        if parallel.tensor > 1 {
            // After attention and after the MLP; gathered and scattered along the sequence the volume is the same.
            let bytes = Bytes(tokens * hidden * self.precision.product);
            let one = self.speeds.collective(Collective::AllReduce, parallel.tensor, bytes, parallel.per_node);
            for phase in passes {
                self.parts.add(*phase, Kind::Communication, one.times(2.0 * count as f64));
            }
        }
        if let (2.., Mlp::Experts(experts)) = (parallel.expert, &block.mlp) {
            let bytes = Bytes(tokens * experts.active * hidden * self.precision.product);
            let one = self.speeds.collective(Collective::AllToAll, parallel.expert, bytes, communication::near(parallel));
            for phase in passes {
                self.parts.add(*phase, Kind::Communication, one.times(2.0 * count as f64));
            }
        }
    }

    /// The vision tower and the projector: forward only where they are frozen.
    fn tower(&mut self, piece: &Piece) {
        let (training, Some(vision)) = (self.training, &piece.model.vision) else { return };
        let images = training.batch * training.images.count;
        if images == 0 {
            return;
        }
        let view = vision.view(training.images.width, training.images.height);
        let tokens = Tokens::whole(images * view.pieces, view.patches);
        for Blocks { count, block } in &vision.tower.blocks {
            let mut layer = layer(block, vision.tower.hidden, &tokens, self.widths(), self.software.kernels, training.attention, false);
            layer.attention.causal = false;
            self.layer(&layer, *count, self.precision.full, self.precision.full);
        }
        for linear in &vision.projector {
            let product = Product::of(linear, images * view.tokens);
            self.product(0, &product, 1);
            if self.precision.full {
                self.product(2, &product.input_gradient(), 1);
                self.product(2, &product.weight_gradient(), 1);
            }
            self.useful += if self.precision.full { 3.0 } else { 1.0 } * product.flops().0;
        }
    }

    /// Tables, head and loss.
    fn ends(&mut self, piece: &Piece) {
        let (training, text) = (self.training, &piece.model.text);
        let full = self.precision.full;
        let tokens = training.tokens();
        let ends = ends(text, tokens, tokens, self.widths(), self.software.kernels, full);
        if piece.first {
            self.elementwise(0, ends.forward, 1);
            self.elementwise(2, ends.backward, 1);
        }
        if piece.last {
            self.product(0, &ends.head, 1);
            self.product(2, &ends.head.input_gradient(), 1);
            if full {
                self.product(2, &ends.head.weight_gradient(), 1);
            }
            let (forward, backward) = loss(tokens * text.vocab, self.precision.product, training.cross_entropy, text.logit_softcap);
            self.elementwise(0, forward, 1);
            self.elementwise(2, backward, 1);
            self.useful += if full { 3.0 } else { 2.0 } * ends.head.flops().0;
        }
    }

    /// Where the host needs longer to launch a pass than the GPU to run it, the GPU waits.
    fn launches(&mut self) {
        if self.software.launching == Launching::Graph {
            return;
        }
        // Layers are run again as the backward pass comes to them: the two are one for whoever launches.
        let [forward, again, backward] = self.kernels;
        for (phase, kernels, also) in [(Phase::Forward, forward, None), (Phase::Backward, again + backward, Some(Phase::Recompute))] {
            let host = self.speeds.launches(kernels, self.software.launching);
            let gpu = self.seconds(phase) + also.map_or(0.0, |also| self.seconds(also));
            let wait = |host: Seconds| Seconds((host.0 - gpu).max(0.0));
            let waiting = Prediction { time: wait(host.time), low: wait(host.low), high: wait(host.high), ..host };
            self.parts.add(phase, Kind::Launch, waiting);
        }
    }
}

/// Whether weights are gathered for each layer.
pub(super) fn gathers(training: &Training) -> bool {
    training.parallel.workers() > 1 && matches!(training.parallel.data, Data::Zero3 | Data::Fsdp)
}

/// The experts of one of `gpus` GPUs that share them: fewer of them, with the tokens of all; a busy one gets a fifth more than its share.
fn spread(layer: &mut Layer, gpus: u64) {
    for product in &mut layer.products {
        if product.groups > 1 {
            product.groups = product.groups.div_ceil(gpus);
            product.m = (product.m * gpus * 6).div_ceil(5);
        }
    }
}
