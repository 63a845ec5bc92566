//! What times a batch.

use std::time::Instant;

use super::Trial;
use crate::error::Result;
use crate::units::Seconds;

/// Times batches of a trial's work.
pub trait Clock {
    /// Time of `iterations` iterations of `trial`, finished before this returns.
    ///
    /// # Errors
    /// When the trial or the clock's own device calls fail.
    fn time(&mut self, trial: &mut dyn Trial, iterations: u64) -> Result<Seconds>;

    /// The smallest difference the clock can tell.
    fn resolution(&self) -> Seconds;
}

/// The host's monotonic clock, for work that is done when `enqueue` returns.
#[derive(Debug, Clone, Copy)]
pub struct HostClock {
    resolution: Seconds,
}

impl HostClock {
    /// A clock that found out its own resolution: the smallest of many differences between successive readings.
    pub fn new() -> Self {
        let mut least = f64::INFINITY;
        for _ in 0..64 {
            let start = Instant::now();
            let mut elapsed = start.elapsed();
            while elapsed.is_zero() {
                elapsed = start.elapsed();
            }
            least = least.min(elapsed.as_secs_f64());
        }
        Self { resolution: Seconds(least) }
    }
}

impl Default for HostClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for HostClock {
    fn time(&mut self, trial: &mut dyn Trial, iterations: u64) -> Result<Seconds> {
        let start = Instant::now();
        trial.enqueue(iterations)?;
        Ok(start.elapsed().into())
    }

    fn resolution(&self) -> Seconds {
        self.resolution
    }
}

/// A clock that follows a script: tests of everything above it know the truth.
pub struct ScriptedClock<F> {
    script: F,
    resolution: Seconds,
}

impl<F: FnMut(u64) -> Seconds> ScriptedClock<F> {
    /// A clock of the given resolution whose `script` gives the time of a batch of so many iterations.
    pub const fn new(resolution: Seconds, script: F) -> Self {
        Self { script, resolution }
    }
}

impl<F: FnMut(u64) -> Seconds> Clock for ScriptedClock<F> {
    fn time(&mut self, trial: &mut dyn Trial, iterations: u64) -> Result<Seconds> {
        trial.enqueue(iterations)?;
        Ok((self.script)(iterations))
    }

    fn resolution(&self) -> Seconds {
        self.resolution
    }
}
