//! Terminal text.
//!
//! Columns are as wide as their content. When the terminal is narrower, columns of words give way: the widest is narrowed and its cells wrap,
//! down to its longest word. Numbers are never broken. When even that does not fit, each row becomes a block of `heading: value` lines.

use super::words::{harmless, legend, longest_word, width, wrap};
use crate::table::{Align, Cell, Table};

/// Spaces between columns.
const GAP: usize = 2;

/// Words are not squeezed below this width even where their longest word is shorter; long words are broken down to it.
const LEAST_WORDS: usize = 12;

/// No terminal is taken to be narrower than this.
const LEAST_TERMINAL: usize = 20;

/// `table` for a terminal `limit` columns wide (at least 20); unlimited without one. Ends in a newline.
pub fn text(table: &Table, limit: Option<usize>) -> String {
    let limit = limit.map(|limit| limit.max(LEAST_TERMINAL));
    let headers: Vec<String> = table
        .columns()
        .iter()
        .map(|column| match &column.unit {
            Some(unit) => harmless(&format!("{} ({unit})", column.header)),
            None => harmless(&column.header),
        })
        .collect();
    let rows: Vec<Vec<String>> = table.rows().iter().map(|row| row.iter().map(show).collect()).collect();

    let mut out = Vec::new();
    out.extend(wrap(&harmless(&table.title), limit.unwrap_or(usize::MAX)));
    match widths(table, &headers, &rows, limit) {
        Some(widths) => grid(&mut out, table, &headers, &rows, &widths),
        None => blocks(&mut out, &headers, &rows, limit.unwrap_or(usize::MAX)),
    }
    for note in &table.notes {
        paragraph(&mut out, "• ", &harmless(note), limit);
    }
    if let Some(legend) = legend(&table.bases(), table.lang) {
        paragraph(&mut out, "", &legend, limit);
    }
    out.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn show(cell: &Cell) -> String {
    match cell {
        Cell::Empty => "–".to_owned(),
        Cell::Text(text) => harmless(text),
        Cell::Number(number) => {
            let mut shown = harmless(&number.shown);
            shown.extend(number.basis.map(crate::figure::Basis::mark));
            shown
        }
    }
}

/// The width of each column, or `None` when the table cannot be squeezed into `limit` columns.
fn widths(table: &Table, headers: &[String], rows: &[Vec<String>], limit: Option<usize>) -> Option<Vec<usize>> {
    let natural = |index: usize| rows.iter().map(|row| width(&row[index])).chain([width(&headers[index])]).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..headers.len()).map(natural).collect();
    let Some(limit) = limit else { return Some(widths) };
    // A number keeps its cells whole and only its heading wraps; words wrap everywhere.
    let least: Vec<usize> = (0..headers.len())
        .map(|index| {
            let numbers = table.columns()[index].align == Align::Right;
            let cells = rows.iter().map(|row| if numbers { width(&row[index]) } else { longest_word(&row[index]).min(LEAST_WORDS) });
            cells.chain([longest_word(&headers[index]).min(LEAST_WORDS)]).max().unwrap_or(0).min(widths[index])
        })
        .collect();
    let total = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
    // A heading that wraps costs one line, a cell that wraps one line per row: columns wider than their cells give way first.
    let content: Vec<usize> = (0..headers.len()).map(|index| rows.iter().map(|row| width(&row[index])).max().unwrap_or(0)).collect();
    while total(&widths) > limit {
        let can_give = (0..widths.len()).filter(|&index| widths[index] > least[index]);
        let chosen = can_give.max_by_key(|&index| (widths[index] > content[index], widths[index]))?;
        widths[chosen] -= 1;
    }
    Some(widths)
}

fn grid(out: &mut Vec<String>, table: &Table, headers: &[String], rows: &[Vec<String>], widths: &[usize]) {
    if widths.is_empty() {
        return;
    }
    let aligns: Vec<Align> = table.columns().iter().map(|column| column.align).collect();
    let spread = |out: &mut Vec<String>, cells: &[String], at_bottom: bool| {
        let lines: Vec<Vec<String>> = cells.iter().zip(widths).map(|(cell, &width)| wrap(cell, width)).collect();
        let height = lines.iter().map(Vec::len).max().unwrap_or(1);
        for line in 0..height {
            let row: Vec<String> = lines
                .iter()
                .enumerate()
                .map(|(index, cell)| {
                    // Headings stand on the rule below them.
                    let skipped = if at_bottom { height - cell.len() } else { 0 };
                    pad(line.checked_sub(skipped).and_then(|line| cell.get(line)).map_or("", String::as_str), widths[index], aligns[index])
                })
                .collect();
            out.push(row.join(&" ".repeat(GAP)));
        }
    };
    spread(out, headers, true);
    out.push(widths.iter().map(|&width| "─".repeat(width)).collect::<Vec<_>>().join(&" ".repeat(GAP)));
    for row in rows {
        spread(out, row, false);
    }
}

fn pad(text: &str, columns: usize, align: Align) -> String {
    let space = " ".repeat(columns.saturating_sub(width(text)));
    match align {
        Align::Left => format!("{text}{space}"),
        Align::Right => format!("{space}{text}"),
    }
}

fn blocks(out: &mut Vec<String>, headers: &[String], rows: &[Vec<String>], limit: usize) {
    for row in rows {
        out.push("─".repeat(limit.min(24)));
        for (header, cell) in headers.iter().zip(row) {
            out.extend(wrap(&format!("{header}: {cell}"), limit));
        }
    }
}

fn paragraph(out: &mut Vec<String>, lead: &str, text: &str, limit: Option<usize>) {
    let inside = limit.unwrap_or(usize::MAX).saturating_sub(width(lead));
    for (index, line) in wrap(text, inside).into_iter().enumerate() {
        let lead = if index == 0 { lead.to_owned() } else { " ".repeat(width(lead)) };
        out.push(lead + &line);
    }
}
