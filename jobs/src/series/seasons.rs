//! The seasons of series: those of the calendar, and those that a periodogram and an autocorrelation suggest, as far as they hold.

use std::collections::BTreeMap;

use analysis::calendar::{Grid, Interval};
use engine::Result;
use kernels::spectrum::{LEAST_SAMPLES, SpectrumOptions, spectrum};
use kernels::{Execution, GpuPolicy, MatrixView};

use super::regular::Regular;

/// Cycles of a season that only the data suggests: a model learns it from two, and a third measures it.
const CYCLES_MIN: usize = 3;
/// Least autocorrelation at its lag.
const STRENGTH_MIN: f64 = 0.4;
/// Seasons of the data that are tried.
const TRIED_MAX: usize = 2;
/// A season within this part of one of the calendar is that one: between two frequencies a periodogram knows no better.
const CALENDAR_OFF_MAX: f64 = 0.1;

/// The seasons of each series, in values, rising. `stated` are those that a user states, which are not checked.
pub(crate) fn seasons(
    series: &[Regular],
    stated: Option<&[Interval]>,
    execution: &Execution,
) -> Result<Vec<Vec<usize>>> {
    if let Some(stated) = stated {
        let of = |one: &Regular| lengths(stated, &one.grid, one.values.len());
        return Ok(series.iter().map(of).collect());
    }
    let mut found = vec![Vec::new(); series.len()];
    // No device does this, and what follows may still be required to be on one.
    let execution = &Execution { gpu: GpuPolicy::Off, ..execution.clone() };
    // The kernel takes rows of one length.
    let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, one) in series.iter().enumerate() {
        by_length.entry(one.values.len()).or_default().push(at);
    }
    for (length, of) in by_length {
        let mut suggested = vec![Vec::new(); of.len()];
        if length >= LEAST_SAMPLES {
            let rows: Vec<f64> = of.iter().flat_map(|at| &series[*at].values).copied().collect();
            let x = MatrixView::new(&rows, of.len(), length)?;
            let spectra = spectrum(x, &SpectrumOptions::default(), execution)?;
            for (suggested, periods) in suggested.iter_mut().zip(&spectra.series) {
                let shown = periods.periods.iter().map(|period| (period.samples, period.strength));
                *suggested = clear(shown, length);
            }
        }
        for (at, suggested) in of.into_iter().zip(suggested) {
            let (one, calendar) = (&series[at], series[at].grid.seasons());
            let others: Vec<usize> =
                suggested.into_iter().filter(|season| !is_about_one(*season, &calendar)).collect();
            found[at] = analysis::series::seasons(&one.values, &calendar, &others);
        }
    }
    Ok(found)
}

/// Stated seasons in values of a series, those that it has twice.
fn lengths(stated: &[Interval], grid: &Grid, length: usize) -> Vec<usize> {
    let of = |season: &Interval| {
        let values = season.mean_micros() as f64 / grid.interval().mean_micros() as f64;
        values.round() as usize
    };
    let mut lengths: Vec<usize> = stated.iter().map(of).collect();
    lengths.retain(|season| *season >= 2 && 2 * season <= length);
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

/// Of the seasons that a periodogram shows, strongest first, those that are clear and can be learnt.
fn clear(shown: impl Iterator<Item = (usize, f64)>, length: usize) -> Vec<usize> {
    let is_clear = |(season, strength): &(usize, f64)| {
        *strength >= STRENGTH_MIN && CYCLES_MIN * season <= length
    };
    shown.filter(is_clear).map(|(season, _)| season).take(TRIED_MAX).collect()
}

fn is_about_one(season: usize, calendar: &[usize]) -> bool {
    let is_it = |of: &usize| of.abs_diff(season) as f64 <= CALENDAR_OFF_MAX * *of as f64;
    calendar.iter().any(is_it)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::f64::consts::TAU;

    use analysis::series::Span;

    use super::*;
    use crate::testing::Noise;

    fn hours() -> Grid {
        Grid::fixed(Span::HOUR, 0)
    }

    fn found(length: usize, value: impl Fn(usize) -> f64) -> Vec<usize> {
        let mut noise = Noise::new(5);
        let values = (0..length).map(|at| value(at) + 0.3 * noise.normal()).collect();
        let series = Regular { name: "s".into(), grid: hours(), last: 0, values };
        seasons(&[series], None, &Execution::default()).unwrap().remove(0)
    }

    #[test]
    fn a_day_and_a_week_are_found_together() {
        let wave = |at: usize, period: f64| (at as f64 / period * TAU).sin();
        assert_eq!(found(24 * 7 * 8, |at| 3.0 * wave(at, 24.0)), [24]);
        let both = |at: usize| 3.0 * wave(at, 24.0) + if at / 24 % 7 < 5 { 4.0 } else { 0.0 };
        assert_eq!(found(24 * 7 * 8, both), [24, 168]);
    }

    #[test]
    fn noise_has_none_and_what_the_data_suggests_must_be_clear() {
        assert_eq!(found(500, |_| 0.0), [0; 0]);
        assert_eq!(clear([(40, 0.9)].into_iter(), 119), [0; 0]);
        assert_eq!(clear([(40, 0.9), (30, 0.39), (20, 0.4)].into_iter(), 120), [40, 20]);
        assert!(is_about_one(166, &[24, 168]) && !is_about_one(30, &[24, 168]));
        let wave = |at: usize| 3.0 * (at as f64 / 30.0 * TAU).sin();
        assert_eq!(found(600, wave), [30]);
    }

    #[test]
    fn stated_seasons_are_lengths_in_values() {
        let lengths = |stated: &[&str], interval: &str, length: usize| {
            let stated: Vec<Interval> = stated.iter().map(|text| text.parse().unwrap()).collect();
            let holidays = analysis::calendar::Holidays::default();
            let zone = analysis::calendar::Zone::UTC;
            lengths(&stated, &Grid::stated(interval.parse().unwrap(), zone, &holidays, 0), length)
        };
        assert_eq!(lengths(&["1w", "1d"], "1h", 400), [24, 168]);
        assert_eq!(lengths(&["1w", "1d"], "1h", 300), [24]);
        assert_eq!(lengths(&["1y"], "1mo", 60), [12]);
        assert_eq!(lengths(&["1y", "1w"], "1d", 800), [7, 365]);
        assert_eq!(lengths(&["1w"], "1bd", 60), [5]);
        assert_eq!(lengths(&["1d"], "1d", 60), [0; 0]);
    }
}
