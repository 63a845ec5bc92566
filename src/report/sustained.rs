//! What loads that lasted show, as a table.

use crate::figure::Figure;
use crate::lang::{Lang, Text};
use crate::measure::{Measurement, Sustained};
use crate::record::Run;
use crate::table::{Cell, Column, Table};
use crate::units::FlopsPerSecond;

/// One row for each load that was followed; empty without one.
pub(super) fn table(run: &Run, lang: Lang) -> Table {
    let title = Text::new("Sustained load", "지속 부하");
    let columns = [
        Column::text("load", Text::new("load", "부하").get(lang)),
        Column::number("length", Text::new("length", "길이").get(lang)),
        Column::number("burst", Text::new("first second", "처음 1초").get(lang)),
        Column::number("sustained", Text::new("sustained", "지속").get(lang)),
        Column::number("loss", Text::new("loss", "손실").get(lang)),
        Column::text("settled", Text::new("steady after", "안정까지").get(lang)),
        Column::number("clock", Text::new("clock", "클럭").get(lang)),
        Column::number("power", Text::new("power", "전력").get(lang)),
        Column::number("temperature", Text::new("at most", "최고 온도").get(lang)),
        Column::text("throttled", Text::new("held back by", "클럭 제한 이유").get(lang)),
    ];
    let mut table = Table::new(title.get(lang), columns).in_lang(lang);
    for (measurement, seen) in loads(run) {
        let case = || measurement.case.to_string();
        table.row([
            Cell::text(name(measurement, lang)),
            Cell::plain(seen.length),
            Cell::plain(seen.burst),
            Cell::figure(&Figure::<FlopsPerSecond>::measured(seen.rate, case())),
            Cell::text(percent(seen.loss())),
            Cell::text(settled(&seen, lang)),
            seen.clock.map_or(Cell::Empty, Cell::plain),
            seen.power.map_or(Cell::Empty, Cell::plain),
            seen.temperature.map_or(Cell::Empty, Cell::plain),
            Cell::text(throttled(&seen, lang)),
        ]);
    }
    if !table.is_empty() {
        let note = Text::new(
            "Sustained is the median of the steady part, and clock and power are means over it; the loss is against the first second after warm-up. What held the clock back has the share of the time beside it.",
            "지속은 안정된 구간의 중앙값이고 클럭과 전력은 그 구간의 평균이다. 손실은 예열 뒤 처음 1초에 대한 것이다. 클럭 제한 이유에는 시간 비율을 붙였다.",
        );
        table.note(note.get(lang));
    }
    table
}

/// Every load that was followed, with what it shows.
pub(super) fn loads(run: &Run) -> impl Iterator<Item = (&Measurement, Sustained)> {
    run.measurements().filter_map(|measurement| Some((measurement, measurement.sustained()?)))
}

/// The GPU, and whether the others were at work.
pub(super) fn name(measurement: &Measurement, lang: Lang) -> String {
    let gpu = measurement.case.get_count("gpu").unwrap_or(0);
    match measurement.case.get_count("gpus") {
        Some(all) => Text::new("GPU {}, all {} at once", "GPU {}, {}개 동시").fill(lang, &[&gpu, &all]),
        None => Text::new("GPU {} alone", "GPU {} 단독").fill(lang, &[&gpu]),
    }
}

/// A share; what is no whole tenth of a percent is none.
fn percent(share: f64) -> String {
    let percent = (share * 1000.0).round() / 10.0;
    format!("{:.1} %", percent + 0.0)
}

fn settled(seen: &Sustained, lang: Lang) -> String {
    match seen.settled {
        Some(at) => format!("{:.0} s", at.0),
        None => Text::new("not yet", "아직").get(lang).to_owned(),
    }
}

/// NVML knows ten reasons; a stranger's record may claim any number.
const MOST_REASONS: usize = 10;

fn throttled(seen: &Sustained, lang: Lang) -> String {
    if seen.clock.is_none() {
        return Text::new("not read", "읽지 못함").get(lang).to_owned();
    }
    let mut reasons: Vec<(&String, f64)> = seen.throttled.iter().map(|(reason, share)| (reason, *share)).collect();
    reasons.sort_by(|a, b| b.1.total_cmp(&a.1));
    let list: Vec<String> = reasons.iter().take(MOST_REASONS).map(|(reason, share)| format!("{reason} {:.0} %", share * 100.0)).collect();
    if list.is_empty() { Text::new("nothing", "없음").get(lang).to_owned() } else { list.join(", ") }
}
