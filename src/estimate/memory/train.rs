//! The memory of a training step.

use super::activations::{Counter, Layer, stays};
use super::footprint::{Footprint, Memory, Moment, Part, Phase};
use super::logits::Logits;
use super::lora;
use super::offload;
use super::overheads::Overheads;
use super::piece::Piece;
use super::pipeline;
use super::precision::Precision;
use super::shard::{self, Held, along_sequence};
use crate::error::Result;
use crate::units::Bytes;
use crate::workload::{Blocks, Checkpointing, Model, Training};

/// The memory of one step of `training` on the GPU that needs most, in every phase, from the second step on (the first makes the optimizer's
/// states only at its end and so never takes more).
///
/// # Errors
/// [`Error::Usage`](crate::error::Error::Usage) for settings that cannot be: see [`Training::check`]; a LoRA rank above a dimension; a
/// degree of sharing that the model's dimensions do not allow.
pub fn train(model: &Model, training: &Training, overheads: &Overheads) -> Result<Memory> {
    training.check()?;
    shard::check(model, training)?;
    if let Some(adapters) = training.method.adapters() {
        lora::check(model, adapters)?;
    }
    let split = Piece::split(model, &training.parallel)?;
    let mut moments = Vec::new();
    let mut most = Bytes(0);
    let mut host = 0;
    for piece in pipeline::stages(&split, &training.parallel, training.grad_accum)? {
        let held = Held::of(&piece, training, &Precision::of(&training.method));
        host = host.max(held.host);
        let stage = stage(&piece, &held, training, overheads.workspace.value);
        let peak = stage.iter().map(|moment| moment.footprint.total()).max().unwrap_or_default();
        if moments.is_empty() || peak > most {
            (moments, most) = (stage, peak);
        }
    }
    let host = Bytes(offload::node(host, &training.parallel));
    Ok(overheads.memory(moments, host, shard::communicators(&training.parallel)))
}

/// The phases of a step on a GPU that runs `piece` and keeps what `held` says.
fn stage(piece: &Piece, held: &Held, training: &Training, workspace: Bytes) -> Vec<Moment> {
    let precision = Precision::of(&training.method);
    let Held { states, buffers, .. } = held;
    let counter = Counter::new(training, precision);
    let model = &piece.model;
    let hidden = model.text.hidden;
    let rows = training.tokens().div_ceil(piece.sequence);
    let logits = if piece.last { Logits::of(model, training, &precision, training.tokens()) } else { Logits::default() };
    let layer = |block| {
        let layer = counter.layer(block, hidden);
        if piece.sequence == 1 { layer } else { along_sequence(layer, &counter.layer(block, 2 * hidden), piece.sequence) }
    };
    let runs: Vec<(u64, Layer)> = model.text.blocks.iter().map(|Blocks { count, block }| (*count, layer(block))).collect();
    let layers: u64 = runs.iter().map(|(count, layer)| count * stays(layer, training.checkpointing)).sum();
    let stem = if piece.first { rows * hidden * precision.stream } else { 0 };
    let head = if piece.last { rows * counter.norm(model.text.final_norm, hidden, precision.stream) } else { 0 };
    // FSDP casts what it gathers, and keeps no copies.
    let casts = if precision.casts() && !held.buffers.cast { piece.parameters() * precision.product } else { 0 };
    // Micro-batches that wait in the pipeline for their backward pass, beside the one that runs.
    let waiting = (layers + stem).saturating_mul(piece.alive).div_ceil(piece.pieces) - (layers + stem);
    let all = waiting + layers + stem + head + casts;
    let mut rest = Footprint::default();
    rest[Part::Weights] = Bytes(states.weights);
    rest[Part::Optimizer] = Bytes(states.optimizer);
    rest[Part::Workspace] = workspace + Bytes(buffers.standing);
    let traffic = shard::traffic(piece, training, &precision) + held.live;
    let moment = |phase, activations: u64, logits: u64, gradients: u64| {
        let (buffer, update) = match phase {
            Phase::Update => (buffers.update, states.update),
            Phase::Backward => (buffers.backward + traffic, 0),
            _ => (buffers.forward + traffic, 0),
        };
        let mut footprint = rest;
        footprint[Part::Activations] = Bytes(activations);
        footprint[Part::Logits] = Bytes(logits);
        footprint[Part::Gradients] = Bytes(if held.gradients_stand { states.gradients } else { gradients });
        footprint[Part::Optimizer] += Bytes(update);
        footprint[Part::Workspace] += Bytes(buffer);
        Moment { phase, footprint }
    };
    let mut moments = vec![
        Moment { phase: Phase::Rest, footprint: rest },
        moment(Phase::Forward, all, logits.forward, 0),
        moment(Phase::Loss, all, logits.loss, 0),
    ];
    // Activations fall and gradients rise in equal steps through a run of equal layers, so the worst layer is the last or the first of a run.
    let mut left = layers;
    let mut worst = moment(Phase::Backward, all, logits.head, 0);
    let mut done = 0;
    let total: u64 = runs.iter().map(|(count, _)| count).sum();
    for (count, layer) in runs.iter().rev() {
        let recomputed = if training.checkpointing == Checkpointing::Full { layer.kept } else { 0 };
        for at in [0, count - 1] {
            let gradients = states.gradients * (done + at + 1) / total;
            let kept = waiting + left - at * stays(layer, training.checkpointing);
            let here = moment(Phase::Backward, stem + casts + kept + recomputed + layer.working, logits.after, gradients);
            if here.footprint.total() > worst.footprint.total() {
                worst = here;
            }
        }
        left -= count * stays(layer, training.checkpointing);
        done += count;
    }
    moments.push(worst);
    moments.push(moment(Phase::Update, 0, logits.after, states.gradients));
    moments
}
