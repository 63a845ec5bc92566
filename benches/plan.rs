//! How many configurations a plan decides per second: at least 100,000 are asked for on one core, whether one offer is searched or all of them.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gpu_assay::catalog::Catalog;
use gpu_assay::estimate::cost::{Interruptions, offered};
use gpu_assay::estimate::plan::{Choices, Limits, Offer, TrainingGoal, train};
use gpu_assay::workload::{Adapters, Method, Targets, Training, named};
use std::hint::black_box;

fn plans(c: &mut Criterion) {
    let Ok(catalog) = Catalog::embedded() else { return };
    let all = catalog.gpus.iter().filter(|gpu| offered(&catalog, gpu, false).next().is_some());
    let all: Vec<Offer> = all.filter_map(|gpu| Offer::usual(&catalog, gpu, false, None).ok()).flatten().collect();
    let eight = |offer: &&Offer| offer.gpu == "H100 SXM" && offer.machine == 8;
    let one: Vec<Offer> = all.iter().find(eight).cloned().into_iter().collect();
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

criterion_group!(benches, plans);
criterion_main!(benches);
