//! Pinned host memory that outlives a case.
//!
//! Pinning a gibibyte takes the system a quarter of a second, so buffers are handed from case to case. They lie on the NUMA node of the GPU
//! they were first asked for; GPUs of the same node share them.

use super::Lab;
use super::rig::Bench;
use crate::error::Result;
use crate::gpu::{PinnedBuffer, View};
use crate::machine::Machine;
use crate::units::Bytes;

/// A pinned buffer that outlives a case, and what is in it.
pub(super) struct Pinned {
    node: Option<u32>,
    pub(super) buffer: PinnedBuffer,
    /// Its first bytes hold the pattern of the run's seed.
    pattern: Bytes,
}

/// Pinned memory kept between cases, all buffers together.
const MOST_PINNED: Bytes = Bytes::mib(1280);

impl Lab<'_> {
    /// Pinned memory of at least `bytes` on the NUMA node of the GPU with this index: one that was given back before, or a new one.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the system does not grant it.
    pub(super) fn take_pinned(&mut self, index: u32, bytes: Bytes) -> Result<Pinned> {
        let bench = self.bench(index)?;
        let node = self.machine.gpus.iter().find(|gpu| gpu.index == index).and_then(|gpu| gpu.numa_node.known().copied());
        let kept = &mut self.rig.pinned;
        if let Some(position) = kept.iter().position(|pinned| pinned.node == node && pinned.buffer.bytes() >= bytes) {
            return Ok(kept.swap_remove(position));
        }
        // Make room, the smallest first: they are made again soonest.
        kept.sort_by_key(|pinned| std::cmp::Reverse(pinned.buffer.bytes()));
        while kept.iter().map(|pinned| pinned.buffer.bytes()).sum::<Bytes>() + bytes > MOST_PINNED && kept.pop().is_some() {}
        let buffer = on_node(self.machine, node, || bench.gpu.allocate_pinned(bytes))?;
        Ok(Pinned { node, buffer, pattern: Bytes(0) })
    }

    /// Give pinned memory back for the next case.
    pub(super) fn keep_pinned(&mut self, pinned: Pinned) {
        self.rig.pinned.push(pinned);
    }
}

impl Pinned {
    /// Have the run's pattern in the first bytes, generated on the device and copied from there.
    ///
    /// # Errors
    /// As [`Stream::download`].
    pub(super) fn fill(&mut self, bench: &Bench, memory: View<'_, u8>, seed: u64) -> Result<()> {
        if self.pattern < memory.bytes() {
            bench.fill(memory, seed)?;
            bench.stream.download(self.buffer.target().slice(0, memory.bytes().0)?, memory)?;
            bench.stream.synchronize()?;
            self.pattern = memory.bytes();
        }
        Ok(())
    }

    /// Clear the first bytes.
    ///
    /// # Errors
    /// [`Error::Gpu`] when work on the buffer failed.
    pub(super) fn clear(&mut self, bytes: Bytes) -> Result<()> {
        self.pattern = Bytes(0);
        let memory = self.buffer.as_mut_slice()?;
        let length = usize::try_from(bytes.0).unwrap_or(usize::MAX).min(memory.len());
        memory[..length].fill(0);
        Ok(())
    }
}

/// Do `work` on a processor of NUMA node `node`, so that memory it touches first lies there; anywhere when the node is not known or its
/// processors are not ours to use.
fn on_node<T: Send>(machine: &Machine, node: Option<u32>, work: impl FnOnce() -> T + Send) -> T {
    let nodes = machine.host.numa.known().filter(|nodes| nodes.len() > 1);
    let Some(node) = nodes.and_then(|nodes| nodes.iter().find(|found| Some(found.node) == node)) else { return work() };
    let mut processors = rustix::thread::CpuSet::new();
    for processor in &node.cpus {
        if let Ok(processor) = usize::try_from(*processor)
            && processor < rustix::thread::CpuSet::MAX_CPU
        {
            processors.set(processor);
        }
    }
    std::thread::scope(|scope| {
        let bound = scope.spawn(move || {
            // A container may forbid these processors; memory elsewhere is slower, not wrong.
            let _ = rustix::thread::sched_setaffinity(None, &processors);
            work()
        });
        match bound.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
