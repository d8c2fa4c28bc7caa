//! Runs that are stopped: by Ctrl-C on the command line, and from elsewhere.

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use serde_json::json;
use tokio::process::Command;

use crate::harness::{PATIENCE, Server, binary, colonnade, without_settings};

#[tokio::test]
async fn a_run_that_is_interrupted_is_cancelled_and_recorded() {
    let root = tempfile::tempdir().unwrap();
    let tickets = root.path().join("tickets.ndjson");
    std::fs::write(&tickets, texts(200_000)).unwrap();
    let data = root.path().join("data");
    let sent = colonnade(&data, &["ingest", "tickets", tickets.to_str().unwrap(), "--json"]).await;
    assert_eq!(sent.json()["accepted"], 200_000);

    let mut command = Command::new(binary());
    command.arg("--data").arg(&data).args(["run", "embed", "--param", "embedder=ngram"]);
    without_settings(&mut command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    let pid = child.id().unwrap().to_string();
    wait_until_it_works(&data).await;
    let sent = Command::new("sh").args(["-c", "kill -INT \"$1\"", "sh", &pid]).status().await;
    assert!(sent.unwrap().success());

    let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let output = ended.expect("it did not end").unwrap();
    let says = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{says}");
    assert!(says.contains("is being cancelled") && says.contains("error[CANCELLED]"), "{says}");
    let runs = colonnade(&data, &["runs", "--json"]).await.json();
    assert_eq!(runs.as_array().map(Vec::len), Some(1), "{runs:#}");
    assert_eq!(runs[0]["state"], "cancelled", "{runs:#}");
    assert!(!runs[0]["finished_at"].is_null(), "{runs:#}");
}

#[tokio::test]
async fn runs_of_a_server_are_watched_stopped_and_asked_for_again_by_commands() {
    let root = tempfile::tempdir().unwrap();
    let tickets = root.path().join("tickets.ndjson");
    std::fs::write(&tickets, texts(200_000)).unwrap();
    let data = root.path().join("data");
    let ask = async |arguments: &[&str]| colonnade(&data, arguments).await;
    ask(&["ingest", "tickets", tickets.to_str().unwrap(), "--json"]).await.json();
    let server = Server::start(&data).await;
    let run = "mutation($params: JSON) { runJob(job: \"embed\", params: $params) { id } }";
    let asked = server.graphql(run, json!({"params": {"embedder": "ngram"}})).await;
    let id = asked.body["data"]["runJob"]["id"].as_str().unwrap().to_owned();
    wait_until_it_works(&data).await;
    let queue = ask(&["queue", "--json"]).await.json();
    assert_eq!(queue["runs"][0]["id"], id.as_str(), "{queue:#}");
    let label = queue["workers"][0]["label"].as_str().unwrap();
    assert!(label.starts_with("colonnade serve on"), "{label}");

    let watch = ["runs", "watch", id.as_str()];
    let (watched, cancelled) = tokio::join!(ask(&watch), async {
        let begun = Instant::now();
        let cancelled = ask(&["runs", "cancel", &id, "--json"]).await.json();
        println!("cancelled after {:?}, the command included", begun.elapsed());
        cancelled
    });
    assert_eq!(cancelled["state"], "cancelled", "{cancelled:#}");
    assert_eq!(watched.status.code(), Some(130), "{}", watched.stderr);
    assert!(watched.stderr.contains("error[CANCELLED]"), "{}", watched.stderr);
    let again = ask(&["runs", "cancel", &id]).await;
    assert!(again.fails_with("CONFLICT").contains("found it cancelled"));

    // Asked for again, it is another run of the same work.
    let failed = ask(&["run", "embed", "--param", "text_columns=[\"no\"]", "--json"]).await;
    let failed = failed.document();
    let retried = ask(&["runs", "retry", failed["id"].as_str().unwrap(), "--json"]).await;
    let retried = retried.document();
    assert_ne!(retried["id"], failed["id"]);
    assert_eq!((&retried["params"], &retried["error"]), (&failed["params"], &failed["error"]));
    let shown = ask(&["runs", "show", retried["id"].as_str().unwrap()]).await;
    assert!(shown.stdout.contains("failed"), "{}", shown.stdout);
}

fn texts(count: u64) -> String {
    let row = |n: u64| {
        let scattered = (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        format!(
            "{{\"id\": \"t{n}\", \"body\": \"order {scattered:x} did not come, {n} times asked\"}}\n"
        )
    };
    (0..count).map(row).collect()
}

/// Waits until the run is at work, as another process sees it.
async fn wait_until_it_works(root: &Path) {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let runs = colonnade(root, &["runs", "--json"]).await.json();
        if runs[0]["state"] == "running" {
            return;
        }
    }
    panic!("no run was at work");
}
