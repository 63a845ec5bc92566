//! Tables as data: what the guide, the estimates and the comparisons produce.
//!
//! A [`Table`] knows nothing of terminals or files. A cell keeps the number in its base unit together with the text for people, and a figure's
//! basis and sources with it; the renderers in [`report`](crate::report) decide how each output shows them. Every row has exactly as many
//! cells as there are columns, by construction.

use crate::figure::{Basis, Figure, Quantity};
use crate::lang::Lang;

/// On which side of its column a cell stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Align {
    /// Text.
    #[default]
    Left,
    /// Numbers.
    Right,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name for programs: lower case, `_` between words, unique in the table.
    pub key: String,
    /// Heading for people.
    pub header: String,
    /// Unit of the texts shown, when the cells do not carry their own.
    pub unit: Option<String>,
    /// Where cells stand.
    pub align: Align,
}

impl Column {
    /// A column of words.
    pub fn text(key: &str, header: impl Into<String>) -> Self {
        Self { key: key.to_owned(), header: header.into(), unit: None, align: Align::Left }
    }

    /// A column of numbers.
    pub fn number(key: &str, header: impl Into<String>) -> Self {
        Self { align: Align::Right, ..Self::text(key, header) }
    }

    /// The same column with the unit its cells are shown in.
    #[must_use]
    pub fn unit(mut self, unit: &str) -> Self {
        self.unit = Some(unit.to_owned());
        self
    }
}

/// A number in a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Number {
    /// In the base unit.
    pub value: f64,
    /// The base unit; empty for a bare number.
    pub unit: &'static str,
    /// For people.
    pub shown: String,
    /// The interval, where one is known.
    pub range: Option<(f64, f64)>,
    /// Where it comes from, unless that is beyond question (a count, an input).
    pub basis: Option<Basis>,
    /// The sources.
    pub from: Vec<String>,
}

/// What stands in a cell.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Cell {
    /// Nothing is known or nothing applies; shown as a dash.
    #[default]
    Empty,
    /// Words.
    Text(String),
    /// A number.
    Number(Number),
}

impl Cell {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A quantity that needs no basis, such as an input or a count, shown in its usual way.
    pub fn plain<Q: Quantity>(value: Q) -> Self {
        Self::Number(Number { value: value.base(), unit: Q::UNIT, shown: value.show(), range: None, basis: None, from: Vec::new() })
    }

    /// A whole number.
    pub fn count(count: u64) -> Self {
        Self::Number(Number { value: count as f64, unit: "", shown: count.to_string(), range: None, basis: None, from: Vec::new() })
    }

    /// A figure, shown in its usual way.
    pub fn figure<Q: Quantity>(figure: &Figure<Q>) -> Self {
        Self::figure_as(figure, figure.value.show())
    }

    /// A figure with the text for people given, such as one in the unit of its column.
    pub fn figure_as<Q: Quantity>(figure: &Figure<Q>, shown: impl Into<String>) -> Self {
        let (low, high) = (figure.low.base(), figure.high.base());
        Self::Number(Number {
            value: figure.value.base(),
            unit: Q::UNIT,
            shown: shown.into(),
            range: (low < high).then_some((low, high)),
            basis: Some(figure.basis),
            from: figure.from.clone(),
        })
    }

    /// A figure in units of `size` base units, with so many decimals.
    pub fn figure_in<Q: Quantity>(figure: &Figure<Q>, size: f64, decimals: usize) -> Self {
        Self::figure_as(figure, format!("{:.decimals$}", figure.value.base() / size))
    }

    /// The cell of an optional figure; empty without one.
    pub fn maybe<Q: Quantity>(figure: Option<&Figure<Q>>) -> Self {
        figure.map_or(Self::Empty, Self::figure)
    }

    /// The basis, if the cell is a number with one.
    pub fn basis(&self) -> Option<Basis> {
        match self {
            Self::Number(number) => number.basis,
            _ => None,
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// A titled table with notes below it.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Remarks for people, each one paragraph.
    pub notes: Vec<String>,
    /// The language of the words the renderers add, such as the legend.
    pub lang: Lang,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows yet.
    pub fn new(title: impl Into<String>, columns: impl IntoIterator<Item = Column>) -> Self {
        Self { title: title.into(), notes: Vec::new(), lang: Lang::En, columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// The same table in another language.
    #[must_use]
    pub fn in_lang(mut self, lang: Lang) -> Self {
        self.lang = lang;
        self
    }

    /// Append a row. Missing cells at the end are empty; cells beyond the last column are dropped.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let mut row: Vec<Cell> = cells.into_iter().collect();
        debug_assert!(row.len() <= self.columns.len(), "{} cells for {} columns in {:?}", row.len(), self.columns.len(), self.title);
        row.resize(self.columns.len(), Cell::Empty);
        self.rows.push(row);
    }

    /// Append a remark.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The rows; each has one cell per column.
    pub fn rows(&self) -> &[Vec<Cell>] {
        &self.rows
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The bases that occur, the most trustworthy first: what a legend has to explain.
    pub fn bases(&self) -> Vec<Basis> {
        Basis::ALL.into_iter().filter(|basis| self.rows.iter().flatten().any(|cell| cell.basis() == Some(*basis))).collect()
    }
}
