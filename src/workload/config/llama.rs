//! Llama and the families that differ from it by a bias, a norm or a window: Mistral, Qwen 2, Qwen 3.

use super::fields::Fields;
use super::parts::{Family, Sizes, activation, gated, gather, pre_norm, uniform, windows};
use crate::error::Result;
use crate::workload::{Activation, Block, Decoder, Grouped, Layout, Mlp, QkNorm};

const LLAMA: Family = Family { hidden: 4096, layers: 32, heads: 32, kv_heads: None, head_dim: None, ffn: 11008, vocab: 32000, tied: false };
const MISTRAL: Family = Family { kv_heads: Some(8), ffn: 14336, ..LLAMA };
const QWEN2: Family = Family { kv_heads: Some(32), ffn: 22016, vocab: 151_936, ..LLAMA };
const QWEN2_VL: Family = Family { hidden: 8192, layers: 80, heads: 64, kv_heads: Some(8), ffn: 29568, vocab: 152_064, ..LLAMA };
const OLMO2: Family = Family { vocab: 50304, ..LLAMA };
const QWEN3: Family = Family { head_dim: Some(128), ..QWEN2 };

/// `llama`.
pub(super) fn llama(fields: &Fields<'_>) -> Result<Decoder> {
    let sizes = Sizes::read(fields, &LLAMA)?;
    let mut attention = sizes.attention();
    // One field for all four products.
    attention.qkv_bias = fields.flag_or(&["attention_bias"], false)?;
    attention.output_bias = attention.qkv_bias;
    let mut mlp = gated(fields.size(&["intermediate_size"], LLAMA.ffn)?, activation(fields, &["hidden_act"], Activation::Silu)?);
    mlp.bias = fields.flag_or(&["mlp_bias"], false)?;
    Ok(sizes.decoder(uniform(sizes.layers, pre_norm(attention, Mlp::Dense(mlp)))))
}

/// `mistral`: a window over every layer, unless `sliding_window` is null.
pub(super) fn mistral(fields: &Fields<'_>) -> Result<Decoder> {
    let sizes = Sizes::read(fields, &MISTRAL)?;
    let mut attention = sizes.attention();
    let family = (!fields.mentions("sliding_window")).then_some(4096);
    attention.window = fields.given(&["sliding_window"])?.or(family);
    let mlp = gated(fields.size(&["intermediate_size"], MISTRAL.ffn)?, activation(fields, &["hidden_act"], Activation::Silu)?);
    Ok(sizes.decoder(uniform(sizes.layers, pre_norm(attention, Mlp::Dense(mlp)))))
}

/// `qwen2`: biases on queries, keys and values.
pub(super) fn qwen2(fields: &Fields<'_>) -> Result<Decoder> {
    let sizes = Sizes::read(fields, &QWEN2)?;
    let mut attention = sizes.attention();
    attention.qkv_bias = true;
    dense_qwen(fields, &sizes, QWEN2.ffn, attention)
}

/// `qwen3`: norms on queries and keys instead of biases.
pub(super) fn qwen3(fields: &Fields<'_>) -> Result<Decoder> {
    let sizes = Sizes::read(fields, &QWEN3)?;
    let mut attention = sizes.attention();
    attention.qkv_bias = fields.flag_or(&["attention_bias"], false)?;
    attention.output_bias = attention.qkv_bias;
    attention.qk_norm = QkNorm::Head;
    dense_qwen(fields, &sizes, QWEN2.ffn, attention)
}

fn dense_qwen(fields: &Fields<'_>, sizes: &Sizes, ffn: u64, attention: Grouped) -> Result<Decoder> {
    let mlp = gated(fields.size(&["intermediate_size"], ffn)?, activation(fields, &["hidden_act"], Activation::Silu)?);
    let windows = qwen_windows(fields, sizes.layers)?;
    let block = |window| pre_norm(Grouped { window, ..attention }, Mlp::Dense(mlp));
    Ok(sizes.decoder(gather(windows.into_iter().map(block))))
}

/// Qwen's windows: none unless `use_sliding_window`, and then only from layer `max_window_layers` on.
pub(super) fn qwen_windows(fields: &Fields<'_>, layers: u64) -> Result<Vec<Option<u64>>> {
    let used = fields.flag_or(&["use_sliding_window"], false)?;
    let size = fields.size_or(&["sliding_window"], 4096)?;
    let first = fields.count_or(&["max_window_layers"], 28)?;
    windows(fields, layers, used.then_some(size), |layer| layer >= first)
}

/// `olmo2`: norms after attention and MLP instead of before, and over all queries and all keys.
pub(super) fn olmo2(fields: &Fields<'_>) -> Result<Decoder> {
    let sizes = Sizes::read(fields, &OLMO2)?;
    let mut attention = sizes.attention();
    attention.qkv_bias = fields.flag_or(&["attention_bias"], false)?;
    attention.output_bias = attention.qkv_bias;
    attention.qk_norm = QkNorm::Full;
    let mlp = gated(fields.size(&["intermediate_size"], OLMO2.ffn)?, activation(fields, &["hidden_act"], Activation::Silu)?);
    let block = Block { layout: Layout::Post, ..pre_norm(attention, Mlp::Dense(mlp)) };
    Ok(sizes.decoder(uniform(sizes.layers, block)))
}

/// The decoder of `qwen2_vl` and `qwen2_5_vl`: Qwen 2 with other sizes by default.
pub(super) fn qwen2_vl(fields: &Fields<'_>) -> Result<Decoder> {
    let sizes = Sizes::read(fields, &QWEN2_VL)?;
    let mut attention = sizes.attention();
    attention.qkv_bias = true;
    dense_qwen(fields, &sizes, QWEN2_VL.ffn, attention)
}
