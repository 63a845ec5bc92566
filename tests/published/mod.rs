//! What other people measured, from a folder outside the repository: `../shared/truth` or `$GPU_ASSAY_TRUTH`.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::print_stdout)]

use std::path::PathBuf;

/// Where a file of that folder is, or `None`, said in one line.
pub fn path(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("GPU_ASSAY_TRUTH")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/truth"), PathBuf::from);
    let path = folder.join(name);
    if !path.is_file() {
        println!("skipped: no measurements at {}; set GPU_ASSAY_TRUTH to their folder", path.display());
        return None;
    }
    Some(path)
}

/// What a file of that folder holds, or `None`, said in one line.
pub fn file(name: &str) -> Option<String> {
    std::fs::read_to_string(path(name)?).ok()
}

/// One published point.
pub struct Point {
    pub kind: String,
    pub model: String,
    pub gpu: String,
    pub gpus: u64,
    pub method: String,
    pub batch: u64,
    pub seq: u64,
    /// Remarks: what the number includes.
    pub other: String,
    pub metric: String,
    pub value: f64,
    pub unit: String,
    pub source: String,
}

/// The points that `keep` keeps, at least one, or `None` where there is no such folder.
pub fn points(keep: impl Fn(&Point) -> bool) -> Option<Vec<Point>> {
    let text = file("points.csv")?;
    let whole = |cell: &str| cell.parse::<f64>().map_or(0, |number| number as u64);
    let points = text.lines().skip(1).map(cells).map(|cells| Point {
        kind: cells[0].clone(),
        model: cells[1].clone(),
        gpu: cells[2].clone(),
        gpus: whole(&cells[3]),
        method: cells[4].clone(),
        batch: whole(&cells[5]),
        seq: whole(&cells[6]),
        other: cells[7].clone(),
        metric: cells[8].clone(),
        value: cells[9].parse().unwrap(),
        unit: cells[10].clone(),
        source: cells[11].clone(),
    });
    let found: Vec<Point> = points.filter(keep).collect();
    assert!(!found.is_empty(), "no such rows in points.csv");
    Some(found)
}

/// Splits one line of comma-separated values with quotes.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            c => cells.last_mut().unwrap().push(c),
        }
    }
    cells
}
