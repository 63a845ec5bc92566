//! The program as a script calls it: arguments in a line, JSON and exit codes back.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The program in `folder`: no records, no catalog of a user's.
pub fn program(folder: &Path, arguments: &str) -> Output {
    // A word in quotes may hold spaces.
    let words = arguments.split('\'').enumerate().flat_map(|(index, piece)| match index % 2 {
        0 => piece.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
        _ => vec![piece.to_owned()],
    });
    Command::new(env!("CARGO_BIN_EXE_gpu-assay"))
        .current_dir(folder)
        .env("TMPDIR", folder)
        .env("HOME", folder)
        .env_remove("XDG_DATA_HOME")
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("LD_LIBRARY_PATH")
        .stdin(Stdio::null())
        .args(words)
        .output()
        .unwrap()
}

/// The program in a folder of its own.
pub fn run(arguments: &str) -> Output {
    program(tempfile::tempdir().unwrap().path(), arguments)
}

/// What it says as JSON when it ends with `code`.
#[track_caller]
pub fn json(arguments: &str, code: i32) -> Value {
    let output = run(&format!("{arguments} --format json"));
    assert_eq!(output.status.code(), Some(code), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A wrong call: one line that says `said`, and nothing on standard output.
#[track_caller]
pub fn refused(arguments: &str, said: &str) {
    let output = run(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
    assert!(stderr.contains(said), "{arguments}: {stderr}");
    assert!(stderr.starts_with("gpu-assay: ") && stderr.trim_end().lines().count() == 1, "{arguments}: not one line: {stderr}");
    assert!(output.stdout.is_empty(), "{arguments}");
}
