//! One layer's operations.

use super::elementwise::{self, Both, Kernels, Traffic, Widths};
use crate::units::{Bytes, Flops};
use crate::workload::{Attention, AttentionKernel, Block, Dense, Experts, Grouped, Latent, Layout, Linear, Mlp, Norm, QkNorm, Role};

/// Tokens that pass through the layers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens {
    /// Sequences.
    pub sequences: u64,
    /// Tokens of each that pass now.
    pub queries: u64,
    /// Tokens of each that attention sees, those that pass now included.
    pub context: u64,
    /// GPUs among which the residual stream is divided along the sequence: each does that part of norms and sums.
    pub divided: u64,
}

impl Tokens {
    /// Whole sequences at once.
    pub const fn whole(sequences: u64, length: u64) -> Self {
        Self { sequences, queries: length, context: length, divided: 1 }
    }

    /// One new token of each sequence, which sees `context`.
    pub const fn next(sequences: u64, context: u64) -> Self {
        Self { sequences, queries: 1, context, divided: 1 }
    }

    /// All that pass.
    pub const fn count(&self) -> u64 {
        self.sequences * self.queries
    }
}

/// A matrix product: `groups` times `m` rows of `k` inputs into `n` outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// What it is for.
    pub role: Role,
    /// Rows: tokens.
    pub m: u64,
    /// Columns: output features.
    pub n: u64,
    /// Length of the inner products: input features.
    pub k: u64,
    /// Products of this shape side by side: experts that get any token, or 1.
    pub groups: u64,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Product {
    /// `linear` over `tokens` tokens. Experts share them evenly; of many experts, so many get any token as chance has it:
    /// `E·(1 − (1 − active/E)^T)`.
    pub fn of(linear: &Linear, tokens: u64) -> Self {
        let Linear { role, inputs, outputs, bias, copies, active } = *linear;
        if copies == 1 {
            return Self { role, m: tokens, n: outputs, k: inputs, groups: 1, bias };
        }
        let (all, share) = (copies as f64, active as f64 / copies as f64);
        let met = (all * (1.0 - (1.0 - share).powf(tokens as f64))).round().clamp(1.0, all) as u64;
        Self { role, m: (tokens * active).div_ceil(met).max(1), n: outputs, k: inputs, groups: met, bias }
    }

    /// Whether `other` takes as long.
    pub fn same_shape(&self, other: &Self) -> bool {
        (self.m, self.n, self.k, self.groups) == (other.m, other.n, other.k, other.groups)
    }

    /// Multiply-adds count two.
    pub fn flops(&self) -> Flops {
        Flops(2.0 * self.m as f64 * self.n as f64 * self.k as f64 * self.groups as f64)
    }

    /// The gradient of its inputs: gradients of the outputs times the matrix.
    #[must_use]
    pub const fn input_gradient(&self) -> Self {
        Self { n: self.k, k: self.n, bias: false, ..*self }
    }

    /// The gradient of its matrix: outputs × inputs, summed over the rows.
    #[must_use]
    pub const fn weight_gradient(&self) -> Self {
        Self { m: self.n, n: self.k, k: self.m, bias: false, ..*self }
    }
}

/// Attention between the projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionWork {
    /// Sequences.
    pub sequences: u64,
    /// Tokens of each that ask.
    pub queries: u64,
    /// Tokens of each that are seen, those that ask included.
    pub context: u64,
    /// Query heads.
    pub heads: u64,
    /// Heads of keys and values.
    pub kv_heads: u64,
    /// Features of a head; where keys and values differ, their mean.
    pub head_dim: u64,
    /// Only the last so many positions are seen.
    pub window: Option<u64>,
    /// Whether a token sees only those before it.
    pub causal: bool,
}

impl AttentionWork {
    /// Pairs of tokens that meet, over all sequences, for one head.
    pub fn pairs(&self) -> f64 {
        let (queries, context) = (self.queries as f64, self.context as f64);
        if !self.causal {
            return self.sequences as f64 * queries * context;
        }
        // Each token that passes now sees all before the first of them, and of those on average half.
        let before = context - queries;
        let full = queries * (before + (queries + 1.0) / 2.0);
        let seen = match self.window {
            Some(window) if window < self.context => full.min(queries * window as f64),
            _ => full,
        };
        self.sequences as f64 * seen
    }

    /// Two products over every pair that meets.
    pub fn flops(&self) -> Flops {
        Flops(4.0 * self.pairs() * self.heads as f64 * self.head_dim as f64)
    }
}

/// What one layer executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its products, in order.
    pub products: Vec<Product>,
    /// Its attention.
    pub attention: AttentionWork,
    /// Everything else going forward.
    pub forward: Traffic,
    /// Everything else going back.
    pub backward: Traffic,
}

/// The operations of `block` on a residual stream of `hidden`. `kernel` says whether keys and values are repeated for all heads.
pub fn layer(
    block: &Block,
    hidden: u64,
    tokens: &Tokens,
    widths: Widths,
    kernels: Kernels,
    kernel: AttentionKernel,
    rotary: bool,
) -> Layer {
    let count = tokens.count();
    let mut products: Vec<Product> = block.linears(hidden).map(|linear| Product::of(&linear, count)).collect();
    if kernels == Kernels::Fused {
        merge(&mut products);
    }
    let stream = count.div_ceil(tokens.divided) * hidden;
    let mut between = Both::default();
    for _ in 0..block.layout.norms() {
        between += elementwise::norm(block.norm, stream, widths, kernels);
    }
    // Side by side, both branches are added to the residual; a kernel each all the same.
    let (sums, fused) = match block.layout {
        Layout::Parallel { .. } => (2, Kernels::Elementary),
        Layout::Pre | Layout::Post | Layout::Sandwich => (2, kernels),
    };
    for _ in 0..sums {
        between += elementwise::residual(stream, widths, fused);
    }
    if block.layer_scale {
        between += Both::elementary(2 * 3 * stream * widths.product, 2);
    }
    for product in block.linears(hidden).filter(|linear| linear.bias) {
        // The bias's gradient is a sum over the rows of the result's; adding it going forward is part of the product's kernel.
        between += Both::new((0, 0), (count * product.active * product.outputs * widths.product, 1));
    }
    let (attention, beside) = attention(&block.attention, tokens, widths, kernels, kernel, rotary);
    between += beside;
    between += match &block.mlp {
        Mlp::Dense(dense) => elementwise::activation(dense, count * dense.ffn, widths.product, kernels),
        Mlp::Experts(each) => experts(each, hidden, count, widths, kernels),
    };
    Layer { products, attention, forward: between.forward, backward: between.backward }
}

/// Products that read the same input become one: queries, keys and values; gate and way up.
fn merge(products: &mut Vec<Product>) {
    let joined = |role| match role {
        Role::Query | Role::Key | Role::Value => Some(Role::QueryKeyValue),
        Role::Gate | Role::Up => Some(Role::GateUp),
        _ => None,
    };
    products.dedup_by(|next, first| {
        let Some(role) = joined(next.role) else { return false };
        // The first may have been joined already, and carries the joint role then.
        let alike = joined(first.role) == Some(role) || first.role == role;
        let same = alike && (next.m, next.k, next.groups) == (first.m, first.k, first.groups);
        if same {
            (first.role, first.n) = (role, first.n + next.n);
        }
        same
    });
}

/// Attention, and what stands between it and its projections.
fn attention(
    attention: &Attention,
    tokens: &Tokens,
    widths: Widths,
    kernels: Kernels,
    kernel: AttentionKernel,
    rotary: bool,
) -> (AttentionWork, Both) {
    let (count, inner) = (tokens.count(), Widths { stream: widths.product, ..widths });
    let work = AttentionWork {
        sequences: tokens.sequences,
        queries: tokens.queries,
        context: tokens.context,
        heads: attention.heads(),
        kv_heads: attention.heads(),
        head_dim: 0,
        window: attention.window(),
        causal: true,
    };
    let mut beside = Both::default();
    match attention {
        Attention::Grouped(Grouped { heads, kv_heads, head_dim, fused, qk_norm, .. }) => {
            let (q, kv) = (heads * head_dim, kv_heads * head_dim);
            if *fused {
                // Queries, keys and values are views of one tensor; their gradients are joined to one.
                beside += Both::new((0, 0), (2 * count * (q + 2 * kv) * widths.product, 1));
            }
            if kernel != AttentionKernel::Eager {
                // Flash kernels go back in three: products of result and gradient by row, zeros for the FP32 gradients of queries, those made narrow.
                let rows = 2 * widths.product + 4 + (4 + widths.product);
                beside += Both::new((0, 0), (count * q * rows, 3));
            }
            if *qk_norm != QkNorm::None {
                for width in [q, kv] {
                    beside += elementwise::norm(Norm::Rms, count * width, inner, kernels);
                }
            }
            if rotary {
                beside += elementwise::rotation(count * (q + kv), widths.product, kernels);
            }
            if kernel != AttentionKernel::Flash && heads > kv_heads {
                // Keys and values are copied to every query head; going back, gradients of a group are summed.
                let bytes = 2 * tokens.sequences * tokens.context * (q + kv) * widths.product;
                beside += Both::new((bytes, 2), (bytes, 2));
            }
            (AttentionWork { kv_heads: *kv_heads, head_dim: *head_dim, ..work }, beside)
        }
        Attention::Latent(Latent { heads, q_rank, kv_rank, nope, rope, value }) => {
            for rank in [q_rank.unwrap_or(0), *kv_rank].into_iter().filter(|rank| *rank > 0) {
                beside += elementwise::norm(Norm::Rms, count * rank, inner, kernels);
            }
            beside += elementwise::rotation(count * (heads + 1) * rope, widths.product, kernels);
            // Queries and keys are joined from their two parts.
            let joined = 2 * 2 * count * heads * (nope + rope) * widths.product;
            beside += Both::new((joined, 2), (joined, 2));
            (AttentionWork { head_dim: (nope + rope + value).div_ceil(2), ..work }, beside)
        }
    }
}

/// What a mixture of experts moves beside its products: scores, tokens brought together by expert and back, the experts' function.
fn experts(experts: &Experts, hidden: u64, tokens: u64, widths: Widths, kernels: Kernels) -> Both {
    let Experts { count, active, each, shared, .. } = experts;
    let mut between = elementwise::activation(each, tokens * active * each.ffn, widths.product, kernels);
    if let Some(shared) = shared {
        between += elementwise::activation(shared, tokens * shared.ffn, widths.product, kernels);
    }
    // Tokens gathered, results weighted and added up.
    let moved = tokens * active * hidden * widths.product * 5;
    // A softmax over the scores and the choice of the largest, in FP32.
    let scores = tokens * count * 4 * 4;
    between += match kernels {
        Kernels::Fused => Both::new((moved + scores, 5), (2 * moved + scores, 8)),
        // A loop over the experts: index, gather, function, gate, weight, add for each.
        Kernels::Elementary => Both::elementary(moved + scores, 8 + 6 * count),
    };
    between
}

/// `block` with its products divided among `tensor` GPUs: heads and inner widths, rounded up; keys and values of fewer heads than GPUs are copied.
#[must_use]
pub fn divided(block: &Block, tensor: u64) -> Block {
    if tensor == 1 {
        return *block;
    }
    let attention = match block.attention {
        Attention::Grouped(grouped) => {
            Attention::Grouped(Grouped { heads: grouped.heads.div_ceil(tensor), kv_heads: grouped.kv_heads.div_ceil(tensor), ..grouped })
        }
        Attention::Latent(latent) => Attention::Latent(Latent { heads: latent.heads.div_ceil(tensor), ..latent }),
    };
    let dense = |dense: Dense| Dense { ffn: dense.ffn.div_ceil(tensor), ..dense };
    let mlp = match block.mlp {
        Mlp::Dense(inner) => Mlp::Dense(dense(inner)),
        Mlp::Experts(experts) => Mlp::Experts(Experts { each: dense(experts.each), shared: experts.shared.map(dense), ..experts }),
    };
    Block { attention, mlp, ..*block }
}

impl Layer {
    /// Operations of its products and its attention going forward.
    pub fn flops(&self) -> Flops {
        Flops(self.products.iter().map(|product| product.flops().0).sum::<f64>() + self.attention.flops().0)
    }

    /// Bytes that its elementwise work moves going forward.
    pub const fn bytes(&self) -> Bytes {
        self.forward.bytes
    }
}
