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

    // The first batches both warm the device up and find out how many iterations a batch needs.
    let mut warmed = Seconds(0.0);
    let mut iterations = 1;
    loop {
        go_on()?;
        let time = clock.time(trial, iterations)?;
        let long_enough = time >= batch_time || iterations >= MOST_ITERATIONS;
        warmed += time.max(clock.resolution());
        if long_enough && warmed >= plan.warmup {
            break;
        }
        if !long_enough {
            let wanted = batch_time.0 / time.0.max(clock.resolution().0 / iterations as f64) * iterations as f64 * 1.1;
            // At most eightfold at once: the first batch after idle is slow, and one that overshoots wastes the budget.
            iterations = (wanted.ceil() as u64).clamp(iterations + 1, iterations * 8).min(MOST_ITERATIONS);
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
        sampled += if batch.is_finite() { batch.max(Seconds(0.0)) } else { batch_time };
        match reject(trial, seconds, batch, shortest, plan) {
            Some(reason) => rejected.push(Rejection { seconds: seconds.is_finite().then_some(seconds), reason }),
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
        conditions: BTreeMap::new(),
    })
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
