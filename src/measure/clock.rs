//! What times a batch.

use std::time::Instant;

use super::Trial;
use crate::error::Result;
use crate::units::Seconds;

/// Times batches of a trial's work.
pub trait Clock {
    /// Does the work once, untimed, before the first batch of a trial. Only a clock that holds the device while a batch is enqueued needs it.
    ///
    /// # Errors
    /// As [`Clock::time`].
    fn rehearse(&mut self, _trial: &mut dyn Trial) -> Result<()> {
        Ok(())
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Work;

    /// Takes at least a millisecond per iteration.
    struct Sleeper(u64);

    impl Trial for Sleeper {
        fn enqueue(&mut self, iterations: u64) -> Result<()> {
            self.0 += iterations;
            std::thread::sleep(std::time::Duration::from_millis(iterations));
            Ok(())
        }

        fn work(&self) -> Work {
            Work::stepping(1)
        }

        fn check(&mut self) -> Result<Option<String>> {
            Ok(None)
        }
    }

    #[test]
    fn the_host_clock_covers_the_whole_batch() {
        let (mut clock, mut trial) = (HostClock::new(), Sleeper(0));
        // A sleep never ends early, so this holds on the busiest machine.
        assert!(clock.time(&mut trial, 5).unwrap() >= Seconds(0.005));
        assert_eq!(trial.0, 5);
    }

    #[test]
    fn the_host_clock_knows_its_resolution() {
        let resolution = HostClock::new().resolution();
        assert!(resolution.0 > 0.0 && resolution < Seconds(0.001), "{resolution}");
    }

    #[test]
    fn a_scripted_clock_runs_the_work_and_tells_the_scripts_time() {
        let mut trial = Sleeper(0);
        let mut clock = ScriptedClock::new(Seconds(1e-6), |iterations| Seconds(2.0 * iterations as f64));
        assert_eq!(clock.time(&mut trial, 3).unwrap(), Seconds(6.0));
        assert_eq!((trial.0, clock.resolution()), (3, Seconds(1e-6)));
    }
}
