//! The page about recorded machines: well-formed, inert whatever a record says, in both languages, and the command that writes it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[path = "common/page.rs"]
mod common;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{assessment, many_gpus, record, report};
use gpu_assay::lang::Lang;
use gpu_assay::machine::{Fact, GpuProcess};
use gpu_assay::plot::Form;
use gpu_assay::record::Run;
use gpu_assay::report::page::{Item, Page};
use gpu_assay::report::{Format, PageFormat, html, render, render_page};
use gpu_assay::verdict::Verdict;
use roxmltree::{Document, ParsingOptions};

fn parsed(text: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).unwrap_or_else(|error| panic!("{error}"))
}

/// The style sheet left out, which is not what a snapshot is for; line by line, so that differences can be read.
fn readable(text: &str) -> String {
    let (before, rest) = text.split_once("<style>").unwrap();
    let (_, after) = rest.split_once("</style>").unwrap();
    format!("{before}<style>…</style>{after}").replace("><text", ">\n<text").replace("><path", ">\n<path").replace("><td", ">\n<td")
}

fn without(mut page: Page, keep: impl Fn(&str) -> bool) -> Page {
    page.sections.retain(|section| keep(section.id));
    page.program = "gpu-assay VERSION".to_owned();
    page
}

#[test]
fn the_page_of_a_small_machine() {
    let page = without(report(&[(&record("small-vm.json"), None)], Lang::En), |id| id != "guide");
    insta::assert_snapshot!("small-vm", readable(&html(&page)));
}

#[test]
fn the_plots_of_a_gpu() {
    let page = without(report(&[(&record("h200-standin.json"), None)], Lang::Ko), |id| id == "bandwidth" || id == "samples");
    insta::assert_snapshot!("h200-plots", readable(&html(&page)));
}

#[test]
fn it_is_well_formed_and_refers_to_nothing_outside() {
    let (one, vm) = (record("h200-standin.json"), record("small-vm.json"));
    let many = many_gpus(&one);
    let verdict = assessment(Verdict::Fail, "a finding");
    for lang in [Lang::En, Lang::Ko] {
        let pages = [
            report(&[(&vm, None)], lang),
            report(&[(&many, Some(&verdict))], lang),
            report(&[(&many, Some(&verdict)), (&one, None), (&vm, None)], lang),
        ];
        for page in pages {
            let text = html(&page);
            let document = parsed(&text);
            check_references(&document);
            let root = document.root_element();
            assert_eq!(root.attribute("lang"), Some(lang.to_string().as_str()));
            let headings: Vec<&str> =
                document.descendants().map(|node| node.tag_name().name()).filter(|name| ["h1", "h2", "h3"].contains(name)).collect();
            assert_eq!(headings[0], "h1");
            assert!(
                headings.windows(2).all(|pair| pair[1] <= pair[0] || pair[1].as_bytes()[1] == pair[0].as_bytes()[1] + 1),
                "{headings:?}"
            );
        }
    }
}

/// Identifiers are unique and found, drawings have their text alternative, and nothing runs, loads or leads elsewhere.
fn check_references(document: &Document<'_>) {
    let elements = || document.descendants().filter(roxmltree::Node::is_element);
    let mut ids = HashSet::new();
    for id in elements().filter_map(|element| element.attribute("id")) {
        assert!(ids.insert(id), "{id} twice");
    }
    for element in elements() {
        let name = element.tag_name().name();
        assert!(
            !["script", "link", "img", "iframe", "object", "embed", "form", "input", "base", "image", "use", "a"].contains(&name)
                || name == "a",
            "{name}"
        );
        for attribute in element.attributes() {
            assert!(
                !attribute.name().starts_with("on") && !["src", "style", "srcset", "action"].contains(&attribute.name()),
                "{}",
                attribute.name()
            );
            match attribute.name() {
                "href" => assert!(ids.contains(attribute.value().strip_prefix('#').unwrap()), "{}", attribute.value()),
                "aria-labelledby" => attribute.value().split(' ').for_each(|id| assert!(ids.contains(id), "{id}")),
                _ => {}
            }
        }
        if name == "svg" && element.attribute("aria-hidden").is_none() {
            let children: Vec<&str> = element.children().map(|child| child.tag_name().name()).take(2).collect();
            assert_eq!((element.attribute("role"), &children[..]), (Some("img"), &["title", "desc"][..]));
        }
    }
}

/// Puts `text` wherever a record has words of its own.
fn say(run: &Run, text: &str) -> Run {
    let mut run = run.clone();
    let fact = || Fact::Known(text.to_owned());
    run.started = text.to_owned();
    run.program.version = text.to_owned();
    run.program.kernels = text.to_owned();
    run.settings.probes = vec![text.to_owned()];
    let machine = &mut run.machine;
    machine.driver.version = fact();
    machine.driver.cuda_version = Fact::unknown(text);
    machine.host.cpu.model = fact();
    machine.host.os = fact();
    machine.host.kernel = Fact::unknown(text);
    for library in &mut machine.libraries {
        (library.name, library.path) = (text.to_owned(), Some(text.to_owned()));
    }
    for gpu in &mut machine.gpus {
        (gpu.name, gpu.uuid) = (text.to_owned(), text.to_owned());
        (gpu.vbios, gpu.virtualization) = (fact(), fact());
        gpu.other_processes = Fact::Known(vec![GpuProcess { pid: 1, memory: None }]);
    }
    if let Fact::Known(disks) = &mut machine.host.disks {
        for disk in disks {
            (disk.mount, disk.device, disk.kind, disk.file_system) = (text.to_owned(), text.to_owned(), text.to_owned(), text.to_owned());
        }
    }
    for outcome in &mut run.outcomes {
        match outcome {
            gpu_assay::measure::Outcome::Measured(measurement) => {
                measurement.conditions.values_mut().for_each(|value| text.clone_into(value));
                if let Some(span) = &mut measurement.telemetry {
                    span.throttle_reasons = vec![text.to_owned()];
                }
            }
            gpu_assay::measure::Outcome::Failed { error, .. } => text.clone_into(error),
            _ => {}
        }
    }
    run
}

fn elements(text: &str) -> Vec<String> {
    parsed(text).descendants().filter(roxmltree::Node::is_element).map(|node| node.tag_name().name().to_owned()).collect()
}

#[test]
fn whatever_a_record_says_is_text() {
    let one = record("h200-standin.json");
    let page = |text: &str| {
        let verdict = assessment(Verdict::Unknown, text);
        let run = say(&one, text);
        html(&report(&[(&run, Some(&verdict)), (&run, None)], Lang::En))
    };
    let plain = elements(&page("an honest name of some length"));
    for hostile in [
        "<script>alert(1)</script><img src=x onerror=alert(1)>",
        "\"><svg onload=alert(1)>' onmouseover='alert(1)",
        "--></style></title><!-- ]]> <![CDATA[ &lt; &#x3c;script>",
        "\u{202e}txt.exe\u{202c}\u{2066}\u{200f}\u{1b}[2J\u{0}\u{7}\u{9b}31m\r\n",
        "{{7*7}} ${7*7} </body></html>",
        "\u{fffe}\u{ffff}\u{feff}\u{e0001}",
    ] {
        let text = page(hostile);
        assert_eq!(elements(&text), plain, "{hostile:?} changes the page's structure");
        check_references(&parsed(&text));
        let obeyed = text
            .chars()
            .find(|c| c.is_control() && *c != '\n' || ('\u{202a}'..='\u{202e}').contains(c) || ('\u{2066}'..='\u{2069}').contains(c));
        assert_eq!(obeyed, None);
    }
}

#[test]
fn names_of_a_megabyte_do_not_make_a_page_of_a_gigabyte() {
    let run = say(&record("h200-standin.json"), &"x".repeat(1 << 20));
    let text = html(&report(&[(&run, None)], Lang::En));
    assert!(text.len() < 4 << 20, "{} bytes", text.len());
}

#[test]
fn a_machine_of_thousands_of_gpus_is_a_page_all_the_same() {
    let mut run = record("h200-standin.json");
    let first = run.machine.gpus[0].clone();
    run.machine.gpus = (0..2000).map(|index| gpu_assay::machine::Gpu { index, ..first.clone() }).collect();
    let text = html(&report(&[(&run, None)], Lang::En));
    assert!(text.len() < 8 << 20, "{} bytes", text.len());
    assert!(text.contains("more rows are left out."));
}

fn is_korean(text: &str) -> bool {
    text.chars().any(|c| ('가'..='힣').contains(&c))
}

/// Texts that are the same in both languages.
fn is_neutral(text: &str) -> bool {
    let words = text.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| word.len() > 1);
    words.clone().count() == 0
        || ["GPU", "CC", "PCI", "L2", "CPU", "SM", "MIG", "ECC", "NUMA", "NVLink", "UUID", "VBIOS", "BF16", "FP8", "dram"]
            .iter()
            .any(|known| text.starts_with(known))
}

#[test]
fn everything_is_said_in_both_languages() {
    fn check(item: &Item) {
        match item {
            Item::Plot(plot) => {
                let axes = match &plot.form {
                    Form::Chart(chart) => vec![&chart.x.label, &chart.y.label],
                    Form::Matrix(matrix) => vec![&matrix.rows, &matrix.columns],
                    Form::Strips(strips) => vec![&strips.axis.label],
                };
                for text in axes.into_iter().chain([&plot.title, &plot.about]).chain(&plot.notes) {
                    assert!(is_korean(text), "{text}");
                }
                check(&Item::Table(plot.table()));
            }
            Item::Table(table) => {
                let headings = table.columns().iter().map(|column| &column.header);
                for text in headings.chain([&table.title]).chain(&table.notes) {
                    assert!(is_korean(text) || is_neutral(text) || text.starts_with("? "), "{text}");
                }
            }
            Item::Words(text) => assert!(is_korean(text), "{text}"),
            Item::Folded { title, items } => {
                assert!(is_korean(title), "{title}");
                items.iter().for_each(check);
            }
            Item::Command(_) | Item::Verdict(_) => {}
        }
    }
    let run = many_gpus(&record("h200-standin.json"));
    let verdict = assessment(Verdict::Fail, "발견");
    let page = report(&[(&run, Some(&verdict)), (&run, None)], Lang::Ko);
    assert!(is_korean(&page.title));
    for section in page.sections.iter().filter(|section| section.id != "guide") {
        assert!(is_korean(&section.title) && (section.about.is_empty() || is_korean(&section.about)), "{}", section.id);
        let items = section.panels.iter().flat_map(|(_, items)| items);
        // The names of machines stand above the columns of the comparison.
        items.filter(|_| section.id != "side-by-side").for_each(check);
    }
}

#[test]
fn other_forms_have_the_same_tables() {
    let one = record("h200-standin.json");
    let verdict = assessment(Verdict::Fail, "a finding");
    let page = report(&[(&one, Some(&verdict))], Lang::En);
    let json: serde_json::Value = serde_json::from_str(&render_page(&page, PageFormat::Json)).unwrap();
    assert_eq!(json["verdicts"][0]["verdict"], "fail");
    assert_eq!(json["machines"][0], one.name.as_str());
    let tables: usize = json["sections"].as_array().unwrap().iter().map(|section| section["tables"].as_array().unwrap().len()).sum();
    assert_eq!(tables, page.tables().len());
    assert_eq!(render_page(&page, PageFormat::Csv), render(&page.tables(), Format::Csv));
    let markdown = render_page(&page, PageFormat::Markdown);
    assert_eq!(markdown.matches("\n### ").count(), tables);
    assert!(markdown.contains("\n## How to repeat it\n") && markdown.contains("gpu-assay measure"));
}

fn program(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gpu-assay"));
    command.current_dir(folder).env("TMPDIR", folder).env("HOME", folder).env_remove("XDG_DATA_HOME").stdin(Stdio::null());
    command.args(arguments).output().unwrap()
}

#[track_caller]
fn assert_error(output: &Output, code: i32, said: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(said) && stderr.trim_end().lines().count() == 1, "{stderr}");
    assert!(output.stdout.is_empty());
}

#[test]
fn the_command_writes_one_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let vm = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records/small-vm.json");
    let vm = vm.to_str().unwrap();
    let output = program(folder.path(), &["report", vm, "-o", "out/report.html"]);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    let text = fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(text.starts_with("<!DOCTYPE html>\n<html lang=\"en\">") && text.ends_with("</html>\n"), "{}", &text[text.len() - 40..]);
    let entries = |path: &Path| fs::read_dir(path).unwrap().count();
    assert_eq!((entries(folder.path()), entries(&folder.path().join("out"))), (1, 1));
    let printed = program(folder.path(), &["report", vm, "--format", "csv"]);
    assert!(printed.status.success() && printed.stdout.starts_with(b"part,"), "{printed:?}");
    assert!(program(folder.path(), &["report", vm, "-o", "report.json"]).status.success());
    serde_json::from_str::<serde_json::Value>(&fs::read_to_string(folder.path().join("report.json")).unwrap()).unwrap();
}

#[test]
fn a_wrong_call_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let vm = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records/small-vm.json");
    let vm = vm.to_str().unwrap();
    assert_error(&program(folder.path(), &["report", vm]), 2, "name it with -o report.html");
    assert_error(&program(folder.path(), &["report", vm, "--format", "html"]), 2, "name it with -o report.html");
    assert_error(&program(folder.path(), &["guide", "--format", "html"]), 2, "--format html is for `gpu-assay report`");
    assert_error(&program(folder.path(), &["report", "-o", "r.html"]), 3, "run `gpu-assay measure` first");
    assert_error(&program(folder.path(), &["report", "absent.json", "-o", "r.html"]), 2, "reading absent.json");
    assert_error(&program(folder.path(), &["report", vm, "-o", "r.html", "--model", "no such model"]), 2, "not in the catalog");
    assert_error(&program(folder.path(), &[&["report", "-o", "r.html"][..], &[vm; 9]].concat()), 2, "at most 8");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a failed call writes nothing");
}
