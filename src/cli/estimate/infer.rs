//! `estimate infer`: reading a prompt and writing an answer.

use clap::{Args, ValueEnum};

use super::super::{Common, Format, Status, catalog_of, print, print_tables};
use super::cost::Job;
use super::place::Place;
use super::show::{Estimate, Reserved, show};
use super::time::{Limits, Time};
use super::train::{gigabytes_of_guide, guide_table};
use super::{Formula, Shared, json, model, place, refuse_beyond_guide, words};
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::estimate::time::{self, Launching, Software};
use crate::estimate::{advice, guide_formula, memory};
use crate::lang::{Lang, Text};
use crate::table::Cell;
use crate::workload::{AttentionKernel, Inference, KvPrecision, Model, Precision};

/// Whose code runs the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Engine {
    /// A server: exact pages, prompts in pieces of 2048 tokens, fused kernels
    #[default]
    Server,
    /// vLLM: the same with pages of 16 tokens
    Vllm,
    /// Hugging Face's transformers: a cache that grows by concatenation, whole prompts at once, elementary operations
    Transformers,
    /// llama.cpp: a cache made once, prompts in pieces of 512 tokens
    LlamaCpp,
}

#[derive(Debug, Args)]
// A negative number is then a wrong value of its option, not an unknown option.
#[command(allow_negative_numbers = true)]
pub(super) struct Arguments {
    #[command(flatten)]
    model: model::ModelArguments,

    #[command(flatten)]
    shared: Shared,

    #[command(flatten)]
    place: place::PlaceArguments,

    /// How weights are stored: fp32, bf16, fp16, fp8, int8, int4, nf4, mxfp4, gptq4, awq, q4_k_m and others
    #[arg(long, value_name = "FORMAT", default_value = "bf16")]
    precision: String,

    /// How cached keys and values are stored: fp32, bf16, fp8, int8, int4 [default: as they are computed]
    #[arg(long, value_name = "FORMAT")]
    kv_precision: Option<KvPrecision>,

    /// Sequences at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: u64,

    /// Tokens of a prompt, image tokens included
    #[arg(long, value_name = "TOKENS", default_value_t = 4096)]
    seq: u64,

    /// Tokens of each answer
    #[arg(long, value_name = "TOKENS", default_value_t = 0)]
    output: u64,

    /// Attention's kernel: flash, eager [default: flash]
    #[arg(long, value_name = "KERNEL", value_parser = words::attention)]
    attention: Option<AttentionKernel>,

    /// Whose code runs the model [default: server; llama-cpp for its formats]
    #[arg(long, value_enum)]
    engine: Option<Engine>,

    /// Share of the whole GPU that vLLM takes at start (its gpu_memory_utilization) [default: 0.9]
    #[arg(long, value_name = "SHARE")]
    utilisation: Option<f64>,

    /// GPUs that share every product [default: 1]
    #[arg(long, value_name = "N")]
    tp: Option<u64>,

    /// Stages of layers [default: 1]
    #[arg(long, value_name = "N")]
    pp: Option<u64>,

    /// Images in each sequence
    #[arg(long, value_name = "N", default_value_t = 0)]
    images: u64,

    /// Size of the images in pixels
    #[arg(long, value_name = "WxH", value_parser = words::image_size)]
    image_size: Option<(u64, u64)>,
}

pub(super) fn infer(common: &Common, arguments: &Arguments) -> Result<Status> {
    arguments.shared.check()?;
    let catalog = catalog_of(common, &arguments.shared.shelves(&arguments.model, &arguments.place, true))?;
    if arguments.shared.formula == Formula::Guide {
        return guide(common, arguments, &catalog);
    }
    let model = arguments.model.exact(&catalog)?;
    let inference = arguments.inference()?;
    let place = place::find(common, &arguments.place, &catalog, arguments.shared.line_rate())?;
    let estimate = |inference: &Inference| memory::infer(&model, inference, &place.overheads);
    let memory = estimate(&inference)?;
    let advice = place.room.as_ref().map(|room| advice::infer(&inference, room, |other| estimate(other).ok()));
    let software = arguments.software(&inference);
    let answer = place.speeds.as_ref().map(|speeds| time::infer(&model, &inference, &software, speeds)).transpose()?;
    let limits = place.room.as_ref().map_or_else(Limits::default, |room| Limits {
        largest_batch: advice::largest_batch(&inference, room, |other| estimate(other).ok()),
        longest_prompt: advice::longest_prompt(&inference, room, |other| estimate(other).ok()),
    });
    let tokens = (if inference.output > 0 { inference.output } else { inference.seq } * inference.batch) as f64;
    let gpus = inference.tensor * inference.pipeline;
    let paid = answer.as_ref().map(|answer| Job { gpus, per_node: 8, time: answer.time.clone(), tokens });
    let cost = paid.map(|job| arguments.shared.cost.cost(&catalog, &arguments.place, &place, &job)).transpose()?.flatten();
    let shown = Estimate {
        cost,
        time: answer.map(|answer| Time::Answer(answer, limits)),
        model: &model,
        job: job(&inference),
        trainable: 0,
        memory: &memory,
        reserved: reserved(arguments, &model, &inference, &place)?,
        shared: inference.tensor > 1 || inference.pipeline > 1,
        room: place.room.as_ref(),
        advice,
        simulated: place.simulated,
    };
    Ok(arguments.shared.status(show(common, &shown)?))
}

/// What vLLM's share of the GPU leaves for its cache; nothing for other engines, without a GPU, and where weights and a prefill step already
/// fill the share, which the verdict then says.
fn reserved(arguments: &Arguments, model: &Model, inference: &Inference, place: &Place) -> Result<Option<Reserved>> {
    /// vLLM's default.
    const USUAL: f64 = 0.9;
    let share = arguments.utilisation.unwrap_or(USUAL);
    if !(share > 0.0 && share <= 1.0) {
        return Err(Error::usage(format!("expected a --utilisation above 0 and up to 1 but found {share}")));
    }
    if arguments.engine != Some(Engine::Vllm) {
        if arguments.utilisation.is_some() {
            return Err(Error::usage("--utilisation is vLLM's; add --engine vllm"));
        }
        return Ok(None);
    }
    let Some(room) = &place.room else { return Ok(None) };
    let left = memory::reserve(model, inference, &place.overheads, room.capacity.value, share).ok();
    Ok(left.map(|left| Reserved { share, length: inference.length(), left }))
}

/// The setting in few words.
fn job(inference: &Inference) -> String {
    let mut job = format!("{}, batch {} × {}", inference.precision, inference.batch, inference.seq);
    if inference.output > 0 {
        job.push_str(&format!(" + {}", inference.output));
    }
    if inference.kv_precision != KvPrecision::Computed {
        job.push_str(&format!(", KV cache {}", inference.kv_precision));
    }
    for (name, degree) in [("tp", inference.tensor), ("pp", inference.pipeline)] {
        if degree > 1 {
            job.push_str(&format!(", {name} {degree}"));
        }
    }
    job
}

impl Arguments {
    /// Whose code runs a model in `precision`.
    fn engine(&self, precision: Precision) -> Engine {
        self.engine.unwrap_or(if matches!(precision, Precision::Gguf(_)) { Engine::LlamaCpp } else { Engine::Server })
    }

    /// How that code launches its kernels.
    fn software(&self, inference: &Inference) -> Software {
        let usual = Software::inference(inference);
        match self.engine(inference.precision) {
            Engine::LlamaCpp => Software { launching: Launching::Native, ..usual },
            Engine::Server | Engine::Vllm | Engine::Transformers => usual,
        }
    }

    fn inference(&self) -> Result<Inference> {
        let precision: Precision = self.precision.parse()?;
        let usual = Inference::new(precision, self.batch, self.seq, self.output);
        let usual = match self.engine(precision) {
            Engine::Server => usual,
            Engine::Vllm => usual.vllm(),
            Engine::Transformers => usual.transformers(),
            Engine::LlamaCpp => usual.llama_cpp(),
        };
        Ok(Inference {
            kv_precision: self.kv_precision.unwrap_or(usual.kv_precision),
            attention: self.attention.unwrap_or(usual.attention),
            tensor: self.tp.unwrap_or(1),
            pipeline: self.pp.unwrap_or(1),
            images: words::images(self.images, self.image_size)?,
            ..usual
        })
    }
}

/// The guide's calculator's answer.
fn guide(common: &Common, arguments: &Arguments, catalog: &Catalog) -> Result<Status> {
    refuse_beyond_guide(&[
        ("--kv-precision", arguments.kv_precision.is_some_and(|kv| kv != KvPrecision::Bf16)),
        ("--output", arguments.output > 0),
        ("--attention", arguments.attention.is_some_and(|kernel| kernel != AttentionKernel::Flash)),
        ("--engine", arguments.engine.is_some()),
        ("--utilisation", arguments.utilisation.is_some()),
        ("--tp", arguments.tp.is_some_and(|degree| degree != 1)),
        ("--pp", arguments.pp.is_some_and(|degree| degree != 1)),
        ("--images", arguments.images > 0),
        ("--image-size", arguments.image_size.is_some()),
    ])?;
    let answer = guide_formula::infer(&arguments.model.guide(catalog)?, arguments.precision.parse()?, arguments.batch, arguments.seq)?;
    if common.format == Format::Json {
        print(&json::text(&answer)?)?;
        return Ok(Status::Done);
    }
    let lang: Lang = common.lang.into();
    let mut table = guide_table(format!("{}, {}", answer.model, answer.precision), lang);
    for (name, gigabytes) in [
        (Text::new("weights", "가중치"), answer.params_memory_gb),
        (Text::new("KV cache", "KV 캐시"), answer.kv_cache_gb),
        (Text::new("overhead", "오버헤드"), answer.overhead_gb),
        (Text::new("total", "합계"), answer.total_vram_gb),
    ] {
        table.row([Cell::text(name.get(lang)), gigabytes_of_guide(gigabytes)]);
    }
    print_tables(&[table], common)?;
    Ok(Status::Done)
}
