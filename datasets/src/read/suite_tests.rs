//! JSONTestSuite and csv-spectrum: each file goes through every reader that can receive such text.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use bytes::Bytes;
use serde_json::Value;

use super::public_tests::shared_data;
use super::*;
use crate::conform::Conformer;
use crate::infer::to_identifier;

/// The value of a JSON column in a file of `format` with one row; `None` if the row or the file is refused.
fn documents(bytes: Vec<u8>, format: Format) -> Option<String> {
    let spec = r#"{"name": "a", "columns": [{"name": "v", "type": "json", "nullable": true}]}"#;
    let spec = DatasetSpec::from_json(spec).unwrap();
    let source = Source::Body { bytes: Bytes::from(bytes), name: "f".into() };
    let read = || -> Result<Vec<String>> {
        let mut reader = open(source, format, Some(&spec), &ReadOptions::default())?;
        let conformer = Conformer::new(&spec, &reader.schema(), "f")?;
        let mut found = Vec::new();
        while let Some(chunk) = reader.next_chunk()? {
            let rows = conformer.conform(&chunk)?.accepted;
            let texts = rows.column(0).as_string::<i32>();
            found.extend(texts.iter().map(|text| text.unwrap_or("null").to_owned()));
        }
        Ok(found)
    };
    let found = read().unwrap_or_default();
    assert!(found.len() <= 1, "{found:?}");
    found.into_iter().next()
}

fn in_parquet(document: &str) -> Vec<u8> {
    let values: ArrayRef = Arc::new(StringArray::from(vec![document]));
    let batch = RecordBatch::try_from_iter([("v", values)]).unwrap();
    let mut bytes = Vec::new();
    let mut writer =
        ::parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn in_array(document: &[u8]) -> Vec<u8> {
    [b"[{\"v\": ".as_slice(), document, b"}]"].concat()
}

fn in_csv(document: &[u8]) -> Vec<u8> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    // With a second column, an empty document does not make an empty line.
    writer.write_record(["v", "w"]).unwrap();
    writer.write_record([document, b""]).unwrap();
    writer.into_inner().unwrap()
}

fn files(folder: PathBuf, extension: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|of| of == extension))
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn documents_of_the_json_test_suite_are_accepted_or_refused_as_it_says() {
    let Some(folder) = shared_data("documents_of_the_json_test_suite") else { return };
    let files = files(folder.join("json_test_suite"), "json");
    let mut counts = [0; 3];
    for (name, bytes) in &files {
        let text = std::str::from_utf8(bytes).ok();
        let is_document = json::check_document(bytes).is_ok();
        // All readers agree.
        let array = documents(in_array(bytes), Format::Ndjson);
        assert_eq!(array.is_some(), is_document, "{name} in an array: {array:?}");
        let line = [b"{\"v\": ".as_slice(), bytes, b"}"].concat();
        if !bytes.contains(&b'\n') && !bytes.contains(&b'\r') {
            let line = documents(line, Format::Ndjson);
            assert_eq!(line.is_some(), is_document, "{name} in a line: {line:?}");
        }
        if let Some(text) = text {
            let parquet = documents(in_parquet(text), Format::Parquet);
            assert_eq!(parquet.is_some(), is_document, "{name} in Parquet: {parquet:?}");
        }
        let kind = ["y_", "n_", "i_"].iter().position(|kind| name.starts_with(kind)).unwrap();
        counts[kind] += 1;
        match kind {
            0 => {
                assert!(is_document, "{name} is refused");
                let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
                assert_eq!(value(&array.unwrap()), value(text.unwrap()), "{name}");
            }
            1 => assert!(!is_document, "{name} is taken"),
            _ => {}
        }
    }
    assert_eq!(counts, [95, 188, 35]);
}

#[test]
fn documents_in_csv_fields_are_accepted_or_refused_alike() {
    let Some(folder) = shared_data("documents_in_csv_fields") else { return };
    let spec = r#"{"name": "a", "columns": [
        {"name": "v", "type": "json", "nullable": true}, {"name": "w", "type": "text", "nullable": true}]}"#;
    let spec = DatasetSpec::from_json(spec).unwrap();
    for (name, bytes) in files(folder.join("json_test_suite"), "json") {
        let source = Source::Body { bytes: Bytes::from(in_csv(&bytes)), name: "f".into() };
        let Ok(mut reader) = open(source, Format::Csv, Some(&spec), &ReadOptions::default()) else {
            assert!(json::check_document(&bytes).is_err(), "{name} is refused with its file");
            continue;
        };
        let conformer = Conformer::new(&spec, &reader.schema(), "f").unwrap();
        let chunk = reader.next_chunk().unwrap().unwrap();
        let rows = conformer.conform(&chunk).unwrap();
        let found = rows.accepted.num_rows() == 1 && rows.accepted.column(0).is_valid(0);
        assert_eq!(found, json::check_document(&bytes).is_ok(), "{name}: {:?}", rows.rejected);
    }
}

#[test]
fn csv_spectrum_has_the_rows_that_its_json_says() {
    let Some(folder) = shared_data("csv_spectrum_has_the_rows") else { return };
    let expected = files(folder.join("csv_spectrum/json"), "json");
    let csvs = files(folder.join("csv_spectrum/csvs"), "csv");
    assert_eq!((csvs.len(), expected.len()), (12, 12));
    for ((name, csv), (_, json)) in csvs.into_iter().zip(expected) {
        let rows = match serde_json::from_slice::<Value>(&json).unwrap() {
            Value::Array(rows) => rows,
            row => vec![row],
        };
        let names: Vec<String> = rows[0].as_object().unwrap().keys().cloned().collect();
        let columns: Vec<String> = names
            .iter()
            .map(|name| {
                format!(
                    r#"{{"name": "{}", "type": "text", "nullable": true}}"#,
                    to_identifier(name)
                )
            })
            .collect();
        let spec = format!(r#"{{"name": "a", "columns": [{}]}}"#, columns.join(","));
        let spec = DatasetSpec::from_json(&spec).unwrap();
        // Our copy of the collection has Unix line endings.
        let csv = match name.contains("crlf") && !csv.contains(&b'\r') {
            true => String::from_utf8(csv).unwrap().replace('\n', "\r\n").into_bytes(),
            false => csv,
        };
        let source = Source::Body { bytes: Bytes::from(csv), name: name.clone() };
        let mut reader = open(source, Format::Csv, Some(&spec), &ReadOptions::default()).unwrap();
        let chunk = reader.next_chunk().unwrap().unwrap();
        assert!(chunk.rejected.is_empty(), "{name}: {:?}", chunk.rejected);
        assert_eq!(chunk.batch.num_rows(), rows.len(), "{name}");
        for (at, row) in rows.iter().enumerate() {
            for (column, of) in chunk.batch.columns().iter().zip(&names) {
                // The telephone numbers of the collection's JSON and CSV differ.
                if of == "Contact Phone Number" {
                    continue;
                }
                let texts = column.as_string::<i32>();
                let found = if texts.is_null(at) { "" } else { texts.value(at) };
                assert_eq!(found, row[of].as_str().unwrap(), "{name} {of} {at}");
            }
        }
    }
}
