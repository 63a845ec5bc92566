//! A product of zeros, to be held against the same product of random data.
//!
//! Zeros flip no bits, so the chip draws less power. Where power limits the clock, zeros run faster; where nothing limits it, they do not. The
//! **ratio** of the two rates, 1.0 on a chip that has all the power it wants and 1.1 or more on one that is short of it, needs no sensor and no
//! permission. It is evidence beside the power limit and the clocks that the driver tells, and proves nothing alone.
//!
//! The case is a mechanism of its own, `matmul.zeros`, so that nobody who asks for the rate of BF16 products gets it.

use super::super::Lab;
use super::super::facts::needs_capability;
use super::super::rig::{too_large, waived};
use super::super::shapes::room;
use super::{Format, engine, own, rotating, timed};
use crate::error::Result;
use crate::machine::Gpu;
use crate::measure::{Case, GemmShape, GpuClock, Outcome};

/// What the mechanism is called.
pub(super) const NAME: &str = "zeros";

/// Its number format.
const FORMAT: Format = Format::Bf16;

/// Measures a square of zeros.
pub(super) fn run(case: &Case, gpu: &Gpu, shape: GemmShape, lab: &mut Lab<'_>) -> Result<Outcome> {
    if let Err(waiver) = needs_capability(gpu, FORMAT.capability()) {
        return Ok(waived(case, waiver));
    }
    let needed = shape.bytes(FORMAT.element());
    if needed > room(gpu) {
        return Ok(too_large(case, needed, room(gpu)));
    }
    let bench = lab.bench(gpu.index)?;
    let (case, engine) = match engine(case, lab, gpu.index, &bench, FORMAT, shape)? {
        Ok(chosen) => chosen,
        Err(waiver) => return Ok(waived(case, waiver)),
    };
    // The pools hold random numbers that others still multiply: this one is filled anew, and not kept.
    lab.rig.operands.clear();
    let mut trial = rotating(lab, gpu, &bench, engine, FORMAT, shape)?;
    lab.rig.operands.clear();
    trial.sets.zero(&bench)?;
    let mut clock = GpuClock::with_stream(bench.stream.clone())?;
    trial.choose(&mut clock)?;
    own::choose(&mut trial, &mut clock, lab)?;
    let rotation = trial.sets.bytes().to_string();
    let conditions = vec![("format", FORMAT.name().into()), ("data", "zeros".into()), ("rotation", rotation), ("sums", "fp32".into())];
    let plan = lab.plan(2.0);
    timed(&case, gpu.index, lab, &mut clock, &mut trial, &plan, conditions)
}
