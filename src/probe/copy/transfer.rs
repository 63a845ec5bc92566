//! Copies between pinned memory and the device, and what of them was right.

use crate::error::Result;
use crate::gpu::reference::pattern_word;
use crate::gpu::{DeviceBuffer, Event, Stream, StreamCopy, View};
use crate::measure::{Trial, Work};
use crate::probe::Lab;
use crate::probe::peer::Engine;
use crate::probe::pinned::Pinned;
use crate::probe::rig::{Bench, VECTOR};
use crate::units::Bytes;

/// A copy's size, and how many different places it rotates over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) bytes: Bytes,
    pub(super) slots: u64,
}

impl Window {
    /// All slots together.
    pub(super) fn total(self) -> Bytes {
        self.bytes * self.slots
    }

    /// First byte of the slot of iteration `iteration`.
    pub(super) const fn offset(self, iteration: u64) -> u64 {
        iteration % self.slots * self.bytes.0
    }

    /// Bytes from the start that have been copied after so many iterations.
    pub(super) fn touched(self, iterations: u64) -> Bytes {
        self.bytes * iterations.min(self.slots)
    }
}

/// One direction: its host memory and its device memory.
struct End {
    host: Pinned,
    device: DeviceBuffer,
}

impl End {
    /// Enqueue a copy of a slot from the host to the device.
    fn send(&self, engine: Engine, bench: &Bench, stream: &Stream, offset: u64, length: u64) -> Result<()> {
        let (host, target) = (&self.host.buffer, self.device.view::<u8>().slice(offset, length)?);
        match engine {
            Engine::Copy => stream.upload(target, host.source().slice(offset, length)?),
            Engine::Kernel => by_kernel(bench, stream, host.input()?.0.slice(offset, length)?, target),
        }
    }

    /// Enqueue a copy of a slot from the device to the host.
    fn receive(&mut self, engine: Engine, bench: &Bench, stream: &Stream, offset: u64, length: u64) -> Result<()> {
        let (host, source) = (&mut self.host.buffer, self.device.view::<u8>().slice(offset, length)?);
        match engine {
            Engine::Copy => stream.download(host.target().slice(offset, length)?, source),
            Engine::Kernel => by_kernel(bench, stream, source, host.output()?.0.slice(offset, length)?),
        }
    }
}

/// Enqueue a copy by the multiprocessors, which reach either memory.
fn by_kernel(bench: &Bench, stream: &Stream, from: View<'_, u8>, to: View<'_, u8>) -> Result<()> {
    let kernel = StreamCopy { a: from.cast()?.into(), c: to.cast()?.into(), vectors: from.len() / VECTOR.0 };
    stream.launch(&kernel, bench.shape::<StreamCopy<'_>>()?)
}

/// Copies between pinned memory and the device.
pub(super) struct Transfer {
    pub(super) bench: Bench,
    engine: Engine,
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
    /// Copies by the copy engine from `up` to the device, from the device to `down`, or both at once.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::error::Error::Gpu) when the device lacks the memory or a call fails.
    pub(super) fn new(bench: &Bench, window: Window, up: Option<Pinned>, down: Option<Pinned>, seed: u64) -> Result<Self> {
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
        let side = bench.gpu.stream()?;
        Ok(Self { bench: bench.clone(), engine: Engine::Copy, side, forked, joined, window, up, down, seed, iterations: 0 })
    }

    /// The same by another engine.
    pub(super) fn by(self, engine: Engine) -> Self {
        Self { engine, ..self }
    }

    /// Give the pinned memory back for the next case.
    pub(super) fn keep(self, lab: &mut Lab<'_>) {
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
            if let Some(up) = &self.up {
                up.send(self.engine, bench, &bench.stream, offset, length)?;
            }
            if let Some(down) = &mut self.down {
                down.receive(self.engine, bench, downward, offset, length)?;
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

/// Compare the first `bytes` of `memory` with the pattern of `seed`, on all processors. `None` when right, or how many words are wrong and
/// where the first is.
pub(super) fn verify_host(memory: &[u8], bytes: Bytes, seed: u64) -> Option<String> {
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
