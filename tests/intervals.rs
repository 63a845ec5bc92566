//! With 1 % noise in every duration, the true rate lies inside the reported interval as often as the interval claims.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod common;

use common::{Bench, in_parallel, stderr, tell};
use gpu_assay::record::Run;

const SCENARIO: &str = include_str!("scenarios/sweep.toml");
const SEEDS: u64 = 100;

#[test]
fn the_truth_lies_in_the_interval() {
    let noisy = format!("{SCENARIO}\n[noise]\nsigma = 0.01\n");
    let seeds: Vec<u64> = (1..=SEEDS).collect();
    let runs: Vec<Run> = in_parallel(&seeds, |seed| {
        let bench = Bench::text(&noisy);
        let output = bench
            .command(&["measure", "dram", "copy", "--gpu", "0", "--effort", "quick", "-o", "r.json"])
            .env(gpu_assay_standin::SEED, seed.to_string())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "seed {seed}: {}", stderr(&output));
        Run::read(&bench.result()).unwrap()
    });
    let truth = &Bench::text(&noisy).standin.scenario().gpus[0].clone();
    let expected = [
        ("dram.read", truth.dram.read_gbs),
        ("dram.write", truth.dram.write_gbs),
        ("dram.copy", truth.dram.copy_gbs),
        ("dram.scale", truth.dram.scale_gbs),
        ("dram.add", truth.dram.add_gbs),
        ("dram.triad", truth.dram.triad_gbs),
        ("copy.h2d", truth.host_link.h2d_gbs),
        ("copy.d2h", truth.host_link.d2h_gbs),
    ];
    for (mechanism, gigabytes) in expected {
        let mut covered = 0;
        let mut worst: f64 = 0.0;
        for run in &runs {
            let pinned = run.of(mechanism).filter(|measurement| measurement.case.get_word("memory") != Some("pageable"));
            let largest = pinned.max_by_key(|measurement| measurement.case.get_bytes("bytes")).expect(mechanism);
            let interval = largest.bandwidth().unwrap();
            covered += u64::from(interval.contains(gigabytes * 1e9));
            worst = worst.max((interval.point / (gigabytes * 1e9) - 1.0).abs());
        }
        tell(&format!("{mechanism}: truth inside in {covered} of {SEEDS} runs, worst error of the median {:.2} %", worst * 100.0));
        assert!(covered >= 93, "{mechanism}: the truth lies in the interval in only {covered} of {SEEDS} runs");
        assert!(worst < 0.01, "{mechanism}: a median is off by {:.2} %", worst * 100.0);
    }
}
