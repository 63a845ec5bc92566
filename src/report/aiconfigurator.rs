//! A system file for NVIDIA's aiconfigurator, which plans deployments of inference engines, with this machine's constants in it.
//!
//! Its authors mark several constants as guesses that users should replace by observations; here they are observations. Every line says in
//! a comment what it rests on: a case of the record, the catalog's datasheet, or an assumption. Rates are bytes per second and operations per
//! second in one direction. Where GPUs of a machine differ, the slowest speaks for all, since a sharded model waits for it.

use super::words::harmless;
use crate::calibrate::{Calibration, GpuCalibration};
use crate::catalog::{Catalog, Dtype, GpuModel};
use crate::error::{Error, Result};
use crate::figure::{Basis, Figure, Quantity};
use crate::machine::Gpu;
use crate::record::Run;
use crate::units::{Bytes, BytesPerSecond, FlopsPerSecond, Seconds, Watts};

/// What the file is made from.
struct Source<'a> {
    run: &'a Run,
    calibration: Calibration,
    catalog: &'a Catalog,
    /// The first GPU; all of a machine are taken for its like.
    gpu: &'a Gpu,
    model: Option<&'a GpuModel>,
}

/// The system file of a record's machine.
///
/// # Errors
/// [`Error::Unavailable`] when the record has no GPU, or when neither it nor the catalog knows what a system file cannot do without.
pub fn aiconfigurator(run: &Run, catalog: &Catalog) -> Result<String> {
    let gpu = run.machine.gpus.first().ok_or_else(|| missing(run, "the record has no GPU"))?;
    let calibration = Calibration::from_run(run);
    let model = calibration.gpus.first().and_then(|gpu| gpu.model(catalog));
    let source = Source { run, calibration, catalog, gpu, model };
    Ok([head(&source), of_gpu(&source)?, of_node(&source), of_rest(&source)].concat())
}

fn head(source: &Source<'_>) -> String {
    let run = source.run;
    let simulated = if run.simulated { "# SIMULATED: a stand-in driver took the place of hardware\n" } else { "" };
    format!(
        "# System file for aiconfigurator, by gpu-assay from the record {} of {}\n{simulated}\
         data_dir: data/{} # where kernel timings for it belong; gpu-assay does not write them\n",
        run.name,
        harmless(&run.started),
        run.name
    )
}

fn of_gpu(source: &Source<'_>) -> Result<String> {
    let Source { model, gpu, .. } = source;
    let copy = source.slowest(|gpu| gpu.dram.get("copy").cloned());
    let bandwidth = model.map(GpuModel::bandwidth).or_else(|| copy.clone());
    let bandwidth =
        bandwidth.ok_or_else(|| missing(source.run, "the GPU's memory was not measured, and the catalog does not know the GPU"))?;
    let reached = copy.map(|copy| copy.map(|rate| rate / bandwidth.value));
    let launch = source.slowest_time(|gpu| gpu.launch.kernel.clone());
    let total = gpu.memory_total.known().map(|total| Figure::new(*total, Basis::MeasuredHere, "as the driver shows it"));
    let limit = gpu.power.enforced.known().map(|limit| Figure::new(*limit, Basis::MeasuredHere, "the limit that the driver enforces"));
    let capability = gpu.compute_capability.known().copied().or_else(|| model.map(|model| model.compute_capability()));
    let (major, minor) = capability.ok_or_else(|| missing(source.run, "the GPU's compute capability is not known"))?;
    let mut out = "gpu:\n".to_owned();
    entry(&mut out, "mem_bw", Some(bandwidth));
    entry(&mut out, "mem_bw_empirical_scaling_factor", reached.or_else(|| Some(Figure::assumed(0.9, "nine tenths of the datasheet"))));
    entry(&mut out, "mem_empirical_constant_latency", launch.or_else(|| Some(Figure::assumed(Seconds(3e-6), "3 µs for a kernel launch"))));
    entry(&mut out, "mem_capacity", total.or_else(|| model.map(GpuModel::capacity)));
    entry(&mut out, "bfloat16_tc_flops", source.products("bf16", Dtype::Bf16));
    entry(&mut out, "int8_tc_flops", source.products("int8", Dtype::Int8));
    entry(&mut out, "fp8_tc_flops", source.products("e4m3", Dtype::Fp8));
    entry::<Watts>(&mut out, "power", limit.or_else(|| model.map(GpuModel::tdp)));
    out.push_str(&format!("  sm_version: {} # compute capability {major}.{minor}\n", major * 10 + minor));
    Ok(out)
}

fn of_node(source: &Source<'_>) -> String {
    let copies = source.slowest(|gpu| gpu.copy_ceiling("h2d", "pinned").cloned());
    let slot = source.gpu.pcie.known().and_then(|link| Some((link.generation_max?, link.width_max?)));
    let pcie = copies.or_else(|| slot.and_then(|(generation, width)| source.catalog.pcie_ceiling(generation, width)));
    let peers = least(source.calibration.peers.iter().filter_map(|link| link.one_way()));
    let peers = peers.or_else(|| source.model.and_then(GpuModel::nvlink_one_way)).or_else(|| pcie.clone());
    let latency = source.calibration.peers.iter().filter_map(|link| link.latency.clone());
    let latency = latency.reduce(|most, other| if other.value > most.value { other } else { most });
    let mut out = format!("\nnode:\n  num_gpus_per_node: {} # as inspected\n", source.run.machine.gpus.len());
    entry(&mut out, "inter_node_bw", Some(Figure::assumed(BytesPerSecond(50e9), "one port of 400 Gbit/s for each GPU")));
    entry(&mut out, "intra_node_bw", peers);
    entry(&mut out, "pcie_bw", pcie);
    entry(&mut out, "p2p_latency", latency.or_else(|| Some(Figure::assumed(Seconds(1e-5), "10 µs from GPU to GPU"))));
    out
}

fn of_rest(source: &Source<'_>) -> String {
    let context = source.calibration.gpus.iter().find_map(|gpu| {
        let context = gpu.memory.context.clone()?;
        Some(gpu.memory.cublaslt.as_ref().map_or_else(|| context.clone(), |library| context.with(library, |a, b| a + b)))
    });
    let other = context.unwrap_or_else(|| Figure::assumed(Bytes::mib(600), "a context and cuBLASLt"));
    let architecture = source.model.map_or_else(|| "unknown".to_owned(), |model| model.architecture.to_lowercase());
    let connected = source.calibration.gpus.iter().find_map(|gpu| gpu.memory.nccl.as_ref());
    let (bytes, from) = connected.map_or_else(
        || (Bytes::mib(400), "not measured: assumed, buffers of some hundred MiB".to_owned()),
        |nccl| (nccl.value, format!("measured: {}", nccl.from.join(", "))),
    );
    let mut out = format!("\nmisc:\n  nccl_mem: # bytes by number of GPUs; {from}\n");
    for (gpus, bytes) in [(1, Bytes(0)), (2, bytes), (4, bytes), (8, bytes)] {
        out.push_str(&format!("    {gpus}: {}\n", bytes.0));
    }
    entry(&mut out, "other_mem", Some(other));
    out.push_str("  nccl_version: '2.26.2' # not measured: assumed, the name of the collectives' timings in data_dir\n");
    out.push_str("  vendor: 'nvidia'\n");
    out.push_str(&format!("  architecture: {}\n  name: {}\n", quoted(&architecture), quoted(&source.gpu.name)));
    out
}

impl Source<'_> {
    fn slowest<Q: Quantity>(&self, of: impl Fn(&GpuCalibration) -> Option<Figure<Q>>) -> Option<Figure<Q>> {
        least(self.calibration.gpus.iter().filter_map(of))
    }

    fn slowest_time(&self, of: impl Fn(&GpuCalibration) -> Option<Figure<Seconds>>) -> Option<Figure<Seconds>> {
        self.calibration.gpus.iter().filter_map(of).reduce(|most, other| if other.value > most.value { other } else { most })
    }

    /// Measured where it was, else the dense peak on the datasheet; none for formats that the GPU does not have.
    fn products(&self, case: &str, dtype: Dtype) -> Option<Figure<FlopsPerSecond>> {
        let measured = self.slowest(|gpu| Some(gpu.matmul_best(case)?.rate.clone()));
        measured.or_else(|| self.model.and_then(|model| model.matmul_peak(dtype)))
    }
}

/// The figure with the smallest value.
fn least<Q: Quantity>(figures: impl Iterator<Item = Figure<Q>>) -> Option<Figure<Q>> {
    figures.reduce(|least, other| if other.value.base() < least.value.base() { other } else { least })
}

/// A key with its value and where that is from. What nobody knows is left out: aiconfigurator then says that it misses it.
fn entry<Q: Quantity>(out: &mut String, key: &str, figure: Option<Figure<Q>>) {
    let Some(figure) = figure else { return };
    let from = harmless(&figure.from.join(", "));
    let basis = match figure.basis {
        Basis::MeasuredHere => format!("measured here: {from}"),
        other => format!("not measured: {other}, {from}"),
    };
    out.push_str(&format!("  {key}: {} # {basis}\n", number(figure.value.base())));
}

/// Without an exponent, which readers of YAML 1.1 take for text: whole from a thousand on, else to the tenth decimal.
fn number(value: f64) -> String {
    if value.abs() >= 1000.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.10}").trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// A text of YAML on one line.
fn quoted(text: &str) -> String {
    format!("'{}'", harmless(text).replace('\'', "''"))
}

fn missing(run: &Run, why: &str) -> Error {
    Error::Unavailable {
        doing: format!("describing {} for aiconfigurator", run.name),
        why: why.to_owned(),
        remedy: "give the record of a machine with a GPU".to_owned(),
    }
}
