//! **Light speed**: what the silicon could do at the clock that was seen, if nothing ever waited.
//!
//! Arithmetic: multiprocessors × operations per clock and multiprocessor × mean clock of the measurement. Operations per clock follow from the
//! datasheet's peak, its number of multiprocessors and the clock behind it, and so they are right for boards whose makers halved a rate.
//! Memory: width of the bus × two transfers per cycle × mean memory clock, as NVML counts it. A share of datasheet says what was bought; a
//! share of light speed says whether the program or the clock is to blame.

use crate::catalog::{Dtype, GpuModel};
use crate::figure::{Basis, Figure};
use crate::machine::Gpu;
use crate::measure::{Case, TelemetrySpan};
use crate::record::Run;
use crate::units::{BytesPerSecond, FlopsPerSecond};

/// What GPU said while the case `id` was measured.
fn span<'a>(run: &'a Run, from: &[String]) -> Option<&'a TelemetrySpan> {
    let case: Case = from.first()?.parse().ok()?;
    run.measurement(&case)?.telemetry.as_ref()
}

/// Light speed of matrix products in `dtype`, at the clock of the measurement behind `figure`.
pub(super) fn arithmetic(
    run: &Run,
    gpu: &Gpu,
    model: &GpuModel,
    dtype: Dtype,
    figure: &Figure<FlopsPerSecond>,
) -> Option<Figure<FlopsPerSecond>> {
    let clock = span(run, &figure.from)?.mean_sm_clock?;
    let (printed, boost) = (f64::from(model.sm_count?), model.clocks?.boost());
    let per_clock = model.matmul_peak(dtype)?.map(|peak| FlopsPerSecond(peak.0 / printed / boost.0));
    let sms = f64::from(*gpu.sm_count.known()?);
    let mut light = per_clock.map(|per_clock| FlopsPerSecond(per_clock.0 * sms * clock.0)).on(Basis::Datasheet);
    light.from.push(format!("{sms} SM × {clock}"));
    (light.value.0 > 0.0 && light.value.is_finite()).then_some(light)
}

/// Light speed of device memory, at the memory clock of the measurement behind `figure`.
pub(super) fn memory(run: &Run, gpu: &Gpu, figure: &Figure<BytesPerSecond>) -> Option<Figure<BytesPerSecond>> {
    let clock = span(run, &figure.from)?.mean_memory_clock?;
    let bits = *gpu.memory_bus_bits.known()?;
    let rate = BytesPerSecond(f64::from(bits) / 8.0 * 2.0 * clock.0);
    let from = format!("{bits} bit × 2 × {clock}");
    (rate.0 > 0.0 && rate.is_finite()).then(|| Figure::new(rate, Basis::Datasheet, from))
}
