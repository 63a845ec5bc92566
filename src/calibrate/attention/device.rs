//! What the formulas need to know of a GPU, from its documents alone.

use crate::catalog::{Dtype, GpuModel};

/// Clock taken where the documents name none.
const USUAL_CLOCK_MHZ: f64 = 1700.0;

/// A GPU in the units of the formulas: microseconds, bytes, floating-point operations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Device {
    /// Streaming multiprocessors (SMs).
    pub(super) sms: f64,
    /// Cycles per microsecond.
    pub(super) clock: f64,
    /// Tensor operations of one SM per microsecond, 16-bit factors.
    pub(super) sm_flops: f64,
    /// Device memory, bytes per microsecond.
    pub(super) bandwidth: f64,
    /// Second-level cache, bytes.
    pub(super) l2: f64,
    /// Shared memory of one SM, bytes.
    pub(super) shared: f64,
    /// Whether the vendor's kernels of this generation serve every grouping of heads alike.
    pub(super) grouped: bool,
    /// Rows of queries that one block of the prefill kernel takes, as far as the generation tells.
    pub(super) rows: f64,
}

impl Device {
    /// `None` where the documents lack the number of SMs or a 16-bit peak.
    pub(super) fn new(gpu: &GpuModel) -> Option<Self> {
        let sms = f64::from(gpu.sm_count.filter(|&sms| sms > 0)?);
        let peak = gpu.matmul_peak(Dtype::Bf16).or_else(|| gpu.matmul_peak(Dtype::Fp16))?.value.0;
        let bandwidth = gpu.bandwidth().value.0;
        let clock = gpu.clocks.map_or(USUAL_CLOCK_MHZ, |clocks| clocks.boost().0 / 1e6);
        if !(peak > 0.0 && bandwidth > 0.0 && clock > 0.0) {
            return None;
        }
        let (major, minor) = gpu.compute_capability();
        Some(Self {
            sms,
            clock,
            sm_flops: peak / sms / 1e6,
            bandwidth: bandwidth / 1e6,
            l2: gpu.l2().map_or(4.0 * 1024.0 * 1024.0, |l2| l2.value.as_f64()).max(1.0),
            shared: shared_kib(major, minor) * 1024.0,
            // Datacentre Blackwell has kernels of its own (TensorRT-LLM's trtllm-gen), with two tiles of 128 rows in flight.
            grouped: major == 10,
            rows: match major {
                10 => 256.0,
                9 => 128.0,
                _ => 64.0,
            },
        })
    }
}

/// Shared memory of one SM in KiB (CUDA C++ Programming Guide, technical specifications per compute capability).
fn shared_kib(major: u32, minor: u32) -> f64 {
    match (major, minor) {
        (7, 0..=2) => 96.0,
        (7, _) => 64.0,
        (8, 0 | 7) => 164.0,
        (8, _) | (12.., _) => 100.0,
        (9..=11, _) => 228.0,
        _ => 64.0,
    }
}
