//! How often `windows` and `auto` report something of independent series, or of series that only drift, and whether `windows` still
//! reports what is planted. `COLONNADE_SERIES` series of each shape and length, and any `COLONNADE_TEST_SEED`: `make test-rates`.
#![allow(clippy::print_stderr, clippy::unwrap_used)]

use std::collections::BTreeSet;

use analysis::Noise;
use analysis::series::{Season, Series};
use analysis::testing::{exponential, number_from, poisson, seed};
use kernels::{Execution, GpuPolicy};

use super::detect::detect;
use super::explain::Anomaly;
use super::labelled::Labelled;
use super::params::{Method, Params};
use crate::testing::shapes::{Shape, each, events, repeating};

/// Part of the series of a shape in which something is reported without reason, at most.
const RATE: f64 = 0.05;
/// The same of heavy tails in series that are too short to tell them from light ones.
const RATE_SHORT: f64 = 0.2;
const SHORT: usize = 60;
/// Findings of 1,000 samples that `auto` reports without reason, at most.
const AUTO_OF_1000: f64 = 0.7;

const SHAPES: [Shape; 12] = [
    ("0/1", |length, noise| each(length, noise, |noise| events(0.3, noise))),
    ("poisson 0.5", |length, noise| each(length, noise, |noise| poisson(noise, 0.5))),
    ("poisson 5", |length, noise| each(length, noise, |noise| poisson(noise, 5.0))),
    ("zero-inflated", |length, noise| {
        each(length, noise, |noise| events(0.1, noise) * 10.0 * exponential(noise))
    }),
    ("lognormal 1.5", |length, noise| each(length, noise, |noise| (1.5 * noise.normal()).exp())),
    ("t of 2", |length, noise| {
        each(length, noise, |noise| noise.normal() / exponential(noise).sqrt())
    }),
    ("normal", |length, noise| each(length, noise, Noise::normal)),
    ("uniform", |length, noise| each(length, noise, Noise::uniform)),
    ("trend", |length, noise| (0..length).map(|at| 0.05 * at as f64 + noise.normal()).collect()),
    ("ar 0.7", |length, noise| repeating(0.7, length, noise)),
    ("walk", |length, noise| repeating(1.0, length, noise)),
    ("uneven", |length, noise| {
        let loud = repeating(0.98, length, noise);
        loud.iter().map(|loud| (0.1 * loud).exp() * noise.normal()).collect()
    }),
];

fn found(values: &[Vec<f64>], method: Method) -> Vec<Anomaly> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let execution = Execution { gpu: GpuPolicy::Off, ..Execution::default() };
    let series = values.iter().enumerate().map(|(at, values)| Series {
        name: at.to_string(),
        times: (0..values.len() as i64).map(|at| at * 300_000_000).collect(),
        values: values.clone(),
    });
    let params = Params { method, season: Season::None, ..Params::default() };
    detect(series.collect(), &params, &Labelled::default(), &execution, &pool).unwrap().anomalies
}

/// Series with a finding.
fn series_with(found: &[Anomaly]) -> usize {
    let names: BTreeSet<&str> = found.iter().map(|found| &*found.series).collect();
    names.len()
}

fn lengths(count: u64) -> &'static [usize] {
    let all = &[20, 60, 200, 1_000, 5_000];
    if count < 20 { &all[..3] } else { all }
}

fn noise(shape: usize, length: usize) -> Noise {
    Noise::new(seed().wrapping_mul(31).wrapping_add((shape * 10_000 + length) as u64))
}

#[test]
fn windows_seldom_reports_series_in_which_nothing_happens() {
    let count = number_from("COLONNADE_SERIES", 5);
    let (mut reported, mut all) = (0, 0);
    for length in lengths(count) {
        let mut row = Vec::new();
        for (at, (name, shape)) in SHAPES.iter().enumerate() {
            let mut noise = noise(at, *length);
            let values: Vec<Vec<f64>> = (0..count).map(|_| shape(*length, &mut noise)).collect();
            let with = series_with(&found(&values, Method::Windows));
            row.push(format!("{name} {with}"));
            let rate = if *length <= SHORT { RATE_SHORT } else { RATE };
            let most = rate * count as f64;
            assert!(
                with as f64 <= most + 3.5 * most.sqrt() + 0.5,
                "{name}, {length}: {with} of {count}"
            );
            (reported, all) = (reported + with, all + count as usize);
        }
        eprintln!("{length} samples, of {count} series: {}", row.join(", "));
    }
    eprintln!("{reported} of {all} series");
    assert!(reported as f64 <= 0.03 * all as f64 + 3.0, "{reported} of {all}");
}

/// Light tails: what a normal or uniform series has.
#[test]
fn auto_reports_long_series_by_their_length_and_none_of_light_tails() {
    let count = number_from("COLONNADE_SERIES", 5);
    let lengths: &[usize] = if count < 20 { &[1_000] } else { &[1_000, 5_000] };
    for length in lengths {
        let mut row = Vec::new();
        for (at, (name, shape)) in SHAPES.iter().enumerate() {
            let mut noise = noise(at, *length);
            let values: Vec<Vec<f64>> = (0..count).map(|_| shape(*length, &mut noise)).collect();
            let found = found(&values, Method::Auto).len();
            let thousands = count as f64 * *length as f64 / 1e3;
            row.push(format!("{name} {:.2}", found as f64 / thousands));
            let most = match *name {
                "normal" | "uniform" => 0.01 * count as f64,
                _ => thousands * AUTO_OF_1000,
            };
            assert!(found as f64 <= most + 3.5 * most.sqrt() + 0.5, "{name}, {length}: {found}");
        }
        eprintln!("{length} samples, auto, findings of 1,000 samples: {}", row.join(", "));
    }
}

#[test]
fn what_is_far_beyond_a_shape_is_reported() {
    let count = number_from("COLONNADE_SERIES", 5).min(40);
    for (name, length, by, least) in [
        ("normal", 200, 15.0, 0.9),
        ("normal", 1_000, 8.0, 0.9),
        ("uniform", 200, 5.0, 0.9),
        ("ar 0.7", 1_000, 25.0, 0.6),
        ("poisson 5", 1_000, 60.0, 0.6),
        ("poisson 0.5", 1_000, 20.0, 0.6),
        ("0/1", 200, 10.0, 0.9),
        ("t of 2", 1_000, 3_000.0, 0.6),
        ("lognormal 1.5", 1_000, 1e5, 0.6),
    ] {
        let (at, (_, shape)) = SHAPES.iter().enumerate().find(|(_, of)| of.0 == name).unwrap();
        let mut noise = noise(at, length);
        let planted = |_| {
            let mut values = shape(length, &mut noise);
            values[3 * length / 4] += by;
            values
        };
        let values: Vec<Vec<f64>> = (0..count).map(planted).collect();
        let at_us = 3 * length as i64 / 4 * 300_000_000;
        let hit =
            found(&values, Method::Windows).iter().filter(|found| found.peak_at == at_us).count();
        eprintln!("{name} + {by}, {length} samples: {hit} of {count}");
        assert!(hit as f64 >= least * count as f64 - 1.0, "{name}: {hit} of {count}");
    }
}
