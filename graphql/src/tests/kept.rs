//! Answers are given again where nothing that they follow from has changed, and never else.

use engine::{Claim, GrantSet, Grants, Principal};
use serde_json::json;

use super::{Rig, calls, calls_spec, name, who};
use crate::limits::Limits;

const QUERY: &str = "{ calls(first: 2) { totalCount nodes { id cost } } \
                     callsGroups(groupBy: [MODEL]) { nodes { model count } } }";

fn counts(rig: &Rig) -> (u64, u64) {
    let meter = &rig.service.0.meter;
    (meter.answers_found.get(), meter.answers_missed.get())
}

#[tokio::test]
async fn the_same_question_of_the_same_version_is_answered_once() {
    let rig = Rig::with_calls().await;
    let mut other = calls_spec();
    other.name = name("others");
    rig.create(other).await;
    let first = rig.text(QUERY).await;
    assert_eq!(counts(&rig), (0, 1));
    assert_eq!(rig.text(QUERY).await, first);
    // A commit to what it does not read changes nothing.
    rig.append("others", vec![calls()]).await;
    assert_eq!(rig.text(QUERY).await, first);
    assert_eq!(counts(&rig), (2, 1));
    rig.append("calls", vec![calls().slice(0, 1)]).await;
    let data = rig.data(QUERY).await;
    assert_eq!(data["calls"]["totalCount"], "11");
    assert_eq!(counts(&rig), (2, 2));
    let with = "query($n: Int) { calls(first: $n) { nodes { id } } }";
    for n in [1, 2, 1] {
        let answer = rig.ask_with(with, json!({"n": n})).await;
        assert_eq!(answer["data"]["calls"]["nodes"].as_array().unwrap().len(), n);
    }
    assert_eq!(counts(&rig), (3, 4));
}

#[tokio::test]
async fn who_sees_something_else_is_given_something_else() {
    let rig = Rig::with_calls().await;
    let of_team = |team: &str, rows: &str| {
        let set = json!({"datasets": {"calls": {"rows": rows}}});
        let set: GrantSet = serde_json::from_value(set).unwrap();
        let claims = [("team".to_owned(), Claim::Text(team.to_owned()))].into();
        Principal { grants: Grants::limited(set, claims).unwrap(), ..who() }
    };
    let query = "{ calls { totalCount } }";
    let mut seen = Vec::new();
    for who in
        [who(), of_team("alpha", "model = claim.team"), of_team("beta", "model = claim.team")]
    {
        for _ in 0..2 {
            let answer = rig.ask_as(&who, query).await;
            seen.push(answer["data"]["calls"]["totalCount"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(seen, ["10", "10", "3", "3", "2", "2"]);
    assert_eq!(counts(&rig), (3, 3));
    // What is seen by the clock is asked anew each time.
    let timed = of_team("alpha", "at < now()");
    for _ in 0..2 {
        assert_eq!(rig.ask_as(&timed, query).await["data"]["calls"]["totalCount"], "10");
    }
    assert_eq!(counts(&rig), (3, 3));
}

#[tokio::test]
async fn what_follows_from_more_than_versions_is_not_kept() {
    let rig = Rig::with_calls().await;
    for query in [
        "{ calls(asOf: {version: 1}) { totalCount } }",
        "{ calls(sample: {rows: 2}) { nodes { id } } }",
        "{ calls { totalCount } runs { nodes { id } } }",
        "{ calls { totalCount } __schema { queryType { name } } }",
        "{ calls(first: -1) { totalCount } }",
    ] {
        rig.text(query).await;
        rig.text(query).await;
    }
    // An answer with an error may be another one the next time: it is asked for and not found.
    assert_eq!(counts(&rig).0, 0);
}

#[tokio::test]
async fn a_dataset_that_is_made_again_has_other_answers() {
    let rig = Rig::with_calls().await;
    let query = "{ calls { totalCount } }";
    assert_eq!(rig.data(query).await["calls"]["totalCount"], "10");
    rig.engine.drop_dataset(&who(), &name("calls")).await.unwrap();
    assert!(rig.ask(query).await.get("data").is_none());
    rig.engine.restore_dataset(&who(), &name("calls")).await.unwrap();
    rig.append("calls", vec![calls().slice(0, 2)]).await;
    assert_eq!(rig.data(query).await["calls"]["totalCount"], "12");
}

#[tokio::test]
async fn keeping_can_be_off() {
    let rig = Rig::with_limits(Limits { keep_answers: false, ..Limits::default() }).await;
    rig.create(calls_spec()).await;
    for _ in 0..2 {
        rig.data("{ calls { totalCount } }").await;
    }
    assert_eq!(counts(&rig), (0, 0));
}
