//! `try-kernels`: not for people. The program starts itself so to find out which of the kernels that no hardware has proven may be used, see
//! [`proof`].

use std::path::PathBuf;

use clap::Args;

use super::{Status, print};
use crate::error::Result;
use crate::probe::proof;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// UUID of the GPU
    uuid: String,

    /// Seed of the data
    seed: u64,

    /// Names of the kernels
    names: Vec<String>,
}

/// This program's file, to be started again.
pub(super) fn program() -> Option<PathBuf> {
    std::env::current_exe().ok()
}

pub(super) fn try_kernels(arguments: &Arguments) -> Result<Status> {
    proof::try_kernels(&arguments.uuid, arguments.seed, &arguments.names, &mut |line| print(&format!("{line}\n")))?;
    Ok(Status::Done)
}
