//! Systems of linear equations whose matrix is symmetric and positive, by Cholesky's decomposition.

/// Least square of a pivot: what is below is the rest of a rounding.
const PIVOT_MIN: f64 = 1e-12;

/// A matrix, decomposed.
#[derive(Clone, Debug, PartialEq)]
pub struct Cholesky {
    size: usize,
    /// Row after row; only what is below the diagonal, and it, counts.
    lower: Vec<f64>,
}

impl Cholesky {
    /// Of the lower half of `matrix`, which has `size` rows.
    pub fn of(mut matrix: Vec<f64>, size: usize) -> Self {
        for i in 0..size {
            for j in 0..=i {
                let both = dot(&matrix[i * size..][..j], &matrix[j * size..][..j]);
                let sum = matrix[i * size + j] - both;
                matrix[i * size + j] =
                    if i == j { sum.max(PIVOT_MIN).sqrt() } else { sum / matrix[j * size + j] };
            }
        }
        Self { size, lower: matrix }
    }

    /// What the matrix makes `right` of.
    pub fn solve(&self, mut right: Vec<f64>) -> Vec<f64> {
        let row = |i: usize| &self.lower[i * self.size..][..=i];
        for i in 0..self.size {
            right[i] = (right[i] - dot(row(i), &right[..i])) / row(i)[i];
        }
        for i in (0..self.size).rev() {
            right[i] /= row(i)[i];
            let found = right[i];
            right[..i].iter_mut().zip(row(i)).for_each(|(right, of)| *right -= of * found);
        }
        right
    }
}

/// Of as many as the shorter has.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_makes_the_right_side_again() {
        let size = 6;
        let mut noise = crate::Noise::new(7);
        let root: Vec<f64> = (0..size * size).map(|_| noise.normal()).collect();
        let row = |i: usize| &root[i * size..][..size];
        let matrix: Vec<f64> =
            (0..size * size).map(|at| dot(row(at / size), row(at % size))).collect();
        let right: Vec<f64> = (0..size).map(|at| at as f64 - 2.0).collect();
        let found = Cholesky::of(matrix.clone(), size).solve(right.clone());
        for (i, right) in right.into_iter().enumerate() {
            let made = dot(&matrix[i * size..][..size], &found);
            assert!((made - right).abs() < 1e-9, "{made} for {right}");
        }
    }
}
