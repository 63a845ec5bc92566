//! The GPU's clock: two events around a batch, behind a gate.
//!
//! Whatever makes the driver wait for the device must not happen behind a shut gate, or both wait for each other until the gate's watchdog
//! ends it. The first use of a thing is such a moment: the driver loads a kernel's code into device memory at its first launch ("lazy
//! loading", the default since CUDA 12.2), a graph's at its first, and makes room for spilled registers when a kernel needs more than any
//! before it. So a trial is **rehearsed**: its first iteration runs without a gate and without being timed.

use super::{Clock, Trial};
use crate::error::{Error, Result};
use crate::gpu::{Event, Gate, Gpu, MOST_QUEUED, Stream, WATCHDOG};
use crate::units::Seconds;

/// Difference that two events can tell: their time stamps count about half microseconds.
const RESOLUTION: Seconds = Seconds(0.5e-6);

/// Marks that the clock itself puts into the queue.
const OWN_MARKS: u64 = 3;

/// Times what is enqueued on one stream.
///
/// The stream is held shut while a batch is enqueued, so the time is that of the device alone. A batch that would not fit into the queue
/// behind a shut gate is timed in parts, each behind the gate, and their times are added.
///
/// A trial that works on several streams begins its iterations by letting the others wait for an event of the clock's stream, and ends them
/// by letting that stream wait for an event of each. A trial that returns only when its work is done (pageable copies) cannot be held: it
/// is timed by the [host's clock](super::HostClock).
#[derive(Debug)]
pub struct GpuClock {
    stream: Stream,
    gate: Gate,
    start: Event,
    end: Event,
}

impl GpuClock {
    /// A clock with a stream of its own.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device cannot give what it takes.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Self::with_stream(gpu.stream()?)
    }

    /// A clock of this stream.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device cannot give what it takes.
    pub fn with_stream(stream: Stream) -> Result<Self> {
        let gpu = stream.gpu();
        Ok(Self { gate: Gate::new(gpu, WATCHDOG)?, start: gpu.event()?, end: gpu.event()?, stream })
    }

    /// The stream that trials have to enqueue on.
    pub const fn stream(&self) -> &Stream {
        &self.stream
    }

    /// One part of a batch, small enough for the queue.
    fn time_part(&mut self, trial: &mut dyn Trial, iterations: u64) -> Result<Seconds> {
        let hold = self.gate.hold(&self.stream)?;
        self.stream.record(&self.start)?;
        trial.enqueue(iterations)?;
        self.stream.record(&self.end)?;
        hold.open()?;
        self.end.since(&self.start)
    }
}

impl Clock for GpuClock {
    fn rehearse(&mut self, trial: &mut dyn Trial) -> Result<()> {
        trial.enqueue(1)?;
        self.stream.synchronize()
    }

    fn time(&mut self, trial: &mut dyn Trial, iterations: u64) -> Result<Seconds> {
        let most = iterations_per_part(trial.launches_per_iteration())?;
        let mut left = iterations;
        let mut total = Seconds(0.0);
        while left > 0 {
            let part = left.min(most);
            total += self.time_part(trial, part)?;
            left -= part;
        }
        Ok(total)
    }

    fn resolution(&self) -> Seconds {
        RESOLUTION
    }
}

/// How many iterations fit behind a shut gate.
fn iterations_per_part(launches: u64) -> Result<u64> {
    match (MOST_QUEUED - OWN_MARKS) / launches.max(1) {
        0 => Err(Error::measurement("timing work on a GPU", format!("one iteration has {launches} launches, more than the queue holds"))),
        iterations => Ok(iterations),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_never_fills_the_queue() {
        for launches in 0..=MOST_QUEUED - OWN_MARKS {
            let iterations = iterations_per_part(launches).unwrap();
            assert!(iterations >= 1 && iterations * launches + OWN_MARKS <= MOST_QUEUED, "{launches}");
        }
        assert!(iterations_per_part(MOST_QUEUED).is_err());
    }
}
