//! Commits to a dataset that many rules look at, beside a server that is killed: what fires and what is over is told once each, and,
//! while nobody dies, soon.
//!
//! `COLONNADE_ALERT_COMMITS` and `COLONNADE_KILLS` say how many and how often; `make test-alerts` makes it long.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::harness::{Server, Subscriber, colonnade, make, ndjson, random};

const RULES: u64 = 200;
/// Samples of a commit.
const SAMPLES: usize = 5;
/// Time from one commit to the next.
const EVERY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(120);
/// How soon an event has to be told, where the machine is this test's alone.
const SOON: Duration = Duration::from_secs(1);

/// Instant, event, rule.
type Event = (String, String, String);
type Happened = BTreeSet<Event>;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// What is sent, and what has to come of it.
struct Commits {
    random: ChaCha8Rng,
    firing: BTreeMap<u64, bool>,
    expected: Happened,
    sent: u64,
}

impl Commits {
    /// The rows of the next commit.
    fn rows(&mut self) -> Vec<Value> {
        self.sent += 1;
        let at = instant(self.sent);
        let mut samples = BTreeMap::new();
        while samples.len() < SAMPLES {
            samples.insert(self.random.random_range(0..RULES), self.random.random_bool(0.4));
        }
        for (&series, &holds) in &samples {
            let event = match (self.firing.insert(series, holds).unwrap_or(false), holds) {
                (false, true) => "firing",
                (true, false) => "resolved",
                _ => continue,
            };
            self.expected.insert((at.clone(), event.to_owned(), format!("r{series}")));
        }
        let row = |(series, holds): (&u64, &bool)| json!({"series": format!("s{series}"), "at": format!("{at}Z"), "value": f64::from(*holds)});
        samples.iter().map(row).collect()
    }
}

/// The instant of a commit's samples, to the second: each a minute later than the one before.
fn instant(minute: u64) -> String {
    format!("2026-01-{:02}T{:02}:{:02}:00", 5 + minute / 1_440, minute / 60 % 24, minute % 60)
}

/// Sends a commit until it is acknowledged, once in effect; `None` where the server is dead.
async fn send(server: &Server, sequence: u64, body: &str) -> Option<Instant> {
    let request = server.client.post(server.url("/v1/ingest/metrics"));
    let request = request.header("Content-Type", "application/x-ndjson").header("Producer", "p");
    let request = request.header("Sequence", sequence.to_string()).body(body.to_owned());
    let response = request.send().await.ok()?;
    let told = Instant::now();
    let (status, text) = (response.status(), response.text().await.ok()?);
    assert_eq!(status, 200, "{text}");
    Some(told)
}

/// What was told so far, and when it came.
type Told = Arc<Mutex<BTreeMap<Event, Instant>>>;

/// Notes what a subscription tells, until the server is gone.
fn listen(server: &Server, told: &Told) -> tokio::task::JoinHandle<()> {
    let (address, told) = (server.address.clone(), told.clone());
    tokio::spawn(async move {
        // Who is told late is told many versions at once.
        let query = "subscription { alertEventsChanged { version added { count nodes(first: 1000) { event rule at } } } }";
        let Some(mut subscriber) =
            Subscriber::try_open(&address, "alertEventsChanged", query).await
        else {
            return;
        };
        while let Some(change) = subscriber.try_change().await {
            let (now, added) = (Instant::now(), &change.body["added"]);
            let events = added["nodes"].as_array().unwrap();
            assert_eq!(added["count"], events.len().to_string(), "{}", change.version);
            for event in events {
                let text = |name: &str| event[name].as_str().unwrap().to_owned();
                let at = text("at")[..19].to_owned();
                told.lock().unwrap().entry((at, text("event"), text("rule"))).or_insert(now);
            }
        }
    })
}

/// Waits until as many events are there as are expected.
async fn all_there(server: &Server, expected: usize) {
    let waiting = Instant::now();
    let query = "{ alertEvents(first: 1) { totalCount } }";
    loop {
        let found = server.data(query).await["alertEvents"]["totalCount"].to_string();
        if found.trim_matches('"').parse::<usize>().unwrap() >= expected {
            return;
        }
        assert!(waiting.elapsed() < PATIENCE, "{found} of {expected} events\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn define(root: &Path) {
    let mut rules = String::new();
    for rule in 0..RULES {
        let _ = write!(
            rules,
            "[[alert]]\nname = \"r{rule}\"\ndataset = \"metrics\"\nwhere = \"series = 's{rule}'\"\ncondition = \"value > 0.5\"\n\
             value = \"value\"\ntime = \"at\"\n\n"
        );
    }
    let file = root.join("alerts.toml");
    std::fs::write(&file, rules).unwrap();
    let applied = colonnade(&root.join("data"), &["alert", "apply", file.to_str().unwrap()]).await;
    assert!(applied.status.success(), "{}{}", applied.stdout, applied.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_alert_is_told_once_and_soon_when_servers_are_killed() {
    let (all, kills) = (number("COLONNADE_ALERT_COMMITS", 120), number("COLONNADE_KILLS", 2));
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    make(&root, "metrics").await;
    define(folder.path()).await;
    let mut server = Server::start(&root).await;
    let mut commits =
        Commits { random: random(), firing: BTreeMap::new(), expected: Happened::new(), sent: 0 };
    let told = Told::default();
    // The first half beside nobody who dies: how soon it is told.
    let listening = listen(&server, &told);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut acknowledged = BTreeMap::new();
    for _ in 0..all / 2 {
        let began = Instant::now();
        let body = ndjson(&commits.rows());
        let at = send(&server, commits.sent, &body).await.expect("a server");
        acknowledged.insert(instant(commits.sent), at);
        tokio::time::sleep(EVERY.saturating_sub(began.elapsed())).await;
    }
    all_there(&server, commits.expected.len()).await;
    let waiting = Instant::now();
    while told.lock().unwrap().len() < commits.expected.len() && waiting.elapsed() < PATIENCE {
        assert!(!listening.is_finished(), "the subscription ended\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    listening.abort();
    let mut took: Vec<Duration> = Vec::new();
    for (event, at) in told.lock().unwrap().iter() {
        took.push(at.saturating_duration_since(acknowledged[&event.0]));
    }
    assert_eq!(took.len(), commits.expected.len());
    took.sort_unstable();
    let quantile = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!(
        "{} commits, {RULES} rules, {} events: told {:?} after the commit was acknowledged (median), {:?} (p99), {:?} at most",
        commits.sent,
        took.len(),
        quantile(0.5),
        quantile(0.99),
        quantile(1.0),
    );
    if all >= 1_000 {
        assert!(quantile(0.99) <= SOON, "{:?}", quantile(0.99));
    }
    // The other half beside one that is killed.
    let rest = all - commits.sent;
    let mut deaths: BTreeSet<u64> = BTreeSet::new();
    while (deaths.len() as u64) < kills.min(rest) {
        deaths.insert(commits.random.random_range(0..rest));
    }
    for n in 0..rest {
        let began = Instant::now();
        let body = ndjson(&commits.rows());
        if deaths.contains(&n) {
            let wait = Duration::from_millis(commits.random.random_range(0..80));
            let _ = tokio::time::timeout(wait, send(&server, commits.sent, &body)).await;
            server.kill().await;
            server = Server::start(&root).await;
        }
        assert!(send(&server, commits.sent, &body).await.is_some());
        tokio::time::sleep(EVERY.saturating_sub(began.elapsed())).await;
    }
    all_there(&server, commits.expected.len()).await;
    server.stop().await;
    let sql = "SELECT event, rule, CAST(at AS VARCHAR) AS at, count(*) AS n, count(DISTINCT id) AS ids FROM alert_events GROUP BY 1, 2, 3";
    let found = colonnade(&root, &["sql", sql, "--format", "json"]).await.json();
    let mut happened = Happened::new();
    for row in found.as_array().unwrap() {
        assert_eq!((&row["n"], &row["ids"]), (&json!(1), &json!(1)), "{row}");
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        happened.insert((text("at")[..19].to_owned(), text("event"), text("rule")));
    }
    assert_eq!(happened, commits.expected);
    // A notice for each.
    let notices = "SELECT count(*) AS n, count(DISTINCT id) AS ids FROM alert_outbox";
    let notices = colonnade(&root, &["sql", notices, "--format", "json"]).await.json();
    assert_eq!(notices[0]["n"], json!(commits.expected.len()), "{notices}");
    assert_eq!(notices[0]["n"], notices[0]["ids"]);
    println!("{} commits, {kills} kills, {} events, each once", commits.sent, happened.len());
}
