//! Levels over whole seasons: whatever becomes of a season, its mean over each of them is that of the series, but for the one in which it
//! changes.

use super::change_points::{ChangePoint, Fit, levels, mean, penalty};
use super::noise::of_residuals;
use crate::significance::{of_best, two_sided};

/// Whole seasons on either side of a change at least: of one alone it can't be said whether its season changed within it.
pub(super) const SEASONS_MIN: usize = 2;
/// Most whole seasons differ by at least this part of what all together do.
const OF_MOST_MIN: f64 = 0.5;

/// A series with its season.
pub(super) struct WholeSeasons {
    /// Positions of what is there.
    pub at: Vec<usize>,
    /// The values less the line.
    pub raw: Vec<f64>,
    /// The same, outliers drawn in: near a season that changes its waves may be among these.
    pub drawn_in: Vec<f64>,
    pub season: usize,
}

/// The levels on either side of a change, and how far they are apart in standard errors of that.
#[derive(Clone, Copy, Debug)]
struct Sides {
    before: f64,
    after: f64,
    z: f64,
    /// As far as most whole seasons are apart, as a part of `after − before`.
    of_most: f64,
}

impl WholeSeasons {
    /// Drops changes of a fit until all that are left hold. `sigma_part` is the part of the noise beside all changes that it is
    /// beside fewer at least.
    pub(super) fn keep_those_that_hold(&self, fit: &mut Fit, sigma_part: f64) {
        let sigma_min = sigma_part * fit.noise.sigma;
        let cost = penalty(self.at.len(), 1.0).sqrt();
        loop {
            let fails = |index: &usize| {
                let holds = |of: Sides| of.z.abs() > cost && of.of_most >= OF_MOST_MIN;
                !self.sides(fit, *index).is_some_and(holds)
            };
            let size = |index: usize| {
                let (start, cut, end) = bounds(fit, index);
                let inverse = 1.0 / (cut - start) as f64 + 1.0 / (end - cut) as f64;
                (mean(&fit.values[cut..end]) - mean(&fit.values[start..cut])).abs() / inverse.sqrt()
            };
            let all: Vec<(bool, f64)> =
                (0..fit.cuts.len()).map(|index| (fails(&index), size(index))).collect();
            // At once all that are the smallest beside their neighbours, so that there are few rounds.
            let is_dropped = |index: usize| {
                let (fails, size) = all[index];
                let before = index.checked_sub(1).map(|before| all[before]);
                let after = all.get(index + 1);
                fails
                    && before.is_none_or(|(fails, of)| !fails || size < of)
                    && after.is_none_or(|(fails, of)| !fails || size <= *of)
            };
            if !all.iter().any(|of| of.0) {
                return;
            }
            let mut index = 0;
            fit.cuts.retain(|_| {
                index += 1;
                !is_dropped(index - 1)
            });
            let left: Vec<f64> = fit
                .values
                .iter()
                .zip(levels(&fit.values, &fit.cuts))
                .map(|(value, level)| value - level)
                .collect();
            fit.noise = of_residuals(&self.at, &left, fit.cuts.len() + 1);
            fit.noise.sigma = fit.noise.sigma.max(sigma_min);
        }
    }

    /// Says of each change of the fit how large and how sure it is over whole seasons.
    pub(super) fn measure(&self, fit: &Fit, found: &mut [ChangePoint]) {
        for (index, change) in found.iter_mut().enumerate() {
            let Some(sides) = self.sides(fit, index) else { continue };
            (change.before, change.after) = (sides.before, sides.after);
            change.difference = (sides.after - sides.before) / fit.noise.sigma;
            change.p = of_best(two_sided(sides.z), self.at.len());
        }
    }

    /// The levels over the whole seasons next to a change; `None` where there are too few on either side.
    fn sides(&self, fit: &Fit, index: usize) -> Option<Sides> {
        let (start, cut, end) = bounds(fit, index);
        let middle = self.at[cut];
        let seasons_before = (middle - self.at[start]) / self.season;
        let seasons_after = (self.at[end - 1] + 1 - middle) / self.season;
        let means = |values: &[f64]| {
            let before = middle - seasons_before * self.season;
            let before = self.means(values, before, seasons_before);
            (before, self.means(values, middle, seasons_after))
        };
        let (before, after) = means(&self.drawn_in);
        if before.len() < SEASONS_MIN || after.len() < SEASONS_MIN {
            return None;
        }
        let values = |means: &[(f64, usize)]| means.iter().map(|of| of.1).sum::<usize>() as f64;
        let level = |means: &[(f64, usize)]| {
            means.iter().map(|(mean, count)| mean * *count as f64).sum::<f64>() / values(means)
        };
        let levels = (level(&before), level(&after));
        let inverse = 1.0 / values(&before) + 1.0 / values(&after);
        let z = (levels.1 - levels.0) / (fit.noise.long_run_variance() * inverse).sqrt();
        // The median; of an even number the one that is nearer to the other side.
        let direction = z.signum();
        let most = |mut means: Vec<(f64, usize)>, side: f64| {
            means.sort_by(|a, b| (side * a.0).total_cmp(&(side * b.0)));
            means[(means.len() - 1) / 2].0
        };
        let (before, after) = means(&self.raw);
        let apart = most(after, direction) - most(before, -direction);
        let of_most = apart / (levels.1 - levels.0);
        Some(Sides { before: levels.0, after: levels.1, z, of_most })
    }

    /// The means of so many seasons from a position on, and of how many values; those of which half is missing are left out.
    fn means(&self, values: &[f64], from: usize, seasons: usize) -> Vec<(f64, usize)> {
        let index = |position: usize| self.at.partition_point(|at| *at < position);
        (0..seasons)
            .filter_map(|number| {
                let start = from + number * self.season;
                let there = index(start)..index(start + self.season);
                let count = there.len();
                (2 * count >= self.season).then(|| (mean(&values[there]), count))
            })
            .collect()
    }
}

fn bounds(fit: &Fit, index: usize) -> (usize, usize, usize) {
    let start = if index == 0 { 0 } else { fit.cuts[index - 1] };
    (start, fit.cuts[index], fit.cuts.get(index + 1).copied().unwrap_or(fit.values.len()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]

    use std::f64::consts::TAU;

    use super::super::change_points::{Options, Removed, change_points, change_points_beside};
    use super::super::samples::{Tails, noise, without};
    use super::*;

    const VALUES: usize = 720;
    /// In the middle of a day.
    const MIDDLE: usize = 365;
    const OPTIONS: Options = Options { length_min: 12 };

    fn day(hour: usize, amplitude: f64) -> f64 {
        amplitude * (TAU * hour as f64 / 24.0).sin()
    }

    /// Changes of noise with a season of which another one was taken out, and of noise with something added.
    fn found(
        season: impl Fn(usize) -> f64,
        taken: impl Fn(usize) -> f64,
        added: impl Fn(usize) -> f64,
        seed: u64,
    ) -> (Vec<ChangePoint>, usize) {
        let part: Vec<f64> = (0..VALUES).map(taken).collect();
        let mut series = noise(VALUES, 0.3, Tails::Normal, seed);
        let left = |at: usize| season(at) - part[at] + added(at);
        series.iter_mut().enumerate().for_each(|(at, value)| *value += left(at));
        let removed = Removed { season: 24, part: &part };
        let without = change_points(&series, OPTIONS).found.len();
        (change_points_beside(&series, removed, OPTIONS).found, without)
    }

    /// A profile that goes from one to the other within ten days, as a smoother learns it.
    fn learnt(at: usize, before: f64, after: f64) -> f64 {
        let part = (at as f64 - (MIDDLE - 120) as f64) / 240.0;
        before + (after - before) * part.clamp(0.0, 1.0)
    }

    /// The amplitude more than doubles.
    fn grows(at: usize) -> f64 {
        day(at, if at < MIDDLE { 10.0 } else { 25.0 })
    }

    fn grows_as_learnt(at: usize) -> f64 {
        learnt(at, day(at, 10.0), day(at, 25.0))
    }

    /// Three hours are left out.
    fn jumps(at: usize) -> f64 {
        day(if at < MIDDLE { at } else { at + 3 }, 15.0)
    }

    fn jumps_as_learnt(at: usize) -> f64 {
        learnt(at, day(at, 15.0), day(at + 3, 15.0))
    }

    #[test]
    fn a_season_that_grows_or_whose_clock_jumps_has_no_levels() {
        let mut levels = [[0; 2]; 2];
        for seed in 0..50 {
            for (count, (beside, plain)) in levels.iter_mut().zip([
                found(grows, grows_as_learnt, |_| 0.0, seed),
                found(jumps, jumps_as_learnt, |_| 0.0, seed),
            ]) {
                *count = [count[0] + beside.len(), count[1] + plain];
            }
        }
        // Beside the season, and without knowing of it.
        assert_eq!(levels, [[0, 46], [0, 96]]);
    }

    #[test]
    fn a_step_stays_beside_a_season_that_grows() {
        let mut near = 0;
        for seed in 0..50 {
            let step = |at: usize| if at < 150 { 0.0 } else { 5.0 };
            let (found, _) = found(grows, grows_as_learnt, step, seed);
            let [change] = found[..] else { continue };
            near += usize::from(change.at.abs_diff(150) <= 3);
            assert!((change.after - change.before - 5.0).abs() < 1.0, "{change:?}");
        }
        assert_eq!(near, 50);
    }

    #[test]
    fn a_level_is_as_sure_as_the_means_over_whole_seasons_are() {
        let part = [0.0; VALUES];
        let mut series = noise(VALUES, 0.0, Tails::Normal, 5);
        series[360..].iter_mut().for_each(|value| *value += 1.0);
        let removed = Removed { season: 24, part: &part };
        let found = change_points_beside(&series, removed, OPTIONS);
        let [change] = found.found[..] else { panic!("{found:?}") };
        let [before, after] = [change.at, VALUES - change.at].map(|values| values / 24 * 24);
        let inverse = 1.0 / before as f64 + 1.0 / after as f64;
        let z = (change.after - change.before) / (found.noise.long_run_variance() * inverse).sqrt();
        let p = of_best(two_sided(z), VALUES);
        assert!((change.p / p - 1.0).abs() < 1e-6, "{change:?}: {p}");
    }

    #[test]
    fn a_level_lasts_two_whole_seasons() {
        let of = |hours: usize| {
            let level = |at: usize| if (300..300 + hours).contains(&at) { 8.0 } else { 0.0 };
            let (found, plain) = found(|at| day(at, 5.0), |at| day(at, 5.0), level, 3);
            (found.iter().map(|change| change.at).collect::<Vec<_>>(), plain)
        };
        assert_eq!(of(47), (vec![], 2));
        assert_eq!(of(48), (vec![300, 348], 2));
    }

    #[test]
    fn missing_values_and_outliers_leave_levels_as_they_are() {
        let part: Vec<f64> = (0..VALUES).map(|at| day(at, 5.0)).collect();
        let mut series = noise(VALUES, 0.0, Tails::Normal, 8);
        series[400..].iter_mut().for_each(|value| *value += 4.0);
        series[100] = 1e9;
        series[600] = f64::INFINITY;
        // Days of which most is missing, and single values.
        let missing: Vec<usize> =
            (0..VALUES).filter(|at| at % 7 == 0 || (200..220).contains(at)).collect();
        let removed = Removed { season: 24, part: &part };
        let found = change_points_beside(&without(&series, &missing), removed, OPTIONS).found;
        let [change] = found[..] else { panic!("{found:?}") };
        // 399 is missing.
        assert!((398..=400).contains(&change.at), "{change:?}");
        assert!((change.after - change.before - 4.0).abs() < 0.5, "{change:?}");
        // A part that ends too soon is none from there on.
        let short = Removed { season: 24, part: &[] };
        assert_eq!(change_points_beside(&series, short, OPTIONS).found.len(), 1);
        let none = Removed { season: 0, part: &[] };
        assert_eq!(change_points_beside(&series[..4], none, OPTIONS).found.len(), 0);
    }
}
