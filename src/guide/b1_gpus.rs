//! B.1.1: GPUs compared.
//!
//! All peaks are dense (no zeros counted), on tensor cores, accumulating in 32 bits: what a framework's matrix product can approach. The
//! written guide mixes these with rates of the ordinary lanes; a table of its own shows where.

use super::b1_differences::differences;
use super::{Here, Input, NO_RUN, Section, fact, slowest};
use crate::calibrate::GpuCalibration;
use crate::catalog::{Dtype, GpuModel};
use crate::figure::{Figure, Share};
use crate::lang::Text;
use crate::table::{Cell, Column, Table};
use crate::units::{BytesPerSecond, FlopsPerSecond};

pub(super) const SECTION: Section = Section { id: "B.1.1", title: Text::new("GPUs compared", "GPU 사양 비교"), tables };

/// Columns of arithmetic peaks, and the data type in case ids that measures each.
const PEAKS: [(Dtype, &str, &str); 3] = [(Dtype::Fp16, "fp16", "fp16"), (Dtype::Bf16, "bf16", "bf16"), (Dtype::Fp8, "fp8", "e4m3")];

fn tables(input: &Input<'_>) -> Vec<Table> {
    let mut tables = Vec::new();
    if input.gpus().iter().any(|here| here.measured.is_some()) {
        tables.push(measured(input));
    }
    tables.push(compared(input));
    tables.push(corrected(input));
    tables
}

/// This machine's GPUs one by one, beside what was promised.
fn measured(input: &Input<'_>) -> Table {
    let of_datasheet = input.say(Text::new("of datasheet", "데이터시트 대비"));
    let mut table = input.table(
        "B.1.1",
        Text::new("This machine's GPUs, measured", "이 장비의 GPU 측정값"),
        [
            Column::text("gpu", "GPU"),
            Column::number("dram", input.say(Text::new("memory", "메모리"))).unit("GB/s"),
            Column::number("dram_share", of_datasheet),
            Column::number("bf16", "BF16").unit("TFLOP/s"),
            Column::number("bf16_share", of_datasheet),
            Column::number("fp8", "FP8").unit("TFLOP/s"),
            Column::number("fp8_share", of_datasheet),
            Column::number("power", input.say(Text::new("power drawn", "소비 전력"))).unit("W"),
        ],
    );
    for here in input.gpus() {
        let Some(gpu) = here.measured else { continue };
        let dram = gpu.dram_best();
        let share = |rate: Option<Figure<FlopsPerSecond>>, dtype| share(rate, here.model.and_then(|model| model.matmul_peak(dtype)));
        let (bf16, fp8) = (matmul(gpu, "bf16"), matmul(gpu, "e4m3"));
        table.row([
            Cell::text(format!("{} {}", here.gpu.index, here.name())),
            gbs(dram.as_ref()),
            Cell::maybe(share_of_bandwidth(dram, here.model).as_ref()),
            tflops(bf16.as_ref()),
            Cell::maybe(share(bf16, Dtype::Bf16).as_ref()),
            tflops(fp8.as_ref()),
            Cell::maybe(share(fp8, Dtype::Fp8).as_ref()),
            gpu.power.as_ref().map_or(Cell::Empty, |power| Cell::figure_in(power, 1.0, 0)),
        ]);
        if here.model.is_none() {
            table.note(
                Text::new(
                    "{} is not in the catalog, or is a part of a GPU: there is no datasheet number to compare with.",
                    "{}은(는) 카탈로그에 없거나 GPU의 일부라서 비교할 데이터시트 값이 없다.",
                )
                .fill(input.lang, &[&here.gpu.name]),
            );
        }
        if !gpu.throttled.is_empty() {
            table.note(
                Text::new("GPU {} held its clocks back at times: {}.", "GPU {}의 클럭이 제한된 적이 있다: {}.")
                    .fill(input.lang, &[&here.gpu.index, &gpu.throttled.join(", ")]),
            );
        }
    }
    table.note(input.say(Text::new(
        "Best rate over sizes and shapes. Reads and writes both count. Shares above 100 % are real: boards may clock above what the datasheet assumes.",
        "크기와 형상을 바꿔 가며 얻은 최고 값이다. 읽기와 쓰기를 모두 센다. 데이터시트보다 높은 클럭으로 동작하면 100 %를 넘을 수 있다.",
    )));
    table
}

/// Every GPU of the catalog, this machine's and recorded ones among them.
fn compared(input: &Input<'_>) -> Table {
    let mut columns = vec![
        Column::text("gpu", "GPU"),
        Column::number("compute_capability", "CC"),
        Column::number("capacity", input.say(Text::new("memory", "메모리"))).unit("GiB"),
        Column::text("memory_type", input.say(Text::new("type", "종류"))),
        Column::number("bandwidth", input.say(Text::new("bandwidth", "대역폭"))).unit("GB/s"),
    ];
    columns.extend(PEAKS.map(|(dtype, key, _)| Column::number(key, dtype.to_string()).unit("TFLOP/s")));
    columns.push(Column::number("power", "TDP").unit("W"));
    columns.push(Column::number("price", input.say(Text::new("price", "가격"))).unit("USD"));
    let mut table = input.table("B.1.1", Text::new("GPUs compared", "GPU 사양 비교"), columns);

    for group in input.groups() {
        table.row(here_row(input, &group));
    }
    for model in &input.catalog.gpus {
        table.row(datasheet_row(model));
        for gpu in recorded(input, model) {
            table.row(recorded_row(input, model, gpu));
        }
    }
    if input.is_unmeasured() {
        table.note(input.say(NO_RUN));
    }
    table.note(input.say(Text::new(
        "Peaks are dense, on tensor cores, accumulating in FP32. Prices are what somebody once asked; the sources are in the JSON output.",
        "연산 성능은 희소성을 뺀 텐서 코어 기준이며 FP32로 누적한다. 가격은 특정 시점의 시세이고, 출처는 JSON 출력에 있다.",
    )));
    table
}

fn here_row(input: &Input<'_>, group: &[Here<'_>]) -> Vec<Cell> {
    let first = &group[0];
    let model = first.model;
    let count = if group.len() > 1 { format!("{}× ", group.len()) } else { String::new() };
    let capacity = slowest(group.iter().filter_map(|here| fact(&here.gpu.memory_total, "NVML"))).or_else(|| Some(model?.capacity()));
    let measured =
        |figure: fn(&GpuCalibration) -> Option<Figure<BytesPerSecond>>| slowest(group.iter().filter_map(|h| figure(h.measured?)));
    let bandwidth = measured(GpuCalibration::dram_best).or_else(|| Some(model?.bandwidth()));
    let limit = slowest(group.iter().filter_map(|here| fact(&here.gpu.power.enforced, "NVML"))).or_else(|| Some(model?.tdp()));
    let mut row = vec![
        Cell::text(format!("▶ {count}{} {}", first.name(), input.say(Text::new("(this machine)", "(이 장비)")))),
        first.gpu.compute_capability.known().map_or(Cell::Empty, |found| capability(*found)),
        capacity.map_or(Cell::Empty, |bytes| Cell::figure_as(&bytes, format!("{:.1}", bytes.value.as_gib()))),
        Cell::text(model.map_or("–", |model| model.memory.kind.as_str())),
        gbs(bandwidth.as_ref()),
    ];
    row.extend(PEAKS.map(|(dtype, _, case)| {
        let rate = slowest(group.iter().filter_map(|here| matmul(here.measured?, case)));
        tflops(rate.or_else(|| model?.matmul_peak(dtype)).as_ref())
    }));
    row.push(limit.map_or(Cell::Empty, |limit| Cell::figure_in(&limit, 1.0, 0)));
    row
}

/// A compute capability, which tells the generation in three letters.
fn capability((major, minor): (u32, u32)) -> Cell {
    Cell::text(format!("{major}.{minor}"))
}

fn datasheet_row(model: &GpuModel) -> Vec<Cell> {
    let capacity = model.capacity();
    let mut row = vec![
        Cell::text(&model.short_name),
        capability(model.compute_capability()),
        Cell::figure_as(&capacity, format!("{:.1}", capacity.value.as_gib())),
        Cell::text(&model.memory.kind),
        gbs(Some(&model.bandwidth())),
    ];
    row.extend(PEAKS.map(|(dtype, ..)| tflops(model.matmul_peak(dtype).as_ref())));
    row.push(Cell::figure_in(&model.tdp(), 1.0, 0));
    row.push(model.price().map_or(Cell::Empty, |price| Cell::figure_in(&price, 1.0, 0)));
    row
}

/// GPUs of this model on recorded machines, one per machine.
fn recorded<'a>(input: &Input<'a>, model: &'a GpuModel) -> impl Iterator<Item = &'a GpuCalibration> {
    let catalog = input.catalog;
    let is_model = move |gpu: &&GpuCalibration| catalog.device(&gpu.name, None).is_some_and(|found| found.name == model.name);
    let machines = input.recorded.iter().filter(|calibration| !calibration.simulated);
    machines.filter_map(move |calibration| calibration.gpus.iter().filter(|gpu| !gpu.is_empty()).find(is_model))
}

fn recorded_row(input: &Input<'_>, model: &GpuModel, gpu: &GpuCalibration) -> Vec<Cell> {
    let mut row = vec![
        Cell::text(format!("{} {}", model.short_name, input.say(Text::new("(recorded)", "(기록됨)")))),
        capability(model.compute_capability()),
        Cell::Empty,
        Cell::text(&model.memory.kind),
        gbs(gpu.dram_best().as_ref()),
    ];
    row.extend(PEAKS.map(|(_, _, case)| tflops(matmul(gpu, case).as_ref())));
    row.push(gpu.power.as_ref().map_or(Cell::Empty, |power| Cell::figure_in(power, 1.0, 0)));
    row
}

/// Where the written guide's rows and the documents differ.
fn corrected(input: &Input<'_>) -> Table {
    let mut table = input.table(
        "B.1.1",
        Text::new("Where the written guide differs", "문서 가이드와 다른 값"),
        [
            Column::text("gpu", "GPU"),
            Column::text("quantity", input.say(Text::new("quantity", "항목"))),
            Column::number("guide", input.say(Text::new("guide", "가이드"))),
            Column::number("datasheet", input.say(Text::new("datasheet", "데이터시트"))),
            Column::number("ratio", input.say(Text::new("datasheet / guide", "데이터시트 / 가이드"))),
            Column::text("why", input.say(Text::new("the guide's number is", "가이드 값의 정체"))),
        ],
    );
    for difference in differences(input) {
        table.row([
            Cell::text(difference.gpu),
            Cell::text(difference.quantity),
            difference.guide,
            difference.right,
            difference.ratio.map_or(Cell::Empty, |ratio| Cell::figure_as(&ratio, format!("{:.2}", ratio.value))),
            Cell::text(input.say(difference.why)),
        ]);
    }
    table.note(input.say(Text::new(
        "The guide mixes engines: some of its numbers are rates of the ordinary lanes, not of the tensor cores that do the work.",
        "가이드는 텐서 코어와 일반 코어의 값을 한 열에 섞어 적었다.",
    )));
    table
}

fn matmul(gpu: &GpuCalibration, dtype: &str) -> Option<Figure<FlopsPerSecond>> {
    gpu.matmul_best(dtype).map(|point| point.rate.clone())
}

fn share(rate: Option<Figure<FlopsPerSecond>>, peak: Option<Figure<FlopsPerSecond>>) -> Option<Figure<Share>> {
    Some(rate?.share_of(&peak?))
}

fn share_of_bandwidth(rate: Option<Figure<BytesPerSecond>>, model: Option<&GpuModel>) -> Option<Figure<Share>> {
    Some(rate?.share_of(&model?.bandwidth()))
}

fn gbs(rate: Option<&Figure<BytesPerSecond>>) -> Cell {
    rate.map_or(Cell::Empty, |rate| Cell::figure_in(rate, 1e9, 0))
}

fn tflops(rate: Option<&Figure<FlopsPerSecond>>) -> Cell {
    rate.map_or(Cell::Empty, |rate| Cell::figure_in(rate, 1e12, 1))
}
