//! Whose numbers speak for a GPU model.
//!
//! In this order: this machine's own; those of another machine with the same model, on a weaker basis; none, and then documents speak: the
//! models of this room make do with them (`assumed`, `published`), say so, and have wider intervals.

use super::Calibration;
use crate::catalog::{Catalog, GpuModel};
use crate::figure::Basis;
use crate::machine::Gpu;
use crate::measure::{DESIGN, GemmShape, Measurement};
use crate::record::Run;

/// A record and the GPU of it that stands for a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice<'a> {
    /// The record.
    pub run: &'a Run,
    /// Index of the GPU in it.
    pub gpu: u32,
    /// What its numbers may claim.
    pub basis: Basis,
}

impl Choice<'_> {
    /// Its calibration, on its basis.
    pub fn calibration(&self) -> Calibration {
        match self.basis {
            Basis::MeasuredHere => Calibration::from_run(self.run),
            _ => Calibration::from_recorded(self.run),
        }
    }
}

/// The record that says most about `wanted`: this machine's own, or of those `recorded` elsewhere the best: a real one before a simulated one, then
/// one with the products that calibrate, a finished one, a more thorough one, a later one. `None` where no record has measured such a GPU.
pub fn choose<'a>(
    here: Option<&'a Run>,
    recorded: impl IntoIterator<Item = &'a Run>,
    wanted: &GpuModel,
    catalog: &Catalog,
) -> Option<Choice<'a>> {
    let own = here.and_then(|run| Some(Choice { run, gpu: measured(run, wanted, catalog)?, basis: Basis::MeasuredHere }));
    own.or_else(|| {
        let others = recorded.into_iter();
        let fitting = others.filter_map(|run| Some(Choice { run, gpu: measured(run, wanted, catalog)?, basis: Basis::MeasuredSameModel }));
        fitting.max_by(|a, b| worth(a).cmp(&worth(b)))
    })
}

/// How much a record says.
fn worth<'a>(choice: &Choice<'a>) -> impl Ord + use<'a> {
    let Choice { run, gpu, .. } = *choice;
    let calibrates = run.measurements().filter(|measurement| is_of(measurement, gpu)).any(is_design);
    (!run.simulated, calibrates, run.complete, run.settings.effort, run.started.as_str())
}

/// The GPU of this model about which `run` says most, the first of equals.
fn measured(run: &Run, wanted: &GpuModel, catalog: &Catalog) -> Option<u32> {
    let is = |gpu: &&Gpu| {
        let found = catalog.device(&gpu.name, gpu.pci_id.known().map(String::as_str));
        found.is_some_and(|model| model.short_name == wanted.short_name)
    };
    let counted = run.machine.gpus.iter().filter(is).map(|gpu| {
        let count = run.measurements().filter(|measurement| is_of(measurement, gpu.index)).count();
        (count, gpu.index)
    });
    counted.filter(|(count, _)| *count > 0).reduce(|most, other| if other.0 > most.0 { other } else { most }).map(|(_, index)| index)
}

fn is_of(measurement: &Measurement, gpu: u32) -> bool {
    measurement.case.get_count("gpu") == Some(u64::from(gpu))
}

fn is_design(measurement: &Measurement) -> bool {
    let case = &measurement.case;
    let shape = || Some(GemmShape { m: case.get_count("m")?, n: case.get_count("n")?, k: case.get_count("k")? });
    case.family() == "matmul" && shape().is_some_and(|shape| DESIGN.contains(&shape))
}
