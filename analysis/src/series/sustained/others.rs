//! What is left of each column after what the other columns say of it.
//!
//! The columns are regressed on each other in the reference; the residual of a column is (P z)ⱼ / Pⱼⱼ, P the inverse of the
//! columns' covariance. Within the reference the coefficients come from the other blocks of it, so that residuals there are as large as
//! those of rows that nothing was learned from. Where the other columns leave the range of the reference, the coefficients' own
//! errors grow with that distance, and that part of the residual is not counted.

use crate::Cholesky;
use crate::cholesky::dot;
use crate::series::spread;

use super::variance::Scales;

/// Part of the mean variance that is added to each.
const RIDGE: f64 = 0.02;
/// Blocks of the reference, each predicted from the others.
const BLOCKS: usize = 4;
/// Rows whose mean says whether the others have left the reference.
const SMOOTH: usize = 16;
/// Part of the reference that is within its range.
const RANGE: f64 = 0.99;
/// Distances of larger residuals count as this one.
const DISTANCE_MAX: f64 = 6.0;

/// Coefficients: the means and, row after row, the inverse of the covariance.
struct Fit {
    means: Vec<f64>,
    inverse: Vec<f64>,
}

/// The residuals of each column of `columns`, of which the first `learned` rows are the reference.
pub(super) fn residuals(columns: &[Vec<f64>], learned: usize) -> Vec<Vec<f64>> {
    let (count, rows) = (columns.len(), columns.first().map_or(0, Vec::len));
    let whole = Fit::of(columns, |row| row < learned);
    let mut left = vec![vec![0.0; rows]; count];
    whole.residuals(columns, learned..rows, &mut left);
    for block in 0..BLOCKS {
        let [from, to] = [block, block + 1].map(|edge| edge * learned / BLOCKS);
        let others = Fit::of(columns, |row| row < learned && !(from..to).contains(&row));
        others.residuals(columns, from..to, &mut left);
    }
    let distances = whole.distances(columns);
    for (left, distances) in left.iter_mut().zip(&distances) {
        let unit = spread(&left[..learned]).at_least_of_mean().max(f64::MIN_POSITIVE);
        let most = DISTANCE_MAX * unit;
        let known: Vec<f64> = left[..learned].iter().map(|left| left.clamp(-most, most)).collect();
        let (error, _) = Scales::of(&known).of_mean(1 << (learned.ilog2() - 1), learned);
        let mut usual = distances[..learned].to_vec();
        usual.sort_unstable_by(f64::total_cmp);
        let usual = usual[((learned - 1) as f64 * RANGE) as usize];
        for (left, distance) in left.iter_mut().zip(distances) {
            let unsure = (error * (distance - usual).max(0.0)).sqrt();
            *left = left.signum() * (left.abs() - unsure).max(0.0);
        }
    }
    left
}

impl Fit {
    fn of(columns: &[Vec<f64>], is_known: impl Fn(usize) -> bool) -> Self {
        let count = columns.len();
        let known = |column: &Vec<f64>| -> Vec<f64> {
            let rows = column.iter().enumerate().filter(|(row, _)| is_known(*row));
            rows.map(|(_, value)| *value).collect()
        };
        let mut known: Vec<Vec<f64>> = columns.iter().map(known).collect();
        let mut means = Vec::with_capacity(count);
        for column in &mut known {
            let mean = column.iter().sum::<f64>() / column.len().max(1) as f64;
            column.iter_mut().for_each(|value| *value -= mean);
            means.push(mean);
        }
        let rows = known.first().map_or(1, |column| column.len().max(2) - 1) as f64;
        let mut matrix = vec![0.0; count * count];
        for i in 0..count {
            for j in 0..=i {
                let both = (1.0 - RIDGE) * dot(&known[i], &known[j]) / rows;
                (matrix[i * count + j], matrix[j * count + i]) = (both, both);
            }
        }
        let trace: f64 = (0..count).map(|i| matrix[i * count + i]).sum();
        let ridge = RIDGE / (1.0 - RIDGE) * (trace / count as f64).max(f64::MIN_POSITIVE);
        (0..count).for_each(|i| matrix[i * count + i] += ridge);
        let decomposed = Cholesky::of(matrix, count);
        let unit = |i: usize| (0..count).map(|j| f64::from(u8::from(i == j))).collect();
        let inverse = (0..count).flat_map(|i| decomposed.solve(unit(i))).collect();
        Self { means, inverse }
    }

    fn residuals(&self, columns: &[Vec<f64>], rows: std::ops::Range<usize>, into: &mut [Vec<f64>]) {
        let count = columns.len();
        let mut centred = vec![0.0; count];
        for row in rows {
            for (centred, (column, mean)) in centred.iter_mut().zip(columns.iter().zip(&self.means))
            {
                *centred = column[row] - mean;
            }
            for (at, into) in into.iter_mut().enumerate() {
                let of = &self.inverse[at * count..][..count];
                into[row] = dot(of, &centred) / of[at];
            }
        }
    }

    /// For each column, how far the others are from the reference's mean, smoothed: squares of Mahalanobis distances.
    fn distances(&self, columns: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let smooth: Vec<Vec<f64>> = columns.iter().map(|column| smoothed(column, SMOOTH)).collect();
        let (count, rows) = (columns.len(), columns.first().map_or(0, Vec::len));
        let mut left = vec![vec![0.0; rows]; count];
        self.residuals(&smooth, 0..rows, &mut left);
        for row in 0..rows {
            let diagonal = |at: usize| self.inverse[at * count + at];
            let parts = (0..count)
                .map(|at| (smooth[at][row] - self.means[at]) * left[at][row] * diagonal(at));
            let all: f64 = parts.sum();
            for (at, left) in left.iter_mut().enumerate() {
                left[row] = (all - left[row].powi(2) * diagonal(at)).max(0.0);
            }
        }
        left
    }
}

/// Means of `length` values around each; the ends are repeated.
pub(super) fn smoothed(values: &[f64], length: usize) -> Vec<f64> {
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return Vec::new() };
    let sums = super::variance::sums(values);
    let before = length / 2;
    let of = |at: usize| {
        let (from, to) = (at as i64 - before as i64, at + length - before);
        let early = (-from).max(0) as f64 * first;
        let late = to.saturating_sub(values.len()) as f64 * last;
        let within = sums[to.min(values.len())] - sums[from.max(0) as usize];
        (early + within + late) / length as f64
    };
    (0..values.len()).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Noise;

    #[test]
    fn what_the_others_say_is_taken_out() {
        let mut noise = Noise::new(1);
        let mut columns = vec![Vec::new(); 3];
        for row in 0..900 {
            let cause = noise.normal();
            let broken = if row >= 600 { 1.0 } else { 0.0 };
            columns[0].push(cause + 0.1 * noise.normal());
            columns[1].push(-cause + 0.1 * noise.normal() + broken);
            columns[2].push(noise.normal());
        }
        let left = residuals(&columns, 300);
        let of = |column: usize| spread(&left[column][..600]).sigma;
        assert!(of(0) < 0.25 && of(1) < 0.25 && of(2) > 0.8);
        let late = spread(&left[1][600..]).centre;
        assert!((0.8..1.1).contains(&late), "{late}");
    }

    #[test]
    fn a_mean_around_each_value_repeats_the_ends() {
        assert_eq!(smoothed(&[2.0, 4.0, 6.0], 2), [2.0, 3.0, 5.0]);
        assert_eq!(smoothed(&[1.0, 3.0], 4), [1.5, 2.0]);
        assert!(smoothed(&[], 4).is_empty());
    }
}
