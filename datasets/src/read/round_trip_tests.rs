//! The readers return exactly what our own exports contain.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int64Type, Schema};
use bytes::Bytes;

use super::*;
use crate::conform::Conformer;
use crate::encode::CsvOptions as CsvWriter;

fn body(bytes: Vec<u8>) -> Source {
    Source::Body { bytes: Bytes::from(bytes), name: "body".into() }
}

/// The texts of column `name`, and the reasons of the rows that were rejected.
fn texts(bytes: Vec<u8>, format: Format, name: &str) -> (Vec<Option<String>>, Vec<String>) {
    let spec = r#"{"name": "a", "columns": [
        {"name": "id", "type": "int64", "nullable": true}, {"name": "t", "type": "text", "nullable": true}]}"#;
    let spec = DatasetSpec::from_json(spec).unwrap();
    let mut reader = open(body(bytes), format, Some(&spec), &ReadOptions::default()).unwrap();
    let conformer = Conformer::new(&spec, &reader.schema(), "body").unwrap();
    let (mut texts, mut reasons) = (Vec::new(), Vec::new());
    while let Some(chunk) = reader.next_chunk().unwrap() {
        let conformed = conformer.conform(&chunk).unwrap();
        let column = conformed.accepted.column_by_name(name).unwrap();
        texts.extend(column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)));
        reasons.extend(conformed.rejected.into_iter().map(|row| row.reason));
    }
    (texts, reasons)
}

#[test]
fn a_nul_is_an_ordinary_character_everywhere() {
    let some = |texts: &[&str]| texts.iter().map(|t| Some((*t).to_owned())).collect::<Vec<_>>();
    let all = |text: &str| texts(text.as_bytes().to_vec(), Format::Csv, "t");
    assert_eq!(all("id,t\n1,ye\0ar\n2,fine\n"), (some(&["ye\0ar", "fine"]), vec![]));
    assert_eq!(all("id,t\n1,\0\0\0\0\0\0\0\n").0, some(&["\0\0\0\0\0\0\0"]));
    assert_eq!(all("id,t\n1,\"\0\"\n2,\0\n").0, some(&["\0", "\0"]));
    // Also beyond the bytes that are read to detect the dialect.
    let mut long = "id,t\n".to_owned();
    (0..20_000).for_each(|row| long.push_str(&format!("{row},fine\n")));
    let (found, reasons) = all(&format!("{long}1,ye\0ar\n"));
    assert_eq!((found.len(), found.last().cloned().flatten()), (20_001, Some("ye\0ar".to_owned())));
    assert!(reasons.is_empty());
    let (found, reasons) = all("id,t\n1\0,bad\n2,fine\n");
    assert_eq!(found, some(&["fine"]));
    assert_eq!(reasons, ["\"id\": expected int64, found \"1\\0\""]);
    // JSON escapes control characters.
    let json = "{\"id\": 1, \"t\": \"ye\\u0000ar\"}\n{\"id\": 2, \"t\": \"ye\0ar\"}\n\0\n{\"t\": \"fine\"}\n";
    let (found, reasons) = texts(json.as_bytes().to_vec(), Format::Ndjson, "t");
    assert_eq!(found, some(&["ye\0ar", "fine"]));
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].contains("expected no control character in a string"), "{reasons:?}");
}

#[test]
fn a_row_that_is_not_utf8_is_rejected_and_such_a_header_refuses_the_file() {
    let (found, reasons) =
        texts(b"{\"t\": \"\xff\"}\n{\"t\": \"a\"}\n".to_vec(), Format::Ndjson, "t");
    assert_eq!(found, [Some("a".to_owned())]);
    assert_eq!(reasons, ["column 8: expected UTF-8 text"]);
    let header = b"id,gr\xf6sse\n1,a\n".to_vec();
    let refused = open(body(header), Format::Csv, None, &ReadOptions::default()).err().unwrap();
    assert!(refused.to_string().contains("column 6: expected UTF-8 text, found byte 0xF6"));
}

#[test]
fn the_texts_of_our_csv_are_read_back() {
    let written = [
        "ye\0ar",
        "\0",
        "a\r",
        "\r",
        "a\nb",
        "a\r\n",
        "\"",
        "a\"b",
        "'tis",
        "the dogs'",
        ",",
        ";",
        " a ",
        "\u{feff}",
        "1e400",
        "\t",
        "\u{1a}",
        "é",
        "=1+1",
        "a,b\"c\r\nd",
    ];
    let ids: Vec<i64> = (0..written.len() as i64).collect();
    let schema: Schema = Schema::new(vec![
        arrow::datatypes::Field::new("id", arrow::datatypes::DataType::Int64, true),
        arrow::datatypes::Field::new("t", arrow::datatypes::DataType::Utf8, true),
    ]);
    let columns: [arrow::array::ArrayRef; 2] =
        [Arc::new(Int64Array::from(ids)), Arc::new(StringArray::from(written.to_vec()))];
    let [ids, values] = columns;
    // The text as the last field of a line, and as the first.
    for order in [[0, 1], [1, 0]] {
        let schema = Arc::new(schema.project(&order).unwrap());
        let columns = order.map(|at| Arc::clone(if at == 0 { &ids } else { &values }));
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns.to_vec()).unwrap();
        let writer = CsvWriter::default();
        let mut csv = writer.header_line(&schema).unwrap().into_bytes();
        writer.write(&batch, &mut csv).unwrap();
        let (found, reasons) = texts(csv, Format::Csv, "t");
        assert_eq!(found, written.map(|text| Some(text.to_owned())), "{order:?}");
        assert!(reasons.is_empty(), "{reasons:?}");
    }
}

#[test]
fn line_endings_may_be_mixed_and_quoted_ones_are_data() {
    let text = "id,t\r\n1,a\r\n2,\"b\"\r\n3,\"c\r\"\r\n4,\"d\r\"\n5,e\n6,f\r\n7,g";
    let (found, _) = texts(text.as_bytes().to_vec(), Format::Csv, "t");
    let expected = ["a", "b", "c\r", "d\r", "e", "f", "g"];
    assert_eq!(found, expected.map(|text| Some(text.to_owned())));
    // A line ending that spans two reads of the parser.
    for padding in 65_520..65_545 {
        let text = format!("id,t\r\n1,{}\r\n2,\"b\r\"\n", "x".repeat(padding));
        let (found, _) = texts(text.into_bytes(), Format::Csv, "t");
        assert_eq!(found[0].as_ref().unwrap().len(), padding);
        assert_eq!(found[1].as_deref(), Some("b\r"));
    }
}

#[test]
fn digits_beyond_a_float_reject_their_row_in_every_text_format() {
    let spec = r#"{"name": "a", "columns": [{"name": "k", "type": "int64"}, {"name": "v", "type": "float64"}]}"#;
    let spec = DatasetSpec::from_json(spec).unwrap();
    let csv = "k,v\n1,1e400\n2,1.5\n3,inf\n";
    let json = "{\"k\": 1, \"v\": 1e400}\n{\"k\": 2, \"v\": 1.5}\n{\"k\": 3, \"v\": \"inf\"}\n{\"k\": 4, \"v\": \"-1e400\"}\n";
    for (text, format, target, rejected) in [
        (csv, Format::Csv, Some(&spec), 1),
        (csv, Format::Csv, None, 1),
        (json, Format::Ndjson, Some(&spec), 2),
    ] {
        let source = body(text.as_bytes().to_vec());
        let mut reader = open(source, format, target, &ReadOptions::default()).unwrap();
        let chunk = reader.next_chunk().unwrap().unwrap();
        let conformer = Conformer::new(&spec, &reader.schema(), "body").unwrap();
        let conformed = conformer.conform(&chunk).unwrap();
        let keys = conformed.accepted.column(0).as_primitive::<Int64Type>();
        assert_eq!(keys.values(), &[2, 3], "{format}");
        assert_eq!(conformed.rejected.len(), rejected, "{format}");
        let reason = &conformed.rejected[0].reason;
        assert!(reason.contains("expected a number within the range of float64"), "{reason}");
    }
}
