//! `plan`: which machines for a job, how many of them and how to share it.
//!
//! The arguments become a goal, a list of offers and what may be chosen from; the library searches; the configurations that nothing beats are
//! shown with the reasons why all others lost.

use clap::{Args, Subcommand, ValueEnum};

use super::estimate::{cost, model, place};
use super::{Common, Status, catalog_of};
use crate::catalog::{Catalog, Shelf};
use crate::error::{Error, Result};
use crate::estimate::cost::offered;
use crate::estimate::fit::Verdict;
use crate::estimate::plan::Offer;
use crate::units::BytesPerSecond;

mod infer;
mod show;
mod train;

#[derive(Debug, Args)]
#[command(arg_required_else_help = false)]
pub(super) struct Arguments {
    #[command(subcommand)]
    job: Job,
}

#[derive(Debug, Subcommand)]
enum Job {
    /// Training: steps or tokens, within a time or a budget
    Train(Box<train::Arguments>),
    /// Serving: requests of one kind, within a latency or at a throughput
    Infer(Box<infer::Arguments>),
}

/// What the list is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Sort {
    /// The fastest first
    #[default]
    Time,
    /// The cheapest first
    Cost,
}

/// Where to look, and how to show it.
#[derive(Debug, Args)]
struct Market {
    /// GPU to consider, such as "H100 SXM"; may be repeated [default: every one that the catalog has prices of]
    #[arg(long, value_name = "NAME", conflicts_with = "instance")]
    gpu: Vec<String>,

    /// Cloud instance to consider, such as aws:p5.48xlarge; may be repeated
    #[arg(long, value_name = "PROVIDER:TYPE")]
    instance: Vec<String>,

    /// The most GPUs [default: 64]
    #[arg(long, value_name = "N")]
    max_gpus: Option<u64>,

    /// GPUs of one machine, where the price is given with --price [default: 8]
    #[arg(long, value_name = "N")]
    gpus_per_node: Option<u64>,

    /// Gbit/s per GPU between machines, line rate [default: the instance's own]
    #[arg(long, value_name = "GBIT")]
    network: Option<f64>,

    /// What the list is sorted by
    #[arg(long, value_enum, default_value_t)]
    sort: Sort,

    /// The most lines of the list
    #[arg(long, value_name = "N", default_value_t = 12)]
    top: usize,

    #[command(flatten, next_help_heading = "Cost")]
    cost: cost::CostArguments,
}

pub(super) fn plan(common: &Common, arguments: &Arguments) -> Result<Status> {
    match &arguments.job {
        Job::Train(arguments) => train::train(common, arguments),
        Job::Infer(arguments) => infer::infer(common, arguments),
    }
}

impl Market {
    /// What no search is asked for.
    const MOST: u64 = 1 << 14;

    fn check(&self) -> Result<()> {
        self.cost.check()?;
        if let Some(rate) = self.network.filter(|rate| !(*rate > 0.0 && *rate <= 1e6)) {
            return Err(Error::usage(format!("expected a --network above 0 and up to 1000000 Gbit/s but found {rate}")));
        }
        if let Some(gpus) = self.max_gpus.filter(|gpus| !(1..=Self::MOST).contains(gpus)) {
            return Err(Error::usage(format!("expected --max-gpus of 1 to {} but found {gpus}", Self::MOST)));
        }
        if let Some(gpus) = self.gpus_per_node.filter(|gpus| !(1..=1024).contains(gpus)) {
            return Err(Error::usage(format!("expected --gpus-per-node of 1 to 1024 but found {gpus}")));
        }
        if self.cost.has_price() && (self.gpu.len() != 1 || !self.instance.is_empty()) {
            return Err(Error::usage("--price is of one GPU; name it with --gpu, once"));
        }
        if self.gpus_per_node.is_some() && !self.cost.has_price() {
            return Err(Error::usage("the catalog knows how many GPUs its instances have; leave out --gpus-per-node, or give a --price"));
        }
        Ok(())
    }

    fn most(&self) -> u64 {
        self.max_gpus.unwrap_or(64)
    }

    fn catalog(&self, common: &Common, model: &model::ModelArguments) -> Result<Catalog> {
        let mut shelves = vec![Shelf::Gpus, Shelf::Links, Shelf::Achieved, Shelf::Instances];
        shelves.extend(model.is_named().then_some(Shelf::Models));
        catalog_of(common, &shelves)
    }

    /// The offers to search, with measurements of the same GPU model where some are on file.
    fn offers(&self, common: &Common, catalog: &Catalog) -> Result<Vec<Offer>> {
        let network = self.network.map(|gbit| BytesPerSecond(gbit * 1e9 / 8.0));
        let spot = self.cost.is_spot();
        let mut offers = Vec::new();
        for spec in &self.instance {
            let instance = catalog.instance(spec)?;
            let entry = if spot { catalog.spot_of(instance) } else { Some(instance) };
            let entry = entry.ok_or_else(|| Error::usage(format!("the catalog has no spot price of {spec}; leave out --spot")))?;
            offers.push(Offer::of_instance(catalog, entry, network)?);
        }
        if let (Some(price), [name]) = (self.cost.price(), &self.gpu[..]) {
            offers.push(Offer::given(catalog, catalog.gpu(name)?, price, self.gpus_per_node.unwrap_or(8), network));
        } else {
            for name in &self.gpu {
                let gpu = catalog.gpu(name)?;
                let found = Offer::usual(catalog, gpu, spot, network)?;
                if found.is_empty() {
                    let kind = if spot { "spot price" } else { "price by the hour" };
                    return Err(Error::usage(format!("the catalog has no {kind} of {}; give one with --price", gpu.short_name)));
                }
                offers.extend(found);
            }
        }
        if self.gpu.is_empty() && self.instance.is_empty() {
            for gpu in catalog.gpus.iter().filter(|gpu| offered(catalog, gpu, spot).next().is_some()) {
                offers.extend(Offer::usual(catalog, gpu, spot, network)?);
            }
        }
        measured(common, catalog, &mut offers)?;
        Ok(offers)
    }
}

/// The exit status of a search.
fn status(verdict: Verdict) -> Status {
    match verdict {
        Verdict::Yes => Status::Done,
        Verdict::No => Status::Fail,
        Verdict::Unknown => Status::Unknown,
    }
}

/// Puts what is on file of an offer's GPU in place of what is assumed.
fn measured(common: &Common, catalog: &Catalog, offers: &mut [Offer]) -> Result<()> {
    let mut recorded: Vec<(String, bool)> = Vec::new();
    for offer in offers {
        let gpu = catalog.gpu(&offer.gpu)?;
        let known = recorded.iter().find(|(name, _)| *name == offer.gpu).map(|(_, known)| *known);
        let known = known.unwrap_or_else(|| {
            let found = place::is_on_file(common, catalog, gpu);
            recorded.push((offer.gpu.clone(), found));
            found
        });
        if known {
            let place = place::named(common, catalog, gpu, None, offer.network)?;
            offer.room = place.room.unwrap_or_else(|| offer.room.clone());
            offer.speeds = place.speeds.unwrap_or_else(|| offer.speeds.clone());
            (offer.overheads, offer.power) = (place.overheads, place.power);
        }
    }
    Ok(())
}
