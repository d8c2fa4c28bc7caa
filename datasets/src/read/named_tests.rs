//! The named public formats over small inputs made here: what they say of input that is wrong.
#![allow(clippy::unwrap_used)]

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
            r#"f:3 (row 2): "at": expected a timestamp (RFC 3339, or YYYY-MM-DD hh:mm:ss in UTC), found "now""#
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
    let latin = "<?xml version='1.0' encoding='ISO-8859-1'?><log/>";
    assert!(refused(latin, Format::Xes).contains("expected UTF-8, found encoding \"ISO-8859-1\""));
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
