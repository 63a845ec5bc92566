//! `plan train`: a training within a time or a budget.

use clap::Args;

use super::super::estimate::adapting::{Adapting, Code};
use super::super::estimate::model::ModelArguments;
use super::super::estimate::words::{self, MethodWord};
use super::super::{Common, Status};
use super::{Market, show, status};
use crate::error::{Error, Result};
use crate::estimate::plan::{Choices, Limits, TrainingGoal, train as search};
use crate::units::{Seconds, Usd};
use crate::workload::{Checkpointing, Data, Method, Offload, Optimizer, Parallel, Training};

#[derive(Debug, Args)]
// A negative number is then a wrong value of its option, not an unknown option.
#[command(allow_negative_numbers = true)]
pub(super) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    #[command(flatten)]
    market: Market,

    /// What is trained, in what precision; several, separated by commas, where any would do: full-fp32, full-mixed, amp-bf16, full-bf16, lora, qlora
    #[arg(long, value_parser = words::method, value_delimiter = ',', required = true)]
    method: Vec<MethodWord>,

    #[command(flatten)]
    adapting: Adapting,

    /// What updates it: adamw, sgd, adam-8bit, adamw-fused, adamw-foreach, paged-adam-8bit
    #[arg(long, value_name = "NAME", value_parser = words::optimizer, default_value = "adamw")]
    optimizer: Optimizer,

    /// Tokens of a sequence
    #[arg(long, value_name = "TOKENS", default_value_t = 2048)]
    seq: u64,

    /// Sequences of an optimizer step, of all GPUs together
    #[arg(long, value_name = "N", default_value_t = 64)]
    global_batch: u64,

    /// Optimizer steps
    #[arg(long, value_name = "N")]
    steps: Option<f64>,

    /// Tokens to train on, instead of steps, such as 2e9 or 300B
    #[arg(long, value_name = "N", value_parser = words::count, conflicts_with = "steps")]
    tokens: Option<f64>,

    /// The longest time, such as "3 d"
    #[arg(long, value_name = "TIME", value_parser = words::duration)]
    deadline: Option<Seconds>,

    /// The most money in USD
    #[arg(long, value_name = "USD")]
    budget: Option<f64>,

    /// Exact number of GPUs [default: powers of two up to --max-gpus]
    #[arg(long, value_name = "N", conflicts_with = "max_gpus")]
    gpus: Option<u64>,

    /// Micro-batch, instead of any
    #[arg(long, value_name = "N")]
    batch: Option<u64>,

    /// What is recomputed, instead of any: none, selective, full
    #[arg(long, value_name = "WHAT", value_parser = words::checkpointing)]
    checkpointing: Option<Checkpointing>,

    /// What data-parallel workers share, instead of any: ddp, zero1, zero2, zero3, fsdp
    #[arg(long, value_name = "HOW", value_parser = words::data)]
    parallel: Option<Data>,

    /// GPUs that share every product, instead of any number
    #[arg(long, value_name = "N")]
    tp: Option<u64>,

    /// Stages, instead of any number
    #[arg(long, value_name = "N")]
    pp: Option<u64>,

    /// What lives in host memory, instead of anything: none, optimizer, all
    #[arg(long, value_name = "WHAT", value_parser = words::offload)]
    offload: Option<Offload>,

    #[command(flatten)]
    code: Code,
}

pub(super) fn train(common: &Common, arguments: &Arguments) -> Result<Status> {
    arguments.check()?;
    let catalog = arguments.market.catalog(common, &arguments.model)?;
    let model = arguments.model.exact(&catalog)?;
    let offers = arguments.market.offers(common, &catalog)?;
    let goal = arguments.goal()?;
    let plan = search(&model, &goal, &arguments.choices(), &offers)?;
    show::train(common, &arguments.market, &model, &goal, &offers, &plan)?;
    Ok(status(plan.verdict()))
}

impl Arguments {
    fn check(&self) -> Result<()> {
        self.market.check()?;
        if !(1..=1 << 24).contains(&self.global_batch) {
            return Err(Error::usage(format!("expected a --global-batch of 1 to {} but found {}", 1 << 24, self.global_batch)));
        }
        if let Some(steps) = self.steps.filter(|steps| !(1.0..=1e12).contains(steps)) {
            return Err(Error::usage(format!("expected --steps of 1 to 1e12 but found {steps}")));
        }
        if let Some(budget) = self.budget.filter(|budget| !(*budget > 0.0 && budget.is_finite())) {
            return Err(Error::usage(format!("expected a --budget above 0 USD but found {budget}")));
        }
        if let Some(gpus) = self.gpus.filter(|gpus| !(1..=Market::MOST).contains(gpus)) {
            return Err(Error::usage(format!("expected --gpus of 1 to {} but found {gpus}", Market::MOST)));
        }
        Ok(())
    }

    fn goal(&self) -> Result<TrainingGoal> {
        let methods = self.method.iter().map(|word| self.adapting.method(*word)).collect::<Result<Vec<Method>>>()?;
        let first = methods.first().cloned().unwrap_or(Method::FullBf16);
        let usual = Training::new(first, 1, self.seq);
        let setting = Training {
            optimizer: self.optimizer,
            attention: self.code.attention.unwrap_or(usual.attention),
            cross_entropy: self.code.cross_entropy.unwrap_or(usual.cross_entropy),
            framework: self.code.framework.unwrap_or(usual.framework),
            parallel: Parallel::ONE,
            ..usual
        };
        let per_step = self.seq.saturating_mul(self.global_batch) as f64;
        let steps = match (self.steps, self.tokens) {
            (Some(steps), _) => steps.ceil(),
            (None, Some(tokens)) => (tokens / per_step).ceil(),
            (None, None) => return Err(Error::usage("how long to train is not said; give --steps or --tokens")),
        };
        let limits = Limits { time: self.deadline, usd: self.budget.map(Usd) };
        Ok(TrainingGoal { setting, methods, sequences: self.global_batch, steps, limits, interruptions: self.market.cost.interruptions() })
    }

    fn choices(&self) -> Choices {
        fn only<T>(all: Vec<T>, one: Option<T>) -> Vec<T> {
            one.map_or(all, |one| vec![one])
        }
        let all = Choices::up_to(self.gpus.unwrap_or(self.market.most()), self.global_batch);
        Choices {
            gpus: only(all.gpus, self.gpus),
            batches: only(all.batches, self.batch),
            checkpointing: only(all.checkpointing, self.checkpointing),
            data: only(all.data, self.parallel),
            tensor: only(all.tensor, self.tp),
            pipeline: only(all.pipeline, self.pp),
            offload: only(all.offload, self.offload),
        }
    }
}
