//! What GPUs do together: sums, gathers and exchanges by NCCL, by size and number of GPUs.
//!
//! | case | `bytes` is | each GPU sends |
//! |---|---|---|
//! | `all_reduce` | the buffer of each GPU | 2(n − 1)/n of it |
//! | `all_gather` | the gathered result | (n − 1)/n of it |
//! | `reduce_scatter` | the buffer of each GPU before | (n − 1)/n of it |
//! | `all_to_all` | the buffer of each GPU, its own part included | (n − 1)/n of it |
//! | `broadcast` | the buffer | all of it |
//! | `send_receive` | what each GPU sends to the next one | all of it |
//!
//! That is how nccl-tests counts (NVIDIA/nccl-tests, `doc/PERFORMANCE.md`): **algorithm bandwidth** is `bytes` over time, **bus bandwidth** is what
//! each GPU sends over time, and comparable with the rate of its link. A case's bandwidth here is the bus bandwidth; the other one stands in
//! its conditions.
//!
//! One process with one thread enqueues for all GPUs. The first GPU's stream is timed; the others wait for its first mark and it for their
//! last, so every GPU's work lies between the marks. It is held behind a gate while everything is enqueued, so that small messages are
//! timed at the device's pace and not at that of one thread that serves all GPUs, where nccl-tests in one process has the latter. A library
//! that waits for the device while it is held is found out before, and timed as it comes; the record says which. What is timed for the
//! first time is waited for with a limit, since collectives hang where direct access between GPUs is broken.
//!
//! Sums are of whole numbers in FP32, few enough bits for any order of adding to be exact, so every element of every GPU's result is compared
//! bit by bit, like what was only moved.

use super::facts::{count, needs_gpus, power_of_two_below, size, unknown, usable};
use super::nccl::{self, Connected};
use super::rig::{Bench, EventClock, operation, too_large, waived};
use super::{Effort, Lab, Probe};
use crate::error::{Error, Result};
use crate::gpu::{
    DeviceBuffer, Event, FillUniformF32, Gate, NcclKind, NcclOperation, RankMemory, StreamAdd, StreamTriad, StreamWrite, View,
};
use crate::machine::Machine;
use crate::measure::{Case, MESSAGES, Outcome, Trial, Waiver, Work};
use crate::units::{Bytes, Seconds};

/// The operations, by the name of their case.
const OPERATIONS: [(&str, NcclOperation); 6] = [
    ("all_reduce", NcclOperation::AllReduce),
    ("all_gather", NcclOperation::AllGather),
    ("reduce_scatter", NcclOperation::ReduceScatter),
    ("all_to_all", NcclOperation::AllToAll),
    ("broadcast", NcclOperation::Broadcast),
    ("send_receive", NcclOperation::SendReceive),
];

/// Parts of a GPU's usable memory that one message may take: there are buffers to send and to receive, and the library has its own.
const SHARES: u64 = 16;

/// Pieces of work that an operation is counted as where queues are concerned: the library adds marks and waits of its own.
const PIECES: u64 = 16;

/// Operations that are tried behind a gate before they are timed behind one.
const HELD: u64 = 16;

/// How long a gate is shut at most in that trial.
const PATIENCE: Seconds = Seconds(2.0);

/// Largest messages that are tried so often.
const QUICK: Bytes = Bytes::mib(16);

/// Bytes that sums are checked in at a time.
const CHUNK: u64 = 64 << 20;

/// Whole numbers to add up lie between plus and minus this: 64 of them still fit FP32's 24 bits.
const LARGEST: f32 = (1u32 << 18) as f32;

/// Adding and taking away this number rounds smaller ones to whole numbers.
const ROUNDS: f32 = 1.5 * (1u32 << 23) as f32;

/// The `collective` probe.
pub(super) struct Collective;

/// Messages that fit the smallest of these GPUs.
fn sizes(machine: &Machine, effort: Effort) -> Vec<Bytes> {
    let room = power_of_two_below(machine.gpus.iter().map(usable).min().unwrap_or_default() / SHARES);
    let [first, .., last] = MESSAGES;
    let wanted: &[Bytes] = if effort == Effort::Quick { &[first, MESSAGES[4], last] } else { &MESSAGES };
    let mut sizes: Vec<Bytes> = wanted.iter().map(|bytes| (*bytes).min(room)).filter(|bytes| bytes.0 > 0).collect();
    sizes.dedup();
    sizes
}

/// Numbers of GPUs: all of them, and powers of two below where there is time.
fn counts(gpus: usize, effort: Effort) -> Vec<u64> {
    let all = gpus as u64;
    let powers = (1..).map(|power| 1 << power).take_while(|count| *count < all);
    let mut counts: Vec<u64> = if effort == Effort::Quick { Vec::new() } else { powers.collect() };
    counts.push(all);
    counts
}

impl Probe for Collective {
    fn name(&self) -> &'static str {
        "collective"
    }

    fn about(&self) -> &'static str {
        "all-reduce, all-gather, reduce-scatter, all-to-all, broadcast and send-receive through NCCL, by size and GPU count (busbw)"
    }

    fn needs(&self, machine: &Machine) -> Result<(), Waiver> {
        needs_gpus(machine)
    }

    fn cases(&self, machine: &Machine, effort: Effort) -> Vec<Case> {
        if machine.gpus.len() < 2 {
            return Vec::new();
        }
        let sizes = sizes(machine, effort);
        // Those who only send to a neighbour say little that copies between two GPUs do not say.
        let operations = if effort == Effort::Quick { &OPERATIONS[..5] } else { &OPERATIONS };
        let mut cases = Vec::new();
        for gpus in counts(machine.gpus.len(), effort) {
            for (name, _) in operations {
                let case = |bytes: &Bytes| Case::new(&format!("collective.{name}")).count("gpus", gpus).bytes("bytes", *bytes);
                cases.extend(sizes.iter().map(case));
            }
        }
        cases
    }

    fn weight(&self, _: &Case) -> f64 {
        0.25
    }

    fn run(&self, case: &Case, lab: &mut Lab<'_>) -> Result<Outcome> {
        let name = operation(case)?;
        let Some((_, what)) = OPERATIONS.iter().find(|(known, _)| *known == name) else { return Err(unknown(case)) };
        let (gpus, bytes) = (count(case, "gpus")?, size(case, "bytes")?);
        let connected = match nccl::connected(lab, usize::try_from(gpus).unwrap_or(usize::MAX))? {
            Ok(connected) => connected,
            Err(waiver) => return Ok(waived(case, waiver)),
        };
        let members = lab.machine.gpus.iter().filter(|gpu| connected.gpus.contains(&gpu.index));
        let room = members.map(usable).min().unwrap_or_default() / SHARES;
        if bytes > room {
            return Ok(too_large(case, bytes, room));
        }
        let outcome = measure(case, *what, bytes, &connected, lab);
        outcome.inspect_err(|error| lab.rig.collectives.note(error, connected.clique.is_aborted()))
    }
}

fn measure(case: &Case, what: NcclOperation, bytes: Bytes, connected: &Connected, lab: &mut Lab<'_>) -> Result<Outcome> {
    let benches = connected.gpus.iter().map(|index| lab.bench(*index)).collect::<Result<Vec<Bench>>>()?;
    let mut trial = Together::new(connected, benches, what, bytes, lab.seed)?;
    let (lead, first) = (trial.benches[0].clone(), connected.gpus[0]);
    let held = trial.bears_a_gate()?;
    let indices: Vec<String> = connected.gpus.iter().map(u32::to_string).collect();
    let conditions = [
        ("engine", "nccl".to_owned()),
        ("library", format!("NCCL {}", connected.version)),
        ("ranks", indices.join(" ")),
        ("message", trial.message.to_string()),
        ("counted", "bytes that each GPU sends: bus bandwidth, as nccl-tests has it".to_owned()),
        ("data", if trial.adds() { "random whole numbers in fp32" } else { "random bits" }.to_owned()),
        ("seed", lab.seed.to_string()),
        ("gate", if held { "held while enqueued" } else { "none: the library waits for the device" }.to_owned()),
        ("communicator", connected.memory.to_string()),
    ];
    let plan = lab.plan(2.0);
    let mut outcome = if held {
        lab.time_gated(case, first, &lead, &mut trial, &plan, conditions)?
    } else {
        let mut clock = EventClock::new(&lead.stream)?;
        lab.time(case, first, &mut clock, &mut trial, &plan, conditions)?
    };
    if let Outcome::Measured(measurement) = &mut outcome
        && let Some(time) = measurement.time()
    {
        measurement.conditions.insert("algbw".to_owned(), (trial.message / Seconds(time.point)).to_string());
    }
    Ok(outcome)
}

/// One rank's memory.
struct Buffers {
    send: DeviceBuffer,
    receive: DeviceBuffer,
}

/// An operation of all ranks.
struct Together {
    connected: Connected,
    benches: Vec<Bench>,
    buffers: Vec<Buffers>,
    what: NcclOperation,
    /// As nccl-tests counts it.
    message: Bytes,
    seed: u64,
    /// On the stream that is timed: the others begin here.
    forked: Event,
    /// On the others: where they end.
    joined: Vec<Event>,
}

impl Together {
    /// Memory for messages of about `bytes`, filled, and the operation done once.
    fn new(connected: &Connected, benches: Vec<Bench>, what: NcclOperation, bytes: Bytes, seed: u64) -> Result<Self> {
        let ranks = benches.len() as u64;
        // Every GPU's part is whole vectors.
        let unit = ranks * 16;
        let part = (bytes.0 / unit).max(1) * 16;
        let message = Bytes(part * ranks);
        let (given, received) = match what {
            NcclOperation::AllGather => (part, message.0),
            NcclOperation::ReduceScatter => (message.0, part),
            _ => (message.0, message.0),
        };
        let buffers = benches.iter().map(|bench| {
            let (send, receive) = (bench.gpu.allocate(Bytes(given))?, bench.gpu.allocate(Bytes(received))?);
            bench.stream.set(receive.view::<u8>(), 0xff)?;
            Ok(Buffers { send, receive })
        });
        let buffers = buffers.collect::<Result<Vec<_>>>()?;
        let forked = benches[0].gpu.event()?;
        let joined = benches[1..].iter().map(|bench| bench.gpu.event()).collect::<Result<Vec<_>>>()?;
        let mut trial = Self { connected: connected.clone(), benches, buffers, what, message, seed, forked, joined };
        trial.fill()?;
        trial.enqueue(1)?;
        trial.connected.clique.settle(&nccl::streams(&trial.benches), nccl::FIRST_TIME)?;
        Ok(trial)
    }

    const fn adds(&self) -> bool {
        matches!(self.what, NcclOperation::AllReduce | NcclOperation::ReduceScatter)
    }

    fn ranks(&self) -> u64 {
        self.benches.len() as u64
    }

    /// One GPU's part of the message.
    fn part(&self) -> u64 {
        self.message.0 / self.ranks()
    }

    /// Seed of what rank `from` gives in its part `part`; the same for all parts where they go together.
    fn seed_of(&self, from: u64, part: u64) -> u64 {
        let parts = if self.what == NcclOperation::AllToAll { self.ranks() } else { 1 };
        self.seed.wrapping_add(from * parts + part % parts)
    }

    /// Fills what every rank gives.
    fn fill(&self) -> Result<()> {
        for (rank, (bench, own)) in (0..).zip(self.benches.iter().zip(&self.buffers)) {
            if self.adds() {
                let numbers = Numbers::new(bench, self.chunk())?;
                for (chunk, offset, length) in self.chunks() {
                    let target = own.send.view::<u8>().slice(offset, length)?;
                    numbers.write(bench, target, self.seed_of_chunk(rank, chunk))?;
                }
                bench.stream.synchronize()?;
            } else if self.what == NcclOperation::AllToAll {
                for to in 0..self.ranks() {
                    bench.fill(own.send.view().slice(to * self.part(), self.part())?, self.seed_of(rank, to))?;
                }
            } else {
                bench.fill(own.send.view(), self.seed_of(rank, 0))?;
            }
        }
        self.benches.iter().try_for_each(|bench| bench.stream.synchronize())
    }

    /// Whether operations can be enqueued while the device is held: a library without room in its queues would wait, until the gate gives up.
    fn bears_a_gate(&mut self) -> Result<bool> {
        let stream = self.benches[0].stream.clone();
        let mut gate = Gate::new(stream.gpu(), PATIENCE)?;
        let hold = gate.hold(&stream)?;
        self.enqueue(if self.message <= QUICK { HELD } else { 2 })?;
        let opened = hold.open();
        self.connected.clique.settle(&nccl::streams(&self.benches), nccl::FIRST_TIME)?;
        match opened {
            Ok(()) => Ok(true),
            Err(Error::Measurement { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Bytes that sums are handled in at a time: they never cross a part.
    fn chunk(&self) -> u64 {
        self.part().min(CHUNK)
    }

    /// Chunks of the whole message: number, offset and length.
    fn chunks(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        let (part, chunk) = (self.part(), self.chunk());
        let each = part.div_ceil(chunk);
        (0..self.ranks() * each).map(move |number| {
            let (of, within) = (number / each, number % each * chunk);
            (number, of * part + within, chunk.min(part - within))
        })
    }

    /// Seed of a rank's numbers in a chunk.
    fn seed_of_chunk(&self, rank: u64, chunk: u64) -> u64 {
        self.seed.wrapping_add(chunk * self.ranks() + rank)
    }

    /// Compares the sums that one rank got.
    fn check_sums(&self, rank: u64, bench: &Bench, received: &DeviceBuffer) -> Result<Option<String>> {
        let numbers = Numbers::new(bench, self.chunk())?;
        let (first, last) = match self.what {
            NcclOperation::ReduceScatter => (rank * self.part(), (rank + 1) * self.part()),
            _ => (0, self.message.0),
        };
        for (chunk, offset, length) in self.chunks().filter(|(_, offset, _)| (first..last).contains(offset)) {
            let seeds = (0..self.ranks()).map(|rank| self.seed_of_chunk(rank, chunk));
            let expected = numbers.sum(bench, length, seeds)?;
            let found = received.view::<u8>().slice(offset - first, length)?;
            if let Some(wrong) = bench.verify_same(found, expected)? {
                return Ok(Some(format!("in the sums from byte {}: {wrong}", offset - first)));
            }
        }
        Ok(None)
    }

    /// Compares what was moved to one rank.
    fn check_moved(&self, rank: u64, bench: &Bench, received: &DeviceBuffer) -> Result<Option<String>> {
        let (ranks, part) = (self.ranks(), self.part());
        let parts: Vec<(u64, u64, u64, u64)> = match self.what {
            NcclOperation::AllGather => (0..ranks).map(|from| (from, from * part, part, self.seed_of(from, 0))).collect(),
            NcclOperation::AllToAll => (0..ranks).map(|from| (from, from * part, part, self.seed_of(from, rank))).collect(),
            NcclOperation::SendReceive => {
                let from = (rank + ranks - 1) % ranks;
                vec![(from, 0, self.message.0, self.seed_of(from, 0))]
            }
            _ => vec![(0, 0, self.message.0, self.seed_of(0, 0))],
        };
        for (from, offset, length, seed) in parts {
            if let Some(wrong) = bench.verify(received.view::<u8>().slice(offset, length)?, seed)? {
                return Ok(Some(format!("in what rank {from} gave: {wrong}")));
            }
        }
        Ok(None)
    }
}

impl Trial for Together {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        let lead = &self.benches[0].stream;
        lead.record(&self.forked)?;
        for bench in &self.benches[1..] {
            bench.stream.wait_for(&self.forked)?;
        }
        let kind = if self.adds() { NcclKind::Float } else { NcclKind::Bytes };
        let ranks: Vec<RankMemory<'_>> = self
            .benches
            .iter()
            .zip(&self.buffers)
            .map(|(bench, own)| RankMemory { stream: &bench.stream, send: own.send.view(), receive: own.receive.view() })
            .collect();
        for _ in 0..iterations {
            self.connected.clique.enqueue(self.what, kind, &ranks)?;
        }
        for (bench, joined) in self.benches[1..].iter().zip(&self.joined) {
            bench.stream.record(joined)?;
            lead.wait_for(joined)?;
        }
        Ok(())
    }

    fn work(&self) -> Work {
        let others = self.ranks() - 1;
        Work::moving(match self.what {
            NcclOperation::AllReduce => Bytes(2 * others * self.part()),
            NcclOperation::AllGather | NcclOperation::ReduceScatter | NcclOperation::AllToAll => Bytes(others * self.part()),
            NcclOperation::Broadcast | NcclOperation::SendReceive => self.message,
        })
    }

    fn launches_per_iteration(&self) -> u64 {
        PIECES
    }

    fn check(&mut self) -> Result<Option<String>> {
        for (rank, (bench, own)) in (0..).zip(self.benches.iter().zip(&self.buffers)) {
            let wrong = if self.adds() { self.check_sums(rank, bench, &own.receive) } else { self.check_moved(rank, bench, &own.receive) };
            if let Some(wrong) = wrong? {
                return Ok(Some(format!("on GPU {}, {wrong}", bench.gpu.ordinal())));
            }
        }
        Ok(None)
    }
}

/// Random whole numbers in FP32, and sums of them, on one GPU.
///
/// They are made of random fractions: FP32 has no room behind the point next to 1.5 · 2²³, so adding it rounds to a whole number, and taking
/// it away again is exact.
struct Numbers {
    ones: DeviceBuffer,
    raw: DeviceBuffer,
    rounded: DeviceBuffer,
    /// What was summed up so far, and the next sum.
    sums: [DeviceBuffer; 2],
    next: DeviceBuffer,
}

impl Numbers {
    /// For so many bytes at a time.
    fn new(bench: &Bench, bytes: u64) -> Result<Self> {
        let buffer = || bench.gpu.allocate(Bytes(bytes));
        let numbers = Self { ones: buffer()?, raw: buffer()?, rounded: buffer()?, sums: [buffer()?, buffer()?], next: buffer()? };
        let ones = numbers.ones.view();
        bench.launch(&StreamWrite { vectors: ones.len(), a: ones.into(), value: 1.0 })?;
        Ok(numbers)
    }

    /// Writes the numbers of a seed.
    fn write(&self, bench: &Bench, target: View<'_, u8>, seed: u64) -> Result<()> {
        let bytes = target.bytes().0;
        let raw = self.raw.view::<u8>().slice(0, bytes)?;
        let floats = raw.cast::<f32>()?;
        bench.launch(&FillUniformF32 { out: floats.into(), n: floats.len(), seed, scale: LARGEST })?;
        let [ones, raw, rounded] = [&self.ones, &self.raw, &self.rounded].map(|buffer| buffer.view::<u8>().slice(0, bytes)?.cast());
        let (ones, raw, rounded) = (ones?, raw?, rounded?);
        let vectors = ones.len();
        bench.launch(&StreamTriad { b: raw.into(), c: ones.into(), a: rounded.into(), vectors, s: ROUNDS })?;
        bench.launch(&StreamTriad { b: rounded.into(), c: ones.into(), a: target.cast()?.into(), vectors, s: -ROUNDS })
    }

    /// The sum of the numbers of several seeds.
    fn sum(&self, bench: &Bench, bytes: u64, seeds: impl Iterator<Item = u64>) -> Result<View<'_, u8>> {
        let view = |buffer| DeviceBuffer::view::<u8>(buffer).slice(0, bytes);
        let [mut sum, mut other] = [view(&self.sums[0])?, view(&self.sums[1])?];
        for (index, seed) in seeds.enumerate() {
            if index == 0 {
                self.write(bench, sum, seed)?;
                continue;
            }
            let next = view(&self.next)?;
            self.write(bench, next, seed)?;
            let (a, b, c) = (sum.cast()?, next.cast()?, other.cast()?);
            bench.launch(&StreamAdd { vectors: c.len(), a: a.into(), b: b.into(), c: c.into() })?;
            (sum, other) = (other, sum);
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_gpus_are_powers_of_two_and_all() {
        assert_eq!(counts(8, Effort::Standard), [2, 4, 8]);
        assert_eq!(counts(6, Effort::Thorough), [2, 4, 6]);
        assert_eq!(counts(2, Effort::Standard), [2]);
        assert_eq!(counts(8, Effort::Quick), [8]);
    }

    #[test]
    fn sums_of_sixty_four_numbers_are_exact_in_any_order() {
        // The arithmetic of the kernels, on the host.
        let rounded = |x: f32| (x + ROUNDS) - ROUNDS;
        for x in [0.0, 0.4, -0.4, 0.5, 1.5, -2.6, 1234.56, LARGEST - 0.01, -LARGEST] {
            let whole = rounded(x);
            assert!(whole.fract() == 0.0 && (whole - x).abs() <= 0.5 && whole.to_bits() != (-0.0f32).to_bits(), "{x} {whole}");
        }
        let terms: Vec<f32> = (0..64).map(|index| rounded(LARGEST - (index * index) as f32 / 7.0)).collect();
        let forward: f32 = terms.iter().sum();
        let backward: f32 = terms.iter().rev().sum();
        let truth: f64 = terms.iter().map(|term| f64::from(*term)).sum();
        assert_eq!((f64::from(forward), f64::from(backward)), (truth, truth));
    }
}
