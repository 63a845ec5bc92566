//! Is it the machine that was paid for?

use super::{Item, Topic};
use crate::lang::{Lang, Text};
use crate::report::verdict::checks;
use crate::table::{Cell, Column, Number, Table};
use crate::verdict::Assessment;

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
