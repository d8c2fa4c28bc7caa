//! Columns that are added, renamed, dropped and given other types, beside versions of before and rows on their way.

use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{cast, col};
use datasets::{ColumnSpec, ColumnType};

use super::*;
use crate::storage::Root;
use crate::storage::faulty::{Fault, Faulty};
use crate::{AsOf, Code, CommitKind, Reshape, Reshaped, Version};

async fn reshape(engine: &Engine, change: Reshape) -> Result<Reshaped> {
    engine.reshape(&who(), &name("calls"), change, label("a test")).await
}

fn rename(column: &str, to: &str) -> Reshape {
    Reshape::Rename { column: column.to_owned(), to: to.to_owned() }
}

fn drop_column(column: &str) -> Reshape {
    Reshape::Drop { column: column.to_owned() }
}

fn retype(column: &str, to: &str) -> Reshape {
    Reshape::Retype { column: column.to_owned(), to: to.parse().unwrap(), using: None }
}

fn text_column(name: &str) -> ColumnSpec {
    ColumnSpec {
        name: name.to_owned(),
        data_type: ColumnType::Text,
        nullable: true,
        unit: None,
        description: String::new(),
    }
}

/// Rows that went and came between two versions.
async fn changed(engine: &Engine, from: u64, to: u64) -> (usize, usize) {
    let changes = engine.changes(&who(), &name("calls"), Version(from), Version(to)).await.unwrap();
    let session = session(engine).await;
    let count = async |frame: DataFrame| {
        let rows = session.collect(frame).await.unwrap();
        rows.iter().map(RecordBatch::num_rows).sum::<usize>()
    };
    (count(changes.removed).await, count(changes.added).await)
}

/// The columns of a version as today's, in one line a row.
async fn as_of(engine: &Engine, version: u64) -> Result<String> {
    let pins = [(name("calls"), AsOf::Version(Version(version)))];
    let session = engine.session(&who(), &pins).await.unwrap();
    let frame = session.table_of_today(&name("calls")).await?;
    let frame = frame.sort(vec![col("id").sort(true, true)]).unwrap();
    Ok(table(&session.collect(frame).await?))
}

#[tokio::test]
async fn a_renamed_column_is_the_same_column() {
    let engine = engine().await;
    send(&engine, 0..70, None).await.unwrap();
    let mut events = engine.commits().subscribe();
    let done = reshape(&engine, rename("tokens", "total_tokens")).await.unwrap();
    assert_eq!((done.version, done.rows, done.checks), (Version(2), 70, 0));
    let event = events.try_recv().unwrap();
    assert_eq!((event.kind, event.rows_added), (CommitKind::Schema, 0));
    assert_eq!(number(&engine, "SELECT sum(total_tokens) FROM calls").await, 24_150);
    let entry = engine.catalog(&who()).await.unwrap().datasets[&name("calls")].clone();
    assert_eq!(entry.rows, Some(70));
    assert_eq!(entry.spec.column("total_tokens").unwrap().unit.as_deref(), Some("tokens"));
    assert_eq!(entry.spec.validations[0].columns(), ["total_tokens"]);

    // No row is another, and an older version has what it had: under its name of then in SQL, as today's where that is asked for.
    assert_eq!(changed(&engine, 1, 2).await, (0, 0));
    assert_eq!(changed(&engine, 0, 2).await, (0, 70));
    let brought = "{\"id\": 70, \"at\": \"2026-01-05\", \"total_tokens\": 7, \"tokens\": 8}";
    let request = || IngestRequest { rows: ndjson(brought), producer: None };
    // Who sends it under the name of before does not make another one of it.
    let refused = engine.ingest(&who(), &name("calls"), request()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Conflict);
    assert!(refused.to_string().contains("\"tokens\" is called \"total_tokens\" now"), "{refused}");
    let tokens = ColumnSpec { data_type: ColumnType::Int64, ..text_column("tokens") };
    reshape(&engine, Reshape::Add(tokens)).await.unwrap();
    engine.ingest(&who(), &name("calls"), request()).await.unwrap();
    // One that comes under the name of before is another column.
    assert_eq!(changed(&engine, 1, 4).await, (0, 1));
    let then = as_of(&engine, 1).await.unwrap();
    let heads: Vec<&str> = then.lines().nth(1).unwrap().split('|').map(str::trim).collect();
    assert_eq!(heads[3..7], ["model", "total_tokens", "tokens", "at_month"]);
    let last: Vec<&str> = then.lines().rev().nth(1).unwrap().split('|').map(str::trim).collect();
    assert_eq!((last[1], &last[4..6]), ("69", &["690", ""][..]));
    let session =
        engine.session(&who(), &[(name("calls"), AsOf::Version(Version(1)))]).await.unwrap();
    assert!(session.sql("SELECT total_tokens FROM calls").await.is_err());
    assert!(session.sql("SELECT tokens FROM calls").await.is_ok());
}

#[tokio::test]
async fn a_key_and_a_time_column_can_be_renamed_with_all_that_names_them() {
    let engine = engine().await;
    send(&engine, 0..40, None).await.unwrap();
    reshape(&engine, rename("id", "call_id")).await.unwrap();
    reshape(&engine, rename("at", "called_at")).await.unwrap();
    let entry = engine.catalog(&who()).await.unwrap().datasets[&name("calls")].clone();
    assert_eq!(entry.spec.key, ["call_id"]);
    assert_eq!(entry.spec.time_column.as_deref(), Some("called_at"));
    assert_eq!(entry.spec.partition_by[0].from.as_deref(), Some("called_at"));
    let count =
        "SELECT count(*) FROM calls WHERE at_month = '2026-02-01' AND called_at >= '2026-02-01'";
    assert_eq!(number(&engine, count).await, 9);
    let brought = "{\"call_id\": 70, \"called_at\": \"2026-02-05\"}";
    let request = IngestRequest { rows: ndjson(brought), producer: None };
    engine.ingest(&who(), &name("calls"), request).await.unwrap();
    assert_eq!(number(&engine, count).await, 10);
    assert_eq!(changed(&engine, 1, 4).await, (0, 1));
}

#[tokio::test]
async fn a_check_of_two_columns_follows_each_of_them() {
    let engine = Engine::open(options("memory:")).await.unwrap();
    let (low, high) = ("id".to_owned(), "tokens".to_owned());
    let validations = vec![datasets::Validation::Ordered { low, high }];
    engine.create_dataset(&who(), DatasetSpec { validations, ..calls() }).await.unwrap();
    reshape(&engine, rename("tokens", "most")).await.unwrap();
    reshape(&engine, rename("id", "least")).await.unwrap();
    let entry = engine.catalog(&who()).await.unwrap().datasets[&name("calls")].clone();
    assert_eq!(entry.spec.validations[0].columns(), ["least", "most"]);
}

#[tokio::test]
async fn a_dropped_column_takes_its_checks_along() {
    let engine = engine().await;
    send(&engine, 0..5, None).await.unwrap();
    let done = reshape(&engine, drop_column("tokens")).await.unwrap();
    assert_eq!((done.rows, done.checks), (5, 1));
    assert!(!query(&engine, "SELECT * FROM calls").await.contains("tokens"));
    assert_eq!(changed(&engine, 1, 2).await, (0, 0));
    // One that comes again is another.
    let text = "{\"id\": 5, \"at\": \"2026-01-05\", \"tokens\": \"many\"}";
    let request = || IngestRequest { rows: ndjson(text), producer: None };
    let refused = engine.ingest(&who(), &name("calls"), request()).await.unwrap_err();
    assert!(refused.to_string().contains("\"tokens\" was dropped; leave it out"), "{refused}");
    reshape(&engine, Reshape::Add(text_column("tokens"))).await.unwrap();
    engine.ingest(&who(), &name("calls"), request()).await.unwrap();
    let then = as_of(&engine, 1).await.unwrap();
    assert!(then.contains("| tokens |") && !then.contains("| 40 "), "{then}");
    assert_eq!(number(&engine, "SELECT count(*) FROM calls WHERE tokens = 'many'").await, 1);
}

#[tokio::test]
async fn another_type_loses_nothing_unless_it_is_said_how() {
    let engine = engine().await;
    send(&engine, 0..5, None).await.unwrap();
    let rows = "{\"id\": 7, \"at\": \"2026-01-05\", \"model\": \"abc\", \"tokens\": 1}\n\
                {\"id\": 8, \"at\": \"2026-01-05\", \"model\": \"-5\"}";
    let request = IngestRequest { rows: ndjson(rows), producer: None };
    engine.ingest(&who(), &name("calls"), request).await.unwrap();
    let error = reshape(&engine, retype("model", "int64")).await.unwrap_err();
    let says = "column \"model\": 6 values are not int64 without loss: (id = ";
    assert!(error.to_string().contains(says), "{error}");
    assert!(error.to_string().contains("(id = 7, model = abc)"), "{error}");
    assert_eq!(error.code(), Code::BadInput);
    let change = retype("model", "int64");
    let tried = engine.try_reshape(&who(), &name("calls"), &change).await.unwrap_err();
    assert!(tried.to_string().contains("6 values are not int64"), "{tried}");

    let error = reshape(&engine, retype("id", "text")).await.unwrap_err();
    assert!(error.to_string().contains("\"id\" is of the key"), "{error}");
    let change = retype("tokens", "text");
    let tried = engine.try_reshape(&who(), &name("calls"), &change).await;
    let refused = tried.unwrap_err();
    assert!(refused.to_string().contains("tokens"), "a check of numbers: {refused}");
    reshape(&engine, retype("tokens", "float64")).await.unwrap();
    assert_eq!(changed(&engine, 2, 3).await, (0, 0));
    reshape(&engine, retype("tokens", "decimal(12,2)")).await.unwrap();
    assert_eq!(number(&engine, "SELECT CAST(sum(tokens) AS bigint) FROM calls").await, 101);
    assert!(as_of(&engine, 1).await.unwrap().contains("| 40.00 "));
    let error = reshape(&engine, retype("at", "date")).await.unwrap_err();
    assert!(error.to_string().contains("\"at_month\" is computed from it"), "{error}");
    let error = reshape(&engine, retype("model", "timestamp")).await.unwrap_err();
    assert!(error.to_string().contains("7 values are not timestamp"), "{error}");

    // Who says how answers for what is lost.
    let using = Some(cast(
        col("tokens") + datafusion::logical_expr::lit(0.5),
        arrow::datatypes::DataType::Int64,
    ));
    let change = Reshape::Retype { column: "tokens".to_owned(), to: ColumnType::Int64, using };
    assert_eq!(engine.try_reshape(&who(), &name("calls"), &change).await.unwrap().rows, 7);
    reshape(&engine, change).await.unwrap();
    assert_eq!(number(&engine, "SELECT sum(tokens) FROM calls").await, 101);
    // Its commit says how many rows are others: here none, then those that are not 0 or null.
    let rows_added =
        async || engine.history(&who(), &name("calls"), 1).await.unwrap()[0].rows_added;
    assert_eq!(rows_added().await, Some(0));
    let using = Some(col("tokens") * datafusion::logical_expr::lit(2_i64));
    let change = Reshape::Retype { column: "tokens".to_owned(), to: ColumnType::Int64, using };
    let mut events = engine.commits().subscribe();
    let done = reshape(&engine, change).await.unwrap();
    assert_eq!((done.rows, rows_added().await), (7, Some(5)));
    let event = events.try_recv().unwrap();
    assert_eq!((event.kind, event.rows_added), (CommitKind::Revise, 5));
    assert_eq!(changed(&engine, done.version.0 - 1, done.version.0).await, (5, 5));
    // A version that could be shown only with loss is not.
    let text = "{\"id\": 9, \"at\": \"2026-01-05\", \"model\": \"9\"}";
    let request = IngestRequest { rows: ndjson(text), producer: None };
    engine.ingest(&who(), &name("calls"), request).await.unwrap();
    let gone = crate::Revision {
        going: crate::Going::Where(col("id").lt(datafusion::logical_expr::lit(8))),
        coming: crate::Coming::Nothing,
    };
    engine.revise(&who(), &name("calls"), gone, label("delete")).await.unwrap();
    reshape(&engine, retype("model", "int64")).await.unwrap();
    assert_eq!(number(&engine, "SELECT sum(model) FROM calls").await, 4);
    let error = as_of(&engine, 2).await.unwrap_err();
    assert_eq!(error.code(), Code::BadInput);
    assert!(error.to_string().contains("\"model\": expected int64, found \""), "{error}");
    // The same in a condition, which is held against rows while they are read.
    let pins = [(name("calls"), AsOf::Version(Version(2)))];
    let session = engine.session(&who(), &pins).await.unwrap();
    let frame = session.table_of_today(&name("calls")).await.unwrap();
    let frame = frame.filter(col("model").gt(datafusion::logical_expr::lit(1_i64))).unwrap();
    let error = session.collect(frame).await.unwrap_err();
    assert_eq!(error.code(), Code::BadInput);
    let says = error.to_string();
    assert!(says.starts_with("column \"model\": expected int64, found \""), "{says}");
    assert!(!says.contains(['\\', '{']), "{says}");
}

#[tokio::test]
async fn a_column_more_costs_no_row() {
    let engine = engine().await;
    send(&engine, 0..5, None).await.unwrap();
    let done = reshape(&engine, Reshape::Add(text_column("region"))).await.unwrap();
    assert_eq!((done.version, done.rows), (Version(2), 0));
    assert_eq!(number(&engine, "SELECT count(*) FROM calls WHERE region IS NULL").await, 5);
    assert!(as_of(&engine, 1).await.unwrap().contains("region"));
    let error = reshape(&engine, Reshape::Add(text_column("region"))).await.unwrap_err();
    assert!(error.to_string().contains("there is a column \"region\" already"), "{error}");
    let full = ColumnSpec { nullable: false, ..text_column("full") };
    let error = reshape(&engine, Reshape::Add(full)).await.unwrap_err();
    assert!(error.to_string().contains("rows that are there have no value"), "{error}");
}

/// A dataset that came without a key gets one when its rows can be told apart by it.
#[tokio::test]
async fn a_key_is_set_where_it_names_each_row() {
    let engine = Engine::open(options("memory:")).await.unwrap();
    let mut spec = calls();
    spec.key = Vec::new();
    spec.columns[0].nullable = true;
    engine.create_dataset(&who(), spec).await.unwrap();
    let key = |columns: &[&str]| Reshape::Key(columns.iter().map(|of| (*of).to_owned()).collect());
    let ask = async |text: &str| {
        let request = IngestRequest { rows: ndjson(text), producer: None };
        engine.ingest(&who(), &name("calls"), request).await.unwrap();
    };
    let row =
        |id: &str| format!("{{\"id\": {id}, \"at\": \"2026-01-05\", \"model\": \"m{id}\"}}\n");
    ask(&(row("1") + &row("2") + &row("2") + &row("3") + &row("3") + &row("3") + &row("null")))
        .await;
    for (columns, says) in [
        (&["id"][..], "key id: 1 row has no value there: (id = null); nothing was changed"),
        (&["model"], "key model: 2 are of more than one row: "),
        (&["modell"], "there is no column \"modell\"; did you mean model?"),
        (&["at_month"], "it is computed from another"),
        (&["model", "model"], "stands twice"),
        (&[], "expected at least one column"),
    ] {
        let tried = engine.try_reshape(&who(), &name("calls"), &key(columns)).await.unwrap_err();
        let error = reshape(&engine, key(columns)).await.unwrap_err();
        assert!(error.to_string().contains(says), "{says}: {error}");
        assert_eq!(tried.code(), error.code(), "{tried}");
    }
    let gone = col("id").is_null().or(col("id").gt(datafusion::logical_expr::lit(1)));
    let revision =
        crate::Revision { going: crate::Going::Where(gone), coming: crate::Coming::Nothing };
    engine.revise(&who(), &name("calls"), revision, label("a test")).await.unwrap();
    ask(&row("2")).await;
    let done = reshape(&engine, key(&["id"])).await.unwrap();
    assert_eq!((done.version, done.rows), (Version(4), 2));
    let entry = engine.catalog(&who()).await.unwrap().datasets[&name("calls")].clone();
    assert_eq!(entry.spec.key, ["id"]);
    assert!(!entry.spec.columns[0].nullable);
    assert_eq!(changed(&engine, 3, 4).await, (0, 0), "no row is another");
    let error = reshape(&engine, key(&["model"])).await.unwrap_err();
    assert!(error.to_string().contains("has the key id, which stays"), "{error}");
    // What names rows can be replaced by it.
    let coming = crate::Coming::Rows(vec![rows(2..3)]);
    let revision = crate::Revision { going: crate::Going::SameKey, coming };
    let revised = engine.revise(&who(), &name("calls"), revision, label("a test")).await.unwrap();
    assert_eq!((revised.removed, revised.added), (1, 1));
    // A version of before has what it had.
    assert!(as_of(&engine, 1).await.is_ok_and(|then| then.contains("mnull")));
}

/// Another process adds a row while the rows are written anew for a key.
#[tokio::test]
async fn rows_that_come_while_a_key_is_set_are_held_against_it() {
    for (id, is_set) in [(1, false), (5, true)] {
        let store = Faulty::new();
        let open = async || Engine::open_root(Root::over(store.clone()), options("memory:")).await;
        let (here, elsewhere) = (open().await.unwrap(), open().await.unwrap());
        let mut spec = calls();
        spec.key = Vec::new();
        here.create_dataset(&who(), spec).await.unwrap();
        send(&here, 0..3, None).await.unwrap();
        store.plan(|path| match path.as_ref().contains("calls/_delta_log/00000000000000000002") {
            true => Fault::Late,
            false => Fault::None,
        });
        send(&elsewhere, id..id + 1, None).await.unwrap_err();
        store.deliver_at("calls/at_month", 1);
        let set = reshape(&here, Reshape::Key(vec!["id".to_owned()])).await;
        assert_eq!(number(&here, "SELECT count(*) FROM calls").await, 4);
        match is_set {
            true => assert_eq!(set.unwrap().rows, 4),
            false => {
                let says = set.unwrap_err().to_string();
                assert!(says.contains("1 is of more than one row: (id = 1, rows = 2)"), "{says}");
            }
        }
    }
}

#[tokio::test]
async fn what_others_stand_on_stays() {
    let engine = engine().await;
    send(&engine, 0..5, None).await.unwrap();
    for (change, says) in [
        (drop_column("id"), "\"id\" is of the key"),
        (drop_column("at"), "\"at\" says when a row happened"),
        (drop_column("at_month"), "it is computed from another"),
        (rename("at_month", "month"), "it is computed from another"),
        (rename("model", "tokens"), "there is a column \"tokens\" already"),
        (rename("model", "at_month"), "there is a column \"at_month\" already"),
        (rename("model", "Not a name"), "Not a name"),
        (rename("modell", "x"), "there is no column \"modell\"; did you mean model?"),
        (retype("model", "text"), "\"model\" is text already"),
        (retype("tokens", "timestamp"), "does not become timestamp by itself"),
    ] {
        let tried = engine.try_reshape(&who(), &name("calls"), &change).await.unwrap_err();
        let error = reshape(&engine, change).await.unwrap_err();
        assert!(error.to_string().contains(says), "{says}: {error}");
        assert_eq!(tried.code(), error.code(), "{tried}");
    }
    let version = engine.catalog(&who()).await.unwrap().datasets[&name("calls")].version;
    assert_eq!(version, Version(1), "nothing was changed");
    // What Colonnade itself writes has the columns that it needs.
    let bad = "{\"id\": \"x\", \"at\": \"2026-01-05\"}";
    let request = IngestRequest { rows: ndjson(bad), producer: None };
    engine.ingest(&who(), &name("calls"), request).await.unwrap();
    let of = name("calls_quarantine");
    let error = engine.reshape(&who(), &of, rename("reason", "why"), label("x")).await.unwrap_err();
    assert_eq!(error.code(), Code::Forbidden);
}

#[tokio::test]
async fn a_request_that_was_taken_is_a_duplicate_whatever_its_columns_are_called_now() {
    let engine = engine().await;
    let ask = async |text: &str, number: i64| {
        let request = IngestRequest { rows: ndjson(text), producer: sequence("p", number) };
        engine.ingest(&who(), &name("calls"), request).await
    };
    let body = r#"{"id": 1, "at": "2026-01-05", "model": "m"}"#;
    assert!(!ask(body, 1).await.unwrap().duplicate);
    reshape(&engine, rename("model", "other")).await.unwrap();
    // Its answer got lost, and it comes again.
    assert!(ask(body, 1).await.unwrap().duplicate);
    let error = ask(body, 2).await.unwrap_err();
    assert!(error.to_string().contains("is called \"other\" now"), "{error}");
    let error = ask(&body.replace('1', "2"), 1).await.unwrap_err();
    assert!(error.to_string().contains("is called \"other\" now"), "{error}");
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 1);
}

#[tokio::test]
async fn rows_that_were_read_for_other_columns_are_refused() {
    let engine = engine().await;
    send(&engine, 0..5, None).await.unwrap();
    let late = Late::new(&engine, 5..6).await;
    // Two columns that change their names with each other: to whoever looks at names alone nothing happened.
    for (from, to) in [("model", "other"), ("other", "model")] {
        reshape(&engine, rename(from, to)).await.unwrap();
    }
    let error = late.commit(&engine).await.unwrap_err();
    assert_eq!(error.code(), Code::Conflict);
    assert!(error.to_string().contains("columns were changed while the rows were on their way"));
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_those_who_send_no_row_is_lost_and_none_is_emptied() {
    let engine = engine().await;
    let senders = (0..3_i64).map(|sender| {
        let engine = engine.clone();
        tokio::spawn(async move {
            let mut taken = 0;
            for batch in 0..40 {
                let id = sender * 1_000 + batch;
                let column = async || {
                    let catalog = engine.catalog(&who()).await.unwrap();
                    let spec = &catalog.datasets[&name("calls")].spec;
                    spec.columns[3].name.clone()
                };
                // As whoever looks up what the column is called, and is late now and then.
                loop {
                    let text = format!(
                        "{{\"id\": {id}, \"at\": \"2026-01-05\", \"{}\": {id}}}",
                        column().await
                    );
                    let request = IngestRequest { rows: ndjson(&text), producer: None };
                    match engine.ingest(&who(), &name("calls"), request).await {
                        Ok(receipt) => {
                            taken += receipt.accepted;
                            break;
                        }
                        Err(error) => assert_eq!(error.code(), Code::Conflict, "{error}"),
                    }
                }
            }
            taken
        })
    });
    let senders: Vec<_> = senders.collect();
    let mut names = ["tokens", "total"];
    for _ in 0..10 {
        reshape(&engine, rename(names[0], names[1])).await.unwrap();
        names.swap(0, 1);
    }
    let mut taken = 0;
    for sender in senders {
        taken += sender.await.unwrap();
    }
    assert_eq!(taken, 120);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls WHERE id = tokens").await, 120);
    let spec = engine.catalog(&who()).await.unwrap().datasets[&name("calls")].spec.clone();
    assert_eq!(spec, calls(), "as it was made");
}
