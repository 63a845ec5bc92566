//! What moves between GPUs, between nodes and from the host.

use crate::calibrate::collective::{Collective, CollectiveModel, Fabric, Interconnect, Network};
use crate::calibrate::links::LinkModel;
use crate::calibrate::{Calibration, PeerLink, Prediction};
use crate::catalog::{Catalog, GpuModel, Metric};
use crate::figure::{Basis, Figure};
use crate::units::{Bytes, BytesPerSecond, Seconds};

/// Links of one GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Links {
    /// Collectives inside a node; `None` where nothing is known of its links.
    collectives: Option<CollectiveModel>,
    /// What each GPU has of the network between nodes.
    network: Network,
    /// From and to pinned host memory.
    host: Option<LinkModel>,
    /// What the host's processors read and write of their memory, per node.
    pub(super) host_memory: Figure<BytesPerSecond>,
}

/// Share of a link's rate that copies between two GPUs reach: what is measured between peers, over it, is the link's rate.
const PEER: f64 = 0.86;

impl Links {
    /// What documents and published measurements say. `network` is the line rate between nodes per GPU; absent, 400 Gbit/s are assumed.
    pub(super) fn assumed(gpu: &GpuModel, catalog: &Catalog, network: Option<BytesPerSecond>) -> Self {
        let interconnect = Interconnect::of(gpu, catalog);
        let host = catalog.achieved_bandwidth(gpu, Metric::HostToDevice);
        let published = host.and_then(|rate| LinkModel::new(Seconds(6e-6), &rate, 1.3));
        let assumed = || interconnect.pcie.as_ref().and_then(|ceiling| LinkModel::host_assumed(ceiling, true));
        Self {
            collectives: CollectiveModel::assumed(&interconnect),
            network: Network::of_line_rate(network.unwrap_or(BytesPerSecond(50e9))),
            host: published.or_else(assumed),
            host_memory: Figure::assumed(BytesPerSecond(200e9), "200 GB/s of host memory per node"),
        }
    }

    /// Puts what `calibration` says of GPU `index` in place of what was assumed.
    pub(super) fn calibrate(&mut self, gpu: &GpuModel, catalog: &Catalog, calibration: &Calibration, index: u32) {
        if let Some(measured) = calibration.gpu(index)
            && let Some(rates) = measured.copy.get(&("h2d".to_owned(), "pinned".to_owned()))
        {
            self.host = LinkModel::measured(rates).or_else(|| self.host.take());
        }
        if let Some(triad) = calibration.host.triad() {
            self.host_memory = triad.clone();
        }
        if let Some(measured) = &calibration.collectives {
            self.collectives = Some(measured.clone());
            return;
        }
        // A GPU sends and receives in every collective: the slower way decides.
        let peers = calibration.peers.iter().filter(|link| link.from == index || link.to == index).filter_map(PeerLink::one_way);
        if let Some(slowest) = peers.reduce(|slowest, rate| if rate.value < slowest.value { rate } else { slowest }) {
            let mut interconnect = Interconnect::of(gpu, catalog);
            let line = Some(slowest.map(|rate| rate / PEER));
            if interconnect.nvlink.is_some() {
                interconnect.nvlink = line
            } else {
                interconnect.pcie = line
            };
            self.collectives = CollectiveModel::assumed(&interconnect).or_else(|| self.collectives.take());
        }
    }

    /// Time of a collective of `bytes` among `gpus`, `per_node` of which share a node.
    pub fn collective(&self, what: Collective, gpus: u64, bytes: Bytes, per_node: u64) -> Prediction {
        let Some(model) = &self.collectives else { return Prediction::within(Seconds(0.0), 1.0, true) };
        let count = |gpus: u64| u32::try_from(gpus).unwrap_or(u32::MAX);
        let nodes = gpus.div_ceil(per_node.max(1));
        match nodes {
            0 | 1 => model.time(what, count(gpus), bytes),
            _ => {
                let fabric = Fabric { nodes: count(nodes), gpus_per_node: count(gpus.div_ceil(nodes)) };
                model.time_across(what, fabric, &self.network, bytes)
            }
        }
    }

    /// Time of a copy from or to host memory.
    pub fn copy(&self, bytes: Bytes) -> Prediction {
        self.host.as_ref().map_or_else(|| Prediction::within(Seconds(0.0), 1.0, true), |link| link.time(bytes))
    }

    /// What the numbers come from.
    pub(super) fn basis(&self) -> Vec<(&'static str, Basis, String)> {
        let collectives = self.collectives.iter().map(|model| ("links between GPUs", model.basis(), model.from().join("; ")));
        collectives.collect()
    }

    /// What the copies to the host come from.
    pub(super) fn host_basis(&self) -> Vec<(&'static str, Basis, String)> {
        let mut all: Vec<_> = self.host.iter().map(|link| ("link to the host", link.basis(), link.from().join("; "))).collect();
        all.push(("host memory", self.host_memory.basis, self.host_memory.from.join("; ")));
        all
    }
}
