//! How fast rows come in when every batch is acknowledged only once it is committed: four producers,
//! batches of 1,000 model calls over HTTP, as NDJSON and as Arrow.
//!
//! Small by default, so that the suite checks the way and not the machine; `COLONNADE_RATE_ROWS` makes
//! it long, and `make test-rate` prints the figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Answer, Server, model_calls, model_calls_arrow, ndjson};

const PRODUCERS: u64 = 4;
const BATCH_ROWS: u64 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_batch_of_ndjson_is_committed_when_it_is_acknowledged() {
    measure("application/x-ndjson", |first| ndjson(&model_calls(first, BATCH_ROWS)).into_bytes())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_batch_of_arrow_is_committed_when_it_is_acknowledged() {
    measure("application/vnd.apache.arrow.stream", |first| model_calls_arrow(first, BATCH_ROWS))
        .await;
}

async fn measure(content_type: &'static str, body: fn(u64) -> Vec<u8>) {
    let rows: u64 =
        std::env::var("COLONNADE_RATE_ROWS").map_or(20_000, |text| text.parse().expect("a number"));
    let batches = rows.div_ceil(BATCH_ROWS);
    // Made beforehand: what is measured is the server, and both share this machine.
    let bodies: Arc<Vec<bytes::Bytes>> =
        Arc::new((0..batches).map(|n| body(n * BATCH_ROWS).into()).collect());
    let sent_bytes: usize = bodies.iter().map(|body| body.len()).sum();
    let root = tempfile::tempdir().unwrap();
    let server = Arc::new(Server::holding(root.path(), "model_calls").await);
    let next = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            tokio::spawn(send(producer, content_type, bodies.clone(), server.clone(), next.clone()))
        })
        .collect();
    let mut latencies = Vec::new();
    for producer in producers {
        latencies.extend(producer.await.unwrap());
    }
    let took = began.elapsed();
    latencies.sort_unstable();
    let quantile = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    println!(
        "{content_type}: {} rows ({:.1} MB) in {:.2} s: {:.2} M rows/min; acknowledged after {:?} \
         (median), {:?} (p99); peak memory of the server {} MiB",
        batches * BATCH_ROWS,
        sent_bytes as f64 / 1e6,
        took.as_secs_f64(),
        (batches * BATCH_ROWS) as f64 / took.as_secs_f64() * 60.0 / 1e6,
        quantile(0.5),
        quantile(0.99),
        server.peak_memory_bytes() >> 20,
    );
    let data = server.data("{ modelCalls(first: 1) { version totalCount } }").await;
    let count = data["modelCalls"]["totalCount"].to_string();
    assert_eq!(count.trim_matches('"'), (batches * BATCH_ROWS).to_string());
}

/// Sends whatever batch is next, one at a time, and answers how long each took.
async fn send(
    producer: u64,
    content_type: &'static str,
    bodies: Arc<Vec<bytes::Bytes>>,
    server: Arc<Server>,
    next: Arc<AtomicU64>,
) -> Vec<Duration> {
    let mut latencies = Vec::new();
    for sequence in 0u64.. {
        let index = next.fetch_add(1, Ordering::Relaxed) as usize;
        let Some(body) = bodies.get(index) else { break };
        let began = Instant::now();
        let request = server.client.post(server.url("/v1/ingest/model_calls"));
        let request = request.header("Content-Type", content_type).body(body.clone());
        let request =
            request.header("Producer", format!("p{producer}")).header("Sequence", sequence);
        let answer = Answer::of(request.send().await.unwrap()).await;
        latencies.push(began.elapsed());
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body["accepted"], BATCH_ROWS, "{answer:?}");
    }
    latencies
}
