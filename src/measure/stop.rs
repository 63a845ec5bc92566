//! When enough samples have been taken.
//!
//! Stopping as soon as an interval is narrow enough favours samples that happen to lie close together, and an interval of such samples misses
//! the truth more often than it claims: looking after every sample, at noise of twice the target, "95 %" held in 92 of 100. Two things
//! keep the claim. There are few **looks**, each at half as many samples again as the one before. And a look asks whether the samples of
//! the look *before* were precise: what they lacked in width by luck, the later ones bring back.

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

/// Whether to look at this count of samples: how many there were at the look before.
fn look(count: usize) -> Option<usize> {
    let (mut earlier, mut now) = (LEAST_SAMPLES, LEAST_SAMPLES * 3 / 2);
    while now < count {
        (earlier, now) = (now, now * 3 / 2);
    }
    (now == count).then_some(earlier)
}

impl StopRule {
    /// Whether to stop now, and because of which limit. Precision counts only after `least`; fewer than six samples are never precise, and
    /// while there are fewer than six, time runs out at twice `most`.
    pub fn decide(&self, progress: Progress<'_>) -> Option<StopReason> {
        if let Some(earlier) = look(progress.samples.len())
            && progress.sampled >= self.least
            && self.is_precise(&progress.samples[..earlier])
        {
            return Some(StopReason::Precise);
        }
        if progress.attempts >= self.most_samples {
            return Some(StopReason::EnoughSamples);
        }
        // A 95 % interval is worth as much time again; two samples, the least that have a spread at all, are worth any.
        let needed = if progress.sampled >= self.most * 2.0 { 2 } else { LEAST_SAMPLES };
        (progress.sampled >= self.most && progress.attempts >= needed).then_some(StopReason::OutOfTime)
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
    fn precision_needs_a_look_and_the_least_time() {
        assert_eq!(decide(RULE, &[1.0; 6], 6, 2.0), None, "nothing was looked at before");
        assert_eq!(decide(RULE, &[1.0; 9], 9, 0.9), None, "too early");
        assert_eq!(decide(RULE, &[1.0; 9], 9, 1.0), Some(StopReason::Precise));
        assert_eq!(decide(RULE, &[1.0; 10], 10, 1.0), None, "between two looks");
    }

    #[test]
    fn looks_are_half_as_many_samples_apart_again() {
        let looks: Vec<usize> = (0..100).filter(|&count| look(count).is_some()).collect();
        assert_eq!(looks, [9, 13, 19, 28, 42, 63, 94]);
        assert!(looks.windows(2).all(|pair| look(pair[1]) == Some(pair[0])));
    }

    /// The promise of the module's text: whatever the noise, the interval of the samples that were taken is the one that is claimed.
    #[test]
    fn stopping_when_precise_keeps_the_intervals_promise() {
        const ROUNDS: usize = 2000;
        let mut random = SplitMix64(11);
        for noise in [0.003, 0.006, 0.01, 0.02, 0.04] {
            let covered = (0..ROUNDS)
                .filter(|_| {
                    let samples: Vec<f64> = (0..RULE.most_samples).map(|_| 1.0 + noise * random.normal()).collect();
                    let taken = (1..=samples.len()).find(|&n| decide(RULE, &samples[..n], n, 2.0).is_some()).unwrap();
                    Sample::new(samples[..taken].to_vec()).unwrap().median_interval(0.95).contains(1.0)
                })
                .count();
            let share = covered as f64 / ROUNDS as f64;
            assert!(share >= 0.95, "noise of {noise}: {share}");
        }
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
        // The interval of nine samples goes from the second to the eighth: half of its width is 0.0105 of the median, then 0.0095.
        let around = |half: f64| {
            let mut samples = vec![1.0 - half, 1.0 - half, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0 + half, 1.0 + half];
            samples.extend([1.0; 4]);
            samples
        };
        assert_eq!(decide(RULE, &around(0.0105), 13, 2.0), None);
        assert_eq!(decide(RULE, &around(0.0095), 13, 2.0), Some(StopReason::Precise));
    }

    #[test]
    fn time_alone_does_not_stop_a_single_sample_but_rejections_count() {
        assert_eq!(decide(RULE, &[22.0], 1, 22.0), None, "one sample has no spread");
        assert_eq!(decide(RULE, &[4.0; 3], 3, 12.0), None, "three samples have no 95 % interval");
        assert_eq!(decide(RULE, &[4.0; 5], 5, 20.0), Some(StopReason::OutOfTime));
        assert_eq!(decide(RULE, &[2.0; 6], 6, 12.0), Some(StopReason::OutOfTime));
        assert_eq!(decide(RULE, &[], 2, 20.0), Some(StopReason::OutOfTime));
        assert_eq!(decide(RULE, &[], 50, 0.0), Some(StopReason::EnoughSamples));
    }

    proptest! {
        #[test]
        fn an_ambitious_target_never_stops_earlier(seed: u64, spread in 0.0..0.1f64, a in 0.0..0.1f64, b in 0.0..0.1f64) {
            let mut random = SplitMix64(seed);
            let samples: Vec<f64> = (0..40).map(|_| 1.0 + spread * random.normal()).collect();
            let at = |target| (1..=40).find(|&n| decide(StopRule { target, ..RULE }, &samples[..n], n, 2.0).is_some());
            let (strict, loose) = (at(a.min(b)), at(a.max(b)));
            prop_assert!(strict.is_none() || loose.is_some_and(|loose| Some(loose) <= strict));
        }

        #[test]
        fn sampling_always_ends(samples in proptest::collection::vec(any::<f64>(), 0..60), extra in 0usize..60) {
            // Whatever the samples hold, NaN included, the limits hold.
            let attempts = samples.len() + extra;
            let verdict = decide(RULE, &samples, attempts, 20.0);
            prop_assert!(verdict.is_some() || attempts < 2);
        }
    }
}
