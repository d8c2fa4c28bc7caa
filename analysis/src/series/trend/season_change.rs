//! Whether the season of a series changed: its amplitude, or its shape.
//!
//! ```text
//!   x(s, phase) = level(s) + profile(phase) + e(s, phase)       by medians, e drawn to within 3 robust standard deviations
//!   a(s)  = ⟨profile, e(s)⟩ / ⟨profile, profile⟩                how much larger season s is than the usual one: amplitude
//!   e'(s) = e(s) − a(s)·profile                                 what that does not explain: shape
//! ```
//!
//! Level and trend do not matter: each season has its own level. Either series, of a number or of a vector for each season, is
//! split where the means before and after differ most, by |Σ_{s < split} v(s)|²·m / (split·(m − split)) for m seasons less their mean
//! (a cumulative sum, as of E. S. Page, 1955). How often such a maximum comes up by chance is counted over random orders of whole
//! seasons, so p is of the best split, not of one that was known. Both tests together count double (Bonferroni).
//!
//! Costs [`ORDERS`] times the length of the series at most; where nothing changed far less, as counting ends with
//! [`EXCEEDED_MAX`] larger maxima (J. Besag & P. Clifford, "Sequential Monte Carlo p-values", 1991).

use std::ops::Range;

use crate::Noise;
use crate::series::spread::{median, spread};

/// Seasons on either side of a split at least.
pub const SEASONS_MIN: usize = 4;
/// Splits that are compared at most; more seasons are split at every second one, every third…
pub const SPLITS_MAX: usize = 100;
/// Random orders at most: p is at least 1/(`ORDERS` + 1) for each test.
pub const ORDERS: usize = 999;
/// As many larger maxima are enough to know p.
pub const EXCEEDED_MAX: usize = 20;
/// Part of a season's values that must be there.
const PRESENT_PART_MIN: f64 = 0.5;
/// Robust standard deviations that a value may be away from its season's level and profile.
const REACH: f64 = 3.0;
/// Fits of levels and profile.
const ROUNDS: usize = 3;

/// How the season changed, if it did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SeasonChange {
    /// Position where the season begins from which on it is another.
    pub at: usize,
    /// Amplitude before: √2 times the root mean square, which is that of a sine.
    pub amplitude_before: f64,
    /// Amplitude from `at` on.
    pub amplitude_after: f64,
    /// Probability of such a change of the amplitude in a season that does not change.
    pub amplitude_p: f64,
    /// That of such a change of the shape.
    pub shape_p: f64,
    /// That of either.
    pub p: f64,
}

/// The likeliest change of a season of that many values; `None` with fewer than two times [`SEASONS_MIN`] seasons. The last season
/// ends with the series.
pub fn season_change(series: &[f64], season: usize, seed: u64) -> Option<SeasonChange> {
    if season < 2 || series.len() / season < 2 * SEASONS_MIN {
        return None;
    }
    let seasons = Seasons::of(series, season)?;
    let scale: f64 = seasons.profile.iter().map(|value| value * value).sum();
    let (mut amplitudes, mut shapes) = (Vec::new(), Vec::with_capacity(seasons.rest.len()));
    for rest in seasons.rest.chunks_exact(season) {
        let along: f64 = seasons.profile.iter().zip(rest).map(|(p, e)| p * e).sum();
        let amplitude = if scale > 0.0 { along / scale } else { 0.0 };
        amplitudes.push(amplitude);
        shapes.extend(seasons.profile.iter().zip(rest).map(|(p, e)| e - amplitude * p));
    }
    let amplitude = best_split(amplitudes, 1, seed);
    let shape = best_split(shapes, season, seed.wrapping_add(1));
    let split = if amplitude.p <= shape.p { amplitude.at } else { shape.at };
    Some(SeasonChange {
        at: seasons.starts[split],
        amplitude_before: seasons.amplitude(0..split),
        amplitude_after: seasons.amplitude(split..seasons.starts.len()),
        amplitude_p: amplitude.p,
        shape_p: shape.p,
        p: (2.0 * amplitude.p.min(shape.p)).min(1.0),
    })
}

/// A series in seasons.
struct Seasons {
    /// Where each of those that are complete enough begins.
    starts: Vec<usize>,
    profile: Vec<f64>,
    /// Season after season, what levels and profile leave; 0 where a value is missing.
    rest: Vec<f64>,
}

impl Seasons {
    fn of(series: &[f64], season: usize) -> Option<Self> {
        let offset = series.len() % season;
        let is_complete = |row: &[f64]| {
            let there = row.iter().filter(|value| value.is_finite()).count();
            there as f64 >= PRESENT_PART_MIN * season as f64
        };
        let (mut starts, mut rest) = (Vec::new(), Vec::new());
        for (index, row) in series[offset..].chunks_exact(season).enumerate() {
            if is_complete(row) {
                starts.push(offset + index * season);
                rest.extend(row.iter().map(|v| if v.is_finite() { *v } else { f64::NAN }));
            }
        }
        if starts.len() < 2 * SEASONS_MIN {
            return None;
        }
        let mut profile = vec![0.0; season];
        let mut scratch = Vec::with_capacity(starts.len().max(season));
        let mut usual = |values: &mut dyn Iterator<Item = f64>| {
            scratch.clear();
            scratch.extend(values.filter(|value| value.is_finite()));
            median(&mut scratch).unwrap_or(0.0)
        };
        // Median polish (J. W. Tukey, "Exploratory Data Analysis", 1977).
        for _ in 0..ROUNDS {
            for row in rest.chunks_exact_mut(season) {
                let level = usual(&mut row.iter().copied());
                row.iter_mut().for_each(|value| *value -= level);
            }
            for phase in 0..season {
                let effect = usual(&mut rest[phase..].iter().step_by(season).copied());
                rest[phase..].iter_mut().step_by(season).for_each(|value| *value -= effect);
                profile[phase] += effect;
            }
        }
        let there: Vec<f64> = rest.iter().copied().filter(|value| value.is_finite()).collect();
        let spread = spread(&there);
        let reach = REACH * spread.or_of_mean();
        for value in &mut rest {
            *value = if value.is_finite() { value.max(-reach).min(reach) } else { 0.0 };
        }
        let level = profile.iter().map(|value| value / season as f64).sum::<f64>();
        profile.iter_mut().for_each(|value| *value -= level);
        Some(Self { starts, profile, rest })
    }

    /// The amplitude of some seasons together, less what noise adds to it.
    fn amplitude(&self, seasons: Range<usize>) -> f64 {
        let (width, count) = (self.profile.len(), seasons.len() as f64);
        let rest = &self.rest[seasons.start * width..seasons.end * width];
        let (mut square, mut noise) = (0.0, 0.0);
        for (phase, usual) in self.profile.iter().enumerate() {
            let own = || rest[phase..].iter().step_by(width);
            let mean = own().map(|value| value / count).sum::<f64>();
            square += (usual + mean).powi(2);
            noise += own().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0) / count;
        }
        (2.0 * (square - noise).max(0.0) / width as f64).sqrt()
    }
}

/// The best of all splits.
struct Split {
    /// The first season after it.
    at: usize,
    p: f64,
}

/// Where the means of the vectors before and after differ most, and how often chance does as much.
fn best_split(mut vectors: Vec<f64>, width: usize, seed: u64) -> Split {
    let seasons = vectors.len() / width;
    for phase in 0..width {
        let mean = vectors[phase..].iter().step_by(width).map(|v| v / seasons as f64).sum::<f64>();
        vectors[phase..].iter_mut().step_by(width).for_each(|value| *value -= mean);
    }
    let mut order: Vec<usize> = (0..seasons).collect();
    let mut sum = vec![0.0; width];
    let (at, best) = largest(&vectors, &order, &mut sum);
    if best <= 0.0 || !best.is_finite() {
        return Split { at, p: 1.0 };
    }
    let mut noise = Noise::new(seed);
    let mut exceeded = 0;
    for orders in 1..=ORDERS {
        noise.shuffle(&mut order);
        // The same order anew is no less than itself, whatever the rounding.
        if largest(&vectors, &order, &mut sum).1 >= best * (1.0 - 1e-9) {
            exceeded += 1;
            if exceeded == EXCEEDED_MAX {
                return Split { at, p: exceeded as f64 / orders as f64 };
            }
        }
    }
    Split { at, p: (exceeded + 1) as f64 / (ORDERS + 1) as f64 }
}

/// The best split of the vectors in that order, and how far it sets them apart.
fn largest(vectors: &[f64], order: &[usize], sum: &mut [f64]) -> (usize, f64) {
    let (seasons, width) = (order.len(), sum.len());
    let step = (seasons - 2 * SEASONS_MIN) / SPLITS_MAX + 1;
    sum.fill(0.0);
    let mut best = (SEASONS_MIN, 0.0);
    for (index, season) in order[..seasons - SEASONS_MIN].iter().enumerate() {
        let vector = &vectors[season * width..(season + 1) * width];
        sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
        let at = index + 1;
        if at >= SEASONS_MIN && (at - SEASONS_MIN).is_multiple_of(step) {
            let square: f64 = sum.iter().map(|value| value * value).sum();
            let apart = square * seasons as f64 / (at as f64 * (seasons - at) as f64);
            if apart > best.1 {
                best = (at, apart);
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::f64::consts::TAU;

    use super::super::samples::{Tails, noise, odd_series, without};
    use super::*;

    fn wave(n: usize, season: usize, amplitude: impl Fn(usize) -> f64, seed: u64) -> Vec<f64> {
        let mut series = noise(n, 0.0, Tails::Normal, seed);
        let phase = |t: usize| TAU * t as f64 / season as f64;
        series.iter_mut().enumerate().for_each(|(t, v)| *v += amplitude(t) * phase(t).sin());
        series
    }

    #[test]
    fn an_amplitude_that_doubles_is_found_beside_a_trend_and_levels() {
        let mut series = wave(603, 12, |t| if t < 303 { 2.0 } else { 4.0 }, 1);
        series
            .iter_mut()
            .enumerate()
            .for_each(|(t, v)| *v += 0.05 * t as f64 + (t / 240) as f64 * 30.0);
        let found = season_change(&series, 12, 1).unwrap();
        assert!(found.at.abs_diff(303) <= 24 && (found.at - 3).is_multiple_of(12), "{found:?}");
        assert!((found.amplitude_before - 2.0).abs() < 0.25, "{found:?}");
        assert!((found.amplitude_after - 4.0).abs() < 0.25, "{found:?}");
        assert_eq!((found.amplitude_p, found.p), (0.001, 0.002));
        // The shape is the same.
        assert!(found.shape_p > 0.1, "{found:?}");
        let missing: Vec<usize> = (0..603).filter(|t| t % 5 == 0 || (60..84).contains(t)).collect();
        let again = season_change(&without(&series, &missing), 12, 1).unwrap();
        assert!(again.at.abs_diff(303) <= 24 && again.p == 0.002, "{again:?}");
    }

    #[test]
    fn a_shape_that_turns_is_found_though_its_amplitude_stays() {
        let series = wave(600, 12, |t| if t < 300 { 2.0 } else { -2.0 }, 2);
        let found = season_change(&series, 12, 1).unwrap();
        assert!(
            found.at.abs_diff(300) <= 12 && found.shape_p.min(found.amplitude_p) == 0.001,
            "{found:?}"
        );
        assert!((found.amplitude_before / found.amplitude_after - 1.0).abs() < 0.1, "{found:?}");
    }

    #[test]
    fn the_amplitude_is_that_of_a_sine_without_what_noise_adds() {
        let found = season_change(&wave(1_200, 12, |_| 3.0, 3), 12, 1).unwrap();
        assert!((found.amplitude_before - 3.0).abs() < 0.3, "{found:?}");
        assert!((found.amplitude_after - 3.0).abs() < 0.3, "{found:?}");
        assert!(found.p > 0.05, "{found:?}");
        // 50 seasons of noise alone would look like √(2/50) = 0.2 each.
        let mut sum = 0.0;
        for seed in 0..20 {
            let seasons = Seasons::of(&noise(600, 0.0, Tails::Normal, 40 + seed), 12).unwrap();
            sum += seasons.amplitude(0..25).powi(2) / 20.0;
        }
        assert!(sum < 0.06, "{sum}");
    }

    #[test]
    fn the_best_split_is_the_one_of_the_definition() {
        // Less their mean of 1.5: −1.5 six times, then 1.5. At 6: 9²·12/36 = 27.
        let vectors: Vec<f64> = (0..12).map(|s| if s < 6 { -1.5 } else { 1.5 }).collect();
        let order: Vec<usize> = (0..12).collect();
        assert_eq!(largest(&vectors, &order, &mut [0.0]), (6, 27.0));
        // Splits keep four seasons on either side: at 8 the sum is −6, 36·12/32.
        let vectors: Vec<f64> = (0..12).map(|s| if s < 10 { -0.75 } else { 3.75 }).collect();
        assert_eq!(largest(&vectors, &order, &mut [0.0]), (8, 13.5));
        let vectors: Vec<f64> = (0..12).map(|s| if s < 2 { 3.75 } else { -0.75 }).collect();
        assert_eq!(largest(&vectors, &order, &mut [0.0]).0, 4);
        // Of 107 seasons each split is compared, of 108 every second one: from 4 on the even ones.
        for (seasons, expected) in [(107, 55), (108, 54)] {
            let vectors: Vec<f64> = (0..seasons)
                .map(|s| if s < 55 { 55.0 / seasons as f64 - 1.0 } else { 55.0 / seasons as f64 })
                .collect();
            let order: Vec<usize> = (0..seasons).collect();
            let at = largest(&vectors, &order, &mut [0.0]).0;
            assert!(at == expected || (seasons == 108 && at == 56), "{seasons}: {at}");
        }
    }

    #[test]
    fn p_counts_orders_that_do_as_much() {
        // Of the 70 ways to choose 4 of 8 two do as much as the given order.
        let split = best_split(vec![0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0], 1, 7);
        assert!(split.at == 4 && (split.p - 2.0 / 70.0).abs() < 0.015, "{}", split.p);
        // With 20 orders that do as much the error is a fifth of p.
        let error = |seed| {
            let split = best_split(vec![0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0], 1, seed);
            (split.p * 35.0 - 1.0).powi(2) / 40.0
        };
        let square: f64 = (0..40).map(error).sum();
        assert!((0.02..0.1).contains(&square), "{square}");
        let even = best_split(vec![1.0; 20], 1, 7);
        assert_eq!(even.p, 1.0);
        let mut rising: Vec<f64> = (0..40).map(f64::from).collect();
        assert_eq!(best_split(rising.clone(), 1, 7).p, 0.001);
        rising[0] += 0.5;
        assert_eq!(best_split(rising, 1, 8).p, 0.001);
    }

    #[test]
    fn too_few_seasons_say_nothing() {
        let series = wave(96, 12, |_| 3.0, 3);
        assert!(season_change(&series, 12, 1).is_some());
        assert_eq!(season_change(&series[1..], 12, 1), None);
        // A season that is half there counts, one with less does not.
        assert!(season_change(&without(&series, &[0, 1, 2, 3, 4, 5]), 12, 1).is_some());
        assert_eq!(season_change(&without(&series, &[0, 1, 2, 3, 4, 5, 6]), 12, 1), None);
        assert_eq!((season_change(&series, 1, 1), season_change(&series, 0, 1)), (None, None));
        assert!(season_change(&series, 2, 1).is_some());
        for series in odd_series() {
            for season in 0..6 {
                let found = season_change(&series, season, 1);
                assert!(found.is_none_or(|found| (0.0..=1.0).contains(&found.p)), "{series:?}");
            }
        }
    }
}
