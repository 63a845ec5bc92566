//! Memory that matrix products multiply in, kept from case to case.
//!
//! A run has dozens of short products, and allocating, filling and freeing their matrices would take longer than timing them. So there is one
//! pool of random **factors** per GPU and format, filled once, and one of **results**. The matrices of a product are pieces of them: set after
//! set, each factor beside the other, until the sets together are too large for the cache. A larger product takes a larger pool in place of the
//! old one. The pools go back when another GPU's turn comes and when the probe is done.

use std::rc::Rc;

use super::matmul::Format;
use super::rig::{Bench, Rig};
use crate::error::Result;
use crate::gpu::{DeviceBuffer, FillUniformBf16, FillUniformE4m3, Stream, View};
use crate::measure::GemmShape;
use crate::units::Bytes;

/// Every matrix begins at a multiple of this, as memory of its own would.
const ALIGNMENT: u64 = 256;

/// A pool on one GPU.
pub(super) struct Operands {
    gpu: u32,
    format: Format,
    seed: u64,
    factors: DeviceBuffer,
    results: DeviceBuffer,
}

/// One product's sets of matrices in a pool.
pub(super) struct Sets {
    operands: Rc<Operands>,
    shape: GemmShape,
    count: u64,
}

/// One set of matrices: factors of the format, a result in BF16.
pub(super) struct Set<'a> {
    pub(super) a: View<'a, u8>,
    pub(super) b: View<'a, u8>,
    pub(super) c: View<'a, u16>,
}

const fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT)
}

/// Bytes from set to set, in factors and in results.
const fn strides(shape: GemmShape, element: u64) -> (u64, u64) {
    (aligned(shape.m * shape.k * element) + aligned(shape.n * shape.k * element), aligned(shape.m * shape.n * 2))
}

/// How many sets of a product's matrices together take at least `wanted` bytes, as far as `most` bytes allow; one in any case.
pub(super) fn sets(shape: GemmShape, element: u64, wanted: Bytes, most: Bytes) -> u64 {
    let (factors, results) = strides(shape, element);
    let each = (factors + results).max(1);
    wanted.0.div_ceil(each).min(most.0 / each).max(1)
}

impl Rig {
    /// `count` sets of a product's matrices on GPU `index`, their factors uniform in [−1, 1) by `seed`, their results NaN.
    ///
    /// # Errors
    /// When the memory cannot be had or filled.
    pub(super) fn sets(&mut self, bench: &Bench, index: u32, format: Format, shape: GemmShape, count: u64, seed: u64) -> Result<Sets> {
        let (factors, results) = strides(shape, format.element());
        let (factors, results) = (Bytes(factors * count), Bytes(results * count));
        let fits = |kept: &Rc<Operands>| kept.seed == seed && kept.factors.bytes() >= factors && kept.results.bytes() >= results;
        let kept = self.operands.iter().position(|kept| (kept.gpu, kept.format) == (index, format));
        let operands = match kept {
            Some(at) if fits(&self.operands[at]) => Rc::clone(&self.operands[at]),
            _ => {
                let old = kept.map(|at| self.operands.swap_remove(at));
                let least = old.as_ref().map_or((Bytes(0), Bytes(0)), |old| (old.factors.bytes(), old.results.bytes()));
                // The old one goes first: there may be no room for both.
                drop(old);
                self.operands.retain(|kept| kept.gpu == index);
                let new = Rc::new(Operands::new(bench, index, format, seed, factors.max(least.0), results.max(least.1))?);
                self.operands.push(Rc::clone(&new));
                new
            }
        };
        let sets = Sets { operands, shape, count };
        sets.spoil(&bench.stream)?;
        Ok(sets)
    }
}

impl Operands {
    fn new(bench: &Bench, gpu: u32, format: Format, seed: u64, factors: Bytes, results: Bytes) -> Result<Self> {
        let factors = bench.gpu.allocate(factors)?;
        match format {
            Format::Bf16 => {
                bench.launch(&FillUniformBf16 { out: factors.output(), n: factors.bytes().0 / 2, seed, scale: 1.0 })?;
            }
            Format::E4m3 => bench.launch(&FillUniformE4m3 { out: factors.output(), n: factors.bytes().0, seed, scale: 1.0 })?,
        }
        Ok(Self { gpu, format, seed, factors, results: bench.gpu.allocate(results)? })
    }
}

impl Sets {
    /// Make all results NaN: what is not written afterwards is seen.
    ///
    /// # Errors
    /// When the memory cannot be set.
    pub(super) fn spoil(&self, stream: &Stream) -> Result<()> {
        let (_, result) = strides(self.shape, self.operands.format.element());
        // All ones is a NaN.
        stream.set(self.operands.results.view::<u8>().slice(0, result * self.count)?, 0xff)
    }

    /// How many.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> Bytes {
        self.shape.bytes(self.operands.format.element()) * self.count
    }

    /// Whether one product of this shape has room in the pool.
    pub(super) fn holds(&self, shape: GemmShape) -> bool {
        let (factors, results) = strides(shape, self.operands.format.element());
        self.operands.factors.bytes().0 >= factors && self.operands.results.bytes().0 >= results
    }

    /// As many sets of another shape as take `wanted` bytes together, in the same pool; their results are what was there.
    pub(super) fn reshaped(&self, shape: GemmShape, wanted: Bytes) -> Self {
        let element = self.operands.format.element();
        let (factors, results) = strides(shape, element);
        let room = (self.operands.factors.bytes().0 / factors.max(1)).min(self.operands.results.bytes().0 / results.max(1));
        let count = sets(shape, element, wanted, Bytes(u64::MAX)).min(room).max(1);
        Self { operands: Rc::clone(&self.operands), shape, count }
    }

    /// Makes all results of the pool NaN.
    ///
    /// # Errors
    /// When the device refuses.
    pub(super) fn blank(&self, bench: &Bench) -> Result<()> {
        bench.stream.set(self.operands.results.view::<u8>(), 0xff)
    }

    /// Makes all factors zeros. The pool must not be kept for others.
    ///
    /// # Errors
    /// When the device refuses.
    pub(super) fn zero(&self, bench: &Bench) -> Result<()> {
        bench.stream.set(self.operands.factors.view::<u8>(), 0)
    }

    /// One of them.
    ///
    /// # Errors
    /// When there are not so many.
    pub(super) fn get(&self, index: u64) -> Result<Set<'_>> {
        let (GemmShape { m, n, k }, element) = (self.shape, self.operands.format.element());
        let (factors, results) = strides(self.shape, element);
        let factor = |first: u64, bytes: u64| self.operands.factors.view::<u8>().slice(index * factors + first, bytes);
        let result = self.operands.results.view::<u8>().slice(index * results, m * n * 2)?;
        Ok(Set { a: factor(0, m * k * element)?, b: factor(aligned(m * k * element), n * k * element)?, c: result.cast()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_fill_what_is_wanted_as_far_as_there_is_room() {
        let shape = GemmShape { m: 3, n: 160, k: 5760 };
        let each = 34_560 + 1_843_200 + 1024;
        assert_eq!(strides(shape, 2), (34_560 + 1_843_200, 1024));
        assert_eq!(sets(shape, 2, Bytes(10 * each), Bytes(100 * each)), 10);
        assert_eq!(sets(shape, 2, Bytes(10 * each + 1), Bytes(100 * each)), 11);
        assert_eq!(sets(shape, 2, Bytes(10 * each), Bytes(4 * each + 5)), 4);
        assert_eq!(sets(shape, 2, Bytes(10 * each), Bytes(5)), 1);
    }

    #[test]
    fn every_matrix_begins_where_memory_of_its_own_would() {
        for shape in crate::measure::DESIGN {
            for element in [1, 2] {
                let (factors, results) = strides(shape, element);
                assert!(factors % ALIGNMENT == 0 && results % ALIGNMENT == 0);
                assert!(factors >= shape.factors(element).0 && results >= 2 * shape.m * shape.n);
            }
        }
    }
}
