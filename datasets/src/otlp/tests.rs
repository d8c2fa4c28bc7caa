#![allow(clippy::unwrap_used, clippy::panic)]

use prost::Message;
use serde_json::{Value, json};

use super::message::{
    Any, AnyValue, ArrayValue, Event, KeyValue, KeyValueList, Resource, Scope, Span, Status,
};
use super::*;
use crate::conform::Conformer;
use crate::read::{Format, ReadOptions, Source, open};
use crate::specs;

/// 2026-02-01T00:00:00Z
const START: u64 = 1_769_904_000_000_000_000;
const MILLISECOND: u64 = 1_000_000;

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

fn any(value: Any) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn pair(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)) }
}

fn text(value: &str) -> Any {
    Any::Text(value.to_owned())
}

fn body(spans: Vec<Span>) -> Vec<u8> {
    let scope = Scope { name: "a.library".to_owned(), version: "1.2".to_owned() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
    let attributes = vec![pair("service.name", text("shop"))];
    let resource = Some(Resource { attributes });
    Request { resource_spans: vec![ResourceSpans { scope_spans, resource }] }.encode_to_vec()
}

fn span(number: u8, attributes: Vec<KeyValue>) -> Span {
    Span {
        trace_id: vec![0xAB; 16],
        span_id: vec![0, 0, 0, 0, 0, 0, 1, number],
        parent_span_id: Vec::new(),
        name: "a span".to_owned(),
        kind: 3,
        start_time_unix_nano: START,
        end_time_unix_nano: START + 1_500 * MILLISECOND,
        attributes,
        events: Vec::new(),
        status: None,
    }
}

fn chat(number: u8, more: Vec<KeyValue>) -> Span {
    let mut attributes = vec![
        pair("gen_ai.operation.name", text("chat")),
        pair("gen_ai.provider.name", text("openai")),
        pair("gen_ai.request.model", text("gpt-4")),
    ];
    attributes.extend(more);
    span(number, attributes)
}

fn read(spans: Vec<Span>) -> SpanRows {
    rows_of(&body(spans), Encoding::Protobuf, 8 << 20).unwrap()
}

fn lines(rows: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(rows).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn step(span: Span) -> Value {
    lines(&read(vec![span]).steps).remove(0)
}

fn call(span: Span) -> Value {
    lines(&read(vec![span]).calls).remove(0)
}

/// Why a span is rejected.
fn rejected(span: Span) -> String {
    let rows = read(vec![span]);
    assert_eq!((rows.rejected.spans, rows.step_rows, rows.call_rows), (1, 0, 0));
    rows.rejected.told()
}

#[test]
fn a_call_is_a_row_of_both_datasets() {
    let mut sent = chat(
        7,
        vec![
            pair("gen_ai.response.model", text("gpt-4-0613")),
            pair("gen_ai.usage.input_tokens", Any::Int(120)),
            pair("gen_ai.usage.output_tokens", Any::Int(8)),
            pair("gen_ai.usage.cache_read.input_tokens", Any::Int(100)),
            pair("gen_ai.usage.cache_creation.input_tokens", Any::Int(15)),
            pair("gen_ai.usage.reasoning.output_tokens", Any::Int(5)),
            pair("openai.response.service_tier", text("flex")),
            pair("ticket.id", Any::Int(4711)),
            pair("gen_ai.response.time_to_first_chunk", Any::Double(0.25)),
            pair("gen_ai.conversation.id", text("conv-1")),
            pair("gen_ai.agent.id", text("asst_1")),
            pair("gen_ai.agent.name", text("Math Tutor")),
            pair("enduser.id", text("ann")),
        ],
    );
    sent.parent_span_id = vec![0, 0, 0, 0, 0, 0, 0, 9];
    let trace = "ab".repeat(16);
    assert_eq!(
        call(sent.clone()),
        json!({
            "id": format!("{trace}-0000000000000107"), "at": "2026-02-01T00:00:00.000000Z", "user_id": "ann",
            "agent_id": "asst_1", "workflow_id": "conv-1", "provider": "openai", "model": "gpt-4-0613",
            "operation": "chat", "input_tokens": 120, "output_tokens": 8, "cached_tokens": 100,
            "cache_write_tokens": 15, "reasoning_tokens": 5, "service_tier": "flex", "ticket_id": "4711",
            "latency_ms": 1500.0, "time_to_first_token_ms": 250.0, "status": "ok",
        })
    );
    let mut told = step(sent);
    let attributes = told["attributes"].take();
    assert_eq!(
        told,
        json!({
            "case_id": "conv-1", "activity": "chat gpt-4", "started_at": "2026-02-01T00:00:00.000000Z",
            "ended_at": "2026-02-01T00:00:01.500000Z", "resource": "Math Tutor", "attributes": null,
        })
    );
    assert_eq!(attributes["gen_ai.usage.input_tokens"], 120);
    assert_eq!(
        attributes["otel"],
        json!({
            "trace_id": trace, "span_id": "0000000000000107", "parent_span_id": "0000000000000009", "name": "a span",
            "kind": "client", "status": "unset", "scope": "a.library", "scope_version": "1.2",
            "resource": {"service.name": "shop"},
        })
    );
}

#[test]
fn names_of_before_are_known_too() {
    let sent = span(
        1,
        vec![
            pair("gen_ai.system", text("az.ai.openai")),
            pair("gen_ai.request.model", text("gpt-35")),
            pair("gen_ai.usage.prompt_tokens", Any::Text("12".to_owned())),
            pair("gen_ai.usage.completion_tokens", Any::Double(3.0)),
            pair("gen_ai.latency.time_to_first_token", Any::Double(0.5)),
            pair("user.id", Any::Int(77)),
        ],
    );
    let told = call(sent.clone());
    let trace = "ab".repeat(16);
    for (column, value) in [
        ("provider", json!("az.ai.openai")),
        ("model", json!("gpt-35")),
        ("input_tokens", json!(12)),
        ("output_tokens", json!(3)),
        ("time_to_first_token_ms", json!(500.0)),
        ("user_id", json!("77")),
        ("workflow_id", json!(trace)),
    ] {
        assert_eq!(told[column], value, "{column}");
    }
    assert!(told.get("operation").is_none(), "{told}");
    let told = step(sent);
    assert_eq!((&told["case_id"], &told["activity"]), (&json!(trace), &json!("a span")));
}

#[test]
fn activities_are_named_as_the_conventions_name_spans() {
    for (operation, with, activity, is_call) in [
        ("chat", "gen_ai.request.model", "chat m", true),
        ("text_completion", "gen_ai.request.model", "text_completion m", true),
        ("generate_content", "gen_ai.request.model", "generate_content m", true),
        ("embeddings", "gen_ai.request.model", "embeddings m", true),
        ("execute_tool", "gen_ai.tool.name", "execute_tool m", false),
        ("invoke_agent", "gen_ai.agent.name", "invoke_agent m", false),
        ("create_agent", "gen_ai.agent.name", "create_agent m", false),
        ("invoke_workflow", "gen_ai.workflow.name", "invoke_workflow m", false),
        ("retrieval", "gen_ai.data_source.id", "retrieval m", false),
        ("chat", "other", "chat", true),
    ] {
        let attributes =
            vec![pair("gen_ai.operation.name", text(operation)), pair(with, text("m"))];
        let rows = read(vec![span(1, attributes)]);
        assert_eq!(lines(&rows.steps)[0]["activity"], activity);
        assert_eq!(rows.call_rows == 1, is_call, "{operation}");
    }
}

#[test]
fn the_first_token_is_told_by_an_event_too() {
    let event = |name: &str, after_ms: u64| Event {
        time_unix_nano: START + after_ms * MILLISECOND,
        name: name.to_owned(),
    };
    let mut sent = chat(1, Vec::new());
    sent.events = vec![
        event("exception", 1),
        event("llm.content.completion.chunk", 700),
        event("llm.content.completion.chunk", 300),
    ];
    assert_eq!(call(sent.clone())["time_to_first_token_ms"], 300.0);
    sent.events.truncate(1);
    assert!(call(sent).get("time_to_first_token_ms").is_none());
}

#[test]
fn how_a_call_ended_is_told() {
    let status = |code, message: &str| Some(Status { message: message.to_owned(), code });
    let outcome = |status, error_type: Option<&str>| {
        let attributes = error_type.map(|of| pair("error.type", text(of)));
        let told = call(Span { status, ..chat(1, attributes.into_iter().collect()) });
        (told["status"].clone(), told["error"].clone())
    };
    assert_eq!(outcome(None, None), (json!("ok"), Value::Null));
    assert_eq!(outcome(status(1, ""), None), (json!("ok"), Value::Null));
    assert_eq!(outcome(status(2, ""), None), (json!("error"), Value::Null));
    assert_eq!(outcome(status(2, "no room"), Some("500")), (json!("error"), json!("500: no room")));
    let timeout = outcome(status(2, ""), Some("APITimeoutError"));
    assert_eq!(timeout, (json!("timeout"), json!("APITimeoutError")));
    let (_, error) = outcome(status(2, &"x".repeat(20_000)), None);
    let error = error.as_str().unwrap();
    assert!(error.ends_with("x… (cut, 20000 bytes in all)") && error.len() < 17_000);
}

#[test]
fn what_has_nothing_to_do_with_it_is_passed_over() {
    let mut strange = span(1, vec![pair("http.request.method", text("GET"))]);
    strange.trace_id.clear();
    let rows = read(vec![strange, span(2, Vec::new()), chat(3, Vec::new()), chat(3, Vec::new())]);
    assert_eq!((rows.passed_over, rows.step_rows, rows.call_rows), (2, 1, 1));
    assert_eq!((rows.repeated, rows.rejected.spans), (1, 0));
    assert_eq!(rows.rejected.told(), "");
}

#[test]
fn spans_that_can_not_be_are_rejected_with_the_reason() {
    let of = |change: fn(&mut Span)| {
        let mut sent = chat(5, Vec::new());
        change(&mut sent);
        rejected(sent)
    };
    let trace = "ab".repeat(16);
    let which = format!("\"a span\", \"0000000000000105\" of trace \"{trace}\"");
    assert_eq!(
        of(|span| span.end_time_unix_nano -= 2_000 * MILLISECOND),
        format!("1 span whose end is before the start: {which}")
    );
    for (change, says) in [
        ((|span| span.trace_id = vec![1; 15]) as fn(&mut Span), "whose trace id is not 16 bytes"),
        (|span| span.trace_id = vec![0; 16], "whose trace id is not 16 bytes"),
        (|span| span.span_id.clear(), "whose id is not 8 bytes"),
        (|span| span.parent_span_id = vec![1; 7], "whose parent's id is not 8 bytes"),
        (|span| span.start_time_unix_nano = 0, "without a start"),
    ] {
        let told = of(change);
        assert!(told.starts_with(&format!("1 span {says}")), "{told}");
    }
    let with = |key: &str, value: Any| rejected(chat(5, vec![pair(key, value)]));
    for (key, value, says) in [
        ("gen_ai.usage.input_tokens", Any::Int(-1), "is negative"),
        ("gen_ai.usage.output_tokens", Any::Double(0.5), "is no whole number"),
        ("gen_ai.usage.cache_read.input_tokens", text("many"), "is no whole number"),
        ("gen_ai.response.time_to_first_chunk", Any::Double(f64::NAN), "is no time that passed"),
        ("gen_ai.response.time_to_first_chunk", Any::Double(-0.1), "is no time that passed"),
        ("gen_ai.response.time_to_first_chunk", Any::Double(1.6), "is after its end"),
        ("gen_ai.conversation.id", text(&"x".repeat(4_097)), "is longer than 4096 bytes"),
    ] {
        let told = with(key, value);
        assert!(told.starts_with(&format!("1 span whose {key} {says}: ")), "{told}");
    }
    let cached = vec![
        pair("gen_ai.usage.input_tokens", Any::Int(10)),
        pair("gen_ai.usage.cache_read.input_tokens", Any::Int(11)),
    ];
    assert!(rejected(chat(1, cached)).contains("more cached tokens than input tokens"));
    // Times that differ by how they are rounded are the same.
    let rounded = vec![pair("gen_ai.response.time_to_first_chunk", Any::Double(1.500_000_4))];
    assert_eq!(call(chat(1, rounded))["time_to_first_token_ms"], 1500.0);
    let mut bad: Vec<Span> = (1..=3).map(|number| chat(number, Vec::new())).collect();
    bad[1].start_time_unix_nano = 0;
    bad[2].start_time_unix_nano = 0;
    let rows = read(bad);
    assert_eq!((rows.rejected.spans, rows.step_rows), (2, 1));
    let first = format!("\"a span\", \"0000000000000102\" of trace \"{trace}\"");
    assert_eq!(rows.rejected.told(), format!("2 spans without a start, the first {first}"));
}

/// A text inside so many lists: arrays and lists of pairs by turns.
fn nested(depth: usize) -> Any {
    (0..depth).fold(text("inside"), |inside, level| match level % 2 {
        0 => Any::Array(ArrayValue { values: vec![any(inside)] }),
        _ => Any::Pairs(KeyValueList { values: vec![pair("k", inside)] }),
    })
}

#[test]
fn attributes_are_nested_so_deep_and_no_deeper() {
    let kept = step(chat(1, vec![pair("deep", nested(NESTING_MAX))]));
    assert!(kept["attributes"]["deep"].to_string().contains("\"inside\""), "{kept}");
    assert!(kept["attributes"]["otel"].get("cut").is_none());
    let cut =
        step(chat(1, vec![pair("deep", nested(NESTING_MAX + 1)), pair("flat", text("whole"))]));
    assert!(!cut["attributes"]["deep"].to_string().contains("inside"), "{cut}");
    assert_eq!(cut["attributes"]["flat"], "whole");
    assert_eq!(cut["attributes"]["otel"]["cut"], json!({"deep": "cut: nested deeper than 16"}));
    // What the decoder does not follow is an error of the body, from some depth on.
    let read = |depth: usize| {
        let spans = body(vec![chat(1, vec![pair("deep", nested(depth))])]);
        rows_of(&spans, Encoding::Protobuf, 1 << 20)
    };
    let followed = (NESTING_MAX..60).take_while(|depth| read(*depth).is_ok()).count();
    assert!((10..40).contains(&followed), "{followed}");
    for depth in [NESTING_MAX + followed, 60, 2_000] {
        let error = read(depth).unwrap_err().to_string();
        assert!(
            error.contains("resource_spans[0]") && error.contains("recursion limit"),
            "{error}"
        );
    }
}

#[test]
fn attributes_are_as_long_as_there_is_room() {
    let long = "ä".repeat(200_000);
    let sent = chat(1, vec![pair("long", text(&long)), pair("flag", Any::Bool(true))]);
    let told = step(sent);
    let kept = told["attributes"]["long"].as_str().unwrap();
    assert!(long.starts_with(kept) && kept.len() == 256 << 10, "{}", kept.len());
    assert_eq!(told["attributes"]["flag"], true);
    assert_eq!(told["attributes"]["otel"]["cut"], json!({"long": "cut: too long"}));

    let nulls = ArrayValue { values: vec![AnyValue::default(); 100_000] };
    let told = step(chat(1, vec![pair("nulls", Any::Array(nulls))]));
    let kept = told["attributes"]["nulls"].as_array().unwrap().len();
    assert!((30_000..33_000).contains(&kept), "{kept}");
    assert_eq!(told["attributes"]["otel"]["cut"], json!({"nulls": "cut: too long"}));

    let many = (0..10).map(|n| pair(&format!("a{n}"), text(&"x".repeat(200 << 10)))).collect();
    let told = step(chat(1, many));
    assert_eq!(told["attributes"]["otel"]["cut"], json!({"a5": "cut: too long"}));
    assert_eq!(told["attributes"]["otel"]["left_out"], 4);

    let mut large = chat(1, vec![pair("long", text(&"x".repeat(SPAN_BYTES_MAX)))]);
    assert!(rejected(large.clone()).contains("larger than 4 MiB"));
    large.attributes.drain(..3);
    assert_eq!(read(vec![large]).passed_over, 1);
}

#[test]
fn values_of_every_kind_are_kept() {
    let told = step(chat(
        1,
        vec![
            pair("int", Any::Int(i64::MAX)),
            pair("double", Any::Double(0.1)),
            pair("nan", Any::Double(f64::NAN)),
            pair("bytes", Any::Bytes(b"hello".to_vec())),
            KeyValue { key: "none".to_owned(), value: None },
            pair("otel", text("taken")),
            pair("int", Any::Int(7)),
        ],
    ));
    let attributes = &told["attributes"];
    assert_eq!(attributes["int"], 7);
    assert_eq!(attributes["double"], 0.1);
    assert_eq!(attributes["nan"], "NaN");
    assert_eq!(attributes["bytes"], "aGVsbG8=");
    assert_eq!(attributes["none"], Value::Null);
    assert_eq!(attributes["otel"]["cut"], json!({"otel": "left out: the name is taken by this"}));
}

/// The same request in JSON, `name` naming its members.
fn in_json(name: fn(&str) -> String, ids_upper: bool) -> String {
    let id = |id: &str| if ids_upper { id.to_uppercase() } else { id.to_owned() };
    let value = |kind: &str, value: Value| json!({name(kind): value});
    let deep = json!({name("arrayValue"): {"values": [
        value("boolValue", json!(true)),
        {name("kvlistValue"): {"values": [{"key": "k", "value": value("doubleValue", json!(0.5))}]}},
        value("bytesValue", json!("aGVsbG8=")),
        {},
    ]}});
    let span = json!({
        name("traceId"): id(&"ab".repeat(16)), name("spanId"): id("0000000000000101"),
        name("parentSpanId"): "", "name": "a span", "kind": 3, "unknown": [{"a": 1}],
        name("startTimeUnixNano"): START.to_string(), name("endTimeUnixNano"): START + 1_500 * MILLISECOND,
        "attributes": [
            {"key": "gen_ai.operation.name", "value": value("stringValue", json!("chat"))},
            {"key": "gen_ai.provider.name", "value": value("stringValue", json!("openai"))},
            {"key": "gen_ai.request.model", "value": value("stringValue", json!("gpt-4"))},
            {"key": "gen_ai.usage.input_tokens", "value": value("intValue", json!("120"))},
            {"key": "gen_ai.usage.output_tokens", "value": value("intValue", json!(8))},
            {"key": "deep", "value": deep},
        ],
        "events": [{name("timeUnixNano"): (START + 300 * MILLISECOND).to_string(), "name": "first_token"}],
        "status": {"code": "STATUS_CODE_ERROR", "message": "no \u{e4}"},
    });
    json!({name("resourceSpans"): [{
        name("scopeSpans"): [{"spans": [span], "scope": {"name": "a.library", "version": "1.2"}}],
        "resource": {"attributes": [{"key": "service.name", "value": value("stringValue", json!("shop"))}]},
    }]})
    .to_string()
}

fn camel(name: &str) -> String {
    name.to_owned()
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

#[test]
fn json_and_protobuf_are_the_same_rows() {
    let pairs = KeyValueList { values: vec![pair("k", Any::Double(0.5))] };
    let values = vec![
        any(Any::Bool(true)),
        any(Any::Pairs(pairs)),
        any(Any::Bytes(b"hello".to_vec())),
        AnyValue::default(),
    ];
    let mut sent = chat(
        1,
        vec![
            pair("gen_ai.usage.input_tokens", Any::Int(120)),
            pair("gen_ai.usage.output_tokens", Any::Int(8)),
            pair("deep", Any::Array(ArrayValue { values })),
        ],
    );
    sent.events =
        vec![Event { time_unix_nano: START + 300 * MILLISECOND, name: "first_token".into() }];
    sent.status = Some(Status { message: "no \u{e4}".to_owned(), code: 2 });
    let expected = read(vec![sent]);
    assert_eq!((expected.step_rows, expected.call_rows), (1, 1));
    for text in [in_json(camel, false), in_json(snake, false), in_json(camel, true)] {
        let rows = rows_of(text.as_bytes(), Encoding::Json, 1 << 20).unwrap();
        assert_eq!(lines(&rows.steps), lines(&expected.steps), "{text}");
        assert_eq!(lines(&rows.calls), lines(&expected.calls), "{text}");
        assert_eq!((rows.steps, rows.calls), (expected.steps.clone(), expected.calls.clone()));
    }
}

#[test]
fn a_body_that_is_none_says_where() {
    let json =
        |text: &str| rows_of(text.as_bytes(), Encoding::Json, 1 << 20).unwrap_err().to_string();
    let within = |span: &str| {
        json(&format!(r#"{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{{}}, {span}]}}]}}]}}"#))
    };
    let attribute = r#""attributes": [{"key": "gen_ai.system", "value": {"stringValue": "x"}}]"#;
    for (error, says) in [
        (json("{"), "body: not readable as OTLP traces: expected"),
        (json("[]"), "expected an object"),
        (json(r#"{"resourceSpans": 5}"#), "expected an array"),
        (within("7"), "resourceSpans[0]: scopeSpans[0]: spans[1]: expected an object"),
        (within(&format!(r#"{{"startTimeUnixNano": "soon", {attribute}}}"#)), "a whole number"),
        (within(&format!(r#"{{"kind": "CLIENT", {attribute}}}"#)), "SPAN_KIND_CLIENT"),
        (within(&format!(r#"{{"name": 5, {attribute}}}"#)), "expected a string"),
    ] {
        assert!(error.contains(says), "{error}");
    }
    let protobuf =
        |bytes: &[u8]| rows_of(bytes, Encoding::Protobuf, 1 << 20).unwrap_err().to_string();
    let whole = body(vec![chat(1, Vec::new())]);
    assert!(protobuf(b"{}").contains("wire type"), "{}", protobuf(b"{}"));
    assert!(protobuf(&[0xFF; 20]).contains("varint"));
    for end in 1..whole.len() {
        protobuf(&whole[..end]);
    }
    for (bytes, encoding) in [(&b""[..], Encoding::Protobuf), (b"{}", Encoding::Json)] {
        let rows = rows_of(bytes, encoding, 1 << 20).unwrap();
        assert_eq!((rows.step_rows, rows.passed_over), (0, 0));
    }
}

#[test]
fn json_is_nested_so_deep_and_no_deeper() {
    let of = |depth: usize| {
        let value = (0..depth).fold(
            json!({"stringValue": "inside"}),
            |inside, _| json!({"arrayValue": {"values": [inside]}}),
        );
        let mut sent: Value = serde_json::from_str(&in_json(camel, false)).unwrap();
        let span = &mut sent["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        span["attributes"][5]["value"] = value;
        sent.to_string()
    };
    let read = |text: &str| rows_of(text.as_bytes(), Encoding::Json, 1 << 20);
    let kept = read(&of(NESTING_MAX)).unwrap();
    assert!(lines(&kept.steps)[0]["attributes"]["deep"].to_string().contains("inside"));
    let cut = lines(&read(&of(NESTING_MAX + 1)).unwrap().steps).remove(0);
    assert!(!cut["attributes"]["deep"].to_string().contains("inside"));
    assert_eq!(cut["attributes"]["otel"]["cut"], json!({"deep": "cut: nested deeper than 16"}));
    let followed = (NESTING_MAX..60).take_while(|depth| read(&of(*depth)).is_ok()).count();
    assert!((10..40).contains(&followed), "{followed}");
    let deep = of(1).replace(
        r#"{"stringValue":"inside"}"#,
        &(r#"{"arrayValue":{"values":["#.repeat(100_000) + &"]}}".repeat(100_000)),
    );
    for deep in [of(NESTING_MAX + followed), of(60), deep] {
        let error = read(&deep).unwrap_err().to_string();
        assert!(error.contains("nest"), "{error}");
    }
}

#[test]
fn rows_have_a_bound() {
    let spans = (0..=200).map(|number| chat(number, Vec::new())).collect();
    let error = rows_of(&body(spans), Encoding::Protobuf, 10_000).unwrap_err().to_string();
    assert_eq!(error, "body: the rows of the spans is over the limit of 10000 bytes");
    // A resource stands in each row, and is short there.
    let attributes = vec![pair("service.name", text(&"x".repeat(100_000)))];
    let scope_spans = vec![ScopeSpans { scope: None, spans: vec![chat(1, Vec::new())] }];
    let resource = Some(Resource { attributes });
    let request = Request { resource_spans: vec![ResourceSpans { scope_spans, resource }] };
    let rows = rows_of(&request.encode_to_vec(), Encoding::Protobuf, 1 << 20).unwrap();
    let told = lines(&rows.steps).remove(0);
    assert_eq!(
        told["attributes"]["otel"]["cut"],
        json!({"resource.service.name": "cut: too long"})
    );
    assert!(rows.steps.len() < 20_000, "{}", rows.steps.len());
}

#[test]
fn what_is_taken_fits_the_datasets() {
    let mut spans = vec![
        chat(1, Vec::new()),
        chat(2, vec![pair("error.type", text("500")), pair("deep", nested(NESTING_MAX))]),
        chat(3, vec![pair("gen_ai.response.time_to_first_chunk", Any::Double(1.5))]),
        span(4, vec![pair("gen_ai.tool.name", text("\u{0}\u{1f}\u{10ffff}\"\\"))]),
        span(5, vec![pair("gen_ai.operation.name", text(" \u{85}x"))]),
        span(6, vec![pair("gen_ai.usage.input_tokens", Any::Int(i64::MAX))]),
    ];
    spans[0].start_time_unix_nano = 1;
    spans[0].end_time_unix_nano = u64::MAX;
    let rows = read(spans);
    assert_eq!((rows.step_rows, rows.call_rows, rows.rejected.spans), (6, 3, 0));
    for (name, lines, count) in [
        ("workflow_steps", rows.steps, rows.step_rows),
        ("model_calls", rows.calls, rows.call_rows),
    ] {
        let spec = specs::by_name(name).unwrap();
        let source = Source::Body { bytes: lines.into(), name: name.to_owned() };
        let mut reader =
            open(source, Format::Ndjson, Some(&spec), &ReadOptions::default()).unwrap();
        let conformer = Conformer::new(&spec, &reader.schema(), name).unwrap();
        let mut taken = 0;
        while let Some(chunk) = reader.next_chunk().unwrap() {
            let conformed = conformer.conform(&chunk).unwrap();
            assert!(conformed.rejected.is_empty(), "{:?}", conformed.rejected);
            taken += conformed.accepted.num_rows() as u64;
        }
        assert_eq!(taken, count, "{name}");
    }
}
