//! Clients that are slow, silent or many, over a real port.

use std::time::{Duration, Instant};

use engine::{Role, TenantId};
use futures::future::select_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Rig;
use crate::limits::Limits;
use crate::server::{ApiKey, Patience, ServerOptions};

const SOON: Duration = Duration::from_secs(10);

fn impatient() -> Patience {
    Patience {
        request_max: Duration::from_millis(200),
        idle_max: Duration::from_millis(200),
        body_max: Duration::from_millis(200),
        stalled_max: Duration::from_secs(1),
        ..Patience::default()
    }
}

/// All that comes until the server closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _ = timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("it was not closed");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn request(address: &str, head: &str) -> String {
    format!("POST {head} HTTP/1.1\r\nHost: {address}\r\n")
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn a_connection_that_asks_nothing_is_closed() {
    let rig = Rig::new().await;
    let options = ServerOptions { patience: impatient(), ..ServerOptions::default() };
    let (address, _stop, _) = rig.serve(options).await;
    let mut silent = TcpStream::connect(&address).await.unwrap();
    assert_eq!(rest(&mut silent).await, "");
    // A byte now and then is no request.
    let mut slow = TcpStream::connect(&address).await.unwrap();
    let began = Instant::now();
    for byte in HEALTH.bytes() {
        if slow.write_all(&[byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(rest(&mut slow).await, "");
    assert!(began.elapsed() < SOON);
    // One that was answered waits for its next question as long.
    let mut used = TcpStream::connect(&address).await.unwrap();
    used.write_all(HEALTH.as_bytes()).await.unwrap();
    let answer = rest(&mut used).await;
    assert!(answer.contains("200 OK") && answer.ends_with("ok\n"), "{answer}");
}

#[tokio::test]
async fn a_body_that_stalls_is_refused_and_takes_nothing_from_others() {
    let rig = Rig::with_calls().await;
    let limits = Limits { ingest_in_flight_bytes_max: 64 << 20, ..Limits::default() };
    let options = ServerOptions { patience: impatient(), limits, ..ServerOptions::default() };
    let (address, _stop, _) = rig.serve(options).await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let head = request(&address, "/v1/ingest/calls");
        let head =
            format!("{head}Content-Type: application/x-ndjson\r\nContent-Length: 67108864\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stalled.push(stream);
    }
    let began = Instant::now();
    let sent = reqwest::Client::new()
        .post(format!("http://{address}/v1/ingest/calls"))
        .header("content-type", "application/x-ndjson")
        .body("{\"id\": \"n1\", \"at\": \"2026-02-01T00:00:00Z\", \"model\": \"new\"}\n")
        .send();
    assert_eq!(timeout(SOON, sent).await.unwrap().unwrap().status(), 200);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for mut stream in stalled {
        let answer = rest(&mut stream).await;
        assert!(answer.contains("400") && answer.contains("came too slowly"), "{answer}");
    }
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_is_refused() {
    let rig = Rig::with_calls().await;
    let options = ServerOptions { patience: impatient(), ..ServerOptions::default() };
    let (address, _stop, _) = rig.serve(options).await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let head = request(&address, "/v1/ingest/calls");
    let head =
        format!("{head}Content-Type: application/x-ndjson\r\nContent-Length: 100000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    // Never a long pause.
    let writing = tokio::spawn(async move {
        while write.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut answer = vec![0; 1_024];
    let count = timeout(SOON, read.read(&mut answer)).await.expect("it goes on").unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    assert!(answer.contains("came too slowly") && answer.contains("16 KiB a second"), "{answer}");
    writing.abort();
}

#[tokio::test]
async fn where_all_places_are_taken_one_that_waits_makes_room() {
    let rig = Rig::new().await;
    // One of them is for newcomers.
    let limits = Limits { connections_max: 5, ..Limits::default() };
    let patience = Patience { request_max: 6 * SOON, idle_max: 6 * SOON, ..Patience::default() };
    let (address, _stop, _) =
        rig.serve(ServerOptions { limits, patience, ..ServerOptions::default() }).await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(TcpStream::connect(&address).await.unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let mut newcomer = TcpStream::connect(&address).await.unwrap();
    newcomer.write_all(HEALTH.as_bytes()).await.unwrap();
    let mut answer = vec![0; 1_024];
    let read = timeout(SOON, newcomer.read(&mut answer)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&answer[..read]).contains("200 OK"));
    // The one that came first went, and no other.
    assert_eq!(rest(&mut waiting[0]).await, "");
    for other in &mut waiting[1..] {
        other.write_all(HEALTH.as_bytes()).await.unwrap();
        let read = timeout(SOON, other.read(&mut answer)).await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&answer[..read]).contains("200 OK"));
    }
}

#[tokio::test]
async fn where_all_places_are_busy_a_newcomer_is_told() {
    let rig = Rig::with_calls().await;
    let limits = Limits { connections_max: 3, ..Limits::default() };
    let (address, _stop, _) = rig.serve(ServerOptions { limits, ..ServerOptions::default() }).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let query = json!({"query": "subscription { callsChanged { version } }"}).to_string();
        let head = request(&address, "/graphql");
        let head = format!(
            "{head}Accept: text/event-stream\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{query}",
            query.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 1_024];
        let read = timeout(SOON, stream.read(&mut answer)).await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&answer[..read]).contains("200 OK"));
        streams.push(stream);
    }
    let mut newcomer = TcpStream::connect(&address).await.unwrap();
    let answer = rest(&mut newcomer).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
    drop(streams);
    // Their places are free as soon as they are gone.
    let began = Instant::now();
    loop {
        let answer = reqwest::get(format!("http://{address}/healthz")).await;
        if answer.is_ok_and(|answer| answer.status() == 200) {
            break;
        }
        assert!(began.elapsed() < SOON);
    }
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_let_go() {
    let rig = Rig::with_calls().await;
    let options = ServerOptions { patience: impatient(), ..ServerOptions::default() };
    let (address, _stop, _) = rig.serve(options).await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    // Many small requests, whose answers fill the buffers of both sides.
    let query = "{ __schema { types { name description fields { name description } } } }";
    let body = json!({ "query": query }).to_string();
    let head = request(&address, "/graphql");
    let one = format!(
        "{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let began = Instant::now();
    let writing = async {
        while stream.write_all(one.as_bytes()).await.is_ok() {
            assert!(began.elapsed() < 3 * SOON, "it was not closed");
        }
    };
    timeout(3 * SOON, writing).await.expect("it was not closed");
}

#[tokio::test]
async fn one_reader_can_not_take_all_subscriptions() {
    let rig = Rig::with_calls().await;
    let limits = Limits { subscriptions_max: 8, ..Limits::default() };
    let key = |secret: &str, subject: &str| {
        ApiKey::new(secret, TenantId::default(), subject, vec![Role::Reader])
    };
    let other: TenantId = "other".parse().unwrap();
    let keys = vec![
        key("one", "one"),
        key("two", "two"),
        key("three", "three"),
        ApiKey::new("other", other, "other", vec![Role::Reader]),
    ];
    let (address, _stop, _) =
        rig.serve(ServerOptions { limits, keys, ..ServerOptions::default() }).await;
    let http = reqwest::Client::new();
    let mut open = Vec::new();
    let mut subscribe = async |key: &'static str, query: &str| {
        let mut response = http
            .post(format!("http://{address}/graphql"))
            .header("accept", "text/event-stream")
            .header("x-api-key", key)
            .header("content-type", "application/json")
            .body(json!({ "query": query }).to_string())
            .send()
            .await
            .unwrap();
        // The refusal comes as the first event, at once; an open one says nothing for a while.
        let first = timeout(Duration::from_millis(500), response.chunk()).await;
        let text = match first {
            Ok(chunk) => String::from_utf8_lossy(&chunk.unwrap().unwrap()).into_owned(),
            Err(_) => String::new(),
        };
        open.push(response);
        text
    };
    let calls = "subscription { callsChanged { version } }";
    for (key, taken) in [("one", true), ("one", true), ("one", false), ("two", true), ("two", true)]
    {
        let says = subscribe(key, calls).await;
        assert_eq!(!says.contains("LIMIT_EXCEEDED"), taken, "{key}: {says}");
    }
    // The tenant has its half, and leaves the other.
    assert!(subscribe("three", calls).await.contains("LIMIT_EXCEEDED"));
    let runs =
        "subscription { runUpdates(id: \"01a201c6-23f7-74c3-a5d4-ae3b0e422f9e\") { state } }";
    let says = subscribe("other", runs).await;
    assert!(says.contains("NOT_FOUND"), "{says}");
}

#[tokio::test]
async fn one_tenant_can_not_keep_all_connections_busy() {
    let rig = Rig::with_calls().await;
    let limits = Limits { connections_max: 9, ..Limits::default() };
    let other: TenantId = "other".parse().unwrap();
    let keys = vec![
        ApiKey::new("one", TenantId::default(), "one", vec![Role::Reader, Role::Writer]),
        ApiKey::new("other", other, "other", vec![Role::Reader]),
    ];
    let (address, _stop, _) =
        rig.serve(ServerOptions { limits, keys, ..ServerOptions::default() }).await;
    let mut uploads = Vec::new();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let head = request(&address, "/v1/ingest/calls");
        let head = format!(
            "{head}X-Api-Key: one\r\nContent-Type: application/x-ndjson\r\nContent-Length: 99\r\n\r\n{{"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        uploads.push(stream);
    }
    // Four wait for their bodies, and one is told.
    let mut answers = vec![[0; 1_024]; 5];
    let reading = uploads.iter_mut().zip(&mut answers).map(|(s, answer)| Box::pin(s.read(answer)));
    let (read, told, _) = timeout(SOON, select_all(reading)).await.expect("none was refused");
    let says = String::from_utf8_lossy(&answers[told][..read.unwrap()]).into_owned();
    assert!(
        says.contains(" 429 ")
            && says.contains("LIMIT_EXCEEDED")
            && says.contains("retry-after: 1"),
        "{says}"
    );
    let ask = async |key: &str| {
        let client = reqwest::Client::new();
        let url = format!("http://{address}/graphql?query={{datasets{{name}}}}");
        client.get(url).header("x-api-key", key).send().await.unwrap().status()
    };
    assert_eq!(ask("one").await, 429);
    assert_eq!(ask("other").await, 200);
    uploads.clear();
    let began = Instant::now();
    while ask("one").await != 200 {
        assert!(began.elapsed() < SOON, "the places are not given back");
    }
}

#[tokio::test]
async fn a_client_that_takes_its_answer_bit_by_bit_has_all_of_it() {
    let rig = Rig::with_calls().await;
    let patience = Patience { stalled_max: Duration::from_millis(300), ..impatient() };
    let options = ServerOptions { patience, ..ServerOptions::default() };
    let (address, _stop, _) = rig.serve(options).await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    socket2::SockRef::from(&stream).set_recv_buffer_size(64 << 10).unwrap();
    let fields: String =
        (0..200).map(|n| format!("x{n}: fields {{ name description }} ")).collect();
    let body = json!({"query": format!("{{ __schema {{ types {{ {fields} }} }} }}")}).to_string();
    let head = request(&address, "/graphql");
    let head = format!(
        "{head}Connection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // Faster than it must be, and slower than it is sent: it owes for much longer than it may take nothing.
    let (mut piece, mut taken) = (vec![0; 128 << 10], Vec::new());
    loop {
        let count = timeout(SOON, stream.read(&mut piece)).await.unwrap().unwrap();
        if count == 0 {
            break;
        }
        taken.extend_from_slice(&piece[..count]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let text = String::from_utf8(taken).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(body.len() > 3 << 20, "{} bytes are all in buffers", body.len());
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
}

#[tokio::test]
async fn a_head_that_does_not_end_is_refused() {
    let rig = Rig::new().await;
    let (address, _stop, _) = rig.serve(ServerOptions::default()).await;
    let ask = async |bytes: usize| {
        let mut client = TcpStream::connect(&address).await.unwrap();
        let value = "x".repeat(bytes);
        let head = format!(
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Long: {value}\r\n"
        );
        let _ = client.write_all(head.as_bytes()).await;
        let _ = client.write_all(b"\r\n").await;
        rest(&mut client).await
    };
    assert!(ask(60 << 10).await.starts_with("HTTP/1.1 200"));
    let refused = ask(1 << 20).await;
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 431"), "{refused}");
}
