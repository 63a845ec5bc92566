//! What it costs to start work.
//!
//! | case | one step is |
//! |---|---|
//! | `kernel` | an empty kernel, launched from the host as fast as it can: what an eager framework pays at least for each operation |
//! | `graph` | an empty kernel as one of a graph's nodes, the graph launched behind a gate: what the device needs between two kernels |
//! | `event` | an empty kernel and recording an event: beyond `kernel`, what a mark between two operations costs |
//! | `sync` | an empty kernel and waiting for it: the round trip that reading a result back costs |
//!
//! Only in `graph` the host has no part; the others measure the host's and are timed without a gate.

use super::facts::{gpu_on, needs_gpu, unknown};
use super::rig::{Bench, EventClock, operation};
use super::{Effort, Lab, Probe};
use crate::error::Result;
use crate::gpu::{Empty, Event, Graph, Shape};
use crate::machine::Machine;
use crate::measure::{Case, Outcome, Trial, Waiver, Work};

/// Nodes of the graph.
const NODES: u32 = 64;

/// One warp: the smallest launch that is common.
const SHAPE: Shape = Shape::line(1, 32);

/// The `launch` probe.
pub(super) struct Launch;

impl Probe for Launch {
    fn name(&self) -> &'static str {
        "launch"
    }

    fn about(&self) -> &'static str {
        "cost of a kernel launch, of a graph's node, of an event, and of waiting for the device"
    }

    fn needs(&self, machine: &Machine) -> Result<(), Waiver> {
        needs_gpu(machine)
    }

    fn cases(&self, machine: &Machine, _: Effort) -> Vec<Case> {
        let cases = |index: u32| {
            ["kernel", "graph", "event", "sync"].map(|name| Case::new(&format!("launch.{name}")).count("gpu", u64::from(index)))
        };
        machine.gpus.iter().flat_map(|gpu| cases(gpu.index)).collect()
    }

    fn weight(&self, _: &Case) -> f64 {
        0.5
    }

    fn run(&self, case: &Case, lab: &mut Lab<'_>) -> Result<Outcome> {
        let gpu = gpu_on(lab.machine, case, "gpu")?;
        let bench = lab.bench(gpu.index)?;
        let plan = lab.plan(2.0);
        let conditions = |clock: &str| [("engine", "sm".to_owned()), ("kernel", "empty, one warp".to_owned()), ("clock", clock.to_owned())];
        match operation(case)? {
            name @ ("kernel" | "event") => {
                let event = (name == "event").then(|| bench.gpu.event()).transpose()?;
                let mut clock = EventClock::new(&bench.stream)?.with_lead();
                lab.time(case, gpu.index, &mut clock, &mut Launches { bench, event, wait: false }, &plan, conditions("events, no gate"))
            }
            "sync" => {
                let mut clock = EventClock::new(&bench.stream)?;
                let mut trial = Launches { bench, event: None, wait: true };
                lab.time(case, gpu.index, &mut clock, &mut trial, &plan, conditions("events, no gate"))
            }
            "graph" => {
                let mut trial = Nodes { graph: Graph::repeating(&bench.stream, &Empty {}, SHAPE, NODES)?, bench: bench.clone() };
                lab.time_gated(case, gpu.index, &bench, &mut trial, &plan, conditions("events behind a gate"))
            }
            _ => Err(unknown(case)),
        }
    }
}

/// Launches as they come, with an event after each or not, waiting after each or not.
struct Launches {
    bench: Bench,
    event: Option<Event>,
    wait: bool,
}

impl Trial for Launches {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        for _ in 0..iterations {
            self.bench.stream.launch(&Empty {}, SHAPE)?;
            if let Some(event) = &self.event {
                self.bench.stream.record(event)?;
            }
            if self.wait {
                self.bench.stream.synchronize()?;
            }
        }
        Ok(())
    }

    fn work(&self) -> Work {
        Work::stepping(1)
    }

    /// An empty kernel has no answer beyond having run, which the clock has waited for.
    fn check(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
}

/// A graph, again and again.
struct Nodes {
    graph: Graph,
    bench: Bench,
}

impl Trial for Nodes {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        (0..iterations).try_for_each(|_| self.graph.launch(&self.bench.stream))
    }

    fn work(&self) -> Work {
        Work::stepping(u64::from(NODES))
    }

    fn launches_per_iteration(&self) -> u64 {
        // How much of the queue a graph takes is the driver's secret; each of its nodes is the most it can be.
        u64::from(NODES)
    }

    fn check(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
}
