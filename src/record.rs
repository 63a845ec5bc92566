//! The result file: one machine, one JSON file, raw samples.
//!
//! The program is cut in half at this file. Everything before it touches hardware; everything after it reads only this. So the record
//! keeps what was *seen* (raw samples, rejections, telemetry, conditions, waivers, failures), and no derived number at all.
//!
//! A run of some probes keeps what earlier runs found with the others, where they measured in the same way. Then the record says of each
//! such run when it was, with which GPUs, and which probes' outcomes are its (`earlier`); everything else in it is of the last run.
//!
//! It is written to a temporary file beside it and renamed, after every finished case, so a killed run keeps what it had and a reader
//! never sees half a file. It may come from a stranger, so reading is bounded and every number is checked; nothing in it is executed. Its
//! last two fields seal it: a [`Seal`] says whether the file is still what was written, and by whom.

mod seal;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::machine::{Fact, Machine};
use crate::measure::{Case, Measurement, Outcome};
use crate::probe::Effort;

pub use seal::{Found, PublicKey, Seal, Signature, SigningKey};

/// Version of the file format this program writes. Older versions are migrated on reading; newer ones are refused.
pub const SCHEMA_VERSION: u32 = 1;

/// No honest record comes near this size.
const MOST_BYTES: u64 = 64 << 20;

/// A machine and what became of every case that was run on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Version of this format; stands first in the file.
    pub schema_version: u32,
    /// Whether a stand-in driver took the place of hardware: never a measurement of anything real.
    pub simulated: bool,
    /// Neutral, stable name of the machine; also the file's name.
    pub name: String,
    /// The program that measured.
    pub program: Program,
    /// When the run began, RFC 3339, UTC.
    pub started: String,
    /// How it was asked to measure.
    pub settings: Settings,
    /// Earlier runs on this machine whose outcomes of other probes stand in the record too, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<EarlierRun>,
    /// What the machine is.
    pub machine: Machine,
    /// Whether the run came to its end, rather than being stopped or killed.
    pub complete: bool,
    /// Errors that the kernel driver reported about the GPUs measured, in the order seen. An empty list says that there were none.
    #[serde(default = "unheard")]
    pub xids: Fact<Vec<Xid>>,
    /// What became of every case, in the order run; those of earlier runs first.
    pub outcomes: Vec<Outcome>,
    /// `sha256:` and 64 hexadecimal digits: the digest of the file as it would be without this field and the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Who vouches for the digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
}

/// An error of a GPU that the kernel driver reported during a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Xid {
    /// Index of the GPU; of the first measured slice, where the GPU is shared out in slices.
    pub gpu: u32,
    /// NVIDIA's number of the error, such as 79 for a GPU that has fallen off the bus; 999 where NVML does not know it.
    pub code: u32,
    /// The case during which it was seen.
    pub case: Case,
}

/// Records from before XIDs were listened for.
fn unheard() -> Fact<Vec<Xid>> {
    Fact::unknown("the program that wrote the record did not listen for XIDs")
}

/// Which program wrote a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Program {
    /// Version of gpu-assay.
    pub version: String,
    /// Digest over the sources of all kernels.
    pub kernels: String,
}

/// How the last run was asked to measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// How thorough.
    pub effort: Effort,
    /// Probes asked for; empty means all.
    #[serde(default)]
    pub probes: Vec<String>,
    /// Indices of the GPUs measured.
    #[serde(default)]
    pub gpus: Vec<u32>,
    /// Seed of generated data.
    pub seed: u64,
}

/// A run before the last one, of the same program, effort and seed, some of whose outcomes are still in the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EarlierRun {
    /// When it began, RFC 3339, UTC.
    pub started: String,
    /// The probes whose outcomes are its: the first parts of their cases' ids.
    pub probes: Vec<String>,
    /// Indices of the GPUs measured.
    #[serde(default)]
    pub gpus: Vec<u32>,
    /// Whether it came to its end.
    pub complete: bool,
    /// Errors that the kernel driver reported during those probes' cases.
    #[serde(default = "unheard")]
    pub xids: Fact<Vec<Xid>>,
}

impl Run {
    /// The record of both runs: this one's, and before it what `earlier` found with probes other than those `again` names.
    #[must_use]
    pub fn after(&self, earlier: &Self, again: &[String]) -> Self {
        let stays = |probe: &str| !again.iter().any(|other| other == probe);
        let mut runs = earlier.earlier.clone();
        for run in &mut runs {
            run.probes.retain(|probe| stays(probe));
            run.xids = run.xids.clone().map(|xids| of_cases(xids, stays));
        }
        runs.retain(|run| !run.probes.is_empty());
        let kept: Vec<&Outcome> = earlier.outcomes.iter().filter(|outcome| stays(outcome.case().family())).collect();
        let mut probes: Vec<String> = Vec::new();
        for family in kept.iter().map(|outcome| outcome.case().family()) {
            if !probes.iter().chain(runs.iter().flat_map(|run| &run.probes)).any(|known| known == family) {
                probes.push(family.to_owned());
            }
        }
        if !probes.is_empty() {
            let gpus = earlier.settings.gpus.clone();
            let xids = earlier.xids.clone().map(|xids| of_cases(xids, |family| probes.iter().any(|probe| probe == family)));
            runs.push(EarlierRun { started: earlier.started.clone(), probes, gpus, complete: earlier.complete, xids });
        }
        let outcomes = kept.into_iter().chain(&self.outcomes).cloned().collect();
        Self { earlier: runs, outcomes, ..self.clone() }
    }

    /// Every XID seen, of this run and of those before it.
    pub fn every_xid(&self) -> impl Iterator<Item = &Xid> {
        self.earlier.iter().map(|run| &run.xids).chain([&self.xids]).filter_map(Fact::known).flatten()
    }

    /// The measurement of exactly this case.
    pub fn measurement(&self, case: &Case) -> Option<&Measurement> {
        self.measurements().find(|measurement| &measurement.case == case)
    }

    /// All measurements, in the order taken.
    pub fn measurements(&self) -> impl Iterator<Item = &Measurement> {
        self.outcomes.iter().filter_map(Outcome::measured)
    }

    /// All measurements of one mechanism, such as `dram.triad`.
    pub fn of<'a>(&'a self, mechanism: &'a str) -> impl Iterator<Item = &'a Measurement> {
        self.measurements().filter(move |measurement| measurement.case.mechanism() == mechanism)
    }

    /// Replace the outcome of the same case, or append.
    pub fn keep(&mut self, outcome: Outcome) {
        match self.outcomes.iter_mut().find(|kept| kept.case() == outcome.case()) {
            Some(kept) => *kept = outcome,
            None => self.outcomes.push(outcome),
        }
    }

    /// The record as JSON text, with the digest of what it says now. A signature stays only if it still belongs to that.
    ///
    /// # Errors
    /// [`Error::Measurement`] should a number in it not be representable.
    pub fn to_json(&self) -> Result<String> {
        self.to_json_signed(None)
    }

    fn to_json_signed(&self, key: Option<&SigningKey>) -> Result<String> {
        let text = serde_json::to_string_pretty(&self.unsealed()).map_err(|error| Error::measurement("writing the record", error))?;
        seal::sealed(&format!("{text}\n"), key, self.signature.as_ref())
    }

    /// What it says, without digest and signature.
    #[must_use]
    pub fn unsealed(&self) -> Self {
        Self { digest: None, signature: None, ..self.clone() }
    }

    /// Parse and check a record's text. `path` is named in errors.
    ///
    /// # Errors
    /// [`Error::Content`] when the text is not JSON, is truncated, comes from a newer version, or holds impossible values.
    pub fn from_json(text: &str, path: &Path) -> Result<Self> {
        let content = |why: String, remedy: &str| Error::Content { path: path.to_owned(), why, remedy: remedy.to_owned() };
        let value: serde_json::Value = serde_json::from_str(text).map_err(|error| {
            let why = if error.is_eof() { format!("the file ends too early ({error})") } else { format!("not JSON ({error})") };
            content(why, "restore it from a copy or measure again with `gpu-assay measure`")
        })?;
        let version = value
            .get("schema_version")
            .and_then(serde_json::Value::as_u64)
            .ok_or_else(|| content("no schema_version, so not a result file".to_owned(), "give a file that `gpu-assay measure` wrote"))?;
        if version > u64::from(SCHEMA_VERSION) {
            return Err(content(
                format!("schema version {version}, but this program knows versions up to {SCHEMA_VERSION}"),
                "update gpu-assay",
            ));
        }
        let value = migrate(value, version).map_err(|why| content(why, "measure again with `gpu-assay measure`"))?;
        let run: Self = serde_json::from_value(value)
            .map_err(|error| content(error.to_string(), "restore it from a copy or measure again with `gpu-assay measure`"))?;
        run.check().map_err(|why| content(why, "do not use this file: its numbers cannot come from a measurement"))?;
        Ok(run)
    }

    /// Read a record.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read; [`Error::Content`] as [`Self::from_json`], and when it is absurdly large.
    pub fn read(path: &Path) -> Result<Self> {
        let text = String::from_utf8(bytes_of(path)?).map_err(|_| not_a_record(path, "not UTF-8 text"))?;
        Self::from_json(&text, path)
    }

    /// Write the record so that a reader sees the old file or the new one, never a part.
    ///
    /// # Errors
    /// [`Error::File`] when the folder is read-only, the disk is full, …; the old file is then untouched.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, self.to_json()?.as_bytes())
    }

    /// The same, signed.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_signed(&self, path: &Path, key: &SigningKey) -> Result<()> {
        write_atomically(path, self.to_json_signed(Some(key))?.as_bytes())
    }

    /// The JSON schema of the file, from the types.
    ///
    /// # Errors
    /// [`Error::Measurement`] should the schema not be representable.
    pub fn schema() -> Result<String> {
        let mut text =
            serde_json::to_string_pretty(&schemars::schema_for!(Self)).map_err(|error| Error::measurement("writing the schema", error))?;
        text.push('\n');
        Ok(text)
    }

    /// Values no measurement has.
    fn check(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.name.is_empty() || self.name.len() > 100 || !self.name.chars().all(plain) || self.name.starts_with('.') {
            return Err("the machine's name is not one of letters, digits, - and _".to_owned());
        }
        let mut seen = std::collections::HashSet::new();
        for outcome in &self.outcomes {
            if !seen.insert(outcome.case()) {
                return Err(format!("{} stands in it twice", outcome.case()));
            }
        }
        for measurement in self.measurements() {
            let case = &measurement.case;
            if measurement.samples.iter().any(|seconds| !(seconds.is_finite() && *seconds > 0.0)) {
                return Err(format!("{case} has a sample that is no positive time"));
            }
            if measurement.iterations == 0
                || measurement.work.steps == 0
                || !(measurement.work.compute.0.is_finite() && measurement.work.compute.0 >= 0.0)
            {
                return Err(format!("{case} has an impossible amount of work"));
            }
            if !(measurement.trace.is_empty() || measurement.trace.len() == measurement.samples.len()) {
                return Err(format!("{case} has {} points for {} samples", measurement.trace.len(), measurement.samples.len()));
            }
            if measurement.trace.iter().any(|point| point.throttled.values().any(|looks| *looks > point.looks)) {
                return Err(format!("{case} was held back more often than it was looked at"));
            }
        }
        Ok(())
    }
}

/// The bytes of a result file, to be parsed or to have their [`Seal`] examined.
///
/// # Errors
/// [`Error::File`] when it cannot be read; [`Error::Content`] when it is absurdly large.
pub fn bytes_of(path: &Path) -> Result<Vec<u8>> {
    let failed = |source| Error::File { doing: "reading", path: path.to_owned(), source, remedy: "check the path and its permissions" };
    let bytes = read_bounded(path, MOST_BYTES).map_err(failed)?;
    bytes.ok_or_else(|| not_a_record(path, "larger than 64 MiB, so not a result file"))
}

fn not_a_record(path: &Path, why: &str) -> Error {
    Error::Content { path: path.to_owned(), why: why.to_owned(), remedy: "give a file that `gpu-assay measure` wrote".to_owned() }
}

/// The XIDs seen during cases of families that `stay`.
fn of_cases(mut xids: Vec<Xid>, stay: impl Fn(&str) -> bool) -> Vec<Xid> {
    xids.retain(|xid| stay(xid.case.family()));
    xids
}

/// Bring a record of an older version to the current form, one version at a time.
fn migrate(value: serde_json::Value, from: u64) -> Result<serde_json::Value, String> {
    match from {
        1 => Ok(value),
        _ => Err(format!("schema version {from} was never written by any release")),
    }
}

/// Write `bytes` to `path` through a temporary file in the same folder, synced and renamed.
///
/// # Errors
/// [`Error::File`]; the temporary file is removed and an existing file at `path` stays as it was.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let failed = |path: &Path, source| Error::File {
        doing: "writing",
        path: path.to_owned(),
        source,
        remedy: "choose a folder that can be written with -o or --results, or make room",
    };
    fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    // The process id keeps two writers apart; the same writer replaces its own leftover.
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = folder.join(name);
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|source| {
        // Best effort: the error that matters is the first.
        let _ = fs::remove_file(&temporary);
        failed(path, source)
    })
}

/// The bytes of a file; `None` when there are more than `most`.
///
/// # Errors
/// When it cannot be read.
pub fn read_bounded(path: &Path, most: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells "too large" without trusting the file's metadata (pipes, /proc).
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}

/// Every record in a folder, by file name; files that are not records are errors in the list, so none is skipped in silence.
pub fn read_folder(folder: &Path) -> Vec<(PathBuf, Result<Run>)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension().is_some_and(|extension| extension == "json") && path.file_stem().is_some_and(|stem| stem != "schema")
        })
        .collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), Run::read(&path))).collect()
}
