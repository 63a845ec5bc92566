//! Several records side by side: which machine is faster, beyond what noise and chance explain.
//!
//! # The words
//!
//! The **change** of a metric is how much faster the second record is than the first, as a share: +3 % is 1.03 times as fast. It has an
//! interval, from the raw samples of both ([`change`]). The **margin** is how much of a change is none: the smallest one that matters to the
//! user (the threshold), or how much records of one kind differ where nothing is wrong ([`spread`]), whichever is more. As in the testing
//! of equivalence (Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987), the interval is held against the margin, and *not shown to differ* is
//! never taken for *shown to be the same*:
//!
//! | word | the whole interval lies |
//! |---|---|
//! | `SAME` | within the margin, from 1/(1 + m) to 1 + m times as fast |
//! | `FASTER` | above it |
//! | `SLOWER` | below it |
//! | `UNCLEAR` | in none of these; or there are too few samples for an interval |
//! | `MISSING` | nowhere, since one record has the metric and the other does not |
//!
//! Intervals are of 99 %. A false `SAME`, `FASTER` or `SLOWER` has then a chance of at most half a percent where the truth lies exactly at the
//! margin, and an eighth for one of two dozen metrics. For a machine compared with itself the margin lies several intervals away unless
//! its noise is larger than the margin, as that of disks often is; then the answer is `UNCLEAR` in 99 of 100 cases.
//!
//! # What samples cannot show
//!
//! The samples of a run are minutes apart at most. Heat, neighbours, drivers and reboots change a machine from run to run by more than its samples
//! show, and no arithmetic on one run finds that out. Three things make up for it, and the output says which of them it had. The threshold
//! has to be larger than what a machine drifts: 2 % unless asked otherwise. More runs of one machine, given beside the two compared, show
//! how much it drifts. Records of other machines of the GPU model show how much boards differ; both widen the margin. The GPUs of one
//! machine are no such replicates: they share its host, driver and heat, and a bad one among them is what one is looking for.
//!
//! # What is compared
//!
//! The **metrics** are the headline: of each mechanism the best case per GPU, then the slowest GPU, because jobs on several GPUs run at its pace
//! ([`metrics`]). Where two records have cases in common, those are compared, like with like; else the ceilings of different cases, and the
//! output says so. The best is chosen by the samples that are then compared, which flatters both sides alike and by less than the interval.
//! Below the headline stand the metrics of each GPU and every case that both have. GPU 0 of one machine has nothing to do with GPU 0 of
//! another, but it is the same board in two runs of one machine.

mod change;
mod conditions;
mod metrics;
mod price;
mod rows;
mod spread;

use serde::Serialize;

use super::{About, Reading, Verdict};
use crate::catalog::Catalog;
use crate::lang::{Lang, Text};
use crate::record::Run;
use crate::units::Usd;

pub use change::{CONFIDENCE, LEAST_SAMPLES};
pub use conditions::Condition;
pub use price::Offer;

use rows::Rows;
use spread::{Kin, Kind, Known};

/// Most records that stand side by side.
pub const MOST_RECORDS: usize = 64;

/// Changes below this matter to nobody, and machines drift by as much.
pub const THRESHOLD: f64 = 0.02;

/// What became of a metric from the baseline to another record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Answer {
    /// The change is within the margin.
    Same,
    /// Faster by more than the margin.
    Faster,
    /// Slower by more than the margin.
    Slower,
    /// It cannot be told.
    Unclear,
    /// Only one of the two has it.
    Missing,
}

impl Answer {
    /// Every answer, in the order in which they are counted.
    pub const ALL: [Self; 5] = [Self::Same, Self::Faster, Self::Slower, Self::Unclear, Self::Missing];

    /// The word that people and scripts rely on, the same in every language.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Same => "SAME",
            Self::Faster => "FASTER",
            Self::Slower => "SLOWER",
            Self::Unclear => "UNCLEAR",
            Self::Missing => "MISSING",
        }
    }
}

/// A record to compare.
#[derive(Debug, Clone)]
pub struct Entrant<'a> {
    /// The file, as the user named it.
    pub file: String,
    /// What it holds.
    pub run: &'a Run,
    /// USD per GPU and hour, where given.
    pub price: Option<Usd>,
}

/// How to compare.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// Which of the records the others are held against.
    pub baseline: usize,
    /// The smallest change that matters, as a share.
    pub threshold: f64,
    /// Records beside those compared, that tell how much records of one kind differ.
    pub others: &'a [Run],
    /// For models and prices of GPUs.
    pub catalog: &'a Catalog,
    /// Patterns of metrics to look at; all where there are none.
    pub wanted: &'a [String],
    /// Of reasons and notes.
    pub lang: Lang,
}

/// Records side by side. Serialized, this is what `--format json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Confidence of every interval of a change.
    pub confidence: f64,
    /// The smallest change that matters, as a share.
    pub threshold: f64,
    /// The place of the baseline in `records`; `entries` of every row are in the order of `records`.
    pub baseline: usize,
    /// What is compared.
    pub records: Vec<Record>,
    /// What differs besides speed.
    pub conditions: Vec<Condition>,
    /// The headline: one row per metric of the whole machine.
    pub metrics: Vec<Row>,
    /// The same per GPU, for indices that every record has; none where all have one GPU.
    pub gpus: Vec<Row>,
    /// Every case that the baseline and another record have.
    pub cases: Vec<Row>,
    /// How many more cases there would be than are listed.
    pub cases_left_out: usize,
    /// What a USD per hour buys, the best first.
    pub offers: Vec<Offer>,
    /// What to know of all this, in the language asked for.
    pub notes: Vec<String>,
}

/// One of the records.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// The file, as the user named it.
    pub file: String,
    /// A short name that no other has.
    pub label: String,
    /// The machine's neutral name.
    pub machine: String,
    /// Whether a stand-in driver took the place of hardware.
    pub simulated: bool,
    /// Its GPUs.
    pub gpus: String,
    /// How thoroughly it was measured.
    pub effort: String,
    /// When it was measured, RFC 3339.
    pub measured: String,
    /// How many cases were measured.
    pub cases: usize,
    /// How many of the baseline's cases are among them.
    pub shared_cases: usize,
}

/// One metric, or one case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The metric, such as `dram.triad` or `peer.write.ce.worst`; or a case's id.
    pub id: String,
    /// The GPU, in rows of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<u32>,
    /// One entry per record.
    pub entries: Vec<Entry>,
}

/// A metric of one record.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Entry {
    /// How it compares with the baseline; absent for the baseline, and where neither has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// What was measured, by its own best case; rates, or times of a step where nothing is moved or computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reading: Option<Reading>,
    /// That case, with the GPU or the pair that speaks for the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// How much faster than the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// Why it is missing or unclear, or what is special about the comparison.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A change of speed, as a share: 0.03 is 3 % faster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The estimate.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// The change up to which it is none, as a share.
    pub margin: f64,
    /// The two cases it is of, the baseline's first; the same but for their places where the records share any.
    pub of: [String; 2],
}

/// Compares the records with the baseline among them. There must be at least one; a baseline that is none of them is the first.
pub fn compare(entrants: &[Entrant<'_>], terms: &Terms<'_>) -> Comparison {
    let records: Vec<Known<'_>> = entrants.iter().map(|entrant| Known::new(entrant.run, terms.catalog)).collect();
    let baseline = if terms.baseline < records.len() { terms.baseline } else { 0 };
    let known = everything_known(entrants, terms);
    let kin: Vec<Kin<'_>> = records.iter().map(|after| Kin::of(&records[baseline], after, &known)).collect();
    let rows = Rows { records: &records, baseline, kin: &kin, terms };
    let (cases, cases_left_out) = rows.cases();
    let prices: Vec<_> = records.iter().zip(entrants).map(|(record, entrant)| price::price(record, entrant.price, terms.catalog)).collect();
    let mut comparison = Comparison {
        confidence: CONFIDENCE,
        threshold: terms.threshold,
        baseline,
        records: described(entrants, &entrants[baseline]),
        conditions: conditions::differing(&records),
        metrics: rows.headline(),
        gpus: rows.gpus(),
        cases,
        cases_left_out,
        offers: price::ranking(&records, &prices, terms.threshold),
        notes: Vec::new(),
    };
    comparison.notes = notes(&comparison, &records, &kin, terms);
    comparison
}

/// The records compared and the others, each run once.
fn everything_known<'a>(entrants: &[Entrant<'a>], terms: &Terms<'a>) -> Vec<Known<'a>> {
    let mut runs: Vec<&Run> = Vec::new();
    for run in entrants.iter().map(|entrant| entrant.run).chain(terms.others) {
        if !runs.iter().any(|known| (&known.name, &known.started) == (&run.name, &run.started)) {
            runs.push(run);
        }
    }
    runs.into_iter().map(|run| Known::new(run, terms.catalog)).collect()
}

fn described(entrants: &[Entrant<'_>], baseline: &Entrant<'_>) -> Vec<Record> {
    let cases: std::collections::HashSet<_> = baseline.run.measurements().map(|measurement| &measurement.case).collect();
    let record = |(place, entrant): (usize, &Entrant<'_>)| {
        let run = entrant.run;
        Record {
            file: entrant.file.clone(),
            label: label(entrants, place),
            machine: run.name.clone(),
            simulated: run.simulated,
            gpus: rows::clipped(conditions::gpus(run)),
            effort: conditions::effort(run),
            measured: rows::clipped(run.started.clone()),
            cases: run.measurements().count(),
            shared_cases: run.measurements().filter(|measurement| cases.contains(&measurement.case)).count(),
        }
    };
    entrants.iter().enumerate().map(record).collect()
}

/// The file's name without folder and extension; the whole path where that is another's, too.
fn label(entrants: &[Entrant<'_>], place: usize) -> String {
    let stem =
        |file: &str| std::path::Path::new(file).file_stem().map_or_else(|| file.to_owned(), |stem| stem.to_string_lossy().into_owned());
    let own = stem(&entrants[place].file);
    let same_file = entrants[..place].iter().filter(|other| other.file == entrants[place].file).count();
    let ambiguous = entrants.iter().filter(|other| stem(&other.file) == own).count() > 1;
    match (ambiguous, same_file) {
        (false, _) => own,
        (true, 0) => entrants[place].file.clone(),
        (true, before) => format!("{} ({})", entrants[place].file, before + 1),
    }
}

impl Comparison {
    /// Whether no metric and no case is left to look at.
    pub fn is_empty(&self) -> bool {
        self.metrics.is_empty() && self.gpus.is_empty() && self.cases.is_empty()
    }

    /// Rows that a gate looks at: the headline, or the cases where only these were asked for.
    fn gated(&self) -> &[Row] {
        if self.metrics.is_empty() { &self.cases } else { &self.metrics }
    }

    /// The verdict of a gate: fail where any answer is one of `fail_on`; unknown where of some record nothing could be told at all; else pass.
    pub fn gate(&self, fail_on: &[Answer]) -> Verdict {
        let of = |record: usize| self.gated().iter().filter_map(move |row| row.entries.get(record)?.answer);
        let others = || (0..self.records.len()).filter(|record| *record != self.baseline);
        if others().flat_map(of).any(|answer| fail_on.contains(&answer)) {
            Verdict::Fail
        } else if others().any(|record| of(record).all(|answer| matches!(answer, Answer::Unclear | Answer::Missing))) {
            Verdict::Unknown
        } else {
            Verdict::Pass
        }
    }
}

/// What to know of the answers.
fn notes(comparison: &Comparison, records: &[Known<'_>], kin: &[Kin<'_>], terms: &Terms<'_>) -> Vec<String> {
    let lang = terms.lang;
    let mut notes = vec![
        Text::new(
            "SAME: the whole 99 % interval of the change lies within ± {} %. FASTER, SLOWER: all of it lies beyond. UNCLEAR: neither.",
            "SAME: 변화의 99 % 구간 전체가 ± {} % 안에 있음. FASTER, SLOWER: 전체가 그 밖에 있음. UNCLEAR: 어느 쪽도 아님.",
        )
        .fill(lang, &[&percent(terms.threshold)]),
        Text::new(
            "Samples show the noise within a run. What changes from run to run is in none of them; only several runs of a machine show it.",
            "표본은 한 번의 측정 안의 잡음만 보여 줍니다. 측정마다 달라지는 것은 같은 장비를 여러 번 재야 보입니다.",
        )
        .get(lang)
        .to_owned(),
    ];
    for (place, kin) in kin.iter().enumerate().filter(|(place, _)| *place != comparison.baseline) {
        notes.push(format!("{}: {}", comparison.records[place].label, kinship(kin, lang)));
    }
    let count = |known: &Known<'_>| known.run.machine.gpus.len();
    if records.iter().any(|known| count(known) != count(&records[comparison.baseline])) {
        notes.push(
            Text::new(
                "The machines have different numbers of GPUs: the slowest of more is slower.",
                "GPU 수가 다릅니다: 많을수록 가장 느린 것은 더 느립니다.",
            )
            .get(lang)
            .to_owned(),
        );
    }
    notes
}

/// Where a margin comes from.
fn kinship(kin: &Kin<'_>, lang: Lang) -> String {
    let enough = kin.count() >= 2;
    match (&kin.kind, enough) {
        (Kind::Itself, _) => Text::new("the same run as the baseline", "기준과 같은 측정").get(lang).to_owned(),
        (Kind::Runs, true) => Text::new(
            "another run of the same machine; the margin holds how much {} other runs of it differ",
            "같은 장비의 다른 측정. 판정 폭에 다른 측정 {}개의 차이를 반영함",
        )
        .fill(lang, &[&kin.count()]),
        (Kind::Runs, false) => Text::new(
            "another run of the same machine; how much its runs differ is not known (two more would tell), so the threshold has to cover it",
            "같은 장비의 다른 측정. 측정 사이의 차이는 알 수 없으므로(두 번 더 재면 앎) 문턱값이 이를 덮어야 함",
        )
        .get(lang)
        .to_owned(),
        (Kind::Model(model), true) => Text::new(
            "the margin holds how much {} other machines with {} differ",
            "판정 폭에 다른 장비 {}대({})의 차이를 반영함",
        )
        .fill(lang, &[&kin.count(), model]),
        (Kind::Model(model), false) => Text::new(
            "how much machines with {} differ is not known (records of two others would tell), so the threshold has to cover it",
            "{} 장비끼리의 차이는 알 수 없으므로(다른 두 대의 기록이 있으면 앎) 문턱값이 이를 덮어야 함",
        )
        .fill(lang, &[model]),
        (Kind::Unlike, _) => {
            Text::new("another kind of machine, or one without a GPU", "다른 종류의 장비이거나 GPU가 없음").get(lang).to_owned()
        }
    }
}

/// A share in percent, without needless digits.
fn percent(share: f64) -> f64 {
    (share * 1e4).round() / 100.0
}
