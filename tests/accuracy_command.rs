//! `accuracy` as a script sees it, on made-up measurements.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Products on a made-up L40S that multiplies at 250 TFLOP/s, reads at 700 GB/s and starts a kernel in 2 µs.
fn products(folder: &Path) -> PathBuf {
    let mut text = "device,dtype,m,n,k,latency_us\n".to_owned();
    for m in [1u32, 4, 16, 64, 256, 1024, 4096] {
        for n in [128u32, 512, 2048, 8192, 32768] {
            for k in [128u32, 512, 2048, 8192, 32768] {
                let (m64, n64, k64) = (f64::from(m), f64::from(n), f64::from(k));
                let seconds = 2e-6 + (2.0 * m64 * n64 * k64 / 250e12).max(2.0 * (n64 * k64 + m64 * k64 + m64 * n64) / 700e9);
                writeln!(text, "NVIDIA L40S,bf16,{m},{n},{k},{}", seconds * 1e6).unwrap();
            }
        }
    }
    let path = folder.join("products.csv");
    std::fs::write(&path, text).unwrap();
    path
}

/// A folder beside which there is nothing: measurements are looked for there, too.
fn alone(outer: &tempfile::TempDir) -> PathBuf {
    let folder = outer.path().join("alone");
    std::fs::create_dir(&folder).unwrap();
    folder
}

fn run(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gpu-assay"))
        .args(arguments)
        .current_dir(folder)
        .env("HOME", folder)
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("GPU_ASSAY_TRUTH")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn json_has_the_fields_that_scripts_rely_on() {
    let outer = tempfile::tempdir().unwrap();
    let folder = alone(&outer);
    let path = products(&folder);
    let output =
        run(&["accuracy", "gemm", "--truth", path.to_str().unwrap(), "--dtype", "bf16", "--points", "64", "--format", "json"], &folder);
    assert!(output.status.success(), "{output:?}");
    let score: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&score["kind"], &score["device"], &score["points_used"], &score["rows"]),
        (&"gemm".into(), &"NVIDIA L40S".into(), &64.into(), &111.into())
    );
    let error = |key: &str| score[key].as_f64().unwrap();
    // A law without tiles is none of ours, and still its time is found.
    assert!(
        error("median_error") < 0.1 && error("median_error") <= error("p90_error") && error("p90_error") <= error("worst_error"),
        "{score}"
    );
}

#[test]
fn a_folder_is_searched_for_every_kind() {
    let outer = tempfile::tempdir().unwrap();
    let folder = alone(&outer);
    products(&folder);
    std::fs::write(folder.join("other.csv"), "a,b\n1,2\n").unwrap();
    let output = run(&["accuracy", "--truth", "."], &folder);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("L40S") && text.contains("111"), "{text}");
}

#[test]
fn what_cannot_be_compared_is_said_in_one_line() {
    let outer = tempfile::tempdir().unwrap();
    let folder = alone(&outer);
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("none.csv", "a,b\n1,2\n");
    write("stranger.csv", "device,dtype,m,n,k,latency_us\nVoodoo 3,bf16,1,2,3,4\nVoodoo 3,bf16,1,2,4,4\nVoodoo 3,bf16,1,2,5,4\n");
    write("zero.csv", "device,dtype,m,n,k,latency_us\nNVIDIA L40S,bf16,1,2,3,0\n");
    write("word.csv", "device,dtype,m,n,k,latency_us\nNVIDIA L40S,bf16,one,2,3,1\n");
    write("format.csv", "device,dtype,m,n,k,latency_us\nNVIDIA L40S,fp3,1,2,3,1\n");
    for (arguments, said) in [
        (&["accuracy"][..], "no folder truth/"),
        (&["accuracy", "gemm", "--truth", "absent.csv"], "absent.csv"),
        (&["accuracy", "--truth", "none.csv"], "none of the columns"),
        (&["accuracy", "gemm", "--truth", "none.csv"], "none.csv"),
        (&["accuracy", "gemm", "--truth", "stranger.csv"], "Voodoo"),
        (&["accuracy", "gemm", "--truth", "zero.csv"], "expected a shape and a time"),
        (&["accuracy", "gemm", "--truth", "word.csv"], "line: 2"),
        (&["accuracy", "gemm", "--truth", "format.csv"], "fp3"),
        (&["accuracy", "gemm", "--truth", "stranger.csv", "--dtype", "fp8"], "found none"),
        (&["accuracy", "gemm", "--truth", "stranger.csv", "--points", "65"], "1 to 64 points"),
        (&["accuracy", "collective", "--dtype", "fp8"], "--dtype is for matrix products"),
    ] {
        let output = run(arguments, &folder);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && text.lines().count() == 1 && text.contains(said),
            "{arguments:?}: {:?} {text}",
            output.status
        );
    }
}
