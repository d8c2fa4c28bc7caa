//! Ctrl-C while a job runs on the command line.

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use tokio::process::Command;

use crate::harness::{PATIENCE, binary, colonnade, without_settings};

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
