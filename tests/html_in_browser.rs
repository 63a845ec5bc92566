//! The page in a real browser: nothing fetched, nothing complained of, every plot drawn with its text in its place, and accessible.
//!
//! Needs Chromium, and for the last point axe-core in `target/browser-tools`; `.ci/run` installs both and sets `GPU_ASSAY_BROWSER=required`.
//! Elsewhere the test says what is missing and passes. `GPU_ASSAY_PAGES=DIR` keeps the pages to look at.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[path = "common/browser.rs"]
mod browser;
#[path = "common/page.rs"]
mod common;

use std::fs;
use std::path::{Path, PathBuf};

use browser::Browser;
use common::{assessment, many_gpus, record, report};
use gpu_assay::lang::Lang;
use gpu_assay::report::html;
use gpu_assay::verdict::Verdict;

const AXE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/browser-tools/node_modules/axe-core/axe.min.js");

/// Widths of a desktop's window and of a telephone.
const WIDTHS: [u32; 2] = [1200, 390];

/// `thing`, or a line that says what is missing; a failure where it has to be there.
fn needed<T>(thing: Option<T>, name: &str) -> Option<T> {
    if thing.is_none() {
        assert_ne!(std::env::var("GPU_ASSAY_BROWSER").as_deref(), Ok("required"), "{name} is missing");
        println!("skipped: {name} is missing; `.ci/run` installs it");
    }
    thing
}

/// Pages to look at, by name.
fn pages() -> Vec<(&'static str, String)> {
    let (one, vm) = (record("h200-standin.json"), record("small-vm.json"));
    let many = many_gpus(&one);
    let lasting = record("h100x2-standin-sustained.json");
    let fail = assessment(Verdict::Fail, "Memory bandwidth is 2.9 TB/s; 3.3 TB/s were to be expected of this model.");
    let pass = assessment(Verdict::Pass, "8x\"H200\"");
    vec![
        ("small", html(&report(&[(&vm, None)], Lang::En))),
        ("lasting", html(&report(&[(&lasting, None)], Lang::En))),
        ("many", html(&report(&[(&many, Some(&fail))], Lang::En))),
        ("several", html(&report(&[(&many, Some(&pass)), (&one, None)], Lang::Ko))),
    ]
}

#[test]
fn it_opens_draws_and_is_accessible() {
    let Some(program) = needed(browser::found(), "Chromium") else { return };
    let axe = needed(fs::read_to_string(AXE).ok(), "axe-core");
    let temporary = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("GPU_ASSAY_PAGES").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let mut browser = Browser::start(&program);
    for (name, text) in pages() {
        let path = folder.join(format!("{name}.html"));
        fs::write(&path, text).unwrap();
        for (width, scheme) in WIDTHS.into_iter().zip(["light", "dark"]) {
            println!("{name} at {width} px, {scheme}");
            browser.screen(width, scheme);
            browser.open(&path);
            looks_right(&mut browser, width);
            // The guide's tables are alike on all of them, and there are thousands of cells.
            browser.evaluate("document.querySelectorAll('details').forEach(details => { details.open = false })");
            if name == "small" {
                browser
                    .evaluate("document.querySelectorAll('#guide details').forEach((details, index) => { details.open = index % 4 == 0 })");
            }
            // It takes ten seconds each time; every kind of content is seen in one scheme or the other, and contrast has a test of its own.
            let chosen = (name == "many") == (scheme == "light");
            if let Some(axe) = axe.as_ref().filter(|_| chosen) {
                is_accessible(&mut browser, axe);
            }
            assert_eq!(browser.complaints(), [""; 0]);
            assert_eq!(browser.requests(), [url(&path)]);
        }
    }
}

fn url(path: &Path) -> String {
    format!("file://{}", path.display())
}

/// Every drawing is seen, its text inside it and none over another; nothing is wider than the screen.
fn looks_right(browser: &mut Browser, width: u32) {
    browser.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })");
    assert_eq!(browser.evaluate(LOOKS), serde_json::json!([]));
    assert_eq!(browser.evaluate("document.documentElement.scrollWidth"), width, "the page scrolls sideways");
}

/// What is wrong with the drawings, as a list of sentences.
const LOOKS: &str = r"(() => {
  const wrong = [];
  for (const svg of document.querySelectorAll('svg')) {
    const name = svg.querySelector('title')?.textContent ?? 'swatch';
    const box = svg.getBoundingClientRect();
    if (box.width < 8 || box.height < 4) wrong.push(`${name}: not drawn`);
    const texts = [...svg.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()]);
    for (const [text, own] of texts) {
      if (own.left < box.left - 2 || own.right > box.right + 2 || own.top < box.top - 2 || own.bottom > box.bottom + 2)
        wrong.push(`${name}: ${text} is cut`);
      if (own.height < 8) wrong.push(`${name}: ${text} is ${own.height} px high`);
    }
    texts.forEach(([text, a], index) => texts.slice(index + 1).forEach(([other, b]) => {
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left), down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 1 && down > 3) wrong.push(`${name}: ${text} lies over ${other}`);
    }));
  }
  return wrong.slice(0, 40);
})()";

/// No violation that axe calls serious or critical.
fn is_accessible(browser: &mut Browser, axe: &str) {
    assert_eq!(violations(browser, axe), serde_json::json!([]));
}

fn violations(browser: &mut Browser, axe: &str) -> serde_json::Value {
    browser.evaluate(axe);
    browser.evaluate(
        r"axe.run(document, { resultTypes: ['violations'] }).then(results => results.violations
          .filter(violation => ['serious', 'critical'].includes(violation.impact))
          .map(violation => `${violation.id}: ${violation.nodes.length} × ${violation.nodes[0].html.slice(0, 200)} (${violation.nodes[0].failureSummary})`))",
    )
}

/// A page on which all of it is wrong.
const BAD: &str = r#"<!DOCTYPE html><html lang="en"><head><title>bad</title></head><body><main><h1>bad</h1>
<p style="color: #ddd; background: #fff">pale</p><img src="absent.png" alt="absent">
<svg viewBox="0 0 100 50" width="100" height="50"><title>s</title><text x="5" y="20">one</text><text x="8" y="22">two</text>
<text x="90" y="45">a long text</text></svg><svg viewBox="0 0 1 1" width="0" height="0"></svg>
<script>console.error("said"); throw new Error("thrown")</script></main></body></html>"#;

#[test]
fn the_browser_tells_of_what_is_wrong() {
    let Some(program) = needed(browser::found(), "Chromium") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.html");
    fs::write(&path, BAD).unwrap();
    let mut browser = Browser::start(&program);
    browser.screen(1200, "light");
    browser.open(&path);
    let wrong = browser.evaluate(LOOKS).to_string();
    for said in ["s: one lies over two", "s: a long text is cut", "swatch: not drawn"] {
        assert!(wrong.contains(said), "{said} in {wrong}");
    }
    let complaints = browser.complaints().join("\n");
    assert!(complaints.contains("said") && complaints.contains("thrown"), "{complaints}");
    assert_eq!(browser.requests().len(), 2, "{:?}", browser.requests());
    if let Some(axe) = needed(fs::read_to_string(AXE).ok(), "axe-core") {
        let found = violations(&mut browser, &axe).to_string();
        assert!(found.contains("color-contrast"), "{found}");
    }
}
