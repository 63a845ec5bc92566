//! Virtual time: streams as queues of steps, and how long each step takes while others run beside it.
//!
//! The host has a clock; each stream runs its steps in order; nothing happens until somebody waits. Then the queues are played as a *fluid*
//! model: every step that has begun draws on one resource (a device's execution units, one direction of a link) at a rate that depends on
//! what else is running at that instant, time leaps to the next completion, and rates are taken anew. So two copies in opposite directions
//! proceed at the two-way rate exactly while they overlap and at the one-way rate before and after.
//!
//! Time is in nanoseconds. A step cannot begin before the host enqueued it, nor before the step ahead of it ended. Waiting moves the host
//! clock to the end of what was waited for, never further, so that work enqueued later still overlaps what is running.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// What a step uses up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Resource {
    /// Execution units of a device; amounts are nanoseconds when alone.
    Device(usize),
    /// One direction between host and device; amounts are bytes.
    Host { device: usize, up: bool, pageable: bool },
    /// One direction between two devices; amounts are bytes.
    Peer { from: usize, to: usize, engine: Engine },
}

/// Who moves bytes between two devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Engine {
    Copy,
    Kernel,
    Staged,
}

impl Resource {
    /// Whether `other` runs against this one over the same wire.
    fn opposes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Host { device: a, up, .. }, Self::Host { device: b, up: other, .. }) => a == b && up != other,
            (Self::Peer { from, to, .. }, Self::Peer { from: other_from, to: other_to, .. }) => from == other_to && to == other_from,
            _ => false,
        }
    }
}

/// A wire that several resources go over on their way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Upstream {
    /// Which wire, and in which direction.
    pub(crate) wire: (usize, bool),
    /// Amount per nanosecond for all of them.
    pub(crate) rate: f64,
}

/// How much a step needs: `amount` of the resource, and at least `floor_ns`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Load {
    pub(crate) resource: Option<Resource>,
    pub(crate) amount: f64,
    pub(crate) floor_ns: f64,
}

impl Load {
    pub(crate) const NOTHING: Self = Self { resource: None, amount: 0.0, floor_ns: 0.0 };
}

/// What the timeline asks of the machine it runs on.
pub(crate) trait World {
    /// One piece of work.
    type Work;
    /// Does the work's contents and says what it needs.
    fn begin(&mut self, work: &Self::Work) -> Load;
    /// Amount per nanosecond of a resource, alone or against traffic the other way.
    fn rate(&self, resource: Resource, opposed: bool) -> f64;
    /// The wire that a resource shares with others.
    fn upstream(&self, _resource: Resource) -> Option<Upstream> {
        None
    }
    /// Time passes while these are drawn on.
    fn elapse(&mut self, _ns: f64, _busy: &[Resource]) {}
    /// Whether the flag at this address has been set.
    fn gate_is_open(&self, flag: usize) -> bool;
    /// Notes at this address that a gate gave up.
    fn gate_gave_up(&mut self, flag: usize);
}

/// A step in a stream's queue.
#[derive(Debug, Clone)]
pub(crate) enum Step<W> {
    Work(W),
    /// Waits until another stream has passed a mark.
    Wait(Mark),
    /// Notes the time for an event.
    Record(u64),
    /// Holds the stream until a flag is set, at most `timeout_ns`.
    Gate {
        open: usize,
        timeout_ns: f64,
        timed_out: usize,
    },
}

/// A place in a stream: passed when that many steps are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) stream: u64,
    pub(crate) step: u64,
}

#[derive(Debug)]
struct Running {
    resource: Option<Resource>,
    left: f64,
    not_before: f64,
}

#[derive(Debug)]
struct Stream<W> {
    queue: VecDeque<(f64, Step<W>)>,
    enqueued: u64,
    done: u64,
    running: Option<Running>,
    gate_since: Option<f64>,
}

/// An event: the mark it was last recorded at, and when that was passed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Event {
    pub(crate) mark: Option<Mark>,
    pub(crate) time: Option<f64>,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    Done,
    /// A gate is closed and the caller did not want to wait for its watchdog.
    Blocked,
}

/// All streams and the clock.
#[derive(Debug)]
pub(crate) struct Timeline<W> {
    now: f64,
    host: f64,
    streams: BTreeMap<u64, Stream<W>>,
    events: HashMap<u64, Event>,
    next: u64,
}

impl<W> Default for Timeline<W> {
    fn default() -> Self {
        // Small numbers mean something to the CUDA driver (0 to 2 are the default stream), so handles start well above them.
        Self { now: 0.0, host: 0.0, streams: BTreeMap::new(), events: HashMap::new(), next: 0x1000 }
    }
}

impl<W> Timeline<W> {
    pub(crate) fn host_ns(&self) -> f64 {
        self.host
    }

    /// Lets the host spend time.
    pub(crate) fn pass(&mut self, ns: f64) {
        self.host += ns;
    }

    pub(crate) fn add_stream(&mut self) -> u64 {
        let id = self.fresh();
        self.streams.insert(id, Stream { queue: VecDeque::new(), enqueued: 0, done: 0, running: None, gate_since: None });
        id
    }

    pub(crate) fn remove_stream(&mut self, stream: u64) {
        self.streams.remove(&stream);
    }

    pub(crate) fn add_event(&mut self) -> u64 {
        let id = self.fresh();
        self.events.insert(id, Event::default());
        id
    }

    pub(crate) fn remove_event(&mut self, event: u64) -> bool {
        self.events.remove(&event).is_some()
    }

    pub(crate) fn event(&self, event: u64) -> Option<Event> {
        self.events.get(&event).copied()
    }

    pub(crate) fn busy(&self) -> bool {
        self.streams.values().any(|stream| stream.done < stream.enqueued)
    }

    /// A number that no stream, event or other object has.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Puts a step at the end of a stream.
    pub(crate) fn enqueue(&mut self, stream: u64, step: Step<W>) -> Option<Mark> {
        let host = self.host;
        let queue = self.streams.get_mut(&stream)?;
        queue.enqueued += 1;
        let mark = Mark { stream, step: queue.enqueued };
        if let Step::Record(event) = &step {
            self.events.insert(*event, Event { mark: Some(mark), time: None });
        }
        queue.queue.push_back((host, step));
        Some(mark)
    }

    /// The mark after everything enqueued so far.
    pub(crate) fn tail(&self, stream: u64) -> Option<Mark> {
        self.streams.get(&stream).map(|queue| Mark { stream, step: queue.enqueued })
    }

    /// Whether the mark is passed; a stream that is gone has passed all its marks.
    pub(crate) fn passed(&self, mark: Mark) -> bool {
        self.streams.get(&mark.stream).is_none_or(|stream| stream.done >= mark.step)
    }

    /// Plays the queues until the marks are passed, and moves the host clock there. An impatient caller is sent back when only a gate's
    /// watchdog could help.
    pub(crate) fn wait(&mut self, world: &mut impl World<Work = W>, marks: &[Mark], patient: bool) -> Waited {
        loop {
            self.start_all(world);
            if marks.iter().all(|&mark| self.passed(mark)) {
                self.host = self.host.max(self.now);
                return Waited::Done;
            }
            if !self.leap(world, patient) {
                return Waited::Blocked;
            }
        }
    }

    /// Begins every step that can begin at this instant, until nothing changes.
    fn start_all(&mut self, world: &mut impl World<Work = W>) {
        let ids: Vec<u64> = self.streams.keys().copied().collect();
        let mut changed = true;
        while changed {
            changed = false;
            for &id in &ids {
                while self.start_one(world, id) {
                    changed = true;
                }
            }
        }
    }

    /// Begins the head of one stream; true if it ended at once.
    fn start_one(&mut self, world: &mut impl World<Work = W>, id: u64) -> bool {
        let now = self.now;
        let Some(stream) = self.streams.get(&id) else { return false };
        if stream.running.is_some() {
            return false;
        }
        let Some((ready, step)) = stream.queue.front() else { return false };
        if *ready > now {
            return false;
        }
        let finished = match step {
            Step::Wait(mark) => self.passed(*mark),
            Step::Record(event) => {
                let mark = Mark { stream: id, step: stream.done + 1 };
                if let Some(state) = self.events.get_mut(event).filter(|state| state.mark == Some(mark)) {
                    state.time = Some(now);
                }
                true
            }
            Step::Gate { .. } => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.gate_since.get_or_insert(now);
                }
                false
            }
            Step::Work(work) => {
                let load = world.begin(work);
                let running = Running { resource: load.resource, left: load.amount, not_before: now + load.floor_ns };
                let ended = (load.resource.is_none() || load.amount <= 0.0) && load.floor_ns <= 0.0;
                if !ended && let Some(stream) = self.streams.get_mut(&id) {
                    stream.running = Some(running);
                }
                ended
            }
        };
        if finished {
            self.finish(id);
        }
        finished
    }

    fn finish(&mut self, id: u64) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.queue.pop_front();
            stream.running = None;
            stream.gate_since = None;
            stream.done += 1;
        }
    }

    /// What the running steps draw on, one entry per step.
    fn running(&self) -> Vec<Resource> {
        let running = self.streams.values().filter_map(|stream| stream.running.as_ref());
        running.filter(|running| running.left > 0.0).filter_map(|running| running.resource).collect()
    }

    /// Goes to the next instant at which anything ends or may begin; false if there is none.
    fn leap(&mut self, world: &mut impl World<Work = W>, patient: bool) -> bool {
        // When each running step has drawn all it needs. Ends are compared by these very numbers and not by what is left, which would
        // never reach zero exactly.
        let all = self.running();
        let drains: HashMap<u64, (f64, f64)> = self
            .streams
            .iter()
            .filter_map(|(&id, stream)| {
                let running = stream.running.as_ref()?;
                let rate = running.resource.map_or(f64::INFINITY, |resource| rate(world, resource, &all));
                Some((id, (if running.left > 0.0 { self.now + running.left / rate } else { self.now }, rate)))
            })
            .collect();
        let mut next = f64::INFINITY;
        let mut gates = Vec::new();
        for (id, stream) in &self.streams {
            if let Some(running) = &stream.running {
                // A drained step still waits for its floor; while bytes are left, only their end changes what others get.
                next = next.min(if running.left > 0.0 { drains[id].0 } else { running.not_before });
            } else if let Some((ready, step)) = stream.queue.front() {
                if *ready > self.now {
                    next = next.min(*ready);
                } else if let (Step::Gate { open, timeout_ns, .. }, Some(since)) = (step, stream.gate_since) {
                    let opens = if world.gate_is_open(*open) { self.host.max(self.now) } else { since + timeout_ns };
                    if opens <= self.host.max(self.now) || patient {
                        next = next.min(opens);
                        gates.push((*id, opens));
                    }
                }
            }
        }
        if next.is_infinite() {
            return false;
        }
        let next = next.max(self.now);
        let passed = next - self.now;
        world.elapse(passed, &all);
        self.now = next;
        let mut ended = Vec::new();
        for (id, stream) in &mut self.streams {
            if let Some(running) = &mut stream.running {
                let (drained, rate) = drains[id];
                running.left = if drained <= next { 0.0 } else { running.left - passed * rate };
                if running.left <= 0.0 && running.not_before <= next {
                    ended.push(*id);
                }
            }
        }
        for (id, opens) in gates {
            if opens <= next {
                if let Some((_, Step::Gate { open, timed_out, .. })) = self.streams.get(&id).and_then(|stream| stream.queue.front())
                    && !world.gate_is_open(*open)
                {
                    world.gate_gave_up(*timed_out);
                }
                ended.push(id);
            }
        }
        for id in ended {
            self.finish(id);
        }
        true
    }
}

/// The rate of one running step beside `all` that run.
fn rate(world: &impl World, resource: Resource, all: &[Resource]) -> f64 {
    let own = |resource: Resource| world.rate(resource, all.iter().any(|other| resource.opposes(*other)));
    let mut rate = own(resource);
    if let Some(upstream) = world.upstream(resource) {
        let mut sharing: Vec<Resource> = Vec::new();
        for other in all.iter().filter(|other| world.upstream(**other).is_some_and(|theirs| theirs.wire == upstream.wire)) {
            if !sharing.contains(other) {
                sharing.push(*other);
            }
        }
        rate = rate.min(fair_share(sharing.into_iter().map(own).collect(), upstream.rate));
    }
    let steps = all.iter().filter(|other| **other == resource).count().max(1);
    #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
    let steps = steps as f64;
    rate / steps
}

/// What a wire of this rate gives each of those who want so much of it: all that they want to those who want little, and the rest in equal
/// parts (max-min fairness). Infinite where there is enough for all.
fn fair_share(mut wants: Vec<f64>, rate: f64) -> f64 {
    wants.sort_by(f64::total_cmp);
    let mut left = rate;
    for (served, want) in wants.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
        let share = left / (wants.len() - served) as f64;
        if *want > share {
            return share;
        }
        left -= want;
    }
    f64::INFINITY
}

#[cfg(test)]
#[path = "timeline_tests.rs"]
mod tests;
