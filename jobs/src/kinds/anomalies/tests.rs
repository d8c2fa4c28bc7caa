#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use analysis::series::{Season, Series, Span};
use kernels::{Execution, GpuPolicy};

use super::detect::{Found, detect};
use super::explain::{Anomaly, Kind};
use super::labelled::Labelled;
use super::params::{Level, Method, Params};
use crate::testing::Noise;

const MINUTE_US: i64 = 60_000_000;
/// 2026-01-05, a Monday, at midnight.
const MONDAY_US: i64 = 1_767_571_200_000_000;

/// Samples every 5 minutes.
fn series(name: &str, values: Vec<f64>) -> Series {
    let times = (0..values.len() as i64).map(|i| MONDAY_US + i * 5 * MINUTE_US).collect();
    Series { name: name.into(), times, values }
}

fn noisy(samples: usize, seed: u64) -> Vec<f64> {
    let mut noise = Noise::new(seed);
    (0..samples).map(|_| 50.0 + noise.normal()).collect()
}

fn look(chunk: Vec<Series>, params: &Params) -> Found {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let execution = Execution { gpu: GpuPolicy::Off, ..Execution::default() };
    detect(chunk, params, &Labelled::default(), &execution, &pool).unwrap()
}

fn anomalies(values: Vec<f64>) -> Vec<Anomaly> {
    look(vec![series("s", values)], &Params::default()).anomalies
}

fn index_of(at_us: i64) -> i64 {
    (at_us - MONDAY_US) / (5 * MINUTE_US)
}

#[test]
fn noise_alone_raises_no_alarm() {
    let chunk = (0..20).map(|seed| series(&format!("s{seed}"), noisy(4_000, seed))).collect();
    let found = look(chunk, &Params::default());
    assert_eq!(found.anomalies, [], "{} samples", found.tally.samples);
    assert_eq!((found.tally.series, found.tally.samples), (20, 80_000));
}

#[test]
fn a_spike_is_found_where_it_is_with_what_was_expected() {
    let mut values = noisy(2_000, 1);
    values[1_500..1_506].iter_mut().for_each(|value| *value += 15.0);
    values[1_503] = 93.1;
    let found = anomalies(values);
    assert_eq!(found.len(), 1, "{found:?}");
    let spike = &found[0];
    assert_eq!(spike.kind, Kind::Outlier);
    assert_eq!(
        [spike.started_at, spike.peak_at, spike.ended_at].map(index_of),
        [1_500, 1_503, 1_505]
    );
    assert_eq!(spike.observed, Some(93.1));
    assert!((spike.expected.unwrap() - 50.0).abs() < 1.0);
    assert!(spike.score > 30.0 && spike.level() == Level::High, "{}", spike.score);
    assert!(
        spike.explanation.starts_with("value 93.1 at 2026-01-10T05:15:00Z is ")
            && spike.explanation.contains("robust standard deviations above ")
            && spike.explanation.contains(", the recent level; unusual from 2026-01-10T05:00:00Z"),
        "{}",
        spike.explanation
    );
}

#[test]
fn a_dip_has_a_negative_score() {
    let mut values = noisy(1_000, 2);
    values[700] = 30.0;
    let found = anomalies(values);
    assert_eq!(found.len(), 1);
    assert!(found[0].score < -10.0 && found[0].explanation.contains("deviations below "));
}

#[test]
fn the_usual_hour_is_no_anomaly_and_the_unusual_one_is() {
    // Two weeks of a day that goes from 20 to 80 and back.
    let mut noise = Noise::new(3);
    let mut values: Vec<f64> = (0..14 * 288)
        .map(|i| {
            let day = f64::from(i % 288) / 288.0 * std::f64::consts::TAU;
            50.0 - 30.0 * day.cos() + noise.normal()
        })
        .collect();
    // 50 is an everyday value, but not at midnight.
    for value in &mut values[9 * 288..9 * 288 + 6] {
        *value = 50.0;
    }
    let found = look(vec![series("s", values.clone())], &Params::default());
    assert_eq!(found.with_season, 1);
    assert_eq!(found.anomalies.len(), 1, "{:?}", found.anomalies);
    let odd = &found.anomalies[0];
    assert_eq!((odd.kind, odd.season), (Kind::SeasonalOutlier, Some(Span::DAY)));
    assert_eq!(index_of(odd.started_at), 9 * 288);
    assert!(
        odd.explanation.contains("the recent level at this time of day"),
        "{}",
        odd.explanation
    );

    let without = Params { method: Method::Windows, season: Season::None, ..Params::default() };
    assert_eq!(look(vec![series("s", values)], &without).anomalies, []);
}

#[test]
fn a_level_shift_is_one_anomaly_that_begins_where_the_level_changes() {
    let mut values = noisy(3_000, 4);
    values[1_777..].iter_mut().for_each(|value| *value += 10.0);
    let found = anomalies(values);
    assert_eq!(found.len(), 1, "{found:?}");
    let shift = &found[0];
    assert_eq!(shift.kind, Kind::LevelShift);
    assert!((index_of(shift.started_at) - 1_777).abs() <= 2, "{}", index_of(shift.started_at));
    assert!(
        (shift.expected.unwrap() - 50.0).abs() < 0.5
            && (shift.observed.unwrap() - 60.0).abs() < 0.5
    );
    assert!(shift.explanation.contains("the level rises from "), "{}", shift.explanation);
}

#[test]
fn silence_is_reported_from_the_first_missing_instant_to_the_last() {
    let mut whole = series("s", noisy(1_000, 5));
    whole.times.drain(600..640);
    whole.values.drain(600..640);
    // Short gaps are not.
    whole.times.drain(100..110);
    whole.values.drain(100..110);
    let found = look(vec![whole], &Params::default()).anomalies;
    assert_eq!(found.len(), 1, "{found:?}");
    let gap = &found[0];
    assert_eq!((gap.kind, gap.score, gap.observed), (Kind::Missing, 40.0, None));
    assert_eq!([gap.started_at, gap.ended_at].map(index_of), [600, 639]);
    let says = &gap.explanation;
    assert!(
        says.starts_with("no value for 3.333 hours: 40 missing with one expected each 5 min"),
        "{says}"
    );
}

#[test]
fn a_sensor_that_stops_moving_is_stuck_and_one_that_never_moves_is_not() {
    let mut values = noisy(2_000, 6);
    values[900..1_100].fill(50.25);
    let found = anomalies(values);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].kind, found[0].samples), (Kind::Stuck, 200));
    assert_eq!(anomalies(vec![7.0; 2_000]), []);
}

#[test]
fn what_happens_every_night_is_not_an_anomaly() {
    // Zero, but for a burst of six samples each night; one night it is three times as high.
    let mut noise = Noise::new(7);
    let values: Vec<f64> = (0..20 * 288)
        .map(|i| match (i % 288 < 6, i / 288) {
            (true, 12) => 3_000.0,
            (true, _) => 1_000.0 + 20.0 * noise.normal(),
            (false, _) => 0.0,
        })
        .collect();
    let params = Params { season: Season::None, ..Params::default() };
    let found = look(vec![series("s", values)], &params).anomalies;
    let starts: Vec<i64> = found.iter().map(|a| index_of(a.started_at)).collect();
    assert_eq!(starts, [12 * 288], "{found:?}");
}

#[test]
fn series_that_say_nothing_are_skipped_and_named() {
    let nan = f64::NAN;
    let chunk = vec![
        series("all null", vec![nan; 100]),
        series("one", vec![1.0]),
        series("empty", vec![]),
        series("constant", vec![3.0; 500]),
        series("infinite", vec![f64::INFINITY; 50]),
    ];
    let found = look(chunk, &Params::default());
    assert_eq!(found.anomalies, []);
    assert_eq!(found.tally.skipped.summary()["no values"]["series"], 3);
    assert_eq!(found.tally.skipped.reason("one"), Some("fewer than 16 samples"));
    assert_eq!(found.tally.cleaning.values_missing, 150);
}

#[test]
fn doubled_and_irregular_instants_change_nothing() {
    let mut noise = Noise::new(8);
    let mut irregular = Series { name: "s".into(), ..Series::default() };
    let mut at = MONDAY_US;
    for i in 0..3_000 {
        at += 5 * MINUTE_US + (noise.uniform() * 2.0 * MINUTE_US as f64) as i64;
        let value = if i == 2_000 { 90.0 } else { 50.0 + noise.normal() };
        irregular.times.push(at);
        irregular.values.push(value);
        if i % 7 == 0 {
            irregular.times.push(at);
            irregular.values.push(value);
        }
    }
    let found = look(vec![irregular], &Params::default());
    assert_eq!(found.tally.cleaning.duplicates, 429);
    assert_eq!(found.anomalies.len(), 1, "{:?}", found.anomalies);
    assert_eq!(found.anomalies[0].observed, Some(90.0));
}

#[test]
fn values_of_any_size_are_looked_at_alike() {
    for scale in [1e-12, 1.0, 1e12] {
        let mut values: Vec<f64> = noisy(1_000, 9).iter().map(|v| v * scale).collect();
        values[800] = 90.0 * scale;
        let found = anomalies(values);
        assert_eq!(found.len(), 1, "scale {scale}");
        assert_eq!(index_of(found[0].peak_at), 800);
    }
}

#[test]
fn only_what_ends_in_the_window_and_is_severe_enough_is_reported() {
    let mut values = noisy(3_000, 10);
    values[500] = 60.0;
    values[2_000] = 60.0;
    values[2_500] = 200.0;
    let at = |i: i64| chrono::DateTime::from_timestamp_micros(MONDAY_US + i * 5 * MINUTE_US);
    let count = |params: &Params| look(vec![series("s", values.clone())], params).anomalies.len();
    assert_eq!(count(&Params::default()), 3);
    assert_eq!(count(&Params { from: at(1_000), ..Params::default() }), 2);
    assert_eq!(count(&Params { from: at(2_501), ..Params::default() }), 0);
    assert_eq!(count(&Params { min_severity: Level::High, ..Params::default() }), 1);
}

#[test]
fn a_chunk_gives_what_its_series_give_one_by_one() {
    let chunk: Vec<Series> = (0..9)
        .map(|i| {
            let mut values = noisy(600 + 250 * i, 20 + i as u64);
            values[500] = 80.0;
            series(&format!("s{i}"), values)
        })
        .collect();
    let together = look(chunk.clone(), &Params::default()).anomalies;
    let alone: Vec<Anomaly> =
        chunk.into_iter().flat_map(|one| look(vec![one], &Params::default()).anomalies).collect();
    assert_eq!(together.len(), 9);
    assert_eq!(together, alone);
}

/// A day of 48 samples that repeats itself.
fn days(samples: usize, seed: u64) -> Vec<f64> {
    let mut noise = Noise::new(seed);
    let of = |at: usize| {
        let phase = at as f64 / 48.0 * std::f64::consts::TAU;
        10.0 * phase.sin() + 4.0 * (2.0 * phase).cos()
    };
    (0..samples).map(|at| 50.0 + of(at) + 0.5 * noise.normal()).collect()
}

fn half_hourly(name: &str, values: Vec<f64>) -> Series {
    let times = (0..values.len() as i64).map(|i| MONDAY_US + i * 30 * MINUTE_US).collect();
    Series { name: name.into(), times, values }
}

#[test]
fn a_shape_that_comes_but_once_is_found_where_it_is_asked_for() {
    let mut values = days(2_000, 1);
    // A day the other way round: each value is as usual.
    values[1_008..1_056].reverse();
    let params =
        Params { shapes: true, season: Season::None, shape_samples: Some(48), ..Params::default() };
    let found = look(vec![half_hourly("s", values.clone())], &params);
    // Both of its ends are unlike any other night.
    assert!((1..=2).contains(&found.anomalies.len()), "{:?}", found.anomalies);
    let at = |at_us: i64| (at_us - MONDAY_US) / (30 * MINUTE_US);
    for shape in &found.anomalies {
        assert_eq!(shape.kind, Kind::Discord);
        // Half a window more or less.
        assert!(at(shape.started_at) < 1_056 + 24 && at(shape.ended_at) >= 1_008 - 24, "{shape:?}");
        assert!((at(shape.started_at)..=at(shape.ended_at)).contains(&at(shape.peak_at)));
        assert!(shape.score > 2.0 && shape.severity > 0.0 && shape.expected.is_some(), "{shape:?}");
        assert!(shape.explanation.contains("does not recur"), "{}", shape.explanation);
    }
    let without = Params { method: Method::Windows, season: Season::None, ..Params::default() };
    assert_eq!(look(vec![half_hourly("s", values)], &without).anomalies, []);
}

#[test]
fn of_shapes_of_noise_nothing_is_told_and_what_is_too_short_is_said() {
    let params = Params { shapes: true, ..Params::default() };
    let mut chunk: Vec<Series> =
        (0..8).map(|seed| series(&format!("s{seed}"), noisy(3_000, seed))).collect();
    chunk.push(half_hourly("days", days(2_000, 7)));
    chunk.push(series("short", noisy(100, 3)));
    let found = look(chunk, &params);
    assert_eq!(found.anomalies, []);
    let mut summary = serde_json::json!({});
    found.tally.summarise(&mut summary);
    let short = &summary["series_skipped"]["shapes: fewer than 12 of them"]["examples"];
    assert_eq!(short, &serde_json::json!(["short"]), "{summary}");
}

#[test]
fn a_spike_is_told_once_though_its_shape_comes_but_once_too() {
    let mut values = noisy(3_000, 4);
    values[1_500] = 90.0;
    let found = look(vec![series("s", values)], &Params { shapes: true, ..Params::default() });
    let kinds: Vec<Kind> = found.anomalies.iter().map(|a| a.kind).collect();
    assert_eq!(kinds, [Kind::Outlier]);
}
