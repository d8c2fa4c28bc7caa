//! Columns that come later.

use super::*;
use crate::{AsOf, Code, CommitKind, Version};

async fn body(engine: &Engine, text: &str) -> Result<IngestReceipt> {
    let request = IngestRequest { rows: ndjson(text), producer: None };
    engine.ingest(&who(), &name("calls"), request).await
}

#[tokio::test]
async fn rows_may_bring_a_column_where_the_dataset_allows_it() {
    let engine = engine().await;
    let generation = engine.catalog(&who()).await.unwrap().generation;
    let mut events = engine.commits().subscribe();
    send(&engine, 0..2, None).await.unwrap();
    let receipt =
        body(&engine, "{\"id\": 5, \"at\": \"2026-01-05\", \"region\": \"eu\"}").await.unwrap();
    assert_eq!(receipt.version, Version(3));
    let kinds: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).map(|e| e.kind).collect();
    assert_eq!(kinds, [CommitKind::Append, CommitKind::Schema, CommitKind::Append]);
    assert!(engine.catalog(&who()).await.unwrap().generation > generation);

    assert_eq!(number(&engine, "SELECT count(*) FROM calls WHERE region IS NULL").await, 2);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls WHERE region = 'eu'").await, 1);
    send(&engine, 7..8, None).await.unwrap();
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 4);

    let before =
        engine.session(&who(), &[(name("calls"), AsOf::Version(Version(1)))]).await.unwrap();
    assert!(before.sql("SELECT region FROM calls").await.is_err());
    let entry = engine.catalog(&who()).await.unwrap().datasets[&name("calls")].clone();
    assert_eq!(entry.rows, Some(4));
    assert!(entry.spec.column("region").is_some_and(|c| c.nullable));
}

#[tokio::test]
async fn a_dataset_with_fixed_columns_refuses_them() {
    let engine = Engine::open(options("memory:")).await.unwrap();
    let mut fixed = calls();
    fixed.evolution = datasets::Evolution::Fixed;
    engine.create_dataset(&who(), fixed).await.unwrap();
    let text = "{\"id\": 5, \"at\": \"2026-01-05\", \"region\": \"eu\"}";
    assert_eq!(body(&engine, text).await.unwrap().quarantined, 1);
    let region: ArrayRef = Arc::new(StringArray::from(vec!["eu", "us"]));
    let mut columns = vec![("region", region)];
    let known = rows(0..2);
    let known = ["id", "at"].map(|n| (n, Arc::clone(known.column_by_name(n).unwrap())));
    columns.extend(known);
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let request = IngestRequest { rows: IngestRows::Batches(vec![batch]), producer: None };
    let refused = engine.ingest(&who(), &name("calls"), request).await.unwrap_err();
    assert_eq!(refused.code(), Code::BadInput);
    assert!(refused.to_string().contains("region"), "{refused}");
}

#[tokio::test]
async fn ensuring_adds_columns_and_never_changes_one() {
    let engine = engine().await;
    let mut wanted = calls();
    let mut column = wanted.columns[2].clone();
    column.name = "region".to_owned();
    wanted.columns.push(column);
    let entry = engine.ensure_dataset(&who(), &wanted).await.unwrap();
    assert_eq!(entry.version, Version(1));
    assert_eq!(engine.ensure_dataset(&who(), &wanted).await.unwrap().version, Version(1));
    // Fewer columns are fine: the dataset keeps what it has.
    assert_eq!(engine.ensure_dataset(&who(), &calls()).await.unwrap().version, Version(1));

    wanted.columns[4].nullable = false;
    wanted.columns[4].name = "strict".to_owned();
    let refused = engine.ensure_dataset(&who(), &wanted).await.unwrap_err();
    assert_eq!(refused.code(), Code::Conflict);
    assert!(refused.to_string().contains("\"strict\" is not nullable"), "{refused}");
    let mut typed = calls();
    typed.columns[2].data_type = "int64".parse().unwrap();
    let refused = engine.ensure_dataset(&who(), &typed).await.unwrap_err();
    assert!(refused.to_string().contains("\"model\" is text, and int64 was given"), "{refused}");
}

#[tokio::test]
async fn two_who_bring_the_same_column_agree() {
    let engine = engine().await;
    let (a, b) = tokio::join!(
        body(&engine, "{\"id\": 1, \"at\": \"2026-01-05\", \"region\": \"eu\"}"),
        body(&engine, "{\"id\": 2, \"at\": \"2026-01-05\", \"region\": \"us\", \"zone\": 3}"),
    );
    assert_eq!((a.unwrap().accepted, b.unwrap().accepted), (1, 1));
    assert_eq!(number(&engine, "SELECT count(region) + count(zone) FROM calls").await, 3);
}
