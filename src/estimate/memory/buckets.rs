//! How data-parallel workers share what a model's training keeps, and the buffers that sharing costs.
//!
//! Each of `N` **data-parallel workers** runs the same layers on sequences of its own, so their gradients are averaged in every step. `N` is the
//! number of GPUs over the tensor- and pipeline-parallel degrees; dividing by all GPUs is the common mistake. Experts that are spread over
//! `e` workers exist `N/e` times, and are shared among those.
//!
//! * **DDP** keeps everything on each worker, and PyTorch's reducer a second copy of all gradients in its buckets (unless gradients are made
//!   views of them, which is not the default).
//! * **ZeRO** (Rajbhandari et al., arXiv 1910.02054) divides optimizer states (1), gradients too (2), weights too (3). DeepSpeed reduces gradients
//!   through buckets of [`BUCKET`] elements, whatever the model's size: two in stages 1 and 2, where one fills while the other is reduced, one in
//!   stage 3. Stage 3 gathers weights before each product and keeps those that it will need again soon: see [`Window`].
//! * **FSDP** divides as ZeRO-3 does and gathers a whole layer at a time, and the next one while it runs. What belongs to no layer (embedding,
//!   final norm, head) stays gathered from the beginning of the forward to the end of the backward pass.
//! * **Megatron**'s distributed optimizer is ZeRO-1 with gradients reduced where they lie, in one standing buffer: nothing beside it.

use super::piece::Piece;
use super::precision::Precision;
use super::states::States;
use crate::workload::{Data, Framework, Parallel};

/// Elements of one of DeepSpeed's gradient buckets (`reduce_bucket_size`).
const BUCKET: u64 = 500_000_000;

/// Elements that DeepSpeed's ZeRO-3 updates at a time (`sub_group_size`).
const TILE: u64 = 1_000_000_000;

/// How far ahead and back DeepSpeed's ZeRO-3 keeps gathered weights, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Weights next used within so many elements of other weights are kept (`stage3_max_reuse_distance`). At the turn from the forward to
    /// the backward pass that is the last half of them: each lies between its two uses once on the way out and once on the way back.
    pub(crate) reuse: u64,
    /// Weights gathered ahead of their use (`stage3_prefetch_bucket_size`).
    pub(crate) prefetch: u64,
}

impl Window {
    /// DeepSpeed's own settings.
    pub(crate) const DEFAULT: Self = Self { reuse: 1_000_000_000, prefetch: 50_000_000 };

    /// Most elements that are whole at once, of `all` in layers of at most `largest`.
    pub(crate) fn live(self, largest: u64, all: u64) -> u64 {
        (self.reuse / 2).max(largest).saturating_add(self.prefetch).min(all)
    }
}

/// By how much workers divide weights, gradients and states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    weights: u64,
    gradients: u64,
    states: u64,
    expert: u64,
}

impl Shares {
    /// For `parallel`.
    pub(crate) const fn of(parallel: &Parallel) -> Self {
        let n = parallel.workers();
        let (weights, gradients, states) = match parallel.data {
            Data::Ddp => (1, 1, 1),
            Data::Zero1 => (1, 1, n),
            Data::Zero2 => (1, n, n),
            Data::Zero3 | Data::Fsdp => (n, n, n),
        };
        Self { weights, gradients, states, expert: parallel.expert }
    }

    /// What one worker keeps of `states`. `held` and `trained` are the elements of weights and of trained parameters that are on the GPU
    /// before workers share them.
    pub(crate) fn apply(&self, states: &States, held: Elements, trained: Elements) -> States {
        States {
            weights: held.share(states.weights, self.weights, self.expert),
            gradients: trained.share(states.gradients, self.gradients, self.expert),
            optimizer: trained.share(states.optimizer, self.states, self.expert),
            update: trained.share(states.update, self.states, self.expert),
            trainable: trained.share(states.trainable, self.states, self.expert),
        }
    }
}

/// A number of elements, and how many of them belong to experts that are spread over workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Elements {
    pub(crate) all: u64,
    pub(crate) experts: u64,
}

impl Elements {
    /// `bytes` of all elements, divided among `n` workers, those of experts among `n / expert`. Rounded up: no part is ever lost.
    pub(crate) fn share(self, bytes: u64, n: u64, expert: u64) -> u64 {
        if n == 1 || self.all == 0 {
            return bytes;
        }
        let copies = u128::from(self.all - self.experts) + u128::from(self.experts) * u128::from(expert);
        let shared = (u128::from(bytes) * copies).div_ceil(u128::from(self.all) * u128::from(n));
        u64::try_from(shared).unwrap_or(u64::MAX).min(bytes)
    }
}

/// Buffers of sharing, in bytes, by moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Buffers {
    /// Always.
    pub(crate) standing: u64,
    /// While the forward pass runs, and the loss.
    pub(crate) forward: u64,
    /// While the backward pass runs.
    pub(crate) backward: u64,
    /// While the optimizer updates.
    pub(crate) update: u64,
    /// Whether weights are gathered in the width of products, so that autocast has nothing to copy.
    pub(crate) cast: bool,
}

impl Buffers {
    /// Of one worker that runs `piece`. `states` are what it would keep alone, `own` what it keeps of them.
    pub(crate) fn of(
        piece: &Piece,
        parallel: &Parallel,
        framework: Framework,
        precision: &Precision,
        states: &States,
        own: &States,
    ) -> Self {
        let mut buffers = Self::default();
        if parallel.workers() == 1 {
            return buffers;
        }
        // Gradients travel in the width of the products that make them.
        let width = precision.product;
        // DeepSpeed updates FP32 master weights with FP32 gradients, and so makes a copy of narrower ones.
        let widened = if precision.master > 0 && precision.gradient < 4 { 4 * own.trainable } else { 0 };
        match (parallel.data, framework) {
            (Data::Ddp, Framework::HuggingFace | Framework::Lightning) => buffers.standing = states.gradients,
            (Data::Zero1 | Data::Zero2, Framework::HuggingFace | Framework::Lightning) => {
                buffers.backward = 2 * BUCKET * width;
                buffers.update = widened;
            }
            (Data::Ddp | Data::Zero1 | Data::Zero2, Framework::Megatron) => {}
            (Data::Zero3, Framework::HuggingFace | Framework::Lightning) => {
                let live = Window::DEFAULT.live(unit(piece), piece.parameters()) * width;
                // Norms and biases are too small to be worth dividing (`stage3_param_persistence_threshold`).
                buffers.standing = BUCKET * width + small(piece) * width;
                // The update goes tile by tile.
                (buffers.forward, buffers.backward, buffers.update) = (live, live, widened.min(4 * TILE));
            }
            (Data::Fsdp, _) | (Data::Zero3, Framework::Megatron) => buffers = Self::layer_by_layer(piece, precision, states),
        }
        buffers
    }

    /// FSDP.
    fn layer_by_layer(piece: &Piece, precision: &Precision, states: &States) -> Self {
        let all = piece.parameters().max(1);
        // What a gathered element takes, 4-bit weights and adapters included. FP32 weights are gathered in the width of products.
        let gathered = |elements: u64| {
            let bytes = mul_div(elements, states.weights, all);
            if precision.casts() { mul_div(bytes, precision.product, precision.weight) } else { bytes }
        };
        // Gradients come in the width of products, and are reduced from a second buffer in the width they are kept in.
        let reduced =
            |elements: u64| mul_div(elements, states.trainable, all) * (precision.product.min(precision.gradient) + precision.gradient);
        let (layer, outside) = (piece.largest_layer(), piece.outside());
        let two = (2 * layer).min(all.saturating_sub(outside));
        let forward = gathered(outside + two);
        Self { forward, backward: forward + reduced(layer).max(reduced(outside)), cast: true, ..Self::default() }
    }
}

/// Elements that are gathered together at most: a layer, or a table beside the layers.
fn unit(piece: &Piece) -> u64 {
    let table = piece.model.text.vocab * piece.model.text.hidden;
    piece.largest_layer().max(if piece.first || piece.last { table } else { 0 })
}

/// Elements of norms.
fn small(piece: &Piece) -> u64 {
    let text = &piece.model.text;
    text.blocks.iter().map(|blocks| blocks.count * blocks.block.other_parameters(text.hidden)).sum()
}

/// `a·b/c`, rounded up.
fn mul_div(a: u64, b: u64, c: u64) -> u64 {
    u64::try_from((u128::from(a) * u128::from(b)).div_ceil(u128::from(c))).unwrap_or(u64::MAX)
}
