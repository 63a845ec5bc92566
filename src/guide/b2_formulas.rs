//! B.2: the guide's formulas, each beside the right one, worked through on one model.
//!
//! Both columns use the same shape, that of the guide's own example in the catalog, so a difference is the formula's and not the input's. The
//! guide's value is its formula; the right value is what the estimator finds, moment by moment, and the rule beside it says where that comes
//! from. Symbols are the guide's: P parameters, L layers, B sequences of S tokens, d the width of the residual stream, h heads, V the
//! vocabulary, r LoRA's rank. Rules that follow from autograd and the allocator are explained in the estimator.

use super::errata::Erratum;
use super::jobs::{self, Job, MIXED, RANK};
use super::{Input, Section};
use crate::estimate::memory::{Memory, Part, Phase};
use crate::figure::{Basis, Figure, Quantity};
use crate::lang::Text;
use crate::table::{Cell, Column, Table};
use crate::units::Bytes;
use crate::workload::{Attention, AttentionKernel, Checkpointing, Inference, KvPrecision, Method, Model, Precision, Quantised, Training};

pub(super) const SECTION: Section = Section { id: "B.2", title: Text::new("Formulas", "계산 공식"), tables };

/// The guide's batch and lengths.
const BATCH: u64 = 1;
const TRAIN_SEQ: u64 = 2048;
const INFER_SEQ: u64 = 4096;

/// One formula.
struct Row {
    section: &'static str,
    name: Text,
    guide_rule: String,
    guide: Cell,
    right_rule: String,
    right: Cell,
    ratio: Option<Figure<f64>>,
    /// Why the guide's is wrong; `None` where it is right.
    why: Option<Text>,
}

impl Row {
    fn new<Q: Quantity>(
        section: &'static str,
        name: Text,
        guide: (&str, Q),
        right: (impl Into<String>, Figure<Q>),
        why: Option<Text>,
    ) -> Self {
        let (guide_rule, written) = guide;
        let (right_rule, right) = right;
        let written = Figure::new(written, Basis::Guide, format!("guide {section}: {guide_rule}"));
        let ratio = (written.value.base() > 0.0).then(|| written.with(&right, |guide, right| right.base() / guide.base()));
        // A bare number is a count of parameters, and worth all its digits.
        let cell = |figure: &Figure<Q>| match Q::UNIT {
            "" => Cell::figure_as(figure, grouped(figure.value.base())),
            _ => Cell::figure(figure),
        };
        let (guide, right) = (cell(&written), cell(&right));
        Self { section, name, guide_rule: guide_rule.to_owned(), guide, right_rule: right_rule.into(), right, ratio, why }
    }
}

/// A whole number with its digits in threes.
fn grouped(count: f64) -> String {
    let digits = format!("{count:.0}");
    let threes: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|three| std::str::from_utf8(three).ok()).collect();
    threes.join(",")
}

/// The example with what its formulas need.
struct Example<'a> {
    input: &'a Input<'a>,
    model: Model,
}

impl Example<'_> {
    fn parameters(&self) -> f64 {
        self.model.parameters() as f64
    }

    fn train(&self, training: Training) -> Option<Memory> {
        Job::Train(training).memory(&self.model, &jobs::unnamed())
    }

    fn training(&self, method: Method) -> Option<Memory> {
        self.train(Training::new(method, BATCH, TRAIN_SEQ))
    }

    fn infer(&self, inference: Inference) -> Option<Memory> {
        Job::Infer(inference).memory(&self.model, &jobs::unnamed())
    }

    /// What follows from the shape.
    fn exact<Q: Quantity>(&self, value: Q) -> Figure<Q> {
        Figure::new(value, Basis::Datasheet, format!("shape of {}", self.model.name))
    }

    /// The most that parts of a job take at once, as a figure.
    fn parts(&self, memory: &Memory, parts: &[Part]) -> Figure<Bytes> {
        self.exact(jobs::most(memory, parts))
    }
}

/// What training keeps per parameter: weights and states between steps, and gradients at their fullest. The update's temporaries are not kept.
fn kept(memory: &Memory) -> Bytes {
    let rest = memory.moments.iter().find(|moment| moment.phase == Phase::Rest);
    let resting = rest.map_or(Bytes(0), |moment| moment.footprint[Part::Weights] + moment.footprint[Part::Optimizer]);
    resting + jobs::most(memory, &[Part::Gradients])
}

fn rows(input: &Input<'_>) -> Vec<Row> {
    let Some(model) = jobs::model(input, jobs::EXAMPLE) else { return Vec::new() };
    let example = Example { input, model };
    let mut rows = Vec::new();
    rows.extend(full(&example));
    rows.extend(adapters(&example));
    rows.extend(stored_weights(&example));
    rows.extend(cache(&example));
    rows.extend(activations(&example));
    rows.extend(fixed(&example));
    rows
}

fn bytes(count: f64) -> Bytes {
    Bytes(count.round() as u64)
}

/// Weights, gradients and states of full training.
fn full(example: &Example<'_>) -> Vec<Row> {
    let p = example.parameters();
    let kept = |method| Some(example.exact(kept(&example.training(method)?)));
    let mut rows = Vec::new();
    rows.extend(kept(Method::FullFp32).map(|right| {
        Row::new(
            "B.2.2",
            Text::new("full, FP32", "전체 학습, FP32"),
            ("(4+4+12)·P", bytes(20.0 * p)),
            ("(4+4+8)·P", right),
            Some(Text::new(
                "training in FP32 has no separate master copy: the weights are it",
                "FP32 학습에는 마스터 가중치가 따로 없다. 가중치 자체가 FP32다",
            )),
        )
    }));
    rows.extend(kept(MIXED).map(|right| {
        Row::new(
            "B.2.2",
            Text::new("full, mixed", "전체 학습, 혼합 정밀도"),
            ("(2+2+4+4+4)·P = 18·P", bytes(18.0 * p)),
            ("(2+2+12)·P", right),
            Some(Text::new(
                "the guide's own terms add to 16; 18 is right only when gradients are kept in FP32",
                "가이드의 항을 더하면 16이다. 18은 그래디언트를 FP32로 둘 때만 맞다",
            )),
        )
    }));
    rows.extend(kept(Method::FullMixed { fp32_gradients: true }).map(|right| {
        Row::new(
            "B.2.2",
            Text::new("full, mixed, gradients in FP32", "전체 학습, 혼합 정밀도, FP32 그래디언트"),
            ("18·P", bytes(18.0 * p)),
            ("(2+4+12)·P", right),
            None,
        )
    }));
    rows
}

/// LoRA's adapters and the two ways to train them.
fn adapters(example: &Example<'_>) -> Vec<Row> {
    let text = &example.model.text;
    let p = example.parameters();
    let targets = 4 * text.layers();
    let guessed = 2.0 * RANK as f64 * text.hidden as f64 * targets as f64;
    let adapters = jobs::adapters();
    let exact = jobs::adapter_parameters(&example.model, RANK, jobs::is_attention) as f64;
    let mut rows = vec![Row::new(
        "B.2.2",
        Text::new("LoRA parameters (r=64 on q, k, v, o)", "LoRA 파라미터 수(q, k, v, o에 r=64)"),
        ("2·r·d·L·4", guessed),
        (example.input.say(Text::new("r·Σ(in + out)", "r·Σ(입력 + 출력)")), example.exact(exact)),
        Some(Text::new(
            "keys and values are narrower than d under grouped-query attention, and an MLP's products are wider; only d × d products have 2·r·d",
            "GQA에서는 k, v의 출력이 d보다 좁고 MLP는 더 넓다. 2·r·d는 d × d 행렬에만 맞다",
        )),
    )];
    rows.extend(example.training(Method::Lora(adapters.clone())).map(|memory| {
        Row::new(
            "B.2.2",
            Text::new("LoRA: weights, gradients, states", "LoRA: 가중치·그래디언트·상태"),
            ("2·P + 18·P_LoRA", bytes(2.0 * p + 18.0 * guessed)),
            ("2·P + 16·P_LoRA", example.exact(kept(&memory))),
            Some(Text::new(
                "adapters are FP32 themselves (PEFT's default), so 16 bytes each, and there are fewer of them",
                "어댑터는 FP32라서(PEFT 기본값) 16바이트씩이고, 개수도 더 적다",
            )),
        )
    }));
    rows.extend(example.training(Method::Qlora(adapters, Quantised::Nf4Double)).map(|memory| {
        Row::new(
            "B.2.2",
            Text::new("QLoRA: weights, gradients, states", "QLoRA: 가중치·그래디언트·상태"),
            ("0.55·P + 18·P_LoRA", bytes(0.55 * p + 18.0 * guessed)),
            (
                example.input.say(Text::new(
                    "4.127 bits per weight of the layers' products, 2 bytes for all else, + 16·P_LoRA",
                    "층의 행렬은 4.127비트, 나머지는 2바이트, + 16·P_LoRA",
                )),
                example.exact(kept(&memory)),
            ),
            Some(Text::new(
                "only the layers' products are quantised; embedding, output head and vision tower stay in 16 bits",
                "층 안의 행렬만 양자화된다. 임베딩, 출력 헤드, 비전 타워는 16비트로 남는다",
            )),
        )
    }));
    rows
}

/// Weights for inference.
fn stored_weights(example: &Example<'_>) -> Vec<Row> {
    const QUANTISED: Text = Text::new(
        "only the layers' products are quantised, and each group of weights has a scale; embedding, output head and vision tower stay in 16 bits",
        "층 안의 행렬만 양자화되고 묶음마다 스케일이 붙는다. 임베딩, 출력 헤드, 비전 타워는 16비트로 남는다",
    );
    let p = example.parameters();
    let precisions = [
        (Text::new("weights, FP32", "가중치, FP32"), Precision::Fp32, "4·P", 4.0, None),
        (Text::new("weights, BF16", "가중치, BF16"), Precision::Bf16, "2·P", 2.0, None),
        (Text::new("weights, INT8", "가중치, INT8"), Precision::Int8, "1·P", 1.0, Some(QUANTISED)),
        (Text::new("weights, INT4 (AWQ)", "가중치, INT4(AWQ)"), Precision::Awq { group: 128 }, "0.5·P", 0.5, Some(QUANTISED)),
    ];
    let of = |(name, precision, rule, each, why): (Text, Precision, &str, f64, Option<Text>)| {
        let memory = example.infer(Inference::new(precision, BATCH, INFER_SEQ, 0))?;
        let right_rule = if why.is_some() {
            Text::new("by product, scales included", "행렬별 합, 스케일 포함")
        } else {
            Text::new("the same", "같음")
        };
        Some(Row::new(
            "B.2.3",
            name,
            (rule, bytes(each * p)),
            (example.input.say(right_rule), example.parts(&memory, &[Part::Weights])),
            why,
        ))
    };
    precisions.into_iter().filter_map(of).collect()
}

/// The key-value cache, with the guide's own example: it takes the vision tower's depth for the decoder's.
fn cache(example: &Example<'_>) -> Vec<Row> {
    const GUIDES_LAYERS: f64 = 32.0;
    let Some(Attention::Grouped(grouped)) = example.model.text.blocks.first().map(|run| run.block.attention) else { return Vec::new() };
    let written = 2.0 * GUIDES_LAYERS * (BATCH * INFER_SEQ * grouped.head_dim * grouped.kv_heads) as f64 * 2.0;
    let inference = Inference { kv_precision: KvPrecision::Bf16, ..Inference::new(Precision::Bf16, BATCH, INFER_SEQ, 0) };
    let right = example.infer(inference).map(|memory| {
        Row::new(
            "B.2.3",
            Text::new("KV cache of 4,096 tokens", "4,096토큰의 KV 캐시"),
            (&format!("2·L·B·S·{}·{}·2, L = {GUIDES_LAYERS}", grouped.head_dim, grouped.kv_heads), bytes(written)),
            (
                Text::new("the same, L = {}", "같은 식에 L = {}").fill(example.input.lang, &[&example.model.text.layers()]),
                example.parts(&memory, &[Part::KvCache]),
            ),
            Some(Text::new(
                "the formula is right; 32 is the depth of the model's vision tower, and its decoder has fewer layers",
                "공식은 맞다. 32는 이 모델 비전 타워의 층수이며 디코더는 그보다 얕다",
            )),
        )
    });
    right.into_iter().collect()
}

/// What the backward pass needs of the forward pass.
fn activations(example: &Example<'_>) -> Vec<Row> {
    let text = &example.model.text;
    let (layers, width, tokens) = (text.layers() as f64, text.hidden as f64, (BATCH * TRAIN_SEQ) as f64);
    let heads = text.blocks.first().map_or(0, |run| run.block.attention.heads()) as f64;
    let all = layers * tokens * width * (34.0 + 5.0 * heads * TRAIN_SEQ as f64 / width) * 2.0;
    let with = |attention, checkpointing| example.train(Training { attention, checkpointing, ..Training::new(MIXED, BATCH, TRAIN_SEQ) });
    // What is alive when the forward pass ends. With checkpointing one layer at a time is recomputed beside that.
    let alive = |attention, checkpointing| {
        let memory = with(attention, checkpointing)?;
        Some(memory.moments.iter().find(|moment| moment.phase == Phase::Forward)?.footprint[Part::Activations])
    };
    let eager = alive(AttentionKernel::Eager, Checkpointing::None);
    let flash = alive(AttentionKernel::Flash, Checkpointing::None);
    let inputs = alive(AttentionKernel::Flash, Checkpointing::Full);
    let recomputed = inputs.zip(flash).map(|(inputs, all)| inputs + bytes(all.as_f64() / layers));
    let row = |name, guide: (&str, f64), right: Option<Bytes>, rule: Text, why| {
        Some(Row::new("B.2.4", name, (guide.0, bytes(guide.1)), (example.input.say(rule), example.exact(right?)), Some(why)))
    };
    let formula = "L·B·S·d·(34 + 5·h·S/d)·2";
    let rows = [
        row(
            Text::new("activations, scores written out (eager)", "활성값, 점수를 저장하는 어텐션(eager)"),
            (formula, all),
            eager,
            Text::new("tensor by tensor, as autograd keeps them", "autograd가 보관하는 텐서별 합"),
            Text::new(
                "Korthikanti et al. already count bytes: times 2 counts twice; and 34 is GPT's layer, with biases, dropout and a 4·d GELU",
                "Korthikanti 등의 식은 이미 바이트 단위라 2를 또 곱하면 두 배가 된다. 34도 드롭아웃과 4·d GELU를 쓰는 GPT 층의 값이다",
            ),
        ),
        row(
            Text::new("activations, flash attention", "활성값, flash attention"),
            (formula, all),
            flash,
            Text::new("the same without scores: 4 bytes per head and token instead", "점수 대신 헤드·토큰당 4바이트"),
            Text::new(
                "flash attention, today's default, never stores the S × S scores that the second term counts",
                "지금의 기본값인 flash attention은 둘째 항이 세는 S × S 점수를 저장하지 않는다",
            ),
        ),
        row(
            Text::new("activations, every layer recomputed", "활성값, 모든 층 재계산"),
            ("M_act / √L", all / layers.sqrt()),
            recomputed,
            Text::new("2·L·B·S·d + one layer at work", "2·L·B·S·d + 작업 중인 층 하나"),
            Text::new(
                "frameworks checkpoint every layer: its input is kept and one layer at a time is recomputed; √L belongs to segments of √L layers",
                "프레임워크는 층마다 체크포인트를 두어 입력만 남기고 한 층씩 다시 계산한다. √L은 √L층씩 묶을 때의 값이다",
            ),
        ),
    ];
    let mut rows: Vec<Row> = rows.into_iter().flatten().collect();
    rows.extend(with(AttentionKernel::Flash, Checkpointing::Full).map(|memory| {
        Row::new(
            "B.2.4",
            Text::new("logits and loss", "로짓과 손실"),
            ("–", Bytes(0)),
            (
                example.input.say(Text::new("B·S·V in 16 bits, in FP32, and their gradients", "B·S·V의 16비트·FP32 값과 그래디언트")),
                example.parts(&memory, &[Part::Logits]),
            ),
            Some(Text::new(
                "with a vocabulary of 152,064 the logits are often the largest tensors of a step",
                "어휘가 152,064개면 로짓이 한 스텝에서 가장 큰 텐서인 경우가 많다",
            )),
        )
    }));
    rows
}

/// What every process takes.
fn fixed(example: &Example<'_>) -> Vec<Row> {
    let overheads = jobs::board_here(example.input).map_or_else(jobs::unnamed, |board| board.overheads);
    vec![Row::new(
        "B.2.1",
        Text::new("context and libraries", "컨텍스트와 라이브러리"),
        ("~500 MB", Bytes::mib(500)),
        (
            example.input.say(Text::new("context + workspace of the matrix library", "컨텍스트 + 행렬 라이브러리 작업 공간")),
            overheads.context.with(&overheads.workspace, |context, workspace| context + workspace),
        ),
        None,
    )]
}

fn tables(input: &Input<'_>) -> Vec<Table> {
    let rows = rows(input);
    let title = Text::new("Formulas, worked through on one model", "공식과 계산 예");
    let mut table = input.table(
        "B.2",
        title,
        [
            Column::text("quantity", input.say(Text::new("quantity", "항목"))),
            Column::text("guide_rule", input.say(Text::new("guide's formula", "가이드 공식"))),
            Column::number("guide", input.say(Text::new("its value", "가이드 값"))),
            Column::text("right_rule", input.say(Text::new("right", "올바른 공식"))),
            Column::number("right", input.say(Text::new("its value", "올바른 값"))),
            Column::number("ratio", input.say(Text::new("right / guide", "올바른 값 / 가이드"))),
        ],
    );
    for row in &rows {
        table.row([
            Cell::text(input.say(row.name)),
            Cell::text(&row.guide_rule),
            row.guide.clone(),
            Cell::text(&row.right_rule),
            row.right.clone(),
            row.ratio.as_ref().map_or(Cell::Empty, |ratio| Cell::figure_as(ratio, format!("{:.2}", ratio.value))),
        ]);
    }
    table.note(
        Text::new(
            "For {}, one sequence of 2,048 tokens in training and 4,096 in inference. `guide --errata` says why they differ.",
            "{} 기준이며 학습은 2,048토큰, 추론은 4,096토큰 한 시퀀스다. 다른 이유는 `guide --errata`에 있다.",
        )
        .fill(input.lang, &[&jobs::EXAMPLE]),
    );
    table.note(input.say(Text::new(
        "P parameters, L layers, B sequences of S tokens, d width, h heads, V vocabulary, r rank.",
        "P 파라미터 수, L 층수, B 시퀀스 수, S 토큰 수, d 은닉 차원, h 헤드 수, V 어휘 수, r 랭크.",
    )));
    vec![table]
}

/// The formulas that are wrong by more than rounding.
pub(super) fn errata(input: &Input<'_>) -> Vec<Erratum> {
    const ROUNDING: f64 = 0.01;
    let wrong = |row: &Row| row.ratio.as_ref().is_none_or(|ratio| (ratio.value - 1.0).abs() > ROUNDING);
    let rows = rows(input).into_iter().filter(wrong);
    rows.filter_map(|row| {
        Some(Erratum {
            section: row.section,
            item: format!("{}, {}: {}", jobs::EXAMPLE, input.say(row.name), row.guide_rule),
            guide: row.guide,
            right: row.right,
            why: input.say(row.why?).to_owned(),
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::lang::Lang;

    fn values() -> Vec<(&'static str, Cell, Cell)> {
        let catalog = Catalog::embedded().unwrap();
        let input = Input::new(&catalog, None, &[], Lang::En);
        rows(&input).into_iter().map(|row| (row.name.en, row.guide, row.right)).collect()
    }

    fn number(cell: &Cell) -> f64 {
        match cell {
            Cell::Number(number) => number.value,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn right_values_are_those_of_the_true_shape() {
        const PARAMETERS: f64 = 8_291_375_616.0;
        let values = values();
        let of = |name: &str| {
            let (_, guide, right) = values.iter().find(|(found, ..)| *found == name).unwrap();
            (number(guide), number(right))
        };
        let near = |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-4, "{found} instead of {expected}");
        near(of("full, FP32").0, 20.0 * PARAMETERS);
        near(of("full, FP32").1, 16.0 * PARAMETERS);
        near(of("full, mixed").1, 16.0 * PARAMETERS);
        near(of("full, mixed, gradients in FP32").1, 18.0 * PARAMETERS);
        assert_eq!(of("weights, BF16").1, 2.0 * PARAMETERS);
        // 64 × (4 × 3584 + 2 × (3584 + 512) + …) over 28 layers: q and o are 3584 + 3584, k and v 3584 + 512.
        assert_eq!(of("LoRA parameters (r=64 on q, k, v, o)").1, 64.0 * 28.0 * (2.0 * 7168.0 + 2.0 * 4096.0));
        assert_eq!(of("KV cache of 4,096 tokens"), (65_536.0 * 4096.0, 57_344.0 * 4096.0));
    }

    #[test]
    fn activations_fall_with_every_means_to_save_them() {
        let values = values();
        let activations: Vec<f64> =
            values.iter().filter(|(name, ..)| name.starts_with("activations")).map(|(.., right)| number(right)).collect();
        assert_eq!(activations.len(), 3);
        assert!(activations.is_sorted_by(|a, b| a > b), "{activations:?}");
    }
}
