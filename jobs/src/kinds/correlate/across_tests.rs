//! Series of several datasets, and who leads whom.

#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
use datasets::ColumnType;
use engine::{Engine, WriteMode};
use serde_json::{Value, json};

use super::NAME;
use crate::testing::{Noise, append, engine, refusal_of, rows, sampled, summary_of, write};

/// The first of January 2026, where made series begin.
const BEGIN_S: i64 = 1_767_225_600;
const HOURS: usize = 500;

fn noise(seed: u64) -> Vec<f64> {
    let mut noise = Noise::new(seed);
    (0..HOURS).map(|_| noise.normal()).collect()
}

/// `of` so many hours later, with noise of its own.
fn later(of: &[f64], hours: usize, seed: u64) -> Vec<f64> {
    let own = noise(seed);
    (0..HOURS).map(|at| of[at.saturating_sub(hours)] + 0.4 * own[at]).collect()
}

/// Calls of two models, as many more as the load was two hours before; those of `a` take as long as the load was one hour before.
async fn calls(engine: &Engine, load: &[f64]) {
    let (mut at, mut model, mut took) = (Vec::new(), Vec::new(), Vec::new());
    let own = noise(77);
    for hour in 0..HOURS {
        let count = (6.0 + 2.0 * load[hour.saturating_sub(2)]).round().max(0.0) as usize;
        for call in 0..count {
            at.push((BEGIN_S + hour as i64 * 3_600 + call as i64 * 30) * 1_000_000);
            let is_a = call % 2 == 0;
            model.push(if is_a { "a" } else { "b" });
            took.push(if is_a {
                load[hour.saturating_sub(1)] + 0.2 * own[hour]
            } else {
                own[hour]
            });
        }
    }
    let columns = [
        (
            "at",
            ColumnType::Timestamp,
            Arc::new(TimestampMicrosecondArray::from(at).with_timezone("UTC")) as ArrayRef,
        ),
        ("model", ColumnType::Text, Arc::new(StringArray::from(model))),
        ("took", ColumnType::Float64, Arc::new(Float64Array::from(took))),
    ];
    write(engine, "calls", WriteMode::Append, &columns).await;
}

async fn with_calls() -> (Engine, Vec<f64>) {
    let engine = engine().await;
    let load = noise(1);
    append(&engine, "metrics", &[sampled("load", 3_600, load.clone())]).await;
    calls(&engine, &load).await;
    (engine, load)
}

fn asked(more: &Value) -> Value {
    let mut params = json!({
        "interval": "1h", "detrend": "none", "min_coefficient": 0.4,
        "also": [
            { "dataset": "calls", "measure": "count(*)" },
            { "dataset": "calls", "name": "took", "series_column": "model", "value_column": "took" },
        ],
    });
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    params
}

#[tokio::test]
async fn measures_and_samples_of_other_datasets_are_on_one_grid_with_the_series() {
    let (engine, _) = with_calls().await;
    let summary = summary_of(&engine, NAME, asked(&json!({}))).await;
    assert_eq!(summary["series_compared"], json!(4), "{summary}");
    assert_eq!(summary["also"], json!(["calls", "took"]));
    let pairs = rows(
        &engine,
        "SELECT source, series_a, series_b, lag_samples, across FROM correlations \
         WHERE abs(lag_coefficient) >= 0.4 ORDER BY 2, 3",
    )
    .await;
    assert_eq!(
        pairs,
        [
            "metrics calls load -2 true",
            "metrics calls took/a -1 true",
            "metrics load took/a 1 true"
        ],
        "{summary}"
    );
    let leads = "SELECT leader, follower, CAST(lag_seconds AS INT), through, \
                 CAST(round(leader_after_seconds / 3600) AS INT), CAST(round(follower_after_seconds / 3600) AS INT) \
                 FROM lead_lag ORDER BY 1, 2";
    let expected = ["load calls 7200  0 2", "load took/a 3600  0 1", "took/a calls 3600  1 2"];
    assert_eq!(rows(&engine, leads).await, expected);
    assert_eq!(summary["leads"]["leaders"][0], json!({ "series": "load", "followers": 2 }));
    // As it was asked of them alone, the rest goes.
    let of_one = asked(&json!({ "also": [{ "dataset": "calls", "measure": "count(*)" }] }));
    summary_of(&engine, NAME, of_one).await;
    let leads = "SELECT leader, follower, lag_samples FROM lead_lag";
    assert_eq!(rows(&engine, leads).await, ["load calls 2"]);
}

#[tokio::test]
async fn an_hour_without_rows_is_zero_where_they_are_counted_and_missing_where_it_is_asked_for() {
    let engine = engine().await;
    let load = noise(2);
    // Rows come where the load is high; in the other hours there are none.
    let at: Vec<i64> = (0..HOURS).filter(|hour| load[*hour] > 0.0).map(|at| at as i64).collect();
    let at = at.iter().map(|hour| (BEGIN_S + hour * 3_600) * 1_000_000);
    let at = TimestampMicrosecondArray::from_iter_values(at).with_timezone("UTC");
    write(
        &engine,
        "calls",
        WriteMode::Append,
        &[("at", ColumnType::Timestamp, Arc::new(at) as ArrayRef)],
    )
    .await;
    append(&engine, "metrics", &[sampled("load", 3_600, load)]).await;
    let of = |empty: &str| {
        let also = json!([{ "dataset": "calls", "measure": "count(*)", "empty": empty }]);
        asked(&json!({ "also": also, "max_lag": 0, "clip": 0 }))
    };
    let summary = summary_of(&engine, NAME, of("auto")).await;
    assert_eq!(summary["pairs_reported"], json!(1), "{summary}");
    let found = rows(&engine, "SELECT n > 490, coefficient > 0.7 FROM correlations").await;
    assert_eq!(found, ["true true"]);
    // Who leads whom is not asked without lags.
    assert!(summary.get("leads").is_none());
    // Of hours with rows alone there is nothing to tell: each has one.
    let summary = summary_of(&engine, NAME, of("missing")).await;
    assert_eq!(summary["pairs_reported"], json!(0), "{summary}");
}

#[tokio::test]
async fn whom_a_series_leads_through_another_is_told() {
    let engine = engine().await;
    let first = noise(11);
    let second = later(&first, 3, 12);
    let third = later(&second, 5, 13);
    let series = [("first", first), ("second", second), ("third", third), ("other", noise(14))];
    let series = series.map(|(name, values)| sampled(name, 3_600, values));
    append(&engine, "metrics", &series).await;
    let summary = summary_of(&engine, NAME, json!({ "detrend": "none" })).await;
    let leads = "SELECT leader, follower, lag_samples, through FROM lead_lag ORDER BY 1, 2";
    let expected = ["first second 3 ", "first third 8 second", "second third 5 "];
    assert_eq!(rows(&engine, leads).await, expected);
    assert_eq!(
        (&summary["leads"]["pairs"], &summary["leads"]["direct"]),
        (&json!(3), &json!(2)),
        "{summary}"
    );
    // Of some series it is not told, and what was told of all stays.
    let named = json!({ "detrend": "none", "series": ["first", "second"] });
    let summary = summary_of(&engine, NAME, named).await;
    assert!(summary.get("leads").is_none());
    assert_eq!(rows(&engine, leads).await, expected);
}

#[tokio::test]
async fn what_is_wrong_with_another_dataset_is_said_with_its_place() {
    let (engine, _) = with_calls().await;
    let also = |also: Value| asked(&json!({ "also": also }));
    let calls = |more: &[(&str, Value)]| {
        let mut calls = json!({ "dataset": "calls", "measure": "count(*)" });
        more.iter().for_each(|(name, value)| calls[*name] = value.clone());
        calls
    };
    let cases = [
        (
            also(json!([calls(&[]), calls(&[])])),
            "\"also[1]: name\": another one is called \"calls\", too",
        ),
        (also(json!([calls(&[("name", json!(""))])])), "expected 1 to 100 bytes"),
        (
            also(json!([calls(&[("measure", json!("cuont(*)"))])])),
            "\"also[0]\": parameter \"measure\": cuont(*)",
        ),
        (also(json!([calls(&[("measure", Value::Null)])])), "\"also[0]\": "),
        (also(json!([calls(&[("time_column", json!("model"))])])), "\"also[0]\": "),
        (also(json!([calls(&[("dataset", json!("none_such"))])])), "none_such"),
        (also(json!([calls(&[("nome", json!("x"))])])), "nome"),
        (also(json!([calls(&[("name", json!("load"))])])), "two series are called \"load\""),
        (asked(&json!({ "series": ["load"] })), "expected none beside `also`"),
        (
            asked(&json!({ "leads": "correlations", "output": "other" })),
            "correlations is kept for another of its outputs",
        ),
        (asked(&json!({ "output": "lead_lag", "leads": "other" })), "lead_lag is kept for another"),
        (asked(&json!({ "leads": "correlations" })), "\"leads\": expected another dataset"),
        (asked(&json!({ "interval": null })), "\"interval\": expected a length"),
        (asked(&json!({ "empty": "zero" })), "\"empty\": expected a `measure` beside it"),
        (also(Value::from(vec![calls(&[]); 33])), "expected at most 32, found 33"),
    ];
    for (params, expected) in cases {
        let refusal = refusal_of(&engine, NAME, params.clone()).await;
        assert!(refusal.contains(expected), "{params}: {refusal}");
    }
}
