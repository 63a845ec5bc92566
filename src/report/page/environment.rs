//! Under what conditions it was measured, and how to repeat it.

use super::{Item, Source, Subject, Topic};
use crate::lang::{Lang, Text};
use crate::measure::Measurement;
use crate::record::{Run, Settings};
use crate::report::inspect;
use crate::table::{Cell, Column, Table};

pub(super) const TOPIC: Topic = Topic {
    id: "environment",
    title: Text::new("Environment", "측정 환경"),
    about: Text::new("What the machine is, and with what it was measured.", "장비의 구성과 측정에 쓴 것들이다."),
    panel: |source, subject| {
        let machine = Item::Folded {
            title: Text::new("What the machine is", "장비 구성").get(source.lang).to_owned(),
            items: inspect(&subject.run.machine, source.lang).into_iter().map(Item::Table).collect(),
        };
        let mut items = vec![Item::Table(measured_with(subject.run, source.lang))];
        let tables = [limits(subject.run, source.lang), conditions(subject.run, source.lang)];
        let [limits, conditions] = tables.map(|table| Some(table).filter(|table| !table.is_empty()));
        items.extend(limits.map(Item::Table));
        items.extend(conditions.map(|table| Item::Folded { title: table.title.clone(), items: vec![Item::Table(table)] }));
        items.push(machine);
        items
    },
};

pub(super) const REPEAT: Topic = Topic {
    id: "repeat",
    title: Text::new("How to repeat it", "다시 측정하는 방법"),
    about: Text::new("On the same machine, with the same version of the program:", "같은 장비에서 같은 버전의 프로그램으로:"),
    panel: repeat,
};

fn repeat(source: &Source<'_>, subject: &Subject<'_>) -> Vec<Item> {
    let mut items = vec![Item::Command(command(&subject.run.settings, subject.run.machine.gpus.len()))];
    if !subject.run.earlier.is_empty() {
        items.push(Item::Words(
            Text::new(
                "The record holds results of {} earlier runs, too; the environment lists them.",
                "기록에는 이전 측정 {}번의 결과도 들어 있으며 측정 환경에 나열했다.",
            )
            .fill(source.lang, &[&subject.run.earlier.len()]),
        ));
    }
    items
}

/// The command line that asks for the same. Words of a stranger's record are taken only where a shell sees nothing in them but a word.
pub(super) fn command(settings: &Settings, gpus: usize) -> String {
    let plain = |word: &&String| !word.is_empty() && word.len() <= 40 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    let mut words = vec!["gpu-assay measure".to_owned()];
    words.extend(settings.probes.iter().filter(plain).take(32).cloned());
    words.push(format!("--effort {}", effort(settings)));
    if settings.gpus.len() < gpus && !settings.gpus.is_empty() {
        let indices: Vec<String> = settings.gpus.iter().take(64).map(u32::to_string).collect();
        words.push(format!("--gpu {}", indices.join(",")));
    }
    words.push(format!("--seed {}", settings.seed));
    words.join(" ")
}

/// The effort as the command line and the record name it.
fn effort(settings: &Settings) -> String {
    match serde_json::to_value(settings.effort) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// Program, kernels, driver, time.
fn measured_with(run: &Run, lang: Lang) -> Table {
    let what = |text: Text| text.get(lang);
    let title = what(Text::new("Measured with", "측정에 쓴 것"));
    let columns = [Column::text("what", what(Text::new("what", "항목"))), Column::text("value", what(Text::new("value", "값")))];
    let mut table = Table::new(title, columns).in_lang(lang);
    let mut row = |name: Text, value: String| table.row([Cell::text(name.get(lang)), Cell::text(value)]);
    let driver = &run.machine.driver;
    let known =
        |fact: &crate::machine::Fact<String>| fact.known().cloned().unwrap_or_else(|| format!("? ({})", fact.why().unwrap_or_default()));
    row(Text::new("begun", "시작"), run.started.clone());
    row(Text::new("came to its end", "끝까지 진행"), what(if run.complete { YES } else { NO }).to_owned());
    row(Text::new("program", "프로그램"), format!("gpu-assay {}", run.program.version));
    row(Text::new("digest of the kernels' sources", "커널 소스 해시"), run.program.kernels.clone());
    row(Text::new("NVIDIA driver", "NVIDIA 드라이버"), known(&driver.version));
    row(Text::new("CUDA that the driver speaks", "드라이버가 지원하는 CUDA"), known(&driver.cuda_version));
    for library in run.machine.libraries.iter().filter(|library| library.path.is_some()).take(16) {
        row(Text::new("library found", "찾은 라이브러리"), library.name.clone());
    }
    row(Text::new("effort", "강도"), effort(&run.settings));
    row(Text::new("seed of generated data", "난수 시드"), run.settings.seed.to_string());
    for earlier in run.earlier.iter().take(16) {
        row(Text::new("earlier run", "이전 측정"), format!("{}: {}", earlier.started, earlier.probes.join(", ")));
    }
    table
}

const YES: Text = Text::new("yes", "예");
const NO: Text = Text::new("no", "아니요");

/// Clocks and power limits of each GPU, as they stood.
fn limits(run: &Run, lang: Lang) -> Table {
    let what = |text: Text| text.get(lang);
    let title = what(Text::new("Clocks and power limits", "클럭과 전력 한도"));
    let columns = [
        Column::text("gpu", "GPU"),
        Column::number("sm_clock", what(Text::new("SM clock, highest", "SM 클럭, 최고"))),
        Column::number("sm_application", what(Text::new("SM clock, application", "SM 클럭, 응용"))),
        Column::number("memory_clock", what(Text::new("memory clock, highest", "메모리 클럭, 최고"))),
        Column::number("power_limit", what(Text::new("power limit", "전력 한도"))),
        Column::number("power_default", what(Text::new("default", "기본값"))),
    ];
    let mut table = Table::new(title, columns).in_lang(lang);
    for gpu in &run.machine.gpus {
        table.row([
            Cell::text(format!("{} {}", gpu.index, gpu.name)),
            known(&gpu.sm_clock.maximum),
            known(&gpu.sm_clock.application),
            known(&gpu.memory_clock.maximum),
            known(&gpu.power.enforced),
            known(&gpu.power.default),
        ]);
    }
    table
}

/// How each mechanism was measured: its first conditions stand for it.
fn conditions(run: &Run, lang: Lang) -> Table {
    let what = |text: Text| text.get(lang);
    let title = what(Text::new("How each was measured", "항목별 측정 방식"));
    let columns = [
        Column::text("mechanism", what(Text::new("mechanism", "측정 항목"))),
        Column::text("conditions", what(Text::new("conditions", "조건"))),
        Column::number("cases", what(Text::new("measurements", "측정 수"))),
    ];
    let mut table = Table::new(title, columns).in_lang(lang);
    let mut seen: Vec<(&Measurement, u64)> = Vec::new();
    for measurement in run.measurements() {
        let room = seen.len() < MOST_MECHANISMS;
        match seen.iter_mut().find(|(first, _)| first.case.mechanism() == measurement.case.mechanism()) {
            Some((_, count)) => *count += 1,
            None if room => seen.push((measurement, 1)),
            None => {}
        }
    }
    for (measurement, count) in seen {
        let conditions: Vec<String> = measurement.conditions.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        table.row([Cell::text(measurement.case.mechanism()), Cell::text(conditions.join(" · ")), Cell::count(count)]);
    }
    table
}

/// The program itself knows thirty.
const MOST_MECHANISMS: usize = 64;

fn known<Q: crate::figure::Quantity>(fact: &crate::machine::Fact<Q>) -> Cell {
    fact.known().map_or(Cell::Empty, |value| Cell::plain(*value))
}
