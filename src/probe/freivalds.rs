//! Checking a matrix product without repeating it (Freivalds, 1977).
//!
//! `C = A·Bᵀ` has m·n elements of k products each; for a vector `x`, `C·x` and `A·(Bᵀ·x)` cost only m·n + n·k + m·k. With random signs
//! in `x` the two agree for a right `C` and differ for a wrong one. The question is how far they may differ for a right one: `C` is rounded
//! to BF16 and its sums were rounded on the way, so the difference is never zero.
//!
//! **Tolerance.** Let `e[i,j]` be the error of element (i, j). The residual of row i is `r[i] = Σⱼ x[j]·e[i,j]`, a sum with random
//! signs that are independent of the errors, so by Hoeffding `P(|r[i]| > τ·‖e[i,·]‖) ≤ 2·exp(−τ²/2)`. With τ = 8 that is 2.5·10⁻¹⁴ per
//! row: a million rows give no false alarm. Each error is at most `(u + a)·|C|`-sized, where
//!
//! * `u = 2⁻⁸` is BF16's unit roundoff (8 significant bits), and
//! * `a` is what the sum of k products loses. Tensor cores cut rather than round: one step adds a group of g products to the sum and loses
//!   up to 2⁻ᵇ of it, so k/g steps lose (k/g)·2⁻ᵇ of it. FP32 sums have b = 23, and g = 4 is the smallest group known. FP8 products are
//!   summed with 14 bits on Hopper (b = 13, on average half of the last bit is lost, g = 32; DeepSeek-V3 technical report, section 3.3.2).
//!
//! Other formats differ in these two. FP16 results have u = 2⁻¹¹, FP32 results 2⁻²⁴. FP4 products are exact, and taken to be summed like those
//! of FP8. TF32 cuts up to 2⁻¹⁰ of each factor's size, so a product of two loses up to 2⁻⁹ of its own, and so does a sum of such products
//! whose signs are random. FP32 rounds once for each of k products. In FP64 the check rounds as much as what it checks: besides k sums there
//! are n in `Bᵀ·x` and in `C·x`, all of 2⁻⁵³, twice for both sides. Sums of INT8 products are whole numbers below 2⁵³ on both sides (k of 2¹⁴
//! each, n of those), so nothing at all is rounded and nothing tolerated.
//!
//! Elements are uniform in [−1, 1) times a scale, variance scale²/3, so an element of `C` has standard deviation `σ = scale²·√k/3`, and
//! a row of w elements has `‖e‖ ≤ √w·σ·(u + a)`. A guard of 1.25 covers that rows differ a little in length.
//!
//! **What it catches.** Where a 128×128 tile of `C` is wrong (zeros, or another tile's sums), a row's residual has standard deviation at
//! least `√128·σ`. So `x` is cut into **slabs**: it is zero outside of w columns, and w is the largest power of two for which the
//! tolerance stays below 1.2·√128·σ. Then each of the tile's rows exceeds the tolerance with probability 0.23 or more, and all 128 of
//! them hide with probability 0.77¹²⁸ < 10⁻¹⁴. A product with fewer rows has proportionally fewer chances.

use crate::error::{Error, Result};
use crate::gpu::reference::pattern_word;

/// Hoeffding's factor: false alarms per row below 2·exp(−τ²/2).
const TAU: f64 = 8.0;

/// Rows are not all of the same length.
const GUARD: f64 = 1.25;

/// Side of the tile that must not be wrong unnoticed.
const TILE: f64 = 128.0;

/// Largest tolerance, in units of a wrong tile's standard deviation.
const VISIBLE: f64 = 1.2;

/// How a product's elements are stored and its sums kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    /// BF16 operands, FP32 sums, BF16 result.
    Bf16,
    /// FP8 operands, sums of at least 14 bits, BF16 result. FP4 likewise.
    Fp8,
    /// FP16 operands, FP32 sums, FP16 result.
    Fp16,
    /// FP32 operands cut to 11 significant bits, FP32 sums and result.
    Tf32,
    /// FP32 throughout.
    Fp32,
    /// FP64 throughout.
    Fp64,
    /// INT8 operands, exact sums and result.
    Int8,
}

impl Arithmetic {
    /// Relative error of one element: rounding of the result, and of the sum over `k` products; checking takes sums over `n` of them.
    fn relative_error(self, n: u64, k: u64) -> f64 {
        let (n, k) = (n as f64, k as f64);
        let tensor_cores = k / 4.0 * 2f64.powi(-23);
        match self {
            Self::Bf16 => 2f64.powi(-8) + tensor_cores,
            Self::Fp8 => 2f64.powi(-8) + k / 32.0 * 2f64.powi(-14),
            Self::Fp16 => 2f64.powi(-11) + tensor_cores,
            Self::Tf32 => 2f64.powi(-24) + 2f64.powi(-9) + tensor_cores,
            Self::Fp32 => 2f64.powi(-24) + k * 2f64.powi(-24),
            Self::Fp64 => 2.0 * (n + k) * 2f64.powi(-53),
            Self::Int8 => 0.0,
        }
    }
}

/// The test for one product: tolerance, slabs, and the signs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Freivalds {
    /// Columns of `C`.
    pub(super) n: u64,
    /// Columns that one vector covers.
    pub(super) slab: u64,
    /// Largest residual of a right row.
    pub(super) tolerance: f64,
    seed: u64,
}

impl Freivalds {
    /// The test of an m×n product over `k` of elements uniform in ±`scale`. `seed` must not be the data's.
    pub(super) fn new(arithmetic: Arithmetic, n: u64, k: u64, scale: f64, seed: u64) -> Self {
        let sigma = scale * scale * (k as f64).sqrt() / 3.0;
        let per_column = TAU * GUARD * sigma * arithmetic.relative_error(n, k);
        let widest = (VISIBLE * TILE.sqrt() * sigma / per_column).powi(2);
        let mut slab = n.max(1).next_power_of_two();
        while slab > 1 && slab as f64 > widest {
            slab /= 2;
        }
        let slab = slab.min(n.max(1));
        Self { n, slab, tolerance: per_column * (slab as f64).sqrt(), seed }
    }

    /// How many vectors cover all columns.
    pub(super) fn slabs(&self) -> u64 {
        self.n.div_ceil(self.slab)
    }

    /// The vector of slab number `slab`: random signs in its columns, zeros elsewhere; n elements.
    pub(super) fn vector(&self, slab: u64) -> Vec<f64> {
        let (first, last) = (slab * self.slab, (slab + 1) * self.slab);
        (0..self.n)
            .map(|column| match column >= first && column < last {
                true => 1.0 - 2.0 * (pattern_word(column, self.seed) >> 63) as f64,
                false => 0.0,
            })
            .collect()
    }

    /// Compare `C·x` with `A·(Bᵀ·x)` for one slab. `None` when right, or what is wrong.
    ///
    /// # Errors
    /// [`Error::Measurement`] when the two have different lengths.
    pub(super) fn compare(&self, product: &[f64], reference: &[f64]) -> Result<Option<String>> {
        if product.len() != reference.len() {
            return Err(Error::measurement("checking a matrix product", "the two sides have different lengths"));
        }
        let residuals = || product.iter().zip(reference).map(|(a, b)| (a - b).abs());
        // Written so that a NaN counts as wrong.
        let is_right = |residual: f64| residual <= self.tolerance;
        let wrong = residuals().filter(|residual| !is_right(*residual)).count();
        let Some((row, residual)) = residuals().enumerate().find(|(_, residual)| !is_right(*residual)) else { return Ok(None) };
        Ok(Some(format!(
            "{wrong} of {} rows, the first row {row}: residual {residual:.3e} where at most {:.3e} is rounding",
            product.len(),
            self.tolerance
        )))
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use proptest::prelude::*;

    use super::*;
    use crate::gpu::reference::{Distribution, Fp8, random_bf16, random_fp8};

    const SEED: u64 = 3;

    const ALL: [Arithmetic; 7] =
        [Arithmetic::Bf16, Arithmetic::Fp8, Arithmetic::Fp16, Arithmetic::Tf32, Arithmetic::Fp32, Arithmetic::Fp64, Arithmetic::Int8];

    /// `C·x` and `A·(Bᵀ·x)` of the test's vector number `slab`, with `C` computed as a tensor core would, after `spoil` had its way with it.
    fn sides(test: &Freivalds, slab: u64, [m, n, k]: [usize; 3], fp8: bool, spoil: &dyn Fn(&mut [f32])) -> (Vec<f64>, Vec<f64>) {
        let element = |index: usize, seed| match fp8 {
            true => Fp8::E4m3.decode(random_fp8(Fp8::E4m3, Distribution::Uniform, index as u64, seed, 1.0)),
            false => random_bf16(Distribution::Uniform, index as u64, seed, 1.0).to_f32(),
        };
        let a: Vec<f32> = (0..m * k).map(|index| element(index, SEED)).collect();
        let b: Vec<f32> = (0..n * k).map(|index| element(index, SEED + 1)).collect();
        let mut c: Vec<f32> = (0..m * n)
            .map(|at| {
                let (row, column) = (&a[at / n * k..][..k], &b[at % n * k..][..k]);
                bf16::from_f32(row.iter().zip(column).fold(0.0, |sum, (x, y)| x.mul_add(*y, sum))).to_f32()
            })
            .collect();
        spoil(&mut c);
        let x = test.vector(slab);
        let dot = |row: &[f32], x: &[f64]| row.iter().zip(x).map(|(a, x)| f64::from(*a) * x).sum::<f64>();
        let through_b: Vec<f64> = (0..k).map(|j| (0..n).map(|i| f64::from(b[i * k + j]) * x[i]).sum()).collect();
        (c.chunks(n).map(|row| dot(row, &x)).collect(), a.chunks(k).map(|row| dot(row, &through_b)).collect())
    }

    /// What the test says of a product, slab after slab.
    fn verdict(shape: [usize; 3], fp8: bool, spoil: &dyn Fn(&mut [f32])) -> Option<String> {
        let [_, n, k] = shape.map(|extent| extent as u64);
        let arithmetic = if fp8 { Arithmetic::Fp8 } else { Arithmetic::Bf16 };
        let test = Freivalds::new(arithmetic, n, k, 1.0, SEED ^ 0x5eed);
        (0..test.slabs()).find_map(|slab| {
            let (product, reference) = sides(&test, slab, shape, fp8, spoil);
            test.compare(&product, &reference).unwrap()
        })
    }

    #[test]
    fn a_right_product_passes() {
        for fp8 in [false, true] {
            for shape in [[128, 256, 256], [1, 128, 512], [100, 72, 272]] {
                assert_eq!(verdict(shape, fp8, &|_| {}), None, "{shape:?}");
            }
        }
    }

    #[test]
    fn one_wrong_tile_is_found() {
        let (shape, n) = ([256, 384, 256], 384);
        let tile = |spoil: &dyn Fn(&mut f32)| {
            // The tile at rows 128 to 255, columns 256 to 383.
            verdict(shape, false, &|c| {
                (128..256).flat_map(|row| (256..384).map(move |column| row * n + column)).for_each(|at| spoil(&mut c[at]))
            })
        };
        for (what, found) in [
            ("zeros", tile(&|element| *element = 0.0)),
            ("NaN, as the result is before", tile(&|element| *element = f32::NAN)),
            ("sign", tile(&|element| *element = -*element)),
        ] {
            let found = found.unwrap_or_else(|| panic!("{what} were not found"));
            assert!(found.contains("of 256 rows, the first row 1"), "{what}: {found}");
        }
        assert!(verdict(shape, true, &|c| c[0] = 1e30).is_some(), "one element far off");
    }

    #[test]
    fn a_tile_of_another_place_is_found() {
        let (shape, n) = ([256, 256, 256], 256);
        let swapped = verdict(shape, false, &|c| {
            for (row, column) in (0..128).flat_map(|row| (0..128).map(move |column| (row, column))) {
                c.swap(row * n + column, (row + 128) * n + column);
            }
        });
        assert!(swapped.is_some());
    }

    proptest! {
        /// The promise of the module's text, for every shape a model has.
        #[test]
        fn a_wrong_tile_always_stands_out(n in 128u64..200_000, k in 256u64..65_536, pick in 0..7usize, scale in 0.01..100.0f64) {
            let test = Freivalds::new(ALL[pick], n, k, scale, 0);
            let sigma = scale * scale * (k as f64).sqrt() / 3.0;
            prop_assert!(test.tolerance <= VISIBLE * TILE.sqrt() * sigma * 1.0001, "{test:?}");
            prop_assert!(test.slab >= 1 && test.slab <= n);
            prop_assert!(test.slabs() * test.slab >= n && (test.slabs() - 1) * test.slab < n);
        }

        #[test]
        fn the_vectors_cover_each_column_once(n in 1u64..5000, k in 256u64..60_000) {
            let test = Freivalds::new(Arithmetic::Fp8, n, k, 1.0, 9);
            let mut covered = vec![0.0; n as usize];
            for slab in 0..test.slabs() {
                for (sum, x) in covered.iter_mut().zip(test.vector(slab)) {
                    *sum += x.abs();
                }
            }
            prop_assert!(covered.iter().all(|sum| *sum == 1.0));
        }
    }

    #[test]
    fn sides_of_different_length_are_an_error() {
        let test = Freivalds::new(Arithmetic::Bf16, 8, 256, 1.0, 0);
        assert!(test.compare(&[1.0], &[1.0, 2.0]).is_err());
    }
}
