//! B.4.2: ways of sharing a training step among the GPUs of one machine, and what of their speed each leaves, over slots and over NVLink.
//!
//! The guide has adjectives. Here one workload is shared in each way, and the step takes what the estimator says. **Efficiency** is the time of
//! the whole step on one GPU, thought large enough for it, over the GPUs' number times their step: 1 if N GPUs were N times as fast.
//! **Exposed** is the share of a step in which GPUs wait for messages, or for other stages, with nothing to do. GPU, batch and software are
//! the same on one GPU and on many; only the way of sharing and the link differ, so errors of the products cancel and the interval of an
//! efficiency is that of the link's. Data parallelism is PyTorch's and DeepSpeed's, on modules as transformers has them; products and layers are
//! shared by Megatron, whose kernels are fused and whose norms are divided along the sequence.

use std::rc::Rc;

use super::errata::Erratum;
use super::jobs::{self, Board, MIXED};
use super::pace::{self, Wire};
use super::{Input, Section};
use crate::calibrate::collective::Collective;
use crate::estimate::fit::Verdict;
use crate::estimate::memory;
use crate::estimate::time::{Kind, Speeds, Step, What};
use crate::figure::{Basis, Figure, Share};
use crate::lang::Text;
use crate::table::{Cell, Column, Table};
use crate::units::{Bytes, Seconds};
use crate::workload::{Checkpointing, Data, Framework, Model, Parallel, Training};

pub(super) const SECTION: Section =
    Section { id: "B.4.2", title: Text::new("Ways of sharing a training step", "병렬화 전략의 효율"), tables };

/// GPUs, where this machine does not say how many.
const GPUS: u64 = 8;

/// The board, where this machine has none.
const BOARD: &str = "A100 SXM 80GB";

/// The model: the guide's 7B.
const MODEL: &str = jobs::SIZES[0].1;

/// Sequences of a step for each GPU, and their tokens.
const SEQUENCES: u64 = 4;
const TOKENS: u64 = 2048;

/// A way of sharing.
struct Strategy {
    name: Text,
    /// What GPUs send each other.
    sends: Text,
    /// What the guide says of it over PCIe and over NVLink.
    guide: Option<[Text; 2]>,
    how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Data(Data),
    Tensor,
    Pipeline,
}

const GOOD: Text = Text::new("good", "양호");
const EXCELLENT: Text = Text::new("excellent", "우수");
const FAIR: Text = Text::new("fair", "보통");
const POOR: Text = Text::new("poor", "비효율");

const fn strategy(name: Text, sends: Text, guide: Option<[Text; 2]>, how: How) -> Strategy {
    Strategy { name, sends, guide, how }
}

const STRATEGIES: [Strategy; 6] = [
    strategy(
        Text::new("data parallel (DDP)", "데이터 병렬(DDP)"),
        Text::new("gradients, summed", "그래디언트 합산"),
        Some([GOOD, EXCELLENT]),
        How::Data(Data::Ddp),
    ),
    strategy(
        Text::new("ZeRO stage 1", "ZeRO 1단계"),
        Text::new("gradients, updated weights", "그래디언트, 갱신된 가중치"),
        None,
        How::Data(Data::Zero1),
    ),
    strategy(
        Text::new("ZeRO stage 2", "ZeRO 2단계"),
        Text::new("gradients scattered, updated weights", "그래디언트 분산, 갱신된 가중치"),
        Some([GOOD, EXCELLENT]),
        How::Data(Data::Zero2),
    ),
    strategy(
        Text::new("ZeRO stage 3 (FSDP)", "ZeRO 3단계(FSDP)"),
        Text::new("weights twice, gradients scattered", "가중치 두 번, 그래디언트 분산"),
        Some([FAIR, GOOD]),
        How::Data(Data::Fsdp),
    ),
    strategy(
        Text::new("tensor parallel", "텐서 병렬"),
        Text::new("sums of every half layer", "반 층마다 합산"),
        Some([POOR, EXCELLENT]),
        How::Tensor,
    ),
    strategy(
        Text::new("pipeline parallel", "파이프라인 병렬"),
        Text::new("hidden states between stages", "단계 사이의 은닉 상태"),
        Some([GOOD, EXCELLENT]),
        How::Pipeline,
    ),
];

/// The same step for all: `SEQUENCES` sequences per GPU, every layer recomputed.
fn alone(gpus: u64, framework: Framework) -> Training {
    Training { checkpointing: Checkpointing::Full, grad_accum: gpus, framework, ..Training::new(MIXED, SEQUENCES, TOKENS) }
}

impl Strategy {
    /// Whose code shares so.
    const fn framework(&self) -> Framework {
        match self.how {
            How::Data(_) => Framework::HuggingFace,
            How::Tensor | How::Pipeline => Framework::Megatron,
        }
    }

    /// The step of [`alone`], shared by `gpus`.
    fn training(&self, gpus: u64) -> Training {
        let parallel = Parallel { gpus, per_node: gpus, ..Parallel::ONE };
        let alone = alone(gpus, self.framework());
        match self.how {
            How::Data(data) => Training { grad_accum: 1, parallel: Parallel { data, ..parallel }, ..alone },
            How::Tensor => Training { parallel: Parallel { tensor: gpus, sequence: true, ..parallel }, ..alone },
            // Single sequences keep the most stages busy.
            How::Pipeline => {
                Training { batch: 1, grad_accum: gpus * SEQUENCES, parallel: Parallel { pipeline: gpus, ..parallel }, ..alone }
            }
        }
    }
}

/// What a strategy does over one link.
struct Outcome {
    step: Step,
    efficiency: Figure<Share>,
    exposed: Figure<Share>,
}

/// One machine with one link.
struct Place {
    wire: Wire,
    speeds: Speeds,
    /// The same with the link at either end of its interval.
    ends: [Speeds; 2],
}

impl Place {
    fn of(wire: Wire, speeds: Speeds, gpus: u64) -> Self {
        // A message that takes much longer than its start, as those of training do.
        let message = speeds.collective(Collective::AllReduce, gpus, Bytes::gib(1), gpus);
        let end = |time: Seconds| if time.0 > 0.0 { speeds.faster(What::Links, message.time.0 / time.0) } else { speeds.clone() };
        let ends = [end(message.high), end(message.low)];
        Self { wire, speeds, ends }
    }

    fn outcome(&self, model: &Model, training: &Training, gpus: u64, alone: &Step) -> Option<Outcome> {
        let step = pace::step(model, training, &self.speeds)?;
        let [slow, fast] = [pace::step(model, training, &self.ends[0])?, pace::step(model, training, &self.ends[1])?];
        let efficiency = |step: &Step| Share(alone.time.value.0 / (gpus as f64 * step.time.value.0));
        let exposed = |step: &Step| {
            let waiting = step.parts.kind(Kind::Communication) + step.parts.kind(Kind::Bubble);
            Share(waiting.0 / step.time.value.0)
        };
        let figure = |of: &dyn Fn(&Step) -> Share| {
            let [value, a, b] = [&step, &slow, &fast].map(of);
            let (low, high) = (a.0.min(b.0).min(value.0), a.0.max(b.0).max(value.0));
            Figure { value, low: Share(low), high: Share(high), basis: step.time.basis, from: step.time.from.clone() }
        };
        Some(Outcome { efficiency: figure(&efficiency), exposed: figure(&exposed), step })
    }
}

/// What the section is about: a board, how many of it, the model, and the links there are.
struct Scene<'a> {
    board: Board<'a>,
    gpus: u64,
    model: Model,
    places: Vec<Place>,
    /// One GPU with the software of each.
    alone: [(Framework, Step); 2],
}

impl<'a> Scene<'a> {
    fn of(input: &Input<'a>) -> Option<Self> {
        let here = jobs::board_here(input).filter(|board| board.model.is_some());
        let board = here.or_else(|| jobs::board(input, BOARD))?;
        // Shares of heads and layers are equal for powers of two only.
        let several = board.index.map(|_| input.gpus().len() as u64).filter(|&count| count > 1);
        let gpus = several.map_or(GPUS, |count| (1 << count.ilog2()).min(GPUS));
        let model = jobs::model(input, MODEL)?;
        let place = |wire| Some(Place::of(wire, input.speeds_over(&board, wire)?, gpus));
        let places: Vec<Place> = Wire::BOTH.into_iter().filter_map(place).collect();
        let speeds: Rc<Speeds> = input.speeds(&board)?;
        let one = |framework| Some((framework, pace::step(&model, &alone(gpus, framework), &speeds)?));
        let alone = [one(Framework::HuggingFace)?, one(Framework::Megatron)?];
        Some(Self { board, gpus, model, places, alone })
    }

    fn outcome(&self, strategy: &Strategy, place: &Place) -> Option<Outcome> {
        let (_, alone) = self.alone.iter().find(|(framework, _)| *framework == strategy.framework())?;
        place.outcome(&self.model, &strategy.training(self.gpus), self.gpus, alone)
    }
}

fn tables(input: &Input<'_>) -> Vec<Table> {
    let Some(scene) = Scene::of(input) else { return Vec::new() };
    let outcomes: Vec<Vec<Option<Outcome>>> =
        STRATEGIES.iter().map(|strategy| scene.places.iter().map(|place| scene.outcome(strategy, place)).collect()).collect();
    vec![efficiencies(input, &scene, &outcomes), steps(input, &scene, &outcomes), formula(input, &scene)]
}

const fn wire_name(wire: Wire) -> &'static str {
    match wire {
        Wire::Pcie => "PCIe",
        Wire::Nvlink => "NVLink",
    }
}

fn efficiencies(input: &Input<'_>, scene: &Scene<'_>, outcomes: &[Vec<Option<Outcome>>]) -> Table {
    let mut columns = vec![
        Column::text("strategy", input.say(Text::new("strategy", "전략"))),
        Column::text("sends", input.say(Text::new("sends", "주고받는 것"))),
        Column::number("memory", input.say(Text::new("each GPU", "GPU당"))).unit("GiB"),
    ];
    for wire in Wire::BOTH {
        let (key, name) = (wire_name(wire).to_lowercase(), wire_name(wire));
        let column = |text: Text| text.fill(input.lang, &[&name]);
        columns.push(Column::text(&format!("guide_{key}"), column(Text::new("guide, {}", "가이드, {}"))));
        columns.push(Column::number(&format!("efficiency_{key}"), column(Text::new("{}: efficiency", "{}: 효율"))));
        columns.push(Column::number(&format!("exposed_{key}"), column(Text::new("exposed", "노출"))));
    }
    let title = Text::new("Efficiency of {} {} by strategy", "전략별 효율, {} {}");
    let mut table = input.table("B.4.2", Text::new("", ""), columns);
    let count = format!("{}×", scene.gpus);
    table.title.push_str(&title.fill(input.lang, &[&count, &scene.board.room.gpu]));
    for (strategy, outcomes) in STRATEGIES.iter().zip(outcomes) {
        let memory = memory::train(&scene.model, &strategy.training(scene.gpus), &scene.board.overheads).ok();
        let memory = memory.map_or(Cell::Empty, |memory| Cell::figure_as(&memory.device, format!("{:.1}", memory.device.value.as_gib())));
        let mut row = vec![Cell::text(input.say(strategy.name)), Cell::text(input.say(strategy.sends)), memory];
        for (index, wire) in Wire::BOTH.into_iter().enumerate() {
            let place = scene.places.iter().position(|place| place.wire == wire);
            let outcome = place.and_then(|place| outcomes.get(place)?.as_ref());
            row.push(strategy.guide.map_or(Cell::Empty, |guide| Cell::text(input.say(guide[index]))));
            row.push(outcome.map_or(Cell::Empty, |outcome| percent(&outcome.efficiency)));
            row.push(outcome.map_or(Cell::Empty, |outcome| percent(&outcome.exposed)));
        }
        table.row(row);
    }
    table.note(workload(input, scene));
    let large = STRATEGIES.iter().filter(|strategy| {
        let memory = memory::train(&scene.model, &strategy.training(scene.gpus), &scene.board.overheads);
        memory.is_ok_and(|memory| scene.board.room.verdict(&memory) == Verdict::No)
    });
    let large: Vec<&str> = large.map(|strategy| input.say(strategy.name)).collect();
    if !large.is_empty() {
        let text =
            Text::new("Too large for this board, and computed all the same: {}.", "이 GPU에 들어가지 않지만 비교를 위해 계산했다: {}.");
        table.note(text.fill(input.lang, &[&large.join(", ")]));
    }
    table.note(input.say(Text::new(
        "Efficiency: the step's time on one GPU, thought large enough, over the GPUs' number times their step. Exposed: the share of the step spent waiting for messages or other stages. DDP's GPUs all repeat the optimizer's update, which ZeRO's share.",
        "효율은 (메모리가 충분하다고 가정한) GPU 하나의 스텝 시간 ÷ (GPU 수 × 나눈 스텝 시간)이다. 노출은 스텝 가운데 통신이나 다른 단계를 기다리는 비율이다. 옵티마이저 갱신을 DDP는 모든 GPU가 되풀이하고 ZeRO는 나눈다.",
    )));
    table
}

/// The workload in words.
fn workload(input: &Input<'_>, scene: &Scene<'_>) -> String {
    let links: Vec<String> = scene
        .places
        .iter()
        .map(|place| {
            let measured = scene.board.index.is_some() && input.wire_here() == Some(place.wire);
            let from = if measured {
                Text::new("{} as measured", "{}는 측정값")
            } else {
                Text::new("{} of the catalog", "{}는 카탈로그 값")
            };
            from.fill(input.lang, &[&wire_name(place.wire)])
        })
        .collect();
    Text::new(
        "{}, all of it trained in BF16 with FP32 master weights and AdamW; {} sequences of 2,048 tokens for each GPU and step, every layer recomputed; the same GPUs for both links: {}.",
        "{} 전체를 BF16(FP32 마스터 가중치, AdamW)으로 학습, 스텝마다 GPU당 {}개의 2,048토큰 시퀀스, 모든 층 재계산. 두 연결 모두 같은 GPU로 계산했다: {}.",
    )
    .fill(input.lang, &[&scene.model.name, &SEQUENCES, &links.join(", ")])
}

fn steps(input: &Input<'_>, scene: &Scene<'_>, outcomes: &[Vec<Option<Outcome>>]) -> Table {
    let columns = [
        Column::text("strategy", input.say(Text::new("strategy", "전략"))),
        Column::text("link", input.say(Text::new("link", "연결"))),
        Column::number("step", input.say(Text::new("step", "스텝"))).unit("s"),
        Column::text("interval", input.say(Text::new("interval (s)", "구간 (s)"))),
        Column::number("tokens", input.say(Text::new("tokens/s", "토큰/s"))),
        Column::number("messages", input.say(Text::new("messages", "통신"))).unit("s"),
        Column::number("stages", input.say(Text::new("stages wait", "단계 대기"))).unit("s"),
        Column::text("bound_by", input.say(Text::new("bound by", "제한 요인"))),
    ];
    let mut table = input.table("B.4.2", Text::new("The steps behind it", "스텝 시간"), columns);
    let mut row = |name: &str, link: &str, step: &Step| {
        let part = |kind| {
            let time = step.parts.kind(kind);
            let figure = Figure { value: time, low: time, high: time, basis: step.time.basis, from: step.time.from.clone() };
            if figure.value.0 > 0.0 { pace::seconds(&figure) } else { Cell::Empty }
        };
        table.row([
            Cell::text(name),
            Cell::text(link),
            pace::seconds(&step.time),
            pace::between(&step.time, 1.0),
            pace::three(&pace::tokens(step)),
            part(Kind::Communication),
            part(Kind::Bubble),
            Cell::text(input.say(step.bound_by.text())),
        ]);
    };
    for (framework, alone) in &scene.alone {
        let name = match framework {
            Framework::Megatron => Text::new("one GPU, Megatron", "GPU 하나, Megatron"),
            Framework::HuggingFace | Framework::Lightning => Text::new("one GPU, transformers", "GPU 하나, transformers"),
        };
        row(input.say(name), "–", alone);
    }
    for (strategy, outcomes) in STRATEGIES.iter().zip(outcomes) {
        for (place, outcome) in scene.places.iter().zip(outcomes) {
            if let Some(outcome) = outcome {
                row(input.say(strategy.name), wire_name(place.wire), &outcome.step);
            }
        }
    }
    table.note(input.say(Text::new(
        "Data parallelism as PyTorch and DeepSpeed do it with transformers; tensor and pipeline parallelism as Megatron does. Tensor parallel works on four sequences at a time, all GPUs on the same; the pipeline on one at a time in each stage. Messages are what nothing hides.",
        "데이터 병렬은 transformers와 PyTorch·DeepSpeed, 텐서와 파이프라인 병렬은 Megatron 기준이다. 텐서 병렬은 모든 GPU가 같은 4개 시퀀스를 함께 계산하고, 파이프라인은 단계마다 한 시퀀스씩 계산한다. 통신은 계산에 가려지지 않은 시간이다.",
    )));
    table
}

/// The guide's formula for data-parallel throughput, worked through.
struct Formula {
    /// Summing all gradients, nothing hidden.
    sending: Figure<Seconds>,
    /// The step without messages.
    computing: Figure<Seconds>,
    guide: Figure<Share>,
    right: Figure<Share>,
}

impl Formula {
    fn of(scene: &Scene<'_>, place: &Place) -> Option<Self> {
        let ddp = &STRATEGIES[0];
        let outcome = scene.outcome(ddp, place)?;
        let bytes = Bytes(scene.model.parameters() * 2);
        let message = place.speeds.collective(Collective::AllReduce, scene.gpus, bytes, scene.gpus);
        let (basis, from) = (outcome.step.time.basis, outcome.step.time.from.clone());
        let sending = Figure { value: message.time, low: message.low, high: message.high, basis, from: from.clone() };
        let computing = outcome.step.time.value - outcome.step.parts.kind(Kind::Communication);
        let computing = Figure { value: computing, low: computing, high: computing, basis, from };
        let guide = sending.with(&computing, |sending, computing| Share(1.0 - sending.0 / computing.0));
        Some(Self { sending, computing, guide, right: outcome.efficiency })
    }
}

fn formula(input: &Input<'_>, scene: &Scene<'_>) -> Table {
    let mut table = input.table(
        "B.4.2",
        Text::new("The guide's formula for data-parallel throughput", "가이드의 데이터 병렬 처리량 공식"),
        [
            Column::text("link", input.say(Text::new("link", "연결"))),
            Column::number("communication", "t_comm").unit("s"),
            Column::number("compute", "t_compute").unit("s"),
            Column::number("guide", "1 − t_comm / t_compute"),
            Column::number("efficiency", input.say(Text::new("efficiency", "효율"))),
        ],
    );
    for place in &scene.places {
        let Some(formula) = Formula::of(scene, place) else { continue };
        table.row([
            Cell::text(wire_name(place.wire)),
            pace::seconds(&formula.sending),
            pace::seconds(&formula.computing),
            percent(&formula.guide),
            percent(&formula.right),
        ]);
    }
    table.note(input.say(Text::new(
        "The formula lets nothing overlap, though DDP sums gradients while the backward pass runs; and even then it should be 1 / (1 + t_comm / t_compute).",
        "DDP는 역전파와 함께 그래디언트를 합산하는데 공식은 겹침을 세지 않는다. 겹침이 없다고 해도 1 / (1 + t_comm / t_compute)이어야 한다.",
    )));
    table
}

fn percent(share: &Figure<Share>) -> Cell {
    Cell::figure_as(share, format!("{:.0} %", share.value.0 * 100.0))
}

/// What the computed efficiencies contradict.
pub(super) fn errata(input: &Input<'_>) -> Vec<Erratum> {
    /// Efficiencies nearer to each other than this are the same.
    const ALIKE: f64 = 0.05;
    let Some(scene) = Scene::of(input) else { return Vec::new() };
    let mut found = Vec::new();
    let slots = scene.places.iter().find(|place| place.wire == Wire::Pcie);
    if let Some(formula) = slots.and_then(|place| Formula::of(&scene, place)) {
        found.push(Erratum {
            section: "B.4.2",
            item: Text::new("throughput of data parallel over PCIe ({}, {}× {}), of N times one GPU's", "PCIe 데이터 병렬 처리량({}, {}× {}), GPU 하나의 N배 대비").fill(
                input.lang,
                &[&scene.model.name, &scene.gpus, &scene.board.room.gpu],
            ),
            guide: percent(&formula.guide.on(Basis::Guide)),
            right: percent(&formula.right),
            why: input
                .say(Text::new(
                    "1 − t_comm / t_compute lets nothing overlap, but gradients are summed while the backward pass runs; without overlap it would be 1 / (1 + t_comm / t_compute)",
                    "1 − t_comm / t_compute는 겹침을 세지 않지만 그래디언트는 역전파와 함께 합산된다. 겹치지 않는다면 1 / (1 + t_comm / t_compute)이 맞다",
                ))
                .to_owned(),
        });
    }
    let pipeline = STRATEGIES.iter().find(|strategy| strategy.how == How::Pipeline);
    let outcomes: Option<Vec<Outcome>> =
        pipeline.and_then(|pipeline| scene.places.iter().map(|place| scene.outcome(pipeline, place)).collect());
    if let Some([slots, nvlink]) = outcomes.as_deref()
        && (slots.efficiency.value.0 - nvlink.efficiency.value.0).abs() < ALIKE
    {
        let both = |texts: [String; 2]| Cell::text(texts.join(" / "));
        let shown = |outcome: &Outcome| format!("{:.0} %", outcome.efficiency.value.0 * 100.0);
        found.push(Erratum {
            section: "B.4.2",
            item: input.say(Text::new("pipeline parallel over PCIe / over NVLink", "파이프라인 병렬, PCIe / NVLink")).to_owned(),
            guide: both([GOOD, EXCELLENT].map(|word| input.say(word).to_owned())),
            right: both([slots, nvlink].map(shown)),
            why: input
                .say(Text::new(
                    "stages send little, so the link hardly matters; what is lost are stages that wait for the first and the last micro-batch",
                    "단계 사이의 통신량이 적어 연결 방식은 거의 영향이 없다. 손실은 첫 마이크로배치와 마지막 마이크로배치를 기다리는 시간이다",
                ))
                .to_owned(),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::Calibration;
    use crate::calibrate::fixture::{Fixture, two_h100};
    use crate::catalog::Catalog;
    use crate::lang::Lang;
    use crate::record::Run;

    fn scene<R>(run: Option<&Run>, test: impl FnOnce(&Input<'_>, &Scene<'_>) -> R) -> R {
        let catalog = Catalog::embedded().unwrap();
        let calibration = run.map(Calibration::from_run);
        let input = Input::new(&catalog, run.zip(calibration.as_ref()), &[], Lang::En);
        let scene = Scene::of(&input).unwrap();
        test(&input, &scene)
    }

    fn efficiencies(scene: &Scene<'_>, place: &Place) -> Vec<f64> {
        STRATEGIES.iter().map(|strategy| scene.outcome(strategy, place).unwrap().efficiency.value.0).collect()
    }

    #[test]
    fn a_faster_link_never_leaves_less() {
        scene(None, |_, scene| {
            for place in &scene.places {
                let at = |factor: f64| {
                    let speeds = place.speeds.faster(What::Links, factor);
                    efficiencies(scene, &Place::of(place.wire, speeds, scene.gpus))
                };
                for pair in [0.1, 0.5, 1.0, 2.0, 10.0, 1000.0].windows(2) {
                    for (slow, fast) in at(pair[0]).into_iter().zip(at(pair[1])) {
                        assert!(slow <= fast * (1.0 + 1e-9), "{slow} at {}, {fast} at {}", pair[0], pair[1]);
                    }
                }
            }
            let [slots, nvlink] = &scene.places[..] else { panic!("two links") };
            for (slots, nvlink) in efficiencies(scene, slots).into_iter().zip(efficiencies(scene, nvlink)) {
                assert!(slots <= nvlink);
            }
        });
    }

    #[test]
    fn efficiency_is_one_gpus_time_over_all_of_theirs() {
        scene(None, |_, scene| {
            for (strategy, place) in STRATEGIES.iter().flat_map(|strategy| scene.places.iter().map(move |place| (strategy, place))) {
                let Outcome { step, efficiency, exposed } = scene.outcome(strategy, place).unwrap();
                let alone = &scene.alone.iter().find(|(framework, _)| *framework == strategy.framework()).unwrap().1;
                let all = efficiency.value.0 * scene.gpus as f64 * step.time.value.0;
                assert!((all / alone.time.value.0 - 1.0).abs() < 1e-9);
                assert!(efficiency.low <= efficiency.value && efficiency.value <= efficiency.high && efficiency.value.0 < 1.1);
                assert!((0.0..1.0).contains(&exposed.value.0));
                // The same tokens whatever the way of sharing.
                let tokens = |step: &Step| step.tokens_per_second * step.time.value.0;
                assert!((tokens(&step) / tokens(alone) - 1.0).abs() < 1e-9, "{}", strategy.name.en);
            }
        });
    }

    #[test]
    fn a_measured_link_counts_for_the_link_it_is() {
        let pair = |topology: &str, gigabytes: u64| {
            let bare = Fixture::host_only().h100().h100().pair(0, 1, topology, true);
            bare.moved("peer.write/engine=ce,bytes=1GiB,from=0,to=1", gigabytes * 1_000_000_000, 1.0).run()
        };
        let of = |topology: &str, gigabytes: u64| {
            scene(Some(&pair(topology, gigabytes)), |_, scene| {
                assert_eq!((scene.gpus, scene.places.len()), (2, 2));
                [0, 1].map(|place| efficiencies(scene, &scene.places[place]))
            })
        };
        let less = |slow: &[f64], fast: &[f64]| slow.iter().zip(fast).all(|(slow, fast)| slow < fast);
        let ([slots, nvlink], [half_slots, half_nvlink]) = (of("NV18", 380), of("NV18", 190));
        assert!(slots == half_slots && less(&half_nvlink, &nvlink));
        let ([slots, nvlink], [half_slots, half_nvlink]) = (of("PHB", 50), of("PHB", 25));
        assert!(nvlink == half_nvlink && less(&half_slots, &slots));
    }

    #[test]
    fn notes_say_which_link_was_measured() {
        let run = two_h100().run();
        scene(Some(&run), |input, scene| {
            let said = workload(input, scene);
            assert!(said.contains("PCIe of the catalog, NVLink as measured"), "{said}");
        });
    }

    #[test]
    fn the_guides_formula_is_worked_through() {
        scene(None, |_, scene| {
            for place in &scene.places {
                let Formula { sending, computing, guide, right } = Formula::of(scene, place).unwrap();
                assert!((guide.value.0 - (1.0 - sending.value.0 / computing.value.0)).abs() < 1e-12);
                assert!(right.value.0 > 0.0 && right.value.0 < 1.0);
            }
        });
    }
}
