//! What other programs are handed is what they can read, and the page of the published records is what the program writes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{stderr, stdout, tell};

/// Reads OpenMetrics with Prometheus's own strict parser, prints how many gauges there are, and one label value.
const PROMETHEUS: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
families = list(parse(sys.stdin.read()))
print(len(families), sum(len(family.samples) for family in families))
for family in families:
    for sample in family.samples:
        print(sample.name, sorted(sample.labels.items()), sample.value)
";

/// Reads JUnit XML as CI systems' tools do, prints counts and the first failure.
const JUNIT: &str = "
import sys
from junitparser import JUnitXml
suites = JUnitXml.fromstring(sys.stdin.buffer.read())
cases = [case for suite in suites for case in suite]
failed = [case for case in cases if any(type(one).__name__ == 'Failure' for one in case.result)]
print(suites.tests, suites.failures, len(cases), len(failed), failed[0].classname, '|', failed[0].result[0].message)
";

/// Reads YAML as aiconfigurator does.
const YAML: &str = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn h200() -> PathBuf {
    root().join("tests/records/h200-standin.json")
}

fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gpu-assay")).current_dir(root()).args(arguments).output().unwrap()
}

fn exported(record: &Path, to: &str) -> String {
    let output = program(&["export", record.to_str().unwrap(), "--to", to]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output)
}

/// What `script` prints about `text`, by the first Python that has the package; says so and is `None` where there is none.
fn by_python(package: &str, script: &str, text: &str) -> Option<String> {
    let own = root().join("target/kernel-tools/bin/python");
    let has = |python: &Path| {
        Command::new(python).args(["-c", &format!("import {package}")]).output().is_ok_and(|output| output.status.success())
    };
    let Some(python) = [own, PathBuf::from("python3")].into_iter().find(|python| has(python)) else {
        tell(&format!("not checked: no Python here has {package}; install tests/requirements.txt"));
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    fs::write(&input, text).unwrap();
    let output = Command::new(python).args(["-c", script]).stdin(fs::File::open(input).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}\n{text}", stderr(&output));
    Some(stdout(&output))
}

#[test]
fn openmetrics_are_what_prometheus_reads() {
    let text = exported(&h200(), "openmetrics");
    assert!(text.ends_with("# EOF\n"));
    for name in
        ["dram_bytes_per_second", "matmul_flops_per_second", "copy_bytes_per_second", "launch_seconds", "host_memory_bytes_per_second"]
    {
        assert!(text.contains(&format!("# TYPE gpu_assay_{name} gauge\n")), "{name} is missing in\n{text}");
    }
    let Some(read) = by_python("prometheus_client", PROMETHEUS, &text) else { return };
    let samples = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(read.lines().next().unwrap().ends_with(&format!(" {samples}")), "{samples} samples were written\n{read}");
}

#[test]
fn a_hostile_name_ends_neither_a_label_nor_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.json");
    let text = fs::read_to_string(h200()).unwrap();
    fs::write(&path, text.replacen("NVIDIA H200", "a\\\"} 1\\n# EOF\\n\\\\", 1)).unwrap();
    let text = exported(&path, "openmetrics");
    assert_eq!(text.matches("# EOF\n").count(), 1, "{text}");
    if let Some(read) = by_python("prometheus_client", PROMETHEUS, &text) {
        assert!(read.contains(r#"a"} 1 # EOF \\"#), "{read}");
    }
    let system = exported(&path, "aiconfigurator");
    by_python("yaml", YAML, &system);
}

#[test]
fn a_system_file_has_the_fields_of_one() {
    let text = exported(&h200(), "aiconfigurator");
    for key in ["mem_bw", "mem_bw_empirical_scaling_factor", "mem_capacity", "bfloat16_tc_flops", "fp8_tc_flops"] {
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{key}:"))).unwrap_or_else(|| panic!("{key}\n{text}"));
        assert!(line.contains(" # "), "{line} does not say where it is from");
    }
    assert!(text.contains("  sm_version: 90 "), "{text}");
    assert!(text.lines().any(|line| line.starts_with("  inter_node_bw: ") && line.contains("not measured: assumed")), "{text}");
    let Some(read) = by_python("yaml", YAML, &text) else { return };
    let read: serde_json::Value = serde_json::from_str(&read).unwrap();
    let numbers = [
        ("/gpu/mem_bw", 4.8e12, 4.8e12),
        ("/gpu/mem_bw_empirical_scaling_factor", 0.7, 1.0),
        ("/gpu/mem_empirical_constant_latency", 1e-7, 1e-4),
        ("/gpu/mem_capacity", 1.4e11, 1.6e11),
        ("/gpu/bfloat16_tc_flops", 4e14, 1e15),
        ("/gpu/int8_tc_flops", 1.9e15, 2e15),
        ("/gpu/fp8_tc_flops", 8e14, 2e15),
        ("/gpu/power", 700.0, 700.0),
        ("/gpu/sm_version", 90.0, 90.0),
        ("/node/num_gpus_per_node", 1.0, 1.0),
        ("/node/inter_node_bw", 5e10, 5e10),
        ("/node/intra_node_bw", 4.5e11, 4.5e11),
        ("/node/pcie_bw", 2e10, 6.4e10),
        ("/node/p2p_latency", 1e-5, 1e-5),
        ("/misc/nccl_mem/1", 0.0, 0.0),
        ("/misc/other_mem", 1e6, 2e9),
    ];
    for (path, low, high) in numbers {
        let value = read.pointer(path).and_then(serde_json::Value::as_f64).unwrap_or_else(|| panic!("{path} is no number\n{text}"));
        assert!((low..=high).contains(&value), "{path} is {value}");
    }
}

#[test]
fn a_machine_without_a_gpu_is_no_system() {
    let record = root().join("results/epyc-2c-24g-3482a8.json");
    let output = program(&["export", record.to_str().unwrap(), "--to", "aiconfigurator"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("the record has no GPU"), "{}", stderr(&output));
    assert!(exported(&record, "openmetrics").contains("gpu_assay_storage_bytes_per_second{"));
}

#[test]
fn the_page_of_the_published_records_is_what_the_program_writes() {
    let folder = tempfile::tempdir().unwrap();
    let page = root().join("results/README.md");
    let published = fs::read_to_string(&page).unwrap();
    // What a run on this machine has left beside them is nobody's claim.
    let names = published.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(name, _)| name);
    for name in names.filter(|name| name.ends_with(".json")) {
        fs::copy(root().join("results").join(name), folder.path().join(name)).unwrap();
    }
    let written = folder.path().join("README.md");
    let output = program(&["records", folder.path().to_str().unwrap(), "-o", written.to_str().unwrap()]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    let text = fs::read_to_string(written).unwrap();
    if std::env::var_os("GPU_ASSAY_UPDATE").is_some() {
        fs::write(&page, &text).unwrap();
    }
    assert!(
        text == published,
        "results/README.md is not what `records` writes; run the tests with GPU_ASSAY_UPDATE=1 to rewrite it\n{text}"
    );
}

#[test]
fn records_show_shares_of_the_datasheet_and_name_what_they_leave_out() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(h200(), folder.path().join("h200.json")).unwrap();
    fs::write(folder.path().join("broken.json"), "{").unwrap();
    let output = program(&["records", folder.path().to_str().unwrap(), "--format", "json"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("left out: reading") && stderr(&output).contains("broken.json"), "{}", stderr(&output));
    let table: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    let row = &table["rows"][0];
    for share in ["dram_copy", "bf16"] {
        assert!((0.4..1.0).contains(&row[share]["value"].as_f64().unwrap()), "{share} of {row}");
    }
    assert_eq!(row["gpus"], "NVIDIA H200 (SIMULATED)");
    assert_eq!(row["digest"], "absent");
    assert_eq!(program(&["records", "/nowhere/at/all"]).status.code(), Some(2));
}

#[test]
fn junit_is_what_ci_systems_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("checks.xml");
    let (record, results) = (h200(), folder.path().join("none"));
    let paths = [record.to_str().unwrap(), file.to_str().unwrap(), results.to_str().unwrap()];
    let output = program(&["validate", "--expect", "H100 SXM", "--record", paths[0], "--junit", paths[1], "--results", paths[2]]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let Some(read) = by_python("junitparser", JUNIT, &fs::read_to_string(&file).unwrap()) else { return };
    let words: Vec<&str> = read.split_whitespace().collect();
    // Tests and failures as the file counts them, and as there are.
    assert_eq!((words[0], words[1]), (words[2], words[3]), "{read}");
    assert_eq!((words[1], words[4]), ("2", "gpu.name"), "{read}");
    assert!(read.contains("seen H200 SXM; expected H100 SXM"), "{read}");
}
