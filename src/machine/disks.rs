//! Disks: what is mounted, on what kind of device, how large and how full.
//!
//! A **disk** here is a mounted file system that could hold a model or a data set: one entry per device, at its shortest mount point. A
//! container has dozens of single files bound from the host's disk (`/etc/hosts`, driver libraries below `/usr`) and the kernel's own file
//! systems; those are left out, and so is RAM that cannot be written to.
//!
//! The **kind** decides what to expect of it. `nvme`, `ssd` and `hdd` are devices of this machine; `virtual` is a hypervisor's disk, whose
//! `rotational` flag means nothing; `network` is a file system or block device on another machine, cloud volumes that pose as NVMe
//! included; `memory` is RAM.

use std::path::Path;

use super::mounts::{self, Mount};
use super::tree::Tree;
use super::{Disk, Fact, SpaceReader};

/// File systems whose data is on another machine.
const NETWORK: &[&str] = &[
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "ceph",
    "lustre",
    "gpfs",
    "beegfs",
    "glusterfs",
    "wekafs",
    "fuse.sshfs",
    "fuse.s3fs",
    "fuse.gcsfuse",
    "fuse.mount-s3",
    "fuse.rclone",
    "fuse.juicefs",
    "fuse.glusterfs",
    "fuse.ceph",
    "fuse.blobfuse2",
    "fuse.goofys",
];

/// File systems whose data a hypervisor keeps.
const HYPERVISOR: &[&str] = &["9p", "virtiofs", "vboxsf", "fuse.vmhgfs-fuse"];

/// File systems that keep data on a device without naming one by number, or stack on others.
const LOCAL_WITHOUT_DEVICE: &[&str] = &["btrfs", "zfs", "bcachefs", "overlay", "fuse.mergerfs"];

/// Mount points below these are the system's, or single files that a container run time binds.
const NOT_FOR_DATA: &[&str] = &[
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/etc",
    "/boot",
    "/snap",
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/sbin",
    "/var/lib/docker/",
    "/var/lib/kubelet/",
];

/// Reads the mounted disks, in the order of their mount points.
pub(super) fn read(tree: Tree<'_>, space: SpaceReader<'_>) -> Fact<Vec<Disk>> {
    mounts::read(tree).map(|table| {
        let mut disks: Vec<Disk> = chosen(&table)
            .into_iter()
            .map(|mount| {
                let (device, kind) = device(tree, mount);
                let space = space(Path::new(&mount.point)).map_err(|why| format!("{}: {why}", mount.point));
                let (size, free) = match space {
                    Ok(space) => (Fact::Known(space.size), Fact::Known(space.free)),
                    Err(why) => (Fact::unknown(why.clone()), Fact::unknown(why)),
                };
                Disk { mount: mount.point.clone(), device, kind: kind.to_owned(), file_system: mount.kind.clone(), size, free }
            })
            .collect();
        disks.sort_by(|one, other| one.mount.cmp(&other.mount));
        disks
    })
}

fn beneath(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| folder.ends_with('/') || rest.starts_with('/'))
}

fn worth_listing(mount: &Mount) -> bool {
    if mount.point == "/" || mount.point == "/dev/shm" {
        return true;
    }
    if NOT_FOR_DATA.iter().any(|folder| beneath(&mount.point, folder) || mount.point == *folder) {
        return false;
    }
    let on_device = !mount.device.starts_with("0:") && !matches!(mount.kind.as_str(), "squashfs" | "iso9660" | "erofs");
    let kind = mount.kind.as_str();
    on_device
        || kind == "tmpfs" && !mount.read_only
        || NETWORK.contains(&kind)
        || HYPERVISOR.contains(&kind)
        || LOCAL_WITHOUT_DEVICE.contains(&kind)
}

/// One mount per device: what covers earlier mounts at the same place, then the shortest place.
fn chosen(table: &[Mount]) -> Vec<&Mount> {
    let mut visible: Vec<&Mount> = Vec::new();
    for mount in table.iter().filter(|mount| worth_listing(mount)) {
        visible.retain(|earlier| earlier.point != mount.point);
        visible.push(mount);
    }
    visible.sort_by_key(|mount| (mount.point.len(), mount.point.clone()));
    let mut disks: Vec<&Mount> = Vec::new();
    for mount in visible {
        if !disks.iter().any(|disk| disk.device == mount.device && disk.source == mount.source) {
            disks.push(mount);
        }
    }
    disks
}

/// Name and kind of what a mount lies on.
fn device(tree: Tree<'_>, mount: &Mount) -> (String, &'static str) {
    let kind = mount.kind.as_str();
    if NETWORK.contains(&kind) {
        return (mount.source.clone(), "network");
    }
    if HYPERVISOR.contains(&kind) {
        return (mount.source.clone(), "virtual");
    }
    if matches!(kind, "tmpfs" | "ramfs" | "rootfs") {
        return (mount.source.clone(), "memory");
    }
    let Some(disk) = block_device(tree, mount) else { return (mount.source.clone(), "unknown") };
    let kind = block_kind(tree, &disk, 4);
    (disk, kind)
}

/// The whole disk's name in `/sys/block`, by device number or, where the number leads nowhere, by the source's name.
fn block_device(tree: Tree<'_>, mount: &Mount) -> Option<String> {
    let numbered = tree.locate("/sys/dev/block").join(&mount.device);
    let plain_number = mount.device.chars().all(|c| c.is_ascii_digit() || c == ':');
    if let Some(path) = std::fs::canonicalize(numbered).ok().filter(|_| plain_number) {
        let whole = if path.join("partition").exists() { path.parent()?.to_path_buf() } else { path };
        return whole.file_name()?.to_str().map(str::to_owned);
    }
    let name = mount.source.strip_prefix("/dev/")?;
    let disks = tree.names("/sys/block");
    // A partition's name is the disk's and a number, with a `p` between where the disk's ends in a digit.
    disks.into_iter().filter(|disk| name == disk || partition_of(name, disk)).max_by_key(String::len)
}

fn partition_of(name: &str, disk: &str) -> bool {
    name.strip_prefix(disk).is_some_and(|rest| {
        let number = if disk.ends_with(|c: char| c.is_ascii_digit()) { rest.strip_prefix('p') } else { Some(rest) };
        number.is_some_and(|number| !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()))
    })
}

/// The kind of one disk; of a stack (RAID, LVM, encryption) that of its parts where they agree.
fn block_kind(tree: Tree<'_>, disk: &str, depth: u32) -> &'static str {
    let base = format!("/sys/block/{disk}");
    if disk.starts_with("zram") || disk.starts_with("ram") || disk.starts_with("pmem") {
        return "memory";
    }
    if disk.starts_with("nbd") || disk.starts_with("rbd") || disk.starts_with("drbd") {
        return "network";
    }
    if disk.starts_with("vd") || disk.starts_with("xvd") || disk.starts_with("loop") {
        return "virtual";
    }
    let parts = if depth > 0 { tree.names(format!("{base}/slaves")) } else { Vec::new() };
    if !parts.is_empty() {
        let mut kinds = parts.iter().map(|part| block_kind(tree, whole(tree, part).as_deref().unwrap_or(part), depth - 1));
        let first = kinds.next().unwrap_or("unknown");
        return if kinds.all(|kind| kind == first) { first } else { "unknown" };
    }
    let text = |file: &str| tree.word(format!("{base}/device/{file}")).known().cloned().unwrap_or_default();
    let (vendor, model) = (text("vendor"), text("model"));
    if disk.starts_with("nvme") {
        // Cloud volumes that are reached over the network and show themselves as NVMe, by their documented model names.
        let remote = ["Amazon Elastic Block Store", "nvme_card-pd", "MSFT NVMe Accelerator"].iter().any(|name| model.starts_with(name));
        return if remote { "network" } else { "nvme" };
    }
    if ["QEMU", "Msft", "Google", "VMware", "VBOX", "Linode", "DO"].contains(&vendor.as_str()) {
        return "virtual";
    }
    match tree.word(format!("{base}/queue/rotational")).known().map(String::as_str) {
        Some("0") => "ssd",
        Some("1") => "hdd",
        _ => "unknown",
    }
}

fn whole(tree: Tree<'_>, part: &str) -> Option<String> {
    tree.names("/sys/block").into_iter().filter(|disk| part == disk || partition_of(part, disk)).max_by_key(String::len)
}

#[cfg(test)]
#[path = "disks_tests.rs"]
mod tests;
