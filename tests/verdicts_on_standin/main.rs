//! Verdicts on faulty and on good machines: every fault is found and named, no good machine is failed.
//!
//! Machines are made from the catalog at rates between which good machines lie, with half a percent of noise on every duration, measured by the
//! real program on the stand-in driver, and judged by their record. The table of what was found stands in `docs/verdicts.md`;
//! `GPU_ASSAY_WRITE_DOCS=1` writes it again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[path = "../common/mod.rs"]
mod common;

mod boards;
mod faults;

use std::fmt::Write as _;

use boards::Setup;
use common::{Bench, in_parallel, stderr};
use faults::FAULTS;
use gpu_assay::calibrate::Calibration;
use gpu_assay::catalog::Catalog;
use gpu_assay::lang::Lang;
use gpu_assay::record::Run;
use gpu_assay::verdict::{Assessment, Evidence, Expectation, Policy, Status, Verdict, assess};

/// Seeds that every run takes; `GPU_ASSAY_SEEDS=20` takes more, which is half an hour on two processors.
const SEEDS: u64 = 2;

fn seeds() -> Vec<u64> {
    let wanted = std::env::var("GPU_ASSAY_SEEDS").ok().and_then(|count| count.parse().ok());
    (1..=wanted.unwrap_or(SEEDS)).collect()
}

/// Good machines: model, how many, whether cublasLt is there.
const GOOD: &[(&str, usize, bool)] = &[
    ("H100 SXM", 1, true),
    ("H100 SXM", 4, true),
    ("H100 SXM", 1, false),
    ("H200 SXM", 2, true),
    ("H100 PCIe", 2, true),
    ("A100 SXM 80GB", 2, true),
    ("A100 PCIe 80GB", 2, true),
    ("A100 PCIe 40GB", 1, true),
    ("L40S", 2, true),
    ("L4", 1, true),
    ("A10G", 1, true),
    ("RTX 4090", 2, true),
    ("RTX 3090", 2, true),
    ("RTX 5090", 1, true),
    ("RTX A6000", 1, true),
];

/// The same under a load that lasts.
const LASTING: [(&&str, &usize, &bool, bool); 2] = [(&"H100 SXM", &2, &true, true), (&"RTX 4090", &1, &false, true)];

/// The record of one machine at one seed.
fn measured(setup: &Setup, seed: u64) -> Run {
    let bench = Bench::text(&setup.text());
    let arguments =
        ["measure", "memory", "dram", "matmul", "copy", "peer", "collective", "--effort", "quick", "--time", "1 s", "-o", "r.json"];
    let output = bench.command(&arguments).env(gpu_assay_standin::SEED, seed.to_string()).output().unwrap();
    assert!(bench.result().exists(), "{}\n{}", stderr(&output), setup.text());
    let mut run = Run::read(&bench.result()).unwrap();
    if let Some(time) = setup.lasting {
        let bench = Bench::text(&setup.full_size());
        let arguments = ["measure", "sustained", "--time", time, "-o", "r.json"];
        let output = bench.command(&arguments).env(gpu_assay_standin::SEED, seed.to_string()).output().unwrap();
        assert!(bench.result().exists(), "{}", stderr(&output));
        run.outcomes.extend(Run::read(&bench.result()).unwrap().outcomes);
    }
    setup.restore(&mut run);
    run
}

fn judged(catalog: &Catalog, setup: &Setup, spec: &str, seed: u64) -> Assessment {
    let run = measured(setup, seed);
    let calibration = Calibration::from_run(&run);
    let expected = Expectation::parse(spec, catalog).unwrap();
    let policy = Policy::default();
    let evidence = Evidence { run: &run, calibration: &calibration, others: &[], catalog, expected: &expected, policy: &policy };
    assess(evidence, None, None, Lang::En)
}

/// Ids of what did not pass, for messages.
fn said(assessment: &Assessment) -> String {
    let one = |finding: &gpu_assay::verdict::Finding| {
        format!(
            "{} {} {}: {}, expected {}",
            finding.check.status.word(),
            finding.check.id,
            finding.check.about,
            finding.check.seen,
            finding.check.expected
        )
    };
    assessment.findings.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[test]
fn good_machines_pass() {
    let catalog = Catalog::embedded().unwrap();
    let mut table = String::from("| machine | pass | unknown | fail | warnings in |\n|---|---|---|---|---|\n");
    let mut wrong = Vec::new();
    let only = std::env::var("GPU_ASSAY_ONLY").unwrap_or_default();
    for (model, count, library, lasting) in GOOD.iter().map(|(model, count, library)| (model, count, library, false)).chain(LASTING) {
        let spec = format!("{count}x {model}");
        let without = if *library { "" } else { ", no cublasLt" };
        let name = format!("{spec}{}", if lasting { ", under a load that lasts" } else { without });
        if !name.contains(&only) {
            continue;
        }
        let seeds = seeds();
        let verdicts: Vec<Assessment> = in_parallel(&seeds, |seed| {
            let mut setup = Setup { library: *library, ..Setup::good(&catalog, model, *count, *seed) };
            if lasting {
                setup.last("3 min");
            }
            judged(&catalog, &setup, &spec, *seed)
        });
        let with = |verdict: Verdict| verdicts.iter().filter(|assessment| assessment.verdict == verdict).count();
        let warned = verdicts.iter().filter(|one| one.findings.iter().any(|finding| finding.check.status == Status::Warning)).count();
        for (one, seed) in verdicts.iter().zip(&seeds).filter(|(one, _)| !one.findings.is_empty()) {
            common::tell(&format!("{name}, seed {seed}: {}", said(one)));
        }
        let _ = writeln!(table, "| {name} | {} | {} | {} | {warned} |", with(Verdict::Pass), with(Verdict::Unknown), with(Verdict::Fail));
        wrong
            .extend(verdicts.iter().filter(|one| one.verdict != Verdict::Pass).map(|one| format!("{spec}: {} {}", one.verdict, said(one))));
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{} good machines did not pass:\n{}", wrong.len(), wrong.join("\n"));
    assert!(GOOD.len() >= 12);
    if only.is_empty() {
        documented("good", &table);
    }
}

#[test]
fn every_fault_is_found_and_named() {
    let catalog = Catalog::embedded().unwrap();
    let mut table = String::from("| fault | machine | found by | found | verdict fail | unknown | pass |\n|---|---|---|---|---|---|---|\n");
    let mut missed = Vec::new();
    let only = std::env::var("GPU_ASSAY_ONLY").unwrap_or_default();
    for fault in FAULTS.iter().filter(|fault| fault.name.contains(&only)) {
        let begun = std::time::Instant::now();
        let spec = fault.spec.map_or_else(|| format!("{}x {}", fault.count, fault.model), str::to_owned);
        let seeds = seeds();
        let verdicts: Vec<Assessment> = in_parallel(&seeds, |seed| {
            let mut setup = Setup::good(&catalog, fault.model, fault.count, *seed);
            (fault.plant)(&mut setup);
            judged(&catalog, &setup, &spec, *seed)
        });
        let with = |verdict: Verdict| verdicts.iter().filter(|assessment| assessment.verdict == verdict).count();
        let is_found = |one: &Assessment| one.findings.iter().any(|finding| finding.check.id == fault.found_by);
        let found = verdicts.iter().filter(|one| is_found(one)).count();
        let _ = writeln!(
            table,
            "| {} | {}× {} | `{}` | {found} of {} | {} | {} | {} |",
            fault.name,
            fault.count,
            fault.model,
            fault.found_by,
            verdicts.len(),
            with(Verdict::Fail),
            with(Verdict::Unknown),
            with(Verdict::Pass)
        );
        common::tell(&format!("{}: {:.1} s", fault.name, begun.elapsed().as_secs_f64()));
        let good = |one: &&Assessment| is_found(one) && (one.verdict == Verdict::Fail || !fault.fails);
        missed.extend(verdicts.iter().filter(|one| !good(one)).map(|one| format!("{}: {} {}", fault.name, one.verdict, said(one))));
    }
    println!("{table}");
    assert!(missed.is_empty(), "{} faults were missed:\n{}", missed.len(), missed.join("\n"));
    assert!(FAULTS.len() >= 24);
    if only.is_empty() {
        documented("faults", &table);
    }
}

/// The table between its marks in the documentation has this one's rows; with `GPU_ASSAY_WRITE_DOCS=1` it becomes this one. Counts are not compared:
/// what NVML was asked in time depends on how busy the processor is.
fn documented(name: &str, table: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verdicts.md");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let Some((before, rest)) = text.split_once(&begin) else { panic!("docs/verdicts.md has no {begin}") };
    let Some((inside, after)) = rest.split_once(&end) else { panic!("docs/verdicts.md has no {end}") };
    if std::env::var_os("GPU_ASSAY_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{begin}{table}{end}{after}")).unwrap();
    } else {
        let first = |table: &str| table.lines().filter_map(|row| Some(row.split('|').nth(1)?.trim().to_owned())).collect::<Vec<_>>();
        assert_eq!(first(inside), first(table), "docs/verdicts.md is stale: run this test with GPU_ASSAY_WRITE_DOCS=1");
    }
}
