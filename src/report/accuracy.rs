//! How wrong calibrated models were, as a table.

use crate::accuracy::Score;
use crate::figure::Share;
use crate::table::{Cell, Column, Table};

/// One row per score, the parts of a score below it.
pub fn accuracy(scores: &[Score]) -> Table {
    let mut table = Table::new(
        "Predicted beside measured",
        [
            Column::text("kind", "what"),
            Column::text("device", "device"),
            Column::text("part", "part"),
            Column::number("points_used", "fitted to"),
            Column::number("rows", "predicted"),
            Column::number("median_error", "median error"),
            Column::number("p90_error", "9 of 10 below"),
            Column::number("worst_error", "worst"),
            Column::number("median_bias", "bias"),
            Column::number("inside_interval", "in interval"),
        ],
    );
    for score in scores {
        table.row(row(score));
        for part in &score.parts {
            table.row(row(part));
        }
    }
    table.note("An error is |predicted / measured − 1|, over rows that no fit has seen; the interval claims 90 %.");
    table
}

fn row(score: &Score) -> [Cell; 10] {
    let share = |value: f64| Cell::plain(Share(value));
    [
        score.kind.into(),
        Cell::text(&score.device),
        Cell::text(score.part.as_deref().unwrap_or("all")),
        Cell::count(score.points_used as u64),
        Cell::count(score.rows as u64),
        share(score.median_error),
        share(score.p90_error),
        share(score.worst_error),
        share(score.median_bias),
        share(score.inside_interval),
    ]
}
