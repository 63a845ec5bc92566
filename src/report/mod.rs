//! Renderers: a [`Table`] as terminal text, Markdown, CSV or JSON, a [`Plot`](crate::plot::Plot) as SVG, a [`Page`](page::Page) as HTML; and a
//! record in the formats of other programs.
//!
//! Numbers lose their units here and nowhere earlier. Text that came from outside (GPU names, mount points, anything out of a result file)
//! may be hostile, so every renderer neutralises what its medium would obey: control characters and direction overrides in a terminal, pipes
//! and markup in Markdown and HTML, formulas in CSV.

mod accuracy;
mod aiconfigurator;
mod compare;
mod csv;
mod html;
mod inspect;
mod json;
mod junit;
mod markdown;
mod markup;
mod measurements;
mod model;
mod openmetrics;
pub mod page;
mod records;
mod sustained;
mod svg;
mod text;
mod verdict;
mod words;

pub use crate::table::{Align, Cell, Column, Number, Table};
pub use accuracy::accuracy;
pub use aiconfigurator::aiconfigurator;
pub use compare::{ComparisonView, comparison};
pub use csv::csv;
pub use html::html;
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

/// Render `page`: as HTML, or its tables in the other forms, under the titles of their sections where the form has titles.
pub fn render_page(page: &page::Page, format: PageFormat) -> String {
    match format {
        PageFormat::Html => html(page),
        PageFormat::Markdown => markdown::page(page),
        PageFormat::Csv => render(&page.tables(), Format::Csv),
        PageFormat::Json => format!("{}\n", escaped(&format!("{:#}", json::page(page)))),
    }
}

/// How to show a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageFormat {
    /// One self-contained page.
    Html,
    /// GitHub's Markdown.
    Markdown,
    /// Comma-separated values, one block per table.
    Csv,
    /// One JSON object.
    Json,
}

fn join(tables: &[Table], form: impl Fn(&Table) -> String) -> String {
    tables.iter().map(form).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
