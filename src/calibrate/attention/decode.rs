//! Decoding: one query per sequence against all its keys and values, which are read once. Memory-bound in the long run, and mostly not
//! there.
//!
//! Two kinds of kernels do it, after TensorRT-LLM (Apache-2.0; `decoderMaskedMultiheadAttention`), whose rules other libraries share in
//! kind:
//!
//! * **Single**: a block per query head (MMHA). Heads that share keys read them again, from the second-level cache.
//! * **Grouped**: a block per key-value head on tensor cores (XQA, FlashDecoding), after a kernel that rotates queries and writes the new keys.
//!   Used where two to 32 heads share and the blocks fill a quarter of the SMs; datacentre Blackwell has only this kind.
//!
//! Where sequences are too few to fill the SMs a long context is **split** over blocks, which must merge their results (Flash-Decoding, Dao
//! et al. 2023). [`single`] and [`grouped`] say into how many. Blocks then run in **waves** of SMs × blocks per SM: an incomplete last wave
//! takes as long as a block takes at the pace of one SM, which is why 136 blocks on 132 SMs can take twice as long as 132.
//!
//! A wave costs what a block costs to start and end, or what its bytes take, whichever is longer; near equality both show, which is
//! written as (aᵖ + bᵖ)^(1/p). Keys and values that fit into the second-level cache come from there, since a benchmark repeats itself and
//! a step of a model with few layers nearly does.

use super::device::Device;
use super::fit::Term;
use super::work::Work;

/// Most heads that a grouped block serves.
const LARGEST_GROUP: f64 = 32.0;
/// Rows of one tensor-core product, hence heads served by one pass.
const GROUP_ROWS: f64 = 16.0;
/// Fewest tokens of a split, and most waves that splitting may make, in the grouped kernels.
const SPLIT_TOKENS: f64 = 128.0;
const SPLIT_WAVES: f64 = 8.0;
/// Blocks of the grouped kernels that share an SM.
const GROUPED_PER_SM: f64 = 2.0;
/// Threads of an SM that the single kernels use, limited by registers; a block has 256, 512 or all of them.
const THREADS: f64 = 1024.0;
/// Bytes that a thread loads at a time, and the loads it has in flight.
const LOAD: f64 = 16.0;
const LOADS: f64 = 8.0;
/// Shared memory that the single kernels take per token: a score in 32 bits and its probability in 16.
const SCORE_BYTES: f64 = 6.0;
/// Reading device memory reaches its full rate after about so many µs.
const SETTLING: f64 = 10.0;

/// What only a machine can tell.
pub(super) const TERMS: [Term; 18] = [
    // Launching a single kernel, µs.
    Term::new(3.8, 0.3, 0.08),
    // Launching a grouped one and the kernel before it, µs.
    Term::new(5.2, 0.3, 0.08),
    // Share of the memory bandwidth reached.
    Term::new(0.92, 0.1, 0.04),
    // Cache bytes per cycle and SM.
    Term::new(14.0, 0.6, 0.0),
    // Share of the cache that keeps what is read again.
    Term::new(0.8, 0.3, 0.0),
    // Time lost until memory is at its full rate, µs.
    Term::new(14.0, 0.5, 0.0),
    // Grouped: cycles of a block.
    Term::new(4600.0, 0.4, 0.15),
    // Grouped: more of them per 128 features.
    Term::new(3800.0, 0.4, 0.0),
    // Grouped: share more per further pass over the heads.
    Term::new(0.38, 0.5, 0.2),
    // Grouped: bytes that an SM draws per cycle.
    Term::new(13.0, 0.5, 0.0),
    // Grouped: p − 1.
    Term::new(3.0, 0.3, 0.0),
    // Grouped: merging splits, µs.
    Term::new(2.3, 0.5, 0.2),
    // Grouped: cycles per 128 tokens of 128 features.
    Term::new(660.0, 0.6, 0.4),
    // Single: cycles of a block.
    Term::new(8100.0, 0.4, 0.08),
    // Single: more of them for one round of loads.
    Term::new(4000.0, 0.4, 0.3),
    // Single: bytes that an SM draws per cycle.
    Term::new(28.0, 0.5, 0.15),
    // Single: p − 1.
    Term::new(1.3, 0.3, 0.0),
    // Single: merging splits, µs.
    Term::new(4.8, 0.4, 0.2),
];

/// Which kernels there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kernels {
    /// Single and grouped ones.
    Both,
    /// Grouped ones for every shape.
    Grouped,
}

/// Blocks of a launch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Launch {
    /// Blocks into which each sequence's context is split.
    pub(super) splits: f64,
    /// Blocks in all.
    pub(super) blocks: f64,
    /// Blocks that run on an SM at the same time.
    pub(super) per_sm: f64,
    /// Threads of a block.
    pub(super) threads: f64,
}

/// The grouped kernels split a context into n pieces of at least 128 tokens, but no more than √(8n), so that merging stays cheap, and no
/// more than eight waves of them (`computeMultiBlockCount`).
pub(super) fn grouped(device: &Device, work: &Work) -> Launch {
    let pieces = (work.seen() / SPLIT_TOKENS).floor();
    let pieces = pieces.min((8.0 * pieces).sqrt().round()).max(1.0);
    let units = work.batch * work.kv_heads;
    let excess = units * pieces / (device.sms * SPLIT_WAVES);
    let splits = if excess > 1.0 { (pieces / excess).floor().max(1.0) } else { pieces };
    Launch { splits, blocks: units * splits, per_sm: GROUPED_PER_SM, threads: 256.0 }
}

/// The single kernels take the largest blocks that still run all at once, then split while SMs are idle and each piece fills a round of
/// loads (`multi_block_grid_setup`); contexts whose scores do not fit into shared memory are split in any case.
pub(super) fn single(device: &Device, work: &Work) -> Launch {
    let (units, seen) = (work.batch * work.heads, work.seen());
    let threads = match (device.sms * 4.0 / units).ceil() {
        4.0.. => THREADS,
        2.0.. => THREADS / 2.0,
        _ => THREADS / 4.0,
    };
    let fitting = THREADS / threads;
    let threads_per_token = padded(work.head_dim) * 2.0 / LOAD;
    let round = (threads / threads_per_token).ceil() * LOADS;
    let idle = (device.sms / units).ceil();
    let least = (seen * SCORE_BYTES / (device.shared - 3072.0)).ceil().max(1.0);
    let most = ((seen + 1.0) / round).ceil().min(idle).max(1.0);
    let splits = (device.sms * fitting / units).ceil().min(most).max(least);
    let scores = seen / splits * SCORE_BYTES + 1024.0;
    Launch { splits, blocks: units * splits, per_sm: fitting.min((device.shared / scores).floor()).max(1.0), threads }
}

/// Whether the grouped kernels are chosen (`supportConfig`, `mayHavePerfGain`).
pub(super) fn uses_grouped(device: &Device, kernels: Kernels, work: &Work) -> bool {
    let pieces = (work.seen() / SPLIT_TOKENS).floor().max(1.0);
    let group = work.group();
    kernels == Kernels::Grouped || (group > 1.0 && group <= LARGEST_GROUP && 4.0 * work.batch * work.kv_heads * pieces >= device.sms)
}

/// Kernels are compiled for powers of two.
fn padded(head_dim: f64) -> f64 {
    if head_dim > 65536.0 { head_dim } else { (head_dim as u64).next_power_of_two() as f64 }
}

/// Time in µs.
pub(super) fn time(device: &Device, kernels: Kernels, terms: &[f64; 18], work: &Work) -> f64 {
    let [single_floor, grouped_floor, share, cache, kept, settle, rest @ ..] = *terms;
    let bytes = 4.0 * work.batch * work.kv_heads * work.seen() * work.head_dim;
    let filled = (bytes / (kept * device.l2)).powi(2);
    let memory = Memory {
        rate: share * device.bandwidth,
        cache: (cache * device.sms * device.clock).max(share * device.bandwidth),
        hit: 1.0 / (1.0 + filled * filled),
    };
    let missed = (1.0 - memory.hit) * bytes / memory.rate;
    let settling = settle * missed / (missed + SETTLING);
    let [fixed, features, pass, draw, overlap, merge, token, rest @ ..] = rest;
    if uses_grouped(device, kernels, work) {
        let launch = grouped(device, work);
        let (group, wide) = (work.group(), padded(work.head_dim) / 128.0);
        let passes = (group / GROUP_ROWS).ceil();
        let start = (fixed + features * wide) * (1.0 + pass * (passes - 1.0) + 0.2 * pass * group / GROUP_ROWS);
        let walk = token * work.seen() / launch.splits / 128.0 * wide * wide * passes;
        let busy = (launch.blocks / device.sms).ceil() * (start + walk) / device.clock;
        let reading = launch.reading(device, bytes, memory.rate_where(memory.hit), draw) + settling;
        return grouped_floor + longer(busy, reading, 1.0 + overlap) + if launch.splits > 1.0 { merge } else { 0.0 };
    }
    let [fixed, round, draw, overlap, merge] = rest;
    let launch = single(device, work);
    let wide = padded(work.head_dim);
    let narrow = if launch.threads < THREADS { 1.0 } else { (wide / 128.0).min(1.0) };
    let loaded = (work.seen() / launch.splits * wide * 2.0 / (LOAD * launch.threads)).min(1.0);
    let busy = launch.waves(device) * (fixed + round * narrow * loaded) / device.clock;
    let read = 4.0 * work.batch * work.heads * work.seen() * wide;
    let hit = 1.0 - (1.0 - memory.hit) / work.group();
    let reading = launch.reading(device, read, memory.rate_where(hit), draw) + settling;
    single_floor + longer(busy, reading, 1.0 + overlap) + if launch.splits > 1.0 { merge } else { 0.0 }
}

/// Rates in bytes per µs, and the share of what is read for the first time that the cache still has.
struct Memory {
    rate: f64,
    cache: f64,
    hit: f64,
}

impl Memory {
    /// The rate when the cache answers a share `hit`.
    fn rate_where(&self, hit: f64) -> f64 {
        1.0 / ((1.0 - hit) / self.rate + hit / self.cache)
    }
}

impl Launch {
    /// Complete waves, and blocks left for the last.
    fn split_waves(&self, device: &Device) -> (f64, f64) {
        let wave = device.sms * self.per_sm;
        let complete = (self.blocks / wave).floor();
        (complete, (self.blocks - complete * wave).max(0.0))
    }

    /// Waves, the last one counted by how full its SMs are: blocks that share an SM slow each other down, though less than in proportion.
    fn waves(&self, device: &Device) -> f64 {
        let (complete, left) = self.split_waves(device);
        let full = (left / device.sms).ceil() / self.per_sm;
        complete + if full == 0.0 || full == 1.0 { full } else { full.powf(0.7) }
    }

    /// Time to read `bytes` at `rate`, no SM faster than `draw` bytes per cycle.
    fn reading(&self, device: &Device, bytes: f64, rate: f64, draw: f64) -> f64 {
        let (each, draw) = (bytes / self.blocks, draw * device.clock);
        let (complete, left) = self.split_waves(device);
        let wave = (device.sms * self.per_sm * each / rate).max(self.per_sm * each / draw);
        complete * wave + (left * each / rate).max((left / device.sms).ceil() * each / draw)
    }
}

/// (aᵖ + bᵖ)^(1/p).
fn longer(a: f64, b: f64, p: f64) -> f64 {
    let (less, more) = if a < b { (a, b) } else { (b, a) };
    if less <= 0.0 { more } else { more * (1.0 + (less / more).powf(p)).powf(1.0 / p) }
}
