//! Peer access: one GPU's kernels and copy engines working directly in another's memory.

use std::collections::hash_map::Entry;

use super::device::Gpu;
use super::failure::{Doing, status};
use crate::error::{Error, Result};

/// Access of one GPU to the memory of another, as long as this lives.
///
/// Access is counted: it ends with the last of these for the pair. Where somebody else in the process had enabled it before, it stays on.
#[derive(Debug)]
pub struct PeerAccess {
    from: Gpu,
    to: Gpu,
}

/// One direction's access, as the device that has it remembers it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Granted {
    /// How many [`PeerAccess`] there are.
    holders: usize,
    /// Whether it was this program that enabled it.
    ours: bool,
}

impl Gpu {
    /// Lets this GPU read and write the memory of `to`.
    ///
    /// # Errors
    /// [`Error::Usage`] for a GPU and itself, [`Error::Gpu`] when the system does not allow it.
    pub fn access(&self, to: &Self) -> Result<PeerAccess> {
        if self.is(to) {
            return Err(Error::usage(format!("enabling peer access: expected two GPUs but found GPU {} twice", self.ordinal())));
        }
        let doing = || format!("enabling access from GPU {} to GPU {}", self.ordinal(), to.ordinal());
        match self.peers().entry(to.ordinal()) {
            Entry::Occupied(mut known) => known.get_mut().holders += 1,
            Entry::Vacant(entry) => {
                // SAFETY: both contexts are retained by the two `Gpu`; this one is current. Flags must be 0.
                let enabled = self.enter().and_then(|()| unsafe { self.api().cuCtxEnablePeerAccess(to.raw_context(), 0) });
                let ours = match enabled {
                    Ok(()) => true,
                    Err(failure) if failure.status == status::PEER_ACCESS_ALREADY_ENABLED => false,
                    Err(failure) => return Err(failure.into_error(doing())),
                };
                entry.insert(Granted { holders: 1, ours });
            }
        }
        Ok(PeerAccess { from: self.clone(), to: to.clone() })
    }
}

impl PeerAccess {
    /// The GPU that has the access.
    pub fn from(&self) -> &Gpu {
        &self.from
    }

    /// The GPU whose memory it reaches.
    pub fn to(&self) -> &Gpu {
        &self.to
    }

    /// Ends the access where this is its last holder, after the work that may be using it.
    fn end(&self) -> Result<()> {
        let mut peers = self.from.peers();
        let Some(granted) = peers.get_mut(&self.to.ordinal()) else { return Ok(()) };
        granted.holders = granted.holders.saturating_sub(1);
        if granted.holders > 0 {
            return Ok(());
        }
        let ours = granted.ours;
        peers.remove(&self.to.ordinal());
        if !ours {
            return Ok(());
        }
        self.from.synchronize()?;
        self.from
            .enter()
            // SAFETY: both contexts live, the access was enabled by us, and no kernel that may use it runs any more.
            .and_then(|()| unsafe { self.from.api().cuCtxDisablePeerAccess(self.to.raw_context()) })
            .doing(|| "ending peer access")
    }
}

impl Drop for PeerAccess {
    fn drop(&mut self) {
        // A failure has nobody to hear it: the access then lasts until the contexts go.
        let _ = self.end();
    }
}
