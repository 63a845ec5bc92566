//! How fast jobs go on boards.
//!
//! Speeds of a board are what was measured of it where it is this machine's, else what a recorded machine with the same GPU says, else what
//! documents do. Working them out takes longer than an estimate with them, so sections share them, and the models as well: they are worked out
//! when the first one asks.

use std::cell::RefCell;
use std::rc::Rc;

use super::Input;
use super::jobs::Board;
use crate::calibrate::Calibration;
use crate::catalog::GpuModel;
use crate::estimate::time::{self, Answer, Software, Speeds, Step};
use crate::figure::Figure;
use crate::table::Cell;
use crate::units::{Seconds, significant};
use crate::workload::{Inference, Model, Training};

/// What was worked out so far.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By what the board is called.
    speeds: RefCell<Vec<(String, Rc<Speeds>)>>,
    /// By name; models that the catalog lacks are not kept.
    models: RefCell<Vec<(String, Model)>>,
}

impl Known {
    /// The model of that name, made by `make` the first time.
    pub(super) fn model(&self, name: &str, make: impl FnOnce() -> Option<Model>) -> Option<Model> {
        let known = self.models.borrow().iter().find(|(known, _)| known == name).map(|(_, model)| model.clone());
        known.or_else(|| {
            let model = make()?;
            self.models.borrow_mut().push((name.to_owned(), model.clone()));
            Some(model)
        })
    }
}

/// What joins GPUs of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// Slots alone.
    Pcie,
    /// NVLink, as the board has it.
    Nvlink,
}

impl Wire {
    pub(super) const BOTH: [Self; 2] = [Self::Pcie, Self::Nvlink];

    /// `model` joined so; `None` where the board has no such link.
    fn of(self, model: &GpuModel) -> Option<GpuModel> {
        match self {
            Self::Pcie => {
                let mut model = model.clone();
                model.nvlink = None;
                Some(model)
            }
            Self::Nvlink => model.nvlink.is_some().then(|| model.clone()),
        }
    }
}

impl Input<'_> {
    /// How fast a board is; `None` where it is not in the catalog.
    pub(super) fn speeds(&self, board: &Board<'_>) -> Option<Rc<Speeds>> {
        let model = board.model?;
        let known = |name: &str| self.known.speeds.borrow().iter().find(|(known, _)| known == name).map(|(_, speeds)| Rc::clone(speeds));
        Some(known(&board.room.gpu).unwrap_or_else(|| {
            let speeds = Rc::new(self.worked_out(model, board.index));
            self.known.speeds.borrow_mut().push((board.room.gpu.clone(), Rc::clone(&speeds)));
            speeds
        }))
    }

    fn worked_out(&self, model: &GpuModel, index: Option<u32>) -> Speeds {
        if let Some((index, (_, calibration))) = index.zip(self.here) {
            // What was measured between GPUs belongs to the link they have, which need not be the board's best.
            let slots = self.wire_here() == Some(Wire::Pcie);
            let joined = if slots { Wire::Pcie.of(model) } else { None };
            return Speeds::calibrated(joined.as_ref().unwrap_or(model), self.catalog, None, calibration, index);
        }
        let is_model = |name: &str| self.catalog.device(name, None).is_some_and(|found| found.name == model.name);
        let of =
            |calibration: &'_ Calibration| calibration.gpus.iter().find(|gpu| !gpu.is_empty() && is_model(&gpu.name)).map(|gpu| gpu.index);
        let mut recorded = self.recorded.iter().filter(|calibration| !calibration.simulated);
        match recorded.find_map(|calibration| Some((calibration, of(calibration)?))) {
            Some((calibration, index)) => Speeds::calibrated(model, self.catalog, None, calibration, index),
            None => Speeds::assumed(model, self.catalog, None),
        }
    }

    /// The same board joined by `wire`: as measured where this machine's GPUs are joined so, else as documents say. `None` where it has no such link.
    pub(super) fn speeds_over(&self, board: &Board<'_>, wire: Wire) -> Option<Speeds> {
        let model = wire.of(board.model?)?;
        let own = self.speeds(board)?;
        let measured = board.index.is_some() && self.wire_here() == Some(wire);
        Some(if measured { (*own).clone() } else { own.relinked(&model, self.catalog) })
    }

    /// What joins this machine's GPUs, where anything was measured between them.
    pub(super) fn wire_here(&self) -> Option<Wire> {
        let (run, calibration) = self.here?;
        let peer = calibration.peers.first()?;
        let pair = run.machine.pairs.iter().find(|pair| (pair.from, pair.to) == (peer.from, peer.to))?;
        Some(if pair.topology.known()?.starts_with("NV") { Wire::Nvlink } else { Wire::Pcie })
    }
}

/// The time of a step with today's software; `None` for settings that cannot be.
pub(super) fn step(model: &Model, training: &Training, speeds: &Speeds) -> Option<Step> {
    time::train(model, training, &Software::training(training), speeds).ok()
}

/// The time of a batch of requests with today's software; `None` for settings that cannot be.
pub(super) fn answer(model: &Model, inference: &Inference, speeds: &Speeds) -> Option<Answer> {
    time::infer(model, inference, &Software::inference(inference), speeds).ok()
}

/// So many of something per second, where all of them take `time`.
pub(super) fn rate(amount: f64, time: &Figure<Seconds>) -> Figure<f64> {
    time.map(|time| amount / time.0)
}

/// Tokens per second of a whole job.
pub(super) fn tokens(step: &Step) -> Figure<f64> {
    rate(step.tokens_per_second * step.time.value.0, &step.time)
}

/// A number with three digits that count.
pub(super) fn three(figure: &Figure<f64>) -> Cell {
    Cell::figure_as(figure, significant(figure.value, 3))
}

/// Seconds with three digits that count.
pub(super) fn seconds(figure: &Figure<Seconds>) -> Cell {
    Cell::figure_as(figure, significant(figure.value.0, 3))
}

/// The ends of an interval in units of `size` base units.
pub(super) fn between<Q: crate::figure::Quantity>(figure: &Figure<Q>, size: f64) -> Cell {
    let end = |end: Q| significant(end.base() / size, 2);
    Cell::text(format!("{}–{}", end(figure.low), end(figure.high)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::fixture::two_h100;
    use crate::catalog::Catalog;
    use crate::figure::Basis;
    use crate::guide::jobs;
    use crate::lang::Lang;

    #[test]
    fn speeds_are_worked_out_once_and_from_the_nearest_source() {
        let catalog = Catalog::embedded().unwrap();
        let run = two_h100().run();
        let (calibration, recorded) = (Calibration::from_run(&run), [Calibration::from_recorded(&run)]);
        let basis = |input: &Input<'_>, board: &Board<'_>| {
            let speeds = input.speeds(board).unwrap();
            assert!(Rc::ptr_eq(&speeds, &input.speeds(board).unwrap()));
            speeds.basis(speeds.dtype(2), time::Launching::Graph, false, false)[0].1
        };
        let input = Input::new(&catalog, Some((&run, &calibration)), &[], Lang::En);
        let (here, h100) = (jobs::board_here(&input).unwrap(), jobs::board(&input, "H100 SXM").unwrap());
        assert_eq!(basis(&input, &here), Basis::MeasuredHere);
        let documents = input.speeds(&h100).unwrap();
        assert_eq!(*documents, Speeds::assumed(h100.model.unwrap(), &catalog, None));
        let input = Input::new(&catalog, None, &recorded, Lang::En);
        assert_eq!(basis(&input, &jobs::board(&input, "H100 SXM").unwrap()), Basis::MeasuredSameModel);
        assert_ne!(input.speeds(&h100).unwrap(), documents);
    }
}
