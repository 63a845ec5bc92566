//! What memory takes beyond tensors: context, libraries, allocator.

use super::footprint::{Memory, Moment};
use crate::calibrate::GpuCalibration;
use crate::catalog::GpuModel;
use crate::figure::{Basis, Figure};
use crate::units::Bytes;

/// Fixed costs of a process on a GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Overheads {
    /// Context and loaded kernels.
    pub context: Figure<Bytes>,
    /// Workspace of the matrix library, inside the allocator.
    pub workspace: Figure<Bytes>,
    /// Reserved over allocated, 1 being nothing more than the tensors.
    pub slack: Figure<f64>,
    /// One communicator's buffers, outside the allocator.
    pub communicator: Figure<Bytes>,
}

impl Overheads {
    /// What is known without a measurement: values others published, dated.
    pub fn prior(gpu: Option<&GpuModel>) -> Self {
        let hopper = gpu.is_some_and(|gpu| gpu.compute_capability().0 >= 9);
        let (workspace, rule) = if hopper {
            (Bytes::mib(32), "PyTorch's cuBLAS workspace from compute capability 9.0 on")
        } else {
            (Bytes(8_519_680), "PyTorch's cuBLAS workspace before compute capability 9.0")
        };
        let between = |value, low, high, rule: &str| Figure { value, low, high, basis: Basis::Assumed, from: vec![rule.to_owned()] };
        Self {
            context: between(Bytes::mib(550), Bytes::mib(480), Bytes::mib(942), "published contexts on A100, PyTorch 1.13 to 2.1 (2023)"),
            workspace: Figure::assumed(workspace, rule),
            slack: Figure {
                value: 1.05,
                low: 1.02,
                high: 1.10,
                basis: Basis::Assumed,
                from: vec!["published reserved over allocated".to_owned()],
            },
            communicator: between(Bytes::mib(367), Bytes::mib(342), Bytes::mib(1485), "published NCCL buffers (2023 to 2025)"),
        }
    }

    /// As [`Self::prior`], with what was measured on `gpu` instead of what is assumed.
    pub fn measured(gpu: &GpuCalibration, model: Option<&GpuModel>) -> Self {
        let prior = Self::prior(model);
        let context = gpu.memory.context.clone().unwrap_or(prior.context);
        // What a first all-reduce takes is the least: other operations and larger groups open more connections.
        let least = |nccl: &Figure<Bytes>| Figure { high: nccl.value.max(prior.communicator.high), ..nccl.clone() };
        let communicator = gpu.memory.nccl.as_ref().map_or_else(|| prior.communicator.clone(), least);
        Self { context, communicator, ..prior }
    }

    /// The same numbers without their sources, for what compares many estimates and shows none.
    #[must_use]
    pub(crate) fn without_sources(&self) -> Self {
        fn bare<Q: Copy>(figure: &Figure<Q>) -> Figure<Q> {
            Figure { value: figure.value, low: figure.low, high: figure.high, basis: figure.basis, from: Vec::new() }
        }
        Self {
            context: bare(&self.context),
            workspace: bare(&self.workspace),
            slack: bare(&self.slack),
            communicator: bare(&self.communicator),
        }
    }

    /// The three sums over `moments` of a GPU that is a member of so many communicators.
    pub(crate) fn memory(&self, moments: Vec<Moment>, host: Bytes, communicators: u64) -> Memory {
        let peak = moments.iter().map(|moment| moment.footprint.total()).max().unwrap_or(Bytes(0));
        let allocated = Figure::new(peak, Basis::Datasheet, "tensor shapes and lifetimes");
        let reserved = allocated.with(&self.slack, |bytes, slack| Bytes((bytes.as_f64() * slack).round() as u64));
        let context = match communicators {
            0 => self.context.clone(),
            _ => together(&self.context, &self.communicator.map(|each| each * communicators)),
        };
        let device = together(&reserved, &context);
        Memory { moments, allocated, reserved, context, device, host }
    }

    /// `memory` with upper ends that allow for `more` bytes of tensors.
    pub(crate) fn at_most(&self, mut memory: Memory, more: Bytes) -> Memory {
        let held = Bytes((more.as_f64() * self.slack.high).round() as u64);
        memory.allocated.high += more;
        memory.reserved.high += held;
        memory.device.high += held;
        memory
    }
}

/// The sum of two figures whose errors have nothing to do with each other, such as an allocator's rounding and a driver's context: the
/// distances to the ends add up as the sides of a right angle do. Adding the ends themselves would claim that all is at its worst at once.
fn together(a: &Figure<Bytes>, b: &Figure<Bytes>) -> Figure<Bytes> {
    let sum = a.with(b, |a, b| a + b);
    let distance = |one: Bytes, other: Bytes| Bytes(one.as_f64().hypot(other.as_f64()).round() as u64);
    let low = sum.value - distance(a.value - a.low, b.value - b.low);
    let high = sum.value + distance(a.high - a.value, b.high - b.value);
    Figure { low, high, ..sum }
}
