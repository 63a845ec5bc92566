//! Host memory: how much there is, how much of it this process may have, and on which NUMA node it lies.
//!
//! A **NUMA node** is a set of processors with the memory that is nearest to them. A **distance** is relative: 10 is local, 20 about twice
//! the latency (the firmware's SLIT table). A node may have memory and no processor: the HBM of a GPU on a coherent link shows up so.

use std::path::Path;

use crate::units::Bytes;

use super::tree::{Tree, and_then};
use super::{Fact, Memory, NumaNode, SpaceReader, cgroup};

/// Reads sizes and limits; `space` answers for `/dev/shm`.
pub(super) fn read(tree: Tree<'_>, space: SpaceReader<'_>) -> Memory {
    Memory {
        total: field(tree, "/proc/meminfo", "MemTotal:"),
        available: field(tree, "/proc/meminfo", "MemAvailable:"),
        cgroup_limit: cgroup::memory(tree),
        shm: Fact::from_result(space(Path::new("/dev/shm")).map(|space| space.size).map_err(|why| format!("/dev/shm: {why}"))),
        memlock: memlock(tree),
    }
}

/// Reads the nodes, in the order of their numbers.
pub(super) fn nodes(tree: Tree<'_>) -> Fact<Vec<NumaNode>> {
    const BASE: &str = "/sys/devices/system/node";
    tree.list(format!("{BASE}/online")).map(|numbers| {
        numbers
            .into_iter()
            .map(|node| NumaNode {
                node,
                cpus: tree.list(format!("{BASE}/node{node}/cpulist")).known().cloned().unwrap_or_default(),
                memory: field(tree, &format!("{BASE}/node{node}/meminfo"), "MemTotal:"),
                distances: tree
                    .text(format!("{BASE}/node{node}/distance"))
                    .known()
                    .map(|text| text.split_whitespace().map_while(|word| word.parse().ok()).collect())
                    .unwrap_or_default(),
            })
            .collect()
    })
}

/// A line such as `MemTotal:  24668128 kB`, or `Node 0 MemTotal:  7432404 kB`.
fn field(tree: Tree<'_>, path: &str, name: &str) -> Fact<Bytes> {
    and_then(tree.text(path), |text| {
        let mut found = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace().skip_while(|word| *word != name).skip(1);
            Some((words.next()?, words.next()?))
        });
        let (number, unit) = found.next().ok_or_else(|| format!("{path} has no {name} line"))?;
        let kibibytes = number.parse::<u64>().ok().filter(|_| unit == "kB");
        let bytes = kibibytes.and_then(|number| number.checked_mul(1024));
        bytes.map(Bytes).ok_or_else(|| format!("{path}: expected {name} in kB but found '{number} {unit}'"))
    })
}

/// The soft limit that holds for this process, from the table the kernel keeps of all its limits.
fn memlock(tree: Tree<'_>) -> Fact<Option<Bytes>> {
    const PATH: &str = "/proc/self/limits";
    and_then(tree.text(PATH), |text| {
        let line = text.lines().find_map(|line| line.strip_prefix("Max locked memory"));
        let soft = line.and_then(|line| line.split_whitespace().next()).ok_or_else(|| format!("{PATH} has no 'Max locked memory' line"))?;
        if soft == "unlimited" {
            return Ok(None);
        }
        let bytes = soft.parse().map_err(|_| format!("{PATH}: expected 'unlimited' or a number of bytes but found '{soft}'"))?;
        Ok(Some(Bytes(bytes)))
    })
}
