//! What moves between GPUs, between nodes and from the host.

use crate::calibrate::Prediction;
use crate::catalog::{Catalog, GpuModel, Metric};
use crate::figure::{Basis, Figure};
use crate::units::{Bytes, BytesPerSecond, Seconds};

/// A collective operation. Sizes are those of the whole buffer of one GPU: what is reduced, or what is there once gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collective {
    /// Sums for all.
    AllReduce,
    /// Parts to a whole for all.
    AllGather,
    /// Sums, a part for each.
    ReduceScatter,
    /// A part from each to each.
    AllToAll,
    /// From one to another.
    Send,
}

/// Links of one GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Links {
    /// Bus bandwidth of an all-reduce inside a node, by nccl-tests' counting.
    pub reduce: Figure<BytesPerSecond>,
    /// Of an all-gather and the others, which no switch adds up.
    pub gather: Figure<BytesPerSecond>,
    /// What one GPU gets of the network between nodes, one way.
    pub network: Figure<BytesPerSecond>,
    /// From and to host memory.
    pub host: Figure<BytesPerSecond>,
    /// What the host's processors read and write of their memory, per node.
    pub host_memory: Figure<BytesPerSecond>,
}

/// Least time of a collective inside a node: launch, and a flag each way (8–20 µs by NCCL's own tests on NVLink).
const FLOOR: f64 = 12e-6;
/// One more hop of a ring inside a node, and between nodes.
const HOP: f64 = 1.5e-6;
const NETWORK_HOP: f64 = 12e-6;
/// Factor within which a collective of this kind is known.
const WITHIN: f64 = 1.4;

impl Links {
    /// What documents and published measurements say. `network` is the rate between nodes per GPU where it is known.
    pub fn assumed(gpu: &GpuModel, catalog: &Catalog, network: Option<BytesPerSecond>) -> Self {
        /// What rings reach of NVLink's one-way rate: 78 % on A100, 82 % on H200, 76 % on B200 (stas00/ml-engineering, nccl-tests).
        const RING: f64 = 0.78;
        /// And of PCIe where GPUs may write to each other: 78 % (RTX 4090 with a patched driver); through host memory half of that.
        const PCIE: f64 = 0.39;
        /// What copies reach of PCIe's encoded rate: 80 to 90 % by copy engines.
        const COPY: f64 = 0.85;
        let pcie = catalog.pcie_ceiling(gpu.pcie.generation, gpu.pcie.lanes);
        let pcie = pcie.unwrap_or_else(|| Figure::assumed(BytesPerSecond(15.75e9), "PCIe 3.0 with 16 lanes"));
        let share = |figure: &Figure<BytesPerSecond>, share: f64, rule: &str| {
            let mut part = figure.map(|rate| rate * share);
            part.basis = Basis::Assumed;
            part.from.push(rule.to_owned());
            part
        };
        let rings = match gpu.nvlink_one_way() {
            Some(nvlink) => share(&nvlink, RING, "78 % of NVLink's one-way rate, as nccl-tests reach on A100, H200 and B200"),
            None => share(&pcie, PCIE, "39 % of PCIe's rate: through host memory"),
        };
        let reduce = catalog.achieved_collective(gpu, Metric::AllReduce, 8).unwrap_or_else(|| rings.clone());
        let gather = catalog.achieved_collective(gpu, Metric::AllGather, 8);
        let gather = gather.unwrap_or_else(|| if reduce.value < rings.value { reduce.clone() } else { rings });
        let network = match network {
            // Headers and flow control leave 85 to 92 % of the line rate.
            Some(rate) => Figure::assumed(rate * 0.9, "90 % of the network's line rate"),
            None => Figure::assumed(BytesPerSecond(50e9 * 0.9), "90 % of 400 Gbit/s per GPU between nodes"),
        };
        let host = catalog.achieved_bandwidth(gpu, Metric::HostToDevice);
        let host = host.unwrap_or_else(|| share(&pcie, COPY, "85 % of PCIe's rate"));
        let host_memory = Figure::assumed(BytesPerSecond(200e9), "200 GB/s of host memory per node");
        Self { reduce, gather, network, host, host_memory }
    }

    /// Time of a collective of `bytes` among `gpus`, `per_node` of which share a node.
    ///
    /// Rings (Patarasuk and Yuan 2009): each GPU sends `(n − 1)/n` of the buffer, twice for an all-reduce. Between nodes every GPU of a node has a
    /// ring through its own network port, so the slower of bus and all ports of a node counts.
    pub fn collective(&self, what: Collective, gpus: u64, bytes: Bytes, per_node: u64) -> Prediction {
        let n = gpus as f64;
        if gpus < 2 || bytes.0 == 0 {
            return Prediction::within(Seconds(0.0), 1.0, true);
        }
        let nodes = gpus.div_ceil(per_node.max(1));
        let inside = gpus.min(per_node) as f64;
        let bus = if what == Collective::AllReduce { self.reduce.value.0 } else { self.gather.value.0 };
        let rate = match (nodes, what) {
            (1, _) => bus,
            // What goes to other nodes leaves through one's own port.
            (_, Collective::AllToAll | Collective::Send) => self.network.value.0,
            _ => bus.min(self.network.value.0 * inside),
        };
        let (rounds, share) = match what {
            Collective::AllReduce => (2.0, 2.0 * (n - 1.0) / n),
            Collective::AllGather | Collective::ReduceScatter | Collective::AllToAll => (1.0, (n - 1.0) / n),
            Collective::Send => (1.0, 1.0),
        };
        // Long rings give way to trees, whose depth is logarithmic.
        let hops = match what {
            Collective::Send => 1.0,
            _ => (n - 1.0).min(2.0 * n.log2()),
        };
        let between = if nodes > 1 { 2.0 * (nodes as f64).log2().max(1.0) * NETWORK_HOP } else { 0.0 };
        let latency = FLOOR + rounds * (hops * HOP + between);
        Prediction::within(Seconds(latency + share * bytes.as_f64() / rate), WITHIN, true)
    }

    /// Time of a copy from or to host memory.
    pub fn copy(&self, bytes: Bytes) -> Prediction {
        const LATENCY: f64 = 10e-6;
        if bytes.0 == 0 {
            return Prediction::within(Seconds(0.0), 1.0, true);
        }
        Prediction::within(Seconds(LATENCY + bytes.as_f64() / self.host.value.0), 1.3, true)
    }
}
