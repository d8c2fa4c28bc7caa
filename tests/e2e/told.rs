//! What commands tell of jobs and of what came of them.

use std::fmt::Write as _;

use crate::harness::{PATIENCE, binary, colonnade, without_settings};

#[tokio::test]
async fn a_job_tells_what_it_takes_and_a_run_what_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let ask = async |arguments: &[&str]| colonnade(&root, arguments).await;
    let all = ask(&["run", "--help"]).await;
    for says in ["--param <NAME=VALUE>", "anomalies", "duplicates", "what it does"] {
        assert!(all.stdout.contains(says), "{says}: {}", all.stdout);
    }
    let one = ask(&["run", "anomalies", "--help"]).await;
    assert!(
        one.stdout.starts_with("anomalies: ") && one.stdout.contains("parameter "),
        "{}",
        one.stdout
    );
    assert!(one.stdout.contains("series "), "{}", one.stdout);
    assert!(ask(&["run", "anomaly", "-h"]).await.fails_with("NOT_FOUND").contains("anomalies"));
    assert_eq!(ask(&["run"]).await.status.code(), Some(2));
    assert!(!root.exists(), "who only asks makes nothing");

    let mut rows = "series,at,value\n".to_owned();
    for n in 0..400 {
        let value = if n == 300 { 90.0 } else { 10.0 + f64::from(n % 7) };
        writeln!(
            rows,
            "load,2026-03-{:02}T{:02}:{:02}:00Z,{value}",
            1 + n / 288,
            n / 12 % 24,
            n % 12 * 5
        )
        .unwrap();
    }
    let file = folder.path().join("load.csv");
    std::fs::write(&file, rows).unwrap();
    let loaded = ask(&["ingest", "metrics", file.to_str().unwrap(), "--json"]).await.json();
    assert_eq!(loaded["accepted"], 400, "{loaded}");
    let ran = ask(&["run", "anomalies", "--gpu", "off"]).await;
    assert!(ran.status.success(), "{}", ran.stderr);
    let id = ran.stdout.strip_prefix("run ").unwrap().split(' ').next().unwrap();
    let result = ran.stdout.split("\nresult\n").nth(1).expect("what came of it, in words");
    assert!(result.lines().count() >= 2, "{result}");
    let shown = ask(&["runs", id]).await;
    assert_eq!(ask(&["runs", &id[..18], "--json"]).await.json()["id"], id);
    for says in [id, "anomalies", "succeeded", "metrics@1", "parameter ", "stage ", "\nresult\n"] {
        assert!(shown.stdout.contains(says), "{says}: {}", shown.stdout);
    }
    assert_eq!(ask(&["runs", id, "--json"]).await.json()["id"], id);
    let none = "00000000-0000-7000-8000-000000000000";
    assert!(ask(&["runs", none]).await.fails_with("NOT_FOUND").contains("there is no run"));
    assert!(ask(&["runs", "first"]).await.fails_with("BAD_INPUT").contains("expected a UUID"));
    // Who did it stands beside each version.
    let versions = ask(&["datasets", "anomalies"]).await;
    assert!(versions.stdout.contains(&format!("run {id}")), "{}", versions.stdout);
}

#[tokio::test]
async fn rows_and_pairs_are_labelled_by_hand_and_new_labels_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let ask = async |arguments: &[&str]| colonnade(&root, arguments).await;
    let file = folder.path().join("mails.csv");
    std::fs::write(&file, "id,body,label\na,first,refund\nb,second,\nc,third,invoice\n").unwrap();
    let file = file.to_str().unwrap();
    let made = ask(&["ingest", "mails", file, "--create", "--key", "id", "--json"]).await;
    assert_eq!(made.json()["accepted"], 3);

    let known = ask(&["label", "mails", "--row", "b=refund", "--row", "c=invoice"]).await;
    assert_eq!(known.stdout, "2 labels of mails: labels_by_hand version 1\n", "{}", known.stderr);
    assert_eq!(known.stderr, "");
    let near = ask(&["label", "mails", "--row", "b=refnud"]).await;
    assert!(near.status.success());
    assert_eq!(
        near.stderr,
        "label \"refnud\" is new: no row had it before; did you mean \"refund\"?\n"
    );
    // From then on it is one that a row had.
    let again = ask(&["label", "mails", "--row", "b=refnud", "--json"]).await.json();
    assert_eq!(
        (&again["warnings"], &again["version"]),
        (&serde_json::json!([]), &serde_json::json!(3))
    );
    let pairs =
        ask(&["label", "mails", "--same", "a", "b", "--different", "a", "c", "--json"]).await;
    assert_eq!(pairs.json()["rows"], 2);
    let kept = "SELECT id_a, id_b, is_duplicate FROM pairs_by_hand ORDER BY id_b";
    let kept = ask(&["sql", kept, "--format", "csv"]).await;
    assert_eq!(kept.stdout, "id_a,id_b,is_duplicate\na,b,true\na,c,false\n");

    assert!(
        ask(&["label", "mails", "--row", "z=refund"]).await.fails_with("NOT_FOUND").contains('z')
    );
    assert!(ask(&["label", "mails"]).await.fails_with("BAD_INPUT").contains("--row ID=LABEL"));
    assert_eq!(ask(&["label", "mails", "--row", "b"]).await.status.code(), Some(2));
    assert_eq!(ask(&["label", "mails", "--same", "a"]).await.status.code(), Some(2));
}

/// Needs a terminal, which `script` makes.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn who_waits_for_a_run_on_a_terminal_sees_how_far_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let rows: Vec<String> = (0..300)
        .map(|row| {
            let (label, word) = [("a", "invoice"), ("b", "parcel")][row % 2];
            format!("t{row},{word} number {row},{label}")
        })
        .collect();
    let file = folder.path().join("notes.csv");
    std::fs::write(&file, format!("id,body,label\n{}\n", rows.join("\n"))).unwrap();
    let file = file.to_str().unwrap();
    let made = colonnade(&root, &["ingest", "notes", file, "--create", "--key", "id"]).await;
    assert!(made.status.success(), "{}", made.stderr);
    let typed = format!(
        "stty cols 100; '{}' --data '{}' run triage_train --param dataset=notes --param 'text_columns=[\"body\"]' \
         --param embedder=ngram",
        binary().display(),
        root.display()
    );
    let mut command = tokio::process::Command::new("script");
    command.args(["--quiet", "--return", "--command", &typed, "/dev/null"]);
    without_settings(&mut command);
    command.env("TERM", "xterm").stdin(std::process::Stdio::null()).kill_on_drop(true);
    let shown = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.success(), "{text}");
    let drawn =
        text.split('\r').filter(|line| line.contains("triage_train") && line.contains(" %, "));
    assert!(drawn.count() > 1, "{text}");
    // At its end nothing of that is left, and the result is told.
    let last = text.rsplit('\r').find(|line| line.contains("accuracy"));
    assert!(last.is_some(), "{text}");
}
