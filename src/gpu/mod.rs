//! Everything this program asks of a GPU, behind a safe interface.
//!
//! The terms are CUDA's. The **driver** is the library that comes with the kernel module; nothing else of CUDA is needed. A [`Gpu`] is one
//! device with its primary **context**, the address space that everything on the device lives in. A **stream** is a queue: work in it runs
//! in order, and enqueuing returns before the work is done. An **event** is a mark in a stream whose time the device notes. A **module** is
//! compiled device code; a **kernel** is a function in it, launched as a **grid** of **blocks** of threads. **Pinned** memory is host
//! memory that the device can reach by itself, **pageable** memory is any other. A **gate** is a kernel that holds a stream shut until
//! the host opens it, so that the cost of enqueuing never enters a number.
//!
//! # Why all this is safe to call
//!
//! Streams make the usual borrow rules insufficient: a copy still runs after the call that enqueued it has returned its borrow. Three rules
//! close the gap, and every SAFETY comment in this room rests on one of them:
//!
//! 1. **Memory remembers its streams.** Enqueuing work marks every buffer it touches with the stream. A buffer waits for its streams before
//!    it is freed and before the host looks into it. The streams, and the context, stay alive as long as something remembers them.
//! 2. **What the host can see is borrowed mutably to be written.** Work that writes pinned memory takes it by `&mut`, so that no slice of it
//!    is held when it is enqueued, and rule 1 makes the next slice wait.
//! 3. **Lengths are checked where work is enqueued.** Copies compare both ends. Every kernel declares how many elements it touches of each
//!    array, and a launch is refused when an array is shorter. A kernel that follows an index it *read* can still leave its array; the
//!    device's own address translation then ends the context with an error, and no host memory is involved.
//!
//! Each driver call goes through one table (see [`SYMBOLS`]) that turns a status into an error with the call's name, the
//! driver's words and a remedy. A missing library or function is such an error too. Nothing here panics, and what is dropped is given back.
#![allow(unsafe_code)]

mod api;
mod copy;
mod cublaslt;
mod cublaslt_api;
mod cublaslt_format;
mod device;
mod driver;
mod failure;
mod gate;
mod graph;
mod hopper;
mod kernel;
mod kernels;
mod memory;
mod nccl;
mod nccl_api;
mod peer;
mod pinned;
pub mod prebuilt;
pub mod reference;
mod select;
mod stream;
mod survey;
mod table;
mod tensor_map;
mod view;
mod wgmma;

pub use api::SYMBOLS;
pub use cublaslt::{CublasLt, LtFormat, LtPlan};
pub use cublaslt_api::CUBLASLT_SYMBOLS;
pub use device::Gpu;
pub use driver::{Attribute, Device, Driver};
pub use gate::{Gate, Hold, MOST_QUEUED, WATCHDOG};
pub use graph::Graph;
pub use hopper::{HopperFormat, HopperKernel, HopperOperands, HopperTile, PROVEN_ON_HARDWARE};
pub use kernel::{Argument, Arguments, Kernel, MOST_ARGUMENTS, Parameter, Shape};
pub use kernels::*;
pub use memory::DeviceBuffer;
pub use nccl::{Clique, Nccl, NcclKind, NcclOperation, RankMemory};
pub use nccl_api::NCCL_SYMBOLS;
pub use peer::PeerAccess;
pub use pinned::{HostView, HostViewMut, PinnedBuffer, Registered};
pub use select::select;
pub use stream::{Event, Stream};
pub use survey::survey;
pub use table::Symbol;
pub use tensor_map::{BoxElement, TensorMap};
pub use view::{Element, Flag, Float4, In, Out, View};
pub use wgmma::{WGMMA_PROVEN_ON_HARDWARE, WgmmaFormat};
