//! Devices: what there is and what it is like.

use std::ffi::c_char;

use cudarc::driver::sys::CUdevice_attribute as Attribute;

use super::cuda;
use crate::code::{Cu, describe};
use crate::driver::{put, put_text};
use crate::scenario::{Gpu, uuid_bytes};

cuda!(cuInit |d| (flags: u32) {
    if flags != 0 {
        return Err(Cu::INVALID_VALUE);
    }
    if d.visible.is_empty() {
        return Err(Cu::NO_DEVICE);
    }
    d.cuda_ready = true;
    Ok(())
});

cuda!(cuDriverGetVersion |d| (version: *mut i32) {
    put(version, d.machine.scenario.driver.cuda)
});

cuda!(cuGetErrorName |d| (error: i32, text: *mut *const c_char) {
    put(text, describe(error).map_or(std::ptr::null(), |(name, _)| name.as_ptr().cast()))?;
    describe(error).map(drop).ok_or(Cu::INVALID_VALUE)
});

cuda!(cuGetErrorString |d| (error: i32, text: *mut *const c_char) {
    put(text, describe(error).map_or(std::ptr::null(), |(_, words)| words.as_ptr().cast()))?;
    describe(error).map(drop).ok_or(Cu::INVALID_VALUE)
});

cuda!(cuDeviceGetCount |d| (count: *mut i32) {
    if !d.cuda_ready {
        return Err(Cu::NOT_INITIALIZED);
    }
    put(count, i32::try_from(d.visible.len()).unwrap_or(i32::MAX))
});

cuda!(cuDeviceGet |d| (device: *mut i32, ordinal: i32) {
    d.device(ordinal)?;
    put(device, ordinal)
});

cuda!(cuDeviceGetName |d| (name: *mut c_char, length: i32, device: i32) {
    let device = d.device(device)?;
    put_text(name, usize::try_from(length).unwrap_or(0), &d.gpu(device).name)
});

cuda!(cuDeviceGetUuid |d| (uuid: *mut [u8; 16], device: i32) {
    let device = d.device(device)?;
    put(uuid, uuid_bytes(&d.gpu(device).uuid).ok_or(Cu::UNKNOWN)?)
});

cuda!(cuDeviceGetUuid_v2 |d| (uuid: *mut [u8; 16], device: i32) {
    let device = d.device(device)?;
    put(uuid, uuid_bytes(&d.gpu(device).uuid).ok_or(Cu::UNKNOWN)?)
});

cuda!(cuDeviceGetPCIBusId |d| (text: *mut c_char, length: i32, device: i32) {
    let device = d.device(device)?;
    let pci = &d.gpu(device).pci;
    let address = format!("{:04X}:{:02X}:{:02X}.0", pci.domain, pci.bus, pci.device);
    put_text(text, usize::try_from(length).unwrap_or(0), &address)
});

cuda!(cuDeviceTotalMem_v2 |d| (bytes: *mut usize, device: i32) {
    let device = d.device(device)?;
    d.healthy(device)?;
    put(bytes, usize::try_from(d.gpu(device).memory_bytes()).unwrap_or(usize::MAX))
});

cuda!(cuDeviceGetAttribute |d| (value: *mut i32, attribute: i32, device: i32) {
    let device = d.device(device)?;
    put(value, attribute_of(d.gpu(device), attribute).ok_or(Cu::INVALID_VALUE)?)
});

cuda!(cuDeviceCanAccessPeer |d| (can: *mut i32, device: i32, peer: i32) {
    let (device, peer) = (d.device(device)?, d.device(peer)?);
    put(can, i32::from(d.machine.scenario.link(device, peer).is_some_and(|link| link.p2p)))
});

cuda!(cuDeviceGetP2PAttribute |d| (value: *mut i32, attribute: i32, from: i32, to: i32) {
    let (from, to) = (d.device(from)?, d.device(to)?);
    let link = d.machine.scenario.link(from, to).ok_or(Cu::INVALID_DEVICE)?;
    let switched = d.gpu(from).nvlink.is_some();
    put(value, match attribute {
        // Performance rank: 0 is best.
        1 => i32::from(!switched),
        2 | 4 => i32::from(link.p2p),
        3 => i32::from(link.p2p && switched),
        _ => return Err(Cu::INVALID_VALUE),
    })
});

/// A device attribute by its number in `cuda.h`; `None` for numbers that driver 12.0 does not know.
fn attribute_of(gpu: &Gpu, attribute: i32) -> Option<i32> {
    let number = |value: u64| i32::try_from(value).unwrap_or(i32::MAX);
    let is = |candidate: Attribute| candidate as i32 == attribute;
    let table: [(Attribute, i32); 34] = [
        (Attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024),
        (Attribute::CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, 1024),
        (Attribute::CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, 1024),
        (Attribute::CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, 64),
        (Attribute::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, i32::MAX),
        (Attribute::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, 65_535),
        (Attribute::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, 65_535),
        (Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 48 << 10),
        (Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, number((gpu.shared_kib - 1) << 10)),
        (Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, number(gpu.shared_kib << 10)),
        (Attribute::CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK, 1024),
        (Attribute::CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32),
        (Attribute::CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, 65_536),
        (Attribute::CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, 65_536),
        (Attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, threads_per_sm(gpu)),
        (Attribute::CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR, threads_per_sm(gpu) / 64),
        (Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE, number(u64::from(gpu.clocks.sm_max_mhz) * 1000)),
        (Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, number(u64::from(gpu.clocks.memory_max_mhz) * 1000)),
        (Attribute::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, number(gpu.bus_bits.into())),
        (Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, number(gpu.l2_bytes())),
        (Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, number(gpu.sms.into())),
        (Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, gpu.cc[0]),
        (Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, gpu.cc[1]),
        (Attribute::CU_DEVICE_ATTRIBUTE_PCI_BUS_ID, number(gpu.pci.bus.into())),
        (Attribute::CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID, number(gpu.pci.device.into())),
        (Attribute::CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID, number(gpu.pci.domain.into())),
        (Attribute::CU_DEVICE_ATTRIBUTE_ECC_ENABLED, i32::from(gpu.ecc.is_some_and(|ecc| ecc.enabled))),
        (Attribute::CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT, 3),
        (Attribute::CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS, 1),
        (Attribute::CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1),
        (Attribute::CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY, 1),
        (Attribute::CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY, 1),
        (Attribute::CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, 1),
        (Attribute::CU_DEVICE_ATTRIBUTE_VIRTUAL_ADDRESS_MANAGEMENT_SUPPORTED, 1),
    ];
    if let Some((_, value)) = table.iter().find(|(candidate, _)| is(*candidate)) {
        return Some(*value);
    }
    // Known numbers that are zero here (integrated, kernel timeout, compute mode …); CUDA 12.0 ends at 127, and 134 is the host's NUMA node.
    match attribute {
        134 => Some(gpu.numa_node),
        1..=127 => Some(0),
        _ => None,
    }
}

/// Resident threads per multiprocessor, which follows from the compute capability.
pub(super) fn threads_per_sm(gpu: &Gpu) -> i32 {
    match gpu.cc {
        [7, 5] => 1024,
        [8, 6 | 9] | [12, _] => 1536,
        _ => 2048,
    }
}
