//! Rows and instants that are unlike all others in several columns together.

#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use analysis::Noise;
use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
use datasets::ColumnType;
use engine::{Engine, WriteMode};
use serde_json::{Value, json};

use super::NAME;
use crate::testing::{engine, refusal_of, rows, summary_of, write};

/// 2026-01-01.
const BEGIN_S: i64 = 1_767_225_600;

/// Calls of two models, a minute apart: what they cost follows from their tokens. `odd` gives tokens and cost of some.
async fn calls(engine: &Engine, count: usize, odd: &[(usize, f64, f64)]) {
    let mut noise = Noise::new(5);
    let (mut tokens, mut cost) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let size = noise.normal();
        tokens.push(1_000.0 + 100.0 * size);
        cost.push(Some(5.0 + size + 0.1 * noise.normal()));
    }
    for (at, of, costs) in odd {
        (tokens[*at], cost[*at]) = (*of, Some(*costs));
    }
    // A call without a cost is like no other in nothing.
    cost[7] = None;
    let at = (0..count as i64).map(|call| (BEGIN_S + 60 * call) * 1_000_000);
    let models = (0..count).map(|call| if call % 2 == 0 { "a" } else { "b" });
    let columns = [
        (
            "at",
            ColumnType::Timestamp,
            Arc::new(TimestampMicrosecondArray::from_iter_values(at).with_timezone("UTC"))
                as ArrayRef,
        ),
        ("model", ColumnType::Text, Arc::new(StringArray::from_iter_values(models))),
        ("tokens", ColumnType::Float64, Arc::new(Float64Array::from(tokens))),
        ("cost", ColumnType::Float64, Arc::new(Float64Array::from(cost))),
    ];
    write(engine, "calls", WriteMode::Append, &columns).await;
}

fn asked(more: &Value) -> Value {
    let mut params = json!({
        "method": "columns", "dataset": "calls", "series_column": null, "columns": ["tokens", "cost"],
    });
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    params
}

#[tokio::test]
async fn a_row_whose_columns_do_not_go_together_is_found_and_told() {
    let engine = engine().await;
    // Short and dear, each within what is usual.
    calls(&engine, 4_000, &[(1_500, 850.0, 6.5)]).await;
    let summary = summary_of(&engine, NAME, asked(&json!({}))).await;
    assert_eq!(summary["by_kind"], json!({ "unlike": 1 }), "{summary}");
    assert_eq!((&summary["series"], &summary["samples"]), (&json!(1), &json!(4_000)));
    let found = "SELECT source, series, kind, started_at = ended_at, CAST((date_part('epoch', peak_at) - 1767225600) / 60 AS INT), \
                 score > 3, severity > 80, interval_seconds, explanation FROM anomalies";
    let found = rows(&engine, found).await;
    let is_like = "calls calls unlike true 1500 true true 60.0 ";
    assert!(found.len() == 1 && found[0].starts_with(is_like), "{found:?}");
    for part in [
        "cost 6.5 (usually 4.972; 30.42 robust standard deviations above what the other columns say)",
        "tokens 850 (usually 996.4",
        "by chance, that happens less than once in a million such tables",
        "its columns do not go together as elsewhere among 4000 rows",
    ] {
        assert!(found[0].contains(part), "{part}: {found:?}");
    }
    // The same again, from the same seed.
    let summary = summary_of(&engine, NAME, asked(&json!({}))).await;
    assert_eq!(summary["anomalies"], json!(1));
}

#[tokio::test]
async fn each_series_is_a_table_of_its_own_and_usual_rows_tell_nothing() {
    let engine = engine().await;
    calls(&engine, 4_000, &[(1_500, 850.0, 6.5), (1_501, 1_000.0, 5.0)]).await;
    let of_models = asked(&json!({ "series_column": "model" }));
    let summary = summary_of(&engine, NAME, of_models).await;
    assert_eq!(summary["series"], json!(2));
    assert_eq!(rows(&engine, "SELECT series FROM anomalies").await, ["a"], "{summary}");
    // Another question of the same series: what is rarer than one of a hundred million.
    let of_few = asked(&json!({ "where": "model = 'b'", "min_severity": "low" }));
    let summary = summary_of(&engine, NAME, of_few).await;
    assert_eq!((&summary["samples"], &summary["anomalies"]), (&json!(2_000), &json!(0)));
    let short = asked(&json!({ "to": "2026-01-01T01:00:00Z" }));
    let summary = summary_of(&engine, NAME, short).await;
    let why = &summary["series_skipped"]["fewer than 64 rows that have all values"]["series"];
    assert_eq!(why, &json!(1), "{summary}");
}

#[tokio::test]
async fn of_intervals_measures_are_looked_at_without_their_day() {
    let engine = engine().await;
    let mut noise = Noise::new(9);
    let (mut at, mut took) = (Vec::new(), Vec::new());
    for hour in 0..1_000_i64 {
        let day = (std::f64::consts::TAU * hour as f64 / 24.0).sin();
        // As many as it is day, each of which takes as long as there are many. In one hour few take long.
        let load = 20.0 + 8.0 * day + noise.normal();
        let calls = load.round() as i64;
        let each = if hour == 700 { load + 15.0 } else { load };
        for call in 0..calls {
            at.push((BEGIN_S + 3_600 * hour + call) * 1_000_000);
            took.push(each + 0.3 * noise.normal());
        }
    }
    let columns = [
        (
            "at",
            ColumnType::Timestamp,
            Arc::new(TimestampMicrosecondArray::from(at).with_timezone("UTC")) as ArrayRef,
        ),
        ("took", ColumnType::Float64, Arc::new(Float64Array::from(took))),
    ];
    write(&engine, "calls", WriteMode::Append, &columns).await;
    let hourly = asked(&json!({ "columns": ["count(*)", "avg(took)"], "interval": "1h" }));
    let summary = summary_of(&engine, NAME, hourly).await;
    // The last hour may get more rows.
    assert_eq!(summary["samples"], json!(999), "{summary}");
    let found = "SELECT CAST((date_part('epoch', started_at) - 1767225600) / 3600 AS INT), interval_seconds, \
                 observed > expected + 8, explanation FROM anomalies";
    let found = rows(&engine, found).await;
    assert!(found.len() == 1 && found[0].starts_with("700 3600.0 true avg(took) "), "{found:?}");
}

#[tokio::test]
async fn what_can_not_be_looked_at_is_refused_by_its_name() {
    let engine = engine().await;
    calls(&engine, 100, &[]).await;
    let cases = [
        (json!({ "columns": [] }), "\"columns\": expected 1 to 64 columns"),
        (json!({ "columns": ["cost", "cost"] }), "\"cost\" is there twice"),
        (json!({ "columns": ["cost", "model"] }), "\"columns\": column \"model\""),
        (
            json!({ "columns": ["cost", "cots"] }),
            "\"columns\": dataset calls has no column \"cots\"",
        ),
        (json!({ "columns": ["cost"], "interval": "1h" }), "\"columns\": "),
        (json!({ "columns": ["count(*)"] }), "\"columns\": dataset calls has no column"),
        (json!({ "value_column": "cost" }), "these have it: auto, windows, online"),
        (
            json!({ "threshold": 3 }),
            "method columns has no such parameter; these have it: auto, windows",
        ),
        (json!({ "method": "windows" }), "these have it: columns"),
        (json!({ "columns_score": 9 }), "\"columns_score\": expected 0.5 to 8, found 9"),
        (json!({ "where": "cots > 1" }), "\"where\""),
    ];
    for (more, expected) in cases {
        let refusal = refusal_of(&engine, NAME, asked(&more)).await;
        assert!(refusal.contains(expected), "{more}: {refusal}");
    }
}
