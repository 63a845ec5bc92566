//! Statistics of repeated measurements.
//!
//! Timings are skewed: mostly close together, now and then far too long. So the **median** is the point, and its interval comes from order
//! statistics: the ranks between which the true median lies with the wanted confidence, whatever the distribution (the binomial argument;
//! Hahn & Meeker, *Statistical Intervals*, ch. 5). No normality is assumed anywhere.
//!
//! [`Sample`] holds the invariant everything else relies on: at least two values, all finite, sorted.

use serde::{Deserialize, Serialize};

/// A point with the interval around it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Interval {
    /// The estimate.
    pub point: f64,
    /// Lower end, not above the point.
    pub low: f64,
    /// Upper end, not below the point.
    pub high: f64,
}

impl Interval {
    /// An interval; the ends are put in order and made to hold the point.
    pub fn new(point: f64, low: f64, high: f64) -> Self {
        Self { point, low: low.min(high).min(point), high: low.max(high).max(point) }
    }

    /// Half of the distance between the ends.
    pub fn half_width(self) -> f64 {
        (self.high - self.low) / 2.0
    }

    /// Whether `value` lies in it, ends included.
    pub fn contains(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// The interval of `amount / x` for positive x: slow times are low rates.
    pub fn rate_of(self, amount: f64) -> Self {
        Self::new(amount / self.point, amount / self.high, amount / self.low)
    }

    /// The interval of `factor · x`.
    pub fn scaled(self, factor: f64) -> Self {
        Self::new(self.point * factor, self.low * factor, self.high * factor)
    }
}

/// Why values are not a sample.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// Fewer than two.
    #[error("expected at least two values but found {0}")]
    TooFew(usize),
    /// NaN or infinite.
    #[error("expected finite values but found {0}")]
    NotFinite(String),
}

/// At least two finite values, sorted.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// Sorts `values`.
    ///
    /// # Errors
    /// With fewer than two values, or one that is not finite.
    pub fn new(mut values: Vec<f64>) -> Result<Self, SampleError> {
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(SampleError::NotFinite(value.to_string()));
        }
        if values.len() < 2 {
            return Err(SampleError::TooFew(values.len()));
        }
        values.sort_by(f64::total_cmp);
        Ok(Self(values))
    }

    /// The values in ascending order.
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// How many there are; at least two.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest.
    pub fn least(&self) -> f64 {
        self.0[0]
    }

    /// The largest.
    pub fn most(&self) -> f64 {
        self.0[self.0.len() - 1]
    }

    /// Arithmetic mean.
    pub fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    /// Middle value; the mean of the middle two for an even count.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Quantile by linear interpolation between order statistics (Hyndman & Fan's definition 7). `q` is clamped to 0…1.
    pub fn quantile(&self, q: f64) -> f64 {
        let position = q.clamp(0.0, 1.0) * (self.0.len() - 1) as f64;
        let below = position.floor() as usize;
        let above = (below + 1).min(self.0.len() - 1);
        self.0[below] + (self.0[above] - self.0[below]) * (position - below as f64)
    }

    /// Median with an interval that covers the true median with at least the given confidence; with too few values for that, from the
    /// smallest to the largest (which cover it with 1 − 2¹⁻ⁿ).
    pub fn median_interval(&self, confidence: f64) -> Interval {
        self.quantile_interval(0.5, confidence)
    }

    /// Quantile with a distribution-free interval: the narrowest pair of ranks, symmetric in probability, whose binomial probability of
    /// enclosing the true quantile reaches `confidence`.
    pub fn quantile_interval(&self, q: f64, confidence: f64) -> Interval {
        let n = self.0.len();
        let tail = (1.0 - confidence.clamp(0.0, 1.0)) / 2.0;
        let cumulative = binomial_cumulative(n, q.clamp(0.0, 1.0));
        // X_(r) is above the quantile with P(B < r) = cumulative[r - 1]; ranks count from 1.
        let lower = (1..=n).take_while(|&rank| cumulative[rank - 1] <= tail).last().unwrap_or(1);
        let upper = (1..=n).find(|&rank| 1.0 - cumulative[rank - 1] <= tail).unwrap_or(n);
        Interval::new(self.quantile(q), self.0[lower - 1], self.0[upper - 1])
    }

    /// Coefficient of variation by the median: half the distance between the 16th and 84th percentile over the median. Equals the relative
    /// standard deviation for a normal distribution and ignores the odd long sample.
    pub fn spread(&self) -> f64 {
        (self.quantile(0.8413) - self.quantile(0.1587)) / 2.0 / self.median()
    }

    /// Percentile bootstrap interval of any statistic, with `rounds` resamples drawn from `seed`.
    pub fn bootstrap(&self, rounds: usize, confidence: f64, seed: u64, statistic: impl Fn(&Self) -> f64) -> Interval {
        let mut random = SplitMix64(seed);
        let estimates =
            (0..rounds.max(2)).map(|_| statistic(&self.resample(&mut random))).filter(|estimate| estimate.is_finite()).collect();
        let point = statistic(self);
        let tail = (1.0 - confidence.clamp(0.0, 1.0)) / 2.0;
        match Self::new(estimates) {
            Ok(estimates) => Interval::new(point, estimates.quantile(tail), estimates.quantile(1.0 - tail)),
            Err(_) => Interval::new(point, f64::NEG_INFINITY, f64::INFINITY),
        }
    }

    fn resample(&self, random: &mut SplitMix64) -> Self {
        let mut values: Vec<f64> = (0..self.0.len()).map(|_| self.0[random.below(self.0.len())]).collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }
}

/// Relative change of the median from `before` to `after` (0.03 is 3 % more), with a percentile bootstrap interval drawn from `seed`.
pub fn change(before: &Sample, after: &Sample, confidence: f64, seed: u64) -> Interval {
    const ROUNDS: usize = 2000;
    let mut random = SplitMix64(seed);
    let relative = |before: &Sample, after: &Sample| after.median() / before.median() - 1.0;
    let estimates =
        (0..ROUNDS).map(|_| relative(&before.resample(&mut random), &after.resample(&mut random))).filter(|x| x.is_finite()).collect();
    let tail = (1.0 - confidence.clamp(0.0, 1.0)) / 2.0;
    match Sample::new(estimates) {
        Ok(estimates) => Interval::new(relative(before, after), estimates.quantile(tail), estimates.quantile(1.0 - tail)),
        Err(_) => Interval::new(relative(before, after), f64::NEG_INFINITY, f64::INFINITY),
    }
}

/// `P(B ≤ k)` for k = 0…n of a binomial with n draws and chance p, by the recurrence of its terms in logarithms (no underflow).
fn binomial_cumulative(n: usize, p: f64) -> Vec<f64> {
    if p <= 0.0 {
        return vec![1.0; n + 1];
    }
    if p >= 1.0 {
        return (0..=n).map(|k| if k == n { 1.0 } else { 0.0 }).collect();
    }
    let mut log_term = n as f64 * (-p).ln_1p();
    let mut sum = 0.0;
    (0..=n)
        .map(|k| {
            if k > 0 {
                log_term += ((n - k + 1) as f64 / k as f64).ln() + p.ln() - (-p).ln_1p();
            }
            sum += log_term.exp();
            f64::min(sum, 1.0)
        })
        .collect()
}

/// The SplitMix64 generator (Steele, Lea & Flood 2014): tiny, seeded, good enough for resampling and test data.
#[derive(Debug, Clone)]
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in 0…1, the end excluded.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in 0…`bound`, the end excluded; 0 for a zero bound.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// Standard normal (Box & Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_sample_is_never_empty_nor_infinite() {
        assert_eq!(Sample::new(vec![1.0]), Err(SampleError::TooFew(1)));
        assert_eq!(Sample::new(vec![1.0, f64::NAN]), Err(SampleError::NotFinite("NaN".into())));
        assert_eq!(Sample::new(vec![3.0, 1.0, 2.0]).unwrap().values(), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn quantiles_follow_the_definition() {
        let sample = Sample::new(vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(sample.median(), 2.5);
        assert_eq!(sample.quantile(0.0), 1.0);
        assert_eq!(sample.quantile(1.0), 4.0);
        assert!((sample.quantile(0.25) - 1.75).abs() < 1e-12);
    }

    #[test]
    fn ranks_of_the_median_interval_match_published_tables() {
        // Hahn & Meeker, table of distribution-free 95 % intervals of the median: n = 10 → ranks 2 and 9, n = 20 → 6 and 15, n = 50 → 18 and 33.
        for (n, low, high) in [(6, 1, 6), (10, 2, 9), (20, 6, 15), (50, 18, 33)] {
            let sample = Sample::new((1..=n).map(f64::from).collect()).unwrap();
            let interval = sample.median_interval(0.95);
            assert_eq!((interval.low, interval.high), (f64::from(low), f64::from(high)), "n = {n}");
        }
    }

    #[test]
    fn median_intervals_cover_the_truth_as_often_as_they_claim() {
        let mut random = SplitMix64(7);
        for n in [6usize, 11, 30, 101] {
            let rounds = 2000;
            let covered = (0..rounds)
                .filter(|_| {
                    // Skewed like timings: log-normal with median 1.
                    let values = (0..n).map(|_| (0.3 * random.normal()).exp()).collect();
                    Sample::new(values).unwrap().median_interval(0.95).contains(1.0)
                })
                .count();
            let share = covered as f64 / f64::from(rounds);
            assert!(share >= 0.94, "n = {n}: {share}");
            assert!(share <= 0.995, "n = {n}: needlessly wide, {share}");
        }
    }

    #[test]
    fn bootstrap_of_the_mean_agrees_with_its_standard_error() {
        let mut random = SplitMix64(3);
        let sample = Sample::new((0..400).map(|_| 10.0 + random.normal()).collect()).unwrap();
        let interval = sample.bootstrap(2000, 0.95, 1, Sample::mean);
        assert!(interval.contains(sample.mean()));
        // 1.96 standard errors of 1/√400 are 0.098.
        assert!((interval.half_width() - 0.098).abs() < 0.02, "{interval:?}");
    }

    #[test]
    fn a_change_is_seen_and_no_change_is_not() {
        let mut random = SplitMix64(5);
        let mut draw = |level: f64| Sample::new((0..60).map(|_| level * (1.0 + 0.005 * random.normal())).collect()).unwrap();
        let (before, same, slower) = (draw(1.0), draw(1.0), draw(1.03));
        let change_up = change(&before, &slower, 0.95, 1);
        assert!(change_up.low > 0.02 && change_up.high < 0.04, "{change_up:?}");
        assert!(change(&before, &same, 0.99, 1).contains(0.0));
    }

    #[test]
    fn rates_turn_intervals_around() {
        let rate = Interval::new(2.0, 1.0, 4.0).rate_of(8.0);
        assert_eq!((rate.low, rate.point, rate.high), (2.0, 4.0, 8.0));
    }

    proptest! {
        #[test]
        fn the_median_interval_holds_the_median(values in proptest::collection::vec(-1e9..1e9f64, 2..200), confidence in 0.0..1.0f64) {
            let sample = Sample::new(values).unwrap();
            let interval = sample.median_interval(confidence);
            prop_assert!(interval.contains(sample.median()));
            prop_assert!(sample.least() <= interval.low && interval.high <= sample.most());
        }

        #[test]
        fn more_confidence_is_never_narrower(values in proptest::collection::vec(-1e9..1e9f64, 2..100), a in 0.0..1.0f64, b in 0.0..1.0f64) {
            let sample = Sample::new(values).unwrap();
            let (less, more) = (sample.median_interval(a.min(b)), sample.median_interval(a.max(b)));
            prop_assert!(more.low <= less.low && less.high <= more.high);
        }

        #[test]
        fn quantiles_are_monotone(values in proptest::collection::vec(-1e9..1e9f64, 2..100), a in 0.0..1.0f64, b in 0.0..1.0f64) {
            let sample = Sample::new(values).unwrap();
            prop_assert!(sample.quantile(a.min(b)) <= sample.quantile(a.max(b)));
        }

        #[test]
        fn below_stays_below(seed: u64, bound in 1usize..1000) {
            prop_assert!(SplitMix64(seed).below(bound) < bound);
        }
    }
}
