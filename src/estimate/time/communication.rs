//! Messages between data-parallel workers: how much of them nothing hides.

use super::parts::{Kind, Parts, Phase};
use super::speeds::Speeds;
use crate::calibrate::Prediction;
use crate::calibrate::collective::Collective;
use crate::units::{Bytes, Seconds};
use crate::workload::{Data, Parallel};

/// Share of the multiprocessors that a collective takes from what runs beside it, inside a node (Isaev et al., Calculon, SC 2023: 15 % on
/// NVLink).
const TAKEN: f64 = 0.15;

/// What stays exposed of `message` beside `computing`: what is longer than it, and what it slows it by.
pub(super) fn exposed(message: Prediction, computing: f64) -> Prediction {
    let of = |message: f64| (message - computing).max(0.0) + TAKEN * message.min(computing);
    Prediction { time: Seconds(of(message.time.0)), low: Seconds(of(message.low.0)), high: Seconds(of(message.high.0)), ..message }
}

/// Gathering one layer's weights for its forward pass, and again, with its gradients scattered, for its backward pass.
pub(super) struct Gathered {
    pub(super) gather: Prediction,
    pub(super) scatter: Prediction,
}

impl Gathered {
    /// Of a layer of `weights` elements in `width` bytes, `trained` of which have gradients. Parts of replicated workers are as the job's nodes are.
    pub(super) fn of(speeds: &Speeds, parallel: &Parallel, weights: u64, trained: u64, width: u64) -> Self {
        let (workers, near) = (parallel.workers(), near(parallel));
        let collective = |what, elements: u64| speeds.collective(what, workers, Bytes(elements * width), near);
        Self { gather: collective(Collective::AllGather, weights), scatter: collective(Collective::ReduceScatter, trained) }
    }

    /// Adds what is exposed of it where a layer computes for so long going forward and back, `count` times.
    pub(super) fn add(&self, parts: &mut Parts, forward: f64, backward: f64, count: u64) {
        let times = count as f64;
        parts.add(Phase::Forward, Kind::Communication, exposed(self.gather, forward).times(times));
        let both = join(self.gather, self.scatter);
        parts.add(Phase::Backward, Kind::Communication, exposed(both, backward).times(times));
    }
}

/// One after the other.
pub(super) fn join(a: Prediction, b: Prediction) -> Prediction {
    Prediction { time: a.time + b.time, low: a.low + b.low, high: a.high + b.high, ..a }
}

/// Data-parallel workers of one node.
pub(super) const fn near(parallel: &Parallel) -> u64 {
    let taken = parallel.tensor;
    let near = parallel.per_node / taken;
    if near == 0 { 1 } else { near }
}

/// What data-parallel workers that keep whole weights send once per step (or, sharing gradients, once per micro-batch): gradients of `elements` trained parameters of
/// `width` bytes, beside the last backward pass of `backward` seconds; and the updated weights, which nothing hides. Says by how many seconds the
/// last backward pass is longer.
pub(super) fn averaged(
    speeds: &Speeds,
    parallel: &Parallel,
    elements: u64,
    width: u64,
    backward: f64,
    parts: &mut Parts,
    times: f64,
) -> f64 {
    /// PyTorch's buckets; the last is ready only when the backward pass is over.
    const BUCKET: u64 = 25 << 20;
    /// Share of the backward pass that gradients can hide behind: the first of them come after the head and the last layer.
    const HIDES: f64 = 0.9;
    let (workers, near) = (parallel.workers(), near(parallel));
    if workers < 2 {
        return 0.0;
    }
    let bytes = Bytes(elements * width);
    let collective = |what, bytes| speeds.collective(what, workers, bytes, near);
    let what = match parallel.data {
        Data::Ddp | Data::Zero1 => Collective::AllReduce,
        Data::Zero2 | Data::Zero3 | Data::Fsdp => Collective::ReduceScatter,
    };
    let all = collective(what, bytes);
    let last = collective(what, Bytes(bytes.0.min(BUCKET)));
    let hidden = exposed(all, HIDES * backward);
    let longer = if hidden.time > last.time { hidden } else { last };
    let often = if parallel.data == Data::Zero2 { times } else { 1.0 };
    parts.add(Phase::Backward, Kind::Communication, longer.times(often));
    if matches!(parallel.data, Data::Zero1 | Data::Zero2) {
        parts.add(Phase::Update, Kind::Communication, collective(Collective::AllGather, Bytes(elements * width)));
    }
    longer.time.0
}
