//! HTTP as clients meet it, over a real port.

use std::time::Duration;

use engine::{Code, Role, TenantId};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Rig;
use crate::limits::Limits;
use crate::server::{ApiKey, Patience, Server, ServerOptions};

pub(super) struct Client {
    http: reqwest::Client,
    address: String,
    _stop: tokio::sync::oneshot::Sender<()>,
}

pub(super) async fn client(rig: &Rig, options: ServerOptions) -> Client {
    let (address, stop, _) = rig.serve(options).await;
    Client { http: reqwest::Client::new(), address, _stop: stop }
}

impl Client {
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> (u16, HeaderMap, Value) {
        let mut request = self.http.post(self.url(path)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request).await
    }

    pub(super) async fn get(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (u16, HeaderMap, Value) {
        let mut request = self.http.get(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request).await
    }
}

async fn read(request: reqwest::RequestBuilder) -> (u16, HeaderMap, Value) {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    (status, headers, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

type Headers = &'static [(&'static str, &'static str)];

pub(super) const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn every_digit_of_a_number_counts() {
    let rig = Rig::with_calls().await;
    // Of 16 and 17 digits: one read a bit off is another number, which `eq` does not find.
    let numbers: Vec<f64> = (1..25).map(|row| 1e6 + 0.1 * f64::from(row).sin()).collect();
    let line = |(row, number): (usize, &f64)| {
        format!(r#"{{"id": "n{row}", "at": "2026-02-01T00:00:00Z", "latency_ms": {number:?}}}"#)
    };
    let lines: Vec<String> = numbers.iter().enumerate().map(line).collect();
    rig.ingest("calls", &lines.join("\n")).await;
    let client = client(&rig, ServerOptions::default()).await;
    let found = "{ nodes { id latencyMs } }";
    for (row, number) in numbers.iter().enumerate() {
        let literal = format!("{{ calls(where: {{latencyMs: {{eq: {number:?}}}}}) {found} }}");
        let query =
            format!("query($n: Float!) {{ calls(where: {{latencyMs: {{eq: $n}}}}) {found} }}");
        for body in [
            json!({"query": literal}).to_string(),
            format!(r#"{{"query": {query:?}, "variables": {{"n": {number:?}}}}}"#),
        ] {
            let (_, _, answer) = client.post("/graphql", &[JSON], body.clone()).await;
            let expected = json!([{"id": format!("n{row}"), "latencyMs": number}]);
            assert_eq!(answer["data"]["calls"]["nodes"], expected, "{body}\n{answer}");
        }
    }
}

#[tokio::test]
async fn status_and_form_follow_the_specification() {
    let rig = Rig::with_calls().await;
    let client = client(&rig, ServerOptions::default()).await;
    let good = json!({"query": "query($n: Int) { calls(first: $n) { nodes { id } } }", "variables": {"n": 1}}).to_string();
    const NEW: (&str, &str) = ("accept", "application/graphql-response+json");
    let is = |headers: &HeaderMap, form: &str| {
        let found = headers[CONTENT_TYPE].to_str().unwrap();
        assert_eq!(found, format!("{form}; charset=utf-8"));
    };
    let (status, headers, body) = client.post("/graphql", &[JSON, NEW], good.clone()).await;
    assert_eq!((status, &body["data"]), (200, &json!({"calls": {"nodes": [{"id": "c0"}]}})));
    is(&headers, NEW.1);
    assert_eq!(headers["x-trace-id"].len(), 32);
    assert!(body["extensions"]["cost"].as_u64().unwrap() > 0);
    let plain: [Headers; 3] =
        [&[JSON], &[JSON, ("accept", "*/*")], &[JSON, ("accept", "application/json")]];
    for accept in plain {
        let (_, headers, _) = client.post("/graphql", accept, good.clone()).await;
        is(&headers, "application/json");
    }

    let unknown = json!({"query": "{ nothing }"}).to_string();
    let (status, _, body) = client.post("/graphql", &[JSON, NEW], unknown.clone()).await;
    assert_eq!((status, body.get("data")), (400, None));
    assert_eq!(body["errors"][0]["extensions"]["code"], "BAD_INPUT");
    assert!(body["errors"][0]["extensions"]["requestId"].is_string());
    for accept in plain {
        let (status, _, again) = client.post("/graphql", accept, unknown.clone()).await;
        assert_eq!(status, 200);
        assert_eq!(again["errors"][0]["message"], body["errors"][0]["message"]);
    }

    let failing = json!({"query": "{ calls(asOf: {version: 99}) { version } datasets { name } }"})
        .to_string();
    let (status, _, body) = client.post("/graphql", &[JSON], failing).await;
    assert_eq!(status, 200);
    assert_eq!(body["data"]["calls"], Value::Null);
    assert!(!body["data"]["datasets"].as_array().unwrap().is_empty());
    assert_eq!(body["errors"][0]["extensions"]["code"], "NOT_FOUND");

    let cases: [(Headers, &str, u16); 6] = [
        (&[("content-type", "text/plain")], "{}", 415),
        (&[JSON], "{", 400),
        (&[JSON], "[{\"query\": \"{ datasets { name } }\"}]", 400),
        (&[JSON], "{\"query\": \"\"}", 400),
        (&[JSON, ("accept", "image/png")], "{}", 406),
        (&[JSON], "{\"query\": \"subscription { callsChanged { version } }\"}", 400),
    ];
    for (headers, body, expected) in cases {
        let (status, _, answer) = client.post("/graphql", headers, body).await;
        assert_eq!(status, expected, "{body}\n{answer}");
        assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_INPUT", "{body}\n{answer}");
    }
}

#[tokio::test]
async fn a_get_reads_and_changes_nothing() {
    let rig = Rig::with_calls().await;
    let client = client(&rig, ServerOptions::default()).await;
    let query = "/graphql?query=query(%24n%3AInt)%7Bcalls(first%3A%24n)%7Bversion%7D%7D&variables=%7B%22n%22%3A1%7D";
    let (status, _, body) = client.get(query, &[]).await;
    assert_eq!((status, &body["data"]["calls"]["version"]), (200, &json!(1)), "{body}");
    let mutation = "/graphql?query=mutation%7BrunJob(job%3A%22anomalies%22)%7Bid%7D%7D";
    let (status, headers, body) = client.get(mutation, &[]).await;
    assert_eq!((status, &headers["allow"]), (405, &"POST".parse().unwrap()), "{body}");
    assert!(body["errors"][0]["message"].as_str().unwrap().contains("POST"));
    // In whatever form it is to be answered.
    let stream = [("accept", "text/event-stream")];
    let (status, headers, body) = client.get(mutation, &stream).await;
    assert_eq!((status, &headers["allow"]), (405, &"POST".parse().unwrap()), "{body}");
    let two = "/graphql?query=query%20A%7Bdatasets%7Bname%7D%7Dquery%20B%7Bcalls%7Bversion%7D%7D";
    let (_, _, body) = client.get(&format!("{two}&operationName=B&variables=null"), &[]).await;
    assert_eq!(body["data"], json!({"calls": {"version": 1}}), "{body}");
    let (status, _, body) = client.get(&format!("{two}&operationName=B&variables=%5B"), &[]).await;
    assert_eq!(status, 400);
    assert!(body["errors"][0]["message"].as_str().unwrap().contains("variables"), "{body}");
    let response = client.http.delete(client.url("/graphql")).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["allow"]),
        (405, &"GET, POST".parse().unwrap())
    );
}

#[tokio::test]
async fn the_trace_of_the_caller_is_kept() {
    let rig = Rig::new().await;
    let client = client(&rig, ServerOptions::default()).await;
    let id = "0af7651916cd43dd8448eb211c80319c";
    let traceparent = format!("00-{id}-b7ad6b7169203331-01");
    let (_, headers, _) = client.get("/healthz", &[("traceparent", &traceparent)]).await;
    assert_eq!(headers["x-trace-id"], id);
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_and_names_that_only_resolve_here() {
    let rig = Rig::with_calls().await;
    let client = client(&rig, ServerOptions::default()).await;
    let body = json!({"query": "{ datasets { name } }"}).to_string();
    let own = format!("http://{}", client.address);
    let (status, ..) = client.post("/graphql", &[JSON, ("origin", &own)], body.clone()).await;
    assert_eq!(status, 200);
    for header in [("origin", "http://evil.example"), ("host", "evil.example")] {
        let (status, _, answer) = client.post("/graphql", &[JSON, header], body.clone()).await;
        assert_eq!(status, 403, "{header:?}");
        assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN");
        let (status, _, answer) = client
            .post("/v1/ingest/calls", &[("content-type", "application/x-ndjson"), header], "{}")
            .await;
        assert_eq!((status, &answer["error"]["code"]), (403, &json!("FORBIDDEN")));
    }
}

#[tokio::test]
async fn a_key_is_needed_where_keys_are_set_up() {
    let rig = Rig::with_calls().await;
    let keys = vec![
        ApiKey::new("reader", TenantId::default(), "r", vec![Role::Reader]),
        ApiKey::new("other", "other".parse().unwrap(), "o", vec![Role::Admin]),
    ];
    let client = client(&rig, ServerOptions { keys, ..ServerOptions::default() }).await;
    let body = json!({"query": "{ datasets { name } }"}).to_string();
    let (status, headers, answer) = client.post("/graphql", &[JSON], body.clone()).await;
    assert_eq!(
        (status, &answer["errors"][0]["extensions"]["code"]),
        (401, &json!("UNAUTHENTICATED"))
    );
    assert_eq!(headers["www-authenticate"], "Bearer");
    let (status, _, answer) =
        client.post("/graphql", &[JSON, ("authorization", "Bearer reader")], body.clone()).await;
    assert_eq!(status, 200);
    assert!(answer["data"]["datasets"].as_array().unwrap().iter().any(|d| d["name"] == "calls"));
    let (_, _, answer) = client.post("/graphql", &[JSON, ("x-api-key", "other")], body).await;
    assert_eq!(answer["data"], json!({"datasets": []}));
    let ndjson = ("content-type", "application/x-ndjson");
    let (status, _, answer) =
        client.post("/v1/ingest/calls", &[ndjson, ("x-api-key", "reader")], "{}").await;
    assert_eq!((status, &answer["error"]["code"]), (403, &json!("FORBIDDEN")));
    assert_eq!(client.get("/metrics", &[]).await.0, 401);
    assert_eq!(client.get("/healthz", &[]).await.0, 200);
}

const ROW: &str = "{\"id\": \"n1\", \"at\": \"2026-02-01T00:00:00Z\", \"model\": \"new\"}\n";

#[tokio::test]
async fn rows_are_taken_once_and_bad_ones_are_counted() {
    let rig = Rig::with_calls().await;
    let client = client(&rig, ServerOptions::default()).await;
    let path = "/v1/ingest/calls";
    let headers = [("content-type", "application/x-ndjson"), ("producer", "p"), ("sequence", "1")];
    let body = format!("{ROW}{{\"id\": \"n2\", \"at\": \"never\"}}\n");
    let (status, _, mut answer) = client.post(path, &headers, body.clone()).await;
    let causes = answer["causes"].take();
    assert_eq!(
        (status, answer),
        (
            200,
            json!({"accepted": 1, "quarantined": 1, "version": 2, "duplicate": false, "causes": null})
        )
    );
    assert_eq!(causes[0]["rows"], 1, "{causes}");
    let first = causes[0]["first"].as_str().unwrap();
    assert!(first.starts_with("body:2 (row 2): ") && first.contains("never"), "{causes}");
    let (status, _, answer) = client.post(path, &headers, body).await;
    assert_eq!((status, &answer["duplicate"]), (200, &json!(true)));
    let data = rig.data("{ calls(where: {model: {eq: \"new\"}}) { totalCount } callsQuarantine { totalCount } }").await;
    assert_eq!(data, json!({"calls": {"totalCount": "1"}, "callsQuarantine": {"totalCount": "1"}}));
    let gap = [("content-type", "application/x-ndjson"), ("producer", "p"), ("sequence", "9")];
    let (status, _, answer) = client.post(path, &gap, ROW).await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("CONFLICT")), "{answer}");

    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, ROW.as_bytes()).unwrap();
    let gzip = [("content-type", "application/x-ndjson"), ("content-encoding", "gzip")];
    let packed = packed.finish().unwrap();
    // Without a sequence number, the dataset's policy refuses the existing key.
    let (status, _, answer) = client.post(path, &gzip, packed.clone()).await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("CONFLICT")), "{answer}");
    let (status, _, answer) = client.post("/v1/ingest/calls?on_conflict=add", &gzip, packed).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(1)));

    let csv = "id,at,model\nn9,2026-02-01T00:00:00Z,csv\n";
    let (status, _, answer) = client.post(path, &[("content-type", "text/csv")], csv).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(1)), "{answer}");
}

#[tokio::test]
async fn rows_whose_key_is_there_are_treated_as_the_url_says() {
    let rig = Rig::with_calls().await;
    let client = client(&rig, ServerOptions::default()).await;
    let ndjson = [("content-type", "application/x-ndjson")];
    let row = |id: &str, model: &str| {
        format!("{{\"id\": {id:?}, \"at\": \"2026-02-01T00:00:00Z\", \"model\": {model:?}}}\n")
    };
    let send = async |query: &str, body: String| {
        let (status, _, answer) =
            client.post(&format!("/v1/ingest/calls{query}"), &ndjson, body).await;
        (status, answer)
    };
    let models = async || {
        let data = rig.data("{ calls(where: {id: {in: [\"c0\", \"n\"]}}, orderBy: [{id: ASC}]) { nodes { model } } }").await;
        let nodes = data["calls"]["nodes"].as_array().unwrap().clone();
        nodes.iter().map(|node| node["model"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let both = |model: &str| row("n", "earlier") + &row("c0", model) + &row("n", model);
    let (status, answer) = send("?on_conflict=error", row("c0", "e")).await;
    let says = answer["error"]["message"].as_str().unwrap();
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("CONFLICT")));
    assert!(
        says.contains("body: 1 key is in calls already, such as c0; nothing was loaded"),
        "{says}"
    );
    let taken = send("?on_conflict=replace", both("r")).await;
    let expected = json!({"accepted": 2, "quarantined": 0, "replaced": 1, "skipped": 1, "version": 2, "duplicate": false});
    assert_eq!(taken, (200, expected));
    assert_eq!(models().await, ["r", "r"]);
    let taken = send("?on_conflict=skip", row("c0", "s") + &row("m", "s")).await;
    let expected =
        json!({"accepted": 1, "quarantined": 0, "skipped": 1, "version": 3, "duplicate": false});
    assert_eq!(taken, (200, expected));
    assert_eq!(send("?on_conflict=add", row("n", "a")).await.1["version"], 4);
    assert_eq!(models().await, ["r", "r", "a"]);
    for query in ["", "?on_conflict=refuse"] {
        let (status, answer) = send(query, row("n", "x")).await;
        assert_eq!((status, &answer["error"]["code"]), (409, &json!("CONFLICT")), "{query}");
    }
    let policies = "on_conflict= one of refuse, replace, skip, error, add";
    let names = "one of on_conflict, encoding, delimiter";
    for (query, expected) in [
        ("?on_conflict=sometimes", policies),
        ("?on_conflict", policies),
        ("?onConflict=skip", names),
        ("?on_conflict=skip&x=%22", names),
        ("?on_conflict=add&on_conflict=replace", "expected on_conflict once, found it again"),
        ("?decimal_mark=.&decimal_mark=,", "null and rename may be repeated"),
        ("?add_columns=perhaps", "add_columns= true or false"),
        ("?date_order=ymd", "date_order \"ymd\": expected dmy or mdy"),
        ("?decimal_mark=,", "decimal_mark is an option of CSV files"),
        ("?sheet=a", "sheet is an option of Excel files"),
        ("?mostly=2", "mostly \"2\": expected a share above 0 up to 1"),
        ("?rename=model", "rename \"model\": expected COLUMN=NAME"),
        ("?max_quarantined=many", "expected a number of rows, or a share from 0% to 100%"),
    ] {
        let (status, answer) = send(query, row("n", "x")).await;
        let says = answer["error"]["message"].as_str().unwrap();
        assert!(status == 400 && says.contains(expected), "{query}: {says}");
    }
}

#[tokio::test]
async fn the_urls_settings_apply_to_a_file_and_are_stored_for_later_ones() {
    let rig = Rig::with_calls().await;
    let client = client(&rig, ServerOptions::default()).await;
    let csv = [("content-type", "text/csv")];
    let send = async |query: &str, body: &'static str| {
        client.post(&format!("/v1/ingest/calls{query}"), &csv, body).await
    };
    let first = "id;at;model\ng1;01.07.2025 12:00;-\n";
    let german = "?date_order=dmy&zone=Europe%2FBerlin&null=-&null=n/a";
    let (status, _, answer) = send(german, first).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(1)), "{answer}");
    assert_eq!(answer["stored_settings"], "date_order=dmy, zone=Europe/Berlin, null=-, null=n/a");
    let second = "id;at;model\ng2;01.01.2025 12:00;n/a\n";
    let (status, _, answer) = send("", second).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(1)), "{answer}");
    let data = rig
        .data("{ calls(where: {id: {in: [\"g1\", \"g2\"]}}, orderBy: [{id: ASC}]) { nodes { at model } } }")
        .await;
    let expected = json!([
        {"at": "2025-07-01T10:00:00Z", "model": null},
        {"at": "2025-01-01T11:00:00Z", "model": null},
    ]);
    assert_eq!(data["calls"]["nodes"], expected);
    let (status, _, answer) = send("?zone=Asia/Tokyo", second).await;
    let says = answer["error"]["message"].as_str().unwrap();
    assert!(status == 400 && says.contains("stores zone \"Europe/Berlin\""), "{says}");
}

#[tokio::test]
async fn what_ingest_refuses_it_refuses_with_a_reason_and_takes_nothing() {
    let rig = Rig::with_calls().await;
    let limits =
        Limits { ingest_bytes_max: 1_000, ingest_unpacked_bytes_max: 10_000, ..Limits::default() };
    let client = client(&rig, ServerOptions { limits, ..ServerOptions::default() }).await;
    const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
    let large = ROW.repeat(100);
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut bomb, &vec![b' '; 100_000]).unwrap();
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 1_000);
    let cases: [(&str, Headers, Vec<u8>, u16, &str); 9] = [
        (
            "calls",
            &[("content-type", "text/html")],
            ROW.into(),
            415,
            "application/x-ndjson, text/csv",
        ),
        ("calls", &[NDJSON, ("content-encoding", "br")], ROW.into(), 415, "gzip or identity"),
        ("calls", &[NDJSON, ("producer", "p")], ROW.into(), 400, "Sequence"),
        ("calls", &[NDJSON, ("sequence", "1")], ROW.into(), 400, "Producer"),
        ("calls", &[NDJSON, ("producer", "p"), ("sequence", "x")], ROW.into(), 400, "whole number"),
        ("calls", &[NDJSON], large.into(), 413, "limit is 1000, found 5900"),
        ("calls", &[NDJSON, ("content-encoding", "gzip")], bomb, 413, "unpacked"),
        ("calls", &[NDJSON, ("content-encoding", "gzip")], ROW.into(), 400, "gzip"),
        ("nothing", &[NDJSON], ROW.into(), 404, "nothing"),
    ];
    for (dataset, headers, body, expected, reason) in cases {
        let (status, _, answer) =
            client.post(&format!("/v1/ingest/{dataset}"), headers, body).await;
        assert_eq!(status, expected, "{answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(reason), "{message:?} does not say {reason:?}");
    }
    let (status, _, answer) = client.get("/v1/ingest/calls", &[]).await;
    assert_eq!((status, &answer["error"]["code"]), (405, &json!("BAD_INPUT")));
    assert_eq!(rig.data("{ calls { version } }").await["calls"]["version"], 1);
}

#[tokio::test]
async fn an_upload_that_is_cut_off_commits_nothing() {
    let rig = Rig::with_calls().await;
    let client = client(&rig, ServerOptions::default()).await;
    let heads = [
        "Content-Length: 10000\r\n\r\n".to_owned() + ROW,
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{ROW}\r\n", ROW.len()),
    ];
    for head in heads {
        let mut stream = TcpStream::connect(&client.address).await.unwrap();
        let request = format!(
            "POST /v1/ingest/calls HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-ndjson\r\n{head}",
            client.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    assert_eq!(rig.data("{ calls { version } }").await["calls"]["version"], 1);
}

#[tokio::test]
async fn events_are_streamed_until_the_server_ends() {
    let rig = Rig::with_calls().await;
    let (address, stop, running) = rig.serve(ServerOptions::default()).await;
    let events = |query: &str| {
        let request = reqwest::Client::new()
            .post(format!("http://{address}/graphql"))
            .header("accept", "text/event-stream")
            .header("content-type", "application/json")
            .body(json!({ "query": query }).to_string());
        async move { request.send().await.unwrap() }
    };
    let single = events("{ calls { version } }").await;
    assert_eq!(single.headers()[CONTENT_TYPE], "text/event-stream");
    let text = single.text().await.unwrap();
    assert!(text.starts_with("event: next\ndata: {\"data\":{\"calls\":{\"version\":1}}"), "{text}");
    assert!(text.ends_with("event: complete\ndata:\n\n"), "{text}");
    let mut stream = events("subscription { callsChanged(since: 0) { version } }").await;
    let first = stream.chunk().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&first).contains("\"version\":1"));
    stop.send(()).unwrap();
    let mut rest = String::new();
    while let Some(chunk) = stream.chunk().await.unwrap() {
        rest += &String::from_utf8_lossy(&chunk);
    }
    assert!(!rest.contains("complete") && !rest.contains("errors"), "{rest}");
    running.await.unwrap();
}

#[tokio::test]
async fn health_metrics_and_the_explorer_are_there() {
    let rig = Rig::with_calls().await;
    let client = client(&rig, ServerOptions::default()).await;
    assert_eq!(client.get("/healthz", &[]).await.0, 200);
    assert_eq!(client.get("/readyz", &[]).await.0, 200);
    let (status, headers, page) = client.get("/", &[]).await;
    assert_eq!(status, 200);
    assert!(headers["content-security-policy"].to_str().unwrap().contains("script-src 'self'"));
    assert!(page.as_str().unwrap().contains("/explorer/graphiql.min.js"));
    assert_eq!(client.get("/explorer/explorer.js", &[]).await.0, 200);
    assert_eq!(client.get("/explorer/../Cargo.toml", &[]).await.0, 404);
    assert_eq!(client.get("/nowhere", &[]).await.0, 404);
    let (_, _, page) = client.get("/metrics", &[]).await;
    let page = page.as_str().unwrap();
    for line in [
        "colonnade_http_requests_total{route=\"/healthz\",status=\"200\"} 1",
        "colonnade_commits_total ",
    ] {
        assert!(page.contains(line), "no {line} in\n{page}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_and_an_open_door_are_refused() {
    let rig = Rig::new().await;
    let (address, _stop, _) = rig.serve(ServerOptions::default()).await;
    let bind = |listen: &str| {
        let options = ServerOptions { listen: listen.parse().unwrap(), ..ServerOptions::default() };
        Server::bind(rig.engine.clone(), rig.runner.clone(), options)
    };
    let error = bind(&address).await.err().unwrap();
    assert_eq!(error.code(), Code::Conflict);
    assert!(error.to_string().contains(&address), "{error}");
    let error = bind("0.0.0.0:0").await.err().unwrap();
    assert_eq!(error.code(), Code::Forbidden);
    assert!(error.to_string().contains("loopback"), "{error}");
}

#[tokio::test]
async fn a_large_request_is_refused_before_it_is_read() {
    let rig = Rig::new().await;
    let patience = Patience { refused_max: Duration::from_millis(200), ..Patience::default() };
    let client = client(&rig, ServerOptions { patience, ..ServerOptions::default() }).await;
    let large = json!({"query": "x".repeat(2 << 20)}).to_string();
    let mut stream = TcpStream::connect(&client.address).await.unwrap();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        client.address,
        large.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4_096];
    let read = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(answer.contains("413") && answer.contains("LIMIT_EXCEEDED"), "{answer}");
}
