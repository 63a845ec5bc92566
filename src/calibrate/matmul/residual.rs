//! What the constants cannot explain, as a smooth field between the timings.
//!
//! The logarithm of measured over computed is taken for a Gaussian process (kriging; Rasmussen & Williams, *Gaussian Processes for Machine
//! Learning*, 2006, ch. 2) over three coordinates: the logarithms of `n`, of `k` and of the computed time. The last one stands in for `m`: for
//! given weights the predicted time is then a function of the computed one, and rises with it as long as the field's slope is above −1, which
//! its scales see to. The covariance is the rational quadratic one: it falls off with a power of the distance, so that regions far from any
//! timing keep a little of what the nearest ones say.
//!
//! **How wide the interval is** follows from the timings themselves: each is predicted from all others (in closed form, ch. 5.4.2), and the
//! error that nine in ten stay below sets the scale, together with what other machines showed, since a few dozen errors alone, of a model
//! that was fitted to them, would promise too much.

use super::physics::{Constants, Device, time};
use super::{GemmShape, GemmTiming, Setting};
use crate::calibrate::cholesky::Cholesky;

/// Distance, in the logarithm of a coordinate, over which the field changes.
const REACH: f64 = 1.6;

/// Standard deviation of the field.
const DEPTH: f64 = 0.06;

/// Standard deviation of what is not smooth: a library's choices for single shapes.
const ROUGHNESS: f64 = 0.05;

/// Degrees of freedom of Student's t for the errors of single timings.
const TAIL: f64 = 4.0;

/// The 95th percentile of the normal distribution.
const NINE_IN_TEN: f64 = 1.645;

/// Half-width of the 90 % interval, in the logarithm, on machines that were compared shape by shape, and how many timings it counts as.
const USUAL_WIDTH: (f64, f64) = (0.13, 32.0);

/// Errors of shapes elsewhere are larger than those of the timings among each other, which the constants were fitted to.
const OPTIMISM: f64 = 1.3;

/// Correlation with the nearest timing below which a shape counts as outside of what was measured.
const NEAR: f64 = 0.5;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Residual {
    timings: Vec<Anchor>,
    /// Scale of the stated interval, relative to the field's own.
    width: f64,
}

/// A timing: its coordinates and its part in the field.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Anchor {
    at: [f64; 3],
    weight: f64,
}

/// What the field says of a shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Correction {
    /// Logarithm of the factor by which the computed time is off.
    pub log: f64,
    /// Half-width of its 90 % interval.
    pub spread: f64,
    /// Whether no timing is near.
    pub extrapolated: bool,
}

impl Residual {
    /// `None` without a timing.
    pub(super) fn new(device: &Device, constants: &Constants, setting: Setting, timings: &[GemmTiming]) -> Option<Self> {
        let count = timings.len();
        if count == 0 {
            return None;
        }
        let computed: Vec<f64> = timings.iter().map(|timing| time(device, constants, setting, timing.shape)).collect();
        let at: Vec<[f64; 3]> = timings.iter().zip(&computed).map(|(timing, &time)| coordinates(timing.shape, time)).collect();
        let logs: Vec<f64> = timings.iter().zip(&computed).map(|(timing, time)| (timing.time.0 / time).ln()).collect();

        // Errors of single timings that stand out are given a larger variance, as Student's t has it, until that settles.
        let mut variances = vec![ROUGHNESS * ROUGHNESS; count];
        let mut weights = logs.clone();
        let mut factored = None;
        for _ in 0..3 {
            let covariance = |i: usize, j: usize| DEPTH * DEPTH * correlation(&at[i], &at[j]) + if i == j { variances[i] } else { 0.0 };
            let matrix = (0..count * count).map(|index| covariance(index / count, index % count)).collect();
            let cholesky = Cholesky::new(matrix, count)?;
            weights.clone_from(&logs);
            cholesky.solve(&mut weights);
            for (variance, weight) in variances.iter_mut().zip(&weights) {
                let error = *variance * weight / ROUGHNESS;
                *variance = ROUGHNESS * ROUGHNESS * (TAIL + error * error) / (TAIL + 1.0);
            }
            factored = Some(cholesky);
        }
        let cholesky = factored?;

        let mut left_out: Vec<f64> =
            weights.iter().zip(cholesky.inverse_diagonal()).map(|(weight, inverse)| (weight / inverse).abs()).collect();
        left_out.sort_by(f64::total_cmp);
        let seen = left_out[(count * 9 / 10).min(count - 1)] * OPTIMISM;
        let (usual, counts) = USUAL_WIDTH;
        let width = ((count as f64 * seen * seen + counts * usual * usual) / (count as f64 + counts)).sqrt();
        let own = NINE_IN_TEN * (ROUGHNESS * ROUGHNESS + DEPTH * DEPTH / 2.0).sqrt();
        let timings = at.into_iter().zip(weights).map(|(at, weight)| Anchor { at, weight: weight * DEPTH * DEPTH }).collect();
        Some(Self { timings, width: width / own })
    }

    /// What the field says of a shape whose computed time is `computed`.
    pub(super) fn at(&self, shape: GemmShape, computed: f64) -> Correction {
        let here = coordinates(shape, computed);
        let (mut log, mut nearest) = (0.0, 0.0);
        for anchor in &self.timings {
            let correlation = correlation(&here, &anchor.at);
            log += correlation * anchor.weight;
            nearest = f64::max(nearest, correlation);
        }
        // The variance given the nearest timing alone: an upper bound of that given all.
        let known = DEPTH * DEPTH * nearest * nearest / (DEPTH * DEPTH + ROUGHNESS * ROUGHNESS);
        let variance = DEPTH * DEPTH * (1.0 - known) + ROUGHNESS * ROUGHNESS;
        Correction { log, spread: NINE_IN_TEN * variance.sqrt() * self.width, extrapolated: nearest < NEAR }
    }
}

fn coordinates(shape: GemmShape, computed: f64) -> [f64; 3] {
    [(shape.n as f64).ln() / REACH, (shape.k as f64).ln() / REACH, computed.ln() / REACH]
}

/// Rational quadratic with exponent 2.
fn correlation(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    let distance: f64 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    let fall = 1.0 + distance / 4.0;
    1.0 / (fall * fall)
}
