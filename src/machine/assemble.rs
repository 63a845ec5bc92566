//! The whole machine, from everything that knows a part of it.
//!
//! CUDA and NVML are opened by others and handed in as what they said, or as the reason why they said nothing; the rest is read below a root
//! folder. Two facts about GPUs come from the kernel, because neither library tells them rightly: the NUMA node a GPU hangs on (NVML's
//! answer of that name is about GPUs that *are* nodes), and whether the far end of an NVLink is a switch.

use std::path::Path;

use crate::error::Result;

use super::host::{self, SpaceReader};
use super::join::{CudaGpu, NvmlGpu, join};
use super::nvml::Nvml;
use super::tree::{Environment, Tree};
use super::{Driver, Fact, Gpu, Host, Machine, libraries};

/// What CUDA said.
#[derive(Debug, Clone)]
pub struct CudaView {
    /// The GPUs, in CUDA's order.
    pub gpus: Fact<Vec<CudaGpu>>,
    /// The highest CUDA version the driver speaks.
    pub version: Fact<String>,
    /// Whether the driver is the test suite's stand-in.
    pub simulated: bool,
}

/// What NVML said.
#[derive(Debug, Clone)]
pub struct NvmlView {
    /// The GPUs, in NVML's order.
    pub gpus: Fact<Vec<NvmlGpu>>,
    /// The driver's version.
    pub driver_version: Fact<String>,
    /// The highest CUDA version the driver speaks.
    pub cuda_version: Fact<String>,
    /// NVML's own version.
    pub version: Fact<String>,
}

impl NvmlView {
    /// Asks NVML for everything, or says everywhere why it could not be opened.
    pub fn read(nvml: &Result<Nvml>) -> Self {
        match nvml {
            Ok(nvml) => Self {
                gpus: Fact::from_result(nvml.read()),
                driver_version: nvml.driver_version(),
                cuda_version: nvml.cuda_version(),
                version: nvml.version(),
            },
            Err(error) => Self::absent(&error.to_string()),
        }
    }

    /// Nothing, because of `why`.
    pub fn absent(why: &str) -> Self {
        Self { gpus: Fact::unknown(why), driver_version: Fact::unknown(why), cuda_version: Fact::unknown(why), version: Fact::unknown(why) }
    }
}

/// The machine below `root`. `architecture` and `space` are as in [`host::read`].
pub fn assemble(
    root: &Path,
    architecture: &str,
    environment: &Environment,
    space: SpaceReader<'_>,
    cuda: CudaView,
    nvml: NvmlView,
) -> Machine {
    let tree = Tree::new(root);
    let host = host::read(root, architecture, environment, space);
    let (mut gpus, pairs) = join(cuda.gpus, nvml.gpus);
    for gpu in &mut gpus {
        gpu.numa_node = numa_node(tree, gpu, &host);
        name_switches(tree, gpu);
    }
    let driver = Driver {
        version: first_known(nvml.driver_version, || kernel_module_version(tree)),
        cuda_version: first_known(cuda.version, || nvml.cuda_version),
        nvml_version: nvml.version,
        simulated: cuda.simulated,
    };
    Machine { gpus, pairs, driver, libraries: libraries::find_all(root, environment), host }
}

/// `fact` where it is known, else `other`, else why `fact` is not.
fn first_known<T>(fact: Fact<T>, other: impl FnOnce() -> Fact<T>) -> Fact<T> {
    match fact {
        Fact::Known(value) => Fact::Known(value),
        unknown @ Fact::Unknown { .. } => match other() {
            Fact::Known(value) => Fact::Known(value),
            Fact::Unknown { .. } => unknown,
        },
    }
}

/// The version in the kernel module's own words, such as `NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 …`.
fn kernel_module_version(tree: Tree<'_>) -> Fact<String> {
    const PATH: &str = "/proc/driver/nvidia/version";
    let text = match tree.text(PATH) {
        Fact::Known(text) => text,
        unknown @ Fact::Unknown { .. } => return unknown,
    };
    let is_version = |word: &&str| {
        word.split('.').count() >= 2 && word.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    };
    let line = text.lines().find(|line| line.starts_with("NVRM version:")).unwrap_or_default();
    line.split_whitespace()
        .find(is_version)
        .map_or_else(|| Fact::unknown(format!("{PATH} names no version")), |version| Fact::Known(version.to_owned()))
}

/// The kernel writes -1 where the firmware names no node; with one node there is no question.
fn numa_node(tree: Tree<'_>, gpu: &Gpu, host: &Host) -> Fact<u32> {
    let address = match &gpu.pci_address {
        Fact::Known(address) => address,
        Fact::Unknown { unknown } => return Fact::unknown(unknown.clone()),
    };
    let path = format!("/sys/bus/pci/devices/{address}/numa_node");
    match (tree.word(&path), host.numa.known().map(Vec::as_slice)) {
        (Fact::Known(node), nodes) => match (node.parse(), nodes) {
            (Ok(node), _) => Fact::Known(node),
            (Err(_), Some([only])) => Fact::Known(only.node),
            (Err(_), _) => Fact::unknown(format!("{path}: the firmware names no node")),
        },
        (Fact::Unknown { .. }, Some([only])) => Fact::Known(only.node),
        (Fact::Unknown { unknown }, _) => Fact::unknown(unknown),
    }
}

/// A peer that is no GPU of the list but an NVIDIA bridge is a switch.
fn name_switches(tree: Tree<'_>, gpu: &mut Gpu) {
    let Fact::Known(links) = &mut gpu.nvlinks else { return };
    for peer in links.iter_mut().filter_map(|link| link.peer.as_mut()) {
        let word = |file: &str| tree.word(format!("/sys/bus/pci/devices/{peer}/{file}"));
        // PCI class 06 80: a bridge of no standard kind.
        let bridge = word("class").known().is_some_and(|class| class.starts_with("0x0680"));
        if bridge && word("vendor").known().is_some_and(|vendor| vendor == "0x10de") {
            *peer = "NVSwitch".to_owned();
        }
    }
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
