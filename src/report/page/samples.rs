//! The samples behind the headline, every one of them.

use super::headline::{MEMORY, PRODUCT, TO_GPU, TO_HOST};
use super::{Item, Source, Subject, Topic, group, seen};
use crate::lang::{Lang, Text};
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

/// A rate whose samples are shown.
struct Metric {
    title: String,
    mechanism: &'static str,
    unit: Unit,
    /// Tells its cases from others of the mechanism.
    wanted: fn(&Measurement) -> bool,
}

fn metrics(lang: Lang) -> Vec<Metric> {
    let memory = |mechanism, name| Metric {
        title: format!("{} ({name})", MEMORY.get(lang)),
        mechanism,
        unit: Unit::BytesPerSecond,
        wanted: |_| true,
    };
    let product =
        |mechanism, dtype: &str| Metric { title: PRODUCT.fill(lang, &[&dtype]), mechanism, unit: Unit::FlopsPerSecond, wanted: |_| true };
    let copy = |mechanism, title: Text| Metric {
        title: title.get(lang).to_owned(),
        mechanism,
        unit: Unit::BytesPerSecond,
        wanted: |measurement| measurement.case.get_word("memory") == Some("pinned"),
    };
    vec![
        memory("dram.read", "read"),
        memory("dram.triad", "triad"),
        product("matmul.bf16", "BF16"),
        product("matmul.e4m3", "FP8"),
        copy("copy.h2d", TO_GPU),
        copy("copy.d2h", TO_HOST),
    ]
}

fn panel(source: &Source<'_>, subject: &Subject<'_>) -> Vec<Item> {
    metrics(source.lang).iter().filter_map(|metric| seen(plot(source.lang, subject, metric))).collect()
}

fn plot(lang: Lang, subject: &Subject<'_>, metric: &Metric) -> Plot {
    let rows = strips(subject, metric.mechanism, metric.wanted);
    let axis = Axis::new(Text::new("rate", "속도").get(lang), metric.unit, Scale::Near);
    let about = Text::new("Every sample of {}, one row per GPU.", "{}의 모든 표본이며 GPU마다 한 줄이다.").fill(lang, &[&metric.title]);
    Plot::new(&metric.title, about, Form::Strips(Strips { axis, rows }), lang)
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
