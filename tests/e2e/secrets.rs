//! Secrets in the environment: a server uses them, but the programs that it runs cannot read them
//! there.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;
use tokio::process::Command;

use crate::harness::{Server, binary, make, without_settings};

const KEY: &str = "an-api-key-that-nobody-must-see-0123456789";
const OTHER: &str = "another-secret-of-the-environment";

fn program(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    let path = folder.join("spy");
    let text = "#!/bin/sh\ntr '\\0' '\\n' < /proc/$PPID/environ >&2\necho end >&2\nexec cat\n";
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn a_program_finds_no_secret_in_the_environment_of_its_server() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    program(&folder.path().join("programs"));
    make(&root, "metrics").await;
    let mut command = Command::new(binary());
    command.arg("--data").arg(&root).args(["serve", "--listen", "127.0.0.1:0"]);
    without_settings(&mut command);
    command
        .env("COLONNADE_PROGRAMS", folder.path().join("programs"))
        .env("COLONNADE_API_KEY", KEY)
        .env("AWS_SECRET_ACCESS_KEY", OTHER)
        .env("DATABASE_URL", format!("postgres://user:{OTHER}@db/x"))
        .env("COLONNADE_LOG", "info");
    let server = Server::of(command).await.unwrap();
    let environment = std::fs::read(format!("/proc/{}/environ", server.pid())).unwrap();
    let environment = String::from_utf8_lossy(&environment).replace('\0', "\n");
    assert!(!environment.contains(KEY) && !environment.contains(OTHER), "{environment}");
    assert!(environment.contains("COLONNADE_LOG=info"), "{environment}");

    // The server uses the key.
    let run = |key: Option<&'static str>| {
        let query = "mutation($params: JSON) { runJob(job: \"exec\", wait: true, params: $params) \
                     { state summary error { message } } }";
        let columns = json!([
            {"name": "series", "type": "text"}, {"name": "at", "type": "timestamp"},
            {"name": "value", "type": "float64", "nullable": true},
            {"name": "tags", "type": "json", "nullable": true},
            {"name": "at_month", "type": "date", "nullable": true},
        ]);
        let params = json!({
            "program": "spy", "dataset": "metrics", "output": "made", "output_columns": columns,
        });
        let body = json!({ "query": query, "variables": { "params": params } });
        let request = server.client.post(server.url("/graphql"));
        let request = request.header("content-type", "application/json").body(body.to_string());
        match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    };
    assert_eq!(run(None).send().await.unwrap().status(), 401);
    let answer = run(Some(KEY)).send().await.unwrap().bytes().await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    let run = &answer["data"]["runJob"];
    assert_eq!(run["state"], "SUCCEEDED", "{answer}");
    let says = run["summary"]["says"].as_str().unwrap_or_default();
    assert!(says.contains("end"), "{answer}");
    assert!(!says.contains(KEY) && !says.contains(OTHER), "{answer}");
}
