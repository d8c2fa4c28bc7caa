//! The seasons of a series: those that its periodogram and its autocorrelation show, and among about equal ones a day or a week.

use std::collections::BTreeMap;

use analysis::series::Span;
use engine::Result;
use kernels::spectrum::{LEAST_SAMPLES, SpectrumOptions, spectrum};
use kernels::{Execution, GpuPolicy, MatrixView};

use super::regular::Regular;

/// A season must be there so often: a model learns it from two, and a third tells how good it is.
const TIMES_MIN: usize = 3;
/// Least autocorrelation at the lag of a season: of a day or a week, and of any other.
const STRENGTH_MIN: f64 = 0.2;
const STRENGTH_OF_OTHERS_MIN: f64 = 0.4;
/// Seasons of a series.
const SEASONS_MAX: usize = 2;
/// A longer season has at least so many of a shorter one.
const RATIO_MIN: f64 = 1.9;
/// A season within this part of a day or a week is one: between two frequencies a periodogram knows no better.
const CALENDAR_OFF_MAX: f64 = 0.1;

/// The seasons of each series, in values, rising.
pub(crate) fn seasons(series: &[Regular], execution: &Execution) -> Result<Vec<Vec<usize>>> {
    let mut found = vec![Vec::new(); series.len()];
    // No device does this, and what follows may still be required to be on one.
    let execution = &Execution { gpu: GpuPolicy::Off, ..execution.clone() };
    // The kernel takes rows of one length.
    let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, one) in series.iter().enumerate() {
        by_length.entry(one.values.len()).or_default().push(at);
    }
    for (length, of) in by_length.into_iter().filter(|(length, _)| *length >= LEAST_SAMPLES) {
        let rows: Vec<f64> = of.iter().flat_map(|at| &series[*at].values).copied().collect();
        let x = MatrixView::new(&rows, of.len(), length)?;
        let spectra = spectrum(x, &SpectrumOptions::default(), execution)?;
        for (at, periods) in of.into_iter().zip(&spectra.series) {
            let shown = periods.periods.iter().map(|period| (period.samples, period.strength));
            found[at] = chosen(shown, length, series[at].interval_us);
        }
    }
    Ok(found)
}

/// Of those that are shown, the strongest first, those that can be learnt.
fn chosen(
    shown: impl Iterator<Item = (usize, f64)>,
    length: usize,
    interval_us: i64,
) -> Vec<usize> {
    let mut chosen: Vec<usize> = Vec::new();
    for (season, strength) in shown {
        let (season, least) = match of_calendar(season, interval_us) {
            Some(season) => (season, STRENGTH_MIN),
            None => (season, STRENGTH_OF_OTHERS_MIN),
        };
        if strength < least {
            continue;
        }
        let apart = |other: &usize| {
            let (short, long) = (season.min(*other) as f64, season.max(*other) as f64);
            long >= RATIO_MIN * short
        };
        if season >= 2 && TIMES_MIN * season <= length && chosen.iter().all(apart) {
            chosen.push(season);
        }
        if chosen.len() == SEASONS_MAX {
            break;
        }
    }
    chosen.sort_unstable();
    chosen
}

/// A day or a week where the season is about one.
fn of_calendar(season: usize, interval_us: i64) -> Option<usize> {
    let spans = [Span::DAY, Span::WEEK].map(Span::micros);
    let near =
        spans.into_iter().filter(|span| span % interval_us == 0).map(|span| span / interval_us);
    let near = near.filter_map(|values| usize::try_from(values).ok());
    let is_it =
        |values: &usize| values.abs_diff(season) as f64 <= CALENDAR_OFF_MAX * *values as f64;
    near.into_iter().find(is_it)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::f64::consts::TAU;

    use super::*;
    use crate::testing::Noise;

    const HOUR_US: i64 = 3_600_000_000;

    fn found(length: usize, value: impl Fn(usize) -> f64) -> Vec<usize> {
        let mut noise = Noise::new(5);
        let values = (0..length).map(|at| value(at) + 0.3 * noise.normal()).collect();
        let series = Regular { name: "s".into(), last_us: 0, interval_us: HOUR_US, values };
        seasons(&[series], &Execution::default()).unwrap().remove(0)
    }

    #[test]
    fn a_day_and_a_week_are_found_together() {
        let wave = |at: usize, period: f64| (at as f64 / period * TAU).sin();
        assert_eq!(found(24 * 7 * 8, |at| 3.0 * wave(at, 24.0)), [24]);
        let both = |at: usize| 3.0 * wave(at, 24.0) + if at / 24 % 7 < 5 { 4.0 } else { 0.0 };
        assert_eq!(found(24 * 7 * 8, both), [24, 168]);
    }

    #[test]
    fn noise_has_none_and_one_too_long_is_left() {
        assert_eq!(found(500, |_| 0.0), [0; 0]);
        assert_eq!(chosen([(40, 0.9)].into_iter(), 119, HOUR_US), [0; 0]);
        assert_eq!(chosen([(40, 0.9)].into_iter(), 120, HOUR_US), [40]);
    }

    #[test]
    fn about_a_week_is_a_week_and_of_two_alike_the_stronger_stays() {
        assert_eq!(
            chosen([(166, 0.9), (24, 0.9), (30, 0.9)].into_iter(), 2_000, HOUR_US),
            [24, 168]
        );
        assert_eq!(chosen([(25, 0.9), (30, 0.9)].into_iter(), 2_000, HOUR_US), [24]);
        assert_eq!(chosen([(30, 0.39), (24, 0.21)].into_iter(), 2_000, HOUR_US), [24]);
        // A day of 7 hours is none.
        assert_eq!(chosen([(3, 0.9)].into_iter(), 2_000, 7 * HOUR_US), [3]);
    }
}
