//! Time of training and inference beside what other people measured.
//!
//! The measurements lie outside the repository, in `../shared/truth` or `$GPU_ASSAY_TRUTH`; where they are absent each test prints one line
//! and passes. Shapes, settings, the software of the time and the catalog's published figures are all that enters a prediction: nothing is fitted
//! to these rows. Each test prints every row and the errors of its set, signed, and how often the truth lies in the stated interval;
//! `docs/accuracy.md` says what is missed and why.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod published;

use std::sync::LazyLock;

use gpu_assay::catalog::Catalog;
use gpu_assay::estimate::time::{Answer, Flash, Launching, Parts, Software, Speeds, Unpacking, infer, train};
use gpu_assay::units::{BytesPerSecond, Seconds};
use gpu_assay::workload::{
    Adapters, AttentionKernel, Cache, Checkpointing, CrossEntropy, Data, Framework, Inference, Method, Model, Optimizer, Parallel,
    Positions, Precision, Quantised, Targets, Training, named,
};
use published::Point;

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::embedded().unwrap());

fn model(name: &str) -> Model {
    named(&CATALOG, name).unwrap()
}

fn speeds(gpu: &str, network: Option<f64>) -> Speeds {
    Speeds::assumed(CATALOG.gpu(gpu).unwrap(), &CATALOG, network.map(|gbit| BytesPerSecond(gbit / 8.0 * 1e9)))
}

/// Signed errors of a set, and how many rows lie in their interval.
struct Errors {
    set: &'static str,
    of: Vec<f64>,
    inside: usize,
}

impl Errors {
    fn new(set: &'static str) -> Self {
        println!("--- {set}");
        Self { set, of: Vec::new(), inside: 0 }
    }

    /// One row: times, so that too slow is positive.
    fn add(&mut self, row: &str, predicted: Seconds, (low, high): (Seconds, Seconds), measured: Seconds, more: &str) {
        let error = predicted / measured - 1.0;
        let inside = low <= measured && measured <= high;
        println!(
            "{row:58} {:9.4} s ({:8.4} – {:8.4}) measured {:9.4} {:+7.1} % {} {more}",
            predicted.0,
            low.0,
            high.0,
            measured.0,
            error * 100.0,
            if inside { " " } else { "!" }
        );
        self.of.push(error);
        self.inside += usize::from(inside);
    }

    /// Median of the signed errors, median of their sizes, and the share inside.
    fn summary(&self) -> (f64, f64, f64) {
        let at = |mut all: Vec<f64>, share: f64| {
            all.sort_by(f64::total_cmp);
            all[((all.len() - 1) as f64 * share).round() as usize]
        };
        let sizes = || self.of.iter().map(|error| error.abs()).collect::<Vec<_>>();
        let (signed, median) = (at(self.of.clone(), 0.5), at(sizes(), 0.5));
        let inside = self.inside as f64 / self.of.len() as f64;
        println!(
            "=== {}: {} rows, median {:+.1} % signed, {:.1} % in size, p90 {:.1} %, worst {:.1} %; {:.0} % in the interval",
            self.set,
            self.of.len(),
            signed * 100.0,
            median * 100.0,
            at(sizes(), 0.9) * 100.0,
            at(sizes(), 1.0) * 100.0,
            inside * 100.0
        );
        (signed, median, inside)
    }
}

/// The largest parts of a step, in percent.
fn parts(of: &Parts) -> String {
    let total = of.total();
    let mut parts: Vec<_> = of.iter().collect();
    parts.sort_by(|(_, _, a), (_, _, b)| b.0.total_cmp(&a.0));
    let shown = parts.iter().take(6).map(|(phase, kind, time)| format!("{phase:?}/{kind:?} {:.0}", *time / total * 100.0));
    shown.collect::<Vec<_>>().join(", ")
}

impl Point {
    /// What `key=` says in the remarks.
    fn remark(&self, key: &str) -> &str {
        let found = self.other.split(';').find_map(|item| item.trim().strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("{key} is not in {}", self.other))
    }
}

/// llm-foundry's throughput tables of 2023: MPT of nine sizes under FSDP, flash attention's first generation in Triton.
#[test]
fn mpt_on_a100() {
    let Some(rows) = published::points(|point| point.kind == "train_time" && point.metric == "throughput_per_gpu") else { return };
    let mut errors = Errors::new("llm-foundry, MPT on A100");
    let mut short = Errors::new("llm-foundry, MPT on A100, up to 2,048 tokens");
    for row in &rows {
        let mut model = model(&format!("{}-foundry", row.model));
        // The table of positions is as long as the sequence.
        model.text.positions = Positions::Learned(row.seq);
        let training = Training {
            checkpointing: if row.remark("act_ckpt") == "True" { Checkpointing::Full } else { Checkpointing::None },
            grad_accum: row.remark("grad_accum").parse().unwrap(),
            cross_entropy: CrossEntropy::InPlace,
            parallel: Parallel { gpus: row.gpus, data: Data::Fsdp, ..Parallel::ONE },
            ..Training::new(Method::AmpBf16, row.batch, row.seq)
        };
        let software = Software { flash: Flash::First, ..Software::training(&training) };
        let gpu = if row.gpu.contains("40gb") { "A100 SXM 40GB" } else { "A100 SXM 80GB" };
        // 1,600 Gbit/s between nodes of eight GPUs.
        let step = train(&model, &training, &software, &speeds(gpu, Some(200.0))).unwrap();
        let measured = Seconds((row.batch * row.seq * training.grad_accum) as f64 / row.value);
        let label = format!("{} {}×{} batch {} × {}", row.model, row.gpus, row.gpu, row.batch, row.seq);
        let interval = (step.time.low, step.time.high);
        errors.add(&label, step.time.value, interval, measured, &parts(&step.parts));
        if row.seq <= 2048 {
            short.add(&label, step.time.value, interval, measured, "");
        }
    }
    short.summary();
    let (_, median, inside) = errors.summary();
    assert!(median <= 0.10 && inside >= 0.85);
}

/// Qwen's own scripts: LoRA of rank 64 on every product, dropout, checkpointing, flash attention, 8 micro-batches; Q-LoRA on GPTQ checkpoints, which
/// AutoGPTQ unpacks in elementary operations.
#[test]
fn qwen_finetuning_on_a100() {
    let Some(rows) = published::points(|point| point.kind == "train_time" && point.source.contains("QwenLM/Qwen")) else { return };
    let adapters = || Adapters { rank: 64, targets: Targets::AllLinear, dropout: true, fp32: true };
    let mut all = Errors::new("Qwen 1, LoRA and Q-LoRA");
    for wanted in ["LoRA", "Q-LoRA", "LoRA + Deepspeed Zero3"] {
        let mut errors = Errors::new(match wanted {
            "LoRA" => "Qwen 1, LoRA",
            "Q-LoRA" => "Qwen 1, Q-LoRA",
            _ => "Qwen 1, LoRA under ZeRO-3",
        });
        for row in rows.iter().filter(|row| row.method == wanted) {
            let method = match wanted {
                "Q-LoRA" => Method::Qlora(adapters(), Quantised::Nf4Double),
                _ => Method::Lora(adapters()),
            };
            let data = if row.gpus > 1 { Data::Zero3 } else { Data::Ddp };
            let training = Training {
                checkpointing: Checkpointing::Full,
                grad_accum: 8,
                optimizer: Optimizer::AdamWForeach,
                parallel: Parallel { gpus: row.gpus, data, ..Parallel::ONE },
                ..Training::new(method, row.batch, row.seq)
            };
            let software = Software { flash: Flash::Second, unpacking: Unpacking::Elementary, ..Software::training(&training) };
            let step = train(&model(&row.model), &training, &software, &speeds("A100 SXM 80GB", None)).unwrap();
            let label = format!("{} {} seq {}", row.model, row.method, row.seq);
            let interval = (step.time.low, step.time.high);
            errors.add(&label, step.time.value, interval, Seconds(row.value), &parts(&step.parts));
            all.add(&label, step.time.value, interval, Seconds(row.value), "");
        }
        errors.summary();
    }
    let (_, median, inside) = all.summary();
    assert!(median <= 0.15 && inside >= 0.80);
}

fn answer(model: &Model, inference: &Inference, software: &Software, gpu: &str) -> Answer {
    infer(model, inference, software, &speeds(gpu, None)).unwrap()
}

/// Qwen's table of speeds: one request of 1 to 129,042 tokens, 2,048 written, on H20 with SGLang and with transformers.
#[test]
fn qwen3_on_h20() {
    let Some(rows) = published::points(|point| point.kind == "infer_time" && point.source.contains("Qwen3")) else { return };
    let mut all = Errors::new("Qwen 3 on H20");
    for engine in ["SGLang", "Transformers"] {
        let mut errors = Errors::new(if engine == "SGLang" { "Qwen 3 on H20, SGLang" } else { "Qwen 3 on H20, transformers" });
        for row in rows.iter().filter(|row| row.method.starts_with(engine)) {
            let precision = match row.method.rsplit(' ').next().unwrap() {
                "BF16" => Precision::Bf16,
                "FP8" => Precision::Fp8,
                "GPTQ-Int8" => Precision::Gptq { bits: 8, group: 128 },
                "AWQ-INT4" => Precision::Awq { group: 128 },
                other => panic!("{other}"),
            };
            let server = Inference { chunk: Some(8192), ..Inference::new(precision, row.batch, row.seq, 2048) };
            let inference = match engine {
                "SGLang" => server,
                // Flash attention for all rows but AWQ's, which leaves SDPA to those.
                _ => Inference { repeat_kv: matches!(precision, Precision::Awq { .. }), ..server.transformers() },
            };
            // Flash attention 2.7.4 is listed for transformers; SGLang takes the third.
            let flash = if engine == "SGLang" { Flash::Latest } else { Flash::Second };
            let software = Software { flash, ..Software::inference(&inference) };
            let answer = answer(&model(&row.model), &inference, &software, "H20");
            let measured = Seconds((row.seq + 2048) as f64 / row.value);
            let label = format!("{} {} {}", row.model, row.method, row.seq);
            let interval = (answer.time.low, answer.time.high);
            errors.add(&label, answer.time.value, interval, measured, &parts(&answer.parts));
            all.add(&label, answer.time.value, interval, measured, "");
        }
        let (_, median, inside) = errors.summary();
        // What transformers did in these rows is understood in part only: see `docs/accuracy.md`.
        assert!(median <= if engine == "SGLang" { 0.15 } else { 0.35 } && inside >= 0.70);
    }
    all.summary();
}

/// LMDeploy's static batches on A100, version 0.1.0a1 of November 2023: TurboMind's fused kernels, launched one by one from compiled code.
#[test]
fn lmdeploy_on_a100() {
    let Some(rows) = published::points(|point| point.kind == "infer_time" && point.source.contains("lmdeploy")) else { return };
    let mut whole = Errors::new("LMDeploy on A100, whole requests");
    let mut first = Errors::new("LMDeploy on A100, first token");
    for row in &rows {
        let output = row.other.trim_start_matches("output=").split(' ').next().unwrap().parse().unwrap();
        let usual = Inference::new(Precision::Fp16, row.batch, row.seq, output);
        let inference = Inference { chunk: None, tensor: row.gpus, ..usual };
        let usual = Software::inference(&inference);
        let software = Software { launching: Launching::Native, flash: Flash::Second, last_apart: true, ..usual };
        let answer = answer(&model(&row.model), &inference, &software, "A100 SXM 80GB");
        let label = format!("{} ×{} batch {} × {} + {output}", row.model, row.gpus, row.batch, row.seq);
        if row.metric == "TTFT" {
            let interval = (answer.prefill.low, answer.prefill.high);
            first.add(&label, answer.prefill.value, interval, Seconds(row.value / 1e3), "");
        } else {
            let measured = Seconds((row.batch * output) as f64 / row.value);
            whole.add(&label, answer.time.value, (answer.time.low, answer.time.high), measured, &parts(&answer.parts));
        }
    }
    let (_, median, _) = first.summary();
    assert!(median <= 0.15);
    let (_, median, inside) = whole.summary();
    assert!(median <= 0.15 && inside >= 0.85);
}

/// Generation of 2,048 tokens with transformers, and LitGPT's of 256.
#[test]
fn transformers_and_litgpt_on_a100() {
    let Some(rows) = published::points(|point| point.kind == "infer_time" && !point.source.contains("Qwen3")) else { return };
    let mut qwen = Errors::new("Qwen 1 on A100, transformers");
    let mut litgpt = Errors::new("LitGPT on A100");
    for row in rows.iter().filter(|row| !row.source.contains("lmdeploy")) {
        let is_qwen = row.source.contains("Qwen");
        let format = row.method.rsplit(' ').next().unwrap();
        let precision = match format {
            "Int8" => Precision::Gptq { bits: 8, group: 128 },
            "Int4" => Precision::Gptq { bits: 4, group: 128 },
            "bnb.int8" => Precision::LlmInt8,
            other => other.parse().unwrap(),
        };
        let output = if is_qwen { row.seq } else { 256 };
        let cache = if is_qwen { Cache::Tuple } else { Cache::Static };
        let usual = Inference { cache, ..Inference::new(precision, row.batch, 8, output).transformers() };
        let inference = Inference { pipeline: row.gpus, quantised_head: !is_qwen, ..usual };
        let gpu = if row.gpu.contains("40") { "A100 SXM 40GB" } else { "A100 SXM 80GB" };
        let software = Software { flash: Flash::Second, ..Software::inference(&inference) };
        let answer = answer(&model(&row.model), &inference, &software, gpu);
        let measured = Seconds(output as f64 / row.value);
        let set = if is_qwen { &mut qwen } else { &mut litgpt };
        let label = format!("{} {}", row.model, row.method);
        set.add(&label, answer.time.value, (answer.time.low, answer.time.high), measured, &parts(&answer.parts));
    }
    qwen.summary();
    litgpt.summary();
}

/// Korthikanti et al., arXiv 2205.05198, table 5: Megatron with 8-way tensor parallelism and a pipeline on A100s, attention with its scores
/// written out.
#[test]
fn megatron_on_a100() {
    let Some(rows) = published::points(|point| point.kind == "train_time" && point.metric.starts_with("iteration_time")) else { return };
    let mut errors = Errors::new("Megatron on A100");
    for row in &rows {
        let remark = |key: &str| row.other.split(',').find_map(|item| item.strip_prefix(key)?.strip_prefix('=')?.parse::<u64>().ok());
        let number = |key: &str| remark(key).unwrap_or_else(|| panic!("{key} is not in {}", row.other));
        let (layers, tensor, pipeline) = (number("L"), number("t"), number("p"));
        let config = serde_json::json!({
            "model_type": "gpt2", "n_embd": number("h"), "n_head": number("a"), "n_layer": layers, "vocab_size": 51_200,
            "n_positions": 2048, "activation_function": "gelu"
        });
        let model = Model::from_config(&row.model, &config).unwrap();
        let selective = row.method.contains("selective");
        let parallel = Parallel {
            gpus: row.gpus,
            tensor,
            pipeline,
            sequence: selective,
            interleave: remark("interleave").unwrap_or(1),
            ..Parallel::ONE
        };
        let training = Training {
            attention: AttentionKernel::Eager,
            dropout: true,
            framework: Framework::Megatron,
            parallel,
            checkpointing: if selective { Checkpointing::Selective } else { Checkpointing::Full },
            grad_accum: number("gbs") / row.batch,
            optimizer: Optimizer::AdamWFused,
            cross_entropy: CrossEntropy::InPlace,
            ..Training::new(Method::FullMixed { fp32_gradients: true }, row.batch, row.seq)
        };
        // Selene: eight links of 200 Gbit/s per node of eight GPUs.
        let step = train(&model, &training, &Software::training(&training), &speeds("A100 SXM 80GB", Some(200.0))).unwrap();
        let interval = (step.time.low, step.time.high);
        errors.add(&format!("{} {}", row.model, row.method), step.time.value, interval, Seconds(row.value), &parts(&step.parts));
    }
    let (_, median, _) = errors.summary();
    assert!(median <= 0.15);
}
