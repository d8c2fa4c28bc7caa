//! A series made ready: scaled, its gaps marked, and the states that searches start from.
//!
//! The states are those of Hyndman, Koehler, Snyder & Grose, "A state space framework for automatic forecasting using
//! exponential smoothing methods", International Journal of Forecasting 18 (2002), §3.1: a classical decomposition
//! gives the season, a line through the first samples of the adjusted series the level and the trend. A series of
//! fewer than three seasons has no moving average worth the name: a line and one pair of sines take its place.

use super::model::{Season, Trend};
use crate::element::Element;

/// The seasons that have starting states of their own.
pub(super) const SEASONS: [Season; 3] = [Season::None, Season::Additive, Season::Multiplicative];

/// Where the searches for all models of one season start.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Start {
    /// Level of the models without a trend.
    pub(super) level: f64,
    /// Level before the first sample, and the trend, of the others.
    pub(super) line: (f64, f64),
    /// By the place of the sample in its period; sums to 0, or to the period.
    pub(super) season: Vec<f64>,
}

/// One series, from its first sample that is there.
#[derive(Debug, Clone)]
pub(super) struct Series {
    /// Scaled; NaN where missing.
    pub(super) samples: Vec<f64>,
    /// The power of two that they were divided by, so that the largest magnitude is 1 to 2.
    pub(super) scale: f64,
    /// Samples that are there.
    pub(super) observed: usize,
    /// All of them are greater than 0.
    pub(super) positive: bool,
    /// All of them are equal.
    pub(super) constant: bool,
    /// Their variance.
    pub(super) variance: f64,
    /// Their mean.
    pub(super) mean: f64,
    /// Root mean square of the differences of neighbours: the unit of levels and seasons in the search.
    pub(super) unit: f64,
}

impl Series {
    /// Reads a row. `None` where it holds no finite value.
    pub(super) fn read<T: Element>(row: &[T]) -> Option<Self> {
        let first = row.iter().position(|value| value.to_f64().is_finite())?;
        let mut samples: Vec<f64> = row[first..]
            .iter()
            .map(|value| value.to_f64())
            .map(|value| if value.is_finite() { value } else { f64::NAN })
            .collect();
        let seen = |samples: &[f64]| {
            samples.iter().copied().filter(|value| !value.is_nan()).collect::<Vec<f64>>()
        };
        let largest = seen(&samples).iter().fold(0.0f64, |most, value| most.max(value.abs()));
        let scale = power_of_two(largest);
        samples.iter_mut().for_each(|value| *value /= scale);
        let there = seen(&samples);
        let count = there.len() as f64;
        let mean = there.iter().sum::<f64>() / count;
        let variance = there.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        let steps: f64 = there.windows(2).map(|pair| (pair[1] - pair[0]).powi(2)).sum();
        Some(Self {
            scale,
            observed: there.len(),
            positive: there.iter().all(|&value| value > 0.0),
            constant: there.iter().all(|&value| value == there[0]),
            variance,
            mean,
            unit: (steps / (count - 1.0).max(1.0)).sqrt().max(1e-9),
            samples,
        })
    }

    /// Whether single precision loses nothing of its samples.
    pub(super) fn are_floats(&self) -> bool {
        self.samples.iter().all(|value| value.is_nan() || f64::from(*value as f32) == *value)
    }

    /// What is added to Σe² for each sample; see `likelihood`.
    pub(super) fn floor(&self, relative: bool) -> f64 {
        let floor = (1e-16 * self.variance).max(1e-40);
        if relative { floor / (self.mean * self.mean) } else { floor }
    }

    /// The samples with gaps filled by lines between their neighbours, and what follows the last one by it. Only the
    /// starting states see them.
    pub(super) fn filled(&self) -> Vec<f64> {
        let mut filled = self.samples.clone();
        let mut last = 0;
        for at in 1..filled.len() {
            if filled[at].is_nan() {
                continue;
            }
            let (from, to, gap) = (filled[last], filled[at], (at - last) as f64);
            for (offset, value) in filled[last + 1..at].iter_mut().enumerate() {
                *value = from + (to - from) * ((offset + 1) as f64 / gap);
            }
            last = at;
        }
        let tail = filled[last];
        filled[last + 1..].fill(tail);
        filled
    }

    /// The starting states for models of `season`; of no meaning where the series is not positive and the season
    /// multiplies, or where it is no longer than the period.
    pub(super) fn start(&self, filled: &[f64], season: Season, period: usize) -> Start {
        let seasonal = if season == Season::None || filled.len() <= period || period < 2 {
            None
        } else {
            Some(decompose(filled, season, period))
        };
        let adjusted: Vec<f64> = match (&seasonal, season) {
            (Some(parts), Season::Additive) => {
                filled.iter().zip(parts.iter().cycle()).map(|(value, part)| value - part).collect()
            }
            (Some(parts), _) => filled
                .iter()
                .zip(parts.iter().cycle())
                .map(|(value, part)| value / part.max(1e-2))
                .collect(),
            (None, _) => filled.to_vec(),
        };
        let period = if seasonal.is_some() { period } else { 1 };
        let some = adjusted.len().min((2 * period).max(10));
        let level = adjusted[..some].iter().sum::<f64>() / some as f64;
        let (mut at_zero, trend) = line(&adjusted[..some]);
        if (at_zero + trend).abs() < 1e-8 {
            at_zero += 1e-3 * self.unit;
        }
        Start { level, line: (at_zero, trend), season: seasonal.unwrap_or_default() }
    }
}

/// The largest power of two that is not above `value`; 1 for 0.
fn power_of_two(value: f64) -> f64 {
    if value < f64::MIN_POSITIVE {
        return 1.0;
    }
    f64::from_bits(value.to_bits() & 0x7ff0_0000_0000_0000)
}

/// Intercept (before the first sample) and slope of the line of least squares.
pub(super) fn line(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let middle = (n + 1.0) / 2.0;
    let mean = values.iter().sum::<f64>() / n;
    let (mut across, mut along) = (0.0, 0.0);
    for (at, value) in values.iter().enumerate() {
        let distance = (at + 1) as f64 - middle;
        across += distance * (value - mean);
        along += distance * distance;
    }
    let slope = if along > 0.0 { across / along } else { 0.0 };
    (mean - slope * middle, slope)
}

/// The seasonal part of a series without gaps, by the place in the period: from a centred moving average where there
/// are three periods or more, else from a line with one pair of sines.
pub(super) fn decompose(values: &[f64], season: Season, period: usize) -> Vec<f64> {
    let relative = season == Season::Multiplicative;
    let smooth: Vec<Option<f64>> = if values.len() < 3 * period {
        let (intercept, slope) = line_beside_sines(values, period);
        (0..values.len()).map(|at| Some(intercept + slope * (at + 1) as f64)).collect()
    } else {
        moving_average(values, period)
    };
    let mut sums = vec![(0.0, 0.0); period];
    for (at, (value, smooth)) in values.iter().zip(&smooth).enumerate() {
        let Some(smooth) = smooth else { continue };
        let part = if relative { value / smooth } else { value - smooth };
        if part.is_finite() {
            let (sum, count) = &mut sums[at % period];
            *sum += part;
            *count += 1.0;
        }
    }
    let neutral = if relative { 1.0 } else { 0.0 };
    let mut parts: Vec<f64> =
        sums.iter().map(|&(sum, count)| if count > 0.0 { sum / count } else { neutral }).collect();
    let mean = parts.iter().sum::<f64>() / period as f64;
    for part in &mut parts {
        *part = if !relative {
            *part - mean
        } else if mean > 0.0 {
            (*part / mean).max(1e-2)
        } else {
            1.0
        };
    }
    if relative {
        let sum: f64 = parts.iter().sum();
        parts.iter_mut().for_each(|part| *part *= period as f64 / sum);
    }
    parts
}

/// The mean of one period around each sample; of an even period its two ends count half.
fn moving_average(values: &[f64], period: usize) -> Vec<Option<f64>> {
    let half = period / 2;
    (0..values.len())
        .map(|at| {
            let window = values.get(at.checked_sub(half)?..at + half + 1)?;
            let mut sum: f64 = window.iter().sum();
            if period.is_multiple_of(2) {
                sum -= 0.5 * (window[0] + window[period]);
            }
            Some(sum / period as f64)
        })
        .collect()
}

/// Intercept and slope of the least squares fit of 1, t, cos and sin of the period, by normal equations.
fn line_beside_sines(values: &[f64], period: usize) -> (f64, f64) {
    let n = values.len();
    let terms = |at: usize| {
        let t = (at + 1) as f64;
        let angle = 2.0 * std::f64::consts::PI * t / period as f64;
        let sine = if period == 2 { 0.0 } else { angle.sin() };
        [1.0, t / n as f64, angle.cos(), sine]
    };
    let mut system = [[0.0; 5]; 4];
    for (at, value) in values.iter().enumerate() {
        let terms = terms(at);
        for (row, a) in system.iter_mut().zip(terms) {
            for (cell, b) in row.iter_mut().zip(terms) {
                *cell += a * b;
            }
            row[4] += a * value;
        }
    }
    let found = solve(system);
    (found[0], found[1] / n as f64)
}

/// Gauss' elimination with pivots; a variable without one is 0.
fn solve(mut system: [[f64; 5]; 4]) -> [f64; 4] {
    let mut pivots = [None; 4];
    let mut used = [false; 4];
    for col in 0..4 {
        let best = (0..4)
            .filter(|&row| !used[row])
            .max_by(|&a, &b| system[a][col].abs().total_cmp(&system[b][col].abs()));
        let Some(row) = best.filter(|&row| system[row][col].abs() > 1e-9) else { continue };
        used[row] = true;
        pivots[col] = Some(row);
        let pivot = system[row];
        for (other, cells) in system.iter_mut().enumerate() {
            if other != row {
                let factor = cells[col] / pivot[col];
                cells.iter_mut().zip(pivot).for_each(|(cell, part)| *cell -= factor * part);
            }
        }
    }
    std::array::from_fn(|col| pivots[col].map_or(0.0, |row| system[row][4] / system[row][col]))
}

impl Start {
    /// Level and trend for a kind of trend.
    pub(super) fn level_and_trend(&self, trend: Trend) -> (f64, f64) {
        if trend == Trend::None { (self.level, 0.0) } else { self.line }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_with_a_season_is_taken_apart() {
        let season = [3.0, -1.0, -2.0];
        let values: Vec<f64> =
            (0..30).map(|t| 5.0 + 0.5 * f64::from(t) + season[t as usize % 3]).collect();
        let parts = decompose(&values, Season::Additive, 3);
        for (part, expected) in parts.iter().zip(season) {
            assert!((part - expected).abs() < 1e-12);
        }
        let (at_zero, slope) = line(&[2.0, 4.0, 6.0]);
        assert!(at_zero.abs() < 1e-12 && (slope - 2.0).abs() < 1e-12);
    }

    #[test]
    fn two_seasons_are_taken_apart_by_sines() {
        let values: Vec<f64> = (0..12)
            .map(|t| {
                2.0 + 0.25 * f64::from(t) + (2.0 * std::f64::consts::PI * f64::from(t) / 6.0).sin()
            })
            .collect();
        let (intercept, slope) = line_beside_sines(&values, 6);
        assert!(
            (slope - 0.25).abs() < 1e-9 && (intercept - 1.75).abs() < 1e-9,
            "{intercept} {slope}"
        );
        // With a period of two the sine vanishes, and its column has no pivot.
        assert!(line_beside_sines(&[1.0, 2.0, 1.5, 2.5, 2.0], 2).1.is_finite());
    }

    #[test]
    fn gaps_are_marked_and_filled_for_the_start_only() {
        let nan = f64::NAN;
        let series = Series::read(&[nan, 2.0, nan, f64::INFINITY, 8.0, nan]).unwrap();
        assert_eq!((series.observed, series.samples.len(), series.scale), (2, 5, 8.0));
        assert_eq!(series.filled(), [0.25, 0.5, 0.75, 1.0, 1.0]);
        assert!(Series::read(&[nan, nan]).is_none());
    }
}
