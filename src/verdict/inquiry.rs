//! An inquiry into one machine: the evidence, and the checks answered so far.

use std::collections::BTreeMap;

use super::policy::Policy;
use super::{About, Band, Check, Expectation, KINDS, Reading, Status, kind};
use crate::calibrate::Calibration;
use crate::catalog::Catalog;
use crate::figure::{Figure, Quantity};
use crate::machine::{Fact, Gpu};
use crate::record::Run;

/// What a verdict is made of.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The machine's record.
    pub run: &'a Run,
    /// What its measurements say.
    pub calibration: &'a Calibration,
    /// What other machines' records say.
    pub others: &'a [Calibration],
    /// What documents say.
    pub catalog: &'a Catalog,
    /// What was paid for.
    pub expected: &'a Expectation<'a>,
    /// What the user allows.
    pub policy: &'a Policy,
}

/// The checks of one machine.
pub(super) struct Inquiry<'a> {
    pub(super) evidence: Evidence<'a>,
    checks: Vec<Check>,
}

impl<'a> Inquiry<'a> {
    pub(super) const fn new(evidence: Evidence<'a>) -> Self {
        Self { evidence, checks: Vec::new() }
    }

    /// The GPUs that the record's run was about: all of the machine's where it measured none by name.
    pub(super) fn gpus(&self) -> Vec<&'a Gpu> {
        let run = self.evidence.run;
        let asked = |gpu: &&Gpu| run.settings.gpus.is_empty() || run.settings.gpus.contains(&gpu.index);
        run.machine.gpus.iter().filter(asked).collect()
    }

    /// A question answered by `status`.
    pub(super) fn answer(&mut self, id: &'static str, about: About, status: Status, seen: impl Into<String>, expected: impl Into<String>) {
        debug_assert!(kind(id).is_some(), "{id} is no kind of check");
        let (seen, expected) = (seen.into(), expected.into());
        self.checks.push(Check { id, about, status, seen, expected, measured: None, band: None });
    }

    /// A question with two answers: as it should be, or `otherwise`.
    pub(super) fn ask(
        &mut self,
        id: &'static str,
        about: About,
        good: bool,
        otherwise: Status,
        seen: impl Into<String>,
        expected: impl Into<String>,
    ) {
        self.answer(id, about, if good { Status::Pass } else { otherwise }, seen, expected);
    }

    /// A question that could not be answered, because of `why`.
    pub(super) fn unknown(&mut self, id: &'static str, about: About, why: impl Into<String>) {
        self.answer(id, about, Status::Unknown, why, "");
    }

    /// A question about something that was read; unknown with the reason where it was not.
    pub(super) fn fact<T>(&mut self, id: &'static str, about: About, fact: &Fact<T>, answer: impl FnOnce(&T) -> (Status, String, String)) {
        match (fact.known(), fact.why()) {
            (Some(value), _) => {
                let (status, seen, expected) = answer(value);
                self.answer(id, about, status, seen, expected);
            }
            (None, why) => self.unknown(id, about, why.unwrap_or("not read")),
        }
    }

    /// A measurement against a band.
    pub(super) fn rate<Q: Quantity>(&mut self, id: &'static str, about: About, measured: &Figure<Q>, band: Band) {
        let band = self.evidence.policy.band(id, band);
        let reading = Reading {
            value: measured.value.base(),
            low: measured.low.base(),
            high: measured.high.base(),
            unit: Q::UNIT,
            shown: measured.value.show(),
        };
        let status = band.judge(reading.low, reading.high);
        self.checks.push(Check {
            id,
            about,
            status,
            seen: reading.shown.clone(),
            expected: Q::from_base(band.reference).show(),
            measured: Some(reading),
            band: Some(band),
        });
    }

    /// All checks in the order of their kinds, those of pairs summed up where most pairs share an answer that is not good.
    pub(super) fn checks(self) -> Vec<Check> {
        let order: BTreeMap<&str, usize> = KINDS.iter().enumerate().map(|(place, kind)| (kind.id, place)).collect();
        let mut checks = summed_up(self.checks);
        checks.sort_by_key(|check| (order.get(check.id).copied(), check.about));
        checks
    }
}

/// Fifty-six pairs that fail alike are one finding about the machine.
fn summed_up(checks: Vec<Check>) -> Vec<Check> {
    /// Fewer are told one by one.
    const MANY: usize = 4;
    let is_pair = |check: &Check| matches!(check.about, About::Pair(..));
    let mut pairs: BTreeMap<&str, usize> = BTreeMap::new();
    let mut alike: BTreeMap<(&str, Status), Vec<Check>> = BTreeMap::new();
    for check in checks.iter().filter(|check| is_pair(check)) {
        *pairs.entry(check.id).or_default() += 1;
        if check.status > Status::Pass {
            alike.entry((check.id, check.status)).or_default().push(check.clone());
        }
    }
    alike.retain(|(id, _), same| same.len() > MANY && 2 * same.len() > pairs.get(id).copied().unwrap_or(0));
    let mut kept: Vec<Check> =
        checks.into_iter().filter(|check| !is_pair(check) || !alike.contains_key(&(check.id, check.status))).collect();
    for ((id, _), same) in alike {
        // The slowest speaks for all.
        let value = |check: &Check| check.measured.as_ref().map_or(f64::INFINITY, |reading| reading.value);
        let Some(worst) = same.iter().min_by(|a, b| value(a).total_cmp(&value(b))) else { continue };
        let seen = format!("{} of {} pairs: {}", same.len(), pairs.get(id).copied().unwrap_or(0), worst.seen);
        kept.push(Check { about: About::Machine, seen, ..worst.clone() });
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pair: (u32, u32), status: Status) -> Check {
        Check {
            id: "peer.rate",
            about: About::Pair(pair.0, pair.1),
            status,
            seen: "10 GB/s".into(),
            expected: String::new(),
            measured: None,
            band: None,
        }
    }

    #[test]
    fn what_most_pairs_share_is_said_once() {
        let pairs = (0..4).flat_map(|from| (0..4).filter(move |to| *to != from).map(move |to| (from, to)));
        let all: Vec<Check> = pairs.clone().map(|pair| check(pair, Status::Failure)).collect();
        let said = summed_up(all);
        assert_eq!((said.len(), said[0].about, said[0].seen.as_str()), (1, About::Machine, "12 of 12 pairs: 10 GB/s"));
        // Two of twelve are told by their names.
        let few: Vec<Check> = pairs.map(|pair| check(pair, if pair.0 + pair.1 == 1 { Status::Failure } else { Status::Pass })).collect();
        assert_eq!(summed_up(few).iter().filter(|check| check.status == Status::Failure).count(), 2);
    }
}
