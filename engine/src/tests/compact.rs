//! Small files that are put together, beside others who commit and read.

use std::collections::BTreeMap;

use datafusion::logical_expr::{col, lit};

use super::*;
use crate::{
    AsOf, Code, Coming, CommitKind, Compacted, Going, Layout, Revision, RowOrder, Version,
    WriteMode,
};

async fn compact(engine: &Engine) -> Compacted {
    engine.compact(&who(), &name("calls")).await.unwrap()
}

async fn append(engine: &Engine, ids: std::ops::Range<i64>) -> Version {
    let (batches, label) = (vec![rows(ids)], label("a test"));
    let appended = engine.write(&who(), &name("calls"), WriteMode::Append, batches, label).await;
    appended.unwrap().version
}

async fn ids_of(engine: &Engine, frame: datafusion::dataframe::DataFrame) -> BTreeMap<i64, usize> {
    let mut ids = BTreeMap::new();
    for batch in session(engine).await.collect(frame).await.unwrap() {
        let column = batch.column_by_name("id").unwrap();
        for id in column.as_any().downcast_ref::<Int64Array>().unwrap().values() {
            *ids.entry(*id).or_default() += 1;
        }
    }
    ids
}

async fn there(engine: &Engine) -> BTreeMap<i64, usize> {
    let session = session(engine).await;
    let frame = session.sql("SELECT id FROM calls").await.unwrap();
    ids_of(engine, frame).await
}

fn once(ids: std::ops::Range<i64>) -> BTreeMap<i64, usize> {
    ids.map(|id| (id, 1)).collect()
}

async fn files(engine: &Engine) -> u64 {
    engine.catalog(&who()).await.unwrap().datasets[&name("calls")].files
}

#[tokio::test]
async fn files_become_one_a_partition_and_rows_stay() {
    let engine = engine().await;
    // January has three files, February two, March one.
    for ids in [0..5, 5..20, 20..40, 40..62] {
        append(&engine, ids).await;
    }
    assert_eq!(files(&engine).await, 6);
    let mut news = engine.commits().subscribe();
    let made = compact(&engine).await;
    assert_eq!((made.removed, made.added, made.version), (5, 2, Version(5)));
    let event = news.recv().await.unwrap();
    assert_eq!((event.kind, event.rows_added), (CommitKind::Compact, 0));
    assert_eq!(files(&engine).await, 3);
    assert_eq!(engine.catalog(&who()).await.unwrap().datasets[&name("calls")].rows, Some(62));
    assert_eq!(there(&engine).await, once(0..62));
    let newest = engine.history(&who(), &name("calls"), 1).await.unwrap().remove(0);
    assert_eq!((newest.operation.as_str(), newest.rows_added), ("compact", Some(0)));
    // An older version has its files.
    let old = engine.session(&who(), &[(name("calls"), AsOf::Version(Version(2)))]).await.unwrap();
    let frame = old.sql("SELECT id FROM calls").await.unwrap();
    assert_eq!(ids_of(&engine, frame).await, once(0..20));
    // There is nothing more to do.
    let again = compact(&engine).await;
    assert_eq!((again.removed, again.added, again.version), (0, 0, Version(5)));
}

#[tokio::test]
async fn rows_lie_in_the_order_and_files_have_the_size_that_is_asked_for() {
    for order in [RowOrder::Key, RowOrder::Time] {
        let engine = Engine::open(options("memory:")).await.unwrap();
        // Where there is no key, time alone says it.
        let key = match order {
            RowOrder::Time => Vec::new(),
            _ => calls().key,
        };
        let spec = DatasetSpec { partition_by: Vec::new(), key, ..calls() };
        engine.create_dataset(&who(), spec).await.unwrap();
        for ids in [40..60, 0..20, 60..80, 20..40] {
            append(&engine, ids).await;
        }
        let dataset = name("calls");
        let bytes = engine.catalog(&who()).await.unwrap().datasets[&dataset].bytes;
        let small = Layout { file_bytes: bytes / 4, order };
        let left = engine.compact_as(&who(), &dataset, small).await.unwrap();
        assert_eq!(left.removed, 0, "a file of a quarter of the size is large");
        let layout = Layout { order, ..Layout::default() };
        let made = engine.compact_as(&who(), &dataset, layout).await.unwrap();
        assert_eq!((made.removed, made.added, made.rows), (4, 1, 80));
        let session = session(&engine).await.in_order();
        let frame = session.sql("SELECT id FROM calls").await.unwrap();
        let mut found = Vec::new();
        for batch in session.collect(frame).await.unwrap() {
            let column = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap().clone();
            found.extend(column.values().iter().copied());
        }
        assert_eq!(found, (0..80).collect::<Vec<i64>>(), "{order:?}");
        // What is in order stays so, as one file that is left as it is.
        assert_eq!(engine.compact_as(&who(), &dataset, layout).await.unwrap().removed, 0);
        append(&engine, 80..90).await;
        assert_eq!(engine.compact_as(&who(), &dataset, layout).await.unwrap().removed, 2);
        assert_eq!(there(&engine).await, once(0..90));
    }
}

#[tokio::test]
async fn files_that_say_nothing_of_their_rows_are_written_with_statistics() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap().to_owned();
    let engine = engine_at(&root).await;
    append(&engine, 0..40).await;
    engine.shutdown().await.unwrap();
    drop(engine);
    // As a writer leaves it that keeps none.
    let entry = folder.path().join("default/calls/_delta_log/00000000000000000001.json");
    let mut without = String::new();
    for line in std::fs::read_to_string(&entry).unwrap().lines() {
        let mut action: serde_json::Value = serde_json::from_str(line).unwrap();
        if let Some(add) = action.get_mut("add").and_then(|add| add.as_object_mut()) {
            assert!(add.remove("stats").is_some());
        }
        without.push_str(&format!("{action}\n"));
    }
    std::fs::write(&entry, without).unwrap();
    let engine = Engine::open(options(&root)).await.unwrap();
    let rows = async || engine.catalog(&who()).await.unwrap().datasets[&name("calls")].rows;
    assert_eq!(rows().await, None);
    let made = compact(&engine).await;
    assert_eq!((made.removed, made.added, made.rows), (2, 2, 40), "one of each month");
    assert_eq!(rows().await, Some(40));
    assert_eq!(there(&engine).await, once(0..40));
    assert_eq!(compact(&engine).await.removed, 0);
}

#[tokio::test]
async fn it_is_no_change_for_who_follows() {
    let engine = engine().await;
    for id in 0..4 {
        append(&engine, id..id + 1).await;
    }
    assert_eq!(compact(&engine).await.version, Version(5));
    append(&engine, 4..5).await;
    let changes = async |from, to| {
        engine.changes(&who(), &name("calls"), Version(from), Version(to)).await.unwrap()
    };
    let none = changes(4, 5).await;
    assert_eq!((none.commits, ids_of(&engine, none.added).await.len()), (0, 0));
    assert!(ids_of(&engine, none.removed).await.is_empty());
    // Rows that came before it and after it, each once, and none that went.
    let net = changes(2, 6).await;
    assert_eq!(net.commits, 3);
    assert_eq!(ids_of(&engine, net.added).await, once(2..5));
    assert!(ids_of(&engine, net.removed).await.is_empty());
    // Also where one went, out of a file that was put together.
    let one = Revision { going: Going::Where(col("id").eq(lit(3))), coming: Coming::Nothing };
    engine.revise(&who(), &name("calls"), one, label("a test")).await.unwrap();
    let net = changes(1, 7).await;
    assert_eq!(ids_of(&engine, net.added).await, [(1, 1), (2, 1), (4, 1)].into());
    let net = changes(4, 7).await;
    assert_eq!(ids_of(&engine, net.added).await, once(4..5));
    assert_eq!(ids_of(&engine, net.removed).await, once(3..4));
}

#[tokio::test]
async fn what_a_commit_made_still_stands_after_it_and_not_after_a_change() {
    let engine = engine().await;
    let first = append(&engine, 0..3).await;
    append(&engine, 3..6).await;
    let is_as_made = async || engine.is_as_made(&who(), &name("calls"), first).await.unwrap();
    compact(&engine).await;
    append(&engine, 6..7).await;
    compact(&engine).await;
    assert!(is_as_made().await);
    let one = Revision { going: Going::Where(col("id").eq(lit(1))), coming: Coming::Nothing };
    engine.revise(&who(), &name("calls"), one, label("a test")).await.unwrap();
    assert!(!is_as_made().await, "a row of it went, in a file that it had not made");
}

#[tokio::test]
async fn a_change_after_it_is_told_by_the_files_that_changed() {
    let engine = engine().await;
    for id in 0..4 {
        append(&engine, id..id + 1).await;
    }
    compact(&engine).await;
    append(&engine, 40..42).await;
    let one = Revision { going: Going::Where(col("id").eq(lit(41))), coming: Coming::Nothing };
    engine.revise(&who(), &name("calls"), one, label("a test")).await.unwrap();
    append(&engine, 43..44).await;
    compact(&engine).await;
    // From before the first to after the last: what was put together before is the same at either end, and not looked at.
    let tenant = who().tenant;
    let files = engine.lake().file_changes(&tenant, &name("calls"), Version(4), Version(9)).await;
    let files = files.unwrap();
    assert_eq!((files.added.len(), files.removed.is_none(), files.commits), (2, true, 3));
    let net = engine.changes(&who(), &name("calls"), Version(4), Version(9)).await.unwrap();
    assert_eq!(ids_of(&engine, net.added).await, [(40, 1), (43, 1)].into());
}

#[tokio::test]
async fn rows_that_follow_from_a_version_may_come_after_it() {
    let engine = engine().await;
    append(&engine, 0..3).await;
    let read = append(&engine, 3..6).await;
    compact(&engine).await;
    let after = async |ids| {
        let mode = WriteMode::AppendAfter(read);
        engine.write(&who(), &name("calls"), mode, vec![rows(ids)], label("a test")).await
    };
    assert_eq!(after(6..7).await.unwrap().version, Version(4));
    assert_eq!(after(7..8).await.unwrap_err().code(), Code::Conflict);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_beside_others_who_add_delete_and_replace() {
    let engine = engine().await;
    append(&engine, 0..1).await;
    let adding = async {
        for id in 1..40 {
            append(&engine, id..id + 1).await;
        }
    };
    let deleting = async {
        for id in 0..10 {
            let one = Going::Where(col("id").eq(lit(id)));
            let revision = Revision { going: one, coming: Coming::Nothing };
            engine.revise(&who(), &name("calls"), revision, label("a test")).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let replacing = async {
        for id in 100..110 {
            let revision =
                Revision { going: Going::SameKey, coming: Coming::Rows(vec![rows(100..id + 1)]) };
            engine.revise(&who(), &name("calls"), revision, label("a test")).await.unwrap();
        }
    };
    let compacting = async {
        for _ in 0..15 {
            compact(&engine).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(adding, deleting, replacing, compacting);
    for id in 0..10 {
        let one = Revision { going: Going::Where(col("id").eq(lit(id))), coming: Coming::Nothing };
        engine.revise(&who(), &name("calls"), one, label("a test")).await.unwrap();
    }
    let mut expected = once(10..40);
    expected.extend(once(100..110));
    assert_eq!(there(&engine).await, expected);
    compact(&engine).await;
    assert_eq!(there(&engine).await, expected);
    assert!(engine.examine(&who(), false).await.unwrap().iter().all(|it| it.findings.is_empty()));
}

#[tokio::test]
async fn files_that_come_are_told_from_files_that_are_put_together() {
    let engine = engine().await;
    for id in 0..3 {
        append(&engine, id..id + 1).await;
    }
    compact(&engine).await;
    append(&engine, 3..4).await;
    let table = engine.lake().table(&who().tenant, &name("calls")).await.unwrap();
    let came = async |from, to| {
        let came = table.came(from, to).await.unwrap()?;
        Some(came.iter().map(|came| (came.version.0, came.files.len())).collect::<Vec<_>>())
    };
    assert_eq!(came(1, 3).await.unwrap(), [(3, 2)]);
    assert_eq!(came(1, 5).await.unwrap(), [(3, 2), (5, 1)], "those of before where they lay");
    assert_eq!(came(3, 4).await.unwrap(), []);
    let one = Revision { going: Going::Where(col("id").eq(lit(0))), coming: Coming::Nothing };
    engine.revise(&who(), &name("calls"), one, label("a test")).await.unwrap();
    assert_eq!(came(4, 6).await, None, "rows went");
}

/// The compactions are another process's, so that they wait for nothing here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_writes_all_rows_anew_need_not_begin_again_for_files_that_are_put_together() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap().to_owned();
    let ours = Engine::open(options(&root)).await.unwrap();
    ours.create_dataset(&who(), calls()).await.unwrap();
    append(&ours, 0..20).await;
    let theirs = Engine::open(options(&root)).await.unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let busy = async {
        let mut next = 20;
        while next < 80 && !is_over.load(std::sync::atomic::Ordering::Relaxed) {
            append(&theirs, next..next + 1).await;
            next += 1;
            compact(&theirs).await;
            // Who is at it without a breath wins every race.
            tokio::time::sleep(std::time::Duration::from_millis(40)).await;
        }
        next
    };
    let change = async {
        for round in 1..=6_i64 {
            let changed = Coming::Changed(vec![("tokens".to_owned(), lit(round))]);
            let revision = Revision { going: Going::All, coming: changed };
            let made = ours.revise(&who(), &name("calls"), revision, label("a test")).await;
            assert!(made.is_ok(), "round {round}: {made:?}");
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let (next, ()) = tokio::join!(busy, change);
    ours.refresh_catalog(&who()).await.unwrap();
    assert_eq!(there(&ours).await, once(0..next));
    assert!(number(&ours, "SELECT count(*) FROM calls WHERE tokens = 6").await >= 20);
    assert!(ours.examine(&who(), false).await.unwrap().iter().all(|it| it.findings.is_empty()));
}

#[tokio::test]
async fn an_engine_that_keeps_up_never_has_many_small_files() {
    let engine = engine().await;
    engine.keep_up().unwrap();
    // All in January.
    for n in 0..100 {
        append(&engine, n % 25..n % 25 + 1).await;
    }
    let began = std::time::Instant::now();
    while files(&engine).await > 40 {
        assert!(began.elapsed().as_secs() < 20, "{} files", files(&engine).await);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // While another process does, this one does not.
    engine.leave_upkeep_to_others(true);
    assert!(!engine.keeps_up());
    let before = files(&engine).await;
    for n in 0..100 {
        append(&engine, n % 25..n % 25 + 1).await;
    }
    // What it was just at may have come to its end.
    assert!(files(&engine).await > before.max(80), "{} files", files(&engine).await);
    engine.leave_upkeep_to_others(false);
    assert!(engine.keeps_up());
    append(&engine, 0..1).await;
    let began = std::time::Instant::now();
    while files(&engine).await > 40 {
        assert!(began.elapsed().as_secs() < 20, "{} files", files(&engine).await);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    engine.shutdown().await.unwrap();
    assert!(!engine.keeps_up());
    assert_eq!(there(&engine).await, (0..25).map(|id| (id, 8 + usize::from(id == 0))).collect());
}
