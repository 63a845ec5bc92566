//! Clock, power and temperature while it was measured, measurement by measurement in the order taken.
//!
//! A record keeps one span of telemetry per measurement, so that is what is drawn: a mean or a highest value for each, over its position in the
//! run, with the probes as named parts of the axis.

use super::group::gpu_of;
use super::{Item, Source, Subject, Topic, seen};
use crate::lang::{Lang, Text};
use crate::measure::{Measurement, TelemetrySpan};
use crate::plot::{Axis, Chart, Form, Line, Plot, Point, Reference, Scale, Series, Side, Span, Unit};
use crate::record::Run;

pub(super) const TOPIC: Topic = Topic {
    id: "telemetry",
    title: Text::new("Clock, power and temperature", "클럭, 전력, 온도"),
    about: Text::new(
        "One mark per measurement, in the order of the run. A clock that falls while power stands at its limit is how GPUs work; one that falls with heat is a finding.",
        "측정 하나가 점 하나이며 측정한 순서대로다. 전력이 한도에 닿아 클럭이 내려가는 것은 정상이지만, 열 때문이라면 문제다.",
    ),
    panel,
};

/// What is drawn of a span.
struct Quantity {
    title: Text,
    about: Text,
    axis: Text,
    unit: Unit,
    value: fn(&TelemetrySpan) -> Option<f64>,
    /// The limit in force for a GPU, as its driver says.
    limit: fn(&crate::machine::Gpu) -> Option<f64>,
    limit_name: Text,
}

const QUANTITIES: [Quantity; 3] = [
    Quantity {
        title: Text::new("Mean clock of the multiprocessors", "SM 평균 클럭"),
        about: Text::new("Mean clock of the multiprocessors during each measurement.", "측정마다의 SM 평균 클럭이다."),
        axis: Text::new("clock", "클럭"),
        unit: Unit::Hertz,
        value: |span| Some(span.mean_sm_clock?.0),
        limit: |gpu| Some(gpu.sm_clock.maximum.known()?.0),
        limit_name: Text::new("highest", "최고"),
    },
    Quantity {
        title: Text::new("Mean power", "평균 전력"),
        about: Text::new("Mean power drawn during each measurement.", "측정마다의 평균 소비 전력이다."),
        axis: Text::new("power", "전력"),
        unit: Unit::Watts,
        value: |span| Some(span.mean_power?.0),
        limit: |gpu| Some(gpu.power.enforced.known()?.0),
        limit_name: Text::new("limit", "한도"),
    },
    Quantity {
        title: Text::new("Highest temperature", "최고 온도"),
        about: Text::new("Highest temperature seen during each measurement.", "측정마다의 최고 온도다."),
        axis: Text::new("temperature", "온도"),
        unit: Unit::Celsius,
        value: |span| Some(span.peak_temperature?.0),
        limit: |_| None,
        limit_name: Text::new("limit", "한도"),
    },
];

fn panel(source: &Source<'_>, subject: &Subject<'_>) -> Vec<Item> {
    let mut items: Vec<Item> = QUANTITIES.iter().filter_map(|quantity| seen(plot(source.lang, subject.run, quantity))).collect();
    items.extend(throttled(subject.run, source.lang).map(Item::Words));
    items
}

/// Measurements with telemetry and their position among all of them, from 1.
fn watched(run: &Run) -> impl Iterator<Item = (f64, &Measurement, &TelemetrySpan)> {
    let numbered = run.measurements().filter(|measurement| gpu_of(measurement).is_some()).enumerate();
    numbered.filter_map(|(index, measurement)| Some((index as f64 + 1.0, measurement, measurement.telemetry.as_ref()?)))
}

fn plot(lang: Lang, run: &Run, quantity: &Quantity) -> Plot {
    let mut series: Vec<(u32, Series)> = Vec::new();
    for (rank, measurement, span) in watched(run) {
        let Some((gpu, value)) = gpu_of(measurement).zip((quantity.value)(span)) else { continue };
        let point = Point::new(rank, value, measurement.case.to_string());
        match series.iter_mut().find(|(index, _)| *index == gpu) {
            Some((_, series)) => series.points.push(point),
            None => {
                let name = format!("GPU {gpu}");
                series.push((gpu, Series { name, points: vec![point], line: Line::None, dots: true }));
            }
        }
    }
    series.sort_by_key(|(gpu, _)| *gpu);
    let x = Axis::new(Text::new("measurement, in the order taken", "측정 순서").get(lang), Unit::Rank, Scale::Near);
    let y = Axis::new(quantity.axis.get(lang), quantity.unit, Scale::Near);
    let mut chart = Chart::new(x, y, series.into_iter().map(|(_, series)| series).collect());
    chart.spans = spans(run);
    if let Some(limit) = run.machine.gpus.first().and_then(quantity.limit) {
        let name = format!("{}: {}", quantity.limit_name.get(lang), quantity.unit.show(limit, 4));
        chart.references.push(Reference { side: Side::Y, at: limit, name });
    }
    Plot::new(quantity.title.get(lang), quantity.about.get(lang), Form::Chart(chart), lang)
}

/// Which probe was at work.
fn spans(run: &Run) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (rank, measurement, _) in watched(run) {
        match spans.last_mut() {
            Some(span) if span.name == measurement.case.family() => span.to = rank,
            _ => spans.push(Span { from: rank, to: rank, name: measurement.case.family().to_owned() }),
        }
    }
    spans
}

/// Why clocks were held back, each reason with the number of measurements it was seen in.
fn throttled(run: &Run, lang: Lang) -> Option<String> {
    let mut reasons: Vec<(&str, usize)> = Vec::new();
    for reason in watched(run).flat_map(|(_, _, span)| &span.throttle_reasons) {
        let room = reasons.len() < MOST_REASONS;
        match reasons.iter_mut().find(|(known, _)| known == reason) {
            Some((_, count)) => *count += 1,
            None if room => reasons.push((reason, 1)),
            None => {}
        }
    }
    watched(run).next()?;
    if reasons.is_empty() {
        let none = Text::new(
            "The driver gave no reason for reduced clocks in any measurement.",
            "드라이버가 클럭을 낮춘 이유를 보고한 측정은 없다.",
        );
        return Some(none.get(lang).to_owned());
    }
    let list: Vec<String> = reasons.iter().map(|(reason, count)| format!("{reason} ({count} ×)")).collect();
    let text = Text::new("The driver held clocks back, in so many measurements: {}.", "드라이버가 클럭을 낮춘 이유와 측정 수: {}.");
    Some(text.fill(lang, &[&list.join(", ")]))
}

/// NVML knows ten.
const MOST_REASONS: usize = 16;
