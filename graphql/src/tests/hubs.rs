//! Subscriptions that wait for the same are told by one.

use std::time::Duration;

use async_graphql::{Request, Variables};
use engine::Principal;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Rig, calls, calls_spec, messages_of, next, who};
use crate::answer::Answers;
use crate::limits::Limits;
use crate::service::Accepts;

const CHANGED: &str = "version previousVersion collapsed added { count }";

fn asked(since: u64) -> String {
    format!("subscription {{ callsChanged(since: {since}) {{ {CHANGED} }} }}")
}

async fn rig(limits: Limits) -> Rig {
    let rig = Rig::with_limits(limits).await;
    rig.create(calls_spec()).await;
    rig
}

async fn commit(rig: &Rig) -> u64 {
    rig.append("calls", vec![calls().slice(0, 1)]).await
}

/// Waits for the next message until there is none.
async fn is_quiet(messages: &mut BoxStream<'static, Value>) {
    let message = timeout(Duration::from_millis(50), messages.next()).await;
    assert!(message.is_err(), "{message:?}");
}

/// So many who ask the same and wait, most of them in a hub.
async fn waiting(rig: &Rig, count: usize) -> Vec<BoxStream<'static, Value>> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut messages = rig.subscribe(&asked(0)).await;
        is_quiet(&mut messages).await;
        all.push(messages);
    }
    all
}

fn change(message: &Value) -> (u64, u64, bool, &str) {
    let change = &message["data"]["callsChanged"];
    let version = |name: &str| change[name].as_u64().unwrap_or_else(|| panic!("{message:#}"));
    let count = change["added"]["count"].as_str().unwrap();
    (version("previousVersion"), version("version"), change["collapsed"] == true, count)
}

#[tokio::test]
async fn who_waits_for_the_same_waits_together_and_is_told_all() {
    let rig = rig(Limits::default()).await;
    let service = rig.service.0.clone();
    let mut all = waiting(&rig, 4).await;
    // The first knew of no other.
    assert_eq!((service.hubs.count(), service.hubs.members()), (1, 3));
    assert_eq!(service.subscriptions_open(), 4);
    for version in 1..4 {
        let computed = service.shared.computed();
        assert_eq!(commit(&rig).await, version);
        for (n, messages) in all.iter_mut().enumerate() {
            let message = next(messages).await;
            assert_eq!(change(&message), (version - 1, version, false, "1"), "{n}");
            // Each is told once what it costs.
            assert_eq!(message["extensions"]["cost"].is_u64(), version == 1, "{n}: {message:#}");
            is_quiet(messages).await;
        }
        // The change and its count, by the first.
        assert_eq!(service.shared.computed() - computed, 2);
        assert_eq!(service.hubs.members(), 4);
    }
    drop(all.split_off(1));
    assert_eq!((service.hubs.members(), service.subscriptions_open()), (1, 1));
    commit(&rig).await;
    assert_eq!(change(&next(&mut all[0]).await), (3, 4, false, "1"));
    drop(all);
    assert_eq!((service.hubs.count(), service.subscriptions_open()), (0, 0));
}

#[tokio::test]
async fn who_falls_behind_is_told_what_it_missed() {
    let rig = rig(Limits { versions_behind_max: 15, ..Limits::default() }).await;
    let mut all = waiting(&rig, 4).await;
    let (slow, rest) = all.split_at_mut(2);
    let (slower, quick) = rest.split_at_mut(1);
    for version in 1..=30 {
        commit(&rig).await;
        assert_eq!(change(&next(&mut quick[0]).await), (version - 1, version, false, "1"));
        if version == 12 {
            for messages in &mut *slow {
                for version in 1..=12 {
                    let message = next(messages).await;
                    assert_eq!(change(&message), (version - 1, version, false, "1"));
                }
                is_quiet(messages).await;
            }
        }
    }
    assert_eq!(change(&next(&mut slower[0]).await), (0, 30, true, "30"));
    is_quiet(&mut slower[0]).await;
    commit(&rig).await;
    for messages in [&mut slower[0], &mut quick[0]] {
        assert_eq!(change(&next(messages).await), (30, 31, false, "1"));
    }
}

#[tokio::test]
async fn nothing_is_made_while_nobody_of_a_hub_reads() {
    let rig = rig(Limits { versions_behind_max: 4, ..Limits::default() }).await;
    let service = rig.service.0.clone();
    let mut all = waiting(&rig, 3).await;
    commit(&rig).await;
    for messages in &mut all {
        assert_eq!(change(&next(messages).await), (0, 1, false, "1"));
    }
    // The one that tells them waits for a commit, which it may tell.
    commit(&rig).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let computed = service.shared.computed();
    for _ in 0..8 {
        commit(&rig).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(service.shared.computed(), computed);
    for messages in &mut all {
        let mut told = 1;
        while told < 10 {
            let message = next(messages).await;
            let (from, to, _, count) = change(&message);
            assert_eq!((from, count), (told, (to - from).to_string().as_str()), "{message:#}");
            told = to;
        }
    }
}

#[tokio::test]
async fn who_sees_less_or_asks_otherwise_is_in_no_hub_of_others() {
    let rig = rig(Limits::default()).await;
    let service = rig.service.0.clone();
    let set = json!({"datasets": {"calls": {"rows": "model = 'none'"}}});
    let grants = engine::Grants::limited(serde_json::from_value(set).unwrap(), [].into()).unwrap();
    let part = Principal { grants, ..who() };
    let mut of_all = waiting(&rig, 2).await;
    let mut of_part = Vec::new();
    for _ in 0..2 {
        let mut messages = rig.subscribe_as(&part, &asked(0)).await;
        is_quiet(&mut messages).await;
        of_part.push(messages);
    }
    let otherwise = asked(0).replace("count }", "count nodes { id } }");
    let mut other = rig.subscribe(&otherwise).await;
    is_quiet(&mut other).await;
    assert_eq!((service.hubs.count(), service.hubs.members()), (3, 2));
    for version in 1..3 {
        rig.append("calls", vec![calls().slice(0, 2)]).await;
        for (messages, count) in
            of_all.iter_mut().zip(["2"; 2]).chain(of_part.iter_mut().zip(["0"; 2]))
        {
            assert_eq!(change(&next(messages).await), (version - 1, version, false, count));
            is_quiet(messages).await;
        }
        let message = next(&mut other).await;
        assert_eq!(message["data"]["callsChanged"]["added"]["nodes"].as_array().unwrap().len(), 2);
        is_quiet(&mut other).await;
    }
}

#[tokio::test]
async fn what_ends_the_one_that_tells_ends_all() {
    let rig = rig(Limits::default()).await;
    let service = rig.service.0.clone();
    let filtered = asked(0).replace("0)", "0, where: {model: {ne: \"none\"}})");
    let mut all = Vec::new();
    for _ in 0..3 {
        let mut messages = rig.subscribe(&filtered).await;
        is_quiet(&mut messages).await;
        all.push(messages);
    }
    assert_eq!(service.hubs.members(), 2);
    let rename = "mutation { renameColumn(dataset: \"calls\", column: \"model\", to: \"other\") { version } }";
    rig.data(rename).await;
    for messages in &mut all {
        let message = next(messages).await;
        assert_eq!(message["errors"][0]["extensions"]["code"], "CONFLICT", "{message:#}");
        assert!(messages.next().await.is_none());
    }
    drop(all);
    assert_eq!((service.hubs.count(), service.subscriptions_open()), (0, 0));
}

#[tokio::test]
async fn where_one_goes_on_from_is_no_part_of_what_one_asks() {
    let rig = rig(Limits::default()).await;
    let service = rig.service.0.clone();
    commit(&rig).await;
    commit(&rig).await;
    let mut all = Vec::new();
    for since in 0..3 {
        // A letter of several bytes before it, and a line.
        let query = asked(since).replacen('{', "# \u{20ac}\n{ # \u{20ac}\n", 1);
        let mut messages = rig.subscribe(&query).await;
        for version in since..2 {
            assert_eq!(change(&next(&mut messages).await), (version, version + 1, false, "1"));
        }
        is_quiet(&mut messages).await;
        all.push(messages);
    }
    assert_eq!((service.hubs.count(), service.hubs.members()), (1, 2));
    commit(&rig).await;
    for messages in &mut all {
        assert_eq!(change(&next(messages).await), (2, 3, false, "1"));
    }
}

#[tokio::test]
async fn those_who_were_told_up_to_other_versions_are_each_told_from_their_own() {
    // A version that has nothing to tell: who comes now knows of it, and who comes back was told the one before.
    for order in [[Some(3), None], [None, Some(3)]] {
        let rig = rig(Limits::default()).await;
        let service = rig.service.0.clone();
        for _ in 0..3 {
            commit(&rig).await;
        }
        let compacted = service.engine.compact(&who(), &super::name("calls")).await.unwrap();
        assert_eq!(compacted.version.0, 4);
        // What they ask is the same text.
        let query =
            format!("subscription($since: Int) {{ callsChanged(since: $since) {{ {CHANGED} }} }}");
        let mut all = Vec::new();
        for since in order.into_iter().flat_map(|since| [since; 2]) {
            let request =
                Request::new(&query).variables(Variables::from_json(json!({"since": since})));
            let mut messages = rig.subscribe_with(request).await;
            is_quiet(&mut messages).await;
            all.push((messages, since.unwrap_or(4)));
        }
        let members = if order[0].is_some() { 3 } else { 1 };
        assert_eq!((service.hubs.count(), service.hubs.members()), (1, members), "{order:?}");
        commit(&rig).await;
        for (messages, since) in &mut all {
            let message = next(messages).await;
            assert_eq!(change(&message), (*since, 5, false, "1"), "{order:?}");
            assert!(message["extensions"]["cost"].is_u64(), "{order:?}: {message:#}");
            is_quiet(messages).await;
        }
        assert_eq!(service.hubs.members(), 4);
    }
}

#[tokio::test]
async fn what_it_costs_is_told_beside_what_it_warns_of() {
    let rig = rig(Limits::default()).await;
    let query =
        "subscription { callsChanged(since: 0) { version added { nodes { id latencyMs } } } }";
    let mut all = Vec::new();
    for _ in 0..3 {
        let mut messages = rig.subscribe(query).await;
        is_quiet(&mut messages).await;
        all.push(messages);
    }
    for version in 1..3 {
        rig.append("calls", vec![calls().slice(1, 1)]).await;
        for messages in &mut all {
            let extensions = next(messages).await["extensions"].take();
            assert_eq!(extensions["cost"].is_u64(), version == 1, "{extensions}");
            assert!(extensions["warnings"][0].as_str().unwrap().contains("NaN"), "{extensions}");
        }
    }
}

#[tokio::test]
async fn what_a_member_is_told_takes_room_until_its_client_has_it() {
    let (rig, who) = (rig(Limits::default()).await, who());
    let mut all = Vec::new();
    for _ in 0..3 {
        let answers = rig.service.answer(&who, Request::new(asked(0)), "id", Accepts::Streams);
        let Answers::Many(events) = answers.await else { panic!("one answer") };
        let mut answers = messages_of(events);
        let quiet = timeout(Duration::from_millis(50), answers.next()).await;
        assert!(quiet.is_err());
        all.push(answers);
    }
    assert_eq!(rig.service.0.hubs.members(), 2);
    commit(&rig).await;
    for answers in &mut all {
        assert!(answers.next().await.unwrap().room.is_some());
    }
}

#[tokio::test]
async fn a_long_message_is_held_for_nobody_and_missed_by_nobody() {
    // Of all results so many are kept.
    let rig = rig(Limits { shared_results_max: 2, ..Limits::default() }).await;
    let long = "x".repeat(8_000);
    let query = "subscription { callsChanged(since: 0) { version previousVersion added { nodes { model } } } }";
    let mut all = Vec::new();
    for _ in 0..4 {
        let mut messages = rig.subscribe(query).await;
        is_quiet(&mut messages).await;
        all.push(messages);
    }
    assert_eq!(rig.service.0.hubs.members(), 3);
    let (quick, slow) = all.split_at_mut(2);
    for version in 1..5 {
        let row = json!({"id": version.to_string(), "at": "2026-01-01T00:00:00Z", "model": long});
        rig.ingest("calls", &row.to_string()).await;
        for messages in &mut *quick {
            let change = next(messages).await["data"]["callsChanged"].take();
            assert_eq!(
                (&change["version"], &change["added"]["nodes"][0]["model"]),
                (&json!(version), &json!(long))
            );
        }
    }
    for messages in slow {
        for version in 1..5 {
            let change = next(messages).await["data"]["callsChanged"].take();
            assert_eq!(
                (&change["version"], &change["previousVersion"]),
                (&json!(version), &json!(version - 1))
            );
        }
    }
}

#[tokio::test]
async fn who_sees_another_thing_at_each_time_waits_alone() {
    let rig = rig(Limits::default()).await;
    let set = json!({"datasets": {"calls": {"rows": "at < now()"}}});
    let grants = engine::Grants::limited(serde_json::from_value(set).unwrap(), [].into()).unwrap();
    let part = Principal { grants, ..who() };
    let mut all = Vec::new();
    for _ in 0..2 {
        let mut messages = rig.subscribe_as(&part, &asked(0)).await;
        is_quiet(&mut messages).await;
        all.push(messages);
    }
    assert_eq!(rig.service.0.hubs.count(), 0);
    let shared = rig.service.0.meter.messages_shared.get();
    commit(&rig).await;
    for messages in &mut all {
        assert_eq!(change(&next(messages).await).1, 1);
    }
    assert_eq!(rig.service.0.meter.messages_shared.get(), shared);
}
