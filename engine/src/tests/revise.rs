//! Rows that are taken away, changed and replaced, beside others who commit.

use std::collections::BTreeMap;

use datafusion::logical_expr::{col, lit};

use super::*;
use crate::{Code, Coming, Going, Revised, Revision, Version, WriteMode};

async fn revise(engine: &Engine, going: Going, coming: Coming) -> Result<Revised> {
    let revision = Revision { going, coming };
    engine.revise(&who(), &name("calls"), revision, label("a test")).await
}

async fn delete(engine: &Engine, expression: datafusion::logical_expr::Expr) -> Revised {
    revise(engine, Going::Where(expression), Coming::Nothing).await.unwrap()
}

/// What is there, by id; ids once.
async fn there(engine: &Engine) -> BTreeMap<i64, (Option<String>, Option<i64>)> {
    let session = session(engine).await;
    let frame = session.sql("SELECT id, model, tokens FROM calls").await.unwrap();
    let mut there = BTreeMap::new();
    for batch in session.collect(frame).await.unwrap() {
        let ids = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
        let models = batch.column(1).as_any().downcast_ref::<StringArray>().unwrap();
        let tokens = batch.column(2).as_any().downcast_ref::<Int64Array>().unwrap();
        for (row, id) in ids.values().iter().enumerate() {
            let model = models.iter().nth(row).unwrap().map(str::to_owned);
            let tokens = tokens.iter().nth(row).unwrap();
            assert!(there.insert(*id, (model, tokens)).is_none(), "{id} is there twice");
        }
    }
    there
}

async fn ids(engine: &Engine) -> Vec<i64> {
    there(engine).await.into_keys().collect()
}

/// What the log says of the newest commit.
async fn newest(engine: &Engine) -> crate::CommitRecord {
    engine.history(&who(), &name("calls"), 1).await.unwrap().remove(0)
}

#[tokio::test]
async fn rows_are_deleted_where_a_condition_is_true() {
    let engine = engine().await;
    // Over three months, and in two files of the first.
    send(&engine, 0..70, None).await.unwrap();
    send(&engine, 70..75, None).await.unwrap();
    engine
        .ingest(
            &who(),
            &name("calls"),
            IngestRequest {
                rows: ndjson(
                    r#"{"id": 100, "at": "2026-01-01T00:00:00Z", "model": null, "tokens": null}"#,
                ),
                producer: None,
            },
        )
        .await
        .unwrap();
    let done = delete(&engine, col("tokens").gt_eq(lit(100)).and(col("tokens").lt(lit(400)))).await;
    assert_eq!((done.removed, done.added, done.duplicate), (30, 0, false));
    // Of that with a null it is not known whether the condition is true: it stays.
    let stay: Vec<i64> = (0..10).chain(40..75).chain([100]).collect();
    assert_eq!(ids(&engine).await, stay);
    let commit = newest(&engine).await;
    assert_eq!((commit.version, commit.rows_added), (done.version, Some(0)));
    let rows = engine.catalog(&who()).await.unwrap().datasets[&name("calls")].rows;
    assert_eq!(rows, Some(46));
    // As others see it who read the table anew.
    assert_eq!(
        number(&engine, "SELECT count(*) FROM calls WHERE at_month = '2026-02-01'").await,
        19
    );
    // What was there before can still be read, and what changed is told.
    let before = engine.changes(&who(), &name("calls"), Version(3), done.version).await.unwrap();
    let session = session(&engine).await;
    let removed = session.collect(before.removed).await.unwrap();
    assert_eq!(removed.iter().map(RecordBatch::num_rows).sum::<usize>(), 30);
    let added = session.collect(before.added).await.unwrap();
    assert_eq!(added.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
}

#[tokio::test]
async fn nothing_to_be_done_is_no_commit() {
    let engine = engine().await;
    send(&engine, 0..3, None).await.unwrap();
    let done = delete(&engine, col("id").gt(lit(99))).await;
    assert_eq!((done.removed, done.version, done.duplicate), (0, Version(1), false));
    assert_eq!(ids(&engine).await, [0, 1, 2]);
    let done = revise(&engine, Going::All, Coming::Nothing).await.unwrap();
    assert_eq!((done.removed, done.version), (3, Version(2)));
    assert!(ids(&engine).await.is_empty());
}

#[tokio::test]
async fn rows_come_in_the_place_of_those_with_their_key() {
    let engine = engine().await;
    send(&engine, 0..40, None).await.unwrap();
    // 39 with others of its file, 40 and 41 new, 5 twice: the later stands.
    let mut again = rows(5..6).columns().to_vec();
    again[2] = Arc::new(StringArray::from(vec!["later"]));
    let again = RecordBatch::try_new(rows(5..6).schema(), again).unwrap();
    let coming = Coming::Rows(vec![rows(5..6), rows(39..42), again]);
    let done = revise(&engine, Going::SameKey, coming).await.unwrap();
    assert_eq!((done.removed, done.added, done.superseded), (2, 4, 1));
    let there = there(&engine).await;
    assert_eq!(there.keys().copied().collect::<Vec<_>>(), (0..42).collect::<Vec<_>>());
    assert_eq!(there[&5].0.as_deref(), Some("later"));
    assert_eq!(newest(&engine).await.rows_added, Some(4));
    // Where none of them is there, it is a commit that only adds.
    let mut events = engine.commits().subscribe();
    let done = revise(&engine, Going::SameKey, Coming::Rows(vec![rows(50..52)])).await.unwrap();
    assert_eq!((done.removed, done.added, done.superseded), (0, 2, 0));
    assert_eq!(newest(&engine).await.files_removed, 0);
    assert_eq!(events.try_recv().unwrap().kind, crate::CommitKind::Append);
    // Without rows there is nothing to be done.
    let done = revise(&engine, Going::SameKey, Coming::Rows(Vec::new())).await.unwrap();
    assert_eq!((done.removed, done.version), (0, Version(3)));
}

#[tokio::test]
async fn columns_are_changed_where_a_condition_is_true() {
    let engine = engine().await;
    send(&engine, 0..10, None).await.unwrap();
    let changed = |column: &str, to| Coming::Changed(vec![(column.to_owned(), to)]);
    let some = Going::Where(col("id").lt(lit(3)));
    let done =
        revise(&engine, some.clone(), changed("tokens", col("tokens") + lit(1))).await.unwrap();
    assert_eq!((done.removed, done.added), (3, 3));
    let there = there(&engine).await;
    assert_eq!((there[&2].1, there[&3].1), (Some(21), Some(30)));
    // A change is held to the checks, and to columns that are there and not of the key.
    for (column, to, says) in [
        ("tokens", lit(-1), "tokens"),
        (
            "nope",
            lit(1),
            "there is no column \"nope\" to be changed; there are id, at, model, tokens",
        ),
        ("id", lit(1), "column \"id\" is of the key"),
    ] {
        let error = revise(&engine, some.clone(), changed(column, to)).await.unwrap_err();
        assert_eq!(error.code(), Code::BadInput);
        assert!(error.to_string().contains(says), "{error}");
    }
    assert_eq!(ids(&engine).await.len(), 10);
}

#[tokio::test]
async fn what_can_not_be_done_is_told() {
    let engine = engine().await;
    send(&engine, 0..3, None).await.unwrap();
    let error = revise(&engine, Going::Where(col("nope").gt(lit(1))), Coming::Nothing).await;
    let error = error.unwrap_err();
    assert!(error.code() == Code::BadInput && error.to_string().contains("nope"), "{error}");
    let keyless = DatasetSpec { key: Vec::new(), name: name("keyless"), ..calls() };
    engine.create_dataset(&who(), keyless).await.unwrap();
    let revision = Revision { going: Going::SameKey, coming: Coming::Rows(vec![rows(0..1)]) };
    let error =
        engine.revise(&who(), &name("keyless"), revision, label("a test")).await.unwrap_err();
    assert!(error.to_string().contains("names no `key`"), "{error}");
    let reader = Principal { roles: vec![crate::Role::Reader], ..who() };
    let revision = Revision { going: Going::All, coming: Coming::Nothing };
    let error =
        engine.revise(&reader, &name("calls"), revision, label("a test")).await.unwrap_err();
    assert_eq!(error.code(), Code::Forbidden);
}

/// Four who append, replace by key and delete at once: as if one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_others_it_is_as_one_after_the_other() {
    let engine = engine().await;
    send(&engine, 0..50, None).await.unwrap();
    let append = async {
        for first in (1_000..1_200).step_by(20) {
            send(&engine, first..first + 20, None).await.unwrap();
        }
    };
    let replace = |offset: i64| {
        let engine = engine.clone();
        async move {
            for round in 0..6 {
                // Keys that are there, that come from the other, and that are appended meanwhile.
                let first = offset + round * 5;
                let coming = vec![rows(first..first + 10), rows(1_000..1_010)];
                revise(&engine, Going::SameKey, Coming::Rows(coming)).await.unwrap();
            }
        }
    };
    let remove = async {
        for id in 0..6 {
            delete(&engine, col("id").eq(lit(id))).await;
        }
    };
    tokio::join!(append, replace(20), replace(40), remove);
    let found = session(&engine).await;
    let frame = found.sql("SELECT id, count(*) FROM calls GROUP BY id HAVING count(*) > 1").await;
    let twice = found.collect(frame.unwrap()).await.unwrap();
    let ids: Vec<i64> = twice
        .iter()
        .flat_map(|b| b.column(0).as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec())
        .collect();
    // Only ingest, which asks for no keys, may add what another one had put there before.
    assert!(ids.iter().all(|id| (1_000..1_010).contains(id)), "{ids:?}");
    let all = number(&engine, "SELECT count(DISTINCT id) FROM calls").await;
    assert_eq!(all, (6..75).count() as i64 + 200);
}

#[tokio::test]
async fn partitions_with_odd_names_are_found_again() {
    let engine = Engine::open(options("memory:")).await.unwrap();
    let spec = r#"{"name": "odd", "key": ["id"], "partition_by": [{"column": "place"}],
        "columns": [{"name": "id", "type": "int64"}, {"name": "place", "type": "text", "nullable": true}]}"#;
    engine.create_dataset(&who(), DatasetSpec::from_json(spec).unwrap()).await.unwrap();
    let places = ["a b", "50%", "x/y", "ä=ö", "%20", "q?u#e", "c:\\d", "'", "..", ""];
    let mut lines = String::new();
    for (id, place) in places.iter().enumerate() {
        let place = (!place.is_empty()).then_some(place);
        lines += &format!("{}\n", serde_json::json!({"id": id, "place": place}));
        lines += &format!("{}\n", serde_json::json!({"id": id + 100, "place": place}));
    }
    let request = IngestRequest { rows: ndjson(&lines), producer: None };
    engine.ingest(&who(), &name("odd"), request).await.unwrap();
    let revision =
        Revision { going: Going::Where(col("id").lt(lit(100))), coming: Coming::Nothing };
    let done = engine.revise(&who(), &name("odd"), revision, label("a test")).await.unwrap();
    assert_eq!(done.removed, places.len() as u64);
    let left = query(&engine, "SELECT count(*), min(id), count(DISTINCT place) FROM odd").await;
    assert!(left.contains(&format!("| {} ", places.len())) && left.contains("100"), "{left}");
}

#[tokio::test]
async fn a_label_that_was_used_changes_nothing_again() {
    let engine = engine().await;
    engine
        .write(&who(), &name("calls"), WriteMode::Append, rows(0..5), label("job"))
        .await
        .unwrap();
    let once = CommitLabel { idempotency: Some(("it".to_owned(), 1)), ..label("job") };
    for expected in [false, true] {
        let revision = Revision {
            going: Going::Where(col("id").lt(lit(2))),
            coming: Coming::Rows(vec![rows(0..1)]),
        };
        let done = engine.revise(&who(), &name("calls"), revision, once.clone()).await.unwrap();
        assert_eq!((done.duplicate, done.version), (expected, Version(2)));
    }
    assert_eq!(ids(&engine).await, [0, 2, 3, 4]);
}

#[tokio::test]
async fn what_came_and_went_meanwhile_is_another_table() {
    let engine = engine().await;
    send(&engine, 0..3, None).await.unwrap();
    send(&engine, 3..6, None).await.unwrap();
    delete(&engine, col("id").gt_eq(lit(3))).await;
    let table = engine.lake().table(&who().tenant, &name("calls")).await.unwrap();
    let since = async |from, to| {
        let since = table.since(from, to, &crate::lake::Removal::default()).await.unwrap();
        (since.added.len(), since.is_other)
    };
    assert_eq!(since(1, 2).await, (1, false));
    assert!(since(1, 3).await.1, "a file that is gone is to be read");
    assert_eq!(since(3, 3).await, (0, false));
    let column = datasets::ColumnSpec { name: "region".to_owned(), ..calls().columns[2].clone() };
    let more = crate::Reshape::Add(column);
    engine.reshape(&who(), &name("calls"), more, label("a test")).await.unwrap();
    assert!(since(3, 4).await.1, "rows were read for other columns");
}

#[tokio::test]
async fn few_changes_of_a_tenant_wait_and_nobody_else_waits_for_them() {
    let engine = engine().await;
    for id in 0..40 {
        send(&engine, id..id + 1, None).await.unwrap();
    }
    let table = engine.lake().table(&who().tenant, &name("calls")).await.unwrap();
    let busy = table.revising.lock().await;
    let deletes = |id: i64| {
        let engine = engine.clone();
        tokio::spawn(async move {
            revise(&engine, Going::Where(col("id").eq(lit(id))), Coming::Nothing).await
        })
    };
    // One of them is too many, and is told at once.
    let (refused, _, waiting) = futures::future::select_all((0..17).map(deletes)).await;
    let refused = refused.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::TooMany);
    assert!(refused.to_string().contains("16 changes of datasets of this tenant"), "{refused}");
    // Who sees to tables goes on to the next one.
    let stops = std::sync::atomic::AtomicBool::new(false);
    let seen = async {
        let (sessions, tenant) = (&engine.rooms().sessions, who().tenant);
        crate::compact::see_to(engine.lake(), sessions, &tenant, &name("calls"), &stops).await
    };
    let seen = tokio::time::timeout(std::time::Duration::from_secs(10), seen).await;
    seen.expect("it waits").unwrap();
    let other = Principal { tenant: "other".parse().unwrap(), ..who() };
    engine.create_dataset(&other, calls()).await.unwrap();
    let all = Revision { going: Going::All, coming: Coming::Nothing };
    engine.revise(&other, &name("calls"), all, label("a test")).await.unwrap();
    drop(busy);
    for made in waiting {
        assert_eq!(made.await.unwrap().unwrap().removed, 1);
    }
}

#[tokio::test]
async fn what_could_not_be_changed_can_not_be_tried() {
    let engine = engine().await;
    send(&engine, 0..10, None).await.unwrap();
    let tried = async |going, coming| {
        engine.try_revise(&who(), &name("calls"), &Revision { going, coming }).await
    };
    let set = |column: &str, to| Coming::Changed(vec![(column.to_owned(), to)]);
    let few = || Going::Where(col("id").lt(lit(3)));
    assert_eq!(tried(few(), Coming::Nothing).await.unwrap(), 3);
    assert_eq!(tried(Going::All, Coming::Nothing).await.unwrap(), 10);
    assert_eq!(tried(few(), set("model", lit("x"))).await.unwrap(), 3);
    for (column, to, says) in [
        ("nothing", lit(1), "there is no column \"nothing\""),
        ("id", lit(1), "is of the key"),
        ("tokens", lit("many"), "rows do not fit"),
    ] {
        let refused = tried(few(), set(column, to)).await.unwrap_err();
        assert!(refused.to_string().contains(says), "{refused}");
    }
    let twice = vec![("model".to_owned(), lit("x")), ("model".to_owned(), lit("y"))];
    let refused = tried(few(), Coming::Changed(twice)).await.unwrap_err();
    assert!(refused.to_string().contains("\"model\" is set twice"), "{refused}");
    assert_eq!(ids(&engine).await.len(), 10);
    assert_eq!(newest(&engine).await.version, Version(1));
}

#[tokio::test]
async fn an_expression_speaks_of_one_instant() {
    let engine = engine().await;
    let now = session(&engine).await.expression(&name("calls"), "now()").await.unwrap();
    assert!(matches!(now, datafusion::logical_expr::Expr::Literal(..)), "{now}");
}

/// Two processes replace by key and delete at once, each beginning anew where the other was first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_another_process_it_is_as_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let here = engine_at(root).await;
    send(&here, 0..50, None).await.unwrap();
    let elsewhere = Engine::open(options(root)).await.unwrap();
    let until_done = async |engine: &Engine, change: &dyn Fn() -> (Going, Coming)| {
        loop {
            let (going, coming) = change();
            match revise(engine, going, coming).await {
                Ok(done) => return done,
                Err(error) => assert_eq!(error.code(), Code::Conflict, "{error}"),
            }
        }
    };
    let replace = async |engine: &Engine| {
        for first in (20..50).step_by(5) {
            let change = || (Going::SameKey, Coming::Rows(vec![rows(first..first + 10)]));
            until_done(engine, &change).await;
        }
    };
    let remove = async {
        for id in 0..10_i64 {
            let change = || (Going::Where(col("id").eq(lit(id))), Coming::Nothing);
            assert_eq!(until_done(&elsewhere, &change).await.removed, 1);
            if id == 5 {
                replace(&elsewhere).await;
            }
        }
    };
    tokio::join!(replace(&here), remove);
    let after = Engine::open(options(root)).await.unwrap();
    assert_eq!(ids(&after).await, (10..55).collect::<Vec<_>>());
}

#[tokio::test]
async fn integers_do_not_begin_again_at_the_other_end() {
    let engine = engine().await;
    send(&engine, 1..4, None).await.unwrap();
    let set = async |text: &str| {
        let session = session(&engine).await;
        let to = session.expression(&name("calls"), text).await?;
        let changed = Coming::Changed(vec![("tokens".to_owned(), to)]);
        revise(&engine, Going::All, changed).await
    };
    for text in [
        "tokens * 9223372036854775807",
        "9223372036854775807 + tokens",
        "tokens + 9223372036854775807 * 2",
        "-9223372036854775807 - tokens",
    ] {
        let error = set(text).await.unwrap_err();
        assert_eq!(error.code(), Code::BadInput, "{text}: {}", error.detail());
        assert!(error.to_string().contains("the result is no int64"), "{text}: {error}");
    }
    assert_eq!(number(&engine, "SELECT sum(tokens) FROM calls").await, 60);
    set("tokens * 2 + id - 1").await.unwrap();
    assert_eq!(number(&engine, "SELECT sum(tokens) FROM calls").await, 123);
}

async fn numbers_of_calls() -> Engine {
    let engine = Engine::open(options("memory:")).await.unwrap();
    let spec = r#"{"name": "calls", "columns": [{"name": "id", "type": "int64"}, {"name": "f", "type": "float64"}]}"#;
    engine.create_dataset(&who(), DatasetSpec::from_json(spec).unwrap()).await.unwrap();
    engine
}

/// 60,000 numbers in one file of several pages: 5000 in the first of them, NaN in a later one, and 1.5.
async fn with_nan() -> Engine {
    let engine = numbers_of_calls().await;
    let value = |row: i64| match row {
        5 => 5_000.0,
        50_000 => f64::NAN,
        _ => 1.5,
    };
    numbers(&engine, 0, &(0..60_000).map(value).collect::<Vec<f64>>()).await;
    engine
}

/// Sends numbers, the first of which has the id `first`.
async fn numbers(engine: &Engine, first: i64, values: &[f64]) {
    let ids = Int64Array::from_iter_values((first..).take(values.len()));
    let values = arrow::array::Float64Array::from(values.to_vec());
    let columns: [(&str, ArrayRef); 2] = [("id", Arc::new(ids)), ("f", Arc::new(values))];
    let rows = IngestRows::Batches(vec![RecordBatch::try_from_iter(columns).unwrap()]);
    let request = IngestRequest { rows, producer: None };
    engine.ingest(&who(), &name("calls"), request).await.unwrap();
}

#[tokio::test]
async fn nan_is_greater_than_every_number_and_no_row_with_it_is_lost() {
    let more = || col("f").gt(lit(1_000.0));
    for (condition, matching) in [
        (more(), 2),
        (col("f").not_eq(lit(1.5)), 2),
        (!col("f").lt_eq(lit(1_000.0)), 2),
        (col("f").in_list(vec![lit(1.5), lit(5_000.0)], true), 1),
        (col("f").eq(lit(f64::NAN)), 1),
        (col("f").lt_eq(lit(1_000.0)), 59_998),
    ] {
        let engine = with_nan().await;
        let done = delete(&engine, condition.clone()).await;
        assert_eq!(done.removed, matching, "{condition}");
        let left = number(&engine, "SELECT count(*) FROM calls").await;
        assert_eq!(left, 60_000 - i64::try_from(matching).unwrap(), "{condition}");
    }
    let engine = with_nan().await;
    let set = Coming::Changed(vec![("f".to_owned(), lit(7.0))]);
    let done = revise(&engine, Going::Where(more()), set).await.unwrap();
    assert_eq!((done.removed, done.added), (2, 2));
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 60_000);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls WHERE f = 7.0").await, 2);
}

/// What files state of a column does not decide what is read of it.
#[tokio::test]
async fn nan_is_read_as_it_is_however_it_is_asked_for() {
    let engine = with_nan().await;
    for (condition, rows) in [
        ("f > 1000", 2),
        ("f + 0 > 1000", 2),
        ("f <> 1.5", 2),
        ("NOT (f <= 1000)", 2),
        ("f NOT IN (1.5)", 2),
        ("f > 1000 AND f < 10000", 1),
        ("f = 'NaN'", 1),
        ("isnan(f)", 1),
        ("f <= 1000 AND f + 0 > 1000", 0),
    ] {
        let sql = format!("SELECT count(*) FROM calls WHERE {condition}");
        assert_eq!(number(&engine, &sql).await, rows, "{condition}");
    }
    for (sql, says) in [
        ("SELECT f FROM calls ORDER BY f DESC LIMIT 1", "NaN"),
        ("SELECT max(f) FROM calls", "NaN"),
        ("SELECT max(f) FROM calls WHERE f > 1000", "NaN"),
        ("SELECT max(f) FROM calls WHERE id >= 0", "NaN"),
    ] {
        let answer = query(&engine, sql).await;
        assert!(answer.contains(says), "{sql}: {answer}");
    }
    // Where all others are equal, the column is not taken for constant.
    delete(&engine, col("id").eq(lit(5))).await;
    let answer = query(&engine, "SELECT f FROM calls WHERE f <> 1.0 ORDER BY f DESC LIMIT 1").await;
    assert!(answer.contains("NaN"), "{answer}");
    assert_eq!(number(&engine, "SELECT count(*) FROM calls WHERE f <= 1.5").await, 59_998);
}

/// The greatest that was found so far is no reason to leave a file out.
#[tokio::test]
async fn nan_is_found_in_a_file_of_small_numbers() {
    let engine = numbers_of_calls().await;
    for file in 0..24 {
        let first = match file {
            0 | 1 => 5_000.0,
            20 => f64::NAN,
            _ => 1.5,
        };
        numbers(&engine, 2 * file, &[first, 1.5]).await;
    }
    let top = "SELECT id FROM calls ORDER BY f DESC NULLS LAST LIMIT 1";
    assert_eq!(number(&engine, top).await, 40);
}

#[tokio::test]
async fn a_number_that_is_set_is_rounded_to_the_digits_of_its_column() {
    let engine = engine().await;
    let spec = r#"{"name": "orders", "key": ["id"], "columns": [{"name": "id", "type": "int64"}, {"name": "amount", "type": "decimal(6,2)"}]}"#;
    let spec = DatasetSpec::from_json(spec).unwrap();
    engine.create_dataset(&who(), spec).await.unwrap();
    let rows = ndjson("{\"id\": 1, \"amount\": \"2.50\"}\n{\"id\": 2, \"amount\": \"-2.50\"}");
    engine.ingest(&who(), &name("orders"), IngestRequest { rows, producer: None }).await.unwrap();
    let set = async |value: &str| {
        let orders = name("orders");
        let value = session(&engine).await.expression(&orders, value).await.unwrap();
        let coming = Coming::Changed(vec![("amount".to_owned(), value)]);
        let revision = Revision { going: Going::Where(lit(true)), coming };
        engine.revise(&who(), &orders, revision, label("a test")).await
    };
    // 2.975, of which the half goes away from zero.
    set("amount * 1.19").await.unwrap();
    let found = query(&engine, "SELECT amount FROM orders ORDER BY id").await;
    assert!(found.contains("| 2.98 ") && found.contains("| -2.98 "), "{found}");
    set("amount / 3").await.unwrap();
    let found = query(&engine, "SELECT amount FROM orders ORDER BY id").await;
    assert!(found.contains("| 0.99 "), "{found}");
    // What does not fit is no number of the column.
    let error = set("amount * 1000000").await.unwrap_err();
    assert_eq!(error.code(), Code::BadInput, "{error}");
}
