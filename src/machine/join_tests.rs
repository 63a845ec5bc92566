use proptest::prelude::*;

use super::*;

fn uuid(seed: u8) -> String {
    format_uuid("GPU", [seed; 16])
}

fn cuda_gpu(seed: u8, count: usize) -> CudaGpu {
    CudaGpu {
        uuid: uuid(seed),
        name: format!("Example {seed}"),
        pci_address: Fact::Known(format!("0000:{seed:02x}:00")),
        compute_capability: Fact::Known((9, 0)),
        sm_count: Fact::Known(100 + u32::from(seed)),
        memory_total: Fact::Known(Bytes::gib(80)),
        memory_free: Fact::unknown("no context"),
        memory_bus_bits: Fact::Known(5120),
        l2: Fact::Known(Bytes::mib(50)),
        sm_clock_maximum: Fact::Known(Hertz(1.98e9)),
        memory_clock_maximum: Fact::Known(Hertz(2.6e9)),
        ecc_enabled: Fact::Known(true),
        peer_access: vec![Fact::Known(true); count],
        native_atomics: vec![Fact::Known(false); count],
    }
}

fn board(seed: u8, all: &[u8]) -> NvmlGpu {
    let clocks = Clocks { current: Fact::Known(Hertz(0.345e9)), maximum: Fact::unknown("not supported"), application: Fact::unknown("no") };
    NvmlGpu {
        uuid: uuid(seed),
        slices: Vec::new(),
        name: Fact::Known(format!("Example {seed}")),
        pci_address: Fact::Known(format!("00000000:{seed:02X}:00.0")),
        pci_id: Fact::Known("10de:2330".into()),
        pci_subsystem_id: Fact::Known("10de:16c1".into()),
        compute_capability: Fact::Known((9, 0)),
        memory_total: Fact::Known(Bytes::gib(81)),
        memory_free: Fact::Known(Bytes::gib(79)),
        memory_bus_bits: Fact::Known(5120),
        sm_clock: clocks.clone(),
        memory_clock: clocks,
        power: PowerLimits { enforced: Fact::unknown("no"), default: Fact::unknown("no"), maximum: Fact::unknown("no") },
        ecc: Fact::unknown("not supported"),
        remapped_rows: Fact::unknown("not supported"),
        mig: Fact::Known(false),
        virtualization: Fact::Known("none".into()),
        pcie: Fact::unknown("not supported"),
        nvlinks: Fact::Known(vec![NvLink { port: 0, active: true, version: Some(4), peer: Some(format!("00000000:{:02X}:00.0", all[0])) }]),
        other_processes: Fact::Known(Vec::new()),
        vbios: Fact::Known(format!("96.00.{seed}")),
        peers: all
            .iter()
            .filter(|other| **other != seed)
            .map(|other| NvmlPeer {
                uuid: uuid(*other),
                topology: Fact::Known(format!("NV{seed}{other}")),
                peer_access: Fact::Known(false),
                native_atomics: Fact::Known(true),
            })
            .collect(),
    }
}

#[test]
fn addresses_of_every_spelling_are_one() {
    for spelling in ["00000000:1B:00.0", "0000:1b:00.0", "0000:1B:00", "1b:00.0", "1b:0"] {
        assert_eq!(normal_pci_address(spelling).as_deref(), Some("0000:1b:00.0"), "{spelling}");
    }
    assert_eq!(normal_pci_address("10000:e1:00.1").as_deref(), Some("10000:e1:00.1"));
    for wrong in ["", "GPU 3", "NVSwitch", "x:y:z.0", "1:2:3:4.0", "0000:1b:00.0.0"] {
        assert_eq!(normal_pci_address(wrong), None, "{wrong}");
    }
}

#[test]
fn uuids_are_written_as_nvml_writes_them() {
    let bytes = [0xab, 0xcd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];
    assert_eq!(format_uuid("GPU", bytes), "GPU-abcd0102-0304-0506-0708-090a0b0c0d0e");
}

#[test]
fn without_nvml_the_gpus_are_cudas_and_the_rest_says_why() {
    let (gpus, pairs) = join(Fact::Known(vec![cuda_gpu(1, 2), cuda_gpu(2, 2)]), Fact::unknown("libnvidia-ml.so.1 was not found"));
    assert_eq!(gpus.len(), 2);
    assert_eq!(gpus[1].sm_count, Fact::Known(102));
    assert_eq!(gpus[1].pci_address, Fact::Known("0000:02:00.0".into()));
    assert_eq!(gpus[1].vbios.why(), Some("libnvidia-ml.so.1 was not found"));
    assert_eq!(gpus[0].sm_clock.maximum, Fact::Known(Hertz(1.98e9)));
    assert!(gpus[0].ecc.known().is_some_and(|ecc| ecc.enabled && ecc.corrected_volatile.is_none()));
    assert_eq!(gpus[0].memory_free.why(), Some("no context; libnvidia-ml.so.1 was not found"));
    assert_eq!(pairs.len(), 2);
    assert_eq!(pairs[0].peer_access, Fact::Known(true));
    assert_eq!(pairs[0].topology.why(), Some("libnvidia-ml.so.1 was not found"));
}

#[test]
fn without_cuda_the_gpus_are_nvmls_in_its_order() {
    let (gpus, pairs) = join(Fact::unknown("libcuda.so.1 was not found"), Fact::Known(vec![board(5, &[5, 3]), board(3, &[5, 3])]));
    assert_eq!(gpus.iter().map(|gpu| gpu.index).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(gpus[0].uuid, uuid(5));
    assert_eq!(gpus[0].sm_count.why(), Some("libcuda.so.1 was not found"));
    assert_eq!(gpus[1].memory_total, Fact::Known(Bytes::gib(81)));
    assert_eq!(gpus[1].nvlinks.known().map(|links| links[0].peer.clone()), Some(Some("GPU 0".into())));
    assert_eq!(
        pairs[0],
        Pair { from: 0, to: 1, topology: Fact::Known("NV53".into()), peer_access: Fact::Known(false), native_atomics: Fact::Known(true) }
    );
}

#[test]
fn without_either_there_is_no_gpu() {
    assert_eq!(join(Fact::unknown("no CUDA"), Fact::unknown("no NVML")), (Vec::new(), Vec::new()));
}

#[test]
fn slices_get_their_boards_facts_but_not_its_memory() {
    let mut carrier = board(7, &[7]);
    carrier.mig = Fact::Known(true);
    carrier.slices = vec![format_uuid("MIG", [0x21; 16])];
    let mut listed = cuda_gpu(0x21, 2);
    let mut unlisted = cuda_gpu(0x22, 2);
    for slice in [&mut listed, &mut unlisted] {
        slice.pci_address = Fact::Known("0000:07:00".into());
        slice.memory_total = Fact::Known(Bytes::gib(10));
    }
    let (gpus, pairs) = join(Fact::Known(vec![listed, unlisted]), Fact::Known(vec![carrier]));
    assert_eq!(gpus[0].uuid, format_uuid("MIG", [0x21; 16]));
    assert_eq!(gpus[1].uuid, format_uuid("MIG", [0x22; 16]));
    for gpu in &gpus {
        assert_eq!(gpu.vbios, Fact::Known("96.00.7".into()));
        assert_eq!(gpu.memory_total, Fact::Known(Bytes::gib(10)));
        assert_eq!(gpu.memory_free.why(), Some("no context"));
        assert_eq!(gpu.mig, Fact::Known(true));
    }
    assert_eq!(pairs[0].topology.why(), Some("both are slices of one GPU"));
}

#[test]
fn gpus_that_cuda_hides_are_left_out() {
    let (gpus, pairs) = join(Fact::Known(vec![cuda_gpu(2, 1)]), Fact::Known(vec![board(1, &[1, 2]), board(2, &[1, 2])]));
    assert_eq!(gpus.len(), 1);
    assert_eq!(gpus[0].vbios, Fact::Known("96.00.2".into()));
    // The link leads to a GPU outside the list: its address stays.
    assert_eq!(gpus[0].nvlinks.known().map(|links| links[0].peer.clone()), Some(Some("0000:01:00.0".into())));
    assert!(pairs.is_empty());
}

proptest! {
    /// Whatever order NVML lists the boards in, every GPU gets the facts of its own board, and pairs follow CUDA's order.
    #[test]
    fn order_means_nothing(cuda_order in Just((1..=8).collect::<Vec<u8>>()).prop_shuffle(),
                           nvml_order in Just((1..=8).collect::<Vec<u8>>()).prop_shuffle()) {
        let cuda = cuda_order.iter().map(|seed| cuda_gpu(*seed, 8)).collect();
        let nvml = nvml_order.iter().map(|seed| board(*seed, &nvml_order)).collect();
        let (gpus, pairs) = join(Fact::Known(cuda), Fact::Known(nvml));
        for (position, (gpu, seed)) in gpus.iter().zip(&cuda_order).enumerate() {
            prop_assert_eq!(gpu.index as usize, position);
            prop_assert_eq!(&gpu.uuid, &uuid(*seed));
            prop_assert_eq!(&gpu.vbios, &Fact::Known(format!("96.00.{seed}")));
            prop_assert_eq!(&gpu.sm_count, &Fact::Known(100 + u32::from(*seed)));
            prop_assert_eq!(&gpu.memory_total, &Fact::Known(Bytes::gib(80)));
            prop_assert_eq!(&gpu.memory_free, &Fact::Known(Bytes::gib(79)));
        }
        prop_assert_eq!(pairs.len(), 56);
        for pair in pairs {
            let (from, to) = (cuda_order[pair.from as usize], cuda_order[pair.to as usize]);
            prop_assert_eq!(pair.topology, Fact::Known(format!("NV{from}{to}")));
            prop_assert_eq!(pair.peer_access, Fact::Known(true));
        }
    }

    #[test]
    fn no_text_upsets_the_address_reader(text in ".*") {
        if let Some(address) = normal_pci_address(&text) {
            prop_assert_eq!(normal_pci_address(&address), Some(address));
        }
    }
}
