//! What was measured between pairs of GPUs.

use std::collections::BTreeSet;

use super::{Source, best, least};
use crate::figure::Figure;
use crate::measure::Measurement;
use crate::units::{BytesPerSecond, Seconds};

/// What one engine does between two GPUs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PeerRates {
    /// Best rate of writing to the other GPU.
    pub write: Option<Figure<BytesPerSecond>>,
    /// Best rate of reading from the other GPU.
    pub read: Option<Figure<BytesPerSecond>>,
    /// Best rate of both directions at once, added up.
    pub both: Option<Figure<BytesPerSecond>>,
}

/// What was measured from one GPU to another.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerLink {
    /// Index of the GPU that accesses.
    pub from: u32,
    /// Index of the GPU that is accessed.
    pub to: u32,
    /// By the copy engine.
    pub copy_engine: PeerRates,
    /// By a kernel on the multiprocessors.
    pub kernel: PeerRates,
    /// One small access.
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
    let index = |measurement: &Measurement, axis| measurement.case.get_count(axis).and_then(|index| u32::try_from(index).ok());
    let pair = |m: &Measurement| (m.case.family() == "peer").then(|| index(m, "from").zip(index(m, "to"))).flatten();
    let pairs: BTreeSet<(u32, u32)> = source.run.measurements().filter_map(pair).collect();
    let link = |(from, to): (u32, u32)| {
        let between = move |m: &Measurement| pair(m) == Some((from, to));
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
    pairs.into_iter().map(link).collect()
}
