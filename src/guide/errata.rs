//! Where the written guide is wrong: its value, the right one, and why.
//!
//! The guide's own numbers stand in the catalog and in the sections that print them; the right ones are computed beside them, from documents or
//! by the estimator. This list gathers what differs, so a corrected document or a better estimate corrects the list. Claims in words, which
//! nothing computes, are the only ones written down here; where the catalog can bear them out, a test asks it to.

use super::{Input, b1_differences, b2_formulas, b3_needs, b4_strategies, b6_calculator, b7_storage, b9_power};
use crate::catalog::{Instance, Link, System};
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
    found.extend(prices(input));
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

/// A price of the guide's: who sells what, the entry of today that is like it, and what the guide's number is.
struct Price {
    provider: &'static str,
    name: &'static str,
    today: &'static str,
    why: Text,
}

const fn price(provider: &'static str, name: &'static str, today: &'static str, en: &'static str, ko: &'static str) -> Price {
    Price { provider, name, today, why: Text::new(en, ko) }
}

const CUT: (&str, &str) = ("the list price until June 2025, cut since", "2025년 6월까지의 정가이며 그 뒤 인하되었다");

const PRICES: [Price; 9] = [
    price("AWS", "p4d.24xlarge", "p4d.24xlarge", CUT.0, CUT.1),
    price("AWS", "p5.48xlarge", "p5.48xlarge", CUT.0, CUT.1),
    price(
        "GCP",
        "a2-ultragpu-8g",
        "a2-ultragpu-8g",
        "the guide's is the price of AWS p4de.24xlarge, with the same boards",
        "가이드 값은 같은 GPU를 쓰는 AWS p4de.24xlarge의 가격이다",
    ),
    price(
        "GCP",
        "a3-highgpu-8g",
        "a3-highgpu-8g",
        "the guide's is the price of AWS p5.48xlarge and Azure ND96isr_H100_v5, with the same boards",
        "가이드 값은 같은 GPU를 쓰는 AWS p5.48xlarge와 Azure ND96isr_H100_v5의 가격이다",
    ),
    price(
        "RunPod",
        "A100 80GB",
        "A100 80GB PCIe (secure)",
        "the guide's was the secure lane's price for the PCIe board in 2024-25, not the community's",
        "가이드 값은 2024~25년 PCIe 제품의 Secure 가격이며 Community 가격이 아니다",
    ),
    price(
        "RunPod",
        "H100 SXM",
        "H100 80GB HBM3 (community)",
        "the guide's is the secure lane's price, not the community's",
        "가이드 값은 Community가 아니라 Secure 가격이다",
    ),
    price(
        "RunPod",
        "RTX 4090",
        "RTX 4090 (community)",
        "neither lane asks the guide's price any more",
        "지금은 Secure와 Community 어느 쪽도 가이드 값이 아니다",
    ),
    price(
        "Lambda",
        "gpu_1x_a100_sxm4",
        "A100 SXM 40GB (per GPU)",
        "the price of 2024-25; the type has the 40 GB board, not the 80 GB one",
        "2024~25년의 가격이다. 이 타입의 GPU는 80 GB가 아니라 40 GB 제품이다",
    ),
    price(
        "Lambda",
        "gpu_1x_h100_sxm5",
        "gpu_1x_h100_sxm5",
        "the guide's was the price of gpu_1x_h100_pcie",
        "가이드 값은 gpu_1x_h100_pcie의 가격이었다",
    ),
];

/// B.5.1: prices that were another machine's, or another year's.
fn prices(input: &Input<'_>) -> Vec<Erratum> {
    const ROUNDING: f64 = 0.01;
    let entry = |provider: &str, name: &str, of_guide: bool| {
        input.catalog.instances.iter().find(|entry| entry.provider == provider && entry.name == name && entry.is_guide() == of_guide)
    };
    let both = PRICES
        .iter()
        .filter_map(|price| Some((price, entry(price.provider, price.name, true)?, entry(price.provider, price.today, false)?)));
    let differs =
        |guide: &Instance, today: &Instance| (guide.price_per_hour().value.0 / today.price_per_hour().value.0 - 1.0).abs() > ROUNDING;
    both.filter(|(_, guide, today)| differs(guide, today))
        .map(|(price, guide, today)| Erratum {
            section: "B.5.1",
            item: Text::new("{} {}, an hour", "{} {}, 시간당").fill(input.lang, &[&guide.provider, &guide.name]),
            guide: Cell::figure(&guide.price_per_hour()),
            right: Cell::figure(&today.price_per_hour()),
            why: Text::new("{} ({}: as of {})", "{}({}: {} 기준)").fill(input.lang, &[&input.say(price.why), &today.name, &today.as_of]),
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
