//! Hopper's own matrix products: which there are, and how each is launched.
//!
//! A kernel is a format and a **tile**, the part of the result that a block computes at a time, see `kernels/hopper_gemm.h`. As many blocks run as
//! the GPU has multiprocessors, and each takes one tile after the other.
//!
//! Waits in these kernels are bounded. One that took too long writes a word, the **note**: then the result is worth nothing, and launches behind it
//! do nothing until the note is cleared. Whoever launches clears the note before and reads it afterwards.

use super::device::Gpu;
use super::kernel::{Kernel, Shape};
use super::kernels::{
    GemmHopperBf16Low, GemmHopperBf16Square, GemmHopperBf16Tall, GemmHopperBf16Wide, GemmHopperE4m3Low, GemmHopperE4m3Square,
    GemmHopperE4m3Wide, GemmHopperE5m2Wide,
};
use super::stream::Stream;
use super::view::{Out, View};
use crate::error::{Error, Result};

/// Whether a Hopper GPU has ever run these kernels rightly. Until then a mistake is more likely theirs than the GPU's: they are tried in a
/// process of their own first, and a wrong answer is held against them.
pub const PROVEN_ON_HARDWARE: bool = false;

/// Threads of a block: one group of producers and two of consumers.
const BLOCK: u32 = 384;

/// Rows of a box of the result.
const PANEL_ROWS: u32 = 64;

/// Format of the factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HopperFormat {
    /// BF16.
    Bf16,
    /// FP8 E4M3.
    E4m3,
    /// FP8 E5M2.
    E5m2,
}

impl HopperFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Bf16, Self::E4m3, Self::E5m2];
}

/// The part of the result that a block computes at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HopperTile {
    /// 128 × 256, two blocks in a cluster.
    Wide,
    /// 256 × 128, two blocks in a cluster.
    Tall,
    /// 128 × 128.
    Square,
    /// 64 × 128: for results of few rows.
    Low,
}

impl HopperTile {
    /// Its name in `kernels/hopper_index.h`, rows, columns, stages, blocks of a cluster and dynamic shared memory in bytes.
    const fn facts(self) -> (&'static str, u32, u32, u32, u32, u32) {
        match self {
            Self::Wide => ("t128x256_c2", 128, 256, 4, 2, 230_472),
            Self::Tall => ("t256x128_c2", 256, 128, 4, 2, 230_472),
            Self::Square => ("t128x128", 128, 128, 6, 1, 230_504),
            Self::Low => ("t64x128", 64, 128, 8, 1, 230_536),
        }
    }

    /// Every tile.
    pub const ALL: [Self; 4] = [Self::Wide, Self::Tall, Self::Square, Self::Low];

    /// Name in the sources.
    pub const fn name(self) -> &'static str {
        self.facts().0
    }

    /// Rows of the result.
    pub const fn rows(self) -> u32 {
        self.facts().1
    }

    /// Columns of the result.
    pub const fn columns(self) -> u32 {
        self.facts().2
    }

    /// Slices of the factors that a block holds at a time.
    pub const fn stages(self) -> u32 {
        self.facts().3
    }

    /// Blocks of a cluster, one below the other.
    pub const fn cluster(self) -> u32 {
        self.facts().4
    }

    /// Dynamic shared memory of a block, in bytes.
    pub const fn shared_bytes(self) -> u32 {
        self.facts().5
    }

    /// How it is launched for a result of `m` × `n` on so many multiprocessors: a cluster for each piece of work, or as many as there is room.
    pub fn launch(self, m: u32, n: u32, multiprocessors: u32) -> Shape {
        let cluster = self.cluster();
        let work = m.div_ceil(self.rows() * cluster).saturating_mul(n.div_ceil(self.columns()));
        let clusters = (multiprocessors / cluster).min(work).max(1);
        Shape { shared: self.shared_bytes(), ..Shape::line(clusters * cluster, BLOCK) }
    }
}

impl std::fmt::Display for HopperTile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "wgmma, {}x{} tiles, {} stages", self.rows(), self.columns(), self.stages())?;
        if self.cluster() > 1 { write!(f, ", cluster {}x1", self.cluster()) } else { Ok(()) }
    }
}

/// One of the kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HopperKernel {
    /// Format of the factors; the result is BF16.
    pub format: HopperFormat,
    /// What a block computes at a time.
    pub tile: HopperTile,
}

/// The matrices of a product `C[m, n] = A[m, k] · B[n, k]ᵀ`, all row-major, and the note.
#[derive(Debug, Clone, Copy)]
pub struct HopperOperands<'a> {
    /// m × k factors.
    pub a: View<'a, u8>,
    /// n × k factors.
    pub b: View<'a, u8>,
    /// m × n results.
    pub c: View<'a, u16>,
    /// 0 before, and afterwards if all went well.
    pub note: View<'a, u32>,
    /// m, n and k. Rows of all matrices are multiples of 16 bytes.
    pub extents: [u32; 3],
}

/// Calls `$then!(kernel type, element type)` with those of a kernel, or `$none` where there is none.
macro_rules! with_kernel {
    ($kernel:expr, $then:ident, $none:expr) => {
        match ($kernel.format, $kernel.tile) {
            (HopperFormat::Bf16, HopperTile::Wide) => $then!(GemmHopperBf16Wide, u16),
            (HopperFormat::Bf16, HopperTile::Tall) => $then!(GemmHopperBf16Tall, u16),
            (HopperFormat::Bf16, HopperTile::Square) => $then!(GemmHopperBf16Square, u16),
            (HopperFormat::Bf16, HopperTile::Low) => $then!(GemmHopperBf16Low, u16),
            (HopperFormat::E4m3, HopperTile::Wide) => $then!(GemmHopperE4m3Wide, u8),
            (HopperFormat::E4m3, HopperTile::Square) => $then!(GemmHopperE4m3Square, u8),
            (HopperFormat::E4m3, HopperTile::Low) => $then!(GemmHopperE4m3Low, u8),
            (HopperFormat::E5m2, HopperTile::Wide) => $then!(GemmHopperE5m2Wide, u8),
            _ => $none,
        }
    };
}

impl HopperKernel {
    /// Every kernel that there is, of one format.
    pub fn of(format: HopperFormat) -> impl Iterator<Item = Self> {
        HopperTile::ALL.into_iter().map(move |tile| Self { format, tile }).filter(|kernel| kernel.name().is_some())
    }

    /// Every kernel that there is.
    pub fn all() -> impl Iterator<Item = Self> {
        HopperFormat::ALL.into_iter().flat_map(Self::of)
    }

    /// Its name in the sources, where there is such a kernel.
    pub fn name(self) -> Option<&'static str> {
        macro_rules! name {
            ($kernel:ident, $element:ty) => {
                Some($kernel::NAME)
            };
        }
        with_kernel!(self, name, None)
    }

    /// Whether there is code of it for this GPU.
    pub fn runs_on(self, gpu: &Gpu) -> bool {
        macro_rules! has {
            ($kernel:ident, $element:ty) => {
                gpu.has_kernel::<$kernel<'_>>()
            };
        }
        with_kernel!(self, has, false)
    }

    /// Enqueues a product.
    ///
    /// # Errors
    /// As [`Gpu::tensor_map`] and [`Stream::launch`].
    pub fn launch(self, stream: &Stream, operands: &HopperOperands<'_>) -> Result<()> {
        let HopperOperands { a, b, c, note, extents: [m, n, k] } = *operands;
        let (gpu, tile) = (stream.gpu(), self.tile);
        let shape = tile.launch(m, n, gpu.device().sm_count);
        macro_rules! launch {
            ($kernel:ident, $element:ty) => {{
                let a = gpu.tensor_map(a.cast::<$element>()?, m, k, tile.rows())?;
                let b = gpu.tensor_map(b.cast::<$element>()?, n, k, tile.columns() / tile.cluster())?;
                let c = gpu.tensor_map(c, m, n, PANEL_ROWS)?;
                stream.launch(&$kernel { a, b, c, m, n, k, given_up: Out(note) }, shape)
            }};
        }
        with_kernel!(self, launch, Err(Error::usage(format!("no kernel of {:?} in {tile}", self.format))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_is_whole_clusters_and_no_more_than_the_work() {
        let grid = |tile: HopperTile, m, n, sms| tile.launch(m, n, sms).grid[0];
        assert_eq!(grid(HopperTile::Wide, 8192, 8192, 132), 132);
        assert_eq!(grid(HopperTile::Wide, 8192, 8192, 131), 130);
        assert_eq!(grid(HopperTile::Wide, 1, 512, 132), 4);
        assert_eq!(grid(HopperTile::Tall, 513, 128, 132), 4);
        assert_eq!(grid(HopperTile::Low, 64, 129, 132), 2);
        assert_eq!(grid(HopperTile::Wide, 8192, 8192, 1), 2);
    }

    #[test]
    fn a_tile_names_itself() {
        assert_eq!(HopperTile::Wide.to_string(), "wgmma, 128x256 tiles, 4 stages, cluster 2x1");
        assert_eq!(HopperTile::Low.to_string(), "wgmma, 64x128 tiles, 8 stages");
        assert_eq!(HopperKernel::all().count(), 8);
    }
}
