//! All of what is said of made series in the long run, held against files: levels and where they change. See [`crate::pinned`].

use std::f64::consts::TAU;
use std::ops::Range;

use super::Present;
use super::change_points::{
    ChangePoints, Options, Removed, change_points, change_points_beside, levels, mean, penalty,
};
use super::noise::{Ar1, noise as noise_of, of_residuals};
use super::outliers::drawn_in;
use super::place::place;
use super::samples::{STEPS, TIED, Tails, WANDERING, noise, without};
use super::segmentation::segment;
use crate::Noise;
use crate::pinned::Pinned;
use crate::series::pinned_tests::{gist, made, made_with_gaps, tidy};

/// All of it, and the logarithms of what is too small to be compared.
fn told(found: &ChangePoints) -> Vec<String> {
    let changes = found.found.iter().map(|change| format!("{change:?} {:?}", change.p.log10()));
    let rest = format!("{:?} {:?}", tidy(found.slope), found.noise);
    changes.chain([rest]).collect()
}

/// In short, so that there may be many.
fn places(found: &ChangePoints) -> String {
    let changes = found.found.iter().map(|of| (of.low, of.at, of.high, tidy(of.difference)));
    let all: Vec<_> = changes.collect();
    format!("{all:?} {:?} {:?} {:?}", tidy(found.slope), found.noise.sigma, found.noise.rho)
}

fn with_steps(values: &mut [f64], steps: &[(usize, f64)]) {
    for (from, step) in steps {
        values[*from..].iter_mut().for_each(|value| *value += step);
    }
}

#[test]
fn levels_that_change() {
    let mut pinned = Pinned::default();
    for series in [&TIED[..], &WANDERING, &STEPS] {
        for length_min in [0, 1, 2, 5, 12] {
            let found = change_points(series, Options { length_min });
            pinned.text(&format!("known {length_min}"), &told(&found));
        }
    }
    // As short as can be, and shorter; the longest least segment.
    for (n, at, length_min) in [
        (15, 8, 8),
        (16, 8, 8),
        (20, 10, 8),
        (23, 11, 8),
        (24, 12, 8),
        (4, 2, 2),
        (5, 2, 2),
        (3, 1, 2),
        (3, 1, 1),
        (9, 5, 5),
        (10, 5, 5),
        (12, 5, 5),
        (199, 100, 100),
        (200, 100, 100),
        (210, 104, 100),
        (199, 100, 150),
        (200, 100, 150),
        (203, 102, 150),
        (290, 110, 110),
    ] {
        let mut series = noise(n, 0.0, Tails::Normal, n as u64);
        with_steps(&mut series, &[(at, 25.0)]);
        let found = change_points(&series, Options { length_min });
        pinned.text(&format!("{n} {at} {length_min}"), &told(&found));
    }
    for series in [vec![], vec![1.0], vec![4.0; 30], vec![f64::NAN; 30]] {
        pinned.text("odd", &told(&change_points(&series, Options::default())));
    }
    pinned.line("usual", &Options::default());
    // Mostly equal, so that there are few differences.
    let rare: Vec<f64> =
        (0..80).map(|at| f64::from(at % 9 / 8) + f64::from(at / 40) * 3.0).collect();
    pinned.text("rare", &told(&change_points(&rare, Options::default())));
    for seed in 0..24 {
        let series = made_with_gaps(60 + 5 * seed as usize, seed);
        let length_min = [5, 2, 3, 8, 12][(seed % 5) as usize];
        let found = change_points(&series, Options { length_min });
        pinned.text(&format!("made {seed}"), &told(&found));
    }
    assert_eq!(pinned.against("series_change_points"), Ok(()));
}

#[test]
fn levels_that_change_in_many_series() {
    let mut pinned = Pinned::default();
    for seed in 0..160 {
        let mut series = made(30 + (seed as usize * 7) % 150, seed + 500);
        let line = [0.0, 0.05, -0.2, 0.0][(seed % 4) as usize];
        series.iter_mut().enumerate().for_each(|(at, value)| *value += line * at as f64);
        let length_min = [5, 2, 3, 7][(seed / 3 % 4) as usize];
        let found = change_points(&series, Options { length_min });
        pinned.line(&format!("{seed}"), &places(&found));
    }
    // How large a step must be, and how steep a slope.
    for (rho, tails) in [(0.0, Tails::Normal), (0.6, Tails::Normal), (0.0, Tails::Heavy)] {
        let count = |n: usize, seed: u64, of: &dyn Fn(usize) -> f64| {
            let mut series = noise(n, rho, tails, seed);
            series.iter_mut().enumerate().for_each(|(at, value)| *value += of(at));
            let found = change_points(&series, Options::default());
            let letter = b'a' + found.found.len().min(12) as u8;
            char::from(if found.slope == 0.0 { letter } else { letter.to_ascii_uppercase() })
        };
        let steps: String = (0..90)
            .map(|size| {
                let step = |at: usize| if at < 45 { 0.0 } else { 0.05 * f64::from(size) };
                count(100, 3, &step)
            })
            .collect();
        pinned.line("steps", &steps);
        let slopes = (0..90).map(|size| {
            let slope = |at: usize| 0.001 * f64::from(size) * at as f64;
            count(120, 4, &slope)
        });
        pinned.line("slopes", &slopes.collect::<String>());
        let both = (0..60).map(|size| {
            let of =
                |at: usize| 0.05 * at as f64 + if at < 70 { 0.0 } else { 0.1 * f64::from(size) };
            count(150, 5, &of)
        });
        pinned.line("both", &both.collect::<String>());
        // A stretch as long as it may be an outlier, and longer.
        let stretches = (0..24).map(|length| {
            let of = |at: usize| if (40..40 + length).contains(&at) { 8.0 } else { 0.0 };
            count(100, 6, &of)
        });
        pinned.line("stretches", &stretches.collect::<String>());
    }
    assert_eq!(pinned.against("series_change_points_many"), Ok(()));
}

#[test]
fn levels_over_whole_seasons() {
    let mut pinned = Pinned::default();
    let mut beside =
        |name: &str, series: &[f64], season: usize, part: &[f64], length_min: usize| {
            let removed = Removed { season, part };
            let found = change_points_beside(series, removed, Options { length_min });
            pinned.text(name, &told(&found));
        };
    let wave = |season: usize, size: f64| -> Vec<f64> {
        (0..400).map(|at| size * (TAU * at as f64 / season as f64).sin()).collect()
    };
    // Levels up and down that last less than two seasons beside such that last; of these that fail the smallest go first.
    for (at, steps) in [
        &[(150, -8.0), (165, 4.0)][..],
        &[(150, 8.0), (165, -4.0)],
        &[(150, 4.0), (165, 4.0)],
        &[(150, -4.0), (165, -4.0)],
        &[(150, 4.0), (165, -8.0)],
        &[(150, -4.0), (165, 8.0)],
        &[(150, 8.0), (173, -8.0)],
        &[(150, 8.0), (174, -8.0)],
        &[(150, 8.0), (175, -8.0)],
        &[(150, -9.0), (160, 6.0), (172, -5.0), (184, 7.0)],
        &[(150, 9.0), (160, -6.0), (172, 5.0), (184, -7.0)],
        &[(23, 8.0)],
        &[(24, 8.0)],
        &[(25, -8.0)],
        &[(374, 8.0)],
        &[(376, 8.0)],
        &[(377, -8.0)],
        &[(100, 8.0), (110, 8.0), (120, 8.0), (300, -9.0)],
    ]
    .into_iter()
    .enumerate()
    {
        let mut series = noise(400, 0.2, Tails::Normal, 60 + at as u64);
        with_steps(&mut series, steps);
        beside(&format!("steps {steps:?}"), &series, 12, &wave(12, 3.0), 5);
    }
    // Just half of each season is there, or less.
    for (season, missing) in [(4, 1..3), (4, 0..3), (5, 1..3), (5, 0..3), (6, 0..3), (7, 1..5)] {
        for stretch in [0..400, 100..180, 190..230, 150..390] {
            let mut series = noise(400, 0.0, Tails::Normal, season as u64);
            with_steps(&mut series, &[(205, 4.0)]);
            let is_missing = |at: &usize| stretch.contains(at) && missing.contains(&(at % season));
            let missing: Vec<usize> = (0..400).filter(is_missing).collect();
            let name = format!("{season} without {} of {stretch:?}", missing.len());
            beside(&name, &without(&series, &missing), season, &wave(season, 1.0), 5);
        }
    }
    // A season of which another one was taken out, and a part that ends too soon.
    for seed in 0..24_u64 {
        let season = [12, 7, 24, 5][(seed % 4) as usize];
        let at = 150 + 9 * seed as usize % 100;
        let (before, after) = (wave(season, 6.0), wave(season, 6.0 + seed as f64 * 0.8));
        let mut series = made_with_gaps(400, seed * 3 + 1);
        let learnt = |t: usize| {
            let share = ((t as f64 - at as f64 + 50.0) / 100.0).clamp(0.0, 1.0);
            before[t] + (after[t] - before[t]) * share
        };
        let part: Vec<f64> = (0..if seed % 5 == 4 { 300 } else { 400 }).map(learnt).collect();
        for (t, value) in series.iter_mut().enumerate() {
            let own = if t < at { before[t] } else { after[t] };
            *value += own - part.get(t).unwrap_or(&0.0);
            *value += if t < 80 + 10 * seed as usize { 0.0 } else { 0.25 * seed as f64 - 3.0 };
        }
        beside(&format!("season {seed}"), &series, season, &part, 5);
    }
    beside("season of nothing", &noise(40, 0.0, Tails::Normal, 1), 0, &[], 5);
    // How large a step must be over whole seasons, and how many of them must have it.
    let mut letters = String::new();
    for size in 0..100_u8 {
        let mut series = noise(240, 0.0, Tails::Normal, 8);
        with_steps(&mut series, &[(120, 0.4 + 0.02 * f64::from(size))]);
        let part = vec![0.0; 240];
        let removed = Removed { season: 20, part: &part };
        let found = change_points_beside(&series, removed, Options { length_min: 20 });
        letters.push(char::from(b'a' + found.found.len().min(9) as u8));
    }
    for size in 0..100_u8 {
        // In every other season only a part of the step, which is taken for a season that changed.
        let mut series = noise(240, 0.0, Tails::Normal, 9);
        let mut part = vec![0.0; 240];
        for (at, (value, part)) in series.iter_mut().zip(&mut part).enumerate().skip(120) {
            *value += 6.0;
            *part = if at / 20 % 2 == 0 { -0.06 * f64::from(size) } else { 0.0 };
            *part -= if at % 40 > 30 { 0.03 * f64::from(size) } else { 0.0 };
        }
        let removed = Removed { season: 20, part: &part };
        let found = change_points_beside(&series, removed, Options { length_min: 20 });
        letters.push(char::from(b'a' + found.found.len().min(9) as u8));
    }
    pinned.line("sizes", &letters);
    assert_eq!(pinned.against("series_whole_seasons"), Ok(()));
}

#[test]
fn cuts_and_levels() {
    let mut pinned = Pinned::default();
    for seed in 0..40 {
        let series = made((seed as usize * 5) % 83, seed);
        let length_min = [1, 2, 5, 0, 9][(seed % 5) as usize];
        for penalty in [0.1, 0.5, 4.0, 30.0] {
            let found = segment(&series, penalty, length_min);
            pinned.line(&format!("{} {penalty} {length_min}", series.len()), &found);
            if penalty == 4.0 {
                pinned.line("levels", &gist(&levels(&series, &found.cuts)));
            }
        }
    }
    // More pieces than are kept.
    for (n, slope, penalty) in [
        (254, 0.5, 1e9),
        (255, 0.5, 1e9),
        (256, 0.5, 1e9),
        (257, 0.5, 1e9),
        (258, 0.5, 1e9),
        (260, 0.5, 1e9),
        (400, 1.0, 4e4),
        (900, 0.2, 3e3),
        (900, -0.2, 2e5),
    ] {
        for noise_size in [0.0, 0.3] {
            let white = noise(n, 0.0, Tails::Normal, 5);
            let on_line = |(at, value): (usize, &f64)| noise_size * value + slope * at as f64;
            let series: Vec<f64> = white.iter().enumerate().map(on_line).collect();
            let found = segment(&series, penalty, 1);
            pinned.line(&format!("line {n} {slope} {noise_size}"), &found);
        }
    }
    pinned.line("penalty", &[(2, 1.0), (100, 0.25), (1_000, 9.0)].map(|(n, v)| penalty(n, v)));
    pinned.line("mean", &[mean(&[3.0]), mean(&[1.0, 2.0, 6.0])]);
    for seed in 0..8 {
        let series = made(12 + 9 * seed as usize, seed + 40);
        for length_min in [1, 2, 5, 20] {
            let (values, sigma) = drawn_in(&series, length_min);
            pinned.line(&format!("drawn in {length_min}"), &(gist(&values), sigma));
        }
    }
    // At and beyond each distance from the others.
    let mut spikes: Vec<f64> = (0..60).map(|at| f64::from(at % 3)).collect();
    for (at, spike) in (3..60).step_by(7).zip([2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, -30.0]) {
        spikes[at] = spike - f64::from(at as u32 % 2) * 6.0;
    }
    pinned.line("drawn in", &drawn_in(&spikes, 5));
    assert_eq!(pinned.against("series_segmentation"), Ok(()));
}

#[test]
fn places_of_changes() {
    let mut pinned = Pinned::default();
    let of = |present: &Present, within: Range<usize>, levels: (f64, f64), sigma: f64, rho: f64| {
        let found = place(present, within, levels, Ar1 { sigma, rho });
        (found.best, found.low, found.high)
    };
    for seed in 0..60_u64 {
        let n = 12 + (seed as usize * 5) % 40;
        let rho = [0.0, 0.3, 0.8, 0.95][(seed % 4) as usize];
        let tails = if seed % 3 == 0 { Tails::Heavy } else { Tails::Normal };
        let size = [1.0, 2.0, 3.0, 6.0][(seed / 4 % 4) as usize];
        let mut series = noise(n, rho, tails, seed + 300);
        with_steps(&mut series, &[(n / 3, size), (n / 2, -size / 3.0)]);
        let present = if seed % 5 < 2 {
            let missing: Vec<usize> = (0..n).filter(|at| at * at % 5 == 1).collect();
            Present::of(&without(&series, &missing))
        } else {
            Present::of(&series)
        };
        let all = present.len();
        let found = [0.0, 0.5, 0.9].map(|rho| {
            [
                of(&present, 0..all, (0.0, size), 1.0, rho),
                of(&present, 2..all - 1, (0.0, size), 0.6, rho),
                of(&present, 0..all, (size, 0.0), 2.0, rho),
            ]
        });
        pinned.line(&format!("{seed}"), &found);
    }
    let mut draw = Noise::new(4);
    for gap in [1, 2, 900, 1_000, 1_100, 2_000] {
        for rho in [0.9, 0.999, 0.9995] {
            let at: Vec<usize> = (0..12).map(|at| if at < 6 { at } else { at + gap - 1 }).collect();
            let found = (0..6).map(|_| {
                let values = (0..12).map(|at| draw.normal() + f64::from(at / 6) * 2.5).collect();
                let present = Present { at: at.clone(), values };
                of(&present, 0..12, (0.0, 2.5), 1.0, rho)
            });
            pinned.line(&format!("gap {gap} {rho}"), &found.collect::<Vec<_>>());
        }
    }
    assert_eq!(pinned.against("series_place"), Ok(()));
}

#[test]
fn noise_that_is_left() {
    let mut pinned = Pinned::default();
    let mut tell = |name: &str, found: Ar1| {
        pinned.line(name, &(found, found.long_run_variance()));
    };
    for series in [&TIED[..], &WANDERING, &STEPS, &[], &[1.0], &[1.0, 2.0], &[3.0; 20]] {
        tell("known", noise_of(series));
    }
    for n in 2..26 {
        tell(&format!("first {n}"), noise_of(&WANDERING[..n]));
        let at: Vec<usize> = (0..n).map(|at| at + at / 7).collect();
        for levels in [1, 2, 5, n] {
            tell(&format!("{levels} levels"), of_residuals(&at, &STEPS[..n], levels));
        }
    }
    for seed in 0..30 {
        let series = made_with_gaps(20 + 6 * seed as usize, seed);
        tell(&format!("made {seed}"), noise_of(&series));
        let present = Present::of(&series);
        for levels in [1, 3, 10] {
            tell("left", of_residuals(&present.at, &present.values, levels));
        }
    }
    for rho in [0.9, 0.97, 0.995] {
        tell("wandering", noise_of(&noise(300, rho, Tails::Normal, 2)));
        let at: Vec<usize> = (0..300).collect();
        tell("left", of_residuals(&at, &noise(300, rho, Tails::Heavy, 3), 2));
    }
    let few: Vec<f64> =
        (0..90).map(|at| if at % 4 == 3 { f64::NAN } else { f64::from(at * at % 7) }).collect();
    let pairs: Vec<f64> =
        (0..90).map(|at| if at % 3 == 2 { f64::NAN } else { f64::from(at * at % 7) }).collect();
    let mostly: Vec<f64> = (0..60).map(|at| f64::from(u8::from(at % 9 > 7)) * 3.0).collect();
    for series in [few, pairs, mostly, vec![f64::MAX, f64::MIN, f64::MAX]] {
        tell("odd", noise_of(&series));
    }
    assert_eq!(pinned.against("series_noise"), Ok(()));
}
