//! Strips: every sample of several measurements, one row each.
//!
//! Samples lie on top of each other, so each is moved up or down a little, by the golden ratio and its position: the same each time, and
//! evenly spread. A few samples may be far off; then the axis shows the rest, and those stand at its ends as arrows.

use super::chart::below;
use super::ruler::Ruler;
use super::{Anchor, LINE, WIDTH, at, image, length, line, short, write};
use crate::plot::{Plot, Strip, Strips};
use crate::report::markup::Markup;
use crate::stats::Sample;

const ROW: f64 = 34.0;
const TOP: f64 = 8.0;
const RIGHT: f64 = WIDTH - 24.0;
/// Longest name of a row.
const MOST_LETTERS: usize = 20;

struct Frame {
    ruler: Ruler,
    left: f64,
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        self.left + self.ruler.place(value).clamp(0.0, 1.0) * (RIGHT - self.left)
    }
}

pub(super) fn draw(page: &mut Markup, plot: &Plot, strips: &Strips) {
    let names = strips.rows.iter().map(|row| length(&short(&row.label, MOST_LETTERS)));
    let frame = Frame { ruler: Ruler::new(&strips.axis, range(strips)), left: names.fold(20.0, f64::max) + 14.0 };
    let bottom = TOP + ROW * strips.rows.len() as f64;
    image(page, plot, WIDTH, bottom + 46.0, |page| {
        axis(page, strips, &frame, bottom);
        for (index, row) in strips.rows.iter().enumerate() {
            let middle = TOP + (index as f64 + 0.5) * ROW;
            write(page, "tick", (frame.left - 10.0, middle + 4.5), Anchor::End, &short(&row.label, MOST_LETTERS));
            strip(page, row, &frame, middle);
        }
    });
}

fn axis(page: &mut Markup, strips: &Strips, frame: &Frame, bottom: f64) {
    for (value, _) in &frame.ruler.ticks {
        line(page, "grid", (frame.x(*value), TOP), (frame.x(*value), bottom));
    }
    below(page, &frame.ruler, |value| frame.x(value), bottom + LINE);
    line(page, "axis", (frame.left, bottom), (RIGHT, bottom));
    let unit = frame.ruler.unit.as_ref().map_or_else(String::new, |unit| format!(" ({unit})"));
    write(page, "label", (RIGHT, bottom + 38.0), Anchor::End, &format!("{}{unit}", short(&strips.axis.label, 48)));
}

fn strip(page: &mut Markup, row: &Strip, frame: &Frame, middle: f64) {
    for (index, value) in row.samples.iter().enumerate() {
        sample(page, "sample", frame, *value, middle + 9.0 * wander(index));
    }
    for (index, value) in row.rejected.iter().enumerate() {
        sample(page, "rejected", frame, *value, middle + 9.0 * wander(index));
    }
    let (low, high) = (frame.x(row.median.low), frame.x(row.median.high));
    line(page, "interval", (low, middle), (high, middle));
    let median = frame.x(row.median.point);
    line(page, "median", (median, middle - 11.0), (median, middle + 11.0));
}

/// From −1 to 1.
fn wander(index: usize) -> f64 {
    const GOLDEN: f64 = 0.618_033_988_749_895;
    ((index as f64 + 0.5) * GOLDEN).fract() * 2.0 - 1.0
}

fn sample(page: &mut Markup, class: &'static str, frame: &Frame, value: f64, y: f64) {
    let x = frame.x(value);
    let shape = match (frame.ruler.holds(value), class) {
        (true, "sample") => format!("M{} {}m-2.6 0a2.6 2.6 0 1 0 5.2 0a2.6 2.6 0 1 0 -5.2 0z", at(x), at(y)),
        (true, _) => format!("M{} {}m-3.5 -3.5l7 7m0 -7l-7 7", at(x), at(y)),
        (false, _) if x <= frame.left => format!("M{} {}l8 -4v8z", at(x), at(y)),
        (false, _) => format!("M{} {}l-8 -4v8z", at(x), at(y)),
    };
    page.empty("path", &[("class", class), ("d", &shape)]);
}

/// The values that the axis has to hold.
fn range(strips: &Strips) -> Vec<f64> {
    let all = || strips.rows.iter().flat_map(|row| &row.samples).copied();
    let mut values: Vec<f64> = strips.rows.iter().flat_map(|row| [row.median.low, row.median.high]).collect();
    match Sample::new(all().collect()) {
        Ok(sample) => {
            // Ten times the middle half, and a tenth of the median, to either side.
            let reach = (10.0 * (sample.quantile(0.75) - sample.quantile(0.25))).max(0.1 * sample.median());
            values.extend(all().filter(|value| (value - sample.median()).abs() <= reach));
        }
        Err(_) => values.extend(all()),
    }
    values
}
