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
