//! Exports: what they hold is what was asked for, and one that has not ended is known for that.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::{
    Code, ExportOptions, ExportPlace, ExportRequest, ExportSource, ExportWatch, Form, Grant,
    GrantSet, Grants, IfThere, Manifest, Mask, Packing, export, verify_export,
};

/// Ends an export after so many looks.
pub(super) struct Ends(pub(super) AtomicU64);

impl Ends {
    pub(super) fn never() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl ExportWatch for Ends {
    fn check(&self) -> Result<()> {
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
        {
            Ok(_) => Ok(()),
            Err(_) => Err(crate::Error::user(Code::Cancelled, "it was told to end")),
        }
    }

    fn rows(&self, _: u64) {}
}

/// Four files of 30 rows.
pub(super) async fn filled() -> Engine {
    let engine = engine().await;
    for file in 0..4 {
        send(&engine, file * 30..(file + 1) * 30, None).await.unwrap();
    }
    engine
}

pub(super) fn request(to: &Path, form: Form) -> ExportRequest {
    ExportRequest {
        source: ExportSource::Dataset {
            dataset: name("calls"),
            condition: None,
            columns: Vec::new(),
            since: None,
        },
        to: ExportPlace::Elsewhere(to.to_str().unwrap().to_owned()),
        options: ExportOptions::of(form),
        there: IfThere::Refuse,
        file_rows: 30,
        partition_by: Vec::new(),
        run_id: None,
    }
}

pub(super) async fn exported(engine: &Engine, request: &ExportRequest) -> Result<Manifest> {
    export(engine, &who(), &session(engine).await, request, &Ends::never()).await
}

/// What lies in a folder, by name.
pub(super) fn there(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut there = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => there.extend(
                self::there(&entry.path()).into_iter().map(|(of, b)| (format!("{name}/{of}"), b)),
            ),
            // What a part wrote that was broken off goes by itself.
            false => there.extend(fs::read(entry.path()).ok().map(|bytes| (name, bytes))),
        }
    }
    there
}

/// The ids in a set of Parquet files.
fn ids(folder: &Path) -> Vec<i64> {
    let mut ids = Vec::new();
    for (name, bytes) in there(folder).iter().filter(|(name, _)| name.ends_with(".parquet")) {
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes.clone())).unwrap();
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            let column = batch.column_by_name("id").unwrap_or_else(|| panic!("{name}"));
            ids.extend(column.as_any().downcast_ref::<Int64Array>().unwrap().values().iter());
        }
    }
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_becomes_files_that_say_what_they_hold() {
    let (engine, folder) = (filled().await, tempfile::tempdir().unwrap());
    for form in Form::ALL {
        let to = folder.path().join(format!("{form:?}"));
        let manifest = exported(&engine, &request(&to, form)).await.unwrap();
        assert_eq!((manifest.rows, manifest.files.len()), (120, 4), "{form:?}");
        assert_eq!(verify_export(to.to_str().unwrap()).await.unwrap(), manifest);
        let names: Vec<String> = there(&to).into_keys().collect();
        assert_eq!(names.len(), 5, "nothing else is left: {names:?}");
        let says: serde_json::Value =
            serde_json::from_slice(&there(&to)["_manifest.json"]).unwrap();
        assert_eq!(says["source"]["dataset"], "calls");
        assert_eq!(says["datasets"][0], serde_json::json!({"dataset": "calls", "version": 4}));
        assert_eq!((&says["requested_by"], &says["is_part"]), (&"local".into(), &false.into()));
        assert_eq!(says["columns"][1]["type"], "timestamp");
    }
    assert_eq!(ids(&folder.path().join("Parquet")), (0..120).collect::<Vec<_>>());
    let text: String = (there(&folder.path().join("Csv")).into_iter())
        .filter(|(name, _)| name.ends_with(".csv"))
        .map(|(_, bytes)| String::from_utf8(bytes).unwrap())
        .collect();
    assert_eq!(text.lines().count(), 124, "each file has its header");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_columns_and_queries_are_as_asked_for() {
    let (engine, folder) = (filled().await, tempfile::tempdir().unwrap());
    let of = |condition: Option<&str>, columns: &[&str]| ExportSource::Dataset {
        dataset: name("calls"),
        condition: condition.map(str::to_owned),
        columns: columns.iter().map(ToString::to_string).collect(),
        since: None,
    };
    let to = folder.path().join("part");
    let source = of(Some("id >= 100 AND model = 'm0'"), &["tokens", "id"]);
    let part = ExportRequest { source, ..request(&to, Form::Parquet) };
    let manifest = exported(&engine, &part).await.unwrap();
    let names: Vec<&str> = manifest.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!((names, manifest.rows), (vec!["tokens", "id"], 6));
    assert_eq!(ids(&to), [102, 105, 108, 111, 114, 117]);

    let to = folder.path().join("sql");
    let sql = "SELECT model, count(*) AS calls FROM calls GROUP BY model ORDER BY model";
    let query = ExportRequest { source: ExportSource::Sql(sql.into()), ..request(&to, Form::Csv) };
    let manifest = exported(&engine, &query).await.unwrap();
    assert_eq!((manifest.rows, manifest.datasets[0].version.0), (3, 4));
    assert_eq!(there(&to)["part-00000.csv"], b"model,calls\nm0,40\nm1,40\nm2,40\n");
    // An answer without rows is one, too.
    let to = folder.path().join("none");
    let none = ExportRequest { source: of(Some("id < 0"), &["id"]), ..request(&to, Form::Csv) };
    assert_eq!(exported(&engine, &none).await.unwrap().rows, 0);
    assert!(verify_export(to.to_str().unwrap()).await.is_ok());
    assert_eq!(there(&to)["part-00000.csv"], b"id\n");

    for (source, says) in [
        (of(None, &["tokns"]), "no column \"tokns\"; did you mean tokens?"),
        (of(None, &["id", "id"]), "\"id\" is named twice"),
        (of(Some("tokns > 1"), &[]), "tokns"),
        (
            ExportSource::Dataset {
                dataset: name("cals"),
                condition: None,
                columns: vec![],
                since: None,
            },
            "did you mean calls?",
        ),
        (ExportSource::Sql("DELETE FROM calls".into()), "SELECT"),
    ] {
        let to = folder.path().join("wrong");
        let refused = exported(&engine, &ExportRequest { source, ..request(&to, Form::Csv) }).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_ended_goes_on_and_becomes_the_same() {
    let (engine, folder) = (filled().await, tempfile::tempdir().unwrap());
    let whole = folder.path().join("whole");
    exported(&engine, &request(&whole, Form::Csv)).await.unwrap();
    let files = |folder: &Path| {
        let mut files = there(folder);
        files.remove("_manifest.json");
        files
    };
    let to = folder.path().join("ended");
    let session = session(&engine).await;
    let (mut ended, mut went_on) = (0, false);
    for looks in 0.. {
        let ends = Ends(AtomicU64::new(looks / 3));
        let asked = request(&to, Form::Csv);
        let done = export(&engine, &who(), &session, &asked, &ends).await;
        if done.is_ok() {
            break;
        }
        ended += 1;
        let error = verify_export(to.to_str().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("is not whole"), "{error}");
        went_on |= there(&to).keys().any(|name| name.starts_with("_export/part-"));
        // What a process leaves that ends while it writes.
        fs::write(to.join("part-00003.csv#7"), "half").unwrap();
        // Another export is not mixed with it.
        let other = ExportRequest { file_rows: 60, ..request(&to, Form::Csv) };
        let refused = export(&engine, &who(), &session, &other, &Ends::never()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Conflict, "{refused}");
        assert!(looks < 100);
    }
    assert!(ended > 3 && went_on, "{ended}");
    assert_eq!(files(&to), files(&whole));
    assert!(verify_export(to.to_str().unwrap()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_there_is_kept_unless_it_is_an_export_and_that_is_asked_for() {
    let (engine, folder) = (filled().await, tempfile::tempdir().unwrap());
    let to = folder.path();
    exported(&engine, &request(to, Form::Csv)).await.unwrap();
    let again = exported(&engine, &request(to, Form::Csv)).await.unwrap_err();
    assert_eq!(again.code(), Code::Conflict);
    assert!(again.to_string().contains("overwrite"), "{again}");
    let over = ExportRequest { there: IfThere::Overwrite, ..request(to, Form::Parquet) };
    assert_eq!(exported(&engine, &over).await.unwrap().files.len(), 4);
    assert!(there(to).keys().all(|name| !name.ends_with("csv")), "the one before is gone");
    fs::write(to.join("notes.txt"), "mine").unwrap();
    let refused = exported(&engine, &over).await.unwrap_err();
    assert!(refused.to_string().contains("notes.txt lies there"), "{refused}");
    assert!(verify_export(to.to_str().unwrap()).await.is_ok(), "nothing was removed for it");
    let file = folder.path().join("notes.txt");
    let refused = exported(&engine, &request(&file, Form::Csv)).await.unwrap_err();
    assert!(refused.to_string().contains("this is a file"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_since_is_found() {
    let (engine, folder) = (filled().await, tempfile::tempdir().unwrap());
    let to = folder.path().join("set");
    exported(&engine, &request(&to, Form::Csv)).await.unwrap();
    let at = to.to_str().unwrap();
    let file = to.join("part-00001.csv");
    let before = fs::read(&file).unwrap();
    let mut other = before.clone();
    other[20] ^= 1;
    for (bytes, says) in [
        (Some(other), "part-00001.csv has other bytes than were written"),
        (Some(before[1..].to_vec()), "expected"),
        (None, "part-00001.csv is missing"),
    ] {
        match bytes {
            Some(bytes) => fs::write(&file, bytes).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let error = verify_export(at).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    fs::write(&file, before).unwrap();
    verify_export(at).await.unwrap();
    fs::write(to.join("part-00004.csv"), "id\n").unwrap();
    let error = verify_export(at).await.unwrap_err();
    assert!(error.to_string().contains("part-00004.csv is not in the manifest"), "{error}");
    fs::remove_file(to.join("part-00004.csv")).unwrap();
    for (from, to_text) in
        [("\"rows\": 120", "\"rows\": 121"), ("\"format_version\": 1", "\"format_version\": 9")]
    {
        let text = fs::read_to_string(to.join("_manifest.json")).unwrap();
        fs::write(to.join("_manifest.json"), text.replacen(from, to_text, 1)).unwrap();
        assert!(verify_export(at).await.is_err(), "{to_text}");
        fs::write(to.join("_manifest.json"), text).unwrap();
    }
    for (at, says) in
        [(folder.path().join("no"), "no such folder"), (folder.path().into(), "_manifest.json")]
    {
        let error = verify_export(at.to_str().unwrap()).await.unwrap_err();
        assert!(error.code() == Code::NotFound && error.to_string().contains(says), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_a_part_exports_that_part() {
    let (engine, folder) = (filled().await, tempfile::tempdir().unwrap());
    let grant = Grant {
        rows: Some("id < 10".to_owned()),
        masks: [("model".to_owned(), Mask::Hide)].into(),
    };
    let set = GrantSet { salt: None, datasets: [("calls".to_owned(), grant)].into() };
    let part = Principal { grants: Grants::limited(set, [].into()).unwrap(), ..who() };
    let session = engine.session(&part, &[]).await.unwrap();
    let to = folder.path().join("part");
    let asked = request(&to, Form::Csv);
    let manifest = export(&engine, &part, &session, &asked, &Ends::never()).await.unwrap();
    // Nor is told in how many files the rest lies.
    assert_eq!((manifest.rows, manifest.files.len(), manifest.is_part), (10, 1, true));
    let text = String::from_utf8(there(&to)["part-00000.csv"].clone()).unwrap();
    assert!(!text.contains("m0") && !text.contains("m1"), "{text}");
    // What one began who sees less is not gone on with by another.
    fs::remove_file(to.join("_manifest.json")).unwrap();
    let refused = exported(&engine, &asked).await.unwrap_err();
    assert_eq!(refused.code(), Code::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_exported_into_the_root() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let engine = Engine::open(options(root.to_str().unwrap())).await.unwrap();
    engine.create_dataset(&who(), calls()).await.unwrap();
    send(&engine, 0..3, None).await.unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&root, &link).unwrap();
    let inside = [
        root.clone(),
        root.join("default/new"),
        link.join("x"),
        root.join("default/../b"),
        root.join("default/x://evil"),
        format!("file://{}", root.join("default/evil").display()).into(),
        format!("file:{}", root.display()).into(),
    ];
    for to in inside {
        let refused = exported(&engine, &request(&to, Form::Csv)).await.unwrap_err();
        assert!(refused.to_string().contains("lies in the root"), "{refused}");
    }
    let beside = folder.path().join("data-export");
    assert_eq!(exported(&engine, &request(&beside, Form::Csv)).await.unwrap().rows, 3);
    let packed = ExportOptions { packing: Packing::Gzip, ..ExportOptions::of(Form::Csv) };
    let to = folder.path().join("packed");
    let packed = ExportRequest { options: packed, ..request(&to, Form::Csv) };
    let manifest = exported(&engine, &packed).await.unwrap();
    assert_eq!(manifest.files[0].name, "part-00000.csv.gz");
    drop(engine);
}
