//! Linear equations with a symmetric, positive definite matrix.

/// The lower triangle `L` of a matrix `L·Lᵀ`, row by row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cholesky {
    lower: Vec<f64>,
    size: usize,
}

impl Cholesky {
    /// Factors `matrix`, `size × size` row by row; `None` unless it is positive definite. Only its lower triangle is read.
    pub(super) fn new(mut matrix: Vec<f64>, size: usize) -> Option<Self> {
        for i in 0..size {
            for j in 0..=i {
                let (row, other) = (&matrix[i * size..i * size + j], &matrix[j * size..j * size + j]);
                let rest = matrix[i * size + j] - row.iter().zip(other).map(|(a, b)| a * b).sum::<f64>();
                matrix[i * size + j] = if i == j { Some(rest.sqrt()).filter(|root| *root > 0.0)? } else { rest / matrix[j * size + j] };
            }
        }
        Some(Self { lower: matrix, size })
    }

    /// Turns `b` into the solution `x` of `matrix · x = b`.
    pub(super) fn solve(&self, b: &mut [f64]) {
        self.forward(b);
        for i in (0..self.size).rev() {
            let below = (i + 1..self.size).map(|j| self.lower[j * self.size + i] * b[j]).sum::<f64>();
            b[i] = (b[i] - below) / self.lower[i * self.size + i];
        }
    }

    /// The diagonal of the matrix's inverse.
    pub(super) fn inverse_diagonal(&self) -> Vec<f64> {
        let entry = |i: usize| {
            let mut column = vec![0.0; self.size];
            column[i] = 1.0;
            self.forward(&mut column);
            column.iter().map(|x| x * x).sum()
        };
        (0..self.size).map(entry).collect()
    }

    /// Turns `b` into the solution `x` of `L · x = b`.
    fn forward(&self, b: &mut [f64]) {
        for i in 0..self.size {
            let before = self.lower[i * self.size..i * self.size + i].iter().zip(&*b).map(|(a, b)| a * b).sum::<f64>();
            b[i] = (b[i] - before) / self.lower[i * self.size + i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_matrix_that_is_not_positive_definite_has_no_factors() {
        assert_eq!(Cholesky::new(vec![1.0, 0.0, 2.0, 1.0], 2), None);
        assert_eq!(Cholesky::new(vec![f64::NAN], 1), None);
    }

    proptest! {
        #[test]
        fn solutions_solve(root in proptest::collection::vec(-2.0..2.0f64, 16), wanted in proptest::collection::vec(-5.0..5.0f64, 4)) {
            // A·Aᵀ + 1 is positive definite.
            let entry = |i: usize, j: usize| (0..4).map(|l| root[4 * i + l] * root[4 * j + l]).sum::<f64>() + f64::from(i == j);
            let matrix: Vec<f64> = (0..16).map(|at| entry(at / 4, at % 4)).collect();
            let mut b: Vec<f64> = (0..4).map(|i| (0..4).map(|j| matrix[4 * i + j] * wanted[j]).sum()).collect();
            let factored = Cholesky::new(matrix.clone(), 4).unwrap();
            factored.solve(&mut b);
            for (found, wanted) in b.iter().zip(&wanted) {
                prop_assert!((found - wanted).abs() < 1e-9, "{b:?} {wanted:?}");
            }
            for (i, diagonal) in factored.inverse_diagonal().into_iter().enumerate() {
                let mut column = vec![0.0; 4];
                column[i] = 1.0;
                factored.solve(&mut column);
                prop_assert!((diagonal - column[i]).abs() < 1e-9);
            }
        }
    }
}
