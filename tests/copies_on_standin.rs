//! Copies by other means than the usual: by kernels, one at a time, with host memory on a chosen node or on chosen pages.
#![allow(clippy::unwrap_used)] // A failed expectation is a failed test, also in a test's own helpers.

mod common;

use std::path::Path;

use common::truth::{reported, truth};
use gpu_assay::assay::{self, Request, Silent};
use gpu_assay::calibrate::Calibration;
use gpu_assay::error::Result;
use gpu_assay::host::{Pages, Region, Topology};
use gpu_assay::machine::{Fact, Machine, NumaNode};
use gpu_assay::measure::{Case, Measurement, Outcome, Waiver};
use gpu_assay::probe::{self, Effort, Lab, Probe};
use gpu_assay::record::Run;
use gpu_assay::units::{Bytes, Seconds};
use gpu_assay_standin::{FAULT, Standin, Trace};

/// Largest error of a reported median where the scenario has no noise.
const TOLERANCE: f64 = 0.005;

/// Two small GPUs on node 0.
const SMALL: &str = include_str!("scenarios/sweep.toml");

/// Name of the case to measure, and of the file that receives the record, in a process that measures.
const ONLY: &str = "COPIES_ON_STANDIN_ONLY";
const RECORD: &str = "COPIES_ON_STANDIN_RECORD";

/// The cases of the `copy` probe whose id begins so.
struct Only(String);

impl Probe for Only {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn about(&self) -> &'static str {
        "some copies"
    }

    fn needs(&self, machine: &Machine) -> Result<(), Waiver> {
        probe::find("copy").unwrap().needs(machine)
    }

    fn cases(&self, machine: &Machine, effort: Effort) -> Vec<Case> {
        let mut cases = probe::find("copy").unwrap().cases(machine, effort);
        cases.retain(|case| case.to_string().starts_with(&self.0));
        cases
    }

    fn run(&self, case: &Case, lab: &mut Lab<'_>) -> Result<Outcome> {
        probe::find("copy").unwrap().run(case, lab)
    }
}

/// The machine as this one is, but said to have two NUMA nodes. Where it has only one, its processors are those of both.
fn with_two_nodes(mut machine: Machine) -> Machine {
    let topology = Topology::here();
    let processors = |node: u32| {
        let all = topology.processors.iter();
        let of_node: Vec<u32> = all.clone().filter(|processor| processor.node == node).map(|processor| processor.cpu).collect();
        if of_node.is_empty() { all.map(|processor| processor.cpu).collect() } else { of_node }
    };
    let node = |node, distances: [u32; 2]| NumaNode {
        node,
        cpus: processors(node),
        memory: Fact::unknown("not asked"),
        distances: distances.into(),
    };
    machine.host.numa = Fact::Known(vec![node(0, [10, 21]), node(1, [21, 10])]);
    machine
}

/// The record of the first GPU's cases that begin with `only`, on a stand-in machine, in a process of its own: the driver is loaded once per
/// process. `numa` is the GPU's node on a machine of two nodes; without it the machine is what it is.
fn recorded(test: &str, scenario: &str, only: &str, numa: Option<u32>, fault: &str) -> (Standin, Run, Trace) {
    if let (Ok(only), Some(record)) = (std::env::var(ONLY), std::env::var_os(RECORD)) {
        measure_inside(only, Path::new(&record));
    }
    let scenario = match numa {
        Some(node) => scenario.replace("numa_node = 0", &format!("numa_node = {node}")),
        None => scenario.to_owned(),
    };
    let standin = Standin::with_text(&scenario).unwrap();
    let file = standin.folder().join("record.json");
    let mut command = standin.command(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(ONLY, only).env(RECORD, &file).env(FAULT, fault).env(NODE, numa.map_or_else(String::new, |node| node.to_string()));
    let output = command.output().unwrap();
    let said = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
    assert!(output.status.success(), "{said}");
    let run = Run::read(&file).unwrap_or_else(|error| panic!("{error}\n{said}"));
    let trace = standin.trace().unwrap().unwrap();
    assert_eq!(trace.leaks(), []);
    assert!(!run.outcomes.is_empty(), "{only}: no such case");
    (standin, run, trace)
}

/// The GPU's node on a machine of two; empty: the machine is what it is.
const NODE: &str = "COPIES_ON_STANDIN_NODE";

/// The inner half of [`recorded`]. The test that was started for it ends here.
fn measure_inside(only: String, record: &Path) -> ! {
    let mut machine = assay::inspect();
    if let Ok(node) = std::env::var(NODE).unwrap().parse() {
        machine = with_two_nodes(machine);
        machine.gpus.iter_mut().for_each(|gpu| gpu.numa_node = Fact::Known(node));
    }
    let only = Only(only);
    let request = Request {
        probes: &[&only],
        chosen: vec!["copy".to_owned()],
        gpus: vec![0],
        effort: Effort::Standard,
        time: Some(Seconds(1.0)),
        seed: 7,
        scratch: Path::new("."),
        identify: false,
        started: "2026-01-01T00:00:00Z".to_owned(),
        kernels: String::new(),
        program: None,
    };
    let run = assay::run(&machine, request, &mut |_| Ok(()), &mut Silent, &|| false).unwrap();
    run.write(record).unwrap();
    std::process::exit(0)
}

/// All of the run's outcomes, measured, and as the scenario has them.
fn all_true<'a>(standin: &Standin, run: &'a Run) -> Vec<&'a Measurement> {
    let measured: Vec<&Measurement> = run.measurements().collect();
    assert_eq!(measured.len(), run.outcomes.len(), "{:#?}", run.outcomes);
    for measurement in &measured {
        let (found, truth) = (reported(measurement).point, truth(standin.scenario(), measurement));
        assert!((found / truth - 1.0).abs() <= TOLERANCE, "{}: {found:e} where the truth is {truth:e}", measurement.case);
    }
    measured
}

fn ids(measured: &[&Measurement]) -> Vec<String> {
    measured.iter().map(|measurement| measurement.case.to_string()).collect()
}

/// What was wrong with the only case that was measured.
fn wrong_answer(run: &Run) -> (String, String) {
    match &run.outcomes[..] {
        [Outcome::Failed { case, error, wrong_answer: true }] => (case.to_string(), error.clone()),
        other => panic!("{other:#?}"),
    }
}

#[test]
fn kernels_reach_host_memory_at_the_rate_of_the_link() {
    let test = "kernels_reach_host_memory_at_the_rate_of_the_link";
    let (standin, run, trace) = recorded(test, SMALL, "copy.kernel", None, "");
    let measured = all_true(&standin, &run);
    let expected = ["h2d", "d2h"].map(|direction| format!("copy.kernel/engine=sm,dir={direction},bytes=4MiB,gpu=0"));
    assert_eq!(ids(&measured), expected);
    assert!(measured.iter().all(|one| one.conditions["engine"] == "sm" && one.conditions["memory"] == "pinned"));
    assert!(trace.launches["stream_copy"] > 10, "{:?}", trace.launches);
    // Neither the calibration nor the links' telemetry has a use for it beyond what the copy engine's give.
    assert!(Calibration::from_run(&run).gpus.iter().all(|gpu| gpu.copy.is_empty()));
}

#[test]
fn what_a_kernel_copied_wrongly_is_found() {
    let test = "what_a_kernel_copied_wrongly_is_found";
    for (direction, what) in [("h2d", "host to device: 1 of "), ("d2h", "device to host: 1 of ")] {
        let (_, run, _) = recorded(test, SMALL, &format!("copy.kernel/engine=sm,dir={direction}"), None, "stream_copy:1+:corrupt");
        let (case, error) = wrong_answer(&run);
        assert!(case.contains(direction) && error.contains(what), "{case}: {error}");
    }
}

#[test]
fn the_least_copies_and_loads_take_what_the_link_takes() {
    let test = "the_least_copies_and_loads_take_what_the_link_takes";
    let scenario = SMALL.replace("latency_us = 1.3", "latency_us = 8.5, load_us = 1.1");
    let (standin, run, trace) = recorded(test, &scenario, "copy.latency", None, "");
    let measured = all_true(&standin, &run);
    let expected = [
        "copy.latency/engine=ce,dir=h2d,bytes=16B,gpu=0",
        "copy.latency/engine=ce,dir=d2h,bytes=16B,gpu=0",
        "copy.latency/engine=sm,dir=h2d,bytes=2MiB,gpu=0",
    ];
    assert_eq!(ids(&measured), expected);
    let seconds: Vec<f64> = measured.iter().map(|one| one.latency().unwrap().point).collect();
    assert!(seconds.iter().zip([8.5e-6, 8.5e-6, 1.1e-6]).all(|(found, truth)| (found / truth - 1.0).abs() < TOLERANCE), "{seconds:?}");
    assert!(measured.iter().all(|one| one.bandwidth().is_none()), "times, not rates");
    let copies = trace.calls["cuMemcpyHtoDAsync_v2"] + trace.calls["cuMemcpyDtoHAsync_v2"];
    assert!(trace.calls["cuStreamSynchronize"] >= copies - 64, "every copy is waited for: {:?}", trace.calls);
}

#[test]
fn a_wrong_copy_of_a_few_bytes_and_a_wrong_load_are_found() {
    let test = "a_wrong_copy_of_a_few_bytes_and_a_wrong_load_are_found";
    let found = |only: &str, function: &str, from_the_end: Option<u64>| {
        let only = format!("copy.latency/{only}");
        let fault = match from_the_end {
            // The calls of an untroubled run tell which is the last that was timed.
            Some(back) => format!("{function}:{}:corrupt", recorded(test, SMALL, &only, None, "").2.calls[function] - back),
            None => format!("{function}:1+:corrupt"),
        };
        wrong_answer(&recorded(test, SMALL, &only, None, &fault).1).1
    };
    // The last upload sets up the counters of the check; the last downloads read what the check found.
    let up = found("engine=ce,dir=h2d", "cuMemcpyHtoDAsync_v2", Some(1));
    assert!(up.contains("host to device: 1 of "), "{up}");
    let down = found("engine=ce,dir=d2h", "cuMemcpyDtoHAsync_v2", Some(0));
    assert!(down.contains("device to host: 1 of "), "{down}");
    let walk = found("engine=sm", "chase_l2", None);
    assert!(walk.contains("expected the walk to end at "), "{walk}");
}

#[test]
fn memory_of_another_node_is_as_slow_as_the_way_there() {
    let test = "memory_of_another_node_is_as_slow_as_the_way_there";
    let scenario = SMALL.replace("latency_us = 1.3", "latency_us = 1.3, remote_share = 0.6");
    // The system that the test runs on may have one node or more, and its node 0 has memory.
    for gpu_node in [0, 1] {
        let (standin, run, _) = recorded(test, &scenario, "copy.node", Some(gpu_node), "");
        let cases: Vec<String> = run.outcomes.iter().map(|outcome| outcome.case().to_string()).collect();
        let expected = [(0, "h2d"), (0, "d2h"), (1, "h2d"), (1, "d2h")];
        assert_eq!(cases, expected.map(|(node, direction)| format!("copy.node/dir={direction},bytes=4MiB,node={node},gpu=0")));
        for (outcome, (node, _)) in run.outcomes.iter().zip(expected) {
            match outcome {
                Outcome::Measured(one) => {
                    let (found, truth) = (reported(one).point, truth(standin.scenario(), one));
                    assert!((found / truth - 1.0).abs() <= TOLERANCE, "{}: {found:e} where the truth is {truth:e}", one.case);
                    assert!(one.conditions["memory_node"].starts_with(&format!("{node}, ")), "{:?}", one.conditions);
                    assert_eq!(one.conditions["distance"], if node == gpu_node { "10" } else { "21" });
                }
                // A system of one node has no other to give, whatever it was asked for.
                Outcome::Waived { waiver: Waiver::Unsupported { what }, .. } => {
                    assert!(node == 1 && what.starts_with("memory on NUMA node 1: the system "), "node {node}: {what}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(run.measurements().count() >= 2, "node 0 is there on every system");
    }
}

#[test]
fn a_wrong_copy_with_memory_of_a_node_or_on_pages_is_found() {
    let test = "a_wrong_copy_with_memory_of_a_node_or_on_pages_is_found";
    for (only, node) in [("copy.node/dir=d2h,bytes=4MiB,node=0", Some(1)), ("copy.pages/dir=d2h,bytes=4MiB,pages=base", None)] {
        let calls = recorded(test, SMALL, only, node, "").2.calls["cuMemcpyDtoHAsync_v2"];
        let (_, run, _) = recorded(test, SMALL, only, node, &format!("cuMemcpyDtoHAsync_v2:{calls}:corrupt"));
        let (case, error) = wrong_answer(&run);
        assert!(case.starts_with(only) && error.contains("device to host: 1 of "), "{case}: {error}");
    }
}

#[test]
fn a_machine_of_one_node_has_no_case_of_nodes() {
    let mut machine = with_two_nodes(gpu_assay::assay::inspect());
    machine.gpus = Run::read(Path::new("tests/records/h200-standin.json")).unwrap().machine.gpus;
    let nodes = |machine: &Machine, effort| {
        let cases = probe::find("copy").unwrap().cases(machine, effort);
        cases.iter().filter(|case| case.mechanism() == "copy.node").filter_map(|case| case.get_count("node")).collect::<Vec<_>>()
    };
    assert_eq!(nodes(&machine, Effort::Standard), [0, 0, 1, 1]);
    assert!(nodes(&machine, Effort::Quick).is_empty());
    if let Fact::Known(known) = &mut machine.host.numa {
        known[1].cpus.clear();
    }
    assert!(nodes(&machine, Effort::Standard).is_empty(), "memory without processors is no node of its own");
}

#[test]
fn huge_pages_are_measured_where_the_kernel_gives_them() {
    let test = "huge_pages_are_measured_where_the_kernel_gives_them";
    let (standin, run, trace) = recorded(test, SMALL, "copy.pages", None, "");
    let cases: Vec<String> = run.outcomes.iter().map(|outcome| outcome.case().to_string()).collect();
    let expected = [("base", "h2d"), ("base", "d2h"), ("huge", "h2d"), ("huge", "d2h")];
    assert_eq!(cases, expected.map(|(pages, direction)| format!("copy.pages/dir={direction},bytes=4MiB,pages={pages},gpu=0")));
    let granted = {
        let mut region = Region::on_pages(Bytes::mib(4), None, Pages::Huge).ok();
        region.as_mut().is_some_and(|region| {
            region.as_mut_slice::<u8>().fill(1);
            region.placement().huge == Some(Bytes::mib(4))
        })
    };
    for (outcome, (pages, _)) in run.outcomes.iter().zip(expected) {
        match outcome {
            Outcome::Measured(one) => {
                let (found, truth) = (reported(one).point, truth(standin.scenario(), one));
                assert!((found / truth - 1.0).abs() <= TOLERANCE, "{}: {found:e} where the truth is {truth:e}", one.case);
                let told = &one.conditions["pages"];
                let all = if pages == "huge" { "4MiB of 4MiB on huge ones" } else { "0B of 4MiB on huge ones" };
                assert!(told.starts_with(&format!("{pages} of ")) && (told.ends_with(all) || told.ends_with("not told")), "{told}");
            }
            Outcome::Waived { waiver: Waiver::Unsupported { what }, .. } => {
                assert!(pages == "huge" && !granted && what.starts_with("huge pages: "), "{pages}, {granted}: {what}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(
        trace.calls["cuMemHostRegister_v2"] >= 1 && trace.calls["cuMemHostRegister_v2"] <= 2,
        "both directions share: {:?}",
        trace.calls
    );
}

#[test]
fn what_the_driver_does_not_pin_is_waived() {
    let test = "what_the_driver_does_not_pin_is_waived";
    let (_, run, _) = recorded(test, SMALL, "copy.pages/dir=h2d,bytes=4MiB,pages=base", None, "cuMemHostRegister_v2:1+:error=801");
    let [Outcome::Waived { waiver: Waiver::Unsupported { what }, .. }] = &run.outcomes[..] else { panic!("{:#?}", run.outcomes) };
    assert!(what.starts_with("pinning 4.000 MiB on base pages: cuMemHostRegister_v2 returned "), "{what}");
}
