//! A result file from a stranger: reading never panics, and what is accepted can be written, read again, and shown.
#![no_main]

use std::path::Path;

use gpu_assay::record::Run;
use gpu_assay::report;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(run) = Run::from_json(text, Path::new("fuzz.json")) else { return };
    let again = run.to_json().expect("an accepted record can be written");
    assert_eq!(Run::from_json(&again, Path::new("fuzz.json")).expect("and read again").unsealed(), run.unsealed());
    let shown = report::render(&report::measurements(&run), report::Format::Text { width: Some(80) });
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "a control character reached the terminal");
});
