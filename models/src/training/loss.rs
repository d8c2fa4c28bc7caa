//! What is made small: the cross-entropy of the classes, weighted by class and with smoothed labels (Szegedy et al.
//! 2016, section 7).

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How much the rows of a class count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// Every row as much as any other.
    #[default]
    Equal,
    /// Every class as much as any other: `rows / (classes * rows of the class)`.
    Balanced,
    /// One number for each class, more than 0.
    Given(Vec<f32>),
}

impl ClassWeights {
    /// One number for each of `count` classes. A class without rows has weight 1, which nothing is multiplied with.
    pub(crate) fn of(&self, classes: &[usize], count: usize) -> Result<Vec<f32>> {
        match self {
            Self::Equal => Ok(vec![1.0; count]),
            Self::Balanced => {
                let mut rows = vec![0_usize; count];
                classes.iter().for_each(|class| rows[*class] += 1);
                let each = classes.len() as f32 / count as f32;
                Ok(rows.iter().map(|n| if *n == 0 { 1.0 } else { each / *n as f32 }).collect())
            }
            Self::Given(weights) if weights.len() != count => Err(Error::Training {
                problem: format!("expected {count} class weights, found {}", weights.len()),
            }),
            Self::Given(weights) => match weights.iter().find(|w| !(w.is_finite() && **w > 0.0)) {
                Some(weight) => Err(Error::Training {
                    problem: format!("class weight: expected a number above 0, found {weight}"),
                }),
                None => Ok(weights.clone()),
            },
        }
    }
}

/// Checks the share of a label that is spread over all classes.
pub(crate) fn check_smoothing(smoothing: f32) -> Result<()> {
    if (0.0..1.0).contains(&smoothing) {
        return Ok(());
    }
    Err(Error::Training {
        problem: format!("label_smoothing: expected at least 0 and below 1, found {smoothing}"),
    })
}

/// What the network should answer, `[rows, classes]`, every row times its weight and all divided by `total`.
pub(crate) fn targets(classes: &[usize], weights: &[f32], smoothing: f32, total: f32) -> Vec<f32> {
    let count = weights.len();
    let mut targets = vec![0_f32; classes.len() * count];
    for (row, class) in targets.chunks_exact_mut(count).zip(classes) {
        let weight = weights[*class] / total;
        row.fill(weight * smoothing / count as f32);
        row[*class] += weight * (1.0 - smoothing);
    }
    targets
}

/// The softmax of a row in place; its answer is the logarithm of what the row was divided by. In double precision
/// between, so that a row sums to one.
pub(crate) fn softmax(row: &mut [f32]) -> f64 {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in row.iter_mut() {
        *value = (*value - most).exp();
        sum += f64::from(*value);
    }
    let scale = (1.0 / sum) as f32;
    row.iter_mut().for_each(|value| *value *= scale);
    sum.ln() + f64::from(most)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn balanced_classes_count_the_same() {
        let weights = ClassWeights::Balanced.of(&[0, 0, 0, 1], 3).unwrap();
        assert!((weights[0] * 3.0 - weights[1]).abs() < 1e-6);
        assert_eq!(weights[2], 1.0);
        let given = |weights: &[f32]| ClassWeights::Given(weights.to_vec()).of(&[0, 1], 2);
        assert_eq!(given(&[1.0, 2.0]).unwrap(), [1.0, 2.0]);
        assert!(given(&[1.0]).unwrap_err().to_string().contains("2 class weights, found 1"));
        assert!(given(&[1.0, f32::NAN]).unwrap_err().to_string().contains("above 0, found NaN"));
    }

    #[test]
    fn smoothed_targets_sum_to_the_weights() {
        let targets = targets(&[1, 0], &[1.0, 3.0], 0.2, 4.0);
        let expected = [0.075, 0.675, 0.225, 0.025];
        assert!(targets.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{targets:?}");
        assert!(check_smoothing(1.0).is_err() && check_smoothing(0.1).is_ok());
    }

    #[test]
    fn a_softmax_of_large_numbers_is_finite() {
        let mut row = [1000.0, 999.0, -1000.0];
        let log = softmax(&mut row);
        assert!((log - 1_000.313_261_687_5).abs() < 1e-6, "{log}");
        assert!((row[0] - 0.731_058_6).abs() < 1e-6 && row[2] == 0.0);
    }
}
