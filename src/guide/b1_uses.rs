//! B.1.3: which GPU for which job.
//!
//! The guide recommends; this section computes. Each of its uses becomes jobs with a model, a batch and a length; what they take follows from the
//! estimator, and the boards that suffice follow from that. A board counts for a job if it computes BF16 on tensor cores and has its memory to
//! itself. "Fewest" and "cheapest" look at memory and price alone, never at speed; how fast the choices are, and what a million tokens cost on
//! them, stands in a table of its own.

use super::jobs::{self, Board, Job, MIXED, Spread};
use super::{Input, Section, b5_clouds, pace};
use crate::catalog::{Dtype, GpuModel};
use crate::estimate::fit::Verdict;
use crate::figure::Figure;
use crate::lang::Text;
use crate::table::{Cell, Column, Table};
use crate::units::{Usd, significant};
use crate::workload::{Checkpointing, Inference, Method, Model, Precision, Quantised, Training};

pub(super) const SECTION: Section = Section { id: "B.1.3", title: Text::new("Which GPU for which job", "용도별 GPU 선택"), tables };

/// One machine.
const MOST: u64 = 8;

/// A job of one of the guide's uses, and the guide's choice for it: counts and a short name of the catalog.
struct Use {
    key: &'static str,
    name: Text,
    model: &'static str,
    job: Job,
    guide: &'static [(u64, &'static str)],
}

/// The guide's uses. Training recomputes activations, as everybody short of memory does; serving holds eight sequences of 4096 tokens.
fn uses() -> [Use; 8] {
    let train = |method: Method| Job::Train(Training { checkpointing: Checkpointing::Full, ..Training::new(method, 1, 2048) });
    let serve = || Job::Infer(Inference::new(Precision::Bf16, 8, 3584, 512));
    const HOME: &[(u64, &str)] = &[(1, "RTX 4090")];
    const LAB: &[(u64, &str)] = &[(2, "A100 SXM 80GB"), (4, "A100 SXM 80GB")];
    const PRODUCTION: &[(u64, &str)] = &[(4, "H100 SXM"), (8, "H100 SXM")];
    const SERVING: &[(u64, &str)] = &[(1, "L40S"), (1, "RTX 4090")];
    const LARGE: &[(u64, &str)] = &[(1, "H100 SXM"), (2, "A100 SXM 80GB")];
    let of = |key, en, ko, model, job, guide| Use { key, name: Text::new(en, ko), model, job, guide };
    let [(_, small), (_, medium), (_, large), (_, largest)] = jobs::SIZES;
    [
        of("lora_7b", "LoRA 7B at home", "개인 실험, 7B LoRA", small, train(Method::Lora(jobs::adapters())), HOME),
        of(
            "qlora_7b",
            "QLoRA 7B at home",
            "개인 실험, 7B QLoRA",
            small,
            train(Method::Qlora(jobs::adapters(), Quantised::Nf4Double)),
            HOME,
        ),
        of("full_7b", "full fine-tuning 7B", "7B 전체 미세조정", small, train(MIXED), LAB),
        of("full_13b", "full fine-tuning 13B", "13B 전체 미세조정", medium, train(MIXED), LAB),
        of("full_34b", "training 34B", "34B 학습", large, train(MIXED), PRODUCTION),
        of("serve_7b", "serving 7B", "7B 서빙", small, serve(), SERVING),
        of("serve_13b", "serving 13B", "13B 서빙", medium, serve(), SERVING),
        of("serve_72b", "serving 72B", "72B 서빙", largest, serve(), LARGE),
    ]
}

fn tables(input: &Input<'_>) -> Vec<Table> {
    let uses = uses();
    let jobs: Vec<(&Use, Model)> = uses.iter().filter_map(|job| Some((job, jobs::model(input, job.model)?))).collect();
    let boards: Vec<(&GpuModel, Board<'_>)> =
        input.catalog.gpus.iter().filter(|model| is_candidate(model)).map(|model| (model, Board::of(model))).collect();
    let mut spreads: Vec<Spread<'_>> = jobs.iter().map(|(job, model)| Spread::new(&job.job, model, MOST)).collect();
    let counts: Vec<Vec<Option<Figure<f64>>>> =
        boards.iter().map(|(_, board)| spreads.iter_mut().map(|spread| board.fewest(spread)).collect()).collect();
    vec![chosen(input, &jobs, &boards, &counts), paced(input, &jobs, &boards, &counts), by_board(input, &jobs, &boards, &counts)]
}

/// GPUs for a use, with what they do and cost.
struct Paced {
    gpus: String,
    /// Why they are in the table.
    why: Vec<Text>,
    /// Tokens per second: read and trained on, or written.
    tokens: Figure<f64>,
    /// Rent of all of them.
    rent: Option<Figure<Usd>>,
}

impl Paced {
    /// `job` on so many of a board, at the least price that anybody asks for it today.
    fn of(input: &Input<'_>, job: &Job, model: &Model, board: &Board<'_>, count: u64, why: Text) -> Option<Self> {
        let speeds = input.speeds(board)?;
        let tokens = match job.on(count)? {
            Job::Train(training) => pace::tokens(&pace::step(model, &training, &speeds)?),
            Job::Infer(inference) => {
                let answer = pace::answer(model, &inference, &speeds)?;
                pace::rate(answer.tokens_per_second * answer.time.value.0, &answer.time)
            }
        };
        let rent = board.model.and_then(|gpu| Some(b5_clouds::rent(input, &gpu.short_name, count)?.0));
        Some(Self { gpus: format!("{count}× {}", board.room.gpu), why: vec![why], tokens, rent })
    }

    /// Dollars for a million tokens.
    fn per_million(&self) -> Option<Figure<Usd>> {
        Some(self.rent.as_ref()?.with(&self.tokens, |rent, tokens| Usd(rent.0 / 3600.0 / tokens * 1e6)))
    }
}

/// How fast the choices for each use are, and what a million tokens cost on them: the guide's, this machine, the cheapest to buy, the cheapest to rent.
fn paced(input: &Input<'_>, jobs: &[(&Use, Model)], boards: &[(&GpuModel, Board<'_>)], counts: &[Vec<Option<Figure<f64>>>]) -> Table {
    let mut table = input.table(
        "B.1.3",
        Text::new("How fast those are, and what a million tokens cost", "추천 구성의 속도와 100만 토큰당 비용"),
        [
            Column::text("use", input.say(Text::new("use", "용도"))),
            Column::text("gpus", "GPU"),
            Column::text("why", input.say(Text::new("because", "근거"))),
            Column::number("tokens", input.say(Text::new("tokens/s", "토큰/s"))),
            Column::number("rent", input.say(Text::new("rent", "임대"))).unit("USD/h"),
            Column::number("per_million", input.say(Text::new("1M tokens", "100만 토큰"))).unit("USD"),
        ],
    );
    let here = jobs::board_here(input);
    for (index, (job, model)) in jobs.iter().enumerate() {
        let mut found: Vec<Paced> = Vec::new();
        let mut add = |paced: Option<Paced>| {
            let Some(paced) = paced else { return };
            match found.iter_mut().find(|known| known.gpus == paced.gpus) {
                Some(known) => known.why.extend(paced.why),
                None => found.push(paced),
            }
        };
        if let Some(board) = &here
            && let Some(count) = board.fewest(&mut Spread::new(&job.job, model, MOST))
        {
            add(Paced::of(input, &job.job, model, board, count.value as u64, Text::new("this machine's GPU", "이 장비의 GPU")));
        }
        for &(count, name) in job.guide {
            let board = jobs::board(input, name).filter(|board| board.verdict(&job.job, model, count) != Some(Verdict::No));
            add(board.and_then(|board| Paced::of(input, &job.job, model, &board, count, Text::new("the guide's choice", "가이드 추천"))));
        }
        let sure = || boards.iter().zip(counts).filter_map(|(board, counts)| Some((board, counts[index].as_ref()?.value)));
        let bought = sure().filter(|((gpu, _), _)| gpu.price().is_some());
        let bought = bought.min_by(|a, b| (price(a.0.0) * a.1).total_cmp(&(price(b.0.0) * b.1)));
        if let Some(((_, board), count)) = bought {
            add(Paced::of(input, &job.job, model, board, count as u64, Text::new("cheapest to buy", "구매가 최저")));
        }
        let offered = |gpu: &GpuModel, count: f64| b5_clouds::rent(input, &gpu.short_name, count as u64).is_some();
        let rented = sure().filter(|((gpu, _), count)| offered(gpu, *count)).filter_map(|((_, board), count)| {
            let paced =
                Paced::of(input, &job.job, model, board, count as u64, Text::new("cheapest to rent, per token", "토큰당 임대료 최저"))?;
            Some((paced.per_million()?.value.0, paced))
        });
        add(rented.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, paced)| paced));
        for paced in found {
            let why: Vec<&str> = paced.why.iter().map(|why| input.say(*why)).collect();
            let per_million = paced.per_million();
            table.row([
                Cell::text(input.say(job.name)),
                Cell::text(&paced.gpus),
                Cell::text(why.join("; ")),
                pace::three(&paced.tokens),
                paced.rent.as_ref().map_or(Cell::Empty, b5_clouds::usd),
                per_million.map_or(Cell::Empty, |each| Cell::figure_as(&each, significant(each.value.0, 2))),
            ]);
        }
    }
    table.note(input.say(Text::new(
        "The jobs of the table above. Tokens trained on, or written while serving, of all GPUs together; several share everything in training (FSDP) and every product in serving. Rent is the least that anybody of B.5.1 asks today for a machine with as many; power of one's own is not in it.",
        "위 표와 같은 작업이다. 학습한 토큰(서빙은 생성한 토큰)의 전체 속도이며, GPU가 여럿이면 학습은 모두 나누고(FSDP) 서빙은 모든 행렬곱을 나눈다. 임대료는 B.5.1의 상품 가운데 그만큼의 GPU를 갖춘 장비의 최저가이며 자가 장비의 전기료는 들어 있지 않다.",
    )));
    table
}

/// A board that computes BF16 on tensor cores and shares its memory with no host.
fn is_candidate(model: &GpuModel) -> bool {
    model.matmul_peak(Dtype::Bf16).is_some() && !model.memory.kind.starts_with("LPDDR")
}

/// What each use takes, whether the guide's choice holds it, and what else does.
fn chosen(input: &Input<'_>, jobs: &[(&Use, Model)], boards: &[(&GpuModel, Board<'_>)], counts: &[Vec<Option<Figure<f64>>>]) -> Table {
    let mut table = input.table(
        "B.1.3",
        Text::new("What each use takes, and what holds it", "용도별 필요 메모리와 GPU"),
        [
            Column::text("use", input.say(Text::new("use", "용도"))),
            Column::text("model", input.say(Text::new("computed for", "계산 모델"))),
            Column::number("needs", input.say(Text::new("one GPU would need", "GPU 하나일 때 필요"))).unit("GiB"),
            Column::text("guide", input.say(Text::new("guide's choice", "가이드 추천"))),
            Column::text("alone", input.say(Text::new("smallest board that holds it alone", "혼자 담는 가장 작은 GPU"))),
            Column::text("cheapest", input.say(Text::new("cheapest that hold it", "담을 수 있는 가장 싼 구성"))),
            Column::number("price", input.say(Text::new("price", "가격"))).unit("USD"),
        ],
    );
    let unnamed = jobs::unnamed();
    for (index, (job, model)) in jobs.iter().enumerate() {
        let device = job.job.memory(model, &unnamed).map(|memory| memory.device);
        let of_boards = || boards.iter().zip(counts).filter_map(|((gpu, _), counts)| Some((*gpu, counts[index].as_ref()?)));
        let alone = of_boards().filter(|(_, count)| count.value == 1.0).map(|(gpu, _)| gpu);
        let alone = alone.min_by(|a, b| a.capacity().value.cmp(&b.capacity().value).then(price(a).total_cmp(&price(b))));
        let priced = of_boards().filter_map(|(gpu, count)| Some((gpu, count.value, gpu.price()?.map(|usd| Usd(usd.0 * count.value)))));
        let cheapest = priced.min_by(|a, b| a.2.value.0.total_cmp(&b.2.value.0));
        table.row([
            Cell::text(input.say(job.name)),
            Cell::text(&model.name),
            device.map_or(Cell::Empty, |device| Cell::figure_as(&device, format!("{:.1}", device.value.as_gib()))),
            Cell::text(guides_choice(input, job, model)),
            alone.map_or(Cell::Empty, |gpu| Cell::text(&gpu.short_name)),
            cheapest.as_ref().map_or(Cell::Empty, |(gpu, count, _)| Cell::text(format!("{count}× {}", gpu.short_name))),
            cheapest.map_or(Cell::Empty, |(.., usd)| Cell::figure_in(&usd, 1.0, 0)),
        ]);
    }
    table.note(input.say(Text::new(
        "Training: one sequence of 2,048 tokens per GPU, every layer recomputed, adapters of rank 64. Serving: BF16, eight sequences of 4,096 tokens. At most eight GPUs; memory and price alone count, not speed or links.",
        "학습은 GPU당 2,048토큰 한 시퀀스에 모든 층을 재계산하고 어댑터 랭크는 64다. 서빙은 BF16, 4,096토큰 시퀀스 8개다. GPU는 최대 8개이며, 속도와 연결은 따지지 않고 메모리와 가격만 본다.",
    )));
    table
}

fn price(gpu: &GpuModel) -> f64 {
    gpu.price().map_or(f64::INFINITY, |price| price.value.0)
}

/// The guide's GPUs, each with whether it holds the job.
fn guides_choice(input: &Input<'_>, job: &Use, model: &Model) -> String {
    let choice = |&(count, name): &(u64, &str)| {
        let verdict = match jobs::board(input, name)?.verdict(&job.job, model, count)? {
            Verdict::Yes => Text::new("holds it", "충분"),
            Verdict::No => Text::new("too small", "부족"),
            Verdict::Unknown => Text::new("perhaps", "불확실"),
        };
        Some(format!("{count}× {name}: {}", input.say(verdict)))
    };
    job.guide.iter().filter_map(choice).collect::<Vec<_>>().join("; ")
}

/// How many of each board each use needs.
fn by_board(input: &Input<'_>, jobs: &[(&Use, Model)], boards: &[(&GpuModel, Board<'_>)], counts: &[Vec<Option<Figure<f64>>>]) -> Table {
    let mut columns = vec![Column::text("gpu", "GPU")];
    columns.extend(jobs.iter().map(|(job, _)| Column::number(job.key, input.say(job.name))));
    let mut table = input.table("B.1.3", Text::new("How many of each board", "GPU별 필요 개수"), columns);
    if let Some(board) = jobs::board_here(input) {
        let count = |(job, model): &(&Use, Model)| jobs::count_cell(board.fewest(&mut Spread::new(&job.job, model, MOST)).as_ref());
        table.row([Cell::text(&board.room.gpu)].into_iter().chain(jobs.iter().map(count)));
    }
    for ((model, _), counts) in boards.iter().zip(counts) {
        let cells = counts.iter().map(|count| jobs::count_cell(count.as_ref()));
        table.row([Cell::text(&model.short_name)].into_iter().chain(cells));
    }
    table.note(input.say(Text::new(
        "Boards that compute BF16 on tensor cores. 1–2 means that one may do and two surely do; – that eight are not enough.",
        "텐서 코어로 BF16을 계산하는 GPU만 실었다. 1–2는 1개면 될 수도 있고 2개면 확실하다는 뜻이며 –는 8개로도 부족하다는 뜻이다.",
    )));
    table
}
