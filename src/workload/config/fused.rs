//! Families like Llama whose weights join several products in one: Phi 3, InternLM 2, the first Qwen.

use super::fields::Fields;
use super::parts::{Family, Sizes, activation, gated, pre_norm, uniform};
use crate::error::Result;
use crate::workload::{Activation, Decoder, Mlp};

const PHI3: Family = Family { hidden: 3072, layers: 32, heads: 32, kv_heads: None, head_dim: None, ffn: 8192, vocab: 32064, tied: false };
const INTERNLM2: Family = Family { hidden: 4096, ffn: 11008, vocab: 103_168, ..PHI3 };
const QWEN: Family = Family { hidden: 4096, ffn: 22016, vocab: 151_936, ..PHI3 };

/// `phi3`: queries, keys and values in one product, gate and up in another.
pub(super) fn phi3(fields: &Fields<'_>) -> Result<Decoder> {
    let sizes = Sizes::read(fields, &PHI3)?;
    let mut attention = sizes.attention();
    attention.fused = true;
    attention.window = fields.given(&["sliding_window"])?;
    let mut mlp = gated(fields.size(&["intermediate_size"], PHI3.ffn)?, activation(fields, &["hidden_act"], Activation::Silu)?);
    mlp.fused = true;
    Ok(sizes.decoder(uniform(sizes.layers, pre_norm(attention, Mlp::Dense(mlp)))))
}

/// `internlm2`: queries, keys and values in one product; `bias` is for attention only.
pub(super) fn internlm2(fields: &Fields<'_>) -> Result<Decoder> {
    let sizes = Sizes::read(fields, &INTERNLM2)?;
    let mut attention = sizes.attention();
    attention.fused = true;
    attention.qkv_bias = fields.flag_or(&["bias"], true)?;
    attention.output_bias = attention.qkv_bias;
    let mlp = gated(fields.size(&["intermediate_size"], INTERNLM2.ffn)?, activation(fields, &["hidden_act"], Activation::Silu)?);
    Ok(sizes.decoder(uniform(sizes.layers, pre_norm(attention, Mlp::Dense(mlp)))))
}

/// `qwen`: one biased product for queries, keys and values; `intermediate_size` counts gate and up together.
pub(super) fn qwen(fields: &Fields<'_>) -> Result<Decoder> {
    let mut sizes = Sizes::read(fields, &QWEN)?;
    sizes.head_dim = fields.size_or(&["kv_channels"], sizes.head_dim)?;
    let mut attention = sizes.attention();
    attention.fused = true;
    attention.qkv_bias = true;
    let both = fields.size(&["intermediate_size"], QWEN.ffn)?;
    if both % 2 != 0 {
        return Err(fields.unlike("intermediate_size", "an even number, gate and up together,", both));
    }
    let mut mlp = gated(both / 2, Activation::Silu);
    mlp.bias = !fields.flag_or(&["no_bias"], true)?;
    attention.output_bias = mlp.bias;
    Ok(sizes.decoder(uniform(sizes.layers, pre_norm(attention, Mlp::Dense(mlp)))))
}
