//! Checks of the kernels that compute: random numbers, matrix times vector, matrix products.

use std::collections::HashMap;

use half::bf16;

use super::super::rig::Bench;
use super::{Exam, Finding, always, first_wrong};
use crate::error::Result;
use crate::gpu::prebuilt::GEMM_LAUNCH;
use crate::gpu::reference::{
    Distribution, Fp8, gemm_tolerance, matvec, matvec_transposed, normal_tolerance, product, random_bf16, random_f32, random_fp8,
};
use crate::gpu::{
    DeviceBuffer, FillNormalBf16, FillNormalE4m3, FillNormalE5m2, FillNormalF32, FillUniformBf16, FillUniformE4m3, FillUniformE5m2,
    FillUniformF32, GemmBf16, GemmE4m3, GemmE5m2, HopperFormat, HopperKernel, HopperOperands, MatvecBf16, MatvecE4m3, MatvecE5m2,
    MatvecTransposedBf16, MatvecTransposedE4m3, MatvecTransposedE5m2, Shape,
};

/// Elements of a random array: one, an odd few, a multiple of every vector, and none of any.
const SIZES: [u64; 4] = [1, 77, 1 << 14, 30_011];

/// Rows and columns of a matrix that is multiplied with a vector; the second has rows that are no multiple of a 16-byte access.
const MATRICES: [(u64, u64); 3] = [(64, 128), (37, 45), (300, 48)];

/// Products by the kernels for Hopper: the same, and one that is longer than their rings.
const HOPPER_PRODUCTS: [(u32, u32, u32); 3] = [(128, 256, 128), (136, 264, 336), (1, 72, 48)];

/// Matrix products: one whole tile, several with tails in every direction, a single row.
const PRODUCTS: [(u32, u32, u32); 3] = [(128, 256, 128), (200, 328, 208), (1, 72, 48)];

pub(super) const EXAMS: &[Exam] = &[
    Exam { name: "fill_uniform_f32", possible: always, run: |bench, seed| fill_f32(bench, seed, Distribution::Uniform) },
    Exam { name: "fill_normal_f32", possible: always, run: |bench, seed| fill_f32(bench, seed, Distribution::Normal) },
    Exam { name: "fill_uniform_bf16", possible: always, run: |bench, seed| fill_short(bench, seed, Format::Bf16, Distribution::Uniform) },
    Exam { name: "fill_normal_bf16", possible: always, run: |bench, seed| fill_short(bench, seed, Format::Bf16, Distribution::Normal) },
    Exam { name: "fill_uniform_e4m3", possible: always, run: |bench, seed| fill_short(bench, seed, Format::E4m3, Distribution::Uniform) },
    Exam { name: "fill_normal_e4m3", possible: always, run: |bench, seed| fill_short(bench, seed, Format::E4m3, Distribution::Normal) },
    Exam { name: "fill_uniform_e5m2", possible: always, run: |bench, seed| fill_short(bench, seed, Format::E5m2, Distribution::Uniform) },
    Exam { name: "fill_normal_e5m2", possible: always, run: |bench, seed| fill_short(bench, seed, Format::E5m2, Distribution::Normal) },
    Exam { name: "matvec_bf16", possible: always, run: |bench, seed| times_vector(bench, seed, Format::Bf16, false) },
    Exam { name: "matvec_e4m3", possible: always, run: |bench, seed| times_vector(bench, seed, Format::E4m3, false) },
    Exam { name: "matvec_e5m2", possible: always, run: |bench, seed| times_vector(bench, seed, Format::E5m2, false) },
    Exam { name: "matvec_t_bf16", possible: always, run: |bench, seed| times_vector(bench, seed, Format::Bf16, true) },
    Exam { name: "matvec_t_e4m3", possible: always, run: |bench, seed| times_vector(bench, seed, Format::E4m3, true) },
    Exam { name: "matvec_t_e5m2", possible: always, run: |bench, seed| times_vector(bench, seed, Format::E5m2, true) },
    Exam {
        name: "gemm_bf16",
        possible: |bench| bench.gpu.has_kernel::<GemmBf16<'_>>(),
        run: |bench, seed| gemm(bench, seed, Format::Bf16),
    },
    Exam {
        name: "gemm_e4m3",
        possible: |bench| bench.gpu.has_kernel::<GemmE4m3<'_>>(),
        run: |bench, seed| gemm(bench, seed, Format::E4m3),
    },
    Exam {
        name: "gemm_e5m2",
        possible: |bench| bench.gpu.has_kernel::<GemmE5m2<'_>>(),
        run: |bench, seed| gemm(bench, seed, Format::E5m2),
    },
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in super::super) enum Format {
    Bf16,
    E4m3,
    E5m2,
}

impl Format {
    const fn element(self) -> u64 {
        match self {
            Self::Bf16 => 2,
            Self::E4m3 | Self::E5m2 => 1,
        }
    }

    const fn eight_bit(self) -> Fp8 {
        match self {
            Self::E5m2 => Fp8::E5m2,
            Self::Bf16 | Self::E4m3 => Fp8::E4m3,
        }
    }

    /// The number that element `index` of random data must be.
    fn random(self, distribution: Distribution, index: u64, seed: u64) -> f32 {
        match self {
            Self::Bf16 => random_bf16(distribution, index, seed, 1.0).to_f32(),
            Self::E4m3 | Self::E5m2 => self.eight_bit().decode(random_fp8(self.eight_bit(), distribution, index, seed, 1.0)),
        }
    }

    /// `n` elements of device memory as numbers.
    fn read(self, bench: &Bench, memory: &DeviceBuffer, n: u64) -> Result<Vec<f32>> {
        Ok(match self {
            Self::Bf16 => memory.read::<u16>(&bench.stream, n)?.into_iter().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
            Self::E4m3 | Self::E5m2 => memory.read::<u8>(&bench.stream, n)?.into_iter().map(|code| self.eight_bit().decode(code)).collect(),
        })
    }

    /// Device memory filled with `n` random elements.
    fn fill(self, bench: &Bench, n: u64, seed: u64, distribution: Distribution) -> Result<DeviceBuffer> {
        use Distribution::{Normal, Uniform};
        let memory = bench.gpu.allocate(crate::units::Bytes(n * self.element()))?;
        let scale = 1.0;
        match (self, distribution) {
            (Self::Bf16, Uniform) => bench.launch(&FillUniformBf16 { out: memory.output(), n, seed, scale }),
            (Self::Bf16, Normal) => bench.launch(&FillNormalBf16 { out: memory.output(), n, seed, scale }),
            (Self::E4m3, Uniform) => bench.launch(&FillUniformE4m3 { out: memory.output(), n, seed, scale }),
            (Self::E4m3, Normal) => bench.launch(&FillNormalE4m3 { out: memory.output(), n, seed, scale }),
            (Self::E5m2, Uniform) => bench.launch(&FillUniformE5m2 { out: memory.output(), n, seed, scale }),
            (Self::E5m2, Normal) => bench.launch(&FillNormalE5m2 { out: memory.output(), n, seed, scale }),
        }?;
        Ok(memory)
    }

    /// Distance of neighbouring numbers, relative to a number: how far rounding may carry two nearly equal numbers apart.
    fn step(self) -> f32 {
        match self {
            Self::Bf16 => 1.0 / 128.0,
            Self::E4m3 => 1.0 / 8.0,
            Self::E5m2 => 1.0 / 4.0,
        }
    }
}

/// Uniform numbers are exact; normal ones may differ in the last places.
fn fill_f32(bench: &Bench, seed: u64, distribution: Distribution) -> Finding {
    over(&SIZES, |&n| {
        let memory = bench.gpu.allocate_elements::<f32>(n)?;
        match distribution {
            Distribution::Uniform => bench.launch(&FillUniformF32 { out: memory.output(), n, seed, scale: 1.0 }),
            Distribution::Normal => bench.launch(&FillNormalF32 { out: memory.output(), n, seed, scale: 1.0 }),
        }?;
        let found = memory.read::<f32>(&bench.stream, n)?;
        let allowed = |expected: f32| if distribution == Distribution::Normal { normal_tolerance(expected) } else { 0.0 };
        let differs = |found: &f32, expected: &f32| !is_within((found - expected).abs(), allowed(*expected));
        Ok((n, first_wrong(&found, |index| random_f32(distribution, index, seed, 1.0), differs)))
    })
}

/// Uniform numbers are exact; a normal one near the middle between two numbers of the format may have been rounded to the other.
fn fill_short(bench: &Bench, seed: u64, format: Format, distribution: Distribution) -> Finding {
    over(&SIZES, |&n| {
        let memory = format.fill(bench, n, seed, distribution)?;
        let found = format.read(bench, &memory, n)?;
        let differs = |found: &f32, expected: &f32| match distribution {
            Distribution::Uniform => found.to_bits() != expected.to_bits(),
            // The least numbers of E5M2 and E4M3 are a fixed distance apart, of at most 2^-9.
            Distribution::Normal => !is_within((found - expected).abs(), expected.abs() * format.step() + 2f32.powi(-9)),
        };
        Ok((n, first_wrong(&found, |index| format.random(distribution, index, seed), differs)))
    })
}

fn times_vector(bench: &Bench, seed: u64, format: Format, transposed: bool) -> Finding {
    over(&MATRICES, |&(rows, cols)| {
        let memory = format.fill(bench, rows * cols, seed, Distribution::Uniform)?;
        let (given, wanted) = if transposed { (rows, cols) } else { (cols, rows) };
        let vector: Vec<f64> = (0..given).map(|index| f64::from(random_f32(Distribution::Uniform, index, seed + 1, 1.0))).collect();
        let (x, y) = (bench.gpu.allocate_elements::<f64>(given)?, bench.gpu.allocate_elements::<f64>(wanted)?);
        x.write(&bench.stream, &vector)?;
        bench.stream.set(y.view::<u8>(), 0)?;
        let (x, out) = (x.input(), y.output());
        match (format, transposed) {
            (Format::Bf16, false) => bench.launch(&MatvecBf16 { a: memory.input(), x, y: out, rows, cols }),
            (Format::E4m3, false) => bench.launch(&MatvecE4m3 { a: memory.input(), x, y: out, rows, cols }),
            (Format::E5m2, false) => bench.launch(&MatvecE5m2 { a: memory.input(), x, y: out, rows, cols }),
            (Format::Bf16, true) => bench.launch(&MatvecTransposedBf16 { a: memory.input(), x, y: out, rows, cols }),
            (Format::E4m3, true) => bench.launch(&MatvecTransposedE4m3 { a: memory.input(), x, y: out, rows, cols }),
            (Format::E5m2, true) => bench.launch(&MatvecTransposedE5m2 { a: memory.input(), x, y: out, rows, cols }),
        }?;
        let matrix: Vec<f32> = (0..rows * cols).map(|index| format.random(Distribution::Uniform, index, seed)).collect();
        let expected =
            if transposed { matvec_transposed(&matrix, &vector, cols as usize) } else { matvec(&matrix, &vector, cols as usize) };
        let found = y.read::<f64>(&bench.stream, wanted)?;
        // Sums of a few hundred products below 1, in FP64 and in any order.
        let differs = |found: &f64, expected: &f64| !is_within((found - expected).abs(), 1e-12 * given as f64);
        Ok((wanted, first_wrong(&found, |index| expected.get(index as usize).copied().unwrap_or(f64::NAN), differs)))
    })
}

fn gemm(bench: &Bench, seed: u64, format: Format) -> Finding {
    multiply(bench, seed, format, &PRODUCTS, &mut References::default(), &|a, b, c, [m, n, k]| {
        let blocks = m.div_ceil(GEMM_LAUNCH.tile_m) * n.div_ceil(GEMM_LAUNCH.tile_n);
        let shape = Shape { shared: GEMM_LAUNCH.shared_bytes, ..Shape::line(blocks, GEMM_LAUNCH.block) };
        match format {
            Format::Bf16 => bench.stream.launch(&GemmBf16 { a: a.input(), b: b.input(), c: c.output(), m, n, k }, shape),
            Format::E4m3 => bench.stream.launch(&GemmE4m3 { a: a.input(), b: b.input(), c: c.output(), m, n, k }, shape),
            Format::E5m2 => bench.stream.launch(&GemmE5m2 { a: a.input(), b: b.input(), c: c.output(), m, n, k }, shape),
        }?;
        Ok(None)
    })
}

/// The products by one of the kernels for Hopper.
pub(in super::super) fn hopper(bench: &Bench, seed: u64, kernel: HopperKernel, references: &mut References) -> Finding {
    let format = match kernel.format {
        HopperFormat::Bf16 => Format::Bf16,
        HopperFormat::E4m3 => Format::E4m3,
        HopperFormat::E5m2 => Format::E5m2,
    };
    let note = bench.gpu.allocate_elements::<u32>(1)?;
    multiply(bench, seed, format, &HOPPER_PRODUCTS, references, &|a, b, c, extents| {
        note.write(&bench.stream, &[0u32])?;
        kernel.launch(&bench.stream, &HopperOperands { a: a.view(), b: b.view(), c: c.view(), note: note.view(), extents })?;
        let gave_up = note.read::<u32>(&bench.stream, 1)? != [0];
        Ok(gave_up.then(|| "it gave up waiting".into()))
    })
}

/// Enqueues one product; says what is wrong where the kernel itself knows.
type Multiply<'a> = &'a dyn Fn(&DeviceBuffer, &DeviceBuffer, &DeviceBuffer, [u32; 3]) -> Result<Option<String>>;

/// What products of one seed must be, with the sums of their terms' magnitudes: computed once for all kernels of a format.
#[derive(Default)]
pub(in super::super) struct References(HashMap<(Format, [u32; 3]), Expected>);

/// A product, and the sums of its terms' magnitudes.
type Expected = (Vec<f64>, Vec<f64>);

impl References {
    fn of(&mut self, format: Format, extents: [u32; 3], seed: u64) -> &Expected {
        self.0.entry((format, extents)).or_insert_with(|| {
            let [m, n, k] = extents.map(u64::from);
            let host =
                |count: u64, seed: u64| -> Vec<f32> { (0..count).map(|index| format.random(Distribution::Uniform, index, seed)).collect() };
            let (a, b) = (host(m * k, seed), host(n * k, seed + 1));
            let magnitudes = |matrix: &[f32]| -> Vec<f32> { matrix.iter().map(|value| value.abs()).collect() };
            (product(&a, &b, k as usize), product(&magnitudes(&a), &magnitudes(&b), k as usize))
        })
    }
}

fn multiply(
    bench: &Bench,
    seed: u64,
    format: Format,
    products: &[(u32, u32, u32)],
    references: &mut References,
    enqueue: Multiply<'_>,
) -> Finding {
    over(products, |&(m, n, k)| {
        let [rows, columns, depth] = [m, n, k].map(u64::from);
        let a = format.fill(bench, rows * depth, seed, Distribution::Uniform)?;
        let b = format.fill(bench, columns * depth, seed + 1, Distribution::Uniform)?;
        let c = bench.gpu.allocate_elements::<u16>(rows * columns)?;
        bench.stream.set(c.view::<u8>(), 0xff)?;
        if let Some(wrong) = enqueue(&a, &b, &c, [m, n, k])? {
            return Ok((rows * columns, Some(wrong)));
        }
        let found = Format::Bf16.read(bench, &c, rows * columns)?;
        let (expected, absolute) = references.of(format, [m, n, k], seed);
        let depth = depth as usize;
        let wrong = found.iter().zip(expected).zip(absolute).enumerate().find(|(_, ((found, expected), absolute))| {
            !is_within((f64::from(**found) - **expected).abs(), gemm_tolerance(**expected, **absolute, depth))
        });
        let wrong = wrong.map(|(at, ((found, expected), _))| {
            format!("{m}x{n}x{k}, row {}, column {}: expected {expected} but found {found}", at as u64 / columns, at as u64 % columns)
        });
        Ok((rows * columns, wrong))
    })
}

/// Whether a distance is allowed; one that is NaN is not.
fn is_within<T: PartialOrd>(distance: T, allowed: T) -> bool {
    distance <= allowed
}

/// Run a check on each of `inputs`, to the first that finds something.
fn over<T: std::fmt::Debug>(inputs: &[T], mut check: impl FnMut(&T) -> Result<(u64, Option<String>)>) -> Finding {
    let mut total = 0;
    for input in inputs {
        let (compared, wrong) = check(input)?;
        total += compared;
        if let Some(wrong) = wrong {
            return Ok((total, Some(format!("at size {input:?}: {wrong}"))));
        }
    }
    Ok((total, None))
}
