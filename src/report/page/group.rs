//! GPUs of one kind seen together: the middle of them, and from the least to the most.
//!
//! Eight lines on top of each other say less than one with a band around it, and the band shows a slow GPU at once. With a single GPU the
//! range is the interval of its measurement.

use std::collections::BTreeMap;

use crate::measure::Measurement;
use crate::plot::Point;
use crate::record::Run;
use crate::stats::Interval;

/// Measurements that belong to one point.
#[derive(Debug, Default)]
struct Together {
    intervals: Vec<Interval>,
    name: String,
}

/// One point per place on the horizontal axis, in ascending order: the middle of all measurements there.
///
/// `place` says where a measurement belongs and what it amounts to; `None` leaves it out.
pub(super) fn points<'a>(
    measurements: impl Iterator<Item = &'a Measurement>,
    place: impl Fn(&Measurement) -> Option<(f64, Interval)>,
) -> Vec<Point> {
    let mut places: BTreeMap<u64, Together> = BTreeMap::new();
    for measurement in measurements {
        if let Some((x, interval)) = place(measurement).filter(|(x, _)| x.is_finite() && *x > 0.0) {
            // The order of positive numbers is that of their bits.
            let together = places.entry(x.to_bits()).or_default();
            together.intervals.push(interval);
            together.name = measurement.case.to_string();
        }
    }
    places.into_iter().map(|(bits, together)| point(f64::from_bits(bits), together)).collect()
}

fn point(x: f64, together: Together) -> Point {
    let Together { mut intervals, name } = together;
    intervals.sort_by(|a, b| a.point.total_cmp(&b.point));
    let middle = intervals[intervals.len() / 2].point;
    let (range, name) = match intervals[..] {
        [one] => ((one.low, one.high), name),
        [least, .., most] => ((least.point, most.point), format!("{} × {}", intervals.len(), without_device(&name))),
        [] => ((middle, middle), name),
    };
    Point { range: Some(range), ..Point::new(x, middle, name) }
}

/// A case's id without the axes that say which GPU it was.
fn without_device(id: &str) -> String {
    let (mechanism, axes) = id.split_once('/').unwrap_or((id, ""));
    let kept: Vec<&str> = axes.split(',').filter(|axis| !["gpu=", "from=", "to="].iter().any(|which| axis.starts_with(which))).collect();
    if kept.is_empty() { mechanism.to_owned() } else { format!("{mechanism}/{}", kept.join(",")) }
}

/// The GPU that a measurement is about.
pub(super) fn gpu_of(measurement: &Measurement) -> Option<u32> {
    let index = measurement.case.get_count("gpu").or_else(|| measurement.case.get_count("from"))?;
    u32::try_from(index).ok()
}

/// A GPU model of a machine: its name, and the indices of its GPUs.
pub(super) struct Kind<'a> {
    pub(super) name: &'a str,
    pub(super) gpus: Vec<u32>,
}

/// Kinds of GPUs that a report looks at one by one.
const MOST_KINDS: usize = 4;

/// The GPU models of a machine, in the order of first appearance; the first few of a hostile number.
pub(super) fn kinds(run: &Run) -> Vec<Kind<'_>> {
    let mut kinds: Vec<Kind<'_>> = Vec::new();
    for gpu in &run.machine.gpus {
        let room = kinds.len() < MOST_KINDS;
        match kinds.iter_mut().find(|kind| kind.name == gpu.name) {
            Some(kind) => kind.gpus.push(gpu.index),
            None if room => kinds.push(Kind { name: &gpu.name, gpus: vec![gpu.index] }),
            None => {}
        }
    }
    kinds
}

impl Kind<'_> {
    /// Measurements of one mechanism on GPUs of this kind.
    pub(super) fn of<'a>(&'a self, run: &'a Run, mechanism: &'a str) -> impl Iterator<Item = &'a Measurement> {
        run.of(mechanism).filter(move |measurement| gpu_of(measurement).is_some_and(|index| self.gpus.contains(&index)))
    }

    /// `text`, followed by the kind's name where the machine has several.
    pub(super) fn title(&self, text: &str, all: usize) -> String {
        if all > 1 { format!("{text}: {}", self.name) } else { text.to_owned() }
    }
}
