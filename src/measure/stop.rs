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
        if progress.samples.len() >= LEAST_SAMPLES && progress.sampled >= self.least && self.is_precise(progress.samples) {
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
