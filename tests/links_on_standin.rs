//! Links between GPUs come out at the scenario's rates, and the guide, estimates and plans change with them, in the numbers that depend on
//! them and in no others.
#![allow(clippy::unwrap_used)] // A failed expectation is a failed test, also in a test's own helpers.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Bench, full_size, measured, scenario, stderr};
use gpu_assay::calibrate::{Calibration, PeerRates};
use gpu_assay::figure::Figure;
use gpu_assay::record::Run;
use gpu_assay::units::{Bytes, BytesPerSecond};
use gpu_assay_standin::scenario::Link;
use serde_json::Value;

/// Largest error of a calibrated rate where the scenario has no noise.
const TOLERANCE: f64 = 0.01;

#[track_caller]
fn close(what: &str, found: f64, truth: f64) {
    assert!((found / truth - 1.0).abs() < TOLERANCE, "{what}: {found:e}, truly {truth:e}");
}

/// One engine's rates over a link of which the scenario says one way and both ways at once, per direction; `measures_both` where the pair was
/// measured so: in one order, as the other is the same work.
#[track_caller]
fn close_rates(what: &str, found: &PeerRates, one_way: f64, opposed: f64, measures_both: bool) {
    let rate = |rate: &Option<Figure<BytesPerSecond>>| rate.as_ref().unwrap().value.0;
    close(&format!("{what} write"), rate(&found.write), one_way * 1e9);
    close(&format!("{what} read"), rate(&found.read), one_way * 1e9);
    assert_eq!(found.both.is_some(), measures_both, "{what}");
    if measures_both {
        close(&format!("{what} both"), rate(&found.both), 2.0 * opposed * 1e9);
    }
}

fn every_link_is_close(name: &str, text: &str) {
    let (bench, run) = measured(text, &["--effort", "quick", "peer"]);
    let (machine, calibration) = (bench.standin.scenario(), Calibration::from_run(&run));
    let gpus = machine.gpus.len();
    assert_eq!(calibration.peers.len(), gpus * (gpus - 1), "{name}");
    for link in &calibration.peers {
        let what = format!("{name}, {} to {}", link.from, link.to);
        let truly = |from: u32, to: u32| -> Link { machine.link(from as usize, to as usize).unwrap() };
        let (there, both) = (truly(link.from, link.to), link.from < link.to);
        let best = if there.p2p {
            close_rates(&format!("{what}, engine"), &link.copy_engine, there.ce_gbs, there.ce_both_gbs, both);
            close_rates(&format!("{what}, kernel"), &link.kernel, there.sm_gbs, there.sm_both_gbs, both);
            let latency = link.latency.as_ref().unwrap().value.0;
            close(&format!("{what}, latency"), latency, truly(link.to, link.from).latency_us * 1e-6);
            there.ce_gbs.max(there.sm_gbs)
        } else {
            // Through the host; no kernel reaches the other memory.
            close_rates(&format!("{what}, engine"), &link.copy_engine, there.staged_gbs, there.staged_both_gbs, both);
            assert_eq!((&link.kernel, &link.latency), (&PeerRates::default(), &None), "{what}");
            there.staged_gbs
        };
        let time = calibration.peer_link(link.from, link.to).unwrap().time(Bytes::gib(4)).time.0;
        close(&format!("{what}, 4 GiB"), time, Bytes::gib(4).as_f64() / (best * 1e9));
    }
}

#[test]
fn every_link_comes_out_at_the_scenarios_rates() {
    // Half of the GPUs are twelve ordered pairs, each of which has rates of its own.
    let four = scenario("h100-8x-nvswitch").replace("count = 4", "count = 2").replace("[0, 1, 2, 3, 4, 5, 6, 7]", "[0, 1, 2, 3]");
    every_link_is_close("NVSwitch", &four);
    every_link_is_close("no access", &scenario("rtx4090-4x-no-p2p"));
}

/// Every number and word of a document by where it stands; the elements of lists by what they are of, where they say so.
fn leaves(document: &Value) -> BTreeMap<String, Value> {
    fn walk(path: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match value {
            Value::Object(entries) => entries.iter().for_each(|(name, value)| walk(&below(name), value, found)),
            Value::Array(elements) => elements.iter().enumerate().for_each(|(index, value)| {
                let kind = value["phase"].as_str().zip(value["kind"].as_str()).map(|(phase, kind)| format!("{phase} {kind}"));
                walk(&below(&kind.unwrap_or_else(|| index.to_string())), value, found);
            }),
            leaf => drop(found.insert(path.to_owned(), leaf.clone())),
        }
    }
    let mut found = BTreeMap::new();
    walk("", document, &mut found);
    found
}

/// Where two documents differ by more than rounding.
fn changed(before: &Value, after: &Value) -> Vec<String> {
    let (before, after) = (leaves(before), leaves(after));
    let same = |a: &Value, b: &Value| a == b || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| (a / b - 1.0).abs() < 1e-9);
    let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    all.into_iter().filter(|path| !before.get(*path).zip(after.get(*path)).is_some_and(|(a, b)| same(a, b))).cloned().collect()
}

/// What the program says as JSON with the record of a stand-in machine.
#[track_caller]
fn json(bench: &Bench, command: &str) -> Value {
    let arguments: Vec<&str> = command.split(' ').chain(["--calibration", "r.json", "--format", "json"]).collect();
    let output = bench.run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{command}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// On the GPU of the scenario, at a price.
const HERE: &str = "--gpu A100-SXM-80GB --price 2";

fn estimate(bench: &Bench, job: &str) -> Value {
    json(bench, &format!("estimate {job} {HERE}"))
}

/// Seconds of communication in an estimate.
fn communication(estimate: &Value) -> f64 {
    let parts = estimate["time"]["parts"].as_array().unwrap().iter();
    parts.filter(|part| part["kind"] == "communication").map(|part| part["seconds"].as_f64().unwrap()).sum()
}

/// Two GPUs as they are, with half the link between them, and with half of it in one direction only.
struct Machines {
    whole: Bench,
    half: Bench,
    /// From the second GPU to the first.
    half_back: Bench,
}

impl Machines {
    fn measured() -> Self {
        let whole = full_size(include_str!("scenarios/sweep.toml"));
        let (rest, link) = whole.split_once("[link_default]\n").unwrap();
        let halved: Vec<String> = link.lines().map(half_of).collect();
        let back = format!("{whole}\n[[link]]\nfrom = 1\nto = 0\nlink = {{ {} }}\n", halved.join(", "));
        let half = format!("{rest}[link_default]\n{}\n", halved.join("\n"));
        let record = |text: &str| measured(text, &["--effort", "quick", "peer", "matmul", "memory"]).0;
        Self { whole: record(&whole), half: record(&half), half_back: record(&back) }
    }
}

/// A line of a scenario with half the rate, if it has one.
fn half_of(line: &str) -> String {
    match line.split_once("_gbs = ") {
        Some((name, rate)) => format!("{name}_gbs = {}", rate.parse::<f64>().unwrap() / 2.0),
        None => line.to_owned(),
    }
}

/// Where two estimates of a job differ, and by what factor the second communicates longer: all that it takes longer must be that.
fn slower(before: &Value, after: &Value) -> (Vec<String>, f64) {
    let seconds = |estimate: &Value| {
        let time = &estimate["time"];
        time.get("step_seconds").or_else(|| time.get("request_seconds")).unwrap().as_f64().unwrap()
    };
    let (longer, messages) = (seconds(after) - seconds(before), communication(after) - communication(before));
    assert!((longer / messages - 1.0).abs() < 1e-6, "the job takes {longer} s longer, its messages {messages} s");
    (changed(before, after), communication(after) / communication(before))
}

/// What an estimate says of money and energy, all of which follows from the time.
const COST: [&str; 6] = ["cost.energy_kwh", "cost.high_usd", "cost.hours", "cost.low_usd", "cost.usd", "cost.usd_per_million_tokens"];

/// What an estimate of a training says that depends on a link, in alphabetical order.
const TRAINING: [&str; 9] = [
    "time.hfu",
    "time.high_seconds",
    "time.low_seconds",
    "time.mfu",
    "time.parts.backward communication.seconds",
    "time.parts.forward communication.seconds",
    "time.step_seconds",
    "time.tokens_per_second",
    "time.total_hours",
];

/// The same of prompts that are read, without an answer.
const SERVING: [&str; 7] = [
    "time.decode_seconds_per_token",
    "time.high_seconds",
    "time.low_seconds",
    "time.parts.prefill communication.seconds",
    "time.prefill_seconds",
    "time.request_seconds",
    "time.tokens_per_second",
];

#[test]
fn half_a_link_slows_what_goes_over_it_and_nothing_else() {
    let Machines { whole, half, half_back } = Machines::measured();
    let train = |gpus: u32| format!("train --model llama-3.2-1b --method full-mixed --parallel zero3 --steps 100 --gpus {gpus}");
    let serve = |gpus: u32| format!("infer --model llama-3.1-8b --tp {gpus}");
    for alone in [train(1), serve(1)] {
        assert_eq!(changed(&estimate(&whole, &alone), &estimate(&half, &alone)), [""; 0], "{alone}");
    }

    let (numbers, ratio) = slower(&estimate(&whole, &train(2)), &estimate(&half, &train(2)));
    assert_eq!(numbers, [&COST[..], &TRAINING[..]].concat());
    // Twice the stream; the launches and hops that a message waits for stay.
    assert!((1.8..2.0).contains(&ratio), "{ratio}");
    let (numbers, ratio) = slower(&estimate(&whole, &serve(2)), &estimate(&half, &serve(2)));
    assert_eq!(numbers, [&COST[..], &SERVING[..]].concat());
    assert!((1.5..2.0).contains(&ratio), "{ratio}");

    // Every collective goes both ways: half of one is as bad as half of both, though the other way is as it was.
    assert_eq!(changed(&estimate(&half, &train(2))["time"], &estimate(&half_back, &train(2))["time"]), [""; 0]);
    let calibration = Calibration::from_run(&Run::read(&half_back.result()).unwrap());
    let rate = |from, to| calibration.peer(from, to).unwrap().one_way().unwrap().value.0;
    close("the way back", rate(0, 1) / rate(1, 0), 2.0);

    plans_change_where_two_gpus_talk(&whole, &half);
    the_guide_changes_where_two_gpus_talk(&whole, &half);
}

/// Two GPUs whose links have this share of their rate, and whose NCCL reaches this share of the links.
fn talking(links: f64, share: f64) -> Bench {
    let text = include_str!("scenarios/sweep.toml").replace("scale = 4096", "scale = 256");
    let (rest, link) = text.split_once("[link_default]\n").unwrap();
    let scaled = |line: &str| match line.split_once("_gbs = ") {
        Some((name, rate)) => format!("{name}_gbs = {}", rate.parse::<f64>().unwrap() * links),
        None => line.to_owned(),
    };
    let link: Vec<String> = link.lines().map(scaled).collect();
    let rest = rest.replacen("[driver]", &format!("[driver]\nnccl = 22703\nnccl_share = {share:?}"), 1);
    let text = format!("{rest}[link_default]\n{}\n", link.join("\n"));
    let (bench, mut run) = measured(&text, &["--effort", "quick", "--time", "2 s", "memory", "peer", "collective"]);
    // The stand-in has a small part of the board's memory, in which no job fits.
    run.outcomes.retain(|outcome| outcome.case().mechanism() != "memory.allocatable");
    std::fs::write(bench.result(), serde_json::to_vec(&run).unwrap()).unwrap();
    bench
}

#[test]
fn collectives_that_were_measured_decide_over_what_links_let_expect() {
    let (whole, half, other_way) = (talking(1.0, 1.0), talking(1.0, 0.5), talking(0.5, 2.0));
    let ddp = |gpus: u32| format!("train --model llama-3.2-1b --method full-mixed --parallel ddp --steps 100 --gpus {gpus}");
    let zero = |gpus: u32| format!("train --model llama-3.2-1b --method full-mixed --parallel zero3 --steps 100 --gpus {gpus}");
    let tensor = |gpus: u32| format!("infer --model llama-3.1-8b --tp {gpus}");
    for alone in [ddp(1), zero(1), tensor(1)] {
        assert_eq!(changed(&estimate(&whole, &alone), &estimate(&half, &alone)), [""; 0], "{alone}");
    }
    let (numbers, ratio) = slower(&estimate(&whole, &zero(2)), &estimate(&half, &zero(2)));
    assert_eq!(numbers, [&COST[..], &TRAINING[..]].concat());
    assert!((1.8..2.0).contains(&ratio), "{ratio}");
    let (numbers, ratio) = slower(&estimate(&whole, &tensor(2)), &estimate(&half, &tensor(2)));
    assert_eq!(numbers, [&COST[..], &SERVING[..]].concat());
    assert!((1.5..2.0).contains(&ratio), "{ratio}");
    let (numbers, _) = slower(&estimate(&whole, &ddp(2)), &estimate(&half, &ddp(2)));
    assert!(numbers.iter().all(|name| COST.contains(&name.as_str()) || TRAINING.contains(&name.as_str())), "{numbers:?}");

    // Half the links, and a library that makes twice as much of them: what was measured together is the same.
    for job in [ddp(2), zero(2), tensor(2)] {
        assert_eq!(changed(&estimate(&whole, &job), &estimate(&other_way, &job)), [""; 0], "{job}");
    }
    let told = estimate(&whole, &zero(2)).to_string();
    assert!(told.contains("collective, 12 cases, up to 2 GPUs"), "{told}");
}

fn plans_change_where_two_gpus_talk(whole: &Bench, half: &Bench) {
    let plan =
        |bench, gpus: u32| json(bench, &format!("plan train --model llama-3.2-1b --method full-mixed --steps 1000 --gpus {gpus} {HERE}"));
    assert_eq!(changed(&plan(whole, 1), &plan(half, 1)), [""; 0]);
    let (before, after) = (plan(whole, 2), plan(half, 2));
    let first = |plan: &Value, key: &str| plan["plans"][0][key].as_f64().unwrap();
    assert!(["seconds", "usd", "energy_kwh"].iter().all(|key| first(&after, key) > first(&before, key)));
    assert_eq!(first(&after, "device_bytes"), first(&before, "device_bytes"));
    assert_eq!(before["configurations"], after["configurations"]);
    // As many are too large as before.
    let large = |plan: &Value| {
        let lost = plan["offers"][0]["lost"].as_array().unwrap().iter();
        lost.filter(|lost| lost["reason"].as_str().unwrap().ends_with("not_fit")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(large(&before), large(&after));
}

/// Sections and columns of the guide in which a number differs.
fn changed_columns(before: &Value, after: &Value) -> BTreeSet<String> {
    let tables = |guide: &Value| guide.as_array().unwrap().clone();
    let (before, after) = (tables(before), tables(after));
    assert_eq!(before.len(), after.len());
    let mut found = BTreeSet::new();
    for (before, after) in before.iter().zip(&after) {
        let title = before["title"].as_str().unwrap().trim_start_matches("[SIMULATED] ");
        let section = title.split(' ').next().unwrap();
        for path in changed(&before["rows"], &after["rows"]) {
            found.insert(format!("{section} {}", path.split('.').nth(1).unwrap()));
        }
    }
    found
}

fn the_guide_changes_where_two_gpus_talk(whole: &Bench, half: &Bench) {
    let [before, after] = [whole, half].map(|bench| json(bench, "guide"));
    let mut columns = changed_columns(&before, &after);
    // Disks and memory of the machine that the test runs on: they change while it runs.
    columns.retain(|column| !["B.7", "B.8"].iter().any(|host| column.starts_with(host)));
    let expected = [
        "B.1.3 per_million",
        "B.1.3 tokens",
        "B.3.1 a100_sxm_80gb",
        "B.3.2 a100_sxm_80gb",
        "B.4.1 measured",
        "B.4.1 share",
        "B.4.2 communication",
        "B.4.2 efficiency",
        "B.4.2 efficiency_nvlink",
        "B.4.2 exposed_nvlink",
        "B.4.2 guide",
        "B.4.2 interval",
        "B.4.2 messages",
        "B.4.2 stages",
        "B.4.2 step",
        "B.4.2 tokens",
        "B.5.2 cost",
        "B.5.2 hours",
        "B.5.2 interval",
        "B.5.2 per_million",
        "B.5.2 step",
        "B.5.2 tokens",
    ];
    assert_eq!(columns.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}
