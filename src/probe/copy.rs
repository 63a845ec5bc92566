//! Copies between host and device.
//!
//! | case | what is copied | by |
//! |---|---|---|
//! | `h2d` | host to device | copy engine |
//! | `d2h` | device to host | copy engine |
//! | `both` | both at once, each on a stream of its own; the bytes of both count | copy engine |
//! | `kernel` | `dir=h2d`: a kernel reads host memory, `dir=d2h`: it writes host memory | multiprocessors (`engine=sm`) |
//! | `latency` | a few bytes or one index, one at a time: see [`latency`] | either |
//! | `node` | with host memory on each NUMA node, where there are several: see [`placed`] | copy engine |
//! | `pages` | with host memory on base pages and on huge ones: see [`placed`] | copy engine |
//! | `together` | `dir=h2d` or `dir=d2h` of one GPU, while all other GPUs do the same | copy engine |
//!
//! The first three are what estimates and verdicts count with. The others stand beside them, under names of their own, and tell why a rate is
//! what it is; none of them is a fault by itself.
//!
//! `memory=pinned` is host memory that the device reaches by itself, on the GPU's own NUMA node: the link's rate. `memory=pageable` is
//! ordinary memory, which the driver moves through a pinned buffer of its own with the processor's help: what a program gets that does not
//! pin. Pageable copies occupy the calling thread until they are done, so there is no `both` for them, and they are timed without a gate. The
//! multiprocessors reach pinned memory too, by loads and stores of 16 bytes each; whether they or the copy engines are faster depends on the link.
//!
//! Small copies rotate over slots, so that the same line is not copied again at once. All data is an address-dependent pattern. What arrived on
//! the device is compared by a kernel, what arrived on the host by the host, word by word; the targets were cleared before. What is compared is
//! the last copy into each slot: an error that came and went, under later copies into the same slot, is not seen. (Comparing every copy on the
//! host would take longer than the copies.)

mod latency;
mod pageable;
mod placed;
mod together;
mod transfer;

use self::pageable::Pageable;
use self::transfer::{Transfer, Window};
use super::facts::{gpu_on, l2, needs_gpu, power_of_two_below, size, unknown, usable};
use super::peer::Engine;
use super::rig::{EventClock, operation, too_large};
use super::{Effort, Lab, Probe};
use crate::error::Result;
use crate::machine::{Gpu, Machine};
use crate::measure::{Case, Outcome, Waiver};
use crate::units::Bytes;

/// Host memory that a copy and its rotation may take in each direction, by what is free.
const HOST_SHARE: u64 = 8;

/// Small copies rotate over at most this much.
const MOST_ROTATION: Bytes = Bytes::mib(64);

/// Largest copy in both directions at once, of pageable memory, and by a kernel.
const LARGEST_OF_TWO: Bytes = Bytes::mib(256);

/// The `copy` probe.
pub(super) struct Copy;

fn sizes(gpu: &Gpu, machine: &Machine, effort: Effort) -> Vec<Bytes> {
    let wanted: &[Bytes] = match effort {
        Effort::Quick => &[Bytes::kib(4), Bytes::mib(1), Bytes::mib(256)],
        _ => &[Bytes::kib(4), Bytes::kib(64), Bytes::mib(1), Bytes::mib(16), Bytes::mib(64), Bytes::mib(256), Bytes::gib(1)],
    };
    let room = power_of_two_below((usable(gpu) / 2).min(host_room(machine)));
    let mut sizes: Vec<Bytes> = wanted.iter().map(|bytes| (*bytes).min(room)).filter(|bytes| *bytes >= Bytes::kib(4)).collect();
    sizes.dedup();
    sizes
}

/// Sizes of copies by a kernel, of those that the copy engine has: a quick run has none.
fn sizes_of_kernel(sizes: &[Bytes], effort: Effort) -> Vec<Bytes> {
    let fitting = sizes.iter().copied().filter(|bytes| *bytes <= LARGEST_OF_TWO).rev();
    match effort {
        Effort::Quick => Vec::new(),
        Effort::Standard => fitting.take(1).collect(),
        Effort::Thorough => fitting.filter(|bytes| *bytes >= Bytes::mib(1)).step_by(2).collect(),
    }
}

/// Host memory that a copy may take in each direction.
fn host_room(machine: &Machine) -> Bytes {
    let memory = &machine.host.memory;
    let limits = [memory.available.known().copied(), memory.cgroup_limit.known().copied().flatten()];
    limits.into_iter().flatten().min().unwrap_or(Bytes::gib(8)) / HOST_SHARE
}

impl Probe for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn about(&self) -> &'static str {
        "copies between host and device: each direction and both at once, pinned and pageable, by size; by kernels; latency; by NUMA node and kind of page; all GPUs together"
    }

    fn needs(&self, machine: &Machine) -> Result<(), Waiver> {
        needs_gpu(machine)
    }

    fn cases(&self, machine: &Machine, effort: Effort) -> Vec<Case> {
        let mut cases = Vec::new();
        for gpu in &machine.gpus {
            let case = |direction: &str, bytes, memory| {
                Case::new(&format!("copy.{direction}")).bytes("bytes", bytes).word("memory", memory).count("gpu", u64::from(gpu.index))
            };
            let sizes = sizes(gpu, machine, effort);
            for direction in ["h2d", "d2h"] {
                cases.extend(sizes.iter().map(|bytes| case(direction, *bytes, "pinned")));
            }
            let both: Vec<Bytes> = sizes.iter().copied().filter(|bytes| *bytes <= LARGEST_OF_TWO).collect();
            cases.extend(both.iter().map(|bytes| case("both", *bytes, "pinned")));
            cases.extend(latency::cases(gpu));
            for bytes in sizes_of_kernel(&sizes, effort) {
                cases.extend(["h2d", "d2h"].map(|direction| {
                    let case = Case::new("copy.kernel").word("engine", Engine::Kernel.name()).word("dir", direction);
                    case.bytes("bytes", bytes).count("gpu", u64::from(gpu.index))
                }));
            }
            cases.extend(placed::cases(gpu, machine, effort));
            let pageable = if effort == Effort::Quick { both.iter().rev().take(1).copied().collect() } else { both };
            for direction in ["h2d", "d2h"] {
                cases.extend(pageable.iter().map(|bytes| case(direction, *bytes, "pageable")));
            }
        }
        cases.extend(together::cases(machine));
        cases
    }

    fn weight(&self, case: &Case) -> f64 {
        match case.mechanism() {
            // There is one for each GPU and direction, and each keeps all GPUs busy.
            "copy.together" => 0.35,
            // Copies of a few bytes are many within a moment; a walk of the host's memory takes its time.
            "copy.latency" if case.get_word("engine") == Some("ce") => 0.15,
            // One for each GPU, direction and node.
            "copy.latency" | "copy.kernel" | "copy.node" | "copy.pages" => 0.3,
            _ => 0.7,
        }
    }

    fn run(&self, case: &Case, lab: &mut Lab<'_>) -> Result<Outcome> {
        let gpu = gpu_on(lab.machine, case, "gpu")?;
        let bytes = size(case, "bytes")?;
        let (engine, memory) = (Engine::Copy, case.get_word("memory"));
        let (up, down, engine, memory) = match operation(case)? {
            "together" => return together::run(case, gpu, lab),
            "latency" => return latency::run(case, gpu, lab),
            "node" | "pages" => return placed::run(case, gpu, lab),
            "kernel" => (direction(case)?, !direction(case)?, Engine::Kernel, Some("pinned")),
            "h2d" => (true, false, engine, memory),
            "d2h" => (false, true, engine, memory),
            "both" => (true, true, engine, memory),
            _ => return Err(unknown(case)),
        };
        let room = (usable(gpu) / 2).min(host_room(lab.machine));
        if bytes > room {
            return Ok(too_large(case, bytes, room));
        }
        let slots = ((l2(gpu) * 2).min(MOST_ROTATION).min(room).0 / bytes.0.max(1)).max(1);
        let bench = lab.bench(gpu.index)?;
        let window = Window { bytes, slots };
        match memory {
            Some("pinned") => {
                let conditions = conditions(engine, "pinned", gpu, window, lab.seed);
                let up = up.then(|| lab.take_pinned(gpu.index, window.total())).transpose()?;
                let down = down.then(|| lab.take_pinned(gpu.index, window.total())).transpose()?;
                let mut trial = Transfer::new(&bench, window, up, down, lab.seed)?.by(engine);
                let outcome = lab.time_gated(case, gpu.index, &bench, &mut trial, &lab.plan(1.0), conditions)?;
                trial.keep(lab);
                Ok(outcome)
            }
            Some("pageable") if up != down => {
                let mut trial = Pageable::new(&bench, window, up, lab.seed)?;
                let mut clock = EventClock::new(&bench.stream)?;
                let conditions = conditions(engine, "pageable", gpu, window, lab.seed);
                lab.time(case, gpu.index, &mut clock, &mut trial, &lab.plan(2.0), conditions)
            }
            _ => Err(unknown(case)),
        }
    }
}

/// Whether a case's `dir` is `h2d`; else it is `d2h`.
///
/// # Errors
/// [`Error::Usage`](crate::error::Error::Usage) for any other.
fn direction(case: &Case) -> Result<bool> {
    match case.get_word("dir") {
        Some("h2d") => Ok(true),
        Some("d2h") => Ok(false),
        _ => Err(unknown(case)),
    }
}

/// The GPU's own NUMA node, for the record.
fn node_of(gpu: &Gpu) -> String {
    gpu.numa_node.known().map_or_else(|| "unknown".into(), u32::to_string)
}

/// How copies are done, for the record.
fn conditions(engine: Engine, memory: &str, gpu: &Gpu, window: Window, seed: u64) -> [(&'static str, String); 6] {
    [
        ("engine", engine.name().to_owned()),
        ("memory", memory.to_owned()),
        ("data", "random bits".into()),
        ("seed", seed.to_string()),
        ("rotation", window.total().to_string()),
        ("numa_node", node_of(gpu)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_copy_the_largest_that_the_copy_engine_does_both_ways() {
        let all = [Bytes::kib(4), Bytes::kib(64), Bytes::mib(1), Bytes::mib(16), Bytes::mib(64), Bytes::mib(256), Bytes::gib(1)];
        assert!(sizes_of_kernel(&all, Effort::Quick).is_empty());
        assert_eq!(sizes_of_kernel(&all, Effort::Standard), [Bytes::mib(256)]);
        assert_eq!(sizes_of_kernel(&all, Effort::Thorough), [Bytes::mib(256), Bytes::mib(16)]);
        assert_eq!(sizes_of_kernel(&all[..3], Effort::Standard), [Bytes::mib(1)], "a small machine's largest");
    }
}
