//! Verdicts on records made by hand: the policy, the price, and what is unknown.

use std::path::Path;

use jiff::civil::Date;

use super::*;
use crate::calibrate::Calibration;
use crate::catalog::Catalog;
use crate::lang::Lang;
use crate::machine::{Fact, RemappedRows};
use crate::measure::{Case, Outcome};
use crate::record::Run;
use crate::units::{Bytes, Usd};

/// The recorded H200, with the memory and the caches of the board and a host that suits it.
fn h200() -> Run {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records/h200-standin.json");
    let mut run = Run::read(&path).unwrap();
    let gpu = &mut run.machine.gpus[0];
    (gpu.memory_total, gpu.memory_free) = (Fact::Known(Bytes::mib(143_771)), Fact::Known(Bytes::mib(143_000)));
    gpu.l2 = Fact::Known(Bytes::mib(60));
    let host = &mut run.machine.host;
    (host.cpu.threads, host.cpu.allowed_threads, host.cpu.cgroup_cpus) = (Fact::Known(32), Fact::Known(32), Fact::Known(None));
    (host.memory.total, host.memory.cgroup_limit, host.memory.shm) =
        (Fact::Known(Bytes::gib(512)), Fact::Known(None), Fact::Known(Bytes::gib(64)));
    run
}

fn judged(run: &Run, spec: &str, policy: &str, price: Option<f64>) -> Assessment {
    let catalog = Catalog::embedded().unwrap();
    let calibration = Calibration::from_run(run);
    let expected = Expectation::parse(spec, &catalog).unwrap();
    let policy = Policy::parse(policy, Path::new("policy.toml")).unwrap();
    let evidence = Evidence { run, calibration: &calibration, others: &[], catalog: &catalog, expected: &expected, policy: &policy };
    assess(evidence, price.map(Usd), "2027-01-01".parse::<Date>().ok(), Lang::En)
}

fn ids(assessment: &Assessment) -> Vec<(&'static str, Status)> {
    assessment.findings.iter().map(|finding| (finding.check.id, finding.check.status)).collect()
}

/// A record with a remapping that failed.
fn broken() -> Run {
    let mut run = h200();
    run.machine.gpus[0].remapped_rows = Fact::Known(RemappedRows { corrected: 0, uncorrected: 1, pending: false, failed: true });
    run
}

#[test]
fn a_failure_is_said_with_what_to_do_and_a_sentence() {
    let assessment = judged(&broken(), "H200 SXM", "", None);
    assert_eq!(assessment.verdict, Verdict::Fail);
    let finding = &assessment.findings[0];
    assert_eq!((finding.check.id, finding.dcgm), ("rows.failed", Some("DCGM_FR_ROW_REMAP_FAILURE")));
    assert_eq!(finding.sentence, "GPU 0 reports a failed row remapping, which NVIDIA lists as a reason for RMA.");
    assert!(finding.remedy.contains("RMA") && ids(&assessment).contains(&("rows.uncorrected", Status::Warning)));
}

#[test]
fn a_policy_accepts_until_a_day_and_ignores() {
    let accept = |until: &str| format!("[[accept]]\ncheck = \"rows.failed\"\nuntil = {until}\nreason = \"returned next week\"\n");
    let accepted = judged(&broken(), "H200 SXM", &accept("2027-01-01"), None);
    assert_eq!(accepted.verdict, judged(&h200(), "H200 SXM", "", None).verdict);
    let finding = accepted.findings.iter().find(|finding| finding.check.id == "rows.failed").unwrap();
    assert_eq!(finding.accepted.as_deref(), Some("returned next week (until 2027-01-01)"));
    assert_eq!(judged(&broken(), "H200 SXM", &accept("2026-12-31"), None).verdict, Verdict::Fail);
    let ignored = judged(&broken(), "H200 SXM", "[checks]\nignore = [\"rows.failed\", \"rows.uncorrected\"]", None);
    assert!(!ids(&ignored).iter().any(|(id, _)| id.starts_with("rows")));
}

#[test]
fn what_is_not_known_fails_nobody_and_passes_nobody() {
    let mut run = h200();
    run.outcomes.retain(|outcome| outcome.case().family() != "dram");
    let assessment = judged(&run, "H200 SXM", "", None);
    assert_eq!(assessment.verdict, Verdict::Unknown);
    assert!(ids(&assessment).contains(&("dram", Status::Unknown)));
    // What does not matter may stay unknown, unless the policy wants to know.
    let mut run = h200();
    run.outcomes.iter_mut().for_each(|outcome| {
        if let Outcome::Measured(measurement) = outcome {
            measurement.telemetry = None;
        }
    });
    let without = judged(&run, "H200 SXM", "", None);
    assert!(!ids(&without).iter().any(|(id, _)| *id == "throttle.thermal"));
    let wanted = judged(&run, "H200 SXM", "[checks]\nrequire = [\"throttle.thermal\"]", None);
    assert!(ids(&wanted).contains(&("throttle.thermal", Status::Unknown)) && wanted.verdict != Verdict::Pass);
}

#[test]
fn a_failed_case_is_a_failure_where_the_error_names_broken_hardware() {
    let with = |error: &str| {
        let mut run = h200();
        let case: Case = "dram.copy/bytes=64MiB,gpu=0".parse().unwrap();
        run.keep(Outcome::Failed { case, error: error.to_owned(), wrong_answer: false });
        judged(&run, "H200 SXM", "", None)
    };
    let broken = with("copying: cuStreamSynchronize returned CUDA_ERROR_ECC_UNCORRECTABLE (memory is broken)");
    assert!(ids(&broken).contains(&("measured", Status::Failure)) && broken.verdict == Verdict::Fail);
    assert!(ids(&with("copying: out of memory")).contains(&("measured", Status::Unknown)));
}

#[test]
fn a_slow_gpu_costs_what_is_missing() {
    let policy = "[bands.dram]\nreference = \"8.6 TB/s\"\nfailure = \"90 %\"";
    let assessment = judged(&h200(), "H200 SXM", policy, Some(4.0));
    let finding = assessment.findings.iter().find(|finding| finding.check.id == "dram").unwrap();
    assert_eq!(finding.check.status, Status::Failure);
    let cost = finding.cost.as_deref().unwrap();
    assert!(cost.starts_with("50 %") && cost.contains("2.0"), "{cost}");
    // 4 USD an hour over what is measured, in TB/s.
    let dram = assessment.effective.iter().find(|rate| rate.metric == "dram").unwrap();
    assert!((dram.usd_per_unit_hour.unwrap() - 4.0 / (dram.measured.value / 1e12)).abs() < 1e-12);
}

#[test]
fn the_machine_sold_as_another_is_found() {
    let assessment = judged(&h200(), "H100 SXM", "", None);
    let found = ids(&assessment);
    assert!(found.contains(&("gpu.name", Status::Failure)) && found.contains(&("gpu.memory", Status::Failure)));
    assert_eq!(judged(&h200(), "2x H200 SXM", "", None).findings[0].check.id, "gpu.count");
}
