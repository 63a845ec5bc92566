//! B.9: power of the whole machine, from the power of its GPUs.
//!
//! A machine takes more than its GPUs: processors, fans, losses of the supply. By how much is printed for systems that are sold whole, and
//! those ratings are used where they fit. For the rest the rule is stated with each number: a workstation adds 200 W; a server with PCIe cards
//! takes half as much again; a server with SXM boards takes as many times its GPUs' power as a DGX H100 does.
//!
//! A circuit may be loaded to 80 % of its rating for hours, and a household circuit has other things on it, so only half of that counts there.

use super::{Here, Input, NO_RUN, Section, fact};
use crate::catalog::{Catalog, GpuModel, System};
use crate::figure::{Basis, Figure};
use crate::lang::Text;
use crate::table::{Cell, Column, Table};
use crate::units::Watts;

pub(super) const SECTION: Section = Section { id: "B.9", title: Text::new("Power", "전력"), tables };

/// A row of the guide.
#[derive(Debug, Clone, Copy)]
pub(super) struct GuideRow {
    /// GPUs.
    pub(super) gpus: u32,
    /// Short name in the catalog.
    pub(super) model: &'static str,
    /// Watts of the whole machine.
    system: f64,
    /// Watts of the supply; `None` where the guide names a system instead.
    supply: Option<f64>,
    circuit: Text,
}

impl GuideRow {
    /// Power of the whole machine, as printed.
    pub(super) fn system(&self) -> Figure<Watts> {
        Figure::new(Watts(self.system), Basis::Guide, "guide B.9")
    }

    fn supply(&self) -> Option<Figure<Watts>> {
        Some(Figure::new(Watts(self.supply?), Basis::Guide, "guide B.9"))
    }
}

pub(super) const GUIDE: [GuideRow; 4] = [
    GuideRow { gpus: 1, model: "RTX 4090", system: 650.0, supply: Some(850.0), circuit: Text::new("household", "가정용") },
    GuideRow { gpus: 2, model: "RTX 4090", system: 1100.0, supply: Some(1600.0), circuit: Text::new("20 A, its own", "20 A 전용") },
    GuideRow { gpus: 4, model: "A100 PCIe 40GB", system: 1800.0, supply: Some(2400.0), circuit: Text::new("server PDU", "서버용 PDU") },
    GuideRow { gpus: 8, model: "H100 SXM", system: 6500.0, supply: None, circuit: Text::new("three phases", "3상") },
];

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

    fn system(self, gpus: &Figure<Watts>, catalog: &Catalog) -> Figure<Watts> {
        let (system, rule) = match self {
            Self::Workstation => (gpus.value + Watts(200.0), "GPUs + 200 W for the rest of a workstation".to_owned()),
            Self::PcieServer => (gpus.value * 1.5, "1.5 × GPUs, a server with PCIe cards".to_owned()),
            Self::SxmServer => {
                let share = rated_share(catalog, "H100 SXM").unwrap_or(1.8);
                (gpus.value * share, format!("{share:.2} × GPUs, as a DGX H100 is rated"))
            }
        };
        // A rule of thumb does not deserve more digits than this.
        Figure::assumed(Watts((system.0 / 50.0).round() * 50.0), rule)
    }
}

/// How many times its GPUs' power a system with eight of a model is rated at.
fn rated_share(catalog: &Catalog, model: &str) -> Option<f64> {
    let rated = catalog.system(model, 8)?.max_power().value.0;
    let gpus = catalog.gpus.iter().find(|gpu| gpu.short_name == model)?.tdp().value.0 * 8.0;
    Some(rated / gpus)
}

/// A machine with so many GPUs: as a system of that kind is rated, or by the rule for its build.
pub(super) fn whole(catalog: &Catalog, model: Option<&GpuModel>, count: u32, gpus: &Figure<Watts>) -> Figure<Watts> {
    let rated = model.and_then(|model| catalog.system(&model.short_name, count)).map(System::max_power);
    rated.unwrap_or_else(|| model.map_or(Build::PcieServer, Build::of).system(gpus, catalog))
}

fn systems(input: &Input<'_>) -> Table {
    let watts_of = |key: &str, text: Text| Column::number(key, input.say(text)).unit("W");
    let mut table = input.table(
        "B.9",
        Text::new("Power of whole machines", "시스템 전력"),
        [
            Column::text("machine", input.say(Text::new("machine", "구성"))),
            watts_of("gpus", Text::new("GPUs together", "GPU 합계")),
            watts_of("system", Text::new("whole machine", "시스템 전체")),
            watts_of("guide", Text::new("guide says", "가이드 값")),
            watts_of("supply", Text::new("supply", "PSU")),
            watts_of("guide_supply", Text::new("guide's supply", "가이드 PSU")),
            Column::text("circuit", input.say(Text::new("circuit", "전원 회로"))),
            Column::text("guide_circuit", input.say(Text::new("guide's circuit", "가이드 회로"))),
        ],
    );
    for group in input.groups() {
        let Some(gpus) = limits(&group) else { continue };
        let count = u32::try_from(group.len()).unwrap_or(u32::MAX);
        let system = whole(input.catalog, group[0].model, count, &gpus);
        let rated = group[0].model.and_then(|model| input.catalog.system(&model.short_name, count));
        let name = format!("▶ {count}× {} {}", group[0].name(), input.say(Text::new("(this machine)", "(이 장비)")));
        system_row(input, &mut table, name, (&gpus, &system), rated, None);
    }
    for row in GUIDE {
        let Some(model) = input.catalog.gpus.iter().find(|model| model.short_name == row.model) else { continue };
        let gpus = model.tdp().map(|tdp| tdp * f64::from(row.gpus));
        let system = whole(input.catalog, Some(model), row.gpus, &gpus);
        let rated = input.catalog.system(row.model, row.gpus);
        system_row(input, &mut table, format!("{}× {}", row.gpus, row.model), (&gpus, &system), rated, Some(&row));
    }
    for system in &input.catalog.systems {
        let Some(model) = input.catalog.gpus.iter().find(|model| model.short_name == system.gpu) else { continue };
        let gpus = model.tdp().map(|tdp| tdp * f64::from(system.gpus));
        let name = format!("{} ({}× {})", system.name, system.gpus, system.gpu);
        system_row(input, &mut table, name, (&gpus, &system.max_power()), Some(system), None);
    }
    if input.is_unmeasured() {
        table.note(input.say(NO_RUN));
    }
    table.note(input.say(Text::new(
        "The supply runs at no more than 80 % of its rating, and is rounded up to 50 W. A circuit carries 80 % of its rating for hours: 1,440 W at 120 V and 15 A, 1,920 W at 120 V and 20 A, 2,816 W at 220 V and 16 A.",
        "PSU는 정격의 80 %까지만 쓰는 것으로 보고 50 W 단위로 올렸다. 회로도 장시간에는 정격의 80 %까지만 쓴다(120 V 15 A는 1,440 W, 120 V 20 A는 1,920 W, 220 V 16 A는 2,816 W).",
    )));
    table.note(input.say(Text::new(
        "Boards exceed their limit for milliseconds; a supply of 1.2 to 1.3 times the machine's power is a floor, not a margin.",
        "GPU는 순간적으로 제한을 넘는 전력을 쓴다. 시스템 전력의 1.2~1.3배는 여유가 아니라 최소한이다.",
    )));
    if let Some((dgx, right)) = input.catalog.system("A100 SXM 80GB", 8).zip(input.catalog.system("H100 SXM", 8)) {
        table.note(
            Text::new(
                "The guide's {} for eight H100 is the rating of a {}; a {} is rated {}.",
                "가이드의 8× H100 값 {}는 {}의 정격이다. {}의 정격은 {}다.",
            )
            .fill(input.lang, &[&dgx.max_power(), &dgx.name, &right.name, &right.max_power()]),
        );
    }
    table
}

/// The power limits in force of a group, added up; the datasheet's where the driver did not tell.
fn limits(group: &[Here<'_>]) -> Option<Figure<Watts>> {
    let limit = |here: &Here<'_>| fact(&here.gpu.power.enforced, "NVML").or_else(|| Some(here.model?.tdp()));
    let mut figures = group.iter().map(limit);
    let first = figures.next()??;
    figures.try_fold(first, |sum, figure| Some(sum.with(&figure?, |a, b| a + b)))
}

fn system_row(
    input: &Input<'_>,
    table: &mut Table,
    name: String,
    (gpus, system): (&Figure<Watts>, &Figure<Watts>),
    rated: Option<&System>,
    guide: Option<&GuideRow>,
) {
    // A system that is sold whole comes with its supplies.
    let supply = match rated {
        Some(system) => system.supplies.as_ref().map_or(Cell::Empty, Cell::text),
        None => watts(Some(&system.map(|system| Watts((system.0 / LOAD / 50.0).ceil() * 50.0)))),
    };
    table.row([
        Cell::text(name),
        watts(Some(gpus)),
        watts(Some(system)),
        watts(guide.map(GuideRow::system).as_ref()),
        supply,
        watts(guide.and_then(GuideRow::supply).as_ref()),
        Cell::text(input.say(circuit(system.value))),
        guide.map_or(Cell::Empty, |guide| Cell::text(input.say(guide.circuit))),
    ]);
}

/// What feeds a machine that draws so much for hours.
fn circuit(system: Watts) -> Text {
    match system.0 {
        watts if watts <= 720.0 => Text::new("any household circuit", "일반 가정용 회로"),
        watts if watts <= 1440.0 => Text::new("its own, 120 V 15 A", "120 V 15 A 전용 회로"),
        watts if watts <= 1920.0 => Text::new("its own, 120 V 20 A", "120 V 20 A 전용 회로"),
        watts if watts <= 2816.0 => Text::new("its own, 220 V 16 A", "220 V 16 A 전용 회로"),
        watts if watts <= 5600.0 => Text::new("rack power distribution", "서버용 PDU"),
        _ => Text::new("three phases", "3상 전원"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rated_systems_are_taken_at_their_rating_and_others_by_rule() {
        let catalog = Catalog::embedded().unwrap();
        let power = |name: &str, count: u32| {
            let model = catalog.gpu(name).unwrap();
            let gpus = model.tdp().map(|tdp| tdp * f64::from(count));
            let whole = whole(&catalog, Some(model), count, &gpus);
            (whole.value.0, whole.basis)
        };
        assert_eq!(power("H100 SXM", 8), (10200.0, Basis::Datasheet));
        assert_eq!(power("A100 SXM 80GB", 8), (6500.0, Basis::Datasheet));
        assert_eq!(power("RTX 4090", 1), (650.0, Basis::Assumed));
        // 4 × 700 W × 10200 / 5600.
        assert_eq!(power("H100 SXM", 4), (5100.0, Basis::Assumed));
        assert_eq!(power("A100 PCIe 40GB", 4), (1500.0, Basis::Assumed));
    }

    #[test]
    fn circuits_carry_what_they_may_for_hours() {
        for (watts, circuit) in [(650.0, "any household circuit"), (1100.0, "its own, 120 V 15 A"), (2000.0, "its own, 220 V 16 A")] {
            assert_eq!(super::circuit(Watts(watts)).en, circuit);
        }
    }
}
