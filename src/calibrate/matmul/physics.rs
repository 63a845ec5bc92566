//! The time of a product from first principles.
//!
//! Device memory moves each operand at least once; what is used again lies in the second-level cache as far as it fits. Beside that the kernel
//! of the library's choice computes (`tiles.rs`). At full arithmetic rate clocks give way to the power limit after a while. Launching, and
//! casting the first factor where that is asked for, come on top.
//!
//! The picture is the textbook's (Hong & Kim, ISCA 2009; NVIDIA's *Matrix Multiplication Background*, on tile and wave quantisation; Kerr et
//! al., *CUTLASS*); the constants are found by measuring.

use super::{Board, GemmShape, Setting, Weights, tiles};
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

    /// Which of them, in the order of [`Self::to_array`], no time in `setting` depends on.
    pub(super) fn unseen(setting: Setting) -> [bool; CONSTANTS] {
        // Nothing that is used for the first time comes from the cache.
        let cold = setting.weights == Weights::AllCold && !setting.casts;
        let mut unseen = [false; CONSTANTS];
        let [.., cast, cast_traffic, _, resident, warm, _, _, _] = &mut unseen;
        (*cast, *cast_traffic, *resident, *warm) = (!setting.casts, !setting.casts, cold, cold);
        unseen
    }
}

/// Time of one product, s. Never falls as `m` grows.
pub(super) fn time(device: &Device, constants: &Constants, setting: Setting, shape: GemmShape) -> f64 {
    let operands = Operands::of(device, constants, setting, shape);
    let kernel = tiles::fastest(device, constants, shape, &operands);
    let share = operands.arithmetic / kernel;
    let heat = 1.0 + (constants.sustained - 1.0) * share * share / (1.0 + constants.onset / kernel);
    let cast = if setting.casts { cast(device, constants, shape) } else { 0.0 };
    constants.launch + kernel * heat + cast
}

/// What a product reads and computes however it is cut.
pub(super) struct Operands {
    /// Bytes of the first factor.
    pub first: f64,
    /// Bytes of the second.
    pub second: f64,
    /// Device memory's time when each operand is moved once, s.
    pub once: f64,
    /// Device memory's time for each byte that is read again, s.
    pub again: f64,
    /// Time of its arithmetic on all multiprocessors, s.
    pub arithmetic: f64,
    /// Sums of t⁻³² stay within range in this unit, which no time is far from, s.
    pub unit: f64,
}

impl Operands {
    pub(super) fn of(device: &Device, constants: &Constants, setting: Setting, shape: GemmShape) -> Self {
        let (m, n, k) = (shape.m as f64, shape.n as f64, shape.k as f64);
        let memory = constants.memory;
        let (first, second, result) = (device.element * m * k, device.element * n * k, device.output * m * n);
        let all = first + second + result;
        let weights = match setting.weights {
            Weights::Cold | Weights::AllCold => second / memory,
            Weights::Rotating { most } => {
                let sets = (device.l2 / second).ceil().clamp(1.0, f64::from(most.max(1)));
                second * per_byte(device, constants, sets * second + first + result)
            }
        };
        let beside = if setting.weights == Weights::AllCold { 1.0 / memory } else { per_byte(device, constants, all) };
        let once = weights + (first + result) * beside;
        let again = constants.again * all / (all + device.l2) / memory;
        let arithmetic = 2.0 * m * n * k / (constants.arithmetic * device.sms);
        Self { first, second, once, again, arithmetic, unit: (once + 1e-6).max(arithmetic) }
    }
}

/// Time per byte of what is read again and again, `footprint` bytes in all, s.
fn per_byte(device: &Device, constants: &Constants, footprint: f64) -> f64 {
    let hit = resident_share(footprint / (constants.resident * device.l2));
    (1.0 - hit) / constants.memory + hit / constants.warm
}

/// The kernels that cast the first factor, s: it is read to find the scale, read to cast, written in the product's format.
fn cast(device: &Device, constants: &Constants, shape: GemmShape) -> f64 {
    let (m, k) = (shape.m as f64, shape.k as f64);
    let traffic = (2.0 * 2.0 + device.element) * m * k;
    constants.cast + constants.cast_traffic * traffic * per_byte(device, constants, (2.0 + device.element) * m * k)
}

/// Share of accesses that find their line in the cache when as much as `fill` times its capacity is used in turn: nearly all below one, nearly
/// none above.
fn resident_share(fill: f64) -> f64 {
    let eighth = fourth_power(fill) * fourth_power(fill);
    1.0 / (1.0 + fourth_power(eighth))
}

pub(super) fn fourth_power(x: f64) -> f64 {
    let square = x * x;
    square * square
}
