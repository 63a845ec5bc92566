use proptest::prelude::*;

use super::*;
use crate::machine::Space;
use crate::units::Bytes;

fn mount(device: &str, point: &str, kind: &str, source: &str) -> String {
    format!("1 2 {device} / {point} rw - {kind} {source} rw\n")
}

fn disks(table: &str, files: &[(&str, &str)]) -> Vec<(String, String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let table = ("/proc/self/mountinfo", table);
    for (path, text) in files.iter().chain([&table]) {
        let path = folder.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let space = |_: &Path| Ok(Space { size: Bytes::gib(2), free: Bytes::gib(1) });
    let disks = read(Tree::new(folder.path()), &space).known().cloned().unwrap();
    assert!(disks.iter().all(|disk| disk.size == Fact::Known(Bytes::gib(2)) && disk.free == Fact::Known(Bytes::gib(1))));
    disks.into_iter().map(|disk| (disk.mount, disk.device, disk.kind)).collect()
}

fn named(mount: &str, device: &str, kind: &str) -> (String, String, String) {
    (mount.into(), device.into(), kind.into())
}

#[test]
fn a_container_shows_its_disks_and_not_the_files_bound_into_it() {
    let table = mount("0:61", "/", "overlay", "overlay")
        + &mount("0:64", "/dev/shm", "tmpfs", "shm")
        + &mount("0:62", "/proc", "proc", "proc")
        + &mount("259:2", "/etc/hosts", "ext4", "/dev/nvme0n1p2")
        + &mount("259:2", "/usr/bin/nvidia-smi", "ext4", "/dev/nvme0n1p2")
        + &mount("259:2", "/workspace/long", "ext4", "/dev/nvme0n1p2")
        + &mount("259:2", "/data", "ext4", "/dev/nvme0n1p2")
        + &mount("0:70", "/models", "nfs4", "10.0.0.5:/models");
    assert_eq!(
        disks(&table, &[("/sys/block/nvme0n1/device/model", "SAMSUNG MZQL2\n")]),
        [
            named("/", "overlay", "unknown"),
            named("/data", "nvme0n1", "nvme"),
            named("/dev/shm", "shm", "memory"),
            named("/models", "10.0.0.5:/models", "network"),
        ]
    );
}

#[test]
fn the_kind_is_the_devices_not_its_names() {
    let table = mount("8:1", "/a", "ext4", "/dev/sda1")
        + &mount("8:17", "/b", "ext4", "/dev/sdb1")
        + &mount("8:33", "/c", "xfs", "/dev/sdc")
        + &mount("259:1", "/d", "xfs", "/dev/nvme1n1")
        + &mount("254:1", "/e", "ext4", "/dev/vda1")
        + &mount("9:0", "/f", "ext4", "/dev/md0");
    let files = [
        ("/sys/block/sda/queue/rotational", "0\n"),
        ("/sys/block/sdb/queue/rotational", "1\n"),
        ("/sys/block/sdc/queue/rotational", "1\n"),
        ("/sys/block/sdc/device/vendor", "QEMU    \n"),
        ("/sys/block/nvme1n1/device/model", "Amazon Elastic Block Store              \n"),
        ("/sys/block/vda/queue/rotational", "1\n"),
        ("/sys/block/nvme2n1/device/model", "KCD8\n"),
        ("/sys/block/nvme3n1/device/model", "KCD8\n"),
        ("/sys/block/md0/slaves/nvme2n1", ""),
        ("/sys/block/md0/slaves/nvme3n1p1", ""),
    ];
    assert_eq!(
        disks(&table, &files),
        [
            named("/a", "sda", "ssd"),
            named("/b", "sdb", "hdd"),
            named("/c", "sdc", "virtual"),
            named("/d", "nvme1n1", "network"),
            named("/e", "vda", "virtual"),
            named("/f", "md0", "nvme"),
        ]
    );
}

#[test]
fn a_later_mount_covers_an_earlier_one_at_the_same_place() {
    let table = mount("8:1", "/data", "ext4", "/dev/sda1") + &mount("0:99", "/data", "nfs", "server:/x");
    assert_eq!(disks(&table, &[]), [named("/data", "server:/x", "network")]);
}

#[test]
fn memory_counts_where_it_can_be_written() {
    let table = mount("0:50", "/ramdisk", "tmpfs", "tmpfs") + "1 2 0:51 / /masked ro,nosuid - tmpfs tmpfs rw\n";
    assert_eq!(disks(&table, &[]), [named("/ramdisk", "tmpfs", "memory")]);
}

#[test]
fn a_disk_that_does_not_answer_keeps_its_place_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("proc/self")).unwrap();
    std::fs::write(folder.path().join("proc/self/mountinfo"), mount("0:99", "/data", "nfs", "server:/x")).unwrap();
    let read = read(Tree::new(folder.path()), &|_: &Path| Err("no answer".into()));
    assert_eq!(read.known().map(|disks| disks[0].free.why().map(str::to_owned)), Some(Some("/data: no answer".into())));
}

#[test]
fn a_partition_is_told_from_another_disk() {
    assert!(partition_of("nvme0n1p2", "nvme0n1") && partition_of("sda1", "sda"));
    assert!(!partition_of("nvme0n10", "nvme0n1") && !partition_of("sdaa", "sda") && !partition_of("sda", "sda"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_table_upsets_the_reader(table in ".*", device in "[0-9:./]*", source in "[a-z0-9/.]*") {
        disks(&format!("{table}\n{}", mount(&device, "/x", "ext4", &format!("/dev/{source}"))), &[("/sys/block/sda/slaves/sda", "")]);
    }
}
