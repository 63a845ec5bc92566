//! Collectives through NCCL: do they run at the rate of the links they run over.
//!
//! Copies between two GPUs show what the links carry. A ring over all of them reaches 0.88 to 0.95 of the slowest such copy where NVLinks meet in
//! a switch, and 0.55 to 0.97 over bridges and PCIe, where rings share wires (the published figures are listed in
//! [`CollectiveModel`](crate::calibrate::collective::CollectiveModel)'s room). What lies far below is a library that does not use the links:
//! switched off by the environment, a container without shared memory, a topology that it was not shown.

use super::inquiry::Inquiry;
use super::{About, Band};
use crate::calibrate::PeerLink;
use crate::figure::{Basis, Figure, Quantity};
use crate::measure::Measurement;
use crate::units::BytesPerSecond;

/// What rings reach of the slowest copy, and the shares of that below which it is a warning and a failure.
const SWITCHED: [f64; 3] = [0.92, 0.80, 0.50];
const SHARED: [f64; 3] = [0.75, 0.60, 0.35];

/// A message says something about a rate where it takes so many times as long as the smallest.
const LONGER: f64 = 4.0;

/// The one question about them.
pub(super) fn ask(inquiry: &mut Inquiry<'_>) {
    let Some((measured, time)) = largest(inquiry) else { return };
    let Some(link) = slowest_copy(inquiry) else { return };
    if time < LONGER {
        return;
    }
    let switched = inquiry.evidence.run.machine.pairs.iter().any(|pair| pair.topology.known().is_some_and(|name| name.starts_with("NV")));
    let [reaches, warning, failure] = if switched { SWITCHED } else { SHARED };
    let reference = reaches * link.value.0;
    let unit = BytesPerSecond::UNIT;
    let band =
        Band { reference, warning: warning * reference, failure: failure * reference, unit, basis: Basis::MeasuredHere, from: link.from };
    inquiry.rate("collective.rate", About::Machine, &measured, band);
}

/// The bus bandwidth of the largest all-reduce of most GPUs, and how many times as long as the smallest it took.
fn largest(inquiry: &Inquiry<'_>) -> Option<(Figure<BytesPerSecond>, f64)> {
    let place = |one: &Measurement| Some((one.case.get_count("gpus")?, one.case.get_bytes("bytes")?));
    let all = || inquiry.evidence.run.of("collective.all_reduce").filter(|one| place(one).is_some() && one.bandwidth().is_some());
    let largest = all().max_by_key(|one| place(one))?;
    let gpus = place(largest)?.0;
    let smallest = all().filter(|one| place(one).is_some_and(|(count, _)| count == gpus)).min_by_key(|one| place(one))?;
    let times = largest.time()?.point / smallest.time()?.point;
    Some((Figure::measured(largest.bandwidth()?, largest.case.to_string()), times))
}

/// The slowest best copy between two of the GPUs, where all of them reach each other.
fn slowest_copy(inquiry: &Inquiry<'_>) -> Option<Figure<BytesPerSecond>> {
    let asked: Vec<u32> = inquiry.gpus().iter().map(|gpu| gpu.index).collect();
    let among = |from: u32, to: u32| asked.contains(&from) && asked.contains(&to);
    let machine = &inquiry.evidence.run.machine;
    let all_reach = machine.pairs.iter().filter(|pair| among(pair.from, pair.to)).all(|pair| pair.peer_access.known() == Some(&true));
    let links = inquiry.evidence.calibration.peers.iter().filter(|link| among(link.from, link.to));
    let rates = links.filter_map(PeerLink::one_way);
    rates.reduce(|slowest, rate| if rate.value < slowest.value { rate } else { slowest }).filter(|_| all_reach)
}
