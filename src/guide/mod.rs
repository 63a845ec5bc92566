//! The hardware guide: its tables, from data.
//!
//! A **section** is one chapter of the written guide (B.1.1, B.4.1, …) as a function from data to tables. The data is what there is: the
//! catalog always, a run of this machine with its calibration when there is one, calibrations of other machines when they were recorded. With
//! the catalog alone every number is the vendor's, the written guide's or assumed, and says so; with a run, this machine's measured numbers stand
//! beside them. Numbers are computed, never typed in; the only constants are the guide's own, on the basis *guide*.

mod b1_differences;
mod b1_generations;
mod b1_gpus;
mod b1_uses;
mod b2_formulas;
mod b3_needs;
mod b4_links;
mod b4_strategies;
mod b5_clouds;
mod b5_scenarios;
mod b6_calculator;
mod b7_storage;
mod b8_host;
mod b8_offload;
mod b9_power;
mod errata;
mod jobs;
mod pace;
mod summary;

#[cfg(test)]
mod tests;

pub use errata::errata;
pub use summary::summary;

use crate::calibrate::{Calibration, GpuCalibration};
use crate::catalog::{Catalog, GpuModel};
use crate::error::{Error, Result};
use crate::figure::{Basis, Figure, Quantity};
use crate::lang::{Lang, Text};
use crate::machine::{Fact, Gpu};
use crate::record::Run;
use crate::table::{Column, Table};

/// What the guide is made from.
#[derive(Debug)]
pub struct Input<'a> {
    /// What documents say.
    pub catalog: &'a Catalog,
    /// The machine the guide is about, with what was measured on it.
    pub here: Option<(&'a Run, &'a Calibration)>,
    /// Calibrations of other machines, on the basis "measured on the same GPU model". Simulated ones are ignored.
    pub recorded: &'a [Calibration],
    /// The language of titles and notes.
    pub lang: Lang,
    /// What sections share.
    known: pace::Known,
}

/// One section of the guide.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// As the guide counts: `B.1.1`.
    pub id: &'static str,
    /// What it is about.
    pub title: Text,
    /// Its tables.
    pub tables: fn(&Input<'_>) -> Vec<Table>,
}

/// Every section, in the guide's order.
pub const SECTIONS: &[Section] = &[
    b1_gpus::SECTION,
    b1_generations::SECTION,
    b1_uses::SECTION,
    b2_formulas::SECTION,
    b3_needs::TRAINING,
    b3_needs::INFERENCE,
    b4_links::SECTION,
    b4_strategies::SECTION,
    b5_clouds::SECTION,
    b5_scenarios::SECTION,
    b6_calculator::SECTION,
    b7_storage::SECTION,
    b8_host::SECTION,
    b9_power::SECTION,
];

/// The sections that `name` means: one by its full id, or a whole chapter (`B.4`, `b4` and `4` are the same).
///
/// # Errors
/// [`Error::Usage`] when there is none, with the ids there are.
pub fn find(name: &str) -> Result<Vec<&'static Section>> {
    let parts = |id: &str| -> Vec<String> {
        let numbers = id.trim_start_matches(['B', 'b']).trim_start_matches('.');
        numbers.split('.').map(str::to_owned).collect()
    };
    let wanted = parts(name.trim_end_matches('.'));
    let well_formed = wanted.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    let found: Vec<&Section> = SECTIONS.iter().filter(|section| parts(section.id).starts_with(&wanted)).collect();
    if !well_formed || found.is_empty() {
        let ids: Vec<&str> = SECTIONS.iter().map(|section| section.id).collect();
        return Err(Error::usage(format!("the guide has no section {name:?}; expected one of {}", ids.join(", "))));
    }
    Ok(found)
}

/// A GPU of the machine the guide is about.
#[derive(Debug, Clone, Copy)]
struct Here<'a> {
    gpu: &'a Gpu,
    /// What its vendor prints, if it is in the catalog.
    model: Option<&'a GpuModel>,
    /// What was measured on it; may be empty.
    measured: Option<&'a GpuCalibration>,
}

impl Here<'_> {
    /// The short name from the catalog, or the driver's.
    fn name(&self) -> &str {
        self.model.map_or(self.gpu.name.as_str(), |model| model.short_name.as_str())
    }
}

impl<'a> Input<'a> {
    /// A guide from the catalog, about one machine, and with calibrations of others.
    pub fn new(catalog: &'a Catalog, here: Option<(&'a Run, &'a Calibration)>, recorded: &'a [Calibration], lang: Lang) -> Self {
        Self { catalog, here, recorded, lang, known: pace::Known::default() }
    }

    /// The GPUs of the machine the guide is about.
    fn gpus(&self) -> Vec<Here<'a>> {
        let Some((run, calibration)) = self.here else { return Vec::new() };
        let gpus = run.machine.gpus.iter();
        gpus.map(|gpu| Here {
            gpu,
            model: self.catalog.device(&gpu.name, gpu.pci_id.known().map(String::as_str)),
            measured: calibration.gpu(gpu.index).filter(|measured| !measured.is_empty()),
        })
        .collect()
    }

    /// The same, grouped by name in the order of first appearance.
    fn groups(&self) -> Vec<Vec<Here<'a>>> {
        let mut groups: Vec<Vec<Here<'a>>> = Vec::new();
        for gpu in self.gpus() {
            match groups.iter_mut().find(|group| group[0].gpu.name == gpu.gpu.name) {
                Some(group) => group.push(gpu),
                None => groups.push(vec![gpu]),
            }
        }
        groups
    }

    /// Whether no measurement of the machine went in, though its facts may have.
    fn is_unmeasured(&self) -> bool {
        self.here.is_none_or(|(run, _)| run.measurements().next().is_none())
    }

    fn is_simulated(&self) -> bool {
        self.here.is_some_and(|(run, calibration)| run.simulated || calibration.simulated)
    }

    /// An empty table under the section's id, marked when its numbers are a scenario's.
    fn table(&self, id: &str, title: Text, columns: impl IntoIterator<Item = Column>) -> Table {
        let title = format!("{id} {}", title.get(self.lang));
        mark_simulated(Table::new(title, columns).in_lang(self.lang), self.is_simulated())
    }

    fn say(&self, text: Text) -> &'static str {
        text.get(self.lang)
    }
}

/// Says in title and note that no hardware is behind a table's numbers.
fn mark_simulated(mut table: Table, simulated: bool) -> Table {
    if simulated {
        const NOTE: Text = Text::new(
            "SIMULATED: a stand-in driver took the place of hardware. These numbers are a scenario's, not a machine's.",
            "SIMULATED: 실제 하드웨어가 아니라 대역 드라이버로 얻은 값이다. 어떤 장비의 측정값도 아니다.",
        );
        table.title = format!("[SIMULATED] {}", table.title);
        table.note(NOTE.get(table.lang));
    }
    table
}

/// Something that was read on this machine, as a figure.
fn fact<Q: Quantity>(fact: &Fact<Q>, from: &str) -> Option<Figure<Q>> {
    fact.known().map(|value| read(*value, from))
}

/// Something that was read on this machine.
fn read<Q: Quantity>(value: Q, from: &str) -> Figure<Q> {
    Figure::new(value, Basis::MeasuredHere, from)
}

/// The figure with the smallest value: in a group of equals, the one that all of them can promise.
fn slowest<Q: Quantity>(figures: impl Iterator<Item = Figure<Q>>) -> Option<Figure<Q>> {
    figures.reduce(|least, figure| if figure.value.base() < least.value.base() { figure } else { least })
}

const NO_RUN: Text = Text::new(
    "Nothing was measured for this table: run `gpu-assay` on the machine to see its own numbers here.",
    "이 표에는 측정값이 없다. 해당 장비에서 `gpu-assay`를 실행하면 실제 값이 들어간다.",
);
