//! Loads that last, on the stand-in: what the trace shows must be the scenario's law of heat and clocks.
#![allow(clippy::unwrap_used)] // A failed expectation is a failed test, also in a test's own helpers.

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Bench, full_size, scenario, stderr, stdout, wait};
use gpu_assay::measure::{Measurement, Outcome, Sustained};
use gpu_assay::record::Run;

/// One H200 of full size with a law of heat.
fn h200(heat: &str) -> String {
    full_size(&scenario("h200-1x")).replacen("[[gpu]]", &format!("[[gpu]]\nheat = {heat}"), 1)
}

/// So many H100 of full size.
fn h100(count: usize, heat: &str, rest: &str) -> String {
    let text = full_size(&scenario("h100-8x-nvswitch")).replacen("nvml_order = [0, 1, 2, 3, 4, 5, 6, 7]", "", 1);
    let (models, _) = text.split_once("[[gpu]]").unwrap();
    let (_, links) = text.split_once("[link_default]").unwrap();
    format!("{models}\n[[gpu]]\nmodel = \"h100\"\ncount = {count}\n{heat}\n\n[link_default]{links}\n{rest}")
}

/// Two small GPUs that compute what they are asked to.
const SLOW: &str = include_str!("scenarios/slow.toml");

const COOL: &str = "{ idle_c = 30.0, load_c = 70.0, tau_s = 15.0, throttle_c = 85.0 }";
const HOT: &str = "{ idle_c = 30.0, load_c = 105.0, tau_s = 10.0, throttle_c = 85.0, per_c = 0.03 }";

fn measured(scenario: &str, time: &str) -> (Bench, Run) {
    let bench = Bench::text(scenario);
    let output = bench.run(&["measure", "sustained", "--time", time, "-o", "r.json"]);
    let run = Run::read(&bench.result()).unwrap_or_else(|error| panic!("{error}\n{}", stderr(&output)));
    assert_eq!(output.status.code(), Some(0), "{}\n{}", stderr(&output), stdout(&output));
    assert_eq!(bench.standin.trace().unwrap().unwrap().leaks(), []);
    (bench, run)
}

fn seen(measurement: &Measurement) -> Sustained {
    assert_eq!(measurement.trace.len(), measurement.samples.len());
    measurement.sustained().unwrap_or_else(|| panic!("{}", measurement.case))
}

fn share(seen: &Sustained, reason: &str) -> f64 {
    seen.share(reason)
}

#[test]
fn a_cool_gpu_keeps_its_rate() {
    let (bench, run) = measured(&h200(COOL), "90 s");
    let one = run.of("sustained.bf16").next().unwrap();
    let gpu = &bench.standin.scenario().gpus[0];
    let (rates, shape) = (gpu.cublaslt.unwrap(), gpu_assay_standin::scenario::ProductShape { m: 8192, n: 8192, k: 8192, element: 2 });
    let truth = 2.0 * 8192f64.powi(3) / gpu.product_seconds(&rates, rates.bf16_tflops, shape);
    let seen = seen(one);
    assert!((seen.rate.point / truth - 1.0).abs() < 0.003 && seen.loss().abs() < 0.003, "{seen:?} where {truth:e} is the truth");
    assert_eq!(seen.settled.map(|at| at.0), Some(0.0));
    assert!((seen.length.0 - 90.0).abs() < 2.0 && (85..=92).contains(&one.trace.len()), "{} points", one.trace.len());
    assert!(seen.throttled.is_empty(), "{:?}", seen.throttled);
    // Every point says all of it, and the temperature follows the law.
    for (second, point) in one.trace.iter().enumerate() {
        assert!(point.looks >= 6 && point.sm_clock.is_some() && point.memory_clock.is_some() && point.power_limit.is_some(), "{point:?}");
        let law = 70.0 - 40.0 * (-(second as f64 + 1.0) / 15.0).exp();
        assert!((point.temperature.unwrap().0 - law).abs() < 2.0, "{second} s: {point:?} where {law} °C is the law");
    }
    let span = one.telemetry.as_ref().unwrap();
    assert!(span.polls > 500 && span.peak_temperature.is_some() && span.new_corrected_errors == Some(0), "{span:?}");
    assert_eq!(one.conditions["others"], "0");
    assert!(one.conditions["paused"].starts_with("0") && one.conditions["engine"].starts_with("cublaslt"), "{:?}", one.conditions);
    // What the program prints has it, too.
    let text = stdout(&bench.run(&["measure", "sustained", "--time", "20 s", "-o", "r.json"]));
    assert!(text.contains("Sustained load") && text.contains("768.9 TFLOP/s"), "{text}");
}

#[test]
fn heat_that_begins_to_throttle_after_seconds_shows_in_rate_clock_and_bits() {
    let (_, run) = measured(&h200(HOT), "2 min");
    let seen = seen(run.of("sustained.bf16").next().unwrap());
    // 30 + 75 (1 − e^(−t/10)) reaches 85 at t = 10 ln(75/20) = 13.2 s.
    let settled = seen.settled.unwrap().0;
    assert!((13.0..45.0).contains(&settled), "{settled}");
    // In balance, f = 1 − 0.03 (30 + 75 f² − 85): f = 0.899.
    let balance = (-1.0 + (1.0 + 4.0 * 2.25 * 2.65_f64).sqrt()) / (2.0 * 2.25);
    assert!((seen.loss() - (1.0 - balance)).abs() < 0.01, "{} where {} is the law's", seen.loss(), 1.0 - balance);
    assert!((seen.clock_ratio().unwrap() - balance).abs() < 0.01, "clocks explain it");
    let thermal = share(&seen, "sw_thermal_slowdown");
    assert!((thermal - (1.0 - 13.2 / 120.0)).abs() < 0.03, "{thermal}");
}

#[test]
fn a_power_limit_that_takes_a_moment_shows_as_burst_and_steady_state() {
    let heat = COOL.replace('}', ", burst = 1.1, settle_s = 3.0 }");
    let (_, run) = measured(&h200(&heat), "60 s");
    let seen = seen(run.of("sustained.bf16").next().unwrap());
    assert!((0.05..0.1).contains(&seen.loss()), "{}", seen.loss());
    let settled = seen.settled.unwrap().0;
    assert!((3.0..10.0).contains(&settled), "3 ln(10) = 6.9 s until a percent is left: {settled}");
    assert!(share(&seen, "sw_power_cap") > 0.9);
}

#[test]
fn all_gpus_at_once_show_what_one_alone_does_not() {
    let shelf = "[[power_shelf]]\ngpus = [1, 2]\nwatts = 1000.0\n";
    let (_, run) = measured(&h100(3, &format!("heat = {COOL}"), shelf), "80 s");
    let alone: Vec<Sustained> = run.of("sustained.bf16").map(seen).collect();
    let all: Vec<&Measurement> = run.of("sustained.together").collect();
    assert_eq!((alone.len(), all.len()), (3, 3));
    for one in &alone {
        assert!(one.loss().abs() < 0.005 && (one.length.0 - 20.0).abs() < 2.0, "{one:?}");
    }
    let brake = (1000.0 / 1310.0_f64).cbrt();
    for (gpu, expected) in [1.0, brake, brake].into_iter().enumerate() {
        let measurement = all.iter().find(|one| one.case.get_count("gpu") == Some(gpu as u64)).unwrap();
        let found = seen(measurement);
        let ratio = found.rate.point / alone[gpu].rate.point;
        assert!((ratio - expected).abs() < 0.01, "GPU {gpu}: {ratio} where {expected} is the truth");
        assert_eq!(share(&found, "hw_power_brake_slowdown") > 0.9, gpu > 0, "{found:?}");
        assert!((found.length.0 - 20.0).abs() < 2.0, "{:?}", found.length);
        assert_eq!(measurement.conditions["others"], "2");
    }
}

#[test]
fn without_a_time_it_takes_a_minute_and_minutes_can_be_asked_for() {
    let bench = Bench::text(&h200(COOL));
    let length = |arguments: &[&str]| {
        let output = bench.run(&[&["measure", "sustained", "-o", "r.json"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        seen(Run::read(&bench.result()).unwrap().of("sustained.bf16").next().unwrap()).length.0
    };
    assert!((length(&[]) - 60.0).abs() < 2.0);
    assert!((length(&["--time", "1.5 min"]) - 90.0).abs() < 2.0);
    let refused = bench.run(&["measure", "sustained", "--time", "2 fortnights"]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
}

#[test]
fn without_nvml_or_the_library_the_rate_is_followed_all_the_same() {
    let text = h200(COOL).replacen("[driver]", "[driver]\nnvml = false", 1).replacen("cublaslt = 120402\n", "", 1);
    let (_, run) = measured(&text, "10 s");
    let one = run.of("sustained.bf16").next().unwrap();
    assert!(one.trace.iter().all(|point| point.looks == 0) && one.telemetry.is_none());
    let seen = seen(one);
    assert!(seen.settled.is_some() && seen.clock.is_none() && seen.throttled.is_empty());
    assert!(one.conditions["engine"].starts_with("own, in place of cublasLt"), "{:?}", one.conditions);
}

#[test]
fn a_wrong_product_voids_the_load() {
    let bench = Bench::text(SLOW);
    let measure = |fault: &str| {
        let arguments = ["measure", "sustained", "--gpu", "0", "--time", "40 ms", "-o", "r.json"];
        let output = bench.command(&arguments).env(gpu_assay_standin::FAULT, fault).output().unwrap();
        (output, Run::read(&bench.result()).unwrap())
    };
    let (output, run) = measure("");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(seen(run.of("sustained.bf16").next().unwrap()).length.0 > 0.03);
    // The last product of the load: no later one writes over it.
    let last = bench.standin.trace().unwrap().unwrap().calls["cublasLtMatmul"];
    let (output, run) = measure(&format!("cublasLtMatmul:{last}:wrong=1e30"));
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(matches!(run.outcomes[..], [Outcome::Failed { wrong_answer: true, .. }]), "{:?}", run.outcomes);
}

#[test]
fn the_users_wish_to_stop_keeps_what_was_measured() {
    // A day of load; virtual, but longer than anybody waits.
    let bench = Bench::text(&h200(COOL));
    let program =
        bench.command(&["measure", "sustained", "--time", "86400 s", "-o", "r.json"]).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let program = program.unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    let asked = Instant::now();
    let signalled = std::process::Command::new("kill").args(["-INT", &program.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    let output = wait(program, Duration::from_secs(10)).expect("it did not end");
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let run = Run::read(&bench.result()).unwrap();
    assert!(!run.complete);
    let one = run.of("sustained.bf16").next().unwrap();
    assert!(one.trace.len() >= 2 && one.conditions["stopped"].starts_with("by the user"), "{:?}", one.conditions);
    assert_eq!(bench.standin.trace().unwrap().unwrap().leaks(), []);
}
