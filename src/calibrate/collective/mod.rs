//! How long collective operations take, as a function of operation, GPU count and message size.
//!
//! An operation over n GPUs costs a **latency**, launch plus one hop per step of its ring, and a **stream**, the share of the message that each
//! GPU must send at the rate of its links (Thakur, Rabenseifner and Gropp, *Optimization of collective communication operations in MPICH*,
//! 2005; NCCL's `src/graph/tuning.cc` counts the same steps):
//!
//! | operation | `bytes` is | steps | share of `bytes` each GPU sends |
//! |---|---|---|---|
//! | all-reduce | the buffer of each GPU | 2(n − 1) | 2(n − 1)/n |
//! | all-gather | the gathered result | n − 1 | (n − 1)/n |
//! | reduce-scatter | the buffer of each GPU before | n − 1 | (n − 1)/n |
//! | all-to-all | the buffer of each GPU, its own part included | log₂ n | (n − 1)/n |
//! | send and receive | the message | 1 | 1 |
//!
//! That is how nccl-tests counts `size`, and what makes its **bus bandwidth** (share · bytes / time) comparable with the rate of a link.
//!
//! Where times were measured, eight sizes ([`CollectiveModel::SIZES`]) for each operation and count, a [`TransferCurve`] goes through them. An
//! operation or a count that was not measured borrows the curve of the nearest one, scaled: its time by the ratio of latencies, its size so
//! that the streams come out in their ratio too. A scaled curve keeps the protocol switches of the machine, never falls, and is right at both
//! ends if the formulas are. Where nothing was measured, published shares of the link's rate stand in, with intervals to match.

mod across;
mod assumed;
pub(super) mod record;
#[cfg(test)]
mod tests;

pub use across::{Fabric, Network};
pub use assumed::{Interconnect, Wire};

use super::Prediction;
use super::transfer::{Reading, TransferCurve};
use crate::figure::Basis;
use crate::measure::MESSAGES;
use crate::stats::Sample;
use crate::units::{Bytes, Seconds};
use assumed::Assumed;

/// What GPUs do together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Collective {
    /// Everyone gets the sum of all buffers.
    AllReduce,
    /// Everyone gets all parts.
    AllGather,
    /// Everyone gets one part of the sum.
    ReduceScatter,
    /// Everyone sends a different part to everyone.
    AllToAll,
    /// One sends a message to one other.
    SendReceive,
}

impl Collective {
    /// Every one, in the order of tables.
    pub const ALL: [Self; 5] = [Self::AllReduce, Self::AllGather, Self::ReduceScatter, Self::AllToAll, Self::SendReceive];

    /// As measurements name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllReduce => "all_reduce",
            Self::AllGather => "all_gather",
            Self::ReduceScatter => "reduce_scatter",
            Self::AllToAll => "all_to_all",
            Self::SendReceive => "send_receive",
        }
    }

    /// The operation that measurements call `name`; NCCL's tests write some in one word.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "alltoall" => Some(Self::AllToAll),
            "sendrecv" | "send_recv" => Some(Self::SendReceive),
            _ => Self::ALL.into_iter().find(|operation| operation.name() == name),
        }
    }

    /// The share of the message that each of `gpus` GPUs sends: bus bandwidth over algorithm bandwidth.
    pub fn bus_factor(self, gpus: u32) -> f64 {
        let gpus = f64::from(gpus.max(1));
        match self {
            Self::AllReduce => 2.0 * (gpus - 1.0) / gpus,
            Self::AllGather | Self::ReduceScatter | Self::AllToAll => (gpus - 1.0) / gpus,
            Self::SendReceive => 1.0,
        }
    }

    /// Hops one after the other.
    fn steps(self, gpus: u32) -> f64 {
        let gpus = f64::from(gpus.max(1));
        match self {
            Self::AllReduce => 2.0 * (gpus - 1.0),
            Self::AllGather | Self::ReduceScatter => gpus - 1.0,
            // All messages are under way at once; what they share is the switch.
            Self::AllToAll => gpus.log2(),
            Self::SendReceive => 1.0,
        }
    }

    /// Which operations stand in for one that was not measured, the most alike first.
    const fn alike(self) -> [Self; 4] {
        use Collective::{AllGather, AllReduce, AllToAll, ReduceScatter, SendReceive};
        match self {
            AllReduce => [AllGather, ReduceScatter, AllToAll, SendReceive],
            AllGather => [ReduceScatter, AllReduce, AllToAll, SendReceive],
            ReduceScatter => [AllGather, AllReduce, AllToAll, SendReceive],
            AllToAll => [AllGather, ReduceScatter, AllReduce, SendReceive],
            SendReceive => [AllGather, ReduceScatter, AllReduce, AllToAll],
        }
    }
}

/// One timed operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CollectiveTiming {
    /// What was done.
    pub operation: Collective,
    /// By how many GPUs.
    pub gpus: u32,
    /// Message size, counted as the module says.
    pub bytes: Bytes,
    /// Time of one operation.
    pub time: Seconds,
}

/// Time of collective operations between the GPUs of one machine.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectiveModel {
    known: Known,
    basis: Basis,
    from: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Known {
    /// By operation, in the order of [`Collective::ALL`].
    Measured([Measured; 5]),
    Assumed(Assumed),
}

/// What was measured of one operation.
#[derive(Debug, Clone, Default, PartialEq)]
struct Measured {
    /// In ascending order of GPUs, at least two each.
    counts: Vec<Count>,
    latency: Latency,
}

/// One count of GPUs.
#[derive(Debug, Clone, PartialEq)]
struct Count {
    gpus: u32,
    curve: TransferCurve,
    /// Logarithms of the count, of the latency by the formula and of the bus factor, so that a prediction need not take them.
    log_gpus: f64,
    log_latency: f64,
    log_bus: f64,
}

/// Launch and hop, of which only the ratio is used.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Latency {
    launch: f64,
    hop: f64,
}

/// What one hop costs next to a launch where one count says nothing about it. NCCL assumes 6.6 µs and 0.6 to 1 µs within a node.
impl Default for Latency {
    fn default() -> Self {
        Self { launch: 6.6, hop: 0.9 }
    }
}

impl Latency {
    fn of(self, operation: Collective, gpus: u32) -> f64 {
        self.launch + self.hop * operation.steps(gpus)
    }

    /// The line through floors over steps, by least squares, with both parts positive.
    fn fitted(operation: Collective, counts: &[Count]) -> Self {
        let count = counts.len() as f64;
        let floors = || counts.iter().map(|count| (operation.steps(count.gpus), count.curve.floor()));
        let mean = |of: &dyn Fn((f64, f64)) -> f64| floors().map(of).sum::<f64>() / count;
        let (steps, floor) = (mean(&|(steps, _)| steps), mean(&|(_, floor)| floor));
        let spread = mean(&|(at, _)| (at - steps) * (at - steps));
        if spread <= 0.0 {
            return Self::default();
        }
        let hop = (mean(&|(at, time)| (at - steps) * (time - floor)) / spread).max(0.0);
        Self { launch: (floor - hop * steps).max(0.1 * floor), hop }
    }
}

/// Half-width that a borrowed curve adds: halfway between two counts, per doubling beyond the largest or smallest, and from another operation.
/// Leaving counts and operations out of measured machines moves times by this much in nine cases of ten.
const BETWEEN_COUNTS: f64 = 0.07;
const BEYOND_COUNTS: f64 = 0.2;
const OTHER_OPERATION: f64 = 0.22;

impl CollectiveModel {
    /// The sizes to measure, for each operation and count: the latency at one end, the rate at the other, and every factor of four where
    /// libraries change from one protocol to the next.
    pub const SIZES: [Bytes; 8] = MESSAGES;

    /// The model through `timings`, in any order. An operation and count needs two sizes; what has fewer, or makes no sense, is left out. `None`
    /// where nothing is left.
    pub fn fit(timings: &[CollectiveTiming]) -> Option<Self> {
        let mut measured = Collective::ALL.map(|operation| {
            let of = |timing: &&CollectiveTiming| timing.operation == operation && timing.gpus >= 2;
            let mut counts: Vec<u32> = timings.iter().filter(of).map(|timing| timing.gpus).collect();
            counts.sort_unstable();
            counts.dedup();
            let curve = |gpus| {
                let here = timings.iter().filter(of).filter(|timing| timing.gpus == gpus);
                let curve = TransferCurve::new(here.map(|timing| (timing.bytes, timing.time)))?;
                let (log_gpus, log_bus) = (f64::from(gpus).ln(), operation.bus_factor(gpus).ln());
                Some(Count { gpus, curve, log_gpus, log_latency: 0.0, log_bus })
            };
            let mut counts: Vec<Count> = counts.into_iter().filter_map(curve).collect();
            let latency = Latency::fitted(operation, &counts);
            counts.iter_mut().for_each(|count| count.log_latency = latency.of(operation, count.gpus).ln());
            Measured { counts, latency }
        });
        let surprises = measured.iter().flat_map(|measured| &measured.counts).flat_map(|count| count.curve.surprises());
        if let Ok(surprises) = Sample::new(surprises.filter(|surprise| surprise.is_finite()).collect()) {
            measured.iter_mut().flat_map(|measured| &mut measured.counts).for_each(|count| count.curve.expecting(&surprises));
        }
        let any = measured.iter().any(|measured| !measured.counts.is_empty());
        any.then_some(Self { known: Known::Measured(measured), basis: Basis::MeasuredHere, from: Vec::new() })
    }

    /// The same with where its numbers come from.
    #[must_use]
    pub fn on(mut self, basis: Basis, from: Vec<String>) -> Self {
        (self.basis, self.from) = (basis, from);
        self
    }

    /// What kind of source it has.
    pub fn basis(&self) -> Basis {
        self.basis
    }

    /// The sources themselves.
    pub fn from(&self) -> &[String] {
        &self.from
    }

    /// Time of one operation between `gpus` GPUs of one machine. One GPU has no one to talk to, and nothing takes no time to send.
    pub fn time(&self, operation: Collective, gpus: u32, bytes: Bytes) -> Prediction {
        if gpus < 2 || bytes.0 == 0 {
            return Prediction::within(Seconds(0.0), 1.0, false);
        }
        match &self.known {
            Known::Assumed(assumed) => assumed.time(operation, gpus, bytes),
            Known::Measured(all) => {
                let of = |operation: Collective| &all[operation as usize];
                let measured = |operation: &Collective| !of(*operation).counts.is_empty();
                let log_bytes = bytes.as_f64().ln();
                if measured(&operation) {
                    return of(operation).time(operation, operation, gpus, log_bytes).prediction();
                }
                match operation.alike().into_iter().find(measured) {
                    Some(other) => of(other).time(other, operation, gpus, log_bytes).wider(OTHER_OPERATION).prediction(),
                    None => Prediction::within(Seconds(0.0), 1.0, true),
                }
            }
        }
    }
}

impl Measured {
    /// Time of `wanted` on `gpus` GPUs by what was measured of `operation`, which must have a count.
    fn time(&self, operation: Collective, wanted: Collective, gpus: u32, log_bytes: f64) -> Reading {
        let same = operation == wanted;
        // A message between two of many GPUs does not know how many there are.
        let near = if wanted == Collective::SendReceive && !same { 2 } else { gpus };
        let above = self.counts.partition_point(|count| count.gpus < near);
        if let Some(count) = self.counts.get(above).filter(|count| same && count.gpus == near) {
            return count.curve.at(log_bytes);
        }
        let (log_near, log_latency, log_bus) = (f64::from(near).ln(), self.latency.of(wanted, gpus).ln(), wanted.bus_factor(gpus).ln());
        let borrowed = |count: &Count| {
            let stretch = log_latency - count.log_latency;
            let reading = count.curve.at(log_bytes + log_bus - count.log_bus - stretch);
            Reading { log_time: reading.log_time + stretch, extrapolated: reading.extrapolated || !same, ..reading }
        };
        let outside = |count: &Count| {
            let doublings = (log_near - count.log_gpus).abs() / std::f64::consts::LN_2;
            let reading = borrowed(count).wider(BEYOND_COUNTS * doublings);
            Reading { extrapolated: reading.extrapolated || doublings > 0.0, ..reading }
        };
        match (above.checked_sub(1).map(|below| &self.counts[below]), self.counts.get(above)) {
            (_, Some(at)) if at.gpus == near => outside(at),
            (Some(below), Some(above)) => {
                let share = (log_near - below.log_gpus) / (above.log_gpus - below.log_gpus);
                let (low, high) = (borrowed(below), borrowed(above));
                let mix = |low: f64, high: f64| low * (1.0 - share) + high * share;
                let width = BETWEEN_COUNTS * 4.0 * share * (1.0 - share);
                Reading {
                    log_time: mix(low.log_time, high.log_time),
                    below: mix(low.below, high.below) + width,
                    above: mix(low.above, high.above) + width,
                    extrapolated: low.extrapolated || high.extrapolated,
                }
            }
            (Some(only), None) | (None, Some(only)) => outside(only),
            (None, None) => Reading { log_time: 0.0, below: 0.0, above: 0.0, extrapolated: true },
        }
    }
}
