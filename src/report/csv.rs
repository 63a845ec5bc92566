//! Comma-separated values (RFC 4180): numbers in base units, for spreadsheets and scripts.

use super::words::visible;
use crate::table::{Cell, Column, Table};

/// `table` with one heading line: a column's key, with the base unit of its numbers in brackets. A column in which a basis occurs is followed by
/// `<key>_basis`. Lines end in CR LF, as the format wants.
pub fn csv(table: &Table) -> String {
    let columns: Vec<(usize, &Column, bool)> = table
        .columns()
        .iter()
        .enumerate()
        .map(|(index, column)| (index, column, table.rows().iter().any(|row| row[index].basis().is_some())))
        .collect();
    let mut out = String::new();
    let headings = columns.iter().flat_map(|&(index, column, has_basis)| {
        let unit = table.rows().iter().find_map(|row| match &row[index] {
            Cell::Number(number) if !number.unit.is_empty() => Some(number.unit),
            _ => None,
        });
        let name = unit.map_or_else(|| column.key.clone(), |unit| format!("{} [{unit}]", column.key));
        [Some(name), has_basis.then(|| format!("{}_basis", column.key))]
    });
    line(&mut out, headings.flatten());
    for row in table.rows() {
        let cells = columns.iter().flat_map(|&(index, _, has_basis)| {
            let cell = &row[index];
            [Some(show(cell)), has_basis.then(|| cell.basis().map_or_else(String::new, |basis| basis.words().to_owned()))]
        });
        line(&mut out, cells.flatten());
    }
    out
}

fn show(cell: &Cell) -> String {
    match cell {
        Cell::Empty => String::new(),
        // A spreadsheet would take these for formulas; an apostrophe in front makes them text.
        Cell::Text(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => format!("'{}", visible(text)),
        Cell::Text(text) => visible(text),
        Cell::Number(number) if number.value.is_finite() => number.value.to_string(),
        Cell::Number(_) => String::new(),
    }
}

fn line(out: &mut String, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> =
        cells.map(|cell| if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }).collect();
    out.push_str(&cells.join(","));
    out.push_str("\r\n");
}
