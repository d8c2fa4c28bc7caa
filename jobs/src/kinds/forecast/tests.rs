#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::f64::consts::TAU;
use std::sync::Arc;

use analysis::calendar::{Interval, Zone};
use analysis::series::{Series, clean};
use chrono::{DateTime, Datelike, NaiveDate};
use kernels::{Execution, GpuPolicy};
use serde_json::{Value, json};

use super::accuracy::{Kept, Said};
use super::backtest::Origins;
use super::hierarchy::Tree;
use super::look::{Asked, Forecast, Found, look, past};
use super::methods::{Means, Method, Task, means, naive_season};
use super::params::{Params, Reconcile};
use crate::series::{Empty, Regular, seasons};
use crate::testing::Noise;

const HOUR_US: i64 = 3_600_000_000;
/// 2026-01-05, a Monday, at midnight.
const MONDAY_US: i64 = 1_767_571_200_000_000;

fn series(name: &str, values: Vec<f64>) -> Series {
    let times = (0..values.len() as i64).map(|at| MONDAY_US + at * HOUR_US).collect();
    Series { name: name.into(), times, values }
}

fn asked(params: &Params, tree: Option<Tree>) -> Asked {
    let (tree, waiting) = (tree.map(Arc::new), Arc::new(Kept::new()));
    Asked { params: params.clone(), empty: Empty::Missing, tree, waiting }
}

fn found(chunk: Vec<Series>, params: &Params) -> Found {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let execution = Execution { gpu: GpuPolicy::Off, ..Execution::default() };
    look(chunk, &asked(params, None), &execution, &pool).unwrap()
}

pub(super) fn of(values: Vec<f64>, params: &Params) -> Forecast {
    found(vec![series("s", values)], params).forecasts.remove(0)
}

/// Busy days, quiet nights, quieter at weekends.
fn load(at: usize) -> f64 {
    let day = (1.0 - (at as f64 / 24.0 * TAU).cos()) * 20.0;
    10.0 + day * if at / 24 % 7 < 5 { 1.0 } else { 0.4 }
}

fn mean_error(forecast: &Forecast, truth: impl Fn(usize) -> f64) -> f64 {
    let errors = forecast.mean.iter().enumerate().map(|(step, mean)| (mean - truth(step)).abs());
    errors.sum::<f64>() / forecast.mean.len() as f64
}

#[test]
fn a_day_within_a_week_goes_on() {
    let mut noise = Noise::new(1);
    let hours = 24 * 7 * 6;
    let values: Vec<f64> = (0..hours).map(|at| load(at) + noise.normal()).collect();
    let params = Params { horizon: 24 * 7, ..Params::default() };
    let forecast = of(values, &params);
    assert_eq!(forecast.seasons, [24, 168]);
    let error = mean_error(&forecast, |step| load(hours + step));
    // Of noise alone 0.8 is the best that can be done for values; of what is expected much less.
    assert!(error < 0.6, "{error} by {:?}", forecast.tried.method);
    assert_eq!(forecast.made_at_us, MONDAY_US + (hours as i64 - 1) * HOUR_US);
    let tried = &forecast.tried;
    assert!(tried.error.unwrap() < 0.95 * tried.naive_error.unwrap(), "{tried:?}");
    assert!(tried.widths.coverage.unwrap()[0] > 0.7, "{tried:?}");
}

#[test]
fn intervals_widen_with_the_step_where_errors_do_and_the_wider_promise_more() {
    let mut noise = Noise::new(2);
    let mut at = 1_000.0;
    let walk: Vec<f64> = (0..600)
        .map(|_| {
            at += noise.normal();
            at
        })
        .collect();
    let forecast = of(walk, &Params::default());
    let width =
        |level: usize, step: usize| forecast.bounds[level].1[step] - forecast.bounds[level].0[step];
    assert!(width(0, 23) > 1.5 * width(0, 0), "{} {}", width(0, 0), width(0, 23));
    assert!((0..24).all(|step| width(1, step) > width(0, step)));
    assert_eq!(forecast.seasons, [0; 0]);
}

#[test]
fn intervals_are_as_wide_as_errors_are() {
    for (sigma, seed) in [(10.0, 3), (0.01, 4)] {
        let mut noise = Noise::new(seed);
        let forecast =
            of((0..600).map(|_| 100.0 + sigma * noise.normal()).collect(), &Params::default());
        // The normal quantiles of 80 and 95 %, as far as errors of some hundred forecasts tell them.
        for (level, quantile) in [(0, 1.2816), (1, 1.96)] {
            let (lower, upper) = &forecast.bounds[level];
            for (step, mean) in forecast.mean.iter().enumerate() {
                let half = (upper[step] - lower[step]) / 2.0 / sigma;
                assert!(
                    (0.8..1.25).contains(&(half / quantile)),
                    "{sigma}, {level}, {step}: {half}"
                );
                assert!((upper[step] - mean - (mean - lower[step])).abs() < 1e-9 * mean.abs());
            }
        }
    }
}

#[test]
fn what_was_never_below_0_is_not_forecast_there_unless_it_may() {
    let mut noise = Noise::new(3);
    let falling: Vec<f64> =
        (0..200).map(|at| (100.0 - 0.5 * f64::from(at) + noise.normal()).max(0.0)).collect();
    let forecast = of(falling.clone(), &Params::default());
    let (lower, mean) = (&forecast.bounds[1].0, &forecast.mean);
    assert!(lower.iter().chain(mean).all(|value| *value >= 0.0));
    let may = of(falling, &Params { may_be_negative: true, ..Params::default() });
    assert!(may.bounds[1].0.iter().any(|value| *value < 0.0));
}

#[test]
fn now_and_then_is_forecast_by_how_often_and_how_much() {
    let mut noise = Noise::new(4);
    let values: Vec<f64> = (0..400).map(|_| if noise.normal() > 0.9 { 5.0 } else { 0.0 }).collect();
    let share = values.iter().sum::<f64>() / 400.0;
    let forecast = of(values, &Params::default());
    assert!((forecast.mean[0] - share).abs() < share, "{} for {share}", forecast.mean[0]);
    assert!(forecast.bounds[1].0.iter().all(|lower| *lower >= 0.0), "{forecast:?}");
    assert!(matches!(
        forecast.tried.method,
        Method::Intermittent | Method::Ensemble | Method::Median | Method::Theta | Method::Ets
    ));
}

#[test]
fn one_that_can_not_be_forecast_is_counted_and_fails_no_other() {
    let chunk = vec![
        series("short", vec![1.0; 7]),
        series("nothing", vec![f64::NAN; 50]),
        series("constant", vec![4.0; 50]),
    ];
    let found = found(chunk, &Params { horizon: 3, ..Params::default() });
    assert_eq!(found.tally.series, 3);
    let reason = |name| found.tally.skipped.reason(name);
    assert_eq!(reason("short"), Some("fewer than 8 intervals of history"));
    assert_eq!(reason("nothing"), Some("no values"));
    let [constant] = &found.forecasts[..] else { unreachable!("{:?}", found.forecasts) };
    assert_eq!((&constant.mean, &constant.bounds[1].0), (&vec![4.0; 3], &vec![4.0; 3]));
}

#[test]
fn a_short_series_has_intervals_of_its_own_steps_and_no_coverage() {
    let forecast = of((0..9).map(|at| f64::from(at % 3)).collect(), &Params::default());
    assert_eq!(forecast.mean.len(), 24);
    assert_eq!((forecast.tried.error, forecast.tried.widths.coverage), (None, None));
    assert_eq!(forecast.tried.widths.half(0, 4), 2.0 * forecast.tried.widths.half(0, 1));
    assert!(forecast.bounds[0].1[0] > forecast.mean[0]);
}

#[test]
fn the_same_series_alone_or_among_others_has_the_same_forecast() {
    let mut noise = Noise::new(6);
    let values: Vec<f64> = (0..400).map(|at| load(at) + noise.normal()).collect();
    let params = Params { horizon: 12, ..Params::default() };
    let alone = of(values.clone(), &params);
    let others = vec![
        series("a", (0..900).map(|at| load(at) * 2.0).collect()),
        series("s", values),
        series("t", vec![1.0; 30]),
    ];
    let among = found(others, &params).forecasts.remove(1);
    assert_eq!(alone, among);
}

/// Twelve agents of three teams, each with days of its own size.
fn agents() -> (Vec<Series>, Tree) {
    let mut noise = Noise::new(8);
    let team = |agent: usize| Some(format!("{}", agent % 3));
    let of = |agent: usize| {
        let size = 1.0 + agent as f64 / 4.0;
        let values = (0..600).map(|at| size * load(at) + 3.0 * noise.normal()).collect();
        series(&format!("agent {agent:02}"), values)
    };
    let all: Vec<Series> = (0..12).map(of).collect();
    let groups = all.iter().enumerate().map(|(at, one)| (one.name.clone(), vec![team(at)]));
    let tree = Tree::of_groups(&["team".to_owned()], groups.collect::<Vec<_>>());
    (all, tree)
}

#[test]
fn agents_their_teams_and_all_agree_and_are_no_worse_for_it() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let execution = Execution { gpu: GpuPolicy::Off, ..Execution::default() };
    let params = Params { horizon: 24, ..Params::default() };
    let alone = found(agents().0, &params);
    for reconcile in [Reconcile::MinT, Reconcile::BottomUp] {
        let (all, tree) = agents();
        let params = Params { reconcile, ..params.clone() };
        let found = look(all, &asked(&params, Some(tree)), &execution, &pool).unwrap();
        let names: Vec<&str> = found.forecasts[12..].iter().map(|of| of.name.as_str()).collect();
        assert_eq!(names, ["all", "team=0", "team=1", "team=2"]);
        assert_eq!(found.forecasts[12].sum_of, Some(12));
        for step in 0..24 {
            let leaves = |of: &dyn Fn(usize) -> bool| -> f64 {
                (0..12).filter(|at| of(*at)).map(|at| found.forecasts[at].mean[step]).sum()
            };
            let sums: Vec<f64> = found.forecasts[12..].iter().map(|sum| sum.mean[step]).collect();
            assert!((sums[0] - leaves(&|_| true)).abs() < 1e-6, "{sums:?}");
            for team in 0..3 {
                assert!((sums[1 + team] - leaves(&|at| at % 3 == team)).abs() < 1e-6, "{sums:?}");
            }
        }
        // Each is still what it says of itself.
        for (agent, forecast) in found.forecasts[..12].iter().enumerate() {
            let size = 1.0 + agent as f64 / 4.0;
            let error = mean_error(forecast, |step| size * load(600 + step));
            assert!(error < 2.5, "{error} of {}", forecast.name);
            assert!(forecast.tried.widths.coverage.unwrap()[0] > 0.6, "{:?}", forecast.tried);
        }
        let errors =
            |of: &Found| -> f64 { of.forecasts[..12].iter().filter_map(|of| of.tried.error).sum() };
        assert!(errors(&found) < 1.02 * errors(&alone), "{} {}", errors(&found), errors(&alone));
        let total = found.forecasts[12].tried.error.unwrap();
        assert!(total < 0.5 * errors(&found), "{total} {}", errors(&found));
    }
}

#[test]
fn what_waited_for_a_series_is_told_what_came() {
    let values: Vec<f64> = (0..200).map(load).collect();
    let params = Params { horizon: 3, ..Params::default() };
    let then = of(values[..190].to_vec(), &params);
    let waiting = Kept::from([("s".to_owned(), Said::of(&then, 5).collect())]);
    let asked = Asked { waiting: Arc::new(waiting), ..asked(&params, None) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let execution = Execution { gpu: GpuPolicy::Off, ..Execution::default() };
    let found = look(vec![series("s", values.clone())], &asked, &execution, &pool).unwrap();
    let came: Vec<Option<f64>> = found.kept["s"].iter().map(|said| said.actual).collect();
    assert_eq!(came, values[190..193].iter().copied().map(Some).collect::<Vec<_>>());
}

fn instants(texts: impl IntoIterator<Item = String>) -> Vec<i64> {
    let at = |text: String| DateTime::parse_from_rfc3339(&text).unwrap().timestamp_micros();
    texts.into_iter().map(at).collect()
}

fn days_of(forecast: &Forecast) -> Vec<String> {
    let day = |at: &i64| DateTime::from_timestamp_micros(*at).unwrap().format("%F").to_string();
    forecast.at_us.iter().map(day).collect()
}

#[test]
fn months_are_forecast_at_the_first_of_each_month() {
    let value = |at: usize| 100.0 + at as f64 + 20.0 * (at as f64 / 12.0 * TAU).sin();
    let month = |at: usize| format!("{}-{:02}-01T00:00:00Z", 2015 + at / 12, at % 12 + 1);
    for known in [26, 60, 120] {
        let times = instants((0..known).map(month));
        let monthly = Series { name: "s".into(), times, values: (0..known).map(value).collect() };
        let params = Params { horizon: 12, ..Params::default() };
        let forecast = found(vec![monthly], &params).forecasts.remove(0);
        let expected: Vec<String> =
            (known..known + 12).map(|at| month(at)[..10].to_owned()).collect();
        assert_eq!(days_of(&forecast), expected);
        assert_eq!((forecast.interval, &forecast.seasons[..]), (Interval::MONTH, &[12][..]));
        let error = mean_error(&forecast, |step| value(known + step));
        assert!(error < 4.0, "{known} months: {error} by {:?}", forecast.tried.method);
    }
}

#[test]
fn business_days_have_no_weekends_and_no_holidays() {
    let from: NaiveDate = "2025-06-02".parse().unwrap();
    let is_working = |date: &NaiveDate| date.weekday().num_days_from_monday() < 5;
    let dates: Vec<NaiveDate> = from.iter_days().filter(is_working).take(140).collect();
    let last = dates[139];
    let times = instants(dates.iter().map(|date| format!("{date}T09:00:00Z")));
    let values = dates.iter().map(|date| f64::from(date.weekday().num_days_from_monday()));
    let series = Series { name: "s".into(), times, values: values.collect() };
    let of = |params: &Params| found(vec![series.clone()], params).forecasts.remove(0);
    let params = Params { horizon: 10, ..Params::default() };
    let forecast = of(&params);
    let next = |off: &[&str]| -> Vec<String> {
        let days = last.iter_days().skip(1).filter(is_working).map(|date| date.to_string());
        days.filter(|day| !off.contains(&day.as_str())).take(10).collect()
    };
    assert_eq!(days_of(&forecast), next(&[]));
    assert_eq!((forecast.interval, &forecast.seasons[..]), (Interval::BUSINESS_DAY, &[5][..]));
    let holidays = serde_json::from_value(json!(["DE"])).unwrap();
    let forecast = of(&Params { holidays, ..params });
    assert_eq!(days_of(&forecast), next(&["2025-12-25", "2025-12-26"]));
}

#[test]
fn stated_months_are_means_of_their_days_in_a_zone() {
    // From 2025-01-01 in Berlin on: the value is the number of the month.
    let zone: Zone = "Europe/Berlin".parse().unwrap();
    let first = instants(["2024-12-31T23:00:00Z".to_owned()])[0];
    let times: Vec<i64> = (0..365 * 24).map(|hour| first + hour * HOUR_US).collect();
    let month = |at: &i64| {
        let local = DateTime::from_timestamp_micros(*at).unwrap().with_timezone(&zone.0);
        f64::from(local.month())
    };
    let values = times.iter().map(month).collect();
    let params = Params {
        interval: Some(Interval::MONTH),
        zone,
        horizon: 2,
        seasons: Some(Vec::new()),
        ..Params::default()
    };
    let series = Series { name: "s".into(), times, values };
    let forecast = found(vec![series], &params).forecasts.remove(0);
    assert_eq!(days_of(&forecast), ["2025-12-31", "2026-01-31"]);
    assert!((forecast.mean[0] - 13.0).abs() < 0.2, "{:?}", forecast.mean);
}

/// Nine weeks of hours with weekends 70 lower, up to a Sunday.
#[test]
fn a_week_is_found_where_weekends_differ() {
    for seed in 0..5 {
        let mut noise = Noise::new(seed);
        let truth = |at: usize| {
            let day = 60.0 * (-((at % 24) as f64 - 14.0).powi(2) / 18.0).exp();
            200.0 + day - if at / 24 % 7 < 5 { 0.0 } else { 70.0 }
        };
        let hours = 9 * 7 * 24;
        let values = (0..hours).map(|at| truth(at) + 8.0 * noise.normal()).collect();
        let forecast = of(values, &Params { horizon: 168, ..Params::default() });
        assert_eq!(forecast.seasons, [24, 168]);
        // The values of the last week are off by 6.4.
        let error = mean_error(&forecast, |step| truth(hours + step));
        assert!(error < 4.0, "{error} by {:?}", forecast.tried.method);
    }
}

#[test]
fn no_interval_is_empty_or_beyond_the_values() {
    let mut noise = Noise::new(9);
    let day = |at: usize| 10.0 + 3.0 * (at as f64 / 24.0 * TAU).sin();
    let with = |length: usize, at: usize, value: f64, usual: &dyn Fn(usize) -> f64| -> Vec<f64> {
        (0..length).map(|place| if place == at { value } else { usual(place) }).collect()
    };
    let mut noisy: Vec<f64> = (0..239).map(|_| 100.0 + noise.normal()).collect();
    noisy.push(150.0);
    for (values, horizon) in [
        (with(240, 239, 150.0, &|_| 100.0), 24),
        (with(240, 100, 150.0, &|_| 100.0), 24),
        (with(504, 474, 40.0, &day), 24),
        (with(504, 503, 40.0, &day), 24),
        (noisy.clone(), 4),
        (noisy, 24),
    ] {
        let (low, high) = (
            values.iter().copied().fold(f64::MAX, f64::min),
            values.iter().copied().fold(f64::MIN, f64::max),
        );
        let range = high - low;
        let forecast = of(values, &Params { horizon, ..Params::default() });
        for (level, (lower, upper)) in forecast.bounds.iter().enumerate() {
            for step in 0..horizon {
                let width = upper[step] - lower[step];
                assert!(width > 0.0 && width < 3.0 * range, "{level} {step}: {width} of {range}");
            }
        }
    }
}

#[test]
fn one_last_outlier_does_not_move_the_next_day() {
    let mut noise = Noise::new(10);
    let day = |at: usize| 10.0 + 3.0 * (at as f64 / 24.0 * TAU).sin();
    for sigma in [0.0, 0.2] {
        let mut values: Vec<f64> = (0..504).map(|at| day(at) + sigma * noise.normal()).collect();
        values[503] = 40.0;
        let forecast = of(values, &Params::default());
        let error = mean_error(&forecast, |step| day(504 + step));
        assert!(error < 0.1 + sigma, "{sigma}: {error} by {:?}", forecast.tried.method);
    }
}

#[test]
fn one_last_outlier_hardly_moves_a_level() {
    let mut noise = Noise::new(11);
    for sigma in [0.0, 1.0] {
        let mut values: Vec<f64> = (0..240).map(|_| 100.0 + sigma * noise.normal()).collect();
        values[239] = 150.0;
        let forecast = of(values, &Params { horizon: 12, ..Params::default() });
        assert!(mean_error(&forecast, |_| 100.0) < 1.5, "{sigma}: {:?}", forecast.mean);
    }
}

#[test]
fn stated_seasons_are_used_and_none_can_be_stated() {
    let values: Vec<f64> = (0..24 * 21).map(load).collect();
    let with = |seasons: &[&str]| {
        let seasons = seasons.iter().map(|text| text.parse().unwrap()).collect();
        let params = Params { seasons: Some(seasons), ..Params::default() };
        of(values.clone(), &params).seasons
    };
    assert_eq!(with(&["1d"]), [24]);
    assert_eq!(with(&["12h", "1w"]), [12, 168]);
    assert_eq!(with(&[]), [0; 0]);
}

/// What each method says of a series, and how far off it was at each instant that is past.
fn each_method(series: Series, horizon: usize) -> Value {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let execution = Execution { gpu: GpuPolicy::Off, ..Execution::default() };
    let samples = clean(series).0;
    let grid = Params::default().intervals().grid(&samples);
    let regular = Regular::of(samples, grid, 100_000, Empty::Missing).unwrap();
    let seasons = seasons(std::slice::from_ref(&regular), None, &execution).unwrap().remove(0);
    let least = seasons.last().map_or(8, |season| 2 * season).max(8);
    let origins = Origins::of(regular.values.len(), least, horizon);
    let candidates = regular.grid.seasons().into_iter().chain(seasons.iter().copied());
    let naive = naive_season(&regular.values, &origins, candidates);
    let task = Task { values: &regular.values, seasons: &seasons, naive, fitted: 0 };
    let then = past(&[task], std::slice::from_ref(&origins));
    let now = means(&[task], horizon, &execution, &pool).unwrap().remove(0);
    let then = means(&then, origins.steps.max(1), &execution, &pool).unwrap();
    let method = |(at, method): (usize, &Method)| {
        let errors = |(known, means): (&usize, &Means)| {
            let came = &regular.values[*known..*known + origins.steps];
            let means = means[at].as_ref()?;
            Some(came.iter().zip(means).map(|(came, mean)| came - mean).collect::<Vec<f64>>())
        };
        let errors: Option<Vec<Vec<f64>>> = origins.known.iter().zip(&then).map(errors).collect();
        (method.as_str().to_owned(), json!({ "mean": now[at], "errors": errors }))
    };
    Value::Object(Method::ALL.iter().enumerate().map(method).collect())
}

/// For `benches/forecasts.py`: a series and a horizon in each line of a file, and what comes next to another.
#[test]
#[ignore = "forecasts what a file has"]
fn what_a_file_has() {
    let path = std::env::var("COLONNADE_FORECAST").expect("COLONNADE_FORECAST=FILE");
    let lines: Vec<Value> = std::fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let start = std::time::Instant::now();
    let mut answers = String::new();
    for line in lines {
        let values = line["values"].as_array().unwrap();
        let values: Vec<f64> =
            values.iter().map(|value| value.as_f64().unwrap_or(f64::NAN)).collect();
        let horizon = line["horizon"].as_u64().unwrap() as usize;
        let times = match line["at_us"].as_array() {
            Some(at) => at.iter().map(|at| at.as_i64().unwrap()).collect(),
            None => {
                let interval_us = line["interval_us"].as_i64().unwrap();
                (0..values.len() as i64).map(|at| MONDAY_US + at * interval_us).collect()
            }
        };
        let name = line["name"].as_str().unwrap().to_owned();
        let params = Params { horizon, history: 100_000, ..Params::default() };
        let all = Series { name: name.clone(), times, values: values.clone() };
        let found = found(vec![all.clone()], &params).forecasts.pop();
        let Some(of) = found else { continue };
        let answer = json!({
            "name": of.name, "horizon": horizon, "mean": of.mean, "method": of.tried.method.as_str(), "seasons": of.seasons,
            "bounds": of.bounds.iter().map(|(lower, upper)| json!([lower, upper])).collect::<Vec<_>>(),
            "coverage": of.tried.widths.coverage, "methods": each_method(all, horizon),
        });
        answers.push_str(&format!("{answer}\n"));
    }
    std::fs::write(format!("{path}.answers"), answers).unwrap();
    println!("{:.2} s", start.elapsed().as_secs_f64());
}
