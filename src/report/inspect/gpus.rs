//! The tables about GPUs.

use super::{Draft, FREE, GPU, MEMORY, NONE, View, bytes, count, same, word};
use crate::lang::{Lang, Text};
use crate::machine::{Clocks, Gpu, NvLink};
use crate::table::{Cell, Column, Table};
use crate::units::Bytes;

const SMS: Text = Text::new("SMs", "SM 수");
const BUS: Text = Text::new("bus bits", "버스 비트");
const ADDRESS: Text = Text::new("PCI address", "PCI 주소");
const PCI_ID: Text = Text::new("PCI id", "PCI ID");
const BOARD: Text = Text::new("board id", "보드 ID");
const ROWS: Text = Text::new("remapped rows", "재배치된 행");
const VIRTUAL: Text = Text::new("virtual", "가상화");
const PROCESSES: Text = Text::new("other processes", "다른 프로세스");

/// Columns of clocks: now, the highest, and what applications are given, of multiprocessors and of memory.
const CLOCKS: [(&str, Text); 6] = [
    ("sm_clock", Text::new("SM now", "SM 현재")),
    ("sm_clock_maximum", Text::new("SM max", "SM 최대")),
    ("sm_clock_application", Text::new("SM app", "SM 앱 설정")),
    ("memory_clock", Text::new("memory now", "메모리 현재")),
    ("memory_clock_maximum", Text::new("memory max", "메모리 최대")),
    ("memory_clock_application", Text::new("memory app", "메모리 앱 설정")),
];

/// Columns of power limits.
const LIMITS: [(&str, Text); 3] = [
    ("power_enforced", Text::new("power limit", "전력 제한")),
    ("power_default", Text::new("default", "기본값")),
    ("power_maximum", Text::new("max", "최대")),
];

/// The tables, in the order shown.
pub(super) fn tables(view: View<'_>) -> [Table; 5] {
    [gpus(view), identity(view), clocks(view), state(view), between(view)]
}

fn gpus(view: View<'_>) -> Table {
    let mut draft = Draft::new(
        view,
        Text::new("GPUs", "GPU"),
        [
            view.numbers("gpu", GPU),
            view.words("name", Text::new("name", "이름")),
            view.words("compute_capability", same("CC")),
            view.numbers("sms", SMS),
            view.numbers("memory", MEMORY),
            view.numbers("free", FREE),
            view.numbers("bus_bits", BUS),
            view.numbers("l2", same("L2")),
            view.numbers("numa_node", same("NUMA")),
        ],
    );
    for gpu in &view.machine.gpus {
        let row = [
            count(&gpu.index),
            word(&gpu.name),
            draft.cell(same("CC"), &gpu.compute_capability, |(major, minor)| Cell::text(format!("{major}.{minor}"))),
            draft.cell(SMS, &gpu.sm_count, count),
            draft.cell(MEMORY, &gpu.memory_total, bytes),
            draft.cell(FREE, &gpu.memory_free, bytes),
            draft.cell(BUS, &gpu.memory_bus_bits, count),
            draft.cell(same("L2"), &gpu.l2, bytes),
            draft.cell(same("NUMA"), &gpu.numa_node, count),
        ];
        draft.table.row(row);
    }
    if view.machine.gpus.is_empty() {
        let driver = &view.machine.driver;
        let none = view.say(Text::new("the driver lists none", "드라이버가 하나도 보여 주지 않는다"));
        let why = driver.cuda_version.why().or(driver.version.why()).unwrap_or(none);
        draft.table.note(Text::new("no GPU: {}", "GPU 없음: {}").fill(view.lang, &[&why]));
    }
    draft.finish()
}

fn identity(view: View<'_>) -> Table {
    let mut draft = Draft::new(
        view,
        Text::new("Identity", "식별 정보"),
        [
            view.numbers("gpu", GPU),
            view.words("uuid", same("UUID")),
            view.words("pci_address", ADDRESS),
            view.words("pci_id", PCI_ID),
            view.words("board_id", BOARD),
            view.words("vbios", same("VBIOS")),
        ],
    );
    for gpu in &view.machine.gpus {
        let row = [
            count(&gpu.index),
            word(&gpu.uuid),
            draft.words(ADDRESS, &gpu.pci_address),
            draft.words(PCI_ID, &gpu.pci_id),
            draft.words(BOARD, &gpu.pci_subsystem_id),
            draft.words(same("VBIOS"), &gpu.vbios),
        ];
        draft.table.row(row);
    }
    draft.finish()
}

fn clocks(view: View<'_>) -> Table {
    let mut draft = Draft::new(
        view,
        Text::new("Clocks and power limits", "클럭과 전력 제한"),
        [view.numbers("gpu", GPU)].into_iter().chain(CLOCKS.iter().chain(&LIMITS).map(|(key, header)| view.numbers(key, *header))),
    );
    for gpu in &view.machine.gpus {
        let clocks = [&gpu.sm_clock, &gpu.memory_clock];
        let clocks = clocks.into_iter().flat_map(|Clocks { current, maximum, application }| [current, maximum, application]);
        let mut row = vec![count(&gpu.index)];
        row.extend(CLOCKS.iter().zip(clocks).map(|((_, label), clock)| draft.cell(*label, clock, |clock| Cell::plain(*clock))));
        let limits = [&gpu.power.enforced, &gpu.power.default, &gpu.power.maximum];
        row.extend(LIMITS.iter().zip(limits).map(|((_, label), limit)| draft.cell(*label, limit, |limit| Cell::plain(*limit))));
        draft.table.row(row);
    }
    draft.finish()
}

fn state(view: View<'_>) -> Table {
    let mut draft = Draft::new(
        view,
        Text::new("State", "상태"),
        [
            view.numbers("gpu", GPU),
            view.words("ecc", same("ECC")),
            view.words("ecc_errors", Text::new("errors now / ever", "오류 현재 / 누적")),
            view.words("remapped_rows", ROWS),
            view.words("mig", same("MIG")),
            view.words("virtualization", VIRTUAL),
            view.words("pcie", Text::new("PCIe now / max", "PCIe 현재 / 최대")),
            view.words("nvlink", same("NVLink")),
            view.words("other_processes", PROCESSES),
        ],
    );
    for gpu in &view.machine.gpus {
        let row = [
            count(&gpu.index),
            draft.cell(same("ECC"), &gpu.ecc, |ecc| on_or_off(view, ecc.enabled)),
            gpu.ecc.known().map_or(Cell::Empty, |ecc| {
                let sum = |corrected: Option<u64>, uncorrected: Option<u64>| match (corrected, uncorrected) {
                    (None, None) => "?".to_owned(),
                    (corrected, uncorrected) => corrected.unwrap_or_default().saturating_add(uncorrected.unwrap_or_default()).to_string(),
                };
                let now = sum(ecc.corrected_volatile, ecc.uncorrected_volatile);
                let ever = sum(ecc.corrected_aggregate, ecc.uncorrected_aggregate);
                Cell::text(format!("{now} / {ever}"))
            }),
            draft.cell(ROWS, &gpu.remapped_rows, |rows| {
                let states = [(rows.pending, Text::new(", pending", ", 대기 중")), (rows.failed, Text::new(", FAILED", ", 실패"))];
                let states: String = states.iter().filter(|(holds, _)| *holds).map(|(_, name)| view.say(*name)).collect();
                Cell::text(format!("{}{states}", rows.corrected.saturating_add(rows.uncorrected)))
            }),
            draft.cell(same("MIG"), &gpu.mig, |on| on_or_off(view, *on)),
            draft.words(VIRTUAL, &gpu.virtualization),
            draft.cell(same("PCIe"), &gpu.pcie, |link| {
                let most = |number: Option<u32>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
                let (generation, width) = (most(link.generation_max), most(link.width_max));
                Cell::text(format!("{} x{} / {generation} x{width}", link.generation, link.width))
            }),
            draft.cell(same("NVLink"), &gpu.nvlinks, |links| Cell::text(nvlinks(links, view.lang))),
            draft.cell(PROCESSES, &gpu.other_processes, |processes| {
                let memory: Bytes = processes.iter().filter_map(|process| process.memory).sum();
                if processes.is_empty() {
                    Cell::text(view.say(NONE))
                } else {
                    Cell::text(format!("{}, {}", processes.len(), memory.approximate()))
                }
            }),
        ];
        draft.table.row(row);
    }
    if view.machine.gpus.iter().any(is_link_idle) {
        draft.table.note(view.say(Text::new(
            "an idle PCIe link runs at a lower generation; what it trains to under load is measured, not inspected",
            "쉬고 있는 PCIe 링크는 낮은 세대로 동작한다. 부하가 걸렸을 때의 세대는 조회가 아니라 측정으로 알 수 있다",
        )));
    }
    draft.finish()
}

fn is_link_idle(gpu: &Gpu) -> bool {
    gpu.pcie.known().is_some_and(|link| link.generation_max.is_some_and(|most| link.generation < most))
}

/// Such as `18 up, version 4, to NVSwitch`.
pub(super) fn nvlinks(links: &[NvLink], lang: Lang) -> String {
    if links.is_empty() {
        return NONE.get(lang).to_owned();
    }
    let up: Vec<&NvLink> = links.iter().filter(|link| link.active).collect();
    let down = links.len() - up.len();
    let mut text = Text::new("{} up", "{}개 연결").fill(lang, &[&up.len()]);
    if down > 0 {
        text += &Text::new(", {} down", ", {}개 끊김").fill(lang, &[&down]);
    }
    if let Some(version) = up.iter().find_map(|link| link.version) {
        text += &Text::new(", version {}", ", 버전 {}").fill(lang, &[&version]);
    }
    let mut peers: Vec<&str> = up.iter().filter_map(|link| link.peer.as_deref()).collect();
    peers.sort_unstable();
    peers.dedup();
    if !peers.is_empty() {
        text += &Text::new(", to {}", ", 상대 {}").fill(lang, &[&peers.join(", ")]);
    }
    text
}

fn on_or_off(view: View<'_>, on: bool) -> Cell {
    Cell::text(view.say(if on { Text::new("on", "켜짐") } else { Text::new("off", "꺼짐") }))
}

/// Who reaches whom: a row per GPU that accesses, a column per GPU that is accessed.
fn between(view: View<'_>) -> Table {
    let to = |gpu: &Gpu| Column::text(&format!("to_{}", gpu.index), Text::new("to {}", "{}번으로").fill(view.lang, &[&gpu.index]));
    let columns = view.machine.gpus.iter().map(to);
    let from = view.numbers("from", Text::new("from", "출발"));
    let mut draft = Draft::new(view, Text::new("Between GPUs", "GPU 사이"), std::iter::once(from).chain(columns));
    if view.machine.pairs.is_empty() {
        return draft.table;
    }
    for from in &view.machine.gpus {
        let mut row = vec![count(&from.index)];
        for to in &view.machine.gpus {
            let Some(pair) = view.machine.pairs.iter().find(|pair| (pair.from, pair.to) == (from.index, to.index)) else {
                row.push(Cell::Empty);
                continue;
            };
            if let Some(why) = pair.topology.why() {
                draft.reason(Text::new("topology", "토폴로지"), why);
            }
            if let Some(why) = pair.peer_access.why() {
                draft.reason(Text::new("peer access", "P2P 접근"), why);
            }
            let topology = pair.topology.known().map_or("?", String::as_str);
            let access = match pair.peer_access.known() {
                Some(true) => same("P2P"),
                Some(false) => Text::new("no P2P", "P2P 불가"),
                None => same("P2P ?"),
            };
            row.push(Cell::text(format!("{topology} {}", view.say(access))));
        }
        draft.table.row(row);
    }
    draft.table.note(view.say(Text::new(
        "NV and a number: that many NVLink ports; PIX one PCIe switch, PXB several, PHB a host bridge, NODE a NUMA node, SYS across nodes",
        "NV와 숫자: NVLink 포트 수. PIX: PCIe 스위치 하나, PXB: 스위치 여럿, PHB: 호스트 브리지, NODE: 같은 NUMA 노드, SYS: 노드 사이",
    )));
    draft.finish()
}
