//! A backfill of ninety days whose server, and whose command where no server is, are killed: each day has one run with one effect,
//! and what is there is what a query over everything gives.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rand::Rng as _;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Server, binary, colonnade, make, random as seeded, without_settings};

const DAYS: i64 = 90;
const BY_DAY: &str =
    "SELECT date_trunc('day', at) AS day, count(*) AS points, sum(value) AS total FROM metrics";
const COMMAND: [&str; 14] = [
    "backfill",
    "sql",
    "--from",
    "2026-01-01",
    "--to",
    "2026-03-31",
    "--at-once",
    "4",
    "--name",
    "by-day",
    "--param",
    "output=by_day",
    "--param",
    "mode=partition",
];
const END_TIME_MAX: Duration = Duration::from_secs(120);

/// The arguments of the command, which is the same each time.
fn arguments() -> Vec<String> {
    let query = format!("query={BY_DAY} WHERE at >= $from AND at < $to GROUP BY 1");
    let more = ["--param", "time_column=day", "--param", &query];
    COMMAND.iter().chain(&more).map(|&word| word.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_day_of_a_backfill_is_made_once_when_whoever_works_at_it_is_killed() {
    let mut random = seeded();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    make(&root, "metrics").await;
    let mut server = Server::start(&root).await;
    let row = |n: i64| {
        let (month, day) = match n / 4 {
            day @ 0..31 => (1, day + 1),
            day @ 31..59 => (2, day - 30),
            day => (3, day - 58),
        };
        let at = format!("2026-{month:02}-{day:02}T{:02}:00:00Z", n % 4 * 6);
        json!({"series": "a", "at": at, "value": (n % 17) as f64})
    };
    let rows: Vec<Value> = (0..DAYS * 4).map(row).collect();
    server.accepts("metrics", &rows).await;

    let words = arguments();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let begun = colonnade(&root, &words).await;
    assert!(begun.status.success(), "{}", begun.stderr);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(random.random_range(100..700))).await;
        server.kill().await;
        server = Server::start(&root).await;
    }
    let now = progress(&server).await;
    assert_eq!(now["total"], DAYS, "{now}");
    server.kill().await;

    // Alone, the command does it itself, and is killed, too.
    let mut command = Command::new(binary());
    command.arg("--data").arg(&root).args(&words);
    command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    without_settings(&mut command);
    let mut alone = command.spawn().unwrap();
    tokio::time::sleep(Duration::from_millis(random.random_range(300..1_500))).await;
    alone.kill().await.unwrap();
    let done = colonnade(&root, &words).await;
    assert!(done.status.success(), "{}", done.stderr);
    assert!(done.stdout.contains("backfill by-day: 90 of 90 done"), "{}", done.stdout);

    let server = Server::start(&root).await;
    let waiting = Instant::now();
    loop {
        let now = progress(&server).await;
        if now["done"] == DAYS {
            assert_eq!((&now["failed"], &now["open"]), (&json!(0), &json!(0)));
            break;
        }
        assert!(waiting.elapsed() < END_TIME_MAX, "stuck: {now}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let runs = server.data("{ runs(first: 1000) { id schedule logicalTime state } }").await;
    let runs = runs["runs"].as_array().unwrap().clone();
    assert_eq!(runs.len(), DAYS as usize);
    let query = "{ dataset(name: \"by_day\") { versions(first: 1000) { runId } } }";
    let mut effects: BTreeMap<String, usize> = BTreeMap::new();
    for version in server.data(query).await["dataset"]["versions"].as_array().unwrap() {
        if let Some(run) = version["runId"].as_str() {
            *effects.entry(run.to_owned()).or_default() += 1;
        }
    }
    for run in &runs {
        assert_eq!(run["state"], "SUCCEEDED", "{run}");
        assert_eq!(effects.remove(run["id"].as_str().unwrap()), Some(1), "effects of {run}");
    }
    assert!(effects.is_empty(), "effects of nobody: {effects:?}");
    let listed = colonnade(&root, &["schedules"]).await.stdout;
    assert!(listed.contains("90 of 90"), "{listed}");
    server.stop().await;
    let asked =
        async |query: &str| colonnade(&root, &["sql", query, "--format", "json"]).await.json();
    let made = asked("SELECT day, points, total FROM by_day ORDER BY day").await;
    let direct = asked(&format!("{BY_DAY} GROUP BY 1 ORDER BY 1")).await;
    assert_eq!(made, direct);
    assert_eq!(made.as_array().unwrap().len(), DAYS as usize);
}

async fn progress(server: &Server) -> Value {
    let query = "{ schedule(name: \"by-day\") { progress { total done failed open } } }";
    server.data(query).await["schedule"]["progress"].clone()
}
