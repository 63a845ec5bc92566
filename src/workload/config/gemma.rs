//! Gemma, Gemma 2 and Gemma 3: RMS norms with `1 + w`, scaled embeddings that double as the head, GELU gates.

use super::fields::Fields;
use super::parts::{Family, Sizes, activation, gated, gather, pre_norm, windows};
use crate::error::Result;
use crate::workload::{Activation, Block, Decoder, Grouped, Layout, Mlp, Norm, QkNorm};

const GEMMA: Family =
    Family { hidden: 3072, layers: 28, heads: 16, kv_heads: Some(16), head_dim: Some(256), ffn: 24576, vocab: 256_000, tied: true };
const GEMMA2: Family = Family { hidden: 2304, layers: 26, heads: 8, kv_heads: Some(4), ffn: 9216, ..GEMMA };
const GEMMA3: Family = Family { vocab: 262_208, ..GEMMA2 };
/// The window of the families with sliding layers, where the file gives none.
const WINDOW: u64 = 4096;

/// `gemma`.
pub(super) fn gemma(fields: &Fields<'_>) -> Result<Decoder> {
    build(fields, &GEMMA, Layout::Pre, QkNorm::None, |_| false)
}

/// `gemma2`: norms before and after, every other layer sliding from the first, soft caps on scores and logits.
pub(super) fn gemma2(fields: &Fields<'_>) -> Result<Decoder> {
    let mut decoder = build(fields, &GEMMA2, Layout::Sandwich, QkNorm::None, |layer| layer % 2 == 0)?;
    cap(fields, &mut decoder, true)?;
    Ok(decoder)
}

/// `gemma3_text`: as Gemma 2 with norms on queries and keys instead of caps, and one full layer in `sliding_window_pattern`.
pub(super) fn gemma3(fields: &Fields<'_>) -> Result<Decoder> {
    let pattern = fields.size_or(&["sliding_window_pattern"], 6)?;
    let mut decoder = build(fields, &GEMMA3, Layout::Sandwich, QkNorm::Head, |layer| !(layer + 1).is_multiple_of(pattern))?;
    cap(fields, &mut decoder, false)?;
    Ok(decoder)
}

fn build(fields: &Fields<'_>, family: &Family, layout: Layout, qk_norm: QkNorm, sliding: impl Fn(u64) -> bool) -> Result<Decoder> {
    let sizes = Sizes::read(fields, family)?;
    let mut attention = sizes.attention();
    attention.qkv_bias = fields.flag_or(&["attention_bias"], false)?;
    attention.output_bias = attention.qkv_bias;
    attention.qk_norm = qk_norm;
    let function = activation(fields, &["hidden_activation", "hidden_act"], Activation::Gelu)?;
    let mlp = Mlp::Dense(gated(fields.size(&["intermediate_size"], family.ffn)?, function));
    let window = match fields.given(&["sliding_window"])? {
        None if !fields.mentions("sliding_window") => Some(WINDOW),
        given => given,
    };
    let blocks = windows(fields, sizes.layers, window, sliding)?.into_iter().map(|window| Block {
        norm: Norm::RmsOffset,
        layout,
        ..pre_norm(Grouped { window, ..attention }, mlp)
    });
    let mut decoder = sizes.decoder(gather(blocks));
    decoder.final_norm = Norm::RmsOffset;
    decoder.scaled_embedding = true;
    Ok(decoder)
}

/// Soft caps, on where the family has them unless the file says null or 0.
fn cap(fields: &Fields<'_>, decoder: &mut Decoder, family: bool) -> Result<()> {
    let on = |name: &str| fields.positive_or(&[name], family && !fields.mentions(name));
    decoder.logit_softcap = on("final_logit_softcapping")?;
    let scores = on("attn_logit_softcapping")?;
    for run in &mut decoder.blocks {
        if let crate::workload::Attention::Grouped(grouped) = &mut run.block.attention {
            grouped.softcap = scores;
        }
    }
    Ok(())
}
