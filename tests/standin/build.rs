//! Compiles the simple kernels, the very files that are compiled for GPUs, with the plain C compiler.

use std::path::PathBuf;

/// Kernels in the common subset of CUDA C++ and C11.
const SIMPLE: [&str; 7] = ["bulk", "fill", "stream", "cache", "chase", "check", "fma"];

fn main() {
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let kernels = here.join("../../kernels");
    let mut build = cc::Build::new();
    // Full optimisation in every profile: tests move gigabytes through these loops.
    build.std("c11").opt_level(3).include(&here).warnings(false).pic(true);
    build.file(here.join("shim.c"));
    for name in SIMPLE {
        // A kernel file has an extension that no C compiler knows, so each is included by a file that has.
        let source = kernels.join(format!("{name}.cu"));
        let wrapper = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join(format!("{name}_host.c"));
        if let Err(error) = std::fs::write(&wrapper, format!("#include \"{}\"\n", source.display())) {
            println!("cargo::error=cannot write {}: {error}", wrapper.display());
        }
        build.file(wrapper);
    }
    build.compile("standin_kernels");
    for watched in ["host_shim.h", "shim.c", "build.rs"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    println!("cargo::rerun-if-changed={}", kernels.display());
}
