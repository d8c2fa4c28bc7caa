//! Runs whose server is killed while they wait and work: each that was taken ends, and has one effect.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::Rng as _;
use serde_json::{Value, json};

use super::workers::given_up_and_done;
use crate::harness::{Server, make, random as seeded};

/// Outputs that the runs take turns at.
const OUTPUTS: usize = 4;
/// Runs that are asked for between two kills.
const RUNS: usize = 6;

/// Asks for a run that nobody asked for before. None where the server went meanwhile.
async fn ask(server: &Server, number: usize) -> Option<String> {
    let query = "mutation($params: JSON) { runJob(job: \"anomalies\", params: $params) { id } }";
    let output = format!("found_{}", number % OUTPUTS);
    let params = json!({"threshold": 5.0 + number as f64 / 1000.0, "output": output});
    let asked = server.graphql(query, json!({ "params": params })).await;
    assert!(asked.body.get("errors").is_none(), "{asked:?}");
    asked.body["data"]["runJob"]["id"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_run_has_one_effect_when_the_server_is_killed() {
    let kills: usize = match std::env::var("COLONNADE_KILLS") {
        Ok(kills) => kills.parse().unwrap(),
        Err(_) => 8,
    };
    let mut random = seeded();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    make(&root, "metrics").await;
    let mut server = Server::start(&root).await;
    let row = |n: i64| {
        let value = if n == 40 { 90.0 } else { 50.0 + (n % 7) as f64 };
        let at = format!("2026-01-01T{:02}:{:02}:00Z", n / 12, n % 12 * 5);
        json!({"series": "a", "at": at, "value": value})
    };
    let rows: Vec<Value> = (0..100).map(row).collect();
    server.accepts("metrics", &rows).await;

    let mut taken = BTreeSet::new();
    let mut number = 0;
    for _ in 0..kills {
        for _ in 0..RUNS {
            taken.extend(ask(&server, number).await);
            number += 1;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..600))).await;
        server.kill().await;
        server = Server::start(&root).await;
    }
    let most = taken.len() / 20;
    let given_up = given_up_and_done(&server, &mut taken, most).await;
    let list = "{ runs(first: 1000) { id state error { message } outputs { dataset } } }";
    let runs = server.data(list).await["runs"].as_array().unwrap().clone();
    let listed: BTreeSet<String> =
        runs.iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(listed, taken, "a run that was taken is lost, or one came that nobody asked for");
    let mut effects: BTreeMap<String, usize> = BTreeMap::new();
    for output in 0..OUTPUTS {
        let query = format!(
            "{{ dataset(name: \"found_{output}\") {{ versions(first: 1000) {{ runId }} }} }}"
        );
        for version in server.data(&query).await["dataset"]["versions"].as_array().unwrap() {
            if let Some(run) = version["runId"].as_str() {
                *effects.entry(run.to_owned()).or_default() += 1;
            }
        }
    }
    for run in &runs {
        let id = run["id"].as_str().unwrap();
        let effect = (run["state"] == "SUCCEEDED").then_some(1);
        assert_eq!(effect.is_none(), given_up.contains(id), "{run}");
        assert_eq!(effects.remove(id), effect, "effects of {run}");
        let outputs = run["outputs"].as_array().map(Vec::len);
        assert_eq!(outputs, Some(effect.unwrap_or_default()), "{run}");
    }
    assert!(effects.is_empty(), "effects of nobody: {effects:?}");
    println!("{} runs, {kills} kills: each has one effect", runs.len());
    // The dataset has each once, too.
    server.stop().await;
    let server = Server::start(&root).await;
    let rows = server.data("{ datasets { name rows } runs(first: 1) { id } }").await;
    let dataset = rows["datasets"].as_array().unwrap().iter().find(|of| of["name"] == "runs");
    assert_eq!(dataset.unwrap()["rows"], json!(runs.len().to_string()));
}
