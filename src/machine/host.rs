//! The machine around the GPUs, read from the kernel's files.
//!
//! Everything comes from files below a root folder, so a recorded tree reads like the machine it came from; only the size of a file system
//! is a system call, and that is a parameter.

use std::path::Path;
use std::time::Duration;

use crate::units::Bytes;

use super::tree::{Environment, Tree};
use super::{Fact, Host, cpu, disks, memory};

/// Size of a file system and what is free for this user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Capacity.
    pub size: Bytes,
    /// Free for a user without privileges.
    pub free: Bytes,
}

/// Answers how large the file system at a mount point is, or why that cannot be said.
pub type SpaceReader<'a> = &'a dyn Fn(&Path) -> Result<Space, String>;

/// Reads the host below `root`. `architecture` is the instruction set of the machine the tree belongs to, as `std::env::consts::ARCH` spells it.
pub fn read(root: &Path, architecture: &str, environment: &Environment, space: SpaceReader<'_>) -> Host {
    let tree = Tree::new(root);
    Host {
        cpu: cpu::read(tree, architecture),
        numa: memory::nodes(tree),
        memory: memory::read(tree, space),
        disks: disks::read(tree, space),
        kernel: tree.word("/proc/sys/kernel/osrelease"),
        os: distribution(tree),
        container: Fact::Known(container(tree, environment)),
        hypervisor: Fact::Known(hypervisor(tree)),
    }
}

/// Reads this machine.
pub fn read_live() -> Host {
    read(Path::new("/"), std::env::consts::ARCH, &Environment::live(), &live_space)
}

/// Asks the kernel, and waits no longer than two seconds: a network file system whose server is gone never answers.
///
/// # Errors
/// Says why there is no answer.
pub fn live_space(mount: &Path) -> Result<Space, String> {
    let (answer, answered) = std::sync::mpsc::channel();
    let path = mount.to_path_buf();
    let asked = std::thread::Builder::new().name("statvfs".into()).spawn(move || {
        let space = rustix::fs::statvfs(&path).map_err(|error| error.to_string()).map(|found| Space {
            size: Bytes(found.f_blocks.saturating_mul(found.f_frsize)),
            free: Bytes(found.f_bavail.saturating_mul(found.f_frsize)),
        });
        // Nobody listens any more when the answer came too late.
        let _ = answer.send(space);
    });
    asked.map_err(|error| error.to_string())?;
    answered.recv_timeout(Duration::from_secs(2)).unwrap_or_else(|_| Err("no answer within 2 s".to_owned()))
}

fn distribution(tree: Tree<'_>) -> Fact<String> {
    let release = match tree.text("/etc/os-release") {
        Fact::Unknown { unknown } => match tree.text("/usr/lib/os-release") {
            Fact::Unknown { .. } => return Fact::unknown(unknown),
            known => known,
        },
        known => known,
    };
    let name = |key: &str| {
        let value = release.known()?.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?.trim();
        Some(value.trim_matches(['"', '\'']).to_owned()).filter(|value| !value.is_empty())
    };
    name("PRETTY_NAME").or_else(|| name("NAME")).map_or_else(|| Fact::unknown("/etc/os-release names no distribution"), Fact::Known)
}

/// The most telling sign first: what a run time says of itself, then the marker files, then names of control groups.
fn container(tree: Tree<'_>, environment: &Environment) -> String {
    let said = tree.word("/run/systemd/container").known().cloned();
    let said = said.or_else(|| environment.get("container").and_then(|value| value.to_str()).map(str::to_owned));
    if environment.get("KUBERNETES_SERVICE_HOST").is_some() {
        return "kubernetes".to_owned();
    }
    if let Some(said) = said.filter(|said| said.len() <= 32 && said.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')) {
        return said;
    }
    let groups = tree.text("/proc/self/cgroup").known().cloned().unwrap_or_default();
    let named = [("kubepods", "kubernetes"), ("libpod", "podman"), ("docker", "docker"), ("containerd", "containerd"), ("lxc", "lxc")];
    if let Some((_, kind)) = named.iter().find(|(sign, _)| groups.contains(sign)) {
        return (*kind).to_owned();
    }
    if tree.has("/run/.containerenv") {
        return "podman".to_owned();
    }
    if tree.has("/.dockerenv") {
        return "docker".to_owned();
    }
    if environment.get("SINGULARITY_NAME").is_some() || environment.get("APPTAINER_NAME").is_some() {
        return "apptainer".to_owned();
    }
    // Older kernels write the process id as the host counts it: the first process of a container is not the host's first.
    let first = tree.text("/proc/1/sched");
    let number = first.known().and_then(|text| text.lines().next()?.split_once(" (")?.1.split(',').next()?.trim().parse::<u64>().ok());
    if number.is_some_and(|number| number != 1) { "unspecified".to_owned() } else { "none".to_owned() }
}

/// The firmware's names, then the clock a guest kernel chose, then the processor's bare flag.
fn hypervisor(tree: Tree<'_>) -> String {
    if let Some(kind) = tree.word("/sys/hypervisor/type").known() {
        return kind.clone();
    }
    let firmware = |file: &str| tree.word(format!("/sys/class/dmi/id/{file}")).known().cloned().unwrap_or_default();
    let (vendor, product) = (firmware("sys_vendor"), firmware("product_name"));
    let kind = match (vendor.as_str(), product.as_str()) {
        // Instance types that end in "metal" run on the machine itself.
        ("Amazon EC2", product) if product.contains("metal") => None,
        ("Amazon EC2" | "QEMU" | "OpenStack Foundation" | "Alibaba Cloud" | "DigitalOcean" | "Google", _) => Some("kvm"),
        (_, "KVM" | "Google Compute Engine" | "KVM Virtual Machine" | "OpenStack Nova" | "OpenStack Compute") => Some("kvm"),
        ("Microsoft Corporation", "Virtual Machine") => Some("hyper-v"),
        ("Xen", _) => Some("xen"),
        ("innotek GmbH", _) | (_, "VirtualBox") => Some("virtualbox"),
        (vendor, product) if vendor.starts_with("VMware") || product.starts_with("VMware") => Some("vmware"),
        _ => None,
    };
    if let Some(kind) = kind {
        return kind.to_owned();
    }
    if !cpu::has_hypervisor_flag(tree) {
        return "none".to_owned();
    }
    let clocks = tree.word("/sys/devices/system/clocksource/clocksource0/available_clocksource").known().cloned().unwrap_or_default();
    let kind = [("kvm-clock", "kvm"), ("hyperv", "hyper-v"), ("xen", "xen")].iter().find(|(sign, _)| clocks.contains(sign));
    kind.map_or("unspecified", |(_, kind)| kind).to_owned()
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
