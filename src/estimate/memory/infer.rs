//! The memory of a generation.
//!
//! Three moments matter. **Load**: formats that quantise on the GPU hold a matrix in both forms. **Prefill**: the prompt's tokens pass
//! through the layers together; activations grow with them and are gone afterwards. **Decode**: one token per sequence, the cache at its
//! longest. Which is the peak depends: long prompts peak in prefill, long answers and large batches in decode. **Rest** is what stays between
//! steps when the last token is written: weights, cache and the libraries' buffers. Tools that read memory between steps see that.

use super::footprint::{Footprint, Memory, Moment, Part, Phase};
use super::overheads::Overheads;
use super::{kv, prefill, stored};
use crate::error::{Error, Result};
use crate::units::Bytes;
use crate::workload::{Attention, Cache, Images, Inference, Model};

/// The memory that running `model` as `inference` says takes on the GPU that needs most.
///
/// # Errors
/// [`Error::Usage`] where the settings are impossible, do not fit the model (heads that `tensor` does not divide, images for a model without
/// eyes), or ask for more memory than can be counted.
pub fn infer(model: &Model, inference: &Inference, overheads: &Overheads) -> Result<Memory> {
    check(model, inference)?;
    let moments = moments(model, inference, overheads.workspace.value);
    let peak = moments.iter().map(|moment| moment.footprint.total()).max().unwrap_or_default();
    if peak.0 >= 1 << 60 {
        return Err(Error::usage(format!("{} needs more than {} per GPU; give a smaller batch or length", model.name, Bytes(1 << 60))));
    }
    // Each GPU of several speaks to the others through one communicator, whose buffers lie beside the context.
    let communicators = u64::from(inference.tensor * inference.pipeline > 1);
    Ok(overheads.memory(moments, Bytes(0), communicators))
}

/// Whether the settings fit the model.
///
/// # Errors
/// [`Error::Usage`] naming the setting.
pub(crate) fn check(model: &Model, inference: &Inference) -> Result<()> {
    inference.check()?;
    let Inference { tensor, pipeline, .. } = *inference;
    let wrong = |what: String| Err(Error::usage(format!("model {}: {what}", model.name)));
    let layers = model.text.layers();
    if pipeline > layers {
        return wrong(format!("{layers} layers cannot be divided into {pipeline} stages"));
    }
    for run in &model.text.blocks {
        let heads = run.block.attention.heads();
        if !heads.is_multiple_of(tensor) {
            return wrong(format!("expected a tensor-parallel degree that divides the {heads} heads but found {tensor}"));
        }
        if let Attention::Grouped(grouped) = &run.block.attention
            && !grouped.kv_heads.is_multiple_of(tensor)
            && !tensor.is_multiple_of(grouped.kv_heads)
        {
            let kv_heads = grouped.kv_heads;
            return wrong(format!(
                "expected a tensor-parallel degree that divides the {kv_heads} key-value heads or is a multiple but found {tensor}"
            ));
        }
    }
    let Images { count, width, height } = inference.images;
    if count > 0 {
        let Some(vision) = &model.vision else { return wrong("it takes no images".to_owned()) };
        vision.check_image(width, height)?;
        let (seq, tokens) = (inference.seq, vision.tokens(width, height));
        if tokens.saturating_mul(count) > seq {
            return wrong(format!(
                "{count} images of {width}x{height} are {tokens} tokens each, more than the {seq} of the prompt; give a longer one"
            ));
        }
    }
    Ok(())
}

/// The worst moment of each phase, without context.
fn moments(model: &Model, inference: &Inference, workspace: Bytes) -> Vec<Moment> {
    let mut moments: Vec<Moment> = Vec::with_capacity(4);
    for moment in candidates(model, inference, workspace) {
        match moments.last_mut() {
            Some(last) if last.phase == moment.phase => {
                if moment.footprint.total() > last.footprint.total() {
                    *last = moment;
                }
            }
            _ => moments.push(moment),
        }
    }
    moments
}

/// Every moment that may be the worst of its phase, in order. Which ones there are depends on the kind of job only, so that two jobs of a kind can be
/// compared moment by moment.
pub(super) fn candidates(model: &Model, inference: &Inference, workspace: Bytes) -> Vec<Moment> {
    let text = &model.text;
    let weights = stored::weights(model, inference);
    let at = |phase, parts: &[(Part, Bytes)]| {
        let mut footprint = Footprint::default();
        footprint[Part::Weights] = weights.total;
        footprint[Part::Workspace] = workspace;
        for &(part, bytes) in parts {
            footprint[part] += bytes;
        }
        Moment { phase, footprint }
    };
    let mut moments = Vec::with_capacity(8);
    if inference.precision.quantised_on_load() {
        // The last matrix as it was read and its cast, beside all that is quantised already.
        let largest = Bytes(weights.largest_quantised) * 4;
        moments.push(at(Phase::Load, &[(Part::Workspace, largest)]));
    }

    let all = kv::cached(text, inference, inference.length());
    let prompt = if inference.cache == Cache::Static { all } else { kv::cached(text, inference, inference.seq) };
    if let Some(vision) = model.vision.as_ref().filter(|_| inference.images.count > 0) {
        // The tower runs before the decoder has cached anything.
        let empty = if inference.cache == Cache::Static { all } else { Bytes(0) };
        let tower = prefill::tower(vision, inference, text.hidden);
        moments.push(at(Phase::Prefill, &[(Part::KvCache, empty), (Part::Activations, tower)]));
    }
    let live = prefill::pass(text, inference, inference.prefill_tokens(), inference.seq);
    let unpacked = if inference.precision.unpacks() { Bytes(weights.largest_quantised) * 2 } else { Bytes(0) };
    moments.push(at(Phase::Prefill, &[(Part::KvCache, prompt), (Part::Activations, live.layers), (Part::Workspace, unpacked)]));
    moments.push(at(Phase::Prefill, &[(Part::KvCache, prompt), (Part::Activations, live.last), (Part::Logits, live.logits)]));

    let step = prefill::pass(text, inference, inference.batch, inference.length());
    let in_flight = kv::in_flight(text, inference, inference.length());
    let held = if inference.cache == Cache::Tuple { all * 2 } else { all };
    moments.push(at(Phase::Decode, &[(Part::KvCache, held), (Part::Activations, step.layers + in_flight)]));
    moments.push(at(Phase::Decode, &[(Part::KvCache, held), (Part::Activations, step.last), (Part::Logits, step.logits)]));
    moments.push(at(Phase::Rest, &[(Part::KvCache, all)]));
    moments
}
