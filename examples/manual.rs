//! Writes the manual pages and the shell completions into a folder: `cargo run --example manual -- FOLDER`.
//!
//! They are made from the program's own arguments, so they say what it takes. An example and not a command: whoever installs the program has
//! them in the archive, and the binary stays small.
#![allow(clippy::print_stderr)]

use std::fs;
use std::io::Result;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap_complete::{Shell, generate_to};

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("expected the folder to write to");
        return ExitCode::from(2);
    };
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("writing manual pages and completions to {}: {error}", folder.display());
            ExitCode::from(2)
        }
    }
}

fn write(folder: &Path) -> Result<()> {
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    // A page for every page's help would only repeat it.
    let mut command = gpu_assay::cli::command().disable_help_subcommand(true);
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command, "gpu-assay", &completions)?;
    }
    clap_mangen::generate_to(command, &man)
}
