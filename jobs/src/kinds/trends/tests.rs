#![allow(clippy::unwrap_used)]

use std::f64::consts::TAU;

use analysis::series::Series;
use kernels::{Execution, GpuPolicy};

use super::look::{Found, Kind, Trend, look};
use super::params::Params;
use crate::series::Empty;
use crate::testing::Noise;

const HOUR_US: i64 = 3_600_000_000;
/// 2026-01-05, a Monday, at midnight.
const MONDAY_US: i64 = 1_767_571_200_000_000;

fn series(name: &str, values: Vec<f64>) -> Series {
    let times = (0..values.len() as i64).map(|at| MONDAY_US + at * HOUR_US).collect();
    Series { name: name.into(), times, values }
}

fn found(chunk: Vec<Series>, params: &Params) -> Found {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let execution = Execution { gpu: GpuPolicy::Off, ..Execution::default() };
    look(chunk, params, Empty::Missing, &execution, &pool).unwrap()
}

fn told(values: impl Fn(usize, f64) -> f64, hours: usize) -> Vec<Trend> {
    let mut noise = Noise::new(1);
    let values = (0..hours).map(|at| values(at, noise.normal())).collect();
    found(vec![series("s", values)], &Params::default()).told(0.01)
}

fn day(at: usize) -> f64 {
    10.0 * (at as f64 / 24.0 * TAU).sin()
}

#[test]
fn a_level_that_changes_once_is_told_with_its_place_and_no_slope() {
    let found = told(|at, noise| if at < 300 { 50.0 } else { 58.0 } + noise, 600);
    let [change] = &found[..] else { unreachable!("{found:?}") };
    assert_eq!((change.kind, change.at_us), (Kind::Level, MONDAY_US + 300 * HOUR_US));
    assert!((change.before - 50.0).abs() < 0.2 && (change.after - 58.0).abs() < 0.2, "{change:?}");
    assert!((6.5..9.5).contains(&change.score.unwrap()), "{change:?}");
    assert!(change.from_us <= change.at_us && change.at_us <= change.until_us);
    let says = &change.explanation;
    let begin = format!("the level rises from {} to", crate::series::words::number(change.before));
    assert!(says.starts_with(&begin) && says.contains("2026-01-17T12:00:00Z"), "{says}");
    assert!(says.contains("(+1"), "{says}");
}

#[test]
fn sixteen_intervals_are_the_least_that_is_looked_at() {
    for (count, reason) in [(15, Some("fewer than 16 intervals of history")), (16, None)] {
        let values = (0..count).map(|at| f64::from(at % 3)).collect();
        let found = found(vec![series("s", values)], &Params::default());
        assert_eq!(found.tally.skipped.reason("s"), reason, "{count}");
    }
}

#[test]
fn a_step_beside_a_slope_is_told_with_it() {
    let step = |at| if at < 300 { 0.0 } else { 60.0 };
    let found = told(|at, noise| 0.05 * at as f64 + step(at) + noise, 600);
    let kinds: Vec<Kind> = found.iter().map(|of| of.kind).collect();
    assert!(kinds.contains(&Kind::Slope) && kinds.contains(&Kind::Level), "{found:?}");
}

#[test]
fn a_slope_is_no_stairs_and_is_told_by_the_day() {
    let found = told(|at, noise| 100.0 - 0.05 * at as f64 + noise, 600);
    let slope = found.iter().find(|trend| trend.kind == Kind::Slope).unwrap();
    let [per_day, low, high] = slope.per_day.unwrap();
    assert!((per_day + 1.2).abs() < 0.03 && low < per_day && per_day < high, "{slope:?}");
    assert!(low > -1.3 && high < -1.1, "{slope:?}");
    assert_eq!((slope.from_us, slope.at_us), (MONDAY_US, MONDAY_US + 599 * HOUR_US));
    assert!(slope.explanation.starts_with("the trend falls by 1.2"), "{}", slope.explanation);
    assert!(found.iter().all(|trend| trend.kind != Kind::Level), "{found:?}");
}

#[test]
fn a_day_is_no_change_and_one_that_grows_is() {
    let mut usual = told(|at, noise| 50.0 + day(at) + noise, 24 * 30);
    usual.retain(|trend| !matches!(trend.kind, Kind::Highest | Kind::Lowest));
    assert_eq!(usual, []);
    let grows =
        |at: usize, noise: f64| 50.0 + day(at) * if at < 24 * 15 { 1.0 } else { 2.0 } + noise;
    let found = told(grows, 24 * 30);
    let change = found.iter().find(|trend| trend.kind == Kind::Season).unwrap();
    assert!((change.before - 10.0).abs() < 1.0 && (change.after - 20.0).abs() < 1.5, "{change:?}");
    assert_eq!(change.season_us, Some(24 * HOUR_US));
    let off = change.at_us - (MONDAY_US + 15 * 24 * HOUR_US);
    assert!(off.abs() <= 24 * HOUR_US, "{change:?}");
    assert!(change.explanation.contains("the season of 1d swings by"), "{}", change.explanation);
}

#[test]
fn the_last_value_is_a_record_where_it_is_one_and_of_a_counter_none_is() {
    let mut noise = Noise::new(2);
    let mut values: Vec<f64> = (0..600).map(|_| noise.normal()).collect();
    // By chance, the highest of 600 values is among the last 3 once in 200 series.
    values[597] = 9.0;
    let counter = (0..600).map(f64::from).collect();
    let found = found(vec![series("s", values), series("counter", counter)], &Params::default());
    assert_eq!(found.one_way, 1);
    let told = found.told(0.01);
    let record = told.iter().find(|trend| trend.series == "s").unwrap();
    assert_eq!((record.kind, record.after), (Kind::Highest, 9.0));
    assert_eq!(record.at_us, MONDAY_US + 597 * HOUR_US);
    assert!(record.explanation.starts_with(
        "9 at 2026-01-29T21:00:00Z is the highest of the 600 values since 2026-01-05T00:00:00Z"
    ));
    let counted: Vec<Kind> = told.iter().filter(|of| of.series != "s").map(|of| of.kind).collect();
    assert_eq!(counted, [Kind::Slope]);
}

#[test]
fn among_many_of_noise_few_are_told_and_those_that_say_nothing_are_counted() {
    let mut noise = Noise::new(3);
    let mut at = |_: usize| noise.normal();
    let mut chunk: Vec<Series> =
        (0..200).map(|one| series(&format!("n{one}"), (0..400).map(&mut at).collect())).collect();
    chunk.push(series("short", vec![1.0; 15]));
    chunk.push(series("constant", vec![4.0; 300]));
    let params = Params { record_intervals: 0, ..Params::default() };
    let found = found(chunk, &params);
    assert_eq!(found.tally.skipped.reason("short"), Some("fewer than 16 intervals of history"));
    let told = found.told(params.max_q);
    assert!(told.len() <= 4, "{told:?}");
    assert!(told.iter().all(|trend| trend.series != "constant"));
}

#[test]
fn slopes_are_told_by_their_rank_among_all() {
    let mut found = Found::default();
    let slope = |p: f64| {
        let values: Vec<f64> = (0..20).map(f64::from).collect();
        let mut told = super::tests::found(vec![series("s", values)], &Params::default()).told(1.0);
        told.retain(|trend| trend.kind == Kind::Slope);
        Trend { p, ..told.remove(0) }
    };
    // Of ten: 0.001 · 10/1 and 0.004 · 10/2 are at most 0.02, 0.007 · 10/3 is not.
    found.add(Found::of(vec![slope(0.001), slope(0.004), slope(0.007)], 10));
    assert_eq!(found.told(0.02).len(), 2);
    assert_eq!(found.told(0.024).len(), 3);
    assert_eq!(found.told(0.0099).len(), 0);
}
