//! Files of which some keys are there already, or twice in the file.

use std::collections::BTreeMap;

use datafusion::logical_expr::{col, lit};
use datasets::read::{Format, Source};

use super::*;
use crate::storage::Root;
use crate::storage::faulty::{Fault, Faulty};
use crate::{
    Code, Coming, Going, IngestReceipt, LoadOptions, OnConflict, Reshape, Revision, Version,
};

/// What is there, by id; each id once.
async fn there(engine: &Engine) -> BTreeMap<i64, String> {
    let session = session(engine).await;
    let frame = session.sql("SELECT id, model FROM calls").await.unwrap();
    let mut there = BTreeMap::new();
    for batch in session.collect(frame).await.unwrap() {
        let ids = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
        let models = batch.column(1).as_any().downcast_ref::<StringArray>().unwrap();
        for (id, model) in ids.values().iter().zip(models) {
            let before = there.insert(*id, model.unwrap().to_owned());
            assert!(before.is_none(), "{id} is there twice");
        }
    }
    there
}

/// A line of each id and model, all of the day that the id says.
fn file(rows: &[(i64, &str)]) -> Source {
    let lines: Vec<String> = rows
        .iter()
        .map(|(id, model)| {
            let (month, day) = (id / 28 % 12 + 1, id % 28 + 1);
            format!(
                r#"{{"id": {id}, "at": "2026-{month:02}-{day:02}T00:00:00Z", "model": "{model}"}}"#
            )
        })
        .collect();
    Source::Body { bytes: lines.join("\n").into(), name: "rows.ndjson".to_owned() }
}

async fn load(
    engine: &Engine,
    on_conflict: OnConflict,
    rows: &[(i64, &str)],
) -> Result<IngestReceipt> {
    let options = LoadOptions { on_conflict, ..LoadOptions::default() };
    engine.load(&who(), &name("calls"), file(rows), Format::Ndjson, options).await
}

fn of(rows: &[(i64, &str)]) -> BTreeMap<i64, String> {
    rows.iter().map(|(id, model)| (*id, (*model).to_owned())).collect()
}

fn files_of(folder: &std::path::Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            count += files_of(&path);
        } else {
            count += usize::from(path.extension().is_some_and(|it| it == "parquet"));
        }
    }
    count
}

#[tokio::test]
async fn a_file_that_is_loaded_twice_does_not_double_a_row() {
    let engine = engine().await;
    let rows = [(1, "a"), (2, "a"), (40, "a"), (70, "a")];
    let first = load(&engine, OnConflict::Replace, &rows).await.unwrap();
    assert_eq!((first.accepted, first.replaced, first.skipped), (4, 0, 0));
    let again = load(&engine, OnConflict::Replace, &rows).await.unwrap();
    assert_eq!((again.accepted, again.replaced, again.version), (4, 4, Version(2)));
    let rows = [(2, "b"), (70, "b"), (99, "b")];
    let some = load(&engine, OnConflict::Replace, &rows).await.unwrap();
    assert_eq!((some.accepted, some.replaced, some.skipped), (3, 2, 0));
    let expected = of(&[(1, "a"), (2, "b"), (40, "a"), (70, "b"), (99, "b")]);
    assert_eq!(there(&engine).await, expected);
    let none = load(&engine, OnConflict::Skip, &rows).await.unwrap();
    assert_eq!((none.accepted, none.skipped, none.version), (0, 3, Version(3)));
    let one = load(&engine, OnConflict::Skip, &[(99, "c"), (100, "c")]).await.unwrap();
    assert_eq!((one.accepted, one.skipped, one.version), (1, 1, Version(4)));
    let error = load(&engine, OnConflict::Error, &[(2, "d"), (101, "d")]).await.unwrap_err();
    assert_eq!(error.code(), Code::Conflict);
    let says = "rows.ndjson: 1 key is in calls already, such as 2; nothing was loaded; load with on_conflict";
    assert!(error.to_string().contains(says), "{error}");
    let fine = load(&engine, OnConflict::Error, &[(101, "d")]).await.unwrap();
    assert_eq!((fine.accepted, fine.version), (1, Version(5)));
    let mut expected = expected;
    expected.extend(of(&[(100, "c"), (101, "d")]));
    assert_eq!(there(&engine).await, expected);
    // Without a word about keys, rows are added as ever.
    load(&engine, OnConflict::Add, &[(1, "twice")]).await.unwrap();
    assert_eq!(number(&engine, "SELECT count(*) FROM calls WHERE id = 1").await, 2);
}

#[tokio::test]
async fn of_a_key_that_is_twice_in_a_file_one_row_stands() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    engine.create_dataset(&who(), calls()).await.unwrap();
    let rows = [(1, "first"), (2, "x"), (1, "second"), (40, "y"), (1, "third"), (40, "z")];
    let error = load(&engine, OnConflict::Error, &rows).await.unwrap_err();
    assert!(error.to_string().contains("2 keys stand in the file more than once"), "{error}");
    let skipped = load(&engine, OnConflict::Skip, &rows).await.unwrap();
    assert_eq!((skipped.accepted, skipped.skipped), (3, 3));
    assert_eq!(there(&engine).await, of(&[(1, "first"), (2, "x"), (40, "y")]));
    let replaced = load(&engine, OnConflict::Replace, &rows).await.unwrap();
    assert_eq!((replaced.accepted, replaced.replaced, replaced.skipped), (3, 3, 3));
    assert_eq!(there(&engine).await, of(&[(1, "third"), (2, "x"), (40, "z")]));
    // What was written on the way and is of no version is gone: two months twice.
    assert_eq!(files_of(&folder.path().join("default/calls")), 4);
}

#[tokio::test]
async fn what_can_not_be_told_by_key_is_refused_and_rejects_are_kept_once() {
    let engine = Engine::open(options("memory:")).await.unwrap();
    let mut spec = calls();
    spec.key = Vec::new();
    engine.create_dataset(&who(), spec).await.unwrap();
    let error = load(&engine, OnConflict::Replace, &[(1, "a")]).await.unwrap_err();
    assert!(error.to_string().contains("its spec names no `key`"), "{error}");
    load(&engine, OnConflict::Add, &[(1, "a")]).await.unwrap();

    let engine = super::engine().await;
    let text = "{\"id\": 1, \"at\": \"2026-01-01T00:00:00Z\", \"model\": \"a\"}\n{\"id\": \"x\"}\n\
                {\"id\": 1, \"at\": \"2026-01-01T00:00:00Z\", \"model\": \"b\"}\n";
    let ask = async |on_conflict| {
        let source = Source::Body { bytes: text.into(), name: "rows.ndjson".to_owned() };
        let options = LoadOptions { on_conflict, ..LoadOptions::default() };
        engine.load(&who(), &name("calls"), source, Format::Ndjson, options).await
    };
    let receipt = ask(OnConflict::Replace).await.unwrap();
    assert_eq!((receipt.accepted, receipt.quarantined, receipt.skipped), (1, 1, 1));
    assert_eq!(receipt.causes.len(), 1);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls_quarantine").await, 1);
    assert_eq!(there(&engine).await, of(&[(1, "b")]));
    for on in [OnConflict::Again, OnConflict::Error] {
        assert_eq!(ask(on).await.unwrap_err().code(), Code::Conflict);
        let rejects = number(&engine, "SELECT count(*) FROM calls_quarantine").await;
        assert_eq!(rejects, 1, "{on:?}: of what is refused nothing is kept");
    }
}

#[tokio::test]
async fn without_a_key_a_file_that_was_loaded_before_is_refused() {
    let engine = Engine::open(options("memory:")).await.unwrap();
    let mut spec = calls();
    spec.key = Vec::new();
    engine.create_dataset(&who(), spec).await.unwrap();
    let count = async || number(&engine, "SELECT count(*) FROM calls").await;
    load(&engine, OnConflict::Again, &[(1, "a")]).await.unwrap();
    load(&engine, OnConflict::Again, &[(2, "a")]).await.unwrap();
    for _ in 0..2 {
        let error = load(&engine, OnConflict::Again, &[(1, "a")]).await.unwrap_err();
        assert_eq!(error.code(), Code::Conflict);
        let says = "rows.ndjson: it was loaded before, and its rows are in calls since version 1";
        assert!(error.to_string().contains(says), "{error}");
        engine.compact(&who(), &name("calls")).await.unwrap();
    }
    assert_eq!(count().await, 2);
    load(&engine, OnConflict::Add, &[(1, "a")]).await.unwrap();
    assert_eq!(count().await, 3);
    // Rows that were taken out may come again.
    let revision = Revision { going: Going::Where(lit(true)), coming: Coming::Nothing };
    engine.revise(&who(), &name("calls"), revision, label("a test")).await.unwrap();
    load(&engine, OnConflict::Again, &[(1, "a")]).await.unwrap();
    assert_eq!(count().await, 1);
    load(&engine, OnConflict::Again, &[(1, "a")]).await.unwrap_err();
    // Of many who load one file at the same moment one does.
    let rows = [(9, "z")];
    let loads = (0..8).map(|_| load(&engine, OnConflict::Again, &rows));
    let loads = futures::future::join_all(loads).await;
    assert_eq!(loads.iter().filter(|load| load.is_ok()).count(), 1);
    assert_eq!(count().await, 2);
}

#[tokio::test]
async fn a_body_that_comes_again_is_a_duplicate_with_a_key_and_without() {
    let engine = engine().await;
    load(&engine, OnConflict::Once, &[(1, "a"), (2, "a"), (1, "b")]).await.unwrap();
    let again = load(&engine, OnConflict::Once, &[(2, "b"), (3, "b")]).await.unwrap();
    assert_eq!((again.accepted, again.skipped, again.duplicate), (1, 1, false));
    assert_eq!(there(&engine).await, of(&[(1, "a"), (2, "a"), (3, "b")]));

    let engine = Engine::open(options("memory:")).await.unwrap();
    let mut spec = calls();
    spec.key = Vec::new();
    engine.create_dataset(&who(), spec).await.unwrap();
    let count = async || number(&engine, "SELECT count(*) FROM calls").await;
    let first = load(&engine, OnConflict::Once, &[(1, "a")]).await.unwrap();
    assert_eq!((first.accepted, first.version, first.duplicate), (1, Version(1), false));
    let again = load(&engine, OnConflict::Once, &[(1, "a")]).await.unwrap();
    assert_eq!((again.accepted, again.version, again.duplicate), (0, Version(1), true));
    assert_eq!(count().await, 1);
    // Rows that were taken out may come again.
    let revision = Revision { going: Going::Where(lit(true)), coming: Coming::Nothing };
    engine.revise(&who(), &name("calls"), revision, label("a test")).await.unwrap();
    assert!(!load(&engine, OnConflict::Once, &[(1, "a")]).await.unwrap().duplicate);
    // Of many who load one body at the same moment one does, and the others are told so.
    let rows = [(9, "z")];
    let loads = (0..8).map(|_| load(&engine, OnConflict::Once, &rows));
    let loads = futures::future::join_all(loads).await;
    let news = loads.iter().filter(|load| !load.as_ref().unwrap().duplicate).count();
    assert_eq!((news, count().await), (1, 2));
}

/// Another process renames a column while a file is being read.
#[tokio::test]
async fn of_a_file_that_a_change_of_columns_overtakes_nothing_is_kept() {
    let text = "{\"id\": 1, \"at\": \"2026-01-01T00:00:00Z\"}\n{\"id\": \"x\"}\n";
    for on_conflict in [
        OnConflict::Add,
        OnConflict::Skip,
        OnConflict::Replace,
        OnConflict::Error,
        OnConflict::Again,
        OnConflict::Once,
    ] {
        let store = Faulty::new();
        let open = async || Engine::open_root(Root::over(store.clone()), options("memory:")).await;
        let (here, elsewhere) = (open().await.unwrap(), open().await.unwrap());
        here.create_dataset(&who(), calls()).await.unwrap();
        store.plan(|path| match path.as_ref().contains("calls/_delta_log/00000000000000000001") {
            true => Fault::Late,
            false => Fault::None,
        });
        let rename = Reshape::Rename { column: "model".to_owned(), to: "kind".to_owned() };
        elsewhere.reshape(&who(), &name("calls"), rename, label("a test")).await.unwrap_err();
        store.deliver_at("calls/at_month", 1);
        let source = Source::Body { bytes: text.into(), name: "rows.ndjson".to_owned() };
        let options = LoadOptions { on_conflict, ..LoadOptions::default() };
        let loaded = here.load(&who(), &name("calls"), source, Format::Ndjson, options).await;
        let refused = loaded.unwrap_err();
        assert_eq!(refused.code(), Code::Conflict, "{on_conflict:?}: {refused}");
        assert!(refused.to_string().contains("columns were changed"), "{on_conflict:?}: {refused}");
        assert_eq!(
            number(&here, "SELECT count(*) FROM calls_quarantine").await,
            0,
            "{on_conflict:?}"
        );
    }
}

/// A column that a file brings comes with its rows, in each way of loading it, and not without.
#[tokio::test]
async fn a_file_that_is_refused_leaves_the_columns_as_they_are() {
    let line = |id: i64, more: &str| {
        format!("{{\"id\": {id}, \"at\": \"2026-01-01T00:00:00Z\", \"region\": \"eu\"{more}}}\n")
    };
    let spec = {
        let mut spec = calls();
        spec.columns
            .push(datasets::ColumnSpec { name: "zone".to_owned(), ..spec.columns[2].clone() });
        spec
    };
    let ask = async |engine: &Engine, text: &str, options: LoadOptions| {
        let source = Source::Body { bytes: text.to_owned().into(), name: "rows.ndjson".to_owned() };
        engine.load(&who(), &name("calls"), source, Format::Ndjson, options).await
    };
    let of = |on_conflict| LoadOptions { on_conflict, ..LoadOptions::default() };
    let none = LoadOptions {
        rejects_max: Some(crate::RejectsMax::Rows(0)),
        create: Some(spec.clone()),
        ..of(OnConflict::Replace)
    };
    for on in [
        OnConflict::Add,
        OnConflict::Skip,
        OnConflict::Replace,
        OnConflict::Error,
        OnConflict::Again,
        OnConflict::Once,
    ] {
        let engine = engine().await;
        load(&engine, OnConflict::Add, &[(1, "a")]).await.unwrap();
        let bad = line(2, "") + &line(3, ", \"tokens\": \"x\"");
        ask(&engine, &bad, none.clone()).await.unwrap_err();
        ask(&engine, &line(1, ""), of(OnConflict::Error)).await.unwrap_err();
        let skipped = ask(&engine, &line(1, ""), of(OnConflict::Skip)).await.unwrap();
        assert_eq!((skipped.accepted, skipped.skipped), (0, 1));
        let mut other = spec.clone();
        other.key = vec!["at".to_owned()];
        let differs = LoadOptions { create: Some(other), ..of(on) };
        assert_eq!(ask(&engine, &line(2, ""), differs).await.unwrap_err().code(), Code::Conflict);
        let entry = engine.catalog(&who()).await.unwrap().datasets[&name("calls")].clone();
        assert_eq!((entry.version, &entry.spec), (Version(1), &calls()), "{on:?}");
        let taken = LoadOptions { create: Some(spec.clone()), ..of(on) };
        ask(&engine, &(line(2, "") + &line(3, "")), taken).await.unwrap();
        let counts = "SELECT count(region) + 10 * count(*) FROM calls WHERE zone IS NULL";
        assert_eq!(number(&engine, counts).await, 32, "{on:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_others_a_key_is_there_once() {
    let engine = engine().await;
    let loads = async |on, who: &'static str, from: i64| {
        for start in (from..from + 30).step_by(3) {
            let rows: Vec<(i64, &str)> = (start..start + 10).map(|id| (id % 50, who)).collect();
            let loaded = load(&engine, on, &rows).await;
            // One that fails because of others fails whole.
            assert!(loaded.is_ok() || on == OnConflict::Error, "{loaded:?}");
        }
    };
    let compacting = async {
        for _ in 0..10 {
            engine.compact(&who(), &name("calls")).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(
        loads(OnConflict::Replace, "replaces", 0),
        loads(OnConflict::Skip, "skips", 20),
        loads(OnConflict::Error, "errs", 10),
        compacting
    );
    assert_eq!(there(&engine).await.into_keys().collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_row_is_not_left_out_for_one_that_went_meanwhile() {
    let store = Faulty::new();
    let open = async || Engine::open_root(Root::over(store.clone()), options("memory:")).await;
    let (here, elsewhere) = (open().await.unwrap(), open().await.unwrap());
    here.create_dataset(&who(), calls()).await.unwrap();
    load(&here, OnConflict::Add, &[(1, "a"), (3, "a")]).await.unwrap();
    // Another process deletes a row, and its commit arrives late.
    store.plan(|path| match path.as_ref().contains("_delta_log/00000000000000000002") {
        true => Fault::Late,
        false => Fault::None,
    });
    let going = Going::Where(col("id").eq(lit(1_i64)));
    let revision = Revision { going, coming: Coming::Nothing };
    elsewhere.revise(&who(), &name("calls"), revision, label("a test")).await.unwrap_err();
    // That is when the rows that are not left out have been written here, after all of them.
    store.deliver_at("calls/at_month", 2);
    let loaded = load(&here, OnConflict::Skip, &[(1, "b"), (2, "b")]).await.unwrap();
    assert_eq!((loaded.accepted, loaded.skipped, loaded.version), (2, 0, Version(3)));
    assert_eq!(there(&here).await, of(&[(1, "b"), (2, "b"), (3, "a")]));
}
