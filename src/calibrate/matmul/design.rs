//! The shapes that a calibration measures.

use super::GemmShape;

/// The 64 shapes from which products of any other shape are predicted: the same on every GPU and for every data type.
///
/// They fill the space of shapes evenly in the logarithms, `m` from 3 to 10,000 and `n` and `k` from 32 to 50,000: the first 64 points of an
/// additive recurrence over powers of the inverse of 1.2207 (the root of x⁴ = x + 1; Roberts, *The Unreasonable Effectiveness of
/// Quasirandom Sequences*, 2018), rounded to what libraries accept in every format. One pass over all of them is 9.7 TFLOP.
pub const DESIGN: [GemmShape; 64] = [
    shape(3, 160, 5_760),
    shape(3, 2_688, 8_064),
    shape(5, 32, 224),
    shape(5, 768, 320),
    shape(6, 128, 640),
    shape(6, 12_928, 448),
    shape(7, 2_304, 896),
    shape(7, 37_504, 1_280),
    shape(9, 32, 39_936),
    shape(10, 640, 32),
    shape(11, 10_624, 64),
    shape(12, 128, 64),
    shape(13, 1_920, 96),
    shape(14, 30_848, 128),
    shape(20, 544, 6_272),
    shape(22, 8_832, 8_832),
    shape(24, 96, 12_544),
    shape(26, 1_536, 17_536),
    shape(29, 25_472, 24_832),
    shape(31, 256, 34_944),
    shape(40, 448, 704),
    shape(40, 7_296, 992),
    shape(48, 64, 1_408),
    shape(56, 1_280, 1_920),
    shape(56, 20_992, 2_816),
    shape(64, 224, 3_840),
    shape(88, 6_016, 96),
    shape(96, 64, 160),
    shape(104, 1_024, 224),
    shape(112, 17_280, 320),
    shape(120, 192, 448),
    shape(136, 3_072, 608),
    shape(192, 64, 27_136),
    shape(208, 864, 38_144),
    shape(224, 14_208, 32),
    shape(248, 160, 64),
    shape(256, 2_432, 64),
    shape(384, 32, 3_072),
    shape(384, 704, 4_224),
    shape(448, 11_776, 6_016),
    shape(512, 128, 8_448),
    shape(512, 2_048, 11_904),
    shape(576, 34_048, 16_896),
    shape(832, 576, 480),
    shape(896, 9_728, 672),
    shape(960, 96, 960),
    shape(1_088, 1_664, 1_280),
    shape(1_152, 28_032, 1_920),
    shape(1_664, 480, 64),
    shape(1_792, 7_936, 64),
    shape(1_920, 96, 96),
    shape(2_112, 1_408, 160),
    shape(2_304, 23_168, 224),
    shape(2_560, 256, 288),
    shape(3_584, 6_528, 13_056),
    shape(3_904, 64, 18_432),
    shape(4_224, 1_152, 25_984),
    shape(4_608, 19_072, 36_608),
    shape(5_056, 192, 32),
    shape(5_504, 3_328, 32),
    shape(7_104, 5_376, 1_408),
    shape(7_744, 64, 2_048),
    shape(8_448, 960, 2_944),
    shape(9_216, 15_744, 4_096),
];

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
                    let start = 0.5 * (1.0 + 0.37 * f64::from(dimension));
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
        let flops: f64 = DESIGN.iter().map(|shape| 2.0 * (shape.m * shape.n * shape.k) as f64).sum();
        assert!(flops < 1e13, "{flops:e}");
        let largest = DESIGN.iter().map(|shape| 2 * (shape.m * shape.k + shape.n * shape.k + shape.m * shape.n)).max();
        assert!(largest < Some(3 << 30), "{largest:?}");
    }
}
