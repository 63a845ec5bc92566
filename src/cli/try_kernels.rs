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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_has_the_name_that_the_program_calls_itself_by() {
        let command = super::super::command();
        assert!(command.find_subcommand(proof::COMMAND).is_some_and(clap::Command::is_hide_set));
    }
}
