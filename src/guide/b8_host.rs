//! B.8: whether processors and memory suffice for the GPUs.
//!
//! What counts is what this process may use: the processors it may run on and the time its control group grants, not what the hardware has;
//! the memory its control group grants, not what is plugged in. A container with two of 128 cores loads data like a machine with two cores.

use super::{Input, NO_RUN, Section, b8_offload, fact, read};
use crate::figure::{Basis, Figure};
use crate::lang::Text;
use crate::machine::Host;
use crate::table::{Cell, Column, Table};
use crate::units::Bytes;

pub(super) const SECTION: Section = Section { id: "B.8", title: Text::new("CPU and RAM", "CPU와 RAM"), tables };

fn tables(input: &Input<'_>) -> Vec<Table> {
    let usable = input.here.and_then(|(run, _)| usable_memory(&run.machine.host));
    vec![needs(input), b8_offload::table(input, usable.as_ref()), workers(input)]
}

fn guide<Q: crate::figure::Quantity>(value: Q) -> Figure<Q> {
    Figure::new(value, Basis::Guide, "guide B.8")
}

/// A range of the guide's; reaching its lower end counts as following it.
fn guide_range<Q: crate::figure::Quantity>(low: Q, high: Q) -> Figure<Q> {
    Figure { high, ..guide(low) }
}

/// Processors this process may use: the least of what it may run on and what the control group grants.
fn usable_cpus(host: &Host) -> Option<Figure<f64>> {
    let allowed =
        host.cpu.allowed_threads.known().or(host.cpu.threads.known()).map(|&threads| read(f64::from(threads), "sched_getaffinity"));
    let granted = host.cpu.cgroup_cpus.known().copied().flatten().map(|cpus| read(cpus, "control group"));
    super::slowest([allowed, granted].into_iter().flatten())
}

/// Memory this process may use.
fn usable_memory(host: &Host) -> Option<Figure<Bytes>> {
    let total = fact(&host.memory.total, "/proc/meminfo");
    let granted = host.memory.cgroup_limit.known().copied().flatten().map(|limit| read(limit, "control group"));
    super::slowest([total, granted].into_iter().flatten())
}

fn needs(input: &Input<'_>) -> Table {
    let mut table = input.table(
        "B.8",
        Text::new("CPU and RAM beside the guide's demands", "CPU·RAM 권장 사양 점검"),
        [
            Column::text("item", input.say(Text::new("item", "항목"))),
            Column::number("least", input.say(Text::new("least", "최소"))),
            Column::number("recommended", input.say(Text::new("recommended", "권장"))),
            Column::number("here", input.say(Text::new("this machine", "이 장비"))),
            Column::text("finding", input.say(Text::new("finding", "판정"))),
        ],
    );
    let host = input.here.map(|(run, _)| &run.machine.host);
    let cpus = host.and_then(usable_cpus);
    table.row([
        Cell::text(input.say(Text::new("processors this process may use", "사용 가능한 프로세서"))),
        cpu_cell(Some(&guide(8.0))),
        Cell::figure_as(&guide_range(16.0, 32.0), "16–32"),
        cpu_cell(cpus.as_ref()),
        finding(input, cpus.map(|cpus| cpus.value), 8.0, 16.0),
    ]);
    let memory = host.and_then(usable_memory);
    let (least, recommended) = (guide(Bytes::gib(32)), guide_range(Bytes::gib(64), Bytes::gib(128)));
    table.row([
        Cell::text(input.say(Text::new("memory this process may use", "사용 가능한 메모리"))),
        Cell::figure(&least),
        Cell::figure_as(&recommended, "64–128 GiB"),
        Cell::maybe(memory.as_ref()),
        finding(input, memory.as_ref().map(|memory| memory.value.as_f64()), least.value.as_f64(), recommended.value.as_f64()),
    ]);
    let device: Option<Bytes> =
        input.here.map(|(run, _)| run.machine.gpus.iter().filter_map(|gpu| gpu.memory_total.known().copied()).sum());
    let ratio =
        memory.zip(device.filter(|device| device.0 > 0)).map(|(memory, device)| memory.map(|memory| memory.as_f64() / device.as_f64()));
    table.row([
        Cell::text(input.say(Text::new("memory per byte of GPU memory", "GPU 메모리 대비 메모리 비율"))),
        times(Some(&guide(2.0))),
        times(Some(&guide(4.0))),
        times(ratio.as_ref()),
        finding(input, ratio.as_ref().map(|ratio| ratio.value), 2.0, 4.0),
    ]);
    let shm = host.and_then(|host| fact(&host.memory.shm, "statvfs"));
    table.row([Cell::text(input.say(Text::new("/dev/shm", "/dev/shm"))), Cell::Empty, Cell::Empty, Cell::maybe(shm.as_ref())]);
    let triad = input.here.and_then(|(_, calibration)| calibration.host.triad());
    table.row([
        Cell::text(input.say(Text::new("memory bandwidth (triad)", "메모리 대역폭(triad)"))),
        Cell::Empty,
        Cell::Empty,
        Cell::maybe(triad),
    ]);

    if let Some(host) = host {
        let hardware = host.cpu.threads.known().map(|&threads| f64::from(threads));
        let usable = usable_cpus(host).map(|cpus| cpus.value);
        if let Some((hardware, usable)) = hardware.zip(usable).filter(|(hardware, usable)| usable < hardware) {
            table.note(
                Text::new(
                    "Only {} of the machine's {} logical processors may be used here.",
                    "이 환경에서는 논리 프로세서 {}개(전체 {}개)만 쓸 수 있다.",
                )
                .fill(input.lang, &[&usable, &hardware]),
            );
        }
    } else {
        table.note(input.say(NO_RUN));
    }
    table.note(input.say(Text::new(
        "The guide counts cores; with SMT two logical processors share one.",
        "가이드는 물리 코어를 기준으로 한다. SMT가 켜져 있으면 논리 프로세서 둘이 코어 하나를 나누어 쓴다.",
    )));
    table
}

/// Machines the rule is shown for besides this one: usable processors and GPUs.
const EXAMPLES: [(u32, usize); 4] = [(8, 1), (16, 2), (32, 4), (96, 8)];

/// Loader processes by the guide's rule.
fn workers(input: &Input<'_>) -> Table {
    let mut table = input.table(
        "B.8",
        Text::new("DataLoader workers", "DataLoader 워커 수"),
        [
            Column::text("machine", input.say(Text::new("machine", "장비"))),
            Column::number("cpus", input.say(Text::new("usable processors", "사용 가능한 프로세서"))),
            Column::number("gpu_count", "GPU"),
            Column::number("num_workers", input.say(Text::new("workers in all", "전체 워커"))),
            Column::number("per_process", input.say(Text::new("num_workers per process", "프로세스당 num_workers"))),
        ],
    );
    if let Some((run, _)) = input.here
        && let Some(cpus) = usable_cpus(&run.machine.host)
    {
        let gpus = run.machine.gpus.len();
        worker_row(&mut table, input.say(Text::new("▶ this machine", "▶ 이 장비")), cpu_cell(Some(&cpus)), &cpus, gpus);
        if gpus == 0 {
            table.note(input.say(Text::new("Without a GPU the rule is applied for one.", "GPU가 없어 한 개로 가정하여 계산했다.")));
        }
    }
    for (cpus, gpus) in EXAMPLES {
        let example = input.say(Text::new("example", "예시"));
        worker_row(&mut table, example, Cell::count(cpus.into()), &guide(f64::from(cpus)), gpus);
    }
    table.note(input.say(Text::new(
        "Workers in all = min(processors − 2, 4 × GPUs), at least 1: the guide's rule for the machine. DataLoader's num_workers counts for one process, so with a process per GPU each gets its share.",
        "전체 워커 = min(프로세서 − 2, 4 × GPU)이고 최소 1이다(가이드의 장비 단위 규칙). DataLoader의 num_workers는 프로세스 하나의 값이므로, GPU마다 프로세스를 두면 나누어 준다.",
    )));
    table
}

fn worker_row(table: &mut Table, machine: &str, shown: Cell, cpus: &Figure<f64>, gpus: usize) {
    let all = cpus.map(|cpus| f64::from(num_workers(cpus, gpus)));
    let each = all.map(|all| (all / gpus.max(1) as f64).floor().max(1.0));
    let whole = |workers: &Figure<f64>| Cell::figure_as(workers, format!("{:.0}", workers.value));
    table.row([Cell::text(machine), shown, Cell::count(gpus as u64), whole(&all), whole(&each)]);
}

/// The guide's rule, on whole usable processors. At least one worker: zero would load in the training process itself.
fn num_workers(cpus: f64, gpus: usize) -> u32 {
    let spare = (cpus.floor() - 2.0).max(1.0);
    let wanted = 4.0 * gpus.max(1) as f64;
    spare.min(wanted) as u32
}

fn finding(input: &Input<'_>, value: Option<f64>, least: f64, recommended: f64) -> Cell {
    // The memory the kernel reports is a little less than what is plugged in: 3 % below a limit still counts as reaching it.
    const RESERVED: f64 = 0.97;
    let text = match value {
        None => return Cell::Empty,
        Some(value) if value < least * RESERVED => Text::new("too little", "부족"),
        Some(value) if value < recommended * RESERVED => Text::new("enough", "충분"),
        Some(_) => Text::new("as recommended", "권장 충족"),
    };
    Cell::text(input.say(text))
}

fn cpu_cell(cpus: Option<&Figure<f64>>) -> Cell {
    cpus.map_or(Cell::Empty, |cpus| Cell::figure_as(cpus, format!("{}", (cpus.value * 10.0).round() / 10.0)))
}

fn times(ratio: Option<&Figure<f64>>) -> Cell {
    ratio.map_or(Cell::Empty, |ratio| Cell::figure_as(ratio, format!("{:.1}×", ratio.value)))
}

#[cfg(test)]
mod tests {
    use super::num_workers;

    #[test]
    fn workers_follow_processors_and_gpus() {
        for (cpus, gpus, workers) in [(16.0, 1, 4), (16.0, 8, 14), (2.0, 1, 1), (0.5, 1, 1), (4.0, 0, 2), (7.9, 2, 5)] {
            assert_eq!(num_workers(cpus, gpus), workers, "{cpus} processors, {gpus} GPUs");
        }
    }
}
