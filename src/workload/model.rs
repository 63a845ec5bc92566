//! The shape of a model.

use super::linear::{Linear, Role};
use crate::error::{Error, Result};

/// A model: a text decoder and, for vision models, the tower before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// As the catalog or its file calls it.
    pub name: String,
    /// The family, as `model_type` in its configuration says: `llama`, `qwen2_vl`.
    pub architecture: String,
    /// The decoder.
    pub text: Decoder,
    /// The vision tower with its projector.
    pub vision: Option<Vision>,
}

/// A decoder-only transformer.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoder {
    /// Width of the residual stream.
    pub hidden: u64,
    /// Rows of the embedding table, padding included.
    pub vocab: u64,
    /// Whether the output head is the embedding table itself.
    pub tied: bool,
    /// How positions enter.
    pub positions: Positions,
    /// The norm after the last layer.
    pub final_norm: Norm,
    /// Whether logits pass through a soft cap (`tanh`), which keeps another copy of them.
    pub logit_softcap: bool,
    /// Whether the embedding is multiplied by a constant, which keeps nothing but makes a copy.
    pub scaled_embedding: bool,
    /// The layers: runs of equal ones, in order. Interleaved kinds (sliding and full attention) may be gathered into one run per kind.
    pub blocks: Vec<Blocks>,
    /// Parameters in the checkpoint that neither training nor inference loads by default (a multi-token-prediction module).
    pub unused_parameters: u64,
}

/// How positions enter a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// Queries and keys are rotated; no parameters.
    Rotary,
    /// A bias on the scores that falls with distance; no parameters.
    Alibi,
    /// A table of so many rows.
    Learned(u64),
}

/// `count` equal layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Blocks {
    /// How many.
    pub count: u64,
    /// One of them.
    pub block: Block,
}

/// One transformer layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block {
    /// Mixing between tokens.
    pub attention: Attention,
    /// Mixing within a token.
    pub mlp: Mlp,
    /// The kind of its norms.
    pub norm: Norm,
    /// Where its norms stand.
    pub layout: Layout,
    /// Whether both branches are scaled by a learned vector before they are added (InternViT).
    pub layer_scale: bool,
}

/// A normalisation over the last dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// Root mean square: one weight per feature.
    Rms,
    /// Root mean square with `1 + w` in FP32 (Gemma): one weight per feature.
    RmsOffset,
    /// Mean and variance, with a bias: two weights per feature.
    Layer,
    /// Mean and variance without a bias: one weight per feature.
    LayerNoBias,
}

impl Norm {
    /// Parameters over `width` features.
    pub const fn parameters(self, width: u64) -> u64 {
        match self {
            Self::Layer => 2 * width,
            Self::Rms | Self::RmsOffset | Self::LayerNoBias => width,
        }
    }
}

/// Where the norms of a layer stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One before attention and one before the MLP.
    Pre,
    /// One before and one after each (Gemma 2 and 3).
    Sandwich,
    /// One after each (OLMo 2).
    Post,
    /// Attention and MLP side by side on one residual, with one norm they share or one each.
    Parallel {
        /// One or two.
        norms: u64,
    },
}

impl Layout {
    /// Norms over the residual's width in one layer.
    pub const fn norms(self) -> u64 {
        match self {
            Self::Pre | Self::Post => 2,
            Self::Sandwich => 4,
            Self::Parallel { norms } => norms,
        }
    }
}

/// Attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Attention {
    /// Heads with keys and values of their own or shared in groups (MHA, GQA, MQA).
    Grouped(Grouped),
    /// Keys and values through a latent (DeepSeek's MLA).
    Latent(Latent),
}

/// Multi-head attention with grouped keys and values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grouped {
    /// Query heads.
    pub heads: u64,
    /// Key and value heads; divides `heads`.
    pub kv_heads: u64,
    /// Features of one head.
    pub head_dim: u64,
    /// Whether queries, keys and values are one product.
    pub fused: bool,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether the output projection has a bias.
    pub output_bias: bool,
    /// Norms on queries and keys.
    pub qk_norm: QkNorm,
    /// Only the last so many positions are seen.
    pub window: Option<u64>,
    /// Whether scores pass through a soft cap, which flash kernels of old cannot do.
    pub softcap: bool,
}

/// Norms on queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// None.
    None,
    /// Over each head, with weights shared by all heads (Qwen 3, Gemma 3): `2·head_dim` parameters.
    Head,
    /// Over all heads together (OLMo 2, InternViT): `heads·head_dim + kv_heads·head_dim` parameters.
    Full,
}

/// Multi-head latent attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latent {
    /// Heads.
    pub heads: u64,
    /// Width of the queries' latent; `None` where queries are projected directly.
    pub q_rank: Option<u64>,
    /// Width of the latent of keys and values: what the cache holds, with `rope`.
    pub kv_rank: u64,
    /// Features of one head without position.
    pub nope: u64,
    /// Features of one head with position, shared by all heads for keys.
    pub rope: u64,
    /// Features of one head's values.
    pub value: u64,
}

/// The feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mlp {
    /// Every token passes through the same.
    Dense(Dense),
    /// Every token passes through some of many.
    Experts(Experts),
}

/// A feed-forward network of one hidden layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dense {
    /// Width inside.
    pub ffn: u64,
    /// Whether the way up is multiplied by a gate (three products instead of two).
    pub gated: bool,
    /// Whether gate and way up are one product.
    pub fused: bool,
    /// Whether the products have biases.
    pub bias: bool,
    /// The function between them.
    pub activation: Activation,
}

/// The function inside an MLP: what autograd keeps depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x·σ(x)`, one kernel.
    Silu,
    /// Exact or tanh GELU as one kernel.
    Gelu,
    /// The tanh GELU written out in elementary operations (GPT-2's `gelu_new`).
    GeluElementary,
    /// `max(x, 0)`, or another function that is one kernel.
    Relu,
    /// `x·σ(1.702·x)` in elementary operations (CLIP's `quick_gelu`).
    QuickGelu,
}

/// A mixture of experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Experts {
    /// Experts of a layer.
    pub count: u64,
    /// Experts that one token passes through.
    pub active: u64,
    /// One of them.
    pub each: Dense,
    /// An expert that every token passes through.
    pub shared: Option<Dense>,
    /// Whether the shared expert's output is gated by a product of its own with one output (Qwen 2 MoE).
    pub shared_gate: bool,
    /// Whether the router has one correction per expert (DeepSeek V3).
    pub router_bias: bool,
}

/// The vision part: a tower, what turns its patches into the decoder's tokens, and how many there are.
#[derive(Debug, Clone, PartialEq)]
pub struct Vision {
    /// The tower.
    pub tower: Tower,
    /// Products between tower and decoder, in order.
    pub projector: Vec<Linear>,
    /// Parameters of the projector's norms.
    pub projector_norms: u64,
}

/// A vision transformer.
#[derive(Debug, Clone, PartialEq)]
pub struct Tower {
    /// Width of its residual stream.
    pub hidden: u64,
    /// Its layers.
    pub blocks: Vec<Blocks>,
    /// Pixels along the side of a patch.
    pub patch: u64,
    /// Parameters of the patch embedding, class token, position table and the norms outside the layers.
    pub stem_parameters: u64,
}

impl Dense {
    /// Its matrix products, on a residual of `hidden`.
    pub fn linears(&self, hidden: u64) -> Vec<Linear> {
        let mut linears = Vec::with_capacity(3);
        if self.gated && self.fused {
            linears.push(Linear::new(Role::GateUp, hidden, 2 * self.ffn, self.bias));
        } else {
            if self.gated {
                linears.push(Linear::new(Role::Gate, hidden, self.ffn, self.bias));
            }
            linears.push(Linear::new(Role::Up, hidden, self.ffn, self.bias));
        }
        linears.push(Linear::new(Role::Down, self.ffn, hidden, self.bias));
        linears
    }
}

impl Mlp {
    /// Its matrix products, router included, on a residual of `hidden`.
    pub fn linears(&self, hidden: u64) -> Vec<Linear> {
        match self {
            Self::Dense(dense) => dense.linears(hidden),
            Self::Experts(experts) => {
                let mut linears = vec![Linear::new(Role::Router, hidden, experts.count, false)];
                linears.extend(experts.each.linears(hidden).into_iter().map(|linear| linear.experts(experts.count, experts.active)));
                if let Some(shared) = &experts.shared {
                    linears.extend(shared.linears(hidden));
                }
                if experts.shared_gate {
                    linears.push(Linear::new(Role::SharedGate, hidden, 1, false));
                }
                linears
            }
        }
    }

    /// Parameters that are in no product.
    const fn other_parameters(&self) -> u64 {
        match self {
            Self::Experts(experts) if experts.router_bias => experts.count,
            _ => 0,
        }
    }
}

impl Attention {
    /// Its matrix products, on a residual of `hidden`.
    pub fn linears(&self, hidden: u64) -> Vec<Linear> {
        match self {
            Self::Grouped(grouped) => {
                let (q, kv) = (grouped.heads * grouped.head_dim, grouped.kv_heads * grouped.head_dim);
                let mut linears = if grouped.fused {
                    vec![Linear::new(Role::QueryKeyValue, hidden, q + 2 * kv, grouped.qkv_bias)]
                } else {
                    vec![
                        Linear::new(Role::Query, hidden, q, grouped.qkv_bias),
                        Linear::new(Role::Key, hidden, kv, grouped.qkv_bias),
                        Linear::new(Role::Value, hidden, kv, grouped.qkv_bias),
                    ]
                };
                linears.push(Linear::new(Role::Output, q, hidden, grouped.output_bias));
                linears
            }
            Self::Latent(latent) => {
                let q = latent.heads * (latent.nope + latent.rope);
                let mut linears = match latent.q_rank {
                    Some(rank) => vec![Linear::new(Role::QueryDown, hidden, rank, false), Linear::new(Role::QueryUp, rank, q, false)],
                    None => vec![Linear::new(Role::Query, hidden, q, false)],
                };
                linears.extend([
                    Linear::new(Role::KvDown, hidden, latent.kv_rank + latent.rope, false),
                    Linear::new(Role::KvUp, latent.kv_rank, latent.heads * (latent.nope + latent.value), false),
                    Linear::new(Role::Output, latent.heads * latent.value, hidden, false),
                ]);
                linears
            }
        }
    }

    /// Parameters of the norms inside attention.
    pub const fn norm_parameters(&self) -> u64 {
        match self {
            Self::Grouped(grouped) => match grouped.qk_norm {
                QkNorm::None => 0,
                QkNorm::Head => 2 * grouped.head_dim,
                QkNorm::Full => (grouped.heads + grouped.kv_heads) * grouped.head_dim,
            },
            Self::Latent(latent) => {
                latent.kv_rank
                    + match latent.q_rank {
                        Some(rank) => rank,
                        None => 0,
                    }
            }
        }
    }

    /// Elements that the cache keeps of one token in one layer.
    pub const fn cached_elements(&self) -> u64 {
        match self {
            Self::Grouped(grouped) => 2 * grouped.kv_heads * grouped.head_dim,
            Self::Latent(latent) => latent.kv_rank + latent.rope,
        }
    }

    /// The last positions that are seen, where not all are.
    pub const fn window(&self) -> Option<u64> {
        match self {
            Self::Grouped(grouped) => grouped.window,
            Self::Latent(_) => None,
        }
    }

    /// Query heads.
    pub const fn heads(&self) -> u64 {
        match self {
            Self::Grouped(grouped) => grouped.heads,
            Self::Latent(latent) => latent.heads,
        }
    }
}

impl Block {
    /// All its matrix products, on a residual of `hidden`.
    pub fn linears(&self, hidden: u64) -> Vec<Linear> {
        let mut linears = self.attention.linears(hidden);
        linears.extend(self.mlp.linears(hidden));
        linears
    }

    /// Parameters that are in no product: norms, scales, corrections.
    pub const fn other_parameters(&self, hidden: u64) -> u64 {
        self.layout.norms() * self.norm.parameters(hidden)
            + self.attention.norm_parameters()
            + self.mlp.other_parameters()
            + if self.layer_scale { 2 * hidden } else { 0 }
    }

    /// All its parameters.
    pub fn parameters(&self, hidden: u64) -> u64 {
        self.linears(hidden).iter().map(Linear::parameters).sum::<u64>() + self.other_parameters(hidden)
    }

    /// Those that one token meets.
    pub fn active_parameters(&self, hidden: u64) -> u64 {
        self.linears(hidden).iter().map(Linear::active_parameters).sum::<u64>() + self.other_parameters(hidden)
    }
}

impl Decoder {
    /// Layers of all kinds.
    pub fn layers(&self) -> u64 {
        self.blocks.iter().map(|blocks| blocks.count).sum()
    }

    /// Elements of the embedding table and the table of positions.
    pub const fn embedding_parameters(&self) -> u64 {
        let positions = match self.positions {
            Positions::Learned(rows) => rows * self.hidden,
            Positions::Rotary | Positions::Alibi => 0,
        };
        self.vocab * self.hidden + positions
    }

    /// Elements of the output head; none of its own when it is tied.
    pub const fn head_parameters(&self) -> u64 {
        if self.tied { 0 } else { self.vocab * self.hidden }
    }

    /// Parameters of every layer together.
    pub fn block_parameters(&self) -> u64 {
        self.blocks.iter().map(|blocks| blocks.count * blocks.block.parameters(self.hidden)).sum()
    }

    /// All parameters that are loaded.
    pub fn parameters(&self) -> u64 {
        self.embedding_parameters() + self.head_parameters() + self.block_parameters() + self.final_norm.parameters(self.hidden)
    }

    /// Those that one token meets: `active` experts instead of all.
    pub fn active_parameters(&self) -> u64 {
        let blocks: u64 = self.blocks.iter().map(|blocks| blocks.count * blocks.block.active_parameters(self.hidden)).sum();
        self.embedding_parameters() + self.head_parameters() + blocks + self.final_norm.parameters(self.hidden)
    }

    /// Elements the cache keeps of one token over all layers, windows aside.
    pub fn cached_elements(&self) -> u64 {
        self.blocks.iter().map(|blocks| blocks.count * blocks.block.attention.cached_elements()).sum()
    }
}

impl Tower {
    /// All parameters.
    pub fn parameters(&self) -> u64 {
        self.stem_parameters + self.blocks.iter().map(|blocks| blocks.count * blocks.block.parameters(self.hidden)).sum::<u64>()
    }
}

impl Vision {
    /// Parameters of the tower and the projector.
    pub fn parameters(&self) -> u64 {
        self.tower.parameters() + self.projector_parameters()
    }

    /// Parameters between tower and decoder.
    pub fn projector_parameters(&self) -> u64 {
        self.projector.iter().map(Linear::parameters).sum::<u64>() + self.projector_norms
    }
}

impl Model {
    /// All parameters that are loaded.
    pub fn parameters(&self) -> u64 {
        self.text.parameters() + self.vision.as_ref().map_or(0, Vision::parameters)
    }

    /// Those that one token meets.
    pub fn active_parameters(&self) -> u64 {
        self.text.active_parameters() + self.vision.as_ref().map_or(0, Vision::parameters)
    }

    /// The same model, if no count of it can overflow.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the dimension that is zero, larger than any real model's, or at odds with another.
    pub fn check(self) -> Result<Self> {
        /// Larger than any dimension of any model; small enough for the products below.
        const LARGEST: u64 = 1 << 24;
        /// A thousand times the largest model known.
        const MOST_PARAMETERS: u128 = 1 << 50;
        let wrong = |what: String| Err(Error::usage(format!("model {}: {what}", self.name)));
        let towers = self.vision.iter().map(|vision| (vision.tower.hidden, &vision.tower.blocks));
        let mut total: u128 = 2 * u128::from(self.text.hidden) * u128::from(self.text.vocab);
        for (name, value) in [("hidden size", self.text.hidden), ("vocabulary", self.text.vocab)] {
            if !(1..=LARGEST).contains(&value) {
                return wrong(format!("expected a {name} of 1 to {LARGEST} but found {value}"));
            }
        }
        if self.text.layers() == 0 {
            return wrong("expected at least one layer but found none".to_owned());
        }
        for (hidden, blocks) in towers.chain([(self.text.hidden, &self.text.blocks)]) {
            for Blocks { count, block } in blocks {
                if let Attention::Grouped(grouped) = &block.attention
                    && (grouped.kv_heads == 0 || !grouped.heads.is_multiple_of(grouped.kv_heads))
                {
                    return wrong(format!(
                        "expected key-value heads that divide the {} heads but found {}",
                        grouped.heads, grouped.kv_heads
                    ));
                }
                if let Mlp::Experts(experts) = &block.mlp
                    && (experts.active == 0 || experts.active > experts.count)
                {
                    return wrong(format!("expected 1 to {} experts per token but found {}", experts.count, experts.active));
                }
                if block.attention.heads() > LARGEST || *count > LARGEST || hidden > LARGEST {
                    return wrong(format!("expected every dimension to be at most {LARGEST}"));
                }
                for linear in block.linears(hidden) {
                    for (end, value) in [("inputs", linear.inputs), ("outputs", linear.outputs), ("copies", linear.copies)] {
                        if !(1..=LARGEST).contains(&value) {
                            return wrong(format!("expected 1 to {LARGEST} {end} of its {:?} product but found {value}", linear.role));
                        }
                    }
                    total += u128::from(linear.inputs) * u128::from(linear.outputs) * u128::from(linear.copies) * u128::from(*count);
                }
            }
        }
        if total > MOST_PARAMETERS {
            return wrong(format!("expected at most {MOST_PARAMETERS} parameters but its dimensions make {total}"));
        }
        Ok(self)
    }
}
