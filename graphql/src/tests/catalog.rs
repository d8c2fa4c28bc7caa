//! What datasets there are is told when it changes, as far as one sees them.

use engine::{GrantSet, Grants, Principal};
use serde_json::{Value, json};

use super::{Rig, calls_spec, next, who};

const QUERY: &str = "subscription { catalogChanged { created { name field } changed { name columns { name } } dropped } }";

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|dataset| dataset["name"].as_str().unwrap()).collect()
}

fn spec(name: &str, more: &str) -> datasets::DatasetSpec {
    let text = format!("name = \"{name}\"\ncolumns = [{{name = \"id\", type = \"text\"}}{more}]");
    datasets::DatasetSpec::from_toml(&text, "test").unwrap()
}

#[tokio::test]
async fn datasets_that_come_go_or_change_are_told() {
    let rig = Rig::new().await;
    rig.create(calls_spec()).await;
    let mut messages = rig.subscribe(QUERY).await;
    let told = async |messages: &mut _| next(messages).await["data"]["catalogChanged"].clone();
    let nothing = json!({"created": [], "changed": [], "dropped": []});
    assert_eq!(told(&mut messages).await, nothing);
    // Rows are nothing to tell.
    rig.append("calls", vec![super::calls()]).await;
    rig.create(spec("notes", "")).await;
    let change = told(&mut messages).await;
    assert_eq!(names(&change["created"]), ["notes"], "{change:#}");
    assert_eq!(change["created"][0]["field"], "notes");

    let more = spec("notes", ", {name = \"text\", type = \"text\", nullable = true}");
    rig.engine.ensure_dataset(&who(), &more).await.unwrap();
    let change = told(&mut messages).await;
    assert_eq!(names(&change["changed"]), ["notes"], "{change:#}");
    assert_eq!(names(&change["changed"][0]["columns"]), ["id", "text"]);

    rig.data("mutation { dropDataset(name: \"notes\") { name } }").await;
    assert_eq!(told(&mut messages).await["dropped"], json!(["notes"]));
}

#[tokio::test]
async fn who_sees_a_part_is_told_of_that_part() {
    let rig = Rig::new().await;
    let set: GrantSet = serde_json::from_value(json!({"datasets": {"notes": {}}})).unwrap();
    let part = Principal { grants: Grants::limited(set, [].into()).unwrap(), ..who() };
    let mut messages = rig.subscribe_as(&part, QUERY).await;
    next(&mut messages).await;
    rig.create(calls_spec()).await;
    rig.create(spec("notes", "")).await;
    let change = next(&mut messages).await["data"]["catalogChanged"].clone();
    assert_eq!(names(&change["created"]), ["notes"], "{change:#}");
}
