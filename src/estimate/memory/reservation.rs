//! What a server's reservation leaves for the cache.
//!
//! vLLM and its like do not grow: at start they take a share of the whole GPU (`gpu_memory_utilization`), subtract what weights, the widest
//! prefill step and the context take, and cut the rest into pages. That is why a 7B model "takes 70 GB": most of it is cache, reserved for
//! requests that may come. The question is then not what it takes but how many tokens, and so how many requests at once, fit.

use super::footprint::{Part, Phase};
use super::infer::infer;
use super::kv;
use super::overheads::Overheads;
use crate::error::{Error, Result};
use crate::units::Bytes;
use crate::workload::{Cache, Inference, Model};

/// The cache of a server on each GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    /// Memory of all pages.
    pub cache: Bytes,
    /// Pages.
    pub blocks: u64,
    /// Tokens that fit.
    pub tokens: u64,
    /// Sequences of full length (prompt and output) that fit at once.
    pub sequences: u64,
}

/// What a server that takes `utilisation` (0 to 1) of a GPU with `capacity` has for its cache.
///
/// # Errors
/// [`Error::Usage`] for a utilisation outside 0 to 1, a cache that is not paged, settings that [`infer`] refuses, and a share that weights
/// and the prefill step already fill.
pub fn reserve(model: &Model, inference: &Inference, overheads: &Overheads, capacity: Bytes, utilisation: f64) -> Result<Reservation> {
    let Cache::Paged { block } = inference.cache else {
        return Err(Error::usage("only a paged cache is reserved; choose one"));
    };
    if !(utilisation > 0.0 && utilisation <= 1.0) {
        return Err(Error::usage(format!("expected a utilisation above 0 and up to 1 but found {utilisation}")));
    }
    let memory = infer(model, inference, overheads)?;
    // The server tries its widest step before there is a cache.
    let profile = memory
        .moments
        .iter()
        .filter(|moment| matches!(moment.phase, Phase::Load | Phase::Prefill))
        .map(|moment| moment.footprint.total() - moment.footprint[Part::KvCache])
        .max()
        .unwrap_or_default();
    let taken = profile + memory.context.value;
    let share = Bytes((capacity.as_f64() * utilisation) as u64);
    let page = kv::page(&model.text, inference, block);
    if taken + page > share {
        return Err(Error::usage(format!(
            "{}: weights, one prefill step and the context take {} of the {} that a server may use; raise the utilisation, lower the chunk or use more GPUs",
            model.name,
            taken.approximate(),
            share.approximate()
        )));
    }
    Ok(Reservation::of(share - taken, page, block, inference.length()))
}

impl Reservation {
    /// `memory` cut into pages of `page` bytes and `block` tokens, for sequences of `length` tokens.
    pub fn of(memory: Bytes, page: Bytes, block: u64, length: u64) -> Self {
        let blocks = memory.0.checked_div(page.0).unwrap_or(0);
        let of_one = length.div_ceil(block.max(1)).max(1);
        Self { cache: page * blocks, blocks, tokens: blocks.saturating_mul(block), sequences: blocks / of_one }
    }
}
