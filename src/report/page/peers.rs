//! What lies between GPUs: every ordered pair, with the number in its place.

use super::{Item, Source, Subject, Topic, seen};
use crate::calibrate::PeerLink;
use crate::lang::{Lang, Text};
use crate::plot::{Form, Matrix, Plot, Unit};

pub(super) const TOPIC: Topic = Topic {
    id: "peers",
    title: Text::new("Between GPUs", "GPU 사이"),
    about: Text::new(
        "Rows are the GPU that acts, columns the one whose memory it reaches. Colours say how far a pair lies behind the best one.",
        "행은 접근하는 GPU, 열은 메모리를 내주는 GPU다. 색은 가장 좋은 쌍에 견주어 얼마나 뒤지는지를 나타낸다.",
    ),
    panel,
};

fn panel(source: &Source<'_>, subject: &Subject<'_>) -> Vec<Item> {
    let lang = source.lang;
    let one_way = Text::new("Best rate, one way", "한 방향 최고 속도");
    let one_way_about = Text::new(
        "Best rate of copies from each GPU to each other one, over copy engine and kernel, reading and writing.",
        "각 GPU 쌍에서 복사 엔진과 커널, 읽기와 쓰기를 통틀어 가장 빠른 복사 속도다.",
    );
    let both = Text::new("Best rate, both ways added up", "양방향 최고 속도(합)");
    let both_about = Text::new(
        "Best rate of copies in both directions at once, added up, for each pair of GPUs.",
        "각 GPU 쌍에서 양방향으로 동시에 복사할 때의 최고 속도를 합한 값이다.",
    );
    let latency = Text::new("Latency of one access", "접근 한 번의 지연");
    let latency_about = Text::new(
        "Time of one load from another GPU's memory, each waiting for the one before.",
        "다른 GPU의 메모리를 앞의 읽기를 기다리며 한 번 읽는 시간이다.",
    );
    let rate = |pick: fn(&PeerLink) -> Option<f64>, title: Text, about: Text| {
        plot(subject, lang, (title, about), (Unit::BytesPerSecond, true), false, pick)
    };
    let plots = [
        rate(|link| Some(link.one_way()?.value.0), one_way, one_way_about),
        plot(subject, lang, (both, both_about), (Unit::BytesPerSecond, true), true, |link| Some(link.both_ways()?.value.0)),
        plot(subject, lang, (latency, latency_about), (Unit::Seconds, false), false, |link| Some(link.latency.as_ref()?.value.0)),
    ];
    plots.into_iter().filter_map(seen).collect()
}

fn plot(
    subject: &Subject<'_>,
    lang: Lang,
    (title, about): (Text, Text),
    (unit, larger_is_better): (Unit, bool),
    symmetric: bool,
    value: fn(&PeerLink) -> Option<f64>,
) -> Plot {
    let gpus: Vec<u32> = subject.run.machine.gpus.iter().map(|gpu| gpu.index).collect();
    let one = |from: u32, to: u32| subject.calibration.peer(from, to).and_then(value);
    // What goes both ways at once is measured once for both orders of a pair.
    let of = |from: u32, to: u32| one(from, to).or_else(|| symmetric.then(|| one(to, from)).flatten());
    // No more pairs are looked up than a matrix shows: a hostile record may name thousands of GPUs.
    let shown = &gpus[..gpus.len().min(MOST)];
    let values = shown.iter().map(|from| shown.iter().map(|to| of(*from, *to)).collect()).collect();
    let matrix = Matrix {
        rows: Text::new("from GPU", "GPU에서").get(lang).to_owned(),
        columns: Text::new("to GPU", "GPU로").get(lang).to_owned(),
        labels: gpus.iter().map(u32::to_string).collect(),
        values,
        unit,
        larger_is_better,
    };
    Plot::new(title.get(lang), about.get(lang), Form::Matrix(matrix), lang)
}

/// GPUs on either side.
const MOST: usize = 64;
