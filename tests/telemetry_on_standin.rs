//! Whatever is measured on a GPU stands in the record with what the GPU said meanwhile; of two GPUs, with what both said.
#![allow(clippy::unwrap_used)] // A failed expectation is a failed test, also in a test's own helpers.

mod common;

use std::collections::BTreeSet;

use common::{Bench, GPU_PROBES, stderr};
use gpu_assay::measure::{Measurement, TelemetrySpan};
use gpu_assay::record::Run;

/// Clocks, draw, heat, the link, and how the counters of errors moved; reasons for reduced clocks are those of the scenario.
fn is_whole(span: &TelemetrySpan, reasons: &[&str]) -> bool {
    let read = [span.mean_sm_clock, span.least_sm_clock, span.mean_memory_clock].iter().all(Option::is_some)
        && span.mean_power.is_some()
        && span.peak_power.is_some()
        && span.peak_temperature.is_some();
    let link = (span.pcie_generation, span.pcie_width) == (Some(4), Some(16));
    let counters = [span.new_corrected_errors, span.new_uncorrected_errors, span.new_pcie_replays] == [Some(0); 3];
    span.polls > 0 && read && link && counters && span.throttle_reasons == reasons
}

fn measured(scenario: &str) -> Run {
    let bench = Bench::text(scenario);
    let probes = [&GPU_PROBES[..], &["sustained"]].concat();
    let output = bench.run(&[&["measure", "--effort", "quick", "--time", "200 ms", "-o", "r.json"], &probes[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    Run::read(&bench.result()).unwrap()
}

#[test]
fn every_measurement_says_what_its_gpus_said() {
    let text = include_str!("scenarios/slow.toml").replace("temperature_c = 40", "temperature_c = 40\nthrottle = [\"sw-power-cap\"]");
    let run = measured(&text);
    let mut families = BTreeSet::new();
    for measurement in run.measurements() {
        let Measurement { case, telemetry, partners, .. } = measurement;
        families.insert(case.family().to_owned());
        assert!(telemetry.as_ref().is_some_and(|span| is_whole(span, &["sw_power_cap"])), "{case}: {telemetry:?}");
        let others: Vec<u64> = partners.iter().map(|partner| u64::from(partner.gpu)).collect();
        assert_eq!(others, case.get_count("to").into_iter().collect::<Vec<_>>(), "{case}");
        assert!(partners.iter().all(|partner| is_whole(&partner.telemetry, &["sw_power_cap"])), "{case}: {partners:?}");
    }
    // What the memory probe finds is read, not timed.
    assert_eq!(families.into_iter().collect::<Vec<_>>(), ["cache", "copy", "dram", "launch", "matmul", "peer", "sustained"]);
}
