//! The exported functions of NCCL: communicators within one process, groups, and operations with real contents on virtual time.
//!
//! Calls are noted until the outermost group ends; then the calls of all ranks of a clique are matched, in their order, into operations. Each
//! begins when every rank's stream has come that far, and ends on all of them together, after
//!
//! ```text
//! kernel + hops × latency + sent / (share × rate)
//! ```
//!
//! where `sent` are the bytes that a rank sends by the ring algorithm (nccl-tests' bus factor times the message), `hops` the steps of that
//! ring, `rate` and `latency` those of the worst link among the ranks under traffic both ways, by kernels where there is direct access and
//! through the host elsewhere, and `share` the scenario's `nccl_share`. Ranks whose calls do not match would hang; they are refused.

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_char;
use std::sync::Arc;

use crate::code::{Cu, Nc};
use crate::driver::{Driver, put};
use crate::machine::{Machine, Span, Task, What};
use crate::memory::Place;
use crate::timeline::{Load, Mark, Step};

/// `ncclSum`.
const SUM: i32 = 0;

/// Everything that exists of the library.
#[derive(Debug, Default)]
pub(crate) struct Communicators {
    /// By handle: clique and rank.
    ranks: HashMap<usize, (usize, usize)>,
    /// By number: devices, rank by rank.
    cliques: HashMap<usize, Vec<usize>>,
    depth: u32,
    noted: Vec<Call>,
    /// What keeps the operations of a stuck library from ending: a flag that aborting sets, and one that nobody reads.
    stuck: Option<&'static mut [u32; 2]>,
}

impl Communicators {
    /// Communicators that a device pays memory for.
    pub(crate) fn on(&self, device: usize) -> usize {
        self.ranks.values().filter(|(clique, rank)| self.cliques[clique][*rank] == device).count()
    }

    pub(crate) fn alive(&self) -> usize {
        self.ranks.len()
    }
}

/// One rank's call, noted until its group ends.
#[derive(Debug, Clone, Copy)]
struct Call {
    communicator: usize,
    stream: u64,
    what: Noted,
}

#[derive(Debug, Clone, Copy)]
enum Noted {
    Ring { ring: Ring, kind: Kind, send: usize, receive: usize, count: usize },
    Send { at: usize, bytes: usize, peer: usize },
    Receive { at: usize, bytes: usize, peer: usize },
}

/// An operation that all ranks take part in alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Ring {
    AllReduce,
    AllGather,
    ReduceScatter,
    Broadcast(usize),
}

/// The element types that can be added up here, and the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Float,
    Other(usize),
}

impl Kind {
    fn of(raw: i32) -> Result<Self, Nc> {
        Ok(match raw {
            0 | 1 => Self::Other(1),
            6 | 9 => Self::Other(2),
            2 | 3 => Self::Other(4),
            7 => Self::Float,
            4 | 5 | 8 => Self::Other(8),
            _ => return Err(Nc::INVALID_ARGUMENT),
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::Float => 4,
            Self::Other(bytes) => bytes,
        }
    }
}

/// An operation of a clique, complete.
#[derive(Debug)]
pub(crate) struct Collective {
    ring: Option<(Ring, Kind)>,
    /// Rank by rank: its device, what it gives and where its result goes. Empty where bytes go from rank to rank.
    ranks: Vec<(usize, Span, Span)>,
    /// From where to where bytes go, with their devices.
    moves: Vec<(usize, Span, usize, Span)>,
    ns: f64,
}

macro_rules! nccl {
    ($name:ident |$driver:ident| ($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        #[unsafe(no_mangle)]
        #[allow(unused_variables, reason = "not every function needs the state or all its arguments")]
        extern "C" fn $name($($argument: $type),*) -> i32 {
            $crate::driver::enter(stringify!($name), |$driver| -> Result<(), Nc> { $body })
        }
    };
}

nccl!(ncclGetVersion |d| (version: *mut i32) {
    put(version, d.machine.scenario.driver.nccl.unwrap_or(0))
});

#[unsafe(no_mangle)]
extern "C" fn ncclGetErrorString(status: i32) -> *const c_char {
    let text = match status {
        0 => c"no error",
        1 => c"unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
        2 => c"unhandled system error (run with NCCL_DEBUG=INFO for details)",
        3 => c"internal error - please report this issue to the NCCL developers",
        4 => c"invalid argument (run with NCCL_DEBUG=WARN for details)",
        5 => c"invalid usage (run with NCCL_DEBUG=WARN for details)",
        6 => c"remote process exited or there was a network error",
        _ => c"unknown result code",
    };
    text.as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn ncclGetLastError(_communicator: usize) -> *const c_char {
    c"".as_ptr()
}

nccl!(ncclCommInitAll |d| (communicators: *mut usize, count: i32, list: *const i32) {
    let count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(Nc::INVALID_ARGUMENT)?;
    let mut devices = Vec::new();
    for index in 0..count {
        // SAFETY: the C interface obliges the caller to pass a list of `count` numbers, or none for the first devices.
        let ordinal = if list.is_null() { i32::try_from(index).unwrap_or(-1) } else { unsafe { list.add(index).read() } };
        let device = d.device(ordinal).map_err(|_| Nc::INVALID_ARGUMENT)?;
        d.healthy(device).map_err(|_| Nc::CUDA)?;
        if devices.contains(&device) {
            return Err(Nc::INVALID_USAGE);
        }
        if d.memory_info(device).0 < d.gpu(device).cost.nccl_mib << 20 {
            return Err(Nc::CUDA);
        }
        devices.push(device);
    }
    if communicators.is_null() {
        return Err(Nc::INVALID_ARGUMENT);
    }
    let clique = d.number();
    d.communicators.cliques.insert(clique, devices);
    for rank in 0..count {
        let handle = d.number();
        // SAFETY: not null, and the C interface obliges the caller to pass room for `count` handles.
        put(unsafe { communicators.add(rank) }, handle)?;
        d.communicators.ranks.insert(handle, (clique, rank));
    }
    Ok(())
});

nccl!(ncclCommDestroy |d| (communicator: usize) {
    d.communicators.ranks.remove(&communicator).map(drop).ok_or(Nc::INVALID_ARGUMENT)
});

nccl!(ncclCommAbort |d| (communicator: usize) {
    if let Some(flags) = &mut d.communicators.stuck {
        flags[0] = 1;
    }
    // A group that failed is over.
    (d.communicators.depth, d.communicators.noted) = (0, Vec::new());
    d.communicators.ranks.remove(&communicator).map(drop).ok_or(Nc::INVALID_ARGUMENT)
});

nccl!(ncclCommGetAsyncError |d| (communicator: usize, status: *mut i32) {
    let (clique, rank) = *d.communicators.ranks.get(&communicator).ok_or(Nc::INVALID_ARGUMENT)?;
    let device = d.communicators.cliques[&clique][rank];
    put(status, if d.healthy(device).is_ok() { 0 } else { Nc::CUDA.0 })
});

nccl!(ncclGroupStart |d| () {
    d.communicators.depth += 1;
    Ok(())
});

nccl!(ncclGroupEnd |d| () {
    d.communicators.depth = d.communicators.depth.checked_sub(1).ok_or(Nc::INVALID_USAGE)?;
    if d.communicators.depth == 0 { d.end_group() } else { Ok(()) }
});

nccl!(ncclAllReduce |d| (send: usize, receive: usize, count: usize, kind: i32, operation: i32, communicator: usize, stream: u64) {
    d.ring(Ring::AllReduce, (send, receive, count), kind, operation, communicator, stream)
});

nccl!(ncclReduceScatter |d| (send: usize, receive: usize, count: usize, kind: i32, operation: i32, communicator: usize, stream: u64) {
    d.ring(Ring::ReduceScatter, (send, receive, count), kind, operation, communicator, stream)
});

nccl!(ncclAllGather |d| (send: usize, receive: usize, count: usize, kind: i32, communicator: usize, stream: u64) {
    d.ring(Ring::AllGather, (send, receive, count), kind, SUM, communicator, stream)
});

nccl!(ncclBroadcast |d| (send: usize, receive: usize, count: usize, kind: i32, root: i32, communicator: usize, stream: u64) {
    let root = usize::try_from(root).map_err(|_| Nc::INVALID_ARGUMENT)?;
    d.ring(Ring::Broadcast(root), (send, receive, count), kind, SUM, communicator, stream)
});

nccl!(ncclSend |d| (send: usize, count: usize, kind: i32, peer: i32, communicator: usize, stream: u64) {
    let (bytes, peer) = sized(count, kind, peer)?;
    d.note(Call { communicator, stream, what: Noted::Send { at: send, bytes, peer } })
});

nccl!(ncclRecv |d| (receive: usize, count: usize, kind: i32, peer: i32, communicator: usize, stream: u64) {
    let (bytes, peer) = sized(count, kind, peer)?;
    d.note(Call { communicator, stream, what: Noted::Receive { at: receive, bytes, peer } })
});

/// Bytes and number of a peer.
fn sized(count: usize, kind: i32, peer: i32) -> Result<(usize, usize), Nc> {
    let bytes = count.checked_mul(Kind::of(kind)?.bytes()).ok_or(Nc::INVALID_ARGUMENT)?;
    Ok((bytes, usize::try_from(peer).map_err(|_| Nc::INVALID_ARGUMENT)?))
}

impl Driver {
    fn number(&mut self) -> usize {
        usize::try_from(self.fresh()).unwrap_or(usize::MAX)
    }

    fn ring(
        &mut self,
        ring: Ring,
        (send, receive, count): (usize, usize, usize),
        kind: i32,
        operation: i32,
        communicator: usize,
        stream: u64,
    ) -> Result<(), Nc> {
        let kind = Kind::of(kind)?;
        let adds = matches!(ring, Ring::AllReduce | Ring::ReduceScatter);
        // What the program does not add up is not added up here either.
        if adds && (operation != SUM || kind != Kind::Float) || count.checked_mul(kind.bytes() * 64).is_none() {
            return Err(Nc::INVALID_ARGUMENT);
        }
        self.note(Call { communicator, stream, what: Noted::Ring { ring, kind, send, receive, count } })
    }

    fn note(&mut self, call: Call) -> Result<(), Nc> {
        let (clique, rank) = *self.communicators.ranks.get(&call.communicator).ok_or(Nc::INVALID_ARGUMENT)?;
        let device = self.communicators.cliques[&clique][rank];
        self.healthy(device).map_err(|_| Nc::CUDA)?;
        let stream = self.stream(call.stream).map_err(|_| Nc::CUDA)?;
        if self.stream_device(stream) != device || self.streams.get(&stream).is_some_and(|stream| stream.capture.is_some()) {
            return Err(Nc::INVALID_ARGUMENT);
        }
        self.communicators.noted.push(Call { stream, ..call });
        if self.communicators.depth == 0 { self.end_group() } else { Ok(()) }
    }

    /// Matches the calls of a group and enqueues what they make.
    fn end_group(&mut self) -> Result<(), Nc> {
        let calls = std::mem::take(&mut self.communicators.noted);
        let mut cliques: BTreeMap<usize, Vec<(usize, Call)>> = BTreeMap::new();
        for call in calls {
            let (clique, rank) = *self.communicators.ranks.get(&call.communicator).ok_or(Nc::INVALID_ARGUMENT)?;
            cliques.entry(clique).or_default().push((rank, call));
        }
        for (clique, calls) in cliques {
            let devices = self.communicators.cliques[&clique].clone();
            let mut left: Vec<Vec<Call>> = vec![Vec::new(); devices.len()];
            calls.into_iter().for_each(|(rank, call)| left[rank].push(call));
            let streams: Vec<u64> =
                left.iter().map(|calls| calls.first().map(|call| call.stream)).collect::<Option<_>>().ok_or(Nc::INVALID_USAGE)?;
            let rings =
                |calls: &Vec<Call>| calls.iter().filter(|call| matches!(call.what, Noted::Ring { .. })).copied().collect::<Vec<_>>();
            let all: Vec<Vec<Call>> = left.iter().map(rings).collect();
            for step in 0..all[0].len() {
                let calls = all.iter().map(|calls| calls.get(step)).collect::<Option<Vec<_>>>().ok_or(Nc::INVALID_USAGE)?;
                let collective = self.machine.ring_of(&devices, &calls)?;
                self.play(&devices, &streams, collective)?;
            }
            if left.iter().flatten().any(|call| !matches!(call.what, Noted::Ring { .. })) {
                let collective = self.machine.exchange_of(&devices, &left)?;
                self.play(&devices, &streams, collective)?;
            }
        }
        Ok(())
    }

    /// Enqueues an operation: it begins when the streams of all ranks have come that far, and they go on when it is done.
    fn play(&mut self, devices: &[usize], streams: &[u64], collective: Collective) -> Result<(), Nc> {
        let cuda = |_: Cu| Nc::CUDA;
        let lead = streams[0];
        let arrived: Vec<Mark> = streams[1..].iter().filter_map(|stream| self.timeline.tail(*stream)).collect();
        for mark in arrived {
            self.enqueue(lead, Step::Wait(mark)).map_err(cuda)?;
        }
        if self.machine.scenario.driver.nccl_stuck {
            let flags = self.communicators.stuck.get_or_insert_with(|| Box::leak(Box::new([0, 0])));
            let (open, timed_out) = (&raw const flags[0] as usize, &raw const flags[1] as usize);
            self.enqueue(lead, Step::Gate { open, timeout_ns: f64::INFINITY, timed_out }).map_err(cuda)?;
        }
        let host_us = self.gpu(devices[0]).launch.host_us;
        #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
        self.spend_us(host_us * devices.len() as f64);
        self.submit(lead, What::Collective(Arc::new(collective))).map_err(cuda)?;
        if let Some(done) = self.timeline.tail(lead) {
            for stream in &streams[1..] {
                self.enqueue(*stream, Step::Wait(done)).map_err(cuda)?;
            }
        }
        if self.machine.scenario.driver.nccl_waits {
            self.wait_stream(lead, true).map_err(cuda)?;
        }
        Ok(())
    }
}

impl Machine {
    /// The operation that the same call of every rank makes.
    fn ring_of(&self, devices: &[usize], calls: &[&Call]) -> Result<Collective, Nc> {
        let ranks = devices.len();
        let mut first = None;
        let mut parts = Vec::new();
        for (device, call) in devices.iter().zip(calls) {
            let Noted::Ring { ring, kind, send, receive, count } = call.what else { return Err(Nc::INVALID_USAGE) };
            if *first.get_or_insert((ring, kind, count)) != (ring, kind, count) {
                return Err(Nc::INVALID_USAGE);
            }
            let bytes = count * kind.bytes();
            let (given, received) = match ring {
                Ring::AllReduce | Ring::Broadcast(_) => (bytes, bytes),
                Ring::AllGather => (bytes, bytes * ranks),
                Ring::ReduceScatter => (bytes * ranks, bytes),
            };
            parts.push((*device, Span { at: send, bytes: given }, Span { at: receive, bytes: received }));
        }
        let (ring, kind, _) = first.ok_or(Nc::INVALID_USAGE)?;
        if matches!(ring, Ring::Broadcast(root) if root >= ranks) {
            return Err(Nc::INVALID_ARGUMENT);
        }
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let (n, message) = (ranks as f64, parts[0].1.bytes.max(parts[0].2.bytes) as f64);
        let (hops, factor) = match ring {
            Ring::AllReduce => (2.0 * (n - 1.0), 2.0 * (n - 1.0) / n),
            Ring::AllGather | Ring::ReduceScatter => (n - 1.0, (n - 1.0) / n),
            Ring::Broadcast(_) => (n - 1.0, 1.0),
        };
        let ns = self.collective_ns(devices, hops, factor * message);
        Ok(Collective { ring: Some((ring, kind)), ranks: parts, moves: Vec::new(), ns })
    }

    /// The operation that sends and receives make.
    fn exchange_of(&self, devices: &[usize], calls: &[Vec<Call>]) -> Result<Collective, Nc> {
        let mut receives: Vec<Vec<(usize, usize, usize)>> = calls
            .iter()
            .map(|calls| {
                let receives = calls.iter().filter_map(|call| match call.what {
                    Noted::Receive { at, bytes, peer } => Some((peer, at, bytes)),
                    _ => None,
                });
                receives.collect()
            })
            .collect();
        let (mut moves, mut sent, mut peers) = (Vec::new(), vec![0usize; devices.len()], vec![0usize; devices.len()]);
        for (rank, calls) in calls.iter().enumerate() {
            for call in calls {
                let Noted::Send { at, bytes, peer } = call.what else { continue };
                let waiting = receives.get_mut(peer).ok_or(Nc::INVALID_ARGUMENT)?;
                let place = waiting.iter().position(|(from, _, room)| *from == rank && *room == bytes).ok_or(Nc::INVALID_USAGE)?;
                let (_, target, _) = waiting.remove(place);
                moves.push((devices[rank], Span { at, bytes }, devices[peer], Span { at: target, bytes }));
                if peer != rank {
                    sent[rank] += bytes;
                    peers[rank] += 1;
                }
            }
        }
        if receives.iter().any(|left| !left.is_empty()) {
            return Err(Nc::INVALID_USAGE);
        }
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let (most, peers) = (sent.into_iter().max().unwrap_or(0) as f64, peers.into_iter().max().unwrap_or(0) as f64);
        let ns = self.collective_ns(devices, (peers + 1.0).log2().max(1.0), most);
        Ok(Collective { ring: None, ranks: Vec::new(), moves, ns })
    }

    /// The law of the module's text.
    fn collective_ns(&self, devices: &[usize], hops: f64, sent: f64) -> f64 {
        let (mut rate, mut latency_us) = (f64::INFINITY, 0.0f64);
        for from in devices {
            for to in devices {
                if let Some(link) = self.scenario.link(*from, *to) {
                    rate = rate.min(if link.p2p { link.sm_both_gbs } else { link.staged_both_gbs });
                    latency_us = latency_us.max(link.latency_us);
                }
            }
        }
        let kernel_us = devices.iter().map(|device| self.scenario.gpus[*device].launch.kernel_us).fold(0.0, f64::max);
        1e3 * (kernel_us + hops * latency_us) + sent / (rate * self.scenario.driver.nccl_share)
    }

    /// Does an operation's contents, unless they are there already, and says how long it takes.
    pub(crate) fn collective(&mut self, task: &Task, collective: &Collective) -> Result<Load, Cu> {
        let home = |machine: &Self, device: usize, span: Span| {
            let there = span.bytes == 0 || machine.memory.place(span.at, span.bytes) == Some(Place::Device(device));
            if there { Ok(()) } else { Err(Cu::ILLEGAL_ADDRESS) }
        };
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        for (device, send, receive) in &collective.ranks {
            home(self, *device, *send)?;
            home(self, *device, *receive)?;
            reads.push(*send);
            writes.push(*receive);
        }
        for (from, source, to, target) in &collective.moves {
            home(self, *from, *source)?;
            home(self, *to, *target)?;
            reads.push(*source);
            writes.push(*target);
        }
        if self.scenario.driver.patterns || task.damage.is_some() {
            let name = match &collective.ring {
                Some((Ring::AllReduce, _)) => "ncclAllReduce",
                Some((Ring::AllGather, _)) => "ncclAllGather",
                Some((Ring::ReduceScatter, _)) => "ncclReduceScatter",
                Some((Ring::Broadcast(_), _)) => "ncclBroadcast",
                None => "ncclSend",
            };
            let key = reads.iter().chain(&writes).flat_map(|span| [span.at as u64, span.bytes as u64]).collect();
            self.once((name, key), &reads, &writes, task.damage, || {
                // SAFETY: all spans were checked to lie in live mappings, and the driver's mutex keeps others out.
                unsafe { collective.run() }
            });
        }
        Ok(Load { resource: None, amount: 0.0, floor_ns: collective.ns })
    }
}

impl Collective {
    /// Does the contents.
    ///
    /// # Safety
    /// All spans must lie in live mappings that nobody else touches meanwhile.
    unsafe fn run(&self) {
        // SAFETY: by the caller's promise; `copy` allows that source and target overlap.
        let copy = |from: usize, to: usize, bytes: usize| unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) };
        for (_, source, _, target) in &self.moves {
            copy(source.at, target.at, source.bytes);
        }
        match self.ring {
            None => {}
            Some((Ring::Broadcast(root), _)) => {
                let source = self.ranks[root].1;
                self.ranks.iter().for_each(|(_, _, target)| copy(source.at, target.at, source.bytes));
            }
            Some((Ring::AllGather, _)) => {
                for (_, _, target) in &self.ranks {
                    for (rank, (_, source, _)) in self.ranks.iter().enumerate() {
                        copy(source.at, target.at + rank * source.bytes, source.bytes);
                    }
                }
            }
            Some((Ring::AllReduce, _)) => {
                let (_, _, first) = self.ranks[0];
                // SAFETY: by the caller's promise.
                unsafe { self.add(first.at, 0, first.bytes) };
                self.ranks[1..].iter().for_each(|(_, _, target)| copy(first.at, target.at, first.bytes));
            }
            Some((Ring::ReduceScatter, _)) => {
                for (rank, (_, _, target)) in self.ranks.iter().enumerate() {
                    // SAFETY: by the caller's promise.
                    unsafe { self.add(target.at, rank * target.bytes, target.bytes) };
                }
            }
        }
    }

    /// The sums of all ranks' floats from byte `offset` on.
    ///
    /// # Safety
    /// As [`Self::run`].
    unsafe fn add(&self, to: usize, offset: usize, bytes: usize) {
        let count = bytes / 4;
        // SAFETY: by the caller's promise; the program's operations are out of place, so target and sources are different memory.
        let target = unsafe { std::slice::from_raw_parts_mut(to as *mut f32, count) };
        for (rank, (_, source, _)) in self.ranks.iter().enumerate() {
            // SAFETY: as above.
            let source = unsafe { std::slice::from_raw_parts((source.at + offset) as *const f32, count) };
            if rank == 0 {
                target.copy_from_slice(source);
            } else {
                target.iter_mut().zip(source).for_each(|(sum, more)| *sum += more);
            }
        }
    }
}
