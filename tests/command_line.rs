//! The real program as a script sees it: exit codes, one line per error, nothing half-written. No GPU is needed for any of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use gpu_assay::record::Run;

/// The program in a folder of its own: results, lock and home are nobody else's.
fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gpu-assay"));
    command
        .current_dir(folder)
        .env("TMPDIR", folder)
        .env("HOME", folder)
        .env_remove("XDG_DATA_HOME")
        .env_remove("LD_LIBRARY_PATH")
        .stdin(Stdio::null())
        .arg("--no-progress");
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    program(folder).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Asserts that the call ended with `code` and exactly one line on standard error that contains `said`.
#[track_caller]
fn assert_error(output: &Output, code: i32, said: &str) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(said), "{stderr}");
    assert!(stderr.starts_with("gpu-assay: ") && stderr.trim_end().lines().count() == 1, "not one line: {stderr}");
}

#[test]
fn version_and_help_go_to_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let version = run(folder.path(), &["--version"]);
    assert_eq!(text(&version.stdout), format!("gpu-assay {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(version.status.code(), Some(0));
    let help = run(folder.path(), &["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for command in ["run", "inspect", "measure", "selftest", "guide", "report"] {
        assert!(text(&help.stdout).contains(&format!("  {command} ")), "--help does not name {command}");
    }
    assert!(help.stderr.is_empty());
}

#[test]
fn a_wrong_call_is_one_line_and_exit_2() {
    let folder = tempfile::tempdir().unwrap();
    assert_error(&run(folder.path(), &["--frobnicate"]), 2, "unexpected argument '--frobnicate'");
    assert_error(&run(folder.path(), &["frobnicate"]), 2, "frobnicate");
    assert_error(&run(folder.path(), &["measure", "--effort", "heroic"]), 2, "invalid value 'heroic'");
    assert_error(&run(folder.path(), &["measure", "warp-drive"]), 2, "unknown probe \"warp-drive\"; the probes are ");
    assert_error(&run(folder.path(), &["guide", "B.17"]), 2, "B.17");
}

#[test]
fn a_gpu_that_is_not_there_is_exit_3() {
    let folder = tempfile::tempdir().unwrap();
    assert_error(&run(folder.path(), &["measure", "--gpu", "0"]), 3, "looking for GPU 0");
    assert_error(&run(folder.path(), &["selftest"]), 3, "no GPU");
}

#[test]
fn probes_without_a_gpu_are_waived_and_exit_3_when_nothing_else_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["measure", "dram", "-o", "r.json"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let record = Run::read(&folder.path().join("r.json")).unwrap();
    assert_eq!(record.outcomes.len(), 1);
    assert!(matches!(record.outcomes[0], gpu_assay::measure::Outcome::Waived { .. }));
}

#[test]
fn a_results_folder_that_cannot_be_written_is_found_before_measuring() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let start = Instant::now();
    assert_error(&run(folder.path(), &["measure", "host", "--results", "file/results"]), 2, "writing file/results");
    // Generous: what matters is that it did not first measure for its full time.
    assert!(start.elapsed() < Duration::from_secs(5), "it measured first");
    let full = run(folder.path(), &["measure", "host", "-o", "/dev/full/r.json"]);
    assert_error(&full, 2, "/dev/full");
}

#[test]
fn bad_result_files_are_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    for (content, said) in [
        ("", "the file ends too early"),
        ("{\"schema_version\": 1", "the file ends too early"),
        ("{\"schema_version\": 4000}", "update gpu-assay"),
        ("\u{1b}[31mred", "not JSON"),
        ("{\"schema_version\": 1, \"\u{7}\": 0}", "reading bad.json"),
    ] {
        fs::write(folder.path().join("bad.json"), content).unwrap();
        let output = run(folder.path(), &["guide", "--calibration", "bad.json"]);
        assert_error(&output, 2, said);
        assert!(!output.stderr.contains(&0x1b), "an escape sequence reached the terminal");
    }
    assert_error(&run(folder.path(), &["guide", "--calibration", "absent.json"]), 2, "reading absent.json");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [["guide", "--format", "markdown"], ["inspect", "--format", "json"]] {
        let mut child = program(folder.path()).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    }
}

#[test]
fn inspect_without_a_gpu_is_done_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["inspect"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.contains("libcuda"), "{shown}");
    let json = run(folder.path(), &["inspect", "--format", "json"]);
    let machine: gpu_assay::machine::Machine = serde_json::from_slice(&json.stdout).unwrap();
    assert!(machine.gpus.is_empty() && !machine.driver.simulated);
    assert!(machine.driver.version.why().is_some());
    assert!(machine.host.memory.total.known().is_some());
}

#[test]
fn the_host_is_measured_without_a_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["measure", "host", "storage", "--effort", "quick", "-o", "r.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let record = Run::read(&folder.path().join("r.json")).unwrap();
    assert!(record.complete && !record.simulated);
    let triad = record.of("host.triad").next().expect("a triad was measured");
    let rate = triad.bandwidth().unwrap();
    assert!(rate.low <= rate.point && rate.point <= rate.high && rate.point > 1e8, "{rate:?}");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "r.json" || name == "gpu-assay.lock"), "left behind: {left:?}");
}

#[test]
fn two_runs_at_once_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let lock = fs::File::create(folder.path().join("gpu-assay.lock")).unwrap();
    lock.try_lock().unwrap();
    assert_error(&run(folder.path(), &["measure", "host"]), 3, "another gpu-assay is measuring on this machine");
}

#[test]
fn an_interrupt_ends_the_run_within_moments_and_keeps_what_was_finished() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.json");
    let mut child = program(folder.path())
        .args(["measure", "host", "storage", "--effort", "thorough", "-o", "r.json"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    // Once a case is on file there is something to keep.
    while Run::read(&path).map_or(true, |record| record.outcomes.is_empty()) {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing was finished in a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let status = child.wait().unwrap();
    let mut stderr = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut stderr).unwrap();
    assert_eq!(status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("stopped on request; the finished probes are kept"), "{stderr}");
    let record = Run::read(&path).unwrap();
    assert!(!record.complete && !record.outcomes.is_empty());
}

#[test]
fn a_run_of_one_probe_keeps_what_the_others_measured() {
    let folder = tempfile::tempdir().unwrap();
    let measure = |probe: &str, seed: &str| {
        let output = run(folder.path(), &["measure", probe, "--effort", "quick", "--time", "1 s", "--seed", seed, "--results", "r"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    };
    let files = || {
        let mut names: Vec<_> = fs::read_dir(folder.path().join("r")).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    };
    measure("host", "1");
    measure("storage", "1");
    let [record] = &files()[..] else { panic!("{:?}", files()) };
    let families =
        |run: &Run| run.outcomes.iter().map(|outcome| outcome.case().family().to_owned()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(families(&Run::read(record).unwrap()).into_iter().collect::<Vec<_>>(), ["host", "storage"]);

    let earlier = Run::read(record).unwrap().earlier;
    assert!(earlier.len() == 1 && earlier[0].probes == ["host"] && earlier[0].complete, "{earlier:?}");

    measure("host", "2");
    let [record, old] = &files()[..] else { panic!("{:?}", files()) };
    assert_eq!(families(&Run::read(record).unwrap()).into_iter().collect::<Vec<_>>(), ["host"], "other conditions do not mix");
    assert_eq!(families(&Run::read(old).unwrap()).into_iter().collect::<Vec<_>>(), ["host", "storage"], "and are not lost");
}
