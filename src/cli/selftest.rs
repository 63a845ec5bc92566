//! `selftest`: every kernel's answer against a host reference, and the memory against a pattern.

use clap::Args;

use super::{Common, Measuring, Status, complain, inspect, measure, print_tables, results, stop};
use crate::error::{Error, Result};
use crate::probe::selftest::{self, Check, Options, Verdict};
use crate::table::{Cell, Column, Table};
use crate::units::Bytes;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Share of each GPU's free memory to test, from 0 to 0.9
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    memory: f64,

    #[command(flatten)]
    pub(super) measuring: Measuring,
}

pub(super) fn selftest(common: &Common, measuring: &Measuring, arguments: &Arguments) -> Result<Status> {
    stop::listen();
    let machine = inspect::machine();
    if machine.gpus.is_empty() {
        return Err(Error::Unavailable {
            doing: "testing the kernels".to_owned(),
            why: "there is no GPU here".to_owned(),
            remedy: "run `gpu-assay inspect` to see why".to_owned(),
        });
    }
    let gpus = measure::gpus(&machine, &measuring.gpu)?;
    let _lock = results::lock()?;
    let options = Options { seed: measuring.seed(), share: arguments.memory };
    let progress = super::progress::Checks::new(common.no_progress);
    let report = selftest::run(
        &machine,
        &gpus,
        options,
        super::try_kernels::program().as_deref(),
        &mut |check| progress.heard(check),
        &stop::stopped,
    )?;
    drop(progress);
    let mut table = table(&report.checks);
    if machine.driver.simulated {
        table.title.push_str(" — SIMULATED, not hardware");
    }
    print_tables(&[table], common)?;
    if report.is_right() {
        return Ok(Status::Done);
    }
    let wrong = report.checks.iter().filter(|check| matches!(check.verdict, Verdict::Wrong(_))).count();
    complain(&format!("{wrong} of {} checks found a wrong answer; do not use this GPU's results", report.checks.len()));
    Ok(Status::SomeFailed)
}

fn table(checks: &[Check]) -> Table {
    let columns = [
        Column::number("gpu", "GPU"),
        Column::text("check", "check"),
        Column::number("compared", "compared"),
        Column::text("verdict", "verdict"),
    ];
    let mut table = Table::new("Self-test", columns);
    for check in checks {
        let compared = match check.name {
            "memory" => Cell::plain(Bytes(check.compared)),
            _ => Cell::count(check.compared),
        };
        let verdict = match &check.verdict {
            Verdict::Right => "right".to_owned(),
            Verdict::Wrong(what) => format!("WRONG: {what}"),
            Verdict::Waived(why) => format!("waived: {why}"),
        };
        table.row([Cell::count(u64::from(check.gpu)), Cell::text(check.name), compared, Cell::text(verdict)]);
    }
    table
}
