//! Which of this program's own kernels multiplies.
//!
//! Every GPU with tensor cores has `mma.sync`; Hopper has its own instructions beside it, in kernels with tiles of several sizes (see
//! [`HopperKernel`]). Which is the fastest depends on the shape, so each that [may be used](crate::probe::proof) is timed for a moment, and
//! the fastest is kept whose answer to this very product is right. Shapes that calibrate are many: for them one tile is tried, by rule.

use super::super::proof::Proofs;
use super::super::rig::Bench;
use super::super::{Lab, Rig};
use super::{Engine, Format, Product, TRIED, extents};
use crate::error::{Error, Result};
use crate::gpu::prebuilt::GEMM_LAUNCH;
use crate::gpu::{DeviceBuffer, HopperFormat, HopperKernel, HopperOperands, HopperTile, PROVEN_ON_HARDWARE};
use crate::measure::{Clock, DESIGN, GemmShape, GpuClock, Outcome, Trial};
use crate::units::Seconds;

/// What is wrong with a kernel that noted so.
const GAVE_UP: &str = "it gave up waiting";

/// One of the own kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    /// `mma.sync`, for every chip.
    Mma,
    /// Hopper's own instructions.
    Hopper(HopperKernel),
}

impl std::fmt::Display for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mma => write!(f, "mma.sync, {}x{} tiles, {} stages", GEMM_LAUNCH.tile_m, GEMM_LAUNCH.tile_n, GEMM_LAUNCH.stages),
            Self::Hopper(kernel) => kernel.tile.fmt(f),
        }
    }
}

/// The format as the kernels for Hopper name it, where they have it.
const fn hopper_format(format: Format) -> Option<HopperFormat> {
    match format {
        Format::Bf16 => Some(HopperFormat::Bf16),
        Format::E4m3 => Some(HopperFormat::E4m3),
    }
}

/// Formats that are timed and that they have.
fn hopper_formats() -> Vec<HopperFormat> {
    Format::ALL.into_iter().filter_map(hopper_format).collect()
}

/// The tile that should suit a shape on so many multiprocessors: the largest of which there are enough for all of them.
fn suitable(shape: GemmShape, multiprocessors: u64) -> HopperTile {
    let tiles = |tile: HopperTile| {
        let rows = u64::from(tile.rows() * tile.cluster());
        shape.m.div_ceil(rows) * shape.n.div_ceil(u64::from(tile.columns())) * u64::from(tile.cluster())
    };
    let fills = |tile: &HopperTile| shape.m > u64::from(HopperTile::Low.rows()) && tiles(*tile) >= multiprocessors;
    [HopperTile::Wide, HopperTile::Square].into_iter().find(fills).unwrap_or(HopperTile::Low)
}

/// Kernels worth trying for a product.
fn candidates(proofs: &Proofs, format: Format, shape: GemmShape, multiprocessors: u64) -> Vec<HopperKernel> {
    let mut trusted = hopper_format(format).map_or_else(Vec::new, |format| proofs.trusted(format));
    if DESIGN.contains(&shape) {
        let tile = suitable(shape, multiprocessors);
        trusted.retain(|kernel| kernel.tile == tile);
    }
    trusted
}

/// What identifies GPUs that run the same code alike.
fn model(trial: &Product) -> String {
    trial.bench.gpu.device().name.clone()
}

/// Choose the kernel of a product that the own kernels do; another engine's is left as it is.
pub(super) fn choose(trial: &mut Product, clock: &mut GpuClock, lab: &mut Lab<'_>) -> Result<()> {
    if !matches!(trial.engine, Engine::Own { .. }) {
        return Ok(());
    }
    let seed = lab.seed;
    let Rig { proofs, program, .. } = &mut lab.rig;
    let tried = || Proofs::of(&trial.bench, program.as_deref(), seed, hopper_formats().into_iter().flat_map(HopperKernel::of));
    let proofs = proofs.entry(model(trial)).or_insert_with(tried);
    let candidates = candidates(proofs, trial.format, trial.shape, u64::from(trial.bench.gpu.device().sm_count));
    if candidates.is_empty() {
        return Ok(());
    }
    let usual = trial.quick_time(clock)?;
    let mut faster = Vec::new();
    for kernel in candidates {
        trial.set_own(Own::Hopper(kernel))?;
        let timed = trial.quick_time(clock).and_then(|time| Ok(trial.noted()?.map_or(Ok(time), Err)));
        match trial.survived(timed, kernel, proofs)? {
            Some(time) if time < usual => faster.push((time, kernel)),
            _ => {}
        }
    }
    faster.sort_by(|(a, _), (b, _)| a.0.total_cmp(&b.0));
    let mut chosen = Own::Mma;
    for (_, kernel) in faster {
        trial.set_own(Own::Hopper(kernel))?;
        let checked = trial.examine().map(|wrong| wrong.map_or(Ok(()), Err));
        if trial.survived(checked, kernel, proofs)?.is_some() {
            chosen = Own::Hopper(kernel);
            break;
        }
    }
    trial.set_own(chosen)?;
    // What the others wrote must not pass for the chosen one's answer.
    trial.iterations = 0;
    trial.sets.spoil(&trial.bench.stream)
}

/// After a wrong answer of a kernel for Hopper that no hardware has proven: refuse it and let `mma.sync` multiply. False where the answer
/// is held against the GPU.
pub(super) fn gives_way(trial: &mut Product, lab: &mut Lab<'_>, wrong: &str) -> Result<bool> {
    let Engine::Own { kernel: Own::Hopper(kernel), .. } = trial.engine else { return Ok(false) };
    if PROVEN_ON_HARDWARE {
        return Ok(false);
    }
    lab.rig.proofs.entry(model(trial)).or_default().refuse(kernel, wrong.to_owned());
    trial.set_own(Own::Mma)?;
    trial.iterations = 0;
    trial.sets.spoil(&trial.bench.stream)?;
    Ok(true)
}

/// Say in the record which kernels were refused.
pub(super) fn remark(mut outcome: Outcome, trial: &Product, rig: &Rig) -> Outcome {
    let refused = rig.proofs.get(&model(trial)).zip(hopper_format(trial.format)).and_then(|(proofs, format)| proofs.refused(format));
    if let (Outcome::Measured(measurement), Some(refused), Engine::Own { .. }) = (&mut outcome, refused, &trial.engine) {
        measurement.conditions.insert("refused".to_owned(), refused);
    }
    outcome
}

/// Try a kernel on a product that gives every block more than one tile: what is wrong with its answer. A format that no probe times has
/// its small products only.
pub(in super::super) fn prove(bench: &Bench, seed: u64, kernel: HopperKernel) -> Result<Option<String>> {
    let Some(format) = Format::ALL.into_iter().find(|format| hopper_format(*format) == Some(kernel.format)) else { return Ok(None) };
    let clusters = u64::from(bench.gpu.device().sm_count / 2).max(1);
    let side = 256 * clusters.isqrt();
    let shape = GemmShape { m: side + 152, n: side + 16, k: 208 };
    let mut rig = Rig::default();
    let sets = rig.sets(bench, 0, format, shape, 1, seed)?;
    let engine = Engine::Own { refusal: None, kernel: Own::Mma };
    let mut trial = Product::new(bench, engine, format, shape, sets, seed);
    trial.set_own(Own::Hopper(kernel))?;
    trial.enqueue(1)?;
    trial.check()
}

impl Product {
    /// Multiply with this kernel from now on, its note cleared.
    fn set_own(&mut self, own: Own) -> Result<()> {
        if let Engine::Own { kernel, .. } = &mut self.engine {
            *kernel = own;
        }
        if matches!(own, Own::Hopper(_)) {
            let note = match self.note.take() {
                Some(note) => note,
                None => self.bench.gpu.allocate_elements::<u32>(1)?,
            };
            note.write(&self.bench.stream, &[0u32])?;
            self.note = Some(note);
        }
        Ok(())
    }

    /// Time of a few products, the first of which loads the code.
    fn quick_time(&mut self, clock: &mut GpuClock) -> Result<Seconds> {
        clock.rehearse(self)?;
        clock.time(self, TRIED)
    }

    /// Whether the chosen kernel's answer to the first set is wrong.
    fn examine(&mut self) -> Result<Option<String>> {
        self.iterations = 0;
        self.bench.stream.set(self.sets.get(0)?.c.cast::<u8>()?, 0xff)?;
        self.enqueue(1)?;
        self.check()
    }

    /// What came of trying a kernel; one that failed is refused, and nothing came of it.
    fn survived<T>(&self, tried: Result<std::result::Result<T, String>>, kernel: HopperKernel, proofs: &mut Proofs) -> Result<Option<T>> {
        match tried {
            Ok(Ok(value)) => return Ok(Some(value)),
            Ok(Err(why)) => proofs.refuse(kernel, why),
            Err(error @ (Error::Gpu { .. } | Error::Unavailable { .. })) => {
                proofs.refuse(kernel, error.to_string());
                // What is left of the context has to be in working order, or nothing measured after this can be believed.
                self.bench.stream.synchronize()?;
            }
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    /// What the kernel noted, if it is one that does.
    pub(super) fn noted(&self) -> Result<Option<String>> {
        let (Some(note), Engine::Own { kernel: Own::Hopper(_), .. }) = (&self.note, &self.engine) else { return Ok(None) };
        let gave_up = note.read::<u32>(&self.bench.stream, 1)? != [0];
        Ok(gave_up.then(|| GAVE_UP.into()))
    }

    /// Enqueue a product on a kernel for Hopper.
    pub(super) fn once_on_hopper(&self, kernel: HopperKernel, set: &super::Set<'_>) -> Result<()> {
        let Some(note) = &self.note else { return Err(Error::usage("multiplying on Hopper: expected a note to write to")) };
        let operands = HopperOperands { a: set.a, b: set.b, c: set.c, note: note.view(), extents: extents(self.shape)? };
        kernel.launch(&self.bench.stream, &operands)
    }
}

/// Where a kernel notes that it gave up, for those that do.
pub(super) type Note = Option<DeviceBuffer>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_takes_the_largest_tile_that_fills_the_gpu() {
        let tile = |m, n| suitable(GemmShape { m, n, k: 4096 }, 132);
        assert_eq!(tile(8192, 8192), HopperTile::Wide);
        assert_eq!(tile(1024, 2048), HopperTile::Low);
        assert_eq!(tile(2048, 1536), HopperTile::Square);
        assert_eq!(tile(1, 65536), HopperTile::Low);
        assert_eq!(tile(64, 1 << 20), HopperTile::Low);
    }

    #[test]
    fn a_shape_that_calibrates_has_one_candidate_and_others_have_all() {
        let mut proofs = Proofs::default();
        for kernel in HopperKernel::all() {
            proofs.refuse(kernel, "untrue".into());
        }
        let square = GemmShape { m: 8192, n: 8192, k: 8192 };
        assert_eq!(candidates(&proofs, Format::Bf16, square, 132), []);
        let proofs = Proofs::trusting_all();
        assert_eq!(candidates(&proofs, Format::Bf16, square, 132).len(), if DESIGN.contains(&square) { 1 } else { 4 });
        assert!(DESIGN.iter().all(|shape| candidates(&proofs, Format::E4m3, *shape, 132).len() == 1));
    }
}
