//! The rows of a comparison: the headline, the same per GPU, and the cases.

use std::collections::{BTreeSet, HashMap};

use super::change::{self, LEAST_SAMPLES};
use super::metrics::{Found, Name, Places, Summary, place};
use super::spread::{Kin, Known};
use super::{About, Answer, Change, Entry, Row, Terms};
use crate::lang::{Lang, Text};
use crate::measure::{Case, Measurement, Outcome};
use crate::record::Run;

/// Most cases that are listed; no honest run has more.
const MOST_CASES: usize = 4000;

/// Longest text that is taken from a record.
const LONGEST: usize = 200;

/// What rows are made from.
pub(super) struct Rows<'a> {
    pub(super) records: &'a [Known<'a>],
    pub(super) baseline: usize,
    /// For each record, those that tell how much it may differ from the baseline.
    pub(super) kin: &'a [Kin<'a>],
    pub(super) terms: &'a Terms<'a>,
}

/// What a row asks each record for: a metric's summary, or its ceiling on one GPU.
#[derive(Clone, Copy)]
enum Asked {
    Machine(Summary),
    At(About),
}

impl<'a> Rows<'a> {
    /// One row per metric of the machine.
    pub(super) fn headline(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for name in self.names() {
            for (id, summary) in name.summaries() {
                if self.wants(&id) {
                    let entries = (0..self.records.len()).map(|record| self.entry(record, name, Asked::Machine(summary))).collect();
                    rows.push(Row { id, gpu: None, entries });
                }
            }
        }
        rows
    }

    /// One row per metric and GPU, for indices that every record has; none where all have one GPU.
    pub(super) fn gpus(&self) -> Vec<Row> {
        let indices = |known: &Known<'_>| known.run.machine.gpus.iter().map(|gpu| gpu.index).collect::<BTreeSet<u32>>();
        if self.records.iter().all(|known| indices(known).len() < 2) {
            return Vec::new();
        }
        let everywhere = self.records.iter().map(indices).reduce(|all, own| &all & &own).unwrap_or_default();
        let on_gpus = |name: &&Name| self.records.iter().any(|known| known.metrics.get(name).is_some_and(is_of_gpus));
        let mut rows = Vec::new();
        for name in self.names().into_iter().filter(on_gpus).filter(|name| self.wants(&name.id)) {
            for &index in &everywhere {
                let asked = Asked::At(About::Gpu(index));
                let entries: Vec<Entry> = (0..self.records.len()).map(|record| self.entry(record, name, asked)).collect();
                if entries.iter().any(|entry| entry.reading.is_some()) {
                    rows.push(Row { id: name.id.clone(), gpu: Some(index), entries });
                }
            }
        }
        rows
    }

    /// Every case that the baseline and another record have, up to a bound, and how many there are beyond it.
    pub(super) fn cases(&self) -> (Vec<Row>, usize) {
        let by_case = |known: &Known<'a>| known.run.measurements().map(|m| (&m.case, m)).collect::<HashMap<&'a Case, &'a Measurement>>();
        let all: Vec<HashMap<&Case, &Measurement>> = self.records.iter().map(by_case).collect();
        let others = || all.iter().enumerate().filter(|(place, _)| *place != self.baseline).map(|(_, cases)| cases);
        let mut rows = Vec::new();
        let mut left_out = 0;
        for measurement in self.records[self.baseline].run.measurements() {
            let case = &measurement.case;
            let name = Name::of(case);
            if !others().any(|cases| cases.contains_key(case)) || !self.wants_case(case, name.as_ref()) {
                continue;
            }
            if rows.len() == MOST_CASES {
                left_out += 1;
                continue;
            }
            let entry = |record: usize| self.case_entry(record, measurement, all[record].get(case).copied(), name.as_ref());
            rows.push(Row { id: clipped(case.to_string()), gpu: None, entries: (0..all.len()).map(entry).collect() });
        }
        (rows, left_out)
    }

    fn names(&self) -> Vec<&'a Name> {
        let names: BTreeSet<&Name> = self.records.iter().flat_map(|known| known.metrics.names()).collect();
        names.into_iter().collect()
    }

    fn wants(&self, id: &str) -> bool {
        let wanted = self.terms.wanted;
        wanted.is_empty() || wanted.iter().any(|pattern| matches(pattern, id))
    }

    fn wants_case(&self, case: &Case, name: Option<&Name>) -> bool {
        self.terms.wanted.is_empty() || self.wants(&case.to_string()) || name.is_some_and(|name| self.wants(&name.id))
    }

    /// How much of a change is none: the threshold, or what is known of others of the kind.
    fn margin(&self, record: usize, name: Option<&Name>, summary: Summary) -> f64 {
        let spread = name.and_then(|name| self.kin[record].spread(name, summary));
        spread.unwrap_or(0.0).max(self.terms.threshold)
    }

    fn entry(&self, record: usize, name: &Name, asked: Asked) -> Entry {
        let own = self.find(record, name, asked, None);
        let mut entry = Entry::default();
        if let Ok(found) = &own {
            entry.reading = change::reading(found.measurement);
            entry.case = Some(clipped(found.measurement.case.to_string()));
        }
        if record == self.baseline {
            entry.reason = own.err();
            return entry;
        }
        match (self.find(self.baseline, name, asked, None), own) {
            (Ok(_), Ok(_)) => self.compare(&mut entry, record, name, asked),
            (Err(_), Err(_)) => {}
            (Err(why), Ok(_)) | (Ok(_), Err(why)) => {
                entry.answer = Some(Answer::Missing);
                entry.reason = Some(why);
            }
        }
        entry
    }

    /// Fills in the answer, from the cases that both have where there are any.
    fn compare(&self, entry: &mut Entry, record: usize, name: &Name, asked: Asked) {
        let shared = match (self.places(self.baseline, name), self.places(record, name)) {
            (Some(before), Some(after)) => before.shared(after),
            _ => BTreeSet::new(),
        };
        let among = (!shared.is_empty()).then_some(&shared);
        let found = |record| self.find(record, name, asked, among);
        let (Ok(before), Ok(after)) = (found(self.baseline), found(record)) else { return };
        let summary = match asked {
            Asked::Machine(summary) => summary,
            Asked::At(_) => Summary::Slowest,
        };
        judge(entry, before.measurement, after.measurement, self.margin(record, Some(name), summary), self.terms.lang);
        if among.is_none() {
            let said =
                Text::new("ceilings of different cases: the records share none", "공통 사례가 없어 서로 다른 사례의 최고치를 비교함");
            entry.reason.get_or_insert_with(|| said.get(self.terms.lang).to_owned());
        }
    }

    fn places(&self, record: usize, name: &Name) -> Option<&'a Places<'a>> {
        self.records[record].metrics.get(name)
    }

    /// What a record has of a metric, or why it has nothing.
    fn find(&self, record: usize, name: &Name, asked: Asked, among: Option<&BTreeSet<&str>>) -> Result<Found<'a>, String> {
        let absent = || absence(self.records[record].run, name, asked, self.terms.lang);
        let places = self.places(record, name).ok_or_else(absent)?;
        match asked {
            Asked::At(about) => places.ceiling(about, among).ok_or_else(absent),
            Asked::Machine(summary) => match places.broken() {
                Some((about, error)) => Err(clipped(format!("{about}: {error}"))),
                None => places.summary(summary, among).ok_or_else(absent),
            },
        }
    }

    fn case_entry(&self, record: usize, before: &Measurement, own: Option<&Measurement>, name: Option<&Name>) -> Entry {
        let mut entry = Entry { reading: own.and_then(change::reading), ..Entry::default() };
        match own {
            _ if record == self.baseline => {}
            None => entry.answer = Some(Answer::Missing),
            Some(after) => judge(&mut entry, before, after, self.margin(record, name, Summary::Slowest), self.terms.lang),
        }
        entry
    }
}

fn is_of_gpus(places: &Places<'_>) -> bool {
    places.places().any(|about| matches!(about, About::Gpu(_)))
}

/// The answer from two measurements' samples.
fn judge(entry: &mut Entry, before: &Measurement, after: &Measurement, margin: f64, lang: Lang) {
    let (Some(first), Some(second)) = (change::interval(before), change::interval(after)) else {
        let fewest = before.samples.len().min(after.samples.len());
        let said = Text::new("too few samples: {} of {}", "표본 부족: {}/{}");
        entry.answer = Some(Answer::Unclear);
        entry.reason = Some(said.fill(lang, &[&fewest, &LEAST_SAMPLES]));
        return;
    };
    let change = change::change(first, second);
    let of = [before, after].map(|measurement| clipped(measurement.case.to_string()));
    entry.answer = Some(change::answer(change, margin));
    entry.change = Some(Change { value: change.point, low: change.low, high: change.high, margin, of });
}

/// Why a record does not have a metric: the reason of its case or of its probe, as far as it gives one.
fn absence(run: &Run, name: &Name, asked: Asked, lang: Lang) -> String {
    let about = |case: &Case| match asked {
        Asked::At(about) => place(case) == about,
        Asked::Machine(_) => true,
    };
    let of_case = |outcome: &&Outcome| Name::of(outcome.case()).as_ref() == Some(name) && about(outcome.case());
    let of_probe = |outcome: &&Outcome| outcome.case().mechanism() == name.family();
    let outcomes = || run.outcomes.iter().filter(|outcome| !matches!(outcome, Outcome::Measured(_) | Outcome::Observed(_)));
    match outcomes().find(of_case).or_else(|| outcomes().find(of_probe)) {
        Some(Outcome::Waived { waiver, .. }) => clipped(waiver.to_string()),
        Some(Outcome::Failed { error, .. }) => clipped(error.clone()),
        _ if !run.complete => {
            Text::new("not measured: the run did not come to its end", "측정하지 않음: 측정이 중간에 끝남").get(lang).to_owned()
        }
        _ => Text::new("not measured", "측정하지 않음").get(lang).to_owned(),
    }
}

/// Whether an id begins as the pattern says; a `*` stands for anything.
fn matches(pattern: &str, id: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|start| id.strip_prefix(start)) else { return false };
    parts.all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// A text out of a record, which may be of any length.
pub(super) fn clipped(text: String) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_beginning_with_gaps() {
        for (pattern, id, fits) in [
            ("dram", "dram.read", true),
            ("dram.read", "dram.read", true),
            ("*.worst", "peer.write.ce.worst", true),
            ("peer*ce", "peer.write.ce.worst", true),
            ("", "anything", true),
            ("ram", "dram.read", false),
            ("peer*own", "peer.write.ce.worst", false),
        ] {
            assert_eq!(matches(pattern, id), fits, "{pattern} {id}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(clipped("한".repeat(LONGEST)), "한".repeat(LONGEST));
        assert_eq!(clipped("한".repeat(LONGEST + 1)), format!("{}…", "한".repeat(LONGEST)));
    }
}
