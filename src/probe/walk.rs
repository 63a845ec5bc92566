//! One thread of a GPU following a ring that lies in its own memory, another GPU's, or the host's.
//!
//! Each load waits for the one before, so that a step is the round trip over what lies between. The loads go on in each launch where the last one
//! stopped.

use super::pinned::Pinned;
use super::rig::Bench;
use super::ring::Ring;
use crate::error::Result;
use crate::gpu::{Chase, ChaseL2, DeviceBuffer, In, Shape};
use crate::measure::{Trial, Work};

/// Memory that holds a ring.
pub(super) trait Holds {
    /// The first `elements` indices, for a kernel of the GPU that walks.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::error::Error::Usage) when the memory is shorter, or the GPU cannot reach it.
    fn indices(&self, elements: u64) -> Result<In<'_, u32>>;
}

impl Holds for DeviceBuffer {
    fn indices(&self, elements: u64) -> Result<In<'_, u32>> {
        Ok(In(self.view::<u32>().slice(0, elements)?))
    }
}

impl Holds for Pinned {
    fn indices(&self, elements: u64) -> Result<In<'_, u32>> {
        Ok(In(self.buffer.input()?.0.cast::<u32>()?.slice(0, elements)?))
    }
}

/// Which caches may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// All of them.
    Cached,
    /// Those from the second level on: a first-level cache may keep what is other memory's.
    PastFirstLevel,
}

/// A walk on a ring.
pub(super) struct Walk<M> {
    bench: Bench,
    ring: Ring,
    memory: M,
    path: Path,
    /// Steps of one launch.
    steps: u64,
    end: DeviceBuffer,
    cycles: DeviceBuffer,
    walked: u64,
}

impl<M> Walk<M> {
    /// Of the GPU of `bench` on `ring`, which `memory` holds already.
    pub(super) fn new(bench: &Bench, ring: Ring, memory: M, path: Path, steps: u64) -> Result<Self> {
        let (end, cycles) = (bench.gpu.allocate_elements::<u32>(1)?, bench.gpu.allocate_elements::<u64>(1)?);
        Ok(Self { bench: bench.clone(), ring, memory, path, steps, end, cycles, walked: 0 })
    }

    /// The memory, once nobody walks any more.
    pub(super) fn into_memory(self) -> M {
        self.memory
    }
}

impl<M: Holds> Trial for Walk<M> {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        let Self { bench, ring, memory, path, steps, end, cycles, walked } = self;
        let (next, steps, one) = (memory.indices(ring.next().len() as u64)?, *steps, Shape::line(1, 1));
        for _ in 0..iterations {
            let (start, end, cycles) = (ring.after(*walked), end.output(), cycles.output());
            match path {
                Path::Cached => bench.stream.launch(&Chase { next, start, steps, end, cycles }, one)?,
                Path::PastFirstLevel => bench.stream.launch(&ChaseL2 { next, start, steps, end, cycles }, one)?,
            }
            *walked += steps;
        }
        Ok(())
    }

    fn work(&self) -> Work {
        Work::stepping(self.steps)
    }

    fn check(&mut self) -> Result<Option<String>> {
        let expected = self.ring.after(self.walked);
        let found = self.end.read::<u32>(&self.bench.stream, 1)?;
        Ok((found != [expected]).then(|| format!("expected the walk to end at {expected} but found {found:?}")))
    }
}
