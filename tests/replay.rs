//! Every published result is replayed: it parses, calibrates, and fills the guide, on a machine that has none of its hardware.
//!
//! Published are those that `results/README.md` lists; what a run on this machine has left beside them is nobody's claim.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use gpu_assay::calibrate::Calibration;
use gpu_assay::catalog::Catalog;
use gpu_assay::guide::{self, Input};
use gpu_assay::lang::Lang;
use gpu_assay::record::Run;
use gpu_assay::report::{self, Format};

#[test]
fn every_published_result_fills_the_guide() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let catalog = Catalog::embedded().unwrap();
    let list = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let names: Vec<&str> = list.split("](").skip(1).filter_map(|rest| rest.split_once(".json)")).map(|(name, _)| name).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| *name != "schema" && !name.contains(')')).collect();
    assert!(!names.is_empty(), "results/README.md lists no machine");
    for name in names {
        let run = Run::read(&folder.join(format!("{name}.json"))).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(name, run.name, "the file goes by another name than the machine");
        assert!(run.complete, "{}: the run did not come to its end", run.name);
        assert!(!run.simulated, "{}: a simulated machine is no result", run.name);
        assert!(run.outcomes.iter().all(|outcome| !outcome.is_failure()), "{} has failures", run.name);
        assert_eq!(run.machine.anonymous().unwrap(), run.machine, "{} identifies somebody's machine", run.name);

        let calibration = Calibration::from_run(&run);
        for lang in [Lang::En, Lang::Ko] {
            let input = Input::new(&catalog, Some((&run, &calibration)), &[], lang);
            let tables: Vec<_> = guide::SECTIONS.iter().flat_map(|section| (section.tables)(&input)).collect();
            assert!(tables.iter().flat_map(|table| table.bases()).any(|basis| basis.words() == "measured here"), "{}", run.name);
            assert!(!report::render(&tables, Format::Markdown).contains("NaN"), "{}", run.name);
            let summary = guide::summary(&run, &calibration, &catalog, lang);
            assert!(!summary[0].is_empty(), "{} has an empty summary", run.name);
        }
    }
}
