//! Matrix products by shape: measured rates, the library and the program's own kernel apart.

use super::group::{Kind, kinds, points};
use super::{Item, Source, Subject, Topic, seen};
use crate::calibrate::matmul::GemmShape;
use crate::catalog::Dtype;
use crate::lang::Text;
use crate::measure::Measurement;
use crate::plot::{Axis, Chart, Form, Line, Plot, Reference, Scale, Series, Side, Unit};
use crate::stats::Interval;

pub(super) const TOPIC: Topic = Topic {
    id: "products",
    title: Text::new("Matrix products by shape", "형상별 행렬 곱"),
    about: Text::new(
        "Every shape that was measured. Small products wait for launches and leave multiprocessors idle; large ones show what arithmetic does at the clock that power allows.",
        "측정한 모든 형상이다. 작은 곱은 실행 지연과 노는 SM 때문에 느리고, 큰 곱은 전력이 허용하는 클럭에서의 연산 성능을 보여 준다.",
    ),
    panel,
};

const DTYPES: [(&str, Dtype); 2] = [("matmul.bf16", Dtype::Bf16), ("matmul.e4m3", Dtype::Fp8)];
const ENGINES: [(&str, Text); 2] = [("cublaslt", Text::new("cuBLASLt", "cuBLASLt")), ("own", Text::new("own kernel", "자체 커널"))];

fn panel(source: &Source<'_>, subject: &Subject<'_>) -> Vec<Item> {
    let kinds = kinds(subject.run);
    let item = |kind: &Kind<'_>| {
        let (plot, shapes) = plot(source, subject, kind, kinds.len());
        // Of a single shape a table says more.
        if shapes == 1 { Some(Item::Table(plot.table())) } else { seen(plot) }
    };
    kinds.iter().filter_map(item).collect()
}

fn plot(source: &Source<'_>, subject: &Subject<'_>, kind: &Kind<'_>, all: usize) -> (Plot, usize) {
    let lang = source.lang;
    let mut series = Vec::new();
    for (mechanism, dtype) in DTYPES {
        for (engine, who) in ENGINES {
            let wanted = kind.of(subject.run, mechanism).filter(|measurement| measurement.case.get_word("engine") == Some(engine));
            let name = format!("{dtype}, {}", who.get(lang));
            series.push(Series { name, points: points(wanted, by_operations), line: Line::None, dots: true });
        }
    }
    let x = Axis::new(Text::new("operations of the product", "곱의 연산 수").get(lang), Unit::Flops, Scale::Logarithmic);
    let y = Axis::new(Text::new("rate of operations", "연산 속도").get(lang), Unit::FlopsPerSecond, Scale::Logarithmic);
    let mut chart = Chart::new(x, y, series);
    let shapes = chart.places();
    let model = kind.gpus.first().and_then(|index| subject.calibration.gpu(*index)).and_then(|gpu| gpu.model(source.catalog));
    let name = Text::new("{}, datasheet", "{}, 데이터시트");
    for (_, dtype) in DTYPES {
        if let Some(peak) = model.and_then(|model| model.matmul_peak(dtype)) {
            chart.references.push(Reference { side: Side::Y, at: peak.value.0, name: name.fill(lang, &[&dtype]) });
        }
    }
    let title = kind.title(Text::new("Matrix products by shape", "형상별 행렬 곱").get(lang), all);
    let about = Text::new(
        "Rate of each measured matrix product over its number of operations, by data type and by who computed it; the lines across are the datasheet's peaks.",
        "측정한 행렬 곱의 연산 수에 따른 속도를 데이터 형식과 계산 주체별로 나타낸다. 가로선은 데이터시트의 최고 성능이다.",
    );
    (Plot::new(title, about.get(lang), Form::Chart(chart), lang), shapes)
}

/// Operations of one product, and its rate.
fn by_operations(measurement: &Measurement) -> Option<(f64, Interval)> {
    let side = |axis| measurement.case.get_count(axis);
    let shape = GemmShape { m: side("m")?, n: side("n")?, k: side("k")? };
    Some((shape.flops().0, measurement.throughput()?))
}
