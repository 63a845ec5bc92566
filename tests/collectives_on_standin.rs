//! Collectives through NCCL on the stand-in: times at its law, contents verified, and every way in which the library may fail.
#![allow(clippy::unwrap_used)] // A failed expectation is a failed test, also in a test's own helpers.

mod common;

use common::truth::{reported, truth};
use common::{Bench, scenario, stderr, stdout};
use gpu_assay::calibrate::Calibration;
use gpu_assay::calibrate::collective::{Collective, CollectiveModel};
use gpu_assay::estimate::memory::Overheads;
use gpu_assay::figure::Basis;
use gpu_assay::measure::{MESSAGES, Measurement, Outcome, Waiver};
use gpu_assay::record::Run;
use gpu_assay::units::{Bytes, Seconds};
use gpu_assay_standin::FAULT;

/// Two small GPUs with every library, NCCL among them.
fn two() -> String {
    include_str!("scenarios/sweep.toml").replace("[driver]", "[driver]\nnccl = 22703")
}

/// So many GPUs of the large machine, every pair with a rate of its own.
fn several(gpus: usize) -> String {
    let text = scenario("h100-8x-nvswitch").replacen("[driver]", "[driver]\nnccl = 22703", 1);
    let order = (0..gpus).map(|index| index.to_string()).collect::<Vec<_>>().join(", ");
    let text = text.replace("[0, 1, 2, 3, 4, 5, 6, 7]", &format!("[{order}]"));
    let (near, far) = (gpus.div_ceil(2), gpus / 2);
    text.replacen("count = 4", &format!("count = {near}"), 1).replacen("count = 4", &format!("count = {far}"), 1)
}

/// The record of a measurement with these options, which ended with this code, and left nothing behind.
#[track_caller]
fn measured(text: &str, options: &[&str], fault: &str, code: i32) -> (Bench, Run) {
    let bench = Bench::text(text);
    let output = bench.command(&[&["measure", "collective", "-o", "r.json"], options].concat()).env(FAULT, fault).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    assert_eq!(bench.standin.trace().unwrap().unwrap().leaks(), []);
    let run = Run::read(&bench.result()).unwrap();
    (bench, run)
}

const QUICK: [&str; 4] = ["--effort", "quick", "--time", "300 ms"];

fn condition<'a>(measurement: &'a Measurement, name: &str) -> &'a str {
    measurement.conditions.get(name).unwrap_or_else(|| panic!("{}: no {name}", measurement.case))
}

/// Every measurement against the law; returns how many there were.
#[track_caller]
fn assert_lawful(bench: &Bench, run: &Run) -> usize {
    for measurement in run.measurements() {
        let (found, law) = (reported(measurement).point, truth(bench.standin.scenario(), measurement));
        assert!((found / law - 1.0).abs() < 0.005, "{}: {found:e}, by the law {law:e}", measurement.case);
    }
    run.measurements().count()
}

#[test]
fn every_operation_comes_out_at_the_law_on_every_number_of_gpus() {
    let (bench, run) = measured(&several(4), &["--time", "2 s"], "", 0);
    // The smaller memory of the stand-in holds messages up to 8 MiB: the two largest sizes are one there.
    let sizes = MESSAGES.len() - 1;
    assert_eq!(assert_lawful(&bench, &run), 2 * 6 * sizes);
    assert_eq!(run.outcomes.len(), 2 * 6 * sizes, "nothing waived, nothing failed");
    for measurement in run.measurements() {
        assert_eq!(condition(measurement, "engine"), "nccl");
        assert_eq!(condition(measurement, "library"), "NCCL 2.27.3");
        assert_eq!(condition(measurement, "gate"), "held while enqueued");
        let gpus = measurement.case.get_count("gpus").unwrap();
        assert_eq!(condition(measurement, "ranks"), if gpus == 2 { "0 1" } else { "0 1 2 3" });
        // What each GPU sends, over the message: nccl-tests' factor.
        let message: Bytes = condition(measurement, "message").parse().unwrap();
        let operation = measurement.case.mechanism().strip_prefix("collective.").unwrap();
        let factor = Collective::named(operation).map_or(1.0, |operation| operation.bus_factor(gpus as u32));
        assert!((measurement.work.moved.as_f64() / message.as_f64() - factor).abs() < 1e-12, "{}", measurement.case);
    }
    let (_, quick) = measured(&several(4), &QUICK, "", 0);
    assert_eq!(quick.measurements().count(), 5 * 3, "five operations in three sizes on all four");

    the_record_feeds_the_model(&bench, &run);
    let report = bench.run(&["report", "r.json", "--format", "markdown"]);
    let text = stdout(&report);
    assert_eq!(report.status.code(), Some(0), "{}", stderr(&report));
    for part in ["Bus bandwidth of collectives on 4 GPUs", "Time of collectives on 4 GPUs", "reduce-scatter"] {
        assert!(text.contains(part), "no {part:?} in the report");
    }
}

/// What was measured is what the model says, at the sizes and between them.
fn the_record_feeds_the_model(bench: &Bench, run: &Run) {
    let calibration = Calibration::from_run(run);
    let model: CollectiveModel = calibration.collectives.unwrap();
    assert_eq!(model.basis(), Basis::MeasuredHere);
    assert_eq!(model.from(), [format!("collective, {} cases, up to 4 GPUs", 2 * 5 * (MESSAGES.len() - 1))]);
    let mut seen = 0;
    for measurement in run.measurements() {
        let operation = Collective::named(measurement.case.mechanism().strip_prefix("collective.").unwrap());
        let Some(operation) = operation else { continue };
        let gpus = measurement.case.get_count("gpus").unwrap() as u32;
        let message: Bytes = condition(measurement, "message").parse().unwrap();
        let told = model.time(operation, gpus, message);
        let time = Seconds(measurement.time().unwrap().point);
        assert!((told.time / time - 1.0).abs() < 1e-6 && !told.extrapolated, "{}: {told:?}, measured {time}", measurement.case);
        seen += 1;
    }
    assert!(seen > 60, "{seen}");
    // Three GPUs were not measured: between two and four.
    let time = |gpus| model.time(Collective::AllReduce, gpus, Bytes::mib(4)).time;
    assert!(time(2) < time(3) && time(3) < time(4));
    assert_eq!(bench.standin.scenario().gpus.len(), 4);
}

#[test]
fn parts_of_three_gpus_are_whole_vectors() {
    let (bench, run) = measured(&several(3), &QUICK, "", 0);
    assert_eq!(assert_lawful(&bench, &run), 15);
    let smallest = run.of("collective.all_reduce").find(|one| one.case.get_bytes("bytes") == Some(Bytes(512))).unwrap();
    assert_eq!(condition(smallest, "message"), "480B");
    assert_eq!(smallest.work.moved, Bytes(4 * 160));
}

#[test]
fn a_bit_that_flips_in_any_operation_is_found() {
    for (function, mechanism) in [
        ("ncclAllReduce", "collective.all_reduce"),
        ("ncclAllGather", "collective.all_gather"),
        ("ncclReduceScatter", "collective.reduce_scatter"),
        ("ncclSend", "collective.all_to_all"),
        ("ncclBroadcast", "collective.broadcast"),
    ] {
        let (_, run) = measured(&two(), &QUICK, &format!("{function}:1+:corrupt"), 4);
        let wrong = run.outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Failed { wrong_answer: true, .. }));
        let wrong: Vec<&str> = wrong.map(|outcome| outcome.case().mechanism()).collect();
        assert!(wrong.len() >= 2 && wrong.iter().all(|name| *name == mechanism), "{function}: {wrong:?}");
        assert_eq!(run.measurements().count(), run.outcomes.len() - wrong.len(), "{function}: the others are right");
    }
}

fn waivers(run: &Run) -> Vec<&Waiver> {
    let waivers = run.outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Waived { waiver, .. } => Some(waiver),
        _ => None,
    });
    waivers.collect()
}

#[test]
fn without_a_usable_library_the_cases_are_waived_and_say_why() {
    let none = include_str!("scenarios/sweep.toml");
    let (_, run) = measured(none, &QUICK, "", 3);
    let waivers_of_none = waivers(&run);
    assert_eq!(
        (waivers_of_none.len(), run.outcomes.len()),
        (10, 10),
        "five operations, whose larger sizes are one here: {:?}",
        run.outcomes
    );
    for waiver in waivers_of_none {
        let Waiver::LibraryMissing { library, sought, .. } = waiver else { panic!("{waiver:?}") };
        assert!(library == "libnccl.so.2" && !sought.is_empty(), "{sought:?}");
    }

    let old = two().replace("cuda = 12040", "cuda = 12040\nmissing = [\"ncclSend\"]");
    let (_, run) = measured(&old, &QUICK, "", 3);
    let told = waivers(&run);
    let why = |waiver: &&Waiver| matches!(waiver, Waiver::LibraryMissing { sought, .. } if sought.iter().any(|place| place.contains("lacks the function ncclSend")));
    assert!(!told.is_empty() && told.iter().all(why), "{told:?}");
}

#[test]
fn one_gpu_has_nobody_to_talk_to() {
    let bench = Bench::named("h200-1x");
    let output = bench.run(&["measure", "collective", "--effort", "quick", "-o", "r.json"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let run = Run::read(&bench.result()).unwrap();
    assert_eq!(waivers(&run), [&Waiver::TooFewDevices { needed: 2, found: 1 }]);
}

#[test]
fn a_call_that_fails_fails_its_case_and_the_next_ones_go_on() {
    for (fault, said) in [
        ("ncclGroupEnd:9:error=1", "ncclGroupEnd returned ncclUnhandledCudaError"),
        ("ncclAllGather:30:error=4", "ncclAllGather returned ncclInvalidArgument"),
        ("ncclCommGetAsyncError:5:error=3", "ncclCommGetAsyncError returned ncclInternalError"),
    ] {
        let (_, run) = measured(&two(), &QUICK, fault, 4);
        let failed: Vec<&Outcome> = run.outcomes.iter().filter(|outcome| outcome.is_failure()).collect();
        let [Outcome::Failed { error, wrong_answer: false, .. }] = failed[..] else { panic!("{fault}: {failed:#?}") };
        assert!(error.contains(said), "{fault}: {error}");
        assert_eq!(run.measurements().count(), run.outcomes.len() - 1, "{fault}");
    }
}

#[test]
fn gpus_that_cannot_be_connected_are_tried_once() {
    let (bench, run) = measured(&two(), &QUICK, "ncclCommInitAll:1+:error=2", 4);
    let [Outcome::Failed { error, wrong_answer: false, .. }, rest @ ..] = &run.outcomes[..] else { panic!("{:?}", run.outcomes) };
    assert!(error.contains("ncclCommInitAll returned ncclSystemError") && error.contains("/dev/shm"), "{error}");
    assert_eq!(waivers(&run).len(), rest.len());
    assert_eq!(bench.standin.trace().unwrap().unwrap().calls["ncclCommInitAll"], 1);
}

#[test]
fn a_library_that_waits_for_the_device_is_timed_without_a_gate() {
    let text = two().replace("nccl = 22703", "nccl = 22703\nnccl_waits = true");
    let (_, run) = measured(&text, &QUICK, "", 0);
    assert!(run.measurements().count() >= 5);
    for measurement in run.measurements() {
        assert_eq!(condition(measurement, "gate"), "none: the library waits for the device", "{}", measurement.case);
    }
}

#[test]
fn after_a_collective_that_hangs_nothing_more_is_tried() {
    let text = two().replace("nccl = 22703", "nccl = 22703\nnccl_stuck = true");
    let (_, run) = measured(&text, &QUICK, "", 4);
    let [Outcome::Failed { error, .. }, rest @ ..] = &run.outcomes[..] else { panic!("{:?}", run.outcomes) };
    assert!(error.contains("by NCCL: it did not end within 20 s") && error.contains("NCCL_P2P_DISABLE=1"), "{error}");
    assert!(!rest.is_empty());
    for outcome in rest {
        let Outcome::Waived { waiver: Waiver::Unsupported { what }, .. } = outcome else { panic!("{outcome:?}") };
        assert!(what.starts_with("another collective after one that hung"), "{what}");
    }
}

/// Two small GPUs on which a communicator takes 2 MiB.
fn taking() -> String {
    two().replace("cublaslt_mib = 1", "cublaslt_mib = 1, nccl_mib = 2")
}

#[test]
fn what_connecting_takes_of_the_memory_is_measured_and_estimates_take_it() {
    let bench = Bench::text(&taking());
    let output = bench.run(&["measure", "memory", "--time", "100 ms", "-o", "r.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(bench.standin.trace().unwrap().unwrap().leaks(), []);
    let run = Run::read(&bench.result()).unwrap();
    let calibration = Calibration::from_run(&run);
    let [first, second] = &calibration.gpus[..] else { panic!("{} GPUs", calibration.gpus.len()) };
    let nccl = first.memory.nccl.as_ref().unwrap();
    assert_eq!(
        (nccl.value, nccl.basis, &nccl.from[..]),
        (Bytes::mib(2), Basis::MeasuredHere, &["memory.nccl/gpu=0,gpus=2".to_owned()][..])
    );
    assert!(second.memory.nccl.is_none());
    let overheads = Overheads::measured(first, None);
    assert_eq!(overheads.communicator.value, Bytes::mib(2));
    assert_eq!(overheads.communicator.high, Overheads::measured(second, None).communicator.high, "more operations may take more");
    // Connecting takes seconds on a real machine: not in a quick run, and no case where there is one GPU.
    let mechanisms = |text: &str, effort: &str| {
        let bench = Bench::text(text);
        let output = bench.run(&["measure", "memory", "--effort", effort, "--time", "100 ms", "-o", "r.json"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        Run::read(&bench.result()).unwrap().outcomes.iter().filter(|outcome| outcome.case().mechanism() == "memory.nccl").count()
    };
    assert_eq!((mechanisms(&taking(), "quick"), mechanisms(&scenario("h200-1x"), "standard")), (0, 0));
}

#[test]
fn what_a_communicator_takes_of_the_memory_stands_in_the_conditions() {
    let text = taking();
    let (_, run) = measured(&text, &QUICK, "", 0);
    assert!(run.measurements().count() >= 5);
    assert!(run.measurements().all(|measurement| condition(measurement, "communicator") == "2MiB"));
}
