//! Where the written guide's GPU rows and the documents differ by more than rounding, and what the guide's number really is.
//!
//! A wrong peak is seldom arbitrary: it is the rate of another engine. Comparing it with the ordinary lanes' rate of the same board tells which.

use super::Input;
use crate::catalog::{Accumulator, Dtype, Engine, GpuModel, GuideRow};
use crate::figure::{Figure, Quantity};
use crate::lang::Text;
use crate::table::Cell;
use crate::units::{Bytes, FlopsPerSecond};

/// One number of the guide beside the right one.
#[derive(Debug, Clone)]
pub(super) struct Difference {
    /// The guide's name for the board.
    pub(super) gpu: String,
    /// What differs.
    pub(super) quantity: String,
    /// The guide's number, or words.
    pub(super) guide: Cell,
    /// The document's.
    pub(super) right: Cell,
    /// Document over guide, for numbers.
    pub(super) ratio: Option<Figure<f64>>,
    /// What the guide's number is.
    pub(super) why: Text,
}

const LANES: Text = Text::new("the rate of the ordinary lanes (CUDA cores)", "일반 코어(CUDA 코어)의 속도");
const TWICE_LANES: Text = Text::new(
    "twice the FP16 rate of the ordinary lanes; no engine's rate in this format",
    "일반 코어 FP16 속도의 두 배. 이 형식에서는 어느 연산기의 값도 아님",
);
const LABEL: Text = Text::new("the label on the box; the driver shows less", "상자에 적힌 이름값. 드라이버가 보이는 용량은 더 작음");
const KIND: Text = Text::new("the memory of the 80 GB board", "80 GB 제품의 메모리 종류");
const OTHER: Text = Text::new("in no document", "어느 문서에도 없는 값");

/// Every difference, board by board.
pub(super) fn differences(input: &Input<'_>) -> Vec<Difference> {
    let rows = input.catalog.gpus.iter().filter_map(|model| Some((model, model.guide.as_ref()?)));
    rows.flat_map(|(model, guide)| of_row(input, model, guide)).collect()
}

fn of_row(input: &Input<'_>, model: &GpuModel, guide: &GuideRow) -> Vec<Difference> {
    /// Rates are printed to three or four digits.
    const ROUNDING: f64 = 0.01;
    /// A capacity is what a job is compared with, so even half a percent counts.
    const ROUNDED_CAPACITY: f64 = 0.001;
    let mut found = Vec::new();
    let mut number = |quantity: String, why: Text, differs: Option<(Cell, Cell, Figure<f64>)>| {
        if let Some((written, right, ratio)) = differs {
            found.push(Difference { gpu: guide.name.clone(), quantity, guide: written, right, ratio: Some(ratio), why });
        }
    };
    for dtype in [Dtype::Fp16, Dtype::Bf16, Dtype::Fp8] {
        let Some((written, right)) = guide.peak(dtype).zip(model.matmul_peak(dtype)) else { continue };
        number(dtype.to_string(), engine(model, written.value), beyond(&written, &right, ROUNDING));
    }
    let memory = input.say(Text::new("memory", "메모리")).to_owned();
    let label = |cells: (Cell, Cell, Figure<f64>)| (gigabytes(guide), cells.1, cells.2);
    number(memory, LABEL, beyond(&guide.memory(), &model.capacity(), ROUNDED_CAPACITY).map(label));
    let bandwidth = input.say(Text::new("bandwidth", "대역폭")).to_owned();
    number(bandwidth, OTHER, beyond(&guide.bandwidth(), &model.bandwidth(), ROUNDING));
    number("TDP".to_owned(), OTHER, beyond(&guide.tdp(), &model.tdp(), ROUNDING));
    // The guide puts remarks such as "(ECC)" after the type.
    let kind = guide.memory_type.split(' ').next().unwrap_or_default();
    if kind != model.memory.kind {
        found.push(Difference {
            gpu: guide.name.clone(),
            quantity: input.say(Text::new("memory type", "메모리 종류")).to_owned(),
            guide: Cell::text(kind),
            right: Cell::text(&model.memory.kind),
            ratio: None,
            why: KIND,
        });
    }
    found
}

/// Both numbers and their ratio, if it is further from 1 than `tolerance`.
fn beyond<Q: Quantity>(written: &Figure<Q>, right: &Figure<Q>, tolerance: f64) -> Option<(Cell, Cell, Figure<f64>)> {
    let ratio = written.with(right, |written, right| right.base() / written.base());
    ((ratio.value - 1.0).abs() > tolerance).then(|| (Cell::figure(written), Cell::figure(right), ratio))
}

fn gigabytes(guide: &GuideRow) -> Cell {
    Cell::figure_as::<Bytes>(&guide.memory(), format!("{} GB", guide.memory_gb))
}

/// Which engine runs at the rate the guide gives.
fn engine(model: &GpuModel, written: FlopsPerSecond) -> Text {
    let Some(lanes) = model.peak(Dtype::Fp16, Engine::CudaCore, Accumulator::Fp16) else { return OTHER };
    let is = |multiple: f64| (written.0 / (lanes.value.0 * multiple) - 1.0).abs() < 0.01;
    if is(1.0) {
        LANES
    } else if is(2.0) {
        TWICE_LANES
    } else {
        OTHER
    }
}
