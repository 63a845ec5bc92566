//! The exported functions of the management library: system, identity and memory here, `state` what changes, `links` what joins,
//! `events` what is told unasked.
//!
//! Device handles are numbers: boards from [`BOARD`] on, MIG slices from [`SLICE`] on. A scenario may list boards in another order than CUDA
//! does, as real machines do, so that a program which mixes up the two indices is found out.

mod events;
mod links;
mod state;

pub(crate) use events::EventSet;

use std::ffi::{c_char, c_ulong};

use nvml_wrapper_sys::bindings::{nvmlDeviceAttributes_t, nvmlMemory_st, nvmlMemory_v2_t, nvmlPciInfo_t, nvmlProcessInfo_t};

use crate::code::Nv;
use crate::driver::{Driver, put, put_text, text};
use crate::scenario::Gpu;

/// Handle of the first board.
const BOARD: usize = 0x1001;
/// Handle of the first slice.
const SLICE: usize = 0x2001;

/// Declares one exported NVML function whose body runs under the lock.
macro_rules! nvml {
    ($name:ident |$driver:ident| ($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        #[unsafe(no_mangle)]
        #[allow(unused_variables, reason = "not every function needs the state or all its arguments")]
        extern "C" fn $name($($argument: $type),*) -> i32 {
            $crate::driver::enter(stringify!($name), |$driver| -> Result<(), $crate::code::Nv> { $body })
        }
    };
}
pub(crate) use nvml;

/// A device as NVML sees it.
#[derive(Clone, Copy)]
pub(crate) struct Handle {
    pub(crate) device: usize,
    pub(crate) slice: bool,
}

impl Driver {
    /// The device behind a handle, if the library is initialised and the GPU is still there.
    pub(crate) fn nvml_device(&self, handle: usize) -> Result<Handle, Nv> {
        let handle = self.nvml_handle(handle)?;
        if self.machine.gone[handle.device] { Err(Nv::GPU_IS_LOST) } else { Ok(handle) }
    }

    fn nvml_handle(&self, handle: usize) -> Result<Handle, Nv> {
        if self.nvml_users == 0 {
            return Err(Nv::UNINITIALIZED);
        }
        let count = self.machine.scenario.gpus.len();
        let (device, slice) = match handle {
            SLICE.. => (handle - SLICE, true),
            BOARD.. => (handle - BOARD, false),
            _ => return Err(Nv::INVALID_ARGUMENT),
        };
        if device < count { Ok(Handle { device, slice }) } else { Err(Nv::INVALID_ARGUMENT) }
    }

    /// The GPU behind a handle of a whole board; slices answer that this is not supported.
    pub(crate) fn nvml_board(&self, handle: usize) -> Result<&Gpu, Nv> {
        let handle = self.nvml_device(handle)?;
        if handle.slice { Err(Nv::NOT_SUPPORTED) } else { Ok(self.gpu(handle.device)) }
    }

    fn nvml_find(&self, wanted: impl Fn(&Gpu) -> Option<bool>) -> Result<usize, Nv> {
        if self.nvml_users == 0 {
            return Err(Nv::UNINITIALIZED);
        }
        let found = self.machine.scenario.gpus.iter().enumerate().find_map(|(device, gpu)| Some((device, wanted(gpu)?)));
        let (device, slice) = found.ok_or(Nv::NOT_FOUND)?;
        Ok(device + if slice { SLICE } else { BOARD })
    }

    fn nvml_memory(&self, handle: Handle) -> (u64, u64) {
        let gpu = self.gpu(handle.device);
        let (free, total) = self.memory_info(handle.device);
        match &gpu.mig {
            Some(mig) if !handle.slice => {
                let board = (mig.board_memory_mib << 20) / gpu.scale;
                (board - (total - free), board)
            }
            _ => (free, total),
        }
    }
}

nvml!(nvmlInit_v2 |d| () {
    d.nvml_users += 1;
    Ok(())
});

nvml!(nvmlInitWithFlags |d| (flags: u32) {
    d.nvml_users += 1;
    Ok(())
});

nvml!(nvmlShutdown |d| () {
    d.nvml_users = d.nvml_users.checked_sub(1).ok_or(Nv::UNINITIALIZED)?;
    Ok(())
});

/// Text of a result; the pointer stays valid.
#[unsafe(no_mangle)]
extern "C" fn nvmlErrorString(code: i32) -> *const c_char {
    let text = match code {
        0 => c"Success",
        1 => c"Uninitialized",
        2 => c"Invalid Argument",
        3 => c"Not Supported",
        4 => c"Insufficient Permissions",
        6 => c"Not Found",
        7 => c"Insufficient Size",
        9 => c"Driver Not Loaded",
        10 => c"Timeout",
        15 => c"GPU is lost",
        _ => c"Unknown Error",
    };
    text.as_ptr()
}

nvml!(nvmlSystemGetDriverVersion |d| (version: *mut c_char, length: u32) {
    put_text(version, length as usize, &d.machine.scenario.driver.version)
});

nvml!(nvmlSystemGetNVMLVersion |d| (version: *mut c_char, length: u32) {
    let driver = &d.machine.scenario.driver;
    put_text(version, length as usize, &format!("{}.{}", driver.cuda / 1000, driver.version))
});

nvml!(nvmlSystemGetCudaDriverVersion |d| (version: *mut i32) {
    put(version, d.machine.scenario.driver.cuda)
});

nvml!(nvmlSystemGetCudaDriverVersion_v2 |d| (version: *mut i32) {
    put(version, d.machine.scenario.driver.cuda)
});

nvml!(nvmlDeviceGetCount_v2 |d| (count: *mut u32) {
    if d.nvml_users == 0 {
        return Err(Nv::UNINITIALIZED);
    }
    put(count, u32::try_from(d.machine.scenario.gpus.len()).unwrap_or(u32::MAX))
});

nvml!(nvmlDeviceGetHandleByIndex_v2 |d| (index: u32, handle: *mut usize) {
    if d.nvml_users == 0 {
        return Err(Nv::UNINITIALIZED);
    }
    let order = &d.machine.scenario.driver.nvml_order;
    let count = d.machine.scenario.gpus.len();
    let device = if order.is_empty() { Some(index as usize) } else { order.get(index as usize).copied() };
    let device = device.filter(|device| *device < count).ok_or(Nv::INVALID_ARGUMENT)?;
    if d.machine.gone[device] {
        return Err(Nv::GPU_IS_LOST);
    }
    put(handle, BOARD + device)
});

nvml!(nvmlDeviceGetHandleByUUID |d| (uuid: *const c_char, handle: *mut usize) {
    let uuid: String = text(uuid)?;
    let found = d.nvml_find(|gpu| match &gpu.mig {
        Some(mig) if mig.board_uuid == uuid => Some(false),
        mig => (gpu.uuid == uuid).then_some(mig.is_some()),
    })?;
    put(handle, found)
});

nvml!(nvmlDeviceGetHandleByPciBusId_v2 |d| (address: *const c_char, handle: *mut usize) {
    let address = text::<Nv>(address)?.to_uppercase();
    // Both ways of writing the domain, four and eight digits, are accepted.
    let found = d.nvml_find(|gpu| {
        let long = gpu.bus_id();
        (long == address || long[4..] == address).then_some(false)
    })?;
    put(handle, found)
});

nvml!(nvmlDeviceGetHandleBySerial |d| (serial: *const c_char, handle: *mut usize) {
    let serial: String = text(serial)?;
    let found = d.nvml_find(|gpu| (gpu.serial == serial).then_some(false))?;
    put(handle, found)
});

nvml!(nvmlDeviceGetName |d| (handle: usize, name: *mut c_char, length: u32) {
    let handle = d.nvml_device(handle)?;
    let gpu = d.gpu(handle.device);
    let shown = match &gpu.mig {
        Some(mig) if !handle.slice => &mig.board_name,
        _ => &gpu.name,
    };
    put_text(name, length as usize, shown)
});

nvml!(nvmlDeviceGetUUID |d| (handle: usize, uuid: *mut c_char, length: u32) {
    let handle = d.nvml_device(handle)?;
    let gpu = d.gpu(handle.device);
    let shown = match &gpu.mig {
        Some(mig) if !handle.slice => &mig.board_uuid,
        _ => &gpu.uuid,
    };
    put_text(uuid, length as usize, shown)
});

nvml!(nvmlDeviceGetSerial |d| (handle: usize, serial: *mut c_char, length: u32) {
    put_text(serial, length as usize, &d.nvml_board(handle)?.serial)
});

nvml!(nvmlDeviceGetIndex |d| (handle: usize, index: *mut u32) {
    let device = d.nvml_device(handle)?.device;
    let order = &d.machine.scenario.driver.nvml_order;
    let position = order.iter().position(|other| *other == device).unwrap_or(device);
    put(index, u32::try_from(position).unwrap_or(u32::MAX))
});

nvml!(nvmlDeviceGetMinorNumber |d| (handle: usize, minor: *mut u32) {
    let device = d.nvml_device(handle)?.device;
    put(minor, u32::try_from(device).unwrap_or(u32::MAX))
});

nvml!(nvmlDeviceGetVbiosVersion |d| (handle: usize, version: *mut c_char, length: u32) {
    d.nvml_board(handle)?;
    put_text(version, length as usize, "96.00.5E.00.01")
});

nvml!(nvmlDeviceGetPciInfo_v3 |d| (handle: usize, info: *mut nvmlPciInfo_t) {
    let device = d.nvml_device(handle)?.device;
    put(info, pci_info(d.gpu(device)))
});

nvml!(nvmlDeviceGetMemoryInfo |d| (handle: usize, info: *mut nvmlMemory_st) {
    let handle = d.nvml_device(handle)?;
    let (free, total) = d.nvml_memory(handle);
    put(info, nvmlMemory_st { total, free, used: total - free })
});

nvml!(nvmlDeviceGetMemoryInfo_v2 |d| (handle: usize, info: *mut nvmlMemory_v2_t) {
    let handle = d.nvml_device(handle)?;
    let (free, total) = d.nvml_memory(handle);
    put(info, nvmlMemory_v2_t { version: 0, total, reserved: 0, free, used: total - free })
});

nvml!(nvmlDeviceGetMemoryBusWidth |d| (handle: usize, bits: *mut u32) {
    put(bits, d.nvml_board(handle)?.bus_bits)
});

nvml!(nvmlDeviceGetCudaComputeCapability |d| (handle: usize, major: *mut i32, minor: *mut i32) {
    let [upper, lower] = d.gpu(d.nvml_device(handle)?.device).cc;
    put(major, upper)?;
    put(minor, lower)
});

nvml!(nvmlDeviceGetNumGpuCores |d| (handle: usize, cores: *mut u32) {
    put(cores, d.nvml_board(handle)?.sms * 128)
});

nvml!(nvmlDeviceGetAttributes_v2 |d| (handle: usize, attributes: *mut nvmlDeviceAttributes_t) {
    let handle = d.nvml_device(handle)?;
    if !handle.slice {
        return Err(Nv::NOT_SUPPORTED);
    }
    let gpu = d.gpu(handle.device);
    put(attributes, nvmlDeviceAttributes_t {
        multiprocessorCount: gpu.sms,
        sharedCopyEngineCount: 1,
        sharedDecoderCount: 0,
        sharedEncoderCount: 0,
        sharedJpegCount: 0,
        sharedOfaCount: 0,
        gpuInstanceSliceCount: 1,
        computeInstanceSliceCount: 1,
        memorySizeMB: gpu.memory_bytes() >> 20,
    })
});

nvml!(nvmlDeviceGetMigMode |d| (handle: usize, current: *mut u32, pending: *mut u32) {
    let gpu = d.nvml_board(handle)?;
    if gpu.cc[0] < 8 || gpu.cc == [8, 9] {
        return Err(Nv::NOT_SUPPORTED);
    }
    let on = u32::from(gpu.mig.is_some());
    put(current, on)?;
    put(pending, on)
});

nvml!(nvmlDeviceIsMigDeviceHandle |d| (handle: usize, is: *mut u32) {
    put(is, u32::from(d.nvml_device(handle)?.slice))
});

nvml!(nvmlDeviceGetMaxMigDeviceCount |d| (handle: usize, count: *mut u32) {
    put(count, if d.nvml_board(handle)?.mig.is_some() { 7 } else { 0 })
});

nvml!(nvmlDeviceGetMigDeviceHandleByIndex |d| (handle: usize, index: u32, slice: *mut usize) {
    let device = d.nvml_device(handle)?.device;
    if index != 0 || d.gpu(device).mig.is_none() {
        return Err(Nv::NOT_FOUND);
    }
    put(slice, SLICE + device)
});

nvml!(nvmlDeviceGetDeviceHandleFromMigDeviceHandle |d| (slice: usize, handle: *mut usize) {
    let device = d.nvml_device(slice)?.device;
    put(handle, BOARD + device)
});

nvml!(nvmlDeviceGetGpuInstanceId |d| (handle: usize, id: *mut u32) {
    let handle = d.nvml_device(handle)?;
    let mig = d.gpu(handle.device).mig.as_ref().filter(|_| handle.slice).ok_or(Nv::NOT_SUPPORTED)?;
    put(id, mig.gpu_instance)
});

nvml!(nvmlDeviceGetVirtualizationMode |d| (handle: usize, mode: *mut u32) {
    d.nvml_board(handle)?;
    put(mode, 0)
});

nvml!(nvmlDeviceGetComputeRunningProcesses_v3 |d| (handle: usize, count: *mut u32, list: *mut nvmlProcessInfo_t) {
    let device = d.nvml_device(handle)?.device;
    let gpu = d.gpu(device);
    let entry = |pid: u32, bytes: u64| nvmlProcessInfo_t {
        pid,
        usedGpuMemory: bytes,
        gpuInstanceId: gpu.mig.as_ref().map_or(u32::MAX, |mig| mig.gpu_instance),
        computeInstanceId: gpu.mig.as_ref().map_or(u32::MAX, |mig| mig.compute_instance),
    };
    let mut processes: Vec<nvmlProcessInfo_t> =
        gpu.processes.iter().filter(|process| process.listed).map(|process| entry(process.pid, process.memory_mib << 20)).collect();
    if d.contexts[device] > 0 {
        let own = (gpu.cost.context_mib << 20) + d.machine.memory.used(device);
        processes.push(entry(std::process::id(), own));
    }
    put_list(count, list, &processes)
});

nvml!(nvmlDeviceGetGraphicsRunningProcesses_v3 |d| (handle: usize, count: *mut u32, list: *mut nvmlProcessInfo_t) {
    d.nvml_device(handle)?;
    put_list(count, list, &[])
});

nvml!(nvmlDeviceGetMPSComputeRunningProcesses_v3 |d| (handle: usize, count: *mut u32, list: *mut nvmlProcessInfo_t) {
    d.nvml_device(handle)?;
    put_list(count, list, &[])
});

nvml!(nvmlDeviceGetCpuAffinity |d| (handle: usize, words: u32, set: *mut c_ulong) {
    d.nvml_board(handle)?;
    let mut room = words;
    put_list(&raw mut room, set, &vec![c_ulong::MAX; words as usize])
});

nvml!(nvmlDeviceGetNumaNodeId |d| (handle: usize, node: *mut u32) {
    put(node, u32::try_from(d.nvml_board(handle)?.numa_node).map_err(|_| Nv::NOT_SUPPORTED)?)
});

/// Fills an array of the program by NVML's rule: too small an array is told the wanted length.
pub(crate) fn put_list<T: Copy>(count: *mut u32, list: *mut T, values: &[T]) -> Result<(), Nv> {
    if count.is_null() {
        return Err(Nv::INVALID_ARGUMENT);
    }
    // SAFETY: not null; the C interface obliges the caller to pass a readable and writable count.
    let room = unsafe { count.read() } as usize;
    put(count, u32::try_from(values.len()).unwrap_or(u32::MAX))?;
    if room < values.len() {
        return Err(Nv::INSUFFICIENT_SIZE);
    }
    if !values.is_empty() {
        if list.is_null() {
            return Err(Nv::INVALID_ARGUMENT);
        }
        // SAFETY: not null; the caller vouches for `room` elements, and there are at most that many values.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), list, values.len()) };
    }
    Ok(())
}

/// PCI identity in NVML's layout.
pub(crate) fn pci_info(gpu: &Gpu) -> nvmlPciInfo_t {
    let mut info = nvmlPciInfo_t {
        busIdLegacy: [0; 16],
        domain: gpu.pci.domain,
        bus: gpu.pci.bus,
        device: gpu.pci.device,
        pciDeviceId: gpu.pci.device_id,
        pciSubSystemId: gpu.pci.subsystem_id,
        busId: [0; 32],
    };
    let long = gpu.bus_id();
    for (slot, byte) in info.busId.iter_mut().zip(long.bytes()) {
        *slot = byte.cast_signed();
    }
    for (slot, byte) in info.busIdLegacy.iter_mut().zip(long[4..].bytes()) {
        *slot = byte.cast_signed();
    }
    info
}
