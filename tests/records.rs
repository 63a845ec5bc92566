//! The records kept with the tests, and how they are made.
#![allow(clippy::unwrap_used)] // A failed expectation is a failed test, also in a test's own helpers.

mod common;

use std::path::{Path, PathBuf};

use common::{GPU_PROBES, full_size, measured, scenario};
use gpu_assay::calibrate::Calibration;
use gpu_assay::measure::{Case, DESIGN};
use gpu_assay::record::Run;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records").join(name)
}

/// Whether a case is about the host or its disk.
fn is_hosts(case: &Case) -> bool {
    ["host", "storage"].contains(&case.family())
}

#[test]
fn the_h200_has_the_shapes_that_calibrate() {
    let run = Run::read(&path("h200-standin.json")).unwrap();
    assert!(run.simulated && run.complete);
    assert_eq!(run.machine.anonymous().unwrap(), run.machine);
    let calibration = Calibration::from_run(&run);
    for dtype in ["bf16", "e4m3"] {
        let timed = |shape| calibration.gpus[0].matmul.iter().any(|point| point.dtype == dtype && point.shape() == shape);
        assert!(DESIGN.into_iter().all(timed), "{dtype}");
    }
}

/// See the README beside the records.
#[test]
#[ignore = "writes a file of the repository"]
fn record_the_h200_again() {
    let path = path("h200-standin.json");
    let kept = Run::read(&path).unwrap();
    let (bench, mut run) = measured(&full_size(&scenario("h200-1x")), &[&["--effort", "quick"], &GPU_PROBES[..]].concat());
    run.name = kept.name;
    run.settings.probes.clear();
    run.machine.host = kept.machine.host;
    run.outcomes.retain(|outcome| !is_hosts(outcome.case()));
    run.outcomes.extend(kept.outcomes.into_iter().filter(|outcome| is_hosts(outcome.case())));

    // A line for each case: half as long as the file that the program writes, and changes show. It has no seal, then.
    let text = serde_json::to_string(&run.unsealed()).unwrap().replace("{\"outcome\":", "\n{\"outcome\":");
    let folder = bench.standin.folder().to_str().unwrap();
    std::fs::write(&path, text.replace(folder, "/standin") + "\n").unwrap();
}
