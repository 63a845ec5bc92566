//! Collective operations by NVIDIA's library, between GPUs of this process.
//!
//! A **rank** is one GPU's part of an operation, with a stream and memory of its own. A **clique** is the ranks that act together, each with
//! the library's **communicator** for it. One thread of one process enqueues for all ranks, so every operation is a **group**: the library
//! takes the ranks' calls one by one and starts them together when the group ends. An operation that some ranks never reach waits on the
//! others' GPUs for ever; nothing but aborting the communicators ends it. So whatever is done for the first time is waited for with a limit
//! ([`Clique::settle`]), and making communicators, which can hang as well, has one too.
//!
//! The library works on the devices' primary contexts, as this program does, and counts devices as the driver does.

use std::ffi::{c_int, c_void};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::device::Gpu;
use super::failure::{Doing, Failure, Returned};
use super::nccl_api::{NcclApi, Opaque};
use super::stream::{Event, Stream};
use super::view::View;
use crate::error::{Error, Result};
use crate::units::Seconds;

/// `ncclSum`.
const SUM: c_int = 0;

/// How often a wait looks.
const PACE: Duration = Duration::from_micros(200);

/// Type of the elements of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NcclKind {
    /// Bytes: nothing is computed of them.
    Bytes,
    /// FP32.
    Float,
}

impl NcclKind {
    /// `ncclUint8` and `ncclFloat32`.
    const fn raw(self) -> c_int {
        match self {
            Self::Bytes => 1,
            Self::Float => 7,
        }
    }

    /// Bytes of an element.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Bytes => 1,
            Self::Float => 4,
        }
    }
}

/// What the ranks do together; n is their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NcclOperation {
    /// Everyone gets the sum of everyone's elements.
    AllReduce,
    /// Everyone gets everyone's elements, one after the other: n times as many.
    AllGather,
    /// Everyone gets one n-th of the sum of everyone's elements.
    ReduceScatter,
    /// Everyone sends a different n-th of its elements to everyone, itself included.
    AllToAll,
    /// Everyone gets the elements of rank 0.
    Broadcast,
    /// Everyone sends its elements to the next rank, and the last one to the first.
    SendReceive,
}

/// NCCL, loaded.
#[derive(Clone)]
pub struct Nccl(Arc<NcclApi>);

impl Nccl {
    /// Loads the library from the file that was found.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the file is not a usable NCCL.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self(Arc::new(NcclApi::load(path)?)))
    }

    /// Major, minor and patch of the library.
    pub fn version(&self) -> Option<(u32, u32, u32)> {
        self.0.version()
    }

    /// Makes communicators for these GPUs, rank by rank, within so much time.
    ///
    /// # Errors
    /// [`Error::Usage`] for fewer than two GPUs or one twice, [`Error::Gpu`] when the library cannot connect them, [`Error::Measurement`]
    /// when it does not come back: it may then still be at work, and nothing else should be measured on these GPUs.
    pub fn connect(&self, gpus: &[Gpu], within: Seconds) -> Result<Clique> {
        let names = || gpus.iter().map(|gpu| gpu.ordinal().to_string()).collect::<Vec<_>>().join(", ");
        let doing = || format!("connecting GPUs {} by NCCL", names());
        let twice = gpus.iter().enumerate().any(|(index, gpu)| gpus[..index].iter().any(|other| other.is(gpu)));
        if gpus.len() < 2 || twice {
            return Err(Error::usage(format!("{}: expected two or more different GPUs", doing())));
        }
        let devices: Vec<c_int> = gpus.iter().map(|gpu| gpu.ordinal() as c_int).collect();
        let (sender, receiver) = mpsc::channel();
        let (api, held) = (Arc::clone(&self.0), gpus.to_vec());
        let work = move || {
            // The contexts live as long as the library works on them, even when nobody waits for it any more, and no longer.
            let made = communicators(&api, &devices);
            drop(held);
            let _ = sender.send(made);
        };
        let thread = std::thread::Builder::new().name("nccl-init".to_owned()).spawn(work);
        thread.map_err(|error| Error::measurement(doing(), format!("no thread to do it in: {error}")))?;
        let made = receiver.recv_timeout(Duration::from_secs_f64(within.0)).map_err(|_| stuck(doing(), within))?;
        let communicators = made.doing(doing)?;
        let ranks = gpus.iter().cloned().zip(communicators).map(|(gpu, raw)| Rank { gpu, raw }).collect();
        Ok(Clique { api: Arc::clone(&self.0), ranks, aborted: AtomicBool::new(false) })
    }
}

impl std::fmt::Debug for Nccl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Nccl {:?}", self.version())
    }
}

/// What never ended.
fn stuck(doing: String, limit: Seconds) -> Error {
    let why = format!(
        "it did not end within {} s: direct access between the GPUs may be broken, as it is with many IOMMU and ACS settings; \
         NCCL_P2P_DISABLE=1 shows whether that is it",
        limit.0
    );
    Error::measurement(doing, why)
}

/// A communicator, as it travels out of the thread that made it.
struct Made(Opaque);

// SAFETY: communicators have no thread of their own; the library documents that they may be used from any, one call at a time.
unsafe impl Send for Made {}

fn communicators(api: &NcclApi, devices: &[c_int]) -> std::result::Result<Vec<Made>, Failure> {
    let mut raw: Vec<Opaque> = vec![std::ptr::null_mut(); devices.len()];
    // SAFETY: both arrays have as many elements as there are devices.
    unsafe { api.ncclCommInitAll(raw.as_mut_ptr(), devices.len() as c_int, devices.as_ptr()) }?;
    Ok(raw.into_iter().map(Made).collect())
}

/// GPUs that act together.
pub struct Clique {
    api: Arc<NcclApi>,
    ranks: Vec<Rank>,
    aborted: AtomicBool,
}

/// One GPU of a clique.
struct Rank {
    gpu: Gpu,
    raw: Made,
}

/// What one rank brings to an operation.
#[derive(Debug, Clone, Copy)]
pub struct RankMemory<'a> {
    /// Where it is enqueued: a stream of the rank's GPU.
    pub stream: &'a Stream,
    /// What it gives.
    pub send: View<'a, u8>,
    /// Where its result goes.
    pub receive: View<'a, u8>,
}

impl Clique {
    /// The GPUs, rank by rank.
    pub fn gpus(&self) -> impl Iterator<Item = &Gpu> {
        self.ranks.iter().map(|rank| &rank.gpu)
    }

    /// Enqueues an operation on the stream of every rank, in the order of ranks. All elements of `send` are given.
    ///
    /// # Errors
    /// [`Error::Usage`] when streams or memory are not those of the ranks or have the wrong size, [`Error::Gpu`] when the library refuses.
    pub fn enqueue(&self, operation: NcclOperation, kind: NcclKind, ranks: &[RankMemory<'_>]) -> Result<()> {
        let doing = || format!("enqueuing {operation:?} of {} GPUs by NCCL", self.ranks.len());
        let elements = self.admit(operation, kind, ranks).map_err(|why| Error::usage(format!("{}: {why}", doing())))?;
        // Within a process the library may write into the others' memory directly, so every piece of memory remembers every stream.
        for memory in ranks {
            for stream in ranks.iter().map(|rank| rank.stream) {
                memory.send.region().uses.mark(stream);
                memory.receive.region().uses.mark(stream);
            }
        }
        let enqueued = self.grouped(|| {
            for (index, memory) in ranks.iter().enumerate() {
                self.call(operation, kind, index, elements, memory)?;
            }
            Ok(())
        });
        // What some ranks have begun without the others never ends by itself, and would be waited for when its memory is freed.
        enqueued.inspect_err(|_| self.abort()).doing(doing)
    }

    /// Whether it was given up: its operations were ended, and it takes no more.
    pub fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }

    /// The elements that each rank gives, or what is wrong with what they bring.
    fn admit(&self, operation: NcclOperation, kind: NcclKind, ranks: &[RankMemory<'_>]) -> std::result::Result<u64, String> {
        if ranks.len() != self.ranks.len() {
            return Err(format!("expected {} ranks but found {}", self.ranks.len(), ranks.len()));
        }
        if self.is_aborted() {
            return Err("the communicators were aborted".to_owned());
        }
        let (count, size) = (ranks.len() as u64, kind.bytes());
        let given = ranks.first().map_or(0, |rank| rank.send.bytes().0);
        let received = match operation {
            NcclOperation::AllGather => given.checked_mul(count),
            NcclOperation::ReduceScatter => Some(given / count),
            _ => Some(given),
        };
        let received = received.ok_or_else(|| "more than can be addressed".to_owned())?;
        let whole = match operation {
            NcclOperation::ReduceScatter | NcclOperation::AllToAll => size * count,
            _ => size,
        };
        if given == 0 || !given.is_multiple_of(whole) || usize::try_from(given).is_err() {
            return Err(format!("expected a multiple of {whole} bytes but found {given}"));
        }
        for (index, (memory, rank)) in ranks.iter().zip(&self.ranks).enumerate() {
            let at_home = |view: View<'_, u8>| view.region().home.is_some_and(|home| home.is(&rank.gpu));
            if !memory.stream.gpu().is(&rank.gpu) || !at_home(memory.send) || !at_home(memory.receive) {
                return Err(format!("expected stream and memory of GPU {} for rank {index}", rank.gpu.ordinal()));
            }
            if memory.send.bytes().0 != given || memory.receive.bytes().0 != received {
                return Err(format!("expected {given} bytes to send and {received} to receive for rank {index}"));
            }
            let aligned = |view: View<'_, u8>| view.region().address.is_multiple_of(size);
            if !aligned(memory.send) || !aligned(memory.receive) {
                return Err(format!("expected memory where an element may begin for rank {index}"));
            }
        }
        Ok(given / size)
    }

    /// The library's calls for one rank, which only takes note of them until the group ends.
    fn call(&self, operation: NcclOperation, kind: NcclKind, index: usize, elements: u64, memory: &RankMemory<'_>) -> Returned {
        let (api, raw) = (&self.api, self.ranks[index].raw.0);
        let (from, to) = (memory.send.region().address, memory.receive.region().address);
        let stream: *mut c_void = memory.stream.raw().cast();
        let (send, receive) = (from as *const c_void, to as *mut c_void);
        let (all, ranks) = (elements as usize, self.ranks.len());
        let part = all / ranks;
        // SAFETY: the communicator lives; `admit` has checked that both pieces of memory lie on its GPU, as does the stream, and hold what
        // the operation reads and writes of them; the memory remembers all streams that may touch it. The same holds below.
        unsafe {
            match operation {
                NcclOperation::AllReduce => api.ncclAllReduce(send, receive, all, kind.raw(), SUM, raw, stream),
                NcclOperation::AllGather => api.ncclAllGather(send, receive, all, kind.raw(), raw, stream),
                NcclOperation::ReduceScatter => api.ncclReduceScatter(send, receive, part, kind.raw(), SUM, raw, stream),
                NcclOperation::Broadcast => api.ncclBroadcast(send, receive, all, kind.raw(), 0, raw, stream),
                NcclOperation::AllToAll => {
                    for peer in 0..ranks {
                        let offset = (peer * part) as u64 * kind.bytes();
                        let (send, receive) = ((from + offset) as *const c_void, (to + offset) as *mut c_void);
                        api.ncclSend(send, part, kind.raw(), peer as c_int, raw, stream)?;
                        api.ncclRecv(receive, part, kind.raw(), peer as c_int, raw, stream)?;
                    }
                    Ok(())
                }
                NcclOperation::SendReceive => {
                    let (next, last) = ((index + 1) % ranks, (index + ranks - 1) % ranks);
                    api.ncclSend(send, all, kind.raw(), next as c_int, raw, stream)?;
                    api.ncclRecv(receive, all, kind.raw(), last as c_int, raw, stream)
                }
            }
        }
    }

    /// Makes calls as one group. The group ends whatever they say, or the library would take every later call to belong to it.
    fn grouped(&self, calls: impl FnOnce() -> Returned) -> Returned {
        // SAFETY: no arguments; every start has its end.
        unsafe { self.api.ncclGroupStart()? };
        let called = calls();
        // SAFETY: as above.
        let ended = unsafe { self.api.ncclGroupEnd() };
        called.and(ended)
    }

    /// Waits until everything enqueued on these streams is done, at most so long; else the communicators are aborted, which ends what hangs.
    ///
    /// # Errors
    /// [`Error::Measurement`] when it did not end, [`Error::Gpu`] when work failed.
    pub fn settle(&self, streams: &[Stream], within: Seconds) -> Result<()> {
        let doing = || format!("waiting for a collective of {} GPUs by NCCL", self.ranks.len());
        let marks = streams.iter().map(|stream| {
            let mark = stream.gpu().event()?;
            stream.record(&mark)?;
            Ok(mark)
        });
        let marks = marks.collect::<Result<Vec<Event>>>()?;
        let begun = Instant::now();
        loop {
            let mut reached = true;
            for mark in &marks {
                reached &= mark.is_reached()?;
            }
            self.trouble().inspect_err(|_| self.abort()).doing(doing)?;
            if reached {
                return Ok(());
            }
            if begun.elapsed().as_secs_f64() > within.0 {
                self.abort();
                return Err(stuck(doing(), within));
            }
            std::thread::sleep(PACE);
        }
    }

    /// What a communicator met while its work was under way.
    fn trouble(&self) -> Returned {
        self.ranks.iter().try_for_each(|rank| self.api.trouble(rank.raw.0))
    }

    /// Ends all work of the clique, which is of no use afterwards.
    fn abort(&self) {
        if !self.aborted.swap(true, Ordering::Relaxed) {
            for rank in &self.ranks {
                // SAFETY: each communicator is aborted once and neither used nor destroyed later. A failure has nobody to hear it.
                let _ = unsafe { self.api.ncclCommAbort(rank.raw.0) };
            }
        }
    }
}

impl std::fmt::Debug for Clique {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clique of GPUs {:?}", self.gpus().map(Gpu::ordinal).collect::<Vec<_>>())
    }
}

impl Drop for Clique {
    fn drop(&mut self) {
        if *self.aborted.get_mut() {
            return;
        }
        for rank in &self.ranks {
            rank.gpu.enter_to_give_back();
            // What is under way must be over before its communicator goes. SAFETY: the context is current; takes nothing.
            let _ = unsafe { rank.gpu.api().cuCtxSynchronize() };
        }
        for rank in &self.ranks {
            // SAFETY: made once, destroyed once, and nothing is enqueued any more. A failure has nobody to hear it.
            let _ = unsafe { self.api.ncclCommDestroy(rank.raw.0) };
        }
    }
}
