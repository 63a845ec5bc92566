//! The rate of the chip's multiply-adds alone, with operands on the chip: what nothing that reads memory can exceed.
//!
//! `engine=mma` is `mma.sync` on the tensor cores, by number format; `engine=wgmma` Hopper's own instruction, whose operands are in shared memory;
//! `engine=fma` the multiply-adds of the plain cores. A product of matrices that is slower than the fastest of them waits for data; one that is as
//! slow as this at a low clock waits for power. Each case is a **burst** of less than a second: how the rate falls when the chip is hot is another
//! quantity. Hopper and the large Blackwell chips reach their full rate by instructions of their own (`wgmma`, `tcgen05`), of which `mma.sync`
//! reaches a part; the conditions say so.
//!
//! One launch lasts about half a millisecond, of `wgmma` two: a trial launch tells how many rounds that takes. Numbers are chosen so that the answer
//! is known exactly, and every thread's is compared after the last launch, see [`reference`](crate::gpu::reference). One factor of `mma.sync`'s
//! products is random and the other constant, so they draw somewhat less power than a product of random matrices does; both of `wgmma`'s are random,
//! of small whole numbers.
//!
//! No hardware has proven the kernels of `wgmma` yet. So they are tried in a process of their own first (see [`proof`](super::proof)), and where one
//! is refused or goes wrong later, its case is waived with what was seen: nothing that goes wrong there says that the GPU is bad.

use super::facts::{gpu_on, needs_capability, needs_gpu, unknown};
use super::proof::Proofs;
use super::rig::{BLOCK, Bench, operation, waived};
use super::{Effort, Lab, Probe, Rig};
use crate::error::{Error, Result};
use crate::gpu::reference::{Fma, TensorFormat, fma_lane, tensor_warp, wgmma_thread};
use crate::gpu::{
    DeviceBuffer, FmaF16, FmaF32, FmaF64, Gpu, Shape, TensorBf16, TensorE4m3, TensorF16, TensorF64, TensorInt8, TensorTf32,
    WGMMA_PROVEN_ON_HARDWARE, WgmmaFormat,
};
use crate::machine::{self, Machine};
use crate::measure::{Case, Clock, GpuClock, Outcome, Trial, Waiver, Work};
use crate::units::{Bytes, Flops, Seconds};

/// Time that one launch should last: hundreds of times what lies between two launches.
const LAUNCH: Seconds = Seconds(5e-4);

/// The same where operands have to be written to shared memory first.
const LONG_LAUNCH: Seconds = Seconds(2e-3);

/// Rounds of the launch that tells how many are needed.
const FIRST: u32 = 16;

/// Rounds at most of the plain cores' kernels, whose every step the host repeats for one warp.
const MOST_FMA: u32 = 256;

/// Threads of a warp.
const WARP: usize = 32;

/// Warps of a group that issues `wgmma`.
const WARPS_OF_GROUP: u64 = 4;

/// Rounds with which a kernel of `wgmma` is tried: one, more than the sums of a segment, and about as many as are timed.
const TRIED: [u32; 3] = [1, 100, 1000];

/// The `tensor` probe.
pub(super) struct Tensor;

/// What is issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instruction {
    /// `mma.sync` in a format.
    Mma(TensorFormat),
    /// Hopper's `wgmma` in a format.
    Wgmma(WgmmaFormat),
    /// A multiply-add of the plain cores.
    Fma(Fma),
}

/// Format and engine as cases name them, the instruction, and the first compute capability that has it.
const KINDS: [(&str, &str, Instruction, (u32, u32)); 15] = [
    ("bf16", "mma", Instruction::Mma(TensorFormat::Bf16), (8, 0)),
    ("fp16", "mma", Instruction::Mma(TensorFormat::F16), (8, 0)),
    ("tf32", "mma", Instruction::Mma(TensorFormat::Tf32), (8, 0)),
    ("e4m3", "mma", Instruction::Mma(TensorFormat::E4m3), (8, 9)),
    ("int8", "mma", Instruction::Mma(TensorFormat::Int8), (8, 0)),
    ("fp64", "mma", Instruction::Mma(TensorFormat::F64), (8, 0)),
    ("fp16", "fma", Instruction::Fma(Fma::F16), (7, 5)),
    ("fp32", "fma", Instruction::Fma(Fma::F32), (7, 5)),
    ("fp64", "fma", Instruction::Fma(Fma::F64), (7, 5)),
    ("bf16", "wgmma", Instruction::Wgmma(WgmmaFormat::Bf16), (9, 0)),
    ("fp16", "wgmma", Instruction::Wgmma(WgmmaFormat::F16), (9, 0)),
    ("tf32", "wgmma", Instruction::Wgmma(WgmmaFormat::Tf32), (9, 0)),
    ("e4m3", "wgmma", Instruction::Wgmma(WgmmaFormat::E4m3), (9, 0)),
    ("e5m2", "wgmma", Instruction::Wgmma(WgmmaFormat::E5m2), (9, 0)),
    ("int8", "wgmma", Instruction::Wgmma(WgmmaFormat::Int8), (9, 0)),
];

/// Whether a GPU is of the one generation that has `wgmma`: others are not asked for it.
fn has_wgmma(gpu: &machine::Gpu) -> bool {
    matches!(gpu.compute_capability.known(), Some((9, _)))
}

impl Probe for Tensor {
    fn name(&self) -> &'static str {
        "tensor"
    }

    fn about(&self) -> &'static str {
        "rate of the chip's multiply-adds alone, operands on the chip: tensor cores and plain cores, by number format, in a burst"
    }

    fn needs(&self, machine: &Machine) -> Result<(), Waiver> {
        needs_gpu(machine)
    }

    fn cases(&self, machine: &Machine, effort: Effort) -> Vec<Case> {
        // A quick run of many looks at the first of each model only.
        let first = |index: usize| !machine.gpus[..index].iter().any(|earlier| earlier.name == machine.gpus[index].name);
        let wanted = machine.gpus.iter().enumerate().filter(|(index, _)| effort > Effort::Quick || first(*index));
        let case =
            |name: &str, engine: &str, gpu: u32| Case::new(&format!("tensor.{name}")).word("engine", engine).count("gpu", u64::from(gpu));
        let kinds = |gpu| KINDS.into_iter().filter(move |(.., instruction, _)| !instruction.is_wgmma() || has_wgmma(gpu));
        wanted.flat_map(|(_, gpu)| kinds(gpu).map(move |(name, engine, ..)| case(name, engine, gpu.index))).collect()
    }

    fn weight(&self, _: &Case) -> f64 {
        0.25
    }

    fn run(&self, case: &Case, lab: &mut Lab<'_>) -> Result<Outcome> {
        let gpu = gpu_on(lab.machine, case, "gpu")?;
        let (name, engine) = (operation(case)?, case.get_word("engine"));
        let kind = KINDS.into_iter().find(|kind| (kind.0, Some(kind.1)) == (name, engine));
        let (.., instruction, capability) = kind.ok_or_else(|| unknown(case))?;
        if let Err(waiver) = needs_capability(gpu, capability) {
            return Ok(waived(case, waiver));
        }
        let bench = lab.bench(gpu.index)?;
        if !instruction.is_on(&bench.gpu) {
            let what = match instruction {
                Instruction::Wgmma(_) => format!("{name} in wgmma on this chip: there is no code of it"),
                _ => format!("{name} in mma.sync on this chip: it would be converted, and another rate measured"),
            };
            return Ok(waived(case, Waiver::Unsupported { what }));
        }
        let Instruction::Wgmma(format) = instruction else { return measure(case, gpu, &bench, instruction, lab) };
        match trusted(format, &bench, lab) {
            Err(why) => Ok(untrusted(case, name, &why)),
            Ok(()) => match measure(case, gpu, &bench, instruction, lab) {
                Err(error) if !WGMMA_PROVEN_ON_HARDWARE && !error.is_interrupt() => {
                    // What is left of the context has to be in working order, or nothing measured after this can be believed.
                    bench.stream.synchronize()?;
                    let why = reason(error);
                    lab.rig.rates.entry(model(&bench)).or_default().refuse(format, why.clone());
                    Ok(untrusted(case, name, &why))
                }
                outcome => outcome,
            },
        }
    }
}

/// What went wrong, without the case, which the waiver names.
fn reason(error: Error) -> String {
    match error {
        Error::WrongAnswer { what, .. } => what,
        other => other.to_string(),
    }
}

/// The waiver of a case whose kernel is refused.
fn untrusted(case: &Case, name: &str, why: &str) -> Outcome {
    waived(case, Waiver::Unsupported { what: format!("{name} in wgmma that can be trusted: {why}") })
}

/// What identifies GPUs that run the same code alike.
fn model(bench: &Bench) -> String {
    bench.gpu.device().name.clone()
}

/// Whether the kernel of a format may be used on a GPU; the first question has all formats tried.
fn trusted(format: WgmmaFormat, bench: &Bench, lab: &mut Lab<'_>) -> std::result::Result<(), String> {
    let seed = lab.seed;
    let Rig { rates, program, .. } = &mut lab.rig;
    let tried = || Proofs::of(bench, program.as_deref(), seed, WgmmaFormat::ALL);
    match rates.entry(model(bench)).or_insert_with(tried).get(format) {
        Some(Ok(_)) => Ok(()),
        Some(Err(why)) => Err(why.clone()),
        None => Err("it was not tried".into()),
    }
}

/// Runs the kernel of a format with few rounds and with many: how many answers were compared, and what is wrong with them.
pub(super) fn exam(bench: &Bench, format: WgmmaFormat) -> Result<(u64, Option<String>)> {
    let mut trial = Issue::new(bench, Instruction::Wgmma(format))?;
    let mut compared = 0;
    for rounds in TRIED {
        trial.rounds = rounds;
        trial.enqueue(1)?;
        compared += u64::from(trial.threads());
        if let Some(wrong) = trial.check()? {
            return Ok((compared, Some(format!("after {rounds} rounds {wrong}"))));
        }
    }
    Ok((compared, None))
}

fn measure(case: &Case, gpu: &machine::Gpu, bench: &Bench, instruction: Instruction, lab: &Lab<'_>) -> Result<Outcome> {
    let mut clock = GpuClock::with_stream(bench.stream.clone())?;
    let mut trial = Issue::new(bench, instruction)?;
    trial.settle(&mut clock)?;
    let partial = matches!(instruction, Instruction::Mma(_)) && matches!(gpu.compute_capability.known(), Some((9 | 10, _)));
    let reach = if partial { "a part of the tensor cores' rate: this chip reaches the rest by instructions of its own" } else { "all" };
    let conditions = [
        ("engine", instruction.describe()),
        ("load", "burst".into()),
        ("data", trial.instruction.data().into()),
        ("rounds", trial.rounds.to_string()),
        ("threads", trial.threads().to_string()),
        ("reach", reach.into()),
    ];
    lab.time(case, gpu.index, &mut clock, &mut trial, &lab.plan(2.0), conditions)
}

impl Instruction {
    const fn is_wgmma(self) -> bool {
        matches!(self, Self::Wgmma(_))
    }

    /// Whether there is code of it for a chip.
    fn is_on(self, gpu: &Gpu) -> bool {
        match self {
            Self::Mma(TensorFormat::E4m3) => gpu.has_kernel::<TensorE4m3<'_>>(),
            Self::Mma(_) => gpu.has_kernel::<TensorBf16<'_>>(),
            Self::Wgmma(format) => format.runs_on(gpu),
            Self::Fma(_) => gpu.has_kernel::<FmaF32<'_>>(),
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Mma(format) => {
                let [m, n, k] = format.shape();
                format!("sm, mma.sync m{m}n{n}k{k}, operands in registers")
            }
            Self::Wgmma(format) => {
                let [m, n, k] = format.shape();
                format!("sm, wgmma m{m}n{n}k{k}, operands in shared memory")
            }
            Self::Fma(_) => "sm, fused multiply-adds, operands in registers".into(),
        }
    }

    const fn data(self) -> &'static str {
        match self {
            Self::Mma(_) => "whole numbers, one factor random and the other constant",
            Self::Wgmma(_) => "whole numbers, both factors random, all sums alike",
            Self::Fma(_) => "x*x - 1.9 again and again from random numbers in [-1, 1)",
        }
    }

    /// The grid that fills a GPU with its kernel.
    fn grid(self, gpu: &Gpu) -> Result<Shape> {
        match self {
            Self::Mma(TensorFormat::Bf16) => gpu.filling::<TensorBf16<'_>>(BLOCK),
            Self::Mma(TensorFormat::F16) => gpu.filling::<TensorF16<'_>>(BLOCK),
            Self::Mma(TensorFormat::Tf32) => gpu.filling::<TensorTf32<'_>>(BLOCK),
            Self::Mma(TensorFormat::Int8) => gpu.filling::<TensorInt8<'_>>(BLOCK),
            Self::Mma(TensorFormat::E4m3) => gpu.filling::<TensorE4m3<'_>>(BLOCK),
            Self::Mma(TensorFormat::F64) => gpu.filling::<TensorF64<'_>>(BLOCK),
            Self::Wgmma(format) => format.grid(gpu),
            Self::Fma(Fma::F32) => gpu.filling::<FmaF32<'_>>(BLOCK),
            Self::Fma(Fma::F64) => gpu.filling::<FmaF64<'_>>(BLOCK),
            Self::Fma(Fma::F16) => gpu.filling::<FmaF16<'_>>(BLOCK),
        }
    }

    /// Rounds of one launch at most: as long as the answer is exact, or soon repeated.
    const fn most_rounds(self) -> u32 {
        match self {
            Self::Mma(format) => format.most_rounds(),
            Self::Wgmma(format) => format.most_rounds(),
            Self::Fma(_) => MOST_FMA,
        }
    }

    /// How long one launch should last.
    const fn launch_time(self) -> Seconds {
        if self.is_wgmma() { LONG_LAUNCH } else { LAUNCH }
    }

    /// Operations of one warp in one round.
    const fn operations(self) -> u64 {
        match self {
            Self::Mma(format) => format.operations(),
            Self::Wgmma(format) => format.operations() / WARPS_OF_GROUP,
            Self::Fma(format) => format.operations() * WARP as u64,
        }
    }
}

/// A kernel that issues one instruction on the whole GPU.
pub(super) struct Issue {
    bench: Bench,
    instruction: Instruction,
    shape: Shape,
    rounds: u32,
    out: DeviceBuffer,
}

impl Issue {
    /// On as many threads as run at once, for a few rounds.
    ///
    /// # Errors
    /// When the kernel does not load or memory is short.
    pub(super) fn new(bench: &Bench, instruction: Instruction) -> Result<Self> {
        let shape = instruction.grid(&bench.gpu)?;
        let threads = u64::from(shape.grid[0]) * u64::from(shape.block[0]);
        let out = bench.gpu.allocate(Bytes(threads * 8))?;
        bench.stream.set(out.view::<u8>(), 0xff)?;
        Ok(Self { bench: bench.clone(), instruction, shape, rounds: FIRST, out })
    }

    /// Threads of a launch.
    pub(super) const fn threads(&self) -> u32 {
        self.shape.grid[0] * self.shape.block[0]
    }

    /// Takes as many rounds as a launch should last.
    fn settle(&mut self, clock: &mut GpuClock) -> Result<()> {
        clock.rehearse(self)?;
        let time = clock.time(self, 1)?;
        if time.0 > 0.0 {
            let wanted = f64::from(self.rounds) * (self.instruction.launch_time() / time);
            self.rounds = wanted.clamp(1.0, f64::from(self.instruction.most_rounds())) as u32;
        }
        Ok(())
    }

    fn launch(&self) -> Result<()> {
        let (stream, shape) = (&self.bench.stream, self.shape);
        let (rounds, threads) = (self.rounds, self.threads());
        let out = self.out.output();
        match self.instruction {
            Instruction::Mma(TensorFormat::Bf16) => stream.launch(&TensorBf16 { rounds, threads, out }, shape),
            Instruction::Mma(TensorFormat::F16) => stream.launch(&TensorF16 { rounds, threads, out }, shape),
            Instruction::Mma(TensorFormat::Tf32) => stream.launch(&TensorTf32 { rounds, threads, out }, shape),
            Instruction::Mma(TensorFormat::Int8) => stream.launch(&TensorInt8 { rounds, threads, out }, shape),
            Instruction::Mma(TensorFormat::E4m3) => stream.launch(&TensorE4m3 { rounds, threads, out }, shape),
            Instruction::Mma(TensorFormat::F64) => stream.launch(&TensorF64 { rounds, threads, out }, shape),
            Instruction::Wgmma(format) => format.launch(stream, rounds, threads, out, shape),
            Instruction::Fma(Fma::F32) => stream.launch(&FmaF32 { rounds, threads, out }, shape),
            Instruction::Fma(Fma::F64) => stream.launch(&FmaF64 { rounds, threads, out: self.out.output() }, shape),
            Instruction::Fma(Fma::F16) => stream.launch(&FmaF16 { rounds, threads, out }, shape),
        }
    }
}

impl Trial for Issue {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        (0..iterations).try_for_each(|_| self.launch())
    }

    fn work(&self) -> Work {
        let warps = u64::from(self.threads()) / WARP as u64;
        Work::computing(Flops((warps * u64::from(self.rounds) * self.instruction.operations()) as f64), Bytes(0))
    }

    fn check(&mut self) -> Result<Option<String>> {
        let (stream, threads) = (&self.bench.stream, u64::from(self.threads()));
        match self.instruction {
            Instruction::Mma(format) => {
                let expected = tensor_warp(format, self.rounds);
                let found = self.out.read::<u32>(stream, threads)?;
                let sums = found.chunks(WARP).map(|warp| warp.iter().fold(0u32, |sum, lane| sum.wrapping_add(*lane)));
                Ok(wrong("warps", sums, |_| expected))
            }
            Instruction::Wgmma(_) => {
                let found = self.out.read::<u32>(stream, threads)?;
                Ok(wrong("threads", found.into_iter(), |_| wgmma_thread(self.rounds)))
            }
            Instruction::Fma(format) => {
                let lanes: Vec<u64> = (0..WARP as u64).map(|lane| fma_lane(format, lane, self.rounds)).collect();
                let found = match format {
                    Fma::F64 => self.out.read::<u64>(stream, threads)?,
                    _ => self.out.read::<u32>(stream, threads)?.into_iter().map(u64::from).collect(),
                };
                Ok(wrong("threads", found.into_iter(), |thread| lanes.get(thread % WARP).copied().unwrap_or(0)))
            }
        }
    }
}

/// How many answers are wrong and which is the first; `None` when none is.
fn wrong<T: PartialEq + std::fmt::LowerHex>(who: &str, found: impl Iterator<Item = T>, expected: impl Fn(usize) -> T) -> Option<String> {
    let mut wrong = found.enumerate().filter(|(index, found)| *found != expected(*index));
    let (first, answer) = wrong.next()?;
    Some(format!("{} of the {who} are wrong, the first {first}: expected {:x} but found {answer:x}", 1 + wrong.count(), expected(first)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wrong_answer_is_named_and_all_are_counted() {
        assert_eq!(wrong("warps", [5u32, 5, 5].into_iter(), |_| 5), None);
        let found = wrong("threads", [0u64, 1, 7, 3, 16].into_iter(), |index| index as u64);
        assert_eq!(found.as_deref(), Some("2 of the threads are wrong, the first 2: expected 2 but found 7"));
    }

    #[test]
    fn no_kind_is_listed_twice() {
        let ids: std::collections::BTreeSet<_> = KINDS.iter().map(|(name, engine, ..)| (name, engine)).collect();
        assert_eq!(ids.len(), KINDS.len());
    }
}
