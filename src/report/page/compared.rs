//! Several machines in one table: the slowest GPU of each, rate by rate.

use super::headline::{MEMORY, PRODUCT, TO_GPU, TO_HOST};
use super::{Item, Section, Source, Subject};
use crate::calibrate::GpuCalibration;
use crate::figure::{Figure, Quantity};
use crate::lang::Text;
use crate::table::{Cell, Column, Table};

/// The section that stands before all others.
pub(super) fn section(source: &Source<'_>) -> Section {
    let title = Text::new("Side by side", "나란히 보기").get(source.lang).to_owned();
    let about = Text::new(
        "Each machine's slowest GPU, since jobs on several run at its pace; best rate over sizes and shapes.",
        "여러 GPU 작업은 가장 느린 GPU에 맞춰지므로 장비마다 가장 느린 GPU의 값이다. 크기와 형상을 바꿔 가며 얻은 최고 값이다.",
    );
    let about = about.get(source.lang).to_owned();
    Section { id: "side-by-side", panels: vec![(None, vec![Item::Table(table(source))])], title, about }
}

fn table(source: &Source<'_>) -> Table {
    let title = Text::new("Main rates of each machine", "장비별 주요 성능").get(source.lang);
    let first = Column::text("quantity", Text::new("quantity", "항목").get(source.lang));
    let machines = source.subjects.iter().enumerate();
    let columns = machines.map(|(index, subject)| Column::number(&format!("machine_{}", index + 1), &subject.run.name));
    let mut table = Table::new(title, std::iter::once(first).chain(columns)).in_lang(source.lang);
    words(&mut table, source, "GPU", |subject| gpus(source, subject));
    let gpu = |name: &str, table: &mut Table, pick: &dyn Fn(&GpuCalibration) -> Option<Ranked>| row(table, source, name, pick);
    gpu(MEMORY.get(source.lang), &mut table, &|gpu| gpu.dram_best().as_ref().map(Ranked::of));
    for (case, dtype) in [("bf16", "BF16"), ("e4m3", "FP8")] {
        gpu(&PRODUCT.fill(source.lang, &[&dtype]), &mut table, &|gpu| Some(Ranked::of(&gpu.matmul_best(case)?.rate)));
    }
    for (direction, text) in [("h2d", TO_GPU), ("d2h", TO_HOST)] {
        gpu(text.get(source.lang), &mut table, &|gpu| gpu.copy_ceiling(direction, "pinned").map(Ranked::of));
    }
    let peers = Text::new("slowest pair of GPUs, one way", "가장 느린 GPU 쌍, 한 방향").get(source.lang);
    let cells = source
        .subjects
        .iter()
        .map(|subject| slowest(subject.calibration.peers.iter().filter_map(|link| Some(Ranked::of(&link.one_way()?)))));
    push(&mut table, peers, cells.collect());
    let triad = Text::new("host memory (triad)", "호스트 메모리(triad)").get(source.lang);
    push(&mut table, triad, source.subjects.iter().map(|subject| Cell::maybe(subject.calibration.host.triad())).collect());
    let disk = Text::new("disk, sequential read", "디스크, 순차 읽기").get(source.lang);
    push(&mut table, disk, source.subjects.iter().map(|subject| Cell::maybe(subject.calibration.storage.read.as_ref())).collect());
    table
}

/// A figure's cell with the number that it is compared by.
struct Ranked {
    value: f64,
    cell: Cell,
}

impl Ranked {
    fn of<Q: Quantity>(figure: &Figure<Q>) -> Self {
        Self { value: figure.value.base(), cell: Cell::figure(figure) }
    }
}

fn slowest(cells: impl Iterator<Item = Ranked>) -> Cell {
    cells.reduce(|least, other| if other.value < least.value { other } else { least }).map_or(Cell::Empty, |least| least.cell)
}

fn row(table: &mut Table, source: &Source<'_>, name: &str, pick: &dyn Fn(&GpuCalibration) -> Option<Ranked>) {
    let cells = source.subjects.iter().map(|subject| slowest(subject.calibration.gpus.iter().filter_map(pick)));
    push(table, name, cells.collect());
}

fn words(table: &mut Table, source: &Source<'_>, name: &str, say: impl Fn(&Subject<'_>) -> String) {
    push(table, name, source.subjects.iter().map(|subject| Cell::text(say(subject))).collect());
}

/// A row, unless no machine has anything in it.
fn push(table: &mut Table, name: &str, cells: Vec<Cell>) {
    if cells.iter().any(|cell| *cell != Cell::Empty) {
        table.row(std::iter::once(Cell::text(name)).chain(cells));
    }
}

/// Such as `8× H100 SXM`.
fn gpus(source: &Source<'_>, subject: &Subject<'_>) -> String {
    let kinds = super::group::kinds(subject.run);
    if kinds.is_empty() {
        return Text::new("none", "없음").get(source.lang).to_owned();
    }
    let name = |kind: &super::group::Kind<'_>| {
        let model = kind.gpus.first().and_then(|index| subject.calibration.gpu(*index)).and_then(|gpu| gpu.model(source.catalog));
        format!("{}× {}", kind.gpus.len(), model.map_or(kind.name, |model| model.short_name.as_str()))
    };
    kinds.iter().map(name).collect::<Vec<_>>().join(", ")
}
