//! Numbers that say where they come from.
//!
//! A **figure** is a quantity with its interval, its **basis** and the sources behind it. The basis is the promise of this program: a reader
//! always sees whether a number was measured on this very machine, on another machine with the same GPU, printed by the vendor, taken from
//! the written guide, or assumed. The sources name the exact measurements (case ids) or documents, so every number can be traced.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::Interval;
use crate::units::{Bytes, BytesPerSecond, Celsius, Flops, FlopsPerSecond, Hertz, Joules, Seconds, Usd, Watts, significant};

/// Where a number comes from, from the most to the least trustworthy for this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Basis {
    /// Measured on the machine the statement is about.
    #[serde(rename = "measured here")]
    MeasuredHere,
    /// Measured on another machine with the same GPU model.
    #[serde(rename = "measured on the same GPU model")]
    MeasuredSameModel,
    /// Printed by the vendor, or computed from what a standard defines.
    #[serde(rename = "datasheet")]
    Datasheet,
    /// Taken from the written hardware guide.
    #[serde(rename = "guide")]
    Guide,
    /// Nobody measured or printed it: a rule of thumb, stated as such.
    #[serde(rename = "assumed")]
    Assumed,
}

impl Basis {
    /// Every basis, the most trustworthy first.
    pub const ALL: [Self; 5] = [Self::MeasuredHere, Self::MeasuredSameModel, Self::Datasheet, Self::Guide, Self::Assumed];

    /// The words used in every output.
    pub const fn words(self) -> &'static str {
        match self {
            Self::MeasuredHere => "measured here",
            Self::MeasuredSameModel => "measured on the same GPU model",
            Self::Datasheet => "datasheet",
            Self::Guide => "guide",
            Self::Assumed => "assumed",
        }
    }

    /// One superscript letter that marks a number in a table; one column wide in every terminal.
    pub const fn mark(self) -> char {
        match self {
            Self::MeasuredHere => 'ᵐ',
            Self::MeasuredSameModel => 'ˢ',
            Self::Datasheet => 'ᵈ',
            Self::Guide => 'ᵍ',
            Self::Assumed => 'ᵃ',
        }
    }

    /// The less trustworthy of two: what a number computed from both can claim.
    #[must_use]
    pub fn weaker(self, other: Self) -> Self {
        self.max(other)
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.words())
    }
}

/// A physical quantity that a [`Figure`] can carry.
pub trait Quantity: Copy {
    /// The unit of [`Self::base`], as written in JSON and CSV; empty for a bare number.
    const UNIT: &'static str;

    /// The number in the base unit.
    fn base(self) -> f64;

    /// The quantity of that many base units.
    fn from_base(base: f64) -> Self;

    /// For people, unit included.
    fn show(self) -> String;
}

macro_rules! quantities {
    ($($name:ident $unit:literal),+ $(,)?) => {
        $(impl Quantity for $name {
            const UNIT: &'static str = $unit;
            fn base(self) -> f64 {
                self.0
            }
            fn from_base(base: f64) -> Self {
                Self(base)
            }
            fn show(self) -> String {
                self.display(4)
            }
        })+
    };
}

quantities!(BytesPerSecond "B/s", Seconds "s", Flops "FLOP", FlopsPerSecond "FLOP/s", Watts "W", Joules "J", Celsius "°C", Hertz "Hz", Usd "USD");

impl Quantity for Bytes {
    const UNIT: &'static str = "B";

    fn base(self) -> f64 {
        self.as_f64()
    }

    /// Rounds to whole bytes; negative and not-a-number become zero.
    fn from_base(base: f64) -> Self {
        Self(base.round() as u64)
    }

    fn show(self) -> String {
        self.approximate()
    }
}

impl Quantity for f64 {
    const UNIT: &'static str = "";

    fn base(self) -> f64 {
        self
    }

    fn from_base(base: f64) -> Self {
        base
    }

    fn show(self) -> String {
        significant(self, 4)
    }
}

/// A share of something, 1 being all of it. Shown in percent, never clamped: more than the whole is a finding about the whole.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Share(pub f64);

impl Quantity for Share {
    const UNIT: &'static str = "";

    fn base(self) -> f64 {
        self.0
    }

    fn from_base(base: f64) -> Self {
        Self(base)
    }

    fn show(self) -> String {
        format!("{:.1} %", self.0 * 100.0)
    }
}

/// A quantity with its interval, its basis and its sources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figure<Q> {
    /// The best single value.
    pub value: Q,
    /// Lower end of the interval; equal to the value where none is known.
    pub low: Q,
    /// Upper end of the interval; equal to the value where none is known.
    pub high: Q,
    /// What kind of source it has.
    pub basis: Basis,
    /// The sources themselves: case ids for measurements, titles for documents, the rule for assumptions.
    pub from: Vec<String>,
}

impl<Q: Quantity> Figure<Q> {
    /// A value without an interval.
    pub fn new(value: Q, basis: Basis, from: impl Into<String>) -> Self {
        Self { value, low: value, high: value, basis, from: vec![from.into()] }
    }

    /// A measured value, in base units, with its interval.
    pub fn measured(interval: Interval, from: impl Into<String>) -> Self {
        Self {
            value: Q::from_base(interval.point),
            low: Q::from_base(interval.low),
            high: Q::from_base(interval.high),
            basis: Basis::MeasuredHere,
            from: vec![from.into()],
        }
    }

    /// What is assumed for want of anything better; `rule` says why.
    pub fn assumed(value: Q, rule: impl Into<String>) -> Self {
        Self::new(value, Basis::Assumed, rule)
    }

    /// Relative half-width of the interval: 0.01 is ± 1 %.
    pub fn uncertainty(&self) -> f64 {
        ((self.high.base() - self.low.base()) / 2.0 / self.value.base()).abs()
    }

    /// The figure under a change of unit or scale `f`; decreasing functions swap the ends.
    pub fn map<R: Quantity>(&self, f: impl Fn(Q) -> R) -> Figure<R> {
        let (low, high) = (f(self.low), f(self.high));
        let (low, high) = if low.base() <= high.base() { (low, high) } else { (high, low) };
        Figure { value: f(self.value), low, high, basis: self.basis, from: self.from.clone() }
    }

    /// This as a share of `whole`. The interval is this figure's; the basis is this figure's too, since `whole` only names the yardstick, and
    /// the yardstick's sources follow this figure's.
    pub fn share_of(&self, whole: &Self) -> Figure<Share> {
        let mut share = self.map(|part| Share(part.base() / whole.value.base()));
        share.add_sources(&whole.from);
        share
    }

    /// A figure computed from this and another one. Its ends are the least and the most over the four corners, which bounds any function
    /// that is monotone in each argument; its basis is the weaker of the two.
    pub fn with<R: Quantity, S: Quantity>(&self, other: &Figure<R>, f: impl Fn(Q, R) -> S) -> Figure<S> {
        let corners = [f(self.low, other.low), f(self.low, other.high), f(self.high, other.low), f(self.high, other.high)];
        let value = f(self.value, other.value);
        let least = corners.into_iter().fold(value, |least, corner| if corner.base() < least.base() { corner } else { least });
        let most = corners.into_iter().fold(value, |most, corner| if corner.base() > most.base() { corner } else { most });
        let mut figure = Figure { value, low: least, high: most, basis: self.basis.weaker(other.basis), from: self.from.clone() };
        figure.add_sources(&other.from);
        figure
    }

    /// The same number on another basis: a recorded machine's figure, used for this one, is `MeasuredSameModel` at best.
    #[must_use]
    pub fn on(mut self, basis: Basis) -> Self {
        self.basis = basis;
        self
    }

    fn add_sources(&mut self, others: &[String]) {
        for source in others {
            if !self.from.contains(source) {
                self.from.push(source.clone());
            }
        }
    }
}

/// The value alone, for people.
impl<Q: Quantity> fmt::Display for Figure<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.value.show())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn json_uses_the_agreed_words() {
        for basis in Basis::ALL {
            assert_eq!(serde_json::to_value(basis).unwrap(), basis.words());
        }
        let figure = Figure::<BytesPerSecond>::measured(Interval::new(2.0, 1.0, 3.0), "dram.read/bytes=4GiB,gpu=0");
        assert_eq!(
            serde_json::to_string(&figure).unwrap(),
            r#"{"value":2.0,"low":1.0,"high":3.0,"basis":"measured here","from":["dram.read/bytes=4GiB,gpu=0"]}"#
        );
    }

    #[test]
    fn a_computed_figure_claims_no_more_than_its_weakest_part() {
        let rate = Figure::new(BytesPerSecond(2e9), Basis::Datasheet, "vendor");
        let size = Figure::<Bytes>::measured(Interval::new(4e9, 2e9, 6e9), "memory.context/gpu=0");
        let time = size.with(&rate, |size, rate| size / rate);
        assert_eq!((time.value, time.low, time.high), (Seconds(2.0), Seconds(1.0), Seconds(3.0)));
        assert_eq!(time.basis, Basis::Datasheet);
        assert_eq!(time.from, ["memory.context/gpu=0", "vendor"]);
    }

    #[test]
    fn a_share_above_the_whole_is_shown_as_it_is() {
        let whole = Figure::new(FlopsPerSecond(100.0), Basis::Datasheet, "vendor");
        let part = Figure::<FlopsPerSecond>::measured(Interval::new(113.0, 110.0, 115.0), "case");
        let share = part.share_of(&whole);
        assert_eq!(share.to_string(), "113.0 %");
        assert_eq!(share.basis, Basis::MeasuredHere);
        assert_eq!(share.from, ["case", "vendor"]);
    }

    proptest! {
        #[test]
        fn the_interval_always_holds_the_value(a in 0.1..1e6f64, da in 0.0..0.09f64, b in 0.1..1e6f64, db in 0.0..0.09f64) {
            let first = Figure::<Seconds>::measured(Interval::new(a, a - da, a + da), "a");
            let second = Figure::<Seconds>::measured(Interval::new(b, b - db, b + db), "b");
            for figure in [first.with(&second, |x, y| x + y), first.with(&second, |x, y| Seconds(x.0 / y.0)), first.map(|x| Seconds(1.0 / x.0))] {
                prop_assert!(figure.low <= figure.value && figure.value <= figure.high);
            }
        }
    }
}
