//! The rooms of the house import one way only: down the road from the hardware to the printed page.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The road. A room may import itself and any room of an earlier line.
const ROAD: &[&[&str]] = &[
    &["units", "stats", "error", "lang", "figure", "table", "plot"],
    &["catalog", "machine"],
    &["workload"],
    &["gpu", "host", "telemetry"],
    &["measure"],
    &["probe"],
    &["record"],
    &["assay"],
    &["calibrate"],
    &["estimate"],
    &["guide", "verdict", "accuracy"],
    &["report"],
    &["cli"],
];

/// The pure half never touches hardware.
const PURE: &[&str] = &["calibrate", "estimate", "guide", "verdict", "accuracy", "report"];
const HARDWARE: &[&str] = &["gpu", "host", "telemetry", "probe", "assay"];

/// Source files; unit tests, in files of their own or not, may look further than the code they test.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

fn room(path: &Path, root: &Path) -> String {
    let first = path.strip_prefix(root).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// Rooms that a source file names with `crate::`, its unit tests left out.
fn imports(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let mut rooms = Vec::new();
    for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for part in line.split("crate::").skip(1) {
            if let Some(group) = part.strip_prefix('{') {
                rooms.extend(
                    group.split(',').map(|item| item.split([':', '}', ' ']).find(|name| !name.is_empty()).unwrap_or("").to_owned()),
                );
            } else {
                rooms.push(part.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap_or("").to_owned());
            }
        }
    }
    rooms
}

fn line_of(room: &str) -> Option<usize> {
    ROAD.iter().position(|rooms| rooms.contains(&room))
}

#[test]
fn imports_point_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = Vec::new();
    let mut seen = BTreeMap::new();
    for file in files {
        let from = room(&file, &root);
        if from == "lib" || from == "main" {
            continue;
        }
        let own = line_of(&from).unwrap_or_else(|| panic!("{} is in no room of the road", file.display()));
        for to in imports(&fs::read_to_string(&file).unwrap()) {
            let Some(other) = line_of(&to) else { continue };
            *seen.entry(from.clone()).or_insert(0) += 1;
            let back = other > own;
            let touches = PURE.contains(&from.as_str()) && HARDWARE.contains(&to.as_str());
            if back || touches {
                wrong.push(format!("{} imports crate::{to}", file.strip_prefix(&root).unwrap().display()));
            }
        }
    }
    assert!(seen.len() >= 8, "the test has found too few rooms to mean anything: {seen:?}");
    assert!(wrong.is_empty(), "against the road:\n{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_imports_sees_every_form() {
    let text = "use crate::units::Bytes;\nuse crate::{error::Error, stats};\nfn f() { crate::gpu::open() }\n// crate::cli\n#[cfg(test)]\nmod tests { use crate::cli; }";
    assert_eq!(imports(text), ["units", "error", "stats", "gpu"]);
}

#[test]
fn unsafe_code_lives_in_two_rooms() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let outside: Vec<_> = files
        .iter()
        .filter(|file| !["gpu", "host"].contains(&room(file, &root).as_str()))
        .filter(|file| {
            let text = fs::read_to_string(file).unwrap();
            text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains("allow(unsafe_code)"))
        })
        .collect();
    // lib.rs opens the two rooms; nothing else may.
    assert!(outside.iter().all(|file| file.ends_with("lib.rs")), "{outside:?}");
}
