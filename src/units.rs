//! Physical quantities, each a type of its own.
//!
//! A number meets its unit where it enters the program (driver milliseconds become [`Seconds`]) and loses it only in formatting, so a
//! rate can never be mistaken for a time, nor a capacity for a rate. Two conventions, both the field's:
//!
//! * **Rates and operation counts are decimal**: 1 GB/s is 1e9 B/s, 1 TFLOP/s is 1e12 FLOP/s.
//! * **Capacities are bytes, shown in binary units**: 1 GiB is 2³⁰ B. A marketing "80 GB" is a label, not a quantity, and lives in the
//!   catalog as text.
//!
//! Displays parse back: [`Bytes`] exactly, the floating quantities to the digits shown.

use std::fmt;
use std::ops::{Add, AddAssign, Div, Mul, Sub};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a {quantity} such as {example:?} but found {found:?}")]
pub struct ParseQuantityError {
    quantity: &'static str,
    example: &'static str,
    found: String,
}

/// A count of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Bytes(pub u64);

const BINARY: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
const DECIMAL_BYTES: [(u64, &str); 4] = [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];

impl Bytes {
    /// One kibibyte, 2¹⁰ bytes.
    pub const KIB: Self = Self(1 << 10);
    /// One mebibyte, 2²⁰ bytes.
    pub const MIB: Self = Self(1 << 20);
    /// One gibibyte, 2³⁰ bytes.
    pub const GIB: Self = Self(1 << 30);

    /// `n` KiB; saturates.
    pub const fn kib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 10))
    }

    /// `n` MiB; saturates.
    pub const fn mib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 20))
    }

    /// `n` GiB; saturates.
    pub const fn gib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 30))
    }

    /// The count as a float, for arithmetic with rates.
    pub const fn as_f64(self) -> f64 {
        self.0 as f64
    }

    /// The capacity in GiB, as a float.
    pub fn as_gib(self) -> f64 {
        self.as_f64() / Self::GIB.as_f64()
    }

    /// The largest multiple of `unit` that is not above `self`. `unit` must not be zero.
    pub const fn round_down_to(self, unit: Self) -> Self {
        Self(self.0 - self.0 % unit.0)
    }

    /// For people: three significant digits in the nearest binary unit, such as `139.8 GiB`. Does not parse back exactly.
    pub fn approximate(self) -> String {
        for (size, name) in BINARY {
            if self.0 >= size {
                return format!("{} {name}", significant(self.as_f64() / size as f64, 4));
            }
        }
        format!("{} B", self.0)
    }
}

/// Exact: the largest binary unit that divides the count, without a space (`4GiB`, `1536KiB`, `77B`), so it can stand in a case id.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (size, name) in BINARY {
            if self.0 >= size && self.0.is_multiple_of(size) {
                return f.pad(&format!("{}{name}", self.0 / size));
            }
        }
        f.pad(&format!("{}B", self.0))
    }
}

/// Takes binary (`4GiB`) and decimal (`80GB`) units and plain bytes (`4096` or `4096B`), with or without a space; fractions are allowed
/// where the result is a whole number of bytes or close to it.
impl FromStr for Bytes {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseQuantityError { quantity: "size", example: "4GiB", found: text.to_owned() };
        let trimmed = text.trim();
        let split = trimmed.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(trimmed.len());
        let (number, unit) = (trimmed[..split].trim(), trimmed[split..].trim());
        let size = match unit {
            "" | "B" => 1,
            _ => BINARY.iter().chain(&DECIMAL_BYTES).find(|(_, name)| name.eq_ignore_ascii_case(unit)).ok_or_else(error)?.0,
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(size).map(Self).ok_or_else(error);
        }
        let value: f64 = number.parse().map_err(|_| error())?;
        let bytes = value * size as f64;
        // 2^64 itself is out of range, and every float below it converts.
        if !(0.0..18_446_744_073_709_551_616.0).contains(&bytes) {
            return Err(error());
        }
        Ok(Self(bytes.round() as u64))
    }
}

impl Add for Bytes {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Bytes {
    type Output = Self;
    /// Saturates at zero: a capacity is never negative.
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Mul<u64> for Bytes {
    type Output = Self;
    fn mul(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count))
    }
}

impl Div<u64> for Bytes {
    type Output = Self;
    /// Rounds down. Division by zero gives zero, as a share of nothing.
    fn div(self, parts: u64) -> Self {
        Self(self.0.checked_div(parts).unwrap_or(0))
    }
}

impl std::iter::Sum for Bytes {
    fn sum<I: Iterator<Item = Self>>(values: I) -> Self {
        values.fold(Self(0), Add::add)
    }
}

/// `value` with `digits` significant digits, in plain notation, trailing zeros kept.
pub fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let rounded: f64 = format!("{value:.*e}", digits.saturating_sub(1)).parse().unwrap_or(value);
    let magnitude = rounded.abs().log10().floor() as i64;
    let decimals = (digits as i64 - 1 - magnitude).max(0) as usize;
    format!("{rounded:.decimals$}")
}

macro_rules! quantity {
    ($(#[$meta:meta])* $name:ident, $what:literal, $example:literal, [$(($size:expr, $unit:literal)),+ $(,)?]) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub f64);

        impl $name {
            const UNITS: &'static [(f64, &'static str)] = &[$(($size, $unit)),+];

            /// The bare number in the base unit.
            pub const fn value(self) -> f64 {
                self.0
            }

            /// Whether the number is neither infinite nor NaN.
            pub fn is_finite(self) -> bool {
                self.0.is_finite()
            }

            /// The larger of two; a NaN loses.
            pub fn max(self, other: Self) -> Self {
                Self(self.0.max(other.0))
            }

            /// The smaller of two; a NaN loses.
            pub fn min(self, other: Self) -> Self {
                Self(self.0.min(other.0))
            }

            /// For people: `digits` significant digits in the nearest unit.
            pub fn display(self, digits: usize) -> String {
                let (size, unit) = Self::UNITS
                    .iter()
                    .find(|(size, _)| self.0.abs() >= *size)
                    .or(Self::UNITS.last())
                    .copied()
                    .unwrap_or((1.0, ""));
                format!("{} {unit}", significant(self.0 / size, digits))
            }
        }

        /// Four significant digits in the nearest unit.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.display(4))
            }
        }

        impl FromStr for $name {
            type Err = ParseQuantityError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let error = || ParseQuantityError { quantity: $what, example: $example, found: text.to_owned() };
                let trimmed = text.trim();
                let (size, unit) = Self::UNITS
                    .iter()
                    .copied()
                    .filter(|(_, unit)| trimmed.ends_with(unit))
                    .max_by_key(|(_, unit)| unit.len())
                    .ok_or_else(error)?;
                let number: f64 = trimmed[..trimmed.len() - unit.len()].trim().parse().map_err(|_| error())?;
                if !number.is_finite() {
                    return Err(error());
                }
                Ok(Self(number * size))
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                self.0 += other.0;
            }
        }

        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }

        impl Mul<f64> for $name {
            type Output = Self;
            fn mul(self, factor: f64) -> Self {
                Self(self.0 * factor)
            }
        }

        impl Div<f64> for $name {
            type Output = Self;
            fn div(self, divisor: f64) -> Self {
                Self(self.0 / divisor)
            }
        }

        /// A ratio of two quantities of one kind has no unit.
        impl Div for $name {
            type Output = f64;
            fn div(self, other: Self) -> f64 {
                self.0 / other.0
            }
        }

        impl std::iter::Sum for $name {
            fn sum<I: Iterator<Item = Self>>(values: I) -> Self {
                values.fold(Self(0.0), Add::add)
            }
        }
    };
}

quantity!(
    /// A duration.
    Seconds, "duration", "1.5 ms", [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")]
);
quantity!(
    /// A transfer rate, decimal: 1 GB/s = 1e9 B/s.
    BytesPerSecond, "transfer rate", "4.43 TB/s", [(1e12, "TB/s"), (1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s"), (1.0, "B/s")]
);
quantity!(
    /// A count of floating-point operations; a multiply-add counts two.
    Flops, "count of operations", "1.1 TFLOP", [(1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"), (1.0, "FLOP")]
);
quantity!(
    /// A rate of floating-point operations.
    FlopsPerSecond, "rate of operations", "790 TFLOP/s", [(1e15, "PFLOP/s"), (1e12, "TFLOP/s"), (1e9, "GFLOP/s"), (1e6, "MFLOP/s"), (1.0, "FLOP/s")]
);
quantity!(
    /// Electrical power.
    Watts, "power", "700 W", [(1e3, "kW"), (1.0, "W")]
);
quantity!(
    /// Electrical energy.
    Joules, "energy", "1.2 kWh", [(3.6e9, "MWh"), (3.6e6, "kWh"), (3.6e3, "Wh"), (1.0, "J")]
);
quantity!(
    /// A temperature in degrees Celsius.
    Celsius, "temperature", "61 °C", [(1.0, "°C")]
);
quantity!(
    /// A frequency.
    Hertz, "frequency", "1980 MHz", [(1e9, "GHz"), (1e6, "MHz"), (1e3, "kHz"), (1.0, "Hz")]
);
quantity!(
    /// Money, in US dollars.
    Usd, "amount of money", "2.49 USD", [(1.0, "USD")]
);

impl Seconds {
    /// From the driver's milliseconds.
    pub const fn from_milliseconds(milliseconds: f64) -> Self {
        Self(milliseconds * 1e-3)
    }

    /// From a count of microseconds.
    pub const fn from_microseconds(microseconds: f64) -> Self {
        Self(microseconds * 1e-6)
    }
}

impl Mul<Seconds> for Watts {
    type Output = Joules;
    fn mul(self, time: Seconds) -> Joules {
        Joules(self.0 * time.0)
    }
}

impl From<std::time::Duration> for Seconds {
    fn from(duration: std::time::Duration) -> Self {
        Self(duration.as_secs_f64())
    }
}

impl Div<Seconds> for Bytes {
    type Output = BytesPerSecond;
    fn div(self, time: Seconds) -> BytesPerSecond {
        BytesPerSecond(self.as_f64() / time.0)
    }
}

impl Div<BytesPerSecond> for Bytes {
    type Output = Seconds;
    fn div(self, rate: BytesPerSecond) -> Seconds {
        Seconds(self.as_f64() / rate.0)
    }
}

impl Div<Seconds> for Flops {
    type Output = FlopsPerSecond;
    fn div(self, time: Seconds) -> FlopsPerSecond {
        FlopsPerSecond(self.0 / time.0)
    }
}

impl Div<FlopsPerSecond> for Flops {
    type Output = Seconds;
    fn div(self, rate: FlopsPerSecond) -> Seconds {
        Seconds(self.0 / rate.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, bytes) in
            [("4GiB", 4 << 30), ("4 GiB", 4 << 30), ("1.5MiB", 3 << 19), ("80GB", 80_000_000_000), ("77", 77), ("77B", 77), ("0B", 0)]
        {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for wrong in ["", "GiB", "-1B", "4XB", "NaN", "1e400B", "99999999999TiB", "inf"] {
            assert!(wrong.parse::<Bytes>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn errors_name_what_was_expected() {
        let error = "fast".parse::<BytesPerSecond>().unwrap_err();
        assert_eq!(error.to_string(), r#"expected a transfer rate such as "4.43 TB/s" but found "fast""#);
    }

    #[test]
    fn displays_keep_the_digits_asked_for() {
        assert_eq!(BytesPerSecond(4.4296e12).to_string(), "4.430 TB/s");
        assert_eq!(BytesPerSecond(999.96e9).to_string(), "1000 GB/s");
        assert_eq!(Seconds(2.5e-6).to_string(), "2.500 µs");
        assert_eq!(Seconds(0.0).to_string(), "0 ns");
        assert_eq!(Bytes::gib(1).approximate(), "1.000 GiB");
        assert_eq!(Bytes(143_771 << 20).approximate(), "140.4 GiB");
        assert_eq!(significant(123_456.0, 3), "123000");
    }

    #[test]
    fn rates_come_from_work_and_time_only() {
        assert_eq!(Bytes(3_000_000_000) / Seconds(1.5), BytesPerSecond(2e9));
        assert_eq!(Flops(1e12) / FlopsPerSecond(2e12), Seconds(0.5));
        assert_eq!(Bytes(10) - Bytes(20), Bytes(0));
    }

    proptest! {
        #[test]
        fn bytes_parse_back_exactly(n: u64) {
            prop_assert_eq!(Bytes(n).to_string().parse(), Ok(Bytes(n)));
        }

        #[test]
        fn rates_parse_back_to_the_digits_shown(exponent in -2.0..14.0f64) {
            let rate = BytesPerSecond(10f64.powf(exponent));
            let back: BytesPerSecond = rate.to_string().parse().unwrap();
            prop_assert!((back.0 / rate.0 - 1.0).abs() < 6e-4 || (back.0 - rate.0).abs() < 1e-3);
        }

        #[test]
        fn seconds_parse_back_to_the_digits_shown(exponent in -9.0..5.0f64) {
            let time = Seconds(10f64.powf(exponent));
            let back: Seconds = time.to_string().parse().unwrap();
            prop_assert!((back.0 / time.0 - 1.0).abs() < 6e-4);
        }

        #[test]
        fn parsing_never_panics(text in ".{0,24}") {
            let _ = text.parse::<Bytes>();
            let _ = text.parse::<Seconds>();
            let _ = text.parse::<Hertz>();
        }
    }
}
