//! How often unrelated series are reported, and related ones are not.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use analysis::calendar;
use analysis::series::Span;
use analysis::testing::{number_from, poisson, seed};
use kernels::{Execution, GpuPolicy};

use super::extent::Cohort;
use super::grid::Grid;
use super::output::Correlation;
use super::pairs::{Subjects, Threads};
use super::params::{Detrend, Params};
use super::prepare::prepare;
use super::report::{Compared, Frame, Report};
use crate::testing::Noise;
use crate::testing::shapes::{Shape, each, events, repeating};

/// Series that are compared with each other.
const GROUP: usize = 10;
const LENGTHS: [usize; 5] = [20, 60, 200, 1_000, 5_000];
const DETRENDS: [Detrend; 3] = [Detrend::Seasonal, Detrend::Difference, Detrend::None];

const SHAPES: [Shape; 12] = [
    ("normal", |length, noise| each(length, noise, |noise| noise.normal())),
    ("0/1", |length, noise| each(length, noise, |noise| events(0.3, noise))),
    ("rare", |length, noise| each(length, noise, |noise| events(0.02, noise))),
    ("few", |length, noise| each(length, noise, |noise| poisson(noise, 0.5))),
    ("counts", |length, noise| each(length, noise, |noise| poisson(noise, 5.0))),
    ("zero-inflated", |length, noise| {
        each(length, noise, |noise| events(0.2, noise) * noise.normal().exp())
    }),
    ("lognormal", |length, noise| each(length, noise, |noise| (1.5 * noise.normal()).exp())),
    ("heavy-tailed", |length, noise| each(length, noise, |noise| noise.normal() / noise.normal())),
    ("trend", |length, noise| {
        let slope = 0.5 * noise.normal();
        let rows = each(length, noise, |noise| 2.0 * noise.normal());
        rows.into_iter().enumerate().map(|(at, value)| slope * at as f64 + value).collect()
    }),
    ("autocorrelated", |length, noise| repeating(0.7, length, noise)),
    ("slow", |length, noise| repeating(0.95, length, noise)),
    ("walk", |length, noise| repeating(1.0, length, noise)),
];

/// The pairs of hourly series that are reported.
fn reported(rows: &[Vec<f64>], params: &Params) -> Vec<Correlation> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let execution = Execution { gpu: GpuPolicy::Off, ..Execution::default() };
    let intervals = calendar::Grid::fixed(Span::HOUR, 0);
    let last_us = (rows[0].len() as i64 - 1) * Span::HOUR.micros();
    let series = (0..rows.len()).map(|row| format!("s{row:03}")).collect();
    let mut grid = Grid::new(&Cohort { series, first_us: 0, last_us }, &intervals);
    grid.values = rows.concat();
    let frame = Frame::of(&grid);
    let subjects = Subjects::new(prepare(grid, params, &execution, &pool).unwrap(), &pool);
    if !subjects.is_comparable() {
        return Vec::new();
    }
    let threads = Threads { execution: &execution, pool: &pool };
    let tested = subjects.test_all(params, threads).unwrap();
    let lagged = (subjects.max_lag(params) > 0)
        .then(|| (subjects.search_lags(params, None, threads, |_| ()).unwrap(), true));
    let mut report = Report::new(params, &intervals);
    report.compared(Compared::new(&subjects, frame, tested, lagged));
    report.finish()
}

/// Groups of unrelated series that have a pair that is reported.
fn false_groups(
    shape: fn(usize, &mut Noise) -> Vec<f64>,
    length: usize,
    groups: u64,
    params: &Params,
    noise: &mut Noise,
) -> u64 {
    let has_pairs = |_: &u64| {
        let rows: Vec<Vec<f64>> = (0..GROUP).map(|_| shape(length, noise)).collect();
        !reported(&rows, params).is_empty()
    };
    (0..groups).filter(has_pairs).count() as u64
}

/// `COLONNADE_SERIES` series of each shape and length, with all three settings of `detrend`, and any
/// coefficient reported. A group has a false pair with a probability of at most `max_q`.
#[test]
fn unrelated_series_of_any_shape_are_rarely_reported() {
    let (series, seed) = (number_from("COLONNADE_SERIES", 20), seed());
    let lengths = if series < 100 { &LENGTHS[..3] } else { &LENGTHS[..] };
    println!("{series} series of each shape and length, COLONNADE_TEST_SEED={seed}");
    let mut noise = Noise::new(seed);
    let groups = series / GROUP as u64;
    let (mut all, mut wrong) = (0, 0);
    for detrend in DETRENDS {
        for max_lag in [0, 12] {
            let params = Params { detrend, max_lag, min_coefficient: 0.1, ..Params::default() };
            for (name, shape) in SHAPES {
                let found: Vec<u64> = lengths
                    .iter()
                    .map(|length| false_groups(shape, *length, groups, &params, &mut noise))
                    .collect();
                if found.iter().any(|found| *found > 0) {
                    println!("{detrend:?}, lags {max_lag}, {name}: {found:?} of {groups}");
                }
                wrong += found.iter().sum::<u64>();
                all += groups * lengths.len() as u64;
            }
        }
    }
    let expected = 0.01 * all as f64;
    println!("{wrong} of {all} groups have a false pair; by chance {expected:.1}");
    assert!(wrong as f64 <= expected + 3.0 * expected.sqrt() + 1.0, "{wrong} of {all}");
}

#[test]
fn related_series_are_reported() {
    let mut noise = Noise::new(11);
    for (length, detrend) in
        [60, 200, 1_000].into_iter().flat_map(|length| DETRENDS.map(|detrend| (length, detrend)))
    {
        for (name, shape) in
            SHAPES.into_iter().filter(|(name, _)| !["slow", "walk", "trend"].contains(name))
        {
            // The third follows the first, and the fourth the second two values later.
            let mut rows: Vec<Vec<f64>> = (0..GROUP).map(|_| shape(length, &mut noise)).collect();
            rows[2] = rows[0].iter().map(|value| value + 0.01 * noise.normal()).collect();
            rows[3] = (0..length).map(|at| rows[1][at.saturating_sub(2)]).collect();
            let params = Params { detrend, max_lag: 4, ..Params::default() };
            let found = reported(&rows, &params);
            let has = |a: &str, b: &str| {
                found.iter().any(|pair| pair.series_a == a && pair.series_b == b)
            };
            // One or two events say nothing.
            let is_rare = name == "rare" && length < 1_000;
            assert!(is_rare || has("s000", "s002"), "{name} {length} {detrend:?}");
            assert!(is_rare || has("s001", "s003"), "{name} {length} {detrend:?}, later");
        }
    }
}

#[test]
fn trends_of_any_length_are_unrelated() {
    for length in [60, 160, 280, 600] {
        let mut noise = Noise::new(length as u64);
        let trend = |row: usize, noise: &mut Noise| -> Vec<f64> {
            let slope = [0.5, -0.3, 0.2, -0.7, 0.9][row % 5];
            (0..length).map(|at| 40.0 + slope * at as f64 + 2.0 * noise.normal()).collect()
        };
        let rows: Vec<Vec<f64>> = (0..GROUP).map(|row| trend(row, &mut noise)).collect();
        for detrend in DETRENDS {
            let params = Params { detrend, ..Params::default() };
            let found = reported(&rows, &params);
            assert!(found.is_empty(), "{length} {detrend:?}: {found:?}");
        }
    }
}

#[test]
fn events_that_happened_once_say_nothing() {
    let event = |at: usize| -> Vec<f64> {
        (0..300).map(|place| if place == at { 1.0 } else { 0.0 }).collect()
    };
    for detrend in DETRENDS {
        let params = Params { detrend, ..Params::default() };
        assert_eq!(reported(&[event(100), event(121)], &params), []);
        assert_eq!(reported(&[event(100), event(100)], &Params { max_q: 0.001, ..params }), []);
    }
}
