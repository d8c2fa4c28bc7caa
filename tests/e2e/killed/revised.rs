//! Rows that are replaced, skipped, changed and deleted while the server is killed: in the end they are those of a model in memory,
//! whoever follows the changes, from server to server, has at each version what the table has there, and the changes since any
//! version lead from its rows to the newest.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::Place;
use crate::harness::{Answer, Change, PATIENCE, Server, Subscriber, random};

/// Clients that change rows, each those of its own keys.
const CLIENTS: u64 = 4;
/// Keys of each.
const KEYS: u64 = 50;

const SPEC: &str = r#"
name = "accounts"
key = ["id"]
[[columns]]
name = "id"
type = "int64"
[[columns]]
name = "value"
type = "int64"
nullable = true
"#;

/// Rows by their key.
type Rows = BTreeMap<u64, Option<u64>>;

#[derive(Clone)]
struct Load {
    address: watch::Receiver<Option<String>>,
    stopped: watch::Receiver<bool>,
}

/// What a client did.
struct Done {
    rows: Rows,
    /// How often it did each thing.
    done: BTreeMap<&'static str, u64>,
    cut_off: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_those_of_a_model_when_the_server_is_killed() {
    let kills = std::env::var("COLONNADE_KILLS").map_or(3, |text| text.parse().expect("a number"));
    let mut random = random();
    let folder = tempfile::tempdir().unwrap();
    let place = Place::local(folder.path());
    let (spec, empty) = (folder.path().join("accounts.toml"), folder.path().join("none.ndjson"));
    std::fs::write(&spec, SPEC).unwrap();
    std::fs::write(&empty, "").unwrap();
    let arguments =
        ["ingest", "accounts", empty.to_str().unwrap(), "--spec", spec.to_str().unwrap(), "--json"];
    place.colonnade(&arguments).await.json();

    let (address, address_seen) = watch::channel(None);
    let (stop, stopped) = watch::channel(false);
    let load = Load { address: address_seen, stopped };
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let random = ChaCha8Rng::seed_from_u64(random.random());
            tokio::spawn(change(client, load.clone(), random))
        })
        .collect();
    let (newest, newest_seen) = watch::channel(None);
    let follower = tokio::spawn(follow(load.address.clone(), newest_seen));
    for kill in 1..=kills {
        let server = place.serve().await;
        address.send_replace(Some(server.address.clone()));
        tokio::time::sleep(Duration::from_micros(random.random_range(1_000..400_000))).await;
        if kill % 50 == 0 {
            println!("{kill} of {kills} kills");
        }
        server.kill().await;
        address.send_replace(None);
    }
    // What was under way is done on the last server.
    let server = place.serve().await;
    stop.send_replace(true);
    address.send_replace(Some(server.address.clone()));
    let mut model = Rows::new();
    let (mut done, mut cut_off) = (BTreeMap::new(), 0);
    for client in clients {
        let of = tokio::time::timeout(PATIENCE, client).await.expect("a client ends").unwrap();
        model.extend(of.rows);
        cut_off += of.cut_off;
        for (what, times) in of.done {
            *done.entry(what).or_insert(0) += times;
        }
    }
    let (version, rows) = rows_at(&server, None).await;
    assert_eq!(rows, model, "at version {version}");
    newest.send_replace(Some(version));
    let followed = tokio::time::timeout(PATIENCE, follower).await.expect("it ends").unwrap();
    for (at, followed) in &followed {
        assert_eq!(*followed, rows_at(&server, Some(*at)).await.1, "followed to version {at}");
    }
    for since in 0..version {
        let mut changes = changes(&server.address, since).await.expect("a server");
        let mut at = since;
        let mut led = if since == 0 { Rows::new() } else { rows_at(&server, Some(since)).await.1 };
        while at < version {
            let change = changes.change().await;
            led = after(led, at, &change);
            at = change.version;
        }
        assert_eq!(led, rows, "since version {since}");
    }
    println!(
        "{kills} kills: {done:?}, {cut_off} cut off; {} rows at version {version} are those of the model; who followed had those of \
         the table at {} versions, and the changes since each of {version} lead to the newest",
        rows.len(),
        followed.len()
    );
    let looked = ["doctor", "--json"];
    assert!(server.stop().await.success());
    let findings = place.colonnade(&looked).await.json();
    assert!(!findings.to_string().contains("damage"), "{findings}");
}

/// Changes rows until it is told to stop, and then does what it was at.
async fn change(client: u64, load: Load, mut random: ChaCha8Rng) -> Done {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
    let mut of = Done { rows: Rows::new(), done: BTreeMap::new(), cut_off: 0 };
    let mut value = client;
    while !*load.stopped.borrow() {
        value += CLIENTS;
        let some = random.random_range(1..20);
        let mut keys: Vec<u64> =
            (0..some).map(|_| random.random_range(0..KEYS) * CLIENTS + client).collect();
        keys.sort_unstable();
        keys.dedup();
        let what =
            ["replace", "replace", "skip", "error", "delete", "update"][random.random_range(0..6)];
        let lines = |keys: &[u64]| {
            let row = |id: &u64| format!("{}\n", json!({"id": id, "value": value}));
            keys.iter().map(row).collect::<String>()
        };
        let selected = json!({"id": {"in": keys.iter().map(u64::to_string).collect::<Vec<_>>()}});
        let (path, body) = match what {
            "delete" => {
                let query =
                    "mutation($where: AccountsWhere) { accountsDelete(where: $where) { rows } }";
                (
                    "/graphql".to_owned(),
                    json!({"query": query, "variables": {"where": selected}}).to_string(),
                )
            }
            "update" => {
                let query = "mutation($where: AccountsWhere, $set: AccountsSet!) \
                             { accountsUpdate(where: $where, set: $set) { rows } }";
                let variables = json!({"where": selected, "set": {"value": value.to_string()}});
                ("/graphql".to_owned(), json!({"query": query, "variables": variables}).to_string())
            }
            _ => (format!("/v1/ingest/accounts?on_conflict={what}"), lines(&keys)),
        };
        let (answer, times) = until_answered(&http, &load, &path, &body).await;
        of.cut_off += times - 1;
        *of.done.entry(what).or_insert(0) += 1;
        let known = keys.iter().filter(|id| of.rows.contains_key(id)).count();
        if what == "error" {
            // Where one was cut off, what it did may be what it finds.
            if answer.status == 409 {
                assert!(known > 0 || times > 1, "{answer:?}");
                if known > 0 {
                    continue;
                }
            } else {
                assert_eq!(known, 0, "{answer:?}");
            }
        }
        let is_done = answer.status == 200 && answer.body.get("errors").is_none();
        assert!(is_done || what == "error", "{what}: {answer:?}");
        for id in keys {
            let is_there = of.rows.contains_key(&id);
            match what {
                "delete" => {
                    of.rows.remove(&id);
                }
                "update" if !is_there => {}
                "skip" if is_there => {}
                _ => {
                    of.rows.insert(id, Some(value));
                }
            }
        }
    }
    of
}

/// Sends it until there is an answer; how often that was.
async fn until_answered(
    http: &reqwest::Client,
    load: &Load,
    path: &str,
    body: &str,
) -> (Answer, u64) {
    let mut address = load.address.clone();
    let mut times = 1;
    loop {
        let now = address.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        let kind = if path == "/graphql" { "application/json" } else { "application/x-ndjson" };
        let request = http.post(format!("http://{now}{path}")).header("content-type", kind);
        match request.body(body.to_owned()).send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                if let Ok(text) = response.text().await {
                    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
                    return (Answer { status, body }, times);
                }
                times += 1;
            }
            // The address is that of the dead server for a moment more: nobody was reached.
            Err(error) if error.is_connect() => tokio::task::yield_now().await,
            Err(_) => times += 1,
        }
    }
}

fn number(value: &Value) -> u64 {
    value.as_str().map_or_else(|| value.as_u64().unwrap(), |text| text.parse().unwrap())
}

fn row_of(node: &Value) -> (u64, Option<u64>) {
    (number(&node["id"]), (!node["value"].is_null()).then(|| number(&node["value"])))
}

/// The rows at a version, or at the newest one.
async fn rows_at(server: &Server, version: Option<u64>) -> (u64, Rows) {
    let at = version.map_or_else(String::new, |version| format!("asOf: {{version: {version}}}, "));
    let query =
        format!("{{ accounts({at}first: 1000) {{ version totalCount nodes {{ id value }} }} }}");
    let answer = server.data(&query).await["accounts"].take();
    let nodes = answer["nodes"].as_array().unwrap();
    let rows: Rows = nodes.iter().map(row_of).collect();
    assert_eq!(rows.len(), nodes.len(), "a key is there twice: {answer}");
    assert_eq!(number(&answer["totalCount"]), rows.len() as u64);
    (number(&answer["version"]), rows)
}

/// Subscribes to what changes.
async fn changes(address: &str, since: u64) -> Option<Subscriber> {
    let rows = "{ count nodes(first: 1000) { id value } }";
    let query = format!(
        "subscription {{ accountsChanged(since: {since}) \
         {{ previousVersion version added {rows} removed {rows} }} }}"
    );
    Subscriber::try_open(address, "accountsChanged", &query).await
}

/// What the rows at version `at` are after a change.
fn after(mut rows: Rows, at: u64, change: &Change) -> Rows {
    let Change { version, previous_version, body } = change;
    assert_eq!(*previous_version, Some(at), "{body:?}");
    for node in body["removed"]["nodes"].as_array().unwrap() {
        let (id, value) = row_of(node);
        assert_eq!(rows.remove(&id), Some(value), "removed at version {version}");
    }
    for node in body["added"]["nodes"].as_array().unwrap() {
        let (id, value) = row_of(node);
        assert_eq!(rows.insert(id, value), None, "added at version {version}");
    }
    rows
}

/// Follows all changes to the newest version, on one server after the other; the rows at each version that it was told of.
async fn follow(
    mut address: watch::Receiver<Option<String>>,
    mut newest: watch::Receiver<Option<u64>>,
) -> BTreeMap<u64, Rows> {
    let (mut followed, mut at, mut rows) = (BTreeMap::new(), 0, Rows::new());
    loop {
        let now = address.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        let Some(mut following) = changes(&now, at).await else {
            tokio::task::yield_now().await;
            continue;
        };
        loop {
            let change = tokio::select! {
                change = following.try_change() => change,
                // Nothing more will come.
                _ = newest.wait_for(|newest| newest.is_some_and(|newest| at >= newest)) => return followed,
            };
            let Some(change) = change else { break };
            rows = after(rows, at, &change);
            at = change.version;
            followed.insert(at, rows.clone());
        }
    }
}
