//! Files as one commit.

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use datasets::read::{ReadOptions, Source};

use super::*;
use crate::{Code, LoadOptions, LoadProgress, OnConflict, Version};

fn source(path: &Path) -> Source {
    Source::File { path: path.to_owned(), name: "calls.ndjson".to_owned() }
}

fn file(folder: &Path, lines: &[String]) -> Source {
    let path = folder.join("calls.ndjson");
    std::fs::File::create(&path).unwrap().write_all(lines.join("\n").as_bytes()).unwrap();
    source(&path)
}

fn line(id: usize) -> String {
    let month = id % 3 + 1;
    format!("{{\"id\": {id}, \"at\": \"2026-{month:02}-05T00:00:00Z\", \"tokens\": {id}}}")
}

fn parquet_files(folder: &Path) -> usize {
    let mut found = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found += parquet_files(&entry.path());
        } else if entry.path().extension().is_some_and(|e| e == "parquet") {
            found += 1;
        }
    }
    found
}

async fn load(engine: &Engine, source: Source, options: LoadOptions) -> Result<IngestReceipt> {
    engine.load(&who(), &name("calls"), source, Format::Ndjson, options).await
}

#[tokio::test]
async fn a_load_that_fails_on_its_way_leaves_no_dataset() {
    let folder = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(root.path().to_str().unwrap())).await.unwrap();
    let create = || LoadOptions { create: Some(calls()), ..LoadOptions::default() };
    let twice = LoadOptions { on_conflict: OnConflict::Error, ..create() };
    let lines = [line(1), line(2), line(1)];
    let error = load(&engine, file(folder.path(), &lines), twice.clone()).await.unwrap_err();
    assert!(error.to_string().contains("more than once"), "{error}");
    let there = engine.refresh_catalog(&who()).await.unwrap();
    assert!(there.datasets.is_empty() && there.dropped.is_empty());
    assert_eq!(parquet_files(root.path()), 0);
    // The name is free, and what is there stays when another file fails.
    load(&engine, file(folder.path(), &lines[..2]), create()).await.unwrap();
    load(&engine, file(folder.path(), &lines), twice).await.unwrap_err();
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 2);
}

#[tokio::test]
async fn a_load_that_can_not_begin_makes_no_dataset() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(options("memory:")).await.unwrap();
    let create = LoadOptions { create: Some(calls()), ..LoadOptions::default() };
    let missing = Source::File { path: "/no/such.ndjson".into(), name: "such.ndjson".to_owned() };
    load(&engine, missing, create.clone()).await.unwrap_err();
    let headless = [r#"{"at": "2026-01-05", "tokens": "x"}"#.to_owned(), "nonsense".to_owned()];
    let mut fixed = calls();
    fixed.evolution = datasets::Evolution::Fixed;
    let fixed = LoadOptions { create: Some(fixed), ..create };
    let csv = Source::Body { bytes: "model,tokens\na,1\n".into(), name: "calls.csv".to_owned() };
    let error = engine.load(&who(), &name("calls"), csv, Format::Csv, fixed).await.unwrap_err();
    assert!(error.to_string().contains("\"id\""), "{error}");
    assert!(engine.refresh_catalog(&who()).await.unwrap().datasets.is_empty());
    assert!(load(&engine, file(folder.path(), &headless), LoadOptions::default()).await.is_err());
}

#[tokio::test]
async fn a_file_is_one_commit_with_its_bad_rows_aside() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(options("memory:")).await.unwrap();
    let mut lines: Vec<String> = (0..20_000).map(line).collect();
    lines[500] = "{\"id\": \"x\"}".to_owned();
    lines[15_000] = "nonsense".to_owned();
    let told = Arc::new(AtomicU64::new(0));
    let heard = Arc::clone(&told);
    let options = LoadOptions {
        producer: Some(("file".to_owned(), 0)),
        create: Some(calls()),
        progress: Some(Arc::new(move |progress: LoadProgress| {
            heard.store(progress.accepted, Ordering::Relaxed);
        })),
        ..LoadOptions::default()
    };
    let receipt = load(&engine, file(folder.path(), &lines), options.clone()).await.unwrap();
    assert_eq!((receipt.accepted, receipt.quarantined), (19_998, 2));
    assert_eq!(receipt.version, Version(1));
    assert_eq!(told.load(Ordering::Relaxed), 19_998);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 19_998);
    assert_eq!(number(&engine, "SELECT count(DISTINCT at_month) FROM calls").await, 3);
    let reasons = query(&engine, "SELECT source, line FROM calls_quarantine ORDER BY line").await;
    assert!(reasons.contains("501") && reasons.contains("15001"), "{reasons}");

    let again = load(&engine, file(folder.path(), &lines), options).await.unwrap();
    assert!(again.duplicate);
    assert_eq!(number(&engine, "SELECT count(*) FROM calls_quarantine").await, 2);
}

#[tokio::test]
async fn another_file_under_the_same_number_is_a_conflict() {
    let (engine, folder) = (engine().await, tempfile::tempdir().unwrap());
    let options = LoadOptions { producer: Some(("file".to_owned(), 0)), ..LoadOptions::default() };
    let send = async |id| {
        let source = file(folder.path(), &[line(id)]);
        load(&engine, source, options.clone()).await
    };
    assert!(!send(1).await.unwrap().duplicate);
    let other = send(2).await.unwrap_err();
    assert_eq!(other.code(), Code::Conflict);
    assert!(other.to_string().contains("another body"), "{other}");
    assert!(send(1).await.unwrap().duplicate);
    // It is known by its bytes, in whatever way they come.
    let request = IngestRequest { rows: ndjson(&line(1)), producer: sequence("file", 0) };
    assert!(engine.ingest(&who(), &name("calls"), request).await.unwrap().duplicate);
}

#[tokio::test]
async fn a_file_that_fails_midway_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let engine = Engine::open(options(root.to_str().unwrap())).await.unwrap();
    engine.create_dataset(&who(), calls()).await.unwrap();
    let mut lines: Vec<String> = (0..30_000).map(line).collect();
    lines[10] = "nonsense".to_owned();
    let path = folder.path().join("calls.ndjson.gz");
    let text = lines.join("\n");
    // A gzip file that is cut off.
    let mut packed = flate2_like(text.as_bytes());
    packed.truncate(packed.len() / 2);
    std::fs::write(&path, packed).unwrap();
    let error = load(&engine, source(&path), LoadOptions::default()).await.unwrap_err();
    assert!(!error.to_string().contains(folder.path().to_str().unwrap()), "{error}");
    assert_eq!(number(&engine, "SELECT count(*) FROM calls").await, 0);
    assert_eq!(engine.history(&who(), &name("calls"), 9).await.unwrap().len(), 1);
    assert_eq!(parquet_files(&root), 0, "data files of the failed load were left");
}

/// Gzip, stored and not compressed, so that half of it still has half of the rows.
fn flate2_like(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut chunks = bytes.chunks(60_000).peekable();
    while let Some(chunk) = chunks.next() {
        out.push(u8::from(chunks.peek().is_none()));
        let length = chunk.len() as u16;
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(chunk);
    }
    out.extend([0; 8]);
    out
}

#[tokio::test]
async fn a_file_that_is_not_there_or_not_for_the_dataset_is_told() {
    let engine = engine().await;
    let folder = tempfile::tempdir().unwrap();
    let none = load(&engine, source(&folder.path().join("none")), LoadOptions::default()).await;
    let none = none.unwrap_err();
    assert_eq!(none.code(), Code::NotFound, "{none}");
    assert!(none.to_string().starts_with("calls.ndjson: "), "{none}");
    let lines = ["id,at".to_owned(), "1,2".to_owned()];
    let other = load(&engine, file(folder.path(), &lines), LoadOptions::default()).await;
    assert_eq!(other.unwrap_err().code(), Code::BadInput);
    let to = name("nowhere");
    let source = file(folder.path(), &lines);
    let nowhere = engine.load(&who(), &to, source, Format::Ndjson, LoadOptions::default()).await;
    assert_eq!(nowhere.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_load_of_which_no_row_fits_creates_no_dataset() {
    let root = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(root.path().to_str().unwrap())).await.unwrap();
    let load = async |text: &str| {
        let source = Source::Body { bytes: text.to_owned().into(), name: "n.csv".to_owned() };
        let spec = "name = \"numbers\"\ncolumns = [{name = \"n\", type = \"int64\"}]";
        let spec = DatasetSpec::from_toml(spec, "numbers.toml").unwrap();
        let create = LoadOptions { create: Some(spec), ..LoadOptions::default() };
        engine.load(&who(), &name("numbers"), source, Format::Csv, create).await
    };
    let error = load("n\nx\n007\n").await.unwrap_err();
    assert_eq!(error.code(), Code::BadInput);
    let message = error.to_string();
    for part in [
        "n.csv: none of 2 rows fits; dataset numbers was not created; 1 rows: \"n\": expected int64, the first at",
        "expected int64 without a leading zero",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let there = engine.refresh_catalog(&who()).await.unwrap();
    assert!(there.datasets.is_empty() && there.dropped.is_empty());
    assert_eq!(parquet_files(root.path()), 0);
    // One row is enough, and a dataset that exists stays.
    load("n\nx\n7\n").await.unwrap();
    let receipt = load("n\nx\n").await.unwrap();
    assert_eq!((receipt.accepted, receipt.quarantined), (0, 1));
    assert_eq!(number(&engine, "SELECT count(*) FROM numbers").await, 1);
}

#[tokio::test]
async fn each_sheet_of_a_workbook_is_a_load_of_its_own() {
    let engine = Engine::open(options("memory:")).await.unwrap();
    let spec = "name = \"months\"\ncolumns = [{name = \"n\", type = \"int64\"}]";
    engine
        .create_dataset(&who(), DatasetSpec::from_toml(spec, "months.toml").unwrap())
        .await
        .unwrap();
    let mut workbook = rust_xlsxwriter::Workbook::new();
    for (number, month) in [(1.0, "Jan"), (2.0, "Feb")] {
        let sheet = workbook.add_worksheet().set_name(month).unwrap();
        sheet.write_string(0, 0, "n").unwrap();
        sheet.write_number(1, 0, number).unwrap();
    }
    let bytes = workbook.save_to_buffer().unwrap();
    let load = async |sheet: Option<&str>| {
        let source = Source::Body { bytes: bytes.clone().into(), name: "months.xlsx".to_owned() };
        let read = ReadOptions { sheet: sheet.map(str::to_owned), ..ReadOptions::default() };
        let options =
            LoadOptions { on_conflict: OnConflict::Again, read, ..LoadOptions::default() };
        engine.load(&who(), &name("months"), source, Format::Xlsx, options).await
    };
    load(Some("Jan")).await.unwrap();
    load(Some("Feb")).await.unwrap();
    assert_eq!(number(&engine, "SELECT sum(n) FROM months").await, 3);
    // The first sheet is the one that is read without a request.
    for sheet in [None, Some("Jan"), Some("Feb")] {
        let error = load(sheet).await.unwrap_err();
        assert_eq!(error.code(), Code::Conflict, "{sheet:?}: {error}");
    }
    let error = load(Some("Feb")).await.unwrap_err().to_string();
    assert!(error.contains("months.xlsx, sheet \"Feb\": it was loaded before"), "{error}");
}
