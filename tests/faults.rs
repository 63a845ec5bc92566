//! Every function of the driver, NVML, cublasLt and NCCL that the program calls fails once: at its first, second and last call.
//!
//! Whatever fails: no panic, no hang, an exit code that scripts can rely on, one line per error, a result file that holds what had finished,
//! and nothing left allocated.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod common;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use common::{Bench, GPU_PROBES, in_parallel, stderr, tell, wait};
use gpu_assay::record::Run;

/// Two small GPUs with every library, so that every path is walked.
const SCENARIO: &str = include_str!("scenarios/sweep.toml");

/// A run takes a second or two; far beyond that it hangs.
const LIMIT: Duration = Duration::from_secs(60);

const ARGUMENTS: [&str; 7] = ["measure", "--effort", "quick", "--time", "100 ms", "-o", "r.json"];

/// The same GPUs as Hoppers, whose kernels move data by descriptors, with NCCL.
fn hopper() -> String {
    SCENARIO
        .replace("cc = [8, 9]", "cc = [9, 0]")
        .replace("shared_kib = 164", "shared_kib = 228")
        .replace("[driver]", "[driver]\nnccl = 22703")
        .replace("\nmatmul = {", "\nhopper = { bf16_tflops = 260.0, e4m3_tflops = 500.0, e5m2_tflops = 500.0 }\nmatmul = {")
}

/// Returning what was taken cannot fail in a way the program could act on, so these may leave things behind.
fn gives_back(function: &str) -> bool {
    ["Free", "Destroy", "Release", "Unload", "Unregister", "Disable", "Shutdown"].iter().any(|word| function.contains(word))
}

/// A status that the function's library has for "something went wrong".
fn code(function: &str) -> i32 {
    if function.starts_with("cublasLt") { 14 } else { 999 }
}

#[derive(Debug)]
struct Fall {
    function: String,
    call: u64,
}

/// What is wrong with how the program took the fault; empty when nothing is.
fn take(scenario: &str, probes: &[&str], fall: &Fall) -> (Vec<String>, i32) {
    let bench = Bench::text(scenario);
    let mut command = bench.command(&[&ARGUMENTS[..], probes].concat());
    command.env(gpu_assay_standin::FAULT, format!("{}:{}:error={}", fall.function, fall.call, code(&fall.function)));
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let Some(output) = wait(child, LIMIT) else { return (vec!["hangs".to_owned()], -1) };
    let said = stderr(&output);
    let mut wrong: Vec<String> = Vec::new();
    let mut expect = |right: bool, what: &str| {
        if !right {
            wrong.push(format!("{what}; it said: {}", said.trim().chars().take(300).collect::<String>()));
        }
    };
    expect(!said.contains("panicked"), "panics");
    expect(said.lines().count() <= 1, "says more than one line");
    let Some(code) = output.status.code() else {
        return (vec![format!("is killed by a signal: {said}")], -1);
    };
    expect([0, 3, 4].contains(&code), &format!("exits with {code}"));
    expect((code == 0) == said.is_empty(), &format!("exits with {code} and says {} lines", said.lines().count()));
    match Run::read(&bench.result()) {
        Ok(run) => {
            let failed = run.outcomes.iter().filter(|outcome| outcome.is_failure()).count();
            expect(run.simulated, "does not say that it was simulated");
            expect(run.complete || code != 0, "is done without being complete");
            expect((code == 4) == (failed > 0), &format!("exits with {code} and has {failed} failures on file"));
        }
        Err(error) => expect(code == 3 && !bench.result().exists(), &format!("leaves no good record: {error}")),
    }
    if !gives_back(&fall.function)
        && let Ok(Some(trace)) = bench.standin.trace()
    {
        expect(trace.leaks().is_empty(), &format!("leaks {:?}", trace.leaks()));
    }
    (wrong, code)
}

/// How often each function is called when nothing fails and more than so many measurements are made.
fn calls(scenario: &str, probes: &[&str], more_than: usize) -> BTreeMap<String, u64> {
    let bench = Bench::text(scenario);
    let output = bench.run(&[&ARGUMENTS[..], probes].concat());
    assert_eq!(output.status.code(), Some(0), "the machine without faults fails: {}", stderr(&output));
    let run = Run::read(&bench.result()).unwrap();
    assert!(run.complete && run.measurements().count() > more_than, "{} measurements", run.measurements().count());
    let trace = bench.standin.trace().unwrap().expect("a trace");
    assert_eq!(trace.leaks(), [], "leaks without any fault");
    trace.calls
}

/// Let every function fail at its first, second and last call.
#[track_caller]
fn sweep(scenario: &str, probes: &[&str], calls: &BTreeMap<String, u64>) {
    let mut falls = Vec::new();
    for (function, &calls) in calls {
        let mut which = vec![1, 2, calls];
        which.retain(|call| *call <= calls);
        which.dedup();
        falls.extend(which.into_iter().map(|call| Fall { function: function.clone(), call }));
    }
    let taken = in_parallel(&falls, |fall| take(scenario, probes, fall));
    let mut codes = BTreeMap::new();
    let mut wrong = Vec::new();
    for (fall, (complaints, code)) in falls.iter().zip(&taken) {
        *codes.entry(*code).or_insert(0) += 1;
        wrong.extend(complaints.iter().map(|complaint| format!("{} failing at call {}: {complaint}", fall.function, fall.call)));
    }
    tell(&format!("{} functions, {} faults planted, exit codes {codes:?}", calls.len(), falls.len()));
    assert!(wrong.is_empty(), "{} of {} faults are taken wrongly:\n{}", wrong.len(), falls.len(), wrong.join("\n"));
}

#[test]
fn any_call_may_fail_once() {
    let calls = calls(SCENARIO, &GPU_PROBES, 50);
    assert!(calls.len() >= 60, "the sweep walks only {} functions", calls.len());
    sweep(SCENARIO, &GPU_PROBES, &calls);
}

#[test]
fn any_call_that_only_other_probes_make_may_fail_once() {
    let scenario = hopper();
    let known = calls(SCENARIO, &GPU_PROBES, 50);
    let sought = [
        (&["collective"][..], &["ncclCommInitAll", "ncclAllReduce", "ncclGroupEnd"][..]),
        (&["matmul", "sustained"], &["cuTensorMapEncodeTiled"]),
    ];
    for (probes, expected) in sought {
        let mut calls = calls(&scenario, probes, 5);
        calls.retain(|function, _| !known.contains_key(function));
        assert!(expected.iter().all(|function| calls.contains_key(*function)), "{probes:?} call only {calls:?}");
        sweep(&scenario, probes, &calls);
    }
}
