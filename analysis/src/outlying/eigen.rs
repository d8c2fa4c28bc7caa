//! Eigenvalues and vectors of a small symmetric matrix, by Jacobi's rotations (Golub & Van Loan, "Matrix Computations", 4th ed., §8.5).

/// A matrix of 64 rows needs 8 or so.
const SWEEPS_MAX: usize = 32;
/// A sum of squares off the diagonal below this part of that on it is rounding.
const ROUNDING: f64 = 1e-24;

/// The function of a symmetric matrix that is `of` of its eigenvalues: √, for example, gives the root. Row after row, `size` rows.
pub(super) fn function(mut matrix: Vec<f64>, size: usize, of: impl Fn(f64) -> f64) -> Vec<f64> {
    let mut vectors = vec![0.0; size * size];
    (0..size).for_each(|i| vectors[i * size + i] = 1.0);
    for _ in 0..SWEEPS_MAX {
        let square = |at: (usize, &f64)| at.1 * at.1;
        let is_on = |at: &(usize, &f64)| at.0 / size == at.0 % size;
        let on: f64 = matrix.iter().enumerate().filter(is_on).map(square).sum();
        let off: f64 = matrix.iter().enumerate().filter(|at| !is_on(at)).map(square).sum();
        if off <= ROUNDING * on {
            break;
        }
        for p in 0..size {
            for q in p + 1..size {
                rotate(&mut matrix, &mut vectors, size, p, q);
            }
        }
    }
    let values: Vec<f64> = (0..size).map(|i| of(matrix[i * size + i])).collect();
    let at = |i: usize, j: usize| -> f64 {
        (0..size).map(|k| vectors[i * size + k] * values[k] * vectors[j * size + k]).sum()
    };
    (0..size * size).map(|index| at(index / size, index % size)).collect()
}

/// Makes element (p, q) zero.
fn rotate(matrix: &mut [f64], vectors: &mut [f64], size: usize, p: usize, q: usize) {
    let off = matrix[p * size + q];
    if off == 0.0 {
        return;
    }
    let theta = (matrix[q * size + q] - matrix[p * size + p]) / (2.0 * off);
    let tangent = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
    let sine = tangent * cosine;
    let turn = |values: &mut [f64], a: usize, b: usize| {
        let (x, y) = (values[a], values[b]);
        (values[a], values[b]) = (cosine * x - sine * y, sine * x + cosine * y);
    };
    for k in 0..size {
        turn(matrix, k * size + p, k * size + q);
        turn(vectors, k * size + p, k * size + q);
    }
    for k in 0..size {
        turn(matrix, p * size + k, q * size + k);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Noise;
    use crate::cholesky::dot;

    #[test]
    fn the_inverse_root_twice_is_the_inverse() {
        for size in [1, 2, 7, 64] {
            let mut noise = Noise::new(size as u64);
            let root: Vec<f64> = (0..size * size).map(|_| noise.normal()).collect();
            let row = |of: &[f64], i: usize| of[i * size..][..size].to_vec();
            let product = |a: &[f64], b: &[f64]| -> Vec<f64> {
                (0..size * size).map(|at| dot(&row(a, at / size), &row(b, at % size))).collect()
            };
            let mut matrix = product(&root, &root);
            (0..size).for_each(|i| matrix[i * size + i] += 1.0);
            let whitening = function(matrix.clone(), size, |value| 1.0 / value.sqrt());
            let one = product(&product(&whitening, &matrix), &whitening);
            for (at, found) in one.iter().enumerate() {
                let wanted = f64::from(u8::from(at / size == at % size));
                assert!((found - wanted).abs() < 1e-9, "{size} {at}: {found}");
            }
        }
    }
}
