//! The machine's best product: the fastest shape that a guided search finds through the library, see [`search`](super::search).
//!
//! Datasheets promise a rate at no shape in particular, so the rate at the shape that suits the chip best is the one to hold against them. A
//! search is not a proof: the conditions say how many shapes were timed, and which came out. Each is timed for a moment by the library's first
//! suggestion; the best one is then measured like any other case, by the fastest of all suggestions.

use super::super::facts::{gpu_on, l2, needs_capability, unknown, usable};
use super::super::operands::sets;
use super::super::rig::{operation, too_large, waived};
use super::super::shapes::room;
use super::super::{Effort, Lab};
use super::search::{self, MOST, STEP};
use super::{Engine, Format, Product, library};
use crate::error::Result;
use crate::gpu::Attribute;
use crate::machine::Gpu;
use crate::measure::{Case, Clock, GemmShape, GpuClock, Outcome, Waiver};
use crate::units::Seconds;

/// Time that the products of one shape should last together.
const EACH: Seconds = Seconds(4e-3);

/// Products of one shape at most.
const MOST_PRODUCTS: f64 = 16.0;

/// Weight of such a case, beside that of a usual one.
pub(super) const WEIGHT: f64 = 3.0;

/// Whether a case asks for the best shape.
pub(super) fn is_asked(case: &Case) -> bool {
    case.get_word("shape") == Some("best")
}

/// The cases on a GPU among `all`.
pub(super) fn cases(gpu: &Gpu, all: &[Gpu], effort: Effort) -> Vec<Case> {
    let first = all.iter().find(|other| other.name == gpu.name).is_some_and(|first| first.index == gpu.index);
    let wanted = effort == Effort::Thorough || effort == Effort::Standard && first;
    let case = |format: Format| {
        let case = Case::new(&format!("matmul.{}", format.name())).word("engine", "cublaslt");
        case.word("shape", "best").count("gpu", u64::from(gpu.index))
    };
    if wanted { Format::ALL.map(case).into() } else { Vec::new() }
}

/// Searches, and measures what was found.
pub(super) fn run(case: &Case, lab: &mut Lab<'_>) -> Result<Outcome> {
    let gpu = gpu_on(lab.machine, case, "gpu")?;
    let name = operation(case)?;
    let format = Format::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| unknown(case))?;
    if let Err(waiver) = needs_capability(gpu, format.capability()) {
        return Ok(waived(case, waiver));
    }
    let bench = lab.bench(gpu.index)?;
    let fits = |shape: GemmShape| shape.bytes(format.element()) <= room(gpu);
    if !fits(STEP) {
        return Ok(too_large(case, STEP.bytes(format.element()), room(gpu)));
    }
    // One pool for all shapes: as large as the largest that fits, or as twice the cache.
    let mut largest = MOST;
    while !fits(largest) {
        largest = GemmShape::square(largest.m / 2);
    }
    let (wanted, most) = (l2(gpu) * 2, usable(gpu) / 2);
    let pool = lab.rig.sets(&bench, gpu.index, format, largest, sets(largest, format.element(), wanted, most), lab.seed)?;
    // What no set of the pool has room for is not tried either.
    let fits = |shape: GemmShape| fits(shape) && pool.holds(shape);
    let engine = |shape: GemmShape, lab: &mut Lab<'_>| library(lab, gpu.index, &bench, format, shape);
    let seed = lab.seed;
    let product = |engine: Engine, shape: GemmShape| Product::new(&bench, engine, format, shape, pool.reshaped(shape, wanted), seed);
    let mut clock = GpuClock::with_stream(bench.stream.clone())?;
    let (mut spent, limit, stopped) = (Seconds(0.0), lab.budget, lab.stopped);
    let mut refused: Option<Waiver> = None;
    let sms = bench.gpu.attribute(Attribute::SmCount)?.max(1);
    let found = search::search(sms, &fits, &mut |shape| {
        if spent >= limit || stopped() {
            return Ok(None);
        }
        let mut trial = match engine(shape, lab)? {
            Ok(engine) => product(engine, shape),
            Err(waiver) => {
                refused.get_or_insert(waiver);
                return Ok(Some(0.0));
            }
        };
        clock.rehearse(&mut trial)?;
        let once = clock.time(&mut trial, 1)?;
        let products = (EACH / once).clamp(1.0, MOST_PRODUCTS).ceil();
        let time = clock.time(&mut trial, products as u64)?;
        spent += once * 2.0 + time;
        Ok(Some(shape.flops().0 * products / time.0))
    })?;
    let Some(found) = found else {
        let waiver = refused.unwrap_or_else(|| Waiver::Unsupported { what: "no shape could be timed".into() });
        return Ok(waived(case, waiver));
    };
    let chosen = match engine(found.shape, lab)? {
        Ok(engine) => engine,
        Err(waiver) => return Ok(waived(case, waiver)),
    };
    let mut trial = product(chosen, found.shape);
    pool.blank(&bench)?;
    trial.choose(&mut clock)?;
    let GemmShape { m, n, k } = found.shape;
    let sums = if format == Format::E4m3 { "fp32, fast accumulation" } else { "fp32" };
    let search = [("shape", format!("{m}x{n}x{k}")), ("tried", format!("{} shapes", found.tried)), ("sums", sums.into())];
    let conditions: Vec<_> = trial.engine.describe().into_iter().chain(trial.random()).chain(search).collect();
    let plan = lab.plan(2.0);
    lab.time(case, gpu.index, &mut clock, &mut trial, &plan, conditions)
}
