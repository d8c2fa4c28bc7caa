//! How often something is reported of series in which nothing happens. `COLONNADE_SERIES` series of each shape, and any
//! `COLONNADE_TEST_SEED`: `make test-rates`.
#![allow(clippy::print_stderr)]

use super::{Detector, EpisodeOptions, Episodes, Options};
use crate::Noise;
use crate::testing::{exponential, number_from, poisson, seed};

type Shape = (&'static str, fn(&mut Noise, f64) -> f64);

/// The next value, from the one before.
const SHAPES: [Shape; 10] = [
    ("0/1", |noise, _| f64::from(u8::from(noise.uniform() < 0.3))),
    ("poisson 0.5", |noise, _| poisson(noise, 0.5)),
    ("poisson 5", |noise, _| poisson(noise, 5.0)),
    (
        "zero-inflated",
        |noise, _| if noise.uniform() < 0.1 { 10.0 * exponential(noise) } else { 0.0 },
    ),
    ("lognormal 1.5", |noise, _| (1.5 * noise.normal()).exp()),
    ("t of 2", |noise, _| noise.normal() / exponential(noise).sqrt()),
    ("normal", |noise, _| noise.normal()),
    ("uniform", |noise, _| noise.uniform()),
    ("ar 0.7", |noise, last| 0.7 * last + noise.normal()),
    ("walk", |noise, last| last + noise.normal()),
];

/// Episodes that begin in a series.
fn begun(noise: &mut Noise, shape: Shape, samples: usize) -> usize {
    let mut detector = Detector::new(Options::default());
    let mut episodes = Episodes::new(EpisodeOptions::default());
    let mut value = 0.0;
    let mut begun = 0;
    for at in 0..samples as i64 {
        value = (shape.1)(noise, value);
        let mut verdict = detector.push(at * 300_000_000, value);
        episodes.push(at * 300_000_000, &mut verdict);
        begun += usize::from(verdict.episode.is_some_and(|place| place.offset == 0));
    }
    begun
}

#[test]
fn short_series_are_seldom_reported_and_long_ones_by_their_length() {
    let count = number_from("COLONNADE_SERIES", 3) as usize;
    let lengths: &[usize] = if count < 20 { &[60, 200] } else { &[20, 60, 200, 1_000, 5_000] };
    for samples in lengths {
        let mut row = Vec::new();
        for (at, shape) in SHAPES.into_iter().enumerate() {
            let mut noise = Noise::new(seed().wrapping_add((at * 100_000 + samples) as u64));
            let begun: usize = (0..count).map(|_| begun(&mut noise, shape, *samples)).sum();
            let of_1000 = 1e3 * begun as f64 / (count * samples) as f64;
            row.push(format!("{} {of_1000:.2}", shape.0));
            // Once in 1,000 samples; the first 150 say nothing.
            let most = (count * samples) as f64 / 1e3;
            assert!(
                begun as f64 <= most + 3.5 * most.sqrt() + 0.5,
                "{}, {samples}: {begun}",
                shape.0
            );
        }
        eprintln!("{samples} samples, findings of 1,000 samples: {}", row.join(", "));
    }
}
