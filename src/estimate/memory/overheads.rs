//! What memory takes beyond tensors: context, libraries, allocator.

use crate::figure::Figure;
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
