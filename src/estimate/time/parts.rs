//! A time taken apart.

use std::fmt;

use crate::calibrate::Prediction;
use crate::figure::{Basis, Figure};
use crate::lang::Text;
use crate::units::Seconds;

/// When in a step, or in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Forward pass.
    Forward,
    /// Layers run again for their backward pass.
    Recompute,
    /// Backward pass.
    Backward,
    /// The optimizer's update, and what happens once per step.
    Update,
    /// Reading a prompt.
    Prefill,
    /// Writing an answer.
    Decode,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [Self::Forward, Self::Recompute, Self::Backward, Self::Update, Self::Prefill, Self::Decode];
}

/// What a time is spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Matrix products that compute longer than they read.
    Products,
    /// Matrix products that read their weights longer than they compute.
    Weights,
    /// Attention.
    Attention,
    /// Attention that reads its cache longer than it computes.
    Cache,
    /// Norms, rotations, activations, sums, casts, the loss.
    Elementwise,
    /// Quantised weights unpacked.
    Unpacking,
    /// The optimizer's update.
    Optimizer,
    /// Messages between GPUs that nothing hides.
    Communication,
    /// Stages of a pipeline that wait for others.
    Bubble,
    /// The GPU waits for the host to launch kernels.
    Launch,
    /// The GPU waits for host memory, its link or the host's own computing.
    Host,
    /// The GPU waits for data.
    Data,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Products,
        Self::Weights,
        Self::Attention,
        Self::Cache,
        Self::Elementwise,
        Self::Unpacking,
        Self::Optimizer,
        Self::Communication,
        Self::Bubble,
        Self::Launch,
        Self::Host,
        Self::Data,
    ];

    /// What would have to be faster.
    pub const fn bound(self) -> Bound {
        match self {
            Self::Products | Self::Attention => Bound::Compute,
            Self::Weights | Self::Cache | Self::Elementwise | Self::Unpacking | Self::Optimizer => Bound::Memory,
            Self::Communication | Self::Bubble => Bound::Communication,
            Self::Launch => Bound::Launch,
            Self::Host => Bound::Host,
            Self::Data => Bound::Data,
        }
    }
}

/// What limits a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bound {
    /// Arithmetic.
    Compute,
    /// Device memory.
    Memory,
    /// Links and collectives, and waiting for other GPUs.
    Communication,
    /// Launching kernels.
    Launch,
    /// Host memory and its link.
    Host,
    /// Data loading.
    Data,
}

impl Bound {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Compute, Self::Memory, Self::Communication, Self::Launch, Self::Host, Self::Data];

    /// The word that scripts rely on.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Memory => "memory",
            Self::Communication => "communication",
            Self::Launch => "launch",
            Self::Host => "host",
            Self::Data => "data",
        }
    }

    /// For people.
    pub const fn text(self) -> Text {
        match self {
            Self::Compute => Text::new("compute", "연산"),
            Self::Memory => Text::new("memory", "메모리"),
            Self::Communication => Text::new("communication", "통신"),
            Self::Launch => Text::new("launches", "커널 실행"),
            Self::Host => Text::new("the host", "호스트"),
            Self::Data => Text::new("data", "데이터"),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

const PHASES: usize = Phase::ALL.len();
const KINDS: usize = Kind::ALL.len();

/// One cell: a time from its low to its high end, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Span {
    time: f64,
    low: f64,
    high: f64,
}

/// Factors by which what no part stands for (stalls, clocks, a framework's own work) may shorten or lengthen a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beyond {
    pub(super) shorter: f64,
    pub(super) longer: f64,
}

impl Beyond {
    /// Nothing beyond the parts.
    pub(super) const NOTHING: Self = Self { shorter: 1.0, longer: 1.0 };
    /// Where nothing was measured.
    pub(super) const USUAL: Self = Self { shorter: 1.15, longer: 1.15 };
    /// Answers that a framework writes from Python, kernel by kernel: it does more than can be counted, and never less. Of 36 published ones the
    /// median took 1.4 times what is counted, and a tenth more than twice that (`docs/accuracy.md`).
    pub(super) const FROM_PYTHON: Self = Self { shorter: 1.15, longer: 2.0 };
}

/// A time by phase and kind.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Parts {
    cells: [[Span; KINDS]; PHASES],
}

impl Parts {
    /// Adds `time`.
    pub(super) fn add(&mut self, phase: Phase, kind: Kind, time: Prediction) {
        let cell = &mut self.cells[phase as usize][kind as usize];
        cell.time += time.time.0;
        cell.low += time.low.0;
        cell.high += time.high.0;
    }

    /// Adds all of `other`, `times` over.
    pub(super) fn add_times(&mut self, other: &Self, times: f64) {
        for (row, others) in self.cells.iter_mut().zip(&other.cells) {
            for (cell, other) in row.iter_mut().zip(others) {
                cell.time += times * other.time;
                cell.low += times * other.low;
                cell.high += times * other.high;
            }
        }
    }

    /// All of it.
    pub fn total(&self) -> Seconds {
        Seconds(self.cells.iter().flatten().map(|cell| cell.time).sum())
    }

    /// What one phase takes.
    pub fn phase(&self, phase: Phase) -> Seconds {
        Seconds(self.cells[phase as usize].iter().map(|cell| cell.time).sum())
    }

    /// What one kind of work takes.
    pub fn kind(&self, kind: Kind) -> Seconds {
        Seconds(self.cells.iter().map(|row| row[kind as usize].time).sum())
    }

    /// One kind of work in one phase.
    pub fn part(&self, phase: Phase, kind: Kind) -> Seconds {
        Seconds(self.cells[phase as usize][kind as usize].time)
    }

    /// Every part that takes any time, by phase and kind.
    pub fn iter(&self) -> impl Iterator<Item = (Phase, Kind, Seconds)> + '_ {
        let pairs = Phase::ALL.into_iter().flat_map(|phase| Kind::ALL.into_iter().map(move |kind| (phase, kind)));
        pairs.map(|(phase, kind)| (phase, kind, self.part(phase, kind))).filter(|(_, _, time)| time.0 > 0.0)
    }

    /// What takes most of it.
    pub fn bound_by(&self) -> Bound {
        let of = |bound: Bound| -> f64 { Kind::ALL.into_iter().filter(|kind| kind.bound() == bound).map(|kind| self.kind(kind).0).sum() };
        Bound::ALL.into_iter().reduce(|most, bound| if of(bound) > of(most) { bound } else { most }).unwrap_or(Bound::Compute)
    }

    /// The total with the interval that holds the true one in nine cases of ten.
    pub fn interval(&self, beyond: Beyond) -> (Seconds, Seconds) {
        let total = self.total().0;
        let (mut below, mut above) = (0.0, 0.0);
        for kind in Kind::ALL {
            let over = |part: fn(&Span) -> f64| -> f64 { self.cells.iter().map(|row| part(&row[kind as usize])).sum() };
            let (time, low, high) = (over(|span| span.time), over(|span| span.low), over(|span| span.high));
            below += (time - low) * (time - low);
            above += (high - time) * (high - time);
        }
        below += (total - total / beyond.shorter) * (total - total / beyond.shorter);
        above += (total * beyond.longer - total) * (total * beyond.longer - total);
        (Seconds((total - below.sqrt()).max(0.0)), Seconds(total + above.sqrt()))
    }

    /// The total as a figure.
    pub(super) fn figure(&self, beyond: Beyond, basis: Basis, from: Vec<String>) -> Figure<Seconds> {
        let (low, high) = self.interval(beyond);
        Figure { value: self.total(), low, high, basis, from }
    }
}
