//! Work that reads and writes and hardly computes.

use std::ops::{Add, AddAssign};

use crate::units::Bytes;
use crate::workload::{Activation, Dense, Norm};

/// Into how many kernels elementwise work is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernels {
    /// One per elementary operation (Hugging Face, LitGPT).
    Elementary,
    /// One per norm, rotation and activation, residual sums within the norms (Megatron, vLLM, SGLang, TurboMind).
    Fused,
}

/// Bytes of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Widths {
    /// Of the residual stream and the norms.
    pub stream: u64,
    /// Of what products read and write.
    pub product: u64,
}

/// What kernels move, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Read and written.
    pub bytes: Bytes,
    /// Kernels.
    pub kernels: u64,
}

impl Traffic {
    /// `bytes` moved by `kernels`.
    pub const fn new(bytes: u64, kernels: u64) -> Self {
        Self { bytes: Bytes(bytes), kernels }
    }

    /// The same so many times.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self { bytes: self.bytes * count, kernels: self.kernels * count }
    }
}

impl Add for Traffic {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, kernels: self.kernels + other.kernels }
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Traffic {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), Add::add)
    }
}

/// What elementwise work moves in the forward pass and in the backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Both {
    pub(crate) forward: Traffic,
    pub(crate) backward: Traffic,
}

impl Both {
    pub(crate) const fn new(forward: (u64, u64), backward: (u64, u64)) -> Self {
        Self { forward: Traffic::new(forward.0, forward.1), backward: Traffic::new(backward.0, backward.1) }
    }

    /// Elementary operations: a product has two derivatives, and each reads what its operation did, so going back moves twice as much.
    pub(crate) const fn elementary(bytes: u64, kernels: u64) -> Self {
        Self::new((bytes, kernels), (2 * bytes, 2 * kernels))
    }
}

impl AddAssign for Both {
    fn add_assign(&mut self, other: Self) {
        self.forward += other.forward;
        self.backward += other.backward;
    }
}

const FP32: u64 = 4;

/// A norm over `elements` numbers of `width` bytes, read as they are and written for products of `product` bytes.
pub(crate) const fn norm(kind: Norm, elements: u64, widths: Widths, kernels: Kernels) -> Both {
    let Widths { stream: w, product: p } = widths;
    match (kind, kernels) {
        (Norm::Rms | Norm::RmsOffset, Kernels::Elementary) => {
            // Square, mean, scale in FP32, the weight in the width of the stream; two casts where the stream is narrower.
            let casts = if w < FP32 { (2 * (FP32 + w), 2) } else { (0, 0) };
            let narrowed = if p < w { (w + p, 1) } else { (0, 0) };
            Both::elementary(elements * (casts.0 + 2 * FP32 + FP32 + 2 * FP32 + 2 * w + narrowed.0), 6 + casts.1 + narrowed.1)
        }
        // One kernel; going back one for the input's gradient and one for the weight's, each reading gradient and input.
        _ => {
            let narrowed = if p < w { (w + p, 1) } else { (0, 0) };
            Both::new((elements * (2 * w + narrowed.0), 1 + narrowed.1), (elements * (5 * w + narrowed.0), 2 + narrowed.1))
        }
    }
}

/// A residual sum of `elements`: the two are read, their sum is written; gradients of the two ways are summed alike.
pub(crate) const fn residual(elements: u64, widths: Widths, kernels: Kernels) -> Both {
    let bytes = elements * (2 * widths.stream + widths.product);
    match kernels {
        Kernels::Elementary => Both::new((bytes, 1), (elements * 3 * widths.stream, 1)),
        // Within the next norm's kernel, which reads the branch as well and writes the sum.
        Kernels::Fused => Both::new((elements * (widths.stream + widths.product), 0), (elements * widths.stream, 0)),
    }
}

/// The rotation of `elements` numbers of queries and keys.
pub(crate) const fn rotation(elements: u64, width: u64, kernels: Kernels) -> Both {
    match kernels {
        Kernels::Elementary => Both::new((elements * 10 * width, 10), (elements * 10 * width, 12)),
        Kernels::Fused => Both::new((elements * 2 * width, 1), (elements * 2 * width, 1)),
    }
}

/// The function inside an MLP, over `elements` of its inner width, with the gate's product.
pub(crate) const fn activation(dense: &Dense, elements: u64, width: u64, kernels: Kernels) -> Both {
    let e = elements * width;
    let function = match (dense.activation, kernels) {
        (Activation::Silu | Activation::Gelu | Activation::Relu, _) | (_, Kernels::Fused) => Both::new((2 * e, 1), (3 * e, 1)),
        // Cube, two products, three sums and the hyperbolic tangent; a sigmoid and two products.
        (Activation::GeluElementary, Kernels::Elementary) => Both::elementary(18 * e, 8),
        (Activation::QuickGelu, Kernels::Elementary) => Both::elementary(7 * e, 3),
    };
    match (dense.gated, kernels) {
        (false, _) => function,
        (true, Kernels::Fused) => Both::new((3 * e, 1), (5 * e, 1)),
        // The product with the gate reads two and writes one; its two derivatives each do the same. Of a fused product gate and way up are
        // views, whose gradients are joined.
        (true, Kernels::Elementary) => {
            let joined = if dense.fused { (4 * e, 1) } else { (0, 0) };
            Both::new(
                (function.forward.bytes.0 + 3 * e, function.forward.kernels + 1),
                (function.backward.bytes.0 + 6 * e + joined.0, function.backward.kernels + 2 + joined.1),
            )
        }
    }
}
