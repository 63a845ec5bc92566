//! What one GPU of many computes: its layers, at its widths.
//!
//! Three ways of sharing take a model apart. **Tensor parallelism** (Shoeybi et al., arXiv 1909.08053) splits every product among `t` GPUs: heads,
//! the MLP's inner width and the vocabulary are divided, the residual stream is not. A product whose *outputs* are split (queries, keys,
//! values, gate, up, head) has its bias split with them; one whose *inputs* are split (attention's output, down) has its bias whole on
//! every GPU, and so have norms, routers and position tables. Keys and values of fewer heads than GPUs are repeated: every GPU needs one. **Expert
//! parallelism** spreads the experts of each layer over `e` data-parallel workers; the rest of the layer is on each of them. **Pipeline
//! parallelism** gives each of `p` stages a run of layers, see [`pipeline`](super::pipeline).
//!
//! After tensor parallelism a layer is a layer still, with fewer heads and a narrower MLP. So a [`Piece`] carries a [`Model`] of smaller widths,
//! and whatever counts parameters or activations of a model counts those of a piece.

use crate::error::{Error, Result};
use crate::workload::{Attention, Block, Blocks, Dense, Experts, Grouped, Latent, Linear, Mlp, Model, Parallel};

/// What one GPU computes of a model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Piece {
    /// Its layers at its widths. The vocabulary is this GPU's part of it; experts are all that the router knows.
    pub(crate) model: Model,
    /// Whether it holds the embedding table. The vision tower stands before that, and the model of any other piece has none.
    pub(crate) first: bool,
    /// Whether it holds the final norm and the output head.
    pub(crate) last: bool,
    /// GPUs among which the experts of a layer are spread.
    pub(crate) expert: u64,
    /// GPUs among which the residual stream is divided along the sequence.
    pub(crate) sequence: u64,
    /// Micro-batches whose activations are alive at once, in pieces of a stage: `alive` of `pieces` make one micro-batch's.
    pub(crate) alive: u64,
    /// Pieces that the layers of this GPU are cut into.
    pub(crate) pieces: u64,
}

impl Piece {
    /// The whole model on one GPU.
    pub(crate) fn whole(model: &Model) -> Self {
        Self { model: model.clone(), first: true, last: true, expert: 1, sequence: 1, alive: 1, pieces: 1 }
    }

    /// The whole model, each product split among the tensor-parallel GPUs.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the dimension that the degree does not divide.
    pub(crate) fn split(model: &Model, parallel: &Parallel) -> Result<Self> {
        let tensor = parallel.tensor;
        let mut piece = Self::whole(model);
        if tensor > 1 {
            // Rows are added until every GPU has as many: Megatron, vLLM.
            piece.model.text.vocab = model.text.vocab.div_ceil(tensor);
            for Blocks { block, .. } in &mut piece.model.text.blocks {
                *block = narrow(block, tensor).map_err(|why| Error::usage(format!("model {}: {why}", model.name)))?;
            }
            piece.sequence = if parallel.sequence { tensor } else { 1 };
        }
        if parallel.expert > 1 {
            spread(model, parallel)?;
            piece.expert = parallel.expert;
        }
        Ok(piece)
    }

    /// How many of a product's copies this GPU holds: all of one, its share of the experts.
    pub(crate) const fn copies(&self, linear: &Linear) -> u64 {
        if linear.copies > 1 { linear.copies / self.expert } else { 1 }
    }

    /// Whether this product is an expert's, spread among the expert-parallel GPUs.
    pub(crate) const fn spread(&self, linear: &Linear) -> bool {
        self.expert > 1 && linear.copies > 1
    }

    /// Elements of the output head on a GPU that has it. A tied head is the embedding table where both are on one GPU, and a copy of it where
    /// they are not.
    pub(crate) const fn head(&self) -> u64 {
        let text = &self.model.text;
        text.head_parameters() + if text.tied && !self.first { text.vocab * text.hidden } else { 0 }
    }

    /// Elements of embedding, positions, final norm and head on this GPU: what FSDP gathers as the model's own unit.
    pub(crate) fn outside(&self) -> u64 {
        let text = &self.model.text;
        let mut elements = 0;
        if self.first {
            elements += text.embedding_parameters();
        }
        if self.last {
            elements += text.final_norm.parameters(text.hidden) + self.head();
        }
        elements
    }

    /// Elements that this GPU holds of one layer.
    pub(crate) fn layer(&self, block: &Block) -> u64 {
        let hidden = self.model.text.hidden;
        let products: u64 = block.linears(hidden).map(|linear| linear.parameters() / linear.copies * self.copies(&linear)).sum();
        products + block.other_parameters(hidden)
    }

    /// Elements of the experts that this GPU holds, as far as they are spread.
    pub(crate) fn experts(&self) -> u64 {
        if self.expert == 1 {
            return 0;
        }
        let hidden = self.model.text.hidden;
        let of = |block: &Block| -> u64 {
            let spread = block.linears(hidden).filter(|linear| self.spread(linear));
            spread.map(|linear| linear.parameters() / self.expert).sum()
        };
        self.model.text.blocks.iter().map(|Blocks { count, block }| count * of(block)).sum()
    }

    /// Elements of the largest layer on this GPU.
    pub(crate) fn largest_layer(&self) -> u64 {
        self.model.text.blocks.iter().map(|blocks| self.layer(&blocks.block)).max().unwrap_or(0)
    }

    /// All parameters on this GPU, the vision tower's among them on the first stage.
    pub(crate) fn parameters(&self) -> u64 {
        let layers: u64 = self.model.text.blocks.iter().map(|Blocks { count, block }| count * self.layer(block)).sum();
        let vision = self.model.vision.as_ref().map_or(0, |vision| vision.parameters());
        layers + self.outside() + vision
    }
}

/// `block` with its products split among `tensor` GPUs.
fn narrow(block: &Block, tensor: u64) -> Result<Block, String> {
    let attention = match block.attention {
        Attention::Grouped(grouped) => Attention::Grouped(Grouped {
            heads: part("heads", grouped.heads, tensor)?,
            kv_heads: key_value_heads(grouped.kv_heads, tensor)?,
            ..grouped
        }),
        Attention::Latent(latent) => Attention::Latent(Latent { heads: part("heads", latent.heads, tensor)?, ..latent }),
    };
    let dense = |dense: Dense| -> Result<Dense, String> { Ok(Dense { ffn: part("features inside its MLP", dense.ffn, tensor)?, ..dense }) };
    let mlp = match block.mlp {
        Mlp::Dense(inner) => Mlp::Dense(dense(inner)?),
        Mlp::Experts(experts) => {
            Mlp::Experts(Experts { each: dense(experts.each)?, shared: experts.shared.map(dense).transpose()?, ..experts })
        }
    };
    Ok(Block { attention, mlp, ..*block })
}

fn part(what: &str, whole: u64, tensor: u64) -> Result<u64, String> {
    if whole.is_multiple_of(tensor) {
        Ok(whole / tensor)
    } else {
        Err(format!("{whole} {what} cannot be divided among {tensor} tensor-parallel GPUs; choose a degree that divides them"))
    }
}

fn key_value_heads(whole: u64, tensor: u64) -> Result<u64, String> {
    if whole < tensor && tensor.is_multiple_of(whole) { Ok(1) } else { part("key-value heads", whole, tensor) }
}

/// Whether the experts can be spread.
fn spread(model: &Model, parallel: &Parallel) -> Result<()> {
    let expert = parallel.expert;
    let wrong = |why: String| Err(Error::usage(format!("model {}: {why}", model.name)));
    let mut counts = model.text.blocks.iter().filter_map(|blocks| match blocks.block.mlp {
        Mlp::Experts(experts) => Some(experts.count),
        Mlp::Dense(_) => None,
    });
    if let Some(count) = counts.clone().find(|count| !count.is_multiple_of(expert)) {
        return wrong(format!("{count} experts cannot be spread over {expert} GPUs; choose a degree that divides them"));
    }
    if counts.next().is_none() {
        return wrong(format!("it has no experts to spread over {expert} GPUs; leave out the expert-parallel degree"));
    }
    let workers = parallel.workers();
    if !workers.is_multiple_of(expert) {
        return wrong(format!("experts are spread over data-parallel workers, and {workers} of those cannot be divided by {expert}"));
    }
    Ok(())
}
