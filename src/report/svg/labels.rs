//! Names beside points, where there is room.
//!
//! Each name tries the places around its point in turn and takes the first where it covers no other name, no point and no edge. What finds
//! none is not written; it is in the table all the same.

use super::{Anchor, LINE, length};

/// A part of a drawing that is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Area {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Area {
    fn meets(&self, other: &Self) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }

    fn inside(&self, other: &Self) -> bool {
        self.left >= other.left && self.right <= other.right && self.top >= other.top && self.bottom <= other.bottom
    }
}

/// What is taken of a drawing.
#[derive(Debug)]
pub(super) struct Room {
    whole: Area,
    taken: Vec<Area>,
    /// Places along lines: better not covered, but no harm.
    lines: Vec<Area>,
}

/// Half the size of a point.
const POINT: f64 = 5.0;

impl Room {
    /// Nothing taken yet of the space between two corners.
    pub(super) fn new((left, top): (f64, f64), (right, bottom): (f64, f64)) -> Self {
        Self { whole: Area { left, top, right, bottom }, taken: Vec::new(), lines: Vec::new() }
    }

    /// A point is drawn here.
    pub(super) fn point(&mut self, (x, y): (f64, f64)) {
        self.taken.push(Area { left: x - POINT, top: y - POINT, right: x + POINT, bottom: y + POINT });
    }

    /// A line is drawn from here to there.
    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        const STEP: f64 = 6.0;
        let steps = ((x2 - x1).hypot(y2 - y1) / STEP).ceil().max(1.0);
        for index in 0..=(steps as usize).min(200) {
            let share = index as f64 / steps;
            let (x, y) = (x1 + (x2 - x1) * share, y1 + (y2 - y1) * share);
            self.lines.push(Area { left: x - 1.0, top: y - 1.0, right: x + 1.0, bottom: y + 1.0 });
        }
    }

    /// A place for `text` near a point: its base line's beginning, middle or end.
    pub(super) fn beside(&mut self, (x, y): (f64, f64), text: &str) -> Option<((f64, f64), Anchor)> {
        let away = POINT + 3.0;
        let places = [
            ((x + away, y + 4.5), Anchor::Start),
            ((x - away, y + 4.5), Anchor::End),
            ((x, y - away), Anchor::Middle),
            ((x, y + away + 11.0), Anchor::Middle),
            ((x + away, y - away), Anchor::Start),
            ((x + away, y + away + 11.0), Anchor::Start),
            ((x - away, y - away), Anchor::End),
            ((x - away, y + away + 11.0), Anchor::End),
        ];
        let clear = places.iter().find(|(place, anchor)| {
            let area = area(*place, *anchor, text);
            self.is_free(&area) && !self.lines.iter().any(|line| line.meets(&area))
        });
        let chosen = clear.or_else(|| places.iter().find(|(place, anchor)| self.is_free(&area(*place, *anchor, text))));
        let (place, anchor) = *chosen?;
        self.take(place, anchor, text).then_some((place, anchor))
    }

    /// Take the space of a text, if it is free.
    pub(super) fn take(&mut self, place: (f64, f64), anchor: Anchor, text: &str) -> bool {
        let area = area(place, anchor, text);
        let free = self.is_free(&area);
        if free {
            self.taken.push(area);
        }
        free
    }

    fn is_free(&self, area: &Area) -> bool {
        area.inside(&self.whole) && !self.taken.iter().any(|taken| taken.meets(area))
    }
}

/// The space of a text with its base line at `y`.
fn area((x, y): (f64, f64), anchor: Anchor, text: &str) -> Area {
    let width = length(text);
    let left = match anchor {
        Anchor::Start => x,
        Anchor::Middle => x - width / 2.0,
        Anchor::End => x - width,
    };
    Area { left, top: y - LINE + 5.0, right: left + width, bottom: y + 4.0 }
}
