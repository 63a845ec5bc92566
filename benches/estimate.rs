//! What an estimate costs: it is asked for thousands of times where plans are compared. Memory has a few microseconds, time with it 50.

use criterion::{Criterion, criterion_group, criterion_main};
use gpu_assay::catalog::Catalog;
use gpu_assay::estimate::memory::{Overheads, infer, train};
use gpu_assay::estimate::time;
use gpu_assay::workload::{Adapters, Data, Images, Inference, Method, Mix, Parallel, Precision, Quantised, Targets, Training, named};
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
    let full = Training::new(Method::FullMixed { fp32_gradients: true }, 2, 4096);
    let adapters = Adapters { rank: 16, targets: Targets::AllLinear, dropout: false, fp32: true };
    let lora = Training::new(Method::Lora(adapters.clone()), 2, 4096);
    let on_8 = Parallel { gpus: 8, ..Parallel::ONE };
    let jobs = [
        ("all of it", full.clone()),
        ("LoRA", lora.clone()),
        ("QLoRA", Training::new(Method::Qlora(adapters, Quantised::Nf4Double), 2, 4096)),
        ("all of it on 8 GPUs", Training { parallel: Parallel { tensor: 2, ..on_8 }, ..full.clone() }),
        ("all of it by FSDP on 8 GPUs", Training { parallel: Parallel { data: Data::Fsdp, ..on_8 }, ..full.clone() }),
        ("LoRA by FSDP on 8 GPUs", Training { parallel: Parallel { data: Data::Fsdp, ..on_8 }, ..lora }),
        // Every stage is estimated whose layers differ from those of the stage before.
        ("all of it in 4 stages on 8 GPUs", Training { parallel: Parallel { tensor: 2, pipeline: 4, ..on_8 }, grad_accum: 8, ..full }),
    ];
    // A usual model, and those of the catalog that take longest: latent attention with experts, two kinds of layers under a vision tower, and
    // tiles to be chosen.
    for name in ["Llama-3.1-8B", "DeepSeek-V3", "Gemma-3-27B", "InternVL2-26B"] {
        let Ok(model) = named(&catalog, name) else { continue };
        let images = if model.vision.is_some() { Images { count: 1, width: 896, height: 896 } } else { Images::default() };
        for (what, job) in &jobs {
            let job = Training { images, ..job.clone() };
            c.bench_function(&format!("memory of training, {name}, {what}"), |b| {
                b.iter(|| train(black_box(&model), black_box(&job), &overheads));
            });
        }
    }
}

fn with_time(c: &mut Criterion) {
    let Ok(catalog) = Catalog::embedded() else { return };
    let Ok(gpu) = catalog.gpu("H100 SXM") else { return };
    let (overheads, speeds) = (Overheads::prior(Some(gpu)), time::Speeds::assumed(gpu, &catalog, None));
    c.bench_function("what a GPU's speeds are assumed to be", |b| b.iter(|| time::Speeds::assumed(black_box(gpu), &catalog, None)));
    for name in ["Llama-3.1-8B", "DeepSeek-V3"] {
        let Ok(model) = named(&catalog, name) else { continue };
        let adapters = Adapters { rank: 16, targets: Targets::AllLinear, dropout: false, fp32: true };
        let eight = Parallel { gpus: 8, ..Parallel::ONE };
        for (what, job) in [
            ("all of it on 8 GPUs", Training { parallel: eight, ..Training::new(Method::FullMixed { fp32_gradients: true }, 2, 4096) }),
            ("LoRA", Training::new(Method::Lora(adapters), 2, 4096)),
        ] {
            let software = time::Software::training(&job);
            c.bench_function(&format!("memory and time of training, {name}, {what}"), |b| {
                b.iter(|| (train(black_box(&model), black_box(&job), &overheads), time::train(&model, &job, &software, &speeds)));
            });
        }
        let job = Inference::new(Precision::Bf16, 8, 4096, 256);
        let software = time::Software::inference(&job);
        c.bench_function(&format!("memory and time of inference, {name}"), |b| {
            b.iter(|| (infer(black_box(&model), black_box(&job), &overheads), time::infer(&model, &job, &software, &speeds)));
        });
    }
}

criterion_group!(benches, inference, training, with_time);
criterion_main!(benches);
