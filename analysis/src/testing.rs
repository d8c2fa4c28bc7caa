//! Helpers of tests, also of those of other crates.

use crate::noise::Noise;

/// A sum that each value has another part in by its place: one number that says of a long list that it is the same.
#[cfg(test)]
pub(crate) fn weighted_sum(values: impl IntoIterator<Item = f64>) -> f64 {
    let there = values.into_iter().enumerate().filter(|(_, value)| value.is_finite());
    there.map(|(at, value)| (at % 7 + 1) as f64 * value).sum()
}

/// A count of a Poisson distribution (Knuth's product of uniform numbers).
pub fn poisson(noise: &mut Noise, mean: f64) -> f64 {
    let (least, mut product, mut count) = ((-mean).exp(), noise.uniform(), 0.0);
    while product > least {
        product *= noise.uniform();
        count += 1.0;
    }
    count
}

/// A value of the exponential distribution with mean 1.
pub fn exponential(noise: &mut Noise) -> f64 {
    -(1.0 - noise.uniform()).ln()
}

/// The number that an environment variable states, or `fallback`.
pub fn number_from(variable: &str, fallback: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(fallback)
}

/// The seed of a test with random input: `COLONNADE_TEST_SEED`, or the same one in every run.
pub fn seed() -> u64 {
    number_from("COLONNADE_TEST_SEED", 20_261_130)
}
