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
            "the model {shown:?} is not in the catalog; nearest are {}; see all with `gpu-assay model`, or give its config.json instead",
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn catalog() -> Catalog {
        Catalog::embedded().unwrap()
    }

    #[test]
    fn every_name_means_one_model_and_finds_it() {
        let catalog = catalog();
        assert!(catalog.models.len() >= 90, "{} models", catalog.models.len());
        let mut owners: HashMap<String, &str> = HashMap::new();
        for row in &catalog.models {
            assert!(row.source.len() > 5 && row.date.parse::<jiff::civil::Date>().is_ok(), "{}", row.name);
            for name in row.names() {
                let owner = owners.entry(folded(name)).or_insert(&row.name);
                assert_eq!(*owner, row.name, "{name} means two models");
                assert_eq!(find(&catalog, name).unwrap().name, row.name);
            }
        }
    }

    #[test]
    fn the_guides_five_models_stand_with_its_own_numbers() {
        let catalog = catalog();
        let five: Vec<_> = catalog.models.iter().filter_map(|row| row.guide.as_ref()).collect();
        assert_eq!(five.len(), 5);
        let internvl = five.iter().find(|shape| shape.name == "InternVL2-26B").unwrap();
        // The guide has no grouped heads here; the model has.
        assert_eq!((internvl.kv_heads, named(&catalog, "internvl2-26b").unwrap().dimensions().kv_heads), (48, 8));
    }

    #[test]
    fn names_are_found_as_people_type_them() {
        let catalog = catalog();
        for (typed, meant) in [
            ("qwen2-vl-7b", "Qwen2-VL-7B"),
            ("QWEN2 VL 7B", "Qwen2-VL-7B"),
            ("Qwen/Qwen2-VL-7B-Instruct", "Qwen2-VL-7B"),
            ("qwen2.5_7b", "Qwen2.5-7B"),
            ("meta-llama/Llama-2-7b-hf", "Llama-2-7B"),
            ("llama3-8b", "Llama-3.1-8B"),
            ("mistral-7b", "Mistral-7B-v0.1"),
            ("235b", "Qwen3-235B-A22B"),
            ("llava-hf/llava-1.5-7b-hf", "LLaVA-1.5-7B"),
        ] {
            assert_eq!(named(&catalog, typed).unwrap().name, meant, "{typed}");
        }
    }

    #[test]
    fn what_is_ambiguous_or_unknown_lists_candidates() {
        let catalog = catalog();
        let said = |name: &str| named(&catalog, name).unwrap_err().to_string();
        assert_eq!(said("llama-3.2"), "the model \"llama-3.2\" could be Llama-3.2-1B, Llama-3.2-3B; give one of these names");
        assert!(said("qwen").contains(" and ") && said("qwen").ends_with("more; give one of these names"));
        assert!(said("mistrel").contains("nearest are Mistral-7B-v0.1"));
        assert!(said(" -- ").contains("an empty one"));
        assert!(said(&"x".repeat(1_000_000)).len() < 400);
    }

    proptest::proptest! {
        #[test]
        fn nothing_typed_makes_it_panic(name in "\\PC{0,40}") {
            static CATALOG: std::sync::OnceLock<Catalog> = std::sync::OnceLock::new();
            let _ = named(CATALOG.get_or_init(catalog), &name);
        }
    }
}
