use std::path::Path;

use super::*;
use crate::machine::{CudaView, Environment, GpuProcess, NvLink, NvmlView, RemappedRows, Space, assemble, join};
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
    render(&inspect(machine, Lang::En), Format::Text { width: None })
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
    for lang in [Lang::En, Lang::Ko] {
        assert!(inspect(&machine, lang).iter().all(|table| table.title.contains("SIMULATED")));
    }
}

#[test]
fn links_and_processors_are_told_briefly() {
    let link = |port, active, peer: Option<&str>| NvLink { port, active, version: Some(4), peer: peer.map(str::to_owned) };
    assert_eq!(gpus::nvlinks(&[], Lang::En), "none");
    assert_eq!(
        gpus::nvlinks(&[link(0, true, Some("NVSwitch")), link(1, true, Some("NVSwitch")), link(2, false, None)], Lang::En),
        "2 up, 1 down, version 4, to NVSwitch"
    );
    assert_eq!(host::ranges(&[0, 1, 2, 3, 8, 10, 11]), "0-3,8,10-11");
    assert_eq!(host::ranges(&[]), "");
    assert_eq!(host::ranges(&[u32::MAX]), "4294967295");
}

/// Both languages of the same machine: what is known, what is not and why, and every word of a state.
#[test]
fn both_languages_say_the_same() {
    let mut machine = machine("container-with-limits", Fact::Known(vec![cuda_gpu(1), cuda_gpu(2)]));
    let link = |port, active| NvLink { port, active, version: Some(4), peer: active.then(|| "NVSwitch".to_owned()) };
    let process = |pid, memory| GpuProcess { pid, memory };
    machine.gpus[0].nvlinks = Fact::Known(vec![link(0, true), link(1, false)]);
    machine.gpus[1].nvlinks = Fact::Known(Vec::new());
    machine.gpus[0].remapped_rows = Fact::Known(RemappedRows { corrected: 1, uncorrected: 2, pending: true, failed: true });
    machine.gpus[0].mig = Fact::Known(true);
    machine.gpus[1].mig = Fact::Known(false);
    machine.gpus[0].other_processes = Fact::Known(vec![process(1, Some(Bytes::gib(3)))]);
    machine.gpus[1].other_processes = Fact::Known(Vec::new());
    for lang in [Lang::En, Lang::Ko] {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../../../tests/snapshots/inspect");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        let shown = render(&inspect(&machine, lang), Format::Text { width: Some(160) });
        settings.bind(|| insta::assert_snapshot!(format!("container_with_two_gpus_{lang}"), shown));
    }
}

#[test]
fn programs_find_the_same_columns_and_rows_in_both_languages() {
    let machine = machine("two-sockets-of-64-cores", Fact::Known(vec![cuda_gpu(1), cuda_gpu(2)]));
    let shape = |lang| {
        let keys = |table: &Table| table.columns().iter().map(|column| column.key.clone()).collect::<Vec<_>>();
        inspect(&machine, lang).iter().map(|table| (keys(table), table.rows().len(), table.notes.len())).collect::<Vec<_>>()
    };
    assert_eq!(shape(Lang::En), shape(Lang::Ko));
}
