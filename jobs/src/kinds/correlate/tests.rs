#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::f64::consts::TAU;

use analysis::series::Series;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use engine::{Engine, Principal};
use kernels::GpuPolicy;
use serde_json::{Value, json};

use crate::run::record::{RunRecord, RunState};
use crate::run::runner::{RunRequest, Runner, RunnerOptions};
use crate::testing::{Noise, append, engine, sampled};

const SAMPLES: usize = 2_000;

/// First-order autoregressive noise: each sample keeps half of the one before.
fn wandering(seed: u64, samples: usize) -> Vec<f64> {
    let mut noise = Noise::new(seed);
    let mut last = 0.0;
    (0..samples)
        .map(|_| {
            last = 0.5 * last + noise.normal();
            last
        })
        .collect()
}

/// `of` with noise of its own, `lag` samples later.
fn follows(of: &[f64], lag: usize, seed: u64) -> Vec<f64> {
    let mut noise = Noise::new(seed);
    (0..of.len()).map(|at| of[at.saturating_sub(lag)] + 0.5 * noise.normal()).collect()
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    pair: (String, String),
    coefficient: f64,
    n: i64,
    effective_n: f64,
    q: f64,
    lag: i64,
    lag_coefficient: f64,
}

fn read(batches: &[RecordBatch]) -> Vec<Row> {
    let mut found = Vec::new();
    for batch in batches {
        let text = |name: &str, row: usize| {
            let column =
                arrow::compute::cast(batch.column_by_name(name).unwrap(), &DataType::Utf8).unwrap();
            column.as_string::<i32>().value(row).to_owned()
        };
        let float = |name: &str, row: usize| {
            batch.column_by_name(name).unwrap().as_primitive::<Float64Type>().value(row)
        };
        let integer = |name: &str, row: usize| {
            batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(row)
        };
        found.extend((0..batch.num_rows()).map(|row| Row {
            pair: (text("series_a", row), text("series_b", row)),
            coefficient: float("coefficient", row),
            n: integer("n", row),
            effective_n: float("effective_n", row),
            q: float("q_value", row),
            lag: integer("lag_samples", row),
            lag_coefficient: float("lag_coefficient", row),
        }));
    }
    found
}

async fn correlate(series: &[Series], params: Value) -> (RunRecord, Vec<Row>) {
    let engine = engine().await;
    append(&engine, "metrics", series).await;
    correlate_in(&engine, params, RunnerOptions::default()).await
}

/// The record of a run that may fail.
async fn attempt(engine: &Engine, params: Value, options: RunnerOptions) -> RunRecord {
    let options = RunnerOptions { gpu: GpuPolicy::Off, threads: 2, ..options };
    let runner = Runner::start(engine.clone(), options).await.unwrap();
    let request = RunRequest { job: "correlate".into(), params, ..RunRequest::default() };
    let record = runner.submit(&Principal::local(), request).await.unwrap().wait().await.unwrap();
    runner.shutdown().await;
    record
}

async fn correlate_in(
    engine: &Engine,
    params: Value,
    options: RunnerOptions,
) -> (RunRecord, Vec<Row>) {
    let record = attempt(engine, params, options).await;
    assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
    let output = record.outputs.first().unwrap();
    let session = engine.session(&Principal::local(), &[]).await.unwrap();
    let frame = session.table(&output.dataset).await.unwrap();
    let rows = read(&session.collect(frame).await.unwrap());
    (record, rows)
}

fn pairs(rows: &[Row]) -> Vec<(&str, &str)> {
    let mut pairs: Vec<_> = rows.iter().map(|r| (r.pair.0.as_str(), r.pair.1.as_str())).collect();
    pairs.sort_unstable();
    pairs
}

#[tokio::test]
async fn series_that_move_together_are_found_at_once_and_at_a_lag_and_no_others() {
    let driver = wandering(1, SAMPLES);
    let mut series = vec![
        sampled("driver", 300, driver.clone()),
        sampled("at once", 300, follows(&driver, 0, 2)),
        sampled("late", 300, follows(&driver, 7, 3)),
        sampled("opposite", 300, follows(&driver, 0, 4).iter().map(|v| 100.0 - 3.0 * v).collect()),
    ];
    series.extend((0..8).map(|i| sampled(&format!("other {i}"), 300, wandering(100 + i, SAMPLES))));
    let (record, rows) = correlate(&series, json!({})).await;
    let expected = [
        ("at once", "driver"),
        ("at once", "late"),
        ("at once", "opposite"),
        ("driver", "late"),
        ("driver", "opposite"),
        ("late", "opposite"),
    ];
    assert_eq!(pairs(&rows), expected);
    let row = |a: &str, b: &str| rows.iter().find(|r| r.pair == (a.into(), b.into())).unwrap();
    // Theory: 1 / √(1 + 0.25 · 0.75), the share of the driver in the follower's variance.
    let together = row("at once", "driver");
    assert!((together.coefficient - 0.917_7).abs() < 0.02, "{together:?}");
    assert_eq!((together.lag, together.lag_coefficient), (0, together.coefficient));
    assert!(together.effective_n < together.n as f64 && together.q < 1e-6);
    let late = row("driver", "late");
    assert_eq!(late.lag, 7, "late follows driver by seven samples");
    assert!(late.coefficient.abs() < 0.2 && late.lag_coefficient > 0.88, "{late:?}");
    assert_eq!(row("late", "opposite").lag, -7, "opposite leads late");
    assert!(row("driver", "opposite").coefficient < -0.88);
    assert_eq!(record.summary["pairs_tested"], json!(66));
    assert_eq!(record.summary["interval"], json!("5m"));
    let stages: Vec<&str> = record.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(
        stages,
        [
            "extents", "grid", "prepare", "pairs", "lags", "behind", "commit", "leads", "commit",
            "publish"
        ]
    );
}

#[tokio::test]
async fn a_shared_trend_or_a_shared_day_is_no_correlation() {
    let with = |seed: u64, shape: &dyn Fn(f64) -> f64| -> Vec<f64> {
        wandering(seed, SAMPLES).iter().enumerate().map(|(at, v)| v + shape(at as f64)).collect()
    };
    let day = |at: f64| 10.0 * (at / 288.0 * TAU).sin();
    let series = vec![
        sampled("grows", 300, with(1, &|at| at * 0.02)),
        sampled("grows, too", 300, with(2, &|at| at * 0.05)),
        sampled("daily", 300, with(3, &day)),
        sampled("daily, too", 300, with(4, &day)),
    ];
    let engine = engine().await;
    append(&engine, "metrics", &series).await;
    let found = |params: Value| correlate_in(&engine, params, RunnerOptions::default());
    assert_eq!(pairs(&found(json!({})).await.1), []);
    assert_eq!(pairs(&found(json!({"detrend": "difference"})).await.1), []);
    // What the two protect from; the effective sample size alone does not.
    let fooled = found(json!({"detrend": "none", "max_q": 1.0})).await.1;
    assert!(pairs(&fooled).contains(&("daily", "daily, too")), "{:?}", pairs(&fooled));
    assert!(pairs(&fooled).contains(&("grows", "grows, too")), "{:?}", pairs(&fooled));
}

#[tokio::test]
async fn changes_of_series_that_move_together_go_together() {
    let driver = wandering(1, SAMPLES);
    let series =
        [sampled("driver", 300, driver.clone()), sampled("follower", 300, follows(&driver, 0, 2))];
    let (_, rows) = correlate(&series, json!({"detrend": "difference"})).await;
    assert_eq!(pairs(&rows), [("driver", "follower")]);
    assert_eq!(rows[0].n, SAMPLES as i64 - 1);
    // Theory: √(4/3 / (4/3 + 2 · 0.25)), the share of the driver in the variance of the follower's changes.
    assert!((rows[0].coefficient - 0.852_8).abs() < 0.02, "{:?}", rows[0]);
}

#[tokio::test]
async fn among_many_unrelated_series_none_is_reported() {
    // 780 pairs: at p < 0.01 alone about eight would be, at each of 49 lags.
    let series: Vec<Series> =
        (0..40).map(|i| sampled(&format!("s{i}"), 60, wandering(i, 400))).collect();
    let (record, rows) = correlate(&series, json!({"min_coefficient": 0.0})).await;
    assert_eq!(rows, []);
    assert_eq!(record.summary["pairs_tested"], json!(780));
    assert_eq!(record.summary["pairs_tested_at_lags"], json!(780));
}

#[tokio::test]
async fn gaps_are_bridged_or_stated_and_what_cannot_be_compared_is_listed() {
    let driver = wandering(1, SAMPLES);
    let mut gapped = sampled("gapped", 300, follows(&driver, 0, 2));
    // Two missing buckets here, a hundred there.
    for range in [1_500..1_600, 300..302] {
        gapped.times.drain(range.clone());
        gapped.values.drain(range);
    }
    let mut later = sampled("another year", 300, driver.clone());
    later.times.iter_mut().for_each(|at| *at += 366 * 86_400_000_000);
    let mut sparse = sampled("sparse", 300, driver.clone());
    sparse
        .values
        .iter_mut()
        .enumerate()
        .filter(|(at, _)| at % 5 != 0)
        .for_each(|(_, v)| *v = f64::NAN);
    let series = vec![
        sampled("driver", 300, driver.clone()),
        gapped,
        sparse,
        later,
        sampled("constant", 300, vec![5.0; SAMPLES]),
        sampled("null", 300, vec![f64::NAN; SAMPLES]),
        sampled("once", 300, vec![1.0]),
    ];
    let (record, rows) = correlate(&series, json!({"max_lag": 0})).await;
    assert_eq!(pairs(&rows), [("driver", "gapped")]);
    // The sparse series ends four buckets early, and the grid with it.
    assert_eq!(rows[0].n, SAMPLES as i64 - 4 - 100);
    assert!(rows[0].coefficient > 0.85, "{:?}", rows[0]);
    let summary = &record.summary;
    assert_eq!(
        (&summary["buckets_bridged"], &summary["buckets_missing"]),
        (&json!(2), &json!(100))
    );
    let left_out = &summary["series_left_out"];
    assert_eq!(left_out["too many empty buckets"]["examples"], json!(["sparse"]));
    assert_eq!(left_out["constant"]["examples"], json!(["constant"]));
    let lone = &left_out["shares too little time with any other series"]["examples"];
    assert_eq!(lone, &json!(["once", "another year"]));
}

#[tokio::test]
async fn samples_of_different_pace_meet_in_buckets() {
    let driver = wandering(1, SAMPLES);
    // One sample a minute, five of which are one bucket.
    let mut noise = Noise::new(9);
    let fast = (0..SAMPLES * 5).map(|at| driver[at / 5] + 0.5 * noise.normal()).collect();
    let series = vec![sampled("slow", 300, driver.clone()), sampled("fast", 60, fast)];
    let (_, rows) = correlate(&series, json!({"interval": "5m"})).await;
    assert_eq!(pairs(&rows), [("fast", "slow")]);
    assert!(rows[0].coefficient > 0.95 && rows[0].lag == 0, "{:?}", rows[0]);
}

#[tokio::test]
async fn lags_can_be_kept_to_the_pairs_that_are_correlated_without_one() {
    let driver = wandering(1, SAMPLES);
    let series = vec![
        sampled("driver", 300, driver.clone()),
        sampled("at once", 300, follows(&driver, 0, 2)),
        sampled("late", 300, follows(&driver, 9, 3)),
    ];
    let (record, rows) = correlate(&series, json!({"lag_search": "correlated"})).await;
    assert_eq!(pairs(&rows), [("at once", "driver")]);
    assert_eq!(record.summary["pairs_tested_at_lags"], json!(0));
}

#[tokio::test]
async fn nothing_to_compare_is_a_result_without_pairs() {
    for series in [
        vec![],
        vec![sampled("alone", 300, wandering(1, 100))],
        vec![sampled("a", 300, wandering(1, 3)), sampled("b", 300, wandering(2, 3))],
        vec![sampled("a", 300, vec![1.0]), sampled("b", 300, vec![2.0])],
    ] {
        let (record, rows) = correlate(&series, json!({})).await;
        assert_eq!((record.state, rows), (RunState::Succeeded, vec![]), "{:?}", record.error);
        assert_eq!(record.summary["pairs_reported"], json!(0));
    }
}

#[tokio::test]
async fn a_grid_that_does_not_fit_is_refused_with_both_numbers() {
    let engine = engine().await;
    let series: Vec<Series> =
        (0..4).map(|i| sampled(&format!("s{i}"), 86_400, wandering(i, 200))).collect();
    append(&engine, "metrics", &series).await;
    let small = RunnerOptions { memory_budget_bytes: 32 << 20, ..RunnerOptions::default() };
    let record = attempt(&engine, json!({"interval": "1s"}), small).await;
    let error = record.error.unwrap();
    assert_eq!(error.code, "RESOURCES_EXHAUSTED");
    assert!(error.message.contains("4 series on a grid of 1s take 5"), "{}", error.message);
    // It was tried again with all that a run can have, and that was that.
    let tried: Vec<&str> = record.attempts.iter().map(|a| a.error.message.as_str()).collect();
    assert!(tried.len() == 1 && tried[0].contains("16777216 bytes"), "{tried:?}");
    assert!(error.message.contains("31457280 bytes"), "{}", error.message);
}

#[tokio::test]
async fn what_lies_behind_a_pair_is_told() {
    let engine = engine().await;
    let mut noise = Noise::new(5);
    let count = 1_200;
    let cause: Vec<f64> = (0..count).map(|_| noise.normal()).collect();
    let mut of = |values: &dyn Fn(usize) -> f64, own: f64| -> Vec<f64> {
        (0..count).map(|at| values(at) + own * noise.normal()).collect()
    };
    let first = of(&|at| cause[at], 0.7);
    let second = of(&|at| cause[at], 0.7);
    // One that goes with the first until the middle.
    let fades = of(&|at| if at < 600 { first[at] } else { 0.0 }, 0.5);
    let all =
        [("cause", cause.clone()), ("first", first.clone()), ("second", second), ("until", fades)];
    let all = all.map(|(name, values)| sampled(name, 3_600, values));
    append(&engine, "metrics", &all).await;
    let params = json!({ "detrend": "none", "max_lag": 0, "min_coefficient": 0.3 });
    crate::testing::summary_of(&engine, "correlate", params).await;
    let told = crate::testing::rows(
        &engine,
        "SELECT series_a, series_b, origin, given, round(abs(remaining), 1), course, CAST(CAST(breaks_at AS DATE) AS TEXT) \
         FROM correlations WHERE series_a IN ('cause', 'first') AND series_b IN ('first', 'second', 'until') ORDER BY 1, 2",
    )
    .await;
    let has = |text: &str| told.iter().any(|row| row.starts_with(text));
    assert!(has("cause first direct"), "{told:?}");
    assert!(has("first second explained cause 0.0 steady"), "{told:?}");
    // 600 hours after the first of January it is the 26th.
    assert!(
        told.iter().any(|row| row.starts_with("first until") && row.ends_with("breaks 2026-01-26")),
        "{told:?}"
    );
}
