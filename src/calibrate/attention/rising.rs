//! Decoding times that never fall as work grows, for those who search.
//!
//! A library that gets one sequence more may change to a kernel that is faster on the whole, so true decoding times fall here and there,
//! and [`AttentionModel::time`] follows them. A search for the largest batch, or a law that more tokens never take less time, wants the
//! **rising** time: the least that this much work or more can take. It is kept at powers of two of sequences and of context, each node the
//! minimum of itself and all above it, and is straight in logarithms between the nodes. So it is monotone by construction, smooth where the
//! true time is a saw, and at the nodes never above it.

use super::work::Work;
use super::{AttentionModel, AttentionShape};
use crate::calibrate::Prediction;
use crate::units::Seconds;

/// Nodes: sequences up to 2²⁰, contexts up to 2²⁴; beyond, time grows in proportion.
const BATCHES: usize = 21;
const CONTEXTS: usize = 25;

/// Decoding times for one kind of heads, rising with sequences and with context.
#[derive(Debug, Clone, PartialEq)]
pub struct RisingDecode<'a> {
    model: &'a AttentionModel,
    /// Its batch and context do not count.
    shape: AttentionShape,
    /// Logarithms of µs, `CONTEXTS` for each batch.
    nodes: Vec<f64>,
}

impl AttentionModel {
    /// Decoding times for the heads and the window of `shape`, which rise with the number of sequences and with the context. Making it
    /// costs some hundred predictions.
    pub fn rising(&self, shape: &AttentionShape) -> RisingDecode<'_> {
        let shape = AttentionShape { queries: 1, ..*shape };
        let mut nodes = vec![f64::NEG_INFINITY; BATCHES * CONTEXTS];
        for batch in (0..BATCHES).rev() {
            for context in (0..CONTEXTS).rev() {
                let at = AttentionShape { batch: 1 << batch, context: (1 << context).max(2), ..shape };
                let mut least = Work::of(&at).map_or(f64::NEG_INFINITY, |work| self.decode_time(&work).ln());
                if batch + 1 < BATCHES {
                    least = least.min(nodes[(batch + 1) * CONTEXTS + context]);
                }
                if context + 1 < CONTEXTS {
                    least = least.min(nodes[batch * CONTEXTS + context + 1]);
                }
                nodes[batch * CONTEXTS + context] = least;
            }
        }
        RisingDecode { model: self, shape, nodes }
    }
}

impl RisingDecode<'_> {
    /// Time of one call for the last tokens of `batch` sequences of `context` tokens each, the new one included.
    pub fn time(&self, batch: u64, context: u64) -> Prediction {
        let Some(work) = Work::of(&AttentionShape { batch, context, ..self.shape }) else {
            return Prediction::within(Seconds(0.0), 1.0, false);
        };
        let ((row, down), more) = place(work.batch, BATCHES);
        let ((column, right), longer) = place(work.context, CONTEXTS);
        let along = |row: usize| {
            let nodes = &self.nodes[row * CONTEXTS + column..];
            nodes[0] + (nodes[1] - nodes[0]) * right
        };
        let (above, below) = (along(row), along(row + 1));
        // With a window a longer context is no more work.
        let longer = if self.shape.window.is_some() { 1.0 } else { longer };
        self.model.decode.predict(&work, (above + (below - above) * down).exp() * more * longer)
    }
}

/// The node below `value`, how far from it to the next in logarithms, and the factor by which `value` lies beyond the last node.
fn place(value: f64, nodes: usize) -> ((usize, f64), f64) {
    let last = (nodes - 1) as f64;
    let at = value.log2().min(last);
    let node = (at.floor() as usize).min(nodes - 2);
    ((node, at - node as f64), (value / last.exp2()).max(1.0))
}
