//! The matrix kernels for Hopper: what their launches have to look like, and the product that they compute.
//!
//! They take tensor maps in place of pointers, and a note that they write when they give up. A launch whose note is set already does nothing.

use crate::gemm::{Format, Operand, Product};
use crate::scenario::Tile;
use crate::tensor_map::{TensorMap, WORDS};

/// Positions of the arguments as words: three maps, then m, n, k and the note.
const EXTENTS: usize = 3 * WORDS;
pub(crate) const NOTE: usize = EXTENTS + 3;

/// Threads of a block.
const BLOCK: u64 = 384;

/// Bytes of a box's rows, and rows of a box of the result.
const LINE: usize = 128;
const PANEL_ROWS: usize = 64;

/// One of the kernels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Hopper {
    pub(crate) format: Format,
    pub(crate) tile: Tile,
}

impl Hopper {
    /// By name: `gemm_hopper_FORMAT_ROWSxCOLUMNS`, with `_c2` for two blocks in a cluster.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let (format, tile) = name.strip_prefix("gemm_hopper_")?.split_once('_')?;
        let format = match format {
            "bf16" => Format::Bf16,
            "e4m3" => Format::E4m3,
            "e5m2" => Format::E5m2,
            _ => return None,
        };
        let (size, cluster) = tile.strip_suffix("_c2").map_or((tile, 1), |size| (size, 2));
        let (rows, columns) = size.split_once('x')?;
        Some(Self { format, tile: Tile { rows: rows.parse().ok()?, columns: columns.parse().ok()?, cluster } })
    }

    /// Whether a grid of `blocks` blocks of `threads` threads is one it can have.
    pub(crate) fn fits(self, blocks: u64, threads: u64) -> bool {
        threads == BLOCK && blocks.is_multiple_of(self.tile.cluster as u64)
    }

    /// The product of a launch with these arguments; none if the maps are not those of the kernel and of the extents.
    pub(crate) fn product(self, arguments: &[u64]) -> Option<Product> {
        let map = |index: usize| TensorMap::decode(&arguments[index * WORDS..][..WORDS]);
        let [rows, cols, depth] = [0, 1, 2].map(|index| usize::try_from(arguments[EXTENTS + index]).unwrap_or(usize::MAX));
        let (a, b, c) = (map(0)?, map(1)?, map(2)?);
        let Tile { rows: tile_rows, columns, cluster } = self.tile;
        let element = self.format.bytes();
        let is = |map: TensorMap, rows: usize, columns: usize, element: usize, box_rows: usize| {
            let boxes = (map.box_rows, map.box_columns * map.element, map.swizzled);
            (map.rows, map.columns, map.element) == (rows, columns, element) && boxes == (box_rows, LINE, true)
        };
        let sound = is(a, rows, depth, element, tile_rows)
            && is(b, cols, depth, element, columns / cluster)
            && is(c, rows, cols, Format::Bf16.bytes(), PANEL_ROWS);
        sound.then(|| Product {
            a: Operand::rows(a.at, self.format, a.pitch / element),
            b: Operand::rows(b.at, self.format, b.pitch / element),
            c: Operand::rows(c.at, Format::Bf16, c.pitch / Format::Bf16.bytes()),
            rows,
            cols,
            depth,
            factor: 1.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::KERNELS;

    #[test]
    fn every_kernel_for_hopper_is_understood() {
        let named = KERNELS.iter().filter(|(name, _)| name.starts_with("gemm_hopper_")).filter_map(|(name, _)| Hopper::named(name)).count();
        assert_eq!(named, 8);
        let tall = Hopper::named("gemm_hopper_bf16_256x128_c2").unwrap();
        assert_eq!(tall, Hopper { format: Format::Bf16, tile: Tile { rows: 256, columns: 128, cluster: 2 } });
        assert!(tall.fits(132, 384) && !tall.fits(131, 384) && !tall.fits(132, 256));
        assert_eq!(Hopper::named("gemm_bf16"), None);
    }
}
