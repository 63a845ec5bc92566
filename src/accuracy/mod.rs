//! How wrong the calibrated models are, on somebody's measurements.
//!
//! A **truth file** lists operations with the time each took. A handful of its rows, chosen **by their shapes alone** and by the same rule for
//! every file, stand in for what a calibration would have measured; the model is fitted to them and predicts all the others. An **error** is
//! |predicted / measured − 1|, and only rows that did not enter the fit count. Beside the errors stands how often the truth lay in the
//! predicted 90 % interval: an interval is honest when that share is near nine in ten.

pub mod attention;
pub mod collective;
pub mod gemm;
mod truth;

pub use truth::read;

use std::path::Path;

use serde::Serialize;

use crate::calibrate::Prediction;
use crate::calibrate::matmul;
use crate::error::Result;
use crate::stats::Sample;
use crate::units::Seconds;

/// What a truth file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Matrix products.
    Gemm,
    /// Attention of prompts, or of one token at a time.
    Attention,
    /// Collective operations between GPUs.
    Collective,
}

impl Kind {
    /// What the file at `path` holds, told by its columns; `None` if none of these.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn of_file(path: &Path) -> Result<Option<Self>> {
        let columns = truth::columns(path)?;
        let has = |wanted: &[&str]| wanted.iter().all(|name| columns.iter().any(|column| column == name));
        let telling = [
            (Self::Gemm, &["dtype", "m", "n", "k", "latency_us"][..]),
            (Self::Attention, &["isl", "num_heads", "head_dim", "latency_us"]),
            (Self::Collective, &["op", "gpus", "bytes", "latency_us"]),
        ];
        Ok(telling.into_iter().find(|(_, names)| has(names)).map(|(kind, _)| kind))
    }

    /// How many rows a calibration of it measures: in all, of each step, and of each operation and GPU count.
    pub fn points(self) -> usize {
        match self {
            Self::Gemm => matmul::DESIGN.len(),
            Self::Attention => 24,
            Self::Collective => 8,
        }
    }
}

/// How wrong a model was on the rows of one file. The keys are those of `accuracy --format json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// What was predicted: `gemm`, `attention`, `collective`.
    pub kind: &'static str,
    /// The device, as the file names it.
    pub device: String,
    /// What part of the file: a data type, an operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Rows that the model was fitted to.
    pub points_used: usize,
    /// Rows predicted.
    pub rows: usize,
    /// Median of |predicted / measured − 1|.
    pub median_error: f64,
    /// Its 90th percentile.
    pub p90_error: f64,
    /// The largest.
    pub worst_error: f64,
    /// Median of predicted / measured − 1: above zero where predictions are too long.
    pub median_bias: f64,
    /// Share of the rows whose time lay in the predicted 90 % interval.
    pub inside_interval: f64,
    /// Share of the rows that lay outside what the fit had seen.
    pub extrapolated: f64,
    /// The scores of parts of the rows, where the model has several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Score>,
}

impl Score {
    /// The score of predictions beside the times measured; `None` with fewer than two.
    pub fn of(
        kind: &'static str,
        device: &str,
        part: Option<String>,
        points_used: usize,
        rows: impl IntoIterator<Item = (Prediction, Seconds)>,
    ) -> Option<Self> {
        let rows: Vec<(Prediction, Seconds)> = rows.into_iter().collect();
        let share = |of: &dyn Fn(&(Prediction, Seconds)) -> bool| rows.iter().filter(|row| of(row)).count() as f64 / rows.len() as f64;
        let signed = Sample::new(rows.iter().map(|(predicted, measured)| predicted.time.0 / measured.0 - 1.0).collect()).ok()?;
        let errors = Sample::new(signed.values().iter().map(|error| error.abs()).collect()).ok()?;
        Some(Self {
            kind,
            device: device.to_owned(),
            part,
            points_used,
            rows: rows.len(),
            median_error: errors.median(),
            p90_error: errors.quantile(0.9),
            worst_error: errors.most(),
            median_bias: signed.median(),
            inside_interval: share(&|(predicted, measured)| predicted.contains(*measured)),
            extrapolated: share(&|(predicted, _)| predicted.extrapolated),
            parts: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_counts_what_it_says() {
        let rows = (1..=10).map(|i| {
            let predicted = Prediction::within(Seconds(1.0 + f64::from(i) / 100.0), 1.05, i > 8);
            (predicted, Seconds(1.0))
        });
        let score = Score::of("gemm", "a device", None, 3, rows).unwrap();
        assert_eq!((score.rows, score.points_used), (10, 3));
        assert!((score.median_error - 0.055).abs() < 1e-12 && (score.median_bias - 0.055).abs() < 1e-12, "{score:?}");
        assert!((score.p90_error - 0.091).abs() < 1e-9 && (score.worst_error - 0.1).abs() < 1e-9, "{score:?}");
        assert_eq!((score.inside_interval, score.extrapolated), (0.5, 0.2));
        assert_eq!(Score::of("gemm", "a device", None, 3, []), None);
    }
}
