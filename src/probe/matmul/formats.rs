//! Products in the formats that only the library multiplies in: FP16, FP8 with E5M2, TF32, FP32, INT8, FP64, FP4.
//!
//! One square for each, as large as its format deserves: what is of interest is the rate of the units that have it. There is a plan object per
//! shape; every algorithm that the library suggests is tried for a moment, in as much time as the case has, and the fastest is kept. FP8 has a
//! scale per operand and FP4 one for every 16 elements, all of them 1, in device memory. Formats that chip or library do not have are waived.
//!
//! Operands are uniform in the format's own range: [−1, 1) in floating point, [−127, 127] in INT8, [−6, 6] in FP4. Each product is checked as
//! [`freivalds`](super::super::freivalds) says, with the bounds of its format.

use super::super::facts::{l2, needs_capability, usable};
use super::super::freivalds::{Arithmetic, Freivalds};
use super::super::rig::{Bench, too_large, waived};
use super::super::shapes::{largest_square, room};
use super::super::{Effort, Lab};
use super::check::{self, Vectors};
use super::{CHECK_SEED, extents, lt};
use crate::error::{Error, Result};
use crate::gpu::{
    DeviceBuffer, FillUniformBf16, FillUniformE2m1, FillUniformE4m3, FillUniformE5m2, FillUniformF16, FillUniformF32, FillUniformF64,
    FillUniformI8, LtFormat, LtPlan, MatvecAny, MatvecTransposedAny, View,
};
use crate::machine::Gpu;
use crate::measure::{Case, Clock, GemmShape, GpuClock, Outcome, Trial, Work};
use crate::units::{Bytes, Seconds};

/// Products that each suggestion is tried for, where there is time.
const TRIED: u64 = 3;

/// Share of a case's time in which the suggestions are tried.
const TRYING: f64 = 0.5;

/// Every matrix begins at a multiple of this, as memory of its own would.
const ALIGNMENT: u64 = 256;

/// What the seed of B differs in from A's.
const OTHER_SEED: u64 = 0xb;

/// A format, and everything about its products.
#[derive(Debug)]
pub(super) struct Kind {
    /// As cases name it.
    pub(super) name: &'static str,
    library: LtFormat,
    arithmetic: Arithmetic,
    /// What A, B and the result hold.
    stored: [Stored; 3],
    /// Operands are uniform in plus and minus this.
    scale: f32,
    /// The first compute capability with the instruction.
    capability: (u32, u32),
    /// Side of the square, where the chip has full and where it has little hardware for it.
    side: u64,
    conditions: (&'static str, &'static str),
}

/// How elements are stored: the numbers by which the checking kernels know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    Bf16 = 0,
    E4m3 = 1,
    E5m2 = 2,
    F16 = 3,
    F32 = 4,
    I8 = 5,
    I32 = 6,
    F64 = 7,
    E2m1 = 8,
}

/// Side of the largest squares; those of slower formats are smaller, so that a product lasts no longer.
const LARGE: u64 = 8192;
const SMALL: u64 = 4096;

/// Side of an FP64 square on chips with little FP64 hardware.
const LEAST: u64 = 2048;

/// The chips with as many FP64 units as a computing center wants.
const FULL_FP64: [(u32, u32); 3] = [(8, 0), (9, 0), (10, 0)];

pub(super) static KINDS: [Kind; 7] = [
    Kind {
        name: "fp16",
        library: LtFormat::Fp16,
        arithmetic: Arithmetic::Fp16,
        stored: [Stored::F16; 3],
        scale: 1.0,
        capability: (7, 5),
        side: LARGE,
        conditions: ("uniform in [-1, 1)", "fp32"),
    },
    Kind {
        name: "e5m2",
        library: LtFormat::E5m2,
        arithmetic: Arithmetic::Fp8,
        stored: [Stored::E5m2, Stored::E4m3, Stored::Bf16],
        scale: 1.0,
        capability: (8, 9),
        side: LARGE,
        conditions: ("uniform in [-1, 1), A in E5M2 and B in E4M3", "fp32, fast accumulation"),
    },
    Kind {
        name: "tf32",
        library: LtFormat::Tf32,
        arithmetic: Arithmetic::Tf32,
        stored: [Stored::F32; 3],
        scale: 1.0,
        capability: (8, 0),
        side: LARGE,
        conditions: ("uniform in [-1, 1), all bits of FP32", "fp32"),
    },
    Kind {
        name: "fp32",
        library: LtFormat::Fp32,
        arithmetic: Arithmetic::Fp32,
        stored: [Stored::F32; 3],
        scale: 1.0,
        capability: (0, 0),
        side: SMALL,
        conditions: ("uniform in [-1, 1)", "fp32"),
    },
    Kind {
        name: "int8",
        library: LtFormat::Int8,
        arithmetic: Arithmetic::Int8,
        stored: [Stored::I8, Stored::I8, Stored::I32],
        scale: 127.0,
        capability: (7, 5),
        side: LARGE,
        conditions: ("whole numbers, uniform in [-127, 127]", "int32"),
    },
    Kind {
        name: "fp64",
        library: LtFormat::Fp64,
        arithmetic: Arithmetic::Fp64,
        stored: [Stored::F64; 3],
        scale: 1.0,
        capability: (0, 0),
        side: SMALL,
        conditions: ("uniform in [-1, 1)", "fp64"),
    },
    Kind {
        name: "fp4",
        library: LtFormat::Fp4,
        arithmetic: Arithmetic::Fp8,
        stored: [Stored::E2m1, Stored::E2m1, Stored::Bf16],
        scale: 6.0,
        capability: (10, 0),
        side: LARGE,
        conditions: ("uniform in [-6, 6], rounded to E2M1, scales of 16 elements all 1", "fp32"),
    },
];

impl Kind {
    /// The format of this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// Bytes of A, B and C.
    fn bytes(&self, shape: GemmShape) -> [u64; 3] {
        let GemmShape { m, n, k } = shape;
        let factor = |rows: u64| (rows * k * self.library.bits()).div_ceil(8);
        [factor(m), factor(n), m * n * self.library.result_bytes()]
    }

    /// The square that is measured on a GPU: no larger than the largest for which there is room.
    fn square(&self, gpu: &Gpu) -> GemmShape {
        let little = self.name == "fp64" && gpu.compute_capability.known().is_none_or(|found| !FULL_FP64.contains(found));
        let side = if little { LEAST } else { self.side };
        GemmShape::square(largest_square(side, |shape| Bytes(self.bytes(shape).iter().sum()) <= room(gpu)))
    }

    /// Fills an array of a format with random elements.
    fn fill(&self, bench: &Bench, stored: Stored, out: &DeviceBuffer, seed: u64) -> Result<()> {
        let (bytes, scale) = (out.bytes().0, self.scale);
        match stored {
            Stored::Bf16 => bench.launch(&FillUniformBf16 { out: out.output(), n: bytes / 2, seed, scale }),
            Stored::E4m3 => bench.launch(&FillUniformE4m3 { out: out.output(), n: bytes, seed, scale }),
            Stored::E5m2 => bench.launch(&FillUniformE5m2 { out: out.output(), n: bytes, seed, scale }),
            Stored::F16 => bench.launch(&FillUniformF16 { out: out.output(), n: bytes / 2, seed, scale }),
            Stored::F32 | Stored::I32 => bench.launch(&FillUniformF32 { out: out.output(), n: bytes / 4, seed, scale }),
            Stored::I8 => bench.launch(&FillUniformI8 { out: out.output(), n: bytes, seed, scale }),
            Stored::F64 => bench.launch(&FillUniformF64 { out: out.output(), n: bytes / 8, seed, scale }),
            Stored::E2m1 => bench.launch(&FillUniformE2m1 { out: out.output(), n: bytes * 2, seed, scale }),
        }
    }
}

/// The cases on a GPU among `all`: what one of a model does, the others do too, and only a thorough run looks.
pub(super) fn cases(gpu: &Gpu, all: &[Gpu], effort: Effort) -> Vec<Case> {
    let first = all.iter().find(|other| other.name == gpu.name).is_some_and(|first| first.index == gpu.index);
    let kinds = if first || effort == Effort::Thorough { &KINDS[..] } else { &[] };
    kinds.iter().map(|kind| super::named_case(kind.name, "cublaslt", kind.square(gpu), gpu.index)).collect()
}

/// Measures one of them.
pub(super) fn run(case: &Case, kind: &'static Kind, gpu: &Gpu, shape: GemmShape, lab: &mut Lab<'_>) -> Result<Outcome> {
    let bench = lab.bench(gpu.index)?;
    let library = match lt::kept(lab, gpu.index, &bench)? {
        Ok(library) => library,
        Err(waiver) => return Ok(waived(case, waiver)),
    };
    if let Err(waiver) = needs_capability(gpu, kind.capability) {
        return Ok(waived(case, waiver));
    }
    let needed = Bytes(kind.bytes(shape).iter().sum());
    if needed > room(gpu) {
        return Ok(too_large(case, needed, room(gpu)));
    }
    let plan = match lt::plan(&library, kind.library, extents(shape)?, kind.name)? {
        Ok(plan) => plan,
        Err(waiver) => return Ok(waived(case, waiver)),
    };
    // The pools of the other formats would take memory, and have no further use.
    lab.rig.operands.clear();
    let matrices = Matrices::new(&bench, kind, shape, (l2(gpu) * 2, usable(gpu) / 2), lab.seed)?;
    let rotation = needed * matrices.count;
    let mut trial = Product { bench: bench.clone(), kind, shape, plan, matrices, seed: lab.seed, iterations: 0 };
    let mut clock = GpuClock::with_stream(bench.stream.clone())?;
    let tried = trial.choose(&mut clock, lab.budget * TRYING)?;
    let (data, sums) = kind.conditions;
    let conditions = [
        ("engine", lt::name(&library)),
        ("algorithm", trial.plan.algorithm()),
        ("tried", format!("{tried} of {} suggestions", trial.plan.algorithms())),
        ("workspace", trial.plan.workspace().to_string()),
        ("data", data.into()),
        ("seed", lab.seed.to_string()),
        ("rotation", rotation.to_string()),
        ("sums", sums.into()),
    ];
    let plan = lab.plan(2.0);
    lab.time(case, gpu.index, &mut clock, &mut trial, &plan, conditions)
}

/// Whether the library, having suggested an algorithm, does not do it: that is no fault of the device.
fn is_refusal(error: &Error) -> bool {
    const REFUSALS: [&str; 3] = ["NOT_SUPPORTED", "INVALID_VALUE", "ARCH_MISMATCH"];
    matches!(error, Error::Gpu { call: "cublasLtMatmul", code, .. } if REFUSALS.iter().any(|refusal| code.contains(refusal)))
}

/// Sets of A, B and C, each kind in an array of its own.
struct Matrices {
    arrays: [DeviceBuffer; 3],
    strides: [u64; 3],
    bytes: [u64; 3],
    count: u64,
}

impl Matrices {
    /// As many sets as together take `wanted`, as far as `most` allows; A and B random, C all ones, which is a NaN or −1.
    fn new(bench: &Bench, kind: &Kind, shape: GemmShape, (wanted, most): (Bytes, Bytes), seed: u64) -> Result<Self> {
        let bytes = kind.bytes(shape);
        let strides = bytes.map(|bytes| bytes.next_multiple_of(ALIGNMENT));
        let each: u64 = strides.iter().sum();
        let count = wanted.0.div_ceil(each).min(most.0 / each).max(1);
        let [a, b, c] = strides.map(|stride| bench.gpu.allocate(Bytes(stride * count)));
        let arrays = [a?, b?, c?];
        kind.fill(bench, kind.stored[0], &arrays[0], seed)?;
        kind.fill(bench, kind.stored[1], &arrays[1], seed ^ OTHER_SEED)?;
        bench.stream.set(arrays[2].view::<u8>(), 0xff)?;
        Ok(Self { arrays, strides, bytes, count })
    }

    /// One of the sets.
    fn get(&self, index: u64) -> Result<[View<'_, u8>; 3]> {
        let part = |which: usize| self.arrays[which].view::<u8>().slice(index * self.strides[which], self.bytes[which]);
        Ok([part(0)?, part(1)?, part(2)?])
    }
}

/// A product over rotating sets of matrices.
struct Product {
    bench: Bench,
    kind: &'static Kind,
    shape: GemmShape,
    plan: LtPlan,
    matrices: Matrices,
    seed: u64,
    iterations: u64,
}

impl Product {
    /// Try the library's suggestions, as far as they fit into `limit`, and keep the fastest; returns how many were tried. Those that it then
    /// refuses are passed over.
    fn choose(&mut self, clock: &mut GpuClock, limit: Seconds) -> Result<usize> {
        let (mut spent, mut best, mut tried, mut refused) = (Seconds(0.0), (Seconds(f64::INFINITY), 0), 0, None);
        for algorithm in 0..self.plan.algorithms() {
            self.plan.choose(algorithm);
            // The first product of an algorithm loads its code, which must not happen behind the gate.
            match clock.rehearse(self) {
                Err(error) if is_refusal(&error) => {
                    refused = Some(error);
                    continue;
                }
                rehearsed => rehearsed?,
            }
            let once = clock.time(self, 1)?;
            let again = if spent + once * (TRIED + 1) as f64 <= limit { TRIED } else { 0 };
            let time = if again > 0 { clock.time(self, again)? * (1.0 / again as f64) } else { once };
            if time < best.0 {
                best = (time, algorithm);
            }
            (spent, tried) = (spent + once * (2 + again) as f64, tried + 1);
            if spent >= limit {
                break;
            }
        }
        match refused {
            Some(error) if tried == 0 => Err(Error::Unavailable {
                doing: format!("multiplying in {} by cublasLt", self.kind.name),
                why: error.to_string(),
                remedy: "try another version of the library".into(),
            }),
            _ => {
                self.plan.choose(best.1);
                Ok(tried)
            }
        }
    }

    /// Compare `C·x` with `A·(Bᵀ·x)` for every vector of the test.
    fn check_set(&self, [a, b, c]: [View<'_, u8>; 3]) -> Result<Option<String>> {
        let (GemmShape { m, n, k }, bench) = (self.shape, &self.bench);
        let test = Freivalds::new(self.kind.arithmetic, n, k, f64::from(self.kind.scale), self.seed ^ CHECK_SEED);
        let [of_a, of_b, of_c] = self.kind.stored.map(|stored| stored as u32);
        check::examine(bench, &test, self.shape, |Vectors { x, through_b, reference, product }| {
            let (input, through) = (x.input(), through_b.input());
            bench.launch(&MatvecTransposedAny { format: of_b, a: b.into(), x: input, y: through_b.output(), rows: n, cols: k })?;
            bench.launch(&MatvecAny { format: of_a, a: a.into(), x: through, y: reference.output(), rows: m, cols: k })?;
            bench.launch(&MatvecAny { format: of_c, a: c.into(), x: input, y: product.output(), rows: m, cols: n })
        })
    }
}

impl Trial for Product {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        for iteration in self.iterations..self.iterations + iterations {
            let [a, b, c] = self.matrices.get(iteration % self.matrices.count)?;
            self.plan.enqueue(&self.bench.stream, a, b, c)?;
        }
        self.iterations += iterations;
        Ok(())
    }

    fn work(&self) -> Work {
        Work::computing(self.shape.flops(), Bytes(self.kind.bytes(self.shape).iter().sum()))
    }

    fn launches_per_iteration(&self) -> u64 {
        // The library may add a kernel that sums partial products.
        2
    }

    fn check(&mut self) -> Result<Option<String>> {
        check::first_wrong(self.iterations.min(self.matrices.count), |index| self.check_set(self.matrices.get(index)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::facts::tests::gpu;
    use super::*;
    use crate::machine::Fact;

    #[test]
    fn only_the_librarys_own_refusals_are_passed_over() {
        let error =
            |call, code: &str| Error::Gpu { doing: String::new(), call, code: code.into(), why: String::new(), remedy: String::new() };
        assert!(is_refusal(&error("cublasLtMatmul", "CUBLAS_STATUS_NOT_SUPPORTED")));
        assert!(!is_refusal(&error("cublasLtMatmul", "CUBLAS_STATUS_EXECUTION_FAILED")));
        assert!(!is_refusal(&error("cuStreamSynchronize", "CUDA_ERROR_NOT_SUPPORTED")));
    }

    #[test]
    fn squares_fit_and_slow_formats_have_small_ones() {
        let mut large = gpu(0, Bytes::gib(80), Bytes::mib(50));
        let sides = |gpu: &Gpu| KINDS.iter().map(|kind| kind.square(gpu).m).collect::<Vec<_>>();
        assert_eq!(sides(&large), [8192, 8192, 8192, 4096, 8192, 4096, 8192]);
        large.compute_capability = Fact::Known((8, 9));
        assert_eq!(sides(&large), [8192, 8192, 8192, 4096, 8192, 2048, 8192]);
        let small = gpu(0, Bytes::gib(2), Bytes::mib(50));
        assert_eq!(sides(&small), [4096, 8192, 4096, 4096, 4096, 2048, 8192]);
    }

    #[test]
    fn one_gpu_of_a_model_is_enough_unless_there_is_time() {
        let all: Vec<Gpu> = (0..3).map(|index| gpu(index, Bytes::gib(80), Bytes::mib(50))).collect();
        let count = |effort| all.iter().map(|gpu| cases(gpu, &all, effort).len()).collect::<Vec<_>>();
        assert_eq!(count(Effort::Quick), [7, 0, 0]);
        assert_eq!(count(Effort::Thorough), [7, 7, 7]);
    }
}
