//! What NVML, the driver's management library, says about the GPUs.
//!
//! NVML is loaded at run time and every one of its functions may be missing (an old driver), unsupported (a consumer board), forbidden (a
//! container, a vGPU) or failing (a GPU that fell off the bus). None of that stops the others: each answer is a [`Fact`] of its own, with
//! NVML's reason where there is none. Everything here only reads; no setting of the GPU is ever changed.
//!
//! Two terms. A **P2P status** says whether one GPU may read and write another's memory, as the driver sees chipset and topology. The
//! **common ancestor** of two GPUs is the lowest part of the PCIe tree above both, and names their topology as `nvidia-smi topo -m` does:
//! `PIX` one switch, `PXB` several switches, `PHB` a host bridge, `NODE` a NUMA node, `SYS` the link between nodes; `NV` and a number
//! stand for that many NVLink ports instead.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::{
    Clock, EccCounter, GpuVirtualizationMode, MemoryError, P2pCapabilitiesIndex, P2pStatus, TopologyLevel,
};
use nvml_wrapper::enums::device::{SampleValue, UsedGpuMemory};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::PciInfo;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::{Device, EventSet};

use crate::error::{Error, Result};
use crate::units::{Bytes, Hertz, Watts};

use super::join::{NvmlGpu, NvmlPeer, pci_address};
use super::tree::Environment;
use super::{Clocks, Ecc, Fact, GpuProcess, NvLink, PcieLink, PowerLimits, RemappedRows, libraries};

/// What the loader knows the library as.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// More NVLink ports than any GPU has; 18 is the most so far.
const MOST_PORTS: u32 = 36;

/// NVML's field numbers for remapped rows (`nvml.h`, `NVML_FI_DEV_REMAPPED_*`): by corrected errors, by uncorrected, pending, failed.
const REMAPPED_FIELDS: [u32; 4] = [142, 143, 144, 145];

/// PCI ids of the NVSwitches on A100 and H100 boards, device above vendor; switches of other generations are known by their class.
const NVSWITCHES: [u32; 2] = [0x1af1_10de, 0x22a3_10de];

/// NVML, loaded and initialised; clones share it.
#[derive(Debug, Clone)]
pub struct Nvml {
    library: Arc<nvml_wrapper::Nvml>,
}

impl Nvml {
    /// Loads NVML from `path`, or from where the loader finds it, and initialises it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the library is missing, too old or refuses.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let path = path.map_or_else(|| OsStr::new(LIBRARY), Path::as_os_str);
        let library = nvml_wrapper::Nvml::builder().lib_path(path).init().map_err(|error| Error::Unavailable {
            doing: format!("opening NVML ({})", path.display()),
            why: error.to_string(),
            remedy: match error {
                NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => {
                    "install the NVIDIA driver, or start the container with its utility libraries".to_owned()
                }
                NvmlError::DriverNotLoaded => "load the NVIDIA kernel module, or give the container the GPU".to_owned(),
                NvmlError::LibRmVersionMismatch => "restart the machine: the driver was updated under the running kernel module".to_owned(),
                _ => "check that nvidia-smi works".to_owned(),
            },
        })?;
        Ok(Self { library: Arc::new(library) })
    }

    /// Opens NVML where the library finder finds it below `/`, else where the loader does.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn find(environment: &Environment) -> Result<Self> {
        let found = libraries::find(LIBRARY, Path::new("/"), environment);
        Self::open(found.path.as_deref().map(Path::new))
    }

    /// The driver's version, such as `580.159.04`.
    pub fn driver_version(&self) -> Fact<String> {
        fact("driver version", self.library.sys_driver_version())
    }

    /// NVML's own version.
    pub fn version(&self) -> Fact<String> {
        fact("NVML version", self.library.sys_nvml_version())
    }

    /// The highest CUDA version the driver speaks, such as `13.0`.
    pub fn cuda_version(&self) -> Fact<String> {
        fact("CUDA version", self.library.sys_cuda_driver_version()).map(cuda_version)
    }

    /// The board with this UUID; for a MIG slice the board that carries it.
    ///
    /// # Errors
    /// NVML's, when it knows no such device.
    pub(crate) fn board(&self, uuid: &str) -> std::result::Result<Device<'_>, NvmlError> {
        let device = self.library.device_by_uuid(uuid)?;
        if uuid.starts_with("MIG-") { device.mig_parent_device() } else { Ok(device) }
    }

    /// The XIDs of the board with this UUID, from now on. Letting go of the set ends it.
    ///
    /// # Errors
    /// NVML's, when it has no such events (a vGPU), does not let this process have them (a container), or lacks a function for them.
    pub(crate) fn xid_events(&self, uuid: &str) -> std::result::Result<EventSet<'_>, NvmlError> {
        // nvml-wrapper 0.13 frees a set by a call that panics where the library lacks the function: then there must be no set.
        if let Err(missing) = &self.library.lib().nvmlEventSetFree {
            return Err(NvmlError::FailedToLoadSymbol(missing.to_string()));
        }
        let device = self.library.device_by_uuid(uuid)?;
        device.register_events(EventTypes::CRITICAL_XID_ERROR, self.library.create_event_set()?).map_err(|refused| refused.error)
    }

    /// Every GPU NVML lets this process see, in NVML's order.
    ///
    /// # Errors
    /// [`Error::Gpu`] when GPUs cannot be counted. A GPU that does not even tell its UUID (lost, or forbidden) is left out: nothing about it
    /// could be matched.
    pub fn read(&self) -> Result<Vec<NvmlGpu>> {
        let count = self.library.device_count().map_err(|error| Error::Gpu {
            doing: "listing the GPUs".to_owned(),
            call: "nvmlDeviceGetCount_v2",
            code: format!("{error:?}"),
            why: error.to_string(),
            remedy: "check that nvidia-smi lists them".to_owned(),
        })?;
        let boards: Vec<Board<'_>> = (0..count)
            .filter_map(|index| {
                let device = self.library.device_by_index(index).ok()?;
                let uuid = device.uuid().ok()?;
                Some(Board { address: address(&device), device, uuid })
            })
            .collect();
        Ok(boards.iter().map(|board| read_board(board, &boards)).collect())
    }
}

/// A device with what identifies it.
struct Board<'nvml> {
    device: Device<'nvml>,
    uuid: String,
    address: Fact<String>,
}

/// NVML's answer, or what was asked and why there is none.
fn fact<T>(what: &str, answer: std::result::Result<T, NvmlError>) -> Fact<T> {
    Fact::from_result(answer.map_err(|error| format!("NVML, {what}: {error}")))
}

/// CUDA's version number, 1000 times the major plus 10 times the minor version.
pub fn cuda_version(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

fn address(device: &Device<'_>) -> Fact<String> {
    // A PCI device's function is 0 for every GPU NVML lists; NVML itself has no field for it.
    fact("PCI address", device.pci_info()).map(|pci| pci_address(pci.domain, pci.bus, pci.device, 0))
}

/// The two halves of an id register: the vendor is the lower one.
fn pci_id(register: u32) -> String {
    format!("{:04x}:{:04x}", register & 0xffff, register >> 16)
}

fn read_board(board: &Board<'_>, all: &[Board<'_>]) -> NvmlGpu {
    let device = &board.device;
    let pci = fact("PCI ids", device.pci_info());
    let subsystem = match &pci {
        Fact::Known(pci) => {
            pci.pci_sub_system_id.map_or_else(|| Fact::unknown("NVML, PCI ids: no subsystem id"), |id| Fact::Known(pci_id(id)))
        }
        Fact::Unknown { unknown } => Fact::unknown(unknown.clone()),
    };
    let memory = fact("memory", device.memory_info());
    let nvlinks = nvlinks(device);
    NvmlGpu {
        uuid: board.uuid.clone(),
        slices: slices(device),
        name: fact("name", device.name()),
        pci_address: board.address.clone(),
        pci_id: pci.map(|pci| pci_id(pci.pci_device_id)),
        pci_subsystem_id: subsystem,
        compute_capability: match fact("compute capability", device.cuda_compute_capability()) {
            Fact::Known(capability) => match (u32::try_from(capability.major), u32::try_from(capability.minor)) {
                (Ok(major), Ok(minor)) => Fact::Known((major, minor)),
                _ => Fact::unknown("NVML, compute capability: a negative number"),
            },
            Fact::Unknown { unknown } => Fact::unknown(unknown),
        },
        memory_total: memory.clone().map(|memory| Bytes(memory.total)),
        memory_free: memory.map(|memory| Bytes(memory.free)),
        memory_bus_bits: fact("memory bus width", device.memory_bus_width()),
        sm_clock: clocks(device, Clock::SM),
        memory_clock: clocks(device, Clock::Memory),
        power: PowerLimits {
            enforced: fact("enforced power limit", device.enforced_power_limit()).map(milliwatts),
            default: fact("default power limit", device.power_management_limit_default()).map(milliwatts),
            maximum: fact("highest power limit", device.power_management_limit_constraints()).map(|limits| milliwatts(limits.max_limit)),
        },
        ecc: ecc(device),
        remapped_rows: remapped_rows(device),
        mig: fact("MIG mode", device.mig_mode()).map(|mode| mode.current != 0),
        virtualization: fact("virtualisation mode", device.virtualization_mode()).map(|mode| virtualization(mode).to_owned()),
        pcie: pcie(device),
        peers: all.iter().filter(|other| other.uuid != board.uuid).map(|other| peer(board, other, &nvlinks)).collect(),
        nvlinks,
        other_processes: processes(device),
        vbios: fact("VBIOS version", device.vbios_version()),
    }
}

fn megahertz(number: u32) -> Hertz {
    Hertz(f64::from(number) * 1e6)
}

fn milliwatts(number: u32) -> Watts {
    Watts(f64::from(number) / 1e3)
}

fn clocks(device: &Device<'_>, clock: Clock) -> Clocks {
    Clocks {
        current: fact("current clock", device.clock_info(clock)).map(megahertz),
        maximum: fact("highest clock", device.max_clock_info(clock)).map(megahertz),
        application: fact("application clock", device.applications_clock(clock)).map(megahertz),
    }
}

fn virtualization(mode: GpuVirtualizationMode) -> &'static str {
    match mode {
        GpuVirtualizationMode::Bare => "none",
        GpuVirtualizationMode::PassThrough => "passthrough",
        GpuVirtualizationMode::Vgpu => "vgpu",
        GpuVirtualizationMode::HostVgpu => "host-vgpu",
        GpuVirtualizationMode::HostVsga => "host-vsga",
    }
}

fn ecc(device: &Device<'_>) -> Fact<Ecc> {
    let count = |kind: MemoryError, life: EccCounter| device.total_ecc_errors(kind, life).ok();
    fact("ECC mode", device.is_ecc_enabled()).map(|mode| Ecc {
        enabled: mode.currently_enabled,
        corrected_volatile: count(MemoryError::Corrected, EccCounter::Volatile),
        uncorrected_volatile: count(MemoryError::Uncorrected, EccCounter::Volatile),
        corrected_aggregate: count(MemoryError::Corrected, EccCounter::Aggregate),
        uncorrected_aggregate: count(MemoryError::Uncorrected, EccCounter::Aggregate),
    })
}

fn remapped_rows(device: &Device<'_>) -> Fact<RemappedRows> {
    let samples = match fact("remapped rows", device.field_values_for(&REMAPPED_FIELDS.map(FieldId))) {
        Fact::Known(samples) => samples,
        Fact::Unknown { unknown } => return Fact::unknown(unknown),
    };
    let numbers: std::result::Result<Vec<u32>, NvmlError> =
        samples.into_iter().map(|sample| sample.and_then(|sample| sample.value).map(|value| whole(&value))).collect();
    match fact("remapped rows", numbers) {
        Fact::Known(numbers) => match numbers.as_slice() {
            [corrected, uncorrected, pending, failed] => {
                Fact::Known(RemappedRows { corrected: *corrected, uncorrected: *uncorrected, pending: *pending != 0, failed: *failed != 0 })
            }
            _ => Fact::unknown("NVML, remapped rows: not every field was answered"),
        },
        Fact::Unknown { unknown } => Fact::Unknown { unknown },
    }
}

/// A field's value as a count; what is no count of that size is as good as the largest.
fn whole(value: &SampleValue) -> u32 {
    match value {
        SampleValue::U32(number) => *number,
        SampleValue::U64(number) => u32::try_from(*number).unwrap_or(u32::MAX),
        SampleValue::I64(number) => u32::try_from(*number).unwrap_or(u32::MAX),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of floats saturate")]
        SampleValue::F64(number) => *number as u32,
    }
}

fn pcie(device: &Device<'_>) -> Fact<PcieLink> {
    let generation = fact("PCIe generation", device.current_pcie_link_gen());
    let width = fact("PCIe width", device.current_pcie_link_width());
    match (generation, width) {
        (Fact::Known(generation), Fact::Known(width)) => Fact::Known(PcieLink {
            generation,
            width,
            generation_max: device.max_pcie_link_gen().ok(),
            width_max: device.max_pcie_link_width().ok(),
        }),
        (Fact::Unknown { unknown }, _) | (_, Fact::Unknown { unknown }) => Fact::unknown(unknown),
    }
}

fn slices(device: &Device<'_>) -> Vec<String> {
    let count = if device.mig_mode().is_ok_and(|mode| mode.current != 0) { device.mig_device_count().unwrap_or(0) } else { 0 };
    // Places without a slice answer that nothing was found.
    (0..count.min(64)).filter_map(|index| device.mig_device_by_index(index).ok()?.uuid().ok()).collect()
}

/// Every port that exists. NVML answers "invalid" or "not supported" for one that does not.
fn nvlinks(device: &Device<'_>) -> Fact<Vec<NvLink>> {
    let mut links = Vec::new();
    for port in 0..MOST_PORTS {
        let link = device.link_wrapper_for(port);
        match link.is_active() {
            Ok(active) => links.push(NvLink {
                port,
                active,
                version: link.version().ok(),
                // An unplugged port has nobody at its other end.
                peer: if active { link.remote_pci_info().ok().map(|pci| far_end(&pci)) } else { None },
            }),
            Err(NvmlError::NotSupported | NvmlError::InvalidArg) => {}
            Err(error) if links.is_empty() => return fact("NVLink", Err(error)),
            Err(_) => {}
        }
    }
    Fact::Known(links)
}

/// The far end of a link: a switch by its name, anything else by its address. (NVML can also say what kind of device it is, but
/// nvml-wrapper 0.13 passes that answer's address wrongly and always reports an unknown kind.)
fn far_end(pci: &PciInfo) -> String {
    if NVSWITCHES.contains(&pci.pci_device_id) { "NVSwitch".to_owned() } else { pci_address(pci.domain, pci.bus, pci.device, 0) }
}

fn peer(from: &Board<'_>, to: &Board<'_>, links: &Fact<Vec<NvLink>>) -> NvmlPeer {
    let status = |capability| fact("P2P status", from.device.p2p_status(&to.device, capability));
    let nvlink = status(P2pCapabilitiesIndex::NvLink).known().is_some_and(|status| *status == P2pStatus::Ok);
    let ports = links.known().map_or(0, |links| ports_between(links, to.address.known().map(String::as_str), nvlink));
    let topology = if ports > 0 {
        Fact::Known(format!("NV{ports}"))
    } else {
        fact("topology", from.device.nvml().topology_common_ancestor(&from.device, &to.device)).map(|level| topology_name(level).to_owned())
    };
    let allowed = |status: Fact<P2pStatus>| status.map(|status| status == P2pStatus::Ok);
    let peer_access = match (allowed(status(P2pCapabilitiesIndex::Read)), allowed(status(P2pCapabilitiesIndex::Write))) {
        (Fact::Known(read), Fact::Known(write)) => Fact::Known(read && write),
        (Fact::Unknown { unknown }, _) | (_, Fact::Unknown { unknown }) => Fact::unknown(unknown),
    };
    NvmlPeer { uuid: to.uuid.clone(), topology, peer_access, native_atomics: allowed(status(P2pCapabilitiesIndex::Atomics)) }
}

/// NVLink ports that carry traffic between two GPUs: those that lead straight there, or, where the driver says that NVLink connects the
/// pair although none does, every active port, because they lead into a switch.
fn ports_between(links: &[NvLink], to: Option<&str>, connected: bool) -> usize {
    let active = || links.iter().filter(|link| link.active);
    let direct = active().filter(|link| to.is_some() && link.peer.as_deref() == to).count();
    match (direct, connected) {
        (0, true) => active().count(),
        (direct, _) => direct,
    }
}

fn topology_name(level: TopologyLevel) -> &'static str {
    match level {
        // Two GPUs on one board share the board's own switch.
        TopologyLevel::Internal | TopologyLevel::Single => "PIX",
        TopologyLevel::Multiple => "PXB",
        TopologyLevel::HostBridge => "PHB",
        TopologyLevel::Node => "NODE",
        TopologyLevel::System => "SYS",
    }
}

/// Compute and graphics processes, each once, without this one. In a container NVML may count processes as the host does; then this process
/// cannot be told from others and is among them while it holds a context.
fn processes(device: &Device<'_>) -> Fact<Vec<GpuProcess>> {
    fact("processes", device.running_compute_processes()).map(|compute| {
        let graphics = device.running_graphics_processes().unwrap_or_default();
        let all = compute.into_iter().chain(graphics).map(|process| GpuProcess {
            pid: process.pid,
            memory: match process.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => Some(Bytes(bytes)),
                UsedGpuMemory::Unavailable => None,
            },
        });
        others(all, std::process::id())
    })
}

fn others(processes: impl Iterator<Item = GpuProcess>, own: u32) -> Vec<GpuProcess> {
    let mut others: Vec<GpuProcess> = Vec::new();
    for process in processes.filter(|process| process.pid != own) {
        if !others.iter().any(|known| known.pid == process.pid) {
            others.push(process);
        }
    }
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_an_error_with_a_remedy() {
        let error = Nvml::open(Some(Path::new("/nowhere/libnvidia-ml.so.1"))).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        let text = error.to_string();
        assert!(text.starts_with("opening NVML (/nowhere/libnvidia-ml.so.1): "), "{text}");
        assert!(text.ends_with("; install the NVIDIA driver, or start the container with its utility libraries"), "{text}");
    }

    #[test]
    fn a_file_that_is_no_library_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libnvidia-ml.so.1");
        std::fs::write(&path, "not a library").unwrap();
        assert_eq!(Nvml::open(Some(&path)).unwrap_err().exit_code(), 3);
    }

    #[test]
    fn numbers_are_written_as_the_field_writes_them() {
        assert_eq!((cuda_version(13_000), cuda_version(12_090)), ("13.0".to_owned(), "12.9".to_owned()));
        assert_eq!(pci_id(0x2330_10de), "10de:2330");
        assert_eq!(milliwatts(700_000), Watts(700.0));
        assert_eq!(megahertz(1980), Hertz(1.98e9));
    }

    fn link(port: u32, active: bool, peer: &str) -> NvLink {
        NvLink { port, active, version: Some(4), peer: Some(peer.to_owned()) }
    }

    #[test]
    fn ports_are_counted_straight_or_through_the_switch() {
        let mesh =
            [link(0, true, "0000:01:00.0"), link(1, true, "0000:02:00.0"), link(2, true, "0000:01:00.0"), link(3, false, "0000:01:00.0")];
        assert_eq!(ports_between(&mesh, Some("0000:01:00.0"), true), 2);
        assert_eq!(ports_between(&mesh, Some("0000:03:00.0"), false), 0);
        let switched: Vec<NvLink> = (0..18).map(|port| link(port, true, "0000:f0:00.0")).collect();
        assert_eq!(ports_between(&switched, Some("0000:01:00.0"), true), 18);
        assert_eq!(ports_between(&switched, None, false), 0);
        assert_eq!(ports_between(&[], Some("0000:01:00.0"), true), 0);
    }

    #[test]
    fn a_switch_is_named_and_anything_else_keeps_its_address() {
        let end = |pci_device_id| {
            far_end(&PciInfo { bus: 0xc1, bus_id: String::new(), device: 0, domain: 0, pci_device_id, pci_sub_system_id: None })
        };
        assert_eq!(end(0x22a3_10de), "NVSwitch");
        assert_eq!(end(0x2330_10de), "0000:c1:00.0");
    }

    #[test]
    fn topology_has_nvidia_smis_names() {
        let names = [
            TopologyLevel::Internal,
            TopologyLevel::Single,
            TopologyLevel::Multiple,
            TopologyLevel::HostBridge,
            TopologyLevel::Node,
            TopologyLevel::System,
        ]
        .map(topology_name);
        assert_eq!(names, ["PIX", "PIX", "PXB", "PHB", "NODE", "SYS"]);
    }

    #[test]
    fn a_process_counts_once_and_this_one_not_at_all() {
        let process = |pid, memory| GpuProcess { pid, memory };
        let listed = [process(7, Some(Bytes(5))), process(1, None), process(7, None), process(9, None)];
        assert_eq!(others(listed.into_iter(), 1), [process(7, Some(Bytes(5))), process(9, None)]);
    }
}
