use std::path::Path;

use super::*;
use crate::machine::{CudaView, Environment, NvmlView, Space, assemble, join};
use crate::report::{Format, render};
use crate::units::Hertz;

fn machine(recorded: &str, gpus: Fact<Vec<join::CudaGpu>>) -> Machine {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machines").join(recorded);
    let cuda = CudaView { gpus, version: Fact::Known("13.0".into()), simulated: false };
    let space = |_: &Path| Ok(Space { size: Bytes::gib(100), free: Bytes::gib(40) });
    assemble(&root, "x86_64", &Environment::default(), &space, cuda, NvmlView::absent("NVML is not here"))
}

fn cuda_gpu(seed: u8) -> join::CudaGpu {
    join::CudaGpu {
        uuid: join::format_uuid("GPU", [seed; 16]),
        name: "NVIDIA H100 80GB HBM3".into(),
        pci_address: Fact::Known(format!("0000:{seed:02x}:00.0")),
        compute_capability: Fact::Known((9, 0)),
        sm_count: Fact::Known(132),
        memory_total: Fact::Known(Bytes::gib(79)),
        memory_free: Fact::unknown("no context is open"),
        memory_bus_bits: Fact::Known(5120),
        l2: Fact::Known(Bytes::mib(50)),
        sm_clock_maximum: Fact::Known(Hertz(1.98e9)),
        memory_clock_maximum: Fact::Known(Hertz(2.619e9)),
        ecc_enabled: Fact::Known(true),
        peer_access: vec![Fact::Known(seed == 1), Fact::Known(seed == 1)],
        native_atomics: Vec::new(),
    }
}

fn text(machine: &Machine) -> String {
    render(&inspect(machine), Format::Text { width: None })
}

#[test]
fn what_is_unknown_says_why_once() {
    let text = text(&machine("two-sockets-of-64-cores", Fact::Known(vec![cuda_gpu(1), cuda_gpu(2)])));
    assert!(text.contains("? free: no context is open; NVML is not here"), "{text}");
    assert_eq!(text.matches("? SM now, SM app, memory now, memory app, power limit, default, max: NVML is not here").count(), 1, "{text}");
    assert!(text.contains("? P2P") && text.contains("? no P2P"), "{text}");
}

#[test]
fn every_part_of_the_machine_is_shown() {
    let text = text(&machine("two-sockets-of-64-cores", Fact::Known(vec![cuda_gpu(1), cuda_gpu(2)])));
    for part in [
        "NVIDIA H100 80GB HBM3",
        "1.980 GHz",
        "AMD EPYC 7763 64-Core Processor",
        "0-63,128-191",
        "10 32",
        "10.1.0.9:/export/home",
        "libcublasLt.so.13",
        "not found",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn a_machine_without_a_gpu_says_so_and_shows_the_rest() {
    let mut machine = machine("small-virtual-machine", Fact::unknown("libcuda.so.1 was not found"));
    machine.driver.cuda_version = Fact::unknown("libcuda.so.1 was not found");
    let text = text(&machine);
    assert!(text.contains("no GPU: libcuda.so.1 was not found"), "{text}");
    assert!(text.contains("AMD EPYC") && !text.contains("Between GPUs") && !text.contains("Clocks"), "{text}");
}

#[test]
fn a_simulated_machine_says_so_on_every_table_of_it() {
    let mut machine = machine("small-virtual-machine", Fact::Known(vec![cuda_gpu(1)]));
    machine.driver.simulated = true;
    let tables = inspect(&machine);
    assert!(tables.iter().all(|table| table.title.contains("SIMULATED")));
}

#[test]
fn links_and_processors_are_told_briefly() {
    let link = |port, active, peer: Option<&str>| NvLink { port, active, version: Some(4), peer: peer.map(str::to_owned) };
    assert_eq!(nvlinks(&[]), "none");
    assert_eq!(
        nvlinks(&[link(0, true, Some("NVSwitch")), link(1, true, Some("NVSwitch")), link(2, false, None)]),
        "2 up, 1 down, version 4, to NVSwitch"
    );
    assert_eq!(ranges(&[0, 1, 2, 3, 8, 10, 11]), "0-3,8,10-11");
    assert_eq!(ranges(&[]), "");
    assert_eq!(ranges(&[u32::MAX]), "4294967295");
}
