//! Exports in folders by value, in several files, of changes, and in the root's own place.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{TimeDelta, Utc};
use datafusion::logical_expr::{col, lit};
use futures::TryStreamExt as _;

use super::export::{Ends, exported, filled, request, there};
use super::*;
use crate::{
    Code, Coming, CommitLabel, ExportPlace, ExportRequest, ExportSource, Form, Going, Grant,
    GrantSet, Grants, Manifest, Mask, Revision, RunId, export, verify_export,
};

fn texts(folder: &std::path::Path) -> BTreeMap<String, String> {
    let csv = there(folder).into_iter().filter(|(name, _)| name.ends_with(".csv"));
    csv.map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn values_become_folders_that_others_read() {
    let (engine, folder) = (filled().await, tempfile::tempdir().unwrap());
    let sql = "SELECT id, CASE WHEN id < 2 THEN NULL WHEN id < 5 THEN 'a/b %' ELSE model END AS kind, \
               id % 2 = 0 AS even FROM calls";
    let to = folder.path().join("folders");
    let asked = ExportRequest {
        source: ExportSource::Sql(sql.into()),
        partition_by: vec!["kind".into(), "even".into()],
        file_rows: 1_000,
        ..request(&to, Form::Csv)
    };
    let manifest = exported(&engine, &asked).await.unwrap();
    assert_eq!(verify_export(to.to_str().unwrap()).await.unwrap(), manifest);
    assert_eq!((manifest.rows, &manifest.partition_by), (120, &asked.partition_by));
    let files = texts(&to);
    assert_eq!(files["kind=__HIVE_DEFAULT_PARTITION__/even=true/part-00000.csv"], "id\n0\n");
    let lines: BTreeSet<&str> =
        files["kind=a%2Fb%20%25/even=true/part-00000.csv"].lines().collect();
    assert_eq!(lines, ["2", "4", "id"].into());
    assert!(files.contains_key("kind=m0/even=false/part-00000.csv"), "{:?}", files.keys());
    let rows: usize = files.values().map(|text| text.lines().count() - 1).sum();
    assert_eq!(rows, 120);
    for (column, says) in [
        ("kid", "no column \"kid\"; did you mean id or kind?"),
        ("half", "expected text, whole numbers, truth values or days"),
        ("kind", "\"kind\" is named twice"),
    ] {
        let source = ExportSource::Sql("SELECT 0.5 AS half, 'a' AS kind, 1 AS id".into());
        let partition_by = vec!["kind".into(), column.into()];
        let wrong = ExportRequest { source, partition_by, ..asked.clone() };
        let refused = exported(&engine, &wrong).await.unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_has_more_rows_than_are_asked_for() {
    let (engine, folder) = (filled().await, tempfile::tempdir().unwrap());
    for (at, source) in [
        ExportSource::Sql("SELECT id FROM calls ORDER BY id".into()),
        match request(folder.path(), Form::Csv).source {
            ExportSource::Dataset { dataset, .. } => ExportSource::Dataset {
                dataset,
                condition: None,
                columns: vec!["id".into()],
                since: None,
            },
            other => other,
        },
    ]
    .into_iter()
    .enumerate()
    {
        let to = folder.path().join(at.to_string());
        let asked = ExportRequest { source, file_rows: 25, ..request(&to, Form::Csv) };
        let manifest = exported(&engine, &asked).await.unwrap();
        let rows: Vec<u64> = manifest.files.iter().map(|file| file.rows).collect();
        // A dataset's own files are not put together over that.
        match at {
            0 => assert_eq!(rows, [25, 25, 25, 25, 20]),
            _ => assert_eq!(rows[..4], [25, 5, 25, 5]),
        }
        assert!(rows.iter().all(|rows| *rows <= 25), "{rows:?}");
        assert!(texts(&to).contains_key("part-00000-00001.csv"));
        let ids = texts(&to).into_values().flat_map(|text| {
            text.lines().skip(1).map(|id| id.parse::<i64>().unwrap()).collect::<Vec<_>>()
        });
        let mut ids: Vec<i64> = ids.collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..120).collect::<Vec<_>>());
        assert_eq!(verify_export(to.to_str().unwrap()).await.unwrap(), manifest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_since_a_version_are_what_came_and_went() {
    let (engine, folder) = (filled().await, tempfile::tempdir().unwrap());
    let gone = Going::Where(col("id").in_list(vec![lit(3), lit(119)], false));
    let removed = Revision { going: gone, coming: Coming::Nothing };
    engine.revise(&who(), &name("calls"), removed, CommitLabel::default()).await.unwrap();
    let of = |since: u64, columns: &[&str]| ExportSource::Dataset {
        dataset: name("calls"),
        condition: None,
        columns: columns.iter().map(ToString::to_string).collect(),
        since: Some(crate::Version(since)),
    };
    let to = folder.path().join("changes");
    let asked =
        ExportRequest { source: of(3, &["id"]), file_rows: 1_000, ..request(&to, Form::Csv) };
    let manifest = exported(&engine, &asked).await.unwrap();
    assert_eq!(manifest.source.since, Some(crate::Version(3)));
    let text = texts(&to).remove("part-00000.csv").unwrap();
    let mut lines: Vec<&str> = text.lines().skip(1).collect();
    lines.sort_unstable();
    // 119 came and went in between.
    let mut expected: Vec<String> = (90..119).map(|id| format!("{id},insert")).collect();
    expected.push("3,delete".to_owned());
    expected.sort_unstable();
    assert_eq!(lines, expected);
    let late = ExportRequest { source: of(9, &[]), ..asked.clone() };
    let refused = exported(&engine, &late).await.unwrap_err().to_string();
    assert!(refused.contains("expected an earlier version, found 9"), "{refused}");
}

fn own(id: RunId) -> ExportRequest {
    let place = ExportPlace::Own { id: id.to_string(), keep_days: 7, bytes_max: 1 << 30 };
    ExportRequest { to: place, ..request(std::path::Path::new("unused"), Form::Csv) }
}

async fn bytes(engine: &Engine, id: RunId, name: &str, range: std::ops::Range<u64>) -> Vec<u8> {
    let file = engine.exported_file(&who().tenant, &id.to_string(), name).await.unwrap();
    let pieces: Vec<Bytes> = file.bytes(range).await.unwrap().try_collect().await.unwrap();
    pieces.concat()
}

async fn made(engine: &Engine, of: &Principal, request: &ExportRequest) -> Manifest {
    let session = engine.session(of, &[]).await.unwrap();
    export(engine, of, &session, request, &Ends::never()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_keeps_exports_for_those_who_may_see_them() {
    let (engine, id) = (filled().await, RunId::new());
    let manifest = made(&engine, &who(), &own(id)).await;
    let text = id.to_string();
    assert_eq!(engine.exported(&who(), &text).await.unwrap(), manifest);
    let first = &manifest.files[0];
    let all = bytes(&engine, id, &first.name, 0..first.bytes).await;
    assert_eq!(all.len() as u64, first.bytes);
    assert_eq!(bytes(&engine, id, &first.name, 3..9).await, &all[3..9]);
    assert!(bytes(&engine, id, &first.name, 5..5).await.is_empty());
    // The manifest is a file, too.
    let file = engine.exported_file(&who().tenant, &text, "_manifest.json").await.unwrap();
    let kept = bytes(&engine, id, "_manifest.json", 0..file.file.bytes).await;
    assert_eq!(serde_json::from_slice::<Manifest>(&kept).unwrap(), manifest);
    // No dataset is seen there, and nothing of it is waste.
    assert_eq!(engine.catalog(&who()).await.unwrap().datasets.len(), 1);
    let stranger = Principal { tenant: "stranger".parse().unwrap(), ..who() };
    let set = |rows: &str| {
        let grant =
            Grant { rows: Some(rows.to_owned()), masks: [("model".to_owned(), Mask::Hash)].into() };
        let salt = Some("sixteen letters or more".to_owned());
        let set = GrantSet { salt, datasets: [("calls".to_owned(), grant)].into() };
        let roles = vec![crate::Role::Reader];
        Principal { grants: Grants::limited(set, [].into()).unwrap(), roles, ..who() }
    };
    let (few, fewer) = (set("id < 10"), set("id < 5"));
    for other in [&stranger, &few] {
        let error = engine.exported(other, &text).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
    }
    // What one sees who sees a part is for those who see the same, or all.
    let part = RunId::new();
    assert_eq!(made(&engine, &few, &own(part)).await.rows, 10);
    for (of, is_shown) in [(&few, true), (&who(), true), (&fewer, false), (&stranger, false)] {
        assert_eq!(engine.exported(of, &part.to_string()).await.is_ok(), is_shown, "{of:?}");
    }
    let refused = engine.remove_export(&fewer, &part.to_string()).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    assert!(!engine.remove_export(&stranger, &part.to_string()).await.unwrap());
    assert!(engine.exported(&few, &part.to_string()).await.is_ok());
    assert!(engine.remove_export(&few, &part.to_string()).await.unwrap());
    assert!(engine.exported(&who(), &part.to_string()).await.is_err());
    for bad in ["", "..", "../calls", "a/b", "00000000-0000-0000-0000-000000000000"] {
        let error = engine.exported(&who(), bad).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{bad}: {error}");
    }
    for bad in ["", "..", "../../calls/_delta_log/00000000000000000000.json", "_export/plan.json"] {
        let error = engine.exported_file(&who().tenant, &text, bad).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{bad}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_goes_when_its_time_is_over_and_so_does_what_never_became_one() {
    let (engine, id, begun) = (filled().await, RunId::new(), RunId::new());
    made(&engine, &who(), &own(id)).await;
    let session = session(&engine).await;
    let ends = Ends(std::sync::atomic::AtomicU64::new(3));
    export(&engine, &who(), &session, &own(begun), &ends).await.unwrap_err();
    let now = Utc::now();
    let swept = |days| engine.sweep_exports(now + TimeDelta::days(days));
    assert_eq!(swept(0).await.unwrap().exports, 0);
    assert_eq!(swept(3).await.unwrap().exports, 1, "the one that never became whole");
    assert!(engine.exported(&who(), &id.to_string()).await.is_ok());
    let gone = swept(8).await.unwrap();
    assert!(gone.exports == 1 && gone.bytes > 0, "{gone:?}");
    assert!(engine.exported(&who(), &id.to_string()).await.is_err());
    assert_eq!(swept(8).await.unwrap().exports, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_kept_than_a_tenant_may_have() {
    let engine = filled().await;
    let small = |bytes_max| {
        let place = ExportPlace::Own { id: RunId::new().to_string(), keep_days: 1, bytes_max };
        ExportRequest { to: place, ..own(RunId::new()) }
    };
    let session = session(&engine).await;
    let whole = made(&engine, &who(), &small(1 << 20)).await;
    // Where there is no room, and where there is less than one takes.
    for bytes_max in [1, whole.bytes, whole.bytes * 2] {
        let asked = small(bytes_max);
        let full = export(&engine, &who(), &session, &asked, &Ends::never()).await.unwrap_err();
        assert_eq!(full.code(), Code::LimitExceeded, "{full}");
        let ExportPlace::Own { id, .. } = &asked.to else { panic!("elsewhere") };
        engine.remove_export(&who(), id).await.unwrap();
    }
    made(&engine, &who(), &small(1 << 20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_has_one_export_and_nothing_else_is_touched() {
    let (engine, folder) = (filled().await, tempfile::tempdir().unwrap());
    let to = folder.path().join("place");
    let asked = request(&to, Form::Csv);
    // Somebody is at it.
    std::fs::create_dir_all(to.join("_export")).unwrap();
    let lock = std::fs::File::create(to.join("_export/lock")).unwrap();
    fs4::fs_std::FileExt::lock_exclusive(&lock).unwrap();
    let refused = exported(&engine, &asked).await.unwrap_err();
    assert_eq!(refused.code(), Code::Conflict, "{refused}");
    drop(lock);
    exported(&engine, &asked).await.unwrap();
    let over = |to: &std::path::Path| ExportRequest {
        there: crate::IfThere::Overwrite,
        ..request(to, Form::Csv)
    };
    // What has the names of an export and is none stays.
    for (name, text) in
        [("_manifest.json", "{\"name\": \"a web app\"}"), ("part-00000.csv", "mine")]
    {
        let other = folder.path().join(name);
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join(name), text).unwrap();
        let refused = exported(&engine, &over(&other)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Conflict, "{refused}");
        assert_eq!(std::fs::read_to_string(other.join(name)).unwrap(), text);
    }
    // A file beside the others that looks like one of them would be read with them.
    std::fs::copy(to.join("part-00000.csv"), to.join("copy.csv")).unwrap();
    let wrong = verify_export(to.to_str().unwrap()).await.unwrap_err().to_string();
    assert!(wrong.contains("copy.csv is not in the manifest"), "{wrong}");
    std::fs::remove_file(to.join("copy.csv")).unwrap();
    // Nor is the same file counted twice.
    let manifest = std::fs::read_to_string(to.join("_manifest.json")).unwrap();
    let mut twice: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let first = twice["files"][0].clone();
    for sum in ["rows", "bytes"] {
        twice[sum] = (twice[sum].as_u64().unwrap() + first[sum].as_u64().unwrap()).into();
    }
    twice["files"].as_array_mut().unwrap().push(first);
    std::fs::write(to.join("_manifest.json"), twice.to_string()).unwrap();
    let wrong = verify_export(to.to_str().unwrap()).await.unwrap_err().to_string();
    assert!(wrong.contains("names a file twice"), "{wrong}");
    exported(&engine, &over(&to)).await.unwrap();
    assert!(verify_export(to.to_str().unwrap()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_another_are_not_gone_on_with() {
    let (engine, folder) = (filled().await, tempfile::tempdir().unwrap());
    let to = folder.path().join("place");
    let other = Principal { tenant: "other".parse().unwrap(), ..who() };
    engine.create_dataset(&other, calls()).await.unwrap();
    let session = session(&engine).await;
    let asked = request(&to, Form::Csv);
    let mut was_begun = false;
    for looks in 0.. {
        let ends = Ends(std::sync::atomic::AtomicU64::new(looks));
        if export(&engine, &who(), &session, &asked, &ends).await.is_ok() {
            break;
        }
        was_begun |= to.join("_export/plan.json").exists();
        let others = engine.session(&other, &[]).await.unwrap();
        let done = export(&engine, &other, &others, &asked, &Ends::never()).await;
        assert_eq!(done.unwrap_err().code(), Code::Conflict);
    }
    assert!(was_begun);
}

#[tokio::test(flavor = "multi_thread")]
async fn places_that_keep_nothing_or_lead_elsewhere_are_refused() {
    let (engine, folder) = (filled().await, tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(path("linked")).unwrap();
    std::fs::create_dir_all(path("elsewhere")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(path("elsewhere"), path("linked/_export")).unwrap();
    std::fs::write(path("file"), "").unwrap();
    for (to, says) in [
        ("memory://x".to_owned(), "gone with the process"),
        (path("linked").display().to_string(), "is a link to a folder"),
        (path("file").display().to_string(), "expected a folder"),
        (path("file/below").display().to_string(), "can not be made"),
        ("nothing://x".to_owned(), "nothing"),
    ] {
        let place = ExportPlace::Elsewhere(to.clone());
        let asked = ExportRequest { to: place, ..request(folder.path(), Form::Csv) };
        let refused = exported(&engine, &asked).await.unwrap_err().to_string();
        assert!(refused.contains(says), "{to}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_tried_again_finds_what_it_made_whole() {
    let (engine, id) = (filled().await, RunId::new());
    let of = |run: &str| ExportRequest { run_id: Some(run.to_owned()), ..own(id) };
    let first = made(&engine, &who(), &of("a")).await;
    assert_eq!(made(&engine, &who(), &of("a")).await, first);
    let session = session(&engine).await;
    let other = export(&engine, &who(), &session, &of("b"), &Ends::never()).await.unwrap_err();
    assert_eq!(other.code(), Code::Conflict, "{other}");
}
