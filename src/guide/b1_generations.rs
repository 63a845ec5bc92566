//! B.1.2: what each generation of GPUs brought.
//!
//! Formats, partitioning and NVLink are not typed in: they are what the boards of a generation have in the catalog, so a generation and its
//! boards cannot tell different stories.

use super::{Input, Section};
use crate::catalog::{Generation, GpuModel};
use crate::lang::Text;
use crate::table::{Cell, Column, Table};

pub(super) const SECTION: Section = Section { id: "B.1.2", title: Text::new("Generations of GPUs", "GPU 세대별 특징"), tables };

fn tables(input: &Input<'_>) -> Vec<Table> {
    vec![generations(input), boards(input)]
}

fn generations(input: &Input<'_>) -> Table {
    let mut table = input.table(
        "B.1.2",
        Text::new("What each generation brought", "세대별 특징"),
        [
            Column::text("generation", input.say(Text::new("generation", "세대"))),
            Column::text("compute_capability", "CC"),
            Column::text("formats", input.say(Text::new("tensor cores compute", "텐서 코어 형식"))),
            Column::text("mig", "MIG"),
            Column::text("nvlink", "NVLink"),
            Column::text("brings", input.say(Text::new("what is new", "새로운 점"))),
        ],
    );
    let here: Vec<(u32, u32)> = input.gpus().iter().filter_map(|here| here.gpu.compute_capability.known().copied()).collect();
    for generation in &input.catalog.generations {
        let mark = if here.iter().any(|&capability| generation.has(capability)) { "▶ " } else { "" };
        let formats: Vec<String> = generation.tensor_formats(input.catalog).iter().map(ToString::to_string).collect();
        table.row([
            Cell::text(format!("{mark}{}", generation.name)),
            Cell::text(generation.compute_capabilities.join(", ")),
            Cell::text(formats.join(" ")),
            Cell::text(partitioning(input, generation)),
            Cell::text(nvlink(input, generation)),
            Cell::text(generation.brings.get(input.lang)),
        ]);
    }
    if !here.is_empty() {
        table.note(input.say(Text::new("▶ marks this machine's GPUs.", "▶는 이 장비의 GPU 세대다.")));
    }
    table.note(input.say(Text::new(
        "Formats, MIG and NVLink are those of the generation's boards in B.1.1; sources are in the catalog.",
        "형식, MIG, NVLink는 B.1.1에 있는 해당 세대 제품의 것이며 출처는 카탈로그에 있다.",
    )));
    table
}

/// Whether its boards can be partitioned.
fn partitioning(input: &Input<'_>, generation: &Generation) -> &'static str {
    let (with, without): (Vec<&GpuModel>, Vec<&GpuModel>) = generation.gpus(input.catalog).partition(|gpu| gpu.mig);
    input.say(match (with.is_empty(), without.is_empty()) {
        (false, true) => Text::new("yes", "지원"),
        (false, false) => Text::new("some boards", "일부 제품"),
        _ => Text::new("no", "없음"),
    })
}

/// The generations of NVLink its boards carry.
fn nvlink(input: &Input<'_>, generation: &Generation) -> String {
    let mut found: Vec<u32> = generation.gpus(input.catalog).filter_map(|gpu| Some(gpu.nvlink?.generation)).collect();
    found.sort_unstable();
    found.dedup();
    if found.is_empty() { "–".to_owned() } else { found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ") }
}

/// Which boards belong to which generation.
fn boards(input: &Input<'_>) -> Table {
    let mut table = input.table(
        "B.1.2",
        Text::new("Boards by generation", "세대별 제품"),
        [
            Column::text("generation", input.say(Text::new("generation", "세대"))),
            Column::number("count", input.say(Text::new("boards", "제품 수"))),
            Column::text("gpus", "GPU"),
        ],
    );
    for generation in &input.catalog.generations {
        let names: Vec<&str> = generation.gpus(input.catalog).map(|gpu| gpu.short_name.as_str()).collect();
        table.row([Cell::text(&generation.name), Cell::count(names.len() as u64), Cell::text(names.join(", "))]);
    }
    table
}
