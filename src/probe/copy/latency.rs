//! What the least access to the other side's memory takes, one at a time.
//!
//! `engine=ce`: a copy of a few bytes by the copy engine, and waiting for it, again and again: the time from a program's call until the data
//! is there. It is the driver's time, the engine's and the link's together; the calls are what is measured, so there is no gate.
//!
//! `engine=sm`: one thread on the GPU follows a ring of indices in pinned host memory, and each load waits for the one before: the link's round
//! trip, without driver or engine. A first-level cache is bypassed, and what the second level keeps of host memory it may not
//! answer from, since the host changes it unseen; the ring is long all the same, and goes on in each launch where the last one stopped.

use super::transfer::{Transfer, Window};
use super::{conditions, direction};
use crate::error::Result;
use crate::machine::Gpu;
use crate::measure::{Case, Outcome, Trial, Work};
use crate::probe::Lab;
use crate::probe::facts::{size, unknown};
use crate::probe::peer::Engine;
use crate::probe::rig::EventClock;
use crate::probe::ring::Ring;
use crate::probe::walk::{Path, Walk};
use crate::units::Bytes;

/// A copy that nobody splits, and whose own time on the link is nothing.
const FEW: Bytes = Bytes(16);

/// Places that these copies rotate over, so that each finds its target cleared once.
const SLOTS: u64 = 4096;

/// Ring of the loads, as between two GPUs.
const RING: Bytes = Bytes::mib(2);

/// Steps of one launch on the ring: some 0.5 to 1 ms, in which the launch's own time is little, and of which a quick run has time for dozens.
const STEPS: u64 = 1 << 9;

/// The cases of one GPU.
pub(super) fn cases(gpu: &Gpu) -> [Case; 3] {
    [(Engine::Copy, "h2d", FEW), (Engine::Copy, "d2h", FEW), (Engine::Kernel, "h2d", RING)].map(|(engine, direction, bytes)| {
        let case = Case::new("copy.latency").word("engine", engine.name()).word("dir", direction);
        case.bytes("bytes", bytes).count("gpu", u64::from(gpu.index))
    })
}

/// Do one of [`cases`].
///
/// # Errors
/// As [`Lab::sample`].
pub(super) fn run(case: &Case, gpu: &Gpu, lab: &mut Lab<'_>) -> Result<Outcome> {
    let (up, bytes) = (direction(case)?, size(case, "bytes")?);
    let bench = lab.bench(gpu.index)?;
    match case.get_word("engine") {
        Some("ce") => {
            let window = Window { bytes, slots: SLOTS };
            let host = Some(lab.take_pinned(gpu.index, window.total())?);
            let (up, down) = if up { (host, None) } else { (None, host) };
            let mut trial = OneByOne(Transfer::new(&bench, window, up, down, lab.seed)?);
            let mut clock = EventClock::new(&bench.stream)?;
            let conditions = conditions(Engine::Copy, "pinned", gpu, window, lab.seed);
            let conditions = conditions.into_iter().chain([("clock", "events, no gate; each copy waited for".to_owned())]);
            let outcome = lab.time(case, gpu.index, &mut clock, &mut trial, &lab.plan(2.0), conditions)?;
            trial.0.keep(lab);
            Ok(outcome)
        }
        Some("sm") if up => {
            let mut host = lab.take_pinned(gpu.index, bytes)?;
            let ring = Ring::new(bytes, lab.seed);
            host.write(ring.next())?;
            let mut trial = Walk::new(&bench, ring, host, Path::PastFirstLevel, STEPS)?;
            let conditions = [
                ("engine", "sm, one thread".to_owned()),
                ("memory", "pinned".into()),
                ("path", "past the first level".into()),
                ("data", "random ring, one index per 128 bytes".into()),
                ("seed", lab.seed.to_string()),
                ("numa_node", super::node_of(gpu)),
            ];
            let outcome = lab.time_gated(case, gpu.index, &bench, &mut trial, &lab.plan(2.0), conditions)?;
            lab.keep_pinned(trial.into_memory());
            Ok(outcome)
        }
        _ => Err(unknown(case)),
    }
}

/// Copies of which each is waited for before the next is begun.
struct OneByOne(Transfer);

impl Trial for OneByOne {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        for _ in 0..iterations {
            self.0.enqueue(1)?;
            self.0.bench.stream.synchronize()?;
        }
        Ok(())
    }

    fn work(&self) -> Work {
        Work::stepping(1)
    }

    fn check(&mut self) -> Result<Option<String>> {
        self.0.check()
    }
}
