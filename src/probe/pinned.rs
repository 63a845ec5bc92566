//! Pinned host memory that outlives a case.
//!
//! Pinning a gibibyte takes the system a quarter of a second, so buffers are handed from case to case. They lie on the NUMA node of the GPU
//! they were first asked for; GPUs of the same node share them.
//!
//! Most are allocated by the driver, which chooses the pages. Where the node or the pages are what is measured, the memory is the program's
//! own and **registered** with the driver afterwards; where it came to lie is read back.

use super::Lab;
use super::rig::Bench;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, HostView, HostViewMut, In, Out, PinnedBuffer, Registered, View};
use crate::host::{Pages, Placement, Region};
use crate::machine::Machine;
use crate::units::Bytes;

/// A pinned buffer that outlives a case, and what is in it.
pub(super) struct Pinned {
    node: Option<u32>,
    pub(super) buffer: Buffer,
    /// Its first bytes hold the pattern of the run's seed.
    pattern: Bytes,
}

/// Pinned memory, by whose it was before.
pub(super) enum Buffer {
    /// The driver's own.
    Driver(PinnedBuffer),
    /// The program's, and where it lies.
    Registered {
        memory: Registered<Region>,
        pages: Pages,
        placement: Placement,
        /// Whether the kernel accepted the node asked for.
        bound: bool,
    },
}

impl Buffer {
    pub(super) fn bytes(&self) -> Bytes {
        match self {
            Self::Driver(buffer) => buffer.bytes(),
            Self::Registered { memory, .. } => memory.bytes(),
        }
    }

    /// The kind of pages it was asked to be on; none for the driver's.
    const fn pages(&self) -> Option<Pages> {
        match self {
            Self::Driver(_) => None,
            Self::Registered { pages, .. } => Some(*pages),
        }
    }

    pub(super) fn as_slice(&self) -> Result<&[u8]> {
        match self {
            Self::Driver(buffer) => buffer.as_slice(),
            Self::Registered { memory, .. } => memory.as_slice(),
        }
    }

    fn as_mut_slice(&mut self) -> Result<&mut [u8]> {
        match self {
            Self::Driver(buffer) => buffer.as_mut_slice(),
            Self::Registered { memory, .. } => memory.as_mut_slice(),
        }
    }

    /// All of it, for copies to read.
    pub(super) fn source(&self) -> HostView<'_> {
        match self {
            Self::Driver(buffer) => buffer.source(),
            Self::Registered { memory, .. } => memory.source(),
        }
    }

    /// All of it, for copies to write.
    pub(super) fn target(&mut self) -> HostViewMut<'_> {
        match self {
            Self::Driver(buffer) => buffer.target(),
            Self::Registered { memory, .. } => memory.target(),
        }
    }

    /// All of it, for a kernel to read.
    ///
    /// # Errors
    /// [`Error::Usage`] for registered memory, as [`PinnedBuffer::mapped_input`] for the driver's.
    pub(super) fn input(&self) -> Result<In<'_, u8>> {
        match self {
            Self::Driver(buffer) => buffer.mapped_input(),
            Self::Registered { .. } => Err(unmapped()),
        }
    }

    /// All of it, for a kernel to write.
    ///
    /// # Errors
    /// As [`Self::input`].
    pub(super) fn output(&mut self) -> Result<Out<'_, u8>> {
        match self {
            Self::Driver(buffer) => buffer.mapped_output(),
            Self::Registered { .. } => Err(unmapped()),
        }
    }
}

fn unmapped() -> Error {
    Error::usage("a kernel reaching host memory: expected memory of the driver but found registered memory")
}

/// Pinned memory kept between cases, all buffers together.
const MOST_PINNED: Bytes = Bytes::mib(1280);

impl Lab<'_> {
    /// Pinned memory of at least `bytes` on the NUMA node of the GPU with this index: one that was given back before, or a new one.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the system does not grant it.
    pub(super) fn take_pinned(&mut self, index: u32, bytes: Bytes) -> Result<Pinned> {
        let node = self.machine.gpus.iter().find(|gpu| gpu.index == index).and_then(|gpu| gpu.numa_node.known().copied());
        self.take(index, node, None, bytes, |gpu| Ok(Buffer::Driver(gpu.allocate_pinned(bytes)?)))
    }

    /// As [`Self::take_pinned`], but memory of the program's own on that node and on such pages, if they were to be had: its placement tells.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the system has no such memory, or the driver does not take it.
    pub(super) fn take_registered(&mut self, index: u32, node: Option<u32>, pages: Pages, bytes: Bytes) -> Result<Pinned> {
        self.take(index, node, Some(pages), bytes, |gpu| registered(gpu, node, pages, bytes))
    }

    /// A buffer of this kind: one that was given back before, or a new one, made on a processor of the node.
    fn take(
        &mut self,
        index: u32,
        node: Option<u32>,
        pages: Option<Pages>,
        bytes: Bytes,
        make: impl FnOnce(&Gpu) -> Result<Buffer> + Send,
    ) -> Result<Pinned> {
        let bench = self.bench(index)?;
        let kept = &mut self.rig.pinned;
        let fits = |pinned: &Pinned| pinned.node == node && pinned.buffer.pages() == pages && pinned.buffer.bytes() >= bytes;
        if let Some(position) = kept.iter().position(fits) {
            return Ok(kept.swap_remove(position));
        }
        // Make room, the smallest first: they are made again soonest.
        kept.sort_by_key(|pinned| std::cmp::Reverse(pinned.buffer.bytes()));
        while kept.iter().map(|pinned| pinned.buffer.bytes()).sum::<Bytes>() + bytes > MOST_PINNED && kept.pop().is_some() {}
        let gpu = &bench.gpu;
        let buffer = on_node(self.machine, node, || make(gpu))?;
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

    /// Write `words` to its beginning.
    ///
    /// # Errors
    /// [`Error::Usage`] when they are too many, [`Error::Gpu`] when work on the buffer failed.
    pub(super) fn write(&mut self, words: &[u32]) -> Result<()> {
        self.pattern = Bytes(0);
        let memory = self.buffer.as_mut_slice()?;
        if size_of_val(words) > memory.len() {
            return Err(Error::usage(format!("writing {} words: expected no more than {} bytes hold", words.len(), memory.len())));
        }
        memory.chunks_exact_mut(size_of::<u32>()).zip(words).for_each(|(place, word)| place.copy_from_slice(&word.to_ne_bytes()));
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

/// Memory of the program's own, touched by the calling thread and then pinned.
fn registered(gpu: &Gpu, node: Option<u32>, pages: Pages, bytes: Bytes) -> Result<Buffer> {
    let unavailable = |why: String| Error::Unavailable {
        doing: format!("pinning {} on {} pages", bytes.approximate(), pages.name()),
        why,
        remedy: "the other kinds of host memory are measured without it".into(),
    };
    let mut region = Region::on_pages(bytes, node, pages).map_err(|error| unavailable(error.to_string()))?;
    // No page exists until it is touched, and what is pinned does not move any more.
    region.as_mut_slice::<u64>().fill(0);
    let (placement, bound) = (region.placement(), region.is_bound());
    // What a driver does not take (some systems' do not) says nothing about its copies.
    let memory = gpu.register(region).map_err(|error| match error {
        Error::Gpu { call, code, why, .. } => unavailable(format!("{call} returned {code} ({why})")),
        error => error,
    })?;
    Ok(Buffer::Registered { memory, pages, placement, bound })
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
