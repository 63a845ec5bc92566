//! Matrix products: columns `device, dtype, m, n, k, latency_us`.
//!
//! **How the times were taken** matters where they are short. The published sets call a linear layer in a loop: as many copies of its weights as
//! fill the second-level cache once, five at most, take turns, and each call finds its activations where the last one left them. In FP8
//! the call casts its activations first. (ai-dynamo/aiconfigurator, `collector/trtllm/collect_gemm.py`.) The model is told so.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{Score, read};
use crate::calibrate::matmul::{DESIGN, GemmShape, GemmTiming, MatmulModel, Setting, Weights};
use crate::catalog::{Catalog, Dtype};
use crate::error::{Error, Result};
use crate::units::Seconds;

#[derive(Debug, Deserialize)]
struct Row {
    device: String,
    dtype: String,
    m: u64,
    n: u64,
    k: u64,
    latency_us: f64,
}

/// The score of every device and data type in the file at `path`, or of `dtype` alone, each fitted to at most `points` rows: those nearest to the
/// shapes of [`DESIGN`], the first `points` of them.
///
/// # Errors
/// Where the file cannot be read, holds a time or a shape that is none, or names a device or a data type that the catalog does not know; where
/// it has nothing in `dtype`; with more points than the design has.
pub fn evaluate(path: &Path, catalog: &Catalog, dtype: Option<&str>, points: usize) -> Result<Vec<Score>> {
    if !(1..=DESIGN.len()).contains(&points) {
        return Err(Error::usage(format!("expected 1 to {} points but found {points}", DESIGN.len())));
    }
    let content = |why: String| Error::Content {
        path: path.to_owned(),
        why,
        remedy: "give times of matrix products in microseconds, a row each".to_owned(),
    };
    let mut sets: BTreeMap<(String, String), Vec<GemmTiming>> = BTreeMap::new();
    for row in read::<Row>(path)? {
        if !(row.latency_us > 0.0 && row.latency_us.is_finite() && row.m > 0 && row.n > 0 && row.k > 0) {
            return Err(content(format!("expected a shape and a time but found {row:?}")));
        }
        let timing = GemmTiming { shape: GemmShape { m: row.m, n: row.n, k: row.k }, time: Seconds(row.latency_us * 1e-6) };
        sets.entry((row.device, row.dtype)).or_default().push(timing);
    }
    sets.retain(|(_, of), _| dtype.is_none_or(|wanted| wanted.eq_ignore_ascii_case(of)));
    if sets.is_empty() {
        return Err(content(format!("expected products in {} but found none", dtype.unwrap_or("some data type"))));
    }
    let mut scores = Vec::new();
    for ((device, dtype), timings) in sets {
        let gpu = catalog.gpu(&device)?;
        let format = Dtype::named(&dtype).ok_or_else(|| content(format!("expected a data type but found {dtype:?}")))?;
        let setting = Setting { weights: Weights::Rotating { most: 5 }, casts: format == Dtype::Fp8 };
        let chosen = nearest(&DESIGN[..], points, &timings);
        let (seen, held) = split(timings, &chosen);
        let model = MatmulModel::fit(gpu, format, setting, &seen)
            .ok_or_else(|| content(format!("expected a data type that {} multiplies in but found {dtype:?}", gpu.name)))?;
        let rows = held.iter().map(|timing| (model.time_in(setting, timing.shape), timing.time));
        scores.extend(Score::of("gemm", &device, Some(dtype), seen.len(), rows));
    }
    Ok(scores)
}

/// Indices of the rows nearest to the shapes of a design, in the logarithms, no row twice. With fewer `points` than shapes, evenly spaced ones.
fn nearest(design: &[GemmShape], points: usize, timings: &[GemmTiming]) -> Vec<usize> {
    let distance = |a: GemmShape, b: GemmShape| {
        [(a.m, b.m), (a.n, b.n), (a.k, b.k)].iter().map(|&(a, b)| (a as f64 / b as f64).ln().powi(2)).sum::<f64>()
    };
    let mut chosen: Vec<usize> = Vec::new();
    for index in 0..points {
        let shape = design[index * design.len() / points];
        let free = (0..timings.len()).filter(|row| !chosen.contains(row));
        let near = free.min_by(|&a, &b| distance(timings[a].shape, shape).total_cmp(&distance(timings[b].shape, shape)));
        chosen.extend(near);
    }
    chosen
}

fn split(timings: Vec<GemmTiming>, chosen: &[usize]) -> (Vec<GemmTiming>, Vec<GemmTiming>) {
    let (seen, held): (Vec<_>, Vec<_>) = timings.into_iter().enumerate().partition(|(row, _)| chosen.contains(row));
    let timings = |rows: Vec<(usize, GemmTiming)>| rows.into_iter().map(|(_, timing)| timing).collect();
    (timings(seen), timings(held))
}
