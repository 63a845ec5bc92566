//! What the driver says about a GPU's state: power, clocks, heat, memory errors, and whether its answers were right.
//!
//! A low clock is power or heat, or somebody has set it. Under a matrix product many boards run into their power limit, which is as it should be
//! when the limit is the board's own; so a low clock is held against a board only where the driver names no power limit as its reason.

use super::inquiry::Inquiry;
use super::{About, Status};
use crate::machine::Gpu;
use crate::measure::{Measurement, Outcome, TelemetrySpan as Span};
use crate::units::{Hertz, Watts};

/// Everything about the state of the GPUs.
pub(super) fn ask(inquiry: &mut Inquiry<'_>) {
    for gpu in inquiry.gpus() {
        power(inquiry, gpu);
        clocks(inquiry, gpu);
        throttling(inquiry, gpu);
        ecc(inquiry, gpu);
        rows(inquiry, gpu);
    }
    xids(inquiry);
    answers(inquiry);
    pattern(inquiry);
    measured(inquiry);
}

/// Measurements on one GPU.
fn on<'a>(inquiry: &Inquiry<'a>, gpu: &Gpu) -> impl Iterator<Item = &'a Measurement> + use<'a> {
    let index = u64::from(gpu.index);
    inquiry
        .evidence
        .run
        .measurements()
        .filter(move |one| one.case.get_count("gpu") == Some(index) || one.case.get_count("from") == Some(index))
}

fn power(inquiry: &mut Inquiry<'_>, gpu: &Gpu) {
    let about = About::Gpu(gpu.index);
    let Some(default) = gpu.power.default.known() else { return };
    // How much faster zeros multiply is evidence beside a limit that was lowered, and none alone.
    let zeros = inquiry.evidence.calibration.gpu(gpu.index).and_then(|own| Some(own.zeros.as_ref()?.value.0 - 1.0));
    let effect =
        zeros.filter(|faster| *faster >= 0.05).map(|faster| format!("; zeros multiply {:.0} % faster than random data", faster * 100.0));
    inquiry.fact("power.limit", about, &gpu.power.enforced, |enforced: &Watts| {
        let status = match enforced.0 / default.0 {
            share if share < 0.90 => Status::Failure,
            share if share < 0.985 => Status::Warning,
            _ => Status::Pass,
        };
        let effect = effect.filter(|_| status != Status::Pass).unwrap_or_default();
        (status, format!("{}{effect}", enforced.display(3)), default.display(3))
    });
}

fn clocks(inquiry: &mut Inquiry<'_>, gpu: &Gpu) {
    /// Of the boost clock, with nothing to hold it back.
    const LOW: f64 = 0.75;
    const BROKEN: f64 = 0.55;
    let about = About::Gpu(gpu.index);
    let boost = inquiry.evidence.expected.model.clocks.map(|clocks| clocks.boost());
    let Some(boost) = boost.filter(|boost| boost.0 > 0.0) else { return };
    if let Some(set) = gpu.sm_clock.application.known() {
        // Defaults below the boost clock are usual (an A100's are at three quarters).
        inquiry.ask("clock.application", about, set.0 >= BROKEN * boost.0, Status::Failure, set.display(4), boost.display(4));
    }
    let under_load = on(inquiry, gpu).filter(|one| one.case.family() == "matmul").filter_map(|one| one.telemetry.as_ref());
    let clocks: Vec<(Hertz, bool)> =
        under_load.filter_map(|span| Some((span.mean_sm_clock?, limited_by_power(&span.throttle_reasons)))).collect();
    // The best of all products: many are too short to bring a clock up, none can fake one.
    let Some((clock, limited)) = clocks.iter().copied().reduce(|best, one| if one.0 > best.0 { one } else { best }) else {
        return inquiry.unknown("clock.load", about, "no clock was read during a matrix product");
    };
    let status = match clock.0 / boost.0 {
        _ if limited => Status::Pass,
        share if share < BROKEN => Status::Failure,
        share if share < LOW => Status::Warning,
        _ => Status::Pass,
    };
    inquiry.answer("clock.load", about, status, clock.display(4), boost.display(4));
}

fn limited_by_power(reasons: &[String]) -> bool {
    reasons.iter().any(|reason| reason == "sw_power_cap")
}

fn throttling(inquiry: &mut Inquiry<'_>, gpu: &Gpu) {
    let about = About::Gpu(gpu.index);
    let watched: Vec<(&Span, bool)> = on(inquiry, gpu).filter_map(|one| Some((one.telemetry.as_ref()?, !one.trace.is_empty()))).collect();
    if watched.is_empty() {
        inquiry.unknown("throttle.thermal", about, "nothing was read during the measurements");
        return inquiry.unknown("throttle.hardware", about, "nothing was read during the measurements");
    }
    for (id, wanted) in [
        ("throttle.thermal", &["sw_thermal_slowdown", "hw_thermal_slowdown"][..]),
        ("throttle.hardware", &["hw_power_brake_slowdown", "hw_slowdown"]),
    ] {
        // Heat under a load that lasts is a question of its own, which goes by how long it held the clock back.
        let asked: Vec<&Span> = watched.iter().filter(|(_, lasted)| id != "throttle.thermal" || !lasted).map(|(span, _)| *span).collect();
        if asked.is_empty() {
            continue;
        }
        let hottest = asked.iter().filter_map(|span| span.peak_temperature).map(|celsius| celsius.0).fold(f64::NAN, f64::max);
        let temperature = if hottest.is_nan() { String::new() } else { format!(", at most {hottest:.0} °C") };
        let mut reasons: Vec<String> = Vec::new();
        for span in &asked {
            // The general bit stands beside each of the particular ones.
            let hot = span.throttle_reasons.iter().any(|reason| reason == "hw_thermal_slowdown");
            let of = |reason: &&String| wanted.contains(&reason.as_str()) && !(hot && *reason == "hw_slowdown");
            reasons.extend(span.throttle_reasons.iter().filter(of).cloned());
        }
        reasons.sort();
        reasons.dedup();
        let shown = if reasons.is_empty() { format!("none{temperature}") } else { format!("{}{temperature}", reasons.join(", ")) };
        inquiry.ask(id, about, reasons.is_empty(), Status::Failure, shown, "none");
    }
}

fn ecc(inquiry: &mut Inquiry<'_>, gpu: &Gpu) {
    let about = About::Gpu(gpu.index);
    // Boards without it say that it is not supported, which is no finding.
    let Some(ecc) = gpu.ecc.known() else { return };
    if inquiry.evidence.expected.model.memory.kind.starts_with("HBM") {
        let on = if ecc.enabled { "on" } else { "off" };
        inquiry.ask("ecc.enabled", about, ecc.enabled, Status::Warning, on, "on");
    }
    if let Some(errors) = ecc.uncorrected_volatile {
        let before = ecc.uncorrected_aggregate.filter(|all| *all > errors);
        let status = match (errors, before) {
            (1.., _) => Status::Failure,
            (0, Some(_)) => Status::Warning,
            (0, None) => Status::Pass,
        };
        let seen = before.map_or_else(|| errors.to_string(), |all| format!("{errors} now and {all} in its life"));
        inquiry.answer("ecc.uncorrected", about, status, seen, "0");
    }
    during_the_run(inquiry, gpu);
}

/// Memory errors that appeared while the GPU was measured. A corrected one within a minute is a sign, an uncorrected one is a fault.
fn during_the_run(inquiry: &mut Inquiry<'_>, gpu: &Gpu) {
    let spans: Vec<_> = on(inquiry, gpu).filter_map(|one| one.telemetry.as_ref()).collect();
    let sum = |count: fn(&Span) -> Option<u64>| spans.iter().filter_map(|span| count(span)).reduce(|a, b| a + b);
    let uncorrected = sum(|span| span.new_uncorrected_errors);
    // Records of earlier versions counted both together.
    let corrected = sum(|span| span.new_corrected_errors.or(span.new_ecc_errors));
    let (Some(uncorrected), Some(corrected)) = (uncorrected.or(corrected.map(|_| 0)), corrected) else { return };
    let status = match (uncorrected, corrected) {
        (1.., _) => Status::Failure,
        (0, 1..) => Status::Warning,
        (0, 0) => Status::Pass,
    };
    inquiry.answer("ecc.run", About::Gpu(gpu.index), status, format!("{corrected} corrected and {uncorrected} uncorrected"), "0");
}

fn rows(inquiry: &mut Inquiry<'_>, gpu: &Gpu) {
    let about = About::Gpu(gpu.index);
    let Some(rows) = gpu.remapped_rows.known() else { return };
    let yes = |is: bool| if is { "yes" } else { "no" };
    inquiry.ask("rows.pending", about, !rows.pending, Status::Failure, yes(rows.pending), "no");
    inquiry.ask("rows.failed", about, !rows.failed, Status::Failure, yes(rows.failed), "no");
    inquiry.ask("rows.uncorrected", about, rows.uncorrected == 0, Status::Warning, rows.uncorrected.to_string(), "0");
}

/// What the driver reported while the GPUs were measured. Some numbers can be an application's own doing (13, 31, 43, 45: illegal accesses and
/// what ends them), and this program was the application: with right answers and no failed case they are a warning.
fn xids(inquiry: &mut Inquiry<'_>) {
    const OWN: [u32; 4] = [13, 31, 43, 45];
    let run = inquiry.evidence.run;
    let seen: Vec<_> = run.every_xid().collect();
    for gpu in inquiry.gpus() {
        let about = About::Gpu(gpu.index);
        let own: Vec<_> = seen.iter().filter(|xid| xid.gpu == gpu.index).collect();
        if let (true, Some(why)) = (own.is_empty(), run.xids.why()) {
            inquiry.unknown("xid", about, why);
            continue;
        }
        let status = match own.iter().any(|xid| !OWN.contains(&xid.code)) {
            _ if own.is_empty() => Status::Pass,
            true => Status::Failure,
            false => Status::Warning,
        };
        let shown: Vec<String> = own.iter().map(|xid| format!("XID {} during {}", xid.code, xid.case)).collect();
        inquiry.answer("xid", about, status, if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }, "none");
    }
}

/// Memory that was verified; what came back wrong is told by [`answers`].
fn pattern(inquiry: &mut Inquiry<'_>) {
    let verified: Vec<(About, String)> = inquiry
        .evidence
        .run
        .outcomes
        .iter()
        .filter(|outcome| outcome.case().mechanism() == "memory.pattern")
        .filter_map(|outcome| match outcome {
            Outcome::Observed(seen) => Some((subject(outcome), seen.bytes.approximate())),
            _ => None,
        })
        .collect();
    for (about, bytes) in verified {
        inquiry.answer("memory.pattern", about, Status::Pass, format!("{bytes} verified"), "as written");
    }
}

/// Outcomes that are wrong, by GPU or pair; those of pairs are the copy between them.
fn answers(inquiry: &mut Inquiry<'_>) {
    let wrong: Vec<(&'static str, About, String)> = inquiry
        .evidence
        .run
        .outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Failed { case, error, wrong_answer: true } => {
                let about = subject(outcome);
                let id = match (about, case.mechanism()) {
                    (About::Pair(..), _) => "peer.contents",
                    (_, mechanism) if mechanism.starts_with("peer.") => "peer.contents",
                    (_, "memory.pattern") => "memory.pattern",
                    (_, mechanism) if mechanism.starts_with("collective.") => "collective.contents",
                    _ => "answers",
                };
                Some((id, about, format!("{case}: {error}")))
            }
            _ => None,
        })
        .collect();
    for gpu in inquiry.gpus() {
        let about = About::Gpu(gpu.index);
        let own: Vec<&String> =
            wrong.iter().filter(|(id, whose, _)| *id == "answers" && *whose == about).map(|(_, _, what)| what).collect();
        let seen = own.first().map_or_else(|| "all right".to_owned(), |first| one_of(first, own.len()));
        inquiry.ask("answers", about, own.is_empty(), Status::Failure, seen, "all right");
    }
    for (id, about, what) in wrong.into_iter().filter(|(id, ..)| *id != "answers") {
        inquiry.answer(id, about, Status::Failure, what, "as written");
    }
}

fn one_of(first: &str, count: usize) -> String {
    match count {
        1 => first.to_owned(),
        _ => format!("{first}, and {} more", count - 1),
    }
}

/// What a case is about.
pub(super) fn subject(outcome: &Outcome) -> About {
    let axis = |name| outcome.case().get_count(name).and_then(|index| u32::try_from(index).ok());
    match (axis("from"), axis("to"), axis("gpu")) {
        (Some(from), Some(to), _) => About::Pair(from, to),
        (_, _, Some(gpu)) => About::Gpu(gpu),
        _ => About::Machine,
    }
}

/// Cases that failed without an answer. Errors that name broken hardware are failures; others may be anybody's.
fn measured(inquiry: &mut Inquiry<'_>) {
    const BROKEN: [&str; 7] = [
        "CUDA_ERROR_ECC_UNCORRECTABLE",
        "CUDA_ERROR_NVLINK_UNCORRECTABLE",
        "CUDA_ERROR_HARDWARE_STACK_ERROR",
        "CUDA_ERROR_CONTAINED",
        "CUDA_ERROR_EXTERNAL_DEVICE",
        "GPU is lost",
        // A collective that hangs.
        "by NCCL: it did not end",
    ];
    let run = inquiry.evidence.run;
    let failed: Vec<(About, String)> = run
        .outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Failed { case, error, wrong_answer: false } => Some((subject(outcome), format!("{case}: {error}"))),
            _ => None,
        })
        .collect();
    if failed.is_empty() && run.complete {
        return inquiry.answer("measured", About::Machine, Status::Pass, "everything", "everything");
    }
    if failed.is_empty() {
        return inquiry.unknown("measured", About::Machine, "the measurement was stopped before its end");
    }
    let mut subjects: Vec<About> = failed.iter().map(|(about, _)| *about).collect();
    subjects.sort();
    subjects.dedup();
    for about in subjects {
        let own: Vec<&String> = failed.iter().filter(|(whose, _)| *whose == about).map(|(_, what)| what).collect();
        let broken = own.iter().any(|what| BROKEN.iter().any(|code| what.contains(code)));
        let status = if broken { Status::Failure } else { Status::Unknown };
        inquiry.answer("measured", about, status, own.first().map_or_else(String::new, |first| one_of(first, own.len())), "everything");
    }
}
