//! How many configurations a plan decides per second: at least 100,000 are asked for on one core, whether one offer is searched or all of them.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gpu_assay::catalog::Catalog;
use gpu_assay::estimate::cost::{Interruptions, offered};
use gpu_assay::estimate::plan::{Choices, Limits, Offer, ServingGoal, TrainingGoal, infer, train};
use gpu_assay::workload::{Adapters, Inference, Method, Precision, Targets, Training, named};
use std::hint::black_box;

/// Every offer of the catalog.
fn everything(catalog: &Catalog) -> Vec<Offer> {
    let all = catalog.gpus.iter().filter(|gpu| offered(catalog, gpu, false).next().is_some());
    all.filter_map(|gpu| Offer::usual(catalog, gpu, false, None).ok()).flatten().collect()
}

/// The one of them that has eight of `gpu` in a machine.
fn eight(all: &[Offer], gpu: &str) -> Vec<Offer> {
    all.iter().find(|offer| offer.gpu == gpu && offer.machine == 8).cloned().into_iter().collect()
}

fn training(c: &mut Criterion) {
    let Ok(catalog) = Catalog::embedded() else { return };
    let all = everything(&catalog);
    let one = eight(&all, "H100 SXM");
    let adapters = Adapters { rank: 16, targets: Targets::AllLinear, dropout: false, fp32: true };
    let mixed = Method::FullMixed { fp32_gradients: true };
    let mut group = c.benchmark_group("configurations of a plan");
    group.sample_size(10);
    for (name, method, what) in [
        ("Llama-3.1-8B", mixed.clone(), "all of it"),
        ("Llama-3.1-8B", Method::Lora(adapters), "LoRA"),
        ("Llama-3.1-70B", mixed, "all of it"),
    ] {
        let Ok(model) = named(&catalog, name) else { continue };
        let goal = TrainingGoal {
            setting: Training::new(method.clone(), 1, 2048),
            methods: vec![method],
            sequences: 256,
            steps: 1000.0,
            limits: Limits::default(),
            interruptions: Interruptions::usual(),
        };
        for (offers, where_) in [(&one, "one offer"), (&all, "all offers")] {
            let choices = Choices::up_to(256, goal.sequences);
            let Ok(plan) = train(&model, &goal, &choices, offers) else { continue };
            group.throughput(Throughput::Elements(plan.configurations()));
            group.bench_function(format!("{name}, {what}, {where_}"), |b| {
                b.iter(|| train(black_box(&model), &goal, &choices, offers));
            });
        }
    }
    group.finish();
}

/// What `plan infer` searches by default, in three forms of the weights: a usual model, and the one that takes longest, on a machine that holds it.
fn serving(c: &mut Criterion) {
    let Ok(catalog) = Catalog::embedded() else { return };
    let all = everything(&catalog);
    let powers = |most: u32| (0..=most).map(|power| 1 << power).collect::<Vec<u64>>();
    let goal = ServingGoal {
        setting: Inference::new(Precision::Bf16, 1, 4096, 256),
        precisions: vec![Precision::Bf16, Precision::Fp8, Precision::INT4],
        batches: powers(8),
        tensor: powers(3),
        pipeline: vec![1],
        most: 64,
        throughput: None,
        request: None,
        first: None,
        each: None,
        per_hour: None,
    };
    let mut group = c.benchmark_group("configurations of a plan to serve");
    group.sample_size(10);
    for (name, gpu) in [("Llama-3.1-8B", "H100 SXM"), ("DeepSeek-V3", "H200 SXM")] {
        let Ok(model) = named(&catalog, name) else { continue };
        for (offers, where_) in [(&eight(&all, gpu), "one offer"), (&all, "all offers")] {
            let Ok(plan) = infer(&model, &goal, offers) else { continue };
            group.throughput(Throughput::Elements(plan.configurations()));
            group.bench_function(format!("{name}, {where_}"), |b| b.iter(|| infer(black_box(&model), &goal, offers)));
        }
    }
    group.finish();
}

criterion_group!(benches, training, serving);
criterion_main!(benches);
