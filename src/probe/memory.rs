//! Device memory that programs take before they store anything, and how much is left.
//!
//! | case | bytes |
//! |---|---|
//! | `context` | what opening the GPU takes: free memory as NVML saw it before, less free memory as CUDA sees it after |
//! | `cublaslt` | what a cublasLt handle and its first product take |
//! | `nccl` | what connecting all GPUs by NCCL and a first all-reduce take, on the first of them; not in a quick run: connecting takes seconds |
//! | `allocatable` | the largest single allocation that succeeds, up to 90 % of what is free, so that others are left something |
//! | `granularity` | how much free memory falls when a tiny allocation needs a new block |
//! | `pattern` | what kept its contents: the memory that `allocatable` may ask for, filled with a pattern and compared |
//!
//! These are observations, not timings. The context's cost can only be seen from outside, so the device is closed before it is read.

use std::time::Duration;

use super::facts::{gpu_on, needs_gpu, unknown};
use super::pattern::{self, PatternTest};
use super::rig::{Bench, operation, too_large, waived};
use super::{Effort, Lab, Probe};
use crate::error::{Error, Result};
use crate::machine::{Gpu, Machine};
use crate::measure::{Case, Observation, Outcome, Waiver};
use crate::units::Bytes;

/// Share of the free memory, in percent, that is asked for at most: others may need the rest.
const POLITE_PERCENT: u64 = 90;

/// Steps of the search for the largest allocation: enough to find it within a thousandth.
const MOST_TRIES: u32 = 12;

/// Tiny allocations to make at most while waiting for free memory to fall: a 2 MiB block holds 4096 of 512 bytes.
const MOST_TINY: usize = 8192;

/// Time that a pattern test may take: far more than it needs, but a GPU that has become very slow must not hold the run.
const MOST_PATTERN_TIME: Duration = Duration::from_secs(5);

/// The `memory` probe.
pub(super) struct Memory;

impl Probe for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn about(&self) -> &'static str {
        "device memory taken by a context, by cublasLt and by NCCL, the largest allocation, the allocation granularity; a pattern test"
    }

    fn needs(&self, machine: &Machine) -> Result<(), Waiver> {
        needs_gpu(machine)
    }

    fn cases(&self, machine: &Machine, effort: Effort) -> Vec<Case> {
        let names = ["context", "cublaslt", "allocatable", "granularity", "pattern"];
        let case = |name: &str, index: u32| Case::new(&format!("memory.{name}")).count("gpu", u64::from(index));
        let mut cases: Vec<Case> = machine.gpus.iter().flat_map(|gpu| names.map(|name| case(name, gpu.index))).collect();
        if let [first, _, ..] = &machine.gpus[..]
            && effort != Effort::Quick
        {
            cases.push(case("nccl", first.index).count("gpus", machine.gpus.len() as u64));
        }
        cases
    }

    fn weight(&self, _: &Case) -> f64 {
        0.1
    }

    fn run(&self, case: &Case, lab: &mut Lab<'_>) -> Result<Outcome> {
        let gpu = gpu_on(lab.machine, case, "gpu")?;
        match operation(case)? {
            "context" => context(case, gpu, lab),
            "cublaslt" => super::lt::memory(case, gpu, lab),
            "nccl" => super::nccl::memory(case, lab),
            "allocatable" => allocatable(case, &lab.bench(gpu.index)?),
            "granularity" => granularity(case, &lab.bench(gpu.index)?),
            "pattern" => pattern(case, gpu, lab),
            _ => Err(unknown(case)),
        }
    }
}

/// A value read, with how it was.
pub(super) fn observed<const N: usize>(case: &Case, bytes: Bytes, conditions: [(&str, String); N]) -> Outcome {
    let conditions = conditions.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Outcome::Observed(Observation { case: case.clone(), bytes, conditions })
}

fn context(case: &Case, gpu: &Gpu, lab: &mut Lab<'_>) -> Result<Outcome> {
    let Some(before) = gpu.memory_free.known().copied() else {
        let why = gpu.memory_free.why().unwrap_or("not read");
        return Ok(waived(case, Waiver::Unsupported { what: format!("free memory before a context exists: {why}") }));
    };
    lab.rig.close(gpu.index);
    let (after, _) = lab.bench(gpu.index)?.gpu.memory()?;
    Ok(observed(case, before - after, [("method", "free memory by NVML before, less free memory by CUDA after".into())]))
}

fn allocatable(case: &Case, bench: &Bench) -> Result<Outcome> {
    let (free, _) = bench.gpu.memory()?;
    let limit = polite(free);
    let found = largest(limit, |bytes| match bench.gpu.allocate(bytes) {
        Ok(_) => Ok(true),
        Err(Error::Gpu { code, .. }) if code == "CUDA_ERROR_OUT_OF_MEMORY" => Ok(false),
        Err(error) => Err(error),
    })?;
    let conditions = [
        ("method", "one allocation, found by bisection".into()),
        ("free", free.to_string()),
        ("limit", format!("{POLITE_PERCENT} % of free memory")),
    ];
    Ok(observed(case, found, conditions))
}

/// What may be asked for of so much free memory.
fn polite(free: Bytes) -> Bytes {
    free / 100 * POLITE_PERCENT
}

/// The pattern test over all the memory that may be asked for.
fn pattern(case: &Case, gpu: &Gpu, lab: &mut Lab<'_>) -> Result<Outcome> {
    let bench = lab.bench(gpu.index)?;
    let (free, _) = bench.gpu.memory()?;
    // A second pattern finds most of what the first one missed; two more cost as much again and are for runs that have the time.
    let passes = if lab.effort == Effort::Quick { 2 } else { 4 };
    let test = PatternTest { bytes: polite(free), passes, seed: lab.seed, most: MOST_PATTERN_TIME, stopped: lab.stopped };
    if test.bytes < pattern::LEAST {
        return Ok(too_large(case, pattern::LEAST, test.bytes));
    }
    let tested = test.run(&bench)?;
    match tested.wrong {
        Some(what) => Err(Error::WrongAnswer { case: case.to_string(), what }),
        None if tested.bytes < pattern::LEAST => Ok(waived(case, Waiver::OutOfTime)),
        None => {
            let conditions = [
                ("method", "address-dependent random patterns, all written before any was compared".into()),
                ("free", free.to_string()),
                ("limit", format!("{POLITE_PERCENT} % of free memory")),
                ("passes", tested.passes.to_string()),
                ("seed", lab.seed.to_string()),
            ];
            Ok(observed(case, tested.bytes, conditions))
        }
    }
}

/// The largest size up to `limit` that `fits`, to a thousandth of `limit`.
///
/// # Errors
/// Whatever `fits` returns.
fn largest(limit: Bytes, mut fits: impl FnMut(Bytes) -> Result<bool>) -> Result<Bytes> {
    if limit.0 == 0 || fits(limit)? {
        return Ok(limit);
    }
    let (mut good, mut bad) = (Bytes(0), limit);
    for _ in 1..MOST_TRIES {
        let middle = Bytes(good.0 + (bad.0 - good.0) / 2);
        if middle == good {
            break;
        }
        if fits(middle)? { good = middle } else { bad = middle }
    }
    Ok(good)
}

fn granularity(case: &Case, bench: &Bench) -> Result<Outcome> {
    let (before, _) = bench.gpu.memory()?;
    let mut tiny = Vec::new();
    for count in 1..=MOST_TINY {
        tiny.push(bench.gpu.allocate(Bytes(1))?);
        let (now, _) = bench.gpu.memory()?;
        if now < before {
            return Ok(observed(case, before - now, [("method", format!("free memory fell at the {count}. allocation of one byte"))]));
        }
    }
    Ok(waived(case, Waiver::Unsupported { what: format!("seeing allocations in free memory: it did not fall after {MOST_TINY} of them") }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_largest_that_fits_is_found_to_a_thousandth(limit in 1u64..1 << 40, share in 0.0..1.2f64) {
            let edge = (limit as f64 * share) as u64;
            let mut tries = 0;
            let found = largest(Bytes(limit), |bytes| {
                tries += 1;
                Ok(bytes.0 <= edge)
            }).unwrap();
            prop_assert!(tries <= MOST_TRIES);
            prop_assert!(found.0 <= edge && found.0 <= limit);
            let best = edge.min(limit);
            prop_assert!(best - found.0 <= limit / 1000 + 1, "{best} {found}");
        }
    }

    #[test]
    fn a_failure_that_is_not_lack_of_memory_ends_the_search() {
        assert!(largest(Bytes(100), |_| Err(Error::Interrupted)).unwrap_err().is_interrupt());
    }
}
