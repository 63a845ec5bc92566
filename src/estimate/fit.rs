//! Whether a workload fits a GPU, and how sure that is.
//!
//! **Capacity** is what nvidia-smi shows in total. A process cannot have all of it: firmware and driver hold some back, 0.3 to 0.9 GiB on the
//! boards whose frameworks print both numbers (an A100 of 80 GiB offers 79.15, an RTX 4090 of 23.99 offers 23.65, an H100 of 79.65 offers
//! 79.1), and nobody documents how much. So a capacity is an interval, as the estimate is, and the verdict compares intervals: **yes** when the
//! most the job may take is within the least it may have, **no** when the least it may take is beyond the most it may have, **unknown**
//! between.

use serde::Serialize;

use super::memory::Memory;
use crate::catalog::GpuModel;
use crate::figure::{Basis, Figure};
use crate::units::Bytes;

/// A GPU as a place to fit into.
#[derive(Debug, Clone, PartialEq)]
pub struct Room {
    /// What it is called.
    pub gpu: String,
    /// What nvidia-smi shows in total; the low end is what a process is sure to get.
    pub capacity: Figure<Bytes>,
}

/// Whether it fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It does, even at the upper end of the estimate.
    Yes,
    /// It does not, even at the lower end.
    No,
    /// The ends disagree, or there is no GPU to compare with.
    Unknown,
}

impl Verdict {
    /// As written in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

/// What firmware and driver hold back, by the rule of thumb above: at most 1 GiB, on small boards at most 3 % of the total.
fn held_back(total: Bytes) -> Bytes {
    Bytes::GIB.min(Bytes((total.as_f64() * 0.03) as u64))
}

impl Room {
    /// A GPU with so much memory in total.
    pub fn new(gpu: impl Into<String>, total: Figure<Bytes>) -> Self {
        let mut capacity = total;
        capacity.low = capacity.low - held_back(capacity.low);
        capacity.from.push("less up to 1 GiB or 3 % that firmware and driver hold back (assumed)".to_owned());
        Self { gpu: gpu.into(), capacity }
    }

    /// A GPU of the catalog.
    pub fn of(model: &GpuModel) -> Self {
        Self::new(&model.short_name, model.capacity())
    }

    /// The same with what a process was found to get on such a GPU, its context included.
    #[must_use]
    pub fn with_usable(mut self, usable: &Figure<Bytes>) -> Self {
        // More than the total would be a mistake of the measurement, and not for this estimate to believe.
        self.capacity.low = usable.low.min(self.capacity.value);
        if usable.basis == Basis::MeasuredHere {
            self.capacity.basis = usable.basis;
        }
        self.capacity.from = usable.from.clone();
        self
    }

    /// Whether `memory` fits.
    pub fn verdict(&self, memory: &Memory) -> Verdict {
        if memory.device.high <= self.capacity.low {
            Verdict::Yes
        } else if memory.device.low > self.capacity.high {
            Verdict::No
        } else {
            Verdict::Unknown
        }
    }

    /// What is left of the total beside the job's best estimate, in bytes; negative where it lacks.
    pub fn headroom(&self, memory: &Memory) -> i64 {
        // Both are far below 2⁶³: the largest estimate made is 2⁶⁰.
        i64::try_from(self.capacity.value.0).unwrap_or(i64::MAX).saturating_sub(i64::try_from(memory.device.value.0).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Moment;
    use super::*;
    use crate::catalog::Catalog;
    use proptest::prelude::*;

    fn taking(low: u64, value: u64, high: u64) -> Memory {
        let device = Figure { value: Bytes(value), low: Bytes(low), high: Bytes(high), basis: Basis::Assumed, from: Vec::new() };
        let nothing = Figure::assumed(Bytes(0), "none");
        Memory {
            moments: Vec::<Moment>::new(),
            allocated: device.clone(),
            reserved: device.clone(),
            context: nothing,
            device,
            host: Bytes(0),
        }
    }

    #[test]
    fn the_verdict_compares_both_ends() {
        let catalog = Catalog::embedded().unwrap();
        let room = Room::of(catalog.gpu("RTX 4090").unwrap());
        let total = room.capacity.value.0;
        assert_eq!(total, 24_564 << 20);
        let gib = 1 << 30;
        assert_eq!(room.verdict(&taking(20 * gib, 21 * gib, 22 * gib)), Verdict::Yes);
        assert_eq!(room.verdict(&taking(20 * gib, 21 * gib, total)), Verdict::Unknown, "all of it is never to be had");
        assert_eq!(room.verdict(&taking(total, total, total)), Verdict::Unknown);
        assert_eq!(room.verdict(&taking(total + 1, total + 1, total + 2)), Verdict::No);
        assert_eq!(room.headroom(&taking(0, total + 5, total + 9)), -5);
    }

    #[test]
    fn a_measured_limit_replaces_the_rule() {
        let room = Room::new("board", Figure::assumed(Bytes::gib(80), "label"));
        assert_eq!(room.capacity.low, Bytes::gib(79));
        let usable = Figure::new(Bytes::mib(80_500), Basis::MeasuredHere, "memory.allocatable/gpu=0");
        let measured = room.with_usable(&usable);
        assert_eq!((measured.capacity.low, measured.capacity.value), (Bytes::mib(80_500), Bytes::gib(80)));
        assert_eq!(measured.capacity.from, ["memory.allocatable/gpu=0"]);
    }

    proptest! {
        #[test]
        fn more_memory_never_fits_better(value in 0u64..1 << 40, spread in 0u64..1 << 30, more in 0u64..1 << 40) {
            let room = Room::new("board", Figure::assumed(Bytes::gib(80), "label"));
            let rank = |memory: &Memory| match room.verdict(memory) {
                Verdict::Yes => 0,
                Verdict::Unknown => 1,
                Verdict::No => 2,
            };
            let less = taking(value, value, value + spread);
            let worse = taking(value + more, value + more, value + more + spread);
            prop_assert!(rank(&less) <= rank(&worse));
        }
    }
}
