//! Two drivers' views of the same GPUs, made one.
//!
//! CUDA and NVML count GPUs differently: CUDA leaves out what `CUDA_VISIBLE_DEVICES` hides and may put the fastest first, NVML goes by PCI
//! address, and a container may show them different sets. An index of one means nothing to the other, so views are matched by **UUID**, and
//! where that cannot work by **PCI address**: a MIG slice has a UUID of its own in CUDA, while NVML reports the board that carries it.
//!
//! The result is in CUDA's order, because that is the order kernels run in; without CUDA it is NVML's. A fact that both know is taken from
//! the side that says what this process will get: memory size and bus width from CUDA (a slice's share, not the board's), clocks from NVML.

use crate::units::{Bytes, Hertz};

use super::{Clocks, Ecc, Fact, Gpu, GpuProcess, NvLink, Pair, PcieLink, PowerLimits, RemappedRows};

/// What CUDA knows of one GPU. Its position in the list is its CUDA ordinal.
#[derive(Debug, Clone, PartialEq)]
pub struct CudaGpu {
    /// `GPU-` and the 16 bytes in the usual grouping; the prefix is not compared, as CUDA does not say whether it names a slice.
    pub uuid: String,
    /// As the driver names it.
    pub name: String,
    /// `domain:bus:device.function`, in any spelling that [`normal_pci_address`] reads.
    pub pci_address: Fact<String>,
    /// Major and minor.
    pub compute_capability: Fact<(u32, u32)>,
    /// Streaming multiprocessors.
    pub sm_count: Fact<u32>,
    /// Device memory.
    pub memory_total: Fact<Bytes>,
    /// Free when it was read; reading it takes a context, so a survey without one leaves it unknown.
    pub memory_free: Fact<Bytes>,
    /// Width of the memory bus in bits.
    pub memory_bus_bits: Fact<u32>,
    /// Second-level cache.
    pub l2: Fact<Bytes>,
    /// Peak streaming multiprocessor clock.
    pub sm_clock_maximum: Fact<Hertz>,
    /// Peak memory clock.
    pub memory_clock_maximum: Fact<Hertz>,
    /// Whether error correction is on.
    pub ecc_enabled: Fact<bool>,
    /// Whether this GPU may access the memory of the one at the same position in the list; its own entry is ignored.
    pub peer_access: Vec<Fact<bool>>,
    /// Whether native atomics work towards the GPU at the same position in the list; its own entry is ignored.
    pub native_atomics: Vec<Fact<bool>>,
}

/// What NVML knows of one GPU (a board, never a slice of one).
#[derive(Debug, Clone, PartialEq)]
pub struct NvmlGpu {
    /// `GPU-…`.
    pub uuid: String,
    /// UUIDs of its MIG slices, `MIG-…`.
    pub slices: Vec<String>,
    /// As the driver names it.
    pub name: Fact<String>,
    /// `domain:bus:device.function`.
    pub pci_address: Fact<String>,
    /// `vendor:device`.
    pub pci_id: Fact<String>,
    /// `vendor:device` of the board.
    pub pci_subsystem_id: Fact<String>,
    /// Major and minor.
    pub compute_capability: Fact<(u32, u32)>,
    /// Device memory.
    pub memory_total: Fact<Bytes>,
    /// Free when it was read.
    pub memory_free: Fact<Bytes>,
    /// Width of the memory bus in bits.
    pub memory_bus_bits: Fact<u32>,
    /// Streaming multiprocessor clock.
    pub sm_clock: Clocks,
    /// Memory clock.
    pub memory_clock: Clocks,
    /// Power limits.
    pub power: PowerLimits,
    /// Error correction.
    pub ecc: Fact<Ecc>,
    /// Remapped memory rows.
    pub remapped_rows: Fact<RemappedRows>,
    /// Whether multi-instance mode is on.
    pub mig: Fact<bool>,
    /// Virtualisation mode.
    pub virtualization: Fact<String>,
    /// PCIe link.
    pub pcie: Fact<PcieLink>,
    /// NVLink ports; a port that leads to a GPU names it by its PCI address until the join gives it a number.
    pub nvlinks: Fact<Vec<NvLink>>,
    /// Processes other than this program.
    pub other_processes: Fact<Vec<GpuProcess>>,
    /// VBIOS version.
    pub vbios: Fact<String>,
    /// One entry per other GPU that NVML sees.
    pub peers: Vec<NvmlPeer>,
}

/// What NVML knows of the way from one GPU to another.
#[derive(Debug, Clone, PartialEq)]
pub struct NvmlPeer {
    /// UUID of the GPU that is accessed.
    pub uuid: String,
    /// `NV18`, `PIX`, `PXB`, `PHB`, `NODE`, `SYS`.
    pub topology: Fact<String>,
    /// Whether both reading and writing over PCIe or NVLink are possible.
    pub peer_access: Fact<bool>,
    /// Whether native atomics are possible.
    pub native_atomics: Fact<bool>,
}

/// A UUID in the form NVML prints, from its 16 bytes.
pub fn format_uuid(prefix: &str, bytes: [u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{prefix}-{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// `domain:bus:device.function` in one spelling: lower case, the domain with four digits (more only where it needs them). NVML writes eight
/// digits and upper case, the kernel four and lower case, CUDA may leave the function out. `None` when it is no PCI address.
pub fn normal_pci_address(text: &str) -> Option<String> {
    let (device, function) = text.trim().split_once('.').unwrap_or((text.trim(), "0"));
    let mut parts = device.split(':').map(|part| u32::from_str_radix(part, 16));
    let numbers: Result<Vec<u32>, _> = parts.by_ref().collect();
    let function = u32::from_str_radix(function, 16).ok()?;
    match numbers.ok()?.as_slice() {
        [bus, device] => Some(pci_address(0, *bus, *device, function)),
        [domain, bus, device] => Some(pci_address(*domain, *bus, *device, function)),
        _ => None,
    }
}

/// A PCI address in the one spelling this program uses.
pub fn pci_address(domain: u32, bus: u32, device: u32, function: u32) -> String {
    format!("{domain:04x}:{bus:02x}:{device:02x}.{function:x}")
}

/// One list of GPUs, and one entry per ordered pair of different ones, from the two views.
///
/// Where CUDA is known, the list is CUDA's: GPUs it hides are not this process's to use. Otherwise it is NVML's, and empty without either.
pub fn join(cuda: Fact<Vec<CudaGpu>>, nvml: Fact<Vec<NvmlGpu>>) -> (Vec<Gpu>, Vec<Pair>) {
    let no_nvml = nvml.why().unwrap_or("NVML does not list this GPU").to_owned();
    let boards = nvml.known().map_or(&[][..], Vec::as_slice);
    match cuda {
        Fact::Known(cuda) => {
            let matched: Vec<Option<&NvmlGpu>> = cuda.iter().map(|gpu| find(gpu, boards)).collect();
            let mut gpus: Vec<Gpu> = cuda.iter().zip(&matched).map(|(gpu, board)| both(gpu, *board, &no_nvml)).collect();
            finish(&mut gpus);
            let pairs = ordered_pairs(gpus.len())
                .map(|(from, to)| {
                    let (topology, nvml_access, nvml_atomics) = nvml_pair(matched[from], matched[to], &no_nvml);
                    let unsaid = || Fact::unknown("CUDA was not asked");
                    Pair {
                        from: number(from),
                        to: number(to),
                        topology,
                        peer_access: prefer(cuda[from].peer_access.get(to).cloned().unwrap_or_else(unsaid), nvml_access),
                        native_atomics: prefer(cuda[from].native_atomics.get(to).cloned().unwrap_or_else(unsaid), nvml_atomics),
                    }
                })
                .collect();
            (gpus, pairs)
        }
        Fact::Unknown { unknown: no_cuda } => {
            let mut gpus: Vec<Gpu> = boards.iter().map(|board| nvml_only(board, &no_cuda)).collect();
            finish(&mut gpus);
            let pairs = ordered_pairs(gpus.len())
                .map(|(from, to)| {
                    let (topology, peer_access, native_atomics) = nvml_pair(Some(&boards[from]), Some(&boards[to]), &no_nvml);
                    Pair { from: number(from), to: number(to), topology, peer_access, native_atomics }
                })
                .collect();
            (gpus, pairs)
        }
    }
}

fn number(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

fn ordered_pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |from| (0..count).filter(move |to| *to != from).map(move |to| (from, to)))
}

/// The 32 hexadecimal digits, without the prefix that only NVML knows to choose.
fn digits(uuid: &str) -> String {
    let body = uuid.strip_prefix("GPU-").or_else(|| uuid.strip_prefix("MIG-")).unwrap_or(uuid);
    body.to_ascii_lowercase()
}

fn slice_of<'a>(gpu: &CudaGpu, board: &'a NvmlGpu) -> Option<&'a String> {
    board.slices.iter().find(|slice| digits(slice) == digits(&gpu.uuid))
}

fn find<'a>(gpu: &CudaGpu, boards: &'a [NvmlGpu]) -> Option<&'a NvmlGpu> {
    let address = gpu.pci_address.known().and_then(|text| normal_pci_address(text));
    boards
        .iter()
        .find(|board| digits(&board.uuid) == digits(&gpu.uuid))
        .or_else(|| boards.iter().find(|board| slice_of(gpu, board).is_some()))
        .or_else(|| {
            let address = address?;
            boards.iter().find(|board| board.pci_address.known().and_then(|text| normal_pci_address(text)).as_ref() == Some(&address))
        })
}

/// `first` where it is known, else `second`, else both reasons.
fn prefer<T>(first: Fact<T>, second: Fact<T>) -> Fact<T> {
    match (first, second) {
        (Fact::Known(value), _) | (Fact::Unknown { .. }, Fact::Known(value)) => Fact::Known(value),
        (Fact::Unknown { unknown: one }, Fact::Unknown { unknown: other }) => {
            Fact::unknown(if one == other { one } else { format!("{one}; {other}") })
        }
    }
}

fn unknown_clocks(why: &str) -> Clocks {
    Clocks { current: Fact::unknown(why), maximum: Fact::unknown(why), application: Fact::unknown(why) }
}

/// One GPU that CUDA runs on, with the board's facts where NVML has it.
fn both(gpu: &CudaGpu, board: Option<&NvmlGpu>, no_nvml: &str) -> Gpu {
    let mut joined = board.map_or_else(|| bare(no_nvml), |board| nvml_only(board, "CUDA does not say"));
    let slice = board.and_then(|board| slice_of(gpu, board));
    // A different UUID at the same address is a slice whose UUID NVML would not list.
    let sliced = slice.is_some() || board.is_some_and(|board| digits(&board.uuid) != digits(&gpu.uuid));
    joined.uuid = match (slice, sliced) {
        (Some(slice), _) => slice.clone(),
        (None, true) if joined.mig == Fact::Known(true) => format!("MIG-{}", digits(&gpu.uuid)),
        _ => gpu.uuid.clone(),
    };
    joined.name.clone_from(&gpu.name);
    joined.pci_address = prefer(gpu.pci_address.clone(), joined.pci_address);
    joined.compute_capability = prefer(gpu.compute_capability.clone(), joined.compute_capability);
    joined.sm_count = gpu.sm_count.clone();
    joined.l2 = gpu.l2.clone();
    if sliced {
        // The board's memory is not the slice's: without CUDA's word there is none.
        joined.memory_total = gpu.memory_total.clone();
        joined.memory_free = gpu.memory_free.clone();
    } else {
        joined.memory_total = prefer(gpu.memory_total.clone(), joined.memory_total);
        joined.memory_free = prefer(gpu.memory_free.clone(), joined.memory_free);
    }
    joined.memory_bus_bits = prefer(gpu.memory_bus_bits.clone(), joined.memory_bus_bits);
    joined.sm_clock.maximum = prefer(joined.sm_clock.maximum, gpu.sm_clock_maximum.clone());
    joined.memory_clock.maximum = prefer(joined.memory_clock.maximum, gpu.memory_clock_maximum.clone());
    joined.ecc = prefer(
        joined.ecc,
        gpu.ecc_enabled.clone().map(|enabled| Ecc {
            enabled,
            corrected_volatile: None,
            uncorrected_volatile: None,
            corrected_aggregate: None,
            uncorrected_aggregate: None,
        }),
    );
    joined
}

/// A GPU of which nothing is known, because of `why`.
fn bare(why: &str) -> Gpu {
    Gpu {
        index: 0,
        name: String::new(),
        uuid: String::new(),
        pci_address: Fact::unknown(why),
        pci_id: Fact::unknown(why),
        pci_subsystem_id: Fact::unknown(why),
        compute_capability: Fact::unknown(why),
        sm_count: Fact::unknown(why),
        memory_total: Fact::unknown(why),
        memory_free: Fact::unknown(why),
        memory_bus_bits: Fact::unknown(why),
        l2: Fact::unknown(why),
        sm_clock: unknown_clocks(why),
        memory_clock: unknown_clocks(why),
        power: PowerLimits { enforced: Fact::unknown(why), default: Fact::unknown(why), maximum: Fact::unknown(why) },
        ecc: Fact::unknown(why),
        remapped_rows: Fact::unknown(why),
        mig: Fact::unknown(why),
        virtualization: Fact::unknown(why),
        pcie: Fact::unknown(why),
        nvlinks: Fact::unknown(why),
        other_processes: Fact::unknown(why),
        numa_node: Fact::unknown(why),
        vbios: Fact::unknown(why),
    }
}

/// One board as NVML alone sees it; what only CUDA knows is unknown because of `no_cuda`.
fn nvml_only(board: &NvmlGpu, no_cuda: &str) -> Gpu {
    Gpu {
        index: 0,
        name: board.name.known().cloned().unwrap_or_else(|| "unnamed GPU".to_owned()),
        uuid: board.uuid.clone(),
        pci_address: board.pci_address.clone(),
        pci_id: board.pci_id.clone(),
        pci_subsystem_id: board.pci_subsystem_id.clone(),
        compute_capability: board.compute_capability.clone(),
        sm_count: Fact::unknown(no_cuda),
        memory_total: board.memory_total.clone(),
        memory_free: board.memory_free.clone(),
        memory_bus_bits: board.memory_bus_bits.clone(),
        l2: Fact::unknown(no_cuda),
        sm_clock: board.sm_clock.clone(),
        memory_clock: board.memory_clock.clone(),
        power: board.power.clone(),
        ecc: board.ecc.clone(),
        remapped_rows: board.remapped_rows.clone(),
        mig: board.mig.clone(),
        virtualization: board.virtualization.clone(),
        pcie: board.pcie.clone(),
        nvlinks: board.nvlinks.clone(),
        other_processes: board.other_processes.clone(),
        numa_node: Fact::unknown("not looked up"),
        vbios: board.vbios.clone(),
    }
}

/// Numbers the GPUs, spells their addresses one way, and names NVLink peers by those numbers.
fn finish(gpus: &mut [Gpu]) {
    for (position, gpu) in gpus.iter_mut().enumerate() {
        gpu.index = number(position);
        if let Fact::Known(address) = &mut gpu.pci_address
            && let Some(normal) = normal_pci_address(address)
        {
            *address = normal;
        }
    }
    let addresses: Vec<Option<String>> = gpus.iter().map(|gpu| gpu.pci_address.known().cloned()).collect();
    for gpu in gpus {
        let Fact::Known(links) = &mut gpu.nvlinks else { continue };
        for link in links {
            let Some(address) = link.peer.as_deref().and_then(normal_pci_address) else { continue };
            let position = addresses.iter().position(|known| known.as_ref() == Some(&address));
            link.peer = Some(position.map_or(address, |position| format!("GPU {position}")));
        }
    }
}

/// Topology, peer access and atomics between two boards.
fn nvml_pair(from: Option<&NvmlGpu>, to: Option<&NvmlGpu>, no_nvml: &str) -> (Fact<String>, Fact<bool>, Fact<bool>) {
    let unknown = |why: &str| (Fact::unknown(why), Fact::unknown(why), Fact::unknown(why));
    match (from, to) {
        (Some(from), Some(to)) if from.uuid == to.uuid => unknown("both are slices of one GPU"),
        (Some(from), Some(to)) => from.peers.iter().find(|peer| peer.uuid == to.uuid).map_or_else(
            || unknown("NVML was not asked"),
            |peer| (peer.topology.clone(), peer.peer_access.clone(), peer.native_atomics.clone()),
        ),
        _ => unknown(no_nvml),
    }
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
