//! Every GPU probe on the stand-in driver: what is reported must be the scenario's truth, and what is corrupted must be found.
#![allow(clippy::unwrap_used)] // A failed expectation is a failed test, also in a test's own helpers.

mod common;

use common::truth::{reported, truth};
use common::{Bench, stderr, stdout};
use gpu_assay::calibrate::Calibration;
use gpu_assay::catalog::Catalog;
use gpu_assay::gpu::{HopperKernel, WgmmaFormat};
use gpu_assay::lang::Lang;
use gpu_assay::measure::{DESIGN, GemmShape, Outcome, Waiver};
use gpu_assay::probe::selftest::{self, Options, Verdict};
use gpu_assay::record::Run;
use gpu_assay::verdict::{Evidence, Expectation, Policy, Status, assess};
use gpu_assay_standin::scenario::ProductShape;
use gpu_assay_standin::{FAULT, Standin, Trace};

/// Largest error of a reported median where the scenario has no noise.
const TOLERANCE: f64 = 0.005;

/// Two small GPUs, for tests that do not need large ones.
const SMALL: &str = include_str!("scenarios/sweep.toml");

/// Two small GPUs on which products take longer, so that fewer of them fill the time.
const SLOW: &str = include_str!("scenarios/slow.toml");

/// Run `probes` and read the record; nothing may have failed or leaked.
fn measured(scenario: &str, probes: &[&str]) -> (Bench, Run) {
    let bench = Bench::named(scenario);
    let output = bench.run(&[&["measure", "--effort", "quick", "-o", "r.json"], probes].concat());
    let run = Run::read(&bench.result()).unwrap_or_else(|error| panic!("{error}\n{}", stderr(&output)));
    let failed: Vec<&Outcome> = run.outcomes.iter().filter(|outcome| outcome.is_failure()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(run.simulated && run.complete);
    assert_eq!(bench.standin.trace().unwrap().unwrap().leaks(), []);
    (bench, run)
}

/// Every rate and latency of the run against the scenario's truth; returns how many there were.
fn assert_true(bench: &Bench, run: &Run) -> usize {
    let mut seen = 0;
    for measurement in run.measurements() {
        let (found, truth) = (reported(measurement).point, truth(bench.standin.scenario(), measurement));
        assert!((found / truth - 1.0).abs() <= TOLERANCE, "{}: {found:e} where the truth is {truth:e}", measurement.case);
        seen += 1;
    }
    seen
}

#[test]
fn memory_caches_copies_and_launches_come_out_at_the_truth() {
    let (bench, run) = measured("h200-1x", &["memory", "dram", "cache", "copy", "launch"]);
    let seen = assert_true(&bench, &run);
    assert!(seen >= 27, "only {seen} cases were compared");
    let gpu = &bench.standin.scenario().gpus[0];
    let observed = |name: &str| {
        let found = run.outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Observed(observation) if observation.case.mechanism() == name => Some(observation.bytes.0),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("{name} was not observed"))
    };
    assert_eq!(observed("memory.context"), gpu.cost.context_mib << 20);
    assert_eq!(observed("memory.cublaslt"), gpu.cost.cublaslt_mib << 20);
    assert!(observed("memory.allocatable") <= gpu.memory_bytes() * 9 / 10);
    assert!((gpu.memory_bytes() / 2..=gpu.memory_bytes() * 9 / 10).contains(&observed("memory.pattern")));
}

#[test]
fn an_event_costs_what_the_host_takes_for_it() {
    let bench = Bench::text(&SMALL.replace("launch = { host_us = 2.1,", "launch = { host_us = 2.1, event_us = 0.6,"));
    let output = bench.run(&["measure", "launch", "--gpu", "0", "--time", "300 ms", "-o", "r.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = Run::read(&bench.result()).unwrap();
    assert_eq!(assert_true(&bench, &run), 4);
    let seconds = |name: &str| reported(run.of(name).next().unwrap()).point;
    assert!((seconds("launch.event") - seconds("launch.kernel") - 0.6e-6).abs() < 0.02e-6);
}

#[test]
fn matrix_products_come_out_at_the_truth() {
    let (bench, run) = measured("h200-1x", &["matmul"]);
    let seen = assert_true(&bench, &run);
    assert!(seen >= 4, "only {seen} products were measured");
    for measurement in run.measurements() {
        // Zeros have no seed.
        let conditions = ["algorithm", "data", "rotation", "seed"];
        for condition in &conditions[..if measurement.case.mechanism() == "matmul.zeros" { 3 } else { 4 }] {
            assert!(measurement.conditions.contains_key(*condition), "{}: no {condition}", measurement.case);
        }
    }
}

/// A small GPU of the generation with FP4, and a library that has every format.
fn with_every_format() -> String {
    let rates = "e5m2_tflops = 520.0, fp16_tflops = 265.0, tf32_tflops = 133.0, fp32_tflops = 18.0, int8_tflops = 540.0, \
                 fp64_tflops = 17.0, fp4_tflops = 1050.0 }";
    SMALL
        .replace("cc = [8, 9]", "cc = [10, 0]")
        .replace("cublaslt = 120402", "cublaslt = 120900")
        .replace("\nscale = 4096", "\nscale = 1024")
        .replace("e4m3_tflops = 530.0, e5m2_tflops = 520.0 }", &format!("e4m3_tflops = 530.0, {rates}"))
}

/// The formats that only the library multiplies in.
const OTHERS: [&str; 7] = ["fp16", "e5m2", "tf32", "fp32", "int8", "fp64", "fp4"];

#[test]
fn every_format_comes_out_at_its_truth_by_the_best_algorithm() {
    let bench = Bench::text(&with_every_format());
    let output = bench.run(&["measure", "matmul", "--effort", "quick", "--time", "1 s", "-o", "r.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = Run::read(&bench.result()).unwrap();
    assert_true(&bench, &run);
    for name in OTHERS {
        let cases: Vec<_> = run.measurements().filter(|one| one.case.mechanism() == format!("matmul.{name}")).collect();
        let [case] = &cases[..] else { panic!("{name}: {cases:?}") };
        assert_eq!(case.case.get_count("gpu"), Some(0), "the first of two alike");
        // The library suggests three, and the second is the best; what it calls E5M2 is one of the three, too.
        assert!(case.conditions["algorithm"].ends_with("suggestion 2 of 3"), "{name}: {:?}", case.conditions);
        assert_eq!(case.conditions["tried"], "3 of 3 suggestions", "{name}");
        assert!(case.conditions["engine"].starts_with("cublaslt 12.9"), "{name}");
    }
    assert_eq!(bench.standin.trace().unwrap().unwrap().leaks(), []);
}

#[test]
fn one_wrong_element_of_any_format_is_a_wrong_answer() {
    let bench = Bench::text(&with_every_format());
    let arguments = ["measure", "matmul", "--gpu", "0", "--effort", "quick", "--time", "300 ms", "-o", "r.json"];
    assert_eq!(bench.run(&arguments).status.code(), Some(0));
    let all = bench.standin.trace().unwrap().unwrap().calls["cublasLtMatmul"];
    // The last product of the run is one in FP4. Damage in its first 16 bits is far beyond what rounding explains.
    let output = bench.command(&arguments).env(FAULT, format!("cublasLtMatmul:{all}:wrong=20000")).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let failed: Vec<String> =
        Run::read(&bench.result()).unwrap().outcomes.iter().filter(|o| o.is_failure()).map(|o| format!("{o:?}")).collect();
    assert!(matches!(&failed[..], [one] if one.contains("matmul.fp4/") && one.contains(" rows, the first row ")), "{failed:?}");
}

#[test]
fn formats_that_chip_or_library_lack_are_waived_with_the_reason() {
    let old = SMALL.replace("cc = [8, 9]", "cc = [10, 0]");
    for (scenario, reasons) in [
        // The library knows the formats, and has no algorithm for them on this chip; the chip has no FP4.
        (SMALL, ["no algorithm", "needs compute capability 10.0, found 8.9"]),
        // The chip has FP4 and the library is from before.
        (old.as_str(), ["no algorithm", "the library refuses it (7 of cublasLtMatmulDescSetAttribute)"]),
    ] {
        let bench = Bench::text(scenario);
        let output = bench.run(&["measure", "matmul", "--gpu", "0", "--effort", "quick", "--time", "100 ms", "-o", "r.json"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let run = Run::read(&bench.result()).unwrap();
        let why = |name: &str| {
            run.outcomes.iter().find_map(|outcome| match outcome {
                Outcome::Waived { case, waiver } if case.mechanism() == format!("matmul.{name}") => Some(waiver.to_string()),
                _ => None,
            })
        };
        assert!(why("fp16").unwrap().contains(reasons[0]), "{:?}", why("fp16"));
        assert!(why("fp4").unwrap().contains(reasons[1]), "{:?}", why("fp4"));
        assert_eq!(why("e5m2"), None, "this library has it");
    }
}

#[test]
fn instructions_alone_come_out_at_their_rates_and_one_wrong_answer_is_found() {
    // A chip with FP8 in mma.sync, and one that would convert it.
    let (hopper, run) = measured("h200-1x", &["tensor"]);
    assert_eq!(assert_true(&hopper, &run), 14);
    assert!(run.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Waived { case, .. } if case.mechanism() == "tensor.e4m3")));
    let reach = |run: &Run, name: &str| {
        let case = run.measurements().find(|one| one.case.to_string().starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(case.conditions["load"], "burst");
        case.conditions["reach"].clone()
    };
    assert!(reach(&run, "tensor.bf16/engine=mma").starts_with("a part"));
    assert_eq!(reach(&run, "tensor.fp32/engine=fma"), "all");
    // What nothing exceeds is said by the instruction that reaches all of the chip.
    assert_eq!(reach(&run, "tensor.bf16/engine=wgmma"), "all");
    assert!(run.measurements().filter(|one| one.case.get_word("engine") == Some("wgmma")).count() == 6);

    let bench = Bench::text(SMALL);
    let arguments = ["measure", "tensor", "--effort", "quick", "-o", "r.json"];
    let output = bench.run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = Run::read(&bench.result()).unwrap();
    assert_eq!(assert_true(&bench, &run), 9, "one of two alike, not asked for the instructions of another generation");
    assert_eq!(run.outcomes.len(), 9);
    assert_eq!(reach(&run, "tensor.e4m3"), "all");
    let trace = bench.standin.trace().unwrap().unwrap();
    assert_eq!(trace.leaks(), []);
    for kernel in ["tensor_bf16", "tensor_f16", "tensor_tf32", "tensor_e4m3", "tensor_int8", "tensor_f64", "fma_f32", "fma_f64", "fma_f16"]
    {
        let output = bench.command(&arguments).env(FAULT, format!("{kernel}:{}:corrupt", trace.launches[kernel])).output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{kernel}: {}", stderr(&output));
        let run = Run::read(&bench.result()).unwrap();
        let failed: Vec<&Outcome> = run.outcomes.iter().filter(|outcome| outcome.is_failure()).collect();
        let [Outcome::Failed { error, wrong_answer: true, .. }] = &failed[..] else { panic!("{kernel}: {failed:?}") };
        assert!(error.contains("1 of the "), "{kernel}: {error}");
    }
}

#[test]
fn the_best_shape_is_found_with_few_timings_and_zeros_tell_of_power() {
    // Matrices of full size are not computed, and only what is new is measured: the rest would take its time.
    let scenario = std::fs::read_to_string(Standin::scenarios().join("h200-1x.toml")).unwrap();
    let scenario = scenario.replacen("[driver]", "[driver]\nproducts = false\npatterns = false", 1).replace("scale = 400", "scale = 8");
    let bench = Bench::text(&scenario);
    let output = bench.run(&["measure", "matmul", "--effort", "standard", "--time", "10 s", "-o", "r.json"]);
    let run = Run::read(&bench.result()).unwrap_or_else(|error| panic!("{error}\n{}", stderr(&output)));
    let gpu = &bench.standin.scenario().gpus[0];
    let rates = gpu.cublaslt.unwrap();
    for (mechanism, rate, element) in [("matmul.bf16", rates.bf16_tflops, 2), ("matmul.e4m3", rates.e4m3_tflops.unwrap(), 1)] {
        let best = run.of(mechanism).find(|one| one.case.get_word("shape") == Some("best")).unwrap_or_else(|| panic!("{mechanism}"));
        let tried: usize = best.conditions["tried"].split(' ').next().unwrap().parse().unwrap();
        // Brute force over the grid on which the search moves.
        let (mut most, mut count) = (0.0f64, 0);
        for m in (128..=16_384).step_by(128) {
            for n in (128..=16_384).step_by(128) {
                for k in (512..=16_384).step_by(512) {
                    let seconds = gpu.product_seconds(&rates, rate, ProductShape { m, n, k, element });
                    (most, count) = (most.max(2.0 * (m * n) as f64 * k as f64 / seconds), count + 1);
                }
            }
        }
        let found = reported(best).point;
        assert!(found >= 0.99 * most, "{mechanism}: {found:e} at {} where {most:e} is best", best.conditions["shape"]);
        assert!(found <= most * (1.0 + TOLERANCE) && tried >= 20 && 20 * tried <= count, "{tried} of {count}");
        // It is no worse than any shape that was measured for another reason.
        assert!(run.of(mechanism).all(|one| reported(one).point <= found * (1.0 + TOLERANCE)), "{mechanism}");
    }
    // Nothing is computed here, so all data is zeros and the ratio is that of a run without a limit.
    let ratio = gpu_assay::calibrate::Calibration::from_run(&run).gpu(0).unwrap().zeros.clone().expect("zeros were measured");
    assert!((ratio.value.0 - 1.0).abs() < 0.01, "{ratio}");
}

#[test]
fn zeros_run_faster_where_power_limits() {
    let capped = with_every_format().replace("fp4_tflops = 1050.0 }", "fp4_tflops = 1050.0, zeros = 0.8 }");
    let capped = capped.replace("enforced_w = 400.0", "enforced_w = 300.0");
    let bench = Bench::text(&capped);
    let output = bench.run(&["measure", "matmul", "--gpu", "1", "--effort", "quick", "--time", "1 s", "-o", "r.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = Run::read(&bench.result()).unwrap();
    assert_true(&bench, &run);
    let zeros = run.of("matmul.zeros").next().expect("zeros were measured");
    assert_eq!((zeros.conditions["data"].as_str(), zeros.case.get_word("engine")), ("zeros", Some("cublaslt")));
    let calibration = gpu_assay::calibrate::Calibration::from_run(&run);
    let own = calibration.gpu(1).unwrap();
    let ratio = own.zeros.clone().expect("zeros beside random data");
    assert!((ratio.value.0 - 1.25).abs() < 0.02, "{ratio}");
    // They are no rate of BF16.
    assert!(own.matmul_best("zeros").is_none() && own.matmul_best("bf16").unwrap().rate.value.0 < 275e12);
    // The page shows the ratio and the other formats; the verdict cites it beside the limit that was lowered.
    let page = stdout(&bench.run(&["report", "r.json", "--format", "markdown"]));
    for row in ["rate of zeros beside random data", "matrix product, INT8", "matrix product, FP64"] {
        assert!(page.contains(row), "no {row} in:\n{page}");
    }
    let verdict = stdout(&bench.run(&["validate", "--expect", "A100 SXM 80GB", "--record", "r.json"]));
    assert!(verdict.contains("zeros multiply 25 % faster than random data"), "{verdict}");
}

/// Two small GPUs of a generation that has bulk copies.
fn hopper() -> String {
    SMALL.replace("cc = [8, 9]", "cc = [9, 0]")
}

#[test]
fn bulk_copies_come_out_at_the_truth_and_the_faster_way_counts() {
    let text = hopper();
    let faster = |share: f64| {
        let bench = Bench::text(&text.replace("dram = {", &format!("dram = {{ bulk_share = {share},")));
        let output = bench.run(&["measure", "dram", "bulk", "--gpu", "0", "--time", "1 s", "-o", "r.json"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let run = Run::read(&bench.result()).unwrap();
        assert_true(&bench, &run);
        let bulk: Vec<_> = run.measurements().filter(|measurement| measurement.case.family() == "bulk").collect();
        assert!(bulk.len() >= 3 && bulk.iter().all(|measurement| measurement.conditions["access"] == "bulk"));
        let calibration = Calibration::from_run(&run);
        ["read", "copy", "write"].map(|name| calibration.gpus[0].dram[name].from[0].clone())
    };
    assert!(faster(1.04).iter().all(|case| case.starts_with("bulk.")), "the faster way is the memory's rate, by its name");
    assert!(faster(0.96).iter().all(|case| case.starts_with("dram.")));
}

#[test]
fn bulk_copies_that_go_wrong_are_waived_and_nothing_else_is() {
    for (fault, said) in [("bulk_copy:1:corrupt", "1 of "), ("bulk_copy:9+:corrupt", "1 of "), ("bulk_read:1:corrupt", "checksum")] {
        let bench = Bench::text(&hopper());
        let output =
            bench.command(&["measure", "bulk", "--gpu", "0", "--time", "500 ms", "-o", "r.json"]).env(FAULT, fault).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{fault}: {}", stderr(&output));
        let run = Run::read(&bench.result()).unwrap();
        let waived = run.outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Waived { case, waiver: Waiver::Unsupported { what } } => Some((case.mechanism(), what)),
            _ => None,
        });
        let waived: Vec<_> = waived.collect();
        let kernel = fault.split_once(':').unwrap().0.replace('_', ".");
        assert!(!waived.is_empty() && waived.iter().all(|(name, what)| *name == kernel && what.contains(said)), "{fault}: {waived:?}");
        assert_eq!(run.measurements().count(), run.outcomes.len() - waived.len(), "{fault}");
    }
    let bench = Bench::text(SMALL);
    assert_eq!(bench.run(&["measure", "bulk", "-o", "r.json"]).status.code(), Some(3), "an older chip has none");
}

/// What became of the shapes that calibrate.
fn calibrating(run: &Run) -> Vec<&Outcome> {
    let shape = |outcome: &Outcome| {
        let [m, n, k] = ["m", "n", "k"].map(|name| outcome.case().get_count(name));
        Some(GemmShape { m: m?, n: n?, k: k? })
    };
    run.outcomes.iter().filter(|outcome| shape(outcome).is_some_and(|shape| DESIGN.contains(&shape))).collect()
}

#[test]
fn one_gpu_alone_times_the_shapes_that_calibrate() {
    let without_library = SMALL.replace("cublaslt = 120402\n", "");
    assert_ne!(without_library, SMALL);
    for (scenario, engine) in [(SMALL, "cublaslt"), (without_library.as_str(), "own")] {
        let bench = Bench::text(scenario);
        let design = |gpus: &[&str]| -> (Run, usize) {
            let output = bench.run(&[&["measure", "matmul", "--effort", "quick", "--time", "2 s", "-o", "r.json"], gpus].concat());
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            let run = Run::read(&bench.result()).unwrap();
            let cases = calibrating(&run);
            assert!(cases.iter().all(|outcome| outcome.case().get_word("engine") == Some(engine)));
            let number = cases.len();
            (run, number)
        };
        let (run, number) = design(&["--gpu", "1"]);
        assert_eq!(number, 2 * DESIGN.len(), "each shape in both formats, measured or waived");
        assert!(assert_true(&bench, &run) > 50);
        let waived = run.outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Waived { waiver: Waiver::Memory { .. }, .. })).count();
        assert!(waived > 50, "most do not fit the small memory, and say so: {waived}");
        assert_eq!(design(&[]).1, 0, "a quick run of two has no time for them");
        assert_eq!(bench.standin.trace().unwrap().unwrap().leaks(), []);
    }
}

#[test]
fn where_the_library_refuses_the_own_kernel_times_the_shapes_that_calibrate() {
    let lacking = SMALL.replace("cuda = 12040", "cuda = 12040\nmissing = [\"cublasLtMatmul\"]");
    let refusals = [
        // It lacks a function, does not start, and has no algorithm for anything.
        (lacking.as_str(), "", "not found"),
        (SMALL, "cublasLtCreate:1+:error=1", "cublasLtCreate"),
        (SMALL, "cublasLtMatmulAlgoGetHeuristic:1+:error=15", "no algorithm"),
    ];
    for (scenario, fault, said) in refusals {
        let bench = Bench::text(scenario);
        let arguments = ["measure", "matmul", "--effort", "quick", "--time", "2 s", "--gpu", "1", "-o", "r.json"];
        let output = bench.command(&arguments).env(FAULT, fault).output().unwrap();
        let run = Run::read(&bench.result()).unwrap_or_else(|error| panic!("{error}\n{}", stderr(&output)));
        let cases = calibrating(&run);
        assert_eq!(cases.len(), 2 * DESIGN.len(), "{said}: each shape in both formats, measured or waived");
        let mut timed = 0;
        for outcome in cases {
            match outcome {
                Outcome::Measured(measurement) => {
                    let engine = &measurement.conditions["engine"];
                    assert!(engine.starts_with("own, in place of cublasLt: ") && engine.contains(said), "{engine}");
                    assert_eq!(measurement.case.get_word("engine"), Some("own"));
                    timed += 1;
                }
                Outcome::Waived { waiver: Waiver::Memory { .. }, .. } => {}
                other => panic!("{said}: {other:?}"),
            }
        }
        assert!(timed >= 40, "{said}: only {timed} shapes");
        assert_true(&bench, &run);
        // The cases that compare with the library say what is wrong with it.
        let library = || run.outcomes.iter().filter(|outcome| outcome.case().get_word("engine") == Some("cublaslt"));
        assert!(library().count() > 0 && !library().any(|outcome| matches!(outcome, Outcome::Measured(_))), "{said}");
        assert_eq!(bench.standin.trace().unwrap().unwrap().leaks(), []);
    }
}

#[test]
fn a_library_too_new_for_the_driver_gives_way_to_an_older_one() {
    let bench = Bench::text(SMALL);
    let folder = bench.standin.folder();
    std::os::unix::fs::symlink(folder.join("libcublasLt.so.12"), folder.join("libcublasLt.so.13")).unwrap();
    let arguments = ["measure", "matmul", "--effort", "quick", "--time", "100 ms", "-o", "r.json"];
    // The newer one is tried first.
    let output = bench.command(&arguments).env(FAULT, "cublasLtCreate:1:error=1").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = Run::read(&bench.result()).unwrap();
    assert!(run.measurements().filter(|measurement| measurement.case.get_word("engine") == Some("cublaslt")).count() >= 4);
}

/// Every peer case of a scenario against its matrix of links.
fn assert_peers(scenario: &str) -> usize {
    let (bench, run) = measured(scenario, &["peer"]);
    for measurement in run.measurements() {
        let case = &measurement.case;
        if case.get("from").is_none() {
            assert!(measurement.conditions["pairs"].contains('→'), "{case}");
            continue;
        }
        let [from, to] = ["from", "to"].map(|axis| case.get_count(axis).unwrap() as usize);
        let route = if bench.standin.scenario().link(from, to).unwrap().p2p { "peer" } else { "host" };
        assert_eq!(measurement.conditions.get("route").map(String::as_str), Some(route), "{case}");
    }
    assert_true(&bench, &run)
}

#[test]
fn every_pair_of_eight_gpus_comes_out_at_its_own_link() {
    // Per ordered pair write and read by both engines, and latency; per unordered pair both ways by both engines; per GPU from and to all
    // others; all pairs at once by both engines.
    assert_eq!(assert_peers("h100-8x-nvswitch"), 56 * 5 + 28 * 2 + 8 * 2 + 2);
}

/// What the verdict says of all pairs at once.
fn together(run: &Run) -> Status {
    let (catalog, calibration, policy) = (Catalog::embedded().unwrap(), Calibration::from_run(run), Policy::default());
    let expected = Expectation::parse("4x H100 SXM", &catalog).unwrap();
    let evidence = Evidence { run, calibration: &calibration, others: &[], catalog: &catalog, expected: &expected, policy: &policy };
    let assessment = assess(evidence, None, None, Lang::En);
    let [check] = &assessment.checks.iter().filter(|check| check.id == "peer.together").collect::<Vec<_>>()[..] else {
        panic!("{:?}", assessment.checks)
    };
    check.status
}

#[test]
fn pairs_that_share_a_wire_show_it_when_all_copy_and_reads_are_the_same_as_writes() {
    let four = std::fs::read_to_string(Standin::scenarios().join("h100-8x-nvswitch.toml")).unwrap();
    let four = four
        .replace("count = 4", "count = 2")
        .replace("[0, 1, 2, 3, 4, 5, 6, 7]", "[0, 1, 2, 3]")
        .replace("spread = 0.08\n", "")
        .replace("scale = 256", "scale = 2048");
    let shared = format!("{four}\n[[peer_switch]]\ngpus = [0, 1, 2, 3]\ngbs = 500.0\n");
    let rates = |text: &str| {
        let bench = Bench::text(text);
        let output = bench.run(&["measure", "peer", "--effort", "standard", "--time", "2 s", "-o", "r.json"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let run = Run::read(&bench.result()).unwrap();
        assert_eq!(bench.standin.trace().unwrap().unwrap().leaks(), []);
        let several = |measurement: &&gpu_assay::measure::Measurement| measurement.case.get("from").is_none();
        let rate = |measurement: &gpu_assay::measure::Measurement| (measurement.case.to_string(), reported(measurement).point / 1e9);
        (run.measurements().filter(several).map(rate).collect::<Vec<_>>(), together(&run))
    };
    let ((alone, usual), (shared, told)) = (rates(&four), rates(&shared));
    // One pair alone has the wire for itself.
    assert_eq!((usual, told), (Status::Pass, Status::Warning));
    assert_eq!((alone.len(), shared.len()), (4 * 2 * 2 * 2 + 2, 4 * 2 * 2 * 2 + 2));
    for ((case, alone), (_, shared)) in alone.iter().zip(&shared) {
        let (kernel, all) = (case.contains("engine=sm"), case.starts_with("peer.all"));
        let truth = match (all, kernel) {
            (true, false) => 4.0 * 378.0,
            (true, true) => 4.0 * 360.0,
            (false, false) => 3.0 * 390.0,
            (false, true) => 3.0 * 371.0,
        };
        assert!((alone / truth - 1.0).abs() < 0.005, "{case}: {alone} where the truth is {truth}");
        assert!((shared / 500.0 - 1.0).abs() < 0.005, "{case}: {shared} of 500");
    }
}

#[test]
fn a_pair_with_half_the_lanes_shows_it() {
    assert_eq!(assert_peers("a100-pcie-2x-one-x8"), 2 * 5 + 2);
}

#[test]
fn without_peer_access_copies_go_through_the_host_and_kernels_are_waived() {
    assert_eq!(assert_peers("rtx4090-4x-no-p2p"), 12 * 2 + 6);
}

#[test]
fn a_gpu_with_more_peers_than_it_can_have_at_a_time_is_measured_pair_by_pair() {
    let path = Standin::scenarios().join("h100-8x-nvswitch.toml");
    let limited = |most: usize| {
        let scenario = std::fs::read_to_string(&path).unwrap();
        Bench::text(&scenario.replacen("[driver]", &format!("[driver]\nmost_peers = {most}"), 1))
    };
    let arguments = ["measure", "peer", "--gpu", "0,1,2", "--effort", "quick", "--time", "1 s", "-o", "r.json"];

    let bench = limited(1);
    let output = bench.run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = Run::read(&bench.result()).unwrap();
    // Nobody reaches two at a time: one cannot write to all others, but all others to one.
    assert_eq!((run.outcomes.len(), assert_true(&bench, &run)), (6 * 5 + 3 * 2 + 3 * 2 + 2, 6 * 5 + 3 * 2 + 3 + 2));

    let bench = limited(0);
    assert_eq!(bench.run(&arguments).status.code(), Some(3));
    for outcome in Run::read(&bench.result()).unwrap().outcomes {
        let Outcome::Waived { waiver: Waiver::NoPeerAccess { reason }, case } = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("CUDA_ERROR_TOO_MANY_PEERS") && reason.contains("at most eight peers"), "{case}: {reason}");
    }
}

/// Measure `probe` on GPU 0 twice, the second time with the fault that `plan` makes of the first one's calls. Time is virtual and the data
/// seeded, so both runs make the same calls. Returns what was found wrong.
fn found_when(bench: &Bench, probe: &str, plan: impl FnOnce(&Trace) -> String) -> Vec<String> {
    let arguments = ["measure", probe, "--gpu", "0", "--effort", "quick", "-o", "r.json"];
    let output = bench.run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let fault = plan(&bench.standin.trace().unwrap().unwrap());
    let output = bench.command(&arguments).env(FAULT, &fault).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{fault}: {}", stderr(&output));
    let wrong = |outcome: &Outcome| match outcome {
        Outcome::Failed { case, wrong_answer, error } => {
            assert!(wrong_answer, "{case}: {error}");
            Some(error.clone())
        }
        _ => None,
    };
    Run::read(&bench.result()).unwrap().outcomes.iter().filter_map(wrong).collect()
}

/// What is found wrong when the answer of one call is corrupted: the one `back` calls before the last of `function`.
fn found_when_corrupted(probe: &str, function: &str, back: u64) -> Vec<String> {
    found_when(&Bench::named("h200-1x"), probe, |trace| format!("{function}:{}:corrupt", trace.calls[function] - back))
}

#[test]
fn a_product_that_is_wrong_in_one_element_is_a_wrong_answer() {
    for (case, function) in [
        ("matmul.bf16/engine=own", "gemm_bf16"),
        ("matmul.e4m3/engine=own", "gemm_e4m3"),
        // The library's last product.
        ("matmul.e5m2/engine=cublaslt", "cublasLtMatmul"),
    ] {
        // An element of a product of 512 has a standard deviation of 7.5.
        let last = |trace: &Trace| trace.launches.get(function).or_else(|| trace.calls.get(function)).copied().unwrap();
        let wrong = found_when(&Bench::text(SLOW), "matmul", |trace| format!("{function}:{}:wrong=64", last(trace)));
        let [wrong] = &wrong[..] else { panic!("{function}: {wrong:?}") };
        assert!(wrong.starts_with(case) && wrong.contains("1 of 512 rows, the first row 256: residual"), "{wrong}");
    }
}

#[test]
fn the_self_test_finds_one_wrong_element_of_a_product() {
    for (kernel, product) in ["gemm_bf16", "gemm_e4m3", "gemm_e5m2"].iter().flat_map(|kernel| (1..=3).map(move |n| (kernel, n))) {
        let bench = Bench::text(SMALL);
        let output = bench
            .command(&["selftest", "--gpu", "0", "--format", "json"])
            .env(FAULT, format!("{kernel}:{product}:wrong=64"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(4), "{kernel}: {}", stderr(&output));
        let text = stdout(&output);
        assert!(text.matches("but found 64").count() == 1 && text.contains(kernel), "{kernel}: {text}");
    }
}

#[test]
fn a_corrupted_copy_is_a_wrong_answer() {
    // The last upload sets up the counters of the check, the one before is the last pageable copy to the device.
    let wrong = found_when_corrupted("copy", "cuMemcpyHtoDAsync_v2", 1);
    let [wrong] = &wrong[..] else { panic!("{wrong:?}") };
    assert!(wrong.starts_with("copy.h2d/") && wrong.contains("1 of ") && wrong.contains("words of 8 bytes differ"), "{wrong}");
}

#[test]
fn a_corrupted_stream_is_a_wrong_answer() {
    // The last launch compares, the one before makes what to compare with, and the one before that is the last triad that was timed.
    let wrong = found_when_corrupted("dram", "cuLaunchKernel", 2);
    let [wrong] = &wrong[..] else { panic!("{wrong:?}") };
    assert!(wrong.starts_with("dram.triad/") && wrong.contains("words of 8 bytes differ"), "{wrong}");
}

#[test]
fn memory_that_does_not_keep_its_contents_is_a_wrong_answer() {
    // The last launch compares the second pattern, the one before has written it.
    let wrong = found_when(&Bench::text(SMALL), "memory", |trace| format!("cuLaunchKernel:{}:corrupt", trace.calls["cuLaunchKernel"] - 1));
    let [wrong] = &wrong[..] else { panic!("{wrong:?}") };
    assert!(wrong.starts_with("memory.pattern/gpu=0") && wrong.contains("piece 1 of 1, pass 2: 1 of "), "{wrong}");
}

#[test]
fn memory_that_is_smaller_than_it_says_is_a_wrong_answer() {
    let fake = SMALL.replacen("scale = 4096", "scale = 4096\nreal_memory_mib = 57344", 1);
    let bench = Bench::text(&fake);
    let output = bench.run(&["measure", "memory", "--effort", "quick", "-o", "r.json"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let run = Run::read(&bench.result()).unwrap();
    let failed: Vec<&Outcome> = run.outcomes.iter().filter(|outcome| outcome.is_failure()).collect();
    let [Outcome::Failed { case, error, wrong_answer: true }] = failed[..] else { panic!("{failed:#?}") };
    assert_eq!(case.to_string(), "memory.pattern/gpu=0", "the other GPU has what it says");
    assert!(error.contains("words of 8 bytes differ from what was written, the first at byte "), "{error}");
    assert_eq!(bench.standin.trace().unwrap().unwrap().leaks(), []);
}

/// The rates of copies alone, of the largest size, and together: GB/s by direction and GPU.
fn host_rates(run: &Run, gpu: u64) -> [[f64; 2]; 2] {
    ["h2d", "d2h"].map(|direction| {
        let rate = |mut found: Box<dyn Iterator<Item = &gpu_assay::measure::Measurement> + '_>| {
            found.find(|measurement| measurement.case.get_count("gpu") == Some(gpu)).unwrap().bandwidth().unwrap().point / 1e9
        };
        let alone = run.of(if direction == "h2d" { "copy.h2d" } else { "copy.d2h" });
        let large = alone.filter(|m| m.case.get_word("memory") == Some("pinned") && m.work.moved.0 >= 1 << 22);
        let together = run.of("copy.together").filter(move |m| m.case.get_word("dir") == Some(direction));
        [rate(Box::new(large)), rate(Box::new(together))]
    })
}

fn assert_rates(found: [[f64; 2]; 2], expected: [[f64; 2]; 2]) {
    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
        assert!((found / expected - 1.0).abs() < TOLERANCE, "{found} where the truth is {expected}");
    }
}

/// Measure the copies of a scenario; all others must have copied during every batch.
fn copied(scenario: &str) -> Run {
    let bench = Bench::text(scenario);
    let output = bench.run(&["measure", "copy", "--effort", "quick", "--time", "3 s", "-o", "r.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(bench.standin.trace().unwrap().unwrap().leaks(), []);
    let run = Run::read(&bench.result()).unwrap();
    for measurement in run.of("copy.together") {
        let (covered, batches) = measurement.conditions["covered"].split_once(" of ").unwrap();
        assert_eq!(Some(covered), batches.strip_suffix(" batches"), "{}", measurement.case);
    }
    run
}

#[test]
fn gpus_behind_one_switch_are_slower_together_than_alone() {
    let run = copied(&format!("{SMALL}\n[[host_switch]]\ngpus = [0, 1]\nh2d_gbs = 38.0\nd2h_gbs = 30.0\n"));
    for gpu in [0, 1] {
        assert_rates(host_rates(&run, gpu), [[25.3, 19.0], [26.1, 15.0]]);
    }
}

#[test]
fn gpus_of_unequal_links_share_what_the_slower_one_leaves() {
    let second = SMALL.rfind("host_link").unwrap();
    let slow = SMALL[second..].replacen("h2d_gbs = 25.3, d2h_gbs = 26.1", "h2d_gbs = 6.0, d2h_gbs = 6.5", 1);
    let run = copied(&format!("{}{slow}\n[[host_switch]]\ngpus = [0, 1]\nh2d_gbs = 28.0\nd2h_gbs = 40.0\n", &SMALL[..second]));
    assert_rates(host_rates(&run, 0), [[25.3, 22.0], [26.1, 26.1]]);
    assert_rates(host_rates(&run, 1), [[6.0, 6.0], [6.5, 6.5]]);
}

#[test]
fn a_gpu_alone_has_nothing_to_copy_together_with() {
    let bench = Bench::text(SMALL);
    let output = bench.run(&["measure", "copy", "--gpu", "1", "--effort", "quick", "--time", "1 s", "-o", "r.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = Run::read(&bench.result()).unwrap();
    assert!(run.outcomes.iter().all(|outcome| outcome.case().mechanism() != "copy.together"));
}

#[test]
fn a_copy_of_another_gpu_that_is_corrupted_is_a_wrong_answer_too() {
    let bench = Bench::text(SMALL);
    let arguments = ["measure", "copy", "--effort", "quick", "--time", "1 s", "-o", "r.json"];
    assert_eq!(bench.run(&arguments).status.code(), Some(0));
    // The last download is that of the last timed copy; the others' were enqueued before it.
    let calls = bench.standin.trace().unwrap().unwrap().calls["cuMemcpyDtoHAsync_v2"];
    let output = bench.command(&arguments).env(FAULT, format!("cuMemcpyDtoHAsync_v2:{calls}:corrupt")).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let run = Run::read(&bench.result()).unwrap();
    let failed: Vec<&Outcome> = run.outcomes.iter().filter(|outcome| outcome.is_failure()).collect();
    let [Outcome::Failed { case, error, wrong_answer: true }] = failed[..] else { panic!("{failed:#?}") };
    assert!(case.mechanism() == "copy.together" && error.contains("on GPU 1: device to host: "), "{case}: {error}");
}

/// Tells the inner half of a test that it is the inner half.
const INSIDE: &str = "PROBES_ON_STANDIN_INSIDE";

/// Run `body` in a process of its own on the scenario's machine, with `fault`.
fn inside(scenario: &str, test: &str, fault: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let standin = Standin::named(scenario).unwrap();
    let mut command = standin.command(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(INSIDE, "1").env(FAULT, fault);
    let output = command.output().unwrap();
    let text = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
    assert!(output.status.success() && text.contains("1 passed"), "{test} on {scenario}:\n{text}");
    assert_eq!(standin.trace().unwrap().unwrap().leaks(), []);
}

fn tested() -> selftest::Report {
    let options = Options { seed: 7, share: 0.2 };
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_gpu-assay"));
    selftest::run(&gpu_assay::assay::inspect(), &[0], options, Some(program), &mut |_| {}, &|| false).unwrap()
}

#[test]
fn the_self_test_passes_on_a_right_device() {
    inside("h200-1x", "the_self_test_passes_on_a_right_device", "", || {
        let report = tested();
        let others: Vec<_> = report.checks.iter().filter(|check| check.verdict != Verdict::Right).map(|check| check.name).collect();
        // A chip that would convert FP8 has no kernel for it.
        assert!(report.is_right() && others == ["tensor_e4m3"], "{others:#?}");
        assert_eq!(report.checks.len(), 49 + HopperKernel::all().count() + WgmmaFormat::ALL.len());
    });
}

#[test]
fn the_self_test_finds_corrupted_kernels() {
    inside("h200-1x", "the_self_test_finds_corrupted_kernels", "cuLaunchKernel:1+:corrupt", || {
        let report = tested();
        assert!(!report.is_right());
        let wrong = report.checks.iter().filter(|check| matches!(check.verdict, Verdict::Wrong(_))).count();
        assert!(wrong >= 20, "{:#?}", report.checks);
    });
}

#[test]
fn a_chip_older_than_every_kernel_is_waived() {
    let bench = Bench::text(&SMALL.replace("cc = [8, 9]", "cc = [7, 0]"));
    let output = bench.run(&["measure", "dram", "matmul", "--effort", "quick", "-o", "r.json"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("needs compute capability 7.5, found 7.0"), "{}", stderr(&output));
    let run = Run::read(&bench.result()).unwrap();
    assert!(run.outcomes.len() == 2 && run.outcomes.iter().all(|outcome| matches!(outcome, Outcome::Waived { .. })), "{:?}", run.outcomes);
}
