//! The time of an estimate: a bar per part, what limits, and the keys that scripts rely on.

use serde::Serialize;

use super::show::bar;
use crate::estimate::time::{Answer, Kind, Parts, Phase, Step};
use crate::figure::{Basis, Figure, Share};
use crate::lang::{Lang, Text};
use crate::table::{Align, Cell, Column, Table};
use crate::units::{Seconds, significant};

/// A time, whichever job it is of.
pub(super) enum Time {
    /// One step of training, and how many are asked for.
    Step(Step, Option<u64>),
    /// A batch of requests; what fits at most.
    Answer(Answer, Limits),
}

/// What surely fits at most, the rest of the setting unchanged.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Limits {
    /// Sequences at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) largest_batch: Option<u64>,
    /// Tokens of a prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) longest_prompt: Option<u64>,
}

/// The keys of `time`. Keys that a job has no use for are absent.
#[derive(Serialize)]
pub(super) struct Keys {
    #[serde(skip_serializing_if = "Option::is_none")]
    step_seconds: Option<f64>,
    /// A whole batch of requests, prompts and answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_seconds: Option<f64>,
    low_seconds: f64,
    high_seconds: f64,
    tokens_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    mfu: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hfu: Option<f64>,
    bound_by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefill_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decode_seconds_per_token: Option<f64>,
    /// Of all steps, where their number is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_hours: Option<f64>,
    parts: Vec<PartKeys>,
    #[serde(flatten)]
    limits: Limits,
}

#[derive(Serialize)]
struct PartKeys {
    phase: &'static str,
    kind: String,
    seconds: f64,
}

impl Time {
    fn parts(&self) -> &Parts {
        match self {
            Self::Step(step, _) => &step.parts,
            Self::Answer(answer, _) => &answer.parts,
        }
    }

    fn whole(&self) -> &Figure<Seconds> {
        match self {
            Self::Step(step, _) => &step.time,
            Self::Answer(answer, _) => &answer.time,
        }
    }

    /// Quantity, basis and sources of what it comes from.
    pub(super) fn basis(&self) -> &[(&'static str, Basis, String)] {
        match self {
            Self::Step(step, _) => &step.basis,
            Self::Answer(answer, _) => &answer.basis,
        }
    }

    /// For scripts.
    pub(super) fn keys(&self) -> Keys {
        let whole = self.whole();
        let parts = self.parts().iter().map(|(phase, kind, time)| PartKeys {
            phase: phase_words(phase).get(Lang::En),
            kind: kind_words(kind).get(Lang::En).replace(' ', "_"),
            seconds: time.0,
        });
        let usual = Keys {
            step_seconds: None,
            request_seconds: None,
            low_seconds: whole.low.0,
            high_seconds: whole.high.0,
            tokens_per_second: 0.0,
            mfu: None,
            hfu: None,
            bound_by: "",
            prefill_seconds: None,
            decode_seconds_per_token: None,
            total_hours: None,
            parts: parts.collect(),
            limits: Limits::default(),
        };
        match self {
            Self::Step(step, steps) => Keys {
                step_seconds: Some(whole.value.0),
                tokens_per_second: step.tokens_per_second,
                mfu: step.mfu.map(|share| share.0),
                hfu: step.hfu.map(|share| share.0),
                bound_by: step.bound_by.word(),
                total_hours: steps.map(|steps| hours(whole.value, steps)),
                ..usual
            },
            Self::Answer(answer, limits) => Keys {
                request_seconds: Some(whole.value.0),
                tokens_per_second: answer.tokens_per_second,
                bound_by: answer.bound_by.word(),
                prefill_seconds: Some(answer.prefill.value.0),
                decode_seconds_per_token: Some(answer.decode.value.0),
                limits: *limits,
                ..usual
            },
        }
    }

    /// For people.
    pub(super) fn table(&self, lang: Lang) -> Table {
        let whole = self.whole();
        let title = match self {
            Self::Step(..) => Text::new("Time of a step", "한 스텝의 시간"),
            Self::Answer(..) => Text::new("Time of the batch", "배치의 시간"),
        };
        let columns = [
            Column::text("phase", Text::new("phase", "단계").get(lang)),
            Column::text("part", Text::new("part", "구성 요소").get(lang)),
            Column::number("time", Text::new("time", "시간").get(lang)),
            Column::text("interval", Text::new("interval", "구간").get(lang)),
            Column { align: Align::Left, ..Column::number("share", Text::new("share of it", "전체 대비").get(lang)) },
        ];
        let mut table = Table::new(title.get(lang), columns).in_lang(lang);
        let share = |time: Seconds| bar(time.0 / whole.value.0.max(f64::MIN_POSITIVE));
        let from = whole.from.join("; ");
        for (phase, kind, time) in self.shown() {
            let figure = Figure::new(time, whole.basis, from.clone());
            let words = (phase_words(phase).get(lang), kind_words(kind).get(lang));
            table.row([Cell::text(words.0), Cell::text(words.1), Cell::figure(&figure), Cell::Empty, share(time)]);
        }
        let total = Text::new("= all of it", "= 전체").get(lang);
        table.row([Cell::text(total), Cell::Empty, Cell::figure(whole), between(whole), share(whole.value)]);
        if let Self::Answer(answer, _) = self {
            for (name, figure) in [
                (Text::new("until the first token", "첫 토큰까지"), &answer.prefill),
                (Text::new("each further token", "이후 토큰당"), &answer.decode),
            ] {
                table.row([Cell::text(name.get(lang)), Cell::Empty, Cell::figure(figure), between(figure)]);
            }
        }
        for note in self.notes(lang) {
            table.note(note);
        }
        table
    }

    /// Parts of a hundredth or more, in the order of phases, and the rest of each phase as what is largest in it.
    fn shown(&self) -> Vec<(Phase, Kind, Seconds)> {
        let total = self.whole().value.0;
        self.parts().iter().filter(|(_, _, time)| time.0 >= total / 100.0).collect()
    }

    fn notes(&self, lang: Lang) -> Vec<String> {
        let mut notes = Vec::new();
        let rate = |rate: f64| significant(rate, 4);
        match self {
            Self::Step(step, steps) => {
                const SPEED: Text = Text::new(
                    "{} tokens per second altogether, bound by {}; MFU {}, HFU {} (operations of the mathematics, and with those done twice, over the dense peak).",
                    "전체 초당 {} 토큰, 제한 요인: {}. MFU {}, HFU {} (수식상의 연산, 재계산 포함 연산 ÷ 밀집 최대 성능).",
                );
                let share = |share: Option<Share>| share.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", share.0 * 100.0));
                let bound = step.bound_by.text().get(lang);
                notes.push(SPEED.fill(lang, &[&rate(step.tokens_per_second), &bound, &share(step.mfu), &share(step.hfu)]));
                if let Some(steps) = steps {
                    const ALL: Text = Text::new("{} steps take {} hours.", "{} 스텝에 {}시간이 걸린다.");
                    notes.push(ALL.fill(lang, &[steps, &significant(hours(step.time.value, *steps), 4)]));
                }
            }
            Self::Answer(answer, Limits { largest_batch, longest_prompt }) => {
                const SPEED: Text = Text::new("{} tokens per second altogether, bound by {}.", "전체 초당 {} 토큰, 제한 요인: {}.");
                notes.push(SPEED.fill(lang, &[&rate(answer.tokens_per_second), &answer.bound_by.text().get(lang)]));
                if let (Some(batch), Some(prompt)) = (largest_batch, longest_prompt) {
                    const MOST: Text = Text::new(
                        "At most {} such sequences surely fit at once, or this batch with prompts of {} tokens.",
                        "이런 시퀀스는 동시에 최대 {}개까지, 이 배치는 프롬프트 {} 토큰까지 확실히 들어간다.",
                    );
                    notes.push(MOST.fill(lang, &[batch, prompt]));
                }
            }
        }
        notes
    }
}

fn hours(step: Seconds, steps: u64) -> f64 {
    step.0 * steps as f64 / 3600.0
}

fn between(figure: &Figure<Seconds>) -> Cell {
    Cell::text(format!("{} – {}", figure.low.display(3), figure.high.display(3)))
}

const fn phase_words(phase: Phase) -> Text {
    match phase {
        Phase::Forward => Text::new("forward", "순전파"),
        Phase::Recompute => Text::new("recompute", "재계산"),
        Phase::Backward => Text::new("backward", "역전파"),
        Phase::Update => Text::new("update", "갱신"),
        Phase::Prefill => Text::new("prefill", "프리필"),
        Phase::Decode => Text::new("decode", "디코드"),
    }
}

const fn kind_words(kind: Kind) -> Text {
    match kind {
        Kind::Products => Text::new("matrix products", "행렬곱"),
        Kind::Weights => Text::new("reading weights", "가중치 읽기"),
        Kind::Attention => Text::new("attention", "어텐션"),
        Kind::Cache => Text::new("reading the cache", "캐시 읽기"),
        Kind::Elementwise => Text::new("elementwise work", "원소별 연산"),
        Kind::Unpacking => Text::new("unpacking weights", "가중치 복원"),
        Kind::Optimizer => Text::new("optimizer", "옵티마이저"),
        Kind::Communication => Text::new("communication", "통신"),
        Kind::Bubble => Text::new("waiting for stages", "파이프라인 대기"),
        Kind::Launch => Text::new("waiting for launches", "커널 실행 대기"),
        Kind::Host => Text::new("waiting for the host", "호스트 대기"),
        Kind::Data => Text::new("waiting for data", "데이터 대기"),
    }
}
