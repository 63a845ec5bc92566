//! `model`: what a model consists of.

use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::{Common, Format, Status, catalog_of, print, print_tables};
use crate::catalog::Shelf;
use crate::error::Result;
use crate::report;
use crate::workload::{Model, named};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A Hugging Face config.json, a folder with one, or a model's name in the catalog [default: list the catalog]
    #[arg(value_name = "PATH|NAME")]
    model: Option<String>,
}

pub(super) fn model(common: &Common, arguments: &Arguments) -> Result<Status> {
    let Some(given) = &arguments.model else {
        print_tables(&[report::models(&catalog_of(common, &[Shelf::Models])?)], common)?;
        return Ok(Status::Done);
    };
    let model =
        if is_path(given) { Model::from_config_file(Path::new(given))? } else { named(&catalog_of(common, &[Shelf::Models])?, given)? };
    match common.format {
        Format::Json => print(&Facts::of(&model).to_json())?,
        Format::Text | Format::Markdown => print_tables(&report::model(&model, true), common)?,
        _ => print_tables(&report::model(&model, false), common)?,
    }
    Ok(Status::Done)
}

/// Whether a file is meant: one that is there, or one that is called as only a file is. A folder of a model's name that has no configuration
/// in it does not hide the model.
fn is_path(given: &str) -> bool {
    let path = Path::new(given);
    path.is_file() || path.join("config.json").is_file() || given.ends_with(".json") || given.starts_with(['.', '/', '~'])
}

/// What `--format json` says.
#[derive(Serialize)]
struct Facts<'a> {
    architecture: &'a str,
    parameters: u64,
    active_parameters: u64,
    vision_parameters: u64,
    layers: u64,
    hidden: u64,
    heads: u64,
    kv_heads: u64,
    head_dim: u64,
    ffn: u64,
    vocab: u64,
    tied_embeddings: bool,
    kv_bytes_per_token_bf16: u64,
}

impl<'a> Facts<'a> {
    fn of(model: &'a Model) -> Self {
        let shape = model.dimensions();
        Self {
            architecture: &model.architecture,
            parameters: model.parameters(),
            active_parameters: model.active_parameters(),
            vision_parameters: model.vision_parameters(),
            layers: shape.layers,
            hidden: shape.hidden,
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
            ffn: shape.ffn,
            vocab: shape.vocab,
            tied_embeddings: model.text.tied,
            kv_bytes_per_token_bf16: model.kv_bytes_per_token_bf16().0,
        }
    }

    fn to_json(&self) -> String {
        // A family's name comes out of a file; only known ones get here, yet nothing is printed unescaped.
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        format!("{}\n", report::escaped(&text))
    }
}
