//! Results are pushed when they are committed; a subscriber that was away misses none and gets none
//! twice.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::harness::{Server, Subscriber, model_calls};

const CHANGED: &str = "modelCallsChanged";
/// From a commit until its subscriber is told, half of the time: half as long as it takes until a disk is looked at again
/// (`engine/src/storage/root.rs`). Here each commit follows upon a message: who is told because somebody looked waits nearly that long.
const PUSHED_MAX: Duration = Duration::from_millis(250);

fn since(version: u64) -> String {
    format!(
        "subscription {{ {CHANGED}(since: {version}) {{
            version previousVersion added {{ count nodes {{ id }} }} }} }}"
    )
}

fn ids(body: &Value) -> Vec<String> {
    let nodes = body["added"]["nodes"].as_array().unwrap_or_else(|| panic!("no rows in {body}"));
    nodes.iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_subscriber_that_comes_back_misses_none_and_gets_none_twice() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::holding(root.path(), "model_calls").await;
    let begin = server.accepts("model_calls", &model_calls(0, 1)).await;
    let mut seen: Vec<(u64, Vec<String>)> = Vec::new();
    let mut last = begin;
    for round in 0..5 {
        // Committed while nobody listens.
        for n in 0..3 {
            server.accepts("model_calls", &model_calls(100 + round * 10 + n, 1)).await;
        }
        let mut subscriber = Subscriber::open(&server, CHANGED, &since(last)).await;
        // And while somebody does.
        for n in 3..5 {
            server.accepts("model_calls", &model_calls(100 + round * 10 + n, 1)).await;
        }
        // It hears a part, and is gone without a word.
        for _ in 0..4 {
            let change = subscriber.change().await;
            assert_eq!(change.previous_version, Some(last), "{:?}", change.body);
            assert!(change.version > last, "version {} after {last}", change.version);
            last = change.version;
            seen.push((change.version, ids(&change.body)));
        }
    }
    let mut subscriber = Subscriber::open(&server, CHANGED, &since(last)).await;
    while seen.len() < 25 {
        let change = subscriber.change().await;
        assert_eq!(change.previous_version, Some(last));
        last = change.version;
        seen.push((change.version, ids(&change.body)));
    }
    let expected: Vec<(u64, Vec<String>)> = (0..25)
        .map(|n| (begin + 1 + n, vec![format!("call-{:012}", 100 + n / 5 * 10 + n % 5)]))
        .collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_restart_of_the_server_is_one_more_break() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::holding(root.path(), "model_calls").await;
    let begin = server.accepts("model_calls", &model_calls(0, 1)).await;
    let mut subscriber = Subscriber::open(&server, CHANGED, &since(begin)).await;
    server.accepts("model_calls", &model_calls(1, 1)).await;
    let heard = subscriber.change().await;
    server.accepts("model_calls", &model_calls(2, 1)).await;
    server.kill().await;
    let server = Server::start(root.path()).await;
    server.accepts("model_calls", &model_calls(3, 1)).await;
    let mut subscriber = Subscriber::open(&server, CHANGED, &since(heard.version)).await;
    let mut rows = Vec::new();
    for _ in 0..2 {
        rows.extend(ids(&subscriber.change().await.body));
    }
    assert_eq!(rows, ["call-000000000002", "call-000000000003"]);
}

#[tokio::test]
async fn a_filter_narrows_what_is_told_of_a_change() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::holding(root.path(), "model_calls").await;
    let begin = server.accepts("model_calls", &model_calls(0, 1)).await;
    let query = format!(
        "subscription {{ {CHANGED}(since: {begin}, where: {{model: {{eq: \"large-2\"}}}}) {{
            version previousVersion added {{ nodes {{ id }} }} }} }}"
    );
    let mut subscriber = Subscriber::open(&server, CHANGED, &query).await;
    server.accepts("model_calls", &model_calls(1, 8)).await;
    let expected = [1, 4, 7].map(|n| format!("call-{n:012}"));
    let mut found = ids(&subscriber.change().await.body);
    found.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_result_is_pushed_when_its_job_commits() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::holding(root.path(), "metrics").await;
    server.accepts("metrics", &spiked_series()).await;
    server.run_job("anomalies", json!({})).await;
    let data = server.data("{ anomalies(first: 1) { version totalCount } }").await;
    let version =
        data["anomalies"]["version"].to_string().trim_matches('"').parse::<u64>().unwrap();
    let query = format!(
        "subscription {{ anomaliesChanged(since: {version}) {{
            version previousVersion runId added {{ count }} }} }}"
    );
    let mut subscriber = Subscriber::open(&server, "anomaliesChanged", &query).await;
    server.accepts("metrics", &[metric("another", 0, 1.0)]).await;
    let run = server.run_job("anomalies", json!({})).await;
    let change = subscriber.change().await;
    assert!(change.version > version);
    assert_eq!(change.body["runId"], run["id"], "the result names the run that made it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_from_commit_to_message_is_told() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::holding(root.path(), "model_calls").await;
    let begin = server.accepts("model_calls", &model_calls(0, 1)).await;
    let mut subscriber = Subscriber::open(&server, CHANGED, &since(begin)).await;
    let commits = std::env::var("COLONNADE_LATENCY_COMMITS")
        .map_or(40, |text| text.parse().expect("a number"));
    let log = root.path().join("default/model_calls/_delta_log");
    let (mut from_commits, mut from_answers) = (Vec::new(), Vec::new());
    for n in 1..=commits {
        // The answer to the ingest call and the message race; the later of them counts from the earlier.
        let accepted = async {
            let version = server.accepts("model_calls", &model_calls(n, 1)).await;
            (version, Instant::now())
        };
        let told = async {
            let change = subscriber.change().await;
            (change.version, Instant::now(), SystemTime::now())
        };
        let ((version, acknowledged), (told, at, time)) = tokio::join!(accepted, told);
        assert_eq!(told, version);
        from_answers.push(at.saturating_duration_since(acknowledged));
        // The file is written just before it gets its name, which is the commit.
        let commit = std::fs::metadata(log.join(format!("{version:020}.json"))).unwrap();
        from_commits.push(time.duration_since(commit.modified().unwrap()).unwrap_or_default());
    }
    let of = |mut times: Vec<Duration>| {
        times.sort_unstable();
        (times[times.len() / 2], times[times.len() * 99 / 100])
    };
    let (median, p99) = of(from_answers);
    println!("acknowledgement to message, {commits} commits: median {median:?}, p99 {p99:?}");
    let (median, p99) = of(from_commits);
    println!("commit to message, {commits} commits: median {median:?}, p99 {p99:?}");
    assert!(median < PUSHED_MAX, "pushed, not polled for: {median:?}");
}

#[tokio::test]
async fn a_subscription_to_what_is_not_there_is_an_error_and_not_silence() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::holding(root.path(), "model_calls").await;
    server.accepts("model_calls", &model_calls(0, 1)).await;
    for query in ["subscription { noSuchThingChanged { version } }".to_owned(), since(4711)] {
        let mut subscriber = Subscriber::open(&server, CHANGED, &query).await;
        let message = subscriber.receive().await;
        let errors = if message["type"] == "error" {
            &message["payload"]
        } else {
            &message["payload"]["errors"]
        };
        assert!(errors[0]["message"].is_string(), "{message}");
    }
}

fn metric(series: &str, minute: u64, value: f64) -> Value {
    let (day, hour) = (1 + minute / 1440, minute / 60 % 24);
    let at = format!("2026-01-{day:02}T{hour:02}:{:02}:00Z", minute % 60);
    json!({"series": series, "at": at, "value": value})
}

/// A day of a calm series with one spike nobody can miss.
fn spiked_series() -> Vec<Value> {
    let value =
        |minute: u64| if minute == 700 { 500.0 } else { 10.0 + (minute * 7 % 11) as f64 / 10.0 };
    (0..1440).map(|minute| metric("calm", minute, value(minute))).collect()
}
