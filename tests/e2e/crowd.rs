//! Many clients at once that do nothing, or nothing quickly: what memory they cost, and that it is given back.
//!
//! `COLONNADE_CROWD` says how many idle sockets there are (default 500); a tenth as many readers do not read, and a hundredth
//! as many uploads come slowly. `make test-chaos` takes 10,000.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{PATIENCE, Server, model_calls, ndjson};

/// Most that one of each may cost while it is there.
const SOCKET_BYTES_MAX: u64 = 16 << 10;
const READER_BYTES_MAX: u64 = 2 << 20;
const UPLOAD_BYTES_MAX: u64 = 4 << 20;
/// Most that all answers together may cost, as text and as what they are made of, and all uploads.
const ANSWERS_BYTES_MAX: u64 = 1 << 30;
const UPLOADS_BYTES_MAX: u64 = 512 << 20;
/// What sockets may cost besides, whatever their number, and what is made of requests.
const BESIDES_BYTES_MAX: u64 = 16 << 20;
const MAKING_BYTES_MAX: u64 = 96 << 20;
/// What the process may have grown by in the end: pages of its allocator, and caches.
const KEPT_BYTES_MAX: u64 = 96 << 20;

fn crowd() -> usize {
    std::env::var("COLONNADE_CROWD").map_or(500, |text| text.parse().expect("a number"))
}

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A connection that was answered once, and waits.
async fn idle(address: String) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(HEALTH).await.unwrap();
    let mut answer = [0; 512];
    let read = stream.read(&mut answer).await.unwrap();
    assert!(
        answer[..read].starts_with(b"HTTP/1.1 200"),
        "{:?}",
        std::str::from_utf8(&answer[..read])
    );
    stream
}

/// A connection that asks for megabytes and reads nothing.
async fn unread(address: String) -> TcpStream {
    let fields: String = (0..40).map(|n| format!("a{n}: id ")).collect();
    let query = format!("{{ modelCalls(first: 1000) {{ nodes {{ {fields} }} }} }}");
    let body = json!({ "query": query }).to_string();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    stream
}

/// A connection that announces 64 MiB and sends a part of it.
async fn upload(address: String) -> TcpStream {
    let head = "POST /v1/ingest/model_calls HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n\
                Content-Length: 67108864\r\n\r\n";
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    // It may have been told to wait.
    let part = vec![b' '; 1 << 20];
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(&part)).await;
    stream
}

async fn all<F>(count: usize, open: impl Fn() -> F) -> Vec<TcpStream>
where
    F: Future<Output = TcpStream> + Send + 'static,
{
    let mut open_ones = JoinSet::new();
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        open_ones.spawn(open());
        // More would wait in the kernel's queue of the listener, and be turned away there.
        if open_ones.len() >= 64 {
            streams.push(open_ones.join_next().await.unwrap().unwrap());
        }
    }
    while let Some(stream) = open_ones.join_next().await {
        streams.push(stream.unwrap());
    }
    streams
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_costs_little_memory_and_gives_it_back() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::holding(root.path(), "model_calls").await;
    let sent =
        server.ingest("model_calls", "application/x-ndjson", ndjson(&model_calls(0, 5_000))).await;
    assert_eq!(sent.status, 200, "{sent:?}");
    let fields: String = (0..40).map(|n| format!("a{n}: id ")).collect();
    server.data(&format!("{{ modelCalls(first: 1000) {{ nodes {{ {fields} }} }} }}")).await;
    let before = server.resident_bytes();
    println!("at first: {} MiB", before >> 20);

    let address = || server.address.clone();
    for (what, count, each_max, all_max, besides) in [
        ("idle sockets", crowd(), SOCKET_BYTES_MAX, u64::MAX, BESIDES_BYTES_MAX),
        (
            "readers that do not read",
            crowd() / 10,
            READER_BYTES_MAX,
            ANSWERS_BYTES_MAX,
            MAKING_BYTES_MAX,
        ),
        ("uploads", crowd() / 100, UPLOAD_BYTES_MAX, UPLOADS_BYTES_MAX, MAKING_BYTES_MAX),
    ] {
        // What the one before left is not its own.
        let grown_from = server.resident_bytes();
        let began = Instant::now();
        let streams = match what {
            "idle sockets" => all(count, || idle(address())).await,
            "uploads" => all(count, || upload(address())).await,
            _ => all(count, || unread(address())).await,
        };
        // Until answers are made and wait, the memory grows.
        let (mut held, mut since) = (0, Instant::now());
        while since.elapsed() < Duration::from_secs(2) && began.elapsed() < PATIENCE / 4 {
            let now = server.resident_bytes();
            if now > held {
                (held, since) = (now, Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let took = began.elapsed();
        println!("{count} {what}: {} MiB, after {took:.1?}", held >> 20);
        server.is_alive().await;
        let most = (count as u64 * each_max).min(all_max);
        assert!(
            held < grown_from + besides + most,
            "{count} {what}: {held} bytes, {grown_from} before"
        );
        drop(streams);
        let began = Instant::now();
        while server.resident_bytes() > before + KEPT_BYTES_MAX {
            let now = server.resident_bytes();
            assert!(began.elapsed() < PATIENCE, "{what}: {now} bytes are kept, {before} before");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!("  gone: {} MiB, after {:.1?}", server.resident_bytes() >> 20, began.elapsed());
    }
    server.is_alive().await;
}
