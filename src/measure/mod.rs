//! How anything is measured.
//!
//! A **case** is one point of one probe, such as `dram.triad/bytes=4GiB,gpu=0`. A **trial** can do the case's work *n* times in a row. A
//! **sample** is the time of one batch divided by its iterations. A **clock** times a batch: by events on a stream held shut behind a gate
//! for GPU work, by the host's monotonic clock for host work, or by a script in tests. The **sampler** warms up, sizes the batches, takes
//! samples until the **stop rule** is content, and has the trial **check** its answer afterwards: a wrong answer voids the measurement.
//! Nothing is discarded: a rejected sample is kept with its reason.
//!
//! A load that lasts is not sampled until it is precise but followed: its samples stand one after another without a gap, and a **trace** says
//! what the GPU said during each. When it is in its [steady state](Steadiness), and what it lost until then, is derived.

mod case;
mod clock;
mod design;
mod gpu_clock;
mod measurement;
mod sampler;
mod steady;
mod stop;
mod trace;

pub use case::{Case, ParseCaseError, Value};
pub use clock::{Clock, HostClock, ScriptedClock};
pub use design::{DESIGN, GemmShape, MESSAGES};
pub use gpu_clock::GpuClock;
pub use measurement::{Measurement, Observation, Outcome, Partner, Rejection, RejectionReason, StopReason, TelemetrySpan, Waiver, Work};
pub use sampler::{Plan, sample};
pub use steady::{Steadiness, steadiness};
pub use stop::{Progress, StopRule};
pub use trace::{Glances, Sustained, TracePoint};

use crate::error::Result;

/// Work that can be repeated and checked.
///
/// `enqueue` may return before the work is done (GPU streams); the [`Clock`] knows how to wait for it.
pub trait Trial {
    /// Do the work `iterations` times, in order, on the clock's stream or on this thread.
    ///
    /// # Errors
    /// When the device or the system refuses.
    fn enqueue(&mut self, iterations: u64) -> Result<()>;

    /// What one iteration moves and computes: the numerator of every rate.
    fn work(&self) -> Work;

    /// Launches that one iteration puts on the stream. A GPU clock must not enqueue more than the hardware queue holds behind a closed gate.
    fn launches_per_iteration(&self) -> u64 {
        1
    }

    /// Verify the answer of the work done so far. `Ok(None)` when right, or a description of what is wrong.
    ///
    /// # Errors
    /// When the check itself could not run.
    fn check(&mut self) -> Result<Option<String>>;
}
