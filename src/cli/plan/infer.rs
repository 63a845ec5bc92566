//! `plan infer`: serving requests within a latency or at a throughput.

use clap::Args;

use super::super::estimate::model::ModelArguments;
use super::super::estimate::words;
use super::super::{Common, Status};
use super::{Market, show, status};
use crate::error::{Error, Result};
use crate::estimate::plan::{ServingGoal, infer as search};
use crate::units::{Seconds, Usd};
use crate::workload::{Inference, KvPrecision, Precision};

#[derive(Debug, Args)]
// A negative number is then a wrong value of its option, not an unknown option.
#[command(allow_negative_numbers = true)]
pub(super) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    #[command(flatten)]
    market: Market,

    /// How weights may be stored, separated by commas: bf16, fp8, int8, int4, awq and others
    #[arg(long, value_name = "FORMAT", value_delimiter = ',', default_value = "bf16")]
    precision: Vec<String>,

    /// How cached keys and values are stored: fp32, bf16, fp8, int8, int4 [default: as they are computed]
    #[arg(long, value_name = "FORMAT")]
    kv_precision: Option<KvPrecision>,

    /// Sequences at once on a replica, instead of any power of two up to 256
    #[arg(long, value_name = "N")]
    batch: Option<u64>,

    /// Tokens of a prompt
    #[arg(long, value_name = "TOKENS", default_value_t = 4096)]
    seq: u64,

    /// Tokens of each answer
    #[arg(long, value_name = "TOKENS", default_value_t = 256)]
    output: u64,

    /// GPUs that share every product, instead of any number
    #[arg(long, value_name = "N")]
    tp: Option<u64>,

    /// Stages of layers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pp: u64,

    /// The fewest tokens written per second, all replicas together
    #[arg(long, value_name = "TOKENS")]
    throughput: Option<f64>,

    /// The longest time of a request, such as "10 s"
    #[arg(long, value_name = "TIME", value_parser = words::duration)]
    latency: Option<Seconds>,

    /// The longest time until the first token, such as "500 ms"
    #[arg(long, value_name = "TIME", value_parser = words::duration)]
    first_token: Option<Seconds>,

    /// The longest time of each further token, such as "30 ms"
    #[arg(long, value_name = "TIME", value_parser = words::duration)]
    per_token: Option<Seconds>,

    /// The most money in USD per hour
    #[arg(long, value_name = "USD")]
    budget: Option<f64>,
}

pub(super) fn infer(common: &Common, arguments: &Arguments) -> Result<Status> {
    let goal = arguments.goal()?;
    let catalog = arguments.market.catalog(common, &arguments.model)?;
    let model = arguments.model.exact(&catalog)?;
    let offers = arguments.market.offers(common, &catalog)?;
    let plan = search(&model, &goal, &offers)?;
    show::infer(common, &arguments.market, &model, &goal, &offers, &plan)?;
    Ok(status(plan.verdict()))
}

impl Arguments {
    fn goal(&self) -> Result<ServingGoal> {
        self.market.check()?;
        let positive = [("--throughput", self.throughput), ("--budget", self.budget)];
        if let Some((name, Some(value))) =
            positive.into_iter().find(|(_, value)| value.is_some_and(|value| !(value > 0.0 && value <= 1e12)))
        {
            return Err(Error::usage(format!("expected a {name} above 0 and up to 1e12 but found {value}")));
        }
        if self.market.cost.is_spot() {
            return Err(Error::usage("a server that may be taken back is not planned for; leave out --spot"));
        }
        let precisions = self.precision.iter().map(|name| name.parse()).collect::<Result<Vec<Precision>>>()?;
        let first = precisions.first().copied().unwrap_or(Precision::Bf16);
        let usual = Inference::new(first, 1, self.seq, self.output);
        let powers = |most: u64| (0..).map(|power| 1 << power).take_while(move |&count: &u64| count <= most).collect::<Vec<u64>>();
        Ok(ServingGoal {
            setting: Inference { kv_precision: self.kv_precision.unwrap_or(usual.kv_precision), ..usual },
            precisions,
            batches: self.batch.map_or_else(|| powers(256), |batch| vec![batch]),
            tensor: self.tp.map_or_else(|| powers(8), |degree| vec![degree]),
            pipeline: vec![self.pp],
            most: self.market.most(),
            throughput: self.throughput,
            request: self.latency,
            first: self.first_token,
            each: self.per_token,
            per_hour: self.budget.map(Usd),
        })
    }
}
