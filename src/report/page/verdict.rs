//! Is it the machine that was paid for?

use super::{Item, Topic};
use crate::lang::{Lang, Text};
use crate::table::{Cell, Column, Number, Table};
use crate::verdict::{Assessment, Check, kind};

pub(super) const TOPIC: Topic = Topic {
    id: "verdict",
    title: Text::new("Verdict", "판정"),
    about: Text::new("", ""),
    panel: |source, subject| {
        let Some(assessment) = subject.assessment else { return Vec::new() };
        let mut items = vec![Item::Verdict(Box::new(assessment.clone()))];
        let (effective, checks) = (effective(assessment, source.lang), checks(assessment, source.lang));
        if !effective.is_empty() {
            items.push(Item::Table(effective));
        }
        items.push(Item::Folded { title: checks.title.clone(), items: vec![Item::Table(checks)] });
        items
    },
};

/// What did not pass, as a table; its title carries the verdict.
pub fn findings(assessment: &Assessment, lang: Lang) -> Table {
    let what = |text: Text| text.get(lang);
    let title = Text::new("Verdict on {}: {}", "{} 판정: {}").fill(lang, &[&assessment.expected, &assessment.verdict.text().get(lang)]);
    let columns = [
        Column::text("status", what(Text::new("status", "상태"))),
        Column::text("check", what(Text::new("check", "검사"))),
        Column::text("about", what(Text::new("of what", "대상"))),
        Column::text("finding", what(Text::new("finding", "발견"))),
        Column::text("seen", what(Text::new("seen", "확인값"))),
        Column::text("expected", what(Text::new("expected", "기대값"))),
        Column::text("remedy", what(Text::new("what to do", "할 일"))),
    ];
    let mut table = Table::new(title, columns).in_lang(lang);
    for finding in &assessment.findings {
        let check = &finding.check;
        table.row([
            Cell::text(check.status.text().get(lang)),
            Cell::text(check.id),
            Cell::text(check.about.to_string()),
            Cell::text(&finding.title),
            Cell::text(&check.seen),
            Cell::text(&check.expected),
            Cell::text(&finding.remedy),
        ]);
    }
    table
}

fn checks(assessment: &Assessment, lang: Lang) -> Table {
    let what = |text: Text| text.get(lang);
    let columns = [
        Column::text("status", what(Text::new("status", "상태"))),
        Column::text("check", what(Text::new("check", "검사"))),
        Column::text("about", what(Text::new("of what", "대상"))),
        Column::text("asks", what(Text::new("what is asked", "확인 내용"))),
        Column::text("seen", what(Text::new("seen", "확인값"))),
        Column::text("expected", what(Text::new("expected", "기대값"))),
    ];
    let mut table = Table::new(what(Text::new("Every check", "모든 검사")), columns).in_lang(lang);
    for Check { id, about, status, seen, expected, .. } in &assessment.checks {
        let asks = kind(id).map_or("", |kind| kind.asks.get(lang));
        let cells = [status.text().get(lang), id, &about.to_string(), asks, seen, expected];
        table.row(cells.map(Cell::text));
    }
    table
}

/// What the whole machine offers, and what that costs.
fn effective(assessment: &Assessment, lang: Lang) -> Table {
    let what = |text: Text| text.get(lang);
    let columns = [
        Column::text("metric", what(Text::new("all GPUs together", "모든 GPU의 합"))),
        Column::number("measured", what(Text::new("measured", "측정값"))),
        Column::number("usd", what(Text::new("USD per unit and hour", "단위·시간당 USD"))),
    ];
    let mut table = Table::new(what(Text::new("What you really get", "실제로 얻는 성능")), columns).in_lang(lang);
    for effective in &assessment.effective {
        let measured = &effective.measured;
        let number = Number {
            value: measured.value,
            unit: measured.unit,
            shown: measured.shown.clone(),
            range: (measured.low < measured.high).then_some((measured.low, measured.high)),
            basis: None,
            from: Vec::new(),
        };
        table.row([Cell::text(&effective.metric), Cell::Number(number), effective.usd_per_unit_hour.map_or(Cell::Empty, Cell::plain)]);
    }
    table
}
