//! What adapters and frozen packed weights add to a product.

use crate::workload::operations::{Product, Traffic};
use crate::workload::{Adapters, Linear, Role};

const FP32: u64 = 4;

/// The operations of one adapter over `m` tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Adapter {
    /// Down to the rank.
    pub(super) down: Product,
    /// Up from it.
    pub(super) up: Product,
    /// Casts, dropout, scale and sum going forward.
    pub(super) forward: Traffic,
    /// The same going back.
    pub(super) backward: Traffic,
}

impl Adapter {
    /// The adapter of `linear`, whose product is `base`. PEFT casts the input to the adapter's type, drops some of it, and adds the scaled result to
    /// the base product's; products run in `width` bytes under autocast, which casts back.
    pub(super) fn of(adapters: &Adapters, linear: &Linear, base: &Product, width: u64) -> Self {
        let Adapters { rank, dropout, fp32, .. } = *adapters;
        let rows = base.m * base.groups;
        let down = Product { role: Role::Down, n: rank, bias: false, ..*base };
        let up = Product { role: Role::Up, k: rank, bias: false, ..*base };
        let (input, output) = (rows * linear.inputs, rows * linear.outputs);
        // There and back between the two types, the input and the two small matrices.
        let weights = rank * (linear.inputs + linear.outputs);
        let casts = if fp32 { Traffic::new((input * 2 + weights) * (FP32 + width), 4) } else { Traffic::default() };
        let wide = if fp32 { FP32 } else { width };
        let dropped = if dropout { Traffic::new(input * (2 * wide + 1), 1) } else { Traffic::default() };
        let joined = Traffic::new(output * 5 * width, 2);
        // Going back, the input's gradients of both ways are summed.
        let summed = Traffic::new(output * 2 * width + input * 3 * width, 2);
        Self { down, up, forward: casts + dropped + joined, backward: casts + dropped + summed }
    }
}
