#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
use datasets::ColumnType;
use engine::{Engine, WriteMode};
use serde_json::{Value, json};

use super::NAME;
use crate::testing::{Noise, engine, refusal_of, rows, summary_of, write};

const DAY_US: i64 = 86_400_000_000;
/// 2026-01-05, a Monday.
const BEGIN_US: i64 = 1_767_571_200_000_000;
const LABELS: [&str; 3] = ["refund", "order", "other"];

fn texts(of: impl Iterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(of.collect::<StringArray>())
}

/// A row of `tickets`, and what is so.
struct Known {
    id: usize,
    label: &'static str,
    day: i64,
}

fn known(rows: usize) -> Vec<Known> {
    let label = |id: usize| LABELS[id * 7 % 10 / 4];
    (0..rows).map(|id| Known { id, label: label(id), day: (id / 40) as i64 }).collect()
}

async fn said(engine: &Engine, of: &[Known]) {
    let at = of.iter().map(|of| BEGIN_US + of.day * DAY_US).collect::<Vec<_>>();
    let at = TimestampMicrosecondArray::from(at).with_timezone("UTC");
    let columns = [
        ("source", ColumnType::Text, texts(of.iter().map(|_| Some("tickets".to_owned())))),
        ("id", ColumnType::Text, texts(of.iter().map(|of| Some(of.id.to_string())))),
        ("label", ColumnType::Text, texts(of.iter().map(|of| Some(of.label.to_owned())))),
        ("at", ColumnType::Timestamp, Arc::new(at) as ArrayRef),
    ];
    write(engine, "truth", WriteMode::Append, &columns).await;
}

/// Answers of a model that is right in so many cases, by the row, and says so.
async fn answers(
    engine: &Engine,
    name: &str,
    model: &str,
    of: &[Known],
    right: impl Fn(&Known) -> f64,
) {
    let mut noise = Noise::new(model.len() as u64);
    let answer = |known: &Known| {
        let said = right(known);
        let other = LABELS.iter().find(|of| **of != known.label).unwrap();
        let label = if noise.uniform() < said { known.label } else { *other };
        (label.to_owned(), said)
    };
    let answers: Vec<(String, f64)> = of.iter().map(answer).collect();
    let columns = [
        ("source", ColumnType::Text, texts(of.iter().map(|_| Some("tickets".to_owned())))),
        ("id", ColumnType::Text, texts(of.iter().map(|of| Some(of.id.to_string())))),
        ("model", ColumnType::Text, texts(of.iter().map(|_| Some(model.to_owned())))),
        ("label", ColumnType::Text, texts(answers.iter().map(|of| Some(of.0.clone())))),
        (
            "confidence",
            ColumnType::Float64,
            Arc::new(answers.iter().map(|of| Some(of.1)).collect::<Float64Array>()) as ArrayRef,
        ),
    ];
    write(engine, name, WriteMode::Append, &columns).await;
}

fn asked(more: &Value) -> Value {
    let mut params =
        json!({ "predictions": ["triage", "shadow"], "truth": "truth", "truth_time_column": "at" });
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    params
}

#[tokio::test]
async fn a_challenger_that_is_better_is_told_and_a_champion_that_grows_worse_is() {
    let engine = engine().await;
    let all = known(2_000);
    said(&engine, &all[..1_600]).await;
    // From the third week on it is right less often than it says.
    answers(&engine, "triage", "m@1", &all, |of| if of.day < 14 { 0.9 } else { 0.7 }).await;
    answers(&engine, "shadow", "m@2", &all[400..], |_| 0.95).await;
    answers(&engine, "shadow", "twin", &all[400..], |of| if of.day < 14 { 0.9 } else { 0.7 }).await;
    let summary =
        summary_of(&engine, NAME, asked(&json!({ "champion": "m@1", "alpha": 0.001 }))).await;
    assert_eq!(summary["rows"], 1_600, "{summary}");
    assert_eq!(summary["better"], json!([{ "model": "m@2", "than": "m@1" }]));
    let mut found = Vec::new();
    for query in [
        "SELECT model, answers, known, right, round(accuracy, 3), round(confidence, 3), labels FROM model_scores ORDER BY model",
        "SELECT model, CAST(at AS DATE) AS day, known, round(accuracy, 3), round(accuracy_before, 3), is_worse FROM model_accuracy ORDER BY model, at",
        "SELECT model_a, model_b, rows, both + only_a + only_b + neither, round(difference, 3), lower < difference AND difference < upper, p_adjusted < 0.001, better FROM model_comparisons ORDER BY model_b",
        "SELECT model, tenth, known, round(confidence, 2), lower <= confidence AND confidence <= upper FROM model_calibration ORDER BY model, tenth",
    ] {
        found.extend(rows(&engine, query).await);
    }
    let expected = [
        "m@1 2000 1600 1269 0.793 0.77 3",
        "m@2 1600 1200 1141 0.951 0.95 3",
        "twin 1600 1200 856 0.713 0.727 3",
        "m@1 2026-01-05 280 0.907  false",
        "m@1 2026-01-12 280 0.904 0.907 false",
        "m@1 2026-01-19 280 0.732 0.905 true",
        "m@1 2026-01-26 280 0.693 0.905 true",
        "m@1 2026-02-02 280 0.782 0.905 true",
        "m@1 2026-02-09 200 0.72 0.905 true",
        "m@2 2026-01-12 160 0.963  false",
        "m@2 2026-01-19 280 0.95 0.963 false",
        "m@2 2026-01-26 280 0.932 0.955 false",
        "m@2 2026-02-02 280 0.943 0.946 false",
        "m@2 2026-02-09 200 0.98 0.945 false",
        "twin 2026-01-12 160 0.906  false",
        "twin 2026-01-19 280 0.696 0.906 true",
        "twin 2026-01-26 280 0.657 0.906 true",
        "twin 2026-02-02 280 0.704 0.906 true",
        "twin 2026-02-09 200 0.675 0.906 true",
        "m@1 m@2 1200 1200 0.195 true true m@2",
        "m@1 twin 1200 1200 -0.043 true false ",
        "m@1 8 1040 0.7 false",
        "m@1 10 560 0.9 true",
        "m@2 10 1200 0.95 true",
        "twin 8 1040 0.7 true",
        "twin 10 160 0.9 true",
    ];
    assert_eq!(found, expected);
    // Without a champion each is held against each.
    let summary = summary_of(&engine, NAME, asked(&json!({ "alpha": 0.001 }))).await;
    assert_eq!((&summary["compared"], summary["better"].as_array().unwrap().len()), (&json!(3), 2));
}

#[tokio::test]
async fn the_last_word_counts_and_what_says_nothing_is_left_out() {
    let engine = engine().await;
    let mut all = known(30);
    said(&engine, &all).await;
    all.iter_mut().for_each(|of| (of.label, of.day) = ("other", of.day + 1));
    said(&engine, &all[..10]).await;
    answers(&engine, "triage", "m", &all, |_| 1.0).await;
    // Again, and of a row that nobody knows.
    answers(&engine, "shadow", "m", &all[..5], |_| 1.0).await;
    let summary = summary_of(&engine, NAME, asked(&json!({}))).await;
    let expected = json!({ "rows": 30, "answers_repeated": 5, "compared": 0, "periods": 1, "periods_worse": 0 });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&summary[name], value, "{summary}");
    }
    let right =
        all.iter().enumerate().filter(|(at, _)| *at < 10 || LABELS[at * 7 % 10 / 4] == "other");
    let found =
        rows(&engine, "SELECT answers, known, right, calibration_p, brier FROM model_scores").await;
    assert_eq!(
        found,
        [format!("30 30 {}  {:?}", right.clone().count(), (30 - right.count()) as f64 / 30.0)]
    );
    // No instants, no periods; nothing known at all, nothing told.
    let none = json!({ "truth_time_column": null, "confidence_column": null });
    assert_eq!(summary_of(&engine, NAME, asked(&none)).await["periods"], 0);
    let other = json!({ "truth_key": ["label", "id"] });
    let summary = summary_of(&engine, NAME, asked(&other)).await;
    assert_eq!((&summary["rows"], &summary["models"][0]["accuracy"]), (&json!(0), &Value::Null));
}

#[tokio::test]
async fn what_is_asked_wrongly_is_named() {
    let engine = engine().await;
    let all = known(30);
    said(&engine, &all).await;
    answers(&engine, "triage", "m", &all, |_| 1.0).await;
    answers(&engine, "shadow", "n", &all, |_| 1.0).await;
    for (more, expected) in [
        (json!({ "predictions": [] }), "parameter \"predictions\": expected 1 to 20, found 0"),
        (
            json!({ "predictions": ["triage", "triage"] }),
            "parameter \"predictions\": triage is named twice",
        ),
        (
            json!({ "predictions": ["truth"] }),
            "parameter \"truth\": truth is what is held against it",
        ),
        (json!({ "key": [] }), "parameter \"key\": expected 1 to 8, found 0"),
        (
            json!({ "key": ["id"], "truth_key": ["source", "id"] }),
            "parameter \"truth_key\": expected as many columns as `key` has, 1, found 2",
        ),
        (json!({ "key": ["nope"] }), "parameter \"key\": dataset triage has no column \"nope\""),
        (json!({ "key": ["model"] }), "parameter \"key\": dataset truth has no column \"model\""),
        (
            json!({ "truth_key": ["source", "nope"] }),
            "parameter \"truth_key\": dataset truth has no column \"nope\"",
        ),
        (
            json!({ "confidence_column": "label" }),
            "parameter \"confidence_column\": column \"label\"",
        ),
        (
            json!({ "truth_time_column": "label" }),
            "parameter \"truth_time_column\": column \"label\"",
        ),
        (
            json!({ "truth_column": "nope" }),
            "parameter \"truth_column\": dataset truth has no column \"nope\"",
        ),
        (
            json!({ "champion": "o" }),
            "parameter \"champion\": no answer is of \"o\"; expected one of m, n",
        ),
        (json!({ "alpha": 1 }), "parameter \"alpha\": expected 0.0001 to 0.5, found 1"),
        (json!({ "alarms": 0 }), "parameter \"alarms\": expected 0.001 to 100, found 0"),
        (json!({ "min_rows": 0 }), "parameter \"min_rows\": expected 1 to 1000000, found 0"),
        (json!({ "output": "truth" }), "parameter \"output\": truth is what is read"),
    ] {
        let says = refusal_of(&engine, NAME, asked(&more)).await;
        assert!(says.contains(expected), "{more}: {says}");
    }
}

#[tokio::test]
async fn a_missing_answer_is_wrong_and_no_label() {
    let engine = engine().await;
    let truth = ["a", "a", "b", "b", "c", "c"];
    let answers = [Some("a"), None, Some("b"), Some("b"), Some("c"), Some("a")];
    let ids = || texts((0..6).map(|id| Some(id.to_string())));
    let source = || texts((0..6).map(|_| Some("tickets".to_owned())));
    let of_truth = [
        ("source", ColumnType::Text, source()),
        ("id", ColumnType::Text, ids()),
        ("label", ColumnType::Text, texts(truth.iter().map(|label| Some((*label).to_owned())))),
    ];
    write(&engine, "truth", WriteMode::Append, &of_truth).await;
    let of_model = [
        ("source", ColumnType::Text, source()),
        ("id", ColumnType::Text, ids()),
        ("model", ColumnType::Text, texts((0..6).map(|_| Some("m".to_owned())))),
        ("label", ColumnType::Text, texts(answers.iter().map(|label| label.map(str::to_owned)))),
    ];
    write(&engine, "triage", WriteMode::Append, &of_model).await;
    let params = json!({ "predictions": ["triage"], "truth": "truth", "confidence_column": null });
    summary_of(&engine, NAME, params).await;
    let found =
        rows(&engine, "SELECT labels, round(macro_f1, 4), round(accuracy, 4) FROM model_scores");
    // scikit-learn 1.7: f1_score of the three labels, average="macro".
    assert_eq!(found.await, ["3 0.7222 0.6667"]);
}
