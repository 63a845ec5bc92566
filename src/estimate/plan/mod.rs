//! Which machines for a job, how many of them, and how to share it: the settings that no other beats in both time and cost.
//!
//! An **offer** is a GPU at a price. A **configuration** is an offer, a number of GPUs and a setting: micro-batch, accumulation, checkpointing, ways
//! of sharing, offload, number format. A configuration is a **candidate** when it surely fits and its best estimate meets the limits, and a
//! **winner** when no candidate takes at most as long for at most as much: the winners are the Pareto set. What is not a winner has **lost**,
//! for the first of these reasons that holds: it does not fit, it may not fit, the hosts are too small, it never ends, it takes too long,
//! it costs too much, a winner beats it.
//!
//! Three laws follow from deciding by best estimates. A longer deadline or a larger budget removes no winner: what they let in is slower, or
//! dearer, than all that was there. A cheaper price makes no winner of that offer lose. And no winner beats another.
//!
//! **Speed.** What computes alone on a GPU does not depend on how many data-parallel workers there are, nor what they share; what is kept in memory
//! does not depend on the offer. So layers are timed once per offer, micro-batch, degree of tensor parallelism and number format, memory is
//! counted once per setting, and more is moved to host memory only where less does not surely fit. What is left per configuration are messages, the
//! update and a few sums. The numbers are those of [`time::train`](super::time::train) and [`memory::train`](super::memory::train), which run the same
//! code.

mod front;
mod infer;
mod losses;
mod offers;
mod train;

use super::cost::{Interruptions, Price};
use super::fit::{Room, Verdict};
use super::memory::Overheads;
use super::time::{Bound, Speeds};
use crate::figure::Figure;
use crate::units::{Bytes, BytesPerSecond, Joules, Seconds, Usd, Watts};

pub use front::Front;
pub use infer::{Serving, ServingGoal, infer};
pub use losses::{Losses, Tally};
pub use train::{Choices, TrainingGoal, train};

/// A GPU at a price.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// The GPU's short name.
    pub gpu: String,
    /// What it costs.
    pub price: Price,
    /// GPUs of one machine.
    pub machine: u64,
    /// GPUs are rented by so many.
    pub unit: u64,
    /// Whether a job can use several machines: their network is known.
    pub joined: bool,
    /// What the network between machines carries per GPU, where it is known.
    pub network: Option<BytesPerSecond>,
    /// Main memory of a machine, where it is known.
    pub host: Option<Bytes>,
    /// The GPU as a place to fit into.
    pub room: Room,
    /// What memory takes there beyond tensors.
    pub overheads: Overheads,
    /// How fast it is.
    pub speeds: Speeds,
    /// What a GPU draws.
    pub power: Option<Figure<Watts>>,
}

impl Offer {
    /// Whether `gpus` of it can be rented for one job whose closest GPUs are `close` many.
    const fn sells(&self, gpus: u64, close: u64) -> bool {
        gpus.is_multiple_of(self.unit) && close <= self.machine && (gpus <= self.machine || self.joined)
    }

    /// Machines of `gpus` GPUs.
    pub const fn machines(&self, gpus: u64) -> u64 {
        gpus.div_ceil(self.machine)
    }

    /// What takes its machines back, where anything does.
    fn interruptions<'a>(&self, interruptions: &'a Interruptions) -> Option<&'a Interruptions> {
        self.price.spot.then_some(interruptions)
    }
}

/// What a job may take.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// The longest time.
    pub time: Option<Seconds>,
    /// The most money.
    pub usd: Option<Usd>,
}

/// A configuration that nothing beats.
#[derive(Debug, Clone, PartialEq)]
pub struct Winner<S> {
    /// Which of the offers.
    pub offer: usize,
    /// GPUs that are paid for.
    pub gpus: u64,
    /// How they are used.
    pub setting: S,
    /// Memory of the GPU that needs most.
    pub device: Figure<Bytes>,
    /// What is left of it; negative where the best estimate lacks some, which a fit excludes.
    pub headroom: i64,
    /// How long: all of a training, one request of a generation.
    pub time: Figure<Seconds>,
    /// How much: all of a training, a million tokens of a generation.
    pub usd: Figure<Usd>,
    /// What the GPUs draw in that time; for a million tokens of a generation.
    pub energy: Option<Figure<Joules>>,
    /// One step of a training, or one further token.
    pub step: Figure<Seconds>,
    /// Tokens per second of the whole job.
    pub tokens_per_second: f64,
    /// What limits it.
    pub bound_by: Bound,
    /// Whether the ends of its intervals meet the limits too.
    pub verdict: Verdict,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan<S> {
    /// The Pareto set, the fastest first.
    pub winners: Vec<Winner<S>>,
    /// What became of each offer's configurations, in the order of the offers.
    pub losses: Vec<Losses<S>>,
}

impl<S> Plan<S> {
    /// Configurations decided.
    pub fn configurations(&self) -> u64 {
        self.losses.iter().map(|losses| losses.configurations).sum()
    }

    /// Whether the goal can be met: surely, not, or perhaps, since an interval straddles a limit or the memory.
    pub fn verdict(&self) -> Verdict {
        let open = self.losses.iter().any(|losses| losses.perhaps);
        match self.winners.iter().any(|winner| winner.verdict == Verdict::Yes) {
            true => Verdict::Yes,
            false if !self.winners.is_empty() || open => Verdict::Unknown,
            false => Verdict::No,
        }
    }
}

/// Whether the upper ends of both meet the limits that their best estimates meet.
fn sure(limits: &Limits, time: Seconds, usd: Usd) -> Verdict {
    let within = limits.time.is_none_or(|most| time <= most) && limits.usd.is_none_or(|most| usd <= most);
    if within { Verdict::Yes } else { Verdict::Unknown }
}

#[cfg(test)]
mod tests;
