//! Copies between host and device by the copy engines.
//!
//! | case | direction |
//! |---|---|
//! | `h2d` | host to device |
//! | `d2h` | device to host |
//! | `both` | both at once, each on a stream of its own; the bytes of both count |
//! | `together` | `dir=h2d` or `dir=d2h` of one GPU, while all other GPUs do the same |
//!
//! `memory=pinned` is host memory that the device reaches by itself, on the GPU's own NUMA node: the link's rate. `memory=pageable` is
//! ordinary memory, which the driver moves through a pinned buffer of its own with the processor's help: what a program gets that does not
//! pin. Pageable copies occupy the calling thread until they are done, so there is no `both` for them, and they are timed without a gate.
//!
//! Small copies rotate over slots, so that the same line is not copied again at once. All data is an address-dependent pattern. What arrived on
//! the device is compared by a kernel, what arrived on the host by the host, word by word; the targets were cleared before. What is compared is
//! the last copy into each slot: an error that came and went, under later copies into the same slot, is not seen. (Comparing every copy on the
//! host would take longer than the copies.)

mod together;

use super::facts::{gpu_on, l2, needs_gpu, power_of_two_below, size, unknown, usable};
use super::pinned::Pinned;
use super::rig::{Bench, EventClock, operation, too_large};
use super::{Effort, Lab, Probe};
use crate::error::{Error, Result};
use crate::gpu::reference::pattern_word;
use crate::gpu::{DeviceBuffer, Event, Stream};
use crate::machine::{Gpu, Machine};
use crate::measure::{Case, Outcome, Trial, Waiver, Work};
use crate::units::Bytes;

/// Host memory that a copy and its rotation may take in each direction, by what is free.
const HOST_SHARE: u64 = 8;

/// Small copies rotate over at most this much.
const MOST_ROTATION: Bytes = Bytes::mib(64);

/// Largest copy in both directions at once, and of pageable memory.
const LARGEST_OF_TWO: Bytes = Bytes::mib(256);

/// The `copy` probe.
pub(super) struct Copy;

fn sizes(gpu: &Gpu, machine: &Machine, effort: Effort) -> Vec<Bytes> {
    let wanted: &[Bytes] = match effort {
        Effort::Quick => &[Bytes::kib(4), Bytes::mib(1), Bytes::mib(256)],
        _ => &[Bytes::kib(4), Bytes::kib(64), Bytes::mib(1), Bytes::mib(16), Bytes::mib(64), Bytes::mib(256), Bytes::gib(1)],
    };
    let room = power_of_two_below((usable(gpu) / 2).min(host_room(machine)));
    let mut sizes: Vec<Bytes> = wanted.iter().map(|bytes| (*bytes).min(room)).filter(|bytes| *bytes >= Bytes::kib(4)).collect();
    sizes.dedup();
    sizes
}

/// Host memory that a copy may take in each direction.
fn host_room(machine: &Machine) -> Bytes {
    let memory = &machine.host.memory;
    let limits = [memory.available.known().copied(), memory.cgroup_limit.known().copied().flatten()];
    limits.into_iter().flatten().min().unwrap_or(Bytes::gib(8)) / HOST_SHARE
}

impl Probe for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn about(&self) -> &'static str {
        "copies between host and device: each direction and both at once, pinned and pageable, by size; all GPUs together"
    }

    fn needs(&self, machine: &Machine) -> Result<(), Waiver> {
        needs_gpu(machine)
    }

    fn cases(&self, machine: &Machine, effort: Effort) -> Vec<Case> {
        let mut cases = Vec::new();
        for gpu in &machine.gpus {
            let case = |direction: &str, bytes, memory| {
                Case::new(&format!("copy.{direction}")).bytes("bytes", bytes).word("memory", memory).count("gpu", u64::from(gpu.index))
            };
            let sizes = sizes(gpu, machine, effort);
            for direction in ["h2d", "d2h"] {
                cases.extend(sizes.iter().map(|bytes| case(direction, *bytes, "pinned")));
            }
            let both: Vec<Bytes> = sizes.iter().copied().filter(|bytes| *bytes <= LARGEST_OF_TWO).collect();
            cases.extend(both.iter().map(|bytes| case("both", *bytes, "pinned")));
            let pageable = if effort == Effort::Quick { both.iter().rev().take(1).copied().collect() } else { both };
            for direction in ["h2d", "d2h"] {
                cases.extend(pageable.iter().map(|bytes| case(direction, *bytes, "pageable")));
            }
        }
        cases.extend(together::cases(machine));
        cases
    }

    fn weight(&self, case: &Case) -> f64 {
        // There is one for each GPU and direction, and each keeps all GPUs busy.
        if case.mechanism() == "copy.together" { 0.35 } else { 0.7 }
    }

    fn run(&self, case: &Case, lab: &mut Lab<'_>) -> Result<Outcome> {
        let gpu = gpu_on(lab.machine, case, "gpu")?;
        let bytes = size(case, "bytes")?;
        let (up, down) = match operation(case)? {
            "together" => return together::run(case, gpu, lab),
            "h2d" => (true, false),
            "d2h" => (false, true),
            "both" => (true, true),
            _ => return Err(unknown(case)),
        };
        let room = (usable(gpu) / 2).min(host_room(lab.machine));
        if bytes > room {
            return Ok(too_large(case, bytes, room));
        }
        let slots = ((l2(gpu) * 2).min(MOST_ROTATION).min(room).0 / bytes.0.max(1)).max(1);
        let bench = lab.bench(gpu.index)?;
        let window = Window { bytes, slots };
        let conditions = |memory: &str| {
            [
                ("engine", "ce".to_owned()),
                ("memory", memory.to_owned()),
                ("data", "random bits".into()),
                ("seed", lab.seed.to_string()),
                ("rotation", window.total().to_string()),
                ("numa_node", gpu.numa_node.known().map_or_else(|| "unknown".into(), u32::to_string)),
            ]
        };
        match case.get_word("memory") {
            Some("pinned") => {
                let conditions = conditions("pinned");
                let up = up.then(|| lab.take_pinned(gpu.index, window.total())).transpose()?;
                let down = down.then(|| lab.take_pinned(gpu.index, window.total())).transpose()?;
                let mut trial = Transfer::new(&bench, window, up, down, lab.seed)?;
                let outcome = lab.time_gated(case, gpu.index, &bench, &mut trial, &lab.plan(1.0), conditions)?;
                trial.keep(lab);
                Ok(outcome)
            }
            Some("pageable") if up != down => {
                let mut trial = Pageable::new(&bench, window, up, lab.seed)?;
                let mut clock = EventClock::new(&bench.stream)?;
                lab.time(case, gpu.index, &mut clock, &mut trial, &lab.plan(2.0), conditions("pageable"))
            }
            _ => Err(unknown(case)),
        }
    }
}

/// A copy's size, and how many different places it rotates over.
#[derive(Debug, Clone, Copy)]
struct Window {
    bytes: Bytes,
    slots: u64,
}

impl Window {
    fn total(self) -> Bytes {
        self.bytes * self.slots
    }

    /// First byte of the slot of iteration `iteration`.
    const fn offset(self, iteration: u64) -> u64 {
        iteration % self.slots * self.bytes.0
    }

    /// Bytes from the start that have been copied after so many iterations.
    fn touched(self, iterations: u64) -> Bytes {
        self.bytes * iterations.min(self.slots)
    }
}

/// One direction: its host memory and its device memory.
struct End {
    host: Pinned,
    device: DeviceBuffer,
}

/// Copies between pinned memory and the device.
struct Transfer {
    bench: Bench,
    /// Where the second direction runs.
    side: Stream,
    forked: Event,
    joined: Event,
    window: Window,
    up: Option<End>,
    down: Option<End>,
    seed: u64,
    iterations: u64,
}

impl Transfer {
    fn new(bench: &Bench, window: Window, up: Option<Pinned>, down: Option<Pinned>, seed: u64) -> Result<Self> {
        let total = window.total();
        let with_memory = |host: Option<Pinned>| host.map(|host| Ok(End { host, device: bench.gpu.allocate(total)? })).transpose();
        let (mut up, mut down): (Option<End>, Option<End>) = (with_memory(up)?, with_memory(down)?);
        if let Some(End { host, device }) = &mut up {
            host.fill(bench, device.view(), seed)?;
            bench.stream.set(device.view::<u8>(), 0)?;
        }
        if let Some(End { host, device }) = &mut down {
            host.clear(total)?;
            bench.fill(device.view(), seed)?;
        }
        bench.stream.synchronize()?;
        let (forked, joined) = (bench.gpu.event()?, bench.gpu.event()?);
        Ok(Self { bench: bench.clone(), side: bench.gpu.stream()?, forked, joined, window, up, down, seed, iterations: 0 })
    }

    /// Give the pinned memory back for the next case.
    fn keep(self, lab: &mut Lab<'_>) {
        self.up.into_iter().chain(self.down).for_each(|end| lab.keep_pinned(end.host));
    }
}

impl Trial for Transfer {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        let Self { bench, side, window, .. } = self;
        let together = self.up.is_some() && self.down.is_some();
        let downward = if together { &*side } else { &bench.stream };
        if together {
            bench.stream.record(&self.forked)?;
            side.wait_for(&self.forked)?;
        }
        for iteration in self.iterations..self.iterations + iterations {
            let (offset, length) = (window.offset(iteration), window.bytes.0);
            if let Some(End { host, device }) = &self.up {
                bench.stream.upload(device.view().slice(offset, length)?, host.buffer.source().slice(offset, length)?)?;
            }
            if let Some(End { host, device }) = &mut self.down {
                downward.download(host.buffer.target().slice(offset, length)?, device.view().slice(offset, length)?)?;
            }
        }
        if together {
            side.record(&self.joined)?;
            bench.stream.wait_for(&self.joined)?;
        }
        self.iterations += iterations;
        Ok(())
    }

    fn work(&self) -> Work {
        let directions = u64::from(self.up.is_some()) + u64::from(self.down.is_some());
        Work::moving(self.window.bytes * directions)
    }

    fn launches_per_iteration(&self) -> u64 {
        // The marks of fork and join come once per batch; counting two for every copy leaves room for them.
        2
    }

    fn check(&mut self) -> Result<Option<String>> {
        let touched = self.window.touched(self.iterations);
        if let Some(End { device, .. }) = &self.up
            && let Some(wrong) = self.bench.verify(device.view().slice(0, touched.0)?, self.seed)?
        {
            return Ok(Some(format!("host to device: {wrong}")));
        }
        match &self.down {
            Some(End { host, .. }) => {
                Ok(verify_host(host.buffer.as_slice()?, touched, self.seed).map(|wrong| format!("device to host: {wrong}")))
            }
            None => Ok(None),
        }
    }
}

/// Copies between pageable memory and the device, one direction.
struct Pageable {
    bench: Bench,
    window: Window,
    host: Vec<u8>,
    device: DeviceBuffer,
    up: bool,
    seed: u64,
    iterations: u64,
}

impl Pageable {
    fn new(bench: &Bench, window: Window, up: bool, seed: u64) -> Result<Self> {
        let total = window.total();
        let length = usize::try_from(total.0).map_err(|_| Error::usage(format!("copying {total}: more than this machine can address")))?;
        let device = bench.gpu.allocate(total)?;
        let mut host = vec![0u8; length];
        bench.fill(device.view(), seed)?;
        if up {
            bench.stream.download_pageable(&mut host, device.view())?;
            bench.stream.set(device.view::<u8>(), 0)?;
        } else {
            // Touched, so that no page is made during the copy.
            host.fill(1);
        }
        Ok(Self { bench: bench.clone(), window, host, device, up, seed, iterations: 0 })
    }
}

impl Trial for Pageable {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        for iteration in self.iterations..self.iterations + iterations {
            let (offset, length) = (self.window.offset(iteration), self.window.bytes.0);
            let device = self.device.view().slice(offset, length)?;
            // The window was allocated with this length, so both conversions fit.
            let host = self.host.get_mut(offset as usize..(offset + length) as usize);
            let host = host.ok_or_else(|| Error::measurement("copying pageable memory", "the slot lies outside of the buffer"))?;
            if self.up { self.bench.stream.upload_pageable(device, host)? } else { self.bench.stream.download_pageable(host, device)? }
        }
        self.iterations += iterations;
        Ok(())
    }

    fn work(&self) -> Work {
        Work::moving(self.window.bytes)
    }

    fn check(&mut self) -> Result<Option<String>> {
        let touched = self.window.touched(self.iterations);
        match self.up {
            true => self.bench.verify(self.device.view().slice(0, touched.0)?, self.seed),
            false => Ok(verify_host(&self.host, touched, self.seed)),
        }
    }
}

/// Compare the first `bytes` of `memory` with the pattern of `seed`, on all processors. `None` when right, or how many words are wrong and
/// where the first is.
fn verify_host(memory: &[u8], bytes: Bytes, seed: u64) -> Option<String> {
    const WORD: usize = size_of::<u64>();
    let memory = &memory[..usize::try_from(bytes.0).unwrap_or(usize::MAX).min(memory.len())];
    let words = memory.len() / WORD;
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = words.div_ceil(workers).max(1) * WORD;
    let (wrong, first) = std::thread::scope(|scope| {
        let parts: Vec<_> = memory
            .chunks(share)
            .enumerate()
            .map(|(part, chunk)| {
                scope.spawn(move || {
                    let start = (part * share / WORD) as u64;
                    let words = chunk.chunks_exact(WORD).zip(start..);
                    let wrong = words.filter(|(word, index)| **word != pattern_word(*index, seed).to_ne_bytes());
                    wrong.fold((0u64, u64::MAX), |(count, first), (_, index)| (count + 1, first.min(index)))
                })
            })
            .collect();
        // A worker that was lost counts as having found something wrong.
        let found = parts.into_iter().map(|part| part.join().unwrap_or((1, 0)));
        found.fold((0, u64::MAX), |(count, first), (more, earlier)| (count + more, first.min(earlier)))
    });
    (wrong > 0)
        .then(|| format!("{wrong} of {words} words of 8 bytes differ from what was written, the first at byte {}", first.saturating_mul(8)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(words: u64, seed: u64) -> Vec<u8> {
        (0..words).flat_map(|index| pattern_word(index, seed).to_ne_bytes()).collect()
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_found_wherever_it_is(words in 1u64..500, at: prop::sample::Index, bit in 0u8..8, seed: u64) {
            let mut memory = pattern(words, seed);
            let bytes = Bytes(memory.len() as u64);
            prop_assert_eq!(verify_host(&memory, bytes, seed), None);
            let byte = at.index(memory.len());
            memory[byte] ^= 1 << bit;
            let wrong = verify_host(&memory, bytes, seed).unwrap();
            let expected = format!("1 of {words} words of 8 bytes differ from what was written, the first at byte {}", byte / 8 * 8);
            prop_assert_eq!(wrong, expected);
        }

        #[test]
        fn slots_cover_the_window_and_no_more(slots in 1u64..100, kib in 1u64..100, iteration: u32) {
            let window = Window { bytes: Bytes::kib(kib), slots };
            let offset = window.offset(u64::from(iteration));
            prop_assert!(offset + window.bytes.0 <= window.total().0);
            prop_assert!(window.touched(u64::from(iteration)) <= window.total());
        }
    }
}
