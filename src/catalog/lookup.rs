//! Finding a GPU model by what people and drivers call it.
//!
//! Names are compared without case, punctuation and the words every name shares (NVIDIA, GeForce, Tesla, Quadro). In this order: the name
//! nvidia-smi prints; the marketing name, the short name and the aliases; then every model whose names hold all the words given, which must be
//! exactly one. More than one is an error that lists them, since a silent choice between an "A100" of 40 and one of 80 GB would be wrong
//! half of the time.

use super::{Catalog, GpuModel};
use crate::error::{Error, Result};

impl Catalog {
    /// The model that `name` means.
    ///
    /// # Errors
    /// [`Error::Usage`] when no model or more than one answers to it, with the candidates.
    pub fn gpu(&self, name: &str) -> Result<&GpuModel> {
        let wanted = words(name);
        let unknown = || {
            let near = nearest(&self.gpus.iter().collect::<Vec<_>>(), &wanted, held);
            Error::usage(format!("no GPU in the catalog is called {name:?}; the nearest are {}", list(&near)))
        };
        if wanted.is_empty() {
            return Err(unknown());
        }
        if let Some(exact) = self.gpus.iter().find(|gpu| words(&gpu.name) == wanted) {
            return Ok(exact);
        }
        let called: Vec<&GpuModel> = self.gpus.iter().filter(|gpu| names(gpu).any(|name| words(name) == wanted)).collect();
        if let [only] = called[..] {
            return Ok(only);
        }
        let holding: Vec<&GpuModel> = self.gpus.iter().filter(|gpu| holds_all(gpu, &wanted)).collect();
        match holding[..] {
            [only] => Ok(only),
            [] => Err(unknown()),
            _ => Err(Error::usage(format!("{name:?} could be {}; say which", list(&holding)))),
        }
    }

    /// The model of a GPU in a machine, by the driver's name and, where that is not in the catalog, by the PCI id (`10de:2330`). A partition of a
    /// GPU (MIG, vGPU) is no model: its numbers are not the whole board's.
    pub fn device(&self, name: &str, pci_id: Option<&str>) -> Option<&GpuModel> {
        if name.contains(" MIG ") || name.starts_with("GRID ") {
            return None;
        }
        let wanted = words(name);
        let by_name = || self.gpus.iter().find(|gpu| words(&gpu.name) == wanted || gpu.aliases.iter().any(|alias| words(alias) == wanted));
        let device = pci_id.and_then(|id| id.split(':').next_back()).map(str::to_ascii_lowercase);
        let by_id = || device.and_then(|device| self.gpus.iter().find(|gpu| gpu.pci_device_ids.contains(&device)));
        by_name().or_else(by_id)
    }
}

/// The four of `all` that share most with what was asked for: words, or their beginnings.
pub(super) fn nearest<'a, T>(all: &[&'a T], wanted: &[String], held: impl Fn(&T) -> Vec<String>) -> Vec<&'a T> {
    let score = |one: &T| -> usize {
        let held = held(one);
        wanted.iter().map(|word| held.iter().map(|has| common_start(word, has)).max().unwrap_or(0)).sum()
    };
    let mut scored: Vec<(usize, &T)> = all.iter().map(|one| (score(one), *one)).collect();
    scored.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    scored.into_iter().take(4).map(|(_, one)| one).collect()
}

fn common_start(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

fn names(gpu: &GpuModel) -> impl Iterator<Item = &String> {
    [&gpu.marketing_name, &gpu.short_name].into_iter().chain(&gpu.aliases)
}

/// All words of all names of a model.
fn held(gpu: &GpuModel) -> Vec<String> {
    let mut held: Vec<String> = names(gpu).chain([&gpu.name]).flat_map(|name| words(name)).collect();
    held.push(format!("{}gb", gpu.memory.label_gb));
    held.push(gpu.memory.kind.to_lowercase());
    held
}

fn holds_all(gpu: &GpuModel, wanted: &[String]) -> bool {
    let held = held(gpu);
    // "SXM" means whichever SXM the model has; other words must match as a whole, or "L4" would find the L40.
    wanted.iter().all(|word| held.iter().any(|has| has == word || (word == "sxm" && has.starts_with("sxm"))))
}

/// Lower-case words, without those that tell nothing; `80g` and `80 GB` count as `80gb`.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in name.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
        match word {
            "nvidia" | "geforce" | "tesla" | "quadro" | "generation" => {}
            "gb" | "gib" if words.last().is_some_and(|last| is_number(last)) => {
                if let Some(last) = words.last_mut() {
                    last.push_str("gb");
                }
            }
            _ => match word.strip_suffix('g') {
                Some(size) if !size.is_empty() && is_number(size) => words.push(format!("{size}gb")),
                _ => words.push(word.to_owned()),
            },
        }
    }
    words
}

fn list(gpus: &[&GpuModel]) -> String {
    gpus.iter().map(|gpu| gpu.short_name.as_str()).collect::<Vec<_>>().join(", ")
}
