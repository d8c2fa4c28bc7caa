//! Datasets that are dropped, restored and purged.

use super::*;
use crate::{Code, Version};

async fn bad_row(engine: &Engine) {
    let request = IngestRequest { rows: ndjson("{\"id\": \"x\"}"), producer: None };
    engine.ingest(&who(), &name("calls"), request).await.unwrap();
}

#[tokio::test]
async fn a_dropped_dataset_is_told_to_be_and_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let engine = engine_at(root).await;
    send(&engine, 0..5, sequence("p", 1)).await.unwrap();
    bad_row(&engine).await;
    let before = engine.catalog(&who()).await.unwrap();
    assert_eq!(engine.drop_dataset(&who(), &name("calls")).await.unwrap(), Version(2));

    let says = |error: crate::Error, code: Code| {
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains("colonnade restore calls`"), "{error}");
    };
    let catalog = engine.catalog(&who()).await.unwrap();
    assert!(catalog.datasets.is_empty() && catalog.generation > before.generation);
    assert_eq!(
        catalog.dropped.keys().map(DatasetName::as_str).collect::<Vec<_>>(),
        ["calls", "calls_quarantine"]
    );
    says(send(&engine, 5..6, None).await.unwrap_err(), Code::NotFound);
    says(engine.history(&who(), &name("calls"), 1).await.unwrap_err(), Code::NotFound);
    says(engine.create_dataset(&who(), calls()).await.unwrap_err(), Code::Conflict);
    says(engine.drop_dataset(&who(), &name("calls")).await.unwrap_err(), Code::NotFound);
    let session = session(&engine).await;
    says(session.sql("SELECT * FROM calls").await.unwrap_err(), Code::NotFound);
    // To another process, too.
    engine.shutdown().await.unwrap();
    let engine = Engine::open(options(root)).await.unwrap();
    says(send(&engine, 5..6, None).await.unwrap_err(), Code::NotFound);

    let entry = engine.restore_dataset(&who(), &name("calls")).await.unwrap();
    assert_eq!((entry.rows, entry.version), (Some(5), Version(3)));
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 5);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls_quarantine").await, 1);
    assert!(send(&engine, 0..5, sequence("p", 1)).await.unwrap().duplicate);
    send(&engine, 5..6, None).await.unwrap();
    let operations: Vec<String> = engine
        .history(&who(), &name("calls"), 10)
        .await
        .unwrap()
        .into_iter()
        .map(|commit| commit.operation)
        .collect();
    assert_eq!(operations, ["ingest", "restore", "drop", "ingest", "create"]);
    // What changed is the row that came, and nothing else.
    let changes = engine.changes(&who(), &name("calls"), Version(1), Version(4)).await.unwrap();
    let added = super::session(&engine).await.collect(changes.added).await.unwrap();
    assert_eq!(added.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    // One that is there is as it is.
    assert_eq!(engine.restore_dataset(&who(), &name("calls")).await.unwrap().version, Version(4));
}

#[tokio::test]
async fn a_process_beside_another_has_what_that_one_did() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let server = Engine::open(options(root)).await.unwrap();
    let other = Engine::open(options(root)).await.unwrap();
    server.create_dataset(&who(), calls()).await.unwrap();
    send(&server, 0..3, None).await.unwrap();
    send(&other, 3..5, None).await.unwrap();
    let rows = async || {
        server.lake().look_for_others().await;
        let catalog = server.catalog(&who()).await.unwrap();
        catalog.datasets.get(&name("calls")).map(|entry| entry.rows)
    };
    assert_eq!(rows().await, Some(Some(5)));
    other.drop_dataset(&who(), &name("calls")).await.unwrap();
    assert_eq!(rows().await, None);
    assert!(server.catalog(&who()).await.unwrap().dropped.contains_key(&name("calls")));
    assert!(send(&server, 9..10, None).await.is_err());
    other.restore_dataset(&who(), &name("calls")).await.unwrap();
    assert_eq!(rows().await, Some(Some(5)));
    // One that was purged and made anew meanwhile is another.
    other.drop_dataset(&who(), &name("calls")).await.unwrap();
    assert_eq!(rows().await, None);
    other.purge_dataset(&who(), &name("calls")).await.unwrap();
    other.create_dataset(&who(), calls()).await.unwrap();
    send(&other, 0..1, None).await.unwrap();
    assert_eq!(rows().await, Some(Some(1)));
}

/// A dataset is taken back that was made for a file which failed: whoever saw it takes no other for it.
#[tokio::test]
async fn what_was_taken_back_is_not_taken_for_another_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let server = Engine::open(options(root)).await.unwrap();
    let other = Engine::open(options(root)).await.unwrap();
    assert!(server.catalog(&who()).await.unwrap().datasets.is_empty());
    let spec = r#"{"name": "calls", "partition_by": [{"column": "place"}],
        "columns": [{"name": "id", "type": "int64"}, {"name": "place", "type": "text"}]}"#;
    let spec = DatasetSpec::from_json(spec).unwrap();
    let line = |id: i64| ndjson(&format!("{{\"id\": {id}, \"place\": \"Bonn\"}}"));
    let sends = async |engine: &Engine, id| {
        let request = IngestRequest { rows: line(id), producer: None };
        engine.ingest(&who(), &name("calls"), request).await
    };
    let catalog = async || {
        server.lake().look_for_others().await;
        server.catalog(&who()).await.unwrap()
    };
    for round in 0..3 {
        other.create_dataset(&who(), calls()).await.unwrap();
        assert!(catalog().await.datasets.contains_key(&name("calls")));
        let late = Late::new(&server, 0..1).await;
        other.lake().unmake(&who(), &name("calls")).await.unwrap();
        if round == 0 {
            // Nobody told of it.
            let gone = send(&server, 0..1, None).await.unwrap_err();
            assert_eq!(gone.code(), Code::NotFound);
            assert!(gone.to_string().contains("is gone"), "{gone}");
        }
        if round == 1 {
            let there = catalog().await;
            assert!(there.datasets.is_empty() && there.dropped.is_empty(), "{there:?}");
            let gone = server.restore_dataset(&who(), &name("calls")).await.unwrap_err();
            assert!(gone.to_string().contains("does not exist"), "{gone}");
        }
        other.ensure_dataset(&who(), &spec).await.unwrap();
        sends(&other, 1).await.unwrap();
        let refused = if round == 2 { Code::Conflict } else { Code::NotFound };
        assert_eq!(late.commit(&server).await.unwrap_err().code(), refused);
        assert_eq!(sends(&server, 2).await.unwrap().accepted, 1);
        other.lake().look_for_others().await;
        let rows = "SELECT count(*) FROM calls WHERE place = 'Bonn'";
        assert_eq!((number(&server, rows).await, number(&other, rows).await), (2, 2));
        let fresh = Engine::open(options(root)).await.unwrap();
        assert_eq!(number(&fresh, rows).await, 2);
        // With rows it stays.
        other.lake().unmake(&who(), &name("calls")).await.unwrap();
        assert_eq!(number(&other, rows).await, 2);
        other.drop_dataset(&who(), &name("calls")).await.unwrap();
        assert!(catalog().await.dropped.contains_key(&name("calls")));
        other.purge_dataset(&who(), &name("calls")).await.unwrap();
        assert!(catalog().await.dropped.is_empty());
    }
}

#[tokio::test]
async fn a_dataset_with_rows_is_not_taken_back() {
    let engine = engine().await;
    send(&engine, 0..3, None).await.unwrap();
    engine.lake().unmake(&who(), &name("calls")).await.unwrap();
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 3);
}

#[tokio::test]
async fn rows_on_their_way_do_not_get_into_a_dropped_dataset() {
    let engine = engine().await;
    let late = Late::new(&engine, 5..6).await;
    engine.drop_dataset(&who(), &name("calls")).await.unwrap();
    let error = late.commit(&engine).await.unwrap_err();
    assert!(error.to_string().contains("was dropped at"), "{error}");
}

#[tokio::test]
async fn what_is_purged_makes_room_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let engine = engine_at(root).await;
    send(&engine, 0..5, sequence("p", 1)).await.unwrap();
    bad_row(&engine).await;
    let error = engine.purge_dataset(&who(), &name("calls")).await.unwrap_err();
    assert_eq!(error.code(), Code::Conflict);
    assert!(error.to_string().contains("is not dropped"), "{error}");
    engine.drop_dataset(&who(), &name("calls")).await.unwrap();
    // What was begun can be ended: here the beginning of the log is gone.
    let log = folder.path().join("default/calls/_delta_log");
    std::fs::remove_file(log.join("00000000000000000000.json")).unwrap();
    engine.shutdown().await.unwrap();
    let engine = Engine::open(options(root)).await.unwrap();
    assert!(engine.purge_dataset(&who(), &name("calls")).await.unwrap() > 4);
    assert_eq!(std::fs::read_dir(&log).unwrap().count(), 0);
    let catalog = engine.catalog(&who()).await.unwrap();
    assert!(catalog.dropped.is_empty() && catalog.unreadable.is_empty(), "{catalog:?}");
    let error = engine.purge_dataset(&who(), &name("calls")).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    engine.create_dataset(&who(), calls()).await.unwrap();
    assert!(!send(&engine, 0..2, sequence("p", 1)).await.unwrap().duplicate);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 2);
}

#[tokio::test]
async fn a_renamed_dataset_has_its_rows_and_versions_under_another_name() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().to_str().unwrap().to_owned();
    for root in ["memory:", &disk] {
        let engine = engine_at(root).await;
        send(&engine, 0..40, sequence("p", 1)).await.unwrap();
        send(&engine, 40..45, sequence("p", 2)).await.unwrap();
        bad_row(&engine).await;
        let (from, to) = (name("calls"), name("renamed"));
        let version = engine.rename_dataset(&who(), &from, &to).await.unwrap();
        assert_eq!(version, Version(4));
        let catalog = engine.catalog(&who()).await.unwrap();
        let names: Vec<&str> = catalog.datasets.keys().map(DatasetName::as_str).collect();
        assert_eq!(names, ["renamed", "renamed_quarantine"]);
        assert!(catalog.dropped.is_empty() && catalog.unreadable.is_empty());
        assert_eq!(number(&engine, "SELECT sum(id) FROM renamed").await, 990);
        assert_eq!(number(&engine, "SELECT count(*) FROM renamed_quarantine").await, 1);
        let then = engine.session(&who(), &[(to.clone(), crate::AsOf::Version(Version(1)))]).await;
        let then = then.unwrap();
        let frame = then.sql("SELECT count(*) FROM renamed").await.unwrap();
        assert!(table(&then.collect(frame).await.unwrap()).contains("| 40 "));
        // What a producer sent is known, and what it sends comes.
        let again = IngestRows::Batches(vec![rows(40..45)]);
        let request = IngestRequest { rows: again, producer: sequence("p", 2) };
        assert!(engine.ingest(&who(), &to, request).await.unwrap().duplicate);
        let next = IngestRows::Batches(vec![rows(45..46)]);
        let request = IngestRequest { rows: next, producer: sequence("p", 3) };
        engine.ingest(&who(), &to, request).await.unwrap();
        assert_eq!(number(&engine, "SELECT count(*) FROM renamed").await, 46);
        let gone = send(&engine, 0..1, None).await.unwrap_err();
        assert_eq!(gone.code(), Code::NotFound);
        // Its old name is free.
        engine.create_dataset(&who(), calls()).await.unwrap();
        let taken = engine.rename_dataset(&who(), &from, &to).await.unwrap_err();
        assert_eq!(taken.code(), Code::Conflict);
        assert!(taken.to_string().contains("there are files of that name"), "{taken}");
        let kept = engine.rename_dataset(&who(), &from, &name("runs")).await.unwrap_err();
        assert_eq!(kept.code(), Code::Forbidden);
        assert!(engine.catalog(&who()).await.unwrap().datasets.contains_key(&from));
    }
}

#[tokio::test]
async fn what_colonnade_needs_is_not_dropped() {
    let engine = engine().await;
    bad_row(&engine).await;
    let error = engine.drop_dataset(&who(), &name("calls_quarantine")).await.unwrap_err();
    assert_eq!(error.code(), Code::Forbidden);
    assert!(error.to_string().contains("with its dataset"), "{error}");
    let error = engine.drop_dataset(&who(), &name("cals")).await.unwrap_err();
    assert!(error.to_string().contains("did you mean calls"), "{error}");
    let reader = Principal { roles: vec![crate::Role::Reader], ..who() };
    let error = engine.drop_dataset(&reader, &name("calls")).await.unwrap_err();
    assert_eq!(error.code(), Code::Forbidden);
    let writer = Principal { roles: vec![crate::Role::Writer], ..who() };
    engine.drop_dataset(&writer, &name("calls")).await.unwrap();
    let error = engine.purge_dataset(&writer, &name("calls")).await.unwrap_err();
    assert_eq!(error.code(), Code::Forbidden);
}

#[tokio::test]
async fn whoever_may_not_change_a_dataset_may_not_drop_or_restore_it() {
    let engine = engine().await;
    let reader = Principal { roles: vec![crate::Role::Reader], ..who() };
    let writer = Principal { roles: vec![crate::Role::Writer], ..who() };
    let refused = |error: crate::Error| assert_eq!(error.code(), Code::Forbidden, "{error}");
    refused(engine.drop_dataset(&reader, &name("calls")).await.unwrap_err());
    engine.drop_dataset(&writer, &name("calls")).await.unwrap();
    refused(engine.restore_dataset(&reader, &name("calls")).await.unwrap_err());
    // What is done for good, or to all who have the root, is for who has it.
    refused(engine.purge_dataset(&writer, &name("calls")).await.unwrap_err());
    engine.restore_dataset(&writer, &name("calls")).await.unwrap();
    refused(engine.rename_dataset(&writer, &name("calls"), &name("others")).await.unwrap_err());
}

#[tokio::test]
async fn what_is_dropped_is_not_put_together() {
    let engine = engine().await;
    for id in 0..3 {
        send(&engine, id..id + 1, None).await.unwrap();
    }
    engine.drop_dataset(&who(), &name("calls")).await.unwrap();
    let error = engine.compact(&who(), &name("calls")).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound, "{error}");
    let entry = engine.restore_dataset(&who(), &name("calls")).await.unwrap();
    assert_eq!((entry.version, entry.rows), (Version(5), Some(3)));
}
