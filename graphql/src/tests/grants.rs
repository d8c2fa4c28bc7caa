//! Who sees a part of a tenant gets answers, counts, messages and errors of that part alone.

use engine::{Claim, GrantSet, Grants, Principal, WriteMode};
use serde_json::{Value, json};

use super::{Rig, calls, next, similar, who};

fn reader(set: Value, team: &str) -> Principal {
    let set: GrantSet = serde_json::from_value(set).unwrap();
    let claims = [("team".to_owned(), Claim::Text(team.to_owned()))].into();
    Principal { grants: Grants::limited(set, claims).unwrap(), ..who() }
}

fn of_model(model: &str) -> Principal {
    reader(json!({"datasets": {"calls": {"rows": "model = claim.team"}}}), model)
}

fn codes(answer: &Value) -> Vec<&str> {
    let errors = answer["errors"].as_array().into_iter().flatten();
    errors.map(|error| error["extensions"]["code"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_is_not_granted_is_in_no_schema_and_no_hint() {
    let rig = Rig::with_calls().await;
    let me = reader(json!({"datasets": {"other": {}}}), "");
    let sdl = rig.service.sdl(&me).await.unwrap();
    assert!(!sdl.contains("calls") && sdl.contains("datasets"), "{sdl}");
    let answer = rig.ask_as(&me, "{ datasets { name } unreadableDatasets { name } }").await;
    assert_eq!(answer["data"], json!({"datasets": [], "unreadableDatasets": []}));
    let hidden = rig.ask_as(&me, "{ calls { version } }").await;
    let missing = rig.ask_as(&me, "{ cells { version } }").await;
    let text = |answer: &Value, name| answer.to_string().replace(name, "…");
    assert_eq!(text(&hidden, "calls"), text(&missing, "cells"));
    let hidden = rig.ask_as(&me, "{ dataset(name: \"calls\") { name } }").await;
    let missing = rig.ask_as(&me, "{ dataset(name: \"cells\") { name } }").await;
    assert_eq!(text(&hidden, "calls"), text(&missing, "cells"));
    // Whoever asked first made no schema for the others.
    assert_eq!(rig.data("{ calls { totalCount } }").await, json!({"calls": {"totalCount": "10"}}));
}

#[tokio::test]
async fn counts_groups_and_pages_are_those_of_the_rows_that_are_seen() {
    let rig = Rig::with_calls().await;
    let query = "{ calls(first: 2) { totalCount nodes { id } pageInfo { endCursor hasNextPage } } \
                 callsGroups(groupBy: [MODEL]) { nodes { model count } } }";
    let answer = rig.ask_as(&of_model("beta"), query).await;
    let page = &answer["data"]["calls"];
    assert_eq!(page["totalCount"], "2");
    assert_eq!(page["nodes"], json!([{"id": "c1"}, {"id": "c5"}]));
    assert_eq!(page["pageInfo"]["hasNextPage"], false);
    let groups = json!({"nodes": [{"model": "beta", "count": "2"}]});
    assert_eq!(answer["data"]["callsGroups"], groups);
    // A cursor of who sees all begins no page of rows that are kept back.
    let all = rig.data("{ calls(first: 1) { pageInfo { endCursor } } }").await;
    let cursor = &all["calls"]["pageInfo"]["endCursor"];
    let query = format!("{{ calls(after: {cursor}) {{ nodes {{ id }} }} }}");
    let answer = rig.ask_as(&of_model("alpha"), query.as_str()).await;
    assert_eq!(answer["data"]["calls"]["nodes"], json!([{"id": "c3"}, {"id": "c6"}]), "{answer}");
    let sizes = "{ dataset(name: \"calls\") { rows bytes files version } }";
    let answer = rig.ask_as(&of_model("alpha"), sizes).await;
    let expected = json!({"rows": null, "bytes": null, "files": null, "version": 1});
    assert_eq!(answer["data"]["dataset"], expected);
}

#[tokio::test]
async fn subscribers_with_other_grants_share_no_result() {
    let rig = Rig::with_calls().await;
    let query =
        "subscription { callsChanged(since: 0) { version added { count nodes { model } } } }";
    for (who, count) in [(who(), "10"), (of_model("alpha"), "3"), (of_model("beta"), "2")] {
        let message = next(&mut rig.subscribe_as(&who, query).await).await;
        let change = &message["data"]["callsChanged"];
        assert_eq!((&change["version"], &change["added"]["count"]), (&json!(1), &json!(count)));
        assert_eq!(change["added"]["nodes"].as_array().unwrap().len().to_string(), count);
    }
    let mut messages = rig.subscribe_as(&of_model("gamma"), query).await;
    assert_eq!(next(&mut messages).await["data"]["callsChanged"]["added"]["count"], "1");
    rig.write("calls", WriteMode::Overwrite, vec![calls().slice(0, 9)]).await;
    let query = query.replace("added", "removed");
    let mut messages = rig.subscribe_as(&of_model("gamma"), &query.replace("0)", "1)")).await;
    let message = next(&mut messages).await;
    let removed = json!({"count": "1", "nodes": [{"model": "gamma"}]});
    assert_eq!(message["data"]["callsChanged"]["removed"], removed);
}

#[tokio::test]
async fn a_masked_column_is_masked_wherever_it_is_asked_for() {
    let rig = Rig::with_calls().await;
    let set = json!({"salt": "0123456789abcdef", "datasets": {"calls": {"masks": {
        "model": "hash", "input_tokens": "bucket 50", "payload": "hide"
    }}}});
    let me = reader(set, "");
    let hidden = rig.ask_as(&me, "{ calls { nodes { payload } } }").await;
    assert_eq!(codes(&hidden), ["BAD_INPUT"], "{hidden}");
    let query = "{ calls(where: {model: {eq: \"alpha\"}}) { totalCount } \
                 callsGroups(groupBy: [MODEL], orderBy: [{count: DESC}]) { nodes { model count max { inputTokens } } } }";
    let answer = rig.ask_as(&me, query).await;
    assert_eq!(answer["data"]["calls"]["totalCount"], "0");
    let groups = answer["data"]["callsGroups"]["nodes"].as_array().unwrap();
    assert_eq!((groups.len(), &groups[0]["count"]), (6, &json!("3")));
    for group in groups {
        let model = group["model"].as_str();
        assert!(model.is_none_or(|model| model.len() == 32), "{group}");
        let most = group["max"]["inputTokens"].as_str().unwrap().parse::<i64>().unwrap();
        assert_eq!(most.rem_euclid(50), 0, "{group}");
    }
    // What it is equal to can be asked for by its hash.
    let hash = &groups[0]["model"];
    let query = format!("{{ calls(where: {{model: {{eq: {hash}}}}}) {{ totalCount }} }}");
    let answer = rig.ask_as(&me, query.as_str()).await;
    assert_eq!(answer["data"]["calls"]["totalCount"], "3");
}

#[tokio::test]
async fn the_most_similar_rows_are_among_those_that_are_seen() {
    let rig = similar::rig().await;
    let set = json!({"datasets": {"mail": {"rows": "team = claim.team"}, "embeddings": {}}});
    let me = reader(set, "cards");
    let query = "{ mailSimilar(to: {text: \"my card was stolen\"}) { candidates matches { node { id } } } }";
    let answer = rig.ask_as(&me, query).await;
    let found = &answer["data"]["mailSimilar"];
    assert_eq!(found["candidates"], "2", "{answer:#}");
    assert_eq!(found["matches"], json!([{"node": {"id": "2"}}, {"node": {"id": "3"}}]));
    // A row that is kept back is as unknown as one that is not there.
    let by_id =
        |id: &str| format!("{{ mailSimilar(to: {{id: \"{id}\"}}) {{ matches {{ score }} }} }}");
    let hidden = rig.ask_as(&me, by_id("1").as_str()).await;
    assert_eq!(codes(&hidden), ["NOT_FOUND"]);
    assert_eq!(hidden, rig.ask_as(&me, by_id("9").as_str()).await);
    assert!(codes(&rig.ask_as(&me, by_id("2").as_str()).await).is_empty());
    assert_eq!(rig.data(query).await["mailSimilar"]["candidates"], "4");
    let then = query.replace("(to:", "(asOf: {version: 1}, to:");
    assert_eq!(codes(&rig.ask_as(&me, then.as_str()).await), ["FORBIDDEN"]);
    let other = json!({"datasets": {"mail": {"rows": "team = claim.team"}}});
    let answer = rig.ask_as(&reader(other, "cards"), query).await;
    assert_eq!(codes(&answer), ["NOT_FOUND"], "vectors that are not granted: {answer}");
    let masked = json!({"datasets": {"mail": {"masks": {"body": "hide"}}, "embeddings": {}}});
    let answer = rig.ask_as(&reader(masked, ""), query).await;
    assert_eq!(codes(&answer), ["FORBIDDEN"], "{answer}");
}

#[tokio::test]
async fn the_control_plane_is_for_who_sees_all() {
    let rig = Rig::with_calls().await;
    let me = of_model("alpha");
    for query in [
        "{ runs { id } }",
        "{ schedules { name } }",
        "{ pipelines { name } }",
        "{ dataset(name: \"calls\") { versions { runId } } }",
        "mutation { runJob(job: \"anomalies\") { id } }",
        "mutation { dropDataset(name: \"calls\") { name } }",
        "mutation { callsDelete(where: {id: {eq: \"c0\"}}) { version } }",
    ] {
        let answer = rig.ask_as(&me, query).await;
        assert_eq!(codes(&answer), ["FORBIDDEN"], "{query}: {answer}");
    }
    let answer = rig.ask_as(&me, "{ jobs { name } }").await;
    assert!(codes(&answer).is_empty());
    assert_eq!(rig.data("{ calls { totalCount } }").await["calls"]["totalCount"], "10");
}
