//! What changed between versions.

use super::*;
use crate::{Changes, Code, RunId, Version, WriteMode};

async fn ids(engine: &Engine, frame: datafusion::dataframe::DataFrame) -> Vec<i64> {
    let batches = session(engine).await.collect(frame).await.unwrap();
    let mut ids: Vec<i64> = batches
        .iter()
        .flat_map(|b| {
            let ids = b.column_by_name("id").unwrap();
            ids.as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec()
        })
        .collect();
    ids.sort_unstable();
    ids
}

async fn changes(engine: &Engine, from: u64, to: u64) -> Result<Changes> {
    engine.changes(&who(), &name("calls"), Version(from), Version(to)).await
}

async fn write(engine: &Engine, mode: WriteMode, batches: Vec<RecordBatch>) -> RunId {
    let run_id = RunId::new();
    let label = CommitLabel { run_id: Some(run_id), ..label("job") };
    engine.write(&who(), &name("calls"), mode, batches, label).await.unwrap();
    run_id
}

#[tokio::test]
async fn appended_rows_are_the_change() {
    let engine = engine().await;
    write(&engine, WriteMode::Append, vec![rows(0..3)]).await;
    let second = write(&engine, WriteMode::Append, vec![rows(3..5)]).await;
    let third = write(&engine, WriteMode::Append, vec![rows(5..6)]).await;
    let change = changes(&engine, 1, 3).await.unwrap();
    assert_eq!(change.run_ids, [second, third]);
    assert_eq!(change.commits, 2);
    assert_eq!(ids(&engine, change.added).await, [3, 4, 5]);
    assert!(ids(&engine, change.removed).await.is_empty());
    let none = changes(&engine, 2, 2).await.unwrap();
    assert!(ids(&engine, none.added).await.is_empty());
    assert_eq!(none.commits, 0);
}

#[tokio::test]
async fn rows_that_were_rewritten_as_they_were_cancel() {
    let engine = engine().await;
    write(&engine, WriteMode::Append, vec![rows(0..4), rows(0..1)]).await;
    // Overwritten: 0 once instead of twice, 1 and 2 as before, 3 gone, 9 new, twice.
    write(&engine, WriteMode::Overwrite, vec![rows(0..3), rows(9..10), rows(9..10)]).await;
    let change = changes(&engine, 1, 2).await.unwrap();
    assert_eq!(ids(&engine, change.added).await, [9, 9]);
    assert_eq!(ids(&engine, change.removed).await, [0, 3]);
    // There and back is no change at all.
    write(&engine, WriteMode::Overwrite, vec![rows(0..4), rows(0..1)]).await;
    let change = changes(&engine, 1, 3).await.unwrap();
    assert!(ids(&engine, change.added).await.is_empty());
    assert!(ids(&engine, change.removed).await.is_empty());
}

#[tokio::test]
async fn a_replaced_partition_changes_nothing_else() {
    let engine = engine().await;
    write(&engine, WriteMode::Append, vec![rows(0..90)]).await;
    let month = ("at_month".to_owned(), datafusion::scalar::ScalarValue::from("2026-02-01"));
    write(&engine, WriteMode::ReplacePartitions(vec![month]), vec![rows(32..59)]).await;
    let change = changes(&engine, 1, 2).await.unwrap();
    assert_eq!(
        ids(&engine, change.removed).await,
        [31],
        "January has 31 days: ids 0 to 30; 59 is in March"
    );
}

#[tokio::test]
async fn versions_that_are_not_there_are_told() {
    let engine = engine().await;
    write(&engine, WriteMode::Append, vec![rows(0..3)]).await;
    assert_eq!(changes(&engine, 0, 9).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(changes(&engine, 1, 0).await.unwrap_err().code(), Code::BadInput);
}

#[tokio::test]
async fn a_column_that_came_later_is_null_before() {
    let engine = engine().await;
    write(&engine, WriteMode::Append, vec![rows(0..3)]).await;
    let mut grown = calls();
    grown.columns.push(datasets::ColumnSpec {
        name: "region".to_owned(),
        data_type: "text".parse().unwrap(),
        nullable: true,
        unit: None,
        description: String::new(),
    });
    engine.ensure_dataset(&who(), &grown).await.unwrap();
    write(&engine, WriteMode::Overwrite, vec![rows(0..2)]).await;
    let change = changes(&engine, 1, 3).await.unwrap();
    assert!(ids(&engine, change.added).await.is_empty());
    assert_eq!(ids(&engine, change.removed).await, [2]);
}
