//! A moment's memory by what it is for, and a workload's moments.

use std::ops::{Index, IndexMut};

use crate::figure::Figure;
use crate::units::Bytes;

/// What memory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Parameters, in the precision they are computed with, adapters included.
    Weights,
    /// Gradients of trained parameters.
    Gradients,
    /// States of the optimizer, master weights among them.
    Optimizer,
    /// What the backward pass needs of the forward pass, and what a layer holds while it runs.
    Activations,
    /// Logits, the loss and their gradients.
    Logits,
    /// Cached keys and values.
    KvCache,
    /// Buffers of libraries and of communication.
    Workspace,
}

impl Part {
    /// Every part, in the order of tables.
    pub const ALL: [Self; 7] =
        [Self::Weights, Self::Gradients, Self::Optimizer, Self::Activations, Self::Logits, Self::KvCache, Self::Workspace];

    /// The key in JSON is this with `_bytes`.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Gradients => "gradients",
            Self::Optimizer => "optimizer",
            Self::Activations => "activations",
            Self::Logits => "logits",
            Self::KvCache => "kv_cache",
            Self::Workspace => "workspace",
        }
    }
}

/// A moment's memory on one GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Footprint([Bytes; Part::ALL.len()]);

impl Footprint {
    /// The sum of all parts.
    pub fn total(&self) -> Bytes {
        self.0.iter().copied().sum()
    }

    /// Every part with its bytes.
    pub fn parts(&self) -> impl Iterator<Item = (Part, Bytes)> + '_ {
        Part::ALL.into_iter().map(|part| (part, self[part]))
    }
}

impl Index<Part> for Footprint {
    type Output = Bytes;
    fn index(&self, part: Part) -> &Bytes {
        &self.0[part as usize]
    }
}

impl IndexMut<Part> for Footprint {
    fn index_mut(&mut self, part: Part) -> &mut Bytes {
        &mut self.0[part as usize]
    }
}

/// A moment of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Between steps: what stays.
    Rest,
    /// The end of the forward pass, the loss computed.
    Forward,
    /// The beginning of the backward pass, through loss and head.
    Loss,
    /// A layer's backward pass.
    Backward,
    /// The optimizer's update.
    Update,
    /// Loading the checkpoint: its last matrix while it is quantised on the GPU, or all weights gathered beside this GPU's share.
    Load,
    /// Inference: the prompt.
    Prefill,
    /// Inference: the last token.
    Decode,
}

/// What a phase takes at its worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Which.
    pub phase: Phase,
    /// Its memory on the GPU that needs most.
    pub footprint: Footprint,
}

/// The memory of a workload on the GPU that needs most.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    /// Its phases, in order; at least one.
    pub moments: Vec<Moment>,
    /// The largest total over the phases: what the tensors take.
    pub allocated: Figure<Bytes>,
    /// What a caching allocator holds.
    pub reserved: Figure<Bytes>,
    /// What the context, its kernels, libraries and communicators take outside the allocator.
    pub context: Figure<Bytes>,
    /// What nvidia-smi shows: reserved and context.
    pub device: Figure<Bytes>,
    /// What the job takes of each node's host memory.
    pub host: Bytes,
}

impl Memory {
    /// The moment with the largest total.
    pub fn peak(&self) -> Option<&Moment> {
        self.moments.iter().max_by_key(|moment| moment.footprint.total())
    }
}
