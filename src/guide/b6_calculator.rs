//! B.6: the guide's calculator beside the estimate, for the scenarios its program prints.
//!
//! The calculator is reproduced to the digit in [`guide_formula`], with the guide's own idea of each model. The estimate takes the model's true
//! shape. Both are given the same job: checkpointing in training, adapters of rank 64 on four products, one or four sequences of 2048 tokens;
//! in inference one sequence of 4096. The calculator's GB are 2³⁰ bytes.

use super::errata::Erratum;
use super::jobs::{self, Job, MIXED, Spread};
use super::{Input, Section};
use crate::estimate::guide_formula::{self, Setting, Shape};
use crate::estimate::memory::{Memory, Part, Phase};
use crate::figure::{Basis, Figure};
use crate::lang::Text;
use crate::table::{Cell, Column, Table};
use crate::units::Bytes;
use crate::workload::{Checkpointing, Inference, Method, Model, Optimizer, Precision, Quantised, Training};

pub(super) const SECTION: Section = Section { id: "B.6", title: Text::new("The calculator", "VRAM 계산기"), tables };

/// The models the guide's program prints: its key, and the catalog's name.
const MODELS: [(&str, &str); 2] = [("qwen2-vl-7b", "Qwen2-VL-7B"), ("qwen2-vl-72b", "Qwen2-VL-72B")];

/// The board that GPUs are counted in; the calculator recommends it most.
const BOARD: &str = "A100 SXM 80GB";

/// One scenario with both answers.
struct Scenario {
    model: Model,
    name: String,
    job: Job,
    guide: GuideAnswer,
}

/// What the calculator printed, in units of 2³⁰ bytes.
struct GuideAnswer {
    total: f64,
    /// Weights, gradients, optimizer states, activations or cache, everything else.
    parts: [(Text, f64); 5],
    recommended: Vec<String>,
}

const WEIGHTS: Text = Text::new("weights", "가중치");
const GRADIENTS: Text = Text::new("gradients", "그래디언트");
const OPTIMIZER: Text = Text::new("optimizer", "옵티마이저");
const ACTIVATIONS: Text = Text::new("activations, logits", "활성값, 로짓");
const CACHE: Text = Text::new("KV cache", "KV 캐시");
const REST: Text = Text::new("everything else", "나머지");

/// Training as the guide's program runs it: the calculator's setting and ours.
fn trainings() -> [(guide_formula::Method, u64, Method); 4] {
    use guide_formula::Method as Guide;
    [
        (Guide::FullFp32, 1, Method::FullFp32),
        (Guide::FullMixed, 1, MIXED),
        (Guide::Lora, 4, Method::Lora(jobs::adapters())),
        (Guide::Qlora, 4, Method::Qlora(jobs::adapters(), Quantised::Nf4Double)),
    ]
}

const INFERENCES: [(guide_formula::Precision, Precision); 3] = [
    (guide_formula::Precision::Bf16, Precision::Bf16),
    (guide_formula::Precision::Int8, Precision::Int8),
    (guide_formula::Precision::Int4, Precision::Awq { group: 128 }),
];

fn scenarios(input: &Input<'_>) -> Vec<Scenario> {
    let models = MODELS.iter().filter_map(|(key, name)| Some((Shape::named(input.catalog, key)?, jobs::model(input, name)?)));
    models.flat_map(|(shape, model)| of_model(&shape, &model)).collect()
}

fn of_model(shape: &Shape, model: &Model) -> Vec<Scenario> {
    let mut scenarios = Vec::new();
    for (guide, batch, method) in trainings() {
        let Ok(answer) = guide_formula::train(shape, &Setting { batch, ..Setting::new(guide) }) else { continue };
        let training = Training { checkpointing: Checkpointing::Full, ..Training::new(method, batch, 2048) };
        scenarios.push(Scenario {
            model: model.clone(),
            name: format!("{guide} {batch} × 2048"),
            job: Job::Train(training),
            guide: GuideAnswer {
                total: answer.total_vram_gb,
                parts: [
                    (WEIGHTS, answer.params_memory_gb),
                    (GRADIENTS, answer.gradient_memory_gb),
                    (OPTIMIZER, answer.optimizer_memory_gb),
                    (ACTIVATIONS, answer.activation_memory_gb),
                    (REST, answer.overhead_gb),
                ],
                recommended: answer.recommended_gpus,
            },
        });
    }
    for (guide, precision) in INFERENCES {
        let Ok(answer) = guide_formula::infer(shape, guide, 1, 4096) else { continue };
        scenarios.push(Scenario {
            model: model.clone(),
            name: format!("{guide} 1 × 4096"),
            job: Job::Infer(Inference::new(precision, 1, 4096, 0)),
            guide: GuideAnswer {
                total: answer.total_vram_gb,
                parts: [
                    (WEIGHTS, answer.params_memory_gb),
                    (CACHE, answer.kv_cache_gb),
                    (ACTIVATIONS, 0.0),
                    (GRADIENTS, 0.0),
                    (REST, answer.overhead_gb),
                ],
                recommended: Vec::new(),
            },
        });
    }
    scenarios
}

fn guide(gigabytes: f64) -> Figure<Bytes> {
    Figure::new(Bytes((gigabytes * Bytes::GIB.as_f64()).round() as u64), Basis::Guide, "guide B.6, the calculator")
}

fn gib(bytes: &Figure<Bytes>) -> Cell {
    Cell::figure_as(bytes, format!("{:.2}", bytes.value.as_gib()))
}

fn ratio(written: &Figure<Bytes>, right: &Figure<Bytes>) -> Option<Figure<f64>> {
    (written.value.0 > 0).then(|| written.with(right, |written, right| right.as_f64() / written.as_f64()))
}

fn ratio_cell(ratio: Option<Figure<f64>>) -> Cell {
    ratio.map_or(Cell::Empty, |ratio| Cell::figure_as(&ratio, format!("{:.2}", ratio.value)))
}

fn tables(input: &Input<'_>) -> Vec<Table> {
    let scenarios = scenarios(input);
    vec![totals(input, &scenarios), parts(input, &scenarios)]
}

fn totals(input: &Input<'_>, scenarios: &[Scenario]) -> Table {
    let mut table = input.table(
        "B.6",
        Text::new("The guide's calculator and the estimate", "가이드 계산기와 정밀 추정"),
        [
            Column::text("model", input.say(Text::new("model", "모델"))),
            Column::text("job", input.say(Text::new("job", "작업"))),
            Column::number("guide", input.say(Text::new("calculator", "계산기"))).unit("GiB"),
            Column::number("estimate", input.say(Text::new("estimate", "추정"))).unit("GiB"),
            Column::number("ratio", input.say(Text::new("estimate / calculator", "추정 / 계산기"))),
            Column::text("recommended", input.say(Text::new("calculator recommends", "계산기 추천"))),
            Column::number("fewest", Text::new("{} needed", "필요한 {}").fill(input.lang, &[&BOARD])),
        ],
    );
    let board = jobs::board(input, BOARD);
    for scenario in scenarios {
        let written = guide(scenario.guide.total);
        let device = scenario.job.memory(&scenario.model, &jobs::unnamed()).map(|memory| memory.device);
        let fewest = board.as_ref().and_then(|board| board.fewest(&mut Spread::new(&scenario.job, &scenario.model, jobs::MOST_GPUS)));
        table.row([
            Cell::text(&scenario.model.name),
            Cell::text(&scenario.name),
            gib(&written),
            device.as_ref().map_or(Cell::Empty, gib),
            ratio_cell(device.and_then(|device| ratio(&written, &device))),
            recommended(input, &scenario.guide),
            jobs::count_cell(fewest.as_ref()),
        ]);
    }
    table.note(input.say(Text::new(
        "The estimate is what nvidia-smi would show on one GPU large enough for all of it. `gpu-assay estimate --formula guide` runs the calculator for any job.",
        "추정은 모두 들어갈 만큼 큰 GPU 하나에서 nvidia-smi가 보일 값이다. `gpu-assay estimate --formula guide`로 어떤 작업이든 계산기를 돌릴 수 있다.",
    )));
    table
}

fn recommended(input: &Input<'_>, guide: &GuideAnswer) -> Cell {
    match &guide.recommended[..] {
        [] => Cell::Empty,
        // The calculator's only sentence; all else is names.
        [only] if only.contains("이상") => Cell::text(input.say(Text::new("more than 8× H100", "8× H100 초과"))),
        names => Cell::text(names.join(", ")),
    }
}

/// The first model's scenarios by part.
fn parts(input: &Input<'_>, scenarios: &[Scenario]) -> Table {
    let name = scenarios.first().map_or("", |scenario| scenario.model.name.as_str());
    let mut table = input.table(
        "B.6",
        Text::new("Part by part", "항목별 비교"),
        [
            Column::text("job", name),
            Column::text("part", input.say(Text::new("part", "항목"))),
            Column::number("guide", input.say(Text::new("calculator", "계산기"))).unit("GiB"),
            Column::number("estimate", input.say(Text::new("estimate", "추정"))).unit("GiB"),
            Column::number("ratio", input.say(Text::new("estimate / calculator", "추정 / 계산기"))),
        ],
    );
    for scenario in scenarios.iter().filter(|scenario| scenario.model.name == name) {
        let Some(memory) = scenario.job.memory(&scenario.model, &jobs::unnamed()) else { continue };
        for (part, gigabytes) in scenario.guide.parts {
            let (written, right) = (guide(gigabytes), at_peak(&memory, part));
            if written.value.0 > 0 || right.value.0 > 0 {
                let ratio = ratio(&written, &right);
                table.row([Cell::text(&scenario.name), Cell::text(input.say(part)), gib(&written), gib(&right), ratio_cell(ratio)]);
            }
        }
    }
    table.note(input.say(Text::new(
        "The estimate's parts are those of the step's worst moment: gradients and activations are not at their largest together. Everything else is the context, libraries' buffers and what the allocator holds beyond tensors.",
        "추정의 항목은 한 스텝에서 가장 많이 쓰는 순간의 값이다. 그래디언트와 활성값은 동시에 최대가 되지 않는다. 나머지는 컨텍스트, 라이브러리 버퍼, 할당기가 텐서 외에 잡아 둔 메모리다.",
    )));
    table
}

/// A part of the calculator's as the estimate has it, at the moment that takes most.
fn at_peak(memory: &Memory, part: Text) -> Figure<Bytes> {
    let footprint = memory.peak().map(|moment| moment.footprint).unwrap_or_default();
    let exact = |bytes| Figure::new(bytes, memory.allocated.basis, memory.allocated.from.join("; "));
    match part {
        WEIGHTS => exact(footprint[Part::Weights]),
        GRADIENTS => exact(footprint[Part::Gradients]),
        OPTIMIZER => exact(footprint[Part::Optimizer]),
        CACHE => exact(footprint[Part::KvCache]),
        ACTIVATIONS => exact(footprint[Part::Activations] + footprint[Part::Logits]),
        _ => {
            let tensors = footprint.total() - footprint[Part::Workspace];
            memory.device.map(|device| device - tensors)
        }
    }
}

/// What the calculator has wrong by itself: shapes, and states of optimizers that B.2 does not speak of.
pub(super) fn errata(input: &Input<'_>) -> Vec<Erratum> {
    let mut found = shapes(input);
    found.extend(optimizers(input));
    found
}

/// Master copies counted where there is none, and forgotten where there is one.
fn optimizers(input: &Input<'_>) -> Vec<Erratum> {
    let cases = [
        (
            guide_formula::Method::FullFp32,
            guide_formula::Optimizer::Adam8bit,
            Method::FullFp32,
            Optimizer::Adam8bit,
            Text::new(
                "two moments of a byte each; FP32 weights need no master copy",
                "1바이트 모멘트 두 개뿐이다. FP32 가중치에는 마스터 사본이 없다",
            ),
        ),
        (
            guide_formula::Method::FullMixed,
            guide_formula::Optimizer::Sgd,
            MIXED,
            Optimizer::SgdMomentum,
            Text::new(
                "momentum and the FP32 master copy, which SGD on 16-bit weights needs as much as Adam does",
                "모멘텀과 FP32 마스터 사본이 필요하다. 16비트 가중치라면 SGD도 Adam과 마찬가지다",
            ),
        ),
    ];
    let Some((shape, model)) = Shape::named(input.catalog, jobs::EXAMPLE).zip(jobs::model(input, jobs::EXAMPLE)) else { return Vec::new() };
    // The calculator's own count of parameters would hide the mistake behind another one.
    let shape = Shape { params_billion: model.parameters() as f64 / 1e9, ..shape };
    let case = |(guide_method, guide_optimizer, method, optimizer, why): (_, _, _, _, Text)| {
        let answer = guide_formula::train(&shape, &Setting { optimizer: guide_optimizer, ..Setting::new(guide_method) }).ok()?;
        let memory = Job::Train(Training { optimizer, ..Training::new(method, 1, 2048) }).memory(&model, &jobs::unnamed())?;
        let rest = memory.moments.iter().find(|moment| moment.phase == Phase::Rest)?;
        let right = Figure::new(rest.footprint[Part::Optimizer], Basis::Datasheet, format!("shape of {}", model.name));
        Some(Erratum {
            section: "B.6",
            item: Text::new("{}, states of {} under {}", "{}, {}의 상태({})")
                .fill(input.lang, &[&model.name, &guide_optimizer, &guide_method]),
            guide: Cell::figure(&guide(answer.optimizer_memory_gb)),
            right: Cell::figure(&right),
            why: input.say(why).to_owned(),
        })
    };
    cases.into_iter().filter_map(case).collect()
}

/// Models that the calculator knows with another shape than they have.
fn shapes(input: &Input<'_>) -> Vec<Erratum> {
    /// Parameters are given to three digits.
    const ROUNDING: f64 = 0.005;
    let mut found = Vec::new();
    for row in &input.catalog.models {
        let Some((shape, model)) = row.guide.as_ref().map(Shape::from).zip(jobs::model(input, &row.name)) else { continue };
        let kv_heads = model.text.blocks.first().and_then(|run| match run.block.attention {
            crate::workload::Attention::Grouped(grouped) => Some(grouped.kv_heads),
            crate::workload::Attention::Latent(_) => None,
        });
        let from = format!("shape of {}", model.name);
        let number = |value: f64, basis, from: &str, shown: String| Cell::figure_as(&Figure::new(value, basis, from), shown);
        let mut add = |item: Text, written: f64, right: f64, shown: fn(f64) -> String, why: Text| {
            if (right / written - 1.0).abs() > ROUNDING {
                found.push(Erratum {
                    section: "B.6",
                    item: format!("{}, {}", shape.name, input.say(item)),
                    guide: number(written, Basis::Guide, "guide B.6, the calculator", shown(written)),
                    right: number(right, Basis::Datasheet, &from, shown(right)),
                    why: input.say(why).to_owned(),
                });
            }
        };
        let parameters = Text::new("parameters", "파라미터 수");
        let why = Text::new("all of the checkpoint counts, the vision tower too", "비전 타워를 포함한 체크포인트 전체를 세어야 한다");
        add(parameters, shape.params_billion * 1e9, model.parameters() as f64, |value| format!("{:.2} B", value / 1e9), why);
        let whole = |value: f64| format!("{value:.0}");
        let of_decoder = Text::new("of the language model, as its configuration says", "언어 모델 설정 파일의 값이다");
        add(Text::new("layers", "층수"), shape.layers as f64, model.text.layers() as f64, whole, of_decoder);
        add(Text::new("width", "은닉 차원"), shape.hidden as f64, model.text.hidden as f64, whole, of_decoder);
        if let Some(kv_heads) = kv_heads {
            let why = Text::new(
                "keys and values are shared by groups of query heads, so the cache is smaller by the same factor",
                "쿼리 헤드들이 키와 값을 나누어 쓰므로 KV 캐시도 그만큼 작다",
            );
            add(Text::new("key-value heads", "KV 헤드 수"), shape.kv_heads as f64, kv_heads as f64, whole, why);
        }
    }
    found
}
