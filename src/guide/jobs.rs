//! The jobs that sections B.1.3, B.2, B.3, B.6 and B.7 are about, the boards they are held against, and how many of a board a job needs.
//!
//! The guide speaks of "7B" or "34B" models. Parameters alone do not say what a job takes, so each size stands for a model of the catalog, the
//! one whose shape is public and whose size comes nearest, and every number follows from that shape.
//!
//! **How many GPUs.** Estimate and capacity are intervals, so a count is one too: from the fewest GPUs the job may fit on to the fewest it
//! surely fits on. Training is spread by sharding everything layer by layer (FSDP, ZeRO-3), a micro-batch per GPU; inference by tensor
//! parallelism within a node of eight and stages beyond. Counts are tried from one up, beyond eight in whole nodes. Only memory counts
//! here: whether the links between boards make it worth while is the business of B.4.

use super::{Here, Input, fact};
use crate::catalog::GpuModel;
use crate::estimate::fit::{Room, Verdict};
use crate::estimate::memory::{self, Footprint, Memory, Overheads, Part};
use crate::figure::Figure;
use crate::table::Cell;
use crate::units::Bytes;
use crate::workload::{self, Adapters, Blocks, Checkpointing, Data, Inference, Method, Model, Parallel, Role, Targets, Training};

/// A size as the guide names it, and the model of the catalog that stands for it.
pub(super) const SIZES: [(&str, &str); 4] = [("7B", "Llama-2-7B"), ("13B", "Llama-2-13B"), ("34B", "Yi-34B"), ("72B", "Qwen2.5-72B")];

/// The model of the guide's worked examples.
pub(super) const EXAMPLE: &str = "Qwen2-VL-7B";

/// Boards that tables of counts have a column for, by short name, besides this machine's.
const COMMON: [&str; 5] = ["RTX 4090", "A100 SXM 40GB", "A100 SXM 80GB", "H100 SXM", "H200 SXM"];

/// GPUs in a node.
pub(super) const NODE: u64 = 8;

/// No table asks for more GPUs than this.
pub(super) const MOST_GPUS: u64 = 128;

/// LoRA's rank throughout the guide.
pub(super) const RANK: u64 = 64;

/// The model behind a name; `None` when the catalog lacks it, which the tests exclude.
pub(super) fn model(input: &Input<'_>, name: &str) -> Option<Model> {
    input.known.model(name, || workload::named(input.catalog, name).ok())
}

/// What is done with a model.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Job {
    /// Training it.
    Train(Training),
    /// Generating with it.
    Infer(Inference),
}

impl Job {
    /// What it takes of the GPU that needs most; `None` for a job that cannot be done so.
    pub(super) fn memory(&self, model: &Model, overheads: &Overheads) -> Option<Memory> {
        match self {
            Self::Train(training) => memory::train(model, training, overheads).ok(),
            Self::Infer(inference) => memory::infer(model, inference, overheads).ok(),
        }
    }

    /// The same with every layer recomputed in the backward pass; `None` for inference, which has none.
    pub(super) fn recomputed(&self) -> Option<Self> {
        match self {
            Self::Train(training) => Some(Self::Train(Training { checkpointing: Checkpointing::Full, ..training.clone() })),
            Self::Infer(_) => None,
        }
    }

    /// The same spread over so many GPUs; `None` where it cannot be.
    pub(super) fn on(&self, gpus: u64) -> Option<Self> {
        match self {
            Self::Train(training) => {
                let data = if gpus == 1 { Data::Ddp } else { Data::Fsdp };
                Some(Self::Train(Training { parallel: Parallel { gpus, data, ..Parallel::ONE }, ..training.clone() }))
            }
            Self::Infer(inference) => {
                let (tensor, pipeline) = if gpus <= NODE { (gpus, 1) } else { (NODE, gpus / NODE) };
                tensor.is_power_of_two().then_some(Self::Infer(Inference { tensor, pipeline, ..*inference }))
            }
        }
    }
}

/// The guide's adapters: rank 64 on the four products of attention, FP32 as PEFT makes them.
pub(super) const fn adapters() -> Adapters {
    let targets = Targets::Some { q: true, k: true, v: true, o: true, gate: false, up: false, down: false };
    Adapters { rank: RANK, targets, dropout: false, fp32: true }
}

/// The guide's mixed precision: everything in 16 bits but the master weights and the states.
pub(super) const MIXED: Method = Method::FullMixed { fp32_gradients: false };

/// The most that `parts` take together over the moments of a step.
pub(super) fn most(memory: &Memory, parts: &[Part]) -> Bytes {
    let sum = |footprint: &Footprint| parts.iter().map(|&part| footprint[part]).sum::<Bytes>();
    memory.moments.iter().map(|moment| sum(&moment.footprint)).max().unwrap_or_default()
}

/// A board that jobs are held against.
#[derive(Debug, Clone)]
pub(super) struct Board<'a> {
    /// Its row in the catalog.
    pub(super) model: Option<&'a GpuModel>,
    /// What it is called, marked where it is this machine's, and the memory of one.
    pub(super) room: Room,
    /// What a process takes on it beyond tensors.
    pub(super) overheads: Overheads,
    /// Which GPU of this machine it is, if it is one.
    pub(super) index: Option<u32>,
}

impl<'a> Board<'a> {
    /// A board of the catalog.
    pub(super) fn of(model: &'a GpuModel) -> Self {
        Self { model: Some(model), room: Room::of(model), overheads: Overheads::prior(Some(model)), index: None }
    }

    /// A board of this machine, with what was measured on it.
    fn here(here: &Here<'a>) -> Option<Self> {
        let capacity = fact(&here.gpu.memory_total, "NVML").or_else(|| Some(here.model?.capacity()))?;
        let room = Room::new(format!("▶ {}", here.name()), capacity);
        let Some(measured) = here.measured else {
            return Some(Self { model: here.model, room, overheads: Overheads::prior(here.model), index: Some(here.gpu.index) });
        };
        let usable = measured.memory.allocatable.as_ref().zip(measured.memory.context.as_ref());
        let usable = usable.map(|(allocatable, context)| allocatable.with(context, |free, context| free + context));
        let room = match usable {
            Some(usable) => room.with_usable(&usable),
            None => room,
        };
        Some(Self { model: here.model, room, overheads: Overheads::measured(measured, here.model), index: Some(here.gpu.index) })
    }

    /// Whether `job` fits on so many of it; `None` where it cannot be done so.
    pub(super) fn verdict(&self, job: &Job, model: &Model, gpus: u64) -> Option<Verdict> {
        Some(self.room.verdict(&job.on(gpus)?.memory(model, &self.overheads)?))
    }

    /// The fewest of it that the job surely fits on; the low end is the fewest that it may fit on. `None` where no count is sure to be enough.
    pub(super) fn fewest(&self, spread: &mut Spread<'_>) -> Option<Figure<f64>> {
        let mut perhaps = None;
        for (index, gpus) in counts(spread.most).enumerate() {
            let Some(memory) = spread.memory(&self.overheads, index, gpus) else { continue };
            let verdict = self.room.verdict(memory);
            if verdict != Verdict::No {
                perhaps.get_or_insert(gpus);
            }
            if verdict == Verdict::Yes {
                let fewest = memory.device.with(&self.room.capacity, |_, _| gpus as f64);
                return Some(Figure { low: perhaps.unwrap_or(gpus) as f64, ..fewest });
            }
        }
        None
    }
}

/// A job spread over one GPU after another. Boards differ in memory far more than in overheads, so most of them share its estimates.
pub(super) struct Spread<'a> {
    job: &'a Job,
    model: &'a Model,
    most: u64,
    known: Vec<(Overheads, Vec<Option<Memory>>)>,
}

impl<'a> Spread<'a> {
    /// `job` on at most so many GPUs.
    pub(super) const fn new(job: &'a Job, model: &'a Model, most: u64) -> Self {
        Self { job, model, most, known: Vec::new() }
    }

    /// What it takes on so many, the `index`-th count. Counts are asked for in order.
    fn memory(&mut self, overheads: &Overheads, index: usize, gpus: u64) -> Option<&Memory> {
        let found = self.known.iter().position(|(known, _)| known == overheads);
        let at = found.unwrap_or_else(|| {
            self.known.push((overheads.clone(), Vec::new()));
            self.known.len() - 1
        });
        let (overheads, known) = &mut self.known[at];
        if known.len() <= index {
            known.push(self.job.on(gpus).and_then(|job| job.memory(self.model, overheads)));
        }
        known.get(index)?.as_ref()
    }
}

/// Counts of GPUs worth trying: every one within a node, whole nodes beyond.
fn counts(most: u64) -> impl Iterator<Item = u64> {
    (1..=NODE).chain((2..=MOST_GPUS / NODE).map(|nodes| nodes * NODE)).filter(move |&gpus| gpus <= most)
}

/// This machine's first GPU, where it has any.
pub(super) fn board_here<'a>(input: &Input<'a>) -> Option<Board<'a>> {
    Board::here(input.gpus().first()?)
}

/// This machine's first GPU where it has any, then the common ones.
pub(super) fn boards<'a>(input: &Input<'a>) -> Vec<Board<'a>> {
    let here = board_here(input);
    let is_here = |model: &GpuModel| here.as_ref().and_then(|here| here.model).is_some_and(|here| here.name == model.name);
    let common = COMMON.iter().filter_map(|name| input.catalog.gpus.iter().find(|gpu| gpu.short_name == *name));
    let common: Vec<Board<'a>> = common.filter(|model| !is_here(model)).map(Board::of).collect();
    here.into_iter().chain(common).collect()
}

/// A board by its short name.
pub(super) fn board<'a>(input: &Input<'a>, short_name: &str) -> Option<Board<'a>> {
    input.catalog.gpus.iter().find(|gpu| gpu.short_name == short_name).map(Board::of)
}

/// What a process takes on a GPU nobody named.
pub(super) fn unnamed() -> Overheads {
    Overheads::prior(None)
}

/// Parameters that adapters of `rank` have on the products `adapts` chooses: `rank·(in + out)` each.
pub(super) fn adapter_parameters(model: &Model, rank: u64, adapts: impl Fn(Role) -> bool) -> u64 {
    let hidden = model.text.hidden;
    let of_layer = |blocks: &Blocks| -> u64 {
        let linears = blocks.block.linears(hidden).filter(|linear| adapts(linear.role));
        linears.map(|linear| rank * (linear.inputs + linear.outputs) * linear.copies).sum()
    };
    model.text.blocks.iter().map(|blocks| blocks.count * of_layer(blocks)).sum()
}

/// The products of attention.
pub(super) const fn is_attention(role: Role) -> bool {
    matches!(role, Role::Query | Role::Key | Role::Value | Role::QueryKeyValue | Role::Output)
}

/// A count of GPUs; a dash where no count suffices.
pub(super) fn count_cell(count: Option<&Figure<f64>>) -> Cell {
    count.map_or(Cell::Empty, |count| {
        let shown = if count.low < count.value { format!("{:.0}–{:.0}", count.low, count.value) } else { format!("{:.0}", count.value) };
        Cell::figure_as(count, shown)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::lang::Lang;
    use crate::workload::Precision;

    fn with<R>(test: impl FnOnce(&Input<'_>) -> R) -> R {
        let catalog = Catalog::embedded().unwrap();
        test(&Input::new(&catalog, None, &[], Lang::En))
    }

    #[test]
    fn every_size_and_the_example_have_a_model_near_it() {
        with(|input| {
            for (size, name) in SIZES {
                let billions: f64 = size.trim_end_matches('B').parse().unwrap();
                let parameters = model(input, name).unwrap().parameters() as f64 / 1e9;
                assert!((parameters / billions - 1.0).abs() < 0.05, "{name} has {parameters} B");
            }
            assert_eq!(model(input, EXAMPLE).unwrap().parameters(), 8_291_375_616);
        });
    }

    #[test]
    fn a_larger_board_of_a_kind_never_takes_more_of_them() {
        with(|input| {
            let model = model(input, "Llama-2-13B").unwrap();
            let train = Job::Train(Training::new(MIXED, 1, 2048)).recomputed().unwrap();
            for job in [train, Job::Infer(Inference::new(Precision::Bf16, 4, 4096, 0))] {
                let mut boards: Vec<Board<'_>> = input.catalog.gpus.iter().map(Board::of).collect();
                boards.sort_by_key(|board| board.room.capacity.low);
                let mut spread = Spread::new(&job, &model, MOST_GPUS);
                // Overheads differ between generations, so only boards with the same ones can be compared.
                for hopper in [false, true] {
                    let of_kind = boards.iter().filter(|board| board.model.is_some_and(|m| (m.compute_capability().0 >= 9) == hopper));
                    let counts: Vec<f64> =
                        of_kind.map(|board| board.fewest(&mut spread).map_or(f64::INFINITY, |count| count.value)).collect();
                    assert!(counts.is_sorted_by(|a, b| a >= b), "{counts:?}");
                    assert!(counts.first() > counts.last(), "{counts:?}");
                }
            }
        });
    }

    #[test]
    fn the_count_found_is_the_first_that_surely_fits() {
        with(|input| {
            let model = model(input, "Llama-2-13B").unwrap();
            let job = Job::Train(Training::new(MIXED, 1, 2048)).recomputed().unwrap();
            let board = board(input, "A100 SXM 80GB").unwrap();
            let found = board.fewest(&mut Spread::new(&job, &model, MOST_GPUS)).unwrap();
            for gpus in 1..=found.value as u64 {
                let sure = board.verdict(&job, &model, gpus) == Some(Verdict::Yes);
                assert_eq!(sure, gpus as f64 == found.value, "{gpus} of {}", found.value);
            }
            assert!(found.low <= found.value && found.value > 1.0);
        });
    }

    #[test]
    fn adapters_are_counted_by_true_widths() {
        with(|input| {
            let count = |name: &str, rank, all: bool| {
                let adapts = |role| if all { !matches!(role, Role::Head | Role::Router) } else { is_attention(role) };
                adapter_parameters(&model(input, name).unwrap(), rank, adapts)
            };
            assert_eq!(count("Llama-2-7B", 16, true), 39_976_960);
            assert_eq!(count("Llama-3.1-8B", 16, true), 41_943_040);
            assert_eq!(count("Qwen2.5-7B", 16, true), 40_370_176);
            assert_eq!(count("Llama-2-7B", 16, false), 16_777_216);
        });
    }
}
