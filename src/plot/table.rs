//! A plot's numbers as a table.

use super::{Chart, Form, Matrix, Plot, Strips, Unit};
use crate::lang::{Lang, Text};
use crate::table::{Cell, Column, Number, Table};

/// Digits for people.
const DIGITS: usize = 4;

impl Plot {
    /// Every number that the plot shows.
    pub fn table(&self) -> Table {
        let mut table = match &self.form {
            Form::Chart(chart) => of_chart(&self.title, chart, self.lang),
            Form::Matrix(matrix) => of_matrix(&self.title, matrix, self.lang),
            Form::Strips(strips) => of_strips(&self.title, strips, self.lang),
        };
        self.notes.iter().for_each(|note| table.note(note));
        table.in_lang(self.lang)
    }
}

fn cell(unit: Unit, value: f64, range: Option<(f64, f64)>) -> Cell {
    let shown = unit.show(value, DIGITS);
    Cell::Number(Number { value, unit: unit.symbol(), shown, range, basis: None, from: Vec::new() })
}

fn of_chart(title: &str, chart: &Chart, lang: Lang) -> Table {
    let what = |en, ko| Text::new(en, ko).get(lang);
    let columns = [
        Column::text("kind", what("kind", "종류")),
        Column::text("name", what("of what", "대상")),
        Column::number("x", &chart.x.label),
        Column::number("y", &chart.y.label),
        Column::number("low", what("from", "최저")),
        Column::number("high", what("to", "최고")),
    ];
    let mut table = Table::new(title, columns);
    for series in &chart.series {
        for point in &series.points {
            let (low, high) = point.range.unzip();
            let end = |value: Option<f64>| value.map_or(Cell::Empty, |value| cell(chart.y.unit, value, None));
            let y = cell(chart.y.unit, point.y, point.range);
            table.row([Cell::text(&series.name), Cell::text(&point.name), cell(chart.x.unit, point.x, None), y, end(low), end(high)]);
        }
    }
    for reference in &chart.references {
        let (x, y) = match reference.side {
            super::Side::X => (cell(chart.x.unit, reference.at, None), Cell::Empty),
            super::Side::Y => (Cell::Empty, cell(chart.y.unit, reference.at, None)),
        };
        table.row([Cell::text(what("reference", "기준")), Cell::text(&reference.name), x, y]);
    }
    table
}

fn of_matrix(title: &str, matrix: &Matrix, lang: Lang) -> Table {
    let corner = Text::new("{} ↓, {} →", "{} ↓, {} →").fill(lang, &[&matrix.rows, &matrix.columns]);
    let columns = matrix.labels.iter().enumerate().map(|(index, label)| Column::number(&format!("to_{index}"), label));
    let mut table = Table::new(title, std::iter::once(Column::text("from", corner)).chain(columns));
    for (label, values) in matrix.labels.iter().zip(&matrix.values) {
        let cells = values.iter().map(|value| value.map_or(Cell::Empty, |value| cell(matrix.unit, value, None)));
        table.row(std::iter::once(Cell::text(label)).chain(cells));
    }
    table
}

fn of_strips(title: &str, strips: &Strips, lang: Lang) -> Table {
    let what = |en, ko| Text::new(en, ko).get(lang);
    let columns = [
        Column::text("of", what("of what", "대상")),
        Column::number("median", what("median", "중앙값")),
        Column::number("low", what("interval from", "구간 하한")),
        Column::number("high", what("to", "상한")),
        Column::number("least", what("least", "최소")),
        Column::number("most", what("most", "최대")),
        Column::number("samples", what("samples", "표본")),
        Column::number("rejected", what("rejected", "제외")),
    ];
    let mut table = Table::new(title, columns);
    for row in &strips.rows {
        let number = |value| cell(strips.axis.unit, value, None);
        let end = |pick: fn(f64, f64) -> f64| row.samples.iter().copied().reduce(pick).map_or(Cell::Empty, number);
        table.row([
            Cell::text(&row.label),
            cell(strips.axis.unit, row.median.point, Some((row.median.low, row.median.high))),
            number(row.median.low),
            number(row.median.high),
            end(f64::min),
            end(f64::max),
            Cell::count(row.samples.len() as u64),
            Cell::count(row.rejected.len() as u64),
        ]);
    }
    table
}
