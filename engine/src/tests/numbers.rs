//! The numbers under which runs and producers commit.

use super::*;
use crate::WriteMode;

#[tokio::test]
async fn a_commit_with_an_idempotency_is_made_once() {
    let engine = engine().await;
    let labelled = || CommitLabel { idempotency: Some(("run-1".to_owned(), 1)), ..label("job") };
    for again in [false, true] {
        let commit = engine
            .write(&who(), &name("calls"), WriteMode::Append, vec![rows(0..2)], labelled())
            .await;
        assert_eq!(commit.unwrap().duplicate, again);
    }
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 2);
}

/// 90 days after a run its table need not know any more under which number it committed; a producer's number stays, and how far an
/// input was read.
#[tokio::test]
async fn numbers_of_runs_are_kept_for_a_time_and_those_of_producers_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Engine::open(options(folder.path().to_str().unwrap()));
    let engine = open().await.unwrap();
    engine.create_dataset(&who(), calls()).await.unwrap();
    send(&engine, 0..1, sequence("p", 7)).await.unwrap();
    for run in ["old", "new"] {
        let idempotency = Some((run.to_owned(), 1));
        let marks = vec![(format!("{run} read"), 3)];
        let label = CommitLabel { idempotency, marks, ..label("job") };
        let mode = WriteMode::Append;
        engine.write(&who(), &name("calls"), mode, vec![rows(1..2)], label).await.unwrap();
    }
    engine.shutdown().await.unwrap();
    // The first run was long ago.
    let entry = folder.path().join("default/calls/_delta_log/00000000000000000002.json");
    let text = std::fs::read_to_string(&entry).unwrap();
    let aged = text.lines().map(|line| {
        let mut action: serde_json::Value = serde_json::from_str(line).unwrap();
        if let Some(at) = action.pointer_mut("/txn/lastUpdated").filter(|at| !at.is_null()) {
            *at = 1_600_000_000_000_i64.into();
        }
        action.to_string() + "\n"
    });
    std::fs::write(&entry, aged.collect::<String>()).unwrap();
    // The log is too long to be read as a whole.
    let engine = open().await.unwrap();
    for id in 0..250 {
        let rows = vec![rows(id..id + 1)];
        engine.write(&who(), &name("calls"), WriteMode::Append, rows, label("job")).await.unwrap();
    }
    engine.shutdown().await.unwrap();
    let engine = open().await.unwrap();
    let last = async |id: &str| engine.last_number(&who(), &name("calls"), id).await.unwrap();
    for (id, expected) in [
        ("old", None),
        ("new", Some(1)),
        ("old read", Some(3)),
        ("new read", Some(3)),
        ("p", Some(7)),
    ] {
        assert_eq!(last(id).await, expected, "{id}");
    }
    assert!(send(&engine, 0..1, sequence("p", 7)).await.unwrap().duplicate);
    engine.shutdown().await.unwrap();
}
