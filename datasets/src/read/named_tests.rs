//! The named public formats over small inputs made here: what they say of input that is wrong.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;

use super::*;

fn read(text: &str, name: &str, format: Format) -> Result<Vec<Chunk>> {
    let source = Source::Body { bytes: Bytes::from(text.to_owned()), name: name.into() };
    let mut reader = open(source, format, None, &ReadOptions::default())?;
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        chunks.push(chunk);
    }
    Ok(chunks)
}

fn rejected(text: &str, format: Format) -> Vec<String> {
    let chunks = read(text, "f", format).unwrap();
    let rows = chunks.iter().flat_map(|c| &c.rejected);
    rows.map(|r| format!("{}: {}", r.position, r.reason)).collect()
}

fn refused(text: &str, format: Format) -> String {
    read(text, "f", format).unwrap_err().to_string()
}

#[test]
fn rows_that_do_not_fit_are_set_aside() {
    let azure =
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,1,2\nnow,1,2\n";
    assert_eq!(
        rejected(azure, Format::AzureLlm),
        [
            r#"f:3 (row 2): "at": expected a timestamp (RFC 3339, or YYYY-MM-DD hh:mm:ss), found "now""#
        ]
    );
    let mooncake = "{\"timestamp\": 1, \"input_length\": 2, \"output_length\": 3}\n{\"timestamp\": 1}\n{\"timestamp\"\n";
    assert_eq!(
        rejected(mooncake, Format::Mooncake),
        [
            r#"f:2 (row 2): expected "input_length", found none"#,
            "f:3 (row 3): column 13: expected ':', found the end of the text"
        ]
    );
    let pairs =
        "COL a VAL x\tCOL a VAL y\t1\nCOL a VAL x\tCOL a\t0\nx\ty\nCOL a VAL x\tCOL a VAL \t2\n";
    let found = rejected(pairs, Format::ErMagellan);
    assert!(found[0].contains("expected a name and VAL"), "{found:?}");
    assert_eq!(found[1], "f:3 (row 3): expected 3 fields, found 2");
    assert!(found[2].contains("expected 0 or 1, found \"2\""), "{found:?}");
    let prices = r#"{"sample_spec": {"mode": 5}, "m": {"input_cost_per_token": "a lot"}, "n": 7}"#;
    let found = rejected(prices, Format::LitellmPrices);
    assert!(found[0].contains("expected decimal(38,27), found \"a lot\""), "{found:?}");
    assert!(found[1].contains("expected an object of the model's prices"), "{found:?}");
    let xes = r#"<log><trace><string key="concept:name" value="c"/>
        <event><string key="concept:name" value="a"/><date key="time:timestamp" value="soon"/></event>
        <event><string key="concept:name" value="a"/></event>
        </trace></log>"#;
    assert_eq!(
        rejected(xes, Format::Xes),
        [
            r#"f:2 (row 1): "time:timestamp": expected a timestamp, found "soon""#,
            r#"f:3 (row 2): expected "time:timestamp", found none"#
        ]
    );
}

#[test]
fn sources_of_another_shape_are_refused_with_their_place() {
    assert!(
        refused("a,b\n1,2\n", Format::Nab).contains("expected column \"timestamp\" in the header")
    );
    assert!(refused("a,b\n1,2\n", Format::EventLog).contains("\"case:concept:name\""));
    assert_eq!(
        refused("{\"train\":\n [[\"a\", \"b\"], }", Format::Clinc),
        "f:2 (row 1), column 15: expected a value, found '}'"
    );
    assert_eq!(refused("<html/>", Format::Xes), "f:1 (row 1): expected <log>, found <html>");
    assert!(refused("<log>\n<trace>\n", Format::Xes).starts_with("f:3 (row 1): the document ends"));
    assert!(refused("<log>\n<trace>\n</log>", Format::Xes).starts_with("f:3 (row 1): "));
    assert_eq!(
        refused("<log>\n</log>\n<log/>", Format::Xes),
        "f:3 (row 1): expected nothing behind </log>, found <log>"
    );
    assert_eq!(
        refused("<log/>\nmore", Format::Xes),
        "f:1 (row 1): expected nothing behind </log>, found text"
    );
    assert!(refused(&"<log>".repeat(100), Format::Xes).contains("nested more than 64 deep"));
    let unknown = "<?xml version='1.0' encoding='x-klingon'?><log/>";
    assert_eq!(
        refused(unknown, Format::Xes),
        "f:1 (row 1): expected an encoding of the WHATWG standard such as UTF-8, found \"x-klingon\"; convert the file to UTF-8"
    );
    assert!(
        nab_windows("{\"a.csv\": [[\"x\", \"y\"]]}").unwrap_err().to_string().contains("a.csv")
    );
}

#[test]
fn nested_attributes_of_an_event_log_are_kept() {
    let xes = r#"<log xmlns="http://www.xes-standard.org/"><trace>
        <string key="concept:name" value="c"/><int key="amount" value="7"/>
        <event><string key="concept:name" value="a"/>
            <date key="time:timestamp" value="2024-01-01T01:00:00+01:00"/>
            <string key="note" value="x &amp; y"><boolean key="ok" value="true"/></string>
            <list key="parts"><values><float key="p" value="1.5"/></values></list>
        </event></trace></log>"#;
    let chunks = read(xes, "f", Format::Xes).unwrap();
    let attributes = chunks[0].batch.column_by_name("attributes").unwrap();
    let text = arrow::util::display::array_value_to_string(attributes, 0).unwrap();
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expected = serde_json::json!({
        "note": {"value": "x & y", "ok": true}, "parts": {"values": {"p": 1.5}}, "case:amount": 7
    });
    assert_eq!(found, expected);
}

/// An XES event with additional attributes.
fn event(activity: &str, at: &str, more: &str) -> String {
    format!(
        r#"<event><string key="concept:name" value="{activity}"/><date key="time:timestamp" value="{at}"/>{more}</event>"#
    )
}

/// Rows of `text` as `case activity start end resource attributes`, and the warnings of its reader.
fn steps(bytes: impl Into<Bytes>) -> (Vec<String>, Vec<String>) {
    let source = Source::Body { bytes: bytes.into(), name: "f".into() };
    let mut reader = open(source, Format::Xes, None, &ReadOptions::default()).unwrap();
    let mut rows = Vec::new();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        for row in 0..chunk.batch.num_rows() {
            let shown = chunk.batch.columns().iter();
            let shown = shown.map(|c| arrow::util::display::array_value_to_string(c, row).unwrap());
            rows.push(shown.collect::<Vec<_>>().join(" "));
        }
        rows.extend(chunk.rejected.iter().map(|row| format!("{}: {}", row.position, row.reason)));
    }
    (rows, reader.warnings())
}

#[test]
fn unreadable_metadata_of_an_event_log_is_skipped_with_a_warning() {
    let at = "2024-01-01T00:00:00Z";
    let log = format!(
        r#"<log><string key="m" value="x"><float value="3.05"><int/></float></string>
        <list><values><string value="&unknown;"/></values></list>
        <trace><string key="concept:name" value="c"/><string value="no key"/>{}{}</trace>
        <trace><string key="concept:name" value="d"/>{}</trace></log>"#,
        event("a", at, r#"<string key="note" value="n"><float value="1"/></string>"#),
        event("b", at, r#"<string value="no key"/>"#),
        event("e", at, ""),
    );
    let (rows, warnings) = steps(log);
    let instant = "2024-01-01T00:00:00Z 2024-01-01T00:00:00Z";
    assert_eq!(
        rows,
        [
            format!(r#"c a {instant}  {{"note":"n"}}"#),
            format!("d e {instant}  "),
            "f:3 (row 2): expected a key in <string>, found none".to_owned(),
        ]
    );
    let expected =
        "6 attributes are skipped, the first on line 1: expected a key in <float>, found none";
    assert_eq!(warnings, [expected]);
}

#[test]
fn start_and_complete_of_an_activity_become_one_step() {
    let of = |transition: &str, more: &str| {
        format!(r#"<string key="lifecycle:transition" value="{transition}"/>{more}"#)
    };
    let by = |name: &str| format!(r#"<string key="org:resource" value="{name}"/>"#);
    let at = |hour: u32| format!("2024-01-01T{hour:02}:00:00Z");
    let events = [
        // Two concurrent runs of one activity: each `complete` ends the run of its own resource.
        event("check", &at(1), &of("start", &by("ann"))),
        event("check", &at(2), &of("START", &by("bob"))),
        event("check", &at(3), &of("complete", &by("bob"))),
        event("check", &at(4), &of("Complete", &by("ann"))),
        // Matched by instance, in any order.
        event(
            "pay",
            &at(1),
            &of("start", r#"<int key="concept:instance" value="1"/><int key="n" value="1"/>"#),
        ),
        event("pay", &at(2), &of("start", r#"<int key="concept:instance" value="2"/>"#)),
        event(
            "pay",
            &at(5),
            &of("complete", r#"<int key="concept:instance" value="1"/><int key="n" value="2"/>"#),
        ),
        // A `complete` without a `start`, other transitions, and a `start` without a `complete`.
        event("ship", &at(6), &of("complete", "")),
        event("ship", &at(7), &of("schedule", "")),
        event("late", &at(9), &of("start", "")),
        event("late", &at(8), &of("complete", "")),
        // A `complete` with its own start timestamp.
        event(
            "own",
            &at(9),
            &of("complete", r#"<date key="start_timestamp" value="2024-01-01T08:00:00Z"/>"#),
        ),
    ];
    let trace = |case: &str, events: &str| {
        format!(r#"<trace><string key="concept:name" value="{case}"/>{events}</trace>"#)
    };
    // A `start` is never matched in another case.
    let second = event("late", &at(10), &of("complete", ""));
    let log = format!("<log>{}{}</log>", trace("c", &events.concat()), trace("d", &second));
    let (rows, warnings) = steps(log);
    let step = |text: &str, from: u32, to: u32, rest: &str| {
        format!("{text} {} {} {rest}", at(from), at(to))
    };
    let is = |transition: &str| format!(r#"{{"lifecycle:transition":"{transition}"}}"#);
    let expected = [
        step("c check", 2, 3, &format!("bob {}", is("complete"))),
        step("c check", 1, 4, &format!("ann {}", is("Complete"))),
        step(
            "c pay",
            1,
            5,
            r#" {"n":2,"concept:instance":1,"lifecycle:transition":"complete","start:n":1}"#,
        ),
        step("c ship", 6, 6, &format!(" {}", is("complete"))),
        step("c ship", 7, 7, &format!(" {}", is("schedule"))),
        step("c late", 8, 8, &format!(" {}", is("complete"))),
        step("c own", 8, 9, &format!(" {}", is("complete"))),
        step("c pay", 2, 2, r#" {"concept:instance":2,"lifecycle:transition":"start"}"#),
        step("c late", 9, 9, &format!(" {}", is("start"))),
        step("d late", 10, 10, &format!(" {}", is("complete"))),
    ];
    assert_eq!(rows, expected);
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn an_event_log_is_read_in_its_own_encoding() {
    let log = |encoding: &str| {
        let trace = r#"<trace><string key="concept:name" value="Größe"/>"#;
        let event = event("prüfen", "2024-01-01T00:00:00Z", "");
        format!("<?xml version='1.0' encoding=\"{encoding}\" ?><log>{trace}{event}</trace></log>")
    };
    let utf16 = |text: &str, mark: &[u8], of: fn(u16) -> [u8; 2]| {
        let units = text.encode_utf16().flat_map(of);
        mark.iter().copied().chain(units).collect::<Vec<u8>>()
    };
    let expected = ["Größe prüfen 2024-01-01T00:00:00Z 2024-01-01T00:00:00Z  "];
    for bytes in [
        log("UTF-8").into_bytes(),
        format!("\u{feff}{}", log("UTF-8")).into_bytes(),
        // A document that was converted to UTF-8 and still declares its old encoding.
        log("UTF-16").into_bytes(),
        utf16(&log("UTF-16"), &[0xFF, 0xFE], u16::to_le_bytes),
        utf16(&log("UTF-16"), &[0xFE, 0xFF], u16::to_be_bytes),
        utf16(&log("UTF-16LE"), &[], u16::to_le_bytes),
        log("ISO-8859-1").chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect(),
    ] {
        assert_eq!(steps(bytes).0, expected);
    }
}

/// Steps of an event log as a table, as `case activity start end`.
fn table_steps(bytes: Vec<u8>) -> Vec<String> {
    steps_in(bytes, Format::EventLog, chrono_tz::Tz::UTC)
}

/// The same where times without an offset are those of a zone.
fn steps_in(bytes: Vec<u8>, format: Format, zone: chrono_tz::Tz) -> Vec<String> {
    let source = Source::Body { bytes: bytes.into(), name: "f".into() };
    let csv = CsvOptions { zone: Some(zone), ..CsvOptions::default() };
    let options = ReadOptions { csv, ..ReadOptions::default() };
    let mut reader = open(source, format, None, &options).unwrap();
    let mut rows = Vec::new();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        for row in 0..chunk.batch.num_rows() {
            let shown = chunk.batch.columns().iter().take(4);
            let shown = shown.map(|c| arrow::util::display::array_value_to_string(c, row).unwrap());
            rows.push(shown.collect::<Vec<_>>().join(" "));
        }
        rows.extend(chunk.rejected.iter().map(|row| format!("{}: {}", row.position, row.reason)));
    }
    rows
}

#[test]
fn events_of_a_table_are_joined_in_any_order() {
    let rows = [
        ("c", "check", "2024-01-01 01:00:00", "start"),
        ("d", "check", "2024-01-01 02:00:00", "start"),
        ("c", "check", "2024-01-01 03:00:00", "complete"),
        ("d", "pay", "2024-01-01 04:00:00", "complete"),
        ("d", "check", "2024-01-01 05:00:00", "complete"),
        ("d", "late", "2024-01-01 06:00:00", "start"),
    ];
    let mut csv = "case:concept:name,concept:name,time:timestamp,lifecycle:transition\n".to_owned();
    for (case, activity, at, transition) in rows {
        csv.push_str(&format!("{case},{activity},{at},{transition}\n"));
    }
    let column = |of: fn(&(&str, &str, &str, &str)) -> String| {
        let texts: Vec<String> = rows.iter().map(of).collect();
        Arc::new(arrow::array::StringArray::from(texts)) as arrow::array::ArrayRef
    };
    let instants = rows.iter().map(|row| crate::parse::timestamp_us(row.2).unwrap() * 1_000 + 999);
    let instants = arrow::array::TimestampNanosecondArray::from_iter_values(instants);
    let batch = RecordBatch::try_from_iter([
        ("case:concept:name", column(|row| row.0.to_owned())),
        ("concept:name", column(|row| row.1.to_owned())),
        ("time:timestamp", Arc::new(instants)),
        ("lifecycle:transition", column(|row| row.3.to_owned())),
    ])
    .unwrap();
    let mut parquet = Vec::new();
    let mut writer =
        ::parquet::arrow::ArrowWriter::try_new(&mut parquet, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let step = |text: &str, from: u32, to: u32| {
        format!("{text} 2024-01-01T{from:02}:00:00Z 2024-01-01T{to:02}:00:00Z")
    };
    let expected =
        [step("c check", 1, 3), step("d pay", 4, 4), step("d check", 2, 5), step("d late", 6, 6)];
    assert_eq!(table_steps(csv.clone().into_bytes()), expected);
    assert_eq!(table_steps(parquet.clone()), expected);
    // Local times of Berlin, an hour ahead of UTC in winter.
    let in_berlin = [step("c check", 0, 2), step("d pay", 3, 3), step("d check", 1, 4)];
    for bytes in [csv.into_bytes(), parquet] {
        let found = steps_in(bytes, Format::EventLog, chrono_tz::Tz::Europe__Berlin);
        assert_eq!(found[..3], in_berlin);
    }
    let skipped = event("a", "2025-03-30T02:30:00", "");
    let log =
        format!(r#"<log><trace><string key="concept:name" value="c"/>{skipped}</trace></log>"#);
    let found = steps_in(log.into_bytes(), Format::Xes, chrono_tz::Tz::Europe__Berlin);
    assert!(found[0].contains("does not exist in Europe/Berlin"), "{found:?}");
}
