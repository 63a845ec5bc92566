//! What stays between steps: weights, gradients, optimizer states; and what the update itself needs.
//!
//! Most of it is a number of bytes per parameter. What is not: 8-bit optimizers keep small tensors in FP32, 4-bit weights carry a scale per
//! block, and an optimizer that walks the tensors one by one needs room for the largest. So the sums run over tensors, not over parameters.

use super::lora;
use super::piece::Piece;
use super::precision::Precision;
use crate::error::Result;
use crate::workload::{Attention, Block, Linear, Method, Mlp, Model, Norm, Optimizer, Quantised, Role, Training};

/// Weights that share an FP32 scale in NF4, and scales that share a second one (bitsandbytes; QLoRA, section 3).
const NF4_BLOCK: u64 = 64;
const NF4_SCALES: u64 = 256;
/// The table of NF4's sixteen values, and of the 256 that double-quantised scales take, in FP32.
const NF4_TABLE: u64 = 16 * 4;
const SCALE_TABLE: u64 = 256 * 4;
/// Numbers of an 8-bit state that share an FP32 scale, and the smallest tensor that is kept in 8 bits at all (bitsandbytes).
const STATE_BLOCK: u64 = 256;
const SMALLEST_8BIT: u64 = 4096;

/// Bytes that do not come and go within a step, and what the update adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct States {
    /// The model's weights and its adapters.
    pub(crate) weights: u64,
    /// Gradients of everything that is trained.
    pub(crate) gradients: u64,
    /// Optimizer states and master weights.
    pub(crate) optimizer: u64,
    /// Temporaries of the update.
    pub(crate) update: u64,
    /// Parameters that are trained.
    pub(crate) trainable: u64,
}

/// How many parameters of `model` are trained under `training`: all, or those of the adapters.
///
/// # Errors
/// [`Error::Usage`](crate::error::Error::Usage) for adapters that the model cannot have, such as a rank above a dimension.
pub fn trainable(model: &Model, training: &Training) -> Result<u64> {
    if let Some(adapters) = training.method.adapters() {
        lora::check(model, adapters)?;
    }
    Ok(States::of(&Piece::whole(model), training).trainable)
}

impl States {
    /// The states of `piece` under `training`, data-parallel workers sharing nothing.
    pub(crate) fn of(piece: &Piece, training: &Training) -> Self {
        let precision = Precision::of(&training.method);
        let mut states = Self::default();
        let mut largest = 0;
        let mut tensor = |elements: u64, copies: u64| {
            states.trainable += elements * copies;
            states.optimizer += optimizer(training.optimizer, &precision, elements) * copies;
            largest = largest.max(elements);
        };
        let base = match &training.method {
            Method::Lora(adapters) | Method::Qlora(adapters, _) => {
                lora::tensors(piece, adapters, &mut tensor);
                match training.method {
                    Method::Qlora(_, format) => quantised(piece, format, precision.weight),
                    _ => piece.parameters() * precision.weight,
                }
            }
            _ => {
                tensors(piece, &mut tensor);
                piece.parameters() * precision.weight
            }
        };
        let adapters = if precision.full { 0 } else { states.trainable * precision.trained };
        states.weights = base + adapters;
        states.gradients = states.trainable * precision.gradient;
        states.update = match training.optimizer {
            // The square roots of all second moments at once.
            Optimizer::AdamWForeach => states.trainable * precision.state,
            // The square root of one tensor's second moment, and the same divided by its correction.
            Optimizer::AdamWLoop => 2 * largest * precision.state,
            Optimizer::AdamWFused | Optimizer::SgdMomentum | Optimizer::Adam8bit | Optimizer::PagedAdam8bit => 0,
        };
        states
    }
}

/// Bytes that an optimizer keeps for a tensor of so many elements, a master copy included.
fn optimizer(kind: Optimizer, precision: &Precision, elements: u64) -> u64 {
    /// Every tensor's count of steps, one FP32 number.
    const STEPS: u64 = 4;
    let moment = match kind {
        Optimizer::AdamWForeach | Optimizer::AdamWLoop | Optimizer::AdamWFused => 2 * elements * precision.state + STEPS,
        Optimizer::SgdMomentum => elements * precision.state,
        Optimizer::Adam8bit | Optimizer::PagedAdam8bit if elements < SMALLEST_8BIT => 2 * elements * 4,
        Optimizer::Adam8bit | Optimizer::PagedAdam8bit => 2 * (elements + 4 * elements.div_ceil(STATE_BLOCK)),
    };
    moment + elements * precision.master
}

/// Every parameter tensor of `piece`, as `tensor(elements, how many like it)`.
fn tensors(piece: &Piece, tensor: &mut impl FnMut(u64, u64)) {
    let text = &piece.model.text;
    if piece.first {
        tensor(text.embedding_parameters(), 1);
    }
    if piece.last {
        if piece.head() > 0 {
            tensor(piece.head(), 1);
        }
        norm(text.final_norm, text.hidden, 1, tensor);
    }
    for blocks in &text.blocks {
        block(piece, &blocks.block, text.hidden, blocks.count, tensor);
    }
    if let Some(vision) = &piece.model.vision {
        tensor(vision.tower.stem_parameters, 1);
        for blocks in &vision.tower.blocks {
            block(piece, &blocks.block, vision.tower.hidden, blocks.count, tensor);
        }
        for linear in &vision.projector {
            product(linear, linear.copies, tensor);
        }
        tensor(vision.projector_norms, 1);
    }
}

fn block(piece: &Piece, block: &Block, hidden: u64, count: u64, tensor: &mut impl FnMut(u64, u64)) {
    for linear in block.linears(hidden) {
        match linear.role {
            // All experts of a layer are one tensor, their gates and ways up together.
            Role::Gate if linear.copies > 1 => {}
            _ if linear.copies > 1 => {
                let gates = match block.mlp {
                    Mlp::Experts(experts) if linear.role == Role::Up && experts.each.gated => 2,
                    _ => 1,
                };
                tensor(linear.matrix() * piece.copies(&linear) * gates, count);
                if linear.bias {
                    tensor(linear.outputs * piece.copies(&linear) * gates, count);
                }
            }
            _ => product(&linear, count * piece.copies(&linear), tensor),
        }
    }
    norm(block.norm, hidden, count * block.layout.norms(), tensor);
    if let Attention::Grouped(_) | Attention::Latent(_) = block.attention
        && block.attention.norm_parameters() > 0
    {
        tensor(block.attention.norm_parameters(), count);
    }
    let rest = block.other_parameters(hidden) - block.layout.norms() * block.norm.parameters(hidden) - block.attention.norm_parameters();
    if rest > 0 {
        tensor(rest, count);
    }
}

fn product(linear: &Linear, count: u64, tensor: &mut impl FnMut(u64, u64)) {
    tensor(linear.matrix(), count);
    if linear.bias {
        tensor(linear.outputs, count);
    }
}

fn norm(norm: Norm, width: u64, count: u64, tensor: &mut impl FnMut(u64, u64)) {
    tensor(width, count * (norm.parameters(width) / width));
}

/// Bytes of `piece` with the products of its layers in 4 bits; tables, norms and the output head keep `width` bytes per parameter.
fn quantised(piece: &Piece, format: Quantised, width: u64) -> u64 {
    let mut rest = piece.parameters();
    let mut packed = 0;
    let mut stack = |blocks: &[crate::workload::Blocks], hidden: u64| {
        for run in blocks {
            for linear in run.block.linears(hidden) {
                let copies = run.count * piece.copies(&linear);
                rest -= linear.matrix() * copies;
                packed += nf4(linear.matrix(), format) * copies;
            }
        }
    };
    stack(&piece.model.text.blocks, piece.model.text.hidden);
    if let Some(vision) = &piece.model.vision {
        stack(&vision.tower.blocks, vision.tower.hidden);
    }
    packed + rest * width
}

/// Bytes of one matrix in NF4: two weights a byte, a scale per block, its tables.
pub(crate) const fn nf4(elements: u64, format: Quantised) -> u64 {
    let scales = elements.div_ceil(NF4_BLOCK);
    let scales = match format {
        Quantised::Nf4 => 4 * scales,
        Quantised::Nf4Double => scales + 4 * scales.div_ceil(NF4_SCALES) + 4 + SCALE_TABLE,
    };
    elements.div_ceil(2) + scales + NF4_TABLE
}
