//! When a load that lasts has come to its steady state.
//!
//! **Steady** is where the rate no longer goes anywhere: from there on it stays around one level, however much it scatters. The **level** is
//! the median rate of the last third of the time. A straight line through that third tells its **drift** from beginning to end, and the usual
//! distance of points from the line their **scatter**. The **tolerance** is one percent of the level, or three times the scatter where that is
//! more. A load is **settled** when the drift is within one percent or twice the scatter and the last points are near the level, too. The steady part begins with the first point from which on the running medians of three points lie within the tolerance: three,
//! so that a single slow point, which any machine may have, does not begin it anew.

use crate::stats::Sample;
use crate::units::Seconds;

/// Least tolerance, relative to the level.
const TOLERANCE: f64 = 0.01;

/// Tolerance in units of the scatter: the standard deviation that the median distance from the line stands for.
const SCATTERS: f64 = 3.0;

/// The same of the drift, which scatters less than points do: a step within the last third must not hide in the scatter that it makes.
const DRIFTING: f64 = 2.0;

/// The median distance from the mean of normal noise, as a share of its standard deviation, turned around.
const DEVIATION: f64 = 1.4826;

/// Fewer points show no steady state.
const LEAST_POINTS: usize = 6;

/// Whether a load came to its steady state, and which points tell its rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Steadiness {
    /// From this point and time on.
    Settled {
        /// Index of the first steady point.
        from: usize,
        /// When that begins.
        at: Seconds,
    },
    /// The rate still changed at the end; the last third begins with this point.
    Changing {
        /// Index of that point.
        from: usize,
    },
}

impl Steadiness {
    /// The first point of the part that tells the rate.
    pub const fn from(self) -> usize {
        match self {
            Self::Settled { from, .. } | Self::Changing { from } => from,
        }
    }
}

/// The steady part of a load whose points took `lengths` seconds one after another and ran at `rates`. `None` with fewer than two points.
pub fn steadiness(lengths: &[f64], rates: &[f64]) -> Option<Steadiness> {
    let count = lengths.len().min(rates.len());
    if count < 2 {
        return None;
    }
    let last = last_third(&lengths[..count]).min(count - 2);
    if count < LEAST_POINTS {
        return Some(Steadiness::Changing { from: last });
    }
    let end = &rates[last..count];
    let level = median(end)?;
    let (drift, distances) = drift(end);
    let scatter = DEVIATION * median(&distances)? / level;
    let tolerance = TOLERANCE.max(SCATTERS * scatter);
    let still = drift.abs() <= TOLERANCE.max(DRIFTING * scatter) * level;
    let near = |index: usize| {
        let window = &rates[index.saturating_sub(1)..(index + 2).min(count)];
        median(window).is_some_and(|rate| (rate / level - 1.0).abs() <= tolerance)
    };
    if !still || !near(count - 2) {
        return Some(Steadiness::Changing { from: last });
    }
    // The last third is where the level comes from, and is steady by that.
    let from = (0..last).rev().find(|index| !near(*index)).map_or(0, |index| index + 1);
    // A window reaches one point to either side: the first steady point is the first that is near by itself, too.
    let from = (from..last).find(|index| (rates[*index] / level - 1.0).abs() <= tolerance).unwrap_or(last);
    Some(Steadiness::Settled { from, at: Seconds(lengths[..from].iter().fold(0.0, |sum, length| sum + length)) })
}

/// How far the straight line through `values` goes from the first to the last, and how far each is from it.
fn drift(values: &[f64]) -> (f64, Vec<f64>) {
    let count = values.len() as f64;
    let (centre, mean) = ((count - 1.0) / 2.0, values.iter().sum::<f64>() / count);
    let from_centre = || values.iter().enumerate().map(|(index, value)| (index as f64 - centre, value - mean));
    let spread: f64 = from_centre().map(|(x, _)| x * x).sum();
    let slope = if spread > 0.0 { from_centre().map(|(x, y)| x * y).sum::<f64>() / spread } else { 0.0 };
    (slope * (count - 1.0), from_centre().map(|(x, y)| (y - slope * x).abs()).collect())
}

/// The first point that begins in the last third of the time.
fn last_third(lengths: &[f64]) -> usize {
    let whole: f64 = lengths.iter().sum();
    let mut begun = 0.0;
    let before = lengths.iter().take_while(|length| {
        let early = begun < whole * 2.0 / 3.0 - 1e-9 * whole;
        begun += **length;
        early
    });
    before.count()
}

fn median(values: &[f64]) -> Option<f64> {
    match values {
        [] => None,
        [one] => Some(*one),
        several => Sample::new(several.to_vec()).ok().map(|sample| sample.median()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::SplitMix64;
    use proptest::prelude::*;

    fn of(rates: &[f64]) -> Steadiness {
        steadiness(&vec![1.0; rates.len()], rates).unwrap()
    }

    fn settled(rates: &[f64]) -> Option<f64> {
        match of(rates) {
            Steadiness::Settled { at, .. } => Some(at.0),
            Steadiness::Changing { .. } => None,
        }
    }

    fn series(seconds: usize, noise: f64, seed: u64, law: impl Fn(f64) -> f64) -> Vec<f64> {
        let mut random = SplitMix64(seed);
        (0..seconds).map(|second| law(second as f64 + 0.5) * (1.0 + noise * random.normal())).collect()
    }

    #[test]
    fn what_never_changes_is_steady_at_once() {
        assert_eq!(settled(&[5.0; 30]), Some(0.0));
        for seed in 0..50 {
            assert_eq!(settled(&series(60, 0.004, seed, |_| 7e14)), Some(0.0), "{seed}");
        }
    }

    #[test]
    fn a_step_is_found_where_it_is() {
        for at in [1, 5, 17, 30] {
            let rates = series(60, 0.001, at, |time| if time < at as f64 { 8e14 } else { 6e14 });
            assert_eq!(settled(&rates), Some(at as f64));
        }
    }

    #[test]
    fn an_exponential_fall_is_steady_when_a_percent_of_it_is_left() {
        for (tau, fall) in [(2.0, 0.2), (5.0, 0.15), (10.0, 0.1)] {
            let expected = tau * f64::ln(fall / TOLERANCE);
            let found = settled(&series(120, 0.0005, 3, |time| 6e14 * (1.0 + fall * (-time / tau).exp()))).unwrap();
            assert!((found - expected).abs() <= 2.0, "{tau} s: {found} where {expected} was to be expected");
        }
    }

    #[test]
    fn what_still_falls_at_the_end_is_not_steady() {
        assert_eq!(settled(&series(60, 0.001, 1, |time| 8e14 * (1.0 - 0.003 * time))), None);
        assert_eq!(settled(&series(60, 0.001, 1, |time| 6e14 * (1.0 + 0.2 * (-time / 20.0).exp()))), None);
        // A throttle that begins late is seen as well.
        for late in [48.0, 55.0, 58.0] {
            assert_eq!(settled(&series(60, 0.001, 1, |time| if time < late { 8e14 } else { 5e14 })), None, "{late}");
        }
        assert_eq!(of(&[1.0; 3]), Steadiness::Changing { from: 1 }, "three points show nothing");
    }

    #[test]
    fn single_slow_points_begin_nothing_anew() {
        let mut rates = vec![8e14; 60];
        (rates[12], rates[33]) = (5e14, 6e14);
        assert_eq!(settled(&rates), Some(0.0));
    }

    #[test]
    fn to_and_fro_is_a_steady_state_too() {
        // A regulator that switches every few seconds goes nowhere.
        let rates = series(90, 0.001, 1, |time| if ((time / 3.0) as u64).is_multiple_of(2) { 8e14 } else { 7e14 });
        assert_eq!(settled(&rates), Some(0.0));
    }

    #[test]
    fn times_count_and_not_points() {
        // Half as fast is twice as long: of 10 fast and 25 slow points the last third of the time begins with point 20.
        let lengths: Vec<f64> = (0..35).map(|point| if point < 10 { 1.0 } else { 2.0 }).collect();
        assert_eq!(last_third(&lengths), 25);
        let rates: Vec<f64> = lengths.iter().map(|length| 1e15 / length).collect();
        assert_eq!(steadiness(&lengths, &rates), Some(Steadiness::Settled { from: 10, at: Seconds(10.0) }));
    }

    proptest! {
        #[test]
        fn it_never_points_beyond_the_last_third(rates in proptest::collection::vec(1.0..100.0f64, 2..80)) {
            let lengths: Vec<f64> = rates.iter().map(|rate| 50.0 / rate).collect();
            let steady = steadiness(&lengths, &rates).unwrap();
            prop_assert!(steady.from() <= last_third(&lengths).min(rates.len() - 2));
        }
    }
}
