//! Many subscribers of few different questions: each is told of every version, in order; when the last one is, what a socket costs, and
//! that who does not read disturbs nobody.
//!
//! `COLONNADE_AUDIENCE` says how many there are (default 100; one in twenty never reads), `COLONNADE_AUDIENCE_COMMITS` how many commits,
//! one a second (default 3); `COLONNADE_BREAKS` how often sockets break off (default 50). `make test-audience` takes 10,000, 300 and 1,000,
//! on a quiet machine.

use std::collections::BTreeMap;
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
/// From a commit until the last client has it, of 99 commits in a hundred, where there are few.
const LAST_TIME_MAX: Duration = Duration::from_secs(5);
/// So many that what the process does besides weighs little.
const MANY: usize = 2_000;
/// Sockets that are opened at a time.
const OPENING_MAX: usize = 64;

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

async fn subscribe(socket: &mut Socket, question: usize, since: u64) {
    let query = format!(
        "subscription {{ modelCallsChanged(since: {since}, where: {{inputTokens: {{gte: {question}}}}}) {{ version previousVersion \
         added {{ count }} }} }}"
    );
    let payload = json!({"query": query});
    send(socket, json!({"id": "1", "type": "subscribe", "payload": payload})).await;
}

/// Reads until version `last`, once it is said which that is; when each version was there.
async fn follow(mut socket: Socket, since: u64, last: Arc<AtomicU64>) -> Vec<(u64, SystemTime)> {
    let (mut seen, mut at) = (since, Vec::new());
    while seen < last.load(Ordering::Relaxed) {
        let message = receive(&mut socket).await;
        let change = &message["payload"]["data"]["modelCallsChanged"];
        let version = change["version"].as_u64().unwrap_or_else(|| panic!("{message}"));
        // One by one, or with a word on those between.
        assert_eq!(change["previousVersion"].as_u64(), Some(seen), "{message}");
        assert!(version > seen);
        at.extend((seen + 1..=version).map(|version| (version, SystemTime::now())));
        seen = version;
    }
    at
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
    // These ask for much, and take nothing.
    let mut silent = all(deaf, |_| open(&address)).await;
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
    server.accepts("model_calls", &model_calls(100 + commits, 1)).await;
    let mut latest: BTreeMap<u64, (SystemTime, usize)> = BTreeMap::new();
    while let Some(told) = following.join_next().await {
        for (version, at) in told.unwrap() {
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
    let (idle, busy) = (of_each(opened, clients), of_each(subscribed, clients + deaf));
    println!(
        "{clients} subscribers of {QUESTIONS} questions and {deaf} that never read, {commits} commits: commit -> last client median \
         {median:?}, p99 {p99:?}, most {:?}; a socket {idle} bytes, with its subscription {busy}; {:.0} % of a core",
        times[times.len() - 1],
        ticks as f64 / took.as_secs_f64()
    );
    // Of few, what the process does besides would be counted as theirs.
    if clients >= MANY {
        assert!(busy <= SOCKET_BYTES_MAX, "{busy} bytes");
    } else {
        assert!(p99 < LAST_TIME_MAX, "{p99:?}");
    }
    drop(silent);
}

/// Subscribes after what was seen, reads some, and goes away without a word, so many times; the versions that it was told.
async fn come_and_go(address: Arc<String>, since: u64, breaks: u64, seed: u64) -> Vec<u64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut seen, mut told) = (since, Vec::new());
    for _ in 0..breaks {
        let mut socket = open(&address).await;
        subscribe(&mut socket, 0, seen).await;
        for _ in 0..random.random_range(0..4) {
            let message = receive(&mut socket).await;
            let change = &message["payload"]["data"]["modelCallsChanged"];
            let version = change["version"].as_u64().unwrap_or_else(|| panic!("{message}"));
            assert_eq!(change["previousVersion"].as_u64(), Some(seen), "{message}");
            seen = version;
            told.push(version);
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
    let (mut n, mut commits, mut told) = (1, since, 0);
    while !clients.is_empty() {
        commits = server.accepts("model_calls", &model_calls(n, 1)).await;
        n += 1;
        while let Some(client) = clients.try_join_next() {
            let versions = client.unwrap();
            assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "{versions:?}");
            told += versions.len();
        }
    }
    println!(
        "{breaks} breaks of {CLIENTS} clients over {commits} versions: {told} messages, none missed, none twice"
    );
}
