//! B.5.2: the guide's five runs, how long they take and what they cost.
//!
//! The guide trains a 7B vision-language model for 10,000 steps and says neither the batch nor the length. Its hours are those of one sequence of
//! 2,048 tokens per GPU and step, which is also what its B.3 is about, so that is what is computed: on eight GPUs a step sees eight times as
//! many tokens as on one, and only the price of a million tokens compares such runs. Every layer is recomputed, as in the guide's calculator.
//!
//! Cost is price times hours, nothing else: no start, no storage, no traffic, no interruption. A part of an instance costs its share, though
//! whoever rents it pays for the whole.

use super::b5_clouds::{entry, per_gpu, rent, usd};
use super::errata::Erratum;
use super::jobs::{self, Board, MIXED};
use super::{Input, Section, pace};
use crate::catalog::Instance;
use crate::estimate::fit::Verdict;
use crate::estimate::memory;
use crate::estimate::time::Step;
use crate::figure::{Basis, Figure};
use crate::lang::Text;
use crate::table::{Cell, Column, Table};
use crate::units::{Seconds, Usd, significant};
use crate::workload::{Checkpointing, Data, Images, Method, Model, Parallel, Quantised, Training};

pub(super) const SECTION: Section = Section { id: "B.5.2", title: Text::new("What runs cost", "학습 시나리오별 비용"), tables };

/// Optimizer steps of each run.
const STEPS: u64 = 10_000;

/// Tokens of a sequence, those of its image among them.
const TOKENS: u64 = 2048;

/// One image per sequence, of 1,024 tokens in this model: 32 × 32 patches of 28 pixels.
const IMAGE: Images = Images { count: 1, width: 896, height: 896 };

const HOUR: f64 = 3600.0;

/// How a model is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Qlora,
    Lora,
    Full,
}

impl How {
    const ALL: [Self; 3] = [Self::Qlora, Self::Lora, Self::Full];

    const fn name(self) -> Text {
        match self {
            Self::Qlora => Text::new("QLoRA r=64", "QLoRA r=64"),
            Self::Lora => Text::new("LoRA r=64", "LoRA r=64"),
            Self::Full => Text::new("full, BF16", "전체, BF16"),
        }
    }

    /// The step of each GPU of `gpus`.
    fn training(self, gpus: u64) -> Training {
        let method = match self {
            Self::Qlora => Method::Qlora(jobs::adapters(), Quantised::Nf4Double),
            Self::Lora => Method::Lora(jobs::adapters()),
            Self::Full => MIXED,
        };
        let data = if gpus > 1 { Data::Fsdp } else { Data::Ddp };
        Training {
            checkpointing: Checkpointing::Full,
            images: IMAGE,
            parallel: Parallel { gpus, data, ..Parallel::ONE },
            ..Training::new(method, 1, TOKENS)
        }
    }
}

/// A run of the guide's.
struct Scenario {
    how: How,
    gpus: u64,
    /// Short name in the catalog.
    board: &'static str,
    cloud: &'static str,
    /// Today's entry of that cloud.
    today: &'static str,
    hours: f64,
    usd: f64,
}

const LAMBDA: Scenario =
    Scenario { how: How::Qlora, gpus: 1, board: "A100 SXM 80GB", cloud: "Lambda", today: "A100 SXM 80GB (per GPU)", hours: 2.5, usd: 3.23 };

const SCENARIOS: [Scenario; 5] = [
    Scenario { how: How::Qlora, gpus: 1, board: "RTX 4090", cloud: "RunPod", today: "RTX 4090 (community)", hours: 4.0, usd: 1.76 },
    LAMBDA,
    Scenario { how: How::Lora, hours: 3.0, usd: 3.87, ..LAMBDA },
    Scenario { how: How::Full, gpus: 4, board: "A100 SXM 80GB", cloud: "AWS", today: "p4de.24xlarge", hours: 2.0, usd: 26.0 },
    Scenario { how: How::Full, gpus: 8, board: "H100 SXM", cloud: "GCP", today: "a3-highgpu-8g", hours: 0.7, usd: 69.0 },
];

impl Scenario {
    fn guide_time(&self) -> Figure<Seconds> {
        Figure::new(Seconds(self.hours * HOUR), Basis::Guide, "guide B.5.2")
    }

    fn guide_cost(&self) -> Figure<Usd> {
        Figure::new(Usd(self.usd), Basis::Guide, "guide B.5.2")
    }

    /// What the guide paid an hour.
    fn guide_price(&self) -> Figure<Usd> {
        Figure::new(Usd(self.usd / self.hours), Basis::Guide, "guide B.5.2, its cost over its hours")
    }
}

/// What `time` costs at `price` an hour.
pub(super) fn cost(price: &Figure<Usd>, time: &Figure<Seconds>) -> Figure<Usd> {
    price.with(time, |price, time| Usd(price.0 * time.0 / HOUR))
}

/// A run, computed.
struct Run<'a> {
    how: How,
    gpus: u64,
    /// GPUs and where.
    place: String,
    /// The guide's, unless it is this machine's.
    scenario: Option<&'static Scenario>,
    verdict: Option<Verdict>,
    step: Step,
    /// All steps.
    time: Figure<Seconds>,
    /// What is asked for as many GPUs today, and by whom.
    today: Option<(Figure<Usd>, &'a Instance)>,
}

impl<'a> Run<'a> {
    fn of(input: &Input<'a>, model: &Model, board: &Board<'_>, how: How, gpus: u64) -> Option<Self> {
        let training = how.training(gpus);
        let step = pace::step(model, &training, input.speeds(board)?.as_ref())?;
        let memory = memory::train(model, &training, &board.overheads).ok();
        let verdict = memory.map(|memory| board.room.verdict(&memory));
        let time = step.time.map(|time| Seconds(time.0 * STEPS as f64));
        Some(Self { how, gpus, place: format!("{gpus}× {}", board.room.gpu), scenario: None, verdict, step, time, today: None })
    }

    /// Tokens of all steps, in millions.
    fn millions(&self) -> f64 {
        (self.gpus * TOKENS * STEPS) as f64 / 1e6
    }

    fn cost(&self) -> Option<Figure<Usd>> {
        Some(cost(&self.today.as_ref()?.0, &self.time))
    }

    fn per_million(&self) -> Option<Figure<Usd>> {
        Some(self.cost()?.map(|usd| Usd(usd.0 / self.millions())))
    }
}

/// The guide's runs.
fn guides<'a>(input: &Input<'a>, model: &Model) -> Vec<Run<'a>> {
    let of = |scenario: &'static Scenario| {
        let board = jobs::board(input, scenario.board)?;
        let run = Run::of(input, model, &board, scenario.how, scenario.gpus)?;
        let price = |instance: &'a Instance| (per_gpu(instance).map(|usd| Usd(usd.0 * scenario.gpus as f64)), instance);
        let today = entry(input, scenario.cloud, scenario.today, false).map(price);
        Some(Run { place: format!("{} ({})", run.place, scenario.cloud), scenario: Some(scenario), today, ..run })
    };
    SCENARIOS.iter().filter_map(of).collect()
}

/// The same on this machine, at the least price of such a GPU: adapters on one GPU, everything on all of them; only what may fit.
fn here<'a>(input: &Input<'a>, model: &Model) -> Vec<Run<'a>> {
    let Some(board) = jobs::board_here(input) else { return Vec::new() };
    let all = input.gpus().iter().filter(|here| here.model.map(|model| &model.name) == board.model.map(|model| &model.name)).count() as u64;
    let of = |how: How| {
        let gpus = if how == How::Full { all } else { 1 };
        let today = board.model.and_then(|model| rent(input, &model.short_name, gpus));
        Some(Run { today, ..Run::of(input, model, &board, how, gpus)? })
    };
    How::ALL.into_iter().filter_map(of).filter(|run| run.verdict != Some(Verdict::No)).collect()
}

fn tables(input: &Input<'_>) -> Vec<Table> {
    let Some(model) = jobs::model(input, jobs::EXAMPLE) else { return Vec::new() };
    let mut runs = here(input, &model);
    runs.extend(guides(input, &model));
    vec![hours(input, &model, &runs), costs(input, &runs)]
}

fn hours(input: &Input<'_>, model: &Model, runs: &[Run<'_>]) -> Table {
    let mut table = input.table(
        "B.5.2",
        Text::new("Hours of 10,000 steps", "10,000 스텝의 시간"),
        [
            Column::text("method", input.say(Text::new("method", "방식"))),
            Column::text("gpus", "GPU"),
            Column::text("fits", input.say(Text::new("fits?", "적합"))),
            Column::number("step", input.say(Text::new("step", "스텝"))).unit("s"),
            Column::number("tokens", input.say(Text::new("tokens/s", "토큰/s"))),
            Column::number("hours", input.say(Text::new("hours", "시간"))),
            Column::text("interval", input.say(Text::new("interval", "구간"))),
            Column::number("guide", input.say(Text::new("guide", "가이드"))),
            Column::number("ratio", input.say(Text::new("hours / guide", "계산 / 가이드"))),
        ],
    );
    for run in runs {
        let written = run.scenario.map(|scenario| (scenario.guide_time(), scenario.hours));
        let ratio = written.as_ref().map(|(written, _)| run.time.with(written, |time, written| time.0 / written.0));
        table.row([
            Cell::text(input.say(run.how.name())),
            Cell::text(&run.place),
            Cell::text(input.say(fits(run.verdict))),
            pace::seconds(&run.step.time),
            pace::three(&pace::tokens(&run.step)),
            Cell::figure_as(&run.time, significant(run.time.value.0 / HOUR, 2)),
            pace::between(&run.time, HOUR),
            written.map_or(Cell::Empty, |(written, hours)| Cell::figure_as(&written, format!("~{hours}"))),
            ratio.map_or(Cell::Empty, |ratio| Cell::figure_as(&ratio, format!("{:.2}", ratio.value))),
        ]);
    }
    table.note(
        Text::new(
            "{}, {} steps, each of one sequence of 2,048 tokens per GPU with an image of 896 × 896 pixels in it (1,024 tokens); every layer recomputed, AdamW, adapters on q, k, v and o, modules as transformers has them; several GPUs share everything (FSDP). The guide does not say its batch; its hours come near those of this one. Data is taken to be there in time.",
            "{}, {} 스텝. 스텝마다 GPU당 2,048토큰 시퀀스 하나이며 896×896 픽셀 이미지 하나(1,024토큰)를 포함한다. 모든 층 재계산, AdamW, 어댑터는 q, k, v, o, transformers 모듈, 여러 GPU는 모두 나눈다(FSDP). 가이드는 배치를 밝히지 않았으나 시간이 이 설정에 가깝다. 데이터는 제때 준비된다고 가정했다.",
        )
        .fill(input.lang, &[&model.name, &"10,000"]),
    );
    table
}

fn costs(input: &Input<'_>, runs: &[Run<'_>]) -> Table {
    let mut table = input.table(
        "B.5.2",
        Text::new("What those hours cost", "10,000 스텝의 비용"),
        [
            Column::text("method", input.say(Text::new("method", "방식"))),
            Column::text("gpus", "GPU"),
            Column::number("guide_cost", input.say(Text::new("guide", "가이드"))).unit("USD"),
            Column::number("guide_price", input.say(Text::new("its price", "가이드 단가"))).unit("USD/h"),
            Column::number("cost_then", input.say(Text::new("cost at it", "그 단가로"))).unit("USD"),
            Column::number("price", input.say(Text::new("price today", "현재 단가"))).unit("USD/h"),
            Column::number("cost", input.say(Text::new("cost today", "현재 비용"))).unit("USD"),
            Column::text("interval", input.say(Text::new("interval", "구간"))),
            Column::number("per_million", input.say(Text::new("per 1M tokens", "100만 토큰당"))).unit("USD"),
        ],
    );
    let mut dates: Vec<String> = Vec::new();
    for run in runs {
        let (now, scenario) = (run.cost(), run.scenario);
        let price = run.today.as_ref().map(|(price, _)| price);
        table.row([
            Cell::text(input.say(run.how.name())),
            Cell::text(&run.place),
            scenario.map_or(Cell::Empty, |scenario| Cell::figure_as(&scenario.guide_cost(), format!("~{}", scenario.usd))),
            scenario.map_or(Cell::Empty, |scenario| usd(&scenario.guide_price())),
            scenario.map_or(Cell::Empty, |scenario| usd(&cost(&scenario.guide_price(), &run.time))),
            price.map_or(Cell::Empty, usd),
            now.as_ref().map_or(Cell::Empty, usd),
            now.as_ref().map_or(Cell::Empty, |now| pace::between(now, 1.0)),
            run.per_million().map_or(Cell::Empty, |each| Cell::figure_as(&each, significant(each.value.0, 2))),
        ]);
        if let Some((_, instance)) = &run.today {
            let date = format!("{} {} ({})", instance.provider, instance.name, instance.as_of);
            if !dates.contains(&date) {
                dates.push(date);
            }
        }
    }
    table.note(
        Text::new(
            "Cost is price times hours. Today's prices: {}. AWS rents eight at a time; half its on-demand price is counted, as no spot price is in the catalog. On N GPUs a step has N sequences, so compare the price of a million tokens.",
            "비용은 단가 × 시간이다. 현재 단가: {}. AWS는 8개 단위로만 빌려주므로 온디맨드 가격의 절반으로 계산했다(Spot 가격은 카탈로그에 없다). GPU가 N개면 스텝마다 시퀀스도 N개이므로 100만 토큰당 비용으로 비교해야 한다.",
        )
        .fill(input.lang, &[&dates.join(", ")]),
    );
    let least = |of_guide: bool| {
        let some = runs.iter().filter(|run| run.scenario.is_some() && (!of_guide || run.scenario.is_some_and(is_best_value)));
        some.filter_map(|run| Some(run.per_million()?.value.0)).fold(f64::INFINITY, f64::min)
    };
    if least(true) <= least(false) {
        table.note(input.say(Text::new(
            "What the guide calls the best value, QLoRA on an RTX 4090 of RunPod, is the cheapest of its five per token.",
            "가이드가 가성비 최강으로 꼽은 RunPod RTX 4090 + QLoRA는 다섯 시나리오 가운데 토큰당 비용이 가장 낮다.",
        )));
    }
    table
}

/// What the guide calls the best value.
fn is_best_value(scenario: &Scenario) -> bool {
    scenario.how == How::Qlora && scenario.board == "RTX 4090"
}

const fn fits(verdict: Option<Verdict>) -> Text {
    match verdict {
        Some(Verdict::Yes) => Text::new("yes", "예"),
        Some(Verdict::No) => Text::new("no", "아니요"),
        Some(Verdict::Unknown) | None => Text::new("perhaps", "불확실"),
    }
}

/// What does not depend on the batch that the guide leaves unsaid: which of two methods is the faster one on the same board.
pub(super) fn errata(input: &Input<'_>) -> Vec<Erratum> {
    let Some(model) = jobs::model(input, jobs::EXAMPLE) else { return Vec::new() };
    let runs = guides(input, &model);
    let of = |how: How| runs.iter().find(|run| run.how == how && run.scenario.is_some_and(|scenario| scenario.cloud == LAMBDA.cloud));
    let (Some(lora), Some(qlora)) = (of(How::Lora), of(How::Qlora)) else { return Vec::new() };
    let (Some(written_lora), Some(written_qlora)) = (lora.scenario, qlora.scenario) else { return Vec::new() };
    let written = written_lora.guide_time().with(&written_qlora.guide_time(), |lora, qlora| lora.0 / qlora.0);
    // One model makes both errors, so the ratio is surer than either.
    let right = lora.time.map(|_| lora.time.value.0 / qlora.time.value.0);
    if written.value <= 1.0 || right.value >= 1.0 {
        return Vec::new();
    }
    vec![Erratum {
        section: "B.5.2",
        item: Text::new("time of LoRA over that of QLoRA, on one {}", "{} 하나에서 LoRA 시간 ÷ QLoRA 시간")
            .fill(input.lang, &[&LAMBDA.board]),
        guide: Cell::figure_as(&written, format!("{:.2}", written.value)),
        right: Cell::figure_as(&right, format!("{:.2}", right.value)),
        why: input
            .say(Text::new(
                "QLoRA computes the same products and unpacks its weights first, so it saves memory and never time",
                "QLoRA는 같은 행렬곱에 가중치 복원이 더해지므로 메모리를 아낄 뿐 더 빠를 수 없다",
            ))
            .to_owned(),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::Calibration;
    use crate::calibrate::fixture::two_h100;
    use crate::catalog::Catalog;
    use crate::lang::Lang;
    use proptest::prelude::*;

    #[test]
    fn hours_are_steps_and_cost_is_price_times_hours() {
        let catalog = Catalog::embedded().unwrap();
        let input = Input::new(&catalog, None, &[], Lang::En);
        let model = jobs::model(&input, jobs::EXAMPLE).unwrap();
        let runs = guides(&input, &model);
        assert_eq!(runs.len(), SCENARIOS.len());
        for run in &runs {
            let hours = run.step.time.value.0 * STEPS as f64 / HOUR;
            let price = &run.today.as_ref().unwrap().0;
            let cost = run.cost().unwrap();
            assert!((cost.value.0 / (price.value.0 * hours) - 1.0).abs() < 1e-12);
            assert!((run.per_million().unwrap().value.0 * run.millions() / cost.value.0 - 1.0).abs() < 1e-12);
            let ratio = |cost: Usd, time: Seconds| cost.0 / time.0;
            assert!((ratio(cost.low, run.time.low) / ratio(cost.high, run.time.high) - 1.0).abs() < 1e-12);
            assert_eq!(run.verdict, Some(Verdict::Yes), "{}", run.place);
        }
    }

    #[test]
    fn the_guides_cost_is_its_hours_at_the_prices_of_its_table() {
        let catalog = Catalog::embedded().unwrap();
        let input = Input::new(&catalog, None, &[], Lang::En);
        for (scenario, name) in [(0, "RTX 4090"), (1, "gpu_1x_a100_sxm4"), (2, "gpu_1x_a100_sxm4"), (4, "a3-highgpu-8g")] {
            let scenario = &SCENARIOS[scenario];
            let price = entry(&input, scenario.cloud, name, true).unwrap().price_per_hour();
            assert!((scenario.guide_price().value.0 / price.value.0 - 1.0).abs() < 0.01, "{}", scenario.cloud);
        }
    }

    #[test]
    fn this_machine_stands_first_with_what_it_holds() {
        let catalog = Catalog::embedded().unwrap();
        let run = two_h100().run();
        let calibration = Calibration::from_run(&run);
        let input = Input::new(&catalog, Some((&run, &calibration)), &[], Lang::En);
        let model = jobs::model(&input, jobs::EXAMPLE).unwrap();
        let runs = here(&input, &model);
        let places: Vec<(How, u64)> = runs.iter().map(|run| (run.how, run.gpus)).collect();
        assert_eq!(places[..2], [(How::Qlora, 1), (How::Lora, 1)]);
        let hours = &tables(&input)[0];
        assert_eq!(hours.rows().len(), runs.len() + SCENARIOS.len());
    }

    proptest! {
        #[test]
        fn cost_follows_price_and_time(price in 0.01..1e3f64, seconds in 1.0..1e7f64, factor in 1.0..10.0f64) {
            let figure = |price: f64| Figure::assumed(Usd(price), "test");
            let time = |seconds: f64| Figure::assumed(Seconds(seconds), "test");
            let base = cost(&figure(price), &time(seconds)).value.0;
            prop_assert!((base / (price * seconds / 3600.0) - 1.0).abs() < 1e-12);
            prop_assert!((cost(&figure(price * factor), &time(seconds)).value.0 / base / factor - 1.0).abs() < 1e-12);
            prop_assert!((cost(&figure(price), &time(seconds * factor)).value.0 / base / factor - 1.0).abs() < 1e-12);
        }
    }
}
