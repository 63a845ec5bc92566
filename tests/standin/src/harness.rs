//! For tests and for `tests/standin/run`: puts the shared library where the program will find it, and reads the report afterwards.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use tempfile::TempDir;

use crate::scenario::{Scenario, ScenarioError};
use crate::{SCENARIO, TRACE};

/// File name of the shared library as Cargo builds it.
const LIBRARY: &str = "libgpu_assay_standin.so";

/// A folder in which the stand-in driver goes by the names of the real libraries; gone when dropped.
#[derive(Debug)]
pub struct Standin {
    folder: TempDir,
    file: PathBuf,
    scenario: Scenario,
}

/// What the driver reports when the program ends.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// Calls per exported function.
    pub calls: BTreeMap<String, u64>,
    /// Launches per kernel.
    pub launches: BTreeMap<String, u64>,
    /// Objects that the program had not given back, by kind; kinds with none are listed with zero.
    pub alive: BTreeMap<String, u64>,
    /// Work done.
    pub work: Work,
}

/// Work done in a run.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// Pieces of work whose contents were really done.
    pub executed: u64,
    /// The host's virtual clock at the end.
    pub virtual_ns: f64,
}

impl Trace {
    /// Kinds of objects that leaked.
    #[must_use]
    pub fn leaks(&self) -> Vec<(&str, u64)> {
        self.alive.iter().filter(|(_, count)| **count > 0).map(|(kind, count)| (kind.as_str(), *count)).collect()
    }
}

impl Standin {
    /// Folder of the scenarios that come with this crate.
    #[must_use]
    pub fn scenarios() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
    }

    /// A stand-in for one of the scenarios that come with this crate, e.g. `h200-1x`.
    ///
    /// # Errors
    /// As [`Standin::with_file`].
    pub fn named(scenario: &str) -> Result<Self, ScenarioError> {
        Self::with_file(&Self::scenarios().join(format!("{scenario}.toml")))
    }

    /// A stand-in for a scenario given as text.
    ///
    /// # Errors
    /// As [`Standin::with_file`].
    pub fn with_text(text: &str) -> Result<Self, ScenarioError> {
        let folder = folder()?;
        let file = folder.path().join("scenario.toml");
        std::fs::write(&file, text).map_err(|error| failed("write", &file, &error))?;
        Self::fill(folder, file)
    }

    /// A stand-in for a scenario file.
    ///
    /// # Errors
    /// The scenario is wrong, the shared library was not built, or the folder cannot be made.
    pub fn with_file(file: &Path) -> Result<Self, ScenarioError> {
        Self::fill(folder()?, file.to_owned())
    }

    fn fill(folder: TempDir, file: PathBuf) -> Result<Self, ScenarioError> {
        let scenario = Scenario::load(&file)?;
        let mut library = Self::library()?;
        if !scenario.driver.missing.is_empty() {
            library = without(&library, folder.path(), &scenario.driver.missing)?;
        }
        let mut names = vec!["libcuda.so.1".to_owned(), "libcuda.so".to_owned()];
        if scenario.driver.nvml {
            names.extend(["libnvidia-ml.so.1".to_owned(), "libnvidia-ml.so".to_owned()]);
        }
        if let Some(version) = scenario.driver.cublaslt {
            names.push(format!("libcublasLt.so.{}", version / 10_000));
        }
        if scenario.driver.nccl.is_some() {
            names.push("libnccl.so.2".to_owned());
        }
        for name in names {
            // One file under several names is one library to the loader, so all of them share the driver's state.
            let link = folder.path().join(name);
            symlink(&library, &link).map_err(|error| failed("link", &link, &error))?;
        }
        Ok(Self { folder, file, scenario })
    }

    /// The shared library, sought beside the running program and in the neighbouring folders of Cargo's target directory.
    ///
    /// # Errors
    /// It is not there.
    pub fn library() -> Result<PathBuf, ScenarioError> {
        let program = std::env::current_exe().map_err(|error| ScenarioError::new(format!("where this program is: {error}")))?;
        let mut folders: Vec<PathBuf> = Vec::new();
        for ancestor in program.ancestors().skip(1).take(3) {
            folders.extend([ancestor.to_owned(), ancestor.join("deps")]);
        }
        let found = folders.iter().map(|folder| folder.join(LIBRARY)).find(|file| file.is_file());
        found.ok_or_else(|| {
            ScenarioError::new(format!("{LIBRARY} is not beside {}: run `cargo build -p gpu-assay-standin`", program.display()))
        })
    }

    /// What the stand-in imitates: the truth to compare with.
    #[must_use]
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// The folder with the libraries.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A command that runs `program` on the stand-in machine and leaves a trace.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("LD_LIBRARY_PATH", self.folder.path())
            .env(SCENARIO, &self.file)
            .env(TRACE, self.trace_file())
            .env_remove("CUDA_VISIBLE_DEVICES")
            .env_remove(crate::SEED)
            .env_remove(crate::FAULT);
        command
    }

    /// What the last finished program left behind; `None` if it never called the driver or was killed.
    ///
    /// # Errors
    /// The trace cannot be read.
    pub fn trace(&self) -> Result<Option<Trace>, ScenarioError> {
        let file = self.trace_file();
        match std::fs::read_to_string(&file) {
            Ok(text) => toml::from_str(&text).map(Some).map_err(|error| ScenarioError::new(format!("trace: {error}"))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &file, &error)),
        }
    }

    fn trace_file(&self) -> PathBuf {
        self.folder.path().join("trace.toml")
    }
}

fn folder() -> Result<TempDir, ScenarioError> {
    TempDir::with_prefix("gpu-assay-standin-").map_err(|error| ScenarioError::new(format!("cannot make a folder: {error}")))
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> ScenarioError {
    ScenarioError::new(format!("cannot {what} {}: {error}", path.display()))
}

/// A copy of the library in which some exported names do not resolve: their last letter is changed in the table of names, so that the
/// loader's search by hash finds nothing.
fn without(library: &Path, folder: &Path, missing: &[String]) -> Result<PathBuf, ScenarioError> {
    let mut bytes = std::fs::read(library).map_err(|error| failed("read", library, &error))?;
    for name in missing {
        let wanted: Vec<u8> = [&[0], name.as_bytes(), &[0]].concat();
        let places: Vec<usize> =
            bytes.windows(wanted.len()).enumerate().filter(|(_, window)| *window == wanted).map(|(at, _)| at).collect();
        if places.is_empty() {
            return Err(ScenarioError::new(format!("driver.missing: the stand-in exports no {name}")));
        }
        for at in places {
            bytes[at + name.len()] = b'!';
        }
    }
    let copy = folder.join(LIBRARY);
    std::fs::write(&copy, bytes).map_err(|error| failed("write", &copy, &error))?;
    Ok(copy)
}
