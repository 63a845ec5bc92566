//! What a measurement on a stand-in machine should have reported, from the scenario.

use gpu_assay::gpu::MOST_QUEUED;
use gpu_assay::measure::{Case, Measurement};
use gpu_assay::stats::Interval;
use gpu_assay_standin::scenario::{Gpu, Link, ProductShape, Scenario, Tile};

/// What a measurement reports: operations per second where it computes, else bytes per second where it moves any, else seconds per step.
pub fn reported(measurement: &Measurement) -> Interval {
    let rate = measurement.throughput().or_else(|| measurement.bandwidth());
    rate.or_else(|| measurement.latency()).expect("at least two samples")
}

/// The truth about the quantity that [`reported`] gives.
pub fn truth(scenario: &Scenario, measurement: &Measurement) -> f64 {
    let (work, seconds) = (measurement.work, seconds(scenario, measurement));
    match (work.compute.0, work.moved.as_f64()) {
        (compute, _) if compute > 0.0 => compute / seconds,
        (_, moved) if moved > 0.0 => moved / seconds,
        _ => seconds / work.steps as f64,
    }
}

/// True time of one iteration.
fn seconds(scenario: &Scenario, measurement: &Measurement) -> f64 {
    let case = &measurement.case;
    let axis = |name: &str| case.get_count(name).map(|index| index as usize);
    let bytes = case.get_bytes("bytes").map_or(0, |bytes| bytes.0);
    let moved = measurement.work.moved.as_f64();
    let steps = measurement.work.steps as f64;
    let own = case.get_word("engine") == Some("own");
    if let Some(operation) = case.mechanism().strip_prefix("collective.") {
        return collective(scenario, operation, axis("gpus").expect("GPUs"), moved);
    }
    if let "peer.gather" | "peer.scatter" | "peer.all" = case.mechanism() {
        return several(scenario, measurement);
    }
    let gpu = &scenario.gpus[axis("gpu").or(axis("from")).expect("a GPU")];
    match case.mechanism() {
        bulk if bulk.starts_with("bulk.") => {
            let rate = match bulk {
                "bulk.read" => gpu.dram.read_gbs,
                "bulk.write" => gpu.dram.write_gbs,
                _ => gpu.dram.copy_gbs,
            };
            moved / (rate * gpu.dram.bulk_share * 1e9)
        }
        "dram.read" => moved / (gpu.dram.read_gbs * 1e9),
        "dram.write" => moved / (gpu.dram.write_gbs * 1e9),
        "dram.copy" => moved / (gpu.dram.copy_gbs * 1e9),
        "dram.scale" => moved / (gpu.dram.scale_gbs * 1e9),
        "dram.add" => moved / (gpu.dram.add_gbs * 1e9),
        "dram.triad" => moved / (gpu.dram.triad_gbs * 1e9),
        "cache.read" if bytes <= gpu.l2_bytes() => moved / (gpu.cache.l2_read_gbs * 1e9),
        "cache.read" => moved / (gpu.dram.read_gbs * 1e9),
        "cache.latency" => steps * ring_ns(gpu, bytes) * 1e-9,
        "matmul.bf16" | "matmul.e4m3" | "matmul.zeros" => {
            let tile = hopper_tile(measurement).filter(|_| own);
            let rates = if tile.is_some() {
                gpu.hopper.expect("rates on Hopper")
            } else if own {
                gpu.matmul
            } else {
                gpu.cublaslt.expect("a library that measured")
            };
            let (rate, element) =
                if case.mechanism() == "matmul.e4m3" { (rates.e4m3_tflops.expect("FP8"), 1) } else { (rates.bf16_tflops, 2) };
            let found =
                measurement.conditions.get("shape").map(|shape| shape.split('x').map(|part| part.parse().expect("an extent")).collect());
            let extents: Vec<usize> = found.unwrap_or_else(|| ["m", "n", "k"].map(|name| axis(name).expect("an extent")).into());
            let [m, n, k] = extents[..] else { panic!("{extents:?}") };
            let share = if case.mechanism() == "matmul.zeros" && scenario.driver.products { rates.zeros } else { 1.0 };
            let shape = ProductShape { m, n, k, element };
            let whole = tile.map_or_else(|| gpu.product_seconds(&rates, rate, shape), |tile| gpu.tile_seconds(&rates, rate, shape, tile));
            whole * share
        }
        name if library_rate(gpu, name).is_some() => {
            let (rate, element) = library_rate(gpu, name).expect("just asked");
            let [m, n, k] = ["m", "n", "k"].map(|name| axis(name).expect("an extent"));
            gpu.product_seconds(&gpu.cublaslt.expect("a library that measured"), rate, ProductShape { m, n, k, element })
        }
        tensor if tensor.starts_with("tensor.") => measurement.work.compute.0 / (pipe(gpu, case) * 1e12),
        "launch.kernel" => steps * gpu.launch.host_us.max(gpu.launch.kernel_us) * 1e-6,
        "launch.event" => steps * (gpu.launch.host_us + gpu.launch.event_us).max(gpu.launch.kernel_us) * 1e-6,
        "launch.graph" => steps * gpu.launch.graph_kernel_us * 1e-6,
        "launch.sync" => steps * (gpu.launch.host_us + gpu.launch.kernel_us) * 1e-6,
        copy if copy.starts_with("copy.") => host_copy(scenario, gpu, measurement),
        peer if peer.starts_with("peer.") => {
            let link = |from, to| scenario.link(from, to).expect("two GPUs");
            let (from, to) = (axis("from").expect("from"), axis("to").expect("to"));
            let kernel = case.get_word("engine") == Some("sm");
            match peer {
                "peer.write" => one_way(&link(from, to), kernel).seconds(moved),
                "peer.read" => one_way(&link(to, from), kernel).seconds(moved),
                "peer.both" => both_ways([&link(from, to), &link(to, from)].map(|link| one_way(link, kernel)), moved / 2.0),
                // The index travels back to whoever asked.
                "peer.latency" => steps * link(to, from).latency_us * 1e-6,
                other => panic!("no truth for {other}"),
            }
        }
        other => panic!("no truth for {other}"),
    }
}

/// Rate and bytes of an element of the formats that only the library multiplies in.
fn library_rate(gpu: &Gpu, mechanism: &str) -> Option<(f64, usize)> {
    let rates = gpu.cublaslt?;
    match mechanism {
        "matmul.fp16" => Some((rates.fp16_tflops?, 2)),
        "matmul.e5m2" => Some((rates.e5m2_tflops?, 1)),
        "matmul.tf32" => Some((rates.tf32_tflops?, 4)),
        "matmul.fp32" => Some((rates.fp32_tflops?, 4)),
        "matmul.int8" => Some((rates.int8_tflops?, 1)),
        "matmul.fp64" => Some((rates.fp64_tflops?, 8)),
        "matmul.fp4" => Some((rates.fp4_tflops?, 1)),
        _ => None,
    }
}

/// Rate of the instruction that a case of `tensor` issues, 1e12 operations per second.
fn pipe(gpu: &Gpu, case: &Case) -> f64 {
    let pipes = gpu.pipes;
    match (case.mechanism(), case.get_word("engine").expect("an engine")) {
        ("tensor.bf16", "mma") => pipes.bf16_tflops,
        ("tensor.fp16", "mma") => pipes.fp16_tflops,
        ("tensor.tf32", "mma") => pipes.tf32_tflops,
        ("tensor.e4m3", "mma") => pipes.e4m3_tflops,
        ("tensor.int8", "mma") => pipes.int8_tflops,
        ("tensor.fp64", "mma") => pipes.fp64_tflops,
        ("tensor.bf16", "wgmma") => pipes.wgmma_bf16_tflops,
        ("tensor.fp16", "wgmma") => pipes.wgmma_fp16_tflops,
        ("tensor.tf32", "wgmma") => pipes.wgmma_tf32_tflops,
        ("tensor.e4m3", "wgmma") => pipes.wgmma_e4m3_tflops,
        ("tensor.e5m2", "wgmma") => pipes.wgmma_e5m2_tflops,
        ("tensor.int8", "wgmma") => pipes.wgmma_int8_tflops,
        ("tensor.fp16", "fma") => pipes.fma_fp16_tflops,
        ("tensor.fp32", "fma") => pipes.fma_fp32_tflops,
        ("tensor.fp64", "fma") => pipes.fma_fp64_tflops,
        other => panic!("no truth for {other:?}"),
    }
}

/// Time of copies between several GPUs at once: that of the slowest, as pairs share nothing.
fn several(scenario: &Scenario, measurement: &Measurement) -> f64 {
    let case = &measurement.case;
    let kernel = case.get_word("engine") == Some("sm");
    let pairs = measurement.conditions["pairs"].split(' ').map(|pair| {
        let (from, to) = pair.split_once('→').expect("from where to where");
        (from.parse::<usize>().expect("a GPU"), to.parse::<usize>().expect("a GPU"))
    });
    let pairs: Vec<(usize, usize)> = pairs.collect();
    let bytes = measurement.work.moved.as_f64() / pairs.len() as f64;
    let wire = |from, to| one_way(&scenario.link(from, to).expect("two GPUs"), kernel);
    let times = pairs.iter().map(|(from, to)| match case.mechanism() {
        "peer.all" => both_ways([wire(*from, *to), wire(*to, *from)], bytes),
        _ => wire(*from, *to).seconds(bytes),
    });
    times.fold(0.0, f64::max)
}

/// Time of an operation of the first GPUs by NCCL, of which each sends so many bytes: the stand-in's law.
fn collective(scenario: &Scenario, operation: &str, gpus: usize, sent: f64) -> f64 {
    let n = gpus as f64;
    let hops = match operation {
        "all_reduce" => 2.0 * (n - 1.0),
        "all_gather" | "reduce_scatter" | "broadcast" => n - 1.0,
        "all_to_all" => n.log2(),
        "send_receive" => 1.0,
        other => panic!("no truth for {other}"),
    };
    let pairs = (0..gpus).flat_map(|from| (0..gpus).map(move |to| (from, to))).filter_map(|(from, to)| scenario.link(from, to));
    let (rate, latency) = pairs.fold((f64::INFINITY, 0.0f64), |(rate, latency), link| {
        (rate.min(if link.p2p { link.sm_both_gbs } else { link.staged_both_gbs }), latency.max(link.latency_us))
    });
    let kernel = scenario.gpus[..gpus].iter().map(|gpu| gpu.launch.kernel_us).fold(0.0, f64::max);
    (kernel + hops * latency) * 1e-6 + sent / (rate * scenario.driver.nccl_share * 1e9)
}

/// One dependent load in a ring of this size.
fn ring_ns(gpu: &Gpu, bytes: u64) -> f64 {
    if bytes <= gpu.l1_bytes() {
        gpu.cache.l1_ns
    } else if bytes <= gpu.l2_bytes() {
        gpu.cache.l2_ns
    } else {
        gpu.cache.dram_ns
    }
}

/// One direction of a wire: 1e9 bytes per second alone and against traffic the other way, and the least time of a copy.
#[derive(Clone, Copy)]
struct Wire {
    alone: f64,
    opposed: f64,
    least_us: f64,
}

impl Wire {
    fn seconds(self, bytes: f64) -> f64 {
        (bytes / (self.alone * 1e9)).max(self.least_us * 1e-6)
    }
}

/// Time of `bytes` each way at once: the slower direction has the wire for itself once the faster one is done.
fn both_ways([there, back]: [Wire; 2], bytes: f64) -> f64 {
    let (slow, fast) = if there.opposed < back.opposed { (there, back) } else { (back, there) };
    (bytes / fast.opposed + bytes * (1.0 - slow.opposed / fast.opposed) / slow.alone) * 1e-9
}

fn one_way(link: &Link, kernel: bool) -> Wire {
    let (alone, opposed) = match (link.p2p, kernel) {
        (true, true) => (link.sm_gbs, link.sm_both_gbs),
        (true, false) => (link.ce_gbs, link.ce_both_gbs),
        (false, _) => (link.staged_gbs, link.staged_both_gbs),
    };
    Wire { alone, opposed, least_us: if kernel { 0.0 } else { link.latency_us } }
}

/// Time of a copy between host and device, in the direction or directions of the case.
fn host_copy(scenario: &Scenario, gpu: &Gpu, measurement: &Measurement) -> f64 {
    let case = &measurement.case;
    let link = gpu.host_link;
    let moved = measurement.work.moved.as_f64();
    let wire = |alone, opposed| Wire { alone, opposed, least_us: link.latency_us };
    let (up, down) = match case.get_word("memory") {
        None | Some("pinned") => (wire(link.h2d_gbs, link.h2d_both_gbs), wire(link.d2h_gbs, link.d2h_both_gbs)),
        _ => (wire(link.pageable_h2d_gbs, link.pageable_h2d_gbs), wire(link.pageable_d2h_gbs, link.pageable_d2h_gbs)),
    };
    let one = match case.get_word("dir") {
        Some("h2d") => up,
        Some("d2h") => down,
        None => return alone(scenario, measurement, up, down),
        Some(other) => panic!("no direction {other}"),
    };
    match (case.mechanism(), case.get_word("engine")) {
        ("copy.together", _) => together(scenario, case, one).seconds(moved),
        ("copy.kernel", Some("sm")) => Wire { least_us: gpu.launch.kernel_us, ..one }.seconds(moved),
        ("copy.latency", Some("ce")) => one.seconds(case.get_bytes("bytes").expect("a size").as_f64()),
        ("copy.latency", Some("sm")) => measurement.work.steps as f64 * link.load_us() * 1e-6,
        // Pages make no difference to the stand-in.
        ("copy.pages", _) => one.seconds(moved),
        ("copy.node", _) => {
            let is_own = case.get_count("node") == u64::try_from(gpu.numa_node).ok();
            let share = if is_own { 1.0 } else { link.remote_share };
            Wire { alone: one.alone * share, ..one }.seconds(moved)
        }
        other => panic!("no truth for {other:?}"),
    }
}

/// The part of a shared link that a GPU gets while all that share it copy; they must be equals.
fn together(scenario: &Scenario, case: &Case, own: Wire) -> Wire {
    let direction = case.get_word("dir").expect("a direction");
    let gpu = case.get_count("gpu").expect("a GPU") as usize;
    let switch = scenario.host_switches.iter().find(|switch| switch.gpus.contains(&gpu));
    let part = switch.map_or(f64::INFINITY, |switch| {
        let rate = if direction == "h2d" { switch.h2d_gbs } else { switch.d2h_gbs };
        rate / switch.gpus.len() as f64
    });
    Wire { alone: own.alone.min(part), ..own }
}

/// Time of a copy of one GPU, with no other about.
fn alone(scenario: &Scenario, measurement: &Measurement, up: Wire, down: Wire) -> f64 {
    let moved = measurement.work.moved.as_f64();
    match measurement.case.mechanism() {
        "copy.h2d" => up.seconds(moved),
        "copy.d2h" => down.seconds(moved),
        "copy.both" => {
            let least = up.least_us * 1e-6;
            let seconds = both_ways([up, down], moved / 2.0);
            if seconds < least { least * slower_of_two(scenario.noise.sigma, measurement.iterations) } else { seconds }
        }
        other => panic!("no truth for {other}"),
    }
}

/// How much longer than one of them two equal streams of copies take that are waited for together, each copy's time spread by `sigma`.
///
/// The sum of n such times is spread by sigma/√n, and the larger of two normal values lies 1/√π of that above their mean. A batch is waited
/// for in parts, as many copies as fit behind a gate.
fn slower_of_two(sigma: f64, iterations: u64) -> f64 {
    let part = (MOST_QUEUED - 3) / 2;
    let (whole, rest) = ((iterations / part) as f64, (iterations % part) as f64);
    let excess = (whole * (part as f64).sqrt() + rest.sqrt()) * sigma / std::f64::consts::PI.sqrt();
    1.0 + excess / iterations as f64
}

/// The tile of a product by one of the kernels for Hopper: `wgmma, 128x256 tiles, 4 stages, cluster 2x1`.
fn hopper_tile(measurement: &Measurement) -> Option<Tile> {
    let algorithm = measurement.conditions.get("algorithm")?.strip_prefix("wgmma, ")?;
    let (rows, columns) = algorithm.split(' ').next()?.split_once('x')?;
    let cluster = if algorithm.ends_with("cluster 2x1") { 2 } else { 1 };
    Some(Tile { rows: rows.parse().ok()?, columns: columns.parse().ok()?, cluster })
}
