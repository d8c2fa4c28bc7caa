//! Made worlds in which nothing drifts, or something does.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Write as _;

use super::*;
use crate::noise::Noise;

const QUARTER: usize = 91;
const REFERENCE: usize = 28;
const WATCHED: usize = 5;

fn worlds(usual: u64) -> u64 {
    let asked = std::env::var("COLONNADE_WORLDS").ok().and_then(|of| of.parse().ok());
    asked.unwrap_or(usual)
}

fn rule() -> Rule {
    Rule::of(REFERENCE, [0; 2], (WATCHED, QUARTER as f64), 1.0).unwrap()
}

/// A day of a model, one sample for each thing that is watched: days differ among each other, and weekends have fewer rows.
fn day(noise: &mut Noise, at: usize, shift: f64, times: usize) -> [Sample; WATCHED] {
    let rows = if at % 7 >= 5 { 60 } else { 200 };
    let rows = if times == 0 { rows / 2 } else { rows * times };
    // What all rows of a day have in common.
    let mood = 0.1 * noise.normal();
    let numbers = |noise: &mut Noise, of: &dyn Fn(f64) -> f64| {
        Sample::of_numbers(
            (0..rows).map(|_| Some(of(noise.normal() + mood + shift))).collect::<Vec<_>>(),
        )
    };
    let plain = numbers(noise, &|of| of);
    let skewed = numbers(noise, &|of| of.exp().round());
    let holes = Sample::of_numbers(
        (0..rows)
            .map(|_| (noise.uniform() > 0.1 + 0.3 * shift).then(|| noise.normal()))
            .collect::<Vec<_>>(),
    );
    let mut texts = BTreeMap::new();
    for _ in 0..rows {
        let text = match noise.uniform() + 0.05 * mood - 0.3 * shift {
            of if of < 0.5 => "a",
            of if of < 0.8 => "b",
            _ => "c",
        };
        *texts.entry(Some(text.to_owned())).or_default() += 1;
    }
    let mut vector =
        |at: f64| -> Vec<f32> { (0..8).map(|_| (noise.normal() + at) as f32).collect() };
    let like: Vec<Vec<f32>> = (0..20).map(|place| vec![place as f32 / 10.0; 8]).collect();
    let vectors: Vec<Vec<f32>> = (0..60).map(|_| vector(mood + shift)).collect();
    let vectors = Features::like(&like).unwrap().mean(&vectors);
    [plain, skewed, holes, Sample::Texts(texts), vectors]
}

/// What is found in days of which those from `drifts` on are shifted, and have so many times as many rows, for each thing that is watched.
fn found(seed: u64, days: usize, drifts: usize, shift: f64, times: usize) -> Vec<Vec<Drift>> {
    let mut noise = Noise::new(seed);
    let mut watches: Vec<Watch> = (0..WATCHED).map(|_| Watch::new(rule())).collect();
    for at in 0..days {
        let (shift, times) = if at >= drifts { (shift, times) } else { (0.0, 1) };
        for (watch, sample) in watches.iter_mut().zip(day(&mut noise, at, shift, times)) {
            watch.push(Period { at: at as i64, sample });
        }
    }
    watches.into_iter().map(|watch| watch.finish().0).collect()
}

#[test]
fn a_quarter_in_which_nothing_drifts_has_at_most_one_false_alarm() {
    let worlds = worlds(30);
    let (mut alarms, mut more) = (0, 0);
    for seed in 0..worlds {
        // In a third of them traffic grows fivefold, in another one it halves.
        let found = match seed % 3 {
            0 => found(seed, REFERENCE + QUARTER, usize::MAX, 0.0, 1),
            1 => found(seed, REFERENCE + QUARTER, REFERENCE + 1, 0.0, 5),
            _ => found(seed, REFERENCE + QUARTER, REFERENCE + 1, 0.0, 0),
        };
        let found: usize = found.iter().map(Vec::len).sum();
        alarms += found;
        more += usize::from(found > 1);
    }
    let told =
        format!("{alarms} false alarms in {worlds} quarters of a model, more than one in {more}");
    let _ = writeln!(std::io::stderr(), "{told}");
    assert!(alarms as u64 <= worlds && (more as u64) * 20 <= worlds, "{told}");
}

#[test]
fn what_drifts_is_found_in_as_many_days_as_it_takes() {
    let worlds = worlds(30);
    let drifts = REFERENCE + 20;
    let mut late = [0; WATCHED];
    for seed in 0..worlds {
        let found = found(1_000 + seed, drifts + 20, drifts, 1.0, 1);
        for (late, found) in late.iter_mut().zip(&found) {
            let told = found.iter().find(|of| of.ended >= drifts as i64).map(|of| of.told);
            let days = rule().in_a_row as i64;
            *late += u64::from(told.is_none_or(|told| told >= drifts as i64 + days + 4));
        }
    }
    let told = format!("of {worlds} drifts told later than in a week or not at all: {late:?}");
    let _ = writeln!(std::io::stderr(), "{told}");
    assert!(late.iter().all(|late| late * 20 <= worlds), "{told}");
}

#[test]
fn how_many_in_a_row_follows_from_the_reference() {
    let in_a_row = |reference, seasons, watched, looks| {
        Rule::of(reference, seasons, (watched, looks), 1.0).map(|rule| rule.in_a_row)
    };
    // C(28 + 3, 3) = 4495 and C(28 + 2, 2) = 435.
    assert_eq!(rule().in_a_row, 3);
    assert!((rule().false_alarms(5, 91.0) - 455.0 / 4_495.0).abs() < 1e-12);
    assert_eq!(in_a_row(28, [0; 2], 4, 100.0), Some(2), "400 of 435");
    assert_eq!(in_a_row(28, [0; 2], 1, 29.0), Some(1), "29 of 29");
    assert_eq!(in_a_row(28, [0; 2], 1, 30.0), Some(2), "30 of 29");
    // C(6, 3) = 20.
    assert_eq!(in_a_row(3, [0; 2], 1, 20.0), Some(3));
    assert_eq!(in_a_row(3, [0; 2], 1, 21.0), None);
    // Weekends are beyond the eight days of four weekends alone: C(10, 2) = 45 in 50 weeks is too many, C(15, 3) = 455 is not.
    assert_eq!(in_a_row(28, [7, 0], 1, 350.0), Some(3));
    let weekly = Rule::of(28, [7, 0], (1, 350.0), 1.0).unwrap();
    assert!((weekly.false_alarms(1, 350.0) - 50.0 / 455.0).abs() < 1e-9);
    // Where one is set aside all runs are beyond the second of the reference: 4 + 1 of C(28 + 4, 4) = 35,960 orders are less than 1 of 4495.
    assert_eq!((rule().in_a_row(1, 1.0), rule().in_a_row(4, 1.0)), (Some(4), Some(6)));
    // Where two periods count as one, eight are four, and half as many looks: C(14 + 4, 4) = 3060 is more than 4495 / 2.
    assert_eq!(rule().in_a_row(0, 2.0), Some(8));
    assert_eq!(rule().in_a_row(0, 20.0), None);
}

fn numbers(of: &[f64]) -> Sample {
    Sample::of_numbers(of.iter().map(|of| Some(*of)).collect::<Vec<_>>())
}

fn texts(of: &[(&str, u64)]) -> Sample {
    Sample::Texts(of.iter().map(|(text, count)| (Some((*text).to_owned()), *count)).collect())
}

#[test]
fn distances_are_those_by_hand() {
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    near(numbers(&[1.0, 2.0, 3.0, 4.0]).distance(&numbers(&[3.0, 4.0, 5.0, 6.0])), 0.5);
    near(numbers(&[1.0, 1.0, 2.0]).distance(&numbers(&[1.0, 2.0, 2.0])), 1.0 / 3.0);
    near(numbers(&[1.0]).distance(&numbers(&[2.0])), 1.0);
    near(numbers(&[1.0, 2.0]).distance(&numbers(&[1.0, 2.0])), 0.0);
    // What is null, or no number, is a value of its own.
    let holes = Sample::of_numbers([Some(1.0), None, Some(f64::NAN), Some(2.0)]);
    near(holes.distance(&numbers(&[1.0, 2.0])), 0.5);
    let by_hand = 0.1 * f64::ln(1.2) - 0.1 * f64::ln(0.8);
    near(texts(&[("a", 60), ("b", 40)]).distance(&texts(&[("a", 50), ("b", 50)])), by_hand);
    let new = texts(&[("a", 50), ("c", 50)]).distance(&texts(&[("a", 50), ("b", 50)]));
    assert!(new > 2.0 && new.is_finite(), "{new}");
    // Each tenth once on both sides.
    let tenths: Vec<f64> = (0..100).map(f64::from).collect();
    near(numbers(&tenths).stability(&numbers(&tenths)).unwrap(), 0.0);
    let shifted: Vec<f64> = tenths.iter().map(|of| of + 50.0).collect();
    assert!(numbers(&shifted).stability(&numbers(&tenths)).unwrap() > 1.0);
    // Vectors of one kind are nowhere, those of another one far.
    let vectors =
        |at: f32| -> Vec<Vec<f32>> { (0..50).map(|of| vec![at, of as f32 / 50.0]).collect() };
    let features = Features::like(&vectors(0.0)).unwrap();
    let [a, b, c] =
        [features.mean(&vectors(0.0)), features.mean(&vectors(0.0)), features.mean(&vectors(3.0))];
    near(a.distance(&b), 0.0);
    assert!(a.distance(&c) > 0.5, "{}", a.distance(&c));
    // What is of another length, or no numbers, is as far as can be, and counts.
    let broken = features.mean(&[vec![1.0], vec![f32::NAN, 0.0]]);
    assert_eq!((broken.rows(), &broken), (2, &Features::mean_of_broken(2)));
    assert!(a.distance(&broken) > 1.0, "{}", a.distance(&broken));
    assert!(Features::like(&[vec![], vec![f32::NAN]]).is_none());
    let mixed =
        Features::like(&[vec![], vec![f32::NAN; 3], vec![1.0, 2.0], vec![1.0, 3.0], vec![1.0]]);
    assert_eq!(mixed.unwrap().mean(&[vec![1.0, 2.0]]).words(), "1 vectors");
    // From the rest of all that it is a part of.
    let all = numbers(&[1.0, 2.0, 3.0, 4.0, 3.0, 4.0, 5.0, 6.0]);
    near(numbers(&[1.0, 2.0, 3.0, 4.0]).distance_from_rest(&all), 0.5);
    let all = texts(&[("a", 110), ("b", 90)]);
    near(texts(&[("a", 60), ("b", 40)]).distance_from_rest(&all), by_hand);
    let all = Sample::together([&a, &c].into_iter());
    near(a.distance_from_rest(&all), a.distance(&c));
}

#[test]
fn a_drift_is_told_once_and_becomes_what_is_usual() {
    let rule = Rule::of(4, [0; 2], (1, 15.0), 1.0).unwrap();
    assert_eq!(rule.in_a_row, 2);
    let of = |level: f64| numbers(&(0..20).map(|at| level + f64::from(at % 5)).collect::<Vec<_>>());
    let run = |levels: &[f64]| {
        let mut watch = Watch::new(rule);
        let mut beyond = Vec::new();
        for (at, level) in levels.iter().enumerate() {
            let scores = watch.push(Period { at: at as i64, sample: of(*level) });
            beyond.extend(scores.into_iter().filter(Score::is_beyond).map(|of| of.at));
        }
        (watch.finish().0, beyond)
    };
    // One odd day is none.
    let (found, beyond) = run(&[0.0, 0.0, 0.5, 0.0, 0.0, 9.0, 0.0]);
    assert_eq!((found.len(), beyond), (0, vec![5]));
    // Two are, and it is over.
    let (found, _) = run(&[0.0, 0.0, 0.5, 0.0, 9.0, 9.0, 0.0]);
    let told: Vec<_> = found
        .iter()
        .map(|of| (of.began, of.told, of.ended, of.periods, of.is_open, of.is_usual_now))
        .collect();
    assert_eq!(told, [(4, 5, 5, 2, false, false)]);
    assert_eq!(
        found[0].words,
        (
            "median 2, middle half from 1 to 3.5".to_owned(),
            "median 11, middle half from 10 to 12".to_owned()
        )
    );
    // Still so at the end.
    let (found, _) = run(&[0.0, 0.0, 0.5, 0.0, 9.0, 9.0, 9.0]);
    assert_eq!((found[0].ended, found[0].is_open), (6, true));
    // As long as the reference: it is the reference, and what was before drifts from it.
    let (found, _) = run(&[0.0, 0.0, 0.5, 0.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 0.0, 0.0]);
    let told: Vec<_> =
        found.iter().map(|of| (of.began, of.ended, of.is_open, of.is_usual_now)).collect();
    assert_eq!(told, [(4, 7, false, true), (10, 11, true, false)]);
    // Too short a past says nothing.
    let mut watch = Watch::new(rule);
    assert!(watch.push(Period { at: 0, sample: of(0.0) }).is_empty());
    let (found, scores) = watch.finish();
    assert_eq!((found.len(), scores.len(), scores[0].limit), (0, 1, None));
}

#[test]
fn odd_days_in_the_reference_hide_nothing() {
    let rule = Rule::of(14, [0; 2], (1, 20.0), 1.0).unwrap();
    assert_eq!(rule.in_a_row, 2);
    let of = |level: f64| numbers(&(0..20).map(|at| level + f64::from(at % 5)).collect::<Vec<_>>());
    let mut watch = Watch::new(rule);
    for at in 0..14 {
        let level = if at == 5 || at == 9 { 50.0 } else { f64::from(at % 3) / 4.0 };
        let scores = watch.push(Period { at: i64::from(at), sample: of(level) });
        if at == 13 {
            let odd: Vec<i64> = scores
                .iter()
                .filter(|of| of.distance > of.limit.unwrap())
                .map(|of| of.at)
                .collect();
            assert_eq!((scores.len(), odd), (14, vec![5, 9]));
            assert!(scores.iter().all(|of| of.is_reference && !of.is_beyond()));
        }
    }
    // C(4 + 2, 2) of C(14 + 4, 4) orders are less than 1 of C(14 + 2, 2).
    for at in 14..19 {
        watch.push(Period { at, sample: of(3.0) });
    }
    let (found, _) = watch.finish();
    assert_eq!(found.iter().map(|of| (of.began, of.told)).collect::<Vec<_>>(), [(14, 17)]);
}
