//! What one GPU of many holds of a training step.
//!
//! Sharing happens in this order, and each step works on what the one before left: the pipeline gives a GPU its layers, tensor parallelism its
//! part of every product, expert parallelism its experts (see [`piece`](super::piece) and [`pipeline`](super::pipeline)); then data-parallel
//! workers divide weights, gradients and states (see [`buckets`](super::buckets)); what is left may move to the host (see
//! [`offload`](super::offload)).
//!
//! Sharing never increases what is shared: weights, gradients, optimizer states, logits and the activations of a layer are at most those of a GPU alone. What
//! it costs stands in [`Part::Workspace`](super::Part::Workspace): buckets, gathered layers, buffers for tokens and hidden states on their way.
//! The one exception is the pipeline's first stage, which may keep more activations than one GPU would when its layers are interleaved or do
//! not divide evenly.

use super::activations::Layer;
use super::buckets::{Buffers, Elements, Shares, Window};
use super::lora;
use super::offload::{self, Moved};
use super::piece::Piece;
use super::precision::Precision;
use super::states::States;
use crate::error::{Error, Result};
use crate::workload::{Blocks, Data, Framework, Mlp, Model, Offload, Parallel, Training};

/// What stays on a GPU, and what sharing costs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// Its share, and what of it is on the GPU.
    pub(crate) states: States,
    /// Trained elements before workers share them.
    pub(crate) trainable: u64,
    /// Bytes of all gradients before workers share them: what layers add up to.
    gradients: u64,
    /// Buffers of sharing with other workers.
    pub(crate) buffers: Buffers,
    /// Weights brought in from the host, and their gradients.
    pub(crate) live: u64,
    /// Weights that are gathered beside its share while the checkpoint is loaded.
    pub(crate) loading: u64,
    /// Host memory of one GPU.
    pub(crate) host: u64,
    /// Whether gradients are there during the whole step: a standing buffer, or those of the micro-batches before.
    pub(crate) gradients_stand: bool,
}

impl Held {
    /// Of one worker that runs `piece`.
    pub(crate) fn of(piece: &Piece, training: &Training, precision: &Precision) -> Self {
        Self::from(&States::of(piece, training), piece, training, precision)
    }

    /// The same from the states that it would keep `alone`, which are equal however workers share.
    pub(crate) fn from(alone: &States, piece: &Piece, training: &Training, precision: &Precision) -> Self {
        let parallel = &training.parallel;
        let held = Elements { all: piece.parameters(), experts: piece.experts() };
        let own = Shares::of(parallel).apply(alone, held, trained(piece, training, alone));
        let buffers = Buffers::of(piece, parallel, training.framework, precision, alone, &own);
        let (largest, width) = (piece.largest_layer(), precision.product);
        let Moved { states, live, host } = offload::moved(own, training.offload, parallel, largest, held.all, width, Window::DEFAULT);
        let shared = parallel.workers() > 1;
        let gathers = shared && training.framework == Framework::Lightning && parallel.data == Data::Fsdp;
        let loading = if gathers { alone.weights } else { 0 };
        let standing = shared && (training.framework == Framework::Megatron || parallel.data == Data::Zero3);
        Self {
            states,
            trainable: alone.trainable,
            gradients: alone.gradients,
            buffers,
            live,
            loading,
            host,
            gradients_stand: standing || training.grad_accum > 1,
        }
    }

    /// What this GPU keeps while `made` bytes of gradients have been made.
    pub(crate) fn gradients(&self, made: u64) -> u64 {
        if self.gradients_stand || made >= self.gradients {
            return self.states.gradients;
        }
        let kept = (u128::from(made) * u128::from(self.states.gradients)).div_ceil(u128::from(self.gradients));
        u64::try_from(kept).unwrap_or(u64::MAX)
    }
}

/// Trained elements on this GPU.
fn trained(piece: &Piece, training: &Training, states: &States) -> Elements {
    let experts = match training.method.adapters() {
        _ if piece.expert == 1 => 0,
        None => piece.experts(),
        Some(_) if piece.expert == 1 => 0,
        Some(adapters) => {
            let mut experts = 0;
            for Blocks { count, block } in &piece.model.text.blocks {
                for linear in block.linears(piece.model.text.hidden) {
                    if piece.spread(&linear) && lora::adapts(&adapters.targets, linear.role) {
                        experts += count * piece.copies(&linear) * adapters.rank * (linear.inputs + linear.outputs);
                    }
                }
            }
            experts
        }
    };
    Elements { all: states.trainable, experts }
}

/// Buffers for what GPUs send each other while layers run, in bytes.
pub(crate) fn traffic(piece: &Piece, training: &Training, precision: &Precision) -> u64 {
    /// A busy expert's GPU gets so many tokens for each ten of an even share (Megatron and DeepSpeed users set capacities of 1.2 and more).
    const BUSY: u64 = 12;
    let Parallel { pipeline, .. } = training.parallel;
    let (tokens, hidden) = (training.tokens(), piece.model.text.hidden);
    let mut bytes = 0;
    if piece.sequence > 1 {
        // The whole sequence, gathered before a product and scattered after it.
        bytes += tokens * hidden * precision.product;
    }
    if pipeline > 1 {
        // Hidden states from the stage before, and their gradients from the one behind.
        bytes += 2 * tokens.div_ceil(piece.sequence) * hidden * precision.product;
    }
    if piece.expert > 1 {
        let dispatched = |block: &crate::workload::Block| match block.mlp {
            // What is sent and what is received, there; and what a busy GPU computes more than its share.
            Mlp::Experts(experts) => {
                let inside = experts.each.ffn * if experts.each.gated { 4 } else { 2 };
                let (buffers, surplus) = (2 * hidden * BUSY, (hidden + inside) * (BUSY - 10));
                tokens.div_ceil(piece.sequence) * experts.active * (buffers + surplus) * precision.product / 10
            }
            Mlp::Dense(_) => 0,
        };
        bytes += piece.model.text.blocks.iter().map(|blocks| dispatched(&blocks.block)).max().unwrap_or(0);
    }
    bytes
}

/// A layer whose residual stream is divided along the sequence, from what it is undivided.
///
/// A layer's activations are affine in the width of the residual stream: what lies along it (norms, inputs of the first products, dropout masks)
/// grows with that width, what lies inside attention and the MLP does not. So the difference between a layer on a stream of twice the width and
/// the layer itself is what sequence parallelism divides.
pub(crate) const fn along_sequence(layer: Layer, twice: &Layer, gpus: u64) -> Layer {
    const fn less(one: u64, two: u64, gpus: u64) -> u64 {
        let stream = two.saturating_sub(one);
        one - stream + stream.div_ceil(gpus)
    }
    Layer { input: less(layer.input, twice.input, gpus), kept: less(layer.kept, twice.kept, gpus), ..layer }
}

/// Communicators that a GPU is a member of: one per way of sharing in use.
pub(crate) const fn communicators(parallel: &Parallel) -> u64 {
    let Parallel { tensor, pipeline, expert, .. } = *parallel;
    (parallel.workers() > 1) as u64 + (tensor > 1) as u64 + (pipeline > 1) as u64 + (expert > 1) as u64
}

/// Whether these ways of sharing go together.
///
/// # Errors
/// [`Error::Usage`] naming the setting and what to change.
pub(crate) fn check(model: &Model, training: &Training) -> Result<()> {
    let Parallel { tensor, sequence, data, .. } = training.parallel;
    if sequence && tensor == 1 {
        return Err(Error::usage(
            "sequence parallelism divides activations among tensor-parallel GPUs; ask for two of those or leave it out",
        ));
    }
    if training.offload == Offload::All && matches!(data, Data::Zero1 | Data::Zero2) {
        return Err(Error::usage("weights in host memory need workers that share weights; choose zero3, or offload the optimizer only"));
    }
    if training.parallel.pipeline > 1 && matches!(data, Data::Zero2 | Data::Zero3 | Data::Fsdp) && training.framework != Framework::Megatron
    {
        return Err(Error::usage(format!(
            "a pipeline adds up gradients over the micro-batches of {}, which workers that share gradients cannot; choose zero1 or one stage",
            model.name
        )));
    }
    Ok(())
}
