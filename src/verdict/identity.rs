//! Is it the GPU it says it is, and a whole one.
//!
//! A name can be changed in a board's firmware or by a driver that was tampered with; what the chip consists of cannot. So the name is held
//! against the PCI id, and both against multiprocessors, memory, its bus and clock, caches and compute capability.

use super::inquiry::Inquiry;
use super::{About, Status};
use crate::catalog::GpuModel;
use crate::figure::Basis;
use crate::machine::Gpu;
use crate::units::{Bytes, BytesPerSecond};

/// Everything about who the GPUs are.
pub(super) fn ask(inquiry: &mut Inquiry<'_>) {
    count(inquiry);
    for gpu in inquiry.gpus() {
        let slice = partition(inquiry, gpu);
        name(inquiry, gpu);
        capability(inquiry, gpu);
        idle(inquiry, gpu);
        // A slice has less of everything, and that is all there is to say.
        if !slice {
            size(inquiry, gpu);
        }
    }
    alike(inquiry);
}

fn count(inquiry: &mut Inquiry<'_>) {
    let found = inquiry.evidence.run.machine.gpus.len();
    let Some(wanted) = inquiry.evidence.expected.count else {
        return inquiry.ask("gpu.count", About::Machine, found > 0, Status::Failure, gpus(found), gpus(1));
    };
    inquiry.ask("gpu.count", About::Machine, found >= wanted as usize, Status::Failure, gpus(found), gpus(wanted as usize));
}

fn gpus(count: usize) -> String {
    if count == 1 { "1 GPU".to_owned() } else { format!("{count} GPUs") }
}

/// Says whether it is a slice.
fn partition(inquiry: &mut Inquiry<'_>, gpu: &Gpu) -> bool {
    let about = About::Gpu(gpu.index);
    let virtual_gpu = gpu.virtualization.known().filter(|mode| mode.contains("vgpu"));
    let slice = if gpu.uuid.starts_with("MIG-") || gpu.name.contains(" MIG ") {
        Some("a MIG instance".to_owned())
    } else if gpu.name.starts_with("GRID ") || virtual_gpu.is_some() {
        Some("a vGPU".to_owned())
    } else if gpu.mig.known() == Some(&true) {
        Some("in MIG mode".to_owned())
    } else {
        None
    };
    let is_slice = slice.is_some();
    inquiry.ask("gpu.partition", about, !is_slice, Status::Failure, slice.unwrap_or_else(|| "whole".to_owned()), "whole");
    is_slice
}

/// The name without what a partition adds to it.
fn board_name(gpu: &Gpu) -> &str {
    gpu.name.split(" MIG ").next().unwrap_or(&gpu.name)
}

fn name(inquiry: &mut Inquiry<'_>, gpu: &Gpu) {
    let (catalog, wanted) = (inquiry.evidence.catalog, inquiry.evidence.expected.model);
    let about = About::Gpu(gpu.index);
    let id = gpu.pci_id.known().map(String::as_str);
    let by_name = catalog.device(board_name(gpu), None);
    let by_id = catalog.device("", id);
    let seen = by_name.map_or_else(|| gpu.name.clone(), |model| model.short_name.clone());
    let is_wanted = |model: Option<&GpuModel>| model.is_some_and(|model| model.name == wanted.name);
    let status = match by_name {
        Some(_) if is_wanted(by_name) => Status::Pass,
        Some(_) => Status::Failure,
        // A name that no catalog knows, on the right device.
        None if is_wanted(by_id) => Status::Pass,
        None if by_id.is_some() => Status::Failure,
        None => Status::Unknown,
    };
    inquiry.answer("gpu.name", about, status, seen, wanted.short_name.clone());
    device(inquiry, gpu, by_name);
}

/// Whether the PCI device is the named model's.
fn device(inquiry: &mut Inquiry<'_>, gpu: &Gpu, named: Option<&GpuModel>) {
    let catalog = inquiry.evidence.catalog;
    let Some(named) = named.filter(|model| !model.pci_device_ids.is_empty()) else { return };
    inquiry.fact("gpu.pci-id", About::Gpu(gpu.index), &gpu.pci_id, |id| {
        let own = id.split(':').next_back().unwrap_or(id).to_ascii_lowercase();
        let expected = named.pci_device_ids.join(" or ");
        if named.pci_device_ids.contains(&own) {
            return (Status::Pass, own, expected);
        }
        match catalog.gpus.iter().find(|other| other.pci_device_ids.contains(&own)) {
            Some(other) => (Status::Failure, format!("{own}, which is {}", other.short_name), expected),
            // Boards have more ids than any catalog.
            None => (Status::Warning, own, expected),
        }
    });
}

fn capability(inquiry: &mut Inquiry<'_>, gpu: &Gpu) {
    let wanted = inquiry.evidence.expected.model.compute_capability();
    let shown = |(major, minor): (u32, u32)| format!("{major}.{minor}");
    inquiry.fact("gpu.compute-capability", About::Gpu(gpu.index), &gpu.compute_capability, |found| {
        (if *found == wanted { Status::Pass } else { Status::Failure }, shown(*found), shown(wanted))
    });
}

fn size(inquiry: &mut Inquiry<'_>, gpu: &Gpu) {
    let (model, about) = (inquiry.evidence.expected.model, About::Gpu(gpu.index));
    if let Some(wanted) = model.sm_count {
        inquiry.fact("gpu.sms", about, &gpu.sm_count, |found| {
            (if *found == wanted { Status::Pass } else { Status::Failure }, found.to_string(), wanted.to_string())
        });
    }
    let capacity = model.capacity();
    inquiry.fact("gpu.memory", about, &gpu.memory_total, |found| {
        // The driver keeps some for itself, error correction in ordinary memory a sixteenth; a label counts in units of its own.
        let most = if capacity.basis == Basis::Assumed { 1.10 } else { 1.04 };
        let share = found.as_f64() / capacity.value.as_f64();
        let status = if (0.90..=most).contains(&share) { Status::Pass } else { Status::Failure };
        (status, found.approximate(), capacity.value.approximate())
    });
    memory_bus(inquiry, gpu);
    if let Some(wanted) = model.l2() {
        inquiry.fact("gpu.l2", about, &gpu.l2, |found: &Bytes| {
            // What catalogs print of caches is not always what the driver calls one.
            let status = if found.as_f64() >= 0.95 * wanted.value.as_f64() { Status::Pass } else { Status::Warning };
            (status, found.approximate(), wanted.value.approximate())
        });
    }
}

/// Memory moves two numbers a clock over each wire of its bus.
fn memory_bus(inquiry: &mut Inquiry<'_>, gpu: &Gpu) {
    let (Some(bits), Some(clock)) = (gpu.memory_bus_bits.known(), gpu.memory_clock.maximum.known()) else { return };
    let printed = inquiry.evidence.expected.model.bandwidth().value;
    let wires = BytesPerSecond(f64::from(*bits) / 8.0 * clock.0 * 2.0);
    let status = match wires.0 / printed.0 {
        share if share < 0.90 => Status::Failure,
        share if share < 0.97 => Status::Warning,
        _ => Status::Pass,
    };
    inquiry.answer("gpu.memory-bus", About::Gpu(gpu.index), status, wires.display(4), printed.display(4));
}

fn idle(inquiry: &mut Inquiry<'_>, gpu: &Gpu) {
    /// Others' share of the memory that is more than a desktop or a monitor takes.
    const MUCH: f64 = 0.05;
    let taken = match (gpu.memory_total.known(), gpu.memory_free.known()) {
        (Some(total), Some(free)) if total.0 > 0 => 1.0 - free.as_f64() / total.as_f64(),
        _ => 0.0,
    };
    inquiry.fact("gpu.idle", About::Gpu(gpu.index), &gpu.other_processes, |others| {
        let status = match (taken > MUCH, others.is_empty()) {
            (true, _) => Status::Failure,
            (false, false) => Status::Warning,
            (false, true) => Status::Pass,
        };
        let seen = match others.len() {
            0 => format!("{:.0} % of its memory taken", taken * 100.0),
            1 => format!("1 process, {:.0} % of its memory taken", taken * 100.0),
            count => format!("{count} processes, {:.0} % of its memory taken", taken * 100.0),
        };
        (status, seen, "nobody".to_owned())
    });
}

/// Whether the GPUs are of one kind: name, multiprocessors, memory, firmware.
fn alike(inquiry: &mut Inquiry<'_>) {
    let all = inquiry.gpus();
    if all.len() < 2 {
        return;
    }
    let traits = |gpu: &Gpu| {
        let known = |fact: Option<String>| fact.unwrap_or_default();
        let sms = gpu.sm_count.known().map(|count| format!("{count} SMs"));
        let memory = gpu.memory_total.known().map(|total| total.approximate());
        let firmware = gpu.vbios.known().map(|version| format!("VBIOS {version}"));
        [gpu.name.clone(), known(sms), known(memory), known(firmware)]
    };
    let kinds: Vec<[String; 4]> = all.iter().map(|gpu| traits(gpu)).collect();
    let usual = kinds.iter().max_by_key(|kind| (kinds.iter().filter(|other| other == kind).count(), std::cmp::Reverse(*kind)));
    let Some(usual) = usual.cloned() else { return };
    for (gpu, own) in all.iter().zip(&kinds) {
        let differs = own.iter().zip(&usual).filter(|(own, usual)| own != usual);
        let (seen, expected): (Vec<&str>, Vec<&str>) = differs.map(|(own, usual)| (own.as_str(), usual.as_str())).unzip();
        inquiry.ask("gpu.alike", About::Gpu(gpu.index), seen.is_empty(), Status::Warning, seen.join(", "), expected.join(", "));
    }
}
