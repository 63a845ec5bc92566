//! How long a transfer takes, as a function of its size, from a few sizes measured.
//!
//! A transfer waits before it streams: its time starts at a **floor** and ends at a constant rate. What lies between depends on how the two
//! overlap. Where waiting dominates, the bytes come on top of it: t = α + S/β. Where streaming dominates, the message is cut into chunks that
//! fill a pipeline, and with the best chunk √t = √α + √(S/β) (Johnsson and Ho, *Optimum broadcasting and personalized communication in
//! hypercubes*, 1989). Both are straight lines in tᵖ over Sᵖ, with p = 1 and p = ½. Between two neighbouring sizes the curve here is such a line, with
//!
//! ```text
//! p = 1 − ε/2      ε = ln(t₂/t₁) / ln(S₂/S₁)
//! ```
//!
//! where ε is the **elasticity** between them: 0 on the floor, 1 at a constant rate. Nothing in it is tuned.
//!
//! Two more facts enter. A message is never faster than a smaller one, and a measured time errs upwards (something else got in the way), so
//! a time above that of a larger message is replaced by it; how far it lay above widens the upper end of the interval. And the curve bends
//! where a library changes its protocol, which happens between the sizes measured, nobody sees where: the interval there grows with the
//! disagreement between carrying on from the left and coming back from the right. How much so is the machine's own matter: several of its
//! curves together show it, each inner size predicted without itself ([`TransferCurve::surprises`]).

use super::Prediction;
use crate::stats::Sample;
use crate::units::{Bytes, Seconds};

/// Half-width of the 90 % interval, as a logarithm, at a measured size: what repeating a measurement on another day moves.
const NOISE: f64 = 0.035;

/// Half-width added in the middle between two sizes where the neighbours' continuations disagree by a tenth; it grows with the power
/// [`SURPRISE_POWER`] of the disagreement.
const SURPRISE: f64 = 0.08;
const SURPRISE_POWER: f64 = 0.6;

/// The 90th percentile of [`TransferCurve::surprises`] on the machines that [`SURPRISE`] was found on.
const USUAL: f64 = 1.3;

/// Sizes closer than this share are one size: between them there is nothing to learn and nothing to divide by.
const SAME: f64 = 1e-3;

/// No interval claims less than a third, or more than three times, of its time for want of sizes measured.
const WIDEST: f64 = 1.1;

/// A measured size and the line to the next one.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Knot {
    log_bytes: f64,
    bytes: f64,
    time: f64,
    log_time: f64,
    /// By how much the measured time lay above, as a logarithm.
    excess: f64,
    /// To the next knot: elasticity, p, tᵖ − growth · Sᵖ, growth, widening in the middle.
    elasticity: f64,
    power: f64,
    offset: f64,
    growth: f64,
    surprise: f64,
}

/// Time over size, never falling. On the floor it is constant; between two sizes it is straight in tᵖ over Sᵖ with p = 1 − ε/2, which is
/// t = α + S/β where waiting dominates and √t = √α + √(S/β), a pipeline with the best chunk, where streaming does.
#[derive(Debug, Clone, PartialEq)]
pub struct TransferCurve {
    /// In ascending order of size; at least two.
    knots: Vec<Knot>,
}

/// A time read off a curve, with the logarithms of what its interval multiplies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reading {
    /// Logarithm of the time in seconds.
    pub(super) log_time: f64,
    /// Half-width downwards.
    pub(super) below: f64,
    /// Half-width upwards.
    pub(super) above: f64,
    /// Outside the sizes measured.
    pub(super) extrapolated: bool,
}

impl Reading {
    pub(super) fn prediction(self) -> Prediction {
        let time = self.log_time.exp();
        let factor = |width: f64| width.clamp(0.0, WIDEST).exp();
        let down = factor(self.below);
        let up = if self.above == self.below { down } else { factor(self.above) };
        Prediction { time: Seconds(time), low: Seconds(time / down), high: Seconds(time * up), extrapolated: self.extrapolated }
    }

    pub(super) fn wider(self, by: f64) -> Self {
        Self { below: self.below + by, above: self.above + by, ..self }
    }
}

impl TransferCurve {
    /// The curve through measured times, in any order. Sizes of zero and times that are not positive finite numbers are left out, of several
    /// times of one size the median counts. `None` with fewer than two sizes.
    pub fn new(points: impl IntoIterator<Item = (Bytes, Seconds)>) -> Option<Self> {
        let mut points: Vec<(u64, f64)> = points
            .into_iter()
            .filter(|(bytes, time)| bytes.0 > 0 && time.0.is_finite() && time.0 > 0.0)
            .map(|(bytes, time)| (bytes.0, time.0))
            .collect();
        points.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let mut knots: Vec<Knot> = points
            .chunk_by(|a, b| b.0 as f64 <= a.0 as f64 * (1.0 + SAME))
            .map(|same| Knot::at(same[0].0 as f64, same[(same.len() - 1) / 2].1))
            .collect();
        if knots.len() < 2 {
            return None;
        }
        let mut least = f64::INFINITY;
        for knot in knots.iter_mut().rev() {
            least = least.min(knot.time);
            knot.excess = (knot.time / least).ln();
            (knot.time, knot.log_time) = (least, least.ln());
        }
        for index in 1..knots.len() {
            let next = knots[index];
            knots[index - 1].lead_to(&next);
        }
        for index in 0..knots.len() - 1 {
            knots[index].surprise = surprise(&knots, index);
        }
        Some(Self { knots })
    }

    /// How far each inner size lies from where the others alone would put it, in half-widths of the interval they would give. About a tenth
    /// of them lies beyond [`USUAL`] on machines whose library changes protocols between the sizes.
    pub(super) fn surprises(&self) -> impl Iterator<Item = f64> {
        let measured = |knot: &Knot| (Bytes(knot.bytes as u64), Seconds(knot.time * knot.excess.exp()));
        (1..self.knots.len() - 1).filter_map(move |left_out| {
            let others = self.knots.iter().enumerate().filter(|(index, _)| *index != left_out).map(|(_, knot)| measured(knot));
            let knot = self.knots[left_out];
            let found = Self::new(others)?.at(knot.log_bytes);
            Some((knot.log_time + knot.excess - found.log_time).abs() / found.below)
        })
    }

    /// The same with what may hide between two sizes as large as `surprises` of this and like curves say. A dozen of them say something.
    pub(super) fn expecting(&mut self, surprises: &Sample) {
        if surprises.count() >= 12 {
            let scale = (surprises.quantile(0.9) / USUAL).clamp(0.3, 1.2);
            self.knots.iter_mut().for_each(|knot| knot.surprise *= scale);
        }
    }

    /// The smallest and the largest size measured.
    pub fn range(&self) -> (Bytes, Bytes) {
        (Bytes(self.knots[0].bytes as u64), Bytes(self.knots[self.knots.len() - 1].bytes as u64))
    }

    /// Time at the smallest size.
    pub(super) fn floor(&self) -> f64 {
        self.knots[0].time
    }

    /// Time of a transfer of `bytes`.
    pub fn time(&self, bytes: Bytes) -> Prediction {
        self.at(bytes.as_f64().max(1.0).ln()).prediction()
    }

    /// The same at a size given by its logarithm.
    pub(super) fn at(&self, log_bytes: f64) -> Reading {
        let above = self.knots.partition_point(|knot| knot.log_bytes < log_bytes);
        let Some(next) = self.knots.get(above) else { return self.beyond(log_bytes) };
        let Some(knot) = above.checked_sub(1).map(|below| &self.knots[below]) else {
            // At most as long as the smallest one measured; at least as much less as the curve's own slope there would make it.
            let below = NOISE + next.elasticity * (next.log_bytes - log_bytes);
            let extrapolated = log_bytes < next.log_bytes;
            return Reading { log_time: next.log_time, below, above: NOISE + next.excess, extrapolated };
        };
        // Rounding may not carry it past its neighbours.
        let line = (knot.offset + knot.growth * (knot.power * log_bytes).exp()).ln() / knot.power;
        let log_time = line.max(knot.log_time).min(next.log_time);
        let share = (log_bytes - knot.log_bytes) / (next.log_bytes - knot.log_bytes);
        let width = NOISE + knot.surprise * (4.0 * share * (1.0 - share)).max(0.0).sqrt();
        Reading { log_time, below: width, above: width + knot.excess.max(next.excess), extrapolated: false }
    }

    /// Above the largest size: straight on at the marginal rate of the last two, which streaming has reached if it ever does. Where the last
    /// two still show the floor, at half of their mean rate or better, for want of anything better.
    fn beyond(&self, log_bytes: f64) -> Reading {
        let [.., before, last] = self.knots[..] else { return Reading { log_time: 0.0, below: WIDEST, above: WIDEST, extrapolated: true } };
        let marginal = (last.time - before.time) / (last.bytes - before.bytes);
        let slope = marginal.max(0.5 * last.time / last.bytes);
        let doublings = (log_bytes - last.log_bytes) / std::f64::consts::LN_2;
        let width = NOISE + (0.02 + 0.25 * (1.0 - before.elasticity.min(1.0))) * doublings;
        let log_time = (last.time + slope * (log_bytes.exp() - last.bytes)).ln();
        Reading { log_time, below: width, above: width + last.excess, extrapolated: true }
    }
}

impl Knot {
    fn at(bytes: f64, time: f64) -> Self {
        let (log_bytes, log_time, none) = (bytes.ln(), time.ln(), 0.0);
        Self { log_bytes, bytes, time, log_time, excess: none, elasticity: none, power: 1.0, offset: time, growth: none, surprise: none }
    }

    fn lead_to(&mut self, next: &Self) {
        self.elasticity = (next.log_time - self.log_time) / (next.log_bytes - self.log_bytes);
        self.power = 1.0 - self.elasticity.min(1.0) / 2.0;
        let (size, time) = (self.bytes.powf(self.power), self.time.powf(self.power));
        self.growth = (next.time.powf(self.power) - time) / (next.bytes.powf(self.power) - size);
        self.offset = time - self.growth * size;
    }

    fn read(&self, bytes: f64) -> f64 {
        (self.offset + self.growth * bytes.powf(self.power)).powf(1.0 / self.power)
    }
}

/// Widening in the middle between knot `index` and the next.
fn surprise(knots: &[Knot], index: usize) -> f64 {
    let (knot, next) = (&knots[index], &knots[index + 1]);
    let middle = (knot.bytes * next.bytes).sqrt();
    let here = knot.read(middle);
    let slope = |a: &Knot, b: &Knot| (b.time - a.time) / (b.bytes - a.bytes);
    let from_left = index.checked_sub(1).map(|before| knot.time + slope(&knots[before], knot) * (middle - knot.bytes));
    let from_right = knots.get(index + 2).map(|after| next.time - slope(next, after) * (next.bytes - middle));
    let disagreement =
        [from_left, from_right].into_iter().flatten().map(|time| (time.clamp(knot.time, next.time) / here).ln().abs()).fold(0.0, f64::max);
    SURPRISE * (disagreement / 0.1).powf(SURPRISE_POWER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn curve(points: &[(u64, f64)]) -> TransferCurve {
        TransferCurve::new(points.iter().map(|&(bytes, time)| (Bytes(bytes), Seconds(time)))).unwrap()
    }

    #[test]
    fn it_goes_through_its_points_and_follows_a_latency_and_a_rate_between_them() {
        let law = |bytes: u64| 10e-6 + bytes as f64 / 20e9;
        let sizes = [512, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 512 << 20];
        let curve = curve(&sizes.map(|size| (size, law(size))));
        for size in sizes {
            let found = curve.time(Bytes(size));
            assert!((found.time.0 / law(size) - 1.0).abs() < 1e-9 && !found.extrapolated, "{size}");
        }
        for size in (9..30).map(|power| 1u64 << power) {
            let found = curve.time(Bytes(size));
            assert!((found.time.0 / law(size) - 1.0).abs() < 0.05, "{size}: {found:?}");
            assert!(found.contains(Seconds(law(size))), "{size}: {found:?}");
        }
        let far = curve.time(Bytes::gib(8));
        assert!(far.extrapolated && (far.time.0 / law(8 << 30) - 1.0).abs() < 0.01, "{far:?}");
    }

    #[test]
    fn a_time_above_that_of_a_larger_message_gives_way_and_widens_the_interval() {
        let clean = curve(&[(512, 7e-6), (4096, 7e-6), (65536, 8e-6)]).time(Bytes(4096));
        let glitch = curve(&[(512, 7e-6), (4096, 17e-6), (65536, 8e-6)]).time(Bytes(4096));
        assert!((glitch.time.0 - 8e-6).abs() < 1e-12);
        assert!(glitch.contains(Seconds(17e-6)) && !clean.contains(Seconds(17e-6)), "{glitch:?}");
        assert_eq!(curve(&[(512, 7e-6), (4096, 17e-6), (65536, 8e-6)]).time(Bytes(512)).time, Seconds(7e-6_f64.ln().exp()));
    }

    #[test]
    fn the_interval_is_wide_where_the_curve_jumps_and_narrow_where_it_is_straight() {
        let width = |points: &[(u64, f64)]| {
            let found = curve(points).time(Bytes(2 << 20));
            found.high.0 / found.low.0
        };
        let straight = width(&[(1 << 18, 110e-6), (1 << 20, 140e-6), (1 << 22, 260e-6), (1 << 24, 740e-6)]);
        let jump = width(&[(1 << 18, 20e-6), (1 << 20, 21e-6), (1 << 22, 45e-6), (1 << 24, 90e-6)]);
        assert!(straight < 1.2 && jump > 1.3, "{straight} {jump}");
    }

    #[test]
    fn smooth_curves_expect_little_between_their_sizes() {
        let law = |bytes: u64| 10e-6 + bytes as f64 / 20e9;
        let mut smooth = curve(&[512, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 512 << 20].map(|size| (size, law(size))));
        let before = smooth.time(Bytes(128 << 10));
        let surprises = Sample::new(smooth.surprises().chain(smooth.surprises()).collect()).unwrap();
        assert_eq!(surprises.count(), 12);
        smooth.expecting(&surprises);
        let after = smooth.time(Bytes(128 << 10));
        assert!(after.time == before.time && after.high < before.high && after.contains(Seconds(law(128 << 10))), "{before:?} {after:?}");
        let once = Sample::new(smooth.surprises().collect()).unwrap();
        let unchanged = smooth.clone();
        smooth.expecting(&once);
        assert_eq!(smooth, unchanged, "six are too few");
    }

    #[test]
    fn what_cannot_be_a_curve_is_none() {
        let points = |points: &[(u64, f64)]| TransferCurve::new(points.iter().map(|&(bytes, time)| (Bytes(bytes), Seconds(time))));
        assert_eq!(points(&[]), None);
        assert_eq!(points(&[(512, 1e-6), (512, 2e-6)]), None);
        assert_eq!(points(&[(0, 1e-6), (512, f64::NAN), (1024, -1.0), (2048, f64::INFINITY), (4096, 1.0)]), None);
    }

    proptest! {
        #[test]
        fn it_never_falls_and_is_always_a_number_inside_its_interval(
            points in proptest::collection::vec((1u64..=u64::MAX, -12.0..6.0f64), 2..12),
            mut sizes in proptest::collection::vec(any::<u64>(), 2..40),
        ) {
            let points = points.iter().map(|&(bytes, exponent)| (Bytes(bytes), Seconds(10f64.powf(exponent))));
            if let Some(curve) = TransferCurve::new(points) {
                sizes.extend([0, 1, u64::MAX]);
                sizes.extend(curve.knots.iter().map(|knot| knot.bytes as u64));
                sizes.sort_unstable();
                let found: Vec<Prediction> = sizes.iter().map(|&size| curve.time(Bytes(size))).collect();
                for found in &found {
                    prop_assert!(found.time.0.is_finite() && found.time.0 > 0.0 && found.high.0.is_finite(), "{found:?}");
                    prop_assert!(found.low <= found.time && found.time <= found.high, "{found:?}");
                }
                for pair in found.windows(2) {
                    prop_assert!(pair[0].time.0 <= pair[1].time.0 * (1.0 + 1e-9), "{pair:?}");
                }
            }
        }
    }
}
