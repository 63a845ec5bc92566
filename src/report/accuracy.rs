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
            Column::number("points_used", "fitted"),
            Column::number("rows", "predicted"),
            Column::number("median_error", "median"),
            Column::number("p90_error", "p90"),
            Column::number("worst_error", "worst"),
            Column::number("median_bias", "bias"),
            Column::number("inside_interval", "inside"),
        ],
    );
    for score in scores {
        table.row(row(score));
        for part in &score.parts {
            table.row(row(part));
        }
    }
    table.note("Median, 90th percentile and worst of |predicted / measured − 1|, over rows that no fit has seen; bias is signed, above zero where predictions are too long.");
    table.note("Inside: rows whose time lies in the stated 90 % interval.");
    table
}

fn row(score: &Score) -> [Cell; 10] {
    let share = |value: f64| Cell::plain(Share(value));
    [
        score.kind.into(),
        Cell::text(score.device.strip_prefix("NVIDIA ").unwrap_or(&score.device)),
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
