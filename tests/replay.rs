//! Every committed result is replayed: it parses, calibrates, and fills the guide, on a machine that has none of its hardware.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use gpu_assay::calibrate::Calibration;
use gpu_assay::catalog::Catalog;
use gpu_assay::guide::{self, Input};
use gpu_assay::lang::Lang;
use gpu_assay::record::read_folder;
use gpu_assay::report::{self, Format};

#[test]
fn every_committed_result_fills_the_guide() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let catalog = Catalog::embedded().unwrap();
    let records = read_folder(&folder);
    assert!(!records.is_empty(), "there is no result in {}", folder.display());
    for (path, run) in records {
        let run = run.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(path.file_stem().unwrap().to_str().unwrap(), run.name, "the file goes by another name than the machine");
        assert!(run.complete, "{}: the run did not come to its end", run.name);
        assert!(!run.simulated, "{}: a simulated machine is no result", run.name);
        assert!(run.outcomes.iter().all(|outcome| !outcome.is_failure()), "{} has failures", run.name);
        assert_eq!(run.machine.anonymous().unwrap(), run.machine, "{} identifies somebody's machine", run.name);

        let calibration = Calibration::from_run(&run);
        for lang in [Lang::En, Lang::Ko] {
            let input = Input { catalog: &catalog, here: Some((&run, &calibration)), recorded: &[], lang };
            let tables: Vec<_> = guide::SECTIONS.iter().flat_map(|section| (section.tables)(&input)).collect();
            assert!(tables.iter().flat_map(|table| table.bases()).any(|basis| basis.words() == "measured here"), "{}", run.name);
            assert!(!report::render(&tables, Format::Markdown).contains("NaN"), "{}", run.name);
            let summary = guide::summary(&run, &calibration, &catalog, lang);
            assert!(!summary[0].is_empty(), "{} has an empty summary", run.name);
        }
    }
}
