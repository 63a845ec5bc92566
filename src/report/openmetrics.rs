//! OpenMetrics text: a record's constants as gauges, for Prometheus and whatever reads its format.
//!
//! A gauge is named after what it measures and its base unit, as the format wants it; the 95 % interval is a second gauge beside it, with the
//! label `bound`, so that sums and means over the first need no filter. What was not measured is absent, not zero.

use std::collections::BTreeMap;

use super::words::harmless;
use crate::calibrate::{Calibration, GpuCalibration, MatmulPoint, PeerLink};
use crate::figure::{Figure, Quantity};
use crate::record::Run;

type Labels = Vec<(&'static str, String)>;

/// Gauges of one name.
struct Family {
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    samples: Vec<Sample>,
}

/// One gauge, in the base unit.
struct Sample {
    labels: Labels,
    value: f64,
    bounds: Option<(f64, f64)>,
}

impl Family {
    const fn new(name: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self { name, unit, help, samples: Vec::new() }
    }

    fn add<Q: Quantity>(&mut self, labels: impl IntoIterator<Item = (&'static str, String)>, figure: Option<&Figure<Q>>) {
        let Some(figure) = figure else { return };
        let (low, high) = (figure.low.base(), figure.high.base());
        let bounds = (low < high).then_some((low, high));
        self.samples.push(Sample { labels: labels.into_iter().collect(), value: figure.value.base(), bounds });
    }
}

/// The constants of a record. Ends in the line `# EOF`.
pub fn openmetrics(run: &Run) -> String {
    let calibration = Calibration::from_run(run);
    let machine = || ("machine", run.name.clone());
    let mut out = String::new();
    let facts = [
        machine(),
        ("program", run.program.version.clone()),
        ("effort", run.settings.effort.to_string()),
        ("started", run.started.clone()),
        ("simulated", run.simulated.to_string()),
    ];
    describe(&mut out, "gpu_assay_machine", "info", None, "The machine that was measured, by which program, when and how.");
    line(&mut out, "gpu_assay_machine_info", &facts, 1.0);
    for family in of_gpus(&calibration).into_iter().chain(of_links(&calibration)).chain(of_host(&calibration)) {
        write(&mut out, &family, &machine());
    }
    out.push_str("# EOF\n");
    out
}

fn of_gpus(calibration: &Calibration) -> [Family; 7] {
    let mut dram = Family::new("dram", "bytes_per_second", "Best rate of GPU memory by mechanism, reads and writes both counted.");
    let mut matmul = Family::new("matmul", "flops_per_second", "Best rate of matrix products by number format and engine.");
    let mut copy =
        Family::new("copy", "bytes_per_second", "Best rate of copies between host and GPU by direction and kind of host memory.");
    let mut launch =
        Family::new("launch", "seconds", "Time of starting work: a kernel, a graph, a kernel and an event, a kernel and waiting for it.");
    let mut memory = Family::new("memory", "bytes", "GPU memory: taken by context and cuBLASLt, allocatable, granularity.");
    let mut power = Family::new("power", "watts", "Highest mean power over a measurement.");
    let mut cache = Family::new("cache_latency", "seconds", "Time of one dependent load by working set in bytes.");
    for gpu in &calibration.gpus {
        let with = |more: &[(&'static str, &str)]| labels(gpu, more);
        for (mechanism, rate) in &gpu.dram {
            dram.add(with(&[("mechanism", mechanism)]), Some(rate));
        }
        for ((dtype, engine), point) in best_products(gpu) {
            matmul.add(with(&[("dtype", dtype), ("engine", engine)]), Some(&point.rate));
        }
        for ((direction, kind), rates) in &gpu.copy {
            copy.add(with(&[("direction", direction), ("memory", kind)]), Some(&rates.ceiling));
        }
        launch.add(with(&[("mechanism", "kernel")]), gpu.launch.kernel.as_ref());
        launch.add(with(&[("mechanism", "graph")]), gpu.launch.graph.as_ref());
        launch.add(with(&[("mechanism", "event")]), gpu.launch.event.as_ref());
        launch.add(with(&[("mechanism", "sync")]), gpu.launch.sync.as_ref());
        memory.add(with(&[("mechanism", "context")]), gpu.memory.context.as_ref());
        memory.add(with(&[("mechanism", "cublaslt")]), gpu.memory.cublaslt.as_ref());
        memory.add(with(&[("mechanism", "nccl")]), gpu.memory.nccl.as_ref());
        memory.add(with(&[("mechanism", "allocatable")]), gpu.memory.allocatable.as_ref());
        memory.add(with(&[("mechanism", "granularity")]), gpu.memory.granularity.as_ref());
        power.add(with(&[]), gpu.power.as_ref());
        for point in gpu.cache_latency.iter().flat_map(|curve| curve.points()) {
            cache.add(with(&[("bytes", &point.x.0.to_string())]), Some(&point.y));
        }
    }
    [dram, matmul, copy, launch, memory, power, cache]
}

fn of_links(calibration: &Calibration) -> [Family; 2] {
    let mut rates =
        Family::new("peer", "bytes_per_second", "Best rate of data on their way from one GPU to another, by engine and by who acts.");
    let mut latency = Family::new("peer_latency", "seconds", "One small access of a GPU to the memory of another.");
    for link in &calibration.peers {
        let ways = |link: &PeerLink| vec![("from", link.from.to_string()), ("to", link.to.to_string())];
        for (engine, of) in [("ce", &link.copy_engine), ("sm", &link.kernel)] {
            for (mechanism, rate) in [("write", &of.write), ("read", &of.read), ("both", &of.both)] {
                let more = [("engine", engine.to_owned()), ("mechanism", mechanism.to_owned())];
                rates.add(ways(link).into_iter().chain(more), rate.as_ref());
            }
        }
        latency.add(ways(link), link.latency.as_ref());
    }
    [rates, latency]
}

fn of_host(calibration: &Calibration) -> [Family; 4] {
    let mut memory = Family::new("host_memory", "bytes_per_second", "Best rate of host memory by mechanism, counted as STREAM does.");
    let mut matmul = Family::new("host_matmul", "flops_per_second", "Best rate of matrix products on the processors by number format.");
    let mut storage = Family::new("storage", "bytes_per_second", "Rate of the disk past the page cache.");
    let mut latency = Family::new("storage_latency", "seconds", "One random read of a small block with no other under way.");
    for (mechanism, rate) in &calibration.host.memory {
        memory.add([("mechanism", mechanism.clone())], Some(rate));
    }
    for (dtype, rate) in &calibration.host.matmul {
        matmul.add([("dtype", dtype.clone())], Some(rate));
    }
    let disk = &calibration.storage;
    for (mechanism, rate) in [("read", &disk.read), ("write", &disk.write), ("random_read", &disk.random_read)] {
        storage.add([("mechanism", mechanism.to_owned())], rate.as_ref());
    }
    latency.add([], disk.random_latency.as_ref());
    [memory, matmul, storage, latency]
}

fn labels(gpu: &GpuCalibration, more: &[(&'static str, &str)]) -> Labels {
    let own = [("gpu", gpu.index.to_string()), ("model", gpu.name.clone())];
    own.into_iter().chain(more.iter().map(|(name, value)| (*name, (*value).to_owned()))).collect()
}

/// The fastest shape of each format and engine.
fn best_products(gpu: &GpuCalibration) -> BTreeMap<(&str, &str), &MatmulPoint> {
    let mut best: BTreeMap<(&str, &str), &MatmulPoint> = BTreeMap::new();
    for point in &gpu.matmul {
        let kept = best.entry((&point.dtype, &point.engine)).or_insert(point);
        if point.rate.value > kept.rate.value {
            *kept = point;
        }
    }
    best
}

/// A family and the gauges of its intervals; nothing where nothing was measured.
fn write(out: &mut String, family: &Family, machine: &(&'static str, String)) {
    if family.samples.is_empty() {
        return;
    }
    let all = |sample: &Sample| -> Labels { std::iter::once(machine).chain(&sample.labels).cloned().collect() };
    let name = format!("gpu_assay_{}_{}", family.name, family.unit);
    describe(out, &name, "gauge", Some(family.unit), family.help);
    for sample in &family.samples {
        line(out, &name, &all(sample), sample.value);
    }
    if family.samples.iter().all(|sample| sample.bounds.is_none()) {
        return;
    }
    let name = format!("gpu_assay_{}_bound_{}", family.name, family.unit);
    describe(out, &name, "gauge", Some(family.unit), &format!("{} Ends of the interval.", family.help));
    for (sample, (low, high)) in family.samples.iter().filter_map(|sample| Some((sample, sample.bounds?))) {
        for (bound, value) in [("low", low), ("high", high)] {
            line(out, &name, &[all(sample), vec![("bound", bound.to_owned())]].concat(), value);
        }
    }
}

fn describe(out: &mut String, name: &str, kind: &str, unit: Option<&str>, help: &str) {
    out.push_str(&format!("# TYPE {name} {kind}\n"));
    if let Some(unit) = unit {
        out.push_str(&format!("# UNIT {name} {unit}\n"));
    }
    out.push_str(&format!("# HELP {name} {}\n", escape(help)));
}

fn line(out: &mut String, name: &str, labels: &[(&'static str, String)], value: f64) {
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    out.push_str(&format!("{name}{{{}}} {value}\n", labels.join(",")));
}

/// What stands between quotes: a name out of a file must end neither the label nor the line.
fn escape(text: &str) -> String {
    harmless(text).replace('\\', "\\\\").replace('"', "\\\"")
}
