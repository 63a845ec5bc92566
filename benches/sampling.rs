//! What measuring itself costs: the sampler per batch, the statistics per look, and reading a record.
//!
//! Our own regressions only; nothing here says anything about a GPU.

#![allow(missing_docs)]

use std::hint::black_box;
use std::path::Path;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use gpu_assay::error::Result;
use gpu_assay::machine::{Driver, Fact, Machine, host};
use gpu_assay::measure::{Case, Measurement, Outcome, Plan, ScriptedClock, StopReason, StopRule, Trial, Work, sample};
use gpu_assay::probe::Effort;
use gpu_assay::record::{Program, Run, SCHEMA_VERSION, Settings};
use gpu_assay::stats::{Sample, SplitMix64, change};
use gpu_assay::telemetry::Unwatched;
use gpu_assay::units::{Bytes, Seconds};

struct Nothing;

impl Trial for Nothing {
    fn enqueue(&mut self, _iterations: u64) -> Result<()> {
        Ok(())
    }

    fn work(&self) -> Work {
        Work::moving(Bytes::KIB)
    }

    fn check(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
}

fn noisy(count: usize, seed: u64) -> Vec<f64> {
    let mut random = SplitMix64(seed);
    (0..count).map(|_| 1e-6 * (1.0 + 0.01 * random.normal())).collect()
}

/// A thousand samples that never become precise: the whole of the sampler's own work.
fn sampler(c: &mut Criterion) {
    let plan = Plan {
        stop: StopRule { target: 0.0, least: Seconds(0.0), most: Seconds(1e9), most_samples: 1000 },
        warmup: Seconds(0.0),
        batch: Seconds(1e-3),
        bandwidth_ceiling: None,
        throughput_ceiling: None,
    };
    let case = Case::new("bench.nothing");
    c.bench_function("sampler, 1000 samples", |b| {
        b.iter(|| {
            let mut random = SplitMix64(1);
            let mut clock = ScriptedClock::new(Seconds(1e-9), |n| Seconds(1e-6 * n as f64 * (1.0 + 0.01 * random.normal())));
            sample(&case, &mut Nothing, &mut clock, &mut Unwatched, &plan, &|| false)
        });
    });
}

fn statistics(c: &mut Criterion) {
    let values = noisy(1000, 1);
    c.bench_function("sort 1000 and median interval", |b| {
        b.iter_batched(|| values.clone(), |values| Sample::new(values).map(|sample| sample.median_interval(0.95)), BatchSize::SmallInput);
    });
    if let (Ok(before), Ok(after)) = (Sample::new(noisy(100, 2)), Sample::new(noisy(100, 3))) {
        c.bench_function("change of two medians, 100 samples each", |b| b.iter(|| change(black_box(&before), black_box(&after), 0.95, 1)));
    }
}

/// A record of a machine with hundreds of cases.
fn run(cases: u64) -> Run {
    let unknown = || Fact::unknown("not asked");
    let driver = Driver { version: unknown(), cuda_version: unknown(), nvml_version: unknown(), simulated: false };
    let measured = |index| {
        Outcome::Measured(Box::new(Measurement {
            case: Case::new("bench.nothing").count("index", index),
            work: Work::moving(Bytes::GIB),
            iterations: 1,
            samples: noisy(100, index),
            rejected: Vec::new(),
            stop: StopReason::Precise,
            warmup: Seconds(0.1),
            telemetry: None,
            partners: Vec::new(),
            trace: Vec::new(),
            conditions: std::collections::BTreeMap::new(),
        }))
    };
    Run {
        schema_version: SCHEMA_VERSION,
        simulated: false,
        name: "bench".to_owned(),
        program: Program { version: "0.0.0".to_owned(), kernels: String::new() },
        started: "2026-01-01T00:00:00Z".to_owned(),
        settings: Settings { effort: Effort::Quick, probes: Vec::new(), gpus: Vec::new(), seed: 1 },
        earlier: Vec::new(),
        machine: Machine { gpus: Vec::new(), pairs: Vec::new(), driver, libraries: Vec::new(), host: host::read_live() },
        complete: true,
        xids: Fact::unknown("not asked"),
        outcomes: (0..cases).map(measured).collect(),
        digest: None,
        signature: None,
    }
}

fn records(c: &mut Criterion) {
    let Ok(text) = run(400).to_json() else { return };
    c.bench_function("parse a record of 400 cases", |b| b.iter(|| Run::from_json(black_box(&text), Path::new("bench.json"))));
    let id = "copy.h2d/bytes=64MiB,memory=pinned,gpu=3";
    c.bench_function("parse a case id", |b| b.iter(|| black_box(id).parse::<Case>()));
}

criterion_group!(benches, sampler, statistics, records);
criterion_main!(benches);
