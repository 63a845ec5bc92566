//! The kernels that measure the rate of instructions: how many operations a launch has, and what it writes.
//!
//! Every warp does the same, so one is played and its answers are written for all. The plain cores' kernels are the C compiler's code. Those of
//! the tensor cores are played here from the definition of `mma.sync`: which element of a matrix which register of which lane holds. Hopper's own have a
//! file of their own.

use crate::scenario::{Gpu, Pipes};
use crate::wgmma::Wgmma;

/// Accumulators of a warp, and numbers of a thread.
const CHAINS: u64 = 8;

/// A kernel that measures a rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pipe {
    name: &'static str,
    /// Operations of one thread in one round.
    pub(crate) operations: f64,
    /// Bytes that each thread writes.
    pub(crate) width: u64,
    rate: fn(&Pipes) -> f64,
    instruction: Option<Instruction>,
    wgmma: Option<Wgmma>,
}

impl PartialEq for Pipe {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// An `mma.sync`: its extents, elements in a register, steps in a round, the constant factor, and the bits by which the random one is cut.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Instruction {
    m: u64,
    n: u64,
    k: u64,
    packed: u64,
    steps: u64,
    constant: i64,
    cut: u32,
}

impl Pipe {
    pub(crate) fn named(name: &'static str) -> Option<Self> {
        let cores =
            |numbers: f64, width, rate| Self { name, operations: 2.0 * 16.0 * 8.0 * numbers, width, rate, instruction: None, wgmma: None };
        let tensor = |instruction: Instruction, rate| {
            let Instruction { m, n, k, steps, .. } = instruction;
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let operations = (2 * m * n * k * steps * CHAINS) as f64 / 32.0;
            Self { name, operations, width: 4, rate, instruction: Some(instruction), wgmma: None }
        };
        if let Some(wgmma) = Wgmma::named(name) {
            let rate = match name {
                "tensor_hopper_bf16" => |pipes: &Pipes| pipes.wgmma_bf16_tflops,
                "tensor_hopper_f16" => |pipes: &Pipes| pipes.wgmma_fp16_tflops,
                "tensor_hopper_tf32" => |pipes: &Pipes| pipes.wgmma_tf32_tflops,
                "tensor_hopper_e4m3" => |pipes: &Pipes| pipes.wgmma_e4m3_tflops,
                "tensor_hopper_e5m2" => |pipes: &Pipes| pipes.wgmma_e5m2_tflops,
                _ => |pipes: &Pipes| pipes.wgmma_int8_tflops,
            };
            return Some(Self { name, operations: wgmma.operations(), width: 4, rate, instruction: None, wgmma: Some(wgmma) });
        }
        let large = |k, packed| Instruction { m: 16, n: 8, k, packed, steps: 4, constant: 3, cut: 0 };
        Some(match name {
            "fma_f32" => cores(1.0, 4, |pipes: &Pipes| pipes.fma_fp32_tflops),
            "fma_f64" => cores(1.0, 8, |pipes: &Pipes| pipes.fma_fp64_tflops),
            "fma_f16" => cores(2.0, 4, |pipes: &Pipes| pipes.fma_fp16_tflops),
            "tensor_bf16" => tensor(large(16, 2), |pipes| pipes.bf16_tflops),
            "tensor_f16" => tensor(large(16, 2), |pipes| pipes.fp16_tflops),
            "tensor_tf32" => tensor(large(8, 1), |pipes| pipes.tf32_tflops),
            "tensor_int8" => tensor(large(32, 4), |pipes| pipes.int8_tflops),
            "tensor_e4m3" => tensor(Instruction { steps: 32, constant: 1, cut: 5, ..large(32, 4) }, |pipes| pipes.e4m3_tflops),
            "tensor_f64" => tensor(Instruction { m: 8, steps: 1, ..large(4, 1) }, |pipes| pipes.fp64_tflops),
            _ => return None,
        })
    }

    /// True nanoseconds of so many operations.
    pub(crate) fn ns(self, gpu: &Gpu, operations: f64) -> f64 {
        operations / ((self.rate)(&gpu.pipes) * 1e3)
    }

    /// What the threads that share an instruction of a tensor kernel write after so many rounds, a warp or four; `None` for the plain cores.
    pub(crate) fn lanes(self, rounds: u32) -> Option<Vec<u32>> {
        let warp = self.instruction.map(|instruction| instruction.lanes(rounds).to_vec());
        warp.or_else(|| self.wgmma.map(|wgmma| wgmma.threads(rounds)))
    }
}

impl Instruction {
    /// Element `i` of the random factor in a lane.
    fn held(&self, lane: u64, i: u64) -> i64 {
        let mut x = lane * 64 + i / 4;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        (i64::from((x >> (8 * (i % 4))).to_le_bytes()[0]) - 128) >> self.cut
    }

    fn lanes(&self, rounds: u32) -> [u32; 32] {
        let Self { m, n, k, packed, steps, constant, .. } = *self;
        let at = |row: u64, column: u64, columns: u64| usize::try_from(row * columns + column).unwrap_or(usize::MAX);
        let mut a = vec![0i64; at(m, 0, k)];
        let mut b = vec![0i64; at(n, 0, k)];
        let halves = m / 8;
        for lane in 0..32 {
            let (group, place) = (lane / 4, lane % 4);
            for i in 0..m * k / 32 {
                // Registers alternate between the upper and the lower eight rows, then go on along k.
                let (register, within) = (i / packed, i % packed);
                a[at(group + 8 * (register % halves), 4 * packed * (register / halves) + packed * place + within, k)] = self.held(lane, i);
            }
            for i in 0..n * k / 32 {
                b[at(group, 4 * packed * (i / packed) + packed * place + i % packed, k)] = self.held(lane, i);
            }
        }
        let sum = |row: &[i64]| row.iter().sum::<i64>() * constant;
        let (of_a, of_b): (Vec<i64>, Vec<i64>) = (a.chunks(at(0, k, k)).map(sum).collect(), b.chunks(at(0, k, k)).map(sum).collect());
        let times = i64::from(rounds) * steps.cast_signed() * (CHAINS / 2).cast_signed();
        std::array::from_fn(|lane| {
            let (group, place) = (lane / 4, lane % 4);
            // Each register of D holds one element; of the even chains its row counts, of the odd ones its column.
            let elements =
                (0..usize::try_from(halves).unwrap_or(1)).flat_map(|half| [0, 1].map(|next| (group + 8 * half, 2 * place + next)));
            let each: i64 = elements.map(|(row, column)| of_a[row] + of_b[column]).sum();
            let [a, b, c, d, ..] = each.wrapping_mul(times).to_le_bytes();
            u32::from_le_bytes([a, b, c, d])
        })
    }
}
