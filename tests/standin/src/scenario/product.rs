//! True time of a matrix product.
//!
//! The plain law is operations over the rate, and no product takes less than a kernel does. With **tiles** it is the one of real kernels: the output is cut into tiles, `k` into parts, and
//! each pair is a block; blocks go over the multiprocessors in waves, and a block walks over its part of `k` in steps of 128 bytes, each of
//! which takes its arithmetic or a least time, whichever is longer. Nothing ends before the memory has delivered the operands. A kernel has one
//! tile; a library has many, splits `k` where tiles are few, and takes what is fastest.

use serde::Deserialize;

use super::{Gpu, Matmul};

/// How the output is cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tiles {
    /// Not at all: time is operations over the rate.
    #[default]
    None,
    /// Into tiles of 128 × 256.
    One,
    /// Into whichever tiles and parts of `k` are fastest.
    Many,
}

/// The tile of a kernel for Hopper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Rows of the result that a block computes at a time.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Blocks that work together, one below the other.
    pub cluster: usize,
}

/// A product: rows and columns of the result, length of the inner products, bytes of one element of the factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProductShape {
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Length of the inner products.
    pub k: usize,
    /// Bytes of one element of the factors; the result has two.
    pub element: usize,
}

/// Rows, columns, and the share of the arithmetic rate that such a tile reaches. The first is a kernel's only one.
const TILES: [(f64, f64, f64); 9] = [
    (128.0, 256.0, 1.0),
    (256.0, 128.0, 1.0),
    (128.0, 128.0, 0.94),
    (64.0, 256.0, 0.9),
    (64.0, 128.0, 0.85),
    (128.0, 64.0, 0.85),
    (64.0, 64.0, 0.75),
    (32.0, 64.0, 0.7),
    (16.0, 64.0, 0.7),
];

/// Parts that `k` may be split into.
const PARTS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// Bytes of one row of a tile in one step, and the least time of a step.
const STEP_BYTES: f64 = 128.0;
const STEP_SECONDS: f64 = 1.0e-7;

/// The kernel that adds up the parts.
const SPLIT_SECONDS: f64 = 2.0e-6;

impl Gpu {
    /// True seconds of one product at one of the rates of `rates`, its factors in device memory.
    #[must_use]
    pub fn product_seconds(&self, rates: &Matmul, tflops: f64, shape: ProductShape) -> f64 {
        let (tiles, parts) = match rates.tiles {
            Tiles::None => return self.untiled_seconds(rates, tflops, shape),
            Tiles::One => (&TILES[..1], &PARTS[..1]),
            Tiles::Many => (&TILES[..], &PARTS[..]),
        };
        self.tiled_seconds(rates, tflops, shape, 1.0, tiles, parts)
    }

    /// The same of a kernel with this tile: without tiles in the scenario, at the share of the rate that such a tile reaches.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    pub fn tile_seconds(&self, rates: &Matmul, tflops: f64, shape: ProductShape, tile: Tile) -> f64 {
        let known = TILES.iter().find(|(rows, columns, _)| (*rows, *columns) == (tile.rows as f64, tile.columns as f64));
        let share = known.map_or(0.5, |(_, _, share)| *share);
        if rates.tiles == Tiles::None {
            return self.untiled_seconds(rates, tflops * share, shape);
        }
        let tiles = [(tile.rows as f64, tile.columns as f64, share)];
        self.tiled_seconds(rates, tflops, shape, tile.cluster as f64, &tiles, &PARTS[..1])
    }

    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    fn untiled_seconds(&self, rates: &Matmul, tflops: f64, shape: ProductShape) -> f64 {
        let operations = 2.0 * shape.m as f64 * shape.n as f64 * shape.k as f64;
        (rates.overhead_us * 1e-6 + operations / (tflops * 1e12)).max(self.launch.kernel_us * 1e-6)
    }

    /// Tiles of these rows, columns and shares of the rate, `cluster` of them together one below the other.
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    fn tiled_seconds(
        &self,
        rates: &Matmul,
        tflops: f64,
        shape: ProductShape,
        cluster: f64,
        tiles: &[(f64, f64, f64)],
        parts: &[f64],
    ) -> f64 {
        let [m, n, k, element] = [shape.m, shape.n, shape.k, shape.element].map(|extent| extent as f64);
        let overhead = rates.overhead_us * 1e-6;
        let floor = self.launch.kernel_us * 1e-6;
        let read = element * (m * k + n * k) / (self.dram.read_gbs * 1e9) + 2.0 * m * n / (self.dram.write_gbs * 1e9);
        let sms = f64::from(self.sms);
        let step = STEP_BYTES / element;
        let mut least = f64::INFINITY;
        for (rows, columns, share) in tiles {
            let arithmetic = 2.0 * rows * columns * step * sms / (tflops * 1e12 * share);
            for &split in parts.iter().filter(|&&split| split == 1.0 || k >= split * step) {
                let blocks = (m / (rows * cluster)).ceil() * (n / columns).ceil() * cluster * split;
                let loops = (blocks / sms).ceil() * (k / split / step).ceil() * arithmetic.max(STEP_SECONDS);
                let sum = if split > 1.0 { SPLIT_SECONDS + 8.0 * m * n * split / (self.cache.l2_read_gbs * 1e9) } else { 0.0 };
                least = least.min(loops.max(read) + sum);
            }
        }
        (overhead + least).max(floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Standin;
    use crate::scenario::Scenario;

    fn h200() -> Gpu {
        Scenario::load(&Standin::scenarios().join("h200-1x.toml")).unwrap().gpus[0].clone()
    }

    fn time(gpu: &Gpu, m: usize, n: usize, k: usize) -> f64 {
        let rates = gpu.cublaslt.unwrap();
        gpu.product_seconds(&rates, rates.bf16_tflops, ProductShape { m, n, k, element: 2 })
    }

    #[test]
    fn large_products_reach_the_rate_and_small_ones_the_memory() {
        let gpu = h200();
        let (rates, side) = (gpu.cublaslt.unwrap(), 128 * 132);
        let rate = 2.0 * (side as f64).powi(3) / time(&gpu, side, side, side) / 1e12;
        assert!((rate / rates.bf16_tflops - 1.0).abs() < 0.01, "{rate}");
        let bytes = 2.0 * 16384.0 * 16384.0;
        let rate = bytes / time(&gpu, 1, 16384, 16384) / 1e9;
        assert!((0.97..1.0).contains(&(rate / gpu.dram.read_gbs)), "{rate}");
    }

    #[test]
    fn a_tile_that_fits_a_product_beats_one_that_does_not() {
        let gpu = h200();
        let rates = Matmul { tiles: Tiles::One, ..gpu.matmul };
        let [wide, low] = [(128, 256, 2), (64, 128, 1)].map(|(rows, columns, cluster)| Tile { rows, columns, cluster });
        let at = |m, tile| gpu.tile_seconds(&rates, rates.bf16_tflops, ProductShape { m, n: 8192, k: 8192, element: 2 }, tile);
        assert!(at(64, low) < at(64, wide) && at(8192, wide) < at(8192, low));
        let untiled = Matmul { tiles: Tiles::None, ..rates };
        let shape = ProductShape { m: 8192, n: 8192, k: 8192, element: 2 };
        assert!(gpu.tile_seconds(&untiled, 100.0, shape, wide) < gpu.tile_seconds(&untiled, 100.0, shape, low));
    }

    #[test]
    fn one_tile_too_many_takes_another_wave() {
        let mut gpu = h200();
        let rates = Matmul { tiles: Tiles::One, overhead_us: 0.0, ..gpu.matmul };
        gpu.launch.kernel_us = 0.0;
        (gpu.dram.read_gbs, gpu.dram.write_gbs) = (1e6, 1e6);
        let at = |n| gpu.product_seconds(&rates, rates.bf16_tflops, ProductShape { m: 128, n, k: 4096, element: 2 });
        assert!((at(256 * 133) / at(256 * 132) - 2.0).abs() < 1e-9);
        assert!((at(256 * 132) / at(256) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn without_tiles_time_is_operations_over_the_rate() {
        let gpu = h200();
        let rates = Matmul { tiles: Tiles::None, overhead_us: 2.0, ..gpu.matmul };
        let time = gpu.product_seconds(&rates, 100.0, ProductShape { m: 10, n: 10, k: 50_000_000, element: 2 });
        assert!((time - 102e-6).abs() < 1e-12);
    }
}
