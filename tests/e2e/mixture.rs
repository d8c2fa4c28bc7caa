//! Many clients at once that do everything: look up, page, group, follow, send rows, run jobs, and make mistakes. Nothing ends that should
//! not, errors are of the kinds that are announced, and memory stays where it was.
//!
//! `COLONNADE_MIXTURE` says how many clients there are (default 24), `COLONNADE_MIXTURE_SECONDS` for how long (default 4).
//! `make test-mixture` takes 1,000 for ten minutes, with 2 GiB for queries, on a quiet machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Server, Subscriber, model_calls, ndjson, random as seeded};

/// Rows that are there at first.
const ROWS: u64 = 50_000;
/// From so many seconds on, memory is held against what it was.
const LONG: Duration = Duration::from_secs(300);
/// By how much of it memory may have grown or shrunk then.
const SWAY: f64 = 0.05;
/// The part of all requests that may be refused before then.
const REFUSED_MAX: f64 = 0.5;
/// Until a subscriber is told something, while rows are sent: it may wait for as long as an operation takes at most, to begin and again
/// for the message.
const TOLD_MAX: Duration = Duration::from_secs(90);
/// Until rows are sent for it again.
const AGAIN: Duration = Duration::from_secs(1);
/// What a client may be told when there is too much to do.
const BUSY: [&str; 3] = ["LIMIT_EXCEEDED", "RESOURCES_EXHAUSTED", "TIMEOUT"];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// What is done, and how often in a hundred.
const DONE: [(&str, u32); 11] = [
    ("one row by its key", 28),
    ("a filtered page", 18),
    ("two pages by cursor", 12),
    ("groups", 12),
    ("a count", 6),
    ("the newest groups of users", 4),
    ("a subscription", 5),
    ("rows sent", 6),
    ("a job", 2),
    ("a mistake", 6),
    ("the schema", 1),
];

struct Client {
    server: Arc<Server>,
    random: ChaCha8Rng,
    /// What it does first.
    first: Option<&'static str>,
    sent: Arc<AtomicU64>,
    jobs: Arc<AtomicU64>,
    /// How long each took, and what was said of those that were not done.
    times: BTreeMap<&'static str, Vec<Duration>>,
    refused: BTreeMap<String, u64>,
}

impl Client {
    async fn go_on(mut self, ended: Arc<AtomicBool>) -> Self {
        while !ended.load(Ordering::Relaxed) {
            let what = self.first.take().unwrap_or_else(|| self.draws());
            let begun = Instant::now();
            match self.does(what).await {
                Ok(()) => self.times.entry(what).or_default().push(begun.elapsed()),
                Err(code) => {
                    *self.refused.entry(format!("{what}: {code}")).or_default() += 1;
                    tokio::time::sleep(Duration::from_millis(self.random.random_range(50..500)))
                        .await;
                }
            }
        }
        self
    }

    fn draws(&mut self) -> &'static str {
        let mut drawn: u32 = self.random.random_range(0..100);
        let picked = DONE.iter().find(|(_, often)| match drawn.checked_sub(*often) {
            Some(rest) => {
                drawn = rest;
                false
            }
            None => true,
        });
        picked.expect("a hundred in all").0
    }

    /// Does it, and says with which code it was refused.
    async fn does(&mut self, what: &str) -> Result<(), String> {
        let row = self.random.random_range(0..ROWS);
        match what {
            "one row by its key" => {
                let id = format!("call-{row:012}");
                let query = "query ($id: String!) { modelCalls(where: {id: {eq: $id}}) { nodes { id model inputTokens } } }";
                let data = self.asks(query, json!({ "id": id })).await?;
                let nodes = data["modelCalls"]["nodes"].as_array().unwrap();
                assert_eq!((nodes.len(), &nodes[0]["id"]), (1, &json!(id)));
                assert_eq!(nodes[0]["inputTokens"], json!((100 + row % 3_000).to_string()));
            }
            "a filtered page" => {
                let query = "query ($tokens: BigInt!) { modelCalls(first: 50, where: {inputTokens: {gte: $tokens}, model: {eq: \"small-1\"}}, \
                             orderBy: [{at: DESC}]) { nodes { id at inputTokens latencyMs } pageInfo { hasNextPage } } }";
                let tokens = self.random.random_range(100..3_000);
                let data = self.asks(query, json!({ "tokens": tokens.to_string() })).await?;
                for node in data["modelCalls"]["nodes"].as_array().unwrap() {
                    assert!(
                        node["inputTokens"].as_str().unwrap().parse::<i64>().unwrap() >= tokens
                    );
                }
            }
            "two pages by cursor" => {
                let query = "query ($after: String) { modelCalls(first: 20, after: $after) { version nodes { id } pageInfo { endCursor } } }";
                let first = self.asks(query, json!({})).await?["modelCalls"].take();
                let after = &first["pageInfo"]["endCursor"];
                let second =
                    self.asks(query, json!({ "after": after })).await?["modelCalls"].take();
                assert_eq!(first["version"], second["version"]);
                let id =
                    |page: &Value, at: usize| page["nodes"][at]["id"].as_str().map(str::to_owned);
                assert!(id(&first, 19) < id(&second, 0), "{first} {second}");
            }
            "groups" => {
                let query = "{ modelCallsGroups(groupBy: [MODEL], every: {column: AT, width: \"1h\"}, first: 100) { nodes { model at count \
                             avg { latencyMs } p95 { latencyMs } } } }";
                let data = self.asks(query, json!({})).await?;
                assert!(!data["modelCallsGroups"]["nodes"].as_array().unwrap().is_empty());
            }
            "a count" => {
                let query = "query ($user: String!) { modelCalls(where: {userId: {eq: $user}}) { totalCount } }";
                let user = format!("user-{}", row % 997);
                let data = self.asks(query, json!({ "user": user })).await?;
                assert_ne!(data["modelCalls"]["totalCount"], "0");
            }
            "the newest groups of users" => {
                let query = "{ modelCallsGroups(groupBy: [USER_ID], orderBy: [{count: DESC}], first: 10) { nodes { userId count } } }";
                let data = self.asks(query, json!({})).await?;
                assert_eq!(data["modelCallsGroups"]["nodes"].as_array().unwrap().len(), 10);
            }
            "a subscription" => self.follows().await?,
            "rows sent" => {
                let first = ROWS + self.sent.fetch_add(10, Ordering::Relaxed);
                let body = ndjson(&model_calls(first, 10));
                let request = self.server.client.post(self.server.url("/v1/ingest/model_calls"));
                let request = request.header(CONTENT_TYPE, "application/x-ndjson").body(body);
                let answer = request.send().await.unwrap();
                let status = answer.status();
                let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
                if !status.is_success() {
                    return Err(body["error"]["code"].as_str().unwrap_or_default().to_owned());
                }
                assert_eq!(body["accepted"], 10, "{body}");
            }
            "a job" => {
                let query = "mutation ($params: JSON) { runJob(job: \"sql\", params: $params, wait: true) { state error { code } } }";
                let params = counting(self.jobs.fetch_add(1, Ordering::Relaxed));
                let run = self.asks(query, json!({ "params": params })).await?["runJob"].take();
                if run["state"] != "SUCCEEDED" {
                    let code = run["error"]["code"].as_str();
                    return Err(code.unwrap_or("not at its end").to_owned());
                }
            }
            "a mistake" => {
                let wrong = [
                    "{ modelCall { nodes { id } } }",
                    "{ modelCalls(first: -1) { nodes { id } } }",
                    "{ modelCalls(",
                    "{ a }",
                ];
                let query = wrong[self.random.random_range(0..wrong.len())];
                match self.asks(query, json!({})).await {
                    Err(code) if code == "BAD_INPUT" => {}
                    Err(code) => return Err(code),
                    Ok(data) => panic!("{query} was answered: {data}"),
                }
            }
            _ => {
                let data =
                    self.asks("{ __schema { types { name fields { name } } } }", json!({})).await?;
                assert!(data["__schema"]["types"].as_array().unwrap().len() > 10);
            }
        }
        Ok(())
    }

    async fn asks(&self, query: &str, variables: Value) -> Result<Value, String> {
        let request = self.server.client.post(self.server.url("/graphql"));
        let body = json!({ "query": query, "variables": variables });
        let request = request
            .header(ACCEPT, "application/graphql-response+json")
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string());
        let answer = request.send().await.unwrap();
        let mut body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        match body["errors"].get(0) {
            Some(error) => Err(error["extensions"]["code"].as_str().unwrap_or_default().to_owned()),
            None => Ok(body["data"].take()),
        }
    }

    /// Subscribes, and sends rows until it is told of some.
    async fn follows(&mut self) -> Result<(), String> {
        let query =
            "subscription { modelCallsChanged { version previousVersion added { count } } }";
        let open = Subscriber::try_open(&self.server.address, "modelCallsChanged", query).await;
        let Some(mut subscriber) = open else { return Err("no socket".to_owned()) };
        let begun = Instant::now();
        let mut told = std::pin::pin!(subscriber.receive());
        let message = loop {
            // What is sent may be in a commit from before it began, or be refused; others send rows, too.
            if let Err(code) = Box::pin(self.does("rows sent")).await
                && !BUSY.contains(&code.as_str())
            {
                return Err(code);
            }
            if let Ok(message) = tokio::time::timeout(AGAIN, told.as_mut()).await {
                break message;
            }
            assert!(begun.elapsed() < TOLD_MAX, "told of nothing within {TOLD_MAX:?}");
        };
        match message["type"].as_str() {
            Some("next") if message["payload"].get("errors").is_none() => Ok(()),
            _ => {
                let errors = [&message["payload"]["errors"][0], &message["payload"][0]];
                let code = errors.iter().find_map(|error| error["extensions"]["code"].as_str());
                Err(code.unwrap_or_default().to_owned())
            }
        }
    }
}

/// The parameters of a job that commits one row. Each is another: the same work is done once.
fn counting(n: u64) -> Value {
    json!({
        "query": "SELECT count(*) AS calls FROM model_calls WHERE input_tokens >= $least",
        "values": {"least": n},
        "output": "counted",
        "mode": "append",
    })
}

fn median(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values[values.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mixture_of_clients_is_served_or_refused_in_words() {
    let clients = number("COLONNADE_MIXTURE", 24);
    let lasting = Duration::from_secs(number("COLONNADE_MIXTURE_SECONDS", 4));
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    crate::harness::make(&root, "model_calls").await;
    let server = Server::start_with(&root, &["--memory", "2GiB"]).await;
    for first in (0..ROWS).step_by(10_000) {
        server.accepts("model_calls", &model_calls(first, 10_000)).await;
    }
    // The dataset of its rows is there then.
    server.run_job("sql", counting(0)).await;
    let server = Arc::new(server);
    let (ended, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let jobs = Arc::new(AtomicU64::new(1));
    let mut random = seeded();
    let mut going = JoinSet::new();
    for n in 0..clients {
        let client = Client {
            server: server.clone(),
            random: ChaCha8Rng::seed_from_u64(random.random()),
            // So that each is done, however few there is time for.
            first: Some(DONE[n as usize % DONE.len()].0),
            sent: sent.clone(),
            jobs: jobs.clone(),
            times: BTreeMap::new(),
            refused: BTreeMap::new(),
        };
        going.spawn(client.go_on(ended.clone()));
    }
    let (begun, mut resident) = (Instant::now(), Vec::new());
    while begun.elapsed() < lasting {
        tokio::time::sleep(Duration::from_millis(250)).await;
        resident.push(server.resident_bytes());
    }
    ended.store(true, Ordering::Relaxed);
    let (mut times, mut refused) = (BTreeMap::<_, Vec<Duration>>::new(), BTreeMap::new());
    while let Some(client) = going.join_next().await {
        let client = client.unwrap();
        for (what, more) in client.times {
            times.entry(what).or_default().extend(more);
        }
        for (what, more) in client.refused {
            *refused.entry(what).or_insert(0u64) += more;
        }
    }
    let done: usize = times.values().map(Vec::len).sum();
    let of_second = done as f64 / begun.elapsed().as_secs_f64();
    let share =
        |refused: u64, done: usize| refused as f64 / (refused as f64 + done as f64).max(1.0);
    let refused_share = share(refused.values().sum(), done);
    println!(
        "{clients} clients for {lasting:?}: {done} things done, {of_second:.0} a second; {:.1} % refused: {refused:?}",
        refused_share * 100.0
    );
    for (what, times) in &mut times {
        times.sort_unstable();
        let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
        let of_it = refused.iter().filter(|(why, _)| why.starts_with(&format!("{what}: ")));
        let refused = share(of_it.map(|(_, count)| *count).sum(), times.len()) * 100.0;
        println!(
            "{what}: {}, p50 {:?}, p99 {:?}, {refused:.1} % refused",
            times.len(),
            at(50),
            at(99)
        );
    }
    let (third, all) = (resident.len() / 3, resident.len());
    let (before, after) = (median(&resident[third..2 * third]), median(&resident[2 * third..]));
    let most = resident.iter().max().unwrap();
    println!(
        "resident: {} MiB in the second third, {} in the last, {} at most, of {all} samples",
        before >> 20,
        after >> 20,
        most >> 20
    );
    for (what, _) in DONE {
        assert!(times.contains_key(what), "{what} was never done");
    }
    for what in refused.keys() {
        assert!(BUSY.iter().any(|code| what.ends_with(code)), "{refused:?}");
    }
    if lasting < LONG {
        assert!(refused_share < REFUSED_MAX, "{refused_share}: {refused:?}");
    } else {
        assert!(after.abs_diff(before) as f64 <= SWAY * before as f64, "{before} then {after}");
    }
    // Nothing that was acknowledged is missing.
    let data = server.data("{ modelCalls { totalCount } }").await;
    let total: u64 = data["modelCalls"]["totalCount"].as_str().unwrap().parse().unwrap();
    assert!(total >= ROWS + 10 * times["rows sent"].len() as u64, "{total}");
    // And no job committed twice.
    let data = server.data("{ counted { totalCount } }").await;
    let counted: u64 = data["counted"]["totalCount"].as_str().unwrap().parse().unwrap();
    let (ended, asked) = (1 + times["a job"].len() as u64, jobs.load(Ordering::Relaxed));
    assert!((ended..=asked).contains(&counted), "{counted}: {ended} of {asked} jobs ended well");
    server.is_alive().await;
}
