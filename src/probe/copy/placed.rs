//! Copies with host memory that lies where it was asked to.
//!
//! `copy.node`: on each NUMA node that has processors, the GPU's own among them. What another node's memory yields less is the link between
//! the processors; where the GPU's own is the slower one, the firmware names the wrong node. `copy.pages`: on the GPU's node, on the
//! kernel's smallest pages and on huge ones. Where each access of the device is translated by an IOMMU, small pages may cost rate.
//!
//! Both pin memory of the program's own, since nobody tells where the driver's lies. The kernel gives what it has; what that was is read back,
//! and a case whose memory came to lie elsewhere is waived, because its number would carry the wrong name.

use super::transfer::{Transfer, Window};
use super::{conditions, direction, host_room};
use crate::error::Result;
use crate::host::{Pages, Placement, pages};
use crate::machine::{Gpu, Machine};
use crate::measure::{Case, Outcome, Waiver};
use crate::probe::facts::{count, power_of_two_below, size, unknown, usable};
use crate::probe::peer::Engine;
use crate::probe::pinned::Buffer;
use crate::probe::rig::{operation, too_large, waived};
use crate::probe::{Effort, Lab};
use crate::units::Bytes;

/// Share of the memory that must lie where it was asked to.
const MOST_OF_IT: f64 = 0.9;

/// The cases of one GPU: none in a quick run, which has no time to pin so much memory.
pub(super) fn cases(gpu: &Gpu, machine: &Machine, effort: Effort) -> Vec<Case> {
    let wanted = match effort {
        Effort::Quick => return Vec::new(),
        // Long enough to run at the link's rate.
        Effort::Standard => Bytes::mib(64),
        Effort::Thorough => Bytes::mib(256),
    };
    let bytes = power_of_two_below((usable(gpu) / 2).min(host_room(machine))).min(wanted);
    if bytes < Bytes::kib(4) {
        return Vec::new();
    }
    let case = |name: &str, direction: &str| Case::new(&format!("copy.{name}")).word("dir", direction).bytes("bytes", bytes);
    let of_gpu = |case: Case| case.count("gpu", u64::from(gpu.index));
    let mut cases = Vec::new();
    let nodes = nodes(machine);
    for node in if nodes.len() > 1 { &nodes[..] } else { &[] } {
        cases.extend(["h2d", "d2h"].map(|direction| of_gpu(case("node", direction).count("node", u64::from(*node)))));
    }
    for pages in [Pages::Base, Pages::Huge] {
        cases.extend(["h2d", "d2h"].map(|direction| of_gpu(case("pages", direction).word("pages", pages.name()))));
    }
    cases
}

/// NUMA nodes with processors. Others are memory that is slow by design, or a GPU's own.
fn nodes(machine: &Machine) -> Vec<u32> {
    machine.host.numa.known().into_iter().flatten().filter(|node| !node.cpus.is_empty()).map(|node| node.node).collect()
}

/// Do one of [`cases`].
///
/// # Errors
/// As [`Lab::sample`].
pub(super) fn run(case: &Case, gpu: &Gpu, lab: &mut Lab<'_>) -> Result<Outcome> {
    let (up, bytes) = (direction(case)?, size(case, "bytes")?);
    let (node, kind) = match (operation(case)?, case.get_word("pages")) {
        ("node", None) => (u32::try_from(count(case, "node")?).ok(), Pages::Base),
        ("pages", Some("base")) => (gpu.numa_node.known().copied(), Pages::Base),
        ("pages", Some("huge")) => (gpu.numa_node.known().copied(), Pages::Huge),
        _ => return Err(unknown(case)),
    };
    let room = (usable(gpu) / 2).min(host_room(lab.machine));
    if bytes > room {
        return Ok(too_large(case, bytes, room));
    }
    let not_had = |what: String| Ok(waived(case, Waiver::Unsupported { what }));
    match kind.size() {
        None => return not_had(format!("{} pages: this kernel has none", kind.name())),
        Some(page) if page > bytes => return not_had(format!("{} pages: one is {page}, larger than the copy", kind.name())),
        Some(_) => {}
    }
    let host = lab.take_registered(gpu.index, node, kind, bytes)?;
    let Buffer::Registered { placement, bound, .. } = &host.buffer else { return Err(unknown(case)) };
    let asked = Asked { bytes, kind, node: if case.get("node").is_some() { node } else { None } };
    if let Some(what) = asked.is_not_had(placement, *bound) {
        lab.keep_pinned(host);
        return not_had(what);
    }
    let placed = asked.told(placement, node);
    let window = Window { bytes, slots: 1 };
    let conditions = conditions(Engine::Copy, "pinned, registered", gpu, window, lab.seed);
    let distance = node.and_then(|node| distance(lab.machine, gpu, node)).map(|distance| ("distance", distance.to_string()));
    let bench = lab.bench(gpu.index)?;
    let (up, down) = if up { (Some(host), None) } else { (None, Some(host)) };
    let mut trial = Transfer::new(&bench, window, up, down, lab.seed)?;
    let conditions = conditions.into_iter().chain(placed).chain(distance);
    let outcome = lab.time_gated(case, gpu.index, &bench, &mut trial, &lab.plan(1.0), conditions)?;
    trial.keep(lab);
    Ok(outcome)
}

/// How far the firmware says `node` is from the GPU's own node; 10 is no way at all.
fn distance(machine: &Machine, gpu: &Gpu, node: u32) -> Option<u32> {
    let nodes = machine.host.numa.known()?;
    let own = nodes.iter().find(|known| Some(&known.node) == gpu.numa_node.known())?;
    own.distances.get(nodes.iter().position(|known| known.node == node)?).copied()
}

/// How memory was wanted.
struct Asked {
    bytes: Bytes,
    kind: Pages,
    /// Of importance only where the node is what is measured.
    node: Option<u32>,
}

impl Asked {
    /// What was not to be had, and what there was instead.
    fn is_not_had(&self, placement: &Placement, bound: bool) -> Option<String> {
        if let Some(node) = self.node {
            match placement.share_on(node) {
                Some(share) if share < MOST_OF_IT => {
                    return Some(format!("memory on NUMA node {node}: the system put {:.0} % of it there", share * 100.0));
                }
                None if !bound => {
                    return Some(format!(
                        "memory on NUMA node {node}: the system neither lets this program choose nor tells what it chose"
                    ));
                }
                _ => {}
            }
        }
        let huge = placement.huge.map(|huge| huge.as_f64() / self.bytes.as_f64());
        match (self.kind, huge) {
            (Pages::Huge, None) => Some("huge pages: the kernel does not tell whether it gave any".to_owned()),
            (Pages::Huge, Some(share)) if share < MOST_OF_IT => {
                let policy = pages::policy().map_or_else(String::new, |policy| format!("; its policy is {policy}"));
                Some(format!("huge pages: the kernel put {:.0} % of the memory on them{policy}", share * 100.0))
            }
            (Pages::Base, Some(share)) if share > 1.0 - MOST_OF_IT => {
                Some(format!("base pages: the kernel put {:.0} % of the memory on huge ones", share * 100.0))
            }
            _ => None,
        }
    }

    /// Where it lies, for the record.
    fn told(&self, placement: &Placement, node: Option<u32>) -> [(&'static str, String); 2] {
        let size = self.kind.size().map_or_else(|| "unknown".to_owned(), |size| size.to_string());
        let share = placement.huge.map_or_else(|| "not told".to_owned(), |huge| format!("{huge} of {} on huge ones", self.bytes));
        let lies = match (node, node.and_then(|node| placement.share_on(node))) {
            (Some(node), Some(share)) => format!("{node}, {:.0} % of it", share * 100.0),
            (Some(node), None) => format!("{node}, asked for"),
            (None, _) => "unknown".to_owned(),
        };
        [("pages", format!("{} of {size}, {share}", self.kind.name())), ("memory_node", lies)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn on(nodes: &[(u32, u64)], huge: Option<Bytes>) -> Placement {
        Placement { huge, nodes: Some(nodes.iter().copied().collect::<BTreeMap<_, _>>()) }
    }

    #[test]
    fn memory_on_another_node_is_not_what_was_asked_for() {
        let asked = Asked { bytes: Bytes::mib(64), kind: Pages::Base, node: Some(1) };
        let none = Some(Bytes(0));
        assert_eq!(asked.is_not_had(&on(&[(1, 16384)], none), false), None);
        assert_eq!(asked.is_not_had(&on(&[(0, 1000), (1, 15384)], none), true), None, "some pages may lie elsewhere");
        let elsewhere = asked.is_not_had(&on(&[(0, 16384)], none), true).unwrap();
        assert_eq!(elsewhere, "memory on NUMA node 1: the system put 0 % of it there", "however willing it was when it was asked");
        let untold = Placement { huge: none, nodes: None };
        assert_eq!(asked.is_not_had(&untold, true), None);
        assert!(asked.is_not_had(&untold, false).unwrap().ends_with("neither lets this program choose nor tells what it chose"));
    }

    #[test]
    fn small_pages_are_not_huge_ones_nor_the_other_way_round() {
        let huge = Asked { bytes: Bytes::mib(64), kind: Pages::Huge, node: None };
        assert_eq!(huge.is_not_had(&on(&[], Some(Bytes::mib(64))), false), None);
        assert_eq!(huge.is_not_had(&on(&[], Some(Bytes::mib(62))), false), None);
        let few = huge.is_not_had(&on(&[], Some(Bytes::mib(16))), false).unwrap();
        assert!(few.starts_with("huge pages: the kernel put 25 % of the memory on them"), "{few}");
        assert!(huge.is_not_had(&on(&[], None), false).unwrap().contains("does not tell"));
        let base = Asked { kind: Pages::Base, ..huge };
        assert_eq!(base.is_not_had(&on(&[], Some(Bytes(0))), false), None);
        assert_eq!(base.is_not_had(&on(&[], None), false), None, "a kernel that tells nothing of huge pages has none");
        assert!(base.is_not_had(&on(&[], Some(Bytes::mib(64))), false).unwrap().contains("100 % of the memory on huge ones"));
    }

    #[test]
    fn the_record_says_where_memory_lies() {
        let asked = Asked { bytes: Bytes::mib(64), kind: Pages::Base, node: Some(1) };
        let told = asked.told(&on(&[(1, 16384)], Some(Bytes(0))), Some(1));
        assert!(told[0].1.starts_with("base of ") && told[0].1.ends_with(" of 64MiB on huge ones"), "{told:?}");
        assert_eq!(told[1], ("memory_node", "1, 100 % of it".to_owned()));
        assert_eq!(asked.told(&Placement::default(), Some(1))[1].1, "1, asked for");
        assert_eq!(asked.told(&Placement::default(), None)[1].1, "unknown");
    }
}
