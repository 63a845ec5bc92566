//! Collectives over several machines.
//!
//! Libraries split them: within each machine over its links, between machines over the network, every GPU with its own share of the message
//! on its own rail. All-reduce is reduce-scatter within, all-reduce of 1/g between, all-gather within; all-gather and reduce-scatter are its
//! halves; all-to-all sends within what stays and between what leaves.
//!
//! The stages are pipelined in chunks, so the whole takes at least the longest and at most their sum: that is the interval. The point is the
//! root of the sum of squares, which on 4 × 8 B200 with 50 GB/s per GPU gives the 382 GB/s measured (stas00/ml-engineering, network; the
//! longest stage alone would give 439, the sum 277).

use super::assumed::LAUNCH;
use super::{Collective, CollectiveModel};
use crate::calibrate::Prediction;
use crate::units::{Bytes, BytesPerSecond, Seconds};

/// How many GPUs, and how many of them share a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fabric {
    /// Machines.
    pub nodes: u32,
    /// GPUs of each that take part.
    pub gpus_per_node: u32,
}

/// What each GPU has of the network between machines.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Network {
    /// What large messages reach in one direction.
    pub rate: BytesPerSecond,
    /// One message's way to another machine.
    pub hop: Seconds,
    /// The truth lies within this factor in nine cases of ten.
    pub factor: f64,
}

impl Network {
    /// A network known by its line rate per GPU only. Large messages reach 0.85 (EFA) to 0.92 (InfiniBand) of it; an all-reduce between two
    /// machines, two hops, takes 10 to 25 µs.
    pub fn of_line_rate(line: BytesPerSecond) -> Self {
        Self { rate: BytesPerSecond(0.88 * line.0), hop: Seconds(7e-6), factor: 1.4 }
    }

    /// Between one GPU of each of `nodes` machines, in `bytes` as the operation counts them.
    fn time(&self, operation: Collective, nodes: u32, bytes: f64) -> Prediction {
        let count = f64::from(nodes);
        // Nothing passes a network without a rate: a time that is long, not one that is no number.
        let rate = if self.rate.0 >= 1.0 { self.rate.0 } else { 1.0 };
        let stream = |share: f64| share * bytes / rate;
        let hops = |hops: f64| hops * self.hop.0.max(0.0);
        let ring = |steps: f64| hops(steps) + stream(operation.bus_factor(nodes));
        let time = match operation {
            Collective::AllReduce => ring(2.0 * (count - 1.0)).min(hops(2.0 * count.log2().ceil()) + stream(2.0)),
            Collective::AllGather | Collective::ReduceScatter | Collective::AllToAll => ring(count - 1.0),
            Collective::SendReceive => ring(1.0),
        };
        Prediction::within(Seconds(time), if self.factor.is_finite() { self.factor } else { 2.0 }, true)
    }
}

impl CollectiveModel {
    /// Time of one operation over all GPUs of `fabric`, each of whose machines is like this one. `bytes` counts as within one machine.
    pub fn time_across(&self, operation: Collective, fabric: Fabric, network: &Network, bytes: Bytes) -> Prediction {
        let Fabric { nodes, gpus_per_node } = fabric;
        if nodes < 2 || gpus_per_node == 0 || bytes.0 == 0 {
            return self.time(operation, gpus_per_node, bytes);
        }
        let rail = bytes.as_f64() / f64::from(gpus_per_node);
        let launch = Prediction::within(Seconds(LAUNCH), 2.0, true);
        match operation {
            Collective::SendReceive => after(launch, network.time(operation, nodes, bytes.as_f64())),
            _ if gpus_per_node == 1 => after(launch, network.time(operation, nodes, bytes.as_f64())),
            Collective::AllReduce => {
                let [scatter, gather] =
                    [Collective::ReduceScatter, Collective::AllGather].map(|half| self.time(half, gpus_per_node, bytes));
                pipelined(after(scatter, gather), network.time(operation, nodes, rail))
            }
            Collective::AllGather | Collective::ReduceScatter => {
                pipelined(self.time(operation, gpus_per_node, bytes), network.time(operation, nodes, rail))
            }
            Collective::AllToAll => {
                let stays = self.time(operation, gpus_per_node, Bytes(bytes.0.div_ceil(u64::from(nodes))));
                pipelined(stays, network.time(operation, nodes, bytes.as_f64()))
            }
        }
    }
}

/// One after the other.
fn after(first: Prediction, second: Prediction) -> Prediction {
    Prediction {
        time: Seconds(first.time.0 + second.time.0),
        low: Seconds(first.low.0 + second.low.0),
        high: Seconds(first.high.0 + second.high.0),
        extrapolated: first.extrapolated || second.extrapolated,
    }
}

/// Overlapping in part: see the module.
fn pipelined(within: Prediction, between: Prediction) -> Prediction {
    Prediction {
        time: Seconds(within.time.0.hypot(between.time.0)),
        low: Seconds(within.low.0.max(between.low.0)),
        high: Seconds(within.high.0 + between.high.0),
        extrapolated: true,
    }
}
