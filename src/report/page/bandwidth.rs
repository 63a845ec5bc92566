//! Rates and times by size: device memory and caches, copies from and to the host, copies between GPUs.

use super::group::{Kind, kinds, points};
use super::{Item, Source, Subject, Topic, seen};
use crate::lang::{Lang, Text};
use crate::measure::Measurement;
use crate::plot::{Axis, Chart, Form, Line, Plot, Reference, Scale, Series, Side, Unit};
use crate::record::Run;
use crate::stats::Interval;

pub(super) const TOPIC: Topic = Topic {
    id: "bandwidth",
    title: Text::new("Bandwidth by size", "크기별 대역폭"),
    about: Text::new(
        "Each line is the middle of all GPUs of the kind; its band goes from the slowest to the fastest of them, or is the 95 % interval where there is one.",
        "선은 같은 종류 GPU들의 중앙값이다. 띠는 가장 느린 것에서 가장 빠른 것까지이고, 하나뿐이면 95 % 신뢰구간이다.",
    ),
    panel,
};

fn panel(source: &Source<'_>, subject: &Subject<'_>) -> Vec<Item> {
    let (run, kinds) = (subject.run, kinds(subject.run));
    let mut items = Vec::new();
    for kind in &kinds {
        items.extend(seen(memory(source, subject, kind, kinds.len())));
        items.extend(seen(latency(source, run, kind, kinds.len())));
        items.extend(seen(host_copies(source, subject, kind, kinds.len())));
    }
    items.extend(peer_copies(source.lang, run).and_then(seen));
    items
}

/// Where a measurement belongs by its size, and its rate.
fn by_size(measurement: &Measurement) -> Option<(f64, Interval)> {
    Some((measurement.case.get_bytes("bytes")?.as_f64(), measurement.bandwidth()?))
}

fn rate_axes(lang: Lang, size: Text) -> [Axis; 2] {
    let rate = Text::new("rate", "속도").get(lang);
    [Axis::new(size.get(lang), Unit::Bytes, Scale::Logarithmic), Axis::new(rate, Unit::BytesPerSecond, Scale::Logarithmic)]
}

fn memory(source: &Source<'_>, subject: &Subject<'_>, kind: &Kind<'_>, all: usize) -> Plot {
    let lang = source.lang;
    let [x, y] = rate_axes(lang, WORKING_SET);
    let series = |name: String, mechanism: &str| Series {
        name,
        points: points(kind.of(subject.run, mechanism), by_size),
        line: Line::Solid,
        dots: true,
    };
    let cache = series(Text::new("read, by working set", "읽기, 작업 집합별").get(lang).to_owned(), "cache.read");
    let dram = ["read", "write", "copy", "scale", "add", "triad"].map(|name| series(format!("dram.{name}"), &format!("dram.{name}")));
    let mut chart = Chart::new(x, y, std::iter::once(cache).chain(dram).collect());
    let gpu = kind.gpus.first().and_then(|index| subject.run.machine.gpus.iter().find(|gpu| gpu.index == *index));
    if let Some(l2) = gpu.and_then(|gpu| gpu.l2.known()) {
        chart.references.push(Reference { side: Side::X, at: l2.as_f64(), name: format!("L2: {}", l2.approximate()) });
    }
    let model = kind.gpus.first().and_then(|index| subject.calibration.gpu(*index)).and_then(|gpu| gpu.model(source.catalog));
    if let Some(model) = model {
        chart.references.push(Reference { side: Side::Y, at: model.bandwidth().value.0, name: DATASHEET.get(lang).to_owned() });
    }
    let title = kind.title(Text::new("Device memory and cache", "장치 메모리와 캐시").get(lang), all);
    let about = Text::new(
        "Rate of reading by the size of what is read again and again: caches first, device memory at the end; and rates of device memory by mechanism. Reads and writes both count.",
        "반복해서 읽는 영역의 크기에 따른 읽기 속도(작으면 캐시, 크면 장치 메모리)와 방식별 장치 메모리 속도다. 읽기와 쓰기를 모두 센다.",
    );
    Plot::new(title, about.get(lang), Form::Chart(chart), lang)
}

const WORKING_SET: Text = Text::new("working set", "작업 집합");
const DATASHEET: Text = Text::new("datasheet", "데이터시트");

fn latency(source: &Source<'_>, run: &Run, kind: &Kind<'_>, all: usize) -> Plot {
    let lang = source.lang;
    let place = |measurement: &Measurement| Some((measurement.case.get_bytes("bytes")?.as_f64(), measurement.latency()?));
    let name = Text::new("one load, waiting for the one before", "앞의 읽기를 기다리는 읽기 한 번").get(lang).to_owned();
    let series = Series { name, points: points(kind.of(run, "cache.latency"), place), line: Line::Solid, dots: true };
    let x = Axis::new(WORKING_SET.get(lang), Unit::Bytes, Scale::Logarithmic);
    let y = Axis::new(Text::new("time", "시간").get(lang), Unit::Seconds, Scale::FromZero);
    let title = kind.title(Text::new("Latency of a load", "읽기 지연").get(lang), all);
    let about = Text::new(
        "Time of one dependent load by working set: first-level cache, second-level cache, device memory.",
        "작업 집합 크기에 따른 종속 읽기 한 번의 시간: L1 캐시, L2 캐시, 장치 메모리 순이다.",
    );
    Plot::new(title, about.get(lang), Form::Chart(Chart::new(x, y, vec![series])), lang)
}

fn host_copies(source: &Source<'_>, subject: &Subject<'_>, kind: &Kind<'_>, all: usize) -> Plot {
    let lang = source.lang;
    let [x, y] = rate_axes(lang, MESSAGE);
    let mut series = Vec::new();
    for (memory, how) in [("pinned", Text::new("pinned", "고정 메모리")), ("pageable", Text::new("pageable", "일반 메모리"))] {
        for (mechanism, direction) in [("copy.h2d", TO_GPU), ("copy.d2h", TO_HOST), ("copy.both", BOTH)] {
            let wanted = kind.of(subject.run, mechanism).filter(|measurement| measurement.case.get_word("memory") == Some(memory));
            let name = format!("{}, {}", direction.get(lang), how.get(lang));
            series.push(Series { name, points: points(wanted, by_size), line: Line::Solid, dots: true });
        }
    }
    let mut chart = Chart::new(x, y, series);
    let link = kind.gpus.iter().filter_map(|index| subject.calibration.gpu(*index)).find_map(|gpu| gpu.pcie);
    if let Some((generation, lanes)) = link
        && let Some(ceiling) = source.catalog.pcie_ceiling(generation, lanes)
    {
        let name = format!("PCIe {generation}.0 × {lanes}");
        chart.references.push(Reference { side: Side::Y, at: ceiling.value.0, name });
    }
    let title = kind.title(Text::new("Copies between host and GPU", "호스트와 GPU 사이 복사").get(lang), all);
    let about = Text::new(
        "Rate of one copy by its size, for each direction and kind of host memory; both directions at once are added up. The line across is what the link can carry one way.",
        "방향과 호스트 메모리 종류별로 복사 크기에 따른 속도다. 양방향은 합한 값이고, 가로선은 링크의 한 방향 한계다.",
    );
    Plot::new(title, about.get(lang), Form::Chart(chart), lang)
}

const MESSAGE: Text = Text::new("size of the copy", "복사 크기");
const TO_GPU: Text = Text::new("to the GPU", "GPU로");
const TO_HOST: Text = Text::new("to the host", "호스트로");
const BOTH: Text = Text::new("both ways", "양방향");

/// By size only where there are several: a single size is the matrix's business.
fn peer_copies(lang: Lang, run: &Run) -> Option<Plot> {
    let [x, y] = rate_axes(lang, MESSAGE);
    let mut series = Vec::new();
    for (engine, who) in [("ce", Text::new("copy engine", "복사 엔진")), ("sm", Text::new("kernel", "커널"))] {
        for (mechanism, way) in [
            ("peer.write", Text::new("write", "쓰기")),
            ("peer.read", Text::new("read", "읽기")),
            ("peer.both", Text::new("both ways", "양방향")),
        ] {
            let wanted = run.of(mechanism).filter(|measurement| measurement.case.get_word("engine") == Some(engine));
            let name = format!("{}, {}", who.get(lang), way.get(lang));
            series.push(Series { name, points: points(wanted, by_size), line: Line::Solid, dots: true });
        }
    }
    let chart = Chart::new(x, y, series);
    let title = Text::new("Copies between GPUs", "GPU 사이 복사").get(lang);
    let about = Text::new(
        "Rate of a copy from one GPU to another by its size: the middle of all pairs, with a band from the slowest to the fastest.",
        "GPU 사이 복사의 크기별 속도: 모든 쌍의 중앙값이며, 띠는 가장 느린 쌍에서 가장 빠른 쌍까지다.",
    );
    (chart.places() > 1).then(|| Plot::new(title, about.get(lang), Form::Chart(chart), lang))
}
