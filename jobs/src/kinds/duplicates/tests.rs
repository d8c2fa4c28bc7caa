#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datasets::{ColumnType, DatasetName};
use engine::{CommitLabel, Engine, Principal, WriteMode};
use kernels::GpuPolicy;
use serde_json::{Value, json};

use crate::run::record::{RunRecord, RunState};
use crate::run::runner::{RunRequest, Runner, RunnerOptions};
use crate::testing::{self, engine, table};

const LONG: &str =
    "The nightly import of invoices stops after four hundred rows and says that the disk is full";

/// (id, age, subject, body)
pub(super) type Row<'a> = (Option<&'a str>, Option<i64>, Option<&'a str>, Option<&'a str>);

fn row<'a>(id: &'a str, at: i64, body: &'a str) -> Row<'a> {
    (Some(id), Some(at), None, Some(body))
}

async fn append(engine: &Engine, name: &str, rows: &[Row<'_>]) {
    write(engine, name, rows, WriteMode::Append).await;
}

pub(super) async fn write(engine: &Engine, name: &str, rows: &[Row<'_>], mode: WriteMode) {
    let text = |of: fn(&Row<'_>) -> Option<String>| -> ArrayRef {
        Arc::new(StringArray::from_iter(rows.iter().map(of)))
    };
    let columns = [
        ("id", ColumnType::Text, text(|row| row.0.map(str::to_owned))),
        ("age", ColumnType::Int64, Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.1)))),
        ("subject", ColumnType::Text, text(|row| row.2.map(str::to_owned))),
        ("body", ColumnType::Text, text(|row| row.3.map(str::to_owned))),
    ];
    testing::write(engine, name, mode, &columns).await;
}

pub(super) async fn run_with(engine: &Engine, params: Value, options: RunnerOptions) -> RunRecord {
    run_job(engine, "duplicates", params, options).await
}

pub(super) async fn run_job(
    engine: &Engine,
    job: &str,
    params: Value,
    options: RunnerOptions,
) -> RunRecord {
    let options = RunnerOptions { gpu: GpuPolicy::Off, threads: 2, ..options };
    let runner = Runner::start(engine.clone(), options).await.unwrap();
    let request = RunRequest { job: job.into(), params, ..RunRequest::default() };
    let record = runner.submit(&Principal::local(), request).await.unwrap().wait().await.unwrap();
    runner.shutdown().await;
    record
}

async fn run(engine: &Engine, dataset: &str) -> RunRecord {
    let params = json!({"dataset": dataset, "order_column": "age"});
    let record = run_with(engine, params, RunnerOptions::default()).await;
    assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
    record
}

/// What somebody says of pairs, in the dataset `judged`.
pub(super) async fn label(engine: &Engine, labels: &[(&str, &str, bool)]) {
    let is_duplicate = BooleanArray::from_iter(labels.iter().map(|label| Some(label.2)));
    let ids = |of: fn(&(&str, &str, bool)) -> String| {
        Arc::new(StringArray::from_iter_values(labels.iter().map(of))) as ArrayRef
    };
    let columns = [
        ("id_a", ColumnType::Text, ids(|label| label.0.to_owned())),
        ("id_b", ColumnType::Text, ids(|label| label.1.to_owned())),
        ("is_duplicate", ColumnType::Bool, Arc::new(is_duplicate) as ArrayRef),
    ];
    table(engine, "judged", &columns).await;
}

/// The rows of a query as texts.
pub(super) async fn ask(engine: &Engine, sql: &str) -> Vec<Vec<String>> {
    let session = engine.session(&Principal::local(), &[]).await.unwrap();
    let batches = session.collect(session.sql(sql).await.unwrap()).await.unwrap();
    let mut rows = Vec::new();
    for batch in &batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| arrow::compute::cast(column, &DataType::Utf8).unwrap())
            .collect();
        rows.extend((0..batch.num_rows()).map(|row| {
            columns.iter().map(|c| c.as_string::<i32>().value(row).to_owned()).collect::<Vec<_>>()
        }));
    }
    rows
}

async fn clusters(engine: &Engine, dataset: &str) -> Vec<(String, String)> {
    let sql = format!(
        "SELECT cluster_id, id FROM duplicate_clusters WHERE source = '{dataset}' ORDER BY cluster_id, id"
    );
    let pair = |row: Vec<String>| (row[0].clone(), row[1].clone());
    ask(engine, &sql).await.into_iter().map(pair).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|&(a, b)| (a.to_owned(), b.to_owned())).collect()
}

#[tokio::test]
async fn the_same_and_nearly_the_same_texts_are_told_apart_from_others() {
    let engine = engine().await;
    let typo = LONG.replace("four hundred", "four hundrde");
    let loud = LONG.to_uppercase().replace(' ', "\n ");
    append(
        &engine,
        "mail",
        &[
            row("d", 40, &typo),
            row("b", 10, LONG),
            row("c", 20, &loud),
            row(
                "x",
                5,
                "The invoices of last night are all there, and the disk is as good as empty",
            ),
            // Two columns make one text; what is null is not a word.
            (Some("e"), Some(30), Some("The nightly import of invoices"), Some(&LONG[31..])),
            (None, Some(1), None, Some(LONG)),
            (Some("blank"), Some(2), Some(" \n"), None),
            (Some("blank too"), Some(2), None, Some("")),
        ],
    )
    .await;
    let record = run(&engine, "mail").await;
    let sql = "SELECT id_a, id_b, grounds, round(similarity, 3), reason, cluster_id FROM duplicate_pairs ORDER BY id_b";
    let found = ask(&engine, sql).await;
    let same = "the same text but for case and white space";
    assert_eq!(found[0], ["b", "c", "exact", "1.0", same, "b"]);
    assert_eq!(
        (&found[1][..3], &found[1][5]),
        (&["b", "d", "near"].map(String::from)[..], &"b".to_owned())
    );
    assert_eq!(found[2], ["b", "e", "exact", "1.0", same, "b"]);
    let similarity: f64 = found[1][3].parse().unwrap();
    let reason = &found[1][4];
    assert!(
        (0.75..1.0).contains(&similarity)
            && reason.contains(" % alike, by the runs of 5 characters"),
        "{reason}"
    );
    let sql = "SELECT id, is_representative, members FROM duplicate_clusters ORDER BY id";
    let members: Vec<String> = ask(&engine, sql).await.iter().map(|row| row.join(" ")).collect();
    assert_eq!(members, ["b true 4", "c false 4", "d false 4", "e false 4"]);
    let expected = json!({
        "source": "mail", "rows_compared": 5, "rows_read": 5, "rows_without_id": 1, "rows_without_text": 2,
        "all_because": "no earlier run of these parameters left a whole index",
        "pairs_exact": 2, "pairs_near": 1, "pairs_semantic": 0, "min_similarity": 0.75,
        "min_cosine": null, "embedder": null, "labels": null, "clusters": 1, "rows_in_clusters": 4, "rows_to_spare": 3,
    });
    assert_eq!(record.summary, expected);
}

#[tokio::test]
async fn a_cluster_keeps_its_name_when_younger_rows_join_and_takes_the_older_one_when_two_meet() {
    let engine = engine().await;
    let other = "Since the update of Monday the login page forgets the second factor of every user of the portal";
    // Half of either: alike enough with both ends, which are not with each other.
    let chain =
        [LONG.to_owned(), format!("{LONG} {}", &other[..24]), format!("{} {other}", &LONG[70..])];
    append(
        &engine,
        "mail",
        &[row("1", 1, LONG), row("2", 2, LONG), row("5", 5, other), row("6", 6, other)],
    )
    .await;
    run(&engine, "mail").await;
    assert_eq!(
        clusters(&engine, "mail").await,
        pairs(&[("1", "1"), ("1", "2"), ("5", "5"), ("5", "6")])
    );
    append(&engine, "mail", &[row("7", 7, &chain[1]), row("8", 8, &chain[2])]).await;
    run(&engine, "mail").await;
    let expected = [("1", "1"), ("1", "2"), ("1", "7"), ("5", "5"), ("5", "6"), ("5", "8")];
    assert_eq!(clusters(&engine, "mail").await, pairs(&expected));
    let bridge = format!("{LONG} {other}");
    let low = json!({"dataset": "mail", "order_column": "age", "min_similarity": 0.4});
    append(&engine, "mail", &[row("9", 9, &bridge)]).await;
    let record = run_with(&engine, low, RunnerOptions::default()).await;
    assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
    let names: Vec<String> =
        clusters(&engine, "mail").await.into_iter().map(|pair| pair.0).collect();
    assert_eq!(names, vec!["1"; 7]);
}

#[tokio::test]
async fn a_run_replaces_the_rows_of_its_own_source_alone() {
    let engine = engine().await;
    for name in ["mail", "chat"] {
        append(&engine, name, &[row("1", 1, LONG), row("2", 2, LONG)]).await;
        run(&engine, name).await;
    }
    let who = Principal::local();
    let chat = DatasetName::new("chat").unwrap();
    let label = CommitLabel { operation: "test".into(), ..CommitLabel::default() };
    engine.write(&who, &chat, WriteMode::Overwrite, Vec::new(), label).await.unwrap();
    run(&engine, "chat").await;
    assert_eq!(clusters(&engine, "chat").await, []);
    assert_eq!(clusters(&engine, "mail").await, pairs(&[("1", "1"), ("1", "2")]));
    assert_eq!(ask(&engine, "SELECT count(*) FROM duplicate_pairs").await, [["1"]]);
}

#[tokio::test]
async fn a_thousand_copies_are_a_thousand_pairs() {
    let engine = engine().await;
    let ids: Vec<String> = (0..1000).map(|i| format!("{i:04}")).collect();
    let rows: Vec<Row<'_>> = ids.iter().zip(0..).map(|(id, at)| row(id, at, LONG)).collect();
    append(&engine, "mail", &rows).await;
    let record = run(&engine, "mail").await;
    assert_eq!(
        (record.summary["pairs_exact"].as_u64(), record.summary["clusters"].as_u64()),
        (Some(999), Some(1))
    );
    let session = engine.session(&Principal::local(), &[]).await.unwrap();
    let frame =
        session.sql("SELECT max(members), min(similarity) FROM duplicate_clusters").await.unwrap();
    let found = session.collect(frame).await.unwrap();
    assert_eq!(found[0].column(0).as_primitive::<Int64Type>().value(0), 1000);
    assert_eq!(found[0].column(1).as_primitive::<Float64Type>().value(0), 1.0);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_by_name() {
    let engine = engine().await;
    append(&engine, "mail", &[row("1", 1, LONG)]).await;
    let cases = [
        (
            json!({"min_similarity": 0}),
            "parameter \"min_similarity\": expected above 0 and at most 1, found 0",
        ),
        (json!({"functions": 4}), "parameter \"functions\": expected 8 to 1024, found 4"),
        (json!({"text_columns": []}), "parameter \"text_columns\": expected at least one column"),
        (
            json!({"clusters_output": "duplicate_pairs"}),
            "expected another dataset than `pairs_output`",
        ),
        (
            json!({"min_cosine": 1.5, "vectors": "vectors"}),
            "parameter \"min_cosine\": expected above 0 and at most 1, found 1.5",
        ),
        (
            json!({"min_cosine": 0.8}),
            "parameter \"min_cosine\": expected `vectors` beside it, found none",
        ),
        (
            json!({"vectors": "vectors", "fields": [{"column": "body", "compare": "text"}]}),
            "parameter \"vectors\": expected `labels` beside it, 30 of either kind or more",
        ),
    ];
    let runner = Runner::start(engine.clone(), RunnerOptions::default()).await.unwrap();
    for (params, expected) in cases {
        let request = RunRequest { job: "duplicates".into(), params, ..RunRequest::default() };
        let error =
            runner.submit(&Principal::local(), request).await.expect_err("an error").to_string();
        assert!(error.contains(expected), "{error}");
    }
    runner.shutdown().await;
    let cases = [
        (
            json!({"order_column": null, "text_columns": ["words"]}),
            "mail has no column \"words\"; expected one of id, age",
        ),
        (
            json!({"order_column": null, "text_columns": ["age"]}),
            "column \"age\" of dataset mail: expected a text, found int64",
        ),
        (json!({}), "parameter \"order_column\": dataset mail has no column \"created_at\""),
    ];
    for (mut params, expected) in cases {
        params["dataset"] = "mail".into();
        let record = run_with(&engine, params, RunnerOptions::default()).await;
        let error = record.error.expect("an error").message;
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn texts_beyond_the_budget_are_refused_with_what_would_help() {
    let engine = engine().await;
    let ids: Vec<String> = (0..200).map(|i| i.to_string()).collect();
    let rows: Vec<Row<'_>> = ids.iter().map(|id| row(id, 0, LONG)).collect();
    append(&engine, "mail", &rows).await;
    let options = RunnerOptions {
        memory_budget_bytes: 200_000,
        concurrent_runs: 1,
        ..RunnerOptions::default()
    };
    let params = json!({"dataset": "mail", "order_column": "age"});
    let error = run_with(&engine, params, options).await.error.expect("an error");
    assert_eq!(error.code.to_string(), "RESOURCES_EXHAUSTED");
    assert!(
        error.message.contains("three quarters of the memory budget, 150000 bytes"),
        "{}",
        error.message
    );
}
