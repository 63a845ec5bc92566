//! What a report says: its sections, as data.
//!
//! A [`Page`] is made of sections in a fixed order, each about one topic and with one **panel** per machine, so that several machines stand
//! side by side. A panel is a list of items: tables, plots, words. Nothing here knows of HTML; every form of output is a renderer of it.

mod bandwidth;
mod collectives;
mod compared;
mod environment;
mod group;
mod headline;
mod light_speed;
mod matmul;
mod peers;
mod roofline;
mod samples;
mod sustained;
mod telemetry;
mod verdict;

#[cfg(test)]
mod tests;

use crate::calibrate::Calibration;
use crate::catalog::Catalog;
use crate::guide;
use crate::lang::{Lang, Text};
use crate::plot::Plot;
use crate::record::Run;
use crate::table::Table;
use crate::verdict::Assessment;
use crate::workload::Model;

/// A machine that the report is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its record.
    pub run: &'a Run,
    /// What follows from the record.
    pub calibration: &'a Calibration,
    /// Whether it is what was paid for, where that was asked.
    pub assessment: Option<&'a Assessment>,
}

/// What a report is made from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The machines, in the order in which they are shown.
    pub subjects: &'a [Subject<'a>],
    /// What documents say.
    pub catalog: &'a Catalog,
    /// Calibrations of other machines, for the guide's tables.
    pub recorded: &'a [Calibration],
    /// Whose operations are drawn into the roofline.
    pub model: &'a Model,
    /// The language.
    pub lang: Lang,
}

/// A whole report.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// What it is.
    pub title: String,
    /// The language of everything on it.
    pub lang: Lang,
    /// Whether a stand-in driver took the place of any hardware.
    pub simulated: bool,
    /// The machines.
    pub machines: Vec<String>,
    /// Which program made it.
    pub program: String,
    /// What it says.
    pub sections: Vec<Section>,
}

/// What a report says about one topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Its name in links and in JSON.
    pub id: &'static str,
    /// What it is about.
    pub title: String,
    /// How to read it; may be empty.
    pub about: String,
    /// One per machine that has something to say, with its position among the machines; `None` is about all.
    pub panels: Vec<(Option<usize>, Vec<Item>)>,
}

/// A piece of a panel.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A table.
    Table(Table),
    /// A plot.
    Plot(Plot),
    /// A paragraph.
    Words(String),
    /// Something to type.
    Command(String),
    /// The answer about a machine.
    Verdict(Box<Assessment>),
    /// What most readers skip.
    Folded {
        /// What it is.
        title: String,
        /// The rest.
        items: Vec<Item>,
    },
}

/// Machines that fit side by side; each is a few hundred kilobytes of page, too.
pub const MOST_MACHINES: usize = 8;

/// What is said of one machine about one topic.
type Panel = fn(&Source<'_>, &Subject<'_>) -> Vec<Item>;

/// A topic: its name, its title, how to read it, and what is said of each machine.
struct Topic {
    id: &'static str,
    title: Text,
    about: Text,
    panel: Panel,
}

const TOPICS: &[Topic] = &[
    verdict::TOPIC,
    headline::TOPIC,
    roofline::TOPIC,
    bandwidth::TOPIC,
    matmul::TOPIC,
    peers::TOPIC,
    sustained::TOPIC,
    collectives::TOPIC,
    telemetry::TOPIC,
    samples::TOPIC,
    environment::TOPIC,
    GUIDE,
    environment::REPEAT,
];

/// The report on `source`'s machines; the first [`MOST_MACHINES`] of them.
pub fn page(source: &Source<'_>) -> Page {
    let lang = source.lang;
    let subjects = &source.subjects[..source.subjects.len().min(MOST_MACHINES)];
    let source = Source { subjects, ..*source };
    let mut sections: Vec<Section> =
        TOPICS.iter().map(|topic| section(&source, topic)).filter(|section| !section.panels.is_empty()).collect();
    if subjects.len() > 1 {
        sections.insert(0, compared::section(&source));
    }
    let title = match subjects {
        [one] => Text::new("What {} really does", "{}의 실제 성능").fill(lang, &[&one.run.name]),
        several => Text::new("{} machines side by side", "장비 {}대 비교").fill(lang, &[&several.len()]),
    };
    Page {
        title,
        lang,
        simulated: subjects.iter().any(|subject| subject.run.simulated),
        machines: subjects.iter().map(|subject| subject.run.name.clone()).collect(),
        program: format!("gpu-assay {}", env!("CARGO_PKG_VERSION")),
        sections,
    }
}

fn section(source: &Source<'_>, topic: &Topic) -> Section {
    let panels = source.subjects.iter().enumerate().map(|(index, subject)| (Some(index), (topic.panel)(source, subject)));
    Section {
        id: topic.id,
        title: topic.title.get(source.lang).to_owned(),
        about: topic.about.get(source.lang).to_owned(),
        panels: panels.filter(|(_, items)| !items.is_empty()).collect(),
    }
}

const GUIDE: Topic = Topic {
    id: "guide",
    title: Text::new("The hardware guide with this machine in it", "이 장비의 값을 넣은 하드웨어 가이드"),
    about: Text::new(
        "Every table of the guide, with measured numbers beside those of documents. Each number carries a mark for where it comes from.",
        "가이드의 모든 표에 측정값을 문서의 값과 나란히 넣었다. 숫자마다 출처를 표시했다.",
    ),
    panel: |source, subject| {
        let input = guide::Input::new(source.catalog, Some((subject.run, subject.calibration)), source.recorded, source.lang);
        let folded = guide::SECTIONS.iter().map(|section| Item::Folded {
            title: format!("{} {}", section.id, section.title.get(source.lang)),
            items: (section.tables)(&input).into_iter().map(Item::Table).collect(),
        });
        folded.collect()
    },
};

impl Page {
    /// Every table of the page, plots as tables, in order; those of several machines carry the machine's name.
    pub fn tables(&self) -> Vec<Table> {
        self.sections.iter().flat_map(|section| section.tables(self)).collect()
    }

    fn machine(&self, index: Option<usize>) -> Option<&str> {
        self.machines.get(index?).map(String::as_str)
    }
}

impl Section {
    /// Every table of the section.
    pub(super) fn tables(&self, page: &Page) -> Vec<Table> {
        let mut tables = Vec::new();
        for (machine, items) in &self.panels {
            let first = tables.len();
            items.iter().for_each(|item| item.tables(page.lang, &mut tables));
            if let Some(name) = page.machine(*machine).filter(|_| page.machines.len() > 1) {
                tables[first..].iter_mut().for_each(|table: &mut Table| table.title = format!("{name}: {}", table.title));
            }
        }
        tables
    }

    /// Paragraphs and commands.
    pub(super) fn words(&self) -> Vec<&str> {
        let items = self.panels.iter().flat_map(|(_, items)| items);
        let said = items.filter_map(|item| match item {
            Item::Words(text) | Item::Command(text) => Some(text.as_str()),
            _ => None,
        });
        said.collect()
    }

    /// The answers, in the order of the machines.
    pub(super) fn verdicts(&self) -> impl Iterator<Item = &Assessment> {
        self.panels.iter().flat_map(|(_, items)| items).filter_map(|item| match item {
            Item::Verdict(assessment) => Some(&**assessment),
            _ => None,
        })
    }
}

impl Item {
    fn tables(&self, lang: Lang, tables: &mut Vec<Table>) {
        match self {
            Self::Table(table) => tables.push(table.clone()),
            Self::Plot(plot) => tables.push(plot.table()),
            Self::Verdict(assessment) => tables.push(super::verdict::findings(assessment, lang)),
            Self::Folded { items, .. } => items.iter().for_each(|item| item.tables(lang, tables)),
            Self::Words(_) | Self::Command(_) => {}
        }
    }
}

/// A plot as an item, unless there is nothing to see.
fn seen(plot: Plot) -> Option<Item> {
    (!plot.is_empty()).then_some(Item::Plot(plot))
}
