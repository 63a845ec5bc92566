//! Where the written guide is wrong: its value, the right one, and why.
//!
//! The guide's own numbers stand in the catalog and in the sections that print them; the right ones are computed beside them, from documents or
//! by the estimator. This list gathers what differs, so a corrected document or a better estimate corrects the list. Claims in words, which
//! nothing computes, are the only ones written down here; where the catalog can bear them out, a test asks it to.

use super::{Input, b1_differences, b2_formulas, b3_needs, b4_strategies, b5_clouds, b5_scenarios, b6_calculator, b7_storage, b9_power};
use crate::catalog::{Link, System};
use crate::lang::Text;
use crate::table::{Cell, Column, Table};

/// One mistake.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Erratum {
    /// The guide's section: `B.1.1`.
    pub(super) section: &'static str,
    /// What it is about.
    pub(super) item: String,
    /// What the guide says.
    pub(super) guide: Cell,
    /// What is right.
    pub(super) right: Cell,
    /// Why.
    pub(super) why: String,
}

impl Erratum {
    /// A claim in words.
    fn words(input: &Input<'_>, section: &'static str, item: Text, guide: Text, right: Text, why: Text) -> Self {
        let say = |text| Cell::text(input.say(text));
        Self { section, item: input.say(item).to_owned(), guide: say(guide), right: say(right), why: input.say(why).to_owned() }
    }
}

/// Every place where the written guide is wrong, in its order.
pub fn errata(input: &Input<'_>) -> Table {
    let mut table = Table::new(
        input.say(Text::new("Errata: where the written guide is wrong", "정오표: 문서 가이드의 오류")),
        [
            Column::text("section", input.say(Text::new("section", "절"))),
            Column::text("item", input.say(Text::new("item", "항목"))),
            Column::number("guide", input.say(Text::new("guide says", "가이드"))),
            Column::number("right", input.say(Text::new("right is", "올바른 값"))),
            Column::text("why", input.say(Text::new("why", "이유"))),
        ],
    )
    .in_lang(input.lang);
    for erratum in found(input) {
        table.row([Cell::text(erratum.section), Cell::text(erratum.item), erratum.guide, erratum.right, Cell::text(erratum.why)]);
    }
    table.note(input.say(Text::new(
        "GB are 10⁹ bytes and GiB 2³⁰. Values per model are those of the model named, from its shape; estimates are what nvidia-smi would show.",
        "GB는 10⁹바이트, GiB는 2³⁰바이트다. 모델별 값은 적힌 모델의 형상에서 계산했고, 추정은 nvidia-smi가 보일 값이다.",
    )));
    table
}

/// The list, in the guide's order.
fn found(input: &Input<'_>) -> Vec<Erratum> {
    let mut found = boards(input);
    found.extend(generations(input));
    found.extend(b2_formulas::errata(input));
    found.extend(b3_needs::errata(input));
    found.extend(links(input));
    found.extend(b4_strategies::errata(input));
    found.extend(b5_clouds::errata(input));
    found.extend(b5_scenarios::errata(input));
    found.extend(b6_calculator::errata(input));
    found.extend(b7_storage::errata(input));
    found.extend(workers(input));
    found.extend(power(input));
    found
}

/// B.1.1: peaks of the wrong engine, labels for capacities, a memory type.
fn boards(input: &Input<'_>) -> Vec<Erratum> {
    let of_difference = |difference: b1_differences::Difference| Erratum {
        section: "B.1.1",
        item: format!("{}, {}", difference.gpu, difference.quantity),
        guide: difference.guide,
        right: difference.right,
        why: Text::new("the guide's number is {}", "가이드 값은 {}").fill(input.lang, &[&input.say(difference.why)]),
    };
    b1_differences::differences(input).into_iter().map(of_difference).collect()
}

/// B.1.2: what came with which generation.
fn generations(input: &Input<'_>) -> Vec<Erratum> {
    vec![
        Erratum::words(
            input,
            "B.1.2",
            Text::new("first tensor cores", "최초의 텐서 코어"),
            Text::new("Turing (7.5)", "Turing (7.5)"),
            Text::new("Volta (7.0)", "Volta (7.0)"),
            Text::new(
                "the V100 had them a year earlier, and trained in FP16 with them",
                "한 세대 앞선 V100에 이미 있었고 FP16 학습에 쓰였다",
            ),
        ),
        Erratum::words(
            input,
            "B.1.2",
            Text::new("partitioning (MIG) on RTX 30 boards", "RTX 30 제품의 GPU 분할(MIG)"),
            Text::new("yes, with Ampere", "Ampere 전체 지원"),
            Text::new("no", "없음"),
            Text::new("of Ampere only GA100 (A100, A30) can be partitioned", "Ampere 가운데 GA100(A100, A30)만 분할할 수 있다"),
        ),
    ]
}

/// B.4.1: totals taken for what a copy can use.
fn links(input: &Input<'_>) -> Vec<Erratum> {
    let why = |link: &Link| {
        if link.generation == "3" || link.width == 18 {
            Text::new(
                "one GPU's total over all its links, both directions added, not each pair's; one direction is half, shared by all peers",
                "GPU 쌍이 아니라 GPU 하나의 모든 링크를 양방향으로 합한 값이다. 한 방향은 절반이고 상대 GPU들이 나누어 쓴다",
            )
        } else {
            Text::new(
                "raw signalling, both directions added; a copy goes one way and pays for the line code",
                "신호 속도를 양방향으로 합한 값이다. 복사는 한 방향으로 이루어지고 부호화 손실이 있다",
            )
        }
    };
    let with_guide = input.catalog.links.iter().filter_map(|link| Some((link, link.guide_total()?, link.encoded()?)));
    with_guide
        .map(|(link, guide, right)| Erratum {
            section: "B.4.1",
            item: Text::new("{}, what one copy can use", "{}, 복사 하나가 쓸 수 있는 대역폭").fill(input.lang, &[&link.name]),
            guide: Cell::figure(&guide),
            right: Cell::figure(&right),
            why: input.say(why(link)).to_owned(),
        })
        .collect()
}

/// B.8: what num_workers counts.
fn workers(input: &Input<'_>) -> Vec<Erratum> {
    vec![Erratum::words(
        input,
        "B.8",
        Text::new("num_workers with a process per GPU", "GPU마다 프로세스를 둘 때 num_workers"),
        Text::new("min(cores − 2, 4 × GPUs)", "min(코어 − 2, 4 × GPU)"),
        Text::new("that divided by the GPUs", "그 값을 GPU 수로 나눈 값"),
        Text::new(
            "the argument counts the workers of one process; given to each of N processes, the rule starts N times as many",
            "이 인자는 프로세스 하나의 워커 수다. 프로세스 N개에 그대로 주면 워커가 N배로 늘어난다",
        ),
    )]
}

/// B.9: ratings of systems that are sold whole.
fn power(input: &Input<'_>) -> Vec<Erratum> {
    let rated = b9_power::GUIDE.iter().filter_map(|row| Some((row, input.catalog.system(row.model, row.gpus)?)));
    rated
        .filter(|(row, system)| (row.system().value.0 / system.max_power().value.0 - 1.0).abs() > 0.05)
        .map(|(row, system)| Erratum {
            section: "B.9",
            item: Text::new("{}× {}, whole machine", "{}× {}, 시스템 전체").fill(input.lang, &[&row.gpus, &row.model]),
            guide: Cell::figure(&row.system()),
            right: Cell::figure(&system.max_power()),
            why: rating_of(input, row, system),
        })
        .collect()
}

fn rating_of(input: &Input<'_>, row: &b9_power::GuideRow, system: &System) -> String {
    let other = input.catalog.systems.iter().find(|other| other.max_power().value == row.system().value);
    let right = Text::new("a {} is rated at this", "{}의 정격이다").fill(input.lang, &[&system.name]);
    match other {
        Some(other) => Text::new("{}; the guide's number is the rating of a {}", "{}. 가이드 값은 {}의 정격이다")
            .fill(input.lang, &[&right, &other.name]),
        None => right,
    }
}
