//! The memory pattern test: does memory keep what is written to it, and is there as much of it as it says?
//!
//! All the memory that can be had is filled with words that depend on where they stand, and only then is every word read back: memory that
//! is really smaller, where two addresses reach the same cell, has lost the first of two words by then. Each **pass** has a pattern of its
//! own, independent of the last one's, so that a bit that is stuck escapes a pass with a probability of one half.
//!
//! Filling and comparing run at the speed of the memory: some 30 ms each for 80 GB of an H100.

use std::time::{Duration, Instant};

use super::rig::Bench;
use crate::error::{Error, Result};
use crate::gpu::DeviceBuffer;
use crate::units::Bytes;

/// Memory is taken in pieces of this size, so that what is fragmented can be tested too.
const PIECE: Bytes = Bytes::gib(1);

/// Smallest piece worth taking.
pub(super) const LEAST: Bytes = Bytes::mib(1);

/// What is to be tested, and how.
pub(super) struct PatternTest<'a> {
    /// Memory to take; less is tested where the device grants less.
    pub(super) bytes: Bytes,
    /// How often it is filled and compared.
    pub(super) passes: u64,
    /// Seed of the patterns.
    pub(super) seed: u64,
    /// No piece is begun after this time.
    pub(super) most: Duration,
    /// Whether the user asked to stop.
    pub(super) stopped: &'a dyn Fn() -> bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tested {
    /// Memory that was compared at least once.
    pub(super) bytes: Bytes,
    /// How often all of it was.
    pub(super) passes: u64,
    /// What came back different, and where first.
    pub(super) wrong: Option<String>,
}

impl PatternTest<'_> {
    /// Do it. Ends at the first piece that is wrong.
    ///
    /// # Errors
    /// [`Error::Gpu`] when a call fails, [`Error::Interrupted`] when the user wants to stop.
    pub(super) fn run(&self, bench: &Bench) -> Result<Tested> {
        let begun = Instant::now();
        let pieces = take(bench, self.bytes)?;
        let mut tested = Tested { bytes: Bytes(0), passes: 0, wrong: None };
        for pass in 0..self.passes {
            // All are written before any is read.
            for (index, piece) in pieces.iter().enumerate() {
                self.go_on()?;
                bench.fill(piece.view(), self.seed_of(pass, index))?;
            }
            for (index, piece) in pieces.iter().enumerate() {
                self.go_on()?;
                if begun.elapsed() > self.most {
                    return Ok(tested);
                }
                let wrong = bench.verify(piece.view(), self.seed_of(pass, index))?;
                tested.wrong = wrong.map(|wrong| format!("piece {} of {}, pass {}: {wrong}", index + 1, pieces.len(), pass + 1));
                if pass == 0 {
                    tested.bytes += piece.bytes();
                }
                if tested.wrong.is_some() {
                    return Ok(tested);
                }
            }
            tested.passes += 1;
        }
        Ok(tested)
    }

    /// Every piece has its own seed: a word that belongs into another piece is wrong here.
    const fn seed_of(&self, pass: u64, piece: usize) -> u64 {
        self.seed.wrapping_add(pass << 32).wrapping_add(piece as u64)
    }

    fn go_on(&self) -> Result<()> {
        if (self.stopped)() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// Memory of `wanted` bytes in pieces; less where the device grants less.
fn take(bench: &Bench, wanted: Bytes) -> Result<Vec<DeviceBuffer>> {
    let mut pieces = Vec::new();
    let mut left = wanted.round_down_to(LEAST);
    let mut piece = PIECE;
    while left >= LEAST && piece >= LEAST {
        match bench.gpu.allocate(left.min(piece)) {
            Ok(memory) => {
                left = left - memory.bytes();
                pieces.push(memory);
            }
            // Free memory need not be in one run: what remains may be had in smaller pieces.
            Err(Error::Gpu { code, .. }) if code == "CUDA_ERROR_OUT_OF_MEMORY" => piece = piece / 2,
            Err(error) => return Err(error),
        }
    }
    Ok(pieces)
}
