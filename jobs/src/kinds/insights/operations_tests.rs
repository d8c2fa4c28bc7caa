//! What is said of models and agents, from results of the jobs that look at them.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use datasets::ColumnType;
use engine::{Engine, WriteMode};
use serde_json::{Value, json};

use super::NAME;
use crate::testing::{engine, rows, summary_of, write};

const DAY_US: i64 = 86_400_000_000;
/// 2026-01-01.
const BEGIN_US: i64 = 1_767_225_600_000_000;

/// Forty days of calls: the cheap model is as good as the dear one, and on the thirtieth day it begins to answer at length; an agent fails often.
async fn calls(engine: &Engine) {
    let (mut at, mut models, mut agents) = (Vec::new(), Vec::new(), Vec::new());
    let (mut costs, mut tokens, mut good) = (Vec::new(), Vec::new(), Vec::new());
    for day in 0..40_i64 {
        for row in 0..80_i64 {
            let is_cheap = row % 2 == 0;
            at.push(BEGIN_US + day * DAY_US + row * 1_000_000_000);
            models.push(if is_cheap { "cheap" } else { "dear" });
            let is_poor = row % 4 < 2;
            agents.push(if is_poor { "poor" } else { "able" });
            costs.push(if is_cheap { 1.0 } else { 10.0 });
            let long = if is_cheap && day >= 30 { 500 } else { 100 };
            tokens.push(long + (row * 7 + day) % 40);
            good.push(!is_poor || (row / 4 + day) % 3 != 0);
        }
    }
    let at = TimestampMicrosecondArray::from(at).with_timezone("UTC");
    let columns = [
        ("at", ColumnType::Timestamp, Arc::new(at) as ArrayRef),
        ("model", ColumnType::Text, Arc::new(StringArray::from(models)) as ArrayRef),
        ("agent", ColumnType::Text, Arc::new(StringArray::from(agents)) as ArrayRef),
        ("cost", ColumnType::Float64, Arc::new(Float64Array::from(costs)) as ArrayRef),
        ("tokens", ColumnType::Int64, Arc::new(Int64Array::from(tokens)) as ArrayRef),
        ("good", ColumnType::Bool, Arc::new(BooleanArray::from(good)) as ArrayRef),
    ];
    write(engine, "asked", WriteMode::Overwrite, &columns).await;
}

#[tokio::test]
async fn drifts_savings_and_better_agents_are_said_once() {
    let engine = engine().await;
    calls(&engine).await;
    let drift = json!({ "dataset": "asked", "columns": ["tokens"], "reference": 14 });
    summary_of(&engine, "drift", drift).await;
    let routing = json!({
        "dataset": "asked", "kind_column": null, "length_column": null, "quality": "good", "max_loss": 0.05,
    });
    let found = summary_of(&engine, "routing", routing).await;
    assert_eq!(found["recommended"], "all to cheap", "{found}");
    let agents =
        json!({ "dataset": "asked", "agent_column": "agent", "success": "good", "measures": {} });
    summary_of(&engine, "agents", agents).await;
    let first = summary_of(&engine, NAME, json!({ "day": "2026-02-10" })).await;
    assert_eq!(first["insights"], 3, "{first}");
    let said =
        rows(&engine, "SELECT kind, source, subject, headline FROM insights ORDER BY kind").await;
    let expected = [
        "better asked able and poor asked: able succeeds more often than poor, by 33.38 percentage points",
        "drift asked tokens of cheap asked: tokens of cheap has drifted since 2026-01-31T00:00:00Z, for 10 periods so far; in the most different one: median 521, middle half from 511 to 531; in the reference: median 120, middle half from 110 to 130",
        "saving asked routing of asked asked: routed by \"all to cheap\", 1600 requests would have cost 81.82 % less (81.82 to 81.82 %), with answers worse by no more than 3.174 percentage points",
    ];
    assert_eq!(said, expected);
    // Evidence and charts are of rows that are there.
    for shown in rows(&engine, "SELECT evidence FROM insights").await {
        let evidence: Value = serde_json::from_str(&shown).unwrap();
        let of = &evidence[0];
        let (dataset, condition) = (of["dataset"].as_str().unwrap(), of["where"].as_str().unwrap());
        let count =
            rows(&engine, &format!("SELECT count(*) FROM {dataset} WHERE {condition}")).await;
        assert_eq!(count, ["1"], "{shown}");
    }
    for shown in rows(&engine, "SELECT chart FROM insights").await {
        let chart: Value = serde_json::from_str(&shown).unwrap();
        let text = |of: &Value| of.as_str().unwrap().to_owned();
        let encoding = &chart["encoding"];
        let sql = format!(
            "SELECT count({}) > 0 AND count({}) > 0 FROM {} WHERE {}",
            text(&encoding["x"]["field"]),
            text(&encoding["y"]["field"]),
            text(&chart["dataset"]),
            text(&chart["where"])
        );
        assert_eq!(rows(&engine, &sql).await, ["true"], "{shown}");
    }
    let next = summary_of(&engine, NAME, json!({ "day": "2026-02-11" })).await;
    assert_eq!((&next["insights"], &next["said_before"]), (&json!(0), &json!(3)), "{next}");
}

#[tokio::test]
async fn a_target_that_is_missed_by_more_than_noise_is_said_once_with_who_answers_for_it() {
    let engine = engine().await;
    calls(&engine).await;
    let metric = json!({
        "dataset": "asked", "metric": "it's tokens", "measure": "avg(tokens)", "time_column": "at", "dimensions": ["model"],
        "interval": "1d", "owner": "platform", "target": 200, "direction": "down", "unit": "tokens",
    });
    summary_of(&engine, "metric", metric).await;
    // Another one lies on its target, and one has none.
    for (name, target) in [("on", json!(110.0)), ("none", Value::Null)] {
        let direction = if target.is_null() { Value::Null } else { json!("up") };
        let other = json!({
            "dataset": "asked", "metric": name, "measure": "avg(tokens)", "time_column": "at", "interval": "1d", "target": target,
            "direction": direction,
        });
        summary_of(&engine, "metric", other).await;
    }
    let first = summary_of(&engine, NAME, json!({ "day": "2026-02-10" })).await;
    assert_eq!(first["insights"], 1, "{first}");
    let sql = "SELECT kind, subject, headline, action, severity > 75, confidence > 0.99, reach FROM insights";
    let said = rows(&engine, sql).await;
    assert_eq!(said.len(), 1, "{said:?}");
    for part in [
        "target_miss it's tokens{model=cheap} it's tokens{model=cheap} (tokens) misses its target: 5",
        " on average in 9 intervals of 1d, 5",
        " at worst, and still is, where at most 200 is wanted platform: find out why",
        " true true 9",
    ] {
        assert!(said[0].contains(part), "{part:?}: {said:?}");
    }
    let evidence = rows(&engine, "SELECT evidence FROM insights").await;
    let evidence: Value = serde_json::from_str(&evidence[0]).unwrap();
    let condition = evidence[0]["where"].as_str().unwrap();
    let sql =
        format!("SELECT count(*), min(value) > 500, min(at) FROM metric_values WHERE {condition}");
    assert_eq!(rows(&engine, &sql).await, ["9 true 2026-01-31T00:00:00Z"]);
    let next = summary_of(&engine, NAME, json!({ "day": "2026-02-11" })).await;
    assert_eq!((&next["insights"], &next["said_before"]), (&json!(0), &json!(1)), "{next}");
}
