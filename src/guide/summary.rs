//! What a run found, on one page: the default command's answer.

use super::{Here, Input, mark_simulated, slowest};
use crate::calibrate::{Calibration, GpuCalibration};
use crate::catalog::{Catalog, Dtype};
use crate::figure::{Figure, Quantity};
use crate::lang::{Lang, Text};
use crate::measure::Outcome;
use crate::record::Run;
use crate::table::{Cell, Column, Table};

/// The machine's main numbers beside what was promised, then what could not be measured and why.
pub fn summary(run: &Run, calibration: &Calibration, catalog: &Catalog, lang: Lang) -> Vec<Table> {
    let input = Input::new(catalog, Some((run, calibration)), &[], lang);
    let mut tables = vec![numbers(&input, run, calibration)];
    tables.extend(gaps(run, lang).map(|table| mark_simulated(table, run.simulated || calibration.simulated)));
    tables
}

fn numbers(input: &Input<'_>, run: &Run, calibration: &Calibration) -> Table {
    let title = Text::new("What this machine does", "이 장비의 성능");
    let columns = [
        Column::text("part", input.say(Text::new("part", "구성 요소"))),
        Column::text("quantity", input.say(Text::new("quantity", "항목"))),
        Column::number("value", input.say(Text::new("value", "값"))),
        Column::number("uncertainty", "±"),
        Column::number("promised", input.say(Text::new("promised", "사양"))),
        Column::number("share", input.say(Text::new("share", "비율"))),
    ];
    let table = Table::new(format!("{}: {}", title.get(input.lang), run.name), columns).in_lang(input.lang);
    let mut table = mark_simulated(table, input.is_simulated());
    for group in input.groups() {
        gpu_rows(input, &mut table, &group);
        if group.len() > 1 {
            table.note(
                Text::new("Of the {} {} the slowest is shown.", "{}개의 {} 중 가장 느린 값이다.")
                    .fill(input.lang, &[&group.len(), &group[0].name()]),
            );
        }
    }
    let between = slowest(calibration.peers.iter().filter_map(|link| link.one_way()));
    plain(
        &mut table,
        input.say(Text::new("links", "연결")),
        input.say(Text::new("slowest pair, one way", "가장 느린 GPU 쌍, 한 방향")),
        between.as_ref(),
    );
    let host = &calibration.host;
    let cpu = run.machine.host.cpu.model.known().map_or("CPU", String::as_str);
    plain(&mut table, cpu, input.say(Text::new("memory bandwidth (triad)", "메모리 대역폭(triad)")), host.triad());
    for (dtype, rate) in &host.matmul {
        let name = Text::new("matrix product, {}", "행렬 곱, {}").fill(input.lang, &[&dtype.to_uppercase().replace("F32", "FP32")]);
        plain(&mut table, cpu, &name, Some(rate));
    }
    let storage = &calibration.storage;
    let disk = input.say(Text::new("disk", "디스크"));
    plain(&mut table, disk, input.say(Text::new("sequential read", "순차 읽기")), storage.read.as_ref());
    plain(&mut table, disk, input.say(Text::new("sequential write", "순차 쓰기")), storage.write.as_ref());
    plain(&mut table, disk, input.say(Text::new("one random 4 KiB read", "4 KiB 임의 읽기 1회")), storage.random_latency.as_ref());
    table.note(input.say(Text::new(
        "± is half the 95 % interval of the median: of how sure this run is, not of how the machine differs from one hour to the next.",
        "±는 중앙값 95 % 신뢰구간의 절반이다. 이번 측정의 확실성이며, 시간에 따른 장비의 변동은 담지 않는다.",
    )));
    if run.machine.gpus.is_empty() {
        table.note(input.say(Text::new("No GPU was found: only the host was measured.", "GPU를 찾지 못해 호스트만 측정했다.")));
    }
    if !run.complete {
        table.note(input.say(Text::new("The run did not come to its end.", "측정이 끝까지 진행되지 않았다.")));
    }
    table
}

fn gpu_rows(input: &Input<'_>, table: &mut Table, group: &[Here<'_>]) {
    let first = &group[0];
    let part = if group.len() > 1 { format!("{}× {}", group.len(), first.name()) } else { first.name().to_owned() };
    let measured = || group.iter().filter_map(|here| here.measured);
    let bandwidth = slowest(measured().filter_map(GpuCalibration::dram_best));
    beside(table, &part, input.say(Text::new("memory bandwidth", "메모리 대역폭")), bandwidth, first.model.map(|model| model.bandwidth()));
    for (case, dtype) in [("bf16", Dtype::Bf16), ("e4m3", Dtype::Fp8)] {
        let rate = slowest(measured().filter_map(|gpu| Some(gpu.matmul_best(case)?.rate.clone())));
        let name = Text::new("matrix product, {}", "행렬 곱, {}").fill(input.lang, &[&dtype]);
        beside(table, &part, &name, rate, first.model.and_then(|model| model.matmul_peak(dtype)));
    }
    let ceiling = |gpu: &GpuCalibration| gpu.pcie.and_then(|(generation, width)| input.catalog.pcie_ceiling(generation, width));
    for (direction, name) in
        [("h2d", Text::new("copy, host to GPU", "복사, 호스트 → GPU")), ("d2h", Text::new("copy, GPU to host", "복사, GPU → 호스트"))]
    {
        let rate = slowest(measured().filter_map(|gpu| gpu.copy_ceiling(direction, "pinned").cloned()));
        beside(table, &part, input.say(name), rate, slowest(measured().filter_map(ceiling)));
    }
    let launch = measured().filter_map(|gpu| gpu.launch.kernel.clone()).reduce(|a, b| if b.value > a.value { b } else { a });
    plain(table, &part, input.say(Text::new("kernel launch", "커널 실행 지연")), launch.as_ref());
    let context = measured().filter_map(|gpu| gpu.memory.context.clone()).reduce(|a, b| if b.value > a.value { b } else { a });
    plain(table, &part, input.say(Text::new("memory taken by a context", "컨텍스트 메모리")), context.as_ref());
    if let Some(allocatable) = slowest(measured().filter_map(|gpu| gpu.memory.allocatable.clone())) {
        let name = input.say(Text::new("memory that can be allocated", "할당 가능한 메모리"));
        // A lower bound says so, and its share of the capacity would mean nothing.
        let bound = allocatable.high > allocatable.value;
        let shown = if bound { format!("≥ {allocatable}") } else { allocatable.to_string() };
        let capacity = first.model.map(|model| model.capacity());
        let share = capacity.as_ref().filter(|_| !bound).map(|capacity| allocatable.share_of(capacity));
        let promised = Cell::maybe(capacity.as_ref());
        table.row([
            Cell::text(&part),
            Cell::text(name),
            Cell::figure_as(&allocatable, shown),
            Cell::Empty,
            promised,
            Cell::maybe(share.as_ref()),
        ]);
    }
}

/// A row with the promised value and the share of it; none without a measurement.
fn beside<Q: Quantity>(table: &mut Table, part: &str, quantity: &str, figure: Option<Figure<Q>>, promised: Option<Figure<Q>>) {
    let Some(figure) = figure else { return };
    let share = promised.as_ref().map(|promised| figure.share_of(promised));
    let promised = Cell::maybe(promised.as_ref());
    table.row([Cell::text(part), Cell::text(quantity), Cell::figure(&figure), spread(&figure), promised, Cell::maybe(share.as_ref())]);
}

fn plain<Q: Quantity>(table: &mut Table, part: &str, quantity: &str, figure: Option<&Figure<Q>>) {
    if let Some(figure) = figure {
        table.row([Cell::text(part), Cell::text(quantity), Cell::figure(figure), spread(figure)]);
    }
}

/// Half the interval, relative to the value; nothing for what was read once.
fn spread<Q: Quantity>(figure: &Figure<Q>) -> Cell {
    let uncertainty = figure.uncertainty();
    if uncertainty > 0.0 { Cell::text(format!("{:.1} %", uncertainty * 100.0)) } else { Cell::Empty }
}

/// What was waived or failed, each reason once; `None` when nothing was.
fn gaps(run: &Run, lang: Lang) -> Option<Table> {
    const WAIVED: Text = Text::new("not run", "건너뜀");
    const FAILED: Text = Text::new("failed", "실패");
    const WRONG: Text = Text::new("WRONG ANSWER", "오답");
    let mut table = Table::new(
        Text::new("What was not measured, and why", "측정하지 못한 항목과 이유").get(lang),
        [
            Column::text("case", Text::new("case", "항목").get(lang)),
            Column::text("outcome", Text::new("outcome", "결과").get(lang)),
            Column::text("why", Text::new("why", "이유").get(lang)),
        ],
    )
    .in_lang(lang);
    // Without a GPU most probes share one reason: it is said once, with the mechanisms it kept from running.
    struct Gap {
        /// With how many cases of each.
        mechanisms: Vec<(String, usize)>,
        what: &'static str,
        why: String,
    }
    let mut rows: Vec<Gap> = Vec::new();
    for outcome in &run.outcomes {
        let (case, what, why) = match outcome {
            Outcome::Waived { case, waiver } => (case, WAIVED, waiver.to_string()),
            Outcome::Failed { case, error, wrong_answer } => (case, if *wrong_answer { WRONG } else { FAILED }, error.clone()),
            Outcome::Measured(_) | Outcome::Observed(_) => continue,
        };
        let (mechanism, what) = (case.mechanism(), what.get(lang));
        let position = rows.iter().position(|gap| (gap.what, &gap.why) == (what, &why)).unwrap_or_else(|| {
            rows.push(Gap { mechanisms: Vec::new(), what, why });
            rows.len() - 1
        });
        let mechanisms = &mut rows[position].mechanisms;
        match mechanisms.iter_mut().find(|(kept, _)| kept == mechanism) {
            Some((_, count)) => *count += 1,
            None => mechanisms.push((mechanism.to_owned(), 1)),
        }
    }
    for Gap { mechanisms, what, why } in rows {
        let counted = mechanisms.iter().map(|(name, count)| if *count > 1 { format!("{name} (×{count})") } else { name.clone() });
        table.row([Cell::text(counted.collect::<Vec<_>>().join(", ")), Cell::text(what), Cell::text(why)]);
    }
    (!table.is_empty()).then_some(table)
}
