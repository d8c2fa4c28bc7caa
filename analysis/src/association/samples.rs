//! Samples that several rows have in common, and how many they are worth.

use super::{COLLINEAR, Coefficient, Unknown};
use crate::cholesky::dot;
use crate::series::rows::normalise;
use crate::significance::{LAGS_MAX, autocorrelation, effective_samples};

/// Root mean square of a row, in its greatest magnitude, up to which it is constant but for rounding.
const ROUNDING: f64 = 1e-14;

/// Samples that several rows have.
#[derive(Debug)]
pub(super) struct Shared {
    /// Their positions.
    pub(super) at: Vec<usize>,
    /// Each with mean 0 and sum of squares 1.
    pub(super) rows: Vec<Vec<f64>>,
}

impl Shared {
    pub(super) fn of(rows: &[&[f64]], needed: usize) -> Result<Self, Unknown> {
        let length = rows.first().map_or(0, |row| row.len());
        if rows.iter().any(|row| row.len() != length) {
            return Err(Unknown::Lengths);
        }
        let all_there = |at: &usize| rows.iter().all(|row| row[*at].is_finite());
        let at: Vec<usize> = (0..length).filter(all_there).collect();
        if at.len() < needed {
            return Err(Unknown::Few { found: at.len(), needed });
        }
        let unit_row = |(index, row): (usize, &&[f64])| {
            unit(at.iter().map(|&at| row[at]).collect()).ok_or(Unknown::Constant { row: index })
        };
        let rows = rows.iter().enumerate().map(unit_row).collect::<Result<_, _>>()?;
        Ok(Self { at, rows })
    }

    pub(super) fn len(&self) -> usize {
        self.at.len()
    }

    pub(super) fn spacing(&self) -> Spacing {
        Spacing::of(&self.at)
    }

    /// Of two rows at these positions, each of mean 0 and sum of squares 1, given so many others.
    pub(super) fn coefficient(&self, conditions: usize, a: &[f64], b: &[f64]) -> Coefficient {
        let r = dot(a, b).clamp(-1.0, 1.0);
        let spacing = self.spacing();
        let effective = spacing.effective(&spacing.autocorrelation(a), &spacing.autocorrelation(b));
        Coefficient::of(r, self.len(), effective, conditions, dispersion(a, b, r))
    }
}

/// Less the mean, and of length 1. `None` where all are equal but for rounding.
pub(super) fn unit(mut values: Vec<f64>) -> Option<Vec<f64>> {
    normalise(&mut values);
    let n = values.len() as f64;
    // What the first mean is off by rounding the second takes out.
    for _ in 0..2 {
        let mean = values.iter().sum::<f64>() / n;
        values.iter_mut().for_each(|value| *value -= mean);
    }
    of_length_1(values, n * ROUNDING * ROUNDING)
}

/// Divided by their length; `None` where its square is at most `least`.
pub(super) fn of_length_1(mut values: Vec<f64>, least: f64) -> Option<Vec<f64>> {
    let squares = dot(&values, &values);
    if squares.is_nan() || squares <= least {
        return None;
    }
    let length = squares.sqrt();
    values.iter_mut().for_each(|value| *value /= length);
    Some(values)
}

/// How samples follow each other: where there are gaps, fewer are so far apart.
#[derive(Debug)]
pub(super) struct Spacing {
    /// Positions from the first one on.
    at: Vec<usize>,
    /// From the first one to the last.
    length: usize,
    /// Pairs of samples that are 1, 2, … apart, as many as count; `None` without gaps.
    pairs: Option<Vec<f64>>,
}

impl Spacing {
    fn of(at: &[usize]) -> Self {
        let first = at.first().copied().unwrap_or(0);
        let at: Vec<usize> = at.iter().map(|at| at - first).collect();
        let length = at.last().map_or(0, |last| last + 1);
        if length == at.len() {
            return Self { at, length, pairs: None };
        }
        let mut there = vec![0.0; length];
        at.iter().for_each(|&at| there[at] = 1.0);
        let pairs = lags(length).map(|lag| dot(&there, &there[lag..])).collect();
        Self { at, length, pairs: Some(pairs) }
    }

    /// The autocorrelation of a row of mean 0 with these samples. With gaps a mean over the pairs that are there stands for all
    /// pairs, drawn in as it is without.
    pub(super) fn autocorrelation(&self, row: &[f64]) -> Vec<f64> {
        let Some(pairs) = &self.pairs else {
            return autocorrelation(row);
        };
        let mut placed = vec![0.0; self.length];
        self.at.iter().zip(row).for_each(|(&at, value)| placed[at] = *value);
        let squares = dot(row, row);
        if squares <= 0.0 {
            return Vec::new();
        }
        let at_lag = |(lag, &pairs): (usize, &f64)| {
            if pairs < 1.0 {
                return 0.0;
            }
            let all = row.len() as f64 * (1.0 - lag as f64 / self.length as f64);
            dot(&placed, &placed[lag..]) / squares * all / pairs
        };
        lags(self.length).zip(pairs).map(at_lag).collect()
    }

    /// How many independent samples there are of two rows with these autocorrelations, 3 to as many as there are.
    pub(super) fn effective(&self, a: &[f64], b: &[f64]) -> f64 {
        let n = self.at.len();
        let Some(pairs) = &self.pairs else {
            return effective_samples(n, a, b);
        };
        let n = n as f64;
        let repeated: f64 =
            pairs.iter().zip(a).zip(b).map(|((pairs, a), b)| pairs / n * a * b).sum();
        (n / (1.0 + 2.0 * repeated).max(1.0)).clamp(3.0_f64.min(n), n)
    }
}

/// Lags that count, given the samples from the first to the last.
fn lags(length: usize) -> std::ops::RangeInclusive<usize> {
    1..=(length / 5).min(LAGS_MAX)
}

/// Variance of a coefficient in that of one of normal values, at least 1.
pub(super) fn dispersion(a: &[f64], b: &[f64], r: f64) -> f64 {
    let rest = 1.0 - r * r;
    if rest <= COLLINEAR {
        return 1.0;
    }
    let influence = |(a, b): (&f64, &f64)| a * b - r * (a * a + b * b) / 2.0;
    let squares: f64 = a.iter().zip(b).map(influence).map(|psi| psi * psi).sum();
    (a.len() as f64 * squares / (rest * rest)).max(1.0)
}
