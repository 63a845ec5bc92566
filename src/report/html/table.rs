//! Tables in HTML.

use crate::figure::Basis;
use crate::lang::{Lang, Text};
use crate::report::markup::Markup;
use crate::report::words::{basis_words, legend};
use crate::table::{Align, Cell, Number, Table};

/// Rows of one table; a page with more is no page any more.
const MOST_ROWS: usize = 600;

/// `table` with its notes and the legend of its marks. It scrolls sideways where it is too wide, by keyboard as well.
pub(super) fn table(out: &mut Markup, table: &Table) {
    let caption = out.identifier("table");
    out.block("div", &[("class", "table")], |out| {
        // Not a caption of the table itself, which would be as wide as the table and scroll away with it.
        out.leaf("p", &[("class", "caption"), ("id", &caption)], &table.title);
        let region = [("class", "scroll"), ("tabindex", "0"), ("role", "region"), ("aria-labelledby", &*caption)];
        out.block("div", &region, |out| {
            out.block("table", &[("aria-labelledby", &caption)], |out| {
                head(out, table);
                body(out, table);
            });
        });
        notes(out, table);
    });
}

fn class(align: Align) -> &'static str {
    match align {
        Align::Left => "words",
        Align::Right => "number",
    }
}

fn head(out: &mut Markup, table: &Table) {
    out.block("thead", &[], |out| {
        out.element("tr", &[], |out| {
            for column in table.columns() {
                let text = column.unit.as_ref().map_or_else(|| column.header.clone(), |unit| format!("{} ({unit})", column.header));
                out.leaf("th", &[("scope", "col"), ("class", class(column.align))], &text);
            }
        });
    });
}

fn body(out: &mut Markup, table: &Table) {
    out.block("tbody", &[], |out| {
        for row in table.rows().iter().take(MOST_ROWS) {
            out.block("tr", &[], |out| {
                for (column, cell) in table.columns().iter().zip(row) {
                    self::cell(out, cell, class(column.align), table.lang);
                }
            });
        }
    });
}

fn cell(out: &mut Markup, cell: &Cell, class: &str, lang: Lang) {
    match cell {
        Cell::Empty => out.leaf("td", &[("class", class)], "–"),
        Cell::Text(text) => out.leaf("td", &[("class", class)], text),
        Cell::Number(number) => {
            let said = sources(number);
            let mut attributes = vec![("class", class)];
            attributes.extend(said.as_deref().map(|said| ("title", said)));
            out.element("td", &attributes, |out| {
                out.text(&number.shown);
                if let Some(basis) = number.basis {
                    out.leaf("abbr", &[("title", basis_words(basis, lang))], &basis.mark().to_string());
                }
            });
        }
    }
}

/// Where a number comes from: its first sources.
fn sources(number: &Number) -> Option<String> {
    const SHOWN: usize = 3;
    let shown: Vec<&str> = number.from.iter().take(SHOWN).map(String::as_str).collect();
    (!shown.is_empty()).then(|| shown.join("; "))
}

fn notes(out: &mut Markup, table: &Table) {
    let mut notes: Vec<String> = table.notes.clone();
    if let Some(more) = table.rows().len().checked_sub(MOST_ROWS).filter(|more| *more > 0) {
        notes.push(Text::new("{} more rows are left out.", "{}행은 생략했다.").fill(table.lang, &[&more]));
    }
    if !notes.is_empty() {
        out.block("ul", &[("class", "notes")], |out| notes.iter().for_each(|note| out.leaf("li", &[], note)));
    }
    let bases: Vec<Basis> = table.bases();
    if let Some(legend) = legend(&bases, table.lang) {
        out.leaf("p", &[("class", "marks")], &legend);
    }
}
