//! `accuracy`: how wrong the calibrated models are on somebody's measurements.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Common, Format, Status, catalog_of, print};
use crate::accuracy::{Score, collective, gemm};
use crate::catalog::Shelf;
use crate::error::{Error, Result};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What was measured
    #[arg(value_enum)]
    kind: Option<Kind>,

    /// CSV file of measurements
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,

    /// Data type of the products [default: each that the file has]
    #[arg(long)]
    dtype: Option<String>,

    /// Rows that the model is fitted to [default: 64 for gemm, 24 for attention, 8 for collective]
    #[arg(long)]
    points: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Matrix products
    Gemm,
    /// All-reduce, all-gather, reduce-scatter and all-to-all between the GPUs of one machine
    Collective,
}

pub(super) fn accuracy(common: &Common, arguments: &Arguments) -> Result<Status> {
    let (Some(kind), Some(truth)) = (arguments.kind, &arguments.truth) else {
        return Err(Error::usage("expected a kind and --truth FILE"));
    };
    let catalog = catalog_of(common, &[Shelf::Gpus])?;
    let scores: Vec<Score> = match kind {
        Kind::Gemm => gemm::evaluate(truth, &catalog, arguments.dtype.as_deref(), arguments.points.unwrap_or(64))?,
        Kind::Collective => collective::evaluate(truth, arguments.points.unwrap_or(8))?,
    };
    if common.format == Format::Json {
        print(&format!("{}\n", serde_json::to_string_pretty(&scores).unwrap_or_default()))?;
    }
    Ok(Status::Done)
}
