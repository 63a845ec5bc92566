//! What keeps a plot drawable, whatever a record holds.

use super::{Chart, Form, Matrix, Scale, Series, Strips};
use crate::lang::{Lang, Text};

/// More kinds of points than this nobody tells apart.
pub(super) const MOST_SERIES: usize = 8;
/// Points of a series.
pub(super) const MOST_POINTS: usize = 500;
/// Rows and columns of a matrix, and rows of strips.
pub(super) const MOST_ROWS: usize = 16;
/// Samples of a strip.
pub(super) const MOST_SAMPLES: usize = 200;
/// Parts of an axis.
const MOST_SPANS: usize = 24;

const SERIES: Text = Text::new("{} more kinds are left out.", "{}종류는 생략했다.");
const POINTS: Text = Text::new("Of {} points, {} are shown, evenly chosen.", "점 {}개 중 {}개만 고르게 골라 그렸다.");
const ROWS: Text = Text::new("{} more rows are left out.", "{}행은 생략했다.");
const PAIRS: Text = Text::new("The first {} of {} are shown.", "앞의 {}개만 그렸다(전체 {}개).");

/// `form` without what cannot be drawn, and what was left out for want of room.
pub(super) fn bounded(form: Form, lang: Lang) -> (Form, Vec<String>) {
    let mut notes = Vec::new();
    let form = match form {
        Form::Chart(chart) => Form::Chart(bounded_chart(chart, lang, &mut notes)),
        Form::Matrix(matrix) => Form::Matrix(bounded_matrix(matrix, lang, &mut notes)),
        Form::Strips(strips) => Form::Strips(bounded_strips(strips, lang, &mut notes)),
    };
    (form, notes)
}

/// Whether `value` has a place on an axis with that scale.
fn fits(scale: Scale, value: f64) -> bool {
    // Beyond this, distances on the page are no numbers any more.
    const MOST: f64 = 1e60;
    value.abs() < MOST && (scale != Scale::Logarithmic || value > 1.0 / MOST)
}

fn bounded_chart(mut chart: Chart, lang: Lang, notes: &mut Vec<String>) -> Chart {
    let (x, y) = (chart.x.scale, chart.y.scale);
    for series in &mut chart.series {
        series.points.retain(|point| fits(x, point.x) && fits(y, point.y));
        for point in &mut series.points {
            point.range = point.range.filter(|(low, high)| fits(y, *low) && fits(y, *high) && low <= high);
        }
    }
    chart.series.retain(|series| !series.points.is_empty());
    if chart.series.len() > MOST_SERIES {
        notes.push(SERIES.fill(lang, &[&(chart.series.len() - MOST_SERIES)]));
        chart.series.truncate(MOST_SERIES);
    }
    let all: usize = chart.series.iter().map(|series| series.points.len()).sum();
    chart.series.iter_mut().for_each(|Series { points, .. }| thin(points, MOST_POINTS));
    let kept: usize = chart.series.iter().map(|series| series.points.len()).sum();
    if kept < all {
        notes.push(POINTS.fill(lang, &[&all, &kept]));
    }
    chart.references.retain(|reference| fits(if reference.side == super::Side::X { x } else { y }, reference.at));
    chart.references.truncate(MOST_SERIES);
    chart.spans.retain(|span| fits(x, span.from) && fits(x, span.to) && span.from <= span.to);
    chart.spans.truncate(MOST_SPANS);
    chart
}

fn bounded_matrix(mut matrix: Matrix, lang: Lang, notes: &mut Vec<String>) -> Matrix {
    let all = matrix.labels.len();
    if all > MOST_ROWS {
        notes.push(PAIRS.fill(lang, &[&MOST_ROWS, &all]));
        matrix.labels.truncate(MOST_ROWS);
    }
    let side = matrix.labels.len();
    matrix.values.resize(side, Vec::new());
    for row in &mut matrix.values {
        row.resize(side, None);
        row.iter_mut().for_each(|value| *value = value.filter(|value| value.is_finite() && *value > 0.0));
    }
    matrix
}

fn bounded_strips(mut strips: Strips, lang: Lang, notes: &mut Vec<String>) -> Strips {
    if strips.rows.len() > MOST_ROWS {
        notes.push(ROWS.fill(lang, &[&(strips.rows.len() - MOST_ROWS)]));
        strips.rows.truncate(MOST_ROWS);
    }
    let scale = strips.axis.scale;
    let (mut all, mut kept) = (0, 0);
    for row in &mut strips.rows {
        row.samples.retain(|value| fits(scale, *value));
        row.rejected.retain(|value| fits(scale, *value));
        for values in [&mut row.samples, &mut row.rejected] {
            all += values.len();
            thin(values, MOST_SAMPLES);
            kept += values.len();
        }
    }
    strips.rows.retain(|row| !row.samples.is_empty() && fits(scale, row.median.low) && fits(scale, row.median.high));
    if kept < all {
        notes.push(POINTS.fill(lang, &[&all, &kept]));
    }
    strips
}

/// Keep at most `most`, evenly spread, the first and the last among them.
fn thin<T>(items: &mut Vec<T>, most: usize) {
    let count = items.len();
    if count <= most {
        return;
    }
    let mut index = 0;
    items.retain(|_| {
        // The item is kept where the running share of `most` steps over a whole number.
        let keep = index == 0 || index * (most - 1) / (count - 1) > (index - 1) * (most - 1) / (count - 1);
        index += 1;
        keep
    });
}
