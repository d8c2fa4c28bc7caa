//! How often noise alone is taken for something, and how often something is found. All from fixed seeds.

#![allow(clippy::print_stdout)]

use std::f64::consts::TAU;

use super::change_points::{Options, change_points};
use super::mann_kendall::{Lags, autocorrelated, mann_kendall};
use super::samples::{KINDS, Tails, noise};
use super::season_change::season_change;
use super::slope::slope;

const SERIES: u64 = 100;
const VALUES: usize = 500;
const SEED: u64 = 1_000;

fn count(is: impl Fn(Vec<f64>) -> bool, (rho, tails): (f64, Tails)) -> usize {
    (0..SERIES).filter(|seed| is(noise(VALUES, rho, tails, SEED + seed))).count()
}

#[test]
fn noise_has_no_change_points() {
    for kind in KINDS {
        let found =
            count(|series| !change_points(&series, Options::default()).found.is_empty(), kind);
        println!("{kind:?} seed {SEED}: change points in {found} of {SERIES}");
        assert!(found <= 5, "{kind:?}: {found}");
    }
}

#[test]
fn a_slope_has_no_change_points() {
    for kind in KINDS {
        let found = count(
            |mut series| {
                series.iter_mut().enumerate().for_each(|(t, value)| *value += 0.04 * t as f64);
                !change_points(&series, Options::default()).found.is_empty()
            },
            kind,
        );
        println!("{kind:?} seed {SEED}: change points in {found} of {SERIES} slopes");
        assert!(found <= 5, "{kind:?}: {found}");
    }
}

#[test]
fn shifts_of_three_deviations_are_found_where_they_are() {
    for kind in KINDS {
        let (mut near, mut within) = (0, 0);
        for seed in 0..SERIES {
            let mut series = noise(VALUES, kind.0, kind.1, SEED + seed);
            series[200..].iter_mut().for_each(|value| *value += 3.0);
            let found = change_points(&series, Options::default()).found;
            near += usize::from(found.iter().any(|change| change.at.abs_diff(200) <= 3));
            within +=
                usize::from(found.iter().any(|change| change.low <= 200 && change.high >= 200));
        }
        println!(
            "{kind:?} seed {SEED}: {near} of {SERIES} at most 3 off, {within} within their range"
        );
        assert!(near >= 94 && within >= 93, "{kind:?}: {near} {within}");
    }
}

#[test]
fn noise_has_a_trend_in_one_of_twenty_series_or_a_little_more() {
    for kind in KINDS {
        let plain = count(|series| mann_kendall(&series).is_some_and(|test| test.p < 0.05), kind);
        let corrected = count(
            |series| autocorrelated(&series, Lags::Usual).is_some_and(|test| test.p < 0.05),
            kind,
        );
        println!("{kind:?} seed {SEED}: p < 0.05 in {plain} of {SERIES}, corrected in {corrected}");
        assert!(kind.0 > 0.0 || plain <= 9, "{kind:?}: {plain}");
        // Neighbours that repeat each other make the plain test find trends in a quarter to a half of all series.
        assert!(kind.0 == 0.0 || plain >= 18, "{kind:?}: {plain}");
        assert!(corrected <= if kind.0 < 0.8 { 11 } else { 14 }, "{kind:?}: {corrected}");
    }
}

#[test]
fn slopes_are_found() {
    for kind in KINDS {
        // Of least squares the slope has this standard error, times the root of the long-run variance.
        let error = (12.0 / (VALUES as f64).powi(3) * (1.0 + kind.0) / (1.0 - kind.0)).sqrt();
        let found = count(
            |mut series| {
                let line = 5.0 * error;
                series.iter_mut().enumerate().for_each(|(t, value)| *value += line * t as f64);
                let near =
                    slope(&series).is_some_and(|found| (found.slope - line).abs() < 3.5 * error);
                near && autocorrelated(&series, Lags::Usual)
                    .is_some_and(|test| test.z > 0.0 && test.p < 0.05)
            },
            kind,
        );
        println!("{kind:?} seed {SEED}: slopes found in {found} of {SERIES}");
        assert!(found >= 95, "{kind:?}: {found}");
    }
}

#[test]
fn a_season_that_stays_has_not_changed_and_one_that_grows_has() {
    for kind in KINDS {
        let with = |mut series: Vec<f64>, later: f64| {
            for (t, value) in series.iter_mut().enumerate() {
                let amplitude = if t < VALUES / 2 { 3.0 } else { later };
                *value += amplitude * (TAU * t as f64 / 24.0).sin();
            }
            season_change(&series, 24, 1).is_some_and(|found| found.p <= 0.05)
        };
        let none = count(|series| with(series, 3.0), kind);
        let grown = count(|series| with(series, 4.5), kind);
        println!(
            "{kind:?} seed {SEED}: change in {none} of {SERIES} steady seasons, in {grown} that grow"
        );
        assert!(none <= 9 && grown >= 95, "{kind:?}: {none} {grown}");
    }
}
