//! Several servers and workers on one root: each tells of what all commit, and runs go where somebody works.
//!
//! `make test-cloud-workers` does the same on an emulated S3 store.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::Rng as _;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{
    Change, Outcome, PATIENCE, Postgres, Server, Subscriber, Worker, binary, colonnade,
    colonnade_with, make, model_calls, ndjson, random, without_settings,
};

/// How soon a server tells of what another committed: most often, and ever, since the machine may be busy.
const TOLD_TIME: Duration = Duration::from_secs(1);
const TOLD_TIME_MAX: Duration = Duration::from_secs(5);

/// A root, and what a process needs to know of it.
struct Place {
    root: String,
    variables: Vec<(&'static str, String)>,
}

impl Place {
    fn local(folder: &Path) -> Self {
        Self { root: folder.join("data").to_str().unwrap().to_owned(), variables: Vec::new() }
    }

    /// In the store at this URL, with control state in `control`.
    fn store(url: &str, control: &str) -> Self {
        let mut random = random();
        let variables = vec![
            ("AWS_ENDPOINT_URL", url.to_owned()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "emulated".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "emulated".to_owned()),
            ("COLONNADE_CONTROL", control.to_owned()),
        ];
        Self { root: format!("s3://bucket/several-{}", random.random::<u32>()), variables }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg("--data").arg(&self.root).args(arguments);
        without_settings(&mut command);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    async fn colonnade(&self, arguments: &[&str]) -> Outcome {
        let variables: Vec<(&str, &str)> =
            self.variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        colonnade_with(&self.root, arguments, &variables).await
    }

    async fn serve(&self, workers: &str) -> Server {
        let command = self.command(&["serve", "--listen", "127.0.0.1:0", "--workers", workers]);
        Server::of(command).await.unwrap_or_else(|log| panic!("the server did not start:\n{log}"))
    }

    async fn work(&self) -> Worker {
        Worker::of(self.command(&["worker"])).await
    }
}

/// A file of rows, from this number on.
fn rows_file(folder: &Path, from: u64, rows: usize) -> PathBuf {
    let file = folder.join(format!("{from}.ndjson"));
    std::fs::write(&file, ndjson(&model_calls(from, rows as u64))).unwrap();
    file
}

/// The next change, which must go on from `from`; how long after `since` it came.
async fn told(subscriber: &mut Subscriber, from: &mut u64, since: Instant) -> (Duration, Change) {
    let change = subscriber.change().await;
    assert_eq!(change.previous_version, Some(*from), "{change:?}");
    *from = change.version;
    (since.elapsed(), change)
}

async fn two_servers_and_two_workers(folder: &Path, place: &Place) {
    let empty = folder.join("empty.ndjson");
    std::fs::write(&empty, "").unwrap();
    let made = ["ingest", "model_calls", empty.to_str().unwrap(), "--json"];
    assert_eq!(place.colonnade(&made).await.json()["accepted"], 0);
    let (first, second) = (place.serve("0").await, place.serve("0").await);
    let workers = [place.work().await, place.work().await];
    let calls = "subscription { modelCallsChanged(since: 0) { previousVersion version added { count } removed { count } } }";
    let mut subscriber = Subscriber::open(&first, "modelCallsChanged", calls).await;
    let (mut at, mut times) = (0, Vec::new());

    // Commits through the other server, one after the other: each is told once, in order.
    for n in 0..10 {
        let version = second.accepts("model_calls", &model_calls(n * 10, 10)).await;
        let (took, change) = told(&mut subscriber, &mut at, Instant::now()).await;
        assert_eq!((change.version, &change.body["added"]["count"]), (version, &json!("10")));
        times.push(took);
    }
    // Many at once through both, and by commands beside them: however many are told together, none is told twice or left out.
    let through = async |server: &Server, from: u64| {
        for n in 0..10 {
            server.accepts("model_calls", &model_calls(from + n, 1)).await;
        }
    };
    let by_commands = async {
        for n in 0..3 {
            let file = rows_file(folder, 9_000 + n, 1);
            let ingest = ["ingest", "model_calls", file.to_str().unwrap(), "--json"];
            assert_eq!(place.colonnade(&ingest).await.json()["accepted"], 1);
        }
    };
    let expected = 123_u64;
    let hears = async {
        let mut added = 100;
        while added < expected {
            let (_, change) = told(&mut subscriber, &mut at, Instant::now()).await;
            assert_eq!(change.body["removed"]["count"], "0", "{change:?}");
            added += change.body["added"]["count"].as_str().unwrap().parse::<u64>().unwrap();
        }
        added
    };
    let (_, _, (), added) =
        tokio::join!(through(&first, 1_000), through(&second, 2_000), by_commands, hears);
    assert_eq!(added, expected);
    // A request that both servers get is taken once, and one that comes to the other is no gap.
    for (sequence, server) in [(0, &first), (1, &second), (1, &first), (2, &first), (3, &second)] {
        let request = server
            .client
            .post(server.url("/v1/ingest/model_calls"))
            .header("Content-Type", "application/x-ndjson")
            .header("Producer", "p")
            .header("Sequence", sequence.to_string())
            .body(ndjson(&model_calls(5_000 + sequence, 1)));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{sequence}: {}", answer.text().await.unwrap());
    }
    let count = "SELECT count(*) AS n FROM model_calls";
    let counted = place.colonnade(&["sql", count, "--format", "json"]).await.json();
    assert_eq!(counted, json!([{"n": expected + 4}]));

    // A run that one server takes is done by a worker, and the other server tells of its result.
    let file = folder.join("notes.ndjson");
    std::fs::write(
        &file,
        "{\"id\": \"a\", \"text\": \"one thing\"}\n{\"id\": \"b\", \"text\": \"another\"}\n",
    )
    .unwrap();
    let notes = ["ingest", "notes", file.to_str().unwrap(), "--create", "--key", "id", "--json"];
    assert_eq!(place.colonnade(&notes).await.json()["accepted"], 2);
    let embed = json!({"dataset": "notes", "id_column": "id", "text_columns": ["text"], "embedder": "ngram"});
    // What one process commits another may know of a moment later.
    until(&second, "{ notes { totalCount } }", |data| data["notes"]["totalCount"] == "2").await;
    second.run_job("embed", embed.clone()).await;
    let vectors = "subscription { embeddingsChanged { previousVersion version added { count } } }";
    until(&first, "{ embeddings { totalCount } }", |data| data["embeddings"]["totalCount"] == "2")
        .await;
    let mut of_runs = Subscriber::open(&first, "embeddingsChanged", vectors).await;
    std::fs::write(&file, "{\"id\": \"c\", \"text\": \"a third\"}\n").unwrap();
    let notes = ["ingest", "notes", file.to_str().unwrap(), "--json"];
    assert_eq!(place.colonnade(&notes).await.json()["accepted"], 1);
    until(&second, "{ notes { totalCount } }", |data| data["notes"]["totalCount"] == "3").await;
    second.run_job("embed", embed).await;
    let ended = Instant::now();
    let change = of_runs.change().await;
    println!("a run's result told {:?} after its end was", ended.elapsed());
    assert_eq!(change.body["added"]["count"], "1", "{change:?}");

    times.sort();
    println!("told by the other server after {:?} at most, {:?} in the middle", times[9], times[5]);
    assert!(times[5] < TOLD_TIME && times[9] < TOLD_TIME_MAX, "{times:?}");
    // Whoever looks sees all four, and what each is for.
    let queue = place.colonnade(&["queue", "--json"]).await.json();
    let takes: Vec<&Value> =
        queue["workers"].as_array().unwrap().iter().map(|worker| &worker["runs_max"]).collect();
    assert_eq!(takes, [&json!(0), &json!(0), &json!(2), &json!(2)], "{queue}");
    for worker in workers {
        assert!(worker.stop().await.success());
    }
    assert!(first.stop().await.success() && second.stop().await.success());
}

/// Asks until the answer is as expected.
async fn until(server: &Server, query: &str, is_so: impl Fn(&Value) -> bool) {
    let began = Instant::now();
    loop {
        let answer = server.graphql(query, json!({})).await;
        if answer.body.get("errors").is_none() && is_so(&answer.body["data"]) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{query}: {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_server_tells_once_and_in_order_what_all_commit() {
    let folder = tempfile::tempdir().unwrap();
    two_servers_and_two_workers(folder.path(), &Place::local(folder.path())).await;
}

/// The same on a store that `COLONNADE_TEST_S3` names, with control state in SQLite and, where it is installed, in PostgreSQL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_server_tells_once_and_in_order_what_all_commit_to_a_store() {
    let Ok(store) = std::env::var("COLONNADE_TEST_S3") else {
        return println!("COLONNADE_TEST_S3 is not set: no store");
    };
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", folder.path().join("control.db").display());
    two_servers_and_two_workers(folder.path(), &Place::store(&store, &file)).await;
    let Some(postgres) = Postgres::start() else { return };
    let place = Place::store(&store, &postgres.url());
    two_servers_and_two_workers(folder.path(), &place).await;
    // Another root with the same database is refused, and so is one without any.
    let mut other = Place::store(&store, &postgres.url());
    let refused = other.colonnade(&["worker"]).await;
    assert!(
        refused.fails_with("CONFLICT").contains("is that of another root"),
        "{}",
        refused.stderr
    );
    other.variables.retain(|(name, _)| *name != "COLONNADE_CONTROL");
    for command in [&["worker"][..], &["serve", "--workers", "0", "--listen", "127.0.0.1:0"]] {
        let refused = other.colonnade(command).await;
        let says = refused.fails_with("BAD_INPUT");
        assert!(says.contains("expected the setting `control`"), "{says}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_nobody_will_take_say_so_until_a_worker_comes() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    make(&root, "metrics").await;
    let place = Place::local(folder.path());
    let server = place.serve("0").await;
    let rows = [json!({"series": "a", "at": "2026-01-01T00:00:00Z", "value": 1.0})];
    server.accepts("metrics", &rows).await;
    let asked = server.data("mutation { runJob(job: \"anomalies\") { id state waitsFor } }").await;
    let id = asked["runJob"]["id"].as_str().unwrap();
    let waits = "no worker is there to take it; `colonnade worker` is one";
    let query = format!("{{ run(id: {id:?}) {{ state waitsFor }} }}");
    let run = server.data(&query).await;
    assert_eq!(run["run"], json!({"state": "QUEUED", "waitsFor": waits}));
    let queue = place.colonnade(&["queue"]).await;
    assert!(queue.stdout.ends_with(&format!("{waits}\n")), "{}", queue.stdout);
    assert!(queue.stdout.contains(")     0  2"), "{}", queue.stdout);
    let shown = place.colonnade(&["runs", "show", id]).await;
    assert!(shown.stdout.contains(waits), "{}{}", shown.stdout, shown.stderr);

    let worker = place.work().await;
    assert!(worker.log().contains("colonnade worker (process "), "{}", worker.log());
    assert!(!worker.log().contains(&place.root), "{}", worker.log());
    until(&server, &query, |data| data["run"] == json!({"state": "SUCCEEDED", "waitsFor": null}))
        .await;
    assert!(worker.stop().await.success());
    assert!(server.stop().await.success());

    // By itself, without a server: what a server took before.
    let server = place.serve("0").await;
    let params = "{threshold: 9}";
    let asked = server
        .data(&format!("mutation {{ runJob(job: \"anomalies\", params: {params}) {{ id }} }}"))
        .await;
    let id = asked["runJob"]["id"].as_str().unwrap();
    assert!(server.stop().await.success());
    let worker = place.work().await;
    let watched = place.colonnade(&["runs", "watch", id, "--json"]).await.json();
    assert_eq!(watched["state"], "succeeded", "{watched}");
    assert!(worker.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_is_at_goes_back_when_it_is_told_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::local(folder.path());
    let programs = folder.path().join("programs");
    std::fs::create_dir(&programs).unwrap();
    let program = programs.join("slow");
    std::fs::write(&program, "#!/bin/sh\nexec sleep 600\n").unwrap();
    let status = Command::new("chmod").arg("+x").arg(&program).status().await.unwrap();
    assert!(status.success());
    let file = folder.path().join("notes.ndjson");
    std::fs::write(&file, "{\"id\": \"a\"}\n").unwrap();
    let notes = ["ingest", "notes", file.to_str().unwrap(), "--create", "--key", "id", "--json"];
    assert_eq!(place.colonnade(&notes).await.json()["accepted"], 1);
    let with_programs = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.env("COLONNADE_PROGRAMS", &programs);
        command
    };
    let serve = with_programs(&["serve", "--listen", "127.0.0.1:0", "--workers", "0"]);
    let server = Server::of(serve).await.unwrap_or_else(|log| panic!("{log}"));
    let worker = Worker::of(with_programs(&["worker"])).await;
    let asked = "mutation { runJob(job: \"exec\", params: {program: \"slow\", dataset: \"notes\", output: \"made\", output_columns: [{name: \"id\", type: \"text\"}]}) { id } }";
    let asked = server.data(asked).await;
    let id = asked["runJob"]["id"].as_str().unwrap();
    let query = format!("{{ run(id: {id:?}) {{ state attempts {{ error {{ code }} }} }} }}");
    until(&server, &query, |data| data["run"]["state"] == "RUNNING").await;
    let begun = Instant::now();
    assert!(worker.stop().await.success());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // It waits again, and that it was put back is no failure.
    assert_eq!(server.data(&query).await["run"], json!({"state": "QUEUED", "attempts": []}));
    let second = Worker::of(with_programs(&["worker"])).await;
    until(&server, &query, |data| data["run"]["state"] == "RUNNING").await;
    // Stopped by whom it was asked of, wherever it is at work.
    let cancelled = server.data(&format!("mutation {{ cancelRun(id: {id:?}) {{ state }} }}")).await;
    assert_eq!(cancelled["cancelRun"]["state"], "CANCELLED");
    assert!(second.stop().await.success());
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn who_can_not_share_runs_is_told_what_to_set() {
    let folder = tempfile::tempdir().unwrap();
    let memory = |arguments: &'static [&'static str]| colonnade_with("memory:", arguments, &[]);
    let refused = memory(&["worker"]).await;
    assert!(refused.fails_with("BAD_INPUT").starts_with("colonnade worker: a root in memory"));
    let refused = memory(&["serve", "--workers", "0", "--listen", "127.0.0.1:0"]).await;
    assert!(refused.fails_with("BAD_INPUT").starts_with("serve --workers 0: a root in memory"));
    let refused = colonnade(folder.path(), &["worker", "--concurrent", "0"]).await;
    let says = "setting concurrent = \"0\" (from --concurrent): expected 1 to 256 runs";
    assert_eq!(refused.fails_with("BAD_INPUT"), says);
    let refused = colonnade(folder.path(), &["serve", "--workers", "many"]).await;
    let says = "setting workers = \"many\" (from --workers): expected 0 to 256 runs";
    assert_eq!(refused.fails_with("BAD_INPUT"), says);
    // Two roots with one database.
    let control = format!("sqlite:{}", folder.path().join("control.db").display());
    let roots = [folder.path().join("one"), folder.path().join("other")];
    let queue = async |root: &Path| {
        let root = root.to_str().unwrap();
        colonnade_with(root, &["queue"], &[("COLONNADE_CONTROL", &control)]).await
    };
    // One that is not there is not made by looking at it.
    let refused = queue(&roots[0]).await;
    assert!(refused.fails_with("STORAGE_UNAVAILABLE").contains("there is no such folder"));
    assert!(!roots[0].exists());
    let refused = memory(&["queue"]).await;
    assert!(refused.fails_with("BAD_INPUT").starts_with("data memory:: it does not outlive"));
    roots.iter().for_each(|root| std::fs::create_dir(root).unwrap());
    assert!(queue(&roots[0]).await.status.success());
    let refused = queue(&roots[1]).await;
    assert!(
        refused.fails_with("CONFLICT").contains("is that of another root"),
        "{}",
        refused.stderr
    );
    assert!(queue(&roots[0]).await.status.success());
}
