//! The caches: bandwidth of the second level by working set, and the latency of each level.
//!
//! **`cache.read`**: every block sweeps the same working set, past the first-level cache. A set well within the second level is served by
//! it after the first sweep; one several times as large by device memory. Between the two lies the edge, which is where a chip whose cache
//! is cut in halves (or shared with other tenants) differs from its datasheet. Bytes counted are those the threads receive.
//!
//! **`cache.latency`**: one thread follows a ring of indices, one per 128-byte line in random order, and each load waits for the one
//! before. Time per step over a growing ring is a ladder: first level, second level, memory (with the misses of address translation). The
//! ring stays warm between launches where it fits a level. Each launch goes on where the last one stopped, so a ring larger than the cache
//! is never walked over the same part twice in a row.

use super::facts::{gpu_on, l2, needs_gpu, size, unknown, usable};
use super::rig::{Bench, VECTOR, operation, too_large};
use super::ring::Ring;
use super::walk::{Path, Walk};
use super::{Effort, Lab, Probe};
use crate::error::Result;
use crate::gpu::reference::pattern_word;
use crate::gpu::{CacheRead, DeviceBuffer, Shape};
use crate::machine::{Gpu, Machine};
use crate::measure::{Case, Outcome, Trial, Waiver, Work};
use crate::units::Bytes;

/// Bytes that one launch of the sweep should move at least, so that its beginning and end do not count: some 200 µs.
const LEAST_SWEPT: u64 = 1 << 30;

/// Threads in a block of the sweep: as many as there can be. Every block sweeps the whole set, so with smaller and more of them one sweep of a
/// set larger than the cache takes tenths of a second on a chip with many multiprocessors and narrow memory.
const SWEEP_BLOCK: u32 = 1024;

/// Rings up to this size are walked many times over in a launch, because the first-level cache is empty when a kernel starts.
const SMALL_RING: Bytes = Bytes::kib(256);

/// Steps of one launch on a small ring and on others.
const STEPS: [u64; 2] = [1 << 18, 1 << 15];

/// Largest ring: its host copy has to be built first.
const LARGEST_RING: Bytes = Bytes::mib(512);

/// The `cache` probe.
pub(super) struct Cache;

/// Working sets of the sweep, in eighths of the second-level cache.
fn swept(gpu: &Gpu, effort: Effort) -> Vec<Bytes> {
    let eighths: &[u64] = if effort == Effort::Quick { &[2, 4, 8, 32] } else { &[1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 32] };
    eighths.iter().map(|eighth| (l2(gpu) / 8 * *eighth).round_down_to(Bytes::kib(4)).max(Bytes::kib(4))).collect()
}

/// Rings of the ladder: from one that fits every first-level cache to four times the second level, where few steps still hit it.
fn rings(gpu: &Gpu, effort: Effort) -> Vec<Bytes> {
    let l2 = l2(gpu);
    let last = (l2 * 4).min(LARGEST_RING);
    let mut sizes = vec![Bytes::kib(16), l2 / 4, last];
    if effort > Effort::Quick {
        let ladder = (0..).map(|step| Bytes::kib(32) * (1 << step)).take_while(|bytes| *bytes < last);
        sizes.extend(ladder);
    }
    sizes.iter_mut().for_each(|bytes| *bytes = bytes.round_down_to(Bytes::kib(4)).max(Bytes::kib(4)));
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

impl Probe for Cache {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn about(&self) -> &'static str {
        "second-level cache bandwidth by working set; latency of first level, second level and memory"
    }

    fn needs(&self, machine: &Machine) -> Result<(), Waiver> {
        needs_gpu(machine)
    }

    fn cases(&self, machine: &Machine, effort: Effort) -> Vec<Case> {
        let case = |mechanism: &str, bytes, gpu: &Gpu| Case::new(mechanism).bytes("bytes", bytes).count("gpu", u64::from(gpu.index));
        let mut cases = Vec::new();
        for gpu in &machine.gpus {
            let mut sizes = swept(gpu, effort);
            sizes.dedup();
            cases.extend(sizes.into_iter().map(|bytes| case("cache.read", bytes, gpu)));
            cases.extend(rings(gpu, effort).into_iter().map(|bytes| case("cache.latency", bytes, gpu)));
        }
        cases
    }

    fn run(&self, case: &Case, lab: &mut Lab<'_>) -> Result<Outcome> {
        let gpu = gpu_on(lab.machine, case, "gpu")?;
        let bytes = size(case, "bytes")?;
        if bytes > usable(gpu) {
            return Ok(too_large(case, bytes, usable(gpu)));
        }
        let bench = lab.bench(gpu.index)?;
        let seed = ("seed", lab.seed.to_string());
        match operation(case)? {
            "read" => {
                let mut trial = Sweep::new(&bench, bytes, lab.seed)?;
                let conditions = [("engine", "sm".into()), ("path", "past the first level".into()), ("data", "random bits".into()), seed];
                lab.time_gated(case, gpu.index, &bench, &mut trial, &lab.plan(1.0), conditions)
            }
            "latency" => {
                let ring = Ring::new(bytes, lab.seed);
                let memory = bench.gpu.allocate_elements::<u32>(ring.next().len() as u64)?;
                memory.write(&bench.stream, ring.next())?;
                let mut trial = Walk::new(&bench, ring, memory, Path::Cached, STEPS[usize::from(bytes > SMALL_RING)])?;
                let conditions = [
                    ("engine", "sm, one thread".into()),
                    ("path", "through the first level".into()),
                    ("data", "random ring, one index per 128 bytes".into()),
                    seed,
                ];
                lab.time_gated(case, gpu.index, &bench, &mut trial, &lab.plan(1.0), conditions)
            }
            _ => Err(unknown(case)),
        }
    }
}

/// All blocks reading the same working set.
struct Sweep {
    bench: Bench,
    memory: DeviceBuffer,
    sink: DeviceBuffer,
    shape: Shape,
    vectors: u64,
    repeats: u32,
    seed: u64,
    iterations: u64,
}

impl Sweep {
    fn new(bench: &Bench, bytes: Bytes, seed: u64) -> Result<Self> {
        let memory = bench.gpu.allocate(bytes)?;
        let sink = bench.gpu.allocate_elements::<u32>(4)?;
        let shape = bench.gpu.filling::<CacheRead<'_>>(SWEEP_BLOCK)?;
        bench.fill(memory.view(), seed)?;
        bench.stream.set(sink.view::<u8>(), 0)?;
        let vectors = bytes.0 / VECTOR.0;
        let sweep = (vectors * VECTOR.0).saturating_mul(u64::from(shape.grid[0])).max(1);
        let repeats = u32::try_from(LEAST_SWEPT.div_ceil(sweep)).unwrap_or(u32::MAX);
        Ok(Self { bench: bench.clone(), memory, sink, shape, vectors, repeats, seed, iterations: 0 })
    }

    /// Sweeps of one iteration, all blocks together.
    fn sweeps(&self) -> u64 {
        u64::from(self.shape.grid[0]) * u64::from(self.repeats)
    }
}

impl Trial for Sweep {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        let Self { memory, sink, vectors, repeats, .. } = self;
        let kernel = CacheRead { a: memory.input(), vectors: *vectors, repeats: *repeats, sink: sink.output() };
        for _ in 0..iterations {
            self.bench.stream.launch(&kernel, self.shape)?;
        }
        self.iterations += iterations;
        Ok(())
    }

    fn work(&self) -> Work {
        Work::moving(VECTOR * self.vectors * self.sweeps())
    }

    fn check(&mut self) -> Result<Option<String>> {
        let sweeps = (self.iterations * self.sweeps()) as u32;
        let expected = sum(self.vectors, self.seed).map(|sum| sum.wrapping_mul(sweeps));
        let found = self.sink.read::<u32>(&self.bench.stream, 4)?;
        Ok((found != expected).then(|| format!("expected the sums {expected:08x?} but found {found:08x?}")))
    }
}

/// The sums, modulo 2³², of the first, second, third and fourth words of all vectors of a pattern.
fn sum(vectors: u64, seed: u64) -> [u32; 4] {
    (0..vectors).fold([0u32; 4], |sums, vector| {
        let [even, odd] = [2 * vector, 2 * vector + 1].map(|word| pattern_word(word, seed));
        let words = [even as u32, (even >> 32) as u32, odd as u32, (odd >> 32) as u32];
        std::array::from_fn(|lane| sums[lane].wrapping_add(words[lane]))
    })
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::gpu;
    use super::*;

    #[test]
    fn sweeps_lie_around_the_size_of_the_cache() {
        let gpu = gpu(0, Bytes::gib(80), Bytes::mib(50));
        let sizes = swept(&gpu, Effort::Standard);
        assert!(sizes.first().unwrap() < &Bytes::mib(50) && sizes.contains(&Bytes::mib(50)) && sizes.last() == Some(&Bytes::mib(200)));
        assert!(sizes.iter().all(|bytes| bytes.0 % VECTOR.0 == 0));
    }

    #[test]
    fn the_ladder_ends_in_memory() {
        let gpu = gpu(0, Bytes::gib(80), Bytes::mib(50));
        assert_eq!(rings(&gpu, Effort::Quick), [Bytes::kib(16), Bytes::kib(12800), Bytes::mib(200)]);
        assert!(rings(&gpu, Effort::Standard).is_sorted());
    }

    #[test]
    fn a_sum_is_that_of_the_words() {
        let words: Vec<u32> = (0..20)
            .flat_map(|word| {
                let word = pattern_word(word, 7);
                [word as u32, (word >> 32) as u32]
            })
            .collect();
        let expected: [u32; 4] = std::array::from_fn(|lane| words.iter().skip(lane).step_by(4).fold(0u32, |a, b| a.wrapping_add(*b)));
        assert_eq!(sum(10, 7), expected);
    }
}
