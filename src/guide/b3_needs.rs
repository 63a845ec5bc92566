//! B.3: what models of the guide's four sizes take in training and in inference, and how many GPUs that makes.
//!
//! The guide's numbers and its choice of GPUs stand beside the estimate. Its numbers are decimal GB read off the formulas of B.2; the estimate is
//! what nvidia-smi would show on one GPU large enough for all of it. Whether the guide's choice holds the job is computed, sharded over as many
//! GPUs as the guide names, and so is how long a step takes there, and how fast every board goes on as few GPUs as surely hold the job.

use super::errata::Erratum;
use super::jobs::{self, Board, Job, MIXED, SIZES, Spread};
use super::{Input, Section, pace};
use crate::estimate::fit::Verdict;
use crate::estimate::time::{Answer, Speeds, Step};
use crate::figure::{Basis, Figure};
use crate::lang::Text;
use crate::table::{Cell, Column, Table};
use crate::units::Bytes;
use crate::workload::{Inference, Method, Model, Precision, Quantised, Training};

pub(super) const TRAINING: Section =
    Section {
        id: "B.3.1", title: Text::new("Memory and time for training", "학습에 필요한 메모리와 시간"), tables: training_tables
    };

pub(super) const INFERENCE: Section =
    Section {
        id: "B.3.2", title: Text::new("Memory and time for inference", "추론에 필요한 메모리와 시간"), tables: inference_tables
    };

/// A cell of the guide's table: decimal gigabytes, and its choice of GPUs as a count and a short name of the catalog.
#[derive(Debug, Clone, Copy)]
struct Guide {
    gigabytes: f64,
    choice: Option<(u64, &'static str)>,
}

impl Guide {
    fn figure(&self, id: &str) -> Figure<Bytes> {
        Figure::new(Bytes((self.gigabytes * 1e9) as u64), Basis::Guide, format!("guide {id}"))
    }

    fn shown(&self) -> String {
        format!("~{} GB", self.gigabytes)
    }
}

const fn guide(gigabytes: f64, choice: Option<(u64, &'static str)>) -> Guide {
    Guide { gigabytes, choice }
}

const A100_40: &str = "A100 SXM 40GB";
const A100_80: &str = "A100 SXM 80GB";

/// The guide's B.3.1: a row per size; full FP32, mixed, LoRA, QLoRA.
const GUIDE_TRAINING: [[Guide; 4]; 4] = [
    [
        guide(140.0, Some((4, A100_40))),
        guide(130.0, Some((2, A100_80))),
        guide(18.0, Some((1, "RTX 4090"))),
        guide(8.0, Some((1, "RTX 3090"))),
    ],
    [
        guide(260.0, Some((4, A100_80))),
        guide(240.0, Some((3, A100_80))),
        guide(30.0, Some((1, A100_40))),
        guide(12.0, Some((1, "RTX 4090"))),
    ],
    [
        guide(680.0, Some((8, "H100 SXM"))),
        guide(612.0, Some((8, A100_80))),
        guide(72.0, Some((1, A100_80))),
        guide(22.0, Some((1, "RTX 4090"))),
    ],
    [guide(1400.0, None), guide(1300.0, None), guide(148.0, Some((2, A100_80))), guide(42.0, Some((1, A100_80)))],
];

/// The guide's B.3.2: a row per size; 16 bits, INT8, INT4.
const GUIDE_INFERENCE: [[f64; 3]; 4] = [[14.5, 7.5, 4.2], [26.5, 13.5, 7.5], [68.5, 34.5, 18.0], [144.5, 72.5, 37.0]];

/// The guide's four ways to train, at its batch of one sequence of 2048 tokens.
pub(super) fn trainings() -> [(&'static str, Job); 4] {
    let job = |method| Job::Train(Training::new(method, 1, 2048));
    [
        ("FP32", job(Method::FullFp32)),
        ("BF16 mixed", job(MIXED)),
        ("LoRA r=64", job(Method::Lora(jobs::adapters()))),
        ("QLoRA r=64", job(Method::Qlora(jobs::adapters(), Quantised::Nf4Double))),
    ]
}

/// The guide's three precisions, at its batch of one sequence of 4096 tokens.
pub(super) fn inferences() -> [(&'static str, Job); 3] {
    let job = |precision| Job::Infer(Inference::new(precision, 1, 4096, 0));
    [("BF16", job(Precision::Bf16)), ("INT8", job(Precision::Int8)), ("INT4 (AWQ)", job(Precision::Awq { group: 128 }))]
}

/// One line of both tables of a section.
struct Line {
    size: &'static str,
    model: Model,
    job_name: &'static str,
    job: Job,
    guide: Guide,
}

impl Line {
    /// The job as it takes the least memory: with everything recomputed, where it trains.
    fn leanest(&self) -> Job {
        self.job.recomputed().unwrap_or_else(|| self.job.clone())
    }
}

fn lines<const N: usize>(input: &Input<'_>, jobs: &[(&'static str, Job); N], guide: impl Fn(usize, usize) -> Guide) -> Vec<Line> {
    let mut lines = Vec::new();
    for (row, (size, name)) in SIZES.into_iter().enumerate() {
        let Some(model) = jobs::model(input, name) else { continue };
        for (column, (job_name, job)) in jobs.iter().enumerate() {
            lines.push(Line { size, model: model.clone(), job_name, job: job.clone(), guide: guide(row, column) });
        }
    }
    lines
}

fn training_lines(input: &Input<'_>) -> Vec<Line> {
    lines(input, &trainings(), |row, column| GUIDE_TRAINING[row][column])
}

fn inference_lines(input: &Input<'_>) -> Vec<Line> {
    lines(input, &inferences(), |row, column| guide(GUIDE_INFERENCE[row][column], None))
}

/// Lines of both tables that are off by more than the guide's "~" excuses.
pub(super) fn errata(input: &Input<'_>) -> Vec<Erratum> {
    const ABOUT: f64 = 0.1;
    let unnamed = jobs::unnamed();
    let of = |section: &'static str, line: Line| {
        let device = line.job.memory(&line.model, &unnamed)?.device;
        let written = line.guide.figure(section);
        ((ratio(&written, &device).value - 1.0).abs() > ABOUT).then(|| Erratum {
            section,
            item: format!("{} ({}), {}", line.size, line.model.name, line.job_name),
            guide: Cell::figure_as(&written, line.guide.shown()),
            right: Cell::figure(&device),
            why: input.say(why(&line.job)).to_owned(),
        })
    };
    let training = training_lines(input).into_iter().filter_map(|line| of("B.3.1", line));
    training.chain(inference_lines(input).into_iter().filter_map(|line| of("B.3.2", line))).collect()
}

/// What the guide's number leaves out or counts twice.
fn why(job: &Job) -> Text {
    match job {
        Job::Train(training) if training.method.adapters().is_some() => Text::new(
            "activations of frozen layers are kept as well, and so are the logits; the guide's number holds only with everything recomputed",
            "고정된 층의 활성값과 로짓도 저장된다. 가이드 값은 모두 재계산할 때나 맞다",
        ),
        Job::Train(_) => Text::new("16 bytes per parameter, not 18 or 20: see B.2", "파라미터당 18이나 20이 아니라 16바이트다(B.2 참고)"),
        Job::Infer(_) => Text::new(
            "the cache, the prompt's activations and the context count too, and embedding and head are not quantised",
            "KV 캐시, 프롬프트의 활성값, 컨텍스트도 필요하며 임베딩과 출력 헤드는 양자화되지 않는다",
        ),
    }
}

fn ratio(written: &Figure<Bytes>, right: &Figure<Bytes>) -> Figure<f64> {
    written.with(right, |written, right| right.as_f64() / written.as_f64())
}

fn training_tables(input: &Input<'_>) -> Vec<Table> {
    let lines = training_lines(input);
    let mut needs = needs(input, "B.3.1", Text::new("Memory for training, beside the guide", "학습 메모리와 가이드 값"), &lines);
    needs.note(input.say(Text::new(
        "One sequence of 2,048 tokens per GPU, AdamW, flash attention, nothing recomputed, and beside it every layer. Adapters of rank 64 on q, k, v and o in FP32; QLoRA's base in NF4 with double quantisation.",
        "GPU당 2,048토큰 한 시퀀스, AdamW, flash attention, 재계산 없음(모든 층을 재계산할 때의 값도 함께 표시). 어댑터는 q, k, v, o에 랭크 64의 FP32, QLoRA의 기반은 이중 양자화한 NF4다.",
    )));
    let boards = Counts::of(input, &lines);
    let title = Text::new("GPUs needed for training, every layer recomputed", "학습에 필요한 GPU 수(모든 층 재계산)");
    let mut counts = boards.shown(input, "B.3.1", title, &lines);
    counts.note(input.say(Text::new(
        "Weights, gradients and states sharded over the GPUs (FSDP, ZeRO-3), each with a sequence of its own. 2–3 means that 2 may do and 3 surely do; – that 128 are not enough.",
        "가중치, 그래디언트, 옵티마이저 상태를 모든 GPU에 나누고(FSDP, ZeRO-3) GPU마다 시퀀스를 하나씩 둔다. 2–3은 2개면 될 수도 있고 3개면 확실하다는 뜻이며 –는 128개로도 부족하다는 뜻이다.",
    )));
    vec![needs, counts, training_rates(input, &lines, &boards), guides_steps(input, &lines)]
}

/// Tokens per second of every line on as few of every board as hold it.
fn training_rates(input: &Input<'_>, lines: &[Line], boards: &Counts<'_>) -> Table {
    let steps = boards.timed(input, lines, step);
    let title = Text::new("Tokens per second in training, on as many GPUs as it needs", "학습 처리량(토큰/s), 필요한 수의 GPU에서");
    let mut table = boards.table(input, "B.3.1", title, lines, |line, board| {
        steps[line][board].as_ref().map_or(Cell::Empty, |step| pace::three(&pace::tokens(step)))
    });
    table.note(input.say(Text::new(
        "All GPUs together, on the larger of the counts above and one sequence of 2,048 tokens each, every layer recomputed, modules as transformers has them, FP32 without TF32. – where it takes more than one machine of eight: links between machines differ too much.",
        "위 표의 (큰 쪽) GPU 수 전체의 합이며 GPU마다 2,048토큰 시퀀스 하나, 모든 층 재계산, transformers 모듈 기준이며 FP32는 TF32를 쓰지 않는다. GPU 8개를 넘으면 장비 사이 연결에 따라 크게 달라지므로 비워 두었다.",
    )));
    table
}

fn step(job: &Job, model: &Model, speeds: &Speeds) -> Option<Step> {
    match job {
        Job::Train(training) => pace::step(model, training, speeds),
        Job::Infer(_) => None,
    }
}

fn answer(job: &Job, model: &Model, speeds: &Speeds) -> Option<Answer> {
    match job {
        Job::Infer(inference) => pace::answer(model, inference, speeds),
        Job::Train(_) => None,
    }
}

/// A step on the guide's choice of GPUs, where that may hold it.
fn guides_steps(input: &Input<'_>, lines: &[Line]) -> Table {
    let mut table = input.table(
        "B.3.1",
        Text::new("A step on the guide's GPUs, every layer recomputed", "가이드가 고른 GPU의 스텝 시간(모든 층 재계산)"),
        [
            Column::text("size", input.say(Text::new("size", "크기"))),
            Column::text("method", input.say(Text::new("method", "방식"))),
            Column::text("choice", input.say(Text::new("guide's GPUs", "가이드의 GPU"))),
            Column::text("verdict", input.say(Text::new("enough?", "충분한가"))),
            Column::number("step", input.say(Text::new("step", "스텝"))).unit("s"),
            Column::text("interval", input.say(Text::new("interval (s)", "구간 (s)"))),
            Column::number("tokens", input.say(Text::new("tokens/s", "토큰/s"))),
            Column::text("bound_by", input.say(Text::new("bound by", "제한 요인"))),
        ],
    );
    for line in lines {
        let Some((count, name)) = line.guide.choice else { continue };
        let (job, board) = (line.leanest(), jobs::board(input, name));
        let verdict = board.as_ref().and_then(|board| board.verdict(&job, &line.model, count));
        let time = |board: &Board<'_>| step(&job.on(count)?, &line.model, input.speeds(board)?.as_ref());
        let step = board.as_ref().filter(|_| verdict != Some(Verdict::No)).and_then(time);
        table.row([
            Cell::text(line.size),
            Cell::text(line.job_name),
            Cell::text(format!("{count}× {name}")),
            verdict.map_or(Cell::Empty, |verdict| Cell::text(input.say(enough(verdict)))),
            step.as_ref().map_or(Cell::Empty, |step| pace::seconds(&step.time)),
            step.as_ref().map_or(Cell::Empty, |step| pace::between(&step.time, 1.0)),
            step.as_ref().map_or(Cell::Empty, |step| pace::three(&pace::tokens(step))),
            step.as_ref().map_or(Cell::Empty, |step| Cell::text(input.say(step.bound_by.text()))),
        ]);
    }
    table.note(input.say(Text::new(
        "One sequence of 2,048 tokens per GPU; several GPUs share everything (FSDP).",
        "GPU마다 2,048토큰 시퀀스 하나이며 여러 GPU는 모두 나눈다(FSDP).",
    )));
    table
}

fn inference_tables(input: &Input<'_>) -> Vec<Table> {
    let lines = inference_lines(input);
    let mut needs = needs(input, "B.3.2", Text::new("Memory for inference, beside the guide", "추론 메모리와 가이드 값"), &lines);
    needs.note(input.say(Text::new(
        "One prompt of 4,096 tokens, KV cache in 16 bits, the prompt read at once. The guide counts the weights and half a gigabyte; the cache, what a prompt takes while it is read, and the context are what it leaves out.",
        "4,096토큰 프롬프트 하나, KV 캐시는 16비트, 프롬프트를 한 번에 처리. 가이드 값은 가중치에 0.5 GB를 더한 것으로, KV 캐시와 프롬프트 처리 중의 활성값, CUDA 컨텍스트가 빠져 있다.",
    )));
    let boards = Counts::of(input, &lines);
    let mut counts = boards.shown(input, "B.3.2", Text::new("GPUs needed for inference", "추론에 필요한 GPU 수"), &lines);
    counts.note(input.say(Text::new(
        "Every product split over 1, 2, 4 or 8 GPUs (tensor parallel). 2–4 means that 2 may do and 4 surely do.",
        "모든 행렬곱을 1, 2, 4, 8개의 GPU에 나눈다(텐서 병렬). 2–4는 2개면 될 수도 있고 4개면 확실하다는 뜻이다.",
    )));
    let answers = boards.timed(input, &lines, answer);
    let of = |title, cell: &dyn Fn(&Answer) -> Cell| {
        boards.table(input, "B.3.2", title, &lines, |line, board| answers[line][board].as_ref().map_or(Cell::Empty, cell))
    };
    let title = Text::new("Decoding, tokens per second, on as many GPUs as it needs", "디코드 속도(토큰/s), 필요한 수의 GPU에서");
    let mut decode = of(title, &|answer| pace::three(&pace::rate(1.0, &answer.decode)));
    decode.note(input.say(Text::new(
        "One sequence, the token after 4,096, on the larger of the counts above; kernels fused and replayed as a graph, as servers do it. Reading the weights takes most of it, so fewer bits are faster.",
        "시퀀스 하나에서 4,096토큰 다음 토큰의 속도이며 위 표의 (큰 쪽) GPU 수 기준이다. 서버처럼 커널을 합치고 그래프로 실행한다. 대부분 가중치를 읽는 시간이므로 비트 수가 적을수록 빠르다.",
    )));
    let title = Text::new("Reading a prompt of 4,096 tokens, seconds", "4,096토큰 프롬프트 처리 시간(초)");
    let mut prefill = of(title, &|answer| pace::seconds(&answer.prefill));
    prefill.note(input.say(Text::new(
        "2,048 tokens at a time. Products of so many tokens compute in 16 bits, after quantised weights are unpacked.",
        "2,048토큰씩 처리한다. 토큰이 많은 행렬곱은 양자화된 가중치를 복원한 뒤 16비트로 계산한다.",
    )));
    vec![needs, counts, decode, prefill]
}

fn needs(input: &Input<'_>, id: &str, title: Text, lines: &[Line]) -> Table {
    let choices = lines.iter().any(|line| line.guide.choice.is_some());
    let mut columns = vec![
        Column::text("size", input.say(Text::new("size", "크기"))),
        Column::text("model", input.say(Text::new("computed for", "계산 모델"))),
        Column::text("method", input.say(Text::new("method", "방식"))),
        Column::number("guide", input.say(Text::new("guide", "가이드"))),
        Column::number("needs", input.say(Text::new("needs", "필요"))).unit("GiB"),
        Column::number("ratio", input.say(Text::new("needs / guide", "필요 / 가이드"))),
    ];
    if choices {
        columns.push(Column::number("recomputed", input.say(Text::new("recomputed", "재계산 시"))).unit("GiB"));
        columns.push(Column::text("choice", input.say(Text::new("guide's GPUs", "가이드의 GPU"))));
        columns.push(Column::text("verdict", input.say(Text::new("enough?", "충분한가"))));
        columns.push(Column::text("verdict_recomputed", input.say(Text::new("recomputed", "재계산 시"))));
    }
    let mut table = input.table(id, title, columns);
    let unnamed = jobs::unnamed();
    for line in lines {
        let written = line.guide.figure(id);
        let needs = |job: &Job| job.memory(&line.model, &unnamed).map(|memory| memory.device);
        let device = needs(&line.job);
        let ratio = device.as_ref().map(|device| ratio(&written, device));
        let mut row = vec![
            Cell::text(line.size),
            Cell::text(&line.model.name),
            Cell::text(line.job_name),
            Cell::figure_as(&written, line.guide.shown()),
            device.as_ref().map_or(Cell::Empty, gib),
            ratio.map_or(Cell::Empty, |ratio| Cell::figure_as(&ratio, format!("{:.2}", ratio.value))),
        ];
        if choices {
            row.push(line.job.recomputed().and_then(|job| needs(&job)).as_ref().map_or(Cell::Empty, gib));
            row.extend(choice(input, line));
        }
        table.row(row);
    }
    table.note(input.say(Text::new(
        "The guide's GB are 10⁹ bytes, GiB 2³⁰; the ratio compares bytes.",
        "가이드의 GB는 10⁹바이트, GiB는 2³⁰바이트이며 비율은 바이트로 비교했다.",
    )));
    table
}

const fn enough(verdict: Verdict) -> Text {
    match verdict {
        Verdict::Yes => Text::new("yes", "충분"),
        Verdict::No => Text::new("no", "부족"),
        Verdict::Unknown => Text::new("perhaps", "불확실"),
    }
}

/// The guide's GPUs for a line, and whether they hold it: as it is, and with every layer recomputed.
fn choice(input: &Input<'_>, line: &Line) -> [Cell; 3] {
    let Some((count, name)) = line.guide.choice else { return [Cell::Empty, Cell::Empty, Cell::Empty] };
    let board = jobs::board(input, name);
    let verdict = |job: Option<Job>| {
        let verdict = board.as_ref().zip(job).and_then(|(board, job)| board.verdict(&job, &line.model, count));
        verdict.map_or(Cell::Empty, |verdict| Cell::text(input.say(enough(verdict))))
    };
    [Cell::text(format!("{count}× {name}")), verdict(Some(line.job.clone())), verdict(line.job.recomputed())]
}

/// Boards, and of each how many every line needs.
struct Counts<'a> {
    boards: Vec<Board<'a>>,
    /// By line and board.
    fewest: Vec<Vec<Option<Figure<f64>>>>,
}

impl<'a> Counts<'a> {
    fn of(input: &Input<'a>, lines: &[Line]) -> Self {
        let boards = jobs::boards(input);
        let of_line = |line: &Line| {
            let job = line.leanest();
            let mut spread = Spread::new(&job, &line.model, jobs::MOST_GPUS);
            boards.iter().map(|board| board.fewest(&mut spread)).collect()
        };
        let fewest = lines.iter().map(of_line).collect();
        Self { boards, fewest }
    }

    /// A table with a column per board, and a cell per line and board.
    fn table(&self, input: &Input<'_>, id: &str, title: Text, lines: &[Line], cell: impl Fn(usize, usize) -> Cell) -> Table {
        let mut columns = vec![
            Column::text("size", input.say(Text::new("size", "크기"))),
            Column::text("method", input.say(Text::new("method", "방식"))),
        ];
        columns.extend(self.boards.iter().map(|board| Column::number(&key(&board.room.gpu), &board.room.gpu)));
        let mut table = input.table(id, title, columns);
        for (index, line) in lines.iter().enumerate() {
            let cells = (0..self.boards.len()).map(|board| cell(index, board));
            table.row([Cell::text(line.size), Cell::text(line.job_name)].into_iter().chain(cells));
        }
        table
    }

    fn shown(&self, input: &Input<'_>, id: &str, title: Text, lines: &[Line]) -> Table {
        self.table(input, id, title, lines, |line, board| jobs::count_cell(self.fewest[line][board].as_ref()))
    }

    /// What `time` says of each line on as many of each board as it surely fits on, where those are of one machine.
    fn timed<T>(&self, input: &Input<'_>, lines: &[Line], time: impl Fn(&Job, &Model, &Speeds) -> Option<T>) -> Vec<Vec<Option<T>>> {
        let of = |line: &Line, board: &Board<'_>, fewest: Option<&Figure<f64>>| {
            let gpus = fewest?.value as u64;
            let job = line.leanest().on(gpus)?;
            (gpus <= jobs::NODE).then(|| time(&job, &line.model, input.speeds(board)?.as_ref())).flatten()
        };
        let of_line = |(line, fewest): (&Line, &Vec<Option<Figure<f64>>>)| {
            self.boards.iter().zip(fewest).map(|(board, fewest)| of(line, board, fewest.as_ref())).collect()
        };
        lines.iter().zip(&self.fewest).map(of_line).collect()
    }
}

/// A column's key from a board's name.
fn key(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("_")
}

fn gib(bytes: &Figure<Bytes>) -> Cell {
    Cell::figure_as(bytes, format!("{:.1}", bytes.value.as_gib()))
}
