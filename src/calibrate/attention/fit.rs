//! Fitting a few coefficients to a few timings without ever believing either too much.
//!
//! A formula's **terms** are positive numbers: an efficiency, a number of cycles. Of each is known beforehand what is typical and how far
//! machines stray from it. The fit moves the logarithms of the terms to where
//!
//! > Σ ρ((ln predicted − ln measured) / ε) + Σ ((term − typical) / spread)²
//!
//! is least: a Bayesian estimate with normal priors (ridge regression toward physics), where ρ is Huber's (1964), so that a disturbed
//! timing pulls in proportion and not by its square. With no timing the typical values stand; with many the typical values hardly count.
//! Some terms vary with the size of a head, because kernels are compiled for each; those get a deviation per size, with a prior around
//! zero. The minimum is found with Levenberg's and Marquardt's method (1963); formulas are cheap, so derivatives are differences.
//!
//! How wrong the outcome is, is told by leaving each timing out in turn. For a linearised fit that needs no second fit: the error at a
//! timing that was left out is its residual / (1 − h), with h its leverage (Allen's PRESS statistic, 1974).

use crate::calibrate::cholesky::Cholesky;

/// Relative error of one timing together with what formulas leave out.
const NOISE: f64 = 0.05;
/// Beyond so many times the noise a residual counts linearly.
const ROBUST: f64 = 2.5;
/// No term strays further from typical than so many spreads.
const FURTHEST: f64 = 4.0;
const STEP: f64 = 1e-4;

/// What is known of a term before any timing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Term {
    /// Typical value.
    pub(super) typical: f64,
    /// How far machines stray from it: a standard deviation of its logarithm.
    pub(super) spread: f64,
    /// How far head sizes stray from each other on one machine, likewise; zero where they do not.
    pub(super) by_head: f64,
}

impl Term {
    pub(super) const fn new(typical: f64, spread: f64, by_head: f64) -> Self {
        Self { typical, spread, by_head }
    }
}

/// Terms for every size of head: those at the sizes timed, straight lines between, constant outside.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Terms<const N: usize> {
    anchors: Vec<(f64, [f64; N])>,
}

impl<const N: usize> Terms<N> {
    pub(super) fn typical(priors: &[Term; N]) -> Self {
        Self { anchors: vec![(128.0, priors.map(|term| term.typical))] }
    }

    /// The terms for heads of `head_dim` features.
    pub(super) fn at(&self, head_dim: f64) -> [f64; N] {
        let above = self.anchors.iter().position(|(size, _)| *size >= head_dim);
        match above {
            Some(0) => self.anchors[0].1,
            None => self.anchors.last().map_or([1.0; N], |(_, terms)| *terms),
            Some(upper) => {
                let ((low, from), (high, to)) = (&self.anchors[upper - 1], &self.anchors[upper]);
                let share = (head_dim - low) / (high - low);
                std::array::from_fn(|term| from[term] + (to[term] - from[term]) * share)
            }
        }
    }
}

/// The terms that explain the timings best.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fitted<const N: usize> {
    pub(super) terms: Terms<N>,
    /// The sum that was minimised: the lower, the better the formula.
    pub(super) cost: f64,
    /// Mean magnitude of the logarithmic error at a timing that is left out.
    pub(super) left_out: f64,
}

/// One timing as the fit sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample<S> {
    pub(super) head_dim: f64,
    pub(super) shape: S,
    /// Positive and finite.
    pub(super) time: f64,
}

/// Fits `formula` to `samples`, of which there must be one.
pub(super) fn fit<const N: usize, S>(
    priors: &[Term; N],
    samples: &[Sample<S>],
    formula: impl Fn(&[f64; N], &S) -> f64,
) -> Option<Fitted<N>> {
    let problem = Problem::new(priors, samples, formula)?;
    let mut at = vec![0.0; problem.spreads.len()];
    let mut residuals = problem.residuals(&at);
    let mut cost = problem.cost(&at, &residuals);
    let mut damping = 1e-2;
    for _ in 0..40 {
        let (curvature, gradient, _) = problem.normal_equations(&at, &residuals);
        let mut better = None;
        for _ in 0..8 {
            let mut damped = curvature.clone();
            for diagonal in damped.iter_mut().step_by(at.len() + 1) {
                *diagonal *= 1.0 + damping;
            }
            let Some(factor) = Cholesky::new(damped, at.len()) else { break };
            let mut step = gradient.clone();
            factor.solve(&mut step);
            let next: Vec<f64> = at.iter().zip(&step).map(|(at, step)| (at - step).clamp(-FURTHEST, FURTHEST)).collect();
            let next_residuals = problem.residuals(&next);
            let next_cost = problem.cost(&next, &next_residuals);
            if next_cost < cost {
                better = Some((next, next_residuals, next_cost));
                break;
            }
            damping *= 4.0;
        }
        let Some(found) = better else { break };
        let gain = cost - found.2;
        (at, residuals, cost) = found;
        damping = (damping / 5.0).max(1e-6);
        if gain < 1e-6 * cost {
            break;
        }
    }
    let left_out = problem.left_out(&at, &residuals)?;
    Some(Fitted { terms: problem.terms(&at), cost, left_out })
}

/// Coordinates are deviations from typical in units of their spread: first those of the terms, then those of each head size.
struct Problem<'a, const N: usize, S, F> {
    priors: &'a [Term; N],
    samples: &'a [Sample<S>],
    formula: F,
    /// Head sizes timed, ascending.
    sizes: Vec<f64>,
    /// Terms that vary with the head size.
    varying: Vec<usize>,
    /// Of every coordinate.
    spreads: Vec<f64>,
}

impl<'a, const N: usize, S, F: Fn(&[f64; N], &S) -> f64> Problem<'a, N, S, F> {
    fn new(priors: &'a [Term; N], samples: &'a [Sample<S>], formula: F) -> Option<Self> {
        let mut sizes: Vec<f64> = samples.iter().map(|sample| sample.head_dim).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        let varying: Vec<usize> = (0..N).filter(|&term| priors[term].by_head > 0.0).collect();
        let deviations = sizes.iter().flat_map(|_| varying.iter().map(|&term| priors[term].by_head));
        let spreads = priors.iter().map(|term| term.spread).chain(deviations).collect();
        (!samples.is_empty()).then_some(Self { priors, samples, formula, sizes, varying, spreads })
    }

    fn terms(&self, at: &[f64]) -> Terms<N> {
        let anchors = self.sizes.iter().enumerate().map(|(size, &head_dim)| {
            let mut logs: [f64; N] = std::array::from_fn(|term| self.priors[term].typical.ln() + at[term] * self.spreads[term]);
            for (place, &term) in self.varying.iter().enumerate() {
                let coordinate = N + size * self.varying.len() + place;
                logs[term] += at[coordinate] * self.spreads[coordinate];
            }
            (head_dim, logs.map(f64::exp))
        });
        Terms { anchors: anchors.collect() }
    }

    /// ln predicted − ln measured.
    fn residuals(&self, at: &[f64]) -> Vec<f64> {
        let terms = self.terms(at);
        self.samples.iter().map(|sample| ((self.formula)(&terms.at(sample.head_dim), &sample.shape) / sample.time).ln()).collect()
    }

    fn cost(&self, at: &[f64], residuals: &[f64]) -> f64 {
        let huber = |residual: &f64| {
            let size = residual.abs() / NOISE;
            if size < ROBUST { size * size } else { 2.0 * ROBUST * size - ROBUST * ROBUST }
        };
        let cost = residuals.iter().map(huber).sum::<f64>() + at.iter().map(|at| at * at).sum::<f64>();
        if cost.is_finite() { cost } else { f64::INFINITY }
    }

    /// Curvature (its lower triangle, row by row) and gradient of half the cost, residuals weighted as Huber's function has them, and the residuals' derivatives.
    fn normal_equations(&self, at: &[f64], residuals: &[f64]) -> (Vec<f64>, Vec<f64>, Vec<Vec<f64>>) {
        let n = at.len();
        let columns: Vec<Vec<f64>> = (0..n)
            .map(|coordinate| {
                let mut moved = at.to_vec();
                moved[coordinate] += STEP;
                self.residuals(&moved).iter().zip(residuals).map(|(moved, here)| (moved - here) / STEP).collect()
            })
            .collect();
        let weights: Vec<f64> = residuals.iter().map(|residual| weight(*residual)).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).zip(&weights).map(|((a, b), weight)| a * b * weight).sum::<f64>();
        let mut curvature = vec![0.0; n * n];
        for row in 0..n {
            for column in 0..=row {
                curvature[row * n + column] = dot(&columns[row], &columns[column]) + if row == column { 1.0 } else { 0.0 };
            }
        }
        let gradient = (0..n).map(|row| dot(&columns[row], residuals) + at[row]).collect();
        (curvature, gradient, columns)
    }

    fn left_out(&self, at: &[f64], residuals: &[f64]) -> Option<f64> {
        let (curvature, _, columns) = self.normal_equations(at, residuals);
        let factor = Cholesky::new(curvature, at.len())?;
        let errors = residuals.iter().enumerate().map(|(sample, residual)| {
            let derivatives: Vec<f64> = columns.iter().map(|column| column[sample]).collect();
            let mut solved = derivatives.clone();
            factor.solve(&mut solved);
            let spread: f64 = solved.iter().zip(&derivatives).map(|(a, b)| a * b).sum();
            (residual / (1.0 - spread * weight(*residual)).max(0.1)).abs()
        });
        let mean = errors.sum::<f64>() / residuals.len() as f64;
        mean.is_finite().then_some(mean)
    }
}

fn weight(residual: f64) -> f64 {
    (ROBUST / (residual.abs() / NOISE).max(ROBUST)) / (NOISE * NOISE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: [Term; 2] = [Term::new(1.0, 0.5, 0.0), Term::new(1.0, 0.5, 0.1)];

    fn line(terms: &[f64; 2], x: &f64) -> f64 {
        terms[0] + terms[1] * x
    }

    fn samples(floor: f64, slope: f64, disturbed: f64) -> Vec<Sample<f64>> {
        (0..12)
            .map(|i| {
                let shape = 0.1 * f64::from(1 << i);
                Sample { head_dim: 128.0, shape, time: line(&[floor, slope], &shape) * if i == 5 { disturbed } else { 1.0 } }
            })
            .collect()
    }

    #[test]
    fn it_finds_the_terms_that_made_the_timings() {
        let fitted = fit(&LINE, &samples(2.0, 0.5, 1.0), line).unwrap();
        let terms = fitted.terms.at(128.0);
        assert!((terms[0] / 2.0 - 1.0).abs() < 0.02 && (terms[1] / 0.5 - 1.0).abs() < 0.02, "{terms:?}");
        assert!(fitted.left_out < 0.02, "{fitted:?}");
    }

    #[test]
    fn one_disturbed_timing_moves_little() {
        let terms = fit(&LINE, &samples(2.0, 0.5, 5.0), line).unwrap().terms.at(128.0);
        assert!((terms[0] / 2.0 - 1.0).abs() < 0.1 && (terms[1] / 0.5 - 1.0).abs() < 0.1, "{terms:?}");
    }

    #[test]
    fn without_knowledge_the_typical_stands() {
        let one = [Sample { head_dim: 64.0, shape: 1e-9, time: 1.0 }];
        let terms = fit(&LINE, &one, line).unwrap().terms.at(64.0);
        assert!((terms[1] - 1.0).abs() < 1e-6);
        assert!(fit(&LINE, &[], line).is_none());
    }

    #[test]
    fn between_head_sizes_terms_are_straight_lines() {
        let terms = Terms { anchors: vec![(64.0, [1.0]), (128.0, [3.0])] };
        assert_eq!([32.0, 64.0, 96.0, 128.0, 512.0].map(|size| terms.at(size)[0]), [1.0, 1.0, 2.0, 3.0, 3.0]);
    }
}
