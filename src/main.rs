//! The `gpu-assay` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(gpu_assay::cli::main())
}
