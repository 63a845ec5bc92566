//! The shapes of matrix products and the sizes of messages, and those that a calibration measures.
//!
//! The probe that times them and the model that is fitted to the times stand at different places of the road: what both go by stands here.

use crate::units::{Bytes, Flops};

/// A matrix product: `m × k` times `k × n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GemmShape {
    /// Rows of the result: tokens.
    pub m: u64,
    /// Columns of the result: output features.
    pub n: u64,
    /// Length of the inner products: input features.
    pub k: u64,
}

impl GemmShape {
    /// `side × side × side`.
    pub const fn square(side: u64) -> Self {
        Self { m: side, n: side, k: side }
    }

    /// 2·m·n·k: a multiplication and an addition for each product.
    pub fn flops(self) -> Flops {
        Flops(2.0 * self.m as f64 * self.n as f64 * self.k as f64)
    }

    /// Bytes of both factors, with elements of `element` bytes.
    pub const fn factors(self, element: u64) -> Bytes {
        Bytes((self.m + self.n) * self.k * element)
    }

    /// Bytes of the factors and of a result of two bytes an element: the least that one product must move.
    pub const fn bytes(self, element: u64) -> Bytes {
        Bytes(self.factors(element).0 + self.m * self.n * 2)
    }
}

/// The 64 shapes from which products of any other shape are predicted: the same on every GPU and for every data type.
///
/// They fill the space of shapes evenly in the logarithms, `m` from 3 to 10,000 and `n` and `k` from 32 to 50,000: the first 64 points of an
/// additive recurrence over powers of the inverse of 1.2207 (the root of x⁴ = x + 1; Roberts, *The Unreasonable Effectiveness of
/// Quasirandom Sequences*, 2018), rounded to what libraries accept in every format. Of 400 starting points of the recurrence it is the one
/// that leaves the smallest gaps: the product of the largest and the root-mean-square distance to the nearest shape is least. One pass
/// over all of them is less than 10 TFLOP.
pub const DESIGN: [GemmShape; 64] = [
    shape(3, 96, 2_176),
    shape(3, 1_536, 3_072),
    shape(5, 448, 128),
    shape(5, 41_472, 96),
    shape(6, 64, 256),
    shape(6, 7_296, 160),
    shape(7, 1_280, 352),
    shape(7, 20_992, 480),
    shape(9, 34_176, 15_104),
    shape(10, 352, 21_248),
    shape(11, 6_016, 29_952),
    shape(12, 64, 42_112),
    shape(13, 1_024, 32),
    shape(15, 17_280, 64),
    shape(20, 288, 2_304),
    shape(22, 4_864, 3_328),
    shape(24, 64, 4_736),
    shape(27, 864, 6_656),
    shape(29, 14_208, 9_344),
    shape(32, 160, 13_184),
    shape(40, 256, 256),
    shape(48, 32, 512),
    shape(48, 4_096, 384),
    shape(56, 704, 736),
    shape(56, 11_776, 1_024),
    shape(64, 128, 1_408),
    shape(88, 3_328, 32),
    shape(96, 32, 64),
    shape(104, 576, 96),
    shape(112, 9_728, 128),
    shape(128, 96, 160),
    shape(136, 1_664, 224),
    shape(176, 2_816, 7_296),
    shape(192, 45_568, 10_240),
    shape(208, 480, 14_336),
    shape(232, 7_936, 20_352),
    shape(248, 96, 28_544),
    shape(256, 1_408, 40_320),
    shape(384, 37_632, 1_152),
    shape(448, 384, 1_664),
    shape(448, 6_528, 2_304),
    shape(512, 64, 3_200),
    shape(576, 1_152, 4_480),
    shape(576, 19_072, 6_400),
    shape(832, 320, 192),
    shape(896, 5_376, 256),
    shape(1_024, 64, 352),
    shape(1_088, 960, 512),
    shape(1_216, 15_744, 704),
    shape(1_664, 256, 31_232),
    shape(1_792, 4_480, 44_032),
    shape(1_984, 32, 32),
    shape(2_176, 768, 64),
    shape(2_368, 12_928, 64),
    shape(2_560, 128, 96),
    shape(3_584, 3_712, 4_864),
    shape(3_968, 32, 6_912),
    shape(4_288, 640, 9_728),
    shape(4_672, 10_624, 13_824),
    shape(5_120, 128, 19_456),
    shape(7_168, 3_072, 544),
    shape(7_872, 32, 768),
    shape(8_576, 544, 1_152),
    shape(9_344, 8_832, 1_536),
];

/// The sizes of messages from which the time of a collective of any size is predicted, for each operation and number of GPUs: the latency at
/// one end, the rate at the other, and every factor of four where libraries change from one protocol to the next.
pub const MESSAGES: [Bytes; 8] =
    [Bytes(512), Bytes::kib(16), Bytes::kib(64), Bytes::kib(256), Bytes::mib(1), Bytes::mib(4), Bytes::mib(16), Bytes::mib(512)];

const fn shape(m: u64, n: u64, k: u64) -> GemmShape {
    GemmShape { m, n, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shapes_are_those_of_the_sequence() {
        let root = 1.220_744_084_605_759_6_f64;
        let round = |value: f64, unit: u64| ((value / unit as f64).round_ties_even() as u64).max(1) * unit;
        let mut made: Vec<GemmShape> = (1..=64)
            .map(|index| {
                let axis = |dimension: i32, low: f64, high: f64| {
                    let start = 0.6825 * (1.0 + 0.37 * f64::from(dimension));
                    let share = (start + root.powi(-dimension - 1) * f64::from(index)).fract();
                    low * (high / low).powf(share)
                };
                let (m, n, k) = (axis(0, 3.0, 10_000.0), axis(1, 32.0, 50_000.0), axis(2, 32.0, 50_000.0));
                let features = |value: f64| round(value, if value < 1024.0 { 32 } else { 128 });
                let unit = if m < 32.0 {
                    1
                } else if m < 256.0 {
                    8
                } else {
                    64
                };
                GemmShape { m: round(m, unit), n: features(n), k: features(k) }
            })
            .collect();
        made.sort();
        assert_eq!(made, DESIGN);
    }

    #[test]
    fn a_pass_is_short_and_fits_small_memories() {
        let flops: f64 = DESIGN.iter().map(|shape| shape.flops().0).sum();
        assert!(flops < 1e13, "{flops:e}");
        let largest = DESIGN.iter().map(|shape| shape.bytes(2)).max();
        assert!(largest < Some(Bytes::gib(3)), "{largest:?}");
    }

    #[test]
    fn work_is_counted_as_the_field_counts_it() {
        let shape = GemmShape { m: 2, n: 3, k: 5 };
        assert_eq!(shape.flops(), Flops(60.0));
        assert_eq!((shape.factors(1), shape.bytes(1)), (Bytes(25), Bytes(25 + 12)));
    }
}
