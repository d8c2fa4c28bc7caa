//! Texts that mean the same, and thresholds by labels.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, StringArray};
use arrow::datatypes::Float32Type;
use datasets::ColumnType;
use engine::{Engine, WriteMode};
use serde_json::{Value, json};

use super::tests::{Row, ask, label, run_with, write};
use crate::run::record::{RunRecord, RunState};
use crate::run::runner::RunnerOptions;
use crate::testing::{Noise, engine, table};

/// Text, and a vector.
const ROWS: [(&str, &str, Option<[f32; 3]>); 8] = [
    ("a", "The disk of the database is full", Some([1.0, 0.0, 0.0])),
    ("b", "No space is left for our tables", Some([0.96, 0.28, 0.0])),
    ("c", "the disk of the database  is FULL", Some([1.0, 0.0, 0.0])),
    ("d", "The disk of the database is full now", Some([0.99, 0.141, 0.0])),
    ("e", "I can not sign in with my password", Some([0.0, 0.0, 1.0])),
    ("f", "My account is locked since noon", Some([0.0, 0.6, 0.8])),
    ("g", "Storage of the tables ran out", None),
    ("h", "An invoice was paid twice", Some([0.0, 1.0, 0.0])),
];

fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// The tickets and their vectors.
async fn tickets(engine: &Engine) {
    let rows: Vec<Row<'_>> =
        ROWS.iter().zip(0..).map(|(r, age)| (Some(r.0), Some(age), None, Some(r.1))).collect();
    write(engine, "mail", &rows, WriteMode::Append).await;
    let with: Vec<_> = ROWS.iter().filter_map(|row| Some((row.0, row.2?))).collect();
    vectors(engine, &with).await;
}

/// Vectors of rows of `mail`.
async fn vectors(engine: &Engine, rows: &[(&str, [f32; 3])]) {
    let numbers = rows.iter().map(|(_, vector)| Some(vector.map(Some)));
    let vectors = ListArray::from_iter_primitive::<Float32Type, _, _>(numbers);
    let item = ColumnType::Vector(3).arrow_type();
    let vectors = arrow::compute::cast(&vectors, &item).unwrap();
    table(
        engine,
        "vectors",
        &[
            ("source", ColumnType::Text, texts(rows.iter().map(|_| "mail"))),
            ("id", ColumnType::Text, texts(rows.iter().map(|row| row.0))),
            ("embedder", ColumnType::Text, texts(rows.iter().map(|_| "hand@1"))),
            ("vector", ColumnType::Vector(3), vectors),
        ],
    )
    .await;
}

async fn run(engine: &Engine, mut params: Value) -> RunRecord {
    params["dataset"] = "mail".into();
    params["order_column"] = "age".into();
    run_with(engine, params, RunnerOptions::default()).await
}

async fn pairs(engine: &Engine) -> Vec<String> {
    let sql = "SELECT id_a, id_b, grounds FROM duplicate_pairs ORDER BY 1, 2";
    ask(engine, sql).await.into_iter().map(|row| row.join(" ")).collect()
}

#[tokio::test]
async fn texts_that_mean_the_same_are_paired_once_and_after_those_with_the_same_words() {
    let engine = engine().await;
    tickets(&engine).await;
    let record = run(&engine, json!({"vectors": "vectors"})).await;
    assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
    // c repeats a, so that it is not compared with b; d is close to a by its words already.
    let expected = ["a b semantic", "a c exact", "a d near", "b d semantic"];
    assert_eq!(pairs(&engine).await, expected);
    let summary = &record.summary;
    let counts = ["pairs_exact", "pairs_near", "pairs_semantic"].map(|name| &summary[name]);
    assert_eq!(counts, [1, 1, 2]);
    assert_eq!((&summary["embedder"], &summary["min_cosine"]), (&"hand@1".into(), &0.9.into()));
    let sql = "SELECT reason, similarity FROM duplicate_pairs WHERE id_a = 'a' AND id_b = 'b'";
    let found = &ask(&engine, sql).await[0];
    assert_eq!(found[0], "the vectors by hand@1 have a cosine of 0.960");
    assert!((found[1].parse::<f64>().unwrap() - 0.96).abs() < 1e-6, "{found:?}");
    let stage = record.stages.iter().find(|stage| stage.name == "link").unwrap();
    assert_eq!(stage.facts["rows_without_vector"], 1);
    // Without vectors, words alone.
    run(&engine, json!({})).await;
    assert_eq!(pairs(&engine).await, ["a c exact", "a d near"]);
}

#[tokio::test]
async fn labels_choose_how_alike_texts_and_vectors_must_be() {
    let engine = engine().await;
    tickets(&engine).await;
    let labels = [
        ("a", "d", true),
        ("a", "c", true),
        ("b", "a", true),
        ("e", "f", true),
        ("f", "h", false),
        ("a", "e", false),
        ("b", "h", false),
    ];
    label(&engine, &labels).await;
    let record = run(&engine, json!({"vectors": "vectors", "labels": "judged"})).await;
    assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
    let summary = &record.summary;
    // Between 0.8, of two that are one, and 0.6, of two that are not.
    let cosine = summary["min_cosine"].as_f64().unwrap();
    assert!((cosine - 0.7).abs() < 1e-6, "{summary}");
    let stages = summary["labels"]["stages"].as_array().unwrap();
    let recalls: Vec<f64> = stages.iter().map(|stage| stage["recall"].as_f64().unwrap()).collect();
    assert_eq!((recalls[0], recalls[2]), (0.25, 1.0), "{summary}");
    assert!(stages.iter().all(|stage| stage["precision"] == 1.0), "{summary}");
    assert!(summary["labels"]["curve_of_cosine"].as_array().is_some_and(|c| c.len() > 2));
    assert!(pairs(&engine).await.contains(&"e f semantic".to_owned()));
    // Without vectors the words decide, and what is asked for is taken.
    let record = run(&engine, json!({"labels": "judged"})).await;
    let chosen = record.summary["min_similarity"].as_f64().unwrap();
    assert!((0.3..0.85).contains(&chosen), "{}", record.summary);
    assert_eq!(record.summary["labels"]["curve_of_cosine"], Value::Null);
    let record = run(&engine, json!({"labels": "judged", "min_similarity": 0.9})).await;
    assert_eq!(record.summary["min_similarity"], 0.9);
    assert_eq!(pairs(&engine).await, ["a c exact"]);
}

#[tokio::test]
async fn vectors_that_are_not_there_and_labels_of_one_kind_are_refused() {
    let engine = engine().await;
    tickets(&engine).await;
    let other: [Row<'_>; 1] = [(Some("1"), Some(1), None, Some("text"))];
    write(&engine, "letters", &other, WriteMode::Append).await;
    let params = json!({"dataset": "letters", "order_column": "age", "vectors": "vectors"});
    let error = run_with(&engine, params, RunnerOptions::default()).await.error.unwrap();
    let expected =
        "letters has no vectors in vectors: run the job `embed` with dataset = \"letters\"";
    assert!(error.message.contains(expected), "{}", error.message);
    let cases = [
        ("b", "expected duplicates and other pairs, found 1 duplicates and 0 other pairs"),
        ("nobody", "expected ids of rows that are compared, found 1 others, such as \"nobody\""),
    ];
    for (id, expected) in cases {
        label(&engine, &[("a", id, true)]).await;
        let error = run(&engine, json!({"labels": "judged"})).await.error.unwrap().message;
        assert!(error.contains("parameter \"labels\"") && error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn of_records_the_cosine_is_one_more_similarity_that_is_learned_from() {
    let engine = engine().await;
    // Two names each of forty things, which only their vectors bring together; one row has none.
    let mut noise = Noise::new(4);
    let mut letter = || char::from(b'a' + (noise.uniform() * 26.0) as u8);
    let names: Vec<String> = (0..80).map(|_| (0..8).map(|_| letter()).collect()).collect();
    let ids: Vec<String> = (0..80).map(|row| format!("r{row:02}")).collect();
    let rows: Vec<Row<'_>> = ids
        .iter()
        .zip(&names)
        .zip(0..)
        .map(|((id, name), age)| (Some(&id[..]), Some(age), None, Some(&name[..])))
        .collect();
    write(&engine, "mail", &rows, WriteMode::Append).await;
    let of = |row: usize| {
        // A spiral around a ball.
        let z = 1.0 - (2 * (row % 40) + 1) as f32 / 40.0;
        let angle = (row % 40) as f32 * 2.4 + if row < 40 { 0.0 } else { 0.01 };
        let wide = (1.0 - z * z).sqrt();
        [wide * angle.cos(), wide * angle.sin(), z]
    };
    let with: Vec<(&str, [f32; 3])> = (0..79).map(|row| (&ids[row][..], of(row))).collect();
    vectors(&engine, &with).await;
    let judged: Vec<(&str, &str, bool)> = (0..32)
        .flat_map(|row| {
            let pair = |other: usize, same| (&ids[row][..], &ids[other][..], same);
            [pair(row + 40, true), pair(44 + (row + 7) % 30, false)]
        })
        .collect();
    label(&engine, &judged).await;
    let params = |more: Value| {
        let mut params = json!({
            "fields": [{"column": "body", "compare": "text"}],
            "blocking": [{"rule": "sorted", "keys": [{"column": "body"}], "window": 79}],
            "labels": "judged",
        });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    let by_words = run(&engine, params(json!({}))).await;
    assert_eq!(by_words.state, RunState::Succeeded, "{:?}", by_words.error);
    let f1 = |record: &RunRecord| record.summary["model"]["labels"]["best"]["f1"].as_f64().unwrap();
    assert!(f1(&by_words) < 0.8, "{}", by_words.summary);
    assert_eq!(by_words.summary["vectors"], Value::Null);
    let record = run(&engine, params(json!({ "vectors": "vectors" }))).await;
    assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
    assert!(f1(&record) > 0.99, "{}", record.summary);
    assert_eq!(record.summary["vectors"], json!({ "embedder": "hand@1", "rows_without": 1 }));
    // The likeliest are those whose vectors are nearest.
    let sql = "SELECT id_a, id_b, reason FROM duplicate_pairs ORDER BY similarity DESC LIMIT 39";
    let mut found = ask(&engine, sql).await;
    found.sort_unstable();
    let expected: Vec<[&str; 2]> = (0..39).map(|row| [&ids[row][..], &ids[row + 40]]).collect();
    let pairs: Vec<[&str; 2]> = found.iter().map(|row| [&row[0][..], &row[1]]).collect();
    assert_eq!(pairs, expected);
    assert!(found.iter().all(|row| row[2].ends_with("; meaning 1.00 alike")), "{:?}", found[0]);

    // Without enough labels nothing would look at the vectors.
    label(&engine, &judged[..8]).await;
    let record = run(&engine, params(json!({ "vectors": "vectors" }))).await;
    let message = record.error.unwrap().message;
    let expected = "parameter \"vectors\": expected `labels` beside it, 30 of either kind or more";
    assert!(message.contains(expected) && message.contains("found 4 duplicates"), "{message}");
}
