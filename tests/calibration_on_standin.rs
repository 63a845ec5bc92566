//! A scenario's record calibrates to the scenario's rates, and to the law by which its products take their time.
#![allow(clippy::unwrap_used)] // A failed expectation is a failed test, also in a test's own helpers.

mod common;

use common::{full_size, measured, scenario, tell};
use gpu_assay::calibrate::matmul::{GemmShape, MatmulModel, Setting};
use gpu_assay::calibrate::memory_bound::Traffic;
use gpu_assay::calibrate::{Calibration, Direction, Fitted};
use gpu_assay::catalog::{Catalog, Dtype};
use gpu_assay::figure::Basis;
use gpu_assay::measure::DESIGN;
use gpu_assay::stats::SplitMix64;
use gpu_assay::units::{Bytes, Seconds};
use gpu_assay_standin::scenario::{Gpu, Matmul, ProductShape};

/// Largest error of a calibrated rate where the scenario has no noise.
const TOLERANCE: f64 = 0.01;

/// Largest error of the model at squares larger than any shape that was timed: 2.2 % at 12288 and 1.7 % at 16384 in BF16.
///
/// The stand-in's law has another form there. From a square of 8192 to one of 12288 its rate rises by 3.0 %, which is what the last wave costs
/// the smaller one; the model's rises by 1.3 %, since its library has strips of 96 to 224 columns that fill this wave (0.6 %) and its clocks
/// give way to a power limit the more the faster it goes (1.0 %). The stand-in has neither. Physics comes out 2.8 % slow at large squares,
/// within what the fit allows a library's choices (6 %); the field of corrections mends what was seen at 8192 and fades beyond.
const BEYOND: f64 = 0.025;

#[track_caller]
fn close(what: &str, found: f64, truth: f64) {
    assert!((found / truth - 1.0).abs() < TOLERANCE, "{what}: {found:e}, truly {truth:e}");
}

/// True time of a product by the library or by the own kernel.
fn truth(gpu: &Gpu, rates: Matmul, dtype: Dtype, GemmShape { m, n, k }: GemmShape) -> f64 {
    let (tflops, element) = if dtype == Dtype::Bf16 { (rates.bf16_tflops, 2) } else { (rates.e4m3_tflops.unwrap(), 1) };
    let [m, n, k] = [m, n, k].map(|extent| usize::try_from(extent).unwrap());
    gpu.product_seconds(&rates, tflops, ProductShape { m, n, k, element })
}

/// Errors of a model at shapes of a transformer that nobody measured, sorted, and the share that its intervals hold.
fn errors(model: &MatmulModel, truth: impl Fn(GemmShape) -> f64) -> (Vec<f64>, f64) {
    let mut random = SplitMix64(1);
    let mut inside = 0;
    let mut errors: Vec<f64> = (0..300)
        .map(|_| {
            let mut axis = |least: f64, most: f64, unit: u64| ((least * (most / least).powf(random.uniform())) as u64 / unit).max(1) * unit;
            let shape = GemmShape { m: axis(1.0, 16384.0, 1), n: axis(256.0, 32768.0, 64), k: axis(256.0, 32768.0, 64) };
            let (found, truth) = (model.time_in(Setting::ROTATED, shape), truth(shape));
            inside += u32::from(found.contains(Seconds(truth)));
            (found.time.0 / truth - 1.0).abs()
        })
        .collect();
    errors.sort_by(f64::total_cmp);
    (errors, f64::from(inside) / 300.0)
}

#[test]
fn products_of_any_shape_come_out_of_the_design() {
    let (bench, run) = measured(&full_size(&scenario("h200-1x")), &["--effort", "quick", "matmul"]);
    let design = run.measurements().filter(|m| m.case.get_word("engine") == Some("cublaslt")).filter(|m| {
        let extent = |name| m.case.get_count(name).unwrap();
        DESIGN.contains(&GemmShape { m: extent("m"), n: extent("n"), k: extent("k") })
    });
    assert_eq!(design.count(), 2 * DESIGN.len(), "every shape in both formats");
    let spent: f64 = run.measurements().map(|m| m.warmup.0 + m.samples.iter().sum::<f64>() * m.iterations as f64).sum();
    tell(&format!("products of a quick run: {spent:.2} s on the GPU"));

    let catalog = Catalog::embedded().unwrap();
    let (calibration, gpu) = (Calibration::from_run(&run), &bench.standin.scenario().gpus[0]);
    rates_are_the_laws(&calibration, gpu);
    for dtype in [Dtype::Bf16, Dtype::Fp8] {
        let Fitted { model, basis, from } = calibration.matmul_model(0, &catalog, dtype).unwrap();
        assert_eq!(basis, Basis::MeasuredHere);
        assert!(from.contains("69 shapes, engine=cublaslt, gpu=0"), "{from}");
        let truth = |shape| truth(gpu, gpu.cublaslt.unwrap(), dtype, shape);
        let (errors, inside) = errors(&model, truth);
        tell(&format!("{dtype}: median {:.2} %, p90 {:.2} %, {:.0} % inside", errors[150] * 100.0, errors[270] * 100.0, inside * 100.0));
        assert!(errors[150] < 0.03 && errors[270] < 0.13, "{dtype}: median {}, p90 {}", errors[150], errors[270]);
        assert!(inside > 0.85, "{dtype}: {inside}");
        for (side, tolerance) in [(8192, TOLERANCE), (12288, BEYOND), (16384, BEYOND)] {
            let shape = GemmShape::square(side);
            let (found, truth) = (model.time_in(Setting::ROTATED, shape), truth(shape));
            let off = found.time.0 / truth - 1.0;
            tell(&format!("{dtype}, a square of {side}: {:+.2} %", off * 100.0));
            assert!(off.abs() < tolerance && found.contains(Seconds(truth)), "{dtype}, a square of {side}: {off}");
        }
    }
}

/// Every timing, the best rate of each format and the model's ceiling beside the law.
fn rates_are_the_laws(calibration: &Calibration, gpu: &Gpu) {
    let measured = calibration.gpu(0).unwrap();
    for (name, dtype) in [("bf16", Dtype::Bf16), ("e4m3", Dtype::Fp8)] {
        for point in measured.matmul.iter().filter(|point| point.dtype == name) {
            let rates = if point.engine == "own" { gpu.matmul } else { gpu.cublaslt.unwrap() };
            close(&format!("{point:?}"), point.time().0, truth(gpu, rates, dtype, point.shape()));
        }
        let large = GemmShape::square(8192);
        let rate = large.flops().0 / truth(gpu, gpu.cublaslt.unwrap(), dtype, large);
        close(name, measured.matmul_best(name).unwrap().rate.value.0, rate);
        close(name, calibration.matmul_model(0, &Catalog::embedded().unwrap(), dtype).unwrap().model.ceiling().0, rate);
    }
}

#[test]
fn without_a_library_that_works_the_own_kernel_calibrates() {
    let lacking = full_size(&scenario("h200-1x")).replace("cuda = 12040", "cuda = 12040\nmissing = [\"cublasLtMatmul\"]");
    let (bench, run) = measured(&lacking, &["--effort", "quick", "matmul"]);
    let (calibration, gpu) = (Calibration::from_run(&run), &bench.standin.scenario().gpus[0]);
    for dtype in [Dtype::Bf16, Dtype::Fp8] {
        let Fitted { model, basis, from } = calibration.matmul_model(0, &Catalog::embedded().unwrap(), dtype).unwrap();
        assert_eq!(basis, Basis::MeasuredHere);
        assert!(from.contains("69 shapes, engine=own, gpu=0"), "{from}");
        let truth = |shape| truth(gpu, gpu.matmul, dtype, shape);
        close("a large square", model.time_in(Setting::ROTATED, GemmShape::square(8192)).time.0, truth(GemmShape::square(8192)));
        let (errors, inside) = errors(&model, truth);
        tell(&format!(
            "{dtype}, own: median {:.2} %, p90 {:.2} %, {:.0} % inside",
            errors[150] * 100.0,
            errors[270] * 100.0,
            inside * 100.0
        ));
    }
}

/// Every number of a calibration that a test can compare: name, value.
fn numbers(calibration: &Calibration) -> Vec<(String, f64)> {
    let mut numbers = Vec::new();
    let mut note = |name: String, value: f64| numbers.push((name, value));
    for gpu in &calibration.gpus {
        let index = gpu.index;
        gpu.dram.iter().for_each(|(name, rate)| note(format!("dram.{name} {index}"), rate.value.0));
        gpu.copy.iter().for_each(|((direction, memory), rates)| note(format!("copy.{direction} {memory} {index}"), rates.ceiling.value.0));
        gpu.matmul
            .iter()
            .for_each(|point| note(format!("matmul {index} {} {} {:?}", point.dtype, point.engine, point.shape()), point.rate.value.0));
        gpu.launch.kernel.iter().for_each(|time| note(format!("launch {index}"), time.value.0));
        for (name, direction) in [("up", Direction::Up), ("down", Direction::Down)] {
            let link = calibration.host_link(index, direction);
            link.iter().for_each(|link| note(format!("link {name} {index}"), link.time(Bytes::gib(1)).time.0));
        }
    }
    for link in &calibration.peers {
        let (from, to) = (link.from, link.to);
        for (name, engine) in [("engine", &link.copy_engine), ("kernel", &link.kernel)] {
            for (what, rate) in [("write", &engine.write), ("read", &engine.read), ("both", &engine.both)] {
                rate.iter().for_each(|rate| note(format!("peer {from}>{to} {name} {what}"), rate.value.0));
            }
        }
        note(format!("link {from}>{to}"), calibration.peer_link(from, to).unwrap().time(Bytes::gib(1)).time.0);
    }
    numbers
}

#[test]
fn memory_and_links_come_out_at_the_scenarios_rates() {
    let (bench, run) = measured(&scenario("h200-1x"), &["--effort", "quick", "dram", "copy", "launch", "cache"]);
    let (calibration, gpu) = (Calibration::from_run(&run), &bench.standin.scenario().gpus[0]);
    let measured = calibration.gpu(0).unwrap();
    let rates = [("read", gpu.dram.read_gbs), ("write", gpu.dram.write_gbs), ("copy", gpu.dram.copy_gbs), ("triad", gpu.dram.triad_gbs)];
    for (name, rate) in rates {
        close(name, measured.dram[name].value.0, rate * 1e9);
    }
    close("launch", measured.launch.kernel.as_ref().unwrap().value.0, gpu.launch.host_us * 1e-6);
    for (direction, rate) in [(Direction::Up, gpu.host_link.h2d_gbs), (Direction::Down, gpu.host_link.d2h_gbs)] {
        let link = calibration.host_link(0, direction).unwrap();
        assert_eq!(link.basis(), Basis::MeasuredHere);
        for bytes in [Bytes::mib(64), Bytes::gib(1), Bytes::gib(16)] {
            close(&format!("{direction:?} {bytes}"), link.time(bytes).time.0, bytes.as_f64() / (rate * 1e9));
        }
    }
    let memory = calibration.memory_bound_model(0, &Catalog::embedded().unwrap()).unwrap();
    // Kernels of frameworks are taken to reach 0.95 of what the probe's do.
    close("memory-bound kernels", memory.rate(Traffic::Copy).0, 0.95 * gpu.dram.copy_gbs * 1e9);
}

#[test]
fn half_a_link_changes_the_numbers_of_that_link_and_no_others() {
    let whole = include_str!("scenarios/sweep.toml");
    let probes = ["--effort", "quick", "--time", "3 s", "dram", "matmul", "copy", "peer", "launch"];
    let before = numbers(&Calibration::from_run(&measured(whole, &probes).1));
    let changed = |scenario: &str| -> Vec<(String, f64)> {
        let after = numbers(&Calibration::from_run(&measured(scenario, &probes).1));
        let pairs = before.iter().zip(after);
        let ratios = pairs.map(|((name, before), (same, after))| {
            assert_eq!(*name, same);
            (same, after / before)
        });
        ratios.filter(|(_, ratio)| (ratio - 1.0).abs() > TOLERANCE).collect()
    };
    let halved = |(name, ratio): &(String, f64)| {
        let expected = if name.starts_with("link") { 2.0 } else { 0.5 };
        assert!((ratio / expected - 1.0).abs() < 0.02, "{name}: {ratio}");
        name.clone()
    };

    // One direction of one pair, as its copy engine drives it.
    let link = "p2p = true, ce_gbs = 135.0, ce_both_gbs = 259.0, sm_gbs = 262.0, sm_both_gbs = 250.0, staged_gbs = 18.0, staged_both_gbs = 12.0, latency_us = 1.6";
    let slow = changed(&format!("{whole}\n[[link]]\nfrom = 0\nto = 1\nlink = {{ {link} }}\n"));
    let names: Vec<String> = slow.iter().filter(|(name, _)| name.starts_with("peer")).map(halved).collect();
    assert_eq!(names, ["peer 0>1 engine write", "peer 0>1 engine read"], "{slow:?}");
    // The best that goes this way is now the kernel's; the way back is as good as before.
    let rest: Vec<&String> = slow.iter().map(|(name, _)| name).filter(|name| !name.starts_with("peer")).collect();
    assert_eq!(rest, ["link 0>1"], "{slow:?}");

    // Copies from the host to both GPUs, pinned, one way.
    let slow = changed(&whole.replace("h2d_gbs = 25.3, d2h", "h2d_gbs = 12.65, d2h"));
    // Of both ways at once the slower one ends alone, at its one-way rate.
    let (both, slow): (Vec<_>, Vec<_>) = slow.into_iter().partition(|(name, _)| name.starts_with("copy.both pinned"));
    assert!(both.iter().all(|(_, ratio)| (0.9..1.0).contains(ratio)), "{both:?}");
    let names: Vec<String> = slow.iter().map(halved).collect();
    assert_eq!(names, ["copy.h2d pinned 0", "link up 0", "copy.h2d pinned 1", "link up 1"]);

    // Device memory of both GPUs, as copying kernels see it.
    let slow = changed(&whole.replace("copy_gbs = 1737.0", "copy_gbs = 868.5"));
    assert_eq!(slow.iter().map(halved).collect::<Vec<_>>(), ["dram.copy 0", "dram.copy 1"]);
}
