//! Inference memory and weights beside what other people measured.
//!
//! The measurements lie outside the repository, in `../shared/truth` or `$GPU_ASSAY_TRUTH`; where they are absent each test prints one line
//! and passes. Shapes, settings and the libraries' buffers are all that enters a prediction: nothing is fitted. Each test prints every row and
//! the errors of its set, and asserts the target where it is reached; `docs/accuracy.md` says what is missed and why.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod published;

use std::sync::LazyLock;

use gpu_assay::catalog::Catalog;
use gpu_assay::estimate::fit::{Room, Verdict};
use gpu_assay::estimate::memory::{Memory, Overheads, Part, Phase, infer};
use gpu_assay::workload::{Cache, Inference, KvPrecision, Model, Precision, named};
use published::Point;

const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

impl Point {
    /// The value in bytes. Tools that print "GB" of `torch` memory divide by 2³⁰ (Qwen) or by 10⁹ (LitGPT); "MB" of Qwen 3 is 2²⁰.
    fn bytes(&self) -> f64 {
        self.value
            * match self.unit.as_str() {
                "MB" => MIB,
                "GB" if self.source.contains("Qwen") => GIB,
                "GB" => 1e9,
                "GiB" => GIB,
                unit => panic!("unit {unit}"),
            }
    }
}

/// The points of `kind` whose source contains `source`, or `None` where there is no truth.
fn points(kind: &str, source: &str) -> Option<Vec<Point>> {
    published::points(|point| point.kind == kind && point.source.contains(source))
}

/// Signed relative errors of a set, printed as they come in.
struct Errors {
    set: &'static str,
    of: Vec<f64>,
}

impl Errors {
    fn new(set: &'static str) -> Self {
        println!("--- {set}");
        Self { set, of: Vec::new() }
    }

    fn add(&mut self, row: &str, predicted: f64, measured: f64, unit: f64) {
        let error = predicted / measured - 1.0;
        println!("{row:60} {:10.3} measured {:10.3} {:+6.2} %", predicted / unit, measured / unit, error * 100.0);
        self.of.push(error);
    }

    /// Median, 90th percentile and largest magnitude.
    fn summary(&self) -> (f64, f64, f64) {
        let mut sizes: Vec<f64> = self.of.iter().map(|error| error.abs()).collect();
        sizes.sort_by(f64::total_cmp);
        let at = |share: f64| sizes[((sizes.len() - 1) as f64 * share).round() as usize];
        let found = (at(0.5), at(0.9), at(1.0));
        println!(
            "=== {}: {} rows, median {:.2} %, p90 {:.2} %, worst {:.2} %",
            self.set,
            sizes.len(),
            found.0 * 100.0,
            found.1 * 100.0,
            found.2 * 100.0
        );
        found
    }
}

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::embedded().unwrap());

/// What is known of a GPU's costs without measuring it.
fn overheads(gpu: &str) -> Overheads {
    Overheads::prior(Some(CATALOG.gpu(gpu).unwrap()))
}

/// How often a job is said to fit.
struct Verdicts {
    room: Room,
    said: [usize; 3],
}

impl Verdicts {
    fn new(gpu: &str) -> Self {
        Self { room: Room::of(CATALOG.gpu(gpu).unwrap()), said: [0; 3] }
    }

    fn add(&mut self, memory: &Memory) -> Verdict {
        let verdict = self.room.verdict(memory);
        self.said[match verdict {
            Verdict::Yes => 0,
            Verdict::Unknown => 1,
            Verdict::No => 2,
        }] += 1;
        verdict
    }

    /// The share of rows that are said to fit.
    fn fitting(&self) -> f64 {
        let [yes, unknown, no] = self.said;
        println!("=== rows that ran: {yes} said to fit, {unknown} unknown, {no} said not to fit");
        yes as f64 / (yes + unknown + no) as f64
    }
}

/// The catalog's model of the name that a table uses.
fn model(name: &str) -> Model {
    let known = match name {
        "phi-1.5 1.3 B" => "Phi-1.5",
        "StableLM Alpha 3 B" => "StableLM-Base-Alpha-3B",
        other => other,
    };
    let dashed: Vec<&str> = known.split(' ').collect();
    // "Llama 2 13 B" is "Llama-2-13B".
    let catalogued = dashed.join("-").replace("-B", "B");
    named(&CATALOG, if known == name && name.contains(' ') { &catalogued } else { known }).unwrap()
}

fn weights(model: &Model, inference: &Inference) -> f64 {
    let memory = infer(model, inference, &overheads("A100 SXM 80GB")).unwrap();
    memory.moments[0].footprint[Part::Weights].as_f64()
}

fn at(memory: &Memory, phase: Phase) -> f64 {
    memory.moments.iter().filter(|moment| moment.phase == phase).map(|moment| moment.footprint.total()).max().unwrap().as_f64()
}

#[test]
fn gguf_files() {
    let Some(points) = points("weights", "") else { return };
    let mut bits = Errors::new("GGUF: bits per weight, Llama 3.1");
    let mut older = Errors::new("GGUF: bits per weight, Llama 2 (rules of 2023)");
    let mut sizes = Errors::new("GGUF: file sizes");
    for point in points {
        let precision: Precision = point.method.trim_start_matches("GGUF ").parse().unwrap();
        let model = model(&point.model);
        let bytes = weights(&model, &Inference::new(precision, 1, 1, 0));
        let row = format!("{} {precision}", point.model);
        match point.metric.as_str() {
            "file_size" => sizes.add(&row, bytes, point.bytes(), 1e9),
            _ => {
                let set = if point.model.starts_with("Llama-3") { &mut bits } else { &mut older };
                set.add(&row, bytes * 8.0 / model.parameters() as f64, point.value, 1.0);
            }
        }
    }
    let (_, _, worst) = bits.summary();
    assert!(worst <= 0.0001);
    let (median, _, _) = older.summary();
    assert!(median <= 0.01);
    let (median, p90, _) = sizes.summary();
    assert!(median <= 0.01 && p90 <= 0.01);
}

#[test]
fn qwen3_on_h20() {
    let Some(points) = points("infer_mem", "Qwen3") else { return };
    let mut usual = Errors::new("Qwen 3 on H20, at least 6,144 tokens in, settings as they are by default");
    let mut decode = Errors::new("Qwen 3 on H20, at least 6,144 tokens in, while transformers decodes");
    let mut whole = Errors::new("Qwen 3 on H20, at least 6,144 tokens in, if transformers read the prompt at once");
    let mut short = Errors::new("Qwen 3 on H20, one token in, while transformers decodes");
    for point in points {
        let precision = point.method.rsplit(' ').next().unwrap();
        let model = model(&point.model);
        let mut inference = Inference::new(Precision::Bf16, point.batch, point.seq, 2048);
        inference.precision = match precision {
            "BF16" => Precision::Bf16,
            "FP8" => Precision::Fp8,
            "GPTQ-Int8" => Precision::Gptq { bits: 8, group: 128 },
            "AWQ-INT4" => Precision::Awq { group: 128 },
            other => panic!("{other}"),
        };
        // The list of packages beside the table has flash attention for all rows but AWQ's, which leaves SDPA to those.
        let transformers = Inference { repeat_kv: precision == "AWQ-INT4", ..inference.transformers() };
        let row = format!("{} {precision} {} tokens", point.model, point.seq);
        let memory = infer(&model, &transformers, &overheads("H20")).unwrap();
        if point.seq < 6144 {
            short.add(&row, at(&memory, Phase::Decode), point.bytes(), MIB);
            continue;
        }
        decode.add(&row, at(&memory, Phase::Decode), point.bytes(), MIB);
        whole.add(&row, memory.allocated.value.as_f64(), point.bytes(), MIB);
        let memory = infer(&model, &inference, &overheads("H20")).unwrap();
        usual.add(&row, memory.allocated.value.as_f64(), point.bytes(), MIB);
    }
    short.summary();
    whole.summary();
    let (median, _, _) = decode.summary();
    assert!(median <= 0.01);
    let (median, _, _) = usual.summary();
    assert!(median <= 0.01);
}

#[test]
fn qwen1_on_a100() {
    let Some(points) = points("infer_mem", "QwenLM/Qwen README") else { return };
    let mut generation = Errors::new("Qwen 1 on A100, generation of 2,048 tokens");
    let mut sixteen = Errors::new("Qwen 1 on A100, cache in 16 bits");
    let mut eight = Errors::new("Qwen 1 on A100, cache in 8 bits");
    let known = overheads("A100 SXM 80GB");
    let mut verdicts = Verdicts::new("A100 SXM 80GB");
    for point in points {
        let model = model(&point.model);
        // Prompts are short; the column says how many tokens were generated.
        let mut inference = Inference { cache: Cache::Tuple, ..Inference::new(Precision::Bf16, point.batch, 1, point.seq).transformers() };
        if point.method.ends_with("Int8") {
            inference.precision = Precision::Gptq { bits: 8, group: 128 };
        } else if point.method.ends_with("Int4") {
            inference.precision = Precision::Gptq { bits: 4, group: 128 };
        } else if point.method.ends_with("KV int8") {
            inference.kv_precision = KvPrecision::Int8;
        }
        let memory = infer(&model, &inference, &known).unwrap();
        let row = format!("{} {} x{} {}", point.model, point.method, point.batch, point.seq);
        let set = match point.method.as_str() {
            method if method.contains("generate") => &mut generation,
            method if method.contains("int8") => &mut eight,
            _ => &mut sixteen,
        };
        // Layers are spread over the GPUs by `device_map`, and the rows add the GPUs up.
        let extra = (point.gpus - 1) as f64 * known.workspace.value.as_f64();
        set.add(&row, memory.allocated.value.as_f64() + extra, point.bytes(), GIB);
        let each = infer(&model, &Inference { pipeline: point.gpus, ..inference }, &known).unwrap();
        verdicts.add(&each);
    }
    generation.summary();
    sixteen.summary();
    eight.summary();
    assert!(verdicts.fitting() >= 0.95);
}

#[test]
fn litgpt_on_a100() {
    let Some(points) = points("infer_mem", "litgpt") else { return };
    let mut errors = Errors::new("LitGPT on A100");
    let known = overheads("A100 SXM 40GB");
    let (mut ran, mut failed) = (Verdicts::new("A100 SXM 40GB"), Verdicts::new("A100 SXM 40GB"));
    for point in points {
        // LitGPT gives every model a head of its own.
        let mut model = model(&point.model);
        model.text.tied = false;
        let format = point.method.rsplit(['=', ' ']).next().unwrap();
        let precision = if format == "None" { Precision::Bf16 } else { format.parse().unwrap() };
        // The tables' sequence lengths are those of the training data; `generate` writes 50 tokens after a short prompt unless told otherwise.
        let output = if point.source.contains("quantize.md") { 256 } else { 50 };
        let inference = Inference { cache: Cache::Static, quantised_head: true, ..Inference::new(precision, 1, 10, output).transformers() };
        let inference = Inference { precision: if format == "bnb.int8" { Precision::LlmInt8 } else { precision }, ..inference };
        let memory = infer(&model, &inference, &known).unwrap();
        let row = format!("{} {}", point.model, point.method);
        if point.metric == "oom" {
            let verdict = failed.add(&memory);
            println!("{row:60} ran out of memory; said to fit: {}", verdict.word());
            assert_ne!(verdict, Verdict::Yes);
        } else {
            errors.add(&row, memory.allocated.value.as_f64(), point.bytes(), 1e9);
            ran.add(&memory);
        }
    }
    let (median, _, _) = errors.summary();
    assert!(median <= 0.01);
    assert!(ran.fitting() >= 0.95);
}
