//! Whether a series rises or falls at all: the test of H. B. Mann ("Nonparametric Tests Against Trend", 1945) and M. G. Kendall.
//!
//! ```text
//!   S = Σ_{i<j} sign(x_j − x_i)       τ = S / (n(n−1)/2)       z = (S ∓ 1) / √var(S), 0 where S is
//!   var(S) = (n(n−1)(2n+5) − Σ_ties t(t−1)(2t+5)) / 18
//! ```
//!
//! Neighbours that repeat each other make S vary more than that. [`autocorrelated`] multiplies the variance as K. H. Hamed & A. R.
//! Rao ("A modified Mann-Kendall trend test for autocorrelated data", J. Hydrology 204, 1998, eq. 14):
//!
//! ```text
//!   1 + 2 / (n(n−1)(n−2)) · Σ_k (n−k)(n−k−1)(n−k−2)·r(k)
//! ```
//!
//! with r(k) the autocorrelation of the ranks of the series less its slope, and k those lags alone where it is significant.
//! S takes O(n log n) by counting inversions while merging, the correction O(n · lags).

use super::Present;
use super::slope::{self, Z_95};
use crate::significance::two_sided;

/// Level and slope, which were fitted.
const FITTED: f64 = 2.0;
/// Lags of the correction at most, unless all are asked for.
pub const LAGS_MAX: usize = 100;
/// The variance is not multiplied by less. What is less is an accident: sums over many lags can even be negative.
const CORRECTION_MIN: f64 = 0.1;

/// What the test found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MannKendall {
    /// Pairs that rise less pairs that fall.
    pub s: f64,
    /// S as part of all pairs, −1 to 1.
    pub tau: f64,
    /// Variance of S where there is no trend.
    pub variance: f64,
    /// S in standard deviations, drawn one pair towards zero.
    pub z: f64,
    /// Two-sided probability of such an S without a trend.
    pub p: f64,
}

impl MannKendall {
    /// The test of `s` among `pairs` with that variance.
    pub(super) fn of(s: f64, pairs: f64, variance: f64) -> Self {
        let z = if variance > 0.0 {
            (s - s.signum() * s.abs().min(1.0)) / variance.sqrt()
        } else {
            0.0
        };
        Self { s, tau: s / pairs, variance, z, p: two_sided(z) }
    }
}

/// Lags that the correction looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lags {
    /// Up to a quarter of the values and [`LAGS_MAX`]: those beyond say little and their errors add up.
    #[default]
    Usual,
    /// Each: O(n²).
    All,
    /// The first ones.
    First(usize),
}

/// The test as it is for independent values; `None` of fewer than two.
pub fn mann_kendall(series: &[f64]) -> Option<MannKendall> {
    of_values(&Present::of(series).values)
}

pub(super) fn of_values(values: &[f64]) -> Option<MannKendall> {
    let n = values.len() as f64;
    (values.len() >= 2)
        .then(|| MannKendall::of(s(values), n * (n - 1.0) / 2.0, variance_of_s(values)))
}

/// The test with the variance for autocorrelated values; `None` of fewer than three.
pub fn autocorrelated(series: &[f64], lags: Lags) -> Option<MannKendall> {
    let present = Present::of(series);
    if present.len() < 3 {
        return None;
    }
    let plain = of_values(&present.values)?;
    let line = slope::of_present(&present)?;
    let rest = |(at, value): (&usize, &f64)| value - line.slope * (*at + 1) as f64;
    let ranks = ranks(&present.at.iter().zip(&present.values).map(rest).collect::<Vec<_>>());
    let n = present.len() as f64;
    let correction = correction(&present.at, &ranks, series.len(), lags).max(CORRECTION_MIN);
    Some(MannKendall::of(plain.s, n * (n - 1.0) / 2.0, plain.variance * correction))
}

/// What the variance of S is multiplied by. `length` is that of the series with what is missing.
fn correction(at: &[usize], ranks: &[f64], length: usize, lags: Lags) -> f64 {
    let n = ranks.len();
    let most = match lags {
        Lags::Usual => (n / 4).min(LAGS_MAX),
        Lags::All => n - 1,
        Lags::First(lags) => lags.min(n - 1),
    };
    let mean = (n as f64 + 1.0) / 2.0;
    let mut centred = vec![0.0; length];
    at.iter().zip(ranks).for_each(|(at, rank)| centred[*at] = rank - mean);
    let total: f64 = centred.iter().map(|value| value * value).sum();
    if total <= 0.0 {
        return 1.0;
    }
    let complete = n == length;
    let mut is_there = vec![0.0; length];
    at.iter().for_each(|at| is_there[*at] = 1.0);
    let autocorrelation = |lag: usize| {
        let product = dot(&centred, &centred[lag..]);
        if complete {
            return product / total;
        }
        // Where values are missing, the mean over the pairs that are there stands for all pairs.
        let pairs = dot(&is_there, &is_there[lag..]);
        let all = n as f64 * (length - lag) as f64 / length as f64;
        if pairs < 1.0 { 0.0 } else { product / total * all / pairs }
    };
    let (n, limit) = (n as f64, Z_95 / (n as f64).sqrt());
    let is_run = lags == Lags::Usual;
    let mut significant = Vec::new();
    for lag in 1..=most {
        let r = autocorrelation(lag);
        if r.abs() > limit {
            significant.push((lag as f64, r));
        } else if is_run {
            break;
        }
    }
    let sum = |r: &dyn Fn(f64) -> f64| -> f64 {
        let weight = |k: f64| (n - k) * (n - k - 1.0) * (n - k - 2.0);
        significant.iter().map(|(k, own)| weight(*k) * r(*own)).sum()
    };
    let of = |sum: f64| 1.0 + 2.0 / (n * (n - 1.0) * (n - 2.0)) * sum;
    let mut correction = of(sum(&|r| r));
    if is_run {
        for _ in 0..3 {
            let lost = (FITTED * correction / n).min(0.5);
            correction = of(sum(&|r| r + lost * (1.0 - r)));
        }
    }
    correction
}

/// In eight sums, which the compiler does at once.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len().min(b.len());
    let ((a, a_rest), (b, b_rest)) = (a[..n].as_chunks::<8>(), b[..n].as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

/// Pairs that rise less pairs that fall.
fn s(values: &[f64]) -> f64 {
    let n = values.len() as u64;
    let mut sorted = values.to_vec();
    let falling = inversions(&mut sorted, &mut values.to_vec());
    let tied: u64 = sorted
        .chunk_by(|a, b| a == b)
        .map(|same| same.len() as u64 * (same.len() as u64 - 1) / 2)
        .sum();
    (n * n.saturating_sub(1) / 2 - tied) as f64 - 2.0 * falling as f64
}

/// Sorts, and counts the pairs whose first is the larger.
fn inversions(values: &mut [f64], scratch: &mut [f64]) -> u64 {
    let n = values.len();
    if n < 2 {
        return 0;
    }
    let middle = n / 2;
    let mut count = inversions(&mut values[..middle], &mut scratch[..middle])
        + inversions(&mut values[middle..], &mut scratch[middle..]);
    scratch.copy_from_slice(values);
    let (left, right) = scratch.split_at(middle);
    let (mut i, mut j) = (0, 0);
    for value in values {
        if j == right.len() || (i < left.len() && left[i] <= right[j]) {
            *value = left[i];
            i += 1;
        } else {
            *value = right[j];
            j += 1;
            count += (left.len() - i) as u64;
        }
    }
    count
}

/// The variance of S without a trend, less what ties take.
pub(super) fn variance_of_s(values: &[f64]) -> f64 {
    let of = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let ties: f64 = sorted.chunk_by(|a, b| a == b).map(|same| of(same.len() as f64)).sum();
    (of(values.len() as f64) - ties) / 18.0
}

/// Ranks from 1, the mean of them for values that are equal.
fn ranks(values: &[f64]) -> Vec<f64> {
    super::level_test::ranks(values).into_iter().map(|rank| rank + 1.0).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::samples::{TIED, WANDERING, odd_series, without};
    use super::*;
    use crate::noise::nth;

    fn assert_is(test: MannKendall, [s, tau, variance, z, p]: [f64; 5]) {
        for (actual, expected) in
            [(test.s, s), (test.tau, tau), (test.variance, variance), (test.z, z), (test.p, p)]
        {
            assert!((actual - expected).abs() <= 1e-9 * expected.abs(), "{test:?}: {expected}");
        }
    }

    #[test]
    fn the_test_is_that_of_pymannkendall() {
        // pymannkendall 1.4.3: original_test
        assert_is(
            mann_kendall(&TIED).unwrap(),
            [97.0, 0.12435897435897436, 7350.333333333333, 1.119741348885605, 0.2628239991952277],
        );
        assert_is(
            mann_kendall(&without(&TIED, &[3, 4, 17, 30])).unwrap(),
            [77.0, 0.12222222222222222, 5375.666666666667, 1.0365671147563515, 0.2999376458844636],
        );
        let falling: Vec<f64> = TIED.iter().map(|value| -value).collect();
        assert_is(
            mann_kendall(&falling).unwrap(),
            [
                -97.0,
                -0.12435897435897436,
                7350.333333333333,
                -1.119741348885605,
                0.2628239991952277,
            ],
        );
        assert_is(
            mann_kendall(&WANDERING).unwrap(),
            [
                500.0,
                0.40816326530612246,
                14277.333333333334,
                4.176158718682868,
                2.96472995000574e-05,
            ],
        );
    }

    #[test]
    fn the_correction_is_that_of_pymannkendall() {
        // pymannkendall 1.4.3: hamed_rao_modification_test(lag=…)
        for (lags, variance, z, p) in [
            (Lags::First(1), 36215.09188123249, 2.6221392411914097, 0.008737972292485852),
            (Lags::First(3), 64213.08242847834, 1.9691952824288375, 0.04893067042402399),
            (Lags::First(6), 72806.45534976113, 1.8493350544103235, 0.06440944699685547),
            (Lags::First(12), 54499.7153718761, 2.137486736578091, 0.03255842336550474),
            (Lags::All, 51477.1266018636, 2.199345186549981, 0.02785338698461004),
        ] {
            let test = autocorrelated(&WANDERING, lags).unwrap();
            assert_is(test, [500.0, 0.40816326530612246, variance, z, p]);
        }
        for lags in [Lags::All, Lags::First(1)] {
            assert_is(
                autocorrelated(&TIED, lags).unwrap(),
                [
                    97.0,
                    0.12435897435897436,
                    14754.67368902439,
                    0.7903262892241619,
                    0.42933723751478015,
                ],
            );
        }
    }

    /// Autocorrelation of the ranks of `WANDERING` less its slope, from the figures above.
    #[test]
    fn usual_lags_are_the_first_run_with_what_fitting_took_put_back() {
        let n = 50.0;
        let plain = mann_kendall(&WANDERING).unwrap().variance;
        let weight =
            |k: f64| 2.0 * (n - k) * (n - k - 1.0) * (n - k - 2.0) / (n * (n - 1.0) * (n - 2.0));
        let with = |lags| autocorrelated(&WANDERING, Lags::First(lags)).unwrap().variance / plain;
        let r: Vec<f64> = (1..=10).map(|k| (with(k) - with(k - 1)) / weight(k as f64)).collect();
        let run = r.iter().position(|r| *r == 0.0).unwrap();
        assert!(
            (3..10).contains(&run) && r[..run].iter().all(|r| r.abs() > 1.96 / n.sqrt()),
            "{r:?}"
        );
        let sum = |lost: f64| -> f64 {
            let put_back = |(k, r): (usize, &f64)| weight(k as f64 + 1.0) * (r + lost * (1.0 - r));
            1.0 + r[..run].iter().enumerate().map(put_back).sum::<f64>()
        };
        let expected = (0..3).fold(sum(0.0), |correction, _| sum((2.0 * correction / n).min(0.5)));
        assert!(expected > with(run));
        let usual = autocorrelated(&WANDERING, Lags::Usual).unwrap().variance / plain;
        assert!((usual / expected - 1.0).abs() < 1e-9, "{usual} {expected}");
    }

    #[test]
    fn where_values_are_missing_the_lags_stay_those_of_the_positions() {
        // Every third value is missing: as positions go the series alternates slowly, as values go it would be faster.
        let wave = |t: usize| (t as f64 * 0.3).sin() + 0.01 * (t * 7 % 5) as f64;
        let whole: Vec<f64> = (0..150).map(wave).collect();
        let missing: Vec<usize> = (0..150).step_by(3).collect();
        let of = |series: &[f64]| {
            let test = autocorrelated(series, Lags::First(3)).unwrap();
            test.variance / mann_kendall(series).unwrap().variance
        };
        let (whole, gaps) = (of(&whole), of(&without(&whole, &missing)));
        assert!((gaps / whole - 1.0).abs() < 0.02, "{whole} {gaps}");
    }

    #[test]
    fn a_correction_has_a_floor() {
        let alternating: Vec<f64> = (0..40)
            .map(|t| if t % 2 == 0 { 1.0 } else { -1.0 } + 0.001 * (t * 7 % 13) as f64)
            .collect();
        let plain = mann_kendall(&alternating).unwrap();
        let test = autocorrelated(&alternating, Lags::First(1)).unwrap();
        assert!((test.variance / plain.variance / CORRECTION_MIN - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_difference_of_one_pair_is_none() {
        // S = 1 of 3 values and ties: drawn to 0.
        let test = mann_kendall(&[1.0, 3.0, 2.0]).unwrap();
        assert_eq!((test.s, test.z, test.p), (1.0, 0.0, 1.0));
        let test = mann_kendall(&[2.0, 3.0, 1.0]).unwrap();
        assert_eq!((test.s, test.z, test.p), (-1.0, 0.0, 1.0));
        let test = mann_kendall(&[2.0, 2.0, 2.0]).unwrap();
        assert_eq!((test.s, test.variance, test.z, test.p), (0.0, 0.0, 0.0, 1.0));
        assert_eq!(mann_kendall(&[1.0, 2.0]).unwrap().s, 1.0);
        assert_eq!((mann_kendall(&[1.0]), mann_kendall(&[])), (None, None));
        assert_eq!(autocorrelated(&[1.0, 2.0], Lags::All), None);
        assert!(autocorrelated(&[1.0, 2.0, 4.0], Lags::All).is_some());
        for series in odd_series() {
            let _ = mann_kendall(&series);
            for lags in [Lags::Usual, Lags::All, Lags::First(0), Lags::First(1_000)] {
                let test = autocorrelated(&series, lags);
                assert!(test.is_none_or(|test| (0.0..=1.0).contains(&test.p)), "{series:?}");
            }
        }
    }

    #[test]
    fn counting_by_merging_is_counting() {
        let value = |t: u64| (nth(t) % 17) as f64;
        for n in 0..60 {
            let values: Vec<f64> = (0..n).map(value).collect();
            let sign = |i: usize, j: usize| match values[j].total_cmp(&values[i]) {
                std::cmp::Ordering::Less => -1.0,
                std::cmp::Ordering::Equal => 0.0,
                std::cmp::Ordering::Greater => 1.0,
            };
            let pairs = (0..values.len()).flat_map(|i| (i + 1..values.len()).map(move |j| (i, j)));
            assert_eq!(s(&values), pairs.map(|(i, j)| sign(i, j)).sum::<f64>());
        }
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0, 3.0]), [4.0, 1.0, 4.0, 2.0, 4.0]);
    }
}
