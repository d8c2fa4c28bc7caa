//! Rows as a forest is to be fitted on them.

use rayon::prelude::*;

use super::eigen;
use super::measure::Measure;
use super::{COLUMNS_MAX, ROWS_MIN, Silence};
use crate::cholesky::dot;

/// Levels beyond count as this one for the correlation.
const CLIP: f64 = 2.5;
/// The correlation matrix is shrunk towards none by this part and by columns / rows: what two columns that are the same differ by
/// is rounding, not a broken dependence.
const SHRINK: f64 = 0.01;
/// Rows at a time.
const CHUNK: usize = 4_096;

/// Rows that a forest is to be fitted on, and what is usual for their columns.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Columns of the table that are among the prepared ones, in order.
    pub kept: Vec<usize>,
    /// Columns that are constant, or of which too few rows differ from the median to say how.
    pub dropped: Vec<usize>,
    /// Row after row, one value for each kept column: uncorrelated, spread about as normal values of variance 1. NaN throughout a row
    /// in which a value is missing.
    pub values: Vec<f64>,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Of kept columns.
    pub(super) measures: Vec<Measure>,
    /// The inverse root of the correlation matrix.
    pub(super) whitening: Vec<f64>,
    /// Rows without missing values.
    pub(super) complete: Vec<usize>,
}

/// Makes columns comparable and uncorrelated. `rows` is row after row of `columns` values of any unit; a value that is not finite is
/// missing. O(n·d·(d + log n)); twice the memory of `rows` beside them, half of it only meanwhile. Fails
/// without `ROWS_MIN` rows without missing values, or where no column is left.
pub fn prepare(rows: &[f64], columns: usize) -> Result<Prepared, Silence> {
    if columns == 0 || columns > COLUMNS_MAX || !rows.len().is_multiple_of(columns) {
        return Err(Silence::Shape);
    }
    let count = rows.len() / columns;
    let row = |at: usize| &rows[at * columns..][..columns];
    let complete: Vec<usize> =
        (0..count).filter(|at| row(*at).iter().all(|value| value.is_finite())).collect();
    if complete.len() < ROWS_MIN {
        return Err(Silence::Few { found: complete.len(), needed: ROWS_MIN });
    }
    let of_column = |column: usize| {
        let values: Vec<f64> = complete.iter().map(|at| row(*at)[column]).collect();
        Measure::of(&values, 0.0)
    };
    let found: Vec<Option<Measure>> = (0..columns).into_par_iter().map(of_column).collect();
    let (kept, dropped): (Vec<usize>, Vec<usize>) =
        (0..columns).partition(|column| found[*column].is_some());
    let measures: Vec<Measure> = found.into_iter().flatten().collect();
    if kept.is_empty() {
        return Err(Silence::Constant);
    }

    let size = kept.len();
    let mut levels = vec![f64::NAN; count * size];
    levels.par_chunks_mut(size).enumerate().for_each(|(at, levels)| {
        if row(at).iter().all(|value| value.is_finite()) {
            for ((level, measure), column) in levels.iter_mut().zip(&measures).zip(&kept) {
                *level = measure.level(row(at)[*column]);
            }
        }
    });
    let whitening = eigen::function(correlation(&levels, size, &complete), size, |value| {
        1.0 / value.max(SHRINK / 2.0).sqrt()
    });
    let mut values = vec![f64::NAN; count * size];
    values.par_chunks_mut(size).zip(levels.par_chunks(size)).for_each(|(values, levels)| {
        let mixed = |at: usize| dot(&whitening[at * size..][..size], levels);
        values.iter_mut().enumerate().for_each(|(at, value)| *value = mixed(at));
    });
    Ok(Prepared { kept, dropped, values, rows: count, columns, measures, whitening, complete })
}

/// Of clipped levels, shrunk.
fn correlation(levels: &[f64], size: usize, complete: &[usize]) -> Vec<f64> {
    let sums = |rows: &[usize]| {
        // The last row and column are of ones: sums.
        let side = size + 1;
        let (mut sums, mut one) = (vec![0.0; side * side], vec![1.0; side]);
        for at in rows {
            for (clipped, level) in one.iter_mut().zip(&levels[at * size..][..size]) {
                *clipped = level.clamp(-CLIP, CLIP);
            }
            for (i, a) in one.iter().enumerate() {
                let row = &mut sums[i * side..][..=i];
                row.iter_mut().zip(&one).for_each(|(sum, b)| *sum += a * b);
            }
        }
        sums
    };
    let add = |mut a: Vec<f64>, b: Vec<f64>| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        a
    };
    // Chunks are summed in their order, so that every run gives the same.
    let parts: Vec<Vec<f64>> = complete.par_chunks(CHUNK).map(sums).collect();
    let sums = parts.into_iter().reduce(add).unwrap_or_default();
    let (side, rows) = (size + 1, complete.len() as f64);
    let mean = |i: usize| sums[size * side + i] / rows;
    let covariance =
        |i: usize, j: usize| sums[i.max(j) * side + i.min(j)] / rows - mean(i) * mean(j);
    let kept = 1.0 - (SHRINK + size as f64 / rows).min(1.0);
    let at = |(i, j): (usize, usize)| match i == j {
        true => 1.0,
        false => kept * covariance(i, j) / (covariance(i, i) * covariance(j, j)).sqrt(),
    };
    (0..size * size).map(|index| at((index / size, index % size))).collect()
}
