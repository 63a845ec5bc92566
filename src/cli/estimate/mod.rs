//! `estimate`: what one workload takes, each number with its interval and its basis.
//!
//! The arguments become a model, a setting and a place; the library estimates; what comes back is shown as tables or as the JSON that scripts
//! rely on. With `--formula guide` the written guide's own calculator answers instead.

use clap::{Args, Subcommand, ValueEnum};

use super::{Common, Status};
use crate::catalog::Shelf;
use crate::error::{Error, Result};
use crate::estimate::fit::Verdict;
use crate::units::BytesPerSecond;

pub(super) mod adapting;
pub(super) mod cost;
mod infer;
mod json;
pub(super) mod model;
pub(super) mod place;
mod show;
mod time;
mod train;
pub(super) mod words;

#[derive(Debug, Args)]
#[command(arg_required_else_help = false)]
pub(super) struct Arguments {
    #[command(subcommand)]
    job: Job,
}

#[derive(Debug, Subcommand)]
enum Job {
    /// One training step: full, LoRA or QLoRA, on one GPU or many
    Train(Box<train::Arguments>),
    /// Reading a prompt and writing an answer
    Infer(Box<infer::Arguments>),
}

/// Who calculates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Formula {
    /// The written guide's calculator, digit for digit
    Guide,
    /// From the shapes of all tensors
    #[default]
    Exact,
}

/// Options of both jobs.
#[derive(Debug, Args)]
struct Shared {
    /// Who calculates
    #[arg(long, value_enum, default_value_t)]
    formula: Formula,

    /// Exit with 1 where it does not fit, and with 5 where that is unknown
    #[arg(long)]
    require_fit: bool,

    /// Gbit/s per GPU between nodes, line rate [default: 400]
    #[arg(long, value_name = "GBIT")]
    network: Option<f64>,

    #[command(flatten, next_help_heading = "Cost")]
    cost: cost::CostArguments,
}

impl Shared {
    fn check(&self) -> Result<()> {
        self.cost.check()?;
        if self.formula == Formula::Guide && self.cost.is_given() {
            return Err(Error::usage("the guide's calculator knows nothing of cost; leave its options out, or leave out --formula guide"));
        }
        if let Some(rate) = self.network.filter(|rate| !(*rate > 0.0 && *rate <= 1e6)) {
            return Err(Error::usage(format!("expected a --network above 0 and up to 1000000 Gbit/s but found {rate}")));
        }
        if self.formula == Formula::Guide && self.network.is_some() {
            return Err(Error::usage("the guide's calculator knows nothing of --network; leave it out, or leave out --formula guide"));
        }
        if self.formula == Formula::Guide && self.require_fit {
            return Err(Error::usage("--require-fit needs an estimate with an interval; leave out --formula guide"));
        }
        Ok(())
    }

    /// Line rate between nodes per GPU, where it was given.
    fn line_rate(&self) -> Option<BytesPerSecond> {
        self.network.map(|gbit| BytesPerSecond(gbit * 1e9 / 8.0))
    }

    /// The lists of the catalog that an answer needs, `costs` where it says what the job costs: parsing the others would take longer than
    /// estimating.
    fn shelves(&self, model: &model::ModelArguments, place: &place::PlaceArguments, costs: bool) -> Vec<Shelf> {
        let exact = self.formula == Formula::Exact;
        let needed = [
            (Shelf::Models, model.is_named()),
            (Shelf::Gpus, exact),
            (Shelf::Links, exact),
            (Shelf::Achieved, exact),
            (Shelf::Instances, exact && (place.is_instance() || costs && place.is_named() && !self.cost.has_price())),
        ];
        needed.into_iter().filter(|(_, needed)| *needed).map(|(shelf, _)| shelf).collect()
    }

    fn status(&self, verdict: Verdict) -> Status {
        match (self.require_fit, verdict) {
            (false, _) | (true, Verdict::Yes) => Status::Done,
            (true, Verdict::No) => Status::Fail,
            (true, Verdict::Unknown) => Status::Unknown,
        }
    }
}

pub(super) fn estimate(common: &Common, arguments: &Arguments) -> Result<Status> {
    match &arguments.job {
        Job::Train(arguments) => train::train(common, arguments),
        Job::Infer(arguments) => infer::infer(common, arguments),
    }
}

/// Refuses options that the guide's calculator knows nothing of: an answer that ignores them would pass for one that does not.
fn refuse_beyond_guide(given: &[(&str, bool)]) -> Result<()> {
    match given.iter().find(|(_, given)| *given) {
        Some((name, _)) => {
            Err(Error::usage(format!("the guide's calculator knows nothing of {name}; leave it out, or leave out --formula guide")))
        }
        None => Ok(()),
    }
}
