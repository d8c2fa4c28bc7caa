//! How many future values the intervals hold, for series of many shapes.
#![allow(clippy::print_stdout)]

use std::f64::consts::TAU;

use analysis::testing::{number_from, poisson, seed};

use super::params::Params;
use super::tests::of;
use crate::testing::Noise;
use crate::testing::shapes::{Shape, each, events, repeating};

const SHAPES: [Shape; 12] = [
    ("normal", |length, noise| each(length, noise, |noise| 100.0 + 5.0 * noise.normal())),
    ("0/1", |length, noise| each(length, noise, |noise| events(0.3, noise))),
    ("counts", |length, noise| each(length, noise, |noise| poisson(noise, 3.0))),
    ("zero-inflated", |length, noise| {
        each(length, noise, |noise| events(0.25, noise) * (2.0 + 0.7 * noise.normal()).exp())
    }),
    ("lognormal", |length, noise| each(length, noise, |noise| noise.normal().exp())),
    // Student's distribution with two degrees of freedom.
    ("heavy-tailed", |length, noise| {
        each(length, noise, |noise| 50.0 + noise.normal() / (-noise.uniform().ln()).sqrt())
    }),
    ("trend", |length, noise| {
        let rows = each(length, noise, |noise| 3.0 * noise.normal());
        rows.into_iter().enumerate().map(|(at, value)| 10.0 + 0.3 * at as f64 + value).collect()
    }),
    ("walk", |length, noise| repeating(1.0, length, noise)),
    ("autocorrelated", |length, noise| repeating(0.8, length, noise)),
    ("day", |length, noise| {
        let rows = each(length, noise, |noise| 2.0 * noise.normal());
        let day = |at: usize| 50.0 + 10.0 * (at as f64 / 24.0 * TAU).sin();
        rows.into_iter().enumerate().map(|(at, value)| day(at) + value).collect()
    }),
    ("growing season", |length, noise| {
        let rows = each(length, noise, |noise| (0.05 * noise.normal()).exp());
        let level =
            |at: usize| (100.0 + 0.4 * at as f64) * (1.0 + 0.3 * (at as f64 / 12.0 * TAU).sin());
        rows.into_iter().enumerate().map(|(at, value)| level(at) * value).collect()
    }),
    ("changing variance", |length, noise| {
        let rows = each(length, noise, Noise::normal);
        let sigma = |at: usize| if (at / 24).is_multiple_of(2) { 1.0 } else { 3.0 };
        rows.into_iter().enumerate().map(|(at, value)| 30.0 + sigma(at) * value).collect()
    }),
];

/// The longest series.
const LENGTH_MAX: f64 = 1_000.0;

#[test]
fn intervals_of_any_shape_hold_what_they_promise() {
    let count = number_from("COLONNADE_SERIES", 2);
    let mut noise = Noise::new(seed());
    let mut of_all = [0.0; 2];
    for (name, shape) in SHAPES {
        let mut inside = [0.0; 2];
        for _ in 0..count {
            let length = 25.0 * (LENGTH_MAX / 25.0).powf(noise.uniform());
            let length = if count > 2 { length } else { length.min(100.0) } as usize;
            let horizon = (length / 4).min([6, 12, 24][(3.0 * noise.uniform()) as usize]);
            let all = shape(length + horizon, &mut noise);
            let (known, future) = all.split_at(length);
            let low = known.iter().copied().fold(f64::INFINITY, f64::min);
            let high = known.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let forecast = of(known.to_vec(), &Params { horizon, ..Params::default() });
            for ((lower, upper), inside) in forecast.bounds.iter().zip(&mut inside) {
                for (step, value) in future.iter().enumerate() {
                    let (lower, upper) = (lower[step], upper[step]);
                    let width = upper - lower;
                    assert!(width > 0.0 && width <= 10.0 * (high - low), "{name}: {width}");
                    let is_inside = (lower..=upper).contains(value);
                    *inside += f64::from(u8::from(is_inside)) / (horizon as u64 * count) as f64;
                }
            }
        }
        println!("{name}: {inside:.3?}");
        // Two values have no quantile in between: an interval of 95 % holds both.
        if count >= 40 {
            assert!((0.90..=1.0).contains(&inside[1]), "{name}: {inside:?}");
        }
        of_all.iter_mut().zip(inside).for_each(|(all, of)| *all += of / SHAPES.len() as f64);
    }
    println!("{} series, seed {}: {of_all:.3?} of [0.8, 0.95]", 12 * count, seed());
    // Intervals that hold everything are off, too.
    let off = if count >= 40 { [0.06, 0.03] } else { [0.12, 0.08] };
    for ((inside, promised), off) in of_all.into_iter().zip([0.8, 0.95]).zip(off) {
        assert!((inside - promised).abs() < off, "{of_all:?}");
    }
}
