//! With 1 % noise in every duration, the truth lies inside the reported interval as often as the interval claims, for everything that the
//! program reports of a GPU.
//!
//! A noise-free twin of this test is `probes_on_standin.rs`; both take the truth from `common::truth`. Time on the stand-in is virtual and its
//! noise seeded, so every run of this test sees the same samples.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod common;

use std::collections::BTreeMap;

use common::truth::{reported, truth};
use common::{Bench, GPU_PROBES, in_parallel, stderr, tell};
use gpu_assay::record::Run;

const SCENARIO: &str = include_str!("scenarios/slow.toml");
const SEEDS: u64 = 100;

/// In so many of a hundred the truth must lie inside, over everything that is reported.
const LEAST_PERCENT: f64 = 95.0;

/// The same of one mechanism, and by how many standard errors it may fall short of that: with thirty mechanisms of a hundred observations and more,
/// one is always unlucky.
const LEAST_OF_ONE: f64 = 93.0;
const LUCK: f64 = 2.3;

/// Errors of the medians that are on one side by more than so many standard errors are no luck.
const MOST_BIAS: f64 = 4.0;

/// What became of one mechanism, by engine and kind of memory, over all seeds, GPUs and sizes.
#[derive(Default)]
struct Tally {
    /// Reported quantities, and how many of them had the truth in their interval.
    reported: u32,
    covered: u32,
    /// The medians' errors relative to the truth, and the intervals' half-widths relative to the median.
    errors: Vec<f64>,
    widths: Vec<f64>,
    samples: usize,
}

/// Measure `probes` once for every seed and tally what was reported.
fn tally(scenario: &str, probes: &[&str], tallies: &mut BTreeMap<String, Tally>) {
    let seeds: Vec<u64> = (1..=SEEDS).collect();
    let runs: Vec<Run> = in_parallel(&seeds, |seed| {
        let bench = Bench::text(scenario);
        let arguments = [&["measure", "--effort", "quick", "-o", "r.json"], probes].concat();
        let output = bench.command(&arguments).env(gpu_assay_standin::SEED, seed.to_string()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "seed {seed}: {}", stderr(&output));
        Run::read(&bench.result()).unwrap()
    });
    let machine = Bench::text(scenario);
    for measurement in runs.iter().flat_map(Run::measurements) {
        let (found, truth) = (reported(measurement), truth(machine.standin.scenario(), measurement));
        let case = &measurement.case;
        let mut name = case.mechanism().to_owned();
        for word in ["engine", "memory"].iter().filter_map(|axis| case.get_word(axis)) {
            name = format!("{name} {word}");
        }
        if measurement.conditions.get("route").is_some_and(|route| route == "host") {
            name += " through the host";
        }
        let tally = tallies.entry(name).or_default();
        tally.reported += 1;
        tally.covered += u32::from(found.contains(truth));
        tally.errors.push(found.point / truth - 1.0);
        tally.widths.push(found.half_width() / found.point);
        tally.samples += measurement.samples.len();
    }
}

#[test]
fn the_truth_lies_in_the_interval() {
    let mut tallies = BTreeMap::new();
    tally(SCENARIO, &GPU_PROBES, &mut tallies);
    tally(&SCENARIO.replace("p2p = true", "p2p = false"), &["peer"], &mut tallies);
    let mut wrong = Vec::new();
    for (name, tally) in &tallies {
        let count = f64::from(tally.reported);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
        let percent = 100.0 * f64::from(tally.covered) / count;
        let bias = mean(&tally.errors);
        let spread = mean(&tally.errors.iter().map(|error| (error - bias).powi(2)).collect::<Vec<_>>()).sqrt();
        let standard_errors = bias / (spread / count.sqrt());
        let line = format!(
            "{name}: truth inside in {} of {} ({percent:.1} %), half-width {:.3} %, mean error {:+.4} % ({standard_errors:+.1} standard errors), \
             {:.1} samples",
            tally.covered,
            tally.reported,
            mean(&tally.widths) * 100.0,
            bias * 100.0,
            tally.samples as f64 / count
        );
        tell(&line);
        let luck = LUCK * (LEAST_OF_ONE * (100.0 - LEAST_OF_ONE) / count).sqrt();
        if percent < LEAST_OF_ONE - luck || standard_errors.abs() > MOST_BIAS {
            wrong.push(line);
        }
    }
    assert!(wrong.is_empty(), "not as sure as claimed:\n{}", wrong.join("\n"));
    let (covered, reported) = tallies.values().fold((0, 0), |(covered, all), tally| (covered + tally.covered, all + tally.reported));
    let percent = 100.0 * f64::from(covered) / f64::from(reported);
    tell(&format!("everything: truth inside in {covered} of {reported} ({percent:.1} %)"));
    assert!(percent >= LEAST_PERCENT, "{percent:.1} %");
}
