//! Streams and events.

use std::ffi::c_void;

use super::cuda;
use crate::code::Cu;
use crate::driver::{Driver, Stream, put};
use crate::machine::What;
use crate::timeline::{Mark, Step};

/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: u32 = 1;
/// `CU_EVENT_DISABLE_TIMING`.
const DISABLE_TIMING: u32 = 2;

cuda!(cuStreamCreate |d| (stream: *mut u64, flags: u32) {
    let device = d.current()?;
    d.new_stream(stream, device, flags)
});

cuda!(cuStreamCreateWithPriority |d| (stream: *mut u64, flags: u32, priority: i32) {
    let device = d.current()?;
    d.new_stream(stream, device, flags)
});

cuda!(cuStreamDestroy_v2 |d| (stream: u64) {
    if !d.streams.contains_key(&stream) || d.default_streams.contains(&Some(stream)) {
        return Err(Cu::INVALID_HANDLE);
    }
    // Enqueued work still runs; it is done here and now because nobody can wait for it later.
    let waited = d.wait_stream(stream, true);
    d.streams.remove(&stream);
    d.timeline.remove_stream(stream);
    waited
});

cuda!(cuStreamSynchronize |d| (stream: u64) {
    let stream = d.stream(stream)?;
    d.wait_stream(stream, true)
});

cuda!(cuStreamQuery |d| (stream: u64) {
    let stream = d.stream(stream)?;
    d.wait_stream(stream, false)
});

cuda!(cuStreamWaitEvent |d| (stream: u64, event: u64, flags: u32) {
    let stream = d.stream(stream)?;
    let Some(mark) = d.mark(event)? else { return Ok(()) };
    d.enqueue(stream, Step::Wait(mark)).map(drop)
});

cuda!(cuLaunchHostFunc |d| (stream: u64, function: Option<extern "C" fn(*mut c_void)>, data: *mut c_void) {
    let stream = d.stream(stream)?;
    let function = function.ok_or(Cu::INVALID_VALUE)?;
    d.submit(stream, What::Call { function, data: data as usize })
});

cuda!(cuEventCreate |d| (event: *mut u64, flags: u32) {
    d.current()?;
    let id = d.timeline.add_event();
    put(event, id)?;
    d.events.insert(id, flags & DISABLE_TIMING == 0);
    Ok(())
});

cuda!(cuEventDestroy_v2 |d| (event: u64) {
    d.events.remove(&event).ok_or(Cu::INVALID_HANDLE)?;
    d.timeline.remove_event(event);
    Ok(())
});

cuda!(cuEventRecord |d| (event: u64, stream: u64) {
    let stream = d.stream(stream)?;
    d.mark(event)?;
    let event_us = d.gpu(d.stream_device(stream)).launch.event_us;
    // Noise of a call that takes no time would still move the seeds of all that follow.
    if event_us > 0.0 {
        d.spend_us(event_us);
    }
    d.enqueue(stream, Step::Record(event)).map(drop)
});

cuda!(cuEventQuery |d| (event: u64) {
    d.wait_event(event, false)
});

cuda!(cuEventSynchronize |d| (event: u64) {
    d.wait_event(event, true)
});

cuda!(cuEventElapsedTime |d| (milliseconds: *mut f32, start: u64, end: u64) {
    d.elapsed(milliseconds, start, end)
});

cuda!(cuEventElapsedTime_v2 |d| (milliseconds: *mut f32, start: u64, end: u64) {
    d.elapsed(milliseconds, start, end)
});

impl Driver {
    fn new_stream(&mut self, stream: *mut u64, device: usize, flags: u32) -> Result<(), Cu> {
        let id = self.timeline.add_stream();
        put(stream, id)?;
        self.streams.insert(id, Stream { device, blocking: flags & NON_BLOCKING == 0, capture: None });
        Ok(())
    }

    /// Where an event was last recorded.
    fn mark(&self, event: u64) -> Result<Option<Mark>, Cu> {
        self.timeline.event(event).map(|event| event.mark).ok_or(Cu::INVALID_HANDLE)
    }

    fn wait_event(&mut self, event: u64, patient: bool) -> Result<(), Cu> {
        let Some(mark) = self.mark(event)? else { return Ok(()) };
        let device = self.stream_device(mark.stream);
        self.wait(device, &[mark], patient)
    }

    fn elapsed(&mut self, milliseconds: *mut f32, start: u64, end: u64) -> Result<(), Cu> {
        for event in [start, end] {
            if !self.events.get(&event).copied().ok_or(Cu::INVALID_HANDLE)? || self.mark(event)?.is_none() {
                return Err(Cu::INVALID_HANDLE);
            }
            self.wait_event(event, false)?;
        }
        let time = |event| self.timeline.event(event).and_then(|event| event.time);
        match (time(start), time(end)) {
            #[expect(clippy::cast_possible_truncation, reason = "the C interface gives single precision")]
            (Some(start), Some(end)) => put(milliseconds, ((end - start) * 1e-6) as f32),
            _ => Err(Cu::NOT_READY),
        }
    }
}
