//! The formats that cublasLt multiplies in: what it has to be told about each.

use std::ffi::c_int;

use cudarc::cublaslt::sys::{cublasComputeType_t as Compute, cudaDataType_t as Data};

use super::device::Gpu;
use super::memory::DeviceBuffer;
use crate::error::Result;
use crate::units::Bytes;

/// `CUBLASLT_MATMUL_DESC_A_SCALE_MODE` and `…_B_SCALE_MODE` of cublasLt 12.8; the bound version has no names for them.
pub(super) const A_SCALE_MODE: c_int = 31;
pub(super) const B_SCALE_MODE: c_int = 32;
/// `CUBLASLT_MATMUL_MATRIX_SCALE_VEC16_UE4M3`: a scale for every 16 elements along k.
pub(super) static SCALES_OF_16: c_int = 1;
/// `CUDA_R_4F_E2M1`.
const E2M1: c_int = 33;

/// Format of a product's operands, with the sums and the result that belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LtFormat {
    /// BF16, sums in FP32, result in BF16.
    Bf16,
    /// FP16, sums in FP32, result in FP16.
    Fp16,
    /// FP8 E4M3 with one scale of 1 per operand, and with the tensor cores' fast accumulation, as inference libraries run it; result in BF16.
    E4m3,
    /// As [`Self::E4m3`], but A is in E5M2: the library takes no two factors in it. That is how gradients meet weights.
    E5m2,
    /// FP32 numbers of which the tensor cores take the upper 19 bits; sums and result in FP32.
    Tf32,
    /// FP32 throughout.
    Fp32,
    /// INT8, sums and result in INT32.
    Int8,
    /// FP64 throughout.
    Fp64,
    /// FP4 E2M1 with an E4M3 scale of 1 for every 16 elements along k (NVFP4); sums in FP32, result in BF16.
    Fp4,
}

impl LtFormat {
    /// Whether every supported version of the library has it.
    pub(super) const fn is_everywhere(self) -> bool {
        matches!(self, Self::Bf16 | Self::E4m3)
    }

    /// `cudaDataType_t` of A.
    pub(super) const fn first(self) -> c_int {
        match self {
            Self::E5m2 => Data::CUDA_R_8F_E5M2 as c_int,
            _ => self.second(),
        }
    }

    /// `cudaDataType_t` of B.
    pub(super) const fn second(self) -> c_int {
        match self {
            Self::Bf16 => Data::CUDA_R_16BF as c_int,
            Self::Fp16 => Data::CUDA_R_16F as c_int,
            Self::E4m3 | Self::E5m2 => Data::CUDA_R_8F_E4M3 as c_int,
            Self::Tf32 | Self::Fp32 => Data::CUDA_R_32F as c_int,
            Self::Int8 => Data::CUDA_R_8I as c_int,
            Self::Fp64 => Data::CUDA_R_64F as c_int,
            Self::Fp4 => E2M1,
        }
    }

    /// `cudaDataType_t` of the result.
    pub(super) const fn result(self) -> c_int {
        match self {
            Self::Bf16 | Self::E4m3 | Self::E5m2 | Self::Fp4 => Data::CUDA_R_16BF as c_int,
            Self::Int8 => Data::CUDA_R_32I as c_int,
            Self::Fp16 | Self::Tf32 | Self::Fp32 | Self::Fp64 => self.second(),
        }
    }

    /// `cublasComputeType_t`.
    pub(super) const fn compute(self) -> c_int {
        match self {
            Self::Tf32 => Compute::CUBLAS_COMPUTE_32F_FAST_TF32 as c_int,
            Self::Int8 => Compute::CUBLAS_COMPUTE_32I as c_int,
            Self::Fp64 => Compute::CUBLAS_COMPUTE_64F as c_int,
            _ => Compute::CUBLAS_COMPUTE_32F as c_int,
        }
    }

    /// `cudaDataType_t` of the factors that the product and the old result are multiplied with.
    pub(super) const fn factor(self) -> c_int {
        match self {
            Self::Int8 => Data::CUDA_R_32I as c_int,
            Self::Fp64 => Data::CUDA_R_64F as c_int,
            _ => Data::CUDA_R_32F as c_int,
        }
    }

    /// The bits of a factor of 1, in the low end.
    pub(super) const fn one(self) -> u64 {
        match self {
            Self::Int8 => 1,
            Self::Fp64 => 1.0_f64.to_bits(),
            _ => 1.0_f32.to_bits() as u64,
        }
    }

    /// Bits of one element of a factor.
    pub const fn bits(self) -> u64 {
        match self {
            Self::Fp4 => 4,
            Self::E4m3 | Self::E5m2 | Self::Int8 => 8,
            Self::Bf16 | Self::Fp16 => 16,
            Self::Tf32 | Self::Fp32 => 32,
            Self::Fp64 => 64,
        }
    }

    /// Bytes of one element of the result.
    pub const fn result_bytes(self) -> u64 {
        match self {
            Self::Bf16 | Self::Fp16 | Self::E4m3 | Self::E5m2 | Self::Fp4 => 2,
            Self::Tf32 | Self::Fp32 | Self::Int8 => 4,
            Self::Fp64 => 8,
        }
    }
}

/// The scales of a product's operands in device memory, all of them 1.
///
/// Scales of blocks lie in tiles that only the library has to know: where all are alike, their order does not matter.
pub(super) struct Scales {
    /// Of A, and of both where one scale is enough.
    first: DeviceBuffer,
    second: Option<DeviceBuffer>,
}

impl Scales {
    /// What `format` needs; `None` where it needs none.
    pub(super) fn of(format: LtFormat, gpu: &Gpu, m: u32, n: u32, k: u32) -> Result<Option<Self>> {
        /// 1 in E4M3.
        const ONE: u8 = 0x38;
        match format {
            LtFormat::E4m3 | LtFormat::E5m2 => {
                let first = gpu.allocate(Bytes(size_of::<f32>() as u64))?;
                first.write(&gpu.stream()?, &[1.0_f32])?;
                Ok(Some(Self { first, second: None }))
            }
            LtFormat::Fp4 => {
                let stream = gpu.stream()?;
                let blocks = |rows: u32| {
                    let bytes = u64::from(rows).next_multiple_of(128) * u64::from(k.div_ceil(16)).next_multiple_of(4);
                    let scales = gpu.allocate(Bytes(bytes))?;
                    stream.set(scales.view::<u8>(), ONE)?;
                    stream.synchronize()?;
                    Ok(scales)
                };
                Ok(Some(Self { first: blocks(m)?, second: Some(blocks(n)?) }))
            }
            _ => Ok(None),
        }
    }

    /// Where those of B and those of A lie: the library's first operand is B.
    pub(super) fn addresses(&self) -> (u64, u64) {
        let at = |buffer: &DeviceBuffer| buffer.view::<u8>().region().address;
        (at(self.second.as_ref().unwrap_or(&self.first)), at(&self.first))
    }

    /// All of them.
    pub(super) fn buffers(&self) -> impl Iterator<Item = &DeviceBuffer> {
        [&self.first].into_iter().chain(&self.second)
    }
}
