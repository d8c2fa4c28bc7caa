//! Level shifts: a series that goes on at another height, for hours or for good. The medians of the two
//! windows on either side of each sample are compared, at two scales: windows of full length see a small
//! change that stays, windows of an eighth of it one that lasts for hours only. Where they differ most, the
//! change is placed by a cumulative sum (E. S. Page, "Continuous Inspection Schemes", 1954), because medians
//! alone only say "within half a window". The way back from a shift is its end and not a second one.
//!
//! A shift must not be its own measure. Where the values spread far less around the levels between the two largest sudden
//! steps, that is their spread, and differences of long windows are not taken to spread more than those of short ones let a random
//! walk: as the root of the window. A walk, or a series that shifts all the time, keeps its spread.

use std::ops::Range;

use super::robust::Excursion;
use super::spread::{MAD_TO_SIGMA, median, spread};
use super::trend::level_test::ranks;
use crate::significance::two_sided;

/// Part of the residual's standard deviation that the unit is at least: medians spread less than values.
const SIGMA_PART: f64 = 0.5;
/// The largest steps do not count into the spread of the values around them.
const STEPS_MAX: usize = 2;
/// Beside a step the levels of this part of a window differ by this part of what those of the window do.
const NEAR_PART: usize = 8;
const AT_ONCE_MIN: f64 = 0.7;
/// Around levels the values must spread by less than this part of the whole. A walk, or what shifts all the time, does not.
const WITHIN_PART_MAX: f64 = 0.6;
/// Around levels the values spread by this part of the whole at least: exact levels have no noise to measure by.
const WITHIN_PART_MIN: f64 = 1e-3;
/// The threshold of the short scale is this much higher: it compares far more windows, of fewer samples.
const SHORT_CAUTION: f64 = 1.2;
/// Part of the largest difference of two windows that the medians next to a shift must have.
const STATED_PART_MIN: f64 = 0.5;
/// Probability that a series without another level has one, by ranks.
const LEVEL_P: f64 = 0.01;
/// Samples back at the old level after which the shift is over.
const BACK_SAMPLES: usize = 3;

/// A shift: where the new level begins, how long it lasts within reach, and both levels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// The stretch at the new level.
    pub excursion: Excursion,
    /// Median of the residual over the samples before the shift.
    pub before: f64,
    /// Median of the residual over the samples from the shift on.
    pub after: f64,
    /// Samples of `before` and of `after`: a window each, fewer at the ends of the series.
    pub samples: [usize; 2],
}

/// One scale to look at.
pub struct Scale<'a> {
    /// Samples of a window.
    pub window: usize,
    /// Trailing medians of the residual over that window.
    pub medians: &'a [f64],
}

/// Finds the shifts of a residual at both scales, in the order of their start. `reach` is how far the end of
/// a shift is looked for, in samples.
pub fn shifts(
    residual: &[f64],
    scales: &[Scale<'_>],
    sigma_floor: f64,
    reach: usize,
    threshold: f64,
) -> Vec<Shift> {
    let mut found: Vec<Shift> = Vec::new();
    let jumps: Vec<Vec<f64>> = scales.iter().map(|scale| jumps(residual, scale)).collect();
    // Of each scale, for windows of one sample; none where no three windows fit.
    let usual = |(jumps, scale): (&Vec<f64>, &Scale<'_>)| {
        let mut sizes: Vec<f64> = jumps.iter().map(|jump| jump.abs()).collect();
        median(&mut sizes).map(|usual| usual * MAD_TO_SIGMA / (scale.window as f64).sqrt())
    };
    let usual: Vec<Option<f64>> = jumps.iter().zip(scales).map(usual).collect();
    for (at, (scale, jumps)) in scales.iter().zip(&jumps).enumerate() {
        let Some(own) = usual[at] else { continue };
        let (jump, sigma) = match sigma_within(residual, scale, jumps, sigma_floor) {
            None => (own, sigma_floor),
            Some(within) => {
                let shorter = |other: &usize| scales[*other].window < scale.window;
                let others = (0..scales.len()).filter(shorter).filter_map(|other| usual[other]);
                (others.fold(own, f64::min), within)
            }
        };
        let unit = (jump * (scale.window as f64).sqrt()).max(SIGMA_PART * sigma);
        let caution = if scale.window < reach { SHORT_CAUTION } else { 1.0 };
        for shift in at_scale(residual, scale, jumps, unit, reach, threshold * caution) {
            // The first scale is the surer one; the second only adds what the first has not seen.
            let near = |known: &Shift| {
                let slack = known.window().max(shift.window());
                shift.excursion.first <= known.excursion.last + slack
                    && known.excursion.first <= shift.excursion.last + slack
            };
            if !found.iter().any(near) {
                found.push(shift);
            }
        }
    }
    found.sort_by_key(|shift| shift.excursion.first);
    found
}

/// The differences of adjacent windows: number k is that of the one that ends at sample `window + k` and the next. None where no three
/// windows fit.
fn jumps(residual: &[f64], scale: &Scale<'_>) -> Vec<f64> {
    let (window, samples) = (scale.window, residual.len());
    if window < 2 || samples < 3 * window {
        return Vec::new();
    }
    (window..samples - window).map(|at| scale.medians[at + window] - scale.medians[at]).collect()
}

/// The spread of values around the levels between the largest steps, as [`sigma_floor`](super::robust::sigma_floor) is around one;
/// `None` where they spread about as much.
fn sigma_within(
    residual: &[f64],
    scale: &Scale<'_>,
    jumps: &[f64],
    sigma_floor: f64,
) -> Option<f64> {
    let sigma = |values: &[f64]| {
        let spread = spread(values);
        spread.at_least_of_mean()
    };
    // Where that is less, it is rounding that counts.
    let whole = sigma(residual);
    if whole < sigma_floor {
        return None;
    }
    let window = scale.window;
    let mut peaks: Vec<usize> = Vec::new();
    for _ in 0..STEPS_MAX {
        let apart = |at: &usize| peaks.iter().all(|peak| at.abs_diff(*peak) >= window);
        let larger = |a: &usize, b: &usize| jumps[*a].abs().total_cmp(&jumps[*b].abs());
        let Some(peak) = (0..jumps.len()).filter(apart).max_by(larger) else { break };
        peaks.push(peak);
    }
    // A walk goes from level to level too, but not at once.
    let near = (window / NEAR_PART).max(2);
    let step = |peak: &usize| {
        let left = window + peak;
        let levels = (scale.medians[left], scale.medians[left + window]);
        let cut = change_point(residual, left, window, levels.0, levels.1);
        let level = |part: &[f64]| median(&mut part.to_vec()).unwrap_or(f64::NAN);
        let at_once = level(&residual[cut..(cut + near).min(residual.len())])
            - level(&residual[cut.saturating_sub(near)..cut]);
        (at_once / (levels.1 - levels.0) >= AT_ONCE_MIN).then_some(cut)
    };
    let mut cuts: Vec<usize> = peaks.iter().filter_map(step).chain([0, residual.len()]).collect();
    cuts.sort_unstable();
    let mut within = Vec::with_capacity(residual.len());
    for cut in cuts.windows(2) {
        let part = &residual[cut[0]..cut[1]];
        let level = median(&mut part.to_vec()).unwrap_or(0.0);
        within.extend(part.iter().map(|value| value - level));
    }
    let within = sigma(&within);
    (within <= WITHIN_PART_MAX * whole).then(|| within.max(WITHIN_PART_MIN * sigma_floor))
}

/// The shifts of one scale; `unit` is what a difference of two windows is measured by.
fn at_scale(
    residual: &[f64],
    scale: &Scale<'_>,
    jumps: &[f64],
    unit: f64,
    reach: usize,
    threshold: f64,
) -> Vec<Shift> {
    let window = scale.window;
    let limit = threshold * unit;
    let mut found: Vec<Shift> = Vec::new();
    let mut at = 0;
    while at < jumps.len() {
        if jumps[at].is_nan() || jumps[at].abs() <= limit {
            at += 1;
            continue;
        }
        let end = (at + window).min(jumps.len());
        let larger =
            |best: usize, k: usize| if jumps[k].abs() > jumps[best].abs() { k } else { best };
        let peak = (at..end).fold(at, larger);
        let shift = measure(residual, scale, window + peak, reach, jumps[peak] * threshold / limit);
        let is_return = found.last().is_some_and(|last| {
            (last.after > last.before) != (shift.after > shift.before)
                && shift.excursion.first <= last.excursion.last + window
        });
        if !is_return {
            found.push(shift);
        }
        // The same shift is in view for up to a window more.
        at = peak + window;
        while at < jumps.len() && jumps[at].abs() > limit / 2.0 {
            at += 1;
        }
    }
    found
}

fn measure(residual: &[f64], scale: &Scale<'_>, left: usize, reach: usize, z: f64) -> Shift {
    let window = scale.window;
    let (before, after) = (scale.medians[left], scale.medians[left + window]);
    let first = change_point(residual, left, window, before, after);
    let last = last_beyond(residual, first, reach, before, after);
    let excursion = Excursion { first, last, peak: first, z };
    let start = first.saturating_sub(window);
    let end = (first + window).min(residual.len());
    let level = |part: Range<usize>| median(&mut residual[part].to_vec()).unwrap_or(f64::NAN);
    let stated = [level(start..first), level(first..end)];
    // The reader computes the medians at the shift, which is not where they differ most.
    if (stated[1] - stated[0]) / (after - before) >= STATED_PART_MIN {
        let samples = [first - start, end - first];
        return Shift { excursion, before: stated[0], after: stated[1], samples };
    }
    let first = left + 1;
    let excursion = Excursion { first, last: last.max(first), peak: first, z };
    Shift { excursion, before, after, samples: [window; 2] }
}

impl Shift {
    /// Samples of the windows that were compared.
    pub fn window(&self) -> usize {
        self.samples[0].max(self.samples[1])
    }
}

/// The first sample of the new level: where the cumulative sum of distances from the middle of the two
/// levels turns. Distances are clipped at half the jump, so that one outlier does not place the shift.
fn change_point(residual: &[f64], left: usize, window: usize, before: f64, after: f64) -> usize {
    let (low, high) =
        (left.saturating_sub(window / 2), (left + window / 2 + 1).min(residual.len()));
    let (middle, half) = (before / 2.0 + after / 2.0, (after - before).abs() / 2.0);
    let direction = (after - before).signum();
    let (mut sum, mut least, mut first) = (0.0, f64::INFINITY, left + 1);
    for (at, value) in residual[low..high].iter().enumerate() {
        sum += ((value - middle) * direction).clamp(-half, half);
        if sum < least {
            (least, first) = (sum, low + at + 1);
        }
    }
    first.min(residual.len() - 1)
}

/// The last sample, within reach, before the series is back on the old side.
fn last_beyond(residual: &[f64], first: usize, reach: usize, before: f64, after: f64) -> usize {
    let middle = before / 2.0 + after / 2.0;
    let direction = (after - before).signum();
    let (mut last, mut back) = (first, 0);
    for (at, value) in residual.iter().enumerate().take(first + reach).skip(first) {
        if (value - middle) * direction > 0.0 {
            (last, back) = (at, 0);
        } else {
            back += 1;
            if back > BACK_SAMPLES {
                break;
            }
        }
    }
    last
}

/// Whether the `window` values from `first` on lie elsewhere than the `window` values before, by their ranks (Mann & Whitney, 1947).
/// Medians of 0/1 values jump from one to the other though hardly any value is another.
pub fn is_another_level(values: &[f64], first: usize, window: usize) -> bool {
    let before = &values[first.saturating_sub(window)..first.min(values.len())];
    let after = &values[first.min(values.len())..(first + window).min(values.len())];
    let (count, other) = (before.len() as f64, after.len() as f64);
    let ranks = ranks(&[before, after].concat());
    let larger = ranks[before.len()..].iter().sum::<f64>() - other * (other - 1.0) / 2.0;
    let variance = count * other * (count + other + 1.0) / 12.0;
    let z = (larger - count * other / 2.0) / variance.sqrt();
    two_sided(z) * values.len() as f64 / window.max(1) as f64 <= LEVEL_P
}

#[cfg(test)]
mod tests {
    use super::super::robust::sigma_floor;
    use super::super::trend::samples::{Tails, noise};
    use super::*;

    /// 0 and from sample 50 on 10, with a small saw on top.
    fn shifted() -> Vec<f64> {
        let level = |at: usize| if at < 50 { 0.0 } else { 10.0 };
        (0..100).map(|at| level(at) + (at % 3) as f64 * 0.1).collect()
    }

    #[test]
    fn a_median_that_jumps_is_no_other_level() {
        let mut draw = crate::Noise::new(3);
        let mut values: Vec<f64> =
            (0..600).map(|_| f64::from(u8::from(draw.uniform() < 0.5))).collect();
        assert!(!is_another_level(&values, 300, 100));
        values[300..].fill(1.0);
        assert!(is_another_level(&values, 300, 100) && !is_another_level(&values, 600, 100));
    }

    #[test]
    fn one_outlier_does_not_place_the_change() {
        assert_eq!(change_point(&shifted(), 49, 20, 0.0, 10.0), 50);
        for (at, value) in [(44, 1000.0), (55, -1000.0)] {
            let mut values = shifted();
            values[at] = value;
            assert_eq!(change_point(&values, 49, 20, 0.0, 10.0), 50, "{at}");
        }
    }

    #[test]
    fn a_shift_ends_when_it_is_back_for_longer_than_a_moment() {
        let mut values = shifted();
        values[60..63].fill(0.0);
        assert_eq!(last_beyond(&values, 50, 50, 0.0, 10.0), 99);
        values[63] = 0.0;
        assert_eq!(last_beyond(&values, 50, 50, 0.0, 10.0), 59);
        assert_eq!(last_beyond(&shifted(), 50, 20, 0.0, 10.0), 69);
    }

    fn medians(values: &[f64], window: usize) -> Vec<f64> {
        let of = |at: usize| {
            let mut part = values[(at + 1).saturating_sub(window)..=at].to_vec();
            median(&mut part).unwrap_or(f64::NAN)
        };
        (0..values.len()).map(of).collect()
    }

    /// First sample and score of each shift, by windows of 80 and of 10 samples.
    fn found(values: &[f64]) -> Vec<(usize, f64)> {
        let (long, short) = (medians(values, 80), medians(values, 10));
        let scales = [Scale { window: 80, medians: &long }, Scale { window: 10, medians: &short }];
        let floor = sigma_floor(values, values);
        let found = shifts(values, &scales, floor, 80, 6.0);
        let tenth = |z: f64| (z * 10.0).round() / 10.0;
        found.iter().map(|of| (of.excursion.first, tenth(of.excursion.z))).collect()
    }

    fn stepped(samples: usize, steps: &[(usize, f64)], seed: u64) -> Vec<f64> {
        let mut values = noise(samples, 0.0, Tails::Normal, seed);
        for (at, step) in steps {
            values[*at..].iter_mut().for_each(|value| *value += step);
        }
        values
    }

    #[test]
    fn a_step_is_found_wherever_it_is_and_scores_by_its_size() {
        // By short windows only near the ends, where the spread of all is little more than that of the noise.
        for (at, expected) in [
            (60, [8.8, 15.8, 56.0]),
            (180, [11.7, 23.1, 57.3]),
            (300, [11.5, 22.8, 56.7]),
            (540, [8.8, 15.9, 55.8]),
        ] {
            let of = |step: f64| found(&stepped(600, &[(at, step)], 4));
            assert_eq!([6.0, 12.0, 30.0].map(|step| of(step)[0].1), expected, "{at}");
            for step in [6.0, -12.0, 30.0] {
                let found = of(step);
                assert!(found.len() == 1 && found[0].0.abs_diff(at) <= 1, "{at} {step}: {found:?}");
            }
        }
        // As few as three long windows, and fewer.
        assert_eq!(found(&stepped(240, &[(120, 12.0)], 4)), [(120, 6.9)]);
        assert_eq!(found(&stepped(100, &[(50, 12.0)], 4)), [(50, 22.3)]);
        // Half a deviation more than the long scale needs, and half less.
        assert_eq!([2.5, 3.5].map(|step| found(&stepped(600, &[(300, step)], 4)).len()), [0, 1]);
    }

    #[test]
    fn two_steps_hide_neither() {
        let there_and_on = found(&stepped(600, &[(200, 12.0), (400, 20.0)], 4));
        assert_eq!(there_and_on, [(200, 15.5), (400, 25.7)]);
        let there_and_back = found(&stepped(600, &[(200, 12.0), (400, -12.0)], 4));
        assert_eq!(there_and_back, [(200, 10.7), (400, -10.7)]);
    }

    #[test]
    fn what_is_back_within_a_window_is_one_shift() {
        for step in [20.0, -20.0] {
            let back = found(&stepped(600, &[(300, step), (360, -step)], 4));
            assert!(back.len() == 1 && back[0].0.abs_diff(300) <= 1, "{step}: {back:?}");
        }
    }

    #[test]
    fn exact_levels_have_a_score_too_and_rounding_has_none() {
        let exact: Vec<f64> = (0..600).map(|at| if at < 300 { 5.0 } else { 6.0 }).collect();
        let found_exact = found(&exact);
        assert!(found_exact.len() == 1 && found_exact[0].0 == 300, "{found_exact:?}");
        assert!((1_000.0..5_000.0).contains(&found_exact[0].1), "{found_exact:?}");
        let rounded: Vec<f64> =
            (0..600).map(|at| if at < 300 { 1e6 } else { 1e6 + 1e-4 }).collect();
        assert_eq!(found(&rounded), []);
    }

    #[test]
    fn noise_and_what_shifts_all_the_time_have_no_shifts() {
        let mut shifts = [0; 4];
        for seed in 0..100 {
            let white = noise(600, 0.0, Tails::Normal, seed);
            let wandering = noise(600, 0.9, Tails::Normal, seed);
            let mut sum = 0.0;
            let mut add = |value: &f64| {
                sum += value;
                sum
            };
            let walk: Vec<f64> = white.iter().map(&mut add).collect();
            let square = |(at, v): (usize, &f64)| v + if at / 75 % 2 == 0 { 0.0 } else { 12.0 };
            let square: Vec<f64> = white.iter().enumerate().map(square).collect();
            for (count, values) in shifts.iter_mut().zip([white, wandering, walk, square]) {
                *count += usize::from(!found(&values).is_empty());
            }
        }
        // Of 1,000 walks it is 4.
        assert_eq!(shifts, [0, 0, 0, 0]);
    }
}
