//! What lives in host memory instead, and what the GPU keeps for it.
//!
//! **ZeRO-Offload** (Ren et al., arXiv 2101.06840) keeps optimizer states and master weights in pinned host memory and updates them there:
//! gradients leave the GPU as they are made, where workers share them (from ZeRO-2 on), and stay until the update where they do not.
//! **ZeRO-Infinity** (arXiv 2104.07857) keeps the weights there too and brings them in as products need them, so the GPU holds only those in use,
//! and their gradients.
//!
//! The host's share per parameter that a worker answers for: 16 bytes for states, master weight and an FP32 gradient under Adam, 18 with the BF16
//! weight. DeepSpeed's estimators (`estimate_zero2_model_states_mem_needs` and its ZeRO-3 counterpart) add half again for staging buffers, and
//! so does this.

use super::buckets::Window;
use super::states::States;
use crate::workload::{Data, Offload, Parallel};

/// An FP32 gradient, which the host's update reads.
const GRADIENT: u64 = 4;

/// What offloading leaves on the GPU and puts on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    /// What the GPU keeps.
    pub(crate) states: States,
    /// Weights in use on the GPU, and their gradients, in bytes.
    pub(crate) live: u64,
    /// Bytes of host memory for this GPU.
    pub(crate) host: u64,
}

/// Moves what `offload` says of a GPU's `own` states to the host.
///
/// `largest` is the number of elements of its largest layer, `all` that of all its weights before they are divided, and `width` the bytes of one
/// of them in use.
pub(crate) fn moved(own: States, offload: Offload, parallel: &Parallel, largest: u64, all: u64, width: u64, window: Window) -> Moved {
    if offload == Offload::None {
        return Moved { states: own, live: 0, host: 0 };
    }
    let mut states = own;
    let mut host = own.optimizer + own.trainable * GRADIENT;
    states.optimizer = 0;
    states.update = 0;
    let mut live = 0;
    if matches!(parallel.data, Data::Zero2 | Data::Zero3 | Data::Fsdp) {
        states.gradients = 0;
        live = largest * width;
    }
    if offload == Offload::All {
        host += own.weights;
        states.weights = 0;
        states.gradients = 0;
        live = largest * width + window.live(largest, all) * width;
    }
    Moved { states, live, host: host + host / 2 }
}

/// The bytes that the GPUs of one node put on its host together.
pub(crate) fn node(host: u64, parallel: &Parallel) -> u64 {
    host.saturating_mul(parallel.gpus.min(parallel.per_node))
}
