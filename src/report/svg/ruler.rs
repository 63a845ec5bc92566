//! From numbers to places on the page: the range of an axis, and where it is marked.
//!
//! A linear axis is marked at steps of 1, 2 or 5 times a power of ten (Heckbert, *Nice numbers for graph labels*, Graphics Gems 1990). A
//! logarithmic one at powers of ten, or of two where it counts bytes, so many apart that the labels have room; where it spans less than
//! two powers of ten, at the coarsest of their multiples that give three marks.

use crate::plot::{Axis, Scale, Unit};

/// Marks that an axis may have; more do not fit side by side on a telephone.
const MOST_TICKS: usize = 6;

/// An axis with its range.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ruler {
    low: f64,
    high: f64,
    logarithmic: bool,
    /// Where it is marked, and with what.
    pub(super) ticks: Vec<(f64, String)>,
    /// The unit of all marks, where they have one in common and do not carry it themselves.
    pub(super) unit: Option<String>,
}

impl Ruler {
    /// A ruler that holds all of `values`; they fit the scale, as those of a plot do.
    pub(super) fn new(axis: &Axis, values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) =
            values.into_iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low <= high { (low, high) } else { (1.0, 1.0) };
        match axis.scale {
            Scale::Logarithmic => Self::logarithmic(axis.unit, low, high),
            Scale::FromZero => Self::linear(axis.unit, low.min(0.0), if high > 0.0 { high } else { 1.0 }),
            Scale::Near if axis.unit == Unit::Rank => {
                Self { ticks: ranks(low, high), low: low - 0.5, high: high + 0.5, logarithmic: false, unit: None }
            }
            Scale::Near => {
                // What is all but constant is not blown up until noise looks like news.
                let margin = ((high - low) * 0.05).max(least_margin(axis.unit, low.abs().max(high.abs())));
                Self::linear(axis.unit, low - margin, high + margin)
            }
        }
    }

    fn linear(unit: Unit, low: f64, high: f64) -> Self {
        let step = nice_step((high - low) / (MOST_TICKS - 1) as f64);
        let first = (low / step).ceil();
        let high = if low == 0.0 { (high / step).ceil() * step } else { high };
        let count = ((high / step).floor() - first) as usize + 1;
        let places = (0..count.min(2 * MOST_TICKS)).map(|index| (first + index as f64) * step);
        let (size, name) = unit_of(unit, low.abs().max(high.abs()));
        let decimals = (-(step / size).log10() - 1e-6).ceil().clamp(0.0, 9.0) as usize;
        // Rounding may leave a minus before a zero.
        let ticks = places.map(|place| (place, format!("{:.decimals$}", place / size + 0.0))).collect();
        Self { low, high, logarithmic: false, ticks, unit: Some(name).filter(|name| !name.is_empty()) }
    }

    fn logarithmic(unit: Unit, low: f64, high: f64) -> Self {
        // A factor of two at least, and a little room at both ends.
        let margin = if high / low < 2.0 { 1.5 } else { (high / low).powf(0.04) };
        let (low, high) = (low / margin, high * margin);
        let base: f64 = if unit == Unit::Bytes { 2.0 } else { 10.0 };
        let (first, last) = (low.log(base).ceil() as i64, high.log(base).floor() as i64);
        let whole = usize::try_from(last - first + 1).unwrap_or(0);
        let places: Vec<f64> = if base == 10.0 && whole < 3 {
            within_decades(low, high, first - 1..=last)
        } else {
            let step = whole.div_ceil(MOST_TICKS).max(1) as i64;
            // Sizes step by powers of four or sixteen rather than eight.
            let step = if base == 2.0 && step > 2 { step + step % 2 } else { step };
            let aligned = first + (-first).rem_euclid(step);
            (aligned..=last).step_by(step as usize).map(|power| base.powi(power as i32)).collect()
        };
        let places = places.into_iter().filter(|place| (low..=high).contains(place));
        let mut ticks: Vec<(f64, String)> = places.map(|place| (place, tidy(&unit.show(place, 3)))).collect();
        let common = without_unit(&mut ticks);
        Self { low, high, logarithmic: true, ticks, unit: common }
    }

    /// Where `value` lies: 0 at the beginning, 1 at the end, beyond them outside.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        if place.is_finite() { place } else { 0.0 }
    }

    /// Whether `value` lies on it.
    pub(super) fn holds(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// What a linear axis shows at least to either side of a value that does not change.
fn least_margin(unit: Unit, most: f64) -> f64 {
    let least = match unit {
        Unit::Celsius => 5.0,
        Unit::Hertz | Unit::Watts => 0.025 * most,
        _ => 0.005 * most,
    };
    least.max(f64::MIN_POSITIVE)
}

/// Marks of a logarithmic axis that spans less than three powers of ten: the coarsest digits of which three marks fall on it.
fn within_decades(low: f64, high: f64, powers: std::ops::RangeInclusive<i64>) -> Vec<f64> {
    const DIGITS: [&[f64]; 4] = [&[1.0], &[1.0, 2.0, 5.0], &[1.0, 2.0, 3.0, 5.0, 7.0], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]];
    let places = |digits: &[f64]| -> Vec<f64> {
        let all = powers.clone().flat_map(|power| digits.iter().map(move |digit| digit * 10f64.powi(power as i32)));
        all.filter(|place| (low..=high).contains(place)).collect()
    };
    DIGITS.iter().map(|digits| places(digits)).find(|places| places.len() >= 3).unwrap_or_else(|| places(DIGITS[3]))
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below `least`.
fn nice_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|step| *step >= least * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// The unit in which people read `most`: how many base units it has, and its name.
fn unit_of(unit: Unit, most: f64) -> (f64, String) {
    let shown = unit.show(most, 12);
    let (number, name) = shown.split_once(' ').unwrap_or((&shown, ""));
    let size = number.parse().map_or(1.0, |number: f64| most / number);
    // Units are thousands of each other.
    let size = 1000f64.powf((size.ln() / 1000f64.ln()).round());
    (if size.is_finite() && size > 0.0 { size } else { 1.0 }, name.to_owned())
}

/// Takes the unit away from marks that all have the same; returns it.
fn without_unit(ticks: &mut [(f64, String)]) -> Option<String> {
    let unit = |label: &str| label.split_once(' ').map(|(_, unit)| unit.to_owned());
    let common = unit(&ticks.first()?.1)?;
    if ticks.iter().any(|(_, label)| unit(label).as_ref() != Some(&common)) {
        return None;
    }
    ticks.iter_mut().for_each(|(_, label)| label.truncate(label.find(' ').unwrap_or(label.len())));
    Some(common)
}

/// Whole positions of an order, about six of them.
fn ranks(low: f64, high: f64) -> Vec<(f64, String)> {
    let step = nice_step(((high - low) / MOST_TICKS as f64).max(1.0));
    let rest = (1..=2 * MOST_TICKS).map(|index| index as f64 * step).filter(|place| *place > low && *place <= high);
    std::iter::once(low).chain(rest).map(|place| (place, format!("{place:.0}"))).collect()
}

/// A number with its unit, without zeros that say nothing: `1.50 TB/s` is `1.5 TB/s`.
fn tidy(shown: &str) -> String {
    let (number, unit) = shown.split_once(' ').unwrap_or((shown, ""));
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    if number == "0" || unit.is_empty() { number.to_owned() } else { format!("{number} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(unit: Unit, scale: Scale, values: &[f64]) -> String {
        let ruler = Ruler::new(&Axis::new("", unit, scale), values.iter().copied());
        let labels: Vec<String> = ruler.ticks.into_iter().map(|(_, label)| label).collect();
        format!("{} in {}", labels.join(" "), ruler.unit.as_deref().unwrap_or("-"))
    }

    #[test]
    fn marks_are_where_people_expect_them() {
        assert_eq!(labels(Unit::BytesPerSecond, Scale::FromZero, &[2.9e12]), "0 1 2 3 in TB/s");
        assert_eq!(labels(Unit::BytesPerSecond, Scale::FromZero, &[1.1e12]), "0.0 0.5 1.0 1.5 in TB/s");
        assert_eq!(labels(Unit::Bytes, Scale::Logarithmic, &[4096.0, 64.0 * 1048576.0]), "4 KiB 64 KiB 1 MiB 16 MiB in -");
        assert_eq!(labels(Unit::FlopsPerByte, Scale::Logarithmic, &[1.0, 5000.0]), "1 10 100 1000 in FLOP/B");
        assert_eq!(labels(Unit::FlopsPerSecond, Scale::Logarithmic, &[3e14, 9e14]), "300 500 700 in TFLOP/s");
        assert_eq!(labels(Unit::Celsius, Scale::Near, &[44.0, 44.0]), "40 42 44 46 48 in °C");
        assert_eq!(labels(Unit::Rank, Scale::Near, &[1.0, 29.0]), "1 5 10 15 20 25 in -");
    }

    #[test]
    fn an_axis_without_values_is_still_one() {
        for scale in [Scale::FromZero, Scale::Near, Scale::Logarithmic] {
            let ruler = Ruler::new(&Axis::new("", Unit::Watts, scale), []);
            assert!(ruler.holds(1.0) && (0.0..=1.0).contains(&ruler.place(1.0)), "{scale:?}");
        }
    }

    proptest! {
        #[test]
        fn every_value_has_its_place_and_order_is_kept(
            values in proptest::collection::vec(-58.0..58.0f64, 1..20),
            scale in prop_oneof![Just(Scale::FromZero), Just(Scale::Near), Just(Scale::Logarithmic)],
            unit in prop_oneof![Just(Unit::Bytes), Just(Unit::Seconds), Just(Unit::Rank)],
        ) {
            let mut values: Vec<f64> = values.into_iter().map(|power| 10f64.powf(power)).collect();
            values.sort_by(f64::total_cmp);
            let ruler = Ruler::new(&Axis::new("", unit, scale), values.iter().copied());
            for pair in values.windows(2) {
                prop_assert!(ruler.place(pair[0]) <= ruler.place(pair[1]));
            }
            for place in values.iter().map(|value| ruler.place(*value)) {
                prop_assert!((-1e-9..=1.0 + 1e-9).contains(&place), "{place} {ruler:?}");
            }
            prop_assert!(ruler.ticks.len() <= 2 * MOST_TICKS + 1, "{ruler:?}");
        }
    }
}
