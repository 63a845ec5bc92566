//! Device memory.
//!
//! It comes from the plain allocator, not from a pool: what a probe gives back is free for the next one and for other processes at once, and
//! what the driver reports as free is what can be had.

use cudarc::driver::sys::CUdeviceptr;

use super::device::Gpu;
use super::failure::Doing;
use super::stream::{Stream, Uses};
use super::view::{Element, In, Out, Region, View};
use crate::error::{Error, Result};
use crate::units::Bytes;

/// A piece of one GPU's memory; its content is undefined until written. The address is a multiple of 256 bytes.
pub struct DeviceBuffer {
    gpu: Gpu,
    address: CUdeviceptr,
    bytes: Bytes,
    uses: Uses,
}

impl Gpu {
    /// Device memory of that size.
    ///
    /// # Errors
    /// [`Error::Usage`] for no bytes at all, [`Error::Gpu`] when there is not enough.
    pub fn allocate(&self, bytes: Bytes) -> Result<DeviceBuffer> {
        let doing = || format!("allocating {} on GPU {}", bytes.approximate(), self.ordinal());
        if bytes.0 == 0 {
            return Err(Error::usage(format!("{}: expected at least one byte", doing())));
        }
        let size = usize::try_from(bytes.0).map_err(|_| Error::usage(format!("{}: more than can be addressed", doing())))?;
        let mut address: CUdeviceptr = 0;
        // SAFETY: the pointer is valid for one address, and the context is current.
        self.enter().and_then(|()| unsafe { self.api().cuMemAlloc_v2(&raw mut address, size) }).doing(doing)?;
        Ok(DeviceBuffer { gpu: self.clone(), address, bytes, uses: Uses::default() })
    }

    /// Device memory for `count` elements.
    ///
    /// # Errors
    /// As [`Gpu::allocate`].
    pub fn allocate_elements<T: Element>(&self, count: u64) -> Result<DeviceBuffer> {
        self.allocate(Bytes(count.saturating_mul(size_of::<T>() as u64)))
    }
}

impl DeviceBuffer {
    /// The GPU whose memory it is.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Size.
    pub const fn bytes(&self) -> Bytes {
        self.bytes
    }

    /// All of it, as elements of a type.
    pub fn view<T: Element>(&self) -> View<'_, T> {
        View::new(Region { address: self.address, bytes: self.bytes.0, uses: &self.uses, home: Some(&self.gpu) })
    }

    /// All of it, for a kernel to read.
    pub fn input<T: Element>(&self) -> In<'_, T> {
        In(self.view())
    }

    /// All of it, for a kernel to write.
    pub fn output<T: Element>(&self) -> Out<'_, T> {
        Out(self.view())
    }

    /// Its first `count` elements, once everything enqueued before on `stream` is done.
    ///
    /// # Errors
    /// [`Error::Usage`] when it holds fewer, [`Error::Gpu`] when the copy fails.
    pub fn read<T: Element>(&self, stream: &Stream, count: u64) -> Result<Vec<T>> {
        let view = self.view::<T>().slice(0, count)?;
        let length = usize::try_from(count).map_err(|_| Error::usage(format!("reading {count} elements: more than can be addressed")))?;
        let mut elements = vec![T::default(); length];
        stream.download_pageable(&mut elements, view)?;
        Ok(elements)
    }

    /// Fills its beginning with `elements` before anything enqueued later on `stream`.
    ///
    /// # Errors
    /// [`Error::Usage`] when it holds fewer, [`Error::Gpu`] when the copy fails.
    pub fn write<T: Element>(&self, stream: &Stream, elements: &[T]) -> Result<()> {
        stream.upload_pageable(self.view::<T>().slice(0, elements.len() as u64)?, elements)
    }
}

impl std::fmt::Debug for DeviceBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceBuffer of {} on GPU {}", self.bytes.approximate(), self.gpu.ordinal())
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        self.uses.wait_before_freeing();
        self.gpu.enter_to_give_back();
        // SAFETY: the address came from the allocator and is freed once; no stream works on it any more. A failure has nobody to
        // hear it, and the context's end frees the memory in any case.
        let _ = unsafe { self.gpu.api().cuMemFree_v2(self.address) };
    }
}
