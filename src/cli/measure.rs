//! `measure`: run probes and write a result file.

use std::path::{Path, PathBuf};

use clap::Args;

use super::progress::Progress;
use super::{Common, Format, Measuring, Status, print, print_tables, results, results_folder, stop};
use crate::assay::{self, Request};
use crate::error::{Error, Result};
use crate::gpu;
use crate::machine::Machine;
use crate::measure::Outcome;
use crate::probe::{Effort, PROBES, Probe};
use crate::record::{Run, SigningKey};
use crate::report;
use crate::table::{Cell, Column, Table};
use crate::units::Seconds;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Probes to run [default: all]; see --list
    #[arg(value_name = "PROBE")]
    probes: Vec<String>,

    /// List the probes and whether they can run here, and measure nothing
    #[arg(long)]
    list: bool,

    #[command(flatten)]
    pub(super) measuring: Measuring,
}

pub(super) fn measure(common: &Common, measuring: &Measuring, arguments: &Arguments) -> Result<Status> {
    let probes = choose(&arguments.probes)?;
    stop::listen();
    let machine = super::inspect::machine();
    if arguments.list {
        print_tables(&[list(&machine, &probes)], common)?;
        return Ok(Status::Done);
    }
    let (path, record) = record(common, measuring, &machine, &probes, arguments.probes.clone(), Effort::Standard)?;
    print_tables(&report::measurements(&record), common)?;
    if common.format == Format::Text {
        print(&format!("\nsaved {}\n", path.display()))?;
    }
    status(&record)
}

/// Measure `machine` into its result file; returns the file and what is in it.
pub(super) fn record(
    common: &Common,
    measuring: &Measuring,
    machine: &Machine,
    probes: &[&dyn Probe],
    chosen: Vec<String>,
    default_effort: Effort,
) -> Result<(PathBuf, Run)> {
    let gpus = gpus(machine, &measuring.gpu)?;
    // A key that is none is better found now than after the measurement.
    let key = measuring.sign.as_deref().map(SigningKey::read).transpose()?;
    let path = match &measuring.output {
        Some(path) => path.clone(),
        None => results::own(&results_folder(common)?, machine),
    };
    let scratch = match (&measuring.scratch, path.parent()) {
        (Some(folder), _) => folder.clone(),
        (None, Some(folder)) if !folder.as_os_str().is_empty() => folder.to_owned(),
        (None, _) => PathBuf::from("."),
    };
    let _lock = results::lock()?;
    let request = Request {
        probes,
        chosen,
        gpus,
        effort: measuring.effort.map_or(default_effort, Effort::from),
        time: time(measuring.time)?,
        seed: measuring.seed(),
        scratch: &scratch,
        identify: measuring.identify,
        started: now(),
        kernels: gpu::prebuilt::digest(),
        program: super::try_kernels::program(),
    };
    let merges = measuring.output.is_none() && !request.chosen.is_empty();
    let earlier = if merges { set_aside(&path, &request, machine)? } else { None };
    let again = request.chosen.clone();
    let mut progress = Progress::new(common.no_progress);
    let whole = |record: &Run| earlier.as_ref().map_or_else(|| record.clone(), |earlier| record.after(earlier, &again));
    let record = assay::run(machine, request, &mut |record| whole(record).write(&path), &mut progress, &stop::stopped)?;
    // Signed is what the run ended with: a file that a killed run leaves has a digest, and nobody vouches for it.
    if let Some(key) = key {
        whole(&record).write_signed(&path, &key)?;
    }
    Ok((path, record))
}

/// The machine's own record at `path`, which a run of some probes must not lose: the outcomes of the others stay in the file when the same
/// program measured them in the same way. Otherwise they cannot stand in one record, and the old file moves to `….json.old`.
fn set_aside(path: &Path, request: &Request<'_>, machine: &Machine) -> Result<Option<Run>> {
    if !path.exists() {
        return Ok(None);
    }
    let earlier = Run::read(path)?;
    let same = earlier.program.kernels == request.kernels
        && earlier.program.version == env!("CARGO_PKG_VERSION")
        && earlier.settings.effort == request.effort
        && earlier.settings.seed == request.seed
        && earlier.simulated == machine.driver.simulated;
    if same {
        return Ok(Some(earlier));
    }
    let old = path.with_extension("json.old");
    std::fs::rename(path, &old).map_err(|source| Error::File {
        doing: "keeping the earlier record as",
        path: old,
        source,
        remedy: "name another file with -o",
    })?;
    Ok(None)
}

/// How a finished run is judged by a script: 3 when nothing could be measured, 4 when something failed or the user stopped it.
pub(super) fn status(record: &Run) -> Result<Status> {
    if !record.complete {
        return Err(Error::Interrupted);
    }
    let something = record.outcomes.iter().any(|outcome| !matches!(outcome, Outcome::Waived { .. }));
    if !something {
        let why = record.outcomes.first().map_or_else(
            || "no probe has a case here".to_owned(),
            |outcome| match outcome {
                Outcome::Waived { case, waiver } => format!("{case}: {waiver}"),
                other => other.case().to_string(),
            },
        );
        return Err(Error::Unavailable {
            doing: "measuring".to_owned(),
            why,
            remedy: "see `gpu-assay measure --list` for what can run here".to_owned(),
        });
    }
    let failed = record.outcomes.iter().filter(|outcome| outcome.is_failure()).count();
    if failed > 0 {
        super::complain(&format!(
            "{failed} of {} cases failed; their errors are in the result file and in the output above",
            record.outcomes.len()
        ));
        return Ok(Status::SomeFailed);
    }
    Ok(Status::Done)
}

/// A time that something can be measured in.
fn time(wanted: Option<Seconds>) -> Result<Option<Seconds>> {
    match wanted {
        Some(time) if !(time.0 > 0.0 && time.0 <= 86_400.0) => {
            Err(Error::usage(format!("--time {time}: expected more than nothing and at most a day")))
        }
        other => Ok(other),
    }
}

/// The probes of these names, in the registry's order; all without names.
fn choose(names: &[String]) -> Result<Vec<&'static dyn Probe>> {
    if let Some(unknown) = names.iter().find(|name| crate::probe::find(name).is_none()) {
        let known: Vec<&str> = PROBES.iter().map(|probe| probe.name()).collect();
        return Err(Error::usage(format!("unknown probe {unknown:?}; the probes are {}", known.join(", "))));
    }
    Ok(PROBES.iter().copied().filter(|probe| names.is_empty() || names.iter().any(|name| name == probe.name())).collect())
}

/// The indices that `--gpu` means on this machine; all without it.
pub(super) fn gpus(machine: &Machine, wanted: &[String]) -> Result<Vec<u32>> {
    if wanted.is_empty() {
        return Ok(machine.gpus.iter().map(|gpu| gpu.index).collect());
    }
    if machine.gpus.is_empty() {
        return Err(Error::Unavailable {
            doing: format!("looking for GPU {}", wanted.join(",")),
            why: machine.driver.version.why().unwrap_or("the driver shows no GPU").to_owned(),
            remedy: "run `gpu-assay inspect` to see what is here".to_owned(),
        });
    }
    let uuids: Vec<String> = machine.gpus.iter().map(|gpu| gpu.uuid.clone()).collect();
    gpu::select(&wanted.join(","), &uuids)
}

fn list(machine: &Machine, probes: &[&dyn Probe]) -> Table {
    let columns = [
        Column::text("probe", "probe"),
        Column::text("measures", "measures"),
        Column::number("cases", "cases"),
        Column::text("here", "here"),
    ];
    let mut table = Table::new("Probes", columns);
    for probe in probes {
        let (cases, here) = match probe.needs(machine) {
            Ok(()) => (probe.cases(machine, Effort::Standard).len(), "ready".to_owned()),
            Err(waiver) => (0, format!("waived: {waiver}")),
        };
        table.row([Cell::text(probe.name()), Cell::text(probe.about()), Cell::count(cases as u64), Cell::text(here)]);
    }
    table
}

fn now() -> String {
    jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string()
}
