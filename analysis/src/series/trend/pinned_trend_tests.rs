//! Trends, records and seasons that change of made series, held against files. See [`crate::pinned`].
#![allow(clippy::unwrap_used)]

use std::f64::consts::TAU;

use super::mann_kendall::{Lags, MannKendall, autocorrelated, mann_kendall, variance_of_s};
use super::records::{Records, is_of_line, records};
use super::samples::{STEPS, TIED, Tails, WANDERING, noise, without};
use super::season_change::season_change;
use super::seasonal::seasonal;
use super::slope::{Slopes, slope, two_of};
use crate::noise::nth;
use crate::pinned::Pinned;
use crate::series::pinned_tests::{made, made_with_gaps};

/// With the logarithm of what may be too small to be compared.
fn told(found: Option<MannKendall>) -> String {
    format!("{found:?} {:?}", found.map(|of| of.p.log10()))
}

#[test]
fn trends() {
    let mut pinned = Pinned::default();
    let mut of = |name: &str, series: &[f64]| {
        pinned.line(name, &told(mann_kendall(series)));
        let first = [Lags::First(0), Lags::First(1), Lags::First(3), Lags::First(5_000)];
        for lags in [Lags::Usual, Lags::All].into_iter().chain(first) {
            let found = autocorrelated(series, lags);
            // What is the same for all of them is not said again.
            let corrected = found.map(|of| (of.s, of.variance, of.z, of.p.log10()));
            pinned.line(&format!("{lags:?}"), &corrected);
        }
        pinned.line("slope", &slope(series));
    };
    for series in [&TIED[..], &WANDERING, &STEPS] {
        of("known", series);
        of("and missing", &without(series, &[0, 3, 4, 5, 17, 18, 30, 39]));
    }
    for n in 0..8 {
        of(&format!("first {n}"), &WANDERING[..n]);
        of(&format!("ties {n}"), &[1.0, 1.0, 2.0, 2.0, 2.0, 1.0, 3.0, 0.0][..n]);
        let falls: Vec<f64> = (0..n).map(|at| 5.0 - at as f64).collect();
        of(&format!("falls {n}"), &falls);
    }
    for seed in 0..24 {
        of(&format!("made {seed}"), &made_with_gaps(9 + 6 * seed as usize, seed));
    }
    of("still", &[4.0; 12]);
    of("great", &[f64::MAX, f64::MIN, f64::MAX, 0.0, 1.0]);
    // Neighbours that are on opposite sides, so that less than nothing would be left.
    let sides = |size: f64| {
        let white = noise(40, 0.0, Tails::Normal, 3);
        let side = |(at, value): (usize, f64)| value + if at % 2 == 0 { size } else { -size };
        white.into_iter().enumerate().map(side).collect::<Vec<f64>>()
    };
    of("sides", &sides(0.5));
    of("sides", &sides(5.0));
    // Of lags that no two values are apart there is nothing.
    let apart: Vec<f64> =
        (0..60).map(|at| if at % 4 == 1 { f64::from(at * at % 11) } else { f64::NAN }).collect();
    of("apart", &apart);
    let pairs: Vec<f64> =
        (0..60).map(|at| if at % 5 < 2 { f64::from(at * at % 11) } else { f64::NAN }).collect();
    of("pairs", &pairs);
    let mut one_pair = vec![f64::NAN; 40];
    for (at, value) in [(0, 1.0), (1, 3.0), (7, 2.0), (19, 5.0), (36, 4.0), (39, 9.0)] {
        one_pair[at] = value;
    }
    of("one pair", &one_pair);
    // More lags that count than are looked at.
    for (n, period) in [(399, 700.0), (400, 700.0), (403, 700.0), (404, 700.0), (900, 1_300.0)] {
        let white = noise(n, 0.0, Tails::Normal, 5);
        let wave = |(at, value): (usize, &f64)| 0.05 * value + (TAU * at as f64 / period).cos();
        let series: Vec<f64> = white.iter().enumerate().map(wave).collect();
        let found = [Lags::Usual, Lags::First(99), Lags::First(100), Lags::First(101)];
        let found = found.map(|lags| autocorrelated(&series, lags).map(|of| of.variance));
        pinned.line(&format!("waves {n}"), &found);
    }
    for values in [&[][..], &[1.0], &[1.0, 1.0], &[2.0, 1.0, 1.0, 3.0, 3.0, 3.0]] {
        pinned.line("variance", &variance_of_s(values));
    }
    assert_eq!(pinned.against("series_mann_kendall"), Ok(()));
}

#[test]
fn slopes_of_drawn_pairs() {
    let mut pinned = Pinned::default();
    for n in [2, 3, 7, 1_000] {
        let pairs: Vec<(usize, usize)> = (0..24).map(|k| two_of(n, nth(k))).collect();
        pinned.line(&format!("pairs of {n}"), &pairs);
        pinned.line("least and most", &[0, u64::MAX, 1 << 31, 1 << 63].map(|of| two_of(n, of)));
    }
    for (n, sampled) in [(1, false), (2, false), (5, false), (5, true), (40, true), (41, false)] {
        for variance in [0.0, 0.6, 40.0, 5_000.0] {
            let mut of_pairs: Vec<f64> = (0..n).map(|at| f64::from(at * 37 % 41)).collect();
            of_pairs[0] = if n == 40 { f64::NAN } else { of_pairs[0] };
            let found = Slopes { of_pairs, sampled }.middle(f64::from(n) * 1.5, variance);
            pinned.line(&format!("middle of {n} {sampled} {variance}"), &found);
        }
    }
    let none = Slopes { of_pairs: vec![f64::NAN], sampled: false };
    pinned.line("middle of none", &none.middle(1.0, 1.0));
    // As many as all pairs are taken of, and one more.
    for n in [3_000, 3_001] {
        let series = noise(n, 0.0, Tails::Normal, 12);
        pinned.line(&format!("slope {n}"), &slope(&series));
        if n > 3_000 {
            let missing: Vec<usize> = (0..n).filter(|at| at % 3 == 1).collect();
            pinned.line("with gaps", &slope(&without(&series, &missing)));
        }
    }
    assert_eq!(pinned.against("series_slope"), Ok(()));
}

#[test]
fn trends_beside_a_season() {
    let mut pinned = Pinned::default();
    let mut of = |name: &str, series: &[f64], season: usize| {
        let found = seasonal(series, season);
        let p = found.map(|of| of.test.p.log10());
        pinned.line(&format!("{name} {season}"), &(found, p));
    };
    for season in [0, 1, 2, 7, 12, 19, 20, 21, 39, 40] {
        of("tied", &TIED, season);
        of("with gaps", &without(&TIED, &[1, 2, 3, 14, 20, 21, 22, 23, 38]), season);
    }
    for seed in 0..24 {
        let season = [3, 5, 7, 12][(seed % 4) as usize];
        of(&format!("made {seed}"), &made_with_gaps(10 + 7 * seed as usize, seed), season);
    }
    of("none", &[], 1);
    of("missing", &[f64::NAN; 9], 2);
    // Exactly as many pairs as are taken, more than that, and far more.
    of("most", &noise(250_000, 0.0, Tails::Normal, 6), 10_000);
    of("drawn", &noise(250_025, 0.0, Tails::Normal, 6), 10_001);
    let long = noise(6_003, 0.0, Tails::Normal, 7);
    let missing: Vec<usize> = (0..6_003).filter(|at| at % 6 == 0 || at % 7 == 3).collect();
    of("drawn with gaps", &without(&long, &missing), 2);
    assert_eq!(pinned.against("series_seasonal"), Ok(()));
}

#[test]
fn highest_and_lowest_values() {
    let mut pinned = Pinned::default();
    let mut of = |name: &str, series: &[f64], window: usize| {
        let found = records(series, window);
        pinned.line(&format!("{name} {window}"), &found);
        let Records::Of { highest, lowest } = found else { return };
        for record in [highest, lowest].into_iter().flatten() {
            // Whether it is one of lines that go through, over and under it.
            let slope = (record.value - record.previous) / record.stood as f64;
            let is: Vec<bool> = [-1.0, 0.0, 0.5, 0.9, 0.98, 1.0, 1.02, 1.1, 1.5, 4.0]
                .into_iter()
                .map(|part| is_of_line(series, window, &record, |at| part * slope * at as f64))
                .collect();
            pinned.line("of a line", &is);
        }
    };
    for (n, window) in
        [(19, 1), (20, 1), (21, 1), (39, 2), (40, 2), (60, 3), (60, 4), (60, 0), (6, 9)]
    {
        for seed in [1, 4, 9] {
            let mut series = noise(n, 0.0, Tails::Normal, seed);
            let last = series.len() - 1;
            of("as they are", &series, window);
            series[last] += 6.0;
            of("high", &series, window);
            series[last] -= 12.0;
            of("low", &series, window);
            // The highest and the lowest before are the first ones.
            series[0] = 5.5;
            series[last] = 7.0;
            of("first is high", &series, window);
            (series[0], series[last]) = (-5.5, -7.0);
            of("first is low", &series, window);
            // As high as before, which came twice.
            (series[2], series[5], series[last]) = (6.0, 6.0, 6.0);
            of("equal", &series, window);
            series[last] = 6.5;
            of("a little higher", &series, window);
        }
    }
    for seed in 0..20 {
        let mut series = made_with_gaps(70 + seed as usize, seed);
        series[66] = 3.0 * seed as f64 - 30.0;
        series[67] = 20.0 - 2.5 * seed as f64;
        of(&format!("made {seed}"), &series, 4 + seed as usize / 4);
    }
    // How far beyond it must be.
    for size in 0..40 {
        let mut series: Vec<f64> = (0..60).map(|at| f64::from(at * 7 % 5)).collect();
        series[59] = 4.0 + 0.02 * f64::from(size);
        series[58] = -0.02 * f64::from(size);
        of(&format!("size {size}"), &series, 2);
    }
    // One way: ten steps at least, of which most rise, or most fall.
    for (steps, others) in
        [(8, 0), (9, 0), (10, 0), (19, 0), (17, 1), (18, 1), (19, 1), (36, 2), (38, 2), (37, 2)]
    {
        for sign in [1.0, -1.0] {
            let mut level = 0.0;
            let mut series = vec![level];
            for at in 0..steps + others {
                level += if at % 18 == 7 && at / 18 < others { -sign } else { sign };
                series.push(level);
                if at % 4 == 0 {
                    series.push(level);
                }
            }
            of(&format!("steps {steps} {others}"), &series, 1);
        }
    }
    of("still", &[3.0; 40], 2);
    let mut still = [3.0; 40];
    still[39] = 4.0;
    of("still but the last", &still, 1);
    of("none", &[], 1);
    of("missing", &[f64::NAN; 40], 1);
    assert_eq!(pinned.against("series_records"), Ok(()));
}

#[test]
fn seasons_that_become_others() {
    let mut pinned = Pinned::default();
    let wave = |season: usize, at: usize, turn: f64| (TAU * at as f64 / season as f64 + turn).sin();
    for seed in 0..40_u64 {
        let season = [12, 2, 5, 7, 24][(seed % 5) as usize];
        let n = season * (8 + seed as usize % 13) + seed as usize % season;
        let at = n / 3 + (seed as usize * 5) % (n / 3);
        let tails = if seed % 3 == 0 { Tails::Heavy } else { Tails::Normal };
        let mut series = noise(n, 0.2, tails, seed);
        let (grown, turn) = (1.0 + 0.25 * (seed % 9) as f64, 0.3 * (seed % 4) as f64);
        for (t, value) in series.iter_mut().enumerate() {
            let (size, turn) = if t < at { (2.0, 0.0) } else { (2.0 * grown, turn) };
            *value += size * wave(season, t, turn) + 0.05 * t as f64;
            *value += if t > n / 2 { 9.0 } else { 0.0 };
        }
        if seed % 4 == 1 {
            let of = made_with_gaps(n, seed);
            let gone = |at: &usize| !of[*at].is_finite();
            series = without(&series, &(0..n).filter(gone).collect::<Vec<_>>());
        }
        pinned.line(&format!("{seed} {season} {n}"), &season_change(&series, season, seed));
    }
    // As few seasons as can be, and less; with just half of one, and less.
    let series: Vec<f64> = made(96, 3).iter().map(|value| 2.0 * value).collect();
    for (from, season) in
        [(0, 12), (1, 12), (0, 11), (0, 13), (0, 1), (0, 0), (0, 97), (0, 2), (3, 6)]
    {
        let found = season_change(&series[from..], season, 3);
        pinned.line(&format!("from {from} {season}"), &found);
    }
    for missing in [5, 6, 7] {
        let gone: Vec<usize> = (24..24 + missing).collect();
        pinned.line("gone", &season_change(&without(&series, &gone), 12, 3));
        let longer = made(108, 3);
        pinned.line("of more", &season_change(&without(&longer, &gone), 12, 3));
    }
    for series in [vec![], vec![3.0; 40], vec![f64::NAN; 40], (0..40).map(f64::from).collect()] {
        pinned.line("odd", &season_change(&series, 4, 1));
    }
    // Mostly nothing, so that the reach is that of the mean distance.
    let pulse = |at: i32| if at % 5 == 1 { 3.0 } else { 0.0 };
    let wild = |at: i32| if at % 17 == 0 { f64::from(at) } else { 0.0 };
    let rare: Vec<f64> = (0..90).map(|at| pulse(at) + wild(at)).collect();
    pinned.line("rare", &season_change(&rare, 5, 1));
    // Splits are at each season, and at every second one where there are many.
    for seasons in [106, 107, 108, 109, 208, 209] {
        for at in [4, 55, 56, 57] {
            let mut series = noise(3 * seasons, 0.0, Tails::Normal, 4);
            for (t, value) in series.iter_mut().enumerate() {
                *value += wave(3, t, 0.5) * if t < 3 * at { 1.0 } else { 4.0 };
            }
            pinned.line(&format!("{seasons} at {at}"), &season_change(&series, 3, 5));
        }
    }
    assert_eq!(pinned.against("series_season_change"), Ok(()));
}
