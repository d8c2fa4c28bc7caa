//! Series to test on.

use crate::Noise;

/// Which noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tails {
    Normal,
    /// Student's t with three degrees of freedom.
    Heavy,
}

/// Noise with standard deviation 1 and that autocorrelation of neighbours.
pub fn noise(n: usize, rho: f64, tails: Tails, seed: u64) -> Vec<f64> {
    let mut source = Noise::new(seed);
    let mut innovation = || match tails {
        Tails::Normal => source.normal(),
        Tails::Heavy => {
            let (z, a, b, c) = (source.normal(), source.normal(), source.normal(), source.normal());
            // t₃ has the variance 3.
            z / ((a * a + b * b + c * c) / 3.0).sqrt() / 3_f64.sqrt()
        }
    };
    let part = (1.0 - rho * rho).sqrt();
    let mut last = innovation();
    for _ in 0..50 {
        last = rho * last + part * innovation();
    }
    (0..n)
        .map(|_| {
            last = rho * last + part * innovation();
            last
        })
        .collect()
}

/// Some values twice, and neighbours that repeat each other.
pub const TIED: [f64; 40] = [
    10.0, 10.1, 10.4, 10.1, 9.3, 9.2, 8.7, 9.4, 11.2, 10.4, 9.9, 10.7, 11.0, 11.0, 10.0, 10.3,
    11.2, 9.8, 9.8, 8.4, 8.2, 7.5, 8.7, 8.5, 9.9, 10.6, 10.7, 8.5, 9.1, 10.0, 10.8, 9.6, 9.9, 9.7,
    9.7, 11.6, 10.9, 11.3, 12.4, 11.7,
];

/// Neighbours that repeat each other for long.
pub const WANDERING: [f64; 50] = [
    0.0, 0.2, 0.0, 0.7, 0.7, 0.1, 0.5, 1.8, 2.4, 1.3, -0.1, -0.6, -0.4, -2.5, -2.1, -2.8, -2.9,
    -2.7, -2.4, -1.3, 0.1, 0.1, 1.6, 0.8, 1.1, 2.0, 1.9, 0.9, 0.0, -0.2, 0.2, -0.6, -0.5, -0.3,
    0.5, 0.9, 1.3, 0.6, 0.6, 1.5, 3.0, 1.4, 2.9, 4.0, 4.2, 3.9, 3.1, 4.3, 5.7, 6.7,
];

/// Levels 0, 3, 1 and 4, from 20, 35 and 43 on, with noise of standard deviation 1.
pub const STEPS: [f64; 60] = [
    -0.1, 0.1, 0.1, -1.2, 0.1, 1.4, -1.5, 0.9, 0.1, -0.6, 2.0, 0.8, -1.2, 0.1, 0.6, -0.2, 0.7,
    -0.1, 0.7, 1.4, 2.3, 3.2, 2.5, 3.1, 1.8, 2.4, 2.8, 3.9, 4.1, 1.7, 2.2, 3.6, 1.0, 2.5, 2.9, 2.3,
    1.7, 0.7, 0.6, 0.7, 2.5, 0.6, 0.7, 4.4, 3.9, 3.8, 2.9, 4.0, 3.6, 5.2, 4.7, 4.0, 4.7, 3.7, 5.1,
    4.0, 4.6, 2.7, 4.3, 2.3,
];

/// A series without the values at some positions.
pub fn without(series: &[f64], missing: &[usize]) -> Vec<f64> {
    let mut series = series.to_vec();
    missing.iter().for_each(|at| series[*at] = f64::NAN);
    series
}

/// Inputs that nobody means, and that must not break anything.
pub fn odd_series() -> Vec<Vec<f64>> {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let mut odd: Vec<Vec<f64>> = (0..30).map(|n| vec![1.5; n]).collect();
    odd.extend([vec![nan; 50], vec![inf; 50], vec![-inf, inf, nan, 1.0, 2.0]]);
    for n in [2, 3, 11, 64] {
        odd.push((0..n).map(|t| if t % 2 == 0 { f64::MAX } else { f64::MIN }).collect());
        odd.push((0..n).map(|t| if t % 3 == 0 { nan } else { t as f64 }).collect());
        odd.push((0..n).map(|t| if t == n / 2 { f64::MAX } else { 0.0 }).collect());
        odd.push((0..n).map(|t| if t < n / 2 { 1e-320 } else { 1e300 }).collect());
        odd.push((0..n).map(|t| if t == n - 1 { 1.0 } else { nan }).collect());
        odd.push((0..n).map(|t| (t * t) as f64 * 1e300).collect());
    }
    odd
}

/// The noises that rates are measured on.
pub const KINDS: [(f64, Tails); 6] = [
    (0.0, Tails::Normal),
    (0.0, Tails::Heavy),
    (0.5, Tails::Normal),
    (0.5, Tails::Heavy),
    (0.8, Tails::Normal),
    (0.8, Tails::Heavy),
];
