//! Each version is told once and in order, or one message tells the net change.

use async_graphql::{Request, Variables};
use futures::StreamExt;
use serde_json::{Value, json};

use super::{Rig, calls, calls_spec, name, next, who};
use crate::limits::Limits;
use engine::WriteMode;

const CHANGED: &str =
    "version previousVersion collapsed added { count nodes { id } } removed { count nodes { id } }";

async fn rig(limits: Limits) -> Rig {
    let rig = Rig::with_limits(limits).await;
    rig.create(calls_spec()).await;
    rig
}

async fn commit(rig: &Rig, row: usize) -> u64 {
    rig.append("calls", vec![calls().slice(row, 1)]).await
}

fn ids(rows: &Value) -> Vec<&str> {
    rows["nodes"].as_array().unwrap().iter().map(|n| n["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn it_begins_with_the_next_commit_and_repeats_none() {
    let rig = rig(Limits::default()).await;
    commit(&rig, 0).await;
    let mut messages =
        rig.subscribe(&format!("subscription {{ callsChanged {{ {CHANGED} }} }}")).await;
    // It is set up when it is first asked, so commits go on until one is told.
    let first = tokio::spawn(async move { (next(&mut messages).await, messages) });
    let mut committed = 1;
    while !first.is_finished() {
        committed = commit(&rig, 1).await;
        tokio::task::yield_now().await;
    }
    let (message, mut messages) = first.await.unwrap();
    let mut told = message["data"]["callsChanged"]["version"].as_u64().unwrap();
    assert!(told > 1, "what was committed before is told: {message:#}");
    while told < committed {
        let message = next(&mut messages).await;
        assert_eq!(message["data"]["callsChanged"]["previousVersion"], told);
        told += 1;
        assert_eq!(message["data"]["callsChanged"]["version"], told);
        assert_eq!(ids(&message["data"]["callsChanged"]["added"]), ["c1"]);
    }
    drop(messages);
    assert_eq!(rig.service.0.subscriptions_open(), 0);
}

#[tokio::test]
async fn since_gives_each_later_version_once_and_in_order() {
    let rig = rig(Limits::default()).await;
    for row in 0..5 {
        commit(&rig, row).await;
    }
    let query = format!("subscription {{ callsChanged(since: 2) {{ {CHANGED} }} }}");
    let mut messages = rig.subscribe(&query).await;
    for version in 3..=5u64 {
        let message = next(&mut messages).await;
        let change = &message["data"]["callsChanged"];
        assert_eq!(change["version"], version, "{message:#}");
        assert_eq!(change["previousVersion"], version - 1);
        assert_eq!(change["collapsed"], false);
        assert_eq!(ids(&change["added"]), [format!("c{}", version - 1)]);
        assert_eq!(change["removed"]["count"], "0");
    }
    commit(&rig, 6).await;
    assert_eq!(next(&mut messages).await["data"]["callsChanged"]["version"], 6);
}

#[tokio::test]
async fn files_that_were_put_together_are_nothing_to_tell() {
    let rig = rig(Limits::default()).await;
    for row in 0..3 {
        commit(&rig, row).await;
    }
    let engine = &rig.service.0.engine;
    let query = format!("subscription {{ callsChanged(since: 2) {{ {CHANGED} }} }}");
    let mut messages = rig.subscribe(&query).await;
    assert_eq!(next(&mut messages).await["data"]["callsChanged"]["version"], 3);
    assert_eq!(engine.compact(&who(), &name("calls")).await.unwrap().version.0, 4);
    // Who looked at that version waits, and keeps nobody from asking.
    let quiet = tokio::time::timeout(std::time::Duration::from_millis(100), messages.next());
    assert!(quiet.await.is_err());
    let asks = who();
    let room = rig.service.0.room(&asks, usize::MAX);
    assert!(tokio::time::timeout(std::time::Duration::from_secs(9), room).await.is_ok());
    commit(&rig, 4).await;
    // Who heard of version 3 last hears what changed since, and so does who comes back with it.
    let mut again = rig.subscribe(&query.replace("since: 2", "since: 3")).await;
    for messages in [&mut messages, &mut again] {
        let message = next(messages).await;
        let change = &message["data"]["callsChanged"];
        assert_eq!((&change["version"], &change["previousVersion"]), (&json!(5), &json!(3)));
        assert_eq!((&change["collapsed"], ids(&change["added"])), (&json!(false), vec!["c4"]));
        assert_eq!(change["removed"]["count"], "0");
    }
}

#[tokio::test]
async fn versions_that_are_too_many_come_as_one_net_change() {
    for (most, collapsed) in [(2, false), (1, true)] {
        let rig = rig(Limits { versions_behind_max: most, ..Limits::default() }).await;
        let query = format!("subscription {{ callsChanged(since: 0) {{ {CHANGED} }} }}");
        let mut messages = rig.subscribe(&query).await;
        for row in 0..2 {
            commit(&rig, row).await;
        }
        let message = next(&mut messages).await["data"]["callsChanged"].take();
        let to = if collapsed { 2 } else { 1 };
        assert_eq!((&message["version"], &message["collapsed"]), (&json!(to), &json!(collapsed)));
    }
    let rig = rig(Limits { versions_behind_max: 3, ..Limits::default() }).await;
    for row in 0..6 {
        commit(&rig, row).await;
    }
    let query = format!("subscription {{ callsChanged(since: 1) {{ {CHANGED} }} }}");
    let mut messages = rig.subscribe(&query).await;
    let message = next(&mut messages).await;
    let change = &message["data"]["callsChanged"];
    assert_eq!((&change["version"], &change["previousVersion"]), (&json!(6), &json!(1)));
    assert_eq!(change["collapsed"], true);
    assert_eq!(change["added"]["count"], "5");
    assert_eq!(ids(&change["added"]), ["c1", "c2", "c3", "c4", "c5"]);
    commit(&rig, 7).await;
    let message = next(&mut messages).await;
    assert_eq!(message["data"]["callsChanged"]["previousVersion"], 6);
    assert_eq!(message["data"]["callsChanged"]["collapsed"], false);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_told_the_net_change_later() {
    let rig = rig(Limits { versions_behind_max: 4, ..Limits::default() }).await;
    commit(&rig, 0).await;
    let query = format!("subscription {{ callsChanged(since: 0) {{ {CHANGED} }} }}");
    let mut messages = rig.subscribe(&query).await;
    assert_eq!(next(&mut messages).await["data"]["callsChanged"]["version"], 1);
    let computed = rig.service.0.shared.computed();
    for row in 1..9 {
        commit(&rig, row).await;
    }
    assert_eq!(rig.service.0.shared.computed(), computed, "nothing is made for who does not ask");
    let message = next(&mut messages).await;
    assert_eq!(message["data"]["callsChanged"]["collapsed"], true);
    assert_eq!(message["data"]["callsChanged"]["version"], 9);
    assert_eq!(message["data"]["callsChanged"]["added"]["count"], "8");
}

#[tokio::test]
async fn an_overwrite_tells_what_came_and_what_went() {
    let rig = rig(Limits::default()).await;
    rig.append("calls", vec![calls().slice(0, 5)]).await;
    rig.write("calls", WriteMode::Overwrite, vec![calls().slice(3, 4)]).await;
    let query = format!(
        "subscription {{ callsChanged(since: 1, where: {{id: {{ne: \"c6\"}}}}) {{ {CHANGED} }} }}"
    );
    let mut messages = rig.subscribe(&query).await;
    let message = next(&mut messages).await;
    let change = &message["data"]["callsChanged"];
    assert_eq!(ids(&change["added"]), ["c5"], "{message:#}");
    assert_eq!(ids(&change["removed"]), ["c0", "c1", "c2"]);
    assert_eq!(
        (&change["added"]["count"], &change["removed"]["count"]),
        (&json!("1"), &json!("3"))
    );
}

#[tokio::test]
async fn a_version_that_changes_nothing_of_interest_is_told_with_empty_sides() {
    let rig = rig(Limits::default()).await;
    commit(&rig, 0).await;
    let query = format!(
        "subscription {{ callsChanged(since: 0, where: {{id: {{eq: \"z\"}}}}) {{ {CHANGED} }} }}"
    );
    let message = next(&mut rig.subscribe(&query).await).await;
    assert_eq!(message["data"]["callsChanged"]["version"], 1);
    assert_eq!(message["data"]["callsChanged"]["added"], json!({"count": "0", "nodes": []}));
}

#[tokio::test]
async fn what_many_subscribers_ask_is_computed_once() {
    let rig = rig(Limits::default()).await;
    commit(&rig, 0).await;
    let query = "subscription { callsChanged(since: 0) { version added { count nodes(first: 3) { id at } } } }";
    let mut subscribers = Vec::new();
    for _ in 0..20 {
        subscribers.push(rig.subscribe(query).await);
    }
    let messages = futures::future::join_all(subscribers.iter_mut().map(next)).await;
    assert!(messages.iter().all(|m| m["data"]["callsChanged"]["version"] == 1), "{}", messages[0]);
    // The change itself, its count, its rows.
    assert_eq!(rig.service.0.shared.computed(), 3);
}

#[tokio::test]
async fn a_message_is_made_once_for_all_who_ask_the_same() {
    let rig = rig(Limits::default()).await;
    let shared = || rig.service.0.meter.messages_shared.get();
    for row in 0..3 {
        commit(&rig, row).await;
    }
    let asks = async |head: &str, fields: &str, variables: Value| {
        let request = Request::new(format!("subscription{head} {{ callsChanged{fields} }}"))
            .variables(Variables::from_json(variables));
        rig.subscribe_with(request).await
    };
    let fields = format!("(since: $since) {{ {CHANGED} }}");
    let since = |version: u64| json!({ "since": version });
    let mut first = asks("($since: Int)", &fields, since(2)).await;
    let mut second = asks("($since: Int)", &fields, since(1)).await;
    // Here the variable says more than where to go on from, so that these two ask different things.
    let filtered = format!("(since: $since, where: {{retries: {{gte: $since}}}}) {{ {CHANGED} }}");
    let mut wide = asks("($since: Int)", &filtered, since(1)).await;
    let mut narrow = asks("($since: Int)", &filtered, since(2)).await;
    assert_eq!(next(&mut first).await["data"]["callsChanged"]["version"], 3);
    for version in [2, 3] {
        assert_eq!(next(&mut second).await["data"]["callsChanged"]["version"], version);
    }
    for version in [2, 3] {
        assert_eq!(next(&mut wide).await["data"]["callsChanged"]["version"], version);
    }
    assert_eq!(next(&mut narrow).await["data"]["callsChanged"]["version"], 3);
    let before = shared();
    let (mut of_wide, mut of_narrow) = (Vec::new(), Vec::new());
    for (version, row) in (4..).zip(6..9) {
        commit(&rig, row).await;
        let (a, b) = (next(&mut first).await, next(&mut second).await);
        assert_eq!(a, b);
        assert_eq!(a["data"]["callsChanged"]["version"], version);
        assert_eq!(ids(&a["data"]["callsChanged"]["added"]), [format!("c{row}")]);
        for (messages, counts) in [(&mut wide, &mut of_wide), (&mut narrow, &mut of_narrow)] {
            let message = next(messages).await;
            counts.push(message["data"]["callsChanged"]["added"]["count"].clone());
        }
    }
    assert_eq!(shared() - before, 3);
    assert_eq!(
        (of_wide, of_narrow),
        (
            vec!["0".into(), "1".into(), "1".into()],
            vec!["0".into(), "0".into(), "1".into()] as Vec<Value>
        )
    );
}

#[tokio::test]
async fn a_version_that_is_not_there_is_an_error_with_the_range() {
    let rig = rig(Limits::default()).await;
    let message =
        next(&mut rig.subscribe("subscription { callsChanged(since: 7) { version } }").await).await;
    assert_eq!(message["errors"][0]["extensions"]["code"], "BAD_INPUT", "{message:#}");
    assert!(message["errors"][0]["message"].as_str().unwrap().contains("0 to 0"), "{message:#}");
    assert_eq!(rig.service.0.subscriptions_open(), 0);
}

#[tokio::test]
async fn subscriptions_are_bounded() {
    let rig = rig(Limits { subscriptions_max: 1, ..Limits::default() }).await;
    commit(&rig, 0).await;
    let query = "subscription { callsChanged(since: 0) { version } }";
    let mut first = rig.subscribe(query).await;
    next(&mut first).await;
    let refused = next(&mut rig.subscribe(query).await).await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "LIMIT_EXCEEDED");
    drop(first);
    assert_eq!(next(&mut rig.subscribe(query).await).await["data"]["callsChanged"]["version"], 1);
}

#[tokio::test]
async fn commits_under_way_while_subscribing_are_neither_lost_nor_doubled() {
    let rig = rig(Limits::default()).await;
    let engine = rig.engine.clone();
    let committing = tokio::spawn(async move {
        for row in 0..9 {
            let label = engine::CommitLabel::default();
            let batches = vec![calls().slice(row, 1)];
            let name = name("calls");
            engine.write(&who(), &name, WriteMode::Append, batches, label).await.unwrap();
        }
    });
    let mut streams = Vec::new();
    for _ in 0..5 {
        let query = "subscription { callsChanged { version previousVersion } }";
        streams.push(rig.subscribe(query).await.take_while(|message| {
            let version = message["data"]["callsChanged"]["version"].as_u64();
            std::future::ready(version.unwrap() < 10)
        }));
        tokio::task::yield_now().await;
    }
    let tasks: Vec<_> =
        streams.into_iter().map(|s| tokio::spawn(s.collect::<Vec<Value>>())).collect();
    committing.await.unwrap();
    rig.append("calls", vec![calls().slice(9, 1)]).await;
    // Whoever subscribed only after the last commit gets this one.
    for task in &tasks {
        while !task.is_finished() {
            rig.append("calls", vec![calls().slice(9, 1)]).await;
            tokio::task::yield_now().await;
        }
    }
    for task in tasks {
        let told: Vec<u64> = task
            .await
            .unwrap()
            .iter()
            .map(|m| m["data"]["callsChanged"]["version"].as_u64().unwrap())
            .collect();
        assert!(told.windows(2).all(|pair| pair[1] == pair[0] + 1), "{told:?}");
    }
}

#[tokio::test]
async fn a_run_is_told_to_its_end() {
    let rig = Rig::new().await;
    let unknown =
        format!("subscription {{ runUpdates(id: \"{}\") {{ state }} }}", engine::RunId::new());
    let message = next(&mut rig.subscribe(&unknown).await).await;
    assert_eq!(message["errors"][0]["extensions"]["code"], "NOT_FOUND", "{message:#}");
    let spec = datasets::specs::by_name("metrics").unwrap();
    rig.create(spec).await;
    let lines: String = (0..200)
        .map(|i| {
            let at = chrono::DateTime::from_timestamp(1_767_225_600 + i * 60, 0).unwrap();
            format!(
                "{{\"series\": \"a\", \"at\": \"{}\", \"value\": {}}}\n",
                at.to_rfc3339(),
                i % 7
            )
        })
        .collect();
    rig.ingest("metrics", &lines).await;
    let started = rig
        .data("mutation { runJob(job: \"anomalies\") { id state inputs { dataset version } } }")
        .await;
    let id = started["runJob"]["id"].as_str().unwrap();
    let updates = format!("subscription {{ runUpdates(id: \"{id}\") {{ id state progress }} }}");
    let messages: Vec<Value> = rig.subscribe(&updates).await.collect().await;
    let last = &messages.last().unwrap()["data"]["runUpdates"];
    assert_eq!(last["state"], "SUCCEEDED", "{messages:#?}");
    assert_eq!(last["id"], id);
    let run = rig.data(&format!("{{ run(id: \"{id}\") {{ job state outputs {{ dataset }} error {{ code }} }} runs(first: 1) {{ id }} }}")).await;
    assert_eq!(run["run"]["state"], "SUCCEEDED");
    assert_eq!(run["runs"][0]["id"], id);
}

#[tokio::test]
async fn what_only_moves_rows_and_lets_versions_go_ends_no_subscription() {
    let rig = rig(Limits::default()).await;
    for row in 0..3 {
        commit(&rig, row).await;
    }
    let query = format!("subscription {{ callsChanged(since: 2) {{ {CHANGED} }} }}");
    let mut messages = rig.subscribe(&query).await;
    assert_eq!(next(&mut messages).await["data"]["callsChanged"]["version"], 3);

    // Its rows lie in one file now, and what the versions before had is gone.
    rig.engine.compact(&who(), &name("calls")).await.unwrap();
    let keep = engine::Keep { since: chrono::Utc::now(), from: None };
    let vacuumed = rig.engine.vacuum(&who(), &name("calls"), keep, false).await.unwrap();
    assert!(vacuumed.kept_from.0 > 3 && vacuumed.files > 0, "{vacuumed:?}");
    let committed = commit(&rig, 3).await;
    // Neither that of who listens, nor of who comes back with the version that was told last.
    let query = format!("subscription {{ callsChanged(since: 3) {{ {CHANGED} }} }}");
    let mut resumed = rig.subscribe(&query).await;
    for messages in [&mut messages, &mut resumed] {
        let mut message = next(messages).await;
        // The commit that lets versions go is one, too.
        if message["data"]["callsChanged"]["version"] == committed - 1 {
            assert_eq!(message["data"]["callsChanged"]["added"]["count"], "0");
            message = next(messages).await;
        }
        let change = &message["data"]["callsChanged"];
        assert_eq!(change["version"], committed, "{message:#}");
        assert_eq!(ids(&change["added"]), ["c3"]);
        assert_eq!(change["removed"]["count"], "0");
    }
    // Of those whose rows changed since, one has to begin anew.
    let query = format!("subscription {{ callsChanged(since: 1) {{ {CHANGED} }} }}");
    let message = next(&mut rig.subscribe(&query).await).await;
    assert_eq!(message["errors"][0]["extensions"]["code"], "NOT_FOUND", "{message:#}");
}
