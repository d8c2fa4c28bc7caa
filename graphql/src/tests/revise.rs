//! Rows that are deleted or changed through GraphQL, and what a subscriber hears of it.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
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
        ("(where: {or: [{id: {eq: \"c1\"}}, {}]})", "where.or[1] is empty"),
        ("(where: {or: [{id: {eq: \"c1\"}}, {model: {notIn: []}}]})", "is true of every row"),
        ("(where: {id: null, model: {eq: \"alpha\"}})", "where.id is null"),
        ("(where: {and: [{model: {eq: null}}]})", "where.and[0].model.eq: expected a value"),
        ("(where: {not: {or: [{id: {in: []}}, {model: {in: []}}]}})", "is true of every row"),
        ("(where: {model: {eq: \"alpha\"}, id: {in: []}})", "is true of no row"),
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

/// The row with this id, all that may be changed of it.
async fn row(rig: &Rig, id: &str) -> Value {
    let shown = "model inputTokens retries latencyMs cost day isOk payload digest tags embedding";
    let query = format!("{{ calls(where: {{id: {{eq: {id:?}}}}}) {{ nodes {{ {shown} }} }} }}");
    rig.data(&query).await["calls"]["nodes"][0].clone()
}

#[tokio::test]
async fn rows_that_a_filter_takes_hold_what_was_said_of_each_type() {
    let rig = Rig::with_calls().await;
    let changed = "subscription { callsChanged(since: 1) { version added { count nodes { id model } } \
                   removed { count nodes { id model } } } }";
    let mut messages = rig.subscribe(changed).await;
    let update = "mutation($set: CallsSet!, $where: CallsWhere) \
                  { callsUpdate(set: $set, where: $where) { dataset version rows } }";
    let set = json!({
        "model": "new", "inputTokens": "9007199254740995", "retries": -7, "latencyMs": 0.25, "cost": "1.000001",
        "day": "2026-02-28", "isOk": false, "payload": {"a": ["x", 1.5, null]}, "digest": "AP8=", "tags": ["p", "q"],
        "embedding": [0.5, -2.0],
    });
    let before = row(&rig, "c4").await;
    let variables = json!({"set": set, "where": {"id": {"in": ["c3", "c5"]}}});
    let answer = rig.ask_with(update, variables).await;
    let made = json!({"dataset": "calls", "version": 2, "rows": "2"});
    assert_eq!(answer["data"], json!({"callsUpdate": made}), "{answer:#}");
    assert_eq!((row(&rig, "c3").await, row(&rig, "c5").await), (set.clone(), set));
    assert_eq!(row(&rig, "c4").await, before);
    let message = next(&mut messages).await;
    let of = |models: [&str; 2]| json!({"count": "2", "nodes": [{"id": "c3", "model": models[0]}, {"id": "c5", "model": models[1]}]});
    let expected =
        json!({"version": 2, "added": of(["new", "new"]), "removed": of(["alpha", "beta"])});
    assert_eq!(message["data"]["callsChanged"], expected);

    let nothing: serde_json::Map<String, Value> =
        before.as_object().unwrap().keys().map(|field| (field.clone(), Value::Null)).collect();
    let variables = json!({"set": nothing, "where": {"id": {"eq": "c4"}}});
    assert_eq!(rig.ask_with(update, variables).await["data"]["callsUpdate"]["rows"], "1");
    assert_eq!(row(&rig, "c4").await, Value::Object(nothing));
    let few = rig.data("mutation { callsUpdate(all: true, set: {model: \"x\"}, dryRun: true) { rows version } }").await;
    assert_eq!(few["callsUpdate"], json!({"rows": "10", "version": null}));
    let old = rig
        .data("{ calls(asOf: {version: 1}, where: {model: {eq: \"new\"}}) { totalCount } }")
        .await;
    assert_eq!(old["calls"]["totalCount"], "0");
    assert_eq!(row(&rig, "c0").await["model"], "alpha");
}

#[tokio::test]
async fn what_a_column_can_not_hold_is_refused_by_its_name() {
    let rig = Rig::with_calls().await;
    for (set, says) in [
        ("{}", "set: expected at least one column"),
        ("{at: null}", "set.at: expected a value: it may not be empty, found null"),
        (
            "{cost: \"0.0000001\"}",
            "set.cost: expected a value of type decimal(18,6), found \"0.0000001\"",
        ),
        ("{cost: \"1234567890123\"}", "set.cost: expected a value of type decimal(18,6)"),
        ("{inputTokens: \"x\"}", "set.inputTokens: expected a 64-bit integer as a string"),
        ("{embedding: [1, 2, 3]}", "set.embedding: expected 2 numbers, found [1, 2, 3]"),
        ("{embedding: [1, null]}", "set.embedding: expected no null, found one at 1"),
        ("{day: \"2026-02-30\"}", "set.day: expected a day like"),
        ("{digest: \"?\"}", "set.digest: expected bytes in base64"),
        // The key stays, and GraphQL itself says which fields there are.
        ("{id: \"c99\"}", "id"),
        ("{modell: \"x\"}", "modell"),
    ] {
        let answer =
            rig.ask(&format!("mutation {{ callsUpdate(all: true, set: {set}) {{ rows }} }}")).await;
        let (code, message) = refusal(&answer);
        assert!(code == "BAD_INPUT" && message.contains(says), "{set}: {answer:#}");
    }
    let answer = rig.ask("mutation { callsUpdate(set: {model: \"x\"}) { rows } }").await;
    assert!(
        refusal(&answer).1.contains("callsUpdate: expected a condition in `where`"),
        "{answer:#}"
    );
    assert_eq!(rig.data("{ calls { version } }").await["calls"]["version"], 1);
}

/// Among 60,000 numbers, of several pages in one file, one is 5000 and one is NaN: in where, no order takes that; `ne` and `not` do.
#[tokio::test]
async fn nan_is_not_passed_over_and_no_row_is_lost_for_it() {
    let rig = Rig::new().await;
    let spec = r#"{"name": "many", "columns": [{"name": "n", "type": "int64"}, {"name": "f", "type": "float64"}]}"#;
    rig.create(datasets::DatasetSpec::from_json(spec).unwrap()).await;
    let value = |row: i64| match row {
        5 => 5_000.0,
        50_000 => f64::NAN,
        _ => 1.5,
    };
    let numbers = Int64Array::from_iter_values(0..60_000);
    let floats = Float64Array::from_iter_values((0..60_000).map(value));
    let columns: [(&str, ArrayRef); 2] = [("n", Arc::new(numbers)), ("f", Arc::new(floats))];
    rig.append("many", vec![RecordBatch::try_from_iter(columns).unwrap()]).await;
    for (condition, rows) in [
        ("{f: {ne: 1.5}}", "2"),
        ("{f: {notIn: [1.5]}}", "2"),
        ("{not: {f: {lte: 1000}}}", "2"),
        ("{not: {f: {gt: 1000}}}", "59999"),
        ("{f: {gt: 1000}}", "1"),
        ("{f: {lte: 1000}}", "59998"),
    ] {
        let query =
            format!("mutation {{ manyDelete(where: {condition}, dryRun: true) {{ rows }} }} ");
        assert_eq!(rig.data(&query).await["manyDelete"]["rows"], rows, "{condition}");
        let query = format!("{{ many(where: {condition}) {{ totalCount }} }}");
        assert_eq!(rig.data(&query).await["many"]["totalCount"], rows, "{condition}");
    }
    let gone = rig.data("mutation { manyDelete(where: {f: {ne: 1.5}}) { rows } }").await;
    assert_eq!(gone["manyDelete"]["rows"], "2");
    assert_eq!(rig.data("{ many { totalCount } }").await["many"]["totalCount"], "59998");
}
