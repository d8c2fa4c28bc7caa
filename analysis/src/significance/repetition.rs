//! The significance of a correlation of two series of any distribution, with neighbours that repeat each
//! other.
//!
//! Under independence the variance of the coefficient r is 1/(m − 1), where m is the effective sample size
//! of M. S. Bartlett (1935), and follows from the autocorrelations of both series. Its fourth moment
//! follows from their kurtoses (E. J. G. Pitman, "Significance tests which may be applied to samples from
//! any populations", 1937): a coefficient of two series with rare large values is usually near 0, and
//! sometimes near 1. r² is taken for a beta variable with these moments. Without kurtosis this is the
//! t-test.

use statrs::function::beta::beta_reg;

/// Lags grow by this factor, so that a few of them represent all.
const LAG_GROWTH: f64 = 1.1;
/// Lags reach this part of a series.
const LAGS_PART: usize = 3;
/// Part of the fourth moment from kurtosis, above which the tail of r is not that of a beta variable.
const HEAVY_MIN: f64 = 0.02;
/// The part of the variance that a coefficient leaves, at least.
const LEFT_MIN: f64 = 1e-12;
/// The least sample size.
const SAMPLES_MIN: f64 = 3.0;

/// What the distribution of a correlation depends on, for one of the two series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Repetition {
    /// Autocorrelations at some lags.
    repeated: Vec<Repeated>,
    /// Excess kurtosis, as the ratio of Fisher's k-statistics.
    kurtosis: f64,
    /// Part of the variance that a line explains.
    line: f64,
}

/// The autocorrelation at a lag that represents a number of lags.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Repeated {
    lag: f64,
    weight: f64,
    autocorrelation: f64,
}

impl Repetition {
    /// Of finite values. O(n log n).
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().map(|value| value / n).sum::<f64>();
        let centred: Vec<f64> = values.iter().map(|value| value - mean).collect();
        let sum = |power: i32| centred.iter().map(|value| value.powi(power)).sum::<f64>();
        let (second, fourth) = (sum(2), sum(4));
        if n <= SAMPLES_MIN || second <= 0.0 {
            return Self::default();
        }
        let of_lag = |(lag, weight): (usize, f64)| {
            let products = centred.iter().zip(&centred[lag..]).map(|(one, later)| one * later);
            let (biased, lag) = (products.sum::<f64>() / second, lag as f64);
            // The sample mean biases it by about −1/n.
            let autocorrelation = biased * n / (n - lag) + 1.0 / n;
            Repeated { lag, weight, autocorrelation }
        };
        let relative = n * fourth / second.powi(2);
        let kurtosis =
            (n - 1.0) / ((n - 2.0) * (n - 3.0)) * ((n + 1.0) * relative - 3.0 * (n - 1.0));
        let middle = (n - 1.0) / 2.0;
        let steps = centred.iter().enumerate().map(|(at, value)| (at as f64 - middle) * value);
        let line = steps.sum::<f64>().powi(2) / (second * (n * (n * n - 1.0) / 12.0));
        Self { repeated: lags(values.len()).map(of_lag).collect(), kurtosis, line }
    }

    /// The number of independent samples that say as much as `samples` of both series: 3 to
    /// `samples`, and fewer of two lines. Both series have the same length. O(log n).
    pub fn effective_samples(&self, other: &Self, samples: usize) -> f64 {
        let samples = samples as f64;
        let both = self.repeated.iter().zip(&other.repeated);
        let of_lag = |(one, other): (&Repeated, &Repeated)| {
            let weight = one.weight * (1.0 - one.lag / samples).max(0.0);
            weight * one.autocorrelation * other.autocorrelation
        };
        let repeated: f64 = both.map(of_lag).sum();
        let least = SAMPLES_MIN.min(samples);
        let effective = (samples / (1.0 + 2.0 * repeated).max(1.0)).clamp(least, samples);
        // The squared correlation of two lines is the product of what the lines explain.
        let variance = 1.0 / (effective - 1.0).max(1.0) + self.line * other.line;
        // Of two lines no correlation says anything.
        (1.0 + 1.0 / variance).min(effective)
    }

    /// Probability of a coefficient at least as far from 0 as `r` over `effective` independent samples
    /// of unrelated series. 1 for fewer than 3 samples.
    pub fn p_value(&self, other: &Self, r: f64, effective: f64) -> f64 {
        if effective < SAMPLES_MIN || r.is_nan() {
            return 1.0;
        }
        let (second, fourth) = self.moments(other, effective);
        let spread = fourth - second * second;
        let (a, b) =
            (second * (second - fourth) / spread, (1.0 - second) * (second - fourth) / spread);
        match 1.0 - r * r {
            left if left >= 1.0 => 1.0,
            // A coefficient of 1 is possible, if only few values are not equal.
            left => beta_reg(b, a, left.max(LEFT_MIN)).clamp(0.0, 1.0),
        }
    }

    /// Whether rare large values of both series make large coefficients more probable than the
    /// approximation says, so that only a [permutation test](super::permutation_p) can tell.
    pub fn is_heavy(&self, other: &Self, effective: f64) -> bool {
        self.of_kurtosis(other, effective) > HEAVY_MIN * 3.0 / (effective * effective - 1.0)
    }

    /// The second and fourth moments of r.
    fn moments(&self, other: &Self, m: f64) -> (f64, f64) {
        let second = 1.0 / (m - 1.0);
        let fourth = 3.0 / (m * m - 1.0) + self.of_kurtosis(other, m);
        // |r| ≤ 1.
        (second, fourth.min(0.999 * second))
    }

    fn of_kurtosis(&self, other: &Self, m: f64) -> f64 {
        let both = (self.kurtosis * other.kurtosis).max(0.0);
        (m - 2.0) * (m - 3.0) / (m * (m + 1.0) * (m - 1.0).powi(3)) * both
    }
}

/// Some lags up to a third of `length`, each with the number of lags that it represents.
fn lags(length: usize) -> impl Iterator<Item = (usize, f64)> {
    let most = length / LAGS_PART;
    let next = |lag: usize| (lag + 1).max((lag as f64 * LAG_GROWTH) as usize);
    let lags = std::iter::successors(Some(1), move |lag| Some(next(*lag)));
    let mut before = 0.5;
    lags.take_while(move |lag| *lag <= most).map(move |lag| {
        let after = match next(lag) {
            beyond if beyond > most => most as f64 + 0.5,
            after => (lag + after) as f64 / 2.0,
        };
        let weight = after - before;
        before = after;
        (lag, weight)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Noise;
    use crate::significance::p_value;

    fn normal(length: usize, seed: u64) -> Vec<f64> {
        let mut noise = Noise::new(seed);
        (0..length).map(|_| noise.normal()).collect()
    }

    fn events(length: usize, at: &[usize]) -> Vec<f64> {
        (0..length).map(|place| if at.contains(&place) { 1.0 } else { 0.0 }).collect()
    }

    #[test]
    fn lags_represent_all_up_to_a_third() {
        for length in [3, 10, 59, 600, 5_000] {
            let all: f64 = lags(length).map(|(_, weight)| weight).sum();
            assert_eq!(all, (length / 3) as f64, "{length}");
        }
        assert!(lags(100_000).count() < 120);
    }

    #[test]
    fn without_kurtosis_it_is_the_t_test() {
        let flat = Repetition::default();
        for (r, n) in [(0.5, 20.0), (0.1, 100.0), (-0.9, 10.0)] {
            let (found, expected) = (flat.p_value(&flat, r, n), p_value(r, n));
            assert!((found / expected - 1.0).abs() < 1e-9, "{r} {n}: {found} {expected}");
        }
        assert!(flat.p_value(&flat, 1.0, 9.0) < 1e-30);
        assert_eq!(flat.p_value(&flat, 0.9, 2.0), 1.0);
    }

    #[test]
    fn a_coefficient_of_rare_events_says_little() {
        let event = Repetition::of(&events(300, &[77]));
        let effective = event.effective_samples(&event, 300);
        assert!(event.is_heavy(&event, effective));
        assert!((event.p_value(&event, 1.0, effective) * 300.0 - 1.0).abs() < 0.1);
        let usual = Repetition::of(&normal(300, 1));
        assert!(!usual.is_heavy(&usual, usual.effective_samples(&usual, 300)));
    }

    #[test]
    fn a_walk_and_a_line_say_little_and_noise_says_all() {
        let noise = normal(2_000, 2);
        let mut sum = 0.0;
        let walk: Vec<f64> = noise
            .iter()
            .map(|step| {
                sum += step;
                sum
            })
            .collect();
        let line: Vec<f64> = noise.iter().enumerate().map(|(at, x)| at as f64 / 9.0 + x).collect();
        let with = |row: &[f64], other: &[f64]| {
            Repetition::of(row).effective_samples(&Repetition::of(other), row.len())
        };
        let effective = |row: &[f64]| with(row, row);
        let other = with(&noise, &normal(2_000, 3));
        assert!(other > 1_600.0, "{other}");
        assert!(effective(&walk) < 20.0, "{}", effective(&walk));
        assert!(effective(&line) <= 3.0, "{}", effective(&line));
    }
}
