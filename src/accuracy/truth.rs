//! Reading truth files: CSV with a header, one operation a row.

use std::fs::File;
use std::io::Read;
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
    let content = |why: String| Error::Content {
        path: path.to_owned(),
        why,
        remedy: "give a CSV file with the columns that `gpu-assay accuracy --help` names".to_owned(),
    };
    let file = File::open(path).map_err(|source| Error::File {
        doing: "reading",
        path: path.to_owned(),
        source,
        remedy: "check the path and its permissions",
    })?;
    let mut rows = csv::Reader::from_reader(file.take(LARGEST + 1));
    let mut read = Vec::new();
    for row in rows.deserialize() {
        read.push(row.map_err(|error| content(error.to_string().replace(['\n', '\r'], " ")))?);
    }
    if rows.position().byte() > LARGEST {
        return Err(content(format!("expected at most {} MiB but found more", LARGEST >> 20)));
    }
    Ok(read)
}
