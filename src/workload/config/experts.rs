//! Mixtures of experts with ordinary attention: Mixtral, Qwen 2 MoE, Qwen 3 MoE.

use super::fields::Fields;
use super::llama::qwen_windows;
use super::parts::{Family, Sizes, activation, gated, gather, pre_norm, uniform};
use crate::error::Result;
use crate::workload::{Activation, Decoder, Experts, Grouped, Mlp, QkNorm};

const MIXTRAL: Family =
    Family { hidden: 4096, layers: 32, heads: 32, kv_heads: Some(8), head_dim: None, ffn: 14336, vocab: 32000, tied: false };
const QWEN2_MOE: Family =
    Family { hidden: 2048, layers: 24, heads: 16, kv_heads: Some(16), head_dim: None, ffn: 5632, vocab: 151_936, tied: false };
const QWEN3_MOE: Family = Family { heads: 32, kv_heads: Some(4), ffn: 6144, ..QWEN2_MOE };

/// How many experts there are and how many a token passes through.
pub(super) fn choice(fields: &Fields<'_>, all: &[&str], experts: u64, active: u64) -> Result<(u64, u64)> {
    let count = fields.size_or(all, experts)?;
    let active = fields.size_or(&["num_experts_per_tok", "num_experts_per_token"], active)?;
    if active > count {
        return Err(fields.unlike("num_experts_per_tok", &format!("at most the {count} experts"), active));
    }
    Ok((count, active))
}

/// `mixtral`: every layer's MLP is one of experts.
pub(super) fn mixtral(fields: &Fields<'_>) -> Result<Decoder> {
    let sizes = Sizes::read(fields, &MIXTRAL)?;
    let mut attention = sizes.attention();
    attention.window = fields.given(&["sliding_window"])?;
    let function = activation(fields, &["hidden_act"], Activation::Silu)?;
    let (count, active) = choice(fields, &["num_local_experts", "num_experts"], 8, 2)?;
    let experts = Experts {
        count,
        active,
        each: gated(fields.size(&["intermediate_size"], MIXTRAL.ffn)?, function),
        shared: None,
        shared_gate: false,
        router_bias: false,
    };
    Ok(sizes.decoder(uniform(sizes.layers, pre_norm(attention, Mlp::Experts(experts)))))
}

/// `qwen2_moe`: experts beside one shared by all tokens, behind a gate.
pub(super) fn qwen2_moe(fields: &Fields<'_>) -> Result<Decoder> {
    let sizes = Sizes::read(fields, &QWEN2_MOE)?;
    let mut attention = sizes.attention();
    attention.qkv_bias = fields.flag_or(&["qkv_bias"], true)?;
    let function = activation(fields, &["hidden_act"], Activation::Silu)?;
    let (count, active) = choice(fields, &["num_experts", "num_local_experts"], 60, 4)?;
    let experts = Experts {
        count,
        active,
        each: gated(fields.size_or(&["moe_intermediate_size"], 1408)?, function),
        shared: Some(gated(fields.size_or(&["shared_expert_intermediate_size"], 5632)?, function)),
        shared_gate: true,
        router_bias: false,
    };
    qwen(fields, &sizes, &QWEN2_MOE, attention, experts)
}

/// `qwen3_moe`: experts only, norms on queries and keys.
pub(super) fn qwen3_moe(fields: &Fields<'_>) -> Result<Decoder> {
    let sizes = Sizes::read(fields, &QWEN3_MOE)?;
    let mut attention = sizes.attention();
    attention.qkv_bias = fields.flag_or(&["attention_bias"], false)?;
    attention.output_bias = attention.qkv_bias;
    attention.qk_norm = QkNorm::Head;
    let (count, active) = choice(fields, &["num_experts", "num_local_experts"], 128, 8)?;
    let function = activation(fields, &["hidden_act"], Activation::Silu)?;
    let each = gated(fields.size_or(&["moe_intermediate_size"], 768)?, function);
    let experts = Experts { count, active, each, shared: None, shared_gate: false, router_bias: false };
    qwen(fields, &sizes, &QWEN3_MOE, attention, experts)
}

/// Layers with experts every `decoder_sparse_step`, dense ones between and where `mlp_only_layers` says so.
fn qwen(fields: &Fields<'_>, sizes: &Sizes, family: &Family, attention: Grouped, experts: Experts) -> Result<Decoder> {
    let step = fields.size_or(&["decoder_sparse_step"], 1)?;
    let dense_at =
        fields.marked("mlp_only_layers", sizes.layers)?.unwrap_or_else(|| vec![false; usize::try_from(sizes.layers).unwrap_or(0)]);
    let any_dense = step > 1 || dense_at.contains(&true);
    // A file whose layers are all of experts may leave the dense width out.
    let ffn = if any_dense { fields.size(&["intermediate_size"], family.ffn)? } else { family.ffn };
    let dense = gated(ffn, experts.each.activation);
    let windows = qwen_windows(fields, sizes.layers)?;
    let blocks = windows.into_iter().zip(dense_at).zip(1..).map(|((window, only_dense), number)| {
        let sparse = !only_dense && u64::is_multiple_of(number, step);
        pre_norm(Grouped { window, ..attention }, if sparse { Mlp::Experts(experts) } else { Mlp::Dense(dense) })
    });
    Ok(sizes.decoder(gather(blocks)))
}
