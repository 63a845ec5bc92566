//! `export`: a record's constants in the formats of other programs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Common, Status, catalog, print};
use crate::error::Result;
use crate::record::{Run, write_atomically};
use crate::report;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Result file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Format to write
    #[arg(long, value_enum)]
    to: Target,

    /// File to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    /// Gauges for Prometheus and whatever reads its text format
    Openmetrics,
    /// A system file (YAML) for NVIDIA's aiconfigurator
    Aiconfigurator,
}

pub(super) fn export(common: &Common, arguments: &Arguments) -> Result<Status> {
    let run = Run::read(&arguments.file)?;
    let text = match arguments.to {
        Target::Openmetrics => report::openmetrics(&run),
        Target::Aiconfigurator => report::aiconfigurator(&run, &catalog(common)?)?,
    };
    match &arguments.output {
        Some(path) => write_atomically(path, text.as_bytes())?,
        None => print(&text)?,
    }
    Ok(Status::Done)
}
