//! What one GPU was found to do.

use std::collections::BTreeMap;

use super::matmul::{Board, GemmShape};
use super::{Beyond, Curve, Point, Shape, Source, best, least};
use crate::catalog::{Catalog, GpuModel};
use crate::figure::{Basis, Figure, Share};
use crate::machine::Gpu;
use crate::measure::Measurement;
use crate::units::{Bytes, BytesPerSecond, FlopsPerSecond, Seconds, Watts};

/// The mechanisms of device memory, in the order tables show them.
const DRAM: [&str; 6] = ["read", "write", "copy", "scale", "add", "triad"];

/// Array sizes below so many second-level caches may be answered by the cache and are no ceiling of device memory.
const CACHES: u64 = 4;

/// What one GPU was found to do.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuCalibration {
    /// Its position in the machine.
    pub index: u32,
    /// As the driver names it.
    pub name: String,
    /// Vendor and device, such as `10de:2330`.
    pub pci_id: Option<String>,
    /// What the driver says of the board, for those that no catalog describes.
    pub board: Board,
    /// Best rate of device memory by mechanism (`read`, `write`, `copy`, `scale`, `add`, `triad`); reads and writes both counted.
    pub dram: BTreeMap<String, Figure<BytesPerSecond>>,
    /// Read rate by working set: cache first, device memory at the end.
    pub cache_read: Option<Curve<Bytes, BytesPerSecond>>,
    /// Time of one dependent load by working set.
    pub cache_latency: Option<Curve<Bytes, Seconds>>,
    /// Every matrix product measured.
    pub matmul: Vec<MatmulPoint>,
    /// The rate of a product of zeros as a share of random data's: above 1.1 where power limits the clock.
    pub zeros: Option<Figure<Share>>,
    /// Copies from and to the host, by direction (`h2d`, `d2h`, `both`) and kind of host memory (`pinned`, `pageable`).
    pub copy: BTreeMap<(String, String), CopyRates>,
    /// What starting work costs.
    pub launch: LaunchCosts,
    /// What memory is gone before the first tensor.
    pub memory: MemoryCosts,
    /// Highest mean power over a measurement, and what was being measured.
    pub power: Option<Figure<Watts>>,
    /// PCIe generation and lanes seen while data moved.
    pub pcie: Option<(u32, u32)>,
    /// Reasons the driver gave for reduced clocks in any measurement.
    pub throttled: Vec<String>,
}

/// One matrix product.
#[derive(Debug, Clone, PartialEq)]
pub struct MatmulPoint {
    /// Format of the factors, as case ids name it: `bf16`, `e4m3`, …
    pub dtype: String,
    /// Who computed it: `own` or `cublaslt`.
    pub engine: String,
    /// Rows of the result.
    pub m: u64,
    /// Columns of the result.
    pub n: u64,
    /// Length of the inner products.
    pub k: u64,
    /// The rate.
    pub rate: Figure<FlopsPerSecond>,
}

impl MatmulPoint {
    /// Its shape.
    pub const fn shape(&self) -> GemmShape {
        GemmShape { m: self.m, n: self.n, k: self.k }
    }

    /// Time of one product.
    pub fn time(&self) -> Seconds {
        self.shape().flops() / self.rate.value
    }
}

/// Copies in one direction with one kind of host memory.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyRates {
    /// Best rate over all sizes.
    pub ceiling: Figure<BytesPerSecond>,
    /// Time by size; cannot fall, and grows in proportion beyond the sizes measured.
    pub time: Curve<Bytes, Seconds>,
}

/// What starting work costs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LaunchCosts {
    /// One kernel launch.
    pub kernel: Option<Figure<Seconds>>,
    /// One replay of a captured graph.
    pub graph: Option<Figure<Seconds>>,
    /// One kernel launch and the recording of an event.
    pub event: Option<Figure<Seconds>>,
    /// One launch and waiting for its end.
    pub sync: Option<Figure<Seconds>>,
}

/// What memory is gone before the first tensor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemoryCosts {
    /// The driver's context.
    pub context: Option<Figure<Bytes>>,
    /// cublasLt, once loaded and used.
    pub cublaslt: Option<Figure<Bytes>>,
    /// NCCL's buffers once all GPUs are connected, on the first of them.
    pub nccl: Option<Figure<Bytes>>,
    /// What one process could really allocate; from what was allocated to what was free where the probe left memory to others.
    pub allocatable: Option<Figure<Bytes>>,
    /// The unit in which the driver hands memory out.
    pub granularity: Option<Figure<Bytes>>,
}

impl GpuCalibration {
    pub(super) fn new(source: &Source<'_>, gpu: &Gpu) -> Self {
        let index = gpu.index;
        let here = move |measurement: &Measurement| measurement.case.get_count("gpu") == Some(u64::from(index));
        let cost = |mechanism| least(source.of(mechanism, here).filter_map(|measurement| source.latency(measurement)));
        let telemetry =
            || source.run.measurements().filter(|measurement| here(measurement)).filter_map(|m| Some((m, m.telemetry.as_ref()?)));
        let mut throttled: Vec<String> = telemetry().flat_map(|(_, span)| span.throttle_reasons.iter().cloned()).collect();
        throttled.sort();
        throttled.dedup();
        let dram = dram(source, gpu);
        Self {
            index,
            name: gpu.name.clone(),
            pci_id: gpu.pci_id.known().cloned(),
            board: Board::of(gpu).with_reading(dram.get("read").map(|rate| rate.value)),
            dram,
            cache_read: Curve::new(by_size(source, "cache.read", here, |m| source.bandwidth(m)), Shape::Free, Beyond::Constant),
            cache_latency: Curve::new(by_size(source, "cache.latency", here, |m| source.latency(m)), Shape::Rising, Beyond::Constant),
            matmul: matmul(source, here),
            zeros: zeros(source, here),
            copy: copies(source, here),
            launch: LaunchCosts {
                kernel: cost("launch.kernel"),
                graph: cost("launch.graph"),
                event: cost("launch.event"),
                sync: cost("launch.sync"),
            },
            memory: MemoryCosts {
                context: source.observed("memory.context", index),
                cublaslt: source.observed("memory.cublaslt", index),
                nccl: source.observed("memory.nccl", index),
                allocatable: source.observed("memory.allocatable", index),
                granularity: source.observed("memory.granularity", index),
            },
            power: best(telemetry().filter_map(|(measurement, span)| {
                let power = span.mean_power.filter(|power| power.is_finite())?;
                Some(Figure::new(power, source.basis, measurement.case.to_string()))
            })),
            pcie: telemetry()
                .filter(|(measurement, _)| measurement.case.family() == "copy")
                .filter_map(|(_, span)| span.pcie_generation.zip(span.pcie_width))
                .max(),
            throttled,
        }
    }

    /// The catalog's entry for it; none for a partition of a board.
    pub fn model<'a>(&self, catalog: &'a Catalog) -> Option<&'a GpuModel> {
        catalog.device(&self.name, self.pci_id.as_deref())
    }

    /// Best rate of device memory over all mechanisms.
    pub fn dram_best(&self) -> Option<Figure<BytesPerSecond>> {
        best(self.dram.values().cloned())
    }

    /// Best rate of matrix products in `dtype` (`bf16`, `e4m3`, …) over engines and shapes.
    pub fn matmul_best(&self, dtype: &str) -> Option<&MatmulPoint> {
        let points = self.matmul.iter().filter(|point| point.dtype == dtype);
        points.reduce(|best, point| if point.rate.value > best.rate.value { point } else { best })
    }

    /// Best rate of one direction and kind of host memory.
    pub fn copy_ceiling(&self, direction: &str, memory: &str) -> Option<&Figure<BytesPerSecond>> {
        self.copy.get(&(direction.to_owned(), memory.to_owned())).map(|rates| &rates.ceiling)
    }

    /// Whether anything was measured on it.
    pub fn is_empty(&self) -> bool {
        self.dram.is_empty() && self.matmul.is_empty() && self.copy.is_empty() && self.launch == LaunchCosts::default()
    }

    /// The basis of its figures, if it has any.
    pub fn basis(&self) -> Option<Basis> {
        self.dram.values().next().map(|figure| figure.basis).or_else(|| self.matmul.first().map(|point| point.rate.basis))
    }
}

fn dram(source: &Source<'_>, gpu: &Gpu) -> BTreeMap<String, Figure<BytesPerSecond>> {
    let index = u64::from(gpu.index);
    let honest = gpu.l2.known().map_or(Bytes(0), |l2| *l2 * CACHES);
    let ceiling = |name: &&str| {
        // Plain accesses and bulk copies: the faster is what the memory can do, and its case is named.
        let mechanisms = [format!("dram.{name}"), format!("bulk.{name}")];
        let size = |m: &Measurement| m.case.get_bytes("bytes").unwrap_or(Bytes(u64::MAX));
        let cases = || {
            source
                .run
                .measurements()
                .filter(|m| mechanisms.iter().any(|name| name == m.case.mechanism()) && m.case.get_count("gpu") == Some(index))
        };
        // Where so little memory could be used that no array is large enough, the largest is the best there is.
        let least_size = honest.min(cases().map(size).max()?);
        let rate = best(cases().filter(|m| size(m) >= least_size).filter_map(|m| source.bandwidth(m)))?;
        Some(((*name).to_owned(), rate))
    };
    DRAM.iter().filter_map(ceiling).collect()
}

fn by_size<'a, Y: crate::figure::Quantity>(
    source: &Source<'a>,
    mechanism: &'a str,
    wanted: impl Fn(&Measurement) -> bool,
    figure: impl Fn(&Measurement) -> Option<Figure<Y>>,
) -> Vec<Point<Bytes, Y>> {
    source.of(mechanism, wanted).filter_map(|m| Some(Point { x: m.case.get_bytes("bytes")?, y: figure(m)? })).collect()
}

fn matmul(source: &Source<'_>, here: impl Fn(&Measurement) -> bool) -> Vec<MatmulPoint> {
    let point = |m: &Measurement| {
        Some(MatmulPoint {
            dtype: m.case.mechanism().strip_prefix("matmul.")?.to_owned(),
            engine: m.case.get_word("engine")?.to_owned(),
            m: m.case.get_count("m")?,
            n: m.case.get_count("n")?,
            k: m.case.get_count("k")?,
            rate: source.throughput(m)?,
        })
    };
    // Products of zeros are no rate to count on.
    source.run.measurements().filter(|m| here(m) && m.case.mechanism() != "matmul.zeros").filter_map(point).collect()
}

/// The rate of a product of zeros, as a share of the same product's of random data by the same engine.
fn zeros(source: &Source<'_>, here: impl Fn(&Measurement) -> bool + Copy) -> Option<Figure<Share>> {
    let axes = |m: &Measurement| {
        let extents = ["m", "n", "k"].map(|axis| m.case.get_count(axis));
        (m.case.get_word("engine").map(str::to_owned), extents)
    };
    let zeros = source.of("matmul.zeros", here).next()?;
    let random = source.of("matmul.bf16", here).find(|m| axes(m) == axes(zeros))?;
    Some(source.throughput(zeros)?.share_of(&source.throughput(random)?))
}

fn copies(source: &Source<'_>, here: impl Fn(&Measurement) -> bool + Copy) -> BTreeMap<(String, String), CopyRates> {
    let mut copies = BTreeMap::new();
    for (mechanism, direction) in [("copy.h2d", "h2d"), ("copy.d2h", "d2h"), ("copy.both", "both")] {
        for memory in ["pinned", "pageable"] {
            let wanted = move |m: &Measurement| here(m) && m.case.get_word("memory") == Some(memory);
            let ceiling = best(source.of(mechanism, wanted).filter_map(|m| source.bandwidth(m)));
            let time = Curve::new(by_size(source, mechanism, wanted, |m| source.time(m)), Shape::Rising, Beyond::Proportional);
            if let (Some(ceiling), Some(time)) = (ceiling, time) {
                copies.insert((direction.to_owned(), memory.to_owned()), CopyRates { ceiling, time });
            }
        }
    }
    copies
}
