//! Copies between GPUs, every ordered pair.
//!
//! GPU `from` is the one that acts, GPU `to` the one whose memory it reaches:
//!
//! | case | data moves | by |
//! |---|---|---|
//! | `write` | from `from` to `to` | `from` |
//! | `read` | from `to` to `from` | `from` |
//! | `both` | both ways at once, the bytes of both count | each GPU writes into the other |
//! | `latency` | one index at a time, each load waiting for the one before | a kernel on `from`, reading the memory of `to` |
//!
//! Copies between more than two at once are told of in [`several`].
//!
//! `engine=ce` is the copy engine, `engine=sm` a kernel that reads one memory and writes the other. They differ, and in both directions, and a
//! fabric that is slower one way than the other is a finding. Where the driver denies peer access, a kernel cannot reach the other memory
//! and its cases are waived; the copy engine goes through the host, and the case says so; it is timed without a gate. Without an NVSwitch
//! a GPU has eight peers at most, so access that earlier pairs had is ended when there are too many; where that does not help because
//! other programs hold them, the pair is waived.
//!
//! The data is an address-dependent pattern, and every word of what arrived is compared: links have been seen that are fast and wrong. An
//! error that came and went, under later copies into the same place, is not seen.

mod several;

use super::facts::{gpu_on, l2, needs_gpus, power_of_two_below, size, unknown, usable};
use super::rig::{Bench, EventClock, VECTOR, operation, too_large, waived};
use super::ring::Ring;
use super::walk::{Path, Walk};
use super::{Effort, Lab, Probe};
use crate::error::{Error, Result};
use crate::gpu::{DeviceBuffer, Event, StreamCopy};
use crate::machine::{Gpu, Machine};
use crate::measure::{Case, Outcome, Trial, Waiver, Work};
use crate::units::Bytes;

/// Ring of the latency case: larger than a first-level cache, and far within a second level.
const RING: Bytes = Bytes::mib(2);

/// Steps of one launch on the ring: some 2 to 6 ms, so that 56 pairs of 8 GPUs do not take seconds each.
const STEPS: u64 = 1 << 11;

/// The `peer` probe.
pub(super) struct Peer;

/// Who moves the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    /// A copy engine: `ce`.
    Copy,
    /// The multiprocessors: `sm`.
    Kernel,
}

impl Engine {
    /// Its name in case ids.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Copy => "ce",
            Self::Kernel => "sm",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Write,
    Read,
    Both,
}

/// Sizes of a copy; between GPUs of unequal memory the smaller one decides.
fn sizes(from: &Gpu, to: &Gpu, effort: Effort) -> Vec<Bytes> {
    let room = power_of_two_below(usable(from).min(usable(to)) / 4);
    let wanted: &[Bytes] = match effort {
        Effort::Quick => &[Bytes::mib(64)],
        Effort::Standard => &[Bytes::mib(1), Bytes::mib(256)],
        Effort::Thorough => &[Bytes::kib(64), Bytes::mib(1), Bytes::mib(16), Bytes::mib(256), Bytes::gib(1)],
    };
    let mut sizes: Vec<Bytes> = wanted.iter().map(|bytes| (*bytes).min(room).max(Bytes::kib(4))).collect();
    sizes.dedup();
    sizes
}

/// Whether kernels of `from` may access the memory of `to`; no where the driver does not say.
///
/// # Errors
/// The waiver with what it says.
fn access(machine: &Machine, from: &Gpu, to: &Gpu) -> Result<(), Waiver> {
    let pair = machine.pairs.iter().find(|pair| pair.from == from.index && pair.to == to.index);
    let reason = match pair.map(|pair| &pair.peer_access) {
        Some(fact) => match (fact.known(), fact.why()) {
            (Some(true), _) => return Ok(()),
            (_, Some(why)) => why.to_owned(),
            _ => format!("the driver denies it from GPU {} to GPU {}", from.index, to.index),
        },
        None => "the driver does not list the pair".to_owned(),
    };
    Err(Waiver::NoPeerAccess { reason })
}

/// Let `from` access the memory of `to`, and the other way round where it goes `both` ways, or say that there are too many peers.
fn connect(lab: &mut Lab<'_>, from: &Gpu, to: &Gpu, both: bool) -> Result<std::result::Result<(), Waiver>> {
    let pairs = [Some((from.index, to.index)), both.then_some((to.index, from.index))];
    for (accessing, accessed) in pairs.into_iter().flatten() {
        match lab.rig.connect(lab.machine, accessing, accessed) {
            Ok(()) => {}
            Err(error @ Error::Unavailable { .. }) => return Ok(Err(Waiver::NoPeerAccess { reason: error.to_string() })),
            Err(error) => return Err(error),
        }
    }
    Ok(Ok(()))
}

impl Probe for Peer {
    fn name(&self) -> &'static str {
        "peer"
    }

    fn about(&self) -> &'static str {
        "copies between every ordered pair of GPUs, by copy engine and by kernel, one way and both ways; latency; all to one, one to all, all pairs"
    }

    fn needs(&self, machine: &Machine) -> Result<(), Waiver> {
        needs_gpus(machine)
    }

    fn cases(&self, machine: &Machine, effort: Effort) -> Vec<Case> {
        let mut cases = Vec::new();
        for from in &machine.gpus {
            for to in machine.gpus.iter().filter(|to| to.index != from.index) {
                let case = |name: &str, engine, bytes| {
                    let case = Case::new(&format!("peer.{name}")).word("engine", engine).bytes("bytes", bytes);
                    case.count("from", u64::from(from.index)).count("to", u64::from(to.index))
                };
                for bytes in sizes(from, to, effort) {
                    for engine in ["ce", "sm"] {
                        cases.extend(["write", "read"].map(|name| case(name, engine, bytes)));
                        // Both ways is the same work for both orders of a pair.
                        if from.index < to.index {
                            cases.push(case("both", engine, bytes));
                        }
                    }
                }
                cases.push(case("latency", "sm", RING));
            }
        }
        cases.extend(several::cases(machine, effort));
        cases
    }

    fn weight(&self, _: &Case) -> f64 {
        0.25
    }

    fn run(&self, case: &Case, lab: &mut Lab<'_>) -> Result<Outcome> {
        let name = operation(case)?;
        let engine = match case.get_word("engine") {
            Some("ce") => Engine::Copy,
            Some("sm") => Engine::Kernel,
            _ => return Err(unknown(case)),
        };
        if matches!(name, "gather" | "scatter" | "all") {
            return several::run(case, engine, lab);
        }
        let (from, to) = (gpu_on(lab.machine, case, "from")?, gpu_on(lab.machine, case, "to")?);
        let bytes = size(case, "bytes")?;
        let room = usable(from).min(usable(to)) / 2;
        if bytes > room {
            return Ok(too_large(case, bytes, room));
        }
        let direct = access(lab.machine, from, to).and_then(|()| if name == "both" { access(lab.machine, to, from) } else { Ok(()) });
        if engine == Engine::Kernel
            && let Err(waiver) = direct
        {
            return Ok(waived(case, waiver));
        }
        if direct.is_ok()
            && let Err(waiver) = connect(lab, from, to, name == "both")?
        {
            return Ok(waived(case, waiver));
        }
        let benches = [lab.bench(from.index)?, lab.bench(to.index)?];
        let conditions = |data: &str| {
            [
                ("engine", engine.name().to_owned()),
                ("route", if direct.is_ok() { "peer" } else { "host" }.to_owned()),
                ("data", data.to_owned()),
                ("seed", lab.seed.to_string()),
            ]
        };
        let [acting, _] = &benches;
        let direction = match name {
            "write" => Direction::Write,
            "read" => Direction::Read,
            "both" => Direction::Both,
            "latency" if engine == Engine::Kernel => {
                let [walking, holding] = &benches;
                let ring = Ring::new(bytes, lab.seed);
                let memory = holding.gpu.allocate_elements::<u32>(ring.next().len() as u64)?;
                memory.write(&holding.stream, ring.next())?;
                let mut trial = Walk::new(walking, ring, memory, Path::PastFirstLevel, STEPS)?;
                return lab.time_gated(
                    case,
                    from.index,
                    acting,
                    &mut trial,
                    &lab.plan(2.0),
                    conditions("random ring, one index per 128 bytes"),
                );
            }
            _ => return Err(unknown(case)),
        };
        // What a copy leaves in the caches of either side must not serve the next one.
        let slots = ((l2(from).max(l2(to)) * 2).0 / bytes.0.max(1)).clamp(1, (room.0 / bytes.0.max(1)).max(1)).min(64);
        let mut trial = Exchange::new(&benches, engine, direction, bytes, slots, lab.seed)?;
        if direct.is_ok() {
            return lab.time_gated(case, from.index, acting, &mut trial, &lab.plan(1.0), conditions("random bits"));
        }
        // The driver cuts a copy through the host into pieces, by its own rules, and waits for room when they are too many for the queue:
        // behind a shut gate it would wait for ever.
        let mut clock = EventClock::new(&acting.stream)?;
        lab.time(case, from.index, &mut clock, &mut trial, &lab.plan(1.0), conditions("random bits"))
    }
}

/// Data that moves one way: from one GPU's memory into another's, by the engines of one of them.
struct Flow {
    /// Whose stream and engines do it.
    actor: Bench,
    /// Who has the target: that side checks it.
    receiver: Bench,
    source: DeviceBuffer,
    target: DeviceBuffer,
}

impl Flow {
    fn new(actor: &Bench, sender: &Bench, receiver: &Bench, bytes: Bytes, seed: u64) -> Result<Self> {
        let (source, target) = (sender.gpu.allocate(bytes)?, receiver.gpu.allocate(bytes)?);
        sender.fill(source.view(), seed)?;
        receiver.stream.set(target.view::<u8>(), 0)?;
        sender.stream.synchronize()?;
        receiver.stream.synchronize()?;
        Ok(Self { actor: actor.clone(), receiver: receiver.clone(), source, target })
    }

    fn once(&self, engine: Engine, offset: u64, length: u64) -> Result<()> {
        let (source, target) = (self.source.view::<u8>().slice(offset, length)?, self.target.view::<u8>().slice(offset, length)?);
        match engine {
            Engine::Copy => self.actor.stream.copy(target, source),
            Engine::Kernel => {
                let vectors = length / VECTOR.0;
                self.actor.launch(&StreamCopy { a: source.cast()?.into(), c: target.cast()?.into(), vectors })
            }
        }
    }
}

/// Copies between two GPUs.
struct Exchange {
    engine: Engine,
    /// On the stream that is timed.
    flow: Flow,
    /// The other way at the same time, and the marks that hold the two together.
    back: Option<(Flow, Event, Event)>,
    bytes: Bytes,
    slots: u64,
    seed: u64,
    iterations: u64,
}

impl Exchange {
    fn new([from, to]: &[Bench; 2], engine: Engine, direction: Direction, bytes: Bytes, slots: u64, seed: u64) -> Result<Self> {
        let total = bytes * slots;
        let flow = match direction {
            Direction::Write | Direction::Both => Flow::new(from, from, to, total, seed)?,
            Direction::Read => Flow::new(from, to, from, total, seed)?,
        };
        let back = match direction {
            Direction::Both => Some((Flow::new(to, to, from, total, seed.wrapping_add(1))?, from.gpu.event()?, to.gpu.event()?)),
            _ => None,
        };
        Ok(Self { engine, flow, back, bytes, slots, seed, iterations: 0 })
    }
}

impl Trial for Exchange {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        let timed = &self.flow.actor.stream;
        if let Some((back, forked, _)) = &self.back {
            timed.record(forked)?;
            back.actor.stream.wait_for(forked)?;
        }
        for iteration in self.iterations..self.iterations + iterations {
            let offset = iteration % self.slots * self.bytes.0;
            self.flow.once(self.engine, offset, self.bytes.0)?;
            if let Some((back, ..)) = &self.back {
                back.once(self.engine, offset, self.bytes.0)?;
            }
        }
        if let Some((back, _, joined)) = &self.back {
            back.actor.stream.record(joined)?;
            timed.wait_for(joined)?;
        }
        self.iterations += iterations;
        Ok(())
    }

    fn work(&self) -> Work {
        Work::moving(self.bytes * if self.back.is_some() { 2 } else { 1 })
    }

    fn launches_per_iteration(&self) -> u64 {
        // Both directions, and room for the marks of fork and join.
        4
    }

    fn check(&mut self) -> Result<Option<String>> {
        let touched = self.bytes.0 * self.iterations.min(self.slots);
        let flows = [Some((&self.flow, self.seed)), self.back.as_ref().map(|(back, ..)| (back, self.seed.wrapping_add(1)))];
        for (flow, seed) in flows.into_iter().flatten() {
            if let Some(wrong) = flow.receiver.verify(flow.target.view().slice(0, touched)?, seed)? {
                return Ok(Some(format!("on GPU {}: {wrong}", flow.receiver.gpu.ordinal())));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::gpu;
    use super::*;

    #[test]
    fn copies_fit_the_smaller_of_two_gpus() {
        let (large, small) = (gpu(0, Bytes::gib(80), Bytes::mib(50)), gpu(1, Bytes::mib(100), Bytes::mib(1)));
        assert_eq!(sizes(&large, &large, Effort::Standard), [Bytes::mib(1), Bytes::mib(256)]);
        assert_eq!(sizes(&large, &small, Effort::Quick), [Bytes::mib(8)], "60 % of 100 MiB, a quarter of that, a power of two");
    }
}
