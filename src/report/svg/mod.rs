//! Plots as SVG, inside a page.
//!
//! Drawings are [`WIDTH`] units wide whatever the screen: about as many as a telephone has, so that text stays legible there. The style sheet
//! enlarges text where a drawing is shown small; everything is placed as if it were that large. Colours, line widths and sizes of text are the
//! style sheet's, by class: `s0` … `s7` for kinds of points, `q0` … `q6` for steps of quality. A kind has a shape as well as a colour.

mod chart;
mod labels;
mod matrix;
mod ruler;
mod strips;

use super::markup::Markup;
use crate::plot::{Form, Matrix, Plot};

pub(super) use chart::swatch;
pub(super) use matrix::{STEPS, step};

/// Width of every drawing.
const WIDTH: f64 = 480.0;

/// Height of a line of text, and the width of a letter, at the largest size.
const LINE: f64 = 18.0;
const LETTER: f64 = 8.2;

/// The drawing, with its title and description for those who do not see it.
pub(super) fn draw(page: &mut Markup, plot: &Plot) {
    match &plot.form {
        Form::Chart(chart) => chart::draw(page, plot, chart),
        Form::Matrix(matrix) => matrix::draw(page, plot, matrix),
        Form::Strips(strips) => strips::draw(page, plot, strips),
    }
}

/// The unit of all numbers in a matrix.
pub(super) fn unit(matrix: &Matrix) -> String {
    matrix::Scale::of(matrix).unit
}

/// An image of that size, with what `inside` draws.
fn image(page: &mut Markup, plot: &Plot, width: f64, height: f64, inside: impl FnOnce(&mut Markup)) {
    let (title, about) = (page.identifier("title"), page.identifier("about"));
    let (both, view) = (format!("{title} {about}"), format!("0 0 {width:.0} {height:.0}"));
    page.element("svg", &[("viewBox", &view), ("role", "img"), ("aria-labelledby", &both)], |page| {
        page.leaf("title", &[("id", &title)], &plot.title);
        page.leaf("desc", &[("id", &about)], &plot.about);
        inside(page);
    });
}

/// Where a text is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// A line of text with its base line at `y`.
fn write(page: &mut Markup, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
    page.leaf("text", &[("class", class), ("x", &at(x)), ("y", &at(y)), ("text-anchor", anchor.word())], text);
}

fn line(page: &mut Markup, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    page.empty("line", &[("class", class), ("x1", &at(x1)), ("y1", &at(y1)), ("x2", &at(x2)), ("y2", &at(y2))]);
}

fn rectangle(page: &mut Markup, class: &str, (x, y): (f64, f64), (width, height): (f64, f64), title: Option<&str>) {
    let attributes = [("class", class), ("x", &*at(x)), ("y", &at(y)), ("width", &at(width)), ("height", &at(height))];
    match title {
        Some(title) => page.element("rect", &attributes, |page| page.leaf("title", &[], title)),
        None => page.empty("rect", &attributes),
    }
}

/// A coordinate.
fn at(place: f64) -> String {
    let text = format!("{place:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// `text` with at most `most` letters.
fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Width that a text takes at the largest size.
fn length(text: &str) -> f64 {
    // Wide characters, such as Korean ones, are about as wide as high; others about half that.
    super::words::width(text) as f64 * LETTER
}

#[cfg(test)]
mod tests;
