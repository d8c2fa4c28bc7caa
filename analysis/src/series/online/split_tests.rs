//! Whether a series is read at once, or bit by bit with the state saved between, makes no difference in any bit.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use super::{Detector, EpisodeOptions, Episodes, Finding, Options, Verdict};
use crate::Noise;

/// What a sample gave, with all bits of all numbers.
type Seen = (String, String);

fn seen(verdict: &Verdict, finding: Option<Finding>) -> Seen {
    let bits = [verdict.score, verdict.severity, verdict.observed].map(f64::to_bits);
    let expected = verdict.expected.map(f64::to_bits);
    (
        format!("{bits:?} {expected:?} {:?} {:?}", verdict.aspect, verdict.episode),
        format!("{finding:?}"),
    )
}

fn step(detector: &mut Detector, episodes: &mut Episodes, (at, value): (i64, f64)) -> Seen {
    let mut verdict = detector.push(at, value);
    let finding = episodes.push(at, &mut verdict);
    seen(&verdict, finding)
}

fn saved<T: serde::Serialize + serde::de::DeserializeOwned>(state: &T) -> T {
    serde_json::from_str(&serde_json::to_string(state).unwrap()).unwrap()
}

/// Days with spikes, shifts, gaps, repeated instants and missing values.
fn series(seed: u64, length: usize) -> Vec<(i64, f64)> {
    let mut noise = Noise::new(seed);
    let (mut at, mut level) = (0_i64, 0.0);
    let scale = 10_f64.powi((seed % 13) as i32 * 6 - 36);
    (0..length)
        .map(|_| {
            let chance = noise.uniform();
            at += if chance < 0.05 { 0 } else { 600_000_000 };
            at += if chance > 0.998 { 400_000_000_000 } else { 0 };
            if noise.uniform() < 0.002 {
                level += 10.0 * noise.normal();
            }
            let day = (at as f64 / 86_400_000_000.0 * std::f64::consts::TAU).sin();
            let value = level + 3.0 * day + noise.normal();
            let value = match noise.uniform() {
                c if c < 0.005 => value * 1e6,
                c if c < 0.01 => f64::NAN,
                c if c < 0.02 => 0.0,
                c if c < 0.021 => -0.0,
                _ => value,
            };
            (at, value * scale)
        })
        .collect()
}

#[test]
fn saved_and_restored_anywhere_it_goes_on_as_if_nothing_had_been() {
    let options = EpisodeOptions { rest_samples: 20, ..EpisodeOptions::default() };
    let mut noise = Noise::new(99);
    let (mut splits, mut findings) = (0, 0);
    for seed in 0..13 {
        let samples = series(seed, 1500);
        let mut whole = (Detector::new(Options::default()), Episodes::new(options));
        let at_once: Vec<Seen> =
            samples.iter().map(|sample| step(&mut whole.0, &mut whole.1, *sample)).collect();
        findings += at_once.iter().filter(|seen| seen.1 != "None").count();
        let mut parts = (Detector::new(Options::default()), Episodes::new(options));
        for (sample, at_once) in samples.iter().zip(&at_once) {
            if noise.uniform() < 0.055 {
                let restored = (saved(&parts.0), saved(&parts.1));
                assert_eq!(restored, parts);
                parts = restored;
                splits += 1;
            }
            assert_eq!(step(&mut parts.0, &mut parts.1, *sample), *at_once);
        }
        assert_eq!(parts, whole);
        // Bits, not only values: zeros of both signs are equal.
        assert_eq!(
            serde_json::to_string(&parts.0).unwrap(),
            serde_json::to_string(&whole.0).unwrap()
        );
    }
    assert!(splits >= 1000, "{splits}");
    assert!(findings >= 20, "{findings}");
}

#[test]
fn the_state_is_bounded() {
    let size = |length| {
        let mut detector = Detector::new(Options::default());
        for (at, value) in series(5, length) {
            detector.push(at, value);
        }
        serde_json::to_string(&detector).unwrap().len()
    };
    let (some, many) = (size(20_000), size(40_000));
    assert!(many < some * 11 / 10 && many < 250_000, "{some} {many}");
}

#[test]
#[ignore = "a measurement: samples per second on one core"]
fn samples_per_second() {
    let samples = series(6, 1_000_000);
    let mut detector = Detector::new(Options::default());
    let start = std::time::Instant::now();
    let total: f64 = samples.iter().map(|(at, value)| detector.push(*at, *value).score).sum();
    let rate = samples.len() as f64 / start.elapsed().as_secs_f64();
    eprintln!("{rate:.0} samples per second");
    assert!(total > 0.0);
}
