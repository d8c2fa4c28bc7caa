#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::Float32Type;
use datasets::ColumnType;
use engine::{Engine, Principal, WriteMode};
use kernels::GpuPolicy;
use models::{EmbedOptions, NgramEmbedder, NgramOptions, TextEmbedder};
use serde_json::{Value, json};

use crate::run::record::{RunRecord, RunState};
use crate::run::runner::{RunRequest, Runner, RunnerOptions};
use crate::testing::{self, engine};

async fn write(engine: &Engine, name: &str, mode: WriteMode, rows: &[(Option<&str>, &str, &str)]) {
    let ids: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|row| row.0)));
    let subjects: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1)));
    let bodies: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.2)));
    let columns = [("id", ids), ("subject", subjects), ("body", bodies)];
    let columns = columns.map(|(name, values)| (name, ColumnType::Text, values));
    testing::write(engine, name, mode, &columns).await;
}

async fn run_with(engine: &Engine, params: Value, options: RunnerOptions) -> RunRecord {
    let options = RunnerOptions { gpu: GpuPolicy::Off, threads: 2, ..options };
    let runner = Runner::start(engine.clone(), options).await.unwrap();
    let request = RunRequest { job: "embed".into(), params, ..RunRequest::default() };
    let record = runner.submit(&Principal::local(), request).await.unwrap().wait().await.unwrap();
    runner.shutdown().await;
    record
}

async fn embed(engine: &Engine, dataset: &str, dimension: u32) -> Value {
    let params = json!({
        "dataset": dataset, "embedder": "ngram", "dimension": dimension,
        "output": format!("vectors_{dimension}"),
    });
    let record = run_with(engine, params, RunnerOptions::default()).await;
    assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
    record.summary
}

/// (id, embedder, vector) of every row of a source, by id.
async fn vectors(engine: &Engine, output: &str, source: &str) -> Vec<(String, String, Vec<f32>)> {
    let session = engine.session(&Principal::local(), &[]).await.unwrap();
    let sql = format!(
        "SELECT arrow_cast(id, 'Utf8'), arrow_cast(embedder, 'Utf8'), vector FROM {output} \
         WHERE source = '{source}' ORDER BY id"
    );
    let batches = session.collect(session.sql(&sql).await.unwrap()).await.unwrap();
    let mut rows = Vec::new();
    for batch in &batches {
        let text = |at: usize, row| batch.column(at).as_string::<i32>().value(row).to_owned();
        for row in 0..batch.num_rows() {
            let vector = batch.column(2).as_list::<i32>().value(row);
            let vector = vector.as_primitive::<Float32Type>().values().to_vec();
            rows.push((text(0, row), text(1, row), vector));
        }
    }
    rows
}

fn expected(text: &str, dimension: usize) -> Vec<f32> {
    let embedder = NgramEmbedder::new(NgramOptions { dimension }).unwrap();
    embedder.embed(&[text], &EmbedOptions::default()).unwrap().values
}

#[tokio::test]
async fn every_row_has_the_vector_of_its_text_and_no_text_is_embedded_twice() {
    let engine = engine().await;
    let rows = [
        (Some("a"), "disk full", "on db1"),
        (Some("b"), "disk full", "on db2"),
        (Some("c"), "disk full", "on db1"),
        (None, "disk full", "on db1"),
    ];
    write(&engine, "mail", WriteMode::Append, &rows).await;
    let summary = embed(&engine, "mail", 64).await;
    let counts = |summary: &Value| {
        ["rows", "rows_without_id", "texts", "texts_kept", "texts_embedded"]
            .map(|name| summary[name].as_u64().unwrap())
    };
    assert_eq!(counts(&summary), [3, 1, 2, 0, 2]);
    let found = vectors(&engine, "vectors_64", "mail").await;
    let ids: Vec<&str> = found.iter().map(|row| row.0.as_str()).collect();
    assert_eq!((ids, found[0].1.as_str()), (vec!["a", "b", "c"], "ngram@1-64"));
    assert_eq!(found[0].2, expected("disk full\non db1", 64));
    assert_eq!(found[1].2, expected("disk full\non db2", 64));
    assert_eq!(found[2].2, found[0].2);

    // One row is gone, one says something else, one is new and says what one did before.
    let rows = [
        (Some("b"), "link", "down"),
        (Some("c"), "disk full", "on db1"),
        (Some("d"), "disk full", "on db2"),
    ];
    write(&engine, "mail", WriteMode::Overwrite, &rows).await;
    let summary = embed(&engine, "mail", 64).await;
    assert_eq!(counts(&summary), [3, 0, 3, 2, 1]);
    let found = vectors(&engine, "vectors_64", "mail").await;
    let texts = [("b", "link\ndown"), ("c", "disk full\non db1"), ("d", "disk full\non db2")];
    for ((id, _, vector), (row, text)) in found.iter().zip(texts) {
        assert_eq!((id.as_str(), vector), (row, &expected(text, 64)));
    }
    assert_eq!(found.len(), 3);
}

#[tokio::test]
async fn vectors_of_another_source_or_embedder_are_neither_kept_nor_lost() {
    let engine = engine().await;
    for name in ["mail", "chat"] {
        write(
            &engine,
            name,
            WriteMode::Append,
            &[(Some("1"), name, "says"), (Some("2"), "a", "b")],
        )
        .await;
        let summary = embed(&engine, name, 32).await;
        assert_eq!((&summary["texts_kept"], &summary["texts_embedded"]), (&json!(0), &json!(2)));
    }
    let before = vectors(&engine, "vectors_32", "mail").await;
    write(&engine, "chat", WriteMode::Append, &[(Some("3"), "c", "d")]).await;
    embed(&engine, "chat", 32).await;
    assert_eq!(vectors(&engine, "vectors_32", "mail").await, before);
    assert_eq!(vectors(&engine, "vectors_32", "chat").await.len(), 3);
    // Vectors of another length do not fit where these are, and are not let in.
    let params = json!({
        "dataset": "mail", "embedder": "ngram", "dimension": 48, "output": "vectors_32",
    });
    let record = run_with(&engine, params, RunnerOptions::default()).await;
    let error = record.error.expect("an error").message;
    assert!(error.contains("vector(32)") && error.contains("vector(48)"), "{error}");
    assert_eq!(vectors(&engine, "vectors_32", "mail").await, before);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said() {
    let engine = engine().await;
    write(&engine, "mail", WriteMode::Append, &[(Some("1"), "a", "b")]).await;
    let runner = Runner::start(engine.clone(), RunnerOptions::default()).await.unwrap();
    let cases = [
        (json!({"dimension": 8}), "parameter \"dimension\": expected 16 to 4096, found 8"),
        (json!({"embedder": "../etc"}), "parameter \"embedder\": expected the name of a model"),
        (json!({"text_columns": []}), "parameter \"text_columns\": expected at least one column"),
    ];
    for (params, expected) in cases {
        let request = RunRequest { job: "embed".into(), params, ..RunRequest::default() };
        let error =
            runner.submit(&Principal::local(), request).await.expect_err("an error").to_string();
        assert!(error.contains(expected), "{error}");
    }
    runner.shutdown().await;
    let store = tempfile::tempdir().unwrap();
    let options = RunnerOptions { models: Some(store.path().into()), ..RunnerOptions::default() };
    let missing = json!({"dataset": "mail"});
    let error = run_with(&engine, missing.clone(), options.clone()).await.error.expect("an error");
    assert_eq!(error.code, "NOT_FOUND");
    assert!(error.message.contains("colonnade models pull all-MiniLM-L6-v2"), "{}", error.message);
    let folder = store.path().join("all-MiniLM-L6-v2");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("card.json"), "{}").unwrap();
    let error = run_with(&engine, missing, options).await.error.expect("an error");
    assert!(error.message.contains("card: missing field"), "{}", error.message);
    let small =
        RunnerOptions { memory_budget_bytes: 600, concurrent_runs: 1, ..RunnerOptions::default() };
    let params = json!({"dataset": "mail", "embedder": "ngram"});
    let error = run_with(&engine, params, small).await.error.expect("an error");
    assert_eq!(error.code, "RESOURCES_EXHAUSTED");
}
