//! What the user allows: limits of their own, checks that must be answered or do not matter, and findings that are accepted for a time.
//!
//! ```toml
//! [bands."matmul.bf16"]     # a rate, or a share of what is expected otherwise
//! failure = "600 TFLOP/s"
//! warning = "95 %"
//!
//! [checks]
//! require = ["xid"]         # unknown is not good enough
//! ignore = ["host.shm"]
//!
//! [[accept]]
//! check = "pcie.width"
//! about = "gpu 1"           # else wherever it is found
//! until = "2027-03-31"
//! reason = "the provider knows, ticket 4711"
//! ```
//!
//! A file may come from a stranger: its size is bounded, unknown keys and ids are errors, nothing in it is executed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use serde::Deserialize;

use super::{Band, Check, Kind, Matters, kind};
use crate::error::{Error, Result};
use crate::figure::Basis;
use crate::units::{BytesPerSecond, FlopsPerSecond};

/// No honest policy is larger.
const MOST_BYTES: u64 = 1 << 20;

/// What the user allows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    bands: BTreeMap<String, Limits>,
    require: Vec<String>,
    ignore: Vec<String>,
    accept: Vec<Acceptance>,
    /// The file's name, as the source of its bands.
    source: String,
}

/// A policy as it stands in a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    bands: BTreeMap<String, WrittenLimits>,
    #[serde(default)]
    checks: Checks,
    #[serde(default)]
    accept: Vec<Acceptance>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Checks {
    require: Vec<String>,
    ignore: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLimits {
    reference: Option<String>,
    warning: Option<String>,
    failure: Option<String>,
}

/// Limits that stand in place of a band's own.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Limits {
    reference: Option<Limit>,
    warning: Option<Limit>,
    failure: Option<Limit>,
}

/// A rate, or a share of what is expected.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Limit {
    Rate(f64, &'static str),
    Share(f64),
}

/// A finding that is known and borne, until a day.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Acceptance {
    check: String,
    about: Option<String>,
    #[serde(deserialize_with = "day")]
    until: Date,
    reason: String,
}

/// A day, written as TOML has it or as a text.
fn day<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Date, D::Error> {
    let text = match toml::Value::deserialize(deserializer)? {
        toml::Value::Datetime(day) => day.to_string(),
        toml::Value::String(day) => day,
        other => other.to_string(),
    };
    text.parse().map_err(|_| serde::de::Error::custom(format!("until: expected a day such as 2027-03-31 but found {text:?}")))
}

impl Policy {
    /// The policy in a file.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read, [`Error::Content`] when it is not a policy.
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |source| Error::File { doing: "reading", path: path.to_owned(), source, remedy: "check the path and its permissions" };
        let text = crate::record::read_bounded(path, MOST_BYTES).map_err(failed)?;
        let text = text.ok_or_else(|| malformed(path, "larger than 1 MiB, so not a policy".to_owned()))?;
        let text = String::from_utf8(text).map_err(|_| malformed(path, "not UTF-8 text".to_owned()))?;
        Self::parse(&text, path)
    }

    /// The policy in a text; `path` is named in errors and as the source of its bands.
    ///
    /// # Errors
    /// [`Error::Content`] as [`Self::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let file: File = toml::from_str(text).map_err(|error| malformed(path, error.to_string().replace('\n', " ")))?;
        let ids = file.bands.keys().chain(&file.checks.require).chain(&file.checks.ignore).chain(file.accept.iter().map(|one| &one.check));
        if let Some(wrong) = ids.into_iter().find(|id| kind(id).is_none()) {
            return Err(malformed(path, format!("expected a check such as \"pcie.width\" but found {wrong:?}")));
        }
        let mut bands = BTreeMap::new();
        for (id, written) in &file.bands {
            bands.insert(id.clone(), Limits::of(written).map_err(|why| malformed(path, format!("bands.{id:?}: {why}")))?);
        }
        let source = path.file_name().map_or_else(|| "the policy".to_owned(), |name| name.to_string_lossy().into_owned());
        Ok(Self { bands, require: file.checks.require, ignore: file.checks.ignore, accept: file.accept, source })
    }

    /// The band of a check, with the policy's limits in place of its own.
    pub(super) fn band(&self, id: &str, band: Band) -> Band {
        let Some(limits) = self.bands.get(id) else { return band };
        let unit = band.unit;
        let of = |limit: Option<Limit>, reference: f64, usual: f64| match limit {
            Some(Limit::Rate(rate, of)) if of == unit => rate,
            Some(Limit::Share(share)) => share * reference,
            // A rate in another unit says nothing here.
            _ => usual,
        };
        let reference = of(limits.reference, band.reference, band.reference);
        let scale = reference / band.reference;
        let failure = of(limits.failure, reference, band.failure * scale);
        let warning = of(limits.warning, reference, band.warning * scale).max(failure);
        Band { reference: reference.max(warning), warning, failure, basis: Basis::Assumed, from: vec![self.source.clone()], ..band }
    }

    /// Whether a kind is not to be asked.
    pub(super) fn ignores(&self, id: &str) -> bool {
        self.ignore.iter().any(|ignored| ignored == id)
    }

    /// Whether the verdict is unknown without an answer.
    pub(super) fn matters(&self, kind: &Kind) -> bool {
        kind.matters == Matters::Yes || self.require.iter().any(|required| required == kind.id)
    }

    /// Why what `check` found is accepted on `day`, if it is.
    pub(super) fn accepts(&self, check: &Check, day: Option<Date>) -> Option<String> {
        let about = check.about.to_string();
        let holds = |one: &&Acceptance| {
            one.check == check.id
                && one.about.as_ref().is_none_or(|wanted| same_thing(wanted, &about))
                && day.is_some_and(|day| day <= one.until)
        };
        self.accept.iter().find(holds).map(|one| format!("{} (until {})", one.reason, one.until))
    }
}

/// Whether two names of a thing mean the same: spaces, case and the form of the arrow do not matter.
fn same_thing(a: &str, b: &str) -> bool {
    let plain = |text: &str| text.to_lowercase().replace("->", "→").chars().filter(|c| !c.is_whitespace()).collect::<String>();
    plain(a) == plain(b)
}

impl Limits {
    fn of(written: &WrittenLimits) -> std::result::Result<Self, String> {
        let limit = |text: &Option<String>| text.as_deref().map(Limit::parse).transpose();
        Ok(Self { reference: limit(&written.reference)?, warning: limit(&written.warning)?, failure: limit(&written.failure)? })
    }
}

impl Limit {
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let wrong = || format!("expected a rate such as \"3.0 TB/s\" or \"600 TFLOP/s\", or a share such as \"90 %\", but found {text:?}");
        let limit = if let Some(share) = text.trim().strip_suffix('%') {
            Self::Share(share.trim().parse::<f64>().map_err(|_| wrong())? / 100.0)
        } else if let Ok(rate) = text.parse::<BytesPerSecond>() {
            Self::Rate(rate.0, "B/s")
        } else {
            Self::Rate(text.parse::<FlopsPerSecond>().map_err(|_| wrong())?.0, "FLOP/s")
        };
        let (Self::Rate(value, _) | Self::Share(value)) = limit;
        if value.is_finite() && value > 0.0 { Ok(limit) } else { Err(wrong()) }
    }
}

fn malformed(path: &Path, why: String) -> Error {
    let path: PathBuf = path.to_owned();
    Error::Content { path, why, remedy: "correct the policy; `gpu-assay validate --list` names the checks".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{About, Status};

    const TEXT: &str = r#"
        [bands."matmul.bf16"]
        failure = "600 TFLOP/s"
        warning = "95 %"
        [bands.dram]
        reference = "3 TB/s"
        [checks]
        require = ["xid"]
        ignore = ["host.shm"]
        [[accept]]
        check = "pcie.width"
        about = "GPU 1"
        until = 2027-03-31
        reason = "known"
    "#;

    fn policy(text: &str) -> Result<Policy> {
        Policy::parse(text, Path::new("policy.toml"))
    }

    fn band(unit: &'static str, reference: f64) -> Band {
        Band { reference, warning: reference * 0.92, failure: reference * 0.85, unit, basis: Basis::Datasheet, from: Vec::new() }
    }

    #[test]
    fn limits_are_rates_or_shares() {
        let policy = policy(TEXT).unwrap();
        let own = policy.band("matmul.bf16", band("FLOP/s", 800e12));
        assert_eq!((own.reference, own.warning, own.failure), (800e12, 760e12, 600e12));
        assert_eq!(own.from, ["policy.toml"]);
        let dram = policy.band("dram", band("B/s", 2e12));
        assert_eq!((dram.reference, dram.warning, dram.failure), (3e12, 2.76e12, 2.55e12));
        assert_eq!(policy.band("copy.h2d", band("B/s", 5e10)), band("B/s", 5e10));
    }

    #[test]
    fn an_accepted_finding_expires() {
        let policy = policy(TEXT).unwrap();
        let check = |about| Check {
            id: "pcie.width",
            about,
            status: Status::Failure,
            seen: String::new(),
            expected: String::new(),
            measured: None,
            band: None,
        };
        let day = |text: &str| text.parse::<Date>().ok();
        assert_eq!(policy.accepts(&check(About::Gpu(1)), day("2027-03-31")).as_deref(), Some("known (until 2027-03-31)"));
        assert_eq!(policy.accepts(&check(About::Gpu(1)), day("2027-04-01")), None);
        assert_eq!(policy.accepts(&check(About::Gpu(0)), day("2027-01-01")), None);
        assert!(policy.ignores("host.shm") && !policy.ignores("xid"));
        assert!(policy.matters(kind("xid").unwrap()) && !Policy::default().matters(kind("xid").unwrap()));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, told) in [
            ("[bands.nothing]\nfailure = \"1 GB/s\"", "found \"nothing\""),
            ("[bands.dram]\nfailure = \"fast\"", "expected a rate"),
            ("[bands.dram]\nfailure = \"-5 %\"", "expected a rate"),
            ("[bands.dram]\nfail = \"5 %\"", "unknown field"),
            ("[[accept]]\ncheck = \"xid\"\nuntil = \"soon\"\nreason = \"\"", "until"),
            ("[checks]\nignore = [\"everything\"]", "everything"),
            ("}", "expected"),
        ] {
            let error = policy(text).unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("policy.toml") && !error.contains('\n'), "{text}: {error}");
        }
    }
}
