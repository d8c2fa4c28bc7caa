//! How files of separated values are read: their encoding, their line ends and the line `sep=`.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;

use super::*;
use crate::encode::JsonRows;
use crate::infer::{GuessOptions, guess};
use crate::spec::LoadSettings;

/// Accepted rows as JSON, and the line and reason of each rejected row.
type Read = (Vec<String>, Vec<(u64, String)>);

/// The accepted rows under `settings`, and the line and reason of each rejected row.
fn rows(text: impl Into<Vec<u8>>, settings: &[(&str, &str)]) -> Result<Read> {
    let mut load = LoadSettings::default();
    settings.iter().try_for_each(|(name, value)| load.set(name, value))?;
    let csv = load.csv_options(TextEncoding::Found);
    let options = ReadOptions { csv, ..ReadOptions::default() };
    let source = Source::Body { bytes: Bytes::from(text.into()), name: "f.csv".into() };
    read_all(source, None, &options)
}

fn read_all(source: Source, target: Option<&DatasetSpec>, options: &ReadOptions) -> Result<Read> {
    let mut reader = open(source, Format::Csv, target, options)?;
    let (mut rows, mut reasons) = (Vec::new(), Vec::new());
    while let Some(chunk) = reader.next_chunk()? {
        let encoder = JsonRows::new(&chunk.batch).unwrap();
        for row in 0..chunk.batch.num_rows() {
            let mut text = String::new();
            encoder.write(row, &mut text).unwrap();
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

#[test]
fn lone_carriage_returns_end_lines() {
    let (found, reasons) = rows("id;name\r1;abc\r2;def\r", &[]).unwrap();
    assert_eq!(found, [r#"{"id":1,"name":"abc"}"#, r#"{"id":2,"name":"def"}"#]);
    assert!(reasons.is_empty(), "{reasons:?}");
    // Line ends in quotes stay what they are, and lines are counted.
    let text = "id,name\r1,\"a\rb\nc\"\"d\"\r\r2,\"x\r\n\"\r3,4,5\r7,'tis";
    let (found, reasons) = rows(text, &[]).unwrap();
    let expected = [
        r#"{"id":1,"name":"a\rb\nc\"d"}"#,
        r#"{"id":2,"name":"x\r\n"}"#,
        r#"{"id":7,"name":"'tis"}"#,
    ];
    assert_eq!(found, expected);
    assert_eq!(reasons, [(7, "expected 2 fields, found 3".to_owned())]);
    let (_, reasons) = rows("id,name\r1,\"open\r2,x\r", &[]).unwrap();
    let open = "expected a closing \" for the one on line 2, found the end; 1 lines behind it are in this row";
    assert_eq!(reasons, [(2, open.to_owned())]);
    // In a file with LF, CR is an ordinary character.
    let (found, _) = rows("id,name\n1,a\rb\n2,\"c\rd\"\r\n", &[]).unwrap();
    assert_eq!(found, [r#"{"id":1,"name":"a\rb"}"#, r#"{"id":2,"name":"c\rd"}"#]);
    let (found, _) = rows("id,name\n1,\"a\rb\"\n", &[]).unwrap();
    assert_eq!(found, [r#"{"id":1,"name":"a\rb"}"#]);
    // A line that ends otherwise, far behind the first ones, would be a part of the row before it.
    let mixed = ["id,name\r", &"1,\"a\nb\"\r".repeat(20_000), "2,x\n3,y\n"].concat();
    let error = rows(mixed, &[]).unwrap_err().to_string();
    assert!(
        error.contains("end with a lone carriage return, and a later one with a line feed"),
        "{error}"
    );
    let utf16: Vec<u8> = "id\tü\r1\tö\r".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (found, _) = rows([&b"\xFF\xFE"[..], &utf16].concat(), &[]).unwrap();
    assert_eq!(found, [r#"{"id":1,"ü":"ö"}"#]);
}

#[test]
fn the_line_sep_states_the_delimiter() {
    let expected = [r#"{"id":1,"name":"a,b"}"#, r#"{"id":2,"name":"c"}"#];
    for text in [
        "sep=;\nid;name\n1;a,b\n2;c\n",
        "\u{feff}SEP=;\r\nid;name\r\n1;a,b\r\n2;c\r\n",
        "\"sep=;\"\nid;name\n1;a,b\n2;c\n",
        "sep=;\rid;name\r1;a,b\r2;c\r",
        "sep=\t\nid\tname\n1\ta,b\n2\tc\n",
        "sep=~\nid~name\n1~a,b\n2~c\n",
    ] {
        assert_eq!(rows(text, &[]).unwrap().0, expected, "{text:?}");
    }
    // The file itself says so, whatever the dataset stores.
    let stored = [("delimiter", ",")];
    assert_eq!(rows("sep=;\nid;name\n1;a,b\n2;c\n", &stored).unwrap().0, expected);
    let (found, reasons) = rows("sep=;\nid;n\n1;2;3\n", &[]).unwrap();
    assert_eq!((found.len(), reasons[0].0), (0, 3));
    // Other lines are rows.
    assert_eq!(rows("sep=ab\nx\n", &[]).unwrap().0, [r#"{"sep=ab":"x"}"#]);
}

#[test]
fn a_utf8_file_contradicts_another_stored_encoding() {
    let spec =
        r#"{"name": "orders", "columns": [{"name": "n", "type": "text", "nullable": true}]}"#;
    let spec = DatasetSpec::from_json(spec).unwrap();
    let read = |text: &[u8], encoding: &str, is_stored: bool| {
        let load = LoadSettings { encoding: Some(encoding.to_owned()), ..LoadSettings::default() };
        let stated = if is_stored { LoadSettings::default() } else { load.clone() };
        let csv = load.csv_options_stated(&stated, TextEncoding::Utf8);
        let options = ReadOptions { csv, ..ReadOptions::default() };
        let bytes = Bytes::from(text.to_vec());
        let source = Source::Body { bytes, name: "f.csv".into() };
        read_all(source, Some(&spec), &options).map(|(rows, _)| rows)
    };
    let utf8 = "n\nMüller\n".as_bytes();
    for encoding in ["windows-1252", "iso-8859-15", "utf-16le"] {
        let error = read(utf8, encoding, true).unwrap_err().to_string();
        let says =
            format!("f.csv: the file is UTF-8, and dataset orders stores encoding {encoding:?}");
        assert!(error.starts_with(&says), "{error}");
        assert!(error.contains("`colonnade alter orders --set encoding=utf-8`"), "{error}");
    }
    for (encoding, text) in [
        ("gb18030", "n\n你好\n"),
        ("gbk", "n\nMüller\n"),
        ("big5", "n\nSão\n"),
        ("euc-kr", "n\nZoë\n"),
        ("shift_jis", "n\n名前\n"),
    ] {
        let error = read(text.as_bytes(), encoding, true).unwrap_err().to_string();
        assert!(error.contains("the file is UTF-8, and dataset orders stores encoding"), "{error}");
    }
    assert_eq!(read(b"n\n\xC4\xE3\xBA\xC3\n", "gb18030", true).unwrap(), [r#"{"n":"你好"}"#]);
    assert_eq!(read(b"n\nabc\n", "gb18030", true).unwrap(), [r#"{"n":"abc"}"#]);
    // Also where some of its bytes are invalid, and where the header differs.
    let damaged = [utf8, &utf8.repeat(9), b"x\xFF\n"].concat();
    assert!(read(&damaged, "windows-1252", true).is_err());
    let error = read("größe\nMüller\n".as_bytes(), "windows-1252", true).unwrap_err().to_string();
    assert!(error.contains("stores encoding \"windows-1252\""), "{error}");
    // A file in the stored encoding, one of ASCII alone, and a marked one are no contradiction.
    for text in [&b"n\nM\xFCller\n"[..], "\u{feff}n\nMüller\n".as_bytes()] {
        assert_eq!(read(text, "windows-1252", true).unwrap(), [r#"{"n":"Müller"}"#]);
    }
    assert_eq!(read(b"n\nabc\n", "windows-1252", true).unwrap(), [r#"{"n":"abc"}"#]);
    // What a caller states for this file applies.
    assert_eq!(read(utf8, "windows-1252", false).unwrap(), [r#"{"n":"MÃ¼ller"}"#]);
}

#[test]
fn an_empty_file_makes_no_dataset() {
    let made = |text: &str, format| {
        let source = Source::Body { bytes: Bytes::from(text.to_owned()), name: "f".into() };
        let options = GuessOptions::default();
        guess(&"best".parse().unwrap(), &source, format, &options).unwrap_err().to_string()
    };
    for (text, format) in [
        ("", Format::Csv),
        ("\u{feff}", Format::Csv),
        ("\n\n", Format::Csv),
        ("sep=;\n", Format::Csv),
        ("", Format::Ndjson),
        ("[]", Format::Ndjson),
    ] {
        assert_eq!(made(text, format), "f: the file is empty", "{text:?}");
    }
}
