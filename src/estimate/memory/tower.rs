//! What a vision tower's forward pass leaves.
//!
//! The tower sees patches, not tokens: how many follows from the image's size and the family's rules. Trained by a full method it keeps
//! activations like any stack of layers, with attention over the patches of one image. Frozen, as under LoRA, it keeps nothing: no gradient is
//! needed before the first trained weight.

use super::activations::Counter;
use super::precision::Precision;
use crate::error::{Error, Result};
use crate::workload::{Blocks, Images, Model, Training, Vision};

/// Whether the images of `training` are ones that `model` can see.
///
/// # Errors
/// [`Error::Usage`] for images where the model has no tower, a size that its family refuses, and images that take more tokens than the sequence has.
pub(crate) fn check(model: &Model, training: &Training) -> Result<()> {
    let Images { count, width, height } = training.images;
    if count == 0 {
        return Ok(());
    }
    let Some(vision) = &model.vision else {
        return Err(Error::usage(format!("model {}: it takes no images; leave them out", model.name)));
    };
    vision.check_image(width, height)?;
    let each = vision.tokens(width, height);
    if each.checked_mul(count).is_none_or(|tokens| tokens > training.seq) {
        let seq = training.seq;
        return Err(Error::usage(format!(
            "{count} images of {width}x{height} take {each} tokens each, more than the sequence of {seq}; give a longer one or smaller images"
        )));
    }
    Ok(())
}

/// Bytes that the tower and the projector of `model` leave for their backward passes.
pub(crate) fn kept(model: &Model, training: &Training, precision: &Precision) -> u64 {
    let Some(vision) = &model.vision else { return 0 };
    let images = training.batch * training.images.count;
    if images == 0 || !precision.full {
        return 0;
    }
    let view = vision.view(training.images.width, training.images.height);
    let counter = Counter::over(&model.text, training, *precision, images * view.pieces, view.patches);
    let layers: u64 =
        vision.tower.blocks.iter().map(|Blocks { count, block }| count * counter.layer(block, vision.tower.hidden).kept).sum();
    layers + projector(vision, images * view.tokens, precision)
}

/// The projector's products keep their inputs.
fn projector(vision: &Vision, tokens: u64, precision: &Precision) -> u64 {
    vision.projector.iter().map(|linear| tokens * (linear.inputs + linear.outputs) * precision.product).sum()
}
