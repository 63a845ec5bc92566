//! The tables about the machine around the GPUs.

use super::{Draft, FREE, MEMORY, View, bytes, count, same, word};
use crate::lang::Text;
use crate::table::{Cell, Table};
use crate::units::Bytes;

const NO_LIMIT: Text = Text::new("no limit", "제한 없음");
const YES: Text = Text::new("yes", "예");
const NO: Text = Text::new("no", "아니요");
const SMT: Text = Text::new("several threads per core", "코어당 여러 스레드");
const GRANTED: Text = Text::new("processors the control group grants", "컨트롤 그룹이 허용하는 프로세서");
const VECTORS: Text = Text::new("vector extensions", "벡터 확장");
const DISKS: Text = Text::new("Disks", "디스크");
const SIZE: Text = Text::new("size", "크기");

/// The tables, in the order shown.
pub(super) fn tables(view: View<'_>) -> [Table; 4] {
    [host(view), numa(view), disks(view), libraries(view)]
}

fn host(view: View<'_>) -> Table {
    let mut draft = Draft::new(
        view,
        Text::new("Host", "호스트"),
        [view.words("fact", Text::new("fact", "항목")), view.words("value", Text::new("value", "값"))],
    );
    let limit = |limit: &Option<Bytes>| limit.map_or_else(|| Cell::text(view.say(NO_LIMIT)), Cell::plain);
    let (driver, host) = (&view.machine.driver, &view.machine.host);
    let (cpu, memory) = (&host.cpu, &host.memory);
    let mut rows = Vec::new();
    for (fact, value) in [
        (Text::new("NVIDIA driver", "NVIDIA 드라이버"), &driver.version),
        (Text::new("CUDA version of the driver", "드라이버의 CUDA 버전"), &driver.cuda_version),
        (Text::new("NVML version", "NVML 버전"), &driver.nvml_version),
        (Text::new("kernel", "커널"), &host.kernel),
        (Text::new("operating system", "운영 체제"), &host.os),
        (Text::new("container", "컨테이너"), &host.container),
        (Text::new("hypervisor", "하이퍼바이저"), &host.hypervisor),
        (Text::new("processor", "프로세서"), &cpu.model),
    ] {
        rows.push((fact, draft.words(fact, value)));
    }
    rows.push((Text::new("instruction set", "명령어 집합"), word(&cpu.architecture)));
    for (fact, value) in [
        (Text::new("sockets", "소켓"), &cpu.sockets),
        (Text::new("cores", "코어"), &cpu.cores),
        (Text::new("threads", "스레드"), &cpu.threads),
        (Text::new("threads this process may use", "이 프로세스가 쓸 수 있는 스레드"), &cpu.allowed_threads),
    ] {
        rows.push((fact, draft.cell(fact, value, count)));
    }
    rows.push((SMT, draft.cell(SMT, &cpu.smt, |smt| Cell::text(view.say(if *smt { YES } else { NO })))));
    let cpus = |cpus: &Option<f64>| cpus.map_or_else(|| Cell::text(view.say(NO_LIMIT)), Cell::plain);
    rows.push((GRANTED, draft.cell(GRANTED, &cpu.cgroup_cpus, cpus)));
    rows.push((VECTORS, draft.cell(VECTORS, &cpu.isa, |isa| Cell::text(isa.join(" ")))));
    for (fact, value) in
        [(MEMORY, &memory.total), (Text::new("memory available", "사용 가능한 메모리"), &memory.available), (same("/dev/shm"), &memory.shm)]
    {
        rows.push((fact, draft.cell(fact, value, bytes)));
    }
    for (fact, value) in [
        (Text::new("memory the control group grants", "컨트롤 그룹이 허용하는 메모리"), &memory.cgroup_limit),
        (Text::new("memory that may be locked", "잠글 수 있는 메모리"), &memory.memlock),
    ] {
        rows.push((fact, draft.cell(fact, value, limit)));
    }
    for (fact, cell) in rows {
        draft.table.row([Cell::text(view.say(fact)), cell]);
    }
    draft.finish()
}

fn numa(view: View<'_>) -> Table {
    let columns = [
        view.numbers("node", Text::new("node", "노드")),
        view.words("cpus", Text::new("processors", "프로세서")),
        view.numbers("memory", MEMORY),
        view.words("distances", Text::new("distances", "거리")),
        view.words("gpus", Text::new("GPUs", "GPU")),
    ];
    let mut draft = Draft::new(view, Text::new("NUMA nodes", "NUMA 노드"), columns);
    if let Some(why) = view.machine.host.numa.why() {
        draft.reason(Text::new("nodes", "노드"), why);
    }
    for node in view.machine.host.numa.known().into_iter().flatten() {
        let distances: Vec<String> = node.distances.iter().map(u32::to_string).collect();
        let gpus = view.machine.gpus.iter().filter(|gpu| gpu.numa_node.known() == Some(&node.node));
        let gpus: Vec<String> = gpus.map(|gpu| gpu.index.to_string()).collect();
        let memory = draft.cell(MEMORY, &node.memory, bytes);
        draft.table.row([
            count(&node.node),
            Cell::text(ranges(&node.cpus)),
            memory,
            Cell::text(distances.join(" ")),
            Cell::text(gpus.join(" ")),
        ]);
    }
    draft.finish()
}

/// Rising numbers as the kernel writes them: `0-3,8`.
pub(super) fn ranges(numbers: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let texts = runs.into_iter().map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
    texts.collect::<Vec<_>>().join(",")
}

fn disks(view: View<'_>) -> Table {
    let columns = [
        view.words("mount", Text::new("mounted at", "마운트 위치")),
        view.words("device", Text::new("device", "장치")),
        view.words("kind", Text::new("kind", "종류")),
        view.words("file_system", Text::new("file system", "파일 시스템")),
        view.numbers("size", SIZE),
        view.numbers("free", FREE),
    ];
    let mut draft = Draft::new(view, DISKS, columns);
    if let Some(why) = view.machine.host.disks.why() {
        draft.reason(Text::new("disks", "디스크"), why);
    }
    for disk in view.machine.host.disks.known().into_iter().flatten() {
        let (size, free) = (draft.cell(SIZE, &disk.size, bytes), draft.cell(FREE, &disk.free, bytes));
        draft.table.row([word(&disk.mount), word(&disk.device), word(&disk.kind), word(&disk.file_system), size, free]);
    }
    draft.finish()
}

fn libraries(view: View<'_>) -> Table {
    let mut draft = Draft::new(
        view,
        Text::new("Libraries", "라이브러리"),
        [view.words("library", Text::new("library", "라이브러리")), view.words("path", Text::new("found at", "찾은 위치"))],
    );
    for library in &view.machine.libraries {
        draft.table.row([
            word(&library.name),
            library.path.as_deref().map_or_else(|| Cell::text(view.say(Text::new("not found", "찾지 못함"))), word),
        ]);
    }
    if view.machine.libraries.iter().any(|library| library.path.is_none()) {
        draft.table.note(
            view.say(Text::new("--format json lists the folders that were searched", "--format json은 찾아본 폴더를 모두 보여 준다")),
        );
    }
    draft.finish()
}
