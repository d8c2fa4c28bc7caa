//! Runs of several outputs whose server is killed while it commits them: nobody ever sees some of a run's results and not the others.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::Rng as _;
use serde_json::{Value, json};

use crate::harness::{Server, make, random as seeded};

const OUTPUTS: [&str; 3] = ["close_pairs", "close_clusters", "close_index"];
const END_TIME_MAX: Duration = Duration::from_secs(120);

async fn ask(server: &Server, number: usize) -> bool {
    let query = "mutation($params: JSON) { runJob(job: \"duplicates\", params: $params) { id } }";
    let params = json!({
        "dataset": "tickets",
        "min_similarity": 0.5 + number as f64 / 100_000.0,
        "pairs_output": OUTPUTS[0], "clusters_output": OUTPUTS[1], "index_output": OUTPUTS[2],
    });
    let asked = server.graphql(query, json!({ "params": params })).await;
    assert!(asked.body.get("errors").is_none(), "{asked:?}");
    asked.body["data"]["runJob"]["id"].is_string()
}

/// The runs that committed to each output, with how often.
async fn effects(server: &Server) -> Vec<BTreeMap<String, usize>> {
    let mut effects = Vec::new();
    for output in OUTPUTS {
        let query =
            format!("{{ dataset(name: \"{output}\") {{ versions(first: 1000) {{ runId }} }} }}");
        let mut of_output = BTreeMap::new();
        for version in server.data(&query).await["dataset"]["versions"].as_array().unwrap() {
            if let Some(run) = version["runId"].as_str() {
                *of_output.entry(run.to_owned()).or_default() += 1;
            }
        }
        effects.push(of_output);
    }
    effects
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_of_several_outputs_are_never_half_published() {
    let kills: usize = match std::env::var("COLONNADE_KILLS") {
        Ok(kills) => kills.parse().unwrap(),
        Err(_) => 6,
    };
    let mut random = seeded();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    make(&root, "tickets").await;
    let mut server = Server::start(&root).await;
    let row = |n: u64| {
        json!({
            "id": format!("t{n}"), "at": "2026-01-01T00:00:00Z", "channel": "email",
            "subject": format!("printer number {} is on fire", n / 2),
            "body": format!("the printer in room {} burns since this morning, please help", n / 2),
        })
    };
    server.accepts("tickets", &(0..60).map(row).collect::<Vec<_>>()).await;
    server.run_job("duplicates", json!({
        "pairs_output": OUTPUTS[0], "clusters_output": OUTPUTS[1], "index_output": OUTPUTS[2],
    })).await;

    let (mut number, mut decided, mut looks) = (0, 0, 0);
    for _ in 0..kills {
        for _ in 0..2 {
            assert!(ask(&server, number).await);
            number += 1;
        }
        // Whoever asks meanwhile sees the same run's pairs and clusters: each run makes one version of both.
        let until = Instant::now() + Duration::from_millis(random.random_range(0..1_000));
        while Instant::now() < until {
            let seen = server.data("{ closePairs { version } closeClusters { version } }").await;
            assert_eq!(seen["closePairs"]["version"], seen["closeClusters"]["version"], "{seen}");
            looks += 1;
        }
        server.kill().await;
        let records = std::fs::read_dir(root.join("default/_publications"));
        decided += records.map_or(0, Iterator::count);
        server = Server::start(&root).await;
        let seen = server.data("{ closePairs { version } closeClusters { version } }").await;
        assert_eq!(seen["closePairs"]["version"], seen["closeClusters"]["version"], "{seen}");
    }
    let begun = Instant::now();
    let runs = loop {
        let list = "{ runs(first: 1000, job: \"duplicates\") { id state error { message } outputs { dataset } } }";
        let runs = server.data(list).await["runs"].as_array().unwrap().clone();
        if runs.iter().all(|run| !["QUEUED", "RUNNING"].contains(&run["state"].as_str().unwrap())) {
            break runs;
        }
        assert!(begun.elapsed() < END_TIME_MAX, "stuck: {runs:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(runs.len(), number + 1);
    // A run that lost five processes is given up, and then nothing of it is there. On a busy
    // machine this can happen to one of a few runs.
    let is_given_up = |run: &&Value| {
        run["state"] == "FAILED"
            && run["error"]["message"].as_str().is_some_and(|says| says.starts_with("interrupted"))
    };
    for run in runs.iter().filter(is_given_up) {
        let message = run["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("ended before the run did, 5 times"), "{run}");
    }
    let given_up = runs.iter().filter(is_given_up).count();
    let most = (runs.len() / 20).max(1);
    assert!(given_up <= most, "{given_up} of {} runs were given up", runs.len());
    let done: Vec<&Value> = runs.iter().filter(|run| !is_given_up(run)).collect();
    for run in &done {
        assert_eq!(run["state"], "SUCCEEDED", "{run}");
        assert_eq!(run["outputs"].as_array().map(Vec::len), Some(3), "{run}");
    }
    let expected: BTreeMap<String, usize> =
        done.iter().map(|run| (run["id"].as_str().unwrap().to_owned(), 1)).collect();
    for (output, of_output) in OUTPUTS.iter().zip(effects(&server).await) {
        assert_eq!(of_output, expected, "{output}");
    }
    let left = std::fs::read_dir(root.join("default/_publications")).into_iter().flatten();
    let left = left.map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
    // One that was cut off before it had its name decided nothing.
    let left: Vec<String> = left.filter(|name| !name.contains('#')).collect();
    assert_eq!(left, Vec::<String>::new(), "decided, and not done");
    println!(
        "{} runs of three outputs, {kills} kills, {given_up} given up, {decided} of the kills between the decision and its end, {looks} looks: none half",
        runs.len()
    );
}
