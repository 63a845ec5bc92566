//! B.9: power of the whole machine, from the power of its GPUs.
//!
//! A machine takes more than its GPUs: processors, fans, losses of the supply. By how much depends on its kind, so the rule is stated with each
//! number: a workstation adds 200 W; a server with PCIe cards takes half as much again; a server with SXM boards takes 1.82 times as much
//! (a DGX H100 is rated 10.2 kW with 5.6 kW of GPUs).

use super::{Here, Input, NO_RUN, Section, fact};
use crate::catalog::GpuModel;
use crate::figure::{Basis, Figure};
use crate::lang::Text;
use crate::table::{Cell, Column, Table};
use crate::units::Watts;

pub(super) const SECTION: Section = Section { id: "B.9", title: Text::new("Power", "전력"), tables };

/// The guide's rows: GPUs, short name in the catalog, and its watts for the whole machine.
const GUIDE: [(u32, &str, f64); 4] =
    [(1, "RTX 4090", 650.0), (2, "RTX 4090", 1100.0), (4, "A100 PCIe 40GB", 1800.0), (8, "H100 SXM", 6500.0)];

/// Supplies should not run above this share of their rating.
const LOAD: f64 = 0.8;

fn tables(input: &Input<'_>) -> Vec<Table> {
    let mut tables = Vec::new();
    if !input.gpus().is_empty() {
        tables.push(drawn(input));
    }
    tables.push(systems(input));
    tables
}

/// How a machine with such GPUs is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Build {
    Workstation,
    PcieServer,
    SxmServer,
}

impl Build {
    fn of(model: &GpuModel) -> Self {
        // Boards that go into sockets either say so in a name or draw more than a slot can feed.
        let socketed = model.name.contains("SXM") || model.short_name.contains("SXM") || model.tdp().value.0 >= 1000.0;
        match (socketed, model.name.contains("GeForce") || model.name.contains("RTX")) {
            (true, _) => Self::SxmServer,
            (false, true) => Self::Workstation,
            (false, false) => Self::PcieServer,
        }
    }

    fn system(self, gpus: &Figure<Watts>) -> Figure<Watts> {
        let (system, rule) = match self {
            Self::Workstation => (gpus.value + Watts(200.0), "GPUs + 200 W for the rest of a workstation"),
            Self::PcieServer => (gpus.value * 1.5, "1.5 × GPUs, a server with PCIe cards"),
            Self::SxmServer => (gpus.value * 1.82, "1.82 × GPUs, as a DGX H100 is rated (10.2 kW)"),
        };
        // A rule of thumb does not deserve more digits than this.
        Figure::assumed(Watts((system.0 / 50.0).round() * 50.0), rule)
    }
}

fn systems(input: &Input<'_>) -> Table {
    let mut table = input.table(
        "B.9",
        Text::new("Power of whole machines", "시스템 전력"),
        [
            Column::text("machine", input.say(Text::new("GPUs", "GPU 구성"))),
            Column::number("gpus", input.say(Text::new("GPUs together", "GPU 합계"))).unit("W"),
            Column::number("system", input.say(Text::new("whole machine", "시스템 전체"))).unit("W"),
            Column::number("guide", input.say(Text::new("guide says", "가이드 값"))).unit("W"),
            Column::number("supply", input.say(Text::new("supply", "PSU"))).unit("W"),
            Column::text("circuit", input.say(Text::new("circuit", "전원 회로"))),
        ],
    );
    for group in input.groups() {
        let Some(gpus) = limits(&group) else { continue };
        let build = group[0].model.map_or(Build::PcieServer, Build::of);
        let name = format!("▶ {}× {} {}", group.len(), group[0].name(), input.say(Text::new("(this machine)", "(이 장비)")));
        system_row(input, &mut table, name, &gpus, build, None);
    }
    for (count, name, system) in GUIDE {
        let Some(model) = input.catalog.gpus.iter().find(|model| model.short_name == name) else { continue };
        let gpus = model.tdp().map(|tdp| tdp * f64::from(count));
        let guide = Figure::new(Watts(system), Basis::Guide, "guide B.9");
        system_row(input, &mut table, format!("{count}× {name}"), &gpus, Build::of(model), Some(&guide));
    }
    if input.is_unmeasured() {
        table.note(input.say(NO_RUN));
    }
    table.note(input.say(Text::new(
        "The supply runs at no more than 80 % of its rating, and is rounded up to 50 W. A circuit carries 80 % of its rating for hours: 1,440 W at 120 V and 15 A, 2,816 W at 220 V and 16 A.",
        "PSU는 정격의 80 %까지만 쓰는 것으로 보고 50 W 단위로 올렸다. 회로도 장시간에는 정격의 80 %까지만 쓴다(120 V 15 A는 1,440 W, 220 V 16 A는 2,816 W).",
    )));
    table.note(input.say(Text::new(
        "The guide's 6,500 W for eight H100 is the rating of a DGX A100; a DGX H100 is rated 10,200 W.",
        "가이드의 8× H100 값 6,500 W는 DGX A100의 정격이다. DGX H100의 정격은 10,200 W다.",
    )));
    table
}

/// The power limits in force of a group, added up; the datasheet's where the driver did not tell.
fn limits(group: &[Here<'_>]) -> Option<Figure<Watts>> {
    let limit = |here: &Here<'_>| fact(&here.gpu.power.enforced, "NVML").or_else(|| Some(here.model?.tdp()));
    let mut figures = group.iter().map(limit);
    let first = figures.next()??;
    figures.try_fold(first, |sum, figure| Some(sum.with(&figure?, |a, b| a + b)))
}

fn system_row(input: &Input<'_>, table: &mut Table, name: String, gpus: &Figure<Watts>, build: Build, guide: Option<&Figure<Watts>>) {
    let system = build.system(gpus);
    let supply = system.map(|system| Watts((system.0 / LOAD / 50.0).ceil() * 50.0));
    let circuit = match system.value.0 {
        watts if watts <= 1440.0 => Text::new("any household circuit", "일반 가정용 회로"),
        watts if watts <= 2816.0 => Text::new("a circuit of its own, 220 V 16 A", "220 V 16 A 전용 회로"),
        watts if watts <= 5600.0 => Text::new("rack power distribution", "서버용 PDU"),
        _ => Text::new("three phases", "3상 전원"),
    };
    table.row([
        Cell::text(name),
        watts(Some(gpus)),
        watts(Some(&system)),
        watts(guide),
        watts(Some(&supply)),
        Cell::text(input.say(circuit)),
    ]);
}

/// Each GPU's limit, the datasheet's and what it drew.
fn drawn(input: &Input<'_>) -> Table {
    let mut table = input.table(
        "B.9",
        Text::new("This machine's GPUs", "이 장비의 GPU 전력"),
        [
            Column::text("gpu", "GPU"),
            Column::number("datasheet", input.say(Text::new("datasheet", "데이터시트"))).unit("W"),
            Column::number("limit", input.say(Text::new("limit in force", "적용 중인 제한"))).unit("W"),
            Column::number("drawn", input.say(Text::new("drawn at most", "최대 소비 전력"))).unit("W"),
            Column::number("share", input.say(Text::new("of limit", "제한 대비"))),
        ],
    );
    for here in input.gpus() {
        let limit = fact(&here.gpu.power.enforced, "NVML");
        let power = here.measured.and_then(|gpu| gpu.power.clone());
        table.row([
            Cell::text(format!("{} {}", here.gpu.index, here.name())),
            watts(here.model.map(GpuModel::tdp).as_ref()),
            watts(limit.as_ref()),
            watts(power.as_ref()),
            Cell::maybe(power.as_ref().zip(limit.as_ref()).map(|(power, limit)| power.share_of(limit)).as_ref()),
        ]);
        if let Some((limit, tdp)) = limit.zip(here.model.map(GpuModel::tdp)).filter(|(limit, tdp)| limit.value.0 < tdp.value.0 * 0.99) {
            table.note(
                Text::new("GPU {} is held to {}, below its board's {}.", "GPU {}의 전력 제한({})이 보드 사양({})보다 낮다.")
                    .fill(input.lang, &[&here.gpu.index, &limit, &tdp]),
            );
        }
    }
    table.note(input.say(Text::new(
        "Drawn: the highest mean over one measurement, each GPU by itself.",
        "소비 전력은 GPU를 하나씩 측정했을 때 구간 평균의 최댓값이다.",
    )));
    table
}

fn watts(power: Option<&Figure<Watts>>) -> Cell {
    power.map_or(Cell::Empty, |power| Cell::figure_in(power, 1.0, 0))
}
