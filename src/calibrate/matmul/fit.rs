//! The constants that explain a set of timings best.
//!
//! The most likely constants given their usual values (normal in the logarithm) and timings whose errors are heavy-tailed (Student's t with four
//! degrees of freedom: a library picks a poor kernel for some shapes, and no constant shall bend to explain it). Found by the method of
//! Levenberg (1944) and Marquardt (1963) on the reweighted least-squares problem, with derivatives by differences.

use super::physics::{CONSTANTS, Constants, Device, time};
use super::{GemmTiming, Setting};
use crate::calibrate::cholesky::Cholesky;

/// What remains of a typical timing, as a share, that no constants explain.
const NOISE: f64 = 0.06;

/// Degrees of freedom of Student's t.
const TAIL: f64 = 4.0;

/// More rounds are not needed: the usual values are near.
const ROUNDS: usize = 12;

/// Step of the differences, in the logarithm: wide enough to see past the corners where one tile gives way to the next.
const DIFFERENCE: f64 = 0.02;

/// No constant moves by more than a factor of two in one round.
const LONGEST_MOVE: f64 = 0.7;

type Moves = [f64; CONSTANTS];

pub(super) fn constants(device: &Device, setting: Setting, timings: &[GemmTiming]) -> Constants {
    let (usual, spread) = Constants::usual(device);
    if timings.is_empty() {
        return usual;
    }
    let problem = Problem { device, setting, timings, usual: usual.to_array(), spread };
    problem.moved(&problem.solve())
}

struct Problem<'a> {
    device: &'a Device,
    setting: Setting,
    timings: &'a [GemmTiming],
    usual: [f64; CONSTANTS],
    spread: [f64; CONSTANTS],
}

impl Problem<'_> {
    fn moved(&self, moves: &Moves) -> Constants {
        Constants::from_array(std::array::from_fn(|i| self.usual[i] * moves[i].exp()))
    }

    /// ln(computed / measured) of each timing.
    fn errors(&self, moves: &Moves) -> Vec<f64> {
        let constants = self.moved(moves);
        self.timings.iter().map(|timing| (time(self.device, &constants, self.setting, timing.shape) / timing.time.0).ln()).collect()
    }

    /// The negative logarithm of the posterior, but for a constant.
    fn cost(&self, errors: &[f64], moves: &Moves) -> f64 {
        let unlikely = |error: &f64| (TAIL + 1.0) / 2.0 * ((error / NOISE).powi(2) / TAIL).ln_1p();
        let unusual = |(moved, spread): (&f64, &f64)| (moved / spread).powi(2) / 2.0;
        errors.iter().map(unlikely).sum::<f64>() + moves.iter().zip(&self.spread).map(unusual).sum::<f64>()
    }

    fn solve(&self) -> Moves {
        let mut moves = [0.0; CONSTANTS];
        let mut errors = self.errors(&moves);
        let mut cost = self.cost(&errors, &moves);
        let mut damping = 1e-2;
        for _ in 0..ROUNDS {
            let (curvature, gradient) = self.quadratic(&moves, &errors);
            let mut gain = 0.0;
            for _ in 0..6 {
                let Some(step) = damped_step(&curvature, &gradient, damping) else {
                    damping *= 10.0;
                    continue;
                };
                let tried: Moves = std::array::from_fn(|i| moves[i] + step[i].clamp(-LONGEST_MOVE, LONGEST_MOVE));
                let errors_there = self.errors(&tried);
                let cost_there = self.cost(&errors_there, &tried);
                if cost_there < cost {
                    gain = cost - cost_there;
                    (moves, errors, cost) = (tried, errors_there, cost_there);
                    damping = f64::max(damping * 0.3, 1e-6);
                    break;
                }
                damping *= 5.0;
            }
            if gain < 1e-3 {
                break;
            }
        }
        moves
    }

    /// Curvature (row by row) and gradient of the cost at `moves`, by Gauss's approximation.
    fn quadratic(&self, moves: &Moves, errors: &[f64]) -> (Vec<f64>, Moves) {
        let columns: Vec<Vec<f64>> = (0..CONSTANTS)
            .map(|i| {
                let mut beside = *moves;
                beside[i] += DIFFERENCE;
                self.errors(&beside).iter().zip(errors).map(|(there, here)| (there - here) / DIFFERENCE).collect()
            })
            .collect();
        let weights: Vec<f64> = errors.iter().map(|error| (TAIL + 1.0) / (TAIL * NOISE * NOISE + error * error)).collect();
        let weighted = |a: &[f64], b: &[f64]| a.iter().zip(b).zip(&weights).map(|((a, b), weight)| a * b * weight).sum::<f64>();
        let mut curvature = vec![0.0; CONSTANTS * CONSTANTS];
        let mut gradient = [0.0; CONSTANTS];
        for i in 0..CONSTANTS {
            let precision = self.spread[i].powi(-2);
            gradient[i] = weighted(&columns[i], errors) + precision * moves[i];
            for j in 0..=i {
                let value = weighted(&columns[i], &columns[j]) + if i == j { precision } else { 0.0 };
                curvature[i * CONSTANTS + j] = value;
                curvature[j * CONSTANTS + i] = value;
            }
        }
        (curvature, gradient)
    }
}

fn damped_step(curvature: &[f64], gradient: &Moves, damping: f64) -> Option<Vec<f64>> {
    let mut damped = curvature.to_vec();
    for i in 0..CONSTANTS {
        damped[i * CONSTANTS + i] *= 1.0 + damping;
    }
    let mut step: Vec<f64> = gradient.iter().map(|slope| -slope).collect();
    Cholesky::new(damped, CONSTANTS)?.solve(&mut step);
    Some(step)
}
