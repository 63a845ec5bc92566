//! What comes out of a probe: measured, observed, waived or failed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Case, TracePoint};
use crate::error::Error;
use crate::stats::{Interval, Sample};
use crate::units::{Bytes, BytesPerSecond, Flops, FlopsPerSecond, Seconds};

pub use crate::telemetry::Span as TelemetrySpan;

/// What one iteration moves, computes and steps through: the only way a rate can be made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Work {
    /// Bytes read plus bytes written, as the case's mechanism counts them.
    #[serde(default)]
    pub moved: Bytes,
    /// Floating-point operations; a multiply-add counts two.
    #[serde(default)]
    pub compute: Flops,
    /// Dependent steps, such as the hops of a pointer chase; the time per step is a latency. 1 where nothing is stepped through.
    pub steps: u64,
}

impl Work {
    /// Work that moves bytes.
    pub const fn moving(moved: Bytes) -> Self {
        Self { moved, compute: Flops(0.0), steps: 1 }
    }

    /// Work that computes, and moves at least `moved`.
    pub const fn computing(compute: Flops, moved: Bytes) -> Self {
        Self { moved, compute, steps: 1 }
    }

    /// Work that consists of `steps` steps, each of which waits for the one before.
    pub const fn stepping(steps: u64) -> Self {
        Self { moved: Bytes(0), compute: Flops(0.0), steps }
    }
}

/// Why a sample does not enter the statistics. It stays in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RejectionReason {
    /// Shorter than 200 times the clock's resolution.
    BelowClockResolution,
    /// Faster than the hardware's ceiling: the work was not done, or not where it should have been (a cache).
    AboveCeiling,
    /// The clock returned no finite, positive time.
    NotATime,
}

/// A rejected sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rejection {
    /// Seconds per iteration, as measured; absent when it was no number.
    pub seconds: Option<f64>,
    /// Why it does not count.
    pub reason: RejectionReason,
}

/// Which limit ended the sampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The interval of the median became narrower than the target.
    Precise,
    /// The most time was spent.
    OutOfTime,
    /// The most samples were taken.
    EnoughSamples,
}

/// Raw samples of one case. Rates are derived, never stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measurement {
    /// Which case.
    pub case: Case,
    /// What one iteration does.
    pub work: Work,
    /// Iterations in each sample's batch; the last size, if work that became faster made the batches grow.
    pub iterations: u64,
    /// Seconds per iteration, in the order taken.
    pub samples: Vec<f64>,
    /// Samples that do not count, with reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Rejection>,
    /// Why sampling ended.
    pub stop: StopReason,
    /// Time spent warming up before the first sample.
    pub warmup: Seconds,
    /// What the GPU said meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<TelemetrySpan>,
    /// What the other GPUs of the case said meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partners: Vec<Partner>,
    /// Of a load that is followed over time: what the GPU said during each sample. Empty otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trace: Vec<TracePoint>,
    /// How it was done, for repeating it: engine, algorithm, data distribution, seed, rotation, NUMA node, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub conditions: BTreeMap<String, String>,
}

/// Another GPU of a case, such as the one at the other end of a copy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Partner {
    /// Its index.
    pub gpu: u32,
    /// What it said meanwhile.
    pub telemetry: TelemetrySpan,
}

impl Measurement {
    /// The samples as a [`Sample`]; `None` with fewer than two.
    pub fn sample(&self) -> Option<Sample> {
        Sample::new(self.samples.clone()).ok()
    }

    /// Median time of one iteration with its 95 % interval; `None` with fewer than two samples.
    pub fn time(&self) -> Option<Interval> {
        self.sample().map(|sample| sample.median_interval(0.95))
    }

    /// Median transfer rate with its interval, B/s; `None` when the work moves nothing.
    pub fn bandwidth(&self) -> Option<Interval> {
        (self.work.moved.0 > 0).then(|| self.time()).flatten().map(|time| time.rate_of(self.work.moved.as_f64()))
    }

    /// Median rate of operations with its interval, FLOP/s; `None` when the work computes nothing.
    pub fn throughput(&self) -> Option<Interval> {
        (self.work.compute.0 > 0.0).then(|| self.time()).flatten().map(|time| time.rate_of(self.work.compute.0))
    }

    /// Median time of one step with its interval, seconds.
    pub fn latency(&self) -> Option<Interval> {
        self.time().map(|time| time.scaled(1.0 / self.work.steps.max(1) as f64))
    }

    /// The point of [`Self::bandwidth`] in its unit.
    pub fn median_bandwidth(&self) -> Option<BytesPerSecond> {
        self.bandwidth().map(|interval| BytesPerSecond(interval.point))
    }

    /// The point of [`Self::throughput`] in its unit.
    pub fn median_throughput(&self) -> Option<FlopsPerSecond> {
        self.throughput().map(|interval| FlopsPerSecond(interval.point))
    }
}

/// A quantity that is read rather than timed, such as the memory a context takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Observation {
    /// Which case.
    pub case: Case,
    /// What was seen.
    pub bytes: Bytes,
    /// How it was done.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub conditions: BTreeMap<String, String>,
}

/// Why a probe or a case did not run. A value, not an error: the run goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Waiver {
    /// There is no GPU, or no driver.
    NoDevice {
        /// What was found instead.
        reason: String,
    },
    /// The case needs more GPUs.
    TooFewDevices {
        /// How many it needs.
        needed: u32,
        /// How many there are.
        found: u32,
    },
    /// The GPU's compute capability does not have the instruction.
    ComputeCapability {
        /// Such as `8.9`.
        needed: String,
        /// Such as `8.0`.
        found: String,
    },
    /// The case does not fit in the memory that may be used.
    Memory {
        /// Bytes it needs.
        needed: Bytes,
        /// Bytes it may use.
        available: Bytes,
    },
    /// The driver does not allow peer access between the two GPUs.
    NoPeerAccess {
        /// What the driver says.
        reason: String,
    },
    /// A library was not found.
    LibraryMissing {
        /// Which.
        library: String,
        /// Where it was sought.
        sought: Vec<String>,
        /// What would provide it.
        remedy: String,
    },
    /// The system does not permit it.
    Permission {
        /// What was refused.
        what: String,
        /// What would allow it.
        remedy: String,
    },
    /// The driver or the system does not offer it.
    Unsupported {
        /// What is missing.
        what: String,
    },
    /// The time for the run was used up.
    OutOfTime,
}

impl std::fmt::Display for Waiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoDevice { reason } => write!(f, "no GPU: {reason}"),
            Self::TooFewDevices { needed, found } => {
                write!(f, "needs {needed} GPUs, found {found}")
            }
            Self::ComputeCapability { needed, found } => {
                write!(f, "needs compute capability {needed}, found {found}")
            }
            Self::Memory { needed, available } => {
                write!(f, "needs {}, may use {}", needed.approximate(), available.approximate())
            }
            Self::NoPeerAccess { reason } => write!(f, "no peer access: {reason}"),
            Self::LibraryMissing { library, remedy, .. } => write!(f, "{library} not found; {remedy}"),
            Self::Permission { what, remedy } => write!(f, "not permitted: {what}; {remedy}"),
            Self::Unsupported { what } => write!(f, "not supported here: {what}"),
            Self::OutOfTime => f.write_str("the time for this run was used up; give it more with --effort thorough"),
        }
    }
}

/// What became of one case. Every one is kept in the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Timed.
    Measured(Box<Measurement>),
    /// Read.
    Observed(Observation),
    /// Not run, for a good reason.
    Waived {
        /// Which case; a probe's family name when the whole probe was waived.
        case: Case,
        /// Why.
        waiver: Waiver,
    },
    /// Tried, and failed or answered wrongly.
    Failed {
        /// Which case.
        case: Case,
        /// The error's text.
        error: String,
        /// Whether it ran and its answer was wrong: the samples are void and the device is not to be trusted.
        wrong_answer: bool,
    },
}

impl Outcome {
    /// A case that was tried and ended in `error`.
    pub fn failed(case: Case, error: &Error) -> Self {
        Self::Failed { case, error: error.to_string(), wrong_answer: matches!(error, Error::WrongAnswer { .. }) }
    }

    /// Which case this is about.
    pub fn case(&self) -> &Case {
        match self {
            Self::Measured(measurement) => &measurement.case,
            Self::Observed(observation) => &observation.case,
            Self::Waived { case, .. } | Self::Failed { case, .. } => case,
        }
    }

    /// The measurement, if it is one.
    pub fn measured(&self) -> Option<&Measurement> {
        match self {
            Self::Measured(measurement) => Some(measurement),
            _ => None,
        }
    }

    /// Whether this is a failure.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}
