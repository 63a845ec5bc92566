//! What a calibration costs: reading a record, making constants of it, and the fits that estimates ask for.

#![allow(missing_docs)]

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use gpu_assay::calibrate::Calibration;
use gpu_assay::catalog::{Catalog, Dtype};
use gpu_assay::record::Run;
use gpu_assay::units::FlopsPerSecond;

/// The record that the tests keep.
fn run() -> Option<Run> {
    Run::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records/h200-standin.json")).ok()
}

/// A model is fitted when a number is asked of it.
fn ceiling(calibration: &Calibration, catalog: &Catalog, dtype: Dtype) -> Option<FlopsPerSecond> {
    calibration.matmul_model(0, catalog, dtype).map(|fitted| fitted.model.ceiling())
}

fn calibrations(c: &mut Criterion) {
    let Ok(catalog) = Catalog::embedded() else { return };
    let Some(run) = run() else { return };
    c.bench_function("constants of a record", |b| b.iter(|| Calibration::from_run(black_box(&run))));
    // A calibration keeps its fits: each is made on a new one.
    for dtype in [Dtype::Bf16, Dtype::Fp8] {
        c.bench_function(&format!("products in {dtype}, fitted"), |b| {
            b.iter(|| ceiling(&Calibration::from_run(&run), &catalog, black_box(dtype)));
        });
    }
    c.bench_function("constants of a record and every model", |b| {
        b.iter(|| {
            let calibration = Calibration::from_run(black_box(&run));
            let products = [Dtype::Bf16, Dtype::Fp8].map(|dtype| ceiling(&calibration, &catalog, dtype));
            (products, calibration.memory_bound_model(0, &catalog), calibration)
        });
    });
}

criterion_group!(benches, calibrations);
criterion_main!(benches);
