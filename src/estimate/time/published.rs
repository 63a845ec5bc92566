//! What documents and published measurements say of a GPU's speeds, and what a calibration puts in their place.

use crate::calibrate::GpuCalibration;
use crate::calibrate::matmul::MatmulModel;
use crate::calibrate::memory_bound::{self, MemoryBoundModel};
use crate::catalog::{Catalog, Dtype, GpuModel, Metric};
use crate::figure::{Basis, Figure};
use crate::units::{BytesPerSecond, FlopsPerSecond, Seconds};

/// Products in one data type.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rates {
    pub(super) dtype: Dtype,
    /// The printed peak.
    pub(super) peak: f64,
    /// The best rate reached with large shapes.
    pub(super) best: Figure<FlopsPerSecond>,
    /// Bytes of one number.
    pub(super) width: f64,
    /// Time by shape; `None` where documents do not say enough of the GPU.
    pub(super) model: Option<MatmulModel>,
    /// What the model's times are multiplied by, so that its largest rate is the one reached.
    pub(super) scale: f64,
}

impl Rates {
    /// With `best` in place of the rate that a model without measurements would reach.
    ///
    /// What is published is the best over many shapes; a large product of any shape reaches 0.965 of that, by NVIDIA's own measurements of A100 and
    /// of H100 (ai-dynamo/aiconfigurator: 262 of 271 and 795 of 821 TFLOP/s at the median of those with 8,192 rows).
    pub(super) fn new(dtype: Dtype, width: f64, peak: f64, best: Figure<FlopsPerSecond>, model: Option<MatmulModel>) -> Self {
        const USUAL: f64 = 0.965;
        let best = best.map(|rate| rate * USUAL);
        let scale = model.as_ref().map_or(1.0, |model| model.ceiling().0 / best.value.0);
        Self { dtype, peak, best, width, model, scale }
    }
}

/// What a published rate of copies is of the one that `bound` takes from the datasheet.
pub(super) fn correction(copy: &Figure<BytesPerSecond>, bound: &MemoryBoundModel) -> f64 {
    /// What kernels of frameworks reach of what benchmarks do.
    const REACHED: f64 = 0.95;
    REACHED * copy.value.0 / bound.rate(memory_bound::Traffic::Copy).0
}

/// The share of the printed peak that boards of this family reached at the median; of all boards where none of the family was published.
pub(super) fn family(gpu: &GpuModel, catalog: &Catalog, dtype: Dtype, peak: &Figure<FlopsPerSecond>) -> Figure<FlopsPerSecond> {
    /// The median over all published boards in BF16.
    const USUAL: f64 = 0.8;
    let mut shares: Vec<f64> = catalog.achieved_matmul_shares(gpu, dtype).collect();
    shares.sort_by(f64::total_cmp);
    let (share, rule) = match shares.get(shares.len() / 2) {
        Some(share) => (*share, "the share of the peak that published boards of its family reach"),
        None => (USUAL, "80 % of the peak, as published boards reach at the median"),
    };
    let mut figure = peak.map(|rate| rate * share);
    (figure.low, figure.high) = (figure.value * 0.8, figure.value * 1.2);
    figure.basis = Basis::Assumed;
    figure.from.push(rule.to_owned());
    figure
}

/// The rate of copies inside device memory: as published of this model; else a share of the printed bandwidth, but no more than its
/// multiprocessors can have under way.
///
/// By Little's law a multiprocessor moves no more than the bytes it has in flight over the latency. Boards with little arithmetic for much
/// bandwidth (H20: 78 multiprocessors for 4 TB/s) meet that limit before the memory's: of H20-3e 2,233 GB/s are published, 28.6 per
/// multiprocessor, which is what an H200's copies reach as well (3,780 GB/s over 132).
pub(super) fn memory(gpu: &GpuModel, catalog: &Catalog) -> Figure<BytesPerSecond> {
    const SHARE: f64 = 0.87;
    if let Some(own) = catalog.achieved_bandwidth(gpu, Metric::DramCopy) {
        return own;
    }
    let printed = gpu.bandwidth();
    let family = catalog.gpus.iter().filter(|other| other.compute_capability() == gpu.compute_capability());
    let each = |other: &GpuModel| {
        let copy = catalog.achieved_bandwidth(other, Metric::DramCopy)?;
        Some(copy.value.0 / f64::from(other.sm_count?))
    };
    let most = family.filter_map(each).fold(0.0, f64::max);
    let limit = gpu.sm_count.filter(|_| most > 0.0).map_or(f64::INFINITY, |count| most * f64::from(count));
    let value = (printed.value.0 * SHARE).min(limit);
    let rule = if limit < printed.value.0 * SHARE {
        "what its multiprocessors can have under way, as published boards of its family do"
    } else {
        "87 % of the printed bandwidth, as published copies reach"
    };
    let mut figure = Figure::assumed(BytesPerSecond(value), rule);
    (figure.low, figure.high) = (BytesPerSecond(value * 0.85), BytesPerSecond((value * 1.1).min(printed.value.0)));
    figure.from.extend(printed.from);
    figure
}

/// The best rate of products in `dtype` that was measured.
pub(super) fn reached(gpu: &GpuCalibration, dtype: Dtype) -> Option<Figure<FlopsPerSecond>> {
    let name = match dtype {
        Dtype::Bf16 | Dtype::Fp16 => "bf16",
        Dtype::Fp8 => "e4m3",
        _ => return None,
    };
    gpu.matmul_best(name).map(|point| point.rate.clone())
}

/// The geometric mean of two ends.
pub(super) fn between(low: f64, high: f64, rule: &str) -> Figure<Seconds> {
    let mut figure = Figure::assumed(Seconds((low * high).sqrt()), rule);
    (figure.low, figure.high) = (Seconds(low), Seconds(high));
    figure
}
