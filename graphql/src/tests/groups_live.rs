//! Groups are told as they are, and again with each version, with what became of them.

use engine::{GrantSet, Grants, Principal, WriteMode};
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::{Rig, calls, calls_spec, next, who};

const FIELDS: &str = "version previousVersion collapsed hasMore nodes { model count sum { retries } } \
                      changed { model count } gone { model count }";

fn query(arguments: &str) -> String {
    format!("subscription {{ callsGroupsLive{arguments} {{ {FIELDS} }} }}")
}

async fn told(messages: &mut futures::stream::BoxStream<'static, Value>) -> Value {
    let message = next(messages).await;
    assert!(message.get("errors").is_none(), "{message:#}");
    message["data"]["callsGroupsLive"].clone()
}

#[tokio::test]
async fn each_version_gives_the_groups_that_a_query_gives_and_what_became_of_them() {
    let rig = Rig::with_calls().await;
    let mut messages = rig.subscribe(&query("(groupBy: [MODEL])")).await;
    let first = told(&mut messages).await;
    assert_eq!((&first["version"], &first["previousVersion"]), (&json!(1), &Value::Null));
    assert_eq!(
        first["changed"].as_array().unwrap().len(),
        first["nodes"].as_array().unwrap().len()
    );
    assert_eq!(first["gone"], json!([]));
    let asked = "{ callsGroups(groupBy: [MODEL]) { nodes { model count sum { retries } } } }";
    assert_eq!(first["nodes"], rig.data(asked).await["callsGroups"]["nodes"]);

    rig.append("calls", vec![calls().slice(1, 1)]).await;
    let second = told(&mut messages).await;
    assert_eq!((&second["version"], &second["previousVersion"]), (&json!(2), &json!(1)));
    assert_eq!(second["changed"], json!([{"model": "beta", "count": "3"}]));
    assert_eq!(second["nodes"], rig.data(asked).await["callsGroups"]["nodes"]);

    rig.write("calls", WriteMode::Overwrite, vec![calls().slice(0, 2)]).await;
    let third = told(&mut messages).await;
    let all = json!([{"model": "alpha", "count": "1"}, {"model": "beta", "count": "1"}]);
    assert_eq!(third["changed"], all);
    let gone: Vec<&Value> =
        third["gone"].as_array().unwrap().iter().map(|group| &group["model"]).collect();
    assert!(gone.contains(&&Value::Null) && !gone.contains(&&json!("beta")), "{third:#}");
}

#[tokio::test]
async fn since_tells_what_became_of_the_groups_that_were_seen() {
    let rig = Rig::with_calls().await;
    rig.append("calls", vec![calls().slice(0, 1)]).await;
    rig.append("calls", vec![calls().slice(1, 1)]).await;
    let mut messages = rig.subscribe(&query("(groupBy: [MODEL], since: 1)")).await;
    for (version, model, count) in [(2, "alpha", "4"), (3, "beta", "3")] {
        let message = told(&mut messages).await;
        assert_eq!((&message["version"], &message["collapsed"]), (&json!(version), &json!(false)));
        assert_eq!(message["changed"], json!([{"model": model, "count": count}]), "{message:#}");
    }
    let mut wrong = rig.subscribe(&query("(groupBy: [MODEL], since: 9)")).await;
    let message = next(&mut wrong).await;
    assert!(
        message["errors"][0]["message"].as_str().unwrap().contains("no version 9"),
        "{message:#}"
    );
    let mut wrong = rig.subscribe("subscription { callsGroupsLive { nodes { model } } }").await;
    let message = next(&mut wrong).await.to_string();
    assert!(message.contains("groups are not made by this column"), "{message}");
}

#[tokio::test]
async fn all_who_ask_the_same_share_groups_and_messages() {
    let rig = Rig::with_calls().await;
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(rig.subscribe(&query("(groupBy: [MODEL], where: {retries: {gte: 1}})")).await);
    }
    for messages in &mut all {
        told(messages).await;
    }
    let (computed, shared) =
        (rig.service.0.shared.computed(), rig.service.0.meter.messages_shared.get());
    rig.append("calls", vec![calls().slice(1, 1)]).await;
    let mut answers = Vec::new();
    for messages in &mut all {
        answers.push(told(messages).await);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    // The change that is behind it, and the groups.
    assert_eq!(rig.service.0.shared.computed() - computed, 2);
    assert_eq!(rig.service.0.meter.messages_shared.get() - shared, 4);
}

#[tokio::test]
async fn who_waited_with_others_and_fell_behind_is_told_what_became_of_the_groups_it_saw() {
    let rig = Rig::with_calls().await;
    let mut all = Vec::new();
    for _ in 0..3 {
        let mut messages = rig.subscribe(&query("(groupBy: [MODEL])")).await;
        told(&mut messages).await;
        let quiet = tokio::time::timeout(std::time::Duration::from_millis(50), messages.next());
        assert!(quiet.await.is_err());
        all.push(messages);
    }
    assert_eq!(rig.service.0.hubs.members(), 2);
    let (slow, quick) = all.split_at_mut(2);
    for version in 2..=21 {
        rig.append("calls", vec![calls().slice(version % 2, 1)]).await;
        assert_eq!(told(&mut quick[0]).await["version"], version);
    }
    for messages in slow {
        for version in 2..=21 {
            let message = told(messages).await;
            assert_eq!(message["previousVersion"], version - 1, "{message:#}");
            let changed = ["alpha", "beta"][version % 2];
            assert_eq!(message["changed"][0]["model"], changed, "{message:#}");
            assert_eq!(message["changed"].as_array().unwrap().len(), 1, "{message:#}");
        }
    }
}

#[tokio::test]
async fn what_is_warned_of_is_what_is_told_whoever_was_told_before() {
    let rig = Rig::with_calls().await;
    let asked = "(groupBy: [MODEL]) { version nodes { model sum { latencyMs } } }";
    let mut all = Vec::new();
    for _ in 0..3 {
        let query = format!("subscription {{ callsGroupsLive{asked} }}");
        let mut messages = rig.subscribe(&query).await;
        next(&mut messages).await;
        let quiet = tokio::time::timeout(std::time::Duration::from_millis(50), messages.next());
        assert!(quiet.await.is_err());
        all.push(messages);
    }
    assert_eq!(rig.service.0.hubs.members(), 2);
    for _ in 0..2 {
        rig.append("calls", vec![calls().slice(0, 1)]).await;
        // First those of the hub.
        for messages in all.iter_mut().rev() {
            let message = next(messages).await;
            let warned = message["extensions"]["warnings"][0].as_str().unwrap();
            // Of one model a NaN, of another an infinite one.
            assert!(warned.contains(": 2 values are"), "{warned}");
        }
    }
}

#[tokio::test]
async fn who_sees_a_part_is_told_of_groups_of_that_part() {
    let rig = Rig::new().await;
    rig.create(calls_spec()).await;
    let set: GrantSet =
        serde_json::from_value(json!({"datasets": {"calls": {"rows": "model = 'beta'"}}})).unwrap();
    let part = Principal { grants: Grants::limited(set, [].into()).unwrap(), ..who() };
    let mut of_part = rig.subscribe_as(&part, &query("(groupBy: [MODEL])")).await;
    let mut of_all = rig.subscribe(&query("(groupBy: [MODEL])")).await;
    assert_eq!(told(&mut of_part).await["nodes"], json!([]));
    told(&mut of_all).await;
    for _ in 0..2 {
        rig.append("calls", vec![calls()]).await;
        let (part, all) = (told(&mut of_part).await, told(&mut of_all).await);
        assert_eq!(part["nodes"].as_array().unwrap().len(), 1, "{part:#}");
        assert_eq!(part["nodes"][0]["model"], "beta");
        assert!(all["nodes"].as_array().unwrap().len() > 2);
    }
}
