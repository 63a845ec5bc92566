//! Matrices: a quantity over ordered pairs, with every number in its place.
//!
//! Colour says how far a value lies behind the best one, in fixed steps, so that differences of a percent do not look like faults. The number
//! says how much it is.

use super::{Anchor, LINE, WIDTH, at, image, length, rectangle, short, write};
use crate::plot::{Matrix, Plot, Unit};
use crate::report::markup::Markup;

/// Least shares of the best value for each step; what is below the last belongs to the last class.
pub(in crate::report) const STEPS: [f64; 6] = [0.97, 0.9, 0.8, 0.65, 0.5, 0.25];

/// With more rows than this the drawing becomes wider than the others.
const NARROW: usize = 8;
const CELL: f64 = 50.0;
const HEIGHT: f64 = 34.0;
const TOP: f64 = 44.0;

pub(super) fn draw(page: &mut Markup, plot: &Plot, matrix: &Matrix) {
    let count = matrix.labels.len();
    let left = matrix.labels.iter().map(|label| length(&short(label, 10))).fold(length(&short(&matrix.rows, 14)), f64::max) + 10.0;
    let width = if count > NARROW { left + CELL * count as f64 } else { WIDTH };
    let cell = ((width - left) / count.max(1) as f64).min(2.0 * CELL);
    let scale = Scale::of(matrix);
    image(page, plot, width, TOP + HEIGHT * count as f64 + 4.0, |page| {
        let columns = format!("{} →", short(&matrix.columns, 30));
        write(page, "label", (left, 13.0), Anchor::Start, &columns);
        write(page, "label", (0.0, TOP - 8.0), Anchor::Start, &format!("{} ↓", short(&matrix.rows, 12)));
        for (index, label) in matrix.labels.iter().enumerate() {
            let middle = left + (index as f64 + 0.5) * cell;
            write(page, "tick", (middle, TOP - 8.0), Anchor::Middle, &short(label, 6));
            write(page, "tick", (left - 10.0, TOP + index as f64 * HEIGHT + LINE + 3.0), Anchor::End, &short(label, 10));
        }
        for (row, values) in matrix.values.iter().enumerate() {
            for (column, value) in values.iter().enumerate() {
                let place = (left + column as f64 * cell, TOP + row as f64 * HEIGHT);
                square(page, matrix, (row, column), *value, place, cell, &scale);
            }
        }
    });
}

fn square(page: &mut Markup, matrix: &Matrix, pair: (usize, usize), value: Option<f64>, (x, y): (f64, f64), cell: f64, scale: &Scale) {
    let Some(value) = value else {
        rectangle(page, "none", (x + 1.0, y + 1.0), (cell - 2.0, HEIGHT - 2.0), None);
        return;
    };
    let name = |index: usize| matrix.labels.get(index).map_or("", String::as_str);
    let title = format!("{} → {}: {}", name(pair.0), name(pair.1), matrix.unit.show(value, 4));
    let step = step(matrix.quality(value));
    rectangle(page, &format!("cell q{step}"), (x + 1.0, y + 1.0), (cell - 2.0, HEIGHT - 2.0), Some(&title));
    let (middle, base) = (at(x + cell / 2.0), at(y + HEIGHT / 2.0 + 5.0));
    let class = format!("value q{step}");
    page.leaf("text", &[("class", &class), ("x", &middle), ("y", &base), ("text-anchor", "middle")], &scale.show(value));
}

/// The class of a quality.
pub(in crate::report) fn step(quality: f64) -> usize {
    STEPS.iter().position(|least| quality >= *least).unwrap_or(STEPS.len())
}

/// The unit that all numbers of a matrix are written in.
pub(super) struct Scale {
    size: f64,
    /// Its name.
    pub(super) unit: String,
}

impl Scale {
    /// The unit in which its best value is read.
    pub(super) fn of(matrix: &Matrix) -> Self {
        let best = matrix.best().unwrap_or(1.0);
        let shown = matrix.unit.show(best, 9);
        let (number, unit) = shown.split_once(' ').unwrap_or((&shown, ""));
        let number: f64 = number.parse().unwrap_or(best);
        let size = if matrix.unit == Unit::Bytes { best / number } else { 1000f64.powf(((best / number).ln() / 1000f64.ln()).round()) };
        Self { size: if size > 0.0 && size.is_finite() { size } else { 1.0 }, unit: unit.to_owned() }
    }

    fn show(&self, value: f64) -> String {
        let value = value / self.size;
        if (1e-3..1e5).contains(&value) { crate::units::significant(value, 3) } else { format!("{value:.0e}") }
    }
}
