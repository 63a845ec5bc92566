//! Reports made from the records in `tests/records`.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use gpu_assay::calibrate::Calibration;
use gpu_assay::catalog::Catalog;
use gpu_assay::figure::Basis;
use gpu_assay::lang::Lang;
use gpu_assay::measure::{Measurement, Outcome};
use gpu_assay::record::Run;
use gpu_assay::report::page::{Page, Source, Subject, page};
use gpu_assay::verdict::{About, Assessment, Band, Check, Effective, Finding, Reading, Status, Verdict};
use gpu_assay::workload::named;

/// Indices that records of many GPUs go up to.
pub const GPUS: u32 = 8;

pub fn record(name: &str) -> Run {
    Run::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records").join(name)).unwrap()
}

/// The same machine with [`GPUS`] GPUs, each a little slower than the one before, and copies between all of them.
pub fn many_gpus(one: &Run) -> Run {
    let mut run = one.clone();
    let first = run.machine.gpus[0].clone();
    run.machine.gpus = (0..GPUS).map(|index| gpu_assay::machine::Gpu { index, ..first.clone() }).collect();
    let measured: Vec<Measurement> = one.measurements().filter(|m| m.case.get_count("gpu") == Some(0)).cloned().collect();
    for index in 1..GPUS {
        for measurement in &measured {
            let id = measurement.case.to_string().replace("gpu=0", &format!("gpu={index}"));
            run.outcomes.push(again(measurement, &id, 1.0 + 0.004 * f64::from(index)));
        }
    }
    let copy = one.of("copy.h2d").last().unwrap();
    for (from, to) in (0..GPUS).flat_map(|from| (0..GPUS).map(move |to| (from, to))).filter(|(from, to)| from != to) {
        for (size, factor) in [("1MiB", 3.0), ("64MiB", 1.0)] {
            let slow = if (from, to) == (2, 5) { 4.0 } else { 1.0 + 0.01 * f64::from(from) };
            let id = format!("peer.write/engine=ce,bytes={size},from={from},to={to}");
            run.outcomes.push(again(copy, &id, factor * slow));
        }
    }
    run
}

fn again(measurement: &Measurement, id: &str, slower: f64) -> Outcome {
    let mut measurement = measurement.clone();
    measurement.case = id.parse().unwrap();
    // A spread that looks like one; the last sample of some is far off.
    let spread = |index: usize| 1.0 + 0.01 * ((index * 7) % 5) as f64;
    measurement.samples = measurement.samples.iter().enumerate().map(|(index, seconds)| seconds * slower * spread(index)).collect();
    Outcome::Measured(Box::new(measurement))
}

/// A verdict in which everything that can be said is `text`.
pub fn assessment(verdict: Verdict, text: &str) -> Assessment {
    let reading = Reading { value: 2e12, low: 1.9e12, high: 2.1e12, unit: "B/s", shown: text.to_owned() };
    let band =
        Band { reference: 3e12, warning: 2.9e12, failure: 2.5e12, unit: "B/s", basis: Basis::Datasheet, from: vec![text.to_owned()] };
    let check = |status| Check {
        id: "dram",
        about: About::Gpu(0),
        status,
        seen: text.to_owned(),
        expected: text.to_owned(),
        measured: Some(reading.clone()),
        band: Some(band.clone()),
    };
    let finding = |status| Finding {
        check: check(status),
        dcgm: Some("DCGM_FR_MEMORY_BANDWIDTH"),
        title: text.to_owned(),
        cost: Some(text.to_owned()),
        remedy: text.to_owned(),
        sentence: text.to_owned(),
        accepted: Some(text.to_owned()),
    };
    let findings =
        if verdict == Verdict::Pass { Vec::new() } else { [Status::Failure, Status::Warning, Status::Unknown].map(finding).to_vec() };
    Assessment {
        verdict,
        expected: text.to_owned(),
        machine: "machine".to_owned(),
        simulated: false,
        measured: text.to_owned(),
        findings,
        checks: [Status::Pass, Status::Failure].map(check).to_vec(),
        effective: vec![Effective { metric: "dram".to_owned(), measured: reading.clone(), usd_per_unit_hour: Some(1.5) }],
    }
}

/// The report on `runs`, each with its verdict.
pub fn report(runs: &[(&Run, Option<&Assessment>)], lang: Lang) -> Page {
    let catalog = Catalog::embedded().unwrap();
    let model = named(&catalog, "Llama-3.1-8B").unwrap();
    let calibrations: Vec<Calibration> = runs.iter().map(|(run, _)| Calibration::from_run(run)).collect();
    let subjects: Vec<Subject<'_>> =
        runs.iter().zip(&calibrations).map(|(&(run, assessment), calibration)| Subject { run, calibration, assessment }).collect();
    page(&Source { subjects: &subjects, catalog: &catalog, recorded: &[], model: &model, lang })
}
