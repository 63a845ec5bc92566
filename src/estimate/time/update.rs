//! The optimizer's update, once per step.

use crate::units::Bytes;
use crate::workload::operations::Traffic;
use crate::workload::{Method, Optimizer};

/// Tensors of a model per layer, for optimizers that update one after another.
const KERNELS_OF_A_LOOP: u64 = 10;

/// What an update of `elements` parameters in `tensors` tensors moves.
///
/// AdamW in one kernel reads weight, gradient and two moments and writes all but the gradient: 28 bytes in FP32, 14 in BF16, 30 with a BF16
/// copy of an FP32 weight. In elementary operations (lists of tensors or one after another) each of ten reads and writes for itself: decay 2, first
/// moment 3, second 2 and 4, root 2, two quotients 2 and 2, update 4 accesses. States in 8 bits are read and written as bytes.
pub(super) fn update(optimizer: Optimizer, method: &Method, elements: u64, tensors: u64) -> Traffic {
    // Widths of weight, gradient, master and state.
    let (weight, gradient, master, state) = match method {
        Method::FullFp32 | Method::AmpBf16 => (4, 4, 0, 4),
        Method::FullMixed { fp32_gradients } => (2, if *fp32_gradients { 4 } else { 2 }, 4, 4),
        Method::FullBf16 => (2, 2, 0, 2),
        Method::Lora(adapters) | Method::Qlora(adapters, _) if adapters.fp32 => (4, 4, 0, 4),
        Method::Lora(_) | Method::Qlora(..) => (2, 2, 0, 2),
    };
    // A master copy is what is updated; the weight is then written from it.
    let updated = if master > 0 { master } else { weight };
    let written = if master > 0 { weight } else { 0 };
    let (bytes, kernels) = match optimizer {
        Optimizer::AdamWFused => (2 * updated + gradient + 4 * state + written, tensors.div_ceil(32)),
        Optimizer::AdamWLoop => (2 * updated + 18 * state + gradient + written, KERNELS_OF_A_LOOP * tensors),
        Optimizer::AdamWForeach => (2 * updated + 18 * state + gradient + written, KERNELS_OF_A_LOOP * tensors.div_ceil(32)),
        Optimizer::SgdMomentum => (3 * updated + gradient + 3 * state + written, 3 * tensors.div_ceil(32)),
        Optimizer::Adam8bit | Optimizer::PagedAdam8bit => (2 * updated + gradient + 4 + written, tensors),
    };
    Traffic::new(bytes * elements, kernels)
}

/// The norm of all gradients and their scaling to a largest one, which all frameworks do by default.
pub(super) fn clipping(gradients: Bytes, tensors: u64) -> Traffic {
    Traffic { bytes: gradients * 3, kernels: 2 * tensors.div_ceil(32) + 4 }
}

/// Bytes of host memory that the host's update of one parameter moves: weight, gradient and two moments read, all but the gradient written
/// (`DeepSpeedCPUAdam`), and a 16-bit weight for the GPU.
pub(super) const HOST_UPDATE: u64 = 30;
