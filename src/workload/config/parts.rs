//! What families share: reading heads and widths, and gathering layers into runs.

use super::fields::Fields;
use crate::error::Result;
use crate::workload::{Activation, Attention, Block, Blocks, Decoder, Dense, Grouped, Layout, Mlp, Norm, Positions, QkNorm};

/// Sizes that a family has where its configuration says nothing.
pub(super) struct Family {
    pub(super) hidden: u64,
    pub(super) layers: u64,
    pub(super) heads: u64,
    /// `None`: as many as heads.
    pub(super) kv_heads: Option<u64>,
    /// `None`: the hidden size over the heads.
    pub(super) head_dim: Option<u64>,
    pub(super) ffn: u64,
    pub(super) vocab: u64,
    pub(super) tied: bool,
}

/// The sizes of a decoder whose configuration uses the usual names.
pub(super) struct Sizes {
    pub(super) hidden: u64,
    pub(super) layers: u64,
    pub(super) heads: u64,
    pub(super) kv_heads: u64,
    pub(super) head_dim: u64,
    pub(super) vocab: u64,
    pub(super) tied: bool,
}

impl Sizes {
    /// Under the usual names.
    pub(super) fn read(fields: &Fields<'_>, family: &Family) -> Result<Self> {
        let heads = fields.size(&["num_attention_heads"], family.heads)?;
        let kv_heads = fields.size_or(&["num_key_value_heads"], family.kv_heads.unwrap_or(heads))?;
        Self::with_heads(fields, family, heads, kv_heads)
    }

    /// The same where the heads are called otherwise.
    pub(super) fn with_heads(fields: &Fields<'_>, family: &Family, heads: u64, kv_heads: u64) -> Result<Self> {
        let hidden = fields.size(&["hidden_size"], family.hidden)?;
        let head_dim = match (fields.given(&["head_dim"])?, family.head_dim) {
            (Some(given), _) => given,
            (None, Some(family)) => family,
            (None, None) => split(fields, hidden, heads)?,
        };
        if !heads.is_multiple_of(kv_heads) {
            return Err(
                fields.wrong(format!("expected `num_key_value_heads` to divide the {heads} of `num_attention_heads` but found {kv_heads}"))
            );
        }
        Ok(Self {
            hidden,
            layers: fields.layers(&["num_hidden_layers"], family.layers)?,
            heads,
            kv_heads,
            head_dim,
            vocab: fields.size(&["vocab_size"], family.vocab)?,
            tied: fields.flag_or(&["tie_word_embeddings"], family.tied)?,
        })
    }

    /// Attention without biases, norms or window.
    pub(super) const fn attention(&self) -> Grouped {
        Grouped {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            fused: false,
            qkv_bias: false,
            output_bias: false,
            qk_norm: QkNorm::None,
            window: None,
            softcap: false,
        }
    }

    /// A decoder with rotary positions and RMS norms of these layers.
    pub(super) const fn decoder(&self, blocks: Vec<Blocks>) -> Decoder {
        Decoder {
            hidden: self.hidden,
            vocab: self.vocab,
            tied: self.tied,
            positions: Positions::Rotary,
            final_norm: Norm::Rms,
            head_bias: false,
            logit_softcap: false,
            scaled_embedding: false,
            blocks,
            unused_parameters: 0,
        }
    }
}

/// Features of a head where only the width of all of them is known.
pub(super) fn split(fields: &Fields<'_>, hidden: u64, heads: u64) -> Result<u64> {
    if hidden.is_multiple_of(heads) {
        Ok(hidden / heads)
    } else {
        Err(fields.wrong(format!("expected the hidden size to be a multiple of the {heads} heads but found {hidden}; give `head_dim`")))
    }
}

/// A gated MLP without biases.
pub(super) const fn gated(ffn: u64, activation: Activation) -> Dense {
    Dense { ffn, gated: true, fused: false, bias: false, activation }
}

/// A layer with a norm before attention and one before the MLP.
pub(super) const fn pre_norm(attention: Grouped, mlp: Mlp) -> Block {
    Block { attention: Attention::Grouped(attention), mlp, norm: Norm::Rms, layout: Layout::Pre, layer_scale: false }
}

/// The function of an MLP by the name these files give it.
pub(super) fn activation(fields: &Fields<'_>, names: &[&str], family: Activation) -> Result<Activation> {
    match fields.text(names)? {
        None => Ok(family),
        Some("silu" | "swish") => Ok(Activation::Silu),
        Some("gelu" | "gelu_pytorch_tanh" | "gelu_python" | "gelu_pytorch") => Ok(Activation::Gelu),
        Some("gelu_new" | "gelu_fast") => Ok(Activation::GeluElementary),
        Some("quick_gelu") => Ok(Activation::QuickGelu),
        Some("relu" | "tanh" | "relu6" | "leaky_relu" | "elu" | "mish") => Ok(Activation::Relu),
        Some(other) => Err(fields.unlike(names.first().unwrap_or(&""), "an activation such as silu or gelu", format!("{other:?}"))),
    }
}

/// `layers` equal layers.
pub(super) fn uniform(layers: u64, block: Block) -> Vec<Blocks> {
    vec![Blocks { count: layers, block }]
}

/// Layers that differ, gathered into one run per kind, kinds in order of their first layer.
pub(super) fn gather(blocks: impl IntoIterator<Item = Block>) -> Vec<Blocks> {
    let mut runs: Vec<Blocks> = Vec::new();
    for block in blocks {
        match runs.iter_mut().find(|run| run.block == block) {
            Some(run) => run.count += 1,
            None => runs.push(Blocks { count: 1, block }),
        }
    }
    runs
}

/// The window of every layer: what `layer_types` says, else `sliding(layer)` says which layers have the `window`.
pub(super) fn windows(fields: &Fields<'_>, layers: u64, window: Option<u64>, sliding: impl Fn(u64) -> bool) -> Result<Vec<Option<u64>>> {
    if let Some(kinds) = fields.kinds("layer_types", layers)? {
        let one = |kind: &&str| match *kind {
            "full_attention" => Ok(None),
            "sliding_attention" => match window {
                Some(window) => Ok(Some(window)),
                None => Err(fields.wrong("`layer_types` names sliding layers but `sliding_window` is missing")),
            },
            other => Err(fields.unlike("layer_types", "a list of full_attention and sliding_attention", format!("{other:?}"))),
        };
        return kinds.iter().map(one).collect();
    }
    Ok((0..layers).map(|layer| window.filter(|_| sliding(layer))).collect())
}
