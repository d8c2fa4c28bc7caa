//! The doors of a server: who is let in, what it says of itself, and how it leaves.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{
    Answer, Server, binary, colonnade, colonnade_with, make, model_calls, ndjson,
};

async fn get(server: &Server, path: &str) -> (u16, String) {
    let response = server
        .client
        .get(server.url(path))
        .header("Accept", "text/html, */*")
        .send()
        .await
        .unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn it_says_how_it_is() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::holding(root.path(), "model_calls").await;
    server.accepts("model_calls", &model_calls(0, 7)).await;
    assert_eq!(get(&server, "/healthz").await.0, 200);
    assert_eq!(get(&server, "/readyz").await.0, 200);
    let (status, page) = get(&server, "/").await;
    assert!(status == 200 && page.to_lowercase().contains("graphiql"), "{status} {page}");
    let (_, metrics) = get(&server, "/metrics").await;
    let counts_rows =
        |line: &str| !line.starts_with('#') && line.contains("rows") && line.ends_with(" 7");
    assert!(metrics.lines().any(counts_rows), "no counter of rows says 7:\n{metrics}");
    // A root that went away is not ready, and alive all the same.
    let away = root.path().with_extension("away");
    std::fs::rename(root.path(), &away).unwrap();
    std::fs::write(root.path(), "a file where the folder was").unwrap();
    let (status, body) = get(&server, "/readyz").await;
    assert_eq!(status, 503, "{body}");
    assert_eq!(get(&server, "/healthz").await.0, 200);
    std::fs::remove_file(root.path()).unwrap();
    std::fs::rename(&away, root.path()).unwrap();
    assert_eq!(get(&server, "/readyz").await.0, 200);
}

#[tokio::test]
async fn with_a_key_set_up_nobody_comes_in_without_it() {
    const KEY: &str = "a-key-of-this-test-0123456789";
    let root = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command.arg("--data").arg(root.path()).args(["serve", "--listen", "127.0.0.1:0"]);
    command.env("COLONNADE_API_KEY", KEY);
    let server = Server::of(command).await.unwrap();
    let query = || {
        server
            .client
            .post(server.url("/graphql"))
            .header("content-type", "application/json")
            .body(json!({"query": "{ datasets { name } }"}).to_string())
    };
    let answer = Answer::of(query().send().await.unwrap()).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    assert!(answer.body.to_string().contains("UNAUTHENTICATED"), "{answer:?}");
    let answer =
        server.ingest("model_calls", "application/x-ndjson", ndjson(&model_calls(0, 1))).await;
    answer.refused_with(401, "UNAUTHENTICATED");
    let answer =
        Answer::of(query().bearer_auth("another-key-altogether-0123").send().await.unwrap()).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    let answer = Answer::of(query().bearer_auth(KEY).send().await.unwrap()).await;
    assert!(answer.status == 200 && answer.body.get("errors").is_none(), "{answer:?}");
    assert!(!server.log().contains(KEY), "the key is in the log");
    assert_eq!(get(&server, "/healthz").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asked_to_stop_it_finishes_what_it_has_taken() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::holding(root.path(), "model_calls").await;
    let (client, url) = (server.client.clone(), server.url("/v1/ingest/model_calls"));
    let load = tokio::spawn(async move {
        let mut acknowledged = 0;
        loop {
            let request = client.post(&url).header("Content-Type", "application/x-ndjson");
            let sent = request.body(ndjson(&model_calls(acknowledged, 100))).send().await;
            match sent {
                Ok(response) if response.status().is_success() => acknowledged += 100,
                // Stopping, it takes no more.
                _ => return acknowledged,
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(server.stop().await.success());
    let acknowledged = load.await.unwrap();
    let query = [
        "sql",
        "SELECT count(*) AS n, count(DISTINCT id) AS d FROM model_calls",
        "--format",
        "json",
    ];
    let counted = colonnade(root.path(), &query).await.json();
    let (rows, distinct) = (counted[0]["n"].as_u64().unwrap(), counted[0]["d"].as_u64().unwrap());
    assert!(
        rows >= acknowledged && rows - acknowledged <= 100,
        "{rows} rows, {acknowledged} acknowledged"
    );
    assert_eq!(rows, distinct);
}

#[tokio::test]
async fn the_settings_in_force_are_shown_with_their_origin_and_without_secrets() {
    let variables = [
        ("AWS_SECRET_ACCESS_KEY", "hush-hush"),
        ("COLONNADE_API_KEY", "a-key-of-this-test-0123456789"),
    ];
    let shown = colonnade_with("/tmp/of-a-flag", &["config", "--json"], &variables).await;
    let text = shown.json().to_string();
    for (_, secret) in variables {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(text.contains("--data") && text.contains("/tmp/of-a-flag"), "{text}");
}

#[tokio::test]
async fn the_schema_of_the_command_line_is_the_one_that_is_served() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::holding(root.path(), "model_calls").await;
    server.accepts("model_calls", &model_calls(0, 1)).await;
    let sdl = colonnade(root.path(), &["schema"]).await;
    assert!(sdl.status.success(), "{}", sdl.stderr);
    let data = server.data("{ __type(name: \"Query\") { fields { name } } }").await;
    let fields = data["__type"]["fields"].as_array().unwrap();
    let names: Vec<&str> = fields.iter().filter_map(|field| field["name"].as_str()).collect();
    assert!(names.contains(&"modelCalls") && names.contains(&"runs"), "{names:?}");
    for name in names {
        let is_field = |line: &str| {
            line.trim_start().starts_with(&format!("{name}("))
                || line.trim_start().starts_with(&format!("{name}:"))
        };
        assert!(sdl.stdout.lines().any(is_field), "{name} is not in the schema that was printed");
    }
}

#[tokio::test]
async fn devices_are_listed_and_a_required_one_that_is_not_there_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let devices = colonnade(root.path(), &["devices", "--json"]).await.json();
    let all = devices["devices"].as_array().unwrap();
    assert_eq!(all[0]["device"], "cpu", "{devices}");
    assert!(devices["operations"].as_array().unwrap().len() > 1, "{devices}");
    if devices["cudaAbsent"].is_string() {
        let outcome = colonnade(root.path(), &["run", "correlate", "--gpu", "required"]).await;
        outcome.fails_with("DEVICE_UNAVAILABLE");
    }
    let version = colonnade(root.path(), &["--version"]).await.stdout;
    let lines: Vec<&str> = version.lines().collect();
    let commit = lines[1].strip_prefix("commit: ").unwrap();
    let profile = lines.iter().find_map(|line| line.strip_prefix("profile: ")).unwrap();
    assert!(!commit.is_empty() && !profile.is_empty(), "{version}");
    // A binary that was given may be of another day and place.
    if std::env::var_os("COLONNADE_BINARY").is_none() {
        if let Some(last) = last_commit().await {
            assert_eq!(commit, last);
        }
        let binary = binary();
        let folder = binary.parent().and_then(Path::file_name).unwrap();
        assert_eq!(profile, if folder == "debug" { "dev".as_ref() } else { folder });
    }
    assert!(lines[2].contains("+cloud"), "{version}");
    let has_encoders = lines[2].contains("+cuda-encoders");
    match devices["cudaEncodersAbsent"].as_str() {
        Some(says) => assert!(!has_encoders && says.contains("--features cuda-encoders"), "{says}"),
        None => assert!(has_encoders, "{version}"),
    }
    let tested = colonnade(root.path(), &["devices", "--self-test", "--json"]).await.json();
    for test in tested["selfTest"].as_array().unwrap() {
        assert!(test["error"].is_null(), "{test}");
    }
}

/// The commit of these sources, where git tells this user of them, and not of a repository around them.
async fn last_commit() -> Option<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let git = async |what: &[&str]| {
        let output = Command::new("git").arg("rev-parse").args(what).current_dir(here).output();
        let output = output.await.ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let top = Path::new(&git(&["--show-toplevel"]).await?).canonicalize().ok()?;
    // The tests are a folder of the sources.
    let is_ours = here.parent()?.canonicalize().ok()? == top;
    if is_ours { git(&["--short=12", "HEAD"]).await } else { None }
}

#[tokio::test]
async fn the_log_is_json_where_it_is_asked_for() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), "model_calls").await;
    let server = Server::start_with(root.path(), &["--log-format", "json", "--log", "info"]).await;
    server.accepts("model_calls", &model_calls(0, 1)).await;
    server.data("{ datasets { name } }").await;
    let log = server.log();
    let lines = log.lines().filter(|line| !line.starts_with("listening on "));
    let parsed: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert!(!parsed.is_empty(), "nothing was logged");
}
