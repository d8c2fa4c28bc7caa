//! Worlds in which nothing is unusual, and days of another shape planted in some.

#![allow(clippy::unwrap_used)]

use std::f64::consts::TAU;

use rayon::prelude::*;

use super::discord::{Discord, Options, Profile, Silence, discords};
use super::trend::samples::{Tails, noise};
use crate::Noise;

pub(super) const SAMPLES: usize = 2_000;
pub(super) const PERIOD: usize = 48;

/// Distance and neighbour of each window, along the diagonals; constant windows as the kernel has them.
pub(super) fn matrix_profile(x: &[f64], m: usize) -> (Vec<f64>, Vec<usize>) {
    let n = x.len() + 1 - m;
    let mean: Vec<f64> = (0..n).map(|i| x[i..i + m].iter().sum::<f64>() / m as f64).collect();
    let flat: Vec<bool> = x.windows(m).map(|w| w.iter().all(|v| *v == w[0])).collect();
    let any_flat = flat.contains(&true);
    let root = |i: usize| x[i..i + m].iter().map(|v| (v - mean[i]).powi(2)).sum::<f64>().sqrt();
    let a: Vec<f64> = (0..n).map(|i| if flat[i] { 0.0 } else { 1.0 / root(i) }).collect();
    let df: Vec<f64> = (0..n - 1).map(|i| (x[i + m] - x[i]) / 2.0).collect();
    let dg: Vec<f64> = (0..n - 1).map(|i| x[i + m] - mean[i + 1] + x[i] - mean[i]).collect();
    // Of each window the nearest of those after it, and of those before.
    let (mut after, mut before) = (vec![(-1.0, 0); n], vec![(-1.0, 0); n]);
    for k in m.div_ceil(4) + 1..n {
        let mut c: f64 = (0..m).map(|t| (x[t] - mean[0]) * (x[k + t] - mean[k])).sum();
        let (after, before) = (&mut after[..n - k], &mut before[k..n]);
        let (a, b) = (&a[..n - k], &a[k..n]);
        let (df, dg) = ((&df[..n - k - 1], &df[k..]), (&dg[..n - k - 1], &dg[k..]));
        for i in 0..n - k {
            let mut rho = c * a[i] * b[i];
            if any_flat && (flat[i] || flat[i + k]) {
                rho = if flat[i] && flat[i + k] { 1.0 } else { 0.5 };
            }
            if rho > after[i].0 {
                after[i] = (rho, i + k);
            }
            if rho > before[i].0 {
                before[i] = (rho, i);
            }
            if i < n - k - 1 {
                c += df.0[i] * dg.1[i] + df.1[i] * dg.0[i];
            }
        }
    }
    let distance = |rho: f64| (2.0 * m as f64 * (1.0 - rho)).max(0.0).sqrt();
    let nearer = |(after, before): ((f64, usize), (f64, usize))| {
        let (rho, at) = if after.0 > before.0 { after } else { before };
        (distance(rho), at)
    };
    after.into_iter().zip(before).map(nearer).unzip()
}

pub(super) fn told(values: &[f64], window: usize) -> Result<Vec<Discord>, Silence> {
    let (distances, neighbours) = matrix_profile(values, window);
    let profile = Profile { values, window, distances: &distances };
    discords(&profile, |at| Some(neighbours[at]), &Options::default())
}

/// A day of two unlike halves, between −1.2 and 0.91.
fn day(phase: f64) -> f64 {
    0.8 * (TAU * phase).sin() + 0.45 * (2.0 * TAU * phase + 0.7).sin()
}

pub(super) fn days(period: usize) -> impl Fn(usize) -> f64 {
    move |at| day(at as f64 / period as f64)
}

pub(super) fn with(shape: impl Fn(usize) -> f64, part: f64, seed: u64) -> Vec<f64> {
    let noise = noise(SAMPLES, 0.0, Tails::Normal, seed);
    noise.iter().enumerate().map(|(at, value)| shape(at) + part * value).collect()
}

fn walk(seed: u64) -> Vec<f64> {
    let mut at = 0.0;
    let step = |step: &f64| {
        at += step;
        at
    };
    noise(SAMPLES, 0.0, Tails::Normal, seed).iter().map(step).collect()
}

fn week(period: usize, at: usize) -> f64 {
    let is_weekend = (at / period) % 7 >= 5;
    if is_weekend { 0.5 * days(period)(at) - 0.8 } else { days(period)(at) }
}

/// On and off in turn, each for a random while.
fn on_and_off(mean: f64, seed: u64) -> Vec<f64> {
    let mut noise = Noise::new(seed);
    let (mut values, mut level) = (Vec::new(), 0.0);
    while values.len() < SAMPLES {
        let length = (1.0 - mean * (1.0 - noise.uniform()).ln()) as usize;
        values.extend(std::iter::repeat_n(level, length));
        level = 1.0 - level;
    }
    values.truncate(SAMPLES);
    values
}

fn rounded(values: Vec<f64>, parts: f64) -> Vec<f64> {
    values.into_iter().map(|value| (value * parts).round()).collect()
}

/// A world for each seed.
type World = fn(u64) -> Vec<f64>;

const QUIET: [(&str, World); 19] = [
    ("white", |seed| noise(SAMPLES, 0.0, Tails::Normal, seed)),
    ("half of the one before", |seed| noise(SAMPLES, 0.5, Tails::Normal, seed)),
    ("most of the one before", |seed| noise(SAMPLES, 0.9, Tails::Normal, seed)),
    ("walk", walk),
    ("day and little noise", |seed| with(days(PERIOD), 0.05, seed)),
    ("day and noise", |seed| with(days(PERIOD), 0.15, seed)),
    ("more noise than day", |seed| with(days(PERIOD), 0.8, seed)),
    ("day and week", |seed| with(|at| week(24, at), 0.1, seed)),
    ("longer day and week", |seed| with(|at| week(PERIOD, at), 0.1, seed)),
    ("spiky", |seed| noise(SAMPLES, 0.0, Tails::Heavy, seed)),
    ("spiky and wandering", |seed| noise(SAMPLES, 0.8, Tails::Heavy, seed)),
    ("few values", |seed| rounded(noise(SAMPLES, 0.0, Tails::Normal, seed), 1.0)),
    ("few values, wandering", |seed| rounded(noise(SAMPLES, 0.9, Tails::Normal, seed), 1.2)),
    ("few values of a day", |seed| rounded(with(days(PERIOD), 0.1, seed), 3.0)),
    ("on and off, short", |seed| on_and_off(10.0, seed)),
    ("on and off", |seed| on_and_off(30.0, seed)),
    ("on and off, longer", |seed| on_and_off(45.0, seed)),
    ("on and off, long", |seed| on_and_off(60.0, seed)),
    ("on and off, very long", |seed| on_and_off(150.0, seed)),
];

fn worlds_told(world: World, window: usize, seeds: u64) -> usize {
    let is_told = |seed: &u64| told(&world(*seed), window).is_ok_and(|told| !told.is_empty());
    (0..seeds).into_par_iter().filter(is_told).count()
}

#[test]
fn noise_and_seasons_have_no_discords() {
    for (name, world) in QUIET {
        let told = worlds_told(world, PERIOD, 100);
        assert!(told <= 1, "{name}: {told} of 100");
    }
}

#[test]
fn nor_have_they_with_other_windows() {
    for (name, world) in QUIET {
        for window in [24, 72] {
            let told = worlds_told(world, window, 10);
            assert_eq!(told, 0, "{name} {window}");
        }
    }
}

/// A value of a day that is replaced: of the usual day, its first sample, and the sample in it.
pub(super) type Replaced = fn(&[f64], usize, usize) -> f64;

/// A day that is replaced; the values stay between those of the others.
pub(super) const PLANTED: [(&str, Replaced); 5] = [
    ("flat", |_, _, _| 0.0),
    ("reversed", |usual, _, at| usual[usual.len() - 1 - at]),
    ("half a day late", |usual, _, at| usual[(at + usual.len() / 2) % usual.len()]),
    ("twice as fast", |_, start, at| day(2.0 * (start + at) as f64 / PERIOD as f64)),
    // Half a day wide, at the highest.
    ("dip", |usual, start, at| {
        let off = (((start + at) % PERIOD) as f64 - 6.0) / (PERIOD / 4) as f64;
        let edge = if off.abs() < 1.0 { 0.5 + 0.5 * (TAU / 2.0 * off).cos() } else { 0.0 };
        usual[at] - 1.2 * edge
    }),
];

/// Where a day at any phase was replaced, and the values.
fn planted(shape: Replaced, part: f64, seed: u64) -> (usize, Vec<f64>) {
    let start = (300.0 + 1_300.0 * Noise::new(seed ^ 0xDA7).uniform()) as usize;
    let usual: Vec<f64> = (start..start + PERIOD).map(days(PERIOD)).collect();
    let value = |at: usize| match at.checked_sub(start) {
        Some(since) if since < PERIOD => shape(&usual, start, since),
        _ => days(PERIOD)(at),
    };
    (start, with(value, part, seed))
}

/// Worlds in which it was found, discords within a day of it beside the first, and those elsewhere.
fn found(shape: Replaced, part: f64, window: usize) -> [usize; 3] {
    let found = |seed: u64| {
        let (start, values) = planted(shape, part, seed);
        let told = told(&values, window).unwrap_or_default();
        let near = |of: &Discord, reach: usize| {
            of.start < start + PERIOD + reach && of.end + reach >= start
        };
        let count = |reach: usize| told.iter().filter(|of| near(of, reach)).count();
        let (found, near) = (count(0).min(1), count(PERIOD));
        [found, near - found, told.len() - near]
    };
    let sum = |a: [usize; 3], b: [usize; 3]| [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
    (0..100).into_par_iter().map(found).reduce(|| [0; 3], sum)
}

#[test]
fn a_day_of_another_shape_is_found_and_nothing_else() {
    for (name, shape) in PLANTED {
        for part in [0.05, 0.15] {
            let [found, near, far] = found(shape, part, PERIOD);
            assert!(found >= 95 && far == 0, "{name} {part}: {found}, elsewhere {far}");
            // A day that is late is unlike where it begins and where it ends.
            let twice = if name == "half a day late" { 100 } else { 25 };
            assert!(near <= twice, "{name} {part}: {near} twice");
        }
    }
}

#[test]
fn the_profile_here_is_that_of_its_definition() {
    let mut values = walk(3)[..260].to_vec();
    values[60..75].fill(2.0);
    values[180..200].fill(5.0);
    let (m, n): (usize, usize) = (12, 249);
    let normal = |at: usize| {
        let window = &values[at..at + m];
        let mean = window.iter().sum::<f64>() / m as f64;
        let deviation = (window.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / m as f64).sqrt();
        let flat = window.iter().all(|value| *value == window[0]);
        (!flat).then(|| window.iter().map(|v| (v - mean) / deviation).collect::<Vec<f64>>())
    };
    let distance = |a: usize, b: usize| match (normal(a), normal(b)) {
        (Some(a), Some(b)) => a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt(),
        (None, None) => 0.0,
        _ => (m as f64).sqrt(),
    };
    let (distances, neighbours) = matrix_profile(&values, m);
    for at in 0..n {
        let others = (0..n).filter(|other| at.abs_diff(*other) > 3);
        let nearest = others.map(|other| distance(at, other)).fold(f64::INFINITY, f64::min);
        assert!((distances[at] - nearest).abs() < 1e-6, "{at}: {} {nearest}", distances[at]);
        assert!((distance(at, neighbours[at]) - nearest).abs() < 1e-6, "{at}");
    }
}
