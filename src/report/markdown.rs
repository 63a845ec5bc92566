//! GitHub's Markdown.

use super::page::Page;
use super::words::{harmless, legend};
use crate::figure::Basis;
use crate::table::{Align, Cell, Table};

/// `table` under a third-level heading, notes as a list below. Ends in a newline.
pub fn markdown(table: &Table) -> String {
    let mut out = format!("### {}\n\n", escape(&table.title));
    grid(&mut out, table, Clone::clone);
    if !table.notes.is_empty() {
        out.push('\n');
    }
    for note in &table.notes {
        out.push_str(&format!("- {}\n", escape(note)));
    }
    if let Some(legend) = legend(&table.bases(), table.lang) {
        out.push_str(&format!("\n{}\n", escape(&legend)));
    }
    out
}

/// A report: its sections under second-level headings, with the words of each.
pub(super) fn page(page: &Page) -> String {
    let mut out = format!("# {}\n", escape(&page.title));
    for section in &page.sections {
        out.push_str(&format!("\n## {}\n", escape(&section.title)));
        if !section.about.is_empty() {
            out.push_str(&format!("\n{}\n", escape(&section.about)));
        }
        for words in section.words() {
            out.push_str(&format!("\n{}\n", escape(words)));
        }
        for table in section.tables(page) {
            out.push_str(&format!("\n{}", markdown(&table)));
        }
    }
    out
}

/// The lines of the table alone; `lead` may make more of what stands first in a row, such as a link.
pub(super) fn grid(out: &mut String, table: &Table, mut lead: impl FnMut(&String) -> String) {
    if table.columns().is_empty() {
        return;
    }
    let headers = table.columns().iter().map(|column| match &column.unit {
        Some(unit) => escape(&format!("{} ({unit})", column.header)),
        None => escape(&column.header),
    });
    line(out, headers);
    let sides = table.columns().iter().map(|column| match column.align {
        Align::Left => "---".to_owned(),
        Align::Right => "---:".to_owned(),
    });
    line(out, sides);
    for row in table.rows() {
        let first = row.first().map(|cell| lead(&show(cell)));
        line(out, first.into_iter().chain(row.iter().skip(1).map(show)));
    }
}

fn line(out: &mut String, cells: impl Iterator<Item = String>) {
    out.push('|');
    for cell in cells {
        out.push(' ');
        out.push_str(&cell);
        out.push_str(" |");
    }
    out.push('\n');
}

fn show(cell: &Cell) -> String {
    match cell {
        Cell::Empty => "–".to_owned(),
        Cell::Text(text) => escape(text),
        Cell::Number(number) => {
            let mut shown = escape(&number.shown);
            shown.extend(number.basis.map(Basis::mark));
            shown
        }
    }
}

/// On one line, with everything Markdown would act on escaped.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in harmless(text).chars() {
        match c {
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '~' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            _ => escaped.push(c),
        }
    }
    escaped
}
