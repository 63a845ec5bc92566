//! How much records of one kind differ where nothing is wrong.
//!
//! Samples within a run show the noise of that run and nothing else. What changes from run to run (heat, neighbours, a reboot) is only seen in
//! several runs, and what differs from board to board only in several machines. So two records of one machine are held against the other
//! runs of it that are known, and two machines of one GPU model against the other machines of the model, of which each counts once. The
//! difference that two of these show in 95 of 100 cases is no change: ISO 5725's reproducibility limit, 2.8 standard deviations. The
//! deviation is taken from the 16th and 84th percentile, so that one bad machine among many does not excuse every other.

use super::metrics::{Metrics, Name, Summary};
use crate::catalog::Catalog;
use crate::record::Run;
use crate::stats::Sample;
use crate::verdict::reference::middle;

/// 1.96 · √2: of the difference of two.
const REPRODUCIBILITY: f64 = 2.8;

/// Machines that differ by more are not of one kind, whatever the records say.
const MOST: f64 = 0.10;

/// A record that says how much others of its kind differ.
pub(super) struct Known<'a> {
    pub(super) run: &'a Run,
    pub(super) model: Option<String>,
    pub(super) metrics: Metrics<'a>,
}

impl<'a> Known<'a> {
    pub(super) fn new(run: &'a Run, catalog: &Catalog) -> Self {
        Self { run, model: model(run, catalog), metrics: Metrics::new(run) }
    }

    fn is(&self, other: &Self) -> bool {
        (&self.run.name, &self.run.started) == (&other.run.name, &other.run.started)
    }
}

/// The model of all GPUs of a record; none where they differ or there are none. One that the catalog does not know goes by its own name.
pub(super) fn model(run: &Run, catalog: &Catalog) -> Option<String> {
    let name = |gpu: &crate::machine::Gpu| {
        let found = catalog.device(&gpu.name, gpu.pci_id.known().map(String::as_str));
        found.map_or_else(|| gpu.name.clone(), |model| model.short_name.clone())
    };
    let first = name(run.machine.gpus.first()?);
    run.machine.gpus.iter().all(|gpu| name(gpu) == first).then_some(first)
}

/// Records of the kind of two that are compared, but for these two.
pub(super) struct Kin<'a> {
    /// One group of runs per machine.
    machines: Vec<Vec<&'a Known<'a>>>,
    pub(super) kind: Kind,
}

/// What they have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// They are one and the same run.
    Itself,
    /// Runs of one machine.
    Runs,
    /// Machines of one GPU model.
    Model(String),
    /// Nothing: no spread is known of them.
    Unlike,
}

impl<'a> Kin<'a> {
    pub(super) fn of(before: &Known<'_>, after: &Known<'_>, known: &'a [Known<'a>]) -> Self {
        if before.is(after) {
            return Self { machines: Vec::new(), kind: Kind::Itself };
        }
        let simulated = after.run.simulated;
        let others = known.iter().filter(|other| !other.is(before) && !other.is(after) && other.run.simulated == simulated);
        if before.run.name == after.run.name {
            let runs = others.filter(|other| other.run.name == after.run.name);
            return Self { machines: runs.map(|run| vec![run]).collect(), kind: Kind::Runs };
        }
        let Some(model) = after.model.as_ref().filter(|model| before.model.as_ref() == Some(model)) else {
            return Self { machines: Vec::new(), kind: Kind::Unlike };
        };
        let mut machines: Vec<Vec<&Known<'_>>> = Vec::new();
        let compared = [&before.run.name, &after.run.name];
        for other in others.filter(|other| other.model.as_ref() == Some(model) && !compared.contains(&&other.run.name)) {
            match machines.iter_mut().find(|runs| runs[0].run.name == other.run.name) {
                Some(runs) => runs.push(other),
                None => machines.push(vec![other]),
            }
        }
        Self { machines, kind: Kind::Model(model.clone()) }
    }

    /// How many there are to learn from.
    pub(super) fn count(&self) -> usize {
        self.machines.len()
    }

    /// How much two of them differ, as a share; `None` where fewer than two have measured it.
    pub(super) fn spread(&self, name: &Name, summary: Summary) -> Option<f64> {
        if !name.is_of_gpus() && self.kind != Kind::Runs {
            return None;
        }
        let speed = |runs: &Vec<&Known<'_>>| {
            let speeds: Vec<f64> = runs.iter().filter_map(|known| known.metrics.speed(name, summary)).collect();
            middle(&speeds)
        };
        reproducibility(&self.machines.iter().filter_map(speed).collect::<Vec<f64>>())
    }
}

/// The relative difference of two of these speeds that 95 of 100 pairs stay within.
fn reproducibility(speeds: &[f64]) -> Option<f64> {
    let logarithms = Sample::new(speeds.iter().map(|speed| speed.ln()).collect()).ok()?;
    let deviation = (logarithms.quantile(0.8413) - logarithms.quantile(0.1587)) / 2.0;
    Some((REPRODUCIBILITY * deviation).exp_m1().min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::SplitMix64;

    #[test]
    fn two_of_a_kind_differ_by_more_in_one_of_twenty() {
        let mut random = SplitMix64(9);
        let known: Vec<f64> = (0..400).map(|_| (0.01 * random.normal()).exp()).collect();
        let limit = reproducibility(&known).unwrap();
        let pairs = 20_000;
        let within = (0..pairs).filter(|_| (0.01 * (random.normal() - random.normal())).abs() <= limit.ln_1p()).count();
        let share = within as f64 / f64::from(pairs);
        assert!((0.94..0.96).contains(&share), "{share}");
    }

    #[test]
    fn one_says_nothing_two_say_how_far_they_are_apart_and_a_bad_one_excuses_nobody() {
        assert_eq!(reproducibility(&[1.0]), None);
        let two = reproducibility(&[1.0, 1.02]).unwrap();
        assert!((0.018..0.021).contains(&two), "{two}");
        let good = [1.0, 1.001, 1.002, 1.003, 1.004, 1.005, 1.006];
        let with_a_bad_one: Vec<f64> = good.into_iter().chain([0.5]).collect();
        assert!(reproducibility(&with_a_bad_one).unwrap() < 0.01 && reproducibility(&[1.0, 0.5]) == Some(MOST));
    }
}
