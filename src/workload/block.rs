//! One transformer layer: norms, attention and a feed-forward part on a residual stream.

use super::attention::Attention;
use super::linear::Linear;
use super::mlp::Mlp;

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

impl Block {
    /// All its matrix products, on a residual of `hidden`. An estimate goes through them many times, so they are made as they are asked for
    /// and never stored.
    pub fn linears(&self, hidden: u64) -> impl Iterator<Item = Linear> + use<> {
        self.attention.linears(hidden).chain(self.mlp.linears(hidden))
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
        self.linears(hidden).map(|linear| linear.parameters()).sum::<u64>() + self.other_parameters(hidden)
    }

    /// Those that one token meets.
    pub fn active_parameters(&self, hidden: u64) -> u64 {
        self.linears(hidden).map(|linear| linear.active_parameters()).sum::<u64>() + self.other_parameters(hidden)
    }
}
