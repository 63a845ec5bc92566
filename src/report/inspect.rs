//! A machine's facts as tables, for people: what is here, and of what is not known, why.
//!
//! A fact that could not be read shows as `?`, and the reasons stand below the table, each once with everything it kept from being known.

use crate::machine::{Clocks, Fact, Gpu, Machine, NvLink};
use crate::table::{Cell, Column, Table};
use crate::units::Bytes;

/// Every table of `inspect`; those without rows are left out.
pub fn inspect(machine: &Machine) -> Vec<Table> {
    let tables = [
        gpus(machine),
        identity(machine),
        clocks(machine),
        state(machine),
        between(machine),
        host(machine),
        numa(machine),
        disks(machine),
        libraries(machine),
    ];
    tables.into_iter().filter(|table| !table.is_empty() || !table.notes.is_empty()).collect()
}

/// A table in the making, with the reasons for what is unknown in it.
struct Draft {
    table: Table,
    reasons: Vec<(String, Vec<String>)>,
}

impl Draft {
    fn new(machine: &Machine, title: &str, columns: impl IntoIterator<Item = Column>) -> Self {
        let mark = if machine.driver.simulated { " — SIMULATED, not hardware" } else { "" };
        Self { table: Table::new(format!("{title}{mark}"), columns), reasons: Vec::new() }
    }

    /// The fact's cell, or `?` with the reason kept for the notes.
    fn cell<T>(&mut self, label: &str, fact: &Fact<T>, show: impl FnOnce(&T) -> Cell) -> Cell {
        match fact {
            Fact::Known(value) => show(value),
            Fact::Unknown { unknown } => {
                self.reason(label, unknown);
                Cell::text("?")
            }
        }
    }

    fn words(&mut self, label: &str, fact: &Fact<String>) -> Cell {
        self.cell(label, fact, |text| word(text))
    }

    fn reason(&mut self, label: &str, why: &str) {
        let position = self.reasons.iter().position(|(known, _)| known == why).unwrap_or_else(|| {
            self.reasons.push((why.to_owned(), Vec::new()));
            self.reasons.len() - 1
        });
        if let Some((_, labels)) = self.reasons.get_mut(position)
            && !labels.iter().any(|known| known == label)
        {
            labels.push(label.to_owned());
        }
    }

    fn finish(mut self) -> Table {
        for (why, labels) in self.reasons {
            self.table.note(format!("? {}: {why}", labels.join(", ")));
        }
        self.table
    }
}

fn count(number: &u32) -> Cell {
    Cell::count(u64::from(*number))
}

fn bytes(size: &Bytes) -> Cell {
    Cell::plain(*size)
}

fn word(text: &str) -> Cell {
    Cell::text(text)
}

fn yes_or_no(answer: bool) -> Cell {
    Cell::text(if answer { "yes" } else { "no" })
}

fn gpus(machine: &Machine) -> Table {
    let mut draft = Draft::new(
        machine,
        "GPUs",
        [
            Column::number("gpu", "GPU"),
            Column::text("name", "name"),
            Column::text("compute_capability", "CC"),
            Column::number("sms", "SMs"),
            Column::number("memory", "memory"),
            Column::number("free", "free"),
            Column::number("bus_bits", "bus bits"),
            Column::number("l2", "L2"),
            Column::number("numa_node", "NUMA"),
        ],
    );
    for gpu in &machine.gpus {
        let row = [
            count(&gpu.index),
            word(&gpu.name),
            draft.cell("CC", &gpu.compute_capability, |(major, minor)| Cell::text(format!("{major}.{minor}"))),
            draft.cell("SMs", &gpu.sm_count, count),
            draft.cell("memory", &gpu.memory_total, bytes),
            draft.cell("free", &gpu.memory_free, bytes),
            draft.cell("bus bits", &gpu.memory_bus_bits, count),
            draft.cell("L2", &gpu.l2, bytes),
            draft.cell("NUMA", &gpu.numa_node, count),
        ];
        draft.table.row(row);
    }
    if machine.gpus.is_empty() {
        let why = machine.driver.cuda_version.why().or(machine.driver.version.why()).unwrap_or("the driver lists none");
        draft.table.note(format!("no GPU: {why}"));
    }
    draft.finish()
}

fn identity(machine: &Machine) -> Table {
    let mut draft = Draft::new(
        machine,
        "Identity",
        [
            Column::number("gpu", "GPU"),
            Column::text("uuid", "UUID"),
            Column::text("pci_address", "PCI address"),
            Column::text("pci_id", "PCI id"),
            Column::text("board_id", "board id"),
            Column::text("vbios", "VBIOS"),
        ],
    );
    for gpu in &machine.gpus {
        let row = [
            count(&gpu.index),
            word(&gpu.uuid),
            draft.words("PCI address", &gpu.pci_address),
            draft.words("PCI id", &gpu.pci_id),
            draft.words("board id", &gpu.pci_subsystem_id),
            draft.words("VBIOS", &gpu.vbios),
        ];
        draft.table.row(row);
    }
    draft.finish()
}

fn clocks(machine: &Machine) -> Table {
    let mut draft = Draft::new(
        machine,
        "Clocks and power limits",
        [
            Column::number("gpu", "GPU"),
            Column::number("sm_clock", "SM now"),
            Column::number("sm_clock_maximum", "SM max"),
            Column::number("sm_clock_application", "SM app"),
            Column::number("memory_clock", "memory now"),
            Column::number("memory_clock_maximum", "memory max"),
            Column::number("memory_clock_application", "memory app"),
            Column::number("power_enforced", "power limit"),
            Column::number("power_default", "default"),
            Column::number("power_maximum", "max"),
        ],
    );
    for gpu in &machine.gpus {
        let mut row = vec![count(&gpu.index)];
        for (what, Clocks { current, maximum, application }) in [("SM", &gpu.sm_clock), ("memory", &gpu.memory_clock)] {
            for (kind, clock) in [("now", current), ("max", maximum), ("app", application)] {
                row.push(draft.cell(&format!("{what} {kind}"), clock, |clock| Cell::plain(*clock)));
            }
        }
        for (what, limit) in [("power limit", &gpu.power.enforced), ("default", &gpu.power.default), ("max", &gpu.power.maximum)] {
            row.push(draft.cell(what, limit, |limit| Cell::plain(*limit)));
        }
        draft.table.row(row);
    }
    draft.finish()
}

fn state(machine: &Machine) -> Table {
    let mut draft = Draft::new(
        machine,
        "State",
        [
            Column::number("gpu", "GPU"),
            Column::text("ecc", "ECC"),
            Column::text("ecc_errors", "errors now / ever"),
            Column::text("remapped_rows", "remapped rows"),
            Column::text("mig", "MIG"),
            Column::text("virtualization", "virtual"),
            Column::text("pcie", "PCIe now / max"),
            Column::text("nvlink", "NVLink"),
            Column::text("other_processes", "other processes"),
        ],
    );
    for gpu in &machine.gpus {
        let row = [
            count(&gpu.index),
            draft.cell("ECC", &gpu.ecc, |ecc| Cell::text(if ecc.enabled { "on" } else { "off" })),
            gpu.ecc.known().map_or(Cell::Empty, |ecc| {
                let sum = |corrected: Option<u64>, uncorrected: Option<u64>| match (corrected, uncorrected) {
                    (None, None) => "?".to_owned(),
                    (corrected, uncorrected) => corrected.unwrap_or_default().saturating_add(uncorrected.unwrap_or_default()).to_string(),
                };
                let now = sum(ecc.corrected_volatile, ecc.uncorrected_volatile);
                let ever = sum(ecc.corrected_aggregate, ecc.uncorrected_aggregate);
                Cell::text(format!("{now} / {ever}"))
            }),
            draft.cell("remapped rows", &gpu.remapped_rows, |rows| {
                let states = [(rows.pending, ", pending"), (rows.failed, ", FAILED")];
                let states: String = states.iter().filter(|(holds, _)| *holds).map(|(_, name)| *name).collect();
                Cell::text(format!("{}{states}", rows.corrected.saturating_add(rows.uncorrected)))
            }),
            draft.cell("MIG", &gpu.mig, |on| Cell::text(if *on { "on" } else { "off" })),
            draft.words("virtual", &gpu.virtualization),
            draft.cell("PCIe", &gpu.pcie, |link| {
                let most = |number: Option<u32>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
                let (generation, width) = (most(link.generation_max), most(link.width_max));
                Cell::text(format!("{} x{} / {generation} x{width}", link.generation, link.width))
            }),
            draft.cell("NVLink", &gpu.nvlinks, |links| Cell::text(nvlinks(links))),
            draft.cell("other processes", &gpu.other_processes, |processes| {
                let memory: Bytes = processes.iter().filter_map(|process| process.memory).sum();
                if processes.is_empty() { Cell::text("none") } else { Cell::text(format!("{}, {}", processes.len(), memory.approximate())) }
            }),
        ];
        draft.table.row(row);
    }
    if machine.gpus.iter().any(is_link_idle) {
        draft.table.note("an idle PCIe link runs at a lower generation; what it trains to under load is measured, not inspected");
    }
    draft.finish()
}

fn is_link_idle(gpu: &Gpu) -> bool {
    gpu.pcie.known().is_some_and(|link| link.generation_max.is_some_and(|most| link.generation < most))
}

/// Such as `18 up, version 4, to NVSwitch`.
fn nvlinks(links: &[NvLink]) -> String {
    if links.is_empty() {
        return "none".to_owned();
    }
    let up: Vec<&NvLink> = links.iter().filter(|link| link.active).collect();
    let down = links.len() - up.len();
    let mut text = format!("{} up", up.len());
    if down > 0 {
        text += &format!(", {down} down");
    }
    if let Some(version) = up.iter().find_map(|link| link.version) {
        text += &format!(", version {version}");
    }
    let mut peers: Vec<&str> = up.iter().filter_map(|link| link.peer.as_deref()).collect();
    peers.sort_unstable();
    peers.dedup();
    if !peers.is_empty() {
        text += &format!(", to {}", peers.join(", "));
    }
    text
}

/// Who reaches whom: a row per GPU that accesses, a column per GPU that is accessed.
fn between(machine: &Machine) -> Table {
    let columns = machine.gpus.iter().map(|gpu| Column::text(&format!("to_{}", gpu.index), format!("to {}", gpu.index)));
    let mut draft = Draft::new(machine, "Between GPUs", std::iter::once(Column::number("from", "from")).chain(columns));
    if machine.pairs.is_empty() {
        return draft.table;
    }
    for from in &machine.gpus {
        let mut row = vec![count(&from.index)];
        for to in &machine.gpus {
            let Some(pair) = machine.pairs.iter().find(|pair| (pair.from, pair.to) == (from.index, to.index)) else {
                row.push(Cell::Empty);
                continue;
            };
            if let Some(why) = pair.topology.why() {
                draft.reason("topology", why);
            }
            if let Some(why) = pair.peer_access.why() {
                draft.reason("peer access", why);
            }
            let topology = pair.topology.known().map_or("?", String::as_str);
            let access = match pair.peer_access.known() {
                Some(true) => " P2P",
                Some(false) => " no P2P",
                None => " P2P ?",
            };
            row.push(Cell::text(format!("{topology}{access}")));
        }
        draft.table.row(row);
    }
    draft.table.note(
        "NV and a number: that many NVLink ports; PIX one PCIe switch, PXB several, PHB a host bridge, NODE a NUMA node, SYS across nodes",
    );
    draft.finish()
}

fn host(machine: &Machine) -> Table {
    let mut draft = Draft::new(machine, "Host", [Column::text("fact", "fact"), Column::text("value", "value")]);
    let limit = |limit: &Option<Bytes>| limit.map_or_else(|| Cell::text("no limit"), Cell::plain);
    let (driver, host) = (&machine.driver, &machine.host);
    let (cpu, memory) = (&host.cpu, &host.memory);
    let mut rows = Vec::new();
    for (fact, value) in [
        ("NVIDIA driver", &driver.version),
        ("CUDA version of the driver", &driver.cuda_version),
        ("NVML version", &driver.nvml_version),
        ("kernel", &host.kernel),
        ("operating system", &host.os),
        ("container", &host.container),
        ("hypervisor", &host.hypervisor),
        ("processor", &cpu.model),
    ] {
        rows.push((fact, draft.words(fact, value)));
    }
    rows.push(("instruction set", word(&cpu.architecture)));
    for (fact, value) in [
        ("sockets", &cpu.sockets),
        ("cores", &cpu.cores),
        ("threads", &cpu.threads),
        ("threads this process may use", &cpu.allowed_threads),
    ] {
        rows.push((fact, draft.cell(fact, value, count)));
    }
    rows.push(("several threads per core", draft.cell("several threads per core", &cpu.smt, |smt| yes_or_no(*smt))));
    let cpus = |cpus: &Option<f64>| cpus.map_or_else(|| Cell::text("no limit"), Cell::plain);
    rows.push(("processors the control group grants", draft.cell("processors the control group grants", &cpu.cgroup_cpus, cpus)));
    rows.push(("vector extensions", draft.cell("vector extensions", &cpu.isa, |isa| Cell::text(isa.join(" ")))));
    for (fact, value) in [("memory", &memory.total), ("memory available", &memory.available), ("/dev/shm", &memory.shm)] {
        rows.push((fact, draft.cell(fact, value, bytes)));
    }
    for (fact, value) in [("memory the control group grants", &memory.cgroup_limit), ("memory that may be locked", &memory.memlock)] {
        rows.push((fact, draft.cell(fact, value, limit)));
    }
    for (fact, cell) in rows {
        draft.table.row([Cell::text(fact), cell]);
    }
    draft.finish()
}

fn numa(machine: &Machine) -> Table {
    let columns = [
        Column::number("node", "node"),
        Column::text("cpus", "processors"),
        Column::number("memory", "memory"),
        Column::text("distances", "distances"),
        Column::text("gpus", "GPUs"),
    ];
    let mut draft = Draft::new(machine, "NUMA nodes", columns);
    if let Some(why) = machine.host.numa.why() {
        draft.reason("nodes", why);
    }
    for node in machine.host.numa.known().into_iter().flatten() {
        let distances: Vec<String> = node.distances.iter().map(u32::to_string).collect();
        let gpus = machine.gpus.iter().filter(|gpu| gpu.numa_node.known() == Some(&node.node));
        let gpus: Vec<String> = gpus.map(|gpu| gpu.index.to_string()).collect();
        let memory = draft.cell("memory", &node.memory, bytes);
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
fn ranges(numbers: &[u32]) -> String {
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

fn disks(machine: &Machine) -> Table {
    let columns = [
        Column::text("mount", "mounted at"),
        Column::text("device", "device"),
        Column::text("kind", "kind"),
        Column::text("file_system", "file system"),
        Column::number("size", "size"),
        Column::number("free", "free"),
    ];
    let mut draft = Draft::new(machine, "Disks", columns);
    if let Some(why) = machine.host.disks.why() {
        draft.reason("disks", why);
    }
    for disk in machine.host.disks.known().into_iter().flatten() {
        let (size, free) = (draft.cell("size", &disk.size, bytes), draft.cell("free", &disk.free, bytes));
        draft.table.row([word(&disk.mount), word(&disk.device), word(&disk.kind), word(&disk.file_system), size, free]);
    }
    draft.finish()
}

fn libraries(machine: &Machine) -> Table {
    let mut draft = Draft::new(machine, "Libraries", [Column::text("library", "library"), Column::text("path", "found at")]);
    for library in &machine.libraries {
        draft.table.row([word(&library.name), library.path.as_deref().map_or_else(|| Cell::text("not found"), word)]);
    }
    if machine.libraries.iter().any(|library| library.path.is_none()) {
        draft.table.note("--format json lists the folders that were searched");
    }
    draft.finish()
}

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;
