//! Outliers: values far from the rolling median, in units of a robust standard deviation (the modified
//! z-score of Iglewicz & Hoaglin, "How to Detect and Handle Outliers", 1993, with a rolling centre). The
//! unit is the larger of the window's own MAD and that of the whole series, because a quiet hour must not
//! make the next ordinary one an anomaly; the mean absolute deviation bounds it from below where more than
//! half of the values are equal and every MAD is zero.

use super::spread::{MAD_TO_SIGMA, spread};

/// Spread below this part of the values' size is rounding.
const ROUNDING: f64 = 1e-9;
/// Flags that are no further apart than this part of the window are one excursion.
const MERGE_PART: f64 = 0.1;
/// Samples at the start that only serve as history: this part of the window, at most a quarter of the series.
const HISTORY_PART: f64 = 0.5;

/// Rolling statistics of one series, trailing, one value for each sample.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    /// Median over the window.
    pub median: Vec<f64>,
    /// Median absolute deviation over the window, no factor.
    pub mad: Vec<f64>,
    /// Median over the short window.
    pub short_median: Vec<f64>,
}

/// A stretch of samples that are not usual. Indices of samples, ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Excursion {
    /// The first sample.
    pub first: usize,
    /// The last sample.
    pub last: usize,
    /// The sample furthest from the usual.
    pub peak: usize,
    /// Its signed distance from the usual in robust standard deviations.
    pub z: f64,
}

/// The least robust standard deviation of a series: that of the whole.
pub fn sigma_floor(values: &[f64], residual: &[f64]) -> f64 {
    let whole = spread(residual);
    let size = spread(values).centre.abs();
    whole.at_least_of_mean().max(ROUNDING * size).max(f64::MIN_POSITIVE)
}

/// Stretches of `residual` beyond `threshold` standard deviations from its baseline.
pub fn excursions(
    residual: &[f64],
    baseline: &Baseline,
    sigma_floor: f64,
    window: usize,
    threshold: f64,
) -> Vec<Excursion> {
    let merge = ((window as f64 * MERGE_PART) as usize).max(1);
    let mut found: Vec<Excursion> = Vec::new();
    for (at, z) in distances(residual, baseline, sigma_floor, window) {
        // A window without a result gives NaN, which is no excursion.
        if z.is_nan() || z.abs() <= threshold {
            continue;
        }
        match found.last_mut() {
            Some(open) if at - open.last <= merge => {
                open.last = at;
                if z.abs() > open.z.abs() {
                    (open.peak, open.z) = (at, z);
                }
            }
            _ => found.push(Excursion { first: at, last: at, peak: at, z }),
        }
    }
    found
}

/// Each sample after the history, and its distance from the baseline in standard deviations; NaN where a window has no result.
pub(super) fn distances(
    residual: &[f64],
    baseline: &Baseline,
    sigma_floor: f64,
    window: usize,
) -> impl Iterator<Item = (usize, f64)> {
    let history = ((window as f64 * HISTORY_PART) as usize).min(residual.len() / 4);
    let usual = baseline.median.iter().zip(&baseline.mad);
    let all = residual.iter().zip(usual).enumerate().skip(history);
    all.map(move |(at, (value, (median, mad)))| {
        (at, (value - median) / (mad * MAD_TO_SIGMA).max(sigma_floor))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_one_excursion_and_what_is_at_the_threshold_is_none() {
        let mut residual = vec![0.0; 200];
        for (at, value) in [(49, 9.0), (50, -12.0), (60, 9.0), (71, 9.0), (120, 6.0), (140, 6.5)] {
            residual[at] = value;
        }
        let (median, mad) = (vec![0.0; 200], vec![0.0; 200]);
        let baseline = Baseline { median, mad, ..Baseline::default() };
        let found = excursions(&residual, &baseline, 1.0, 100, 6.0);
        // Half of the window is history; a tenth of it is near.
        let alone = |at: usize, z: f64| Excursion { first: at, last: at, peak: at, z };
        assert_eq!(
            found,
            [Excursion { last: 60, ..alone(50, -12.0) }, alone(71, 9.0), alone(140, 6.5)]
        );
    }
}
