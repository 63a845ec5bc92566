//! How long a matrix product takes, as a function of its shape.
//!
//! `m × k` times `k × n`: `m` rows of activations (tokens), `n` output features, `k` input features. The time comes in two steps:
//!
//! 1. **Physics** (`physics.rs`, `tiles.rs`): the output is cut into tiles, the tiles run in waves over the multiprocessors, each tile's loop over `k` is
//!    limited by arithmetic, by the second-level cache or by its own latency, and all of it by device memory. A library picks the tile and the
//!    split of `k` that is fastest, so every pair is computed and the fastest ones count. Nineteen constants of the machine and the library,
//!    each with a usual value for its family, say how fast each of these goes.
//! 2. **Measurements** correct it. At most some dozens of timed shapes, [`DESIGN`] where we choose them, move the constants away from
//!    their usual values as far as the timings demand (`fit.rs`). What the constants cannot explain is a smooth field in the logarithm
//!    of measured over computed, interpolated between the timings (`residual.rs`) and fading away from them, so that far outside what was
//!    measured physics alone speaks.
//!
//! Time is monotone in `m`: every part of the physics is, and the field takes the computed time itself as a coordinate in place of `m`.

mod fit;
mod physics;
mod residual;
#[cfg(test)]
mod tests;
mod tiles;

pub use crate::measure::{DESIGN, GemmShape};

use std::sync::{Arc, OnceLock};

use self::physics::{Constants, Device};
use self::residual::Residual;
use super::Prediction;
use crate::catalog::{Dtype, GpuModel};
use crate::machine::Gpu;
use crate::units::{Bytes, BytesPerSecond, FlopsPerSecond, Seconds};

/// One timed product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GemmTiming {
    /// Its shape.
    pub shape: GemmShape,
    /// Time of one product.
    pub time: Seconds,
}

/// What happens around a product, in a measurement or in a model, that changes how long it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Where the second factor, the weights, comes from.
    pub weights: Weights,
    /// Whether the first factor is cast to the product's format on the way: its scale is found, it is read again, and written in 8 bits.
    pub casts: bool,
}

impl Setting {
    /// A product within a model: its weights were last read a step ago, its activations just now, in the format of the product.
    pub const IN_A_MODEL: Self = Self { weights: Weights::Cold, casts: false };

    /// A product as the `matmul` probe times it: sets of operands take turns until they are twice as large as the second-level cache, so that
    /// nothing comes from there.
    pub const ROTATED: Self = Self { weights: Weights::AllCold, casts: false };
}

/// Where the weights are when a product starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// In device memory.
    Cold,
    /// In device memory, and so are the activations, which otherwise are as near as they fit.
    AllCold,
    /// Sets of equal shape take turns until they fill the second-level cache once, but never more than so many sets: what then still lies in the
    /// cache is read from there.
    Rotating {
        /// Most sets.
        most: u32,
    },
}

/// What a driver says of a board, for those that no catalog describes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Board {
    /// Major and minor compute capability.
    pub capability: Option<(u32, u32)>,
    /// Multiprocessors.
    pub sms: Option<u32>,
    /// Device memory.
    pub bandwidth: Option<BytesPerSecond>,
    /// Second-level cache.
    pub l2: Option<Bytes>,
}

impl Board {
    /// As recorded. Memory moves the width of its bus twice in each cycle of its clock.
    pub fn of(gpu: &Gpu) -> Self {
        let bus = gpu.memory_bus_bits.known().zip(gpu.memory_clock.maximum.known());
        let bandwidth = bus.map(|(bits, clock)| BytesPerSecond(f64::from(*bits) / 8.0 * clock.0 * 2.0));
        Self {
            capability: gpu.compute_capability.known().copied(),
            sms: gpu.sm_count.known().copied(),
            bandwidth: bandwidth.filter(|rate| rate.0 > 0.0),
            l2: gpu.l2.known().copied().filter(|l2| l2.0 > 0),
        }
    }

    /// The same with a memory that reading reached `rate` of: less than the bus carries, as in a partition.
    #[must_use]
    pub fn with_reading(mut self, rate: Option<BytesPerSecond>) -> Self {
        /// What reading reaches of the rate that is printed.
        const REACHED: f64 = 0.92;
        if let Some(whole) = rate.map(|rate| BytesPerSecond(rate.0 / REACHED)) {
            self.bandwidth = Some(self.bandwidth.map_or(whole, |printed| if whole < printed { whole } else { printed }));
        }
        self
    }
}

/// Time of matrix products in one data type on one GPU.
///
/// It is fitted when the first time is asked for, since that takes milliseconds and many a data type is never asked about; once for all copies.
#[derive(Debug, Clone)]
pub struct MatmulModel {
    device: Device,
    fit: Arc<Fit>,
}

impl PartialEq for MatmulModel {
    fn eq(&self, other: &Self) -> bool {
        self.device == other.device && (Arc::ptr_eq(&self.fit, &other.fit) || self.found() == other.found())
    }
}

/// Timings, and what they come to.
#[derive(Debug)]
struct Fit {
    setting: Setting,
    timings: Vec<GemmTiming>,
    found: OnceLock<Found>,
}

#[derive(Debug, PartialEq)]
struct Found {
    constants: Constants,
    /// Absent where nothing was measured.
    residual: Option<Residual>,
}

/// A large product: what rates of products are stated for.
const LARGE: GemmShape = GemmShape::square(8192);

/// Without a measurement, nine times in ten the truth is within this factor of physics with its usual constants.
const UNMEASURED: f64 = 1.5;

impl MatmulModel {
    /// What physics and the GPU's family say of products in `dtype` without a measurement; `None` where the GPU's documents name no peak for it
    /// or no size of its second-level cache.
    pub fn assumed(gpu: &GpuModel, dtype: Dtype) -> Option<Self> {
        let device = Device::of(gpu, dtype)?;
        Some(Self::without_residual(device, Constants::usual(&device).0))
    }

    /// The model that explains `timings` best, all taken in one `setting`. With none, what [`Self::assumed`] says.
    ///
    /// Timings that are no positive numbers, and shapes with a zero, are left out.
    pub fn fit(gpu: &GpuModel, dtype: Dtype, setting: Setting, timings: &[GemmTiming]) -> Option<Self> {
        Some(Self::fitted(Device::of(gpu, dtype)?, setting, timings))
    }

    /// The same for a board that no document describes. `None` without a timing, or where the driver does not say enough.
    pub fn fit_board(board: &Board, dtype: Dtype, setting: Setting, timings: &[GemmTiming]) -> Option<Self> {
        let rates = timings.iter().map(|timing| timing.shape.flops().0 / timing.time.0).filter(|rate| rate.is_finite());
        let best = rates.reduce(f64::max)?;
        Some(Self::fitted(Device::recorded(board, dtype, best)?, setting, timings))
    }

    /// What physics says once its usual rate of arithmetic has given way to `best`, a rate that somebody published for large products.
    pub fn published(gpu: &GpuModel, dtype: Dtype, best: FlopsPerSecond) -> Option<Self> {
        let timing = GemmTiming { shape: LARGE, time: LARGE.flops() / best };
        let fitted = Self::fit(gpu, dtype, Setting::IN_A_MODEL, &[timing])?;
        Some(Self::without_residual(fitted.device, fitted.found().constants))
    }

    fn fitted(device: Device, setting: Setting, timings: &[GemmTiming]) -> Self {
        let sound = |timing: &&GemmTiming| {
            let GemmShape { m, n, k } = timing.shape;
            timing.time.0 > 0.0 && timing.time.0.is_finite() && m > 0 && n > 0 && k > 0
        };
        let timings = timings.iter().filter(sound).copied().collect();
        Self { device, fit: Arc::new(Fit { setting, timings, found: OnceLock::new() }) }
    }

    fn without_residual(device: Device, constants: Constants) -> Self {
        let found = OnceLock::from(Found { constants, residual: None });
        Self { device, fit: Arc::new(Fit { setting: Setting::IN_A_MODEL, timings: Vec::new(), found }) }
    }

    fn found(&self) -> &Found {
        let Fit { setting, timings, found } = &*self.fit;
        found.get_or_init(|| {
            let constants = fit::constants(&self.device, *setting, timings);
            let residual = Residual::new(&self.device, &constants, *setting, timings);
            Found { constants, residual }
        })
    }

    /// Time of one product within a model, launch included.
    pub fn time(&self, shape: GemmShape) -> Prediction {
        self.time_in(Setting::IN_A_MODEL, shape)
    }

    /// Time of one product in any setting, launch included. A shape with a zero takes no time.
    pub fn time_in(&self, setting: Setting, shape: GemmShape) -> Prediction {
        if shape.m == 0 || shape.n == 0 || shape.k == 0 {
            return Prediction::within(Seconds(0.0), 1.0, false);
        }
        let Found { constants, residual } = self.found();
        let computed = physics::time(&self.device, constants, setting, shape);
        let Some(residual) = residual else { return Prediction::within(Seconds(computed), UNMEASURED, true) };
        let correction = residual.at(shape, computed);
        Prediction::within(Seconds(computed * correction.log.exp()), correction.spread.exp(), correction.extrapolated)
    }

    /// The best rate that physics with these constants allows for a large product, in FLOP/s: the ceiling that shares of peak refer to.
    pub fn ceiling(&self) -> FlopsPerSecond {
        LARGE.flops() / self.time(LARGE).time
    }
}
