//! A model's shape and where its parameters are.

use super::bar;
use crate::catalog::{Catalog, Confidence};
use crate::table::{Cell, Column, Number, Table};
use crate::units::Bytes;
use crate::workload::{Attention, Model};

/// Columns of a bar that shows a whole.
const BAR: usize = 24;
/// The image whose tokens stand for all others: a photograph as cameras and phones pass it on.
const IMAGE: (u64, u64) = (1024, 768);

/// The model in one table, its parameters by module in another, with bars for people if wanted.
pub fn model(model: &Model, bars: bool) -> Vec<Table> {
    vec![shape(model), breakdown(model, bars)]
}

fn shape(model: &Model) -> Table {
    let mut table = Table::new(&model.name, [Column::text("quantity", "quantity"), Column::number("value", "value")]);
    let mut row = |name: &str, cell: Cell| table.row([name.into(), cell]);
    let shape = model.dimensions();
    row("family", Cell::text(&model.architecture));
    row("parameters", count(model.parameters()));
    if model.active_parameters() != model.parameters() {
        row("parameters that one token meets", count(model.active_parameters()));
    }
    if model.text.unused_parameters > 0 {
        row("parameters of its files that are not loaded", count(model.text.unused_parameters));
    }
    row("layers", count(shape.layers));
    row("hidden size", count(shape.hidden));
    row("heads", count(shape.heads));
    row("key-value heads", count(shape.kv_heads));
    row("head dimension", count(shape.head_dim));
    row("FFN width", count(shape.ffn));
    row("vocabulary", count(shape.vocab));
    row("output head is the embedding table", Cell::text(if model.text.tied { "yes" } else { "no" }));
    row("bytes of cache per token in BF16", count(model.kv_bytes_per_token_bf16().0));
    if let Some(window) = model.text.blocks.iter().filter_map(|run| run.block.attention.window()).max() {
        let layers = model.text.blocks.iter().filter(|run| run.block.attention.window().is_some()).map(|run| run.count).sum();
        row("layers with a sliding window", count(layers));
        row("tokens in the window", count(window));
    }
    if let Some(vision) = &model.vision {
        let (width, height) = IMAGE;
        row("layers of the vision tower", count(vision.tower.blocks.iter().map(|run| run.count).sum()));
        row(&format!("patches of an image of {width}x{height}"), count(vision.patches(width, height)));
        row(&format!("tokens of an image of {width}x{height}"), count(vision.tokens(width, height)));
    }
    if model.text.blocks.len() > 1 {
        table.note("Layers are of several kinds; sizes are those of the most numerous.");
    }
    if model.text.blocks.iter().any(|run| matches!(run.block.attention, Attention::Latent(_))) {
        table.note("Keys and values are cached as a latent that all heads share.");
    }
    table
}

fn breakdown(model: &Model, bars: bool) -> Table {
    let mut columns = vec![
        Column::text("module", "module"),
        Column::number("parameters", "parameters"),
        Column::number("bytes", "in BF16"),
        Column::number("share", "share"),
    ];
    if bars {
        columns.push(Column::text("bar", ""));
    }
    let mut table = Table::new("Parameters by module", columns);
    let total = model.parameters();
    for (module, parameters) in model.breakdown() {
        let part = parameters as f64 / total as f64;
        let shown = format!("{:.1} %", 100.0 * part);
        let mut cells = vec![
            Cell::text(module.to_string()),
            count(parameters),
            Cell::plain(Bytes(2 * parameters)),
            Cell::Number(Number { value: part, unit: "", shown, range: None, basis: None, from: Vec::new() }),
        ];
        if bars {
            cells.push(Cell::text(bar(part, BAR).trim_end()));
        }
        table.row(cells);
    }
    table
}

/// The models of a catalog, one a row.
pub fn models(catalog: &Catalog) -> Table {
    let columns = [
        Column::text("name", "name"),
        Column::text("family", "family"),
        Column::number("parameters", "parameters"),
        Column::text("repository", "repository"),
        Column::text("attested", "attested"),
    ];
    let mut table = Table::new("Models of the catalog", columns);
    for row in &catalog.models {
        table.row([
            Cell::text(&row.name),
            Cell::text(row.family()),
            row.parameters.map_or(Cell::Empty, count),
            row.repository.as_deref().map_or(Cell::Empty, Cell::text),
            Cell::text(match row.confidence {
                Confidence::Confirmed => "total confirmed",
                Confidence::Reproduced => "total reproduced",
                _ => "shape only",
            }),
        ]);
    }
    table.note("Names are found whatever their case, hyphens and dots; a repository's name and its part after the slash are names, too.");
    table
}

/// A whole number, in groups of three digits for people.
fn count(value: u64) -> Cell {
    let digits = value.to_string();
    let grouped: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    let shown = grouped.join(",");
    Cell::Number(Number { value: value as f64, unit: "", shown, range: None, basis: None, from: Vec::new() })
}
