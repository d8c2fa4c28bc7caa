//! Many small commits become few files while others look: a subscription hears of no row, and who reads at an old version reads
//! what was there then.
//!
//! Small by default; `COLONNADE_COMPACTION_COMMITS` makes it long, and `make test-compaction` prints the figures.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, Server, Subscriber, colonnade, make, model_calls, ndjson, random};

const READERS: usize = 20;
/// Files that one command loads, each as a commit of its own.
const FILES_AT_ONCE: u64 = 500;
/// Reads that every reader has made before the files are put together, and again afterwards.
const READS_MIN: u64 = 3;
/// The oldest versions are read, of so many: before files are put together each of theirs is opened, by all readers at a time.
const OLD_VERSIONS: u64 = 500;
/// How long it may take with all the readers there: jobs leave the cores to them.
const LONG_PATIENCE: Duration = Duration::from_secs(900);
/// How often a time is taken; the median is told.
const TIMES: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_old_versions_and_a_subscription_do_not_notice_a_compaction() {
    let commits: u64 = std::env::var("COLONNADE_COMPACTION_COMMITS")
        .map_or(200, |text| text.parse().expect("a number"));
    let root = tempfile::tempdir().unwrap();
    make(root.path(), "model_calls").await;
    let began = Instant::now();
    let first = commit(root.path(), commits).await;
    let committed_in = began.elapsed();
    let files_before = files(root.path()).await;
    assert_eq!(files_before, commits);

    let server = Arc::new(Server::start(root.path()).await);
    let before = times(&server).await;
    let newest = first + commits - 1;
    let query = format!(
        "subscription {{ modelCallsChanged(since: {newest}) {{
            version previousVersion added {{ count nodes {{ id }} }} removed {{ count }} }} }}"
    );
    let mut subscriber = Subscriber::open(&server, "modelCallsChanged", &query).await;
    // Listens all the while: who does not answer for a minute is hung up on.
    let heard = tokio::spawn(async move { subscriber.change().await });
    let readers = Readers::start(&server, first, commits);
    readers.have_read(READS_MIN).await;
    let began = Instant::now();
    let summary = maintained(&server).await;
    let maintained_in = began.elapsed();
    assert_eq!(summary["files_put_together"], commits, "{summary}");
    // All versions are younger than what is kept.
    assert_eq!(summary["files_taken_away"], 0, "{summary}");
    readers.have_read(READS_MIN).await;
    let files_after = files(root.path()).await;
    assert!(files_after <= files_before.div_ceil(100), "{files_after} of {files_before} files");

    // The next that is heard is the next row.
    let after = server.accepts("model_calls", &model_calls(commits, 1)).await;
    let change = heard.await.unwrap();
    assert_eq!(change.version, after, "{:?}", change.body);
    assert_eq!(change.body["added"]["count"].as_str(), Some("1"), "{:?}", change.body);
    let nodes = &change.body["added"]["nodes"];
    assert_eq!(nodes, &json!([{"id": format!("call-{commits:012}")}]));
    assert_eq!(change.body["removed"]["count"].as_str(), Some("0"), "{:?}", change.body);
    let reads = readers.stop().await;
    let quick = times(&server).await;

    // What is older than is kept goes, and the newest stays as it is.
    let vacuum = ["vacuum", "model_calls", "--keep-days", "0", "--yes", "--json"];
    let gone = colonnade(root.path(), &vacuum).await.json();
    assert!(gone[0]["files"].as_u64().unwrap() >= commits, "{gone}");
    assert_eq!(read(&server, None).await, Ok(model(commits + 1)));
    // The server hears of it a moment later than the command ends.
    let refused = async {
        while !read(&server, Some(first)).await.unwrap_err().contains("no longer kept") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("it hears what is no longer kept");
    println!(
        "{commits} commits of a row in {:.1} s; {files_before} files became {files_after} in {:.1} s; a question about all rows took {:?} \
         before and {:?} after; {reads} reads at old versions, none failed; peak memory of the server {} MiB",
        committed_in.as_secs_f64(),
        maintained_in.as_secs_f64(),
        before,
        quick,
        server.peak_memory_bytes() >> 20,
    );
}

/// Commits rows one by one, with nobody there who puts files together; answers the version that has the first.
async fn commit(root: &Path, commits: u64) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let name = |n: u64| folder.path().join(format!("{n:08}.ndjson"));
    let mut next = 0;
    let version = async || {
        let told = colonnade(root, &["datasets", "model_calls", "--json"]).await.json();
        told["version"].as_u64().unwrap()
    };
    let empty = version().await;
    while next < commits {
        let until = (next + FILES_AT_ONCE).min(commits);
        let names: Vec<String> = (next..until).map(|n| name(n).display().to_string()).collect();
        for (n, name) in (next..until).zip(&names) {
            std::fs::write(name, ndjson(&model_calls(n, 1))).unwrap();
        }
        let mut arguments = vec!["ingest", "model_calls", "--on-conflict", "add"];
        arguments.extend(names.iter().map(String::as_str));
        let outcome = colonnade(root, &arguments).await;
        assert!(outcome.status.success(), "{}", outcome.stderr);
        next = until;
    }
    assert_eq!(version().await, empty + commits);
    empty + 1
}

/// Files of the newest version.
async fn files(root: &Path) -> u64 {
    let told = colonnade(root, &["datasets", "model_calls", "--json"]).await.json();
    told["files"].as_u64().unwrap()
}

/// Has the job `maintain` look after the dataset, and answers what it did.
async fn maintained(server: &Server) -> Value {
    let params = json!({"datasets": ["model_calls"], "keep_days": 1});
    let query = "mutation($params: JSON) { runJob(job: \"maintain\", params: $params) { id } }";
    let asked = server.graphql(query, json!({"params": params})).await;
    let id = asked.body["data"]["runJob"]["id"].as_str().unwrap_or_else(|| panic!("{asked:?}"));
    let query = format!("{{ run(id: \"{id}\") {{ state summary error {{ message }} }} }}");
    let ended = async {
        loop {
            let run = server.data(&query).await["run"].clone();
            match run["state"].as_str() {
                Some("QUEUED" | "RUNNING") => tokio::time::sleep(Duration::from_millis(50)).await,
                Some("SUCCEEDED") => return run["summary"].clone(),
                _ => panic!("{run}"),
            }
        }
    };
    tokio::time::timeout(LONG_PATIENCE, ended).await.expect("maintain ends in time")
}

/// Count and sum of the input tokens of the first `rows` rows.
fn model(rows: u64) -> (u64, u64) {
    let tokens = |row: &Value| row["input_tokens"].as_u64().unwrap();
    (rows, model_calls(0, rows).iter().map(tokens).sum())
}

/// The same, as the server has it at a version.
async fn read(server: &Server, version: Option<u64>) -> Result<(u64, u64), String> {
    let at = version.map_or(String::new(), |v| format!(", asOf: {{version: {v}}}"));
    let query = format!(
        "{{ modelCallsGroups(groupBy: [STATUS], first: 1{at}) {{ nodes {{ count sum {{ inputTokens }} }} }} }}"
    );
    let answer = server.graphql(&query, json!({})).await;
    let node = &answer.body["data"]["modelCallsGroups"]["nodes"][0];
    let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
    number(&node["count"])
        .zip(number(&node["sum"]["inputTokens"]))
        .ok_or_else(|| answer.body.to_string())
}

/// The median time of a question about all rows.
async fn times(server: &Server) -> Duration {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let began = Instant::now();
        read(server, None).await.unwrap();
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times[TIMES / 2]
}

/// Who reads at old versions, over and over.
struct Readers {
    reads: Arc<[AtomicU64; READERS]>,
    stops: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Readers {
    fn start(server: &Arc<Server>, first: u64, commits: u64) -> Self {
        let reads = Arc::new([const { AtomicU64::new(0) }; READERS]);
        let stops = Arc::new(AtomicBool::new(false));
        // Of each version count and sum are known.
        let mut sums = vec![0];
        for row in model_calls(0, commits) {
            sums.push(sums.last().unwrap() + row["input_tokens"].as_u64().unwrap());
        }
        let sums = Arc::new(sums);
        let mut seeds = random();
        let tasks = (0..READERS)
            .map(|reader| {
                let (server, reads, stops) = (server.clone(), reads.clone(), stops.clone());
                let (sums, mut draw) = (sums.clone(), ChaCha8Rng::from_rng(&mut seeds));
                tokio::spawn(async move {
                    while !stops.load(Ordering::Relaxed) {
                        let rows = draw.random_range(1..=commits.min(OLD_VERSIONS));
                        let found = read(&server, Some(first + rows - 1)).await;
                        let model = (rows, sums[rows as usize]);
                        assert_eq!(found, Ok(model), "version {}", first + rows - 1);
                        reads[reader].fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        Self { reads, stops, tasks }
    }

    /// Waits until each has read so often from now on.
    async fn have_read(&self, times: u64) {
        let now = || self.reads.each_ref().map(|reads| reads.load(Ordering::Relaxed));
        let before = now();
        let read = async {
            while now().iter().zip(before).any(|(now, before)| *now < before + times) {
                assert!(self.tasks.iter().all(|task| !task.is_finished()), "a reader failed");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LONG_PATIENCE, read).await.expect("readers go on");
    }

    /// Ends them; answers how many reads there were.
    async fn stop(self) -> u64 {
        self.stops.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.reads.iter().map(|reads| reads.load(Ordering::Relaxed)).sum()
    }
}
