//! A record's outcomes as tables: what was measured, what was not and why.

use crate::figure::Figure;
use crate::lang::Lang;
use crate::measure::{Measurement, Outcome, StopReason};
use crate::record::Run;
use crate::table::{Cell, Column, Table};
use crate::units::{BytesPerSecond, FlopsPerSecond, Seconds};

/// Four tables at most: results, loads that lasted, failures, and what was waived; empty ones are left out.
pub fn measurements(run: &Run) -> Vec<Table> {
    let mark = if run.simulated { " — SIMULATED, not hardware" } else { "" };
    let mut results = Table::new(
        format!("Measured on {}{mark}", run.name),
        [
            Column::text("case", "case"),
            Column::number("median", "median"),
            Column::number("uncertainty", "±"),
            Column::number("samples", "samples"),
            Column::text("stop", "stopped by"),
        ],
    );
    let mut failures = Table::new(format!("Failed{mark}"), [Column::text("case", "case"), Column::text("error", "what happened")]);
    let mut waived = Table::new(format!("Not measured{mark}"), [Column::text("case", "case"), Column::text("why", "why")]);
    for outcome in &run.outcomes {
        let id = Cell::text(outcome.case().to_string());
        match outcome {
            Outcome::Measured(measurement) => {
                let (median, uncertainty) = median(measurement);
                results.row([id, median, uncertainty, Cell::count(measurement.samples.len() as u64), Cell::text(stop(measurement.stop))]);
            }
            Outcome::Observed(observation) => {
                results.row([id, Cell::plain(observation.bytes), Cell::Empty, Cell::Empty, Cell::text("read once")])
            }
            Outcome::Waived { waiver, .. } => waived.row([id, Cell::text(waiver.to_string())]),
            Outcome::Failed { error, .. } => failures.row([id, Cell::text(error.clone())]),
        }
    }
    if !results.is_empty() {
        results.note("± is half the 95 % interval of the median, relative to it; every sample is in the result file");
    }
    let mut lasting = super::sustained::table(run, Lang::En);
    lasting.title.push_str(mark);
    [results, lasting, failures, waived].into_iter().filter(|table| !table.is_empty()).collect()
}

/// The rate where the work has one, else the latency; with its relative uncertainty in percent.
fn median(measurement: &Measurement) -> (Cell, Cell) {
    let from = || measurement.case.to_string();
    let throughput = measurement.throughput().map(|rate| shown(&Figure::<FlopsPerSecond>::measured(rate, from())));
    let bandwidth = || measurement.bandwidth().map(|rate| shown(&Figure::<BytesPerSecond>::measured(rate, from())));
    let latency = || measurement.latency().map(|time| shown(&Figure::<Seconds>::measured(time, from())));
    throughput.or_else(bandwidth).or_else(latency).unwrap_or_default()
}

fn shown<Q: crate::figure::Quantity>(figure: &Figure<Q>) -> (Cell, Cell) {
    (Cell::figure(figure), Cell::text(format!("{:.2} %", figure.uncertainty() * 100.0)))
}

fn stop(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Precise => "precision",
        StopReason::OutOfTime => "time",
        StopReason::EnoughSamples => "count",
    }
}
