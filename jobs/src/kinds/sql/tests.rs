#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::util::display::array_value_to_string;
use datasets::{ColumnType, DatasetName, DatasetSpec};
use engine::{AsOf, Code, CommitLabel, Engine, Going, Principal, Revision, RunId, WriteMode};
use kernels::GpuPolicy;
use serde_json::{Value, json};

use crate::run::record::{RunRecord, RunState};
use crate::run::runner::{RunRequest, Runner, RunnerOptions};
use crate::tables::columns::{column, with_unit};
use crate::testing::{engine, write};

/// Orders: (id, kind, amount), `amount` in usd.
fn orders() -> DatasetSpec {
    let text = r#"{"name": "orders", "key": ["id"], "columns": [
        {"name": "id", "type": "int64"}, {"name": "kind", "type": "text", "nullable": true}]}"#;
    let mut spec = DatasetSpec::from_json(text).unwrap();
    let amount = column("amount", ColumnType::Int64, true, "");
    spec.columns.push(with_unit(amount, "usd"));
    spec
}

async fn order(engine: &Engine, rows: &[(i64, &str, i64)]) {
    let (who, spec) = (Principal::local(), orders());
    engine.ensure_dataset(&who, &spec).await.unwrap();
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
    let kinds: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1)));
    let amounts: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2)));
    let batch = RecordBatch::try_new(spec.arrow_schema(), vec![ids, kinds, amounts]).unwrap();
    let label = CommitLabel { operation: "test".into(), ..CommitLabel::default() };
    engine.write(&who, &spec.name, WriteMode::Append, vec![batch], label).await.unwrap();
}

async fn forget(engine: &Engine, condition: &str) {
    let (who, name) = (Principal::local(), orders().name);
    let session = engine.session(&who, &[]).await.unwrap();
    let going = Going::Where(session.condition(&name, condition).await.unwrap());
    let revision = Revision { going, coming: engine::Coming::Nothing };
    let label = CommitLabel { operation: "test".into(), ..CommitLabel::default() };
    engine.revise(&who, &name, revision, label).await.unwrap();
}

async fn rig() -> (Engine, Runner) {
    let engine = engine().await;
    order(&engine, &[(1, "a", 10), (2, "b", 20), (3, "a", 30)]).await;
    (engine.clone(), runner(&engine).await)
}

async fn runner(engine: &Engine) -> Runner {
    let options = RunnerOptions { gpu: GpuPolicy::Off, threads: 1, ..RunnerOptions::default() };
    Runner::start(engine.clone(), options).await.unwrap()
}

fn request(query: &str, more: Value) -> RunRequest {
    let mut params = json!({ "query": query, "output": "made" });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    RunRequest { job: "sql".into(), params, ..RunRequest::default() }
}

async fn run(runner: &Runner, query: &str, more: Value) -> RunRecord {
    let run = runner.submit(&Principal::local(), request(query, more)).await;
    run.unwrap().wait().await.unwrap()
}

/// The same, which succeeds.
async fn done(runner: &Runner, query: &str, more: Value) -> RunRecord {
    let record = run(runner, query, more).await;
    assert_eq!(record.state, RunState::Succeeded, "{query}: {:?}", record.error);
    record
}

/// What a run that can not begin, or fails, is told.
async fn refused(runner: &Runner, query: &str, more: Value) -> (String, String) {
    match runner.submit(&Principal::local(), request(query, more)).await {
        Err(error) => (error.code().as_str().to_owned(), error.to_string()),
        Ok(run) => {
            let record = run.wait().await.unwrap();
            let error = record.error.unwrap_or_else(|| panic!("{query} succeeded"));
            (error.code, error.message)
        }
    }
}

/// The rows of what was made, `|` between values, sorted.
async fn made(engine: &Engine) -> Vec<String> {
    let session = engine.session(&Principal::local(), &[]).await.unwrap();
    let frame = session.table(&"made".parse().unwrap()).await.unwrap();
    let mut rows = Vec::new();
    for batch in session.collect(frame).await.unwrap() {
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter().map(|of| array_value_to_string(of, row).unwrap());
            rows.push(values.collect::<Vec<_>>().join("|"));
        }
    }
    rows.sort();
    rows
}

async fn made_spec(engine: &Engine) -> DatasetSpec {
    let catalog = engine.catalog(&Principal::local()).await.unwrap();
    catalog.dataset(&"made".parse().unwrap()).unwrap().spec.clone()
}

async fn version(engine: &Engine, name: &str) -> u64 {
    let catalog = engine.catalog(&Principal::local()).await.unwrap();
    catalog.dataset(&DatasetName::new(name).unwrap()).unwrap().version.0
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_a_query_become_a_dataset_of_its_columns() {
    let (engine, runner) = rig().await;
    let query = "WITH big AS (SELECT * FROM orders WHERE amount >= $least) \
                 SELECT id, amount, amount / 4.0 AS part, kind || '!' AS loud, 7 AS seven FROM big";
    let params = json!({ "values": { "least": 20 }, "key": ["id"] });
    let first = done(&runner, query, params.clone()).await;
    assert_eq!(made(&engine).await, ["2|20|5.0|b!|7", "3|30|7.5|a!|7"]);
    assert_eq!(first.inputs.len(), 1);
    assert_eq!(first.summary, json!({ "rows_read": 2, "rows_out": 2 }));
    let stages: Vec<_> =
        first.stages.iter().map(|s| (s.name.as_str(), s.rows_in, s.rows_out)).collect();
    assert_eq!(stages, [("plan", 0, 0), ("query", 2, 2), ("commit", 2, 2)]);
    let spec = made_spec(&engine).await;
    let columns: Vec<_> = spec
        .columns
        .iter()
        .map(|c| (c.name.as_str(), c.data_type.to_string(), c.nullable, c.unit.as_deref()))
        .collect();
    assert_eq!(
        columns,
        [
            ("id", "int64".to_owned(), false, None),
            ("amount", "int64".to_owned(), true, Some("usd")),
            ("part", "float64".to_owned(), true, None),
            ("loud", "text".to_owned(), true, None),
            ("seven", "int64".to_owned(), false, None),
        ]
    );
    assert!(spec.derived && spec.key == ["id"], "{spec:?}");
    assert_eq!(spec.description, "What a query makes of orders");
    // The same work is done once; other values are other work.
    assert_eq!(done(&runner, query, params).await.repeated_of, Some(first.id));
    let other = json!({ "values": { "least": 30 }, "key": ["id"] });
    assert_eq!(done(&runner, query, other.clone()).await.repeated_of, None);
    assert_eq!(made(&engine).await, ["3|30|7.5|a!|7"]);
    order(&engine, &[(4, "c", 40)]).await;
    assert_eq!(done(&runner, query, other).await.repeated_of, None);
    assert_eq!(made(&engine).await.len(), 2);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_bound_and_never_read_as_sql() {
    let (engine, runner) = rig().await;
    let query = "SELECT $text AS text, $whole + 1 AS whole, $float * 2 AS float, $is AS is_so, \
                 $at AS at, $day AS day, $price AS price, coalesce($none, $whole) AS none, \
                 array_length($list) AS listed, date_trunc('day', $at) AS midnight \
                 FROM orders WHERE id = ANY($list) AND amount < $price ORDER BY id LIMIT $most";
    let values = json!({
        "text": "'; DROP TABLE orders; --", "whole": 41, "float": 1.25, "is": true, "none": null,
        "at": { "type": "timestamp", "value": "2026-03-01T12:00:00Z" },
        "day": { "type": "date", "value": "2026-03-01" },
        "price": { "type": "decimal(6,2)", "value": "20.50" },
        "list": { "type": "list(int64)", "value": [1, 2, 3] }, "most": 1,
    });
    done(&runner, query, json!({ "values": values })).await;
    assert_eq!(
        made(&engine).await,
        [
            "'; DROP TABLE orders; --|42|2.5|true|2026-03-01T12:00:00Z|2026-03-01|20.50|41|3|2026-03-01T00:00:00Z"
        ]
    );
    let types: Vec<String> =
        made_spec(&engine).await.columns.iter().map(|c| c.data_type.to_string()).collect();
    assert_eq!(
        types,
        [
            "text",
            "int64",
            "float64",
            "bool",
            "timestamp",
            "date",
            "decimal(6,2)",
            "int64",
            "decimal(20,0)",
            "timestamp"
        ]
    );
    for (values, says) in [
        (json!({}), "parameter \"values\": the query has $least, for which there is no value"),
        (json!({ "least": 1, "lest": 1 }), "the query has no $lest; did you mean least?"),
        (json!({ "least": [1] }), "parameter \"values.least\": expected a number, a text"),
    ] {
        let query = "SELECT id FROM orders WHERE amount > $least";
        let (code, message) = refused(&runner, query, json!({ "values": values })).await;
        assert_eq!(code, "BAD_INPUT", "{message}");
        assert!(message.contains(says), "{message}");
    }
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_added_or_take_the_place_of_those_with_their_key() {
    let (engine, runner) = rig().await;
    let sums = "SELECT kind, sum(amount) AS total FROM orders GROUP BY kind";
    let merge = json!({ "mode": "merge", "key": ["kind"] });
    done(&runner, sums, merge.clone()).await;
    assert_eq!(made(&engine).await, ["a|40", "b|20"]);
    forget(&engine, "kind = 'b'").await;
    order(&engine, &[(4, "a", 2), (5, "c", 50)]).await;
    done(&runner, sums, merge.clone()).await;
    // What the query no longer gives stays.
    assert_eq!(made(&engine).await, ["a|42", "b|20", "c|50"]);
    let twice = "SELECT kind, amount AS total FROM orders";
    let (code, message) = refused(&runner, twice, merge).await;
    assert_eq!(code, "BAD_INPUT");
    assert!(message.contains("the query gives two rows of the key (kind = a)"), "{message}");
    assert_eq!(made(&engine).await.len(), 3);

    let append = json!({ "mode": "append", "output": "made", "key": ["kind"] });
    done(&runner, "SELECT 'd' AS kind, CAST(1 AS BIGINT) AS total", append.clone()).await;
    done(&runner, "SELECT 'e' AS kind, CAST(2 AS BIGINT) AS total", append).await;
    assert_eq!(made(&engine).await, ["a|42", "b|20", "c|50", "d|1", "e|2"]);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_can_not_be_right_is_refused_with_the_reason() {
    let (engine, runner) = rig().await;
    let none = || json!({});
    for (query, more, code, says) in [
        ("", none(), "BAD_INPUT", "parameter \"query\": expected one SELECT or WITH"),
        ("SELECT 1 AS a; SELECT 2 AS a", none(), "BAD_INPUT", "expected one query, found 2"),
        ("DROP TABLE orders", none(), "BAD_INPUT", "expected a query (SELECT, WITH), found DROP"),
        ("COPY orders TO '/tmp/x.csv'", none(), "BAD_INPUT", "found COPY"),
        ("SELECT * FROM '/etc/passwd'", none(), "BAD_INPUT", "expected the name of a dataset"),
        (
            "SELECT now() AS at FROM orders",
            none(),
            "BAD_INPUT",
            "now() gives another value each time",
        ),
        ("SELECT random() AS x FROM orders", none(), "BAD_INPUT", "random() gives another value"),
        ("SELECT id FROM ordres", none(), "NOT_FOUND", "did you mean orders"),
        ("SELECT amuont FROM orders", none(), "BAD_INPUT", "did you mean amount"),
        ("SELECT id FROM orders WHERE kind > 1 + 'x'", none(), "BAD_INPUT", ""),
        (
            "SELECT o.id FROM orders o JOIN made m ON o.id = m.id",
            none(),
            "BAD_INPUT",
            "parameter \"output\": the query reads made, and a job does not write to its own input",
        ),
        ("SELECT count(*) FROM orders", none(), "BAD_INPUT", "give it a name with AS"),
        (
            "SELECT a.id, b.id FROM orders a JOIN orders b ON a.id = b.id",
            none(),
            "BAD_INPUT",
            "column 2 is the second one called id",
        ),
        (
            "SELECT id FROM orders",
            json!({"key": ["ids"]}),
            "BAD_INPUT",
            "no column \"ids\"; did you mean id?",
        ),
        (
            "SELECT id FROM orders",
            json!({"time_column": "id"}),
            "BAD_INPUT",
            "time column \"id\" is int64",
        ),
        (
            "SELECT id FROM orders",
            json!({"mode": "merge"}),
            "BAD_INPUT",
            "expected `key` to name its columns",
        ),
        ("SELECT id FROM orders", json!({"mode": "upsert"}), "BAD_INPUT", "parameter \"mode\""),
        (
            "SELECT id FROM orders",
            json!({"output": "runs"}),
            "BAD_INPUT",
            "runs is kept for other records",
        ),
        ("SELECT id FROM orders", json!({"quere": "x"}), "BAD_INPUT", "did you mean query?"),
    ] {
        let (found, message) = refused(&runner, query, more).await;
        assert_eq!(found, code, "{query}: {message}");
        assert!(message.contains(says), "{query}: {message}");
    }
    let catalog = engine.catalog(&Principal::local()).await.unwrap();
    assert!(!catalog.datasets.contains_key(&"made".parse().unwrap()), "something was made");
    // Rows of clients are not written over.
    let (code, message) = refused(&runner, "SELECT 1 AS id", json!({ "output": "orders" })).await;
    assert_eq!(code, "CONFLICT", "{message}");
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_change_are_told_and_new_ones_may_be_null() {
    let (engine, runner) = rig().await;
    done(&runner, "SELECT id, amount FROM orders", json!({})).await;
    for (query, says) in [
        (
            "SELECT id, CAST(amount AS TEXT) AS amount FROM orders",
            "column \"amount\" is int64 in usd there, and the query gives text",
        ),
        ("SELECT id FROM orders", "column \"amount\" (int64) is there, and the query gives none"),
    ] {
        let (code, message) = refused(&runner, query, json!({})).await;
        assert_eq!(code, "CONFLICT", "{message}");
        assert!(message.contains(says), "{message}");
    }
    let (_, message) =
        refused(&runner, "SELECT id, amount FROM orders", json!({"key": ["id"]})).await;
    assert!(message.contains("its key is none, and the parameters say id"), "{message}");
    done(&runner, "SELECT id, 5 AS five, amount FROM orders", json!({})).await;
    let spec = made_spec(&engine).await;
    assert!(spec.column("five").unwrap().nullable, "{spec:?}");
    assert_eq!(made(&engine).await, ["1|10|5", "2|20|5", "3|30|5"]);
    runner.shutdown().await;
}

const EACH: &str = "SELECT id, amount * 2 AS twice FROM orders WHERE kind <> 'x'";

fn since() -> Value {
    json!({ "mode": "append", "incremental": "orders" })
}

#[tokio::test(flavor = "multi_thread")]
async fn only_rows_that_came_are_read_by_the_next_run() {
    let (engine, runner) = rig().await;
    let first = done(&runner, EACH, since()).await;
    assert_eq!(made(&engine).await, ["1|20", "2|40", "3|60"]);
    assert!(
        first.summary["incremental"]["all_because"]
            .as_str()
            .unwrap()
            .contains("no rows of an earlier run"),
        "{}",
        first.summary
    );
    // Nothing came: nothing is committed, and that is said.
    let before = version(&engine, "made").await;
    let again = done(&runner, EACH, since()).await;
    assert_eq!(again.repeated_of, Some(first.id));
    engine.compact(&Principal::local(), &orders().name).await.unwrap();

    order(&engine, &[(4, "c", 40), (5, "x", 50)]).await;
    order(&engine, &[(-1, "late", 1)]).await;
    let second = done(&runner, EACH, since()).await;
    assert_eq!(made(&engine).await, ["-1|2", "1|20", "2|40", "3|60", "4|80"]);
    let read = &second.summary["incremental"];
    assert_eq!(read["from_version"], first.inputs[0].version.0, "{read}");
    assert_eq!(read["to_version"], second.inputs[0].version.0, "{read}");
    assert_eq!(second.summary["rows_out"], 2);
    assert!(version(&engine, "made").await > before);

    // Rows of which the query makes none are read once, too.
    order(&engine, &[(6, "x", 60)]).await;
    assert_eq!(done(&runner, EACH, since()).await.summary["rows_out"], 0);
    let before = version(&engine, "made").await;
    let older = RunRequest {
        pins: vec![(orders().name, AsOf::Version(second.inputs[0].version))],
        ..request(EACH, since())
    };
    let older = runner.submit(&Principal::local(), older).await.unwrap().wait().await.unwrap();
    let read = &older.summary["incremental"];
    assert_eq!(older.repeated_of, Some(second.id), "{read}");
    assert_eq!(version(&engine, "made").await, before);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_finds_nothing_new_commits_nothing_and_says_so() {
    let (engine, runner) = rig().await;
    done(&runner, EACH, since()).await;
    let before = version(&engine, "made").await;
    // Another version of the same rows.
    order(&engine, &[(7, "y", 1)]).await;
    done(&runner, EACH, since()).await;
    let after = version(&engine, "made").await;
    assert!(after > before);
    engine.compact(&Principal::local(), &orders().name).await.unwrap();
    let compacted = done(&runner, EACH, since()).await;
    let read = &compacted.summary["incremental"];
    assert!(read["nothing_new"].as_str().unwrap().contains("nothing was committed"), "{read}");
    assert!(compacted.outputs.is_empty());
    assert_eq!(version(&engine, "made").await, after);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_read_again_where_rows_went_or_another_run_wrote() {
    let (engine, runner) = rig().await;
    done(&runner, EACH, since()).await;
    order(&engine, &[(4, "c", 40)]).await;
    forget(&engine, "id = 2").await;
    let gone = done(&runner, EACH, since()).await;
    let because = |record: &RunRecord| record.summary["incremental"]["all_because"].clone();
    assert!(
        because(&gone).as_str().unwrap().contains("rows of orders went or changed"),
        "{:?}",
        because(&gone)
    );
    assert_eq!(made(&engine).await, ["1|20", "3|60", "4|80"]);

    // Another query writes to the same dataset; and one that is the same but for a value.
    done(&runner, "SELECT id, amount AS twice FROM orders WHERE id = 1", json!({})).await;
    let other = done(&runner, EACH, since()).await;
    assert!(because(&other).as_str().unwrap().contains("is not of a run of these parameters"));
    assert_eq!(made(&engine).await, ["1|20", "3|60", "4|80"]);
    order(&engine, &[(5, "e", 50)]).await;
    assert_eq!(because(&done(&runner, EACH, since()).await), Value::Null);
    assert_eq!(made(&engine).await, ["1|20", "3|60", "4|80", "5|100"]);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_is_known_from_the_commit_and_not_from_records() {
    let (engine, first) = rig().await;
    done(&first, EACH, since()).await;
    first.shutdown().await;
    order(&engine, &[(4, "c", 40)]).await;
    // A run that fails on the way leaves what it was to read to the next.
    let second = runner(&engine).await;
    order(&engine, &[(5, "zero", 0)]).await;
    let broken = "SELECT id, 100 / amount AS twice FROM orders";
    let (_, message) = refused(&second, broken, since()).await;
    assert!(message.contains("division by zero"), "{message}");
    let record = done(&second, EACH, since()).await;
    assert_eq!(record.summary["rows_out"], 2, "{}", record.summary);
    assert_eq!(made(&engine).await, ["1|20", "2|40", "3|60", "4|80", "5|0"]);
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_run_left_no_record_counts() {
    let (engine, runner) = rig().await;
    let first = done(&runner, EACH, since()).await;
    order(&engine, &[(4, "c", 40)]).await;
    // A run that died between its commit and its record: there are its rows, and how far it had read.
    let params: super::Params = serde_json::from_value(first.params.clone()).unwrap();
    let read = i64::try_from(version(&engine, "orders").await).unwrap();
    let session = engine.session(&Principal::local(), &[]).await.unwrap();
    let orders =
        session.catalog().dataset(&DatasetName::new("orders").unwrap()).unwrap().identity();
    let label = CommitLabel {
        run_id: Some(RunId::new()),
        operation: "sql".into(),
        marks: vec![(crate::tables::came::mark(&params, orders).unwrap(), read)],
        ..CommitLabel::default()
    };
    let spec = made_spec(&engine).await;
    let row: Vec<ArrayRef> =
        [4, 80].map(|value| Arc::new(Int64Array::from(vec![value])) as ArrayRef).to_vec();
    let batch = RecordBatch::try_new(spec.arrow_schema(), row).unwrap();
    let who = Principal::local();
    engine.write(&who, &spec.name, WriteMode::Append, vec![batch], label).await.unwrap();
    order(&engine, &[(5, "d", 50)]).await;
    let record = done(&runner, EACH, since()).await;
    assert_eq!(record.summary["incremental"]["from_version"], read, "{}", record.summary);
    assert_eq!(made(&engine).await, ["1|20", "2|40", "3|60", "4|80", "5|100"]);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_at_the_same_time_read_no_row_twice() {
    let (engine, runner) = rig().await;
    done(&runner, EACH, since()).await;
    for id in 10..14 {
        order(&engine, &[(id, "k", id)]).await;
        // Each has its own version of the input.
        let submitted = runner.submit(&Principal::local(), request(EACH, since())).await.unwrap();
        order(&engine, &[(id + 10, "k", id)]).await;
        let next = runner.submit(&Principal::local(), request(EACH, since())).await.unwrap();
        let (a, b) = (submitted.wait().await.unwrap(), next.wait().await.unwrap());
        for record in [a, b] {
            assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
        }
    }
    let rows = made(&engine).await;
    let distinct: std::collections::BTreeSet<_> = rows.iter().collect();
    assert_eq!((rows.len(), distinct.len()), (11, 11), "{rows:?}");
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn incremental_rows_take_the_place_of_those_with_their_key() {
    let (engine, runner) = rig().await;
    let query = "SELECT o.kind, o.amount, k.name FROM orders o LEFT JOIN kinds k ON o.kind = k.kind \
                 WHERE o.id <> 3 AND o.kind IN (SELECT kind FROM kinds)";
    write(
        &engine,
        "kinds",
        WriteMode::Append,
        &[
            ("kind", ColumnType::Text, Arc::new(StringArray::from(vec!["a", "b"]))),
            ("name", ColumnType::Text, Arc::new(StringArray::from(vec!["A", "B"]))),
        ],
    )
    .await;
    let params = json!({ "mode": "merge", "key": ["kind"], "incremental": "orders" });
    done(&runner, query, params.clone()).await;
    assert_eq!(made(&engine).await, ["a|10|A", "b|20|B"]);
    order(&engine, &[(9, "b", 99), (10, "other", 1)]).await;
    let record = done(&runner, query, params).await;
    assert_eq!(record.summary["incremental"]["all_because"], Value::Null);
    assert_eq!(made(&engine).await, ["a|10|A", "b|99|B"]);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_needs_all_rows_is_not_read_in_parts() {
    let (_engine, runner) = rig().await;
    for (query, says) in [
        ("SELECT kind, sum(amount) AS n FROM orders GROUP BY kind", "an aggregate"),
        ("SELECT id, row_number() OVER (ORDER BY id) AS n FROM orders", "a window (OVER)"),
        ("SELECT id FROM orders ORDER BY id LIMIT 2", "a LIMIT"),
        ("SELECT DISTINCT kind FROM orders", "DISTINCT"),
        ("SELECT a.id FROM orders a JOIN orders b ON a.id = b.amount", "joined with itself"),
        ("SELECT id FROM orders UNION ALL SELECT 1 AS id", "a UNION has rows that are not of it"),
        ("SELECT 1 AS one WHERE 1 IN (SELECT id FROM orders)", "a subquery"),
        ("SELECT id FROM orders WHERE amount = (SELECT max(amount) FROM orders)", "a subquery"),
        ("SELECT id FROM range(1, 3) AS r(n) LEFT JOIN orders ON n = id", "Left join"),
    ] {
        let (code, message) = refused(&runner, query, since()).await;
        assert_eq!(code, "BAD_INPUT", "{message}");
        assert!(message.contains(says), "{query}: {message}");
    }
    for (more, says) in [
        (json!({ "incremental": "orders" }), "expected mode \"append\" or \"merge\""),
        (
            json!({ "incremental": "other", "mode": "append" }),
            "a dataset that the query reads (orders), found other",
        ),
    ] {
        let (_, message) = refused(&runner, "SELECT id FROM orders", more).await;
        assert!(message.contains(says), "{message}");
    }
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_ends_within_a_second_when_it_is_told_to() {
    let (engine, runner) = rig().await;
    let who = Principal::local();
    for query in [
        // One that gives no row before its end, and one that gives many.
        "SELECT count(*) AS n FROM range(0, 1000000) a CROSS JOIN range(0, 1000000) b WHERE a.value % 7 = b.value % 11",
        "SELECT a.value AS x, b.value AS y FROM range(0, 1000000) a CROSS JOIN range(0, 1000000) b",
    ] {
        let mut updates = runner.updates();
        let handle = runner.submit(&who, request(query, json!({}))).await.unwrap();
        while updates.recv().await.unwrap().activity["rows_read"].is_null() {}
        let begun = Instant::now();
        let cancelled = runner.cancel(&who, handle.id()).await.unwrap();
        assert_eq!(cancelled.state, RunState::Cancelled);
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    let history = engine.history(&who, &"made".parse().unwrap(), 10).await;
    assert!(
        history.as_ref().map_or_else(
            |error| error.code() == Code::NotFound,
            |commits| commits.iter().all(|commit| commit.run_id.is_none())
        ),
        "{history:?}"
    );
    runner.shutdown().await;
}
