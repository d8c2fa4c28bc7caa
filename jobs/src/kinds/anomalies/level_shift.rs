//! Level shifts: a series that goes on at another height. The medians of the two windows on either side of
//! each sample are compared; where they differ most, the change is placed by a cumulative sum (E. S. Page,
//! "Continuous Inspection Schemes", 1954), because medians alone only say "within half a window".

use super::robust::Excursion;
use crate::statistics::{MAD_TO_SIGMA, median};

/// Part of the residual's standard deviation that the unit is at least: medians spread less than values.
const SIGMA_PART: f64 = 0.5;
/// Samples back at the old level after which the shift is over.
const BACK_SAMPLES: usize = 3;

/// A shift: where the new level begins, how long it lasts within one window, and both levels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shift {
    pub(super) excursion: Excursion,
    /// Median of the window before, of the residual.
    pub(super) before: f64,
    /// Median of the window from the shift on, of the residual.
    pub(super) after: f64,
}

/// Finds the shifts of a residual whose trailing medians over `window` samples are `medians`.
pub(super) fn shifts(
    residual: &[f64],
    medians: &[f64],
    sigma_floor: f64,
    window: usize,
    threshold: f64,
) -> Vec<Shift> {
    let samples = residual.len();
    if samples < 3 * window {
        return Vec::new();
    }
    // jumps[k] compares the window that ends at sample `window + k` with the next one.
    let jumps: Vec<f64> =
        (window..samples - window).map(|at| medians[at + window] - medians[at]).collect();
    let mut sizes: Vec<f64> = jumps.iter().map(|jump| jump.abs()).collect();
    let usual = median(&mut sizes).unwrap_or(0.0) * MAD_TO_SIGMA;
    let unit = usual.max(SIGMA_PART * sigma_floor);
    let mut found = Vec::new();
    let mut at = 0;
    while at < jumps.len() {
        if jumps[at].is_nan() || jumps[at].abs() <= threshold * unit {
            at += 1;
            continue;
        }
        let end = (at + window).min(jumps.len());
        let peak =
            (at..end).fold(at, |best, k| if jumps[k].abs() > jumps[best].abs() { k } else { best });
        let left = window + peak;
        let (before, after) = (medians[left], medians[left + window]);
        let first = change_point(residual, left, window, before, after);
        found.push(Shift {
            excursion: Excursion {
                first,
                last: last_beyond(residual, first, window, before, after),
                peak: first,
                z: jumps[peak] / unit,
            },
            before,
            after,
        });
        // The same shift is in view for up to a window more.
        at = peak + window;
        while at < jumps.len() && jumps[at].abs() > threshold * unit / 2.0 {
            at += 1;
        }
    }
    found
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

/// The last sample, within a window, before the series is back on the old side.
fn last_beyond(residual: &[f64], first: usize, window: usize, before: f64, after: f64) -> usize {
    let middle = before / 2.0 + after / 2.0;
    let direction = (after - before).signum();
    let (mut last, mut back) = (first, 0);
    for (at, value) in residual.iter().enumerate().take(first + window).skip(first) {
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
