use super::*;
use crate::machine::host::Space;
use crate::machine::join::format_uuid;
use crate::machine::{Clocks, NvLink, PowerLimits};
use crate::units::Bytes;

fn board(address: &str, peer: &str) -> NvmlGpu {
    let unknown = || Fact::unknown("not read");
    let clocks = Clocks { current: unknown(), maximum: unknown(), application: unknown() };
    NvmlGpu {
        uuid: format_uuid("GPU", [1; 16]),
        slices: Vec::new(),
        name: Fact::Known("Example".into()),
        pci_address: Fact::Known(address.into()),
        pci_id: Fact::unknown("not read"),
        pci_subsystem_id: Fact::unknown("not read"),
        compute_capability: Fact::unknown("not read"),
        memory_total: Fact::unknown("not read"),
        memory_free: Fact::unknown("not read"),
        memory_bus_bits: Fact::unknown("not read"),
        sm_clock: clocks.clone(),
        memory_clock: clocks,
        power: PowerLimits { enforced: Fact::unknown("not read"), default: Fact::unknown("not read"), maximum: Fact::unknown("not read") },
        ecc: Fact::unknown("not read"),
        remapped_rows: Fact::unknown("not read"),
        mig: Fact::unknown("not read"),
        virtualization: Fact::unknown("not read"),
        pcie: Fact::unknown("not read"),
        nvlinks: Fact::Known(vec![NvLink { port: 0, active: true, version: None, peer: Some(peer.into()) }]),
        other_processes: Fact::unknown("not read"),
        vbios: Fact::unknown("not read"),
        peers: Vec::new(),
    }
}

fn machine_of(files: &[(&str, &str)], nvml: NvmlView) -> Machine {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let cuda = CudaView { gpus: Fact::unknown("no CUDA"), version: Fact::unknown("no CUDA"), simulated: false };
    let space = |_: &Path| Ok(Space { size: Bytes(1), free: Bytes(1) });
    assemble(folder.path(), "x86_64", &Environment::default(), &space, cuda, nvml)
}

fn view(gpus: Vec<NvmlGpu>) -> NvmlView {
    NvmlView { gpus: Fact::Known(gpus), ..NvmlView::absent("not asked") }
}

#[test]
fn without_any_driver_every_fact_says_why() {
    let machine = machine_of(&[], NvmlView::absent("opening NVML: not there; install the NVIDIA driver"));
    assert!(machine.gpus.is_empty() && machine.pairs.is_empty());
    assert_eq!(machine.driver.version.why(), Some("opening NVML: not there; install the NVIDIA driver"));
    assert_eq!(machine.driver.cuda_version.why(), Some("no CUDA"));
    assert_eq!(machine.libraries.len(), libraries::WANTED.len());
}

#[test]
fn the_kernel_modules_own_words_give_the_version() {
    for text in [
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\nGCC version:  gcc version 12.2.0\n",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  535.129.03  Release Build  (dvs)",
    ] {
        let machine = machine_of(&[("/proc/driver/nvidia/version", text)], NvmlView::absent("no NVML"));
        assert_eq!(machine.driver.version, Fact::Known("535.129.03".into()));
    }
    let machine = machine_of(&[("/proc/driver/nvidia/version", "NVRM version: 1..2 .\n")], NvmlView::absent("no NVML"));
    assert_eq!(machine.driver.version.why(), Some("no NVML"));
}

#[test]
fn a_gpu_is_placed_on_its_node_and_its_switch_is_named() {
    let switch = "/sys/bus/pci/devices/0000:f0:00.0";
    let files = [
        ("/sys/devices/system/node/online".to_owned(), "0-1\n"),
        ("/sys/bus/pci/devices/0000:1b:00.0/numa_node".to_owned(), "1\n"),
        (format!("{switch}/class"), "0x068000\n"),
        (format!("{switch}/vendor"), "0x10de\n"),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let machine = machine_of(&files, view(vec![board("00000000:1B:00.0", "0000:f0:00.0")]));
    assert_eq!(machine.gpus[0].numa_node, Fact::Known(1));
    assert_eq!(machine.gpus[0].nvlinks.known().map(|links| links[0].peer.clone()), Some(Some("NVSwitch".into())));
    // Somebody else's bridge keeps its address.
    let files: Vec<(&str, &str)> = files.into_iter().filter(|(path, _)| !path.ends_with("vendor")).collect();
    let machine = machine_of(&files, view(vec![board("00000000:1B:00.0", "0000:f0:00.0")]));
    assert_eq!(machine.gpus[0].nvlinks.known().map(|links| links[0].peer.clone()), Some(Some("0000:f0:00.0".into())));
}

#[test]
fn a_node_the_firmware_does_not_name_is_clear_only_when_there_is_one() {
    let file = ("/sys/bus/pci/devices/0000:1b:00.0/numa_node", "-1\n");
    let node = |online| {
        machine_of(&[file, ("/sys/devices/system/node/online", online)], view(vec![board("0000:1b:00.0", "x")])).gpus[0].numa_node.clone()
    };
    assert_eq!(node("0\n"), Fact::Known(0));
    assert_eq!(node("0-1\n").why(), Some("/sys/bus/pci/devices/0000:1b:00.0/numa_node: the firmware names no node"));
}
