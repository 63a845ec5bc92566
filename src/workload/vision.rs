//! The vision part of a model.

use super::block::Blocks;
use super::linear::Linear;

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
