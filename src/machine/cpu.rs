//! The processors: model, sockets, cores, threads, instruction sets, and how many of them this process may use.
//!
//! A **socket** is a package, a **core** a physical one, a **thread** a logical processor. x86 tells all of that in `/proc/cpuinfo`; Arm names
//! its parts there by number only and leaves the topology to `/sys/devices/system/cpu`.

use std::collections::BTreeSet;

use super::tree::{Tree, number_list};
use super::{Cpu, Fact, cgroup};

/// Extensions that decide how fast a matrix product or a copy can be, in the order they are shown.
const NOTABLE: &[&str] = &[
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "amx_fp16",
    "asimd",
    "asimdhp",
    "asimddp",
    "bf16",
    "i8mm",
    "sve",
    "sve2",
    "svebf16",
    "svei8mm",
    "sme",
];

/// Arm cores found in servers: implementer, part, name. From the `MIDR` tables of Arm's technical reference manuals and of Linux.
const ARM_PARTS: &[(u32, u32, &str)] = &[
    (0x41, 0xd0c, "Arm Neoverse N1"),
    (0x41, 0xd40, "Arm Neoverse V1"),
    (0x41, 0xd49, "Arm Neoverse N2"),
    (0x41, 0xd4f, "Arm Neoverse V2"),
    (0x41, 0xd83, "Arm Neoverse V3AE"),
    (0x41, 0xd84, "Arm Neoverse V3"),
    (0x41, 0xd8e, "Arm Neoverse N3"),
    (0x4e, 0x004, "NVIDIA Carmel"),
    (0x4e, 0x010, "NVIDIA Olympus"),
    (0xc0, 0xac3, "Ampere-1"),
    (0xc0, 0xac4, "Ampere-1a"),
];

/// What firmware answers for the chip in NVIDIA Grace; other makers build chips from the same core.
const GRACE: &str = "jep106:036b:0241";

/// Reads the processors. `architecture` is that of the machine the tree is from, as `std::env::consts::ARCH` spells it.
pub(super) fn read(tree: Tree<'_>, architecture: &str) -> Cpu {
    let listing = tree.text("/proc/cpuinfo");
    let online = tree.list("/sys/devices/system/cpu/online");
    let blocks = listing.known().map(|text| processors(text)).unwrap_or_default();
    let threads = match &online {
        Fact::Known(list) if !list.is_empty() => count(list.len()),
        _ if !blocks.is_empty() => count(blocks.len()),
        _ => Fact::unknown(reason(&listing, "/proc/cpuinfo lists no processor")),
    };
    let (sockets, cores) = x86_topology(&blocks).unwrap_or_else(|| sysfs_topology(tree, &online, &threads));
    let smt = match (&cores, &threads) {
        (Fact::Known(cores), Fact::Known(threads)) => Fact::Known(threads > cores),
        (Fact::Unknown { unknown }, _) | (_, Fact::Unknown { unknown }) => Fact::unknown(unknown.clone()),
    };
    Cpu {
        model: model(tree, &listing, &blocks),
        architecture: architecture.to_owned(),
        sockets,
        cores,
        threads,
        smt,
        allowed_threads: allowed(tree, &online),
        cgroup_cpus: cgroup::cpus(tree),
        isa: isa(&listing, &blocks),
    }
}

/// One processor's `key: value` lines.
type Block<'a> = Vec<(&'a str, &'a str)>;

fn value<'a>(block: &Block<'a>, key: &str) -> Option<&'a str> {
    block.iter().find(|(name, value)| *name == key && !value.is_empty()).map(|(_, value)| *value)
}

/// The listing cut at every `processor` line that carries a number; Arm once wrote a `Processor` line with a name on top.
fn processors(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for (key, value) in text.lines().filter_map(|line| line.split_once(':')).map(|(key, value)| (key.trim(), value.trim())) {
        if key == "processor" && value.parse::<u32>().is_ok() {
            blocks.push(Vec::new());
        }
        if let Some(block) = blocks.last_mut() {
            block.push((key, value));
        }
    }
    blocks
}

fn count(length: usize) -> Fact<u32> {
    Fact::from_result(u32::try_from(length))
}

fn reason<T>(fact: &Fact<T>, otherwise: &str) -> String {
    fact.why().unwrap_or(otherwise).to_owned()
}

/// Sockets and cores by the distinct ids in the listing; `None` where the architecture writes none.
fn x86_topology(blocks: &[Block<'_>]) -> Option<(Fact<u32>, Fact<u32>)> {
    let places: BTreeSet<(&str, &str)> =
        blocks.iter().filter_map(|block| Some((value(block, "physical id")?, value(block, "core id")?))).collect();
    if places.is_empty() {
        return None;
    }
    let sockets: BTreeSet<&str> = places.iter().map(|(socket, _)| *socket).collect();
    Some((count(sockets.len()), count(places.len())))
}

/// Sockets by walking the package lists, cores from how many threads share the first core.
fn sysfs_topology(tree: Tree<'_>, online: &Fact<Vec<u32>>, threads: &Fact<u32>) -> (Fact<u32>, Fact<u32>) {
    let list = match online {
        Fact::Known(list) if !list.is_empty() => list,
        _ => {
            let why = reason(online, "/sys/devices/system/cpu/online lists no processor");
            return (Fact::unknown(why.clone()), Fact::unknown(why));
        }
    };
    let topology = |cpu: u32, file: &str| tree.list(format!("/sys/devices/system/cpu/cpu{cpu}/topology/{file}"));
    let either = |cpu: u32, new: &str, old: &str| match topology(cpu, new) {
        Fact::Unknown { .. } => topology(cpu, old),
        known => known,
    };
    let mut sockets = Fact::Known(0);
    let mut seen: BTreeSet<u32> = BTreeSet::new();
    for cpu in list {
        if seen.contains(cpu) {
            continue;
        }
        match either(*cpu, "package_cpus_list", "core_siblings_list") {
            Fact::Known(package) => seen.extend(package),
            Fact::Unknown { unknown } => {
                sockets = Fact::unknown(unknown);
                break;
            }
        }
        seen.insert(*cpu);
        sockets = sockets.map(|sockets: u32| sockets + 1);
    }
    let cores = match (either(list[0], "core_cpus_list", "thread_siblings_list"), threads) {
        (Fact::Known(siblings), Fact::Known(threads)) => Fact::Known(threads / count(siblings.len()).known().copied().unwrap_or(1).max(1)),
        (Fact::Unknown { unknown }, _) => Fact::unknown(unknown),
        (_, Fact::Unknown { unknown }) => Fact::unknown(unknown.clone()),
    };
    (sockets, cores)
}

fn model(tree: Tree<'_>, listing: &Fact<String>, blocks: &[Block<'_>]) -> Fact<String> {
    let Some(first) = blocks.first() else { return Fact::unknown(reason(listing, "/proc/cpuinfo lists no processor")) };
    if let Some(name) = value(first, "model name") {
        return Fact::Known(name.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    let hexadecimal = |key: &str| u32::from_str_radix(value(first, key)?.trim_start_matches("0x"), 16).ok();
    let (Some(implementer), Some(part)) = (hexadecimal("CPU implementer"), hexadecimal("CPU part")) else {
        return Fact::unknown("/proc/cpuinfo names neither a model nor an Arm part");
    };
    let core = ARM_PARTS
        .iter()
        .find(|(i, p, _)| (*i, *p) == (implementer, part))
        .map_or_else(|| format!("Arm implementer 0x{implementer:02x} part 0x{part:03x}"), |(_, _, name)| (*name).to_owned());
    let grace = tree.word("/sys/devices/soc0/soc_id").known().is_some_and(|id| id == GRACE);
    Fact::Known(if grace { format!("NVIDIA Grace ({core})") } else { core })
}

fn isa(listing: &Fact<String>, blocks: &[Block<'_>]) -> Fact<Vec<String>> {
    let flags = blocks.iter().find_map(|block| value(block, "flags").or_else(|| value(block, "Features")));
    flags.map_or_else(
        || Fact::unknown(reason(listing, "/proc/cpuinfo has neither a flags nor a Features line")),
        |flags| {
            let present: BTreeSet<&str> = flags.split_whitespace().collect();
            Fact::Known(NOTABLE.iter().filter(|name| present.contains(**name)).map(|name| (*name).to_owned()).collect())
        },
    )
}

/// Allowed and online: the mask of a process may name processors that a machine could have but has not.
fn allowed(tree: Tree<'_>, online: &Fact<Vec<u32>>) -> Fact<u32> {
    let status = match tree.text("/proc/self/status") {
        Fact::Known(status) => status,
        Fact::Unknown { unknown } => return Fact::unknown(unknown),
    };
    let Some(list) = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")) else {
        return Fact::unknown("/proc/self/status has no Cpus_allowed_list line");
    };
    match number_list(list) {
        Ok(allowed) => {
            let online: Option<BTreeSet<u32>> = online.known().map(|list| list.iter().copied().collect());
            count(allowed.iter().filter(|cpu| online.as_ref().is_none_or(|online| online.contains(cpu))).count())
        }
        Err(why) => Fact::unknown(format!("Cpus_allowed_list of /proc/self/status: {why}")),
    }
}

/// Whether the processor says that it is a virtual one; x86 only.
pub(super) fn has_hypervisor_flag(tree: Tree<'_>) -> bool {
    tree.text("/proc/cpuinfo").known().is_some_and(|text| {
        text.lines().filter(|line| line.starts_with("flags")).any(|line| line.split_whitespace().any(|flag| flag == "hypervisor"))
    })
}
