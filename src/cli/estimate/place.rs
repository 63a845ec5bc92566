//! Where the job would run: a GPU by name, a cloud's instance, or what is in this machine.

use clap::Args;

use super::super::{Common, inspect, results};
use crate::calibrate::{Calibration, GpuCalibration};
use crate::catalog::{Catalog, GpuModel};
use crate::error::{Error, Result};
use crate::estimate::fit::Room;
use crate::estimate::memory::Overheads;
use crate::estimate::time::Speeds;
use crate::figure::{Basis, Figure};
use crate::units::{Bytes, BytesPerSecond};

#[derive(Debug, Args)]
pub(super) struct PlaceArguments {
    /// GPU it has to fit, such as "H100 SXM" [default: the one in this machine]
    #[arg(long, value_name = "NAME", conflicts_with = "instance")]
    gpu: Option<String>,

    /// Cloud instance whose GPUs it has to fit, such as aws:p5.48xlarge
    #[arg(long, value_name = "PROVIDER:TYPE")]
    instance: Option<String>,
}

impl PlaceArguments {
    /// Whether a cloud's instance is meant.
    pub(super) const fn is_instance(&self) -> bool {
        self.instance.is_some()
    }
}

/// A place, with what is known of its fixed costs.
pub(super) struct Place {
    /// The GPU; `None` where there is none to compare with.
    pub(super) room: Option<Room>,
    /// What memory takes there beyond tensors.
    pub(super) overheads: Overheads,
    /// GPUs of the instance, where one was named.
    pub(super) gpus: Option<u64>,
    /// How fast it is; `None` where nothing is known of the GPU.
    pub(super) speeds: Option<Speeds>,
    /// Whether a stand-in driver took the place of hardware.
    pub(super) simulated: bool,
}

/// Finds the place. This machine is looked at only where nothing else was named, since that takes longer than the estimate.
pub(super) fn find(common: &Common, arguments: &PlaceArguments, catalog: &Catalog, network: Option<BytesPerSecond>) -> Result<Place> {
    if let Some(name) = &arguments.gpu {
        return named(common, catalog, catalog.gpu(name)?, None, network);
    }
    if let Some(spec) = &arguments.instance {
        let instance = catalog.instance(spec)?;
        return named(common, catalog, catalog.gpu_of(instance)?, Some(u64::from(instance.gpus)), network);
    }
    present(common, catalog, network)
}

/// A GPU of the catalog, with measurements of the same model where some are on file.
fn named(common: &Common, catalog: &Catalog, model: &GpuModel, gpus: Option<u64>, network: Option<BytesPerSecond>) -> Result<Place> {
    let room = Room::of(model);
    let recorded = match results::chosen(common)? {
        Some((_, run)) => Some(run),
        None => results::of_model(common, catalog, model),
    };
    let calibration = recorded.map(|run| Calibration::from_recorded(&run));
    let same = |calibration: &Calibration| {
        calibration
            .gpus
            .iter()
            .filter(|gpu| gpu.memory.context.is_some())
            .find(|gpu| gpu.model(catalog) == Some(model))
            .cloned()
            .map(|gpu| (gpu, calibration.simulated))
    };
    let found = calibration.as_ref().and_then(same);
    let speeds = match (&calibration, &found) {
        (Some(calibration), Some((gpu, _))) => Speeds::calibrated(model, catalog, network, calibration, gpu.index),
        _ => Speeds::assumed(model, catalog, network),
    };
    let place = match found {
        Some((gpu, simulated)) => measured(room, &gpu, Some(model), gpus, simulated),
        None => Place { room: Some(room), overheads: Overheads::prior(Some(model)), gpus, speeds: None, simulated: false },
    };
    Ok(Place { speeds: Some(speeds), ..place })
}

/// What is in this machine, or in the machine of the record that was asked for.
fn present(common: &Common, catalog: &Catalog, network: Option<BytesPerSecond>) -> Result<Place> {
    let (machine, run) = match results::chosen(common)? {
        Some((_, run)) => (run.machine.clone(), Some(run)),
        None => {
            let machine = inspect::machine();
            let run = if machine.gpus.is_empty() { None } else { results::of_machine(common, &machine)?.map(|(_, run)| run) };
            (machine, run)
        }
    };
    let Some(gpu) = machine.gpus.first() else {
        return Ok(Place { room: None, overheads: Overheads::prior(None), gpus: None, speeds: None, simulated: false });
    };
    let model = catalog.device(&gpu.name, gpu.pci_id.known().map(String::as_str));
    let total = match gpu.memory_total.known() {
        Some(&total) => Figure::new(total, Basis::MeasuredHere, format!("the driver's report of GPU {}", gpu.index)),
        None => match model {
            Some(model) => model.capacity(),
            None => return Err(unknown_size(&gpu.name)),
        },
    };
    let room = Room::new(model.map_or(gpu.name.as_str(), |model| &model.short_name), total);
    let calibration = run.as_ref().map(Calibration::from_run);
    let speeds = model.map(|model| match &calibration {
        Some(calibration) => Speeds::calibrated(model, catalog, network, calibration, gpu.index),
        None => Speeds::assumed(model, catalog, network),
    });
    let place = match calibration.as_ref().and_then(|calibration| calibration.gpu(gpu.index)) {
        Some(measurements) => measured(room, measurements, model, None, machine.driver.simulated),
        None => {
            Place { room: Some(room), overheads: Overheads::prior(model), gpus: None, speeds: None, simulated: machine.driver.simulated }
        }
    };
    Ok(Place { speeds, ..place })
}

fn unknown_size(name: &str) -> Error {
    Error::Unavailable {
        doing: "estimating".to_owned(),
        why: format!("the memory of {name} is unknown"),
        remedy: "name a GPU of the catalog with --gpu".to_owned(),
    }
}

fn measured(room: Room, gpu: &GpuCalibration, model: Option<&GpuModel>, gpus: Option<u64>, simulated: bool) -> Place {
    let usable = gpu.memory.allocatable.as_ref().zip(gpu.memory.context.as_ref());
    let usable = usable.map(|(allocatable, context)| allocatable.with(context, |free, context| free + context));
    let room = match usable {
        Some(usable) => room.with_usable(&usable),
        None => room,
    };
    Place { room: Some(room), overheads: Overheads::measured(gpu, model), gpus, speeds: None, simulated }
}

/// What each node's host memory is asked for, where anything is; a figure so that tables show its basis.
pub(super) fn host(bytes: Bytes) -> Option<Figure<Bytes>> {
    (bytes > Bytes(0)).then(|| Figure::new(bytes, Basis::Datasheet, "tensor shapes"))
}
