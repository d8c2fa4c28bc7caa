//! Datasets that are not there yet are read, grouped and followed as empty ones.

use engine::{Claim, GrantSet, Grants, Principal};
use serde_json::json;

use super::{Rig, calls, calls_spec, next, who};

async fn rig() -> Rig {
    Rig::expecting(vec![calls_spec()]).await
}

#[tokio::test]
async fn one_that_is_expected_is_empty_at_its_first_version() {
    let rig = rig().await;
    let query = "{ calls { version totalCount nodes { id } pageInfo { hasNextPage } } \
                 callsGroups(groupBy: [MODEL]) { version nodes { model count } } \
                 callsDistinct(columns: [MODEL]) { nodes { model } } datasets { name } }";
    let expected = json!({
        "calls": {"version": 0, "totalCount": "0", "nodes": [], "pageInfo": {"hasNextPage": false}},
        "callsGroups": {"version": 0, "nodes": []},
        "callsDistinct": {"nodes": []},
        "datasets": [],
    });
    assert_eq!(rig.data(query).await, expected);
    // It is the version that is there when it was made.
    let first = "{ calls(asOf: {version: 0}) { version nodes { id } } }";
    let answer = rig.data(first).await;
    rig.create(calls_spec()).await;
    rig.append("calls", vec![calls()]).await;
    assert_eq!(rig.data(first).await, answer);
    assert_eq!(rig.data("{ calls { totalCount version } }").await["calls"]["version"], 1);
}

#[tokio::test]
async fn another_version_of_it_is_not_there() {
    let rig = rig().await;
    let later = rig.ask("{ calls(asOf: {version: 3}) { version } }").await;
    let error = &later["errors"][0];
    assert_eq!(error["extensions"]["code"], "NOT_FOUND");
    let says = error["message"].as_str().unwrap();
    assert!(says.contains("no version 3; expected version 0, which is empty"), "{says}");
    let then = rig.ask("{ calls(asOf: {time: \"2026-01-01T00:00:00Z\"}) { version } }").await;
    assert_eq!(then["errors"][0]["extensions"]["code"], "NOT_FOUND", "{then}");
}

#[tokio::test]
async fn who_follows_it_is_told_of_its_first_rows() {
    let rig = rig().await;
    let rows = "subscription { callsChanged(since: 0) { version added { nodes { id } } } }";
    let mut rows = rig.subscribe(rows).await;
    let groups =
        "subscription { callsGroupsLive(groupBy: [MODEL], first: 1) { version nodes { count } } }";
    let mut groups = rig.subscribe(groups).await;
    let empty = json!({"version": 0, "nodes": []});
    assert_eq!(next(&mut groups).await["data"]["callsGroupsLive"], empty);
    rig.create(calls_spec()).await;
    rig.append("calls", vec![calls().slice(0, 1)]).await;
    let change = next(&mut rows).await;
    let first = json!({"version": 1, "added": {"nodes": [{"id": "c0"}]}});
    assert_eq!(change["data"]["callsChanged"], first, "{change}");
    let live = next(&mut groups).await;
    let one = json!({"version": 1, "nodes": [{"count": "1"}]});
    assert_eq!(live["data"]["callsGroupsLive"], one, "{live}");
}

#[tokio::test]
async fn grants_hold_before_there_is_a_row() {
    let rig = rig().await;
    let reader = |set: serde_json::Value| {
        let set: GrantSet = serde_json::from_value(set).unwrap();
        let claims = [("team".to_owned(), Claim::Text("a".to_owned()))].into();
        Principal { grants: Grants::limited(set, claims).unwrap(), ..who() }
    };
    let other = reader(json!({"datasets": {"other": {}}}));
    assert!(!rig.service.sdl(&other).await.unwrap().contains("calls"));
    let part =
        json!({"datasets": {"calls": {"rows": "model = claim.team", "masks": {"cost": "hide"}}}});
    let part = reader(part);
    let sdl = rig.service.sdl(&part).await.unwrap();
    assert!(sdl.contains("calls(") && !sdl.contains("cost:"));
    let answer = rig.ask_as(&part, "{ calls { totalCount nodes { id model } } }").await;
    assert_eq!(answer["data"]["calls"], json!({"totalCount": "0", "nodes": []}), "{answer}");
}

#[tokio::test]
async fn what_is_dropped_is_expected_no_more() {
    let rig = rig().await;
    rig.create(calls_spec()).await;
    rig.append("calls", vec![calls()]).await;
    rig.engine.drop_dataset(&who(), &calls_spec().name).await.unwrap();
    let answer = rig.ask("{ calls { version } }").await;
    assert!(answer.get("data").is_none(), "{answer}");
}
