//! What stands before and after the layers: tables, the last norm, logits and the loss.

use super::elementwise::{self, Both, Kernels, Traffic, Widths};
use super::layer::Product;
use crate::workload::{CrossEntropy, Decoder, Positions, Role};

/// The two ends of a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The product that makes logits.
    pub head: Product,
    /// Tables and last norm going forward.
    pub forward: Traffic,
    /// The same going back; the table's gradient where `full`.
    pub backward: Traffic,
}

/// The ends of `text` for `tokens` tokens, `rows` of which get logits; `trained` where the tables are trained.
pub fn ends(text: &Decoder, tokens: u64, rows: u64, widths: Widths, kernels: Kernels, trained: bool) -> Ends {
    let Decoder { hidden, vocab, .. } = *text;
    let vectors = tokens * hidden;
    let mut forward = Traffic::new(2 * vectors * widths.stream, 1);
    let mut backward = Traffic::default();
    if trained {
        // A whole table of zeros, and the rows that were read added to it.
        backward += Traffic::new(vocab * hidden * widths.stream + 3 * vectors * widths.stream, 2);
    }
    if matches!(text.positions, Positions::Learned(_)) {
        forward += Traffic::new(3 * vectors * widths.stream, 2);
        backward += Traffic::new(2 * vectors * widths.stream, 2);
    }
    if text.scaled_embedding {
        forward += Traffic::new(2 * vectors * widths.stream, 1);
    }
    let norm = elementwise::norm(text.final_norm, vectors, widths, kernels);
    let head = Product { role: Role::Head, m: rows, n: vocab, k: hidden, groups: 1, bias: text.head_bias };
    Ends { head, forward: forward + norm.forward, backward: backward + norm.backward }
}

/// What the loss over `logits` numbers of `width` bytes moves, forward and back.
///
/// In full it is a copy to FP32, the logarithm of the softmax (which reads its input twice: largest and sum, then result), a gradient of that
/// logarithm, the softmax's derivative and a cast back. In place and fused it is one kernel each way
/// that reads logits (twice going forward, for their largest and their sum) and writes gradients.
pub fn loss(logits: u64, width: u64, how: CrossEntropy, softcap: bool) -> (Traffic, Traffic) {
    const FP32: u64 = 4;
    let cast = if width < FP32 { (width + FP32, 1) } else { (0, 0) };
    let mut both = match how {
        CrossEntropy::Full | CrossEntropy::Chunked => {
            Both::new((logits * (cast.0 + 3 * FP32), 2 + cast.1), (logits * (FP32 + 3 * FP32 + cast.0), 3 + cast.1))
        }
        CrossEntropy::InPlace => Both::new((2 * logits * width, 1), (2 * logits * width, 1)),
        // Gradients are made in the forward pass, and multiplied by one number going back.
        CrossEntropy::Fused => Both::new((3 * logits * width, 2), (0, 1)),
    };
    if softcap {
        both += Both::elementary(logits * 6 * width, 3);
    }
    (both.forward, both.backward)
}
