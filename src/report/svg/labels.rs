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
}

/// Half the size of a point.
const POINT: f64 = 5.0;

impl Room {
    /// Nothing taken yet of the space between two corners.
    pub(super) fn new((left, top): (f64, f64), (right, bottom): (f64, f64)) -> Self {
        Self { whole: Area { left, top, right, bottom }, taken: Vec::new() }
    }

    /// A point is drawn here.
    pub(super) fn point(&mut self, (x, y): (f64, f64)) {
        self.taken.push(Area { left: x - POINT, top: y - POINT, right: x + POINT, bottom: y + POINT });
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
        places.into_iter().find(|(place, anchor)| self.take(*place, *anchor, text))
    }

    /// Take the space of a text, if it is free.
    pub(super) fn take(&mut self, (x, y): (f64, f64), anchor: Anchor, text: &str) -> bool {
        let width = length(text);
        let left = match anchor {
            Anchor::Start => x,
            Anchor::Middle => x - width / 2.0,
            Anchor::End => x - width,
        };
        let area = Area { left, top: y - LINE + 5.0, right: left + width, bottom: y + 4.0 };
        let free = area.inside(&self.whole) && !self.taken.iter().any(|taken| taken.meets(&area));
        if free {
            self.taken.push(area);
        }
        free
    }
}
