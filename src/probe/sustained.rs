//! A load that lasts: minutes of matrix products without a pause, followed point by point.
//!
//! What a GPU does in its first second is not what it does all day. Its clock begins high and gives way when the power limit is noticed, when the
//! board has warmed up, and when the machine around it has. So one large product (the square of `matmul`, BF16, random operands, by the best
//! engine) runs without end, and for every second or so the record keeps how long its products took, by events on the stream, and what the
//! GPU said meanwhile. What follows from that, burst and sustained rate and the time in between, is [derived](crate::measure::Sustained).
//!
//! `sustained.bf16` is one GPU with the others idle. `sustained.together` is all of them at the same time, which is how they are used: where
//! they share a supply of power or each other's warm air, only that shows it. One load of all GPUs gives the cases of all.
//!
//! It takes a minute for each GPU and one for all together; so it runs where it is asked for by name, or where precision may take its time. How
//! long, `--time` says: all cases together. The load ends within a third of a second of the user's wish to stop, and what was seen until
//! then is kept.

mod feed;

use std::collections::BTreeMap;

use self::feed::{Feed, Pace};
use super::facts::{count, gpu_on, needs_capability, needs_gpu, unknown};
use super::matmul::{Format, endless};
use super::rig::{operation, too_large, waived};
use super::shapes::{room, shapes};
use super::{Effort, Lab, Moment, Probe};
use crate::error::{Error, Result};
use crate::machine::{Gpu, Machine};
use crate::measure::{Case, GemmShape, GpuClock, Measurement, Outcome, Waiver};
use crate::units::{FlopsPerSecond, Seconds};

/// The `sustained` probe.
pub(super) struct Sustained;

impl Probe for Sustained {
    fn name(&self) -> &'static str {
        "sustained"
    }

    fn about(&self) -> &'static str {
        "a minute of matrix products without a pause: rate, clocks, power, heat over time; each GPU alone and all at once (by name or --effort thorough)"
    }

    fn needs(&self, machine: &Machine) -> std::result::Result<(), Waiver> {
        needs_gpu(machine)
    }

    fn is_usual(&self, effort: Effort) -> bool {
        effort == Effort::Thorough
    }

    fn cases(&self, machine: &Machine, _: Effort) -> Vec<Case> {
        let case = |mechanism: &str, gpu: &Gpu| {
            // The quick shapes begin with the square.
            let square = shapes(gpu, Effort::Quick, false)[0];
            Case::new(mechanism).count("m", square.m).count("n", square.n).count("k", square.k)
        };
        let of = |gpu: &Gpu| u64::from(gpu.index);
        let mut cases: Vec<Case> = machine.gpus.iter().map(|gpu| case("sustained.bf16", gpu).count("gpu", of(gpu))).collect();
        let all = machine.gpus.len() as u64;
        if all > 1 {
            cases.extend(machine.gpus.iter().map(|gpu| case("sustained.together", gpu).count("gpus", all).count("gpu", of(gpu))));
        }
        cases
    }

    fn weight(&self, case: &Case) -> f64 {
        ALONE / together(case)
    }

    fn length(&self, case: &Case, effort: Effort) -> Option<Seconds> {
        let whole = match effort {
            Effort::Quick => 20.0,
            Effort::Standard => 60.0,
            Effort::Thorough => 120.0,
        };
        Some(Seconds(whole / together(case)))
    }

    fn run(&self, case: &Case, lab: &mut Lab<'_>) -> Result<Outcome> {
        // The first case of those together takes the time of all.
        let length = lab.budget * together(case);
        match operation(case)? {
            "bf16" => {
                let gpu = gpu_on(lab.machine, case, "gpu")?;
                let mut outcomes = load(lab, &[(case.clone(), gpu)], length)?;
                outcomes.pop().ok_or_else(|| unknown(case))
            }
            "together" => {
                let (machine, measured) = (lab.machine, lab.gpus);
                let all = machine.gpus.iter().filter(|gpu| measured.contains(&gpu.index));
                let mine = |gpu: &Gpu| self.cases(&only(machine, measured), lab.effort).into_iter().find(|other| is_of(other, gpu));
                let all: Vec<(Case, &Gpu)> = all.filter_map(|gpu| Some((mine(gpu)?, gpu))).collect();
                if all.len() < 2 {
                    return Ok(waived(case, Waiver::TooFewDevices { needed: 2, found: all.len() as u32 }));
                }
                let outcomes = match load(lab, &all, length) {
                    Ok(outcomes) => outcomes,
                    Err(Error::Interrupted) => return Err(Error::Interrupted),
                    // One GPU that fails ends the load of all; it is not tried again for each.
                    Err(error) => all.iter().map(|(case, _)| Outcome::failed(case.clone(), &error)).collect(),
                };
                let (own, others) = outcomes.into_iter().partition(|outcome| outcome.case() == case);
                lab.besides.extend::<Vec<Outcome>>(others);
                Vec::<Outcome>::into_iter(own).next().ok_or_else(|| unknown(case))
            }
            _ => Err(unknown(case)),
        }
    }
}

/// Points that a rate over time takes at least.
const LEAST_POINTS: usize = 2;

/// Share of a run's time beside that of a usual case, where the user says how long all of it may take.
const ALONE: f64 = 10.0;

/// On how many GPUs the load of a case runs.
fn together(case: &Case) -> f64 {
    case.get_count("gpus").unwrap_or(1).max(1) as f64
}

/// The machine with the GPUs of the run alone, as its cases were made for.
fn only(machine: &Machine, measured: &[u32]) -> Machine {
    let mut asked = machine.clone();
    asked.gpus.retain(|gpu| measured.contains(&gpu.index));
    asked
}

fn is_of(case: &Case, gpu: &Gpu) -> bool {
    case.mechanism() == "sustained.together" && case.get_count("gpu") == Some(u64::from(gpu.index))
}

/// Run the load on the GPUs of `cases`, all at the same time, and give the outcome of each.
fn load(lab: &mut Lab<'_>, cases: &[(Case, &Gpu)], length: Seconds) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    let mut feeds: Vec<(Case, Feed, BTreeMap<String, String>)> = Vec::new();
    let pace = Pace::of(length);
    for (case, gpu) in cases {
        let shape = GemmShape { m: count(case, "m")?, n: count(case, "n")?, k: count(case, "k")? };
        let needed = shape.bytes(2);
        if let Err(waiver) = needs_capability(gpu, Format::Bf16.capability()) {
            outcomes.push(waived(case, waiver));
            continue;
        }
        if needed > room(gpu) {
            outcomes.push(too_large(case, needed, room(gpu)));
            continue;
        }
        let stream = lab.bench(gpu.index)?.stream;
        let mut clock = GpuClock::with_stream(stream.clone())?;
        match endless(lab, gpu, shape, &mut clock)? {
            Ok(endless) => {
                let feed = Feed::new(endless.product, stream, &mut clock, lab.gauge(gpu.index), gpu.index, pace)?;
                let conditions = endless.conditions.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                feeds.push((case.clone(), feed, conditions));
            }
            Err(waiver) => outcomes.push(waived(case, waiver)),
        }
    }
    if feeds.len() < cases.len().min(2) {
        let found = feeds.len() as u32;
        let alone = feeds.into_iter().map(|(case, ..)| waived(&case, Waiver::TooFewDevices { needed: 2, found }));
        outcomes.extend(alone);
        return Ok(outcomes);
    }
    let stopped = run(lab, &mut feeds, length)?;
    let others = feeds.len() - 1;
    for (case, feed, mut conditions) in feeds {
        let passed = feed.passed();
        conditions.insert("others".to_owned(), others.to_string());
        conditions.insert("paused".to_owned(), format!("{} of {passed}", feed.paused()));
        if stopped {
            conditions.insert("stopped".to_owned(), format!("by the user, {passed} into {length}"));
        }
        outcomes.push(match feed.finish(&case) {
            Ok(measurement) => Outcome::Measured(Box::new(Measurement { conditions, ..measurement })),
            Err(error @ Error::WrongAnswer { .. }) => Outcome::failed(case, &error),
            Err(error) => return Err(error),
        });
    }
    Ok(outcomes)
}

/// Keep all feeds busy for so long; whether the user ended it. The feed whose next mark is due first is served first, so that
/// all end within a chunk of each other.
fn run(lab: &Lab<'_>, feeds: &mut [(Case, Feed, BTreeMap<String, String>)], length: Seconds) -> Result<bool> {
    for (_, feed, _) in &mut *feeds {
        feed.begin()?;
    }
    let stopped = loop {
        if (lab.stopped)() {
            break true;
        }
        let unfinished = feeds.iter_mut().filter(|(_, feed, _)| feed.passed() < length || feed.points() < LEAST_POINTS);
        let due = unfinished.min_by(|(_, a, _), (_, b, _)| a.due().0.total_cmp(&b.due().0));
        let Some((case, feed, _)) = due else { break false };
        if feed.serve()? {
            let moment = Moment {
                gpu: feed.gpu(),
                rate: FlopsPerSecond(feed.rate()),
                clock: feed.last().and_then(|point| point.sm_clock),
                power: feed.last().and_then(|point| point.power),
                passed: feed.passed(),
                length,
            };
            (lab.tell)(case, moment);
        }
    };
    for (_, feed, _) in feeds {
        feed.end()?;
    }
    Ok(stopped)
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::gpu;
    use super::*;
    use crate::machine::{self, Fact};
    use crate::units::Bytes;

    fn machine(gpus: u32) -> Machine {
        let unknown = || Fact::unknown("not asked");
        let driver = machine::Driver { version: unknown(), cuda_version: unknown(), nvml_version: unknown(), simulated: false };
        let gpus = (0..gpus).map(|index| gpu(index, Bytes::gib(80), Bytes::mib(50))).collect();
        Machine { gpus, pairs: Vec::new(), driver, libraries: Vec::new(), host: machine::host::read_live() }
    }

    #[test]
    fn each_gpu_alone_and_then_all_together() {
        let ids = |gpus| Sustained.cases(&machine(gpus), Effort::Standard).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(ids(1), ["sustained.bf16/m=8192,n=8192,k=8192,gpu=0"]);
        assert_eq!(ids(2)[1..3], ["sustained.bf16/m=8192,n=8192,k=8192,gpu=1", "sustained.together/m=8192,n=8192,k=8192,gpus=2,gpu=0"]);
    }

    #[test]
    fn a_load_of_all_takes_the_time_of_one() {
        let cases = Sustained.cases(&machine(8), Effort::Standard);
        let length: f64 = cases.iter().filter_map(|case| Sustained.length(case, Effort::Standard)).map(|length| length.0).sum();
        assert!((length - 9.0 * 60.0).abs() < 1e-9, "eight alone and one of all: {length}");
        let weight: f64 = cases.iter().map(|case| Sustained.weight(case)).sum();
        assert!((weight - 9.0 * ALONE).abs() < 1e-9);
        assert!(Sustained.is_usual(Effort::Thorough) && !Sustained.is_usual(Effort::Standard));
    }
}
