//! What the host itself can do: memory bandwidth by STREAM's rules, and FP32 matrix products.
//!
//! **STREAM's rules** (McCalpin, *Memory Bandwidth and Machine Balance*, 1995): copy, scale, add and triad over `f64` arrays, each array at
//! least four times the last-level caches, bytes counted as the kernel names them. Every physical core that this process may use runs one
//! pinned thread on data that it touched first, so the data lies on its own NUMA node; the second hardware thread of a core adds no
//! bandwidth and stays idle. Stores are non-temporal ([`crate::host::stream`]), so nothing moves that is not counted. The reported
//! number is the median of the samples with its interval, not the best of them.
//!
//! With several NUMA nodes, triad runs on each node alone as well, on that node's cores and memory.
//!
//! **Matrix products** are cut into one block per core in a grid that is as square as the number of cores allows; every thread owns copies of
//! the rows and columns it needs, so the number is the cores', not that of the links between sockets.
//!
//! What runs in less than the whole machine is said in the conditions: a control group's CPU quota limits the threads, and its memory limit,
//! half of the free memory and 2 GiB limit the arrays.

mod gemm;
mod stream;

use super::{Effort, Lab, Probe};
use crate::error::{Error, Result};
use crate::host::stream::Kernel;
use crate::host::{Processor, Topology};
use crate::machine::Machine;
use crate::measure::{Case, Outcome, Waiver};
use crate::units::Bytes;

/// The `host` probe: cases `host.{copy,scale,add,triad}/cores=…[,node=…]` and `host.gemm/dtype=…,n=…`.
#[derive(Debug, Clone, Copy)]
pub struct Host;

impl Probe for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn about(&self) -> &'static str {
        "host memory bandwidth by STREAM's rules, all cores and per NUMA node, and FP32 matrix products on the CPU"
    }

    fn needs(&self, _machine: &Machine) -> Result<(), Waiver> {
        Ok(())
    }

    fn cases(&self, machine: &Machine, effort: Effort) -> Vec<Case> {
        cases(machine, effort, &Topology::here())
    }

    fn run(&self, case: &Case, lab: &mut Lab<'_>) -> Result<Outcome> {
        let topology = Topology::here();
        let node = case.get_count("node").and_then(|node| u32::try_from(node).ok());
        let cores = usable_cores(lab.machine, &topology, node);
        match case.mechanism().strip_prefix("host.").unwrap_or_default() {
            "gemm" => gemm::run(case, lab, &cores),
            name => match Kernel::ALL.into_iter().find(|kernel| kernel.name() == name) {
                Some(kernel) => stream::run(case, kernel, lab, &topology, &cores, node),
                None => Err(Error::usage(format!("no case {case}; `gpu-assay measure --list` shows those there are"))),
            },
        }
    }
}

fn cases(machine: &Machine, effort: Effort, topology: &Topology) -> Vec<Case> {
    let count = |node| usable_cores(machine, topology, node).len() as u64;
    let mechanism = |kernel: Kernel| Case::new(&format!("host.{}", kernel.name()));
    let mut cases: Vec<Case> = Kernel::ALL.into_iter().map(|kernel| mechanism(kernel).count("cores", count(None))).collect();
    let nodes = topology.nodes();
    if nodes.len() > 1 {
        let kernels: &[Kernel] = if effort == Effort::Quick { &[Kernel::Triad] } else { &Kernel::ALL };
        for node in nodes {
            cases.extend(kernels.iter().map(|&kernel| mechanism(kernel).count("cores", count(Some(node))).count("node", u64::from(node))));
        }
    }
    let n = gemm::edge(usable_cores(machine, topology, None).len(), memory_budget(machine));
    cases.extend(["f32", "bf16"].map(|dtype| Case::new("host.gemm").word("dtype", dtype).count("n", n)));
    cases
}

/// One processor per physical core, no more than the control group pays for (rounded up).
fn usable_cores(machine: &Machine, topology: &Topology, node: Option<u32>) -> Vec<Processor> {
    let quota = machine.host.cpu.cgroup_cpus.known().copied().flatten();
    // A quota is finite and small; the cast saturates on anything absurd.
    let most = quota.map_or(usize::MAX, |cpus| (cpus.ceil() as usize).max(1));
    topology.cores(node, most)
}

/// Memory that all arrays of a case may take together.
fn memory_budget(machine: &Machine) -> Bytes {
    let memory = &machine.host.memory;
    let limits = [
        Some(Bytes::mib(1920)),
        // Half, because others on the machine go on allocating, and the limit counts what the group already uses.
        Some(memory.available.known().map_or(Bytes::mib(768), |available| *available / 2)),
        memory.cgroup_limit.known().copied().flatten().map(|limit| limit / 2),
    ];
    limits.into_iter().flatten().min().unwrap_or(Bytes(0))
}

/// A number for each index, the same in every run from `seed`: what data are filled with and checked against.
fn scramble(seed: u64, index: u64) -> u64 {
    crate::stats::SplitMix64(seed.wrapping_add(index.wrapping_mul(0xD134_2543_DE82_EF95))).next_u64()
}

/// A complaint of a crew's hand, as an error of `case`.
fn failed(case: &Case, what: String) -> Error {
    Error::measurement(case.to_string(), what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{self, Driver, Fact};

    fn machine(cgroup_cpus: Option<f64>, cgroup_memory: Option<Bytes>) -> Machine {
        let unknown = || Fact::unknown("not asked");
        let driver = Driver { version: unknown(), cuda_version: unknown(), nvml_version: unknown(), simulated: false };
        let mut host = machine::host::read_live();
        host.cpu.cgroup_cpus = Fact::Known(cgroup_cpus);
        host.memory.available = Fact::Known(Bytes::gib(64));
        host.memory.cgroup_limit = Fact::Known(cgroup_memory);
        Machine { gpus: Vec::new(), pairs: Vec::new(), driver, libraries: Vec::new(), host }
    }

    /// Nodes of four cores with two hardware threads each.
    fn topology(nodes: u32) -> Topology {
        let processor = |cpu| Processor { cpu, node: cpu / 8, first_of_core: cpu % 2 == 0 };
        Topology { processors: (0..8 * nodes).map(processor).collect(), last_level_cache: Some(Bytes::mib(32)) }
    }

    fn ids(machine: &Machine, effort: Effort, nodes: u32) -> Vec<String> {
        cases(machine, effort, &topology(nodes)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn one_node_has_no_cases_of_its_own() {
        let expected = ["copy/cores=4", "scale/cores=4", "add/cores=4", "triad/cores=4", "gemm/dtype=f32,n=1024", "gemm/dtype=bf16,n=1024"];
        assert_eq!(ids(&machine(None, None), Effort::Thorough, 1), expected.map(|id| format!("host.{id}")));
    }

    #[test]
    fn several_nodes_are_measured_together_and_alone() {
        let quick = ids(&machine(None, None), Effort::Quick, 2);
        assert_eq!(quick[3..6], ["host.triad/cores=8", "host.triad/cores=4,node=0", "host.triad/cores=4,node=1"]);
        assert_eq!(ids(&machine(None, None), Effort::Standard, 2).len(), 4 + 8 + 2);
    }

    #[test]
    fn a_control_groups_quota_and_limit_are_kept_to() {
        let limited = machine(Some(2.5), Some(Bytes::gib(1)));
        assert_eq!(usable_cores(&limited, &topology(2), None).len(), 3);
        assert_eq!(usable_cores(&machine(Some(0.1), None), &topology(1), None).len(), 1);
        assert_eq!(memory_budget(&limited), Bytes::mib(512));
        assert!(memory_budget(&machine(None, None)) < Bytes::gib(2));
    }
}
