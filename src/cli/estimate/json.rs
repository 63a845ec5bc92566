//! The JSON that scripts rely on: plain numbers in SI units, the unit in the key, keys in a fixed order.

use serde::Serialize;

use super::show::{Estimate, Reserved};
use crate::error::{Error, Result};
use crate::estimate::fit::Verdict;
use crate::estimate::memory::Part;
use crate::figure::{Figure, Quantity};
use crate::report;

/// An estimate. What is not estimated has no key.
#[derive(Serialize)]
struct Document<'a> {
    formula: &'static str,
    model: &'a str,
    parameters: u64,
    trainable_parameters: u64,
    memory: MemoryKeys,
    fits: Fits<'a>,
    /// Where vLLM's reservation was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation: Option<ReservationKeys>,
    /// Where the GPU is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<super::time::Keys>,
    /// Where a price and a length are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<super::cost::Keys>,
    basis: Vec<Source>,
}

#[derive(Serialize)]
struct MemoryKeys {
    weights_bytes: u64,
    gradients_bytes: u64,
    optimizer_bytes: u64,
    activations_bytes: u64,
    logits_bytes: u64,
    kv_cache_bytes: u64,
    workspace_bytes: u64,
    context_bytes: u64,
    allocated_bytes: u64,
    reserved_bytes: u64,
    device_bytes: u64,
    low_bytes: u64,
    high_bytes: u64,
    /// Of each node, where anything is kept there.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_bytes: Option<u64>,
}

/// Empty but for the verdict where there is no GPU to compare with.
#[derive(Serialize)]
struct Fits<'a> {
    gpu: Option<&'a str>,
    capacity_bytes: Option<u64>,
    verdict: Verdict,
    headroom_bytes: Option<i64>,
}

#[derive(Serialize)]
struct ReservationKeys {
    utilisation: f64,
    cache_bytes: u64,
    blocks: u64,
    tokens: u64,
    sequences: u64,
}

#[derive(Serialize)]
struct Source {
    quantity: &'static str,
    basis: &'static str,
    from: String,
}

impl Source {
    fn of<Q: Quantity>(quantity: &'static str, figure: &Figure<Q>) -> Self {
        Self { quantity, basis: figure.basis.words(), from: figure.from.join("; ") }
    }
}

/// An estimate as the text of a JSON document.
pub(super) fn estimate(estimate: &Estimate<'_>) -> Result<String> {
    let (memory, room) = (estimate.memory, estimate.room);
    let part = |part: Part| memory.peak().map_or(0, |moment| moment.footprint[part].0);
    let mut basis = vec![
        Source::of("allocated memory", &memory.allocated),
        Source::of("reserved memory", &memory.reserved),
        Source::of("context", &memory.context),
    ];
    basis.extend(room.map(|room| Source::of("capacity", &room.capacity)));
    let sources = estimate.time.iter().flat_map(|time| time.basis());
    basis.extend(sources.map(|(quantity, basis, from)| Source { quantity, basis: basis.words(), from: from.clone() }));
    let sources = estimate.cost.iter().flat_map(super::cost::basis);
    basis.extend(sources.map(|(quantity, basis, from)| Source { quantity, basis: basis.words(), from }));
    let document = Document {
        formula: "exact",
        model: &estimate.model.name,
        parameters: estimate.model.parameters(),
        trainable_parameters: estimate.trainable,
        memory: MemoryKeys {
            weights_bytes: part(Part::Weights),
            gradients_bytes: part(Part::Gradients),
            optimizer_bytes: part(Part::Optimizer),
            activations_bytes: part(Part::Activations),
            logits_bytes: part(Part::Logits),
            kv_cache_bytes: part(Part::KvCache),
            workspace_bytes: part(Part::Workspace),
            context_bytes: memory.context.value.0,
            allocated_bytes: memory.allocated.value.0,
            reserved_bytes: memory.reserved.value.0,
            device_bytes: memory.device.value.0,
            low_bytes: memory.device.low.0,
            high_bytes: memory.device.high.0,
            host_bytes: (memory.host.0 > 0).then_some(memory.host.0),
        },
        fits: Fits {
            gpu: room.map(|room| room.gpu.as_str()),
            capacity_bytes: room.map(|room| room.capacity.value.0),
            verdict: room.map_or(Verdict::Unknown, |room| room.verdict(memory)),
            headroom_bytes: room.map(|room| room.headroom(memory)),
        },
        reservation: estimate.reserved.as_ref().map(|Reserved { share, left, .. }| ReservationKeys {
            utilisation: *share,
            cache_bytes: left.cache.0,
            blocks: left.blocks,
            tokens: left.tokens,
            sequences: left.sequences,
        }),
        time: estimate.time.as_ref().map(super::time::Time::keys),
        cost: estimate.cost.as_ref().map(super::cost::keys),
        basis,
    };
    text(&document)
}

/// Anything serialisable, for standard output.
pub(super) fn text(document: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(document).map_err(|error| Error::measurement("writing the estimate", error))?;
    Ok(format!("{}\n", report::escaped(&text)))
}
