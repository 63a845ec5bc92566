//! Charts: quantities over another.

use super::labels::Room;
use super::ruler::Ruler;
use super::{Anchor, LINE, WIDTH, at, image, length, line, rectangle, short, write};
use crate::plot::{Axis, Chart, Line, Plot, Point, Reference, Series, Side};
use crate::report::markup::Markup;

const HEIGHT: f64 = 300.0;
/// Above the plot: the name of the vertical axis.
const TOP: f64 = 30.0;
/// Below it: marks and the name of the horizontal axis.
const BOTTOM: f64 = HEIGHT - 46.0;
const RIGHT: f64 = WIDTH - 24.0;

/// With more points than these, they do not say their names one by one.
const MOST_TITLES: usize = 300;
/// Longest name beside a point or a line.
const MOST_LETTERS: usize = 30;

/// Where numbers lie.
struct Frame {
    x: Ruler,
    y: Ruler,
    left: f64,
    /// Upper edge of what is plotted; names of spans stand above it.
    top: f64,
}

impl Frame {
    fn new(chart: &Chart) -> Self {
        let points = || chart.series.iter().flat_map(|series| &series.points);
        let most = points().map(|point| point.y).fold(0.0, f64::max);
        let heights = points().flat_map(|point| point.range.map_or([point.y; 2], |(low, high)| [low, high]));
        // A yardstick belongs into the picture unless everything would be tiny beside it.
        let yardsticks = chart.references.iter().filter(|reference| reference.side == Side::Y && reference.at <= 3.0 * most);
        let y = Ruler::new(&chart.y, heights.chain(yardsticks.map(|reference| reference.at)));
        let ends = chart.spans.iter().flat_map(|span| [span.from, span.to]);
        let x = Ruler::new(&chart.x, points().map(|point| point.x).chain(ends));
        let left = y.ticks.iter().map(|(_, label)| length(label)).fold(20.0, f64::max) + 10.0;
        let top = if chart.spans.is_empty() { TOP } else { TOP + LINE };
        Self { x, y, left, top }
    }

    fn x(&self, value: f64) -> f64 {
        self.left + self.x.place(value).clamp(0.0, 1.0) * (RIGHT - self.left)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - self.y.place(value).clamp(0.0, 1.0) * (BOTTOM - self.top)
    }

    fn place(&self, point: &Point) -> (f64, f64) {
        (self.x(point.x), self.y(point.y))
    }
}

pub(super) fn draw(page: &mut Markup, plot: &Plot, chart: &Chart) {
    let frame = Frame::new(chart);
    let mut room = Room::new((frame.left, TOP - LINE), (WIDTH, BOTTOM));
    image(page, plot, WIDTH, HEIGHT, |page| {
        spans(page, chart, &frame);
        axes(page, chart, &frame);
        for reference in &chart.references {
            self::reference(page, reference, &frame, &mut room);
        }
        for (index, series) in chart.series.iter().enumerate() {
            ranges(page, series, index, &frame);
        }
        for (index, series) in chart.series.iter().enumerate() {
            polyline(page, series, index, &frame, &mut room);
        }
        let all: usize = chart.series.iter().map(|series| series.points.len()).sum();
        // The most important ones lie on top.
        for (index, series) in chart.series.iter().enumerate().filter(|(_, series)| series.dots).rev() {
            for point in &series.points {
                room.point(frame.place(point));
                let title = (all <= MOST_TITLES).then(|| said(chart, series, point));
                dot(page, &mark(index, all > MOST_TITLES), index, frame.place(point), title.as_deref());
            }
        }
        for series in &chart.series {
            for point in series.points.iter().filter(|point| point.named) {
                let name = short(&point.name, MOST_LETTERS);
                if let Some((place, anchor)) = room.beside(frame.place(point), &name) {
                    write(page, "name", place, anchor, &name);
                }
            }
        }
    });
}

/// What a point says to those who point at it.
fn said(chart: &Chart, series: &Series, point: &Point) -> String {
    let (x, y) = (chart.x.unit.show(point.x, 4), chart.y.unit.show(point.y, 4));
    format!("{}: {} ({x}, {y})", series.name, point.name)
}

fn spans(page: &mut Markup, chart: &Chart, frame: &Frame) {
    for (index, span) in chart.spans.iter().enumerate() {
        // Positions are whole numbers: a span goes from half before its first to half after its last.
        let (from, to) = (frame.x(span.from - 0.5), frame.x(span.to + 0.5));
        let class = if index % 2 == 0 { "span" } else { "span odd" };
        rectangle(page, class, (from, TOP), (to - from, BOTTOM - TOP), Some(&span.name));
        if length(&span.name) < to - from {
            write(page, "tick", ((from + to) / 2.0, TOP + LINE - 5.0), Anchor::Middle, &span.name);
        }
    }
}

fn axes(page: &mut Markup, chart: &Chart, frame: &Frame) {
    for (value, label) in &frame.y.ticks {
        let y = frame.y(*value);
        line(page, "grid", (frame.left, y), (RIGHT, y));
        write(page, "tick", (frame.left - 6.0, y + 4.5), Anchor::End, label);
    }
    for (value, _) in &frame.x.ticks {
        let x = frame.x(*value);
        line(page, "grid", (x, frame.top), (x, BOTTOM));
    }
    below(page, &frame.x, |value| frame.x(value), BOTTOM + LINE);
    line(page, "axis", (frame.left, BOTTOM), (RIGHT, BOTTOM));
    write(page, "label", (0.0, 13.0), Anchor::Start, &name_of(&chart.y, &frame.y));
    write(page, "label", (RIGHT, HEIGHT - 8.0), Anchor::End, &name_of(&chart.x, &frame.x));
}

/// Labels of a horizontal axis: all of them, or every second, third, …, so that none meets its neighbour.
pub(super) fn below(page: &mut Markup, ruler: &Ruler, x: impl Fn(f64) -> f64, y: f64) {
    let half = |label: &str| length(label) / 2.0 + 2.0;
    let apart = |step: usize| {
        let shown: Vec<&(f64, String)> = ruler.ticks.iter().step_by(step).collect();
        shown.windows(2).all(|pair| x(pair[0].0) + half(&pair[0].1) <= x(pair[1].0) - half(&pair[1].1))
    };
    let step = (1..=ruler.ticks.len()).find(|step| apart(*step)).unwrap_or(1);
    for (value, label) in ruler.ticks.iter().step_by(step).filter(|(value, label)| x(*value) + half(label) < WIDTH + 8.0) {
        write(page, "tick", (x(*value), y), Anchor::Middle, label);
    }
}

/// The name of an axis, with what its marks do not say themselves.
fn name_of(axis: &Axis, ruler: &Ruler) -> String {
    let label = short(&axis.label, 48);
    ruler.unit.as_ref().map_or_else(|| label.clone(), |unit| format!("{label} ({unit})"))
}

fn reference(page: &mut Markup, reference: &Reference, frame: &Frame, room: &mut Room) {
    let name = short(&reference.name, MOST_LETTERS);
    match reference.side {
        Side::Y if frame.y.holds(reference.at) => {
            let y = frame.y(reference.at);
            line(page, "reference", (frame.left, y), (RIGHT, y));
            let places = [((RIGHT, y - 5.0), Anchor::End), ((RIGHT, y + 15.0), Anchor::End), ((frame.left + 4.0, y - 5.0), Anchor::Start)];
            named(page, &places, &name, room);
        }
        Side::X if frame.x.holds(reference.at) => {
            let x = frame.x(reference.at);
            line(page, "reference", (x, frame.top), (x, BOTTOM));
            let low = BOTTOM - 8.0;
            let places = [((x + 4.0, low), Anchor::Start), ((x - 4.0, low), Anchor::End), ((x + 4.0, low - LINE), Anchor::Start)];
            named(page, &places, &name, room);
        }
        _ => {}
    }
}

/// Write `name` at the first of `places` that is free.
fn named(page: &mut Markup, places: &[((f64, f64), Anchor)], name: &str, room: &mut Room) {
    if let Some((place, anchor)) = places.iter().find(|(place, anchor)| room.take(*place, *anchor, name)) {
        write(page, "name", *place, *anchor, name);
    }
}

/// From the least to the most: a band along a line, a bar at a point without one.
fn ranges(page: &mut Markup, series: &Series, index: usize, frame: &Frame) {
    let ends = |point: &Point| point.range.filter(|(low, high)| low < high);
    if series.line == Line::None || series.points.len() < 2 {
        for point in &series.points {
            if let Some((low, high)) = ends(point) {
                let x = frame.x(point.x);
                line(page, &format!("bar s{index}"), (x, frame.y(low)), (x, frame.y(high)));
            }
        }
        return;
    }
    if series.points.iter().any(|point| ends(point).is_some()) {
        let end = |point: &Point| point.range.unwrap_or((point.y, point.y));
        let upper = series.points.iter().map(|point| (frame.x(point.x), frame.y(end(point).1)));
        let lower = series.points.iter().rev().map(|point| (frame.x(point.x), frame.y(end(point).0)));
        page.empty("polygon", &[("class", &format!("band s{index}")), ("points", &path(upper.chain(lower)))]);
    }
}

fn polyline(page: &mut Markup, series: &Series, index: usize, frame: &Frame, room: &mut Room) {
    let class = match series.line {
        Line::None => return,
        Line::Solid => format!("line s{index}"),
        Line::Dashed => format!("line dashed s{index}"),
    };
    let places: Vec<(f64, f64)> = series.points.iter().map(|point| frame.place(point)).collect();
    places.windows(2).for_each(|ends| room.line(ends[0], ends[1]));
    page.empty("polyline", &[("class", &class), ("points", &path(places.into_iter()))]);
}

fn path(places: impl Iterator<Item = (f64, f64)>) -> String {
    places.map(|(x, y)| format!("{},{}", at(x), at(y))).collect::<Vec<_>>().join(" ")
}

/// The class of a kind's marks; where there are many, they are drawn lighter.
fn mark(index: usize, many: bool) -> String {
    format!("dot{} s{index}", if many { " many" } else { "" })
}

/// The mark of a kind of points.
fn dot(page: &mut Markup, class: &str, index: usize, (x, y): (f64, f64), title: Option<&str>) {
    let shape = format!("M{} {}{}", at(x), at(y), SHAPES[index % SHAPES.len()]);
    let attributes = [("class", class), ("d", &*shape)];
    match title {
        Some(title) => page.element("path", &attributes, |page| page.leaf("title", &[], title)),
        None => page.empty("path", &attributes),
    }
}

/// Shapes around a point, in the order of the colours: disc, square, triangle, diamond, triangle on its head, cross, plus, ring.
const SHAPES: [&str; 8] = [
    "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "m-3.6 -3.6h7.2v7.2h-7.2z",
    "m0 -4.8l4.6 8h-9.2z",
    "m0 -5l5 5l-5 5l-5 -5z",
    "m0 4.8l4.6 -8h-9.2z",
    "m-4.2 -2.4l1.8 -1.8l2.4 2.4l2.4 -2.4l1.8 1.8l-2.4 2.4l2.4 2.4l-1.8 1.8l-2.4 -2.4l-2.4 2.4l-1.8 -1.8l2.4 -2.4z",
    "m-1.3 -4.6h2.6v3.3h3.3v2.6h-3.3v3.3h-2.6v-3.3h-3.3v-2.6h3.3z",
    "m-4.6 0a4.6 4.6 0 1 0 9.2 0a4.6 4.6 0 1 0 -9.2 0zm2.2 0a2.4 2.4 0 1 1 4.8 0a2.4 2.4 0 1 1 -4.8 0z",
];

/// A sample of a series' line and mark, for a legend.
pub(in crate::report) fn swatch(page: &mut Markup, series: &Series, index: usize) {
    page.element("svg", &[("viewBox", "0 0 28 14"), ("class", "swatch"), ("aria-hidden", "true")], |page| {
        let class = match series.line {
            // A single point has no line.
            _ if series.points.len() < 2 => None,
            Line::None => None,
            Line::Solid => Some(format!("line s{index}")),
            Line::Dashed => Some(format!("line dashed s{index}")),
        };
        if let Some(class) = class {
            line(page, &class, (1.0, 7.0), (27.0, 7.0));
        }
        if series.dots {
            dot(page, &mark(index, false), index, (14.0, 7.0), None);
        }
    });
}
