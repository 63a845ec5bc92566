//! Recorded machines side by side, and the page that a folder of records is published with.
//!
//! The page is made from the files alone, so that it cannot say what they do not; its table is the same as at the terminal, with links.

use super::markdown::grid;
use super::words::legend;
use crate::calibrate::{Calibration, GpuCalibration};
use crate::catalog::{Catalog, Dtype, GpuModel};
use crate::figure::{Figure, Quantity, Share};
use crate::record::{Found, Run, Seal};
use crate::table::{Cell, Column, Table};

const HEAD: &str = "\
# Measured machines

One file per machine, as `gpu-assay measure` wrote it: raw samples, conditions, telemetry, waivers. The format is in
[schema.json](schema.json), generated from the program's types. Names are neutral and stable; identifiers are digests. Percentages are of the
datasheet, for the slowest GPU of the machine.

";

const FOOT: &str = "
Commands on a file: `gpu-assay guide --calibration FILE` prints the guide with its numbers, `gpu-assay verify FILE` says whether it is what was
written, `gpu-assay export FILE --to openmetrics` hands its numbers to other programs. `gpu-assay records DIR -o README.md` writes this page.
";

/// A record and what was found about its file.
pub struct Entry {
    /// The file's name within its folder.
    pub file: String,
    /// What it says.
    pub run: Run,
    /// Whether that is what was written.
    pub seal: Seal,
}

/// One row per machine.
pub fn records(entries: &[Entry], catalog: &Catalog) -> Table {
    let columns = [
        Column::text("machine", "machine"),
        Column::text("gpus", "GPUs"),
        Column::number("dram_copy", "DRAM copy"),
        Column::number("bf16", "BF16"),
        Column::text("host", "host"),
        Column::text("effort", "effort"),
        Column::text("date", "date"),
        Column::text("program", "program"),
        Column::text("digest", "digest"),
        Column::text("signed_by", "signed by"),
    ];
    let mut table = Table::new("Recorded machines", columns);
    for entry in entries {
        table.row(row(entry, catalog));
    }
    table
}

/// The Markdown page of a folder with these records.
pub fn records_page(entries: &[Entry], catalog: &Catalog) -> String {
    let table = records(entries, catalog);
    let mut links = entries.iter();
    let mut page = HEAD.to_owned();
    grid(&mut page, &table, |name| links.next().map_or_else(|| name.clone(), |entry| format!("[{name}]({})", address(&entry.file))));
    if let Some(legend) = legend(&table.bases(), table.lang) {
        page.push_str(&format!("\n{legend}\n"));
    }
    page + FOOT
}

fn row(entry: &Entry, catalog: &Catalog) -> [Cell; 10] {
    let run = &entry.run;
    let calibration = Calibration::from_run(run);
    let copy = |gpu: &GpuCalibration, model: &GpuModel| Some(gpu.dram.get("copy")?.share_of(&model.bandwidth()));
    let bf16 = |gpu: &GpuCalibration, model: &GpuModel| Some(gpu.matmul_best("bf16")?.rate.share_of(&model.matmul_peak(Dtype::Bf16)?));
    [
        Cell::text(&run.name),
        Cell::text(gpus(run)),
        Cell::maybe(slowest(&calibration, catalog, copy).as_ref()),
        Cell::maybe(slowest(&calibration, catalog, bf16).as_ref()),
        Cell::text(host(run)),
        Cell::text(run.settings.effort.to_string()),
        Cell::text(run.started.split('T').next().unwrap_or_default()),
        Cell::text(&run.program.version),
        Cell::text(entry.seal.digest.to_string()),
        signed_by(&entry.seal),
    ]
}

/// The least share of the datasheet over the GPUs on which it is known.
fn slowest(
    calibration: &Calibration,
    catalog: &Catalog,
    share: impl Fn(&GpuCalibration, &GpuModel) -> Option<Figure<Share>>,
) -> Option<Figure<Share>> {
    let shares = calibration.gpus.iter().filter_map(|gpu| share(gpu, gpu.model(catalog)?));
    shares.reduce(|least, other| if other.value.base() < least.value.base() { other } else { least })
}

/// Such as `8× NVIDIA H200`; different models one after another.
fn gpus(run: &Run) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for gpu in &run.machine.gpus {
        match counts.iter_mut().find(|(name, _)| *name == gpu.name) {
            Some((_, count)) => *count += 1,
            None => counts.push((&gpu.name, 1)),
        }
    }
    let named: Vec<String> =
        counts.into_iter().map(|(name, count)| if count == 1 { name.to_owned() } else { format!("{count}× {name}") }).collect();
    let simulated = if run.simulated { " (SIMULATED)" } else { "" };
    if named.is_empty() { "none".to_owned() } else { format!("{}{simulated}", named.join(", ")) }
}

/// Such as `AMD EPYC, 2 processors, 23.54 GiB, kvm`; what is not known is left out.
fn host(run: &Run) -> String {
    let host = &run.machine.host;
    let parts = [
        host.cpu.model.known().cloned(),
        host.cpu.allowed_threads.known().map(|threads| format!("{threads} processors")),
        host.memory.total.known().map(|total| total.approximate()),
        host.hypervisor.known().filter(|name| *name != "none").cloned(),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn signed_by(seal: &Seal) -> Cell {
    match (&seal.signature, seal.signed_by) {
        (Found::Right, Some(key)) => Cell::text(key.to_string()),
        (Found::Wrong(_), _) => Cell::text(seal.signature.to_string()),
        _ => Cell::Empty,
    }
}

/// A file's name as a relative address: what Markdown or an address would act on is written in its percent form.
fn address(file: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    file.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
