//! The run on scripted probes: what is kept, in which order, whatever the probes do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::cell::{Cell, RefCell};
use std::path::Path;

use gpu_assay::assay::{self, Listener, Request, Silent};
use gpu_assay::error::{Error, Result};
use gpu_assay::machine::Machine;
use gpu_assay::measure::{Case, Observation, Outcome, Waiver};
use gpu_assay::probe::{Effort, Lab, Probe};
use gpu_assay::record::Run;
use gpu_assay::units::{Bytes, Seconds};

fn machine() -> Machine {
    let unknown = serde_json::json!({ "unknown": "scripted" });
    serde_json::from_value(serde_json::json!({
        "gpus": [], "pairs": [], "libraries": [],
        "driver": { "version": unknown, "cuda_version": unknown, "nvml_version": unknown, "simulated": false },
        "host": {
            "cpu": { "model": "Example 9000", "architecture": "x86_64", "sockets": 1, "cores": 2, "threads": 4, "smt": true,
                     "allowed_threads": 4, "cgroup_cpus": null, "isa": [] },
            "numa": unknown,
            "memory": { "total": 1073741824u64, "available": unknown, "cgroup_limit": null, "shm": unknown, "memlock": null },
            "disks": unknown, "kernel": "6.1.0", "os": unknown, "container": "none", "hypervisor": "none"
        }
    }))
    .unwrap()
}

/// Its cases succeed, fail, answer wrongly and are waived, in this order.
struct Mixed;

impl Probe for Mixed {
    fn name(&self) -> &'static str {
        "mixed"
    }

    fn about(&self) -> &'static str {
        "one case of every outcome"
    }

    fn needs(&self, _: &Machine) -> Result<(), Waiver> {
        Ok(())
    }

    fn cases(&self, _: &Machine, _: Effort) -> Vec<Case> {
        ["good", "failing", "wrong", "waived", "last"].map(|name| Case::new("mixed.case").word("kind", name)).into()
    }

    fn weight(&self, case: &Case) -> f64 {
        if case.get_word("kind") == Some("last") { 4.0 } else { 1.0 }
    }

    fn run(&self, case: &Case, _: &mut Lab<'_>) -> Result<Outcome> {
        match case.get_word("kind") {
            Some("failing") => Err(Error::measurement(case.to_string(), "scripted failure")),
            Some("wrong") => Err(Error::WrongAnswer { case: case.to_string(), what: "1 of 2 words differ".to_owned() }),
            Some("waived") => Ok(Outcome::Waived { case: case.clone(), waiver: Waiver::OutOfTime }),
            _ => Ok(Outcome::Observed(Observation { case: case.clone(), bytes: Bytes(1), conditions: Default::default() })),
        }
    }
}

/// Cannot run here at all.
struct Absent;

impl Probe for Absent {
    fn name(&self) -> &'static str {
        "absent"
    }

    fn about(&self) -> &'static str {
        "needs what is not there"
    }

    fn needs(&self, _: &Machine) -> Result<(), Waiver> {
        Err(Waiver::NoDevice { reason: "scripted".to_owned() })
    }

    fn cases(&self, _: &Machine, _: Effort) -> Vec<Case> {
        panic!("asked for cases although the machine lacks what the probe needs")
    }

    fn run(&self, _: &Case, _: &mut Lab<'_>) -> Result<Outcome> {
        panic!("run although the machine lacks what the probe needs")
    }
}

/// One case per pair of two GPUs; notes the budget of each.
struct Pairs(std::sync::Mutex<Vec<f64>>);

impl Probe for Pairs {
    fn name(&self) -> &'static str {
        "pairs"
    }

    fn about(&self) -> &'static str {
        "pairs of GPUs"
    }

    fn needs(&self, _: &Machine) -> Result<(), Waiver> {
        Ok(())
    }

    fn cases(&self, _: &Machine, _: Effort) -> Vec<Case> {
        (0..3)
            .flat_map(|from| {
                (0..3).filter(move |to| *to != from).map(move |to| Case::new("pairs.write").count("from", from).count("to", to))
            })
            .collect()
    }

    fn run(&self, case: &Case, lab: &mut Lab<'_>) -> Result<Outcome> {
        self.0.lock().unwrap().push(lab.budget.0);
        Ok(Outcome::Observed(Observation { case: case.clone(), bytes: Bytes(1), conditions: Default::default() }))
    }
}

/// Takes its own time, runs by name or at the highest effort, and gives the outcomes of both its cases at once.
struct Long(std::sync::Mutex<Vec<f64>>);

impl Probe for Long {
    fn name(&self) -> &'static str {
        "long"
    }

    fn about(&self) -> &'static str {
        "takes long"
    }

    fn needs(&self, _: &Machine) -> Result<(), Waiver> {
        Ok(())
    }

    fn is_usual(&self, effort: Effort) -> bool {
        effort == Effort::Thorough
    }

    fn cases(&self, _: &Machine, _: Effort) -> Vec<Case> {
        (0..2).map(|gpu| Case::new("long.load").count("gpu", gpu)).collect()
    }

    fn length(&self, _: &Case, _: Effort) -> Option<Seconds> {
        Some(Seconds(600.0))
    }

    fn run(&self, case: &Case, lab: &mut Lab<'_>) -> Result<Outcome> {
        self.0.lock().unwrap().push(lab.budget.0);
        let seen = |case: Case| Outcome::Observed(Observation { case, bytes: Bytes(1), conditions: Default::default() });
        lab.besides.push(seen(Case::new("long.load").count("gpu", 1)));
        Ok(seen(case.clone()))
    }
}

#[test]
fn what_takes_long_runs_by_name_or_where_there_is_time_and_takes_its_own() {
    let go = |effort, time, chosen: &[&str]| {
        let (long, pairs) = (Long(Default::default()), Pairs(Default::default()));
        let probes: [&dyn Probe; 2] = [&long, &pairs];
        let chosen = chosen.iter().map(|name| (*name).to_owned()).collect();
        let request = Request { effort, time, chosen, ..request(&probes, vec![0, 1, 2]) };
        let record = assay::run(&machine(), request, &mut |_| Ok(()), &mut Silent, &|| false).unwrap();
        let found = record.of_family("long");
        (found, long.0.into_inner().unwrap(), pairs.0.into_inner().unwrap())
    };
    let (found, _, usual) = go(Effort::Standard, None, &[]);
    assert_eq!(found, 0);
    let (found, long, pairs) = go(Effort::Standard, None, &["long", "pairs"]);
    assert_eq!((found, long), (2, vec![600.0]), "both outcomes of one run");
    assert_eq!(pairs, usual, "it takes nothing from the others");
    assert_eq!(go(Effort::Thorough, None, &[]).1, [600.0]);
    let (_, long, _) = go(Effort::Thorough, Some(Seconds(16.0)), &[]);
    assert_eq!(long, [2.0], "a time that the user sets is shared by all");
}

trait Families {
    fn of_family(&self, family: &str) -> usize;
}

impl Families for Run {
    fn of_family(&self, family: &str) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.case().family() == family).count()
    }
}

fn request<'a>(probes: &'a [&'a dyn Probe], gpus: Vec<u32>) -> Request<'a> {
    Request {
        probes,
        chosen: Vec::new(),
        gpus,
        effort: Effort::Quick,
        time: None,
        seed: 1,
        scratch: Path::new("."),
        identify: false,
        started: "2026-01-02T03:04:05Z".to_owned(),
        kernels: "none".to_owned(),
        program: None,
    }
}

#[test]
fn every_outcome_is_kept_and_none_ends_the_run() {
    let mut kept = Vec::new();
    let mut keep = |run: &Run| {
        kept.push(run.clone());
        Ok(())
    };
    let record = assay::run(&machine(), request(&[&Absent, &Mixed], vec![]), &mut keep, &mut Silent, &|| false).unwrap();
    let shown: Vec<String> = record
        .outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Measured(_) => "measured".to_owned(),
            Outcome::Observed(_) => "observed".to_owned(),
            Outcome::Waived { case, .. } => format!("waived {case}"),
            Outcome::Failed { wrong_answer, .. } => format!("failed, wrong answer: {wrong_answer}"),
        })
        .collect();
    assert_eq!(
        shown,
        [
            "waived absent",
            "observed",
            "failed, wrong answer: false",
            "failed, wrong answer: true",
            "waived mixed.case/kind=waived",
            "observed"
        ]
    );
    assert!(record.complete);
    assert!(kept[0].outcomes.is_empty() && !kept[0].complete, "the folder is tried before anything is measured");
    assert_eq!(kept.last(), Some(&record));
    assert_eq!(Run::from_json(&record.to_json().unwrap(), Path::new("x")).unwrap().unsealed(), record);
}

#[test]
fn a_record_that_cannot_be_written_ends_the_run_before_it_measures() {
    let full =
        || Error::File { doing: "writing", path: "r.json".into(), source: std::io::ErrorKind::StorageFull.into(), remedy: "make room" };
    struct Loud;
    impl Listener for Loud {
        fn begins(&mut self, case: &Case, _: usize, _: usize, _: Seconds) {
            panic!("{case} began");
        }
        fn ends(&mut self, _: &Outcome) {}
    }
    let error = assay::run(&machine(), request(&[&Mixed], vec![]), &mut |_| Err(full()), &mut Loud, &|| false).unwrap_err();
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn a_stopped_run_keeps_what_it_had() {
    let ended = Cell::new(0);
    struct Count<'a>(&'a Cell<u32>);
    impl Listener for Count<'_> {
        fn begins(&mut self, _: &Case, _: usize, _: usize, _: Seconds) {}
        fn ends(&mut self, _: &Outcome) {
            self.0.set(self.0.get() + 1);
        }
    }
    let last = RefCell::new(None);
    let record = assay::run(
        &machine(),
        request(&[&Mixed], vec![]),
        &mut |run: &Run| {
            *last.borrow_mut() = Some(run.clone());
            Ok(())
        },
        &mut Count(&ended),
        &|| ended.get() == 2,
    )
    .unwrap();
    assert_eq!(record.outcomes.len(), 2);
    assert!(!record.complete);
    assert_eq!(last.into_inner(), Some(record));
}

#[test]
fn only_the_gpus_asked_for_are_measured_and_they_share_the_time() {
    let pairs = Pairs(std::sync::Mutex::default());
    let record = assay::run(&machine(), request(&[&Mixed, &pairs], vec![0, 2]), &mut |_| Ok(()), &mut Silent, &|| false).unwrap();
    let measured: Vec<String> =
        record.outcomes.iter().map(|outcome| outcome.case().to_string()).filter(|case| case.starts_with("pairs")).collect();
    assert_eq!(measured, ["pairs.write/from=0,to=2", "pairs.write/from=2,to=0"]);
    let budgets = pairs.0.into_inner().unwrap();
    let purse = Effort::Quick.gpu_budget(2).0;
    assert!((budgets.iter().sum::<f64>() - purse).abs() < 1e-9 * purse, "{budgets:?} of {purse}");

    let pairs = Pairs(std::sync::Mutex::default());
    let probes: [&dyn Probe; 2] = [&Mixed, &pairs];
    let short = Request { time: Some(Seconds(0.5)), ..request(&probes, vec![0, 2]) };
    assay::run(&machine(), short, &mut |_| Ok(()), &mut Silent, &|| false).unwrap();
    assert!((pairs.0.into_inner().unwrap().iter().sum::<f64>() - 0.5).abs() < 1e-9);
}

#[test]
fn a_finished_probe_is_on_file_before_the_next_begins() {
    let kept: RefCell<Vec<String>> = RefCell::default();
    struct Watch<'a> {
        kept: &'a RefCell<Vec<String>>,
        ended: Vec<String>,
        changes: u32,
    }
    impl Listener for Watch<'_> {
        fn begins(&mut self, case: &Case, _: usize, _: usize, _: Seconds) {
            let family = |id: &String| id.split('.').next().map(str::to_owned);
            if self.ended.last().is_some_and(|last| family(last).as_deref() != Some(case.family())) {
                assert_eq!(*self.kept.borrow(), self.ended, "{case} begins");
                self.changes += 1;
            }
        }
        fn ends(&mut self, outcome: &Outcome) {
            self.ended.push(outcome.case().to_string());
        }
    }
    let mut watch = Watch { kept: &kept, ended: Vec::new(), changes: 0 };
    let pairs = Pairs(std::sync::Mutex::default());
    let mut keep = |run: &Run| {
        *kept.borrow_mut() = run.outcomes.iter().map(|outcome| outcome.case().to_string()).collect();
        Ok(())
    };
    assay::run(&machine(), request(&[&Mixed, &pairs], vec![0, 1, 2]), &mut keep, &mut watch, &|| false).unwrap();
    assert_eq!(watch.changes, 1);
}
