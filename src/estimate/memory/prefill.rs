//! What a forward pass without gradients holds at its worst.
//!
//! Without a backward pass nothing is kept: a tensor dies with its last reader, so at most one layer's tensors are alive, beside the residual
//! stream. What counts is the worst moment *within* a layer:
//!
//! * **norm**: in elementary operations (transformers) an FP32 copy of the input and its product, 8 bytes an element;
//! * **rotation**: queries, keys and values, and the three temporaries that rotating one of them takes;
//! * **attention**: queries, output and the output in the next product's order; scores if they are written out;
//! * **MLP**: gate, way up and their product, three times the inner width (twice without a gate), which is the worst of most models;
//! * **logits**: of the last token or of all, in the computed type and the FP32 copy that sampling reads.
//!
//! transformers holds the embedding and the layer's input by name in the calling functions, so both are alive throughout; servers update one
//! residual in place.

use crate::units::Bytes;
use crate::workload::{Attention, AttentionKernel, Block, Decoder, Dense, Experts, Images, Inference, LogitRows, Mlp, Norm, Tower, Vision};

/// The pass of `tokens` tokens through a layer: what it looks at and how.
#[derive(Clone, Copy)]
struct Pass {
    /// Bytes of an element.
    width: u64,
    /// Tokens that pass at once.
    tokens: u64,
    /// Tokens that each of them may see.
    seen: u64,
    /// GPUs that share every product.
    tensor: u64,
    /// Whether norms and gates are kernels of their own.
    fused: bool,
    /// Whether scores are written out.
    eager: bool,
    /// Whether keys and values are copied to all heads.
    repeat_kv: bool,
}

impl Pass {
    /// Tensors of the residual's width that live through a layer, its input included.
    const fn residuals(&self) -> u64 {
        if self.fused { 1 } else { 2 }
    }

    /// The worst moment within `block`, per token and without scores, plus scores.
    fn layer(&self, block: &Block, hidden: u64) -> Bytes {
        let Self { width, tokens, .. } = *self;
        let norm = match block.norm {
            _ if self.fused => Bytes(hidden) * width,
            Norm::Rms | Norm::RmsOffset => Bytes(hidden) * 8,
            Norm::Layer | Norm::LayerNoBias => Bytes(hidden) * width,
        };
        let attention = self.attention(&block.attention, hidden);
        let mlp = self.mlp(&block.mlp, hidden);
        Bytes(hidden) * width * self.residuals() * tokens + (norm * tokens).max(attention).max(mlp)
    }

    /// Queries, keys, values, output and scores, beside the residual; the normalised input included.
    fn attention(&self, attention: &Attention, hidden: u64) -> Bytes {
        let Self { width, tokens, tensor, .. } = *self;
        let heads = attention.heads().div_ceil(tensor);
        let (q, kv, out, repeated) = match attention {
            Attention::Grouped(grouped) => {
                let (q, kv) = (heads * grouped.head_dim, grouped.kv_heads.div_ceil(tensor) * grouped.head_dim);
                (q, kv, q, if self.repeat_kv && grouped.kv_heads < grouped.heads { 2 * q } else { 0 })
            }
            // Keys and values are made for every head from the latent.
            Attention::Latent(latent) => {
                let key = latent.nope + latent.rope;
                (heads * key, heads * key.max(latent.value), heads * latent.value, 0)
            }
        };
        let rotated = if self.fused { 0 } else { (3 * q).max(q + 3 * kv) };
        let read = if self.fused { out } else { 2 * out + repeated };
        let elements = Bytes(hidden) + Bytes(q) + Bytes(kv) * 2 + Bytes(rotated.max(read));
        // One FP32 number per query and head tells the flash kernel's sum; scores are in the computed type, FP32 and back.
        let scores = if self.eager { Bytes(2 * width + 4) * self.seen } else { Bytes(4) };
        elements * width * tokens + scores * heads * tokens
    }

    /// What the feed-forward part holds beside the residual; the normalised input included.
    fn mlp(&self, mlp: &Mlp, hidden: u64) -> Bytes {
        let Self { width, tokens, tensor, .. } = *self;
        let inside = |dense: &Dense| {
            let tensors = match (dense.gated, dense.fused && !self.fused) {
                (true, true) => 4,
                (true, false) => 3,
                (false, _) => 2,
            };
            Bytes(dense.ffn.div_ceil(tensor)) * tensors
        };
        let residual = Bytes(hidden) * if self.fused { 1 } else { 2 };
        match mlp {
            Mlp::Dense(dense) => (residual + inside(dense)) * width * tokens,
            Mlp::Experts(experts) => {
                let Experts { count, active, each, shared, .. } = experts;
                let routed = if self.fused {
                    // One kernel over all experts: every token's copies side by side, with an output each.
                    (inside(each) + Bytes(hidden)) * width * tokens * *active
                } else {
                    // One expert after another. Balanced routing gives each `tokens · active / count`; twice that is allowed for.
                    let most = (Bytes(tokens) * *active * 2 / *count).0.saturating_add(1).min(tokens);
                    (inside(each) + Bytes(hidden) * 2) * width * most
                };
                let alone = shared.as_ref().map_or(Bytes(0), |shared| inside(shared) * width * tokens);
                // Scores of the router in FP32, and the sum that experts add to.
                let router = (Bytes(*count) * (4 + width) + Bytes(hidden) * width) * tokens;
                residual * width * tokens + router + routed.max(alone)
            }
        }
    }
}

/// What a pass holds at its worst, without weights and cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Live {
    /// Activations while the layers run.
    pub(super) layers: Bytes,
    /// Activations while the logits are made.
    pub(super) last: Bytes,
    /// Logits.
    pub(super) logits: Bytes,
}

/// The pass of `tokens` tokens of the whole batch, each sequence then `seen` tokens long.
pub(super) fn pass(decoder: &Decoder, inference: &Inference, tokens: u64, seen: u64) -> Live {
    let width = inference.precision.width();
    let Decoder { hidden, vocab, .. } = *decoder;
    let pass = Pass {
        width,
        tokens,
        seen,
        tensor: inference.tensor,
        fused: inference.fused,
        eager: inference.attention == AttentionKernel::Eager,
        repeat_kv: inference.repeat_kv,
    };
    let layers = decoder.blocks.iter().map(|run| pass.layer(&run.block, hidden)).max().unwrap_or_default();
    let rows = match inference.logits {
        LogitRows::Last => inference.batch.min(tokens),
        LogitRows::All => tokens,
    };
    // Every GPU gathers all logits: sampling needs them whole.
    let logits = Bytes(vocab) * (width + 4) * rows;
    let norm = if inference.fused { width } else { 8 };
    let last = Bytes(hidden) * (width * pass.residuals() + norm) * tokens;
    Live { layers, last, logits }
}

/// What the vision tower holds at its worst: pixels, one layer, and the tokens it makes for the decoder. Images of the whole batch pass together,
/// or, where prompts are read in chunks, as many as make a chunk.
pub(super) fn tower(vision: &Vision, inference: &Inference, hidden: u64) -> Bytes {
    let Images { count, width: across, height: down } = inference.images;
    let view = vision.view(across, down);
    let images = (Bytes(count) * inference.batch).0;
    let at_once = inference.chunk.map_or(images, |chunk| chunk.checked_div(view.tokens).unwrap_or(chunk).max(1).min(images));
    if at_once == 0 {
        return Bytes(0);
    }
    let width = inference.precision.width();
    let patches = (Bytes(view.pieces) * view.patches * at_once).0;
    let pass = Pass {
        width,
        tokens: patches,
        seen: view.patches,
        tensor: 1,
        fused: inference.fused,
        eager: inference.attention == AttentionKernel::Eager,
        repeat_kv: false,
    };
    let Tower { hidden: inner, ref blocks, patch, .. } = vision.tower;
    let layer = blocks.iter().map(|run| pass.layer(&run.block, inner)).max().unwrap_or_default();
    // Three channels in FP32 and cast; two frames where the patch embedding takes video, which repeats a still image.
    let pixels = Bytes(3 * 2) * patch * patch * patches * (4 + width);
    let tokens = Bytes(view.tokens) * images * hidden * width;
    layer + pixels + tokens
}
