//! What the GPU said about itself while it was being measured.
//!
//! A **watch** polls NVML on a thread of its own between `start` and `stop`; what it saw is a [`Span`]: clocks, power, temperature, the
//! reasons the driver gave for holding clocks back, and the PCIe link as trained *under load* (an idle link drops to generation 1).
//! Throttled samples are kept and reported, never dropped: the throttling is often the finding. A [`Gauge`] looks when it is asked to, for loads
//! that are followed over time. An [`XidWatch`] listens over a whole run
//! for the errors that the kernel driver reports.

mod gauge;
mod nvml;
mod watch;
mod xids;

pub use gauge::{Blind, Gauge, NvmlGauge};
pub use nvml::NvmlWatch;
pub use watch::Reading;
pub use xids::XidWatch;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Celsius, Hertz, Watts};

/// What was seen during a measurement. Fields are absent when the reading was refused or nothing was polled in time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Span {
    /// Polls that went in.
    pub polls: u32,
    /// Mean streaming multiprocessor clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_sm_clock: Option<Hertz>,
    /// Lowest streaming multiprocessor clock seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_sm_clock: Option<Hertz>,
    /// Mean memory clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_memory_clock: Option<Hertz>,
    /// Mean power draw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_power: Option<Watts>,
    /// Highest power draw seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_power: Option<Watts>,
    /// Highest temperature seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_temperature: Option<Celsius>,
    /// Every reason seen for reduced clocks, by NVML's names in lower case (`sw_power_cap`, `hw_thermal_slowdown`, …).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub throttle_reasons: Vec<String>,
    /// Highest PCIe generation seen during the span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pcie_generation: Option<u32>,
    /// Highest PCIe width seen during the span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pcie_width: Option<u32>,
    /// Corrected ECC errors that appeared during the span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_corrected_errors: Option<u64>,
    /// Uncorrected ECC errors that appeared during the span: data was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_uncorrected_errors: Option<u64>,
    /// Both kinds together, in records of programs that did not tell them apart; this one does not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_ecc_errors: Option<u64>,
    /// PCIe replays that appeared during the span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_pcie_replays: Option<u64>,
}

/// Something that watches a device between `start` and `stop`.
pub trait Watch {
    /// Begin a span.
    fn start(&mut self);

    /// End the span; `None` when nothing is watched.
    fn stop(&mut self) -> Option<Span>;
}

/// Watches nothing: host measurements, and machines without NVML.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn start(&mut self) {}

    fn stop(&mut self) -> Option<Span> {
        None
    }
}
