//! DeepSeek V2 and V3: keys and values through a latent, many small experts, some shared.

use super::experts::choice;
use super::fields::Fields;
use super::parts::{activation, gated, gather};
use crate::error::Result;
use crate::workload::{Activation, Attention, Block, Blocks, Decoder, Experts, Latent, Layout, Mlp, Model, Norm, Positions};

/// What the two generations have where a file says nothing.
struct Family {
    hidden: u64,
    layers: u64,
    heads: u64,
    vocab: u64,
    ffn: u64,
    experts: u64,
    shared: u64,
    active: u64,
    expert_ffn: u64,
    dense: u64,
    /// One correction per expert in the router.
    router_bias: bool,
}

const V2: Family = Family {
    hidden: 4096,
    layers: 32,
    heads: 32,
    vocab: 32000,
    ffn: 11008,
    experts: 64,
    shared: 2,
    active: 6,
    expert_ffn: 1407,
    dense: 0,
    router_bias: false,
};
const V3: Family = Family {
    hidden: 7168,
    layers: 61,
    heads: 128,
    vocab: 129_280,
    ffn: 18432,
    experts: 256,
    shared: 1,
    active: 8,
    expert_ffn: 2048,
    dense: 3,
    router_bias: true,
};

/// `deepseek_v2`.
pub(super) fn v2(fields: &Fields<'_>) -> Result<Decoder> {
    build(fields, &V2)
}

/// `deepseek_v3`, and R1, which is one.
pub(super) fn v3(fields: &Fields<'_>) -> Result<Decoder> {
    build(fields, &V3)
}

fn build(fields: &Fields<'_>, family: &Family) -> Result<Decoder> {
    let hidden = fields.size(&["hidden_size"], family.hidden)?;
    let layers = fields.layers(&["num_hidden_layers"], family.layers)?;
    let vocab = fields.size(&["vocab_size"], family.vocab)?;
    // Absent means the family's rank, null means queries without a latent (V2 Lite).
    let q_rank = if fields.mentions("q_lora_rank") { fields.given(&["q_lora_rank"])? } else { Some(1536) };
    let attention = Attention::Latent(Latent {
        heads: fields.size(&["num_attention_heads"], family.heads)?,
        q_rank,
        kv_rank: fields.size_or(&["kv_lora_rank"], 512)?,
        nope: fields.size_or(&["qk_nope_head_dim"], 128)?,
        rope: fields.size_or(&["qk_rope_head_dim"], 64)?,
        value: fields.size_or(&["v_head_dim"], 128)?,
    });
    if fields.flag_or(&["attention_bias"], false)? {
        return Err(fields.unlike("attention_bias", "false, as in every DeepSeek model,", true));
    }
    let function = activation(fields, &["hidden_act"], Activation::Silu)?;
    let (count, active) = choice(fields, &["n_routed_experts", "num_experts", "num_local_experts"], family.experts, family.active)?;
    let expert_ffn = fields.size_or(&["moe_intermediate_size"], family.expert_ffn)?;
    let shared = fields.count_or(&["n_shared_experts"], family.shared)?;
    // The shared experts are one MLP of their common width.
    let shared_ffn = shared.checked_mul(expert_ffn).filter(|ffn| *ffn <= super::fields::LARGEST);
    let shared_ffn = shared_ffn.ok_or_else(|| fields.unlike("n_shared_experts", "a small number", shared))?;
    let experts = Mlp::Experts(Experts {
        count,
        active,
        each: gated(expert_ffn, function),
        shared: (shared > 0).then(|| gated(shared_ffn, function)),
        shared_gate: false,
        router_bias: family.router_bias,
    });
    let first = fields.count_or(&["first_k_dense_replace"], family.dense)?;
    let step = fields.size_or(&["moe_layer_freq"], 1)?;
    let any_dense = first > 0 || step > 1;
    let ffn = if any_dense { fields.size(&["intermediate_size"], family.ffn)? } else { family.ffn };
    let dense = Mlp::Dense(gated(ffn, function));
    let block = |mlp| Block { attention, mlp, norm: Norm::Rms, layout: Layout::Pre, layer_scale: false };
    let blocks = gather((0..layers).map(|layer| block(if layer >= first && layer.is_multiple_of(step) { experts } else { dense })));
    let mut decoder = Decoder {
        hidden,
        vocab,
        tied: fields.flag_or(&["tie_word_embeddings"], false)?,
        positions: Positions::Rotary,
        final_norm: Norm::Rms,
        head_bias: false,
        logit_softcap: false,
        scaled_embedding: false,
        blocks,
        unused_parameters: 0,
    };
    // A multi-token-prediction module: two norms, a product that joins two streams, a layer, a norm, and its own copy of both tables. Its
    // size is computed once the shape is known to be within bounds.
    let modules = fields.count_or(&["num_nextn_predict_layers"], 0)?;
    if modules > 0 {
        if modules > 64 {
            return Err(fields.unlike("num_nextn_predict_layers", "at most 64", modules));
        }
        let blocks = vec![Blocks { count: modules, block: block(experts) }];
        let name = fields.model().to_owned();
        let bounded = Model { name, architecture: String::new(), text: Decoder { blocks, ..decoder.clone() }, vision: None }.check()?;
        let tables = bounded.text.embedding_parameters() + bounded.text.vocab * hidden;
        decoder.unused_parameters = bounded.text.block_parameters() + modules * (3 * hidden + 2 * hidden * hidden + tables);
    }
    Ok(decoder)
}
