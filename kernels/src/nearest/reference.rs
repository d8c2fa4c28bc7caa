//! The definitions, word by word, in f64. Slow and obviously right.

use super::Metric;

/// The score of two vectors; none where one of them has no place.
pub(super) fn score(metric: Metric, q: &[f64], x: &[f64]) -> Option<f64> {
    let has_a_place = |v: &[f64]| {
        let norm = v.iter().map(|value| value * value).sum::<f64>().sqrt();
        norm <= 1e140 && (metric != Metric::Cosine || norm >= 1e-140)
    };
    if !has_a_place(q) || !has_a_place(x) {
        return None;
    }
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    Some(match metric {
        Metric::Dot => dot(q, x),
        Metric::Cosine => (dot(q, x) / dot(q, q).sqrt() / dot(x, x).sqrt()).clamp(-1.0, 1.0),
        Metric::SquaredL2 => q.iter().zip(x).map(|(a, b)| (a - b) * (a - b)).sum(),
    })
}

/// Every row with its score, nearest first; equal ones by index.
pub(super) fn ranked(metric: Metric, q: &[f64], base: &[(usize, &[f64])]) -> Vec<(usize, f64)> {
    let mut all: Vec<(usize, f64)> =
        base.iter().filter_map(|(row, x)| Some((*row, score(metric, q, x)?))).collect();
    all.sort_by(|a, b| {
        let nearer = match metric {
            Metric::SquaredL2 => a.1.total_cmp(&b.1),
            Metric::Cosine | Metric::Dot => b.1.total_cmp(&a.1),
        };
        nearer.then(a.0.cmp(&b.0))
    });
    all
}
