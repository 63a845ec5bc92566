//! Where results lie, which one speaks for this machine, and that only one run measures at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::{Common, results_folder};
use crate::calibrate::choose;
use crate::catalog::{Catalog, GpuModel};
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::record::{Run, read_folder};

/// Held while a run measures; released by the system even when the process is killed.
pub(super) struct Lock {
    _file: File,
}

/// Take the machine-wide lock: two runs at once would measure each other.
pub(super) fn lock() -> Result<Lock> {
    let path = std::env::temp_dir().join("gpu-assay.lock");
    // Another user's lock file can be read and locked, but not opened for writing.
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).or_else(|_| File::open(&path));
    let file = opened.map_err(|source| Error::File {
        doing: "opening the lock",
        path: path.clone(),
        source,
        remedy: "set TMPDIR to a folder that can be written",
    })?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(Error::Unavailable {
            doing: "starting to measure".to_owned(),
            why: format!("another gpu-assay is measuring on this machine (it holds {})", path.display()),
            remedy: "wait until it ends, or end it".to_owned(),
        }),
        // A file system without locks: better an unguarded run than none.
        Err(TryLockError::Error(_)) => Ok(Lock { _file: file }),
    }
}

/// The record asked for with `--calibration`.
pub(super) fn chosen(common: &Common) -> Result<Option<(PathBuf, Run)>> {
    common.calibration.as_ref().map(|path| Run::read(path).map(|run| (path.clone(), run))).transpose()
}

/// This machine's own record in the results folder, if it has one.
pub(super) fn of_machine(common: &Common, machine: &Machine) -> Result<Option<(PathBuf, Run)>> {
    let path = own(&results_folder(common)?, machine);
    if !path.exists() {
        return Ok(None);
    }
    Run::read(&path).map(|run| Some((path, run)))
}

/// Every file in the results folder that looks like a record, read or with the reason why not.
pub(super) fn all(common: &Common) -> Vec<(PathBuf, Result<Run>)> {
    results_folder(common).map(|folder| read_folder(&folder)).unwrap_or_default()
}

/// Records of other machines in the results folder; unreadable ones are left out here and named by `compare`.
pub(super) fn others(common: &Common, except: Option<&Path>) -> Vec<Run> {
    let Ok(folder) = results_folder(common) else { return Vec::new() };
    read_folder(&folder).into_iter().filter(|(path, _)| Some(path.as_path()) != except).filter_map(|(_, run)| run.ok()).collect()
}

/// The record in the results folder that says most about a GPU model. Files that do not name it are not parsed, so that a large folder costs
/// little.
pub(super) fn of_model(common: &Common, catalog: &Catalog, model: &GpuModel) -> Option<Run> {
    let folder = results_folder(common).ok()?;
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let records = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let runs: Vec<Run> = records.filter(|path| names(path, model)).filter_map(|path| Run::read(&path).ok()).collect();
    choose(None, &runs, model, catalog).map(|choice| choice.run.clone())
}

/// Whether a file holds one of a model's names.
fn names(path: &Path, model: &GpuModel) -> bool {
    /// No record is larger; what is, is not read for an estimate.
    const LARGEST: u64 = 64 << 20;
    let small = std::fs::metadata(path).is_ok_and(|metadata| metadata.len() <= LARGEST);
    let named = |text: &str| std::iter::once(&model.name).chain(&model.aliases).any(|name| text.contains(name.as_str()));
    small && std::fs::read_to_string(path).is_ok_and(|text| named(&text))
}

/// The path of this machine's record in `folder`.
pub(super) fn own(folder: &Path, machine: &Machine) -> PathBuf {
    folder.join(format!("{}.json", crate::assay::name(machine)))
}
