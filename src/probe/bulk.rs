//! Bandwidth of device memory by bulk copies: the copier between device and shared memory that chips have from Hopper on.
//!
//! | case | operation | bytes counted, for arrays of `bytes` |
//! |---|---|---|
//! | `read` | checksum of a | 1 × |
//! | `write` | a = value | 1 × |
//! | `copy` | c = a | 2 × |
//!
//! The same arrays, data and checks as those of the [`dram`](super::dram) probe, whose kernels access 16 bytes at a time; of the two ways the
//! faster one is what a memory can do. Two reads for each write are what `dram.add` and `dram.triad` have.
//!
//! These kernels are asked last of all that runs on a GPU, and nothing depends on them: where one fails, gives up waiting or answers wrongly,
//! its case is waived with what was seen, and the 16-byte accesses stand alone.

use super::dram::{Access, Operation, Streaming, needed, sizes};
use super::facts::{gpu_on, memory_ceiling, needs_gpu, size, unknown, usable};
use super::rig::{operation, too_large, waived};
use super::{Effort, Lab, Probe};
use crate::error::{Error, Result};
use crate::machine::{Gpu, Machine};
use crate::measure::{Case, Outcome, Trial, Waiver};

/// The operations; a quick run has time for the first two.
const OPERATIONS: [(&str, Operation); 3] = [("read", Operation::Read), ("copy", Operation::Copy), ("write", Operation::Write)];

/// The `bulk` probe.
pub(super) struct Bulk;

/// Whether there is a kernel for this chip: those with HBM. Consumer Blackwell has the copier too, and memory that plain loads saturate.
fn is_possible(gpu: &Gpu) -> bool {
    gpu.compute_capability.known().is_some_and(|capability| ((9, 0)..(11, 0)).contains(capability))
}

impl Probe for Bulk {
    fn name(&self) -> &'static str {
        "bulk"
    }

    fn about(&self) -> &'static str {
        "bandwidth of device memory by bulk copies through shared memory (TMA), beside the 16-byte accesses of dram"
    }

    fn needs(&self, machine: &Machine) -> Result<(), Waiver> {
        needs_gpu(machine)?;
        if machine.gpus.iter().any(is_possible) {
            return Ok(());
        }
        Err(Waiver::Unsupported { what: "bulk copies: there are kernels for compute capability 9.0 and 10.x".to_owned() })
    }

    fn cases(&self, machine: &Machine, effort: Effort) -> Vec<Case> {
        let operations = if effort == Effort::Quick { &OPERATIONS[..2] } else { &OPERATIONS };
        let mut cases = Vec::new();
        for gpu in machine.gpus.iter().filter(|gpu| is_possible(gpu)) {
            for bytes in sizes(gpu, effort) {
                let case =
                    |(name, _): &(&str, _)| Case::new(&format!("bulk.{name}")).bytes("bytes", bytes).count("gpu", u64::from(gpu.index));
                cases.extend(operations.iter().map(case));
            }
        }
        cases
    }

    fn weight(&self, _: &Case) -> f64 {
        0.5
    }

    fn run(&self, case: &Case, lab: &mut Lab<'_>) -> Result<Outcome> {
        let gpu = gpu_on(lab.machine, case, "gpu")?;
        let bytes = size(case, "bytes")?;
        let name = operation(case)?;
        let Some((_, operation)) = OPERATIONS.iter().find(|(known, _)| *known == name) else { return Err(unknown(case)) };
        if needed(gpu, bytes) > usable(gpu) {
            return Ok(too_large(case, needed(gpu, bytes), usable(gpu)));
        }
        match measure(case, gpu, *operation, lab) {
            // Nothing that goes wrong in here says that the GPU is bad.
            Err(error) if !error.is_interrupt() => {
                Ok(waived(case, Waiver::Unsupported { what: format!("bulk copies that can be trusted ({error})") }))
            }
            outcome => outcome,
        }
    }
}

fn measure(case: &Case, gpu: &Gpu, operation: Operation, lab: &mut Lab<'_>) -> Result<Outcome> {
    let bench = lab.bench(gpu.index)?;
    {
        // Its memory is needed again for the trial that is timed.
        let mut trial = Streaming::new(&bench, operation, Access::Bulk, size(case, "bytes")?, lab)?;
        trial.enqueue(1)?;
        if let Some(what) = trial.check()? {
            return Err(Error::WrongAnswer { case: case.to_string(), what });
        }
    }
    let mut trial = Streaming::new(&bench, operation, Access::Bulk, size(case, "bytes")?, lab)?;
    let plan = lab.plan(1.0).with_bandwidth_ceiling(memory_ceiling(gpu));
    let conditions = trial.conditions();
    lab.time_gated(case, gpu.index, &bench, &mut trial, &plan, conditions)
}
