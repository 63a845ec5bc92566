//! Killed at any moment, a run leaves a result file that parses and holds the first cases of the run, up to the last probe that finished.
//!
//! That a probe is on file before the next begins is tested in `assay.rs`; here it is the file that must survive.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod common;

use std::process::Stdio;
use std::time::Instant;

use common::{Bench, GPU_PROBES, in_parallel, tell};
use gpu_assay::record::Run;
use gpu_assay::stats::SplitMix64;

const SCENARIO: &str = include_str!("scenarios/sweep.toml");
const KILLS: u64 = 100;

#[test]
fn a_killed_run_keeps_what_it_had() {
    // How long a run takes here, so that the moments spread over all of it.
    let bench = Bench::text(SCENARIO);
    let begun = Instant::now();
    let (_, whole) = bench.measure();
    let length = begun.elapsed();

    let order: Vec<String> = whole.outcomes.iter().map(|outcome| outcome.case().to_string()).collect();

    let seeds: Vec<u64> = (0..KILLS).collect();
    let kept = in_parallel(&seeds, |&seed| {
        let moment = length.mul_f64(SplitMix64(seed).uniform());
        let bench = Bench::text(SCENARIO);
        let arguments = [&["measure", "--effort", "quick", "--time", "100 ms", "-o", "r.json"], &GPU_PROBES[..]].concat();
        let mut child = bench.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(moment);
        // What a reader sees while the program runs, a moment before it dies, is there afterwards too.
        let before =
            bench.result().exists().then(|| Run::read(&bench.result()).unwrap_or_else(|error| panic!("after {moment:?}: {error}")));
        child.kill().unwrap();
        child.wait().unwrap();
        let after =
            bench.result().exists().then(|| Run::read(&bench.result()).unwrap_or_else(|error| panic!("killed after {moment:?}: {error}")));
        let cases = |run: &Option<Run>| -> Vec<String> {
            run.iter().flat_map(|run| &run.outcomes).map(|outcome| outcome.case().to_string()).collect()
        };
        let (before, after) = (cases(&before), cases(&after));
        assert!(after.starts_with(&before), "killed after {moment:?}: {before:?} became {after:?}");
        assert!(order.starts_with(&after), "killed after {moment:?}: not the first cases of the run: {after:?}");
        after.len()
    });
    let (none, all) = (kept.iter().filter(|kept| **kept == 0).count(), kept.iter().filter(|kept| **kept == order.len()).count());
    tell(&format!("{KILLS} kills within {length:?}: {none} left no outcome, {all} left all of {}", order.len()));
    assert!(kept.iter().any(|kept| *kept > 0 && *kept < order.len()), "every kill came too early or too late to tell: {kept:?}");
}
