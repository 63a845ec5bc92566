//! The machine behind the driver: does the contents of each piece of work and says how long it truly takes.
//!
//! Contents are real, so that verification is real, but repeated work is done once. A piece of work whose result is a pure function of what
//! it reads, which reads nothing that it writes, and whose blocks nobody has written since it last ran, would produce the bytes that are
//! there already. Device blocks carry write counts that prove this. Host memory can change behind our back whenever the program runs, so for
//! it the proof also needs that the program has not run in between, that is, both repetitions are played within one driver call.
//! Launches that accumulate (atomics) are never skipped, except pure xor accumulators, whose difference is kept and applied again.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;

use half::bf16;

use crate::code::Cu;
use crate::gemm::Product;
use crate::heat::Heat;
use crate::kernels::Launch;
use crate::memory::{Memory, Place};
use crate::nccl::Collective;
use crate::scenario::{Action, Scenario};
use crate::timeline::{Engine, Load, Resource, Upstream, World};

/// What a planned mishap does to the result of one piece of work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Damage {
    /// One bit in the middle is flipped.
    Bit,
    /// The BF16 element in the middle becomes this number.
    Element(f32),
    /// The last word written becomes 1: the note of a kernel that gave up.
    Note,
}

impl Damage {
    /// The damage that an action does, if it does any.
    pub(crate) fn of(action: Action) -> Option<Self> {
        match action {
            Action::Corrupt => Some(Self::Bit),
            Action::Wrong(number) => Some(Self::Element(number)),
            Action::Unfinished => Some(Self::Note),
            Action::Error(_) | Action::Hang(_) | Action::Gone => None,
        }
    }

    /// Damages what has just been written.
    pub(crate) fn befall(self, writes: &[Span]) {
        let Some(span) = writes.iter().find(|span| span.bytes > 0) else { return };
        let middle = span.at + span.bytes / 2;
        let note = writes.last().filter(|last| last.bytes == 4).map(|last| last.at);
        // SAFETY: the span has just been written by the work that is being damaged. A span of one byte has no room for an element.
        unsafe {
            match self {
                Self::Bit => (middle as *mut u8).write((middle as *mut u8).read() ^ 1),
                Self::Element(number) if span.bytes >= 2 => {
                    let element = span.at + span.bytes / 4 * 2;
                    (element.min(span.at + span.bytes - 2) as *mut bf16).write_unaligned(bf16::from_f32(number));
                }
                Self::Note => {
                    if let Some(at) = note {
                        (at as *mut u32).write_unaligned(1);
                    }
                }
                Self::Element(_) => {}
            }
        }
    }
}

/// A piece of work on one device.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) device: usize,
    pub(crate) in_graph: bool,
    pub(crate) damage: Option<Damage>,
    pub(crate) what: What,
}

/// What the work is.
#[derive(Debug, Clone)]
pub(crate) enum What {
    Copy { to: usize, from: usize, bytes: usize },
    Set { to: usize, bytes: usize, pattern: [u8; 4] },
    Call { function: extern "C" fn(*mut c_void), data: usize },
    Launch(Arc<Launch>),
    Library(Arc<LibraryProduct>),
    Collective(Arc<Collective>),
}

/// A multiplication by cublasLt: the product, and where its further factors lie on the device.
#[derive(Debug)]
pub(crate) struct LibraryProduct {
    pub(crate) product: Product,
    pub(crate) scales: Vec<usize>,
    /// Arrays of scales of blocks, one byte each.
    pub(crate) blocks: Vec<Span>,
    /// How much longer than the best algorithm the chosen one takes.
    pub(crate) slowness: f64,
}

/// Bytes that a piece of work touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    pub(crate) at: usize,
    pub(crate) bytes: usize,
}

impl Span {
    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.at < other.at + other.bytes && other.at < self.at + self.bytes
    }
}

/// What identifies a repeatable piece of work.
pub(crate) type Key = (&'static str, Vec<u64>);

/// Equal stamps of a place mean equal contents.
pub(crate) type Stamp = (u64, u64);

/// The machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) scenario: Scenario,
    pub(crate) memory: Memory,
    /// `peers[a]` holds `b` when kernels on `a` may reach memory of `b`.
    pub(crate) peers: Vec<Vec<usize>>,
    /// An error that poisons the device's context.
    pub(crate) sticky: Vec<Option<Cu>>,
    /// Devices that fell off the bus.
    pub(crate) gone: Vec<bool>,
    /// Raised by every driver call.
    pub(crate) epoch: u64,
    /// Times the contents of work were really done, for tests.
    pub(crate) executed: u64,
    /// Differences of accumulating launches, while their inputs are unchanged.
    pub(crate) differences: HashMap<Key, (Vec<Stamp>, [u64; 4])>,
    /// Bytes of the rings that chases follow, while unchanged.
    pub(crate) rings: HashMap<(usize, u32), (Stamp, usize)>,
    /// Traffic of each device when a span was last touched, and in all: tells what the second-level cache still holds.
    pub(crate) touched: HashMap<(usize, Span), u64>,
    pub(crate) traffic: Vec<u64>,
    /// Results of products that nobody computes which a mishap spoiled, until they are written again.
    pub(crate) spoiled: Vec<Span>,
    /// Clocks, temperatures and draws.
    pub(crate) heat: Heat,
    host_writes: u64,
    draws: u64,
    done: HashMap<Key, Vec<Stamp>>,
}

impl Machine {
    pub(crate) fn new(scenario: Scenario) -> Self {
        let count = scenario.gpus.len();
        let real = scenario.gpus.iter().enumerate().filter_map(|(device, gpu)| Some((device, gpu.real_memory_bytes()?))).collect();
        Self {
            heat: Heat::new(&scenario),
            scenario,
            memory: Memory::with_fakes(real),
            peers: vec![Vec::new(); count],
            sticky: vec![None; count],
            gone: vec![false; count],
            epoch: 0,
            executed: 0,
            differences: HashMap::new(),
            rings: HashMap::new(),
            touched: HashMap::new(),
            traffic: vec![0; count],
            spoiled: Vec::new(),
            host_writes: 0,
            draws: 0,
            done: HashMap::new(),
        }
    }

    /// The device an address belongs to; `None` for host memory.
    pub(crate) fn device_of(&self, at: usize) -> Option<usize> {
        match self.memory.place(at, 1) {
            Some(Place::Device(device)) => Some(device),
            _ => None,
        }
    }

    /// The stamp of a place.
    pub(crate) fn stamp(&self, span: Span) -> Stamp {
        match self.memory.generation(span.at, span.bytes) {
            Some((generation, true)) => (generation, 0),
            Some((generation, false)) => (generation, self.epoch),
            None => (self.host_writes, self.epoch),
        }
    }

    /// Does the contents unless they are provably there already; see the module's text.
    pub(crate) fn once(&mut self, key: Key, reads: &[Span], writes: &[Span], damage: Option<Damage>, run: impl FnOnce()) {
        let pure = !reads.iter().any(|read| writes.iter().any(|write| read.overlaps(*write)));
        let stamps = |machine: &Self| reads.iter().chain(writes).map(|span| machine.stamp(*span)).collect::<Vec<_>>();
        if pure && damage.is_none() && self.done.get(&key).is_some_and(|known| *known == stamps(self)) {
            return;
        }
        run();
        self.executed += 1;
        self.wrote(writes);
        if let Some(damage) = damage {
            damage.befall(writes);
            self.done.remove(&key);
        } else if pure {
            // Old entries can only match if nothing was written since, so the table may be emptied at any time.
            if self.done.len() > 4096 {
                self.done.clear();
            }
            let stamps = stamps(self);
            self.done.insert(key, stamps);
        }
    }

    /// Notes writes that are not repeatable.
    pub(crate) fn wrote(&mut self, writes: &[Span]) {
        self.spoiled.retain(|spoiled| !writes.iter().any(|write| write.overlaps(*spoiled)));
        for span in writes {
            if self.memory.generation(span.at, span.bytes).is_some() {
                self.memory.written(span.at, span.bytes);
            } else {
                self.host_writes += 1;
            }
        }
    }

    /// How bytes travel from one place to another, or an error if an address is not where the driver may copy.
    fn route(&self, device: usize, to: usize, from: usize, bytes: usize) -> Result<(Option<Resource>, f64), Cu> {
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let amount = bytes as f64;
        let place = |at: usize| match self.memory.place(at, bytes) {
            None if self.memory.place(at, 1).is_some() => Err(Cu::INVALID_VALUE),
            place => Ok(place),
        };
        Ok(match (place(to)?, place(from)?) {
            (Some(Place::Device(to)), Some(Place::Device(from))) if to == from => {
                let ns = 2.0 * amount / self.scenario.gpus[to].dram.ce_copy_gbs;
                (Some(Resource::Device(to)), ns)
            }
            (Some(Place::Device(to)), Some(Place::Device(from))) => {
                let direct = self.peers[device].contains(&if device == to { from } else { to });
                let engine = if direct { Engine::Copy } else { Engine::Staged };
                (Some(Resource::Peer { from, to, engine }), amount)
            }
            (Some(Place::Device(device)), other) => {
                let resource = Resource::Host { device, up: true, pageable: other.is_none() };
                (Some(resource), amount / self.share_of_link(device, from))
            }
            (other, Some(Place::Device(device))) => {
                let resource = Resource::Host { device, up: false, pageable: other.is_none() };
                (Some(resource), amount / self.share_of_link(device, to))
            }
            _ => return Err(Cu::INVALID_VALUE),
        })
    }

    /// What a device reaches of its link's rates with host memory at `at`: less where it lies on another node.
    pub(crate) fn share_of_link(&self, device: usize, at: usize) -> f64 {
        let gpu = &self.scenario.gpus[device];
        match (self.memory.node(at), u32::try_from(gpu.numa_node)) {
            (Some(node), Ok(own)) if node != own => gpu.host_link.remote_share,
            _ => 1.0,
        }
    }

    /// Checks a copy before it is enqueued.
    pub(crate) fn check_copy(&self, device: usize, to: usize, from: usize, bytes: usize) -> Result<(), Cu> {
        self.route(device, to, from, bytes).map(drop)
    }

    fn copy(&mut self, task: &Task, to: usize, from: usize, bytes: usize) -> Result<Load, Cu> {
        let (resource, amount) = self.route(task.device, to, from, bytes)?;
        let floor_us = match resource {
            Some(Resource::Host { device, .. }) => self.scenario.gpus[device].host_link.latency_us,
            Some(Resource::Peer { from, to, .. }) => self.scenario.link(from, to).map_or(0.0, |link| link.latency_us),
            _ => self.scenario.gpus[task.device].launch.kernel_us,
        };
        let key = ("copy", vec![to as u64, from as u64, bytes as u64]);
        self.once(key, &[Span { at: from, bytes }], &[Span { at: to, bytes }], task.damage, || {
            // SAFETY: device and pinned ranges were checked to lie in live mappings; pageable ranges are vouched for by the program.
            unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) }
        });
        Ok(Load { resource, amount, floor_ns: floor_us * 1e3 })
    }

    fn set(&mut self, task: &Task, to: usize, bytes: usize, pattern: [u8; 4]) -> Result<Load, Cu> {
        if self.memory.place(to, bytes).is_none() {
            return Err(Cu::ILLEGAL_ADDRESS);
        }
        let key = ("set", vec![to as u64, bytes as u64, u64::from(u32::from_ne_bytes(pattern))]);
        self.once(key, &[], &[Span { at: to, bytes }], task.damage, || {
            // SAFETY: the range was checked to lie in one live mapping, and this driver's mutex keeps others out.
            let target = unsafe { std::slice::from_raw_parts_mut(to as *mut u8, bytes) };
            if pattern.iter().all(|byte| *byte == pattern[0]) {
                target.fill(pattern[0]);
            } else {
                for word in target.chunks_exact_mut(4) {
                    word.copy_from_slice(&pattern);
                }
            }
        });
        let gpu = &self.scenario.gpus[task.device];
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let amount = bytes as f64 / gpu.dram.write_gbs;
        Ok(Load { resource: Some(Resource::Device(task.device)), amount, floor_ns: gpu.launch.kernel_us * 1e3 })
    }

    /// A device's clock as a multiple of the scenario's.
    pub(crate) fn clock(&self, device: usize) -> f64 {
        self.heat.clock(&self.scenario, device)
    }

    /// One draw of the scenario's noise: a factor near one that depends on the seed and on how many draws there were before.
    pub(crate) fn noise(&mut self) -> f64 {
        self.draws += 1;
        let noise = self.scenario.noise;
        if noise.sigma <= 0.0 {
            return 1.0;
        }
        let uniform = |salt: u64| {
            let bits = mix(noise.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ mix(self.draws.wrapping_mul(2).wrapping_add(salt)));
            #[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
            let unit = (bits >> 11) as f64 / (1u64 << 53) as f64;
            unit.max(f64::MIN_POSITIVE)
        };
        let normal = (-2.0 * uniform(0).ln()).sqrt() * (std::f64::consts::TAU * uniform(1)).cos();
        1.0 + noise.sigma * normal.clamp(-4.0, 4.0)
    }
}

impl World for Machine {
    type Work = Task;

    fn begin(&mut self, task: &Task) -> Load {
        if self.sticky[task.device].is_some() || self.gone[task.device] {
            return Load::NOTHING;
        }
        let factor = self.noise();
        let load = match &task.what {
            What::Copy { to, from, bytes } => self.copy(task, *to, *from, *bytes),
            What::Set { to, bytes, pattern } => self.set(task, *to, *bytes, *pattern),
            What::Call { function, data } => {
                function(*data as *mut c_void);
                Ok(Load::NOTHING)
            }
            What::Launch(launch) => self.launch(task, launch, factor),
            What::Library(product) => self.library_product(task, product),
            What::Collective(collective) => self.collective(task, collective),
        };
        match load {
            Ok(load) => Load { amount: load.amount * factor, floor_ns: load.floor_ns * factor, ..load },
            Err(code) => {
                self.sticky[task.device] = Some(code);
                Load::NOTHING
            }
        }
    }

    fn rate(&self, resource: Resource, opposed: bool) -> f64 {
        match resource {
            Resource::Device(_) => 1.0,
            Resource::Host { device, up, pageable } => {
                let link = &self.scenario.gpus[device].host_link;
                match (up, pageable, opposed) {
                    (true, true, _) => link.pageable_h2d_gbs,
                    (false, true, _) => link.pageable_d2h_gbs,
                    (true, false, false) => link.h2d_gbs,
                    (false, false, false) => link.d2h_gbs,
                    (true, false, true) => link.h2d_both_gbs,
                    (false, false, true) => link.d2h_both_gbs,
                }
            }
            Resource::Peer { from, to, engine } => self.scenario.link(from, to).map_or(1.0, |link| match (engine, opposed) {
                (Engine::Copy, false) => link.ce_gbs,
                (Engine::Copy, true) => link.ce_both_gbs,
                (Engine::Kernel, false) => link.sm_gbs,
                (Engine::Kernel, true) => link.sm_both_gbs,
                (Engine::Staged, false) => link.staged_gbs,
                (Engine::Staged, true) => link.staged_both_gbs,
            }),
        }
    }

    fn upstream(&self, resource: Resource) -> Option<Upstream> {
        let switches = &self.scenario.host_switches;
        if let Resource::Peer { from, to, .. } = resource {
            let shared = &self.scenario.peer_switches;
            let wire = shared.iter().position(|switch| switch.gpus.contains(&from) && switch.gpus.contains(&to))?;
            return Some(Upstream { wire: (switches.len() + wire, true), rate: shared[wire].gbs });
        }
        let Resource::Host { device, up, .. } = resource else { return None };
        let wire = switches.iter().position(|switch| switch.gpus.contains(&device))?;
        Some(Upstream { wire: (wire, up), rate: if up { switches[wire].h2d_gbs } else { switches[wire].d2h_gbs } })
    }

    fn elapse(&mut self, ns: f64, busy: &[Resource]) {
        let device = |resource: &Resource| match resource {
            Resource::Device(device) => Some(*device),
            _ => None,
        };
        let busy: Vec<usize> = busy.iter().filter_map(device).collect();
        self.heat.elapse(&self.scenario, ns * 1e-9, &busy);
    }

    fn gate_is_open(&self, flag: usize) -> bool {
        // SAFETY: the launch checked that the flag lies in a live mapping; the host may write it at any time, hence volatile.
        unsafe { (flag as *const u32).read_volatile() != 0 }
    }

    fn gate_gave_up(&mut self, flag: usize) {
        self.wrote(&[Span { at: flag, bytes: 4 }]);
        // SAFETY: the launch checked that the flag lies in a live mapping.
        unsafe { (flag as *mut u32).write_volatile(1) }
    }
}

/// The finaliser of splitmix64.
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
