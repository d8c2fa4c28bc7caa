//! Who sees a part learns nothing of the rest: two worlds differ in all that is kept back, and whatever is asked, the answers are the same.
//!
//! That is stronger than looking for secrets in answers: counts, orders, costs, errors and what is not there must be alike, too.

mod more;

use std::time::{Duration, Instant};

use async_graphql::Request;
use engine::{Claim, GrantSet, Grants, IngestRequest, IngestRows, Principal};
use futures::StreamExt;
use jobs::{RunRequest, RunState};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use regex::Regex;
use serde_json::json;

use super::{Rig, document, messages_of, name, who};
use crate::answer::Answers;
use crate::service::Accepts;

const SPEC: &str = r#"
name = "notes"
key = ["id"]
time_column = "at"
columns = [
    {name = "id", type = "int64"},
    {name = "at", type = "timestamp"},
    {name = "team", type = "text"},
    {name = "body", type = "text", nullable = true},
    {name = "amount", type = "int64", nullable = true},
    {name = "price", type = "float64", nullable = true},
    {name = "phone", type = "text", nullable = true},
    {name = "secret", type = "text", nullable = true},
    {name = "seen_at", type = "timestamp", nullable = true},
    {name = "tags", type = "list(text)", nullable = true},
]
"#;
/// Not granted, with a relation to what is.
const VAULT: &str = r#"
name = "vault"
key = ["id"]
relations = [{column = "note_id", to = "notes"}]
columns = [{name = "id", type = "int64"}, {name = "combination", type = "text"}, {name = "note_id", type = "int64"}]
"#;
/// Some of them to notes that are kept back, and some that are kept back to notes that are seen; the column of a second relation is
/// behind a mask, and what a third one leads to is not granted.
const REPLIES: &str = r#"
name = "replies"
key = ["id"]
relations = [
    {column = "note_id", to = "notes"},
    {name = "same_amount", column = "amount", to = "notes", to_column = "amount"},
    {name = "kept", column = "note_id", to = "VAULT"},
]
columns = [
    {name = "id", type = "int64"},
    {name = "note_id", type = "int64"},
    {name = "team", type = "text"},
    {name = "amount", type = "int64"},
    {name = "text", type = "text"},
]
"#;
/// Of a team that may see some of `notes`, and of `mail` the rows of its team.
const GRANTS: &str = r#"{
    "salt": "0123456789abcdef",
    "datasets": {
        "notes": {"rows": "team = claim.team", "masks": {
            "secret": "hide", "phone": "last-4", "amount": "bucket 100", "seen_at": "bucket 1d"
        }},
        "mail": {"rows": "team = claim.team"},
        "replies": {"rows": "team = claim.team"},
        "embeddings": {"rows": "length(id) = 1"}
    }
}"#;
/// Behind the last message of a subscription nothing comes for so long.
const QUIET: Duration = Duration::from_millis(30);
/// Where nothing came at all, or not the same, another look takes longer.
const LONGER: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(2)];
/// One request of so many is a subscription that has something to tell.
const TELLING_EVERY: usize = 40;
/// Commits that bring the notes.
const PARTS: i64 = 3;
const TENANT: &str = "tenant-b";

/// The same to who sees a part, and otherwise another in everything: rows kept back by number, id and value, columns behind masks,
/// datasets that are not granted, other tenants, and runs.
struct World {
    rig: Rig,
    /// What somebody else may have told: ids of runs, cursors.
    run: String,
}

fn notes(world: i64, part: i64) -> String {
    let mut lines = Vec::new();
    for n in part * 20..part * 20 + 20 {
        let (day, hour) = (1 + n % 27, (n * 7 + world * 5) % 24);
        lines.push(json!({
            "id": n * 10, "at": format!("2026-03-{day:02}T00:{:02}:00Z", n % 60), "team": "red",
            "body": format!("note {} of red", n % 7), "price": f64::from(n as i32 % 9) / 4.0,
            // Behind masks: the same hundred, day and last letters.
            "amount": (n % 5) * 100 + (n * 13 + world * 31) % 100,
            "seen_at": format!("2026-03-{day:02}T{hour:02}:00:00Z"),
            "phone": format!("+49 {}{:06} 1234", world + 1, n),
            "secret": format!("secret {} of world {world}", n * (world + 2)),
            "tags": [format!("tag {}", n % 3)],
        }));
    }
    // More of them in one world than in the other.
    let team = ["blue", "green"][world as usize];
    for n in 0..5 + world * 4 {
        lines.push(json!({
            "id": part * 1_000 + n * 10 + 1 + world * 3, "at": format!("2026-0{}-11T01:00:00Z", 1 + world),
            "team": team, "body": format!("world {world} is {n}"),
            "price": 1e6 * (world + 1) as f64, "amount": 1_000_000 * (world + 1) + n, "phone": null,
            "secret": "x", "seen_at": null, "tags": [format!("world {world}")],
        }));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn mail(world: usize) -> String {
    let hidden =
        [["fish is cheap", "a boat sank"], ["my card was stolen", "the train is late"]][world];
    let line = |id: i64, body: &str, team: &str| {
        json!({"id": id, "body": body, "team": team}).to_string() + "\n"
    };
    let seen = ["my card was stolen on the train", "the train took my card", "how do I top up"];
    let seen = seen.iter().zip(1..).map(|(body, id)| line(id, body, "red"));
    let hidden = hidden.iter().zip(10..).map(|(body, id)| line(id, body, "blue"));
    seen.chain(hidden).collect()
}

fn replies(world: i64) -> String {
    let mut lines = Vec::new();
    for n in 0..12i64 {
        // Of notes that are seen, and of some that are there in one world alone.
        let note = if n % 3 == 0 { n * 10 + 1 } else { n * 10 };
        lines.push(json!({"id": n, "note_id": note, "team": "red", "amount": n * 100, "text": format!("reply {n}")}));
    }
    for n in 0..6 + world * 3 {
        let text = format!("world {world} answers");
        lines.push(json!({"id": 100 + n, "note_id": n * 10 * (world + 1), "team": "blue", "amount": n, "text": text}));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

async fn ingest(rig: &Rig, who: &Principal, dataset: &str, lines: String) {
    let format = datasets::read::Format::Ndjson;
    let rows = IngestRows::Body { bytes: lines.into(), format, name: "body".to_owned() };
    let request = IngestRequest { rows, producer: None };
    let receipt = rig.engine.ingest(who, &name(dataset), request).await.unwrap();
    assert_eq!(receipt.quarantined, 0);
}

impl World {
    async fn new(world: usize) -> Self {
        let rig = Rig::new().await;
        let spec = |text: &str| datasets::DatasetSpec::from_toml(text, "test").unwrap();
        rig.create(spec(SPEC)).await;
        for part in 0..PARTS {
            ingest(&rig, &who(), "notes", notes(world as i64, part)).await;
        }
        let spec_of_mail = "name = \"mail\"\nkey = [\"id\"]\ncolumns = [{name = \"id\", type = \"int64\"}, \
                            {name = \"body\", type = \"text\"}, {name = \"team\", type = \"text\"}]";
        rig.create(spec(spec_of_mail)).await;
        ingest(&rig, &who(), "mail", mail(world)).await;
        let params = json!({"dataset": "mail", "text_columns": ["body"], "embedder": "ngram", "dimension": 64});
        let request = RunRequest { job: "embed".into(), params, ..RunRequest::default() };
        let record = rig.runner.submit(&who(), request).await.unwrap().wait().await.unwrap();
        assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
        // One world has a dataset that the other has under another name, in the same tenant and in another.
        for who in [who(), neighbour()] {
            let named = ["vault", "safe"][world];
            let spec = spec(&VAULT.replace("vault", named));
            rig.engine.create_dataset(&who, spec).await.unwrap();
            let rows = (0..3 + world)
                .map(|n| json!({"id": n, "combination": format!("{n}{world}"), "note_id": n * 10}));
            let rows = rows.map(|row| format!("{row}\n")).collect();
            ingest(&rig, &who, named, rows).await;
        }
        rig.create(spec(&REPLIES.replace("VAULT", ["vault", "safe"][world]))).await;
        ingest(&rig, &who(), "replies", replies(world as i64)).await;
        Self { rig, run: record.id.to_string() }
    }
}

fn neighbour() -> Principal {
    Principal { tenant: TENANT.parse().unwrap(), ..who() }
}

fn seer() -> Principal {
    let set: GrantSet = serde_json::from_str(GRANTS).unwrap();
    let claims = [("team".to_owned(), Claim::Text("red".to_owned()))].into();
    Principal { grants: Grants::limited(set, claims).unwrap(), ..who() }
}

const ORDERED: &[&str] = &["eq", "ne", "gt", "gte", "lt", "lte", "isNull", "in", "between"];
const TEXTS: &[&str] =
    &["eq", "ne", "gt", "lte", "contains", "regex", "ilike", "isNull", "in", "startsWith"];
const LISTS: &[&str] = &["has", "isNull"];

/// Random requests, of what there is and of what there is not.
struct Asker {
    random: ChaCha8Rng,
    cursors: Vec<String>,
    runs: Vec<String>,
    nodes: Vec<String>,
}

impl Asker {
    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of.choose(&mut self.random).unwrap()
    }

    /// Most often one that can be asked for.
    fn column(&mut self) -> &'static str {
        match self.random.random_range(0..20) {
            0 => self.one(&["secret", "combination", "rowId"]),
            _ => self
                .one(&["id", "at", "team", "body", "amount", "price", "phone", "seenAt", "tags"]),
        }
    }

    fn shown(&mut self) -> String {
        let count = self.random.random_range(1..4);
        (0..count).map(|_| self.column()).collect::<Vec<_>>().join(" ")
    }

    fn condition(&mut self) -> String {
        let column = self.column();
        let number = self.random.random_range(-10..1_300).to_string();
        let (value, operators) = match column {
            "id" | "amount" => (format!("\"{number}\""), ORDERED),
            "price" => (number, ORDERED),
            "at" | "seenAt" => {
                let day = self.random.random_range(1..28);
                (format!("\"2026-03-{day:02}T12:00:00Z\""), ORDERED)
            }
            "tags" => (self.one(&["\"tag 1\"", "\"world 1\""]).to_owned(), LISTS),
            _ => {
                let texts = &[
                    "red",
                    "blue",
                    "green",
                    "x",
                    "note 3 of red",
                    "world 1 is 2",
                    "…1234",
                    "+49 1000003 1234",
                    "secret 6 of world 1",
                ];
                (format!("\"{}\"", self.one(texts)), TEXTS)
            }
        };
        let operator = match self.random.random_range(0..30) {
            0 => self.one(TEXTS),
            _ => self.one(operators),
        };
        match operator {
            "isNull" => format!("{{{column}: {{isNull: true}}}}"),
            "in" => format!("{{{column}: {{in: [{value}]}}}}"),
            "between" => format!("{{{column}: {{between: [{value}, {value}]}}}}"),
            _ => format!("{{{column}: {{{operator}: {value}}}}}"),
        }
    }

    fn filter(&mut self) -> String {
        match self.random.random_range(0..4) {
            0 => "{}".to_owned(),
            1 => format!("{{not: {}}}", self.condition()),
            2 => format!("{{or: [{}, {}]}}", self.condition(), self.condition()),
            _ => self.condition(),
        }
    }

    fn order(&mut self) -> String {
        let column = self.column();
        let direction = self.one(&["ASC", "DESC", "DESC_NULLS_FIRST"]);
        format!("[{{{column}: {direction}}}]")
    }

    fn as_of(&mut self) -> String {
        match self.random.random_range(0..12) {
            0 => format!(", asOf: {{version: {}}}", self.random.random_range(0..7)),
            1 => ", asOf: {time: \"2020-01-01T00:00:00Z\"}".to_owned(),
            _ => String::new(),
        }
    }

    /// A dataset's field; some of one world alone, or of none.
    fn field(&mut self) -> &'static str {
        match self.random.random_range(0..6) {
            0 => self.one(&[
                "mail",
                "vault",
                "safe",
                "nothing",
                "runs",
                "runStages",
                "embeddings",
                "replies",
            ]),
            _ => "notes",
        }
    }

    /// A subscription that is told something by all who see some of the notes: of the versions behind one that is not the last.
    fn telling(&mut self) -> String {
        let since = self.random.random_range(0..PARTS);
        let filter = self.one(&[
            "{}",
            "{team: {eq: \"red\"}}",
            "{team: {ne: \"red\"}}",
            "{body: {contains: \"note 3\"}}",
        ]);
        let shown =
            self.one(&["id body", "id amount phone", "seenAt tags price", "at team amount"]);
        format!(
            "subscription {{ notesChanged(since: {since}, where: {filter}) {{ version previousVersion collapsed added {{ count nodes {{ {shown} }} }} removed {{ count }} }} }}"
        )
    }

    fn request(&mut self) -> String {
        let (filter, as_of) = (self.filter(), self.as_of());
        match self.random.random_range(0..28) {
            20.. => self.reading(&filter, &as_of),
            0..=6 => {
                let (field, order, shown) = (self.field(), self.order(), self.shown());
                let rows =
                    self.one(&["first: 3", "first: 100", "last: 4", "first: 0", "first: 1001"]);
                format!(
                    "{{ {field}({rows}, where: {filter}, orderBy: {order}{as_of}) {{ version totalCount nodes {{ {shown} }} pageInfo {{ endCursor startCursor hasNextPage hasPreviousPage }} }} }}"
                )
            }
            7..=11 => {
                let (field, other) = (self.field(), self.column());
                let measure = self.one(&[
                    "sum",
                    "avg",
                    "min",
                    "max",
                    "countDistinct",
                    "first",
                    "last",
                    "p90",
                    "stddev",
                    "approxDistinct",
                ]);
                let key = self.one(&["team", "body", "phone", "id", "secret"]);
                let by = key.to_uppercase();
                let other = match self.random.random_range(0..8) {
                    0 => other,
                    _ => self.one(&["amount", "price", "id"]),
                };
                let having = self.one(&[
                    "",
                    ", having: {count: {gt: 2}}",
                    ", having: {max: {amount: {gt: 900000}}}",
                    ", orderBy: [{count: DESC}]",
                ]);
                let of = self.condition();
                format!(
                    "{{ {field}Groups(groupBy: [{by}], where: {filter}{having}{as_of}) {{ version totalCount nodes {{ {key} count some: count(where: {of}) {measure} {{ {other} }} }} }} }}"
                )
            }
            12 => {
                let to = match self.random.random_range(0..3) {
                    0 => format!("id: \"{}\"", self.random.random_range(0..14)),
                    _ => format!(
                        "text: \"{}\"",
                        self.one(&["my card was stolen", "fish", "a boat", "train"])
                    ),
                };
                let field = self.one(&["mail", "notes", "vault"]);
                format!(
                    "{{ {field}Similar(to: {{{to}}}, k: 9, where: {filter}{as_of}) {{ version candidates matches {{ score node {{ id body }} }} }} }}"
                )
            }
            13 => {
                let cursor = self.cursors.choose(&mut self.random).unwrap().clone();
                let (argument, order) =
                    (self.one(&["after", "before"]), self.one(&["", ", orderBy: [{amount: ASC}]"]));
                format!(
                    "{{ notes({argument}: \"{cursor}\"{order}) {{ totalCount nodes {{ id amount }} pageInfo {{ hasNextPage hasPreviousPage }} }} }}"
                )
            }
            14 => {
                let named = self.one(&["notes", "vault", "safe", "nothing", "mail", "runs"]);
                self.one(&[
                    "{ datasets { name rows bytes files version keys: columns { name } } unreadableDatasets { name reason } droppedDatasets { name } }",
                    "{ dataset(name: \"NAME\") { name rows bytes files version description columns { name type } } }",
                    "{ dataset(name: \"NAME\") { versions { version at runId rowsAdded operation } } }",
                    "{ __type(name: \"VaultRow\") { name } notes: __type(name: \"NotesRow\") { fields { name } } }",
                    "{ lineage(dataset: \"NAME\") { nodes { name } } }",
                ])
                .replace("NAME", named)
            }
            15 => {
                let run = self.runs.choose(&mut self.random).unwrap().clone();
                self.one(&[
                    "{ run(id: \"RUN\") { id state job params inputs { dataset } summary } }",
                    "{ runs(first: 5) { id } }",
                    "{ usage { runs } }",
                    "{ schedules { name } pipelines { name } models { name } }",
                    "mutation { cancelRun(id: \"RUN\") { id } }",
                    "mutation { retryRun(id: \"RUN\") { id } }",
                    "{ queue { waiting } workers { label } }",
                ])
                .replace("RUN", &run)
            }
            16 => {
                let named = self.one(&[
                    "vault",
                    "safe",
                    "notes",
                    "default.vault",
                    "\\\"tenant-b\\\".\\\"vault\\\"",
                    "information_schema.tables",
                ]);
                let sql = self
                    .one(&[
                        "SELECT * FROM NAME",
                        "SELECT count(*) FROM NAME",
                        "DESCRIBE NAME",
                        "SHOW TABLES",
                    ])
                    .replace("NAME", named);
                format!(
                    "mutation {{ runJob(job: \"sql\", params: {{query: \"{sql}\", output: \"stolen\"}}) {{ id }} }}"
                )
            }
            17 => {
                let field = self.field();
                self.one(&[
                    "mutation { FIELDDelete(where: {id: {gt: 5}}) { rows version } }",
                    "mutation { FIELDUpdate(where: {id: {eq: 10}}, set: {body: \"mine\"}) { rows version } }",
                    "mutation { dropDataset(name: \"FIELD\") { name } }",
                    "mutation { createDataset(spec: {name: \"FIELD\", columns: [{name: \"id\", type: \"int64\"}]}) { name } }",
                    "mutation { renameDataset(name: \"FIELD\", to: \"mine\") { name } }",
                ])
                .replace("FIELD", field)
            }
            _ => {
                let (field, shown) = (self.field(), self.shown());
                let since = self.random.random_range(0..4);
                format!(
                    "subscription {{ {field}Changed(since: {since}, where: {filter}) {{ version previousVersion added {{ count nodes {{ {shown} }} }} removed {{ count }} }} }}"
                )
            }
        }
    }
}

/// What comes of a request, of a subscription its first messages, without what two runs of one program have differently.
async fn answer(
    world: &World,
    who: &Principal,
    query: &str,
    blots: &Regex,
    quiet: Duration,
) -> String {
    let answers = world.rig.service.answer(who, Request::new(query), "id", Accepts::Streams).await;
    let text = match answers {
        Answers::One(answer) => document(&answer).to_string(),
        Answers::Many(events) => {
            let mut answers = messages_of(events);
            let mut messages = Vec::new();
            // As many as there are: behind the last one nothing comes for so long.
            while let Ok(Some(answer)) = tokio::time::timeout(quiet, answers.next()).await {
                messages.push(document(&answer).to_string());
            }
            messages.join("\n")
        }
    };
    blots.replace_all(&text, "${audit}${float}…").into_owned()
}

fn requests() -> usize {
    std::env::var("COLONNADE_ISOLATION").map_or(400, |requests| requests.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_asked_tells_nothing_of_what_is_kept_back() {
    let seed = std::env::var("COLONNADE_TEST_SEED").ok().filter(|seed| !seed.is_empty());
    let seed: u64 = seed.map_or_else(rand::random, |seed| seed.parse().unwrap());
    eprintln!("COLONNADE_TEST_SEED={seed}");
    let worlds = [World::new(0).await, World::new(1).await];
    // Ids, times of now, the last digits of what was summed up in another order, and how well the
    // audit's own ids, times and hashes pack.
    let blots = Regex::new(
        r#"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|\+00:00)|(?P<float>\d\.\d{9})\d+|(?P<audit>"name":"audit","rows":"\d+","bytes":")\d+"#,
    )
    .unwrap();
    let mut cursors = vec!["AAAA".to_owned()];
    for order in ["", ", orderBy: [{amount: ASC}]"] {
        let query = format!("{{ notes(first: 40{order}) {{ edges {{ cursor }} }} }}");
        let edges = worlds[0].rig.data(&query).await["notes"]["edges"].as_array().unwrap().clone();
        cursors.extend(edges.iter().map(|edge| edge["cursor"].as_str().unwrap().to_owned()));
    }
    let runs = worlds.iter().map(|world| world.run.clone()).collect();
    let random = ChaCha8Rng::seed_from_u64(seed);
    let nodes = more::nodes(&worlds).await;
    let mut asker = Asker { random, cursors, runs, nodes };
    let (mut told, mut pushed, mut errors, count) = (0, 0, 0, requests());
    for number in 0..count {
        let is_telling = number % TELLING_EVERY == 7;
        let query = if is_telling { asker.telling() } else { asker.request() };
        // Another tenant, who sees all of its own, which is nothing; and who sees a part.
        let stranger = Principal { tenant: "tenant-c".parse().unwrap(), ..who() };
        // What it makes in its own tenant is not the same twice.
        let is_mine = query.contains("runJob") || query.contains("createDataset");
        let me = if number % 9 == 0 && !is_mine && !is_telling { stranger } else { seer() };
        if number % 3 == 0 && !query.starts_with("mutation") {
            for world in &worlds {
                // What it finds is not found again by who may not.
                answer(world, &who(), &query, &blots, QUIET).await;
            }
        }
        let is_subscription = query.starts_with("subscription");
        let ask = async |quiet: Duration| {
            let [one, other] = &worlds;
            tokio::join!(
                answer(one, &me, &query, &blots, quiet),
                answer(other, &me, &query, &blots, quiet)
            )
        };
        let (mut one, mut other) = ask(QUIET).await;
        // Where one was slow to tell, or both were, which would look alike.
        for longer in LONGER {
            if !is_subscription || (one == other && !one.is_empty()) {
                break;
            }
            (one, other) = ask(longer).await;
            // There may be nothing to tell, unless there is.
            if one.is_empty() && other.is_empty() && !is_telling {
                break;
            }
        }
        assert_eq!(one, other, "{query}");
        let (is_error, is_silent) = (one.contains("\"errors\""), one.is_empty());
        assert!(!is_telling || !(is_error || is_silent), "{query}: {one}");
        errors += usize::from(is_error);
        told += usize::from(!is_error && !is_silent);
        pushed += usize::from(is_subscription && !is_error && !is_silent);
    }
    eprintln!(
        "{count} requests, {told} with an answer, {pushed} of them subscriptions, {errors} with an error: alike in both worlds"
    );
    assert!(told * 5 > count, "{told} of {count} requests had an answer");
    assert!(pushed >= count / TELLING_EVERY, "{pushed} of {count} were told something");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_between_the_worlds_is_seen_by_who_sees_all() {
    // Or the comparison would prove nothing.
    let (one, other) = (World::new(0).await, World::new(1).await);
    let blots = Regex::new("never in an answer").unwrap();
    for query in [
        "{ notes { totalCount } }",
        "{ notes(where: {team: {eq: \"red\"}}, first: 1) { nodes { secret } } }",
        "{ notes(where: {team: {eq: \"red\"}}, first: 9) { nodes { amount } } }",
        "{ notes(where: {team: {eq: \"red\"}}, first: 9) { nodes { phone } } }",
        "{ notes(where: {team: {eq: \"red\"}}, first: 9) { nodes { seenAt } } }",
        "{ vault { totalCount } }",
        "{ datasets { name } }",
        "{ notes { nodes { related { replies { totalCount } } } } }",
        "{ notesDistinct(columns: [TEAM]) { nodes { team } } }",
        "{ notesGroups(groupBy: [TEAM], top: 1) { nodes { team isOther count } } }",
        "{ mailSimilar(to: {text: \"my card was stolen\"}) { matches { score } } }",
    ] {
        let all = who();
        let in_one = answer(&one, &all, query, &blots, QUIET).await;
        assert_ne!(in_one, answer(&other, &all, query, &blots, QUIET).await, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "times, on a quiet machine"]
async fn what_is_not_granted_takes_as_long_as_what_is_not_there() {
    let world = World::new(0).await;
    let me = seer();
    let mut medians = Vec::new();
    for field in ["vault", "vaulx"] {
        let query = format!("{{ {field} {{ totalCount }} }}");
        let mut times = Vec::new();
        for _ in 0..1_000 {
            let begun = Instant::now();
            let answer = world.rig.ask_as(&me, query.as_str()).await;
            times.push(begun.elapsed());
            assert!(answer.get("data").is_none(), "{answer}");
        }
        times.sort();
        medians.push(times[times.len() / 2]);
    }
    eprintln!("not granted {:?}, not there {:?}", medians[0], medians[1]);
    let ratio = medians[0].as_secs_f64() / medians[1].as_secs_f64();
    assert!((0.8..1.25).contains(&ratio), "{medians:?}");
}
