//! Which processors this process may use, and what they share.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::units::Bytes;

/// A logical processor this process may run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Processor {
    /// The kernel's number for it.
    pub cpu: u32,
    /// Its NUMA node; 0 where the kernel names none.
    pub node: u32,
    /// Whether it is the first usable processor of its core: one such per core leaves out the second thread of each.
    pub first_of_core: bool,
}

/// The processors this process may use and the caches above them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// In ascending order of their number.
    pub processors: Vec<Processor>,
    /// Sum of the last-level caches that the processors use; `None` where the kernel tells no cache sizes.
    pub last_level_cache: Option<Bytes>,
}

impl Topology {
    /// Of this machine, for the processors this process is allowed.
    pub fn here() -> Self {
        Self::read(Path::new("/"), &allowed_processors())
    }

    /// From the `sys` folder under `root`, for the processors `allowed`. What cannot be read is left at its simplest: every processor a core
    /// of its own on node 0.
    pub fn read(root: &Path, allowed: &[u32]) -> Self {
        let cpus = root.join("sys/devices/system/cpu");
        let nodes = nodes(&root.join("sys/devices/system/node"));
        let mut caches = BTreeSet::new();
        let processors = allowed
            .iter()
            .map(|&cpu| {
                let folder = cpus.join(format!("cpu{cpu}"));
                let siblings = list(&folder.join("topology/thread_siblings_list")).unwrap_or_default();
                caches.extend(last_level_cache(&folder.join("cache")));
                Processor {
                    cpu,
                    node: nodes.iter().find(|(_, members)| members.contains(&cpu)).map_or(0, |(node, _)| *node),
                    first_of_core: !siblings.iter().any(|&sibling| sibling < cpu && allowed.contains(&sibling)),
                }
            })
            .collect();
        let total: Bytes = caches.iter().map(|(_, size)| *size).sum();
        Self { processors, last_level_cache: (total.0 > 0).then_some(total) }
    }

    /// One processor per core, on one node or on all, at most `most` of them.
    pub fn cores(&self, node: Option<u32>, most: usize) -> Vec<Processor> {
        let wanted = |processor: &&Processor| processor.first_of_core && node.is_none_or(|node| processor.node == node);
        self.processors.iter().filter(wanted).copied().take(most).collect()
    }

    /// The NUMA nodes that have usable processors, in ascending order.
    pub fn nodes(&self) -> Vec<u32> {
        self.processors.iter().map(|processor| processor.node).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// The processors the calling thread may run on; processor 0 alone if even that is not told.
pub fn allowed_processors() -> Vec<u32> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).filter_map(|cpu| u32::try_from(cpu).ok()).collect(),
        Err(_) => vec![0],
    }
}

/// Keep the calling thread on one processor from now on; `false` when the system refuses.
pub fn pin_this_thread(cpu: u32) -> bool {
    let cpu = cpu as usize;
    if cpu >= CpuSet::MAX_CPU {
        return false;
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).is_ok()
}

/// The nodes and their processors.
fn nodes(folder: &Path) -> Vec<(u32, Vec<u32>)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let node = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
            Some((node, list(&entry.path().join("cpulist"))?))
        })
        .collect()
}

/// The data cache of the highest level: whom it serves (its identity) and its size.
fn last_level_cache(folder: &Path) -> Option<(String, Bytes)> {
    let line = |path: &Path| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    fs::read_dir(folder)
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            if line(&path.join("type"))? == "Instruction" {
                return None;
            }
            let level: u32 = line(&path.join("level"))?.parse().ok()?;
            let size = line(&path.join("size"))?;
            let size: u64 = size.strip_suffix('K')?.parse().ok()?;
            Some((level, line(&path.join("shared_cpu_list"))?, Bytes::kib(size)))
        })
        .max_by_key(|(level, ..)| *level)
        .map(|(_, served, size)| (served, size))
}

/// A kernel list of numbers, such as `0-3,8,10-11`; `None` when it is not one. Bounded, so that a hostile file cannot fill the memory.
fn list(path: &Path) -> Option<Vec<u32>> {
    parse_list(fs::read_to_string(path).ok()?.trim())
}

fn parse_list(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last as usize >= CpuSet::MAX_CPU.max(8192) {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join("sys/devices/system").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Two nodes of two cores with two threads each: processors 0-3 are the first threads, 4-7 the second.
    fn two_nodes() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "node/node0/cpulist", "0-1,4-5\n");
        write(root.path(), "node/node1/cpulist", "2-3,6-7\n");
        for cpu in 0..8 {
            let core = cpu % 4;
            write(root.path(), &format!("cpu/cpu{cpu}/topology/thread_siblings_list"), &format!("{core},{}\n", core + 4));
            let shared = if core < 2 { "0-1,4-5" } else { "2-3,6-7" };
            for (index, level, kind, size, shared) in
                [(0, 1, "Data", "32K", "0"), (1, 1, "Instruction", "64K", "0"), (3, 3, "Unified", "16384K", shared)]
            {
                let cache = format!("cpu/cpu{cpu}/cache/index{index}");
                write(root.path(), &format!("{cache}/level"), &format!("{level}\n"));
                write(root.path(), &format!("{cache}/type"), kind);
                write(root.path(), &format!("{cache}/size"), size);
                write(root.path(), &format!("{cache}/shared_cpu_list"), shared);
            }
        }
        root
    }

    #[test]
    fn cores_nodes_and_caches_are_told_apart() {
        let root = two_nodes();
        let all = Topology::read(root.path(), &[0, 1, 2, 3, 4, 5, 6, 7]);
        let cpus = |cores: Vec<Processor>| cores.iter().map(|core| core.cpu).collect::<Vec<_>>();
        assert_eq!(cpus(all.cores(None, 99)), [0, 1, 2, 3]);
        assert_eq!(cpus(all.cores(Some(1), 99)), [2, 3]);
        assert_eq!(cpus(all.cores(None, 3)), [0, 1, 2]);
        assert_eq!(all.nodes(), [0, 1]);
        assert_eq!(all.last_level_cache, Some(Bytes::mib(32)), "one 16 MiB cache per node");
    }

    #[test]
    fn a_second_thread_stands_for_its_core_when_the_first_is_not_allowed() {
        let root = two_nodes();
        let some = Topology::read(root.path(), &[4, 5]);
        assert_eq!(some.cores(None, 99).len(), 2);
        assert_eq!(some.nodes(), [0]);
        assert_eq!(some.last_level_cache, Some(Bytes::mib(16)));
    }

    #[test]
    fn without_sysfs_every_processor_is_a_core() {
        let root = tempfile::tempdir().unwrap();
        let bare = Topology::read(root.path(), &[0, 3]);
        assert_eq!(bare.cores(None, 99).len(), 2);
        assert_eq!((bare.nodes(), bare.last_level_cache), (vec![0], None));
    }

    #[test]
    fn lists_of_numbers_are_the_kernels() {
        assert_eq!(parse_list("0-2,7"), Some(vec![0, 1, 2, 7]));
        assert_eq!(parse_list(""), Some(vec![]));
        assert_eq!(parse_list("0-4000000000"), None);
        assert_eq!(parse_list("x"), None);
    }

    #[test]
    fn a_pinned_thread_stays_where_it_was_put() {
        let cpu = *allowed_processors().last().unwrap();
        let seen = std::thread::spawn(move || (pin_this_thread(cpu), allowed_processors())).join().unwrap();
        assert_eq!(seen, (true, vec![cpu]));
        assert!(!pin_this_thread(u32::MAX));
    }

    proptest! {
        #[test]
        fn parsing_lists_never_panics(text in "[-0-9, x]{0,24}") {
            let _ = parse_list(&text);
        }
    }
}
