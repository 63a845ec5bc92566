//! The terms of a formula, from a few timings of heads of a few sizes.
//!
//! Some terms vary with the size of a head, because kernels are compiled for each; those get a deviation per size besides the one of all,
//! usually zero.

use crate::calibrate::estimation::{self, Method, Outliers};

const METHOD: Method = Method { noise: 0.05, outliers: Outliers::Huber(2.5), difference: 1e-4, furthest: 4.0, rounds: 40, enough: 1e-6 };

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
    let estimation = estimation::Problem::new(METHOD, problem.spreads.len(), |at: &[f64]| problem.errors(at));
    let estimate = estimation.solve();
    let left_out = estimation.left_out(&estimate).iter().map(|error| error.abs()).sum::<f64>() / samples.len() as f64;
    left_out.is_finite().then(|| Fitted { terms: problem.terms(&estimate.at), cost: estimate.cost, left_out })
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
    fn errors(&self, at: &[f64]) -> Vec<f64> {
        let terms = self.terms(at);
        self.samples.iter().map(|sample| ((self.formula)(&terms.at(sample.head_dim), &sample.shape) / sample.time).ln()).collect()
    }
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
