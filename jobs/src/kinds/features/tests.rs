#![allow(clippy::unwrap_used)]
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use datasets::ColumnType;
use engine::{Engine, WriteMode};
use serde_json::{Value, json};

use super::NAME;
use crate::testing::{Noise, engine, refusal_of, rows, summary_of, write};

const MINUTE_US: i64 = 60_000_000;

/// A row of an entity.
#[derive(Clone, Copy, Debug)]
struct Row {
    entity: usize,
    happened: i64,
    known: i64,
    value: Option<f64>,
    count: i64,
}

/// Rows whose minutes of happening and of being known follow from a seed; each happens in a minute of its own.
fn made(seed: u64, rows: usize) -> Vec<Row> {
    let mut noise = Noise::new(seed);
    let mut below = |most: usize| ((noise.uniform() * most as f64) as usize).min(most - 1);
    (0..rows)
        .map(|row| {
            let late = if below(3) == 0 { below(60) as i64 } else { 0 };
            Row {
                entity: below(4),
                happened: row as i64,
                known: row as i64 + late,
                value: (below(5) > 0).then(|| below(100) as f64 / 4.0),
                count: below(10) as i64,
            }
        })
        .collect()
}

async fn put(engine: &Engine, mode: WriteMode, of: &[Row]) {
    let instants = |minutes: fn(&Row) -> i64| {
        let micros = of.iter().map(|row| minutes(row) * MINUTE_US);
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
            as ArrayRef
    };
    let names = of.iter().map(|row| format!("e{}", row.entity));
    let columns = [
        ("entity", ColumnType::Text, Arc::new(StringArray::from_iter_values(names)) as ArrayRef),
        ("happened", ColumnType::Timestamp, instants(|row| row.happened)),
        ("known", ColumnType::Timestamp, instants(|row| row.known)),
        (
            "value",
            ColumnType::Float64,
            Arc::new(of.iter().map(|row| row.value).collect::<Float64Array>()) as ArrayRef,
        ),
        (
            "count",
            ColumnType::Int64,
            Arc::new(Int64Array::from_iter_values(of.iter().map(|row| row.count))) as ArrayRef,
        ),
    ];
    write(engine, "happenings", mode, &columns).await;
}

fn params(more: Value) -> Value {
    let mut params = json!({
        "dataset": "happenings",
        "entity": ["entity"],
        "time_column": "happened",
        "known_column": "known",
        "features": {
            "last_value": "value",
            "twice": "count * 2",
            "rows_30m": { "measure": "count(*)", "window": "30m" },
            "sum_30m": { "measure": "sum(count) FILTER (WHERE count > 2)", "window": "30m" },
            "mean": { "measure": "avg(value)" },
            "ratio_1h": { "measure": "max(value) / count(value)", "window": "1h" },
        },
    });
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    params
}

/// What each feature is at each instant, computed from its definition.
fn computed(all: &[Row]) -> Vec<String> {
    let mut rows = Vec::new();
    for entity in 0..4 {
        let own: Vec<&Row> = all.iter().filter(|row| row.entity == entity).collect();
        let instants: BTreeSet<i64> = own.iter().map(|row| row.known).collect();
        for at in instants {
            let known = || own.iter().filter(move |row| row.known <= at);
            let within = |minutes: i64| known().filter(move |row| row.known > at - minutes);
            let newest = known().max_by_key(|row| row.happened).unwrap();
            let shown =
                |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.6}"));
            let values: Vec<f64> = known().filter_map(|row| row.value).collect();
            let mean =
                (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
            let hour: Vec<f64> = within(60).filter_map(|row| row.value).collect();
            let ratio = hour.iter().copied().reduce(f64::max).map(|max| max / hour.len() as f64);
            let sums: Vec<i64> =
                within(30).map(|row| row.count).filter(|count| *count > 2).collect();
            let sum = (!sums.is_empty()).then(|| sums.iter().sum::<i64>() as f64);
            rows.push(format!(
                "e{entity} {at} {} {} {} {} {} {}",
                shown(newest.value),
                newest.count * 2,
                within(30).count(),
                shown(sum),
                shown(mean),
                shown(ratio)
            ));
        }
    }
    rows
}

async fn found(engine: &Engine, dataset: &str) -> Vec<String> {
    let sql = format!("SELECT * FROM {dataset} ORDER BY entity, at");
    let session = engine.session(&engine::Principal::local(), &[]).await.unwrap();
    let text = "SELECT entity, CAST(at AS BIGINT) / 60000000 AS at, last_value AS last_value, twice, rows_30m, CAST(sum_30m AS DOUBLE) AS sum_30m, mean, ratio_1h FROM";
    let frame = session.sql(&sql.replacen("SELECT * FROM", text, 1)).await.unwrap();
    let mut shown = Vec::new();
    for batch in session.collect(frame).await.unwrap() {
        let texts = |at: usize| {
            let column = batch.column(at);
            (0..batch.num_rows())
                .map(|row| match column.is_null(row) {
                    true => String::new(),
                    false => {
                        let text =
                            arrow::util::display::array_value_to_string(column, row).unwrap();
                        match (at, text.parse::<f64>()) {
                            (2 | 5..=7, Ok(number)) => format!("{number:.6}"),
                            _ => text,
                        }
                    }
                })
                .collect::<Vec<_>>()
        };
        let columns: Vec<Vec<String>> = (0..8).map(texts).collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<&str> = columns.iter().map(|of| of[row].as_str()).collect();
            shown.push(cells.join(" "));
        }
    }
    shown
}

#[tokio::test]
async fn features_are_what_was_known_at_each_instant() {
    let engine = engine().await;
    let all = made(1, 200);
    put(&engine, WriteMode::Overwrite, &all).await;
    let summary = summary_of(&engine, NAME, params(json!({}))).await;
    let expected = computed(&all);
    assert_eq!(summary["rows"], expected.len(), "{summary}");
    assert_eq!(found(&engine, "features").await, expected);
}

/// Whatever commits rows come in, and in whatever order they are known.
#[tokio::test]
async fn a_run_over_what_came_gives_what_a_run_over_all_gives() {
    let worlds = std::env::var("COLONNADE_WORLDS").ok().and_then(|of| of.parse().ok()).unwrap_or(4);
    let (mut added, mut replaced) = (0, 0);
    for seed in 0..worlds {
        let engine = engine().await;
        let mut left = made(seed + 10, 120);
        let mut noise = Noise::new(seed + 1);
        if seed % 2 == 1 {
            // As they are known: nothing is replaced then.
            left.sort_by_key(|row| row.known);
        }
        let mut all: Vec<Row> = Vec::new();
        let mut was_there = false;
        while !left.is_empty() {
            let count = (1 + (noise.uniform() * 60.0) as usize).min(left.len());
            let mut some: Vec<Row> = left.drain(..count).collect();
            if seed % 2 == 1 {
                let last = some.last().unwrap().known;
                while left.first().is_some_and(|row| row.known == last) {
                    some.push(left.remove(0));
                }
            }
            put(&engine, WriteMode::Append, &some).await;
            all.extend(some);
            let summary = summary_of(&engine, NAME, params(json!({}))).await;
            match summary["incremental"]["replaces_rows"].as_bool() {
                Some(true) => replaced += 1,
                Some(false) => added += 1,
                None => assert!(!was_there, "{summary}"),
            }
            was_there = true;
            assert_eq!(found(&engine, "features").await, computed(&all), "seed {seed}");
        }
    }
    assert!(added > 0 && replaced > 0, "{added} added, {replaced} replaced");
}

#[tokio::test]
async fn what_looks_into_the_future_is_refused_with_its_column() {
    let engine = engine().await;
    put(&engine, WriteMode::Overwrite, &made(2, 50)).await;
    let of = |features: Value| {
        let mut params = params(json!({ "features": features }));
        params["known_column"] = Value::Null;
        params
    };
    // Without a column that says when rows are known, `known` is later than they are.
    let seen = refusal_of(&engine, NAME, of(json!({ "delay": "known - happened" }))).await;
    assert!(seen.contains("delay: column \"known\" is later than its row is known in"), "{seen}");
    let seen = refusal_of(&engine, NAME, of(json!({ "late": { "measure": "max(known)" } }))).await;
    assert!(seen.contains("late"), "{seen}");
    let mut declared = of(json!({ "last": "value" }));
    declared["known_at"] = json!({ "value": "known" });
    let seen = refusal_of(&engine, NAME, declared.clone()).await;
    assert!(seen.contains("by \"known\" column \"value\" is known later than its row"), "{seen}");
    // What leaves rows out, and who they are of, may look ahead as well.
    for (name, value, says) in [
        ("where", json!("value > 3"), "parameter \"where\": by \"known\" column \"value\""),
        ("where", json!("known IS NOT NULL"), "parameter \"where\": column \"known\" is later"),
        ("entity", json!(["count"]), "parameter \"entity\": by \"known\" column \"count\""),
    ] {
        let mut other = of(json!({ "rows": { "measure": "count(*)" } }));
        other["known_at"] = json!({ "value": "known", "count": "known" });
        other[name] = value;
        let seen = refusal_of(&engine, NAME, other).await;
        assert!(seen.contains(says), "{seen}");
    }
    declared["known_column"] = json!("known");
    summary_of(&engine, NAME, declared).await;
}

#[tokio::test]
async fn bad_input_is_named() {
    let engine = engine().await;
    put(&engine, WriteMode::Overwrite, &made(3, 20)).await;
    for (more, says) in [
        (json!({ "entity": [] }), "expected 1 to 8 columns"),
        (json!({ "entity": ["value"] }), "expected a text, truth value, date or whole number"),
        (json!({ "entity": ["who"] }), "has no column \"who\""),
        (json!({ "time_column": "count" }), "expected a timestamp or date"),
        (json!({ "features": {} }), "expected 1 to 200"),
        (json!({ "features": { "A": "value" } }), "a lower-case letter first"),
        (json!({ "features": { "at": "value" } }), "take another name"),
        (json!({ "features": { "a": 3 } }), "expected an expression, or an object"),
        (json!({ "features": { "a": { "mesure": "count(*)" } } }), "unknown field `mesure`"),
        (json!({ "features": { "a": "valu" } }), "a: "),
        (json!({ "features": { "a": "now()" } }), "now"),
        (json!({ "features": { "a": "sum(value)" } }), "aggregates are not taken here"),
        (
            json!({ "features": { "a": { "measure": "median(value)", "window": "1h" } } }),
            "median can't be kept while rows come and leave the window; expected one of avg",
        ),
        (
            json!({ "features": { "a": { "measure": "count(DISTINCT count)", "window": "1h" } } }),
            "count(DISTINCT) can't be kept",
        ),
        (
            json!({ "features": { "a": { "measure": "median(value)" } } }),
            "median can't be kept while rows come; expected one of avg",
        ),
        (
            json!({ "features": { "a": { "measure": "max(value ORDER BY count)" } } }),
            "an order within it",
        ),
        (json!({ "ttl": "3000000d" }), "at most 1,000 years"),
        (json!({ "output": "happenings" }), "is what is read"),
        (json!({ "where": "value" }), "expected one that is true or false"),
    ] {
        let seen = refusal_of(&engine, NAME, params(more.clone())).await;
        assert!(seen.contains(says), "{more}: {seen}");
    }
    // A view of other features does not go into what is there.
    summary_of(&engine, NAME, params(json!({}))).await;
    let other = params(json!({ "features": { "last_value": "value" } }));
    let seen = refusal_of(&engine, NAME, other).await;
    assert!(seen.contains("is there, and the view gives none"), "{seen}");
}

#[tokio::test]
async fn one_value_that_is_no_number_stops_no_sum_and_rows_that_say_nothing_are_counted() {
    let engine = engine().await;
    let row = |minute, value| Row { entity: 0, happened: minute, known: minute, value, count: 1 };
    // The large one left when the last comes.
    let all = [
        row(0, Some(1e17)),
        row(31, Some(1.0)),
        row(32, Some(f64::INFINITY)),
        row(33, Some(f64::NAN)),
        row(61, Some(0.1)),
    ];
    put(&engine, WriteMode::Overwrite, &all).await;
    let far = Row { happened: i64::MAX / MINUTE_US, known: 4, ..all[0] };
    put(&engine, WriteMode::Append, &[far]).await;
    let features = json!({ "sum_1h": { "measure": "sum(value)", "window": "1h" } });
    let summary =
        summary_of(&engine, NAME, params(json!({ "features": features, "ttl": "2m" }))).await;
    assert_eq!((&summary["rows"], &summary["rows_left_out"]), (&json!(5), &json!(1)), "{summary}");
    let of =
        "SELECT sum_1h, CAST(expires_at AS BIGINT) - CAST(at AS BIGINT) FROM features ORDER BY at";
    let expected = ["1e17", "1e17", "1e17", "1e17", "1.1"].map(|sum| format!("{sum} 120000000"));
    assert_eq!(rows(&engine, of).await, expected);
}

#[tokio::test]
async fn rows_of_one_instant_give_one_row_and_rows_that_went_are_forgotten() {
    let engine = engine().await;
    let row =
        |entity, minute, count| Row { entity, happened: minute, known: minute, value: None, count };
    put(&engine, WriteMode::Overwrite, &[row(0, 5, 1), row(0, 5, 3), row(1, 6, 2)]).await;
    let features = json!({ "features": { "last": "count", "all": { "measure": "sum(count)" } } });
    summary_of(&engine, NAME, params(features.clone())).await;
    let of = "SELECT entity, \"last\", \"all\" FROM features ORDER BY entity, at";
    assert_eq!(rows(&engine, of).await, ["e0 3 4", "e1 2 2"]);
    put(&engine, WriteMode::Overwrite, &[row(1, 6, 7)]).await;
    let summary = summary_of(&engine, NAME, params(features)).await;
    let because = summary["incremental"]["all_because"].as_str().unwrap();
    assert!(because.contains("went or changed"), "{summary}");
    assert_eq!(rows(&engine, of).await, ["e1 7 7"]);
}

/// A measure of the dataset's own, and what says which of two rows is newer, may become others.
#[tokio::test]
async fn rows_of_another_dataset_of_the_name_are_all_read() {
    let engine = engine().await;
    put(&engine, WriteMode::Append, &made(5, 30)).await;
    put(&engine, WriteMode::Append, &made(6, 30)).await;
    summary_of(&engine, NAME, params(json!({}))).await;
    let name = datasets::DatasetName::new("happenings").unwrap();
    let other = datasets::DatasetName::new("others").unwrap();
    engine.rename_dataset(&engine::Principal::local(), &name, &other).await.unwrap();
    let all = made(7, 20);
    put(&engine, WriteMode::Append, &all).await;
    let summary = summary_of(&engine, NAME, params(json!({}))).await;
    assert!(summary["incremental"]["all_because"].is_string(), "{summary}");
    assert_eq!(found(&engine, "features").await, computed(&all));
}

/// A view is kept by its name, in a dataset of that name.
#[test]
fn views_are_read_from_toml() {
    let text = "[[feature]]\nname = \"user_load\"\ndataset = \"model_calls\"\nentity = [\"user_id\"]\nttl = \"7d\"\n\n\
                [feature.features]\nlast_model = \"model\"\ncalls_1d = { measure = \"count(*)\", window = \"1d\" }\n";
    let views = crate::FeatureView::from_toml(text, "f.toml").unwrap();
    assert_eq!(views.len(), 1);
    assert_eq!((views[0].name(), views[0].params.output.as_str()), ("user_load", "user_load"));
    let names: BTreeMap<_, _> = views[0].params.features.iter().collect();
    assert_eq!(names.len(), 2);
    let bad = text.replace("entity = [\"user_id\"]", "entity = [\"at\"]");
    let error = crate::FeatureView::from_toml(&bad, "f.toml").unwrap_err().to_string();
    assert!(error.contains("f.toml") && error.contains("feature user_load"), "{error}");
}
