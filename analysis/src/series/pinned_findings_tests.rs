//! All of what is found in made series, held against files: values far away, shifts, shapes that come but once, targets, lessons,
//! sums, rows. See [`crate::pinned`].
#![allow(clippy::unwrap_used)]

use super::discord::{self, Profile, discords};
use super::hierarchy::{DENSE_MAX, Hierarchy, MinT};
use super::level_shift::{Scale, shifts};
use super::pinned_tests::{gist, made, made_with_gaps, packed};
use super::robust::{Baseline, excursions, sigma_floor};
use super::rows;
use super::taught::{self, Factors, Lesson, Verdict, thresholds};
use super::trend::samples::{Tails, noise};
use super::{Direction, Series, Span, Target, median, remove_seasons};
use crate::Noise;
use crate::calendar::Grid;
use crate::pinned::Pinned;

const NAN: f64 = f64::NAN;

/// Medians, and median distances from them, of the last values.
fn trailing(values: &[f64], window: usize) -> (Vec<f64>, Vec<f64>) {
    let of = |at: usize| {
        let part = &values[(at + 1).saturating_sub(window)..=at];
        let middle = median(&mut part.to_vec()).unwrap();
        let mut off: Vec<f64> = part.iter().map(|value| (value - middle).abs()).collect();
        (middle, median(&mut off).unwrap())
    };
    (0..values.len()).map(of).unzip()
}

#[test]
fn values_far_away() {
    let mut pinned = Pinned::default();
    // Distances that are whole numbers, so that some are just at the threshold.
    let signs = [0.0, 3.0, -3.0, 3.5, 0.0, 0.0, -4.0, 4.0, 0.0, 0.0, 0.0, 5.0, NAN, 6.0, -6.0, 0.0];
    let residual: Vec<f64> = (0..64).map(|at| signs[at % 16] * (1 + at / 32) as f64).collect();
    let mut mad: Vec<f64> = vec![0.0; 64];
    (mad[35], mad[38], mad[43], mad[61]) = (1.0, 2.0, 0.5, NAN);
    let mut centre = vec![0.0; 64];
    (centre[20], centre[27], centre[50]) = (4.0, 2.0, NAN);
    let baseline = Baseline { median: centre, mad, short_median: vec![] };
    for window in [0, 1, 5, 10, 20, 30, 32, 34, 100] {
        for (threshold, floor) in [(3.0, 1.0), (4.0, 1.0), (2.0, 2.0)] {
            let found = excursions(&residual, &baseline, floor, window, threshold);
            pinned.line(&format!("{window} {threshold} {floor}"), &found);
        }
    }
    for seed in 0..12 {
        let values = made(60 + 7 * seed as usize, seed);
        let (median, mad) = trailing(&values, 21);
        let baseline = Baseline { median, mad, short_median: vec![] };
        let floor = sigma_floor(&values, &values);
        pinned.line("floor", &floor);
        pinned.line("found", &excursions(&values, &baseline, floor, 21, 3.5));
    }
    for (value, off) in [(1e9, 1e-3), (1e9, 10.0), (-1e12, 0.0), (5.0, 1.0), (0.0, 0.0)] {
        let rest: Vec<f64> = (0..9).map(|at| if at == 3 { off } else { 0.0 }).collect();
        let floor = sigma_floor(&[value, value * 2.0, value * 0.5, value], &rest);
        pinned.line("least floor", &(floor.log10(), floor == f64::MIN_POSITIVE));
    }
    assert_eq!(pinned.against("series_robust"), Ok(()));
}

/// Shifts by windows of two lengths.
fn shifted(values: &[f64], windows: [usize; 2], reach: usize, threshold: f64) -> String {
    let medians = windows.map(|window| trailing(values, window.max(1)).0);
    let scale = |at: usize| Scale { window: windows[at], medians: &medians[at] };
    let floor = sigma_floor(values, values);
    format!("{:?}", shifts(values, &[scale(0), scale(1)], floor, reach, threshold))
}

#[test]
fn shifts_of_the_level() {
    let mut pinned = Pinned::default();
    for seed in 0..30 {
        let values = made(150 + 11 * seed as usize, seed);
        pinned.line(&format!("made {seed}"), &shifted(&values, [32, 8], 40, 3.0));
    }
    // There and back, on, at the ends, for long and for short.
    for (at, (first, second, size, on)) in [
        (100, 200, 9.0, -9.0),
        (100, 200, 9.0, 6.0),
        (100, 200, -14.0, 5.0),
        (100, 141, 9.0, -9.0),
        (100, 128, -9.0, 9.0),
        (100, 112, 12.0, -12.0),
        (100, 104, 30.0, -30.0),
        (35, 265, 8.0, 8.0),
        (20, 290, 20.0, -20.0),
        (100, 180, 9.0, -4.0),
        (100, 103, 5.0, 5.0),
    ]
    .into_iter()
    .enumerate()
    {
        for size_of_noise in [0.0, 1.0, 3.0] {
            let white = noise(300, 0.0, Tails::Normal, 12 + at as u64);
            // What is nothing is so without a sign.
            let mut values: Vec<f64> =
                white.iter().map(|value| value * size_of_noise + 0.0).collect();
            values[first..].iter_mut().for_each(|value| *value += size);
            values[second..].iter_mut().for_each(|value| *value += on);
            values[first + 2..first + 2 + at % 5].fill(0.0);
            for (windows, reach, threshold) in [([40, 6], 40, 3.0), ([40, 10], 60, 5.0)] {
                pinned.line(&format!("{at}"), &shifted(&values, windows, reach, threshold));
            }
        }
    }
    // Windows too short, or too long for three of them.
    let steps: Vec<f64> =
        (0..60).map(|at| (at % 3) as f64 + if at < 33 { 0.0 } else { 9.0 }).collect();
    for windows in [[20, 1], [21, 2], [20, 0], [1, 3], [30, 4], [5, 20]] {
        pinned.line(&format!("{windows:?}"), &shifted(&steps, windows, 20, 2.0));
    }
    pinned.line("none", &shifted(&[], [4, 2], 4, 3.0));
    // A slope within a step: as a walk goes, and as a step does.
    for wide in [1, 2, 3, 4, 5, 6, 8, 12, 20, 40] {
        let level = |at: usize| (at as f64 - 150.0).clamp(0.0, wide as f64) * 12.0 / wide as f64;
        let mut values = made(330, 24);
        values.iter_mut().enumerate().for_each(|(at, value)| *value += level(at));
        pinned.line(&format!("slope of {wide}"), &shifted(&values, [32, 6], 32, 2.5));
        pinned.line("longer", &shifted(&values, [48, 12], 48, 2.5));
    }
    // As it grows: how many are found, and when the levels are what the spread is taken around.
    let sizes = (0..60).map(|size| {
        let mut values = noise(300, 0.0, Tails::Normal, 12);
        values[150..].iter_mut().for_each(|value| *value += 0.15 * f64::from(size));
        let found = shifted(&values, [40, 6], 40, 3.0);
        char::from(b'a' + found.matches("first").count().min(20) as u8)
    });
    pinned.line("sizes", &sizes.collect::<String>());
    for size in (0..40).map(|size| 2.0 + 0.1 * f64::from(size)) {
        let mut values = made(300, 36);
        values[150..].iter_mut().for_each(|value| *value += size);
        let floor = sigma_floor(&values, &values);
        let medians = trailing(&values, 40).0;
        let scale = Scale { window: 40, medians: &medians };
        let found = shifts(&values, &[scale], floor, 40, 1.0);
        let z: Vec<f64> = found.iter().map(|shift| shift.excursion.z).collect();
        pinned.line("z", &z);
    }
    assert_eq!(pinned.against("series_level_shift"), Ok(()));
}

#[test]
fn rows_of_a_grid() {
    let mut pinned = Pinned::default();
    let of = |times: &[i64], values: &[f64]| Series {
        name: String::new(),
        times: times.to_vec(),
        values: values.to_vec(),
    };
    let series = of(
        &[-11, -10, -1, 0, 9, 10, 19, 20, 39, 39, 39, 40, 49, 50],
        &[7.0, 8.0, 9.0, 1.0, 2.5, NAN, f64::INFINITY, 3.0, 4.0, 5.0, -1.0, 9.0, 11.0, 20.0],
    );
    let tens = Grid::fixed(Span::from_micros(10).unwrap(), 0);
    let mut counts = vec![9; 3];
    for (first, cells) in [(0, 5), (-1, 6), (-2, 1), (3, 2), (5, 1), (6, 2), (0, 0), (i64::MAX, 2)]
    {
        let mut row = vec![0.25; cells];
        let placed = rows::put_means(&series, &tens, first, &mut row, &mut counts);
        pinned.line(&format!("means {first}"), &(placed, row, &counts));
    }
    let great = of(
        &[0, 1, 2, 3, 10, 11, 20, 21, 22, 30, 31, 40],
        &[
            1.5e308,
            1.0,
            1.5e308,
            1.0,
            f64::MIN,
            f64::MAX,
            f64::MAX,
            f64::MAX,
            f64::MAX,
            f64::MIN,
            f64::MIN,
            4.0,
        ],
    );
    let mut row = [NAN, NAN, NAN, NAN, NAN, f64::INFINITY];
    let placed = rows::put_means(&great, &tens, 0, &mut row, &mut counts);
    pinned.line("means of great ones", &(placed, row));
    for values in [
        &[1.0, -3.0, NAN][..],
        &[1e160, -3e160, f64::INFINITY],
        &[4.0, 2.0],
        &[0.5, 0.25],
        &[3e-170, 1e-170],
        &[5e-324, 0.0],
        &[f64::MAX, 1.0],
        &[0.0, NAN],
        &[],
    ] {
        let mut row = values.to_vec();
        rows::normalise(&mut row);
        pinned.line("normalised", &row);
        pinned.line("of it", &(rows::varies(values), rows::missing(values)));
        let mut changes = vec![1.0];
        rows::append_changes(values, &mut changes);
        rows::subtract(&mut changes, &[0.5, 2.0]);
        pinned.line("changes", &changes);
    }
    for values in [&[NAN, 1.0, NAN, 1.0][..], &[NAN, 1.0, 2.0], &[NAN], &[2.0, NAN, 2.5]] {
        pinned.line("varies", &(rows::varies(values), rows::missing(values)));
    }
    for (n, seed) in [(63, 5), (64, 11), (65, 17), (130, 23), (0, 5)] {
        let (a, b) = (made_with_gaps(n, seed), made_with_gaps(n, seed + 6));
        let (a, b) = (rows::presence(&a), rows::presence(&b));
        // In parts, as numbers that long would only be compared by their first digits.
        let parts = |bits: &u64| [0_u32, 16, 32, 48].map(|by| (*bits >> by) & 0xFFFF);
        pinned.line("presence", &a.iter().map(parts).collect::<Vec<_>>());
        pinned.line("in both", &(rows::in_both(&a, &b), rows::in_both(&a, &a)));
    }
    for most in [0, 1, 2, 3, 9] {
        let mut row = [NAN, 1.0, NAN, 2.0, NAN, NAN, 5.0, NAN, NAN, NAN, 3.0, 7.0, NAN];
        pinned.line(&format!("bridged {most}"), &(rows::bridge(&mut row, most), row));
    }
    for clip in [0.0, -1.0, 0.5, 1.0, 2.0, 3.0, 6.0] {
        for seed in [1, 5, 11, 14, 17] {
            let mut row = made_with_gaps(30, seed);
            row.iter_mut().filter(|value| value.is_infinite()).for_each(|value| *value = 50.0);
            rows::clip_and_fill(&mut row, clip);
            pinned.line(&format!("clip {clip} {seed}"), &gist(&row));
        }
        for values in [&[2.0, 2.0, 2.0, 2.0, 2.0, 9.0, NAN][..], &[NAN, NAN], &[3.0, NAN, 3.0]] {
            let mut row = values.to_vec();
            rows::clip_and_fill(&mut row, clip);
            pinned.line("clip", &row);
        }
    }
    for size in [0.0, 3.0] {
        let mut row = made_with_gaps(340, 5);
        row.iter_mut().filter(|value| value.is_infinite()).for_each(|value| *value = NAN);
        let day = |at: usize| size * (std::f64::consts::TAU * at as f64 / 24.0).sin();
        row.iter_mut().enumerate().for_each(|(at, value)| *value += day(at));
        rows::remove_line(&mut row);
        let seasons = remove_seasons(&mut row, &[24, 168], &[]);
        pinned.line("seasons", &(seasons, gist(&row)));
    }
    assert_eq!(pinned.against("series_rows"), Ok(()));
}

/// What is told of windows with these distances, each of the neighbour so many windows on.
fn unlike(values: &[f64], window: usize, distances: &[f64], on: usize, score_min: f64) -> String {
    let profile = Profile { values, window, distances };
    let neighbour = |at: usize| if on == 0 { None } else { Some((at + on) % (values.len() + 2)) };
    format!("{:?}", discords(&profile, neighbour, &discord::Options { score_min }))
}

#[test]
fn shapes_that_come_but_once() {
    let mut pinned = Pinned::default();
    for seed in 0..24_u64 {
        let window = [8, 3, 15, 10][(seed % 4) as usize];
        let values = made(window * (14 + 5 * (seed as usize % 9)), seed + 100);
        let mut draw = Noise::new(seed);
        let mut distances: Vec<f64> = (0..values.len() + 1 - window)
            .map(|at| 0.8 + 0.3 * (at as f64 * 0.37).sin() - 0.2 * draw.uniform().ln())
            .collect();
        for _ in 0..seed % 5 {
            let at = (draw.uniform() * (distances.len() - window) as f64) as usize;
            let size = 1.5 + 2.0 * draw.uniform();
            for (off, distance) in distances[at..at + window].iter_mut().enumerate() {
                *distance += size * (1.0 - (2.0 * off as f64 / window as f64 - 1.0).abs());
            }
        }
        if seed % 3 == 2 {
            (distances[5], distances[20]) = (NAN, f64::INFINITY);
        }
        let score_min = [-1.0, 0.0, 1.0, 2.0][(seed as usize / 3) % 4];
        let on = [window, 0, 3 * window + 1][(seed % 3) as usize];
        let found = unlike(&values, window, &distances, on, score_min);
        pinned.line(&format!("made {seed}"), &found);
    }
    // Where as many windows are apart as must be, one less, and more; and the profile is one or is none.
    let values = made(900, 0);
    let like = |windows: usize| {
        let mut distances: Vec<f64> = (0..windows).map(|at| (at % 10) as f64 * 0.01).collect();
        distances[windows / 2] = 4.0;
        distances
    };
    for windows in [110, 111, 120, 121, 151, 152, 160, 161, 271, 311, 331, 481] {
        let of = &values[..windows + 9];
        pinned.line(&format!("{windows}"), &unlike(of, 10, &like(windows), 30, 0.0));
    }
    for (window, windows) in [(0, 901), (2, 899), (3, 898), (3, 897), (10, 890), (10, 892)] {
        let found = unlike(&values, window, &like(windows), 1, 2.0);
        pinned.line(&format!("{window} of {windows}"), &found);
    }
    for windows in [109, 110, 111, 150, 151, 310, 311, 471] {
        let found = unlike(&values[..windows + 9], 10, &vec![1.0; windows], 1, -9.0);
        pinned.line(&format!("{windows} alike"), &found);
    }
    let mut same = vec![1.0; 300];
    pinned.line("all alike", &unlike(&values[..309], 10, &same, 1, -9.0));
    same[150] = 1.4;
    pinned.line("but one", &unlike(&values[..309], 10, &same, 0, -9.0));
    // Constant stretches: as much as may be, and more.
    for still in [50, 108, 109, 110, 200] {
        let mut some = values[..309].to_vec();
        some[100..100 + still].fill(4.0);
        let mut distances = like(300);
        (distances[96], distances[97], distances[98], distances[99]) = (2.0, 2.5, 3.5, 2.5);
        pinned.line(&format!("still {still}"), &unlike(&some, 10, &distances, 40, 0.0));
    }
    let rounding = (0..40).map(|size| {
        let range = 1.5 + 0.025 * f64::from(size);
        let some: Vec<f64> =
            (0..309).map(|at| 1e9 - if at % 2 == 0 { range } else { 0.0 }).collect();
        unlike(&some, 10, &like(300), 40, 0.0).contains("Constant")
    });
    pinned.line("rounding", &packed(rounding));
    let below: Vec<f64> = (0..309).map(|at| -1e9 - f64::from(at % 2) * 1.9).collect();
    pinned.line("below", &unlike(&below, 10, &like(300), 40, 0.0));
    assert_eq!(pinned.against("series_discord"), Ok(()));
}

#[test]
fn what_misses_a_target() {
    let mut pinned = Pinned::default();
    for (direction, value) in [
        (Direction::Up, 0.0),
        (Direction::Down, 0.0),
        (Direction::Up, 2.0),
        (Direction::Down, -3.0),
        (Direction::Down, 500.0),
        (Direction::Up, 40.0),
    ] {
        let target = Target { value, direction };
        let text = serde_json::to_string(&direction).unwrap();
        pinned.line(direction.as_str(), &(text, direction.limit()));
        for at in [value - 1.5, value, value + 2.5] {
            pinned.line("met", &(target.shortfall(at), target.is_met(at)));
        }
        for (n, seed) in [(7, 0), (8, 0), (9, 4), (20, 2), (45, 11), (60, 4), (90, 7)] {
            let mut found = target.misses(&made(n, seed));
            found.truncate(6);
            pinned.line(&format!("{n} {seed}"), &found);
        }
        for values in [vec![value; 9], vec![value - 0.5; 9], vec![value + 0.5; 8]] {
            pinned.line("still", &target.misses(&values));
        }
        let mut wild = vec![value; 30];
        (wild[3], wild[4], wild[12], wild[29]) = (value - 90.0, value - 9.0, value + 70.0, 1e4);
        (wild[0], wild[20], wild[21]) = (value - 1.0, value + 1.0, value - 1.0);
        pinned.line("wild", &target.misses(&wild));
    }
    pinned.line("schema", &serde_json::to_string(&schemars::schema_for!(Direction)).unwrap());
    assert_eq!(pinned.against("series_target"), Ok(()));
}

/// Lessons on findings, of which the stronger are more often real.
fn lessons(count: usize, size: f64, seed: u64) -> Vec<Lesson> {
    let mut draw = Noise::new(seed);
    let mut one = || {
        let (series, kind) = ((draw.uniform() * 4.0) as usize, (draw.uniform() * 2.0) as usize);
        let ratio = (0.5 + size * draw.normal()).exp();
        let is_real = 0.5 + 0.8 * draw.normal() < ratio.ln();
        let verdict = if is_real { Verdict::Real } else { Verdict::Not };
        Lesson { series, kind, ratio, verdict }
    };
    (0..count).map(|_| one()).collect()
}

fn learnt(found: &Factors) -> String {
    let of = |kind: usize| [0, 1, 2, 3, 9].map(|series| found.of(series, kind));
    let kinds = [0, 1, 2].map(|kind| (found.of_kind(kind), of(kind)));
    let unlearned: Vec<_> = found.unlearned().collect();
    format!("{kinds:?} {unlearned:?} {}", found.left_out())
}

#[test]
fn what_lessons_make_of_thresholds() {
    let mut pinned = Pinned::default();
    let usual = taught::Options::default();
    pinned.line("usual", &usual);
    let wide = taught::Options { factor_min: 1e-4, factor_max: 1e6, ..usual };
    let other =
        taught::Options { response: 0.6, series_deviation: 0.4, kind_deviation: 1.5, ..wide };
    for (count, size) in [(0, 1.0), (1, 0.3), (2, 1.0), (3, 1.0), (6, 0.8), (15, 0.8), (60, 0.5)] {
        for seed in 0..4 {
            for options in [usual, wide, other] {
                let found = thresholds(&lessons(count, size, seed), &options);
                pinned.line(&format!("{count} {size} {seed}"), &learnt(&found));
            }
        }
    }
    let found = thresholds(&lessons(4_000, 0.8, 3), &wide);
    pinned.line("many", &learnt(&found));
    let of = |said: &[(Verdict, f64)]| -> Vec<Lesson> {
        let lesson = |(verdict, ratio): &(Verdict, f64)| Lesson {
            series: 1,
            kind: 1,
            ratio: *ratio,
            verdict: *verdict,
        };
        said.iter().map(lesson).collect()
    };
    let (real, not) = (Verdict::Real, Verdict::Not);
    for said in [
        &[(not, 2.0), (real, 2.0)][..],
        &[(not, 3.0), (real, 2.0)],
        &[(not, 2.0), (real, 2.1)],
        &[(not, 2.0), (real, 2.5), (not, 0.2)],
        &[(not, 2.0), (not, 2.0), (not, 2.0), (not, 2.0), (not, 2.0)],
        &[(real, 0.6), (real, 0.7), (real, 0.6), (real, 0.61), (real, 0.9)],
        &[(real, 1.0)],
        &[(not, 1.0)],
        &[(not, 1e300), (real, 1e-300)],
        &[(not, 40.0), (not, 50.0), (real, 0.01), (real, 0.02)],
        &[(not, 0.0), (real, -1.0), (not, NAN), (real, f64::INFINITY), (real, 1.2)],
        &[(real, 9.0), (not, 8.0), (not, 8.5), (real, 30.0), (not, 1.0)],
    ] {
        for options in [usual, wide, other, taught::Options { response: 0.01, ..wide }] {
            pinned.line(&format!("{said:?}"), &learnt(&thresholds(&of(said), &options)));
        }
    }
    for options in [
        taught::Options { response: 0.0, ..usual },
        taught::Options { series_deviation: -1.0, ..usual },
        taught::Options { kind_deviation: NAN, ..usual },
        taught::Options { kind_deviation: f64::INFINITY, ..usual },
        taught::Options { factor_min: 0.0, ..usual },
        taught::Options { factor_min: 1.0, ..usual },
        taught::Options { factor_min: 1.1, ..usual },
        taught::Options { factor_max: 0.9, ..usual },
        taught::Options { factor_max: 1.0, ..usual },
        taught::Options { factor_max: f64::INFINITY, ..usual },
    ] {
        pinned.line(&format!("{options:?}"), &learnt(&thresholds(&lessons(9, 1.0, 5), &options)));
    }
    // How many steps it takes.
    for (count, response) in
        [(3, 0.25), (12, 0.25), (40, 0.1), (40, 0.02), (300, 0.25), (900, 0.05)]
    {
        let is = (0..6).flat_map(|seed| {
            (0..16).map(move |steps_max| {
                let options = taught::Options { steps_max, response, ..usual };
                thresholds(&lessons(count, 1.0, seed), &options).unlearned().count() == 0
            })
        });
        pinned.line(&format!("steps of {count} {response}"), &packed(is));
    }
    assert_eq!(pinned.against("series_taught"), Ok(()));
}

#[test]
fn sums_that_agree() {
    let mut pinned = Pinned::default();
    let trees = [
        Hierarchy { leaves: 3, sums: vec![vec![0, 1, 2]] },
        Hierarchy { leaves: 4, sums: vec![vec![0, 1], vec![2, 3], vec![0, 1, 2, 3]] },
        Hierarchy { leaves: 2, sums: vec![vec![0, 1], vec![0, 1]] },
        Hierarchy { leaves: 3, sums: vec![vec![0], vec![1, 2], vec![0, 2]] },
        Hierarchy { leaves: 2, sums: vec![] },
    ];
    for (at, tree) in trees.iter().enumerate() {
        for observed in [0, 1, 2, 3, 9, 40] {
            let mut noise = Noise::new((at * 100 + observed) as u64);
            let mut errors = vec![Vec::new(); tree.nodes()];
            for _ in 0..observed {
                let common = noise.normal();
                let leaf = |leaf: usize| (leaf as f64 + 0.5) * noise.normal() + common;
                let leaves: Vec<f64> = (0..tree.leaves).map(leaf).collect();
                let mut all = tree.summed(&leaves);
                all[tree.leaves..].iter_mut().for_each(|sum| *sum += 0.5 * noise.normal());
                if at == 1 {
                    all[1] = 0.0;
                }
                errors.iter_mut().zip(all).for_each(|(own, error)| own.push(error));
            }
            let found = MinT::of(tree.clone(), &errors);
            let said: Vec<f64> = (0..tree.nodes()).map(|node| 3.0 + node as f64 * 1.7).collect();
            pinned.line(&format!("{at} of {observed}"), &found);
            pinned.line("leaves", &found.leaves(&said));
        }
        let agree = vec![vec![0.5; 4]; tree.leaves];
        let sums = tree.sums.iter().map(|of| vec![0.5 * of.len() as f64; 4]);
        let found = MinT::of(tree.clone(), &agree.iter().cloned().chain(sums).collect::<Vec<_>>());
        pinned.line(&format!("{at} never apart"), &found);
    }
    // As many as are compared with each other, and one more.
    for nodes in [DENSE_MAX, DENSE_MAX + 1] {
        let leaves = nodes - 2;
        let sums = vec![(0..leaves).collect(), (0..leaves / 3).collect()];
        let mut noise = Noise::new(8);
        let errors: Vec<Vec<f64>> =
            (0..nodes).map(|_| (0..4).map(|_| noise.normal()).collect()).collect();
        let found = MinT::of(Hierarchy { leaves, sums }, &errors);
        pinned.line(&format!("{nodes} nodes"), &found.shrinkage);
        pinned.line("leaves", &gist(&found.leaves(&vec![1.0; nodes])));
    }
    assert_eq!(pinned.against("series_hierarchy"), Ok(()));
}
