//! The most likely coefficients of a formula, given what is usual and a few timings.
//!
//! A formula's coefficients are positive. Of each is known beforehand what is usual and how far machines stray from it, as the standard deviation
//! of its logarithm. A **coordinate** is how many such deviations a coefficient lies from usual. The timings move the coordinates to where
//!
//! > Σ ρ(ln predicted − ln measured) + Σ coordinate² / 2
//!
//! is least: a Bayesian estimate with normal priors. With no timing the usual values stand; with many they hardly count. ρ grows more slowly than
//! the square of an error that stands out, so that a disturbed timing, or a shape for which a library chose badly, does not bend everything
//! else. The minimum is found with the method of Levenberg (1944) and Marquardt (1963) on the reweighted least-squares problem;
//! formulas are cheap, so derivatives are differences.
//!
//! How wrong the outcome is, is told by leaving each timing out in turn. For a linearised fit that needs no second fit: the error at a timing
//! that was left out is its error / (1 − h), with h its leverage (Allen's PRESS statistic, 1974).

use super::cholesky::Cholesky;

/// How an estimate is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Method {
    /// Relative error of one timing together with what the formula leaves out.
    pub noise: f64,
    /// What is believed of errors that stand out.
    pub outliers: Outliers,
    /// Step of a coordinate for the differences.
    pub difference: f64,
    /// No coordinate strays further.
    pub furthest: f64,
    /// Most rounds.
    pub rounds: usize,
    /// A round that lowers the sum by a smaller share is the last.
    pub enough: f64,
}

/// How errors that stand out are weighed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outliers {
    /// Linearly, beyond so many times the noise (Huber 1964).
    Huber(f64),
    /// As Student's t with so many degrees of freedom has them.
    Student(f64),
}

impl Method {
    fn loss(&self, error: f64) -> f64 {
        let size = error.abs() / self.noise;
        match self.outliers {
            Outliers::Huber(bend) if size < bend => size * size / 2.0,
            Outliers::Huber(bend) => bend * (size - bend / 2.0),
            Outliers::Student(freedom) => (freedom + 1.0) / 2.0 * (size * size / freedom).ln_1p(),
        }
    }

    /// Of an error in the least-squares problem.
    fn weight(&self, error: f64) -> f64 {
        let size = error.abs() / self.noise;
        let relative = match self.outliers {
            Outliers::Huber(bend) => bend / size.max(bend),
            Outliers::Student(freedom) => (freedom + 1.0) / (freedom + size * size),
        };
        relative / (self.noise * self.noise)
    }
}

/// Where the sum is least.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Estimate {
    /// The coordinates.
    pub at: Vec<f64>,
    /// ln predicted − ln measured of each timing.
    pub errors: Vec<f64>,
    /// The sum.
    pub cost: f64,
}

/// A formula before timings: `errors` gives ln predicted − ln measured of each timing for given coordinates.
pub(super) struct Problem<F> {
    method: Method,
    coordinates: usize,
    errors: F,
}

impl<F: Fn(&[f64]) -> Vec<f64>> Problem<F> {
    pub(super) fn new(method: Method, coordinates: usize, errors: F) -> Self {
        Self { method, coordinates, errors }
    }

    /// The most likely coordinates.
    pub(super) fn solve(&self) -> Estimate {
        let mut best = self.estimate(vec![0.0; self.coordinates]);
        let mut damping = 1e-2;
        for _ in 0..self.method.rounds {
            let Equations { curvature, gradient, .. } = self.linearised(&best);
            let mut gain = 0.0;
            for _ in 0..8 {
                let step = self.step(&curvature, &gradient, damping);
                let there = step.map(|step| {
                    let furthest = self.method.furthest;
                    self.estimate(best.at.iter().zip(&step).map(|(at, step)| (at - step).clamp(-furthest, furthest)).collect())
                });
                if let Some(there) = there.filter(|there| there.cost < best.cost) {
                    gain = best.cost - there.cost;
                    best = there;
                    damping = f64::max(damping / 4.0, 1e-6);
                    break;
                }
                damping *= 4.0;
            }
            if gain <= self.method.enough * best.cost {
                break;
            }
        }
        best
    }

    /// The error at each timing, had it been left out.
    pub(super) fn left_out(&self, estimate: &Estimate) -> Vec<f64> {
        let Equations { curvature, columns, .. } = self.linearised(estimate);
        let Some(factor) = Cholesky::new(curvature, self.coordinates) else { return estimate.errors.clone() };
        let error = |(timing, error): (usize, &f64)| {
            let derivatives: Vec<f64> = columns.iter().map(|column| column[timing]).collect();
            let mut solved = derivatives.clone();
            factor.solve(&mut solved);
            let spread: f64 = solved.iter().zip(&derivatives).map(|(a, b)| a * b).sum();
            error / (1.0 - spread * self.method.weight(*error)).max(0.1)
        };
        estimate.errors.iter().enumerate().map(error).collect()
    }

    fn estimate(&self, at: Vec<f64>) -> Estimate {
        let errors = (self.errors)(&at);
        let cost = errors.iter().map(|error| self.method.loss(*error)).sum::<f64>() + at.iter().map(|at| at * at).sum::<f64>() / 2.0;
        Estimate { at, errors, cost: if cost.is_finite() { cost } else { f64::INFINITY } }
    }

    fn linearised(&self, here: &Estimate) -> Equations {
        let n = self.coordinates;
        let difference = self.method.difference;
        let column = |coordinate: usize| -> Vec<f64> {
            let mut moved = here.at.clone();
            moved[coordinate] += difference;
            (self.errors)(&moved).iter().zip(&here.errors).map(|(there, here)| (there - here) / difference).collect()
        };
        let columns: Vec<Vec<f64>> = (0..n).map(column).collect();
        let weights: Vec<f64> = here.errors.iter().map(|error| self.method.weight(*error)).collect();
        let weighted = |a: &[f64], b: &[f64]| a.iter().zip(b).zip(&weights).map(|((a, b), weight)| a * b * weight).sum::<f64>();
        let mut curvature = vec![0.0; n * n];
        for row in 0..n {
            for column in 0..=row {
                curvature[row * n + column] = weighted(&columns[row], &columns[column]) + f64::from(row == column);
            }
        }
        let gradient = (0..n).map(|row| weighted(&columns[row], &here.errors) + here.at[row]).collect();
        Equations { curvature, gradient, columns }
    }

    fn step(&self, curvature: &[f64], gradient: &[f64], damping: f64) -> Option<Vec<f64>> {
        let mut damped = curvature.to_vec();
        for diagonal in damped.iter_mut().step_by(self.coordinates + 1) {
            *diagonal *= 1.0 + damping;
        }
        let mut step = gradient.to_vec();
        Cholesky::new(damped, self.coordinates)?.solve(&mut step);
        Some(step)
    }
}

/// The least-squares problem at some coordinates.
struct Equations {
    /// Its lower triangle, row by row.
    curvature: Vec<f64>,
    gradient: Vec<f64>,
    /// Derivatives of the errors by each coordinate.
    columns: Vec<Vec<f64>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const METHODS: [Method; 2] = [
        Method { noise: 0.05, outliers: Outliers::Huber(2.5), difference: 1e-4, furthest: 4.0, rounds: 40, enough: 1e-6 },
        Method { noise: 0.05, outliers: Outliers::Student(4.0), difference: 1e-4, furthest: 4.0, rounds: 40, enough: 1e-6 },
    ];

    /// Floor and slope of a line, both usually 1 and with a deviation of 0.5, from twelve timings of which one is disturbed.
    fn line(method: Method, floor: f64, slope: f64, disturbed: f64) -> ([f64; 2], Vec<f64>) {
        let x = |i: i32| 0.1 * 2f64.powi(i);
        let errors = move |at: &[f64]| {
            let (a, b) = ((0.5 * at[0]).exp(), (0.5 * at[1]).exp());
            let measured = |i| (floor + slope * x(i)) * if i == 5 { disturbed } else { 1.0 };
            (0..12).map(|i| ((a + b * x(i)) / measured(i)).ln()).collect()
        };
        let problem = Problem::new(method, 2, errors);
        let estimate = problem.solve();
        ([(0.5 * estimate.at[0]).exp(), (0.5 * estimate.at[1]).exp()], problem.left_out(&estimate))
    }

    #[test]
    fn it_finds_the_coefficients_that_made_the_timings() {
        for method in METHODS {
            let ([floor, slope], left_out) = line(method, 2.0, 0.5, 1.0);
            assert!((floor / 2.0 - 1.0).abs() < 0.02 && (slope / 0.5 - 1.0).abs() < 0.02, "{floor} {slope}");
            assert!(left_out.iter().all(|error| error.abs() < 0.05), "{left_out:?}");
        }
    }

    #[test]
    fn one_disturbed_timing_moves_little_and_shows() {
        for method in METHODS {
            let ([floor, slope], left_out) = line(method, 2.0, 0.5, 5.0);
            assert!((floor / 2.0 - 1.0).abs() < 0.1 && (slope / 0.5 - 1.0).abs() < 0.1, "{floor} {slope}");
            assert!(left_out[5] < -1.5, "{left_out:?}");
        }
    }

    #[test]
    fn without_timings_the_usual_stands() {
        for method in METHODS {
            let estimate = Problem::new(method, 3, |_| Vec::new()).solve();
            assert_eq!((estimate.at, estimate.cost), (vec![0.0; 3], 0.0));
        }
    }

    #[test]
    fn a_formula_that_breaks_down_is_left_where_it_was() {
        let estimate = Problem::new(METHODS[0], 1, |at: &[f64]| vec![if at[0] == 0.0 { 1.0 } else { f64::NAN }]).solve();
        assert_eq!(estimate.at, [0.0]);
    }
}
