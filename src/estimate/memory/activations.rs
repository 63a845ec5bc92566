//! What a layer's forward pass leaves for its backward pass.
//!
//! Autograd keeps, per operation, what its derivative needs and nothing else. An elementwise product keeps both factors where both need
//! gradients; a matrix product keeps its input for the weight's gradient and its weight for the input's; adding keeps nothing. A tensor that
//! two operations keep is kept once. So a layer's activations are counted by walking through its operations, in the order and precision in which
//! Hugging Face's models execute them, and asking of each what it keeps. Where weights are frozen, inputs of their products are not kept.

use super::lora;
use super::precision::Precision;
use crate::workload::{
    Activation, Adapters, Attention, AttentionKernel, Block, Checkpointing, Dense, Experts, Framework, Grouped, Latent, Layout, Linear,
    Mlp, Norm, QkNorm, Role, Training,
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
    /// Temporaries of its backward pass at their worst, gradients of its parameters aside.
    pub(crate) working: u64,
}

/// Counts a layer's kept bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counter<'a> {
    precision: Precision,
    tokens: u64,
    seq: u64,
    kernel: AttentionKernel,
    dropout: bool,
    /// Whether a norm, and a gate with its function, is one kernel, and softmax stays in the width of products.
    fused: bool,
    adapters: Option<&'a Adapters>,
}

impl<'a> Counter<'a> {
    /// For the decoder's layers.
    pub(crate) const fn new(training: &'a Training, precision: Precision) -> Self {
        Self {
            precision,
            tokens: training.tokens(),
            seq: training.seq,
            kernel: training.attention,
            dropout: training.dropout,
            fused: matches!(training.framework, Framework::Megatron),
            adapters: training.method.adapters(),
        }
    }

    /// One layer on a residual of `hidden`.
    pub(crate) fn layer(&self, block: &Block, hidden: u64) -> Layer {
        let stream = self.precision.stream;
        let norms = block.layout.norms() * self.norm(block.norm, hidden, stream);
        let inside = match &block.attention {
            Attention::Grouped(grouped) => self.grouped(grouped, hidden),
            Attention::Latent(latent) => self.latent(latent, hidden),
        };
        let mut per_token = norms + self.projections(block, hidden);
        if self.dropout {
            // One byte per number of what attention and the MLP add to the residual.
            per_token += 2 * hidden;
        }
        per_token += match &block.mlp {
            Mlp::Dense(dense) => self.dense(dense, hidden, Role::Down),
            Mlp::Experts(experts) => self.experts(experts, hidden),
        };
        let scores = self.scores(block.attention.heads());
        let widest = block.linears(hidden).iter().map(|linear| linear.outputs * linear.active).max().unwrap_or(0);
        Layer {
            input: self.tokens * hidden * stream,
            kept: self.tokens * (per_token + inside) + scores,
            inside: scores,
            working: self.tokens * (2 * hidden * stream + 2 * widest * self.precision.product) + scores,
        }
    }

    /// A norm over `width` features of numbers `from` bytes wide, per token; its result is counted with the products that read it.
    pub(crate) const fn norm(&self, norm: Norm, width: u64, from: u64) -> u64 {
        match norm {
            Norm::Rms | Norm::RmsOffset if self.fused => width * from + FP32,
            // The input in FP32, and, for the weight's gradient, the normalised input.
            Norm::Rms => width * (FP32 + if self.precision.full { from } else { 0 }) + FP32,
            // All in FP32 until the end; the weight plus one is a tensor that needs a gradient.
            Norm::RmsOffset => width * (FP32 + if self.precision.full { FP32 } else { 0 }) + FP32,
            // One kernel: its input, mean and deviation.
            Norm::Layer | Norm::LayerNoBias => width * from + 2 * FP32,
        }
    }

    /// Inputs that products keep, per token: each distinct input once, or once per product where each casts it for itself.
    fn inputs(&self, linears: &[Linear]) -> u64 {
        let Precision { product, full, stream, .. } = self.precision;
        let mut bytes = 0;
        if full {
            let copies = if stream > product { linears.len() as u64 } else { 1 };
            bytes += copies * product * linears.first().map_or(0, |linear| linear.inputs);
        }
        if let Some(adapters) = self.adapters {
            let adapted = linears.iter().filter(|linear| lora::adapts(&adapters.targets, linear.role));
            let mut shared = 0;
            for linear in adapted {
                if adapters.fp32 {
                    bytes += linear.inputs * FP32;
                } else {
                    shared = linear.inputs * product;
                }
                let width = if adapters.fp32 { FP32 } else { product };
                bytes += adapters.rank * width;
                if adapters.dropout {
                    bytes += linear.inputs * (1 + if adapters.fp32 { 0 } else { product });
                }
            }
            bytes += shared;
        }
        bytes
    }

    /// Inputs of attention's products.
    fn projections(&self, block: &Block, hidden: u64) -> u64 {
        let linears = block.attention.linears(hidden);
        let Some((output, inputs)) = linears.split_last() else { return 0 };
        let shared = match block.layout {
            // The MLP reads the same normalised input.
            Layout::Parallel { norms: 1 } if self.precision.full && self.precision.stream == self.precision.product => 0,
            _ => self.inputs(&inputs[..inputs.len().min(3)]),
        };
        // Attention's result is kept by the kernel; a product that keeps it too keeps the same tensor.
        let result = if self.precision.full { 0 } else { self.inputs(std::slice::from_ref(output)) };
        shared + result
    }

    /// Attention with grouped keys and values, per token, its inputs aside.
    fn grouped(&self, grouped: &Grouped, _hidden: u64) -> u64 {
        let product = self.precision.product;
        let (q, kv) = (grouped.heads * grouped.head_dim, grouped.kv_heads * grouped.head_dim);
        let norms = match grouped.qk_norm {
            QkNorm::None => 0,
            QkNorm::Head => self.norm(Norm::Rms, q + kv, product) + FP32 * (grouped.heads + grouped.kv_heads - 1),
            QkNorm::Full => self.norm(Norm::Rms, q + kv, product) + FP32,
        };
        norms + product * (2 * q + 2 * self.repeated(q, kv))
    }

    /// Width of keys as the kernel reads them.
    const fn repeated(&self, q: u64, kv: u64) -> u64 {
        match self.kernel {
            AttentionKernel::Flash => kv,
            AttentionKernel::Masked | AttentionKernel::Eager => q,
        }
    }

    fn latent(&self, latent: &Latent, hidden: u64) -> u64 {
        let product = self.precision.product;
        let (q, value) = (latent.heads * (latent.nope + latent.rope), latent.heads * latent.value);
        let ranks = latent.kv_rank + latent.q_rank.unwrap_or(0);
        let _ = hidden;
        let normed = if self.precision.full { ranks * product } else { 0 };
        self.norm(Norm::Rms, ranks, product) + normed + product * (2 * q + 2 * value)
    }

    /// What grows with heads and, for some kernels, with the square of the sequence.
    const fn scores(&self, heads: u64) -> u64 {
        let product = self.precision.product;
        match self.kernel {
            // One FP32 number per row.
            AttentionKernel::Flash => self.tokens * heads * FP32,
            // And the mask as numbers to add, one for all heads.
            AttentionKernel::Masked => self.tokens * (heads * FP32 + self.seq * product),
            // The softmax in FP32, and its copy in the width of products. Dropout keeps a mask of bytes, and its result instead of the copy.
            AttentionKernel::Eager => {
                let softmax = if self.fused { product } else { FP32 };
                let dropped = if self.dropout { product + 1 } else { 0 };
                let copy = if softmax == product || self.dropout { 0 } else { product };
                self.tokens * self.seq * heads * (softmax + copy + dropped)
            }
        }
    }

    /// A dense MLP, per token.
    fn dense(&self, dense: &Dense, hidden: u64, down: Role) -> u64 {
        let linears = dense.linears(hidden);
        let Some((last, first)) = linears.split_last() else { return 0 };
        let product = self.precision.product;
        let between = match (dense.gated, dense.activation) {
            // Gate and way up.
            (true, _) if self.fused => 2,
            // Gate, way up, and the function of the gate.
            (true, Activation::GeluElementary) => 6,
            (true, Activation::QuickGelu) => 4,
            (true, Activation::Silu | Activation::Gelu | Activation::Relu) => 3,
            (false, Activation::Silu | Activation::Gelu | Activation::Relu) => 1,
            (false, Activation::GeluElementary) => 4,
            (false, Activation::QuickGelu) => 2,
        };
        debug_assert!(last.role == down);
        self.inputs(first) + dense.ffn * between * product + self.inputs(std::slice::from_ref(last))
    }

    /// A mixture of experts, per token.
    fn experts(&self, experts: &Experts, hidden: u64) -> u64 {
        let router = self.precision.product * if self.precision.full { hidden } else { 0 } + 2 * FP32 * experts.count;
        let shared = experts.shared.map_or(0, |shared| self.dense(&shared, hidden, Role::Down));
        let outputs = self.precision.product * hidden * experts.active;
        router + shared + outputs + experts.active * self.dense(&experts.each, hidden, Role::Down)
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
