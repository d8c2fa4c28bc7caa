//! Runs that several worker processes work at, while random ones of them, the server, and where control state is in PostgreSQL its
//! connections and itself are killed: each run that was taken ends, and has one effect.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{
    Postgres, Server, Worker, binary, colonnade, make, random as seeded, without_settings,
};

/// Processes that work at runs.
const WORKERS: usize = 4;
/// Outputs that the runs take turns at.
const OUTPUTS: usize = 4;
/// Runs that are asked for between two kills, at most.
const RUNS_MAX: usize = 20;
const END_TIME_MAX: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_run_has_one_effect_when_workers_are_killed() {
    kill_workers(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_run_has_one_effect_when_workers_and_postgres_are_killed() {
    let Some(postgres) = Postgres::start() else { return };
    kill_workers(Some(&postgres)).await;
}

/// Where they work.
struct Place<'a> {
    root: &'a Path,
    control: Option<&'a Postgres>,
}

impl Place<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg("--data").arg(self.root).args(arguments);
        without_settings(&mut command);
        command.env("COLONNADE_MODELS", self.root.join("models"));
        command.envs(self.control.map(|postgres| ("COLONNADE_CONTROL", postgres.url())));
        command
    }

    /// A server that works at so many runs at a time.
    async fn serve(&self, workers: usize) -> Server {
        let workers = workers.to_string();
        let command = self.command(&["serve", "--listen", "127.0.0.1:0", "--workers", &workers]);
        Server::of(command).await.unwrap_or_else(|log| panic!("the server did not start:\n{log}"))
    }

    async fn work(&self) -> Worker {
        Worker::of(self.command(&["worker", "--concurrent", "2"])).await
    }
}

/// What is asked for.
#[derive(Default)]
struct Asked {
    number: usize,
    taken: BTreeSet<String>,
    /// Those of which the answer was lost: each is taken or not.
    unanswered: usize,
}

impl Asked {
    /// Asks for a run that nobody asked for before.
    async fn ask(&mut self, server: &Server) {
        let query =
            "mutation($params: JSON) { runJob(job: \"anomalies\", params: $params) { id } }";
        let output = format!("found_{}", self.number % OUTPUTS);
        let params = json!({"threshold": 5.0 + self.number as f64 / 1e5, "output": output});
        self.number += 1;
        let asked = loop {
            let asked = server.graphql(query, json!({ "params": params })).await;
            // So many wait already, while workers die faster than they work.
            if !asked.body.to_string().contains("LIMIT_EXCEEDED") {
                break asked;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        match asked.body["data"]["runJob"]["id"].as_str() {
            Some(id) => assert!(self.taken.insert(id.to_owned()), "{id} twice"),
            None => {
                // The database was away.
                assert!(asked.body.to_string().contains("STORAGE_UNAVAILABLE"), "{asked:?}");
                self.unanswered += 1;
            }
        }
    }
}

async fn kill_workers(control: Option<&Postgres>) {
    let kills: usize = match std::env::var("COLONNADE_KILLS") {
        Ok(kills) => kills.parse().unwrap(),
        Err(_) => 50,
    };
    let mut random = seeded();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let place = Place { root: &root, control };
    make(&root, "metrics").await;
    let mut server = place.serve(0).await;
    let row = |n: i64| {
        let value = if n == 40 { 90.0 } else { 50.0 + (n % 7) as f64 };
        let at = format!("2026-01-01T{:02}:{:02}:00Z", n / 12, n % 12 * 5);
        json!({"series": "a", "at": at, "value": value})
    };
    server.accepts("metrics", &(0..100).map(row).collect::<Vec<Value>>()).await;
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(place.work().await);
    }

    let mut asked = Asked::default();
    let mut killed: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..kills {
        for _ in 0..random.random_range(1..=RUNS_MAX) {
            asked.ask(&server).await;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..400))).await;
        let what;
        (what, server) = kill(&place, server, &mut workers, &mut random).await;
        *killed.entry(what).or_default() += 1;
    }
    println!(
        "{} runs taken, {} unanswered, killed: {killed:?}",
        asked.taken.len(),
        asked.unanswered
    );
    let most = asked.taken.len() / 50;
    let given_up = given_up_and_done(&server, &mut asked.taken, most).await;
    for worker in workers {
        assert!(worker.stop().await.success());
    }
    assert!(server.stop().await.success());
    check(&root, &asked, &given_up).await;
}

/// Waits until no run waits or works.
async fn all_end(server: &Server) {
    let begun = Instant::now();
    for state in ["QUEUED", "RUNNING", "QUEUED"] {
        let list = format!(
            "{{ runs(first: 20, state: {state}) {{ id attempts {{ error {{ message }} }} waitsFor }} }}"
        );
        loop {
            let open = server.data(&list).await["runs"].as_array().unwrap().clone();
            if open.is_empty() {
                break;
            }
            assert!(begun.elapsed() < END_TIME_MAX, "stuck {state}: {open:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The runs that were given up since five processes in a row were killed at them, `most` at most: they are asked for again, which makes
/// them others, and end well. None failed otherwise.
pub(super) async fn given_up_and_done(
    server: &Server,
    taken: &mut BTreeSet<String>,
    most: usize,
) -> BTreeSet<String> {
    all_end(server).await;
    let list = "{ runs(first: 1000, state: FAILED) { id error { message } } }";
    let failed = server.data(list).await["runs"].as_array().unwrap().clone();
    let id = |run: &Value| {
        let says = run["error"]["message"].as_str().unwrap();
        assert!(says.contains("ended before the run did, 5 times"), "{run}");
        run["id"].as_str().unwrap().to_owned()
    };
    let given_up: BTreeSet<String> = failed.iter().map(id).collect();
    assert!(given_up.len() <= most, "{} of {} given up", given_up.len(), taken.len());
    for id in &given_up {
        let again = server.data(&format!("mutation {{ retryRun(id: \"{id}\") {{ id }} }}")).await;
        assert!(taken.insert(again["retryRun"]["id"].as_str().unwrap().to_owned()), "{id}");
    }
    all_end(server).await;
    given_up
}

/// Kills something, and starts it again; what it was, and the server that is there then.
async fn kill(
    place: &Place<'_>,
    server: Server,
    workers: &mut Vec<Worker>,
    random: &mut ChaCha8Rng,
) -> (&'static str, Server) {
    match (random.random_range(0..10), place.control) {
        (0..=1, _) => {
            server.kill().await;
            // Now it works, too, now it leaves all to others.
            return ("server", place.serve(random.random_range(0..=1)).await);
        }
        (2, _) => {
            // Another has come before it goes.
            let next = place.serve(0).await;
            server.kill().await;
            return ("one of two servers", next);
        }
        (3..=4, Some(postgres)) => {
            postgres.cut();
            return ("connections", server);
        }
        (5, Some(postgres)) => {
            postgres.restart();
            return ("postgres", server);
        }
        (3, None) => {
            for worker in workers.drain(..) {
                worker.kill().await;
            }
        }
        _ => workers.swap_remove(random.random_range(0..workers.len())).kill().await,
    }
    let what = if workers.is_empty() { "all workers" } else { "worker" };
    while workers.len() < WORKERS {
        workers.push(place.work().await);
    }
    (what, server)
}

/// Each run that was taken has ended well, those aside that were given up, is a row of `runs` once, and stands in one commit.
async fn check(root: &Path, asked: &Asked, given_up: &BTreeSet<String>) {
    let query = "SELECT id, state, error_message FROM runs ORDER BY id";
    let runs = colonnade(root, &["sql", query, "--format", "json"]).await.json();
    let runs = runs.as_array().unwrap();
    let listed: Vec<String> =
        runs.iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect();
    let once: BTreeSet<String> = listed.iter().cloned().collect();
    if once.len() < listed.len() {
        let twice = "SELECT id, written_at, finished_at FROM runs WHERE id IN \
                     (SELECT id FROM runs GROUP BY id HAVING count(*) > 1) ORDER BY id, written_at";
        let twice = colonnade(root, &["sql", twice, "--format", "json"]).await.json();
        panic!("runs that are a row twice: {twice:#}");
    }
    let lost: Vec<_> = asked.taken.difference(&once).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    let more = once.len() - asked.taken.len();
    assert!(more <= asked.unanswered, "{more} runs that nobody asked for");
    let mut effects: BTreeMap<String, usize> = BTreeMap::new();
    for output in 0..OUTPUTS {
        let log = root.join(format!("default/found_{output}/_delta_log"));
        for entry in std::fs::read_dir(log).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|ending| ending != "json") {
                continue;
            }
            for line in std::fs::read_to_string(path).unwrap().lines() {
                let action: Value = serde_json::from_str(line).unwrap();
                if let Some(run) = action["commitInfo"]["colonnadeRunId"].as_str() {
                    *effects.entry(run.to_owned()).or_default() += 1;
                }
            }
        }
    }
    for run in runs {
        let id = run["id"].as_str().unwrap();
        let expected = (run["state"] == "succeeded").then_some(1);
        assert_eq!(expected.is_none(), given_up.contains(id), "{run}");
        assert_eq!(effects.remove(id), expected, "effects of {run}");
    }
    assert!(effects.is_empty(), "effects of nobody: {effects:?}");
    let (all, again) = (runs.len(), given_up.len());
    println!(
        "{all} runs: each has one effect; {again} of them are of work that was given up and asked for again"
    );
}
