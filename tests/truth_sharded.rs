//! Training memory on many GPUs beside what other people ran.
//!
//! The measurements lie outside the repository, in `../shared/truth` or `$GPU_ASSAY_TRUTH`; where they are absent each test prints one line
//! and passes. Shapes, settings and assumed overheads are all that enters a prediction: nothing is fitted. Each test prints every row and what came
//! of its set, and asserts the target where it is reached; `docs/accuracy.md` says what is missed and why.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod published;

use std::sync::LazyLock;

use gpu_assay::catalog::Catalog;
use gpu_assay::estimate::fit::{Room, Verdict};
use gpu_assay::estimate::memory::{Memory, Overheads, Part, Phase, train};
use gpu_assay::workload::{
    Adapters, AttentionKernel, Checkpointing, CrossEntropy, Data, Framework, Method, Model, Optimizer, Parallel, Positions, Targets,
    Training, named,
};
use published::{Point, points};

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::embedded().unwrap());

impl Point {
    /// What `key=` says in the remarks.
    fn remark(&self, key: &str) -> &str {
        let found = self.other.split(';').find_map(|item| item.trim().strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("{key} is not in {}", self.other))
    }

    fn label(&self) -> String {
        format!("{} on {}×{} batch {} seq {}", self.model, self.gpus, self.gpu, self.batch, self.seq)
    }
}

fn model(name: &str) -> Model {
    named(&CATALOG, name).unwrap()
}

fn estimate(model: &Model, training: &Training, gpu: &str) -> (Memory, Room) {
    let gpu = CATALOG.gpu(gpu).unwrap();
    (train(model, training, &Overheads::prior(Some(gpu))).unwrap(), Room::of(gpu))
}

/// The GPU of a row by its name in the catalog.
fn gpu(name: &str) -> &'static str {
    if name.to_lowercase().contains("40gb") { "A100 SXM 40GB" } else { "A100 SXM 80GB" }
}

/// llm-foundry's throughput tables: MPT of nine sizes, FSDP, sequences of 512 to 65,536, batches grown until they no longer fitted.
#[test]
fn what_llm_foundry_ran_fits() {
    let Some(rows) = points(|point| point.kind == "train_mem_fit") else { return };
    let mut said = [0; 3];
    for row in &rows {
        assert_eq!(row.value, 1.0, "a row that did not run: {}", row.label());
        let mut model = model(&format!("{}-foundry", row.model));
        // The table of positions is as long as the sequence.
        model.text.positions = Positions::Learned(row.seq);
        assert_eq!(model.parameters(), row.remark("MPT params").parse::<u64>().unwrap(), "{}", row.label());
        let training = Training {
            checkpointing: if row.remark("act_ckpt") == "True" { Checkpointing::Full } else { Checkpointing::None },
            grad_accum: row.remark("grad_accum").parse().unwrap(),
            cross_entropy: CrossEntropy::InPlace,
            parallel: Parallel { gpus: row.gpus, data: Data::Fsdp, ..Parallel::ONE },
            optimizer: Optimizer::AdamWFused,
            ..Training::new(Method::AmpBf16, row.batch, row.seq)
        };
        let (memory, room) = estimate(&model, &training, gpu(&row.gpu));
        let verdict = room.verdict(&memory);
        println!(
            "{:56} {:7.2} of {:5.1} GiB {:7} {:?}",
            row.label(),
            memory.device.value.as_gib(),
            room.capacity.value.as_gib(),
            verdict.word(),
            memory.peak().unwrap().phase
        );
        said[verdict as usize] += 1;
    }
    let [yes, no, unknown] = said;
    println!("=== llm-foundry, FSDP: {} rows that ran: fits {yes}, no {no}, unknown {unknown}", rows.len());
    assert!(said[Verdict::Yes as usize] * 100 >= 95 * rows.len());
}

/// Korthikanti et al., figure 7: activations of one layer over those of tensor parallelism alone, read off the plot.
#[test]
fn korthikantis_relative_activations_are_reproduced() {
    let Some(rows) = points(|point| point.kind == "train_mem_rel") else { return };
    let mut worst: f64 = 0.0;
    for row in &rows {
        let (hidden, heads) = match row.model.as_str() {
            "megatron-22B" => (6144, 64),
            "gpt3-175B" => (12_288, 96),
            "turing-530B" => (20_480, 128),
            "megatron-1T" => (25_600, 160),
            other => panic!("model {other}"),
        };
        let config = serde_json::json!({
            "model_type": "gpt2", "n_embd": hidden, "n_head": heads, "n_layer": 96, "vocab_size": 51_200, "n_positions": 2048,
            "activation_function": "gelu"
        });
        let model = Model::from_config(&row.model, &config).unwrap();
        let activations = |sequence, checkpointing| {
            let training = Training {
                attention: AttentionKernel::Eager,
                dropout: true,
                framework: Framework::Megatron,
                parallel: Parallel { gpus: 8, tensor: 8, sequence, ..Parallel::ONE },
                checkpointing,
                ..Training::new(Method::FullMixed { fp32_gradients: true }, 1, row.seq)
            };
            let memory = train(&model, &training, &Overheads::prior(None)).unwrap();
            let forward = memory.moments.iter().find(|moment| moment.phase == Phase::Forward).unwrap();
            forward.footprint[Part::Activations].as_f64()
        };
        let (sequence, checkpointing) = match row.method.trim_start_matches("Megatron TP8 ") {
            "none" => (false, Checkpointing::None),
            "SP" => (true, Checkpointing::None),
            "selective" => (false, Checkpointing::Selective),
            "SP+selective" => (true, Checkpointing::Selective),
            "full" => (false, Checkpointing::Full),
            other => panic!("method {other}"),
        };
        let predicted = 100.0 * activations(sequence, checkpointing) / activations(false, Checkpointing::None);
        println!("{:16} {:28} {predicted:6.2} % published {:6.2} %", row.model, row.method, row.value);
        worst = worst.max((predicted - row.value).abs());
    }
    println!("=== Korthikanti, relative activations: {} rows, worst {worst:.2} points", rows.len());
    assert!(worst <= 0.5);
}

/// Qwen's own table: LoRA and full training of its first models on 2 and 4 A100s by DeepSpeed; the rows are sums over GPUs.
#[test]
fn qwen_on_several_gpus_is_near_what_was_measured() {
    let Some(rows) = points(|point| point.kind == "train_mem" && point.metric == "mem_total" && point.gpus > 1) else { return };
    let mut errors = Vec::new();
    for row in &rows {
        assert!(row.source.contains("Qwen"));
        let targets = Targets::Some { q: true, k: true, v: true, o: true, gate: true, up: true, down: true };
        let adapters = Adapters { rank: 64, targets, dropout: true, fp32: false };
        let (method, data) = match row.method.as_str() {
            "Full-parameter" => (Method::FullMixed { fp32_gradients: false }, Data::Zero3),
            "LoRA (multinode)" => (Method::Lora(adapters), Data::Zero2),
            "LoRA + Deepspeed Zero3" => (Method::Lora(adapters), Data::Zero3),
            other => panic!("method {other}"),
        };
        let training = Training {
            checkpointing: Checkpointing::Full,
            grad_accum: 8,
            parallel: Parallel { gpus: row.gpus, data, ..Parallel::ONE },
            optimizer: Optimizer::AdamWFused,
            ..Training::new(method, row.batch, row.seq)
        };
        let (memory, _) = estimate(&model(&row.model), &training, gpu(&row.gpu));
        let (predicted, measured) = (memory.device.value.as_gib(), row.value / row.gpus as f64);
        let error = predicted / measured - 1.0;
        println!(
            "{:60} {predicted:7.2} measured {measured:7.2} GiB {:+6.2} % {:?}",
            format!("{} {}", row.method, row.label()),
            100.0 * error,
            memory.peak().unwrap().phase
        );
        errors.push(error.abs());
    }
    errors.sort_by(f64::total_cmp);
    println!(
        "=== Qwen on several GPUs: {} rows, median {:.1} %, worst {:.1} %",
        errors.len(),
        100.0 * errors[errors.len() / 2],
        100.0 * errors[errors.len() - 1]
    );
    // The target of 7 % is missed; this only guards what is reached.
    assert!(errors[errors.len() / 2] <= 0.12);
}

/// LitGPT's table: LoRA by FSDP on 2 and 4 A100s of 40 GB. Lightning loads a checkpoint by gathering it whole on every GPU, which takes more
/// than a step: the rows hardly depend on the batch.
#[test]
fn litgpts_rows_on_several_gpus_are_of_loading() {
    let Some(rows) = points(|point| point.kind == "train_mem" && point.gpus > 1 && point.source.contains("litgpt")) else { return };
    let mut errors = Vec::new();
    for row in &rows {
        let name = match row.model.as_str() {
            "Llama 2 7 B" => "Llama-2-7B",
            "Llama 2 13 B" => "Llama-2-13B",
            "Falcon 40 B" => "Falcon-40B",
            _ => continue,
        };
        let model = model(name);
        let targets = Targets::Some { q: true, k: false, v: true, o: false, gate: false, up: false, down: false };
        let adapters = Adapters { rank: 8, targets, dropout: true, fp32: false };
        let training = Training {
            checkpointing: Checkpointing::Full,
            framework: Framework::Lightning,
            parallel: Parallel { gpus: row.gpus, data: Data::Fsdp, ..Parallel::ONE },
            ..Training::new(Method::Lora(adapters), row.batch, row.seq)
        };
        let (memory, room) = estimate(&model, &training, gpu(&row.gpu));
        let peak = memory.peak().unwrap();
        let predicted = memory.allocated.value.as_f64() / 1e9;
        let verdict = room.verdict(&memory);
        println!("{:60} {predicted:6.2} GB ({:?}), {verdict:?}; {} {}", row.label(), peak.phase, row.metric, row.value);
        assert_eq!(peak.phase, Phase::Load);
        if row.metric == "peak_mem" {
            errors.push((predicted / row.value - 1.0).abs());
            assert_ne!(verdict, Verdict::No, "{} ran", row.label());
        } else {
            assert_ne!(verdict, Verdict::Yes, "{} ran out of memory", row.label());
        }
    }
    errors.sort_by(f64::total_cmp);
    println!(
        "LitGPT by FSDP: {} rows, median error {:.1} %, worst {:.1} %",
        errors.len(),
        errors[errors.len() / 2] * 100.0,
        errors[errors.len() - 1] * 100.0
    );
    assert!(errors[errors.len() - 1] < 0.15);
}
