//! Rows that are deleted through GraphQL, and what a subscriber hears of it.

use serde_json::{Value, json};

use super::{Rig, calls, name, next, who};

const DELETED: &str = "{ dataset version rows }";

async fn ids(rig: &Rig) -> Vec<String> {
    let data = rig.data("{ calls(orderBy: [{id: ASC}]) { nodes { id } } }").await;
    let nodes = data["calls"]["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
}

fn refusal(answer: &Value) -> (&str, &str) {
    let error = &answer["errors"][0];
    (error["extensions"]["code"].as_str().unwrap(), error["message"].as_str().unwrap())
}

#[tokio::test]
async fn rows_that_a_filter_takes_go_and_are_told() {
    let rig = Rig::with_calls().await;
    let changed = "subscription { callsChanged(since: 1) { version added { count } removed { count nodes { id } } } }";
    let mut messages = rig.subscribe(changed).await;
    let delete = |arguments: &str| format!("mutation {{ callsDelete({arguments}) {DELETED} }}");
    let where_ = "where: {model: {eq: \"alpha\"}}";
    let few = rig.data(&delete(&format!("{where_}, dryRun: true"))).await;
    assert_eq!(few["callsDelete"], json!({"dataset": "calls", "version": null, "rows": "3"}));
    assert_eq!(ids(&rig).await.len(), 10);
    let gone = rig.data(&delete(where_)).await;
    assert_eq!(gone["callsDelete"], json!({"dataset": "calls", "version": 2, "rows": "3"}));
    assert_eq!(ids(&rig).await, ["c1", "c2", "c4", "c5", "c7", "c8", "c9"]);
    let message = next(&mut messages).await;
    let removed = json!({"count": "3", "nodes": [{"id": "c0"}, {"id": "c3"}, {"id": "c6"}]});
    let expected = json!({"version": 2, "added": {"count": "0"}, "removed": removed});
    assert_eq!(message["data"]["callsChanged"], expected);
    // By key.
    let gone = rig.data(&delete("where: {id: {in: [\"c1\", \"c9\", \"none\"]}}")).await;
    assert_eq!(gone["callsDelete"]["rows"], "2");
    let old = rig.data("{ calls(asOf: {version: 1}) { totalCount } }").await;
    assert_eq!(old["calls"]["totalCount"], "10");
    // One that no row fits is no commit.
    let none = rig.data(&delete(where_)).await;
    assert_eq!(none["callsDelete"], json!({"dataset": "calls", "version": 3, "rows": "0"}));
    let all = rig.data(&delete("all: true")).await;
    assert_eq!(all["callsDelete"], json!({"dataset": "calls", "version": 4, "rows": "5"}));
}

#[tokio::test]
async fn what_is_not_said_is_not_deleted() {
    let rig = Rig::with_calls().await;
    for (arguments, says) in [
        ("", "callsDelete: expected a condition in `where`, or `all: true` for every row"),
        ("(where: {})", "expected a condition in `where`"),
        ("(where: {id: {notIn: []}})", "expected a condition in `where`"),
        ("(where: {or: [{}, {}]})", "expected a condition in `where`"),
        ("(where: {not: {id: {in: []}}})", "expected a condition in `where`"),
        ("(where: null, all: false)", "expected a condition in `where`"),
        ("(where: {id: {eq: \"c1\"}}, all: true)", "expected either `where` or `all: true`"),
    ] {
        let answer = rig.ask(&format!("mutation {{ callsDelete{arguments} {DELETED} }}")).await;
        let (code, message) = refusal(&answer);
        assert!(code == "BAD_INPUT" && message.contains(says), "{arguments}: {answer:#}");
    }
    assert_eq!(ids(&rig).await.len(), 10);
}

#[tokio::test]
async fn only_who_may_write_deletes_and_only_rows_of_clients() {
    let rig = Rig::with_calls().await;
    rig.ingest("calls", "{\"id\": \"x\", \"at\": \"never\"}\n").await;
    let label = engine::CommitLabel::default();
    rig.engine
        .write(&who(), &name("calls"), engine::WriteMode::Append, vec![calls()], label)
        .await
        .unwrap();
    let fields = rig.data("{ __type(name: \"Mutation\") { fields { name } } }").await;
    let fields = fields["__type"]["fields"].to_string();
    assert!(fields.contains("callsDelete") && fields.contains("callsQuarantineDelete"), "{fields}");
    let gone = rig.data("mutation { callsQuarantineDelete(all: true) { rows } }").await;
    assert_eq!(gone["callsQuarantineDelete"]["rows"], "1");
    let reader = engine::Principal { roles: vec![engine::Role::Reader], ..who() };
    let request = async_graphql::Request::new("mutation { callsDelete(all: true) { rows } }");
    let answer = rig.service.answer(&reader, request, "id", super::Accepts::Single).await;
    let super::Answers::One(answer) = answer else { panic!("a stream") };
    assert_eq!(refusal(&super::document(&answer)).0, "FORBIDDEN");
    assert_eq!(ids(&rig).await.len(), 20);
}
