//! The shape of a model.

use super::block::{Blocks, Norm};
use super::vision::Vision;

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
    /// Whether the output head has a bias of one element per row of the vocabulary (Phi).
    pub head_bias: bool,
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
        (if self.tied { 0 } else { self.vocab * self.hidden }) + if self.head_bias { self.vocab } else { 0 }
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

impl Model {
    /// All parameters that are loaded.
    pub fn parameters(&self) -> u64 {
        self.text.parameters() + self.vision.as_ref().map_or(0, Vision::parameters)
    }

    /// Those that one token meets.
    pub fn active_parameters(&self) -> u64 {
        self.text.active_parameters() + self.vision.as_ref().map_or(0, Vision::parameters)
    }
}
