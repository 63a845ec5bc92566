//! What a probe gets to work with.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Rig;
use crate::error::Result;
use crate::machine::Machine;
use crate::measure::{self, Case, Clock, Measurement, Outcome, Plan, StopRule, Trial};
use crate::telemetry::Watch;
use crate::units::{BytesPerSecond, FlopsPerSecond, Hertz, Seconds, Watts};

/// How much time a run may take and how precise it wants to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// One GPU within 20 s, eight within a minute: enough to see every fault that matters.
    Quick,
    /// One GPU within 90 s, eight within 3 min: numbers to plan with.
    #[default]
    Standard,
    /// As long as the precision needs: numbers to publish.
    Thorough,
}

impl std::fmt::Display for Effort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Quick => "quick",
            Self::Standard => "standard",
            Self::Thorough => "thorough",
        })
    }
}

impl Effort {
    /// Sampled time that all GPU cases of a run share, for so many GPUs. Preparation and checks come on top, so this is about two thirds
    /// of the time a run may take.
    pub fn gpu_budget(self, gpus: usize) -> Seconds {
        let more = gpus.saturating_sub(1) as f64;
        match self {
            Self::Quick => Seconds(12.0 + 3.5 * more),
            Self::Standard => Seconds(60.0 + 8.5 * more),
            Self::Thorough => Seconds(300.0 + 60.0 * more),
        }
    }

    /// Sampled time that all host and storage cases share.
    pub fn host_budget(self) -> Seconds {
        match self {
            Self::Quick => Seconds(4.0),
            Self::Standard => Seconds(8.0),
            Self::Thorough => Seconds(40.0),
        }
    }

    /// Target half-width of the median's 95 % interval for bandwidths; matmul aims at twice that.
    pub fn precision(self) -> f64 {
        match self {
            Self::Quick => 0.01,
            Self::Standard => 0.005,
            Self::Thorough => 0.002,
        }
    }

    /// Time to warm the device up before a case is sampled.
    pub fn warmup(self) -> Seconds {
        match self {
            Self::Quick => Seconds(0.02),
            Self::Standard => Seconds(0.1),
            Self::Thorough => Seconds(3.0),
        }
    }
}

/// How a load stands that takes long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// The GPU.
    pub gpu: u32,
    /// Its rate now.
    pub rate: FlopsPerSecond,
    /// The clock of its multiprocessors.
    pub clock: Option<Hertz>,
    /// What it draws.
    pub power: Option<Watts>,
    /// Since the load began.
    pub passed: Seconds,
    /// How long it is to last.
    pub length: Seconds,
}

/// The machine, the time and the conditions of a run, as a probe sees them.
pub struct Lab<'a> {
    /// The machine being measured.
    pub machine: &'a Machine,
    /// Indices of the GPUs that the run measures.
    pub gpus: &'a [u32],
    /// How thorough the run is.
    pub effort: Effort,
    /// Seed of all generated data.
    pub seed: u64,
    /// Folder in which files may be written; they are removed again.
    pub scratch: &'a Path,
    /// Sampled time the current case may take.
    pub budget: Seconds,
    /// Whether the user asked to stop.
    pub stopped: &'a dyn Fn() -> bool,
    /// Who wants to know how a case proceeds that takes long.
    pub tell: &'a dyn Fn(&Case, Moment),
    /// Outcomes of other cases of the probe that came out of the current one: of GPUs that worked beside.
    pub besides: Vec<Outcome>,
    /// What stays open between cases; empty at the start of a run.
    pub rig: Rig,
}

impl Lab<'_> {
    /// The plan for a case within the current budget, aiming at the effort's precision times `looseness`.
    pub fn plan(&self, looseness: f64) -> Plan {
        let most = self.budget;
        Plan {
            stop: StopRule { target: self.effort.precision() * looseness, least: most * 0.2, most, most_samples: 1000 },
            warmup: self.effort.warmup().min(most * 0.3),
            batch: (most * 0.02).max(Seconds(1e-3)).min(Seconds(0.05)),
            bandwidth_ceiling: None,
            throughput_ceiling: None,
        }
    }

    /// Sample `trial` as `case` under `plan`.
    ///
    /// # Errors
    /// As [`measure::sample`].
    pub fn sample(
        &self,
        case: &Case,
        trial: &mut dyn Trial,
        clock: &mut dyn Clock,
        watch: &mut dyn Watch,
        plan: &Plan,
    ) -> Result<Measurement> {
        measure::sample(case, trial, clock, watch, plan, self.stopped)
    }
}

impl Plan {
    /// The same plan with a transfer rate that the hardware cannot exceed.
    #[must_use]
    pub fn with_bandwidth_ceiling(self, ceiling: Option<BytesPerSecond>) -> Self {
        Self { bandwidth_ceiling: ceiling, ..self }
    }

    /// The same plan with a rate of operations that the hardware cannot exceed.
    #[must_use]
    pub fn with_throughput_ceiling(self, ceiling: Option<FlopsPerSecond>) -> Self {
        Self { throughput_ceiling: ceiling, ..self }
    }
}
