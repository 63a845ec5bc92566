//! What an estimate of memory costs: it is asked for thousands of times where plans are compared, and has a few microseconds.

use criterion::{Criterion, criterion_group, criterion_main};
use gpu_assay::catalog::Catalog;
use gpu_assay::estimate::memory::{Overheads, infer, train};
use gpu_assay::workload::{Adapters, Inference, Method, Mix, Parallel, Precision, Targets, Training, named};
use std::hint::black_box;

fn inference(c: &mut Criterion) {
    let Ok(catalog) = Catalog::embedded() else { return };
    let overheads = Overheads::prior(None);
    for name in ["Llama-3.1-8B", "DeepSeek-V3", "Qwen2-VL-7B"] {
        let Ok(model) = named(&catalog, name) else { continue };
        for precision in [Precision::Bf16, Precision::Awq { group: 128 }, Precision::Gguf(Mix::Q4KM)] {
            let job = Inference::new(precision, 8, 4096, 256);
            c.bench_function(&format!("memory of inference, {name}, {precision}"), |b| {
                b.iter(|| infer(black_box(&model), black_box(&job), &overheads));
            });
        }
    }
}

fn training(c: &mut Criterion) {
    let Ok(catalog) = Catalog::embedded() else { return };
    let overheads = Overheads::prior(None);
    let adapters = Adapters { rank: 16, targets: Targets::AllLinear, dropout: false, fp32: true };
    let jobs = [
        ("all of it", Training::new(Method::FullMixed { fp32_gradients: true }, 2, 4096)),
        ("LoRA", Training::new(Method::Lora(adapters), 2, 4096)),
        (
            "all of it on 8 GPUs",
            Training {
                parallel: Parallel { gpus: 8, tensor: 2, ..Parallel::ONE },
                ..Training::new(Method::FullMixed { fp32_gradients: true }, 2, 4096)
            },
        ),
    ];
    for name in ["Llama-3.1-8B", "DeepSeek-V3"] {
        let Ok(model) = named(&catalog, name) else { continue };
        for (what, job) in &jobs {
            c.bench_function(&format!("memory of training, {name}, {what}"), |b| {
                b.iter(|| train(black_box(&model), black_box(job), &overheads));
            });
        }
    }
}

criterion_group!(benches, inference, training);
criterion_main!(benches);
