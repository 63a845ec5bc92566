//! A policy of `validate`: reading it never panics, what it says wrong is one line, and a verdict under it is a verdict.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use gpu_assay::calibrate::Calibration;
use gpu_assay::catalog::Catalog;
use gpu_assay::lang::Lang;
use gpu_assay::record::Run;
use gpu_assay::verdict::{Evidence, Expectation, Policy, assess};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    static GIVEN: OnceLock<(Catalog, Run, Calibration)> = OnceLock::new();
    let (catalog, run, calibration) = GIVEN.get_or_init(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../records/h200-standin.json");
        let run = Run::read(&path).expect("the recorded H200");
        let calibration = Calibration::from_run(&run);
        (Catalog::embedded().expect("the built-in catalog"), run, calibration)
    });
    let policy = match Policy::parse(text, Path::new("fuzz.toml")) {
        Ok(policy) => policy,
        Err(error) => {
            assert_eq!(error.exit_code(), 2);
            assert!(!error.to_string().contains('\n'));
            return;
        }
    };
    let expected = Expectation::parse("H200 SXM", catalog).expect("a GPU of the catalog");
    let evidence = Evidence { run, calibration, others: &[], catalog, expected: &expected, policy: &policy };
    let assessment = assess(evidence, None, None, Lang::En);
    assert!(!assessment.checks.is_empty());
});
