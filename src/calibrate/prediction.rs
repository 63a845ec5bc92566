//! A time that nobody measured.

use crate::units::Seconds;

/// A predicted time with the interval that holds the true one in nine cases of ten, as far as the model knows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// The time, in the middle of what is likely: too long as often as too short.
    pub time: Seconds,
    /// Lower end of the 90 % interval.
    pub low: Seconds,
    /// Upper end of the 90 % interval.
    pub high: Seconds,
    /// Whether it lies outside what was measured, so that physics alone speaks.
    pub extrapolated: bool,
}

impl Prediction {
    /// A time that is right within a factor: the interval goes from `time / factor` to `time · factor`. A factor below 1 counts as 1.
    pub fn within(time: Seconds, factor: f64, extrapolated: bool) -> Self {
        let factor = factor.max(1.0);
        Self { time, low: Seconds(time.0 / factor), high: Seconds(time.0 * factor), extrapolated }
    }

    /// `times` of it one after the other; errors of the same model go the same way, so the interval grows with it.
    #[must_use]
    pub fn times(self, times: f64) -> Self {
        Self { time: Seconds(self.time.0 * times), low: Seconds(self.low.0 * times), high: Seconds(self.high.0 * times), ..self }
    }

    /// Whether a measured time lies in the interval.
    pub fn contains(self, measured: Seconds) -> bool {
        self.low <= measured && measured <= self.high
    }
}
