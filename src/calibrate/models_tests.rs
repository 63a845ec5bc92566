//! Models come out of what was measured, say so, and do with less where less is known.

use super::fixture::{Fixture, two_h100};
use super::links::Access;
use super::matmul::{DESIGN, GemmShape, MatmulModel, Setting};
use super::memory_bound::Traffic;
use super::*;
use crate::catalog::{Catalog, Dtype, GpuModel};
use crate::measure::Work;
use serde_json::{Value, json};

fn catalog() -> Catalog {
    Catalog::embedded().unwrap()
}

/// The same with the design on one GPU, each product as long as `time` says.
fn with_design(mut fixture: Fixture, gpu: u32, engine: &str, time: impl Fn(GemmShape) -> f64) -> Fixture {
    for shape in DESIGN {
        let GemmShape { m, n, k } = shape;
        let work = serde_json::to_value(Work::computing(shape.flops(), shape.bytes(2))).unwrap();
        fixture = fixture.measured(&format!("matmul.bf16/engine={engine},m={m},n={n},k={k},gpu={gpu}"), &work, time(shape), None);
    }
    fixture
}

/// A machine that is a fifth slower than its documents have it.
fn slower(gpu: &GpuModel) -> impl Fn(GemmShape) -> f64 {
    let usual = MatmulModel::assumed(gpu, Dtype::Bf16).unwrap();
    move |shape| 1.2 * usual.time_in(Setting::ROTATED, shape).time.0
}

const SQUARE: GemmShape = GemmShape::square(3072);

#[test]
fn products_are_fitted_to_the_engine_that_timed_most_shapes() {
    let catalog = catalog();
    let truth = slower(catalog.gpu("H100 SXM").unwrap());
    let calibration = Calibration::from_run(&with_design(two_h100(), 0, "cublaslt", &truth).run());
    let fitted = calibration.matmul_model(0, &catalog, Dtype::Bf16).unwrap();
    assert_eq!(fitted.basis, Basis::MeasuredHere);
    assert_eq!(fitted.from, "matmul.bf16, 65 shapes, engine=cublaslt, gpu=0");
    let error = fitted.model.time_in(Setting::ROTATED, SQUARE).time.0 / truth(SQUARE) - 1.0;
    assert!(error.abs() < 0.05, "{error}");
    assert_eq!(calibration.matmul_model(0, &catalog, Dtype::Fp16), Some(fitted.clone()), "the same units at the same rate");
    assert_eq!(calibration.matmul_model(0, &catalog, Dtype::Bf16), Some(fitted.clone()), "kept");
    assert!(calibration.matmul_model(0, &catalog, Dtype::Fp64).is_none());
    assert!(calibration.matmul_model(7, &catalog, Dtype::Bf16).is_none());

    let own = Calibration::from_recorded(&with_design(two_h100(), 0, "own", &truth).run());
    let fitted = own.matmul_model(0, &catalog, Dtype::Bf16).unwrap();
    assert_eq!((fitted.basis, fitted.from.as_str()), (Basis::MeasuredSameModel, "matmul.bf16, 65 shapes, engine=own, gpu=0"));
}

#[test]
fn a_gpu_with_few_shapes_borrows_those_of_its_like() {
    let catalog = catalog();
    let truth = slower(catalog.gpu("H100 SXM").unwrap());
    let calibration = Calibration::from_run(&with_design(two_h100(), 0, "cublaslt", &truth).run());
    let [first, second] = [0, 1].map(|gpu| calibration.matmul_model(gpu, &catalog, Dtype::Bf16).unwrap());
    assert_eq!(first, second);
    // Of FP8 both have one shape only: each its own.
    assert_eq!(calibration.matmul_model(1, &catalog, Dtype::Fp8).unwrap().from, "matmul.e4m3, 1 shapes, engine=own, gpu=1");
}

#[test]
fn a_board_that_no_catalog_describes_is_described_by_its_record() {
    let catalog = catalog();
    let truth = slower(catalog.gpu("H100 SXM").unwrap());
    let slice = Fixture::host_only().gpu("NVIDIA H100 80GB HBM3 MIG 7g.80gb", "10de:2330", json!([]), json!(80u64 << 30));
    let slice = slice.moved("dram.read/bytes=4GiB,gpu=0", 3_000_000_000, 1e-3);
    let run = with_design(slice, 0, "cublaslt", &truth).run();
    let calibration = Calibration::from_run(&run);
    assert!(calibration.gpus[0].model(&catalog).is_none());
    // 5120 bits at the fixture's 1.98 GHz would carry 2.5 TB/s; reading reached more, which does not make the bus wider.
    assert!((calibration.gpus[0].board.bandwidth.unwrap().0 / 2.534e12 - 1.0).abs() < 1e-3);
    let model = calibration.matmul_model(0, &catalog, Dtype::Bf16).unwrap().model;
    let error = model.time_in(Setting::ROTATED, SQUARE).time.0 / truth(SQUARE) - 1.0;
    assert!(error.abs() < 0.05, "{error}");

    let mut blind = Calibration::from_run(&run);
    blind.gpus[0].board.l2 = None;
    assert!(blind.matmul_model(0, &catalog, Dtype::Bf16).is_none());
}

#[test]
fn memory_and_links_have_models_too() {
    let (catalog, calibration) = (catalog(), Calibration::from_run(&two_h100().run()));
    assert!(calibration.memory_bound_model(0, &catalog).unwrap().rate(Traffic::Read).0 > 2e12);
    assert!(calibration.memory_bound_model(5, &catalog).is_none());
    let up = calibration.host_link(0, Direction::Up).unwrap().time(Bytes::gib(1)).time;
    assert!((up.0 / ((1u64 << 30) as f64 / 56e9) - 1.0).abs() < 0.01);
    assert!(calibration.host_link(0, Direction::Down).is_some() && calibration.peer_link(0, 1).is_some());
    assert!(calibration.peer_link(0, 3).is_none() && calibration.disk(Access::Read).is_some());
}

#[test]
fn published_rates_move_physics_and_leave_it_unsure() {
    let catalog = catalog();
    let gpu = catalog.gpu("H100 SXM").unwrap();
    for rate in [500e12, 700e12] {
        let model = MatmulModel::published(gpu, Dtype::Bf16, FlopsPerSecond(rate)).unwrap();
        assert!((model.ceiling().0 / rate - 1.0).abs() < 0.06, "{:?}", model.ceiling());
        let time = model.time(SQUARE);
        assert!(time.extrapolated && time.high.0 / time.low.0 > 2.0);
    }
}

/// A record of one H100 with a measurement and more of it.
fn record(change: impl FnOnce(&mut Value)) -> Run {
    let fixture = Fixture::host_only().h100().moved("dram.read/bytes=4GiB,gpu=0", 3_000_000_000, 1e-3);
    let mut value = serde_json::to_value(fixture.run()).unwrap();
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

#[test]
fn the_record_that_says_most_is_chosen_and_ones_own_before_all() {
    let catalog = catalog();
    let wanted = catalog.gpu("H100 SXM").unwrap();
    let design = with_design(Fixture::host_only().h100(), 0, "cublaslt", |_| 1e-3).run();
    // From the least to the most worth.
    let ranked = [
        record(|run| run["simulated"] = json!(true)),
        record(|run| run["complete"] = json!(false)),
        record(|_| ()),
        record(|run| run["started"] = json!("2026-02-01T00:00:00Z")),
        record(|run| run["settings"]["effort"] = json!("standard")),
        design,
    ];
    for better in 1..ranked.len() {
        for worse in 0..better {
            for pair in [[&ranked[worse], &ranked[better]], [&ranked[better], &ranked[worse]]] {
                let chosen = choose(None, pair, wanted, &catalog).unwrap();
                assert!(std::ptr::eq(chosen.run, &ranked[better]), "{better} against {worse}");
                assert_eq!((chosen.gpu, chosen.basis), (0, Basis::MeasuredSameModel));
            }
        }
    }
    let own = choose(Some(&ranked[2]), &ranked, wanted, &catalog).unwrap();
    assert!(std::ptr::eq(own.run, &ranked[2]));
    assert_eq!(own.calibration().gpus[0].basis(), Some(Basis::MeasuredHere));
    // A record of another model, or one in which the GPU was not measured, says nothing.
    assert_eq!(choose(Some(&Fixture::host_only().h100().run()), &[], wanted, &catalog), None);
    assert_eq!(choose(None, &ranked, catalog.gpu("H200 SXM").unwrap(), &catalog), None);
}
