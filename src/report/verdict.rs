//! A verdict for people, for spreadsheets, and in one line for scripts.

use super::words::harmless;
use super::{Cell, Column, Table};
use crate::lang::{Lang, Text};
use crate::verdict::{About, Assessment, Check, Finding, Status, Verdict, kind};

/// One line: the verdict, counts, and the ids of what is wrong, as `fail 2 failures, 1 warning: pcie.width gpu 1, …`.
pub fn verdict_line(assessment: &Assessment) -> String {
    let mut said: Vec<String> = Vec::new();
    for finding in assessment.findings.iter().filter(|finding| finding.check.status > Status::Accepted) {
        let about = if finding.check.about == About::Machine { String::new() } else { format!(" {}", finding.check.about) };
        let word = if finding.check.status == Status::Failure { String::new() } else { format!(" ({})", finding.check.status.word()) };
        said.push(format!("{}{about}{word}", finding.check.id));
    }
    let what = if said.is_empty() { String::new() } else { format!(": {}", said.join(", ")) };
    harmless(&format!("{} {} for {}{what}", assessment.verdict, assessment.machine, assessment.expected))
}

/// The verdict with everything that did not pass, as text.
pub fn verdict_text(assessment: &Assessment, lang: Lang) -> String {
    let mut lines = vec![headline(assessment, lang), counts(assessment, lang)];
    if assessment.simulated {
        lines.push(
            Text::new(
                "A stand-in driver took the place of hardware: nothing here is about a real machine.",
                "하드웨어가 아닌 대역 드라이버의 결과입니다.",
            )
            .get(lang)
            .to_owned(),
        );
    }
    for alike in alike(&assessment.findings) {
        lines.push(String::new());
        lines.extend(paragraph(&alike, lang));
    }
    if !assessment.effective.is_empty() {
        lines.push(String::new());
        lines.push(format!("{}:", Text::new("All GPUs together", "GPU 전체").get(lang)));
        lines.extend(assessment.effective.iter().map(|rate| {
            let price = rate.usd_per_unit_hour.map_or_else(String::new, |usd| {
                let unit = if rate.metric.starts_with("matmul") { "PFLOP/s" } else { "TB/s" };
                format!(", {usd:.2} USD {} {unit}", Text::new("an hour for each", "시간당 1").get(lang))
            });
            format!("  {:12} {}{price}", rate.metric, rate.measured.shown)
        }));
    }
    let mut text = lines.iter().map(|line| harmless(line)).collect::<Vec<_>>().join("\n");
    text.push('\n');
    text
}

fn headline(assessment: &Assessment, lang: Lang) -> String {
    let said = match (assessment.verdict, lang) {
        (Verdict::Pass, Lang::En) => "this is what was paid for",
        (Verdict::Fail, Lang::En) => "this is not what was paid for",
        (Verdict::Unknown, Lang::En) => "not everything that matters could be told",
        (Verdict::Pass, Lang::Ko) => "결제한 장비가 맞습니다",
        (Verdict::Fail, Lang::Ko) => "결제한 장비가 아닙니다",
        (Verdict::Unknown, Lang::Ko) => "중요한 것을 다 판정하지 못했습니다",
    };
    let Assessment { expected, machine, .. } = assessment;
    format!("{}: {said} ({expected}; {machine})", assessment.verdict.text().get(lang).to_uppercase())
}

fn counts(assessment: &Assessment, lang: Lang) -> String {
    let count = |status: Status| assessment.checks.iter().filter(|check| check.status == status).count();
    let all = assessment.checks.len() - count(Status::Ignored);
    let mut said = vec![match lang {
        Lang::En => format!("{} of {all} checks passed", count(Status::Pass)),
        Lang::Ko => format!("검사 {all}개 가운데 {}개 정상", count(Status::Pass)),
    }];
    for status in [Status::Failure, Status::Warning, Status::Unknown, Status::Accepted, Status::Ignored] {
        if count(status) > 0 {
            said.push(format!("{} {}", status.text().get(lang), count(status)));
        }
    }
    format!("  {}", said.join(" · "))
}

pub(super) const fn sign(status: Status) -> &'static str {
    match status {
        Status::Failure => "✗",
        Status::Unknown => "?",
        Status::Warning => "!",
        Status::Accepted | Status::Ignored => "·",
        Status::Pass => "✓",
    }
}

/// Findings of one kind and status that expect the same, told once.
pub(super) struct Alike<'a> {
    /// The worst, which stands for all.
    pub(super) worst: &'a Finding,
    others: Vec<About>,
}

impl Alike<'_> {
    /// What the others are about, in order; empty where there are none.
    pub(super) fn likewise(&self) -> String {
        self.others.iter().map(About::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// Eight GPUs that fail alike are one thing to read.
pub(super) fn alike(findings: &[Finding]) -> Vec<Alike<'_>> {
    let value = |finding: &Finding| finding.check.measured.as_ref().map_or(0.0, |reading| reading.value);
    let mut groups: Vec<Alike<'_>> = Vec::new();
    for finding in findings {
        let key = |finding: &Finding| (finding.check.id, finding.check.status, finding.check.expected.clone());
        match groups.iter_mut().find(|group| key(group.worst) == key(finding)) {
            Some(group) => {
                let better = if value(finding) < value(group.worst) { std::mem::replace(&mut group.worst, finding) } else { finding };
                group.others.push(better.check.about);
                group.others.sort();
            }
            None => groups.push(Alike { worst: finding, others: Vec::new() }),
        }
    }
    groups
}

/// What the others of a group are called.
pub(super) const LIKEWISE: Text = Text::new("likewise", "마찬가지");

fn paragraph(alike: &Alike<'_>, lang: Lang) -> Vec<String> {
    let finding = alike.worst;
    let Finding { check, .. } = finding;
    let dcgm = finding.dcgm.map_or_else(String::new, |name| format!(", {name}"));
    let mut lines = vec![format!("{} {}  [{}{dcgm}]", sign(check.status), finding.title, check.id)];
    lines.push(format!("    {}", evidence(check, lang)));
    let mut line = |name: Text, text: &str| {
        if !text.is_empty() {
            lines.push(format!("    {}: {text}", name.get(lang)));
        }
    };
    line(LIKEWISE, &alike.likewise());
    line(Text::new("costs", "손해"), finding.cost.as_deref().unwrap_or_default());
    line(Status::Accepted.text(), finding.accepted.as_deref().unwrap_or_default());
    line(Text::new("what to do", "할 일"), &finding.remedy);
    if check.status != Status::Unknown {
        line(Text::new("for the provider", "제공자에게"), &finding.sentence);
    }
    lines
}

/// Seen and expected, with the limit that decided and where it comes from.
fn evidence(check: &Check, lang: Lang) -> String {
    let seen = format!("{} {}", Text::new("seen", "실제").get(lang), check.seen);
    let expected = if check.expected.is_empty() {
        String::new()
    } else {
        format!("; {} {}", Text::new("expected", "기대").get(lang), check.expected)
    };
    let limit = limit(check, lang);
    let limit = if limit.is_empty() { limit } else { format!(" ({limit})") };
    format!("{seen}{expected}{limit}")
}

/// The limit that decided, with the basis and the source of what was expected; empty where there is no band.
pub(super) fn limit(check: &Check, lang: Lang) -> String {
    let Some(band) = &check.band else { return String::new() };
    let (limit, fails) = if band.failure > 0.0 { (band.failure, true) } else { (band.warning, false) };
    let share = limit / band.reference * 100.0;
    let from = band.from.first().map_or("", String::as_str);
    match (lang, fails) {
        (Lang::En, true) => format!("fails below {share:.0} % of it; {}: {from}", band.basis),
        (Lang::En, false) => format!("warns below {share:.0} % of it; {}: {from}", band.basis),
        (Lang::Ko, true) => format!("{share:.0} % 아래면 이상; {}: {from}", band.basis),
        (Lang::Ko, false) => format!("{share:.0} % 아래면 주의; {}: {from}", band.basis),
    }
}

/// Every check as a table, for documents and spreadsheets.
pub fn verdict_tables(assessment: &Assessment, lang: Lang) -> Vec<Table> {
    vec![findings(assessment, lang), checks(assessment, lang)]
}

/// What did not pass, as a table; its title carries the verdict.
pub(super) fn findings(assessment: &Assessment, lang: Lang) -> Table {
    let words = [
        Column::text("status", Text::new("status", "판정").get(lang)),
        Column::text("check", Text::new("check", "검사").get(lang)),
        Column::text("about", Text::new("about", "대상").get(lang)),
        Column::text("wrong", Text::new("what is wrong", "문제").get(lang)),
        Column::text("seen", Text::new("seen", "실제").get(lang)),
        Column::text("expected", Text::new("expected", "기대").get(lang)),
        Column::text("cost", Text::new("cost", "손해").get(lang)),
        Column::text("remedy", Text::new("what to do", "할 일").get(lang)),
        Column::text("sentence", Text::new("for the provider", "제공자에게").get(lang)),
    ];
    let mut table = Table::new(headline(assessment, lang), words).in_lang(lang);
    for finding in &assessment.findings {
        let check = &finding.check;
        table.row([
            Cell::text(check.status.text().get(lang)),
            Cell::text(check.id),
            Cell::text(check.about.to_string()),
            Cell::text(&finding.title),
            Cell::text(&check.seen),
            Cell::text(&check.expected),
            Cell::text(finding.cost.as_deref().unwrap_or_default()),
            Cell::text(&finding.remedy),
            Cell::text(&finding.sentence),
        ]);
    }
    table
}

/// Every check, as a table.
pub(super) fn checks(assessment: &Assessment, lang: Lang) -> Table {
    let columns = [
        Column::text("status", Text::new("status", "판정").get(lang)),
        Column::text("check", Text::new("check", "검사").get(lang)),
        Column::text("about", Text::new("about", "대상").get(lang)),
        Column::text("asks", Text::new("asks for", "묻는 것").get(lang)),
        Column::text("seen", Text::new("seen", "실제").get(lang)),
        Column::text("expected", Text::new("expected", "기대").get(lang)),
        Column::text("basis", Text::new("basis", "근거").get(lang)),
    ];
    let mut table = Table::new(Text::new("Checks", "검사").get(lang), columns).in_lang(lang);
    for check in &assessment.checks {
        table.row([
            Cell::text(check.status.text().get(lang)),
            Cell::text(check.id),
            Cell::text(check.about.to_string()),
            Cell::text(kind(check.id).map_or("", |kind| kind.asks.get(lang))),
            Cell::text(&check.seen),
            Cell::text(&check.expected),
            Cell::text(check.band.as_ref().map_or_else(String::new, |band| format!("{}: {}", band.basis, band.from.join("; ")))),
        ]);
    }
    table
}
