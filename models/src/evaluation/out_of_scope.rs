//! Texts that are of none of the classes. A score says how much a text looks like one of them; below a threshold it is
//! answered as none. The threshold is chosen on rows that were not learned from.

use serde::{Deserialize, Serialize};

use super::calibration::best_of;
use crate::error::{Error, Result};

/// What a text is judged in scope by; more is more in scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// The highest calibrated probability (Hendrycks and Gimpel 2017).
    #[default]
    MaxProbability,
    /// The logarithm of the sum of the logits' exponentials, over and times the temperature (Liu et al. 2020, equation
    /// 4, without its sign).
    Energy,
}

/// Below it a text is out of scope.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// The score.
    pub score: Score,
    /// The least score of a text in scope.
    pub least: f64,
}

/// How texts in and out of scope were told apart, and the classes of the former.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScopeReport {
    /// Rows in scope.
    pub in_scope_rows: usize,
    /// Rows out of scope.
    pub out_of_scope_rows: usize,
    /// Part of the rows in scope that were answered with their class, and not as out of scope.
    pub in_scope_accuracy: f64,
    /// Part of the rows out of scope that were answered so.
    pub recall: f64,
    /// Part of the rows answered as out of scope that are.
    pub precision: f64,
    /// How likely a row in scope has a higher score than one out of scope, ties half.
    pub auroc: f64,
}

impl Score {
    /// The score of a row of logits.
    pub fn of(self, row: &[f32], temperature: f64) -> f64 {
        let most = f64::from(row[best_of(row)]) / temperature;
        let sum: f64 = row.iter().map(|x| (f64::from(*x) / temperature - most).exp()).sum();
        match self {
            Self::MaxProbability => 1.0 / sum,
            Self::Energy => temperature * (most + sum.ln()),
        }
    }
}

/// How likely one of `higher` is above one of `lower`, ties half (Mann and Whitney). 0.5 where one list is empty.
pub fn auroc(higher: &[f64], lower: &[f64]) -> f64 {
    if higher.is_empty() || lower.is_empty() {
        return 0.5;
    }
    let mut all: Vec<(f64, bool)> = higher.iter().map(|x| (*x, true)).collect();
    all.extend(lower.iter().map(|x| (*x, false)));
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut wins, mut below) = (0.0, 0.0);
    for ties in all.chunk_by(|a, b| a.0 == b.0) {
        let highs = ties.iter().filter(|(_, is_high)| *is_high).count() as f64;
        let lows = ties.len() as f64 - highs;
        wins += highs * (below + lows / 2.0);
        below += lows;
    }
    wins / (higher.len() as f64 * lower.len() as f64)
}

/// The threshold with the highest mean of two parts: of `in_scope` at or above it, and of `out_of_scope` below it
/// (Youden 1950). Without rows out of scope, the one that `rejected` of those in scope are below. Fails for no rows in
/// scope and for a part that is not between 0 and 1.
pub fn choose_threshold(in_scope: &[f64], out_of_scope: &[f64], rejected: f64) -> Result<f64> {
    if in_scope.is_empty() || !(0.0..1.0).contains(&rejected) {
        return Err(Error::Training {
            problem: format!(
                "threshold: expected rows in scope and a part of at least 0 and below 1, found {} and {rejected}",
                in_scope.len()
            ),
        });
    }
    let sorted = |scores: &[f64]| {
        let mut scores = scores.to_vec();
        scores.sort_by(f64::total_cmp);
        scores
    };
    let (inside, outside) = (sorted(in_scope), sorted(out_of_scope));
    if outside.is_empty() {
        return Ok(inside[(inside.len() as f64 * rejected) as usize]);
    }
    let below = |scores: &[f64], at: f64| scores.partition_point(|score| *score < at) as f64;
    let mut best = (f64::NEG_INFINITY, inside[0]);
    // Between two neighbours any threshold does the same; the middle is as far as can be from both.
    let mut places = sorted(&[&inside[..], &outside].concat());
    places.dedup();
    let middles = places.windows(2).map(|pair| pair[0].midpoint(pair[1]));
    for at in middles.chain([places[0]]) {
        let kept = 1.0 - below(&inside, at) / inside.len() as f64;
        let found = below(&outside, at) / outside.len() as f64;
        if kept + found > best.0 {
            best = (kept + found, at);
        }
    }
    Ok(best.1)
}

/// How `threshold` does on rows of `logits`, `[rows, classes]`; a truth of none is a row out of scope. Fails for lists
/// that do not fit.
pub fn scope_report(
    logits: &[f32],
    truth: &[Option<usize>],
    count: usize,
    temperature: f64,
    threshold: Threshold,
) -> Result<ScopeReport> {
    if count == 0 || logits.len() != truth.len() * count {
        return Err(Error::Training {
            problem: format!(
                "scope: expected {count} logits for each of {} rows, found {}",
                truth.len(),
                logits.len()
            ),
        });
    }
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    let (mut right, mut found, mut answered) = (0_usize, 0_usize, 0_usize);
    for (row, truth) in logits.chunks_exact(count).zip(truth) {
        let score = threshold.score.of(row, temperature);
        let is_out = score < threshold.least;
        answered += usize::from(is_out);
        match truth {
            Some(class) => {
                inside.push(score);
                right += usize::from(!is_out && best_of(row) == *class);
            }
            None => {
                outside.push(score);
                found += usize::from(is_out);
            }
        }
    }
    let part = |of: usize, all: usize| if all == 0 { 0.0 } else { of as f64 / all as f64 };
    Ok(ScopeReport {
        in_scope_rows: inside.len(),
        out_of_scope_rows: outside.len(),
        in_scope_accuracy: part(right, inside.len()),
        recall: part(found, outside.len()),
        precision: part(found, answered),
        auroc: auroc(&inside, &outside),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_area_is_that_computed_by_hand() {
        assert_eq!(auroc(&[3.0, 4.0], &[1.0, 2.0]), 1.0);
        assert_eq!(auroc(&[1.0, 2.0], &[3.0, 4.0]), 0.0);
        // Pairs: 2 over 1, 2 = 2, 3 over both.
        assert_eq!(auroc(&[2.0, 3.0], &[1.0, 2.0]), 3.5 / 4.0);
        assert_eq!(auroc(&[], &[1.0]), 0.5);
    }

    #[test]
    fn the_threshold_divides_best() {
        let found = choose_threshold(&[0.9, 0.8, 0.7, 0.3], &[0.1, 0.2, 0.4], 0.05).unwrap();
        assert!((found - 0.55).abs() < 1e-12 || (found - 0.25).abs() < 1e-12, "{found}");
        let scores: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(choose_threshold(&scores, &[], 0.05).unwrap(), 5.0);
        assert!(choose_threshold(&[], &[1.0], 0.05).is_err());
    }

    #[test]
    fn rows_out_of_scope_are_found_and_counted() {
        let logits = [5.0, 0.0, 0.0, 5.0, 0.1, 0.0, 0.0, 0.2, 4.0, 0.0];
        let truth = [Some(0), Some(0), None, Some(1), None];
        let threshold = Threshold { score: Score::MaxProbability, least: 0.9 };
        let found = scope_report(&logits, &truth, 2, 1.0, threshold).unwrap();
        assert_eq!((found.in_scope_rows, found.out_of_scope_rows), (3, 2));
        assert!((found.in_scope_accuracy - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!((found.recall, found.precision), (0.5, 0.5));
        let energy = Score::Energy.of(&[1.0, 1.0], 2.0);
        assert!((energy - (1.0 + 2.0 * 2_f64.ln())).abs() < 1e-12);
        assert!(scope_report(&logits, &truth, 3, 1.0, threshold).is_err());
    }
}
