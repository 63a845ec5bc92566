//! `records`: the machines in a folder of result files, and the page about them.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Common, Status, catalog_of, complain, print_tables, results_folder};
use crate::catalog::Shelf;
use crate::error::{Error, Result};
use crate::record::{Seal, bytes_of, read_folder, write_atomically};
use crate::report::{self, Entry};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Folder of result files [default: the results folder]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,

    /// Write the folder's Markdown page, with links to the files, instead of printing a table
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn records(common: &Common, arguments: &Arguments) -> Result<Status> {
    let folder = arguments.folder.clone().map_or_else(|| results_folder(common), Ok)?;
    let entries = read(&folder)?;
    let catalog = catalog_of(common, &[Shelf::Gpus])?;
    match &arguments.output {
        Some(path) => write_atomically(path, report::records_page(&entries, &catalog).as_bytes())?,
        None => print_tables(&[report::records(&entries, &catalog)], common)?,
    }
    Ok(Status::Done)
}

/// The records of a folder, by file name. What is no record is said and left out.
fn read(folder: &Path) -> Result<Vec<Entry>> {
    std::fs::read_dir(folder).map_err(|source| Error::File {
        doing: "reading the folder",
        path: folder.to_owned(),
        source,
        remedy: "give a folder of result files",
    })?;
    let mut entries = Vec::new();
    for (path, run) in read_folder(folder) {
        match run {
            Ok(run) => {
                let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                entries.push(Entry { file, run, seal: Seal::of(&bytes_of(&path)?) });
            }
            Err(error) => complain(&format!("left out: {error}")),
        }
    }
    Ok(entries)
}
