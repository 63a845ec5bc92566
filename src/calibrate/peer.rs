//! What was measured between pairs of GPUs.
//!
//! A case names the GPU that acts first; a link here is a way that data take. They come from `from` to `to` when `from` writes and when `to` reads, so
//! the reads that one GPU did belong to the link from the other: a link that is slow in one direction must not look like its way back.

use std::collections::BTreeSet;

use super::{Source, best, least};
use crate::figure::Figure;
use crate::measure::Measurement;
use crate::units::{BytesPerSecond, Seconds};

/// What one engine does between two GPUs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PeerRates {
    /// Best rate at which the GPU that has the data writes them to the other.
    pub write: Option<Figure<BytesPerSecond>>,
    /// Best rate at which the GPU that gets the data reads them from the other.
    pub read: Option<Figure<BytesPerSecond>>,
    /// Best rate of both directions at once, added up.
    pub both: Option<Figure<BytesPerSecond>>,
}

/// What was measured of data on their way from one GPU to another.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerLink {
    /// Index of the GPU that the data leave.
    pub from: u32,
    /// Index of the GPU that they reach.
    pub to: u32,
    /// By the copy engine.
    pub copy_engine: PeerRates,
    /// By a kernel on the multiprocessors.
    pub kernel: PeerRates,
    /// One small access of `from` to the memory of `to`.
    pub latency: Option<Figure<Seconds>>,
}

impl PeerLink {
    /// Best one-way rate over both engines and both ways of access.
    pub fn one_way(&self) -> Option<Figure<BytesPerSecond>> {
        let rates = [&self.copy_engine.write, &self.copy_engine.read, &self.kernel.write, &self.kernel.read];
        best(rates.into_iter().flatten().cloned())
    }

    /// Best rate of both directions at once, added up.
    pub fn both_ways(&self) -> Option<Figure<BytesPerSecond>> {
        best([&self.copy_engine.both, &self.kernel.both].into_iter().flatten().cloned())
    }
}

pub(super) fn links(source: &Source<'_>) -> Vec<PeerLink> {
    let ways: BTreeSet<(u32, u32)> = source.run.measurements().filter_map(way).collect();
    let link = |(from, to): (u32, u32)| {
        let between = move |m: &Measurement| way(m) == Some((from, to));
        let engine = |engine: &'static str| {
            let rate = |mechanism| {
                let wanted = move |m: &Measurement| between(m) && m.case.get_word("engine") == Some(engine);
                best(source.of(mechanism, wanted).filter_map(|m| source.bandwidth(m)))
            };
            PeerRates { write: rate("peer.write"), read: rate("peer.read"), both: rate("peer.both") }
        };
        PeerLink {
            from,
            to,
            copy_engine: engine("ce"),
            kernel: engine("sm"),
            latency: least(source.of("peer.latency", between).filter_map(|m| source.latency(m))),
        }
    };
    ways.into_iter().map(link).collect()
}

/// From where to where the data of a peer case go; for both ways at once and for a latency, from where to where the case names.
fn way(measurement: &Measurement) -> Option<(u32, u32)> {
    let case = &measurement.case;
    let index = |axis| case.get_count(axis).and_then(|index| u32::try_from(index).ok());
    let (acts, reached) = (case.family() == "peer").then(|| index("from").zip(index("to"))).flatten()?;
    Some(if case.mechanism() == "peer.read" { (reached, acts) } else { (acts, reached) })
}
