//! What a calibration costs: reading a record, making constants of it, and the fits that estimates ask for.

#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use gpu_assay::calibrate::Calibration;
use gpu_assay::calibrate::matmul::MatmulModel;
use gpu_assay::catalog::{Catalog, Dtype};
use gpu_assay::measure::{Case, DESIGN, Measurement, Outcome, StopReason, Work};
use gpu_assay::record::Run;
use gpu_assay::units::{FlopsPerSecond, Seconds};

/// The record that the tests keep, with the products that calibrate.
fn run(catalog: &Catalog) -> Option<Run> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records/h200-standin.json");
    let mut run = Run::read(&path).ok()?;
    let gpu = catalog.gpu("H200 SXM").ok()?;
    for (name, dtype, element) in [("bf16", Dtype::Bf16, 2), ("e4m3", Dtype::Fp8, 1)] {
        let usual = MatmulModel::assumed(gpu, dtype)?;
        for (index, shape) in DESIGN.into_iter().enumerate() {
            // Neither the usual machine nor one that follows the model exactly.
            let time = usual.time(shape).time.0 * (1.1 + 0.1 * (index as f64).sin());
            let case = Case::new(&format!("matmul.{name}")).word("engine", "cublaslt");
            let case = case.count("m", shape.m).count("n", shape.n).count("k", shape.k).count("gpu", 0);
            run.keep(Outcome::Measured(Box::new(Measurement {
                case,
                work: Work::computing(shape.flops(), shape.bytes(element)),
                iterations: 10,
                samples: (0..13).map(|sample| time * (1.0 + 1e-3 * f64::from(sample))).collect(),
                rejected: Vec::new(),
                stop: StopReason::Precise,
                warmup: Seconds(0.01),
                telemetry: None,
                conditions: BTreeMap::new(),
            })));
        }
    }
    Some(run)
}

/// A model is fitted when a number is asked of it.
fn ceiling(calibration: &Calibration, catalog: &Catalog, dtype: Dtype) -> Option<FlopsPerSecond> {
    calibration.matmul_model(0, catalog, dtype).map(|fitted| fitted.model.ceiling())
}

fn calibrations(c: &mut Criterion) {
    let Ok(catalog) = Catalog::embedded() else { return };
    let Some(run) = run(&catalog) else { return };
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
