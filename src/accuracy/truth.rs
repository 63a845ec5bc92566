//! Reading truth files: CSV with a header, one operation a row.

use std::fs::File;
use std::io::{Read, Take};
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// No truth file is larger; a file that is is a mistake or an attack.
const LARGEST: u64 = 256 << 20;

/// The rows of a CSV file with a header; columns that `T` does not name are ignored.
///
/// # Errors
/// Where the file cannot be read, is larger than 256 MiB, lacks a column, or has a row that does not parse; the text names the line.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let mut rows = open(path)?;
    let mut read = Vec::new();
    for row in rows.deserialize() {
        read.push(row.map_err(|error| content(path, &error.to_string()))?);
    }
    if rows.position().byte() > LARGEST {
        return Err(content(path, &format!("expected at most {} MiB but found more", LARGEST >> 20)));
    }
    Ok(read)
}

/// The names in a file's header.
///
/// # Errors
/// Where the file cannot be read, or its first line is no text.
pub(super) fn columns(path: &Path) -> Result<Vec<String>> {
    let mut rows = open(path)?;
    let header = rows.headers().map_err(|error| content(path, &error.to_string()))?;
    Ok(header.iter().map(str::to_owned).collect())
}

fn open(path: &Path) -> Result<csv::Reader<Take<File>>> {
    let unreadable = |source| Error::File { doing: "reading", path: path.to_owned(), source, remedy: "check the path and its permissions" };
    Ok(csv::Reader::from_reader(File::open(path).map_err(unreadable)?.take(LARGEST + 1)))
}

fn content(path: &Path, why: &str) -> Error {
    Error::Content {
        path: path.to_owned(),
        why: why.replace(['\n', '\r'], " "),
        remedy: "give a CSV file with the columns that `gpu-assay accuracy --help` names".to_owned(),
    }
}
