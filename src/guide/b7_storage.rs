//! B.7: storage, and how long weights take to load from it.
//!
//! Sizes follow from the shapes of the models that stand for the guide's sizes: every matrix in its format, scales included; adapters by the
//! true widths of what they adapt. What no shape tells (data sets, caches, logs) is the guide's own range. Times are those sizes over the disk's
//! measured sequential rate, past the page cache: what the first load after a start costs.

use super::errata::Erratum;
use super::jobs::{self, Job, RANK, SIZES};
use super::{Input, NO_RUN, Section, fact};
use crate::estimate::memory::Part;
use crate::figure::{Basis, Figure};
use crate::lang::Text;
use crate::table::{Cell, Column, Table};
use crate::units::{Bytes, BytesPerSecond, Seconds};
use crate::workload::{Inference, Model, Precision, Role};

pub(super) const SECTION: Section = Section { id: "B.7", title: Text::new("Storage", "스토리지"), tables };

/// Disks nobody measured are taken for a mid-range NVMe drive.
const ASSUMED_READ: BytesPerSecond = BytesPerSecond(3.0e9);
const ASSUMED_WRITE: BytesPerSecond = BytesPerSecond(1.5e9);

/// Something to store.
struct Item {
    name: Text,
    /// The size of model it is for, as the guide says it.
    size: &'static str,
    kind: Kind,
    /// The guide's number, or its range.
    guide: Option<(f64, f64)>,
    /// Why the guide's number is wrong, where it is.
    why: Option<Text>,
}

/// What is stored of a model.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Its weights.
    Weights(Precision),
    /// So many bytes per parameter.
    PerParameter(u64),
    /// Adapters of rank 64 on attention's products, or on all of a layer's, so many bytes per parameter.
    Adapters { all: bool, bytes: u64 },
    /// What no model tells.
    Other,
}

const fn item(size: &'static str, name: Text, kind: Kind, guide: Option<(f64, f64)>, why: Option<Text>) -> Item {
    Item { name, size, kind, guide, why }
}

const WEIGHTS: Text = Text::new("weights, BF16", "가중치, BF16");
const FOUR_BIT: Text = Text::new("weights, GPTQ 4-bit", "가중치, GPTQ 4비트");
const GPTQ: Kind = Kind::Weights(Precision::Gptq { bits: 4, group: 128 });
const BF16: Kind = Kind::Weights(Precision::Bf16);
const ADAPTERS: Text = Text::new("adapter, r=64 on q, k, v, o, FP32", "어댑터, q·k·v·o에 r=64, FP32");

const ADAPTED: Text = Text::new(
    "an adapter's size follows from what it adapts and in which type; no one number is that of a model size",
    "어댑터 크기는 적용 대상과 저장 형식에 달렸으며 모델 크기만으로 정해지지 않는다",
);

/// The guide's list, and what it leaves out. Its numbers in decimal bytes.
const ITEMS: [Item; 15] = [
    item("7B", WEIGHTS, BF16, Some((14e9, 14e9)), None),
    item("13B", WEIGHTS, BF16, None, None),
    item("34B", WEIGHTS, BF16, None, None),
    item("72B", WEIGHTS, BF16, Some((145e9, 145e9)), None),
    item("7B", FOUR_BIT, GPTQ, Some((4e9, 4e9)), None),
    item("72B", FOUR_BIT, GPTQ, None, None),
    item("7B", ADAPTERS, Kind::Adapters { all: false, bytes: 4 }, Some((50e6, 200e6)), Some(ADAPTED)),
    item(
        "7B",
        Text::new("adapter, r=64 on every product, FP32", "어댑터, 모든 행렬에 r=64, FP32"),
        Kind::Adapters { all: true, bytes: 4 },
        Some((50e6, 200e6)),
        Some(ADAPTED),
    ),
    item("72B", ADAPTERS, Kind::Adapters { all: false, bytes: 4 }, None, None),
    item(
        "7B",
        Text::new("checkpoint, weights only, BF16", "체크포인트, 가중치만, BF16"),
        BF16,
        Some((28e9, 28e9)),
        Some(Text::new(
            "28 GB is 7B in FP32; in BF16, as the guide says, it is half of that",
            "28 GB는 FP32일 때의 값이다. 가이드가 적은 BF16이라면 그 절반이다",
        )),
    ),
    item(
        "7B",
        Text::new("checkpoint to resume from (with Adam)", "체크포인트, 학습 재개용(Adam 포함)"),
        Kind::PerParameter(14),
        None,
        None,
    ),
    item(
        "7B",
        Text::new("LoRA checkpoint to resume from (with Adam)", "LoRA 체크포인트, 학습 재개용(Adam 포함)"),
        Kind::Adapters { all: false, bytes: 12 },
        None,
        None,
    ),
    item("–", Text::new("data set of 10,000 images", "이미지 1만 장 데이터셋"), Kind::Other, Some((5e9, 20e9)), None),
    item("–", Text::new("cache of downloaded models", "다운로드 모델 캐시"), Kind::Other, Some((50e9, 200e9)), None),
    item("–", Text::new("experiment logs", "실험 로그"), Kind::Other, Some((1e9, 10e9)), None),
];

impl Item {
    /// The guide's range, whose middle stands for it.
    fn guide(&self) -> Option<Figure<Bytes>> {
        let (low, high) = self.guide?;
        let written = Figure::new(Bytes(((low + high) / 2.0) as u64), Basis::Guide, "guide B.7.1");
        Some(Figure { low: Bytes(low as u64), high: Bytes(high as u64), ..written })
    }

    /// What it takes for `model`; the guide's range for what no model tells.
    fn size(&self, model: Option<&Model>) -> Option<Figure<Bytes>> {
        let Some(model) = model else { return self.guide() };
        let exact = |bytes: u64, rule: String| Figure::new(Bytes(bytes), Basis::Datasheet, format!("shape of {}: {rule}", model.name));
        match self.kind {
            Kind::Weights(precision) => {
                let memory = Job::Infer(Inference::new(precision, 1, 1, 0)).memory(model, &jobs::unnamed())?;
                Some(exact(jobs::most(&memory, &[Part::Weights]).0, format!("{} parameters in {precision}", model.parameters())))
            }
            Kind::PerParameter(bytes) => {
                let rule = format!("{} parameters × (2 weight + 4 master + 8 Adam) bytes", model.parameters());
                Some(exact(model.parameters() * bytes, rule))
            }
            Kind::Adapters { all, bytes } => {
                let adapts = |role| if all { !matches!(role, Role::Head | Role::Router) } else { jobs::is_attention(role) };
                let count = jobs::adapter_parameters(model, RANK, adapts);
                Some(exact(count * bytes, format!("{count} adapter parameters × {bytes} bytes")))
            }
            Kind::Other => self.guide(),
        }
    }
}

/// Every item with its model and its size.
fn items(input: &Input<'_>) -> Vec<(&'static Item, Option<Model>, Figure<Bytes>)> {
    let of = |item: &'static Item| {
        let name = SIZES.iter().find(|(size, _)| *size == item.size).map(|(_, name)| *name);
        let model = match name {
            Some(name) => Some(jobs::model(input, name)?),
            None => None,
        };
        let size = item.size(model.as_ref())?;
        Some((item, model, size))
    };
    ITEMS.iter().filter_map(of).collect()
}

fn tables(input: &Input<'_>) -> Vec<Table> {
    let mut tables = vec![sizes(input)];
    tables.extend(disk(input));
    tables
}

fn sizes(input: &Input<'_>) -> Table {
    let mut table = input.table(
        "B.7.1",
        Text::new("What is stored, and how long it takes", "저장 용량과 읽기·쓰기 시간"),
        [
            Column::text("for", input.say(Text::new("for", "크기"))),
            Column::text("item", input.say(Text::new("item", "항목"))),
            Column::number("guide", input.say(Text::new("guide", "가이드"))),
            Column::number("size", input.say(Text::new("size", "용량"))),
            Column::number("load", input.say(Text::new("load", "읽기"))),
            Column::number("save", input.say(Text::new("save", "쓰기"))),
        ],
    );
    let measured = input.here.map(|(_, calibration)| &calibration.storage);
    let assumed = |rate: BytesPerSecond| Figure::assumed(rate, format!("a mid-range NVMe drive, {rate}"));
    let read = measured.and_then(|storage| storage.read.clone()).unwrap_or_else(|| assumed(ASSUMED_READ));
    let write = measured.and_then(|storage| storage.write.clone()).unwrap_or_else(|| assumed(ASSUMED_WRITE));
    for (item, model, size) in items(input) {
        // A size that follows from a shape is exact; its time is as good as the rate.
        let exact = size.basis == Basis::Datasheet;
        let time = |rate: &Figure<BytesPerSecond>| -> Figure<Seconds> {
            let time = size.with(rate, |size, rate| size / rate);
            if exact { time.on(rate.basis) } else { time }
        };
        table.row([
            Cell::text(model.map_or_else(|| item.size.to_owned(), |model| format!("{} ({})", item.size, model.name))),
            Cell::text(input.say(item.name)),
            item.guide().map_or(Cell::Empty, |guide| Cell::figure_as(&guide, range(&guide))),
            Cell::figure_as(&size, if exact { decimal(size.value) } else { range(&size) }),
            Cell::figure_as(&time(&read), duration(time(&read).value)),
            Cell::figure_as(&time(&write), duration(time(&write).value)),
        ]);
    }
    if read.basis == Basis::Assumed {
        table.note(input.say(NO_RUN));
    }
    table.note(input.say(Text::new(
        "Sizes in decimal units, as download pages count. PEFT saves adapters in the type they were trained in, mostly FP32. Times go past the page cache: a second load from memory is faster.",
        "크기는 10진 단위다. PEFT는 어댑터를 학습한 형식 그대로(대개 FP32) 저장한다. 시간은 페이지 캐시를 거치지 않은 값이므로, 두 번째 읽기는 더 빠를 수 있다.",
    )));
    table
}

/// Numbers of the guide's that no model of the size bears out.
pub(super) fn errata(input: &Input<'_>) -> Vec<Erratum> {
    let wrong = items(input).into_iter().filter_map(|(item, model, size)| {
        let (guide, why) = (item.guide()?, item.why?);
        let outside = size.value < guide.low || size.value > guide.high;
        outside.then(|| Erratum {
            section: "B.7.1",
            item: format!("{}, {}", model.map_or_else(|| item.size.to_owned(), |model| model.name), input.say(item.name)),
            guide: Cell::figure_as(&guide, range(&guide)),
            right: Cell::figure_as(&size, decimal(size.value)),
            why: input.say(why).to_owned(),
        })
    });
    wrong.collect()
}

/// The disk itself; `None` without a run.
fn disk(input: &Input<'_>) -> Option<Table> {
    let (run, calibration) = input.here?;
    let mut table = input.table(
        "B.7.2",
        Text::new("This machine's disks", "이 장비의 디스크"),
        [Column::text("quantity", input.say(Text::new("quantity", "항목"))), Column::number("value", input.say(Text::new("value", "값")))],
    );
    let storage = &calibration.storage;
    let mut row = |name: Text, cell: Cell| table.row([Cell::text(input.say(name)), cell]);
    row(Text::new("sequential read", "순차 읽기"), Cell::maybe(storage.read.as_ref()));
    row(Text::new("sequential write", "순차 쓰기"), Cell::maybe(storage.write.as_ref()));
    let random = storage.random_reads_per_second();
    row(
        Text::new("random 4 KiB reads per second, many under way", "초당 4 KiB 임의 읽기 횟수(동시 다수)"),
        random.as_ref().map_or(Cell::Empty, |rate| Cell::figure_as(rate, format!("{:.0}", rate.value))),
    );
    row(Text::new("one random 4 KiB read by itself", "4 KiB 임의 읽기 1회"), Cell::maybe(storage.random_latency.as_ref()));
    for disk in run.machine.host.disks.known().into_iter().flatten() {
        if let Some(free) = fact(&disk.free, "statvfs") {
            let name = Text::new("free on {} ({})", "{} 여유 공간({})").fill(input.lang, &[&disk.mount, &disk.kind]);
            table.row([Cell::text(name), Cell::figure(&free)]);
        }
    }
    Some(table)
}

/// In decimal megabytes or gigabytes.
fn decimal(size: Bytes) -> String {
    let (value, unit) = scaled(size);
    format!("{} {unit}", crate::units::significant(value, 3))
}

fn scaled(size: Bytes) -> (f64, &'static str) {
    if size.0 < 1_000_000_000 { (size.as_f64() / 1e6, "MB") } else { (size.as_f64() / 1e9, "GB") }
}

/// A range of the guide's, or its one number, in its own digits.
fn range(size: &Figure<Bytes>) -> String {
    let ((low, _), (high, unit)) = (scaled(size.low), scaled(size.high));
    if low == high { format!("~{high} {unit}") } else { format!("{low}–{high} {unit}") }
}

/// Seconds, or minutes above two of them.
fn duration(time: Seconds) -> String {
    if time.0 >= 120.0 { format!("{:.1} min", time.0 / 60.0) } else { format!("{:.1} s", time.0) }
}
