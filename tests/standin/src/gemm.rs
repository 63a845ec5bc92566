//! Reference matrix multiplication: what tensor cores compute, by a host library in FP32.
//!
//! Operands in short formats are widened exactly to FP32, multiplied with FP32 sums, and rounded to BF16 to nearest, ties to even.

use half::bf16;

use crate::scenario::ProductShape;

/// Element format of an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    Bf16,
    E4m3,
    E5m2,
}

impl Format {
    pub(crate) fn bytes(self) -> usize {
        if self == Self::Bf16 { 2 } else { 1 }
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
        if rows == 0 || cols == 0 { 0 } else { ((rows - 1) * self.row + (cols - 1) * self.step + 1) * self.format.bytes() }
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
        let b = unsafe { widened(self.b, 0, self.cols, self.depth) };
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
    unsafe fn slab(&self, b: &[f32], first: usize, rows: usize) {
        // SAFETY: rows of A, readable by the caller's promise.
        let a = unsafe { widened(self.a, first, rows, self.depth) };
        let mut c = vec![0f32; rows * self.cols];
        let (depth, cols) = (self.depth.cast_signed(), self.cols.cast_signed());
        // SAFETY: the three arrays have exactly the sizes that these shapes and strides span.
        unsafe {
            matrixmultiply::sgemm(
                rows,
                self.depth,
                self.cols,
                self.factor,
                a.as_ptr(),
                depth,
                1,
                b.as_ptr(),
                1,
                depth,
                0.0,
                c.as_mut_ptr(),
                cols,
                1,
            );
        }
        for (row, values) in c.chunks_exact(self.cols.max(1)).enumerate() {
            let target = (self.c.at as *mut bf16).wrapping_add((first + row) * self.c.row);
            for (col, value) in values.iter().enumerate() {
                // SAFETY: inside C, writable by the caller's promise.
                unsafe { target.add(col * self.c.step).write(bf16::from_f32(*value)) };
            }
        }
    }
}

/// # Safety
/// The rows `first..first + rows` of the operand, `cols` elements each, must be readable.
unsafe fn widened(operand: Operand, first: usize, rows: usize, cols: usize) -> Vec<f32> {
    let mut wide = Vec::with_capacity(rows * cols);
    let table = match operand.format {
        Format::E4m3 => fp8_table(3, 7, true),
        _ => fp8_table(2, 15, false),
    };
    let reach = if cols == 0 { 0 } else { (cols - 1) * operand.step + 1 };
    for row in first..first + rows {
        let start = operand.at + row * operand.row * operand.format.bytes();
        if operand.format == Format::Bf16 {
            // SAFETY: as the caller's.
            let line = unsafe { std::slice::from_raw_parts(start as *const bf16, reach) };
            wide.extend(line.iter().step_by(operand.step).map(|value| value.to_f32()));
        } else {
            // SAFETY: as the caller's.
            let line = unsafe { std::slice::from_raw_parts(start as *const u8, reach) };
            wide.extend(line.iter().step_by(operand.step).map(|code| table[usize::from(*code)]));
        }
    }
    wide
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
