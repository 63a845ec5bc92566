//! The guide from nothing but the catalog, from a host without a GPU, and from a machine with two.

use super::*;
use crate::calibrate::fixture::{Fixture, host, two_h100};
use crate::measure::Outcome;
use crate::report::{self, Format};
use crate::table::Cell;

fn catalog() -> Catalog {
    Catalog::embedded().unwrap()
}

/// Every section of the guide, rendered.
fn guide(run: Option<&Run>, recorded: &[Calibration], lang: Lang, format: Format) -> String {
    let catalog = catalog();
    let calibration = run.map(Calibration::from_run);
    let input = Input::new(&catalog, run.zip(calibration.as_ref()), recorded, lang);
    let tables: Vec<Table> = SECTIONS.iter().flat_map(|section| (section.tables)(&input)).collect();
    report::render(&tables, format)
}

fn tables(run: Option<&Run>, lang: Lang) -> Vec<Table> {
    let catalog = catalog();
    let calibration = run.map(Calibration::from_run);
    let input = Input::new(&catalog, run.zip(calibration.as_ref()), &[], lang);
    let mut tables: Vec<Table> = SECTIONS.iter().flat_map(|section| (section.tables)(&input)).collect();
    if let Some((run, calibration)) = input.here {
        tables.extend(summary(run, calibration, &catalog, lang));
    }
    tables
}

fn check(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../tests/snapshots/guide");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

const TEXT: Format = Format::Text { width: Some(120) };

#[test]
fn without_a_run_every_number_is_a_documents() {
    check("no_run_en", &guide(None, &[], Lang::En, TEXT));
    for table in tables(None, Lang::En) {
        assert!(!table.bases().contains(&Basis::MeasuredHere), "{}", table.title);
    }
}

/// A record kept with the tests.
fn record(name: &str) -> Run {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records").join(name);
    Run::read(&path).unwrap()
}

#[test]
fn every_table_in_text_and_markdown() {
    check("no_run_ko_markdown", &guide(None, &[], Lang::Ko, Format::Markdown));
    for (name, run) in [("small_vm", record("small-vm.json")), ("h200_standin", record("h200-standin.json"))] {
        check(&format!("{name}_en"), &guide(Some(&run), &[], Lang::En, TEXT));
        check(&format!("{name}_ko_markdown"), &guide(Some(&run), &[], Lang::Ko, Format::Markdown));
    }
}

#[test]
fn a_host_without_gpu_has_its_own_numbers() {
    let run = host().limited(2.0, 16 << 30).run();
    check("host_only_ko", &guide(Some(&run), &[], Lang::Ko, TEXT));
}

#[test]
fn a_machine_with_gpus_stands_beside_the_catalog() {
    let run = two_h100().run();
    check("two_h100_markdown", &guide(Some(&run), &[], Lang::En, Format::Markdown));
}

#[test]
fn the_summary_shows_what_was_found_and_what_was_not() {
    let mut run = two_h100().simulated().run();
    let waiver = crate::measure::Waiver::TooFewDevices { needed: 4, found: 2 };
    for size in ["1MiB", "1GiB"] {
        let case = format!("collective.all_reduce/bytes={size}").parse().unwrap();
        run.keep(Outcome::Waived { case, waiver: waiver.clone() });
    }
    let case = "matmul.fp4/gpu=0".parse().unwrap();
    run.keep(Outcome::Failed { case, error: "tile 7 differs".into(), wrong_answer: true });
    let calibration = Calibration::from_run(&run);
    check("summary_simulated", &report::render(&summary(&run, &calibration, &catalog(), Lang::En), TEXT));
}

/// Columns of counts and of inputs that a row is about: nobody has to vouch for those.
const NEEDS_NO_BASIS: [&str; 3] = ["count", "gpu_count", "cpus"];

#[test]
fn every_number_says_where_it_comes_from() {
    let (host, gpus) = (host().run(), two_h100().run());
    for run in [None, Some(&host), Some(&gpus)] {
        for table in tables(run, Lang::En) {
            for (row, column) in table.rows().iter().flat_map(|row| row.iter().zip(table.columns())) {
                if let (Cell::Number(number), false) = (row, NEEDS_NO_BASIS.contains(&column.key.as_str())) {
                    assert!(number.basis.is_some() && !number.from.is_empty(), "{}: {} {}", table.title, column.key, number.shown);
                }
            }
        }
    }
}

#[test]
fn simulated_runs_say_so_in_every_table() {
    let run = two_h100().simulated().run();
    for lang in [Lang::En, Lang::Ko] {
        for table in tables(Some(&run), lang) {
            assert!(table.title.starts_with("[SIMULATED]"), "{}", table.title);
            assert!(table.notes.iter().any(|note| note.contains("SIMULATED")), "{}", table.title);
        }
    }
}

#[test]
fn tables_stay_tables_at_a_hundred_columns() {
    for lang in [Lang::En, Lang::Ko] {
        for table in tables(None, lang) {
            let text = report::render(std::slice::from_ref(&table), Format::Text { width: Some(100) });
            assert!(!text.lines().any(|line| line == "─".repeat(24)), "{} is in blocks", table.title);
        }
    }
}

#[test]
fn recorded_machines_lend_their_numbers_on_a_weaker_basis() {
    let recorded = [Calibration::from_recorded(&two_h100().run()), Calibration::from_recorded(&two_h100().simulated().run())];
    let text = guide(None, &recorded, Lang::En, Format::Csv);
    let rows: Vec<&str> = text.lines().filter(|line| line.contains("(recorded)")).collect();
    assert_eq!(rows.len(), 1, "one machine, and no simulated one: {rows:?}");
    assert!(rows[0].starts_with("H100 SXM (recorded),9.0,,,HBM3,") && rows[0].contains("measured on the same GPU model"), "{}", rows[0]);
}

#[test]
fn shares_are_of_the_ceiling_of_the_link_as_trained() {
    let run = two_h100().run();
    let all = tables(Some(&run), Lang::En);
    let links = all.iter().find(|table| table.title == "B.4.1 This machine's links, measured").unwrap();
    let share = |path: &str| {
        let row = links.rows().iter().find(|row| row[0] == Cell::text(path)).unwrap();
        match &row[4] {
            Cell::Number(number) => number.shown.clone(),
            other => panic!("{other:?}"),
        }
    };
    // 56 of 63.015 GB/s, 90 of twice that, 380 of 450 GB/s.
    assert_eq!(share("host → GPU 0 (pinned)"), "88.9 %");
    assert_eq!(share("host ⇄ GPU 0, both (pinned)"), "71.4 %");
    assert_eq!(share("GPU 0 → GPU 1"), "84.4 %");
    assert_eq!(share("GPU 0 ⇄ GPU 1, both"), "83.3 %");
}

#[test]
fn many_pairs_are_shown_by_their_extremes() {
    let mut fixture = (0..5).fold(Fixture::host_only(), |fixture, _| fixture.h100());
    for (from, to) in (0..5).flat_map(|a| (0..5).map(move |b| (a, b))).filter(|(a, b)| a != b) {
        fixture = if from < to { fixture.pair(from, to, "NV18", true) } else { fixture };
        let bytes = 300_000_000_000 + u64::from(from * 10 + to) * 1_000_000_000;
        fixture = fixture.moved(&format!("peer.write/engine=ce,bytes=1GiB,from={from},to={to}"), bytes, 1.0);
    }
    let all = tables(Some(&fixture.run()), Lang::En);
    let links = all.iter().find(|table| table.title.contains("links, measured")).unwrap();
    let paths: Vec<&Cell> = links.rows().iter().map(|row| &row[0]).collect();
    assert_eq!(paths, [&Cell::text("GPU 0 → GPU 1"), &Cell::text("GPU 4 → GPU 3")]);
}

#[test]
fn sections_are_found_by_number_and_chapter() {
    let ids = |name: &str| find(name).unwrap().iter().map(|section| section.id).collect::<Vec<_>>();
    assert_eq!(ids("B.4.1"), ["B.4.1"]);
    assert_eq!(ids("b4"), ["B.4.1", "B.4.2"]);
    assert_eq!(ids("9"), ["B.9"]);
    let error = find("B.12").unwrap_err();
    let known: Vec<&str> = SECTIONS.iter().map(|section| section.id).collect();
    assert_eq!(error.to_string(), format!(r#"the guide has no section "B.12"; expected one of {}"#, known.join(", ")));
    assert_eq!(ids("B.1").len(), SECTIONS.iter().filter(|section| section.id.starts_with("B.1.")).count());
    assert_eq!(ids("1.2"), ["B.1.2"]);
    for name in ["", "power", "B.", "1..2", "12", "B.1.2.3"] {
        assert!(find(name).is_err(), "{name:?}");
    }
}

#[test]
fn a_machine_that_was_only_looked_at_is_told_to_measure() {
    let looked_at = Fixture::host_only().h100().run();
    for run in [None, Some(&looked_at)] {
        let all = tables(run, Lang::En);
        let hints = all.iter().filter(|table| table.notes.iter().any(|note| note == NO_RUN.en)).count();
        assert!(hints >= 4, "{hints} hints");
    }
}

#[test]
fn an_unknown_gpu_and_missing_facts_leave_gaps_not_errors() {
    let unknown = serde_json::json!({ "unknown": "no permission" });
    let run = Fixture::host_only()
        .gpu("Future GPU", "10de:ffff", unknown.clone(), unknown)
        .moved("dram.read/bytes=4GiB,gpu=0", 1 << 30, 1e-3)
        .run();
    for lang in [Lang::En, Lang::Ko] {
        let text = report::render(&tables(Some(&run), lang), Format::Text { width: Some(80) });
        assert!(text.contains("Future GPU"));
    }
}

fn errata_in(lang: Lang) -> Table {
    let catalog = catalog();
    errata(&Input::new(&catalog, None, &[], lang))
}

#[test]
fn the_errata_are_the_same_in_both_languages() {
    let (en, ko) = (errata_in(Lang::En), errata_in(Lang::Ko));
    check("errata_en", &report::render(std::slice::from_ref(&en), TEXT));
    check("errata_ko_markdown", &report::render(std::slice::from_ref(&ko), Format::Markdown));
    assert_eq!(en.rows().len(), ko.rows().len());
    for (en, ko) in en.rows().iter().zip(ko.rows()) {
        assert_eq!(en[0], ko[0]);
        for (english, korean) in en.iter().zip(ko) {
            if let (Cell::Number(english), Cell::Number(korean)) = (english, korean) {
                assert_eq!(english.value, korean.value);
            }
        }
    }
}

#[test]
fn every_part_of_the_guide_with_known_mistakes_is_listed() {
    let table = errata_in(Lang::En);
    let listed = |section: &str| table.rows().iter().filter(|row| row[0] == Cell::text(section)).count();
    for (section, least) in [
        ("B.1.1", 17),
        ("B.1.2", 2),
        ("B.2.2", 5),
        ("B.2.3", 3),
        ("B.2.4", 4),
        ("B.3.1", 8),
        ("B.3.2", 6),
        ("B.4.1", 4),
        ("B.4.2", 2),
        ("B.5.1", 9),
        ("B.5.2", 1),
        ("B.6", 3),
        ("B.7.1", 2),
        ("B.8", 1),
        ("B.9", 1),
    ] {
        assert!(listed(section) >= least, "{section}: {}", listed(section));
    }
}

#[test]
fn every_erratum_has_two_values_and_a_reason() {
    let table = errata_in(Lang::En);
    for row in table.rows() {
        let [section, item, guide, right, why] = &row[..] else { panic!("{row:?}") };
        assert!(matches!((section, item, why), (Cell::Text(_), Cell::Text(_), Cell::Text(why)) if why.len() > 10), "{row:?}");
        match (guide, right) {
            (Cell::Number(written), Cell::Number(right)) => {
                assert_eq!(written.basis, Some(Basis::Guide), "{row:?}");
                assert!(right.basis.is_some_and(|basis| basis != Basis::Guide) && !right.from.is_empty(), "{row:?}");
                assert!(written.value != right.value, "{row:?}");
            }
            (Cell::Text(written), Cell::Text(right)) => assert!(written != right, "{row:?}"),
            _ => panic!("one value is missing or of another kind: {row:?}"),
        }
    }
}

#[test]
fn the_catalog_bears_out_what_the_errata_say_in_words() {
    let catalog = catalog();
    let first = catalog.generations.iter().find(|generation| !generation.tensor_formats(&catalog).is_empty()).unwrap();
    assert_eq!(first.name, "Volta");
    for gpu in catalog.gpus.iter().filter(|gpu| gpu.architecture == "Ampere" && gpu.mig) {
        assert_eq!(gpu.compute_capability(), (8, 0), "{}", gpu.name);
    }
    let entry = |name: &str| catalog.instances.iter().find(|entry| entry.name == name).unwrap().price_per_hour().value.0;
    assert_eq!(entry("gpu_1x_h100_pcie"), 2.49);
    assert!((entry("Standard_ND96isr_H100_v5") - 98.32).abs() < 0.01);
}
