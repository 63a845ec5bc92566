//! A name for a machine, and a copy of its facts that identifies nobody.
//!
//! Result files are shared. A machine needs a name in them that is stable and tells machines apart, but a UUID is a serial number, a mount
//! point can hold a user's name and a network file system a server's. So identifiers become **digests**: the same GPU gives the same eight
//! digits in every file, and the digits do not lead back to the GPU. The machine's name is made of digests too, so it is the same for the
//! full facts and for the copy without identifiers.

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

use super::{Fact, Gpu, Machine};

/// Digits of a GPU's digest.
const UUID_DIGITS: usize = 8;

/// Folders whose subfolders are named after users.
const FOLDERS_OF_USERS: &[&str] = &["home", "Users", "users", "media"];

impl Machine {
    /// A copy for result files: digests for GPU UUIDs, no server names, no user names in paths. PCI addresses stay: they are the same on every
    /// machine of a kind.
    ///
    /// # Errors
    /// [`Error::Measurement`] when the facts cannot be written as JSON, as they are walked in that form.
    pub fn anonymous(&self) -> Result<Self> {
        let mut copy = self.clone();
        if let Fact::Known(disks) = &mut copy.host.disks {
            for disk in disks.iter_mut() {
                // A source with a slash is a server's export, a mapped device with a host's name, or a path.
                if disk.device.contains('/') || disk.kind == "network" {
                    disk.device = "*".to_owned();
                }
            }
        }
        let failed = |error: serde_json::Error| Error::measurement("removing identifiers from the machine's facts", error);
        let uuids: Vec<(&str, String)> = self.gpus.iter().map(|gpu| (gpu.uuid.as_str(), short_uuid(&gpu.uuid))).collect();
        let mut facts = serde_json::to_value(&copy).map_err(failed)?;
        each_text(&mut facts, &mut |text| {
            for (uuid, short) in uuids.iter().filter(|(uuid, _)| !uuid.is_empty()) {
                if text.contains(uuid) {
                    *text = text.replace(uuid, short);
                }
            }
            if text.contains('/') {
                *text = without_users(text);
            }
        });
        serde_json::from_value(facts).map_err(failed)
    }

    /// A stable, lower-case name fit for a file: `h100-sxm-x8-epyc-9654-3f2a1c`, or `epyc-2c-24g-3f2a1c` without a GPU. The six digits at the
    /// end are a digest over the GPUs' UUIDs, the processor and the memory in GiB.
    pub fn neutral_name(&self) -> String {
        let host = &self.host;
        let model = host.cpu.model.known().map_or("", String::as_str);
        // Kernels differ by some MiB in what they keep to themselves.
        let memory = host.memory.total.known().map_or(0, |total| total.as_gib().round() as u64);
        let threads = host.cpu.threads.known().copied().unwrap_or(0);
        let mut uuids: Vec<String> = self.gpus.iter().map(|gpu| short_uuid(&gpu.uuid)).collect();
        uuids.sort();
        let digits = digest(&format!("{}|{model}|{threads}|{memory}", uuids.join(",")), 6);
        let cpu = short_cpu_name(model);
        match gpus_name(&self.gpus) {
            Some(gpus) => format!("{gpus}-{cpu}-{digits}"),
            None => format!("{cpu}-{threads}c-{memory}g-{digits}"),
        }
    }
}

/// The first `digits` hexadecimal digits of the SHA-256 of `text`.
fn digest(text: &str, digits: usize) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>().chars().take(digits).collect()
}

/// The prefix and a digest of the rest; a UUID that is one already stays.
fn short_uuid(uuid: &str) -> String {
    let (prefix, rest) = uuid.split_once('-').unwrap_or(("GPU", uuid));
    if rest.len() == UUID_DIGITS { uuid.to_owned() } else { format!("{prefix}-{}", digest(rest, UUID_DIGITS)) }
}

fn each_text(value: &mut serde_json::Value, change: &mut dyn FnMut(&mut String)) {
    match value {
        serde_json::Value::String(text) => change(text),
        serde_json::Value::Array(values) => values.iter_mut().for_each(|value| each_text(value, change)),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(|value| each_text(value, change)),
        _ => {}
    }
}

/// The text with `*` for every name in a folder of users. It may be a path or a sentence with paths in it.
fn without_users(text: &str) -> String {
    let mut parts: Vec<String> = text.split('/').map(str::to_owned).collect();
    for position in 1..parts.len() {
        if FOLDERS_OF_USERS.contains(&parts[position - 1].as_str()) && !parts[position].is_empty() {
            // In a sentence the name ends where the path ends.
            let rest =
                parts[position].find([' ', ':', ';', ',', ')', '\'', '"']).map_or(String::new(), |end| parts[position][end..].to_owned());
            parts[position] = format!("*{rest}");
        }
    }
    parts.join("/")
}

/// Name and number of the GPUs; `None` without any.
fn gpus_name(gpus: &[Gpu]) -> Option<String> {
    let name = short_gpu_name(&gpus.first()?.name);
    let alike = gpus.iter().all(|gpu| short_gpu_name(&gpu.name) == name);
    Some(format!("{}-x{}", if alike { name.as_str() } else { "mixed" }, gpus.len()))
}

/// Lower-case words of letters and digits.
fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn joined(words: &[String], otherwise: &str) -> String {
    if words.is_empty() { otherwise.to_owned() } else { words.join("-") }
}

/// `h100-sxm` of `NVIDIA H100 80GB HBM3`: without maker, family and memory size. The H100 and H800 name the SXM board by its memory only.
fn short_gpu_name(name: &str) -> String {
    const LEFT_OUT: &[&str] = &["nvidia", "geforce", "tesla", "quadro", "generation", "edition", "graphics", "device"];
    let is_size = |word: &str| word.strip_suffix("gb").is_some_and(|size| !size.is_empty() && size.chars().all(|c| c.is_ascii_digit()));
    let mut short: Vec<String> = Vec::new();
    for word in words(name) {
        let in_slice = short.iter().any(|word| word == "mig");
        let by_memory = word == "hbm3" && short.iter().any(|word| word == "h100" || word == "h800");
        if by_memory || word.strip_prefix("sxm").is_some_and(|version| version.chars().all(|c| c.is_ascii_digit())) {
            short.push("sxm".to_owned());
        } else if !(LEFT_OUT.contains(&word.as_str()) || word.starts_with("hbm") || is_size(&word) && !in_slice) {
            short.push(word);
        }
    }
    joined(&short, "gpu")
}

/// `epyc-9654` of `AMD EPYC 9654 96-Core Processor`: without maker, marks, core count and clock.
fn short_cpu_name(model: &str) -> String {
    const LEFT_OUT: &[&str] = &["amd", "intel", "nvidia", "arm", "ampere", "cpu", "processor", "gen", "with", "virtual", "r", "tm"];
    let mut depth = 0_u32;
    let outside: String = model
        .chars()
        .filter_map(|c| match c {
            '(' => {
                depth += 1;
                Some(' ')
            }
            ')' => {
                depth = depth.saturating_sub(1);
                None
            }
            c => (depth == 0).then_some(c),
        })
        .collect();
    let plain = outside.split('@').next().unwrap_or_default();
    let kept = plain.split_whitespace().filter(|word| {
        let word = word.to_lowercase();
        let ordinal = word.strip_suffix("th").is_some_and(|number| number.chars().all(|c| c.is_ascii_digit()));
        !(word.ends_with("-core") || word.ends_with("-cores") || ordinal)
    });
    let short: Vec<String> = kept.flat_map(words).filter(|word| !LEFT_OUT.contains(&word.as_str())).take(4).collect();
    joined(&short, "cpu")
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
