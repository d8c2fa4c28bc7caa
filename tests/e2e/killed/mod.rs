//! `kill -9` at random moments under load: producers of every format, a job that runs over and over, readers in processes of
//! their own, and, while no server runs, processes that write and that put small files together, and are killed, too. What a
//! producer was told is committed is there once, what it was not told is there once or not at all, and every table opens after
//! every death.
//!
//! `COLONNADE_KILLS` says how often (default 3); `COLONNADE_TEST_SEED` repeats a run's moments.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::sync::watch;

use crate::harness::{
    Answer, FaultyStore, Outcome, PATIENCE, Server, binary, colonnade_with, random,
    without_settings,
};

mod alerts;
mod backfill;
mod batch;
mod exports;
mod revised;
mod runs;
mod together;
mod workers;

use batch::{Format, batch_of, first_row};

/// One of each format.
const PRODUCERS: u64 = Format::ALL.len() as u64;
/// The number of the first row's producer, and of the processes that write by themselves.
const FIRST: u64 = PRODUCERS;
const ALONE: u64 = PRODUCERS + 1;
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
    /// Whether 503 may be the store's fault.
    store_fails: bool,
}

#[derive(Default)]
struct Seen {
    /// The last acknowledged sequence of each producer, and the one it was waiting for at the end.
    acknowledged: BTreeMap<u64, u64>,
    unanswered: BTreeMap<u64, u64>,
    /// Requests that a death cut off, and retries that turned out to have been committed before it.
    cut_off: u64,
    /// Answers that the store failed.
    refused: u64,
    duplicates: u64,
    jobs_done: u64,
    /// Sequences of processes that wrote by themselves: told that it is committed, and killed before that.
    alone: Vec<u64>,
    alone_killed: Vec<u64>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_when_the_server_is_killed() {
    let kills = std::env::var("COLONNADE_KILLS").map_or(3, |text| text.parse().expect("a number"));
    let mut random = random();
    let folder = tempfile::tempdir().unwrap();
    let place = Place::local(folder.path());
    create(folder.path(), &place).await;
    kill_again_and_again(folder.path(), &place, kills, &mut random).await;
}

/// The same on a store that `COLONNADE_TEST_S3` names, behind a proxy that makes faults: `make test-kill-cloud`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_where_the_store_fails_too() {
    let Ok(store) = std::env::var("COLONNADE_TEST_S3") else {
        return println!("COLONNADE_TEST_S3 is not set: no store");
    };
    let kills = std::env::var("COLONNADE_KILLS").map_or(3, |text| text.parse().expect("a number"));
    let mut random = random();
    let folder = tempfile::tempdir().unwrap();
    let faults = ChaCha8Rng::seed_from_u64(random.random());
    let proxy = FaultyStore::before(&store, 10, faults).await;
    let prefix = format!("kills-{}", random.random::<u32>());
    create(folder.path(), &Place::store(&store, &prefix, folder.path())).await;
    let place = Place::store(&proxy.url, &prefix, folder.path());
    kill_again_and_again(folder.path(), &place, kills, &mut random).await;
    println!("the store: {proxy}");
}

/// A root, and what a process needs to know of its store.
struct Place {
    root: String,
    variables: Vec<(&'static str, String)>,
    /// The folder of the dataset's log, where it is one.
    log: Option<PathBuf>,
}

impl Place {
    fn local(folder: &Path) -> Self {
        let root = folder.join("data");
        let log = root.join("default/deliveries/_delta_log");
        Self { root: root.to_str().unwrap().to_owned(), variables: Vec::new(), log: Some(log) }
    }

    /// With control state in a file, since in a process it is gone with each.
    fn store(url: &str, prefix: &str, folder: &Path) -> Self {
        let variables = vec![
            ("COLONNADE_CONTROL", format!("sqlite:{}", folder.join("control.db").display())),
            ("AWS_ENDPOINT_URL", url.to_owned()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "emulated".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "emulated".to_owned()),
        ];
        Self { root: format!("s3://bucket/{prefix}"), variables, log: None }
    }

    /// Whether an answer of 503 may be the store's fault, and the request is to be tried again.
    fn is_faulty(&self) -> bool {
        self.log.is_none()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg("--data").arg(&self.root).args(arguments);
        without_settings(&mut command);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    async fn colonnade(&self, arguments: &[&str]) -> Outcome {
        let variables: Vec<(&str, &str)> =
            self.variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        loop {
            let outcome = colonnade_with(&self.root, arguments, &variables).await;
            let gave_up = outcome.stderr.contains("error[STORAGE_UNAVAILABLE]");
            if !(self.is_faulty() && gave_up) {
                return outcome;
            }
        }
    }

    async fn serve(&self) -> Server {
        loop {
            match Server::of(self.command(&["serve", "--listen", "127.0.0.1:0"])).await {
                Ok(server) => return server,
                Err(log) if self.is_faulty() && log.contains("STORAGE_UNAVAILABLE") => {}
                Err(log) => panic!("the server did not start:\n{log}"),
            }
        }
    }
}

async fn kill_again_and_again(folder: &Path, place: &Place, kills: u32, random: &mut ChaCha8Rng) {
    let (address, address_seen) = watch::channel(None);
    let (stop, stopped) = watch::channel(false);
    let load = Arc::new(Load {
        address: address_seen,
        stopped,
        seen: Mutex::default(),
        acknowledged_rows: AtomicU64::new(0),
        store_fails: place.is_faulty(),
    });
    let producers: Vec<_> =
        (0..PRODUCERS).map(|n| tokio::spawn(produce(n, load.clone()))).collect();
    let jobs = tokio::spawn(run_jobs(load.clone()));

    let mut version = 0;
    for kill in 1..=kills {
        let server = place.serve().await;
        let acknowledged = load.acknowledged_rows.load(Ordering::SeqCst);
        let (rows, opened) = count(place, &server).await;
        assert!(
            rows > acknowledged,
            "after kill {}: {rows} rows, {acknowledged} acknowledged",
            kill - 1
        );
        assert!(opened >= version, "after kill {}: version {opened}, was {version}", kill - 1);
        version = opened;
        if kill % 50 == 0 {
            println!("{kill} of {kills} kills: {rows} rows in {version} versions");
        }
        address.send_replace(Some(server.address.clone()));
        if kill % 8 == 1 {
            read_alone(place, acknowledged).await;
        }
        // The moment of the fault: some before the first commit, some in the midst of many.
        tokio::time::sleep(Duration::from_micros(random.random_range(1_000..400_000))).await;
        if kill == kills {
            // What is under way at the last death is not tried again, and so stays unanswered.
            stop.send_replace(true);
        }
        server.kill().await;
        address.send_replace(None);
        if kill % 4 == 1 {
            let patience = Duration::from_micros(random.random_range(20_000..400_000));
            write_alone(folder, place, u64::from(kill), patience, &load).await;
        }
        if kill % 4 == 3 {
            let patience = Duration::from_micros(random.random_range(20_000..800_000));
            compact_alone(place, patience).await;
        }
    }
    for task in producers.into_iter().chain([jobs]) {
        tokio::time::timeout(PATIENCE, task).await.expect("producers end").unwrap();
    }

    let server = place.serve().await;
    let (rows, version) = count(place, &server).await;
    assert!(server.stop().await.success());
    let seen = std::mem::take(&mut *load.seen.lock().unwrap());
    check(place, &seen, rows, version).await;
    check_runs(place, &seen).await;
}

/// The dataset, with one row so that it is there before the first producer.
async fn create(folder: &Path, place: &Place) {
    let (spec, first) = (folder.join("deliveries.toml"), folder.join("first.ndjson"));
    std::fs::write(&spec, SPEC).unwrap();
    std::fs::write(&first, first_row(FIRST)).unwrap();
    let (spec, first) = (spec.to_str().unwrap(), first.to_str().unwrap());
    let made =
        place.colonnade(&["ingest", "deliveries", first, "--spec", spec, "--json"]).await.json();
    assert_eq!(made["accepted"], 1, "{made}");
}

/// Sends batch after batch, each until it is acknowledged, as a producer with a disk buffer would.
async fn produce(producer: u64, load: Arc<Load>) {
    let mut address = load.address.clone();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
    let format = Format::ALL[producer as usize];
    for sequence in 0.. {
        let body = batch_of(producer, sequence, BATCH_ROWS, format);
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
                .header("Content-Type", format.content_type())
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
            let status = response.status().as_u16();
            // Cut off in its middle: whether it was committed is not known.
            let Ok(text) = response.text().await else {
                load.seen.lock().unwrap().cut_off += 1;
                continue;
            };
            let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
            let answer = Answer { status, body };
            if load.store_fails && answer.status == 503 {
                // It gave up: whether it was committed is not known, so the same again.
                load.seen.lock().unwrap().refused += 1;
                continue;
            }
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

/// Has vectors made of what there is, over and over. A run that is cut off is of no interest, as long as the next one runs.
async fn run_jobs(load: Arc<Load>) {
    let query = "mutation { runJob(job: \"embed\", wait: true, params: {dataset: \"deliveries\", id_column: \"note\", \
                 text_columns: [\"note\"], embedder: \"ngram\", dimension: 16}) { state } }";
    let body = json!({ "query": query }).to_string();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
    let mut address = load.address.clone();
    loop {
        let now = tokio::select! {
            now = address.wait_for(Option::is_some) => now.unwrap().clone().unwrap(),
            _ = async { load.stopped.clone().wait_for(|stopped| *stopped).await.map(drop) } => return,
        };
        if *load.stopped.borrow() {
            return;
        }
        let request = client.post(format!("http://{now}/graphql")).body(body.clone());
        let Ok(response) = request.header("content-type", "application/json").send().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Cut off within the answer.
        let Ok(text) = response.text().await else { continue };
        let answer: Value = serde_json::from_str(&text).unwrap();
        if load.store_fails && answer.to_string().contains("STORAGE_UNAVAILABLE") {
            continue;
        }
        assert!(answer.get("errors").is_none(), "{answer}");
        load.seen.lock().unwrap().jobs_done +=
            u64::from(answer["data"]["runJob"]["state"] == "SUCCEEDED");
    }
}

/// A process that only reads sees at least what was acknowledged before it began.
async fn read_alone(place: &Place, acknowledged: u64) {
    let query = "SELECT count(*) AS n FROM deliveries";
    let answer = place.colonnade(&["sql", query, "--format", "json"]).await.json();
    assert!(
        answer[0]["n"].as_u64().unwrap() > acknowledged,
        "{answer}, {acknowledged} acknowledged"
    );
}

/// A process that writes a file by itself, and is killed where it takes longer than `patience`.
async fn write_alone(
    folder: &Path,
    place: &Place,
    sequence: u64,
    patience: Duration,
    load: &Arc<Load>,
) {
    let file = folder.join("alone.ndjson");
    std::fs::write(&file, batch_of(ALONE, sequence, BATCH_ROWS, Format::Ndjson)).unwrap();
    let mut command = place.command(&["ingest", "deliveries", file.to_str().unwrap()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    match tokio::time::timeout(patience, child.wait()).await {
        Ok(status) => {
            let mut says = String::new();
            stderr.read_to_string(&mut says).await.unwrap();
            if place.is_faulty() && says.contains("STORAGE_UNAVAILABLE") {
                // Whether it was committed is not known.
                load.seen.lock().unwrap().alone_killed.push(sequence);
                return;
            }
            assert!(status.unwrap().success(), "{says}");
            load.acknowledged_rows.fetch_add(BATCH_ROWS, Ordering::SeqCst);
            load.seen.lock().unwrap().alone.push(sequence);
        }
        // It holds the root until the system has taken it away, which this waits for.
        Err(_) => {
            child.kill().await.unwrap();
            load.seen.lock().unwrap().alone_killed.push(sequence);
        }
    }
}

/// A process that puts all small files together, and is killed where it takes longer than `patience`.
async fn compact_alone(place: &Place, patience: Duration) {
    let mut command = place.command(&["compact", "deliveries", "runs"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    match tokio::time::timeout(patience, child.wait()).await {
        Ok(status) => {
            let mut says = String::new();
            stderr.read_to_string(&mut says).await.unwrap();
            let is_excused = place.is_faulty() && says.contains("STORAGE_UNAVAILABLE");
            // Of runs there are none before the first job.
            let is_early = says.contains("dataset runs does not exist");
            assert!(status.unwrap().success() || is_excused || is_early, "{says}");
        }
        Err(_) => child.kill().await.unwrap(),
    }
}

async fn count(place: &Place, server: &Server) -> (u64, u64) {
    let began = Instant::now();
    loop {
        let answer =
            server.graphql("{ deliveries(first: 1) { version totalCount } }", json!({})).await;
        assert!(began.elapsed() < PATIENCE, "{answer:?}");
        if place.is_faulty() && answer.body.to_string().contains("STORAGE_UNAVAILABLE") {
            continue;
        }
        assert!(answer.body.get("errors").is_none(), "{answer:?}");
        let data = &answer.body["data"]["deliveries"];
        return (number(&data["totalCount"]), number(&data["version"]));
    }
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
async fn check(place: &Place, seen: &Seen, rows: u64, version: u64) {
    let query = "SELECT producer, sequence, count(*) AS n, count(DISTINCT row) AS d FROM deliveries \
                 GROUP BY producer, sequence ORDER BY producer, sequence";
    let answer = place.colonnade(&["sql", query, "--format", "json"]).await.json();
    let mut found: BTreeMap<(String, u64), (u64, u64)> = BTreeMap::new();
    for group in answer.as_array().unwrap() {
        let field = |name: &str| group[name].as_u64().unwrap();
        let producer = group["producer"].as_str().unwrap().to_owned();
        found.insert((producer, field("sequence")), (field("n"), field("d")));
    }
    assert_eq!(found.remove(&(format!("p{FIRST}"), 0)), Some((1, 1)), "the first row");
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
    for sequence in &seen.alone {
        let batch = found.remove(&(format!("p{ALONE}"), *sequence));
        assert_eq!(
            batch,
            Some((BATCH_ROWS, BATCH_ROWS)),
            "batch {sequence} of a process by itself"
        );
        committed += BATCH_ROWS;
    }
    for sequence in &seen.alone_killed {
        let batch = found.remove(&(format!("p{ALONE}"), *sequence));
        assert!(
            batch.is_none_or(|batch| batch == (BATCH_ROWS, BATCH_ROWS)),
            "{sequence}: {batch:?}"
        );
        committed += batch.map_or(0, |_| BATCH_ROWS);
    }
    assert!(found.is_empty(), "batches that nobody sent: {found:?}");
    assert_eq!(rows, committed);

    if let Some(log) = &place.log {
        let number = |entry: std::io::Result<std::fs::DirEntry>| -> Option<u64> {
            entry.unwrap().file_name().to_str()?.strip_suffix(".json")?.parse().ok()
        };
        let mut versions: Vec<u64> = std::fs::read_dir(log).unwrap().filter_map(number).collect();
        versions.sort_unstable();
        assert_eq!(versions, (0..=version).collect::<Vec<_>>(), "the log has no gaps");
        let says = |entry: &u64, text: &str| {
            let entry = std::fs::read_to_string(log.join(format!("{entry:020}.json"))).unwrap();
            entry.contains(text)
        };
        let compactions = versions.iter().filter(|version| says(version, "OPTIMIZE"));
        let (by_servers, alone): (Vec<&u64>, Vec<&u64>) =
            compactions.partition(|version| says(version, "upkeep"));
        println!(
            "files were put together {} times by servers, {} times by processes alone",
            by_servers.len(),
            alone.len()
        );
        assert!(
            version < 1_000 || !by_servers.is_empty(),
            "of {version} versions none put files together"
        );
    }

    let acknowledged: u64 = seen.acknowledged.values().map(|last| last + 1).sum();
    println!(
        "{acknowledged} batches acknowledged in {version} versions, {} requests cut off, {} refused, {} retries were \
         already committed, {} unanswered at the end; by processes alone {}, killed {}; {} jobs to their end",
        seen.cut_off,
        seen.refused,
        seen.duplicates,
        seen.unanswered.len(),
        seen.alone.len(),
        seen.alone_killed.len(),
        seen.jobs_done
    );
    assert!(acknowledged > 0 && seen.cut_off > 0, "no request was under way at any death");
}

/// Every run is written down with its end, and what runs made can be read.
async fn check_runs(place: &Place, seen: &Seen) {
    let query = "SELECT state, count(*) AS n FROM \
                 (SELECT last_value(state ORDER BY revision) AS state FROM runs GROUP BY id) GROUP BY state";
    let count = async || {
        let answer = place.colonnade(&["sql", query, "--format", "json"]).await;
        // Before the first run has ended there is none.
        let runs = match answer.stderr.contains("dataset runs does not exist") {
            true => json!([]),
            false => answer.json(),
        };
        let group = |state: &str| {
            let mut groups = runs.as_array().unwrap().iter();
            groups.find(|group| group["state"] == state).map_or(0, |group| number(&group["n"]))
        };
        ["succeeded", "running", "queued"].map(group)
    };
    // What a process was writing down when it was killed is taken over when that is found out: elsewhere than on a disk after a while.
    let began = Instant::now();
    let server = place.serve().await;
    while count().await[0] < seen.jobs_done && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(server.stop().await.success());
    let [succeeded, running, queued] = count().await;
    assert!(succeeded >= seen.jobs_done, "{succeeded} of {}", seen.jobs_done);
    assert_eq!(running + queued, 0, "runs without an end");
    if succeeded > 0 {
        let query = "SELECT count(*) AS n FROM embeddings";
        let answer = place.colonnade(&["sql", query, "--format", "json"]).await.json();
        assert!(answer[0]["n"].as_u64().unwrap() > 0, "{answer}");
    }
    let examined = place.colonnade(&["doctor", "--json"]).await;
    assert!(examined.status.success(), "{}{}", examined.stdout, examined.stderr);
}
