//! Rows of a table of numbers that are unlike all others, in one column or in combination, and how sure that is.
//!
//! 1. [`prepare`] makes columns comparable and uncorrelated: a forest is to be fitted on that, as one that cuts along the axes does not
//!    see a broken dependence otherwise. Tails are bent as much as each side of a column's own are heavier than normal.
//! 2. An isolation forest, elsewhere (Liu, Ting & Zhou, "Isolation Forest", 2008), gives each row a score.
//! 3. [`outlying`] looks at four things, of each of which the tail is compared with itself ([`crate::tail`]): each column, each column
//!    given the others, the distance from the centre in all (Mahalanobis, 1936), and the forest's depth.
//!
//! ```text
//!   R = shrunk correlation of clipped levels, W = R^−½ (no column is turned more than needed: Kessy, Lewin & Strimmer, 2018)
//!   prepared = W·level,  given others: (R⁻¹·level)_j / √(R⁻¹)_jj,  distance: |W·level|,  isolation: −ln(−log₂ score)
//!   score = max over kinds of (score of the tail + log₁₀ of the kind's part)                                         Bonferroni
//! ```
//!
//! A forest's score saturates: beyond what was sampled there is no depth left, so it does not say how far a far row is. Hence the other
//! three, and the logarithm of the depth. What it adds are rows that are far from none of these.
//!
//! What it does not say:
//! - With few rows no one can tell a normal column from one of heavier tails: a row at 6 robust standard deviations is then often
//!   ordinary. The figures are in `worlds`: 500 rows find a quarter of such rows in independent columns, 2,000 three of four.
//! - More than J (16, and one more of 1,000 rows; rows / 16 of fewer than 256) of the same kind are usual.
//! - A row between clusters is seldom found: on the scale of all rows it is in their midst.
//! - A column whose values are equal to the median in all but J + k rows or fewer is dropped: nothing says how rare others are.
//! - Counts of fewer than three values in the tail tell nothing by themselves; others of small means seldom do: a 25 among 2,000 of
//!   Poisson(4) is not told.

mod eigen;
mod measure;
#[cfg(test)]
mod pinned_tests;
mod prepare;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod worlds;

use rayon::prelude::*;

use crate::cholesky::dot;
use crate::tail::Tail;
use measure::Measure;

pub use prepare::{Prepared, prepare};

/// Columns of a table, at most.
pub const COLUMNS_MAX: usize = 64;
/// Rows without missing values that are needed.
pub const ROWS_MIN: usize = 64;
/// The least scale of the tail of distances and of that of isolation.
const DISTANCE_SCALE_MIN: f64 = 0.05;
const ISOLATION_SCALE_MIN: f64 = 0.01;

/// Bonferroni: of the chance that anything is told where nothing is unusual, the parts of the kinds of evidence; each column has the same
/// part of its kind's.
const COLUMN_PART: f64 = 0.4;
const GIVEN_PART: f64 = 0.3;
const DISTANCE_PART: f64 = 0.2;
const ISOLATION_PART: f64 = 0.1;
/// A column is looked at given the others where they say this part of its variance: else it is the column once more.
const SAID_MIN: f64 = 0.05;

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// The least score that is told: one table of 10^score is told of without reason.
    pub score_min: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { score_min: 2.0 }
    }
}

/// What says that a row is unlike the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The value of this column of the table.
    Column(usize),
    /// The value of this column, given those of the others: a dependence is broken.
    GivenOthers(usize),
    /// The distance from all others in all columns together.
    Distance,
    /// The forest: there is nothing near it, though it may be in the midst of all.
    Isolation,
}

/// What a column has to do with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contribution {
    /// The column of the table.
    pub column: usize,
    /// The row's value.
    pub value: f64,
    /// The median of the column.
    pub usual: f64,
    /// The value's signed distance from it in robust standard deviations of the column.
    pub deviation: f64,
    /// The signed distance of the value from what those of the other columns make it be, in robust standard deviations of that; of
    /// compressed values. Equal to `deviation` where there is one column only.
    pub given_others: f64,
    /// The part that it has in all, 0..1; they sum to 1. By the square of the larger of both, compressed.
    pub share: f64,
}

/// A row that is unlike all others.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlying {
    /// The row.
    pub row: usize,
    /// −log₁₀ of how rarely a table in which nothing is unusual has such a row.
    pub score: f64,
    /// What says so most clearly.
    pub evidence: Evidence,
    /// Of each column that was kept, the largest share first.
    pub contributions: Vec<Contribution>,
}

/// Why nothing can be said, which is not the same as that nothing is unusual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// No columns or too many, or rows, prepared rows and scores that do not belong together.
    Shape,
    /// Too few rows without missing values.
    Few {
        /// There are.
        found: usize,
        /// Needed.
        needed: usize,
    },
    /// No column varies.
    Constant,
}

/// Rows that are unlike all others, in order of row. `rows` is what was prepared; `isolation` is the isolation-forest score of each row
/// of `prepared.values`, 0..1, NaN where it has none.
pub fn outlying(
    rows: &[f64],
    prepared: &Prepared,
    isolation: &[f64],
    options: &Options,
) -> Result<Vec<Outlying>, Silence> {
    let size = prepared.kept.len();
    if rows.len() != prepared.rows * prepared.columns || isolation.len() != prepared.rows {
        return Err(Silence::Shape);
    }
    let residuals: Vec<Option<Measure>> = match size {
        1 => vec![],
        _ => (0..size).into_par_iter().map(|column| residual_measure(prepared, column)).collect(),
    };
    let mut best: Vec<(f64, Evidence)> =
        vec![(f64::NEG_INFINITY, Evidence::Distance); prepared.rows];
    let given = residuals.iter().flatten().count() as f64;
    let of_column = COLUMN_PART.log10() - (size as f64).log10();
    let of_given = GIVEN_PART.log10() - given.max(1.0).log10();
    let mut tell = |row: usize, score: f64, evidence: Evidence| {
        if score > best[row].0 {
            best[row] = (score, evidence);
        }
    };
    for (at, column) in prepared.kept.iter().enumerate() {
        let measure = &prepared.measures[at];
        for row in &prepared.complete {
            if let Some(score) = measure.score(rows[row * prepared.columns + column]) {
                tell(*row, score + of_column, Evidence::Column(*column));
            }
            if let Some(Some(measure)) = residuals.get(at)
                && let Some(score) = measure.score(residual(prepared, *row, at))
            {
                tell(*row, score + of_given, Evidence::GivenOthers(*column));
            }
        }
    }
    if size > 1 {
        let distance = |row: &usize| {
            let values = &prepared.values[row * size..][..size];
            (*row, dot(values, values).sqrt())
        };
        let distances = prepared.complete.iter().map(distance).collect();
        for (row, score) in scores(distances, DISTANCE_SCALE_MIN) {
            tell(row, score + DISTANCE_PART.log10(), Evidence::Distance);
        }
    }
    let depth = |row: &usize| {
        let score = isolation[*row];
        let depth = -score.clamp(1e-6, 1.0 - 1e-6).log2();
        (!score.is_nan()).then(|| (*row, -depth.ln()))
    };
    let depths = prepared.complete.iter().filter_map(depth).collect();
    for (row, score) in scores(depths, ISOLATION_SCALE_MIN) {
        tell(row, score + ISOLATION_PART.log10(), Evidence::Isolation);
    }

    let found = best.into_iter().enumerate().filter(|(_, (score, _))| *score >= options.score_min);
    Ok(found
        .map(|(row, (score, evidence))| Outlying {
            row,
            score,
            evidence,
            contributions: contributions(rows, prepared, &residuals, row),
        })
        .collect())
}

/// Of a row's level of a kept column, what those of the others do not say, in standard deviations of a normal table.
fn residual(prepared: &Prepared, row: usize, at: usize) -> f64 {
    let size = prepared.kept.len();
    let mixing = &prepared.whitening[at * size..][..size];
    dot(mixing, &prepared.values[row * size..][..size]) / dot(mixing, mixing).sqrt()
}

fn residual_measure(prepared: &Prepared, at: usize) -> Option<Measure> {
    let mixing = &prepared.whitening[at * prepared.kept.len()..][..prepared.kept.len()];
    // The inverse of what the others leave.
    if dot(mixing, mixing) < 1.0 / (1.0 - SAID_MIN) {
        return None;
    }
    let values: Vec<f64> =
        prepared.complete.iter().map(|row| residual(prepared, *row, at)).collect();
    // A column that comes in steps does so given others, if in less clear ones.
    Measure::of(&values, prepared.measures[at].level_step() * dot(mixing, mixing).sqrt())
}

/// Rows and their scores; none where there are too few for a tail.
fn scores(values: Vec<(usize, f64)>, scale_min: f64) -> Vec<(usize, f64)> {
    if values.len() < ROWS_MIN {
        return vec![];
    }
    let ranks = measure::ranks(values.len());
    let mut descending: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
    descending.sort_unstable_by(|a, b| b.total_cmp(a));
    let Some(tail) = Tail::of(&descending, ranks, scale_min) else { return vec![] };
    values.into_iter().map(|(row, value)| (row, tail.score(value))).collect()
}

fn contributions(
    rows: &[f64],
    prepared: &Prepared,
    residuals: &[Option<Measure>],
    row: usize,
) -> Vec<Contribution> {
    let of = |at: usize| {
        let (column, measure) = (prepared.kept[at], &prepared.measures[at]);
        let value = rows[row * prepared.columns + column];
        let (deviation, level) = (measure.deviation(value), measure.level(value));
        let (given_others, given_level) = match residuals.get(at) {
            Some(Some(measure)) => {
                let residual = residual(prepared, row, at);
                (measure.deviation(residual), measure.level(residual))
            }
            _ => (deviation, level),
        };
        let share = level.abs().max(given_level.abs()).powi(2);
        Contribution { column, value, usual: measure.median, deviation, given_others, share }
    };
    let mut all: Vec<Contribution> = (0..prepared.kept.len()).map(of).collect();
    let sum: f64 = all.iter().map(|one| one.share).sum();
    all.iter_mut().for_each(|one| one.share /= sum.max(f64::MIN_POSITIVE));
    all.sort_by(|a, b| b.share.total_cmp(&a.share).then(a.column.cmp(&b.column)));
    all
}
