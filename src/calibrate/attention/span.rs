//! Which shapes lie among those measured.

use super::work::Work;

/// Shapes are still near a measured one within this factor in each dimension: the formulas carry that far.
const SLACK: f64 = 4.0;

/// The least and the most of each dimension measured: units (sequences × heads), context, heads that share keys, features of a head.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Span([(f64, f64); 4]);

impl Span {
    /// `None` without a shape.
    pub(super) fn of<'a>(shapes: impl Iterator<Item = &'a Work>) -> Option<Self> {
        shapes.map(dimensions).fold(None, |span: Option<Self>, here| {
            let mut span = span.unwrap_or(Self(here.map(|value| (value, value))));
            for ((least, most), value) in span.0.iter_mut().zip(here) {
                *least = least.min(value);
                *most = most.max(value);
            }
            Some(span)
        })
    }

    pub(super) fn holds(&self, work: &Work) -> bool {
        self.0.iter().zip(dimensions(work)).all(|((least, most), value)| value * SLACK >= *least && value <= most * SLACK)
    }
}

fn dimensions(work: &Work) -> [f64; 4] {
    [work.batch * work.heads, work.context, work.group(), work.head_dim]
}
