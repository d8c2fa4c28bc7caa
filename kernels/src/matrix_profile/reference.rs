//! The definition, pair by pair, in f64. Slow and obviously right.

/// The z-normalised Euclidean distance of two windows.
pub(super) fn distance(a: &[f64], b: &[f64]) -> f64 {
    if !a.iter().chain(b).all(|value| value.is_finite()) {
        return f64::INFINITY;
    }
    let constant = |x: &[f64]| x.iter().all(|value| *value == x[0]);
    match (constant(a), constant(b)) {
        (true, true) => 0.0,
        (false, false) => {
            let (a, b) = (normalised(a), normalised(b));
            a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
        }
        _ => (a.len() as f64).sqrt(),
    }
}

/// With mean 0 and variance 1.
fn normalised(window: &[f64]) -> Vec<f64> {
    let count = window.len() as f64;
    let mean = window.iter().sum::<f64>() / count;
    let mean = mean + window.iter().map(|value| value - mean).sum::<f64>() / count;
    let variance = window.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    window.iter().map(|value| (value - mean) / variance.sqrt()).collect()
}

/// The distance of every window of `a` to the nearest of those of `b` that `compared` allows.
pub(super) fn profile(
    a: &[f64],
    b: &[f64],
    window: usize,
    compared: impl Fn(usize, usize) -> bool,
) -> Vec<f64> {
    a.windows(window)
        .enumerate()
        .map(|(i, left)| {
            b.windows(window)
                .enumerate()
                .filter(|&(j, _)| compared(i, j))
                .map(|(_, right)| distance(left, right))
                .fold(f64::INFINITY, f64::min)
        })
        .collect()
}
