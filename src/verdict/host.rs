//! What stands around the GPUs: processors, memory, shared memory, disk, driver.
//!
//! Where an instance was named, its own numbers are expected; else rules of thumb that marketplaces use (two processors a GPU, as much memory as
//! the GPUs have), which give warnings at most.

use super::inquiry::Inquiry;
use super::{About, Band, Status};
use crate::figure::{Basis, Quantity};
use crate::units::{Bytes, BytesPerSecond};

/// Everything about the host.
pub(super) fn ask(inquiry: &mut Inquiry<'_>) {
    driver(inquiry);
    processors(inquiry);
    memory(inquiry);
    shared_memory(inquiry);
    locked_memory(inquiry);
    stream(inquiry);
    disk(inquiry);
}

fn driver(inquiry: &mut Inquiry<'_>) {
    let run = inquiry.evidence.run;
    inquiry.fact("driver", About::Machine, &run.machine.driver.cuda_version, |version| {
        let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        // PyTorch's builds of the last years need a driver of CUDA 12, which is 525.
        (if major >= 12 { Status::Pass } else { Status::Warning }, format!("CUDA {version}"), "CUDA 12 or later".to_owned())
    });
}

fn gpus(inquiry: &Inquiry<'_>) -> u32 {
    u32::try_from(inquiry.evidence.run.machine.gpus.len()).unwrap_or(u32::MAX).max(1)
}

fn processors(inquiry: &mut Inquiry<'_>) {
    let cpu = &inquiry.evidence.run.machine.host.cpu;
    let granted = [
        cpu.threads.known().map(|count| f64::from(*count)),
        cpu.allowed_threads.known().map(|count| f64::from(*count)),
        cpu.cgroup_cpus.known().copied().flatten(),
    ];
    let Some(granted) = granted.into_iter().flatten().reduce(f64::min) else {
        return inquiry.unknown("host.cpus", About::Machine, "neither processors nor their limit could be read");
    };
    let promised = inquiry.evidence.expected.instance.and_then(|instance| instance.vcpus);
    let (wanted, otherwise) = match promised {
        Some(count) => (f64::from(count), Status::Failure),
        None => (2.0 * f64::from(gpus(inquiry)), Status::Warning),
    };
    inquiry.ask("host.cpus", About::Machine, granted >= 0.95 * wanted, otherwise, format!("{granted:.0}"), format!("{wanted:.0}"));
}

fn memory(inquiry: &mut Inquiry<'_>) {
    let memory = &inquiry.evidence.run.machine.host.memory;
    let limit = memory.cgroup_limit.known().copied().flatten();
    let Some(granted) = [memory.total.known().copied(), limit].into_iter().flatten().min() else {
        return inquiry.unknown("host.memory", About::Machine, "neither memory nor its limit could be read");
    };
    let promised = inquiry.evidence.expected.instance.and_then(crate::catalog::Instance::memory);
    let all: u64 = inquiry.evidence.run.machine.gpus.iter().filter_map(|gpu| gpu.memory_total.known()).map(|bytes| bytes.0).sum();
    let (wanted, share, otherwise) = match promised {
        // The kernel and the hypervisor keep some.
        Some(figure) => (figure.value, 0.90, Status::Failure),
        None => (Bytes(all), 0.95, Status::Warning),
    };
    let good = granted.as_f64() >= share * wanted.as_f64();
    inquiry.ask("host.memory", About::Machine, good, otherwise, granted.approximate(), wanted.approximate());
}

fn shared_memory(inquiry: &mut Inquiry<'_>) {
    /// NCCL takes some for each GPU, and every worker of a data loader as much as a batch.
    const LEAST: Bytes = Bytes::gib(1);
    inquiry.fact("host.shm", About::Machine, &inquiry.evidence.run.machine.host.memory.shm, |size: &Bytes| {
        (if *size >= LEAST { Status::Pass } else { Status::Warning }, size.approximate(), LEAST.approximate())
    });
}

fn locked_memory(inquiry: &mut Inquiry<'_>) {
    /// RDMA registers buffers of some GPUs' worth.
    const LEAST: Bytes = Bytes::gib(1);
    // Only jobs over several machines lock memory themselves; CUDA's pinned memory is the driver's.
    if gpus(inquiry) < 8 {
        return;
    }
    inquiry.fact("host.memlock", About::Machine, &inquiry.evidence.run.machine.host.memory.memlock, |limit| match limit {
        Some(limit) if *limit < LEAST => (Status::Warning, limit.approximate(), "unlimited".to_owned()),
        Some(limit) => (Status::Pass, limit.approximate(), "unlimited".to_owned()),
        None => (Status::Pass, "unlimited".to_owned(), "unlimited".to_owned()),
    });
}

/// A rule of thumb, which warns and never fails; only a policy can.
fn needed(reference: f64, warning: f64, rule: &str) -> Band {
    Band { reference, warning, failure: 0.0, unit: BytesPerSecond::UNIT, basis: Basis::Assumed, from: vec![rule.to_owned()] }
}

fn stream(inquiry: &mut Inquiry<'_>) {
    let gpus = f64::from(gpus(inquiry));
    if let Some(triad) = inquiry.evidence.calibration.host.triad().cloned() {
        // Copies to all GPUs at once read it, and writing what they read passes it again.
        let band = needed(15e9 * gpus, 10e9 * gpus.min(8.0), "10 GB/s a GPU, so that data keeps up with its link");
        inquiry.rate("host.stream", About::Machine, &triad, band);
    }
}

fn disk(inquiry: &mut Inquiry<'_>) {
    let machine = &inquiry.evidence.run.machine;
    let all: u64 = machine.gpus.iter().filter_map(|gpu| gpu.memory_total.known()).map(|bytes| bytes.0).sum();
    inquiry.fact("disk.space", About::Machine, &machine.host.disks, |disks| {
        let most =
            disks.iter().filter(|disk| disk.kind != "memory").filter_map(|disk| disk.free.known().copied()).max().unwrap_or(Bytes(0));
        let wanted = Bytes(all);
        (if most >= wanted { Status::Pass } else { Status::Warning }, most.approximate(), wanted.approximate())
    });
    if let Some(read) = inquiry.evidence.calibration.storage.read.clone() {
        let band = needed(1e9, 0.5e9, "half a GB/s, at which a checkpoint of 16 GB loads in half a minute");
        inquiry.rate("disk.read", About::Machine, &read, band);
    }
}
