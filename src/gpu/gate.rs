//! The gate: a kernel that holds a stream shut until everything is enqueued.
//!
//! Without it a timed batch begins while the host is still enqueuing, and short work is measured at the speed of the host. The gate's one
//! thread watches a word of pinned memory; the host opens it by writing that word. Should the host never come back, a watchdog in the
//! kernel gives up after a timeout and says so in a second word, and the batch counts for nothing.
//!
//! The hardware queue behind a stream holds about a thousand entries. Enqueuing more than that behind a closed gate would wait for the gate
//! forever, so a batch is kept below [`MOST_QUEUED`].

use std::sync::atomic::Ordering;

use super::device::Gpu;
use super::kernel::Shape;
use super::kernels::GateKernel;
use super::pinned::PinnedBuffer;
use super::stream::Stream;
use super::view::{Flag, Out};
use crate::error::{Error, Result};
use crate::units::{Bytes, Seconds};

/// Most pieces of work (kernels, copies, marks) to enqueue behind a closed gate.
pub const MOST_QUEUED: u64 = 512;

/// How long a gate stays shut at most, unless told otherwise. Enqueuing [`MOST_QUEUED`] pieces takes some milliseconds.
pub const WATCHDOG: Seconds = Seconds(10.0);

/// Which word opens the gate.
const OPEN: usize = 0;
/// Which word the watchdog sets: on another cache line, so that the two sides' writes do not meet.
const TIMED_OUT: usize = 64;

/// A gate for streams of one GPU, one at a time.
#[derive(Debug)]
pub struct Gate {
    words: PinnedBuffer,
    watchdog: Seconds,
}

/// A stream held shut. Opens when dropped.
#[derive(Debug)]
pub struct Hold<'a> {
    gate: &'a Gate,
    stream: &'a Stream,
}

impl Gate {
    /// A gate that opens by itself after `watchdog`.
    ///
    /// # Errors
    /// [`Error::Gpu`] when there is no pinned memory.
    pub fn new(gpu: &Gpu, watchdog: Seconds) -> Result<Self> {
        Ok(Self { words: gpu.allocate_pinned(Bytes::kib(4))?, watchdog })
    }

    /// Shuts the stream: what is enqueued on it from now on waits until the hold is opened.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the gate cannot be launched.
    pub fn hold<'a>(&'a mut self, stream: &'a Stream) -> Result<Hold<'a>> {
        // Also waits for the gate's last use, which still reads the word that is about to be cleared.
        self.words.as_mut_slice()?.fill(0);
        let words = self.words.mapped::<u32>()?;
        let kernel = GateKernel {
            open: Flag(words.slice(OPEN as u64, 1)?),
            timeout_ns: (self.watchdog.value() * 1e9) as u64,
            timed_out: Out(words.slice(TIMED_OUT as u64, 1)?),
        };
        let hold = Hold { gate: self, stream };
        stream.launch(&kernel, Shape::line(1, 1))?;
        Ok(hold)
    }

    fn set_open(&self) {
        if let Some(word) = self.words.word(OPEN) {
            word.store(1, Ordering::Release);
        }
    }

    fn timed_out(&self) -> bool {
        self.words.word(TIMED_OUT).is_some_and(|word| word.load(Ordering::Acquire) != 0)
    }
}

impl Hold<'_> {
    /// Opens the gate and waits for everything behind it.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the work failed, [`Error::Measurement`] when the watchdog had opened the gate before.
    pub fn open(self) -> Result<()> {
        self.gate.set_open();
        self.stream.synchronize()?;
        if self.gate.timed_out() {
            let limit = self.gate.watchdog.value();
            return Err(Error::measurement(
                format!("timing work on GPU {}", self.stream.gpu().ordinal()),
                format!("the gate was shut for more than {limit} s before everything was enqueued; run again on a less busy machine"),
            ));
        }
        Ok(())
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.gate.set_open();
    }
}
