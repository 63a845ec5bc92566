//! What the kernels must answer that measure multiply-adds alone, with operands on the chip: `fma_*` and `tensor_*`.

use half::f16;

use super::mix64;
use super::numbers::held;

/// Numbers that one thread of `fma_*` works on, and accumulators of one warp of `tensor_*`.
const CHAINS: u64 = 8;

/// Steps of one round of `fma_*`.
const STEPS: u64 = 16;

/// A format of the `fma_*` kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fma {
    /// FP32.
    F32,
    /// FP64.
    F64,
    /// FP16, two numbers at once.
    F16,
}

impl Fma {
    /// Operations of one thread in one round: a multiplication and an addition for each number and step.
    pub const fn operations(self) -> u64 {
        let numbers = if matches!(self, Self::F16) { 2 } else { 1 };
        2 * STEPS * CHAINS * numbers
    }
}

/// What `fma_*` writes for lane `lane` of every warp after so many rounds of x = x² − 1.9.
pub fn fma_lane(format: Fma, lane: u64, rounds: u32) -> u64 {
    let steps = STEPS * u64::from(rounds);
    let start = |chain| ((mix64(lane * CHAINS + chain) >> 40) as i32 - 0x80_0000) as f32 / 8_388_608.0;
    (0..CHAINS).fold(0, |bits, chain| {
        bits ^ match format {
            Fma::F32 => u64::from((0..steps).fold(start(chain), |x, _| x.mul_add(x, -1.9)).to_bits()),
            Fma::F64 => (0..steps).fold(f64::from(start(chain)), |x, _| x.mul_add(x, -1.9)).to_bits(),
            Fma::F16 => {
                // In FP64 square and sum of numbers of 11 bits are exact, so this rounds once.
                let walk = |x: f16| (0..steps).fold(x, |x, _| f16::from_f64(x.to_f64() * x.to_f64() + f16::from_f64(-1.9).to_f64()));
                let low = f16::from_f32(start(chain));
                let high = f16::from_bits(low.to_bits() ^ 0x8001);
                u64::from(walk(high).to_bits()) << 16 | u64::from(walk(low).to_bits())
            }
        }
    })
}

/// A format of the `tensor_*` kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorFormat {
    /// BF16, m16n8k16.
    Bf16,
    /// FP16, m16n8k16.
    F16,
    /// TF32, m16n8k8.
    Tf32,
    /// INT8, m16n8k32.
    Int8,
    /// FP8 E4M3, m16n8k32.
    E4m3,
    /// FP64, m8n8k4.
    F64,
}

impl TensorFormat {
    /// Rows of A, columns of B, and the length between of one instruction.
    pub const fn shape(self) -> [u64; 3] {
        match self {
            Self::Bf16 | Self::F16 => [16, 8, 16],
            Self::Tf32 => [16, 8, 8],
            Self::Int8 | Self::E4m3 => [16, 8, 32],
            Self::F64 => [8, 8, 4],
        }
    }

    /// Steps of one round.
    pub const fn steps(self) -> u64 {
        match self {
            Self::E4m3 => 32,
            Self::F64 => 1,
            _ => 4,
        }
    }

    /// Rounds at most: beyond, sums would no longer be exact.
    pub const fn most_rounds(self) -> u32 {
        match self {
            Self::E4m3 => 4096,
            Self::F64 | Self::Int8 => 1 << 15,
            _ => 512,
        }
    }

    /// Operations of one warp in one round.
    pub const fn operations(self) -> u64 {
        let [m, n, k] = self.shape();
        2 * m * n * k * CHAINS * self.steps()
    }
}

/// The sum over the 32 lanes of a warp of what `tensor_*` writes after so many rounds, modulo 2^32.
///
/// Four chains multiply a random A with a B whose elements are all the same, four the other way round. All elements of D together are then the
/// constant times the sum of the random factor, as often as the other one has columns or rows, whichever register holds which element.
pub fn tensor_warp(format: TensorFormat, rounds: u32) -> u32 {
    let [m, n, k] = format.shape();
    let (constant, shift) = if matches!(format, TensorFormat::E4m3) { (1, 5) } else { (3, 0) };
    let sum = |elements: u64| -> i64 {
        let of_lane = |lane| (0..elements / 32).map(|i| i64::from(held(lane, i) >> shift)).sum::<i64>();
        (0..32).map(of_lane).sum()
    };
    let each = constant * (n as i64 * sum(m * k) + m as i64 * sum(n * k));
    let steps = (format.steps() * u64::from(rounds)) as i64;
    each.wrapping_mul(steps).wrapping_mul(CHAINS as i64 / 2) as u32
}

/// What every thread of `tensor_hopper_*` writes after so many rounds, modulo 2^32, in any format.
///
/// Of the rows of the two factors every 16 bytes multiply to 1, whichever they are (`kernels/wgmma_operands.h`), so that each of the 128 elements
/// of the result that a thread holds grows by 2 in each of the 16 steps of a round.
pub const fn wgmma_thread(rounds: u32) -> u32 {
    rounds.wrapping_mul(128 * 2 * 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [TensorFormat; 6] =
        [TensorFormat::Bf16, TensorFormat::F16, TensorFormat::Tf32, TensorFormat::Int8, TensorFormat::E4m3, TensorFormat::F64];

    #[test]
    fn no_sum_leaves_what_its_format_keeps_exactly() {
        for format in FORMATS {
            let [_, _, k] = format.shape();
            let (largest, room) = match format {
                TensorFormat::E4m3 => (4, 24),
                TensorFormat::Int8 => (128 * 3, 31),
                TensorFormat::F64 => (128 * 3, 53),
                _ => (128 * 3, 24),
            };
            let most = k * largest * format.steps() * u64::from(format.most_rounds());
            assert!(most <= 1 << room, "{format:?}: {most}");
        }
        // The tensor cores themselves keep 13 bits of FP8's sums at least, over 32 steps.
        let [_, _, k] = TensorFormat::E4m3.shape();
        assert!(k * 4 * 32 <= 1 << 13);
    }

    #[test]
    fn the_work_shows_in_the_answer() {
        for format in FORMATS {
            let answers: Vec<u32> = (0..4).map(|rounds| tensor_warp(format, rounds)).collect();
            assert!(answers[0] == 0 && answers[1] != 0 && answers[2] == answers[1].wrapping_mul(2), "{format:?} {answers:?}");
        }
        for format in [Fma::F32, Fma::F64, Fma::F16] {
            assert_ne!(fma_lane(format, 3, 10), fma_lane(format, 3, 11));
            assert_ne!(fma_lane(format, 3, 10), fma_lane(format, 4, 10));
        }
    }

    #[test]
    fn the_map_stays_where_its_bits_move() {
        for format in [Fma::F32, Fma::F16] {
            for lane in 0..32 {
                // An infinity or a NaN would stay one; eight equal numbers would cancel.
                let late: Vec<u64> = (1000..1004).map(|rounds| fma_lane(format, lane, rounds)).collect();
                assert!(late.windows(2).all(|pair| pair[0] != pair[1]), "{format:?} {lane} {late:x?}");
            }
        }
    }
}
