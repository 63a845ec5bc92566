//! Weights as they lie in memory: by format, by role, by GPU.

use crate::units::Bytes;
use crate::workload::{Attention, Block, Decoder, Inference, Linear, Mlp, Model, Place, Positions, Precision, Role};

/// The weights on the GPU that holds most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    /// All of them.
    pub(super) total: Bytes,
    /// Elements of the largest quantised matrix; 0 where nothing is quantised.
    pub(super) largest_quantised: u64,
}

/// The weights that `model` stores under `inference`.
pub(super) fn weights(model: &Model, inference: &Inference) -> Stored {
    let Decoder { hidden, vocab, tied, ref blocks, .. } = model.text;
    let (precision, tensor, pipeline) = (inference.precision, inference.tensor, inference.pipeline);
    // Vectors: norms, biases, position tables.
    let vector = match precision {
        Precision::Gguf(_) => 4,
        other => other.width(),
    };
    let mut layers = Bytes(0);
    let mut largest = 0;
    let mut first = 0;
    let count = model.text.layers();
    for run in blocks {
        let mut vectors = run.block.other_parameters(hidden);
        for linear in run.block.linears(hidden) {
            let (inputs, outputs) = share(&linear, &run.block.attention, tensor);
            vectors += if linear.bias { outputs * linear.copies } else { 0 };
            if quantises(precision, linear.role) {
                largest = largest.max(inputs * outputs);
            }
        }
        let run_bytes = match precision {
            Precision::Gguf(mix) => {
                let mut of_class = [None; Place::CLASSES];
                let mut sum = Bytes(0);
                for layer in first..first + run.count {
                    let place = place(&run.block, layer, count);
                    sum += *of_class[place.class()].get_or_insert_with(|| {
                        let one = |linear: Linear| {
                            let (inputs, outputs) = share(&linear, &run.block.attention, tensor);
                            Bytes(mix.matrix(linear.role, inputs, outputs, place)) * linear.copies
                        };
                        run.block.linears(hidden).map(one).sum::<Bytes>()
                    });
                }
                sum
            }
            _ => {
                let one = |linear: Linear| {
                    let (inputs, outputs) = share(&linear, &run.block.attention, tensor);
                    Bytes(precision.matrix(linear.role, inputs, outputs)) * linear.copies
                };
                run.block.linears(hidden).map(one).sum::<Bytes>() * run.count
            }
        };
        layers += whole_share(run_bytes + Bytes(vectors) * vector * run.count, run.count, pipeline);
        first += run.count;
    }
    let rows = vocab.div_ceil(tensor);
    let positions = match model.text.positions {
        Positions::Learned(positions) => Bytes(positions) * hidden * vector,
        Positions::Rotary | Positions::Alibi => Bytes(0),
    };
    let table = match precision {
        Precision::Gguf(mix) if tied => mix.head(hidden, rows),
        Precision::Gguf(mix) => mix.embedding(hidden, rows),
        other => rows * hidden * other.width(),
    };
    let head = match precision {
        Precision::Gguf(mix) => mix.head(hidden, rows),
        other if inference.quantised_head => other.matrix(Role::Head, hidden, rows),
        other => rows * hidden * other.width(),
    };
    if inference.quantised_head && !tied && quantises(precision, Role::Head) {
        largest = largest.max(rows * hidden);
    }
    let bias = if model.text.head_bias { rows } else { 0 };
    let norm = Bytes(model.text.final_norm.parameters(hidden) + bias) * vector;
    let (entry, exit) = (Bytes(table) + positions, Bytes(head) + norm);
    let ends = match (pipeline, tied) {
        (1, true) => entry + norm,
        (1, false) => entry + exit,
        // Entry and exit are on different GPUs; a tied head needs the table there too.
        (_, _) => entry.max(exit),
    };
    let vision = model.vision.as_ref().map_or(Bytes(0), |vision| Bytes(vision.parameters()) * precision.width());
    Stored { total: layers + ends + vision, largest_quantised: largest }
}

/// `bytes` of `count` equal layers, on the stage of `stages` that has most of them.
fn whole_share(bytes: Bytes, count: u64, stages: u64) -> Bytes {
    if count == 0 || stages == 1 { bytes } else { bytes / count * count.div_ceil(stages) }
}

/// Whether `precision` stores a matrix of `role` in another type than it computes with.
const fn quantises(precision: Precision, role: Role) -> bool {
    !matches!(precision, Precision::Fp32 | Precision::Bf16 | Precision::Fp16 | Precision::Gguf(_))
        && !matches!(role, Role::Router | Role::SharedGate)
}

fn place(block: &Block, layer: u64, layers: u64) -> Place {
    let (group, experts) = (
        match &block.attention {
            Attention::Grouped(grouped) => grouped.heads.checked_div(grouped.kv_heads).unwrap_or(1),
            Attention::Latent(_) => 1,
        },
        match &block.mlp {
            Mlp::Experts(experts) => experts.count,
            Mlp::Dense(_) => 0,
        },
    );
    Place { layer, layers, group, experts }
}

/// Inputs and outputs of one GPU's share of `linear`: what widens is split by outputs, what narrows back to the residual by inputs. Keys and
/// values of fewer heads than GPUs are copied, one head each; latents and routers are small and stay whole.
fn share(linear: &Linear, attention: &Attention, tensor: u64) -> (u64, u64) {
    let Linear { role, inputs, outputs, .. } = *linear;
    if tensor == 1 {
        return (inputs, outputs);
    }
    let (kv_parts, kv_width) = match attention {
        Attention::Grouped(grouped) => (tensor.min(grouped.kv_heads), grouped.kv_heads * grouped.head_dim),
        Attention::Latent(_) => (tensor, 0),
    };
    match role {
        Role::Query | Role::QueryUp | Role::KvUp | Role::Gate | Role::Up | Role::GateUp | Role::Head => (inputs, outputs.div_ceil(tensor)),
        Role::Key | Role::Value => (inputs, outputs.div_ceil(kv_parts)),
        Role::QueryKeyValue => {
            let queries = outputs.saturating_sub(2 * kv_width);
            (inputs, queries.div_ceil(tensor) + 2 * kv_width.div_ceil(kv_parts))
        }
        Role::Output | Role::Down => (inputs.div_ceil(tensor), outputs),
        Role::QueryDown | Role::KvDown | Role::Router | Role::SharedGate | Role::Projector => (inputs, outputs),
    }
}
