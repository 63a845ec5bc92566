//! From the samples of two measurements to one word.
//!
//! Speeds are positive and their ratio is what matters, so everything happens on logarithms, where half as fast and twice as fast are equally
//! far away and comparing B with A is the exact mirror of comparing A with B. The interval of each median comes from order statistics, which
//! assume nothing of the distribution; the two are joined by the method of variance estimates recovery (Zou & Donner, *Construction of
//! confidence limits about effect measures*, Statistics in Medicine 27, 2008): the distances from estimate to limit are added as squares.

use super::Answer;
use crate::figure::Quantity;
use crate::measure::Measurement;
use crate::stats::Interval;
use crate::units::{BytesPerSecond, FlopsPerSecond, Seconds};
use crate::verdict::Reading;

/// Of the interval of a change: high enough for two dozen metrics at once, as the essay of `verdict::compare` argues, and low enough for the nine samples that the
/// quickest measurement takes.
pub const CONFIDENCE: f64 = 0.99;

/// The extremes of fewer samples enclose the true median less often than that: 7 do with 1 − 2⁻⁶ = 98.4 %.
pub const LEAST_SAMPLES: usize = 8;

/// What one iteration does, in the unit by which its speed is told: operations, else bytes, else steps.
fn amount(measurement: &Measurement) -> f64 {
    let work = measurement.work;
    if work.compute.0 > 0.0 {
        work.compute.0
    } else if work.moved.0 > 0 {
        work.moved.as_f64()
    } else {
        work.steps as f64
    }
}

/// Median speed: operations, bytes or steps per second. `None` with fewer than two samples.
pub(super) fn speed(measurement: &Measurement) -> Option<f64> {
    let speed = amount(measurement) / measurement.sample()?.median();
    (speed.is_finite() && speed > 0.0).then_some(speed)
}

/// The speed with its interval; `None` where there are too few samples for one.
pub(super) fn interval(measurement: &Measurement) -> Option<Interval> {
    let sample = measurement.sample().filter(|sample| sample.count() >= LEAST_SAMPLES)?;
    let speed = sample.median_interval(CONFIDENCE).rate_of(amount(measurement));
    (speed.low > 0.0 && speed.high.is_finite()).then_some(speed)
}

/// For people and programs: a rate, or the time of a step where nothing is moved or computed.
pub(super) fn reading(measurement: &Measurement) -> Option<Reading> {
    let time = measurement.sample()?.median_interval(CONFIDENCE);
    let amount = amount(measurement);
    Some(if measurement.work.compute.0 > 0.0 {
        of::<FlopsPerSecond>(time.rate_of(amount))
    } else if measurement.work.moved.0 > 0 {
        of::<BytesPerSecond>(time.rate_of(amount))
    } else {
        of::<Seconds>(time.scaled(1.0 / amount))
    })
}

fn of<Q: Quantity>(interval: Interval) -> Reading {
    let Interval { point, low, high } = interval;
    Reading { value: point, low, high, unit: Q::UNIT, shown: Q::from_base(point).show() }
}

/// Relative change from one speed to another: 0.03 is 3 % faster.
pub(super) fn change(before: Interval, after: Interval) -> Interval {
    let logarithm = |speed: Interval| (speed.point.ln(), speed.low.ln(), speed.high.ln());
    let ((b, b_low, b_high), (a, a_low, a_high)) = (logarithm(before), logarithm(after));
    let low = (a - b) - (a - a_low).hypot(b_high - b);
    let high = (a - b) + (a_high - a).hypot(b - b_low);
    Interval::new((a - b).exp_m1(), low.exp_m1(), high.exp_m1())
}

/// The word for a change, where changes up to `margin` are none: from 1/(1 + margin) times as fast to 1 + margin times.
pub(super) fn answer(change: Interval, margin: f64) -> Answer {
    let (least, most) = (1.0 / (1.0 + margin) - 1.0, margin);
    if least <= change.low && change.high <= most {
        Answer::Same
    } else if most < change.low {
        Answer::Faster
    } else if change.high < least {
        Answer::Slower
    } else {
        Answer::Unclear
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Case, StopReason, Work};
    use crate::stats::SplitMix64;
    use crate::units::Bytes;
    use proptest::prelude::*;

    fn measured(samples: Vec<f64>) -> Measurement {
        Measurement {
            case: Case::new("dram.read"),
            work: Work::moving(Bytes::gib(1)),
            iterations: 1,
            samples,
            rejected: Vec::new(),
            stop: StopReason::Precise,
            warmup: Seconds(0.0),
            telemetry: None,
            partners: Vec::new(),
            trace: Vec::new(),
            conditions: std::collections::BTreeMap::new(),
        }
    }

    fn drawn(random: &mut SplitMix64, count: usize, level: f64, noise: f64) -> Measurement {
        measured((0..count).map(|_| level * (noise * random.normal()).exp()).collect())
    }

    fn compared(before: &Measurement, after: &Measurement) -> Option<Interval> {
        Some(change(interval(before)?, interval(after)?))
    }

    fn mirrored(answer: Answer) -> Answer {
        match answer {
            Answer::Faster => Answer::Slower,
            Answer::Slower => Answer::Faster,
            other => other,
        }
    }

    #[test]
    fn fewer_samples_have_no_such_interval() {
        let covered = |count: usize| 1.0 - 0.5f64.powi(count as i32 - 1);
        assert!(covered(LEAST_SAMPLES - 1) < CONFIDENCE && CONFIDENCE <= covered(LEAST_SAMPLES));
        assert_eq!(interval(&measured(vec![1.0; LEAST_SAMPLES - 1])), None);
        assert!(interval(&measured(vec![1.0; LEAST_SAMPLES])).is_some());
    }

    /// The joined interval keeps the promise of the two it is made of, for symmetric and for skewed noise.
    #[test]
    fn the_interval_holds_the_true_change_as_often_as_it_claims() {
        const ROUNDS: usize = 4000;
        let mut random = SplitMix64(5);
        for (first, second, noise) in [(8, 8, 0.01), (9, 13, 0.005), (9, 60, 0.05), (200, 30, 0.3)] {
            let held = (0..ROUNDS).filter(|_| {
                let (before, after) = (drawn(&mut random, first, 1.0, noise), drawn(&mut random, second, 0.9, noise));
                compared(&before, &after).unwrap().contains(1.0 / 0.9 - 1.0)
            });
            let share = held.count() as f64 / ROUNDS as f64;
            assert!(share >= CONFIDENCE - 0.003, "{first} and {second} samples, noise of {noise}: {share}");
        }
    }

    #[test]
    fn the_four_words_mean_what_they_say() {
        let told = |low: f64, high: f64| answer(Interval::new(f64::midpoint(low, high), low, high), 0.02);
        assert_eq!(told(-0.019, 0.02), Answer::Same);
        assert_eq!(told(0.0201, 0.05), Answer::Faster);
        assert_eq!(told(-0.05, -0.0197), Answer::Slower);
        assert_eq!([told(0.01, 0.03), told(-0.03, 0.0), told(-0.5, 0.5)], [Answer::Unclear; 3]);
    }

    proptest! {
        #[test]
        fn comparing_b_with_a_is_the_mirror_of_comparing_a_with_b(
            a in proptest::collection::vec(0.9..1.1f64, 8..40), b in proptest::collection::vec(0.9..1.1f64, 8..40), margin in 0.001..0.2f64
        ) {
            let (a, b) = (measured(a), measured(b));
            let (there, back) = (compared(&a, &b).unwrap(), compared(&b, &a).unwrap());
            for (one, other) in [(there.point, back.point), (there.low, back.high), (there.high, back.low)] {
                prop_assert!(((1.0 + one) * (1.0 + other) - 1.0).abs() < 1e-9);
            }
            prop_assert_eq!(answer(there, margin), mirrored(answer(back, margin)));
        }

        /// The interval of a change is at most as wide as its two samples together.
        #[test]
        fn a_machine_with_itself_is_the_same(samples in proptest::collection::vec(0.995..1.005f64, 8..40)) {
            let own = measured(samples);
            prop_assert_eq!(answer(compared(&own, &own).unwrap(), 0.02), Answer::Same);
        }

        #[test]
        fn whatever_the_noise_a_record_is_neither_faster_nor_slower_than_itself(
            samples in proptest::collection::vec(1e-9..1e3f64, 8..40), margin in 0.0..0.2f64
        ) {
            let own = measured(samples);
            let told = answer(compared(&own, &own).unwrap(), margin);
            prop_assert!(matches!(told, Answer::Same | Answer::Unclear));
        }

        #[test]
        fn scaled_beyond_the_margin_is_never_the_same(
            samples in proptest::collection::vec(1e-9..1e3f64, 8..40), margin in 0.001..0.2f64, beyond in 1.0001..10.0f64, up: bool
        ) {
            let factor = if up { (1.0 + margin) * beyond } else { 1.0 / ((1.0 + margin) * beyond) };
            let scaled = measured(samples.iter().map(|seconds| seconds * factor).collect());
            let told = answer(compared(&measured(samples), &scaled).unwrap(), margin);
            let expected = if up { Answer::Slower } else { Answer::Faster };
            prop_assert!(told == Answer::Unclear || told == expected);
        }

        /// More time per sample can turn the answer towards slower only.
        #[test]
        fn slower_is_never_told_faster(samples in proptest::collection::vec(0.9..1.1f64, 8..40), base in proptest::collection::vec(0.9..1.1f64, 8..40), factor in 1.0..1.3f64) {
            let rank = |answer: Answer| match answer { Answer::Slower => 0, Answer::Faster => 2, _ => 1 };
            let scaled = measured(samples.iter().map(|seconds| seconds * factor).collect());
            let (base, samples) = (measured(base), measured(samples));
            let (first, second) = (compared(&base, &samples).unwrap(), compared(&base, &scaled).unwrap());
            prop_assert!(rank(answer(second, 0.02)) <= rank(answer(first, 0.02)));
        }
    }
}
