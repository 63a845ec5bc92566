//! When enough samples have been taken.

use super::StopReason;
use crate::stats::Sample;
use crate::units::Seconds;

/// Limits of sampling. A pure rule: the state is passed in, so it is tested on synthetic series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StopRule {
    /// Stop when the 95 % interval of the median is at most this wide on either side, relative to the median.
    pub target: f64,
    /// Sampled time that is spent in any case.
    pub least: Seconds,
    /// Sampled time after which sampling ends whatever the precision.
    pub most: Seconds,
    /// Samples after which sampling ends whatever the precision.
    pub most_samples: usize,
}

/// Where the sampling stands.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// Accepted samples, seconds per iteration.
    pub samples: &'a [f64],
    /// Attempts, rejected ones included.
    pub attempts: usize,
    /// Time that the samples took together, rejected ones included.
    pub sampled: Seconds,
}

/// Fewer samples than this have no 95 % interval of the median: the extremes of five cover it with 93.75 %.
pub(crate) const LEAST_SAMPLES: usize = 6;

impl StopRule {
    /// Whether to stop now, and because of which limit. Precision counts only after `least`; fewer than six samples are never precise.
    pub fn decide(&self, progress: Progress<'_>) -> Option<StopReason> {
        let count = progress.samples.len();
        // Every look costs time between the batches and a little of the interval's coverage, so many samples are not looked at one by one.
        let worth_a_look = count >= LEAST_SAMPLES && count.is_multiple_of(count / 32 + 1);
        if worth_a_look && progress.sampled >= self.least && self.is_precise(progress.samples) {
            return Some(StopReason::Precise);
        }
        if progress.attempts >= self.most_samples {
            return Some(StopReason::EnoughSamples);
        }
        // Two samples are the least that have a spread at all; a long batch may overrun the limit once for that.
        (progress.sampled >= self.most && progress.attempts >= 2).then_some(StopReason::OutOfTime)
    }

    fn is_precise(&self, samples: &[f64]) -> bool {
        Sample::new(samples.to_vec()).is_ok_and(|sample| {
            let interval = sample.median_interval(0.95);
            interval.half_width() <= self.target * interval.point
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::SplitMix64;
    use proptest::prelude::*;

    const RULE: StopRule = StopRule { target: 0.01, least: Seconds(1.0), most: Seconds(10.0), most_samples: 50 };

    fn decide(rule: StopRule, samples: &[f64], attempts: usize, sampled: f64) -> Option<StopReason> {
        rule.decide(Progress { samples, attempts, sampled: Seconds(sampled) })
    }

    #[test]
    fn precision_needs_six_samples_and_the_least_time() {
        assert_eq!(decide(RULE, &[1.0; 5], 5, 2.0), None, "five equal samples prove nothing");
        assert_eq!(decide(RULE, &[1.0; 6], 6, 0.9), None, "too early");
        assert_eq!(decide(RULE, &[1.0; 6], 6, 1.0), Some(StopReason::Precise));
    }

    #[test]
    fn a_wide_interval_goes_on_until_a_limit() {
        let wide: Vec<f64> = (0..20).map(|i| 1.0 + f64::from(i) * 0.05).collect();
        assert_eq!(decide(RULE, &wide, 20, 9.9), None);
        assert_eq!(decide(RULE, &wide, 20, 10.0), Some(StopReason::OutOfTime));
        assert_eq!(decide(RULE, &wide, 50, 9.9), Some(StopReason::EnoughSamples));
    }

    #[test]
    fn the_target_is_the_half_width_relative_to_the_median() {
        // The interval of ten samples goes from the second to the ninth: half of its width is 0.0105 of the median, then 0.0095.
        let around = |half: f64| [1.0 - half, 1.0 - half, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0 + half, 1.0 + half];
        assert_eq!(decide(RULE, &around(0.0105), 10, 2.0), None);
        assert_eq!(decide(RULE, &around(0.0095), 10, 2.0), Some(StopReason::Precise));
    }

    #[test]
    fn time_alone_does_not_stop_a_single_sample_but_rejections_count() {
        assert_eq!(decide(RULE, &[12.0], 1, 12.0), None, "one sample has no spread");
        assert_eq!(decide(RULE, &[], 2, 12.0), Some(StopReason::OutOfTime));
        assert_eq!(decide(RULE, &[], 50, 0.0), Some(StopReason::EnoughSamples));
    }

    proptest! {
        #[test]
        fn an_ambitious_target_never_stops_earlier(seed: u64, spread in 0.0..0.1f64, a in 0.0..0.1f64, b in 0.0..0.1f64) {
            let mut random = SplitMix64(seed);
            let samples: Vec<f64> = (0..40).map(|_| 1.0 + spread * random.normal()).collect();
            let at = |target| (6..=40).find(|&n| decide(StopRule { target, ..RULE }, &samples[..n], n, 2.0).is_some());
            let (strict, loose) = (at(a.min(b)), at(a.max(b)));
            prop_assert!(strict.is_none() || loose.is_some_and(|loose| Some(loose) <= strict));
        }

        #[test]
        fn sampling_always_ends(samples in proptest::collection::vec(any::<f64>(), 0..60), extra in 0usize..60) {
            // Whatever the samples hold, NaN included, the limits hold.
            let attempts = samples.len() + extra;
            let verdict = decide(RULE, &samples, attempts, 10.0);
            prop_assert!(verdict.is_some() || attempts < 2);
        }
    }
}
