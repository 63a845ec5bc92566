//! The scenario file: what the machine is, how fast it truly is, and what goes wrong on it.
//!
//! A scenario is a TOML file. Every table refuses unknown keys, so a typing mistake is an error and not a silent default. A GPU may name a
//! `[model.NAME]` table and then states only what differs from it; `count` repeats it. Units are in the key: `_gbs` is 1e9 bytes per
//! second, `_tflops` 1e12 operations per second, `_mib` 2^20 bytes. `README.md` beside this crate documents every key.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use toml::{Table, Value};

/// Bytes in one MiB.
const MIB: u64 = 1 << 20;

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
    /// Exported names that must not resolve.
    #[serde(default)]
    pub missing: Vec<String>,
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
    /// Error correction; absent: not supported.
    #[serde(default)]
    pub ecc: Option<Ecc>,
    /// Row remapper; absent: not supported.
    #[serde(default)]
    pub rows: Option<Rows>,
    /// Active throttle reasons by NVML name, e.g. `sw-power-cap`.
    #[serde(default)]
    pub throttle: Vec<String>,
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
    /// True rates of cublasLt.
    #[serde(default)]
    pub cublaslt: Option<Matmul>,
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

/// True matrix rates: time = `overhead_us` + operations / rate.
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
    /// Fixed time per multiplication: makes small shapes less efficient.
    #[serde(default)]
    pub overhead_us: f64,
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
    /// Exported function name, e.g. `cuMemAlloc_v2`.
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
    /// The GPU in use falls off the bus: every later call on it fails.
    Gone,
}

const fn yes() -> bool {
    true
}
const fn one() -> u64 {
    1
}
const fn one_u32() -> u32 {
    1
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

impl Scenario {
    /// Reads and checks a scenario file.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, has an unknown or missing key, or contradicts itself.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::new(format!("cannot read scenario {}: {source}", path.display())))?;
        Self::parse(&text).map_err(|error| ScenarioError::new(format!("scenario {}: {error}", path.display())))
    }

    /// Parses and checks the text of a scenario.
    ///
    /// # Errors
    /// As [`Scenario::load`], without the file.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let mut table: Table = text.parse().map_err(|error| ScenarioError::new(format!("{error}")))?;
        expand_models(&mut table)?;
        let mut scenario: Self = Value::Table(table).try_into().map_err(|error| ScenarioError::new(format!("{error}")))?;
        scenario.name_gpus();
        scenario.check()?;
        Ok(scenario)
    }

    /// Gives every GPU without an identity one that follows from its index.
    fn name_gpus(&mut self) {
        for (index, gpu) in self.gpus.iter_mut().enumerate() {
            if gpu.uuid.is_empty() {
                gpu.uuid = format!("GPU-5a5a0000-0000-4000-8000-{index:012x}");
            }
            if gpu.serial.is_empty() {
                gpu.serial = format!("16500{index:08}");
            }
            if gpu.pci.bus == 0 {
                gpu.pci.bus = 0x18 + 0x11 * u32::try_from(index).unwrap_or(0);
            }
        }
    }

    fn check(&self) -> Result<(), ScenarioError> {
        let fail = |text: String| Err(ScenarioError::new(text));
        if !(0.0..0.25).contains(&self.noise.sigma) {
            return fail(format!("noise.sigma: expected a value from 0 to below 0.25 but found {}", self.noise.sigma));
        }
        for (index, gpu) in self.gpus.iter().enumerate() {
            let rates = [
                ("dram.read_gbs", gpu.dram.read_gbs),
                ("dram.write_gbs", gpu.dram.write_gbs),
                ("dram.copy_gbs", gpu.dram.copy_gbs),
                ("dram.scale_gbs", gpu.dram.scale_gbs),
                ("dram.add_gbs", gpu.dram.add_gbs),
                ("dram.triad_gbs", gpu.dram.triad_gbs),
                ("dram.ce_copy_gbs", gpu.dram.ce_copy_gbs),
                ("cache.l2_read_gbs", gpu.cache.l2_read_gbs),
                ("matmul.bf16_tflops", gpu.matmul.bf16_tflops),
                ("host_link.h2d_gbs", gpu.host_link.h2d_gbs),
                ("host_link.d2h_gbs", gpu.host_link.d2h_gbs),
                ("host_link.h2d_both_gbs", gpu.host_link.h2d_both_gbs),
                ("host_link.d2h_both_gbs", gpu.host_link.d2h_both_gbs),
                ("host_link.pageable_h2d_gbs", gpu.host_link.pageable_h2d_gbs),
                ("host_link.pageable_d2h_gbs", gpu.host_link.pageable_d2h_gbs),
            ];
            for (key, rate) in rates {
                if !(rate.is_finite() && rate > 0.0) {
                    return fail(format!("gpu {index}, {key}: expected a positive rate but found {rate}"));
                }
            }
            if gpu.scale == 0 || gpu.l2_scale == Some(0) || gpu.memory_bytes() == 0 || gpu.sms == 0 {
                return fail(format!("gpu {index}: expected memory, scale and sms above zero"));
            }
            if uuid_bytes(&gpu.uuid).is_none() {
                return fail(format!("gpu {index}, uuid: expected GPU- or MIG- and a UUID but found {}", gpu.uuid));
            }
            for reason in &gpu.throttle {
                if throttle_bit(reason).is_none() {
                    return fail(format!("gpu {index}, throttle: unknown reason {reason}; README.md lists them"));
                }
            }
        }
        let count = self.gpus.len();
        let mut order = self.driver.nvml_order.clone();
        order.sort_unstable();
        if !order.is_empty() && !order.iter().copied().eq(0..count) {
            return fail(format!("driver.nvml_order: expected every GPU below {count} once"));
        }
        for pair in &self.links {
            if pair.from >= count || pair.to >= count || pair.from == pair.to {
                return fail(format!("link: expected two different GPUs below {count} but found {} and {}", pair.from, pair.to));
            }
        }
        if count > 1 && self.link_default.is_none() {
            return fail("link_default: expected this table because there is more than one GPU".to_owned());
        }
        Ok(())
    }

    /// What joins `from` to `to`, with the spread applied; `None` for one GPU or an index out of range.
    #[must_use]
    pub fn link(&self, from: usize, to: usize) -> Option<Link> {
        if from == to || from.max(to) >= self.gpus.len() {
            return None;
        }
        let listed =
            self.links.iter().rev().find(|pair| (pair.from, pair.to) == (from, to) || pair.both && (pair.to, pair.from) == (from, to));
        let mut link = match listed {
            Some(pair) => pair.link.clone(),
            None => self.link_default.clone()?,
        };
        #[expect(clippy::cast_precision_loss, reason = "below 64")]
        let factor = |first: usize, second: usize| 1.0 - link.spread * ((8 * first + second) % 64) as f64 / 64.0;
        let (alone, both) = (factor(from, to), factor(from.min(to), from.max(to)));
        for rate in [&mut link.ce_gbs, &mut link.sm_gbs, &mut link.staged_gbs] {
            *rate *= alone;
        }
        for rate in [&mut link.ce_both_gbs, &mut link.sm_both_gbs, &mut link.staged_both_gbs] {
            *rate *= both;
        }
        Some(link)
    }
}

impl Matmul {
    /// True seconds of one multiplication of this many operations at one of the rates.
    #[must_use]
    pub fn seconds(&self, operations: f64, tflops: f64) -> f64 {
        self.overhead_us * 1e-6 + operations / (tflops * 1e12)
    }
}

impl Gpu {
    /// Reported memory in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory_mib * MIB / self.scale
    }

    /// Reported second-level cache in bytes.
    #[must_use]
    pub fn l2_bytes(&self) -> u64 {
        self.l2_kib * 1024 / self.l2_scale.unwrap_or(self.scale)
    }

    /// First-level cache in bytes.
    #[must_use]
    pub fn l1_bytes(&self) -> u64 {
        self.l1_kib * 1024
    }

    /// Memory in bytes that other programs hold.
    #[must_use]
    pub fn foreign_bytes(&self) -> u64 {
        self.processes.iter().map(|process| process.memory_mib * MIB).sum()
    }

    /// PCI address as NVML and CUDA write it.
    #[must_use]
    pub fn bus_id(&self) -> String {
        format!("{:08X}:{:02X}:{:02X}.0", self.pci.domain, self.pci.bus, self.pci.device)
    }

    /// Throttle reasons as NVML's bit mask.
    #[must_use]
    pub fn throttle_bits(&self) -> u64 {
        self.throttle.iter().filter_map(|reason| throttle_bit(reason)).fold(0, |mask, bit| mask | bit)
    }
}

/// NVML's bit of a throttle reason.
fn throttle_bit(reason: &str) -> Option<u64> {
    Some(match reason {
        "gpu-idle" => 0x1,
        "application-clocks" => 0x2,
        "sw-power-cap" => 0x4,
        "hw-slowdown" => 0x8,
        "sync-boost" => 0x10,
        "sw-thermal" => 0x20,
        "hw-thermal" => 0x40,
        "hw-power-brake" => 0x80,
        "display-clocks" => 0x100,
        _ => return None,
    })
}

/// The sixteen bytes of `GPU-…` or `MIG-…`.
pub(crate) fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.strip_prefix("GPU-").or_else(|| text.strip_prefix("MIG-"))?.replace('-', "");
    let value = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32)?;
    Some(value.to_be_bytes())
}

/// Puts each `[[gpu]]` on top of the `[model.NAME]` it names, and repeats it `count` times.
fn expand_models(table: &mut Table) -> Result<(), ScenarioError> {
    let models = match table.remove("model") {
        None => Table::new(),
        Some(Value::Table(models)) => models,
        Some(_) => return Err(ScenarioError::new("model: expected tables such as [model.h100]")),
    };
    let Some(gpus) = table.remove("gpu") else { return Ok(()) };
    let Value::Array(gpus) = gpus else {
        return Err(ScenarioError::new("gpu: expected [[gpu]], an array of tables"));
    };
    let mut expanded = Vec::new();
    for gpu in gpus {
        let Value::Table(mut own) = gpu else {
            return Err(ScenarioError::new("gpu: expected [[gpu]], an array of tables"));
        };
        let count = match own.remove("count") {
            None => 1,
            Some(Value::Integer(count @ 1..=64)) => count,
            Some(other) => return Err(ScenarioError::new(format!("gpu.count: expected 1 to 64 but found {other}"))),
        };
        let mut merged = match own.remove("model") {
            None => Table::new(),
            Some(Value::String(name)) => match models.get(&name) {
                Some(Value::Table(model)) => model.clone(),
                _ => return Err(ScenarioError::new(format!("gpu.model: there is no [model.{name}]"))),
            },
            Some(other) => return Err(ScenarioError::new(format!("gpu.model: expected a name but found {other}"))),
        };
        merge(&mut merged, own);
        for _ in 0..count {
            expanded.push(Value::Table(merged.clone()));
        }
    }
    table.insert("gpu".to_owned(), Value::Array(expanded));
    Ok(())
}

/// Lays `over` on top of `base`, table by table.
fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}
