//! A pipeline from ingest to a table, through GraphQL: what arrives begins it, a step that fails is mended and goes on, and servers
//! may be killed meanwhile.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Server, colonnade};

const NAME: &str = "tickets";

fn definition(report: &str) -> String {
    format!(
        r#"
name = "{NAME}"

[trigger]
on_change = "notes"
at_least = 5
every_seconds = 0

[[steps]]
name = "report"
job = "sql"
params = {{ query = "{report}", output = "copies_by_queue", key = ["queue"] }}

[[steps]]
name = "duplicates"
job = "duplicates"
params = {{ dataset = "notes", text_columns = ["text"], vectors = "embeddings", order_column = "id" }}

[[steps]]
name = "embed"
job = "embed"
params = {{ dataset = "notes", text_columns = ["text"], embedder = "ngram" }}
"#
    )
}

const REPORT: &str = "SELECT n.queue, count(*) AS copies FROM duplicate_clusters d JOIN notes n ON n.id = d.id GROUP BY n.queue";

/// Rows of `notes`: each text twice, in two queues.
fn notes(from: u64, pairs: u64) -> Vec<Value> {
    let words = ["refund", "invoice", "password", "crash", "parcel", "card", "slow", "account"];
    let text = |pair: u64| {
        let at = |n: u64| words[usize::try_from((pair * 7 + n * (pair + 3)) % 8).unwrap()];
        (0..12).map(at).collect::<Vec<_>>().join(" ") + &format!(" {pair}")
    };
    (from..from + pairs)
        .flat_map(|pair| {
            ["billing", "support"].map(|queue| {
                json!({"id": format!("{queue}-{pair}"), "queue": queue, "text": text(pair)})
            })
        })
        .collect()
}

async fn apply(server: &Server, report: &str) -> Value {
    let query = "mutation ($definition: String!) { applyPipeline(definition: $definition) { name waitsFor \
                 nodes { name job inputs outputs } edges { from to datasets } } }";
    let answer = server.graphql(query, json!({ "definition": definition(report) })).await;
    assert!(answer.body.get("errors").is_none(), "{answer:?}");
    answer.body["data"]["applyPipeline"].clone()
}

/// The last run, when it is as expected.
async fn last(server: &Server, is_it: impl Fn(&Value) -> bool) -> Value {
    let query = format!(
        "{{ pipeline(name: \"{NAME}\") {{ runs(first: 1) {{ id state logicalTime steps {{ name state run }} }} }} }}"
    );
    let began = Instant::now();
    loop {
        let answer = server.graphql(&query, json!({})).await;
        let run = answer.body["data"]["pipeline"]["runs"][0].clone();
        if is_it(&run) {
            return run;
        }
        assert!(began.elapsed() < PATIENCE, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn states(run: &Value) -> Vec<(&str, Option<&str>)> {
    let steps = run["steps"].as_array().unwrap().iter();
    steps.map(|step| (step["name"].as_str().unwrap(), step["state"].as_str())).collect()
}

async fn report(server: &Server) -> Value {
    let query = "{ copiesByQueue(orderBy: [{queue: ASC}]) { nodes { queue copies } } }";
    server.graphql(query, json!({})).await.body["data"]["copiesByQueue"]["nodes"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrives_goes_through_all_steps_and_one_that_failed_goes_on_when_mended() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let file = folder.path().join("notes.ndjson");
    let first = notes(0, 1).iter().map(|row| format!("{row}\n")).collect::<String>();
    std::fs::write(&file, first).unwrap();
    let create = ["ingest", "notes", file.to_str().unwrap(), "--create", "--key", "id"];
    assert!(colonnade(&root, &create).await.status.success());
    let server = Server::start(&root).await;

    let made = apply(&server, REPORT).await;
    assert_eq!(made["waitsFor"], "on change of notes, 5 rows");
    let edges = json!([
        {"from": "duplicates", "to": "report", "datasets": ["duplicate_clusters"]},
        {"from": "embed", "to": "duplicates", "datasets": ["embeddings"]},
    ]);
    assert_eq!(made["edges"], edges);
    // Two rows are not enough; more are.
    server.accepts("notes", &notes(1, 1)).await;
    server.accepts("notes", &notes(2, 8)).await;
    let run = last(&server, |run| run["state"] == "SUCCEEDED").await;
    let done = Some("SUCCEEDED");
    assert_eq!(states(&run), [("embed", done), ("duplicates", done), ("report", done)]);
    let all = json!([{"queue": "billing", "copies": "10"}, {"queue": "support", "copies": "10"}]);
    assert_eq!(report(&server).await, all);

    // A step fails: in one queue it divides by zero.
    let bad = REPORT.replace("count(*)", "sum(10 / (length(n.queue) - 7))");
    apply(&server, &bad).await;
    server.accepts("notes", &notes(20, 5)).await;
    let is_new = |of: &Value| of["id"] != run["id"];
    let failed = last(&server, |it| is_new(it) && it["state"] == "FAILED").await;
    assert_eq!(
        states(&failed),
        [("embed", done), ("duplicates", done), ("report", Some("FAILED"))]
    );
    let id = failed["steps"][2]["run"].as_str().unwrap();
    let why =
        format!("{{ run(id: \"{id}\") {{ schedule logicalTime error {{ code message }} }} }}");
    let why = server.graphql(&why, json!({})).await.body["data"]["run"].clone();
    assert_eq!(why["schedule"], "tickets/report");
    assert_eq!(why["logicalTime"], failed["id"]);
    assert_eq!(why["error"]["code"], "BAD_INPUT", "{why}");
    assert_eq!(report(&server).await, all);

    // The server is killed, the step is mended at the next, and only it runs again.
    server.kill().await;
    let server = Server::start(&root).await;
    apply(&server, REPORT).await;
    let retry = format!("mutation {{ retryPipeline(name: \"{NAME}\") {{ id state }} }}");
    let retried = server.graphql(&retry, json!({})).await.body["data"]["retryPipeline"].clone();
    assert_eq!(retried["id"], failed["id"]);
    let mended = last(&server, |it| it["state"] == "SUCCEEDED").await;
    assert_eq!(mended["id"], failed["id"]);
    for step in [0, 1] {
        assert_eq!(mended["steps"][step]["run"], failed["steps"][step]["run"]);
    }
    let all = json!([{"queue": "billing", "copies": "15"}, {"queue": "support", "copies": "15"}]);
    assert_eq!(report(&server).await, all);
    let lineage = "{ lineage(of: \"copies_by_queue\") { nodes { id kind } edges { from to } } }";
    let lineage = server.graphql(lineage, json!({})).await.body["data"]["lineage"].clone();
    let nodes: Vec<&str> =
        lineage["nodes"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    for id in [
        "dataset:notes",
        "dataset:embeddings",
        "dataset:copies_by_queue",
        "job:sql:copies_by_queue",
    ] {
        assert!(nodes.contains(&id), "{lineage}");
    }
    // Bad definitions are told through GraphQL, too.
    let query =
        "mutation ($definition: String!) { applyPipeline(definition: $definition) { name } }";
    let circle = "name = \"c\"\n[[steps]]\nname = \"a\"\njob = \"sql\"\nparams = { query = \"SELECT id FROM b\", output = \"a\" }\n\
                  [[steps]]\nname = \"b\"\njob = \"sql\"\nparams = { query = \"SELECT id FROM a\", output = \"b\" }\n";
    let answer = server.graphql(query, json!({ "definition": circle })).await;
    let says = answer.body["errors"][0]["message"].as_str().unwrap().to_owned();
    assert!(says.contains("its steps wait for each other, for ever: a -> b -> a"), "{says}");
    assert!(server.stop().await.success());
}
