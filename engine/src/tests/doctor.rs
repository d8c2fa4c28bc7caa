//! What the doctor finds in damaged tables, and what it saves.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::broken::{data_file, data_files, read, root};
use super::*;
use crate::{Code, Finding, FindingKind, Reshape, Version, WriteMode};

/// What is found of `calls`, and its version.
async fn examine(folder: &Path, repair: bool) -> (Option<u64>, Vec<Finding>) {
    let engine = Engine::open(options(folder.to_str().unwrap())).await.unwrap();
    let examined = engine.examine(&who(), repair).await.unwrap();
    engine.shutdown().await.unwrap();
    let names: Vec<&str> = examined.iter().map(|table| table.dataset.as_str()).collect();
    assert_eq!(names, ["calls", "sound"]);
    assert!(examined[1].findings.is_empty(), "{:?}", examined[1]);
    let calls = examined.into_iter().next().unwrap();
    (calls.version, calls.findings)
}

/// Asserts that the one finding is damage, but for files that no commit names, and answers what it says.
async fn damage(folder: &Path, repair: bool) -> (String, String) {
    let (_, mut findings) = examine(folder, repair).await;
    findings.retain(|finding| !finding.found.contains("may hold rows that were lost"));
    assert_eq!(findings.len(), 1, "{findings:?}");
    let Finding { kind, found, remedy, mended } = findings.into_iter().next().unwrap();
    assert_eq!((kind, mended), (FindingKind::Damage, repair), "{found}: {remedy}");
    (found, remedy)
}

fn entry(table: &Path, version: u64) -> PathBuf {
    table.join(format!("_delta_log/{version:020}.json"))
}

fn cut(path: &Path, lines: usize) {
    let text = std::fs::read_to_string(path).unwrap();
    let kept: Vec<&str> = text.lines().take(lines).collect();
    assert!(kept.len() < text.lines().count(), "{text}");
    std::fs::write(path, kept.join("\n")).unwrap();
}

fn set_aside(table: &Path) -> Vec<String> {
    let folder = std::fs::read_dir(table.join("_delta_log/_damaged")).into_iter().flatten();
    folder.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_sound_root_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    root(folder.path()).await;
    for repair in [false, true] {
        assert_eq!(examine(folder.path(), repair).await, (Some(2), Vec::new()));
    }
    assert_eq!(read(folder.path()).await.unwrap(), 190);
}

#[tokio::test]
async fn rows_of_a_torn_entry_are_saved_as_far_as_it_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    send(&engine, 20..30, sequence("p", 7)).await.unwrap();
    engine.shutdown().await.unwrap();
    // What the commit is, and what it adds; not what its producer came to.
    let text = std::fs::read_to_string(entry(&table, 3)).unwrap();
    let adds = text.lines().position(|line| line.contains("\"add\"")).unwrap();
    cut(&entry(&table, 3), adds + 1);
    let (found, remedy) = damage(folder.path(), false).await;
    assert!(found.contains("version 3") && remedy.contains("10 rows"), "{found}: {remedy}");
    assert!(read(folder.path()).await.is_err(), "it was mended without being told to");
    damage(folder.path(), true).await;
    assert_eq!(read(folder.path()).await.unwrap(), 435);
    assert_eq!(set_aside(&table).len(), 1);
    // Behind the version that was set aside, of which nobody gets other rows.
    assert_eq!(examine(folder.path(), true).await, (Some(5), Vec::new()));
    // Its producer goes on as if nothing had been.
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    assert!(send(&engine, 20..30, sequence("p", 7)).await.unwrap().duplicate);
    assert!(send(&engine, 30..31, sequence("p", 6)).await.is_err(), "it began with 7");
    assert!(!send(&engine, 30..31, sequence("p", 8)).await.unwrap().duplicate);
    engine.shutdown().await.unwrap();
}

/// Twenty rows of two commits, put together by version 3, and ten more of version 4.
async fn compacted(folder: &Path) -> PathBuf {
    let table = root(folder).await;
    let engine = Engine::open(options(folder.to_str().unwrap())).await.unwrap();
    assert_eq!(engine.compact(&who(), &name("calls")).await.unwrap().version, Version(3));
    send(&engine, 20..30, None).await.unwrap();
    engine.shutdown().await.unwrap();
    table
}

#[tokio::test]
async fn files_that_were_put_together_behind_a_break_hide_no_rows() {
    let folder = tempfile::tempdir().unwrap();
    let table = compacted(folder.path()).await;
    std::fs::remove_file(entry(&table, 2)).unwrap();
    let (_, remedy) = damage(folder.path(), true).await;
    assert!(remedy.contains("10 rows that can be read there are committed again"), "{remedy}");
    // All but those of the entry that is gone.
    assert_eq!(read(folder.path()).await.unwrap(), 45 + 245);
}

#[tokio::test]
async fn a_torn_entry_that_put_files_together_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let table = compacted(folder.path()).await;
    std::fs::remove_file(entry(&table, 4)).unwrap();
    let whole = std::fs::read_to_string(entry(&table, 3)).unwrap();
    let lines = whole.lines().count();
    for kept in 1..lines {
        cut(&entry(&table, 3), kept);
        let (_, findings) = examine(folder.path(), false).await;
        let damage: Vec<_> = findings.iter().filter(|it| it.kind == FindingKind::Damage).collect();
        let says = "it only put files together: no row is lost";
        assert!(damage.len() == 1 && damage[0].remedy.contains(says), "{kept}: {findings:?}");
        std::fs::write(entry(&table, 3), &whole).unwrap();
    }
    cut(&entry(&table, 3), 1);
    let (_, findings) = examine(folder.path(), true).await;
    assert!(findings.iter().any(|finding| finding.mended), "{findings:?}");
    assert_eq!(read(folder.path()).await.unwrap(), 190);
    // One of which nothing can be read, with rows behind it.
    let folder = tempfile::tempdir().unwrap();
    let table = compacted(folder.path()).await;
    std::fs::write(entry(&table, 3), "{").unwrap();
    examine(folder.path(), true).await;
    assert_eq!(read(folder.path()).await.unwrap(), 190 + 245);
}

#[tokio::test]
async fn a_column_that_came_replaced_no_rows() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    let row = r#"{"id": 60, "at": "2026-01-01T00:00:00Z", "fresh": "x"}"#;
    let request = IngestRequest { rows: ndjson(row), producer: None };
    engine.ingest(&who(), &name("calls"), request).await.unwrap();
    engine.shutdown().await.unwrap();
    std::fs::remove_file(entry(&table, 1)).unwrap();
    let (_, remedy) = damage(folder.path(), true).await;
    assert!(remedy.contains("11 rows"), "{remedy}");
    assert_eq!(read(folder.path()).await.unwrap(), 145 + 60);
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    assert_eq!(number(&engine, "SELECT count(*) FROM calls WHERE fresh = 'x'").await, 1);
    engine.shutdown().await.unwrap();
}

#[tokio::test]
async fn rows_behind_a_missing_entry_are_saved() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    std::fs::remove_file(entry(&table, 1)).unwrap();
    let (found, remedy) = damage(folder.path(), true).await;
    assert!(found.contains("version 1 of the log is missing"), "{found}");
    assert!(found.contains("versions 1 to 2"), "{found}");
    assert!(remedy.contains("10 rows"), "{remedy}");
    assert_eq!(read(folder.path()).await.unwrap(), 145);
    // Nothing that was committed once is deleted by what looks like waste now.
    let (_, findings) = examine(folder.path(), true).await;
    assert!(findings.iter().all(|finding| finding.kind == FindingKind::Waste && !finding.mended));
}

#[tokio::test]
async fn what_replaced_rows_is_not_added_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    let (who, calls) = (who(), name("calls"));
    let replaced = engine.write(&who, &calls, WriteMode::Overwrite, rows(50..60), label("test"));
    replaced.await.unwrap();
    engine.shutdown().await.unwrap();
    std::fs::remove_file(entry(&table, 2)).unwrap();
    let (_, remedy) = damage(folder.path(), true).await;
    assert!(remedy.contains("replaced rows"), "{remedy}");
    assert_eq!(read(folder.path()).await.unwrap(), 45);
    assert_eq!(set_aside(&table).len(), 1);
}

#[tokio::test]
async fn a_repair_that_was_cut_off_is_taken_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    let damaged = table.join("_delta_log/_damaged");
    std::fs::create_dir(&damaged).unwrap();
    let aside = damaged.join("00000000000000000002.20260101T000000Z.pending");
    std::fs::rename(entry(&table, 2), aside).unwrap();
    assert!(read(folder.path()).await.is_err(), "the table is read before the repair ends");
    let (found, _) = damage(folder.path(), false).await;
    assert!(found.contains("cut off"), "{found}");
    damage(folder.path(), true).await;
    assert_eq!(read(folder.path()).await.unwrap(), 190);
    assert_eq!(set_aside(&table), ["00000000000000000002.20260101T000000Z"]);
    assert_eq!(examine(folder.path(), true).await, (Some(4), Vec::new()));
    assert_eq!(read(folder.path()).await.unwrap(), 190);
}

#[tokio::test]
async fn a_data_file_that_is_gone_or_cut_off_is_taken_out() {
    for cut_off in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let table = root(folder.path()).await;
        let path = data_file(&table);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        if cut_off {
            std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        }
        let (found, remedy) = damage(folder.path(), true).await;
        assert!(found.contains(if cut_off { "is cut off" } else { "is not there" }), "{found}");
        assert!(remedy.contains("10 rows are lost"), "{remedy}");
        let left = read(folder.path()).await.unwrap();
        assert!(left == 45 || left == 145, "{left}");
    }
}

#[tokio::test]
async fn files_of_entries_that_were_set_aside_are_never_waste() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    // Nothing of it can be read any more, and its rows are all there.
    std::fs::write(entry(&table, 2), "").unwrap();
    damage(folder.path(), true).await;
    assert_eq!(set_aside(&table).len(), 1);
    let old = SystemTime::now() - Duration::from_secs(9 * 86_400);
    let count = || data_files(&table).len();
    for file in data_files(&table) {
        std::fs::File::options().write(true).open(file).unwrap().set_modified(old).unwrap();
    }
    let before = count();
    let (_, findings) = examine(folder.path(), true).await;
    assert_eq!((findings[0].kind, findings[0].mended), (FindingKind::Waste, false));
    assert_eq!(count(), before);
}

#[tokio::test]
async fn data_without_a_log_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    std::fs::remove_dir_all(table.join("_delta_log")).unwrap();
    let (version, findings) = examine(folder.path(), false).await;
    assert_eq!((version, findings.len()), (None, 1));
    assert_eq!(findings[0].kind, FindingKind::Damage);
    assert!(findings[0].found.contains("no log"), "{findings:?}");
}

#[tokio::test]
async fn only_old_files_that_no_commit_names_are_moved_away() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    let named = data_file(&table);
    let month = named.parent().unwrap().to_owned();
    let make = |path: PathBuf, days: u64| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, b"PAR1PAR1").unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(days * 86_400)).unwrap();
        path
    };
    let old = make(month.join("old.parquet"), 2);
    let young = make(month.join("young.parquet"), 0);
    let of_others = make(table.join("_change_data/old.parquet"), 2);
    let file = std::fs::File::options().write(true).open(&named).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(9 * 86_400)).unwrap();
    let (_, findings) = examine(folder.path(), false).await;
    assert!(findings[0].found.contains("2 files of 16 bytes"), "{findings:?}");
    assert!(old.exists());
    let (_, findings) = examine(folder.path(), true).await;
    assert_eq!((findings[0].kind, findings[0].mended), (FindingKind::Waste, true));
    assert!(!old.exists() && young.exists() && of_others.exists());
    let moved = table.join("_uncommitted").join(old.strip_prefix(&table).unwrap());
    assert_eq!(std::fs::read(moved).unwrap(), b"PAR1PAR1");
    let (_, findings) = examine(folder.path(), true).await;
    assert!(findings[0].found.contains("1 file of 8 bytes"), "{findings:?}");
    assert_eq!(read(folder.path()).await.unwrap(), 190);
}

/// What a version is at, which a repair set aside.
async fn at(folder: &Path, version: u64) -> Result<Session> {
    let engine = Engine::open(options(folder.to_str().unwrap())).await.unwrap();
    let pins = [(name("calls"), crate::AsOf::Version(Version(version)))];
    let session = engine.session(&who(), &pins).await;
    engine.shutdown().await.unwrap();
    session
}

#[tokio::test]
async fn no_version_has_other_rows_than_it_once_had() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    // Versions 1 and 2 were seen, and 1 is lost.
    std::fs::remove_file(entry(&table, 1)).unwrap();
    damage(folder.path(), true).await;
    assert_eq!(examine(folder.path(), true).await.0, Some(4));
    for version in [1, 2] {
        let gone = at(folder.path(), version).await.err().unwrap();
        assert_eq!(gone.code(), Code::NotFound, "{gone}");
        assert!(gone.to_string().contains("a repair set it aside"), "{gone}");
    }
    for version in [0, 3, 4] {
        assert!(at(folder.path(), version).await.is_ok(), "version {version}");
    }
    // Nor does a second repair go on further.
    assert_eq!(examine(folder.path(), true).await.0, Some(4));
}

#[tokio::test]
async fn requests_are_done_only_where_their_rows_came_back() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    let before = data_files(&table);
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    send(&engine, 20..21, sequence("p", 7)).await.unwrap();
    engine.shutdown().await.unwrap();
    let file = data_files(&table).into_iter().find(|file| !before.contains(file)).unwrap();
    std::fs::remove_file(file).unwrap();
    cut(&entry(&table, 3), 2);
    let (_, findings) = examine(folder.path(), true).await;
    assert!(findings.iter().any(|f| f.found.contains("lost: 7 of \"p\"")), "{findings:?}");
    assert_eq!(read(folder.path()).await.unwrap(), 190);
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    assert!(!send(&engine, 20..21, sequence("p", 7)).await.unwrap().duplicate);
    engine.shutdown().await.unwrap();
    assert_eq!(read(folder.path()).await.unwrap(), 210);
}

#[tokio::test]
async fn an_entry_that_was_copied_before_a_repair_was_cut_off_is_not_restored_twice() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    let damaged = table.join("_delta_log/_damaged");
    std::fs::create_dir(&damaged).unwrap();
    for stamp in ["20260101T000000Z", "20260102T000000Z"] {
        let to = damaged.join(format!("00000000000000000002.{stamp}.pending"));
        std::fs::copy(entry(&table, 2), to).unwrap();
    }
    std::fs::remove_file(entry(&table, 1)).unwrap();
    examine(folder.path(), true).await;
    assert_eq!(read(folder.path()).await.unwrap(), 145);
}

#[tokio::test]
async fn what_was_decided_against_stays_so() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    // A repair set version 2 aside for good, because it replaced rows, and was cut off before version 1.
    let damaged = table.join("_delta_log/_damaged");
    std::fs::create_dir(&damaged).unwrap();
    let aside = damaged.join("00000000000000000002.20260101T000000Z");
    std::fs::rename(entry(&table, 2), aside).unwrap();
    let first = entry(&table, 1);
    let text = std::fs::read_to_string(&first).unwrap();
    std::fs::write(&first, format!("{text}\n{{")).unwrap();
    let (_, remedy) = damage(folder.path(), true).await;
    assert!(remedy.contains("the table is again as it was at 0"), "{remedy}");
    assert_eq!(examine(folder.path(), true).await.0, Some(3));
}

/// Asserts that `calls` has so many rows that were committed, and that can be read.
async fn counts(folder: &Path, repair: bool) -> (Option<u64>, Option<u64>) {
    let engine = Engine::open(options(folder.to_str().unwrap())).await.unwrap();
    let examined = engine.examine(&who(), repair).await.unwrap();
    engine.shutdown().await.unwrap();
    (examined[0].rows_committed, examined[0].rows)
}

#[tokio::test]
async fn a_file_that_was_overwritten_is_found_by_what_it_holds() {
    for (from, with) in [(4, 0xff_u8), (30, 0)] {
        let folder = tempfile::tempdir().unwrap();
        let table = root(folder.path()).await;
        let path = data_file(&table);
        let mut bytes = std::fs::read(&path).unwrap();
        let to = if with == 0 { bytes.len() } else { bytes.len() / 3 };
        bytes[from..to].fill(with);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(counts(folder.path(), false).await, (Some(20), Some(10)));
        let (found, remedy) = damage(folder.path(), true).await;
        assert!(
            found.contains("can not be read") && remedy.contains("10 rows are lost"),
            "{found}: {remedy}"
        );
        let left = read(folder.path()).await.unwrap();
        assert!(left == 45 || left == 145, "{left}");
        assert_eq!(counts(folder.path(), false).await, (Some(10), Some(10)));
    }
}

#[tokio::test]
async fn a_checkpoint_that_can_not_be_read_is_set_aside_where_the_log_has_all() {
    for hint_only in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let table = root(folder.path()).await;
        let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
        for id in 0..98 {
            send(&engine, id..id + 1, None).await.unwrap();
        }
        engine.shutdown().await.unwrap();
        let before = read(folder.path()).await.unwrap();
        let log = table.join("_delta_log");
        let checkpoint = log.join("00000000000000000099.checkpoint.parquet");
        let bytes = std::fs::read(&checkpoint).unwrap();
        match hint_only {
            true => std::fs::write(log.join("_last_checkpoint"), r#"{"version": 7, "size": 1}"#),
            false => std::fs::write(&checkpoint, &bytes[..bytes.len() / 2]),
        }
        .unwrap();
        let (_, findings) = examine(folder.path(), false).await;
        assert_eq!(findings.len(), 1, "{findings:?}");
        let says = if hint_only { "the hint names" } else { "the checkpoint of version 99" };
        assert!(findings[0].found.contains(says), "{findings:?}");
        let (_, findings) = examine(folder.path(), true).await;
        assert!(findings.iter().all(|finding| finding.mended), "{findings:?}");
        assert_eq!(read(folder.path()).await.unwrap(), before, "{hint_only}");
        assert_eq!(examine(folder.path(), true).await, (Some(100), Vec::new()));
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_no_damage() {
    use crate::storage::Root;
    use crate::storage::faulty::Faulty;

    let store = Faulty::new();
    let engine = Engine::open_root(Root::over(Arc::clone(&store) as _), options("memory:")).await;
    let engine = engine.unwrap();
    engine.create_dataset(&who(), calls()).await.unwrap();
    send(&engine, 0..9, None).await.unwrap();
    for part in ["calls/_delta_log/00000000000000000001", "calls/at_month"] {
        store.unreadable(Some(part));
        let examined = engine.examine(&who(), false).await.unwrap();
        let findings = &examined[0].findings;
        assert_eq!(findings.len(), 1, "{part}: {findings:?}");
        assert_eq!(findings[0].kind, FindingKind::Unknown, "{part}: {findings:?}");
    }
    store.unreadable(None);
    assert!(engine.examine(&who(), false).await.unwrap()[0].findings.is_empty());
}

#[tokio::test]
async fn rows_for_columns_whose_change_is_lost_do_not_get_into_others() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    // Twice there and back: the names are those of before.
    for (from, to) in [("model", "other"), ("other", "model")] {
        let change = Reshape::Rename { column: from.to_owned(), to: to.to_owned() };
        engine.reshape(&who(), &name("calls"), change, label("rename")).await.unwrap();
    }
    send(&engine, 20..30, sequence("p", 7)).await.unwrap();
    engine.shutdown().await.unwrap();
    std::fs::remove_file(entry(&table, 4)).unwrap();
    let (_, remedy) = damage(folder.path(), true).await;
    assert!(remedy.contains("as it was at 3; 10 rows that they add are only there"), "{remedy}");
    assert_eq!(read(folder.path()).await.unwrap(), 190);
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    assert_eq!(number(&engine, "SELECT count(other) FROM calls").await, 20);
    engine.shutdown().await.unwrap();
}

#[tokio::test]
async fn numbers_that_are_lost_are_named_and_taken_once_more() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    for number in 0..3 {
        send(&engine, 20 + number..21 + number, sequence("p", number)).await.unwrap();
    }
    engine.shutdown().await.unwrap();
    std::fs::remove_file(entry(&table, 4)).unwrap();
    for repair in [false, true] {
        let (_, findings) = examine(folder.path(), repair).await;
        assert!(findings.iter().any(|f| f.found.contains("lost: 1 of \"p\"")), "{findings:?}");
        // What was in the entry that is gone lies there still.
        let says = |f: &Finding| {
            f.found.contains("may hold rows") && f.found.contains("default/calls/at_month")
        };
        assert!(findings.iter().any(says), "{findings:?}");
    }
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    for number in [0, 2] {
        assert!(send(&engine, 20..21, sequence("p", number)).await.unwrap().duplicate);
    }
    // Also where it comes twice at once.
    let again = || send(&engine, 21..22, sequence("p", 1));
    let (one, other) = tokio::join!(again(), again());
    assert_ne!(one.unwrap().duplicate, other.unwrap().duplicate);
    assert!(again().await.unwrap().duplicate);
    assert!(!send(&engine, 23..24, sequence("p", 3)).await.unwrap().duplicate);
    engine.shutdown().await.unwrap();
    assert_eq!(read(folder.path()).await.unwrap(), 190 + 20 + 21 + 22 + 23);
    let (_, findings) = examine(folder.path(), true).await;
    assert!(findings.iter().all(|f| f.kind == FindingKind::Waste), "{findings:?}");
}

#[tokio::test]
async fn what_was_sent_again_before_a_repair_went_on_is_not_committed_again() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    let open = async || Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    let engine = open().await;
    send(&engine, 20..21, sequence("p", 0)).await.unwrap();
    send(&engine, 21..22, sequence("p", 1)).await.unwrap();
    engine.shutdown().await.unwrap();
    let damaged = table.join("_delta_log/_damaged");
    std::fs::create_dir(&damaged).unwrap();
    let aside = damaged.join("00000000000000000004.20260101T000000Z.pending");
    std::fs::rename(entry(&table, 4), aside).unwrap();
    // As in a root of an earlier release, whose tables have no marks.
    std::fs::remove_file(table.join("_newest")).unwrap();
    let engine = open().await;
    for number in 1..3 {
        send(&engine, 20 + number..21 + number, sequence("p", number)).await.unwrap();
    }
    engine.shutdown().await.unwrap();
    examine(folder.path(), true).await;
    assert_eq!(read(folder.path()).await.unwrap(), 190 + 20 + 21 + 22);
    let engine = open().await;
    assert!(!send(&engine, 23..24, sequence("p", 3)).await.unwrap().duplicate);
    engine.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_a_torn_entry_lost_in_part_is_named() {
    for is_cut in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let table = root(folder.path()).await;
        let before = data_files(&table);
        let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
        // Two months, two files.
        send(&engine, 20..40, sequence("p", 0)).await.unwrap();
        engine.shutdown().await.unwrap();
        let mut files = data_files(&table);
        files.retain(|file| !before.contains(file));
        assert_eq!(files.len(), 2);
        match is_cut {
            true => std::fs::write(&files[0], "PAR1 is not enough").unwrap(),
            false => std::fs::remove_file(&files[0]).unwrap(),
        }
        std::fs::remove_file(entry(&table, 2)).unwrap();
        for repair in [false, true] {
            let (_, findings) = examine(folder.path(), repair).await;
            let name = files[0].file_name().unwrap().to_str().unwrap();
            assert!(findings.iter().any(|f| f.found.contains(name)), "{findings:?}");
            let partly = |f: &Finding| f.found.contains("others came back: 0 of \"p\"");
            assert!(findings.iter().any(partly), "{findings:?}");
        }
    }
}

#[tokio::test]
async fn how_many_rows_were_committed_is_not_known_where_a_version_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    std::fs::remove_file(entry(&table, 1)).unwrap();
    assert_eq!(counts(folder.path(), false).await.0, None);
    assert_eq!(counts(folder.path(), true).await, (None, Some(10)));
}

#[tokio::test]
async fn a_file_of_a_far_version_ends_no_repair() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    for far in [50_000, u64::MAX] {
        std::fs::copy(entry(&table, 2), entry(&table, far)).unwrap();
        let (_, findings) = examine(folder.path(), true).await;
        assert!(findings[0].remedy.contains(&format!("{far}.json is none of")), "{findings:?}");
        std::fs::remove_file(entry(&table, far)).unwrap();
    }
    assert_eq!(read(folder.path()).await.unwrap(), 190);
    std::fs::write(entry(&table, 0), "{").unwrap();
    assert_eq!(examine(folder.path(), true).await.0, None);
}

#[tokio::test]
async fn a_table_is_saved_where_an_entry_below_a_broken_checkpoint_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let table = root(folder.path()).await;
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    for id in 0..98 {
        send(&engine, id..id + 1, None).await.unwrap();
    }
    engine.shutdown().await.unwrap();
    let before = read(folder.path()).await.unwrap();
    let checkpoint = table.join("_delta_log/00000000000000000099.checkpoint.parquet");
    std::fs::write(&checkpoint, "scribbled, and long enough").unwrap();
    std::fs::remove_file(entry(&table, 90)).unwrap();
    examine(folder.path(), true).await;
    // Version 90 had the row of id 87.
    assert_eq!(read(folder.path()).await.unwrap(), before - 87);
}
