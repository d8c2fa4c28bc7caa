//! The slope that outliers do not move: the median of the slopes of all pairs of values (H. Theil, 1950; P. K. Sen, "Estimates of
//! the Regression Coefficient Based on Kendall's Tau", 1968).
//!
//! The confidence interval is Sen's: with σ the standard deviation of Kendall's S (`variance_of_s`) and N pairs, its ends are
//! the slopes of ranks (N ∓ z·σ) / 2. The intercept is median(y) − slope·median(t), as in scipy's `theilslopes`.
//!
//! Up to [`EXACT_POINTS_MAX`] values all pairs are taken: O(n²) slopes, each rank by selection. Of a longer series
//! [`SAMPLED_PAIRS`] pairs are drawn, the same ones in each run. Their median misses that of all pairs by a rank of
//! ½/√`SAMPLED_PAIRS` of all, where noise alone moves it by ⅓/√n: the error that drawing adds to the slope is a quarter of its
//! standard error at 100,000 values, and as large as that at 1,300,000. The interval is widened by it.

use super::Present;
use super::mann_kendall::variance_of_s;
use crate::noise::nth;
use crate::series::spread::median;

/// Values of which all pairs are taken: 4,500,000 pairs.
pub const EXACT_POINTS_MAX: usize = 3_000;
/// Pairs that are drawn from longer series.
pub const SAMPLED_PAIRS: usize = 3_000_000;
/// The 97.5 % point of the normal distribution: intervals hold the slope in 95 of 100 cases.
pub(crate) const Z_95: f64 = 1.959_963_984_540_054;

/// A line through a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// Change per interval.
    pub slope: f64,
    /// Lower end of the 95 % interval of the slope.
    pub low: f64,
    /// Upper end of it.
    pub high: f64,
    /// The line's value at position 0.
    pub intercept: f64,
}

/// The slope of a series per interval; `None` of fewer than two values.
pub fn slope(series: &[f64]) -> Option<Slope> {
    of_present(&Present::of(series))
}

pub(super) fn of_present(present: &Present) -> Option<Slope> {
    let n = present.len();
    if n < 2 {
        return None;
    }
    let between = |i: usize, j: usize| {
        (present.values[j] - present.values[i]) / (present.at[j] - present.at[i]) as f64
    };
    let mut slopes = Slopes { of_pairs: Vec::new(), sampled: n > EXACT_POINTS_MAX };
    if slopes.sampled {
        let pair = |k: usize| two_of(n, nth(k as u64));
        slopes.of_pairs.extend((0..SAMPLED_PAIRS).map(pair).map(|(i, j)| between(i, j)));
    } else {
        slopes.of_pairs.reserve(n * (n - 1) / 2);
        for i in 0..n - 1 {
            slopes.of_pairs.extend((i + 1..n).map(|j| between(i, j)));
        }
    }
    let pairs = n as f64 * (n as f64 - 1.0) / 2.0;
    let (slope, low, high) = slopes.middle(pairs, variance_of_s(&present.values))?;
    let mut times: Vec<f64> = present.at.iter().map(|at| *at as f64).collect();
    let (time, value) = (median(&mut times)?, median(&mut present.values.clone())?);
    Some(Slope { slope, low, high, intercept: value - slope * time })
}

/// Two different numbers below `n`, the smaller first, by 64 random bits. `n` is at least 2 and fits in 32 bits.
pub(super) fn two_of(n: usize, random: u64) -> (usize, usize) {
    let scaled = |bits: u64, below: usize| ((bits * below as u64) >> 32) as usize;
    let first = scaled(random >> 32, n);
    let second = scaled(random & u64::from(u32::MAX), n - 1);
    if second < first { (second, first) } else { (first, second + 1) }
}

/// Slopes of pairs: of all, or of some that were drawn.
pub(super) struct Slopes {
    pub of_pairs: Vec<f64>,
    pub sampled: bool,
}

impl Slopes {
    /// Their median with both ends of the interval. `pairs` is how many there are to draw from, `variance` that of S.
    pub fn middle(mut self, pairs: f64, variance: f64) -> Option<(f64, f64, f64)> {
        self.of_pairs.retain(|slope| !slope.is_nan());
        let slope = median(&mut self.of_pairs)?;
        let count = self.of_pairs.len();
        // As parts of all pairs: half the spread of S, and the error of a median of some of them.
        let mut rank_variance = variance / (pairs * pairs);
        if self.sampled {
            rank_variance += 1.0 / count as f64;
        }
        let reach = Z_95 * rank_variance.sqrt();
        let rank = |part: f64| (count as f64 * part / 2.0).round_ties_even();
        let last = count as f64 - 1.0;
        let low = (rank(1.0 - reach) - 1.0).clamp(0.0, last) as usize;
        let high = rank(1.0 + reach).clamp(0.0, last) as usize;
        let mut at = |rank: usize| *self.of_pairs.select_nth_unstable_by(rank, f64::total_cmp).1;
        Some((slope, at(low), at(high)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::samples::{TIED, Tails, WANDERING, noise, odd_series, without};
    use super::*;

    fn assert_near(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-12, "{actual}, expected {expected}");
    }

    #[test]
    fn slopes_are_those_of_scipy() {
        // scipy 1.17.1: theilslopes(y, x, alpha=0.95), x the positions of what is there
        let falling: Vec<f64> = TIED[..9].iter().map(|value| -value).collect();
        let gaps = without(&TIED, &[3, 4, 17, 30]);
        for (series, expected, low, high, intercept) in [
            (
                &TIED[..],
                0.020416666666666722,
                -0.010714285714285676,
                0.051851851851851864,
                9.601875,
            ),
            (
                &gaps,
                0.021395881006865,
                -0.012903225806451625,
                0.05999999999999996,
                9.561384439359268,
            ),
            (
                &falling,
                0.10833333333333398,
                -0.15714285714285708,
                0.3000000000000007,
                -10.433333333333335,
            ),
        ] {
            let line = slope(series).unwrap();
            assert_near(line.slope, expected);
            assert_near(line.low, low);
            assert_near(line.high, high);
            assert_near(line.intercept, intercept);
        }
        assert_near(slope(&WANDERING).unwrap().slope, 0.08409090909090909);
    }

    #[test]
    fn two_values_make_a_slope_and_one_does_not() {
        let line = slope(&[f64::NAN, 1.0, f64::INFINITY, 4.0]).unwrap();
        assert_eq!((line.slope, line.low, line.high, line.intercept), (1.5, 1.5, 1.5, -0.5));
        assert_eq!(slope(&[f64::NAN, 1.0, f64::NAN]), None);
        assert_eq!(slope(&[]), None);
        for series in odd_series() {
            assert!(slope(&series).is_none_or(|line| line.low <= line.high), "{series:?}");
        }
    }

    #[test]
    fn pairs_are_drawn_evenly_and_never_of_one_value() {
        let mut counts = [[0; 5]; 5];
        for k in 0..100_000 {
            let (i, j) = two_of(5, nth(k));
            assert!(i < j && j < 5);
            counts[i][j] += 1;
        }
        let pairs = (0..5).flat_map(|i| (i + 1..5).map(move |j| (i, j)));
        // 10,000 each; the standard deviation is 95.
        pairs.for_each(|(i, j)| assert!((counts[i][j] - 10_000_i32).abs() < 500, "{i} {j}"));
        assert_eq!((two_of(2, 0), two_of(2, u64::MAX)), ((0, 1), (0, 1)));
    }

    #[test]
    fn drawn_pairs_say_what_all_pairs_say() {
        // 3,001 values are the first that are drawn; 3,000 of them the last with all pairs.
        let values = noise(EXACT_POINTS_MAX + 1, 0.0, Tails::Normal, 1);
        let series: Vec<f64> =
            values.iter().enumerate().map(|(t, v)| v + 0.01 * t as f64).collect();
        let all = slope(&series[..EXACT_POINTS_MAX]).unwrap();
        let drawn = slope(&series).unwrap();
        let pairs = (0..series.len()).flat_map(|i| (i + 1..series.len()).map(move |j| (i, j)));
        let mut slopes: Vec<f64> =
            pairs.map(|(i, j)| (series[j] - series[i]) / (j - i) as f64).collect();
        assert_ne!(Some(drawn.slope), median(&mut slopes));
        let width = all.high - all.low;
        assert!((drawn.slope - all.slope).abs() < 0.1 * width, "{drawn:?} {all:?}");
        assert!(drawn.low < 0.01 && drawn.high > 0.01);
        // Drawing adds 1/m to the variance 4/(9n)·… of ranks: a tenth of a percent here.
        assert!(((drawn.high - drawn.low) / width - 1.0).abs() < 0.05, "{drawn:?} {all:?}");
    }

    #[test]
    fn the_error_of_drawing_is_as_small_as_it_says() {
        // Of 20,000 values all pairs are 200 million; the slope of a line with symmetric noise is known instead.
        let (mut inside, runs) = (0, 8);
        let mut square = 0.0;
        for seed in 0..runs {
            let values = noise(20_000, 0.0, Tails::Normal, 100 + seed);
            let line = slope(&values).unwrap();
            inside += u64::from(line.low <= 0.0 && line.high >= 0.0);
            // The standard error of Theil and Sen with normal noise: √(π/3) that of least squares, √(12/n³).
            let error = (std::f64::consts::PI / 3.0 * 12.0).sqrt() / 20_000_f64.powf(1.5);
            square += (line.slope / error).powi(2) / runs as f64;
            assert!(((line.high - line.low) / (2.0 * Z_95 * error) - 1.0).abs() < 0.1, "{line:?}");
        }
        assert!(inside >= 6 && (0.2..2.2).contains(&square), "{inside} {square}");
    }
}
