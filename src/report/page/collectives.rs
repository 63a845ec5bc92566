//! What all GPUs do together: bus bandwidth and time of each operation by size.

use super::group::points;
use super::{Item, Source, Subject, Topic, seen};
use crate::calibrate::PeerLink;
use crate::lang::{Lang, Text};
use crate::measure::Measurement;
use crate::plot::{Axis, Chart, Form, Line, Plot, Reference, Scale, Series, Side, Unit};
use crate::stats::Interval;

pub(super) const TOPIC: Topic = Topic {
    id: "collectives",
    title: Text::new("All GPUs together", "모든 GPU의 집단 통신"),
    about: Text::new(
        "Collective operations through NCCL. Bus bandwidth is what each GPU sends over the time, as nccl-tests counts it, so it compares with the rate of a link.",
        "NCCL 집단 통신이다. 버스 대역폭은 nccl-tests처럼 각 GPU가 보내는 양을 시간으로 나눈 값이어서 링크 속도와 견줄 수 있다.",
    ),
    panel,
};

/// Operations as their cases name them.
const OPERATIONS: [(&str, Text); 6] = [
    ("all_reduce", Text::new("all-reduce", "all-reduce")),
    ("all_gather", Text::new("all-gather", "all-gather")),
    ("reduce_scatter", Text::new("reduce-scatter", "reduce-scatter")),
    ("all_to_all", Text::new("all-to-all", "all-to-all")),
    ("broadcast", Text::new("broadcast", "broadcast")),
    ("send_receive", Text::new("send and receive", "송수신")),
];

fn panel(source: &Source<'_>, subject: &Subject<'_>) -> Vec<Item> {
    let lang = source.lang;
    let cases = subject.run.measurements().filter(|measurement| measurement.case.family() == "collective");
    let Some(most) = cases.filter_map(|measurement| measurement.case.get_count("gpus")).max() else { return Vec::new() };
    let rate = Axis::new(Text::new("bus bandwidth", "버스 대역폭").get(lang), Unit::BytesPerSecond, Scale::Logarithmic);
    let bandwidth = |measurement: &Measurement| Some((measurement.case.get_bytes("bytes")?.as_f64(), measurement.bandwidth()?));
    let mut rates = chart(subject, lang, most, rate, bandwidth);
    let copies = subject.calibration.peers.iter().filter_map(PeerLink::one_way);
    if let Some(slowest) = copies.map(|rate| rate.value.0).reduce(f64::min) {
        let name = Text::new("slowest copy between two", "가장 느린 GPU 쌍의 복사").get(lang).to_owned();
        rates.references.push(Reference { side: Side::Y, at: slowest, name });
    }
    let time = Axis::new(Text::new("time", "시간").get(lang), Unit::Seconds, Scale::Logarithmic);
    let times = chart(subject, lang, most, time, |measurement| Some((measurement.case.get_bytes("bytes")?.as_f64(), measurement.time()?)));
    let about = Text::new(
        "By the size of the message, on all the GPUs that were measured together.",
        "측정한 모든 GPU에서 메시지 크기에 따른 값이다.",
    );
    let plots = [
        (Text::new("Bus bandwidth of collectives on {} GPUs", "GPU {}개 집단 통신의 버스 대역폭"), rates),
        (Text::new("Time of collectives on {} GPUs", "GPU {}개 집단 통신의 시간"), times),
    ];
    let plots = plots.map(|(title, chart)| Plot::new(title.fill(lang, &[&most]), about.get(lang), Form::Chart(chart), lang));
    plots.into_iter().filter_map(seen).collect()
}

/// One line per operation on so many GPUs.
fn chart(subject: &Subject<'_>, lang: Lang, gpus: u64, y: Axis, place: impl Fn(&Measurement) -> Option<(f64, Interval)> + Copy) -> Chart {
    let x = Axis::new(Text::new("message", "메시지").get(lang), Unit::Bytes, Scale::Logarithmic);
    let series = OPERATIONS.map(|(name, text)| {
        let mechanism = format!("collective.{name}");
        let wanted = subject.run.of(&mechanism).filter(|measurement| measurement.case.get_count("gpus") == Some(gpus));
        Series { name: text.get(lang).to_owned(), points: points(wanted, place), line: Line::Solid, dots: true }
    });
    Chart::new(x, y, series.into())
}
