//! Host memory that the device reaches by itself.
//!
//! [`PinnedBuffer`] is allocated by the driver: portable to every GPU and mapped into their address space, and *not* write-combined, which
//! would make reading it on the host very slow. [`Registered`] pins memory that someone else allocated, such as a buffer on a chosen NUMA
//! node. Both wait for the device before the host looks inside.

use std::ffi::c_void;
use std::sync::atomic::AtomicU32;

use cudarc::driver::sys::CUdeviceptr;

use super::device::Gpu;
use super::failure::Doing;
use super::stream::Uses;
use super::view::{Element, In, Out, Region, View};
use crate::error::{Error, Result};
use crate::units::Bytes;

/// `CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP`.
const PORTABLE_AND_MAPPED: u32 = 1 | 2;
/// `CU_MEMHOSTREGISTER_PORTABLE`.
const PORTABLE: u32 = 1;

/// Pinned memory from the driver, initially zero.
pub struct PinnedBuffer {
    gpu: Gpu,
    address: *mut c_void,
    length: usize,
    uses: Uses,
}

// SAFETY: the buffer owns its memory; access goes through `&self` and `&mut self` as for a boxed slice, and device access through `uses`.
unsafe impl Send for PinnedBuffer {}
// SAFETY: as above: shared access only reads.
unsafe impl Sync for PinnedBuffer {}

/// A run of pinned bytes that a copy reads.
#[derive(Clone, Copy)]
pub struct HostView<'a> {
    pub(super) address: *const c_void,
    pub(super) bytes: u64,
    pub(super) uses: &'a Uses,
}

/// A run of pinned bytes that a copy writes.
pub struct HostViewMut<'a> {
    pub(super) address: *mut c_void,
    pub(super) bytes: u64,
    pub(super) uses: &'a Uses,
}

impl HostView<'_> {
    /// The `length` bytes from byte `first` on.
    ///
    /// # Errors
    /// [`Error::Usage`] when they are not all within it.
    pub fn slice(self, first: u64, length: u64) -> Result<Self> {
        let address = part(self.address.cast_mut(), self.bytes, first, length)?;
        Ok(Self { address, bytes: length, ..self })
    }
}

impl HostViewMut<'_> {
    /// The `length` bytes from byte `first` on.
    ///
    /// # Errors
    /// [`Error::Usage`] when they are not all within it.
    pub fn slice(self, first: u64, length: u64) -> Result<Self> {
        let address = part(self.address, self.bytes, first, length)?;
        Ok(Self { address, bytes: length, ..self })
    }
}

/// The address of byte `first`, if `length` bytes from there on are within the `bytes` at `address`.
fn part(address: *mut c_void, bytes: u64, first: u64, length: u64) -> Result<*mut c_void> {
    match (first.checked_add(length), usize::try_from(first)) {
        (Some(end), Ok(first)) if end <= bytes => Ok(address.wrapping_byte_add(first)),
        _ => Err(Error::usage(format!("expected a part of {bytes} bytes but found {length} from byte {first} on"))),
    }
}

impl Gpu {
    /// Pinned host memory of that size, set to zero. It lies on the NUMA node that the calling thread's memory policy prefers: bind the
    /// thread to the node's processors first to choose one.
    ///
    /// # Errors
    /// [`Error::Usage`] for no bytes at all, [`Error::Gpu`] when the system does not grant them.
    pub fn allocate_pinned(&self, bytes: Bytes) -> Result<PinnedBuffer> {
        let doing = || format!("allocating {} of pinned host memory", bytes.approximate());
        let length = usize::try_from(bytes.0).unwrap_or(0);
        if length == 0 {
            return Err(Error::usage(format!("{}: expected at least one byte and no more than can be addressed", doing())));
        }
        let mut address: *mut c_void = std::ptr::null_mut();
        // SAFETY: the pointer is valid for one address, and the context is current.
        self.enter().and_then(|()| unsafe { self.api().cuMemHostAlloc(&raw mut address, length, PORTABLE_AND_MAPPED) }).doing(doing)?;
        // SAFETY: the driver just gave `length` bytes at `address`, and nothing else knows them. Setting them makes them initialised.
        unsafe { std::ptr::write_bytes(address.cast::<u8>(), 0, length) };
        Ok(PinnedBuffer { gpu: self.clone(), address, length, uses: Uses::default() })
    }

    /// Pins memory that someone else allocated, such as a buffer on a chosen NUMA node, and owns it from then on.
    ///
    /// # Errors
    /// [`Error::Usage`] for no bytes at all, [`Error::Gpu`] when the system refuses, for instance because the limit of locked memory is too
    /// low.
    pub fn register<M: AsMut<[u8]> + Send + 'static>(&self, memory: M) -> Result<Registered<M>> {
        let mut memory = Box::new(memory);
        let bytes = (*memory).as_mut();
        let (address, length) = (bytes.as_mut_ptr().cast::<c_void>(), bytes.len());
        let doing = || format!("pinning {} of host memory", Bytes(length as u64).approximate());
        if length == 0 {
            return Err(Error::usage(format!("{}: expected at least one byte", doing())));
        }
        // SAFETY: the range belongs to `memory`, which the result owns, in a box so that it does not move, and lets nobody touch until the
        // registration has ended.
        self.enter().and_then(|()| unsafe { self.api().cuMemHostRegister_v2(address, length, PORTABLE) }).doing(doing)?;
        Ok(Registered { gpu: self.clone(), address, length, uses: Uses::default(), _memory: memory })
    }
}

/// Memory that was allocated elsewhere and is pinned as long as this lives.
pub struct Registered<M> {
    gpu: Gpu,
    address: *mut c_void,
    length: usize,
    uses: Uses,
    // Declared last, so that it is dropped after the registration ended.
    _memory: Box<M>,
}

// SAFETY: as for `PinnedBuffer`; the memory's owner is `Send` and never touched.
unsafe impl<M: Send> Send for Registered<M> {}

impl<M> Registered<M> {
    /// Size.
    pub const fn bytes(&self) -> Bytes {
        Bytes(self.length as u64)
    }

    /// Its bytes, once no device works on them.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the work that was waited for failed.
    pub fn as_slice(&self) -> Result<&[u8]> {
        self.uses.wait()?;
        // SAFETY: the owner gave this range out as initialised bytes and is not touched; device writes as in `PinnedBuffer::as_slice`.
        Ok(unsafe { std::slice::from_raw_parts(self.address.cast::<u8>(), self.length) })
    }

    /// Its bytes to change, once no device works on them.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the work that was waited for failed.
    pub fn as_mut_slice(&mut self) -> Result<&mut [u8]> {
        self.uses.wait()?;
        // SAFETY: as in `as_slice`, borrowed mutably.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.address.cast::<u8>(), self.length) })
    }

    /// All of it, for copies to read.
    pub fn source(&self) -> HostView<'_> {
        HostView { address: self.address, bytes: self.length as u64, uses: &self.uses }
    }

    /// All of it, for copies to write.
    pub fn target(&mut self) -> HostViewMut<'_> {
        HostViewMut { address: self.address, bytes: self.length as u64, uses: &self.uses }
    }
}

impl<M> std::fmt::Debug for Registered<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registered memory of {}", Bytes(self.length as u64).approximate())
    }
}

impl<M> Drop for Registered<M> {
    fn drop(&mut self) {
        self.uses.wait_before_freeing();
        self.gpu.enter_to_give_back();
        // SAFETY: registered once, and no stream works on it any more.
        let _ = unsafe { self.gpu.api().cuMemHostUnregister(self.address) };
    }
}

impl PinnedBuffer {
    /// Size.
    pub const fn bytes(&self) -> Bytes {
        Bytes(self.length as u64)
    }

    /// Its bytes, once no device works on them.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the work that was waited for failed.
    pub fn as_slice(&self) -> Result<&[u8]> {
        self.uses.wait()?;
        // SAFETY: the memory is initialised and lives as long as `self`. Work that writes it is enqueued through `&mut self` only, so none
        // starts while the slice is held, and none is left from before.
        Ok(unsafe { std::slice::from_raw_parts(self.address.cast::<u8>(), self.length) })
    }

    /// Its bytes to change, once no device works on them.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the work that was waited for failed.
    pub fn as_mut_slice(&mut self) -> Result<&mut [u8]> {
        self.uses.wait()?;
        // SAFETY: as in `as_slice`; work that reads it needs a borrow too.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.address.cast::<u8>(), self.length) })
    }

    /// All of it, for copies to read.
    pub fn source(&self) -> HostView<'_> {
        HostView { address: self.address, bytes: self.length as u64, uses: &self.uses }
    }

    /// All of it, for copies to write.
    pub fn target(&mut self) -> HostViewMut<'_> {
        HostViewMut { address: self.address, bytes: self.length as u64, uses: &self.uses }
    }

    /// All of it, for a kernel to read through the mapping.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device has no mapping of it.
    pub fn mapped_input<T: Element>(&self) -> Result<In<'_, T>> {
        Ok(In(self.mapped()?))
    }

    /// All of it, for a kernel to write through the mapping.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device has no mapping of it.
    pub fn mapped_output<T: Element>(&mut self) -> Result<Out<'_, T>> {
        Ok(Out(self.mapped()?))
    }

    /// All of it, as the device sees it.
    pub(super) fn mapped<T: Element>(&self) -> Result<View<'_, T>> {
        let mut address: CUdeviceptr = 0;
        self.gpu
            .enter()
            // SAFETY: the pointer is valid for one address; the memory was allocated with the mapping flag. Flags must be 0.
            .and_then(|()| unsafe { self.gpu.api().cuMemHostGetDevicePointer_v2(&raw mut address, self.address, 0) })
            .doing(|| "mapping pinned memory into the device's addresses")?;
        Ok(View::new(Region { address, bytes: self.length as u64, uses: &self.uses, home: None }))
    }

    /// The 32-bit word `index`, for host and device to change at the same time; `None` beyond the end.
    pub(super) fn word(&self, index: usize) -> Option<&AtomicU32> {
        if index >= self.length / size_of::<u32>() {
            return None;
        }
        // SAFETY: within the buffer, aligned because the driver aligns allocations to pages, and alive as long as `self`. Only the gate calls
        // this; it holds no slice of the buffer while a kernel or a hold uses the words, so that all accesses from the host are atomic then.
        Some(unsafe { AtomicU32::from_ptr(self.address.cast::<u32>().add(index)) })
    }
}

impl std::fmt::Debug for PinnedBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PinnedBuffer of {}", self.bytes().approximate())
    }
}

impl Drop for PinnedBuffer {
    fn drop(&mut self) {
        self.uses.wait_before_freeing();
        self.gpu.enter_to_give_back();
        // SAFETY: allocated by the driver, freed once, and no stream works on it any more.
        let _ = unsafe { self.gpu.api().cuMemFreeHost(self.address) };
    }
}
