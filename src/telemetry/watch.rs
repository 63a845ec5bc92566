//! The watch itself: a thread that polls while a span is open.
//!
//! The thread sleeps on a condition variable, so that a span opens and closes at once and never waits for a polling period. It knows nothing
//! of NVML: it polls anything that gives [`Readings`], and the tests script one. Counters are read by whoever opens and closes the span, so
//! that they frame exactly the work between; polls belong to the span they were begun in, and one that comes back late is dropped.
//!
//! What a poll sees while the driver calls the GPU **idle** says nothing about the work: such a poll counts for the temperature only.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Span, Watch};
use crate::units::{Celsius, Hertz, Watts};

/// Time between two polls. One takes NVML some tenths of a millisecond, and clocks and power change on a scale of 10 ms and more.
pub(super) const PERIOD: Duration = Duration::from_millis(20);

/// One look at a GPU; what was refused is absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// Clock of the multiprocessors.
    pub sm_clock: Option<Hertz>,
    /// Clock of the memory.
    pub memory_clock: Option<Hertz>,
    /// Draw.
    pub power: Option<Watts>,
    /// Temperature.
    pub temperature: Option<Celsius>,
    /// Names of the reasons for reduced clocks, without idleness.
    pub throttle_reasons: Vec<&'static str>,
    /// Whether the driver holds clocks down because nothing runs.
    pub idle: bool,
    /// Generation and width of the PCIe link.
    pub pcie: Option<(u32, u32)>,
}

/// Counters that only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) corrected_errors: Option<u64>,
    pub(super) uncorrected_errors: Option<u64>,
    pub(super) pcie_replays: Option<u64>,
}

/// Something that can be polled.
pub(super) trait Readings: Send + 'static {
    fn poll(&mut self) -> Reading;
    fn counters(&mut self) -> Counters;

    /// The power limit in force, where it can be asked for.
    fn power_limit(&mut self) -> Option<Watts> {
        None
    }
}

/// What has been seen in the open span.
#[derive(Debug, Default)]
pub(super) struct Seen {
    span: Span,
    sm_clock: Mean,
    memory_clock: Mean,
    power: Mean,
}

/// A running mean.
#[derive(Debug, Default)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / f64::from(self.count))
    }
}

impl Seen {
    pub(super) fn add(&mut self, reading: &Reading) {
        let span = &mut self.span;
        span.peak_temperature = reading.temperature.into_iter().chain(span.peak_temperature).reduce(Celsius::max);
        if reading.idle {
            return;
        }
        span.polls += 1;
        if let Some(clock) = reading.sm_clock {
            self.sm_clock.add(clock.0);
            span.least_sm_clock = Some(span.least_sm_clock.map_or(clock, |least| least.min(clock)));
        }
        if let Some(clock) = reading.memory_clock {
            self.memory_clock.add(clock.0);
        }
        if let Some(power) = reading.power {
            self.power.add(power.0);
            span.peak_power = Some(span.peak_power.map_or(power, |peak| peak.max(power)));
        }
        for reason in &reading.throttle_reasons {
            if !span.throttle_reasons.iter().any(|known| known == reason) {
                span.throttle_reasons.push((*reason).to_owned());
            }
        }
        if let Some((generation, width)) = reading.pcie {
            span.pcie_generation = span.pcie_generation.max(Some(generation));
            span.pcie_width = span.pcie_width.max(Some(width));
        }
    }

    pub(super) fn finish(mut self, before: Counters, after: Counters) -> Span {
        // A counter that fell was cleared by someone: what is there now came since.
        let grown = |before: Option<u64>, after: Option<u64>| Some(after?.checked_sub(before?).unwrap_or(after?));
        self.span.mean_sm_clock = self.sm_clock.value().map(Hertz);
        self.span.mean_memory_clock = self.memory_clock.value().map(Hertz);
        self.span.mean_power = self.power.value().map(Watts);
        self.span.new_corrected_errors = grown(before.corrected_errors, after.corrected_errors);
        self.span.new_uncorrected_errors = grown(before.uncorrected_errors, after.uncorrected_errors);
        self.span.new_pcie_replays = grown(before.pcie_replays, after.pcie_replays);
        self.span.throttle_reasons.sort();
        self.span
    }
}

#[derive(Debug, Default)]
struct State {
    /// Number of the span that is open, if one is.
    open: Option<u64>,
    spans: u64,
    seen: Seen,
    ended: bool,
}

struct Shared<R> {
    state: Mutex<State>,
    changed: Condvar,
    readings: Mutex<R>,
}

/// A panic elsewhere leaves numbers behind that are as good as any: carry on with them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<R: Readings> Shared<R> {
    /// The thread's whole life: sleep until a span is open, poll until it is closed.
    fn keep_polling(&self, period: Duration) {
        let mut state = lock(&self.state);
        while !state.ended {
            let Some(span) = state.open else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let reading = lock(&self.readings).poll();
            state = lock(&self.state);
            if state.open == Some(span) {
                state.seen.add(&reading);
            }
            // Whatever happened during the poll woke nobody: sleep only if nothing did.
            if state.open == Some(span) && !state.ended {
                state = self.changed.wait_timeout(state, period).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

/// Polls `R` on a thread of its own, which ends when this is dropped.
pub(super) struct Poller<R: Readings> {
    shared: Arc<Shared<R>>,
    before: Counters,
    thread: Option<JoinHandle<()>>,
}

impl<R: Readings> Poller<R> {
    /// Starts the thread, asleep.
    ///
    /// # Errors
    /// The system's, when it gives no thread.
    pub(super) fn new(readings: R, period: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), readings: Mutex::new(readings) });
        let polled = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("telemetry".into()).spawn(move || polled.keep_polling(period))?;
        Ok(Self { shared, before: Counters::default(), thread: Some(thread) })
    }
}

impl<R: Readings> Watch for Poller<R> {
    fn start(&mut self) {
        self.before = lock(&self.shared.readings).counters();
        let mut state = lock(&self.shared.state);
        state.spans += 1;
        state.open = Some(state.spans);
        state.seen = Seen::default();
        self.shared.changed.notify_all();
    }

    fn stop(&mut self) -> Option<Span> {
        let mut seen = {
            let mut state = lock(&self.shared.state);
            state.open.take()?;
            self.shared.changed.notify_all();
            std::mem::take(&mut state.seen)
        };
        let mut readings = lock(&self.shared.readings);
        if seen.span.polls == 0 {
            // Shorter than one poll: look once now, while clocks and power still stand as the work left them.
            seen.add(&readings.poll());
        }
        Some(seen.finish(self.before, readings.counters()))
    }
}

impl<R: Readings> Drop for Poller<R> {
    fn drop(&mut self) {
        lock(&self.shared.state).ended = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // Nothing in the thread panics of itself; if it did, there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
