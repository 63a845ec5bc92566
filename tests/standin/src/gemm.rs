//! Reference matrix multiplication: what tensor cores compute, by a host library in FP32.
//!
//! Operands in short formats are widened exactly to FP32, multiplied with FP32 sums, and rounded to the result's format to nearest, ties to even.
//! FP32 operands are cut to TF32 where the tensor cores would. FP64 is multiplied in FP64, and INT8 too, which holds all its sums exactly.

use half::{bf16, f16};

use crate::scenario::{Matmul, ProductShape};

/// Element format of an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    Bf16,
    E4m3,
    E5m2,
    F16,
    F32,
    Tf32,
    I8,
    I32,
    F64,
    E2m1,
}

impl Format {
    /// Bytes of an element; of two that share a byte, that.
    pub(crate) fn bytes(self) -> usize {
        self.bits().div_ceil(8)
    }

    fn bits(self) -> usize {
        match self {
            Self::E2m1 => 4,
            Self::E4m3 | Self::E5m2 | Self::I8 => 8,
            Self::Bf16 | Self::F16 => 16,
            Self::F32 | Self::Tf32 | Self::I32 => 32,
            Self::F64 => 64,
        }
    }

    /// 1e12 operations per second of products of such factors.
    pub(crate) fn rate(self, rates: &Matmul) -> Option<f64> {
        match self {
            Self::Bf16 => Some(rates.bf16_tflops),
            Self::E4m3 => rates.e4m3_tflops,
            Self::E5m2 => rates.e5m2_tflops,
            Self::F16 => rates.fp16_tflops,
            Self::F32 => rates.fp32_tflops,
            Self::Tf32 => rates.tf32_tflops,
            Self::I8 => rates.int8_tflops,
            Self::F64 => rates.fp64_tflops,
            Self::E2m1 => rates.fp4_tflops,
            Self::I32 => None,
        }
    }

    fn is_double(self) -> bool {
        matches!(self, Self::F64 | Self::I8)
    }
}

/// A matrix in memory: where it starts, and how many elements lie from row to row and from column to column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operand {
    pub(crate) at: usize,
    pub(crate) format: Format,
    pub(crate) row: usize,
    pub(crate) step: usize,
}

impl Operand {
    /// A row-major matrix with `row` elements from row to row.
    pub(crate) fn rows(at: usize, format: Format, row: usize) -> Self {
        Self { at, format, row, step: 1 }
    }

    /// Bytes from the first to past the last element of `rows` rows of `cols` elements.
    fn extent(self, rows: usize, cols: usize) -> usize {
        if rows == 0 || cols == 0 { 0 } else { (((rows - 1) * self.row + (cols - 1) * self.step + 1) * self.format.bits()).div_ceil(8) }
    }
}

/// `C[i, j] = factor × Σ_l A[i, l] B[j, l]`; with all three row-major this is "TN" in column-major terms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Product {
    pub(crate) a: Operand,
    pub(crate) b: Operand,
    pub(crate) c: Operand,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) depth: usize,
    pub(crate) factor: f32,
}

/// Rows of A that are widened at a time.
const SLAB: usize = 256;

impl Product {
    /// What decides how long it takes.
    pub(crate) fn shape(&self) -> ProductShape {
        ProductShape { m: self.rows, n: self.cols, k: self.depth, element: self.a.format.bytes() }
    }

    /// Bytes from the first to past the last element of A, B and C.
    pub(crate) fn spans(&self) -> [(usize, usize); 3] {
        [
            (self.a.at, self.a.extent(self.rows, self.depth)),
            (self.b.at, self.b.extent(self.cols, self.depth)),
            (self.c.at, self.c.extent(self.rows, self.cols)),
        ]
    }

    /// Multiplies, on `workers` host threads.
    ///
    /// # Safety
    /// The spans must be readable (A, B) and writable (C), C apart from the others, and nobody else may touch them meanwhile.
    pub(crate) unsafe fn run(&self, workers: usize) {
        // SAFETY: as the caller's.
        unsafe { if self.a.format.is_double() { self.run_in::<f64>(workers) } else { self.run_in::<f32>(workers) } }
    }

    /// # Safety
    /// As [`Product::run`].
    unsafe fn run_in<T: Real>(&self, workers: usize) {
        // SAFETY: as the caller's.
        let b: Vec<T> = unsafe { widened(self.b, 0, self.cols, self.depth) };
        let share = self.rows.div_ceil(workers.max(1));
        let b = &b;
        std::thread::scope(|scope| {
            for first in (0..self.rows).step_by(share.max(1)) {
                let last = (first + share).min(self.rows);
                scope.spawn(move || {
                    for row in (first..last).step_by(SLAB) {
                        // SAFETY: as the caller's; workers write disjoint rows.
                        unsafe { self.slab(b, row, SLAB.min(last - row)) };
                    }
                });
            }
        });
    }

    /// # Safety
    /// As [`Product::run`].
    unsafe fn slab<T: Real>(&self, b: &[T], first: usize, rows: usize) {
        // SAFETY: rows of A, readable by the caller's promise.
        let a: Vec<T> = unsafe { widened(self.a, first, rows, self.depth) };
        let mut c = vec![T::default(); rows * self.cols];
        T::multiply([rows, self.depth, self.cols], self.factor, &a, b, &mut c);
        for (row, values) in c.chunks_exact(self.cols.max(1)).enumerate() {
            for (col, value) in values.iter().enumerate() {
                let at = self.c.at + ((first + row) * self.c.row + col * self.c.step) * self.c.format.bytes();
                // SAFETY: inside C, writable by the caller's promise, and aligned as its elements are.
                unsafe { write(at, self.c.format, value.wide()) };
            }
        }
    }
}

/// A number of the host that a product is computed in.
trait Real: Copy + Default + Send + Sync {
    fn narrow(value: f64) -> Self;
    fn wide(self) -> f64;
    /// C = factor · A · Bᵀ of A with `rows` rows, B with `cols`, both `depth` long.
    fn multiply(extents: [usize; 3], factor: f32, a: &[Self], b: &[Self], c: &mut [Self]);
}

macro_rules! real {
    ($kind:ty, $product:path) => {
        impl Real for $kind {
            #[allow(clippy::cast_possible_truncation, reason = "what is narrowed to FP32 has at most its bits")]
            fn narrow(value: f64) -> Self {
                value as Self
            }
            fn wide(self) -> f64 {
                self.into()
            }
            fn multiply([rows, depth, cols]: [usize; 3], factor: f32, a: &[Self], b: &[Self], c: &mut [Self]) {
                assert!(a.len() >= rows * depth && b.len() >= cols * depth && c.len() >= rows * cols);
                let (length, width) = (depth.cast_signed(), cols.cast_signed());
                let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
                // SAFETY: the three arrays have at least the sizes that these shapes and strides span.
                unsafe { $product(rows, depth, cols, factor.into(), a, length, 1, b, 1, length, 0.0, c, width, 1) };
            }
        }
    };
}

real!(f32, matrixmultiply::sgemm);
real!(f64, matrixmultiply::dgemm);

/// # Safety
/// An element of this format must be writable at the address.
#[expect(clippy::cast_possible_truncation, reason = "results are rounded to their format")]
unsafe fn write(at: usize, format: Format, value: f64) {
    // SAFETY: as the caller's. What was summed in FP32 comes here exactly, so that nothing is rounded twice.
    unsafe {
        match format {
            Format::F16 => (at as *mut f16).write(f16::from_f64(value)),
            Format::F32 | Format::Tf32 => (at as *mut f32).write(value as f32),
            Format::I32 => (at as *mut i32).write(value as i32),
            Format::F64 => (at as *mut f64).write(value),
            _ => (at as *mut bf16).write(bf16::from_f64(value)),
        }
    }
}

/// # Safety
/// The rows `first..first + rows` of the operand, `cols` elements each, must be readable.
unsafe fn widened<T: Real>(operand: Operand, first: usize, rows: usize, cols: usize) -> Vec<T> {
    let table = match operand.format {
        Format::E4m3 => fp8_table(3, 7, true),
        _ => fp8_table(2, 15, false),
    };
    let mut wide = Vec::with_capacity(rows * cols);
    for row in first..first + rows {
        // SAFETY: as the caller's, for every element of the row.
        wide.extend((0..cols).map(|col| T::narrow(unsafe { read(operand, &table, row * operand.row + col * operand.step) })));
    }
    wide
}

/// # Safety
/// Element number `index` of the operand's memory must be readable.
unsafe fn read(operand: Operand, table: &[f32; 256], index: usize) -> f64 {
    /// Values of the codes of E2M1 without their sign.
    const E2M1: [f64; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let at = operand.at + index * operand.format.bits() / 8;
    // SAFETY: as the caller's.
    unsafe {
        match operand.format {
            Format::Bf16 => (at as *const bf16).read().to_f64(),
            Format::F16 => (at as *const f16).read().to_f64(),
            Format::E4m3 | Format::E5m2 => f64::from(table[usize::from((at as *const u8).read())]),
            Format::F32 => f64::from((at as *const f32).read()),
            // The tensor cores read the upper 19 bits.
            Format::Tf32 => f64::from(f32::from_bits((at as *const u32).read() & !0x1fff)),
            Format::I8 => f64::from((at as *const i8).read()),
            Format::I32 => f64::from((at as *const i32).read()),
            Format::F64 => (at as *const f64).read(),
            Format::E2m1 => {
                let code = (at as *const u8).read() >> (4 * (index % 2)) & 15;
                let size = E2M1[usize::from(code & 7)];
                if code & 8 == 0 { size } else { -size }
            }
        }
    }
}

/// The E4M3 number that all these codes stand for, if they are alike.
pub(crate) fn common_e4m3(codes: &[u8]) -> Option<f32> {
    let first = *codes.first()?;
    codes.iter().all(|code| *code == first).then(|| fp8_table(3, 7, true)[usize::from(first)])
}

/// Values of the 256 codes of an FP8 format (OCP 8-bit floating point specification). With `finite` only all-ones is NaN and there is no
/// infinity, as in e4m3.
fn fp8_table(fraction: i32, bias: i32, finite: bool) -> [f32; 256] {
    std::array::from_fn(|code| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "below 256")]
        let code = code as i32;
        let (exponent, low) = ((code & 0x7f) >> fraction, code & ((1 << fraction) - 1));
        let top = (1 << (7 - fraction)) - 1;
        #[expect(clippy::cast_precision_loss, reason = "below 16")]
        let part = low as f32 / (1 << fraction) as f32;
        let magnitude = if finite && code & 0x7f == 0x7f || !finite && exponent == top && low != 0 {
            f32::NAN
        } else if !finite && exponent == top {
            f32::INFINITY
        } else if exponent == 0 {
            part * 2f32.powi(1 - bias)
        } else {
            (1.0 + part) * 2f32.powi(exponent - bias)
        };
        if code & 0x80 == 0 { magnitude } else { -magnitude }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fp8_codes_have_the_values_of_the_specification() {
        let (e4m3, e5m2) = (fp8_table(3, 7, true), fp8_table(2, 15, false));
        assert_eq!((e4m3[0x7e], e4m3[0x38], e4m3[0x01], e4m3[0xb8]), (448.0, 1.0, 2f32.powi(-9), -1.0));
        assert_eq!((e5m2[0x7b], e5m2[0x3c], e5m2[0x01], e5m2[0x7c]), (57344.0, 1.0, 2f32.powi(-16), f32::INFINITY));
        assert!(e4m3[0x7f].is_nan() && e4m3[0xff].is_nan() && e5m2[0x7d].is_nan());
    }

    #[test]
    fn a_product_is_that_of_the_definition() {
        let (rows, cols, depth) = (5, 3, 9);
        let value = |index: usize| bf16::from_f32(f32::from(u8::try_from(index * 5 % 13).unwrap()) - 6.0);
        let a: Vec<bf16> = (0..rows * depth).map(value).collect();
        let b: Vec<bf16> = (0..cols * depth).map(|index| value(index + 3)).collect();
        let mut c = vec![bf16::ZERO; rows * cols];
        let product = Product {
            a: Operand::rows(a.as_ptr() as usize, Format::Bf16, depth),
            b: Operand::rows(b.as_ptr() as usize, Format::Bf16, depth),
            c: Operand::rows(c.as_mut_ptr() as usize, Format::Bf16, cols),
            rows,
            cols,
            depth,
            factor: 1.0,
        };
        // SAFETY: the arrays are as large as the product says.
        unsafe { product.run(2) };
        for row in 0..rows {
            for col in 0..cols {
                let exact: f32 = (0..depth).map(|l| a[row * depth + l].to_f32() * b[col * depth + l].to_f32()).sum();
                assert_eq!(c[row * cols + col], bf16::from_f32(exact), "row {row}, column {col}");
            }
        }
    }
}
