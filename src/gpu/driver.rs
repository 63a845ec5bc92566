//! The driver and the devices it lists.
//!
//! Nothing here creates a context, so nothing here costs device memory or more than some milliseconds.

use std::ffi::{CStr, c_char, c_int};
use std::sync::Arc;

use cudarc::driver::sys::{CUdevice, CUdevice_P2PAttribute, CUdevice_attribute, CUuuid};

use super::api::Api;
use super::failure::{Doing, Failure};
use crate::error::{Error, Result};
use crate::units::Bytes;

/// The NVIDIA driver, loaded and initialised. Its devices are those that `CUDA_VISIBLE_DEVICES` lets through, in its order.
pub struct Driver {
    api: Api,
    simulated: bool,
    version: (u32, u32),
    devices: Vec<Device>,
}

/// A device as the driver lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Position in the driver's list.
    pub ordinal: u32,
    /// As the driver names it.
    pub name: String,
    /// `GPU-…`, or `MIG-…` for a slice.
    pub uuid: String,
    /// `domain:bus:device.function`, lower case.
    pub pci_address: String,
    /// Major and minor.
    pub compute_capability: (u32, u32),
    /// Streaming multiprocessors.
    pub sm_count: u32,
    /// Device memory.
    pub memory: Bytes,
    pub(super) raw: CUdevice,
}

/// A number the driver gives for a device; the unit is the driver's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// Streaming multiprocessors.
    SmCount,
    /// Threads that fit on one multiprocessor.
    ThreadsPerSm,
    /// Width of the memory bus in bits.
    MemoryBusBits,
    /// Second-level cache in bytes.
    L2Bytes,
    /// Peak multiprocessor clock in kHz.
    SmClockKilohertz,
    /// Peak memory clock in kHz.
    MemoryClockKilohertz,
    /// 1 when error correction is on.
    Ecc,
    /// Copy engines that work beside kernels.
    CopyEngines,
    /// Shared memory a block may have after opting in, in bytes.
    SharedPerBlock,
    /// Shared memory of one multiprocessor, in bytes.
    SharedPerSm,
    /// 1 when the GPU shares the host's memory.
    Integrated,
    /// Major compute capability.
    ComputeMajor,
    /// Minor compute capability.
    ComputeMinor,
}

impl Attribute {
    /// The driver's number for it.
    const fn raw(self) -> CUdevice_attribute {
        use CUdevice_attribute as A;
        match self {
            Self::SmCount => A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
            Self::ThreadsPerSm => A::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR,
            Self::MemoryBusBits => A::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH,
            Self::L2Bytes => A::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE,
            Self::SmClockKilohertz => A::CU_DEVICE_ATTRIBUTE_CLOCK_RATE,
            Self::MemoryClockKilohertz => A::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE,
            Self::Ecc => A::CU_DEVICE_ATTRIBUTE_ECC_ENABLED,
            Self::CopyEngines => A::CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT,
            Self::SharedPerBlock => A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
            Self::SharedPerSm => A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR,
            Self::Integrated => A::CU_DEVICE_ATTRIBUTE_INTEGRATED,
            Self::ComputeMajor => A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            Self::ComputeMinor => A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
        }
    }
}

impl Driver {
    /// Loads the driver, initialises it and lists its devices.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when there is no driver, it is too old, or it has no device; [`Error::Gpu`] when one of its calls fails.
    pub fn open() -> Result<Arc<Self>> {
        let (api, simulated) = Api::load()?;
        // SAFETY: flags must be 0, and are.
        unsafe { api.cuInit(0) }.doing(|| "initialising the NVIDIA driver")?;
        let mut version = 0;
        // SAFETY: the pointer is valid for one int.
        unsafe { api.cuDriverGetVersion(&raw mut version) }.doing(|| "asking for the driver's CUDA version")?;
        let version = (unsigned(version) / 1000, unsigned(version) % 1000 / 10);
        let mut count = 0;
        // SAFETY: the pointer is valid for one int.
        unsafe { api.cuDeviceGetCount(&raw mut count) }.doing(|| "counting the GPUs")?;
        if count <= 0 {
            return Err(Error::Unavailable {
                doing: "counting the GPUs".into(),
                why: "the driver lists none".into(),
                remedy: "check `nvidia-smi -L` and CUDA_VISIBLE_DEVICES".into(),
            });
        }
        let devices = (0..count).map(|ordinal| read_device(&api, ordinal)).collect::<Result<_>>()?;
        Ok(Arc::new(Self { api, simulated, version, devices }))
    }

    /// The highest CUDA version the driver speaks, such as `(13, 0)`.
    pub const fn version(&self) -> (u32, u32) {
        self.version
    }

    /// Whether the driver here is the test suite's stand-in, also when it cannot be opened: what NVML says then is no more real.
    pub fn is_standin() -> bool {
        super::api::is_standin()
    }

    /// Whether the driver is the test suite's stand-in, with no hardware behind it.
    pub const fn simulated(&self) -> bool {
        self.simulated
    }

    /// The devices, in the driver's order.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// A number the driver gives for a device.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the call fails.
    pub fn attribute(&self, device: &Device, attribute: Attribute) -> Result<u32> {
        read_attribute(&self.api, device.raw, attribute).doing(|| format!("reading {attribute:?} of GPU {}", device.ordinal))
    }

    /// Whether `device` may read and write the memory of `peer` directly.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the call fails or the driver lacks it.
    pub fn can_access_peer(&self, device: &Device, peer: &Device) -> Result<bool> {
        let mut answer = 0;
        // SAFETY: the pointer is valid for one int; both devices came from this driver's list.
        unsafe { self.api.cuDeviceCanAccessPeer(&raw mut answer, device.raw, peer.raw) }
            .doing(|| format!("asking whether GPU {} can access GPU {}", device.ordinal, peer.ordinal))?;
        Ok(answer != 0)
    }

    /// Whether atomics of `device` work natively in the memory of `peer`.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the call fails or the driver lacks it.
    pub fn native_peer_atomics(&self, device: &Device, peer: &Device) -> Result<bool> {
        let attribute = CUdevice_P2PAttribute::CU_DEVICE_P2P_ATTRIBUTE_NATIVE_ATOMIC_SUPPORTED;
        let mut answer = 0;
        // SAFETY: the pointer is valid for one int; both devices came from this driver's list.
        unsafe { self.api.cuDeviceGetP2PAttribute(&raw mut answer, attribute, device.raw, peer.raw) }
            .doing(|| format!("asking for native atomics from GPU {} to GPU {}", device.ordinal, peer.ordinal))?;
        Ok(answer != 0)
    }

    /// The table of functions.
    pub(super) const fn api(&self) -> &Api {
        &self.api
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("version", &self.version).field("devices", &self.devices).finish_non_exhaustive()
    }
}

/// The driver's facts of one device that the rest of the program always needs.
fn read_device(api: &Api, ordinal: c_int) -> Result<Device> {
    let doing = || format!("reading the properties of GPU {ordinal}");
    let mut raw: CUdevice = 0;
    // SAFETY: the pointer is valid for one handle.
    unsafe { api.cuDeviceGet(&raw mut raw, ordinal) }.doing(doing)?;
    let mut text = [0 as c_char; 256];
    // SAFETY: the buffer has the length given, and the driver ends the text with NUL within it.
    unsafe { api.cuDeviceGetName(text.as_mut_ptr(), length_of(&text), raw) }.doing(doing)?;
    let name = text_of(&text);
    let mut text = [0 as c_char; 64];
    // SAFETY: the buffer has the length given, and the driver ends the text with NUL within it.
    unsafe { api.cuDeviceGetPCIBusId(text.as_mut_ptr(), length_of(&text), raw) }.doing(doing)?;
    let pci_address = text_of(&text).to_lowercase();
    let mut uuid = CUuuid { bytes: [0; 16] };
    // SAFETY: the pointer is valid for one UUID.
    unsafe { api.cuDeviceGetUuid_v2(&raw mut uuid, raw) }.doing(doing)?;
    let mut memory = 0;
    // SAFETY: the pointer is valid for one size.
    unsafe { api.cuDeviceTotalMem_v2(&raw mut memory, raw) }.doing(doing)?;
    let attribute = |attribute| read_attribute(api, raw, attribute).doing(doing);
    Ok(Device {
        ordinal: unsigned(ordinal),
        uuid: uuid_text(&uuid.bytes.map(byte_of), name.contains(" MIG ")),
        name,
        pci_address,
        compute_capability: (attribute(Attribute::ComputeMajor)?, attribute(Attribute::ComputeMinor)?),
        sm_count: attribute(Attribute::SmCount)?,
        memory: Bytes(memory as u64),
        raw,
    })
}

fn read_attribute(api: &Api, device: CUdevice, attribute: Attribute) -> std::result::Result<u32, Failure> {
    let mut value = 0;
    // SAFETY: the pointer is valid for one int.
    unsafe { api.cuDeviceGetAttribute(&raw mut value, attribute.raw(), device)? };
    Ok(unsigned(value))
}

/// A count that C keeps in an int; a negative one is no count.
fn unsigned(value: c_int) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

fn length_of(text: &[c_char]) -> c_int {
    c_int::try_from(text.len()).unwrap_or(c_int::MAX)
}

/// C's `char` has a sign on x86-64 and none on 64-bit Arm.
const fn byte_of(character: c_char) -> u8 {
    u8::from_ne_bytes(character.to_ne_bytes())
}

/// The text up to its NUL.
fn text_of(text: &[c_char]) -> String {
    let bytes: Vec<u8> = text.iter().map(|&character| byte_of(character)).collect();
    CStr::from_bytes_until_nul(&bytes).map_or_else(|_| String::new(), |text| text.to_string_lossy().trim().to_owned())
}

/// A UUID as `nvidia-smi -L` writes it. The bytes do not say whether they name a GPU or a slice of one; the device's name does.
fn uuid_text(bytes: &[u8; 16], slice: bool) -> String {
    let mut text = String::from(if slice { "MIG-" } else { "GPU-" });
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_written_as_nvidia_smi_writes_it() {
        let bytes = [0xde, 0xad, 0xbe, 0xef, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
        assert_eq!(uuid_text(&bytes, false), "GPU-deadbeef-0001-0203-0405-060708090a0b");
        assert_eq!(uuid_text(&bytes, true), "MIG-deadbeef-0001-0203-0405-060708090a0b");
    }

    #[test]
    fn a_text_ends_at_its_nul_and_one_without_a_nul_is_empty() {
        let text: Vec<c_char> = b"0000:3B:00.0\0rest".iter().map(|&byte| c_char::from_ne_bytes([byte])).collect();
        assert_eq!(text_of(&text), "0000:3B:00.0");
        assert_eq!(text_of(&[65, 66]), "");
    }
}
