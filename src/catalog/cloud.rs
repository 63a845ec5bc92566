//! What clouds ask for machines with GPUs.
//!
//! An **instance** is a machine as one provider sells it, with the price it once had. The written guide's own entries stand among the others,
//! marked; a look-up finds them only where there is nothing newer. Names are matched as those of GPUs are: without case and punctuation, a
//! part of the name where that leaves one, and an error with the candidates where it leaves several.

use serde::Deserialize;

use super::lookup::{self, words};
use super::{Catalog, GpuModel};
use crate::error::{Error, Result};
use crate::figure::{Basis, Figure};
use crate::units::{Bytes, BytesPerSecond, Usd};

/// How an instance is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pricing {
    /// By the hour, whenever it is wanted.
    OnDemand,
    /// By the hour, until somebody else wants it.
    Spot,
    /// Reserved for a block of days.
    CapacityBlock,
    /// Reserved in a calendar.
    Calendar,
    /// RunPod's data centres.
    SecureCloud,
    /// RunPod's hosts of others.
    CommunityCloud,
    /// By the second of use.
    Serverless,
    /// What hosts ask; one of many prices.
    Marketplace,
}

/// How well a price, or a size, is attested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attested {
    /// Read in the provider's list or a copy of it.
    Confirmed,
    /// In somebody's collection.
    Secondhand,
    /// From another entry.
    Derived,
    /// One of many prices asked.
    Range,
    /// From memory alone.
    Recalled,
    /// The written guide's own.
    Guide,
}

/// A machine as a cloud sells it, at a price it once had.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Who sells it.
    pub provider: String,
    /// As the provider calls it.
    pub name: String,
    /// Short name of its GPU in the catalog.
    pub gpu: String,
    /// How many GPUs.
    pub gpus: u32,
    /// Virtual processors.
    pub vcpus: Option<u32>,
    memory_gib: Option<f64>,
    disk_gb: Option<f64>,
    network_gbits: Option<f64>,
    usd_per_hour: f64,
    /// How it is paid for.
    pub pricing: Pricing,
    /// Where the price holds.
    pub region: Option<String>,
    /// When the price held: a year, a month, a day or a span.
    pub as_of: String,
    /// How well the price is attested.
    pub price_confidence: Attested,
    /// How well processors, memory, disk and network are.
    pub size_confidence: Option<Attested>,
    /// Pitfalls.
    pub notes: Option<String>,
    /// Where the price was read.
    pub source: String,
    /// When that was checked, ISO 8601.
    pub date: String,
}

impl Instance {
    /// Whether this is the written guide's own entry, kept to compare.
    pub fn is_guide(&self) -> bool {
        self.price_confidence == Attested::Guide
    }

    /// What an hour of one of its GPUs costs, for comparing.
    pub fn usd_per_gpu_hour(&self) -> f64 {
        self.usd_per_hour / f64::from(self.gpus)
    }

    /// What an hour of the whole instance costs.
    pub fn price_per_hour(&self) -> Figure<Usd> {
        let basis = match self.price_confidence {
            Attested::Guide => Basis::Guide,
            Attested::Confirmed | Attested::Secondhand | Attested::Derived => Basis::Datasheet,
            Attested::Range | Attested::Recalled => Basis::Assumed,
        };
        Figure::new(Usd(self.usd_per_hour), basis, format!("{} ({})", self.source, self.as_of))
    }

    /// Main memory.
    pub fn memory(&self) -> Option<Figure<Bytes>> {
        Some(self.size(Bytes((self.memory_gib? * Bytes::GIB.as_f64()) as u64)))
    }

    /// Local disks.
    pub fn disk(&self) -> Option<Figure<Bytes>> {
        Some(self.size(Bytes((self.disk_gb? * 1e9) as u64)))
    }

    /// What the network carries in one direction for the whole instance.
    pub fn network(&self) -> Option<Figure<BytesPerSecond>> {
        Some(self.size(BytesPerSecond(self.network_gbits? * 1e9 / 8.0)))
    }

    fn size<Q: crate::figure::Quantity>(&self, value: Q) -> Figure<Q> {
        let basis = match self.size_confidence {
            Some(Attested::Recalled | Attested::Range) | None => Basis::Assumed,
            Some(Attested::Guide) => Basis::Guide,
            Some(Attested::Confirmed | Attested::Secondhand | Attested::Derived) => Basis::Datasheet,
        };
        Figure::new(value, basis, format!("{} {}: {}", self.provider, self.name, self.source))
    }

    /// What is impossible about it, if anything.
    pub(super) fn wrong(&self) -> Option<String> {
        let amounts = [
            ("usd_per_hour", Some(self.usd_per_hour)),
            ("memory_gib", self.memory_gib),
            ("disk_gb", self.disk_gb),
            ("network_gbits", self.network_gbits),
        ];
        if let Some((key, Some(value))) = amounts.into_iter().find(|(_, value)| value.is_some_and(|value| !(0.0..=1e9).contains(&value))) {
            return Some(format!("expected {key} of 0 to 1e9 but found {value}"));
        }
        let texts = [("provider", &self.provider), ("name", &self.name), ("as_of", &self.as_of), ("source", &self.source)];
        if let Some((key, _)) = texts.into_iter().find(|(_, text)| text.trim().is_empty()) {
            return Some(format!("expected a {key} but found an empty text"));
        }
        (self.gpus == 0 || self.gpus > 1024).then(|| format!("expected 1 to 1024 gpus but found {}", self.gpus))
    }
}

impl Catalog {
    /// The instance that `provider:type` means: today's entry where there is one, else the written guide's.
    ///
    /// # Errors
    /// [`Error::Usage`] when the text has no colon, or no instance or more than one answers to it, with the candidates.
    pub fn instance(&self, spec: &str) -> Result<&Instance> {
        let Some((provider, name)) = spec.split_once(':') else {
            return Err(Error::usage(format!("expected PROVIDER:TYPE such as aws:p5.48xlarge but found {spec:?}")));
        };
        let wanted = squeezed(provider);
        let of_provider: Vec<&Instance> =
            self.instances.iter().filter(|instance| !wanted.is_empty() && sells(&instance.provider, &wanted)).collect();
        if of_provider.is_empty() {
            let mut known: Vec<&str> = self.instances.iter().map(|instance| instance.provider.as_str()).collect();
            known.sort_unstable();
            known.dedup();
            return Err(Error::usage(format!("no cloud in the catalog is called {provider:?}; it has {}", known.join(", "))));
        }
        let asked = words(name);
        // A spot price is asked for by that word, never by the instance's name.
        let listed = of_provider.iter().filter(|instance| instance.pricing != Pricing::Spot);
        let (guide, today): (Vec<&Instance>, Vec<&Instance>) = listed.partition(|instance| instance.is_guide());
        for among in [&today, &guide] {
            let exact: Vec<&Instance> = among.iter().copied().filter(|instance| words(&instance.name) == asked).collect();
            if let [only] = exact[..] {
                return Ok(only);
            }
            let holding: Vec<&Instance> = among.iter().copied().filter(|instance| holds(instance, &asked)).collect();
            match holding[..] {
                [] => {}
                [only] => return Ok(only),
                _ => return Err(Error::usage(format!("{spec:?} could be {}; say which", list(&holding)))),
            }
        }
        let near = lookup::nearest(&of_provider, &asked, |instance| words(&instance.name));
        Err(Error::usage(format!("no instance of {} in the catalog is called {name:?}; the nearest are {}", near[0].provider, list(&near))))
    }

    /// The spot entry of an instance, where there is one.
    pub fn spot_of(&self, instance: &Instance) -> Option<&Instance> {
        let same = |other: &&Instance| (&other.provider, &other.name, &other.gpu) == (&instance.provider, &instance.name, &instance.gpu);
        self.instances.iter().filter(same).find(|other| other.pricing == Pricing::Spot)
    }

    /// The GPU of an instance.
    ///
    /// # Errors
    /// [`Error::Usage`] when the catalog has no such GPU, which the tests exclude for the built-in entries.
    pub fn gpu_of(&self, instance: &Instance) -> Result<&GpuModel> {
        self.gpu(&instance.gpu)
    }
}

/// Letters and digits only, in lower case: providers are written with and without dots and spaces.
fn squeezed(text: &str) -> String {
    text.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect()
}

/// Whether a provider is called `wanted`: by its name, its beginning, its last word (`oci`), or with a word more (`lambda labs`).
fn sells(provider: &str, wanted: &str) -> bool {
    let whole = squeezed(provider);
    whole.starts_with(wanted) || wanted.starts_with(&whole) || provider.split(' ').any(|word| squeezed(word) == wanted)
}

fn holds(instance: &Instance, asked: &[String]) -> bool {
    let held = words(&instance.name);
    !asked.is_empty() && asked.iter().all(|word| held.contains(word))
}

fn list(instances: &[&Instance]) -> String {
    let mut names: Vec<&str> = instances.iter().map(|instance| instance.name.as_str()).collect();
    names.dedup();
    names.join(", ")
}
