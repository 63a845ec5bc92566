//! `validate`: is this the machine that was paid for.

use std::path::PathBuf;

use clap::Args;

use super::{Common, Format, Measuring, Status, catalog, measure, print, print_tables, results, stop};
use crate::calibrate::Calibration;
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::probe::{self, Effort, Probe};
use crate::record::{Run, write_atomically};
use crate::report;
use crate::table::{Cell, Column, Table};
use crate::units::Usd;
use crate::verdict::{self, Assessment, Evidence, Expectation, KINDS, Matters, Policy, Verdict};

/// Probes whose cases a verdict needs.
const PROBES: [&str; 7] = ["memory", "dram", "matmul", "copy", "peer", "host", "storage"];

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What was paid for: a GPU model ("H100 SXM"), how many of one (8x"H200 SXM"), or a cloud's instance (aws:p5.48xlarge)
    #[arg(long, value_name = "SPEC", required_unless_present = "list")]
    expect: Option<String>,

    /// Limits of your own, checks to require or to ignore, and findings that are accepted for a time (TOML)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Judge this result file, and measure nothing
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    /// USD per GPU and hour, to say what a finding costs [default: the catalog's price of the instance]
    #[arg(long, value_name = "USD")]
    price: Option<f64>,

    /// Write the checks as JUnit XML, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Print one line: the verdict and the ids of what is wrong
    #[arg(long)]
    brief: bool,

    /// List the checks, and measure nothing
    #[arg(long)]
    list: bool,

    #[command(flatten)]
    pub(super) measuring: Measuring,
}

pub(super) fn validate(common: &Common, measuring: &Measuring, arguments: &Arguments) -> Result<Status> {
    if arguments.list {
        print_tables(&[list()], common)?;
        return Ok(Status::Done);
    }
    if arguments.record.is_some() && *measuring != Measuring::default() {
        return Err(Error::usage("--record judges a file and measures nothing; leave out the options of measuring"));
    }
    // Whatever the call got wrong is better said before a minute of measuring.
    let catalog = catalog(common)?;
    let expected = Expectation::parse(arguments.expect.as_deref().unwrap_or_default(), &catalog)?;
    let policy = arguments.policy.as_deref().map_or_else(|| Ok(Policy::default()), Policy::read)?;
    let price = price(arguments.price, &expected)?;
    let run = match &arguments.record {
        Some(path) => Run::read(path)?,
        None => measured(common, measuring)?,
    };
    let calibration = Calibration::from_run(&run);
    let others = others(common, &run, &catalog, &expected);
    let evidence =
        Evidence { run: &run, calibration: &calibration, others: &others, catalog: &catalog, expected: &expected, policy: &policy };
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let assessment = verdict::assess(evidence, price, Some(today), common.lang.into());
    if let Some(path) = &arguments.junit {
        write_atomically(path, report::junit(&assessment).as_bytes())?;
    }
    show(&assessment, common, arguments.brief)?;
    Ok(match assessment.verdict {
        Verdict::Pass => Status::Done,
        Verdict::Fail => Status::Fail,
        Verdict::Unknown => Status::Unknown,
    })
}

/// The verdict on a record, with the records of the results folder for comparison, as of today.
pub(super) fn judged(
    common: &Common,
    run: &Run,
    calibration: &Calibration,
    catalog: &Catalog,
    expected: &Expectation<'_>,
    policy: &Policy,
    price: Option<Usd>,
) -> Assessment {
    let others = others(common, run, catalog, expected);
    let evidence = Evidence { run, calibration, others: &others, catalog, expected, policy };
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    verdict::assess(evidence, price, Some(today), common.lang.into())
}

/// This machine, measured and saved.
fn measured(common: &Common, measuring: &Measuring) -> Result<Run> {
    stop::listen();
    let machine = super::inspect::machine();
    if machine.gpus.is_empty() {
        return Err(Error::Unavailable {
            doing: "validating this machine".to_owned(),
            why: machine.driver.cuda_version.why().or_else(|| machine.driver.version.why()).unwrap_or("the driver shows no GPU").to_owned(),
            remedy: "if GPUs were paid for, send this line to the provider; `gpu-assay inspect` shows what is here".to_owned(),
        });
    }
    let probes: Vec<&dyn Probe> = PROBES.into_iter().filter_map(probe::find).collect();
    let chosen = PROBES.map(str::to_owned).to_vec();
    let (_, run) = measure::record(common, measuring, &machine, &probes, chosen, Effort::Quick)?;
    if !run.complete {
        return Err(Error::Interrupted);
    }
    Ok(run)
}

/// What other machines with the GPU model were found to do, real ones for a real machine.
fn others(common: &Common, run: &Run, catalog: &Catalog, expected: &Expectation<'_>) -> Vec<Calibration> {
    let has_model = |other: &Run| {
        other.machine.gpus.iter().any(|gpu| {
            let found = catalog.device(&gpu.name, gpu.pci_id.known().map(String::as_str));
            found.is_some_and(|model| model.name == expected.model.name)
        })
    };
    let all = results::others(common, None).into_iter().filter(|other| other.name != run.name && other.simulated == run.simulated);
    all.filter(has_model).map(|other| Calibration::from_recorded(&other)).collect()
}

/// What an hour of one GPU costs.
pub(super) fn price(given: Option<f64>, expected: &Expectation<'_>) -> Result<Option<Usd>> {
    match given {
        Some(usd) if (0.0..=1e6).contains(&usd) => Ok(Some(Usd(usd))),
        Some(usd) => Err(Error::usage(format!("expected a --price of 0 to 1000000 USD per GPU and hour but found {usd}"))),
        None => Ok(expected.instance.map(|instance| Usd(instance.usd_per_gpu_hour()))),
    }
}

fn show(assessment: &Assessment, common: &Common, brief: bool) -> Result<()> {
    if brief {
        return print(&format!("{}\n", report::verdict_line(assessment)));
    }
    match common.format {
        Format::Text => print(&report::verdict_text(assessment, common.lang.into())),
        Format::Json => {
            let text = serde_json::to_string_pretty(assessment).map_err(|error| Error::measurement("writing the verdict", error))?;
            print(&format!("{}\n", report::escaped(&text)))
        }
        _ => print_tables(&report::verdict_tables(assessment, common.lang.into()), common),
    }
}

fn list() -> Table {
    let columns = [
        Column::text("check", "check"),
        Column::text("asks", "asks for"),
        Column::text("matters", "unknown matters"),
        Column::text("dcgm", "DCGM's name"),
    ];
    let mut table = Table::new("Checks of `validate`", columns);
    for kind in KINDS {
        let matters = if kind.matters == Matters::Yes { "yes" } else { "no" };
        table.row([Cell::text(kind.id), Cell::text(kind.asks.en), Cell::text(matters), Cell::text(kind.dcgm.unwrap_or_default())]);
    }
    table
}
