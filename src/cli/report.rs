//! `report`: what one or more recorded machines do, as one self-contained page.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Common, Format, Status, inspect, print, results, results_folder, validate};
use crate::calibrate::Calibration;
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::record::{Run, read_folder, write_atomically};
use crate::report::page::{MOST_MACHINES, Source, Subject, page};
use crate::report::{PageFormat, render_page};
use crate::verdict::{Assessment, Expectation, Policy};
use crate::workload::named;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Result files, one per machine; several stand side by side [default: this machine's, else all of the results folder]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// File to write; by its name (.html, .md, .csv, .json) it is a page, or the same data in another form
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Model of the catalog whose operations are drawn into the roofline
    #[arg(long, value_name = "NAME", default_value = "Llama-3.1-8B")]
    model: String,

    /// What was paid for, for a verdict on each machine: a GPU model, how many of one, or a cloud's instance, as for `validate`
    #[arg(long, value_name = "SPEC")]
    expect: Option<String>,

    /// Limits of your own for the verdict, as for `validate`
    #[arg(long, value_name = "FILE", requires = "expect")]
    policy: Option<PathBuf>,

    /// USD per GPU and hour, to say what a finding costs
    #[arg(long, value_name = "USD", requires = "expect")]
    price: Option<f64>,
}

pub(super) fn report(common: &Common, arguments: &Arguments) -> Result<Status> {
    let format = format(common.format, arguments.output.as_deref())?;
    let catalog = super::catalog(common)?;
    let model = named(&catalog, &arguments.model)?;
    let runs = runs(common, arguments)?;
    let calibrations: Vec<Calibration> = runs.iter().map(|(_, run)| Calibration::from_run(run)).collect();
    let assessments = verdicts(common, arguments, &catalog, &runs, &calibrations)?;
    let text = text(common, &catalog, &model, &runs, &calibrations, &assessments, format);
    match &arguments.output {
        Some(path) => write_atomically(path, text.as_bytes())?,
        None => print(&text)?,
    }
    Ok(Status::Done)
}

/// A verdict on each machine, where it was said what was paid for.
fn verdicts(
    common: &Common,
    arguments: &Arguments,
    catalog: &Catalog,
    runs: &[(PathBuf, Run)],
    calibrations: &[Calibration],
) -> Result<Vec<Option<Assessment>>> {
    let Some(spec) = &arguments.expect else { return Ok(vec![None; runs.len()]) };
    let expected = Expectation::parse(spec, catalog)?;
    let policy = arguments.policy.as_deref().map_or_else(|| Ok(Policy::default()), Policy::read)?;
    let price = validate::price(arguments.price, &expected)?;
    let judged = |run, calibration| validate::judged(common, run, calibration, catalog, &expected, &policy, price);
    Ok(runs.iter().zip(calibrations).map(|((_, run), calibration)| Some(judged(run, calibration))).collect())
}

fn text(
    common: &Common,
    catalog: &Catalog,
    model: &crate::workload::Model,
    runs: &[(PathBuf, Run)],
    calibrations: &[Calibration],
    assessments: &[Option<Assessment>],
    format: PageFormat,
) -> String {
    let all = runs.iter().zip(calibrations).zip(assessments);
    let subjects: Vec<Subject<'_>> =
        all.map(|(((_, run), calibration), assessment)| Subject { run, calibration, assessment: assessment.as_ref() }).collect();
    // Records that the page is about do not stand in its guide a second time.
    let others = results::others(common, None).into_iter().filter(|other| runs.iter().all(|(_, run)| run.name != other.name));
    let recorded: Vec<Calibration> = others.map(|run| Calibration::from_recorded(&run)).collect();
    render_page(&page(&Source { subjects: &subjects, catalog, recorded: &recorded, model, lang: common.lang.into() }), format)
}

/// What `--format` says, else what the file's name says, else a page. A page goes to a file, since nobody reads one in a terminal.
fn format(asked: Format, output: Option<&Path>) -> Result<PageFormat> {
    let format = match asked {
        Format::Html => PageFormat::Html,
        Format::Markdown => PageFormat::Markdown,
        Format::Csv => PageFormat::Csv,
        Format::Json => PageFormat::Json,
        Format::Text => match output.and_then(Path::extension).and_then(|extension| extension.to_str()) {
            Some("md" | "markdown") => PageFormat::Markdown,
            Some("csv") => PageFormat::Csv,
            Some("json") => PageFormat::Json,
            _ => PageFormat::Html,
        },
    };
    if format == PageFormat::Html && output.is_none() {
        return Err(Error::usage("a page is written to a file: name it with -o report.html, or choose --format markdown, csv or json"));
    }
    Ok(format)
}

/// The records asked for; without any, this machine's own, else every one of the results folder.
fn runs(common: &Common, arguments: &Arguments) -> Result<Vec<(PathBuf, Run)>> {
    let files = &arguments.files;
    if files.len() > MOST_MACHINES {
        return Err(Error::usage(format!("{} result files are too many for one page; give at most {MOST_MACHINES}", files.len())));
    }
    if !files.is_empty() {
        return files.iter().map(|path| Run::read(path).map(|run| (path.clone(), run))).collect();
    }
    if let Some(chosen) = results::chosen(common)? {
        return Ok(vec![chosen]);
    }
    if let Some(own) = results::of_machine(common, &inspect::machine())? {
        return Ok(vec![own]);
    }
    let folder = results_folder(common)?;
    let all: Vec<(PathBuf, Run)> = read_folder(&folder).into_iter().filter_map(|(path, run)| Some((path, run.ok()?))).collect();
    match all.len() {
        0 => Err(Error::Unavailable {
            doing: "reporting".to_owned(),
            why: format!("there is no result file in {}", folder.display()),
            remedy: "run `gpu-assay measure` first, or name a file".to_owned(),
        }),
        count if count > MOST_MACHINES => {
            Err(Error::usage(format!("{} has {count} result files; name at most {MOST_MACHINES} of them", folder.display())))
        }
        _ => Ok(all),
    }
}
