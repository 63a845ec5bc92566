//! Attention: how a layer mixes between tokens, and what its cache keeps of one.

use super::linear::{Linear, Role};

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

impl Attention {
    /// Its matrix products, on a residual of `hidden`: the output projection is the last.
    pub fn linears(&self, hidden: u64) -> impl Iterator<Item = Linear> + use<> {
        self.projections(hidden).chain([self.output(hidden)])
    }

    /// The products that make queries, keys and values.
    pub fn projections(&self, hidden: u64) -> impl Iterator<Item = Linear> + use<> {
        let one = |role, inputs, outputs, bias| Some(Linear::new(role, inputs, outputs, bias));
        let products = match self {
            Self::Grouped(grouped) => {
                let (q, kv, bias) = (grouped.heads * grouped.head_dim, grouped.kv_heads * grouped.head_dim, grouped.qkv_bias);
                if grouped.fused {
                    [one(Role::QueryKeyValue, hidden, q + 2 * kv, bias), None, None, None]
                } else {
                    [one(Role::Query, hidden, q, bias), one(Role::Key, hidden, kv, bias), one(Role::Value, hidden, kv, bias), None]
                }
            }
            Self::Latent(latent) => {
                let q = latent.heads * (latent.nope + latent.rope);
                let (down, up) = match latent.q_rank {
                    Some(rank) => (one(Role::QueryDown, hidden, rank, false), one(Role::QueryUp, rank, q, false)),
                    None => (None, one(Role::Query, hidden, q, false)),
                };
                let kv_down = one(Role::KvDown, hidden, latent.kv_rank + latent.rope, false);
                let kv_up = one(Role::KvUp, latent.kv_rank, latent.heads * (latent.nope + latent.value), false);
                [down, up, kv_down, kv_up]
            }
        };
        products.into_iter().flatten()
    }

    /// The product that leads from the heads back to the residual.
    pub const fn output(&self, hidden: u64) -> Linear {
        let (inputs, bias) = match self {
            Self::Grouped(grouped) => (grouped.heads * grouped.head_dim, grouped.output_bias),
            Self::Latent(latent) => (latent.heads * latent.value, false),
        };
        Linear::new(Role::Output, inputs, hidden, bias)
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
