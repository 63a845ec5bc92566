//! `gpu-assay-standin-run SCENARIO -- ARGUMENTS`: runs the program on a stand-in machine. The program is the `gpu-assay` beside this one.

use std::path::Path;
use std::process::{Command, ExitCode};

use gpu_assay_standin::Standin;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(text) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "gpu-assay-standin-run: {text}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode, String> {
    let mut arguments = std::env::args_os().skip(1);
    let scenario = arguments.next().ok_or("expected SCENARIO -- ARGUMENTS, where SCENARIO is a name or a file")?;
    let arguments: Vec<_> = match arguments.next() {
        None => Vec::new(),
        Some(dashes) if dashes == "--" => arguments.collect(),
        Some(other) => return Err(format!("expected -- after the scenario but found {}", other.display())),
    };
    let file = Path::new(&scenario);
    let standin = if file.extension().is_some() { Standin::with_file(file) } else { Standin::named(&scenario.to_string_lossy()) };
    let standin = standin.map_err(|error| error.to_string())?;
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let program = own.with_file_name("gpu-assay");
    let mut command: Command = standin.command(&program);
    // Faults, seed and visible devices may come from the caller here, unlike in tests.
    for name in [gpu_assay_standin::SEED, gpu_assay_standin::FAULT, gpu_assay_standin::TRACE, "CUDA_VISIBLE_DEVICES"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    let status = command.args(arguments).status().map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    // A program that a signal ended has no code of its own; shells use 128 and more.
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(128)))
}
