//! Whether a shape can be computed with: nothing zero, nothing beyond any real model, nothing at odds with itself.

use super::{Attention, Block, Blocks, Dense, Mlp, Model, Positions, Vision};
use crate::error::{Error, Result};

/// Larger than any dimension of any model; small enough that the products below cannot overflow.
const LARGEST: u64 = 1 << 24;
/// A thousand times the largest model known.
const MOST_PARAMETERS: u64 = 1 << 50;

impl Model {
    /// The same model, if no count of it can overflow.
    ///
    /// Every dimension is bounded before any two are multiplied, so a shape from anywhere may be given.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the dimension that is zero, larger than any real model's, or at odds with another.
    pub fn check(self) -> Result<Self> {
        match self.fault() {
            None => Ok(self),
            Some(what) => Err(Error::usage(format!("model {}: {what}", self.name))),
        }
    }

    fn fault(&self) -> Option<String> {
        let rows = match self.text.positions {
            Positions::Learned(rows) => rows,
            Positions::Rotary | Positions::Alibi => 1,
        };
        let mut faults = vec![
            bounded("hidden size", self.text.hidden),
            bounded("vocabulary", self.text.vocab),
            bounded("number of positions", rows),
            count("number of parameters that are not loaded", self.text.unused_parameters),
        ];
        faults.push(stack(&self.text.blocks));
        if let Some(vision) = &self.vision {
            faults.push(vision_fault(vision));
        }
        if let Some(fault) = faults.into_iter().flatten().next() {
            return Some(fault);
        }
        // Single dimensions are bounded now; what remains is that they may be many.
        let mut total = u128::from(self.text.vocab) * u128::from(self.text.hidden) * 2 + u128::from(rows) * u128::from(self.text.hidden);
        let mut towers = vec![(self.text.hidden, &self.text.blocks)];
        if let Some(vision) = &self.vision {
            total += u128::from(vision.tower.stem_parameters) + u128::from(vision.projector_norms);
            total += vision.projector.iter().map(elements).sum::<u128>();
            towers.push((vision.tower.hidden, &vision.tower.blocks));
        }
        for (hidden, blocks) in towers {
            for Blocks { count, block } in blocks {
                for linear in block.linears(hidden) {
                    for (end, value) in [("inputs", linear.inputs), ("outputs", linear.outputs)] {
                        if let Some(fault) = bounded(&format!("number of {end} of its {:?} product", linear.role), value) {
                            return Some(fault);
                        }
                    }
                    total = total.saturating_add(elements(&linear).saturating_mul(u128::from(*count)));
                }
                total = total.saturating_add(u128::from(*count) * u128::from(block.other_parameters(hidden)));
            }
        }
        (total > u128::from(MOST_PARAMETERS))
            .then(|| format!("expected at most {MOST_PARAMETERS} parameters but its dimensions make {total}"))
    }
}

fn elements(linear: &super::Linear) -> u128 {
    (u128::from(linear.inputs) + 1) * u128::from(linear.outputs) * u128::from(linear.copies)
}

fn bounded(name: &str, value: u64) -> Option<String> {
    (!(1..=LARGEST).contains(&value)).then(|| format!("expected a {name} of 1 to {LARGEST} but found {value}"))
}

fn count(name: &str, value: u64) -> Option<String> {
    (value > MOST_PARAMETERS).then(|| format!("expected a {name} of at most {MOST_PARAMETERS} but found {value}"))
}

fn stack(blocks: &[Blocks]) -> Option<String> {
    if blocks.is_empty() {
        return Some("expected at least one layer but found none".to_owned());
    }
    blocks.iter().find_map(|blocks| bounded("number of layers", blocks.count).or_else(|| block_fault(&blocks.block)))
}

fn vision_fault(vision: &Vision) -> Option<String> {
    let single = [
        bounded("hidden size of the vision tower", vision.tower.hidden),
        bounded("patch size", vision.tower.patch),
        count("number of parameters around the vision tower", vision.tower.stem_parameters),
        count("number of parameters of the projector's norms", vision.projector_norms),
        stack(&vision.tower.blocks),
    ];
    single.into_iter().flatten().next().or_else(|| input_fault(&vision.input)).or_else(|| {
        let ends = |linear: &super::Linear| [linear.inputs, linear.outputs, linear.copies, linear.active];
        vision.projector.iter().flat_map(ends).find_map(|value| bounded("dimension of the projector", value))
    })
}

fn input_fault(input: &super::ImageInput) -> Option<String> {
    use super::ImageInput::{Fixed, Native, Tiles};
    /// More tiles than any model takes; grids of tiles are listed.
    const MOST_TILES: u64 = 1 << 10;
    match *input {
        Fixed { patches, tokens } => bounded("number of patches", patches).or_else(|| bounded("number of image tokens", tokens)),
        Native { unit, merge, least, most } => bounded("size of an image token", unit)
            .or_else(|| bounded("number of merged patches", merge))
            .or_else(|| bounded("least image area", least))
            .or_else(|| {
                (most < least || most > 1 << 40).then(|| format!("expected a most image area of {least} to 2^40 but found {most}"))
            }),
        Tiles { side, patches, tokens, least, most, .. } => bounded("tile size", side)
            .or_else(|| bounded("number of patches", patches))
            .or_else(|| bounded("number of image tokens", tokens))
            .or_else(|| {
                (least > most || !(1..=MOST_TILES).contains(&most))
                    .then(|| format!("expected {} to {MOST_TILES} tiles at most but found {most}", least.max(1)))
            }),
    }
}

fn block_fault(block: &Block) -> Option<String> {
    if let super::Layout::Parallel { norms } = block.layout
        && !(1..=2).contains(&norms)
    {
        return Some(format!("expected 1 or 2 norms in a parallel layer but found {norms}"));
    }
    attention_fault(&block.attention).or_else(|| match &block.mlp {
        Mlp::Dense(dense) => dense_fault(dense),
        Mlp::Experts(experts) => bounded("number of experts", experts.count)
            .or_else(|| dense_fault(&experts.each))
            .or_else(|| experts.shared.as_ref().and_then(dense_fault))
            .or_else(|| {
                (experts.active == 0 || experts.active > experts.count)
                    .then(|| format!("expected 1 to {} experts per token but found {}", experts.count, experts.active))
            }),
    })
}

fn dense_fault(dense: &Dense) -> Option<String> {
    bounded("FFN width", dense.ffn)
}

fn attention_fault(attention: &Attention) -> Option<String> {
    match attention {
        Attention::Grouped(grouped) => bounded("number of heads", grouped.heads)
            .or_else(|| bounded("number of key-value heads", grouped.kv_heads))
            .or_else(|| bounded("head dimension", grouped.head_dim))
            .or_else(|| {
                (!grouped.heads.is_multiple_of(grouped.kv_heads))
                    .then(|| format!("expected key-value heads that divide the {} heads but found {}", grouped.heads, grouped.kv_heads))
            })
            .or_else(|| grouped.window.and_then(|window| bounded("attention window", window))),
        Attention::Latent(latent) => [
            bounded("number of heads", latent.heads),
            latent.q_rank.and_then(|rank| bounded("rank of the queries' latent", rank)),
            bounded("rank of the keys' and values' latent", latent.kv_rank),
            bounded("head dimension without position", latent.nope),
            bounded("head dimension with position", latent.rope),
            bounded("head dimension of values", latent.value),
        ]
        .into_iter()
        .flatten()
        .next(),
    }
}
