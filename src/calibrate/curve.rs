//! A quantity over a size, known at the sizes measured.
//!
//! Between neighbours the curve is straight in log-log coordinates, where copies, caches and launches are close to straight. Where physics says
//! that the quantity cannot fall (the time of a copy as it grows, the latency of a pointer chase as its working set grows) the points are first
//! made monotone by **isotonic regression**: the pool-adjacent-violators algorithm (Ayer et al. 1955) gives the nearest monotone points in
//! the least-squares sense of the logarithms. Outside the range measured the curve goes on in a stated way, and says that it was extrapolated.

use crate::figure::{Figure, Quantity};

/// What is known of the direction of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Never falls as the size grows.
    Rising,
    /// Anything.
    Free,
}

/// How a curve goes on above the largest size measured. Below the smallest it always keeps its value, the fixed cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// Keeps its last value, like a rate or a latency.
    Constant,
    /// Grows in proportion to the size, like a time at a constant rate.
    Proportional,
}

/// One measured point.
#[derive(Debug, Clone, PartialEq)]
pub struct Point<X, Y> {
    /// The size.
    pub x: X,
    /// The quantity there.
    pub y: Figure<Y>,
}

/// A value read off a curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading<Y> {
    /// The value; its sources are the neighbouring points.
    pub figure: Figure<Y>,
    /// Whether the size lies outside the range measured.
    pub extrapolated: bool,
}

/// A quantity `Y` over a size `X`, both positive.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve<X, Y> {
    /// In ascending order of size, no two of the same size; never empty.
    points: Vec<Point<X, Y>>,
    beyond: Beyond,
}

impl<X: Quantity, Y: Quantity> Curve<X, Y> {
    /// A curve through `points`, in any order. Points that are not positive finite numbers are left out; of two at the same size the first counts.
    /// `None` without a point.
    pub fn new(points: impl IntoIterator<Item = Point<X, Y>>, shape: Shape, beyond: Beyond) -> Option<Self> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let mut points: Vec<Point<X, Y>> = points
            .into_iter()
            .filter(|point| positive(point.x.base()) && positive(point.y.low.base()) && positive(point.y.high.base()))
            .collect();
        points.sort_by(|a, b| a.x.base().total_cmp(&b.x.base()));
        points.dedup_by(|later, earlier| later.x.base() == earlier.x.base());
        if shape == Shape::Rising {
            let logs: Vec<f64> = points.iter().map(|point| point.y.value.base().ln()).collect();
            for (point, fitted) in points.iter_mut().zip(isotonic(&logs)) {
                let moved = (fitted - point.y.value.base().ln()).exp();
                if moved != 1.0 {
                    point.y = point.y.map(|y| Y::from_base(y.base() * moved));
                }
            }
        }
        (!points.is_empty()).then_some(Self { points, beyond })
    }

    /// The points, in ascending order of size, after any pooling.
    pub fn points(&self) -> &[Point<X, Y>] {
        &self.points
    }

    /// The smallest and the largest size measured.
    pub fn range(&self) -> (X, X) {
        (self.points[0].x, self.points[self.points.len() - 1].x)
    }

    /// The value at `x`.
    pub fn at(&self, x: X) -> Reading<Y> {
        let wanted = x.base();
        let above = self.points.partition_point(|point| point.x.base() < wanted);
        let Some(upper) = self.points.get(above) else {
            let last = &self.points[self.points.len() - 1];
            let growth = match self.beyond {
                Beyond::Constant => 1.0,
                Beyond::Proportional => wanted / last.x.base(),
            };
            return Reading { figure: last.y.map(|y| Y::from_base(y.base() * growth)), extrapolated: true };
        };
        if upper.x.base() == wanted {
            return Reading { figure: upper.y.clone(), extrapolated: false };
        }
        let Some(lower) = above.checked_sub(1).map(|below| &self.points[below]) else {
            return Reading { figure: upper.y.clone(), extrapolated: true };
        };
        let share = (wanted / lower.x.base()).ln() / (upper.x.base() / lower.x.base()).ln();
        // A weighted geometric mean is the straight line in log-log coordinates, and monotone in both of its arguments.
        let between = |low: Y, high: Y| Y::from_base((low.base().ln() * (1.0 - share) + high.base().ln() * share).exp());
        let mut from = lower.y.from.clone();
        from.extend(upper.y.from.iter().cloned());
        let figure = Figure {
            value: between(lower.y.value, upper.y.value),
            low: between(lower.y.low, upper.y.low),
            high: between(lower.y.high, upper.y.high),
            basis: lower.y.basis.weaker(upper.y.basis),
            from,
        };
        Reading { figure, extrapolated: false }
    }
}

/// The nearest non-decreasing values, by least squares: adjacent values that fall are pooled into their mean until none does.
fn isotonic(values: &[f64]) -> Vec<f64> {
    let mut pools: Vec<(f64, usize)> = Vec::with_capacity(values.len());
    for &value in values {
        pools.push((value, 1));
        while let [.., (before, before_count), (mean, count)] = pools[..] {
            if before <= mean {
                break;
            }
            let all = before_count + count;
            let pooled = (before * before_count as f64 + mean * count as f64) / all as f64;
            pools.truncate(pools.len() - 2);
            pools.push((pooled, all));
        }
    }
    pools.into_iter().flat_map(|(mean, count)| std::iter::repeat_n(mean, count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Basis;
    use crate::units::{Bytes, Seconds};
    use proptest::prelude::*;

    fn point(x: u64, y: f64) -> Point<Bytes, Seconds> {
        Point { x: Bytes(x), y: Figure::new(Seconds(y), Basis::MeasuredHere, format!("case at {x}")) }
    }

    #[test]
    fn between_two_points_the_curve_is_straight_in_logarithms() {
        let curve = Curve::new([point(100, 1.0), point(10_000, 100.0)], Shape::Free, Beyond::Constant).unwrap();
        let reading = curve.at(Bytes(1000));
        assert!((reading.figure.value.0 - 10.0).abs() < 1e-9);
        assert_eq!(reading.figure.from, ["case at 100", "case at 10000"]);
        assert!(!reading.extrapolated);
    }

    #[test]
    fn outside_the_range_it_goes_on_as_stated_and_says_so() {
        let points = [point(100, 1.0), point(1000, 2.0)];
        let rate = Curve::new(points.clone(), Shape::Free, Beyond::Constant).unwrap();
        let time = Curve::new(points, Shape::Rising, Beyond::Proportional).unwrap();
        assert_eq!(rate.range(), (Bytes(100), Bytes(1000)));
        for (curve, at, value) in [(&rate, 10, 1.0), (&rate, 5000, 2.0), (&time, 10, 1.0), (&time, 5000, 10.0)] {
            let reading = curve.at(Bytes(at));
            assert_eq!((reading.figure.value, reading.extrapolated), (Seconds(value), true), "at {at}");
        }
    }

    #[test]
    fn values_that_cannot_fall_are_pooled() {
        let curve = Curve::new([point(1, 1.0), point(2, 4.0), point(3, 1.0), point(4, 9.0)], Shape::Rising, Beyond::Constant).unwrap();
        let values: Vec<f64> = curve.points().iter().map(|point| point.y.value.0).collect();
        assert!((values[1] - 2.0).abs() < 1e-12 && (values[2] - 2.0).abs() < 1e-12, "the geometric mean of 4 and 1: {values:?}");
        assert_eq!((values[0], values[3]), (1.0, 9.0));
    }

    #[test]
    fn what_is_no_positive_number_is_left_out() {
        assert!(
            Curve::new([point(0, 1.0), point(1, 0.0), point(2, f64::NAN), point(3, f64::INFINITY)], Shape::Free, Beyond::Constant)
                .is_none()
        );
    }

    proptest! {
        #[test]
        fn a_rising_curve_never_falls(
            points in proptest::collection::vec((1u64..1 << 40, -9.0..3.0f64), 1..12),
            mut sizes in proptest::collection::vec(1u64..1 << 41, 2..40),
            proportional: bool,
        ) {
            let beyond = if proportional { Beyond::Proportional } else { Beyond::Constant };
            let curve = Curve::new(points.iter().map(|&(x, y)| point(x, 10f64.powf(y))), Shape::Rising, beyond).unwrap();
            sizes.sort_unstable();
            let values: Vec<f64> = sizes.iter().map(|&size| curve.at(Bytes(size)).figure.value.0).collect();
            for pair in values.windows(2) {
                prop_assert!(pair[0] <= pair[1] * (1.0 + 1e-12), "{:?}", values);
            }
        }

        #[test]
        fn it_goes_through_points_that_are_monotone_already(mut values in proptest::collection::vec(-9.0..3.0f64, 1..12)) {
            values.sort_by(f64::total_cmp);
            let points: Vec<_> = values.iter().enumerate().map(|(index, &y)| point(1 << index, 10f64.powf(y))).collect();
            let curve = Curve::new(points.clone(), Shape::Rising, Beyond::Constant).unwrap();
            for expected in points {
                let reading = curve.at(expected.x);
                prop_assert!(!reading.extrapolated);
                prop_assert!((reading.figure.value.0 / expected.y.value.0 - 1.0).abs() < 1e-12);
            }
        }

        #[test]
        fn it_stays_between_its_neighbours_and_knows_its_range(
            points in proptest::collection::vec((1u64..1 << 40, -9.0..3.0f64), 1..12),
            size in 1u64..1 << 41,
        ) {
            let curve = Curve::new(points.iter().map(|&(x, y)| point(x, 10f64.powf(y))), Shape::Free, Beyond::Constant).unwrap();
            let reading = curve.at(Bytes(size));
            let (first, last) = curve.range();
            prop_assert_eq!(reading.extrapolated, size < first.0 || size > last.0);
            let least = curve.points().iter().map(|point| point.y.value.0).fold(f64::INFINITY, f64::min);
            let most = curve.points().iter().map(|point| point.y.value.0).fold(0.0, f64::max);
            prop_assert!(least * (1.0 - 1e-12) <= reading.figure.value.0 && reading.figure.value.0 <= most * (1.0 + 1e-12));
            prop_assert!(reading.figure.low.0 <= reading.figure.value.0 && reading.figure.value.0 <= reading.figure.high.0);
        }
    }
}
