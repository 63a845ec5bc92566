//! Pinned threads that carry out one command at a time.
//!
//! Every thread owns its hand (the data and what can be done with them), made on that thread after it was pinned, so nothing is shared
//! and first touch puts the data on the thread's own NUMA node. Between commands a thread spins for a moment, because the next command
//! mostly comes at once, and then parks, so that an idle crew takes no CPU time from whoever is working out the next command.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::Processor;
use super::topology::pin_this_thread;

/// What a thread of a crew can do. Its data never leave the thread.
pub trait Hand<C> {
    /// Carry out a command, or say what is wrong.
    ///
    /// # Errors
    /// Whatever the command found wrong; the crew reports the first of its hands' complaints.
    fn perform(&mut self, command: &C) -> Result<(), String>;
}

/// Threads that each have a [`Hand`].
pub struct Crew<C> {
    shared: Arc<Shared<C>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared<C> {
    /// The command in force; `None` sends the threads home.
    command: RwLock<Option<C>>,
    /// Counts commands: a change is the signal to begin.
    generation: AtomicU64,
    /// Hands that are still at it.
    unfinished: AtomicUsize,
    unpinned: AtomicUsize,
    complaint: Mutex<Option<String>>,
    /// Who waits for the last hand.
    caller: Mutex<Thread>,
}

/// How long a thread spins before it parks: longer than the gap between two batches, far shorter than a batch.
const SPIN: Duration = Duration::from_micros(50);

impl<C: Send + Sync + 'static> Crew<C> {
    /// One thread per processor, pinned there; `make` is called on each with its index in `processors`.
    ///
    /// # Errors
    /// When a thread cannot be started, or the first complaint of `make`.
    pub fn new<H, F>(processors: &[Processor], make: F) -> Result<Self, String>
    where
        H: Hand<C>,
        F: Fn(usize) -> Result<H, String> + Send + Sync + 'static,
    {
        let shared = Arc::new(Shared {
            command: RwLock::new(None),
            generation: AtomicU64::new(0),
            unfinished: AtomicUsize::new(processors.len()),
            unpinned: AtomicUsize::new(0),
            complaint: Mutex::new(None),
            caller: Mutex::new(thread::current()),
        });
        let make = Arc::new(make);
        let mut crew = Self { shared, threads: Vec::with_capacity(processors.len()) };
        for (index, &processor) in processors.iter().enumerate() {
            let (shared, make) = (Arc::clone(&crew.shared), Arc::clone(&make));
            let body = move || shared.live(processor, || make(index));
            match thread::Builder::new().name(format!("crew-{index}")).spawn(body) {
                Ok(handle) => crew.threads.push(handle),
                Err(error) => {
                    crew.shared.unfinished.fetch_sub(processors.len() - index, Ordering::AcqRel);
                    crew.wait();
                    return Err(format!("starting thread {index}: {error}"));
                }
            }
        }
        crew.wait();
        crew.verdict().map(|()| crew)
    }

    /// Have every hand perform `command`, and return when the last has finished.
    ///
    /// # Errors
    /// The first complaint.
    pub fn command(&mut self, command: C) -> Result<(), String> {
        *lock(&self.shared.caller) = thread::current();
        self.shared.unfinished.store(self.threads.len(), Ordering::Release);
        self.signal(Some(command));
        self.wait();
        self.verdict()
    }

    /// How many hands there are.
    pub fn size(&self) -> usize {
        self.threads.len()
    }

    /// Whether every thread is pinned to its processor.
    pub fn is_pinned(&self) -> bool {
        self.shared.unpinned.load(Ordering::Acquire) == 0
    }

    fn wait(&self) {
        // The caller must not spin: on a machine with few cores it would take one from the hands.
        while self.shared.unfinished.load(Ordering::Acquire) > 0 {
            thread::park();
        }
    }

    fn verdict(&self) -> Result<(), String> {
        lock(&self.shared.complaint).take().map_or(Ok(()), Err)
    }
}

impl<C> Crew<C> {
    fn signal(&self, command: Option<C>) {
        *self.shared.command.write().unwrap_or_else(PoisonError::into_inner) = command;
        self.shared.generation.fetch_add(1, Ordering::Release);
        for handle in &self.threads {
            handle.thread().unpark();
        }
    }
}

impl<C> Drop for Crew<C> {
    fn drop(&mut self) {
        self.signal(None);
        for handle in self.threads.drain(..) {
            // A hand's panic was caught and reported by `command` already.
            let _ = handle.join();
        }
    }
}

impl<C> Shared<C> {
    /// The life of one thread.
    fn live<H: Hand<C>>(&self, processor: Processor, make: impl FnOnce() -> Result<H, String>) {
        if !pin_this_thread(processor.cpu) {
            self.unpinned.fetch_add(1, Ordering::AcqRel);
        }
        let mut hand = self.attempt(make);
        self.finish();
        let mut seen = 0;
        loop {
            seen = self.next(seen);
            let command = self.command.read().unwrap_or_else(PoisonError::into_inner);
            let Some(command) = command.as_ref() else { return };
            if let Some(hand) = hand.as_mut() {
                self.attempt(|| hand.perform(command));
            }
            self.finish();
        }
    }

    /// Wait for a generation after `seen`.
    fn next(&self, seen: u64) -> u64 {
        let spin_until = Instant::now() + SPIN;
        loop {
            let generation = self.generation.load(Ordering::Acquire);
            if generation != seen {
                return generation;
            }
            if Instant::now() < spin_until {
                std::hint::spin_loop();
            } else {
                thread::park();
            }
        }
    }

    /// A panic must not leave the caller waiting for ever, so it becomes a complaint.
    fn attempt<T>(&self, deed: impl FnOnce() -> Result<T, String>) -> Option<T> {
        let outcome = catch_unwind(AssertUnwindSafe(deed)).unwrap_or_else(|_| Err("a measuring thread panicked".to_owned()));
        outcome.map_err(|what| lock(&self.complaint).get_or_insert(what).clone()).ok()
    }

    fn finish(&self) {
        if self.unfinished.fetch_sub(1, Ordering::AcqRel) == 1 {
            lock(&self.caller).unpark();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing is left half-done under these locks, so a poisoned one holds a good value.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processors(count: usize) -> Vec<Processor> {
        let cpu = super::super::topology::allowed_processors()[0];
        vec![Processor { cpu, node: 0, first_of_core: true }; count]
    }

    #[derive(Clone)]
    enum Order {
        Add(u64),
        Expect(u64),
        Panic,
    }

    struct Adder(u64);

    impl Hand<Order> for Adder {
        fn perform(&mut self, order: &Order) -> Result<(), String> {
            match order {
                Order::Add(n) => self.0 += n,
                Order::Expect(n) if *n != self.0 => return Err(format!("expected {n} but found {}", self.0)),
                Order::Expect(_) => {}
                Order::Panic => panic!("as told"),
            }
            Ok(())
        }
    }

    #[test]
    fn every_hand_performs_every_command_once() {
        let mut crew = Crew::new(&processors(5), |_| Ok(Adder(0))).unwrap();
        assert_eq!((crew.size(), crew.is_pinned()), (5, true));
        for _ in 0..500 {
            crew.command(Order::Add(2)).unwrap();
        }
        crew.command(Order::Expect(1000)).unwrap();
    }

    #[test]
    fn parked_hands_wake_up() {
        let mut crew = Crew::new(&processors(2), |_| Ok(Adder(0))).unwrap();
        thread::sleep(SPIN * 40);
        crew.command(Order::Add(1)).unwrap();
        crew.command(Order::Expect(1)).unwrap();
    }

    #[test]
    fn complaints_reach_the_caller_and_the_crew_goes_on() {
        let mut crew = Crew::new(&processors(3), |index| Ok(Adder(index as u64))).unwrap();
        let complaint = crew.command(Order::Expect(0)).unwrap_err();
        assert!(complaint.starts_with("expected 0 but found"), "{complaint}");
        assert_eq!(crew.command(Order::Panic), Err("a measuring thread panicked".to_owned()));
        crew.command(Order::Add(1)).unwrap();
    }

    #[test]
    fn a_hand_that_cannot_be_made_is_reported() {
        let made = Crew::<Order>::new(&processors(3), |index| if index == 1 { Err("no room".to_owned()) } else { Ok(Adder(0)) });
        assert_eq!(made.err(), Some("no room".to_owned()));
    }

    #[test]
    fn a_crew_may_be_empty() {
        let mut crew = Crew::new(&[], |_| Ok(Adder(0))).unwrap();
        crew.command(Order::Panic).unwrap();
    }
}
