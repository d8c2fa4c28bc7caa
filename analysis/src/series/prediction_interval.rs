//! How wide the intervals of a forecast are, from the errors that its method made at past origins.
//!
//! Let e(o, s) be the error at origin o and step s. Errors grow with the step, so they are compared as e(o, s) / s^g. The exponent g is
//! the slope of the logarithm of the root mean square of a step on the logarithm of the step, shrunk towards [`GROWTH`] where origins
//! or steps are few. The half width of a level is the larger of
//!
//! - the conformal quantile of |e| / s^g (Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World", 2005, ch. 4), and
//! - Student's quantile times their root mean square. Errors of one origin are alike, so n values count as n / (1 + (steps - 1) r),
//!   where r is their correlation within an origin (Kish's effective sample size).
//!
//! Each origin is then compared with an interval made of all others, and the width grows until the promised share of past values is
//! inside. It grows to at most [`BEYOND`] times the largest error, so that one unusual origin does not decide alone.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// The share of future values that each interval promises to hold.
pub const LEVELS: [f64; 2] = [0.80, 0.95];
/// The exponent of the growth of errors if nothing is known of it, and the number of origins that count as much as it.
const GROWTH: f64 = 0.5;
const GROWTH_ORIGINS: f64 = 1.0;
/// Fewer steps than this say less of the growth.
const GROWTH_STEPS: f64 = 6.0;
/// The correlation within an origin if nothing is known of it, and the number of origins that count as much as it.
const CORRELATION: f64 = 1.0;
const CORRELATION_ORIGINS: f64 = 8.0;
/// The part of the largest past error that a width may reach.
const BEYOND: f64 = 1.2;
/// A width below this part of the range of the values comes from rounding.
const NEGLIGIBLE: f64 = 1e-9;
/// Intervals are at most this number of times as wide as the range of the values.
const RANGES_MAX: f64 = 10.0;

/// Widths of the intervals of one forecast.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictionInterval {
    /// Half the width at the first step, by [`LEVELS`].
    half: [f64; LEVELS.len()],
    growth: f64,
    /// Half the width of the widest interval.
    half_max: f64,
    /// The number of past values that were compared.
    pub compared: usize,
    /// The share of past values inside intervals that are made of the errors at all other origins. None with fewer than two origins.
    pub coverage: Option<[f64; LEVELS.len()]>,
}

impl PredictionInterval {
    /// From `errors`, by origin and step; NaN where no value arrived. `values`: the history. None if there is no error.
    pub fn of_errors(errors: &[Vec<f64>], values: &[f64]) -> Option<Self> {
        let known = sizes(errors.iter().flatten().copied());
        let size = mean(&known)?;
        let growth = growth(errors);
        let scaled: Vec<Vec<f64>> = errors.iter().map(|errors| scaled(errors, growth)).collect();
        let all: Vec<&[f64]> = scaled.iter().map(Vec::as_slice).collect();
        let largest = sizes(scaled.iter().flatten().copied()).last().copied().unwrap_or(0.0);
        let ratios = LEVELS.map(|level| ratios(&all, level));
        let half = [0, 1].map(|at| {
            let base = half_width(&all, LEVELS[at]);
            let widened = ratios[at].as_deref().map_or(1.0, |ratios| quantile(ratios, LEVELS[at]));
            // A ratio is infinite if all other origins were met exactly.
            let widened = if widened.is_finite() { widened.max(1.0) } else { 1.0 };
            let half = base.max((widened * base).min(BEYOND * largest));
            at_least(at_least(half, size, values), neighbours(values), values)
        });
        let coverage = ratios.map(|ratios| ratios.map(|ratios| share_inside(&ratios)));
        Some(Self {
            half,
            growth,
            half_max: half_max(values),
            compared: known.len(),
            coverage: coverage[0].zip(coverage[1]).map(|(inner, outer)| [inner, outer]),
        })
    }

    /// For a history that is too short to try a method: as wide as values differ from their neighbours.
    pub fn of_neighbours(values: &[f64]) -> Self {
        let steps = differences(values);
        let mean = mean(&steps).unwrap_or(0.0);
        Self {
            half: LEVELS.map(|level| at_least(quantile(&steps, level), mean, values)),
            growth: 0.5,
            half_max: half_max(values),
            compared: 0,
            coverage: None,
        }
    }

    /// Half the width of the interval of a level at a step, which counts from 1.
    pub fn half(&self, level: usize, step: usize) -> f64 {
        (self.half[level] * (step as f64).powf(self.growth)).min(self.half_max)
    }
}

/// Half the width at the first step, from the scaled errors of some origins.
fn half_width(scaled: &[&[f64]], level: f64) -> f64 {
    let all = || scaled.iter().flat_map(|errors| errors.iter().copied());
    quantile(&sizes(all()), level).max(student(scaled, level))
}

/// Half the width by Student's distribution.
fn student(scaled: &[&[f64]], level: f64) -> f64 {
    let known: Vec<Vec<f64>> = scaled
        .iter()
        .map(|errors| errors.iter().copied().filter(|error| error.is_finite()).collect())
        .collect();
    let count: usize = known.iter().map(Vec::len).sum();
    let squares = known.iter().flatten().map(|error| error * error).sum::<f64>();
    if count < 2 || squares <= 0.0 {
        return 0.0;
    }
    let mean_square = squares / count as f64;
    // Mean product of two errors of one origin.
    let products = known.iter().filter(|errors| errors.len() > 1).map(|errors| {
        let (sum, squares) = errors
            .iter()
            .fold((0.0, 0.0), |(sum, squares), error| (sum + error, squares + error * error));
        (sum * sum - squares) / (errors.len() * (errors.len() - 1)) as f64
    });
    let (pairs, total) = products.fold((0.0, 0.0), |(pairs, total), of| (pairs + 1.0, total + of));
    let correlation =
        (total / mean_square + CORRELATION_ORIGINS * CORRELATION) / (pairs + CORRELATION_ORIGINS);
    let steps = count as f64 / known.iter().filter(|errors| !errors.is_empty()).count() as f64;
    let effective = count as f64 / (1.0 + (steps - 1.0) * correlation.clamp(0.0, 1.0));
    let freedom = (effective - 1.0).max(1.0);
    let Ok(distribution) = StudentsT::new(0.0, 1.0, freedom) else { return 0.0 };
    distribution.inverse_cdf(0.5 + level / 2.0) * (mean_square * (1.0 + 1.0 / effective)).sqrt()
}

/// The exponent by which errors grow from step to step.
fn growth(errors: &[Vec<f64>]) -> f64 {
    let steps = errors.iter().map(Vec::len).max().unwrap_or(0);
    let of_step = |step: usize| {
        let squares: Vec<f64> = errors
            .iter()
            .filter_map(|errors| errors.get(step))
            .filter(|error| error.is_finite())
            .map(|error| error * error)
            .collect();
        let size = mean(&squares)?.sqrt();
        (size > 0.0).then(|| ((step as f64 + 1.0).ln(), size.ln()))
    };
    let points: Vec<(f64, f64)> = (0..steps).filter_map(of_step).collect();
    let Some(slope) = slope(&points) else { return GROWTH };
    let origins = errors.len() as f64;
    let weight = origins / (origins + GROWTH_ORIGINS) * (steps as f64 / GROWTH_STEPS).min(1.0);
    (weight * slope + (1.0 - weight) * GROWTH).clamp(0.0, 1.0)
}

/// The slope of the least squares line.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let centre = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let spread = points.iter().map(|(x, _)| (x - centre).powi(2)).sum::<f64>();
    let product = points.iter().map(|(x, y)| (x - centre) * y).sum::<f64>();
    (points.len() > 1).then(|| product / spread)
}

/// Each error as a part of the interval made of the errors at all other origins, rising.
fn ratios(scaled: &[&[f64]], level: f64) -> Option<Vec<f64>> {
    if scaled.len() < 2 {
        return None;
    }
    let mut ratios = Vec::new();
    for (own, errors) in scaled.iter().enumerate() {
        let others = scaled.iter().enumerate().filter(|(other, _)| *other != own);
        let others: Vec<&[f64]> = others.map(|(_, errors)| *errors).collect();
        let half = half_width(&others, level);
        // An error of 0 is inside any interval.
        let ratio = |error: &f64| if *error == 0.0 { 0.0 } else { error.abs() / half };
        ratios.extend(errors.iter().map(ratio));
    }
    ratios.retain(|ratio| !ratio.is_nan());
    ratios.sort_by(f64::total_cmp);
    (!ratios.is_empty()).then_some(ratios)
}

fn share_inside(ratios: &[f64]) -> f64 {
    ratios.iter().filter(|ratio| **ratio <= 1.0).count() as f64 / ratios.len() as f64
}

fn scaled(errors: &[f64], growth: f64) -> Vec<f64> {
    let each = errors.iter().enumerate();
    each.map(|(step, error)| error / ((step + 1) as f64).powf(growth)).collect()
}

/// Sizes of those that are known, rising.
fn sizes(errors: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sizes: Vec<f64> = errors.filter(|error| error.is_finite()).map(f64::abs).collect();
    sizes.sort_by(f64::total_cmp);
    sizes
}

/// What a share `level` of further values stays below.
fn quantile(sorted: &[f64], level: f64) -> f64 {
    let Some(largest) = sorted.last() else { return 0.0 };
    let place = ((sorted.len() + 1) as f64 * level).ceil() as usize;
    if place > sorted.len() { BEYOND * largest } else { sorted[place.max(1) - 1] }
}

/// Distances of neighbouring values, rising.
fn differences(values: &[f64]) -> Vec<f64> {
    let known: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sizes(known.windows(2).map(|pair| pair[1] - pair[0]))
}

fn neighbours(values: &[f64]) -> f64 {
    mean(&differences(values)).unwrap_or(0.0)
}

fn mean(values: &[f64]) -> Option<f64> {
    let count = values.len() as f64;
    (!values.is_empty()).then(|| values.iter().map(|value| value / count).sum())
}

/// An interval of values that vary has a width, however rarely they vary.
fn at_least(half: f64, least: f64, values: &[f64]) -> f64 {
    if half > NEGLIGIBLE * range(values) { half } else { half.max(least) }
}

fn half_max(values: &[f64]) -> f64 {
    RANGES_MAX / 2.0 * range(values)
}

fn range(values: &[f64]) -> f64 {
    let known = || values.iter().copied().filter(|value| value.is_finite());
    let (low, high) =
        (known().fold(f64::INFINITY, f64::min), known().fold(f64::NEG_INFINITY, f64::max));
    (high - low).max(0.0)
}

#[cfg(test)]
#[path = "prediction_interval_tests.rs"]
mod tests;
