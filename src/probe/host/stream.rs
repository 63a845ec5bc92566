//! Copy, scale, add and triad on pinned threads.

use super::{failed, memory_budget, scramble};
use crate::error::Result;
use crate::host::stream::{Kernel, stores};
use crate::host::{Crew, Hand, Processor, Region, Topology};
use crate::measure::{Case, HostClock, Outcome, Trial, Waiver, Work};
use crate::probe::Lab;
use crate::telemetry::Unwatched;
use crate::units::{Bytes, Seconds};

/// Smaller arrays say nothing about memory even where no cache size is told.
const LEAST_ARRAY: Bytes = Bytes::mib(128);
/// STREAM's rule: an array is at least this many times the last-level caches.
const CACHES: u64 = 4;
/// A thread's share is a whole number of these, so that shares begin on page and line boundaries.
const GRAIN: u64 = 4096;

pub(super) fn run(
    case: &Case,
    kernel: Kernel,
    lab: &Lab<'_>,
    topology: &Topology,
    cores: &[Processor],
    node: Option<u32>,
) -> Result<Outcome> {
    let available = memory_budget(lab.machine);
    let cache = topology.last_level_cache.unwrap_or(Bytes(0));
    let threads = cores.len() as u64;
    let array = array_size(cache, available);
    let share = (array / threads.max(1)).round_down_to(Bytes(GRAIN));
    // Arrays that a cache could hold would measure the cache.
    if share.0 == 0 || array < LEAST_ARRAY.min(cache) {
        let needed = LEAST_ARRAY.max(cache * CACHES) * 3;
        return Ok(Outcome::Waived { case: case.clone(), waiver: Waiver::Memory { needed, available } });
    }
    let mut trial = StreamTrial::new(case, kernel, cores, share, node, lab.seed)?;
    let mut plan = lab.plan(1.0);
    // A batch ends with waking the sampler, some 50 µs: a thousandth of this.
    plan.batch = plan.batch.max(Seconds(0.04));
    let mut measurement = lab.sample(case, &mut trial, &mut HostClock::new(), &mut Unwatched, &plan)?;
    let conditions = [
        ("array", trial.array().to_string()),
        ("array_over_last_level_cache", trial.array().0.checked_div(cache.0).map_or("unknown".to_owned(), |times| times.to_string())),
        ("threads", threads.to_string()),
        ("pinned", trial.crew.is_pinned().to_string()),
        ("stores", stores().to_owned()),
        ("bytes_counted", format!("{} per element, as STREAM does", kernel.bytes_per_element())),
        ("data", "address-dependent integers below 2^20".to_owned()),
        ("seed", lab.seed.to_string()),
    ];
    measurement.conditions.extend(conditions.map(|(key, value)| (key.to_owned(), value)));
    Ok(Outcome::Measured(Box::new(measurement)))
}

/// Bytes of one of the three arrays: by STREAM's rule, within what may be allocated.
fn array_size(cache: Bytes, available: Bytes) -> Bytes {
    LEAST_ARRAY.max(cache * CACHES).min(available / 3)
}

struct StreamTrial {
    case: Case,
    kernel: Kernel,
    share: Bytes,
    crew: Crew<Order>,
}

#[derive(Debug, Clone, Copy)]
enum Order {
    /// Sources filled, the target poisoned.
    Fill,
    /// The kernel, so many times.
    Run(u64),
    /// Every element of the target is what it should be.
    Check,
}

impl StreamTrial {
    fn new(case: &Case, kernel: Kernel, cores: &[Processor], share: Bytes, node: Option<u32>, seed: u64) -> Result<Self> {
        let make = move |index: usize| Share::new(kernel, share, node, seed, index as u64);
        let mut crew = Crew::new(cores, make).map_err(|what| failed(case, what))?;
        crew.command(Order::Fill).map_err(|what| failed(case, what))?;
        Ok(Self { case: case.clone(), kernel, share, crew })
    }

    fn array(&self) -> Bytes {
        self.share * self.crew.size() as u64
    }
}

impl Trial for StreamTrial {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        self.crew.command(Order::Run(iterations)).map_err(|what| failed(&self.case, what))
    }

    fn work(&self) -> Work {
        Work::moving(self.array() / size_of::<f64>() as u64 * self.kernel.bytes_per_element())
    }

    fn check(&mut self) -> Result<Option<String>> {
        Ok(self.crew.command(Order::Check).err())
    }
}

/// One thread's part of the three arrays.
struct Share {
    kernel: Kernel,
    seed: u64,
    /// Index of its first element in the whole arrays.
    first: u64,
    a: Region,
    b: Region,
    c: Region,
}

impl Share {
    fn new(kernel: Kernel, share: Bytes, node: Option<u32>, seed: u64, index: u64) -> Result<Self, String> {
        let region = || Region::new(share, node).map_err(|error| format!("allocating {}: {error}; free some memory", share.approximate()));
        Ok(Self { kernel, seed, first: index * (share.0 / size_of::<f64>() as u64), a: region()?, b: region()?, c: region()? })
    }

    /// Element `index` of source `array`: an integer, so that every kernel's result is exact in any order of rounding.
    fn source(&self, array: u64, index: usize) -> f64 {
        (scramble(self.seed ^ array, self.first + index as u64) >> 44) as f64
    }

    fn fill(&mut self) {
        for index in 0..self.a.as_slice::<f64>().len() {
            let (b, c) = (self.source(1, index), self.source(2, index));
            self.a.as_mut_slice::<f64>()[index] = f64::NAN;
            self.b.as_mut_slice::<f64>()[index] = b;
            self.c.as_mut_slice::<f64>()[index] = c;
        }
    }

    fn check(&self) -> Result<(), String> {
        for (index, &found) in self.a.as_slice::<f64>().iter().enumerate() {
            let expected = self.kernel.element(self.source(1, index), self.source(2, index));
            if found != expected {
                return Err(format!("expected {expected} at element {} but found {found}", self.first + index as u64));
            }
        }
        Ok(())
    }
}

impl Hand<Order> for Share {
    fn perform(&mut self, order: &Order) -> Result<(), String> {
        match *order {
            Order::Fill => self.fill(),
            Order::Run(times) => {
                for _ in 0..times {
                    self.kernel.run(self.a.as_mut_slice(), self.b.as_slice(), self.c.as_slice());
                }
            }
            Order::Check => return self.check(),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_follow_streams_rule_within_the_memory_there_is() {
        assert_eq!(array_size(Bytes::mib(8), Bytes::gib(2)), Bytes::mib(128));
        assert_eq!(array_size(Bytes::mib(100), Bytes::gib(2)), Bytes::mib(400));
        assert_eq!(array_size(Bytes::mib(768), Bytes::mib(1920)), Bytes::mib(640));
    }

    #[test]
    fn every_kernel_passes_its_check_and_a_wrong_element_does_not() {
        for kernel in Kernel::ALL {
            let mut share = Share::new(kernel, Bytes::kib(64), None, 7, 3).unwrap();
            share.fill();
            assert!(share.check().is_err(), "{kernel:?}: nothing was done yet");
            share.perform(&Order::Run(2)).unwrap();
            share.check().unwrap();
            share.a.as_mut_slice::<f64>()[77] += 1.0;
            let complaint = share.check().unwrap_err();
            assert!(complaint.contains(&format!("at element {}", 3 * 8192 + 77)), "{complaint}");
        }
    }

    #[test]
    fn a_trial_counts_the_bytes_of_all_threads() {
        let core = Topology::here().cores(None, 1)[0];
        let case = Case::new("host.triad").count("cores", 2);
        let mut trial = StreamTrial::new(&case, Kernel::Triad, &[core, core], Bytes::kib(64), None, 1).unwrap();
        trial.enqueue(3).unwrap();
        assert_eq!(trial.work(), Work::moving(Bytes(2 * 8192 * 24)));
        assert_eq!(trial.check().unwrap(), None);
    }
}
