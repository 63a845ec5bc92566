//! Training memory beside what other people traced and measured.
//!
//! The measurements lie outside the repository, in `../shared/truth` or `$GPU_ASSAY_TRUTH`; where they are absent each test prints one line
//! and passes. Shapes, settings and lifetimes are all that enters a prediction: nothing is fitted. Each test prints every row and the errors
//! of its set, and asserts the target where it is reached; `docs/accuracy.md` says what is missed and why.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod published;

use gpu_assay::catalog::Catalog;
use gpu_assay::estimate::fit::{Room, Verdict};
use gpu_assay::estimate::memory::{Memory, Overheads, train};
use gpu_assay::figure::{Basis, Figure};
use gpu_assay::units::Bytes;
use gpu_assay::workload::{
    Activation, Adapters, Attention, AttentionKernel, Checkpointing, CrossEntropy, Method, Mlp, Model, Optimizer, Quantised, Targets,
    Training, named,
};
use published::Point;
use serde_json::Value;

/// Signed relative errors of a set.
#[derive(Default)]
struct Errors(Vec<f64>);

impl Errors {
    fn add(&mut self, row: &str, predicted: f64, measured: f64) {
        let error = predicted / measured - 1.0;
        println!("{row:72} {:9.3} measured {:9.3} GB {:+6.2} %", predicted / 1e9, measured / 1e9, error * 100.0);
        self.0.push(error);
    }

    /// Median, 90th percentile and largest magnitude, in percent.
    fn summary(&self, set: &str) -> (f64, f64, f64) {
        let mut sizes: Vec<f64> = self.0.iter().map(|error| 100.0 * error.abs()).collect();
        sizes.sort_by(f64::total_cmp);
        let at = |share: f64| sizes[((sizes.len() - 1) as f64 * share).round() as usize];
        println!("=== {set}: {} rows, median {:.2} %, p90 {:.2} %, worst {:.2} %", sizes.len(), at(0.5), at(0.9), at(1.0));
        (at(0.5), at(0.9), at(1.0))
    }
}

fn model(name: &str) -> Model {
    named(&Catalog::embedded().unwrap(), name).unwrap()
}

/// Nothing beside tensors, as on the processor where the traces were taken.
fn tensors_only() -> Overheads {
    let mut overheads = Overheads::prior(None);
    overheads.workspace = Figure::new(Bytes(0), Basis::MeasuredHere, "no matrix library");
    overheads
}

fn adapters(lora: &Value) -> Adapters {
    let named = lora["targets"].as_str().unwrap();
    let has = |target| named.split(',').any(|one| one == target);
    let targets = match named {
        "all-linear" => Targets::AllLinear,
        _ => Targets::Some { q: has("q"), k: has("k"), v: has("v"), o: has("o"), gate: has("gate"), up: has("up"), down: has("down") },
    };
    Adapters { rank: lora["rank"].as_u64().unwrap(), targets, dropout: false, fp32: true }
}

/// The setting of a traced row. Its `sdpa` was given a mask: fake tensors never take the path without one.
fn traced(row: &Value, kernel: AttentionKernel) -> (Model, Training) {
    let method = match row["method"].as_str().unwrap() {
        "full-fp32" => Method::FullFp32,
        "amp-bf16" => Method::AmpBf16,
        "full-bf16" => Method::FullBf16,
        "lora" => Method::Lora(adapters(&row["lora"])),
        other => panic!("method {other}"),
    };
    let mut training = Training::new(method, row["batch"].as_u64().unwrap(), row["seq"].as_u64().unwrap());
    training.checkpointing = if row["checkpointing"] == "full" { Checkpointing::Full } else { Checkpointing::None };
    training.attention = if row["attention"] == "eager" { AttentionKernel::Eager } else { kernel };
    training.optimizer = if row["optimizer"] == "sgd" { Optimizer::SgdMomentum } else { Optimizer::AdamWLoop };
    (model(row["model"].as_str().unwrap()), training)
}

fn estimate(model: &Model, training: &Training, overheads: &Overheads) -> Memory {
    train(model, training, overheads).unwrap()
}

fn traces(kernel: AttentionKernel, set: &str) -> Option<(f64, f64, f64)> {
    let text = published::file("traced_memory.jsonl")?;
    let mut errors = Errors::default();
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let (model, training) = traced(&row, kernel);
        let memory = estimate(&model, &training, &tensors_only());
        let label = ["model", "method", "batch", "seq", "checkpointing", "attention", "lora", "optimizer"].map(|key| match &row[key] {
            Value::Null => String::new(),
            Value::Object(lora) => format!("r{} {}", lora["rank"], lora["targets"]),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let phase = memory.peak().unwrap().phase;
        errors.add(&format!("{} {phase:?}", label.join(" ")), memory.allocated.value.as_f64(), row["total"].as_f64().unwrap());
    }
    Some(errors.summary(set))
}

#[test]
fn peaks_traced_through_autograd_are_reproduced() {
    let Some((median, p90, worst)) = traces(AttentionKernel::Masked, "traced peaks, attention with a mask") else { return };
    assert!(median <= 0.1 && p90 <= 0.5 && worst <= 2.0);
}

#[test]
fn peaks_traced_with_a_mask_are_near_those_without() {
    let Some((median, _, worst)) = traces(AttentionKernel::Flash, "traced peaks, attention as if there were no mask") else { return };
    assert!(median <= 3.0 && worst <= 15.0);
}

/// Memory of training on one GPU from `source`.
fn points(source: &str) -> Option<Vec<Point>> {
    published::points(|point| point.kind == "train_mem" && point.source.contains(source) && point.gpus == 1)
}

/// Verdicts on rows that ran, and on rows that ran out of memory.
#[derive(Default)]
struct Verdicts {
    ran: [u32; 3],
    failed: [u32; 3],
}

impl Verdicts {
    fn add(&mut self, gpu: &str, memory: &Memory, ran: bool) {
        let verdict = Room::of(Catalog::embedded().unwrap().gpu(gpu).unwrap()).verdict(memory);
        let counts = if ran { &mut self.ran } else { &mut self.failed };
        counts[match verdict {
            Verdict::Yes => 0,
            Verdict::Unknown => 1,
            Verdict::No => 2,
        }] += 1;
    }

    fn summary(&self, set: &str) {
        let Self { ran: [yes, unknown, no], failed: [wrong, open, right] } = self;
        println!(
            "=== {set}: ran: fits {yes}, unknown {unknown}, does not {no}; out of memory: fits {wrong}, unknown {open}, does not {right}"
        );
        assert_eq!(*wrong, 0, "said to fit, and ran out of memory");
    }
}

/// LitGPT's LoRA: queries and values, rank 8, dropout, adapters in BF16, the loss in pieces of 128 tokens; AdamW in lists.
fn litgpt(point: &Point) -> Option<(Model, Training)> {
    let model = model(match point.model.as_str() {
        "phi-1.5 1.3 B" => "Phi-1.5",
        "StableLM Alpha 3 B" => "StableLM-Base-Alpha-3B",
        "Llama 2 7 B" => "Llama-2-7B",
        "Llama 2 13 B" => "Llama-2-13B",
        "Falcon 40 B" => "Falcon-40B",
        _ => return None,
    });
    let targets = Targets::Some { q: true, k: false, v: true, o: false, gate: false, up: false, down: false };
    let adapters = Adapters { rank: 8, targets, dropout: true, fp32: false };
    let (what, format) = point.method.split_once(" quant=")?;
    if what != "Finetuning with LoRA on 1 GPU" {
        return None;
    }
    let method = match format {
        "None" => Method::Lora(adapters),
        "bnb.nf4" => Method::Qlora(adapters, Quantised::Nf4),
        "bnb.nf4-dq" => Method::Qlora(adapters, Quantised::Nf4Double),
        _ => return None,
    };
    let mut training = Training::new(method, point.batch, point.seq);
    training.optimizer = Optimizer::AdamWForeach;
    training.cross_entropy = CrossEntropy::Chunked;
    training.attention = AttentionKernel::Flash;
    Some((model, training))
}

/// The model as LitGPT's own code runs it: queries, keys and values are one product (`CausalSelfAttention.attn`), and Phi's GELU is one kernel.
fn as_litgpt(mut model: Model) -> Model {
    for run in &mut model.text.blocks {
        if let Attention::Grouped(grouped) = &mut run.block.attention {
            grouped.fused = true;
        }
        if let Mlp::Dense(dense) = &mut run.block.mlp
            && dense.activation == Activation::GeluElementary
        {
            dense.activation = Activation::Gelu;
        }
    }
    model
}

#[test]
fn litgpt_finetuning_with_lora() {
    let Some(points) = points("litgpt") else { return };
    let (mut bf16, mut nf4, mut older, mut verdicts) = (Errors::default(), Errors::default(), Errors::default(), Verdicts::default());
    for point in &points {
        let Some((model, training)) = litgpt(point) else { continue };
        let memory = estimate(&as_litgpt(model), &training, &Overheads::prior(None));
        let row = format!("{} {} batch {}", point.model, point.method, point.batch);
        let ran = point.metric != "oom";
        verdicts.add("A100 SXM 40GB", &memory, ran);
        if ran {
            // PyTorch's largest allocation, printed with 10⁹ bytes to a GB.
            let measured = point.value * 1e9;
            if matches!(training.method, Method::Qlora(..)) {
                nf4.add(&row, memory.allocated.value.as_f64(), measured);
                older.add(&format!("{row}, inputs kept"), memory.allocated.high.as_f64(), measured);
            } else {
                bf16.add(&row, memory.allocated.value.as_f64(), measured);
            }
        }
    }
    let (median, _, worst) = bf16.summary("LitGPT, LoRA on one A100 40 GB");
    nf4.summary("LitGPT, QLoRA, as bitsandbytes does it today");
    older.summary("LitGPT, QLoRA, upper end: inputs of 4-bit products kept, as bitsandbytes 0.41.1 did");
    verdicts.summary("LitGPT");
    assert!(median <= 7.0 && worst <= 15.0);
}

/// Qwen's own scripts: LoRA of rank 64 on every product, checkpointing, flash attention, 8 micro-batches.
fn qwen(point: &Point) -> Option<(Model, Training)> {
    let adapters = Adapters { rank: 64, targets: Targets::AllLinear, dropout: true, fp32: true };
    let method = match point.method.as_str() {
        "LoRA" => Method::Lora(adapters),
        // Trained from a checkpoint in GPTQ's 4 bits, whose size per weight is nearest to NF4 with quantised scales.
        "Q-LoRA" => Method::Qlora(adapters, Quantised::Nf4Double),
        "Full-parameter" => Method::FullMixed { fp32_gradients: true },
        _ => return None,
    };
    let mut training = Training::new(method, point.batch, point.seq);
    training.checkpointing = Checkpointing::Full;
    training.grad_accum = 8;
    training.optimizer = Optimizer::AdamWFused;
    Some((model(&point.model), training))
}

#[test]
fn qwen_finetuning() {
    let Some(points) = points("QwenLM/Qwen") else { return };
    let mut verdicts = Verdicts::default();
    for method in ["LoRA", "Q-LoRA", "Full-parameter"] {
        let mut errors = Errors::default();
        for point in points.iter().filter(|point| point.method == method) {
            let Some((model, training)) = qwen(point) else { continue };
            let memory = estimate(&model, &training, &Overheads::prior(None));
            verdicts.add("A100 SXM 80GB", &memory, true);
            let row = format!("{} {} seq {}", point.model, point.method, point.seq);
            errors.add(&row, memory.device.value.as_f64(), point.value * f64::from(1 << 30));
        }
        errors.summary(&format!("Qwen 1, {method}, one A100 80 GB"));
    }
    verdicts.summary("Qwen 1");
}
