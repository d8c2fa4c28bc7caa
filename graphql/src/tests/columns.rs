//! Columns that are changed through GraphQL, and what older versions and subscribers show then.

use serde_json::{Value, json};

use super::{Rig, calls, next};

const CHANGED: &str = "{ dataset version rows checks }";

fn refusal(answer: &Value) -> (&str, &str) {
    let error = &answer["errors"][0];
    (error["extensions"]["code"].as_str().unwrap(), error["message"].as_str().unwrap())
}

async fn change(rig: &Rig, what: &str, arguments: &str) -> Value {
    let query = format!("mutation {{ {what}(dataset: \"calls\", {arguments}) {CHANGED} }}");
    rig.data(&query).await[what].take()
}

#[tokio::test]
async fn a_renamed_column_has_another_field_in_every_version() {
    let rig = Rig::with_calls().await;
    let renaming = "column: \"model\", to: \"model_name\"";
    let tried = change(&rig, "renameColumn", &format!("{renaming}, dryRun: true")).await;
    assert_eq!(tried, json!({"dataset": "calls", "version": null, "rows": "10", "checks": 0}));
    let done = change(&rig, "renameColumn", renaming).await;
    assert_eq!(done, json!({"dataset": "calls", "version": 2, "rows": "10", "checks": 0}));
    for version in ["", "asOf: {version: 1}, "] {
        let query = format!(
            "{{ calls({version}where: {{modelName: {{eq: \"alpha\"}}}}) {{ totalCount nodes {{ modelName }} }} \
             callsGroups({version}groupBy: [MODEL_NAME]) {{ nodes {{ modelName count }} }} }}"
        );
        let data = rig.data(&query).await;
        assert_eq!(data["calls"]["totalCount"], "3", "{data}");
        assert_eq!(data["calls"]["nodes"][0]["modelName"], "alpha");
        assert!(data["callsGroups"].to_string().contains("alpha"), "{data}");
    }
    let gone = rig.ask("{ calls { nodes { model } } }").await;
    assert!(refusal(&gone).1.contains("model"), "{gone}");
    let versions = "{ dataset(name: \"calls\") { versions(first: 1) { version operation by rowsAdded producers } } }";
    let newest = rig.data(versions).await["dataset"]["versions"][0].take();
    let says = json!({"version": 2, "operation": "rename column", "by": "local", "rowsAdded": "0", "producers": []});
    assert_eq!(newest, says);
}

#[tokio::test]
async fn subscribers_are_told_rows_and_not_columns() {
    let rig = Rig::with_calls().await;
    let message = "version added { count nodes { id } } removed { count }";
    let plain = format!("subscription {{ callsChanged(since: 1) {{ {message} }} }}");
    let mut plain = rig.subscribe(&plain).await;
    let named = "subscription { callsChanged(since: 0) { version added { nodes { model } } } }";
    let mut named = rig.subscribe(named).await;
    let filtered = "subscription { callsChanged(since: 0, where: {model: {eq: \"alpha\"}}) { added { count } } }";
    let mut filtered = rig.subscribe(filtered).await;
    for messages in [&mut named, &mut filtered] {
        let message = next(messages).await;
        assert!(message.get("errors").is_none(), "{message:#}");
    }
    change(&rig, "renameColumn", "column: \"model\", to: \"model_name\"").await;
    change(&rig, "retypeColumn", "column: \"retries\", type: \"int64\"").await;
    let added =
        change(&rig, "addColumn", "column: \"region\", type: \"text\", unit: \"place\"").await;
    assert_eq!((&added["rows"], &added["version"]), (&json!("0"), &json!(4)));
    change(&rig, "dropColumn", "column: \"region\"").await;
    for version in 2..=5 {
        let message = next(&mut plain).await["data"]["callsChanged"].take();
        let nothing = json!({"version": version, "added": {"count": "0", "nodes": []}, "removed": {"count": "0"}});
        assert_eq!(message, nothing);
    }
    for messages in [&mut named, &mut filtered] {
        let message = next(messages).await;
        assert!(message["errors"].is_array(), "{message:#}");
        let (code, says) = refusal(&message);
        assert_eq!(code, "CONFLICT", "{message:#}");
        assert!(
            says.contains("column \"model\" was renamed") && says.contains("since: 1"),
            "{says}"
        );
    }
    // Whoever subscribes again has each version under the names of today.
    let again = "subscription { callsChanged(since: 0, where: {modelName: {eq: \"alpha\"}}) \
                 { version added { count nodes { modelName } } } }";
    let mut again = rig.subscribe(again).await;
    let first = next(&mut again).await["data"]["callsChanged"].take();
    assert_eq!((&first["version"], &first["added"]["count"]), (&json!(1), &json!("3")), "{first}");
    assert_eq!(first["added"]["nodes"][0]["modelName"], "alpha");
    assert_eq!(next(&mut again).await["data"]["callsChanged"]["version"], 2);
    let data =
        rig.data("{ calls(asOf: {version: 1}, first: 1) { nodes { modelName retries } } }").await;
    assert!(data["calls"]["nodes"][0]["modelName"].is_string(), "{data}");
}

#[tokio::test]
async fn a_column_that_came_later_is_null_in_changes_of_before() {
    let rig = Rig::with_calls().await;
    let added = change(&rig, "addColumn", "column: \"region\", type: \"text\"").await;
    let query =
        "subscription { callsChanged(since: 0) { version added { count nodes { id region } } } }";
    let mut messages = rig.subscribe(query).await;
    let first = next(&mut messages).await;
    let first = &first["data"]["callsChanged"];
    assert_eq!((&first["version"], &first["added"]["count"]), (&json!(1), &json!("10")), "{first}");
    assert_eq!(first["added"]["nodes"][0]["region"], Value::Null, "{first}");
    let second = next(&mut messages).await;
    assert_eq!(second["data"]["callsChanged"]["version"], added["version"], "{second}");
}

#[tokio::test]
async fn what_can_not_be_changed_is_told() {
    let rig = Rig::with_calls().await;
    for (what, arguments, code, says) in [
        (
            "renameColumn",
            "column: \"modle\", to: \"x\"",
            "NOT_FOUND",
            "there is no column \"modle\"",
        ),
        ("renameColumn", "column: \"model\", to: \"id\"", "BAD_INPUT", "a column \"id\" already"),
        ("renameColumn", "column: \"model\", to: \"\"", "BAD_INPUT", "column name"),
        ("dropColumn", "column: \"id\"", "BAD_INPUT", "of the key"),
        (
            "retypeColumn",
            "column: \"model\", type: \"int64\"",
            "BAD_INPUT",
            "8 values are not int64",
        ),
        ("retypeColumn", "column: \"model\", type: \"number\"", "BAD_INPUT", "type: "),
        ("addColumn", "column: \"model\", type: \"text\"", "BAD_INPUT", "already"),
        ("setKey", "columns: [\"model\"]", "BAD_INPUT", "has the key id, which stays"),
    ] {
        let query = format!("mutation {{ {what}(dataset: \"calls\", {arguments}) {CHANGED} }}");
        let answer = rig.ask(&query).await;
        let found = refusal(&answer);
        assert!(found.0 == code && found.1.contains(says), "{query}: {answer:#}");
    }
    let other = rig.ask("mutation { dropColumn(dataset: \"cals\", column: \"a\") { rows } }").await;
    assert!(refusal(&other).1.contains("did you mean calls?"), "{other}");
    let reader = engine::Principal { roles: vec![engine::Role::Reader], ..super::who() };
    let query = "mutation { dropColumn(dataset: \"calls\", column: \"model\") { rows } }";
    let request = async_graphql::Request::new(query);
    let answer = rig.service.answer(&reader, request, "id", super::Accepts::Single).await;
    let super::Answers::One(answer) = answer else { panic!("a stream") };
    assert_eq!(refusal(&super::document(&answer)).0, "FORBIDDEN");
    rig.append("calls", vec![calls()]).await;
}
