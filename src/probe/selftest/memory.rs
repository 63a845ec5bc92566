//! The memory pattern test.

use super::super::rig::Bench;
use super::{Finding, Options};
use crate::error::{Error, Result};
use crate::gpu::DeviceBuffer;
use crate::units::Bytes;

/// Memory is taken in pieces of this size, so that what is fragmented can be tested too.
const PIECE: Bytes = Bytes::gib(1);

/// Smallest piece worth taking.
const LEAST: Bytes = Bytes::mib(1);

/// Fill a share of the free memory with a pattern and compare every word, twice.
pub(super) fn test(bench: &Bench, options: Options, stopped: &dyn Fn() -> bool) -> Finding {
    let (free, _) = bench.gpu.memory()?;
    let pieces = take(bench, Bytes((free.as_f64() * options.share) as u64))?;
    let compared: Bytes = pieces.iter().map(DeviceBuffer::bytes).sum();
    for pass in 0..2u64 {
        // Every piece has its own seed: a word that belongs into another piece is wrong here. All are written before any is read.
        let seed = |piece: usize| options.seed.wrapping_add(pass << 32).wrapping_add(piece as u64);
        for (index, piece) in pieces.iter().enumerate() {
            bench.fill(piece.view(), seed(index))?;
        }
        for (index, piece) in pieces.iter().enumerate() {
            if stopped() {
                return Err(Error::Interrupted);
            }
            if let Some(wrong) = bench.verify(piece.view(), seed(index))? {
                return Ok((compared.0, Some(format!("piece {index} of {}, pass {}: {wrong}", pieces.len(), pass + 1))));
            }
        }
    }
    Ok((compared.0, None))
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
