//! The memory of a training step on one GPU.

use super::activations::{Counter, Layer, stays};
use super::footprint::{Footprint, Memory, Moment, Part, Phase};
use super::logits::Logits;
use super::lora;
use super::overheads::Overheads;
use super::precision::Precision;
use super::states::States;
use crate::error::Result;
use crate::units::Bytes;
use crate::workload::{Blocks, Checkpointing, Model, Training};

/// The memory of one step of `training` on one GPU, in every phase, from the second step on (the first makes the optimizer's states only at its
/// end and so never takes more).
///
/// # Errors
/// [`Error::Usage`](crate::error::Error::Usage) for settings that cannot be: see [`Training::check`]; a LoRA rank above a dimension.
pub fn train(model: &Model, training: &Training, overheads: &Overheads) -> Result<Memory> {
    training.check()?;
    if let Some(adapters) = training.method.adapters() {
        lora::check(model, adapters)?;
    }
    let precision = Precision::of(&training.method);
    let states = States::of(model, training);
    let counter = Counter::new(training, precision);
    let hidden = model.text.hidden;
    let logits = Logits::of(model, training, &precision, training.tokens());
    let mut rest = Footprint::default();
    rest[Part::Weights] = Bytes(states.weights);
    rest[Part::Optimizer] = Bytes(states.optimizer);
    rest[Part::Workspace] = overheads.workspace.value;
    let runs: Vec<(u64, Layer)> = model.text.blocks.iter().map(|Blocks { count, block }| (*count, counter.layer(block, hidden))).collect();
    let layers: u64 = runs.iter().map(|(count, layer)| count * stays(layer, training.checkpointing)).sum();
    let stem = training.tokens() * hidden * precision.stream;
    let head = training.tokens() * counter.norm(model.text.final_norm, hidden, precision.stream);
    let casts = if precision.casts() { model.parameters() * precision.product } else { 0 };
    let all = layers + stem + head + casts;
    let moment = |phase, activations: u64, logits: u64, gradients: u64, update: u64| {
        let mut footprint = rest;
        footprint[Part::Activations] = Bytes(activations);
        footprint[Part::Logits] = Bytes(logits);
        footprint[Part::Gradients] = Bytes(gradients);
        footprint[Part::Optimizer] += Bytes(update);
        Moment { phase, footprint }
    };
    let mut moments = vec![
        Moment { phase: Phase::Rest, footprint: rest },
        moment(Phase::Forward, all, logits.forward, 0, 0),
        moment(Phase::Loss, all, logits.loss, 0, 0),
    ];
    // Activations fall and gradients rise in equal steps through a run of equal layers, so the worst layer is the last or the first of a run.
    let mut left = layers;
    let mut worst = moment(Phase::Backward, all, logits.head, 0, 0);
    let mut done = 0;
    let total: u64 = runs.iter().map(|(count, _)| count).sum();
    for (count, layer) in runs.iter().rev() {
        let recomputed = if training.checkpointing == Checkpointing::Full { layer.kept } else { 0 };
        for at in [0, count - 1] {
            let gradients = states.gradients * (done + at + 1) / total;
            let kept = left - at * stays(layer, training.checkpointing);
            let here = moment(Phase::Backward, stem + casts + kept + recomputed + layer.working, logits.after, gradients, 0);
            if here.footprint.total() > worst.footprint.total() {
                worst = here;
            }
        }
        left -= count * stays(layer, training.checkpointing);
        done += count;
    }
    moments.push(worst);
    moments.push(moment(Phase::Update, 0, logits.after, states.gradients, states.update));
    Ok(overheads.memory(moments, Bytes(0)))
}
