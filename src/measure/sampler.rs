//! The loop around a trial: warm up, size the batches, sample, check.

use std::collections::BTreeMap;

use super::{Case, Clock, Measurement, Progress, Rejection, RejectionReason, StopReason, StopRule, Trial};
use crate::error::{Error, Result};
use crate::telemetry::Watch;
use crate::units::{BytesPerSecond, FlopsPerSecond, Seconds};

/// How a case is to be sampled.
#[derive(Debug, Clone)]
pub struct Plan {
    /// When to stop.
    pub stop: StopRule,
    /// Time spent on the work before the first sample, so that clocks and caches settle.
    pub warmup: Seconds,
    /// Time one sample should last, within the clock's own demand (at least 200 times its resolution).
    pub batch: Seconds,
    /// A transfer rate the hardware cannot exceed: samples above it are rejected.
    pub bandwidth_ceiling: Option<BytesPerSecond>,
    /// A rate of operations the hardware cannot exceed: samples above it are rejected.
    pub throughput_ceiling: Option<FlopsPerSecond>,
}

/// A sample shorter than this many times the clock's resolution is mostly rounding.
const LEAST_RESOLUTIONS: f64 = 200.0;

/// Batches never hold more iterations than this, however short the work looks.
const MOST_ITERATIONS: u64 = 1 << 20;

/// Measure `case` by repeating `trial` on `clock` under `plan`, watched by `watch`. `stopped` is asked between batches.
///
/// # Errors
/// [`Error::Interrupted`] when `stopped` says so; [`Error::WrongAnswer`] when the trial's check finds one; [`Error::Measurement`] when fewer
/// than two samples could be accepted; whatever the trial, the clock or the check return.
pub fn sample(
    case: &Case,
    trial: &mut dyn Trial,
    clock: &mut dyn Clock,
    watch: &mut dyn Watch,
    plan: &Plan,
    stopped: &dyn Fn() -> bool,
) -> Result<Measurement> {
    let go_on = || {
        if stopped() { Err(Error::Interrupted) } else { Ok(()) }
    };
    let shortest = Seconds(clock.resolution().0 * LEAST_RESOLUTIONS);
    let batch_time = plan.batch.max(shortest);

    clock.rehearse(trial)?;

    // The first batches both warm the device up and find out how many iterations a batch needs. The first batch of a kind is often slow (a
    // cold cache, a page fault, a clock that sleeps), so a size is settled only when two batches in a row were long enough.
    let mut warmed = Seconds(0.0);
    let mut iterations = 1;
    let mut confirmed = 0;
    loop {
        go_on()?;
        let time = clock.time(trial, iterations)?;
        warmed += spent(time, batch_time);
        if time >= batch_time || iterations >= MOST_ITERATIONS {
            confirmed += 1;
        } else {
            confirmed = 0;
            iterations = grown(iterations, time, batch_time);
        }
        // One batch that takes all of the time is as long as a batch ever needs to be.
        if (confirmed >= 2 || warmed >= plan.stop.most) && warmed >= plan.warmup {
            break;
        }
    }

    watch.start();
    let mut samples = Vec::new();
    let mut rejected = Vec::new();
    let mut sampled = Seconds(0.0);
    let taken = (|| loop {
        go_on()?;
        let batch = clock.time(trial, iterations)?;
        let seconds = batch.0 / iterations as f64;
        sampled += spent(batch, batch_time);
        match reject(trial, seconds, batch, shortest, plan) {
            Some(reason) => {
                rejected.push(Rejection { seconds: seconds.is_finite().then_some(seconds), reason });
                // The work got faster than it was when the batch was sized.
                if reason == RejectionReason::BelowClockResolution {
                    iterations = grown(iterations, batch, batch_time);
                }
            }
            None => samples.push(seconds),
        }
        let attempts = samples.len() + rejected.len();
        if let Some(reason) = plan.stop.decide(Progress { samples: &samples, attempts, sampled }) {
            return Ok::<StopReason, Error>(reason);
        }
    })();
    // The watch is stopped on every path: its thread must not outlive the measurement.
    let telemetry = watch.stop();
    let stop = taken?;

    if let Some(what) = trial.check()? {
        return Err(Error::WrongAnswer { case: case.to_string(), what });
    }
    if samples.len() < 2 {
        let why = match rejected.first() {
            Some(first) => {
                format!("{} of {} samples rejected, the first as {:?}", rejected.len(), rejected.len() + samples.len(), first.reason)
            }
            None => "fewer than two samples fit in the time; give it more with --effort thorough".to_owned(),
        };
        return Err(Error::measurement(case.to_string(), why));
    }
    Ok(Measurement {
        case: case.clone(),
        work: trial.work(),
        iterations,
        samples,
        rejected,
        stop,
        warmup: warmed,
        telemetry,
        partners: Vec::new(),
        trace: Vec::new(),
        conditions: BTreeMap::new(),
    })
}

/// What a batch takes off the time there is. One without a time counts as an ordinary batch, or a broken clock would never be given up.
fn spent(time: Seconds, ordinary: Seconds) -> Seconds {
    if time.is_finite() && time.0 > 0.0 { time } else { ordinary }
}

/// Iterations with which a batch should last `wanted`, after one of `iterations` lasted `time`. At most eightfold at once: the first batch
/// after idle is slow, and one that overshoots wastes the budget.
fn grown(iterations: u64, time: Seconds, wanted: Seconds) -> u64 {
    let factor = if time.0 > 0.0 { (wanted.0 * 1.1 / time.0).clamp(1.0, 8.0) } else { 8.0 };
    ((iterations as f64 * factor).ceil() as u64).max(iterations + 1).min(MOST_ITERATIONS)
}

fn reject(trial: &dyn Trial, seconds: f64, batch: Seconds, shortest: Seconds, plan: &Plan) -> Option<RejectionReason> {
    if !seconds.is_finite() || seconds <= 0.0 {
        return Some(RejectionReason::NotATime);
    }
    if batch < shortest {
        return Some(RejectionReason::BelowClockResolution);
    }
    let work = trial.work();
    let too_fast = |amount: f64, ceiling: Option<f64>| ceiling.is_some_and(|ceiling| amount / seconds > ceiling);
    let above = too_fast(work.moved.as_f64(), plan.bandwidth_ceiling.map(|rate| rate.0))
        || too_fast(work.compute.0, plan.throughput_ceiling.map(|rate| rate.0));
    above.then_some(RejectionReason::AboveCeiling)
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
