//! The time of a training step.

use super::communication;
use super::micro::{Alone, Micro, gathers};
use super::parts::{Beyond, Bound, Kind, Parts, Phase};
use super::products::Products;
use super::software::Software;
use super::speeds::Speeds;
use super::update;
use crate::calibrate::Prediction;
use crate::error::Result;
use crate::estimate::memory::{Held, Piece, Precision, lora, pieces};
use crate::figure::{Basis, Figure, Share};
use crate::units::{Bytes, Seconds};
use crate::workload::operations::Traffic;
use crate::workload::{Block, Data, Model, Offload, Training};

/// Factor for what no part stands for: other work on the host, waiting for the slowest GPU, clocks under the power limit, where nothing was
/// What a step takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The step by phase and kind, on the GPU that takes longest.
    pub parts: Parts,
    /// Its time.
    pub time: Figure<Seconds>,
    /// Tokens per second of the whole job.
    pub tokens_per_second: f64,
    /// Operations that the mathematics needs, over the printed peak.
    pub mfu: Option<Share>,
    /// The same with what is computed again.
    pub hfu: Option<Share>,
    /// What takes most of it.
    pub bound_by: Bound,
    /// What the numbers come from: quantity, basis, sources.
    pub basis: Vec<(&'static str, Basis, String)>,
}

/// The time of one optimizer step of `training`.
///
/// # Errors
/// [`Error::Usage`](crate::error::Error::Usage) for settings that cannot be, as [`memory::train`](crate::estimate::memory::train).
pub fn train(model: &Model, training: &Training, software: &Software, speeds: &Speeds) -> Result<Step> {
    let pieces = pieces(model, training)?;
    let mut timed = Products::new();
    let alone: Vec<Alone> = pieces.iter().map(|piece| Alone::of(piece, training, software, speeds, &mut timed)).collect();
    let held: Vec<Held> = pieces.iter().map(|piece| Held::of(piece, training, &Precision::of(&training.method))).collect();
    let Whole { parts, useful, again } = whole(&pieces, &alone, &held, training, software, speeds);
    let dtype = speeds.dtype(Precision::of(&training.method).product);
    let total = parts.total().0;
    let share = |operations: f64| Some(Share(operations * training.grad_accum as f64 / total / speeds.peak(dtype)?.0));
    let tokens = (training.tokens() * training.grad_accum * training.parallel.workers()) as f64;
    let basis = basis(training, software, speeds);
    let weakest = basis.iter().map(|(_, basis, _)| *basis).max().unwrap_or(Basis::Assumed);
    let from = basis.iter().map(|(name, _, from)| format!("{name}: {from}")).collect();
    Ok(Step {
        time: parts.figure(Beyond::USUAL, weakest, from),
        tokens_per_second: tokens / total,
        mfu: share(useful),
        hfu: share(useful + again),
        bound_by: parts.bound_by(),
        basis,
        parts,
    })
}

/// What the numbers of a step come from: quantity, basis, sources.
pub(crate) fn basis(training: &Training, software: &Software, speeds: &Speeds) -> Vec<(&'static str, Basis, String)> {
    let dtype = speeds.dtype(Precision::of(&training.method).product);
    speeds.basis(dtype, software.launching, training.parallel.gpus > 1, training.offload != Offload::None)
}

/// A step by phase and kind, and the operations of one micro-batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Whole {
    pub(crate) parts: Parts,
    useful: f64,
    again: f64,
}

impl Whole {
    /// The interval of its time.
    pub(crate) fn interval(&self) -> (Seconds, Seconds) {
        self.parts.interval(Beyond::USUAL)
    }
}

/// A step of `training` whose stages run these pieces: what each takes alone, and what it keeps.
pub(crate) fn whole(pieces: &[Piece], alone: &[Alone], held: &[Held], training: &Training, software: &Software, speeds: &Speeds) -> Whole {
    let parallel = &training.parallel;
    let mut slowest: Option<(Micro<'_>, f64, &Piece, &Held)> = None;
    let (mut useful, mut again) = (0.0, 0.0);
    for ((piece, alone), held) in pieces.iter().zip(alone).zip(held) {
        let micro = Micro::together(piece, alone, training, software, speeds);
        useful = f64::max(useful, alone.useful);
        again = f64::max(again, alone.again);
        let total = micro.parts.total().0;
        if slowest.as_ref().is_none_or(|(_, slow, ..)| total > *slow) {
            slowest = Some((micro, total, piece, held));
        }
    }
    let mut parts = Parts::default();
    if let Some((micro, total, piece, held)) = &slowest {
        parts.add_times(&micro.parts, training.grad_accum as f64);
        // Stages wait for the first micro-batch to reach them and for the last to come back: Narayanan et al., arXiv 2104.04473, section 2.2.
        let waiting = (parallel.pipeline - 1) as f64 / parallel.interleave as f64;
        if waiting > 0.0 {
            let (low, high) = micro.parts.interval(Beyond::NOTHING);
            let one = Prediction { time: Seconds(*total), low, high, extrapolated: true };
            parts.add(Phase::Update, Kind::Bubble, one.times(waiting));
        }
        micro.once(piece, held, &mut parts);
    }
    if let Some(loading) = &software.loading {
        // Workers prepare the next step while this one runs.
        let sequences = (training.batch * training.grad_accum) as f64;
        let needed = loading.per_sequence.0 * sequences / loading.workers.max(1) as f64;
        let hidden = if loading.workers == 0 { 0.0 } else { parts.total().0 };
        let stall = Seconds((needed - hidden).max(0.0));
        parts.add(Phase::Update, Kind::Data, Prediction::within(stall, 1.3, true));
    }
    Whole { parts, useful, again }
}

impl Micro<'_> {
    /// What happens once per step.
    fn once(&self, piece: &Piece, held: &Held, parts: &mut Parts) {
        let (training, speeds) = (self.training, self.speeds);
        let parallel = &training.parallel;
        let trained = held.states.trainable;
        let tensors = tensors(piece, training);
        // Gradients of later micro-batches are added to those of the first: two read, one written.
        let more = training.grad_accum - 1;
        if more > 0 {
            let added = Traffic { bytes: Bytes(held.states.gradients) * 3, kernels: tensors };
            parts.add(Phase::Backward, Kind::Elementwise, speeds.elementwise(added).times(more as f64));
        }
        // What hides messages once per step: the last backward pass, and what of it waits for other messages already.
        let mut backward = self.seconds(Phase::Backward) + self.seconds(Phase::Recompute);
        if !gathers(training) {
            let times = training.grad_accum as f64;
            if parallel.workers() > 1 {
                let copied = Traffic::new(2 * held.trainable * self.precision.gradient, tensors);
                parts.add(Phase::Backward, Kind::Elementwise, speeds.elementwise(copied));
            }
            backward += communication::averaged(
                speeds,
                parallel,
                held.trainable,
                self.precision.gradient.min(self.precision.product.max(2)),
                backward,
                parts,
                times,
            );
        }
        let clipping = update::clipping(Bytes(trained * self.precision.gradient), tensors);
        parts.add(Phase::Update, Kind::Optimizer, speeds.elementwise(clipping));
        let update = update::update(training.optimizer, &training.method, trained, tensors);
        if training.offload == Offload::None {
            let on_gpu = speeds.update(update);
            parts.add(Phase::Update, Kind::Optimizer, on_gpu);
            let host = speeds.launches(update.kernels + clipping.kernels, self.software.launching);
            let wait = |host: Seconds| Seconds((host.0 - on_gpu.time.0).max(0.0));
            parts.add(
                Phase::Update,
                Kind::Launch,
                Prediction { time: wait(host.time), low: wait(host.low), high: wait(host.high), ..host },
            );
        } else {
            // Gradients to the host while the backward pass runs, the update there, weights back.
            let gradients = speeds.host_copy(Bytes(trained * self.precision.product));
            parts.add(Phase::Backward, Kind::Host, communication::exposed(gradients, backward));
            let sharing = parallel.gpus.min(parallel.per_node) as f64;
            let bytes = (trained * update::HOST_UPDATE) as f64 * sharing;
            parts.add(Phase::Update, Kind::Host, speeds.host_memory(bytes));
            parts.add(Phase::Update, Kind::Host, gradients);
        }
    }
}

/// Trained tensors, which optimizers update one by one or in lists.
fn tensors(piece: &Piece, training: &Training) -> u64 {
    let text = &piece.model.text;
    if training.parallel.data == Data::Fsdp && training.parallel.workers() > 1 {
        // FSDP makes one tensor of each layer's, and one of the rest.
        return text.layers() + 1;
    }
    match training.method.adapters() {
        Some(adapters) => {
            let mut count = 0;
            lora::tensors(piece, adapters, &mut |_, copies| count += copies);
            count
        }
        None => {
            let of = |block: &Block| {
                let tensors = block.linears(text.hidden).map(|linear| 1 + u64::from(linear.bias)).sum::<u64>();
                tensors + block.layout.norms()
            };
            3 + text.blocks.iter().map(|run| run.count * of(&run.block)).sum::<u64>()
        }
    }
}
