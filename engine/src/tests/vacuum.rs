//! Files that no kept version has go, and no other.

use std::collections::BTreeSet;
use std::path::Path;

use chrono::{TimeDelta, Utc};

use super::*;
use crate::{AsOf, Code, Coming, Going, Keep, Revision, Version, WriteMode};

fn keep(hours: i64) -> Keep {
    Keep { since: Utc::now() - TimeDelta::hours(hours), from: None }
}

/// Data files of `calls` below a root.
fn files(root: &Path) -> BTreeSet<String> {
    fn walk(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, found),
                false if path.extension().is_some_and(|it| it == "parquet") => {
                    found.insert(path.display().to_string());
                }
                false => {}
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(&root.join("default/calls"), &mut found);
    found.retain(|path| !path.contains("_delta_log"));
    found
}

/// Makes all data files so many hours older.
fn age(root: &Path, hours: u64) {
    for path in files(root) {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        let at = std::time::SystemTime::now() - std::time::Duration::from_secs(hours * 3600);
        file.set_modified(at).unwrap();
    }
}

async fn ids_at(engine: &Engine, version: u64) -> Result<usize> {
    let pins = [(name("calls"), AsOf::Version(Version(version)))];
    let session = engine.session(&who(), &pins).await?;
    let frame = session.sql("SELECT id FROM calls").await?;
    Ok(session.collect(frame).await?.iter().map(RecordBatch::num_rows).sum())
}

async fn revise(engine: &Engine, going: Going) {
    let revision = Revision { going, coming: Coming::Nothing };
    engine.revise(&who(), &name("calls"), revision, label("delete")).await.unwrap();
}

#[tokio::test]
async fn deleted_rows_leave_the_disk_and_kept_versions_stay_readable() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_at(folder.path().to_str().unwrap()).await;
    send(&engine, 0..40, None).await.unwrap();
    send(&engine, 40..60, None).await.unwrap();
    revise(&engine, Going::All).await;
    send(&engine, 100..110, None).await.unwrap();
    let all = files(folder.path());

    // All of it is younger than a week.
    let week = engine.vacuum(&who(), &name("calls"), keep(24 * 7), false).await.unwrap();
    assert_eq!((week.kept_from, week.files), (Version(0), 0));
    assert_eq!(ids_at(&engine, 2).await.unwrap(), 60);

    // A dry run says what would go.
    let dry = engine.vacuum(&who(), &name("calls"), keep(0), true).await.unwrap();
    assert!(dry.files > 0 && dry.bytes > 0 && dry.files < all.len() as u64, "{dry:?}");
    assert_eq!(files(folder.path()), all);
    assert_eq!(ids_at(&engine, 2).await.unwrap(), 60);

    // What somebody needs stays.
    let pinned = Keep { from: Some(Version(2)), ..keep(0) };
    let made = engine.vacuum(&who(), &name("calls"), pinned, false).await.unwrap();
    assert_eq!((made.kept_from, made.files), (Version(0), 0));
    assert_eq!((ids_at(&engine, 2).await.unwrap(), ids_at(&engine, 1).await.unwrap()), (60, 40));

    let newest = engine.catalog(&who()).await.unwrap().datasets[&name("calls")].version;
    let made = engine.vacuum(&who(), &name("calls"), keep(0), false).await.unwrap();
    assert_eq!((made.kept_from, made.files), (newest, dry.files));
    let left = files(folder.path());
    assert_eq!(left.len() as u64, all.len() as u64 - dry.files);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 10);
    let gone = ids_at(&engine, 2).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    let says = format!("version 2 is no longer kept; versions {newest} to");
    assert!(gone.to_string().contains(&says), "{gone}");
    let early = engine.version_at(&who(), &name("calls"), Utc::now() - TimeDelta::days(1)).await;
    assert_eq!(early.unwrap_err().code(), Code::NotFound);

    // Another engine knows of it, and nothing is left to do.
    engine.shutdown().await.unwrap();
    let again = engine_at(folder.path().to_str().unwrap()).await;
    let gone = ids_at(&again, 2).await.unwrap_err();
    assert!(gone.to_string().contains("no longer kept"), "{gone}");
    let nothing = again.vacuum(&who(), &name("calls"), keep(0), false).await.unwrap();
    assert_eq!(nothing.files, 0);
    assert_eq!(files(folder.path()), left);
    send(&again, 110..120, None).await.unwrap();
    assert_eq!(number(&again, "SELECT count(*) FROM calls").await, 20);
}

#[tokio::test]
async fn files_of_no_commit_go_when_they_are_old_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_at(folder.path().to_str().unwrap()).await;
    send(&engine, 0..5, None).await.unwrap();
    // A load that is on its way, for as long as it takes.
    let late = Late::new(&engine, 50..55).await;
    for hours in [0, 24, 48] {
        let made = engine.vacuum(&who(), &name("calls"), keep(hours), false).await.unwrap();
        assert_eq!(made.files, 0, "{hours}");
    }
    late.commit(&engine).await.unwrap();
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 10);

    let lost = Late::new(&engine, 60..65).await;
    drop(lost);
    let before = files(folder.path());
    age(folder.path(), 30);
    // It is a day and six hours old, and two days are asked for.
    let made = engine.vacuum(&who(), &name("calls"), keep(48), false).await.unwrap();
    assert_eq!(made.files, 0);
    let made = engine.vacuum(&who(), &name("calls"), keep(1), false).await.unwrap();
    assert_eq!(made.files, 1);
    assert_eq!(files(folder.path()).len(), before.len() - 1);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 10);
}

#[tokio::test]
async fn strange_names_of_partitions_cost_no_rows() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let engine = engine_at(root).await;
    let mut spec = calls();
    spec.name = name("odd");
    spec.derived = true;
    spec.partition_by = vec![datasets::PartitionSpec {
        column: "model".to_owned(),
        from: None,
        transform: datasets::PartitionTransform::Identity,
    }];
    engine.ensure_derived(&who(), &spec).await.unwrap();
    let models = ["a b", "50%", "%41", "ä/ö", "x=y", "a+b", "#?", ".", "%2541"];
    let of = |shift: i64| {
        let rows = rows(0..models.len() as i64);
        let mut columns = rows.columns().to_vec();
        columns[0] =
            Arc::new(Int64Array::from_iter_values((0..models.len() as i64).map(|i| i + shift)));
        columns[2] = Arc::new(StringArray::from(models.to_vec()));
        RecordBatch::try_new(rows.schema(), columns).unwrap()
    };
    for shift in [0, 100] {
        let mode = WriteMode::Overwrite;
        engine.write(&who(), &spec.name, mode, of(shift), label("write")).await.unwrap();
    }
    let made = engine.vacuum(&who(), &spec.name, keep(0), false).await.unwrap();
    assert_eq!(made.files, models.len() as u64);
    engine.shutdown().await.unwrap();
    let engine = Engine::open(options(root)).await.unwrap();
    let sum = number(&engine, "SELECT sum(id) FROM odd").await;
    let count = models.len() as i64;
    assert_eq!(sum, 100 * count + count * (count - 1) / 2);
}

#[tokio::test]
async fn nothing_goes_where_a_file_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_at(folder.path().to_str().unwrap()).await;
    send(&engine, 0..5, None).await.unwrap();
    revise(&engine, Going::All).await;
    send(&engine, 5..9, None).await.unwrap();
    let before = files(folder.path());
    // Some file of the newest version.
    let newest: BTreeSet<String> = {
        let dry = engine.vacuum(&who(), &name("calls"), keep(0), true).await.unwrap();
        assert!(dry.files > 0);
        before.iter().filter(|path| std::fs::metadata(path).is_ok()).cloned().collect()
    };
    let by_time = |path: &&String| std::fs::metadata(path).unwrap().modified().unwrap();
    let last = newest.iter().max_by_key(by_time).unwrap();
    std::fs::remove_file(last).unwrap();
    let refused = engine.vacuum(&who(), &name("calls"), keep(0), false).await.unwrap_err();
    assert!(refused.to_string().contains("nothing was taken away"), "{refused}");
    assert_eq!(files(folder.path()).len(), before.len() - 1);
}
