//! The feed-forward part: how a layer mixes within a token, dense or by experts.

use super::linear::{Linear, Role};

/// The feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mlp {
    /// Every token passes through the same.
    Dense(Dense),
    /// Every token passes through some of many.
    Experts(Experts),
}

/// A feed-forward network of one hidden layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dense {
    /// Width inside.
    pub ffn: u64,
    /// Whether the way up is multiplied by a gate (three products instead of two).
    pub gated: bool,
    /// Whether gate and way up are one product.
    pub fused: bool,
    /// Whether the products have biases.
    pub bias: bool,
    /// The function between them.
    pub activation: Activation,
}

/// The function inside an MLP: what autograd keeps depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x·σ(x)`, one kernel.
    Silu,
    /// Exact or tanh GELU as one kernel.
    Gelu,
    /// The tanh GELU written out in elementary operations (GPT-2's `gelu_new`).
    GeluElementary,
    /// `max(x, 0)`, or another function that is one kernel.
    Relu,
    /// `x·σ(1.702·x)` in elementary operations (CLIP's `quick_gelu`).
    QuickGelu,
}

/// A mixture of experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Experts {
    /// Experts of a layer.
    pub count: u64,
    /// Experts that one token passes through.
    pub active: u64,
    /// One of them.
    pub each: Dense,
    /// An expert that every token passes through.
    pub shared: Option<Dense>,
    /// Whether the shared expert's output is gated by a product of its own with one output (Qwen 2 MoE).
    pub shared_gate: bool,
    /// Whether the router has one correction per expert (DeepSeek V3).
    pub router_bias: bool,
}

impl Dense {
    /// Its matrix products, on a residual of `hidden`.
    pub fn linears(&self, hidden: u64) -> Vec<Linear> {
        let mut linears = Vec::with_capacity(3);
        if self.gated && self.fused {
            linears.push(Linear::new(Role::GateUp, hidden, 2 * self.ffn, self.bias));
        } else {
            if self.gated {
                linears.push(Linear::new(Role::Gate, hidden, self.ffn, self.bias));
            }
            linears.push(Linear::new(Role::Up, hidden, self.ffn, self.bias));
        }
        linears.push(Linear::new(Role::Down, self.ffn, hidden, self.bias));
        linears
    }
}

impl Mlp {
    /// Its matrix products, router included, on a residual of `hidden`.
    pub fn linears(&self, hidden: u64) -> Vec<Linear> {
        match self {
            Self::Dense(dense) => dense.linears(hidden),
            Self::Experts(experts) => {
                let mut linears = vec![Linear::new(Role::Router, hidden, experts.count, false)];
                linears.extend(experts.each.linears(hidden).into_iter().map(|linear| linear.experts(experts.count, experts.active)));
                if let Some(shared) = &experts.shared {
                    linears.extend(shared.linears(hidden));
                }
                if experts.shared_gate {
                    linears.push(Linear::new(Role::SharedGate, hidden, 1, false));
                }
                linears
            }
        }
    }

    /// Parameters that are in no product.
    pub const fn other_parameters(&self) -> u64 {
        match self {
            Self::Experts(experts) if experts.router_bias => experts.count,
            _ => 0,
        }
    }
}
