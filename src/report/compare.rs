//! A comparison as tables: side by side for people, one row per metric and record for programs and for many records.

use super::{Cell, Column, Number, Table};
use crate::lang::{Lang, Text};
use crate::units::Usd;
use crate::verdict::{Answer, Change, Comparison, Entry, Offer, Reading, Row};

/// As many stand beside each other on a page.
const SIDE_BY_SIDE: usize = 4;

/// Rows of GPUs and of cases that a brief comparison lists.
const BRIEF: usize = 20;

/// How much of a comparison to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComparisonView {
    /// Every GPU and case, not only those that changed.
    pub all: bool,
    /// One row per metric and record, however few they are.
    pub long: bool,
    /// The language of headings and notes.
    pub lang: Lang,
}

/// The records, what differs besides speed, the headline, GPUs and cases, and what money buys.
pub fn comparison(comparison: &Comparison, view: ComparisonView) -> Vec<Table> {
    let page = Page { comparison, view };
    let tables = [page.records(), page.conditions(), page.headline(), page.counts(), page.gpus(), page.cases(), page.offers()];
    tables.into_iter().filter(|table| !table.is_empty() || !table.notes.is_empty()).collect()
}

/// A comparison on its way to the page.
struct Page<'a> {
    comparison: &'a Comparison,
    view: ComparisonView,
}

impl Page<'_> {
    fn text(&self, en: &'static str, ko: &'static str) -> &'static str {
        Text::new(en, ko).get(self.view.lang)
    }

    fn table(&self, title: impl Into<String>, columns: impl IntoIterator<Item = Column>) -> Table {
        Table::new(title, columns).in_lang(self.view.lang)
    }

    fn is_wide(&self) -> bool {
        !self.view.long && self.comparison.records.len() <= SIDE_BY_SIDE
    }

    fn records(&self) -> Table {
        let columns = [
            Column::text("record", self.text("record", "기록")),
            Column::text("machine", self.text("machine", "장비")),
            Column::text("gpus", "GPU"),
            Column::text("effort", self.text("effort", "측정 강도")),
            Column::text("measured", self.text("measured", "측정 시각")),
        ];
        let mut table = self.table(self.text("What is compared", "비교 대상"), columns);
        for (place, record) in self.comparison.records.iter().enumerate() {
            let role = if place == self.comparison.baseline { self.text(" (baseline)", " (기준)") } else { "" };
            let simulated = if record.simulated { " SIMULATED" } else { "" };
            table.row([
                Cell::text(format!("{}{role}", record.label)),
                Cell::text(format!("{}{simulated}", record.machine)),
                Cell::text(&record.gpus),
                Cell::text(&record.effort),
                Cell::text(&record.measured),
            ]);
        }
        for note in &self.comparison.notes {
            table.note(note);
        }
        table
    }

    /// How often each answer was given, in the headline.
    fn counts(&self) -> Table {
        let mut columns = vec![Column::text("record", self.text("record", "기록"))];
        columns.extend(Answer::ALL.map(|answer| Column::number(&answer.word().to_lowercase(), answer.word())));
        columns.push(Column::number("shared_cases", self.text("shared cases", "공통 사례")));
        let mut table = self.table(self.text("Answers", "판정"), columns);
        for (place, record) in self.others() {
            let mut cells = vec![Cell::text(&record.label)];
            cells.extend(Answer::ALL.map(|answer| Cell::count(self.count(place, answer))));
            cells.push(Cell::count(record.shared_cases as u64));
            table.row(cells);
        }
        table
    }

    /// How many headline metrics of a record have this answer.
    fn count(&self, record: usize, answer: Answer) -> u64 {
        self.comparison.metrics.iter().filter(|row| row.entries[record].answer == Some(answer)).count() as u64
    }

    fn conditions(&self) -> Table {
        let title = self.text("What differs besides speed", "속도 말고 다른 조건");
        let name = Column::text("condition", self.text("condition", "조건"));
        let mut table = if self.is_wide() {
            self.table(
                title,
                [name].into_iter().chain(
                    self.comparison
                        .records
                        .iter()
                        .enumerate()
                        .map(|(place, record)| Column::text(&format!("value_{place}"), &record.label)),
                ),
            )
        } else {
            self.table(title, [name, Column::text("record", self.text("record", "기록")), Column::text("value", self.text("value", "값"))])
        };
        for condition in &self.comparison.conditions {
            let name = || Cell::text(condition.name.get(self.view.lang));
            if self.is_wide() {
                table.row([name()].into_iter().chain(condition.values.iter().map(Cell::text)));
                continue;
            }
            for (value, record) in condition.values.iter().zip(&self.comparison.records) {
                table.row([name(), Cell::text(&record.label), Cell::text(value)]);
            }
        }
        if !table.is_empty() {
            table.note(self.text(
                "A difference of speed may be one of these and not of the machines.",
                "속도 차이가 장비가 아니라 이 조건들에서 올 수 있습니다.",
            ));
        }
        table
    }

    fn headline(&self) -> Table {
        let rows: Vec<&Row> = self.comparison.metrics.iter().collect();
        let mut table = self
            .rows(self.text("Metrics of the machine: the best case on its slowest GPU", "장비의 지표: 가장 느린 GPU의 최고 사례"), &rows);
        if !table.is_empty() {
            table.note(self.text(
                "A change is one of speed, + being faster, with its 99 % interval.",
                "변화는 속도의 변화이며(+가 빠름) 99 % 구간과 함께 보입니다.",
            ));
        }
        table
    }

    fn gpus(&self) -> Table {
        self.details(self.text("The same on each GPU", "GPU별 지표"), &self.comparison.gpus, 0)
    }

    fn cases(&self) -> Table {
        self.details(self.text("Cases", "사례"), &self.comparison.cases, self.comparison.cases_left_out)
    }

    /// All rows, or those that changed, the most changed first.
    fn details(&self, title: &str, rows: &[Row], left_out: usize) -> Table {
        if self.view.all {
            let mut table = self.rows(title, &rows.iter().collect::<Vec<_>>());
            if left_out > 0 {
                table.note(Text::new("{} more are left out.", "{}개는 생략했습니다.").fill(self.view.lang, &[&left_out]));
            }
            return table;
        }
        let mut changed: Vec<&Row> = rows.iter().filter(|row| most_changed(row) > 0.0).collect();
        changed.sort_by(|a, b| most_changed(b).total_cmp(&most_changed(a)));
        let count = changed.len();
        changed.truncate(BRIEF);
        let title = match self.view.lang {
            Lang::En => format!("{title} that changed"),
            Lang::Ko => format!("{title} 가운데 달라진 것"),
        };
        let mut table = self.rows(&title, &changed);
        if !table.is_empty() {
            let said = Text::new("{} of {} changed; --all lists every one.", "{} / {} 달라짐. --all로 모두 볼 수 있습니다.");
            table.note(said.fill(self.view.lang, &[&count, &(rows.len() + left_out)]));
        }
        table
    }

    fn rows(&self, title: &str, rows: &[&Row]) -> Table {
        if self.is_wide() { self.wide(title, rows) } else { self.long(title, rows) }
    }

    fn wide(&self, title: &str, rows: &[&Row]) -> Table {
        let baseline = self.comparison.baseline;
        let mut columns = vec![Column::text("metric", self.text("metric", "지표"))];
        columns.push(Column::number("baseline", &self.comparison.records[baseline].label));
        for (place, record) in self.others() {
            columns.push(Column::number(&format!("value_{place}"), &record.label));
            columns.push(Column::number(&format!("change_{place}"), self.text("change", "변화")));
            columns.push(Column::text(&format!("answer_{place}"), ""));
        }
        let has_remarks = rows.iter().any(|row| self.remarks(row) != Cell::Empty);
        if has_remarks {
            columns.push(Column::text("remark", self.text("remark", "비고")));
        }
        let mut table = self.table(title, columns);
        for row in rows {
            let mut cells = vec![Cell::text(name(row)), value(&row.entries[baseline])];
            for (place, _) in self.others() {
                let entry = &row.entries[place];
                cells.extend([value(entry), change(entry), answer(entry)]);
            }
            if has_remarks {
                cells.push(self.remarks(row));
            }
            table.row(cells);
        }
        for (record, reason, count) in self.lacking(rows) {
            let said = Text::new("{} lacks {} of them: {}", "{}에 {}개 없음: {}");
            table.note(said.fill(self.view.lang, &[&record, &count, &reason]));
        }
        table
    }

    /// Which records lack how many of these rows, by reason.
    fn lacking(&self, rows: &[&Row]) -> Vec<(&str, String, usize)> {
        let mut lacking: Vec<(&str, String, usize)> = Vec::new();
        for row in rows {
            for (entry, record) in row.entries.iter().zip(&self.comparison.records) {
                let Some(reason) = entry.reason.clone().filter(|_| entry.reading.is_none()) else { continue };
                match lacking.iter_mut().find(|(label, why, _)| *label == record.label && *why == reason) {
                    Some((.., count)) => *count += 1,
                    None => lacking.push((&record.label, reason, 1)),
                }
            }
        }
        lacking
    }

    fn long(&self, title: &str, rows: &[&Row]) -> Table {
        let columns = [
            Column::text("metric", self.text("metric", "지표")),
            Column::text("record", self.text("record", "기록")),
            Column::number("value", self.text("value", "값")),
            Column::number("change", self.text("change", "변화")),
            Column::text("answer", self.text("answer", "판정")),
            Column::text("remark", self.text("remark", "비고")),
        ];
        let mut table = self.table(title, columns);
        for row in rows {
            for (entry, record) in row.entries.iter().zip(&self.comparison.records) {
                let remark = self.remark(entry).map_or(Cell::Empty, Cell::Text);
                table.row([Cell::text(name(row)), Cell::text(&record.label), value(entry), change(entry), answer(entry), remark]);
            }
        }
        table
    }

    fn others(&self) -> impl Iterator<Item = (usize, &crate::verdict::Record)> {
        self.comparison.records.iter().enumerate().filter(|(place, _)| *place != self.comparison.baseline)
    }

    /// Why there is no answer, or what widened the margin.
    fn remark(&self, entry: &Entry) -> Option<String> {
        let widened = entry.change.as_ref().filter(|change| change.margin > self.comparison.threshold * 1.001);
        let margin = widened
            .map(|change| Text::new("margin {} %", "판정 폭 {} %").fill(self.view.lang, &[&format!("{:.1}", change.margin * 100.0)]));
        let said: Vec<String> = entry.reason.clone().into_iter().chain(margin).collect();
        (!said.is_empty()).then(|| said.join("; "))
    }

    /// The remarks of a row, with whose each is where there are more than two records. What a record lacks is said below the table.
    fn remarks(&self, row: &Row) -> Cell {
        let named = |(entry, record): (&Entry, &crate::verdict::Record)| {
            let remark = self.remark(entry).filter(|_| entry.answer != Some(Answer::Missing) && entry.reading.is_some())?;
            Some(if row.entries.len() > 2 { format!("{}: {remark}", record.label) } else { remark })
        };
        let mut said: Vec<String> = row.entries.iter().zip(&self.comparison.records).filter_map(named).collect();
        said.dedup();
        if said.is_empty() { Cell::Empty } else { Cell::Text(said.join("; ")) }
    }

    fn offers(&self) -> Table {
        let columns = [
            Column::number("rank", self.text("rank", "순위")),
            Column::text("record", self.text("record", "기록")),
            Column::number("usd_per_gpu_hour", self.text("USD per GPU·h", "GPU·시간당 USD")),
            Column::number("bf16", self.text("BF16 per USD/h", "USD/h당 BF16")),
            Column::number("fp8", self.text("FP8 per USD/h", "USD/h당 FP8")),
            Column::number("dram", self.text("memory bandwidth per USD/h", "USD/h당 메모리 대역폭")),
            Column::number("memory", self.text("memory per USD/h", "USD/h당 메모리")),
            Column::text("price", self.text("price from", "가격 출처")),
        ];
        let mut table = self.table(self.text("What money buys, per GPU", "가격 대비 성능(GPU당)"), columns);
        // Without any price there is nothing to rank.
        for offer in self.comparison.offers.iter().filter(|offer| offer.usd_per_gpu_hour.is_some()) {
            table.row(self.offer(offer));
        }
        if !table.is_empty() {
            table.note(self.text(
                "Of the slowest GPU, for each USD that one GPU costs in an hour. Ranks differ where offers do by more than the threshold, in BF16 products, else in memory bandwidth.",
                "가장 느린 GPU 기준, GPU 한 시간 1 USD당. 순위는 BF16 행렬곱(없으면 메모리 대역폭)이 문턱값보다 더 다를 때만 다릅니다.",
            ));
        }
        table
    }

    fn offer(&self, offer: &Offer) -> [Cell; 8] {
        let per_usd = |reading: &Option<Reading>| reading.as_ref().map_or(Cell::Empty, reading_cell);
        [
            offer.rank.map_or(Cell::Empty, |rank| Cell::count(rank as u64)),
            Cell::text(&self.comparison.records[offer.record].label),
            offer.usd_per_gpu_hour.map_or(Cell::Empty, |usd| Cell::plain(Usd(usd))),
            per_usd(&offer.bf16),
            per_usd(&offer.fp8),
            per_usd(&offer.dram),
            per_usd(&offer.memory),
            offer.from.as_ref().map_or(Cell::Empty, Cell::text),
        ]
    }
}

/// How far the most changed of a row is beyond what its margin explains; zero where none is.
fn most_changed(row: &Row) -> f64 {
    let changed = row.entries.iter().filter(|entry| matches!(entry.answer, Some(Answer::Faster | Answer::Slower)));
    changed.filter_map(|entry| entry.change.as_ref()).map(|change| change.value.ln_1p().abs()).fold(0.0, f64::max)
}

fn name(row: &Row) -> String {
    row.gpu.map_or_else(|| row.id.clone(), |gpu| format!("{} gpu {gpu}", row.id))
}

fn value(entry: &Entry) -> Cell {
    entry.reading.as_ref().map_or(Cell::Empty, reading_cell)
}

fn reading_cell(reading: &Reading) -> Cell {
    Cell::Number(Number {
        value: reading.value,
        unit: reading.unit,
        shown: reading.shown.clone(),
        range: (reading.low < reading.high).then_some((reading.low, reading.high)),
        basis: None,
        from: Vec::new(),
    })
}

fn change(entry: &Entry) -> Cell {
    let Some(Change { value, low, high, .. }) = entry.change else { return Cell::Empty };
    let percent = |share: f64| share * 100.0;
    let shown = format!("{:+.1} % ({:+.1} … {:+.1})", percent(value), percent(low), percent(high));
    Cell::Number(Number { value, unit: "", shown, range: Some((low, high)), basis: None, from: Vec::new() })
}

fn answer(entry: &Entry) -> Cell {
    entry.answer.map_or(Cell::Empty, |answer| Cell::text(answer.word()))
}
