//! All of what is said of made samples as they come, held against files. See [`crate::pinned`].
#![allow(clippy::unwrap_used)]

use std::f64::consts::TAU;

use super::baseline::{Baseline, residual};
use super::nab_score::{Labelled, Profile, Sweep, probation};
use super::range_precision::{range_auc_pr, vus_pr};
use super::severity::Severity;
use super::shape::Shape;
use super::{
    Aspect, Detector, EpisodeOptions, Episodes, Options, Place, Verdict, Watch, WatchOptions,
};
use crate::Noise;
use crate::pinned::Pinned;
use crate::series::pinned_tests::{gist, made_with_gaps};

const NAN: f64 = f64::NAN;
const MINUTE: i64 = 60_000_000;
const DAY: i64 = 24 * 60 * MINUTE;

/// Values with a day, by the size of that, with wild ones and steps.
fn sampled(n: usize, minutes: i64, day: f64, seed: u64) -> Vec<(i64, f64)> {
    let mut noise = Noise::new(seed);
    let mut level = 10.0;
    let one = |at: usize| {
        let at_us = at as i64 * minutes * MINUTE + 7_000_000;
        let chance = noise.uniform();
        level += if chance < 0.001 { 4.0 } else { 0.0 };
        let wild = if chance > 0.997 { 15.0 * noise.normal() } else { 0.0 };
        let days = at_us as f64 / DAY as f64;
        let weekend = if days.rem_euclid(7.0) < 2.0 { -0.7 * day } else { 0.0 };
        (at_us, level + day * (TAU * days).sin() + weekend + wild + noise.normal())
    };
    (0..n).map(one).collect()
}

#[test]
fn what_is_expected() {
    let mut pinned = Pinned::default();
    for (n, minutes, day, every) in [
        (30, 5, 0.0, 1),
        (3_000, 1, 0.0, 131),
        (2_600, 10, 4.0, 97),
        (2_600, 30, 4.0, 89),
        (6_000, 30, 9.0, 201),
        (1_500, 60, 4.0, 61),
        (900, 47, 2.0, 41),
    ] {
        let mut baseline = Baseline::new();
        let samples = sampled(n, minutes, day, n as u64);
        let (mut found, mut turns) = (Vec::new(), Vec::<(usize, usize)>::new());
        for (at, (at_us, value)) in samples.iter().enumerate() {
            let expected = baseline.expected(*at_us);
            if at % every == 0 || at < 10 && every > 1 {
                found.push(expected);
            }
            let by = expected.map_or(0, |expected| expected.by);
            if turns.last().is_none_or(|(_, last)| *last != by) {
                turns.push((at, by));
            }
            baseline.learn(*at_us, *value);
        }
        pinned.line(&format!("{n} of {minutes} minutes"), &found);
        turns.truncate(40);
        pinned.line("turns", &turns);
        // Over a day: between two half hours, and where there are none.
        let last_us = samples[n - 1].0;
        let day = (0..30).map(|at| baseline.expected(last_us + at * 50 * MINUTE));
        pinned.line("the next day", &day.collect::<Vec<_>>());
        let again = baseline.expected(-3 * DAY + 11 * MINUTE);
        pinned.line("before", &again);
    }
    // Steps of the mean distances: values that become wild, before and after as many as must be known.
    for wild_at in [100, 199, 200, 201, 260] {
        let mut baseline = Baseline::new();
        for at in 0..600_i64 {
            let value = (at * 7 % 5) as f64 + if at >= wild_at { 100.0 } else { 0.0 };
            baseline.learn(at * 480 * MINUTE, value);
        }
        let found = (0..9).map(|at| baseline.expected((600 + at) * 480 * MINUTE));
        pinned.line(&format!("wild at {wild_at}"), &found.collect::<Vec<_>>());
    }
    // How large a day must be to be expected.
    let by = (0..60).map(|size| {
        let mut noise = Noise::new(5);
        let mut baseline = Baseline::new();
        for at in 0..48 * 12_i64 {
            let day = 0.05 * f64::from(size) * (TAU * at as f64 / 48.0).sin();
            baseline.learn(at * 30 * MINUTE, day + noise.normal());
        }
        char::from(b'a' + baseline.expected(48 * 12 * 30 * MINUTE).unwrap().by as u8)
    });
    pinned.line("by", &by.collect::<String>());
    for (value, expected) in [
        (0.3, 0.1 + 0.2),
        (1.0 + 2e-9, 1.0),
        (1.0 + 5e-10, 1.0),
        (-1e9, -1e9 - 0.5),
        (-1e9, -1e9 - 1.5),
        (0.0, 0.0),
        (-3.0, 1.0),
        (1e-3, 0.0),
    ] {
        pinned.line("residual", &(1e6 * residual(value, expected)));
    }
    assert_eq!(pinned.against("series_online_baseline"), Ok(()));
}

#[test]
fn how_rare_distances_are() {
    let mut pinned = Pinned::default();
    let asked = [-1.0, 0.0, 1e-9, 0.01, 0.5, 0.9, 1.0, 1.1, 2.0, 3.0, 5.0, 9.0, 40.0, 1e6];
    let exponential = |noise: &mut Noise| -(1.0 - noise.uniform()).ln();
    for (name, mut severity) in [
        ("usual", Severity::default()),
        ("overlapping", Severity::of_overlapping(24)),
        ("overlapping less", Severity::of_overlapping(2)),
    ] {
        let mut noise = Noise::new(3);
        for count in 1..=6_100 {
            let zero = count % 9 == 4;
            severity.remember(if zero { 0.0 } else { exponential(&mut noise) });
            if [
                1, 2, 16, 17, 31, 32, 33, 48, 49, 160, 999, 1_500, 5_999, 6_000, 6_001, 6_017,
                6_100,
            ]
            .contains(&count)
            {
                pinned.line(&format!("{name} {count}"), &asked.map(|of| severity.of(of)));
                pinned.line("weight", &severity.weight());
            }
        }
    }
    // All of it, of few values: equal ones, of one octave, and of many.
    for (name, values) in [
        ("equal", [1.0, 1.0, 1.0, 1.0]),
        ("near", [1.0, 1.1, 1.3, 1.9]),
        ("far", [1e-6, 1.0, 3.0, 1e6]),
        ("nothing", [0.0, 0.0, 0.0, 2.0]),
    ] {
        let mut severity = Severity::default();
        (0..70).for_each(|at| severity.remember(values[at * at % 7 % 4]));
        pinned.line(name, &severity);
        pinned.line("of it", &asked.map(|of| severity.of(of)));
    }
    // Forgets what weighs too little: after six halves not yet, after seven.
    for count in [21_050, 24_050, 50_000] {
        let mut severity = Severity::default();
        severity.remember(1e5);
        severity.remember(1e4);
        (0..count).for_each(|at| severity.remember(f64::from(1 + at % 3)));
        (0..5).for_each(|_| severity.remember(300.0));
        pinned.line("forgotten", &severity);
    }
    assert_eq!(pinned.against("series_online_severity"), Ok(()));
}

#[test]
fn how_far_shapes_are() {
    let mut pinned = Pinned::default();
    for (n, seed, size) in
        [(140, 1, 1.0), (500, 2, 1.0), (2_900, 3, 4.0), (180, 4, 1e37), (300, 5, 0.0)]
    {
        let mut shape = Shape::default();
        let mut noise = Noise::new(seed);
        let found: Vec<f64> = (0..n)
            .map(|at| {
                let wave = if at % 97 < 20 { 3.0 } else { (TAU * at as f64 / 30.0).sin() };
                shape.push(size * (wave + 0.3 * noise.normal()))
            })
            .collect();
        let first: Vec<(usize, f64)> =
            found.iter().copied().enumerate().filter(|of| of.1 > 0.0).take(3).collect();
        pinned.line(&format!("first of {n}"), &first);
        pinned.line("all", &gist(&found));
        for part in found.chunks(400) {
            pinned.line("part", &gist(part));
        }
    }
    // Five neighbours, near ones and one that is not.
    let mut shape = Shape::default();
    let found: Vec<f64> =
        (0..420).map(|at| shape.push(f64::from(at % 8 * (1 + at / 100)))).collect();
    pinned.line("steps", &found[150..].iter().step_by(9).collect::<Vec<_>>());
    assert_eq!(pinned.against("series_online_shape"), Ok(()));
}

/// All that is unusual, with what is beside it, and sums of the rest.
fn verdicts(pinned: &mut Pinned, name: &str, found: &[Verdict]) {
    let severities: Vec<f64> = found.iter().map(|verdict| verdict.severity).collect();
    pinned.line(name, &gist(&severities));
    for part in severities.chunks(1 + severities.len() / 6) {
        pinned.line("part", &gist(part));
    }
    let mut told = 0;
    for (at, verdict) in found.iter().enumerate() {
        if verdict.severity > 2.2 && told < 14 {
            told += 1;
            pinned.line(&format!("at {at}"), verdict);
        }
    }
    let count = |of: Aspect| found.iter().filter(|verdict| verdict.aspect == Some(of)).count();
    pinned.line("aspects", &Aspect::ALL.map(count));
}

#[test]
fn what_is_unusual() {
    let mut pinned = Pinned::default();
    pinned.line("usual", &(Options::default(), EpisodeOptions::default()));
    pinned.line("aspects", &serde_json::to_string(&Aspect::ALL).unwrap());
    for (n, minutes, day, warm_up_samples) in [
        (400, 5, 0.0, 150),
        (900, 5, 0.0, 150),
        (700, 1, 0.0, 20),
        (2_500, 10, 5.0, 150),
        (3_000, 30, 5.0, 150),
        (3_400, 5, 8.0, 60),
        (1_200, 60, 5.0, 150),
        (200, 60, 0.0, 0),
    ] {
        let mut detector = Detector::new(Options { warm_up_samples });
        let samples = sampled(n, minutes, day, 100 + n as u64);
        let found: Vec<Verdict> =
            samples.iter().map(|(at_us, value)| detector.push(*at_us, *value)).collect();
        verdicts(&mut pinned, &format!("{n} of {minutes} minutes"), &found);
    }
    // Single steps and lasting changes, before and after two days and 576 samples are over.
    for (minutes, at) in
        [(5, 300), (5, 575), (5, 576), (5, 577), (60, 47), (60, 48), (60, 49), (1, 580)]
    {
        for (name, size, length) in [("once", 30.0, 1), ("lasting", 5.0, 40)] {
            let mut detector = Detector::new(Options { warm_up_samples: 40 });
            let mut noise = Noise::new(8);
            let value = |now: i64| {
                let is_changed = (at..at + length).contains(&now);
                noise.normal() + if is_changed { size } else { 0.0 }
            };
            let values: Vec<f64> = (0..at + 10).map(value).collect();
            let push = |(now, value): (i64, f64)| detector.push(now * minutes * MINUTE, value);
            let found: Vec<Verdict> = (0..).zip(values).map(push).collect();
            pinned.line(&format!("{name} of {minutes} at {at}"), &found[at as usize]);
            pinned.line("after", &(found[at as usize + 4], found[at as usize + 9]));
        }
    }
    // Missing, infinite and huge values, and none that moves.
    let mut detector = Detector::new(Options { warm_up_samples: 30 });
    let mut values = made_with_gaps(260, 2);
    (values[100], values[101], values[180]) = (1e305, -1e305, f64::MAX);
    let found: Vec<Verdict> =
        (0..).zip(values).map(|(at, value)| detector.push(at * MINUTE, value)).collect();
    verdicts(&mut pinned, "odd", &found);
    let mut detector = Detector::new(Options { warm_up_samples: 30 });
    let found: Vec<Verdict> =
        (0..300).map(|at| detector.push(at * MINUTE, if at == 200 { 5.0 } else { 3.0 })).collect();
    verdicts(&mut pinned, "still", &found);
    assert_eq!(pinned.against("series_online_detector"), Ok(()));
}

fn verdict(severity: f64) -> Verdict {
    Verdict {
        score: severity / 10.0,
        severity,
        aspect: if severity > 5.0 { Some(Aspect::Drift) } else { None },
        observed: 7.0 + severity,
        expected: Some(1.0),
        episode: Some(Place { number: 9, offset: 9 }),
    }
}

#[test]
fn episodes() {
    let mut pinned = Pinned::default();
    let severities = [
        0.0, 1.9, 2.29, 2.3, 2.0, 1.99, 1.5, 3.0, 3.0, 2.0, 0.0, 0.0, 0.0, 2.2, 5.0, 6.0, 6.0, 0.0,
        2.1, 0.0, 0.0, 0.0, 0.0, 2.3, 0.0, 7.0, 0.0, 0.0, 0.0, 2.5,
    ];
    for (threshold, keep_threshold) in [(2.3, 2.0), (2.3, 3.0), (6.0, 2.0), (2.0, 0.0)] {
        for rest_samples in [0, 1, 2, 3, 4, 144] {
            let options = EpisodeOptions { threshold, keep_threshold, rest_samples };
            let mut episodes = Episodes::new(options);
            let mut places = Vec::new();
            pinned.line("options", &options);
            for (at, severity) in severities.into_iter().enumerate() {
                let mut verdict = verdict(severity);
                if let Some(over) = episodes.push(10 * at as i64, &mut verdict) {
                    pinned.line(&format!("over at {at}"), &over);
                }
                places.push(verdict.episode.map(|place| (place.number, place.offset)));
            }
            pinned.line("places", &places);
            pinned.line("open", &episodes.open());
            pinned.line("finished", &(episodes.finish(), episodes.finish(), episodes.open()));
        }
    }
    assert_eq!(pinned.against("series_online_episodes"), Ok(()));
}

/// What is found of samples so far apart, and what is open at the end.
fn watched(pinned: &mut Pinned, name: &str, options: WatchOptions, samples: &[(i64, f64)]) {
    let mut watch = Watch::new(options);
    let mut over = Vec::new();
    samples.iter().for_each(|(at_us, value)| watch.push(*at_us, *value, &mut over));
    pinned.line(name, &(watch.samples(), watch.last_us(), over.len()));
    over.iter().take(8).for_each(|sighting| pinned.line("over", sighting));
    watch.open().iter().for_each(|sighting| pinned.line("open", sighting));
}

#[test]
fn series_on_watch() {
    let mut pinned = Pinned::default();
    let options = WatchOptions {
        detector: Options { warm_up_samples: 60 },
        episodes: EpisodeOptions { rest_samples: 12, ..EpisodeOptions::default() },
        gap_intervals: Some(2),
        stuck_samples: 6,
    };
    for seed in 0..8 {
        let mut samples = sampled(800 + 30 * seed as usize, 5, 2.0, seed);
        for at in (60..700).step_by(160) {
            samples[at].1 += 25.0;
        }
        watched(&mut pinned, &format!("values {seed}"), options, &samples);
    }
    // As far apart as stated; gaps that are silence, that are not, and those that come often.
    let of = |distances: &[i64], value: &dyn Fn(usize) -> f64| -> Vec<(i64, f64)> {
        let mut at_us = 500;
        let next = |(at, distance): (usize, &i64)| {
            at_us += distance;
            (at_us, value(at))
        };
        distances.iter().enumerate().map(next).collect()
    };
    let moving = |at: usize| (at * at % 13) as f64;
    for (first, gap) in
        [(7, 90), (8, 90), (9, 90), (20, 39), (20, 40), (20, 29), (20, 30), (20, 0), (20, -5)]
    {
        let mut distances = vec![10; first];
        distances.push(gap);
        distances.extend([10; 12]);
        watched(&mut pinned, &format!("{first} then {gap}"), options, &of(&distances, &moving));
    }
    for gaps in [
        &[50, 50, 50, 50][..],
        &[50, 80, 60, 90, 200, 140],
        &[60, 60, 80, 90, 100, 300],
        &[200, 30, 40, 50, 130, 131, 290, 400],
        &[160, 160, 220, 231, 240, 241],
    ] {
        let mut distances = vec![10; 20];
        for gap in gaps {
            distances.push(*gap);
            distances.extend([10; 5]);
        }
        watched(&mut pinned, &format!("gaps {gaps:?}"), options, &of(&distances, &moving));
    }
    let mut often: Vec<i64> = vec![10; 4_100];
    for at in (100..4_100).step_by(400) {
        often[at] = 100;
    }
    watched(&mut pinned, "often", options, &of(&often, &moving));
    let mut rarely: Vec<i64> = vec![10; 4_200];
    for at in [100, 300, 700, 1_980, 2_050, 2_100, 4_050, 4_100] {
        rarely[at] = 100;
    }
    watched(&mut pinned, "rarely", options, &of(&rarely, &moving));
    let all: Vec<i64> = (0..900).map(|at| if at % 10 == 9 { 60 + at } else { 10 }).collect();
    watched(&mut pinned, "all the time", options, &of(&all, &moving));
    // The usual distance changes.
    for others in [10, 31, 32, 33, 47, 48, 49, 63, 64, 80] {
        let mut distances = vec![10; 64];
        distances.extend(vec![25; others]);
        distances.extend([100, 25]);
        watched(&mut pinned, &format!("{others} others"), options, &of(&distances, &moving));
    }
    // Values that stay as they are, for long and for longer than others.
    for runs in [
        &[1, 1, 1, 1, 1, 1, 6, 1][..],
        &[1, 1, 1, 1, 1, 1, 1, 6, 1],
        &[1, 1, 1, 1, 1, 1, 1, 5, 1],
        &[1, 1, 1, 1, 1, 1, 1, 1, 1, 7],
        &[2, 1, 1, 1, 2, 1, 1, 1, 8, 1],
        &[2, 1, 1, 1, 2, 1, 1, 1, 7, 1],
        &[3, 2, 2, 2, 2, 2, 2, 2, 11, 1, 12, 1, 48, 1],
        &[12, 1, 1],
        &[1, 1, 1, 1, 1, 1, 1, 6, 1, 1, 1, 1, 1, 1, 1, 24, 2, 30],
    ] {
        let values: Vec<f64> = runs
            .iter()
            .enumerate()
            .flat_map(|(at, length)| vec![(at % 3) as f64; *length])
            .collect();
        let samples = of(&vec![10; values.len()], &|at: usize| values[at]);
        watched(&mut pinned, &format!("runs {runs:?}"), options, &samples);
        let never = WatchOptions { stuck_samples: 0, gap_intervals: Some(0), ..options };
        watched(&mut pinned, "never", never, &samples);
        let soon = WatchOptions { stuck_samples: 1, ..options };
        watched(&mut pinned, "soon", soon, &samples);
    }
    let odd =
        [(5, 1.0), (5, 2.0), (4, 3.0), (6, NAN), (7, f64::INFINITY), (8, 2.0), (i64::MAX, 1.0)];
    watched(&mut pinned, "odd", options, &odd);
    watched(&mut pinned, "none", options, &[]);
    assert_eq!(pinned.against("series_online_watch"), Ok(()));
}

#[test]
fn scores_of_detectors() {
    let mut pinned = Pinned::default();
    pinned.line(
        "probation",
        &[0, 6, 7, 13, 14, 20, 100, 4_032, 4_999, 5_000, 5_010, 22_695].map(probation),
    );
    let profiles = [
        Profile::STANDARD,
        Profile::LOW_FP_RATE,
        Profile::LOW_FN_RATE,
        Profile { hit: 0.7, false_alarm: 0.3, miss: 0.4 },
        Profile { hit: 0.0, false_alarm: 1.0, miss: 0.0 },
    ];
    let series = |seed: u64| {
        let mut noise = Noise::new(seed);
        let n = 60 + 30 * seed as usize;
        let windows = match seed % 4 {
            0 => vec![(n / 3, n / 3 + 9), (n / 2 + 4, n / 2 + 4), (n - 5, n - 1)],
            1 => vec![(2, 6), (7, 12), (n / 2, n / 2 + 3)],
            2 => vec![],
            _ => vec![(0, 3), (n / 4, n / 3)],
        };
        let is_in = |at: usize| windows.iter().any(|(from, to)| (*from..=*to).contains(&at));
        let score = |at: usize| {
            let score = noise.uniform() + if is_in(at) { 0.35 } else { 0.0 };
            if at % 17 == 11 { NAN } else { (score * 12.0).floor() / 12.0 }
        };
        let scores = (0..n).map(score).collect();
        Labelled { scores, windows }
    };
    let all: Vec<Labelled> = (0..8).map(series).collect();
    for (at, profile) in profiles.into_iter().enumerate() {
        for some in [&all[..0], &all[..1], &all[1..2], &all[2..3], &all[3..], &all[..]] {
            let sweep = Sweep::new(some);
            pinned.line(&format!("best {at} {}", some.len()), &sweep.best(profile));
            for threshold in [0.25, 0.5, 0.75, 1.0, 1.25] {
                pinned.line(&format!("{threshold}"), &sweep.at(profile, threshold));
            }
        }
    }
    assert_eq!(pinned.against("series_online_nab"), Ok(()));
}

#[test]
fn ranges_that_are_found() {
    let mut pinned = Pinned::default();
    for (seed, text) in [
        "0001100000",
        "010010",
        "0000011100001000011111",
        "1000001",
        "1111110",
        "0",
        "111",
        "000",
        "",
        "0110000000000000000000000000010",
        "100000001",
        "00000000000100001000000000000000000000",
    ]
    .into_iter()
    .enumerate()
    {
        let labels: Vec<bool> = text.chars().map(|label| label == '1').collect();
        let mut noise = Noise::new(seed as u64);
        let score = |at: usize| {
            let score = noise.uniform() + if labels[at] { 0.4 } else { 0.0 };
            if at % 7 == 5 { NAN } else { (score * 8.0).floor() }
        };
        let scores: Vec<f64> = (0..labels.len()).map(score).collect();
        let areas = [0, 1, 2, 3, 4, 5, 8, 20].map(|width| range_auc_pr(&scores, &labels, width));
        pinned.line(text, &areas);
        pinned.line("all", &[0, 1, 7].map(|width| vus_pr(&scores, &labels, width)));
        pinned.line("lengths", &range_auc_pr(&scores, &labels[..labels.len() / 2], 2));
    }
    assert_eq!(pinned.against("series_online_ranges"), Ok(()));
}
