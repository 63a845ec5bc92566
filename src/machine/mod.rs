//! What this machine is: facts read from the driver, the kernel and the file system, each with the reason where it could not be read.
//!
//! No speed is here: speeds are measured, and live in the record. A [`Fact`] is either known or says why it is not;
//! a missing number is never a zero. Readers of `/proc` and `/sys` take the root folder as a parameter, so recorded trees of other
//! machines are test input.

mod assemble;
mod cgroup;
mod cpu;
mod disks;
pub mod host;
mod identity;
pub mod join;
pub mod libraries;
mod memory;
mod mounts;
pub mod nvml;
mod tree;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Bytes, Hertz, Watts};

pub use assemble::{CudaView, NvmlView, assemble};
pub use host::{Space, SpaceReader};
pub use tree::Environment;

/// A value that was read, or the reason it could not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Fact<T> {
    /// As read.
    Known(T),
    /// Not readable here, and why.
    Unknown {
        /// The reason, for people.
        unknown: String,
    },
}

impl<T> Fact<T> {
    /// Not readable, because of `why`.
    pub fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown { unknown: why.into() }
    }

    /// The value, if it was read.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown { .. } => None,
        }
    }

    /// Why it is not known, if it is not.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Known(_) => None,
            Self::Unknown { unknown } => Some(unknown),
        }
    }

    /// The same fact in another form.
    pub fn map<U>(self, form: impl FnOnce(T) -> U) -> Fact<U> {
        match self {
            Self::Known(value) => Fact::Known(form(value)),
            Self::Unknown { unknown } => Fact::Unknown { unknown },
        }
    }

    /// From a result, with the error's text as the reason.
    pub fn from_result<E: std::fmt::Display>(result: std::result::Result<T, E>) -> Self {
        match result {
            Ok(value) => Self::Known(value),
            Err(error) => Self::unknown(error.to_string()),
        }
    }
}

/// Everything known about one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// The GPUs, in the order CUDA enumerates them (NVML's where there is no CUDA).
    pub gpus: Vec<Gpu>,
    /// One entry per ordered pair of different GPUs.
    pub pairs: Vec<Pair>,
    /// The NVIDIA driver.
    pub driver: Driver,
    /// Libraries looked for and where each was found.
    pub libraries: Vec<Library>,
    /// Everything around the GPUs.
    pub host: Host,
}

/// The NVIDIA driver and its interfaces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Driver {
    /// Such as `580.159.04`; from NVML or `/proc/driver/nvidia/version`.
    pub version: Fact<String>,
    /// The highest CUDA version the driver speaks, such as `13.0`.
    pub cuda_version: Fact<String>,
    /// NVML's own version.
    pub nvml_version: Fact<String>,
    /// Whether the driver is the test suite's stand-in and no hardware is behind these facts.
    pub simulated: bool,
}

/// A shared library the program can use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Library {
    /// Such as `libcublasLt.so.12`.
    pub name: String,
    /// The file found, if any.
    pub path: Option<String>,
    /// Where it was looked for, when it was not found.
    pub sought: Vec<String>,
}

/// One GPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gpu {
    /// Position in this machine's list, and the number `--gpu` and case ids use.
    pub index: u32,
    /// As the driver names it.
    pub name: String,
    /// `GPU-…` or `MIG-…`. In result files a short digest stands in for it unless identification was asked for.
    pub uuid: String,
    /// `domain:bus:device.function`.
    pub pci_address: Fact<String>,
    /// `vendor:device`, such as `10de:2330`.
    pub pci_id: Fact<String>,
    /// `vendor:device` of the board.
    pub pci_subsystem_id: Fact<String>,
    /// Major and minor.
    pub compute_capability: Fact<(u32, u32)>,
    /// Streaming multiprocessors.
    pub sm_count: Fact<u32>,
    /// Device memory the driver reports.
    pub memory_total: Fact<Bytes>,
    /// Free when it was read.
    pub memory_free: Fact<Bytes>,
    /// Width of the memory bus in bits.
    pub memory_bus_bits: Fact<u32>,
    /// Second-level cache.
    pub l2: Fact<Bytes>,
    /// Streaming multiprocessor clock.
    pub sm_clock: Clocks,
    /// Memory clock, as NVML counts it.
    pub memory_clock: Clocks,
    /// Power limits.
    pub power: PowerLimits,
    /// Error correction.
    pub ecc: Fact<Ecc>,
    /// Remapped memory rows.
    pub remapped_rows: Fact<RemappedRows>,
    /// Multi-instance GPU mode: whether it is on.
    pub mig: Fact<bool>,
    /// NVML's virtualisation mode, such as `none`, `passthrough`, `vgpu`.
    pub virtualization: Fact<String>,
    /// The PCIe link as trained now and at most.
    pub pcie: Fact<PcieLink>,
    /// NVLink ports, one entry per port that exists.
    pub nvlinks: Fact<Vec<NvLink>>,
    /// Processes that use this GPU, other than this program.
    pub other_processes: Fact<Vec<GpuProcess>>,
    /// NUMA node the GPU hangs on.
    pub numa_node: Fact<u32>,
    /// VBIOS version.
    pub vbios: Fact<String>,
}

/// One clock of a GPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Clocks {
    /// When it was read (an idle GPU clocks down).
    pub current: Fact<Hertz>,
    /// The most the board can do.
    pub maximum: Fact<Hertz>,
    /// The application clock in force.
    pub application: Fact<Hertz>,
}

/// Power limits of a GPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PowerLimits {
    /// The limit in force.
    pub enforced: Fact<Watts>,
    /// The board's default.
    pub default: Fact<Watts>,
    /// The highest that can be set.
    pub maximum: Fact<Watts>,
}

/// Error correction and its counters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ecc {
    /// Whether it is on.
    pub enabled: bool,
    /// Corrected errors since the driver was loaded.
    pub corrected_volatile: Option<u64>,
    /// Uncorrected errors since the driver was loaded.
    pub uncorrected_volatile: Option<u64>,
    /// Corrected errors over the board's life.
    pub corrected_aggregate: Option<u64>,
    /// Uncorrected errors over the board's life.
    pub uncorrected_aggregate: Option<u64>,
}

/// Remapped memory rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemappedRows {
    /// Because of corrected errors.
    pub corrected: u32,
    /// Because of uncorrected errors.
    pub uncorrected: u32,
    /// A remapping waits for a reset.
    pub pending: bool,
    /// A remapping failed.
    pub failed: bool,
}

/// A PCIe link of a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PcieLink {
    /// Generation trained now; idle links drop to 1.
    pub generation: u32,
    /// Lanes trained now.
    pub width: u32,
    /// The most that GPU and slot agree on.
    pub generation_max: Option<u32>,
    /// The most that GPU and slot agree on.
    pub width_max: Option<u32>,
}

/// One NVLink port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NvLink {
    /// Port number.
    pub port: u32,
    /// Whether it is up.
    pub active: bool,
    /// NVLink version.
    pub version: Option<u32>,
    /// What is on the other end: `GPU 3`, `NVSwitch`, or an address.
    pub peer: Option<String>,
}

/// A process on a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GpuProcess {
    /// Process id, in the name space NVML sees.
    pub pid: u32,
    /// Device memory it holds, where known.
    pub memory: Option<Bytes>,
}

/// What lies between two GPUs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pair {
    /// Index of the GPU that accesses.
    pub from: u32,
    /// Index of the GPU that is accessed.
    pub to: u32,
    /// As `nvidia-smi topo` names it: `NV18`, `PIX`, `PXB`, `PHB`, `NODE`, `SYS`.
    pub topology: Fact<String>,
    /// Whether the driver allows peer access.
    pub peer_access: Fact<bool>,
    /// Whether native atomics work over the pair.
    pub native_atomics: Fact<bool>,
}

/// The machine around the GPUs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// The processors.
    pub cpu: Cpu,
    /// NUMA nodes.
    pub numa: Fact<Vec<NumaNode>>,
    /// Memory and its limits.
    pub memory: Memory,
    /// Block devices that carry a mounted file system.
    pub disks: Fact<Vec<Disk>>,
    /// Kernel release, such as `6.1.0`.
    pub kernel: Fact<String>,
    /// Distribution, such as `Debian GNU/Linux 12`.
    pub os: Fact<String>,
    /// Container kind where there are signs of one, such as `docker`; `none` without signs.
    pub container: Fact<String>,
    /// Hypervisor where there are signs of one, such as `kvm`; `none` without signs.
    pub hypervisor: Fact<String>,
}

/// The processors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cpu {
    /// Marketing name.
    pub model: Fact<String>,
    /// Instruction set, such as `x86_64`.
    pub architecture: String,
    /// Sockets.
    pub sockets: Fact<u32>,
    /// Physical cores of the hardware.
    pub cores: Fact<u32>,
    /// Logical processors online.
    pub threads: Fact<u32>,
    /// Whether more than one thread runs per core.
    pub smt: Fact<bool>,
    /// Logical processors this process may run on.
    pub allowed_threads: Fact<u32>,
    /// CPU time the control group grants, in processors; `null` when unlimited.
    pub cgroup_cpus: Fact<Option<f64>>,
    /// Vector and matrix extensions of note: `avx2`, `avx512f`, `avx512_bf16`, `amx_bf16`, `sve`, …
    pub isa: Fact<Vec<String>>,
}

/// A NUMA node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NumaNode {
    /// Its number.
    pub node: u32,
    /// Logical processors on it.
    pub cpus: Vec<u32>,
    /// Memory on it.
    pub memory: Fact<Bytes>,
    /// Relative distances to every node, in node order; 10 is local.
    pub distances: Vec<u32>,
}

/// Host memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Memory {
    /// Of the hardware or VM.
    pub total: Fact<Bytes>,
    /// Available when read.
    pub available: Fact<Bytes>,
    /// What the control group grants; `null` when unlimited.
    pub cgroup_limit: Fact<Option<Bytes>>,
    /// Size of `/dev/shm`.
    pub shm: Fact<Bytes>,
    /// Limit of locked memory; `null` when unlimited.
    pub memlock: Fact<Option<Bytes>>,
}

/// A mounted disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Disk {
    /// Mount point.
    pub mount: String,
    /// Device name, such as `nvme0n1`.
    pub device: String,
    /// `nvme`, `ssd`, `hdd`, `virtual`, `network`, `memory` or `unknown`.
    pub kind: String,
    /// File system type.
    pub file_system: String,
    /// Capacity of the file system.
    pub size: Fact<Bytes>,
    /// Free for this user.
    pub free: Fact<Bytes>,
}
