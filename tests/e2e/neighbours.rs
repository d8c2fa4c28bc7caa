//! Two tenants of one server, of which one misbehaves: what the other one notices.
//!
//! Each attack runs for a while beside a tenant that asks a small question, over and over, and sends a few rows. Held against
//! the same tenant's times in quiet, just before: no error, and a p99 of at most [`SLOWER_MAX`] times as much. `make test-chaos` takes longer
//! and prints the table.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::{Server, binary, model_calls, ndjson, without_settings};

/// How much slower the other tenant may be.
const SLOWER_MAX: f64 = 3.0;
/// Below this a p99 is noise of the machine, however much it is of the quiet one.
const NOISE: Duration = Duration::from_millis(30);
const ROWS: u64 = 20_000;
/// Datasets of which rows are deleted.
const DATASETS: usize = 8;

fn seconds() -> f64 {
    std::env::var("COLONNADE_NEIGHBOUR_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(0.4)
}

fn keys(folder: &Path) -> PathBuf {
    let path = folder.join("colonnade.toml");
    // SHA-256 of the two keys.
    let key = |digest: &str, tenant: &str| {
        format!(
            "[[keys]]\nsecret_sha256 = \"{digest}\"\ntenant = \"{tenant}\"\nsubject = \"{tenant}\"\nroles = [\"reader\", \"writer\", \"operator\"]\n"
        )
    };
    let a = key("72e24dc3d3ead7ec42462bf9709b307f4f23a045e91414bdf75e208948d91323", "a");
    let b = key("fd34992a065c3c4fbfe4efa4eef516913023f3474bdf38b0be4d3ec6a0dcaad1", "b");
    std::fs::write(&path, a + &b).unwrap();
    path
}

/// One tenant's way to the server.
#[derive(Clone)]
struct Tenant {
    http: reqwest::Client,
    address: String,
    key: &'static str,
    /// Requests that were answered, and connections that were let in and told all that they were to be told.
    reached: Arc<AtomicU64>,
}

impl Tenant {
    fn new(server: &Server, key: &'static str) -> Self {
        let (http, address) = (reqwest::Client::new(), server.address.clone());
        Self { http, address, key, reached: Arc::default() }
    }

    async fn send(&self, dataset: &str, body: String) -> Result<u16, reqwest::Error> {
        let request = self.http.post(format!("http://{}/v1/ingest/{dataset}", self.address));
        let request = request.header("x-api-key", self.key);
        let request = request.header("content-type", "application/x-ndjson").body(body);
        Ok(request.send().await?.status().as_u16())
    }

    async fn ask(&self, query: &str) -> Result<Value, reqwest::Error> {
        let text = self.post(json!({ "query": query }).to_string()).await?.text().await?;
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Asks and takes the answer without a look at it: the cores are the server's, as far as that can be.
    async fn burden(&self, body: &str) {
        if let Ok(mut answer) = self.post(body.to_owned()).await {
            self.reached.fetch_add(1, Ordering::Relaxed);
            while let Ok(Some(_)) = answer.chunk().await {}
        }
    }

    async fn post(&self, body: String) -> Result<reqwest::Response, reqwest::Error> {
        let request = self.http.post(format!("http://{}/graphql", self.address));
        let request = request.header("x-api-key", self.key);
        request.header("content-type", "application/json").body(body).send().await
    }
}

/// What a tenant measured of itself.
#[derive(Debug, Default)]
struct Noticed {
    asked: Vec<Duration>,
    sent: Vec<Duration>,
    errors: Vec<String>,
}

impl Noticed {
    fn percentile(times: &[Duration], part: f64) -> Duration {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let at = ((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or_default()
    }

    fn row(&self) -> String {
        let ms = |times: &[Duration], part| Self::percentile(times, part).as_secs_f64() * 1e3;
        format!(
            "{:>6} asked, p50 {:>7.1} ms, p99 {:>7.1} ms; {:>4} sent, p50 {:>7.1} ms, p99 {:>7.1} ms; {} errors",
            self.asked.len(),
            ms(&self.asked, 0.5),
            ms(&self.asked, 0.99),
            self.sent.len(),
            ms(&self.sent, 0.5),
            ms(&self.sent, 0.99),
            self.errors.len()
        )
    }
}

/// Asks and sends for a while, one after the other.
async fn notice(tenant: &Tenant, numbers: &AtomicU64) -> Noticed {
    let mut noticed = Noticed::default();
    let began = Instant::now();
    while began.elapsed().as_secs_f64() < seconds() {
        let asked = Instant::now();
        let query = "{ modelCalls(first: 10, orderBy: [{at: DESC}]) { nodes { id model } } }";
        match tenant.ask(query).await {
            Ok(answer) if answer.get("errors").is_none() => noticed.asked.push(asked.elapsed()),
            Ok(answer) => noticed.errors.push(answer.to_string()),
            Err(error) => noticed.errors.push(format!("{error:?}")),
        }
        // To another dataset: each commit has a file of its own, and of many files a question takes longer.
        let rows = ndjson(&samples(numbers.fetch_add(10, Ordering::Relaxed), 10));
        let sent = Instant::now();
        match tenant.send("metrics", rows).await {
            Ok(200) => noticed.sent.push(sent.elapsed()),
            Ok(status) => noticed.errors.push(format!("status {status}")),
            Err(error) => noticed.errors.push(format!("{error:?}")),
        }
    }
    noticed
}

/// Samples of a series from number `first` on.
fn samples(first: u64, count: u64) -> Vec<Value> {
    let at = |n: u64| format!("2026-01-01T00:{:02}:{:02}.{:03}Z", n / 60 % 60, n % 60, n % 1_000);
    let sample = |n: u64| json!({"series": "cpu", "at": at(n), "value": n});
    (first..first + count).map(sample).collect()
}

/// What the other tenant does until it is told to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Attack {
    Conditions,
    Aliases,
    Groups,
    AnnouncedUploads,
    SilentConnections,
    Subscriptions,
    Ingest,
    SlowUploads,
    UnreadAnswers,
    Sockets,
    Jobs,
    Descriptions,
    Introspection,
    Deletes,
}

const ATTACKS: [Attack; 14] = [
    Attack::Conditions,
    Attack::Aliases,
    Attack::Groups,
    Attack::AnnouncedUploads,
    Attack::SilentConnections,
    Attack::Subscriptions,
    Attack::Ingest,
    Attack::SlowUploads,
    Attack::UnreadAnswers,
    Attack::Sockets,
    Attack::Jobs,
    Attack::Descriptions,
    Attack::Introspection,
    Attack::Deletes,
];

impl Attack {
    /// How many do it at once.
    fn many(self) -> usize {
        match self {
            Self::AnnouncedUploads | Self::SlowUploads => 40,
            Self::SilentConnections | Self::Sockets => 400,
            Self::Subscriptions => 200,
            Self::Ingest | Self::Jobs => 8,
            Self::Deletes => DATASETS * 2,
            Self::Conditions
            | Self::Aliases
            | Self::Groups
            | Self::UnreadAnswers
            | Self::Descriptions
            | Self::Introspection => 12,
        }
    }

    /// What it says, made once: whoever attacks has cores of its own.
    fn body(self) -> String {
        let query = |query: String| json!({ "query": query }).to_string();
        let aliases = |count: usize| {
            let fields: String = (0..count).map(|n| format!("a{n}: id ")).collect();
            query(format!("{{ modelCalls(first: 1000) {{ nodes {{ {fields} }} }} }}"))
        };
        match self {
            Self::Conditions => {
                let each = |n: u64| json!({"model": {"contains": format!("m{n}")}});
                let filter = json!({"and": (0..900).map(each).collect::<Vec<_>>()});
                let query =
                    "query($where: ModelCallsWhere) { modelCalls(where: $where) { totalCount } }";
                json!({"query": query, "variables": {"where": filter}}).to_string()
            }
            Self::Aliases => aliases(240),
            Self::UnreadAnswers => aliases(100),
            Self::Groups => query(
                "{ modelCallsGroups(groupBy: [USER_ID, MODEL], first: 100) { nodes { count p95 { latencyMs } } } }".into(),
            ),
            Self::Subscriptions => {
                query("subscription { modelCallsChanged { version added { count } } }".into())
            }
            Self::Ingest => ndjson(&model_calls(0, 2_000)),
            // Each run asks for other vectors, so that none is a repeat.
            Self::Jobs => query(
                "mutation { runJob(job: \"embed\", wait: true, params: {dataset: \"model_calls\", id_column: \"id\", \
                 text_columns: [\"id\", \"user_id\", \"model\"], embedder: \"ngram\", dimension: NUMBER, output: \"vectors_NUMBER\"}) { state } }"
                    .into(),
            ),
            // Of what takes long to check nothing is made: the name is kept.
            Self::Descriptions => {
                let pattern = |n: usize| json!({"check": "matches", "column": "c", "pattern": format!("{}{{{}}}", r"\w", 25 + n)});
                let spec = json!({
                    "name": "runs",
                    "columns": [{"name": "c", "type": "text"}],
                    "validations": (0..16).map(pattern).collect::<Vec<_>>()
                });
                let fields: String =
                    (0..20).map(|n| format!("a{n}: createDataset(spec: $spec) {{ name }} ")).collect();
                json!({"query": format!("mutation($spec: JSON!) {{ {fields} }}"), "variables": {"spec": spec}})
                    .to_string()
            }
            Self::Introspection => {
                let fields: String = (0..1_200).map(|n| format!("x{n}: fields {{ name }} ")).collect();
                query(format!("{{ __schema {{ types {{ {fields} }} }} }}"))
            }
            // No row is like that, so that each of them has as much to do.
            Self::Deletes => {
                let each = |n: u64| json!({"text": {"contains": format!("none of {n}")}});
                let filter = json!({"or": (0..900).map(each).collect::<Vec<_>>()});
                let query = "mutation($where: NotesNUMBERWhere) { notesNUMBERDelete(where: $where) { rows } }";
                json!({"query": query, "variables": {"where": filter}}).to_string()
            }
            Self::AnnouncedUploads | Self::SilentConnections | Self::Sockets => String::new(),
            Self::SlowUploads => " ".repeat(8 << 20),
        }
    }

    /// What it needs to be there.
    async fn prepare(self, tenant: &Tenant) {
        if self != Self::Deletes {
            return;
        }
        for number in 0..DATASETS {
            let create = "mutation($spec: JSON!) { createDataset(spec: $spec) { name } }";
            let columns =
                json!([{"name": "id", "type": "int64"}, {"name": "text", "type": "text"}]);
            let spec = json!({"name": format!("notes{number}"), "columns": columns});
            tenant.burden(&json!({"query": create, "variables": {"spec": spec}}).to_string()).await;
            let row = |id| json!({"id": id, "text": format!("a note of some words, and {id}")});
            let rows: Vec<_> = (0..20_000).map(row).collect();
            let sent = tenant.send(&format!("notes{number}"), ndjson(&rows)).await;
            assert_eq!(sent.unwrap(), 200);
        }
    }

    /// What the attacker of this number does, once.
    async fn once(self, number: usize, tenant: &Tenant, body: &str, numbers: &AtomicU64) {
        // Refused or not: it is about the other one.
        match self {
            Self::Conditions
            | Self::Aliases
            | Self::Groups
            | Self::Descriptions
            | Self::Introspection => tenant.burden(body).await,
            Self::Jobs => {
                let dimension = 64 + numbers.fetch_add(1, Ordering::Relaxed) % 512;
                tenant.burden(&body.replace("NUMBER", &dimension.to_string())).await;
            }
            Self::Deletes => {
                tenant.burden(&body.replace("NUMBER", &(number % DATASETS).to_string())).await;
            }
            Self::Ingest => {
                let dataset = "model_calls?on_conflict=add";
                if tenant.send(dataset, body.to_owned()).await.is_ok() {
                    tenant.reached.fetch_add(1, Ordering::Relaxed);
                }
            }
            Self::AnnouncedUploads => hold(tenant, announced(tenant)).await,
            Self::SlowUploads => hold(tenant, announced(tenant) + body).await,
            Self::Sockets => {
                let head = format!(
                    "GET /graphql HTTP/1.1\r\nHost: {}\r\nX-Api-Key: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
                     Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n",
                    tenant.address, tenant.key
                );
                // One frame of text, whose mask is zero.
                let init = r#"{"type":"connection_init"}"#;
                let frame =
                    [&[0x81, 0x80 | init.len() as u8, 0, 0, 0, 0], init.as_bytes()].concat();
                hold(tenant, [head.into_bytes(), frame].concat()).await;
            }
            Self::SilentConnections => hold(tenant, String::new()).await,
            Self::Subscriptions => {
                // One of them tells all the others something, over and over.
                if number == 0 {
                    let began = Instant::now();
                    while began.elapsed().as_secs_f64() < seconds() {
                        let first = numbers.fetch_add(10, Ordering::Relaxed);
                        drop(tenant.send("model_calls", ndjson(&model_calls(first, 10))).await);
                    }
                } else {
                    hold(tenant, posted(tenant, "Accept: text/event-stream\r\n", body)).await;
                }
            }
            Self::UnreadAnswers => hold(tenant, posted(tenant, "", body)).await,
        }
    }
}

/// The head of an upload of 64 MiB.
fn announced(tenant: &Tenant) -> String {
    format!(
        "POST /v1/ingest/model_calls HTTP/1.1\r\nHost: {}\r\nX-Api-Key: {}\r\n\
         Content-Type: application/x-ndjson\r\nContent-Length: 67108864\r\n\r\n",
        tenant.address, tenant.key
    )
}

fn posted(tenant: &Tenant, headers: &str, body: &str) -> String {
    format!(
        "POST /graphql HTTP/1.1\r\nHost: {}\r\nX-Api-Key: {}\r\n{headers}Content-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        tenant.address,
        tenant.key,
        body.len()
    )
}

/// A connection that says this and then nothing, and reads nothing.
async fn hold(tenant: &Tenant, says: impl Into<Vec<u8>>) {
    if let Ok(mut stream) = TcpStream::connect(&tenant.address).await {
        let says = says.into();
        let said = timeout(Duration::from_secs_f64(seconds()), stream.write_all(&says)).await;
        if matches!(said, Ok(Ok(()))) {
            tenant.reached.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_secs_f64(seconds())).await;
    }
}

/// Of the few descriptors that it has, those of clients leave enough for files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_leave_descriptors_for_files() {
    let folder = tempfile::tempdir().unwrap();
    let config = keys(folder.path());
    let mut command = tokio::process::Command::new("sh");
    without_settings(&mut command);
    command.args(["-c", "ulimit -n 256; exec \"$@\"", "sh"]).arg(binary());
    command.args(["--config", config.to_str().unwrap(), "--data"]).arg(folder.path().join("data"));
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    let server = Server::of(command).await.unwrap();
    let b = Tenant::new(&server, "key-of-tenant-b");
    let rows = ndjson(&model_calls(0, 100));
    assert_eq!(b.send("model_calls", rows).await.unwrap(), 200);
    let mut held = Vec::new();
    for n in 0..600_u64 {
        if let Ok(Ok(mut stream)) =
            timeout(Duration::from_secs(1), TcpStream::connect(&b.address)).await
        {
            // Half of them are busy, as far as they are let in.
            if n % 2 == 0 {
                let a = Tenant { key: "key-of-tenant-a", ..b.clone() };
                let _ = stream.write_all(announced(&a).as_bytes()).await;
            }
            held.push(stream);
        }
        if n % 60 == 59 {
            let rows = ndjson(&model_calls(n * 10, 10));
            let status = until_let_in(|| b.send("model_calls", rows.clone())).await;
            assert_eq!(status, 200, "beside {n}");
            notice_once(&b).await;
        }
    }
    drop(held);
    // Its own connection may have made room for another.
    let b = Tenant::new(&server, b.key);
    let answer = b.ask("{ modelCalls(first: 1) { totalCount } }").await.unwrap();
    assert_eq!(answer["data"]["modelCalls"]["totalCount"], "200", "{answer}");
    server.is_alive().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_misbehaves_is_not_noticed_by_another() {
    let mut slow = Vec::new();
    for attack in ATTACKS {
        // What one attack leaves behind is not the next one's.
        let folder = tempfile::tempdir().unwrap();
        let config = keys(folder.path());
        let root = folder.path().join("data");
        let server = Server::start_with(&root, &["--config", config.to_str().unwrap()]).await;
        slow.extend(attacked(attack, &server).await);
    }
    if is_long() {
        assert!(slow.is_empty(), "{slow:#?}");
    }
}

/// On a busy machine a short run says little.
fn is_long() -> bool {
    std::env::var_os("COLONNADE_NEIGHBOUR_SECONDS").is_some()
}

/// What of tenant b is too slow while tenant a attacks.
async fn attacked(attack: Attack, server: &Server) -> Vec<String> {
    let (a, b) = (Tenant::new(server, "key-of-tenant-a"), Tenant::new(server, "key-of-tenant-b"));
    let numbers = Arc::new(AtomicU64::new(ROWS));
    for tenant in [&a, &b] {
        let rows = ndjson(&model_calls(0, ROWS));
        assert_eq!(tenant.send("model_calls", rows).await.unwrap(), 200);
        // What is opened once is not counted.
        notice_once(tenant).await;
    }
    attack.prepare(&a).await;
    let quiet = notice(&b, &numbers).await;
    println!("{:24} {}", "in quiet", quiet.row());
    assert!(quiet.errors.is_empty(), "{:?}", quiet.errors);
    let reached = a.reached.load(Ordering::Relaxed);
    let (body, stop) = (Arc::new(attack.body()), Arc::new(AtomicBool::new(false)));
    let mut attackers = JoinSet::new();
    for number in 0..attack.many() {
        let (a, stop, body, numbers) = (a.clone(), stop.clone(), body.clone(), numbers.clone());
        attackers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                attack.once(number, &a, &body, &numbers).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let noticed = notice(&b, &numbers).await;
    stop.store(true, Ordering::Relaxed);
    attackers.abort_all();
    while attackers.join_next().await.is_some() {}
    println!("{:24} {}", format!("{attack:?} x {}", attack.many()), noticed.row());
    let reached = a.reached.load(Ordering::Relaxed) - reached;
    println!("{:24} {reached} times it reached the server", "");
    assert!(reached > 0 || !is_long(), "{attack:?} did nothing");
    assert!(noticed.errors.is_empty(), "{attack:?}: {:?}", noticed.errors);
    assert!(
        !noticed.asked.is_empty() && !noticed.sent.is_empty(),
        "{attack:?}: nothing was answered"
    );
    server.is_alive().await;
    notice_once(&b).await;
    let times = [("asked", &noticed.asked, &quiet.asked), ("sent", &noticed.sent, &quiet.sent)];
    let p99s = times.map(|(what, noticed, quiet)| {
        (what, Noticed::percentile(noticed, 0.99), Noticed::percentile(quiet, 0.99))
    });
    let is_slow = |p99: Duration, quiet: Duration| p99 > quiet.mul_f64(SLOWER_MAX).max(NOISE);
    let slow = p99s.into_iter().filter(|(_, p99, quiet)| is_slow(*p99, *quiet));
    slow.map(|(what, p99, quiet)| format!("{attack:?}, {what}: {p99:?} beside {quiet:?}")).collect()
}

/// Longest that a client tries to get in: a newcomer waits two seconds for a place before it is told that there is none.
const LET_IN_MAX: Duration = Duration::from_secs(10);

/// What is answered when a connection that waited for long was closed while it is used again, or newcomers stood in a queue
/// that was full: a client comes again, a moment later.
async fn until_let_in<T, F>(mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, reqwest::Error>>,
{
    let began = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(began.elapsed() < LET_IN_MAX, "not let in: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn notice_once(tenant: &Tenant) {
    const QUERY: &str = "{ modelCalls(first: 1) { totalCount } }";
    let answer = until_let_in(|| tenant.ask(QUERY)).await;
    assert!(answer.get("errors").is_none(), "{answer}");
}
