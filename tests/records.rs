//! The records kept with the tests, and how they are made.
#![allow(clippy::unwrap_used)] // A failed expectation is a failed test, also in a test's own helpers.

mod common;

use std::path::{Path, PathBuf};

use common::{Bench, GPU_PROBES, full_size, measured, scenario};
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

/// Two H100 of full size that get warm under load, the second more than its cooling bears, on a supply of power that is short of two.
fn lasting() -> String {
    let text = full_size(&scenario("h100-8x-nvswitch")).replacen("nvml_order = [0, 1, 2, 3, 4, 5, 6, 7]", "", 1);
    let (models, rest) = text.split_once("[[gpu]]").unwrap();
    let (_, links) = rest.split_once("[link_default]").unwrap();
    let heat = "idle_c = 34.0, tau_s = 9.0, throttle_c = 84.0, per_c = 0.015, burst = 1.08, settle_s = 2.0";
    format!(
        "{models}
[[gpu]]
model = \"h100\"
heat = {{ load_c = 72.0, {heat} }}
[[gpu]]
model = \"h100\"
heat = {{ load_c = 99.0, {heat} }}
[[power_shelf]]
gpus = [0, 1]
watts = 1150.0
[noise]
sigma = 0.01
[link_default]{links}"
    )
}

#[test]
fn the_load_that_lasts_shows_what_its_scenario_does() {
    let run = Run::read(&path("h100x2-standin-sustained.json")).unwrap();
    let seen = |mechanism| run.of(mechanism).map(|one| one.sustained().unwrap()).collect::<Vec<_>>();
    let (alone, together) = (seen("sustained.bf16"), seen("sustained.together"));
    assert_eq!((alone.len(), together.len()), (2, 2));
    assert!(alone[0].share("sw_thermal_slowdown") == 0.0 && alone[1].share("sw_thermal_slowdown") > 0.5);
    assert!(together.iter().all(|seen| seen.share("hw_power_brake_slowdown") > 0.8));
    assert!(alone[0].settled.is_some() && alone[0].loss() > 0.04);
}

/// See the README beside the records.
#[test]
#[ignore = "writes a file of the repository"]
fn record_the_load_that_lasts_again() {
    let (bench, mut run) = measured(&lasting(), &["sustained", "--time", "2 min"]);
    run.name = "simulated-h100-x2-sustained".to_owned();
    run.machine.host = Run::read(&path("h200-standin.json")).unwrap().machine.host;
    write(&path("h100x2-standin-sustained.json"), &run, &bench);
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

    write(&path, &run, &bench);
}

fn write(path: &Path, run: &Run, bench: &Bench) {
    // A line for each case: half as long as the file that the program writes, and changes show. It has no seal, then.
    let text = serde_json::to_string(&run.unsealed()).unwrap().replace("{\"outcome\":", "\n{\"outcome\":");
    let folder = bench.standin.folder().to_str().unwrap();
    std::fs::write(path, text.replace(folder, "/standin") + "\n").unwrap();
}
