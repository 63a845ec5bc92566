//! Streams, events, and the memory of which stream still works on what.

use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::sys::{CUevent, CUstream};

use super::device::Gpu;
use super::failure::{Doing, Failure, status};
use crate::error::Result;
use crate::units::Seconds;

/// `CU_STREAM_NON_BLOCKING`: no implicit ordering with the context's default stream.
const NON_BLOCKING: u32 = 1;

/// A queue of work on one GPU. Clones are the same queue.
#[derive(Clone)]
pub struct Stream(Arc<RawStream>);

struct RawStream {
    gpu: Gpu,
    raw: CUstream,
}

// SAFETY: the driver documents streams as usable from every thread; the handle is an address and the rest is `Send` and `Sync`.
unsafe impl Send for RawStream {}
// SAFETY: as above.
unsafe impl Sync for RawStream {}

impl Gpu {
    /// A new stream.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::error::Error::Gpu) when the call fails.
    pub fn stream(&self) -> Result<Stream> {
        let mut raw: CUstream = std::ptr::null_mut();
        self.enter()
            // SAFETY: the pointer is valid for one handle, and the context is current.
            .and_then(|()| unsafe { self.api().cuStreamCreate(&raw mut raw, NON_BLOCKING) })
            .doing(|| format!("creating a stream on GPU {}", self.ordinal()))?;
        Ok(Stream(Arc::new(RawStream { gpu: self.clone(), raw })))
    }

    /// A new event that notes the time.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::error::Error::Gpu) when the call fails.
    pub fn event(&self) -> Result<Event> {
        let mut raw: CUevent = std::ptr::null_mut();
        self.enter()
            // SAFETY: the pointer is valid for one handle; flags 0 is an event with timing.
            .and_then(|()| unsafe { self.api().cuEventCreate(&raw mut raw, 0) })
            .doing(|| format!("creating an event on GPU {}", self.ordinal()))?;
        Ok(Event { gpu: self.clone(), raw })
    }
}

impl Stream {
    /// The GPU it is on.
    pub fn gpu(&self) -> &Gpu {
        &self.0.gpu
    }

    /// Waits until everything enqueued is done.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::error::Error::Gpu) when some of it failed.
    pub fn synchronize(&self) -> Result<()> {
        self.wait().doing(|| format!("waiting for work on GPU {}", self.gpu().ordinal()))
    }

    /// Marks this point of the stream with an event of the same GPU.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::error::Error::Gpu) when the call fails.
    pub fn record(&self, event: &Event) -> Result<()> {
        self.enter()
            // SAFETY: both handles live; an event of another context is refused by the driver with a status.
            .and_then(|()| unsafe { self.gpu().api().cuEventRecord(event.raw, self.raw()) })
            .doing(|| format!("recording an event on GPU {}", self.gpu().ordinal()))
    }

    /// Lets later work of this stream wait for what `event` marks, on whichever GPU that is.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::error::Error::Gpu) when the call fails.
    pub fn wait_for(&self, event: &Event) -> Result<()> {
        self.enter()
            // SAFETY: both handles live; the driver keeps what it needs of the event. Flags must be 0.
            .and_then(|()| unsafe { self.gpu().api().cuStreamWaitEvent(self.raw(), event.raw, 0) })
            .doing(|| format!("ordering streams on GPU {}", self.gpu().ordinal()))
    }

    pub(super) fn raw(&self) -> CUstream {
        self.0.raw
    }

    pub(super) fn enter(&self) -> std::result::Result<(), Failure> {
        self.0.gpu.enter()
    }

    fn wait(&self) -> std::result::Result<(), Failure> {
        self.enter()?;
        // SAFETY: the handle lives as long as `self`.
        unsafe { self.gpu().api().cuStreamSynchronize(self.raw()) }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream on GPU {}", self.gpu().ordinal())
    }
}

impl Drop for RawStream {
    fn drop(&mut self) {
        // A failure here has nobody to hear it; the context's end takes the stream along.
        self.gpu.enter_to_give_back();
        // SAFETY: nothing refers to the handle any more. The driver finishes pending work before it frees the queue.
        let _ = unsafe { self.gpu.api().cuStreamDestroy_v2(self.raw) };
    }
}

/// A mark in a stream that notes when it was reached.
pub struct Event {
    gpu: Gpu,
    raw: CUevent,
}

// SAFETY: the driver documents events as usable from every thread.
unsafe impl Send for Event {}
// SAFETY: as above; recording and waiting are the driver's own atomic operations.
unsafe impl Sync for Event {}

impl Event {
    /// Waits until the mark is reached.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::error::Error::Gpu) when work before it failed.
    pub fn synchronize(&self) -> Result<()> {
        self.gpu
            .enter()
            // SAFETY: the handle lives as long as `self`.
            .and_then(|()| unsafe { self.gpu.api().cuEventSynchronize(self.raw) })
            .doing(|| format!("waiting for an event on GPU {}", self.gpu.ordinal()))
    }

    /// Whether the mark has been reached.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::error::Error::Gpu) when work before it failed.
    pub fn is_reached(&self) -> Result<bool> {
        // SAFETY: the handle lives as long as `self`.
        match self.gpu.enter().and_then(|()| unsafe { self.gpu.api().cuEventQuery(self.raw) }) {
            Ok(()) => Ok(true),
            Err(failure) if failure.status == status::NOT_READY => Ok(false),
            Err(failure) => Err(failure.into_error(format!("asking for an event on GPU {}", self.gpu.ordinal()))),
        }
    }

    /// The time from `start` to this mark; both must have been reached. The device's clock ticks about every half microsecond.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::error::Error::Gpu) when one of them was not recorded or not reached.
    pub fn since(&self, start: &Self) -> Result<Seconds> {
        let mut milliseconds = 0.0_f32;
        self.gpu
            .enter()
            // SAFETY: the pointer is valid for one float and both handles live.
            .and_then(|()| unsafe { self.gpu.api().cuEventElapsedTime(&raw mut milliseconds, start.raw, self.raw) })
            .doing(|| format!("reading the time between two events on GPU {}", self.gpu.ordinal()))?;
        Ok(Seconds::from_milliseconds(f64::from(milliseconds)))
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Event on GPU {}", self.gpu.ordinal())
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.gpu.enter_to_give_back();
        // SAFETY: nothing refers to the handle any more; the driver defers the freeing until a pending mark is reached.
        let _ = unsafe { self.gpu.api().cuEventDestroy_v2(self.raw) };
    }
}

/// The streams that may still work on a piece of memory.
///
/// A stream stays listed after its work is done, and waiting for an idle stream costs about a microsecond: cheaper than asking after each
/// piece of work. The list holds a stream once, and a piece of memory rarely meets more than two.
#[derive(Default)]
pub(super) struct Uses(Mutex<Vec<Stream>>);

impl Uses {
    /// Notes that `stream` will work on the memory. Called *before* the work is enqueued, so that no path misses it.
    pub(super) fn mark(&self, stream: &Stream) {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !streams.iter().any(|known| Arc::ptr_eq(&known.0, &stream.0)) {
            streams.push(stream.clone());
        }
    }

    /// Waits until no stream works on the memory.
    pub(super) fn wait(&self) -> Result<()> {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(stream) = streams.last() {
            stream.synchronize()?;
            streams.pop();
        }
        Ok(())
    }

    /// Waits for every stream whatever the others say: a stream whose context failed does no more work.
    pub(super) fn wait_before_freeing(&self) {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in streams.drain(..) {
            stream.gpu().enter_to_give_back();
            // SAFETY: the handle lives as long as `stream`.
            let _ = unsafe { stream.gpu().api().cuStreamSynchronize(stream.raw()) };
        }
    }
}
