//! Plots as data: what is to be seen, before any drawing.
//!
//! A [`Plot`] knows nothing of pixels. It holds its numbers in base units with their intervals, says in words what it shows, and turns into a
//! [`Table`](crate::table::Table) with the same numbers, which is its text alternative and what Markdown, CSV and JSON get. There are three
//! forms: a **chart** of quantities over another, a **matrix** of one quantity over pairs, and **strips**, which show every single sample.
//!
//! Records come from strangers, so a plot is bounded when it is made: numbers that are not finite are dropped, and of too many series, points
//! or rows some are left out, which its notes say.

mod bounds;
mod table;

use crate::lang::Lang;
use crate::units::{Bytes, BytesPerSecond, Celsius, FlopsPerSecond, Hertz, Seconds, Watts, significant};

/// What is to be seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    /// What it shows, in a few words.
    pub title: String,
    /// What it shows and how to read it, for those who do not see it.
    pub about: String,
    /// The language of the words that renderers add.
    pub lang: Lang,
    /// The numbers.
    pub form: Form,
    /// Remarks, each one paragraph.
    pub notes: Vec<String>,
}

/// How numbers are laid out.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// Quantities over another.
    Chart(Chart),
    /// A quantity over ordered pairs.
    Matrix(Matrix),
    /// Every sample of several measurements.
    Strips(Strips),
}

/// Unit of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Sizes, shown in powers of 1024.
    Bytes,
    /// Transfer rates.
    BytesPerSecond,
    /// Rates of operations.
    FlopsPerSecond,
    /// Arithmetic intensity.
    FlopsPerByte,
    /// Operations.
    Flops,
    /// Durations.
    Seconds,
    /// Clocks.
    Hertz,
    /// Power.
    Watts,
    /// Temperature.
    Celsius,
    /// A position in an order, from one.
    Rank,
}

impl Unit {
    /// The base unit, as in CSV and JSON.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Bytes => "B",
            Self::BytesPerSecond => "B/s",
            Self::FlopsPerSecond => "FLOP/s",
            Self::FlopsPerByte => "FLOP/B",
            Self::Flops => "FLOP",
            Self::Seconds => "s",
            Self::Hertz => "Hz",
            Self::Watts => "W",
            Self::Celsius => "°C",
            Self::Rank => "",
        }
    }

    /// `value` base units for people, with so many significant digits.
    pub fn show(self, value: f64, digits: usize) -> String {
        match self {
            Self::Bytes => size(value),
            Self::BytesPerSecond => BytesPerSecond(value).display(digits),
            Self::FlopsPerSecond => FlopsPerSecond(value).display(digits),
            Self::FlopsPerByte => format!("{} FLOP/B", significant(value, digits)),
            Self::Flops => crate::units::Flops(value).display(digits),
            Self::Seconds => Seconds(value).display(digits),
            Self::Hertz => Hertz(value).display(digits),
            Self::Watts => Watts(value).display(digits),
            Self::Celsius => Celsius(value).display(digits),
            Self::Rank => format!("{value:.0}"),
        }
    }
}

/// A whole number of bytes in its largest exact unit, anything else to four digits.
fn size(value: f64) -> String {
    let bytes = Bytes(value.round() as u64);
    let exact = bytes.to_string();
    let digits = exact.bytes().take_while(u8::is_ascii_digit).count();
    // Such as 65537B: exact, and no use to anybody.
    if digits > 4 { bytes.approximate() } else { format!("{} {}", &exact[..digits], &exact[digits..]) }
}

/// How numbers become distances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences are equal distances; starts at zero.
    FromZero,
    /// Equal differences are equal distances; starts near the smallest number.
    Near,
    /// Equal ratios are equal distances.
    Logarithmic,
}

/// One axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// What it measures.
    pub label: String,
    /// In what.
    pub unit: Unit,
    /// How.
    pub scale: Scale,
}

impl Axis {
    /// An axis.
    pub fn new(label: impl Into<String>, unit: Unit, scale: Scale) -> Self {
        Self { label: label.into(), unit, scale }
    }
}

/// Quantities over another.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// What is drawn; the first are the most important.
    pub series: Vec<Series>,
    /// Single values that everything is to be seen against.
    pub references: Vec<Reference>,
    /// Parts of the horizontal axis with a name of their own.
    pub spans: Vec<Span>,
}

impl Chart {
    /// A chart of `series`.
    pub fn new(x: Axis, y: Axis, series: Vec<Series>) -> Self {
        Self { x, y, series, references: Vec::new(), spans: Vec::new() }
    }

    /// How many different places on the horizontal axis have a point.
    pub fn places(&self) -> usize {
        let mut places: Vec<f64> = self.series.iter().flat_map(|series| series.points.iter().map(|point| point.x)).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        places.len()
    }
}

/// Points of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What they are.
    pub name: String,
    /// In the order in which they are joined.
    pub points: Vec<Point>,
    /// How they are joined.
    pub line: Line,
    /// Whether each is marked.
    pub dots: bool,
}

/// How points of a series are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Not at all.
    None,
    /// Measured.
    Solid,
    /// Promised or computed.
    Dashed,
}

/// One point.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// To the right, in base units.
    pub x: f64,
    /// Upwards, in base units.
    pub y: f64,
    /// From the least to the most that `y` may be, or was elsewhere.
    pub range: Option<(f64, f64)>,
    /// What it is, for the table and for those who point at it.
    pub name: String,
    /// Whether the name stands beside it where there is room.
    pub named: bool,
}

impl Point {
    /// A point without a range.
    pub fn new(x: f64, y: f64, name: impl Into<String>) -> Self {
        Self { x, y, range: None, name: name.into(), named: false }
    }
}

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A place on the horizontal axis: a vertical line.
    X,
    /// A place on the vertical axis: a horizontal line.
    Y,
}

/// A value that everything is to be seen against.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// On which axis.
    pub side: Side,
    /// Where, in base units.
    pub at: f64,
    /// What it is.
    pub name: String,
}

/// A part of the horizontal axis, both ends included.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Where it begins.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// What it is.
    pub name: String,
}

/// A quantity over ordered pairs of `labels`.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// What the rows are.
    pub rows: String,
    /// What the columns are.
    pub columns: String,
    /// What stands at both sides, in order.
    pub labels: Vec<String>,
    /// One row per label, one value per label in it, in base units; `None` where nothing was measured.
    pub values: Vec<Vec<Option<f64>>>,
    /// What is measured.
    pub unit: Unit,
    /// Whether larger values are better.
    pub larger_is_better: bool,
}

impl Matrix {
    /// The best value.
    pub fn best(&self) -> Option<f64> {
        let values = self.values.iter().flatten().flatten().copied();
        if self.larger_is_better { values.reduce(f64::max) } else { values.reduce(f64::min) }
    }

    /// How good a value is: 1 as good as the best, toward 0 the worse it is.
    pub fn quality(&self, value: f64) -> f64 {
        let Some(best) = self.best() else { return 0.0 };
        let quality = if self.larger_is_better { value / best } else { best / value };
        if quality.is_finite() { quality.clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// Every sample of several measurements of one quantity.
#[derive(Debug, Clone, PartialEq)]
pub struct Strips {
    /// What was measured.
    pub axis: Axis,
    /// One per measurement.
    pub rows: Vec<Strip>,
}

/// Every sample of one measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Strip {
    /// Of what.
    pub label: String,
    /// Samples that count, in base units.
    pub samples: Vec<f64>,
    /// Samples that do not count.
    pub rejected: Vec<f64>,
    /// The median with its interval.
    pub median: crate::stats::Interval,
}

impl Plot {
    /// A plot of `form`, within bounds.
    pub fn new(title: impl Into<String>, about: impl Into<String>, form: Form, lang: Lang) -> Self {
        let (form, notes) = bounds::bounded(form, lang);
        Self { title: title.into(), about: about.into(), lang, form, notes }
    }

    /// The same with a remark.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Whether there is nothing to see.
    pub fn is_empty(&self) -> bool {
        match &self.form {
            Form::Chart(chart) => chart.series.iter().all(|series| series.points.is_empty()),
            Form::Matrix(matrix) => matrix.best().is_none(),
            Form::Strips(strips) => strips.rows.iter().all(|row| row.samples.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests;
