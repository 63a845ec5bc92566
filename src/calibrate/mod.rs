//! From raw samples to the constants that plans are made with.
//!
//! A **ceiling** is the best rate a mechanism reached over its sizes or shapes; a **curve** is a quantity over a size, interpolated between the
//! sizes measured; a **fixed cost** is a time or an amount of memory that is paid once, whatever the work. All three are
//! [`Figure`]s: each carries the interval of its samples and names the cases it came from.
//!
//! Nothing is invented here. What a run did not measure is absent, and whoever needs it falls back to the catalog, on another basis.

pub mod attention;
mod choice;
mod cholesky;
pub mod collective;
mod curve;
mod estimation;
mod gpu;
mod host;
pub mod links;
pub mod matmul;
pub mod memory_bound;
mod models;
mod peer;
mod prediction;
mod transfer;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod models_tests;
#[cfg(test)]
mod tests;

pub use choice::{Choice, choose};
pub use curve::{Beyond, Curve, Point, Reading, Shape};
pub use gpu::{CopyRates, GpuCalibration, LaunchCosts, MatmulPoint, MemoryCosts};
pub use host::{HostCalibration, StorageCalibration};
pub use models::{Direction, Fitted};
pub use peer::{PeerLink, PeerRates};
pub use prediction::Prediction;
pub use transfer::TransferCurve;

use crate::figure::{Basis, Figure, Quantity};
use crate::measure::{Measurement, Outcome};
use crate::record::Run;
use crate::stats::Interval;
use crate::units::{Bytes, BytesPerSecond, FlopsPerSecond, Seconds};

/// What a machine was found to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// The machine's neutral name, as its record has it.
    pub machine: String,
    /// Whether a stand-in driver took the place of hardware: the numbers are a scenario's, not a machine's.
    pub simulated: bool,
    /// One entry per GPU of the machine, in its order; GPUs that were not measured have an entry without figures.
    pub gpus: Vec<GpuCalibration>,
    /// One entry per ordered pair of GPUs between which anything was measured.
    pub peers: Vec<PeerLink>,
    /// What GPUs take for what they do together, where that was measured.
    pub collectives: Option<collective::CollectiveModel>,
    /// The processors and their memory.
    pub host: HostCalibration,
    /// The disk that was measured.
    pub storage: StorageCalibration,
    fitted: models::Kept,
}

impl Calibration {
    /// What `run` says about its own machine.
    pub fn from_run(run: &Run) -> Self {
        Self::on_basis(run, Basis::MeasuredHere)
    }

    /// What `run`, recorded elsewhere, says about another machine with the same GPU model.
    pub fn from_recorded(run: &Run) -> Self {
        Self::on_basis(run, Basis::MeasuredSameModel)
    }

    fn on_basis(run: &Run, basis: Basis) -> Self {
        let source = Source { run, basis };
        Self {
            machine: run.name.clone(),
            simulated: run.simulated,
            gpus: run.machine.gpus.iter().map(|gpu| GpuCalibration::new(&source, gpu)).collect(),
            peers: peer::links(&source),
            collectives: collective::record::measured(&source),
            host: HostCalibration::new(&source),
            storage: StorageCalibration::new(&source),
            fitted: models::Kept::default(),
        }
    }

    /// The calibration of one GPU.
    pub fn gpu(&self, index: u32) -> Option<&GpuCalibration> {
        self.gpus.iter().find(|gpu| gpu.index == index)
    }

    /// What was measured from one GPU to another.
    pub fn peer(&self, from: u32, to: u32) -> Option<&PeerLink> {
        self.peers.iter().find(|link| link.from == from && link.to == to)
    }
}

/// A run and what its figures may claim.
struct Source<'a> {
    run: &'a Run,
    basis: Basis,
}

impl<'a> Source<'a> {
    /// Measurements of one mechanism that `wanted` accepts.
    fn of(&self, mechanism: &'a str, wanted: impl Fn(&Measurement) -> bool) -> impl Iterator<Item = &'a Measurement> {
        self.run.of(mechanism).filter(move |measurement| wanted(measurement))
    }

    /// An interval, in base units, as a figure; `None` unless it is a positive, finite number.
    fn figure<Q: Quantity>(&self, interval: Option<Interval>, measurement: &Measurement) -> Option<Figure<Q>> {
        let interval = interval.filter(|interval| interval.low > 0.0 && interval.high.is_finite())?;
        Some(Figure::measured(interval, measurement.case.to_string()).on(self.basis))
    }

    fn bandwidth(&self, measurement: &Measurement) -> Option<Figure<BytesPerSecond>> {
        self.figure(measurement.bandwidth(), measurement)
    }

    fn throughput(&self, measurement: &Measurement) -> Option<Figure<FlopsPerSecond>> {
        self.figure(measurement.throughput(), measurement)
    }

    /// Time of one iteration.
    fn time(&self, measurement: &Measurement) -> Option<Figure<Seconds>> {
        self.figure(measurement.time(), measurement)
    }

    /// Time of one step of an iteration.
    fn latency(&self, measurement: &Measurement) -> Option<Figure<Seconds>> {
        self.figure(measurement.latency(), measurement)
    }

    /// What was read of one mechanism on one GPU.
    fn observed(&self, mechanism: &str, gpu: u32) -> Option<Figure<Bytes>> {
        self.run.outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Observed(seen) if seen.case.mechanism() == mechanism && seen.case.get_count("gpu") == Some(u64::from(gpu)) => {
                let mut figure = Figure::new(seen.bytes, self.basis, seen.case.to_string());
                // A probe that stopped at a limit of its own saw a lower bound; what was free is the upper one.
                let free = || seen.conditions.get("free").and_then(|free| free.parse::<Bytes>().ok());
                if seen.conditions.get("limit").is_some_and(|limit| limit != "none") {
                    figure.high = free().map_or(seen.bytes, |free| free.max(seen.bytes));
                }
                Some(figure)
            }
            _ => None,
        })
    }
}

/// The figure with the largest value; the first of equals.
fn best<Q: Quantity>(figures: impl Iterator<Item = Figure<Q>>) -> Option<Figure<Q>> {
    figures.reduce(|best, figure| if figure.value.base() > best.value.base() { figure } else { best })
}

/// The figure with the smallest value; the first of equals.
fn least<Q: Quantity>(figures: impl Iterator<Item = Figure<Q>>) -> Option<Figure<Q>> {
    figures.reduce(|least, figure| if figure.value.base() < least.value.base() { figure } else { least })
}
