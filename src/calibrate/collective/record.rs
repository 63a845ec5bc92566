//! Collectives that a run measured.

use super::{Collective, CollectiveModel, CollectiveTiming};
use crate::calibrate::Source;
use crate::measure::Measurement;
use crate::units::{Bytes, Seconds};

/// The model through what `source` measured; `None` where it measured too little of it, or nothing.
pub(in crate::calibrate) fn measured(source: &Source<'_>) -> Option<CollectiveModel> {
    let timings: Vec<CollectiveTiming> = source.run.measurements().filter_map(timing).collect();
    let model = CollectiveModel::fit(&timings)?;
    let most = timings.iter().map(|timing| timing.gpus).max().unwrap_or(0);
    Some(model.on(source.basis, vec![format!("collective, {} cases, up to {most} GPUs", timings.len())]))
}

/// One measurement as a timing; none of what no job waits for, and none without a time.
fn timing(measurement: &Measurement) -> Option<CollectiveTiming> {
    let case = &measurement.case;
    let operation = Collective::named(case.mechanism().strip_prefix("collective.")?)?;
    let gpus = u32::try_from(case.get_count("gpus")?).ok().filter(|gpus| *gpus >= 2)?;
    // The size is rounded to whole elements for each GPU.
    let exact = measurement.conditions.get("message").and_then(|message| message.parse::<Bytes>().ok());
    let bytes = exact.or_else(|| case.get_bytes("bytes")).filter(|bytes| bytes.0 > 0)?;
    let time = measurement.time().filter(|time| time.low > 0.0 && time.high.is_finite())?;
    Some(CollectiveTiming { operation, gpus, bytes, time: Seconds(time.point) })
}
