//! Models by name.

use super::Model;
use crate::catalog::{Catalog, ModelRow};
use crate::error::{Error, Result};

/// Candidates named in an error.
const SHOWN: usize = 8;

/// The catalog's model of that name.
///
/// Names are compared without case and without what separates their parts, so that `qwen2.5 7b`, `Qwen2.5-7B` and `qwen2_5-7b` are one. A
/// full name, alias or repository (`Qwen/Qwen2.5-7B-Instruct`) is taken before a part of one; of two rows with the same name the later is
/// taken, so that a user's row overrides the program's.
///
/// # Errors
/// [`Error::Usage`] listing the candidates where several models are meant, and the nearest names where none is.
pub fn named(catalog: &Catalog, name: &str) -> Result<Model> {
    let row = find(catalog, name)?;
    Model::from_config(&row.name, &row.config())
}

/// The row [`named`] takes.
fn find<'a>(catalog: &'a Catalog, name: &str) -> Result<&'a ModelRow> {
    let wanted = folded(name);
    let shown: String = name.chars().take(60).collect();
    if wanted.is_empty() {
        return Err(Error::usage("expected a model's name but found an empty one; see the list with `gpu-assay model`".to_owned()));
    }
    if let Some(row) = catalog.models.iter().rev().find(|row| row.names().any(|known| folded(known) == wanted)) {
        return Ok(row);
    }
    let mut candidates: Vec<&ModelRow> = Vec::new();
    for row in catalog.models.iter().filter(|row| row.names().any(|known| folded(known).contains(&wanted))) {
        // A later row of the same name stands for the earlier.
        candidates.retain(|earlier| folded(&earlier.name) != folded(&row.name));
        candidates.push(row);
    }
    match candidates.as_slice() {
        [one] => Ok(one),
        [] => Err(Error::usage(format!(
            "the model {shown:?} is not in the catalog; nearest are {}; see all with `gpu-assay model`, or give its config.json with --config",
            nearest(catalog, &wanted).join(", ")
        ))),
        several => {
            let more = several.len().saturating_sub(SHOWN);
            let names: Vec<&str> = several.iter().take(SHOWN).map(|row| row.name.as_str()).collect();
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            Err(Error::usage(format!("the model {shown:?} could be {}{rest}; give one of these names", names.join(", "))))
        }
    }
}

/// A name with only what tells models apart: letters and digits, in lower case.
fn folded(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).take(200).flat_map(char::to_lowercase).collect()
}

/// The names that share the longest beginning with what was typed.
fn nearest<'a>(catalog: &'a Catalog, wanted: &str) -> Vec<&'a str> {
    let shared = |known: &str| folded(known).chars().zip(wanted.chars()).take_while(|(a, b)| a == b).count();
    let mut rows: Vec<(usize, &str)> =
        catalog.models.iter().map(|row| (row.names().map(shared).max().unwrap_or(0), row.name.as_str())).collect();
    // The sort is stable: among equals, the catalog's order.
    rows.sort_by_key(|(shared, _)| std::cmp::Reverse(*shared));
    rows.into_iter().map(|(_, name)| name).take(SHOWN / 2).collect()
}
