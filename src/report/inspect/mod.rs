//! A machine's facts as tables, for people: what is here, and of what is not known, why.
//!
//! A fact that could not be read shows as `?`, and the reasons stand below the table, each once with everything it kept from being known.
//! Reasons are what the system said, in its own language.

mod gpus;
mod host;

use crate::lang::{Lang, Text};
use crate::machine::{Fact, Machine};
use crate::table::{Cell, Column, Table};
use crate::units::Bytes;

/// Every table of `inspect` in `lang`; those without rows are left out.
pub fn inspect(machine: &Machine, lang: Lang) -> Vec<Table> {
    let view = View { machine, lang };
    let tables = gpus::tables(view).into_iter().chain(host::tables(view));
    tables.filter(|table| !table.is_empty() || !table.notes.is_empty()).collect()
}

/// What is shown, and in which language.
#[derive(Clone, Copy)]
struct View<'a> {
    machine: &'a Machine,
    lang: Lang,
}

impl View<'_> {
    fn say(self, text: Text) -> &'static str {
        text.get(self.lang)
    }

    /// A column of words.
    fn words(self, key: &str, header: Text) -> Column {
        Column::text(key, self.say(header))
    }

    /// A column of numbers.
    fn numbers(self, key: &str, header: Text) -> Column {
        Column::number(key, self.say(header))
    }
}

/// A text that is the same in both languages.
const fn same(text: &'static str) -> Text {
    Text::new(text, text)
}

// Words of more than one table.
const MEMORY: Text = Text::new("memory", "메모리");
const FREE: Text = Text::new("free", "여유");
const GPU: Text = same("GPU");
const NONE: Text = Text::new("none", "없음");

/// A table in the making, with the reasons for what is unknown in it.
struct Draft {
    table: Table,
    lang: Lang,
    reasons: Vec<(String, Vec<String>)>,
}

impl Draft {
    fn new(view: View<'_>, title: Text, columns: impl IntoIterator<Item = Column>) -> Self {
        const MARK: Text = Text::new(" — SIMULATED, not hardware", " — SIMULATED: 실제 하드웨어가 아님");
        let mark = if view.machine.driver.simulated { view.say(MARK) } else { "" };
        let table = Table::new(format!("{}{mark}", view.say(title)), columns).in_lang(view.lang);
        Self { table, lang: view.lang, reasons: Vec::new() }
    }

    /// The fact's cell, or `?` with the reason kept for the notes.
    fn cell<T>(&mut self, label: Text, fact: &Fact<T>, show: impl FnOnce(&T) -> Cell) -> Cell {
        match fact {
            Fact::Known(value) => show(value),
            Fact::Unknown { unknown } => {
                self.reason(label, unknown);
                Cell::text("?")
            }
        }
    }

    fn words(&mut self, label: Text, fact: &Fact<String>) -> Cell {
        self.cell(label, fact, |text| word(text))
    }

    fn reason(&mut self, label: Text, why: &str) {
        let label = label.get(self.lang);
        let position = self.reasons.iter().position(|(known, _)| known == why).unwrap_or_else(|| {
            self.reasons.push((why.to_owned(), Vec::new()));
            self.reasons.len() - 1
        });
        if let Some((_, labels)) = self.reasons.get_mut(position)
            && !labels.iter().any(|known| known == label)
        {
            labels.push(label.to_owned());
        }
    }

    fn finish(mut self) -> Table {
        for (why, labels) in self.reasons {
            self.table.note(format!("? {}: {why}", labels.join(", ")));
        }
        self.table
    }
}

fn count(number: &u32) -> Cell {
    Cell::count(u64::from(*number))
}

fn bytes(size: &Bytes) -> Cell {
    Cell::plain(*size)
}

fn word(text: &str) -> Cell {
    Cell::text(text)
}

#[cfg(test)]
mod tests;
