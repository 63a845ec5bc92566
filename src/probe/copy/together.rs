//! Copies between the host and all GPUs at once.
//!
//! GPUs may share a switch, a root port or a processor's memory on their way to the host. Alone, each then shows its own link's rate, and
//! only copies at the same time show what a job gets that feeds all of them. One GPU after the other is timed as ever, by its own events
//! behind its own gate, while all the others run the same copies into memory of their own.
//!
//! The others begin with the first timed copy, because they wait for an event behind the gate, and must go on beyond the last one. How many
//! copies that takes follows from the batch before: each GPU notes how long its own copies took. Whether they **covered** the timed ones
//! stands in the record.

use super::transfer::{Transfer, Window};
use super::{direction, host_room, node_of};
use crate::error::Result;
use crate::gpu::Event;
use crate::machine::{Gpu, Machine};
use crate::measure::{Case, Outcome, Trial, Waiver, Work};
use crate::probe::Lab;
use crate::probe::facts::{power_of_two_below, size, usable};
use crate::probe::rig::{too_large, waived};
use crate::units::{Bytes, Seconds};

/// Size of a copy: long enough to run at the link's rate, and eight GPUs' buffers stay a small part of the host's memory.
const LARGEST: Bytes = Bytes::mib(32);

/// How much longer than the timed copies the others should take.
const MARGIN: f64 = 1.25;

/// Copies of another GPU per timed copy at most. What waits for an event behind a gate fills its queue, too.
const MOST_COPIES: u64 = 8;

/// The cases on a machine of which all GPUs are measured: none with a single one.
pub(super) fn cases(machine: &Machine) -> Vec<Case> {
    let bytes = power_of_two_below(room(&machine.gpus.iter().collect::<Vec<_>>(), machine)).min(LARGEST);
    if machine.gpus.len() < 2 || bytes < Bytes::kib(4) {
        return Vec::new();
    }
    let case = |direction: &str, gpu: &Gpu| {
        Case::new("copy.together").word("dir", direction).bytes("bytes", bytes).count("gpu", u64::from(gpu.index))
    };
    machine.gpus.iter().flat_map(|gpu| ["h2d", "d2h"].map(|direction| case(direction, gpu))).collect()
}

/// The largest copy that fits every GPU, and the host for all of them.
fn room(gpus: &[&Gpu], machine: &Machine) -> Bytes {
    let on_gpus = gpus.iter().map(|gpu| usable(gpu) / 2);
    on_gpus.chain([host_room(machine) / (gpus.len() as u64).max(1)]).min().unwrap_or_default()
}

/// Do one of [`cases`].
///
/// # Errors
/// As [`Lab::sample`].
pub(super) fn run(case: &Case, gpu: &Gpu, lab: &mut Lab<'_>) -> Result<Outcome> {
    let window = Window { bytes: size(case, "bytes")?, slots: 1 };
    let up = direction(case)?;
    let (machine, measured) = (lab.machine, lab.gpus);
    let all: Vec<&Gpu> = machine.gpus.iter().filter(|gpu| measured.contains(&gpu.index)).collect();
    if all.len() < 2 {
        return Ok(waived(case, Waiver::TooFewDevices { needed: 2, found: all.len() as u32 }));
    }
    let room = room(&all, machine);
    if window.bytes > room {
        return Ok(too_large(case, window.bytes, room));
    }
    let mut trial = Together::new(lab, gpu, &all, window, up)?;
    let conditions = [
        ("engine", "ce".to_owned()),
        ("memory", "pinned".to_owned()),
        ("data", "random bits".to_owned()),
        ("seed", lab.seed.to_string()),
        ("others", trial.others.len().to_string()),
        ("numa_node", node_of(gpu)),
    ];
    let bench = trial.timed.bench.clone();
    let mut outcome = lab.time_gated(case, gpu.index, &bench, &mut trial, &lab.plan(1.0), conditions)?;
    if let Outcome::Measured(measurement) = &mut outcome {
        measurement.conditions.insert("covered".to_owned(), format!("{} of {} batches", trial.covered, trial.batches));
    }
    trial.into_transfers().for_each(|transfer| transfer.keep(lab));
    Ok(outcome)
}

/// One GPU's copies in one direction, with memory of its own.
fn one_way(lab: &mut Lab<'_>, gpu: &Gpu, window: Window, up: bool) -> Result<Transfer> {
    let bench = lab.bench(gpu.index)?;
    let host = Some(lab.take_pinned(gpu.index, window.total())?);
    let (up, down) = if up { (host, None) } else { (None, host) };
    Transfer::new(&bench, window, up, down, lab.seed)
}

/// Another GPU's copies beside the timed ones.
struct Companion {
    transfer: Transfer,
    begun: Event,
    ended: Event,
    /// Copies per timed copy.
    ratio: f64,
    /// Copies in the last batch.
    copies: u64,
}

impl Companion {
    fn new(transfer: Transfer) -> Result<Self> {
        let (begun, ended) = (transfer.bench.gpu.event()?, transfer.bench.gpu.event()?);
        Ok(Self { transfer, begun, ended, ratio: 2.0, copies: 0 })
    }

    /// Copy beside so many timed copies, which begin with `mark`.
    fn accompany(&mut self, mark: &Event, iterations: u64) -> Result<()> {
        self.copies = ((iterations as f64 * self.ratio).ceil() as u64).clamp(1, iterations * MOST_COPIES);
        let stream = self.transfer.bench.stream.clone();
        stream.wait_for(mark)?;
        stream.record(&self.begun)?;
        self.transfer.enqueue(self.copies)?;
        stream.record(&self.ended)
    }

    /// Wait for the last batch, and see whether it covered timed copies that took `timed`, `each` of them. Sizes the next one.
    fn settle(&mut self, timed: Seconds, each: Seconds) -> Result<bool> {
        self.transfer.bench.stream.synchronize()?;
        let took = self.ended.since(&self.begun)?;
        let own = took.0 / self.copies as f64;
        if own > 0.0 {
            self.ratio = (MARGIN * each.0 / own).clamp(1.0, MOST_COPIES as f64);
        }
        Ok(took >= timed)
    }
}

/// One GPU's timed copies, and those of all the others.
struct Together {
    timed: Transfer,
    others: Vec<Companion>,
    begun: Event,
    ended: Event,
    /// Timed copies in the batch that the others may still be at.
    last: u64,
    /// Whether the clock's rehearsal is over: it is not timed, and tells how many copies of the others the first batch takes.
    rehearsed: bool,
    batches: u64,
    /// Batches during all of which all others copied.
    covered: u64,
}

impl Together {
    /// The copies of `gpu` to time, and those of the others among `all`.
    fn new(lab: &mut Lab<'_>, gpu: &Gpu, all: &[&Gpu], window: Window, up: bool) -> Result<Self> {
        let timed = one_way(lab, gpu, window, up)?;
        let others = all.iter().filter(|other| other.index != gpu.index);
        let others = others.map(|other| Companion::new(one_way(lab, other, window, up)?)).collect::<Result<Vec<_>>>()?;
        let (begun, ended) = (timed.bench.gpu.event()?, timed.bench.gpu.event()?);
        Ok(Self { timed, others, begun, ended, last: 0, rehearsed: false, batches: 0, covered: 0 })
    }

    /// Let the others come to an end, so that no batch begins amid the rest of the one before.
    fn settle(&mut self) -> Result<()> {
        if self.last == 0 {
            return Ok(());
        }
        let timed = self.ended.since(&self.begun)?;
        let each = Seconds(timed.0 / self.last as f64);
        let mut covered = true;
        for other in &mut self.others {
            covered &= other.settle(timed, each)?;
        }
        self.batches += u64::from(self.rehearsed);
        self.covered += u64::from(self.rehearsed && covered);
        self.rehearsed = true;
        self.last = 0;
        Ok(())
    }

    fn into_transfers(self) -> impl Iterator<Item = Transfer> {
        std::iter::once(self.timed).chain(self.others.into_iter().map(|other| other.transfer))
    }
}

impl Trial for Together {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        // The others do not wait for the gate of this batch yet, so waiting for them here ends.
        self.settle()?;
        let stream = self.timed.bench.stream.clone();
        stream.record(&self.begun)?;
        for other in &mut self.others {
            other.accompany(&self.begun, iterations)?;
        }
        self.timed.enqueue(iterations)?;
        stream.record(&self.ended)?;
        self.last = iterations;
        Ok(())
    }

    fn work(&self) -> Work {
        self.timed.work()
    }

    fn launches_per_iteration(&self) -> u64 {
        // What the fullest queue holds: another GPU's copies, and room for its marks.
        MOST_COPIES + 2
    }

    fn check(&mut self) -> Result<Option<String>> {
        self.settle()?;
        let transfers = std::iter::once(&mut self.timed).chain(self.others.iter_mut().map(|other| &mut other.transfer));
        for transfer in transfers {
            if let Some(wrong) = transfer.check()? {
                return Ok(Some(format!("on GPU {}: {wrong}", transfer.bench.gpu.ordinal())));
            }
        }
        Ok(None)
    }
}
