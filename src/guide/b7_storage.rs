//! B.7: storage, and how long weights take to load from it.
//!
//! Sizes follow from parameter counts and bytes per parameter; times are those sizes over the disk's measured sequential rate, past the page
//! cache: what the first load after a start costs.

use super::{Input, NO_RUN, Section, fact};
use crate::figure::{Basis, Figure};
use crate::lang::Text;
use crate::table::{Cell, Column, Table};
use crate::units::{Bytes, BytesPerSecond, Seconds};

pub(super) const SECTION: Section = Section { id: "B.7", title: Text::new("Storage", "스토리지"), tables };

/// Disks nobody measured are taken for a mid-range NVMe drive.
const ASSUMED_READ: BytesPerSecond = BytesPerSecond(3.0e9);
const ASSUMED_WRITE: BytesPerSecond = BytesPerSecond(1.5e9);

/// Bits per weight of 4-bit quantisation in groups of 128: the weight, and per group a 16-bit scale and a 4-bit zero point.
const FOUR_BIT: f64 = 4.0 + (16.0 + 4.0) / 128.0;

/// What is stored: a name, parameters in billions and bytes per parameter, and the rule in words.
const ITEMS: [(Text, f64, f64, &str); 8] = [
    (Text::new("7B weights, BF16", "7B 가중치, BF16"), 7.0, 2.0, "7e9 parameters × 2 bytes"),
    (Text::new("13B weights, BF16", "13B 가중치, BF16"), 13.0, 2.0, "13e9 parameters × 2 bytes"),
    (Text::new("34B weights, BF16", "34B 가중치, BF16"), 34.0, 2.0, "34e9 parameters × 2 bytes"),
    (Text::new("72B weights, BF16", "72B 가중치, BF16"), 72.0, 2.0, "72e9 parameters × 2 bytes"),
    (Text::new("7B weights, 4-bit", "7B 가중치, 4비트"), 7.0, FOUR_BIT / 8.0, "7e9 parameters × 4.156 bits (groups of 128)"),
    (Text::new("72B weights, 4-bit", "72B 가중치, 4비트"), 72.0, FOUR_BIT / 8.0, "72e9 parameters × 4.156 bits (groups of 128)"),
    (Text::new("7B checkpoint, weights only", "7B 체크포인트, 가중치만"), 7.0, 2.0, "7e9 parameters × 2 bytes"),
    (
        Text::new("7B checkpoint to resume from (with Adam)", "7B 체크포인트, 학습 재개용(Adam 포함)"),
        7.0,
        14.0,
        "7e9 parameters × (2 weight + 4 master + 8 Adam) bytes",
    ),
];

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
            Column::text("item", input.say(Text::new("item", "항목"))),
            Column::number("size", input.say(Text::new("size", "크기"))),
            Column::number("load", input.say(Text::new("load", "읽기"))),
            Column::number("save", input.say(Text::new("save", "쓰기"))),
        ],
    );
    let measured = input.here.map(|(_, calibration)| &calibration.storage);
    let assumed = |rate: BytesPerSecond| Figure::assumed(rate, format!("a mid-range NVMe drive, {rate}"));
    let read = measured.and_then(|storage| storage.read.clone()).unwrap_or_else(|| assumed(ASSUMED_READ));
    let write = measured.and_then(|storage| storage.write.clone()).unwrap_or_else(|| assumed(ASSUMED_WRITE));
    for (name, billions, bytes, rule) in ITEMS {
        let size = Figure::assumed(Bytes((billions * 1e9 * bytes) as u64), rule);
        // The size is an exact product of what the row names; the time is as good as the rate.
        let time = |rate: &Figure<BytesPerSecond>| -> Figure<Seconds> { size.with(rate, |size, rate| size / rate).on(rate.basis) };
        table.row([
            Cell::text(input.say(name)),
            Cell::figure_as(&size, decimal_gigabytes(size.value)),
            Cell::figure_as(&time(&read), duration(time(&read).value)),
            Cell::figure_as(&time(&write), duration(time(&write).value)),
        ]);
    }
    if read.basis == Basis::Assumed {
        table.note(input.say(NO_RUN));
    }
    table.note(input.say(Text::new(
        "Sizes in decimal GB, as download pages count. Times go past the page cache: a second load from memory is faster.",
        "크기는 10진 GB 단위다. 시간은 페이지 캐시를 거치지 않은 값이므로, 두 번째 읽기는 더 빠를 수 있다.",
    )));
    table
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

fn decimal_gigabytes(size: Bytes) -> String {
    format!("{} GB", crate::units::significant(size.as_f64() / 1e9, 3))
}

/// Seconds, or minutes above two of them.
fn duration(time: Seconds) -> String {
    if time.0 >= 120.0 { format!("{:.1} min", time.0 / 60.0) } else { format!("{:.1} s", time.0) }
}
