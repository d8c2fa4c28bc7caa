//! Series of many distributions.

use super::Noise;

/// A name, and a series of a length.
pub(crate) type Shape = (&'static str, fn(usize, &mut Noise) -> Vec<f64>);

pub(crate) fn each(
    length: usize,
    noise: &mut Noise,
    value: impl Fn(&mut Noise) -> f64,
) -> Vec<f64> {
    (0..length).map(|_| value(noise)).collect()
}

/// 1 with a probability, or 0.
pub(crate) fn events(probability: f64, noise: &mut Noise) -> f64 {
    if noise.uniform() < probability { 1.0 } else { 0.0 }
}

/// Normal noise on a part of the value before; a random walk for 1.
pub(crate) fn repeating(part: f64, length: usize, noise: &mut Noise) -> Vec<f64> {
    let mut last = 0.0;
    let values: Vec<f64> = (0..length + 100)
        .map(|_| {
            last = part * last + noise.normal();
            last
        })
        .collect();
    values[100..].to_vec()
}
