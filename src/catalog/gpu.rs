//! What vendors print about GPUs.

use std::fmt;

use serde::Deserialize;

use crate::figure::{Basis, Figure};
use crate::units::{Bytes, BytesPerSecond, FlopsPerSecond, Hertz, Usd, Watts};

/// Number formats that arithmetic peaks are printed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 64-bit IEEE.
    Fp64,
    /// 32-bit IEEE.
    Fp32,
    /// 19 significant bits of FP32, tensor cores only.
    Tf32,
    /// 16-bit IEEE.
    Fp16,
    /// 16-bit with the exponent of FP32.
    Bf16,
    /// 8-bit, E4M3 or E5M2.
    Fp8,
    /// 8-bit with a shared scale per block of 32.
    Mxfp8,
    /// 4-bit with a shared scale per block.
    Fp4,
    /// 8-bit integer.
    Int8,
}

impl Dtype {
    /// The format of that name, without regard to case.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Fp64, Self::Fp32, Self::Tf32, Self::Fp16, Self::Bf16, Self::Fp8, Self::Mxfp8, Self::Fp4, Self::Int8];
        all.into_iter().find(|dtype| dtype.to_string().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fp64 => "FP64",
            Self::Fp32 => "FP32",
            Self::Tf32 => "TF32",
            Self::Fp16 => "FP16",
            Self::Bf16 => "BF16",
            Self::Fp8 => "FP8",
            Self::Mxfp8 => "MXFP8",
            Self::Fp4 => "FP4",
            Self::Int8 => "INT8",
        })
    }
}

/// Which units do the arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// Tensor cores: matrix products only.
    Tensor,
    /// The ordinary lanes of a multiprocessor.
    CudaCore,
}

/// Whether a peak counts operations on zeros that 2:4 structured sparsity skips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Density {
    /// Every operation is done.
    Dense,
    /// Half of them are skipped and counted all the same.
    Sparse,
}

/// The peak rate of one data type on one engine.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peak {
    /// Format of the factors.
    pub dtype: Dtype,
    /// Which units.
    pub engine: Engine,
    /// Format of the accumulator.
    pub accumulate: Accumulator,
    /// Whether zeros are counted.
    pub density: Density,
    tflops: f64,
}

impl Peak {
    /// The rate; a multiply-add counts two.
    pub fn rate(&self) -> FlopsPerSecond {
        FlopsPerSecond(self.tflops * 1e12)
    }
}

/// Format in which products are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accumulator {
    /// 64-bit.
    Fp64,
    /// 32-bit: what frameworks use.
    Fp32,
    /// 16-bit: twice as fast on consumer boards, and less exact.
    Fp16,
    /// 32-bit integer.
    Int32,
}

/// How well a row is attested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// A transcription of the vendor's document, or a device dump.
    Confirmed,
    /// Computed from a standard's rates.
    Computed,
    /// From memory, and units × clock × rate gives the same.
    Reproduced,
    /// Units × clock × rate of its family.
    Derived,
    /// From memory alone.
    Recalled,
    /// Announced, not shipped when the row was written.
    Announced,
}

/// Device memory as printed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryFacts {
    /// The number on the box; its unit is neither GB nor GiB.
    pub label_gb: f64,
    mib: Option<u64>,
    /// Such as `HBM3e`.
    #[serde(rename = "type")]
    pub kind: String,
    bandwidth_gbs: f64,
}

/// Multiprocessor clocks as printed.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockFacts {
    boost_mhz: f64,
    max_mhz: f64,
}

impl ClockFacts {
    /// The clock behind the tensor cores' peaks.
    pub fn boost(self) -> Hertz {
        Hertz(self.boost_mhz * 1e6)
    }

    /// The highest the driver shows.
    pub fn max(self) -> Hertz {
        Hertz(self.max_mhz * 1e6)
    }
}

/// The host interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PcieFacts {
    /// Highest generation.
    pub generation: u32,
    /// Lanes.
    pub lanes: u32,
}

/// NVLink as printed.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NvlinkFacts {
    /// Generation.
    pub generation: u32,
    /// Links of one GPU.
    pub links: u32,
    total_gbs: f64,
}

/// A price once asked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    usd: f64,
    /// Whose price, and when.
    pub basis: String,
}

/// The written guide's row, as it stands there.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuideRow {
    /// The guide's name for the board.
    pub name: String,
    /// GB, as printed.
    pub memory_gb: f64,
    /// Memory type, as printed.
    pub memory_type: String,
    bandwidth_gbs: f64,
    fp16_tflops: f64,
    bf16_tflops: f64,
    fp8_tflops: Option<f64>,
    tdp_w: f64,
    price_usd: Option<f64>,
}

impl GuideRow {
    /// Memory, the printed number taken as GiB: that is how the guide's calculator compares it with what a job needs.
    pub fn memory(&self) -> Figure<Bytes> {
        self.figure(Bytes((self.memory_gb * Bytes::GIB.as_f64()) as u64))
    }

    /// Memory bandwidth, as printed.
    pub fn bandwidth(&self) -> Figure<BytesPerSecond> {
        self.figure(BytesPerSecond(self.bandwidth_gbs * 1e9))
    }

    /// The number in the guide's column for `dtype`, whichever engine and accumulator it really belongs to. `None` where it has none.
    pub fn peak(&self, dtype: Dtype) -> Option<Figure<FlopsPerSecond>> {
        let tflops = match dtype {
            Dtype::Fp16 => Some(self.fp16_tflops),
            Dtype::Bf16 => Some(self.bf16_tflops),
            Dtype::Fp8 => self.fp8_tflops,
            _ => None,
        }?;
        Some(self.figure(FlopsPerSecond(tflops * 1e12)))
    }

    /// Board power, as printed.
    pub fn tdp(&self) -> Figure<Watts> {
        self.figure(Watts(self.tdp_w))
    }

    /// Price, as printed; `None` for boards it calls cloud only.
    pub fn price(&self) -> Option<Figure<Usd>> {
        Some(self.figure(Usd(self.price_usd?)))
    }

    fn figure<Q: crate::figure::Quantity>(&self, value: Q) -> Figure<Q> {
        Figure::new(value, Basis::Guide, format!("guide B.1.1, row {}", self.name))
    }
}

/// A GPU model: what its vendor prints, with source and date.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuModel {
    /// As nvidia-smi prints it.
    pub name: String,
    /// As the vendor markets it.
    pub marketing_name: String,
    /// As people call it; unique, and what tables show.
    pub short_name: String,
    /// Other names it goes by.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Such as `Hopper`.
    pub architecture: String,
    compute_capability: String,
    /// Streaming multiprocessors.
    pub sm_count: Option<u32>,
    /// Device memory.
    pub memory: MemoryFacts,
    l2_mib: Option<f64>,
    /// Clocks.
    pub clocks: Option<ClockFacts>,
    /// Arithmetic peaks.
    pub peaks: Vec<Peak>,
    /// Host interface.
    pub pcie: PcieFacts,
    /// NVLink, where it has any.
    pub nvlink: Option<NvlinkFacts>,
    tdp_w: f64,
    /// Whether it can be partitioned (multi-instance GPU).
    pub mig: bool,
    /// Year of launch.
    pub launched: u32,
    /// A price, where one is known.
    pub price: Option<Price>,
    /// Device part of its PCI ids, hexadecimal.
    #[serde(default)]
    pub pci_device_ids: Vec<String>,
    /// The written guide's row for it.
    pub guide: Option<GuideRow>,
    /// Pitfalls.
    pub notes: Option<String>,
    /// How well this row is attested.
    pub confidence: Confidence,
    /// Where the numbers were read.
    pub source: String,
    /// When they were checked, ISO 8601.
    pub date: String,
}

impl GpuModel {
    /// Major and minor; (0, 0) should the row be malformed, which the tests exclude.
    pub fn compute_capability(&self) -> (u32, u32) {
        let (major, minor) = self.compute_capability.split_once('.').unwrap_or(("0", "0"));
        (major.parse().unwrap_or(0), minor.parse().unwrap_or(0))
    }

    /// Memory as nvidia-smi shows it; where nobody has confirmed that, the label taken as GB.
    pub fn capacity(&self) -> Figure<Bytes> {
        match self.memory.mib {
            Some(mib) => self.printed(Bytes::mib(mib)),
            None => Figure::assumed(Bytes((self.memory.label_gb * 1e9) as u64), format!("{} GB on the label", self.memory.label_gb)),
        }
    }

    /// Memory bandwidth.
    pub fn bandwidth(&self) -> Figure<BytesPerSecond> {
        self.printed(BytesPerSecond(self.memory.bandwidth_gbs * 1e9))
    }

    /// Second-level cache.
    pub fn l2(&self) -> Option<Figure<Bytes>> {
        Some(self.printed(Bytes((self.l2_mib? * Bytes::MIB.as_f64()) as u64)))
    }

    /// Board power limit.
    pub fn tdp(&self) -> Figure<Watts> {
        self.printed(Watts(self.tdp_w))
    }

    /// A price; its basis is assumed, since prices are opinions with a date.
    pub fn price(&self) -> Option<Figure<Usd>> {
        self.price.as_ref().map(|price| Figure::assumed(Usd(price.usd), &price.basis))
    }

    /// The dense peak of a matrix product in `dtype` as frameworks compute it: on tensor cores where it has them, accumulating in 32 bits.
    pub fn matmul_peak(&self, dtype: Dtype) -> Option<Figure<FlopsPerSecond>> {
        let usual = |peak: &&Peak| peak.dtype == dtype && peak.density == Density::Dense && peak.accumulate != Accumulator::Fp16;
        let tensor = self.peaks.iter().filter(usual).find(|peak| peak.engine == Engine::Tensor);
        let peak = tensor.or_else(|| self.peaks.iter().find(usual))?;
        Some(self.printed(peak.rate()))
    }

    /// The dense peak on one engine with one accumulator.
    pub fn peak(&self, dtype: Dtype, engine: Engine, accumulate: Accumulator) -> Option<Figure<FlopsPerSecond>> {
        let wanted =
            |peak: &&Peak| peak.dtype == dtype && peak.engine == engine && peak.accumulate == accumulate && peak.density == Density::Dense;
        Some(self.printed(self.peaks.iter().find(wanted)?.rate()))
    }

    /// What all its NVLinks carry together in one direction: half of the number in brochures, which adds both.
    pub fn nvlink_one_way(&self) -> Option<Figure<BytesPerSecond>> {
        let nvlink = self.nvlink?;
        Some(self.printed(BytesPerSecond(nvlink.total_gbs / 2.0 * 1e9)))
    }

    /// What is impossible about this row, if anything.
    pub(super) fn wrong(&self) -> Option<String> {
        let amounts = [
            ("memory.label_gb", self.memory.label_gb),
            ("memory.mib", self.memory.mib.map_or(0.0, |mib| mib as f64)),
            ("memory.bandwidth_gbs", self.memory.bandwidth_gbs),
            ("l2_mib", self.l2_mib.unwrap_or(0.0)),
            ("tdp_w", self.tdp_w),
            ("price.usd", self.price.as_ref().map_or(0.0, |price| price.usd)),
        ];
        let peaks = self.peaks.iter().map(|peak| ("peaks.tflops", peak.tflops));
        let impossible = amounts.into_iter().chain(peaks).find(|(_, value)| !(0.0..=1e9).contains(value));
        impossible.map(|(key, value)| format!("expected {key} of 0 to 1e9 but found {value}"))
    }

    /// A number of this row as a figure.
    fn printed<Q: crate::figure::Quantity>(&self, value: Q) -> Figure<Q> {
        let from = match self.confidence {
            Confidence::Confirmed | Confidence::Computed => self.source.clone(),
            Confidence::Reproduced | Confidence::Recalled => format!("{} (recalled)", self.source),
            Confidence::Derived => format!("{} (derived)", self.source),
            Confidence::Announced => format!("{} (announced)", self.source),
        };
        Figure::new(value, Basis::Datasheet, from)
    }
}
