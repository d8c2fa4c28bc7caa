//! How files of separated values are read: their encoding, their line ends and the line `sep=`.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;

use super::*;
use crate::encode::JsonRows;
use crate::spec::LoadSettings;

/// The rows that the command line reads by `settings`, and the places and reasons of the others.
fn rows(
    text: impl Into<Vec<u8>>,
    settings: &[(&str, &str)],
) -> Result<(Vec<String>, Vec<(u64, String)>)> {
    let mut load = LoadSettings::default();
    settings.iter().try_for_each(|(name, value)| load.set(name, value))?;
    let csv = load.csv_options(TextEncoding::Found);
    let options = ReadOptions { csv, ..ReadOptions::default() };
    let source = Source::Body { bytes: Bytes::from(text.into()), name: "f.csv".into() };
    read_all(source, None, &options)
}

fn read_all(
    source: Source,
    target: Option<&DatasetSpec>,
    options: &ReadOptions,
) -> Result<(Vec<String>, Vec<(u64, String)>)> {
    let mut reader = open(source, Format::Csv, target, options)?;
    let (mut rows, mut reasons) = (Vec::new(), Vec::new());
    while let Some(chunk) = reader.next_chunk()? {
        let encoder = JsonRows::new(&chunk.batch).unwrap();
        for row in 0..chunk.batch.num_rows() {
            let mut text = String::new();
            encoder.write(row, &mut text);
            rows.push(text);
        }
        let line = |row: &RejectedRow| row.position.line.unwrap();
        reasons.extend(chunk.rejected.iter().map(|row| (line(row), row.reason.clone())));
    }
    Ok((rows, reasons))
}

#[test]
fn one_invalid_byte_rejects_one_row_of_a_utf8_file() {
    let mut text = "Größe;name\n".as_bytes().to_vec();
    for row in 0..1_000 {
        text.extend(format!("{row};Müller-Größe\n").as_bytes());
        if row == 500 {
            text.extend(b"1;M\xFFller\n");
        }
    }
    let (rows, reasons) = rows(text, &[]).unwrap();
    assert_eq!(rows.len(), 1_000);
    assert_eq!(rows[999], r#"{"Größe":999,"name":"Müller-Größe"}"#);
    let reason = "\"name\": expected UTF-8 text, found byte 0xFF; if the file has another encoding, state its `encoding`";
    assert_eq!(reasons, [(503, reason.to_owned())]);
}

#[test]
fn a_header_in_another_encoding_names_the_option() {
    let error = rows(b"gr\xF6\xDFe;n\n1;2\n", &[("encoding", "utf-8")]).unwrap_err().to_string();
    assert!(error.contains("found byte 0xF6; if the file has another encoding"), "{error}");
    assert!(error.contains("`?encoding=windows-1252` over HTTP"), "{error}");
}
