//! Where a model's parameters are, and the numbers that describe it in one line each.

use std::fmt;

use super::{Attention, Block, Blocks, Linear, Mlp, Model, Role};
use crate::units::Bytes;

/// A kind of part that parameters belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Module {
    /// The tables of tokens and of positions.
    Embedding,
    /// Projections of attention, with their biases and the norms inside.
    Attention,
    /// MLPs that every token passes through, shared experts included.
    Mlp,
    /// Experts that some tokens pass through.
    Experts,
    /// Scores of the experts.
    Router,
    /// Norms between the parts.
    Norms,
    /// The output head, where it is no embedding table.
    Head,
    /// The vision tower.
    VisionTower,
    /// What joins tower and decoder.
    Projector,
}

impl Module {
    /// All of them, in a model's order.
    pub const ALL: [Self; 9] = [
        Self::VisionTower,
        Self::Projector,
        Self::Embedding,
        Self::Attention,
        Self::Mlp,
        Self::Experts,
        Self::Router,
        Self::Norms,
        Self::Head,
    ];
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Embedding => "embedding",
            Self::Attention => "attention",
            Self::Mlp => "MLP",
            Self::Experts => "experts",
            Self::Router => "router",
            Self::Norms => "norms",
            Self::Head => "output head",
            Self::VisionTower => "vision tower",
            Self::Projector => "projector",
        })
    }
}

/// The numbers that describe a model's decoder. Where layers differ, those of the most numerous kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dimensions {
    /// Layers.
    pub layers: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads; with latent attention as many as heads, since that is what they are expanded to.
    pub kv_heads: u64,
    /// Features of a query head.
    pub head_dim: u64,
    /// Width inside an MLP, or inside one expert.
    pub ffn: u64,
    /// Rows of the embedding table.
    pub vocab: u64,
}

impl Model {
    /// Parameters by module, in the order of [`Module::ALL`], those it has none of left out. They sum to [`Self::parameters`].
    pub fn breakdown(&self) -> Vec<(Module, u64)> {
        let text = &self.text;
        let over = |count: fn(&Block, u64) -> u64| -> u64 {
            text.blocks.iter().map(|Blocks { count: layers, block }| layers * count(block, text.hidden)).sum()
        };
        let of = |module| match module {
            Module::VisionTower => self.vision.as_ref().map_or(0, |vision| vision.tower.parameters()),
            Module::Projector => self.vision.as_ref().map_or(0, |vision| vision.projector_parameters()),
            Module::Embedding => text.embedding_parameters(),
            Module::Attention => over(|block, hidden| sum(block.attention.linears(hidden), |_| true) + block.attention.norm_parameters()),
            Module::Mlp => over(|block, hidden| sum(block.mlp.linears(hidden), |linear| linear.copies == 1 && !scores(linear))),
            Module::Experts => over(|block, hidden| sum(block.mlp.linears(hidden), |linear| linear.copies > 1)),
            Module::Router => over(|block, hidden| sum(block.mlp.linears(hidden), scores) + block.mlp.other_parameters()),
            Module::Norms => over(between) + text.final_norm.parameters(text.hidden),
            Module::Head => text.head_parameters(),
        };
        Module::ALL.into_iter().map(|module| (module, of(module))).filter(|(_, parameters)| *parameters > 0).collect()
    }

    /// Parameters that are not the decoder's: tower and projector.
    pub fn vision_parameters(&self) -> u64 {
        self.vision.as_ref().map_or(0, super::Vision::parameters)
    }

    /// Bytes that the key-value cache grows by with each token in BF16, while no window is full.
    pub fn kv_bytes_per_token_bf16(&self) -> Bytes {
        Bytes(2 * self.text.cached_elements())
    }

    /// The decoder in seven numbers.
    pub fn dimensions(&self) -> Dimensions {
        let text = &self.text;
        // The last of the most numerous: where dense and sparse layers are equally many, the sparse ones come later.
        let block = text.blocks.iter().max_by_key(|run| run.count).map(|run| &run.block);
        let (kv_heads, head_dim) = match block.map(|block| &block.attention) {
            Some(Attention::Grouped(grouped)) => (grouped.kv_heads, grouped.head_dim),
            Some(Attention::Latent(latent)) => (latent.heads, latent.nope + latent.rope),
            None => (0, 0),
        };
        let ffn = match block.map(|block| &block.mlp) {
            Some(Mlp::Dense(dense)) => dense.ffn,
            Some(Mlp::Experts(experts)) => experts.each.ffn,
            None => 0,
        };
        let heads = block.map_or(0, |block| block.attention.heads());
        Dimensions { layers: text.layers(), hidden: text.hidden, heads, kv_heads, head_dim, ffn, vocab: text.vocab }
    }
}

fn sum(linears: impl Iterator<Item = Linear>, which: impl Fn(&Linear) -> bool) -> u64 {
    linears.filter(which).map(|linear| linear.parameters()).sum()
}

fn scores(linear: &Linear) -> bool {
    matches!(linear.role, Role::Router | Role::SharedGate)
}

/// Norms and scales of a layer outside attention and MLP.
fn between(block: &Block, hidden: u64) -> u64 {
    block.other_parameters(hidden) - block.attention.norm_parameters() - block.mlp.other_parameters()
}
