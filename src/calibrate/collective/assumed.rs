//! Collectives on links that nobody measured.
//!
//! Time is (αᵖ + (S/β)ᵖ)^(1/p): p = 1 if nothing overlapped, p = ½ with the best chunk of a pipeline, as
//! [`TransferCurve`](crate::calibrate::TransferCurve) explains; libraries come close to the latter, p = 0.6. α is a launch and a hop per step,
//! β the bus bandwidth as a share of what the link carries in one direction. Published figures:
//!
//! | link | share | where |
//! |---|---|---|
//! | NVLink to a switch | 0.76–0.82 | 16 GiB ring on 8 × A100, H200 and B200 (stas00/ml-engineering, network) |
//! | the same, all-reduce in the switch | 0.94–1.07 | 8 × B200 and H200 (same); 1.02 is a floor on H100 (Azure health checks) |
//! | NVLink bridge between two boards | 0.64–0.69 | Azure health checks of A100 PCIe and H100 NVL |
//! | PCIe | 0.44–0.78 | 8 × RTX 5090 (NVIDIA/nccl issue 1639), 6 × RTX 4090 with peer access (tinygrad) |
//!
//! Latency: NCCL assumes 6.6 µs for a ring's start, 0.6 µs per hop over NVLink and 1 µs over PCIe (`src/graph/tuning.cc`). Machines take
//! 0.8–1.1 µs over NVLink; 8 × RTX 4090 without peer access 42 µs for 14 hops (NVIDIA/nccl issue 1530).

use super::{Collective, CollectiveModel, Known};
use crate::calibrate::Prediction;
use crate::catalog::{Catalog, GpuModel};
use crate::figure::{Basis, Figure};
use crate::units::{Bytes, BytesPerSecond, Seconds};

/// What carries the bytes between GPUs of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// NVLink, every GPU to every other at full rate.
    NvSwitch {
        /// Whether the switch itself can add: NVLink SHARP, from generation 4 on.
        reduces: bool,
    },
    /// NVLink between so many boards, PCIe to the others.
    Bridge {
        /// Boards on one bridge.
        boards: u32,
    },
    /// PCI Express.
    Pcie,
}

/// How the GPUs of one machine are connected.
#[derive(Debug, Clone, PartialEq)]
pub struct Interconnect {
    /// What carries the bytes.
    pub wire: Wire,
    /// NVLink of one GPU in one direction, all links together; `None` with PCIe only.
    pub nvlink: Option<Figure<BytesPerSecond>>,
    /// PCIe of one GPU in one direction, after the line code.
    pub pcie: Option<Figure<BytesPerSecond>>,
}

impl Interconnect {
    /// How documents say that boards of this model are connected: boards in PCIe slots by bridges if at all, modules by switches.
    pub fn of(gpu: &GpuModel, catalog: &Catalog) -> Self {
        let slot =
            ["PCIe", "NVL", "RTX", "A30", "A40"].iter().any(|mark| gpu.short_name.contains(mark)) && !gpu.short_name.contains("NVL72");
        let wire = match gpu.nvlink {
            None => Wire::Pcie,
            Some(nvlink) if slot => Wire::Bridge { boards: if nvlink.generation >= 4 && nvlink.links > 12 { 4 } else { 2 } },
            Some(nvlink) => Wire::NvSwitch { reduces: nvlink.generation >= 4 },
        };
        Self { wire, nvlink: gpu.nvlink_one_way(), pcie: catalog.pcie_ceiling(gpu.pcie.generation, gpu.pcie.lanes) }
    }
}

/// What is assumed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Assumed {
    /// Up to so many GPUs talk over `near`, more over `far`.
    within: u32,
    near: Link,
    far: Link,
    /// Reductions over more GPUs than this happen in the switch.
    reduces_beyond: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Link {
    rate: f64,
    share: f64,
    hop: f64,
    /// The truth lies within this factor in nine cases of ten.
    factor: f64,
}

/// Between the best pipeline and none.
const OVERLAP: f64 = 0.6;

/// Start of a ring.
pub(super) const LAUNCH: f64 = 6.6e-6;

impl Assumed {
    pub(super) fn time(&self, operation: Collective, gpus: u32, bytes: Bytes) -> Prediction {
        let link = if gpus <= self.within { self.near } else { self.far };
        // Rings still win on four GPUs: 8 GiB on 4 × H200 and B200 reach the ring's rate only (stas00/ml-engineering).
        let share = if operation == Collective::AllReduce && gpus > self.reduces_beyond { 1.0 } else { link.share };
        let latency = LAUNCH + link.hop * operation.steps(gpus);
        let stream = operation.bus_factor(gpus) * bytes.as_f64() / (share * link.rate);
        Prediction::within(Seconds((latency.powf(OVERLAP) + stream.powf(OVERLAP)).powf(1.0 / OVERLAP)), link.factor, true)
    }
}

impl CollectiveModel {
    /// What published figures say of GPUs connected like that; `None` where the documents do not know the link's rate.
    pub fn assumed(interconnect: &Interconnect) -> Option<Self> {
        let usable = |figure: &Option<Figure<BytesPerSecond>>| figure.clone().filter(|rate| rate.value.0 > 0.0 && rate.value.0.is_finite());
        let nvlink = |share, factor| {
            let rate = usable(&interconnect.nvlink)?;
            Some((Link { rate: rate.value.0, share, hop: 0.9e-6, factor }, rate.from))
        };
        let pcie = || {
            let rate = usable(&interconnect.pcie)?;
            Some((Link { rate: rate.value.0, share: 0.6, hop: 2e-6, factor: 2.2 }, rate.from))
        };
        let ((near, mut from), far, within, reduces_beyond) = match interconnect.wire {
            Wire::NvSwitch { reduces } => {
                let link = nvlink(0.79, 1.6)?;
                (link.clone(), link, u32::MAX, if reduces { 4 } else { u32::MAX })
            }
            Wire::Bridge { boards } => (nvlink(0.65, 1.8)?, pcie()?, boards, u32::MAX),
            Wire::Pcie => {
                let link = pcie()?;
                (link.clone(), link, u32::MAX, u32::MAX)
            }
        };
        if far.0 != near {
            from.extend(far.1);
        }
        from.push("published shares of the link's rate".to_owned());
        let known = Known::Assumed(Assumed { within, near, far: far.0, reduces_beyond });
        Some(Self { known, basis: Basis::Assumed, from })
    }
}
