//! The vision part of a model, and what an image becomes in it.
//!
//! An image is cut into **patches**; the **tower** turns each into a vector; a **projector** joins neighbours and turns them into **tokens**
//! of the decoder. How many there are depends on the family: LLaVA and Gemma 3 scale every image to one size, Qwen keeps its proportions and
//! resolution within limits, InternVL cuts it into square tiles and sees each by itself.

use super::block::Blocks;
use super::linear::Linear;
use crate::error::{Error, Result};

/// The vision part: a tower, what turns its patches into the decoder's tokens, and how many there are.
#[derive(Debug, Clone, PartialEq)]
pub struct Vision {
    /// The tower.
    pub tower: Tower,
    /// Products between tower and decoder, in order.
    pub projector: Vec<Linear>,
    /// Parameters of the projector's norms.
    pub projector_norms: u64,
    /// How an image becomes patches and tokens.
    pub input: ImageInput,
}

/// How an image becomes patches and tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageInput {
    /// Every image is scaled to one size.
    Fixed {
        /// Positions in the tower: patches, and a class token where it has one.
        patches: u64,
        /// Tokens of the decoder.
        tokens: u64,
    },
    /// The sides are rounded to multiples of what makes one token, the area kept within limits (Qwen 2 VL).
    Native {
        /// Pixels along the side of a token: patch size times merged patches.
        unit: u64,
        /// Patches along the side of a token.
        merge: u64,
        /// Least area in pixels.
        least: u64,
        /// Most area in pixels.
        most: u64,
    },
    /// The image is cut into square tiles that fit its proportions best, with the whole of it as one tile more (InternVL).
    Tiles {
        /// Pixels along the side of a tile.
        side: u64,
        /// Positions in the tower for one tile, class token included.
        patches: u64,
        /// Tokens of one tile.
        tokens: u64,
        /// Fewest tiles.
        least: u64,
        /// Most tiles, the whole image not counted.
        most: u64,
        /// Whether the whole image is added where there are several tiles.
        thumbnail: bool,
    },
}

/// What one image becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Sequences that the tower sees, each by itself.
    pub pieces: u64,
    /// Positions in each of them.
    pub patches: u64,
    /// Tokens of the decoder altogether.
    pub tokens: u64,
}

/// Largest side of an image in pixels: beyond it, sizes are clamped.
const MOST_PIXELS: u64 = 1 << 20;
/// Largest ratio of an image's sides (Qwen refuses more).
const MOST_RATIO: u64 = 200;

impl ImageInput {
    /// What an image of that size becomes. Sizes are taken as at least 1 and at most 2²⁰ pixels.
    pub fn view(&self, width: u64, height: u64) -> View {
        let (width, height) = (width.clamp(1, MOST_PIXELS), height.clamp(1, MOST_PIXELS));
        match *self {
            Self::Fixed { patches, tokens } => View { pieces: 1, patches, tokens },
            Self::Native { unit, merge, least, most } => {
                let (across, down) = native(width, height, unit.max(1), least, most);
                let tokens = across * down;
                View { pieces: 1, patches: tokens * merge * merge, tokens }
            }
            Self::Tiles { side, patches, tokens, least, most, thumbnail } => {
                let tiles = tiles(width, height, side, least, most);
                let pieces = tiles + u64::from(thumbnail && tiles > 1);
                View { pieces, patches, tokens: pieces * tokens }
            }
        }
    }
}

/// Tokens across and down: both sides to the nearest multiple of `unit`; where the area is out of its limits, both scaled to it, rounded
/// towards the inside.
fn native(width: u64, height: u64, unit: u64, least: u64, most: u64) -> (u64, u64) {
    let (w, h, u) = (width as f64, height as f64, unit as f64);
    // Halves round to even, as Python's round does.
    let (mut across, mut down) = ((w / u).round_ties_even(), (h / u).round_ties_even());
    let area = across * down * u * u;
    if area > most as f64 {
        let scale = (w * h / most as f64).sqrt();
        (across, down) = ((w / scale / u).floor(), (h / scale / u).floor());
    } else if area < least as f64 {
        let scale = (least as f64 / (w * h)).sqrt();
        (across, down) = ((w * scale / u).ceil(), (h * scale / u).ceil());
    }
    (across.max(1.0) as u64, down.max(1.0) as u64)
}

/// Tiles of a grid within the limits whose proportions are nearest the image's; of equals, the finer one if the image fills half of it.
fn tiles(width: u64, height: u64, side: u64, least: u64, most: u64) -> u64 {
    let ratio = width as f64 / height as f64;
    let fills = |tiles: u64| 2 * width * height > side * side * tiles;
    let (mut best, mut nearest) = (1, f64::INFINITY);
    for across in 1..=most {
        for down in least.div_ceil(across).max(1)..=most / across {
            let tiles = across * down;
            let distance = (ratio - across as f64 / down as f64).abs();
            // Of equals, the most tiles that the image fills half of, and the fewest where it fills half of none.
            let better = if tiles > best { fills(tiles) } else { !fills(best) };
            if distance < nearest || (distance == nearest && better) {
                (best, nearest) = (tiles, distance);
            }
        }
    }
    best
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

    /// What an image of that size in pixels becomes.
    pub fn view(&self, width: u64, height: u64) -> View {
        self.input.view(width, height)
    }

    /// Tokens that an image of that size takes in the decoder.
    pub fn tokens(&self, width: u64, height: u64) -> u64 {
        self.view(width, height).tokens
    }

    /// Positions that the tower sees of it, over all tiles.
    pub fn patches(&self, width: u64, height: u64) -> u64 {
        let view = self.view(width, height);
        view.pieces * view.patches
    }

    /// Whether an image has a size that the family accepts.
    ///
    /// # Errors
    /// [`Error::Usage`] where a side is 0 or more than 2²⁰ pixels, or the image more than 200 times as long as wide.
    pub fn check_image(&self, width: u64, height: u64) -> Result<()> {
        let (short, long) = (width.min(height), width.max(height));
        if short == 0 || long > MOST_PIXELS {
            return Err(Error::usage(format!("expected an image of 1 to {MOST_PIXELS} pixels a side but found {width}x{height}")));
        }
        if long > short * MOST_RATIO {
            return Err(Error::usage(format!("expected an image at most {MOST_RATIO} times as long as wide but found {width}x{height}")));
        }
        Ok(())
    }

    /// Parameters between tower and decoder.
    pub fn projector_parameters(&self) -> u64 {
        self.projector.iter().map(Linear::parameters).sum::<u64>() + self.projector_norms
    }
}
