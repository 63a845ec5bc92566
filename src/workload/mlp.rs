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
    /// Its matrix products, on a residual of `hidden`: the way down is the last.
    pub fn linears(&self, hidden: u64) -> impl Iterator<Item = Linear> + use<> {
        self.ways_up(hidden).chain([self.down(hidden)])
    }

    /// The products that read the residual: the gate, where there is one, and the way up.
    pub fn ways_up(&self, hidden: u64) -> impl Iterator<Item = Linear> + use<> {
        let one = |role, outputs| Linear::new(role, hidden, outputs, self.bias);
        let (gate, up) = match (self.gated, self.fused) {
            (true, true) => (None, one(Role::GateUp, 2 * self.ffn)),
            (true, false) => (Some(one(Role::Gate, self.ffn)), one(Role::Up, self.ffn)),
            (false, _) => (None, one(Role::Up, self.ffn)),
        };
        gate.into_iter().chain([up])
    }

    /// The product that leads back to the residual.
    pub const fn down(&self, hidden: u64) -> Linear {
        Linear::new(Role::Down, self.ffn, hidden, self.bias)
    }
}

impl Mlp {
    /// Its matrix products, router included, on a residual of `hidden`.
    pub fn linears(&self, hidden: u64) -> impl Iterator<Item = Linear> + use<> {
        // A dense part is one expert that every token passes through.
        let (router, each, count, active, shared, shared_gate) = match *self {
            Self::Dense(dense) => (None, dense, 1, 1, None, None),
            Self::Experts(Experts { count, active, each, shared, shared_gate, .. }) => {
                let router = Linear::new(Role::Router, hidden, count, false);
                let shared_gate = shared_gate.then_some(Linear::new(Role::SharedGate, hidden, 1, false));
                (Some(router), each, count, active, shared, shared_gate)
            }
        };
        let routed = each.linears(hidden).map(move |linear| linear.experts(count, active));
        let shared = shared.into_iter().flat_map(move |shared| shared.linears(hidden));
        router.into_iter().chain(routed).chain(shared).chain(shared_gate)
    }

    /// Parameters that are in no product.
    pub const fn other_parameters(&self) -> u64 {
        match self {
            Self::Experts(experts) if experts.router_bias => experts.count,
            _ => 0,
        }
    }
}
