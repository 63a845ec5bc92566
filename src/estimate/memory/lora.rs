//! Adapters: a product `outputs × inputs` gets a way down to `rank` and a way up from it.

use super::piece::Piece;
use crate::error::{Error, Result};
use crate::workload::{Adapters, Linear, Model, Role, Targets};

/// Whether `targets` names this product. A fused product is adapted if any of its parts is; a router never is.
pub(crate) const fn adapts(targets: &Targets, role: Role) -> bool {
    match targets {
        Targets::AllLinear => !matches!(role, Role::Head | Role::Router | Role::Projector),
        Targets::Some { q, k, v, o, gate, up, down } => match role {
            Role::Query | Role::QueryDown | Role::QueryUp => *q,
            Role::Key => *k,
            Role::Value => *v,
            Role::KvDown | Role::KvUp => *k || *v,
            Role::QueryKeyValue => *q || *k || *v,
            Role::Output => *o,
            Role::Gate => *gate,
            Role::Up => *up,
            Role::GateUp => *gate || *up,
            Role::Down => *down,
            Role::Router | Role::SharedGate | Role::Head | Role::Projector => false,
        },
    }
}

/// Every tensor of every adapter, as `tensor(elements, how many like it)`. The vision tower has none.
pub(crate) fn tensors(piece: &Piece, adapters: &Adapters, tensor: &mut impl FnMut(u64, u64)) {
    for blocks in &piece.model.text.blocks {
        for linear in blocks.block.linears(piece.model.text.hidden) {
            if adapts(&adapters.targets, linear.role) {
                let copies = blocks.count * piece.copies(&linear);
                tensor(adapters.rank * linear.inputs, copies);
                tensor(adapters.rank * linear.outputs, copies);
            }
        }
    }
}

/// Whether `adapters` can be put on `model`.
///
/// # Errors
/// [`Error::Usage`] for a rank of zero, a rank above the smaller dimension of a product it adapts, and targets that name nothing in the model.
pub(crate) fn check(model: &Model, adapters: &Adapters) -> Result<()> {
    let mut least: Option<Linear> = None;
    for blocks in &model.text.blocks {
        for linear in blocks.block.linears(model.text.hidden) {
            let narrower = |least: Linear| linear.inputs.min(linear.outputs) < least.inputs.min(least.outputs);
            if adapts(&adapters.targets, linear.role) && linear.role != Role::SharedGate && least.is_none_or(narrower) {
                least = Some(linear);
            }
        }
    }
    let Some(Linear { role, inputs, outputs, .. }) = least else {
        return Err(Error::usage(format!("the LoRA targets name no product of {}; name one that it has, or all of them", model.name)));
    };
    let most = inputs.min(outputs);
    if !(1..=most).contains(&adapters.rank) {
        let rank = adapters.rank;
        return Err(Error::usage(format!(
            "expected a LoRA rank of 1 to {most}, the smaller dimension of the {role:?} product of {}, but found {rank}",
            model.name
        )));
    }
    Ok(())
}
