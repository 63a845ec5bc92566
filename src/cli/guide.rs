//! `guide`: the hardware guide's tables with this machine's numbers in them.

use std::path::Path;

use clap::Args;

use super::{Common, Status, inspect, print_tables, results};
use crate::assay;
use crate::calibrate::Calibration;
use crate::error::Result;
use crate::guide::{self, Input, Section};
use crate::record::Run;
use crate::table::Table;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Sections such as B.1.1, or chapters such as B.4 [default: all]
    #[arg(value_name = "SECTION")]
    sections: Vec<String>,

    /// List where the written guide is wrong, with both values and the reason, instead of its sections
    #[arg(long, conflicts_with = "sections")]
    errata: bool,
}

pub(super) fn guide(common: &Common, arguments: &Arguments) -> Result<Status> {
    if arguments.errata {
        let catalog = super::catalog(common)?;
        print_tables(&[guide::errata(&Input::new(&catalog, None, &[], common.lang.into()))], common)?;
        return Ok(Status::Done);
    }
    let mut sections: Vec<&Section> = Vec::new();
    for name in &arguments.sections {
        for section in guide::find(name)? {
            if !sections.iter().any(|chosen| chosen.id == section.id) {
                sections.push(section);
            }
        }
    }
    if sections.is_empty() {
        sections.extend(guide::SECTIONS);
    }
    let (path, run) = match results::chosen(common)? {
        Some((path, run)) => (Some(path), run),
        None => {
            let machine = inspect::machine();
            match results::of_machine(common, &machine)? {
                Some((path, run)) => (Some(path), run),
                // Never measured: its facts still fill what needs no measurement.
                None => (None, assay::unmeasured(&machine)),
            }
        }
    };
    print_tables(&tables(common, &sections, path.as_deref(), &run)?, common)?;
    Ok(Status::Done)
}

fn tables(common: &Common, sections: &[&Section], path: Option<&Path>, run: &Run) -> Result<Vec<Table>> {
    let calibration = Calibration::from_run(run);
    let recorded: Vec<Calibration> = results::others(common, path).iter().map(Calibration::from_recorded).collect();
    let catalog = super::catalog(common)?;
    let input = Input::new(&catalog, Some((run, &calibration)), &recorded, common.lang.into());
    Ok(sections.iter().flat_map(|section| (section.tables)(&input)).collect())
}

/// What the default command prints of a run: the guide with its numbers, and the summary last, where a reader's eye falls.
pub(super) fn of_run(common: &Common, path: &Path, run: &Run) -> Result<Vec<Table>> {
    let mut tables = tables(common, &guide::SECTIONS.iter().collect::<Vec<_>>(), Some(path), run)?;
    tables.extend(guide::summary(run, &Calibration::from_run(run), &super::catalog(common)?, common.lang.into()));
    Ok(tables)
}
