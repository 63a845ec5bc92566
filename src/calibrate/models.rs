//! The models that a calibration makes of its measurements: time as a function of shape or size.
//!
//! They are made when they are asked for. A fit of matrix products takes milliseconds, which most commands have no use for: it waits until a time is
//! asked of it, and is kept for whoever asks again.
//!
//! What documents say of a board (multiprocessors, peaks, cache) comes from the catalog. A board that is not in it, or a partition of one, is
//! described by its record as far as that goes.

use std::sync::{Mutex, PoisonError};

use super::links::{Access, LinkModel};
use super::matmul::{GemmTiming, MatmulModel, Setting};
use super::memory_bound::MemoryBoundModel;
use super::{Calibration, GpuCalibration, MatmulPoint};
use crate::catalog::{Catalog, Dtype};
use crate::figure::Basis;

/// A model with what it was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted<M> {
    /// The model.
    pub model: M,
    /// What kind of source it has.
    pub basis: Basis,
    /// The sources, in words: a model has too many to list.
    pub from: String,
}

/// Fits that were made, by GPU and data type. They follow from the calibration: it is equal to another with them or without, and a copy, which
/// may be changed, has none.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Vec<Fit>>);

/// Of which GPU and data type, and what it came to.
type Fit = ((u32, &'static str), Option<Fitted<MatmulModel>>);

impl Clone for Kept {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Kept {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A direction between host and device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the host to the device.
    Up,
    /// From the device to the host.
    Down,
}

/// One engine's timings of one data type.
struct Timed<'a> {
    gpu: &'a GpuCalibration,
    engine: &'a str,
    points: Vec<&'a MatmulPoint>,
}

impl Calibration {
    /// Time of matrix products in `dtype` on GPU `index`; `None` where none were measured.
    ///
    /// The timings are those of the engine that timed most shapes, the library where both timed as many. A GPU that was measured with few shapes
    /// borrows those of another GPU of its name in this machine, where dozens were timed.
    pub fn matmul_model(&self, index: u32, catalog: &Catalog, dtype: Dtype) -> Option<Fitted<MatmulModel>> {
        let name = case_name(dtype)?;
        let mut kept = self.fitted.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, fitted)) = kept.iter().find(|(of, _)| *of == (index, name)) {
            return fitted.clone();
        }
        let fitted = self.fit(index, catalog, name);
        kept.push(((index, name), fitted.clone()));
        fitted
    }

    fn fit(&self, index: u32, catalog: &Catalog, name: &'static str) -> Option<Fitted<MatmulModel>> {
        let (own, dtype) = (self.gpu(index)?, if name == "e4m3" { Dtype::Fp8 } else { Dtype::Bf16 });
        let same = self.gpus.iter().filter(|gpu| gpu.name == own.name).filter_map(|gpu| timed(gpu, name));
        let richest = same.reduce(|most, timed| if timed.points.len() > most.points.len() { timed } else { most })?;
        let timed = timed(own, name).filter(|timed| 2 * timed.points.len() >= richest.points.len()).unwrap_or(richest);
        let timings: Vec<GemmTiming> = timed.points.iter().map(|point| GemmTiming { shape: point.shape(), time: point.time() }).collect();
        let documented = timed.gpu.model(catalog).and_then(|gpu| MatmulModel::fit(gpu, dtype, Setting::ROTATED, &timings));
        let model = documented.or_else(|| MatmulModel::fit_board(&timed.gpu.board, dtype, Setting::ROTATED, &timings))?;
        let basis = timed.points.first()?.rate.basis;
        let from = format!("matmul.{name}, {} shapes, engine={}, gpu={}", timings.len(), timed.engine, timed.gpu.index);
        Some(Fitted { model, basis, from })
    }

    /// Time of kernels bound by the memory of GPU `index`; `None` where neither a measurement nor the catalog tells its rate.
    pub fn memory_bound_model(&self, index: u32, catalog: &Catalog) -> Option<MemoryBoundModel> {
        let gpu = self.gpu(index)?;
        MemoryBoundModel::new(Some(gpu), gpu.model(catalog))
    }

    /// Time of copies between GPU `index` and pinned host memory.
    pub fn host_link(&self, index: u32, direction: Direction) -> Option<LinkModel> {
        let name = match direction {
            Direction::Up => "h2d",
            Direction::Down => "d2h",
        };
        LinkModel::measured(self.gpu(index)?.copy.get(&(name.to_owned(), "pinned".to_owned()))?)
    }

    /// Time of copies from one GPU to another.
    pub fn peer_link(&self, from: u32, to: u32) -> Option<LinkModel> {
        LinkModel::peer(self.peer(from, to)?)
    }

    /// Time of reading or writing a file.
    pub fn disk(&self, access: Access) -> Option<LinkModel> {
        LinkModel::storage(&self.storage, access)
    }
}

/// What case ids call a data type that the probe measures. FP16 runs on the same units as BF16, at the same rate.
const fn case_name(dtype: Dtype) -> Option<&'static str> {
    match dtype {
        Dtype::Bf16 | Dtype::Fp16 => Some("bf16"),
        Dtype::Fp8 => Some("e4m3"),
        _ => None,
    }
}

fn timed<'a>(gpu: &'a GpuCalibration, name: &str) -> Option<Timed<'a>> {
    // The library last: of equals, the last is taken.
    let engines = ["own", "cublaslt"].map(|engine| {
        let points = gpu.matmul.iter().filter(|point| point.dtype == name && point.engine == engine).collect();
        Timed { gpu, engine, points }
    });
    engines.into_iter().filter(|timed| !timed.points.is_empty()).max_by_key(|timed| timed.points.len())
}
