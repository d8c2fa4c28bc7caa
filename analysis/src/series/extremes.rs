//! Whether a value far from the usual is far for its own series: heavy tails and counts go beyond any threshold all the time.
//!
//! ```text
//!   |z| of each run of values on one side of the usual, its largest   ─▶  y₁ ≥ y₂ ≥ … ≥ y_m
//!   y at a tenth / y at the half ≤ 2.4                                 a tail about as light as the normal: the threshold decides
//!   otherwise                                                          [`Tail`] of log y, which is exponential for a power law
//!   few different values                                               an exponential tail as wide as the largest step
//!   fewer than six runs                                                rare events: one in 100 samples at most
//! ```
//!
//! Runs make neighbours that repeat each other one.

use super::robust::{Baseline, distances};
use crate::significance::two_sided;
use crate::tail::{Ranks, Tail};

/// −log₁₀ of how often a series without an outlier has one: 1 in 20.
const SCORE_MIN: f64 = 1.3;
/// The tenth over the half of normal values is 2.0 in long series, and at most this in most series of 60 samples.
const LIGHT_MAX: f64 = 2.4;
/// Runs that a tail is told by, at least; the part of them that tells it.
const RUNS_MIN: usize = 6;
const SPACINGS_MIN: usize = 10;
const SPACINGS_PART: usize = 8;
/// Samples for each event of a series that has fewer events than say how they vary.
const SAMPLES_OF_EVENT: usize = 100;
/// Outliers that a tail is not told by: this number, and one more for so many samples.
const UNUSUAL: usize = 2;
const UNUSUAL_SAMPLES: usize = 2_000;
/// Probability that a series without another level has one.
const LEVEL_P: f64 = 0.01;
/// Steps below this are rounding.
const STEP_MIN: f64 = 1e-9;

/// What distances a series has by itself.
pub enum Extremes {
    /// A light tail: whatever is beyond the threshold is outstanding.
    Light,
    /// Few events: all are outstanding, or none is.
    Rare(bool),
    /// The tail of the logarithms.
    Heavy(Tail),
    /// Steps: where they end, how wide the widest is, and how many may be outstanding.
    Steps([f64; 3]),
}

impl Extremes {
    /// Of the values of `residual` and their distances from `baseline`; see [`super::robust::excursions`].
    pub fn of(residual: &[f64], baseline: &Baseline, sigma_floor: f64, window: usize) -> Self {
        let samples = residual.len();
        let largest = largest_of_runs(distances(residual, baseline, sigma_floor, window));
        let runs = largest.len();
        if runs < RUNS_MIN {
            return Self::Rare(samples >= SAMPLES_OF_EVENT * runs);
        }
        if !is_of_steps(residual) && largest[runs.div_ceil(10)] <= LIGHT_MAX * largest[runs / 2] {
            return Self::Light;
        }
        let mut ranks = Ranks {
            unusual_max: UNUSUAL + samples.div_ceil(UNUSUAL_SAMPLES),
            spacings: (runs / SPACINGS_PART).max(SPACINGS_MIN),
        };
        if runs < ranks.needed() {
            ranks = Ranks { unusual_max: 1, spacings: runs - 2 };
        }
        // Values that are equal but for rounding are equal.
        let logs: Vec<f64> =
            largest.iter().map(|y| (y.ln() / STEP_MIN).round() * STEP_MIN).collect();
        if let Some(tail) = Tail::of(&logs, ranks, 0.0) {
            return Self::Heavy(tail);
        }
        let usual = &largest[ranks.unusual_max..ranks.needed()];
        let widest = usual.windows(2).map(|pair| pair[0] - pair[1]).fold(0.0, f64::max);
        let widest = if widest > STEP_MIN * usual[0] { widest } else { usual[0] };
        Self::Steps([usual[0], widest, ranks.unusual_max as f64])
    }

    /// Whether a distance is more than the series has by itself.
    pub fn is_outstanding(&self, z: f64) -> bool {
        match self {
            Self::Light => true,
            Self::Rare(is_rare) => *is_rare,
            Self::Heavy(tail) => tail.score(z.abs().ln()) >= SCORE_MIN,
            Self::Steps([end, step, count]) => {
                let steps = ((z.abs() - end - step) / step).max(0.0);
                steps * std::f64::consts::LOG10_E - count.log10() >= SCORE_MIN
            }
        }
    }
}

/// Whether the `window` values from `first` on lie elsewhere than the `window` values before, by their ranks (Mann and Whitney 1947).
/// Medians of 0/1 values jump from one to the other though hardly any value is another.
pub fn is_another_level(values: &[f64], first: usize, window: usize) -> bool {
    let before = &values[first.saturating_sub(window)..first.min(values.len())];
    let after = &values[first.min(values.len())..(first + window).min(values.len())];
    let (count, other) = (before.len() as f64, after.len() as f64);
    let mut sorted = before.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let below = |value: &f64| {
        let less = sorted.partition_point(|of| of < value);
        let not_more = sorted.partition_point(|of| of <= value);
        (less + not_more) as f64 / 2.0
    };
    let larger: f64 = after.iter().map(below).sum();
    let variance = count * other * (count + other + 1.0) / 12.0;
    let z = (larger - count * other / 2.0) / variance.sqrt();
    two_sided(z) * values.len() as f64 / window.max(1) as f64 <= LEVEL_P
}

/// The largest distance of each run of values on one side, in descending order.
fn largest_of_runs(distances: impl Iterator<Item = (usize, f64)>) -> Vec<f64> {
    let mut largest = Vec::new();
    let (mut side, mut most) = (0.0, 0.0_f64);
    for (_, z) in distances.filter(|(_, z)| z.is_finite()) {
        let of = if z == 0.0 { 0.0 } else { z.signum() };
        if of != side {
            largest.push(std::mem::take(&mut most));
            side = of;
        }
        most = most.max(z.abs());
    }
    largest.push(most);
    largest.retain(|z| *z > 0.0);
    largest.sort_unstable_by(|a, b| b.total_cmp(a));
    largest
}

/// Whether most values come more than once.
fn is_of_steps(values: &[f64]) -> bool {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let different = sorted.windows(2).filter(|pair| pair[0] < pair[1]).count() + 1;
    2 * different < sorted.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Noise;

    fn of(values: &[f64]) -> Extremes {
        let (median, mad) = (vec![0.0; values.len()], vec![0.0; values.len()]);
        Extremes::of(values, &Baseline { median, mad, ..Baseline::default() }, 1.0, 288)
    }

    #[test]
    fn a_light_tail_leaves_it_to_the_threshold_and_a_heavy_one_asks_for_more() {
        let mut noise = Noise::new(1);
        let normal: Vec<f64> = (0..2_000).map(|_| noise.normal()).collect();
        assert!(matches!(of(&normal), Extremes::Light));
        let heavy: Vec<f64> =
            (0..2_000).map(|_| noise.normal() / (-(1.0 - noise.uniform()).ln()).sqrt()).collect();
        let extremes = of(&heavy);
        assert!(matches!(extremes, Extremes::Heavy(_)));
        assert!(!extremes.is_outstanding(20.0) && extremes.is_outstanding(-5_000.0));
    }

    #[test]
    fn of_counts_a_few_more_are_nothing_and_many_more_are() {
        let mut noise = Noise::new(2);
        let counts: Vec<f64> =
            (0..1_000).map(|_| f64::from(u8::from(noise.uniform() < 0.3))).collect();
        let extremes = of(&counts);
        assert!(!extremes.is_outstanding(1.0) && !extremes.is_outstanding(3.0));
        assert!(extremes.is_outstanding(12.0));
    }

    #[test]
    fn a_median_that_jumps_is_no_other_level() {
        let mut noise = Noise::new(3);
        let mut values: Vec<f64> =
            (0..600).map(|_| f64::from(u8::from(noise.uniform() < 0.5))).collect();
        assert!(!is_another_level(&values, 300, 100));
        values[300..].fill(1.0);
        assert!(is_another_level(&values, 300, 100) && !is_another_level(&values, 600, 100));
    }

    #[test]
    fn an_event_that_comes_once_is_rare_in_a_long_series_alone() {
        let with_one = |samples: usize| {
            let mut values = vec![0.0; samples];
            values[3 * samples / 4] = 9.0;
            of(&values).is_outstanding(9.0)
        };
        assert!(with_one(100) && !with_one(60));
        // Nothing but the usual.
        assert!(of(&[0.0; 50]).is_outstanding(9.0));
    }
}
