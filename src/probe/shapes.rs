//! Which matrix products are measured.
//!
//! One large **square** says what the tensor cores reach at their best. The **projections** of a transformer of 7 to 8 billion parameters
//! (hidden size 4096, 32 query and 8 key-value heads of 128, feed-forward size 14336: Llama 3 8B) say what a model gets: queries, keys and
//! values in one product (`qkv`), the attention's output (`o`), both halves of the gated feed-forward's input in one (`gate_up`), and its
//! output (`down`). With thousands of tokens at once (training, prefill) they are limited by arithmetic, with a handful (decoding) by
//! reading the weights.

use crate::machine::Gpu;
use crate::units::{Bytes, Flops};

use super::Effort;
use super::facts::usable;

/// Largest square.
const SQUARE: u64 = 8192;

/// Smallest square worth measuring: below, a launch takes longer than the product.
const LEAST_SQUARE: u64 = 512;

/// Tokens in training and prefill.
const TOKENS: u64 = 4096;

/// Tokens in one step of decoding, by batch.
const DECODE: [u64; 3] = [1, 16, 64];

/// Output and input features of the projections.
const PROJECTIONS: [(u64, u64); 4] = [(6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336)];

/// `C[m, n] = A[m, k] · B[n, k]ᵀ`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Rows of A and C: tokens.
    pub(super) m: u64,
    /// Rows of B, columns of C: output features.
    pub(super) n: u64,
    /// Columns of A and B: input features.
    pub(super) k: u64,
}

impl Shape {
    const fn square(side: u64) -> Self {
        Self { m: side, n: side, k: side }
    }

    /// 2·m·n·k: a multiplication and an addition for each product.
    pub(super) fn flops(self) -> Flops {
        Flops(2.0 * self.m as f64 * self.n as f64 * self.k as f64)
    }

    /// Bytes of A, B and C, with inputs of `element` bytes and a result of two: the least that one product must move.
    pub(super) const fn bytes(self, element: u64) -> Bytes {
        Bytes((self.m + self.n) * self.k * element + self.m * self.n * 2)
    }
}

/// Device memory that one product's matrices may take: a quarter of what is usable, which leaves room to rotate over several sets of them
/// and for a library's workspace.
pub(super) fn room(gpu: &Gpu) -> Bytes {
    usable(gpu) / 4
}

/// The products to measure on `gpu`, the square first. `alone` says that no other GPU takes part.
///
/// The square is the largest power of two that fits, and the same for all element sizes so that their rates compare. A quick run of many GPUs
/// keeps to the square: it finds a slow GPU, and the projections of one GPU hold for all of the same model.
pub(super) fn shapes(gpu: &Gpu, effort: Effort, alone: bool) -> Vec<Shape> {
    let mut side = SQUARE;
    while side > LEAST_SQUARE && Shape::square(side).bytes(2) > room(gpu) {
        side /= 2;
    }
    let mut shapes = vec![Shape::square(side)];
    if effort > Effort::Quick || alone {
        shapes.extend(PROJECTIONS.map(|(n, k)| Shape { m: TOKENS, n, k }));
    }
    if effort > Effort::Quick {
        shapes.extend(DECODE.iter().flat_map(|&m| PROJECTIONS.map(|(n, k)| Shape { m, n, k })));
    }
    shapes
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::gpu;
    use super::*;

    #[test]
    fn the_square_is_the_largest_power_of_two_that_fits() {
        for (gib, side) in [(80, 8192), (8, 8192), (2, 4096), (1, 4096)] {
            let shapes = shapes(&gpu(0, Bytes::gib(gib), Bytes::mib(50)), Effort::Quick, false);
            assert_eq!(shapes, [Shape::square(side)], "{gib} GiB");
        }
        let tiny = shapes(&gpu(0, Bytes::mib(1), Bytes::mib(50)), Effort::Quick, false);
        assert_eq!(tiny, [Shape::square(LEAST_SQUARE)], "the case exists, and is waived");
    }

    #[test]
    fn more_effort_measures_more_shapes() {
        let gpu = gpu(0, Bytes::gib(80), Bytes::mib(50));
        let counts =
            [(Effort::Quick, false), (Effort::Quick, true), (Effort::Standard, false)].map(|(e, alone)| shapes(&gpu, e, alone).len());
        assert_eq!(counts, [1, 5, 17]);
    }

    #[test]
    fn every_shape_suits_the_kernels() {
        let gpu = gpu(0, Bytes::gib(80), Bytes::mib(50));
        for shape in shapes(&gpu, Effort::Thorough, true) {
            assert!(shape.n % 8 == 0 && shape.k % 16 == 0, "{shape:?}");
        }
    }

    #[test]
    fn work_is_counted_as_the_field_counts_it() {
        let shape = Shape { m: 2, n: 3, k: 5 };
        assert_eq!(shape.flops(), Flops(60.0));
        assert_eq!(shape.bytes(1), Bytes(25 + 12));
    }
}
