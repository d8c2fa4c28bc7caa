#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use datasets::ColumnType;
use engine::{Engine, WriteMode};
use serde_json::{Value, json};

use super::NAME;
use crate::kinds::features::NAME as FEATURES;
use crate::testing::{Noise, engine, refusal_of, rows, summary_of, write};

const MINUTE_US: i64 = 60_000_000;

/// (who, minute, minute at which it is known, value)
type Row = (usize, i64, i64, i64);

async fn put(engine: &Engine, name: &str, of: &[Row]) {
    let instants = |minutes: fn(&Row) -> i64| {
        let micros = of.iter().map(|row| minutes(row) * MINUTE_US);
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
            as ArrayRef
    };
    let who = StringArray::from_iter_values(of.iter().map(|row| format!("u{}", row.0)));
    let columns = [
        ("who", ColumnType::Text, Arc::new(who) as ArrayRef),
        ("happened", ColumnType::Timestamp, instants(|row| row.1)),
        ("known", ColumnType::Timestamp, instants(|row| row.2)),
        (
            "value",
            ColumnType::Int64,
            Arc::new(Int64Array::from_iter_values(of.iter().map(|row| row.3))) as ArrayRef,
        ),
    ];
    write(engine, name, WriteMode::Overwrite, &columns).await;
}

fn view(more: Value) -> Value {
    let mut params = json!({
        "dataset": "happenings", "entity": ["who"], "time_column": "happened", "known_column": "known",
        "features": { "newest": "value", "seen": { "measure": "count(*)" } },
    });
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    params
}

fn set(more: Value) -> Value {
    let mut params =
        json!({ "dataset": "questions", "time_column": "happened", "features": ["features"] });
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    params
}

const FOUND: &str = "SELECT who, CAST(happened AS BIGINT) / 60000000, coalesce(newest, -1), coalesce(seen, -1), \
                     coalesce(CAST(features_at AS BIGINT) / 60000000, -1) FROM training_set ORDER BY who, happened, value";

/// A row that came late is not there for those who ask before it came, however early it happened.
#[tokio::test]
async fn what_came_late_is_not_known_before_it_came() {
    let engine = engine().await;
    put(&engine, "happenings", &[(0, 10, 10, 1), (0, 20, 50, 2), (0, 30, 30, 3)]).await;
    put(&engine, "questions", &[(0, 5, 0, 0), (0, 25, 0, 0), (0, 40, 0, 0), (0, 60, 0, 0)]).await;
    summary_of(&engine, FEATURES, view(json!({}))).await;
    let summary = summary_of(&engine, NAME, set(json!({}))).await;
    let expected = ["u0 5 -1 -1 -1", "u0 25 1 1 10", "u0 40 3 2 30", "u0 60 3 3 50"];
    assert_eq!(rows(&engine, FOUND).await, expected);
    assert_eq!(summary["rows_with_features"]["features_at"], 3, "{summary}");
}

#[tokio::test]
async fn each_row_gets_what_was_known_before_it_and_counts_still() {
    let worlds = std::env::var("COLONNADE_WORLDS").ok().and_then(|of| of.parse().ok()).unwrap_or(3);
    for seed in 0..worlds {
        let mut noise = Noise::new(seed);
        let mut below = |most: usize| ((noise.uniform() * most as f64) as usize).min(most - 1);
        let facts: Vec<Row> = (0..150)
            .map(|at| {
                let late = if below(3) == 0 { below(40) as i64 } else { 0 };
                (below(4), at, at + late, below(100) as i64)
            })
            .collect();
        let asked: Vec<Row> = (0..80).map(|at| (below(5), below(200) as i64, 0, at)).collect();
        let engine = engine().await;
        put(&engine, "happenings", &facts).await;
        put(&engine, "questions", &asked).await;
        summary_of(&engine, FEATURES, view(json!({ "ttl": "20m" }))).await;
        for same_instant in [false, true] {
            summary_of(&engine, NAME, set(json!({ "same_instant": same_instant }))).await;
            let mut sorted = asked.clone();
            sorted.sort_by_key(|row| (row.0, row.1, row.3));
            let expected: Vec<String> = sorted
                .iter()
                .map(|(who, at, _, _)| {
                    let is_known =
                        |row: &&Row| row.0 == *who && (row.2 < *at || same_instant && row.2 == *at);
                    let known: Vec<&Row> = facts.iter().filter(is_known).collect();
                    let since = known.iter().map(|row| row.2).max();
                    match since.filter(|since| since + 20 > *at) {
                        None => format!("u{who} {at} -1 -1 -1"),
                        Some(since) => {
                            let newest = known.iter().max_by_key(|row| row.1).unwrap().3;
                            format!("u{who} {at} {newest} {} {since}", known.len())
                        }
                    }
                })
                .collect();
            assert_eq!(rows(&engine, FOUND).await, expected, "seed {seed}, {same_instant}");
        }
    }
}

/// A view of the very rows that are learned from tells nobody its own row.
#[tokio::test]
async fn a_row_is_not_told_itself() {
    let engine = engine().await;
    put(&engine, "happenings", &[(0, 1, 1, 7), (0, 2, 2, 8)]).await;
    summary_of(&engine, FEATURES, view(json!({}))).await;
    let own = json!({ "dataset": "happenings", "time_column": "happened", "features": ["features.newest"] });
    summary_of(&engine, NAME, own).await;
    let of = "SELECT value, coalesce(newest, -1) FROM training_set ORDER BY happened";
    assert_eq!(rows(&engine, of).await, ["7 -1", "8 7"]);
}

#[tokio::test]
async fn names_and_entities_are_held_against_each_other() {
    let engine = engine().await;
    put(&engine, "happenings", &[(0, 1, 1, 7)]).await;
    put(&engine, "questions", &[(0, 2, 2, 8)]).await;
    summary_of(&engine, FEATURES, view(json!({}))).await;
    let value = json!({ "features": { "value": "value" }, "output": "second" });
    summary_of(&engine, FEATURES, view(value)).await;
    let both = summary_of(
        &engine,
        NAME,
        set(json!({ "features": ["features", "second"], "prefix": true })),
    )
    .await;
    assert_eq!(both["rows"], 1);
    let of = "SELECT features_newest, features_seen, second_value FROM training_set";
    assert_eq!(rows(&engine, of).await, ["7 1 7"]);
    for (more, says) in [
        (json!({ "features": [] }), "expected 1 to 200"),
        (
            json!({ "features": ["featurs"] }),
            "dataset featurs does not exist; did you mean features",
        ),
        (json!({ "features": ["features.new"] }), "it has no feature \"new\""),
        (json!({ "features": ["features.seen", "features.seen"] }), "stands there twice"),
        (json!({ "features": ["happenings"] }), "it is no feature view"),
        (json!({ "features": ["second"] }), "there is a column \"value\" already"),
        (json!({ "entity": { "whom": "who" } }), "no view names its entities by \"whom\""),
        (json!({ "entity": { "who": "value" } }), "is int64, and \"who\" of features is text"),
        (json!({ "entity": { "who": "whom" } }), "has no column \"whom\""),
        (json!({ "time_column": "value" }), "expected a timestamp or date"),
        (json!({ "output": "features" }), "is what is read"),
    ] {
        let seen = refusal_of(&engine, NAME, set(more.clone())).await;
        assert!(seen.contains(says), "{more}: {seen}");
    }
}
