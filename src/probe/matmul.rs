//! Matrix products on the tensor cores: `C[m, n] = A[m, k] · B[n, k]ᵀ`, BF16 and FP8 (E4M3) in, BF16 out, FP32 sums.
//!
//! `engine=own` is this program's kernel, which needs nothing but the driver; on Hopper the fastest of [several](own). `engine=cublaslt` is NVIDIA's library, where it is found: the
//! fastest of the algorithms it suggests, each tried for a moment. Which shapes, and why, is in [`shapes`](super::shapes).
//!
//! Operands are uniform in [−1, 1), because the values matter: with zeros a GPU draws less power and runs up to a sixth faster. They rotate
//! over several sets, so that small operands do not come from the cache: together at least twice the second level.
//!
//! **For calibration** the shapes of [`DESIGN`] are measured too, from which a model predicts those of any other shape. They are many, and the
//! model is not surer than some percent: each is sampled for some milliseconds, and by one engine: cublasLt where it is found, in the library's
//! first suggestion, since that is what frameworks run, or else the own kernel. A library that was found may still not open, or have no
//! algorithm for a shape: then, too, the own kernel is timed, as a case of its own that says what the library answered, so that a machine
//! without a working cublasLt calibrates all the same.
//!
//! **Other formats** are multiplied by the library alone, see [`formats`]. A product of **zeros** tells whether power limits, see [`zeros`]. With
//! time enough, the **best shape** is looked for, see [`best`].
//!
//! The result of every set (of up to 64, where there are more) is checked afterwards, see [`freivalds`](super::freivalds). It is filled with NaN before,
//! so that what was not written is seen as well. What is checked is the last product of each set: a fault that came and went within the batches, and whose result
//! a later product overwrote, is not seen here (`selftest` and longer tests of the machine's soundness look for those). Nor is one wrong
//! element whose error is no larger than rounding may add up to in its row.

mod best;
mod check;
mod formats;
mod own;
mod search;
mod zeros;

pub(super) use own::prove;

use super::facts::{count, gpu_on, l2, needs_capability, needs_gpu, unknown, usable};
use super::freivalds::{Arithmetic, Freivalds};
use super::lt;
use super::operands::{Set, Sets, sets};
use super::rig::{Bench, operation, too_large, waived};
use super::shapes::{calibrates, room, shapes};
use super::{Effort, Lab, Probe};
use crate::error::{Error, Result};
use crate::gpu::prebuilt::GEMM_LAUNCH;
use crate::gpu::{
    self, GemmBf16, GemmE4m3, In, LtFormat, LtPlan, MatvecBf16, MatvecE4m3, MatvecTransposedBf16, MatvecTransposedE4m3, Out,
    PROVEN_ON_HARDWARE,
};
use crate::machine::{Gpu, Machine};
use crate::measure::{Case, Clock, DESIGN, GemmShape, GpuClock, Outcome, Plan, Trial, Waiver, Work};
use crate::units::{Bytes, Seconds};
use check::Vectors;
use own::{Note, Own};

/// Products that each of the library's suggestions is tried for.
const TRIED: u64 = 3;

/// Target half-width of the interval of products that calibrate. The model's own error is a few percent.
const CALIBRATING: f64 = 0.03;

/// Share of a usual case's time that one of them gets: together as much as a dozen cases.
const SHORT: f64 = 0.1;

/// Weight of a case of zeros, or in a format that only the library multiplies in: for most users a figure on the side.
const OTHERS: f64 = 0.5;

/// What the checking vector's seed differs in from the data's.
const CHECK_SEED: u64 = 0x5eed;

/// The `matmul` probe.
pub(super) struct Matmul;

/// Format of the factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Bf16,
    E4m3,
}

impl Format {
    const ALL: [Self; 2] = [Self::Bf16, Self::E4m3];

    const fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::E4m3 => "e4m3",
        }
    }

    /// Bytes of an operand's element.
    pub(super) const fn element(self) -> u64 {
        match self {
            Self::Bf16 => 2,
            Self::E4m3 => 1,
        }
    }

    /// The first compute capability with the instruction.
    pub(super) const fn capability(self) -> (u32, u32) {
        match self {
            Self::Bf16 => (8, 0),
            Self::E4m3 => (8, 9),
        }
    }

    const fn arithmetic(self) -> Arithmetic {
        match self {
            Self::Bf16 => Arithmetic::Bf16,
            Self::E4m3 => Arithmetic::Fp8,
        }
    }

    const fn library(self) -> LtFormat {
        match self {
            Self::Bf16 => LtFormat::Bf16,
            Self::E4m3 => LtFormat::E4m3,
        }
    }
}

impl Probe for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn about(&self) -> &'static str {
        "matrix products in BF16 and FP8: a large square, a transformer's shapes and those that calibrate, by own kernel and by cublasLt; one square in FP16, E5M2, TF32, FP32, INT8, FP64 and FP4, and one of zeros; the best shape"
    }

    fn needs(&self, machine: &Machine) -> Result<(), Waiver> {
        needs_gpu(machine)
    }

    fn cases(&self, machine: &Machine, effort: Effort) -> Vec<Case> {
        let alone = machine.gpus.len() == 1;
        let best = if lt::is_found(machine) { "cublaslt" } else { "own" };
        let mut cases = Vec::new();
        for gpu in &machine.gpus {
            let case = |format: Format, engine: &str, shape: GemmShape| product_case(format, engine, shape, gpu.index);
            if calibrates(gpu, &machine.gpus, effort) {
                cases.extend(Format::ALL.iter().flat_map(|&format| DESIGN.map(|shape| case(format, best, shape))));
            }
            for shape in shapes(gpu, effort, alone) {
                cases.extend(Format::ALL.iter().flat_map(|&format| ["own", "cublaslt"].map(|engine| case(format, engine, shape))));
            }
            cases.extend(best::cases(gpu, &machine.gpus, effort));
            // What clears the pools of the formats above comes last.
            cases.extend(shapes(gpu, effort, alone).first().map(|square| named_case(zeros::NAME, best, *square, gpu.index)));
            cases.extend(formats::cases(gpu, &machine.gpus, effort));
        }
        cases
    }

    fn weight(&self, case: &Case) -> f64 {
        if operation(case).is_ok_and(|name| name == zeros::NAME || formats::Kind::named(name).is_some()) {
            return OTHERS;
        }
        if best::is_asked(case) {
            return best::WEIGHT;
        }
        let shape = shape(case).ok();
        if shape.is_some_and(|shape| DESIGN.contains(&shape)) {
            return SHORT;
        }
        // Clocks settle slowly under a large product; a product of few tokens is over before they move.
        if shape.is_some_and(|shape| shape.m > 64) { 2.0 } else { 0.5 }
    }

    fn run(&self, case: &Case, lab: &mut Lab<'_>) -> Result<Outcome> {
        let gpu = gpu_on(lab.machine, case, "gpu")?;
        let name = operation(case)?;
        if best::is_asked(case) {
            return best::run(case, lab);
        }
        if name == zeros::NAME {
            return zeros::run(case, gpu, shape(case)?, lab);
        }
        if let Some(kind) = formats::Kind::named(name) {
            return formats::run(case, kind, gpu, shape(case)?, lab);
        }
        let format = Format::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| unknown(case))?;
        if let Err(waiver) = needs_capability(gpu, format.capability()) {
            return Ok(waived(case, waiver));
        }
        let shape = shape(case)?;
        let needed = shape.bytes(format.element());
        if needed > room(gpu) {
            return Ok(too_large(case, needed, room(gpu)));
        }
        let bench = lab.bench(gpu.index)?;
        let (case, engine) = match engine(case, lab, gpu.index, &bench, format, shape)? {
            Ok(chosen) => chosen,
            Err(waiver) => return Ok(waived(case, waiver)),
        };
        let mut trial = rotating(lab, gpu, &bench, engine, format, shape)?;
        let mut clock = GpuClock::with_stream(bench.stream.clone())?;
        let mut plan = lab.plan(2.0);
        if DESIGN.contains(&shape) {
            plan.stop.target = plan.stop.target.max(CALIBRATING);
        } else {
            trial.choose(&mut clock)?;
        }
        own::choose(&mut trial, &mut clock, lab)?;
        // The library's FP8 plans let the tensor cores keep fewer bits of the sums than FP32 has.
        let fast = format == Format::E4m3 && matches!(trial.engine, Engine::Library { .. });
        let sums = if fast { "fp32, fast accumulation" } else { "fp32" };
        let conditions = trial.random().into_iter().chain([("sums", sums.into())]).collect();
        timed(&case, gpu.index, lab, &mut clock, &mut trial, &plan, conditions)
    }
}

/// A product over rotating sets: twice the cache, and no more than half of the memory, which leaves the other half to the other format.
fn rotating(lab: &mut Lab<'_>, gpu: &Gpu, bench: &Bench, engine: Engine, format: Format, shape: GemmShape) -> Result<Product> {
    let count = sets(shape, format.element(), l2(gpu) * 2, usable(gpu) / 2);
    let sets = lab.rig.sets(bench, gpu.index, format, shape, count, lab.seed)?;
    Ok(Product::new(bench, engine, format, shape, sets, lab.seed))
}

/// Time a product, and record it with its engine's conditions and these. Where a kernel that no hardware has proven was wrong in the end,
/// another one is timed.
fn timed(
    case: &Case,
    index: u32,
    lab: &mut Lab<'_>,
    clock: &mut GpuClock,
    trial: &mut Product,
    plan: &Plan,
    conditions: Vec<(&'static str, String)>,
) -> Result<Outcome> {
    loop {
        let all = trial.engine.describe().into_iter().chain(conditions.iter().cloned());
        match lab.time(case, index, clock, trial, plan, all) {
            Err(Error::WrongAnswer { what, .. }) if own::gives_way(trial, lab, &what)? => {}
            outcome => return Ok(own::remark(outcome?, trial, &lab.rig)),
        }
    }
}

fn product_case(format: Format, engine: &str, shape: GemmShape, gpu: u32) -> Case {
    named_case(format.name(), engine, shape, gpu)
}

fn named_case(format: &str, engine: &str, shape: GemmShape, gpu: u32) -> Case {
    let case = Case::new(&format!("matmul.{format}")).word("engine", engine);
    case.count("m", shape.m).count("n", shape.n).count("k", shape.k).count("gpu", u64::from(gpu))
}

/// The shape that a case names.
fn shape(case: &Case) -> Result<GemmShape> {
    Ok(GemmShape { m: count(case, "m")?, n: count(case, "n")?, k: count(case, "k")? })
}

fn own_kernel(bench: &Bench, format: Format) -> bool {
    match format {
        Format::Bf16 => bench.gpu.has_kernel::<GemmBf16<'_>>(),
        Format::E4m3 => bench.gpu.has_kernel::<GemmE4m3<'_>>(),
    }
}

/// Who multiplies for a case, and as which case that is recorded, or why nobody does.
///
/// A shape that calibrates falls to the own kernel where the library refuses it. What went wrong with the library shows in the cases that
/// compare with it, so that here a time is worth more than the failure.
fn engine(
    case: &Case,
    lab: &mut Lab<'_>,
    index: u32,
    bench: &Bench,
    format: Format,
    shape: GemmShape,
) -> Result<std::result::Result<(Case, Engine), Waiver>> {
    let has_own = own_kernel(bench, format);
    let own = |refusal| (product_case(format, "own", shape, index), Engine::Own { refusal: Some(refusal), kernel: Own::Mma });
    let substitutes = has_own && DESIGN.contains(&shape);
    match case.get_word("engine") {
        Some("own") if has_own => Ok(Ok((case.clone(), Engine::Own { refusal: None, kernel: Own::Mma }))),
        Some("own") => Ok(Err(Waiver::Unsupported { what: format!("the {} kernel on this chip", format.name()) })),
        Some("cublaslt") => match library(lab, index, bench, format, shape) {
            Ok(Ok(library)) => Ok(Ok((case.clone(), library))),
            Ok(Err(waiver)) if substitutes => Ok(Ok(own(waiver.to_string()))),
            Err(error @ Error::Gpu { .. }) if substitutes => Ok(Ok(own(error.to_string()))),
            Ok(Err(waiver)) => Ok(Err(waiver)),
            Err(error) => Err(error),
        },
        _ => Err(unknown(case)),
    }
}

/// The library's plan for a product, or why it has none.
fn library(lab: &mut Lab<'_>, index: u32, bench: &Bench, format: Format, shape: GemmShape) -> Result<std::result::Result<Engine, Waiver>> {
    let library = match lt::kept(lab, index, bench)? {
        Ok(library) => library,
        Err(waiver) => return Ok(Err(waiver)),
    };
    let plan = lt::plan(&library, format.library(), extents(shape)?, "this product")?;
    Ok(plan.map(|plan| Engine::Library { plan: Box::new(plan), name: lt::name(&library) }))
}

/// A shape as the kernels take it.
fn extents(shape: GemmShape) -> Result<[u32; 3]> {
    let [m, n, k] = [shape.m, shape.n, shape.k].map(u32::try_from);
    match (m, n, k) {
        (Ok(m), Ok(n), Ok(k)) => Ok([m, n, k]),
        _ => Err(Error::usage(format!("multiplying {shape:?}: expected extents below 2^32"))),
    }
}

/// A product to be run without end, by the best engine there is, and how it is done.
pub(super) struct Endless {
    pub(super) product: Product,
    pub(super) conditions: Vec<(&'static str, String)>,
}

/// The product of a load that lasts: BF16, by cublasLt's fastest algorithm where the library works, else by the own kernel; operands as
/// in the cases above. The inner error says why there is none.
///
/// # Errors
/// When the device refuses.
pub(super) fn endless(
    lab: &mut Lab<'_>,
    gpu: &Gpu,
    shape: GemmShape,
    clock: &mut GpuClock,
) -> Result<std::result::Result<Endless, Waiver>> {
    let format = Format::Bf16;
    let bench = lab.bench(gpu.index)?;
    let refusal = match library(lab, gpu.index, &bench, format, shape) {
        Ok(Ok(library)) => Ok(library),
        Ok(Err(waiver)) => Err(waiver.to_string()),
        Err(error @ Error::Gpu { .. }) => Err(error.to_string()),
        Err(error) => return Err(error),
    };
    let engine = match refusal {
        Ok(library) => library,
        Err(refusal) if own_kernel(&bench, format) => Engine::Own { refusal: Some(refusal), kernel: Own::Mma },
        Err(refusal) => return Ok(Err(Waiver::Unsupported { what: format!("the bf16 kernel on this chip; {refusal}") })),
    };
    let mut product = rotating(lab, gpu, &bench, engine, format, shape)?;
    product.choose(clock)?;
    // A load that lasts minutes is not begun again with another kernel.
    if PROVEN_ON_HARDWARE {
        own::choose(&mut product, clock, lab)?;
    }
    let conditions = product.engine.describe().into_iter().chain(product.random()).collect();
    Ok(Ok(Endless { product, conditions }))
}

/// What multiplies.
enum Engine {
    Own {
        /// What the library answered, in whose place it multiplies.
        refusal: Option<String>,
        kernel: Own,
    },
    Library {
        plan: Box<LtPlan>,
        /// The library and its version.
        name: String,
    },
}

impl Engine {
    /// Engine, algorithm and workspace, as the record names them.
    fn describe(&self) -> [(&'static str, String); 3] {
        let (engine, algorithm, workspace) = match self {
            Self::Own { refusal, kernel } => {
                let name = refusal.as_ref().map_or_else(|| "own".into(), |refusal| format!("own, in place of cublasLt: {refusal}"));
                (name, kernel.to_string(), Bytes(0).to_string())
            }
            Self::Library { plan, name } => (name.clone(), plan.algorithm(), plan.workspace().to_string()),
        };
        [("engine", engine), ("algorithm", algorithm), ("workspace", workspace)]
    }
}

/// A product over rotating sets of matrices.
pub(super) struct Product {
    bench: Bench,
    engine: Engine,
    format: Format,
    shape: GemmShape,
    sets: Sets,
    seed: u64,
    iterations: u64,
    note: Note,
}

impl Product {
    fn new(bench: &Bench, engine: Engine, format: Format, shape: GemmShape, sets: Sets, seed: u64) -> Self {
        Self { bench: bench.clone(), engine, format, shape, sets, seed, iterations: 0, note: None }
    }

    /// The conditions of random operands.
    fn random(&self) -> [(&'static str, String); 3] {
        [("data", "uniform in [-1, 1)".into()), ("seed", self.seed.to_string()), ("rotation", self.sets.bytes().to_string())]
    }

    /// Try the library's suggestions and keep the fastest.
    fn choose(&mut self, clock: &mut GpuClock) -> Result<()> {
        let Engine::Library { plan, .. } = &self.engine else { return Ok(()) };
        let mut best: Option<(Seconds, usize)> = None;
        for algorithm in 0..plan.algorithms() {
            if let Engine::Library { plan, .. } = &mut self.engine {
                plan.choose(algorithm);
            }
            // The first product of an algorithm loads its code, which must not happen behind the gate.
            clock.rehearse(self)?;
            let time = clock.time(self, TRIED)?;
            if best.is_none_or(|(least, _)| time < least) {
                best = Some((time, algorithm));
            }
        }
        if let (Some((_, algorithm)), Engine::Library { plan, .. }) = (best, &mut self.engine) {
            plan.choose(algorithm);
        }
        Ok(())
    }

    fn once(&self, set: &Set<'_>) -> Result<()> {
        let stream = &self.bench.stream;
        let [m, n, k] = extents(self.shape)?;
        let Set { a, b, c } = *set;
        let blocks = m.div_ceil(GEMM_LAUNCH.tile_m).saturating_mul(n.div_ceil(GEMM_LAUNCH.tile_n));
        let launch = gpu::Shape { shared: GEMM_LAUNCH.shared_bytes, ..gpu::Shape::line(blocks, GEMM_LAUNCH.block) };
        match (&self.engine, self.format) {
            (Engine::Own { kernel: Own::Hopper(kernel), .. }, _) => self.once_on_hopper(*kernel, set),
            (Engine::Own { .. }, Format::Bf16) => {
                stream.launch(&GemmBf16 { a: In(a.cast()?), b: In(b.cast()?), c: Out(c), m, n, k }, launch)
            }
            (Engine::Own { .. }, Format::E4m3) => stream.launch(&GemmE4m3 { a: In(a), b: In(b), c: Out(c), m, n, k }, launch),
            (Engine::Library { plan, .. }, _) => plan.enqueue(stream, a, b, c),
        }
    }

    /// Compare `C·x` with `A·(Bᵀ·x)` for every vector of the test.
    fn check_set(&self, set: &Set<'_>) -> Result<Option<String>> {
        let (GemmShape { m, n, k }, bench) = (self.shape, &self.bench);
        let test = Freivalds::new(self.format.arithmetic(), n, k, 1.0, self.seed ^ CHECK_SEED);
        check::examine(bench, &test, self.shape, |Vectors { x, through_b, reference, product }| {
            match self.format {
                Format::Bf16 => {
                    let (a, b) = (In(set.a.cast()?), In(set.b.cast()?));
                    bench.launch(&MatvecTransposedBf16 { a: b, x: x.input(), y: through_b.output(), rows: n, cols: k })?;
                    bench.launch(&MatvecBf16 { a, x: through_b.input(), y: reference.output(), rows: m, cols: k })?;
                }
                Format::E4m3 => {
                    let (a, b) = (In(set.a), In(set.b));
                    bench.launch(&MatvecTransposedE4m3 { a: b, x: x.input(), y: through_b.output(), rows: n, cols: k })?;
                    bench.launch(&MatvecE4m3 { a, x: through_b.input(), y: reference.output(), rows: m, cols: k })?;
                }
            }
            bench.launch(&MatvecBf16 { a: In(set.c), x: x.input(), y: product.output(), rows: m, cols: n })
        })
    }
}

impl Trial for Product {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        for iteration in self.iterations..self.iterations + iterations {
            self.once(&self.sets.get(iteration % self.sets.count())?)?;
        }
        self.iterations += iterations;
        Ok(())
    }

    fn work(&self) -> Work {
        Work::computing(self.shape.flops(), self.shape.bytes(self.format.element()))
    }

    fn launches_per_iteration(&self) -> u64 {
        // The library may add a kernel that sums partial products.
        2
    }

    fn check(&mut self) -> Result<Option<String>> {
        if let Some(wrong) = self.noted()? {
            return Ok(Some(wrong));
        }
        check::first_wrong(self.iterations.min(self.sets.count()), |index| self.check_set(&self.sets.get(index)?))
    }
}
