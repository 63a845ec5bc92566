//! A shape as the formulas take it: floating-point, so that no product overflows, and put in order.

use super::AttentionShape;

/// One attention call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Work {
    pub(super) batch: f64,
    pub(super) queries: f64,
    /// Tokens whose keys exist.
    pub(super) context: f64,
    pub(super) heads: f64,
    /// Between one and `heads`.
    pub(super) kv_heads: f64,
    pub(super) head_dim: f64,
    /// The last positions that a query sees.
    pub(super) window: f64,
}

impl Work {
    /// `None` where there is nothing to do. A context shorter than the queries is taken to be as long, since queries see themselves.
    pub(super) fn of(shape: &AttentionShape) -> Option<Self> {
        let window = shape.window.unwrap_or(u64::MAX);
        if [shape.batch, shape.queries, shape.heads, shape.head_dim, window].contains(&0) {
            return None;
        }
        Some(Self {
            batch: shape.batch as f64,
            queries: shape.queries as f64,
            context: shape.context.max(shape.queries) as f64,
            heads: shape.heads as f64,
            kv_heads: shape.kv_heads.clamp(1, shape.heads) as f64,
            head_dim: shape.head_dim as f64,
            window: window as f64,
        })
    }

    /// Whether this is a step of decoding: one new token that sees older ones.
    pub(super) fn decodes(&self) -> bool {
        self.queries == 1.0 && self.context > 1.0
    }

    /// Query heads that share keys and values.
    pub(super) fn group(&self) -> f64 {
        self.heads / self.kv_heads
    }

    /// Keys that one query sees at most.
    pub(super) fn seen(&self) -> f64 {
        self.context.min(self.window)
    }
}
