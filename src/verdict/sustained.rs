//! Does it keep what it shows in the first second: heat, power, and the other GPUs' part in it.
//!
//! These questions are asked where the record has a load that was followed over time. A clock that gives way to the board's own power limit
//! is as it should be, and so is the rate that goes with it: then the loss is judged beyond what the clock explains. A clock that gives way to anything
//! else is the loss itself. Of GPUs that share a supply of power or each other's warm air only the load of all at once tells, so what each
//! reaches then is held against what it reaches alone, and against the others.

use std::collections::BTreeMap;

use super::inquiry::Inquiry;
use super::reference::among_equals;
use super::{About, Band, Status};
use crate::figure::{Basis, Figure, Quantity};
use crate::measure::Sustained;
use crate::units::FlopsPerSecond;

/// The reasons that are heat.
const HEAT: [&str; 2] = ["sw_thermal_slowdown", "hw_thermal_slowdown"];

/// Share of the time for which heat may hold the clock back before the machine is failed for it. Cooling that suffices needs none of it.
const BEARABLE: f64 = 0.05;

/// Share of the time from which on the power limit is what holds a clock.
const USUAL: f64 = 0.5;

/// A draw this near to the limit is at it.
const AT_THE_LIMIT: f64 = 0.97;

/// What is left of the burst beyond what the clock explains, and of what a GPU reaches alone: a steady load scatters by a percent or two.
const KEPT: (f64, f64) = (0.95, 0.88);

/// Beside the others under one load, as for short products.
const EVEN: (f64, f64) = (0.94, 0.88);

/// Everything about loads that lasted.
pub(super) fn ask(inquiry: &mut Inquiry<'_>) {
    let (alone, together) = (loads(inquiry, "sustained.bf16"), loads(inquiry, "sustained.together"));
    for gpu in inquiry.gpus() {
        let about = About::Gpu(gpu.index);
        let seen: Vec<&Sustained> = [&alone, &together].into_iter().filter_map(|loads| loads.get(&gpu.index)).collect();
        heat(inquiry, about, &seen);
        if let Some(seen) = alone.get(&gpu.index) {
            loss(inquiry, about, seen);
        }
        if let Some((alone, together)) = alone.get(&gpu.index).zip(together.get(&gpu.index)) {
            shared(inquiry, about, alone, together);
        }
    }
    for (index, seen) in &together {
        let others: Vec<f64> = together.iter().filter(|(other, _)| *other != index).map(|(_, seen)| seen.rate.point).collect();
        if let Some(band) = among_equals(&others, EVEN.0, EVEN.1, FlopsPerSecond::UNIT) {
            inquiry.rate("even.sustained", About::Gpu(*index), &rate(seen), band);
        }
    }
}

/// What the loads of one mechanism show, by GPU.
fn loads(inquiry: &Inquiry<'_>, mechanism: &str) -> BTreeMap<u32, Sustained> {
    let found = inquiry.evidence.run.of(mechanism).filter_map(|one| {
        let gpu = u32::try_from(one.case.get_count("gpu")?).ok()?;
        Some((gpu, one.sustained()?))
    });
    found.collect()
}

fn rate(seen: &Sustained) -> Figure<FlopsPerSecond> {
    Figure::measured(seen.rate, "the steady part of the load")
}

fn heat(inquiry: &mut Inquiry<'_>, about: About, seen: &[&Sustained]) {
    if seen.is_empty() {
        return;
    }
    if seen.iter().all(|seen| seen.clock.is_none()) {
        return inquiry.unknown("sustained.heat", about, "nothing was read during the load");
    }
    // Both reasons can hold at the same time: the larger share is the least that is sure.
    let share = |seen: &Sustained| HEAT.iter().map(|reason| seen.share(reason)).fold(0.0, f64::max);
    let worst = seen.iter().map(|seen| share(seen)).fold(0.0, f64::max);
    let hottest = seen.iter().filter_map(|seen| seen.temperature).map(|celsius| celsius.0).fold(f64::NAN, f64::max);
    let temperature = if hottest.is_nan() { String::new() } else { format!(", at most {hottest:.0} °C") };
    let status = match worst {
        none if none <= 0.0 => Status::Pass,
        little if little < BEARABLE => Status::Warning,
        _ => Status::Failure,
    };
    inquiry.answer("sustained.heat", about, status, format!("{:.0} % of the time{temperature}", worst * 100.0), "none");
}

/// The steady rate against the burst, less what a power limit takes.
fn loss(inquiry: &mut Inquiry<'_>, about: About, seen: &Sustained) {
    let reference = seen.burst.0 * explained(seen);
    let from = match seen.settled {
        Some(at) => format!("its first second, before the steady state at {:.0} s", at.0),
        None => "its first second; the rate still changed at the end".to_owned(),
    };
    inquiry.rate("sustained.loss", about, &rate(seen), band(reference, from));
}

/// What of the burst's rate the board's own power limit leaves: the steady clock's share of the first one, where the limit was reached.
fn explained(seen: &Sustained) -> f64 {
    let at_the_limit = seen.power.zip(seen.power_limit).is_some_and(|(power, limit)| power.0 >= AT_THE_LIMIT * limit.0);
    let capped = seen.share("sw_power_cap") >= USUAL || at_the_limit;
    // Where heat acts as well, it is what held the clock down.
    let hot = HEAT.iter().any(|reason| seen.share(reason) >= BEARABLE);
    seen.clock_ratio().filter(|_| capped && !hot).map_or(1.0, |ratio| ratio.clamp(0.0, 1.0))
}

/// What a GPU reaches while all work, against what it reaches alone.
fn shared(inquiry: &mut Inquiry<'_>, about: About, alone: &Sustained, together: &Sustained) {
    inquiry.rate("sustained.together", about, &rate(together), band(alone.rate.point, "the same load on it alone".to_owned()));
}

fn band(reference: f64, from: String) -> Band {
    Band {
        reference,
        warning: KEPT.0 * reference,
        failure: KEPT.1 * reference,
        unit: FlopsPerSecond::UNIT,
        basis: Basis::MeasuredHere,
        from: vec![from],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Interval;
    use crate::units::{Celsius, Hertz, Seconds, Watts};

    fn seen(loss: f64, clock: f64, throttled: &[(&str, f64)]) -> Sustained {
        Sustained {
            burst: FlopsPerSecond(800e12),
            rate: Interval::new(800e12 * (1.0 - loss), 799e12 * (1.0 - loss), 801e12 * (1.0 - loss)),
            settled: Some(Seconds(12.0)),
            length: Seconds(60.0),
            burst_clock: Some(Hertz(1.8e9)),
            clock: Some(Hertz(1.8e9 * clock)),
            power: Some(Watts(600.0)),
            power_limit: Some(Watts(700.0)),
            temperature: Some(Celsius(70.0)),
            throttled: throttled.iter().map(|(reason, share)| ((*reason).to_owned(), *share)).collect(),
        }
    }

    #[test]
    fn a_power_limit_explains_what_the_clock_loses_and_heat_does_not() {
        assert_eq!(explained(&seen(0.2, 0.8, &[("sw_power_cap", 0.9)])), 0.8);
        assert_eq!(explained(&seen(0.2, 0.8, &[])), 1.0, "nobody gave a reason");
        assert_eq!(explained(&seen(0.2, 0.8, &[("sw_power_cap", 0.9), ("sw_thermal_slowdown", 0.3)])), 1.0);
        assert_eq!(explained(&Sustained { power: Some(Watts(695.0)), ..seen(0.2, 0.8, &[]) }), 0.8, "the draw says it");
        assert_eq!(explained(&seen(0.0, 1.1, &[("sw_power_cap", 0.9)])), 1.0, "a clock that rises asks for no more");
        assert_eq!(explained(&Sustained { clock: None, ..seen(0.2, 0.8, &[("sw_power_cap", 0.9)]) }), 1.0);
    }
}
