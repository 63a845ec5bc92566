//! Threads that keep a disk's queue full, and the contents they write and expect.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::host::{DirectFile, Region};
use crate::stats::SplitMix64;
use crate::units::{Bytes, Seconds};

/// What the requests do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Writes in order, from the start again at the end.
    Write,
    /// Reads in order, from the start again at the end.
    Read,
    /// Reads at random offsets.
    RandomRead {
        /// Of the offsets.
        seed: u64,
    },
}

/// All that defines the load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) pattern: Pattern,
    /// Of one request.
    pub(super) bytes: Bytes,
    /// Requests under way.
    pub(super) depth: u64,
    /// Of the file: a whole number of requests.
    pub(super) size: Bytes,
}

/// The smallest unit that carries its own offset.
const BLOCK: usize = 4096;
/// The pseudo-random contents repeat after this many bytes, but for the stamps.
const PERIOD: usize = 1 << 20;

/// One period of pseudo-random contents.
pub(super) fn contents(seed: u64) -> io::Result<Arc<Region>> {
    let mut region = Region::new(Bytes(PERIOD as u64), None)?;
    let mut random = SplitMix64(seed);
    region.as_mut_slice::<u64>().fill_with(|| random.next_u64());
    Ok(Arc::new(region))
}

/// Put its own offset at the start of every block of `buffer`, which lies at `offset` in the file.
fn stamp(buffer: &mut [u8], offset: u64) {
    for (index, block) in buffer.chunks_exact_mut(BLOCK).enumerate() {
        let own = offset + (index * BLOCK) as u64;
        block[..8].copy_from_slice(&own.to_le_bytes());
    }
}

/// Whether every block is the one that belongs here.
fn check_stamps(buffer: &[u8], offset: u64) -> Result<(), String> {
    for (index, block) in buffer.chunks_exact(BLOCK).enumerate() {
        let own = offset + (index * BLOCK) as u64;
        let found = block.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
        if found != own {
            return Err(format!("expected the block of offset {own} but found that of {found}"));
        }
    }
    Ok(())
}

/// Whether `buffer`, read at `offset`, is what was written there, to the byte.
fn check_all(buffer: &[u8], offset: u64, contents: &[u8]) -> Result<(), String> {
    check_stamps(buffer, offset)?;
    for (index, block) in buffer.chunks_exact(BLOCK).enumerate() {
        let own = offset as usize + index * BLOCK;
        let expected = &contents[own % PERIOD..][..BLOCK];
        if block[8..] != expected[8..] {
            return Err(format!("the block of offset {own} is not what was written there"));
        }
    }
    Ok(())
}

/// Write the file from its start with `depth` requests under way, until `size` or until `patience` is used up or `stopped` says so. Returns
/// how much of it is written without a gap, at least one period.
pub(super) fn lay_out(
    file: &DirectFile,
    contents: &Region,
    size: Bytes,
    depth: u64,
    patience: Seconds,
    stopped: &dyn Fn() -> bool,
) -> Result<Bytes, String> {
    let start = Instant::now();
    let (next, given_up) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let writers: Vec<_> = (0..depth).map(|_| scope.spawn(|| lay_out_some(file, contents, size, &next, &given_up))).collect();
        // Everything that was begun is finished, so what was handed out is what is written.
        while !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
            if Seconds::from(start.elapsed()) > patience || stopped() {
                given_up.store(true, Ordering::Release);
            }
            thread::sleep(std::time::Duration::from_millis(1));
        }
        writers.into_iter().try_for_each(|writer| writer.join().unwrap_or_else(|_| Err("a writing thread panicked".to_owned())))
    })?;
    Ok(Bytes(next.load(Ordering::Acquire)).min(size))
}

fn lay_out_some(file: &DirectFile, contents: &Region, size: Bytes, next: &AtomicU64, given_up: &AtomicBool) -> Result<(), String> {
    let mut buffer = buffer(contents, PERIOD)?;
    // The first period is written whatever the time: an empty file cannot be read.
    while !given_up.load(Ordering::Acquire) || next.load(Ordering::Acquire) == 0 {
        let offset = next.fetch_add(PERIOD as u64, Ordering::AcqRel);
        if offset >= size.0 {
            break;
        }
        stamp(buffer.as_mut_slice(), offset);
        file.write(buffer.as_slice(), offset).map_err(|error| io_failure("writing", offset, &error))?;
    }
    Ok(())
}

fn buffer(contents: &Region, bytes: usize) -> Result<Region, String> {
    let mut buffer = Region::new(Bytes(bytes as u64), None).map_err(|error| format!("allocating a buffer: {error}; free some memory"))?;
    buffer.as_mut_slice::<u8>().iter_mut().zip(contents.as_slice()).for_each(|(to, from)| *to = *from);
    Ok(buffer)
}

fn io_failure(doing: &str, offset: u64, error: &io::Error) -> String {
    format!("{doing} at offset {offset}: {error}; check that the disk is well and not full")
}

/// Threads that keep `depth` requests under way until this is dropped.
pub(super) struct Queue {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    file: DirectFile,
    contents: Arc<Region>,
    request: Request,
    /// Requests handed out, for the sequential patterns.
    begun: AtomicU64,
    completed: AtomicU64,
    /// The completion that the caller waits for.
    awaited: AtomicU64,
    stop: AtomicBool,
    /// The first thing that went wrong.
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    failure: Option<String>,
    wrong: Option<String>,
}

impl Queue {
    /// Start the requests on `file`.
    ///
    /// # Errors
    /// When threads or buffers cannot be had.
    pub(super) fn start(file: DirectFile, contents: Arc<Region>, request: Request) -> Result<Self, String> {
        let shared = Arc::new(Shared {
            file,
            contents,
            request,
            begun: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            awaited: AtomicU64::new(u64::MAX),
            stop: AtomicBool::new(false),
            state: Mutex::new(State::default()),
            wake: Condvar::new(),
        });
        let mut queue = Self { shared, threads: Vec::new() };
        for index in 0..request.depth {
            let buffer = buffer(&queue.shared.contents, request.bytes.0 as usize)?;
            let shared = Arc::clone(&queue.shared);
            let body = move || shared.live(index, buffer);
            let thread = thread::Builder::new().name(format!("storage-{index}")).spawn(body);
            queue.threads.push(thread.map_err(|error| format!("starting thread {index}: {error}"))?);
        }
        Ok(queue)
    }

    /// Return when `count` further requests have completed.
    ///
    /// # Errors
    /// When a request failed.
    pub(super) fn complete(&self, count: u64) -> Result<(), String> {
        let shared = &self.shared;
        let mut state = shared.lock();
        let target = shared.completed.load(Ordering::SeqCst) + count;
        shared.awaited.store(target, Ordering::SeqCst);
        while shared.completed.load(Ordering::SeqCst) < target {
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Stop the requests, and say what was wrong with the contents: seen by a stamp on the way, or by comparing blocks all over the file to
    /// the byte now.
    ///
    /// # Errors
    /// When a request failed.
    pub(super) fn check(&mut self) -> Result<Option<String>, String> {
        self.finish();
        let shared = &self.shared;
        let state = shared.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        if state.wrong.is_some() {
            return Ok(state.wrong.clone());
        }
        const SPOTS: u64 = 64;
        let mut buffer = buffer(&shared.contents, BLOCK * 16)?;
        let bytes: &mut [u8] = buffer.as_mut_slice();
        let places = shared.request.size.0 / bytes.len() as u64;
        for spot in 0..SPOTS.min(places) {
            let offset = spot * places / SPOTS.min(places) * bytes.len() as u64;
            shared.file.read(bytes, offset).map_err(|error| io_failure("reading", offset, &error))?;
            if let Err(what) = check_all(bytes, offset, shared.contents.as_slice()) {
                return Ok(Some(what));
            }
        }
        Ok(None)
    }

    fn finish(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            // A panic there would have been reported as a failure by `Alarm`.
            let _ = thread.join();
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Tells the caller when a thread ends in a panic: otherwise it would wait for ever.
struct Alarm<'a>(&'a Shared);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail("a thread of the queue panicked".to_owned());
        }
    }
}

impl Shared {
    /// The life of one thread: one request after the other.
    fn live(&self, index: u64, mut buffer: Region) {
        let _alarm = Alarm(self);
        let Request { pattern, bytes, size, .. } = self.request;
        let places = (size.0 / bytes.0).max(1);
        let mut random = SplitMix64(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        if let Pattern::RandomRead { seed } = pattern {
            random.0 ^= seed;
        }
        while !self.stop.load(Ordering::Acquire) {
            let place = match pattern {
                Pattern::RandomRead { .. } => random.below(usize::try_from(places).unwrap_or(usize::MAX)) as u64,
                Pattern::Read | Pattern::Write => self.begun.fetch_add(1, Ordering::Relaxed) % places,
            };
            let offset = place * bytes.0;
            let done = if pattern == Pattern::Write {
                stamp(buffer.as_mut_slice(), offset);
                self.file.write(buffer.as_slice(), offset).map_err(|error| io_failure("writing", offset, &error))
            } else {
                self.file.read(buffer.as_mut_slice(), offset).map_err(|error| io_failure("reading", offset, &error))
            };
            if let Err(failure) = done {
                return self.fail(failure);
            }
            if self.completed.fetch_add(1, Ordering::SeqCst) + 1 == self.awaited.load(Ordering::SeqCst) {
                self.ring();
            }
            if let Err(wrong) = check_stamps(buffer.as_slice(), offset) {
                self.lock().wrong.get_or_insert(wrong);
            }
        }
    }

    fn fail(&self, failure: String) {
        self.lock().failure.get_or_insert(failure);
        self.wake.notify_all();
    }

    /// Wake the caller. The lock is taken so that the bell cannot ring between the caller's look and its sleep.
    fn ring(&self) {
        drop(self.lock());
        self.wake.notify_all();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Both fields hold good values at any moment, so a poisoned lock does too.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_tell_a_block_from_every_other() {
        let contents = contents(1).unwrap();
        let mut buffer = buffer(&contents, 3 * BLOCK).unwrap();
        stamp(buffer.as_mut_slice(), 5 * BLOCK as u64);
        check_stamps(buffer.as_slice(), 5 * BLOCK as u64).unwrap();
        assert_eq!(check_stamps(buffer.as_slice(), 0), Err("expected the block of offset 0 but found that of 20480".to_owned()));
    }

    #[test]
    fn one_wrong_byte_is_found() {
        let contents = contents(1).unwrap();
        let mut buffer = buffer(&contents, 2 * BLOCK).unwrap();
        stamp(buffer.as_mut_slice(), PERIOD as u64);
        check_all(buffer.as_slice(), PERIOD as u64, contents.as_slice()).unwrap();
        buffer.as_mut_slice::<u8>()[BLOCK + 100] ^= 1;
        let complaint = check_all(buffer.as_slice(), PERIOD as u64, contents.as_slice()).unwrap_err();
        assert_eq!(complaint, format!("the block of offset {} is not what was written there", PERIOD + BLOCK));
    }
}
