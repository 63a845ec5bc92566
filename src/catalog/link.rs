//! What standards and documents say about links.

use serde::Deserialize;

use super::Confidence;
use crate::figure::{Basis, Figure};
use crate::units::BytesPerSecond;

/// Kinds of links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// PCI Express.
    Pcie,
    /// NVLink between GPUs.
    Nvlink,
    /// NVLink between a CPU and a GPU of one module.
    C2c,
    /// A switch chip between NVLinks.
    Nvswitch,
    /// InfiniBand.
    Infiniband,
    /// Ethernet, RoCE included.
    Ethernet,
    /// Elastic fabric adapter.
    Efa,
    /// GPU memory over TCP offload.
    GpudirectTcpx,
    /// Between the sockets of one host.
    CpuSocket,
}

/// From the least to the most that was published.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    low_gbs: f64,
    high_gbs: f64,
}

impl Range {
    /// The lower end.
    pub fn low(self) -> BytesPerSecond {
        BytesPerSecond(self.low_gbs * 1e9)
    }

    /// The upper end.
    pub fn high(self) -> BytesPerSecond {
        BytesPerSecond(self.high_gbs * 1e9)
    }
}

/// A kind of link. Rates are for one direction unless the name says total.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Unique.
    pub name: String,
    /// What kind.
    pub family: Family,
    /// As its standard counts.
    pub generation: String,
    /// Lanes, links or ports.
    pub width: u32,
    /// Signalling rate of one lane, as printed.
    pub signal: Option<String>,
    raw_gbs: Option<f64>,
    encoded_gbs: Option<f64>,
    practical_gbs: Option<f64>,
    /// What `practical` takes into account.
    pub practical_basis: Option<String>,
    /// Good measurements by others.
    pub measured: Option<Range>,
    marketing_total_gbs: Option<f64>,
    guide_total_gbs: Option<f64>,
    /// What the rates are for: one slot, one GPU, one node.
    pub scope: String,
    /// Where it is found.
    pub used_by: Option<String>,
    /// Pitfalls.
    pub notes: Option<String>,
    /// How well this row is attested.
    pub confidence: Confidence,
    /// Where the numbers were read.
    pub source: String,
    /// When they were checked, ISO 8601.
    pub date: String,
}

impl Link {
    /// Signalling rate times lanes.
    pub fn raw(&self) -> Option<Figure<BytesPerSecond>> {
        self.printed(self.raw_gbs)
    }

    /// What the line code leaves: no copy can pass it.
    pub fn encoded(&self) -> Option<Figure<BytesPerSecond>> {
        self.printed(self.encoded_gbs)
    }

    /// What packet headers leave as well, or what tuned copies reach.
    pub fn practical(&self) -> Option<Figure<BytesPerSecond>> {
        self.printed(self.practical_gbs)
    }

    /// Both directions added, as in brochures.
    pub fn marketing_total(&self) -> Option<Figure<BytesPerSecond>> {
        self.printed(self.marketing_total_gbs)
    }

    /// The written guide's number: both directions added.
    pub fn guide_total(&self) -> Option<Figure<BytesPerSecond>> {
        Some(Figure::new(BytesPerSecond(self.guide_total_gbs? * 1e9), Basis::Guide, "guide B.4.1"))
    }

    fn printed(&self, gbs: Option<f64>) -> Option<Figure<BytesPerSecond>> {
        Some(Figure::new(BytesPerSecond(gbs? * 1e9), Basis::Datasheet, format!("{} ({})", self.source, self.name)))
    }
}
