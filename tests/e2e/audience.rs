//! Many subscribers of few different questions: each is told of every version, in order; when the last one is, what a socket costs, and
//! that who does not read disturbs nobody: some of them have sockets that no more goes into.
//!
//! `COLONNADE_AUDIENCE` says how many there are (default 100; one in twenty never reads), `COLONNADE_AUDIENCE_COMMITS` how many commits,
//! one a second (default 3); `COLONNADE_BREAKS` how often sockets break off (default 50). `make test-audience` takes 10,000, 300 and 1,000,
//! on a quiet machine.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use futures::{SinkExt as _, StreamExt as _};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::harness::{
    PATIENCE, Server, binary, make, model_calls, random as seeded, without_settings,
};

/// Different subscriptions.
const QUESTIONS: usize = 50;
/// Most that a socket may cost with its subscription, where there are many.
const SOCKET_BYTES_MAX: u64 = 20 << 10;
/// From a commit until the last client has it: of half the commits, and where there are many clients of 99 in a hundred.
const LAST_TIME_MAX: Duration = Duration::from_secs(1);
/// The same of all commits, where there are few clients: other tests, and a build, may be at work beside them.
const FEW_LAST_TIME_MAX: Duration = Duration::from_secs(5);
/// So many that what the process does besides weighs little.
const MANY: usize = 2_000;
/// Sockets that are opened at a time.
const OPENING_MAX: usize = 64;
/// A text that is longer than what the kernel holds for a socket.
const WIDE_BYTES: usize = 8 << 20;
/// Clients that ask for it at most: what they leave takes of the room for the answers of their tenant, which is that of all here.
const FULL_MAX: usize = 8;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open(address: &str) -> Socket {
    let mut request = format!("ws://{address}/graphql").into_client_request().unwrap();
    let protocol = "graphql-transport-ws".parse().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
    let config = WebSocketConfig::default().read_buffer_size(4 << 10);
    let connecting = tokio_tungstenite::connect_async_with_config(request, Some(config), false);
    let (mut socket, _) = connecting.await.unwrap();
    send(&mut socket, json!({"type": "connection_init"})).await;
    let ack = receive(&mut socket).await;
    assert_eq!(ack["type"], "connection_ack", "{ack}");
    socket
}

async fn send(socket: &mut Socket, message: Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}

/// The next message that is no heartbeat.
async fn receive(socket: &mut Socket) -> Value {
    loop {
        let next = tokio::time::timeout(PATIENCE, socket.next()).await.expect("a message in time");
        let Message::Text(text) = next.expect("an open socket").unwrap() else { continue };
        let message: Value = serde_json::from_str(&text).unwrap();
        match message["type"].as_str() {
            Some("ping") => send(socket, json!({"type": "pong"})).await,
            _ => return message,
        }
    }
}

async fn ask(socket: &mut Socket, query: String) {
    let payload = json!({"query": query});
    send(socket, json!({"id": "1", "type": "subscribe", "payload": payload})).await;
}

async fn subscribe(socket: &mut Socket, question: usize, since: u64) {
    let query = format!(
        "subscription {{ modelCallsChanged(since: {since}, where: {{inputTokens: {{gte: {question}}}}}) {{ version previousVersion \
         collapsed added {{ count }} }} }}"
    );
    ask(socket, query).await;
}

/// What a subscriber was told, where each commit brings a row that all questions take.
struct Told {
    /// Up to this version.
    version: u64,
    rows: u64,
    messages: u64,
}

impl Told {
    fn nothing_since(version: u64) -> Self {
        Self { version, rows: 0, messages: 0 }
    }

    /// Takes the next message; the versions that it tells of.
    fn takes(&mut self, message: &Value) -> RangeInclusive<u64> {
        let change = &message["payload"]["data"]["modelCallsChanged"];
        let version = change["version"].as_u64().unwrap_or_else(|| panic!("{message}"));
        let count = change["added"]["count"].as_str().and_then(|count| count.parse().ok());
        let rows: u64 = count.unwrap_or_else(|| panic!("{message}"));
        // One by one, or with a word on those between; one where files were put together has no row, and is not told.
        assert_eq!(change["previousVersion"].as_u64(), Some(self.version), "{message}");
        assert!(version > self.version && rows > 0, "{message}");
        assert_eq!(change["collapsed"], json!(rows > 1), "{message}");
        let of = self.version + 1..=version;
        *self = Self { version, rows: self.rows + rows, messages: self.messages + 1 };
        of
    }

    /// That it was told of each of `commits` up to its version, and of nothing else.
    fn has_all_of(&self, commits: &[u64], since: u64) {
        let there = commits.iter().filter(|commit| (since + 1..=self.version).contains(*commit));
        assert_eq!(self.rows, there.count() as u64, "from {since} to {}", self.version);
    }
}

/// Reads until version `last`, once it is said which that is; when each version was there.
async fn follow(
    mut socket: Socket,
    since: u64,
    last: Arc<AtomicU64>,
) -> (Told, Vec<(u64, SystemTime)>) {
    let (mut told, mut at) = (Told::nothing_since(since), Vec::new());
    while told.version < last.load(Ordering::Relaxed) {
        let message = receive(&mut socket).await;
        at.extend(told.takes(&message).map(|version| (version, SystemTime::now())));
    }
    (told, at)
}

/// Bytes that the kernel holds for each of these clients, at both ends of their sockets.
fn held_bytes(address: &str, clients: &[Socket]) -> Vec<usize> {
    let ends_of = |port: u16| format!(":{port:04X}");
    let server = ends_of(address.rsplit(':').next().unwrap().parse().unwrap());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split_whitespace().collect()).collect();
    let held = |socket: &Socket| {
        let MaybeTlsStream::Plain(stream) = socket.get_ref() else { panic!("it speaks TLS") };
        let client = ends_of(stream.local_addr().unwrap().port());
        let ends = rows.iter().filter(|row| {
            (row[1].ends_with(&client) && row[2].ends_with(&server))
                || (row[1].ends_with(&server) && row[2].ends_with(&client))
        });
        // What was not sent or not acknowledged, and what was not read.
        let bytes = ends.flat_map(|row| row[4].split(':'));
        bytes.map(|bytes| usize::from_str_radix(bytes, 16).unwrap()).sum::<usize>()
    };
    clients.iter().map(held).collect()
}

/// Waits until a message is on its way to each of these clients, and no more of it goes into their sockets.
async fn fill(address: &str, clients: &[Socket]) {
    const BEGUN_BYTES: usize = 64 << 10;
    let (begun, mut before) = (Instant::now(), Vec::new());
    loop {
        let held = held_bytes(address, clients);
        if held == before && held.iter().all(|bytes| *bytes > BEGUN_BYTES) {
            assert!(
                held.iter().all(|bytes| *bytes < WIDE_BYTES),
                "there is room for all of it: {held:?}"
            );
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{held:?}");
        before = held;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Processor time that the server took, in hundredths of a second.
fn processor_ticks(server: &Server) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

async fn all<F>(count: usize, make: impl Fn(usize) -> F) -> Vec<Socket>
where
    F: Future<Output = Socket>,
{
    futures::stream::iter(0..count).map(make).buffered(OPENING_MAX).collect().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_many_subscribers_is_told_of_every_version() {
    let clients = usize::try_from(number("COLONNADE_AUDIENCE", 100)).unwrap();
    let commits = number("COLONNADE_AUDIENCE_COMMITS", 3);
    let deaf = clients / 20;
    let full = deaf.div_ceil(2).min(FULL_MAX);
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    make(&root, "model_calls").await;
    let mut command = Command::new(binary());
    command.arg("--data").arg(&root).args(["serve", "--listen", "127.0.0.1:0"]);
    without_settings(&mut command);
    command.env("COLONNADE_MODELS", root.join("models"));
    let most = (clients + deaf) * 8 + 1_000;
    for limit in ["SUBSCRIPTIONS_MAX", "CONNECTIONS_MAX"] {
        command.env(format!("COLONNADE_LIMITS_{limit}"), most.to_string());
    }
    let server = Server::of(command).await.unwrap_or_else(|log| panic!("{log}"));
    let since = server.accepts("model_calls", &model_calls(0, 100)).await;
    let address = Arc::new(server.address.clone());

    // What the first few cost is there once.
    let mut warm = open(&address).await;
    subscribe(&mut warm, 0, since).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = server.resident_bytes();
    let mut sockets = all(clients, |_| open(&address)).await;
    let opened = server.resident_bytes();
    for (n, socket) in sockets.iter_mut().enumerate() {
        subscribe(socket, n % QUESTIONS, since).await;
    }
    // These take nothing.
    let mut silent = all(deaf - full, |_| open(&address)).await;
    for socket in &mut silent {
        subscribe(socket, 0, since).await;
    }
    // Until all subscriptions are there, and what it took to begin them has been given back.
    tokio::time::sleep(Duration::from_millis(500 + clients as u64)).await;
    let mut subscribed = server.resident_bytes();
    for _ in 0..if clients >= MANY { 30 } else { 0 } {
        tokio::time::sleep(Duration::from_secs(1)).await;
        subscribed = subscribed.min(server.resident_bytes());
    }

    let last = Arc::new(AtomicU64::new(u64::MAX));
    let mut following = JoinSet::new();
    for socket in sockets {
        following.spawn(follow(socket, since, last.clone()));
    }
    // And these neither, and ask for more than their sockets hold: it is cut off after half a minute.
    let mut wide = model_calls(100 + commits + 1, 1);
    wide[0]["operation"] = json!("x".repeat(WIDE_BYTES));
    let mut sent = vec![server.accepts("model_calls", &wide).await];
    let mut filled = all(full, |_| open(&address)).await;
    for socket in &mut filled {
        let shown = "version added { nodes { id operation } }";
        let query = format!("subscription {{ modelCallsChanged(since: {since}) {{ {shown} }} }}");
        ask(socket, query).await;
    }
    fill(&address, &filled).await;
    let (begun, ticks) = (Instant::now(), processor_ticks(&server));
    let mut next = tokio::time::interval(Duration::from_secs(1));
    // Small files are put together meanwhile, which is a version that has nothing to tell.
    let mut versions = Vec::new();
    for n in 0..commits {
        next.tick().await;
        versions.push(server.accepts("model_calls", &model_calls(100 + n, 1)).await);
    }
    next.tick().await;
    last.store(versions[versions.len() - 1], Ordering::Relaxed);
    sent.extend(&versions);
    sent.push(server.accepts("model_calls", &model_calls(100 + commits, 1)).await);
    let mut latest: BTreeMap<u64, (SystemTime, usize)> = BTreeMap::new();
    while let Some(told) = following.join_next().await {
        let (told, at) = told.unwrap();
        told.has_all_of(&sent, since);
        for (version, at) in at {
            let (latest, clients) = latest.entry(version).or_insert((at, 0));
            (*latest, *clients) = (at.max(*latest), *clients + 1);
        }
    }
    let took = begun.elapsed();
    let ticks = processor_ticks(&server) - ticks;
    let log = root.join("default/model_calls/_delta_log");
    let mut times: Vec<Duration> = (versions.iter())
        .map(|version| {
            let (at, told) = latest[version];
            assert_eq!(told, clients, "version {version}");
            // The file is written just before it gets its name, which is the commit.
            let commit = std::fs::metadata(log.join(format!("{version:020}.json"))).unwrap();
            at.duration_since(commit.modified().unwrap()).unwrap_or_default()
        })
        .collect();
    times.sort_unstable();
    let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    let of_each = |bytes: u64, sockets: usize| bytes.saturating_sub(before) / sockets as u64;
    let most = times[times.len() - 1];
    let (idle, busy) = (of_each(opened, clients), of_each(subscribed, clients + silent.len()));
    println!(
        "{clients} subscribers of {QUESTIONS} questions and {deaf} that never read, the sockets of {full} of them full, {commits} \
         commits: commit -> last client median {median:?}, p99 {p99:?}, most {most:?}; a socket {idle} \
         bytes, with its subscription {busy}; {:.0} % of a core",
        ticks as f64 / took.as_secs_f64()
    );
    assert!(median <= LAST_TIME_MAX, "{median:?}");
    if clients >= MANY {
        assert!(p99 <= LAST_TIME_MAX, "{p99:?}");
        // Of few, what the process does besides would be counted as theirs.
        assert!(busy <= SOCKET_BYTES_MAX, "{busy} bytes");
    } else {
        assert!(most <= FEW_LAST_TIME_MAX, "{most:?}");
    }
    drop((silent, filled));
}

/// Subscribes after what was seen, reads some, and goes away without a word, so many times; what it was told.
async fn come_and_go(address: Arc<String>, since: u64, breaks: u64, seed: u64) -> Told {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut told = Told::nothing_since(since);
    for _ in 0..breaks {
        let mut socket = open(&address).await;
        subscribe(&mut socket, 0, told.version).await;
        for _ in 0..random.random_range(0..4) {
            told.takes(&receive(&mut socket).await);
        }
        // Some are cut off while they are told something.
        if random.random_bool(0.5) {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..30))).await;
        }
        drop(socket);
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_is_told_of_what_came_meanwhile_and_of_nothing_twice() {
    const CLIENTS: u64 = 10;
    let breaks = number("COLONNADE_BREAKS", 50);
    let folder = tempfile::tempdir().unwrap();
    let server = Server::holding(folder.path(), "model_calls").await;
    let since = server.accepts("model_calls", &model_calls(0, 1)).await;
    let address = Arc::new(server.address.clone());
    let mut clients = JoinSet::new();
    let mut random = seeded();
    for _ in 0..CLIENTS {
        clients.spawn(come_and_go(address.clone(), since, breaks / CLIENTS, random.random()));
    }
    let (mut commits, mut messages) = (Vec::new(), 0);
    while !clients.is_empty() {
        let n = commits.len() as u64 + 1;
        commits.push(server.accepts("model_calls", &model_calls(n, 1)).await);
        while let Some(told) = clients.try_join_next() {
            let told = told.unwrap();
            told.has_all_of(&commits, since);
            messages += told.messages;
        }
    }
    println!(
        "{breaks} breaks of {CLIENTS} clients over {} commits: {messages} messages, none missed, none twice",
        commits.len()
    );
    assert!(messages > 0, "nobody was told anything");
}
