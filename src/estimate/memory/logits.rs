//! Logits and the loss: with today's vocabularies often the largest tensors of a step.
//!
//! What PyTorch does with `n` logits for the mean cross-entropy of all tokens, as Hugging Face's models call it: the output head makes them in
//! the width of products and the caller keeps them (the model's result holds them until the step is over); they are copied to FP32; the
//! logarithm of the softmax is a further FP32 tensor and the only one autograd keeps; the loss picks one number per token. Going back, the
//! loss makes a gradient of that logarithm, FP32, and the softmax turns it into a gradient of the logits, FP32 again: three FP32 tensors at once,
//! which is where most training steps peak.

use super::precision::Precision;
use crate::workload::{CrossEntropy, Model, Training};

/// Pieces of the chunked loss.
const CHUNKS: u64 = 8;

/// Bytes of logits by moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Logits {
    /// At the worst moment of the forward pass.
    pub(crate) forward: u64,
    /// At the worst moment of the loss's backward pass.
    pub(crate) loss: u64,
    /// While the output head's gradients are made, with them.
    pub(crate) head: u64,
    /// While the layers' backward passes run.
    pub(crate) after: u64,
}

impl Logits {
    /// Logits of `tokens` tokens.
    pub(crate) fn of(model: &Model, training: &Training, precision: &Precision, tokens: u64) -> Self {
        let (hidden, vocab) = (model.text.hidden, model.text.vocab);
        let count = tokens * vocab;
        // Where products are FP32, the copy to FP32 is the tensor itself.
        let copy = if precision.product == 4 { 0 } else { 4 };
        // A soft cap divides, takes the hyperbolic tangent (which is kept) and multiplies.
        let cap = if model.text.logit_softcap { precision.product * count } else { 0 };
        let gradients = if precision.full { vocab * hidden * precision.product } else { 0 };
        let hidden_gradient = tokens * hidden * precision.product;
        match training.cross_entropy {
            CrossEntropy::Full => {
                let kept = precision.product * count + cap;
                Self {
                    forward: kept + (copy + 4) * count,
                    loss: kept + 12 * count,
                    head: kept + precision.product * count + gradients + hidden_gradient,
                    after: precision.product * count,
                }
            }
            CrossEntropy::Chunked => {
                let piece = tokens.div_ceil(CHUNKS) * vocab;
                let kept = precision.product * count + cap;
                Self {
                    forward: kept + 4 * count + copy * piece,
                    loss: kept + 4 * count + 8 * piece,
                    head: kept + precision.product * count + gradients + hidden_gradient,
                    after: precision.product * count,
                }
            }
            CrossEntropy::InPlace => {
                // The logarithm of the sum, one FP32 number per token, and the logits themselves, which the gradients overwrite.
                let kept = precision.product * count + cap + 4 * tokens;
                Self { forward: kept, loss: kept, head: kept + gradients + hidden_gradient, after: precision.product * count }
            }
            CrossEntropy::Fused => {
                // As many tokens at a time as make the piece of logits no larger than the hidden states.
                let rows = tokens.div_ceil(vocab.div_ceil(hidden)).next_power_of_two().min(tokens);
                let piece = rows * vocab;
                let working = (precision.product + copy) * piece + hidden_gradient + gradients;
                Self { forward: working, loss: hidden_gradient + gradients, head: hidden_gradient + gradients, after: 0 }
            }
        }
    }
}
