//! What makes two records' numbers incomparable, so that no difference of theirs is taken for one of the machines.
//!
//! Only what differs is listed. Clocks wander by themselves, so those seen under load differ when they are more than 1 % apart.

use std::collections::BTreeSet;

use serde::Serialize;

use super::spread::Known;
use crate::lang::Text;
use crate::machine::Gpu;
use crate::measure::TelemetrySpan;
use crate::record::Run;
use crate::units::Hertz;

/// One condition, and what it was for each record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Condition {
    /// What scripts call it, such as `driver`.
    pub id: &'static str,
    /// For people.
    #[serde(skip)]
    pub name: Text,
    /// One value per record, in their order.
    pub values: Vec<String>,
}

/// A condition as it is read from one record.
struct Kind {
    id: &'static str,
    name: Text,
    read: fn(&Run) -> String,
}

/// Everything that is compared, in the order in which it is shown.
const KINDS: [Kind; 15] = [
    Kind { id: "simulated", name: Text::new("simulated", "모의"), read: |run| run.simulated.to_string() },
    Kind { id: "program", name: Text::new("program version", "프로그램 버전"), read: |run| run.program.version.clone() },
    Kind { id: "kernels", name: Text::new("kernel digest", "커널 다이제스트"), read: |run| run.program.kernels.clone() },
    Kind { id: "effort", name: Text::new("effort", "측정 강도"), read: effort },
    Kind { id: "complete", name: Text::new("run came to its end", "끝까지 측정"), read: |run| run.complete.to_string() },
    Kind { id: "driver", name: Text::new("driver", "드라이버"), read: |run| known(run.machine.driver.version.known()) },
    Kind {
        id: "cuda",
        name: Text::new("CUDA of the driver", "드라이버의 CUDA"),
        read: |run| known(run.machine.driver.cuda_version.known()),
    },
    Kind { id: "library", name: Text::new("matrix library", "행렬 라이브러리"), read: libraries },
    Kind { id: "gpus", name: Text::new("GPUs", "GPU"), read: gpus },
    Kind { id: "power", name: Text::new("power limit", "전력 제한"), read: |run| each(run, |gpu| known(gpu.power.enforced.known())) },
    Kind { id: "ecc", name: Text::new("ECC", "ECC"), read: |run| each(run, |gpu| known(gpu.ecc.known().map(|ecc| on(ecc.enabled)))) },
    Kind { id: "mig", name: Text::new("MIG", "MIG"), read: |run| each(run, |gpu| known(gpu.mig.known().map(|mig| on(*mig)))) },
    Kind {
        id: "clock.sm",
        name: Text::new("SM clock in products", "행렬곱 중 SM 클럭"),
        read: |run| clock(run, "matmul", |span| span.mean_sm_clock),
    },
    Kind {
        id: "clock.memory",
        name: Text::new("memory clock in transfers", "전송 중 메모리 클럭"),
        read: |run| clock(run, "dram", |span| span.mean_memory_clock),
    },
    Kind { id: "throttled", name: Text::new("clocks held back by", "클럭 제한 사유"), read: throttled },
];

/// The conditions that are not the same in all records.
pub(super) fn differing(records: &[Known<'_>]) -> Vec<Condition> {
    let all = KINDS.iter().map(|kind| {
        let values: Vec<String> = records.iter().map(|known| (kind.read)(known.run)).collect();
        Condition { id: kind.id, name: kind.name, values }
    });
    all.filter(|condition| condition.values.iter().any(|value| differs(&condition.values[0], value))).collect()
}

/// Whether two values are not the same; frequencies are if they are within 1 %.
fn differs(a: &str, b: &str) -> bool {
    match (a.parse::<Hertz>(), b.parse::<Hertz>()) {
        (Ok(a), Ok(b)) => (a.0 - b.0).abs() > 0.01 * a.0.max(b.0),
        _ => a != b,
    }
}

fn known<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| value.to_string())
}

fn on(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

/// The record's word for its effort.
pub(super) fn effort(run: &Run) -> String {
    format!("{:?}", run.settings.effort).to_lowercase()
}

/// Such as `8 × H100`, or a list where they differ.
pub(super) fn gpus(run: &Run) -> String {
    counted(run.machine.gpus.iter().map(|gpu| gpu.name.clone()))
}

/// One value for all GPUs where they agree.
fn each(run: &Run, value: impl Fn(&Gpu) -> String) -> String {
    let values: BTreeSet<String> = run.machine.gpus.iter().map(value).collect();
    joined(values)
}

fn libraries(run: &Run) -> String {
    let library = run.measurements().filter(|m| m.case.get_word("engine") == Some("cublaslt")).filter_map(|m| m.conditions.get("engine"));
    joined(library.cloned().collect())
}

fn throttled(run: &Run) -> String {
    joined(run.measurements().filter_map(|m| m.telemetry.as_ref()).flat_map(|span| span.throttle_reasons.iter().cloned()).collect())
}

/// The mean of a clock over the measurements of a probe in which it was seen.
fn clock(run: &Run, family: &str, clock: fn(&TelemetrySpan) -> Option<Hertz>) -> String {
    let seen: Vec<f64> = run
        .measurements()
        .filter(|m| m.case.family() == family)
        .filter_map(|m| clock(m.telemetry.as_ref()?))
        .map(|clock| clock.0)
        .collect();
    if seen.is_empty() { "unknown".to_owned() } else { Hertz(seen.iter().sum::<f64>() / seen.len() as f64).to_string() }
}

fn joined(values: BTreeSet<String>) -> String {
    if values.is_empty() { "–".to_owned() } else { values.into_iter().collect::<Vec<_>>().join(", ") }
}

fn counted(names: impl Iterator<Item = String>) -> String {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for name in names {
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    let said: Vec<String> = counts.into_iter().map(|(name, count)| if count == 1 { name } else { format!("{count} × {name}") }).collect();
    if said.is_empty() { "–".to_owned() } else { said.join(", ") }
}
