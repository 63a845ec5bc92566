//! A verdict as JUnit XML, which every CI system reads: one test case per check.
//!
//! The form is the one that Jenkins' and GitLab's readers share: `testsuites` of one `testsuite` of `testcase`s with `failure`, `skipped` and
//! `system-out`. XML has no way at all to write most control characters, so they are spelled out.

use std::fmt::Write;

use crate::verdict::{Assessment, Check, Finding, Status, kind};

/// The checks of an assessment as JUnit XML.
pub fn junit(assessment: &Assessment) -> String {
    let count = |wanted: &[Status]| assessment.checks.iter().filter(|check| wanted.contains(&check.status)).count();
    let (failures, skipped) = (count(&[Status::Failure]), count(&[Status::Unknown, Status::Ignored]));
    let counts = format!("tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\"", assessment.checks.len());
    let name = xml(&format!("{} is {}", assessment.machine, assessment.expected));
    let stamp = if assessment.measured.is_empty() { String::new() } else { format!(" timestamp=\"{}\"", xml(&assessment.measured)) };
    let mut text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"gpu-assay\" {counts}>\n");
    // Writing to a string cannot fail.
    let _ = writeln!(text, "  <testsuite name=\"{name}\" {counts}{stamp}>");
    for check in &assessment.checks {
        let finding = assessment.findings.iter().find(|finding| &finding.check == check);
        case(&mut text, check, finding);
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

fn case(text: &mut String, check: &Check, finding: Option<&Finding>) {
    let asks = kind(check.id).map_or("", |kind| kind.asks.en);
    let _ = write!(text, "    <testcase classname=\"{}\" name=\"{}: {}\"", xml(check.id), xml(&check.about.to_string()), xml(asks));
    let seen = format!("seen {}; expected {}", check.seen, check.expected);
    let about = finding.map_or_else(String::new, |finding| format!("{}\n{}\n{}", finding.title, finding.remedy, finding.sentence));
    let inside = match check.status {
        Status::Pass => None,
        Status::Failure => Some(format!("<failure type=\"{}\" message=\"{}\">{}</failure>", xml(check.id), xml(&seen), xml(&about))),
        Status::Unknown | Status::Ignored => {
            Some(format!("<skipped message=\"{}\"/>", xml(&format!("{}: {}", check.status.word(), check.seen))))
        }
        Status::Warning | Status::Accepted => {
            Some(format!("<system-out>{}</system-out>", xml(&format!("{}: {seen}\n{about}", check.status.word()))))
        }
    };
    let _ = match inside {
        None => writeln!(text, "/>"),
        Some(inside) => writeln!(text, ">{inside}</testcase>"),
    };
}

/// Text for an element or a quoted attribute.
fn xml(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\n' | '\t' => safe.push(c),
            // Not characters of XML 1.0, or obeyed by a terminal that shows the file.
            _ if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                safe.extend(c.escape_unicode());
            }
            _ => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup() {
        assert_eq!(xml("a<b>&\"\u{1b}[31m\u{202e}"), "a&lt;b&gt;&amp;&quot;\\u{1b}[31m\\u{202e}");
    }
}
