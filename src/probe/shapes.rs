//! Which matrix products are measured.
//!
//! One large **square** says what the tensor cores reach at their best. The **projections** of a transformer of 7 to 8 billion parameters
//! (hidden size 4096, 32 query and 8 key-value heads of 128, feed-forward size 14336: Llama 3 8B) say what a model gets: queries, keys and
//! values in one product (`qkv`), the attention's output (`o`), both halves of the gated feed-forward's input in one (`gate_up`), and its
//! output (`down`). With thousands of tokens at once (training, prefill) they are limited by arithmetic, with a handful (decoding) by
//! reading the weights.

use crate::machine::Gpu;
use crate::measure::GemmShape;
use crate::units::Bytes;

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

/// Device memory that one product's matrices may take: a quarter of what is usable, which leaves room to rotate over several sets of them
/// and for a library's workspace.
pub(super) fn room(gpu: &Gpu) -> Bytes {
    usable(gpu) / 4
}

/// The products to measure on `gpu`, the square first. `alone` says that no other GPU takes part.
///
/// The square is the largest power of two that fits, and the same for all element sizes so that their rates compare. A quick run of many GPUs
/// keeps to the square: it finds a slow GPU, and the projections of one GPU hold for all of the same model.
pub(super) fn shapes(gpu: &Gpu, effort: Effort, alone: bool) -> Vec<GemmShape> {
    let mut shapes = vec![GemmShape::square(largest_square(SQUARE, |shape| shape.bytes(2) <= room(gpu)))];
    if effort > Effort::Quick || alone {
        shapes.extend(PROJECTIONS.map(|(n, k)| GemmShape { m: TOKENS, n, k }));
    }
    if effort > Effort::Quick {
        shapes.extend(DECODE.iter().flat_map(|&m| PROJECTIONS.map(|(n, k)| GemmShape { m, n, k })));
    }
    shapes
}

/// The side of the largest square that fits: `most`, or a power of two below it; the least if none does.
pub(super) fn largest_square(most: u64, fits: impl Fn(GemmShape) -> bool) -> u64 {
    let mut side = most;
    while side > LEAST_SQUARE && !fits(GemmShape::square(side)) {
        side /= 2;
    }
    side
}

/// Whether the shapes that calibrate are measured on `gpu`, beside which `all` are.
///
/// A GPU alone always has the time. Of many, the first of each model is measured, and all of them where precision may take its time: what
/// one does with a shape all of the same model do.
pub(super) fn calibrates(gpu: &Gpu, all: &[Gpu], effort: Effort) -> bool {
    match effort {
        Effort::Quick => all.len() == 1,
        Effort::Standard => all.iter().find(|other| other.name == gpu.name).is_some_and(|first| first.index == gpu.index),
        Effort::Thorough => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::gpu;
    use super::*;

    #[test]
    fn the_square_is_the_largest_power_of_two_that_fits() {
        for (gib, side) in [(80, 8192), (8, 8192), (2, 4096), (1, 4096)] {
            let shapes = shapes(&gpu(0, Bytes::gib(gib), Bytes::mib(50)), Effort::Quick, false);
            assert_eq!(shapes, [GemmShape::square(side)], "{gib} GiB");
        }
        let tiny = shapes(&gpu(0, Bytes::mib(1), Bytes::mib(50)), Effort::Quick, false);
        assert_eq!(tiny, [GemmShape::square(LEAST_SQUARE)], "the case exists, and is waived");
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
    fn one_gpu_of_each_model_calibrates_unless_there_is_time_for_all() {
        let mut all: Vec<Gpu> = (0..4).map(|index| gpu(index, Bytes::gib(80), Bytes::mib(50))).collect();
        all[2].name = "Other".into();
        let who = |all: &[Gpu], effort| all.iter().filter(|gpu| calibrates(gpu, all, effort)).map(|gpu| gpu.index).collect::<Vec<_>>();
        assert_eq!(who(&all, Effort::Quick), [0u32; 0]);
        assert_eq!(who(&all[1..2], Effort::Quick), [1]);
        assert_eq!(who(&all, Effort::Standard), [0, 2]);
        assert_eq!(who(&all[1..], Effort::Standard), [1, 2]);
        assert_eq!(who(&all, Effort::Thorough), [0, 1, 2, 3]);
    }

    #[test]
    fn nothing_that_calibrates_is_measured_twice() {
        let shapes = shapes(&gpu(0, Bytes::gib(80), Bytes::mib(50)), Effort::Thorough, true);
        assert!(!shapes.iter().any(|shape| crate::measure::DESIGN.contains(shape)));
        for shape in crate::measure::DESIGN {
            assert!(shape.n % 8 == 0 && shape.k % 16 == 0, "{shape:?} does not suit the kernels");
        }
    }
}
