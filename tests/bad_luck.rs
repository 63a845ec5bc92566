//! Bad input and bad luck: what goes wrong on real machines, staged on the stand-in driver.
//!
//! Whatever happens: at most one line on standard error, an exit code that scripts can rely on, no panic, every finished case on file, and
//! nothing left allocated on the GPU.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod common;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Bench, GPU_PROBES, in_parallel, stderr, stdout, tell, wait};
use gpu_assay::machine::Machine;
use gpu_assay::measure::{Case, Outcome, Waiver};
use gpu_assay::record::Run;
use gpu_assay::stats::SplitMix64;
use gpu_assay_standin::FAULT;

/// Two small GPUs with every library.
const SCENARIO: &str = include_str!("scenarios/sweep.toml");

/// Of the two GPUs, the one that the tests make different.
const SECOND: &str = "GPU-00000000-0000-0000-0000-000000000002";

/// A run takes a second or two; far beyond that it hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// The scenario with one part replaced everywhere.
fn with(old: &str, new: &str) -> String {
    assert!(SCENARIO.contains(old), "{old}");
    SCENARIO.replace(old, new)
}

/// The scenario with one part of the second GPU replaced.
fn second_with(old: &str, new: &str) -> String {
    let at = SCENARIO.rfind("[[gpu]]").unwrap();
    assert!(SCENARIO[at..].contains(old), "{old}");
    [&SCENARIO[..at], &SCENARIO[at..].replace(old, new)].concat()
}

fn measuring<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["measure", "--effort", "quick", "--time", "100 ms", "-o", "r.json"], arguments].concat()
}

/// Run with planted faults; `faults` as the stand-in reads them.
fn faulty(bench: &Bench, faults: &str, arguments: &[&str]) -> Output {
    let child =
        bench.command(&measuring(arguments)).env(FAULT, faults).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    wait(child, LIMIT).unwrap_or_else(|| panic!("{faults}: hangs"))
}

fn record(bench: &Bench) -> Run {
    Run::read(&bench.result()).unwrap()
}

fn facts(output: &Output) -> Machine {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

/// Asserts that the program ended with `code`: silently with 0, else with one line that contains `said`.
#[track_caller]
fn assert_ends(output: &Output, code: i32, said: &str) {
    let line = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{line}");
    let lines = line.lines().count();
    if code == 0 {
        assert_eq!(line, "");
    } else {
        assert!(line.starts_with("gpu-assay: ") && lines == 1 && line.contains(said), "expected one line with {said:?} but found {line}");
    }
}

/// Asserts that nothing stayed allocated.
#[track_caller]
fn assert_tidy(bench: &Bench) {
    let trace = bench.standin.trace().unwrap().expect("it called the driver");
    assert_eq!(trace.leaks(), []);
}

fn failures(run: &Run) -> Vec<&Outcome> {
    run.outcomes.iter().filter(|outcome| outcome.is_failure()).collect()
}

fn waivers(run: &Run) -> Vec<(&Case, &Waiver)> {
    let waived = run.outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Waived { case, waiver } => Some((case, waiver)),
        _ => None,
    });
    waived.collect()
}

/// Measured rate of reading a GPU's memory, GB/s.
fn read_rate(run: &Run, gpu: u64) -> f64 {
    let mut found = run.of("dram.read").filter(|measurement| measurement.case.get_count("gpu") == Some(gpu));
    let rate = found.next().unwrap_or_else(|| panic!("GPU {gpu} was not measured")).bandwidth().unwrap();
    rate.point / 1e9
}

// What is not there.

#[test]
fn a_driver_without_gpus_is_exit_3_with_the_drivers_reason() {
    let bench = Bench::named("no-gpu");
    let output = bench.run(&measuring(&GPU_PROBES));
    assert_ends(&output, 3, "no GPU");
    let run = record(&bench);
    assert_eq!(waivers(&run).len(), GPU_PROBES.len());
    assert!(run.simulated && run.complete && run.machine.gpus.is_empty());
    assert_ends(&bench.run(&["inspect"]), 0, "");
    assert_ends(&bench.run(&["selftest"]), 3, "no GPU");
    assert_ends(&bench.run(&measuring(&["--gpu", "0", "dram"])), 3, "looking for GPU 0");
}

#[test]
fn a_driver_whose_file_is_no_library_is_no_gpu() {
    let bench = Bench::named("no-gpu");
    for name in ["libcuda.so.1", "libcuda.so", "libnvidia-ml.so.1", "libnvidia-ml.so"] {
        std::fs::write(bench.folder.path().join(name), "not a library").unwrap();
    }
    let run = |arguments: &[&str]| bench.command(arguments).env("LD_LIBRARY_PATH", bench.folder.path()).output().unwrap();
    assert_ends(&run(&measuring(&["dram"])), 3, "libcuda.so");
    let inspected = run(&["inspect", "--format", "json"]);
    assert_ends(&inspected, 0, "");
    let machine = facts(&inspected);
    assert!(machine.gpus.is_empty() && machine.driver.cuda_version.why().unwrap().contains("libcuda.so"));
}

#[test]
fn without_nvml_everything_is_measured_and_what_only_nvml_knows_is_unknown() {
    let bench = Bench::text(&with("cuda = 12040", "cuda = 12040\nnvml = false"));
    let output = bench.run(&measuring(&["dram", "launch", "--identify"]));
    assert_ends(&output, 0, "");
    let run = record(&bench);
    assert!((read_rate(&run, 0) / 1776.0 - 1.0).abs() < 0.005);
    assert!(run.measurements().all(|measurement| measurement.telemetry.is_none()), "telemetry without NVML");
    for gpu in &run.machine.gpus {
        assert!(gpu.power.enforced.why().unwrap().contains("NVML"), "{:?}", gpu.power.enforced);
        assert!(gpu.sm_count.known().is_some() && gpu.uuid.starts_with("GPU-"));
    }
    assert_tidy(&bench);
    let shown = stdout(&bench.run(&["inspect"]));
    assert!(shown.contains("libnvidia-ml.so.1"), "{shown}");
}

#[test]
fn an_old_driver_is_named_with_the_function_it_lacks() {
    for function in ["cuMemAlloc_v2", "cuDeviceGetUuid_v2"] {
        let bench = Bench::text(&with("cuda = 12040", &format!("cuda = 12040\nmissing = [\"{function}\"]")));
        assert_ends(&bench.run(&measuring(&["dram"])), 3, &format!("it lacks the function {function}"));
        assert_ends(&bench.run(&["inspect"]), 0, "");
        assert_ends(&bench.run(&["selftest"]), 3, function);
    }
}

#[test]
fn a_function_that_can_be_done_without_takes_only_its_own_cases_away() {
    let missing = ["cuGraphLaunch", "cuCtxEnablePeerAccess", "cuMemcpyPeerAsync", "nvmlDeviceGetPowerUsage", "cublasLtMatmul"];
    let without = |names: &[&str]| Bench::text(&with("cuda = 12040", &format!("cuda = 12040\nmissing = {names:?}")));
    let whole = without(&[]);
    assert_ends(&whole.run(&measuring(&GPU_PROBES)), 0, "");
    let all = record(&whole).measurements().count();
    in_parallel(&missing, |name| {
        let bench = without(&[name]);
        let output = bench.run(&measuring(&GPU_PROBES));
        let run = record(&bench);
        assert!(failures(&run).is_empty(), "{name}: {:#?}", failures(&run));
        assert_ends(&output, 0, "");
        assert!(run.complete && run.measurements().count() * 2 > all, "{name}: only {} of {all}", run.measurements().count());
        assert_tidy(&bench);
    });
}

#[test]
fn without_cublaslt_its_cases_are_waived_with_where_it_was_sought() {
    let bench = Bench::text(&with("cublaslt = 120402\n", ""));
    // An environment without Python or toolkits of this machine, which may have the library.
    let output = bench.command(&measuring(&["matmul"])).env("PATH", "/nowhere").output().unwrap();
    assert_ends(&output, 0, "");
    let run = record(&bench);
    assert!(run.measurements().all(|measurement| measurement.case.get_word("engine") == Some("own")) && run.measurements().count() > 0);
    let mut waived = 0;
    for (case, waiver) in waivers(&run).into_iter().filter(|(case, _)| case.get_word("engine") == Some("cublaslt")) {
        let Waiver::LibraryMissing { library, sought, remedy } = waiver else { panic!("{case}: {waiver}") };
        assert!(library == "libcublasLt.so" && !sought.is_empty() && remedy.contains("install"), "{case}: {waiver:?}");
        waived += 1;
    }
    assert!(waived > 0);
    assert_tidy(&bench);
}

// What the kernel driver reports.

#[test]
fn an_xid_stands_in_the_record_with_its_gpu_and_the_case_that_was_running() {
    let bench =
        Bench::text(&second_with("rows = {}", "rows = {}\nxids = [{ code = 79, at = 3 }, { code = 79, at = 4 }, { code = 63, at = 5 }]"));
    assert_ends(&bench.run(&measuring(&["dram", "launch"])), 0, "");
    let run = record(&bench);
    let seen = run.xids.known().unwrap();
    assert_eq!(seen.iter().map(|xid| (xid.gpu, xid.code)).collect::<Vec<_>>(), [(1, 63), (1, 79)], "each number once");
    let first = run.outcomes.iter().find(|outcome| outcome.case().get_count("gpu") == Some(1)).unwrap();
    assert!(seen.iter().all(|xid| &xid.case == first.case()), "{seen:?}");
    assert_tidy(&bench);

    let other = bench.run(&measuring(&["dram", "--gpu", "0"]));
    assert_ends(&other, 0, "");
    assert_eq!(record(&bench).xids.known().map(Vec::len), Some(0), "only the GPUs measured are listened to, and they were silent");
}

#[test]
fn where_nvml_tells_nothing_of_xids_nothing_is_claimed_about_them() {
    // What a vGPU says, what a container says, and libraries without the functions.
    for (faults, missing, said) in [
        ("nvmlDeviceRegisterEvents:1+:error=3", "", "GPU 0"),
        ("nvmlDeviceRegisterEvents:2+:error=4", "", "GPU 1"),
        ("nvmlEventSetWait_v2:1:error=15", "", "GPU 0"),
        ("nvmlEventSetCreate:1+:error=999", "", "GPU 0"),
        ("", "nvmlEventSetCreate", "nvmlEventSetCreate"),
        ("", "nvmlDeviceRegisterEvents", "nvmlDeviceRegisterEvents"),
        ("", "nvmlEventSetWait_v2", "nvmlEventSetWait_v2"),
        ("", "nvmlEventSetFree", "nvmlEventSetFree"),
    ] {
        let missing: Vec<&str> = missing.split_terminator(',').collect();
        let bench = Bench::text(&with("cuda = 12040", &format!("cuda = 12040\nmissing = {missing:?}")));
        assert_ends(&faulty(&bench, faults, &["launch"]), 0, "");
        let run = record(&bench);
        assert!(run.xids.why().is_some_and(|why| why.contains(said)), "{faults} {missing:?}: {:?}", run.xids);
        assert_tidy(&bench);
    }
}

#[test]
fn xids_heard_before_the_driver_stopped_telling_are_kept() {
    let bench = Bench::text(&with("rows = {}", "rows = {}\nxids = [{ code = 48, at = 1 }]"));
    assert_ends(&faulty(&bench, "nvmlEventSetWait_v2:8+:error=15", &["launch"]), 0, "");
    let run = record(&bench);
    assert!(run.xids.known().is_some_and(|xids| xids.iter().any(|xid| (xid.gpu, xid.code) == (0, 48))), "{:?}", run.xids);
    assert_tidy(&bench);
}

// What is taken, or breaks.

#[test]
fn another_process_is_shown_and_does_not_stop_the_run() {
    let bench = Bench::text(&second_with("rows = {}", "rows = {}\nprocesses = [{ pid = 4242, memory_mib = 2 }]"));
    let machine = facts(&bench.run(&["inspect", "--format", "json"]));
    assert_eq!(machine.gpus[0].other_processes.known().unwrap().len(), 0);
    let others = machine.gpus[1].other_processes.known().unwrap();
    assert_eq!((others.len(), others[0].pid, others[0].memory.unwrap().0), (1, 4242, 2 << 20));
    assert!(machine.gpus[1].memory_free.known().unwrap().0 + (2 << 20) <= machine.gpus[1].memory_total.known().unwrap().0);
    assert_ends(&bench.run(&measuring(&["dram"])), 0, "");
    assert!(read_rate(&record(&bench), 1) > 0.0);
}

#[test]
fn a_full_gpu_waives_what_does_not_fit_and_says_how_much_there_is() {
    let bench = Bench::text(&with("rows = {}", "rows = {}\nprocesses = [{ pid = 4242, memory_mib = 18, listed = false }]"));
    let output = bench.run(&measuring(&GPU_PROBES));
    let run = record(&bench);
    assert!(run.complete);
    assert!(waivers(&run).iter().any(|(_, waiver)| matches!(waiver, Waiver::Memory { .. })), "{:#?}", run.outcomes);
    let code = if failures(&run).is_empty() { 0 } else { 4 };
    assert_ends(&output, code, "cases failed");
    assert_tidy(&bench);
}

#[test]
fn memory_that_runs_out_in_the_middle_fails_what_needs_it_and_keeps_the_rest() {
    // From some call on: plain memory, pinned memory, and contexts. 2 is CUDA_ERROR_OUT_OF_MEMORY.
    for (faults, least) in [("cuMemAlloc_v2:12+:error=2", 1), ("cuMemHostAlloc:1+:error=2", 0), ("cuDevicePrimaryCtxRetain:1+:error=2", 0)]
    {
        let bench = Bench::text(SCENARIO);
        let output = faulty(&bench, faults, &["launch", "dram", "copy"]);
        let run = record(&bench);
        assert_ends(&output, 4, "cases failed");
        assert!(run.complete && run.measurements().count() >= least, "{faults}: {:#?}", run.outcomes);
        for outcome in failures(&run) {
            let Outcome::Failed { error, wrong_answer, .. } = outcome else { unreachable!() };
            assert!(error.contains("CUDA_ERROR_OUT_OF_MEMORY") && !wrong_answer, "{faults}: {error}");
        }
        assert_tidy(&bench);
    }
}

#[test]
fn a_gpu_that_falls_off_the_bus_ends_no_run() {
    in_parallel(&[1_u64, 40, 200], |call| {
        let bench = Bench::text(SCENARIO);
        let output = faulty(&bench, &format!("cuEventRecord:{call}:gone"), &GPU_PROBES);
        assert_ends(&output, 4, "cases failed");
        let run = record(&bench);
        assert!(run.complete && !failures(&run).is_empty());
        // What was measured before it went is kept, and so is what the other GPU does afterwards.
        assert!(run.measurements().count() > 0, "call {call}");
    });
}

// Where results go.

#[test]
fn results_that_cannot_be_written_are_exit_2_before_anything_is_measured() {
    let bench = Bench::text(SCENARIO);
    std::fs::write(bench.folder.path().join("file"), "").unwrap();
    // Also root may not write there: a file in the way, a system that makes no files, a device that is always full.
    for path in ["file/r.json", "/proc/r.json", "/dev/full/r.json"] {
        let output = bench.run(&["measure", "dram", "--effort", "quick", "-o", path]);
        assert_ends(&output, 2, path.trim_end_matches("/r.json"));
        let trace = bench.standin.trace().unwrap().unwrap();
        assert!(!trace.calls.contains_key("cuLaunchKernel"), "{path}: it measured first");
    }
}

#[test]
fn a_disk_that_fills_up_in_the_middle_keeps_the_record_of_the_last_moment_that_fitted() {
    let bench = Bench::text(SCENARIO);
    let program = bench.command(&measuring(&GPU_PROBES));
    // A limit on the size of files stands for a full disk: with its signal ignored, writing more is an error. In blocks of 512 bytes.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"]).arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let output = shell.current_dir(bench.folder.path()).stdin(Stdio::null()).output().unwrap();
    assert_ends(&output, 2, "writing r.json");
    let run = record(&bench);
    assert!(!run.complete && run.simulated);
    let left: Vec<_> = std::fs::read_dir(bench.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "r.json" || name == "gpu-assay.lock"), "left behind: {left:?}");
    assert_tidy(&bench);
}

#[test]
fn a_second_run_is_refused_and_the_first_does_not_notice() {
    let bench = Bench::text(SCENARIO);
    let mut first = bench.command(&measuring(&["dram", "launch"]));
    let first = first.env(FAULT, "cuStreamSynchronize:5:hang=3").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    await_file(&bench.result());
    let second = bench.run(&["measure", "launch", "--effort", "quick", "-o", "second.json"]);
    assert_ends(&second, 3, "another gpu-assay is measuring on this machine");
    assert!(!bench.folder.path().join("second.json").exists());
    assert_ends(&wait(first, LIMIT).expect("it ends"), 0, "");
    assert!(record(&bench).complete);
    assert_ends(&bench.run(&measuring(&["launch"])), 0, "");
}

// The user's wish to stop.

fn await_file(path: &Path) {
    let begun = Instant::now();
    while !path.exists() {
        assert!(begun.elapsed() < LIMIT, "{} does not appear", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(child: &std::process::Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn a_wish_to_stop_at_any_moment_leaves_a_good_record_and_nothing_on_the_gpu() {
    const MOMENTS: u64 = 20;
    let bench = Bench::text(SCENARIO);
    let begun = Instant::now();
    assert_ends(&bench.run(&measuring(&GPU_PROBES)), 0, "");
    let length = begun.elapsed();
    let seeds: Vec<u64> = (0..MOMENTS).collect();
    let codes = in_parallel(&seeds, |&seed| {
        let moment = length.mul_f64(SplitMix64(seed).uniform());
        let name = ["-INT", "-TERM"][usize::from(seed % 2 == 1)];
        let bench = Bench::text(SCENARIO);
        let mut child = bench.command(&measuring(&GPU_PROBES)).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(moment);
        if child.try_wait().unwrap().is_none() {
            signal(&child, name);
        }
        let output = wait(child, LIMIT).unwrap_or_else(|| panic!("{name} after {moment:?}: it goes on"));
        let Some(code) = output.status.code() else {
            // So early that the program was not yet its own master: there is nothing to keep.
            assert!(!bench.result().exists(), "{name} after {moment:?}: {:?}", output.status);
            return -1;
        };
        assert!(code == 0 || code == 4, "{name} after {moment:?}: exit {code}: {}", stderr(&output));
        assert_ends(&output, code, "stopped on request");
        if bench.result().exists() {
            let run = record(&bench);
            assert!(run.simulated && run.complete == (code == 0), "{name} after {moment:?}");
            assert!(failures(&run).is_empty(), "{name} after {moment:?}: {:#?}", failures(&run));
        }
        assert_tidy(&bench);
        code
    });
    tell(&format!("{MOMENTS} wishes to stop within {length:?}: exit codes {codes:?}"));
    assert!(codes.contains(&4), "every wish came too early or too late to tell: {codes:?}");
}

#[test]
fn a_wish_to_stop_while_the_driver_hangs_waits_for_it_and_a_second_one_does_not() {
    let start = |seconds: u32| {
        let bench = Bench::text(SCENARIO);
        let mut command = bench.command(&measuring(&["launch", "dram"]));
        command.env(FAULT, format!("cuStreamSynchronize:60:hang={seconds}"));
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        await_file(&bench.result());
        // Long enough for the run to come to the call that hangs.
        std::thread::sleep(Duration::from_millis(1500));
        signal(&child, "-INT");
        (bench, child)
    };
    let (bench, child) = start(3);
    assert_ends(&wait(child, LIMIT).expect("it ends"), 4, "stopped on request");
    assert!(!record(&bench).complete);
    assert_tidy(&bench);

    let (bench, child) = start(600);
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, "-INT");
    let output = wait(child, LIMIT).expect("a second signal ends it at once");
    assert_ends(&output, 4, "stopped");
    assert!(!record(&bench).complete);
}

// Which GPU is meant.

/// What CUDA may see, what the user chose, and the rates that must come out by the program's numbers.
type Choice<'a> = (Option<&'a str>, Option<&'a str>, &'a [(u64, f64)]);

/// The machine with a second GPU that reads at half the rate.
fn uneven() -> String {
    second_with("read_gbs = 1776.0", "read_gbs = 888.0")
}

#[test]
fn the_gpu_that_was_chosen_is_the_one_that_is_measured() {
    const FIRST: &str = "GPU-00000000-0000-0000-0000-000000000001";
    let choices: [Choice<'_>; 8] = [
        (None, None, &[(0, 1776.0), (1, 888.0)]),
        (None, Some("1"), &[(1, 888.0)]),
        (None, Some(SECOND), &[(1, 888.0)]),
        (None, Some(FIRST), &[(0, 1776.0)]),
        (Some("1,0"), None, &[(0, 888.0), (1, 1776.0)]),
        (Some("1,0"), Some("0"), &[(0, 888.0)]),
        (Some("1,0"), Some(FIRST), &[(1, 1776.0)]),
        (Some(SECOND), None, &[(0, 888.0)]),
    ];
    in_parallel(&choices, |(visible, chosen, rates)| {
        let bench = Bench::text(&uneven());
        let mut command = bench.command(&measuring(&["dram", "--identify"]));
        command.envs(visible.map(|visible| ("CUDA_VISIBLE_DEVICES", visible)));
        command.args(chosen.iter().flat_map(|chosen| ["--gpu", chosen]));
        assert_ends(&command.output().unwrap(), 0, "");
        let run = record(&bench);
        let measured: std::collections::BTreeSet<u64> = run.measurements().filter_map(|m| m.case.get_count("gpu")).collect();
        let expected: std::collections::BTreeSet<u64> = rates.iter().map(|(gpu, _)| *gpu).collect();
        assert_eq!(measured, expected, "{visible:?} {chosen:?}");
        for (gpu, rate) in *rates {
            let found = read_rate(&run, *gpu);
            assert!((found / rate - 1.0).abs() < 0.005, "{visible:?} {chosen:?}: GPU {gpu} reads at {found} instead of {rate}");
            let uuid = &run.machine.gpus.iter().find(|facts| u64::from(facts.index) == *gpu).unwrap().uuid;
            assert_eq!(uuid, if *rate > 1000.0 { FIRST } else { SECOND }, "{visible:?} {chosen:?}");
        }
    });
}

#[test]
fn a_gpu_that_is_not_among_the_visible_is_refused() {
    let bench = Bench::text(SCENARIO);
    assert_ends(&bench.run(&measuring(&["--gpu", "2", "dram"])), 2, "expected a number from 0 to 1 but found 2");
    assert_ends(&bench.run(&measuring(&["--gpu", "GPU-ffff", "dram"])), 2, "`GPU-ffff`");
    let hidden =
        |visible: &str, arguments: &[&str]| bench.command(&measuring(arguments)).env("CUDA_VISIBLE_DEVICES", visible).output().unwrap();
    assert_ends(&hidden("0", &["--gpu", SECOND, "dram"]), 2, SECOND);
    assert_ends(&hidden("", &["dram"]), 3, "no GPU");
}

#[test]
fn nvmls_facts_stand_with_their_own_gpu_when_it_counts_in_another_order() {
    let text = second_with("enforced_w = 400.0", "enforced_w = 300.0").replace("cuda = 12040", "cuda = 12040\nnvml_order = [1, 0]");
    let bench = Bench::text(&text);
    for (visible, limits) in [("0,1", [400.0, 300.0]), ("1,0", [300.0, 400.0])] {
        let output = bench.command(&["inspect", "--format", "json"]).env("CUDA_VISIBLE_DEVICES", visible).output().unwrap();
        let found: Vec<f64> = facts(&output).gpus.iter().map(|gpu| gpu.power.enforced.known().unwrap().0).collect();
        assert_eq!(found, limits, "{visible}");
    }
}

#[test]
fn remapped_rows_are_shown() {
    let bench = Bench::text(&second_with("rows = {}", "rows = { corrected = 3, uncorrected = 1, pending = true }"));
    let machine = facts(&bench.run(&["inspect", "--format", "json"]));
    let rows = |gpu: usize| machine.gpus[gpu].remapped_rows.known().unwrap();
    assert_eq!((rows(0).corrected, rows(0).uncorrected, rows(0).pending, rows(0).failed), (0, 0, false, false));
    assert_eq!((rows(1).corrected, rows(1).uncorrected, rows(1).pending, rows(1).failed), (3, 1, true, false));
}

// What others see.

#[test]
fn a_name_with_escape_sequences_does_not_reach_the_terminal() {
    let bench = Bench::text(&with("NVIDIA A100-SXM4-80GB", "NVIDIA \\u001b[31mA100\\u0007\\u009b2J"));
    for arguments in [&["inspect"][..], &measuring(&["launch"]), &["guide", "--calibration", "r.json"]] {
        for format in ["text", "markdown", "csv", "json"] {
            let output = bench.run(&[&["--format", format], arguments].concat());
            assert_ends(&output, 0, "");
            let shown = stdout(&output);
            assert!(shown.contains("A100") || arguments != ["inspect"], "{format}: {shown}");
            let raw = shown.chars().find(|c| c.is_control() && *c != '\n' && *c != '\r');
            assert_eq!(raw, None, "{arguments:?} --format {format}");
        }
    }
}

#[test]
fn a_record_names_neither_the_gpus_nor_the_host_unless_asked_to() {
    let bench = Bench::text(&with("rows = {}", "rows = {}\nserial = \"1650522004242\""));
    let text = |arguments: &[&str]| {
        assert_ends(&bench.run(&measuring(arguments)), 0, "");
        std::fs::read_to_string(bench.result()).unwrap()
    };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
    let anonymous = text(&["launch"]);
    for secret in ["00000000-0000-0000-0000-000000000001", SECOND, "1650522004242", &bench.folder.path().display().to_string()] {
        assert!(!anonymous.contains(secret), "{secret} is on file");
    }
    assert!(host.len() < 5 || !anonymous.contains(&host), "the host's name is on file");
    let identified = text(&["launch", "--identify"]);
    assert!(identified.contains(SECOND) && !identified.contains("1650522004242"));
}

// Files from elsewhere.

#[test]
fn a_damaged_or_hostile_result_file_is_one_line_or_harmless() {
    let bench = Bench::text(SCENARIO);
    assert_ends(&bench.run(&measuring(&["launch", "dram"])), 0, "");
    let good = std::fs::read_to_string(bench.result()).unwrap();
    let guide = |name: &str, content: &[u8]| {
        let path = bench.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        bench.run(&["guide", "--calibration", name])
    };
    assert_ends(&guide("good.json", good.as_bytes()), 0, "");
    assert!(good.contains("\"schema_version\": 1,") && good.contains("\"samples\": ["));
    let deep = ["[".repeat(100_000), "]".repeat(100_000)].concat();
    let bad = [
        (good[..good.len() / 2].to_owned(), "ends too early"),
        (good.replacen("\"schema_version\": 1,", "\"schema_version\": 2,", 1), "update gpu-assay"),
        (good.replacen("\"schema_version\": 1,", "\"schema_version\": -1,", 1), "schema_version"),
        (good.replacen("\"samples\": [", "\"samples\": [-1e-3,", 1), "its numbers cannot come from a measurement"),
        (good.replacen("\"samples\": [", "\"samples\": [1e999,", 1), "bad"),
        (good.replacen("\"samples\": [", "\"samples\": [null,", 1), "bad"),
        (good.replacen("\"launch.kernel/gpu=0\"", "\"launch.kernel/\\u001b[2J\"", 1), "bad"),
        (deep, "bad"),
    ];
    for (index, (content, said)) in bad.iter().enumerate() {
        assert_ends(&guide(&format!("bad{index}.json"), content.as_bytes()), 2, said);
    }
    let endless = bench.run(&["guide", "--calibration", "/dev/zero"]);
    assert_ends(&endless, 2, "/dev/zero");
    assert_ends(&bench.run(&["guide", "--calibration", "."]), 2, "reading .");

    // A byte changed, a part cut out, a digit repeated: refused in one line, or read as what it says, but never more than that.
    let seeds: Vec<u64> = (0..60).collect();
    let refused = in_parallel(&seeds, |&seed| {
        let mut random = SplitMix64(seed);
        let mut bytes = good.clone().into_bytes();
        let mut place = |length: usize| (random.uniform() * length as f64) as usize;
        let at = place(bytes.len());
        match seed % 3 {
            0 => bytes[at] ^= 1 << place(8),
            1 => drop(bytes.drain(at..(at + place(40)).min(good.len()))),
            _ => {
                let digit = (at..bytes.len()).find(|at| bytes[*at].is_ascii_digit()).unwrap_or(0);
                bytes.splice(digit..digit, [b'9'; 30]);
            }
        }
        let output = guide(&format!("seed{seed}.json"), &bytes);
        let code = output.status.code();
        assert!(code == Some(0) || code == Some(2), "seed {seed}: {code:?}: {}", stderr(&output));
        assert_ends(&output, code.unwrap(), "seed");
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b));
        code == Some(2)
    });
    tell(&format!("{} of {} damaged records refused, the others read", refused.iter().filter(|refused| **refused).count(), seeds.len()));
}
