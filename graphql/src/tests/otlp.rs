//! `POST /v1/traces`, over a real port: what comes of spans, and what their exporters are told.

use std::io::Write;

use engine::{Role, TenantId};
use flate2::write::GzEncoder;
use prost::Message;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::Rig;
use super::http::{JSON, client};
use crate::limits::Limits;
use crate::server::{ApiKey, ServerOptions};

const PATH: &str = "/v1/traces";
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
/// 2026-02-01T00:00:00Z
const START: u64 = 1_769_904_000_000_000_000;
const ROWS: &str = "{ modelCalls { totalCount } workflowSteps { totalCount } }";

/// A span with these attributes, which takes a second.
fn span(number: u64, attributes: &[(&str, &str)]) -> Value {
    let attribute =
        |(key, value): &(&str, &str)| json!({"key": key, "value": {"stringValue": value}});
    json!({
        "traceId": "ab".repeat(16), "spanId": format!("{number:016x}"), "name": "a span",
        "startTimeUnixNano": START.to_string(), "endTimeUnixNano": (START + 1_000_000_000).to_string(),
        "attributes": attributes.iter().map(attribute).collect::<Vec<_>>(),
    })
}

fn chat(number: u64) -> Value {
    span(
        number,
        &[
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "openai"),
            ("gen_ai.request.model", "gpt-4"),
            ("gen_ai.conversation.id", "c1"),
        ],
    )
}

fn tool(number: u64) -> Value {
    span(number, &[("gen_ai.operation.name", "execute_tool"), ("gen_ai.tool.name", "search")])
}

fn in_json(spans: &[Value]) -> String {
    json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).to_string()
}

/// The same in protobuf.
fn in_protobuf(spans: &[Value]) -> Vec<u8> {
    fn part(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut part = vec![number << 3 | 2];
        prost::encode_length_delimiter(bytes.len(), &mut part).unwrap();
        part.extend(bytes);
        part
    }
    let mut all = Vec::new();
    for span in spans {
        let text = |name: &str| span[name].as_str().unwrap();
        let id = |name: &str| {
            let number = u128::from_str_radix(text(name), 16).unwrap().to_be_bytes();
            number[16 - text(name).len() / 2..].to_vec()
        };
        let time = |name: &str| text(name).parse::<u64>().unwrap().to_le_bytes();
        let mut sent = [part(1, &id("traceId")), part(2, &id("spanId"))].concat();
        sent.extend(part(5, text("name").as_bytes()));
        sent.extend([&[7 << 3 | 1][..], &time("startTimeUnixNano")].concat());
        sent.extend([&[8 << 3 | 1][..], &time("endTimeUnixNano")].concat());
        for attribute in span["attributes"].as_array().unwrap() {
            let value = part(1, attribute["value"]["stringValue"].as_str().unwrap().as_bytes());
            let pair = [part(1, attribute["key"].as_str().unwrap().as_bytes()), part(2, &value)];
            sent.extend(part(9, &pair.concat()));
        }
        all.extend(part(2, &sent));
    }
    part(1, &part(2, &all))
}

/// What is answered in protobuf: google.rpc.Status, and a part of a success, as far as a test asks.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[derive(Clone, PartialEq, Message)]
struct Taken {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<Partial>,
}

#[derive(Clone, PartialEq, Message)]
struct Partial {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

async fn send_bytes(
    url: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (u16, HeaderMap, Vec<u8>) {
    let mut request = reqwest::Client::new().post(url).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, response.bytes().await.unwrap().to_vec())
}

fn packed(body: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(body).unwrap();
    packer.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_are_rows_of_both_datasets_and_once_however_often_they_are_sent() {
    let rig = Rig::new().await;
    let client = client(&rig, ServerOptions::default()).await;
    let spans = [chat(1), tool(2), span(3, &[("http.request.method", "GET")]), chat(4)];
    let counts = json!({"modelCalls": {"totalCount": "2"}, "workflowSteps": {"totalCount": "3"}});
    let gzip = ("content-encoding", "gzip");
    for _ in 0..2 {
        let (status, headers, answer) = client.post(PATH, &[JSON], in_json(&spans)).await;
        assert_eq!((status, answer), (200, json!({})));
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(rig.data(ROWS).await, counts);
        // The same in other forms: what is known again are the rows.
        let body = packed(in_json(&spans).as_bytes());
        assert_eq!(client.post(PATH, &[JSON, gzip], body).await.0, 200);
        for (body, headers) in [
            (in_protobuf(&spans), vec![PROTOBUF]),
            (packed(&in_protobuf(&spans)), vec![PROTOBUF, gzip]),
        ] {
            let (status, headers, answer) = send_bytes(&client.url(PATH), &headers, body).await;
            assert_eq!((status, answer.len()), (200, 0), "a success has nothing to say");
            assert_eq!(headers["content-type"], "application/x-protobuf");
        }
        assert_eq!(rig.data(ROWS).await, counts);
    }
    let data = rig
        .data(
            "{ modelCalls(orderBy: [{id: ASC}]) { nodes { id at model provider operation workflowId latencyMs status inputTokens } } \
               workflowSteps(orderBy: [{activity: ASC}], first: 3) { nodes { caseId activity startedAt endedAt resource attributes } } }",
        )
        .await;
    let trace = "ab".repeat(16);
    assert_eq!(
        data["modelCalls"]["nodes"][1],
        json!({
            "id": format!("{trace}-0000000000000004"), "at": "2026-02-01T00:00:00Z", "model": "gpt-4", "provider": "openai",
            "operation": "chat", "workflowId": "c1", "latencyMs": 1000.0, "status": "ok", "inputTokens": null,
        })
    );
    let mut step = data["workflowSteps"]["nodes"][2].clone();
    let attributes = step["attributes"].take();
    assert_eq!(
        step,
        json!({
            "caseId": trace, "activity": "execute_tool search", "startedAt": "2026-02-01T00:00:00Z", "endedAt": "2026-02-01T00:00:01Z",
            "resource": null, "attributes": null,
        })
    );
    assert_eq!(attributes["gen_ai.tool.name"], "search", "{attributes}");
    assert_eq!(attributes["otel"]["span_id"], "0000000000000002");
    // Calls are known by their ids, in whatever company they come again; steps are not.
    assert_eq!(client.post(PATH, &[JSON], in_json(&[chat(1), chat(5)])).await.0, 200);
    let counts = json!({"modelCalls": {"totalCount": "3"}, "workflowSteps": {"totalCount": "5"}});
    assert_eq!(rig.data(ROWS).await, counts);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_send_the_same_at_once_one_is_taken() {
    let rig = Rig::new().await;
    let client = client(&rig, ServerOptions::default()).await;
    let body = in_json(&(1..=20).map(chat).collect::<Vec<_>>());
    let sent = (0..8).map(|_| client.post(PATH, &[JSON], body.clone()));
    for (status, _, answer) in futures::future::join_all(sent).await {
        assert_eq!(status, 200, "{answer}");
    }
    let counts = json!({"modelCalls": {"totalCount": "20"}, "workflowSteps": {"totalCount": "20"}});
    assert_eq!(rig.data(ROWS).await, counts);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_can_not_be_are_told_and_the_others_taken() {
    let rig = Rig::new().await;
    let client = client(&rig, ServerOptions::default()).await;
    let mut early = chat(1);
    early["endTimeUnixNano"] = json!((START - 1).to_string());
    let mut again = chat(3);
    again["endTimeUnixNano"] = json!("0");
    let spans = [early, chat(2), again, span(4, &[])];
    let which = format!("\"a span\", \"0000000000000001\" of trace {:?}", "ab".repeat(16));
    let says = format!("2 spans whose end is before the start, the first {which}");
    let (status, _, answer) = client.post(PATH, &[JSON], in_json(&spans)).await;
    let partial = json!({"rejectedSpans": "2", "errorMessage": says});
    assert_eq!((status, answer), (200, json!({"partialSuccess": partial})));
    let (status, _, answer) = send_bytes(&client.url(PATH), &[PROTOBUF], in_protobuf(&spans)).await;
    let partial = Taken::decode(&answer[..]).unwrap().partial_success.unwrap();
    assert_eq!((status, partial), (200, Partial { rejected_spans: 2, error_message: says }));
    let counts = json!({"modelCalls": {"totalCount": "1"}, "workflowSteps": {"totalCount": "1"}});
    assert_eq!(rig.data(ROWS).await, counts);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_is_passed_over_nothing_is_said_or_made() {
    let rig = Rig::new().await;
    let client = client(&rig, ServerOptions::default()).await;
    for spans in [vec![], vec![span(1, &[("http.route", "/")])]] {
        let (status, _, answer) = client.post(PATH, &[JSON], in_json(&spans)).await;
        assert_eq!((status, answer), (200, json!({})));
    }
    let (status, ..) = send_bytes(&client.url(PATH), &[PROTOBUF], Vec::new()).await;
    assert_eq!(status, 200);
    assert_eq!(rig.data("{ datasets { name } }").await, json!({"datasets": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_a_status_in_the_encoding_of_the_request() {
    let rig = Rig::new().await;
    let limits = Limits { ingest_bytes_max: 1_000_000, ..Limits::default() };
    let client = client(&rig, ServerOptions { limits, ..ServerOptions::default() }).await;
    let deep = format!("{{\"resourceSpans\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for (body, status, code, says) in [
        ("{".to_owned(), 400, 3, "not readable as OTLP traces"),
        (deep, 400, 3, "not readable as OTLP traces"),
        (in_json(&[json!({"spanId": 5})]) + "x", 400, 3, "expected the end of the document"),
        (" ".repeat(1_000_001), 413, 8, "bytes of the body of spans: the limit is 1000000"),
    ] {
        let (found, headers, answer) = client.post(PATH, &[JSON], body).await;
        assert_eq!((found, &answer["code"]), (status, &json!(code)), "{answer}");
        assert!(answer["message"].as_str().unwrap().contains(says), "{answer}");
        assert_eq!(headers["content-type"], "application/json");
    }
    let url = client.url(PATH);
    for (headers, body, status, code, says) in [
        (vec![PROTOBUF], b"{}".to_vec(), 400, 3, "wire type"),
        (vec![PROTOBUF, ("content-encoding", "gzip")], b"{}".to_vec(), 400, 3, "gzip"),
        (vec![PROTOBUF, ("content-encoding", "br")], Vec::new(), 415, 3, "gzip or identity"),
    ] {
        let (found, headers, answer) = send_bytes(&url, &headers, body).await;
        let answer = Status::decode(&answer[..]).unwrap();
        assert_eq!((found, answer.code), (status, code), "{answer:?}");
        assert!(answer.message.contains(says), "{answer:?}");
        assert_eq!(headers["content-type"], "application/x-protobuf");
    }
    let (status, _, answer) = client.post(PATH, &[("content-type", "text/csv")], "").await;
    assert_eq!((status, &answer["code"]), (415, &json!(3)));
    let says = "expected application/x-protobuf or application/json, found \"text/csv\"";
    assert!(answer["message"].as_str().unwrap().contains(says), "{answer}");
    assert_eq!(client.get(PATH, &[]).await.0, 405);
    let (_, _, answer) = client.get("/v1/trace", &[]).await;
    assert!(answer.to_string().contains("/v1/traces"), "{answer}");
    assert_eq!(rig.data("{ datasets { name } }").await, json!({"datasets": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_spans_is_known_may_write_and_has_rows_of_its_own() {
    let rig = Rig::new().await;
    let key = |key: &str, tenant: TenantId, role| ApiKey::new(key, tenant, key, vec![role]);
    let keys = vec![
        key("reader", TenantId::default(), Role::Reader),
        key("writer", TenantId::default(), Role::Writer),
        key("other", "other".parse().unwrap(), Role::Writer),
    ];
    let limits = Limits { subject_requests_a_minute_max: 2, ..Limits::default() };
    let options = ServerOptions { keys, limits, ..ServerOptions::default() };
    let client = client(&rig, options).await;
    let send = async |headers: &[(&str, &str)], body: String| {
        let (status, headers, answer) = client.post(PATH, headers, body).await;
        (status, headers, answer["code"].clone())
    };
    let body = in_json(&[chat(1)]);
    let (status, _, code) = send(&[JSON], body.clone()).await;
    assert_eq!((status, code), (401, json!(16)));
    let (status, _, code) = send(&[JSON, ("x-api-key", "reader")], body.clone()).await;
    assert_eq!((status, code), (403, json!(7)));
    // Nobody is told what is wrong with a body before it is known who asks.
    assert_eq!(send(&[("content-type", "text/csv")], "{".to_owned()).await.0, 401);
    assert_eq!(send(&[JSON, ("authorization", "Bearer other")], body.clone()).await.0, 200);
    assert_eq!(rig.data("{ datasets { name } }").await, json!({"datasets": []}));
    assert_eq!(send(&[JSON, ("x-api-key", "writer")], body.clone()).await.0, 200);
    let counts = json!({"modelCalls": {"totalCount": "1"}, "workflowSteps": {"totalCount": "1"}});
    assert_eq!(rig.data(ROWS).await, counts);

    // Who sends too often is told when to send again.
    assert_eq!(send(&[JSON, ("x-api-key", "writer")], body.clone()).await.0, 200);
    let (status, headers, code) = send(&[JSON, ("x-api-key", "writer")], body).await;
    assert_eq!((status, code), (429, json!(8)));
    let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((20..=30).contains(&wait), "{wait}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_datasets_own_checks_refuse_are_told_too() {
    let rig = Rig::new().await;
    let mut spec = datasets::specs::by_name("workflow_steps").unwrap();
    let check = r#"{"check": "one_of", "column": "activity", "values": ["chat gpt-4"]}"#;
    spec.validations.push(serde_json::from_str(check).unwrap());
    rig.create(spec).await;
    let client = client(&rig, ServerOptions::default()).await;
    let (status, _, answer) = client.post(PATH, &[JSON], in_json(&[chat(1), tool(2)])).await;
    assert_eq!((status, &answer["partialSuccess"]["rejectedSpans"]), (200, &json!("1")));
    let says = answer["partialSuccess"]["errorMessage"].as_str().unwrap();
    assert!(says.starts_with("1 of the rows are in workflow_steps_quarantine: "), "{says}");
    let data =
        rig.data("{ workflowSteps { totalCount } workflowStepsQuarantine { totalCount } }").await;
    let one = json!({"totalCount": "1"});
    assert_eq!(data, json!({"workflowSteps": one, "workflowStepsQuarantine": one}));
}
