//! All of what is said of made series, held against files: how they are cleaned, seasons, gaps, and what is usual. See
//! [`crate::pinned`].
#![allow(clippy::unwrap_used)]

use std::f64::consts::TAU;
use std::ops::Range;

use super::decompose::{Decomposed, filled};
use super::missing::{gaps, stuck};
use super::repetition::{repeats, season_holds, within};
use super::trend::samples::{Tails, noise};
use super::{
    Deseasonalised, Samples, Season, Series, Span, clean, deseasonalise, keep_rare, median, spread,
};
use crate::Noise;
use crate::pinned::Pinned;
use crate::testing::weighted_sum;

const NAN: f64 = f64::NAN;
const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
/// 2026-01-05, a Monday, at midnight.
const MONDAY: i64 = 1_767_571_200_000_000;

/// What rounding leaves is nothing.
pub(super) fn tidy(value: f64) -> f64 {
    if value.abs() < 1e-9 { 0.0 } else { value }
}

/// A vector in short: how many, some of it, and a sum that each has a part in.
pub(super) fn gist(values: &[f64]) -> String {
    let step = (values.len() / 6).max(1);
    let some: Vec<f64> = values.iter().step_by(step).copied().map(tidy).collect();
    let there = values.iter().filter(|value| value.is_finite()).count();
    let sum = weighted_sum(values.iter().copied());
    format!("{there} of {} {some:?} {:?}", values.len(), tidy(sum))
}

/// A letter for each four.
pub(super) fn packed(of: impl IntoIterator<Item = bool>) -> String {
    let all: Vec<bool> = of.into_iter().collect();
    let letter = |four: &[bool]| {
        let bits = four.iter().enumerate().map(|(at, is)| u8::from(*is) << at).sum::<u8>();
        char::from(b'a' + bits)
    };
    all.chunks(4).map(letter).collect()
}

/// Noise with, by the seed, steps, a slope, a season, wild values, ties.
pub(super) fn made(n: usize, seed: u64) -> Vec<f64> {
    let mut draw = Noise::new(seed + 1_000_000);
    let rho = [0.0, 0.4, 0.0, 0.8][(seed % 4) as usize];
    let tails = if seed % 3 == 1 { Tails::Heavy } else { Tails::Normal };
    let mut values = noise(n, rho, tails, seed);
    for _ in 0..if n > 0 { seed % 3 } else { 0 } {
        let (at, step) = ((draw.uniform() * n as f64) as usize, 6.0 * draw.normal());
        values[at.min(n - 1)..].iter_mut().for_each(|value| *value += step);
    }
    let slope = if seed % 5 == 2 { 0.03 * draw.normal() } else { 0.0 };
    let amplitude = if seed % 4 == 3 { 2.0 } else { 0.0 };
    for (at, value) in values.iter_mut().enumerate() {
        *value += slope * at as f64 + amplitude * (TAU * at as f64 / 12.0).sin();
        let chance = draw.uniform();
        if seed.is_multiple_of(2) && chance < 0.02 {
            *value += 12.0 * draw.normal();
        }
        if seed % 7 == 4 {
            *value = (2.0 * *value).round() / 2.0;
        }
    }
    values
}

/// The same with values missing, single ones and some in a row.
pub(super) fn made_with_gaps(n: usize, seed: u64) -> Vec<f64> {
    let mut values = made(n, seed);
    let mut draw = Noise::new(seed + 2_000_000);
    let mut left = 0;
    for value in &mut values {
        let chance = draw.uniform();
        if chance < 0.02 {
            left = 5;
        }
        if left > 0 || chance > 0.95 {
            *value = if chance > 0.99 { f64::INFINITY } else { NAN };
        }
        left = if left > 0 { left - 1 } else { 0 };
    }
    values
}

#[test]
fn what_is_left_of_raw_series() {
    let mut pinned = Pinned::default();
    let raw: [&[(i64, f64)]; 9] = [
        &[],
        &[(7, 1.0)],
        &[(7, NAN)],
        &[(7, 1.0), (7, 4.0), (7, 10.0)],
        &[(0, 1.0), (10, NAN), (20, 2.0), (20, 4.0), (20, 9.0), (30, f64::INFINITY), (40, 5.0)],
        &[(0, 1.0), (0, NAN), (0, 4.0), (5, -3.0), (5, f64::NEG_INFINITY), (5, 3.0), (15, 8.0)],
        // An even number of distances, and of an odd one the middle.
        &[(0, 1.0), (5, 1.0), (15, 1.0)],
        &[(-20, 1.0), (-10, 1.0), (-3, 1.0), (-3, 2.0), (0, 1.0), (100, 1.0)],
        // In no order.
        &[(20, 1.0), (10, 2.0), (0, 3.0), (0, 5.0)],
    ];
    for (at, points) in raw.into_iter().enumerate() {
        let series = Series {
            name: format!("s{at}"),
            times: points.iter().map(|point| point.0).collect(),
            values: points.iter().map(|point| point.1).collect(),
        };
        pinned.line("clean", &clean(series));
    }
    for values in [
        &[][..],
        &[3.0],
        &[5.0, 1.0],
        &[9.0, 1.0, 5.0],
        &[4.0, 1.0, 9.0, 2.0],
        &[f64::MAX, f64::MAX],
        &[1.0, 1.0, 1.0, 1.0, 9.0],
        &[-7.0, -3.0, -3.5, 2.0, 11.0, 40.0],
        &[2.0; 8],
    ] {
        pinned.line("median", &median(&mut values.to_vec()));
        pinned.line("spread", &spread(values));
        let of = spread(values);
        pinned.line("distance", &(of.at_least_of_mean(), of.or_of_mean()));
    }
    for seed in 0..6 {
        pinned.line("spread", &spread(&made(20 + seed as usize, seed)));
    }
    assert_eq!(pinned.against("series_clean"), Ok(()));
}

#[test]
fn lengths_of_time() {
    let mut pinned = Pinned::default();
    let lengths = "1us 999us 1000us 1500us 250ms 1000ms 90s 60s 3600s 5m 90m 36h 24h 8d 14d 2w 0m \
        5 m -1h 1y 1H 9223372036854775807us 9223372036854775808us 9223372036854775807w";
    for text in lengths.split_whitespace().chain(["", "5 m"]) {
        let parsed = text.parse::<Span>();
        pinned.line(text, &parsed.as_ref().map(|span| (span.micros(), span.seconds())));
        pinned.line("written", &parsed.map(|span| (span.to_string(), String::from(span))));
        pinned.line("season", &Season::try_from(text.to_owned()).map(String::from));
    }
    for text in ["auto", "none", "Auto", "auto "] {
        pinned.line(text, &Season::try_from(text.to_owned()).map(String::from));
    }
    pinned.line("default", &Season::default());
    pinned.line("of micros", &[-1, 0, 1, 3_600_000_000].map(Span::from_micros));
    pinned.line("known", &[Span::HOUR, Span::DAY, Span::WEEK]);
    pinned.line("order", &(Span::HOUR < Span::DAY, Span::WEEK.max(Span::DAY)));
    let json = |value: serde_json::Result<String>| value.unwrap();
    let read = serde_json::from_str::<(Span, Season)>(r#"["90s","36h"]"#);
    pinned.line("read", &read.map_err(|error| error.to_string()));
    let read = serde_json::from_str::<Span>(r#""9""#);
    pinned.line("read", &read.map_err(|error| error.to_string()));
    pinned.line("as text", &json(serde_json::to_string(&(Span::DAY, Season::None))));
    pinned.line("schema", &json(serde_json::to_string(&schemars::schema_for!(Span))));
    pinned.line("schema", &json(serde_json::to_string(&schemars::schema_for!(Season))));
    assert_eq!(pinned.against("series_span"), Ok(()));
}

fn samples(values: Vec<f64>, start: i64, interval_us: i64) -> Samples {
    let times = (0..values.len() as i64).map(|at| start + at * interval_us).collect();
    Samples { name: String::new(), times, values, interval_us }
}

/// `without` some stretches of samples.
fn less(mut samples: Samples, without: &[Range<usize>]) -> Samples {
    let is_left = |at: &usize| !without.iter().any(|range| range.contains(at));
    let left: Vec<usize> = (0..samples.times.len()).filter(is_left).collect();
    samples.times = left.iter().map(|at| samples.times[*at]).collect();
    samples.values = left.iter().map(|at| samples.values[*at]).collect();
    samples
}

/// A day that has noon higher than a sine would, and a weekend.
fn of_day_and_week(at_us: i64, day: f64, week: f64) -> f64 {
    let days = at_us as f64 / (24 * HOUR) as f64;
    let wave = (TAU * days).sin() + 0.5 * (2.0 * TAU * days + 1.0).cos();
    day * wave + if (days + 3.0).rem_euclid(7.0) < 5.0 { week } else { 0.0 }
}

fn told(found: &Deseasonalised) -> String {
    format!("{:?} {}", found.season, gist(&found.residual))
}

#[test]
fn seasons_that_are_taken_out() {
    let mut pinned = Pinned::default();
    let six: Span = "6h".parse().unwrap();
    for (at, (n, minutes, start)) in [
        (97, 60, 0),
        (96, 60, 0),
        (97, 60, HOUR / 2),
        (1_500, 5, 7 * MINUTE),
        (1_200, 10, -MONDAY),
        (1_900, 30, MONDAY),
        (1_000, 90, MONDAY + 17),
        (420, 47, -5 * HOUR),
        (60, 360, MONDAY),
        (60, 480, MONDAY),
        (673, 60, 3 * HOUR),
        (672, 60, 3 * HOUR),
        (240, 12, 0),
    ]
    .into_iter()
    .enumerate()
    {
        let mut all = samples(made(n, at as u64), start, minutes * MINUTE);
        let week = if at % 2 == 0 { 0.0 } else { 4.0 };
        for (value, at_us) in all.values.iter_mut().zip(&all.times) {
            *value += of_day_and_week(*at_us, 2.5, week);
        }
        if at % 3 == 2 {
            all = less(all, &[20..31, n / 2..n / 2 + n / 5, n - 4..n - 2]);
        }
        for season in [Season::Auto, Season::None]
            .into_iter()
            .chain([Span::HOUR, six, Span::DAY, Span::WEEK].map(Season::Every))
        {
            pinned.line(&format!("{n} {minutes} {season:?}"), &told(&deseasonalise(&all, season)));
        }
    }
    for values in [vec![], vec![2.0; 1], vec![2.0; 400]] {
        for season in [Season::Auto, Season::Every(Span::DAY)] {
            let found = deseasonalise(&samples(values.clone(), 0, HOUR), season);
            pinned.line("odd", &told(&found));
        }
    }
    assert_eq!(pinned.against("series_season"), Ok(()));
}

/// Which season is taken out by itself, as each of some sizes.
#[test]
fn seasons_as_they_grow() {
    let mut pinned = Pinned::default();
    let sweep = |hours: usize, rho: f64, steps: usize, of: &dyn Fn(usize, i64) -> f64| {
        let letter = |step: usize| {
            let base = noise(hours, rho, Tails::Normal, 70 + step as u64 % 3);
            let mut all = samples(base, MONDAY, HOUR);
            for (value, at_us) in all.values.iter_mut().zip(&all.times) {
                *value += of(step, *at_us);
            }
            match deseasonalise(&all, Season::Auto).season {
                Some(Span::DAY) => 'd',
                Some(_) => 'w',
                None => '-',
            }
        };
        (0..steps).map(letter).collect::<String>()
    };
    let day = |step: usize, at: i64| of_day_and_week(at, 0.02 * step as f64, 0.0);
    for hours in [120, 193, 336, 720] {
        pinned.line(&format!("day {hours}"), &sweep(hours, 0.0, 90, &day));
        pinned.line(&format!("day {hours} of waves"), &sweep(hours, 0.8, 90, &day));
    }
    let small = |step: usize, at: i64| of_day_and_week(at, 0.1 + 0.002 * step as f64, 0.0);
    pinned.line("day 2400", &sweep(2_400, 0.0, 150, &small));
    let week = |step: usize, at: i64| of_day_and_week(at, 0.0, 0.03 * step as f64);
    pinned.line("week", &sweep(720, 0.0, 80, &week));
    pinned.line("week of waves", &sweep(1_400, 0.8, 80, &week));
    let both = |step: usize, at: i64| of_day_and_week(at, 3.0, 0.01 * step as f64);
    pinned.line("week beside a day", &sweep(720, 0.0, 200, &both));
    pinned.line("week beside a day, longer", &sweep(1_400, 0.0, 200, &both));
    let slope = |step: usize, at: i64| {
        let line = 0.3 * 1.02_f64.powi(step as i32) * ((at - MONDAY) / HOUR) as f64;
        of_day_and_week(at, 3.0, 0.0) + line
    };
    pinned.line("day on a slope", &sweep(720, 0.0, 120, &slope));
    assert_eq!(pinned.against("series_season_sizes"), Ok(()));
}

/// Seasons that begin where the one before ends.
fn rows_of(lengths: &[usize], numbers: &[i64]) -> Vec<(Range<usize>, i64)> {
    let mut start = 0;
    let ranges = lengths.iter().map(|length| {
        start += length;
        start - length..start
    });
    ranges.zip(numbers.iter().copied()).collect()
}

#[test]
fn what_repeats() {
    let mut pinned = Pinned::default();
    for (at, (lengths, numbers)) in [
        (vec![5], vec![3]),
        (vec![4, 4], vec![0, 1]),
        (vec![4, 3, 5], vec![-1, 0, 1]),
        (vec![4, 4, 4, 4], vec![0, 1, 3, 4]),
        (vec![4; 9], vec![0, 1, 2, 3, 4, 7, 8, 9, 10]),
        (vec![3, 4, 4, 4, 4, 4, 4, 2], (5..13).collect()),
        (vec![4; 12], (0..12).collect()),
    ]
    .into_iter()
    .enumerate()
    {
        let n: usize = lengths.iter().sum();
        let seasons = rows_of(&lengths, &numbers);
        for slope in [0.0, 0.7, -0.3] {
            let mut values = made(n, at as u64);
            for (t, value) in values.iter_mut().enumerate() {
                *value += slope * t as f64 + if t > n / 2 { 8.0 * slope * slope } else { 0.0 };
            }
            if at > 2 {
                (values[1], values[5]) = (NAN, f64::INFINITY);
            }
            if at == 4 {
                values[8..12].fill(NAN);
            }
            let found = within(&values, &seasons, |t| (t % 4) as f64 / 4.0 - 0.5);
            pinned.line("within", &found.into_iter().map(tidy).collect::<Vec<f64>>());
        }
    }
    for (seasons, phases, parts) in [
        (0, 4, 1),
        (1, 8, 1),
        (2, 4, 1),
        (2, 7, 7),
        (2, 6, 7),
        (7, 6, 1),
        (8, 6, 1),
        (9, 5, 1),
        (3, 16, 2),
        (4, 16, 2),
        (4, 14, 7),
        (5, 21, 7),
        (12, 3, 3),
        (12, 2, 3),
        (30, 15, 7),
        (70, 4, 1),
        (20, 5, 2),
    ] {
        for explained in [0.05, 0.19, 0.35] {
            let is = (0..120_u64).map(|number| {
                let mut rows = noise(seasons * phases, 0.3, Tails::Heavy, number);
                for (at, value) in rows.iter_mut().enumerate() {
                    *value += 0.02 * number as f64 * (2.4 * (at % phases) as f64).sin();
                    if number % 5 == 3 && (at * 7 + 3) % 11 == 0 {
                        *value = NAN;
                    }
                }
                repeats(&rows, phases, parts, explained)
            });
            pinned.line(&format!("{seasons} {phases} {parts} {explained}"), &packed(is));
        }
    }
    pinned.line("no phases", &repeats(&[1.0, 1.0], 0, 1, 0.1));
    // Near to what chance does, often enough that each try counts.
    for (seasons, phases, parts, size) in [(8, 4, 1, 0.8), (10, 6, 1, 0.55), (6, 6, 2, 0.7)] {
        let is = (0..1_600_u64).map(|number| {
            let mut rows = noise(seasons * phases, 0.0, Tails::Normal, 9_000 + number);
            let season = |at: usize| size * (2.4 * (at % phases) as f64).sin();
            rows.iter_mut().enumerate().for_each(|(at, value)| *value += season(at));
            repeats(&rows, phases, parts, 0.01)
        });
        pinned.line("at the edge", &packed(is));
    }
    // Mostly nothing.
    let is = (0..200_u64).map(|number| {
        let mut draw = Noise::new(number);
        let pulse = |at: usize| if at % 5 == 2 { 1.0 + 0.01 * number as f64 } else { 0.0 };
        let wild = |chance: f64| if chance < 0.06 { 3.0 } else { 0.0 };
        let rows: Vec<f64> = (0..50).map(|at| pulse(at) - wild(draw.uniform())).collect();
        repeats(&rows, 5, 1, 0.1)
    });
    pinned.line("pulses", &packed(is));
    assert_eq!(pinned.against("series_repetition"), Ok(()));
}

#[test]
fn seasons_that_hold() {
    let mut pinned = Pinned::default();
    for (n, season) in [
        (24, 12),
        (23, 12),
        (30, 12),
        (36, 12),
        (84, 12),
        (95, 12),
        (96, 12),
        (109, 12),
        (60, 2),
        (60, 1),
        (60, 0),
        (700, 7),
        (2_000, 5),
        (0, 2),
    ] {
        for (tails, step) in [(Tails::Normal, 0.0), (Tails::Heavy, 9.0)] {
            let is = (0..160_u64).map(|number| {
                let mut values = noise(n, 0.2, tails, number % 4);
                for (at, value) in values.iter_mut().enumerate() {
                    let phase = (at % season.max(1)) as f64;
                    *value += 0.012 * number as f64 * (2.4 * phase).sin() + 0.01 * at as f64;
                    *value += if at > n / 3 { step } else { 0.0 };
                    if number % 4 == 1 && at % 13 == 4 {
                        *value = if at % 2 == 0 { NAN } else { f64::INFINITY };
                    }
                }
                season_holds(&values, season)
            });
            pinned.line(&format!("{n} {season} {tails:?}"), &packed(is));
        }
    }
    // Many seasons, of which each explains little.
    let is = (0..60_u64).map(|number| {
        let mut values = noise(4_800, 0.0, Tails::Normal, number % 3);
        let size = 0.2 + 0.003 * number as f64;
        let season = |at: usize| size * (TAU * at as f64 / 24.0).sin();
        values.iter_mut().enumerate().for_each(|(at, value)| *value += season(at));
        season_holds(&values, 24)
    });
    pinned.line("little", &packed(is));
    for values in [vec![3.0; 60], (0..60).map(f64::from).collect()] {
        pinned.line("odd", &(season_holds(&values, 6), season_holds(&values, 30)));
    }
    let still: Vec<bool> = (0..50)
        .map(|number| {
            let mut draw = Noise::new(number);
            let pulse = |at: usize| if at % 6 == 1 { 1.0 } else { 0.0 };
            let wild = |chance: f64| if chance < 0.002 * number as f64 { 2.5 } else { 0.0 };
            let values: Vec<f64> = (0..120).map(|at| pulse(at) + wild(draw.uniform())).collect();
            season_holds(&values, 6)
        })
        .collect();
    pinned.line("pulses", &packed(still));
    assert_eq!(pinned.against("series_season_holds"), Ok(()));
}

#[test]
fn series_taken_apart() {
    let mut pinned = Pinned::default();
    for (n, seasons) in [
        (60, vec![]),
        (60, vec![12]),
        (61, vec![4, 12]),
        (60, vec![12, 4]),
        (60, vec![30]),
        (60, vec![31]),
        (60, vec![1]),
        (9, vec![2]),
    ] {
        for seed in [3, 7, 12] {
            let mut values = made_with_gaps(n, seed);
            values.iter_mut().filter(|value| value.is_infinite()).for_each(|value| *value = NAN);
            values[0] = 1.0;
            let found = Decomposed::of(&values, &seasons);
            pinned.line(&format!("{n} {seasons:?}"), &gist(&found.adjusted));
            found.seasonal.iter().for_each(|part| pinned.line("part", &gist(part)));
        }
    }
    for values in [
        &[][..],
        &[4.0],
        &[4.0, NAN, NAN],
        &[4.0, NAN, 6.0],
        &[4.0, NAN, NAN, NAN, -4.0, 5.0, NAN, 8.0, 9.0, NAN],
        &[1.0, 2.0, 3.0],
    ] {
        pinned.line("filled", &filled(values));
    }
    assert_eq!(pinned.against("series_decompose"), Ok(()));
}

/// Values of which so many in a row are equal.
fn in_runs(lengths: &[usize]) -> Samples {
    let run = |(at, length): (usize, &usize)| vec![(at % 3) as f64 - 1.0; *length];
    samples(lengths.iter().enumerate().flat_map(run).collect(), 0, 10)
}

#[test]
fn what_is_missing() {
    let mut pinned = Pinned::default();
    let times = vec![0, 10, 20, 35, 55, 85, 125, 125, 134, 1_000];
    let odd = Samples { values: vec![0.0; times.len()], times, ..samples(vec![], 0, 10) };
    for most in [0, 1, 2, 3, 4, 85, 86] {
        pinned.line(&format!("gaps {most}"), &gaps(&odd, most));
    }
    pinned.line("gaps", &gaps(&samples(vec![1.0], 0, 10), 0));
    for lengths in [
        &[][..],
        &[1],
        &[9],
        &[2, 8, 2, 2, 2, 1, 1],
        &[2, 8, 2, 2, 2, 1],
        &[3, 12, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        &[4, 12, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 12, 3],
        &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 12, 4],
        &[12, 1, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 1],
        &[8, 1, 1, 1, 1, 1, 1, 1, 1, 1, 8, 1],
        &[1, 1, 1, 1, 1, 1, 1, 1, 1, 4],
        &[1, 3, 12, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2],
    ] {
        let found = [0, 1, 4, 8, 9, 12, 13].map(|least| stuck(&in_runs(lengths), least));
        pinned.line(&format!("stuck {lengths:?}"), &found.map(|run| run.map(|r| (r, r.samples()))));
    }
    for scores in [
        &[][..],
        &[7.0, 7.0],
        &[1.0, 2.0, 3.0],
        &[9.0, 6.0, 5.9, 4.0],
        &[4.0, 5.9, 6.0, 9.0, 3.0, 4.0],
        &[1.0, 1.0, 1.5, 1.0, 1.6, 2.0, 1.4, 0.5],
        &[-1.0, -2.0, -3.0, -4.0, -5.0, -6.0],
    ] {
        for samples in [0, 1, 10, 11, 20, 21, 35] {
            let kept = keep_rare(scores.to_vec(), samples, 10, |score| *score);
            pinned.line(&format!("rare of {samples}"), &kept);
        }
    }
    assert_eq!(pinned.against("series_missing"), Ok(()));
}
