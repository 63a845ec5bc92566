//! The memory of a training step.

use super::activations::{Counter, Layer, stays};
use super::bounds;
use super::footprint::{Footprint, Memory, Moment, Part, Phase};
use super::logits::Logits;
use super::lora;
use super::offload;
use super::overheads::Overheads;
use super::piece::Piece;
use super::pipeline;
use super::precision::Precision;
use super::shard::{self, Held, along_sequence};
use super::tower;
use crate::error::Result;
use crate::units::Bytes;
use crate::workload::{Blocks, Checkpointing, Method, Mlp, Model, Role, Training};

/// The memory of one step of `training` on the GPU that needs most, in every phase, from the second step on (the first makes the optimizer's
/// states only at its end and so never takes more).
///
/// # Errors
/// [`Error::Usage`](crate::error::Error::Usage) for settings that cannot be: see [`Training::check`]; a LoRA rank above a dimension; a
/// degree of sharing that the model's dimensions do not allow; images for a model without eyes.
pub fn train(model: &Model, training: &Training, overheads: &Overheads) -> Result<Memory> {
    let pieces = pieces(model, training)?;
    let held: Vec<Held> = pieces.iter().map(|piece| Held::of(piece, training, &Precision::of(&training.method))).collect();
    Ok(of_pieces(model, &pieces, &held, training, overheads))
}

/// The same from what single GPUs run and keep.
pub(crate) fn of_pieces(model: &Model, pieces: &[Piece], held: &[Held], training: &Training, overheads: &Overheads) -> Memory {
    let mut moments = Vec::new();
    let mut most = Bytes(0);
    let mut host = 0;
    for (piece, held) in pieces.iter().zip(held) {
        host = host.max(held.host);
        let stage = stage(piece, held, training, overheads.workspace.value);
        let peak = stage.iter().map(|moment| moment.footprint.total()).max().unwrap_or_default();
        if moments.is_empty() || peak > most {
            (moments, most) = (stage, peak);
        }
    }
    let host = Bytes(offload::node(host, &training.parallel));
    let memory = overheads.memory(moments, host, shard::communicators(&training.parallel));
    match training.method {
        Method::Qlora(..) => overheads.at_most(memory, older_products(model, training)),
        _ => memory,
    }
}

/// What single GPUs run of `model`: the stages that can need most, each with its part of every product.
///
/// # Errors
/// [`Error::Usage`](crate::error::Error::Usage) for settings that cannot be, as [`train`].
pub(crate) fn pieces(model: &Model, training: &Training) -> Result<Vec<Piece>> {
    training.check()?;
    tower::check(model, training)?;
    bounds::check(model, training)?;
    shard::check(model, training)?;
    if let Some(adapters) = training.method.adapters() {
        lora::check(model, adapters)?;
    }
    let split = Piece::split(model, &training.parallel)?;
    pipeline::stages(&split, &training.parallel, training.grad_accum)
}

/// What 4-bit products of old bitsandbytes keep beside: their inputs, which frozen weights have no use for (`MatMul4Bit` of 0.41.1 does, that of
/// 0.49.0 does not). Which version will run is not known, so it counts for the upper end only.
fn older_products(model: &Model, training: &Training) -> Bytes {
    let hidden = model.text.hidden;
    let each = |run: &Blocks| {
        let inner = match &run.block.mlp {
            Mlp::Dense(dense) => hidden + dense.ffn,
            Mlp::Experts(experts) => experts.active * (hidden + experts.each.ffn) + experts.shared.map_or(0, |shared| shared.ffn),
        };
        training.tokens() * (hidden + inner) * 2
    };
    let runs = model.text.blocks.iter();
    Bytes(match training.checkpointing {
        Checkpointing::Full => runs.map(each).max().unwrap_or(0),
        Checkpointing::None | Checkpointing::Selective => runs.map(|run| run.count * each(run)).sum(),
    })
}

/// The phases of a step on a GPU that runs `piece` and keeps what `held` says.
fn stage(piece: &Piece, held: &Held, training: &Training, workspace: Bytes) -> Vec<Moment> {
    let precision = Precision::of(&training.method).gathered(&training.parallel);
    let Held { states, buffers, .. } = held;
    let counter = Counter::new(&piece.model.text, training, precision);
    let model = &piece.model;
    let hidden = model.text.hidden;
    let rows = training.tokens().div_ceil(piece.sequence);
    let full = training.checkpointing == Checkpointing::Full;
    let logits = if piece.last { Logits::of(model, training, &precision, training.tokens()) } else { Logits::default() };
    let layer = |block| {
        let layer = counter.layer(block, hidden);
        if piece.sequence == 1 { layer } else { along_sequence(layer, &counter.layer(block, 2 * hidden), piece.sequence) }
    };
    // FSDP casts what it gathers, and keeps no copies.
    let casts = precision.casts() && !held.buffers.cast;
    let runs: Vec<Run> = model.text.blocks.iter().map(|run| Run::new(run, layer(&run.block), piece, training, &precision, casts)).collect();
    let layers: u64 = runs.iter().map(|run| run.count * run.stays).sum();
    let end = if piece.last { rows * counter.end(model.text.final_norm, hidden) } else { 0 };
    let copies = if casts { runs.iter().map(|run| run.count * run.casts).sum::<u64>() } else { 0 };
    let head_copy = if casts && piece.last { model.text.vocab * hidden * precision.product } else { 0 };
    // Micro-batches that wait in the pipeline for their backward pass, beside the one that runs.
    let waiting = layers.saturating_mul(piece.alive).div_ceil(piece.pieces) - layers;
    let shared = counter.shared(&model.text, full);
    let tower = if piece.first { tower::kept(model, training, &precision) } else { 0 };
    let all = waiting + layers + end + shared + tower;
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
        footprint[Part::Gradients] = Bytes(held.gradients(gradients));
        footprint[Part::Optimizer] += Bytes(update);
        footprint[Part::Workspace] += Bytes(buffer);
        Moment { phase, footprint }
    };
    // Under checkpointing autograd keeps no copy of a layer's weights; autocast's own cache of them lives to the end of the forward pass.
    let kept_copies = if full { 0 } else { copies };
    let mut moments = vec![
        Moment { phase: Phase::Rest, footprint: rest },
        moment(Phase::Forward, all + copies + head_copy, logits.forward, 0),
        moment(Phase::Loss, all + kept_copies + head_copy, logits.loss, 0),
    ];
    // The gradient of a head of its own is done with when the head is; that of a tied one waits for the embedding's and is counted as a temporary.
    let table = model.text.vocab * hidden * precision.gradient;
    let tied = model.text.tied && piece.first && piece.last;
    let (head_gradient, pending) = match (precision.full && piece.last, tied) {
        (true, true) => (0, table),
        (true, false) => (table, 0),
        (false, _) => (0, 0),
    };
    let mut worst = moment(Phase::Backward, all + kept_copies + head_copy, logits.head, 0);
    let mut offer = |activations, gradients| {
        let here = moment(Phase::Backward, activations, logits.after, gradients);
        if here.footprint.total() > worst.footprint.total() {
            worst = here;
        }
    };
    // Activations fall and gradients rise in equal steps through a run of equal layers, so the worst layer is the last or the first of a run.
    let mut left = layers + kept_copies;
    let mut gradients = head_gradient;
    for run in runs.iter().rev() {
        let Run { count, layer, gradient, .. } = run;
        let step = run.stays + if full { 0 } else { run.casts };
        for at in [0, count - 1] {
            let recomputed = if full { layer.kept + run.casts } else { layer.inside * u64::from(run.reruns) };
            let below = waiting + left - at * step + shared + tower + recomputed + pending;
            // Where a layer's backward pass is at its worst, most of its own gradients are yet to come; at its end it has given back what it kept.
            offer(below + layer.working, gradients + at * gradient + run.first);
            offer(below - step.min(below) - recomputed.min(below - step.min(below)) + 2 * layer.input, gradients + (at + 1) * gradient);
        }
        left -= count * step;
        gradients += count * gradient;
    }
    // The embedding's gradient is as large as its table; a tied head's is added to it, which makes a third.
    if precision.full && piece.first {
        let sum = if tied { 2 * table } else { 0 };
        offer(waiting + left + shared + tower + sum, gradients + table);
    }
    moments.push(worst);
    if held.loading > 0 {
        let mut footprint = rest;
        footprint[Part::Optimizer] = Bytes(0);
        footprint[Part::Weights] += Bytes(held.loading);
        moments.insert(0, Moment { phase: Phase::Load, footprint });
    }
    moments.push(moment(Phase::Update, 0, logits.after, u64::MAX));
    moments
}

/// A run of equal layers, in bytes.
struct Run {
    count: u64,
    layer: Layer,
    /// What one of them leaves for its backward pass.
    stays: u64,
    /// Whether attention's inside is run again.
    reruns: bool,
    /// Gradients of one of them.
    gradient: u64,
    /// The gradient that is there when the MLP's backward pass is at its worst: of its last product.
    first: u64,
    /// BF16 copies of the weights of one of them, made by autocast.
    casts: u64,
}

impl Run {
    fn new(run: &Blocks, layer: Layer, piece: &Piece, training: &Training, precision: &Precision, casts: bool) -> Self {
        let mut of = Self {
            count: run.count,
            layer,
            stays: stays(&layer, training.checkpointing),
            reruns: training.checkpointing == Checkpointing::Selective,
            gradient: 0,
            first: 0,
            casts: 0,
        };
        match training.method.adapters() {
            None => of.gradient = piece.layer(&run.block) * precision.gradient,
            Some(adapters) => {
                for linear in run.block.linears(piece.model.text.hidden) {
                    if lora::adapts(&adapters.targets, linear.role) {
                        of.gradient += piece.copies(&linear) * adapters.rank * (linear.inputs + linear.outputs) * precision.gradient;
                    }
                }
            }
        }
        if precision.full || casts {
            for linear in run.block.linears(piece.model.text.hidden) {
                let elements = linear.matrix() * piece.copies(&linear);
                if linear.role == Role::Down && precision.full {
                    of.first += elements * precision.gradient;
                }
                if casts {
                    of.casts += elements * precision.product;
                }
            }
        }
        of
    }
}
