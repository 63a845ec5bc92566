//! FP32 matrix products, one block of the result per core.
//!
//! `C = A·B` with all three n × n and entries uniform in [-1, 1). The answer is checked by Freivalds' method: for a random vector x of ±1,
//! `C·x` must be `A·(B·x)`, which costs n² instead of n³. Each row's difference is a sum of rounding errors only. With products of variance
//! 1/9, a running sum of k terms has root-mean-square size √k/3, every addition errs by at most 2⁻²⁴ of it, and x adds up the errors of one
//! row's columns with random signs; so the difference is of the order 2⁻²⁴ · k · √columns / 3. The tolerance is 24 times that. One wrong
//! element changes the row's difference by its own size, typically √k/3, thousands of times the tolerance.

use super::{failed, memory_budget, scramble};
use crate::error::Result;
use crate::host::product::multiply;
use crate::host::{Crew, Hand, Processor, Region};
use crate::measure::{Case, HostClock, Outcome, Trial, Waiver, Work};
use crate::probe::Lab;
use crate::telemetry::Unwatched;
use crate::units::{Bytes, Flops};

/// Edge of the matrices: large enough that packing is hidden, small enough that the samples are many, and within the memory there is.
pub(super) fn edge(threads: usize, available: Bytes) -> u64 {
    let wanted = match threads {
        0..=4 => 1024,
        5..=32 => 2048,
        _ => 4096,
    };
    [4096, 2048, 1024].into_iter().find(|&n| n <= wanted && memory(n, threads) <= available).unwrap_or(512)
}

/// Bytes of all threads' blocks together.
fn memory(n: u64, threads: usize) -> Bytes {
    let (rows, columns) = grid(threads);
    let matrix = Bytes(n * n * size_of::<f32>() as u64);
    matrix * (rows + columns + 1) as u64
}

/// The most nearly square way to cut a matrix into `threads` equal blocks: rows and columns of the grid.
fn grid(threads: usize) -> (usize, usize) {
    let threads = threads.max(1);
    let columns =
        (1..=threads).take_while(|columns| columns * columns <= threads).filter(|columns| threads.is_multiple_of(*columns)).last();
    let columns = columns.unwrap_or(1);
    (threads / columns, columns)
}

pub(super) fn run(case: &Case, lab: &Lab<'_>, cores: &[Processor]) -> Result<Outcome> {
    let waived = |waiver| Ok(Outcome::Waived { case: case.clone(), waiver });
    if case.get_word("dtype") != Some("f32") {
        let what = "BF16 matrix products on the CPU: no well-kept Rust crate has them; FP32 is measured instead".to_owned();
        return waived(Waiver::Unsupported { what });
    }
    let n = case.get_count("n").unwrap_or(0);
    let (needed, available) = (memory(n, cores.len()), memory_budget(lab.machine));
    if needed > available || n < cores.len() as u64 {
        return waived(Waiver::Memory { needed, available });
    }
    let mut trial = Product::new(case, n as usize, cores, lab.seed)?;
    let mut measurement = lab.sample(case, &mut trial, &mut HostClock::new(), &mut Unwatched, &lab.plan(2.0))?;
    let (rows, columns) = grid(cores.len());
    let conditions = [
        ("engine", "matrixmultiply".to_owned()),
        ("grid", format!("{rows} x {columns} blocks, one per core")),
        ("threads", cores.len().to_string()),
        ("pinned", trial.crew.is_pinned().to_string()),
        ("data", "uniform in [-1, 1)".to_owned()),
        ("seed", lab.seed.to_string()),
        ("check", "Freivalds, 2 vectors".to_owned()),
    ];
    measurement.conditions.extend(conditions.map(|(key, value)| (key.to_owned(), value)));
    Ok(Outcome::Measured(Box::new(measurement)))
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Run(u64),
    Check,
}

struct Product {
    case: Case,
    n: usize,
    crew: Crew<Order>,
}

impl Product {
    fn new(case: &Case, n: usize, cores: &[Processor], seed: u64) -> Result<Self> {
        let (rows, columns) = grid(cores.len());
        let part = move |index: usize, parts: usize| index * n / parts..(index + 1) * n / parts;
        let make = move |index: usize| Block::new(part(index / columns, rows), part(index % columns, columns), n, seed);
        let crew = Crew::new(cores, make).map_err(|what| failed(case, what))?;
        Ok(Self { case: case.clone(), n, crew })
    }
}

impl Trial for Product {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        self.crew.command(Order::Run(iterations)).map_err(|what| failed(&self.case, what))
    }

    fn work(&self) -> Work {
        let n = self.n as u64;
        Work::computing(Flops(2.0 * (n as f64).powi(3)), Bytes(3 * n * n * size_of::<f32>() as u64))
    }

    fn check(&mut self) -> Result<Option<String>> {
        Ok(self.crew.command(Order::Check).err())
    }
}

/// One thread's block of the result, with the rows of A and the columns of B it comes from.
struct Block {
    m: usize,
    n: usize,
    k: usize,
    first: (usize, usize),
    seed: u64,
    a: Region,
    /// B transposed: one row per column of the block.
    bt: Region,
    c: Region,
}

impl Block {
    fn new(rows: std::ops::Range<usize>, columns: std::ops::Range<usize>, k: usize, seed: u64) -> Result<Self, String> {
        let (m, n) = (rows.len(), columns.len());
        let region = |count: usize| {
            let bytes = Bytes((count * size_of::<f32>()) as u64);
            Region::new(bytes, None).map_err(|error| format!("allocating {}: {error}; free some memory", bytes.approximate()))
        };
        let mut block =
            Self { m, n, k, first: (rows.start, columns.start), seed, a: region(m * k)?, bt: region(n * k)?, c: region(m * n)? };
        for (matrix, first, stream) in [(&mut block.a, rows.start, 1), (&mut block.bt, columns.start, 2)] {
            for (index, value) in matrix.as_mut_slice::<f32>().iter_mut().enumerate() {
                *value = uniform(scramble(seed ^ stream, (first * k + index) as u64));
            }
        }
        // Poison: what is not computed cannot pass.
        block.c.as_mut_slice::<f32>().fill(f32::NAN);
        Ok(block)
    }

    fn tolerance(&self) -> f64 {
        24.0 * 2f64.powi(-24) * self.k as f64 * (self.n as f64).sqrt() / 3.0
    }

    fn check(&self) -> Result<(), String> {
        (0..2).try_for_each(|round| self.check_with(round))
    }

    fn check_with(&self, round: u64) -> Result<(), String> {
        let (a, bt, c) = (self.a.as_slice::<f32>(), self.bt.as_slice::<f32>(), self.c.as_slice::<f32>());
        let x: Vec<f64> = (0..self.n as u64).map(|j| if scramble(self.seed ^ (8 + round), j) >> 63 == 0 { 1.0 } else { -1.0 }).collect();
        let mut bx = vec![0.0; self.k];
        for (row, x) in bt.chunks_exact(self.k).zip(&x) {
            bx.iter_mut().zip(row).for_each(|(sum, &b)| *sum += x * f64::from(b));
        }
        for (i, (row, products)) in a.chunks_exact(self.k).zip(c.chunks_exact(self.n)).enumerate() {
            let expected: f64 = row.iter().zip(&bx).map(|(&a, bx)| f64::from(a) * bx).sum();
            let found: f64 = products.iter().zip(&x).map(|(&c, x)| f64::from(c) * x).sum();
            let error = (expected - found).abs();
            if error.is_nan() || error > self.tolerance() {
                let (row, column) = (self.first.0 + i, self.first.1);
                return Err(format!("row {row}, columns from {column}: expected a checksum of {expected} but found {found}"));
            }
        }
        Ok(())
    }
}

impl Hand<Order> for Block {
    fn perform(&mut self, order: &Order) -> Result<(), String> {
        match *order {
            Order::Run(times) => {
                (0..times).try_for_each(|_| multiply(self.m, self.n, self.k, self.a.as_slice(), self.bt.as_slice(), self.c.as_mut_slice()))
            }
            Order::Check => self.check(),
        }
    }
}

/// Uniform in [-1, 1), on a grid of 2⁻²³.
fn uniform(bits: u64) -> f32 {
    (bits >> 40) as f32 / (1u32 << 23) as f32 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Topology;

    #[test]
    fn grids_use_every_core_and_are_as_square_as_can_be() {
        for (threads, expected) in [(0, (1, 1)), (1, (1, 1)), (2, (2, 1)), (7, (7, 1)), (12, (4, 3)), (64, (8, 8)), (96, (12, 8))] {
            assert_eq!(grid(threads), expected, "{threads}");
        }
    }

    #[test]
    fn edges_fit_the_memory() {
        assert_eq!(edge(2, Bytes::gib(1)), 1024);
        assert_eq!(edge(16, Bytes::gib(1)), 2048);
        assert_eq!(edge(64, Bytes::mib(1920)), 4096);
        assert_eq!(edge(64, Bytes::mib(500)), 2048);
        assert_eq!(edge(64, Bytes::mib(1)), 512);
    }

    #[test]
    fn data_are_uniform_between_minus_one_and_one() {
        assert_eq!(uniform(0), -1.0);
        assert!(uniform(u64::MAX) < 1.0);
        let mean = (0..10_000).map(|i| f64::from(uniform(scramble(1, i)))).sum::<f64>() / 1e4;
        assert!(mean.abs() < 0.03, "{mean}");
    }

    #[test]
    fn right_products_pass_and_one_wrong_element_is_found() {
        let mut block = Block::new(64..160, 30..110, 300, 9).unwrap();
        assert!(block.check().is_err(), "nothing was computed yet");
        block.perform(&Order::Run(2)).unwrap();
        block.check().unwrap();
        for index in [0, 41 * 80 + 7, 96 * 80 - 1] {
            let right = block.c.as_slice::<f32>()[index];
            // A sixtieth of the size of a typical element.
            block.c.as_mut_slice::<f32>()[index] = right + 0.1;
            let complaint = block.check().unwrap_err();
            assert!(complaint.starts_with(&format!("row {},", 64 + index / 80)), "{complaint}");
            block.c.as_mut_slice::<f32>()[index] = right;
        }
        block.check().unwrap();
    }

    #[test]
    fn blocks_cover_the_whole_product() {
        let core = Topology::here().cores(None, 1)[0];
        let case = Case::new("host.gemm").word("dtype", "f32").count("n", 100);
        let mut trial = Product::new(&case, 100, &[core; 6], 1).unwrap();
        assert!(trial.check().unwrap().is_some());
        trial.enqueue(1).unwrap();
        assert_eq!(trial.check().unwrap(), None);
        assert_eq!(trial.work().compute, Flops(2e6));
    }
}
