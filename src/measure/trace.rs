//! What was seen along a load that lasts, and what follows from it.
//!
//! The record keeps the samples of the load, one after another without a gap between them, and a [`TracePoint`] for each: nothing derived.
//! What follows is a [`Sustained`]: the **burst** rate of the first second after warm-up, before heat and power limits act; the **sustained**
//! rate of the steady part; how long it took to get there ([`steadiness`]); and for how much of the time the driver gave which reason for
//! holding clocks back.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Measurement, Steadiness, steadiness};
use crate::stats::{Interval, Sample};
use crate::telemetry::Reading;
use crate::units::{Celsius, FlopsPerSecond, Hertz, Seconds, Watts};

/// How long a burst lasts: what a rate is called sustained after is other than what the first second shows.
const BURST: Seconds = Seconds(1.0);

/// What a GPU said during one sample of a load. Fields are absent when the reading was refused.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TracePoint {
    /// Looks that went in.
    pub looks: u32,
    /// Mean clock of the multiprocessors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sm_clock: Option<Hertz>,
    /// Mean clock of the memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_clock: Option<Hertz>,
    /// Mean draw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<Watts>,
    /// The power limit in force at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_limit: Option<Watts>,
    /// Highest temperature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Celsius>,
    /// Looks at which each reason for a reduced clock held, by NVML's names in lower case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub throttled: BTreeMap<String, u32>,
}

/// The looks of one point, as they come.
#[derive(Debug, Default)]
pub struct Glances {
    sm_clock: Vec<f64>,
    memory_clock: Vec<f64>,
    power: Vec<f64>,
    point: TracePoint,
}

impl Glances {
    /// One look more. What is seen while the driver calls the GPU idle says nothing about the load, but for its temperature.
    pub fn add(&mut self, reading: &Reading) {
        let point = &mut self.point;
        point.temperature = reading.temperature.into_iter().chain(point.temperature).reduce(Celsius::max);
        if reading.idle || *reading == Reading::default() {
            return;
        }
        point.looks += 1;
        self.sm_clock.extend(reading.sm_clock.map(|clock| clock.0));
        self.memory_clock.extend(reading.memory_clock.map(|clock| clock.0));
        self.power.extend(reading.power.map(|power| power.0));
        for reason in &reading.throttle_reasons {
            *point.throttled.entry((*reason).to_owned()).or_default() += 1;
        }
    }

    /// The point, with the power limit at its end; the next begins.
    pub fn finish(&mut self, power_limit: Option<Watts>) -> TracePoint {
        let done = std::mem::take(self);
        TracePoint {
            sm_clock: mean(&done.sm_clock).map(Hertz),
            memory_clock: mean(&done.memory_clock).map(Hertz),
            power: mean(&done.power).map(Watts),
            power_limit,
            ..done.point
        }
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// What a load that lasted shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Sustained {
    /// Rate of the first second.
    pub burst: FlopsPerSecond,
    /// Median rate of the steady part, or of the last third where there is none, with its interval, FLOP/s.
    pub rate: Interval,
    /// When the steady part began; `None` when the rate still changed at the end.
    pub settled: Option<Seconds>,
    /// How long the load lasted.
    pub length: Seconds,
    /// Mean clock of the multiprocessors in the first second.
    pub burst_clock: Option<Hertz>,
    /// The same in the steady part.
    pub clock: Option<Hertz>,
    /// Mean draw in the steady part.
    pub power: Option<Watts>,
    /// The power limit at the end.
    pub power_limit: Option<Watts>,
    /// Highest temperature.
    pub temperature: Option<Celsius>,
    /// Share of the time for which each reason for a reduced clock held.
    pub throttled: BTreeMap<String, f64>,
}

impl Sustained {
    /// What was lost against the burst, as a share of it.
    pub fn loss(&self) -> f64 {
        1.0 - self.rate.point / self.burst.0
    }

    /// The steady clock as a share of the burst's.
    pub fn clock_ratio(&self) -> Option<f64> {
        Some(self.clock?.0 / self.burst_clock.filter(|clock| clock.0 > 0.0)?.0)
    }

    /// Share of the time for which a reason held.
    pub fn share(&self, reason: &str) -> f64 {
        self.throttled.get(reason).copied().unwrap_or(0.0)
    }
}

impl Measurement {
    /// What a load that lasted shows; `None` where nothing was followed or too little.
    pub fn sustained(&self) -> Option<Sustained> {
        let (lengths, rates) = (self.lengths(), self.rates());
        if self.trace.is_empty() || self.trace.len() != rates.len() || self.work.compute.0 <= 0.0 {
            return None;
        }
        let steady = steadiness(&lengths, &rates)?;
        let first = within(&lengths, BURST);
        let last = steady.from();
        Some(Sustained {
            burst: FlopsPerSecond(self.work.compute.0 * (first * self.iterations as usize) as f64 / sum(&lengths[..first])),
            rate: Sample::new(rates[last..].to_vec()).ok()?.median_interval(0.95),
            settled: match steady {
                Steadiness::Settled { at, .. } => Some(at),
                Steadiness::Changing { .. } => None,
            },
            length: Seconds(sum(&lengths)),
            burst_clock: weighed(&self.trace[..first], &lengths, |point| Some(point.sm_clock?.0)).map(Hertz),
            clock: weighed(&self.trace[last..], &lengths[last..], |point| Some(point.sm_clock?.0)).map(Hertz),
            power: weighed(&self.trace[last..], &lengths[last..], |point| Some(point.power?.0)).map(Watts),
            power_limit: self.trace.iter().rev().find_map(|point| point.power_limit),
            temperature: self.trace.iter().filter_map(|point| point.temperature).reduce(Celsius::max),
            throttled: self.throttled(&lengths),
        })
    }

    /// How long each sample took, all of its iterations.
    pub fn lengths(&self) -> Vec<f64> {
        self.samples.iter().map(|seconds| seconds * self.iterations as f64).collect()
    }

    /// The rate of operations of each sample, FLOP/s.
    pub fn rates(&self) -> Vec<f64> {
        self.samples.iter().map(|seconds| self.work.compute.0 / seconds).collect()
    }

    fn throttled(&self, lengths: &[f64]) -> BTreeMap<String, f64> {
        let looked = || self.trace.iter().zip(lengths).filter(|(point, _)| point.looks > 0);
        let total: f64 = looked().map(|(_, length)| length).sum();
        let mut shares = BTreeMap::new();
        for (point, length) in looked() {
            for (reason, looks) in &point.throttled {
                *shares.entry(reason.clone()).or_insert(0.0) += f64::from(*looks) / f64::from(point.looks) * length / total;
            }
        }
        shares
    }
}

/// How many of the first samples fit into a time; one in any case. A point that is a second long may be a little longer.
fn within(lengths: &[f64], time: Seconds) -> usize {
    let mut passed = 0.0;
    let fitting = lengths.iter().take_while(|length| {
        passed += **length;
        passed <= time.0 * 1.05
    });
    fitting.count().max(1)
}

fn sum(lengths: &[f64]) -> f64 {
    lengths.iter().sum()
}

/// The mean of what points say, each as long as it took.
fn weighed(points: &[TracePoint], lengths: &[f64], value: impl Fn(&TracePoint) -> Option<f64>) -> Option<f64> {
    let known = points.iter().zip(lengths).filter_map(|(point, length)| Some((value(point)?, *length)));
    let (total, time) = known.fold((0.0, 0.0), |(total, time), (value, length)| (total + value * length, time + length));
    (time > 0.0).then(|| total / time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Case, StopReason, Work};
    use crate::units::{Bytes, Flops};

    /// A load whose points are a second long at the first rate, with a clock that follows the rate as `clock` says.
    fn load(rates: &[f64], clock: impl Fn(f64) -> f64) -> Measurement {
        let work = 1e12;
        let iterations = (rates[0] / work).round() as u64;
        let point = |rate: &f64| TracePoint {
            looks: 8,
            sm_clock: Some(Hertz(clock(*rate))),
            power: Some(Watts(650.0)),
            power_limit: Some(Watts(700.0)),
            temperature: Some(Celsius(60.0)),
            throttled: if *rate < rates[0] { BTreeMap::from([("sw_power_cap".to_owned(), 6)]) } else { BTreeMap::new() },
            ..TracePoint::default()
        };
        Measurement {
            case: Case::new("sustained.bf16"),
            work: Work::computing(Flops(work), Bytes(1)),
            iterations,
            samples: rates.iter().map(|rate| work / rate).collect(),
            rejected: Vec::new(),
            stop: StopReason::OutOfTime,
            warmup: Seconds(0.1),
            telemetry: None,
            partners: Vec::new(),
            trace: rates.iter().map(point).collect(),
            conditions: BTreeMap::new(),
        }
    }

    #[test]
    fn burst_and_sustained_are_what_the_trace_shows() {
        let rates: Vec<f64> = (0..40).map(|second| if second < 10 { 800e12 } else { 600e12 }).collect();
        let seen = load(&rates, |rate| rate * 2.5e-6).sustained().unwrap();
        assert!((seen.burst.0 / 800e12 - 1.0).abs() < 1e-9, "{}", seen.burst);
        assert!((seen.rate.point / 600e12 - 1.0).abs() < 1e-9 && (seen.loss() - 0.25).abs() < 1e-9);
        assert!((seen.settled.unwrap().0 - 10.0).abs() < 1e-6, "{:?}", seen.settled);
        assert!((seen.length.0 - (10.0 + 30.0 * 8.0 / 6.0)).abs() < 1e-6);
        assert!((seen.clock_ratio().unwrap() - 0.75).abs() < 1e-9, "clocks explain all of it");
        // Forty of fifty seconds, and six of eight looks.
        assert!((seen.share("sw_power_cap") - 0.8 * 0.75).abs() < 1e-9);
        assert_eq!((seen.share("hw_slowdown"), seen.temperature), (0.0, Some(Celsius(60.0))));
        assert!((seen.power.unwrap().0 - 650.0).abs() < 1e-6);
    }

    #[test]
    fn a_burst_is_a_second_whatever_the_points_are() {
        // Points of a tenth of a second: the first ten are the burst, and the rate falls within it.
        let rates: Vec<f64> = (0..100).map(|tenth| if tenth < 5 { 900e12 } else { 600e12 }).collect();
        let mut short = load(&rates, |_| 1e9);
        short.iterations = 90;
        let seen = short.sustained().unwrap();
        let expected = {
            // Five points of 0.1 s and three of 0.15 s fit into a second.
            8.0 * 90.0 * 1e12 / (5.0 * 0.1 + 3.0 * 0.15)
        };
        assert!((seen.burst.0 / expected - 1.0).abs() < 1e-9, "{}", seen.burst);
    }

    #[test]
    fn without_a_trace_or_with_a_part_of_one_nothing_is_said() {
        let mut one = load(&[1e14; 8], |_| 1e9);
        assert!(one.sustained().is_some());
        one.trace.pop();
        assert_eq!(one.sustained(), None);
        one.trace.clear();
        assert_eq!(one.sustained(), None);
        assert_eq!(load(&[1e14], |_| 1e9).sustained(), None, "one point is no rate over time");
    }

    #[test]
    fn looks_make_a_point() {
        let look = |clock: f64, celsius: f64, reasons: &[&'static str]| Reading {
            sm_clock: Some(Hertz(clock)),
            power: Some(Watts(500.0)),
            temperature: Some(Celsius(celsius)),
            throttle_reasons: reasons.to_vec(),
            ..Reading::default()
        };
        let mut glances = Glances::default();
        glances.add(&look(1.8e9, 60.0, &[]));
        glances.add(&look(1.6e9, 62.0, &["sw_power_cap"]));
        glances.add(&Reading { idle: true, ..look(0.2e9, 64.0, &[]) });
        glances.add(&Reading::default());
        let point = glances.finish(Some(Watts(700.0)));
        assert_eq!((point.looks, point.sm_clock, point.temperature), (2, Some(Hertz(1.7e9)), Some(Celsius(64.0))));
        assert_eq!(point.throttled, BTreeMap::from([("sw_power_cap".to_owned(), 1)]));
        assert_eq!((point.power_limit, point.memory_clock), (Some(Watts(700.0)), None));
        assert_eq!(glances.finish(None), TracePoint::default(), "the next point begins with nothing");
    }
}
