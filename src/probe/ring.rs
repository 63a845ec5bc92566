//! Rings for the pointer chase, and where a walk on one ends.
//!
//! A ring visits every cache line of a working set once, in random order, so that no prefetcher and no open memory row helps: each load
//! gives the index of the next one. It is a shuffled list of the lines, closed at its end, and so one single cycle; following a shuffled
//! table of successors instead would mostly fall into several cycles, and the walk would stay in one of them.

use crate::gpu::reference::mix64;
use crate::units::Bytes;

/// One element stands in each line of this size, so that every step touches another line (and another 32-byte sector).
pub(super) const LINE: Bytes = Bytes(128);

/// Elements (32-bit) per line.
const STRIDE: usize = 32;

/// A ring through a working set.
#[derive(Debug, Clone)]
pub(super) struct Ring {
    /// `next[i]` is the index after `i`, in units of 4 bytes, for the first element of each line; other elements are zero.
    next: Vec<u32>,
    /// Lines in the order visited.
    order: Vec<u32>,
}

impl Ring {
    /// A random ring through `bytes` (rounded down to whole lines, at least two, at most 2³² bytes).
    pub(super) fn new(bytes: Bytes, seed: u64) -> Self {
        let lines = (bytes.0 / LINE.0).clamp(2, (1 << 32) / LINE.0) as u32;
        let mut random = seed;
        let mut order: Vec<u32> = (0..lines).collect();
        // A shuffled order of visits, closed into a ring, is a uniformly random cycle.
        for last in (1..order.len()).rev() {
            random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let drawn = (u128::from(mix64(random)) * (last as u128 + 1)) >> 64;
            order.swap(last, drawn as usize);
        }
        let mut next = vec![0; lines as usize * STRIDE];
        for (position, line) in order.iter().enumerate() {
            let following = order[(position + 1) % order.len()];
            next[*line as usize * STRIDE] = following * STRIDE as u32;
        }
        Self { next, order }
    }

    /// What the device needs: the index after each index.
    pub(super) fn next(&self) -> &[u32] {
        &self.next
    }

    /// The index that a walk reaches after `steps` steps from the ring's first line.
    pub(super) fn after(&self, steps: u64) -> u32 {
        let position = (steps % self.order.len() as u64) as usize;
        self.order[position] * STRIDE as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn walk(ring: &Ring, mut index: u32, steps: u64) -> u32 {
        for _ in 0..steps {
            index = ring.next()[index as usize];
        }
        index
    }

    proptest! {
        #[test]
        fn a_ring_visits_every_line_once_before_it_returns(lines in 2u64..300, seed: u64) {
            let ring = Ring::new(Bytes(lines * LINE.0), seed);
            let start = ring.after(0);
            let mut seen = std::collections::HashSet::new();
            let mut index = start;
            for _ in 0..lines {
                prop_assert!(seen.insert(index) && index.is_multiple_of(32));
                index = ring.next()[index as usize];
            }
            prop_assert_eq!(index, start);
            prop_assert_eq!(seen.len() as u64, lines);
        }

        #[test]
        fn where_a_walk_ends_is_known_without_walking(lines in 2u64..100, seed: u64, before in 0u64..1000, steps in 0u64..1000) {
            let ring = Ring::new(Bytes(lines * LINE.0), seed);
            prop_assert_eq!(walk(&ring, ring.after(before), steps), ring.after(before + steps));
        }
    }

    #[test]
    fn seeds_give_different_rings() {
        let [a, b] = [1, 2].map(|seed| Ring::new(Bytes::kib(64), seed));
        assert_ne!(a.next(), b.next());
        assert_eq!(a.next(), Ring::new(Bytes::kib(64), 1).next());
    }
}
