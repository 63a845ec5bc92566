//! `compare`: machines as the stand-in has them, and files as anybody may hand them over.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{Bench, in_parallel, measured, scenario, stderr, stdout, tell};
use gpu_assay::catalog::Catalog;
use gpu_assay::lang::Lang;
use gpu_assay::record::Run;
use gpu_assay::verdict::{Answer, Comparison, Entrant, THRESHOLD, Terms, compare};

/// Two unlike GPUs with links that differ. Half a percent of noise is in every duration.
const SCENARIO: &str = include_str!("scenarios/slow.toml");
const NOISE: f64 = 0.005;

/// Probes and the virtual time they get: enough for samples of several pieces of work, which is what makes 3 % visible in nine samples.
const RUNS: [(&str, &[&str]); 2] = [("15 s", &["dram", "matmul", "copy", "launch"]), ("8 s", &["peer"])];

const SEEDS: u64 = 100;

/// Of a hundred pairs of records so many must be told right in every headline metric.
const LEAST: usize = 95;

/// The scenario without computed products, with noise, at `speed` times its rates.
fn machine(speed: f64) -> String {
    let mut scenario: toml::Table = toml::from_str(&SCENARIO.replacen("[driver]", "[driver]\nproducts = false", 1)).unwrap();
    at_speed(&mut scenario, speed);
    scenario["noise"]["sigma"] = toml::Value::Float(NOISE);
    toml::to_string(&scenario).unwrap()
}

/// Multiplies every rate and divides every time.
fn at_speed(table: &mut toml::Table, speed: f64) {
    for (key, value) in table.iter_mut() {
        let factor = match key.rsplit('_').next() {
            Some("gbs" | "tflops") => speed,
            Some("us" | "ns") => 1.0 / speed,
            _ => 1.0,
        };
        match value {
            toml::Value::Float(number) => *number *= factor,
            toml::Value::Table(inner) => at_speed(inner, speed),
            toml::Value::Array(inner) => inner.iter_mut().filter_map(toml::Value::as_table_mut).for_each(|inner| at_speed(inner, speed)),
            _ => {}
        }
    }
}

/// The machine's record with this seed; its runs are put together as the program does with those in its results folder.
fn recorded(scenario: &str, seed: u64) -> Run {
    let [first, second] = RUNS.map(|(time, probes)| {
        let bench = Bench::text(scenario);
        let arguments = [&["measure", "--effort", "quick", "--time", time, "-o", "r.json"], probes].concat();
        let output = bench.command(&arguments).env(gpu_assay_standin::SEED, seed.to_string()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "seed {seed}: {}", stderr(&output));
        let mut run = Run::read(&bench.result()).unwrap();
        run.started = format!("seed {seed}");
        run
    });
    second.after(&first, &second.settings.probes)
}

fn compared(before: &Run, after: &Run, catalog: &Catalog) -> Comparison {
    let entrant = |run| Entrant { file: "r.json".to_owned(), run, price: None };
    let terms = Terms { baseline: 0, threshold: THRESHOLD, others: &[], catalog, wanted: &[], lang: Lang::En };
    compare(&[entrant(before), entrant(after)], &terms)
}

/// The headline's answers about the second record.
fn answers(comparison: &Comparison) -> Vec<(&str, Answer)> {
    comparison.metrics.iter().map(|row| (row.id.as_str(), row.entries[1].answer.unwrap())).collect()
}

/// How many comparisons say `expected` of every metric, told metric by metric.
fn told(what: &str, comparisons: &[Comparison], expected: Answer) -> usize {
    let mut by_metric: BTreeMap<&str, usize> = BTreeMap::new();
    for (id, answer) in comparisons.iter().flat_map(answers) {
        *by_metric.entry(id).or_default() += usize::from(answer == expected);
    }
    let all = comparisons.iter().filter(|one| answers(one).iter().all(|(_, answer)| *answer == expected)).count();
    tell(&format!("{what}: {} in all of {} metrics in {all} of {} comparisons", expected.word(), by_metric.len(), comparisons.len()));
    for (id, count) in by_metric {
        tell(&format!("    {id}: {count}"));
    }
    all
}

#[test]
fn a_machine_is_the_same_as_itself_and_a_slower_one_slower() {
    let catalog = Catalog::embedded().unwrap();
    let seeds: Vec<u64> = (1..=SEEDS + 1).collect();
    let (usual, slower) = (machine(1.0), machine(0.97));
    let runs = in_parallel(&seeds, |seed| recorded(&usual, *seed));
    let slow = in_parallel(&seeds[..SEEDS as usize], |seed| recorded(&slower, 1000 + seed));

    let itself: Vec<Comparison> = runs.windows(2).map(|pair| compared(&pair[0], &pair[1], &catalog)).collect();
    let other: Vec<Comparison> = runs.iter().zip(&slow).map(|(before, after)| compared(before, after, &catalog)).collect();
    assert!(itself[0].metrics.len() > 20, "few metrics: {:?}", answers(&itself[0]));
    let same = told("a machine with itself", &itself, Answer::Same);
    let slower = told("a machine with one that is 3 % slower", &other, Answer::Slower);
    assert!(same >= LEAST && slower >= LEAST, "{same} same, {slower} slower");

    // Held against the slower one, the usual one is as much faster.
    for ((before, after), there) in runs.iter().zip(&slow).zip(&other).take(5) {
        let back = compared(after, before, &catalog);
        for (there, back) in there.metrics.iter().zip(&back.metrics) {
            let [there, back] = [there, back].map(|row| row.entries[1].change.as_ref().unwrap());
            for (one, other) in [(there.value, back.value), (there.low, back.high), (there.high, back.low)] {
                assert!(((1.0 + one) * (1.0 + other) - 1.0).abs() < 1e-9, "{there:?} {back:?}");
            }
        }
        assert!(
            answers(&back).iter().zip(answers(there)).all(|((_, back), (_, there))| (*back == Answer::Faster) == (there == Answer::Slower))
        );
    }
}

/// A folder with records to compare, and the program in it.
struct Folder {
    bench: Bench,
}

impl Folder {
    fn new() -> Self {
        Self { bench: Bench::named("no-gpu") }
    }

    fn keep(&self, name: &str, run: &Run) -> String {
        run.write(&self.bench.folder.path().join(name)).unwrap();
        name.to_owned()
    }

    /// Exit code and what was printed, with one line of error at most.
    fn compare(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.bench.run(&[&["compare", "--results", "none"], arguments].concat());
        let said = stderr(&output);
        assert!(said.lines().count() <= 1, "{said}");
        (output.status.code().unwrap(), stdout(&output) + &said)
    }
}

fn kept(name: &str) -> Run {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records").join(name);
    Run::read(&path).unwrap()
}

/// The same record with other times, of another run.
fn at(run: &Run, factor: f64) -> Run {
    let mut other = run.clone();
    other.started = format!("{} times {factor}", run.started);
    for outcome in &mut other.outcomes {
        if let gpu_assay::measure::Outcome::Measured(measurement) = outcome {
            measurement.samples.iter_mut().for_each(|seconds| *seconds *= factor);
        }
    }
    other
}

#[test]
fn the_gate_tells_scripts_what_they_asked_for() {
    let folder = Folder::new();
    let mut usual = kept("h200-standin.json");
    // The host's disk had too few samples to tell anything.
    usual.outcomes.retain(|outcome| !["host", "storage"].contains(&outcome.case().family()));
    folder.keep("a.json", &usual);
    folder.keep("same.json", &at(&usual, 1.001));
    folder.keep("slow.json", &at(&usual, 1.05));
    let mut few = at(&usual, 1.05);
    few.outcomes.retain(|outcome| outcome.case().family() != "launch");
    folder.keep("few.json", &few);
    for outcome in &mut few.outcomes {
        if let gpu_assay::measure::Outcome::Measured(measurement) = outcome {
            measurement.samples.truncate(5);
        }
    }
    folder.keep("short.json", &few);
    for (arguments, code) in [
        (vec!["a.json", "slow.json"], 0),
        (vec!["a.json", "same.json", "--fail-on", "slower", "--fail-on", "unclear", "--fail-on", "missing"], 0),
        (vec!["a.json", "slow.json", "--fail-on", "slower"], 1),
        (vec!["a.json", "slow.json", "--fail-on", "slower", "--threshold", "6 %"], 0),
        (vec!["a.json", "same.json", "slow.json", "--fail-on", "slower"], 1),
        (vec!["a.json", "slow.json", "--baseline", "slow.json", "--fail-on", "slower"], 0),
        (vec!["a.json", "few.json", "--fail-on", "missing"], 1),
        (vec!["a.json", "few.json", "--fail-on", "missing", "--metric", "dram"], 0),
        (vec!["a.json", "short.json", "--fail-on", "slower"], 5),
        (vec!["a.json", "short.json", "--fail-on", "unclear"], 1),
        (vec!["a.json", "slow.json", "--fail-on", "slower", "--metric", "cache.latency"], 1),
    ] {
        let (found, said) = folder.compare(&arguments);
        assert_eq!(found, code, "{arguments:?}: {said}");
    }
}

#[test]
fn a_wrong_call_is_one_line_that_says_what_to_do() {
    let folder = Folder::new();
    let usual = kept("h200-standin.json");
    folder.keep("a.json", &usual);
    folder.keep("b.json", &at(&usual, 1.01));
    folder.keep("real.json", &kept("small-vm.json"));
    std::fs::write(folder.bench.folder.path().join("broken.json"), "{").unwrap();
    let many = vec!["a.json"; 65];
    for (arguments, said) in [
        (vec!["a.json"], "expected 2 to 64 result files but found 1"),
        (many, "found 65"),
        (vec!["a.json", "absent.json"], "absent.json"),
        (vec!["a.json", "broken.json"], "ends too early"),
        (vec!["a.json", "real.json"], "--mix-simulated"),
        (vec!["a.json", "b.json", "--metric", "warp"], "the metrics are dram.add"),
        (vec!["a.json", "b.json", "--threshold", "0"], "percentage"),
        (vec!["a.json", "b.json", "--price", "1"], "expected 2 prices"),
    ] {
        let (code, found) = folder.compare(&arguments);
        assert_eq!((code, found.contains(said)), (2, true), "{arguments:?}: {found}");
    }
}

#[test]
fn what_one_record_lacks_is_missing_with_the_reason() {
    let folder = Folder::new();
    folder.keep("vm.json", &kept("small-vm.json"));
    folder.keep("h200.json", &kept("h200-standin.json"));
    let (code, text) = folder.compare(&["vm.json", "h200.json", "--mix-simulated", "--format", "json"]);
    assert_eq!(code, 0, "{text}");
    let comparison: serde_json::Value = serde_json::from_str(&text).unwrap();
    let row = comparison["metrics"].as_array().unwrap().iter().find(|row| row["id"] == "dram.read").unwrap();
    assert_eq!(row["entries"][1]["answer"], "MISSING");
    assert!(row["entries"][1]["reason"].as_str().unwrap().starts_with("no GPU"), "{row}");
    assert!(comparison["conditions"].as_array().unwrap().iter().any(|condition| condition["id"] == "simulated"));
    assert_eq!(comparison["threshold"], 0.02);
}

#[test]
fn names_out_of_a_file_cannot_command_a_terminal_and_output_stays_bounded() {
    let folder = Folder::new();
    let mut usual = kept("h200-standin.json");
    usual.machine.gpus[0].name = format!("\u{1b}[2J|=cmd()\u{202e}{}", "x".repeat(100_000));
    usual.started = "\u{9b}31m\n\n".to_owned();
    folder.keep("a.json", &usual);
    folder.keep("b.json", &at(&usual, 1.1));
    for format in ["text", "markdown", "csv", "json"] {
        for lang in ["en", "ko"] {
            let (code, text) = folder.compare(&["a.json", "b.json", "--all", "--format", format, "--lang", lang]);
            assert_eq!(code, 0);
            assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}']) && text.len() < 1_000_000, "{format}: {} bytes", text.len());
        }
    }
}

#[test]
fn other_machines_of_the_model_widen_the_margin_and_the_output_says_so() {
    let folder = Folder::new();
    let mut usual = kept("h200-standin.json");
    let results = folder.bench.folder.path().join("results");
    let mut named = |name: &str, factor: f64| {
        usual.name = name.to_owned();
        at(&usual, factor)
    };
    for (name, factor) in [("one", 1.0), ("two", 1.06)] {
        named(name, factor).write(&results.join(format!("{name}.json"))).unwrap();
    }
    std::fs::write(results.join("broken.json"), "{").unwrap();
    folder.keep("a.json", &named("a", 1.0));
    folder.keep("b.json", &named("b", 1.04));
    let arguments = ["compare", "a.json", "b.json", "--metric", "dram.read", "--fail-on", "slower", "--results"];
    let alone = folder.bench.run(&[&arguments[..], &["none"]].concat());
    assert_eq!(alone.status.code(), Some(1), "{}", stdout(&alone));
    let among = folder.bench.run(&[&arguments[..], &["results"]].concat());
    let text = stdout(&among);
    assert_eq!(among.status.code(), Some(0), "{text}");
    assert!(text.contains("SAME") && text.contains("2 other machines with H200") && text.contains("broken.json"), "{text}");
}

#[test]
fn machines_of_two_gpus_are_as_fast_as_their_slower_one() {
    let (_bench, run) = measured(&scenario("a100-pcie-2x-one-x8"), &["--effort", "quick", "--time", "200 ms", "copy", "peer"]);
    let comparison = compared(&run, &at(&run, 1.0), &Catalog::embedded().unwrap());
    let row = comparison.metrics.iter().find(|row| row.id == "copy.h2d").unwrap();
    let each: Vec<f64> =
        comparison.gpus.iter().filter(|row| row.id == "copy.h2d").map(|row| row.entries[0].reading.as_ref().unwrap().value).collect();
    let slowest = row.entries[0].reading.as_ref().unwrap().value;
    assert_eq!((each.len(), slowest), (2, each.iter().copied().fold(f64::INFINITY, f64::min)));
    assert!(slowest < 0.6 * each.iter().copied().fold(0.0, f64::max), "{each:?}");
    assert!(comparison.metrics.iter().any(|row| row.id == "peer.write.ce.worst"));
}
