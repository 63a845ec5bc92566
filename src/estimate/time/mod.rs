//! How long a workload takes.
//!
//! **From operations.** A step is the sum of what its [operations](crate::workload::operations) take on a machine's [`Speeds`]: matrix products
//! by their true shapes, attention by its lengths, elementwise work by the bytes it moves, collectives by their sizes. Nothing is `6·P·T` over
//! a share of the peak.
//!
//! **Hosts launch kernels, GPUs run them.** Launches run ahead of the GPU, so a phase takes the longer of the two: where the host needs longer to
//! issue a phase's kernels than the GPU to run them, the difference is the part *waiting for launches*.
//!
//! **Communication hides behind computing** where the way of sharing lets it; what does not fit is *exposed* and counted. What does fit
//! takes multiprocessors away from it, which is counted too.
//!
//! **Parts** are by [phase](Phase) and by [kind](Kind), and their sum is the total by construction. An interval joins errors of one kind as
//! they are, since one model makes them all, and errors of different kinds as squares, since they know nothing of each other.
//!
//! **Conventions.** MFU is the operations that the mathematics of a step needs over what the GPUs could do at their dense peak in the
//! width of products: products forward and back (`6` per trained weight and token, `4` per frozen one that gradients pass through, tables not
//! among them), and causal attention (`6·s·a·d` per token and layer). HFU adds what is recomputed.

mod adapters;
mod communication;
mod fetching;
mod infer;
mod links;
mod micro;
mod parts;
mod products;
mod published;
mod software;
mod speeds;
mod train;
mod update;

pub(crate) use infer::infer_unsourced;
pub use infer::{Answer, infer, mixed_step};
pub use links::Links;
pub(crate) use micro::Alone;
pub use parts::{Bound, Kind, Parts, Phase};
pub(crate) use products::Products;
pub use software::{Flash, Launching, Loading, Software, Unpacking};
pub use speeds::{Speeds, What};
pub use train::{Step, train};
pub(crate) use train::{Whole, basis, whole};

#[cfg(test)]
mod tests;
