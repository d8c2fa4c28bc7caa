//! Readers over small inputs made here.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use bytes::Bytes;

use super::*;
use crate::conform::Conformer;
use crate::{Error, specs};

fn body(text: impl Into<Vec<u8>>) -> Source {
    Source::Body { bytes: Bytes::from(text.into()), name: "body".into() }
}

fn read(source: Source, format: Format, target: Option<&DatasetSpec>) -> Result<Vec<Chunk>> {
    let mut reader = open(source, format, target, &ReadOptions::default())?;
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        chunks.push(chunk);
    }
    Ok(chunks)
}

fn rejected(chunks: &[Chunk]) -> Vec<(u64, u64, String)> {
    let rows = chunks.iter().flat_map(|c| &c.rejected);
    rows.map(|r| (r.position.row, r.position.line.unwrap_or(0), r.reason.clone())).collect()
}

#[test]
fn a_bad_ndjson_row_is_set_aside_and_the_rest_pass() {
    let spec = specs::by_name("model_calls").unwrap();
    let text = concat!(
        r#"{"id":"a","at":"2024-01-01T10:00:00+02:00","input_tokens":9007199254740993,"cost":0.000000001}"#,
        "\n\n",
        r#"{"id":"b","at":"yesterday"}"#,
        "\r\n",
        r#"{"id":"c","at":"2024-01-01 00:00:00.1234567","cost":2.5e-6,"prefix_blocks":[1,2]}"#,
        "\n",
        r#"{"id":"d","id":"e","at":"2024-01-01"}"#,
        "\n",
        r#"{"id":"f","at":"2024-01-01"#,
    );
    let chunks = read(body(text), Format::Ndjson, Some(&spec)).unwrap();
    assert_eq!(chunks.len(), 1);
    let batch = &chunks[0].batch;
    assert_eq!(batch.num_rows(), 2);
    assert_eq!(chunks[0].lines, Some(vec![1, 4]));
    assert_eq!(chunks[0].rows, Some(vec![1, 3]));
    let tokens = batch.column_by_name("input_tokens").unwrap().as_primitive::<Int64Type>();
    assert_eq!(tokens.value(0), 9_007_199_254_740_993);
    let at = batch.column_by_name("at").unwrap().as_primitive::<TimestampMicrosecondType>();
    assert_eq!(at.value(0), 1_704_096_000_000_000);
    assert_eq!(at.value(1), 1_704_067_200_123_456);
    let found = rejected(&chunks);
    assert_eq!(found.len(), 3);
    assert_eq!((found[0].0, found[0].1), (2, 3));
    assert!(found[0].2.starts_with("column 16: \"at\": expected a timestamp"), "{}", found[0].2);
    assert!(found[1].2.contains("\"id\" stands twice"), "{}", found[1].2);
    assert!(found[2].2.contains("expected a closing '\"', found the end"), "{}", found[2].2);
    assert_eq!(chunks[0].rejected[2].original, r#"{"id":"f","at":"2024-01-01"#);

    let conformer = Conformer::new(&spec, &batch.schema(), "body").unwrap();
    let out = conformer.conform(&chunks[0]).unwrap();
    assert_eq!((out.accepted.num_rows(), out.rejected.len()), (2, 3));
}

#[test]
fn ndjson_brings_new_columns_when_it_may_and_names_them_when_not() {
    let mut spec = specs::by_name("events").unwrap();
    let text = concat!(
        r#"{"id":"a","at":"2024-01-01","kind":"k","payload":{"x": [1, 2]},"zone":"eu","load":1}"#,
        "\n",
        r#"{"id":"b","at":"2024-01-01","kind":"k","load":2.5,"at_month":"ignored"}"#,
    );
    let chunks = read(body(text), Format::Ndjson, Some(&spec)).unwrap();
    let evolved =
        crate::conform::evolve(&spec, &chunks[0].batch.schema(), "body").unwrap().unwrap();
    assert_eq!(evolved.column("zone").unwrap().data_type.to_string(), "text");
    assert_eq!(evolved.column("load").unwrap().data_type.to_string(), "float64");
    let conformer = Conformer::new(&evolved, &chunks[0].batch.schema(), "body").unwrap();
    let out = conformer.conform(&chunks[0]).unwrap();
    assert_eq!(out.accepted.num_rows(), 2);
    let payload = out.accepted.column_by_name("payload").unwrap().as_string::<i32>();
    assert_eq!(payload.value(0), r#"{"x": [1, 2]}"#);

    spec.evolution = crate::Evolution::Fixed;
    let chunks = read(body(text), Format::Ndjson, Some(&spec)).unwrap();
    assert!(rejected(&chunks)[0].2.contains("unknown column \"zone\""));
}

#[test]
fn the_items_of_an_array_are_rows() {
    let text =
        b"[\n  {\"id\": 1, \"at\": {\"x\": [1,\n 2]}},\n  {\"id\": \"two\"}, 7, {\"id\": 4}\n]\n";
    let spec = r#"{"name": "a", "columns": [{"name": "id", "type": "int64"}, {"name": "at", "type": "json", "nullable": true}]}"#;
    let spec = DatasetSpec::from_json(spec).unwrap();
    let chunks = read(body(text), Format::Ndjson, Some(&spec)).unwrap();
    assert_eq!(chunks.iter().map(|chunk| chunk.batch.num_rows()).sum::<usize>(), 2);
    assert_eq!(chunks[0].batch.column(0).as_primitive::<Int64Type>().values(), &[1, 4]);
    assert_eq!(rejected(&chunks).len(), 2);
    let cut = read(body(&text[..text.len() - 3]), Format::Ndjson, Some(&spec)).unwrap_err();
    assert!(matches!(cut, Error::Unreadable { .. }), "{cut}");
    assert!(cut.to_string().contains("the array has no end"), "{cut}");
    assert_eq!(Format::detect("a.json".as_ref(), b" [{").unwrap(), Format::Ndjson);
}

#[test]
fn a_body_that_is_not_ndjson_at_all_is_an_error_with_its_place() {
    let message = |bytes: &[u8]| match read(body(bytes), Format::Ndjson, None) {
        Err(e @ Error::Malformed { .. }) => e.to_string(),
        other => format!("{other:?}"),
    };
    assert_eq!(
        message(b"\n  7"),
        "body:2 (row 1), column 3: expected one JSON object per line, or an array of objects, found '7'"
    );
    let utf16 = "body:1 (row 1), column 1: expected UTF-8 text, found";
    let advice = "convert the file to UTF-8";
    assert_eq!(message(b"\xff\xfe{\0"), format!("{utf16} a UTF-16 mark; {advice}"));
    assert_eq!(message(b"{\0\"\0a\0"), format!("{utf16} UTF-16LE without a mark; {advice}"));
    assert_eq!(read(body(""), Format::Ndjson, None).unwrap().len(), 0);
}

#[test]
fn csv_lines_and_quoted_breaks_are_counted() {
    let text = "id,at,kind,source\r\na,2024-01-01,k,\"x, y\"\r\n\r\nb,2024-01-01,\"two\nlines\",\r\nc,never,k,z\r\nd,2024-01-01\r\ne,2024-01-02,k,";
    let spec = specs::by_name("events").unwrap();
    let chunks = read(body(text), Format::Csv, Some(&spec)).unwrap();
    assert_eq!(chunks[0].batch.num_rows(), 3);
    assert_eq!(chunks[0].lines, Some(vec![2, 4, 8]));
    let kinds = chunks[0].batch.column_by_name("kind").unwrap().as_string::<i32>();
    assert_eq!(kinds.value(1), "two\nlines");
    let source = chunks[0].batch.column_by_name("source").unwrap().as_string::<i32>();
    assert_eq!(source.iter().collect::<Vec<_>>(), [Some("x, y"), None, None]);
    let found = rejected(&chunks);
    assert_eq!((found[0].0, found[0].1), (3, 6));
    assert!(found[0].2.contains("\"at\": expected a timestamp"));
    assert_eq!(found[1], (4, 7, "expected 4 fields, found 2".into()));
    assert_eq!(chunks[0].rejected[0].original, "c,never,k,z");
}

#[test]
fn csv_types_are_found_where_no_spec_names_them() {
    let text = "\u{feff}Name;When;Count;Share;Code\nx;2024-01-01 10:00;1;0,5;007\n";
    let chunks = read(body(text), Format::Csv, None).unwrap();
    let schema = chunks[0].batch.schema();
    let name = crate::DatasetName::new("mine").unwrap();
    let spec = crate::infer::spec_from_schema(&name, &schema, &Default::default()).unwrap();
    let types: Vec<_> =
        spec.columns.iter().map(|c| format!("{} {}", c.name, c.data_type)).collect();
    assert_eq!(types, ["name text", "when timestamp", "count int64", "share text", "code text"]);
    assert_eq!(spec.time_column.as_deref(), Some("when"));
}

#[test]
fn an_open_quote_does_not_take_the_memory() {
    let mut text = b"a,b\n1,2\n\"3,".to_vec();
    text.resize(4 * 1024 * 1024, b'x');
    let options = ReadOptions { row_max_bytes: 1024 * 1024, ..Default::default() };
    let outcome = open(body(text), Format::Csv, None, &options).err().unwrap().to_string();
    assert!(outcome.starts_with("body:3 (row 2): the row (is a quote left open?)"), "{outcome}");
}

#[test]
fn gzip_is_seen_through() {
    use std::io::Write;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"{\"a\": 1}\n").unwrap();
    let packed = packed.finish().unwrap();
    assert_eq!(read(body(packed.clone()), Format::Ndjson, None).unwrap()[0].batch.num_rows(), 1);
    let cut = packed[..packed.len() - 6].to_vec();
    let message = read(body(cut), Format::Ndjson, None).unwrap_err().to_string();
    assert!(message.starts_with("body: not readable as gzip"), "{message}");
}

#[test]
fn parquet_and_arrow_are_read_back() {
    let spec = specs::by_name("events").unwrap();
    let text = r#"{"id":"a","at":"2024-01-01","kind":"k","payload":{}}"#.to_owned() + "\n";
    let chunks = read(body(text.repeat(20_000)), Format::Ndjson, Some(&spec)).unwrap();
    let schema = chunks[0].batch.schema();
    let mut parquet = Vec::new();
    let mut writer =
        ::parquet::arrow::ArrowWriter::try_new(&mut parquet, schema.clone(), None).unwrap();
    let mut file = arrow::ipc::writer::FileWriter::try_new(Vec::new(), &schema).unwrap();
    let mut stream = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &schema).unwrap();
    for chunk in &chunks {
        writer.write(&chunk.batch).unwrap();
        file.write(&chunk.batch).unwrap();
        stream.write(&chunk.batch).unwrap();
    }
    writer.close().unwrap();
    let (file, stream) = (file.into_inner().unwrap(), stream.into_inner().unwrap());
    let cases =
        [(Format::Parquet, parquet), (Format::ArrowFile, file), (Format::ArrowStream, stream)];
    for (format, bytes) in cases {
        let back = read(body(bytes.clone()), format, None).unwrap();
        assert_eq!(back.iter().map(|c| c.batch.num_rows()).sum::<usize>(), 20_000, "{format}");
        assert_eq!(back[1].first_row, 8_193, "{format}");
        let conformer = Conformer::new(&spec, &back[0].batch.schema(), "body").unwrap();
        assert_eq!(conformer.conform(&back[0]).unwrap().accepted.num_rows(), 8_192);
        // Cut anywhere, it is an error or the rows that stood before the cut.
        for cut in [0, 5, 9, 100, bytes.len() / 2, bytes.len() - 3] {
            let outcome = read(body(bytes[..cut].to_vec()), format, None);
            if format != Format::ArrowStream {
                assert!(outcome.is_err(), "{format} cut at {cut}");
            }
        }
    }
}

/// Small files of every binary format, with bytes changed at random: errors or rows, and nothing else.
#[test]
fn mutated_files_are_refused_or_read() {
    use crate::generate::{Generator, GeneratorOptions};
    let options = GeneratorOptions { seed: 3, rows: 60, batch_rows: 30 };
    let generator = Generator::new("model_calls", options).unwrap();
    let schema = generator.schema();
    let properties = ::parquet::file::properties::WriterProperties::builder()
        .set_writer_version(::parquet::file::properties::WriterVersion::PARQUET_2_0)
        .set_dictionary_enabled(false)
        .build();
    let mut plain =
        ::parquet::arrow::ArrowWriter::try_new(Vec::new(), schema.clone(), None).unwrap();
    let mut delta =
        ::parquet::arrow::ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))
            .unwrap();
    let mut file = arrow::ipc::writer::FileWriter::try_new(Vec::new(), &schema).unwrap();
    let mut stream = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &schema).unwrap();
    for batch in generator.map(|batch| batch.unwrap()) {
        plain.write(&batch).unwrap();
        delta.write(&batch).unwrap();
        file.write(&batch).unwrap();
        stream.write(&batch).unwrap();
    }
    let files = [
        (Format::Parquet, plain.into_inner().unwrap()),
        (Format::Parquet, delta.into_inner().unwrap()),
        (Format::ArrowFile, file.into_inner().unwrap()),
        (Format::ArrowStream, stream.into_inner().unwrap()),
    ];
    let mut state = 0x5EED_u64;
    let mut draw = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for (format, bytes) in &files {
        assert_eq!(
            read(body(bytes.clone()), *format, None).unwrap()[0].batch.num_rows(),
            if *format == Format::Parquet { 60 } else { 30 }
        );
        for round in 0..150 {
            let mut changed = bytes.clone();
            for _ in 0..1 + draw(4) {
                // Every other change is near the end, where files keep their footers.
                let at = match draw(2) {
                    0 => draw(changed.len()),
                    _ => changed.len() - 1 - draw(changed.len().min(600)),
                };
                changed[at] = [0xFF, 0x00, changed[at] ^ 1 << draw(8)][draw(3)];
            }
            if let Err(Error::Internal(bug)) = read(body(changed), *format, None) {
                unreachable!("{format}, round {round}: {bug}");
            }
        }
    }
}

#[test]
#[ignore = "a measurement, not a check: prints rows per second of reading and conforming model calls"]
fn reader_rates() {
    use crate::generate::{Generator, GeneratorOptions};
    let options = GeneratorOptions { seed: 1, rows: 400_000, batch_rows: 8_192 };
    let generator = Generator::new("model_calls", options).unwrap();
    let (spec, schema) = (generator.spec().clone(), generator.schema());
    let batches: Vec<_> = generator.map(|b| b.unwrap()).collect();
    let without_lists: Vec<usize> = (0..schema.fields().len() - 1).collect();
    let mut json = arrow::json::LineDelimitedWriter::new(Vec::new());
    let mut csv = arrow::csv::Writer::new(Vec::new());
    let mut parquet = Vec::new();
    let mut writer =
        ::parquet::arrow::ArrowWriter::try_new(&mut parquet, schema.clone(), None).unwrap();
    let mut stream = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &schema).unwrap();
    for batch in &batches {
        json.write(batch).unwrap();
        csv.write(&batch.project(&without_lists).unwrap()).unwrap();
        writer.write(batch).unwrap();
        stream.write(batch).unwrap();
    }
    json.finish().unwrap();
    writer.close().unwrap();
    for (format, bytes) in [
        (Format::Ndjson, json.into_inner()),
        (Format::Csv, csv.into_inner()),
        (Format::Parquet, parquet),
        (Format::ArrowStream, stream.into_inner().unwrap()),
    ] {
        let megabytes = bytes.len() as f64 / 1e6;
        let started = busy_seconds();
        let mut reader = open(body(bytes), format, Some(&spec), &ReadOptions::default()).unwrap();
        let conformer = Conformer::new(&spec, &reader.schema(), "body").unwrap();
        let (mut read_seconds, mut rows) = (0.0, 0);
        loop {
            let reading = busy_seconds();
            let Some(chunk) = reader.next_chunk().unwrap() else { break };
            read_seconds += busy_seconds() - reading;
            rows += conformer.conform(&chunk).unwrap().accepted.num_rows();
        }
        let seconds = busy_seconds() - started;
        assert_eq!(rows, 400_000);
        eprintln!(
            "{format}: {:.0} k rows/s ({:.0} k rows/s reading alone, {megabytes:.0} MB)",
            rows as f64 / seconds / 1e3,
            rows as f64 / read_seconds / 1e3
        );
    }
}

/// Seconds that this thread has been on a processor, where the system tells; else seconds of the clock.
pub(crate) fn busy_seconds() -> f64 {
    static START: std::sync::LazyLock<std::time::Instant> =
        std::sync::LazyLock::new(std::time::Instant::now);
    let nanoseconds = std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(|| START.elapsed().as_secs_f64(), |ns| ns / 1e9)
}

#[test]
fn a_quote_that_is_left_open_is_told_and_not_taken_for_a_text() {
    let spec = r#"{"name": "a", "columns": [{"name": "id", "type": "int64"}, {"name": "note", "type": "text"}]}"#;
    let spec = DatasetSpec::from_json(spec).unwrap();
    for (text, row, line, opened, lines) in [
        ("id,note\n1,x\n2,\"open\n3,z\n4,u\n", 2, 3, 3, 2),
        ("id,note\n1,x\n2,\"open", 2, 3, 3, 0),
        ("id,note\r\n1,x\r\n\r\n2,\"open\"\"\r\n3,z\r\n", 2, 4, 4, 1),
        ("id,note\n\"1\n\",\"open\n3,z", 1, 2, 3, 1),
    ] {
        let chunks = read(body(text), Format::Csv, Some(&spec)).unwrap();
        let rows: usize = chunks.iter().map(|chunk| chunk.batch.num_rows()).sum();
        assert_eq!(rows as u64, row - 1, "{text:?}");
        let says = format!(
            "expected a closing \" for the one on line {opened}, found the end; {lines} lines behind it are in this row"
        );
        assert_eq!(rejected(&chunks), [(row, line, says)], "{text:?}");
        let original = &chunks.last().unwrap().rejected[0].original;
        assert!(original.contains("open") && !original.contains('\u{1a}'), "{original:?}");
    }
    // A closed one at the very end is none.
    for text in ["id,note\n1,\"x\"", "id,note\n1,\"x\n\"", "id,note\n1,x\"y", "id,note\n1,x\n\n"] {
        let chunks = read(body(text), Format::Csv, Some(&spec)).unwrap();
        assert_eq!(rejected(&chunks), [], "{text:?}");
        assert_eq!(chunks[0].batch.num_rows(), 1, "{text:?}");
    }
    let error = read(body("id,\"note\n1,x\n"), Format::Csv, Some(&spec)).unwrap_err().to_string();
    assert!(error.contains("for the one on line 1"), "{error}");
}

#[test]
fn bytes_that_are_no_text_of_their_encoding_are_not_replaced_in_silence() {
    let units =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    // Half of a pair stands alone in the second row.
    let mut text = [vec![0xFF, 0xFE], units("id,name\n1,Müller 😀\n2,x")].concat();
    text.extend(0xD83D_u16.to_le_bytes());
    text.extend(units("y\n3,z\n"));
    let csv = CsvOptions { encoding: TextEncoding::Found, ..CsvOptions::default() };
    let options = ReadOptions { csv, ..ReadOptions::default() };
    let mut reader = open(body(text), Format::Csv, None, &options).unwrap();
    let chunk = reader.next_chunk().unwrap().unwrap();
    assert_eq!(chunk.batch.num_rows(), 2);
    let names = chunk.batch.column_by_name("name").unwrap().as_string::<i32>();
    assert_eq!((names.value(0), names.value(1)), ("Müller 😀", "z"));
    let says = "\"name\": expected text in UTF-16LE, found bytes that are none";
    assert_eq!(rejected(&[chunk]), [(2, 3, says.to_owned())]);
}
