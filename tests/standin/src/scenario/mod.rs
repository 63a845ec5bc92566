//! The scenario file: what the machine is, how fast it truly is, and what goes wrong on it.
//!
//! A scenario is a TOML file. Every table refuses unknown keys, so a typing mistake is an error and not a silent default. A GPU may name a
//! `[model.NAME]` table and then states only what differs from it; `count` repeats it. Units are in the key: `_gbs` is 1e9 bytes per
//! second, `_tflops` 1e12 operations per second, `_mib` 2^20 bytes. `README.md` beside this crate documents every key.

use std::fmt;

use serde::Deserialize;

mod product;
mod read;

pub use product::{ProductShape, Tile, Tiles};
pub(crate) use read::uuid_bytes;

/// Why a scenario could not be used; the text names the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioError(String);

impl ScenarioError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScenarioError {}

/// A whole machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// One line for people: which machine this imitates.
    pub description: String,
    /// Driver and libraries.
    pub driver: Driver,
    /// Relative noise on every duration.
    #[serde(default)]
    pub noise: Noise,
    /// Graphics processors, after `model` and `count` were resolved.
    #[serde(default, rename = "gpu")]
    pub gpus: Vec<Gpu>,
    /// Links to the host that GPUs share.
    #[serde(default, rename = "host_switch")]
    pub host_switches: Vec<HostSwitch>,
    /// Supplies of power that GPUs share.
    #[serde(default, rename = "power_shelf")]
    pub power_shelves: Vec<PowerShelf>,
    /// Wires that copies between GPUs share.
    #[serde(default, rename = "peer_switch")]
    pub peer_switches: Vec<PeerSwitch>,
    /// What every ordered pair of GPUs has unless `[[link]]` says otherwise.
    #[serde(default)]
    pub link_default: Option<Link>,
    /// Ordered pairs that differ.
    #[serde(default, rename = "link")]
    pub links: Vec<PairLink>,
    /// Planned mishaps.
    #[serde(default, rename = "fault")]
    pub faults: Vec<Fault>,
}

/// Versions of the driver and libraries, and what is absent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Driver {
    /// Driver version as NVML gives it, e.g. `550.54.15`.
    pub version: String,
    /// CUDA version as 1000 × major + 10 × minor, e.g. 12040.
    pub cuda: i32,
    /// Whether `libnvidia-ml` is there.
    #[serde(default = "yes")]
    pub nvml: bool,
    /// cublasLt version as 10000 × major + 100 × minor + patch, e.g. 120_402; absent: no such library.
    #[serde(default)]
    pub cublaslt: Option<usize>,
    /// NCCL version as 10000 × major + 100 × minor + patch, e.g. `22_703`; absent: no such library.
    #[serde(default)]
    pub nccl: Option<i32>,
    /// Share of the links' rate that NCCL's operations reach.
    #[serde(default = "whole")]
    pub nccl_share: f64,
    /// Whether NCCL waits for the device in every call, as a library that has no room left in its queues.
    #[serde(default)]
    pub nccl_waits: bool,
    /// Whether NCCL's operations hang until they are aborted.
    #[serde(default)]
    pub nccl_stuck: bool,
    /// Exported names that must not resolve.
    #[serde(default)]
    pub missing: Vec<String>,
    /// Peers whose memory a GPU may reach at a time; absent: as many as there are.
    #[serde(default)]
    pub most_peers: Option<usize>,
    /// Whether matrices hold what they should: off, products, their random factors and their checks take time and touch nothing, which machines
    /// of full size need.
    #[serde(default = "yes")]
    pub products: bool,
    /// Whether memory holds the patterns of its test: off, filling and verifying take time and touch nothing, as a machine has less memory than a
    /// stand-in of full size says.
    #[serde(default = "yes")]
    pub patterns: bool,
    /// GPUs in the order in which NVML counts them; CUDA's order when empty.
    #[serde(default)]
    pub nvml_order: Vec<usize>,
}

/// Gaussian noise: each duration is multiplied by 1 + sigma × N(0, 1), cut at four sigma.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// Relative standard deviation.
    #[serde(default)]
    pub sigma: f64,
    /// Seed; the same seed gives the same run.
    #[serde(default)]
    pub seed: u64,
}

/// One graphics processor.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// Name as the driver gives it.
    pub name: String,
    /// `GPU-` or `MIG-` and 32 hexadecimal digits with dashes; made from the index when absent.
    #[serde(default)]
    pub uuid: String,
    /// Board serial number; tests prove that it does not leak into results.
    #[serde(default)]
    pub serial: String,
    /// PCI address and identity.
    #[serde(default)]
    pub pci: Pci,
    /// Compute capability as two numbers.
    pub cc: [i32; 2],
    /// Streaming multiprocessors.
    pub sms: u32,
    /// Memory of the real board, in MiB.
    pub memory_mib: u64,
    /// The reported memory is `memory_mib / scale`, so that a run fits a small machine.
    #[serde(default = "one")]
    pub scale: u64,
    /// Memory that the board really has, in MiB, when it is less: addresses beyond reach the beginning again.
    #[serde(default)]
    pub real_memory_mib: Option<u64>,
    /// Second-level cache of the real chip, in KiB.
    pub l2_kib: u64,
    /// The reported cache is `l2_kib / l2_scale`; `scale` when absent.
    #[serde(default)]
    pub l2_scale: Option<u64>,
    /// First-level cache per multiprocessor, in KiB; not scaled.
    pub l1_kib: u64,
    /// Shared memory per multiprocessor, in KiB.
    #[serde(default = "default_shared_kib")]
    pub shared_kib: u64,
    /// Memory bus width in bits.
    pub bus_bits: u32,
    /// NUMA node of the host; −1 unknown.
    #[serde(default = "minus_one")]
    pub numa_node: i32,
    /// Clocks.
    pub clocks: Clocks,
    /// Power.
    pub power: Power,
    /// Core temperature in degrees Celsius.
    #[serde(default = "default_temperature")]
    pub temperature_c: u32,
    /// How clock and temperature follow the load; absent: they stand still.
    #[serde(default)]
    pub heat: Option<Heat>,
    /// Error correction; absent: not supported.
    #[serde(default)]
    pub ecc: Option<Ecc>,
    /// Row remapper; absent: not supported.
    #[serde(default)]
    pub rows: Option<Rows>,
    /// Active throttle reasons by NVML name, e.g. `sw-power-cap`.
    #[serde(default)]
    pub throttle: Vec<String>,
    /// Errors that the kernel driver reports.
    #[serde(default)]
    pub xids: Vec<Xid>,
    /// PCI Express link.
    pub pcie: Pcie,
    /// NVLink; absent: none.
    #[serde(default)]
    pub nvlink: Option<NvLink>,
    /// Set when this device is a MIG slice of a larger board.
    #[serde(default)]
    pub mig: Option<Mig>,
    /// Other programs on the GPU.
    #[serde(default)]
    pub processes: Vec<Process>,
    /// True memory rates.
    pub dram: Dram,
    /// True cache rate and latencies.
    pub cache: Cache,
    /// True rates of this project's own matrix kernels.
    pub matmul: Matmul,
    /// True rates of this project's matrix kernels for Hopper; absent: four fifths of `matmul`'s.
    #[serde(default)]
    pub hopper: Option<Matmul>,
    /// True rates of cublasLt.
    #[serde(default)]
    pub cublaslt: Option<Matmul>,
    /// True rates of instructions with operands on the chip.
    #[serde(default)]
    pub pipes: Pipes,
    /// True rates between host and device.
    pub host_link: HostLink,
    /// Launch costs.
    #[serde(default)]
    pub launch: Launch,
    /// Memory that contexts and libraries take.
    #[serde(default)]
    pub cost: Cost,
}

/// PCI address and identity.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pci {
    /// Domain.
    #[serde(default)]
    pub domain: u32,
    /// Bus; made from the index when zero.
    #[serde(default)]
    pub bus: u32,
    /// Device.
    #[serde(default)]
    pub device: u32,
    /// Device id in the upper, vendor id in the lower 16 bits.
    #[serde(default)]
    pub device_id: u32,
    /// Subsystem id.
    #[serde(default)]
    pub subsystem_id: u32,
}

/// Clocks in MHz.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clocks {
    /// Multiprocessor clock now; also what the chase kernel counts in.
    pub sm_mhz: u32,
    /// Highest multiprocessor clock.
    pub sm_max_mhz: u32,
    /// Memory clock now.
    pub memory_mhz: u32,
    /// Highest memory clock.
    pub memory_max_mhz: u32,
    /// Application clock of the multiprocessors; absent: not supported.
    #[serde(default)]
    pub application_sm_mhz: Option<u32>,
    /// Application clock of the memory.
    #[serde(default)]
    pub application_memory_mhz: Option<u32>,
}

/// Power in watts.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Power {
    /// Draw.
    pub draw_w: f64,
    /// Enforced limit.
    pub enforced_w: f64,
    /// Default limit.
    pub default_w: f64,
    /// Lowest limit that may be set.
    pub min_w: f64,
    /// Highest limit that may be set.
    pub max_w: f64,
}

/// How clock and temperature follow the load; `src/heat.rs` has the law.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heat {
    /// Temperature without load.
    pub idle_c: f64,
    /// Temperature at which it would settle under products at full clock, with its neighbours idle.
    pub load_c: f64,
    /// Degrees more for each other GPU at work.
    #[serde(default)]
    pub neighbour_c: f64,
    /// Time constant of the temperature, in seconds.
    pub tau_s: f64,
    /// Above this temperature the clock falls.
    pub throttle_c: f64,
    /// By this share of it for each degree.
    #[serde(default = "per_degree")]
    pub per_c: f64,
    /// The clock in the first moments of load as a multiple of `sm_mhz`.
    #[serde(default = "one_f64")]
    pub burst: f64,
    /// Time constant in which it goes over to `sm_mhz`, in seconds.
    #[serde(default = "one_f64")]
    pub settle_s: f64,
    /// Draw without load.
    #[serde(default = "default_idle_w")]
    pub idle_w: f64,
}

/// Error correction.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ecc {
    /// On now.
    pub enabled: bool,
    /// On after the next reboot; as `enabled` when absent.
    #[serde(default)]
    pub pending: Option<bool>,
    /// Corrected errors.
    #[serde(default)]
    pub corrected: u64,
    /// Uncorrected errors.
    #[serde(default)]
    pub uncorrected: u64,
}

/// Row remapper.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    /// Rows remapped after corrected errors.
    #[serde(default)]
    pub corrected: u32,
    /// Rows remapped after uncorrected errors.
    #[serde(default)]
    pub uncorrected: u32,
    /// A remap waits for a reset.
    #[serde(default)]
    pub pending: bool,
    /// A remap failed.
    #[serde(default)]
    pub failure: bool,
}

/// An error that the kernel driver reports.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Xid {
    /// NVIDIA's number of it.
    pub code: u64,
    /// At which launch or copy on the GPU, from 1.
    pub at: u64,
}

/// PCI Express link.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pcie {
    /// Generation under load.
    pub generation: u32,
    /// Width under load.
    pub width: u32,
    /// Highest generation of device and slot.
    pub generation_max: u32,
    /// Highest width.
    pub width_max: u32,
    /// Generation when idle.
    #[serde(default = "one_u32")]
    pub generation_idle: u32,
    /// Replays since the start.
    #[serde(default)]
    pub replays: u32,
}

/// NVLink ports of one GPU.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NvLink {
    /// Ports.
    pub links: u32,
    /// Ports that are up; all when absent.
    #[serde(default)]
    pub active: Option<u32>,
    /// Version as NVML gives it.
    pub version: u32,
    /// Index of the GPU at the other end; absent: an NVSwitch.
    #[serde(default)]
    pub peer: Option<usize>,
}

/// The board a MIG slice was cut from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mig {
    /// UUID of the whole board.
    pub board_uuid: String,
    /// Name of the whole board.
    pub board_name: String,
    /// Memory of the whole board, in MiB; divided by the same `scale`.
    pub board_memory_mib: u64,
    /// GPU instance id.
    pub gpu_instance: u32,
    /// Compute instance id.
    pub compute_instance: u32,
}

/// Another program on the GPU.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Memory it holds, in MiB; not scaled.
    pub memory_mib: u64,
    /// Whether NVML lists it; a program in another container takes memory without being listed.
    #[serde(default = "yes")]
    pub listed: bool,
}

/// True memory rates; read and written bytes both count.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dram {
    /// `stream_read`.
    pub read_gbs: f64,
    /// `stream_write`, fills and memset.
    pub write_gbs: f64,
    /// `stream_copy`.
    pub copy_gbs: f64,
    /// `stream_scale`.
    pub scale_gbs: f64,
    /// `stream_add`.
    pub add_gbs: f64,
    /// `stream_triad`.
    pub triad_gbs: f64,
    /// The copy engine, within one device.
    pub ce_copy_gbs: f64,
    /// What bulk copies reach of the kernels' rates.
    #[serde(default = "whole")]
    pub bulk_share: f64,
}

/// True cache rate and latencies.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// Reads that hit the second-level cache.
    pub l2_read_gbs: f64,
    /// One dependent load from the first level.
    pub l1_ns: f64,
    /// One dependent load from the second level.
    pub l2_ns: f64,
    /// One dependent load from memory.
    pub dram_ns: f64,
}

/// True matrix rates: time = `overhead_us` + operations / rate, or what tiles make of it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matmul {
    /// BF16.
    pub bf16_tflops: f64,
    /// FP8 e4m3; absent: the chip has none.
    #[serde(default)]
    pub e4m3_tflops: Option<f64>,
    /// FP8 e5m2.
    #[serde(default)]
    pub e5m2_tflops: Option<f64>,
    /// FP16; absent, here and below: not supported.
    #[serde(default)]
    pub fp16_tflops: Option<f64>,
    /// TF32, of operands in FP32.
    #[serde(default)]
    pub tf32_tflops: Option<f64>,
    /// FP32.
    #[serde(default)]
    pub fp32_tflops: Option<f64>,
    /// INT8 with sums in INT32.
    #[serde(default)]
    pub int8_tflops: Option<f64>,
    /// FP64.
    #[serde(default)]
    pub fp64_tflops: Option<f64>,
    /// FP4 e2m1 with a scale for every 16 elements.
    #[serde(default)]
    pub fp4_tflops: Option<f64>,
    /// What a product of zeros takes, as a share of the time of others: below 1 where power limits.
    #[serde(default = "one_f64")]
    pub zeros: f64,
    /// Fixed time per multiplication: makes small shapes less efficient.
    #[serde(default)]
    pub overhead_us: f64,
    /// Whether the result is cut into tiles, which take their time in waves.
    #[serde(default)]
    pub tiles: Tiles,
}

/// True rates of multiply-adds with operands on the chip, 1e12 operations per second.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pipes {
    /// `tensor_bf16`.
    pub bf16_tflops: f64,
    /// `tensor_f16`.
    pub fp16_tflops: f64,
    /// `tensor_tf32`.
    pub tf32_tflops: f64,
    /// `tensor_int8`.
    pub int8_tflops: f64,
    /// `tensor_e4m3`.
    pub e4m3_tflops: f64,
    /// `tensor_f64`.
    pub fp64_tflops: f64,
    /// `tensor_hopper_bf16`.
    pub wgmma_bf16_tflops: f64,
    /// `tensor_hopper_f16`.
    pub wgmma_fp16_tflops: f64,
    /// `tensor_hopper_tf32`.
    pub wgmma_tf32_tflops: f64,
    /// `tensor_hopper_int8`.
    pub wgmma_int8_tflops: f64,
    /// `tensor_hopper_e4m3`.
    pub wgmma_e4m3_tflops: f64,
    /// `tensor_hopper_e5m2`.
    pub wgmma_e5m2_tflops: f64,
    /// `fma_f32`.
    pub fma_fp32_tflops: f64,
    /// `fma_f64`.
    pub fma_fp64_tflops: f64,
    /// `fma_f16`.
    pub fma_fp16_tflops: f64,
}

impl Default for Pipes {
    fn default() -> Self {
        Self {
            bf16_tflops: 300.0,
            fp16_tflops: 301.0,
            tf32_tflops: 150.0,
            int8_tflops: 600.0,
            e4m3_tflops: 602.0,
            fp64_tflops: 19.0,
            wgmma_bf16_tflops: 480.0,
            wgmma_fp16_tflops: 481.0,
            wgmma_tf32_tflops: 240.0,
            wgmma_int8_tflops: 960.0,
            wgmma_e4m3_tflops: 961.0,
            wgmma_e5m2_tflops: 962.0,
            fma_fp32_tflops: 18.5,
            fma_fp64_tflops: 9.3,
            fma_fp16_tflops: 74.0,
        }
    }
}

/// True rates between host and device, one direction alone and both at once (per direction).
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostLink {
    /// Pinned, host to device.
    pub h2d_gbs: f64,
    /// Pinned, device to host.
    pub d2h_gbs: f64,
    /// Pinned, host to device while the other direction runs.
    pub h2d_both_gbs: f64,
    /// Pinned, device to host while the other direction runs.
    pub d2h_both_gbs: f64,
    /// Pageable, host to device.
    pub pageable_h2d_gbs: f64,
    /// Pageable, device to host.
    pub pageable_d2h_gbs: f64,
    /// Least time of one copy.
    #[serde(default)]
    pub latency_us: f64,
    /// A kernel's load of one word of host memory, there and back; absent: `latency_us`.
    #[serde(default)]
    pub load_us: Option<f64>,
    /// What pinned memory on another NUMA node than the GPU's yields of the rates: 1 where the way there costs nothing.
    #[serde(default = "one_f64")]
    pub remote_share: f64,
}

impl HostLink {
    /// Microseconds of one dependent load of host memory.
    #[must_use]
    pub fn load_us(&self) -> f64 {
        self.load_us.unwrap_or(self.latency_us)
    }
}

/// A link to the host that several GPUs share: each has its own link up to there.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSwitch {
    /// The GPUs.
    pub gpus: Vec<usize>,
    /// All of them together, host to device.
    pub h2d_gbs: f64,
    /// All of them together, device to host.
    pub d2h_gbs: f64,
}

/// A supply of power that several GPUs share.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerShelf {
    /// The GPUs.
    pub gpus: Vec<usize>,
    /// All of them together.
    pub watts: f64,
}

/// A wire that all copies among several GPUs share: each pair has its own link up to there.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerSwitch {
    /// The GPUs.
    pub gpus: Vec<usize>,
    /// All copies among them together.
    pub gbs: f64,
}

/// Launch costs.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// Host time of one launch.
    #[serde(default)]
    pub host_us: f64,
    /// Host time of one graph launch.
    #[serde(default)]
    pub graph_host_us: f64,
    /// Host time of recording an event.
    #[serde(default)]
    pub event_us: f64,
    /// Least time of a kernel in a busy stream.
    #[serde(default)]
    pub kernel_us: f64,
    /// Least time of a kernel inside a graph.
    #[serde(default)]
    pub graph_kernel_us: f64,
}

/// Memory that contexts and libraries take, in MiB; not scaled.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// A context.
    #[serde(default)]
    pub context_mib: u64,
    /// A cublasLt handle.
    #[serde(default)]
    pub cublaslt_mib: u64,
    /// A communicator of NCCL.
    #[serde(default)]
    pub nccl_mib: u64,
}

/// What joins one ordered pair of GPUs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Direct access allowed.
    pub p2p: bool,
    /// Copy engine, one direction.
    pub ce_gbs: f64,
    /// Copy engine while the other direction runs, per direction.
    pub ce_both_gbs: f64,
    /// Kernels, one direction.
    #[serde(default)]
    pub sm_gbs: f64,
    /// Kernels while the other direction runs, per direction.
    #[serde(default)]
    pub sm_both_gbs: f64,
    /// Through host memory, without direct access.
    pub staged_gbs: f64,
    /// Through host memory while the other direction runs.
    pub staged_both_gbs: f64,
    /// Least time of one copy, and time of one dependent remote load.
    pub latency_us: f64,
    /// Makes pairs tell apart: the one-way rates of the pair (from, to) are multiplied by 1 − spread × ((8 from + to) mod 64) / 64, the two-way
    /// rates likewise with the smaller index first, so that both directions end together.
    #[serde(default)]
    pub spread: f64,
    /// How NVML places the pair: `board`, `switch`, `switches`, `bridge`, `node` or `system`.
    #[serde(default = "default_topology")]
    pub topology: String,
}

/// An ordered pair that differs from the default.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairLink {
    /// Source GPU.
    pub from: usize,
    /// Destination GPU.
    pub to: usize,
    /// Also for the opposite direction.
    #[serde(default)]
    pub both: bool,
    /// The link.
    pub link: Link,
}

/// A planned mishap.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Exported function name, e.g. `cuMemAlloc_v2`, or a kernel's, e.g. `gemm_bf16`, for the launches of that kernel.
    pub function: String,
    /// Which call, from 1.
    pub call: u64,
    /// Also every later call.
    #[serde(default)]
    pub repeat: bool,
    /// What happens.
    pub action: Action,
}

/// What a fault does.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The function does nothing and returns this code.
    Error(i32),
    /// The function takes this many seconds of real time first.
    Hang(f64),
    /// One bit of the result is flipped; only for copies and launches.
    Corrupt,
    /// One BF16 element of the result becomes this number; only for copies and launches.
    Wrong(f32),
    /// A kernel for Hopper notes that it gave up; only for their launches.
    Unfinished,
    /// The GPU in use falls off the bus: every later call on it fails.
    Gone,
}

const fn yes() -> bool {
    true
}
const fn whole() -> f64 {
    1.0
}
const fn one() -> u64 {
    1
}
const fn one_f64() -> f64 {
    1.0
}
const fn one_u32() -> u32 {
    1
}
const fn per_degree() -> f64 {
    0.02
}
const fn default_idle_w() -> f64 {
    60.0
}
const fn minus_one() -> i32 {
    -1
}
const fn default_shared_kib() -> u64 {
    100
}
const fn default_temperature() -> u32 {
    45
}
fn default_topology() -> String {
    "system".to_owned()
}
