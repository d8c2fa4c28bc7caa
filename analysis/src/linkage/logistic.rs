//! Logistic regression with a ridge: the probability that a pair is one record, from its features.
//!
//! ```text
//!   p(x) = 1 / (1 + exp(−o − w₀ − Σ w_j·z_j))    z_j = (x_j − mean_j) / deviation_j, 0 where x_j is missing
//!   w minimises  −Σ log p(label) + ½·ridge·Σ w_j²      (w₀ is free)
//! ```
//!
//! The offset o is the log odds that are known without labels, 0 if nothing is known. Labels are not a
//! random sample of pairs: some people label the doubtful ones, others random ones. So that labels change
//! the probability of pairs that are unlike them only if they must, a [`Background`] of unlabelled pairs
//! is part of the loss: each should keep the probability of its offset.
//!
//! By Newton's method (iteratively reweighted least squares; Hastie, Tibshirani & Friedman, "The Elements of Statistical
//! Learning", section 4.4.1). The ridge is that of [`RIDGES`] with the least loss on folds that were held out.

use crate::cholesky::{Cholesky, dot};

/// Ridges that are tried.
const RIDGES: [f64; 5] = [0.1, 0.3, 1.0, 3.0, 10.0];

/// Parts that the labels are cut into; each is held out once.
const FOLDS: usize = 5;

const ROUNDS_MAX: usize = 50;
const CHANGE_MIN: f64 = 1e-8;

/// Pairs with their labels: features row after row, NaN where missing.
#[derive(Clone, Debug, Default)]
pub struct Examples {
    /// Features of a pair.
    pub width: usize,
    /// Pair after pair.
    pub features: Vec<f64>,
    /// Whether each pair is one record.
    pub labels: Vec<bool>,
    /// The log odds that are known of each pair without labels; empty if nothing is.
    pub offsets: Vec<f64>,
    /// Pairs without labels.
    pub background: Background,
}

/// Pairs without labels, that should keep the probability of their offsets.
#[derive(Clone, Debug, Default)]
pub struct Background {
    /// Pair after pair.
    pub features: Vec<f64>,
    /// The log odds of each pair.
    pub offsets: Vec<f64>,
    /// The labels that all of them together count as.
    pub weight: f64,
}

/// Examples that are learned from.
pub const LEARNED_MAX: usize = 10_000;

impl Examples {
    fn row(&self, index: usize) -> &[f64] {
        &self.features[index * self.width..(index + 1) * self.width]
    }

    fn only(&self, keep: impl Fn(usize) -> bool) -> Self {
        let mut some = Self { width: self.width, ..Self::default() };
        for index in (0..self.labels.len()).filter(|index| keep(*index)) {
            some.features.extend_from_slice(self.row(index));
            some.labels.push(self.labels[index]);
            some.offsets.extend(self.offsets.get(index));
        }
        some.background = self.background.clone();
        some
    }

    /// Features, offset, target and weight of all pairs, those without labels last.
    fn all(&self) -> impl Iterator<Item = (&[f64], f64, f64, f64)> {
        let labelled = (0..self.labels.len()).map(|index| {
            let offset = self.offsets.get(index).copied().unwrap_or(0.0);
            (self.row(index), offset, f64::from(u8::from(self.labels[index])), 1.0)
        });
        let Background { features, offsets, weight } = &self.background;
        let weight = weight / offsets.len().max(1) as f64;
        let rows = features.chunks_exact(self.width.max(1)).zip(offsets);
        labelled.chain(rows.map(move |(row, offset)| (row, *offset, sigmoid(*offset), weight)))
    }
}

/// A model that was learnt.
#[derive(Clone, Debug)]
pub struct Logistic {
    means: Vec<f64>,
    deviations: Vec<f64>,
    /// The free one first.
    weights: Vec<f64>,
    /// The ridge that was chosen.
    pub ridge: f64,
}

impl Logistic {
    /// Learns from examples of both kinds. Also gives, for each example, the probability by a model that did not see it. Of more than
    /// [`LEARNED_MAX`] examples every k-th is learned from. None where `is_stopped` says so between steps.
    pub fn learn(examples: &Examples, is_stopped: &dyn Fn() -> bool) -> Option<(Self, Vec<f64>)> {
        let every = examples.labels.len().div_ceil(LEARNED_MAX).max(1);
        // By twos: right pairs and wrong ones may come in turns.
        let is_learned = |index: usize| (index / 2).is_multiple_of(every);
        let mut best: Option<(f64, f64, Vec<f64>)> = None;
        let fold = folds(&examples.labels);
        for ridge in RIDGES {
            let mut held_out = vec![0.0; examples.labels.len()];
            for part in 0..FOLDS {
                let learned = |index: usize| fold[index] != part && is_learned(index);
                let model = Self::fit(&examples.only(learned), ridge, is_stopped)?;
                for index in (0..fold.len()).filter(|index| fold[*index] == part) {
                    let offset = examples.offsets.get(index).copied().unwrap_or(0.0);
                    held_out[index] = model.probability(examples.row(index), offset);
                }
            }
            let loss: f64 = held_out
                .iter()
                .zip(&examples.labels)
                .map(|(p, label)| -(if *label { *p } else { 1.0 - p }).max(1e-12).ln())
                .sum();
            if best.as_ref().is_none_or(|best| loss < best.0) {
                best = Some((loss, ridge, held_out));
            }
        }
        let (_, ridge, held_out) = best.unwrap_or((0.0, 1.0, Vec::new()));
        Some((Self::fit(&examples.only(is_learned), ridge, is_stopped)?, held_out))
    }

    fn fit(examples: &Examples, ridge: f64, is_stopped: &dyn Fn() -> bool) -> Option<Self> {
        let (means, deviations) = scale(examples);
        let mut model = Self { means, deviations, weights: vec![0.0; examples.width + 1], ridge };
        let size = examples.width + 1;
        let scaled: Vec<f64> = examples.all().flat_map(|(row, ..)| model.scaled(row)).collect();
        for _ in 0..ROUNDS_MAX {
            if is_stopped() {
                return None;
            }
            let mut slope = vec![0.0; size];
            let mut curvature = vec![0.0; size * size];
            for (z, (_, offset, target, weight)) in scaled.chunks_exact(size).zip(examples.all()) {
                let p = sigmoid(offset + dot(&model.weights, z));
                let (error, spread) = (weight * (target - p), weight * (p * (1.0 - p)).max(1e-10));
                for (i, zi) in z.iter().enumerate() {
                    slope[i] += error * zi;
                    let factor = spread * zi;
                    for (sum, zj) in curvature[i * size..].iter_mut().zip(&z[..=i]) {
                        *sum += factor * zj;
                    }
                }
            }
            for i in 0..size {
                let ridge = if i == 0 { 1e-6 } else { ridge };
                slope[i] -= ridge * model.weights[i];
                curvature[i * size + i] += ridge;
            }
            let step = Cholesky::of(curvature, size).solve(slope);
            let largest = step.iter().fold(0.0_f64, |most, step| most.max(step.abs()));
            // Newton's step may be too long far from the minimum.
            let shorter = (4.0 / largest.max(4.0)).min(1.0);
            model
                .weights
                .iter_mut()
                .zip(&step)
                .for_each(|(weight, step)| *weight += shorter * step);
            if largest < CHANGE_MIN {
                break;
            }
        }
        Some(model)
    }

    /// With a leading 1.
    fn scaled(&self, features: &[f64]) -> Vec<f64> {
        let scale = |((x, mean), deviation): ((&f64, &f64), &f64)| {
            if x.is_nan() { 0.0 } else { (x - mean) / deviation }
        };
        let scaled = features.iter().zip(&self.means).zip(&self.deviations).map(scale);
        std::iter::once(1.0).chain(scaled).collect()
    }

    /// Natural logarithm of the odds, beyond the offset.
    fn log_odds(&self, features: &[f64]) -> f64 {
        dot(&self.weights, &self.scaled(features))
    }

    /// 0 to 1, of a pair with the log odds `offset` without labels.
    pub fn probability(&self, features: &[f64], offset: f64) -> f64 {
        sigmoid(offset + self.log_odds(features))
    }
}

/// Spreads the examples of either kind evenly over the folds, in their order.
fn folds(labels: &[bool]) -> Vec<usize> {
    let mut next = [0, 0];
    let of = |label: &bool| {
        let next = &mut next[usize::from(*label)];
        *next += 1;
        (*next - 1) % FOLDS
    };
    labels.iter().map(of).collect()
}

fn scale(examples: &Examples) -> (Vec<f64>, Vec<f64>) {
    let width = examples.width;
    let (mut means, mut deviations) = (vec![0.0; width], vec![1.0; width]);
    for feature in 0..width {
        let known: Vec<f64> =
            examples.all().map(|(row, ..)| row[feature]).filter(|x| !x.is_nan()).collect();
        if known.is_empty() {
            continue;
        }
        let mean = known.iter().sum::<f64>() / known.len() as f64;
        let variance = known.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / known.len() as f64;
        means[feature] = mean;
        // A feature that never varies says nothing: all of it becomes 0.
        deviations[feature] = if variance > 1e-12 { variance.sqrt() } else { f64::INFINITY };
    }
    (means, deviations)
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_minimum_is_found_where_it_can_be_written_down() {
        // One feature of mean 0 and deviation 1; the slope of the loss must be 0 there.
        let features = vec![-1.0, -1.0, -1.0, 1.0, 1.0, 1.0];
        let labels = vec![false, false, true, false, true, true];
        let examples = Examples { width: 1, features, labels, ..Examples::default() };
        let model = Logistic::fit(&examples, 0.5, &|| false).unwrap();
        let w = model.weights[1];
        let p = sigmoid(w);
        assert!((2.0 * (1.0 - p) - p + 2.0 * (1.0 - p) - p - 0.5 * w).abs() < 1e-6, "{w}");
        assert!(model.weights[0].abs() < 1e-6);
        assert!((model.log_odds(&[f64::NAN])).abs() < 1e-6);
    }

    #[test]
    fn folds_hold_examples_of_both_kinds() {
        let labels: Vec<bool> = (0..50).map(|i| i % 5 == 0).collect();
        let fold = folds(&labels);
        for part in 0..FOLDS {
            let of = |label| (0..50).filter(|&i| fold[i] == part && labels[i] == label).count();
            assert_eq!((of(true), of(false)), (2, 8));
        }
    }

    #[test]
    fn labels_of_doubtful_pairs_change_no_others() {
        // Of 1,000 pairs the first feature says all, which is known without labels: -9 to 9.
        let feature = |at: usize| at as f64 / 500.0 - 1.0;
        let offset = |at: usize| 9.0 * feature(at);
        let background = Background {
            features: (0..1_000).map(feature).collect(),
            offsets: (0..1_000).map(offset).collect(),
            weight: 500.0,
        };
        // 40 pairs with the odds 9 to 1 are duplicates, and 40 that nobody would take for some are none.
        let labelled = [vec![622; 40], vec![0; 40]].concat();
        let examples = Examples {
            width: 1,
            features: labelled.iter().map(|at| feature(*at)).collect(),
            labels: labelled.iter().map(|at| *at > 0).collect(),
            offsets: labelled.iter().map(|at| offset(*at)).collect(),
            background,
        };
        let (model, _) = Logistic::learn(&examples, &|| false).unwrap();
        let probability = |at: usize| model.probability(&[feature(at)], offset(at));
        assert!(probability(622) > 0.9);
        assert!(probability(400) < 0.5 && probability(300) < 0.15, "{}", probability(400));
        // Without what is known, they become duplicates.
        let alone = Examples { offsets: Vec::new(), background: Background::default(), ..examples };
        let (model, _) = Logistic::learn(&alone, &|| false).unwrap();
        assert!(model.probability(&[feature(400)], 0.0) > 0.5);
    }
}
