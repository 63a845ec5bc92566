//! What a job consists of: a model's shape and the method it is trained or run with.
//!
//! A **model** is what its configuration file says it is: layers with their matrix products, norms and tables, no weights. From the shape
//! follow, exactly, the parameters, the bytes of the key-value cache, the adapters LoRA adds, and the operations of a step. A **training** or
//! **inference** setting says what is done with it. Nothing here knows of any machine: how long it takes and whether it fits is the business of
//! [`estimate`](crate::estimate).
//!
//! A model comes from its `config.json` ([`Model::from_config`]), by name from the catalog ([`named()`]), or from a few numbers
//! ([`Model::by_hand`]).
//!
//! Dimensions are `u64` and bounded by [`Model::check`], so that counts of elements and bytes cannot overflow: every product that an
//! estimate forms stays below 2⁶³.

mod attention;
mod block;
mod breakdown;
mod by_hand;
mod check;
mod config;
mod gguf;
mod inference;
mod linear;
mod mlp;
mod model;
mod named;
pub mod operations;
mod precision;
mod training;
mod vision;

pub use attention::{Attention, Grouped, Latent, QkNorm};
pub use block::{Block, Blocks, Layout, Norm};
pub use breakdown::{Dimensions, Module};
pub use by_hand::Shape;
pub use gguf::{Mix, Place};
pub use inference::{Cache, Inference, LogitRows};
pub use linear::{Linear, Role};
pub use mlp::{Activation, Dense, Experts, Mlp};
pub use model::{Decoder, Model, Positions};
pub use named::named;
pub use precision::{KvPrecision, Precision};
pub use training::{
    Adapters, AttentionKernel, Checkpointing, CrossEntropy, Data, Framework, Images, Method, Offload, Optimizer, Parallel, Quantised,
    Targets, Training,
};
pub use vision::{ImageInput, Tower, View, Vision};
