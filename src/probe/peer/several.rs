//! Copies between more than two GPUs at once.
//!
//! | case | data move |
//! |---|---|
//! | `gather` | from all other GPUs to one: written by them, or read by it |
//! | `scatter` | from one GPU to all others: written by it, or read by them |
//! | `all` | between the two of each pair, both ways, all pairs at once: GPU i and GPU i + n/2 |
//!
//! nvbandwidth calls them all-to-one, one-to-all and, where pairs lie across a machine, bisection. Each GPU's own link bounds the first two, so
//! through a switch they come to the rate of one pair; over wires of their own they come to the sum of all. What all pairs reach together is
//! less than the sum of each pair alone where they share a wire or a switch. Every copy has a stream of its own; the time is that from the
//! first one's beginning to the last one's end.

use super::{Engine, Flow, access, connect};
use crate::error::Result;
use crate::gpu::Event;
use crate::machine::{Gpu, Machine};
use crate::measure::{Case, Outcome, Trial, Waiver, Work};
use crate::probe::facts::{gpu_on, l2, power_of_two_below, size, unknown, usable};
use crate::probe::rig::{operation, too_large, waived};
use crate::probe::{Effort, Lab};
use crate::units::Bytes;

/// Size of each copy.
const LARGEST: Bytes = Bytes::mib(64);

/// Parts of a GPU's usable memory that one copy's buffer may take for each GPU of the machine: one has the buffers of all.
const SHARES: u64 = 4;

/// The cases on a machine of which all GPUs are measured; two have no more than each other.
pub(super) fn cases(machine: &Machine, effort: Effort) -> Vec<Case> {
    let count = machine.gpus.len() as u64;
    let bytes = power_of_two_below(room(machine.gpus.iter(), count)).min(LARGEST);
    if count < 3 || bytes < Bytes::kib(4) {
        return Vec::new();
    }
    let quick = effort == Effort::Quick;
    let (engines, ways): (&[&str], &[&str]) = if quick { (&["ce"], &["write"]) } else { (&["ce", "sm"], &["write", "read"]) };
    let mut cases = Vec::new();
    for gpu in &machine.gpus {
        for name in ["gather", "scatter"] {
            for (engine, way) in engines.iter().flat_map(|engine| ways.iter().map(move |way| (engine, way))) {
                let case = Case::new(&format!("peer.{name}")).word("op", way).word("engine", engine).bytes("bytes", bytes);
                cases.push(case.count("gpu", u64::from(gpu.index)));
            }
        }
    }
    cases.extend(["ce", "sm"].map(|engine| Case::new("peer.all").word("engine", engine).bytes("bytes", bytes).count("gpus", count)));
    cases
}

/// The largest buffer of which the GPU with the least room holds one for every GPU.
fn room<'a>(gpus: impl Iterator<Item = &'a Gpu>, count: u64) -> Bytes {
    gpus.map(usable).min().unwrap_or_default() / (SHARES * count.max(1))
}

/// One copy: who acts, from where, to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    acts: u32,
    from: u32,
    to: u32,
}

/// The copies of a case among these GPUs.
fn ways(case: &Case, one: Option<u32>, all: &[u32]) -> Result<Vec<Way>> {
    let others = || all.iter().copied().filter(|other| Some(*other) != one);
    let written = match case.get_word("op") {
        Some("write") | None => true,
        Some("read") => false,
        Some(_) => return Err(unknown(case)),
    };
    let way = |from, to| Way { acts: if written { from } else { to }, from, to };
    Ok(match (operation(case)?, one) {
        ("gather", Some(one)) => others().map(|other| way(other, one)).collect(),
        ("scatter", Some(one)) => others().map(|other| way(one, other)).collect(),
        ("all", None) => {
            let half = all.len() / 2;
            let pairs = all.iter().zip(all.get(half..).unwrap_or_default()).take(half);
            pairs.flat_map(|(a, b)| [way(*a, *b), way(*b, *a)]).collect()
        }
        _ => return Err(unknown(case)),
    })
}

/// Do one of [`cases`].
///
/// # Errors
/// As [`Lab::sample`].
pub(super) fn run(case: &Case, engine: Engine, lab: &mut Lab<'_>) -> Result<Outcome> {
    let (machine, asked) = (lab.machine, lab.gpus);
    let all: Vec<&Gpu> = machine.gpus.iter().filter(|gpu| asked.contains(&gpu.index)).collect();
    let indices: Vec<u32> = all.iter().map(|gpu| gpu.index).collect();
    if all.len() < 3 {
        return Ok(waived(case, Waiver::TooFewDevices { needed: 3, found: all.len() as u32 }));
    }
    let one = if case.get("gpu").is_some() { Some(gpu_on(machine, case, "gpu")?.index) } else { None };
    let (bytes, room) = (size(case, "bytes")?, room(all.iter().copied(), all.len() as u64));
    if bytes > room {
        return Ok(too_large(case, bytes, room));
    }
    let ways = ways(case, one, &indices)?;
    let gpu = |index: u32| all.iter().copied().find(|gpu| gpu.index == index);
    let reached = |way: &Way| if way.acts == way.from { way.to } else { way.from };
    let pairs: Vec<(u32, u32)> = ways.iter().map(|way| (way.acts, reached(way))).collect();
    lab.rig.disconnect_others(&pairs);
    for way in &ways {
        let (Some(acting), Some(other)) = (gpu(way.acts), gpu(reached(way))) else { return Err(unknown(case)) };
        if let Err(waiver) = access(machine, acting, other) {
            return Ok(waived(case, waiver));
        }
        if let Err(waiver) = connect(lab, acting, other, false)? {
            return Ok(waived(case, waiver));
        }
    }
    // Connecting one may have taken another's place, where a GPU has few peers at a time.
    if !ways.iter().all(|way| lab.rig.is_connected(way.acts, reached(way))) {
        let reason = "a GPU of this machine cannot reach so many others at a time".to_owned();
        return Ok(waived(case, Waiver::NoPeerAccess { reason }));
    }
    let cache = all.iter().map(|gpu| l2(gpu)).max().unwrap_or_default();
    let slots = (cache * 2 / bytes.0.max(1)).0.clamp(1, (room.0 / bytes.0.max(1)).max(1));
    let mut flows = Vec::new();
    for (seed, way) in (lab.seed..).zip(&ways) {
        let [acts, from, to] = [lab.bench(way.acts)?, lab.bench(way.from)?, lab.bench(way.to)?];
        flows.push((Flow::new(&acts.beside()?, &from, &to, bytes * slots, seed)?, seed));
    }
    let shown: Vec<String> = ways.iter().map(|way| format!("{}→{}", way.from, way.to)).collect();
    let conditions = [
        ("engine", if engine == Engine::Copy { "ce" } else { "sm" }.to_owned()),
        ("route", "peer".to_owned()),
        ("pairs", shown.join(" ")),
        ("data", "random bits".to_owned()),
        ("seed", lab.seed.to_string()),
    ];
    let mut trial = Several::new(engine, flows, bytes, slots)?;
    let lead = trial.flows[0].0.actor.clone();
    lab.time_gated(case, ways[0].acts, &lead, &mut trial, &lab.plan(1.0), conditions)
}

/// Copies at the same time, each with the seed of its data.
struct Several {
    engine: Engine,
    flows: Vec<(Flow, u64)>,
    bytes: Bytes,
    slots: u64,
    iterations: u64,
    /// On the first copy's stream, which is timed: the others begin here.
    forked: Event,
    /// On the others' streams: where they end.
    joined: Vec<Event>,
}

impl Several {
    fn new(engine: Engine, flows: Vec<(Flow, u64)>, bytes: Bytes, slots: u64) -> Result<Self> {
        let forked = flows[0].0.actor.gpu.event()?;
        let joined = flows[1..].iter().map(|(flow, _)| flow.actor.gpu.event()).collect::<Result<_>>()?;
        Ok(Self { engine, flows, bytes, slots, iterations: 0, forked, joined })
    }

    fn copy(&self, flow: &Flow, iterations: u64) -> Result<()> {
        (self.iterations..self.iterations + iterations)
            .try_for_each(|iteration| flow.once(self.engine, iteration % self.slots * self.bytes.0, self.bytes.0))
    }
}

impl Trial for Several {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        let (first, _) = &self.flows[0];
        let lead = &first.actor.stream;
        lead.record(&self.forked)?;
        for ((flow, _), joined) in self.flows[1..].iter().zip(&self.joined) {
            let own = &flow.actor.stream;
            own.wait_for(&self.forked)?;
            self.copy(flow, iterations)?;
            own.record(joined)?;
        }
        self.copy(first, iterations)?;
        self.joined.iter().try_for_each(|joined| lead.wait_for(joined))?;
        self.iterations += iterations;
        Ok(())
    }

    fn work(&self) -> Work {
        Work::moving(self.bytes * self.flows.len() as u64)
    }

    fn launches_per_iteration(&self) -> u64 {
        // One on each stream, and room for the marks of fork and join.
        4
    }

    fn check(&mut self) -> Result<Option<String>> {
        let touched = self.bytes.0 * self.iterations.min(self.slots);
        for (flow, seed) in &self.flows {
            if let Some(wrong) = flow.receiver.verify(flow.target.view().slice(0, touched)?, *seed)? {
                return Ok(Some(format!("on GPU {}: {wrong}", flow.receiver.gpu.ordinal())));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_lie_across_the_machine() {
        let of = |case: &str, one, all: &[u32]| {
            let ways = ways(&case.parse().unwrap(), one, all).unwrap();
            ways.into_iter().map(|way| (way.acts, way.from, way.to)).collect::<Vec<_>>()
        };
        assert_eq!(of("peer.all/engine=ce", None, &[0, 1, 2, 3]), [(0, 0, 2), (2, 2, 0), (1, 1, 3), (3, 3, 1)]);
        assert_eq!(of("peer.all/engine=ce", None, &[0, 4, 5]), [(0, 0, 4), (4, 4, 0)]);
        assert_eq!(of("peer.gather/op=write", Some(1), &[0, 1, 2]), [(0, 0, 1), (2, 2, 1)]);
        assert_eq!(of("peer.gather/op=read", Some(1), &[0, 1, 2]), [(1, 0, 1), (1, 2, 1)]);
        assert_eq!(of("peer.scatter/op=read", Some(1), &[0, 1, 2]), [(0, 1, 0), (2, 1, 2)]);
    }
}
