//! The result file: it survives its writer, its reader survives it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::fs;
use std::path::Path;

use gpu_assay::error::Error;
use gpu_assay::machine::Fact;
use gpu_assay::measure::{Outcome, Waiver};
use gpu_assay::record::{EarlierRun, Run, SCHEMA_VERSION, Xid, read_folder, write_atomically};
use proptest::prelude::*;

/// A small complete record, with one outcome of every kind.
fn example() -> String {
    let unknown = serde_json::json!({ "unknown": "not read in this test" });
    serde_json::json!({
        "schema_version": SCHEMA_VERSION,
        "simulated": false,
        "name": "example-1",
        "program": { "version": "0.1.0", "kernels": "none" },
        "started": "2026-01-02T03:04:05Z",
        "settings": { "effort": "quick", "probes": [], "gpus": [], "seed": 1 },
        "machine": {
            "gpus": [], "pairs": [], "libraries": [],
            "driver": { "version": unknown, "cuda_version": unknown, "nvml_version": unknown, "simulated": false },
            "host": {
                "cpu": { "model": "Example 9000", "architecture": "x86_64", "sockets": 1, "cores": 2, "threads": 4, "smt": true,
                         "allowed_threads": 4, "cgroup_cpus": null, "isa": ["avx2"] },
                "numa": unknown,
                "memory": { "total": 1073741824u64, "available": unknown, "cgroup_limit": null, "shm": unknown, "memlock": null },
                "disks": unknown, "kernel": "6.1.0", "os": unknown, "container": "none", "hypervisor": "none"
            }
        },
        "complete": true,
        "outcomes": [
            { "outcome": "measured", "case": "host.triad/cores=2", "work": { "moved": 1000000, "compute": 0.0, "steps": 1 }, "iterations": 3,
              "samples": [0.001, 0.0011, 0.0009], "rejected": [{ "seconds": null, "reason": "not_a_time" }], "stop": "precise", "warmup": 0.1 },
            { "outcome": "observed", "case": "memory.context/gpu=0", "bytes": 4096 },
            { "outcome": "waived", "case": "dram", "waiver": { "why": "no_device", "reason": "no driver" } },
            { "outcome": "failed", "case": "storage.read/bytes=1GiB", "error": "disk on fire", "wrong_answer": false }
        ]
    })
    .to_string()
}

fn parse(text: &str) -> Result<Run, Error> {
    Run::from_json(text, Path::new("test.json"))
}

#[test]
fn a_record_reads_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/example-1.json");
    let run = parse(&example()).unwrap();
    run.write(&path).unwrap();
    assert_eq!(Run::read(&path).unwrap().unsealed(), run);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.trim_start_matches(['{', '\n', ' ']).starts_with("\"schema_version\""), "{}", &text[..80]);
    let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["example-1.json"], "temporary files stay behind");
}

#[test]
fn a_record_of_several_runs_says_which_outcomes_are_whose() {
    let run = |started: &str, gpus: &[u32], cases: &[&str]| {
        let mut run = parse(&example()).unwrap();
        run.started = started.to_owned();
        run.settings.gpus = gpus.to_vec();
        run.outcomes.clear();
        for case in cases {
            run.keep(Outcome::Waived { case: case.parse().unwrap(), waiver: Waiver::OutOfTime });
        }
        run
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let cases = |run: &Run| run.outcomes.iter().map(|outcome| outcome.case().to_string()).collect::<Vec<_>>();

    let mut first = run("monday", &[0, 1], &["dram.read/gpu=0", "dram.read/gpu=1", "copy.h2d/gpu=0", "host.triad"]);
    first.complete = false;
    let second = run("tuesday", &[1], &["copy.h2d/gpu=1"]).after(&first, &names(&["copy"]));
    assert_eq!(cases(&second), ["dram.read/gpu=0", "dram.read/gpu=1", "host.triad", "copy.h2d/gpu=1"]);
    let xids = first.xids.clone();
    let monday = EarlierRun { started: "monday".into(), probes: names(&["dram", "host"]), gpus: vec![0, 1], complete: false, xids };
    assert_eq!(second.earlier, std::slice::from_ref(&monday));
    assert_eq!((second.started.as_str(), &second.settings.gpus), ("tuesday", &vec![1]));
    assert_eq!(parse(&second.to_json().unwrap()).unwrap().unsealed(), second);

    let third = run("wednesday", &[0], &["dram.read/gpu=0"]).after(&second, &names(&["dram"]));
    assert_eq!(cases(&third), ["host.triad", "copy.h2d/gpu=1", "dram.read/gpu=0"]);
    let xids = second.xids.clone();
    let tuesday = EarlierRun { started: "tuesday".into(), probes: names(&["copy"]), gpus: vec![1], complete: true, xids };
    assert_eq!(third.earlier, [EarlierRun { probes: names(&["host"]), ..monday }, tuesday]);

    let fourth = run("thursday", &[0], &["host.triad"]).after(&third, &names(&["dram", "host", "copy"]));
    assert_eq!((fourth.earlier.len(), cases(&fourth)), (0, names(&["host.triad"])));
}

#[test]
fn an_xid_stays_with_the_run_that_saw_it_while_its_case_stands_in_the_record() {
    let seen = |case: &str, code| Xid { gpu: 0, code, case: case.parse().unwrap() };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let codes = |run: &Run| run.every_xid().map(|xid| xid.code).collect::<Vec<_>>();
    let run = |case: &str, xids: &[Xid]| {
        let mut run = parse(&example()).unwrap();
        run.outcomes = vec![Outcome::Waived { case: case.parse().unwrap(), waiver: Waiver::OutOfTime }];
        run.xids = Fact::Known(xids.to_vec());
        run
    };
    let mut first = run("dram.read/gpu=0", &[seen("dram.read/gpu=0", 48), seen("copy.h2d/gpu=0", 79)]);
    first.keep(Outcome::Waived { case: "copy.h2d/gpu=0".parse().unwrap(), waiver: Waiver::OutOfTime });
    let second = run("copy.h2d/gpu=0", &[seen("copy.h2d/gpu=0", 31)]).after(&first, &names(&["copy"]));
    assert_eq!(codes(&second), [48, 31]);
    assert_eq!(parse(&second.to_json().unwrap()).unwrap().unsealed(), second);
    let third = run("dram.read/gpu=0", &[]).after(&second, &names(&["dram"]));
    assert_eq!(codes(&third), [31]);
}

#[test]
fn a_record_from_before_xids_were_listened_for_does_not_say_that_there_were_none() {
    let run = parse(&example()).unwrap();
    assert!(run.xids.why().unwrap().contains("did not listen"), "{:?}", run.xids);
    let silent = example().replacen("\"complete\":true", "\"complete\":true,\"xids\":[]", 1);
    assert_eq!(parse(&silent).unwrap().xids, Fact::Known(vec![]));
}

#[test]
fn samples_read_back_to_the_last_bit() {
    // A number that a reader who rounds twice gets wrong.
    let run = parse(&example().replace("0.0011", "0.179149928")).unwrap();
    assert_eq!(run.measurements().next().unwrap().samples[1], 0.179149928);
    assert_eq!(parse(&run.to_json().unwrap()).unwrap().unsealed(), run);
}

#[test]
fn what_is_not_a_record_is_refused_in_one_clear_line() {
    let newer = example().replacen(&format!("\"schema_version\":{SCHEMA_VERSION}"), "\"schema_version\":999", 1);
    let negative = example().replace("0.0011", "-0.0011");
    let twice = example().replace("memory.context/gpu=0", "host.triad/cores=2");
    let escaping = example().replace("\"name\":\"example-1\"", "\"name\":\"../../etc/passwd\"");
    let traced = |trace: &str| example().replacen("\"warmup\":0.1", &format!("\"warmup\":0.1,\"trace\":{trace}"), 1);
    let (gap, often) =
        (traced(r#"[{"looks":1},{"looks":1}]"#), traced(r#"[{"looks":1,"throttled":{"sw_power_cap":2}},{"looks":1},{"looks":1}]"#));
    let deep = "[".repeat(100_000);
    for (text, said) in [
        ("", "test.json: the file ends too early"),
        (&example()[..example().len() / 2], "test.json: the file ends too early"),
        ("{}", "no schema_version, so not a result file"),
        ("[1, 2]", "no schema_version, so not a result file"),
        (&newer, "schema version 999, but this program knows versions up to 1; update gpu-assay"),
        (&negative, "host.triad/cores=2 has a sample that is no positive time"),
        (&twice, "host.triad/cores=2 stands in it twice"),
        (&gap, "host.triad/cores=2 has 2 points for 3 samples"),
        (&often, "host.triad/cores=2 was held back more often than it was looked at"),
        (&escaping, "the machine's name is not one of letters, digits, - and _"),
        (&deep, "recursion limit"),
    ] {
        let error = parse(text).unwrap_err();
        let shown = error.to_string();
        assert!(shown.contains(said), "{shown}");
        assert!(!shown.contains('\n'), "{shown}");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn schema_version_zero_was_never_written() {
    let text = example().replacen(&format!("\"schema_version\":{SCHEMA_VERSION}"), "\"schema_version\":0", 1);
    assert!(parse(&text).unwrap_err().to_string().contains("schema version 0 was never written by any release"));
}

#[test]
fn a_huge_file_is_not_read_into_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.json");
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(Run::read(&path).unwrap_err().to_string().contains("larger than 64 MiB"));
}

#[test]
fn a_failed_write_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.json");
    write_atomically(&path, b"old").unwrap();
    // A folder where the file should be renamed to: the rename fails after the temporary file was written.
    let blocked = folder.path().join("blocked.json");
    fs::create_dir_all(blocked.join("inside")).unwrap();
    let error = write_atomically(&blocked, b"new").unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().starts_with("writing "), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "a temporary file stays behind: {names:?}");
}

#[test]
fn a_folder_lists_bad_files_too() {
    let folder = tempfile::tempdir().unwrap();
    parse(&example()).unwrap().write(&folder.path().join("a.json")).unwrap();
    fs::write(folder.path().join("b.json"), "{").unwrap();
    fs::write(folder.path().join("schema.json"), "{}").unwrap();
    fs::write(folder.path().join("notes.txt"), "").unwrap();
    let read = read_folder(folder.path());
    assert_eq!(read.len(), 2);
    assert!(read[0].1.is_ok() && read[1].1.is_err());
}

#[test]
fn the_committed_schema_is_the_one_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/schema.json");
    let schema = Run::schema().unwrap();
    if std::env::var_os("GPU_ASSAY_UPDATE").is_some() {
        fs::write(&path, &schema).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == schema, "results/schema.json is not what the types say; run the tests with GPU_ASSAY_UPDATE=1 to rewrite it");
}

#[test]
fn the_example_follows_the_schema_it_claims() {
    let schema: serde_json::Value = serde_json::from_str(&Run::schema().unwrap()).unwrap();
    let required: Vec<&str> = schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let run: serde_json::Value = serde_json::from_str(&parse(&example()).unwrap().to_json().unwrap()).unwrap();
    for name in required {
        assert!(run.get(name).is_some(), "{name} is required and not written");
    }
    for name in run.as_object().unwrap().keys() {
        assert!(schema["properties"].get(name).is_some(), "{name} is written and not in the schema");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_mutated_record_never_panics_the_reader(position: prop::sample::Index, byte: u8, cut: prop::sample::Index, truncate: bool) {
        let mut bytes = example().into_bytes();
        let at = position.index(bytes.len());
        bytes[at] = byte;
        if truncate {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(text) = String::from_utf8(bytes)
            && let Ok(run) = parse(&text)
        {
            // What was accepted can be written and read again.
            prop_assert_eq!(parse(&run.to_json().unwrap()).unwrap().unsealed(), run);
        }
    }
}
