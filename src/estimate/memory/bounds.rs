//! Whether an estimate can be computed in 64 bits.
//!
//! Dimensions of a model and settings of a training are bounded one by one where they are read, and still their product could pass 2⁶³: sixteen
//! million heads, each with scores of 2²⁸ by 2²⁸ tokens. So before anything is multiplied in whole numbers, an upper bound of everything that will
//! be is computed in floating point, and what is beyond any machine is refused. A test feeds the extremes of what passes.

use crate::error::{Error, Result};
use crate::workload::{Attention, AttentionKernel, Blocks, Mlp, Model, Training};

/// An exbibyte: more than all memory of the largest machine, and a comfortable factor below 2⁶³.
const MOST: f64 = (1_u64 << 60) as f64;

/// Bytes that a number of an activation can take, all its copies, casts, masks and gradients counted. Above the true sum for every layer.
const COPIES: f64 = 64.0;

/// Refuses what cannot be computed.
///
/// # Errors
/// [`Error::Usage`] where a step would take more than 2⁶⁰ bytes.
pub(crate) fn check(model: &Model, training: &Training) -> Result<()> {
    let tokens = training.tokens() as f64;
    let scores = if training.attention == AttentionKernel::Flash { 1.0 } else { training.seq as f64 };
    let mut bytes = COPIES * model.parameters() as f64 + COPIES * tokens * (model.text.vocab as f64 + scores);
    bytes += layers(&model.text.blocks, model.text.hidden, tokens, training, scores);
    if let Some(vision) = &model.vision
        && training.images.count > 0
    {
        let view = vision.view(training.images.width, training.images.height);
        let patches = view.patches as f64;
        let sequences = training.batch as f64 * training.images.count as f64 * view.pieces as f64;
        let scores = if training.attention == AttentionKernel::Flash { 1.0 } else { patches };
        bytes += layers(&vision.tower.blocks, vision.tower.hidden, sequences * patches, training, scores);
        let widths: f64 = vision.projector.iter().map(|linear| (linear.inputs + linear.outputs) as f64).sum();
        bytes += COPIES * sequences * patches * widths;
    }
    // As many micro-batches as stages may be alive at once, and interleaved ones twice.
    bytes *= 2.0 * training.parallel.pipeline as f64;
    if bytes <= MOST {
        return Ok(());
    }
    let (name, batch, seq) = (&model.name, training.batch, training.seq);
    Err(Error::usage(format!(
        "a step of {name} with a batch of {batch} and sequences of {seq} is beyond 2^60 bytes; give a smaller batch or a shorter sequence"
    )))
}

/// A bound of what the layers of a stack take over so many tokens.
fn layers(runs: &[Blocks], hidden: u64, tokens: f64, training: &Training, scores: f64) -> f64 {
    let rank = training.method.adapters().map_or(0.0, |adapters| adapters.rank as f64);
    let mut bytes = 0.0;
    for Blocks { count, block } in runs {
        let linears = block.linears(hidden);
        let widths: f64 = linears.map(|linear| (linear.inputs as f64 + linear.outputs as f64 + rank) * linear.active as f64).sum();
        let heads = match block.attention {
            Attention::Grouped(grouped) => grouped.heads * grouped.head_dim + grouped.heads,
            Attention::Latent(latent) => latent.heads * (2 * latent.nope + 2 * latent.rope + 2 * latent.value + 1),
        };
        let experts = match block.mlp {
            Mlp::Experts(experts) => experts.count + experts.active * hidden,
            Mlp::Dense(_) => 0,
        };
        let numbers = widths + 8.0 * hidden as f64 + 2.0 * heads as f64 + experts as f64;
        bytes += *count as f64 * COPIES * tokens * (numbers + scores * (block.attention.heads() as f64 + 1.0));
    }
    bytes
}
