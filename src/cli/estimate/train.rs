//! `estimate train`: one training step.

use clap::Args;

use super::super::{Common, Format, Status, catalog_of, print, print_tables};
use super::adapting::{Adapting, Code};
use super::cost::Job;
use super::show::{Estimate, show};
use super::time::Time;
use super::words::{self, MethodWord};
use super::{Formula, Shared, json, model, place, refuse_beyond_guide};
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::estimate::time::{self, Loading, Software};
use crate::estimate::{advice, guide_formula, memory};
use crate::lang::{Lang, Text};
use crate::table::{Cell, Column, Table};
use crate::units::Seconds;
use crate::workload::{AttentionKernel, Checkpointing, CrossEntropy, Data, Framework, Offload, Optimizer, Parallel, Training};

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

    /// What is trained, in what precision: full-fp32, full-mixed, amp-bf16, full-bf16, lora, qlora
    #[arg(long, value_parser = words::method)]
    method: MethodWord,

    /// What updates it: adamw, sgd, adam-8bit, adamw-fused, adamw-foreach, paged-adam-8bit
    #[arg(long, value_name = "NAME", value_parser = words::optimizer, default_value = "adamw")]
    optimizer: Optimizer,

    /// Sequences of a micro-batch on one GPU
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: u64,

    /// Tokens of a sequence, image tokens included
    #[arg(long, value_name = "TOKENS", default_value_t = 2048)]
    seq: u64,

    #[command(flatten)]
    adapting: Adapting,

    /// What is recomputed instead of kept: none, selective, full [default: none; full for the guide's calculator]
    #[arg(long, value_name = "WHAT", value_parser = words::checkpointing)]
    checkpointing: Option<Checkpointing>,

    #[command(flatten)]
    code: Code,

    /// GPUs altogether [default: those of the instance, else tensor × pipeline degree]
    #[arg(long, value_name = "N")]
    gpus: Option<u64>,

    /// What data-parallel workers share: ddp, zero1, zero2, zero3, fsdp [default: ddp]
    #[arg(long, value_name = "HOW", value_parser = words::data)]
    parallel: Option<Data>,

    /// GPUs that share every product [default: 1]
    #[arg(long, value_name = "N")]
    tp: Option<u64>,

    /// Split activations between the products along the sequence too
    #[arg(long)]
    sequence_parallel: bool,

    /// Stages of layers [default: 1]
    #[arg(long, value_name = "N")]
    pp: Option<u64>,

    /// Pieces of layers per stage [default: 1]
    #[arg(long, value_name = "N")]
    interleave: Option<u64>,

    /// GPUs that share the experts [default: 1]
    #[arg(long, value_name = "N")]
    ep: Option<u64>,

    /// GPUs of one node, which share its host memory [default: 8]
    #[arg(long, value_name = "N")]
    gpus_per_node: Option<u64>,

    /// What lives in host memory: none, optimizer, all [default: none]
    #[arg(long, value_name = "WHAT", value_parser = words::offload)]
    offload: Option<Offload>,

    /// Images in each sequence
    #[arg(long, value_name = "N", default_value_t = 0)]
    images: u64,

    /// Size of the images in pixels
    #[arg(long, value_name = "WxH", value_parser = words::image_size)]
    image_size: Option<(u64, u64)>,

    /// Milliseconds that one worker takes to prepare a sequence with its images [default: data are there in time]
    #[arg(long, value_name = "MS")]
    load_ms: Option<f64>,

    /// Workers that prepare data while the GPU computes; 0: nobody does [default: 0]
    #[arg(long, value_name = "N", requires = "load_ms")]
    num_workers: Option<u64>,

    /// Optimizer steps, for the time and cost of all of them
    #[arg(long, value_name = "N")]
    steps: Option<u64>,

    /// Tokens to train on, instead of steps, such as 2e9 or 300B
    #[arg(long, value_name = "N", value_parser = words::count, conflicts_with = "steps")]
    tokens: Option<f64>,

    /// Micro-batches before an optimizer step [default: 1]
    #[arg(long, value_name = "N")]
    grad_accum: Option<u64>,
}

pub(super) fn train(common: &Common, arguments: &Arguments) -> Result<Status> {
    arguments.shared.check()?;
    let catalog = catalog_of(common, &arguments.shared.shelves(&arguments.model, &arguments.place, arguments.has_length()))?;
    if arguments.shared.formula == Formula::Guide {
        return guide(common, arguments, &catalog);
    }
    let model = arguments.model.exact(&catalog)?;
    let place = place::find(common, &arguments.place, &catalog, arguments.shared.line_rate())?;
    let training = arguments.training(place.gpus)?;
    let estimate = |training: &Training| memory::train(&model, training, &place.overheads);
    let memory = estimate(&training)?;
    let trainable = memory::trainable(&model, &training)?;
    let advice = place.room.as_ref().map(|room| advice::train(&training, room, |other| estimate(other).ok()));
    let software = Software { loading: arguments.loading()?, ..Software::training(&training) };
    let step = place.speeds.as_ref().map(|speeds| time::train(&model, &training, &software, speeds)).transpose()?;
    let steps = arguments.steps(&training);
    let job = step.as_ref().zip(steps).map(|(step, steps)| Job {
        gpus: training.parallel.gpus,
        per_node: training.parallel.per_node,
        time: step.time.map(|step| step * steps as f64),
        tokens: tokens_of_step(&training) * steps as f64,
    });
    let cost = job.map(|job| arguments.shared.cost.cost(&catalog, &arguments.place, &place, &job)).transpose()?.flatten();
    let shown = Estimate {
        cost,
        time: step.map(|step| Time::Step(step, steps)),
        model: &model,
        job: arguments.job(&training),
        trainable,
        memory: &memory,
        reserved: None,
        shared: training.parallel.gpus > 1,
        room: place.room.as_ref(),
        advice,
        simulated: place.simulated,
    };
    Ok(arguments.shared.status(show(common, &shown)?))
}

/// Tokens that a step trains on, of all workers.
fn tokens_of_step(training: &Training) -> f64 {
    (training.tokens() * training.grad_accum * training.parallel.workers()) as f64
}

impl Arguments {
    /// Whether it is said how long to train.
    const fn has_length(&self) -> bool {
        self.steps.is_some() || self.tokens.is_some()
    }

    /// Steps, where their number or that of tokens is given.
    fn steps(&self, training: &Training) -> Option<u64> {
        self.steps.or_else(|| self.tokens.map(|tokens| (tokens / tokens_of_step(training)).ceil() as u64))
    }

    /// The setting these options say; `gpus` where they do not say how many.
    fn training(&self, gpus: Option<u64>) -> Result<Training> {
        let usual = Training::new(self.adapting.method(self.method)?, self.batch, self.seq);
        let (tensor, pipeline) = (self.tp.unwrap_or(1), self.pp.unwrap_or(1));
        Ok(Training {
            optimizer: self.optimizer,
            checkpointing: self.checkpointing.unwrap_or(usual.checkpointing),
            attention: self.code.attention.unwrap_or(usual.attention),
            cross_entropy: self.code.cross_entropy.unwrap_or(usual.cross_entropy),
            grad_accum: self.grad_accum.unwrap_or(usual.grad_accum),
            framework: self.code.framework.unwrap_or(usual.framework),
            parallel: Parallel {
                gpus: self.gpus.or(gpus).unwrap_or_else(|| tensor.saturating_mul(pipeline).max(1)),
                data: self.parallel.unwrap_or(Data::Ddp),
                tensor,
                sequence: self.sequence_parallel,
                pipeline,
                interleave: self.interleave.unwrap_or(1),
                expert: self.ep.unwrap_or(1),
                per_node: self.gpus_per_node.or(gpus).unwrap_or(Parallel::ONE.per_node),
            },
            offload: self.offload.unwrap_or(usual.offload),
            images: words::images(self.images, self.image_size)?,
            ..usual
        })
    }

    fn loading(&self) -> Result<Option<Loading>> {
        match self.load_ms {
            None => Ok(None),
            Some(each) if (0.0..=1e6).contains(&each) => {
                Ok(Some(Loading { per_sequence: Seconds(each / 1e3), workers: self.num_workers.unwrap_or(0) }))
            }
            Some(each) => Err(Error::usage(format!("expected a --load-ms of 0 to 1000000 but found {each}"))),
        }
    }

    /// The setting in few words.
    fn job(&self, training: &Training) -> String {
        let mut job = format!("{}, batch {} × {}", advice::method_word(&training.method), training.batch, training.seq);
        if let Some(adapters) = training.method.adapters() {
            job.push_str(&format!(", rank {}", adapters.rank));
        }
        if training.checkpointing != Checkpointing::None {
            job.push_str(&format!(", checkpointing {}", advice::checkpointing_word(training.checkpointing)));
        }
        if training.parallel.gpus > 1 {
            job.push_str(&format!(", {} GPUs ({}", training.parallel.gpus, advice::data_word(training.parallel.data)));
            for (name, degree) in [("tp", training.parallel.tensor), ("pp", training.parallel.pipeline), ("ep", training.parallel.expert)] {
                if degree > 1 {
                    job.push_str(&format!(", {name} {degree}"));
                }
            }
            job.push(')');
        }
        job
    }

    /// The setting as the guide's calculator takes it.
    fn guide(&self) -> Result<guide_formula::Setting> {
        refuse_beyond_guide(&[
            ("--steps", self.steps.is_some()),
            ("--tokens", self.tokens.is_some()),
            ("--load-ms", self.load_ms.is_some()),
            ("--attention", self.code.attention.is_some_and(|kernel| kernel != AttentionKernel::Flash)),
            ("--cross-entropy", self.code.cross_entropy.is_some_and(|loss| loss != CrossEntropy::Full)),
            ("--framework", self.code.framework.is_some_and(|framework| framework != Framework::HuggingFace)),
            ("--gpus", self.gpus.is_some_and(|gpus| gpus != 1)),
            ("--parallel", self.parallel.is_some_and(|data| data != Data::Ddp)),
            ("--tp", self.tp.is_some_and(|degree| degree != 1)),
            ("--pp", self.pp.is_some_and(|degree| degree != 1)),
            ("--ep", self.ep.is_some_and(|degree| degree != 1)),
            ("--interleave", self.interleave.is_some_and(|degree| degree != 1)),
            ("--sequence-parallel", self.sequence_parallel),
            ("--offload", self.offload.is_some_and(|offload| offload != Offload::None)),
            ("--images", self.images > 0),
            ("--image-size", self.image_size.is_some()),
            ("--lora-dropout", self.adapting.lora_dropout.is_some_and(|share| share != 0.0)),
            ("--lora-bf16", self.adapting.lora_bf16),
            ("--double-quant", self.adapting.double_quant),
            ("--fp32-gradients", self.adapting.fp32_gradients),
            ("selective checkpointing", self.checkpointing == Some(Checkpointing::Selective)),
        ])?;
        let optimizer = match self.optimizer {
            Optimizer::AdamWLoop | Optimizer::AdamWFused | Optimizer::AdamWForeach => guide_formula::Optimizer::AdamW,
            Optimizer::SgdMomentum => guide_formula::Optimizer::Sgd,
            Optimizer::Adam8bit | Optimizer::PagedAdam8bit => guide_formula::Optimizer::Adam8bit,
        };
        Ok(guide_formula::Setting {
            method: self.method.underscored().parse()?,
            optimizer,
            batch: self.batch,
            seq: self.seq,
            checkpointing: self.checkpointing != Some(Checkpointing::None),
            rank: self.adapting.lora_rank,
            targets: self.adapting.lora_targets.count,
        })
    }
}

/// The guide's calculator's answer.
fn guide(common: &Common, arguments: &Arguments, catalog: &Catalog) -> Result<Status> {
    let answer = guide_formula::train(&arguments.model.guide(catalog)?, &arguments.guide()?)?;
    if common.format == Format::Json {
        print(&json::text(&answer)?)?;
        return Ok(Status::Done);
    }
    let lang: Lang = common.lang.into();
    let mut table = guide_table(format!("{}, {}", answer.model, answer.method), lang);
    for (name, gigabytes) in [
        (Text::new("weights", "가중치"), answer.params_memory_gb),
        (Text::new("gradients", "그래디언트"), answer.gradient_memory_gb),
        (Text::new("optimizer states", "옵티마이저 상태"), answer.optimizer_memory_gb),
        (Text::new("activations", "활성값"), answer.activation_memory_gb),
        (Text::new("overhead", "오버헤드"), answer.overhead_gb),
        (Text::new("total", "합계"), answer.total_vram_gb),
    ] {
        table.row([Cell::text(name.get(lang)), gigabytes_of_guide(gigabytes)]);
    }
    table.note(Text::new("The guide recommends: {}.", "가이드의 추천: {}.").fill(lang, &[&answer.recommended_gpus.join(", ")]));
    print_tables(&[table], common)?;
    Ok(Status::Done)
}

/// A table for the guide's calculator, with the warning that belongs to it.
pub(super) fn guide_table(job: String, lang: Lang) -> Table {
    let columns = [
        Column::text("part", Text::new("part", "구성 요소").get(lang)),
        Column::number("memory", Text::new("memory", "메모리").get(lang)).unit("GB"),
    ];
    let title = Text::new("{}: the written guide's calculator", "{}: 가이드의 계산기");
    let mut table = Table::new(title.fill(lang, &[&job]), columns).in_lang(lang);
    table.note(
        Text::new(
            "The guide's GB are 2³⁰ bytes, and its formulas have errors: `gpu-assay guide --errata`. Without --formula guide every tensor is counted.",
            "가이드의 GB는 2³⁰바이트이고 공식에 오류가 있다(`gpu-assay guide --errata`). --formula guide를 빼면 모든 텐서를 센다.",
        )
        .get(lang),
    );
    table
}

/// A number of the guide's calculator as it prints it.
pub(super) fn gigabytes_of_guide(gigabytes: f64) -> Cell {
    const GIB: f64 = 1_073_741_824.0;
    let figure = crate::figure::Figure::new(gigabytes, crate::figure::Basis::Guide, "guide B.6").map(|value| value * GIB);
    Cell::figure_as(&figure, format!("{gigabytes:.2}"))
}
