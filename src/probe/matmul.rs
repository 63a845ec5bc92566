//! Matrix products on the tensor cores: `C[m, n] = A[m, k] · B[n, k]ᵀ`, BF16 and FP8 (E4M3) in, BF16 out, FP32 sums.
//!
//! `engine=own` is this program's kernel, which needs nothing but the driver. `engine=cublaslt` is NVIDIA's library, where it is found: the
//! fastest of the algorithms it suggests, each tried for a moment. Which shapes, and why, is in [`shapes`](super::shapes).
//!
//! Operands are uniform in [−1, 1), because the values matter: with zeros a GPU draws less power and runs up to a sixth faster. They rotate
//! over several sets, so that small operands do not come from the cache: together at least twice the second level.
//!
//! The result of every set is checked afterwards, see [`freivalds`](super::freivalds). It is filled with NaN before, so that what was not
//! written is seen as well. What is checked is the last product of each set: a fault that came and went within the batches, and whose result
//! a later product overwrote, is not seen here (`selftest` and longer tests of the machine's soundness look for those). Nor is one wrong
//! element whose error is no larger than rounding may add up to in its row.

use super::facts::{count, gpu_on, l2, needs_capability, needs_gpu, unknown, usable};
use super::freivalds::{Arithmetic, Freivalds};
use super::lt;
use super::rig::{Bench, operation, too_large, waived};
use super::shapes::{Shape, room, shapes};
use super::{Effort, Lab, Probe};
use crate::error::{Error, Result};
use crate::gpu::prebuilt::GEMM_LAUNCH;
use crate::gpu::{
    self, DeviceBuffer, FillUniformBf16, FillUniformE4m3, GemmBf16, GemmE4m3, LtFormat, LtPlan, MatvecBf16, MatvecE4m3,
    MatvecTransposedBf16, MatvecTransposedE4m3,
};
use crate::machine::Machine;
use crate::measure::{Case, Clock, GpuClock, Outcome, Trial, Waiver, Work};
use crate::units::{Bytes, Seconds};

/// Products that each of the library's suggestions is tried for.
const TRIED: u64 = 3;

/// Sets of operands at most.
const MOST_SETS: u64 = 64;

/// What the checking vector's seed differs in from the data's.
const CHECK_SEED: u64 = 0x5eed;

/// The `matmul` probe.
pub(super) struct Matmul;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
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
    const fn element(self) -> u64 {
        match self {
            Self::Bf16 => 2,
            Self::E4m3 => 1,
        }
    }

    /// The first compute capability with the instruction.
    const fn capability(self) -> (u32, u32) {
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
        "matrix products in BF16 and FP8: a large square and a transformer's shapes, by own kernel and by cublasLt"
    }

    fn needs(&self, machine: &Machine) -> Result<(), Waiver> {
        needs_gpu(machine)
    }

    fn cases(&self, machine: &Machine, effort: Effort) -> Vec<Case> {
        let alone = machine.gpus.len() == 1;
        let mut cases = Vec::new();
        for gpu in &machine.gpus {
            for shape in shapes(gpu, effort, alone) {
                for format in Format::ALL {
                    cases.extend(["own", "cublaslt"].map(|engine| {
                        let case = Case::new(&format!("matmul.{}", format.name())).word("engine", engine);
                        case.count("m", shape.m).count("n", shape.n).count("k", shape.k).count("gpu", u64::from(gpu.index))
                    }));
                }
            }
        }
        cases
    }

    fn weight(&self, case: &Case) -> f64 {
        // Clocks settle slowly under a large product; a product of few tokens is over before they move.
        if case.get_count("m").is_some_and(|m| m > 64) { 2.0 } else { 0.5 }
    }

    fn run(&self, case: &Case, lab: &mut Lab<'_>) -> Result<Outcome> {
        let gpu = gpu_on(lab.machine, case, "gpu")?;
        let name = operation(case)?;
        let format = Format::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| unknown(case))?;
        if let Err(waiver) = needs_capability(gpu, format.capability()) {
            return Ok(waived(case, waiver));
        }
        let shape = Shape { m: count(case, "m")?, n: count(case, "n")?, k: count(case, "k")? };
        let needed = shape.bytes(format.element());
        if needed > room(gpu) {
            return Ok(too_large(case, needed, room(gpu)));
        }
        let bench = lab.bench(gpu.index)?;
        let engine = match case.get_word("engine") {
            Some("own") if own_kernel(&bench, format) => Engine::Own,
            Some("own") => return Ok(waived(case, Waiver::Unsupported { what: format!("the {name} kernel on this chip") })),
            Some("cublaslt") => match library(case, lab, &bench, format, shape)? {
                Ok(engine) => engine,
                Err(outcome) => return Ok(outcome),
            },
            _ => return Err(unknown(case)),
        };
        let sets = (l2(gpu) * 2).0.div_ceil(needed.0.max(1)).min(usable(gpu).0 / needed.0.max(1)).clamp(1, MOST_SETS);
        let mut trial = Product::new(&bench, engine, format, shape, sets, lab.seed)?;
        let mut clock = GpuClock::with_stream(bench.stream.clone())?;
        trial.choose(&mut clock)?;
        // The library's FP8 plans let the tensor cores keep fewer bits of the sums than FP32 has.
        let fast = format == Format::E4m3 && matches!(trial.engine, Engine::Library { .. });
        let sums = if fast { "fp32, fast accumulation" } else { "fp32" };
        let (engine, algorithm, workspace) = trial.engine.describe();
        let conditions = [
            ("engine", engine),
            ("algorithm", algorithm),
            ("workspace", workspace),
            ("data", "uniform in [-1, 1)".into()),
            ("seed", lab.seed.to_string()),
            ("rotation", (needed * sets).to_string()),
            ("sums", sums.into()),
        ];
        lab.time(case, gpu.index, &mut clock, &mut trial, &lab.plan(2.0), conditions)
    }
}

fn own_kernel(bench: &Bench, format: Format) -> bool {
    match format {
        Format::Bf16 => bench.gpu.has_kernel::<GemmBf16<'_>>(),
        Format::E4m3 => bench.gpu.has_kernel::<GemmE4m3<'_>>(),
    }
}

/// The library's plan for a product, or the waiver of the case.
fn library(case: &Case, lab: &Lab<'_>, bench: &Bench, format: Format, shape: Shape) -> Result<std::result::Result<Engine, Outcome>> {
    let library = match lt::open(lab.machine, bench)? {
        Ok(library) => library,
        Err(waiver) => return Ok(Err(waived(case, waiver))),
    };
    let [m, n, k] = extents(shape)?;
    let version = library.version().map_or_else(|| "of unknown version".into(), |(major, minor, patch)| format!("{major}.{minor}.{patch}"));
    match library.plan(format.library(), m, n, k, lt::WORKSPACE) {
        Ok(plan) => Ok(Ok(Engine::Library { plan: Box::new(plan), version })),
        Err(Error::Unavailable { why, .. }) => {
            Ok(Err(waived(case, Waiver::Unsupported { what: format!("this product by cublasLt: {why}") })))
        }
        Err(error) => Err(error),
    }
}

/// A shape as the kernels take it.
fn extents(shape: Shape) -> Result<[u32; 3]> {
    let [m, n, k] = [shape.m, shape.n, shape.k].map(u32::try_from);
    match (m, n, k) {
        (Ok(m), Ok(n), Ok(k)) => Ok([m, n, k]),
        _ => Err(Error::usage(format!("multiplying {shape:?}: expected extents below 2^32"))),
    }
}

/// What multiplies.
enum Engine {
    Own,
    Library { plan: Box<LtPlan>, version: String },
}

impl Engine {
    /// Engine, algorithm and workspace, as the record names them.
    fn describe(&self) -> (String, String, String) {
        match self {
            Self::Own => {
                let algorithm = format!("mma.sync, {}x{} tiles, {} stages", GEMM_LAUNCH.tile_m, GEMM_LAUNCH.tile_n, GEMM_LAUNCH.stages);
                ("own".into(), algorithm, Bytes(0).to_string())
            }
            Self::Library { plan, version } => (format!("cublaslt {version}"), plan.algorithm(), plan.workspace().to_string()),
        }
    }
}

/// One set of matrices.
struct Set {
    a: DeviceBuffer,
    b: DeviceBuffer,
    c: DeviceBuffer,
}

/// A product over rotating sets of matrices.
struct Product {
    bench: Bench,
    engine: Engine,
    format: Format,
    shape: Shape,
    sets: Vec<Set>,
    seed: u64,
    iterations: u64,
}

impl Product {
    fn new(bench: &Bench, engine: Engine, format: Format, shape: Shape, sets: u64, seed: u64) -> Result<Self> {
        let Shape { m, n, k } = shape;
        let operand = |elements: u64, seed: u64| -> Result<DeviceBuffer> {
            let buffer = bench.gpu.allocate(Bytes(elements * format.element()))?;
            match format {
                Format::Bf16 => bench.launch(&FillUniformBf16 { out: buffer.output(), n: elements, seed, scale: 1.0 })?,
                Format::E4m3 => bench.launch(&FillUniformE4m3 { out: buffer.output(), n: elements, seed, scale: 1.0 })?,
            }
            Ok(buffer)
        };
        let set = |index: u64| -> Result<Set> {
            let c = bench.gpu.allocate_elements::<u16>(m * n)?;
            // All ones is a NaN.
            bench.stream.set(c.view::<u8>(), 0xff)?;
            let seed = seed.wrapping_add(2 * index);
            Ok(Set { a: operand(m * k, seed)?, b: operand(n * k, seed.wrapping_add(1))?, c })
        };
        let sets = (0..sets).map(set).collect::<Result<_>>()?;
        Ok(Self { bench: bench.clone(), engine, format, shape, sets, seed, iterations: 0 })
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

    fn once(&self, set: &Set) -> Result<()> {
        let stream = &self.bench.stream;
        let [m, n, k] = extents(self.shape)?;
        let Set { a, b, c } = set;
        let blocks = m.div_ceil(GEMM_LAUNCH.tile_m).saturating_mul(n.div_ceil(GEMM_LAUNCH.tile_n));
        let launch = gpu::Shape { shared: GEMM_LAUNCH.shared_bytes, ..gpu::Shape::line(blocks, GEMM_LAUNCH.block) };
        match (&self.engine, self.format) {
            (Engine::Own, Format::Bf16) => stream.launch(&GemmBf16 { a: a.input(), b: b.input(), c: c.output(), m, n, k }, launch),
            (Engine::Own, Format::E4m3) => stream.launch(&GemmE4m3 { a: a.input(), b: b.input(), c: c.output(), m, n, k }, launch),
            (Engine::Library { plan, .. }, _) => plan.enqueue(stream, a.view(), b.view(), c.view()),
        }
    }

    /// Compare `C·x` with `A·(Bᵀ·x)` for every vector of the test.
    fn check_set(&self, set: &Set) -> Result<Option<String>> {
        let Shape { m, n, k } = self.shape;
        let (bench, stream) = (&self.bench, &self.bench.stream);
        let test = Freivalds::new(self.format.arithmetic(), n, k, 1.0, self.seed ^ CHECK_SEED);
        let vector = |length: u64| bench.gpu.allocate_elements::<f64>(length);
        let (x, through_b, reference, product) = (vector(n)?, vector(k)?, vector(m)?, vector(m)?);
        for slab in 0..test.slabs() {
            x.write(stream, &test.vector(slab))?;
            for sums in [&through_b, &reference, &product] {
                stream.set(sums.view::<u8>(), 0)?;
            }
            match self.format {
                Format::Bf16 => {
                    let (a, b) = (set.a.input(), set.b.input());
                    bench.launch(&MatvecTransposedBf16 { a: b, x: x.input(), y: through_b.output(), rows: n, cols: k })?;
                    bench.launch(&MatvecBf16 { a, x: through_b.input(), y: reference.output(), rows: m, cols: k })?;
                }
                Format::E4m3 => {
                    let (a, b) = (set.a.input(), set.b.input());
                    bench.launch(&MatvecTransposedE4m3 { a: b, x: x.input(), y: through_b.output(), rows: n, cols: k })?;
                    bench.launch(&MatvecE4m3 { a, x: through_b.input(), y: reference.output(), rows: m, cols: k })?;
                }
            }
            bench.launch(&MatvecBf16 { a: set.c.input(), x: x.input(), y: product.output(), rows: m, cols: n })?;
            let (product, reference) = (product.read::<f64>(stream, m)?, reference.read::<f64>(stream, m)?);
            if let Some(wrong) = test.compare(&product, &reference)? {
                return Ok(Some(wrong));
            }
        }
        Ok(None)
    }
}

impl Trial for Product {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        for iteration in self.iterations..self.iterations + iterations {
            let index = (iteration % self.sets.len().max(1) as u64) as usize;
            if let Some(set) = self.sets.get(index) {
                self.once(set)?;
            }
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
        let used = self.iterations.min(self.sets.len() as u64) as usize;
        for (index, set) in self.sets.iter().take(used).enumerate() {
            if let Some(wrong) = self.check_set(set)? {
                return Ok(Some(format!("set {index}: {wrong}")));
            }
        }
        Ok(None)
    }
}
