//! `kill -9` at random moments under load. What a producer was told is committed is there once, what
//! it was not told is there once or not at all, and the table opens after every death.
//!
//! `COLONNADE_KILLS` says how often (default 3); `COLONNADE_TEST_SEED` repeats a run's moments.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::Rng as _;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::harness::{Answer, PATIENCE, Server, colonnade, ndjson, random};

const PRODUCERS: u64 = 4;
const BATCH_ROWS: u64 = 25;

const SPEC: &str = r#"
name = "deliveries"
[[columns]]
name = "producer"
type = "text"
[[columns]]
name = "sequence"
type = "int64"
[[columns]]
name = "row"
type = "int64"
[[columns]]
name = "note"
type = "text"
"#;

/// What the producers share: where the server is now (`None` while it is dead), and what they saw.
struct Load {
    address: watch::Receiver<Option<String>>,
    stopped: watch::Receiver<bool>,
    seen: Mutex<Seen>,
    acknowledged_rows: AtomicU64,
}

#[derive(Default)]
struct Seen {
    /// The last acknowledged sequence of each producer, and the one it was waiting for at the end.
    acknowledged: BTreeMap<u64, u64>,
    unanswered: BTreeMap<u64, u64>,
    /// Requests that a death cut off, and retries that turned out to have been committed before it.
    cut_off: u64,
    duplicates: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_when_the_server_is_killed() {
    let kills: u32 =
        std::env::var("COLONNADE_KILLS").map_or(3, |text| text.parse().expect("a number"));
    let mut random = random();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    create(folder.path(), &root).await;

    let (address, address_seen) = watch::channel(None);
    let (stop, stopped) = watch::channel(false);
    let load = Arc::new(Load {
        address: address_seen,
        stopped,
        seen: Mutex::default(),
        acknowledged_rows: AtomicU64::new(0),
    });
    let producers: Vec<_> =
        (0..PRODUCERS).map(|n| tokio::spawn(produce(n, load.clone()))).collect();

    let mut version = 0;
    for kill in 1..=kills {
        let server = Server::start(&root).await;
        let acknowledged = load.acknowledged_rows.load(Ordering::SeqCst);
        let (rows, opened) = count(&server).await;
        assert!(
            rows > acknowledged,
            "after kill {}: {rows} rows, {acknowledged} acknowledged",
            kill - 1
        );
        assert!(opened >= version, "after kill {}: version {opened}, was {version}", kill - 1);
        version = opened;
        address.send_replace(Some(server.address.clone()));
        // The moment of the fault: some before the first commit, some in the midst of many.
        tokio::time::sleep(Duration::from_micros(random.random_range(1_000..400_000))).await;
        if kill == kills {
            // What is under way at the last death is not tried again, and so stays unanswered.
            stop.send_replace(true);
        }
        server.kill().await;
        address.send_replace(None);
    }
    for producer in producers {
        tokio::time::timeout(PATIENCE, producer).await.expect("producers end").unwrap();
    }

    let server = Server::start(&root).await;
    let (rows, version) = count(&server).await;
    assert!(server.stop().await.success());
    let seen = std::mem::take(&mut *load.seen.lock().unwrap());
    check(&root, &seen, rows, version).await;
}

/// The dataset, with one row so that it is there before the first producer.
async fn create(folder: &Path, root: &Path) {
    let (spec, first) = (folder.join("deliveries.toml"), folder.join("first.ndjson"));
    std::fs::write(&spec, SPEC).unwrap();
    std::fs::write(&first, ndjson(&batch(PRODUCERS, 0)[..1])).unwrap();
    let (spec, first) = (spec.to_str().unwrap(), first.to_str().unwrap());
    let made =
        colonnade(root, &["ingest", "deliveries", first, "--spec", spec, "--json"]).await.json();
    assert_eq!(made["accepted"], 1, "{made}");
}

fn batch(producer: u64, sequence: u64) -> Vec<Value> {
    let row = |row| {
        let note = format!("row {row} of batch {sequence}");
        json!({"producer": format!("p{producer}"), "sequence": sequence, "row": row, "note": note})
    };
    (0..BATCH_ROWS).map(row).collect()
}

/// Sends batch after batch, each until it is acknowledged, as a producer with a disk buffer would.
async fn produce(producer: u64, load: Arc<Load>) {
    let mut address = load.address.clone();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
    for sequence in 0.. {
        let body = ndjson(&batch(producer, sequence));
        loop {
            if *load.stopped.borrow() {
                load.seen.lock().unwrap().unanswered.insert(producer, sequence);
                return;
            }
            let now = tokio::select! {
                now = address.wait_for(Option::is_some) => now.unwrap().clone().unwrap(),
                _ = async { load.stopped.clone().wait_for(|stopped| *stopped).await.map(drop) } => continue,
            };
            let sent = client
                .post(format!("http://{now}/v1/ingest/deliveries"))
                .header("Content-Type", "application/x-ndjson")
                .header("Producer", format!("p{producer}"))
                .header("Sequence", sequence.to_string())
                .body(body.clone())
                .send()
                .await;
            let response = match sent {
                Ok(response) => response,
                Err(error) => {
                    // The address is that of the dead server for a moment more: nobody was reached.
                    let was_under_way = !error.is_connect();
                    load.seen.lock().unwrap().cut_off += u64::from(was_under_way);
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            let answer = Answer::of(response).await;
            assert_eq!(answer.status, 200, "batch {sequence} of p{producer}: {answer:?}");
            assert_eq!(answer.body["quarantined"], 0, "{answer:?}");
            load.acknowledged_rows.fetch_add(BATCH_ROWS, Ordering::SeqCst);
            let mut seen = load.seen.lock().unwrap();
            seen.acknowledged.insert(producer, sequence);
            seen.duplicates += u64::from(answer.body["duplicate"] == true);
            break;
        }
    }
}

async fn count(server: &Server) -> (u64, u64) {
    let began = Instant::now();
    let data = server.data("{ deliveries(first: 1) { version totalCount } }").await;
    assert!(began.elapsed() < PATIENCE);
    (number(&data["deliveries"]["totalCount"]), number(&data["deliveries"]["version"]))
}

/// 64-bit numbers are texts in GraphQL.
fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .or_else(|| value.as_str()?.parse().ok())
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// Every batch that was acknowledged is there, whole and once; the unanswered ones whole and once, or
/// not at all; and nothing else.
async fn check(root: &Path, seen: &Seen, rows: u64, version: u64) {
    let query = "SELECT producer, sequence, count(*) AS n, count(DISTINCT row) AS d FROM deliveries \
                 GROUP BY producer, sequence ORDER BY producer, sequence";
    let answer = colonnade(root, &["sql", query, "--format", "json"]).await.json();
    let mut found: BTreeMap<(String, u64), (u64, u64)> = BTreeMap::new();
    for group in answer.as_array().unwrap() {
        let field = |name: &str| group[name].as_u64().unwrap();
        let producer = group["producer"].as_str().unwrap().to_owned();
        found.insert((producer, field("sequence")), (field("n"), field("d")));
    }
    assert_eq!(found.remove(&(format!("p{PRODUCERS}"), 0)), Some((1, 1)), "the first row");
    let mut committed = 1;
    for (producer, last) in &seen.acknowledged {
        for sequence in 0..=*last {
            let batch = found.remove(&(format!("p{producer}"), sequence));
            assert_eq!(
                batch,
                Some((BATCH_ROWS, BATCH_ROWS)),
                "acknowledged batch {sequence} of p{producer}"
            );
            committed += BATCH_ROWS;
        }
    }
    for (producer, sequence) in &seen.unanswered {
        let batch = found.remove(&(format!("p{producer}"), *sequence));
        assert!(
            batch.is_none_or(|batch| batch == (BATCH_ROWS, BATCH_ROWS)),
            "unanswered batch: {batch:?}"
        );
        committed += batch.map_or(0, |_| BATCH_ROWS);
    }
    assert!(found.is_empty(), "batches that nobody sent: {found:?}");
    assert_eq!(rows, committed);

    let log = root.join("default/deliveries/_delta_log");
    let mut versions: Vec<u64> = std::fs::read_dir(log)
        .unwrap()
        .filter_map(|entry| {
            entry.unwrap().file_name().to_str()?.strip_suffix(".json")?.parse().ok()
        })
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, (0..=version).collect::<Vec<_>>(), "the log has no gaps");

    let acknowledged: u64 = seen.acknowledged.values().map(|last| last + 1).sum();
    println!(
        "{acknowledged} batches acknowledged in {version} versions, {} requests cut off, {} retries were \
         already committed, {} unanswered at the end",
        seen.cut_off,
        seen.duplicates,
        seen.unanswered.len()
    );
    assert!(acknowledged > 0 && seen.cut_off > 0, "no request was under way at any death");
}
