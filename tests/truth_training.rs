//! Training memory beside what other people traced and measured.
//!
//! The measurements lie outside the repository, in `../shared/truth` or `$GPU_ASSAY_TRUTH`; where they are absent each test prints one line
//! and passes. Shapes, settings and lifetimes are all that enters a prediction: nothing is fitted. Each test prints every row and the errors
//! of its set, and asserts the target where it is reached; `docs/accuracy.md` says what is missed and why.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::PathBuf;

use gpu_assay::catalog::Catalog;
use gpu_assay::estimate::memory::{Memory, Overheads, train};
use gpu_assay::figure::{Basis, Figure};
use gpu_assay::units::Bytes;
use gpu_assay::workload::{Adapters, AttentionKernel, Checkpointing, Method, Model, Optimizer, Targets, Training, named};
use serde_json::Value;

/// A file of the truth, or `None`, said in one line.
fn truth(file: &str) -> Option<String> {
    let folder = std::env::var_os("GPU_ASSAY_TRUTH")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/truth"), PathBuf::from);
    let path = folder.join(file);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        println!("skipped: no measurements at {}; set GPU_ASSAY_TRUTH to their folder", path.display());
    }
    text
}

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
    let text = truth("traced_memory.jsonl")?;
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
