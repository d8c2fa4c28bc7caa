//! A table whose newest log entries are lost while no engine runs.

use std::path::{Path, PathBuf};

use super::broken::{read, root};
use super::*;
use crate::{AsOf, Code, Examined, FindingKind, Version};

fn entry(table: &Path, version: u64) -> PathBuf {
    table.join(format!("_delta_log/{version:020}.json"))
}

fn mark(table: &Path) -> PathBuf {
    table.join("_newest")
}

fn marked(table: &Path) -> u64 {
    let mark: serde_json::Value =
        serde_json::from_slice(&std::fs::read(mark(table)).unwrap()).unwrap();
    mark["version"].as_u64().unwrap()
}

async fn open(folder: &Path) -> Engine {
    Engine::open(options(folder.to_str().unwrap())).await.unwrap()
}

async fn examine(folder: &Path, repair: bool) -> Examined {
    let engine = open(folder).await;
    let examined = engine.examine(&who(), repair).await.unwrap();
    engine.shutdown().await.unwrap();
    examined.into_iter().find(|table| table.dataset == name("calls")).unwrap()
}

#[tokio::test]
async fn a_table_without_its_newest_entries_accepts_no_commit_before_a_repair() {
    for lost in 1..3 {
        let folder = tempfile::tempdir().unwrap();
        let table = root(folder.path()).await;
        assert_eq!(marked(&table), 2);
        for version in 3 - lost..3 {
            std::fs::remove_file(entry(&table, version)).unwrap();
        }
        let engine = open(folder.path()).await;
        let read = session(&engine).await.sql("SELECT * FROM calls").await.unwrap_err();
        let sent = send(&engine, 50..60, None).await.map(|receipt| receipt.version).unwrap_err();
        for error in [read, sent] {
            assert_eq!(error.code(), Code::StorageUnavailable, "{error}");
            let says = error.to_string();
            assert!(says.contains("dataset calls") && says.contains("version 2 was"), "{says}");
        }
        assert_eq!(engine.unreadable_of(&who()).unwrap(), [name("calls")]);
        engine.shutdown().await.unwrap();
        assert!(!entry(&table, 3 - lost).exists());

        let found = examine(folder.path(), false).await;
        let finding = &found.findings[0];
        assert_eq!((finding.kind, finding.mended), (FindingKind::Damage, false), "{found:?}");
        let range = if lost == 1 { "version 2 was" } else { "versions 1 to 2 were" };
        assert!(finding.found.contains(range), "{found:?}");
        assert!(found.findings.iter().any(|f| f.found.contains("may hold rows that were lost")));
        assert_eq!((found.rows_committed, found.version), (None, Some(2 - lost)));

        assert!(examine(folder.path(), true).await.findings[0].mended);
        let sound = examine(folder.path(), false).await;
        assert!(sound.findings.iter().all(|f| f.kind != FindingKind::Damage), "{sound:?}");
        // The numbers of lost versions are not reused.
        assert_eq!(sound.version, Some(3));
        let engine = open(folder.path()).await;
        let pins = [(name("calls"), AsOf::Version(Version(2)))];
        assert_eq!(engine.session(&who(), &pins).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(send(&engine, 50..60, None).await.unwrap().version, Version(4));
        engine.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn putting_an_entry_back_ends_the_damage() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    let bytes = std::fs::read(entry(&table, 2)).unwrap();
    std::fs::remove_file(entry(&table, 2)).unwrap();
    read(folder.path()).await.unwrap_err();
    std::fs::write(entry(&table, 2), bytes).unwrap();
    assert_eq!(read(folder.path()).await.unwrap(), 190);
}

#[tokio::test]
async fn a_table_works_without_a_mark_or_with_an_invalid_one() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    for text in [None, Some(""), Some("{"), Some(r#"{"table": "another", "version": 900}"#)] {
        match text {
            None => std::fs::remove_file(mark(&table)).unwrap(),
            Some(text) => std::fs::write(mark(&table), text).unwrap(),
        }
        assert_eq!(read(folder.path()).await.unwrap(), 190, "{text:?}");
        assert!(examine(folder.path(), false).await.findings.is_empty(), "{text:?}");
        let engine = open(folder.path()).await;
        engine.catalog(&who()).await.unwrap();
        engine.shutdown().await.unwrap();
        assert_eq!(marked(&table), 2, "{text:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_leaves_a_mark() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_at(folder.path().to_str().unwrap()).await;
    let table = folder.path().join("default/calls");
    for id in 0..20 {
        send(&engine, id..id + 1, None).await.unwrap();
    }
    // Without a shutdown: background tasks write these marks.
    tokio::time::timeout(std::time::Duration::from_secs(20), async {
        while !mark(&table).exists() || marked(&table) < 20 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn the_mark_follows_a_dataset_through_drop_rename_purge_and_creation() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    let renamed = folder.path().join("default/renamed");
    let engine = open(folder.path()).await;
    engine.drop_dataset(&who(), &name("calls")).await.unwrap();
    engine.restore_dataset(&who(), &name("calls")).await.unwrap();
    engine.rename_dataset(&who(), &name("calls"), &name("renamed")).await.unwrap();
    engine.shutdown().await.unwrap();
    assert!(!mark(&table).exists());
    assert_eq!(marked(&renamed), 6);

    let engine = open(folder.path()).await;
    engine.drop_dataset(&who(), &name("renamed")).await.unwrap();
    engine.purge_dataset(&who(), &name("renamed")).await.unwrap();
    let spec = DatasetSpec { name: name("renamed"), ..calls() };
    engine.create_dataset(&who(), spec).await.unwrap();
    engine.shutdown().await.unwrap();
    assert_eq!(marked(&renamed), 0);
    std::fs::remove_file(entry(&renamed, 0)).unwrap();
    // The name is free again, because the folder has neither log entries nor rows.
    let engine = open(folder.path()).await;
    let spec = DatasetSpec { name: name("renamed"), ..calls() };
    engine.create_dataset(&who(), spec).await.unwrap();
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_open_a_table_during_writes_find_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap().to_owned();
    let engine = engine_at(&root).await;
    let writing = tokio::spawn(async move {
        for id in 0..120 {
            send(&engine, id..id + 1, None).await.unwrap();
        }
        engine.shutdown().await.unwrap();
    });
    let mut opened = 0;
    while !writing.is_finished() {
        let reader = EngineOptions { access: Access::ReadOnly, ..options(&root) };
        let reader = Engine::open(reader).await.unwrap();
        let catalog = reader.catalog(&who()).await.unwrap();
        assert!(catalog.unreadable.is_empty(), "{:?}", catalog.unreadable);
        opened += 1;
    }
    writing.await.unwrap();
    assert!(opened > 0);
}

#[tokio::test]
async fn a_process_that_fell_behind_does_not_reuse_a_lost_version() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    let behind = open(folder.path()).await;
    assert_eq!(number(&behind, "SELECT count(*) FROM calls").await, 20);
    let ahead = open(folder.path()).await;
    for id in 20..23 {
        send(&ahead, id..id + 1, None).await.unwrap();
    }
    ahead.shutdown().await.unwrap();
    std::fs::remove_file(entry(&table, 5)).unwrap();
    let refused = send(&behind, 30..31, None).await.map(|receipt| receipt.version).unwrap_err();
    assert_eq!(refused.code(), Code::StorageUnavailable, "{refused}");
    assert!(refused.to_string().contains("version 5 was committed"), "{refused}");
    // A second attempt fails, too.
    send(&behind, 30..31, None).await.unwrap_err();
    assert!(!entry(&table, 5).exists());
    assert_eq!(behind.unreadable_of(&who()).unwrap(), [name("calls")]);
    behind.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_log_that_ends_far_before_its_mark_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    let text = std::fs::read_to_string(mark(&table)).unwrap();
    std::fs::write(mark(&table), text.replace("\"version\":2", "\"version\":5000")).unwrap();
    let found = examine(folder.path(), true).await;
    assert!(found.findings[0].remedy.contains("delete default/calls/_newest"), "{found:?}");
    assert!(!entry(&table, 3).exists());
    std::fs::remove_file(mark(&table)).unwrap();
    assert_eq!(read(folder.path()).await.unwrap(), 190);
}

#[tokio::test]
async fn a_commit_does_not_wait_for_the_mark() {
    use crate::storage::Root;
    use crate::storage::faulty::Faulty;

    let store = Faulty::new();
    let root = || Root::over(Arc::clone(&store) as _);
    let engine = Engine::open_root(root(), options("memory:")).await.unwrap();
    engine.create_dataset(&who(), calls()).await.unwrap();
    while store.count("calls/_newest").await == 0 {
        tokio::task::yield_now().await;
    }
    // The task that writes marks reads the mark first. It stays there until the gate is opened.
    let gate = store.hold("calls/_newest", 0);
    send(&engine, 0..1, None).await.unwrap();
    gate.reached().await;
    for id in 1..3 {
        send(&engine, id..id + 1, None).await.unwrap();
    }
    let mark = async || store.text("default/calls/_newest").await.unwrap();
    assert!(mark().await.contains("\"version\":0"), "{}", mark().await);
    gate.open();
    engine.shutdown().await.unwrap();
    assert!(mark().await.contains("\"version\":3"), "{}", mark().await);
}

#[tokio::test]
async fn without_its_mark_a_table_is_not_opened() {
    use crate::storage::Root;
    use crate::storage::faulty::Faulty;

    let store = Faulty::new();
    let open =
        async || Engine::open_root(Root::over(Arc::clone(&store) as _), options("memory:")).await;
    let engine = open().await.unwrap();
    engine.create_dataset(&who(), calls()).await.unwrap();
    engine.shutdown().await.unwrap();
    store.unreadable(Some("calls/_newest"));
    let engine = open().await.unwrap();
    let refused = send(&engine, 0..1, None).await.map(|receipt| receipt.version).unwrap_err();
    assert_eq!(refused.code(), Code::StorageUnavailable, "{refused}");
    store.unreadable(None);
    assert_eq!(send(&engine, 0..1, None).await.unwrap().version, Version(1));
}
