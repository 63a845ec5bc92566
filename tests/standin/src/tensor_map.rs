//! Tensor maps: checked as the driver documents it, and written in a form of this stand-in's own, which its kernels read again.

use std::ffi::c_void;

use crate::code::Cu;
use crate::cuda::cuda;
use crate::driver::put;

/// 64-bit words of a map.
pub(crate) const WORDS: usize = 16;

/// First word of a map that was made here.
const MAGIC: u64 = 0x5a5a_7e45_0000_0001;

/// Data types of CUDA's header, and their bytes.
const TYPES: [u64; 13] = [1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4];

/// The 128-byte swizzle in CUDA's header, and the bytes of a box's row at most, by swizzle.
const SWIZZLE_128: i32 = 3;
const WIDEST: [u64; 4] = [u64::MAX, 32, 64, 128];

/// Rows of a box, and bytes, at most.
const MOST_ROWS: u32 = 256;

/// A matrix and its boxes, as a kernel sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TensorMap {
    pub(crate) at: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Bytes from row to row.
    pub(crate) pitch: usize,
    pub(crate) element: usize,
    pub(crate) box_rows: usize,
    pub(crate) box_columns: usize,
    pub(crate) swizzled: bool,
}

impl TensorMap {
    fn encode(self) -> [u64; WORDS] {
        let fields =
            [self.at, self.rows, self.columns, self.pitch, self.element, self.box_rows, self.box_columns, usize::from(self.swizzled)];
        let mut words = [0; WORDS];
        words[0] = MAGIC;
        for (word, field) in words[1..].iter_mut().zip(fields) {
            *word = field as u64;
        }
        words
    }

    /// What a launch was given; none if this stand-in did not write it.
    pub(crate) fn decode(words: &[u64]) -> Option<Self> {
        let field = |index: usize| words.get(index).and_then(|word| usize::try_from(*word).ok());
        (words.first() == Some(&MAGIC)).then_some(())?;
        Some(Self {
            at: field(1)?,
            rows: field(2)?,
            columns: field(3)?,
            pitch: field(4)?,
            element: field(5)?,
            box_rows: field(6)?,
            box_columns: field(7)?,
            swizzled: field(8)? == 1,
        })
    }
}

cuda!(cuTensorMapEncodeTiled |d| (
    map: *mut [u64; WORDS], kind: i32, rank: u32, address: *mut c_void, sizes: *const u64, strides: *const u64, extents: *const u32,
    steps: *const u32, interleave: i32, swizzle: i32, promotion: i32, beyond: i32,
) {
    // Only matrices are known here; the driver knows up to five dimensions.
    if rank != 2 || sizes.is_null() || strides.is_null() || extents.is_null() || steps.is_null() || !map.addr().is_multiple_of(64) {
        return Err(Cu::INVALID_VALUE);
    }
    // SAFETY: not null; the C interface obliges the caller to pass two sizes, two extents, two steps and one stride for a matrix.
    let ([columns, rows], stride, [box_columns, box_rows], steps) =
        unsafe { (sizes.cast::<[u64; 2]>().read(), strides.read(), extents.cast::<[u32; 2]>().read(), steps.cast::<[u32; 2]>().read()) };
    let element = usize::try_from(kind).ok().and_then(|kind| TYPES.get(kind)).copied().ok_or(Cu::INVALID_VALUE)?;
    let widest = usize::try_from(swizzle).ok().and_then(|swizzle| WIDEST.get(swizzle)).copied().ok_or(Cu::INVALID_VALUE)?;
    let inner = u64::from(box_columns) * element;
    let sound = address.addr().is_multiple_of(16)
        && !address.is_null()
        && [rows, columns].iter().all(|size| (1..=1 << 32).contains(size))
        && stride.is_multiple_of(16)
        && stride < 1 << 40
        && stride >= columns * element
        && [box_columns, box_rows].iter().all(|extent| (1..=MOST_ROWS).contains(extent))
        && inner.is_multiple_of(16)
        && inner <= widest
        && steps == [1, 1]
        && interleave == 0
        && (0..=3).contains(&promotion)
        && beyond == 0;
    if !sound {
        return Err(Cu::INVALID_VALUE);
    }
    let size = |size: u64| usize::try_from(size).map_err(|_| Cu::INVALID_VALUE);
    let made = TensorMap {
        at: address.addr(),
        rows: size(rows)?,
        columns: size(columns)?,
        pitch: size(stride)?,
        element: size(element)?,
        box_rows: box_rows as usize,
        box_columns: box_columns as usize,
        swizzled: swizzle == SWIZZLE_128,
    };
    put(map, made.encode())
});
