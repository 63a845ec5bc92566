//! B.4.1: links between GPUs and to the host.
//!
//! Brochures add both directions and count raw signalling. A copy goes one way, and the line code takes its part: the **ceiling** here is one
//! direction, encoded. What was measured stands beside that ceiling, so a share near 90 % is a healthy link and a share near 45 % a halved one.

use super::{Here, Input, NO_RUN, Section};
use crate::calibrate::PeerLink;
use crate::catalog::Family;
use crate::figure::{Basis, Figure};
use crate::lang::Text;
use crate::machine::Pair;
use crate::table::{Cell, Column, Table};
use crate::units::BytesPerSecond;

pub(super) const SECTION: Section = Section { id: "B.4.1", title: Text::new("Links", "연결 방식"), tables };

/// With more pairs than this, only the slowest and the fastest pair of each kind are shown.
const MOST_PAIRS: usize = 12;

fn tables(input: &Input<'_>) -> Vec<Table> {
    let mut tables = Vec::new();
    if let Some(table) = measured(input) {
        tables.push(table);
    }
    tables.push(kinds(input));
    tables
}

fn kinds(input: &Input<'_>) -> Table {
    let mut table = input.table(
        "B.4.1",
        Text::new("Kinds of links, one direction", "연결 방식별 한 방향 대역폭"),
        [
            Column::text("link", input.say(Text::new("link", "연결"))),
            Column::number("raw", input.say(Text::new("raw", "신호 속도"))).unit("GB/s"),
            Column::number("ceiling", input.say(Text::new("ceiling", "상한"))).unit("GB/s"),
            Column::number("practical", input.say(Text::new("practical", "실용 상한"))).unit("GB/s"),
            Column::number("guide_total", input.say(Text::new("guide, both ways", "가이드(양방향)"))).unit("GB/s"),
            Column::text("scope", input.say(Text::new("counted per", "기준"))),
        ],
    );
    let shown = |family: Family, width: u32| match family {
        Family::Pcie => width == 16,
        Family::Nvlink | Family::C2c => true,
        _ => false,
    };
    for link in input.catalog.links.iter().filter(|link| shown(link.family, link.width)) {
        table.row([
            Cell::text(&link.name),
            gbs(link.raw().as_ref()),
            gbs(link.encoded().as_ref()),
            gbs(link.practical().as_ref()),
            gbs(link.guide_total().as_ref()),
            Cell::text(match (link.family, input.lang) {
                (Family::Pcie, crate::lang::Lang::En) => "slot",
                (Family::Pcie, crate::lang::Lang::Ko) => "슬롯",
                (Family::C2c, crate::lang::Lang::En) => "module",
                (Family::C2c, crate::lang::Lang::Ko) => "모듈",
                (_, crate::lang::Lang::En) => "GPU, all links",
                (_, crate::lang::Lang::Ko) => "GPU 전체 링크",
            }),
        ]);
    }
    if input.is_unmeasured() {
        table.note(input.say(NO_RUN));
    }
    table.note(input.say(Text::new(
        "The guide adds both directions. NVLink rates are for one GPU over all its links, shared by all its peers, not for each pair.",
        "가이드의 값은 양방향 합계다. NVLink 값은 GPU 하나의 모든 링크를 합한 것으로, 상대 GPU들이 나누어 쓴다. GPU 쌍마다 주어지는 값이 아니다.",
    )));
    table
}

/// `None` when nothing was measured over any link.
fn measured(input: &Input<'_>) -> Option<Table> {
    let (run, calibration) = input.here?;
    let mut table = input.table(
        "B.4.1",
        Text::new("This machine's links, measured", "이 장비의 연결 측정값"),
        [
            Column::text("path", input.say(Text::new("path", "경로"))),
            Column::text("link", input.say(Text::new("link", "연결"))),
            Column::number("measured", input.say(Text::new("measured", "측정값"))).unit("GB/s"),
            Column::number("ceiling", input.say(Text::new("ceiling", "상한"))).unit("GB/s"),
            Column::number("share", input.say(Text::new("of ceiling", "상한 대비"))),
        ],
    );
    let gpus = input.gpus();
    for here in &gpus {
        host_rows(input, &mut table, here);
    }
    let pairs: Vec<(&PeerLink, Option<&Pair>)> = calibration
        .peers
        .iter()
        .map(|link| (link, run.machine.pairs.iter().find(|pair| (pair.from, pair.to) == (link.from, link.to))))
        .collect();
    for (link, pair) in shown_pairs(&pairs) {
        peer_row(input, &mut table, &gpus, link, pair);
    }
    if pairs.len() > MOST_PAIRS {
        table.note(input.say(Text::new(
            "Of each kind of pair only the slowest and the fastest are shown.",
            "연결 종류마다 가장 느린 쌍과 가장 빠른 쌍만 표시한다.",
        )));
    }
    table.note(input.say(Text::new(
        "One direction, unless the path says both, which adds them; the ceiling is what the line code leaves of the link as it was trained.",
        "양방향이라고 적힌 경우를 빼면 한 방향 값이다. 상한은 실제로 맺어진 링크에서 부호화 손실을 뺀 값이다.",
    )));
    (!table.is_empty()).then_some(table)
}

fn host_rows(input: &Input<'_>, table: &mut Table, here: &Here<'_>) {
    let Some(gpu) = here.measured else { return };
    // The link as seen under load where it was watched; an idle link reports generation 1, so its maximum is the next best.
    let trained = gpu.pcie.or_else(|| {
        let pcie = here.gpu.pcie.known()?;
        pcie.generation_max.zip(pcie.width_max)
    });
    let ceiling = trained.and_then(|(generation, width)| input.catalog.pcie_ceiling(generation, width));
    let link = trained.map_or_else(|| "PCIe".to_owned(), |(generation, width)| format!("PCIe {generation} x{width}"));
    for ((direction, memory), rates) in &gpu.copy {
        let path = match direction.as_str() {
            "h2d" => Text::new("host → GPU {}", "호스트 → GPU {}"),
            "d2h" => Text::new("GPU {} → host", "GPU {} → 호스트"),
            _ => Text::new("host ⇄ GPU {}, both", "호스트 ⇄ GPU {}, 양방향"),
        };
        let ceiling = ceiling.as_ref().map(|one_way| if direction == "both" { one_way.map(|rate| rate * 2.0) } else { one_way.clone() });
        let path = format!("{} ({memory})", path.fill(input.lang, &[&gpu.index]));
        rate_row(table, path, link.clone(), &rates.ceiling, ceiling.as_ref());
    }
}

fn peer_row(input: &Input<'_>, table: &mut Table, gpus: &[Here<'_>], link: &PeerLink, pair: Option<&Pair>) {
    let topology = pair.and_then(|pair| pair.topology.known());
    let ceiling = topology.and_then(|topology| peer_ceiling(input, gpus, link, topology));
    let name = topology.map_or("–", String::as_str);
    if let Some(rate) = link.one_way() {
        rate_row(table, format!("GPU {} → GPU {}", link.from, link.to), name.to_owned(), &rate, ceiling.as_ref());
    }
    if let Some(rate) = link.both_ways() {
        let both = ceiling.map(|one_way| one_way.map(|rate| rate * 2.0));
        let path = Text::new("GPU {} ⇄ GPU {}, both", "GPU {} ⇄ GPU {}, 양방향").fill(input.lang, &[&link.from, &link.to]);
        rate_row(table, path, name.to_owned(), &rate, both.as_ref());
    }
}

/// One direction between two GPUs: `NV<n>` is n NVLinks of the board's, anything else crosses the slower of two PCIe links.
fn peer_ceiling(input: &Input<'_>, gpus: &[Here<'_>], link: &PeerLink, topology: &str) -> Option<Figure<BytesPerSecond>> {
    let end = |index: u32| gpus.iter().find(|here| here.gpu.index == index);
    let (from, to) = (end(link.from)?, end(link.to)?);
    if let Some(links) = topology.strip_prefix("NV") {
        let links: f64 = links.parse::<u32>().ok()?.into();
        let all = from.model?.nvlink_one_way()?;
        let count = f64::from(from.model?.nvlink?.links);
        return Some(all.map(|rate| rate * (links / count)));
    }
    let pcie = |here: &Here<'_>| {
        let (generation, width) = here.measured.and_then(|gpu| gpu.pcie).or_else(|| {
            let pcie = here.gpu.pcie.known()?;
            pcie.generation_max.zip(pcie.width_max)
        })?;
        input.catalog.pcie_ceiling(generation, width)
    };
    super::slowest([pcie(from)?, pcie(to)?].into_iter())
}

fn rate_row(table: &mut Table, path: String, link: String, rate: &Figure<BytesPerSecond>, ceiling: Option<&Figure<BytesPerSecond>>) {
    table.row([
        Cell::text(path),
        Cell::text(link),
        gbs(Some(rate)),
        gbs(ceiling),
        ceiling.map_or(Cell::Empty, |ceiling| Cell::figure(&rate.share_of(ceiling))),
    ]);
}

/// All pairs, or of each topology the slowest and the fastest where there are many.
fn shown_pairs<'a>(pairs: &[(&'a PeerLink, Option<&'a Pair>)]) -> Vec<(&'a PeerLink, Option<&'a Pair>)> {
    if pairs.len() <= MOST_PAIRS {
        return pairs.to_vec();
    }
    let topology = |pair: Option<&Pair>| pair.and_then(|pair| pair.topology.known().cloned());
    let rate = |link: &PeerLink| link.one_way().map_or(0.0, |rate| rate.value.0);
    let mut kinds: Vec<Option<String>> = Vec::new();
    for (_, pair) in pairs {
        let kind = topology(*pair);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let mut shown = Vec::new();
    for kind in kinds {
        let of_kind = || pairs.iter().filter(|(_, pair)| topology(*pair) == kind);
        let slowest = of_kind().min_by(|a, b| rate(a.0).total_cmp(&rate(b.0)));
        let fastest = of_kind().max_by(|a, b| rate(a.0).total_cmp(&rate(b.0)));
        shown.extend(slowest.copied());
        shown.extend(fastest.copied().filter(|pair| Some(pair) != slowest));
    }
    shown
}

fn gbs(rate: Option<&Figure<BytesPerSecond>>) -> Cell {
    rate.map_or(Cell::Empty, |rate| {
        let whole = rate.basis == Basis::Guide || rate.value.0 >= 1e11;
        Cell::figure_in(rate, 1e9, if whole { 0 } else { 1 })
    })
}
