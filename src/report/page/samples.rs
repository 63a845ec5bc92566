//! The samples behind the headline, every one of them.

use super::headline::metrics;
use super::{Item, Source, Subject, Topic, group, seen};
use crate::lang::Text;
use crate::measure::Measurement;
use crate::plot::{Axis, Form, Plot, Scale, Strip, Strips, Unit};
use crate::stats::Interval;

pub(super) const TOPIC: Topic = Topic {
    id: "samples",
    title: Text::new("The samples behind them", "주요 성능의 표본"),
    about: Text::new(
        "Every sample of the best case of each rate: a dot for each, a cross for a rejected one, an upright line for the median, a thick line for its 95 % interval, an arrow for what lies beyond the axis. Close together is a quiet machine; two heaps are two states, such as two clocks; a tail to the left is something that gets in the way.",
        "항목별 최고 측정의 모든 표본이다. 점은 표본, ×는 제외한 표본, 세로선은 중앙값, 굵은 선은 그 95 % 신뢰구간, 화살표는 축을 벗어난 값이다. 모여 있으면 조용한 장비, 두 무리면 두 상태(예: 두 클럭), 왼쪽 꼬리는 무언가의 방해다.",
    ),
    panel,
};

fn panel(source: &Source<'_>, subject: &Subject<'_>) -> Vec<Item> {
    let plot = |(title, mechanism, wanted): (String, &'static str, fn(&Measurement) -> bool)| {
        let unit = if mechanism.starts_with("matmul") { Unit::FlopsPerSecond } else { Unit::BytesPerSecond };
        let rows = strips(subject, mechanism, wanted);
        let axis = Axis::new(Text::new("rate", "속도").get(source.lang), unit, Scale::Near);
        let about = Text::new("Every sample of {}, one row per GPU.", "{}의 모든 표본이며 GPU마다 한 줄이다.").fill(source.lang, &[&title]);
        seen(Plot::new(title, about, Form::Strips(Strips { axis, rows }), source.lang))
    };
    metrics(source.lang).into_iter().filter_map(plot).collect()
}

/// The best measurement of each GPU, in its order.
fn strips(subject: &Subject<'_>, mechanism: &str, wanted: fn(&Measurement) -> bool) -> Vec<Strip> {
    let mut best: Vec<(u32, &Measurement, Interval)> = Vec::new();
    for measurement in subject.run.of(mechanism).filter(|measurement| wanted(measurement)) {
        let rate = measurement.throughput().or_else(|| measurement.bandwidth());
        let Some((gpu, rate)) = group::gpu_of(measurement).zip(rate) else { continue };
        match best.iter_mut().find(|(index, ..)| *index == gpu) {
            Some(known) if known.2.point < rate.point => *known = (gpu, measurement, rate),
            Some(_) => {}
            None => best.push((gpu, measurement, rate)),
        }
    }
    best.sort_by_key(|(gpu, ..)| *gpu);
    best.into_iter().map(|(gpu, measurement, rate)| strip(gpu, measurement, rate)).collect()
}

fn strip(gpu: u32, measurement: &Measurement, median: Interval) -> Strip {
    let work = &measurement.work;
    let amount = if work.compute.0 > 0.0 { work.compute.0 } else { work.moved.as_f64() };
    Strip {
        label: format!("GPU {gpu}"),
        samples: measurement.samples.iter().map(|seconds| amount / seconds).collect(),
        rejected: measurement.rejected.iter().filter_map(|rejection| Some(amount / rejection.seconds?)).collect(),
        median,
    }
}
