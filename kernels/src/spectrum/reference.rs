//! The sum itself, ordinate by ordinate. Slow and obviously right.

use super::{Detrend, Taper};

/// A series without its mean or line. Everything must be there.
pub(super) fn detrended(x: &[f64], detrend: Detrend) -> Vec<f64> {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let centre = (n - 1.0) / 2.0;
    let times = || (0..x.len()).map(|t| t as f64 - centre);
    let slope = match detrend {
        Detrend::Mean => 0.0,
        Detrend::Line => {
            times().zip(x).map(|(t, x)| t * (x - mean)).sum::<f64>()
                / times().map(|t| t * t).sum::<f64>()
        }
    };
    times().zip(x).map(|(t, x)| x - mean - slope * t).collect()
}

/// The periodogram of a series that was detrended.
pub(super) fn periodogram(x: &[f64], taper: Taper) -> Vec<f64> {
    let n = x.len();
    let turn = |product: usize| std::f64::consts::TAU * (product % n) as f64 / n as f64;
    let weight = |t: usize| match taper {
        Taper::None => 1.0,
        Taper::Hann => 0.5 - 0.5 * turn(t).cos(),
    };
    let all: f64 = (0..n).map(|t| weight(t).powi(2)).sum();
    (0..=n / 2)
        .map(|k| {
            let real: f64 = (0..n).map(|t| weight(t) * x[t] * turn(k * t).cos()).sum();
            let imaginary: f64 = (0..n).map(|t| weight(t) * x[t] * turn(k * t).sin()).sum();
            let twice = if k == 0 || 2 * k == n { 1.0 } else { 2.0 };
            twice * (real * real + imaginary * imaginary) / all
        })
        .collect()
}

/// The unbiased autocorrelation at one lag.
pub(super) fn correlation(x: &[f64], lag: usize) -> f64 {
    let at = |lag: usize| {
        let pairs = x.iter().zip(&x[lag..]);
        pairs.map(|(a, b)| a * b).sum::<f64>() / (x.len() - lag) as f64
    };
    at(lag) / at(0)
}
