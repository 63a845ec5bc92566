//! Copies and fills.
//!
//! Both ends of a copy have to be of the same length. Copies with pinned memory and between devices return when they are enqueued. Copies
//! with pageable memory return when they are done: the driver moves such data through a buffer of its own while the call runs, so they
//! cannot wait behind a [gate](super::Gate) and are timed by the host's clock.

use std::ffi::c_void;

use super::device::Gpu;
use super::failure::Doing;
use super::pinned::{HostView, HostViewMut};
use super::stream::Stream;
use super::view::{Element, View};
use crate::error::{Error, Result};

impl Stream {
    /// Enqueues a copy from pinned memory to a device.
    ///
    /// # Errors
    /// [`Error::Usage`] for different lengths, [`Error::Gpu`] when the call fails.
    pub fn upload(&self, to: View<'_, u8>, from: HostView<'_>) -> Result<()> {
        let to = to.region();
        let length = same_length(to.bytes, from.bytes)?;
        to.uses.mark(self);
        from.uses.mark(self);
        self.enter()
            // SAFETY: both ranges are `length` bytes of live memory, and both remember this stream, so that neither is freed nor, on the
            // host, written before the copy is done.
            .and_then(|()| unsafe { self.gpu().api().cuMemcpyHtoDAsync_v2(to.address, from.address, length, self.raw()) })
            .doing(|| "copying from pinned memory to the device")
    }

    /// Enqueues a copy from a device to pinned memory.
    ///
    /// # Errors
    /// [`Error::Usage`] for different lengths, [`Error::Gpu`] when the call fails.
    pub fn download(&self, to: HostViewMut<'_>, from: View<'_, u8>) -> Result<()> {
        let from = from.region();
        let length = same_length(to.bytes, from.bytes)?;
        to.uses.mark(self);
        from.uses.mark(self);
        self.enter()
            // SAFETY: as for `upload`; the host memory is borrowed mutably, so no slice of it is held, and the next one waits.
            .and_then(|()| unsafe { self.gpu().api().cuMemcpyDtoHAsync_v2(to.address, from.address, length, self.raw()) })
            .doing(|| "copying from the device to pinned memory")
    }

    /// Copies from pageable memory to a device, after everything enqueued before; returns when done.
    ///
    /// # Errors
    /// [`Error::Usage`] for different lengths, [`Error::Gpu`] when the copy or work before it fails.
    pub fn upload_pageable<T: Element>(&self, to: View<'_, T>, from: &[T]) -> Result<()> {
        let to = to.region();
        let length = same_length(to.bytes, size_of_val(from) as u64)?;
        to.uses.mark(self);
        let enqueued = self.enter().and_then(|()| {
            // SAFETY: both ranges are `length` bytes; the device's remembers this stream, and `from` is borrowed until the stream is waited for.
            unsafe { self.gpu().api().cuMemcpyHtoDAsync_v2(to.address, from.as_ptr().cast::<c_void>(), length, self.raw()) }
        });
        // Waited for even after a failure: whatever did begin must not outlive the borrow.
        let waited = self.synchronize();
        enqueued.doing(|| "copying from pageable memory to the device")?;
        waited
    }

    /// Copies from a device to pageable memory, after everything enqueued before; returns when done.
    ///
    /// # Errors
    /// [`Error::Usage`] for different lengths, [`Error::Gpu`] when the copy or work before it fails.
    pub fn download_pageable<T: Element>(&self, to: &mut [T], from: View<'_, T>) -> Result<()> {
        let from = from.region();
        let length = same_length(size_of_val(to) as u64, from.bytes)?;
        from.uses.mark(self);
        let enqueued = self.enter().and_then(|()| {
            // SAFETY: as for `upload_pageable`; every bit pattern is a value of `T`.
            unsafe { self.gpu().api().cuMemcpyDtoHAsync_v2(to.as_mut_ptr().cast::<c_void>(), from.address, length, self.raw()) }
        });
        let waited = self.synchronize();
        enqueued.doing(|| "copying from the device to pageable memory")?;
        waited
    }

    /// Enqueues a copy by the copy engine between device memories: within one GPU, or between two of them, directly where peer access was
    /// enabled and through the host where not.
    ///
    /// # Errors
    /// [`Error::Usage`] for different lengths or a view of host memory, [`Error::Gpu`] when the call fails.
    pub fn copy<T: Element>(&self, to: View<'_, T>, from: View<'_, T>) -> Result<()> {
        let (to, from) = (to.region(), from.region());
        let length = same_length(to.bytes, from.bytes)?;
        let (to_gpu, from_gpu) = (home(to.home)?, home(from.home)?);
        to.uses.mark(self);
        from.uses.mark(self);
        self.enter()
            .and_then(|()| {
                let api = self.gpu().api();
                if to_gpu.is(from_gpu) {
                    // SAFETY: both ranges are `length` bytes of live device memory that remembers this stream.
                    unsafe { api.cuMemcpyDtoDAsync_v2(to.address, from.address, length, self.raw()) }
                } else {
                    let (to_context, from_context) = (to_gpu.raw_context(), from_gpu.raw_context());
                    // SAFETY: as above; each context is the one its memory was allocated in.
                    unsafe { api.cuMemcpyPeerAsync(to.address, to_context, from.address, from_context, length, self.raw()) }
                }
            })
            .doing(|| format!("copying from GPU {} to GPU {}", from_gpu.ordinal(), to_gpu.ordinal()))
    }

    /// Enqueues setting every byte to `value`.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the call fails.
    pub fn set<T: Element>(&self, to: View<'_, T>, value: u8) -> Result<()> {
        let to = to.region();
        let length = same_length(to.bytes, to.bytes)?;
        to.uses.mark(self);
        self.enter()
            // SAFETY: the range is `length` bytes of live memory that remembers this stream.
            .and_then(|()| unsafe { self.gpu().api().cuMemsetD8Async(to.address, value, length, self.raw()) })
            .doing(|| format!("setting memory of GPU {}", self.gpu().ordinal()))
    }
}

/// The common length of both ends.
fn same_length(to: u64, from: u64) -> Result<usize> {
    if to != from {
        return Err(Error::usage(format!("copying {from} bytes: expected a target of that size but found one of {to}")));
    }
    usize::try_from(to).map_err(|_| Error::usage(format!("copying {to} bytes: more than can be addressed")))
}

/// The device whose memory it is.
fn home(gpu: Option<&Gpu>) -> Result<&Gpu> {
    gpu.ok_or_else(|| Error::usage("copying between devices: expected device memory but found host memory"))
}
