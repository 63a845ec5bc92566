//! Tensor maps: what Hopper's copy engine on the chip (TMA) has to know of a matrix.
//!
//! A kernel that copies by TMA names a box of a matrix by its coordinates. Where the matrix lies, how long its rows are, how large a box is and
//! how it is arranged in shared memory is in a **tensor map**, 128 opaque bytes that the driver writes and the kernel takes as an argument by
//! value. What of a box lies outside the matrix is read as zeros and never written, so a kernel cannot leave the memory that its map describes:
//! the map's view is checked when it is made, and a launch treats it like any other array.
//!
//! All maps here are of whole row-major matrices, their boxes a line of 128 bytes wide and swizzled over 128 bytes, as `kernels/hopper_index.h`
//! wants them. The hardware asks for rows of a multiple of 16 bytes, fewer than 2^40, that begin at a multiple of 16.

use std::ffi::c_void;

use cudarc::driver::sys::{
    CUtensorMap, CUtensorMapDataType, CUtensorMapFloatOOBfill, CUtensorMapInterleave, CUtensorMapL2promotion, CUtensorMapSwizzle,
};

use super::device::Gpu;
use super::failure::Doing;
use super::kernel::{Argument, Array};
use super::view::{Element, Region, View};
use crate::error::{Error, Result};

/// Bytes of a box's rows: the line of the swizzle.
const LINE: u64 = 128;

/// What addresses and rows are a multiple of.
const GRAIN: u64 = 16;

/// Rows of a box at most.
const MOST_ROWS: u32 = 256;

/// The 128 bytes, where the driver wants them.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
pub(super) struct Opaque([u64; 16]);

/// A matrix in device memory, as a kernel's argument: `const __grid_constant__ tensor_map`.
#[derive(Clone, Copy)]
pub struct TensorMap<'a> {
    opaque: Opaque,
    region: Region<'a>,
}

/// An element that boxes of may be copied.
pub trait BoxElement: Element {
    #[doc(hidden)]
    const TYPE: CUtensorMapDataType;
}

impl BoxElement for u16 {
    /// Only the size and what zeros are matters: `u16` stands for BF16.
    const TYPE: CUtensorMapDataType = CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
}

impl BoxElement for u8 {
    const TYPE: CUtensorMapDataType = CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT8;
}

impl Gpu {
    /// Describes a row-major matrix of `rows` rows of `columns` elements, to be copied in boxes of `box_rows` rows and 128 bytes.
    ///
    /// # Errors
    /// [`Error::Usage`] when the view is shorter than the matrix, or address, rows or box are none that the hardware can do;
    /// [`Error::Unavailable`] when the driver is too old to know tensor maps, [`Error::Gpu`] when it refuses this one.
    pub fn tensor_map<'a, T: BoxElement>(&self, view: View<'a, T>, rows: u32, columns: u32, box_rows: u32) -> Result<TensorMap<'a>> {
        let doing = || format!("describing a matrix of {rows} x {columns} on GPU {}", self.ordinal());
        let size = size_of::<T>() as u64;
        let (region, pitch) = (view.region(), u64::from(columns) * size);
        if rows == 0 || columns == 0 || box_rows == 0 || box_rows > MOST_ROWS {
            return Err(Error::usage(format!("{}: expected boxes of 1 to {MOST_ROWS} rows of a matrix that is not empty", doing())));
        }
        if !pitch.is_multiple_of(GRAIN) || !region.address.is_multiple_of(GRAIN) {
            return Err(Error::usage(format!("{}: expected rows of a multiple of {GRAIN} bytes that begin at one", doing())));
        }
        if u64::from(rows) * pitch > region.bytes {
            let needed = u64::from(rows) * pitch;
            return Err(Error::usage(format!("{}: expected {needed} bytes but found {}", doing(), region.bytes)));
        }
        let mut opaque = Opaque::default();
        let sizes = [u64::from(columns), u64::from(rows)];
        let pitches = [pitch];
        let extents = [(LINE / size) as u32, box_rows];
        let steps = [1, 1];
        self.enter()
            // SAFETY: the map is 128 bytes at a multiple of 64; each array has as many entries as a matrix of two dimensions needs, and lives
            // until the call returns. The address is only noted; what is behind it is the view's.
            .and_then(|()| unsafe {
                self.api().cuTensorMapEncodeTiled(
                    (&raw mut opaque).cast::<CUtensorMap>(),
                    T::TYPE,
                    2,
                    region.address as *mut c_void,
                    sizes.as_ptr(),
                    pitches.as_ptr(),
                    extents.as_ptr(),
                    steps.as_ptr(),
                    CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                    CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
                    CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                    CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
                )
            })
            .doing(doing)?;
        Ok(TensorMap { opaque, region })
    }
}

impl Argument for TensorMap<'_> {
    fn c_type() -> String {
        "const __grid_constant__ tensor_map".into()
    }

    fn bits(&self) -> u64 {
        0
    }

    fn array(&self) -> Option<Array<'_>> {
        Some(Array::new(self.region, 1))
    }

    fn block(&self) -> Option<*const c_void> {
        Some((&raw const self.opaque).cast())
    }
}

impl std::fmt::Debug for TensorMap<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TensorMap of {} bytes", self.region.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_has_the_size_and_the_alignment_that_the_driver_asks_for() {
        assert_eq!((size_of::<Opaque>(), align_of::<Opaque>()), (128, 64));
        assert_eq!(size_of::<CUtensorMap>(), 128);
    }
}
