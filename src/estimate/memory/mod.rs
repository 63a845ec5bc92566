//! How much memory a workload takes.
//!
//! **Three sums.** *Allocated* is what the tensors take; it follows from shapes and is exact to the byte where lifetimes are known. *Reserved*
//! is what a caching allocator holds to serve them: allocated, rounded and fragmented. *Device* is what nvidia-smi shows: reserved and the
//! context with its kernels, libraries and communicators. Only the last two need measured or assumed overheads.
//!
//! **Phases.** Tensors come and go within a step. The peak is the largest footprint over the moments of a step, not the sum of every
//! tensor's own largest: at the end of the forward pass all activations are alive and no gradient is, at the optimizer's update the opposite.
//!
//! **Parts.** A [`Footprint`] is a moment's memory by what it is for. Its total is the sum of its parts by construction.

mod activations;
mod bounds;
mod buckets;
mod footprint;
mod infer;
mod kv;
mod logits;
pub(crate) mod lora;
mod offload;
mod overheads;
mod piece;
mod pipeline;
mod precision;
mod prefill;
mod reservation;
mod shard;
mod states;
mod stored;
mod tower;
mod train;

pub use footprint::{Footprint, Memory, Moment, Part, Phase};
pub(crate) use infer::check as check_inference;
pub use infer::infer;
pub use overheads::Overheads;
pub use reservation::{Reservation, reserve};
pub use states::trainable;
pub use train::train;

pub(crate) use piece::Piece;
pub(crate) use precision::Precision;
pub(crate) use shard::{Held, check as check_sharing};
pub(crate) use states::States;
pub(crate) use train::{of_pieces, pieces};

#[cfg(test)]
mod infer_tests;
#[cfg(test)]
mod shard_tests;
#[cfg(test)]
mod train_tests;
