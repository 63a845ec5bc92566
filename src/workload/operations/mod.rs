//! What a pass through a model's layers executes: matrix products, attention, and everything between them.
//!
//! **Products** are given by their true shapes, `m` tokens times `n` outputs over `k` inputs, fused or one by one as the model's code has them,
//! experts with the tokens each of them gets. **Attention** is given by heads and lengths. **Elementwise** work (norms, rotations,
//! activations, residual sums, casts) is bound by memory, so it is given as **traffic**: bytes read and written, and in how many kernels. How
//! many that is depends on whose code runs: [`Kernels::Elementary`] is one kernel per elementary operation, as Hugging Face's modules are
//! written; [`Kernels::Fused`] one per norm, rotation and activation. The backward passes of the latter are longer too: each elementary
//! operation has a derivative that reads the gradient and what was kept.
//!
//! The traffic of elementary code, per element and number width `w` (4 + w for a cast to or from FP32):
//!
//! | operation | forward | kernels |
//! |---|---|---|
//! | RMS norm: cast, square, mean, scale, cast, weight | `2·(4 + w) + 8 + 4 + 8 + 2·w` = 36 bytes in BF16 | 8 |
//! | rotation of queries or keys: two products, negate and join halves, sum | `10·w` | 5 |
//! | SiLU or GELU and the gate's product | `5·w` | 2 |
//! | residual sum | `3·w` | 1 |
//! | layer norm, one kernel everywhere | `2·w` | 1 |
//!
//! In all about 35 bytes · `T·h` per branch for Llama's layers, which is why unfused code stays far below the peak of matrix units.
//!
//! **Operations** of a product are `2·m·n·k`; of attention `4·queries·context·heads·head_dim`, half of that where it is causal over a whole
//! sequence.

mod elementwise;
mod layer;
mod loss;

pub use elementwise::{Kernels, Traffic, Widths};
pub use layer::{AttentionWork, Layer, Product, Tokens, divided, layer};
pub use loss::{Ends, ends, loss};

#[cfg(test)]
mod tests;
