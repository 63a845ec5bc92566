//! The whole verdict: every question asked, the policy applied, and what follows from what did not pass.

use jiff::civil::Date;

use super::inquiry::{Evidence, Inquiry};
use super::policy::Policy;
use super::reference::Rate;
use super::{
    About, Assessment, Check, Effective, Finding, Reading, Status, Verdict, collectives, health, host, identity, kind, links, speed,
    sustained,
};
use crate::calibrate::GpuCalibration;
use crate::figure::{Figure, Quantity};
use crate::lang::Lang;
use crate::units::{BytesPerSecond, FlopsPerSecond, Usd};

/// Judges a machine by its record.
///
/// `price` is what an hour of one GPU costs, `today` the day on which acceptances of the policy must still hold; `None`: none holds.
pub fn assess(evidence: Evidence<'_>, price: Option<Usd>, today: Option<Date>, lang: Lang) -> Assessment {
    let mut inquiry = Inquiry::new(evidence);
    identity::ask(&mut inquiry);
    health::ask(&mut inquiry);
    links::ask(&mut inquiry);
    collectives::ask(&mut inquiry);
    speed::ask(&mut inquiry);
    sustained::ask(&mut inquiry);
    host::ask(&mut inquiry);
    let policy = evidence.policy;
    let mut checks = inquiry.checks();
    let mut findings = Vec::new();
    for check in &mut checks {
        if policy.ignores(check.id) {
            check.status = Status::Ignored;
        }
        if check.status < Status::Warning {
            continue;
        }
        let accepted = policy.accepts(check, today);
        if accepted.is_some() {
            check.status = Status::Accepted;
        }
        findings.extend(finding(check, accepted, price, evidence, lang));
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.check.status));
    Assessment {
        verdict: verdict(&checks, policy),
        expected: evidence.expected.text.clone(),
        machine: evidence.run.name.clone(),
        simulated: evidence.run.simulated,
        measured: evidence.run.started.clone(),
        findings,
        effective: effective(&evidence, price),
        checks,
    }
}

fn verdict(checks: &[Check], policy: &Policy) -> Verdict {
    let matters = |check: &&Check| kind(check.id).is_some_and(|kind| policy.matters(kind));
    if checks.iter().any(|check| check.status == Status::Failure) {
        Verdict::Fail
    } else if checks.iter().filter(matters).any(|check| check.status == Status::Unknown) {
        Verdict::Unknown
    } else {
        Verdict::Pass
    }
}

/// What follows from a check that did not pass. Questions without an answer that nobody minds are no finding.
fn finding(check: &Check, accepted: Option<String>, price: Option<Usd>, evidence: Evidence<'_>, lang: Lang) -> Option<Finding> {
    let kind = kind(check.id)?;
    if check.status == Status::Unknown && !evidence.policy.matters(kind) {
        return None;
    }
    let (title, remedy) = if check.status == Status::Unknown {
        let about = if check.about == About::Machine { String::new() } else { format!("{}: ", check.about) };
        (format!("{about}{}", unknown_title(kind.asks.get(lang), lang)), unknown_remedy(check, lang))
    } else {
        (kind.title(check.about, lang), kind.remedy.get(lang).to_owned())
    };
    Some(Finding {
        dcgm: kind.dcgm,
        title,
        cost: cost(check, price, lang),
        remedy,
        sentence: kind.sentence(check.about, &check.seen, &check.expected),
        accepted,
        check: check.clone(),
    })
}

fn unknown_title(asks: &str, lang: Lang) -> String {
    match lang {
        Lang::En => format!("cannot be told: {asks}"),
        Lang::Ko => format!("알 수 없음: {asks}"),
    }
}

fn unknown_remedy(check: &Check, lang: Lang) -> String {
    let across = check.band.is_some();
    match (across, lang) {
        (true, Lang::En) => "measure again with --effort standard: the measurement lies across the limit".to_owned(),
        (true, Lang::Ko) => "--effort standard로 다시 재세요: 측정값이 한계에 걸쳐 있습니다".to_owned(),
        (false, Lang::En) => "give the program what it needs to tell, then validate again".to_owned(),
        (false, Lang::Ko) => "판정에 필요한 것을 갖춘 뒤 다시 검증하세요".to_owned(),
    }
}

/// What a slow GPU wastes: the share of what is paid for that is not there.
fn cost(check: &Check, price: Option<Usd>, lang: Lang) -> Option<String> {
    let (reading, band) = (check.measured.as_ref()?, check.band.as_ref()?);
    if check.status == Status::Unknown || band.reference <= 0.0 {
        return None;
    }
    let missing = 1.0 - reading.value / band.reference;
    let share = format!("{:.0} %", missing * 100.0);
    let of_gpus = matches!(check.id, "dram" | "matmul.bf16" | "matmul.fp8");
    let lost = price.filter(|_| of_gpus).map(|price| Usd(price.0 * missing).display(3));
    Some(match (lost, lang) {
        (Some(usd), Lang::En) => format!("{share} less than such a machine gives: {usd} of each GPU's hour"),
        (None, Lang::En) => format!("{share} less than such a machine gives"),
        (Some(usd), Lang::Ko) => format!("그런 장비보다 {share} 적음: GPU 시간당 {usd}"),
        (None, Lang::Ko) => format!("그런 장비보다 {share} 적음"),
    })
}

/// Rates of all GPUs together, with what they cost at the price.
fn effective(evidence: &Evidence<'_>, price: Option<Usd>) -> Vec<Effective> {
    let asked = &evidence.run.settings.gpus;
    let gpus: Vec<&GpuCalibration> =
        evidence.calibration.gpus.iter().filter(|gpu| asked.is_empty() || asked.contains(&gpu.index)).collect();
    let products = |dtype| move |gpu: &GpuCalibration| Rate::Matmul(dtype, speed::engine(gpu, dtype)?).of(gpu);
    let memory = |gpu: &GpuCalibration| Rate::Dram(speed::dram(gpu)?).of(gpu);
    let metrics: [(&str, Vec<Figure<f64>>, bool); 3] = [
        ("matmul.bf16", gpus.iter().filter_map(|gpu| products("bf16")(gpu)).collect(), true),
        ("matmul.fp8", gpus.iter().filter_map(|gpu| products("e4m3")(gpu)).collect(), true),
        ("dram", gpus.iter().filter_map(|gpu| memory(gpu)).collect(), false),
    ];
    metrics.into_iter().filter_map(|(metric, rates, computes)| total(metric, &rates, computes, gpus.len(), price)).collect()
}

fn total(metric: &str, rates: &[Figure<f64>], computes: bool, gpus: usize, price: Option<Usd>) -> Option<Effective> {
    // A sum over some of the GPUs would be no rate of the machine.
    if rates.is_empty() || rates.len() < gpus {
        return None;
    }
    let sum = |part: fn(&Figure<f64>) -> f64| rates.iter().map(part).sum::<f64>();
    let (value, low, high) = (sum(|rate| rate.value), sum(|rate| rate.low), sum(|rate| rate.high));
    let (unit, shown, size) = if computes {
        (FlopsPerSecond::UNIT, FlopsPerSecond(value).show(), 1e15)
    } else {
        (BytesPerSecond::UNIT, BytesPerSecond(value).show(), 1e12)
    };
    let usd_per_unit_hour = price.map(|price| price.0 * gpus as f64 / (value / size));
    Some(Effective { metric: metric.to_owned(), measured: Reading { value, low, high, unit, shown }, usd_per_unit_hour })
}
