//! The chain of acts, and what becomes of it where somebody lays hands on it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use datasets::DatasetName;
use engine::{AsOf, CommitLabel, Engine, Error, Result, Role, WriteMode};
use futures::StreamExt;

use super::*;
use crate::run::runner::{Runner, RunnerOptions};
use crate::testing::engine_at;

async fn runner(engine: &Engine) -> Runner {
    let options = RunnerOptions { threads: 1, ..RunnerOptions::default() };
    Runner::start(engine.clone(), options).await.unwrap()
}

fn asked(field: &str) -> NewAct {
    NewAct {
        via: "graphql".to_owned(),
        field: field.to_owned(),
        arguments_sha256: NewAct::digest("{}"),
        request_id: "a request".to_owned(),
        ..NewAct::default()
    }
}

async fn acts(runner: &Runner, who: &Principal, count: usize) {
    for number in 0..count {
        let act = runner.begin_act(who, asked(&format!("field{number}"))).await.unwrap();
        let outcome = match number % 2 {
            0 => Outcome::Done,
            _ => Outcome::Failed(Code::NotFound),
        };
        act.end(outcome, Some("something")).await;
    }
}

/// The rows of the dataset, in their order.
async fn rows(engine: &Engine, who: &Principal) -> Vec<RecordBatch> {
    let name = DatasetName::new(AUDIT).unwrap();
    let session = engine.session(who, &[(name.clone(), AsOf::Latest)]).await.unwrap();
    let frame = session.table(&name).await.unwrap();
    let order = datafusion::prelude::ident("number").sort(true, false);
    let mut stream = session.stream(frame.sort(vec![order]).unwrap()).await.unwrap();
    let mut rows = Vec::new();
    while let Some(batch) = stream.next().await {
        let batch = batch.unwrap();
        rows.extend((0..batch.num_rows()).map(|row| batch.slice(row, 1)));
    }
    rows
}

async fn put(engine: &Engine, who: &Principal, rows: Vec<RecordBatch>) {
    let (name, label) = (DatasetName::new(AUDIT).unwrap(), CommitLabel::default());
    let schema = audit_spec().unwrap().arrow_schema();
    let rows: Vec<RecordBatch> = rows
        .iter()
        .map(|row| {
            let columns = row.columns().iter().zip(schema.fields());
            let columns = columns
                .map(|(column, field)| arrow::compute::cast(column, field.data_type()).unwrap());
            RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
        })
        .collect();
    let none = RecordBatch::new_empty(schema);
    let rows = if rows.is_empty() { vec![none] } else { rows };
    engine.write(who, &name, WriteMode::Overwrite, rows, label).await.unwrap();
}

/// A root with ten acts in its dataset, its runner ended.
async fn ten(folder: &Path) -> (Engine, Principal) {
    let (engine, who) = (engine_at(folder).await, Principal::local());
    let runner = runner(&engine).await;
    acts(&runner, &who, 10).await;
    runner.shutdown().await;
    (engine, who)
}

async fn verify(engine: &Engine, who: &Principal) -> Result<Verified> {
    let runner = runner(engine).await;
    let verified = runner.verify_audit(who, None).await;
    runner.shutdown().await;
    verified
}

#[tokio::test]
async fn what_was_done_is_a_row_each_in_order_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, who) = ten(folder.path()).await;
    let found = verify(&engine, &who).await.unwrap();
    assert_eq!((found.acts, found.not_rows_yet, found.end_is_known), (10, 0, true));
    assert_eq!(rows(&engine, &who).await.len(), 10);
    // Another process goes on where this one ended, and two that write leave nothing out or twice.
    let (one, two) = (runner(&engine).await, runner(&engine).await);
    tokio::join!(acts(&one, &who, 7), acts(&two, &who, 8));
    let found = one.verify_audit(&who, None).await.unwrap();
    assert_eq!(found.acts, 25);
    tokio::join!(one.shutdown(), two.shutdown());
    let last = verify(&engine, &who).await.unwrap();
    assert_eq!((last.acts, last.head), (25, found.head));
    // Each tenant has its own.
    let acme = Principal { tenant: "acme".parse().unwrap(), ..Principal::local() };
    assert_eq!(verify(&engine, &acme).await.unwrap().acts, 0);
}

#[tokio::test]
async fn what_is_changed_missing_or_elsewhere_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, who) = ten(folder.path()).await;
    let whole = rows(&engine, &who).await;
    let head = verify(&engine, &who).await.unwrap().head;
    let with = |number: usize, column: &str, text: &str| {
        let mut rows = whole.clone();
        let row = &rows[number - 1];
        let at = row.schema().index_of(column).unwrap();
        let mut columns = row.columns().to_vec();
        let text = arrow::array::StringArray::from(vec![text]);
        columns[at] = arrow::compute::cast(&text, columns[at].data_type()).unwrap();
        rows[number - 1] = RecordBatch::try_new(row.schema(), columns).unwrap();
        rows
    };
    let without = |number: usize| {
        let mut rows = whole.clone();
        rows.remove(number - 1);
        rows
    };
    // Row 4 as somebody would have it who knows how hashes are made, and all behind it made anew.
    let forged = {
        let mut previous = row(&whole, 3).hash;
        let mut forged = whole[..3].to_vec();
        for number in 4..=10 {
            let mut act = row(&whole, number).act;
            if number == 4 {
                act.subject = "somebody else".to_owned();
            }
            let (content, at) = (act.content().unwrap(), i64::try_from(number).unwrap());
            let hash = hash_of(&previous, at, &content);
            let changed =
                [("subject", &act.subject), ("previous_hash", &previous), ("hash", &hash)];
            let mut one = whole[number - 1].clone();
            for (column, text) in changed {
                let at = one.schema().index_of(column).unwrap();
                let mut columns = one.columns().to_vec();
                let text = arrow::array::StringArray::from(vec![text.as_str()]);
                columns[at] = arrow::compute::cast(&text, columns[at].data_type()).unwrap();
                one = RecordBatch::try_new(one.schema(), columns).unwrap();
            }
            forged.push(one);
            previous = hash;
        }
        forged
    };
    let zeros = "0".repeat(64);
    let cases: Vec<(&str, Vec<RecordBatch>, &str)> = vec![
        ("another subject", with(4, "subject", "somebody else"), "row 4: it was changed"),
        ("another outcome", with(1, "outcome", "OK."), "row 1: it was changed"),
        ("another hash", with(7, "hash", &zeros), "row 7: it was changed"),
        ("another hash before", with(7, "previous_hash", &zeros), "row 7: it was changed"),
        ("the first is gone", without(1), "row 1: it is missing"),
        ("one is gone", without(6), "row 6: it is missing"),
        ("the last is gone", without(10), "row 10: it is missing"),
        ("all are gone", Vec::new(), "row 1: it is missing"),
        (
            "one is there in the place of another",
            [&whole[..5], &whole[6..7], &whole[6..]].concat(),
            "row 6: it is missing",
        ),
        ("forged to the end", forged.clone(), "control state has another hash"),
    ];
    for (what, rows, says) in cases {
        put(&engine, &who, rows).await;
        let error = verify(&engine, &who).await.expect_err(what);
        assert_eq!(error.code(), Code::Conflict, "{what}");
        assert!(error.to_string().contains(says), "{what}: {error}");
    }
    // Written twice, as by one who never heard that it was, is as good as once.
    put(&engine, &who, [&whole[..], &whole[9..]].concat()).await;
    assert_eq!(verify(&engine, &who).await.unwrap().head, head);
    put(&engine, &who, whole.clone()).await;
    assert_eq!(verify(&engine, &who).await.unwrap().head, head);

    // Without control state the end is not known, unless it was noted.
    put(&engine, &who, forged).await;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap().path();
        if file.file_name().unwrap().to_string_lossy().starts_with(".colonnade.control") {
            std::fs::remove_file(file).unwrap();
        }
    }
    let runner = runner(&engine).await;
    assert!(!runner.verify_audit(&who, None).await.unwrap().end_is_known);
    assert!(runner.verify_audit(&who, Some((10, &head))).await.is_err());
    assert!(runner.verify_audit(&who, Some((11, &head))).await.is_err());
    // It goes on behind what is there.
    acts(&runner, &who, 1).await;
    assert_eq!(runner.verify_audit(&who, None).await.unwrap().acts, 11);
    runner.shutdown().await;
}

fn row(rows: &[RecordBatch], number: usize) -> dataset::Row {
    dataset::row_of(&rows[number - 1], 0, &Principal::local()).unwrap()
}

#[tokio::test]
async fn an_older_control_state_takes_no_act_away_and_writes_no_second_chain() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, who) = (engine_at(folder.path()).await, Principal::local());
    let files = || {
        let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
        let is_control = |path: &PathBuf| {
            path.file_name().unwrap().to_string_lossy().starts_with(".colonnade.control.db")
        };
        files.filter(is_control).collect::<Vec<_>>()
    };
    let first = runner(&engine).await;
    acts(&first, &who, 3).await;
    first.shutdown().await;
    let kept: Vec<_> =
        files().into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect();
    assert!(!kept.is_empty());
    let second = runner(&engine).await;
    acts(&second, &who, 4).await;
    second.shutdown().await;
    assert_eq!(rows(&engine, &who).await.len(), 7);
    // As from a backup.
    files().iter().for_each(|path| std::fs::remove_file(path).unwrap());
    kept.iter().for_each(|(bytes, path)| std::fs::write(path, bytes).unwrap());
    let third = runner(&engine).await;
    acts(&third, &who, 2).await;
    third.shutdown().await;
    let fourth = runner(&engine).await;
    let waiting = fourth.store().acts(who.tenant.as_str(), 0, 100).await.unwrap();
    assert_eq!(waiting.iter().map(|row| row.number).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(rows(&engine, &who).await.len(), 7);
    fourth.shutdown().await;
}

#[tokio::test]
async fn an_act_that_nobody_saw_end_has_its_row() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, who) = (engine_at(folder.path()).await, Principal::local());
    let runner_of = runner(&engine).await;
    let open = runner_of.begin_act(&who, asked("neverEnded")).await.unwrap();
    acts(&runner_of, &who, 1).await;
    // Its process ends, as far as others can see.
    runner_of.shutdown().await;
    drop(open);
    let next = runner(&engine).await;
    next.shutdown().await;
    assert_eq!(verify(&engine, &who).await.unwrap().acts, 2);
    let rows = rows(&engine, &who).await;
    let (first, last) = (row(&rows, 1).act, row(&rows, 2).act);
    assert_eq!((first.field.as_str(), first.outcome.as_str()), ("field0", "OK"));
    assert_eq!((last.field.as_str(), last.outcome.as_str()), ("neverEnded", "UNKNOWN"));
}

#[tokio::test]
async fn admins_alone_see_it_and_nobody_takes_it_away() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, who) = ten(folder.path()).await;
    let name = DatasetName::new(AUDIT).unwrap();
    let code = |error: Error| error.code();
    for role in [Role::Reader, Role::Writer, Role::Operator] {
        let who = Principal::new(who.tenant.clone(), "x", &[role]);
        assert!(!engine.catalog(&who).await.unwrap().has(&name).unwrap(), "{role}");
        let session = engine.session(&who, &[]).await.unwrap();
        assert!(session.sql("SELECT * FROM audit").await.is_err(), "{role}");
        let pinned = engine.session(&who, &[(name.clone(), AsOf::Latest)]).await;
        assert_eq!(pinned.err().map(code), Some(Code::NotFound), "{role}");
        let (from, to) = (engine::Version(0), engine::Version(1));
        let changes = engine.changes(&who, &name, from, to).await;
        assert_eq!(changes.err().map(code), Some(Code::NotFound), "{role}");
        let runner = runner(&engine).await;
        assert_eq!(runner.verify_audit(&who, None).await.err().map(code), Some(Code::Forbidden));
        runner.shutdown().await;
    }
    assert!(engine.catalog(&who).await.unwrap().has(&name).unwrap());
    let to = DatasetName::new("other").unwrap();
    assert_eq!(engine.drop_dataset(&who, &name).await.err().map(code), Some(Code::Forbidden));
    assert_eq!(
        engine.rename_dataset(&who, &name, &to).await.err().map(code),
        Some(Code::Forbidden)
    );
    let own = datasets::DatasetSpec { derived: false, ..audit_spec().unwrap() };
    assert_eq!(engine.create_dataset(&who, own).await.err().map(code), Some(Code::Forbidden));
}

#[test]
fn a_row_says_nothing_that_is_long_or_breaks_lines() {
    let who = Principal::new(engine::TenantId::default(), "a\u{1b}[2Jb", &[Role::Admin]);
    let new = NewAct { target: Some("é".repeat(300)), ..asked("x") };
    let act = Act::new("id".to_owned(), &who, new, DateTime::default());
    assert_eq!(act.subject, "a[2Jb");
    assert!(act.target.as_ref().is_some_and(|target| target.len() == 200));
    // The text that is hashed is the same for ever.
    let text = act.content().unwrap();
    assert!(
        text.starts_with(
            r#"{"id":"id","tenant":"default","begun_us":0,"ended_us":0,"subject":"a[2Jb","#
        ),
        "{text}"
    );
    assert_eq!(Act::read(&text).unwrap(), act);
    assert_eq!(
        hash_of(GENESIS, 1, "{}"),
        "857ee6299d26533d1f5f46c02209ae8bc34dc4898a8a9545493946b4ea59d6f3"
    );
}
