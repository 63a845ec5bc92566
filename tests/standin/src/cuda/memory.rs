//! Allocations and copies.

use std::ffi::c_void;

use super::cuda;
use crate::code::Cu;
use crate::driver::{Driver, put};
use crate::machine::What;
use crate::memory::{PAGE, Place, footprint};

cuda!(cuMemGetInfo_v2 |d| (free: *mut usize, total: *mut usize) {
    let device = d.current()?;
    let (free_bytes, total_bytes) = d.memory_info(device);
    put(free, usize::try_from(free_bytes).unwrap_or(usize::MAX))?;
    put(total, usize::try_from(total_bytes).unwrap_or(usize::MAX))
});

cuda!(cuMemAlloc_v2 |d| (address: *mut u64, bytes: usize) {
    let device = d.current()?;
    if bytes == 0 || address.is_null() {
        return Err(Cu::INVALID_VALUE);
    }
    if footprint(bytes) > d.memory_info(device).0 {
        return Err(Cu::OUT_OF_MEMORY);
    }
    let at = d.machine.memory.allocate(bytes, Place::Device(device))?;
    put(address, at as u64)
});

cuda!(cuMemFree_v2 |d| (address: u64) {
    if address == 0 {
        return Ok(());
    }
    let at = to_host(address)?;
    let device = d.machine.device_of(at).ok_or(Cu::INVALID_VALUE)?;
    // Freeing waits for the device, as the real one does; a poisoned device still gives its memory back.
    let waited = d.wait_device(device);
    d.machine.memory.release(at, |place| matches!(place, Place::Device(_))).ok_or(Cu::INVALID_VALUE)?;
    waited
});

cuda!(cuMemHostAlloc |d| (pointer: *mut *mut c_void, bytes: usize, flags: u32) {
    d.current()?;
    if pointer.is_null() || flags > 7 {
        return Err(Cu::INVALID_VALUE);
    }
    let at = d.machine.memory.allocate(bytes, Place::Pinned)?;
    put(pointer, at as *mut c_void)
});

cuda!(cuMemAllocHost_v2 |d| (pointer: *mut *mut c_void, bytes: usize) {
    d.current()?;
    let at = d.machine.memory.allocate(bytes, Place::Pinned)?;
    put(pointer, at as *mut c_void)
});

cuda!(cuMemFreeHost |d| (pointer: *mut c_void) {
    let place = d.machine.memory.place(pointer as usize, 1);
    if place != Some(Place::Pinned) {
        return Err(Cu::INVALID_VALUE);
    }
    for device in 0..d.contexts.len() {
        let _ = d.wait_device(device);
    }
    d.machine.memory.release(pointer as usize, |place| place == Place::Pinned).map(drop).ok_or(Cu::INVALID_VALUE)
});

cuda!(cuMemHostRegister_v2 |d| (pointer: *mut c_void, bytes: usize, flags: u32) {
    d.current()?;
    d.machine.memory.register(pointer as usize, bytes)
});

cuda!(cuMemHostUnregister |d| (pointer: *mut c_void) {
    d.machine
        .memory
        .release(pointer as usize, |place| place == Place::Registered)
        .map(drop)
        .ok_or(Cu::HOST_MEMORY_NOT_REGISTERED)
});

cuda!(cuMemHostGetDevicePointer_v2 |d| (address: *mut u64, pointer: *mut c_void, flags: u32) {
    match d.machine.memory.place(pointer as usize, 1) {
        Some(Place::Pinned | Place::Registered) => put(address, pointer as u64),
        _ => Err(Cu::INVALID_VALUE),
    }
});

cuda!(cuMemGetAllocationGranularity |d| (granularity: *mut usize, properties: *const c_void, option: i32) {
    if properties.is_null() {
        return Err(Cu::INVALID_VALUE);
    }
    put(granularity, usize::try_from(PAGE).unwrap_or(usize::MAX))
});

cuda!(cuMemcpyHtoD_v2 |d| (to: u64, from: *const c_void, bytes: usize) {
    let stream = d.stream(0)?;
    d.copy(stream, to_host(to)?, from as usize, bytes, true)
});

cuda!(cuMemcpyDtoH_v2 |d| (to: *mut c_void, from: u64, bytes: usize) {
    let stream = d.stream(0)?;
    d.copy(stream, to as usize, to_host(from)?, bytes, true)
});

cuda!(cuMemcpyDtoD_v2 |d| (to: u64, from: u64, bytes: usize) {
    let stream = d.stream(0)?;
    d.copy(stream, to_host(to)?, to_host(from)?, bytes, false)
});

cuda!(cuMemcpyHtoDAsync_v2 |d| (to: u64, from: *const c_void, bytes: usize, stream: u64) {
    let stream = d.stream(stream)?;
    d.copy(stream, to_host(to)?, from as usize, bytes, false)
});

cuda!(cuMemcpyDtoHAsync_v2 |d| (to: *mut c_void, from: u64, bytes: usize, stream: u64) {
    let stream = d.stream(stream)?;
    d.copy(stream, to as usize, to_host(from)?, bytes, false)
});

cuda!(cuMemcpyDtoDAsync_v2 |d| (to: u64, from: u64, bytes: usize, stream: u64) {
    let stream = d.stream(stream)?;
    d.copy(stream, to_host(to)?, to_host(from)?, bytes, false)
});

cuda!(cuMemcpyPeerAsync |d| (to: u64, to_context: usize, from: u64, from_context: usize, bytes: usize, stream: u64) {
    let stream = d.stream(stream)?;
    let (to, from) = (to_host(to)?, to_host(from)?);
    let places = (d.machine.device_of(to), d.machine.device_of(from));
    if places != (Some(d.device_of_context(to_context)?), Some(d.device_of_context(from_context)?)) {
        return Err(Cu::INVALID_VALUE);
    }
    d.copy(stream, to, from, bytes, false)
});

cuda!(cuMemsetD8Async |d| (to: u64, value: u8, bytes: usize, stream: u64) {
    let stream = d.stream(stream)?;
    d.set(stream, to_host(to)?, bytes, [value; 4])
});

cuda!(cuMemsetD32Async |d| (to: u64, value: u32, words: usize, stream: u64) {
    let stream = d.stream(stream)?;
    let bytes = words.checked_mul(4).ok_or(Cu::INVALID_VALUE)?;
    if !to.is_multiple_of(4) {
        return Err(Cu::INVALID_VALUE);
    }
    d.set(stream, to_host(to)?, bytes, value.to_ne_bytes())
});

cuda!(cuMemsetD8_v2 |d| (to: u64, value: u8, bytes: usize) {
    let stream = d.stream(0)?;
    d.set(stream, to_host(to)?, bytes, [value; 4])
});

fn to_host(address: u64) -> Result<usize, Cu> {
    usize::try_from(address).map_err(|_| Cu::INVALID_VALUE)
}

impl Driver {
    /// Enqueues a copy. Pageable memory makes it wait: the driver stages through its own buffers, first letting the stream run dry when it
    /// reads from the host, and returns when the copy is done.
    fn copy(&mut self, stream: u64, to: usize, from: usize, bytes: usize, wait: bool) -> Result<(), Cu> {
        if bytes == 0 {
            return Ok(());
        }
        if to == 0 || from == 0 {
            return Err(Cu::INVALID_VALUE);
        }
        let device = self.stream_device(stream);
        self.machine.check_copy(device, to, from, bytes)?;
        let from_pageable = self.machine.memory.place(from, bytes).is_none();
        let to_pageable = self.machine.memory.place(to, bytes).is_none();
        if from_pageable {
            self.wait_stream(stream, true)?;
        }
        self.submit(stream, What::Copy { to, from, bytes })?;
        if wait || from_pageable || to_pageable { self.wait_stream(stream, true) } else { Ok(()) }
    }

    fn set(&mut self, stream: u64, to: usize, bytes: usize, pattern: [u8; 4]) -> Result<(), Cu> {
        if bytes == 0 {
            return Ok(());
        }
        if self.machine.device_of(to).is_none() || self.machine.memory.place(to, bytes).is_none() {
            return Err(Cu::INVALID_VALUE);
        }
        self.submit(stream, What::Set { to, bytes, pattern })
    }
}
