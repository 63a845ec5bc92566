//! Renderers: a [`Table`] as terminal text, Markdown, CSV or JSON; and a record in the formats of other programs.
//!
//! Numbers lose their units here and nowhere earlier. Text that came from outside (GPU names, mount points, anything out of a result file)
//! may be hostile, so every renderer neutralises what its medium would obey: control characters and direction overrides in a terminal, pipes
//! and markup in Markdown, formulas in CSV.

mod accuracy;
mod aiconfigurator;
mod csv;
mod inspect;
mod json;
mod junit;
mod markdown;
mod measurements;
mod model;
mod openmetrics;
mod records;
mod text;
mod verdict;
mod words;

pub use crate::table::{Align, Cell, Column, Number, Table};
pub use accuracy::accuracy;
pub use aiconfigurator::aiconfigurator;
pub use csv::csv;
pub use inspect::inspect;
pub use json::json;
pub use junit::junit;
pub use markdown::markdown;
pub use measurements::measurements;
pub use model::{model, models};
pub use openmetrics::openmetrics;
pub use records::{Entry, records, records_page};
pub use text::text;
pub use verdict::{verdict_line, verdict_tables, verdict_text};
pub use words::{bar, escaped, sparkline, width};

/// How to show tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For a terminal so many columns wide; unlimited without a width.
    Text {
        /// Columns of the terminal.
        width: Option<usize>,
    },
    /// GitHub's Markdown.
    Markdown,
    /// Comma-separated values, one block per table.
    Csv,
    /// One JSON object for one table, an array for any other number.
    Json,
}

/// Render `tables` one after another; ends in a newline unless empty.
pub fn render(tables: &[Table], format: Format) -> String {
    match format {
        Format::Text { width } => join(tables, |table| text(table, width)),
        Format::Markdown => join(tables, markdown),
        Format::Csv => join(tables, csv),
        Format::Json => {
            let value = match tables {
                [table] => json(table),
                _ => serde_json::Value::Array(tables.iter().map(json).collect()),
            };
            format!("{}\n", escaped(&format!("{value:#}")))
        }
    }
}

fn join(tables: &[Table], form: impl Fn(&Table) -> String) -> String {
    tables.iter().map(form).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
