//! What whole systems are rated to draw.

use serde::Deserialize;

use super::{Catalog, Confidence};
use crate::figure::{Basis, Figure};
use crate::units::Watts;

/// A system as its maker sells it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// Unique.
    pub name: String,
    /// Short name of its GPUs' model.
    pub gpu: String,
    /// How many.
    pub gpus: u32,
    max_power_w: f64,
    /// Power supplies as fitted.
    pub supplies: Option<String>,
    /// How well this row is attested.
    pub confidence: Confidence,
    /// Where the numbers were read.
    pub source: String,
    /// When they were checked, ISO 8601.
    pub date: String,
}

impl System {
    /// The most it draws from the mains.
    pub fn max_power(&self) -> Figure<Watts> {
        let recalled = if self.confidence == Confidence::Confirmed { "" } else { " (recalled)" };
        Figure::new(Watts(self.max_power_w), Basis::Datasheet, format!("{}{recalled}", self.source))
    }
}

impl Catalog {
    /// The system with so many GPUs of the model with this short name.
    pub fn system(&self, gpu: &str, gpus: u32) -> Option<&System> {
        self.systems.iter().find(|system| system.gpu == gpu && system.gpus == gpus)
    }
}
