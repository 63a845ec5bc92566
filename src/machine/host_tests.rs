use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machines").join(name)
}

/// Every file system has 100 GB, 40 GB of them free, except `/dev/shm`.
fn space(mount: &Path) -> Result<Space, String> {
    let size = if mount == Path::new("/dev/shm") { 1 << 26 } else { 100_000_000_000 };
    Ok(Space { size: Bytes(size), free: Bytes(size / 10 * 4) })
}

fn facts(name: &str, architecture: &str, variables: &[(&str, &str)]) -> Value {
    let host = read(&recorded(name), architecture, &Environment::of(variables.iter().copied()), &space);
    let written = serde_json::to_value(&host).unwrap();
    assert_eq!(serde_json::from_value::<Host>(written.clone()).unwrap(), host, "the facts come back from JSON");
    written
}

fn disk(mount: &str, device: &str, kind: &str, file_system: &str) -> Value {
    let size = space(Path::new(mount)).unwrap();
    json!({"mount": mount, "device": device, "kind": kind, "file_system": file_system, "size": size.size, "free": size.free})
}

/// The numbers from and up to those given.
fn cpus(ranges: &[(u32, u32)]) -> Vec<u32> {
    ranges.iter().flat_map(|(first, last)| *first..=*last).collect()
}

const KIB: u64 = 1024;

#[test]
fn two_sockets_of_64_cores() {
    let expected = json!({
        "cpu": {
            "model": "AMD EPYC 7763 64-Core Processor", "architecture": "x86_64", "sockets": 2, "cores": 128, "threads": 256, "smt": true,
            "allowed_threads": 256, "cgroup_cpus": null, "isa": ["avx", "avx2", "fma", "f16c"],
        },
        "numa": [
            {"node": 0, "cpus": cpus(&[(0, 63), (128, 191)]), "memory": 1_056_564_780 * KIB, "distances": [10, 32]},
            {"node": 1, "cpus": cpus(&[(64, 127), (192, 255)]), "memory": 1_056_923_432 * KIB, "distances": [32, 10]},
        ],
        "memory": {
            "total": 2_113_488_212 * KIB, "available": 2_080_000_000 * KIB, "cgroup_limit": null, "shm": 1 << 26, "memlock": null,
        },
        "disks": [
            disk("/", "nvme0n1", "nvme", "ext4"),
            disk("/dev/shm", "tmpfs", "memory", "tmpfs"),
            disk("/home", "10.1.0.9:/export/home", "network", "nfs4"),
            disk("/raid", "md0", "nvme", "xfs"),
        ],
        "kernel": "5.15.0-1047-nvidia", "os": "Ubuntu 22.04.4 LTS", "container": "none", "hypervisor": "none",
    });
    assert_eq!(facts("two-sockets-of-64-cores", "x86_64", &[]), expected);
}

#[test]
fn a_container_with_limits_inside_limits() {
    let expected = json!({
        "cpu": {
            "model": "Intel(R) Xeon(R) Platinum 8480+", "architecture": "x86_64", "sockets": 1, "cores": 16, "threads": 32, "smt": true,
            "allowed_threads": 16, "cgroup_cpus": 8.5,
            "isa": ["avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16",
                    "amx_tile", "amx_int8", "amx_bf16"],
        },
        "numa": [{"node": 0, "cpus": cpus(&[(0, 31)]), "memory": 264_092_672 * KIB, "distances": [10]}],
        "memory": {
            "total": 264_092_672 * KIB, "available": 250_000_000 * KIB, "cgroup_limit": 64_u64 << 30, "shm": 1 << 26, "memlock": 64 << 20,
        },
        "disks": [
            disk("/", "overlay", "unknown", "overlay"),
            disk("/dev/shm", "shm", "memory", "tmpfs"),
            disk("/models", "nvme1n1", "network", "xfs"),
            disk("/scratch space", "vda", "virtual", "ext4"),
        ],
        "kernel": "6.5.0-1020-aws", "os": "Rocky Linux", "container": "kubernetes", "hypervisor": "kvm",
    });
    assert_eq!(facts("container-with-limits", "x86_64", &[]), expected);
}

#[test]
fn a_container_under_control_groups_of_version_one() {
    let expected = json!({
        "cpu": {
            "model": "Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz", "architecture": "x86_64", "sockets": 2, "cores": 8, "threads": 8,
            "smt": false, "allowed_threads": 8, "cgroup_cpus": 4.0,
            "isa": ["avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni"],
        },
        "numa": [
            {"node": 0, "cpus": [0, 1, 2, 3], "memory": 32_904_158 * KIB, "distances": [10, 21]},
            {"node": 1, "cpus": [4, 5, 6, 7], "memory": 32_904_158 * KIB, "distances": [21, 10]},
        ],
        "memory": {
            "total": 65_808_316 * KIB, "available": 60_000_000 * KIB, "cgroup_limit": 12_u64 << 30, "shm": 1 << 26, "memlock": 65536,
        },
        "disks": [disk("/", "overlay", "unknown", "overlay"), disk("/data", "sda", "hdd", "ext4")],
        "kernel": "4.18.0-513.el8.x86_64", "os": "Debian GNU/Linux 12 (bookworm)", "container": "docker", "hypervisor": "none",
    });
    assert_eq!(facts("container-of-version-one", "x86_64", &[]), expected);
}

#[test]
fn grace_hopper() {
    let expected = json!({
        "cpu": {
            "model": "NVIDIA Grace (Arm Neoverse V2)", "architecture": "aarch64", "sockets": 1, "cores": 72, "threads": 72, "smt": false,
            "allowed_threads": 72, "cgroup_cpus": null,
            "isa": ["asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2", "svebf16", "svei8mm"],
        },
        "numa": [
            {"node": 0, "cpus": cpus(&[(0, 71)]), "memory": 501_000_000 * KIB, "distances": [10, 80]},
            {"node": 1, "cpus": [], "memory": 100_800_640 * KIB, "distances": [80, 10]},
        ],
        "memory": {
            "total": 601_800_640 * KIB, "available": 590_000_000 * KIB, "cgroup_limit": null, "shm": 1 << 26, "memlock": null,
        },
        "disks": [disk("/", "nvme0n1", "nvme", "ext4")],
        "kernel": "6.5.0-1019-nvidia-64k", "os": "Ubuntu 22.04.4 LTS", "container": "none", "hypervisor": "none",
    });
    assert_eq!(facts("grace-hopper", "aarch64", &[]), expected);
}

#[test]
fn a_small_virtual_machine() {
    let expected = json!({
        "cpu": {
            "model": "AMD EPYC", "architecture": "x86_64", "sockets": 1, "cores": 2, "threads": 2, "smt": false, "allowed_threads": 2,
            "cgroup_cpus": null,
            "isa": ["avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16"],
        },
        "numa": [{"node": 0, "cpus": [0, 1], "memory": 7_432_404 * KIB, "distances": [10]}],
        "memory": {
            "total": 24_684_092 * KIB, "available": 23_882_152 * KIB, "cgroup_limit": null, "shm": 1 << 26, "memlock": 8 << 20,
        },
        "disks": [disk("/", "vda", "virtual", "ext4"), disk("/dev/shm", "tmpfs", "memory", "tmpfs")],
        "kernel": "6.18.44", "os": "Debian GNU/Linux 12 (bookworm)", "container": "none", "hypervisor": "kvm",
    });
    assert_eq!(facts("small-virtual-machine", "x86_64", &[]), expected);
}

#[test]
fn an_empty_tree_is_a_machine_of_which_everything_says_why() {
    let empty = tempfile::tempdir().unwrap();
    let host = read(empty.path(), "x86_64", &Environment::default(), &|_| Err("not asked".into()));
    let written = serde_json::to_value(&host).unwrap();
    let reasons = |value: &Value| value["unknown"].as_str().map(str::to_owned);
    for path in [
        "/cpu/model",
        "/cpu/sockets",
        "/cpu/cores",
        "/cpu/threads",
        "/cpu/smt",
        "/cpu/allowed_threads",
        "/cpu/cgroup_cpus",
        "/cpu/isa",
        "/numa",
        "/memory/total",
        "/memory/available",
        "/memory/cgroup_limit",
        "/memory/memlock",
        "/disks",
        "/kernel",
        "/os",
    ] {
        let why = written.pointer(path).and_then(reasons).unwrap_or_default();
        assert!(why.contains("/proc/") || why.contains("/sys/") || why.contains("/etc/"), "{path}: {why}");
    }
    assert_eq!(host.memory.shm.why(), Some("/dev/shm: not asked"));
}

#[test]
fn a_container_run_time_is_named_by_what_it_says() {
    let kind = |variables: &[(&str, &str)]| facts("small-virtual-machine", "x86_64", variables)["container"].clone();
    assert_eq!(kind(&[("container", "lxc")]), "lxc");
    assert_eq!(kind(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("container", "docker")]), "kubernetes");
    assert_eq!(kind(&[("APPTAINER_NAME", "image.sif")]), "apptainer");
    assert_eq!(kind(&[("container", "<script>")]), "none");
}

#[test]
fn the_firmware_names_the_hypervisor() {
    for (vendor, product, kind) in [
        ("Microsoft Corporation", "Virtual Machine", "hyper-v"),
        ("Microsoft Corporation", "Surface", "none"),
        ("Amazon EC2", "g5.metal", "none"),
        ("Google", "Google Compute Engine", "kvm"),
        ("VMware, Inc.", "VMware7,1", "vmware"),
        ("Dell Inc.", "PowerEdge XE9680", "none"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let names = folder.path().join("sys/class/dmi/id");
        std::fs::create_dir_all(&names).unwrap();
        std::fs::write(names.join("sys_vendor"), format!("{vendor}\n")).unwrap();
        std::fs::write(names.join("product_name"), format!("{product}\n")).unwrap();
        assert_eq!(hypervisor(Tree::new(folder.path())), kind, "{vendor} {product}");
    }
}

#[test]
fn this_machine_answers() {
    let host = read_live();
    assert!(host.memory.total.known().is_some_and(|total| total.0 > 0));
    assert!(host.cpu.threads.known().is_some_and(|threads| *threads > 0));
    assert!(live_space(Path::new("/")).is_ok_and(|space| space.size >= space.free && space.size.0 > 0));
    assert!(live_space(Path::new("/no/such/folder")).is_err());
}

/// Every file of a recorded tree, by its path in the tree.
fn files(name: &str) -> BTreeMap<PathBuf, String> {
    fn walk(folder: &Path, top: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, top, found);
            } else {
                found.insert(path.strip_prefix(top).unwrap().to_owned(), std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&recorded(name), &recorded(name), &mut found);
    found
}

/// What can happen to a file: it is gone, cut off, or says something else.
fn damage() -> impl Strategy<Value = (prop::sample::Index, u8, String)> {
    let words = prop_oneof![
        Just("18446744073709551616".to_owned()),
        Just("-1".to_owned()),
        Just("0-4294967295".to_owned()),
        Just(format!("{} {} - {}", "a".repeat(5000), ":/".repeat(500), "b ".repeat(500))),
        "\\PC{0,200}",
        "[0-9:/ .,-]{0,100}",
        "(processor\t: [0-9]{1,30}\n|physical id: .\n|flags: .*\n|core id\t:\n){0,10}",
    ];
    (any::<prop::sample::Index>(), any::<u8>(), words)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever single files say, reading ends, with facts or reasons, and the facts survive JSON.
    #[test]
    fn a_damaged_tree_is_still_read(damages in proptest::collection::vec(damage(), 1..6), machine in 0..3_usize) {
        let mut tree = files(["container-with-limits", "small-virtual-machine", "container-of-version-one"][machine]);
        for (which, how, text) in damages {
            let path = which.get(&tree.keys().cloned().collect::<Vec<_>>()).clone();
            match how % 3 {
                0 => { tree.remove(&path); }
                1 => {
                    let kept: String = tree[&path].chars().take(usize::from(how)).collect();
                    tree.insert(path, kept);
                }
                _ => { tree.insert(path, text); }
            }
        }
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in &tree {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let host = read(folder.path(), "x86_64", &Environment::default(), &space);
        let written = serde_json::to_string(&host).unwrap();
        prop_assert_eq!(serde_json::from_str::<Host>(&written).unwrap(), host);
    }
}
