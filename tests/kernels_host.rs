//! The kernels' sources, run on the host and compared with the references.
//!
//! The simple kernels are in the common subset of CUDA C++ and C11: here the C compiler that every Rust installation links with compiles
//! the very same files. The matrix product is not, but its index arithmetic is: an emulation moves data as it says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use gpu_assay::gpu::reference::*;
use gpu_assay::gpu::{HopperFormat, HopperKernel, HopperTile, WgmmaFormat};
use half::{bf16, f16};
use tempfile::TempDir;

const SIMPLE: [&str; 9] = ["bulk", "cache", "chase", "check", "empty", "fill", "fma", "gate", "stream"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compiles and links C sources; `.cu` files are taken as C.
fn compile(folder: &TempDir, sources: &[PathBuf]) -> PathBuf {
    let program = folder.path().join("program");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let output = Command::new(&compiler)
        .args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-I"])
        .arg(root().join("kernels"))
        .arg("-I")
        .arg(root().join("tests/kernels"))
        .args(["-x", "c"])
        .args(sources)
        .args(["-lm", "-o"])
        .arg(&program)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", compiler.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

fn run(program: &Path, arguments: &[String]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

/// The results that `run_simple.c` prints, in order: name and bytes.
fn results(program: &Path, grid: u32, block: u32, what: &str) -> Vec<(String, Vec<u8>)> {
    let unhex = |text: &str| (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect();
    run(program, &[grid.to_string(), block.to_string(), what.to_owned()])
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, bytes)| (name.to_owned(), unhex(bytes)))
        .collect()
}

fn simple(folder: &TempDir) -> PathBuf {
    let mut sources: Vec<PathBuf> = SIMPLE.iter().map(|name| root().join(format!("kernels/{name}.cu"))).collect();
    sources.push(root().join("tests/kernels/run_simple.c"));
    compile(folder, &sources)
}

fn words32(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn words64(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().unwrap())).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    words32(bytes).into_iter().map(f32::from_bits).collect()
}

fn assert_same(name: &str, found: &[f32], expected: impl Fn(usize) -> f32) {
    for (i, value) in found.iter().enumerate() {
        assert_eq!(value.to_bits(), expected(i).to_bits(), "{name}[{i}] is {value}, not {}", expected(i));
    }
}

fn check_fill(name: &str, bytes: &[u8]) {
    let (seed, scale) = (12345, 1.5);
    let distribution = if name.contains("normal") { Distribution::Normal } else { Distribution::Uniform };
    let exact = distribution == Distribution::Uniform;
    let expected = |i: usize| random_f32(distribution, i as u64, seed, scale);
    // A normal number that is a little off may fall on the other side of a rounding boundary: then the code is one of its neighbours.
    let close = |i: usize, found: f32, round: &dyn Fn(f32) -> f32| {
        let (value, tolerance) = (expected(i), normal_tolerance(expected(i)));
        found == round(value) || (!exact && (found == round(value - tolerance) || found == round(value + tolerance)))
    };
    match name.rsplit('_').next().unwrap() {
        "f32" => {
            for (i, found) in floats(bytes).into_iter().enumerate() {
                let tolerance = if exact { 0.0 } else { normal_tolerance(expected(i)) };
                assert!((found - expected(i)).abs() <= tolerance, "{name}[{i}] is {found}, not {}", expected(i));
            }
        }
        "bf16" => {
            for (i, b) in bytes.chunks_exact(2).enumerate() {
                let found = bf16::from_le_bytes(b.try_into().unwrap()).to_f32();
                assert!(close(i, found, &|v| bf16::from_f32(v).to_f32()), "{name}[{i}] is {found}, not {}", expected(i));
            }
        }
        "f16" => {
            for (i, b) in bytes.chunks_exact(2).enumerate() {
                let found = f16::from_le_bytes(b.try_into().unwrap());
                assert_eq!(found.to_bits(), f16::from_f32(expected(i)).to_bits(), "{name}[{i}]");
            }
        }
        "i8" => bytes.iter().enumerate().for_each(|(i, &code)| assert_eq!(code as i8, encode_i8(expected(i)), "{name}[{i}]")),
        "e2m1" => {
            for i in 0..2 * bytes.len() {
                assert_eq!(bytes[i / 2] >> (4 * (i % 2)) & 15, encode_e2m1(expected(i)), "{name}[{i}]");
            }
        }
        "f64" => {
            for (i, word) in words64(bytes).into_iter().enumerate() {
                assert_eq!(word, random_f64(i as u64, seed, scale).to_bits(), "{name}[{i}]");
            }
        }
        format => {
            let format = if format == "e4m3" { Fp8::E4m3 } else { Fp8::E5m2 };
            for (i, &code) in bytes.iter().enumerate() {
                let found = format.decode(code);
                assert!(close(i, found, &|v| format.decode(format.encode(v))), "{name}[{i}] is {found}, not {}", expected(i));
            }
        }
    }
}

fn check_matvec(name: &str, bytes: &[u8]) {
    let (shape, kernel) = name.split_once('/').unwrap();
    let (rows, cols) = shape.split_once('x').map(|(r, c)| (r.parse::<usize>().unwrap(), c.parse::<usize>().unwrap())).unwrap();
    let element = |i: usize| {
        let index = i as u64;
        match kernel.rsplit('_').next().unwrap() {
            "bf16" => random_bf16(Distribution::Normal, index, 4, 2.0).to_f32(),
            "e4m3" => Fp8::E4m3.decode(random_fp8(Fp8::E4m3, Distribution::Normal, index, 4, 2.0)),
            _ => Fp8::E5m2.decode(random_fp8(Fp8::E5m2, Distribution::Normal, index, 4, 2.0)),
        }
    };
    let a: Vec<f32> = (0..rows * cols).map(element).collect();
    let x: Vec<f64> = (0..rows.max(cols)).map(|i| 1.0 / (i + 1) as f64).collect();
    let expected = if kernel.contains("_t_") { matvec_transposed(&a, &x, cols) } else { matvec(&a, &x, cols) };
    let found: Vec<f64> = words64(bytes).into_iter().map(f64::from_bits).collect();
    for (i, &y) in expected.iter().enumerate() {
        // The order of a sum is free; no term exceeds 2 * 5.8.
        assert!((y - found[i]).abs() < 1e-12, "{name}[{i}] is {}, not {y}", found[i]);
    }
    assert!(found[expected.len()..].iter().all(|&v| v == 0.0), "{name} wrote behind its end");
}

/// A product with a matrix in the format of this number, its bytes those that `run_simple.c` made.
fn check_any(name: &str, bytes: &[u8]) {
    let (shape, kernel) = name.split_once("/any_").unwrap();
    let (rows, cols) = shape.split_once('x').map(|(r, c)| (r.parse::<usize>().unwrap(), c.parse::<usize>().unwrap())).unwrap();
    let (transposed, format) = kernel.strip_prefix("t_").map_or((false, kernel), |format| (true, format));
    let data: Vec<u8> = (0..(rows * cols) as u64).flat_map(|word| pattern_word(word, 4).to_le_bytes()).map(|byte| byte & 0xbb).collect();
    let half = |i: usize| u16::from_le_bytes([data[2 * i], data[2 * i + 1]]);
    let word = |i: usize| u32::from_le_bytes(data[4 * i..][..4].try_into().unwrap());
    let element = |i: usize| match format {
        "0" => bf16::from_bits(half(i)).to_f64(),
        "1" => f64::from(Fp8::E4m3.decode(data[i])),
        "2" => f64::from(Fp8::E5m2.decode(data[i])),
        "3" => f16::from_bits(half(i)).to_f64(),
        "4" => f64::from(f32::from_bits(word(i))),
        "5" => f64::from(data[i] as i8),
        "6" => f64::from(word(i) as i32),
        "7" => f64::from_le_bytes(data[8 * i..][..8].try_into().unwrap()),
        "8" => {
            let code = data[i / 2] >> (4 * (i % 2)) & 15;
            f64::from(E2M1[usize::from(code & 7)]) * if code & 8 == 0 { 1.0 } else { -1.0 }
        }
        other => panic!("format {other}"),
    };
    let (lines, terms) = if transposed { (cols, rows) } else { (rows, cols) };
    let at = |line: usize, term: usize| if transposed { term * cols + line } else { line * cols + term };
    let found: Vec<f64> = words64(bytes).into_iter().map(f64::from_bits).collect();
    for (line, &found) in found[..lines].iter().enumerate() {
        let products = || (0..terms).map(|term| element(at(line, term)) / (term + 1) as f64);
        let (sum, size): (f64, f64) = (products().sum(), products().map(f64::abs).sum());
        assert!((found - sum).abs() <= size * 1e-13, "{name}[{line}] is {found}, not {sum}");
    }
    assert!(found[lines..].iter().all(|&v| v == 0.0), "{name} wrote behind its end");
}

/// What each thread of the kernels that multiply and add says after `rounds`.
fn check_fma(name: &str, bytes: &[u8], rounds: u32) {
    let format = [("fma_f32", Fma::F32), ("fma_f64", Fma::F64), ("fma_f16", Fma::F16)].into_iter().find(|(of, _)| *of == name).unwrap().1;
    let found: Vec<u64> = if format == Fma::F64 { words64(bytes) } else { words32(bytes).into_iter().map(u64::from).collect() };
    let lanes: Vec<u64> = (0..32).map(|lane| fma_lane(format, lane, rounds)).collect();
    assert!(!found.is_empty());
    for (thread, answer) in found.into_iter().enumerate() {
        assert_eq!(answer, lanes[thread % 32], "{name}, thread {thread}, {rounds} rounds");
    }
}

fn check_streams(results: &BTreeMap<&str, Vec<u8>>) {
    let vectors = results["stream_copy"].len() / 16;
    let start: Vec<f32> = (0..vectors * 4).map(|i| random_f32(Distribution::Uniform, i as u64, 1, 1.0)).collect();
    let bits = || start.iter().map(|v| v.to_bits());
    let grid = u64::from(words32(&results["grid"])[0]);
    assert_eq!(words32(&results["stream_read"]), read_checksum(bits()));
    assert_eq!(words32(&results["cache_read"]), sweep_checksum(bits(), 3 * grid));
    let scaled = |i: usize| start[i] * 3.0;
    let added = |i: usize| start[i] + scaled(i);
    assert_same("stream_copy", &floats(&results["stream_copy"]), |i| start[i]);
    assert_same("stream_scale", &floats(&results["stream_scale"]), scaled);
    assert_same("stream_add", &floats(&results["stream_add"]), added);
    assert_same("stream_triad", &floats(&results["stream_triad"]), |i| added(i).mul_add(0.3, scaled(i)));
    assert_same("stream_write", &floats(&results["stream_write"]), |_| -2.5);
}

#[test]
fn simple_kernels_answer_as_the_references_do() {
    let folder = TempDir::new().unwrap();
    let program = simple(&folder);
    for (grid, block) in [(1, 32), (3, 64), (2, 1024)] {
        let printed = results(&program, grid, block, "all");
        let mut streams = BTreeMap::new();
        let (mut checked, mut rated) = (0, 0);
        for (name, bytes) in &printed {
            checked += 1;
            let name = name.as_str();
            match name {
                "fill_pattern" => {
                    let expected: Vec<u64> = (0..bytes.len() as u64 / 8).map(|i| pattern_word(i, 99)).collect();
                    assert_eq!(words64(bytes), expected);
                }
                "verify_right" => assert_eq!(words64(bytes), [0, u64::MAX]),
                "verify_wrong" => assert!([[3, 501], [3, 500]].contains(&words64(bytes).try_into().unwrap()), "{bytes:?}"),
                "chase" => {
                    let ring: Vec<u32> = (0..64).map(|i| (i + 27) % 64).collect();
                    let end = chase_end(&ring, 5, 1003).unwrap();
                    assert_eq!(words32(bytes), [end, end]);
                }
                // Both found no word that differs, and both checksums are the same.
                "bulk_copy" | "bulk_write" => assert_eq!(words64(bytes), [0, u64::MAX]),
                "bulk_read" => {
                    let sums = words32(bytes);
                    assert!(sums[..4] == sums[4..] && sums[..4] != [0; 4], "{sums:?}");
                }
                "gate_open" => assert_eq!(words32(bytes), [0]),
                "gate_shut" => assert_eq!(words32(bytes), [1]),
                _ if name.starts_with("fill_") => check_fill(name, bytes),
                _ if name.contains("/matvec_") => check_matvec(name, bytes),
                _ if name.contains("/any_") => check_any(name, bytes),
                _ if name.starts_with("fma_") => {
                    rated += 1;
                    check_fma(name, bytes, if rated <= 3 { 0 } else { 40 });
                }
                _ => {
                    streams.insert(name, bytes.clone());
                    if name == "stream_write" {
                        streams.insert("grid", grid.to_le_bytes().to_vec());
                        check_streams(&streams);
                        streams.clear();
                    }
                }
            }
        }
        assert_eq!(checked, 106 + 3 * 3, "results of {grid} blocks of {block}");
        assert!(streams.is_empty(), "not checked: {:?}", streams.keys());
    }
}

#[test]
fn number_formats_are_those_of_the_references() {
    let folder = TempDir::new().unwrap();
    let results: BTreeMap<String, Vec<u8>> = results(&simple(&folder), 1, 1, "codes").into_iter().collect();
    let inputs = || (0..1u32 << 19).flat_map(|i| [0, 0x1fff, 0x1000].map(|tail| f32::from_bits(i << 13 | tail)));
    for (format, name) in [(Fp8::E4m3, "e4m3_encode"), (Fp8::E5m2, "e5m2_encode")] {
        for (value, &code) in inputs().zip(&results[name]) {
            assert_eq!(code, format.encode(value), "{name} {value}");
        }
    }
    for (value, code) in inputs().zip(results["bf16_encode"].chunks_exact(2)) {
        let (found, expected) = (bf16::from_le_bytes([code[0], code[1]]), bf16::from_f32(value));
        assert!(found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()), "bf16_encode {value}");
    }
    for (value, code) in inputs().zip(results["f16_encode"].chunks_exact(2)) {
        let (found, expected) = (f16::from_le_bytes([code[0], code[1]]), f16::from_f32(value));
        assert!(found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()), "f16_encode {value}");
    }
    for ((value, &four), &whole) in inputs().zip(&results["e2m1_encode"]).zip(&results["i8_encode"]) {
        // NaN has no code there, and its sign does not matter.
        assert_eq!(
            if value.is_nan() { four & 7 } else { four },
            if value.is_nan() { 0 } else { encode_e2m1(value) },
            "e2m1_encode {value}"
        );
        assert_eq!(whole as i8, encode_i8(value), "i8_encode {value}");
    }
    for (code, found) in floats(&results["f16_decode"]).into_iter().enumerate() {
        let expected = f16::from_bits(code as u16).to_f32();
        assert!(found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()), "f16_decode {code:#x}");
    }
    for (code, found) in floats(&results["e2m1_decode"]).into_iter().enumerate() {
        let expected = E2M1[code & 7] * if code & 8 == 0 { 1.0 } else { -1.0 };
        assert_eq!(found.to_bits(), expected.to_bits(), "e2m1_decode {code}");
    }
    for (i, found) in floats(&results["decode"]).into_iter().enumerate() {
        let code = (i % 256) as u8;
        let expected = match i / 256 {
            0 => Fp8::E4m3.decode(code),
            1 => Fp8::E5m2.decode(code),
            _ => bf16::from_le_bytes([code, code]).to_f32(),
        };
        assert!(found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()), "decode {i}: {found}, not {expected}");
    }
}

/// Shapes in rows, columns and 16-byte chunks of k: whole tiles, one element more or less, far smaller than a tile, more tile rows than a
/// group has, fewer slices of k than the ring has stages, and many more.
const SHAPES: [(u32, u32, u32); 12] = [
    (128, 256, 4),
    (128, 256, 16),
    (128, 256, 67),
    (256, 512, 8),
    (1, 8, 1),
    (127, 248, 3),
    (129, 264, 5),
    (136, 264, 12),
    (257, 520, 18),
    (16, 16, 40),
    (2185, 264, 2),
    (64, 1032, 7),
];

#[test]
fn the_matrix_product_takes_every_operand_once_and_stores_every_element_once() {
    let folder = TempDir::new().unwrap();
    let program = compile(&folder, &[root().join("tests/kernels/gemm_emulation.c")]);
    let mut arguments = Vec::new();
    for (m, n, chunks) in SHAPES {
        for choice in 0..8 {
            arguments.push(format!("{m},{n},{chunks},{},{},{}", choice & 1, choice >> 1 & 1, choice >> 2));
        }
    }
    assert_eq!(run(&program, &arguments), format!("{} products\n", 8 * SHAPES.len()));
}

fn hopper(folder: &TempDir) -> PathBuf {
    compile(folder, &[root().join("tests/kernels/hopper_emulation.c")])
}

/// Shapes for Hopper's matrix product: one tile and one slice, a little more and less than tiles, slices and the ring, a single row, and more
/// work than there are clusters.
const HOPPER_SHAPES: [(u32, u32, u32); 7] =
    [(128, 256, 8), (256, 256, 64), (1, 8, 1), (127, 248, 9), (257, 520, 18), (65, 72, 100), (600, 264, 21)];

/// Columns of a part at most: of BF16, and of FP8, whose sums of a slice are added to others.
const WIDEST: [(HopperFormat, u32); 2] = [(HopperFormat::Bf16, 256), (HopperFormat::E4m3, 128)];

#[test]
fn hopper_takes_every_operand_once_and_stores_every_element_once_in_any_order_of_events() {
    let folder = TempDir::new().unwrap();
    let program = hopper(&folder);
    let mut arguments = Vec::new();
    for (format, widest) in WIDEST {
        for tile in HopperKernel::of(format).map(|kernel| HopperTile::ALL.iter().position(|tile| *tile == kernel.tile).unwrap()) {
            for (m, n, chunks) in HOPPER_SHAPES {
                for (clusters, seed) in [(1, 1), (2, 2), (3, 3), (2, 4)] {
                    arguments.push(format!("{tile},{widest},{clusters},{m},{n},{chunks},{seed},0"));
                }
            }
        }
    }
    assert_eq!(arguments.len(), 7 * 7 * 4);
    assert_eq!(run(&program, &arguments), format!("{} products\n", arguments.len()));
}

#[test]
fn on_hopper_nobody_waits_forever_for_a_copy_that_does_not_come() {
    let folder = TempDir::new().unwrap();
    let program = hopper(&folder);
    let mut arguments = Vec::new();
    for (_, widest) in WIDEST {
        for tile in 0..HopperTile::ALL.len() {
            arguments.extend((1..=12).map(|lost| format!("{tile},{widest},2,600,264,40,{lost},{lost}")));
        }
    }
    assert_eq!(run(&program, &arguments), format!("{} products\n", arguments.len()));
}

#[test]
fn hoppers_tiles_are_those_of_the_sources() {
    let folder = TempDir::new().unwrap();
    let expected: Vec<String> = HopperTile::ALL
        .iter()
        .map(|t| format!("{} {} {} {} {} {}\n", t.name(), t.rows(), t.columns(), t.stages(), t.cluster(), t.shared_bytes()))
        .collect();
    assert_eq!(run(&hopper(&folder), &["tiles".to_owned()]), expected.concat());
    let sources =
        ["gemm_hopper_bf16.cu", "gemm_hopper_fp8.cu"].map(|name| std::fs::read_to_string(root().join("kernels").join(name)).unwrap());
    for kernel in HopperKernel::all() {
        let format = format!("{:?}", kernel.format);
        let call = format!("hopper_gemm<{format}, {}>(", kernel.tile.name());
        let name = format!("KERNEL gemm_hopper_{}_{}(", format.to_lowercase(), kernel.tile.name().trim_start_matches('t'));
        let source = sources.iter().find_map(|text| text.split_once(&name)).map(|(_, rest)| rest.split("KERNEL ").next().unwrap());
        assert!(source.is_some_and(|body| body.contains(&call)), "{name} does not call {call}");
        assert_eq!(kernel.name(), name.strip_prefix("KERNEL ").and_then(|rest| rest.strip_suffix('(')));
    }
}

#[test]
fn what_wgmma_alone_multiplies_has_one_answer_however_the_operands_lie() {
    let folder = TempDir::new().unwrap();
    let program = compile(&folder, &[root().join("tests/kernels/wgmma_emulation.c")]);
    // Less than a segment of either group, more than one, and so many that the answer goes round.
    let rounds = [0u32, 1, 31, 33, 64, 65, 100, 1000, 8191, 1_100_000];
    let name = |format: &WgmmaFormat| format.name().trim_start_matches("tensor_hopper_");
    let expected: Vec<String> = WgmmaFormat::ALL
        .iter()
        .flat_map(|format| rounds.map(|rounds| format!("{} {rounds} {}\n", name(format), wgmma_thread(rounds))))
        .collect();
    assert!(rounds.iter().any(|rounds| u64::from(*rounds) * 4096 > 1 << 32));
    assert_eq!(run(&program, &rounds.map(|rounds| rounds.to_string())), expected.concat());
}
