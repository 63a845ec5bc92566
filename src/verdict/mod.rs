//! Verdicts: is this the machine that was paid for, and which of several is faster.
//!
//! A **check** asks one question of one thing: of the machine, of a GPU, or of an ordered pair of GPUs. The [`KINDS`] of questions are one plain
//! array; each has an id that scripts and policies may rely on, the name that NVIDIA's DCGM has for the same fault where it has one, and says
//! whether it *matters*: whether the verdict is unknown when the question cannot be answered.
//!
//! What is measured is held against a [`Band`]: the value expected, the value below which a finding is a warning, and the value below which it
//! is a failure. A measurement is an interval, so there are three answers: on the good side of a limit with all of it, on the bad side with
//! all of it, or across it, which is *unknown*. Every band says where it comes from and is as wide as its source is weak.
//!
//! What fails is a [`Finding`]: what was measured and what was expected, what that costs, what to do, and a sentence for the provider. The
//! [`Verdict`] is *fail* if any check failed, else *unknown* if any that matters has no answer, else *pass*.
//!
//! Everything here is pure: it reads records and documents, so that every verdict can be repeated on any machine.

mod assess;
#[cfg(test)]
mod assess_tests;
mod collectives;
mod compare;
mod expectation;
mod health;
mod host;
mod identity;
mod inquiry;
mod kinds;
mod links;
mod policy;
mod reference;
mod speed;
mod sustained;

use std::fmt;

use serde::Serialize;

pub use assess::assess;
pub use compare::{
    Answer, CONFIDENCE, Change, Comparison, Condition, Entrant, Entry, LEAST_SAMPLES, MOST_RECORDS, Offer, Record, Row, THRESHOLD, Terms,
    compare,
};
pub use expectation::Expectation;
pub use inquiry::Evidence;
pub use policy::Policy;

pub use kinds::{KINDS, Kind, Matters, kind};

use crate::figure::{Basis, Quantity};
use crate::lang::Text;

/// The answer to "is this the machine that was paid for".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every check that matters passed.
    Pass,
    /// Something that matters could not be told.
    Unknown,
    /// Something is wrong.
    Fail,
}

impl Verdict {
    /// The word that scripts rely on.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Unknown => "unknown",
            Self::Fail => "fail",
        }
    }

    /// For people.
    pub const fn text(self) -> Text {
        match self {
            Self::Pass => Text::new("pass", "합격"),
            Self::Unknown => Text::new("unknown", "판정 불가"),
            Self::Fail => Text::new("fail", "불합격"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Pass,
    /// Left out: the policy ignores it.
    Ignored,
    /// Worse than it should be, and accepted by the policy for a time.
    Accepted,
    /// Worse than usual, without being broken.
    Warning,
    /// It could not be told.
    Unknown,
    /// Not what was paid for.
    Failure,
}

impl Status {
    /// The word that scripts rely on.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Ignored => "ignored",
            Self::Accepted => "accepted",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Failure => "failure",
        }
    }

    /// For people.
    pub const fn text(self) -> Text {
        match self {
            Self::Pass => Text::new("pass", "정상"),
            Self::Ignored => Text::new("ignored", "제외"),
            Self::Accepted => Text::new("accepted", "허용"),
            Self::Warning => Text::new("warning", "주의"),
            Self::Unknown => Text::new("unknown", "알 수 없음"),
            Self::Failure => Text::new("failure", "이상"),
        }
    }
}

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum About {
    /// The whole machine.
    Machine,
    /// One GPU, by its index.
    Gpu(u32),
    /// What lies from one GPU to another.
    Pair(u32, u32),
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine => f.pad("machine"),
            Self::Gpu(index) => f.pad(&format!("gpu {index}")),
            Self::Pair(from, to) => f.pad(&format!("gpu {from}→{to}")),
        }
    }
}

impl Serialize for About {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A number with its interval, in base units, and as people read it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reading {
    /// The value.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Unit of the three, such as `B/s`.
    pub unit: &'static str,
    /// For people.
    pub shown: String,
}

impl Reading {
    /// A value without an interval.
    pub fn exact<Q: Quantity>(value: Q) -> Self {
        Self { value: value.base(), low: value.base(), high: value.base(), unit: Q::UNIT, shown: value.show() }
    }
}

/// What is expected, and how far below it is still bearable. Larger is better for everything that has a band.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Band {
    /// What such a machine reaches.
    pub reference: f64,
    /// Below this it is worth a warning.
    pub warning: f64,
    /// Below this it is not what was paid for.
    pub failure: f64,
    /// Unit of the three.
    pub unit: &'static str,
    /// What the reference is worth.
    pub basis: Basis,
    /// Where it was read: records, documents, the policy's file.
    pub from: Vec<String>,
}

impl Band {
    /// How a measurement from `low` to `high` stands to the band. An interval across a limit cannot be judged by it: one across the limit of
    /// failure is unknown, one across the limit of warnings passes, since nothing is wrong with it beyond doubt.
    pub fn judge(&self, low: f64, high: f64) -> Status {
        if high < self.failure {
            Status::Failure
        } else if low < self.failure {
            Status::Unknown
        } else if high < self.warning {
            Status::Warning
        } else {
            Status::Pass
        }
    }
}

/// One question, with its answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// The kind's id, such as `pcie.width`.
    pub id: &'static str,
    /// Of what it was asked.
    pub about: About,
    /// The answer.
    pub status: Status,
    /// What was seen, for people.
    pub seen: String,
    /// What was expected, for people; empty where nothing particular was.
    pub expected: String,
    /// What was measured, where it is a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Reading>,
    /// What it was held against, where that is a band.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub band: Option<Band>,
}

/// A check that did not pass, with what follows from it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The check.
    #[serde(flatten)]
    pub check: Check,
    /// DCGM's name for it, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dcgm: Option<&'static str>,
    /// What is wrong, in one line.
    pub title: String,
    /// What it costs the user, where that can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// What to do.
    pub remedy: String,
    /// A sentence for the provider.
    pub sentence: String,
    /// Why the policy accepts it, and until when, where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
}

/// The whole answer about one machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Assessment {
    /// The answer.
    pub verdict: Verdict,
    /// What was asked for, as the user wrote it.
    pub expected: String,
    /// The machine's neutral name.
    pub machine: String,
    /// Whether a stand-in driver took the place of hardware.
    pub simulated: bool,
    /// When it was measured, RFC 3339.
    pub measured: String,
    /// What did not pass, the worst first.
    pub findings: Vec<Finding>,
    /// Every check, in the order of [`KINDS`].
    pub checks: Vec<Check>,
    /// What the machine really offers, and at a price what that costs.
    pub effective: Vec<Effective>,
}

/// A rate that the machine really offers, over all its GPUs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Effective {
    /// Such as `matmul.bf16`.
    pub metric: String,
    /// Of all GPUs together.
    pub measured: Reading,
    /// USD for 10¹⁵ operations per second over an hour, or for 1 TB/s over an hour, at the price given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_unit_hour: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn band() -> Band {
        Band { reference: 100.0, warning: 92.0, failure: 85.0, unit: "B/s", basis: Basis::Assumed, from: Vec::new() }
    }

    #[test]
    fn an_interval_across_the_limit_of_failure_is_unknown() {
        let band = band();
        let judged = [(80.0, 84.0), (84.0, 86.0), (86.0, 91.0), (86.0, 93.0), (95.0, 99.0)].map(|(low, high)| band.judge(low, high));
        assert_eq!(judged, [Status::Failure, Status::Unknown, Status::Warning, Status::Pass, Status::Pass]);
    }

    proptest! {
        /// A machine that is faster by all of its interval is never judged worse.
        #[test]
        fn faster_is_never_judged_worse(low in 50.0..120.0f64, width in 0.0..20.0f64, faster in 0.0..40.0f64) {
            let rank = |status: Status| match status { Status::Failure => 0, Status::Unknown => 1, Status::Warning => 2, _ => 3 };
            let band = band();
            prop_assert!(rank(band.judge(low, low + width)) <= rank(band.judge(low + faster, low + width + faster)));
        }
    }
}
