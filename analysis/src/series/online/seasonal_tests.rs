//! Series with a day that noise is a fifth of or less, as `benches/scale.py` makes them: 10,000 samples, 5 minutes apart, a day of
//! three harmonics, noise that remembers half of what it was.
#![allow(clippy::print_stderr)]

use std::f64::consts::TAU;

use super::{Detector, EpisodeOptions, Episodes, Options};
use crate::Noise;

const SAMPLES: usize = 10_000;
const STEP_US: i64 = 300_000_000;
const DAY: usize = 288;
/// A Monday.
const START_US: i64 = 1_767_571_200_000_000;

fn seasonal(noise: &mut Noise, samples: usize) -> Vec<f64> {
    let mut wave = |turns: f64| (turns, 0.5 + 0.5 * noise.uniform(), TAU * noise.uniform());
    let waves = [1.0, 2.0, 3.0].map(&mut wave);
    let (size, mut last) = (5.0 + 5.0 * noise.uniform(), noise.normal());
    let value = |at: usize| {
        let day = TAU * at as f64 / DAY as f64;
        let season: f64 =
            waves.iter().map(|(turns, part, phase)| part * (turns * day + phase).sin()).sum();
        last = 0.5 * last + 0.75_f64.sqrt() * noise.normal();
        100.0 + size * season + last
    };
    (0..samples).map(value).collect()
}

/// Where episodes begin.
fn begun(values: &[f64]) -> Vec<usize> {
    let mut detector = Detector::new(Options::default());
    let mut episodes = Episodes::new(EpisodeOptions::default());
    let begins = |(at, value): (usize, &f64)| {
        let at_us = START_US + at as i64 * STEP_US;
        let mut verdict = detector.push(at_us, *value);
        episodes.push(at_us, &mut verdict);
        verdict.episode.is_some_and(|place| place.offset == 0).then_some(at)
    };
    values.iter().enumerate().filter_map(begins).collect()
}

/// In how many of a hundred series something between a fifth and four fifths of it is found, from an hour before it to `after`; it is
/// added to the values from there on, of which there are no more than are needed.
fn found(
    seeds: std::ops::Range<u64>,
    after: usize,
    something: fn(&mut Noise, &mut [f64]),
) -> usize {
    let is_found = |seed: &u64| {
        let mut noise = Noise::new(*seed);
        let at = SAMPLES / 5 + (noise.uniform() * (SAMPLES * 3 / 5) as f64) as usize;
        let mut values = seasonal(&mut noise, at + after + 1);
        something(&mut noise, &mut values[at..]);
        let is_near = begun(&values).into_iter().any(|begin| begin + 12 >= at);
        if !is_near {
            eprintln!("seed {seed}: not found at {at}");
        }
        is_near
    };
    let count = seeds.clone().filter(is_found).count();
    eprintln!("{count} of seeds {seeds:?}");
    count
}

fn size(noise: &mut Noise, least: f64, most: f64) -> f64 {
    let size = least + (most - least) * noise.uniform();
    if noise.uniform() < 0.5 { -size } else { size }
}

#[test]
fn shifts_of_five_deviations_are_found_within_a_day() {
    let shift = |noise: &mut Noise, values: &mut [f64]| {
        let by = size(noise, 5.0, 8.0);
        values.iter_mut().for_each(|value| *value += by);
    };
    assert!(found(1000..1100, DAY, shift) >= 95);
}

#[test]
fn single_samples_of_ten_deviations_are_found_within_an_hour() {
    let spike = |noise: &mut Noise, values: &mut [f64]| values[0] += size(noise, 10.0, 15.0);
    assert!(found(2000..2100, 12, spike) >= 90);
}

#[test]
fn where_nothing_is_planted_there_is_one_finding_in_50_000_samples_at_most() {
    let begun: usize =
        (3000..3060).map(|seed| begun(&seasonal(&mut Noise::new(seed), SAMPLES)).len()).sum();
    eprintln!("{begun} episodes in 600,000 samples");
    assert!(begun <= 12);
}
