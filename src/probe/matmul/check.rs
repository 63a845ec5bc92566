//! Checking products on the GPU: the vectors of the test, and which of the sets are looked at.

use super::super::freivalds::Freivalds;
use super::super::rig::Bench;
use crate::error::Result;
use crate::gpu::DeviceBuffer;
use crate::measure::GemmShape;

/// Sets whose results are checked at most: the first, the last, and others evenly between them.
const CHECKED: u64 = 64;

/// What a product `C = A·Bᵀ` is checked with: FP64 vectors, the last three zero before each use.
pub(super) struct Vectors {
    /// n signs.
    pub(super) x: DeviceBuffer,
    /// `Bᵀ·x`, k elements.
    pub(super) through_b: DeviceBuffer,
    /// `A·(Bᵀ·x)`, m elements.
    pub(super) reference: DeviceBuffer,
    /// `C·x`, m elements.
    pub(super) product: DeviceBuffer,
}

/// Compare `C·x` with `A·(Bᵀ·x)` for every vector of the test; `multiply` enqueues the three products that fill the vectors.
///
/// # Errors
/// When the device refuses.
pub(super) fn examine(
    bench: &Bench,
    test: &Freivalds,
    shape: GemmShape,
    multiply: impl Fn(&Vectors) -> Result<()>,
) -> Result<Option<String>> {
    let GemmShape { m, n, k } = shape;
    let vector = |length: u64| bench.gpu.allocate_elements::<f64>(length);
    let vectors = Vectors { x: vector(n)?, through_b: vector(k)?, reference: vector(m)?, product: vector(m)? };
    for slab in 0..test.slabs() {
        vectors.x.write(&bench.stream, &test.vector(slab))?;
        for sums in [&vectors.through_b, &vectors.reference, &vectors.product] {
            bench.stream.set(sums.view::<u8>(), 0)?;
        }
        multiply(&vectors)?;
        let read = |sums: &DeviceBuffer| sums.read::<f64>(&bench.stream, m);
        if let Some(wrong) = test.compare(&read(&vectors.product)?, &read(&vectors.reference)?)? {
            return Ok(Some(wrong));
        }
    }
    Ok(None)
}

/// What is wrong with the first wrong one of those that are checked of `used` sets.
///
/// # Errors
/// As `check`.
pub(super) fn first_wrong(used: u64, check: impl Fn(u64) -> Result<Option<String>>) -> Result<Option<String>> {
    for index in checked(used) {
        if let Some(wrong) = check(index)? {
            return Ok(Some(format!("set {index}: {wrong}")));
        }
    }
    Ok(None)
}

/// Which of so many sets are checked.
fn checked(used: u64) -> impl Iterator<Item = u64> {
    let count = used.min(CHECKED);
    (0..count).map(move |index| if count == used { index } else { index * (used - 1) / (count - 1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_set_are_always_checked() {
        assert_eq!(checked(0).count(), 0);
        assert_eq!(checked(3).collect::<Vec<_>>(), [0, 1, 2]);
        for used in [64, 65, 1000, 5000] {
            let sets: Vec<u64> = checked(used).collect();
            assert_eq!((sets.len(), sets[0], sets[63]), (64, 0, used - 1));
            assert!(sets.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
