//! What others reached: published measurements of GPUs, each with its tool and conditions.
//!
//! A datasheet's peak is never reached; how much of it is depends on the board, its power limit and its libraries, and only measurements tell.
//! Where this program has measured nothing, these stand in: on the basis *measured on the same GPU model*, with the source named. A tool can
//! fall short of what a board can do but not pass it, so of several the best counts, and the others are the lower end of its interval.

use serde::Deserialize;

use super::{Catalog, Confidence, Dtype, GpuModel};
use crate::figure::{Basis, Figure, Quantity};
use crate::stats::Interval;
use crate::units::{BytesPerSecond, FlopsPerSecond};

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum Metric {
    /// Products of BF16 matrices, accumulated in FP32.
    #[serde(rename = "bf16_gemm_tflops")]
    Bf16Gemm,
    /// Products of FP16 matrices, accumulated in FP32.
    #[serde(rename = "fp16_gemm_tflops")]
    Fp16Gemm,
    /// Products of FP32 matrices without tensor cores.
    #[serde(rename = "fp32_gemm_tflops")]
    Fp32Gemm,
    /// Products of FP32 matrices on tensor cores, in TF32.
    #[serde(rename = "tf32_gemm_tflops")]
    Tf32Gemm,
    /// Products of FP8 matrices.
    #[serde(rename = "fp8_gemm_tflops")]
    Fp8Gemm,
    /// Products of FP4 matrices.
    #[serde(rename = "fp4_gemm_tflops")]
    Fp4Gemm,
    /// Products of FP16 matrices, accumulated in FP16.
    #[serde(rename = "fp16acc_gemm_tflops")]
    Fp16AccGemm,
    /// Matrix instructions on registers alone.
    #[serde(
        rename = "bf16_mma_tflops",
        alias = "fp16acc_mma_tflops",
        alias = "fp8_fp32acc_mma_tflops",
        alias = "fp8_fp16acc_mma_tflops",
        alias = "mxfp8_mma_tflops",
        alias = "nvfp4_mma_tflops",
        alias = "int8_mma_tops",
        alias = "tf32_mma_tflops"
    )]
    Instruction,
    /// Ordinary arithmetic.
    #[serde(rename = "fp32_cuda_core_tflops", alias = "fp16_cuda_core_tflops", alias = "fp64_cuda_core_tflops")]
    CudaCore,
    /// Reading device memory.
    #[serde(rename = "dram_read_gbs")]
    DramRead,
    /// Writing device memory.
    #[serde(rename = "dram_write_gbs")]
    DramWrite,
    /// Reading one array and writing another, both counted.
    #[serde(rename = "dram_copy_gbs")]
    DramCopy,
    /// Two arrays read and one written.
    #[serde(rename = "dram_triad_gbs", alias = "dram_stream_gbs")]
    DramTriad,
    /// Host to device.
    #[serde(rename = "h2d_gbs")]
    HostToDevice,
    /// Device to host.
    #[serde(rename = "d2h_gbs")]
    DeviceToHost,
    /// Both at once, each.
    #[serde(rename = "h2d_bidir_gbs")]
    HostBothWays,
    /// One GPU to another.
    #[serde(rename = "p2p_uni_gbs")]
    Peer,
    /// Both ways between two GPUs, added.
    #[serde(rename = "p2p_bi_gbs")]
    PeerBothWays,
    /// Bus bandwidth of an all-reduce.
    #[serde(rename = "allreduce_busbw_gbs")]
    AllReduce,
    /// Bus bandwidth of an all-gather.
    #[serde(rename = "allgather_busbw_gbs")]
    AllGather,
    /// Bus bandwidth of a reduce-scatter.
    #[serde(rename = "reducescatter_busbw_gbs")]
    ReduceScatter,
}

impl Metric {
    /// Of products in `dtype` as frameworks compute them.
    pub const fn matmul(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::Bf16 => Some(Self::Bf16Gemm),
            Dtype::Fp16 => Some(Self::Fp16Gemm),
            Dtype::Fp32 => Some(Self::Fp32Gemm),
            Dtype::Tf32 => Some(Self::Tf32Gemm),
            Dtype::Fp8 => Some(Self::Fp8Gemm),
            Dtype::Fp4 => Some(Self::Fp4Gemm),
            Dtype::Fp64 | Dtype::Mxfp8 | Dtype::Int8 => None,
        }
    }
}

/// One published measurement.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Achieved {
    /// The board's short name in the catalog, where it is there.
    pub gpu: Option<String>,
    /// The board as the source writes it.
    pub board: String,
    /// GPUs that took part, where several did.
    pub gpus: Option<u64>,
    /// What was measured.
    pub metric: Metric,
    /// TFLOP/s or GB/s.
    value: f64,
    /// What measured.
    pub tool: String,
    /// Under which conditions.
    pub conditions: Option<String>,
    /// Whether it is only known that at least this was reached.
    #[serde(default)]
    pub floor: bool,
    /// How well this row is attested.
    pub confidence: Confidence,
    /// Where it was read.
    pub source: String,
    /// When it was checked, ISO 8601.
    pub date: String,
}

impl Achieved {
    fn from(&self) -> String {
        let conditions = self.conditions.as_ref().map_or(String::new(), |conditions| format!(", {conditions}"));
        format!("{} ({}{conditions})", self.source, self.tool)
    }

    /// In base units.
    const fn base(&self, unit: f64) -> f64 {
        self.value * unit
    }
}

impl Catalog {
    /// What was published of `gpu`, and of nothing but it.
    pub fn achieved_of<'a>(&'a self, gpu: &'a GpuModel, metric: Metric) -> impl Iterator<Item = &'a Achieved> {
        self.achieved.iter().filter(move |row| row.metric == metric && row.gpu.as_deref() == Some(&gpu.short_name))
    }

    /// The best rate of products in `dtype` that anyone published of `gpu`, else of a board with the same chip at the same rate.
    pub fn achieved_matmul(&self, gpu: &GpuModel, dtype: Dtype) -> Option<Figure<FlopsPerSecond>> {
        let metric = Metric::matmul(dtype)?;
        let own = best(self.achieved_of(gpu, metric), 1e12);
        own.or_else(|| {
            let peak = gpu.matmul_peak(dtype)?.value;
            let twins = self.gpus.iter().filter(|other| other.compute_capability() == gpu.compute_capability());
            let twins = twins.filter(|other| other.sm_count == gpu.sm_count && other.tdp() == gpu.tdp());
            let twins = twins.filter(|other| other.matmul_peak(dtype).is_some_and(|other| other.value == peak));
            best(twins.flat_map(|other| self.achieved_of(other, metric)), 1e12)
        })
    }

    /// The best rate at which `metric` moves bytes that anyone published of `gpu`.
    pub fn achieved_bandwidth(&self, gpu: &GpuModel, metric: Metric) -> Option<Figure<BytesPerSecond>> {
        best(self.achieved_of(gpu, metric), 1e9)
    }

    /// The bus bandwidth of a collective among `gpus` of a node's GPUs that was published of `gpu`: of as many, else of most.
    pub fn achieved_collective(&self, gpu: &GpuModel, metric: Metric, gpus: u64) -> Option<Figure<BytesPerSecond>> {
        let node = |row: &&Achieved| row.gpus.is_none_or(|gpus| gpus <= 8);
        let as_many = best(self.achieved_of(gpu, metric).filter(node).filter(|row| row.gpus == Some(gpus)), 1e9);
        as_many.or_else(|| best(self.achieved_of(gpu, metric).filter(node), 1e9))
    }

    /// Shares of the printed peak of products in `dtype` that boards of `gpu`'s compute capability reached, the published ones.
    pub fn achieved_matmul_shares<'a>(&'a self, gpu: &'a GpuModel, dtype: Dtype) -> impl Iterator<Item = f64> + 'a {
        let family = self.gpus.iter().filter(|other| other.compute_capability() == gpu.compute_capability());
        family.filter_map(move |other| {
            let best = best::<FlopsPerSecond>(self.achieved_of(other, Metric::matmul(dtype)?), 1e12)?;
            Some(best.value / other.matmul_peak(dtype)?.value)
        })
    }
}

/// The best of `rows`, from the worst of them.
fn best<'a, Q: Quantity>(rows: impl Iterator<Item = &'a Achieved>, unit: f64) -> Option<Figure<Q>> {
    let mut rows: Vec<&Achieved> = rows.collect();
    // A health check's threshold is passed by all that work; measurements are better.
    if rows.iter().any(|row| !row.floor) {
        rows.retain(|row| !row.floor);
    }
    let least = rows.iter().map(|row| row.base(unit)).fold(f64::INFINITY, f64::min);
    let best = rows.into_iter().reduce(|best, row| if row.value > best.value { row } else { best })?;
    let value = best.base(unit);
    Some(Figure::measured(Interval::new(value, least, value), best.from()).on(Basis::MeasuredSameModel))
}
