//! The headline metrics of a record: what one would tell a friend about the machine.
//!
//! A **metric** is a family of cases that answer one question, such as all BF16 products by one engine. Its cases differ in the **place** where
//! they ran (a GPU, a pair of GPUs, the machine) and in the **point** on the other axes (sizes, shapes). At each place the best point counts:
//! its ceiling. Over the GPUs of a machine the slowest counts, because a job on several of them runs at its pace; over pairs the one in the
//! middle, and beside it the worst.

use std::collections::{BTreeMap, BTreeSet};

use super::change::speed;
use crate::measure::{Case, Measurement, Outcome};
use crate::record::Run;
use crate::verdict::About;

/// Probes with headline metrics, in the order in which they are shown.
const FAMILIES: [&str; 8] = ["dram", "matmul", "sustained", "copy", "peer", "launch", "host", "storage"];

/// How the places of a machine become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Summary {
    /// The slowest, or the only one.
    Slowest,
    /// The one in the middle; of an even number the slower of the middle two, so that it is one that was measured.
    Middle,
}

/// The name of a metric, ordered as metrics are shown: by probe, then by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    family: usize,
    pub(super) id: String,
}

impl Name {
    /// The headline metric that a case belongs to, if it is one of these.
    pub(super) fn of(case: &Case) -> Option<Self> {
        let family = FAMILIES.iter().position(|family| *family == case.family())?;
        let mechanism = case.mechanism();
        let id = match (case.family(), case.get_word("engine")) {
            ("matmul", _) if mechanism == "matmul.zeros" => return None,
            ("matmul" | "peer", Some(engine)) => format!("{mechanism}.{engine}"),
            ("copy", _) if case.get_word("memory") != Some("pinned") => return None,
            ("host", _) if mechanism != "host.triad" => return None,
            _ => mechanism.to_owned(),
        };
        Some(Self { family, id })
    }

    /// The probe that measures it.
    pub(super) fn family(&self) -> &'static str {
        FAMILIES[self.family]
    }

    /// Whether it is about GPUs, rather than about the host or its disk.
    pub(super) fn is_of_gpus(&self) -> bool {
        !matches!(self.family(), "host" | "storage")
    }

    /// Its summaries, with the id of each.
    pub(super) fn summaries(&self) -> Vec<(String, Summary)> {
        match self.family() {
            "peer" => vec![(format!("{}.median", self.id), Summary::Middle), (format!("{}.worst", self.id), Summary::Slowest)],
            _ => vec![(self.id.clone(), Summary::Slowest)],
        }
    }
}

/// A measurement, and how fast it was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) measurement: &'a Measurement,
    speed: f64,
}

/// One metric of one record, by place and point.
#[derive(Debug, Default)]
pub(super) struct Places<'a> {
    found: BTreeMap<About, BTreeMap<String, Found<'a>>>,
    /// Places where it was tried and failed, with the error.
    failed: BTreeMap<About, String>,
}

/// The headline metrics of one record.
#[derive(Debug, Default)]
pub(super) struct Metrics<'a>(BTreeMap<Name, Places<'a>>);

impl<'a> Metrics<'a> {
    pub(super) fn new(run: &'a Run) -> Self {
        let mut metrics = Self::default();
        for outcome in &run.outcomes {
            let Some(name) = Name::of(outcome.case()) else { continue };
            let about = place(outcome.case());
            match outcome {
                Outcome::Measured(measurement) => {
                    let Some(speed) = speed(measurement) else { continue };
                    let points = metrics.0.entry(name).or_default().found.entry(about).or_default();
                    points.insert(point(&measurement.case), Found { measurement, speed });
                }
                Outcome::Failed { error, .. } => {
                    metrics.0.entry(name).or_default().failed.insert(about, error.clone());
                }
                Outcome::Observed(_) | Outcome::Waived { .. } => {}
            }
        }
        metrics
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }

    pub(super) fn get(&self, name: &Name) -> Option<&Places<'a>> {
        self.0.get(name)
    }

    /// The summary of a metric over all its points, in its own record.
    pub(super) fn speed(&self, name: &Name, summary: Summary) -> Option<f64> {
        self.get(name)?.summary(summary, None).map(|found| found.speed)
    }
}

impl<'a> Places<'a> {
    /// Points that were measured anywhere.
    fn points(&self) -> BTreeSet<&str> {
        self.found.values().flat_map(BTreeMap::keys).map(String::as_str).collect()
    }

    /// Points that both have.
    pub(super) fn shared<'b>(&'b self, other: &'b Places<'_>) -> BTreeSet<&'b str> {
        self.points().intersection(&other.points()).copied().collect()
    }

    /// Places where it was measured.
    pub(super) fn places(&self) -> impl Iterator<Item = About> {
        self.found.keys().copied()
    }

    /// The first place that only failed: a machine of which one GPU cannot do it has no slowest GPU.
    pub(super) fn broken(&self) -> Option<(About, &str)> {
        self.failed.iter().find(|(about, _)| !self.found.contains_key(about)).map(|(about, error)| (*about, error.as_str()))
    }

    /// The best at one place, over the points named or over all.
    pub(super) fn ceiling(&self, about: About, among: Option<&BTreeSet<&str>>) -> Option<Found<'a>> {
        let wanted = |point: &String| among.is_none_or(|among| among.contains(point.as_str()));
        let found = self.found.get(&about)?.iter().filter(|(point, _)| wanted(point)).map(|(_, found)| *found);
        found.reduce(|best, found| if found.speed > best.speed { found } else { best })
    }

    /// The machine's: over all places, each by its best.
    pub(super) fn summary(&self, summary: Summary, among: Option<&BTreeSet<&str>>) -> Option<Found<'a>> {
        let mut ceilings: Vec<Found<'a>> = self.found.keys().filter_map(|about| self.ceiling(*about, among)).collect();
        ceilings.sort_by(|a, b| a.speed.total_cmp(&b.speed));
        let place = match summary {
            Summary::Slowest => 0,
            Summary::Middle => ceilings.len().saturating_sub(1) / 2,
        };
        ceilings.get(place).copied()
    }
}

/// Where a case ran.
pub(super) fn place(case: &Case) -> About {
    let index = |axis| case.get_count(axis).and_then(|index| u32::try_from(index).ok());
    match (index("gpu"), index("from"), index("to")) {
        (Some(gpu), ..) => About::Gpu(gpu),
        (None, Some(from), Some(to)) => About::Pair(from, to),
        _ => About::Machine,
    }
}

/// A case's id without its place. Cores are a place, too: how many there are is the machine's, and all of them are used.
fn point(case: &Case) -> String {
    let axes = case.axes().iter().filter(|(name, _)| !matches!(name.as_str(), "gpu" | "from" | "to" | "cores"));
    axes.fold(case.mechanism().to_owned(), |id, (name, value)| format!("{id} {name}={value}"))
}
