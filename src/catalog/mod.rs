//! What documents say: vendors' datasheets of GPUs and systems, the standards of links and the price lists of clouds, as data with source and
//! date.
//!
//! Nothing here was measured by this program. A catalog number answers "what was promised", and every one becomes a
//! [`Figure`] on the basis *datasheet* (or *guide*, for the written guide's own numbers, kept beside the right
//! ones). Peaks name their engine, accumulator and density, since one "FP16 TFLOPS" per board is how tables go wrong.
//!
//! The data is TOML inside the program. [`Catalog::embedded`] parses it; a program that needs no catalog number never pays for that. A file of
//! the user's own, in the same form, adds entries or changes some of their values: [`Catalog::with_file`].

mod achieved;
mod cloud;
mod generation;
mod gpu;
mod link;
mod lookup;
mod model;
mod system;
mod user;

pub use achieved::{Achieved, Metric};
pub use cloud::{Attested, Instance, Pricing};
pub use generation::{Generation, Words};
pub use gpu::{
    Accumulator, ClockFacts, Confidence, Density, Dtype, Engine, GpuModel, GuideRow, MemoryFacts, NvlinkFacts, PcieFacts, Peak, Price,
};
pub use link::{Family, Link, Range};
pub use model::{GuideShape, ModelRow};
pub use system::System;

use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::figure::Figure;
use crate::units::BytesPerSecond;

const ACHIEVED: &str = include_str!("achieved.toml");
const GPUS: &str = include_str!("gpus.toml");
const LINKS: &str = include_str!("links.toml");
const MODELS: &str = include_str!("models.toml");
const CLOUDS: &str = include_str!("clouds.toml");
const GENERATIONS: &str = include_str!("generations.toml");
const SYSTEMS: &str = include_str!("systems.toml");

/// Everything documents say.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalog {
    /// GPUs, older ones first.
    pub gpus: Vec<GpuModel>,
    /// Links, by family.
    pub links: Vec<Link>,
    /// Models, by family.
    pub models: Vec<ModelRow>,
    /// What clouds sell, the written guide's entries first.
    pub instances: Vec<Instance>,
    /// Generations of GPUs, older ones first.
    pub generations: Vec<Generation>,
    /// Whole systems, older ones first.
    pub systems: Vec<System>,
    /// What others measured of GPUs.
    pub achieved: Vec<Achieved>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GpuFile {
    gpu: Vec<GpuModel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkFile {
    link: Vec<Link>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelFile {
    model: Vec<ModelRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloudFile {
    instance: Vec<Instance>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GenerationFile {
    generation: Vec<Generation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SystemFile {
    system: Vec<System>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AchievedFile {
    achieved: Vec<Achieved>,
}

/// One of the catalog's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    /// [`Catalog::gpus`].
    Gpus,
    /// [`Catalog::links`].
    Links,
    /// [`Catalog::models`].
    Models,
    /// [`Catalog::instances`].
    Instances,
    /// [`Catalog::generations`].
    Generations,
    /// [`Catalog::systems`].
    Systems,
    /// [`Catalog::achieved`].
    Achieved,
}

impl Shelf {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Gpus, Self::Links, Self::Models, Self::Instances, Self::Generations, Self::Systems, Self::Achieved];
}

impl Catalog {
    /// The catalog that comes with the program.
    ///
    /// # Errors
    /// [`Error::Content`] should the embedded data be malformed, which the tests exclude.
    pub fn embedded() -> Result<Self> {
        Self::embedded_only(&Shelf::ALL)
    }

    /// Only these lists of it, the others empty: for a program that is to answer within milliseconds, most of which is parsing.
    ///
    /// # Errors
    /// [`Error::Content`] as [`Self::embedded`].
    pub fn embedded_only(shelves: &[Shelf]) -> Result<Self> {
        let wants = |shelf| shelves.contains(&shelf);
        Ok(Self {
            gpus: if wants(Shelf::Gpus) { parse::<GpuFile>(GPUS, "gpus.toml")?.gpu } else { Vec::new() },
            links: if wants(Shelf::Links) { parse::<LinkFile>(LINKS, "links.toml")?.link } else { Vec::new() },
            models: if wants(Shelf::Models) { parse::<ModelFile>(MODELS, "models.toml")?.model } else { Vec::new() },
            instances: if wants(Shelf::Instances) { parse::<CloudFile>(CLOUDS, "clouds.toml")?.instance } else { Vec::new() },
            generations: if wants(Shelf::Generations) {
                parse::<GenerationFile>(GENERATIONS, "generations.toml")?.generation
            } else {
                Vec::new()
            },
            achieved: if wants(Shelf::Achieved) { parse::<AchievedFile>(ACHIEVED, "achieved.toml")?.achieved } else { Vec::new() },
            systems: if wants(Shelf::Systems) { parse::<SystemFile>(SYSTEMS, "systems.toml")?.system } else { Vec::new() },
        })
    }

    /// A PCIe link of so many lanes at a generation. Widths that no slot has are not in the catalog.
    pub fn pcie(&self, generation: u32, lanes: u32) -> Option<&Link> {
        let generation = generation.to_string();
        self.links.iter().find(|link| link.family == Family::Pcie && link.generation == generation && link.width == lanes)
    }

    /// What a PCIe link can carry in one direction once the line code is paid for: the ceiling of every copy over it.
    pub fn pcie_ceiling(&self, generation: u32, lanes: u32) -> Option<Figure<BytesPerSecond>> {
        self.pcie(generation, lanes)?.encoded()
    }
}

fn parse<T: serde::de::DeserializeOwned>(text: &str, name: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| Error::Content {
        path: Path::new("the built-in catalog").join(name),
        why: error.to_string().replace('\n', " "),
        remedy: "report this as a defect of gpu-assay".to_owned(),
    })
}

#[cfg(test)]
mod tests;
