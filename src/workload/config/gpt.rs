//! Families in the line of GPT-2: layer norms, plain MLPs, biases, fused queries, keys and values.

use super::fields::{Fields, LARGEST};
use super::parts::{activation, split, uniform};
use crate::error::Result;
use crate::workload::{Activation, Attention, Block, Decoder, Dense, Grouped, Layout, Mlp, Norm, Positions, QkNorm};

/// The parts in which these families differ.
struct Parts {
    hidden: u64,
    layers: u64,
    heads: u64,
    kv_heads: u64,
    ffn: u64,
    vocab: u64,
    tied: bool,
    attention_bias: bool,
    mlp_bias: bool,
    fused: bool,
    activation: Activation,
    norm: Norm,
    layout: Layout,
    positions: Positions,
}

impl Parts {
    fn decoder(self, fields: &Fields<'_>) -> Result<Decoder> {
        let attention = Attention::Grouped(Grouped {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: split(fields, self.hidden, self.heads)?,
            fused: self.fused,
            qkv_bias: self.attention_bias,
            output_bias: self.attention_bias,
            qk_norm: QkNorm::None,
            window: None,
            softcap: false,
        });
        let mlp = Mlp::Dense(Dense { ffn: self.ffn, gated: false, fused: false, bias: self.mlp_bias, activation: self.activation });
        let block = Block { attention, mlp, norm: self.norm, layout: self.layout, layer_scale: false };
        Ok(Decoder {
            hidden: self.hidden,
            vocab: self.vocab,
            tied: self.tied,
            positions: self.positions,
            final_norm: self.norm,
            head_bias: false,
            logit_softcap: false,
            scaled_embedding: false,
            blocks: uniform(self.layers, block),
            unused_parameters: 0,
        })
    }
}

/// `gpt2`.
pub(super) fn gpt2(fields: &Fields<'_>) -> Result<Decoder> {
    let hidden = fields.size(&["n_embd", "hidden_size"], 768)?;
    let heads = fields.size(&["n_head", "num_attention_heads"], 12)?;
    Parts {
        hidden,
        layers: fields.layers(&["n_layer", "num_hidden_layers"], 12)?,
        heads,
        kv_heads: heads,
        ffn: fields.size_or(&["n_inner"], 4 * hidden)?,
        vocab: fields.size(&["vocab_size"], 50257)?,
        tied: fields.flag_or(&["tie_word_embeddings"], true)?,
        attention_bias: true,
        mlp_bias: true,
        fused: true,
        activation: activation(fields, &["activation_function"], Activation::GeluElementary)?,
        norm: Norm::Layer,
        layout: Layout::Pre,
        positions: Positions::Learned(fields.size_or(&["n_positions", "max_position_embeddings", "n_ctx"], 1024)?),
    }
    .decoder(fields)
}

/// `gpt_neox`: attention and MLP side by side, each with its norm.
pub(super) fn gpt_neox(fields: &Fields<'_>) -> Result<Decoder> {
    let heads = fields.size(&["num_attention_heads"], 64)?;
    let parallel = fields.flag_or(&["use_parallel_residual"], true)?;
    Parts {
        hidden: fields.size(&["hidden_size"], 6144)?,
        layers: fields.layers(&["num_hidden_layers"], 44)?,
        heads,
        kv_heads: heads,
        ffn: fields.size(&["intermediate_size"], 24576)?,
        vocab: fields.size(&["vocab_size"], 50432)?,
        tied: fields.flag_or(&["tie_word_embeddings"], false)?,
        attention_bias: fields.flag_or(&["attention_bias"], true)?,
        mlp_bias: true,
        fused: true,
        activation: activation(fields, &["hidden_act"], Activation::Gelu)?,
        norm: Norm::Layer,
        layout: if parallel { Layout::Parallel { norms: 2 } } else { Layout::Pre },
        positions: Positions::Rotary,
    }
    .decoder(fields)
}

/// `mpt`, as Hugging Face and as llm-foundry write it.
pub(super) fn mpt(fields: &Fields<'_>) -> Result<Decoder> {
    let hidden = fields.size(&["d_model", "hidden_size"], 2048)?;
    let heads = fields.size(&["n_heads", "num_attention_heads"], 16)?;
    let ratio = fields.ratio_or(&["expansion_ratio"], 4.0)?;
    let ffn = hidden as f64 * ratio;
    if ffn.fract() != 0.0 || !(1.0..=LARGEST as f64).contains(&ffn) {
        return Err(fields.unlike("expansion_ratio", "such that the MLP has a whole width", ratio));
    }
    // Everything about attention is in an object of its own, which may be absent.
    let attention = fields.maybe_nested(&["attn_config"])?;
    let (mut kv_heads, mut alibi, mut rope) = (heads, true, false);
    if let Some(attention) = &attention {
        let kind = attention.text(&["attn_type"])?;
        let family = if kind == Some("multiquery_attention") { 1 } else { heads };
        kv_heads = attention.size_or(&["kv_n_heads"], family)?;
        alibi = attention.flag_or(&["alibi"], true)?;
        rope = attention.flag_or(&["rope"], false)?;
        if attention.flag_or(&["qk_ln"], false)? {
            return Err(attention.unlike("qk_ln", "false: norms on queries and keys of this family are not supported", true));
        }
    }
    let learned = fields.flag_or(&["learned_pos_emb"], true)?;
    let rows = fields.size_or(&["max_seq_len"], 2048)?;
    let positions = match (alibi, rope || !learned) {
        (true, _) => Positions::Alibi,
        (false, true) => Positions::Rotary,
        (false, false) => Positions::Learned(rows),
    };
    let bias = !fields.flag_or(&["no_bias"], true)?;
    Parts {
        hidden,
        layers: fields.layers(&["n_layers", "num_hidden_layers"], 24)?,
        heads,
        kv_heads,
        ffn: ffn as u64,
        vocab: fields.size(&["vocab_size"], 50368)?,
        tied: fields.flag_or(&["tie_word_embeddings"], true)?,
        attention_bias: bias,
        mlp_bias: bias,
        fused: true,
        activation: Activation::Gelu,
        norm: if bias { Norm::Layer } else { Norm::LayerNoBias },
        layout: Layout::Pre,
        positions,
    }
    .decoder(fields)
}

/// `falcon`, first style (one key-value head, one norm) and new (`new_decoder_architecture`: groups, two norms).
pub(super) fn falcon(fields: &Fields<'_>) -> Result<Decoder> {
    let hidden = fields.size(&["hidden_size", "n_embed"], 4544)?;
    let heads = fields.size(&["num_attention_heads", "n_head"], 71)?;
    let new = fields.flag_or(&["new_decoder_architecture"], false)?;
    let one = fields.flag_or(&["multi_query"], true)?;
    let kv_heads = match (new, one) {
        (true, _) => fields.size_or(&["num_kv_heads", "n_head_kv"], heads)?,
        (false, true) => 1,
        (false, false) => heads,
    };
    let bias = fields.flag_or(&["bias"], false)?;
    let norms = fields.size_or(&["num_ln_in_parallel_attn"], if new { 2 } else { 1 })?;
    let parallel = new || fields.flag_or(&["parallel_attn"], true)?;
    Parts {
        hidden,
        layers: fields.layers(&["num_hidden_layers", "n_layer"], 32)?,
        heads,
        kv_heads,
        ffn: fields.size_or(&["ffn_hidden_size"], 4 * hidden)?,
        vocab: fields.size(&["vocab_size"], 65024)?,
        tied: fields.flag_or(&["tie_word_embeddings"], true)?,
        attention_bias: bias,
        mlp_bias: bias,
        fused: true,
        activation: activation(fields, &["activation"], Activation::Gelu)?,
        norm: Norm::Layer,
        layout: if parallel { Layout::Parallel { norms } } else { Layout::Pre },
        positions: if fields.flag_or(&["alibi"], false)? { Positions::Alibi } else { Positions::Rotary },
    }
    .decoder(fields)
}

/// `phi` (1.5 and 2): side by side on one norm, and a head with a bias.
pub(super) fn phi(fields: &Fields<'_>) -> Result<Decoder> {
    let heads = fields.size(&["num_attention_heads"], 32)?;
    if fields.flag_or(&["qk_layernorm"], false)? {
        return Err(fields.unlike("qk_layernorm", "false: norms on queries and keys of this family are not supported", true));
    }
    let parts = Parts {
        hidden: fields.size(&["hidden_size"], 2048)?,
        layers: fields.layers(&["num_hidden_layers"], 24)?,
        heads,
        kv_heads: fields.size_or(&["num_key_value_heads"], heads)?,
        ffn: fields.size(&["intermediate_size"], 8192)?,
        vocab: fields.size(&["vocab_size"], 51200)?,
        tied: fields.flag_or(&["tie_word_embeddings"], false)?,
        attention_bias: true,
        mlp_bias: true,
        fused: false,
        activation: activation(fields, &["hidden_act"], Activation::GeluElementary)?,
        norm: Norm::Layer,
        layout: Layout::Parallel { norms: 1 },
        positions: Positions::Rotary,
    };
    let mut decoder = parts.decoder(fields)?;
    decoder.head_bias = true;
    Ok(decoder)
}
