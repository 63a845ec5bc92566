//! Number formats that only libraries multiply in: whole numbers of 8 bits, FP4, FP64.

use super::{mix64, pattern_word};

/// The numbers of FP4 E2M1 without their sign, by code (OCP microscaling formats, revision 1.0). Code 8 + c is the negative of code c.
pub const E2M1: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// The nearest E2M1 code, halfway points to the even one; saturates, and NaN becomes 0.
pub fn encode_e2m1(value: f32) -> u8 {
    // Saturated first: far off, the distances would all round to the same.
    let size = value.abs().min(6.0);
    let distance = |code: usize| (E2M1[code] - size).abs();
    let nearest = (1..8).fold(0, |best, code| match distance(code).total_cmp(&distance(best)) {
        std::cmp::Ordering::Less => code,
        std::cmp::Ordering::Equal if code % 2 == 0 => code,
        _ => best,
    });
    let code = if value.is_nan() { 0 } else { nearest as u8 };
    if value.is_sign_negative() { code | 8 } else { code }
}

/// The nearest whole number of 8 bits, halfway points to the even one; saturates, and NaN becomes 0.
pub fn encode_i8(value: f32) -> i8 {
    value.round_ties_even() as i8
}

/// Element number `index` of random FP64 data: uniform in [-scale, scale), a multiple of 2^-52 before it is scaled.
pub fn random_f64(index: u64, seed: u64, scale: f32) -> f64 {
    ((pattern_word(index, seed) >> 11) as f64 / 4_503_599_627_370_496.0 - 1.0) * f64::from(scale)
}

/// Element `i` of the random factor that lane `lane` of a warp holds in the `tensor_*` kernels: a whole number of 8 bits.
pub(super) fn held(lane: u64, i: u64) -> i32 {
    i32::from((mix64(lane * 64 + i / 4) >> (8 * (i % 4)) & 0xff) as u8) - 128
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_between_go_to_the_nearest_and_ties_to_the_even_code() {
        for code in 0..8u8 {
            assert_eq!(encode_e2m1(E2M1[usize::from(code)]), code);
            assert_eq!(encode_e2m1(-E2M1[usize::from(code)]), code | 8);
        }
        for (value, code) in
            [(0.25, 0), (0.75, 2), (1.25, 2), (1.75, 4), (2.5, 4), (3.5, 6), (5.0, 6), (5.1, 7), (9.0, 7), (f32::INFINITY, 7)]
        {
            assert_eq!((encode_e2m1(value), encode_e2m1(-value)), (code, code | 8), "{value}");
        }
        assert_eq!([0.5, 1.5, 126.6, 127.5, -128.4, -1e9, f32::NAN].map(encode_i8), [0, 2, 127, 127, -128, -128, 0]);
    }

    #[test]
    fn random_numbers_of_64_bits_fill_their_range() {
        let values: Vec<f64> = (0..100_000).map(|index| random_f64(index, 3, 2.0)).collect();
        let mean = values.iter().sum::<f64>() / 1e5;
        let second = values.iter().map(|value| value * value).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.02 && (second * 3.0 / 4.0 - 1.0).abs() < 0.02, "{mean} {second}");
        assert!(values.iter().all(|value| (-2.0..2.0).contains(value)));
    }
}
