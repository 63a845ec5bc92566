//! What a machine of this kind reaches: the bands that measurements are held against.
//!
//! In this order: the user's policy ([`Policy`](super::policy::Policy), applied where a band is used), records of other machines with the same
//! GPU model, the catalog's published figures, and what boards of the family reach of the datasheet. The weaker the source, the wider the band:
//!
//! | source | warning | failure |
//! |---|---|---|
//! | three or more machines of the model | 0.97 of the slowest, 0.95 of the median at most | 0.93 and 0.90 |
//! | one or two | 0.95 | 0.88 |
//! | published bandwidth of the model | 0.92 | 0.85, and 0.95 of the least published |
//! | published matrix products of the model, which are those of the best shape and often of a short burst | 0.85 | 0.75, and likewise |
//! | the family's usual share of the datasheet | 0.85 | 0.70 |
//! | copies over a link, from what its lanes carry | 0.90 | 0.75 |
//! | copies between GPUs | 0.85 | 0.65 |
//!
//! A sustained large square reaches 0.84 to 0.92 of the best shape's published rate (L4 59.4 of 70.9 TFLOP/s, A100 PCIe 224 of 253, H100 730 of 794).
//! 0.90 and 0.75 tell any halving of a link from its usual spread, and what others measured as good is no warning. Beyond these, nothing is known here about how much machines of one model differ, so no band is narrower than a tenth.

use crate::calibrate::{Calibration, GpuCalibration};
use crate::catalog::{Catalog, Dtype, GpuModel, Metric};
use crate::figure::{Basis, Figure, Quantity};
use crate::stats::Sample;
use crate::units::{BytesPerSecond, FlopsPerSecond};

use super::Band;

/// A quantity of a GPU that has a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rate {
    /// Device memory, by mechanism: `copy`, `triad`, `read`, `write`.
    Dram(&'static str),
    /// Matrix products, by format and engine as case ids name them.
    Matmul(&'static str, Engine),
    /// Pinned host memory, `h2d` or `d2h`.
    Copy(&'static str),
}

/// Who computes a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    /// NVIDIA's library.
    CublasLt,
    /// Our own kernel.
    Own,
}

impl Engine {
    /// As case ids name it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::CublasLt => "cublaslt",
            Self::Own => "own",
        }
    }
}

impl Rate {
    /// What was measured of it, in base units.
    pub(super) fn of(self, gpu: &GpuCalibration) -> Option<Figure<f64>> {
        match self {
            Self::Dram(name) => gpu.dram.get(name).map(plain),
            Self::Matmul(dtype, engine) => {
                let points = gpu.matmul.iter().filter(|point| point.dtype == dtype && point.engine == engine.word());
                points.map(|point| &point.rate).max_by(|a, b| a.value.0.total_cmp(&b.value.0)).map(plain)
            }
            Self::Copy(direction) => gpu.copy_ceiling(direction, "pinned").map(plain),
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Dram(_) | Self::Copy(_) => BytesPerSecond::UNIT,
            Self::Matmul(..) => FlopsPerSecond::UNIT,
        }
    }

    /// Whether two GPUs of one model can be compared: copies go over links, which differ.
    fn comparable(self, a: &GpuCalibration, b: &GpuCalibration) -> bool {
        !matches!(self, Self::Copy(_)) || a.pcie == b.pcie
    }
}

fn plain<Q: Quantity>(figure: &Figure<Q>) -> Figure<f64> {
    figure.map(Quantity::base)
}

/// The band of `rate` for `own`, a GPU that should be a `model`; `None` where nothing is known.
pub(super) fn band(rate: Rate, own: &GpuCalibration, model: &GpuModel, catalog: &Catalog, others: &[Calibration]) -> Option<Band> {
    recorded(rate, own, model, catalog, others).or_else(|| documented(rate, own, model, catalog))
}

/// From records of other machines.
fn recorded(rate: Rate, own: &GpuCalibration, model: &GpuModel, catalog: &Catalog, others: &[Calibration]) -> Option<Band> {
    let is_model = |gpu: &&GpuCalibration| gpu.model(catalog).is_some_and(|other| other.name == model.name);
    let median = |machine: &Calibration| {
        let same = machine.gpus.iter().filter(is_model).filter(|gpu| rate.comparable(gpu, own));
        let rates: Vec<f64> = same.filter_map(|gpu| Some(rate.of(gpu)?.value)).collect();
        // A machine counts once, however many GPUs it has.
        middle(&rates).map(|rate| (rate, machine.machine.clone()))
    };
    let (rates, from): (Vec<f64>, Vec<String>) = others.iter().filter_map(median).unzip();
    let reference = middle(&rates)?;
    let slowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
    let (warning, failure) = if rates.len() >= 3 {
        // One slow machine among the records must not make every slow machine good.
        ((0.97 * slowest).clamp(0.85 * reference, 0.95 * reference), (0.93 * slowest).clamp(0.75 * reference, 0.90 * reference))
    } else {
        (0.95 * reference, 0.88 * reference)
    };
    let from = from.into_iter().map(|machine| format!("record {machine}")).collect();
    Some(Band { reference, warning, failure, unit: rate.unit(), basis: Basis::MeasuredSameModel, from })
}

/// From documents.
fn documented(rate: Rate, own: &GpuCalibration, model: &GpuModel, catalog: &Catalog) -> Option<Band> {
    match rate {
        Rate::Dram(name) => dram(name, model, catalog),
        Rate::Matmul(dtype, engine) => matmul(dtype, engine, model, catalog),
        Rate::Copy(_) => {
            let (generation, width) = own.pcie?;
            over_a_link(generation, width, catalog)
        }
    }
}

fn dram(name: &str, model: &GpuModel, catalog: &Catalog) -> Option<Band> {
    let (metric, share) = match name {
        "copy" => (Metric::DramCopy, 0.87),
        "triad" => (Metric::DramTriad, 0.88),
        "read" => (Metric::DramRead, 0.90),
        "write" => (Metric::DramWrite, 0.90),
        _ => return None,
    };
    let published = catalog.achieved_bandwidth(model, metric).map(|figure| published(&figure, 0.92, 0.85));
    published.or_else(|| {
        Some(of_the_family(&model.bandwidth(), share, format!("{:.0} % of the datasheet, as boards of many models reach", share * 100.0)))
    })
}

fn matmul(dtype: &str, engine: Engine, model: &GpuModel, catalog: &Catalog) -> Option<Band> {
    let dtype = if dtype == "bf16" { Dtype::Bf16 } else { Dtype::Fp8 };
    let peak = model.matmul_peak(dtype)?;
    match engine {
        Engine::CublasLt => {
            // Above the printed peak another instruction was measured (FP8 with block scales or 16-bit sums on consumer boards), or a boost.
            let published = catalog.achieved_matmul(model, dtype).map(|mut figure| {
                figure.value = figure.value.min(peak.value * 1.05);
                figure.low = figure.low.min(figure.value);
                published(&figure, 0.85, 0.75)
            });
            published.or_else(|| {
                let mut shares: Vec<f64> = catalog.achieved_matmul_shares(model, dtype).collect();
                shares.sort_by(f64::total_cmp);
                let share = middle(&shares)?.min(0.9);
                Some(of_the_family(
                    &peak,
                    share,
                    format!("{:.0} % of the datasheet, as published boards of its family reach", share * 100.0),
                ))
            })
        }
        // How much of a board our own kernel uses is not known of any board yet. It must not condemn one: only what is far below
        // every tensor-core kernel's share says anything.
        // Its FP8 goes through 16 bits where the compiler has no instruction for it (Hopper), so of that even less is known.
        Engine::Own if dtype == Dtype::Fp8 => None,
        Engine::Own => {
            let mut band = of_the_family(&peak, 0.6, "60 % of the datasheet, assumed of this program's own kernel".to_owned());
            (band.warning, band.failure) = (band.reference * 0.5, band.reference * 0.4);
            Some(band)
        }
    }
}

/// Copies between pinned host memory and a GPU over so many lanes.
pub(super) fn over_a_link(generation: u32, width: u32, catalog: &Catalog) -> Option<Band> {
    let link = catalog.pcie(generation, width)?;
    let practical = link.practical().or_else(|| link.encoded().map(|rate| rate.map(|rate| rate * 0.88)))?;
    // Hosts differ: what others measured as good is no warning.
    let good = link.measured.map_or(f64::INFINITY, |measured| 0.97 * measured.low().0);
    let failure = 0.75 * practical.value.0;
    Some(Band {
        reference: practical.value.0,
        warning: (0.90 * practical.value.0).min(good).max(failure),
        failure,
        unit: BytesPerSecond::UNIT,
        basis: practical.basis,
        from: practical.from,
    })
}

/// Copies between two GPUs that `one_way` bytes a second could pass, of which copies usually reach `share`.
pub(super) fn between_gpus(one_way: &Figure<BytesPerSecond>, share: f64) -> Band {
    let reference = one_way.value.0 * share;
    Band {
        reference,
        warning: 0.85 * reference,
        failure: 0.65 * reference,
        unit: BytesPerSecond::UNIT,
        basis: Basis::Assumed,
        from: one_way.from.iter().cloned().chain([format!("{:.0} % of it, as published copies reach", share * 100.0)]).collect(),
    }
}

/// Against the median of the others of one machine.
pub(super) fn among_equals(others: &[f64], warning: f64, failure: f64, unit: &'static str) -> Option<Band> {
    let reference = middle(others)?;
    let from = vec![format!("the median of {} others of this machine", others.len())];
    Some(Band { reference, warning: warning * reference, failure: failure * reference, unit, basis: Basis::MeasuredHere, from })
}

fn published<Q: Quantity>(figure: &Figure<Q>, warning: f64, failure: f64) -> Band {
    let (best, least) = (figure.value.base(), figure.low.base());
    let failure = (failure * best).min(0.95 * least);
    Band {
        reference: best,
        warning: (warning * best).min(0.98 * least).max(failure),
        failure,
        unit: Q::UNIT,
        basis: figure.basis,
        from: figure.from.clone(),
    }
}

fn of_the_family<Q: Quantity>(printed: &Figure<Q>, share: f64, rule: String) -> Band {
    let reference = printed.value.base() * share;
    Band {
        reference,
        warning: 0.85 * reference,
        failure: 0.70 * reference,
        unit: Q::UNIT,
        basis: Basis::Assumed,
        from: printed.from.iter().cloned().chain([rule]).collect(),
    }
}

/// The median; the value itself of a single one.
pub(super) fn middle(values: &[f64]) -> Option<f64> {
    match values {
        [] => None,
        [only] => Some(*only),
        _ => Sample::new(values.to_vec()).ok().map(|sample| sample.median()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(band: &Band) -> bool {
        band.failure <= band.warning && band.warning <= band.reference && band.failure > 0.0 && !band.from.is_empty()
    }

    #[test]
    fn every_model_of_the_catalog_has_bands_in_order() {
        let catalog = Catalog::embedded().unwrap();
        for model in &catalog.gpus {
            for name in ["copy", "triad", "read", "write"] {
                let band = dram(name, model, &catalog).unwrap();
                assert!(limits(&band), "{} {name}: {band:?}", model.short_name);
                assert!(band.reference <= 1.02 * model.bandwidth().value.0, "{} {name}: {band:?}", model.short_name);
            }
            for dtype in ["bf16", "e4m3"] {
                for engine in [Engine::CublasLt, Engine::Own] {
                    assert!(matmul(dtype, engine, model, &catalog).is_none_or(|band| limits(&band)), "{}", model.short_name);
                }
            }
        }
        for (generation, width) in [(3, 16), (4, 8), (5, 16), (6, 16)] {
            assert!(over_a_link(generation, width, &catalog).is_some_and(|band| limits(&band)), "gen{generation} x{width}");
        }
    }

    #[test]
    fn half_a_link_fails_the_whole_ones_band() {
        let catalog = Catalog::embedded().unwrap();
        for generation in 3..=5 {
            let (whole, half) = (over_a_link(generation, 16, &catalog).unwrap(), over_a_link(generation, 8, &catalog).unwrap());
            assert_eq!(whole.judge(half.reference, half.reference), super::super::Status::Failure);
        }
    }
}
