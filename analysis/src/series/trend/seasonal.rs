//! The test of Mann and Kendall for series with a season: R. M. Hirsch, J. R. Slack & R. A. Smith, "Techniques of trend analysis for
//! monthly water quality data" (1982). Values are only compared with those at the same phase of other seasons: S and its variance
//! are the sums over the phases. The slope is the median over the pairs of values at the same phase.
//!
//! O(n log n) for the test. The slope takes all n²/(2·season) pairs where these are at most [`SAMPLED_PAIRS`], and as many drawn
//! ones otherwise.

use super::Present;
use super::mann_kendall::{self, MannKendall};
use super::slope::{SAMPLED_PAIRS, Slope, Slopes};
use crate::noise::nth;
use crate::series::spread::median;

/// The test and the slope over a season.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seasonal {
    /// The test, over all phases.
    pub test: MannKendall,
    /// The slope per interval, not per season.
    pub slope: Slope,
}

/// The test of a series with a season of that many intervals; `None` where no phase has two values.
pub fn seasonal(series: &[f64], season: usize) -> Option<Seasonal> {
    if season == 0 || season >= series.len() {
        return None;
    }
    let phases: Vec<Present> = (0..season)
        .map(|phase| {
            let values: Vec<f64> = series.iter().skip(phase).step_by(season).copied().collect();
            Present::of(&values)
        })
        .filter(|phase| phase.len() >= 2)
        .collect();
    let of = |phase: &Present| phase.len() as f64 * (phase.len() as f64 - 1.0) / 2.0;
    let pairs: f64 = phases.iter().map(of).sum();
    let (mut s, mut variance) = (0.0, 0.0);
    for test in phases.iter().filter_map(|phase| mann_kendall::of_values(&phase.values)) {
        s += test.s;
        variance += test.variance;
    }
    let (per_season, low, high) = slopes(&phases, pairs).middle(pairs, variance)?;
    let per = season as f64;
    let (slope, low, high) = (per_season / per, low / per, high / per);
    let mut present = Present::of(series);
    let mut times: Vec<f64> = present.at.iter().map(|at| *at as f64).collect();
    let intercept = median(&mut present.values)? - slope * median(&mut times)?;
    let slope = Slope { slope, low, high, intercept };
    Some(Seasonal { test: MannKendall::of(s, pairs, variance), slope })
}

/// Slopes per season of pairs at the same phase.
fn slopes(phases: &[Present], pairs: f64) -> Slopes {
    let between = |phase: &Present, i: usize, j: usize| {
        (phase.values[j] - phase.values[i]) / (phase.at[j] - phase.at[i]) as f64
    };
    let mut slopes = Slopes { of_pairs: Vec::new(), sampled: pairs > SAMPLED_PAIRS as f64 };
    let mut drawn = 0;
    for phase in phases {
        let n = phase.len();
        let own = n as f64 * (n as f64 - 1.0) / 2.0;
        if slopes.sampled {
            // Each phase gives its part, rounded up.
            let wanted = (SAMPLED_PAIRS as f64 * own / pairs).ceil() as u64;
            let some = (drawn..drawn + wanted).map(|k| super::slope::two_of(n, nth(k)));
            slopes.of_pairs.extend(some.map(|(i, j)| between(phase, i, j)));
            drawn += wanted;
        } else {
            for i in 0..n - 1 {
                slopes.of_pairs.extend((i + 1..n).map(|j| between(phase, i, j)));
            }
        }
    }
    slopes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::samples::{TIED, Tails, noise, odd_series, without};
    use super::*;

    #[test]
    fn test_and_slope_are_those_of_pymannkendall() {
        let gaps = without(&TIED, &[3, 4, 17, 30]);
        // pymannkendall 1.4.3: seasonal_test(period=…), whose slope is per season
        for (series, season, [s, tau, variance, z, p, slope, intercept]) in [
            (
                &TIED[..],
                4,
                [
                    22.0,
                    0.12222222222222222,
                    496.0,
                    0.9429278356405683,
                    0.3457178159477037,
                    0.07738095238095238,
                    9.622767857142858,
                ],
            ),
            (
                &gaps,
                4,
                [
                    14.0,
                    0.09722222222222222,
                    364.0,
                    0.6813851438692469,
                    0.4956278206547924,
                    0.060714285714285776,
                    9.688839285714286,
                ],
            ),
            (&TIED, 12, [14.0, 0.2916666666666667, 64.0, 1.625, 0.1041625588304389, 0.35, 9.43125]),
            (
                &gaps,
                12,
                [
                    9.0,
                    0.23076923076923078,
                    51.0,
                    1.120224067222408,
                    0.2626182904425205,
                    0.3,
                    9.4875,
                ],
            ),
        ] {
            let Seasonal { test, slope: line } = seasonal(series, season).unwrap();
            let actual =
                [test.s, test.tau, test.variance, test.z, test.p, line.slope, line.intercept];
            let expected = [s, tau, variance, z, p, slope / season as f64, intercept];
            for (actual, expected) in actual.iter().zip(expected) {
                assert!((actual / expected - 1.0).abs() < 1e-9, "{actual}, expected {expected}");
            }
            assert!(line.low < line.slope && line.slope < line.high);
        }
    }

    #[test]
    fn a_season_of_one_is_none_and_one_as_long_as_the_series_too_long() {
        let plain = super::super::slope::slope(&TIED).unwrap();
        let test = seasonal(&TIED, 1).unwrap();
        assert_eq!(
            (test.slope.low, test.slope.slope, test.slope.high),
            (plain.low, plain.slope, plain.high)
        );
        assert_eq!(Some(test.test), mann_kendall::mann_kendall(&TIED));
        assert_eq!((seasonal(&TIED, 0), seasonal(&TIED, 40), seasonal(&[], 1)), (None, None, None));
        assert_eq!(seasonal(&TIED, 39).unwrap().test.s, 1.0);
        for series in odd_series() {
            for season in 0..6 {
                let found = seasonal(&series, season);
                assert!(
                    found.is_none_or(|found| (0.0..=1.0).contains(&found.test.p)),
                    "{series:?}"
                );
            }
        }
    }

    #[test]
    fn a_season_hides_no_trend_and_makes_none() {
        let season = |t: usize| [0.0, 40.0, -10.0, 5.0, 70.0, 3.0, -60.0][t % 7];
        let values = noise(20_000, 0.0, Tails::Normal, 3);
        let with = |slope: f64| -> Vec<f64> {
            values.iter().enumerate().map(|(t, v)| v + season(t) + slope * t as f64).collect()
        };
        // 28 million pairs: drawn.
        let found = seasonal(&with(0.0), 7).unwrap();
        assert!(
            found.test.p > 0.05 && found.slope.low < 0.0 && found.slope.high > 0.0,
            "{found:?}"
        );
        let found = seasonal(&with(1e-5), 7).unwrap();
        assert!(
            found.test.p < 1e-9 && found.slope.low < 1e-5 && found.slope.high > 1e-5,
            "{found:?}"
        );
        assert!(found.slope.high - found.slope.low < 0.6e-5, "{found:?}");
    }
}
