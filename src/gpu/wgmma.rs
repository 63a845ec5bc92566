//! Hopper's `wgmma` alone: the kernels that issue it back to back, by number format.
//!
//! A group of four warps multiplies 64 rows by 256 columns at a time, both operands in shared memory, and two groups share a multiprocessor. What
//! each thread must answer is [`wgmma_thread`](super::reference::wgmma_thread).

use super::device::Gpu;
use super::kernel::{Kernel, Shape};
use super::kernels::{TensorHopperBf16, TensorHopperE4m3, TensorHopperE5m2, TensorHopperF16, TensorHopperInt8, TensorHopperTf32};
use super::stream::Stream;
use super::view::Out;
use crate::error::Result;

/// Whether a Hopper GPU has ever run these kernels rightly. Until then they are tried in a process of their own first, and what goes wrong is held
/// against them.
pub const WGMMA_PROVEN_ON_HARDWARE: bool = false;

/// Threads of a block: two groups of four warps, as many as a multiprocessor has registers for.
const BLOCK: u32 = 256;

/// `wgmma` of a group in one round.
const STEPS: u64 = 16;

/// Rounds at most: a launch ends within some tens of milliseconds.
const MOST_ROUNDS: u32 = 1 << 13;

/// A number format of `wgmma`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WgmmaFormat {
    /// BF16, FP32 sums.
    Bf16,
    /// FP16, FP32 sums.
    F16,
    /// TF32, FP32 sums.
    Tf32,
    /// FP8 E4M3, FP32 sums.
    E4m3,
    /// FP8 E5M2, FP32 sums.
    E5m2,
    /// INT8, INT32 sums.
    Int8,
}

/// Calls `$then!(kernel type)` with that of a format.
macro_rules! with_kernel {
    ($format:expr, $then:ident) => {
        match $format {
            WgmmaFormat::Bf16 => $then!(TensorHopperBf16),
            WgmmaFormat::F16 => $then!(TensorHopperF16),
            WgmmaFormat::Tf32 => $then!(TensorHopperTf32),
            WgmmaFormat::E4m3 => $then!(TensorHopperE4m3),
            WgmmaFormat::E5m2 => $then!(TensorHopperE5m2),
            WgmmaFormat::Int8 => $then!(TensorHopperInt8),
        }
    };
}

impl WgmmaFormat {
    /// Every format.
    pub const ALL: [Self; 6] = [Self::Bf16, Self::F16, Self::Tf32, Self::E4m3, Self::E5m2, Self::Int8];

    /// Rows of A, columns of B, and the length between of one instruction: 32 bytes of it.
    pub const fn shape(self) -> [u64; 3] {
        match self {
            Self::Bf16 | Self::F16 => [64, 256, 16],
            Self::Tf32 => [64, 256, 8],
            Self::E4m3 | Self::E5m2 | Self::Int8 => [64, 256, 32],
        }
    }

    /// Operations of one group of four warps in one round.
    pub const fn operations(self) -> u64 {
        let [m, n, k] = self.shape();
        2 * m * n * k * STEPS
    }

    /// Rounds of one launch at most.
    pub const fn most_rounds(self) -> u32 {
        MOST_ROUNDS
    }

    /// Its kernel's name in the sources.
    pub fn name(self) -> &'static str {
        macro_rules! name {
            ($kernel:ident) => {
                $kernel::NAME
            };
        }
        with_kernel!(self, name)
    }

    /// Whether there is code of it for this GPU.
    pub fn runs_on(self, gpu: &Gpu) -> bool {
        macro_rules! has {
            ($kernel:ident) => {
                gpu.has_kernel::<$kernel<'_>>()
            };
        }
        with_kernel!(self, has)
    }

    /// The launch that fills a GPU.
    ///
    /// # Errors
    /// As [`Gpu::filling`].
    pub fn grid(self, gpu: &Gpu) -> Result<Shape> {
        macro_rules! grid {
            ($kernel:ident) => {
                gpu.filling::<$kernel<'_>>(BLOCK)
            };
        }
        with_kernel!(self, grid)
    }

    /// Enqueues so many rounds; each of `threads` threads writes its answer.
    ///
    /// # Errors
    /// As [`Stream::launch`].
    pub fn launch(self, stream: &Stream, rounds: u32, threads: u32, out: Out<'_, u32>, shape: Shape) -> Result<()> {
        macro_rules! launch {
            ($kernel:ident) => {
                stream.launch(&$kernel { rounds, threads, out }, shape)
            };
        }
        with_kernel!(self, launch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_takes_as_long_by_its_work() {
        // 32 bytes of k, whatever the format: so many bytes from shared memory in the same time.
        for (format, bits) in WgmmaFormat::ALL.into_iter().zip([16, 16, 32, 8, 8, 8]) {
            let [m, n, k] = format.shape();
            assert_eq!((m, n, k * bits), (64, 256, 256), "{format:?}");
            assert_eq!(format.operations(), 2 * 64 * 256 * k * 16);
        }
    }

    #[test]
    fn every_format_has_a_kernel_of_its_own() {
        let names: std::collections::BTreeSet<_> = WgmmaFormat::ALL.iter().map(|format| format.name()).collect();
        assert_eq!(names.len(), WgmmaFormat::ALL.len());
        assert!(names.iter().all(|name| name.starts_with("tensor_hopper_")));
    }
}
