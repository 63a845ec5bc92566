//! The kernels that issue Hopper's `wgmma` alone, played from the definition: operands as `kernels/wgmma_operands.h` describes them, multiplied
//! row by column, and the elements of the result that each thread holds by PTX's figure of `wgmma`'s D.

/// Columns of the result.
const COLUMNS: usize = 256;

/// `wgmma` of a group of four warps in one round; four of them go through a line of both operands.
const STEPS: u32 = 16;

/// Elements in a line of 128 bytes, and how many bits the random numbers have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Wgmma {
    line: usize,
    bits: u32,
}

impl Wgmma {
    /// The format in a kernel's name.
    pub(crate) fn named(kernel: &str) -> Option<Self> {
        let (line, bits) = match kernel.strip_prefix("tensor_hopper_")? {
            "bf16" | "f16" => (64, 8),
            "tf32" => (32, 8),
            "e4m3" | "e5m2" => (128, 4),
            "int8" => (128, 7),
            _ => return None,
        };
        Some(Self { line, bits })
    }

    /// Operations of one of the group's 128 threads in one round.
    #[expect(clippy::cast_precision_loss, reason = "small")]
    pub(crate) fn operations(self) -> f64 {
        (2 * 64 * COLUMNS * (self.line / 4)) as f64 * f64::from(STEPS) / 128.0
    }

    /// A row of A, or of B, which lies 64 rows behind: its elements, chunk by chunk of 16 bytes.
    fn row(self, row: usize) -> Vec<i64> {
        let per_chunk = self.line / 8;
        let chunks = (row * 8..row * 8 + 8).map(|chunk| chunk as u64);
        chunks
            .flat_map(|chunk| {
                let random = scramble(chunk + 1);
                let number = move |place: usize| {
                    let byte = i64::from(random.to_le_bytes()[place]);
                    (byte & ((1 << self.bits) - 1)) - ((1 << (self.bits - 1)) - 1)
                };
                (0..per_chunk).map(move |i| match (row < 64, i % 4, i % 2) {
                    (true, 0 | 1, _) => number(i / 4),
                    (true, ..) => i64::from(i < 4) - number(i / 4),
                    (false, _, 0) => number(i / 2),
                    (false, ..) => 1 - number(i / 2),
                })
            })
            .collect()
    }

    /// What the threads of a group write after so many rounds.
    pub(crate) fn threads(self, rounds: u32) -> Vec<u32> {
        let [a, b] = [0..64, 64..64 + COLUMNS].map(|rows| rows.map(|row| self.row(row)).collect::<Vec<_>>());
        // A thread of place p in its four holds columns 8 i + 2 p and the next.
        let of_place = |place: usize| -> Vec<i64> {
            let columns = b.iter().enumerate().filter(|(column, _)| column % 8 / 2 == place);
            columns.fold(vec![0; self.line], |sums, (_, row)| sums.iter().zip(row).map(|(sum, one)| sum + one).collect())
        };
        let columns: [Vec<i64>; 4] = std::array::from_fn(of_place);
        let lines = i64::from(rounds) * i64::from(STEPS / 4);
        (0..128)
            .map(|thread| {
                let (warp, lane) = (thread / 32, thread % 32);
                // Of rows, one of the warp's upper eight and the one eight below.
                let rows = [0, 8].map(|below| &a[16 * warp + lane / 4 + below]);
                let products = rows.into_iter().map(|row| row.iter().zip(&columns[lane % 4]).map(|(x, y)| x * y).sum::<i64>());
                let [a, b, c, d, ..] = products.sum::<i64>().wrapping_mul(lines).to_le_bytes();
                u32::from_le_bytes([a, b, c, d])
            })
            .collect()
    }
}

fn scramble(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
