//! All scores of all vectors, sorted. Slow and obviously right.

use super::Metric;

/// The best `k` of `vectors` as (row, score); vectors that can't be compared are not there.
pub(super) fn nearest(
    metric: Metric,
    vectors: &[Vec<f64>],
    query: &[f64],
    k: usize,
    is_let_through: impl Fn(usize) -> bool,
) -> Vec<(usize, f64)> {
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let is_usable = |vector: &[f64]| {
        vector.iter().all(|value| value.is_finite())
            && (metric != Metric::Cosine || dot(vector, vector) > 0.0)
    };
    if !is_usable(query) {
        return Vec::new();
    }
    let score = |vector: &[f64]| match metric {
        Metric::Dot => dot(query, vector),
        Metric::Cosine => dot(query, vector) / (dot(query, query) * dot(vector, vector)).sqrt(),
        Metric::Euclidean => query.iter().zip(vector).map(|(q, v)| (q - v) * (q - v)).sum(),
    };
    let mut found: Vec<(usize, f64)> = vectors
        .iter()
        .enumerate()
        .filter(|(row, vector)| is_usable(vector) && is_let_through(*row))
        .map(|(row, vector)| (row, score(vector)))
        .collect();
    found.sort_by(|a, b| match metric {
        Metric::Euclidean => a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)),
        Metric::Cosine | Metric::Dot => b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)),
    });
    found.truncate(k);
    found
}
