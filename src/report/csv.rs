//! Comma-separated values (RFC 4180): numbers in base units, for spreadsheets and scripts.

use super::words::visible;
use crate::table::{Cell, Column, Table};

/// `table` with one heading line: a column's key, with the base unit of its numbers in brackets. A column in which a basis occurs is followed by
/// `<key>_basis`, and one whose numbers have several units by `<key>_unit` instead of the brackets. Lines end in CR LF, as the format wants.
pub fn csv(table: &Table) -> String {
    let columns: Vec<Shown<'_>> = table.columns().iter().enumerate().map(|(index, column)| Shown::new(table, index, column)).collect();
    let mut out = String::new();
    line(&mut out, columns.iter().flat_map(Shown::headings));
    for row in table.rows() {
        line(&mut out, columns.iter().flat_map(|column| column.cells(&row[column.index])));
    }
    out
}

/// A column with what has to stand beside it.
struct Shown<'a> {
    index: usize,
    column: &'a Column,
    /// Units of its numbers, each once.
    units: Vec<&'static str>,
    has_basis: bool,
}

impl<'a> Shown<'a> {
    fn new(table: &Table, index: usize, column: &'a Column) -> Self {
        let mut units: Vec<&'static str> = Vec::new();
        for row in table.rows() {
            if let Cell::Number(number) = &row[index]
                && !units.contains(&number.unit)
            {
                units.push(number.unit);
            }
        }
        Self { index, column, units, has_basis: table.rows().iter().any(|row| row[index].basis().is_some()) }
    }

    fn headings(&self) -> impl Iterator<Item = String> {
        let key = &self.column.key;
        let first = match self.units[..] {
            [unit] if !unit.is_empty() => format!("{key} [{unit}]"),
            _ => key.clone(),
        };
        let unit = (self.units.len() > 1).then(|| format!("{key}_unit"));
        let basis = self.has_basis.then(|| format!("{key}_basis"));
        [Some(first), unit, basis].into_iter().flatten()
    }

    fn cells(&self, cell: &Cell) -> impl Iterator<Item = String> {
        let unit = (self.units.len() > 1).then(|| match cell {
            Cell::Number(number) => number.unit.to_owned(),
            _ => String::new(),
        });
        let basis = self.has_basis.then(|| cell.basis().map_or_else(String::new, |basis| basis.words().to_owned()));
        [Some(show(cell)), unit, basis].into_iter().flatten()
    }
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
