//! A user's catalog file: laying it over the built-in one never panics, and every model of it is a sound one or an error.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use gpu_assay::catalog::Catalog;
use gpu_assay::workload::{Model, named};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    static BUILT_IN: OnceLock<Catalog> = OnceLock::new();
    let built_in = BUILT_IN.get_or_init(|| Catalog::embedded().expect("the built-in catalog"));
    let catalog = match built_in.clone().with_text(text, Path::new("fuzz.toml")) {
        Ok(catalog) => catalog,
        Err(error) => {
            assert_eq!(error.exit_code(), 2);
            return;
        }
    };
    for row in &catalog.models[built_in.models.len()..] {
        if let Ok(model) = Model::from_config(&row.name, &row.config()) {
            assert!(model.active_parameters() <= model.parameters());
        }
        let _ = named(&catalog, &row.name);
    }
    for gpu in &catalog.gpus[built_in.gpus.len()..] {
        let _ = catalog.gpu(&gpu.name);
    }
});
