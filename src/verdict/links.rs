//! Links: PCIe to the host, NVLink, and what lies between two GPUs.
//!
//! Idle links drop to their first generation, so only what was trained *during* copies counts. What the slot and the GPU agree on at most is
//! the system's; a link that trains below that is broken, a system below the GPU's own best is worth a warning.

use super::inquiry::Inquiry;
use super::reference::{among_equals, between_gpus};
use super::{About, Band, Status};
use crate::catalog::GpuModel;
use crate::figure::{Basis, Figure, Quantity};
use crate::machine::{Gpu, Pair};
use crate::measure::Measurement;
use crate::units::BytesPerSecond;

/// Everything about links.
pub(super) fn ask(inquiry: &mut Inquiry<'_>) {
    for gpu in inquiry.gpus() {
        pcie(inquiry, gpu);
        replays(inquiry, gpu);
        nvlinks(inquiry, gpu);
    }
    together(inquiry);
    access(inquiry);
    peers(inquiry);
    pairs_together(inquiry);
}

/// Copies from the host while all other GPUs copy too, beside those that were alone. Shared switches are how many machines are built, so this
/// warns and never fails; only a policy can.
fn together(inquiry: &mut Inquiry<'_>) {
    for gpu in inquiry.gpus() {
        let run = inquiry.evidence.run;
        let index = Some(u64::from(gpu.index));
        let of = |one: &&Measurement| one.case.get_count("gpu") == index && one.case.get_word("dir") == Some("h2d");
        let all = run.of("copy.together").filter(of).filter_map(|one| Some((one.bandwidth()?, one.case.to_string())));
        let Some((rate, case)) = all.max_by(|a, b| a.0.point.total_cmp(&b.0.point)) else { continue };
        let Some(alone) = inquiry.evidence.calibration.gpu(gpu.index).and_then(|own| own.copy_ceiling("h2d", "pinned")) else { continue };
        let reference = alone.value.0;
        let from = vec![alone.from.first().cloned().unwrap_or_default()];
        let band =
            Band { reference, warning: 0.80 * reference, failure: 0.0, unit: BytesPerSecond::UNIT, basis: Basis::MeasuredHere, from };
        inquiry.rate("copy.together", About::Gpu(gpu.index), &Figure::<BytesPerSecond>::measured(rate, case), band);
    }
}

/// Copies between the pairs of `peer.all` at once, beside what each pair copies both ways alone. Like [`together`] this only warns.
fn pairs_together(inquiry: &mut Inquiry<'_>) {
    let calibration = inquiry.evidence.calibration;
    let alone = |from: u32, to: u32| {
        let both = |from, to| calibration.peer(from, to).and_then(|link| link.copy_engine.both.as_ref());
        both(from, to).or_else(|| both(to, from)).map(|rate| rate.value.0)
    };
    let of_engine = |one: &&Measurement| one.case.get_word("engine") == Some("ce");
    let Some(one) = inquiry.evidence.run.of("peer.all").find(of_engine) else { return };
    // Each pair is listed in both orders.
    let pairs = one.conditions.get("pairs").map(String::as_str).unwrap_or_default().split(' ').step_by(2);
    let pairs = pairs.filter_map(|pair| pair.split_once('→').and_then(|(from, to)| from.parse().ok().zip(to.parse().ok())));
    let rates: Option<Vec<f64>> = pairs.map(|(from, to)| alone(from, to)).collect();
    let Some(reference) = rates.map(|rates| rates.iter().sum::<f64>()).filter(|sum| *sum > 0.0) else { return };
    let Some(rate) = one.bandwidth() else { return };
    let from = vec!["peer.both of each of the pairs".to_owned()];
    let band = Band { reference, warning: 0.80 * reference, failure: 0.0, unit: BytesPerSecond::UNIT, basis: Basis::MeasuredHere, from };
    let measured = Figure::<BytesPerSecond>::measured(rate, one.case.to_string());
    inquiry.rate("peer.together", About::Machine, &measured, band);
}

fn pcie(inquiry: &mut Inquiry<'_>, gpu: &Gpu) {
    let (model, about) = (inquiry.evidence.expected.model, About::Gpu(gpu.index));
    let Some((generation, width)) = inquiry.evidence.calibration.gpu(gpu.index).and_then(|gpu| gpu.pcie) else {
        inquiry.unknown("pcie.generation", about, "no link was read during a copy");
        return inquiry.unknown("pcie.width", about, "no link was read during a copy");
    };
    let system = gpu.pcie.known();
    let ours = |own: u32, system: Option<u32>| system.filter(|most| *most > 0).map_or(own, |most| most.min(own));
    let status = |seen: u32, system: u32, own: u32, by_system: Status| match seen {
        seen if seen < system => Status::Failure,
        seen if seen < own => by_system,
        _ => Status::Pass,
    };
    let most = ours(model.pcie.generation, system.and_then(|link| link.generation_max));
    let answer = status(generation, most, model.pcie.generation, Status::Warning);
    inquiry.answer(
        "pcie.generation",
        about,
        answer,
        format!("generation {generation}"),
        format!("generation {}", model.pcie.generation.max(most)),
    );
    let most = ours(model.pcie.lanes, system.and_then(|link| link.width_max));
    // Boards for desktops share a processor's lanes by design; servers do not.
    let by_system = if is_consumer(model) { Status::Warning } else { Status::Failure };
    let answer = status(width, most, model.pcie.lanes, by_system);
    inquiry.answer("pcie.width", about, answer, format!("{width} lanes"), format!("{} lanes", model.pcie.lanes.max(most)));
}

pub(super) fn is_consumer(model: &GpuModel) -> bool {
    model.marketing_name.contains("GeForce") || model.name.contains("GeForce")
}

fn replays(inquiry: &mut Inquiry<'_>, gpu: &Gpu) {
    /// A clean link has none; a handful may come with a link that changes its speed.
    const FEW: u64 = 10;
    let index = u64::from(gpu.index);
    let of_gpu = inquiry.evidence.run.measurements().filter(|one| one.case.get_count("gpu") == Some(index));
    let counts: Vec<u64> = of_gpu.filter_map(|one| one.telemetry.as_ref()?.new_pcie_replays).collect();
    if !counts.is_empty() {
        let all: u64 = counts.iter().sum();
        inquiry.ask("pcie.replays", About::Gpu(gpu.index), all <= FEW, Status::Warning, all.to_string(), "0");
    }
}

/// Whether every board of this model comes with its NVLinks connected: modules are soldered to a board that joins them, cards need bridges
/// that nobody promised.
fn always_linked(model: &GpuModel) -> bool {
    let card = ["PCIe", "NVL", "GeForce", "RTX", "Quadro"]
        .iter()
        .any(|word| model.marketing_name.contains(word) || model.short_name.contains(word));
    model.nvlink.is_some() && model.memory.kind.starts_with("HBM") && !card
}

fn nvlinks(inquiry: &mut Inquiry<'_>, gpu: &Gpu) {
    let model = inquiry.evidence.expected.model;
    let Some(nvlink) = model.nvlink.filter(|_| always_linked(model)) else { return };
    // A single module of a board of eight is rented without its links.
    if inquiry.evidence.run.machine.gpus.len() < 2 {
        return;
    }
    inquiry.fact("nvlink.links", About::Gpu(gpu.index), &gpu.nvlinks, |ports| {
        let active = ports.iter().filter(|port| port.active).count();
        let status = if active >= nvlink.links as usize { Status::Pass } else { Status::Failure };
        (status, active.to_string(), nvlink.links.to_string())
    });
}

/// Pairs of the GPUs asked about.
fn pairs<'a>(inquiry: &Inquiry<'a>) -> Vec<&'a Pair> {
    let asked: Vec<u32> = inquiry.gpus().iter().map(|gpu| gpu.index).collect();
    inquiry.evidence.run.machine.pairs.iter().filter(|pair| asked.contains(&pair.from) && asked.contains(&pair.to)).collect()
}

fn access(inquiry: &mut Inquiry<'_>) {
    let model = inquiry.evidence.expected.model;
    let without = match (always_linked(model), is_consumer(model)) {
        (true, _) => Status::Failure,
        // GeForce boards have none by NVIDIA's decision, and nobody sold it.
        (false, true) => Status::Pass,
        (false, false) => Status::Warning,
    };
    for pair in pairs(inquiry) {
        inquiry.fact("peer.access", About::Pair(pair.from, pair.to), &pair.peer_access, |allowed| {
            let status = if *allowed { Status::Pass } else { without };
            (status, if *allowed { "allowed" } else { "denied" }.to_owned(), "allowed".to_owned())
        });
    }
}

/// Rates between GPUs: against what the link carries, against the way through the host, against each other.
fn peers(inquiry: &mut Inquiry<'_>) {
    let mut rates: Vec<(&Pair, Figure<BytesPerSecond>)> = Vec::new();
    for pair in pairs(inquiry).into_iter().filter(|pair| pair.peer_access.known() == Some(&true)) {
        if let Some(rate) = inquiry.evidence.calibration.peer(pair.from, pair.to).and_then(crate::calibrate::PeerLink::one_way) {
            rates.push((pair, rate));
        }
    }
    for (pair, rate) in &rates {
        let about = About::Pair(pair.from, pair.to);
        if let Some((one_way, share)) = wire(inquiry, pair) {
            inquiry.rate("peer.rate", about, rate, between_gpus(&one_way, share));
        }
        if let Some(staged) = through_the_host(inquiry, pair) {
            let slower = rate.high.0 < staged.0;
            inquiry.ask("peer.staged", about, !slower, Status::Failure, rate.value.show(), format!("about {}", staged.show()));
        }
        let like = |other: &&(&Pair, Figure<BytesPerSecond>)| {
            (other.0.from, other.0.to) != (pair.from, pair.to) && other.0.topology.known() == pair.topology.known()
        };
        let others: Vec<f64> = rates.iter().filter(like).map(|(_, rate)| rate.value.0).collect();
        // Of two pairs that differ nobody can say which is wrong.
        if let Some(band) = among_equals(&others, 0.90, 0.75, BytesPerSecond::UNIT).filter(|_| others.len() >= 2) {
            inquiry.rate("even.peer", about, rate, band);
        }
    }
}

/// What lies between two GPUs carries in one direction, and the share of it that copies usually reach.
fn wire(inquiry: &Inquiry<'_>, pair: &Pair) -> Option<(Figure<BytesPerSecond>, f64)> {
    let (catalog, model) = (inquiry.evidence.catalog, inquiry.evidence.expected.model);
    let links = pair.topology.known().and_then(|name| name.strip_prefix("NV")?.parse::<u32>().ok());
    if let (Some(links), Some(nvlink), Some(all)) = (links, model.nvlink, model.nvlink_one_way()) {
        let count = f64::from(links.min(nvlink.links)) / f64::from(nvlink.links);
        return Some((all.map(|rate| rate * count), 0.82));
    }
    let link = |index| inquiry.evidence.calibration.gpu(index).and_then(|gpu| gpu.pcie);
    let practical = |(generation, width): (u32, u32)| catalog.pcie(generation, width)?.practical();
    let (from, to) = (practical(link(pair.from)?)?, practical(link(pair.to)?)?);
    let slower = if from.value < to.value { from } else { to };
    // Across the processors' own link less arrives than under one switch.
    let far = matches!(pair.topology.known().map(String::as_str), Some("SYS" | "NODE"));
    Some((slower, if far { 0.70 } else { 0.85 }))
}

/// What a copy through host memory reaches at worst: each byte crosses both links, one after the other.
fn through_the_host(inquiry: &Inquiry<'_>, pair: &Pair) -> Option<BytesPerSecond> {
    let rate = |gpu, direction| inquiry.evidence.calibration.gpu(gpu)?.copy_ceiling(direction, "pinned").map(|rate| rate.low.0);
    let (out, into) = (rate(pair.from, "d2h")?, rate(pair.to, "h2d")?);
    Some(BytesPerSecond(1.0 / (1.0 / out + 1.0 / into)))
}
