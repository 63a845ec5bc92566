//! What can be measured, one file per family of mechanisms.
//!
//! A **probe** knows what it needs of a machine, which **cases** it has there, and how to turn a case into an [`Outcome`]. The registry is a
//! plain array, [`PROBES`], in the order a run takes them. A probe never prints and never fails the run: what cannot be done is waived with
//! the reason, and what went wrong is an error that the run records as a failed case before it goes on.

mod bulk;
mod cache;
mod collective;
mod copy;
mod dram;
mod facts;
mod freivalds;
pub mod host;
mod lab;
mod launch;
mod lt;
mod matmul;
mod memory;
mod nccl;
mod operands;
mod pattern;
mod peer;
mod pinned;
pub mod proof;
mod rig;
mod ring;
pub mod selftest;
mod shapes;
pub mod storage;
mod sustained;
mod tensor;
mod walk;

pub use lab::{Effort, Lab, Moment};
pub use rig::Rig;

use crate::error::Result;
use crate::machine::Machine;
use crate::measure::{Case, Outcome, Waiver};
use crate::units::Seconds;

/// A family of mechanisms that can be measured.
pub trait Probe: Sync {
    /// The family's name: the first part of its cases' ids, and what `measure PROBE` takes.
    fn name(&self) -> &'static str;

    /// One line for `measure --list`.
    fn about(&self) -> &'static str;

    /// Whether this machine has what the probe needs at all.
    ///
    /// # Errors
    /// The reason why not, which stands in the record for the whole probe.
    fn needs(&self, machine: &Machine) -> Result<(), Waiver>;

    /// The cases on this machine, in the order they should run. Cases that will be waived one by one are among them.
    fn cases(&self, machine: &Machine, effort: Effort) -> Vec<Case>;

    /// Relative share of the run's time that a case should get; 1 for most.
    fn weight(&self, _case: &Case) -> f64 {
        1.0
    }

    /// Whether a run that names no probes does this one at this effort.
    fn is_usual(&self, _effort: Effort) -> bool {
        true
    }

    /// Time that a case takes where the user set none, for cases whose purpose is to take long; the others share the effort's.
    fn length(&self, _case: &Case, _effort: Effort) -> Option<Seconds> {
        None
    }

    /// Do one of [`Self::cases`].
    ///
    /// # Errors
    /// When the device, the system or the answer is wrong; the run records it and goes on with the next case.
    fn run(&self, case: &Case, lab: &mut Lab<'_>) -> Result<Outcome>;
}

/// Every probe, in the order a run takes them.
pub const PROBES: &[&dyn Probe] = &[
    &memory::Memory,
    &dram::Dram,
    &cache::Cache,
    &matmul::Matmul,
    &tensor::Tensor,
    &copy::Copy,
    &peer::Peer,
    &collective::Collective,
    &launch::Launch,
    &sustained::Sustained,
    // A kernel that has run on few machines comes last: what it might do to the GPU is then nobody's business.
    &bulk::Bulk,
    &host::Host,
    &storage::Storage,
];

/// The probe of this name.
pub fn find(name: &str) -> Option<&'static dyn Probe> {
    PROBES.iter().copied().find(|probe| probe.name() == name)
}
