//! Is it as fast as such a machine is: against its kind, and each GPU against the others of the machine.

use super::About;
use super::inquiry::Inquiry;
use super::reference::{Engine, Rate, among_equals, band};
use crate::calibrate::GpuCalibration;
use crate::figure::{Figure, Quantity};
use crate::units::{BytesPerSecond, FlopsPerSecond};

/// Mechanisms of device memory, the one to judge by first.
const DRAM: [&str; 4] = ["copy", "triad", "read", "write"];

/// Everything about rates of the GPUs.
pub(super) fn ask(inquiry: &mut Inquiry<'_>) {
    for gpu in inquiry.gpus() {
        let Some(own) = inquiry.evidence.calibration.gpu(gpu.index) else { continue };
        memory(inquiry, own);
        products(inquiry, own, "bf16", "matmul.bf16");
        products(inquiry, own, "e4m3", "matmul.fp8");
        copies(inquiry, own);
    }
    even(inquiry);
}

/// The mechanism by which a GPU's memory is judged.
pub(super) fn dram(gpu: &GpuCalibration) -> Option<&'static str> {
    DRAM.into_iter().find(|name| gpu.dram.contains_key(*name))
}

fn memory(inquiry: &mut Inquiry<'_>, own: &GpuCalibration) {
    let about = About::Gpu(own.index);
    let Some(name) = dram(own) else { return inquiry.unknown("dram", about, "no copy inside its memory was timed") };
    against_its_kind(inquiry, own, Rate::Dram(name), "dram", BytesPerSecond::from_base);
}

/// The engine by whose products a GPU is judged: NVIDIA's library where it was there.
pub(super) fn engine(gpu: &GpuCalibration, dtype: &'static str) -> Option<Engine> {
    [Engine::CublasLt, Engine::Own].into_iter().find(|engine| Rate::Matmul(dtype, *engine).of(gpu).is_some())
}

fn products(inquiry: &mut Inquiry<'_>, own: &GpuCalibration, dtype: &'static str, id: &'static str) {
    let about = About::Gpu(own.index);
    let model = inquiry.evidence.expected.model;
    let format = if dtype == "bf16" { crate::catalog::Dtype::Bf16 } else { crate::catalog::Dtype::Fp8 };
    // Boards without the format are not asked for it.
    if model.matmul_peak(format).is_none() {
        return;
    }
    match engine(own, dtype) {
        None => inquiry.unknown(id, about, "no product was timed"),
        Some(engine) => against_its_kind(inquiry, own, Rate::Matmul(dtype, engine), id, FlopsPerSecond::from_base),
    }
}

fn copies(inquiry: &mut Inquiry<'_>, own: &GpuCalibration) {
    for (direction, id) in [("h2d", "copy.h2d"), ("d2h", "copy.d2h")] {
        against_its_kind(inquiry, own, Rate::Copy(direction), id, BytesPerSecond::from_base);
    }
}

fn against_its_kind<Q: Quantity>(inquiry: &mut Inquiry<'_>, own: &GpuCalibration, rate: Rate, id: &'static str, unit: fn(f64) -> Q) {
    let about = About::Gpu(own.index);
    let evidence = inquiry.evidence;
    let Some(measured) = rate.of(own) else { return inquiry.unknown(id, about, "it was not measured") };
    match band(rate, own, evidence.expected.model, evidence.catalog, evidence.others) {
        Some(band) => inquiry.rate(id, about, &measured.map(unit), band),
        None => inquiry.unknown(id, about, format!("{} was measured, and nothing is known of what is usual", unit(measured.value).show())),
    }
}

/// Each GPU against the median of the others.
fn even(inquiry: &mut Inquiry<'_>) {
    let gpus: Vec<&GpuCalibration> = inquiry.gpus().iter().filter_map(|gpu| inquiry.evidence.calibration.gpu(gpu.index)).collect();
    let of = |rate: fn(&GpuCalibration) -> Option<Figure<f64>>| -> Vec<(u32, Figure<f64>)> {
        gpus.iter().filter_map(|gpu| Some((gpu.index, rate(gpu)?))).collect()
    };
    let memory = of(|gpu| Rate::Dram(dram(gpu)?).of(gpu));
    let products = of(|gpu| Rate::Matmul("bf16", engine(gpu, "bf16")?).of(gpu));
    let copies = of(|gpu| Rate::Copy("h2d").of(gpu));
    // Memory of one model runs at one clock; chips differ in what a watt computes; processors' sockets differ in how near a GPU is.
    compare(inquiry, "even.dram", &memory, (0.97, 0.92), BytesPerSecond::from_base);
    compare(inquiry, "even.matmul", &products, (0.94, 0.88), FlopsPerSecond::from_base);
    compare(inquiry, "even.copy", &copies, (0.88, 0.75), BytesPerSecond::from_base);
}

fn compare<Q: Quantity>(
    inquiry: &mut Inquiry<'_>,
    id: &'static str,
    rates: &[(u32, Figure<f64>)],
    (warning, failure): (f64, f64),
    unit: fn(f64) -> Q,
) {
    for (index, rate) in rates {
        let others: Vec<f64> = rates.iter().filter(|(other, _)| other != index).map(|(_, rate)| rate.value).collect();
        // Of two that differ nobody can say which is wrong, but the slower one is the one to look at.
        if let Some(band) = among_equals(&others, warning, failure, Q::UNIT) {
            inquiry.rate(id, About::Gpu(*index), &rate.map(unit), band);
        }
    }
}
