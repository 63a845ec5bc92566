//! One thread's matrix product in FP32.

/// `c = a · bᵀ` with `a` of `m` rows and `bt` of `n` rows of `k` numbers each, and `c` of `m` rows of `n`, all row by row. One thread; the
/// micro-kernels are those of the `matrixmultiply` crate for the widest vectors this processor has.
///
/// # Errors
/// When a slice is not as long as its shape says.
pub fn multiply(m: usize, n: usize, k: usize, a: &[f32], bt: &[f32], c: &mut [f32]) -> Result<(), String> {
    for (name, found, rows, columns) in [("a", a.len(), m, k), ("b", bt.len(), n, k), ("c", c.len(), m, n)] {
        if rows.checked_mul(columns) != Some(found) {
            return Err(format!("expected {name} to hold {rows} × {columns} numbers but found {found}"));
        }
    }
    let (row_of_k, row_of_n) = (k.cast_signed(), n.cast_signed());
    // SAFETY: the slices hold exactly the elements that the shapes and strides address (checked above), and `c` is borrowed exclusively.
    unsafe {
        matrixmultiply::sgemm(m, k, n, 1.0, a.as_ptr(), row_of_k, 1, bt.as_ptr(), 1, row_of_k, 0.0, c.as_mut_ptr(), row_of_n, 1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn products_are_those_of_the_definition(m in 0usize..20, n in 0usize..20, k in 0usize..20, seed in 0i32..1000) {
            // Small integers: exact in FP32 in any order of summation.
            let value = |i: usize| ((i as i32 * 37 + seed) % 17 - 8) as f32;
            let a: Vec<f32> = (0..m * k).map(value).collect();
            let bt: Vec<f32> = (0..n * k).map(|i| value(i + 5)).collect();
            let mut c = vec![f32::NAN; m * n];
            multiply(m, n, k, &a, &bt, &mut c).unwrap();
            for i in 0..m {
                for j in 0..n {
                    let expected: f32 = (0..k).map(|l| a[i * k + l] * bt[j * k + l]).sum();
                    prop_assert_eq!(c[i * n + j], expected);
                }
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let error = multiply(2, 2, 2, &[0.0; 4], &[0.0; 3], &mut [0.0; 4]).unwrap_err();
        assert_eq!(error, "expected b to hold 2 × 2 numbers but found 3");
        assert!(multiply(usize::MAX, 2, 2, &[0.0; 4], &[0.0; 4], &mut [0.0; 4]).is_err());
    }
}
