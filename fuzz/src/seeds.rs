//! What inputs are made of: small valid ones of each kind.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::ipc::writer::{FileWriter, StreamWriter};
use parquet::arrow::ArrowWriter;

use crate::INPUT_BYTES_MAX;

/// Files of a public collection that are taken, at most.
const FILES_MAX: usize = 64;

/// Inputs of the target `name`.
pub fn seeds(name: &str) -> Vec<Vec<u8>> {
    let texts: &[&str] = match name {
        "document" => &[
            "{ calls(first: 2, where: {tokens: {gt: 1}}, orderBy: [{at: DESC}]) { totalCount nodes { id at model } pageInfo { endCursor } } }",
            "{ callsGroups(groupBy: [MODEL], orderBy: [{count: DESC}]) { nodes { model count sum { cost } p95 { latencyMs } } } }",
            "query($a: Int = 3) { calls(first: $a) { edges { cursor node { ...f } } } } fragment f on CallsRow { id tags payload }",
            "{ datasets { name columns { name type } versions(first: 1) { version } } jobs { name } runs(first: 1) { id } }",
            "{ a: calls(where: {or: [{model: {in: [\"x\", \"y\"]}}, {not: {tokens: {isNull: true}}}]}) { nodes { id } } }",
            "{ __schema { types { name fields { name args { name } } } } }",
            "mutation { cancelRun(id: \"01a201c6-23f7-74c3-a5d4-ae3b0e422f9e\") { id } }",
            "{ calls(where: {model: {contains: \"\"\"a \\\"\"\" b\"\"\"}}) { nodes { id } } } # end",
        ],
        "where" => &[
            r#"{"and": [{"tokens": {"gte": "5"}}, {"or": [{"model": {"contains": "x"}}, {"not": {"id": {"eq": "a"}}}]}]}"#,
            r#"{"model": {"in": ["x", "y"], "notIn": []}, "at": {"lt": "2026-01-02T00:00:00Z"}, "tags": {"has": "p"}}"#,
            r#"{"latencyMs": {"gt": 0.5}, "cost": {"lte": "1.000000"}, "ok": {"eq": true}, "day": {"ne": "2026-01-01"}}"#,
        ],
        "cursor" => &["", "eyJ2IjoxLCJrIjpbImEiXX0=", "AQAAAAAAAAA="],
        "sql" => &[
            "SELECT model, count(*), avg(latency_ms) FROM calls WHERE tokens > 1 OR model IN ('x', 'y') GROUP BY model ORDER BY 2 DESC",
            "WITH x AS (SELECT id, row_number() OVER (ORDER BY at) AS n FROM calls) SELECT * FROM x WHERE n BETWEEN 1 AND 2",
            "SELECT unnest(tags), CASE WHEN ok THEN 1 ELSE 0 END, date_trunc('day', at), payload FROM calls LIMIT 5",
            "SELECT anomaly_score(latency_ms) OVER (ORDER BY at) FROM calls",
            "SELECT * FROM calls a JOIN calls b ON a.id = b.id WHERE a.model ~ 'x+' UNION ALL SELECT * FROM calls a, calls b",
            "EXPLAIN SELECT 1",
        ],
        "csv" => {
            &["id,at,model,tokens\na,2026-01-01T00:00:00Z,\"x, \"\"y\"\"\",5\nb,2026-01-02,,\n"]
        }
        "ndjson" | "ingest" => &[
            "{\"id\": \"n\", \"at\": \"2026-01-01T00:00:00Z\", \"model\": \"x\", \"tokens\": 5, \"tags\": [\"p\"], \"payload\": {\"a\": [1, {\"b\": null}]}}\n",
            "{\"id\": \"n\", \"at\": 1767225600, \"cost\": \"1.25\", \"latency_ms\": 1e308, \"new\": true}\n{\"id\": null}\nnot json\n",
        ],
        "xes" => &[
            "<?xml version=\"1.0\"?><log><trace><string key=\"concept:name\" value=\"c1\"/><event><string key=\"concept:name\" value=\"a &amp; b\"/><date key=\"time:timestamp\" value=\"2026-01-01T00:00:00.000+00:00\"/><int key=\"n\" value=\"3\"/></event></trace></log>",
        ],
        "otlp_json" => &[
            r#"{"resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "s"}}]}, "scopeSpans": [{"spans": [{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "chat m", "kind": 3, "startTimeUnixNano": "1769904000000000000", "endTimeUnixNano": 1769904001000000000, "attributes": [{"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}, {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "7"}}, {"key": "a", "value": {"arrayValue": {"values": [{"doubleValue": 0.5}, {"kvlistValue": {"values": [{"key": "k", "value": {"boolValue": true}}]}}]}}}], "status": {"code": 2, "message": "no"}}]}]}]}"#,
        ],
        "otlp_protobuf" => &[
            "\nN\u{12}L\u{12}J\n\u{10}abcdefghijklmnop\u{12}\u{8}abcdefgh9\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}A\u{2}\u{2}\u{2}\u{2}\u{2}\u{2}\u{2}\u{2}J\u{1a}\n\rgen_ai.system\u{12}\t\n\u{7}openai!",
        ],
        "spec" => &[
            include_str!("../calls.toml"),
            r#"{"name": "a", "columns": [{"name": "x", "type": "list(int64)"}, {"name": "v", "type": "vector(3)"}], "validations": [{"check": "range", "column": "x", "min": 0}]}"#,
        ],
        "log" => &[
            "{\"commitInfo\":{\"timestamp\":1767225600000,\"operation\":\"WRITE\"}}\n{\"add\":{\"path\":\"part-0.parquet\",\"size\":10,\"partitionValues\":{},\"modificationTime\":1,\"dataChange\":true,\"stats\":\"{\\\"numRecords\\\":1}\"}}",
            "{\"protocol\":{\"minReaderVersion\":3,\"minWriterVersion\":7,\"readerFeatures\":[\"deletionVectors\"],\"writerFeatures\":[\"deletionVectors\"]}}\n{\"txn\":{\"appId\":\"p\",\"version\":7}}",
            "{\"metaData\":{\"id\":\"x\",\"format\":{\"provider\":\"parquet\",\"options\":{}},\"schemaString\":\"{\\\"type\\\":\\\"struct\\\",\\\"fields\\\":[{\\\"name\\\":\\\"id\\\",\\\"type\\\":\\\"string\\\",\\\"nullable\\\":true,\\\"metadata\\\":{}}]}\",\"partitionColumns\":[],\"configuration\":{}}}",
        ],
        "http" => &[
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 37\r\n\r\n{\"query\": \"{ calls { totalCount } }\"}",
            "GET /graphql?query=%7Bcalls%7BtotalCount%7D%7D HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n",
            "POST /v1/ingest/calls HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nid,at\n\r\n0\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0",
            // Settings, the headers of a request with an end, those of one without, and its reset.
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0\
             \0\0A\u{1}\u{5}\0\0\0\u{1}\0\u{7}:method\u{3}GET\0\u{7}:scheme\u{4}http\0\u{5}:path\u{8}/healthz\0\n:authority\tlocalhost\
             \0\0A\u{1}\u{4}\0\0\0\u{3}\0\u{7}:method\u{3}GET\0\u{7}:scheme\u{4}http\0\u{5}:path\u{8}/healthz\0\n:authority\tlocalhost\
             \0\0\u{4}\u{3}\0\0\0\0\u{3}\0\0\0\u{8}",
        ],
        _ => &[],
    };
    let mut seeds: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    seeds.extend(made(name));
    if name == "websocket" {
        seeds.extend(conversations());
    }
    seeds.extend(collected(name));
    seeds
}

/// What clients say over a WebSocket, each text a frame. Its mask is zero, so that changes of it are changes of the text.
fn conversations() -> Vec<Vec<u8>> {
    const INIT: &str = r#"{"type":"connection_init"}"#;
    let subscribe =
        |query: &str| format!(r#"{{"type":"subscribe","id":"1","payload":{{"query":"{query}"}}}}"#);
    let talks = [
        vec![
            INIT.to_owned(),
            subscribe("{ calls { totalCount } }"),
            subscribe("{ calls { totalCount } }"),
        ],
        vec![
            INIT.to_owned(),
            subscribe("subscription { callsChanged { version } }"),
            r#"{"type":"complete","id":"1"}"#.to_owned(),
        ],
        vec![r#"{"type":"ping","payload":{}}"#.to_owned(), INIT.to_owned(), INIT.to_owned()],
        vec![subscribe("{ jobs { name } }")],
    ];
    let frame = |text: &String| {
        let length = text.len() as u16;
        let head = match length {
            ..126 => vec![0x81, 0x80 | length as u8],
            _ => vec![0x81, 0x80 | 126, (length >> 8) as u8, length as u8],
        };
        [head, vec![0; 4], text.clone().into_bytes()].concat()
    };
    talks.iter().map(|texts| texts.iter().flat_map(frame).collect()).collect()
}

/// Columns as files.
fn made(name: &str) -> Option<Vec<u8>> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        Field::new("tokens", DataType::Int64, true),
    ]));
    let batch = RecordBatch::try_new(
        schema.clone(),
        vec![
            Arc::new(StringArray::from(vec!["a", "b", "c"])),
            Arc::new(TimestampMicrosecondArray::from(vec![1, 2, 3]).with_timezone("UTC")),
            Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])),
        ],
    )
    .ok()?;
    let mut bytes = Vec::new();
    match name {
        "arrow_stream" => {
            let mut writer = StreamWriter::try_new(&mut bytes, &schema).ok()?;
            writer.write(&batch).ok()?;
            writer.finish().ok()?;
        }
        "arrow_file" => {
            let mut writer = FileWriter::try_new(&mut bytes, &schema).ok()?;
            writer.write(&batch).ok()?;
            writer.finish().ok()?;
        }
        "parquet" => {
            let mut writer = ArrowWriter::try_new(&mut bytes, schema, None).ok()?;
            writer.write(&batch).ok()?;
            writer.close().ok()?;
        }
        _ => return None,
    }
    Some(bytes)
}

/// Small files of the public collections, where they are.
fn collected(name: &str) -> Vec<Vec<u8>> {
    let root = std::env::var_os("COLONNADE_SHARED_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    let (folder, ending) = match name {
        "parquet" => ("parquet_testing", "parquet"),
        "arrow_stream" => ("arrow_testing", "stream"),
        "arrow_file" => ("arrow_testing", "arrow_file"),
        "xes" => ("pm4py", "xes"),
        "log" => ("delta_golden", "json"),
        _ => return Vec::new(),
    };
    let (mut folders, mut files) = (vec![root.join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for path in entries.map_while(Result::ok).map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == ending) {
                files.push(path);
            }
        }
    }
    files.sort();
    let small = files.into_iter().filter_map(|path| std::fs::read(path).ok());
    small.filter(|bytes| bytes.len() <= INPUT_BYTES_MAX).take(FILES_MAX).collect()
}
