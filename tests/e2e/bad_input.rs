//! What a user gets for what can't work: the right code, what was expected, what was found, where.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::harness::{
    PATIENCE, Server, binary, colonnade, colonnade_with, make, model_calls, ndjson,
};

const NDJSON: &str = "application/x-ndjson";

/// A server with ten model calls.
async fn served(root: &Path) -> (Server, u64) {
    let server = Server::holding(root, "model_calls").await;
    let version = server.accepts("model_calls", &model_calls(0, 10)).await;
    (server, version)
}

/// Asserts that a message says all of these.
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "expected {part:?} in: {message}");
    }
}

async fn holds_ten(server: &Server, version: u64) {
    let data = server.data("{ modelCalls(first: 1) { version totalCount } }").await;
    let found =
        (data["modelCalls"]["version"].to_string(), data["modelCalls"]["totalCount"].to_string());
    let unquoted = |text: &str| text.trim_matches('"').to_owned();
    assert_eq!((unquoted(&found.0), unquoted(&found.1)), (version.to_string(), "10".to_owned()));
}

#[tokio::test]
async fn an_unknown_dataset_is_named() {
    let root = tempfile::tempdir().unwrap();
    let (server, _) = served(root.path()).await;
    let answer = server.ingest("no_such_thing", NDJSON, "{\"a\": 1}\n").await;
    says(answer.refused_with(404, "NOT_FOUND"), &["no_such_thing"]);
    let answer = server.ingest("No-Such_Name!", NDJSON, "{}\n").await;
    says(answer.refused_with(400, "BAD_INPUT"), &["No-Such_Name!"]);
    let answer = server.graphql("{ noSuchThing { totalCount } }", json!({})).await;
    says(answer.body["errors"][0]["message"].as_str().unwrap(), &["noSuchThing"]);

    let answer = colonnade(root.path(), &["sql", "SELECT * FROM no_such_thing"]).await;
    says(answer.fails_with("NOT_FOUND"), &["no_such_thing"]);
    assert!(server.stop().await.success());
    let empty = root.path().join("empty.csv");
    std::fs::write(&empty, "a\n1\n").unwrap();
    let answer =
        colonnade(root.path(), &["ingest", "no_such_thing", empty.to_str().unwrap()]).await;
    says(answer.fails_with("NOT_FOUND"), &["no_such_thing", "--create"]);
}

#[tokio::test]
async fn an_unknown_column_is_named() {
    let root = tempfile::tempdir().unwrap();
    let (server, version) = served(root.path()).await;
    let answer = server.graphql("{ modelCalls { nodes { id colour } } }", json!({})).await;
    says(answer.body["errors"][0]["message"].as_str().unwrap(), &["colour"]);
    let answer =
        server.graphql("{ modelCalls(where: {colour: {eq: 1}}) { totalCount } }", json!({})).await;
    says(answer.body["errors"][0]["message"].as_str().unwrap(), &["colour"]);
    let answer = colonnade(root.path(), &["sql", "SELECT colour FROM model_calls"]).await;
    says(answer.fails_with("BAD_INPUT"), &["colour"]);
    // A missing column that must be there, in a format whose columns are known before its rows.
    let answer = server.ingest("model_calls", "text/csv", "id,model\na,b\n").await;
    says(answer.refused_with(400, "BAD_INPUT"), &["at"]);
    holds_ten(&server, version).await;
}

#[tokio::test]
async fn a_value_of_another_type_goes_to_quarantine_with_its_place() {
    let root = tempfile::tempdir().unwrap();
    let (server, _) = served(root.path()).await;
    let mut rows = model_calls(10, 3);
    rows[1]["input_tokens"] = json!("a lot");
    let answer = server.ingest("model_calls", NDJSON, ndjson(&rows)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!((&answer.body["accepted"], &answer.body["quarantined"]), (&json!(2), &json!(1)));
    let query = "SELECT * FROM model_calls_quarantine";
    let kept = colonnade(root.path(), &["sql", query, "--format", "json"]).await.json();
    assert_eq!(kept.as_array().map(Vec::len), Some(1), "{kept}");
    says(&kept[0].to_string(), &["input_tokens", "a lot", "call-000000000011", "int"]);
}

#[tokio::test]
async fn a_column_of_another_type_is_refused_with_both_types() {
    let root = tempfile::tempdir().unwrap();
    let (server, version) = served(root.path()).await;
    // Arrow says its types before its rows: here `id` is a struct.
    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StructArray};
    let inner: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let nested: ArrayRef = Arc::new(StructArray::try_from(vec![("part", inner)]).unwrap());
    let batch = RecordBatch::try_from_iter([("id", nested)]).unwrap();
    let mut writer =
        arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    let body = writer.into_inner().unwrap();
    let answer = server.ingest("model_calls", "application/vnd.apache.arrow.stream", body).await;
    says(answer.refused_with(400, "BAD_INPUT"), &["id", "text", "struct"]);
    let filter = "{ modelCalls(where: {inputTokens: {eq: \"many\"}}) { totalCount } }";
    let answer = server.graphql(filter, json!({})).await;
    says(answer.body["errors"][0]["message"].as_str().unwrap(), &["many"]);
    holds_ten(&server, version).await;
}

#[tokio::test]
async fn a_malformed_body_is_refused_with_line_and_column() {
    let root = tempfile::tempdir().unwrap();
    let (server, version) = served(root.path()).await;
    let good = ndjson(&model_calls(20, 2));
    let body = format!("{good}{{\"id\": \"x\", \"at\": }}\n");
    let answer = server.ingest("model_calls", NDJSON, body).await;
    if answer.status == 200 {
        // One bad line is one bad row: the rest is taken, and the row is kept with its place.
        assert_eq!((&answer.body["accepted"], &answer.body["quarantined"]), (&json!(2), &json!(1)));
        let query = "SELECT * FROM model_calls_quarantine";
        let kept = colonnade(root.path(), &["sql", query, "--format", "json"]).await.json();
        says(&kept[0].to_string(), &["3", "column 19"]);
    } else {
        says(answer.refused_with(400, "BAD_INPUT"), &["body:3", "column"]);
        holds_ten(&server, version).await;
    }
    for (content_type, body) in [
        ("application/vnd.apache.arrow.stream", "not arrow at all"),
        ("application/vnd.apache.parquet", "PAR1 and then nothing of the kind PAR1"),
    ] {
        let answer = server.ingest("model_calls", content_type, body).await;
        says(answer.refused_with(400, "BAD_INPUT"), &["body"]);
    }
    let answer = server.ingest("model_calls", "image/png", "?").await;
    says(answer.refused_with(415, "BAD_INPUT"), &["image/png", "application/x-ndjson"]);
    let answer = server.graphql("{ modelCalls { nodes { id } ", json!({})).await;
    let error = &answer.body["errors"][0];
    assert!(
        error["locations"][0]["line"].is_u64() && error["locations"][0]["column"].is_u64(),
        "{answer:?}"
    );
    let answer = colonnade(root.path(), &["sql", "SELECT id\nFROM model_calls WHERE )"]).await;
    says(&answer.fails_with("BAD_INPUT").to_lowercase(), &["line: 2", "column: 24"]);
}

#[tokio::test]
async fn a_truncated_upload_commits_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (server, version) = served(root.path()).await;
    let body = ndjson(&model_calls(30, 100));
    let head =
        "POST /v1/ingest/model_calls HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\n";
    let known = format!("{head}Content-Length: {}\r\n\r\n{}", body.len(), &body[..body.len() / 2]);
    // Whole lines, so that only the missing end can give it away.
    let lines = &body[..body.lines().take(50).map(|line| line.len() + 1).sum()];
    let chunked =
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{lines}\r\n", lines.len());
    for request in [known, chunked] {
        let mut socket = TcpStream::connect(&server.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut answer = String::new();
        let read = tokio::time::timeout(PATIENCE, socket.read_to_string(&mut answer)).await;
        assert!(read.is_ok(), "the server waits for ever");
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
        holds_ten(&server, version).await;
    }
    server.is_alive().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_the_limit() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), "model_calls").await;
    let mut command = Command::new(binary());
    command.arg("--data").arg(root.path()).args(["serve", "--listen", "127.0.0.1:0"]);
    let server = Server::of({
        command.env("COLONNADE_BODY_LIMIT", "16KiB");
        command
    });
    let server = server.await.unwrap();
    let version = server.accepts("model_calls", &model_calls(0, 10)).await;
    let answer = server.ingest("model_calls", NDJSON, ndjson(&model_calls(10, 500))).await;
    says(answer.refused_with(413, "LIMIT_EXCEEDED"), &["16384"]);
    // A length that is not told beforehand is counted as it comes.
    let chunks = (0..50).map(|n| Ok::<_, std::io::Error>(ndjson(&model_calls(10 + n * 10, 10))));
    let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    let answer = server.ingest("model_calls", NDJSON, body).await;
    says(answer.refused_with(413, "LIMIT_EXCEEDED"), &["16384"]);
    holds_ten(&server, version).await;
}

#[tokio::test]
async fn a_version_that_does_not_exist_is_told_with_the_range_that_does() {
    let root = tempfile::tempdir().unwrap();
    let (server, version) = served(root.path()).await;
    let query = "{ modelCalls(asOf: {version: 4711}) { totalCount } }";
    let answer = server.graphql(query, json!({})).await;
    says(answer.error_with("NOT_FOUND"), &["4711", "0", &version.to_string()]);
    let pin = ["sql", "SELECT count(*) FROM model_calls", "--as-of", "model_calls@4711"];
    let answer = colonnade(root.path(), &pin).await;
    says(answer.fails_with("NOT_FOUND"), &["4711", "0", &version.to_string()]);
    let before =
        ["sql", "SELECT 1 FROM model_calls", "--as-of", "model_calls@1999-01-01T00:00:00Z"];
    says(colonnade(root.path(), &before).await.fails_with("NOT_FOUND"), &["1999"]);
}

#[tokio::test]
async fn a_sequence_with_a_gap_is_refused_with_the_one_expected() {
    let root = tempfile::tempdir().unwrap();
    let (server, _) = served(root.path()).await;
    let send = async |sequence: u64, first: u64| {
        let request = server.client.post(server.url("/v1/ingest/model_calls"));
        let request = request.header("Content-Type", NDJSON).header("Producer", "p");
        let request = request.header("Sequence", sequence).body(ndjson(&model_calls(first, 5)));
        crate::harness::Answer::of(request.send().await.unwrap()).await
    };
    assert_eq!(send(7, 100).await.body["duplicate"], false);
    assert_eq!(send(7, 100).await.body["duplicate"], true);
    assert_eq!(send(8, 105).await.body["duplicate"], false);
    says(send(10, 110).await.refused_with(409, "CONFLICT"), &["9", "10"]);
    let data = server.data("{ modelCalls(first: 1) { totalCount } }").await;
    assert_eq!(data["modelCalls"]["totalCount"].to_string().trim_matches('"'), "20");
}

#[tokio::test]
async fn a_root_that_cannot_be_reached_is_told_with_the_operation() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let below = file.join("data");
    let answer = colonnade(&below, &["datasets"]).await;
    says(answer.fails_with("STORAGE_UNAVAILABLE"), &["root", "file"]);
    // Nobody listens on port 1 of loopback.
    let variables = [
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "key-of-the-test"),
        ("AWS_SECRET_ACCESS_KEY", "secret-of-the-test"),
    ];
    let began = std::time::Instant::now();
    let answer = colonnade_with("s3://bucket/prefix", &["datasets"], &variables).await;
    says(answer.fails_with("STORAGE_UNAVAILABLE"), &["listing the root"]);
    assert!(!answer.stderr.contains("of-the-test"), "a credential: {}", answer.stderr);
    assert!(began.elapsed() < Duration::from_secs(60), "it took {:?}", began.elapsed());
    says(
        colonnade_with("ftp://host/data", &["datasets"], &[]).await.fails_with("BAD_INPUT"),
        &["ftp", "s3:"],
    );
}

#[tokio::test]
async fn who_must_be_alone_on_a_root_is_told_who_is_there() {
    let root = tempfile::tempdir().unwrap();
    let (server, _) = served(root.path()).await;
    let second = Server::start(root.path()).await;
    let [first, other] = [&server, &second].map(|server| format!("process {}", server.pid()));
    let repair = async || colonnade(root.path(), &["doctor", "--repair"]).await;
    says(repair().await.fails_with("CONFLICT"), &["serve", &first, &other]);
    assert!(second.stop().await.success());
    let refused = repair().await;
    says(refused.fails_with("CONFLICT"), &["serve", &first]);
    assert!(!refused.stderr.contains(&other), "{}", refused.stderr);
    // Reading needs no right to write.
    let query = ["sql", "SELECT count(*) AS n FROM model_calls", "--format", "json"];
    assert_eq!(colonnade(root.path(), &query).await.json()[0]["n"], 10);
    server.kill().await;
    // What it had does not outlive it.
    let repaired = repair().await;
    assert!(repaired.status.success(), "{}", repaired.stderr);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (server, _) = served(one.path()).await;
    let answer = colonnade(two.path(), &["serve", "--listen", &server.address]).await;
    says(answer.fails_with("CONFLICT"), &[&server.address]);
    // Without a key set up it serves nobody but this machine.
    let answer = colonnade(two.path(), &["serve", "--listen", "0.0.0.0:0"]).await;
    says(answer.fails_with("FORBIDDEN"), &["0.0.0.0", "key"]);
}

#[tokio::test]
async fn wrong_usage_is_told_apart_from_failure_and_json_stays_one_document() {
    let root = tempfile::tempdir().unwrap();
    for wrong in [&["no-such-command"][..], &["ingest"], &["demo", "--rows", "many"]] {
        let answer = colonnade(root.path(), wrong).await;
        assert_eq!(answer.status.code(), Some(2), "{wrong:?}: {}", answer.stderr);
    }
    let answer = colonnade(root.path(), &["run", "no_such_job", "--json"]).await;
    says(answer.fails_with("NOT_FOUND"), &["no_such_job", "anomalies", "correlate"]);
    assert_eq!(answer.document()["error"]["code"], "NOT_FOUND");
    let answer =
        colonnade(root.path(), &["run", "correlate", "--param", "colour=7", "--json"]).await;
    says(answer.fails_with("BAD_INPUT"), &["colour"]);
    assert_eq!(answer.document()["error"]["code"], "BAD_INPUT");
    let answer =
        colonnade(root.path(), &["ingest", "metrics", "/no/such/file.csv", "--json"]).await;
    says(answer.fails_with("NOT_FOUND"), &["file.csv"]);
    assert_eq!(answer.document()["error"]["code"], "NOT_FOUND");
    let answer = colonnade(root.path(), &["--tenant", "Not A Tenant", "datasets"]).await;
    says(answer.fails_with("BAD_INPUT"), &["tenant"]);
}

#[tokio::test]
async fn what_changes_data_is_no_query() {
    let root = tempfile::tempdir().unwrap();
    let (server, version) = served(root.path()).await;
    for statement in [
        "DROP TABLE model_calls",
        "INSERT INTO model_calls SELECT * FROM model_calls",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "SET datafusion.execution.batch_size = 1",
    ] {
        colonnade(root.path(), &["sql", statement]).await.fails_with("BAD_INPUT");
    }
    holds_ten(&server, version).await;
}

/// Texts that a file says once for all of its rows.
fn one_text_for_all(rows: usize, text_bytes: usize) -> Vec<u8> {
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(text_bytes)]));
    let keys = Int32Array::from(vec![0; rows]);
    let texts: ArrayRef = Arc::new(DictionaryArray::try_new(keys, texts).unwrap());
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..i64::try_from(rows).unwrap()));
    let batch = RecordBatch::try_from_iter([("id", ids), ("s", texts)]).unwrap();
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    file
}

#[tokio::test]
async fn few_bytes_that_stand_for_many_are_refused_and_take_little_memory() {
    const MOST: u64 = 2_500 << 20;
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path()).await;
    let spec = json!({"name": "mini", "columns": [
        {"name": "id", "type": "int64", "nullable": false}, {"name": "s", "type": "text"}]});
    let create = "mutation($spec: JSON!) { createDataset(spec: $spec) { name } }";
    let created = server.graphql(create, json!({ "spec": spec })).await;
    assert_eq!(created.body["data"]["createDataset"]["name"], "mini", "{created:?}");
    let before = server.peak_memory_bytes();
    // Eight gigabytes of text in a file of a megabyte, and rows that take a hundred times their bytes once they are rejected.
    let texts = one_text_for_all(8_000, 1_000_000);
    assert!(texts.len() < 2_000_000);
    let answer = server.ingest("mini", "application/vnd.apache.parquet", texts).await;
    says(answer.refused_with(413, "LIMIT_EXCEEDED"), &["at most 512 MiB in memory", "fewer"]);
    let answer = server.ingest("mini", NDJSON, "{}\n".repeat(4_000_000)).await;
    says(
        answer.refused_with(413, "LIMIT_EXCEEDED"),
        &["at most 512 MiB in memory", "0 rows that fit"],
    );
    let peak = server.peak_memory_bytes();
    assert!(peak < MOST, "{} MiB before, {} MiB since", before >> 20, peak >> 20);
    println!("{} MiB before, {} MiB since", before >> 20, peak >> 20);
    // What is less is taken.
    let answer = server
        .ingest("mini", "application/vnd.apache.parquet", one_text_for_all(100, 100_000))
        .await;
    assert_eq!((answer.status, &answer.body["accepted"]), (200, &json!(100)), "{answer:?}");
    server.is_alive().await;
}
