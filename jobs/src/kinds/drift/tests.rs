#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, ListArray, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Float32Type;
use datasets::ColumnType;
use engine::{Engine, WriteMode};
use serde_json::{Value, json};

use super::NAME;
use crate::testing::{engine, refusal_of, rows, summary_of, write};

const DAY_US: i64 = 86_400_000_000;

/// An output of a model.
#[derive(Clone)]
struct Output {
    at_us: Option<i64>,
    model: &'static str,
    tokens: Option<f64>,
    label: Option<String>,
    vector: Vec<f32>,
}

async fn outputs(engine: &Engine, of: &[Output]) {
    let at = TimestampMicrosecondArray::from(of.iter().map(|of| of.at_us).collect::<Vec<_>>());
    let vectors = of.iter().map(|of| Some(of.vector.iter().copied().map(Some)));
    let vectors = ListArray::from_iter_primitive::<Float32Type, _, _>(vectors);
    let list = ColumnType::List(Box::new(ColumnType::Float32));
    let vectors = arrow::compute::cast(&vectors, &list.arrow_type()).unwrap();
    let columns = [
        ("at", ColumnType::Timestamp, Arc::new(at.with_timezone("UTC")) as ArrayRef),
        (
            "model",
            ColumnType::Text,
            Arc::new(StringArray::from_iter_values(of.iter().map(|of| of.model))) as ArrayRef,
        ),
        (
            "tokens",
            ColumnType::Float64,
            Arc::new(of.iter().map(|of| of.tokens).collect::<Float64Array>()) as ArrayRef,
        ),
        (
            "label",
            ColumnType::Text,
            Arc::new(of.iter().map(|of| of.label.as_deref()).collect::<StringArray>()) as ArrayRef,
        ),
        ("vector", list, vectors),
    ];
    write(engine, "outputs", WriteMode::Overwrite, &columns).await;
}

/// Forty rows a day of one model, which is as it says from `drifts` on.
fn days(model: &'static str, days: i64, drifts: i64, shift: f64) -> Vec<Output> {
    let mut all = Vec::new();
    for day in 0..days {
        let shift = if day >= drifts { shift } else { 0.0 };
        for row in 0..40 {
            // Days of one thing differ a little.
            let place = (row * 7 + day * 3) % 40;
            let label = match place as f64 - 10.0 * shift {
                of if of < 20.0 => "refund",
                of if of < 35.0 => "order",
                _ => "other",
            };
            all.push(Output {
                at_us: Some(day * DAY_US + row * 60_000_000),
                model,
                tokens: Some(100.0 + (place + day % 3) as f64 + 30.0 * shift),
                label: Some(label.to_owned()),
                vector: vec![place as f32 / 40.0, (day % 3) as f32 / 40.0 + shift as f32],
            });
        }
    }
    all
}

fn params(more: Value) -> Value {
    let mut params = json!({
        "dataset": "outputs", "columns": ["tokens", "label", "vector"], "reference": 14, "alarms": 1.0,
    });
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    params
}

const DRIFTS: &str = "SELECT subject, column_name, statistic, CAST(CAST(started_at AS DATE) AS TEXT), CAST(CAST(told_at AS DATE) AS TEXT), periods, state, distance > distance_limit, severity > 20 \
                      FROM drifts WHERE source = 'outputs' ORDER BY subject, column_name";

#[tokio::test]
async fn what_drifts_is_told_of_the_model_that_does_and_of_no_other() {
    let engine = engine().await;
    let mut all_rows = days("steady", 40, 99, 0.0);
    all_rows.extend(days("moved", 40, 30, 1.0));
    outputs(&engine, &all_rows).await;
    let summary = summary_of(&engine, NAME, params(json!({}))).await;
    // C(17, 3) = 680 orders, against 3 columns on 91 days.
    let counts = ["rows", "groups", "in_a_row", "drifts", "drifts_open", "rows_left_out"];
    assert_eq!(
        counts.map(|name| summary[name].as_u64().unwrap()),
        [3_200, 2, 3, 3, 3, 0],
        "{summary}"
    );
    let expected = [
        "moved label psi 1970-01-31 1970-02-02 10 open true true",
        "moved tokens ks 1970-01-31 1970-02-02 10 open true true",
        "moved vector mmd 1970-01-31 1970-02-02 10 open true true",
    ];
    assert_eq!(rows(&engine, DRIFTS).await, expected);
    let words = "SELECT before, after FROM drifts WHERE column_name = 'label'";
    assert_eq!(
        rows(&engine, words).await,
        ["refund 50 %, order 37.5 %, other 12.5 % refund 75 %, order 25 %"]
    );
    let scores = "SELECT subject, count(*), count(*) FILTER (WHERE is_reference), count(*) FILTER (WHERE is_beyond), min(rows) FROM drift_scores WHERE column_name = 'tokens' GROUP BY subject ORDER BY subject";
    assert_eq!(rows(&engine, scores).await, ["moved 40 14 10 40", "steady 40 14 0 40"]);
    // All together the one hides in the other, and is told without a name.
    summary_of(&engine, NAME, params(json!({ "group_column": null }))).await;
    let all = rows(&engine, "SELECT DISTINCT subject, state FROM drifts").await;
    assert_eq!(all, [" open"]);
    // The same rows in another order say the same.
    const SCORES: &str = "SELECT subject, column_name, at, rows, distance, distance_limit FROM drift_scores ORDER BY 1, 2, 3";
    let before = rows(&engine, SCORES).await;
    all_rows.reverse();
    all_rows.rotate_left(777);
    outputs(&engine, &all_rows).await;
    summary_of(&engine, NAME, params(json!({ "group_column": null }))).await;
    assert_eq!(rows(&engine, SCORES).await, before);
}

#[tokio::test]
async fn expressions_are_watched_and_what_is_usual_by_now_is_no_longer_told() {
    let engine = engine().await;
    outputs(&engine, &days("moved", 60, 20, 1.0)).await;
    let asked = json!({ "columns": ["tokens * 2", "label = 'refund'"] });
    summary_of(&engine, NAME, params(asked)).await;
    let expected = [
        "moved label = 'refund' psi 1970-01-21 1970-01-23 14 usual true true",
        "moved tokens * 2 ks 1970-01-21 1970-01-23 14 usual true true",
    ];
    assert_eq!(rows(&engine, DRIFTS).await, expected);
}

#[tokio::test]
async fn thin_periods_young_groups_and_holes_are_counted() {
    let engine = engine().await;
    let mut all = days("steady", 20, 99, 0.0);
    all.extend(days("young", 10, 99, 0.0));
    all.extend(days("thin", 1, 99, 0.0).into_iter().take(5));
    let whole = all[0].clone();
    all.extend([
        Output { at_us: None, ..whole.clone() },
        Output { tokens: None, ..whole.clone() },
        Output { tokens: Some(f64::NAN), ..whole.clone() },
        Output { label: None, ..whole.clone() },
        Output { vector: Vec::new(), ..whole.clone() },
        Output { vector: vec![f32::NAN, 0.0], ..whole },
    ]);
    outputs(&engine, &all).await;
    let summary = summary_of(&engine, NAME, params(json!({}))).await;
    let counts =
        ["rows", "rows_left_out", "groups", "groups_too_young", "periods_too_thin", "drifts"];
    assert_eq!(
        counts.map(|name| summary[name].as_u64().unwrap()),
        [1_210, 1, 3, 2, 1, 0],
        "{summary}"
    );
    let young = "SELECT count(*), count(distance), count(distance_limit) FROM drift_scores WHERE subject = 'young'";
    assert_eq!(rows(&engine, young).await, ["30 0 0"]);
    assert_eq!(summary["nothing_because"], Value::Null, "{summary}");
    // Where nothing lies behind the reference, nothing was looked at.
    let summary = summary_of(&engine, NAME, params(json!({ "reference": 20 }))).await;
    let because = summary["nothing_because"].as_str().unwrap();
    assert!(because.starts_with("no group has 20 periods and one more"), "{summary}");
    outputs(&engine, &[]).await;
    let summary = summary_of(&engine, NAME, params(json!({}))).await;
    assert_eq!(summary["groups"], 0, "{summary}");
}

#[tokio::test]
async fn instants_are_those_that_the_dataset_declares() {
    let engine = engine().await;
    outputs(&engine, &days("drifts", 40, 32, 1.0)).await;
    let query = "SELECT at AS made_at, arrow_cast(0, 'Timestamp(Microsecond, Some(\"UTC\"))') AS at, model, tokens, label, vector FROM outputs";
    let copy = json!({ "query": query, "output": "named", "time_column": "made_at" });
    summary_of(&engine, "sql", copy).await;
    for of in ["outputs", "named"] {
        summary_of(&engine, NAME, params(json!({ "dataset": of }))).await;
    }
    let found = async |of: &str| {
        let query = format!(
            "SELECT * EXCEPT (source, source_version) FROM drift_scores WHERE source = '{of}' ORDER BY 1, 2, 3, 4"
        );
        rows(&engine, &query).await
    };
    assert_eq!(found("named").await.len(), 3 * 40);
    assert_eq!(found("named").await, found("outputs").await);
}

#[tokio::test]
async fn bad_requests_name_what_is_wrong() {
    let engine = engine().await;
    outputs(&engine, &days("steady", 2, 99, 0.0)).await;
    let many: Vec<String> = (0..30).map(|of| format!("tokens + {of}")).collect();
    for (more, says) in [
        (json!({ "dataset": "none" }), "none"),
        (
            json!({ "time_column": "model" }),
            "parameter \"time_column\": column \"model\" of dataset outputs: expected a timestamp or date",
        ),
        (
            json!({ "group_column": "who", "time_column": "when" }),
            "drift: dataset outputs has none of the columns \"when\" (time_column), \"who\" (group_column); expected one of at,",
        ),
        (json!({ "group_column": "tokens" }), "parameter \"group_column\""),
        (json!({ "columns": ["words"] }), "parameter \"columns\": \"words\""),
        (
            json!({ "columns": ["at"] }),
            "parameter \"columns\": \"at\": expected a number, text, truth value or vector",
        ),
        (json!({ "columns": [] }), "parameter \"columns\": expected 1 to 50, found 0"),
        (
            json!({ "columns": ["tokens", "tokens"] }),
            "parameter \"columns\": \"tokens\" is named twice",
        ),
        (json!({ "where": "nothing" }), "parameter \"where\""),
        (json!({ "period": "months" }), "period"),
        (json!({ "reference": 13 }), "parameter \"reference\": expected 14 to 1344, found 13"),
        (
            json!({ "reference": 14, "alarms": 0.001, "period": "hour", "columns": many }),
            "parameter \"reference\": expected at least 15 for 30 columns and 0.001 false alarms, found 14",
        ),
        (json!({ "min_rows": 0 }), "parameter \"min_rows\""),
        (json!({ "alarms": 0 }), "parameter \"alarms\": expected 0.001 to 100, found 0"),
        (json!({ "scores_output": "drifts" }), "parameter \"scores_output\""),
        (json!({ "output": "outputs" }), "parameter \"output\""),
    ] {
        let refused = refusal_of(&engine, NAME, params(more.clone())).await;
        assert!(refused.contains(says), "{more}: {refused}");
    }
    // Where nothing is named, what there is of the usual columns is watched.
    let usual = json!({ "dataset": "outputs", "min_rows": 10 });
    let summary = summary_of(&engine, NAME, usual).await;
    assert_eq!(summary["columns"], json!(["label", "vector"]), "{summary}");
}

/// A model that is exchanged for one of longer vectors is not the same, whatever the vectors.
#[tokio::test]
async fn vectors_of_another_length_and_none_at_all_are_told() {
    let engine = engine().await;
    let mut all = days("longer", 40, 99, 0.0);
    all.extend(days("nothing", 40, 99, 0.0));
    for output in &mut all {
        if output.at_us.unwrap() >= 30 * DAY_US {
            match output.model {
                "longer" => output.vector.push(0.5),
                _ => output.vector.clear(),
            }
        }
    }
    outputs(&engine, &all).await;
    summary_of(&engine, NAME, params(json!({ "columns": ["vector"] }))).await;
    let found = "SELECT subject, periods, state, before, after FROM drifts ORDER BY subject";
    let expected = [
        "longer 10 open 560 vectors 40 vectors, 100 % of another length or broken",
        "nothing 10 open 560 vectors 40 vectors, 100 % of another length or broken",
    ];
    assert_eq!(rows(&engine, found).await, expected);
}

/// The words of a drift are those of its rows: quartiles of numbers, and shares of labels.
#[tokio::test]
async fn words_are_what_their_rows_are_like() {
    let engine = engine().await;
    outputs(&engine, &days("moved", 40, 30, 1.0)).await;
    summary_of(&engine, NAME, params(json!({ "columns": ["tokens", "label"] }))).await;
    let worst = rows(
        &engine,
        "SELECT drifts.column_name, CAST(date_trunc('day', drift_scores.at) AS DATE) FROM drifts JOIN drift_scores \
         ON drifts.column_name = drift_scores.column_name AND drifts.distance = drift_scores.distance ORDER BY 1, 2",
    )
    .await;
    let day_of = |column: &str| {
        let found = worst.iter().find_map(|of| of.strip_prefix(column)).unwrap();
        found.trim().to_owned()
    };
    let parts = [("before", "at < '1970-01-15'".to_owned()), ("after", String::new())];
    for (words, condition) in parts {
        let condition = |column: &str| match condition.is_empty() {
            true => format!("CAST(at AS DATE) = DATE '{}'", day_of(column)),
            false => condition.clone(),
        };
        let said = rows(&engine, &format!("SELECT {words} FROM drifts ORDER BY column_name")).await;
        let labels = format!(
            "SELECT label || ' ' || CAST(round(100.0 * count(*) / sum(count(*)) OVER (), 1) AS TEXT) FROM outputs WHERE {} \
             GROUP BY label ORDER BY count(*) DESC",
            condition("label")
        );
        let labels: Vec<String> = rows(&engine, &labels)
            .await
            .iter()
            .map(|of| format!("{} %", of.strip_suffix(".0").unwrap_or(of)))
            .collect();
        assert_eq!(said[0], labels.join(", "), "{words}");
        let tokens =
            format!("SELECT tokens FROM outputs WHERE {} ORDER BY tokens", condition("tokens"));
        let tokens = rows(&engine, &tokens).await;
        let at = |part: f64| -> f64 {
            let place = (part * tokens.len() as f64) as usize;
            tokens[place].parse().unwrap()
        };
        let expected = format!("median {}, middle half from {} to {}", at(0.5), at(0.25), at(0.75));
        assert_eq!(said[1], expected, "{words}");
    }
}
