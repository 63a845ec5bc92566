//! An estimate as tables: a bar per part, the three sums, the phases, the verdict and one line of advice.

use super::super::{Common, Format, print, print_tables};
use super::time::Time;
use super::{cost, json, place};
use crate::error::Result;
use crate::estimate::advice::{Advice, Proposal};
use crate::estimate::cost::Cost;
use crate::estimate::fit::{Room, Verdict};
use crate::estimate::memory::{Memory, Part, Phase, Reservation};
use crate::figure::{Figure, Quantity, Share};
use crate::lang::{Lang, Text};
use crate::report;
use crate::table::{Align, Cell, Column, Number, Table};
use crate::units::Bytes;
use crate::workload::Model;

/// Columns of a full bar.
const BAR: usize = 28;

/// What was estimated, for whom and where.
pub(super) struct Estimate<'a> {
    pub(super) model: &'a Model,
    /// The job in the words of its options.
    pub(super) job: String,
    /// Parameters that are trained; 0 for inference.
    pub(super) trainable: u64,
    pub(super) memory: &'a Memory,
    /// How long it takes, where the GPU is known.
    pub(super) time: Option<Time>,
    /// What it costs, where a price and a length are known.
    pub(super) cost: Option<Cost>,
    /// What a server's reservation leaves for its cache.
    pub(super) reserved: Option<Reserved>,
    /// Whether GPUs share the job, so that the numbers are those of the one that needs most.
    pub(super) shared: bool,
    pub(super) room: Option<&'a Room>,
    pub(super) advice: Option<Advice>,
    pub(super) simulated: bool,
}

/// A server's cache on each GPU.
pub(super) struct Reserved {
    /// Share of the GPU that it takes.
    pub(super) share: f64,
    /// Tokens of a sequence, output included.
    pub(super) length: u64,
    pub(super) left: Reservation,
}

pub(super) fn show(common: &Common, estimate: &Estimate<'_>) -> Result<Verdict> {
    if common.format == Format::Json {
        print(&json::estimate(estimate)?)?;
    } else {
        print_tables(&tables(estimate, common.lang.into()), common)?;
    }
    Ok(estimate.room.map_or(Verdict::Unknown, |room| room.verdict(estimate.memory)))
}

fn tables(estimate: &Estimate<'_>, lang: Lang) -> Vec<Table> {
    let mut phases = phases(estimate, lang);
    phases.note(verdict(estimate, lang));
    if let Some(Reserved { share, length, left }) = &estimate.reserved {
        const LEFT: Text = Text::new(
            "Taking {} of the GPU, vLLM keeps {} for its cache: {} blocks, {} tokens, {} sequences of {} tokens at once.",
            "vLLM이 GPU의 {}를 쓰면 캐시로 {}가 남는다. 블록 {}개, 토큰 {}개, 동시 시퀀스 {}개(길이 {}).",
        );
        let (share, cache) = (Share(*share).show(), left.cache.approximate());
        phases.note(LEFT.fill(lang, &[&share, &cache, &left.blocks, &left.tokens, &left.sequences, length]));
    }
    if let Some(advice) = &estimate.advice {
        phases.note(advised(advice, lang));
    }
    let mut tables = vec![parts(estimate, lang), phases];
    tables.extend(estimate.time.as_ref().map(|time| time.table(lang)));
    tables.extend(estimate.cost.as_ref().map(|cost| cost::table(cost, lang)));
    tables
}

/// The parts at the peak, and the sums that follow from them.
fn parts(estimate: &Estimate<'_>, lang: Lang) -> Table {
    let memory = estimate.memory;
    let what = if estimate.shared {
        Text::new("memory of the GPU that needs most", "가장 많이 쓰는 GPU의 메모리")
    } else {
        Text::new("memory of the GPU", "GPU 메모리")
    };
    let simulated = if estimate.simulated { " — SIMULATED, not hardware" } else { "" };
    let title = format!("{}, {}: {}{simulated}", estimate.model.name, estimate.job, what.get(lang));
    let columns = [
        Column::text("part", Text::new("part", "구성 요소").get(lang)),
        Column::number("memory", Text::new("memory", "메모리").get(lang)),
        Column::text("interval", Text::new("interval", "구간").get(lang)),
        share_column(lang),
    ];
    let mut table = Table::new(title, columns).in_lang(lang);
    let whole = memory.device.value;
    if let Some(peak) = memory.peak() {
        for (part, bytes) in peak.footprint.parts().filter(|(_, bytes)| bytes.0 > 0) {
            let figure = Figure::new(bytes, memory.allocated.basis, memory.allocated.from.join("; "));
            table.row([Cell::text(part_words(part).get(lang)), Cell::figure(&figure), Cell::Empty, bytes_bar(bytes, whole)]);
        }
    }
    for (name, figure) in [
        (Text::new("= allocated (tensors)", "= 할당(텐서)"), &memory.allocated),
        (Text::new("= reserved (allocator)", "= 예약(할당자)"), &memory.reserved),
        (Text::new("+ context and libraries", "+ 컨텍스트와 라이브러리"), &memory.context),
        (Text::new("= device (nvidia-smi)", "= 장치(nvidia-smi)"), &memory.device),
    ] {
        table.row([Cell::text(name.get(lang)), Cell::figure(figure), interval(figure), bytes_bar(figure.value, whole)]);
    }
    if let Some(host) = place::host(memory.host) {
        table.row([Cell::text(Text::new("host memory of a node", "노드의 호스트 메모리").get(lang)), Cell::figure(&host)]);
    }
    table
}

fn phases(estimate: &Estimate<'_>, lang: Lang) -> Table {
    let columns = [
        Column::text("phase", Text::new("phase", "단계").get(lang)),
        Column::number("allocated", Text::new("allocated", "할당").get(lang)),
        share_column(lang),
    ];
    let mut table = Table::new(Text::new("Its phases", "단계별 메모리").get(lang), columns).in_lang(lang);
    for moment in &estimate.memory.moments {
        let total = moment.footprint.total();
        table.row([Cell::text(phase_words(moment.phase).get(lang)), Cell::plain(total), bytes_bar(total, estimate.memory.device.value)]);
    }
    table
}

fn share_column(lang: Lang) -> Column {
    Column { align: Align::Left, ..Column::number("share", Text::new("share of the device", "전체 대비").get(lang)) }
}

fn bytes_bar(part: Bytes, whole: Bytes) -> Cell {
    bar(if whole.0 == 0 { 0.0 } else { part.as_f64() / whole.as_f64() })
}

/// A share, shown as a bar.
pub(super) fn bar(share: f64) -> Cell {
    Cell::Number(Number { value: share, unit: "", shown: report::bar(share, BAR), range: None, basis: None, from: Vec::new() })
}

fn interval(figure: &Figure<Bytes>) -> Cell {
    if figure.low == figure.high { Cell::Empty } else { Cell::text(format!("{} – {}", figure.low.show(), figure.high.show())) }
}

/// The verdict in one sentence.
fn verdict(estimate: &Estimate<'_>, lang: Lang) -> String {
    let Some(room) = estimate.room else {
        return Text::new(
            "There is no GPU here to compare with; name one with --gpu.",
            "비교할 GPU가 이 장비에 없다. --gpu로 지정하면 판정한다.",
        )
        .get(lang)
        .to_owned();
    };
    let headroom = room.headroom(estimate.memory);
    let (left, capacity) = (Bytes(headroom.unsigned_abs()).approximate(), room.capacity.value.approximate());
    let device = &estimate.memory.device;
    match room.verdict(estimate.memory) {
        Verdict::Yes => {
            Text::new("It fits {} ({}), with {} to spare.", "{}({})에 들어가며 {}가 남는다.").fill(lang, &[&room.gpu, &capacity, &left])
        }
        Verdict::No => Text::new("It does not fit {} ({}): {} too much.", "{}({})에 들어가지 않는다. {}가 모자란다.")
            .fill(lang, &[&room.gpu, &capacity, &left]),
        Verdict::Unknown => Text::new(
            "Whether it fits {} is unknown: it takes {} to {} of {} to {}.",
            "{}에 들어가는지 알 수 없다. 필요량 {}~{}, 사용 가능 {}~{}.",
        )
        .fill(
            lang,
            &[
                &room.gpu,
                &device.low.approximate(),
                &device.high.approximate(),
                &room.capacity.low.approximate(),
                &room.capacity.high.approximate(),
            ],
        ),
    }
}

/// The advice in one sentence.
fn advised(advice: &Advice, lang: Lang) -> String {
    let said = |text: Text, proposal: &Proposal| {
        let Proposal { options, device } = proposal;
        text.fill(lang, &[options, &device.value.approximate()])
    };
    match advice {
        Advice::Change(proposal) => said(Text::new("With {} it takes {} and fits.", "{}를 주면 {}가 필요하며 들어간다."), proposal),
        Advice::Larger(proposal) => {
            said(Text::new("The largest batch that surely fits: {}, which takes {}.", "확실히 들어가는 가장 큰 배치: {} ({})."), proposal)
        }
        Advice::Full => Text::new("A larger batch might not fit.", "배치를 더 키우면 들어가지 않을 수 있다.").get(lang).to_owned(),
        Advice::Nearest(proposal) => said(
            Text::new(
                "Nothing that was tried surely fits; nearest came {} with {}: take GPUs with more memory.",
                "시도한 설정 중 확실히 들어가는 것이 없다. 가장 가까운 것은 {} ({})이다. 메모리가 더 큰 GPU가 필요하다.",
            ),
            proposal,
        ),
        Advice::Nothing => Text::new("No other setting could be estimated.", "다른 설정은 추정할 수 없었다.").get(lang).to_owned(),
    }
}

const fn part_words(part: Part) -> Text {
    match part {
        Part::Weights => Text::new("weights", "가중치"),
        Part::Gradients => Text::new("gradients", "그래디언트"),
        Part::Optimizer => Text::new("optimizer states", "옵티마이저 상태"),
        Part::Activations => Text::new("activations", "활성값"),
        Part::Logits => Text::new("logits and loss", "로짓과 손실"),
        Part::KvCache => Text::new("KV cache", "KV 캐시"),
        Part::Workspace => Text::new("workspaces and buffers", "작업 공간과 버퍼"),
    }
}

const fn phase_words(phase: Phase) -> Text {
    match phase {
        Phase::Rest => Text::new("between steps", "스텝 사이"),
        Phase::Forward => Text::new("end of the forward pass", "순전파 끝"),
        Phase::Loss => Text::new("loss and head", "손실과 출력층"),
        Phase::Backward => Text::new("backward pass", "역전파"),
        Phase::Update => Text::new("optimizer's update", "옵티마이저 갱신"),
        Phase::Load => Text::new("loading", "로딩"),
        Phase::Prefill => Text::new("prefill", "프리필"),
        Phase::Decode => Text::new("decode, last token", "디코드, 마지막 토큰"),
    }
}
