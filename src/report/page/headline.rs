//! The main rates of each GPU, beside what was promised and what the silicon could do.

use super::{Item, Source, Subject, Topic, light_speed};
use crate::calibrate::GpuCalibration;
use crate::catalog::Dtype;
use crate::figure::{Figure, Quantity};
use crate::guide;
use crate::lang::Text;
use crate::machine::Gpu;
use crate::table::{Cell, Column, Table};

pub(super) const TOPIC: Topic = Topic {
    id: "headline",
    title: Text::new("Main rates", "주요 성능"),
    about: Text::new(
        "The best rate over sizes and shapes, with the 95 % interval of its median. Light speed is what the silicon could do at the clock seen during that measurement, if nothing ever waited.",
        "크기와 형상을 바꿔 가며 얻은 최고 값과 중앙값의 95 % 신뢰구간이다. 이론 한계는 측정 중 클럭에서 칩이 쉬지 않고 일할 때의 값이다.",
    ),
    panel,
};

fn panel(source: &Source<'_>, subject: &Subject<'_>) -> Vec<Item> {
    let folded = |title: Text, table: Table| Item::Folded { title: title.get(source.lang).to_owned(), items: vec![Item::Table(table)] };
    let mut summary = guide::summary(subject.run, subject.calibration, source.catalog, source.lang).into_iter();
    let mut items: Vec<Item> = summary.next().map(Item::Table).into_iter().collect();
    let rates = rates(source, subject);
    if !rates.is_empty() {
        // One or two GPUs are read at once; eight are a table to look things up in.
        items.push(if subject.run.machine.gpus.len() > 2 { folded(EVERY_GPU, rates) } else { Item::Table(rates) });
    }
    items.extend(summary.map(|gaps| folded(Text::new("Not measured, and why", "측정하지 못한 항목과 이유"), gaps)));
    items
}

const EVERY_GPU: Text = Text::new("Every GPU, beside datasheet and light speed", "GPU별 측정값, 데이터시트와 이론 한계 대비");

/// A rate with what it is held against.
struct Rate<Q> {
    measured: Option<Figure<Q>>,
    promised: Option<Figure<Q>>,
    light: Option<Figure<Q>>,
}

/// Every GPU's rates, one row each.
fn rates(source: &Source<'_>, subject: &Subject<'_>) -> Table {
    let what = |text: Text| text.get(source.lang);
    let columns = [
        Column::text("gpu", "GPU"),
        Column::text("quantity", what(Text::new("quantity", "항목"))),
        Column::number("value", what(Text::new("measured", "측정값"))),
        Column::number("low", what(Text::new("from", "하한"))),
        Column::number("high", what(Text::new("to", "상한"))),
        Column::number("of_datasheet", what(Text::new("of datasheet", "데이터시트 대비"))),
        Column::number("light_speed", what(Text::new("light speed", "이론 한계"))),
        Column::number("of_light_speed", what(Text::new("of light speed", "이론 한계 대비"))),
    ];
    let title = what(EVERY_GPU);
    let mut table = Table::new(title, columns).in_lang(source.lang);
    for gpu in &subject.run.machine.gpus {
        if let Some(measured) = subject.calibration.gpu(gpu.index) {
            rows(&mut table, source, subject, gpu, measured);
        }
    }
    table
}

fn rows(table: &mut Table, source: &Source<'_>, subject: &Subject<'_>, gpu: &Gpu, measured: &GpuCalibration) {
    let (run, lang) = (subject.run, source.lang);
    let model = measured.model(source.catalog);
    let name = format!("{} {}", gpu.index, model.map_or(gpu.name.as_str(), |model| model.short_name.as_str()));
    let dram = measured.dram_best();
    let light = dram.as_ref().and_then(|rate| light_speed::memory(run, gpu, rate));
    row(table, &name, MEMORY.get(lang), Rate { measured: dram, promised: model.map(|model| model.bandwidth()), light });
    for (case, dtype) in [("bf16", Dtype::Bf16), ("e4m3", Dtype::Fp8)] {
        let rate = measured.matmul_best(case).map(|point| point.rate.clone());
        let light = rate.as_ref().zip(model).and_then(|(rate, model)| light_speed::arithmetic(run, gpu, model, dtype, rate));
        let promised = model.and_then(|model| model.matmul_peak(dtype));
        row(table, &name, &PRODUCT.fill(lang, &[&dtype]), Rate { measured: rate, promised, light });
    }
    // Formats on the side: what the chip has and the run has measured.
    for (case, dtype) in OTHERS {
        let measured = measured.matmul_best(case).map(|point| point.rate.clone());
        row(
            table,
            &name,
            &PRODUCT.fill(lang, &[&dtype]),
            Rate { measured, promised: model.and_then(|model| model.matmul_peak(dtype)), light: None },
        );
    }
    row(table, &name, ZEROS.get(lang), Rate { measured: measured.zeros.clone(), promised: None, light: None });
    let ceiling = measured.pcie.and_then(|(generation, width)| source.catalog.pcie_ceiling(generation, width));
    for (direction, text) in [("h2d", TO_GPU), ("d2h", TO_HOST)] {
        let rate = measured.copy_ceiling(direction, "pinned").cloned();
        row(table, &name, text.get(lang), Rate { measured: rate, promised: ceiling.clone(), light: None });
    }
}

/// Formats beside BF16 and FP8, as cases name them.
const OTHERS: [(&str, Dtype); 6] = [
    ("fp16", Dtype::Fp16),
    ("fp4", Dtype::Fp4),
    ("int8", Dtype::Int8),
    ("tf32", Dtype::Tf32),
    ("fp32", Dtype::Fp32),
    ("fp64", Dtype::Fp64),
];

const ZEROS: Text =
    Text::new("rate of zeros beside random data (110 % and more: power limits)", "0의 곱 속도 대 임의 데이터 (110 % 이상: 전력 제한)");
pub(super) const MEMORY: Text = Text::new("memory bandwidth", "메모리 대역폭");
pub(super) const PRODUCT: Text = Text::new("matrix product, {}", "행렬 곱, {}");
pub(super) const TO_GPU: Text = Text::new("copy, host to GPU", "복사, 호스트 → GPU");
pub(super) const TO_HOST: Text = Text::new("copy, GPU to host", "복사, GPU → 호스트");

fn row<Q: Quantity>(table: &mut Table, gpu: &str, quantity: &str, rate: Rate<Q>) {
    let Some(measured) = rate.measured else { return };
    let share = |whole: Option<&Figure<Q>>| Cell::maybe(whole.map(|whole| measured.share_of(whole)).as_ref());
    table.row([
        Cell::text(gpu),
        Cell::text(quantity),
        Cell::figure(&measured),
        Cell::plain(measured.low),
        Cell::plain(measured.high),
        share(rate.promised.as_ref()),
        Cell::maybe(rate.light.as_ref()),
        share(rate.light.as_ref()),
    ]);
}
