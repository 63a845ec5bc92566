//! A stand-in for the CUDA driver, NVML, cublasLt and NCCL, so that the real program runs its real GPU path on a machine without a GPU.
//!
//! One shared library exports the C functions of all four. A *scenario* file describes the machine it imitates: GPUs, true rates, links,
//! noise, mishaps. Time is virtual and follows the scenario's truth; memory and the contents of kernels and copies are real, so whatever the
//! program verifies is really verified. Everything the program then reports must come out at the scenario's truth.
//!
//! It can never be mistaken for hardware: it exports `gpu_assay_standin_marker`, and a program that finds this name in its driver library
//! must mark its results as simulated.
//!
//! Unsafe code is unavoidable here, since every exported function receives raw pointers from C callers; it is kept to the few helpers that
//! read and write through those pointers and to the memory that imitates the devices'.

mod code;
mod cublaslt;
mod cuda;
mod driver;
mod execute;
mod gemm;
mod harness;
mod heat;
mod hopper;
mod kernels;
mod machine;
mod memory;
mod nccl;
mod nvml;
mod rates;
pub mod scenario;
mod tensor_map;
mod timeline;
mod wgmma;

pub use driver::{FAULT, SCENARIO, SEED, TRACE};
pub use harness::{Standin, Trace};

/// The kernels that the stand-in knows, with their argument types (`pointer`, `u32`, `u64`, `f32`, `tensor map`).
#[must_use]
pub fn kernel_signatures() -> Vec<(&'static str, Vec<&'static str>)> {
    kernels::KERNELS.iter().map(|(name, kinds)| (*name, kinds.iter().map(|kind| kind.name()).collect())).collect()
}
