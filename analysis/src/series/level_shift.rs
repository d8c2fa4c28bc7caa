//! Level shifts: a series that goes on at another height, for hours or for good. The medians of the two
//! windows on either side of each sample are compared, at two scales: windows of full length see a small
//! change that stays, windows of an eighth of it one that lasts for hours only. Where they differ most, the
//! change is placed by a cumulative sum (E. S. Page, "Continuous Inspection Schemes", 1954), because medians
//! alone only say "within half a window". The way back from a shift is its end and not a second one.

use super::robust::Excursion;
use super::spread::{MAD_TO_SIGMA, median};

/// Part of the residual's standard deviation that the unit is at least: medians spread less than values.
const SIGMA_PART: f64 = 0.5;
/// The threshold of the short scale is this much higher: it compares far more windows, of fewer samples.
const SHORT_CAUTION: f64 = 1.2;
/// Samples back at the old level after which the shift is over.
const BACK_SAMPLES: usize = 3;

/// A shift: where the new level begins, how long it lasts within reach, and both levels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// The stretch at the new level.
    pub excursion: Excursion,
    /// Median of the window before, of the residual.
    pub before: f64,
    /// Median of the window from the shift on, of the residual.
    pub after: f64,
    /// Samples of the two windows that were compared.
    pub window: usize,
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
    for scale in scales {
        let caution = if scale.window < reach { SHORT_CAUTION } else { 1.0 };
        for shift in at_scale(residual, scale, sigma_floor, reach, threshold * caution) {
            // The first scale is the surer one; the second only adds what the first has not seen.
            let near = |known: &Shift| {
                let slack = known.window.max(shift.window);
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

fn at_scale(
    residual: &[f64],
    scale: &Scale<'_>,
    sigma_floor: f64,
    reach: usize,
    threshold: f64,
) -> Vec<Shift> {
    let (window, samples) = (scale.window, residual.len());
    if window < 2 || samples < 3 * window {
        return Vec::new();
    }
    // jumps[k] compares the window that ends at sample `window + k` with the next one.
    let jumps: Vec<f64> = (window..samples - window)
        .map(|at| scale.medians[at + window] - scale.medians[at])
        .collect();
    let mut sizes: Vec<f64> = jumps.iter().map(|jump| jump.abs()).collect();
    let usual = median(&mut sizes).unwrap_or(0.0) * MAD_TO_SIGMA;
    let limit = threshold * usual.max(SIGMA_PART * sigma_floor);
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
    Shift { excursion: Excursion { first, last, peak: first, z }, before, after, window }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// 0 and from sample 50 on 10, with a small saw on top.
    fn shifted() -> Vec<f64> {
        let level = |at: usize| if at < 50 { 0.0 } else { 10.0 };
        (0..100).map(|at| level(at) + (at % 3) as f64 * 0.1).collect()
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
}
