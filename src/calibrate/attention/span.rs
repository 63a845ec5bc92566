//! Which shapes lie among those measured.

use super::work::Work;

/// Shapes are still near a measured one within this factor in each dimension: the formulas carry that far.
const SLACK: f64 = 4.0;

/// The least and the most of each dimension measured: units (sequences × heads), context, heads that share keys. Head sizes are not a
/// range, since kernels are compiled for each: what was measured of others tells less.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Span {
    ranges: [(f64, f64); 3],
    head_dims: Vec<f64>,
}

impl Span {
    /// `None` without a shape.
    pub(super) fn of<'a>(shapes: impl Iterator<Item = &'a Work>) -> Option<Self> {
        shapes.fold(None, |span: Option<Self>, work| {
            let here = dimensions(work);
            let mut span = span.unwrap_or(Self { ranges: here.map(|value| (value, value)), head_dims: Vec::new() });
            for ((least, most), value) in span.ranges.iter_mut().zip(here) {
                *least = least.min(value);
                *most = most.max(value);
            }
            if !span.head_dims.contains(&work.head_dim) {
                span.head_dims.push(work.head_dim);
            }
            Some(span)
        })
    }

    pub(super) fn holds(&self, work: &Work) -> bool {
        let within = |((least, most), value): (&(f64, f64), f64)| value * SLACK >= *least && value <= most * SLACK;
        self.head_dims.contains(&work.head_dim) && self.ranges.iter().zip(dimensions(work)).all(within)
    }
}

fn dimensions(work: &Work) -> [f64; 3] {
    [work.batch * work.heads, work.context, work.group()]
}
