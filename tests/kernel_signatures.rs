//! The host's idea of each kernel's arguments is that of the CUDA source: same kernels, same names, same types, same order.
//!
//! A launch hands over untyped addresses, so a disagreement would not show as an error but as a wrong number.
#![allow(clippy::unwrap_used)] // A failed expectation is a failed test, also in a test's own helpers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use gpu_assay::gpu::declared_kernels;

/// Per kernel, its file and its parameters as (type, name).
type Signatures = BTreeMap<String, (String, Vec<(String, String)>)>;

/// What the sources declare: `KERNEL name(type name, …)`.
fn sources() -> Signatures {
    let mut found = Signatures::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "cu") {
            continue;
        }
        let file = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        for declaration in text.split("\nKERNEL ").skip(1) {
            let (name, rest) = declaration.split_once('(').unwrap();
            let (inside, _) = rest.split_once(')').unwrap();
            let parameters = inside.split(',').map(str::trim).filter(|text| !text.is_empty()).map(parameter).collect();
            assert!(found.insert(name.trim().to_owned(), (file.clone(), parameters)).is_none(), "{name} is declared twice");
        }
    }
    found
}

/// Type and name of one parameter, with one space between the words of the type and none before its star.
fn parameter(text: &str) -> (String, String) {
    let at = text.rfind(|c: char| !c.is_alphanumeric() && c != '_').unwrap() + 1;
    let kind = text[..at].split_whitespace().collect::<Vec<_>>().join(" ").replace(" *", "*");
    (kind, text[at..].to_owned())
}

#[test]
fn every_kernel_is_declared_on_both_sides_alike() {
    let declared: Signatures = declared_kernels()
        .into_iter()
        .map(|(file, name, parameters)| {
            let parameters = parameters.into_iter().map(|p| (p.c_type, p.name.trim_start_matches("r#").to_owned())).collect();
            (name.to_owned(), (file.to_owned(), parameters))
        })
        .collect();
    let sources = sources();
    assert!(sources.len() >= 20, "only {} kernels found in the sources", sources.len());
    for (name, signature) in &sources {
        assert_eq!(declared.get(name), Some(signature), "{name} on the host side");
    }
    for name in declared.keys() {
        assert!(sources.contains_key(name), "{name} has no source");
    }
}

#[test]
fn no_kernel_has_more_arguments_than_a_launch_takes() {
    for (_, name, parameters) in declared_kernels() {
        assert!(parameters.len() <= gpu_assay::gpu::MOST_ARGUMENTS, "{name}");
    }
}
