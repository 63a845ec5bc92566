//! What a layer's forward pass leaves for its backward pass.
//!
//! Autograd keeps, per operation, what its derivative needs and nothing else. An elementwise product keeps both factors where both need
//! gradients; a matrix product keeps its input for the weight's gradient and its weight for the input's; adding keeps nothing. A tensor that
//! two operations keep is kept once. So a layer's activations are counted by walking through its operations, in the order and precision in which
//! Hugging Face's models execute them, and asking of each what it keeps. Where weights are frozen, inputs of their products are not kept.

use super::lora;
use super::precision::Precision;
use crate::workload::{
    Activation, Adapters, Attention, AttentionKernel, Block, Checkpointing, Decoder, Dense, Experts, Framework, Grouped, Latent, Layout,
    Linear, Mlp, Norm, Positions, QkNorm, Role, Training,
};

/// FP32 numbers.
const FP32: u64 = 4;

/// A layer's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Layer {
    /// Its input.
    pub(crate) input: u64,
    /// What its forward pass leaves, all of it.
    pub(crate) kept: u64,
    /// The part of `kept` that attention's inside makes up: what selective recomputation saves.
    pub(crate) inside: u64,
    /// Temporaries of its backward pass at their worst, beside all of `kept`; gradients of its parameters aside.
    pub(crate) working: u64,
}

/// What a part of a layer keeps, and what its backward pass needs beside that, per token.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    kept: u64,
    working: u64,
}

/// Counts a layer's kept bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counter<'a> {
    precision: Precision,
    /// Tokens, in sequences of `seq`.
    tokens: u64,
    seq: u64,
    rotary: bool,
    kernel: AttentionKernel,
    adapters: Option<&'a Adapters>,
    dropout: bool,
    /// Whether norms, activations and softmaxes are one kernel each, in the width of the stream.
    fused: bool,
}

impl<'a> Counter<'a> {
    /// For the layers of `text`.
    pub(crate) fn new(text: &Decoder, training: &'a Training, precision: Precision) -> Self {
        Self {
            precision,
            tokens: training.tokens(),
            seq: training.seq,
            rotary: text.positions == Positions::Rotary,
            kernel: training.attention,
            adapters: training.method.adapters(),
            dropout: training.dropout,
            fused: training.framework == Framework::Megatron,
        }
    }

    /// For layers over `sequences` sequences of `seq` patches.
    pub(crate) fn over(text: &Decoder, training: &'a Training, precision: Precision, sequences: u64, seq: u64) -> Self {
        Self { tokens: sequences * seq, seq, adapters: None, ..Self::new(text, training, precision) }
    }

    /// One layer on a residual of `hidden`.
    pub(crate) fn layer(&self, block: &Block, hidden: u64) -> Layer {
        let Precision { stream, product, .. } = self.precision;
        let mut norms = block.layout.norms() * self.norm(block.norm, hidden, stream);
        if self.dropout {
            // One mask after attention and one after the MLP, a byte per element.
            norms += 2 * hidden;
        }
        if block.layer_scale {
            norms += 2 * hidden * product;
        }
        let attention = match &block.attention {
            Attention::Grouped(grouped) => self.grouped(grouped),
            Attention::Latent(latent) => self.latent(latent),
        };
        let shares_input = matches!(block.layout, Layout::Parallel { norms: 1 }) && !self.casts();
        let mlp = match &block.mlp {
            Mlp::Dense(dense) => self.dense(dense, hidden, shares_input),
            Mlp::Experts(experts) => self.experts(experts, hidden),
        };
        let (scores, scores_working) = self.scores(block.attention.heads());
        let attention_kept = norms + self.projections(block, hidden) + attention.kept;
        // By the time attention's backward pass runs, the MLP has given back what it kept.
        let late = (self.tokens * attention.working + scores_working).saturating_sub(self.tokens * mlp.kept);
        Layer {
            input: self.tokens * hidden * stream,
            kept: self.tokens * (attention_kept + mlp.kept) + scores,
            inside: scores,
            working: self.tokens * hidden * stream + late.max(self.tokens * mlp.working),
        }
    }

    /// The final norm and the input of the output head, per token.
    pub(crate) fn end(&self, norm: Norm, hidden: u64) -> u64 {
        self.norm(norm, hidden, self.precision.stream) + if self.precision.full { hidden * self.precision.product } else { 0 }
    }

    /// What all layers share: the tables of rotations, and a mask where one is given.
    pub(crate) fn shared(&self, text: &Decoder, checkpointing: bool) -> u64 {
        let rotated = match text.blocks.first().map(|run| run.block.attention) {
            Some(Attention::Grouped(grouped)) => grouped.head_dim,
            Some(Attention::Latent(latent)) => latent.rope,
            None => 0,
        };
        let tables = if self.rotary { 2 * self.seq * rotated * self.precision.stream } else { 0 };
        // Layers that are run again need the mask again, one byte per pair, and the positions.
        let mask = if checkpointing && self.kernel == AttentionKernel::Masked { self.tokens * self.seq } else { 0 };
        tables + mask
    }

    /// Whether products make narrower copies of what they read.
    const fn casts(&self) -> bool {
        self.precision.stream > self.precision.product
    }

    /// A norm over `width` features of numbers `from` bytes wide, per token; its result is counted with the products that read it.
    pub(crate) const fn norm(&self, norm: Norm, width: u64, from: u64) -> u64 {
        let full = self.precision.full;
        match norm {
            Norm::Rms | Norm::RmsOffset if self.fused => width * from + FP32,
            // The input in FP32, and, for the weight's gradient, the normalised input.
            Norm::Rms => width * (FP32 + if full { from } else { 0 }) + FP32,
            // All in FP32 until the end; the weight plus one is a tensor that needs a gradient.
            Norm::RmsOffset => width * (FP32 + if full { FP32 } else { 0 }) + FP32,
            // One kernel: its input, mean and deviation.
            Norm::Layer | Norm::LayerNoBias => width * from + 2 * FP32,
        }
    }

    /// Inputs that products keep, per token: each distinct input once, or once per product where each casts it for itself. All of them read the
    /// same, except the ways up from latents, which read theirs.
    fn inputs(&self, linears: impl IntoIterator<Item = Linear>) -> u64 {
        let Precision { product, full, .. } = self.precision;
        let mut bytes = 0;
        // Whether a product has kept the input they share, and whether an adapter has.
        let (mut kept, mut adapted) = (false, false);
        for linear in linears {
            let shares = !matches!(linear.role, Role::QueryUp | Role::KvUp);
            if full && (self.casts() || !(shares && kept)) {
                bytes += linear.inputs * product;
                kept |= shares;
            }
            let Some(adapters) = self.adapters.filter(|adapters| lora::adapts(&adapters.targets, linear.role)) else { continue };
            if adapters.fp32 {
                bytes += linear.inputs * FP32;
            } else if !(shares && adapted) {
                bytes += linear.inputs * product;
                adapted |= shares;
            }
            bytes += adapters.rank * if adapters.fp32 { FP32 } else { product };
            if adapters.dropout {
                bytes += linear.inputs * (1 + if adapters.fp32 { 0 } else { product });
            }
        }
        bytes
    }

    /// Inputs of attention's products, per token.
    fn projections(&self, block: &Block, hidden: u64) -> u64 {
        let first = self.inputs(block.attention.projections(hidden));
        // Attention's result is kept by the kernel; a product that keeps it too keeps the same tensor, an FP32 adapter a copy.
        let result = if self.precision.full { 0 } else { self.inputs([block.attention.output(hidden)]) };
        first + result
    }

    /// Attention with grouped keys and values, its inputs and scores aside.
    fn grouped(&self, grouped: &Grouped) -> Share {
        let product = self.precision.product;
        let (q, kv) = (grouped.heads * grouped.head_dim, grouped.kv_heads * grouped.head_dim);
        let norms = match grouped.qk_norm {
            QkNorm::None => 0,
            QkNorm::Head => self.norm(Norm::Rms, q + kv, product) + FP32 * (grouped.heads + grouped.kv_heads - 1),
            QkNorm::Full => self.norm(Norm::Rms, q + kv, product) + FP32,
        };
        let repeated = match self.kernel {
            AttentionKernel::Flash => kv,
            AttentionKernel::Masked | AttentionKernel::Eager => q,
        };
        let read = match (grouped.fused && self.kernel == AttentionKernel::Flash, self.rotary) {
            // Values are a view of the fused product's whole result; rotated queries and keys are tensors of their own.
            (true, true) => q + kv + (q + 2 * kv),
            (true, false) => q + 2 * kv,
            (false, _) => q + 2 * repeated,
        };
        // Gradients of the result and of all that the kernel read.
        Share { kept: norms + product * (read + q), working: product * (2 * q + 2 * repeated) }
    }

    fn latent(&self, latent: &Latent) -> Share {
        let product = self.precision.product;
        let (key, value) = (latent.heads * (latent.nope + latent.rope), latent.heads * latent.value);
        let norms =
            [latent.q_rank, Some(latent.kv_rank)].into_iter().flatten().map(|rank| self.norm(Norm::Rms, rank, product)).sum::<u64>();
        // Values are a view of what the latent's way up makes, keys without position and all.
        let read = 2 * key + latent.heads * (latent.nope + latent.value);
        Share { kept: norms + product * (read + value), working: product * (2 * key + 2 * value) }
    }

    /// What grows with heads and, for some kernels, with the square of the sequence: kept, and temporaries of the backward pass.
    fn scores(&self, heads: u64) -> (u64, u64) {
        let product = self.precision.product;
        // Only what writes scores out is bounded by their number.
        let pairs = self.tokens.saturating_mul(self.seq).saturating_mul(heads);
        match self.kernel {
            // One FP32 number per row.
            AttentionKernel::Flash => (self.tokens * heads * FP32, 0),
            // And the mask as numbers to add, one for all heads.
            AttentionKernel::Masked => (self.tokens * (heads * FP32 + self.seq * product), 0),
            AttentionKernel::Eager => {
                // The softmax in FP32 and its copy in the width of products; one tensor where both are the same, or the kernel is one.
                let softmax = if product == FP32 || self.fused { product } else { FP32 + product };
                // A mask of a byte, and the softmax after dropout, which takes the copy's place.
                let dropped = match (self.dropout, self.fused || product == FP32) {
                    (false, _) => 0,
                    (true, false) => 1,
                    (true, true) => 1 + product,
                };
                // Back through the softmax: the gradients of its result and of its input, its copy having been given back.
                let working = if self.fused { 2 * product } else { 2 * FP32 - (softmax - FP32.max(product)) };
                (pairs * (softmax + dropped), pairs * working)
            }
        }
    }

    /// A dense MLP. Its first products may read what attention's have kept already.
    fn dense(&self, dense: &Dense, hidden: u64, shares_input: bool) -> Share {
        let down = dense.down(hidden);
        let product = self.precision.product;
        // Tensors as wide as the MLP's inside that its function and the gate's product keep.
        let between = match (dense.gated, dense.activation) {
            // Gate and way up: the function is computed again.
            (true, _) if self.fused => 2,
            // Gate, way up, and the function of the gate.
            (true, Activation::GeluElementary) => 6,
            (true, Activation::QuickGelu) => 4,
            (true, Activation::Silu | Activation::Gelu | Activation::Relu) => 3,
            (false, Activation::Silu | Activation::Gelu | Activation::Relu) => 1,
            (false, Activation::GeluElementary) if self.fused => 1,
            (false, Activation::GeluElementary) => 4,
            (false, Activation::QuickGelu) => 2,
        };
        let inputs = if shares_input && self.adapters.is_none() { 0 } else { self.inputs(dense.ways_up(hidden)) };
        let kept = inputs + dense.ffn * between * product + self.inputs([down]);
        // Back through the gate's product: the gradients of its result and of both factors, the result itself having been given back.
        let gradients = if dense.gated { 3 } else { 2 } * product;
        let working = match self.adapters {
            None => (gradients - product) * dense.ffn,
            Some(adapters) => {
                let wide = if adapters.fp32 { FP32 } else { product };
                let adapted = |linear: &Linear| lora::adapts(&adapters.targets, linear.role);
                let input = if adapted(&down) { wide } else { 0 };
                // An adapter's result and the same scaled, as the layer is run again; the input of the next one is not there yet.
                let again = if dense.ways_up(hidden).any(|linear| adapted(&linear)) { 2 * wide } else { 0 };
                let scaled = if adapted(&down) { wide * hidden } else { 0 };
                dense.ffn * again.max(gradients).max(2 * input).saturating_sub(input) + scaled
            }
        };
        Share { kept, working }
    }

    /// A mixture of experts.
    fn experts(&self, experts: &Experts, hidden: u64) -> Share {
        let Precision { product, full, .. } = self.precision;
        // The router's input, and the softmax of its scores in FP32.
        let router = if full { hidden * product } else { 0 } + FP32 * experts.count;
        let shared = experts.shared.map_or_else(Share::default, |shared| self.dense(&shared, hidden, true));
        let each = self.dense(&experts.each, hidden, false);
        // Each expert's result, kept for the gradient of its weight in the sum.
        let results = product * hidden * experts.active;
        Share {
            kept: router + results + shared.kept + experts.active * each.kept,
            working: shared.working.max(experts.active * (each.working + hidden * product)),
        }
    }
}

/// What of a layer stays until its backward pass.
pub(crate) const fn stays(layer: &Layer, checkpointing: Checkpointing) -> u64 {
    match checkpointing {
        Checkpointing::None => layer.kept,
        Checkpointing::Selective => layer.kept - layer.inside,
        Checkpointing::Full => layer.input,
    }
}
