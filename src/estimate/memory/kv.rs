//! The cache of keys and values, and what a server's reservation holds of it.
//!
//! A layer keeps of every token its keys and values: `2 · kv_heads · head_dim` elements, or the latent and the shared rotary key under MLA. A
//! layer with a sliding window keeps the last `window` tokens only. Under tensor parallelism the heads are split; where there are fewer of them
//! than GPUs, each GPU has one whole head, and a latent is on every GPU.

use crate::units::Bytes;
use crate::workload::{Attention, Cache, Decoder, Inference};

/// Bytes that one layer keeps of one token on one GPU.
fn layer_token(attention: &Attention, inference: &Inference) -> Bytes {
    let width = inference.precision.width();
    match attention {
        Attention::Grouped(grouped) => {
            let heads = grouped.kv_heads.div_ceil(inference.tensor);
            Bytes(inference.kv_precision.vector(grouped.head_dim, heads * grouped.head_dim, width)) * 2
        }
        Attention::Latent(latent) => {
            let elements = latent.kv_rank + latent.rope;
            Bytes(inference.kv_precision.vector(elements, elements, width))
        }
    }
}

/// Tokens that a layer keeps of a sequence of `length`, pages filled up.
fn kept(length: u64, window: Option<u64>, cache: Cache) -> u64 {
    match cache {
        Cache::Paged { block } => {
            let pages = length.div_ceil(block);
            // A window that begins inside a page needs that page whole.
            window.map_or(pages, |window| pages.min(window.saturating_sub(1).div_ceil(block) + 1)) * block
        }
        _ => window.map_or(length, |window| length.min(window)),
    }
}

/// The cache of the whole batch when each sequence has `length` tokens, on the GPU that holds most.
pub(super) fn cached(decoder: &Decoder, inference: &Inference, length: u64) -> Bytes {
    decoder
        .blocks
        .iter()
        .map(|run| {
            let attention = &run.block.attention;
            let layers = run.count.div_ceil(inference.pipeline);
            layer_token(attention, inference) * layers * kept(length, attention.window(), inference.cache) * inference.batch
        })
        .sum()
}

/// What one layer holds beside its cache while it attends to `length` tokens a sequence: the concatenation's old tensor (keys and values are
/// concatenated one after the other), quantised entries unpacked, and heads repeated.
pub(super) fn in_flight(decoder: &Decoder, inference: &Inference, length: u64) -> Bytes {
    let width = inference.precision.width();
    decoder
        .blocks
        .iter()
        .map(|run| {
            let attention = &run.block.attention;
            let tokens = kept(length, attention.window(), inference.cache);
            let stored = layer_token(attention, inference);
            // Of keys and values, one is concatenated at a time; a latent is one tensor.
            let old = match (inference.cache, attention) {
                (Cache::Dynamic, Attention::Grouped(_)) => stored / 2,
                (Cache::Dynamic, Attention::Latent(_)) => stored,
                _ => Bytes(0),
            };
            let whole = Bytes(attention.cached_elements()) * width / kv_split(attention, inference.tensor);
            let unpacked = if inference.kv_precision.quantised() { whole } else { Bytes(0) };
            let repeated = match attention {
                Attention::Grouped(grouped) if inference.repeat_kv && grouped.kv_heads < grouped.heads => {
                    Bytes(2 * width) * grouped.heads.div_ceil(inference.tensor) * grouped.head_dim
                }
                _ => Bytes(0),
            };
            old.max(unpacked + repeated) * tokens * inference.batch
        })
        .max()
        .unwrap_or_default()
}

/// By how many GPUs a layer's cache is divided.
fn kv_split(attention: &Attention, tensor: u64) -> u64 {
    match attention {
        Attention::Grouped(grouped) => grouped.kv_heads.min(tensor),
        Attention::Latent(_) => 1,
    }
}

/// Bytes that one page of `block` tokens takes over all layers of one GPU, windows aside.
pub(super) fn page(decoder: &Decoder, inference: &Inference, block: u64) -> Bytes {
    decoder.blocks.iter().map(|run| layer_token(&run.block.attention, inference) * run.count.div_ceil(inference.pipeline) * block).sum()
}
