//! The scenarios that come with the stand-in, the table of kernels against their sources, and programs started on the stand-in.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use gpu_assay_standin::scenario::Scenario;
use gpu_assay_standin::{FAULT, Standin, kernel_signatures};

const NAMES: [&str; 6] = ["h200-1x", "h100-8x-nvswitch", "rtx4090-4x-no-p2p", "a100-pcie-2x-one-x8", "mig-slice", "no-gpu"];

#[test]
fn every_scenario_reads_and_has_as_many_gpus_as_its_name_says() {
    let counts = NAMES.map(|name| Standin::named(name).unwrap().scenario().gpus.len());
    assert_eq!(counts, [1, 8, 4, 2, 1, 0]);
}

#[test]
fn scaled_memory_leaves_room_for_a_run_and_outgrows_the_cache() {
    for name in &NAMES[..5] {
        for gpu in &Standin::named(name).unwrap().scenario().gpus {
            assert!((256..1024).contains(&(gpu.memory_bytes() >> 20)), "{name}: {} bytes", gpu.memory_bytes());
            assert!(gpu.l2_bytes() > 4 * gpu.l1_bytes() && gpu.l2_bytes() < gpu.memory_bytes() / 64, "{name}: {} bytes", gpu.l2_bytes());
        }
    }
}

#[test]
fn every_ordered_pair_of_the_nvswitch_machine_has_a_rate_of_its_own() {
    let scenario = Standin::named("h100-8x-nvswitch").unwrap().scenario().clone();
    let mut rates = Vec::new();
    for from in 0..8 {
        for to in (0..8).filter(|to| *to != from) {
            rates.push(scenario.link(from, to).unwrap().ce_gbs);
        }
    }
    rates.sort_by(f64::total_cmp);
    assert!(rates.windows(2).all(|pair| pair[1] / pair[0] > 1.001), "{rates:?}");
    assert_eq!(rates.len(), 56);
    assert_eq!(scenario.link(3, 3), None);
}

#[test]
fn mistakes_in_a_scenario_are_named() {
    let complain = |text: &str| Scenario::parse(text).unwrap_err().to_string();
    let base = "description = \"x\"\n[driver]\nversion = \"1\"\ncuda = 12040\n";
    assert!(complain(&format!("{base}colour = 1\n")).contains("colour"));
    assert!(complain(&format!("{base}[[gpu]]\nmodel = \"h100\"\n")).contains("there is no [model.h100]"));
    assert!(complain(&format!("noise = {{ sigma = 2.0 }}\n{base}")).contains("noise.sigma"));
    assert!(complain(&format!("{base}[[gpu]]\nname = \"y\"\n")).contains("missing field"));
    let text = std::fs::read_to_string(Standin::scenarios().join("h200-1x.toml")).unwrap();
    assert!(complain(&text.replace("read_gbs = 4510.0", "read_gbs = 0.0")).contains("gpu 0, dram.read_gbs"));
    assert!(complain(&text.replace("rows = {}", "throttle = [\"hot\"]")).contains("unknown reason hot"));
}

/// Name and argument types of every `KERNEL` in the sources.
fn sources() -> BTreeMap<String, Vec<&'static str>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernels");
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "cu") {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        for declaration in text.split("\nKERNEL ").skip(1) {
            let (name, rest) = declaration.split_once('(').unwrap();
            let arguments = rest.split_once(')').unwrap().0;
            let kind = |argument: &str| match argument {
                map if map.contains("tensor_map") => "tensor map",
                pointer if pointer.contains('*') => "pointer",
                word if word.contains("long long") => "u64",
                word if word.contains("unsigned int") => "u32",
                word if word.contains("float") => "f32",
                other => panic!("{name}: {other}"),
            };
            found.insert(name.to_owned(), arguments.split(',').filter(|argument| !argument.trim().is_empty()).map(kind).collect());
        }
    }
    found
}

#[test]
fn the_table_of_kernels_is_that_of_the_sources() {
    let table: BTreeMap<String, Vec<&str>> = kernel_signatures().into_iter().map(|(name, kinds)| (name.to_owned(), kinds)).collect();
    assert_eq!(table, sources());
}

#[test]
fn a_program_that_never_calls_the_driver_leaves_no_trace() {
    let standin = Standin::named("h200-1x").unwrap();
    assert!(standin.command("true").status().unwrap().success());
    assert_eq!(standin.trace().unwrap(), None);
}

#[test]
fn the_runner_refuses_what_it_cannot_run() {
    let runner = env!("CARGO_BIN_EXE_gpu-assay-standin-run");
    let said = |arguments: &[&str]| {
        let output = Command::new(runner).args(arguments).env_remove(FAULT).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(said(&[]).contains("expected SCENARIO"));
    assert!(said(&["h200-1x", "inspect"]).contains("expected -- after the scenario but found inspect"));
    assert!(said(&["no-such-machine"]).contains("cannot read scenario"));
}

#[test]
fn names_listed_as_missing_do_not_resolve() {
    let text = std::fs::read_to_string(Standin::scenarios().join("h200-1x.toml")).unwrap();
    let lacking = text.replace("[driver]", "[driver]\nmissing = [\"cuEventElapsedTime\", \"nvmlDeviceGetEccMode\"]");
    let standin = Standin::with_text(&lacking).unwrap();
    // SAFETY: the library has no initialiser with preconditions.
    let library = unsafe { libloading::Library::new(standin.folder().join("libcuda.so.1")) }.unwrap();
    let has = |name: &str| {
        // SAFETY: only asked for, never called.
        unsafe { library.get::<*const ()>(name.as_bytes()) }.is_ok()
    };
    assert_eq!(["cuEventElapsedTime", "nvmlDeviceGetEccMode", "cuInit", "cuEventElapsedTime_v2"].map(has), [false, false, true, true]);
    let wrong = text.replace("[driver]", "[driver]\nmissing = [\"cuNothing\"]");
    assert!(Standin::with_text(&wrong).unwrap_err().to_string().contains("exports no cuNothing"));
}

#[test]
fn absent_libraries_are_not_in_the_folder() {
    let standin = Standin::named("rtx4090-4x-no-p2p").unwrap();
    let has = |name: &str| standin.folder().join(name).exists();
    assert_eq!(["libcuda.so.1", "libnvidia-ml.so.1", "libcublasLt.so.12"].map(has), [true, true, false]);
}
