//! What the kernels must answer, computed on the host by other means.
//!
//! A measurement counts only when its answer was right. The functions here repeat the *definitions* of `kernels/*.cu`, not their code: FP8 is
//! rounded by dividing by the distance between neighbours instead of by moving bits, sums run in another order and in FP64.
//!
//! Terms. A **pattern** is memory whose every word is a function of its place, so that a word which went astray is noticed. **Random** data is
//! counter-based: the value of an element depends on its index and the seed alone. **Saturating** means that what is too large for a format
//! becomes its largest finite number. FP8 comes as **e4m3** (largest 448, no infinity) and **e5m2** (largest 57344), as in the OCP 8-bit
//! floating point specification, revision 1.0.

mod numbers;
mod rates;

pub use numbers::{E2M1, encode_e2m1, encode_i8, random_f64};
pub use rates::{Fma, TensorFormat, fma_lane, tensor_warp, wgmma_thread};

use half::bf16;

/// The finaliser of SplitMix64, a bijection of 64-bit words (Steele, Lea, Flood: *Fast splittable pseudorandom number generators*, 2014).
pub fn mix64(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Word number `index` of the pattern with this seed: what `fill_pattern` writes and `verify_pattern` expects.
pub fn pattern_word(index: u64, seed: u64) -> u64 {
    mix64(index.wrapping_add(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// How random elements are distributed, before they are multiplied with a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Uniform in [-1, 1), a multiple of 2^-23.
    Uniform,
    /// Standard normal, at most 5.77 away from 0.
    Normal,
}

/// Element number `index` of random FP32 data.
///
/// Elements 2p and 2p + 1 come from the upper and the lower half of pattern word p, each cut to 24 bits. Uniform numbers are exactly those of the
/// kernels. Normal ones (Box and Muller, 1958) differ from a GPU's by a few units in the last place of FP32: see [`normal_tolerance`].
pub fn random_f32(distribution: Distribution, index: u64, seed: u64, scale: f32) -> f32 {
    let word = pattern_word(index / 2, seed);
    let (high, low) = (bits24(word >> 40), bits24(word >> 8));
    match distribution {
        Distribution::Uniform => {
            let half = if index.is_multiple_of(2) { high } else { low };
            (half as f32 / 8_388_608.0 - 1.0) * scale
        }
        Distribution::Normal => {
            let radius = (-2.0 * (f64::from(high + 1) / 16_777_216.0).ln()).sqrt();
            let angle = std::f64::consts::TAU * f64::from(low) / 16_777_216.0;
            (radius * if index.is_multiple_of(2) { angle.cos() } else { angle.sin() }) as f32 * scale
        }
    }
}

fn bits24(word: u64) -> u32 {
    (word & 0xff_ffff) as u32
}

/// How far a GPU's normal FP32 element may be from [`random_f32`]'s: logarithm, root, cosine and products each err by at most one or two units
/// in the last place, 8 in all.
pub fn normal_tolerance(expected: f32) -> f32 {
    8.0 * f32::EPSILON * expected.abs()
}

/// An FP8 format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fp8 {
    /// 4 exponent bits, 3 fraction bits.
    E4m3,
    /// 5 exponent bits, 2 fraction bits.
    E5m2,
}

impl Fp8 {
    /// Bits of the fraction.
    fn fraction(self) -> i32 {
        match self {
            Self::E4m3 => 3,
            Self::E5m2 => 2,
        }
    }

    /// Exponent of the smallest normal number.
    fn least_exponent(self) -> i32 {
        match self {
            Self::E4m3 => -6,
            Self::E5m2 => -14,
        }
    }

    /// Code of the largest finite number.
    fn largest_code(self) -> u8 {
        match self {
            Self::E4m3 => 0x7e,
            Self::E5m2 => 0x7b,
        }
    }

    /// The largest finite number: 448 or 57344.
    pub fn largest(self) -> f32 {
        self.decode(self.largest_code())
    }

    /// Rounds to nearest, ties to even; saturates, infinity included; NaN becomes a NaN of the same sign.
    pub fn encode(self, value: f32) -> u8 {
        let sign = if value.is_sign_negative() { 0x80 } else { 0 };
        if value.is_nan() {
            return sign | 0x7f;
        }
        let magnitude = f64::from(value.abs());
        if magnitude >= f64::from(self.largest()) {
            return sign | self.largest_code();
        }
        let exponent = exponent_of(magnitude).max(self.least_exponent());
        // Codes count steps of the distance between neighbours, which doubles at every power of two; the division is exact.
        let steps = (magnitude / 2f64.powi(exponent - self.fraction())).round_ties_even();
        let code = f64::from((exponent - self.least_exponent()) << self.fraction()) + steps;
        sign | (code as u8).min(self.largest_code())
    }

    /// The number that a code stands for; exact.
    pub fn decode(self, code: u8) -> f32 {
        let (sign, magnitude) = (if code & 0x80 == 0 { 1.0 } else { -1.0 }, code & 0x7f);
        match (self, magnitude) {
            (Self::E4m3, 0x7f) | (Self::E5m2, 0x7d..) => return f32::NAN * sign,
            (Self::E5m2, 0x7c) => return f32::INFINITY * sign,
            _ => {}
        }
        let ones = 1 << self.fraction();
        let (exponent, fraction) = (i32::from(magnitude) / ones, f32::from(magnitude % ones as u8));
        let whole = if exponent == 0 { fraction } else { fraction + ones as f32 };
        sign * whole * 2f32.powi(self.least_exponent() - self.fraction() + (exponent - 1).max(0))
    }
}

/// The power of two at or below a positive number. 0 has none; what is returned is below every format's range.
fn exponent_of(magnitude: f64) -> i32 {
    ((magnitude.to_bits() >> 52) & 0x7ff) as i32 - 1023
}

/// Element number `index` of random BF16 data: FP32 rounded to nearest, ties to even.
pub fn random_bf16(distribution: Distribution, index: u64, seed: u64, scale: f32) -> bf16 {
    bf16::from_f32(random_f32(distribution, index, seed, scale))
}

/// Element number `index` of random FP8 data.
pub fn random_fp8(format: Fp8, distribution: Distribution, index: u64, seed: u64, scale: f32) -> u8 {
    format.encode(random_f32(distribution, index, seed, scale))
}

/// What `stream_read` adds to its sink by xor: the first, second, third and fourth words of all 16-byte vectors.
pub fn read_checksum(words: impl IntoIterator<Item = u32>) -> [u32; 4] {
    fold(words, |sum, word| sum ^ word)
}

/// What `cache_read` adds to its sink when `sweeps` = blocks times repeats: sums modulo 2^32.
pub fn sweep_checksum(words: impl IntoIterator<Item = u32>, sweeps: u64) -> [u32; 4] {
    fold(words, u32::wrapping_add).map(|sum| sum.wrapping_mul(sweeps as u32))
}

fn fold(words: impl IntoIterator<Item = u32>, combine: impl Fn(u32, u32) -> u32) -> [u32; 4] {
    let mut sums = [0; 4];
    for (place, word) in words.into_iter().enumerate() {
        sums[place % 4] = combine(sums[place % 4], word);
    }
    sums
}

/// Where `chase` stops after `steps` steps from `start`; `None` when an index leads out of the array.
pub fn chase_end(next: &[u32], start: u32, steps: u64) -> Option<u32> {
    (0..steps).try_fold(start, |index, _| next.get(index as usize).copied())
}

/// `A x` for a row-major A of `cols` columns: one sum per row. As `matvec_*`, in FP64.
pub fn matvec(a: &[f32], x: &[f64], cols: usize) -> Vec<f64> {
    a.chunks(cols.max(1)).map(|row| dot(row.iter().map(|&v| f64::from(v)), x.iter().copied())).collect()
}

/// `A^T x` for a row-major A of `cols` columns: one sum per column. As `matvec_t_*`, in FP64.
pub fn matvec_transposed(a: &[f32], x: &[f64], cols: usize) -> Vec<f64> {
    let mut sums = vec![0.0; cols];
    for (row, &factor) in a.chunks(cols.max(1)).zip(x) {
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += f64::from(value) * factor;
        }
    }
    sums
}

/// `A B^T` for row-major A (m by k) and B (n by k), row-major m by n, in FP64 and not rounded: what `gemm_*` computes before rounding.
pub fn product(a: &[f32], b: &[f32], k: usize) -> Vec<f64> {
    let wide = |row: &[f32]| row.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let columns: Vec<Vec<f64>> = b.chunks(k.max(1)).map(wide).collect();
    a.chunks(k.max(1)).map(wide).flat_map(|row| columns.iter().map(move |column| dot(row.clone(), column.iter().copied()))).collect()
}

fn dot(a: impl IntoIterator<Item = f64>, b: impl IntoIterator<Item = f64>) -> f64 {
    a.into_iter().zip(b).map(|(a, b)| a * b).sum()
}

/// How far a BF16 result of `gemm_*` may be from [`product`]'s, given the sum of the absolute values of its k products: half a unit in the last
/// place of BF16 (at most 2^-8 of the result), plus the FP32 sums' error, at most k times 2^-23 of that absolute sum. (Tensor cores truncate
/// where they align the terms of a sum, so twice the error of rounding is allowed for each.)
pub fn gemm_tolerance(expected: f64, absolute_sum: f64, k: usize) -> f64 {
    let sums = k as f64 * 2f64.powi(-23) * absolute_sum;
    (expected.abs() + sums) * 2f64.powi(-8) + sums + f64::from(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FORMATS: [Fp8; 2] = [Fp8::E4m3, Fp8::E5m2];

    #[test]
    fn mix64_is_split_mix_64() {
        // First outputs of the generator with seed 0, as its authors' reference code gives them.
        let gamma = 0x9e37_79b9_7f4a_7c15_u64;
        assert_eq!(mix64(gamma), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix64(gamma.wrapping_mul(2)), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(pattern_word(0, 1), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn known_codes() {
        for (format, value, code) in [
            (Fp8::E4m3, 0.0, 0x00),
            (Fp8::E4m3, -0.0, 0x80),
            (Fp8::E4m3, 1.0, 0x38),
            (Fp8::E4m3, -1.5, 0xbc),
            (Fp8::E4m3, 448.0, 0x7e),
            (Fp8::E4m3, 0.001953125, 0x01), // 2^-9, the smallest
            (Fp8::E4m3, 0.015625, 0x08),    // 2^-6, the smallest normal
            (Fp8::E5m2, 1.0, 0x3c),
            (Fp8::E5m2, 57344.0, 0x7b),
            (Fp8::E5m2, -1.525_878_9e-5, 0x81), // 2^-16, the smallest
        ] {
            assert_eq!(format.encode(value), code, "{format:?} {value}");
            assert_eq!(format.decode(code).to_bits(), value.to_bits(), "{format:?} {code:#x}");
        }
    }

    #[test]
    fn every_code_survives() {
        for format in FORMATS {
            for code in 0..=255u8 {
                let value = format.decode(code);
                if value.is_nan() {
                    assert_eq!(format.encode(value) & 0x7f, 0x7f);
                } else if value.is_infinite() {
                    assert_eq!(format.encode(value), (code & 0x80) | format.largest_code(), "infinity saturates");
                } else {
                    assert_eq!(format.encode(value), code, "{format:?} {value}");
                }
            }
        }
    }

    #[test]
    fn codes_are_in_the_order_of_their_numbers_and_ties_go_to_even() {
        for format in FORMATS {
            for code in 0..format.largest_code() {
                let (low, high) = (format.decode(code), format.decode(code + 1));
                assert!(low < high);
                let middle = (low + high) / 2.0; // exact: FP32 has bits to spare
                let even = code + code % 2;
                assert_eq!(format.encode(middle), even, "{format:?} {middle}");
                assert_eq!(format.encode(middle.next_down()), code, "{format:?} {middle}");
                assert_eq!(format.encode(middle.next_up()), code + 1, "{format:?} {middle}");
            }
        }
    }

    #[test]
    fn too_large_saturates_and_nan_stays() {
        for format in FORMATS {
            for value in [format.largest() * 1.01, 1e30, f32::MAX, f32::INFINITY] {
                assert_eq!(format.encode(value), format.largest_code());
                assert_eq!(format.encode(-value), format.largest_code() | 0x80);
            }
            assert!(format.decode(format.encode(f32::NAN)).is_nan());
        }
        assert_eq!((Fp8::E4m3.largest(), Fp8::E5m2.largest()), (448.0, 57344.0));
    }

    #[test]
    fn uniform_and_normal_have_the_moments_they_should() {
        let n = 200_000u64;
        for (distribution, variance) in [(Distribution::Uniform, 1.0 / 3.0), (Distribution::Normal, 1.0)] {
            let values: Vec<f64> = (0..n).map(|i| f64::from(random_f32(distribution, i, 7, 1.0))).collect();
            let mean = values.iter().sum::<f64>() / n as f64;
            let second = values.iter().map(|v| v * v).sum::<f64>() / n as f64;
            assert!(mean.abs() < 0.01, "{distribution:?} mean {mean}");
            assert!((second / variance - 1.0).abs() < 0.02, "{distribution:?} variance {second}");
            // Neighbours come from one word and must not show it.
            let together = values.chunks(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / (n / 2) as f64;
            assert!(together.abs() < 0.01, "{distribution:?} covariance {together}");
        }
    }

    #[test]
    fn small_products_are_as_by_hand() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // 2 x 3
        let b = [1.0, 0.0, -1.0, 0.5, 0.5, 0.5, 2.0, 0.0, 0.0]; // 3 x 3
        assert_eq!(product(&a, &b, 3), [-2.0, 3.0, 2.0, -2.0, 7.5, 8.0]);
        assert_eq!(matvec(&a, &[1.0, 1.0, 1.0], 3), [6.0, 15.0]);
        assert_eq!(matvec_transposed(&a, &[1.0, -1.0], 3), [-3.0, -3.0, -3.0]);
        assert_eq!(read_checksum([1, 2, 4, 8, 3, 2, 1, 0]), [2, 0, 5, 8]);
        assert_eq!(sweep_checksum([1, 2, 4, 8, 3, 2, 1, u32::MAX], 3), [12, 12, 15, 21]);
        assert_eq!(chase_end(&[2, 0, 1], 0, 4), Some(2));
        assert_eq!(chase_end(&[7], 0, 2), None);
    }

    proptest! {
        #[test]
        fn encoding_finds_the_nearest(bits: u32, pick in 0..2usize) {
            let (format, value) = (FORMATS[pick], f32::from_bits(bits));
            prop_assume!(value.is_finite());
            let error = |code: u8| (f64::from(format.decode(code)) - f64::from(value)).abs();
            let best = (0..=255u8).filter(|&c| format.decode(c).is_finite()).map(error).fold(f64::INFINITY, f64::min);
            prop_assert_eq!(error(format.encode(value)), best);
            prop_assert_eq!(format.encode(-value), format.encode(value) ^ 0x80);
        }

        #[test]
        fn encoding_is_monotone(a: f32, b: f32, pick in 0..2usize) {
            let format = FORMATS[pick];
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(format.decode(format.encode(low)) <= format.decode(format.encode(high)));
        }

        #[test]
        fn random_elements_stay_in_range(index: u64, seed: u64) {
            let uniform = random_f32(Distribution::Uniform, index, seed, 1.0);
            prop_assert!((-1.0..1.0).contains(&uniform));
            prop_assert_eq!((uniform * 8_388_608.0).fract(), 0.0);
            prop_assert!(random_f32(Distribution::Normal, index, seed, 1.0).abs() < 5.78);
        }

        #[test]
        fn the_tolerance_covers_rounding_and_no_more_than_one_step(value in -1e30..1e30f64) {
            let rounded = bf16::from_f64(value);
            prop_assert!((rounded.to_f64() - value).abs() <= gemm_tolerance(value, 0.0, 1));
            let next = bf16::from_bits(rounded.to_bits() + 2);
            prop_assert!((next.to_f64() - value).abs() > gemm_tolerance(value, 0.0, 1));
        }

        #[test]
        fn freivalds_holds(seed: u64, m in 1..9usize, n in 1..9usize, k in 1..9usize) {
            // Small whole numbers: all sums are exact, so both sides are equal.
            let small = |i: usize, s: u64| (pattern_word(i as u64, s) % 17) as f32 - 8.0;
            let a: Vec<f32> = (0..m * k).map(|i| small(i, seed)).collect();
            let b: Vec<f32> = (0..n * k).map(|i| small(i, !seed)).collect();
            let x: Vec<f64> = (0..n).map(|i| f64::from(small(i, seed ^ 1))).collect();
            let c: Vec<f32> = product(&a, &b, k).iter().map(|&v| v as f32).collect();
            prop_assert_eq!(matvec(&c, &x, n), matvec(&a, &matvec_transposed(&b, &x, k), k));
        }
    }
}
