//! Commands beside a running server: they write to its root, and it tells of what they did.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Server, Subscriber, colonnade, model_calls, ndjson};

/// Asks until the answer is as expected; how long that took.
async fn until(server: &Server, query: &str, is_so: impl Fn(&Value) -> bool) -> Duration {
    let began = Instant::now();
    loop {
        let answer = server.graphql(query, json!({})).await;
        if answer.body.get("errors").is_none() && is_so(&answer.body["data"]) {
            return began.elapsed();
        }
        assert!(began.elapsed() < PATIENCE, "{query}: {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_work_on_a_root_that_a_server_has() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let server = Server::holding(&root, "model_calls").await;
    server.accepts("model_calls", &model_calls(0, 10)).await;
    let changed = "subscription { modelCallsChanged(since: 1) { previousVersion version added { count } removed { count } } }";
    let mut subscriber = Subscriber::open(&server, "modelCallsChanged", changed).await;
    let ask = async |arguments: &[&str]| colonnade(&root, arguments).await;
    let file = folder.path().join("more.ndjson");
    std::fs::write(&file, ndjson(&model_calls(10, 5))).unwrap();
    let file = file.to_str().unwrap();

    // Rows that a command brings are pushed to who listens at the server.
    let began = Instant::now();
    assert_eq!(ask(&["ingest", "model_calls", file, "--json"]).await.json()["accepted"], 5);
    let change = subscriber.change().await;
    println!("told after {:?}, the command included", began.elapsed());
    assert_eq!((change.version, &change.body["added"]["count"]), (2, &json!("5")));
    // The server goes on behind them.
    assert_eq!(server.accepts("model_calls", &model_calls(20, 1)).await, 3);
    assert_eq!(subscriber.change().await.version, 3);
    let deleted = ask(&["delete", "model_calls", "--where", "id LIKE '%'", "--json"]).await.json();
    assert_eq!((&deleted["rows"], &deleted["version"]), (&json!(16), &json!(4)));
    assert_eq!(subscriber.change().await.body["removed"]["count"], "16");

    // A dataset that a command makes is in the schema.
    let made = ask(&["ingest", "notes", file, "--create", "--key", "id", "--json"]).await.json();
    assert_eq!(made["accepted"], 5, "{made}");
    let took =
        until(&server, "{ notes { totalCount } }", |data| data["notes"]["totalCount"] == "5");
    println!("there after {:?}", took.await);

    // A run of a command is a run of the server's, and nobody takes it for dead.
    let run = ask(&[
        "run",
        "embed",
        "--param",
        "dataset=notes",
        "--param",
        "id_column=id",
        "--param",
        "text_columns=[\"model\"]",
        "--param",
        "embedder=ngram",
        "--json",
    ])
    .await
    .json();
    assert_eq!(run["state"], "succeeded", "{run}");
    let id = run["id"].as_str().unwrap();
    let query = format!("{{ run(id: {id:?}) {{ state }} embeddings {{ totalCount }} }}");
    let took = until(&server, &query, |data| {
        data["run"]["state"] == "SUCCEEDED" && data["embeddings"]["totalCount"] == "5"
    });
    println!("done after {:?}", took.await);
    let compacted = ask(&["compact", "--json"]).await;
    assert!(compacted.status.success(), "{}", compacted.stderr);

    // Who mends is alone.
    let mending = ask(&["doctor", "--repair"]).await;
    let says = mending.fails_with("CONFLICT");
    assert!(says.starts_with("others write to this root (colonnade serve on "), "{says}");
    assert!(server.stop().await.success());
    let findings = ask(&["doctor", "--repair", "--json"]).await;
    assert!(findings.status.success(), "{}", findings.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_and_commands_that_write_the_same_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let server = Server::holding(&root, "model_calls").await;
    const EACH: u64 = 12;
    let sends = async {
        for n in 0..EACH * 4 {
            server.accepts("model_calls", &model_calls(n * 10, 10)).await;
        }
    };
    let commands = async |from: u64| {
        for n in 0..EACH {
            let file = folder.path().join(format!("{from}-{n}.ndjson"));
            std::fs::write(&file, ndjson(&model_calls(from + n * 10, 10))).unwrap();
            let loaded =
                colonnade(&root, &["ingest", "model_calls", file.to_str().unwrap(), "--json"])
                    .await;
            assert_eq!(loaded.json()["accepted"], 10);
        }
    };
    tokio::join!(sends, commands(100_000), commands(200_000));
    let expected = (EACH * 6 * 10).to_string();
    let query = "{ modelCalls { totalCount version } }";
    until(&server, query, |data| data["modelCalls"]["totalCount"] == expected.as_str()).await;
    let distinct = "SELECT count(DISTINCT id) AS n, count(*) AS m FROM model_calls";
    let counted = colonnade(&root, &["sql", distinct, "--format", "json"]).await.json();
    assert_eq!(counted, json!([{"n": EACH * 60, "m": EACH * 60}]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_change_and_datasets_go_beside_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let server = Server::holding(&root, "model_calls").await;
    server.accepts("model_calls", &model_calls(0, 10)).await;
    let changed = "subscription { modelCallsChanged(since: 0) { previousVersion version added { count nodes { model } } removed { count } } }";
    let mut named = Subscriber::open(&server, "modelCallsChanged", changed).await;
    assert_eq!(named.change().await.version, 1);
    let ask = async |arguments: &[&str]| colonnade(&root, arguments).await;

    let tried = ask(&["alter", "model_calls", "--rename", "model=model_name", "--dry-run"]).await;
    let says = "model_calls: 10 rows would be written anew; nothing was changed\n";
    assert_eq!(tried.stdout, says, "{}", tried.stderr);
    let made = ask(&["alter", "model_calls", "--rename", "model=model_name"]).await;
    let says = "model_calls: model is called model_name: 10 rows written anew as version 2; as it was before: model_calls@1\n";
    assert_eq!(made.stdout, says, "{}", made.stderr);
    // Who named the column is told that it is called otherwise, and that nothing more comes.
    let told = named.receive().await;
    let error = &told["payload"]["errors"][0];
    assert_eq!(error["extensions"]["code"], "CONFLICT", "{told}");
    assert!(
        error["message"].as_str().unwrap().contains("subscribe again, with since: 1"),
        "{told}"
    );
    assert_eq!(named.receive().await["type"], "complete");
    let query = "{ modelCalls(asOf: {version: 1}) { totalCount nodes { modelName } } }";
    let took =
        until(&server, query, |data| data["modelCalls"]["nodes"][0]["modelName"].is_string());
    println!("in the schema after {:?}", took.await);
    // Rows under the name of before are told of the names that there are.
    let rows = ndjson(&model_calls(20, 1));
    let refused = server.ingest("model_calls", "application/x-ndjson", rows).await;
    let says = refused.refused_with(409, "CONFLICT");
    assert!(says.contains("\"model\" is called \"model_name\" now"), "{says}");

    let wrong = ask(&["alter", "model_calls", "--retype", "model_name=int64"]).await;
    let says = wrong.fails_with("BAD_INPUT");
    assert!(says.contains("10 values are not int64 without loss: (id = "), "{says}");
    let both = ask(&["alter", "model_calls", "--drop", "cost", "--rename", "a=b"]).await;
    assert_eq!(both.status.code(), Some(2), "{}", both.stderr);
    assert_eq!(ask(&["alter", "model_calls"]).await.status.code(), Some(2));

    let dropped = ask(&["drop", "model_calls"]).await;
    assert!(dropped.stdout.contains("`colonnade restore model_calls` brings it back"));
    let gone = "{ droppedDatasets { name } datasets { name } }";
    until(&server, gone, |data| data["droppedDatasets"][0]["name"] == "model_calls").await;
    let rows = json!({"id": "x"}).to_string();
    let refused = server.ingest("model_calls", "application/x-ndjson", rows).await;
    assert!(refused.refused_with(409, "CONFLICT").contains("was dropped at"), "{refused:?}");
    let list = ask(&["datasets"]).await;
    assert!(
        list.stderr.contains("`colonnade restore model_calls` brings it back"),
        "{}",
        list.stderr
    );
    let back = server
        .data("mutation { restoreDataset(name: \"model_calls\") { name rows version } }")
        .await;
    assert_eq!(back["restoreDataset"], json!({"name": "model_calls", "rows": "10", "version": 4}));
    // What would be taken for it if it were made anew waits until nobody has it.
    for alone in [&["drop", "model_calls", "--purge"][..], &["rename", "model_calls", "calls"]] {
        let refused = ask(alone).await;
        assert!(refused.fails_with("CONFLICT").contains("colonnade serve"), "{}", refused.stderr);
    }
    assert_eq!(
        server.data("{ modelCalls { totalCount } }").await["modelCalls"]["totalCount"],
        "10"
    );
    assert!(server.stop().await.success());
    let purged = ask(&["drop", "model_calls", "--purge", "--json"]).await.json();
    assert!(purged["files"].as_u64().unwrap() >= 7, "{purged}");
    assert!(!ask(&["datasets"]).await.stdout.contains("model_calls"));
}
