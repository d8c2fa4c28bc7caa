//! Where the level of a series changed.
//!
//! 1. Values more than three robust standard deviations from the median of their surroundings are drawn in to that, and those
//!    farther away closer to the median, up to the median itself at twice that distance (a redescending ψ, F. R. Hampel, 1974): so
//!    a stretch shorter than the least segment makes no change points. A median of 2·length_min − 1 values goes along with a
//!    level that lasts length_min values.
//! 2. The series is cut into segments of one level by [`segmentation`](super::segmentation), which is exact for that series. Each
//!    change costs [`PENALTY`]·ln n times the long-run variance σ²·(1+ρ)/(1−ρ) of the [`noise`](super::noise): neighbours
//!    that repeat each other wander, and a mean of n of them varies by that much more (M. Lavielle & É. Moulines, "Least-squares
//!    estimation of an unknown number of shifts in a time series", 2000; G. Romano, G. Rigaill, V. Runge & P. Fearnhead,
//!    "Detecting abrupt changes in the presence of local fluctuations and autocorrelated noise", 2022; X. Shi, C. Gallagher, R.
//!    Lund & R. Killick, "A comparison of single and multiple changepoint techniques for time series data", 2022).
//! 3. The noise is estimated anew from what the levels leave, and the series cut again, until nothing changes.
//! 4. A slope would become a staircase. So, unless there is neither slope nor change, the same is done for what a line leaves, its
//!    slope by least squares within the segments; levels on a line are taken where the slope saves more than a change costs.
//! 5. Each change is placed by the likelihood of an autoregression of order 1 with the two levels. The range of its place is that
//!    of D. Siegmund, "Confidence sets in change-point problems" (1988).
//!
//! 6. Where the series had a season that was taken out, one that changes leaves waves, whose halves are levels. With the season put
//!    back, whole seasons have none: so both levels are means of two whole seasons at least, which must differ by what a change
//!    costs, and so must most of them (one may lie across the change of the season). Of changes that do not hold, the smallest is
//!    dropped first, as those near a true one keep it from having whole seasons on either side.
//!
//! O(n·length_min + n·pieces) for each of at most 28 segmentations; two of noise alone, about ten otherwise.

use super::Present;
use super::noise::{Ar1, of_differences, of_residuals};
use super::outliers::drawn_in;
use super::place::place;
use super::segmentation::segment;
use super::whole_seasons::WholeSeasons;
use crate::series::spread::median;
use crate::significance::{of_best, two_sided};

/// A change must lower the sum of squares by this times ln n times the long-run variance.
pub const PENALTY: f64 = 2.5;
/// ρ from differences counts as that part of it. Too many changes at first are dropped when the noise is estimated from what they
/// leave; where there are too few, the steps that they leave out are taken for noise, and stay.
const RHO_PART: f64 = 0.9;
/// σ is at least that part of what differences say, where levels leave next to nothing.
const SIGMA_PART: f64 = 0.5;
/// Estimates of the slope, given the changes, at most.
const SLOPE_ROUNDS: usize = 2;
/// Estimates of the noise, for each slope.
const ROUNDS_MAX: usize = 4;
/// The longest least segment.
pub const LENGTH_MAX: usize = 100;

/// How to look for changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Values that a level lasts at least, 2 to [`LENGTH_MAX`]. Shorter stretches are outliers.
    pub length_min: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { length_min: 5 }
    }
}

/// A change of the level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChangePoint {
    /// Position of the first value at the new level.
    pub at: usize,
    /// First position that it may be, with 95 % confidence.
    pub low: usize,
    /// Last position that it may be.
    pub high: usize,
    /// Level before it, outliers drawn in; that at `at` where there is a slope.
    pub before: f64,
    /// Level from it on.
    pub after: f64,
    /// `after − before` in standard deviations of the noise.
    pub difference: f64,
    /// Probability of such a difference at the best of all places where there is none: two means with the long-run variance.
    pub p: f64,
}

/// All changes of a series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChangePoints {
    /// In order.
    pub found: Vec<ChangePoint>,
    /// Change per interval that all levels have in common; 0 where levels alone say as much.
    pub slope: f64,
    /// What is left beside levels and slope.
    pub noise: Ar1,
}

/// A season that was taken out of a series.
#[derive(Clone, Copy, Debug)]
pub struct Removed<'a> {
    /// Its intervals.
    pub season: usize,
    /// What it added to each value.
    pub part: &'a [f64],
}

/// Finds the changes of a series.
pub fn change_points(series: &[f64], options: Options) -> ChangePoints {
    changes(series, None, options)
}

/// Finds the changes of a series without its season, which hold over whole seasons with it.
pub fn change_points_beside(
    series: &[f64],
    removed: Removed<'_>,
    options: Options,
) -> ChangePoints {
    changes(series, Some(removed), options)
}

fn changes(series: &[f64], removed: Option<Removed<'_>>, options: Options) -> ChangePoints {
    let mut present = Present::of(series);
    let (n, length_min) = (present.len(), options.length_min.clamp(2, LENGTH_MAX));
    if n < 2 * length_min {
        return ChangePoints { noise: of_differences(&present), ..ChangePoints::default() };
    }
    let (drawn_in, local_sigma) = drawn_in(&present.values, length_min);
    let mut first = of_differences(&Present { at: present.at.clone(), values: drawn_in.clone() });
    // Where most values are equal, few differences are left.
    first.sigma = first.sigma.max(local_sigma);
    if first.sigma <= 0.0 || !first.sigma.is_finite() {
        return ChangePoints { noise: first, ..ChangePoints::default() };
    }
    // From here on the unit is that noise, around the median.
    let unit = first.sigma;
    let centre = median(&mut present.values.clone()).unwrap_or(0.0);
    let in_units = |value: &f64| (value - centre) / unit;
    let values: Vec<f64> = drawn_in.iter().map(in_units).collect();
    present.values = present.values.iter().map(in_units).collect();
    let start = Ar1 { sigma: 1.0, rho: first.rho * RHO_PART };
    let search = Search { at: &present.at, length_min, start };
    let mut fit = search.levels_or_line(&values);
    let whole = removed.map(|removed| {
        let part = |at: &usize| removed.part.get(*at).unwrap_or(&0.0) / unit;
        let with = |(value, at): (&f64, &usize)| value + part(at);
        let slope = fit.slope;
        let raw = present
            .values
            .iter()
            .zip(&present.at)
            .map(|(value, at)| value - slope * (*at as f64 - search.middle()) + part(at));
        WholeSeasons {
            at: present.at.clone(),
            drawn_in: fit.values.iter().zip(&present.at).map(with).collect(),
            raw: raw.collect(),
            season: removed.season.max(1),
        }
    });
    if let Some(whole) = &whole {
        whole.keep_those_that_hold(&mut fit, SIGMA_PART);
    }
    let middle = search.middle();
    let line = |at: usize| fit.slope * (at as f64 - middle);
    present.values.iter_mut().zip(&present.at).for_each(|(value, at)| *value -= line(*at));
    let mut found = measured(&present, &fit);
    if let Some(whole) = &whole {
        whole.measure(&fit, &mut found);
    }
    for change in &mut found {
        change.before = centre + unit * (change.before + line(change.at));
        change.after = centre + unit * (change.after + line(change.at));
    }
    let noise = Ar1 { sigma: fit.noise.sigma * unit, rho: fit.noise.rho };
    ChangePoints { found, slope: fit.slope * unit, noise }
}

/// Levels that were fitted to values, or to what a line leaves of them.
pub(super) struct Fit {
    /// Change per interval that all levels have in common.
    slope: f64,
    /// The values less the line.
    pub values: Vec<f64>,
    pub cuts: Vec<usize>,
    pub noise: Ar1,
    /// Sum of squares that is left.
    squares: f64,
}

/// How levels are looked for.
struct Search<'a> {
    at: &'a [usize],
    length_min: usize,
    /// The noise to begin with.
    start: Ar1,
}

impl Search<'_> {
    /// Levels, or levels on a line where that costs less: a slope is one more thing to fit, as a change is.
    fn levels_or_line(&self, values: &[f64]) -> Fit {
        let levels = self.fit(values, 0.0);
        let (overall, saved) = self.common_slope(values, &[]);
        if levels.cuts.is_empty() && saved < penalty(values.len(), levels.noise.long_run_variance())
        {
            return levels;
        }
        let slopes = [overall, self.local_slope(values)];
        let on_lines = slopes.map(|slope| {
            let mut fit = self.fit(values, slope);
            for _ in 0..SLOPE_ROUNDS {
                let before = std::mem::take(&mut fit.cuts);
                fit = self.fit(values, fit.slope + self.common_slope(&fit.values, &before).0);
                if fit.cuts == before {
                    break;
                }
            }
            fit
        });
        let variance = |fit: &Fit| fit.noise.long_run_variance();
        let least = on_lines.iter().map(variance).fold(variance(&levels), f64::min);
        let penalty = penalty(values.len(), least);
        let cost = |fit: &Fit| {
            let fitted = fit.cuts.len() + usize::from(fit.slope != 0.0);
            fit.squares + penalty * fitted as f64
        };
        let cheaper = |best: Fit, fit: Fit| if cost(&fit) < cost(&best) { fit } else { best };
        on_lines.into_iter().fold(levels, cheaper)
    }

    /// Fits levels to what a line leaves, until the noise does not change them any more.
    fn fit(&self, values: &[f64], slope: f64) -> Fit {
        let middle = self.middle();
        let less_line = |(value, at): (&f64, &usize)| value - slope * (*at as f64 - middle);
        let values: Vec<f64> = values.iter().zip(self.at).map(less_line).collect();
        let (mut noise, mut cuts, mut squares) = (self.start, Vec::new(), 0.0);
        for round in 0..ROUNDS_MAX {
            let penalty = penalty(values.len(), noise.long_run_variance());
            let found = segment(&values, penalty, self.length_min).cuts;
            if round > 0 && found == cuts {
                break;
            }
            cuts = found;
            let left: Vec<f64> = values
                .iter()
                .zip(levels(&values, &cuts))
                .map(|(value, level)| value - level)
                .collect();
            squares = left.iter().map(|value| value * value).sum();
            noise = of_residuals(self.at, &left, cuts.len() + 1);
            noise.sigma = noise.sigma.max(SIGMA_PART * self.start.sigma);
        }
        Fit { slope, values, cuts, noise, squares }
    }

    fn middle(&self) -> f64 {
        self.at.last().map_or(0.0, |last| *last as f64 / 2.0)
    }

    /// The median of slopes over a tenth of the series, few of which go over a change.
    fn local_slope(&self, values: &[f64]) -> f64 {
        let apart = (values.len() / 10).max(1);
        let mut slopes: Vec<f64> = (apart..values.len())
            .map(|to| {
                let from = to - apart;
                (values[to] - values[from]) / (self.at[to] - self.at[from]) as f64
            })
            .collect();
        median(&mut slopes).unwrap_or(0.0)
    }

    /// The slope, by least squares, that segments have in common, and how much of the sum of squares it takes away.
    fn common_slope(&self, values: &[f64], cuts: &[usize]) -> (f64, f64) {
        let times: Vec<f64> = self.at.iter().map(|at| *at as f64).collect();
        let (levels, middles) = (levels(values, cuts), levels(&times, cuts));
        let (mut product, mut square) = (0.0, 0.0);
        for index in 0..times.len() {
            let time = times[index] - middles[index];
            product += time * (values[index] - levels[index]);
            square += time * time;
        }
        if square > 0.0 { (product / square, product * product / square) } else { (0.0, 0.0) }
    }
}

/// What a change costs.
pub(super) fn penalty(values: usize, long_run_variance: f64) -> f64 {
    PENALTY * (values as f64).ln() * long_run_variance
}

/// Places the changes of a fit, and says how large and how sure they are. `present` has the values less the line, with outliers.
fn measured(present: &Present, fit: &Fit) -> Vec<ChangePoint> {
    let Fit { values, cuts, noise, .. } = fit;
    let n = values.len();
    let mut found = Vec::with_capacity(cuts.len());
    let (mut start, mut first) = (0, 0);
    for (index, cut) in cuts.iter().enumerate() {
        let end = cuts.get(index + 1).copied().unwrap_or(n);
        let (before, after) = (mean(&values[start..*cut]), mean(&values[*cut..end]));
        let place = place(present, first..end, (before, after), *noise);
        let inverse = 1.0 / (cut - start) as f64 + 1.0 / (end - cut) as f64;
        let z = (after - before) / (noise.long_run_variance() * inverse).sqrt();
        found.push(ChangePoint {
            at: present.at[place.best],
            low: present.at[place.low],
            high: present.at[place.high],
            before,
            after,
            difference: (after - before) / noise.sigma,
            p: of_best(two_sided(z), n),
        });
        (start, first) = (*cut, place.best);
    }
    found
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().map(|value| value / values.len() as f64).sum()
}

/// For each value the mean of its segment.
pub(super) fn levels(values: &[f64], cuts: &[usize]) -> Vec<f64> {
    let mut levels = Vec::with_capacity(values.len());
    let ends = cuts.iter().copied().chain([values.len()]);
    let mut start = 0;
    for end in ends {
        let part = &values[start..end];
        levels.extend(std::iter::repeat_n(mean(part), part.len()));
        start = end;
    }
    levels
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::super::samples::{Tails, noise as sample, odd_series, without};
    use super::*;

    fn places(series: &[f64]) -> Vec<usize> {
        let found = change_points(series, Options::default()).found;
        found.iter().map(|change| change.at).collect()
    }

    /// 0 and from `at` on `step`, with noise.
    fn stepped(n: usize, at: usize, step: f64, seed: u64) -> Vec<f64> {
        let mut series = sample(n, 0.0, Tails::Normal, seed);
        series[at..].iter_mut().for_each(|value| *value += step);
        series
    }

    #[test]
    fn a_step_is_found_with_its_levels_its_place_and_its_noise() {
        let series: Vec<f64> =
            stepped(400, 150, 4.0, 21).iter().map(|v| 1_000.0 + 10.0 * v).collect();
        let ChangePoints { found, slope, noise } = change_points(&series, Options::default());
        let [change] = found[..] else { panic!("{found:?}") };
        assert_eq!((change.at, slope), (150, 0.0));
        assert!(
            change.low <= 150 && change.high >= 150 && change.high - change.low <= 3,
            "{change:?}"
        );
        assert!(
            (change.before - 1_000.0).abs() < 3.0 && (change.after - 1_040.0).abs() < 3.0,
            "{change:?}"
        );
        assert!((noise.sigma - 10.0).abs() < 1.0 && noise.rho < 0.15, "{noise:?}");
        assert!((change.difference - (change.after - change.before) / noise.sigma).abs() < 1e-9);
        assert!(change.p < 1e-30);
    }

    #[test]
    fn positions_are_those_of_the_series_where_values_are_missing() {
        let series = stepped(400, 150, 4.0, 21);
        let missing: Vec<usize> =
            (0..400).filter(|t| t % 3 == 1 || (100..120).contains(t)).collect();
        // 150 is there, 148 is not.
        assert_eq!(places(&without(&series, &missing)), [150]);
        let mut missing: Vec<usize> = (140..160).collect();
        missing.extend(0..30);
        let found = change_points(&without(&series, &missing), Options::default()).found;
        assert_eq!((found.len(), found[0].at), (1, 160));
    }

    #[test]
    fn stretches_shorter_than_the_least_are_outliers() {
        for (length, expected) in [(1, &[][..]), (2, &[]), (4, &[]), (8, &[150, 158])] {
            let mut series = sample(400, 0.0, Tails::Normal, 5);
            series[150..150 + length].iter_mut().for_each(|value| *value += 50.0);
            assert_eq!(places(&series), expected, "{length}");
        }
        let mut series = stepped(400, 150, 4.0, 21);
        series[60] = 1e9;
        series[148] = -1e9;
        series[153] = -1e9;
        series[300] = f64::INFINITY;
        assert_eq!(places(&series), [150]);
    }

    #[test]
    fn exact_levels_without_noise_are_found() {
        let series: Vec<f64> = (0..100).map(|t| if t < 40 { 5.0 } else { 6.0 }).collect();
        let ChangePoints { found, .. } = change_points(&series, Options::default());
        let [change] = found[..] else { panic!("{found:?}") };
        assert_eq!((change.at, change.low, change.high), (40, 40, 40));
        assert!((change.before - 5.0).abs() < 1e-9 && (change.after - 6.0).abs() < 1e-9);
        assert_eq!(places(&[5.0; 100]), [0; 0]);
        let mut spike = [5.0; 100];
        spike[50] = 6.0;
        assert_eq!(places(&spike), [0; 0]);
        // A wild value makes the other one look near.
        spike[20] = 1_000.0;
        assert_eq!(places(&spike), [0; 0]);
        for series in odd_series() {
            for length_min in [0, 1, 5, 1_000] {
                let found = change_points(&series, Options { length_min }).found;
                assert!(
                    found.iter().all(|change| change.low <= change.at && change.at <= change.high)
                );
            }
        }
    }

    #[test]
    fn a_slope_is_no_staircase_and_steps_on_a_slope_are_steps() {
        let mut series = sample(500, 0.0, Tails::Normal, 32);
        series.iter_mut().enumerate().for_each(|(t, v)| *v += 0.1 * t as f64);
        let found = change_points(&series, Options::default());
        assert!(found.found.is_empty() && (found.slope - 0.1).abs() < 0.002, "{found:?}");
        series[300..].iter_mut().for_each(|value| *value -= 8.0);
        let found = change_points(&series, Options::default());
        let [change] = found.found[..] else { panic!("{found:?}") };
        assert!(change.at == 300 && (found.slope - 0.1).abs() < 0.002, "{found:?}");
        assert!(
            (change.before - 30.0).abs() < 0.5 && (change.after - 22.0).abs() < 0.5,
            "{change:?}"
        );
        assert!((change.difference + 8.0).abs() < 0.8, "{change:?}");
    }

    #[test]
    fn the_slope_that_segments_share_is_that_of_least_squares() {
        let start = Ar1::default();
        let search = Search { at: &[0, 1, 2, 4], length_min: 2, start };
        let values = [1.0, 3.0, 2.0, 7.0];
        let near = |(slope, saved): (f64, f64), expected: (f64, f64)| {
            assert!((slope - expected.0).abs() < 1e-12 && (saved - expected.1).abs() < 1e-12);
        };
        // Around 1.75 and 3.25, and around 0.5 and 2, and 3 and 4.5.
        near(search.common_slope(&values, &[]), (12.25 / 8.75, 12.25 * 12.25 / 8.75));
        near(search.common_slope(&values, &[2]), (6.0 / 2.5, 36.0 / 2.5));
        assert_eq!(search.common_slope(&values, &[1, 2, 3]), (0.0, 0.0));
    }

    #[test]
    fn a_change_costs_its_penalty() {
        // Steps that lower the sum of squares by less and by more than 2.5·ln 200·σ²: n₁n₂/n·step² = 50·step².
        assert!((penalty(200, 3.0) - 7.5 * 200_f64.ln()).abs() < 1e-9);
        let mut found = [0, 0];
        for seed in 0..40 {
            for (count, part) in found.iter_mut().zip([0.4, 2.5]) {
                let step = (part * penalty(200, 1.0) / 50.0).sqrt();
                *count += usize::from(!places(&stepped(200, 100, step, 300 + seed)).is_empty());
            }
        }
        assert!(found[0] <= 6 && found[1] >= 34, "{found:?}");
    }

    #[test]
    fn p_is_that_of_two_means_at_the_best_of_all_places() {
        let fit = Fit {
            slope: 0.0,
            values: vec![0.0, 1.0, -1.0, 0.0, 3.0, 2.0],
            cuts: vec![4],
            noise: Ar1 { sigma: 1.0, rho: 0.5 },
            squares: 0.0,
        };
        let change =
            measured(&Present { at: (0..6).collect(), values: fit.values.clone() }, &fit)[0];
        // z = 2.5 / √(3·(1/4 + 1/2)) = 5/3. scipy 1.17.1: 1 - (1 - 2*norm.sf(5/3))**6
        assert!((change.p - 0.452_708_232_135).abs() < 1e-9, "{change:?}");
        assert_eq!((change.before, change.after, change.difference), (0.0, 2.5, 2.5));
    }
}
