//! Whether a season repeats itself more than noise does. Of a season that does, the same phases of two seasons have a product above
//! zero; of noise, as many have one below, however its neighbours repeat each other. So the sum over the seasons is held against
//! the same sum with random signs: whole days that are turned over, which leaves all within a day as it is (R. A. Fisher, "The
//! Design of Experiments", 1935, § 21).
//!
//! ```text
//!   T = Σ_phase (Σ_seasons sign · x(season, phase))²        all signs +1 for the season; p: how often random ones give more
//! ```

use std::ops::Range;

use super::spread::{MAD_TO_SIGMA, MEAN_SIGMA_PART, median};
use crate::noise::nth;

/// Random signs are tried so often, and may give more so often: p is at most 0.01.
const TRIES: u64 = 199;
const EXCEEDED_MAX: u64 = 1;
/// Neighbouring parts of a row are alike where a series wanders, and are turned over apart: there p is at most 0.005.
const EXCEEDED_OF_PARTS_MAX: u64 = 0;
/// Robust standard deviations that a value counts for at most.
const REACH: f64 = 3.0;
/// Fewer seasons than this have too few ways to be turned over; each must show most of it.
const SEASONS_MANY: usize = 8;
/// Part of the variance that so few must explain.
const EXPLAINED_OF_FEW_MIN: f64 = 0.3;

/// Part of the variance that a season explains at least: one with half the noise's standard deviation explains 0.11.
pub(super) const EXPLAINED_MIN: f64 = 0.05;

/// A sum of products with random signs is larger than this many roots of the sum of their squares with a chance of 0.01.
const PRODUCTS_MIN: f64 = 2.326;

/// Whether a season of that many values, which was found in a series, repeats itself beside steps and a trend, each the one before: it
/// may become another one. A step has power at low frequencies, and so looks like a season of some days. Values are one interval
/// apart; one that is not finite is missing. O(n).
pub fn season_holds(series: &[f64], season: usize) -> bool {
    if season < 2 || series.len() < 2 * season {
        return false;
    }
    let offset = series.len() % season;
    let rows = &series[offset..];
    let seasons: Vec<(Range<usize>, i64)> = (0..rows.len() / season)
        .map(|number| (number * season..(number + 1) * season, number as i64))
        .collect();
    let middle = |at: usize| (at % season) as f64 / season as f64 - 0.5;
    let mut values = within(rows, &seasons, middle);
    draw_in(&mut values);
    let rows: Vec<&[f64]> = values.chunks_exact(season).collect();
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let products: Vec<f64> = rows.windows(2).map(|pair| product(pair[0], pair[1])).collect();
    let own = rows.iter().map(|row| product(row, row)).sum::<f64>() / rows.len() as f64;
    let (sum, root) = (products.iter().sum::<f64>(), square(&products).sqrt());
    let explained = sum / products.len() as f64 / own;
    let few = rows.len() < SEASONS_MANY;
    explained >= if few { EXPLAINED_OF_FEW_MIN } else { EXPLAINED_MIN }
        && (few || sum >= PRODUCTS_MIN * root)
}

/// The values less the level of their season, which goes along with a trend: with the one of all seasons, and, where the levels before
/// and after go on in one direction, with the smaller of both slopes. A trend is no season, and a step is no trend. `middle` is how
/// far a sample is from the middle of its season, in seasons.
pub(super) fn within(
    values: &[f64],
    seasons: &[(Range<usize>, i64)],
    middle: impl Fn(usize) -> f64,
) -> Vec<f64> {
    let level = |(range, _): &(Range<usize>, i64)| {
        let there = values[range.clone()].iter().copied().filter(|value| value.is_finite());
        median(&mut there.collect::<Vec<_>>()).unwrap_or(0.0)
    };
    let levels: Vec<f64> = seasons.iter().map(level).collect();
    let rise = |from: usize, to: usize| {
        (levels[to] - levels[from]) / (seasons[to].1 - seasons[from].1) as f64
    };
    // Over a quarter of all seasons: of these few go over a step.
    let apart = (levels.len() / 4).max(1);
    let mut rises: Vec<f64> =
        (apart..levels.len()).map(|season| rise(season - apart, season)).collect();
    let common = median(&mut rises).unwrap_or(0.0);
    let beside = |from: usize, to: usize| {
        let is_next = to < levels.len() && seasons[to].1 == seasons[from].1 + 1;
        is_next.then(|| rise(from, to) - common)
    };
    let mut within = Vec::with_capacity(values.len());
    for (season, (range, _)) in seasons.iter().enumerate() {
        let before = season.checked_sub(1).and_then(|before| beside(before, season));
        let own = match (before, beside(season, season + 1)) {
            (Some(a), Some(b)) if a * b > 0.0 => a.signum() * a.abs().min(b.abs()),
            _ => 0.0,
        };
        let line = |at: usize| levels[season] + (common + own) * middle(at);
        within.extend(range.clone().map(|at| values[at] - line(at)));
    }
    within
}

/// Whether rows of `phases` values repeat each other, and explain this part of their variance by it. A missing value is NaN. Each row
/// has `parts` parts that are turned over by themselves: days of a week.
pub(super) fn repeats(rows: &[f64], phases: usize, parts: usize, explained_min: f64) -> bool {
    let seasons = rows.len() / phases.max(1);
    if seasons < 2 || phases < parts {
        return false;
    }
    let mut values = rows.to_vec();
    draw_in(&mut values);
    let (mut sum, mut own) = (vec![0.0; phases], vec![0.0; phases]);
    for row in values.chunks_exact(phases) {
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        own.iter_mut().zip(row).for_each(|(own, value)| *own += value * value);
    }
    let (total, squares) = (square(&sum), own.iter().sum::<f64>());
    // The mean product of two seasons, as a part of the mean square of one.
    let explained = (total - squares) / (squares * (seasons as f64 - 1.0));
    let few = seasons * parts < SEASONS_MANY;
    let least = if few { explained_min.max(EXPLAINED_OF_FEW_MIN) } else { explained_min };
    if explained.is_nan() || explained < least {
        return false;
    }
    let width = phases.div_ceil(parts);
    let most = if parts > 1 { EXCEEDED_OF_PARTS_MAX } else { EXCEEDED_MAX };
    let (mut exceeded, mut signs) = (0, 0);
    for number in 0..if few { 0 } else { TRIES } {
        let mut bits = number * (seasons * parts) as u64;
        let mut left = 0;
        sum.fill(0.0);
        for row in values.chunks_exact(phases) {
            for (part, sums) in row.chunks(width).zip(sum.chunks_mut(width)) {
                if left == 0 {
                    (signs, left, bits) = (nth(bits), 64, bits + 1);
                }
                let sign = if signs & 1 == 0 { 1.0 } else { -1.0 };
                (signs, left) = (signs >> 1, left - 1);
                sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += sign * value);
            }
        }
        // All turned over is the season itself, whatever the rounding.
        exceeded += u64::from(square(&sum) > total * (1.0 + 1e-9));
        if exceeded > most {
            return false;
        }
    }
    true
}

/// Draws values in to [`REACH`] robust standard deviations from zero; a missing one becomes zero.
fn draw_in(values: &mut [f64]) {
    let mut sizes: Vec<f64> = values.iter().filter(|v| v.is_finite()).map(|v| v.abs()).collect();
    let mean = sizes.iter().map(|size| size / sizes.len() as f64).sum::<f64>();
    let usual = median(&mut sizes).unwrap_or(0.0) * MAD_TO_SIGMA;
    let reach = REACH * if usual > 0.0 { usual } else { MEAN_SIGMA_PART * mean };
    for value in values {
        *value = if value.is_finite() { value.max(-reach).min(reach) } else { 0.0 };
    }
}

fn square(sum: &[f64]) -> f64 {
    sum.iter().map(|value| value * value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Noise;

    /// So many rows of four, white noise and a profile of −part, part, −part, part.
    fn rows(seasons: usize, part: f64, seed: u64) -> Vec<f64> {
        let mut noise = Noise::new(seed);
        let profile = |at: usize| if at.is_multiple_of(2) { -part } else { part };
        (0..4 * seasons).map(|at| noise.normal() + profile(at)).collect()
    }

    fn found(seasons: usize, part: f64) -> usize {
        (0..200).filter(|seed| repeats(&rows(seasons, part, *seed), 4, 1, 0.05)).count()
    }

    #[test]
    fn noise_repeats_itself_in_one_of_a_hundred_and_a_profile_always() {
        // Of 200: 2 are expected of noise.
        assert_eq!([0.0, 0.5, 1.0].map(|part| found(30, part)), [3, 192, 200]);
        assert_eq!([0.0, 0.5, 1.0].map(|part| found(8, part)), [3, 57, 180]);
    }

    #[test]
    fn few_seasons_must_show_most_of_it() {
        assert_eq!([0.0, 1.0, 3.0].map(|part| found(7, part)), [5, 178, 200]);
        // Two rows that have a half of their squares in common, and none.
        let of = |second: f64| repeats(&[1.0, 1.0, 1.0, 1.0, 1.0, second, -1.0, 1.0], 4, 1, 0.05);
        assert!(of(1.0) && !of(-1.0));
    }

    #[test]
    fn what_explains_less_than_it_must_does_not_count() {
        let rows = rows(400, 0.3, 1);
        // The profile has 0.09 of 1.09.
        assert!(repeats(&rows, 4, 1, 0.06) && !repeats(&rows, 4, 1, 0.11));
    }

    #[test]
    fn one_wild_row_and_missing_values_make_no_season() {
        let mut rows = rows(30, 0.0, 3);
        rows[40..44].copy_from_slice(&[1e9, -1e9, 1e9, -1e9]);
        rows[44..60].fill(f64::NAN);
        assert!(!repeats(&rows, 4, 1, 0.05));
        assert!(!repeats(&[f64::NAN; 40], 4, 1, 0.05) && !repeats(&[0.0; 40], 4, 1, 0.05));
        assert!(!repeats(&[], 4, 1, 0.05) && !repeats(&[1.0; 4], 4, 1, 0.05));
        assert!(!repeats(&[1.0; 40], 0, 1, 0.05) && !repeats(&[1.0; 40], 4, 7, 0.05));
    }

    #[test]
    fn parts_that_are_alike_within_a_row_only_are_no_season() {
        // Seven days that go along with each other, another way in each week.
        let weeks = |same: bool| -> Vec<f64> {
            let mut noise = Noise::new(9);
            let of_week = |week: usize| if same || week.is_multiple_of(2) { 1.0 } else { -1.0 };
            (0..8 * 7).map(|day| of_week(day / 7) * (day % 7) as f64 + noise.normal()).collect()
        };
        assert!(repeats(&weeks(true), 7, 7, 0.05) && !repeats(&weeks(false), 7, 7, 0.05));
    }

    #[test]
    fn a_step_or_a_trend_is_no_season_of_days_and_a_season_beside_them_is_one() {
        let of = |step: f64, slope: f64, wave: f64, season: usize| {
            let holds = |seed: &u64| {
                let mut noise = Noise::new(*seed);
                let value = |at: usize| {
                    let step = if at < 600 { 0.0 } else { step };
                    let phase = std::f64::consts::TAU * at as f64 / 126.0;
                    noise.normal() + step + slope * at as f64 + wave * phase.sin()
                };
                season_holds(&(0..2_000).map(value).collect::<Vec<_>>(), season)
            };
            (0..100).filter(holds).count()
        };
        assert_eq!(
            [(12.0, 0.0), (0.0, 0.1)].map(|(step, slope)| of(step, slope, 0.0, 126)),
            [1, 0]
        );
        assert_eq!(of(12.0, 0.1, 1.0, 126), 100);
        // Of three seasons, as few as there may be.
        assert_eq!([0.0, 1.0, 3.0].map(|wave| of(0.0, 0.0, wave, 630)), [0, 85, 100]);
        // One that is turned over half-way still is one.
        let wave = |at: usize| {
            let phase = std::f64::consts::TAU * at as f64 / 24.0;
            if at < 360 { phase.sin() } else { -phase.sin() }
        };
        assert!(season_holds(&(0..720).map(wave).collect::<Vec<_>>(), 24));
        assert!(!season_holds(&[1.0; 40], 1) && !season_holds(&[1.0; 40], 21));
        assert!(!season_holds(&[f64::NAN; 40], 4) && !season_holds(&[], 4));
    }
}
