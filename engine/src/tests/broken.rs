//! Tables whose files are damaged: an error that says so, and everything else goes on.

use std::path::{Path, PathBuf};

use super::*;
use crate::{Code, WriteMode};

/// A root with the datasets `calls`, of three commits, and `sound`.
pub(super) async fn root(folder: &Path) -> PathBuf {
    let engine = Engine::open(options(folder.to_str().unwrap())).await.unwrap();
    engine.create_dataset(&who(), calls()).await.unwrap();
    let mut sound = calls();
    sound.name = name("sound");
    engine.create_dataset(&who(), sound).await.unwrap();
    for i in 0..2 {
        send(&engine, i * 10..(i + 1) * 10, None).await.unwrap();
    }
    engine.shutdown().await.unwrap();
    folder.join("default/calls")
}

pub(super) async fn read(folder: &Path) -> Result<i64> {
    let engine = Engine::open(options(folder.to_str().unwrap())).await.unwrap();
    // The other dataset is not touched by any of this.
    assert_eq!(number(&engine, "SELECT count(*) FROM sound").await, 0);
    let session = session(&engine).await;
    let frame = session.sql("SELECT sum(id) AS n FROM calls").await?;
    let batches = session.collect(frame).await?;
    let column = batches[0].column(0);
    Ok(column.as_any().downcast_ref::<Int64Array>().unwrap().value(0))
}

pub(super) fn data_file(table: &Path) -> PathBuf {
    data_files(table).remove(0)
}

pub(super) fn data_files(table: &Path) -> Vec<PathBuf> {
    let inside = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let is_month = |p: &PathBuf| p.file_name().unwrap().to_str().unwrap().starts_with("at_month");
    inside(table).filter(is_month).flat_map(|month| inside(&month)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_an_error_and_not_an_end() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 13] = [
        ("an entry that is not JSON", |table| {
            std::fs::write(table.join("_delta_log/00000000000000000001.json"), "{{{").unwrap();
        }),
        ("an entry that is cut off", |table| {
            let path = table.join("_delta_log/00000000000000000001.json");
            let text = std::fs::read(&path).unwrap();
            std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        }),
        ("an entry of other JSON", |table| {
            let path = table.join("_delta_log/00000000000000000001.json");
            std::fs::write(path, "{\"add\": {\"path\": 7}}\n[1, 2]\n").unwrap();
        }),
        ("a missing entry", |table| {
            std::fs::remove_file(table.join("_delta_log/00000000000000000001.json")).unwrap();
        }),
        ("a missing first entry", |table| {
            std::fs::remove_file(table.join("_delta_log/00000000000000000000.json")).unwrap();
        }),
        ("an empty entry", |table| {
            std::fs::write(table.join("_delta_log/00000000000000000001.json"), "").unwrap();
        }),
        ("an empty last entry", |table| {
            std::fs::write(table.join("_delta_log/00000000000000000002.json"), "").unwrap();
        }),
        ("a last entry that is cut off", |table| {
            let path = table.join("_delta_log/00000000000000000002.json");
            let text = std::fs::read(&path).unwrap();
            std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        }),
        ("a last entry that is cut off between two actions", |table| {
            let path = table.join("_delta_log/00000000000000000002.json");
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text.lines().next().unwrap()).unwrap();
        }),
        ("a first entry without metadata", |table| {
            std::fs::write(table.join("_delta_log/00000000000000000000.json"), "{}").unwrap();
        }),
        ("a spec that is none", |table| {
            let path = table.join("_delta_log/00000000000000000000.json");
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text.replace("evolution", "evolutoin")).unwrap();
        }),
        ("a missing data file", |table| std::fs::remove_file(data_file(table)).unwrap()),
        ("a data file that is cut off", |table| {
            let path = data_file(table);
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let folder = tempfile::tempdir().unwrap();
        let table = root(folder.path()).await;
        assert_eq!(read(folder.path()).await.unwrap(), 190);
        damage(&table);
        let error = match read(folder.path()).await {
            Ok(sum) => panic!("{what}: read as {sum}"),
            Err(e) => e,
        };
        assert_ne!(error.code(), Code::Internal, "{what}: {}", error.detail());
        // Nothing is taken on top of what can not be read; the catalogue knows why.
        if what.contains("entry") {
            assert_eq!(error.code(), Code::StorageUnavailable, "{what}: {error}");
            let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
            let sent = send(&engine, 50..60, None).await.map(|receipt| receipt.version);
            assert_eq!(sent.unwrap_err().code(), Code::StorageUnavailable, "{what}");
            let catalog = engine.catalog(&who()).await.unwrap();
            assert!(catalog.unreadable.contains_key(&name("calls")), "{what}");
        }
        let message = error.to_string();
        assert!(message.contains("calls"), "{what}: {message}");
        let advice = message.matches("; `colonnade doctor` says w").count();
        assert_eq!(advice, usize::from(what != "a spec that is none"), "{what}: {message}");
        assert!(!message.contains(folder.path().to_str().unwrap()), "{what}: {message}");
    }
}

#[tokio::test]
async fn nothing_is_committed_on_an_entry_that_was_damaged_since() {
    type Damage = fn(&Path);
    let damages: [Damage; 3] = [
        |entry| std::fs::write(entry, "").unwrap(),
        |entry| std::fs::remove_file(entry).unwrap(),
        |entry| {
            let bytes = std::fs::read(entry).unwrap();
            std::fs::write(entry, &bytes[..bytes.len() / 2]).unwrap();
        },
    ];
    for (made_here, damage) in
        damages.into_iter().flat_map(|damage| [(true, damage), (false, damage)])
    {
        let folder = tempfile::tempdir().unwrap();
        let table = root(folder.path()).await;
        let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
        // Of a commit of this process, and of one that it read.
        match made_here {
            true => drop(send(&engine, 20..21, sequence("p", 0)).await.unwrap()),
            false => drop(engine.catalog(&who()).await.unwrap()),
        }
        let newest = if made_here { 3 } else { 2 };
        let entry = |version| table.join(format!("_delta_log/{version:020}.json"));
        damage(&entry(newest));
        let refused = send(&engine, 50..60, sequence("p", 1)).await.unwrap_err();
        assert_eq!(refused.code(), Code::StorageUnavailable, "{refused}");
        let says = format!("dataset calls: version {newest} of the table's log was damaged");
        assert!(refused.to_string().contains(&says), "{refused}");
        assert!(!entry(newest + 1).exists());
    }
}

#[tokio::test]
async fn no_empty_dataset_is_made_over_rows_that_lost_their_log() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    std::fs::remove_dir_all(table.join("_delta_log")).unwrap();
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    let read = session(&engine).await.sql("SELECT * FROM calls").await.unwrap_err();
    for refused in [read, engine.create_dataset(&who(), calls()).await.unwrap_err()] {
        assert_eq!(refused.code(), Code::StorageUnavailable);
        let says = "default/calls has data files and no log";
        assert!(refused.to_string().contains(says), "{refused}");
    }
    assert_eq!(engine.unreadable(), 1);
    assert!(!table.join("_delta_log").exists());
}

#[tokio::test]
async fn rows_that_clients_once_sent_under_a_kept_name_are_not_taken_for_ours() {
    let root = "memory:forged-rows";
    let engine = Engine::open(options(root)).await.unwrap();
    for (dataset, operation) in [("runs", "ingest"), ("models", "run")] {
        // As an older version made it, which had no word for who writes rows.
        let spec = DatasetSpec { name: name(dataset), ..calls() };
        engine.lake().find_or_create(&who(), &spec).await.unwrap();
        let label = label(operation);
        engine.write(&who(), &spec.name, WriteMode::Append, rows(0..3), label).await.unwrap();
    }
    let again = Engine::open(options(root)).await.unwrap();
    let catalog = again.catalog(&who()).await.unwrap();
    assert!(catalog.datasets.contains_key(&name("models")));
    let reason = catalog.unreadable[&name("runs")].to_string();
    assert!(reason.contains("rows that a client sent (version 1, \"ingest\")"), "{reason}");
    let wanted = DatasetSpec { name: name("runs"), derived: true, ..calls() };
    let refused = again.ensure_derived(&who(), &wanted).await.unwrap_err();
    assert_eq!(refused.code(), Code::Conflict);
    let examined = again.examine(&who(), false).await.unwrap();
    let runs = examined.iter().find(|table| table.dataset == name("runs")).unwrap();
    assert!(runs.findings[0].found.contains("that a client sent"), "{:?}", runs.findings);
    let models = examined.iter().find(|table| table.dataset == name("models")).unwrap();
    assert!(models.findings.is_empty(), "{:?}", models.findings);
}

#[tokio::test]
async fn no_checkpoint_is_made_over_a_log_that_is_not_whole() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    let entry = table.join("_delta_log/00000000000000000010.json");
    for id in 0..96 {
        send(&engine, id..id + 1, None).await.unwrap();
    }
    let whole = std::fs::read(&entry).unwrap();
    std::fs::write(&entry, "").unwrap();
    send(&engine, 96..97, None).await.unwrap();
    engine.lake().settle().await;
    // Known now, until it is mended.
    let refused = send(&engine, 97..98, None).await.unwrap_err();
    assert_eq!(refused.code(), Code::StorageUnavailable);
    assert!(refused.to_string().contains("version 10 is empty"), "{refused}");
    assert_eq!(engine.unreadable(), 1);
    std::fs::write(&entry, whole).unwrap();
    send(&engine, 97..98, None).await.unwrap();
    assert_eq!(engine.unreadable(), 0);
    engine.shutdown().await.unwrap();
    assert!(table.join("_delta_log/00000000000000000099.json").exists());
    assert!(!table.join("_delta_log/00000000000000000099.checkpoint.parquet").exists());
}

/// One row that fits, and one that does not.
fn mixed(number: i64) -> IngestRequest {
    let text = format!("{{\"id\": {number}, \"at\": \"2026-01-01T00:00:00Z\"}}\n{{\"id\": \"x\"}}");
    IngestRequest { rows: ndjson(&text), producer: sequence("p", number) }
}

#[tokio::test]
async fn a_request_that_is_refused_leaves_nothing_in_the_quarantine() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    engine.ingest(&who(), &name("calls"), mixed(0)).await.unwrap();
    std::fs::write(table.join("_delta_log/00000000000000000003.json"), "").unwrap();
    for number in 1..3 {
        let request = IngestRequest { producer: None, ..mixed(number) };
        engine.ingest(&who(), &name("calls"), request).await.unwrap_err();
    }
    assert_eq!(number(&engine, "SELECT count(*) FROM calls_quarantine").await, 1);
}

#[tokio::test]
async fn rows_that_fit_are_taken_beside_a_damaged_quarantine() {
    let folder = tempfile::tempdir().unwrap();
    root(folder.path()).await;
    let open = async || Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    let engine = open().await;
    engine.ingest(&who(), &name("calls"), mixed(0)).await.unwrap();
    engine.shutdown().await.unwrap();
    let quarantine = folder.path().join("default").join(name("calls").quarantine().as_str());
    std::fs::write(quarantine.join("_delta_log/00000000000000000000.json"), "{").unwrap();
    let engine = open().await;
    engine.ingest(&who(), &name("calls"), mixed(1)).await.unwrap_err();
    let text = r#"{"id": 1, "at": "2026-01-01T00:00:00Z"}"#;
    let request = IngestRequest { rows: ndjson(text), producer: sequence("p", 1) };
    assert_eq!(engine.ingest(&who(), &name("calls"), request).await.unwrap().accepted, 1);
    engine.shutdown().await.unwrap();
}
