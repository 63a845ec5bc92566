//! The compiled kernels belong to the sources they lie beside.
//!
//! Recompiling needs NVRTC and is done by `kernels/compile.py check`; what is tested here needs nothing: a source or header that was changed
//! without compiling it again, an image that was changed, added or forgotten, a declaration that the host side would misread.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use gpu_assay::gpu::prebuilt::{GEMM_LAUNCH, MANIFEST, images};
use serde_json::Value;
use sha2::{Digest, Sha256};

const REMEDY: &str = "run `kernels/compile.py build` and commit what it writes";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels")
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("kernels/{name}: {error}"))
}

fn manifest() -> Value {
    serde_json::from_str(MANIFEST).expect("the manifest is JSON")
}

fn hex(data: &[u8]) -> String {
    data.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every header that a source includes, directly or not.
fn headers(text: &str, found: &mut BTreeMap<String, String>) {
    for line in text.lines() {
        let Some(name) = line.trim_start().strip_prefix("#include \"").and_then(|rest| rest.strip_suffix('"')) else { continue };
        if found.contains_key(name) || !folder().join(name).exists() {
            continue; // host_shim.h belongs to the host compilation and is not here
        }
        let header = read(name);
        found.insert(name.to_owned(), header.clone());
        headers(&header, found);
    }
}

/// Hash over name, length and text of a source and of its headers in order of name.
fn source_hash(name: &str) -> String {
    let text = read(name);
    let mut parts = BTreeMap::new();
    headers(&text, &mut parts);
    let mut digest = Sha256::new();
    for (part, body) in std::iter::once((name, text.as_str())).chain(parts.iter().map(|(n, t)| (n.as_str(), t.as_str()))) {
        digest.update(format!("{part}\n{}\n", body.len()));
        digest.update(body);
    }
    hex(&digest.finalize())
}

/// `KERNEL name(type name, ...)` declarations as kernel and argument types.
fn declarations(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for rest in text.split("\nKERNEL ").skip(1) {
        let (name, rest) = rest.split_once('(').expect("a kernel has an argument list");
        let (inside, _) = rest.split_once(')').expect("an argument list ends");
        let types = inside.split(',').map(str::trim).filter(|a| !a.is_empty());
        let types = types.map(|argument| {
            let name = argument.rfind(|c: char| !c.is_alphanumeric() && c != '_').expect("an argument has type and name");
            argument[..=name].trim().to_owned()
        });
        found.insert(name.to_owned(), types.collect());
    }
    found
}

/// The `launch: key=value ...` line of a source.
fn launch(text: &str) -> Option<BTreeMap<String, u32>> {
    let line = text.lines().find_map(|line| line.split_once("launch: "))?.1;
    Some(line.split_whitespace().filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.to_owned(), v.parse().unwrap())).collect())
}

fn sources() -> BTreeSet<String> {
    let names = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(".cu").map(str::to_owned)).collect()
}

#[test]
fn every_source_is_the_one_that_was_compiled() {
    let manifest = manifest();
    let known: BTreeSet<String> = manifest["sources"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(sources(), known, "sources beside the manifest's: {REMEDY}");
    for name in known {
        let recorded = manifest["sources"][&name]["sha256"].as_str().unwrap();
        assert_eq!(source_hash(&format!("{name}.cu")), recorded, "{name}.cu or a header of it has changed: {REMEDY}");
    }
}

#[test]
fn every_image_is_the_one_that_was_compiled() {
    let manifest = manifest();
    let recorded: BTreeMap<&str, &str> = manifest["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| (image["path"].as_str().unwrap(), image["sha256"].as_str().unwrap()))
        .collect();
    let mut embedded = BTreeSet::new();
    for image in images() {
        let path = image.path();
        let hash = hex(&Sha256::digest(image.bytes().unwrap()));
        assert_eq!(recorded.get(path.as_str()).copied(), Some(hash.as_str()), "{path}: {REMEDY}");
        assert!(embedded.insert(path), "{} twice", image.path());
    }
    let missing: Vec<_> = recorded.keys().filter(|path| !embedded.contains(**path)).collect();
    assert!(missing.is_empty(), "not in the program's list: {missing:?}");
}

#[test]
fn every_target_has_what_the_manifest_promises() {
    let manifest = manifest();
    for (name, source) in manifest["sources"].as_object().unwrap() {
        let promised: BTreeSet<&str> = source["targets"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
        let present: BTreeSet<&str> = images().filter(|i| i.file == name).map(|i| i.target).collect();
        assert_eq!(promised, present, "{name}");
    }
}

#[test]
fn declarations_are_read_alike_by_both_sides() {
    let manifest = manifest();
    for name in sources() {
        let read: BTreeMap<String, Vec<String>> = declarations(&read(&format!("{name}.cu")));
        let recorded: BTreeMap<String, Vec<String>> = serde_json::from_value(manifest["sources"][&name]["kernels"].clone()).unwrap();
        assert_eq!(read, recorded, "{name}.cu");
        assert!(!read.is_empty(), "{name}.cu has no kernel");
        for types in read.values().flatten() {
            let scalar = ["unsigned int", "unsigned long long", "float", "double"].contains(&types.as_str());
            let map = types == "const __grid_constant__ tensor_map";
            assert!(scalar || map || types.ends_with('*'), "{name}.cu: argument type {types} is not one of those agreed upon");
        }
    }
}

#[test]
fn nothing_spills() {
    let mut kernels = 0;
    for image in manifest()["images"].as_array().unwrap() {
        for (kernel, facts) in image["kernels"].as_object().into_iter().flatten() {
            for bytes in ["spill_store_bytes", "spill_load_bytes", "stack_bytes"] {
                assert_eq!(facts[bytes], 0, "{} {kernel} {bytes}", image["path"]);
            }
            assert!(facts["registers"].as_u64().unwrap() <= 255, "{} {kernel}", image["path"]);
            kernels += 1;
        }
    }
    assert!(kernels > 200, "{kernels} kernels in all images");
}

#[test]
fn the_launch_shape_is_the_same_everywhere() {
    let expected: BTreeMap<String, u32> = [
        ("block", GEMM_LAUNCH.block),
        ("tile_m", GEMM_LAUNCH.tile_m),
        ("tile_n", GEMM_LAUNCH.tile_n),
        ("stages", GEMM_LAUNCH.stages),
        ("shared", GEMM_LAUNCH.shared_bytes),
    ]
    .map(|(k, v)| (k.to_owned(), v))
    .into();
    for name in ["gemm_bf16.cu", "gemm_fp8.cu", "gemm_index.h"] {
        assert_eq!(launch(&read(name)).as_ref(), Some(&expected), "{name}");
    }
    let header = read("gemm_index.h");
    for (constant, value) in
        [("BLOCK", GEMM_LAUNCH.block), ("TILE_M", GEMM_LAUNCH.tile_m), ("TILE_N", GEMM_LAUNCH.tile_n), ("STAGES", GEMM_LAUNCH.stages)]
    {
        assert!(header.contains(&format!("#define {constant} {value}u\n")), "{constant} is not {value}");
    }
    // A row of a slice is 64 bytes.
    assert_eq!(GEMM_LAUNCH.shared_bytes, GEMM_LAUNCH.stages * (GEMM_LAUNCH.tile_m + GEMM_LAUNCH.tile_n) * 64);
}
