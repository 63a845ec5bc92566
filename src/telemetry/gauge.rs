//! Looks at a GPU when the caller asks for one.
//!
//! A [watch](super::Watch) polls on a thread of its own and gives one span. A load that lasts is followed point by point instead: whoever feeds
//! it looks at the GPU between two pieces of work, so that every look belongs to a known stretch of the load. The looks of a **gauge** make a
//! span as well, with the counters read before and after.

use super::nvml::NvmlReadings;
use super::watch::{Counters, Reading, Readings, Seen};
use super::{NvmlWatch, Span};
use crate::error::Result;
use crate::machine::nvml::Nvml;
use crate::units::Watts;

/// Something that can be looked at.
pub trait Gauge {
    /// Begin a span.
    fn start(&mut self);

    /// Look once; what was refused is absent.
    fn look(&mut self) -> Reading;

    /// The power limit in force.
    fn power_limit(&mut self) -> Option<Watts>;

    /// End the span; `None` when nothing is looked at.
    fn stop(&mut self) -> Option<Span>;
}

/// Looks at nothing: machines without NVML.
#[derive(Debug, Clone, Copy, Default)]
pub struct Blind;

impl Gauge for Blind {
    fn start(&mut self) {}

    fn look(&mut self) -> Reading {
        Reading::default()
    }

    fn power_limit(&mut self) -> Option<Watts> {
        None
    }

    fn stop(&mut self) -> Option<Span> {
        None
    }
}

/// Looks through NVML; for a MIG slice at the board that carries it.
#[derive(Debug)]
pub struct NvmlGauge(Looks<NvmlReadings>);

impl NvmlGauge {
    /// A gauge of the GPU with this UUID.
    ///
    /// # Errors
    /// As [`NvmlWatch::new`].
    pub fn new(nvml: &Nvml, uuid: &str) -> Result<Self> {
        Ok(Self(Looks::new(NvmlWatch::readings(nvml, uuid)?)))
    }
}

impl Gauge for NvmlGauge {
    fn start(&mut self) {
        self.0.start();
    }

    fn look(&mut self) -> Reading {
        self.0.look()
    }

    fn power_limit(&mut self) -> Option<Watts> {
        self.0.readings.power_limit()
    }

    fn stop(&mut self) -> Option<Span> {
        Some(self.0.stop())
    }
}

/// Looks at anything that gives readings.
#[derive(Debug)]
struct Looks<R> {
    readings: R,
    seen: Seen,
    before: Counters,
}

impl<R: Readings> Looks<R> {
    fn new(readings: R) -> Self {
        Self { readings, seen: Seen::default(), before: Counters::default() }
    }

    fn start(&mut self) {
        self.seen = Seen::default();
        self.before = self.readings.counters();
    }

    fn look(&mut self) -> Reading {
        let reading = self.readings.poll();
        self.seen.add(&reading);
        reading
    }

    fn stop(&mut self) -> Span {
        let after = self.readings.counters();
        std::mem::take(&mut self.seen).finish(self.before, after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Celsius, Hertz};

    /// A GPU that gets warmer and slower with every look, and counts an error with every reading of its counters.
    #[derive(Default)]
    struct Warming {
        looks: u32,
        errors: u64,
    }

    impl Readings for Warming {
        fn poll(&mut self) -> Reading {
            self.looks += 1;
            let looks = f64::from(self.looks);
            Reading {
                sm_clock: Some(Hertz(2e9 - 1e8 * looks)),
                temperature: Some(Celsius(50.0 + looks)),
                throttle_reasons: if self.looks > 1 { vec!["sw_thermal_slowdown"] } else { Vec::new() },
                ..Reading::default()
            }
        }

        fn counters(&mut self) -> Counters {
            self.errors += 1;
            Counters { corrected_errors: Some(self.errors), ..Counters::default() }
        }
    }

    #[test]
    fn a_span_of_looks_is_what_they_saw_between_two_readings_of_the_counters() {
        let mut looks = Looks::new(Warming::default());
        looks.start();
        let seen = [looks.look(), looks.look()];
        assert_eq!(seen[1].sm_clock, Some(Hertz(1.8e9)));
        let span = looks.stop();
        assert_eq!((span.polls, span.mean_sm_clock, span.least_sm_clock), (2, Some(Hertz(1.85e9)), Some(Hertz(1.8e9))));
        assert_eq!((span.peak_temperature, span.new_corrected_errors), (Some(Celsius(52.0)), Some(1)));
        assert_eq!(span.throttle_reasons, ["sw_thermal_slowdown"]);
        // The next span knows nothing of this one.
        looks.start();
        assert_eq!((looks.stop().polls, looks.stop().peak_temperature), (0, None));
    }
}
