//! `accuracy`: how wrong the calibrated models are on somebody's measurements.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{Common, Format, Status, catalog_of, print, print_tables};
use crate::accuracy::{self, Kind, Score};
use crate::catalog::{Catalog, Shelf};
use crate::error::{Error, Result};
use crate::report;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What was measured [default: everything that the folder has]
    #[arg(value_enum)]
    kind: Option<KindArgument>,

    /// CSV file of measurements, or a folder of such files [default: $GPU_ASSAY_TRUTH, else truth/ or ../shared/truth/ here].
    /// Columns: device, dtype, m, n, k, latency_us for gemm; device, op, gpus, bytes, latency_us for collective; device, batch_size, isl,
    /// num_heads, num_key_value_heads, head_dim, latency_us, and step when decoding, for attention
    #[arg(long, value_name = "FILE|DIR", verbatim_doc_comment)]
    truth: Option<PathBuf>,

    /// Data type of the products, such as bf16 or fp8 [default: each that the file has]
    #[arg(long)]
    dtype: Option<String>,

    /// Rows that the model is fitted to: in all for gemm, of each step for attention, of each operation and GPU count for collective
    /// [default: 64, 24, 8]
    #[arg(long, value_name = "N")]
    points: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KindArgument {
    /// Matrix products
    Gemm,
    /// Attention of prompts, or of one token at a time
    Attention,
    /// All-reduce, all-gather, reduce-scatter and all-to-all between the GPUs of one machine
    Collective,
}

impl From<KindArgument> for Kind {
    fn from(argument: KindArgument) -> Self {
        match argument {
            KindArgument::Gemm => Self::Gemm,
            KindArgument::Attention => Self::Attention,
            KindArgument::Collective => Self::Collective,
        }
    }
}

pub(super) fn accuracy(common: &Common, arguments: &Arguments) -> Result<Status> {
    let wanted = arguments.kind.map(Kind::from);
    if arguments.dtype.is_some() && wanted != Some(Kind::Gemm) {
        return Err(Error::usage("--dtype is for matrix products; say `accuracy gemm`"));
    }
    let catalog = catalog_of(common, &[Shelf::Gpus])?;
    let truth = arguments.truth.clone().map_or_else(usual_folder, Ok)?;
    let mut scores = Vec::new();
    for (kind, path) in sets(&truth, wanted)? {
        scores.extend(evaluate(kind, &path, &catalog, arguments)?);
    }
    if scores.is_empty() {
        return Err(Error::usage(format!(
            "nothing in {} could be predicted; see the columns in `gpu-assay accuracy --help`",
            truth.display()
        )));
    }
    match (common.format, &scores[..]) {
        (Format::Json, [only]) => print(&json(only))?,
        (Format::Json, all) => print(&json(all))?,
        _ => print_tables(&[report::accuracy(&scores)], common)?,
    }
    Ok(Status::Done)
}

fn evaluate(kind: Kind, path: &Path, catalog: &Catalog, arguments: &Arguments) -> Result<Vec<Score>> {
    let points = arguments.points.unwrap_or(kind.points());
    match kind {
        Kind::Gemm => accuracy::gemm::evaluate(path, catalog, arguments.dtype.as_deref(), points),
        Kind::Attention => accuracy::attention::evaluate(path, catalog, points),
        Kind::Collective => accuracy::collective::evaluate(path, points),
    }
}

/// The file, or the files of a folder in the order of their names, that hold measurements of the wanted kind.
fn sets(truth: &Path, wanted: Option<Kind>) -> Result<Vec<(Kind, PathBuf)>> {
    if !truth.is_dir() {
        let kind = wanted.map_or_else(|| Kind::of_file(truth), |kind| Ok(Some(kind)))?;
        let kind = kind.ok_or_else(|| {
            Error::usage(format!("{} has none of the columns of a truth file; see `gpu-assay accuracy --help`", truth.display()))
        })?;
        return Ok(vec![(kind, truth.to_owned())]);
    }
    let unreadable = |source| Error::File { doing: "reading", path: truth.to_owned(), source, remedy: "check its permissions" };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(truth).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "csv") {
            files.push(path);
        }
    }
    files.sort();
    let mut sets = Vec::new();
    for path in files {
        let kind = Kind::of_file(&path)?;
        sets.extend(kind.filter(|kind| wanted.is_none_or(|wanted| wanted == *kind)).map(|kind| (kind, path)));
    }
    Ok(sets)
}

fn usual_folder() -> Result<PathBuf> {
    let named = std::env::var_os("GPU_ASSAY_TRUTH").map(PathBuf::from);
    let usual = || ["truth", "../shared/truth"].into_iter().map(PathBuf::from).find(|folder| folder.is_dir());
    named
        .or_else(usual)
        .ok_or_else(|| Error::usage("finding measurements to compare with: there is no folder truth/ here; name a file with --truth FILE"))
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    // Names come out of a file.
    format!("{}\n", report::escaped(&serde_json::to_string_pretty(value).unwrap_or_default()))
}
