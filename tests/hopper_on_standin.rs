//! Hopper's own matrix products on a stand-in: the fastest right one multiplies, and one that no hardware has proven can ruin nothing.
#![allow(clippy::unwrap_used)]

mod common;

use common::truth::{reported, truth};
use common::{Bench, stderr, stdout};
use gpu_assay::measure::{Measurement, Outcome};
use gpu_assay::record::Run;
use gpu_assay_standin::FAULT;

/// Two slow GPUs, made into Hoppers whose own instructions are worth it.
fn hopper() -> String {
    include_str!("scenarios/slow.toml")
        .replace("cc = [8, 9]", "cc = [9, 0]")
        .replace("shared_kib = 164", "shared_kib = 228")
        .replace("cublaslt = 120402\n", "")
        .replace("matmul = {", "hopper = { bf16_tflops = 50.0, e4m3_tflops = 100.0, e5m2_tflops = 99.0, overhead_us = 14.0 }\nmatmul = {")
}

/// Launches of a kernel in the process that tries it first: three small products and a larger one.
const TRIED_FIRST: u64 = 4;

/// Launches with which it is timed then: one that loads it, and three.
const TIMED: u64 = 4;

/// What a quick run measures with `fault`, at the scenario's truth; nothing fails and nothing is left.
fn measured(scenario: &str, what: &[&str], fault: &str) -> (Bench, Run) {
    let bench = Bench::text(scenario);
    let arguments = [&["measure"], what, &["--effort", "quick", "--time", "200 ms", "-o", "r.json"]].concat();
    let output = bench.command(&arguments).env(FAULT, fault).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{fault}: {}{}", stdout(&output), stderr(&output));
    let run = Run::read(&bench.result()).unwrap();
    assert!(!run.outcomes.iter().any(Outcome::is_failure), "{fault}: {:#?}", run.outcomes);
    assert_eq!(bench.standin.trace().unwrap().unwrap().leaks(), [], "{fault}");
    for measurement in run.measurements() {
        let (found, truth) = (reported(measurement).point, truth(bench.standin.scenario(), measurement));
        assert!((found / truth - 1.0).abs() < 0.02, "{fault}: {}: {found}, truly {truth}", measurement.case);
    }
    (bench, run)
}

/// What both GPUs multiply with `fault`.
fn multiplied(scenario: &str, fault: &str) -> (Bench, Run) {
    measured(scenario, &["matmul"], fault)
}

/// Own products of a format.
fn own<'a>(run: &'a Run, format: &str) -> Vec<&'a Measurement> {
    let name = format!("matmul.{format}");
    let found: Vec<_> =
        run.measurements().filter(|one| one.case.mechanism() == name && one.case.get_word("engine") == Some("own")).collect();
    assert!(!found.is_empty(), "no product in {format}");
    found
}

fn condition<'a>(measurement: &'a Measurement, name: &str) -> &'a str {
    measurement.conditions.get(name).map_or("", String::as_str)
}

#[test]
fn the_fastest_kernel_multiplies_and_is_named() {
    let (bench, run) = multiplied(&hopper(), "");
    for format in ["bf16", "e4m3"] {
        for one in own(&run, format) {
            let algorithm = condition(one, "algorithm");
            assert!(algorithm.starts_with("wgmma, ") && algorithm.contains(" tiles, "), "{algorithm}");
            assert_eq!(condition(one, "refused"), "", "{}", one.case);
        }
    }
    let trace = bench.standin.trace().unwrap().unwrap();
    let launches = |start: &str| trace.launches.iter().filter(|(name, _)| name.starts_with(start)).map(|(_, count)| count).sum::<u64>();
    assert!(launches("gemm_hopper_bf16_") > launches("gemm_bf16") && launches("gemm_hopper_e4m3_") > launches("gemm_e4m3"));
}

#[test]
fn where_their_own_instructions_are_slower_nobody_uses_them() {
    let scenario = hopper();
    let slow: Vec<&str> = scenario.lines().filter(|line| !line.starts_with("hopper = ")).collect();
    let (_, run) = multiplied(&slow.join("\n"), "");
    for one in own(&run, "bf16").into_iter().chain(own(&run, "e4m3")) {
        assert!(condition(one, "algorithm").starts_with("mma.sync, 128x256 tiles"), "{}", one.case);
        assert_eq!(condition(one, "refused"), "");
    }
}

#[test]
fn kernels_that_are_wrong_or_give_up_are_refused_and_named() {
    for (fault, said) in [("wrong=64", "expected "), ("unfinished", "it gave up waiting")] {
        let (_, run) = multiplied(&hopper(), &format!("gemm_hopper_*:1+:{fault}"));
        for (format, tiles) in [("bf16", 4), ("e4m3", 3)] {
            for one in own(&run, format) {
                assert!(condition(one, "algorithm").starts_with("mma.sync"), "{fault}: {}", one.case);
                let refused = condition(one, "refused");
                assert!(
                    refused.matches(&format!("gemm_hopper_{format}_")).count() == tiles && refused.contains(said),
                    "{fault}: {refused}"
                );
            }
        }
    }
}

#[test]
fn one_wrong_kernel_gives_way_to_the_next() {
    let (_, run) = multiplied(&hopper(), "gemm_hopper_bf16_128x256_c2:1+:wrong=64");
    for one in own(&run, "bf16") {
        assert!(condition(one, "algorithm").starts_with("wgmma, "), "{}", one.case);
        assert!(!condition(one, "algorithm").starts_with("wgmma, 128x256 "), "{}", one.case);
        assert!(
            condition(one, "refused").starts_with("gemm_hopper_bf16_128x256_c2: at size (128, 256, 128): "),
            "{}",
            condition(one, "refused")
        );
    }
    assert!(own(&run, "e4m3").iter().all(|one| condition(one, "refused").is_empty()));
}

#[test]
fn a_kernel_that_goes_wrong_only_in_the_measurement_is_not_used_either() {
    // The answer that is looked at before a kernel is chosen, and then those that are timed.
    for (from, fault) in [(TIMED + 1, "unfinished"), (TIMED + 2, "wrong=64")] {
        assert!(from > TRIED_FIRST);
        let (_, run) = multiplied(&hopper(), &format!("gemm_hopper_*:{from}+:{fault}"));
        for one in own(&run, "bf16").into_iter().chain(own(&run, "e4m3")) {
            assert!(condition(one, "algorithm").starts_with("mma.sync"), "{fault} from {from}: {}", condition(one, "algorithm"));
            assert!(condition(one, "refused").contains("gemm_hopper_"), "{fault} from {from}: {}", one.case);
        }
    }
}

/// Zeros are the last products in BF16.
#[test]
fn zeros_give_way_like_any_other_product() {
    let (bench, _) = multiplied(&hopper(), "");
    let launches = bench.standin.trace().unwrap().unwrap().launches;
    let own: Vec<_> = launches.iter().filter(|(kernel, _)| kernel.starts_with("gemm_hopper_bf16")).collect();
    assert!(!own.is_empty());
    let refused = own.into_iter().filter(|(kernel, last)| {
        let (_, run) = multiplied(&hopper(), &format!("{kernel}:{last}:wrong=64"));
        let mut zeros = run.measurements().filter(|one| one.case.mechanism() == "matmul.zeros");
        zeros.any(|one| condition(one, "refused").contains("residual"))
    });
    assert_eq!(refused.count(), 1, "one kernel multiplied zeros last");
}

#[test]
fn a_driver_that_knows_no_tensor_maps_multiplies_as_before() {
    let old = hopper().replace("cuda = 12040", "cuda = 12040\nmissing = [\"cuTensorMapEncodeTiled\"]");
    let (_, run) = multiplied(&old, "");
    for one in own(&run, "bf16") {
        assert!(condition(one, "algorithm").starts_with("mma.sync"));
        assert!(condition(one, "refused").contains("cuTensorMapEncodeTiled"), "{}", condition(one, "refused"));
    }
}

#[test]
fn a_kernel_that_breaks_its_context_breaks_no_measurement() {
    // In the process that tries them every launch beyond the first few fails as after an illegal address; the measurement has fewer.
    let (_, run) = multiplied(&hopper(), "cuTensorMapEncodeTiled:3+:error=700");
    for one in own(&run, "bf16") {
        assert!(condition(one, "algorithm").starts_with("mma.sync"));
        assert!(
            condition(one, "refused").contains("cuTensorMapEncodeTiled returned CUDA_ERROR_ILLEGAL_ADDRESS"),
            "{}",
            condition(one, "refused")
        );
    }
}

#[test]
fn the_self_test_holds_an_unproven_kernel_against_itself() {
    let bench = Bench::text(&hopper());
    let output = bench
        .command(&["selftest", "--gpu", "0", "--memory", "0.05", "--format", "csv"])
        .env(FAULT, "gemm_hopper_e5m2*:2:wrong=64")
        .output()
        .unwrap();
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("no {name} in {text}")).to_owned();
    assert!(line("gemm_hopper_bf16_64x128").ends_with("right"));
    let waived = line("gemm_hopper_e5m2_128x256_c2");
    assert!(waived.contains("waived: refused, and no hardware has proven this kernel yet: at size (136, 264, 336)"), "{waived}");
}

#[test]
fn a_name_that_is_no_kernel_is_not_tried() {
    let bench = Bench::text(&hopper());
    let output = bench.run(&["try-kernels", "GPU-00000000-0000-0000-0000-000000000001", "1", "gemm_bf16"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("there is none of the name gemm_bf16"));
}

/// Launches of each kernel of `wgmma` alone in the process that tries it first.
const RATES_TRIED: u64 = 3;

/// The cases of `wgmma` alone with `fault`, in their order: format, and the reason where it was waived. Nothing fails and nothing is left.
fn issued(scenario: &str, fault: &str) -> Vec<(String, Option<String>)> {
    let (_, run) = measured(scenario, &["tensor", "--gpu", "0"], fault);
    let others = run.measurements().filter(|one| one.case.get_word("engine") != Some("wgmma")).count();
    assert_eq!(others, 8, "{fault}: all that every GPU of this generation has by other instructions");
    let of_wgmma = run.outcomes.iter().filter(|outcome| outcome.case().get_word("engine") == Some("wgmma"));
    let said = of_wgmma.map(|outcome| {
        let name = outcome.case().mechanism().trim_start_matches("tensor.").to_owned();
        (name, if let Outcome::Waived { waiver, .. } = outcome { Some(waiver.to_string()) } else { None })
    });
    said.collect()
}

#[test]
fn an_instruction_alone_is_measured_once_its_kernel_was_right() {
    let said = issued(&hopper(), "");
    let names: Vec<&str> = said.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["bf16", "fp16", "tf32", "e4m3", "e5m2", "int8"]);
    assert!(said.iter().all(|(_, waived)| waived.is_none()), "{said:?}");
}

#[test]
fn an_instruction_alone_that_cannot_be_trusted_is_waived_and_costs_no_other() {
    let waived_alone = |fault: &str, wanted: &[&str]| {
        for (name, waived) in issued(&hopper(), fault) {
            let expected = name == "tf32";
            assert_eq!(waived.is_some(), expected, "{fault}: {name}: {waived:?}");
            let why = waived.unwrap_or_default();
            assert!(!expected || wanted.iter().all(|part| why.contains(part)), "{fault}: {why}");
        }
    };
    // Wrong in the process that tries it: with one round, and with many.
    waived_alone("tensor_hopper_tf32:1:corrupt", &["tf32 in wgmma that can be trusted: after 1 rounds 1 of the threads are wrong"]);
    waived_alone("tensor_hopper_tf32:3:corrupt", &["after 1000 rounds 1 of the threads are wrong"]);
    // Only later, when it is measured: its trial had fewer launches.
    let from = RATES_TRIED + 1;
    waived_alone(&format!("tensor_hopper_tf32:{from}+:corrupt"), &["tf32 in wgmma that can be trusted: ", " of the threads are wrong"]);
}

#[test]
fn a_launch_that_fails_waives_its_case_and_a_gpu_that_is_gone_fails_it() {
    let bench = Bench::text(&hopper());
    let arguments = ["measure", "tensor", "--gpu", "0", "--effort", "quick", "--time", "200 ms", "-o", "r.json"];
    assert_eq!(bench.run(&arguments).status.code(), Some(0));
    // The last launch of all issues INT8, and the process that tries kernels has far fewer.
    let last = bench.standin.trace().unwrap().unwrap().calls["cuLaunchKernel"];
    let said = issued(&hopper(), &format!("cuLaunchKernel:{last}:error=1"));
    assert!(said[5].1.as_deref().is_some_and(|why| why.contains("CUDA_ERROR_INVALID_VALUE")), "{said:?}");
    assert!(said[..5].iter().all(|(_, waived)| waived.is_none()), "{said:?}");
    let output = bench.command(&arguments).env(FAULT, format!("cuLaunchKernel:{last}:gone")).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let run = Run::read(&bench.result()).unwrap();
    let failed: Vec<&Outcome> = run.outcomes.iter().filter(|outcome| outcome.is_failure()).collect();
    assert!(matches!(failed[..], [one] if one.case().mechanism() == "tensor.int8"), "{failed:#?}");
}
