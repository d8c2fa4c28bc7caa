//! What takes input, one target each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_graphql::{Request, Variables};
use bytes::Bytes;
use datasets::conform::Conformer;
use datasets::otlp::{Encoding, rows_of};
use datasets::read::{Format, ReadOptions, Source, open};
use datasets::{DatasetName, DatasetSpec, specs};
use engine::{Access, Code, Engine, EngineOptions, Error, IngestRequest, IngestRows, Principal};
use futures::StreamExt;
use graphql::{Accepts, Answers};
use serde_json::{Value, json};

use crate::client;
use crate::rig::{CALLS, RIG, spec};

/// Something that takes any bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name; that of its folder of cases.
    pub name: &'static str,
    /// Takes an input, and panics on an answer that should not be.
    pub run: fn(&[u8]),
    /// Words that its input has.
    pub words: &'static [&'static str],
}

const GRAPHQL_WORDS: &[&str] = &[
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "\"\"\"",
    "\"",
    "#",
    "\r",
    "\n",
    "...",
    "$a",
    "@skip(if: true)",
    "fragment f on Query",
    "calls",
    "callsGroups",
    "callsSimilar",
    "callsChanged",
    "where:",
    "first:",
    "after:",
    "orderBy:",
    "and:",
    "or:",
    "not:",
    "in:",
    "contains:",
    "nodes",
    "edges",
    "null",
    "9223372036854775808",
    "1e400",
    "\\u{10ffff}",
    "__schema",
    "__typename",
];
const WHERE_WORDS: &[&str] = &[
    "{\"and\":[",
    "{\"or\":[",
    "{\"not\":",
    "]}",
    "}",
    "null",
    "\"in\":[",
    "\"eq\":",
    "\"contains\":",
    "\"isNull\":",
    "\"tokens\":",
    "\"latencyMs\":",
    "\"at\":",
    "\"tags\":",
    "\"has\":",
    "1e999",
    "-0",
    "\"NaN\"",
    "\"9999999999999999999\"",
];
const SQL_WORDS: &[&str] = &[
    "SELECT",
    "FROM calls",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "WITH x AS (",
    ")",
    "(",
    "OR",
    "AND",
    "NOT",
    "IN (",
    "CASE WHEN",
    "END",
    "UNION ALL",
    "OVER (",
    "~",
    "LIKE",
    "CAST(",
    "INTERVAL '1 day'",
    "now()",
    "anomaly_score(",
    "forecast(",
    "nearest(",
    "generate_series(1, 10)",
    "'",
    "--",
    "/*",
    "*/",
    "array[",
    "1e308",
    "[1]",
    "EXPLAIN",
];
const TEXT_WORDS: &[&str] = &[
    ",",
    "\"",
    "\"\"",
    "\r",
    "\n",
    "\r\n",
    "\0",
    "\u{feff}",
    "null",
    "{",
    "}",
    "[",
    "]",
    "1e400",
    "-",
    "NaN",
    "9223372036854775808",
    "2026-13-01T00:00:00Z",
    "id",
    "at",
    "\\ud800",
];
const SPEC_WORDS: &[&str] = &[
    "name",
    "columns",
    "type",
    "list(",
    "decimal(",
    "vector(",
    "999999999999",
    "key",
    "validations",
    "check",
    "matches",
    "pattern",
    "((a{1,1000}){1,1000}){1,1000}",
    "partition_by",
    "transform",
    "nullable",
    "derived",
    "[[",
    "]]",
    "\"",
    "=",
    "{",
    "}",
];
const LOG_WORDS: &[&str] = &[
    "{\"add\":{",
    "{\"remove\":{",
    "{\"metaData\":{",
    "{\"protocol\":{",
    "{\"txn\":{",
    "{\"commitInfo\":{",
    "\"path\":",
    "\"size\":",
    "\"partitionValues\":",
    "\"schemaString\":",
    "\\\"type\\\":\\\"struct\\\"",
    "\"minReaderVersion\":",
    "\"deletionVector\":{",
    "}}\n",
];

const SPAN_WORDS: &[&str] = &[
    "\"resourceSpans\":[",
    "\"scopeSpans\":[",
    "\"spans\":[",
    "\"attributes\":[",
    "{\"key\":\"gen_ai.system\",\"value\":",
    "{\"arrayValue\":{\"values\":[",
    "{\"kvlistValue\":{\"values\":[",
    "\"intValue\":\"-1\"",
    "\"doubleValue\":\"NaN\"",
    "\"bytesValue\":",
    "18446744073709551615",
    "gen_ai.usage.input_tokens",
    "gen_ai.response.time_to_first_chunk",
    "null",
    "]}}",
    "\u{fffd}",
    "\u{7f}",
    "\0",
];

const HTTP_WORDS: &[&str] = &[
    "GET ",
    "POST ",
    "OPTIONS ",
    "/graphql",
    "/v1/ingest/calls",
    "/v1/traces",
    "/readyz",
    "/metrics",
    "?query=",
    "&variables=",
    "%00",
    "%ff",
    " HTTP/1.1\r\n",
    "Host: localhost\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 99999999999999999999\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Content-Encoding: gzip\r\n",
    "Content-Type: application/json\r\n",
    "Expect: 100-continue\r\n",
    "Accept: text/event-stream\r\n",
    "Accept: multipart/mixed\r\n",
    "Idempotency-Key: a\r\n",
    "\r\n\r\n",
    "0\r\n\r\n",
    "ffffffff\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];
const FRAME_WORDS: &[&str] = &[
    "{\"type\":\"connection_init\"}",
    "{\"type\":\"subscribe\",\"id\":\"1\",\"payload\":{\"query\":\"{ calls { totalCount } }\"}}",
    "{\"type\":\"complete\",\"id\":\"1\"}",
    "{\"type\":\"ping\"}",
    "\u{1}",
    "\0\0\0\0",
    "\u{7f}",
];

/// Rows of a query's answer that are read.
const ROWS_MAX: usize = 10_000;
/// Longest that a query is waited for.
const QUERY_MAX: Duration = Duration::from_secs(5);

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "document", run: document, words: GRAPHQL_WORDS },
    Target { name: "where", run: filter, words: WHERE_WORDS },
    Target { name: "cursor", run: cursor, words: &["=", "==", "AA", "v1"] },
    Target { name: "sql", run: sql, words: SQL_WORDS },
    Target { name: "csv", run: |input| read(Format::Csv, input), words: TEXT_WORDS },
    Target { name: "ndjson", run: |input| read(Format::Ndjson, input), words: TEXT_WORDS },
    Target {
        name: "arrow_stream",
        run: |input| read(Format::ArrowStream, input),
        words: &["ARROW1"],
    },
    Target { name: "arrow_file", run: |input| read(Format::ArrowFile, input), words: &["ARROW1"] },
    Target { name: "parquet", run: |input| read(Format::Parquet, input), words: &["PAR1"] },
    Target {
        name: "xes",
        run: |input| read(Format::Xes, input),
        words: &["<trace>", "<event>", "<log", "]]>", "&#x", "<!DOCTYPE"],
    },
    Target { name: "otlp_json", run: |input| spans(Encoding::Json, input), words: SPAN_WORDS },
    Target {
        name: "otlp_protobuf",
        run: |input| spans(Encoding::Protobuf, input),
        words: SPAN_WORDS,
    },
    Target { name: "ingest", run: ingest, words: TEXT_WORDS },
    Target { name: "spec", run: dataset_spec, words: SPEC_WORDS },
    Target { name: "log", run: log, words: LOG_WORDS },
    Target { name: "http", run: client::http, words: HTTP_WORDS },
    Target { name: "websocket", run: client::websocket, words: FRAME_WORDS },
];

/// The one of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// An error is an answer, unless it says that the fault is ours.
fn is_answer(error: &Error) {
    assert_ne!(error.code(), Code::Internal, "{}", error.detail());
}

fn ask(query: &str, variables: Value) {
    let request = Request::new(query).variables(Variables::from_json(variables));
    let asked = RIG.runtime.block_on(RIG.service.answer(
        &Principal::local(),
        request,
        "id",
        Accepts::Single,
    ));
    let Answers::One(answer) = asked else { return };
    for error in &answer.errors {
        let code = error.extensions.as_ref().and_then(|extensions| extensions.get("code"));
        let is_ours = code.is_none_or(|code| code.to_string().contains("INTERNAL"));
        assert!(!is_ours, "{}: {query}", error.message);
    }
}

fn document(input: &[u8]) {
    ask(&String::from_utf8_lossy(input), json!({}));
}

fn filter(input: &[u8]) {
    let Ok(filter) = serde_json::from_slice::<Value>(input) else { return };
    let query = "query($where: CallsWhere) { calls(where: $where) { totalCount nodes { id } } }";
    ask(query, json!({ "where": filter }));
}

fn cursor(input: &[u8]) {
    let query = "query($after: String) { calls(after: $after) { nodes { id } } }";
    ask(query, json!({ "after": String::from_utf8_lossy(input) }));
}

fn sql(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let answered = RIG.runtime.block_on(async {
        let session = RIG.engine.session(&Principal::local(), &[]).await?;
        let frame = session.sql(&text).await?;
        let mut rows = session.stream(frame).await?;
        // A product of a table with itself may take as long as it likes: it is ended, as a server does.
        let all = async {
            let mut count = 0;
            while let Some(batch) = rows.next().await {
                count += batch?.num_rows();
                if count > ROWS_MAX {
                    break;
                }
            }
            Ok::<_, Error>(())
        };
        tokio::time::timeout(QUERY_MAX, all).await.unwrap_or(Ok(()))
    });
    // What its planner or executor calls a mistake of their own is DataFusion's, and an answer.
    if let Err(error) = answered
        && !error.detail().contains("bug in DataFusion's code")
    {
        is_answer(&error);
    }
}

fn options() -> ReadOptions {
    ReadOptions { decoded_budget_bytes: 16 << 20, ..ReadOptions::default() }
}

fn read(format: Format, input: &[u8]) {
    let Ok(spec) = spec() else { return };
    for target in [None, Some(&spec)] {
        let source = Source::Body { bytes: Bytes::copy_from_slice(input), name: "body".to_owned() };
        let result = open(source, format, target, &options()).and_then(|mut reader| {
            let _ = reader.schema();
            while let Some(chunk) = reader.next_chunk()? {
                assert!(chunk.batch.num_rows() <= options().batch_rows.max(1 << 20));
            }
            Ok(())
        });
        if let Err(error) = result {
            is_answer(&Error::from(error));
        }
    }
}

/// What is taken of spans fits the datasets that it is for.
fn spans(encoding: Encoding, input: &[u8]) {
    let rows = match rows_of(input, encoding, 16 << 20) {
        Ok(rows) => rows,
        Err(error) => return is_answer(&Error::from(error)),
    };
    for (name, lines, count) in [
        ("workflow_steps", rows.steps, rows.step_rows),
        ("model_calls", rows.calls, rows.call_rows),
    ] {
        let Some(spec) = specs::by_name(name).filter(|_| count > 0) else { continue };
        let source = Source::Body { bytes: Bytes::from(lines), name: name.to_owned() };
        let read = open(source, Format::Ndjson, Some(&spec), &options()).and_then(|mut reader| {
            let conformer = Conformer::new(&spec, &reader.schema(), name)?;
            let mut read = 0;
            while let Some(chunk) = reader.next_chunk()? {
                let conformed = conformer.conform(&chunk)?;
                assert!(conformed.rejected.is_empty(), "{:?}", conformed.rejected);
                read += conformed.accepted.num_rows() as u64;
            }
            Ok(read)
        });
        assert_eq!(read.ok(), Some(count), "{name}");
    }
}

/// The whole way: read, checked, committed, the rest to quarantine.
fn ingest(input: &[u8]) {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    // What was taken stays in memory, so not too often.
    if RUNS.fetch_add(1, Ordering::Relaxed) > 2_000 {
        return read(Format::Ndjson, input);
    }
    let Ok(name) = DatasetName::new(CALLS) else { return };
    let rows = IngestRows::Body {
        bytes: Bytes::copy_from_slice(input),
        format: Format::Ndjson,
        name: "body".to_owned(),
    };
    let request = IngestRequest { rows, producer: None };
    let sent = RIG.runtime.block_on(RIG.engine.ingest(&Principal::local(), &name, request));
    if let Err(error) = sent {
        is_answer(&error);
    }
}

fn dataset_spec(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let both = [DatasetSpec::from_toml(&text, "spec.toml"), DatasetSpec::from_json(&text)];
    for spec in both.into_iter().flatten() {
        let again = spec.to_json().and_then(|json| DatasetSpec::from_json(&json));
        assert!(
            again.is_ok_and(|again| again == spec),
            "a spec is not what it was written as: {text}"
        );
        let _ = spec.arrow_schema();
    }
}

/// A table whose log has these bytes as its second entry.
fn log(input: &[u8]) {
    let Ok(folder) = tempfile::tempdir() else { return };
    let result = RIG.runtime.block_on(async {
        let options = || EngineOptions {
            root: folder.path().to_string_lossy().into_owned(),
            access: Access::Writer { holder: "fuzz".to_owned() },
            ..EngineOptions::default()
        };
        let (who, spec) = (Principal::local(), spec()?);
        let engine = Engine::open(options()).await?;
        engine.create_dataset(&who, spec.clone()).await?;
        engine.shutdown().await?;
        let entry = folder.path().join("default/calls/_delta_log/00000000000000000001.json");
        std::fs::write(entry, input).map_err(|error| Error::internal(error.to_string()))?;
        let engine = Engine::open(options()).await?;
        let read = async {
            let session = engine.session(&who, &[]).await?;
            let frame = session.table(&spec.name).await?;
            session.collect(frame).await.map(drop)
        };
        let read = read.await;
        let examined = engine.examine(&who, true).await.map(drop);
        engine.shutdown().await?;
        read.and(examined)
    });
    if let Err(error) = result {
        is_answer(&error);
    }
}
