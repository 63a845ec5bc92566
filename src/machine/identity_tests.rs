use proptest::prelude::*;

use super::*;
use crate::machine::join::{CudaGpu, format_uuid, join};
use crate::machine::{Disk, Driver, Environment, Library, Space, host};
use crate::units::Bytes;

fn cuda_gpu(name: &str, seed: u8) -> CudaGpu {
    let unknown = || Fact::unknown("not read");
    CudaGpu {
        uuid: format_uuid("GPU", [seed; 16]),
        name: name.to_owned(),
        pci_address: Fact::Known(format!("0000:{seed:02x}:00.0")),
        compute_capability: Fact::Known((9, 0)),
        sm_count: Fact::Known(132),
        memory_total: Fact::Known(Bytes::gib(80)),
        memory_free: Fact::unknown(format!("{} did not say", format_uuid("GPU", [seed; 16]))),
        memory_bus_bits: Fact::Known(5120),
        l2: Fact::Known(Bytes::mib(50)),
        sm_clock_maximum: Fact::unknown("not read"),
        memory_clock_maximum: Fact::unknown("not read"),
        ecc_enabled: unknown(),
        peer_access: Vec::new(),
        native_atomics: Vec::new(),
    }
}

fn machine(gpu: &str, seeds: &[u8], cpu: &str, memory: Bytes) -> Machine {
    let empty = tempfile::tempdir().unwrap();
    let mut host = host::read(empty.path(), "x86_64", &Environment::default(), &|_| Ok(Space { size: Bytes(1), free: Bytes(1) }));
    host.cpu.model = Fact::Known(cpu.to_owned());
    host.cpu.threads = Fact::Known(2);
    host.memory.total = Fact::Known(memory);
    let (gpus, pairs) = join(Fact::Known(seeds.iter().map(|seed| cuda_gpu(gpu, *seed)).collect()), Fact::unknown("no NVML"));
    let unknown = || Fact::unknown("opening NVML (/home/ada/lib/libnvidia-ml.so.1): not there");
    let driver = Driver { version: unknown(), cuda_version: unknown(), nvml_version: unknown(), simulated: false };
    Machine { gpus, pairs, driver, libraries: Vec::new(), host }
}

#[test]
fn gpus_have_short_names() {
    for (name, short) in [
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H100 NVL", "h100-nvl"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-80GB", "a100-sxm"),
        ("NVIDIA A100 80GB PCIe", "a100-pcie"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx-6000-ada"),
        ("NVIDIA GH200 480GB", "gh200"),
        ("Tesla T4", "t4"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "a100-sxm-mig-1g-5gb"),
        ("", "gpu"),
        ("../../etc", "etc"),
    ] {
        assert_eq!(short_gpu_name(name), short, "{name}");
    }
}

#[test]
fn processors_have_short_names() {
    for (model, short) in [
        ("AMD EPYC 9654 96-Core Processor", "epyc-9654"),
        ("AMD EPYC", "epyc"),
        ("Intel(R) Xeon(R) Platinum 8480+", "xeon-platinum-8480"),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", "xeon"),
        ("13th Gen Intel(R) Core(TM) i9-13900K", "core-i9-13900k"),
        ("NVIDIA Grace (Arm Neoverse V2)", "grace"),
        ("Arm Neoverse N1", "neoverse-n1"),
        ("", "cpu"),
        (")))(((", "cpu"),
    ] {
        assert_eq!(short_cpu_name(model), short, "{model}");
    }
}

#[test]
fn the_name_says_what_and_how_many() {
    let name = machine("NVIDIA H100 80GB HBM3", &[1, 2, 3], "AMD EPYC 9654 96-Core Processor", Bytes::gib(1511)).neutral_name();
    let (front, digits) = name.rsplit_once('-').unwrap();
    assert_eq!(front, "h100-sxm-x3-epyc-9654");
    assert!(digits.len() == 6 && digits.chars().all(|c| c.is_ascii_hexdigit()), "{digits}");
    let name = machine("", &[], "AMD EPYC", Bytes(24_684_092 * 1024)).neutral_name();
    assert!(name.starts_with("epyc-2c-24g-"), "{name}");
}

#[test]
fn the_name_is_stable_and_tells_machines_apart() {
    let name = |seeds: &[u8], memory| machine("NVIDIA H200", seeds, "AMD EPYC", memory).neutral_name();
    let one = name(&[1, 2], Bytes::gib(100));
    assert_eq!(one, name(&[2, 1], Bytes::gib(100)), "order of enumeration");
    assert_eq!(one, name(&[1, 2], Bytes::gib(100) + Bytes::mib(200)), "another kernel");
    assert_ne!(one, name(&[1, 3], Bytes::gib(100)), "another GPU");
    assert_ne!(one, name(&[1, 2], Bytes::gib(200)), "more memory");
}

#[test]
fn nothing_identifying_is_left() {
    let mut full = machine("NVIDIA H200", &[0xaa, 0xbb], "AMD EPYC", Bytes::gib(100));
    let disk = |mount: &str, device: &str, kind: &str| Disk {
        mount: mount.into(),
        device: device.into(),
        kind: kind.into(),
        file_system: "x".into(),
        size: Fact::unknown(format!("{mount}: no answer")),
        free: Fact::Known(Bytes(1)),
    };
    full.host.disks = Fact::Known(vec![
        disk("/mnt/home/ada/data", "fileserver:/export", "network"),
        disk("/home/ada", "/dev/mapper/adas--host-home", "unknown"),
        disk("/data", "nvme0n1", "nvme"),
    ]);
    full.libraries.push(Library {
        name: "libnccl.so.2".into(),
        path: Some("/home/ada/.venv/libnccl.so.2".into()),
        sought: vec!["/home/ada".into()],
    });
    let copy = full.anonymous().unwrap();
    let text = serde_json::to_string(&copy).unwrap();
    for secret in ["ada", "fileserver", "aaaaaaaa-", "bbbbbbbb-", "adas--host"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let disks = copy.host.disks.known().unwrap();
    assert_eq!((disks[0].mount.as_str(), disks[0].device.as_str()), ("/mnt/home/*/data", "*"));
    assert_eq!((disks[2].mount.as_str(), disks[2].device.as_str()), ("/data", "nvme0n1"));
    assert_eq!(copy.libraries[0].path.as_deref(), Some("/home/*/.venv/libnccl.so.2"));
    assert_eq!(copy.driver.version.why(), Some("opening NVML (/home/*/lib/libnvidia-ml.so.1): not there"));
    assert_eq!(copy.gpus[0].uuid.len(), "GPU-".len() + 8);
    assert_ne!(copy.gpus[0].uuid, copy.gpus[1].uuid);
    assert_eq!(copy.gpus[0].pci_address, full.gpus[0].pci_address);
    assert_eq!(copy.neutral_name(), full.neutral_name());
    assert_eq!(copy.anonymous().unwrap(), copy);
}

#[test]
fn users_are_removed_from_paths_and_sentences() {
    assert_eq!(without_users("/home/ada"), "/home/*");
    assert_eq!(without_users("/home/ada: no answer"), "/home/*: no answer");
    assert_eq!(without_users("/run/media/ada/disk"), "/run/media/*/disk");
    assert_eq!(without_users("/home/"), "/home/");
    assert_eq!(without_users("/homes/x /data"), "/homes/x /data");
}

proptest! {
    #[test]
    fn any_names_make_a_file_name(gpu in ".*", cpu in ".*") {
        let name = format!("{}-x1-{}", short_gpu_name(&gpu), short_cpu_name(&cpu));
        prop_assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{}", name);
    }
}
