//! The noise of a series, of which other measures are multiples: its standard deviation σ around the level, and how far neighbours
//! repeat each other, as ρ of an autoregression of order 1.
//!
//! [`noise`] knows nothing about levels, so it takes the differences of values one and two intervals apart, of which few go over a
//! change of the level. With v_k the mean of (x(t+k) − x(t))², large ones drawn in, ρ = v₂/v₁ − 1 and σ² = v₁ / (2(1−ρ)). That is
//! the estimator of S. Chakar, E. Lebarbier, C. Lévy-Leduc & S. Robin ("A robust approach for estimating change-points in the mean
//! of an AR(1) process", 2017) with means instead of medians, which overrate ρ where tails are heavy. What levels that are known
//! leave says it more surely (`of_residuals`). All in O(n).

use super::Present;
use crate::series::spread::spread;

/// Differences that are larger are changes of the level, or outliers.
const REACH: f64 = 3.0;
/// ρ at most: beyond, a series is a random walk, which has no level.
const RHO_MAX: f64 = 0.95;
/// Fewer pairs than this say nothing about ρ.
const PAIRS_MIN: usize = 10;

/// An autoregression of order 1 around a level.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ar1 {
    /// Standard deviation around the level.
    pub sigma: f64,
    /// Autocorrelation of neighbours, 0 to 0.95: a negative one counts as none.
    pub rho: f64,
}

impl Ar1 {
    /// Variance of a mean of n values, times n, for large n: σ²·(1+ρ)/(1−ρ).
    pub fn long_run_variance(&self) -> f64 {
        self.sigma * self.sigma * (1.0 + self.rho) / (1.0 - self.rho)
    }
}

/// The noise of a series that may have any levels. All zero where nothing ever differs.
pub fn noise(series: &[f64]) -> Ar1 {
    of_differences(&Present::of(series))
}

pub(super) fn of_differences(present: &Present) -> Ar1 {
    let (one, two) = (differences(present, 1), differences(present, 2));
    let near = mean_square(&one);
    if near <= 0.0 || !near.is_finite() {
        return Ar1::default();
    }
    let few = two.len() < PAIRS_MIN;
    let rho = mean_square(&two) / near - 1.0;
    let rho = if few || rho.is_nan() { 0.0 } else { rho.clamp(0.0, RHO_MAX) };
    Ar1 { sigma: (near / (2.0 * (1.0 - rho))).sqrt(), rho }
}

/// The mean square of differences less their median, which is a slope; each at most [`REACH`] robust standard deviations.
fn mean_square(differences: &[f64]) -> f64 {
    let spread = spread(differences);
    let reach = REACH * spread.or_of_mean();
    let square = |difference: &f64| (difference - spread.centre).abs().min(reach).powi(2);
    differences.iter().map(square).sum::<f64>() / differences.len().max(1) as f64
}

/// Differences of values so many intervals apart.
fn differences(present: &Present, lag: usize) -> Vec<f64> {
    let mut found = Vec::with_capacity(present.len());
    for (i, at) in present.at.iter().enumerate() {
        // Values that far apart are at most `lag` apart in what is there.
        let later = present.at.iter().enumerate().skip(i + 1).take(lag);
        for (j, _) in later.filter(|(_, later)| **later == at + lag) {
            found.push(present.values[j] - present.values[i]);
        }
    }
    found
}

/// The noise of what is left of a series less its levels, of which there are `levels`. Each level that was fitted takes
/// autocorrelation away: about (1 + 4ρ)/n for one (F. H. C. Marriott & J. A. Pope, "Bias in the estimation of
/// autocorrelations", 1954), which is put back.
pub(super) fn of_residuals(at: &[usize], residuals: &[f64], levels: usize) -> Ar1 {
    let (n, levels) = (residuals.len() as f64, levels as f64);
    let total: f64 = residuals.iter().map(|value| value * value).sum();
    if total <= 0.0 || n <= levels {
        return Ar1::default();
    }
    let (mut product, mut pairs) = (0.0, 0.0);
    for (at, residual) in at.windows(2).zip(residuals.windows(2)) {
        if at[1] == at[0] + 1 {
            product += residual[0] * residual[1];
            pairs += 1.0;
        }
    }
    let lost = levels / n;
    let r = if pairs < PAIRS_MIN as f64 { 0.0 } else { product / pairs / (total / n) };
    let rho = ((r + lost) / (1.0 - 4.0 * lost).max(0.1)).clamp(0.0, RHO_MAX);
    // A level follows n/levels values that repeat each other.
    let free = 1.0 - (lost * (1.0 + rho) / (1.0 - rho)).min(0.5);
    Ar1 { sigma: (total / n / free).sqrt(), rho }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{KINDS, Tails, noise as sample, odd_series, without};
    use super::*;

    fn assert_near(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-9, "{actual}, expected {expected}");
    }

    #[test]
    fn noise_is_measured_beside_levels_slopes_and_gaps() {
        for (rho, tails) in KINDS {
            let mut series = sample(4_000, rho, tails, 8);
            let check = |series: &[f64], tolerance: f64| {
                let found = noise(series);
                assert!((found.rho - rho).abs() < tolerance, "{rho} {tails:?}: {found:?}");
                // Clipping takes a part of heavy tails.
                let range = if rho > 0.0 {
                    0.5..1.8
                } else if tails == Tails::Normal {
                    0.9..1.15
                } else {
                    0.6..1.15
                };
                assert!(range.contains(&found.sigma), "{rho} {tails:?}: {found:?}");
            };
            // Heavy tails with neighbours that repeat each other are overrated.
            let tolerance = if tails == Tails::Heavy && rho > 0.0 { 0.25 } else { 0.08 };
            check(&series, tolerance);
            series.iter_mut().enumerate().for_each(|(t, v)| *v += (t / 500 % 2) as f64 * 100.0);
            check(&series, tolerance + 0.02);
            series.iter_mut().enumerate().for_each(|(t, v)| *v += t as f64);
            check(&series, tolerance + 0.02);
            let missing: Vec<usize> = (0..4_000).filter(|t| t % 5 == 0 || t % 7 == 0).collect();
            check(&without(&series, &missing), tolerance + 0.05);
        }
    }

    #[test]
    fn differences_are_those_of_positions() {
        let present = Present::of(&[1.0, 2.0, f64::NAN, 4.5, 8.0]);
        assert_eq!(differences(&present, 1), [1.0, 3.5]);
        assert_eq!(differences(&present, 2), [2.5]);
        assert_eq!(differences(&present, 3), [3.5, 6.0]);
    }

    #[test]
    fn squares_are_drawn_in() {
        // Less their median of 1: −1, 0, 0, 0, 99. The mean distance is 20, the median one 0.
        let reach: f64 = 3.0 * (0.6 * 1.253_314_137_315_5 * 20.0);
        assert_near(mean_square(&[0.0, 1.0, 1.0, 1.0, 100.0]), (1.0 + reach * reach) / 5.0);
        let reach = 3.0 * 1.482_602_218_505_602 * 2.0;
        // Distances 3, 2, 1, 0, 1, 2, 13 and a mean one of 22/7.
        assert_near(
            mean_square(&[-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 13.0]),
            (9.0 + 4.0 + 1.0 + 1.0 + 4.0 + reach * reach) / 7.0,
        );
        assert_near(mean_square(&[]), 0.0);
    }

    #[test]
    fn sigma_and_rho_are_those_of_the_formulas() {
        // Ten differences two apart are enough for ρ, nine are not.
        let wave = [0.0, 1.0, 2.0, 1.0, 0.0, -1.0, -2.0, -1.0, 0.0, 1.0, 2.0, 1.0];
        let (few, enough) = (noise(&wave[..11]), noise(&wave));
        assert_near(few.rho, 0.0);
        assert_near(few.sigma, (square(&wave[..11], 1) / 2.0).sqrt());
        let rho = square(&wave, 2) / square(&wave, 1) - 1.0;
        assert!((0.1..0.9).contains(&rho), "{rho}");
        assert_near(enough.rho, rho);
        assert_near(enough.sigma, (square(&wave, 1) / (2.0 * (1.0 - rho))).sqrt());
        let ar1 = Ar1 { sigma: 2.0, rho: 0.6 };
        assert_near(ar1.long_run_variance(), 16.0);
        assert_eq!((noise(&[]), noise(&[1.0])), (Ar1::default(), Ar1::default()));
        // Without neighbours, and with some too far apart to be squared.
        let apart: Vec<f64> =
            (0..60).map(|t| if t % 2 == 0 { f64::from(t * t) } else { f64::NAN }).collect();
        let far: Vec<f64> = (0..60).map(|t| if t % 3 == 0 { 1e200 } else { -1e200 }).collect();
        assert_eq!((noise(&apart), noise(&far)), (Ar1::default(), Ar1::default()));
        for series in odd_series() {
            assert!((0.0..=0.95).contains(&noise(&series).rho), "{series:?}");
        }
    }

    fn square(series: &[f64], lag: usize) -> f64 {
        let later = series[lag..].iter().zip(series);
        mean_square(&later.map(|(later, value)| later - value).collect::<Vec<_>>())
    }

    #[test]
    fn residuals_give_back_what_levels_took() {
        let at: Vec<usize> = (0..12).collect();
        let rest = [1.0, 2.0, 1.0, -1.0, -2.0, -1.0, 1.0, 2.0, 1.0, -1.0, -2.0, -1.0];
        // 24 squares; neighbours 2+2−1+2+2−1+2+2−1+2+2 = 13 in 11 pairs.
        let r = 13.0 / 11.0 / 2.0;
        let (lost, found) = (1.0 / 12.0, of_residuals(&at, &rest, 1));
        let rho: f64 = (r + lost) / (1.0 - 4.0 * lost);
        assert_near(found.rho, rho.min(0.95));
        assert_near(found.sigma, (2.0_f64 / (1.0 - 0.5)).sqrt());
        let rest = [1.0, 2.0, -1.0, -2.0, 1.0, 1.0, -1.0, -1.0, 2.0, -2.0, 1.0, -1.0];
        // 24 squares; neighbours 2−2+2−2+1−1+1−2−4−2−1 = −8: negative, so none.
        assert_near(of_residuals(&at, &rest, 1).rho, (-8.0 / 22.0_f64 + 1.0 / 12.0).max(0.0));
        assert_near(of_residuals(&at, &rest, 1).sigma, (2.0 / (1.0 - 1.0 / 12.0_f64)).sqrt());
        // Over a gap there are no neighbours: 9 pairs are too few.
        let apart: Vec<usize> = (0..12)
            .map(|t| {
                if t < 3 {
                    t
                } else if t < 8 {
                    t + 1
                } else {
                    t + 2
                }
            })
            .collect();
        assert_near(
            of_residuals(&apart, &[1.0; 12], 1).rho,
            ((0.0 + 1.0 / 12.0) / (1.0 - 4.0 / 12.0_f64)).min(0.95),
        );
        assert_eq!(of_residuals(&at, &[0.0; 12], 1), Ar1::default());
        assert_eq!(of_residuals(&at, &rest, 12), Ar1::default());
    }
}
