//! Loads that lasted: rate, clock, power and temperature over time.

use super::{Item, Source, Subject, Topic, seen};
use crate::lang::{Lang, Text};
use crate::measure::{Measurement, TracePoint};
use crate::plot::{Axis, Chart, Form, Line, Plot, Point, Reference, Scale, Series, Side, Unit};
use crate::record::Run;
use crate::report::sustained::{loads, name, table};

pub(super) const TOPIC: Topic = Topic {
    id: "sustained",
    title: Text::new("Sustained load", "지속 부하"),
    about: Text::new(
        "Large matrix products without a pause. The first second is what short benchmarks show; the steady part is what a job gets. A solid line is a GPU alone, a dashed one the same GPU while all are at work: where the dashed line is lower, they share power or cooling.",
        "큰 행렬곱을 쉬지 않고 실행했다. 처음 1초는 짧은 벤치마크의 값이고, 안정된 구간이 실제 작업의 값이다. 실선은 GPU 하나만, 점선은 모두 동시에 실행한 것이다. 점선이 낮으면 전력이나 냉각을 나눠 쓰는 것이다.",
    ),
    panel,
};

/// What is drawn over time.
struct Quantity {
    title: Text,
    about: Text,
    axis: Text,
    unit: Unit,
    value: fn(&Measurement, usize, &TracePoint) -> Option<f64>,
    limit: fn(&crate::machine::Gpu) -> Option<f64>,
    limit_name: Text,
}

const QUANTITIES: [Quantity; 4] = [
    Quantity {
        title: Text::new("Rate over time", "시간에 따른 속도"),
        about: Text::new("Rate of matrix products in each second of the load.", "부하 중 초마다의 행렬곱 속도다."),
        axis: Text::new("rate", "속도"),
        unit: Unit::FlopsPerSecond,
        value: |measurement, index, _| Some(measurement.work.compute.0 / measurement.samples.get(index)?),
        limit: |_| None,
        limit_name: Text::new("limit", "한도"),
    },
    Quantity {
        title: Text::new("Clock over time", "시간에 따른 클럭"),
        about: Text::new("Mean clock of the multiprocessors in each second of the load.", "부하 중 초마다의 SM 평균 클럭이다."),
        axis: Text::new("clock", "클럭"),
        unit: Unit::Hertz,
        value: |_, _, point| Some(point.sm_clock?.0),
        limit: |gpu| Some(gpu.sm_clock.maximum.known()?.0),
        limit_name: Text::new("highest", "최고"),
    },
    Quantity {
        title: Text::new("Power over time", "시간에 따른 전력"),
        about: Text::new("Mean power drawn in each second of the load.", "부하 중 초마다의 평균 소비 전력이다."),
        axis: Text::new("power", "전력"),
        unit: Unit::Watts,
        value: |_, _, point| Some(point.power?.0),
        limit: |gpu| Some(gpu.power.enforced.known()?.0),
        limit_name: Text::new("limit", "한도"),
    },
    Quantity {
        title: Text::new("Temperature over time", "시간에 따른 온도"),
        about: Text::new("Highest temperature in each second of the load.", "부하 중 초마다의 최고 온도다."),
        axis: Text::new("temperature", "온도"),
        unit: Unit::Celsius,
        value: |_, _, point| Some(point.temperature?.0),
        limit: |_| None,
        limit_name: Text::new("limit", "한도"),
    },
];

/// Lines of one plot that can be told apart.
const MOST_LINES: usize = 8;

fn panel(source: &Source<'_>, subject: &Subject<'_>) -> Vec<Item> {
    let table = table(subject.run, source.lang);
    if table.is_empty() {
        return Vec::new();
    }
    let plots = QUANTITIES.iter().filter_map(|quantity| seen(plot(source.lang, subject.run, quantity)));
    std::iter::once(Item::Table(table)).chain(plots).collect()
}

fn plot(lang: Lang, run: &Run, quantity: &Quantity) -> Plot {
    let together = |measurement: &Measurement| measurement.case.get_count("gpus").is_some();
    // Of many GPUs those at work together are what counts; the table has all.
    let many = loads(run).count() > MOST_LINES && loads(run).any(|(measurement, _)| together(measurement));
    let series = loads(run).filter(|(measurement, _)| !many || together(measurement)).map(|(measurement, _)| {
        let mut passed = 0.0;
        let mut points = Vec::new();
        for (index, (length, point)) in measurement.lengths().into_iter().zip(&measurement.trace).enumerate() {
            passed += length;
            // A point stands in the middle of the time it is about.
            points.extend((quantity.value)(measurement, index, point).map(|value| Point::new(passed - length / 2.0, value, "")));
        }
        let line = if together(measurement) { Line::Dashed } else { Line::Solid };
        Series { name: name(measurement, lang), points, line, dots: false }
    });
    let x = Axis::new(Text::new("time under load", "부하 시간").get(lang), Unit::Seconds, Scale::FromZero);
    let y = Axis::new(quantity.axis.get(lang), quantity.unit, Scale::Near);
    let mut chart = Chart::new(x, y, series.filter(|series| !series.points.is_empty()).collect());
    if let Some(limit) = run.machine.gpus.first().and_then(quantity.limit) {
        let name = format!("{}: {}", quantity.limit_name.get(lang), quantity.unit.show(limit, 4));
        chart.references.push(Reference { side: Side::Y, at: limit, name });
    }
    Plot::new(quantity.title.get(lang), quantity.about.get(lang), Form::Chart(chart), lang)
}
