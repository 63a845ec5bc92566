//! Tiles, waves, caches: the time of a product from first principles.
//!
//! The output is cut into tiles of `rows × columns`, and `k` into `split` parts; each pair is a **block** of threads. Blocks are dealt to the
//! multiprocessors in **waves**: the one with most blocks ends last. A block walks over its part of `k` in **steps** of 128 bytes (64 before
//! Hopper). A step takes as long as its arithmetic or the transfer of its operands from the second-level cache, whichever is longer, and never
//! less than its latency, which several blocks of one multiprocessor hide from each other. Beside all that device memory delivers the
//! operands, twice or more where they do not stay in the cache between waves. A split ends with a second kernel that adds up the parts.
//!
//! Two times that overlap are joined by ⁴√(a⁴ + b⁴): close to the longer one, and a fifth above it where they are equal, as neither hides the
//! other perfectly. Over all tiles and splits the time is ³²√ of the sum of t⁻³², inverted: close to the shortest, smooth in every constant, and
//! monotone wherever its members are. That is what a library's choice comes to.
//!
//! The picture is the textbook's (Hong & Kim, ISCA 2009; NVIDIA's *Matrix Multiplication Background*, on tile and wave quantisation; Kerr et
//! al., *CUTLASS*); the constants are found by measuring.

use super::{Board, GemmShape, Setting, Weights};
use crate::catalog::{Dtype, GpuModel};

/// What documents say of the device, as the formulas need it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Device {
    /// Multiprocessors.
    pub sms: f64,
    /// Dense peak of the format, FLOP/s.
    pub peak: f64,
    /// Device memory, B/s.
    pub bandwidth: f64,
    /// Second-level cache, bytes.
    pub l2: f64,
    /// Bytes of one element of the factors.
    pub element: f64,
    /// Bytes of one element of the result.
    pub output: f64,
    /// Whether operands are copied by a unit of their own and multiplied by groups of warps (Hopper's wgmma, data-center Blackwell's tcgen05).
    pub asynchronous: bool,
    /// Whether the cache is two halves that keep copies of each other's lines, so that less of it is of use.
    pub halves: bool,
}

impl Device {
    /// `None` where the documents name no peak in the format, no size of the second-level cache or no count of multiprocessors.
    pub(super) fn of(gpu: &GpuModel, dtype: Dtype) -> Option<Self> {
        Self::new(
            dtype,
            gpu.compute_capability(),
            f64::from(gpu.sm_count?),
            gpu.matmul_peak(dtype)?.value.0,
            gpu.bandwidth().value.0,
            gpu.l2()?.value.as_f64(),
        )
    }

    /// A device that no document describes, the best rate of which was measured.
    pub(super) fn recorded(board: &Board, dtype: Dtype, best: f64) -> Option<Self> {
        /// What libraries reach of a printed peak.
        const REACHED: f64 = 0.8;
        let (sms, l2) = (f64::from(board.sms?), board.l2?.as_f64());
        Self::new(dtype, board.capability?, sms, best / REACHED, board.bandwidth?.0, l2)
    }

    fn new(dtype: Dtype, (major, minor): (u32, u32), sms: f64, peak: f64, bandwidth: f64, l2: f64) -> Option<Self> {
        let (element, output) = match dtype {
            Dtype::Fp64 => (8.0, 8.0),
            Dtype::Fp32 | Dtype::Tf32 => (4.0, 4.0),
            Dtype::Fp16 | Dtype::Bf16 => (2.0, 2.0),
            Dtype::Fp8 | Dtype::Mxfp8 => (1.0, 2.0),
            Dtype::Int8 => (1.0, 4.0),
            Dtype::Fp4 => (0.5, 2.0),
        };
        let asynchronous = matches!(major, 9 | 10);
        let halves = asynchronous || (major, minor) == (8, 0);
        let usable = [sms, peak, bandwidth, l2].iter().all(|fact| *fact > 0.0 && fact.is_finite());
        usable.then_some(Self { sms, peak, bandwidth, l2, element, output, asynchronous, halves })
    }
}

/// What is found by measuring. All positive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Constants {
    /// Start and end of a kernel within a stream of kernels, s.
    pub launch: f64,
    /// Arithmetic of one multiprocessor in its steps, FLOP/s.
    pub arithmetic: f64,
    /// Second-level cache to all multiprocessors, B/s.
    pub cache: f64,
    /// Device memory, B/s.
    pub memory: f64,
    /// Second-level cache to one multiprocessor, B/s.
    pub port: f64,
    /// Latency of a step, s.
    pub step: f64,
    /// Filling the pipeline at the start of a block, s.
    pub fill: f64,
    /// Writing one element of the result, s per multiprocessor.
    pub store: f64,
    /// The second kernel of a split, s.
    pub split: f64,
    /// How much longer a product at full arithmetic rate takes once clocks have given way to the power limit; at least 1.
    pub sustained: f64,
    /// How long clocks take to give way, s.
    pub onset: f64,
    /// Kernels that cast the first factor, s.
    pub cast: f64,
    /// Their traffic, as a multiple of reading twice and writing once.
    pub cast_traffic: f64,
    /// Share of the operands' repeated reads that reach device memory.
    pub again: f64,
    /// Share of the second-level cache that keeps operands between uses.
    pub resident: f64,
    /// Reading operands that lie in the second-level cache, B/s.
    pub warm: f64,
    /// Arithmetic rate of tiles up to 64 × 64, relative to the largest.
    pub small: f64,
    /// The same up to 64 × 128.
    pub medium: f64,
    /// The same up to 128 × 128.
    pub large: f64,
}

/// Number of constants.
pub(super) const CONSTANTS: usize = 19;

impl Constants {
    /// Usual values of the device's family, and how far each may be off, as the standard deviation of its logarithm. Rates are shares of what
    /// the documents say; times are of the order that microbenchmarks of kernels find.
    pub(super) fn usual(device: &Device) -> (Self, [f64; CONSTANTS]) {
        let (cache, port, step, store) = if device.asynchronous {
            (1.3e13 * device.sms / 132.0, 1.6e11, 9e-8, 6e-11)
        } else {
            (4.4e12 * device.sms / 120.0, 1.1e11, 1.1e-7, 1.1e-10)
        };
        let usual = Self {
            launch: 2.4e-6,
            arithmetic: 1.05 * device.peak / device.sms,
            cache,
            memory: 0.78 * device.bandwidth,
            port,
            step,
            fill: 1.8e-7,
            store,
            split: 2.2e-6,
            sustained: 1.3,
            onset: 1.5e-5,
            cast: 9.5e-6,
            cast_traffic: 1.0,
            again: 0.45,
            resident: if device.halves { 0.8 } else { 1.05 },
            warm: 3e12,
            small: 1.0,
            medium: 1.0,
            large: 1.0,
        };
        let spread = [0.35, 0.2, 0.6, 0.08, 0.4, 0.5, 0.7, 0.5, 0.3, 0.2, 1.5, 0.3, 0.4, 0.5, 0.08, 0.5, 0.3, 0.3, 0.2];
        (usual, spread)
    }

    pub(super) fn to_array(self) -> [f64; CONSTANTS] {
        let Self { launch, arithmetic, cache, memory, port, step, fill, store, split, .. } = self;
        let Self { sustained, onset, cast, cast_traffic, again, resident, warm, small, medium, large, .. } = self;
        [
            launch,
            arithmetic,
            cache,
            memory,
            port,
            step,
            fill,
            store,
            split,
            sustained,
            onset,
            cast,
            cast_traffic,
            again,
            resident,
            warm,
            small,
            medium,
            large,
        ]
    }

    pub(super) fn from_array(values: [f64; CONSTANTS]) -> Self {
        let [launch, arithmetic, cache, memory, port, step, fill, store, split, rest @ ..] = values;
        let [sustained, onset, cast, cast_traffic, again, resident, warm, small, medium, large] = rest;
        Self {
            launch,
            arithmetic,
            cache,
            memory,
            port,
            step,
            fill,
            store,
            split,
            sustained: sustained.max(1.0),
            onset,
            cast,
            cast_traffic,
            again,
            resident,
            warm,
            small,
            medium,
            large,
        }
    }
}

/// Rows and columns of the tiles that libraries are built from.
const TILES: [(f64, f64); 14] = [
    (16.0, 64.0),
    (16.0, 128.0),
    (32.0, 64.0),
    (32.0, 128.0),
    (64.0, 32.0),
    (64.0, 64.0),
    (64.0, 128.0),
    (64.0, 256.0),
    (128.0, 32.0),
    (128.0, 64.0),
    (128.0, 128.0),
    (128.0, 256.0),
    (256.0, 64.0),
    (256.0, 128.0),
];

/// Further ones where a group of warps multiplies a strip of any width.
const STRIPS: [(f64, f64); 5] = [(128.0, 96.0), (128.0, 160.0), (128.0, 192.0), (128.0, 224.0), (192.0, 128.0)];

/// Parts that `k` is split into.
const SPLITS: [f64; 11] = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0];

/// A part of a split is never shorter.
const SHORTEST_PART: f64 = 128.0;

/// A split makes no more blocks per multiprocessor: there is nothing left to fill.
const MOST_SPLIT_BLOCKS: f64 = 4.0;

/// A tile whose fourth power is so much longer than the shortest adds nothing that could be seen.
const HOPELESS: f64 = 8.0;

/// Of the wait for the last wave, the share that blocks of unequal speed save.
const UNEVEN: f64 = 0.05;

/// Time of one product, s. Never falls as `m` grows.
pub(super) fn time(device: &Device, constants: &Constants, setting: Setting, shape: GemmShape) -> f64 {
    let (m, n, k) = (shape.m as f64, shape.n as f64, shape.k as f64);
    let Constants { cache, memory, warm, .. } = *constants;
    let step_bytes = if device.asynchronous { 128.0 } else { 64.0 };
    let step_length = step_bytes / device.element;
    let (first, second, result) = (device.element * m * k, device.element * n * k, device.output * m * n);
    let all = first + second + result;
    let per_byte = |footprint: f64| {
        let hit = resident_share(footprint / (constants.resident * device.l2));
        (1.0 - hit) / memory + hit / warm
    };
    let weights = match setting.weights {
        Weights::Cold | Weights::AllCold => second / memory,
        Weights::Rotating { most } => {
            let sets = (device.l2 / second).ceil().clamp(1.0, f64::from(most.max(1)));
            second * per_byte(sets * second + first + result)
        }
    };
    let beside = if setting.weights == Weights::AllCold { 1.0 / memory } else { per_byte(all) };
    let once = weights + (first + result) * beside;
    let again = constants.again * all / (all + device.l2) / memory;

    // Sums of t⁻³² stay within range in this unit, which no time is far from.
    let unit = (once + 1e-6).max(2.0 * m * n * k / (constants.arithmetic * device.sms));
    let (mut sum, mut shortest) = (0.0, f64::INFINITY);
    let steps = (k / step_length).ceil();
    let strips: &[(f64, f64)] = if device.asynchronous { &STRIPS } else { &[] };
    for &(rows, columns) in TILES.iter().chain(strips) {
        let (across, along) = ((m / rows).max(1.0), (n / columns).max(1.0));
        let tiles = (m / rows).ceil() * (n / columns).ceil();
        let area = rows * columns;
        let (efficiency, blocks_at_once): (f64, f64) = match area {
            ..=4096.0 => (constants.small, 4.0),
            ..=8192.0 => (constants.medium, 2.0),
            ..=16384.0 => (constants.large, 2.0),
            _ => (1.0, 1.0),
        };
        let arithmetic = 2.0 * area * step_length / (constants.arithmetic * efficiency);
        let operands = (rows + columns) * step_bytes;
        for split in SPLITS {
            let blocks = tiles * split;
            if split > 1.0 && (k < SHORTEST_PART * split || blocks > MOST_SPLIT_BLOCKS * device.sms) {
                break;
            }
            let steps = if split > 1.0 { (k / split / step_length).ceil() } else { steps };
            let waves = blocks / device.sms;
            let busiest = (1.0 - UNEVEN) * waves.ceil() + UNEVEN * waves.max(1.0);
            let transfer = operands * (blocks.min(device.sms) / cache).max(1.0 / constants.port);
            let hidden_by = blocks_at_once.min(busiest);
            let loops = busiest * steps * arithmetic.max(transfer).max(constants.step / hidden_by);
            let ends = (busiest / blocks_at_once).ceil() * constants.fill + busiest * area * constants.store;
            if fourth_power((loops + ends) / unit) > HOPELESS * shortest {
                continue;
            }
            // The blocks of a wave cover a rectangle of the output; each operand is read once per rectangle's side.
            let at_once = (across * along * split).min(device.sms);
            let high = (at_once * columns / rows).sqrt().clamp(1.0, across);
            let wide = (at_once / high).clamp(1.0, along);
            let repeated = (second * (across / high - 1.0)).min(first * (along / wide - 1.0));
            let fourth = fourth_power((loops + ends) / unit) + fourth_power((once + repeated * again) / unit);
            let fourth = if split > 1.0 {
                fourth_power(fourth.sqrt().sqrt() + (constants.split + 8.0 * m * n * split / cache) / unit)
            } else {
                fourth
            };
            shortest = shortest.min(fourth);
            let inverse = 1.0 / fourth;
            sum += fourth_power(inverse) * fourth_power(inverse);
        }
    }
    let kernel = unit / thirty_second_root(sum);
    let share = 2.0 * m * n * k / (constants.arithmetic * device.sms) / kernel;
    let heat = 1.0 + (constants.sustained - 1.0) * share * share / (1.0 + constants.onset / kernel);
    let cast = if setting.casts {
        // Read to find the scale, read to cast, written in the product's format.
        let traffic = (2.0 * 2.0 + device.element) * m * k;
        constants.cast + constants.cast_traffic * traffic * per_byte((2.0 + device.element) * m * k)
    } else {
        0.0
    };
    constants.launch + kernel * heat + cast
}

/// Share of accesses that find their line in the cache when as much as `fill` times its capacity is used in turn: nearly all below one, nearly
/// none above.
fn resident_share(fill: f64) -> f64 {
    let eighth = fourth_power(fill) * fourth_power(fill);
    1.0 / (1.0 + fourth_power(eighth))
}

fn fourth_power(x: f64) -> f64 {
    let square = x * x;
    square * square
}

fn thirty_second_root(x: f64) -> f64 {
    x.sqrt().sqrt().sqrt().sqrt().sqrt()
}
