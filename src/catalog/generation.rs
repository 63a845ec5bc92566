//! What each generation of GPUs brought.

use serde::Deserialize;

use super::{Catalog, Density, Dtype, Engine, GpuModel};
use crate::lang::Lang;

/// A phrase in both languages, as data.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// English.
    pub en: String,
    /// Korean.
    pub ko: String,
}

impl Words {
    /// The version in `lang`.
    pub fn get(&self, lang: Lang) -> &str {
        match lang {
            Lang::En => &self.en,
            Lang::Ko => &self.ko,
        }
    }
}

/// A generation: boards that share an instruction set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// Unique; the architecture, narrowed where one architecture has several instruction sets.
    pub name: String,
    /// The compute capabilities it spans, oldest first.
    pub compute_capabilities: Vec<String>,
    /// What is new against the one before.
    pub brings: Words,
    /// Where that was read.
    pub source: String,
    /// When it was checked, ISO 8601.
    pub date: String,
}

impl Generation {
    /// Whether boards of this compute capability belong to it.
    pub fn has(&self, (major, minor): (u32, u32)) -> bool {
        self.compute_capabilities.contains(&format!("{major}.{minor}"))
    }

    /// Its boards in the catalog.
    pub fn gpus<'a>(&'a self, catalog: &'a Catalog) -> impl Iterator<Item = &'a GpuModel> {
        catalog.gpus.iter().filter(|gpu| self.has(gpu.compute_capability()))
    }

    /// The formats that tensor cores of any of its boards compute, as the boards' peaks say, in the order of [`Dtype`].
    pub fn tensor_formats(&self, catalog: &Catalog) -> Vec<Dtype> {
        let dense = self.gpus(catalog).flat_map(|gpu| &gpu.peaks).filter(|peak| peak.density == Density::Dense);
        let mut formats: Vec<Dtype> = dense.filter(|peak| peak.engine == Engine::Tensor).map(|peak| peak.dtype).collect();
        formats.sort_unstable();
        formats.dedup();
        formats
    }
}

impl Catalog {
    /// The generation of boards with this compute capability.
    pub fn generation(&self, capability: (u32, u32)) -> Option<&Generation> {
        self.generations.iter().find(|generation| generation.has(capability))
    }
}
