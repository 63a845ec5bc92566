//! Stages of layers, and how many micro-batches each keeps.
//!
//! A **pipeline** of `p` stages passes micro-batches along. In the usual order, one forward and one backward pass in turn (1F1B; Narayanan et al.,
//! arXiv 2104.04473, section 2.2), stage `i` has run `p − i` forward passes before its first backward pass, so it keeps the activations of
//! `min(m, p − i)` of a step's `m` micro-batches: the first stage keeps most, and splitting layers saves it no activations at all. **Interleaving**
//! cuts the layers of a stage into `v` pieces, each a stage of its own in a pipeline of `p·v`, which shortens the idle time by `v` and keeps
//! `p·v + p − 1` pieces on the first stage: `1 + (p − 1)/(p·v)` times the activations of all layers (Korthikanti et al., arXiv 2205.05198,
//! equation 5).
//!
//! The first stage has the embedding table, the last the final norm, the output head and the loss. Tied, both have the table.

use super::piece::Piece;
use crate::error::{Error, Result};
use crate::workload::{Blocks, Parallel};

/// The stages that can need most memory, `model` being the piece of a GPU that has all layers.
///
/// Of stages that hold the same layers, the earliest keeps most; so the others are left out.
///
/// # Errors
/// [`Error::Usage`] for more stages or pieces than layers.
pub(crate) fn stages(model: &Piece, parallel: &Parallel, micro_batches: u64) -> Result<Vec<Piece>> {
    let Parallel { pipeline: p, interleave: v, .. } = *parallel;
    let layers = model.model.text.layers();
    if p == 1 {
        return match v {
            1 => Ok(vec![model.clone()]),
            _ => Err(Error::usage(format!("interleaving {v} pieces needs a pipeline of more than one stage"))),
        };
    }
    if p.checked_mul(v).is_none_or(|pieces| pieces > layers) {
        let name = &model.model.name;
        return Err(Error::usage(format!("{layers} layers of {name} cannot make {p} stages of {v} pieces each; choose fewer")));
    }
    let mut stages = Vec::new();
    let mut previous: Option<Vec<Blocks>> = None;
    let mut start = 0;
    for stage in candidates(model, p) {
        let (from, count) = span(stage, p, layers);
        debug_assert!(from >= start);
        start = from;
        let blocks = cut(&model.model.text.blocks, from, count);
        let (first, last) = (stage == 0, stage == p - 1);
        if !first && !last && previous.as_ref() == Some(&blocks) {
            continue;
        }
        let mut piece = model.clone();
        piece.model.text.blocks.clone_from(&blocks);
        (piece.first, piece.last) = (first, last);
        piece.model.vision = piece.model.vision.filter(|_| first);
        (piece.alive, piece.pieces) = (alive(stage, p, v, micro_batches), v);
        stages.push(piece);
        // The first stage has the embedding beside its layers, so the second may be lighter or, without it, alike.
        previous = (!first).then_some(blocks);
    }
    Ok(stages)
}

/// Pieces of layers whose activations stage `stage` keeps at its worst.
fn alive(stage: u64, p: u64, v: u64, micro_batches: u64) -> u64 {
    let ahead = p - stage - 1;
    let most = if v == 1 { ahead + 1 } else { 2 * ahead + (v - 1) * p + 1 };
    most.min(micro_batches.saturating_mul(v))
}

/// First layer and number of layers of a stage. Layers that are left over go to the first stages, one each.
const fn span(stage: u64, p: u64, layers: u64) -> (u64, u64) {
    let (each, over) = (layers / p, layers % p);
    let before = if stage < over { stage } else { over };
    (stage * each + before, each + (stage < over) as u64)
}

/// Stages whose layers may differ from those of the stage before: the ends, where the leftover layers end, and around each change of kind.
fn candidates(model: &Piece, p: u64) -> Vec<u64> {
    let layers = model.model.text.layers();
    let (each, over) = (layers / p, layers % p);
    let stage_of = |layer: u64| if layer < over * (each + 1) { layer / (each + 1) } else { over + (layer - over * (each + 1)) / each };
    let mut found = vec![0, 1, over, p - 1];
    let mut layer = 0;
    for blocks in &model.model.text.blocks {
        layer += blocks.count;
        let stage = stage_of(layer.min(layers - 1));
        found.extend([stage.saturating_sub(1), stage, stage + 1]);
    }
    found.retain(|stage| *stage < p);
    found.sort_unstable();
    found.dedup();
    found
}

/// `count` layers from layer `from` on.
fn cut(runs: &[Blocks], from: u64, count: u64) -> Vec<Blocks> {
    let mut start = 0;
    let mut taken = Vec::new();
    for Blocks { count: run, block } in runs {
        let (low, high) = (from.max(start), (from + count).min(start + run));
        if low < high {
            taken.push(Blocks { count: high - low, block: *block });
        }
        start += run;
    }
    taken
}
